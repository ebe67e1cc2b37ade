//! One person with several devices: what is done on one is so on the others.

use std::collections::BTreeMap;

use skep::rpc::client::ClientError;
use skep::rpc::schema::{
    ConversationParams, ErrorCode, MessageParams, PreferParams, RenameParams, RevokeParams, method,
};
use skep::{AccountId, CommitId, ConversationId, DeviceId, Event};
use skep_tests::harness::{Golden, Mark, NodeSetup, Person, Result, run, same_history, until};
use tempfile::TempDir;

use super::skep;

/// Alice with two devices, the second of which is not started yet, and Carol.
struct Household {
    desk: Person,
    carol: Person,
    // Last, so that the nodes have ended when their files go.
    place: TempDir,
}

impl Household {
    async fn start() -> Result<Self> {
        let place = tempfile::tempdir().unwrap();
        let mut desk = Person::start(Golden::ALICE, NodeSetup::new("desk", place.path())).await?;
        let address = desk.node.address().await?;
        let setup = NodeSetup::new("carol", place.path()).joining(&address);
        let mut carol = Person::start(Golden::CAROL, setup).await?;
        desk.announced().await?;
        carol.announced().await?;
        Ok(Self { desk, carol, place })
    }

    /// Alice's second device.
    async fn attic(&mut self) -> Result<Person> {
        let address = self.carol.node.address().await?;
        let setup = NodeSetup::new("attic", self.place.path()).joining(&address);
        let mut attic = Person::start(Golden::ALICE_AGAIN, setup).await?;
        attic.announced().await?;
        Ok(attic)
    }
}

async fn prefers(person: &mut Person, conversation: ConversationId, color: &str) -> Result<()> {
    let name = person.node.name().to_owned();
    let params = ConversationParams { account: person.local, conversation };
    until(&name, format!("the colour {color}"), async || {
        let all = person.node.call(method::ConversationPreferences, params.clone()).await?.preferences;
        Ok((all.get("color").map(String::as_str) == Some(color)).then_some(()))
    })
    .await
}

async fn prefer(person: &mut Person, conversation: ConversationId, color: &str) {
    let preferences = BTreeMap::from([("color".to_owned(), color.to_owned())]);
    let params = PreferParams { account: person.local, conversation, preferences };
    person.node.call(method::ConversationPrefer, params).await.unwrap();
}

async fn read(person: &mut Person, conversation: ConversationId, message: CommitId) {
    let params = MessageParams { account: person.local, conversation, message };
    person.node.call(method::MessageRead, params).await.unwrap();
}

/// Waits until a person has read up to a message by the word of a device.
async fn has_read(person: &mut Person, reader: AccountId, conversation: ConversationId, message: CommitId) {
    let name = person.node.name().to_owned();
    let params = ConversationParams { account: person.local, conversation };
    until(&name, format!("{reader} to have read {message}"), async || {
        let members = person.node.call(method::ConversationMembers, params.clone()).await?.members;
        Ok(members.iter().any(|it| it.id == reader && it.read == Some(message)).then_some(()))
    })
    .await
    .unwrap();
}

#[test]
fn a_second_device_gets_contacts_conversations_and_what_was_read_and_writes_there_itself() {
    run(async {
        let mut home = Household::start().await.unwrap();
        let id = home.desk.befriend(&mut home.carol).await.unwrap();
        let first = home.carol.send(id, "before the second device").await.unwrap();
        home.desk.has(id, first).await.unwrap();
        read(&mut home.desk, id, first).await;
        prefer(&mut home.desk, id, "red").await;
        let group = home.desk.found("made before").await.unwrap();

        let mut attic = home.attic().await.unwrap();
        let Household { desk, carol, .. } = &mut home;
        attic.confirmed(carol.id).await.unwrap();
        attic.gets(id).await.unwrap();
        attic.gets(group).await.unwrap();
        same_history(desk, &mut attic, id).await.unwrap();
        let alice = desk.id;
        has_read(&mut attic, alice, id, first).await;
        prefers(&mut attic, id, "red").await.unwrap();

        // From now on each hears of the other at once.
        desk.meets_own_devices(1).await.unwrap();
        let later = desk.found("made later").await.unwrap();
        attic.gets(later).await.unwrap();
        attic.send(id, "from the attic").await.unwrap();
        carol.receives(id, "from the attic").await.unwrap();
        desk.receives(id, "from the attic").await.unwrap();
        let answer = carol.send(id, "to both").await.unwrap();
        for device in [&mut *desk, &mut attic] {
            device.has(id, answer).await.unwrap();
        }
        read(&mut attic, id, answer).await;
        has_read(desk, alice, id, answer).await;
        prefer(&mut attic, id, "blue").await;
        prefers(desk, id, "blue").await.unwrap();
        drop(attic);
    });
}

