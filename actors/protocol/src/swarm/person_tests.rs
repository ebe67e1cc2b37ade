//! Sentences of `spec: swarm 7.3 C to F` and the member test cases, each accepted and refused:
//! invitations, joins, leaves, bans and unbans.

use super::create::CreateError;
use super::lab::{Lab, NOW};
use super::layout::{Folder, Members, Role, TreePath, VoteAction};
use super::message::{Mode, Relation, Target};
use super::object::EMPTY_BLOB;
use super::refusal::Refusal;
use super::validate::Founding;
use super::validate_tests::{TEXT, assert_refused, ban, member, unexpected};
use crate::ids::AccountId;

const STRANGER: AccountId = AccountId([1; 20]);

fn person(account: AccountId) -> Target {
    Target::Account(account)
}

/// Carla becomes a second admin, which no commit of today's releases can do.
/// The group, in which carla is an admin, too.
pub(super) fn with_two_admins() -> Lab {
    let mut lab = Lab::group();
    let carla = lab.carla.account();
    let file = lab.file(TreePath::member(carla)).unwrap();
    lab.arrange(|edit| {
        edit.remove(TreePath::member(carla));
        edit.place(TreePath::admin(carla), file);
    });
    lab
}

#[test]
fn any_member_s_invitation_is_valid_in_every_group_mode() {
    for mode in [Mode::AdminInvitesOnly, Mode::InvitesOnly, Mode::Public] {
        let mut lab = Lab::begun(|alice| alice.local.begin(mode, None, NOW).unwrap());
        let founding = lab.founding();
        let (bob, carla) = (lab.bob.account(), lab.carla.account());
        lab.honest(|lab| &lab.alice, |writer| writer.invite(carla, &founding).unwrap());
        lab.honest(|lab| &lab.carla, |writer| writer.join().unwrap());
        // Mode 1 leaves it to the members to keep to it.
        let invite = |edit: &mut super::edit::TreeEdit<'_, _>| edit.put(TreePath::invited(bob), b"").unwrap();
        lab.accepted(|lab| &lab.carla, &member("add", bob), invite);
    }
}

#[test]
fn a_document_takes_invitations_and_joins() {
    let mut lab = Lab::document();
    let (founding, carla) = (lab.founding(), lab.carla.account());
    lab.honest(|lab| &lab.bob, |writer| writer.invite(carla, &founding).unwrap());
    lab.honest(|lab| &lab.carla, |writer| writer.join().unwrap());
    assert_eq!(lab.role(carla), Some(Role::Member));
}

#[test]
fn an_invitation_may_come_with_a_device_and_revocations_of_its_author_only() {
    let mut lab = Lab::group();
    let (alice, bob) = (lab.alice.account(), lab.bob.account());
    let device = Lab::certificate("newest", "alice2", false);
    let (own, add) = (TreePath::device(lab.alice2.device()), member("add", bob));
    lab.accepted(
        |lab| &lab.alice2,
        &add,
        |edit| {
            edit.put(TreePath::invited(bob), b"").unwrap();
            edit.put(own, device.as_bytes()).unwrap();
            edit.put(TreePath::Revocations(alice), b"x").unwrap();
        },
    );
    let foreign = TreePath::Revocations(STRANGER);
    let refusal = lab.refused(
        |lab| &lab.alice,
        &add,
        |edit| {
            edit.put(TreePath::invited(bob), b"").unwrap();
            edit.put(foreign, b"x").unwrap();
        },
    );
    assert_refused(&refusal, unexpected(foreign));
}

#[test]
fn an_invitation_of_somebody_invited_already_needs_some_change() {
    let mut lab = Lab::group();
    let (founding, bob) = (lab.founding(), lab.bob.account());
    lab.honest(|lab| &lab.carla, |writer| writer.invite(bob, &founding).unwrap());
    let add = member("add", bob);
    let nothing = lab.refused(|lab| &lab.alice, &add, |_| ());
    assert_refused(&nothing, |refusal| matches!(refusal, Refusal::ExpectedChange { .. }));
    let device = Lab::certificate("newest", "alice2", false);
    let own = TreePath::device(lab.alice2.device());
    lab.accepted(|lab| &lab.alice2, &add, |edit| edit.put(own, device.as_bytes()).unwrap());
}

