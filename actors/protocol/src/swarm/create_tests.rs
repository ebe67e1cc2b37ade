//! What we make is valid, and made as the daemons made it.

use super::create::CreateError;
use super::create::Writer;
use super::diff::TreeReader;
use super::golden;
use super::graph::{CommitGraph, unseen_commits};
use super::lab::{Actor, Lab, NOW};
use super::layout::{Members, Role, TreePath, VoteAction};
use super::merge::{Merge, merge_heads};
use super::message::{MAX_SENT_TEXT, Mode, Relation, Target};
use super::object::{Commit, ObjectSource};
use super::validate::Founding;
use crate::ids::{AccountId, CommitId};
use crate::profile::ConversationProfile;
use crate::time::UnixMillis;

fn role(lab: &Lab, person: AccountId) -> Option<Role> {
    Members::read(&lab.objects, lab.tree_of(lab.head), []).unwrap().role(person)
}

#[test]
fn recorded_first_commits_are_made_again_bit_by_bit() {
    let (daemon, name) = ("newest", "alice");
    for invited in [true, false] {
        let golden = golden::load(daemon);
        let actor = Actor::of(daemon, name);
        let repository = if invited { "one-to-one.alice" } else { "group.alice" };
        let first = super::lab::conversation(&golden.objects, golden.repositories[repository].head);
        let raw = golden.objects.commit(first.initial_commit()).unwrap().unwrap();
        let commit = Commit::parse(raw).unwrap();
        let bob = Actor::of(daemon, "bob").account();
        let (mode, invited) = if invited { (Mode::OneToOne, Some(bob)) } else { (Mode::InvitesOnly, None) };
        let mut draft = actor.local.begin(mode, invited, UnixMillis::from_seconds(commit.seconds())).unwrap();
        assert_eq!(draft.commit.tree, commit.tree);
        draft.commit.name = String::from_utf8(commit.author.name.to_vec()).unwrap();
        assert_eq!(draft.commit.sign(&actor.key).unwrap().id, first.initial_commit());
    }
}

#[test]
fn every_mode_begins_validly() {
    for mode in [Mode::AdminInvitesOnly, Mode::InvitesOnly, Mode::Public] {
        let lab = Lab::begun(|alice| alice.local.begin(mode, None, NOW).unwrap());
        lab.verdict(lab.head).unwrap();
    }
    let with_oneself = Lab::begun(|it| it.local.begin(Mode::OneToOne, Some(it.account()), NOW).unwrap());
    with_oneself.verdict(with_oneself.head).unwrap();
    let parent = with_oneself.conversation;
    let document = Lab::begun(|it| it.local.begin_document(parent, "text/plain", NOW).unwrap());
    document.verdict(document.head).unwrap();
}

#[test]
fn a_group_lives_from_invitation_to_leave() {
    let mut lab = Lab::group();
    let founding = lab.founding();
    let bob = lab.bob.account();
    lab.honest(|lab| &lab.carla, |writer| writer.invite(bob, &founding).unwrap());
    assert_eq!(role(&lab, bob), Some(Role::Invited));
    lab.honest(|lab| &lab.bob, |writer| writer.join().unwrap());
    assert_eq!(role(&lab, bob), Some(Role::Member));
    let message = lab.honest(|lab| &lab.bob, |writer| writer.text("héllo", Relation::None).unwrap());
    lab.honest(|lab| &lab.carla, |writer| writer.text("re", Relation::Reply(message)).unwrap());
    lab.honest(|lab| &lab.carla, |writer| writer.text("👍", Relation::React(message)).unwrap());
    lab.honest(|lab| &lab.bob, |writer| writer.text("hello", Relation::Edit(message)).unwrap());
    lab.honest(|lab| &lab.bob, |writer| writer.text("", Relation::Edit(message)).unwrap());
    let profile = ConversationProfile { title: "New".to_owned(), ..ConversationProfile::default() };
    lab.honest(|lab| &lab.alice, |writer| writer.profile(&profile).unwrap());
    lab.honest(|lab| &lab.bob, |writer| writer.leave().unwrap());
    assert_eq!(role(&lab, bob), None);
    let device = TreePath::device(lab.bob.device());
    assert_eq!(TreeReader::new(&lab.objects).file(lab.tree_of(lab.head), device).unwrap(), None);
}

#[test]
fn a_new_device_brings_its_certificate_with_its_first_commit() {
    let mut lab = Lab::group();
    lab.honest(|lab| &lab.alice2, |writer| writer.text("from the other device", Relation::None).unwrap());
    let device = TreePath::device(lab.alice2.device());
    assert!(TreeReader::new(&lab.objects).file(lab.tree_of(lab.head), device).unwrap().is_some());
}

#[test]
fn the_single_admin_bans_and_unbans() {
    let mut lab = Lab::group();
    let carla = Target::Account(lab.carla.account());
    for (action, expected) in [(VoteAction::Ban, Role::Banned), (VoteAction::Unban, Role::Member)] {
        lab.honest(|lab| &lab.alice, |writer| writer.vote(action, carla).unwrap());
        lab.honest(
            |lab| &lab.alice,
            |writer| {
                assert!(matches!(writer.vote(action, carla), Err(CreateError::VotedAlready)));
                writer.resolve(action, carla).unwrap().unwrap()
            },
        );
        assert_eq!(role(&lab, lab.carla.account()), Some(expected));
        if action == VoteAction::Ban {
            let writer = Writer::new(&lab.objects, &lab.alice.local, lab.head, NOW).unwrap();
            assert!(matches!(
                writer.invite(lab.carla.account(), &lab.founding()),
                Err(CreateError::Banned(_))
            ));
            let writer = Writer::new(&lab.objects, &lab.carla.local, lab.head, NOW).unwrap();
            assert!(matches!(writer.text("x", Relation::None), Err(CreateError::NotMember)));
        }
    }
    lab.honest(|lab| &lab.carla, |writer| writer.text("back", Relation::None).unwrap());
}