#[test]
fn a_contact_added_banned_or_removed_on_one_device_is_so_on_the_other() {
    run(async {
        let mut home = Household::start().await.unwrap();
        let mut attic = home.attic().await.unwrap();
        let Household { desk, carol, .. } = &mut home;
        // Without conversations they only meet because one has something to tell.
        let id = attic.befriend(carol).await.unwrap();
        desk.confirmed(carol.id).await.unwrap();
        desk.gets(id).await.unwrap();

        let since = attic.node.events().mark();
        desk.node.call(method::ContactBan, desk.about(carol.id)).await.unwrap();
        attic.counts_as(carol.id, "banned").await.unwrap();
        let person = carol.id;
        let down = |event: &Event| {
            matches!(event, Event::LinkDown { contact, .. } if *contact == person).then_some(())
        };
        attic.told(since, "the link to Carol to end", down).await.unwrap();

        assert_eq!(attic.add(carol.id).await.unwrap(), id, "it was kept");
        desk.counts_as(carol.id, "active").await.unwrap();
        carol.send(id, "again").await.unwrap();
        desk.receives(id, "again").await.unwrap();

        desk.node.call(method::ContactRemove, desk.about(carol.id)).await.unwrap();
        attic.counts_as(carol.id, "removed").await.unwrap();
        attic.loses(id).await.unwrap();
        drop(attic);
    });
}

#[test]
fn a_request_answered_on_one_device_waits_on_none() {
    run(async {
        let mut home = Household::start().await.unwrap();
        let mut attic = home.attic().await.unwrap();
        let Household { desk, carol, .. } = &mut home;
        let id = carol.add(desk.id).await.unwrap();
        for device in [&*desk, &attic] {
            device.asked_by(carol.id, Mark::BEGINNING).await.unwrap();
        }
        desk.accept(carol.id).await.unwrap();
        attic.confirmed(carol.id).await.unwrap();
        attic.gets(id).await.unwrap();
        until("attic", "no request to wait", async || Ok(attic.requests().await?.is_empty().then_some(())))
            .await
            .unwrap();

        // An invitation, declined where it was not heard of first.
        let group = carol.found("Sunday").await.unwrap();
        carol.invite(group, desk.id).await.unwrap();
        let waits = async |person: &mut Person, wanted: bool| {
            let name = person.node.name().to_owned();
            until(&name, format!("an invitation to wait: {wanted}"), async || {
                let all = person.requests().await?;
                let found = all.iter().any(|request| request.conversation == Some(group));
                Ok((found == wanted).then_some(()))
            })
            .await
            .unwrap();
        };
        waits(desk, true).await;
        waits(&mut attic, true).await;
        let decline = ConversationParams { account: attic.local, conversation: group };
        attic.node.call(method::ConversationDecline, decline).await.unwrap();
        waits(desk, false).await;
        drop(attic);
    });
}

#[test]
fn a_group_left_on_one_device_is_left_once_and_goes_from_both() {
    run(async {
        let mut home = Household::start().await.unwrap();
        home.desk.befriend(&mut home.carol).await.unwrap();
        let mut attic = home.attic().await.unwrap();
        let Household { desk, carol, .. } = &mut home;
        let since = carol.node.events().mark();
        let group = desk.found("Friends").await.unwrap();
        desk.invite(group, carol.id).await.unwrap();
        carol.invited(group, since).await.unwrap();
        carol.enter(group).await.unwrap();
        carol.ready(group, since).await.unwrap();
        attic.gets(group).await.unwrap();
        attic.send(group, "goodbye").await.unwrap();
        for person in [&*desk, &*carol] {
            person.receives(group, "goodbye").await.unwrap();
        }
        let leave = ConversationParams { account: attic.local, conversation: group };
        attic.node.call(method::ConversationLeave, leave).await.unwrap();
        desk.loses(group).await.unwrap();
        carol.sees(desk.id, None, group).await.unwrap();
        let alice = desk.id;
        let leaves = carol.messages(group).await.unwrap().into_iter().filter(|message| {
            message.author == alice && message.details.get("action").is_some_and(|it| it == "remove")
        });
        assert_eq!(leaves.count(), 1);
        drop(attic);
    });
}