#[test]
fn who_was_banned_before_joining_may_be_invited_again_as_the_reference_has_it() {
    let mut lab = Lab::group();
    let (founding, bob) = (lab.founding(), lab.bob.account());
    lab.honest(|lab| &lab.carla, |writer| writer.invite(bob, &founding).unwrap());
    ban(&mut lab, bob);
    assert_eq!(lab.role(bob), Some(Role::Banned));
    let invite = |edit: &mut super::edit::TreeEdit<'_, _>| edit.put(TreePath::invited(bob), b"").unwrap();
    lab.accepted(|lab| &lab.carla, &member("add", bob), invite);
}

#[test]
fn nobody_joins_in_the_name_or_with_the_certificate_of_another() {
    let mut lab = Lab::group();
    let (founding, bob) = (lab.founding(), lab.bob.account());
    lab.honest(|lab| &lab.alice, |writer| writer.invite(bob, &founding).unwrap());
    let account = Lab::certificate("newest", "bob", true);
    let refusal = lab.refused(
        |lab| &lab.carla,
        &member("join", bob),
        |edit| {
            edit.remove(TreePath::invited(bob));
            edit.put(TreePath::member(bob), account.as_bytes()).unwrap();
        },
    );
    assert_eq!(refusal, Refusal::WrongTarget);
    let (foreign, device) =
        (Lab::certificate("newest", "alice", true), Lab::certificate("newest", "bob", false));
    let own = TreePath::device(lab.bob.device());
    let refusal = lab.refused(
        |lab| &lab.bob,
        &member("join", bob),
        |edit| {
            edit.remove(TreePath::invited(bob));
            edit.put(TreePath::member(bob), foreign.as_bytes()).unwrap();
            edit.put(own, device.as_bytes()).unwrap();
        },
    );
    assert_eq!(refusal, Refusal::ForeignCertificate(TreePath::member(bob)));
    lab.honest(|lab| &lab.bob, |writer| writer.join().unwrap());
}

#[test]
fn a_leave_may_take_all_devices_of_its_author_along() {
    let mut lab = Lab::group();
    lab.honest(|lab| &lab.alice2, |writer| writer.text("here too", Relation::None).unwrap());
    let devices = [lab.alice.device(), lab.alice2.device()].map(TreePath::device);
    lab.honest(|lab| &lab.alice, |writer| writer.leave().unwrap());
    assert!(devices.iter().all(|device| lab.file(*device).is_none()));
    assert_eq!(lab.role(lab.alice.account()), None);
    assert!(matches!(lab.refused(|lab| &lab.alice, TEXT, |_| ()), Refusal::UnknownDevice(_)));
}

#[test]
fn a_leave_may_answer_an_invitation_and_drop_revocations() {
    let mut lab = Lab::group();
    let carla = lab.carla.account();
    lab.arrange(|edit| edit.put(TreePath::invited(carla), b"").unwrap());
    lab.accepted(
        |lab| &lab.carla,
        &member("remove", carla),
        |edit| {
            edit.remove(TreePath::member(carla));
            edit.remove(TreePath::invited(carla));
            edit.put(TreePath::Revocations(carla), b"x").unwrap();
        },
    );
}

#[test]
fn who_is_both_invited_and_a_member_is_banned_from_both() {
    // Two sides invite carla, on one of them she joins, and both are merged.
    let mut lab = Lab::group();
    let carla = lab.carla.account();
    lab.arrange(|edit| edit.put(TreePath::invited(carla), b"").unwrap());
    let target = person(carla);
    lab.honest(|lab| &lab.alice, |writer| writer.vote(VoteAction::Ban, target).unwrap());
    let (standing, banned) = (TreePath::member(carla), TreePath::Banned(Folder::Members, target));
    let file = lab.file(standing).unwrap();
    let vote = TreePath::Vote {
        action: VoteAction::Ban,
        folder: Folder::Members,
        target,
        voter: lab.alice.account(),
    };
    let vote = if lab.file(vote).is_some() {
        vote
    } else {
        TreePath::Vote {
            action: VoteAction::Ban,
            folder: Folder::Invited,
            target,
            voter: lab.alice.account(),
        }
    };
    lab.accepted(
        |lab| &lab.alice,
        &member("ban", carla),
        |edit| {
            edit.remove(vote);
            edit.remove(standing);
            edit.remove(TreePath::invited(carla));
            edit.place(banned, file);
        },
    );
}

