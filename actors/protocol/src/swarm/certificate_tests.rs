//! Sentences of `spec: swarm 7.3` about first commits (A), messages and edits (G to J), who may
//! write (Z), merges (K) and the certificate rule, each accepted and refused.

use super::create::{CreateError, Writer};
use super::edit::TreeEdit;
use super::lab::{Actor, Lab, NOW};
use super::layout::TreePath;
use super::message::{Mode, Relation};
use super::object::{MemoryObjects, UnsignedCommit};
use super::refusal::Refusal;
use super::validate_tests::{TEXT, assert_refused, member, unexpected};
use crate::identity::{
    Archive, ArchiveSecret, Certificate, Chain, IssuedAt, SerialNumber, issue_account, issue_device,
};
use crate::ids::{AccountId, CommitId, ConversationId};
use crate::keys::PublicKey;
use crate::swarm::golden;
use crate::testing::recording;
use crate::time::UnixMillis;

const INITIAL: &str = r#"{"mode":2,"type":"initial"}"#;
const PROFILE: &str = r#"{"type":"application/update-profile"}"#;

/// When certificates made here are issued; they are good for ten years.
const ISSUED: UnixMillis = UnixMillis(1_795_390_000_000);

fn chain(name: &str) -> Chain {
    Chain::parse(golden::device_chain("newest", name).as_bytes()).unwrap()
}

/// A certificate for a device by alice's account, the only one whose key is recorded.
fn issued_by_alice(device: &PublicKey, now: UnixMillis) -> String {
    let archive = recording("newest/accounts/alice-nopassword.gz");
    let (archive, _) = Archive::open(&archive, ArchiveSecret::None).unwrap();
    let at = IssuedAt { now, serial: SerialNumber::from_random(7) };
    issue_device(device, &chain("alice").issuers()[0], &archive.account_key, at).unwrap().to_pem()
}

/// Alice's account file with a renewed certificate of the account.
fn renewed_account(now: UnixMillis) -> String {
    let archive = recording("newest/accounts/alice-nopassword.gz");
    let (archive, _) = Archive::open(&archive, ArchiveSecret::None).unwrap();
    let chain = chain("alice");
    let ca = &chain.issuers()[1];
    let at = IssuedAt { now, serial: SerialNumber::from_random(8) };
    let account = issue_account(archive.account_key.public(), ca, archive.ca_key.as_ref().unwrap(), at);
    format!("{}{}", account.unwrap().to_pem(), ca.to_pem())
}

