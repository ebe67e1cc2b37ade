//! Refusals of votes, invitations, joins, leaves and bans, and of ways around a ban.

use super::diff::TreeReader;
use super::lab::Lab;
use super::layout::{Folder, TreePath, VoteAction};
use super::message::{Relation, Target};
use super::refusal::Refusal;
use super::validate_tests::{TEXT, assert_refused, ban, member, unexpected};
use crate::ids::AccountId;

const VOTE: &str = r#"{"type":"vote","uri":"1111111111111111111111111111111111111111"}"#;

fn vote(action: VoteAction, target: AccountId, voter: AccountId) -> TreePath {
    TreePath::Vote { action, folder: Folder::Members, target: Target::Account(target), voter }
}

#[test]
fn votes_against_the_rules_are_refused() {
    let mut lab = Lab::group();
    let (alice, carla) = (lab.alice.account(), lab.carla.account());
    let good = vote(VoteAction::Ban, carla, alice);
    let refusal = lab.refused(|lab| &lab.alice, VOTE, |edit| edit.put(good, b"x").unwrap());
    assert_refused(&refusal, unexpected(good));
    let refusal = lab.refused(
        |lab| &lab.alice,
        VOTE,
        |edit| {
            edit.put(good, b"").unwrap();
            edit.put(TreePath::Profile, b"x").unwrap();
        },
    );
    assert_refused(&refusal, unexpected(TreePath::Profile));
    let second = vote(VoteAction::Unban, carla, alice);
    let refusal = lab.refused(
        |lab| &lab.alice,
        VOTE,
        |edit| {
            edit.put(good, b"").unwrap();
            edit.put(second, b"").unwrap();
        },
    );
    assert_eq!(refusal, Refusal::NotOneVote);
    let other = vote(VoteAction::Ban, carla, AccountId([1; 20]));
    let refusal = lab.refused(|lab| &lab.alice, VOTE, |edit| edit.put(other, b"").unwrap());
    assert_refused(&refusal, unexpected(other));
    let by_member = vote(VoteAction::Ban, alice, carla);
    let refusal = lab.refused(|lab| &lab.carla, VOTE, |edit| edit.put(by_member, b"").unwrap());
    assert_eq!(refusal, Refusal::NotAdmin(carla));
    for target in [alice, AccountId([1; 20])] {
        let vote = vote(VoteAction::Ban, target, alice);
        let refusal = lab.refused(|lab| &lab.alice, VOTE, |edit| edit.put(vote, b"").unwrap());
        assert_eq!(refusal, Refusal::WrongTarget);
    }
}

#[test]
fn invitations_against_the_rules_are_refused() {
    let mut lab = Lab::group();
    let (bob, carla) = (lab.bob.account(), lab.carla.account());
    let (invitation, add) = (TreePath::invited(bob), member("add", bob));
    let refusal = lab.refused(
        |lab| &lab.alice,
        &add,
        |edit| {
            edit.put(invitation, b"").unwrap();
            edit.put(TreePath::Profile, b"x").unwrap();
        },
    );
    assert_refused(&refusal, unexpected(TreePath::Profile));
    let refusal = lab.refused(|lab| &lab.alice, &add, |edit| edit.put(invitation, b"x").unwrap());
    assert_refused(&refusal, unexpected(invitation));
    let refusal = lab.refused(|lab| &lab.alice, &add, |_| ());
    assert_refused(&refusal, |refusal| matches!(refusal, Refusal::ExpectedChange { .. }));
    let oneself = TreePath::invited(lab.alice.account());
    let add_oneself = member("add", lab.alice.account());
    let refusal = lab.refused(|lab| &lab.alice, &add_oneself, |edit| edit.put(oneself, b"").unwrap());
    assert_eq!(refusal, Refusal::WrongTarget);

    ban(&mut lab, carla);
    let add = member("add", carla);
    let refusal =
        lab.refused(|lab| &lab.alice, &add, |edit| edit.put(TreePath::invited(carla), b"").unwrap());
    assert_eq!(refusal, Refusal::WrongTarget);
}

#[test]
fn a_third_person_is_refused_one_to_one_but_one_who_left_may_return() {
    let mut lab = Lab::one_to_one();
    let founding = lab.founding();
    let carla = lab.carla.account();
    let refusal = lab.refused(
        |lab| &lab.alice,
        &member("add", carla),
        |edit| {
            edit.put(TreePath::invited(carla), b"").unwrap();
        },
    );
    assert_eq!(refusal, Refusal::WrongTarget);
    let bob = lab.bob.account();
    lab.honest(|lab| &lab.bob, |writer| writer.leave().unwrap());
    lab.honest(|lab| &lab.alice, |writer| writer.invite(bob, &founding).unwrap());
}