#[test]
fn a_ban_may_take_the_devices_of_the_banned_along_and_an_unban_brings_them_back() {
    let mut lab = Lab::group();
    let (alice, carla) = (lab.alice.account(), lab.carla.account());
    let (target, device) = (person(carla), TreePath::device(lab.carla.device()));
    let (standing, banned) = (TreePath::member(carla), TreePath::Banned(Folder::Members, target));
    let (file, device_file) = (lab.file(standing).unwrap(), lab.file(device).unwrap());
    let vote = |action| TreePath::Vote { action, folder: Folder::Members, target, voter: alice };
    lab.honest(|lab| &lab.alice, |writer| writer.vote(VoteAction::Ban, target).unwrap());
    let foreign = TreePath::device(lab.alice2.device());
    let refusal = lab.refused(
        |lab| &lab.alice,
        &member("ban", carla),
        |edit| {
            edit.remove(vote(VoteAction::Ban));
            edit.remove(standing);
            edit.place(banned, file);
            edit.place(foreign, device_file);
        },
    );
    assert_refused(&refusal, unexpected(foreign));
    lab.head = lab.accepted(
        |lab| &lab.alice,
        &member("ban", carla),
        |edit| {
            edit.remove(vote(VoteAction::Ban));
            edit.remove(standing);
            edit.remove(device);
            edit.place(banned, file);
        },
    );
    lab.honest(|lab| &lab.alice, |writer| writer.vote(VoteAction::Unban, target).unwrap());
    lab.accepted(
        |lab| &lab.alice,
        &member("unban", carla),
        |edit| {
            edit.remove(vote(VoteAction::Unban));
            edit.remove(banned);
            edit.place(standing, file);
            edit.place(device, device_file);
        },
    );
    let promoted = TreePath::admin(carla);
    let refusal = lab.refused(
        |lab| &lab.alice,
        &member("unban", carla),
        |edit| {
            edit.remove(vote(VoteAction::Unban));
            edit.remove(banned);
            edit.place(promoted, file);
        },
    );
    assert_refused(&refusal, unexpected(promoted));
}

#[test]
fn of_two_admins_one_vote_is_not_enough_to_make_a_ban_but_half_is_enough_to_accept_one() {
    let mut lab = with_two_admins();
    let founding = lab.founding();
    let (alice, bob) = (lab.alice.account(), lab.bob.account());
    let target = person(bob);
    lab.honest(|lab| &lab.carla, |writer| writer.invite(bob, &founding).unwrap());
    lab.honest(|lab| &lab.bob, |writer| writer.join().unwrap());
    lab.honest(|lab| &lab.alice, |writer| writer.vote(VoteAction::Ban, target).unwrap());
    let standing = TreePath::member(bob);
    let file = lab.file(standing).unwrap();
    lab.accepted(
        |lab| &lab.alice,
        &member("ban", bob),
        |edit| {
            edit.remove(TreePath::Vote {
                action: VoteAction::Ban,
                folder: Folder::Members,
                target,
                voter: alice,
            });
            edit.remove(standing);
            edit.place(TreePath::Banned(Folder::Members, target), file);
        },
    );
    lab.honest(
        |lab| &lab.carla,
        |writer| {
            assert!(writer.resolve(VoteAction::Ban, target).unwrap().is_none());
            writer.vote(VoteAction::Ban, target).unwrap()
        },
    );
    lab.honest(|lab| &lab.carla, |writer| writer.resolve(VoteAction::Ban, target).unwrap().unwrap());
    assert_eq!(lab.role(bob), Some(Role::Banned));
}