#[test]
fn what_was_done_on_two_devices_while_they_were_apart_converges() {
    run(async {
        let mut home = Household::start().await.unwrap();
        let mut attic = home.attic().await.unwrap();
        let Household { desk, carol, .. } = &mut home;
        let id = desk.befriend(carol).await.unwrap();
        attic.gets(id).await.unwrap();
        let shared = desk.found("to be left").await.unwrap();
        attic.gets(shared).await.unwrap();
        // Who has never written cannot leave.
        attic.send(shared, "here, too").await.unwrap();
        desk.receives(shared, "here, too").await.unwrap();

        attic.node.stop().await.unwrap();
        let of_desk = desk.found("of the desk").await.unwrap();
        prefer(desk, id, "red").await;
        desk.node.stop().await.unwrap();
        attic.node.restart().await.unwrap();
        let of_attic = attic.found("of the attic").await.unwrap();
        let dave: AccountId = Golden::DAVE.id.parse().unwrap();
        attic.node.call(method::ContactBan, attic.about(carol.id)).await.unwrap();
        let left = ConversationParams { account: attic.local, conversation: shared };
        attic.node.call(method::ConversationLeave, left).await.unwrap();
        attic.add(dave).await.unwrap();

        desk.node.restart().await.unwrap();
        for device in [&mut *desk, &mut attic] {
            device.gets(of_desk).await.unwrap();
            device.gets(of_attic).await.unwrap();
            device.counts_as(carol.id, "banned").await.unwrap();
            device.counts_as(dave, "active").await.unwrap();
            device.loses(shared).await.unwrap();
            prefers(device, id, "red").await.unwrap();
        }
        drop(attic);
    });
}

#[test]
fn devices_have_names_and_one_that_is_revoked_has_nothing_to_do_with_anybody() {
    run(async {
        let mut home = Household::start().await.unwrap();
        let id = home.desk.befriend(&mut home.carol).await.unwrap();
        let mut attic = home.attic().await.unwrap();
        let Household { desk, carol, .. } = &mut home;
        attic.gets(id).await.unwrap();
        attic.send(id, "still one of us").await.unwrap();
        carol.receives(id, "still one of us").await.unwrap();
        let revoked: DeviceId = desk.meets_own_devices(1).await.unwrap()[0].id;

        let rename = RenameParams { account: attic.local, name: "attic".to_owned() };
        attic.node.call(method::DeviceRename, rename).await.unwrap();
        until("desk", "the new name", async || {
            Ok(desk.devices().await?.iter().any(|it| it.name == "attic").then_some(()))
        })
        .await
        .unwrap();

        let own = desk.devices().await.unwrap().into_iter().find(|it| it.this).unwrap().id;
        let itself = RevokeParams { account: desk.local, device: own, password: None };
        match desk.node.ask(method::DeviceRevoke, itself).await.unwrap() {
            Err(ClientError::Refused(error)) => assert_eq!(error.code, ErrorCode::Refused.number()),
            it => panic!("{it:?}"),
        }
        let since = [desk.node.events().mark(), carol.node.events().mark()];
        let data = desk.node.setup().data().to_owned();
        let listed = skep(&data, &["device", "list"]);
        assert!(String::from_utf8_lossy(&listed.stdout).contains("attic"), "{listed:?}");
        let done = skep(&data, &["device", "revoke", "attic", "--yes"]);
        assert!(done.status.success(), "{done:?}");

        let down = |event: &Event| {
            matches!(event, Event::LinkDown { device, .. } if *device == revoked).then_some(())
        };
        desk.told(since[0], "the link to end", down).await.unwrap();
        carol.told(since[1], "the link to end", down).await.unwrap();
        let knows = |event: &Event| matches!(event, Event::DeviceRevoked {}).then_some(());
        attic.told(Mark::BEGINNING, "that it was revoked", knows).await.unwrap();
        assert_eq!(desk.devices().await.unwrap().len(), 1);

        // It may write for itself; nobody hears of it, and it hears of nobody.
        let unheard = attic.send(id, "nobody hears me").await.unwrap();
        let said = desk.send(id, "among us").await.unwrap();
        carol.has(id, said).await.unwrap();
        assert!(!carol.log(id).await.unwrap().contains(&unheard));
        assert!(!attic.log(id).await.unwrap().contains(&said));

        // Also after a restart.
        desk.node.kill();
        desk.node.restart().await.unwrap();
        desk.gets(id).await.unwrap();
        assert_eq!(desk.devices().await.unwrap().len(), 1);
        drop(attic);
    });
}