#[test]
fn joins_against_the_rules_are_refused() {
    let mut lab = Lab::group();
    let founding = lab.founding();
    let bob = lab.bob.account();
    let join = member("join", bob);
    let [account, device, foreign] = [("bob", true), ("bob", false), ("carla", false)]
        .map(|(name, is_account)| Lab::certificate("newest", name, is_account));
    let (invited, own_device) = (TreePath::invited(bob), TreePath::device(lab.bob.device()));
    let joined = (TreePath::member(bob), Some(account.as_str()));
    let with_device = (own_device, Some(device.as_str()));
    let uninvited = (invited, None);
    // Files and what they hold afterwards; nothing removes them.
    let refused = |lab: &mut Lab, changes: &[(TreePath, Option<&str>)]| {
        lab.refused(
            |lab| &lab.bob,
            &join,
            |edit| {
                for (path, content) in changes {
                    match content {
                        Some(content) => edit.put(*path, content.as_bytes()).unwrap(),
                        None => edit.remove(*path),
                    }
                }
            },
        )
    };
    let wants_invitation =
        |refusal: &Refusal| matches!(refusal, Refusal::ExpectedChange { path, .. } if *path == invited);
    // Nobody invited bob.
    assert_refused(&refused(&mut lab, &[joined, with_device]), wants_invitation);

    lab.honest(|lab| &lab.alice, |writer| writer.invite(bob, &founding).unwrap());
    let more = refused(&mut lab, &[uninvited, joined, with_device, (TreePath::Profile, Some("x"))]);
    assert_refused(&more, unexpected(TreePath::Profile));
    assert_refused(&refused(&mut lab, &[joined, with_device]), wants_invitation);
    assert_eq!(refused(&mut lab, &[uninvited, with_device]), Refusal::NotMember(bob));
    let unknown = Refusal::UnknownDevice(lab.bob.device());
    assert_eq!(refused(&mut lab, &[uninvited, joined]), unknown);
    let foreign = refused(&mut lab, &[uninvited, joined, (own_device, Some(&foreign))]);
    assert_eq!(foreign, Refusal::ForeignCertificate(own_device));
    let admin = TreePath::admin(bob);
    let straight = refused(&mut lab, &[uninvited, (admin, Some(&account)), with_device]);
    assert_refused(&straight, unexpected(admin));
}

#[test]
fn leaves_against_the_rules_are_refused() {
    let mut lab = Lab::group();
    let (alice, carla) = (lab.alice.account(), lab.carla.account());
    let leave = member("remove", carla);
    let foreign = TreePath::device(lab.alice.device());
    let refusal = lab.refused(
        |lab| &lab.carla,
        &leave,
        |edit| {
            edit.remove(TreePath::member(carla));
            edit.remove(foreign);
        },
    );
    assert_refused(&refusal, unexpected(foreign));
    let refusal =
        lab.refused(|lab| &lab.carla, &member("remove", alice), |edit| edit.remove(TreePath::admin(alice)));
    assert_eq!(refusal, Refusal::WrongTarget);
    let account = Lab::certificate("newest", "carla", true);
    let promoted = TreePath::admin(carla);
    let refusal =
        lab.refused(|lab| &lab.carla, &leave, |edit| edit.put(promoted, account.as_bytes()).unwrap());
    assert_refused(&refusal, unexpected(promoted));
}

#[test]
fn a_leave_may_keep_the_device_files_as_old_releases_do() {
    let mut lab = Lab::group();
    let carla = lab.carla.account();
    let id =
        lab.forge(|lab| &lab.carla, &member("remove", carla), |edit| edit.remove(TreePath::member(carla)));
    lab.verdict(id).unwrap();
}

#[test]
fn bans_against_the_rules_are_refused() {
    let mut lab = Lab::group();
    let (alice, carla) = (lab.alice.account(), lab.carla.account());
    let (standing, banned) =
        (TreePath::member(carla), TreePath::Banned(Folder::Members, Target::Account(carla)));
    let ban = member("ban", carla);
    let file = TreeReader::new(&lab.objects).file(lab.tree_of(lab.head), standing).unwrap().unwrap();
    let vote = vote(VoteAction::Ban, carla, alice);
    let refusal = lab.refused(
        |lab| &lab.alice,
        &ban,
        |edit| {
            edit.remove(standing);
            edit.place(banned, file);
        },
    );
    assert_eq!(refusal, Refusal::NotEnoughVotes { votes: 0, admins: 1 });
    let refusal = lab.refused(
        |lab| &lab.alice,
        &ban,
        |edit| {
            edit.put(vote, b"").unwrap();
            edit.remove(standing);
            edit.place(banned, file);
        },
    );
    assert_refused(&refusal, unexpected(vote));
    let target = Target::Account(carla);
    lab.honest(|lab| &lab.alice, |writer| writer.vote(VoteAction::Ban, target).unwrap());
    let refusal = lab.refused(|lab| &lab.carla, &ban, |edit| edit.remove(vote));
    assert_eq!(refusal, Refusal::NotAdmin(carla));
    let refusal = lab.refused(
        |lab| &lab.alice,
        &ban,
        |edit| {
            edit.remove(vote);
            edit.remove(standing);
            edit.place(banned, file);
            edit.put(TreePath::Profile, b"x").unwrap();
        },
    );
    assert_refused(&refusal, unexpected(TreePath::Profile));
    let refusal = lab.refused(
        |lab| &lab.alice,
        &ban,
        |edit| {
            edit.remove(vote);
        },
    );
    assert_eq!(refusal, Refusal::NobodyBanned);
    let refusal = lab.refused(
        |lab| &lab.alice,
        &ban,
        |edit| {
            edit.remove(vote);
            edit.remove(standing);
            edit.put(banned, b"another file").unwrap();
        },
    );
    assert_refused(&refusal, unexpected(banned));
    let promoted = TreePath::admin(carla);
    let refusal = lab.refused(
        |lab| &lab.alice,
        &ban,
        |edit| {
            edit.remove(vote);
            edit.remove(standing);
            edit.place(banned, file);
            edit.place(promoted, file);
        },
    );
    assert_refused(&refusal, unexpected(promoted));
}