#[test]
fn votes_of_those_who_are_no_admins_any_more_do_not_count() {
    let mut lab = Lab::group();
    let (founding, carla, bob) = (lab.founding(), lab.carla.account(), lab.bob.account());
    lab.honest(|lab| &lab.alice, |writer| writer.invite(bob, &founding).unwrap());
    let target = person(bob);
    let votes: Vec<TreePath> = (0..50)
        .map(|number| AccountId([number; 20]))
        .chain([carla])
        .map(|voter| TreePath::Vote { action: VoteAction::Ban, folder: Folder::Invited, target, voter })
        .collect();
    lab.arrange(|edit| votes.iter().for_each(|vote| edit.put(*vote, b"").unwrap()));
    lab.honest(
        |lab| &lab.alice,
        |writer| {
            assert!(writer.resolve(VoteAction::Ban, target).unwrap().is_none());
            writer.text("not yet", Relation::None).unwrap()
        },
    );
    let refusal = lab.refused(
        |lab| &lab.alice,
        &member("ban", bob),
        |edit| {
            votes.iter().for_each(|vote| edit.remove(*vote));
            edit.remove(TreePath::invited(bob));
            edit.place(TreePath::Banned(Folder::Invited, target), EMPTY_BLOB);
        },
    );
    assert_eq!(refusal, Refusal::NotEnoughVotes { votes: 0, admins: 1 });
}

#[test]
fn an_admin_is_not_banned_by_a_member_and_nobody_bans_oneself() {
    let mut lab = with_two_admins();
    let (alice, carla) = (lab.alice.account(), lab.carla.account());
    lab.honest(|lab| &lab.carla, |writer| writer.vote(VoteAction::Ban, person(alice)).unwrap());
    let own = TreePath::Vote {
        action: VoteAction::Ban,
        folder: Folder::Admins,
        target: person(carla),
        voter: carla,
    };
    let refusal = lab.refused(|lab| &lab.carla, r#"{"type":"vote"}"#, |edit| edit.put(own, b"").unwrap());
    assert_eq!(refusal, Refusal::WrongTarget);
    // One of two is half, so the ban itself is accepted; by somebody who is no admin it is not.
    let mut lab = Lab::group();
    let file = lab.file(TreePath::admin(alice)).unwrap();
    let refusal = lab.refused(
        |lab| &lab.carla,
        &member("ban", alice),
        |edit| {
            edit.remove(TreePath::admin(alice));
            edit.place(TreePath::Banned(Folder::Admins, person(alice)), file);
        },
    );
    assert_eq!(refusal, Refusal::NotAdmin(carla));
}

#[test]
fn a_banned_device_can_be_unbanned() {
    let mut lab = Lab::group();
    let target = Target::Device(lab.carla.device());
    for (action, banned) in [(VoteAction::Ban, true), (VoteAction::Unban, false)] {
        lab.honest(|lab| &lab.alice, |writer| writer.vote(action, target).unwrap());
        lab.honest(|lab| &lab.alice, |writer| writer.resolve(action, target).unwrap().unwrap());
        let members = Members::read(&lab.objects, lab.tree_of(lab.head), []).unwrap();
        assert_eq!(members.banned_devices.contains(&lab.carla.device()), banned);
    }
    lab.honest(|lab| &lab.carla, |writer| writer.text("back", Relation::None).unwrap());
}

#[test]
fn a_left_member_of_a_pair_is_listed_as_left_and_comes_back() {
    let mut lab = Lab::one_to_one();
    let founding: Founding = lab.founding();
    let (alice, bob) = (lab.alice.account(), lab.bob.account());
    let role =
        |lab: &Lab| Members::read(&lab.objects, lab.tree_of(lab.head), [alice, bob]).unwrap().role(bob);
    lab.honest(|lab| &lab.bob, |writer| writer.leave().unwrap());
    assert_eq!(role(&lab), Some(Role::Left));
    lab.honest(|lab| &lab.alice, |writer| writer.invite(bob, &founding).unwrap());
    assert_eq!(role(&lab), Some(Role::Invited));
    lab.honest(|lab| &lab.bob, |writer| writer.join().unwrap());
    assert_eq!(role(&lab), Some(Role::Member));
    lab.honest(
        |lab| &lab.alice,
        |writer| {
            let third = writer.invite(STRANGER, &founding);
            assert!(matches!(third, Err(CreateError::OneToOne)));
            writer.text("only two", Relation::None).unwrap()
        },
    );
}
