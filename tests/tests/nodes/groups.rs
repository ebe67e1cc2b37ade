//! Groups of three and four nodes: invited, joined, offline, left, banned, with restarts in between.

use std::collections::BTreeMap;

use skep::rpc::client::ClientError;
use skep::rpc::schema::{
    ConversationParams, ErrorCode, MessageParams, PreferParams, ProfileParams, TypingParams, method,
};
use skep::{AccountId, ConversationId, Event, ProfileChange};
use skep_tests::harness::{Golden, Mark, NodeSetup, Person, run, same_history};
use tempfile::TempDir;

use super::{Pair, skep};

/// Alice, who knows everybody, and others who know only her.
pub(crate) struct Group {
    pub(crate) alice: Person,
    pub(crate) bob: Person,
    pub(crate) carol: Person,
    pub(crate) place: TempDir,
}

impl Group {
    pub(crate) async fn start() -> Self {
        let Pair { place, mut alice, mut carol } = Pair::start().await.unwrap();
        let mut bob = joining(&mut alice, "bob", Golden::BOB, &place).await;
        alice.befriend(&mut carol).await.unwrap();
        alice.befriend(&mut bob).await.unwrap();
        Self { alice, bob, carol, place }
    }

    /// A group that all three have joined.
    pub(crate) async fn gather(&mut self, title: &str) -> ConversationId {
        let id = self.alice.found(title).await.unwrap();
        for person in [&mut self.bob, &mut self.carol] {
            join(&mut self.alice, person, id).await;
        }
        self.bob.sees(self.carol.id, Some("member"), id).await.unwrap();
        id
    }
}

pub(crate) async fn joining(first: &mut Person, name: &str, golden: Golden, place: &TempDir) -> Person {
    let address = first.node.address().await.unwrap();
    let mut person =
        Person::start(golden, NodeSetup::new(name, place.path()).joining(&address)).await.unwrap();
    person.announced().await.unwrap();
    person
}

/// Invites somebody, who accepts.
pub(crate) async fn join(host: &mut Person, guest: &mut Person, id: ConversationId) {
    let since = guest.node.events().mark();
    host.invite(id, guest.id).await.unwrap();
    assert_eq!(guest.invited(id, since).await.unwrap(), host.id);
    guest.enter(id).await.unwrap();
    guest.ready(id, since).await.unwrap();
    host.sees(guest.id, Some("member"), id).await.unwrap();
}

pub(crate) fn about(person: &Person, conversation: ConversationId) -> ConversationParams {
    ConversationParams { account: person.local, conversation }
}

