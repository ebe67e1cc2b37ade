//! Three accounts in one process make groups, invite, vote and leave.

use skep_protocol::ids::DeviceId;
use skep_protocol::swarm::layout::VoteAction;
use skep_protocol::swarm::message::{Mode, Target};
use skep_protocol::swarm::notice::{Announcement, Invitation, Notice as SwarmNotice};
use skep_protocol::sync::MAX_REQUESTS_EACH;

use super::*;
use crate::account::messages::RequestView;
use crate::peer::messages::{LinkEvent, Notice, Place};
use crate::swarm::messages::{Changed, ConversationError, ConversationView, GroupChange, ProfileChange};

/// Alice, who makes the groups, and two contacts of hers who do not know each other.
struct Three {
    alice: Node,
    bob: Node,
    carol: Node,
    folders: [AccountFolder; 3],
}

impl Three {
    async fn start(place: &Path) -> Self {
        let (mut alice, mut bob, [first, second]) = pair(place).await;
        let third = AccountFolder::new(place, "3333333333333333".parse().unwrap());
        lay_out(&third, "jami-13.11.0", "carol");
        let mut carol = Node::start(3, &third, vec![alice.address().await]).await;
        befriend(&mut alice, &mut bob).await;
        carol.event(|event| matches!(event, Event::AccountReady {}).then_some(())).await;
        meet(&mut alice, &mut carol).await;
        Self { alice, bob, carol, folders: [first, second, third] }
    }

    async fn stop(self) {
        for node in [self.alice, self.bob, self.carol] {
            node.stop().await;
        }
    }
}

/// As [`befriend`], when both are ready already.
async fn meet(one: &mut Node, other: &mut Node) -> ConversationId {
    let (from, contact) = (one.id().await, other.id().await);
    let added = one.ask(|reply| AccountRequest::AddContact { contact, reply }).await.unwrap();
    told(other, |event| matches!(event, Event::ContactRequest { from: it, .. } if *it == from)).await;
    other.ask(|reply| AccountRequest::Accept { from, reply }).await.unwrap();
    ready(other, added).await;
    told(
        one,
        |event| matches!(event, Event::ContactAdded { confirmed: true, contact: it } if *it == contact),
    )
    .await;
    added
}

async fn ready(node: &mut Node, id: ConversationId) {
    told(node, |event| matches!(event, Event::ConversationReady { conversation } if *conversation == id))
        .await;
}

async fn create(node: &Node, mode: Mode, title: &str) -> ConversationId {
    let profile = ProfileChange { title: Some(title.to_owned()), ..ProfileChange::default() };
    node.ask(|reply| AccountRequest::CreateConversation { mode, profile, reply }).await.unwrap()
}

async fn invite(node: &Node, id: ConversationId, person: AccountId) -> Result<Changed, AccountError> {
    node.ask(|reply| AccountRequest::Invite { conversation: id, person, reply }).await
}

async fn accept(node: &Node, id: ConversationId) -> Result<(), AccountError> {
    node.ask(|reply| AccountRequest::AcceptInvitation { conversation: id, reply }).await
}

async fn decline(node: &Node, id: ConversationId) -> Result<(), AccountError> {
    node.ask(|reply| AccountRequest::DeclineInvitation { conversation: id, reply }).await
}

async fn invitations(node: &Node) -> Vec<RequestView> {
    node.ask(AccountRequest::Requests).await
}

/// Waits for an invitation, and returns what it says.
async fn invited(node: &mut Node, id: ConversationId) -> (AccountId, String, String) {
    node.event(|event| match event {
        Event::ConversationRequest { from, conversation, mode, title } if *conversation == id => {
            Some((*from, mode.clone(), title.clone()))
        }
        _ => None,
    })
    .await
}

async fn view(node: &Node, id: ConversationId) -> ConversationView {
    node.conversation(id).await.ask(PATIENCE, ConversationMessage::Describe).await.unwrap()
}

