//! Validation against the recorded repositories, and refusals built on top of them.

use super::edit::TreeEdit;
use super::golden;
use super::lab::{Actor, Lab, NOW, conversation};
use super::layout::{TreePath, VoteAction};
use super::message::{MessageError, Mode, Relation, Target};
use super::object::{MemoryObjects, NewObject, ObjectKind, ObjectSource, UnsignedCommit};
use super::refusal::{Refusal, ValidationError};
use super::validate::Validator;
use crate::ids::{AccountId, BlobId, CommitId, ConversationId, TreeId};

#[test]
fn every_recorded_commit_is_valid() {
    for daemon in golden::DAEMONS {
        let golden = golden::load(daemon);
        for (name, repository) in &golden.repositories {
            let conversation = conversation(&golden.objects, repository.head);
            let mut validator = Validator::new(&golden.objects, conversation);
            let valid = validator.validate_history(repository.head, |_| false);
            let valid = valid.unwrap_or_else(|error| panic!("{daemon} {name}: {error}"));
            if let Some(messages) = &repository.messages {
                assert!(valid.len() >= messages.len());
            }
        }
    }
}

pub(super) fn unexpected(path: TreePath) -> impl Fn(&Refusal) -> bool {
    move |refusal| matches!(refusal, Refusal::UnexpectedChange { path: found, .. } if *found == path)
}

fn file_differs(path: &str) -> impl Fn(&Refusal) -> bool {
    move |refusal| matches!(refusal, Refusal::UnknownPath(found) if found == path)
}

#[track_caller]
pub(super) fn assert_refused(refusal: &Refusal, expected: impl Fn(&Refusal) -> bool) {
    assert!(expected(refusal), "{refusal:?}");
}

pub(super) const TEXT: &str = r#"{"body":"x","type":"text/plain"}"#;