type Change<'c> = &'c dyn Fn(&mut TreeEdit<'_, MemoryObjects>);

/// A first commit by alice.
fn first(message: &str, change: Change<'_>) -> Result<(), Refusal> {
    let mut lab = Lab::begun(|alice| alice.local.begin(Mode::InvitesOnly, None, NOW).unwrap());
    let mut edit = TreeEdit::new(&lab.objects, Some(lab.tree_of(lab.head)));
    change(&mut edit);
    let edited = edit.finish().unwrap();
    lab.objects.extend(edited.objects);
    let id = lab.raw(|lab| &lab.alice, edited.root, Vec::new(), message);
    lab.conversation = ConversationId::from_initial_commit(id);
    lab.verdict(id).map(drop)
}

#[test]
fn a_first_commit_may_hold_revocations_of_the_founder_only() {
    let alice = Actor::of("newest", "alice");
    first(INITIAL, &|edit| edit.put(TreePath::Revocations(alice.account()), b"x").unwrap()).unwrap();
    let foreign = TreePath::Revocations(AccountId([1; 20]));
    let refusal = first(INITIAL, &|edit| edit.put(foreign, b"x").unwrap()).unwrap_err();
    assert_refused(&refusal, unexpected(foreign));
}

#[test]
fn a_first_commit_brings_the_device_that_made_it() {
    let device = Actor::of("newest", "alice").device();
    let refusal = first(INITIAL, &|edit| edit.remove(TreePath::device(device))).unwrap_err();
    assert_eq!(refusal, Refusal::UnknownDevice(device));
    let other = TreePath::device(Actor::of("newest", "alice2").device());
    let file = Lab::certificate("newest", "alice2", false);
    let refusal = first(INITIAL, &|edit| edit.put(other, file.as_bytes()).unwrap()).unwrap_err();
    assert_refused(&refusal, unexpected(other));
}

#[test]
fn only_the_person_named_is_invited_by_a_first_commit_and_only_one_to_one() {
    let bob = Actor::of("newest", "bob").account();
    let invited = TreePath::invited(bob);
    for (mode, named, is_accepted) in
        [(0, bob, true), (0, AccountId([1; 20]), false), (1, bob, false), (2, bob, false), (3, bob, false)]
    {
        let message = format!(r#"{{"invited":"{named}","mode":{mode},"type":"initial"}}"#);
        let verdict = first(&message, &|edit| edit.put(invited, b"").unwrap());
        assert_eq!(verdict.is_ok(), is_accepted, "{message}");
    }
    let message = format!(r#"{{"invited":"{bob}","mode":0,"type":"initial"}}"#);
    first(&message, &|_| ()).unwrap();
    let refusal = first(&message, &|edit| edit.put(invited, b"x").unwrap()).unwrap_err();
    assert_refused(&refusal, unexpected(invited));
}

#[test]
fn a_device_certificate_may_be_renewed_by_its_own_account() {
    let mut lab = Lab::group();
    let own = TreePath::device(lab.alice.device());
    let renewed = issued_by_alice(lab.alice.key.public(), ISSUED);
    for message in [TEXT, PROFILE, r#"{"type":"vote"}"#] {
        let renew = |edit: &mut TreeEdit<'_, _>| edit.put(own, renewed.as_bytes()).unwrap();
        if message.contains("vote") {
            assert_eq!(lab.refused(|lab| &lab.alice, message, renew), Refusal::NotOneVote);
        } else {
            lab.accepted(|lab| &lab.alice, message, renew);
        }
    }
}

#[test]
fn a_device_certificate_is_not_replaced_by_one_of_another_issuer() {
    // Carla's device goes over to alice, who is a member too: the key is the same.
    let mut lab = Lab::group();
    let own = TreePath::device(lab.carla.device());
    let adopted = issued_by_alice(lab.carla.key.public(), ISSUED);
    let refusal = lab.refused(|lab| &lab.carla, TEXT, |edit| edit.put(own, adopted.as_bytes()).unwrap());
    assert_eq!(refusal, Refusal::ForeignCertificate(own));
}

#[test]
fn a_device_certificate_that_the_account_did_not_sign_is_refused() {
    let mut lab = Lab::group();
    let leaf = chain("alice2").leaf().clone();
    let mut der = leaf.der().to_vec();
    *der.last_mut().unwrap() ^= 1;
    let forged = Certificate::from_der(&der).unwrap();
    assert_eq!(forged.issuer_uid(), leaf.issuer_uid());
    let own = TreePath::device(lab.alice2.device());
    let forged = forged.to_pem();
    let refusal = lab.refused(|lab| &lab.alice2, TEXT, |edit| edit.put(own, forged.as_bytes()).unwrap());
    assert_eq!(refusal, Refusal::ForeignCertificate(own));
}

#[test]
fn certificates_that_expired_stop_their_device_until_they_are_renewed() {
    // Expired when the commit is made, but good before and after.
    let mut lab = Lab::group();
    let own = TreePath::device(lab.alice.device());
    let expired = issued_by_alice(lab.alice.key.public(), UnixMillis(1_400_000_000_000));
    lab.arrange(|edit| edit.put(own, expired.as_bytes()).unwrap());
    assert_eq!(lab.refused(|lab| &lab.alice, TEXT, |_| ()), Refusal::Expired(own));
    // Others go on meanwhile, and a leave is judged by the old certificate.
    lab.honest(|lab| &lab.carla, |writer| writer.text("still here", Relation::None).unwrap());
    let alice = lab.alice.account();
    let leave = |edit: &mut TreeEdit<'_, _>| edit.remove(TreePath::admin(alice));
    let refusal = lab.refused(|lab| &lab.alice, &member("remove", alice), leave);
    assert_eq!(refusal, Refusal::Expired(own));
    // An honest program renews it with a message, and neither leaves nor invites before.
    let writer = Writer::new(&lab.objects, &lab.alice.local, lab.head, NOW).unwrap();
    assert!(matches!(writer.leave(), Err(CreateError::NewDevice)));
    lab.honest(|lab| &lab.alice, |writer| writer.text("back", Relation::None).unwrap());
    lab.accepted(|lab| &lab.alice, TEXT, |_| ());
}

#[test]
fn clocks_that_are_a_day_off_do_not_matter() {
    const DAY: i64 = 86_400;
    let mut lab = Lab::group();
    let tree = lab.tree_of(lab.head);
    for skew in [-DAY, DAY, -DAY, DAY] {
        let commit = UnsignedCommit {
            tree,
            parents: vec![lab.head],
            name: "Somebody".to_owned(),
            device: lab.carla.device(),
            seconds: NOW.seconds() + skew,
            message: TEXT.as_bytes().to_vec(),
        };
        let signed = commit.sign(&lab.carla.key).unwrap();
        lab.objects.insert_commit(&signed);
        lab.verdict(signed.id).unwrap();
        lab.head = signed.id;
    }
}

#[test]
fn an_expired_account_certificate_is_renewed_with_a_message_first() {
    let mut lab = Lab::group();
    let expired = renewed_account(UnixMillis(1_400_000_000_000));
    let own = TreePath::admin(lab.alice.account());
    lab.arrange(|edit| edit.put(own, expired.as_bytes()).unwrap());
    let (founding, bob) = (lab.founding(), lab.bob.account());
    let writer = Writer::new(&lab.objects, &lab.alice.local, lab.head, NOW).unwrap();
    assert!(matches!(writer.invite(bob, &founding), Err(CreateError::NewDevice)));
    assert!(matches!(writer.leave(), Err(CreateError::NewDevice)));
    lab.honest(|lab| &lab.alice, |writer| writer.text("renewed", Relation::None).unwrap());
    lab.honest(|lab| &lab.alice, |writer| writer.invite(bob, &founding).unwrap());
}

#[test]
fn an_account_certificate_is_renewed_in_place_and_nowhere_else() {
    let mut lab = Lab::group();
    let (alice, carla) = (lab.alice.account(), lab.carla.account());
    let own = TreePath::admin(alice);
    let renewed = renewed_account(ISSUED);
    lab.accepted(|lab| &lab.alice, TEXT, |edit| edit.put(own, renewed.as_bytes()).unwrap());
    // A member does not become an admin by it, nor an admin a member as well.
    let account = Lab::certificate("newest", "carla", true);
    let promoted = TreePath::admin(carla);
    let refusal = lab.refused(|lab| &lab.carla, TEXT, |edit| edit.put(promoted, account.as_bytes()).unwrap());
    assert_refused(&refusal, unexpected(promoted));
    let second = TreePath::member(alice);
    let refusal = lab.refused(|lab| &lab.alice, TEXT, |edit| edit.put(second, renewed.as_bytes()).unwrap());
    assert_refused(&refusal, unexpected(second));
    // Nor may one replace somebody else's.
    let refusal = lab.refused(|lab| &lab.carla, TEXT, |edit| edit.put(own, renewed.as_bytes()).unwrap());
    assert_refused(&refusal, unexpected(own));
}

#[test]
fn nobody_takes_the_own_device_away_with_a_message() {
    let mut lab = Lab::group();
    let own = TreePath::device(lab.carla.device());
    for message in [TEXT, PROFILE] {
        let refusal = lab.refused(|lab| &lab.carla, message, |edit| edit.remove(own));
        assert_eq!(refusal, Refusal::UnknownDevice(lab.carla.device()));
    }
    let other = TreePath::device(lab.alice.device());
    let refusal = lab.refused(|lab| &lab.carla, TEXT, |edit| edit.remove(other));
    assert_refused(&refusal, unexpected(other));
}

#[test]
fn an_admin_may_take_the_profile_away_and_bring_a_new_device_with_it() {
    let mut lab = Lab::group();
    let device = Lab::certificate("newest", "alice2", false);
    let own = TreePath::device(lab.alice2.device());
    lab.accepted(
        |lab| &lab.alice2,
        PROFILE,
        |edit| {
            edit.remove(TreePath::Profile);
            edit.put(own, device.as_bytes()).unwrap();
        },
    );
}

/// An edit of a commit by alice's other device.
fn edited(lab: &mut Lab, message_type: &str, id: CommitId) -> Result<(), Refusal> {
    let device = Lab::certificate("newest", "alice2", false);
    let own = TreePath::device(lab.alice2.device());
    let message = format!(r#"{{"edit":"{id}","tid":"","type":"{message_type}"}}"#);
    let id = lab.forge(|lab| &lab.alice2, &message, |edit| edit.put(own, device.as_bytes()).unwrap());
    lab.verdict(id).map(drop)
}

#[test]
fn texts_reactions_files_and_documents_are_edited_from_any_device_of_their_author() {
    let mut lab = Lab::group();
    for (message, is_editable) in [
        (r#"{"body":"x","type":"text/plain"}"#, true),
        (r#"{"body":"x","react-to":"1111111111111111111111111111111111111111","type":"text/plain"}"#, true),
        (
            r#"{"displayName":"a","sha3sum":"","tid":"7","totalSize":"1","type":"application/data-transfer+json"}"#,
            true,
        ),
        (r#"{"tid":"","type":"application/data-transfer+json"}"#, false),
        (r#"{"displayName":"d","mimeType":"text/x","type":"application/collab-doc+json","uri":"1"}"#, true),
        (r#"{"duration":"1","to":"1","type":"application/call-history+json"}"#, false),
        (r#"{"type":"application/of-tomorrow"}"#, false),
    ] {
        let id = lab.accepted(|lab| &lab.alice, message, |_| ());
        for message_type in ["text/plain", "application/edited-message", "application/data-transfer+json"] {
            let verdict = edited(&mut lab, message_type, id);
            let expected = if is_editable { Ok(()) } else { Err(Refusal::NotEditable(Some(id))) };
            assert_eq!(verdict, expected, "{message}");
        }
    }
}

#[test]
fn an_edit_of_an_edit_is_accepted_as_the_reference_has_it() {
    let mut lab = Lab::group();
    let text = lab.honest(|lab| &lab.alice, |writer| writer.text("x", Relation::None).unwrap());
    let edit = lab.honest(|lab| &lab.alice, |writer| writer.text("y", Relation::Edit(text)).unwrap());
    edited(&mut lab, "text/plain", edit).unwrap();
}

#[test]
fn an_edit_that_is_no_text_is_an_edit_all_the_same() {
    let mut lab = Lab::group();
    for edit in ["5", "true", "[]", "{}"] {
        let message = format!(r#"{{"edit":{edit},"type":"text/plain"}}"#);
        assert_eq!(lab.refused(|lab| &lab.carla, &message, |_| ()), Refusal::NotEditable(None));
    }
    for edit in ["null", "\"\""] {
        let message = format!(r#"{{"edit":{edit},"type":"text/plain"}}"#);
        lab.accepted(|lab| &lab.carla, &message, |_| ());
    }
}

#[test]
fn a_document_holds_no_edits_and_keeps_its_device_in_a_checkpoint() {
    let mut lab = Lab::document();
    let checkpoint = r#"{"body":"QQ==","type":"application/checkpoint"}"#;
    let own = TreePath::device(lab.alice.device());
    let refusal = lab.refused(|lab| &lab.alice, checkpoint, |edit| edit.remove(own));
    assert_eq!(refusal, Refusal::UnknownDevice(lab.alice.device()));
    let refusal =
        lab.refused(|lab| &lab.alice, checkpoint, |edit| edit.put(TreePath::Profile, b"x").unwrap());
    assert_refused(&refusal, unexpected(TreePath::Profile));
    let first = lab.conversation.initial_commit();
    let edit = format!(r#"{{"body":"y","edit":"{first}","type":"text/plain"}}"#);
    assert_eq!(lab.refused(|lab| &lab.alice, &edit, |_| ()), Refusal::NotEditable(Some(first)));
}

#[test]
fn a_merge_of_a_commit_with_itself_adds_nothing_and_three_parents_are_one_too_many() {
    let mut lab = Lab::group();
    let (head, tree) = (lab.head, lab.tree_of(lab.head));
    let twice = lab.raw(|lab| &lab.carla, tree, vec![head, head], "Merge commit");
    lab.verdict(twice).unwrap();
    for parents in [3, 16] {
        let octopus = lab.raw(|lab| &lab.carla, tree, vec![head; parents], "Merge commit");
        assert_eq!(lab.verdict(octopus).unwrap_err(), Refusal::TooManyParents(parents));
    }
    let crowd = lab.raw(|lab| &lab.carla, tree, vec![head; 17], "Merge commit");
    assert!(matches!(lab.verdict(crowd).unwrap_err(), Refusal::Object(_)));
}
