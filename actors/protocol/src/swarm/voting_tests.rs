//! Votes (`spec: swarm 7.3 B`), what follows from them, and what may be done at all.

use super::create::{Act, CreateError, Writer};
use super::lab::{Actor, Lab, NOW};
use super::layout::{Folder, Role, TreePath, VoteAction};
use super::message::{CommitMessage, Content, Mode, Relation, Target};
use super::refusal::Refusal;
use super::validate::Founding;
use super::validate_tests::{assert_refused, ban, unexpected};
use crate::ids::{AccountId, CommitId, DeviceId};

const VOTE: &str = r#"{"type":"vote","uri":"1111111111111111111111111111111111111111"}"#;
const STRANGER: AccountId = AccountId([1; 20]);

fn vote(action: VoteAction, folder: Folder, target: Target, voter: AccountId) -> TreePath {
    TreePath::Vote { action, folder, target, voter }
}

#[test]
fn a_vote_that_changes_nothing_is_accepted_and_one_without_a_vote_is_not() {
    let mut lab = Lab::group();
    lab.accepted(|lab| &lab.carla, VOTE, |_| ());
    let device = Lab::certificate("newest", "alice2", false);
    let own = TreePath::device(lab.alice2.device());
    let refusal = lab.refused(|lab| &lab.alice2, VOTE, |edit| edit.put(own, device.as_bytes()).unwrap());
    assert_eq!(refusal, Refusal::NotOneVote);
    let (alice, carla) = (lab.alice.account(), Target::Account(lab.carla.account()));
    lab.accepted(
        |lab| &lab.alice2,
        VOTE,
        |edit| {
            edit.put(own, device.as_bytes()).unwrap();
            edit.put(vote(VoteAction::Ban, Folder::Members, carla, alice), b"").unwrap();
        },
    );
}

#[test]
fn a_vote_is_given_once_and_not_taken_back() {
    let mut lab = Lab::group();
    let carla = Target::Account(lab.carla.account());
    let given = vote(VoteAction::Ban, Folder::Members, carla, lab.alice.account());
    lab.honest(|lab| &lab.alice, |writer| writer.vote(VoteAction::Ban, carla).unwrap());
    let refusal = lab.refused(|lab| &lab.alice, VOTE, |edit| edit.remove(given));
    assert_refused(&refusal, unexpected(given));
}

#[test]
fn bans_are_voted_on_for_people_who_are_there_and_unbans_for_anybody() {
    let mut lab = Lab::group();
    let (founding, alice, bob) = (lab.founding(), lab.alice.account(), lab.bob.account());
    lab.honest(|lab| &lab.carla, |writer| writer.invite(bob, &founding).unwrap());
    let on = |action, folder, person| vote(action, folder, Target::Account(person), alice);
    let invited = on(VoteAction::Ban, Folder::Invited, bob);
    lab.accepted(|lab| &lab.alice, VOTE, |edit| edit.put(invited, b"").unwrap());
    let absent = on(VoteAction::Unban, Folder::Members, STRANGER);
    lab.accepted(|lab| &lab.alice, VOTE, |edit| edit.put(absent, b"").unwrap());
    let carla = lab.carla.account();
    ban(&mut lab, carla);
    let again = on(VoteAction::Ban, Folder::Members, carla);
    let refusal = lab.refused(|lab| &lab.alice, VOTE, |edit| edit.put(again, b"").unwrap());
    assert_eq!(refusal, Refusal::WrongTarget);
}

#[test]
fn votes_on_devices_are_for_devices_that_are_there_and_not_for_one_s_own() {
    let mut lab = Lab::group();
    let alice = lab.alice.account();
    let on = |action, device| vote(action, Folder::Devices, Target::Device(device), alice);
    let carla = lab.carla.device();
    lab.accepted(|lab| &lab.alice, VOTE, |edit| edit.put(on(VoteAction::Ban, carla), b"").unwrap());
    for wrong in [
        on(VoteAction::Ban, lab.alice.device()),
        on(VoteAction::Ban, DeviceId([3; 32])),
        on(VoteAction::Unban, carla),
    ] {
        let refusal = lab.refused(|lab| &lab.alice, VOTE, |edit| edit.put(wrong, b"").unwrap());
        assert_eq!(refusal, Refusal::WrongTarget);
    }
}

#[test]
fn a_vote_that_decides_comes_with_what_follows_from_it() {
    let mut lab = Lab::group();
    let carla = lab.carla.account();
    for (action, expected) in [(VoteAction::Ban, Role::Banned), (VoteAction::Unban, Role::Member)] {
        let key = &Actor::of("newest", "alice").key;
        let writer = Writer::new(&lab.objects, &lab.alice.local, lab.head, NOW).unwrap();
        let written = writer.cast_vote(action, Target::Account(carla), key).unwrap();
        assert_eq!(written.len(), 2);
        for draft in written {
            lab.objects.extend(draft.objects);
            lab.objects.insert_commit(&draft.commit);
            lab.head = draft.commit.id;
            lab.verdict(lab.head).unwrap();
        }
        assert_eq!(lab.role(carla), Some(expected));
    }
}