async fn change(node: &Node, id: ConversationId, change: GroupChange) -> Result<Changed, ConversationError> {
    let ask = |reply| ConversationMessage::Change { change, reply };
    node.conversation(id).await.ask(PATIENCE, ask).await.unwrap()
}

async fn vote(
    node: &Node,
    id: ConversationId,
    action: VoteAction,
    person: AccountId,
) -> Result<Changed, ConversationError> {
    change(node, id, GroupChange::Vote { action, target: Target::Account(person) }).await
}

/// Waits until a node sees somebody in a role, or without one.
async fn role(node: &Node, id: ConversationId, person: AccountId, wanted: Option<&str>) {
    let reached = async {
        loop {
            let members = view(node, id).await.members;
            let found = members.into_iter().find(|member| member.id == person).map(|member| member.role);
            if found.as_deref() == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, reached).await.is_ok(), "{person} is not {wanted:?}");
}

/// A group of all three.
async fn group(three: &mut Three) -> ConversationId {
    let id = create(&three.alice, Mode::InvitesOnly, "Friends").await;
    for node in [&mut three.bob, &mut three.carol] {
        let person = node.id().await;
        assert!(invite(&three.alice, id, person).await.unwrap().decided);
        invited(node, id).await;
        accept(node, id).await.unwrap();
        ready(node, id).await;
        role(&three.alice, id, person, Some("member")).await;
    }
    let carol = three.carol.id().await;
    role(&three.bob, id, carol, Some("member")).await;
    id
}

#[test]
fn a_group_is_made_two_are_invited_and_all_talk_though_two_are_no_contacts() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let mut three = Three::start(place.path()).await;
        let alice = three.alice.id().await;
        let id = create(&three.alice, Mode::InvitesOnly, "Friends").await;
        ready(&mut three.alice, id).await;
        let before = three.alice.send(id, "before you came").await;
        for node in [&mut three.bob, &mut three.carol] {
            let person = node.id().await;
            invite(&three.alice, id, person).await.unwrap();
            assert_eq!(invited(node, id).await, (alice, "invites_only".to_owned(), "Friends".to_owned()));
            let waiting = invitations(node).await;
            assert_eq!((waiting.len(), waiting[0].conversation, waiting[0].invitation), (1, Some(id), true));
            accept(node, id).await.unwrap();
            assert!(invitations(node).await.is_empty());
            ready(node, id).await;
            assert!(node.log(id).await.contains(&before));
        }
        let carol = three.carol.id().await;
        role(&three.bob, id, carol, Some("member")).await;
        let said = three.carol.send(id, "hello from carol").await;
        assert_eq!(three.alice.text(id, "hello from carol").await, said);
        assert_eq!(three.bob.text(id, "hello from carol").await, said);
        let said = three.bob.send(id, "hello from bob").await;
        assert_eq!(three.carol.text(id, "hello from bob").await, said);
        same_history(&three.alice, &three.bob, id).await;
        same_history(&three.alice, &three.carol, id).await;
        let seen = view(&three.bob, id).await;
        assert_eq!((seen.title.as_str(), seen.members.len(), seen.votes.len()), ("Friends", 3, 0));
        three.stop().await;
    });
}

#[test]
fn a_declined_invitation_stays_declined_over_a_restart_until_a_later_one() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let mut three = Three::start(place.path()).await;
        let bob = three.bob.id().await;
        let id = create(&three.alice, Mode::InvitesOnly, "Friends").await;
        invite(&three.alice, id, bob).await.unwrap();
        invited(&mut three.bob, id).await;
        decline(&three.bob, id).await.unwrap();
        assert_eq!(decline(&three.bob, id).await, Err(AccountError::UnknownInvitation(id)));
        assert_eq!(accept(&three.bob, id).await, Err(AccountError::UnknownInvitation(id)));
        let Three { mut alice, bob: node, carol, folders } = three;
        node.stop().await;
        let mut node = Node::start(4, &folders[1], vec![alice.address().await]).await;
        // The link is up again, and the invitation is sent again.
        told(&mut node, |event| matches!(event, Event::LinkUp { .. })).await;
        alice
            .event(|event| matches!(event, Event::LinkUp { contact, .. } if *contact == bob).then_some(()))
            .await;
        assert!(invitations(&node).await.is_empty());
        // By a later one it is as if nothing had been.
        invite(&alice, id, bob).await.unwrap();
        invited(&mut node, id).await;
        accept(&node, id).await.unwrap();
        ready(&mut node, id).await;
        role(&alice, id, bob, Some("member")).await;
        for node in [alice, node, carol] {
            node.stop().await;
        }
    });
}