/// The code with which a request was refused.
fn refused<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> i32 {
    match answer {
        Err(ClientError::Refused(error)) => error.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn four_nodes_talk_in_a_group_though_one_was_offline_and_all_are_restarted() {
    run(async {
        let mut group = Group::start().await;
        let id = group.gather("Friends").await;
        let Group { mut alice, mut bob, mut carol, place } = group;
        carol.send(id, "from carol").await.unwrap();
        alice.receives(id, "from carol").await.unwrap();
        bob.receives(id, "from carol").await.unwrap();

        // Dan is invited by his only contact while he is away, who is then killed.
        let mut dan = joining(&mut alice, "dan", Golden::DAN, &place).await;
        bob.befriend(&mut dan).await.unwrap();
        dan.node.stop().await.unwrap();
        bob.invite(id, dan.id).await.unwrap();
        alice.sees(dan.id, Some("invited"), id).await.unwrap();
        bob.node.kill();
        bob.node.restart().await.unwrap();
        dan.node.restart().await.unwrap();
        assert_eq!(dan.invited(id, Mark::BEGINNING).await.unwrap(), bob.id);
        // He looks at it again after another restart.
        dan.node.kill();
        dan.node.restart().await.unwrap();
        let waiting = dan.requests().await.unwrap();
        assert_eq!(
            (waiting.len(), waiting[0].conversation, waiting[0].title.as_str()),
            (1, Some(id), "Friends")
        );
        dan.enter(id).await.unwrap();
        dan.usable(id).await.unwrap();
        for person in [&mut alice, &mut bob, &mut carol] {
            person.sees(dan.id, Some("member"), id).await.unwrap();
        }
        alice.node.kill();
        alice.node.restart().await.unwrap();
        alice.usable(id).await.unwrap();
        let last = alice.send(id, "to all four").await.unwrap();
        for person in [&mut bob, &mut carol, &mut dan] {
            person.has(id, last).await.unwrap();
        }
        let answer = dan.send(id, "from dan").await.unwrap();
        for person in [&mut alice, &mut bob, &mut carol] {
            person.has(id, answer).await.unwrap();
            same_history(&mut dan, person, id).await.unwrap();
        }
        for mut person in [dan, carol, bob, alice] {
            person.node.stop().await.unwrap();
        }
        drop(place);
    });
}

#[test]
fn a_declined_invitation_is_not_seen_again_and_nobody_joins() {
    run(async {
        let mut group = Group::start().await;
        let id = group.alice.found("Friends").await.unwrap();
        let carol = group.carol.id;
        group.alice.invite(id, carol).await.unwrap();
        group.carol.invited(id, Mark::BEGINNING).await.unwrap();
        let params = about(&group.carol, id);
        group.carol.node.call(method::ConversationDecline, params.clone()).await.unwrap();
        let back = group.alice.node.events().mark();
        group.carol.node.kill();
        group.carol.node.restart().await.unwrap();
        group
            .alice
            .told(back, "the link to carol", |event| match event {
                Event::LinkUp { contact, .. } if *contact == carol => Some(()),
                _ => None,
            })
            .await
            .unwrap();
        // What was said after the invitation has come.
        let known = group.alice.contacts().await.unwrap();
        let pair = known.iter().find(|contact| contact.id == carol).unwrap().conversation.unwrap();
        let said = group.alice.send(pair, "did you get it?").await.unwrap();
        group.carol.has(pair, said).await.unwrap();
        assert!(group.carol.requests().await.unwrap().is_empty());
        let code = refused(group.carol.node.ask(method::ConversationAccept, params).await.unwrap());
        assert_eq!(code, ErrorCode::NotFound.number());
        group.alice.sees(carol, Some("invited"), id).await.unwrap();
    });
}

#[test]
fn who_leaves_is_gone_for_all_also_over_restarts_and_may_come_back() {
    run(async {
        let mut group = Group::start().await;
        let id = group.gather("Friends").await;
        let bob = group.bob.id;
        let params = about(&group.bob, id);
        group.bob.node.call(method::ConversationLeave, params).await.unwrap();
        group.carol.sees(bob, None, id).await.unwrap();
        group.alice.node.kill();
        group.alice.node.restart().await.unwrap();
        group.alice.usable(id).await.unwrap();
        group.alice.sees(bob, None, id).await.unwrap();
        let said = group.alice.send(id, "without bob").await.unwrap();
        group.carol.has(id, said).await.unwrap();
        group.bob.node.kill();
        group.bob.node.restart().await.unwrap();
        assert!(group.bob.requests().await.unwrap().is_empty());
        join(&mut group.alice, &mut group.bob, id).await;
        group.carol.sees(bob, Some("member"), id).await.unwrap();
    });
}

#[test]
fn the_only_admin_bans_and_unbans_with_restarts_in_between() {
    run(async {
        let mut group = Group::start().await;
        let id = group.gather("Friends").await;
        let Group { alice, bob, carol, .. } = &mut group;
        let code = refused(carol.node.ask(method::ConversationBan, carol.against(bob.id, id)).await.unwrap());
        assert_eq!(code, ErrorCode::Refused.number());
        let changed = alice.node.call(method::ConversationBan, alice.against(bob.id, id)).await.unwrap();
        assert!(changed.decided);
        carol.sees(bob.id, Some("banned"), id).await.unwrap();
        for person in [&mut *alice, &mut *bob] {
            person.node.kill();
            person.node.restart().await.unwrap();
            person.usable(id).await.unwrap();
        }
        let lonely = bob.send(id, "can anybody hear me?").await.unwrap();
        let said = carol.send(id, "without bob").await.unwrap();
        alice.has(id, said).await.unwrap();
        assert!(!bob.log(id).await.unwrap().contains(&said));
        assert!(!alice.log(id).await.unwrap().contains(&lonely));
        alice.node.call(method::ConversationUnban, alice.against(bob.id, id)).await.unwrap();
        bob.has(id, said).await.unwrap();
        alice.has(id, lonely).await.unwrap();
        let back = bob.send(id, "back again").await.unwrap();
        carol.has(id, back).await.unwrap();
        same_history(alice, carol, id).await.unwrap();
        same_history(alice, bob, id).await.unwrap();
    });
}

#[test]
fn profile_preferences_reading_and_typing_in_a_group() {
    run(async {
        let mut group = Group::start().await;
        let id = group.gather("Friends").await;
        let Group { alice, bob, carol, .. } = &mut group;
        let profile =
            ProfileChange { description: Some("Where we meet".to_owned()), ..ProfileChange::default() };
        let params = |person: &Person| ProfileParams {
            account: person.local,
            conversation: id,
            profile: profile.clone(),
        };
        let code = refused(bob.node.ask(method::ConversationSetProfile, params(bob)).await.unwrap());
        assert_eq!(code, ErrorCode::Refused.number());
        alice.node.call(method::ConversationSetProfile, params(alice)).await.unwrap();
        for person in [&*bob, &*carol] {
            person
                .told(Mark::BEGINNING, "the description", |event| match event {
                    Event::ConversationProfileChanged { description, .. } => {
                        (description == "Where we meet").then_some(())
                    }
                    _ => None,
                })
                .await
                .unwrap();
        }

        let preferences: BTreeMap<_, _> = [("color".to_owned(), "#ff8800".to_owned())].into();
        let params = PreferParams { account: bob.local, conversation: id, preferences: preferences.clone() };
        bob.node.call(method::ConversationPrefer, params).await.unwrap();
        bob.node.kill();
        bob.node.restart().await.unwrap();
        bob.usable(id).await.unwrap();
        let kept = bob.node.call(method::ConversationPreferences, about(bob, id)).await.unwrap();
        assert_eq!(kept.preferences, preferences);
        let others = carol.node.call(method::ConversationPreferences, about(carol, id)).await.unwrap();
        assert!(others.preferences.is_empty());

        let said = alice.send(id, "read this").await.unwrap();
        let readers: [AccountId; 2] = [bob.id, carol.id];
        for person in [&mut *bob, &mut *carol] {
            person.has(id, said).await.unwrap();
            let params = MessageParams { account: person.local, conversation: id, message: said };
            person.node.call(method::MessageRead, params).await.unwrap();
        }
        for reader in readers {
            alice
                .told(Mark::BEGINNING, format!("that {reader} has read"), |event| {
                    matches!(event, Event::Read { member, message, .. } if *member == reader && *message == said)
                        .then_some(())
                })
                .await
                .unwrap();
        }
        let members = alice.view(id).await.unwrap().members;
        assert!(members.iter().filter(|it| readers.contains(&it.id)).all(|it| it.read == Some(said)));

        let mark = (alice.node.events().mark(), carol.node.events().mark());
        let params = TypingParams { account: bob.local, conversation: id, active: true };
        bob.node.call(method::MessageTyping, params).await.unwrap();
        let types = |event: &Event| {
            matches!(event, Event::Typing { member, active: true, .. } if *member == readers[0]).then_some(())
        };
        alice.told(mark.0, "that bob types", types).await.unwrap();
        carol.told(mark.1, "that bob types", types).await.unwrap();
    });
}

#[test]
fn the_program_shows_members_roles_and_who_has_what() {
    run(async {
        let mut group = Group::start().await;
        let id = group.gather("Friends").await;
        let said = group.alice.send(id, "hello").await.unwrap();
        group.bob.has(id, said).await.unwrap();
        group.carol.has(id, said).await.unwrap();
        let data = group.alice.node.setup().data().to_owned();
        let id = id.to_string();
        let output = skep(&data, &["conversation", "show", &id]);
        let shown = String::from_utf8(output.stdout).unwrap();
        for word in ["Friends", "invites_only", "admin", "member", &group.bob.id.to_string()] {
            assert!(shown.contains(word), "{word} is missing:\n{shown}");
        }
        let bob = group.bob.id.to_string();
        assert!(skep(&data, &["conversation", "ban", &id[..6], &bob]).status.success());
        let again = skep(&data, &["conversation", "ban", &id, &bob]);
        let error = String::from_utf8(again.stderr).unwrap();
        assert!(error.contains("whom this account could ban") && error.lines().count() == 1, "{error}");
        let list = skep(&data, &["conversation", "members", &id, "--json"]);
        let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
        let banned = list["members"].as_array().unwrap().iter().filter(|it| it["role"] == "banned").count();
        assert_eq!(banned, 1, "{list}");
    });
}