#[test]
fn an_invited_person_and_a_device_can_be_banned() {
    let mut lab = Lab::group();
    let founding = lab.founding();
    let bob = lab.bob.account();
    lab.honest(|lab| &lab.carla, |writer| writer.invite(bob, &founding).unwrap());
    for target in [Target::Account(bob), Target::Device(lab.carla.device())] {
        lab.honest(|lab| &lab.alice, |writer| writer.vote(VoteAction::Ban, target).unwrap());
        lab.honest(|lab| &lab.alice, |writer| writer.resolve(VoteAction::Ban, target).unwrap().unwrap());
    }
    assert_eq!(role(&lab, bob), Some(Role::Banned));
    let members = Members::read(&lab.objects, lab.tree_of(lab.head), []).unwrap();
    assert_eq!(members.banned_devices, [lab.carla.device()]);
}

#[test]
fn what_is_not_allowed_is_not_made() {
    let lab = Lab::group();
    let writer = |actor: &'static str| {
        let actor = match actor {
            "alice" => &lab.alice,
            "bob" => &lab.bob,
            _ => &lab.carla,
        };
        Writer::new(&lab.objects, &actor.local, lab.head, NOW).unwrap()
    };
    let (alice, carla) = (lab.alice.account(), lab.carla.account());
    let profile = ConversationProfile::default();
    assert!(matches!(writer("carla").profile(&profile), Err(CreateError::NotAdmin)));
    let vote = writer("carla").vote(VoteAction::Ban, Target::Account(alice));
    assert!(matches!(vote, Err(CreateError::NotAdmin)));
    let vote = writer("alice").vote(VoteAction::Ban, Target::Account(alice));
    assert!(matches!(vote, Err(CreateError::Yourself)));
    assert!(matches!(writer("alice").invite(carla, &lab.founding()), Err(CreateError::AlreadyThere(_))));
    let stranger = AccountId([9; 20]);
    let pair = Founding { mode: Mode::OneToOne, author: alice, invited: Some(carla) };
    assert!(matches!(writer("alice").invite(stranger, &pair), Err(CreateError::OneToOne)));
    assert!(matches!(writer("bob").text("x", Relation::None), Err(CreateError::NotMember)));
    assert!(matches!(writer("bob").join(), Err(CreateError::NotInvited)));
    let reply = writer("alice").text("x", Relation::Reply(CommitId([1; 20])));
    assert!(matches!(reply, Err(CreateError::UnknownCommit(_))));
    assert!(writer("alice").resolve(VoteAction::Ban, Target::Account(carla)).unwrap().is_none());
}

fn graph_of(lab: &Lab, heads: &[CommitId]) -> CommitGraph {
    let mut graph = CommitGraph::default();
    for head in heads {
        let fresh = unseen_commits(&lab.objects, *head, |id| graph.contains(id)).unwrap();
        for id in fresh {
            let commit = Commit::parse(lab.objects.commit(id).unwrap().unwrap()).unwrap();
            graph.insert(id, &commit.parents, commit.seconds()).unwrap();
        }
    }
    graph
}

#[test]
fn diverged_heads_are_merged_and_the_greater_head_s_profile_wins() {
    let mut lab = Lab::group();
    let founding = lab.founding();
    let base = lab.head;
    let titled = |title: &str| ConversationProfile { title: title.to_owned(), ..Default::default() };
    lab.honest(|lab| &lab.alice, |writer| writer.profile(&titled("one")).unwrap());
    let bob = lab.bob.account();
    let one = lab.honest(|lab| &lab.alice, |writer| writer.invite(bob, &founding).unwrap());
    lab.head = base;
    let other = lab.honest(|lab| &lab.alice, |writer| writer.profile(&titled("other")).unwrap());
    let graph = graph_of(&lab, &[one, other]);
    let winner = TreeReader::new(&lab.objects).file(lab.tree_of(one.max(other)), TreePath::Profile).unwrap();
    for (ours, theirs) in [(one, other), (other, one)] {
        let Merge::Merged { tree, objects } = merge_heads(&lab.objects, &graph, ours, theirs).unwrap() else {
            panic!("not merged");
        };
        lab.head = ours;
        lab.honest(|lab| &lab.alice, |writer| writer.merge(theirs, tree, objects).unwrap());
        assert_eq!(TreeReader::new(&lab.objects).file(tree, TreePath::Profile).unwrap(), winner);
        assert_eq!(role(&lab, bob), Some(Role::Invited));
        let commit = Commit::parse(lab.objects.commit(lab.head).unwrap().unwrap()).unwrap();
        assert_eq!(commit.parents, [ours, theirs]);
    }
}

#[test]
fn members_invite_only_where_they_may_and_long_texts_are_not_sent() {
    let lab = Lab::group();
    let writer = Writer::new(&lab.objects, &lab.carla.local, lab.head, NOW).unwrap();
    let founding = Founding { mode: Mode::AdminInvitesOnly, ..lab.founding() };
    assert!(matches!(writer.invite(lab.bob.account(), &founding), Err(CreateError::NotAdmin)));
    let long = "x".repeat(MAX_SENT_TEXT + 1);
    assert!(matches!(writer.text(&long, Relation::None), Err(CreateError::TooLong(_))));
}