#[test]
fn who_is_offline_gets_the_invitation_later_though_the_inviter_was_restarted() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let Three { alice, bob, carol, folders } = Three::start(place.path()).await;
        let person = bob.id().await;
        bob.stop().await;
        let id = create(&alice, Mode::InvitesOnly, "Friends").await;
        invite(&alice, id, person).await.unwrap();
        alice.stop().await;
        let alice = Node::start(5, &folders[0], vec![carol.address().await]).await;
        let mut bob = Node::start(6, &folders[1], vec![carol.address().await]).await;
        invited(&mut bob, id).await;
        accept(&bob, id).await.unwrap();
        ready(&mut bob, id).await;
        role(&alice, id, person, Some("member")).await;
        for node in [alice, bob, carol] {
            node.stop().await;
        }
    });
}

#[test]
fn the_only_admin_bans_and_unbans_and_the_banned_hear_nothing_meanwhile() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let mut three = Three::start(place.path()).await;
        let id = group(&mut three).await;
        let [alice, bob, carol] = [three.alice.id().await, three.bob.id().await, three.carol.id().await];
        // Members cannot, and nobody themselves.
        for action in [VoteAction::Ban, VoteAction::Unban] {
            assert_eq!(vote(&three.bob, id, action, carol).await, Err(ConversationError::NotAdmin));
        }
        let refused = vote(&three.alice, id, VoteAction::Ban, alice).await;
        assert!(matches!(refused, Err(ConversationError::NoTarget { .. })), "{refused:?}");

        assert!(vote(&three.alice, id, VoteAction::Ban, bob).await.unwrap().decided);
        role(&three.carol, id, bob, Some("banned")).await;
        three.alice.send(id, "without bob").await;
        three.carol.text(id, "without bob").await;
        let lonely = three.bob.send(id, "can anybody hear me?").await;
        assert_eq!(invite(&three.carol, id, bob).await, Err(ConversationError::Banned(bob).into()));
        three.carol.send(id, "still without bob").await;
        three.alice.text(id, "still without bob").await;
        for node in [&three.alice, &three.carol] {
            assert!(!node.log(id).await.contains(&lonely));
        }

        assert!(vote(&three.alice, id, VoteAction::Unban, bob).await.unwrap().decided);
        three.bob.text(id, "still without bob").await;
        role(&three.carol, id, bob, Some("member")).await;
        let said = three.bob.send(id, "back again").await;
        assert_eq!(three.carol.text(id, "back again").await, said);
        same_history(&three.alice, &three.bob, id).await;
        three.stop().await;
    });
}

#[test]
fn who_leaves_a_group_is_gone_for_all_and_can_be_invited_again() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let mut three = Three::start(place.path()).await;
        let id = group(&mut three).await;
        let bob = three.bob.id().await;
        three.bob.ask(|reply| AccountRequest::LeaveConversation { conversation: id, reply }).await.unwrap();
        for node in [&three.alice, &three.carol] {
            role(node, id, bob, None).await;
        }
        let copy = three.folders[1].join("conversations").join(id.to_hex());
        until(|| !copy.exists()).await;
        let said = three.carol.send(id, "he is gone").await;
        three.alice.text(id, "he is gone").await;
        invite(&three.alice, id, bob).await.unwrap();
        invited(&mut three.bob, id).await;
        accept(&three.bob, id).await.unwrap();
        ready(&mut three.bob, id).await;
        role(&three.carol, id, bob, Some("member")).await;
        assert!(three.bob.log(id).await.contains(&said));
        three.stop().await;
    });
}