#[test]
fn member_commits_with_malformed_fields_are_refused() {
    let mut lab = Lab::group();
    for uri in ["", "x", &"0".repeat(40), &"A".repeat(40), &"1".repeat(41)] {
        let message = format!(r#"{{"action":"add","type":"member","uri":"{uri}"}}"#);
        assert_eq!(lab.refused(|lab| &lab.alice, &message, |_| ()), Refusal::MalformedTarget);
    }
    let device = format!(r#"{{"action":"add","type":"member","uri":"{}"}}"#, lab.carla.device());
    assert_eq!(lab.refused(|lab| &lab.alice, &device, |_| ()), Refusal::MalformedTarget);
    let promote = member("promote", lab.carla.account());
    assert_eq!(lab.refused(|lab| &lab.alice, &promote, |_| ()), Refusal::UnknownAction);
}

#[test]
fn a_banned_device_cannot_bring_its_certificate_again() {
    let mut lab = Lab::group();
    let target = Target::Device(lab.carla.device());
    lab.honest(|lab| &lab.alice, |writer| writer.vote(VoteAction::Ban, target).unwrap());
    lab.honest(|lab| &lab.alice, |writer| writer.resolve(VoteAction::Ban, target).unwrap().unwrap());
    let device = Lab::certificate("newest", "carla", false);
    let own = TreePath::device(lab.carla.device());
    let refusal = lab.refused(|lab| &lab.carla, TEXT, |edit| edit.put(own, device.as_bytes()).unwrap());
    assert_eq!(refusal, Refusal::BannedDevice(lab.carla.device()));
}

#[test]
fn a_merge_cannot_drop_a_ban() {
    let mut lab = Lab::group();
    let (base, carla) = (lab.head, lab.carla.account());
    ban(&mut lab, carla);
    let banned = lab.head;
    lab.head = base;
    let fork = lab.honest(|lab| &lab.carla, |writer| writer.text("before", Relation::None).unwrap());
    // The fork itself is valid: its tree knows no ban yet.
    let old_tree = lab.tree_of(fork);
    let id = lab.raw(|lab| &lab.carla, old_tree, vec![fork, banned], "Merge commit");
    let path = TreePath::Banned(Folder::Members, Target::Account(carla));
    assert_eq!(lab.verdict(id).unwrap_err(), Refusal::MergeDropsBan(path));
    // A merge that keeps the ban is for others to make.
    let new_tree = lab.tree_of(banned);
    let id = lab.raw(|lab| &lab.carla, new_tree, vec![fork, banned], "Merge commit");
    assert_eq!(lab.verdict(id).unwrap_err(), Refusal::NotMember(carla));
    let id = lab.raw(|lab| &lab.alice, new_tree, vec![banned, fork], "Merge commit");
    lab.verdict(id).unwrap();
}

#[test]
fn a_merge_may_take_over_an_unban() {
    let mut lab = Lab::group();
    let carla = lab.carla.account();
    ban(&mut lab, carla);
    let base = lab.head;
    let fork = lab.honest(|lab| &lab.alice, |writer| writer.text("meanwhile", Relation::None).unwrap());
    lab.head = base;
    let target = Target::Account(carla);
    lab.honest(|lab| &lab.alice, |writer| writer.vote(VoteAction::Unban, target).unwrap());
    let unbanned =
        lab.honest(|lab| &lab.alice, |writer| writer.resolve(VoteAction::Unban, target).unwrap().unwrap());
    let tree = lab.tree_of(unbanned);
    let id = lab.raw(|lab| &lab.alice, tree, vec![fork, unbanned], "Merge commit");
    lab.verdict(id).unwrap();
}