pub(super) fn member(action: &str, person: AccountId) -> String {
    format!(r#"{{"action":"{action}","type":"member","uri":"{person}"}}"#)
}

#[test]
fn a_text_that_touches_files_is_refused() {
    let mut lab = Lab::group();
    let refusal = lab.refused(|lab| &lab.carla, TEXT, |edit| edit.put_at("readme.txt".into(), b"x").unwrap());
    assert_refused(&refusal, file_differs("readme.txt"));
    let refusal = lab.refused(|lab| &lab.carla, TEXT, |edit| edit.put(TreePath::Profile, b"x").unwrap());
    assert_refused(&refusal, unexpected(TreePath::Profile));
    // Binary content, which a textual summary of differences would not show.
    let refusal = lab.refused(|lab| &lab.carla, TEXT, |edit| edit.put(TreePath::Profile, b"\0\xff").unwrap());
    assert_refused(&refusal, unexpected(TreePath::Profile));
    let stranger = TreePath::invited(AccountId([1; 20]));
    let refusal = lab.refused(|lab| &lab.carla, TEXT, |edit| edit.put(stranger, b"").unwrap());
    assert_refused(&refusal, unexpected(stranger));
    let alice = TreePath::admin(lab.alice.account());
    let refusal = lab.refused(|lab| &lab.carla, TEXT, |edit| edit.remove(alice));
    assert_refused(&refusal, unexpected(alice));
}

/// A first commit by alice with another message or other files.
fn first(message: &str, change: impl FnOnce(&mut TreeEdit<'_, MemoryObjects>)) -> Result<(), Refusal> {
    let mut lab = Lab::begun(|alice| alice.local.begin(Mode::InvitesOnly, None, NOW).unwrap());
    let mut edit = TreeEdit::new(&lab.objects, Some(lab.tree_of(lab.head)));
    change(&mut edit);
    let edited = edit.finish().unwrap();
    lab.objects.extend(edited.objects);
    let id = lab.raw(|lab| &lab.alice, edited.root, Vec::new(), message);
    lab.conversation = ConversationId::from_initial_commit(id);
    lab.verdict(id).map(drop)
}

const INITIAL: &str = r#"{"mode":2,"type":"initial"}"#;

#[test]
fn a_first_commit_with_more_or_other_files_is_refused() {
    first(INITIAL, |_| ()).unwrap();
    let bob = Actor::of("newest", "bob");
    let (alice, device) = (Actor::of("newest", "alice").account(), Actor::of("newest", "alice").device());
    let invited = TreePath::invited(bob.account());
    let refusal = first(INITIAL, |edit| edit.put(invited, b"").unwrap()).unwrap_err();
    assert_refused(&refusal, unexpected(invited));
    let foreign = Lab::certificate("newest", "bob", true);
    let own = TreePath::admin(alice);
    let refusal = first(INITIAL, |edit| edit.put(own, foreign.as_bytes()).unwrap()).unwrap_err();
    assert_eq!(refusal, Refusal::ForeignCertificate(own));
    let second = TreePath::admin(bob.account());
    let refusal = first(INITIAL, |edit| edit.put(second, foreign.as_bytes()).unwrap()).unwrap_err();
    assert_refused(&refusal, unexpected(second));
    let device = TreePath::device(device);
    let foreign = Lab::certificate("newest", "bob", false);
    let refusal = first(INITIAL, |edit| edit.put(device, foreign.as_bytes()).unwrap()).unwrap_err();
    // The device is bob's then, so he is the founder, and alice has no place here.
    assert_refused(&refusal, unexpected(own));
    let refusal = first(INITIAL, |edit| edit.remove(own)).unwrap_err();
    assert_refused(&refusal, |refusal| matches!(refusal, Refusal::ExpectedChange { .. }));
}

#[test]
fn an_unknown_mode_is_refused() {
    for message in [
        r#"{"mode":5,"type":"initial"}"#,
        r#"{"mode":-1,"type":"initial"}"#,
        r#"{"mode":"2","type":"initial"}"#,
        r#"{"type":"initial"}"#,
        r#"{"mode":2,"type":"text/plain"}"#,
    ] {
        assert_eq!(first(message, |_| ()).unwrap_err(), Refusal::UnknownMode, "{message}");
    }
}

#[test]
fn another_first_commit_is_refused() {
    let mut lab = Lab::group();
    let tree = lab.tree_of(lab.head);
    let id = lab.raw(|lab| &lab.alice, tree, Vec::new(), INITIAL);
    assert_eq!(lab.verdict(id).unwrap_err(), Refusal::ForeignRoot);
}

/// The single admin bans somebody, honestly.
pub(super) fn ban(lab: &mut Lab, person: AccountId) {
    let target = Target::Account(person);
    lab.honest(|lab| &lab.alice, |writer| writer.vote(VoteAction::Ban, target).unwrap());
    lab.honest(|lab| &lab.alice, |writer| writer.resolve(VoteAction::Ban, target).unwrap().unwrap());
}

#[test]
fn profiles_against_the_rules_are_refused() {
    const PROFILE: &str = r#"{"type":"application/update-profile"}"#;
    let mut lab = Lab::group();
    let refusal = lab.refused(|lab| &lab.carla, PROFILE, |edit| edit.put(TreePath::Profile, b"x").unwrap());
    assert_eq!(refusal, Refusal::NotAdmin(lab.carla.account()));
    let stranger = TreePath::invited(AccountId([1; 20]));
    let refusal = lab.refused(
        |lab| &lab.alice,
        PROFILE,
        |edit| {
            edit.put(TreePath::Profile, b"x").unwrap();
            edit.put(stranger, b"").unwrap();
        },
    );
    assert_refused(&refusal, unexpected(stranger));
}

#[test]
fn strangers_and_former_members_are_refused() {
    let mut lab = Lab::group();
    let refusal = lab.refused(|lab| &lab.bob, TEXT, |_| ());
    assert_eq!(refusal, Refusal::UnknownDevice(lab.bob.device()));
    let device = Lab::certificate("newest", "bob", false);
    let own = TreePath::device(lab.bob.device());
    let refusal = lab.refused(|lab| &lab.bob, TEXT, |edit| edit.put(own, device.as_bytes()).unwrap());
    assert_eq!(refusal, Refusal::NotMember(lab.bob.account()));
    let carla = lab.carla.account();
    ban(&mut lab, carla);
    let refusal = lab.refused(|lab| &lab.carla, TEXT, |_| ());
    assert_eq!(refusal, Refusal::NotMember(carla));
}

#[test]
fn a_device_certificate_of_somebody_else_is_refused() {
    let mut lab = Lab::group();
    let own = TreePath::device(lab.carla.device());
    for name in ["bob", "alice"] {
        let foreign = Lab::certificate("newest", name, false);
        let refusal = lab.refused(|lab| &lab.carla, TEXT, |edit| edit.put(own, foreign.as_bytes()).unwrap());
        assert_eq!(refusal, Refusal::ForeignCertificate(own));
    }
    let refusal = lab.refused(|lab| &lab.carla, TEXT, |edit| edit.put(own, b"nonsense").unwrap());
    assert_eq!(refusal, Refusal::NotCertificate(own));
    // Another account's certificate in the place of one's own.
    let account = TreePath::member(lab.carla.account());
    let foreign = Lab::certificate("newest", "bob", true);
    let refusal = lab.refused(|lab| &lab.carla, TEXT, |edit| edit.put(account, foreign.as_bytes()).unwrap());
    assert_eq!(refusal, Refusal::ForeignCertificate(account));
}

#[test]
fn a_merge_that_changes_something_itself_is_refused() {
    let mut lab = Lab::group();
    let base = lab.head;
    let one = lab.honest(|lab| &lab.alice, |writer| writer.text("one", Relation::None).unwrap());
    lab.head = base;
    let other = lab.honest(|lab| &lab.carla, |writer| writer.text("other", Relation::None).unwrap());
    let merge = |lab: &mut Lab, change: &dyn Fn(&mut TreeEdit<'_, MemoryObjects>)| {
        let mut edit = TreeEdit::new(&lab.objects, Some(lab.tree_of(one)));
        change(&mut edit);
        let edited = edit.finish().unwrap();
        lab.objects.extend(edited.objects);
        let id = lab.raw(|lab| &lab.carla, edited.root, vec![one, other], "Merge commit");
        lab.verdict(id).map(drop)
    };
    merge(&mut lab, &|_| ()).unwrap();
    let invited = TreePath::invited(AccountId([1; 20]));
    for (path, content) in [(invited, &b""[..]), (TreePath::Profile, b"x")] {
        let refusal = merge(&mut lab, &|edit| edit.put(path, content).unwrap()).unwrap_err();
        assert_refused(&refusal, |refusal| matches!(refusal, Refusal::MergeChanges(_)));
    }
    let alice = TreePath::admin(lab.alice.account());
    let refusal = merge(&mut lab, &|edit| edit.remove(alice)).unwrap_err();
    assert_refused(&refusal, |refusal| matches!(refusal, Refusal::MergeChanges(_)));
    let tree = lab.tree_of(lab.head);
    let id = lab.raw(|lab| &lab.carla, tree, vec![one, other, base], "Merge commit");
    assert_eq!(lab.verdict(id).unwrap_err(), Refusal::TooManyParents(3));
}

#[test]
fn edits_of_what_is_not_one_s_own_or_not_there_are_refused() {
    let mut lab = Lab::group();
    let founding = lab.founding();
    let edit = |id: CommitId| format!(r#"{{"body":"y","edit":"{id}","type":"text/plain"}}"#);
    let by_alice = lab.honest(|lab| &lab.alice, |writer| writer.text("x", Relation::None).unwrap());
    let refusal = lab.refused(|lab| &lab.carla, &edit(by_alice), |_| ());
    assert_eq!(refusal, Refusal::ForeignEdit);
    let missing = CommitId([7; 20]);
    let refusal = lab.refused(|lab| &lab.carla, &edit(missing), |_| ());
    assert_eq!(refusal, Refusal::EditedIsMissing(missing));
    assert!(!refusal.is_final(), "it may come with another branch");
    let refusal = lab.refused(|lab| &lab.carla, r#"{"edit":"x","type":"text/plain"}"#, |_| ());
    assert_eq!(refusal, Refusal::NotEditable(None));
    let bob = lab.bob.account();
    let invitation = lab.honest(|lab| &lab.alice, |writer| writer.invite(bob, &founding).unwrap());
    let refusal = lab.refused(|lab| &lab.alice, &edit(invitation), |_| ());
    assert_eq!(refusal, Refusal::NotEditable(Some(invitation)));
    let refusal =
        lab.refused(|lab| &lab.alice, &edit(by_alice), |edit| edit.put(TreePath::Profile, b"x").unwrap());
    assert_refused(&refusal, unexpected(TreePath::Profile));
    let old_style = format!(r#"{{"body":"y","edit":"{by_alice}","type":"application/edited-message"}}"#);
    let id = lab.forge(|lab| &lab.alice, &old_style, |_| ());
    lab.verdict(id).unwrap();
}

#[test]
fn messages_that_are_none_are_refused_and_unknown_types_accepted() {
    let mut lab = Lab::group();
    for message in ["", "hello", "[]", "{", "Merge commit 'x'"] {
        let refusal = lab.refused(|lab| &lab.carla, message, |_| ());
        assert_eq!(refusal, Refusal::Message(MessageError::NotJson), "{message}");
    }
    for message in ["{}", r#"{"type":""}"#] {
        assert_eq!(lab.refused(|lab| &lab.carla, message, |_| ()), Refusal::Message(MessageError::NoType));
    }
    let id = lab.forge(|lab| &lab.carla, r#"{"type":"application/of-tomorrow"}"#, |_| ());
    lab.verdict(id).unwrap();
}

#[test]
fn documents_hold_checkpoints_and_conversations_do_not() {
    const CHECKPOINT: &str = r#"{"body":"QQ==","type":"application/checkpoint"}"#;
    let mut lab = Lab::group();
    let refusal = lab.refused(|lab| &lab.alice, CHECKPOINT, |_| ());
    assert_refused(&refusal, |refusal| matches!(refusal, Refusal::WrongMode { .. }));

    let mut lab = Lab::document();
    let text = lab.refused(|lab| &lab.alice, TEXT, |_| ());
    assert_refused(&text, |refusal| matches!(refusal, Refusal::WrongMode { .. }));
    let content = b"an attachment";
    let right = BlobId(NewObject::new(ObjectKind::Blob, &content[..]).unwrap().id);
    let attached = TreePath::Attachment(right);
    let id = lab.forge(|lab| &lab.alice, CHECKPOINT, |edit| edit.put(attached, content).unwrap());
    lab.verdict(id).unwrap();
    lab.head = id;
    let refusal = lab.refused(|lab| &lab.alice, CHECKPOINT, |edit| edit.remove(attached));
    assert_refused(&refusal, unexpected(attached));
    let wrong = TreePath::Attachment(BlobId([1; 20]));
    let refusal = lab.refused(|lab| &lab.alice, CHECKPOINT, |edit| edit.put(wrong, content).unwrap());
    assert_refused(&refusal, unexpected(wrong));
}

#[test]
fn unsigned_altered_and_foreign_signatures_are_refused() {
    let mut lab = Lab::group();
    let good = lab.forge(|lab| &lab.carla, TEXT, |_| ());
    let text = String::from_utf8(lab.objects.commit(good).unwrap().unwrap().to_vec()).unwrap();
    let device = lab.carla.device();
    let altered = text.replace("\"body\":\"x\"", "\"body\":\"y\"");
    let (head, tail) = text.split_once("signature ").unwrap();
    let unsigned = format!("{head}{}", tail.split_once('\n').unwrap().1);
    let renamed = text.replace(&device.to_hex(), &lab.alice.device().to_hex());
    let nobody = text.replace(&device.to_hex(), "somebody");
    for (text, expected) in [
        (altered, Refusal::BadSignature(device)),
        (unsigned, Refusal::NoSignature),
        (renamed, Refusal::BadSignature(lab.alice.device())),
        (nobody, Refusal::AuthorIsNoDevice),
    ] {
        let object = NewObject::new(ObjectKind::Commit, text.into_bytes()).unwrap();
        let id = CommitId(object.id);
        lab.objects.insert(object);
        assert_eq!(lab.verdict(id).unwrap_err(), expected);
    }
}

#[test]
fn an_altered_first_commit_is_refused() {
    let lab = Lab::group();
    let first = lab.objects.commit(lab.conversation.initial_commit()).unwrap().unwrap();
    let text = String::from_utf8(first.to_vec()).unwrap().replace("\"mode\":2", "\"mode\":1");
    let object = NewObject::new(ObjectKind::Commit, text.into_bytes()).unwrap();
    let id = CommitId(object.id);
    let mut objects = lab.objects.clone();
    objects.insert(object);
    let error = Validator::new(&objects, ConversationId::from_initial_commit(id)).validate(id).unwrap_err();
    assert!(matches!(error, ValidationError::Refused { refusal: Refusal::BadSignature(_), .. }));
}

#[test]
fn expired_certificates_do_not_sign() {
    let mut lab = Lab::group();
    let tree = lab.tree_of(lab.head);
    let mut commit = UnsignedCommit {
        tree,
        parents: vec![lab.head],
        name: String::new(),
        device: lab.carla.device(),
        seconds: 4_000_000_000,
        message: TEXT.as_bytes().to_vec(),
    };
    let mut verdict = |commit: &UnsignedCommit| {
        let signed = commit.sign(&Actor::of("newest", "carla").key).unwrap();
        lab.objects.insert_commit(&signed);
        lab.verdict(signed.id).map(drop)
    };
    assert!(matches!(verdict(&commit).unwrap_err(), Refusal::Expired(_)));
    // A time before the parent's is accepted.
    commit.seconds = 1_700_000_000;
    verdict(&commit).unwrap();
}

#[test]
fn history_without_the_first_commit_or_with_a_missing_object_is_refused() {
    let lab = Lab::group();
    let mut other = Lab::one_to_one();
    let error =
        Validator::new(&other.objects, lab.conversation).validate_history(other.head, |_| false).unwrap_err();
    assert!(matches!(error, ValidationError::Refused { refusal: Refusal::ForeignRoot, .. }));
    let missing = other.raw(|lab| &lab.alice, TreeId([1; 20]), vec![CommitId([2; 20])], TEXT);
    let error =
        Validator::new(&other.objects, other.conversation).validate_history(missing, |_| false).unwrap_err();
    assert!(matches!(error, ValidationError::Refused { refusal: Refusal::Missing(_), .. }));
}

#[test]
fn only_what_is_new_is_judged() {
    let mut lab = Lab::group();
    let old = lab.head;
    let new = lab.honest(|lab| &lab.carla, |writer| writer.text("x", Relation::None).unwrap());
    let mut validator = Validator::new(&lab.objects, lab.conversation);
    let valid = validator.validate_history(new, |id| id == old).unwrap();
    assert_eq!(valid.iter().map(|valid| valid.id()).collect::<Vec<_>>(), [new]);
    assert_eq!(valid[0].author(), lab.carla.account());
    assert_eq!(validator.founding().unwrap().mode, Mode::InvitesOnly);
}