#[test]
fn who_leaves_a_group_in_which_nobody_else_is_erases_it_at_once() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let folder = AccountFolder::new(place.path(), LocalAccountId([1; 8]));
        lay_out(&folder, "newest", "alice");
        let node = Node::start(1, &folder, Vec::new()).await;
        let id = create(&node, Mode::InvitesOnly, "Only me").await;
        node.send(id, "note to myself").await;
        let copy = folder.join("conversations").join(id.to_hex());
        assert!(copy.exists());
        node.ask(|reply| AccountRequest::LeaveConversation { conversation: id, reply }).await.unwrap();
        until(|| !copy.exists()).await;
        assert!(record(&folder, id).is_removed());
        node.stop().await;
    });
}

#[test]
fn who_is_told_of_a_conversation_and_was_not_invited_asks_for_the_invitation_and_gets_it() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let mut three = Three::start(place.path()).await;
        let id = create(&three.alice, Mode::InvitesOnly, "Friends").await;
        let (alice, bob): (AccountView, _) =
            (three.alice.ask(AccountRequest::Describe).await, three.bob.id().await);
        // The invitation itself is lost: nobody has a record of it.
        assert!(change(&three.alice, id, GroupChange::Invite(bob)).await.unwrap().decided);
        let head = view(&three.alice, id).await.head.unwrap();
        assert!(invitations(&three.bob).await.is_empty());
        for _ in 0..100 {
            let told = Announcement { conversation: id, commit: head, device: alice.device };
            let notice = SwarmNotice::Announcement(told);
            let notice = Notice { kind: notice.mime_type().to_owned(), content: notice.to_text() };
            let (device, account, place) = (alice.device, alice.id, Place::free());
            let notice = LinkEvent::Notice { device, account, notice, place };
            three.bob.account.send(AccountMessage::Link(notice)).await.unwrap();
        }
        assert_eq!(invited(&mut three.bob, id).await.0, alice.id);
        accept(&three.bob, id).await.unwrap();
        ready(&mut three.bob, id).await;
        role(&three.alice, id, bob, Some("member")).await;
        assert!(invitations(&three.bob).await.is_empty());
        three.stop().await;
    });
}

#[test]
fn only_admins_change_the_profile_which_all_see() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let mut three = Three::start(place.path()).await;
        let id = group(&mut three).await;
        let bob = three.bob.id().await;
        let title = |title: &str| {
            GroupChange::Profile(ProfileChange { title: Some(title.to_owned()), ..ProfileChange::default() })
        };
        assert_eq!(change(&three.bob, id, title("Mine")).await, Err(ConversationError::NotAdmin));
        let long = change(&three.alice, id, title(&"x".repeat(2000))).await;
        assert!(matches!(long, Err(ConversationError::BadProfile(_))), "{long:?}");
        let profile = ProfileChange {
            description: Some("Where we meet".to_owned()),
            avatar: Some("iVBORw0KGgo=".to_owned()),
            call_host: Some(bob.to_hex()),
            ..ProfileChange::default()
        };
        change(&three.alice, id, GroupChange::Profile(profile)).await.unwrap();
        told(&mut three.carol, |event| {
            matches!(event, Event::ConversationProfileChanged { description, .. } if description == "Where we meet")
        })
        .await;
        let ask = ConversationMessage::Profile;
        let seen = three.carol.conversation(id).await.ask(PATIENCE, ask).await.unwrap().unwrap();
        assert_eq!((seen.title.as_str(), seen.avatar.as_str()), ("Friends", "iVBORw0KGgo="));
        assert_eq!(seen.call_host, Some(bob));
        three.stop().await;
    });
}