#[test]
fn a_vote_that_does_not_decide_comes_alone_and_is_followed_up_once_it_does() {
    let mut lab = Lab::group();
    let (alice, carla, bob) = (lab.alice.account(), lab.carla.account(), lab.bob.account());
    let founding = lab.founding();
    lab.honest(|lab| &lab.alice, |writer| writer.invite(bob, &founding).unwrap());
    let file = lab.file(TreePath::member(carla)).unwrap();
    lab.arrange(|edit| edit.place(TreePath::admin(carla), file));
    let target = Target::Account(bob);
    let key = Actor::of("newest", "alice").key;
    let cast = |lab: &Lab| {
        let writer = Writer::new(&lab.objects, &lab.alice.local, lab.head, NOW).unwrap();
        writer.cast_vote(VoteAction::Ban, target, &key)
    };
    let written = cast(&lab).unwrap();
    let [alone] = written.try_into().unwrap();
    lab.objects.extend(alone.objects);
    lab.objects.insert_commit(&alone.commit);
    lab.head = alone.commit.id;
    assert!(matches!(cast(&lab), Err(CreateError::VotedAlready)));
    lab.arrange(|edit| edit.remove(TreePath::admin(carla)));
    let written = cast(&lab).unwrap();
    let [ban] = written.try_into().unwrap();
    lab.objects.extend(ban.objects);
    lab.objects.insert_commit(&ban.commit);
    lab.head = ban.commit.id;
    lab.verdict(lab.head).unwrap();
    assert_eq!((lab.role(bob), lab.role(alice)), (Some(Role::Banned), Some(Role::Admin)));
}

/// Why somebody may not, in short.
fn why(lab: &Lab, who: &Actor, act: Act, founding: &Founding) -> Result<(), CreateError> {
    Writer::new(&lab.objects, &who.local, lab.head, NOW).unwrap().may(act, founding)
}

#[test]
fn what_may_be_done_is_told_and_why_not() {
    let mut lab = Lab::group();
    let founding = lab.founding();
    let (alice, bob, carla) = (lab.alice.account(), lab.bob.account(), lab.carla.account());
    let text = lab.honest(|lab| &lab.alice, |writer| writer.text("x", Relation::None).unwrap());
    let ban = |person| Act::Vote(VoteAction::Ban, Target::Account(person));
    let unban = |person| Act::Vote(VoteAction::Unban, Target::Account(person));
    for act in [Act::Say, Act::Edit(text), Act::Invite(bob), Act::Leave, ban(carla), Act::ChangeProfile] {
        assert!(why(&lab, &lab.alice, act, &founding).is_ok(), "{act:?}");
    }
    assert!(why(&lab, &lab.alice2, Act::Edit(text), &founding).is_ok());
    assert!(matches!(why(&lab, &lab.alice2, Act::Leave, &founding), Err(CreateError::NewDevice)));
    let alone = Founding { mode: Mode::AdminInvitesOnly, ..founding };
    let pair = Founding { mode: Mode::OneToOne, author: alice, invited: Some(carla) };
    let document = Founding { mode: Mode::Document, ..founding };
    let no = |who, act, founding| why(&lab, who, act, founding).unwrap_err();
    assert!(matches!(no(&lab.bob, Act::Say, &founding), CreateError::NotMember));
    assert!(matches!(no(&lab.bob, Act::Join, &founding), CreateError::NotInvited));
    assert!(matches!(no(&lab.carla, Act::Join, &founding), CreateError::AlreadyThere(_)));
    assert!(matches!(no(&lab.carla, Act::Edit(text), &founding), CreateError::NotYours(_)));
    assert!(matches!(
        no(&lab.carla, Act::Edit(lab.conversation.initial_commit()), &founding),
        CreateError::NotEditable(_)
    ));
    assert!(matches!(no(&lab.carla, Act::Edit(CommitId([9; 20])), &founding), CreateError::UnknownCommit(_)));
    assert!(matches!(no(&lab.carla, Act::Invite(bob), &alone), CreateError::NotAdmin));
    assert!(matches!(no(&lab.carla, Act::Invite(carla), &founding), CreateError::Yourself));
    assert!(matches!(no(&lab.carla, Act::Invite(alice), &founding), CreateError::AlreadyThere(_)));
    assert!(matches!(no(&lab.alice, Act::Invite(bob), &pair), CreateError::OneToOne));
    assert!(matches!(no(&lab.carla, ban(alice), &founding), CreateError::NotAdmin));
    assert!(matches!(no(&lab.carla, Act::ChangeProfile, &founding), CreateError::NotAdmin));
    assert!(matches!(no(&lab.alice, ban(alice), &founding), CreateError::Yourself));
    assert!(matches!(no(&lab.alice, ban(bob), &founding), CreateError::NoTarget));
    assert!(matches!(no(&lab.alice, unban(carla), &founding), CreateError::NotBanned(_)));
    assert!(matches!(no(&lab.alice, Act::Say, &document), CreateError::Document));
}

#[test]
fn a_ban_is_told_apart_from_somebody_who_never_was_there() {
    let mut lab = Lab::group();
    let founding = lab.founding();
    let carla = lab.carla.account();
    ban(&mut lab, carla);
    let banned = Act::Vote(VoteAction::Ban, Target::Account(carla));
    let may = |act| why(&lab, &lab.alice, act, &founding);
    assert!(matches!(may(banned), Err(CreateError::AlreadyBanned(_))));
    assert!(matches!(may(Act::Invite(carla)), Err(CreateError::Banned(_))));
    assert!(may(Act::Vote(VoteAction::Unban, Target::Account(carla))).is_ok());
    assert!(matches!(why(&lab, &lab.carla, Act::Say, &founding), Err(CreateError::NotMember)));
}

#[test]
fn edits_that_others_would_refuse_are_not_made() {
    let mut lab = Lab::group();
    let text = lab.honest(|lab| &lab.alice, |writer| writer.text("x", Relation::None).unwrap());
    let writer = Writer::new(&lab.objects, &lab.carla.local, lab.head, NOW).unwrap();
    assert!(matches!(writer.text("y", Relation::Edit(text)), Err(CreateError::NotYours(_))));
    assert!(writer.text("y", Relation::React(text)).is_ok());
    let removal = CommitMessage::from_content(&Content::FileRemoved { edit: text }).unwrap();
    assert!(matches!(writer.say(&removal), Err(CreateError::NotYours(_))));
}