#[test]
fn a_thousand_invitations_at_once_wait_over_a_restart_and_more_of_one_person_are_left_out() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let folder = AccountFolder::new(place.path(), LocalAccountId([1; 8]));
        lay_out(&folder, "newest", "alice");
        let node = Node::start(1, &folder, Vec::new()).await;
        let (crowd, other) = (AccountId([7; 20]), AccountId([8; 20]));
        let flood = async |from: AccountId, count: u16| {
            for number in 0..count {
                let mut conversation = ConversationId([from.0[0]; 20]);
                conversation.0[..2].copy_from_slice(&number.to_be_bytes());
                let metadata = [("mode", "2"), ("title", "Join us")];
                let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
                let notice = SwarmNotice::Invitation(Invitation { conversation, metadata, received: None });
                let notice = Notice { kind: notice.mime_type().to_owned(), content: notice.to_text() };
                let (device, place) = (DeviceId([from.0[0]; 32]), Place::free());
                let notice = LinkEvent::Notice { device, account: from, notice, place };
                node.account.send(AccountMessage::Link(notice)).await.unwrap();
            }
        };
        flood(crowd, 1000).await;
        assert_eq!(invitations(&node).await.len(), 1000);
        flood(crowd, 2000).await;
        flood(other, 1).await;
        let waiting = invitations(&node).await;
        let count = |from| waiting.iter().filter(|request| request.from == from).count();
        assert_eq!((count(crowd), count(other)), (MAX_REQUESTS_EACH, 1));
        // What is declined makes room, and stays declined.
        let declined = waiting[0].conversation.unwrap();
        decline(&node, declined).await.unwrap();
        node.stop().await;
        let node = Node::start(2, &folder, Vec::new()).await;
        let left: Vec<_> = invitations(&node).await.into_iter().map(|request| request.conversation).collect();
        let expected: Vec<_> = waiting[1..].iter().map(|request| request.conversation).collect();
        assert_eq!(left, expected);
        node.stop().await;
    });
}

#[test]
fn a_banned_device_is_neither_served_nor_heard_and_stays_banned() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let mut three = Three::start(place.path()).await;
        let id = group(&mut three).await;
        let bob: AccountView = three.bob.ask(AccountRequest::Describe).await;
        let about = |action| GroupChange::Vote { action, target: Target::Device(bob.device) };
        assert!(change(&three.alice, id, about(VoteAction::Ban)).await.unwrap().decided);
        assert_eq!(view(&three.alice, id).await.banned_devices, [bob.device]);
        let said = three.alice.send(id, "not for bob's device").await;
        three.carol.text(id, "not for bob's device").await;
        let lonely = three.bob.send(id, "can anybody hear me?").await;
        three.carol.send(id, "later").await;
        three.alice.text(id, "later").await;
        assert!(!three.alice.log(id).await.contains(&lonely));
        assert!(!three.bob.log(id).await.contains(&said));
        let before = three.alice.log(id).await;
        let unbanned = change(&three.alice, id, about(VoteAction::Unban)).await;
        assert_eq!(unbanned, Err(ConversationError::DeviceStaysBanned));
        assert_eq!(three.alice.log(id).await, before);
        three.stop().await;
    });
}

#[test]
fn whoever_opens_a_group_from_a_bundle_finds_its_members_and_talks_to_them() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let mut three = Three::start(place.path()).await;
        let id = group(&mut three).await;
        let path = place.path().join("friends.bundle");
        let export = |reply| ConversationMessage::Export { path: path.clone(), reply };
        three.carol.conversation(id).await.ask(PATIENCE, export).await.unwrap().unwrap();
        let Three { mut alice, bob, carol, .. } = three;
        carol.stop().await;
        alice.send(id, "carol, where are you?").await;
        // The same account on an empty disk: it knows nobody but those in the bundle.
        let folder = AccountFolder::new(place.path(), "4444444444444444".parse().unwrap());
        lay_out(&folder, "jami-13.11.0", "carol");
        let mut carol = Node::start(4, &folder, vec![alice.address().await]).await;
        carol.event(|event| matches!(event, Event::AccountReady {}).then_some(())).await;
        let imported = carol.ask(|reply| AccountRequest::ImportConversation { path, reply }).await;
        assert_eq!(imported.unwrap(), id);
        carol.text(id, "carol, where are you?").await;
        carol.send(id, "here again").await;
        alice.text(id, "here again").await;
        for node in [alice, bob, carol] {
            node.stop().await;
        }
    });
}
