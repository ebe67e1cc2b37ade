//! Who is there, as others see it: devices that start, stop and are killed.

use skep::rpc::schema::{AccountParams, ContactDeviceParams, method};
use skep::{ContactView, DeviceId, Event};
use skep_tests::harness::{Golden, NodeSetup, Person, Result, run, until};

use super::Pair;

/// How somebody sees a contact.
async fn seen(person: &mut Person, other: skep::AccountId) -> Result<Option<ContactView>> {
    Ok(person.contacts().await?.into_iter().find(|contact| contact.id == other))
}

/// Waits until somebody sees a contact so.
async fn sees(
    person: &mut Person,
    other: skep::AccountId,
    how: &str,
    is_so: impl Fn(&ContactView) -> bool,
) -> ContactView {
    let name = person.node.name().to_owned();
    until(&name, how, async || Ok(seen(person, other).await?.filter(|view| is_so(view)))).await.unwrap()
}

#[test]
fn a_contact_is_seen_with_its_device_and_without_the_link_as_soon_as_that_is_gone() {
    run(async {
        let Pair { place: _place, mut alice, mut carol } = Pair::start().await.unwrap();
        alice.befriend(&mut carol).await.unwrap();
        let device: DeviceId = carol.describe().await.unwrap().device;
        let linked = sees(&mut alice, carol.id, "a link", |view| view.connected).await;
        assert!(linked.online);
        assert_eq!(
            linked.devices.iter().map(|it| (it.id, it.connected)).collect::<Vec<_>>(),
            [(device, true)]
        );

        // Killed, it is still announced, and has no link any more.
        carol.node.kill();
        let gone = sees(&mut alice, carol.id, "no link", |view| !view.connected).await;
        assert!(gone.devices.iter().all(|it| !it.connected));

        let since = alice.node.events().mark();
        carol.node.restart().await.unwrap();
        let up =
            |event: &Event| matches!(event, Event::LinkUp { device: it, .. } if *it == device).then_some(());
        alice.told(since, "a link", up).await.unwrap();
        let back = sees(&mut alice, carol.id, "a link again", |view| view.connected).await;
        assert_eq!(back.devices.len(), 1, "{back:?}");
        carol.node.stop().await.unwrap();
        sees(&mut alice, carol.id, "no link", |view| !view.connected).await;
    });
}

#[test]
fn a_contact_who_starts_is_online_within_seconds_and_one_who_is_banned_is_not_seen() {
    run(async {
        let Pair { place: _place, mut alice, mut carol } = Pair::start().await.unwrap();
        let since = alice.node.events().mark();
        alice.befriend(&mut carol).await.unwrap();
        let carol_id = carol.id;
        let online = |event: &Event| match event {
            Event::Presence { contact, online: true, devices } if *contact == carol_id => {
                Some(devices.clone())
            }
            _ => None,
        };
        assert_eq!(alice.told(since, "Carol online", online).await.unwrap().len(), 1);
        alice.node.call(method::ContactBan, alice.about(carol.id)).await.unwrap();
        let banned = seen(&mut alice, carol.id).await.unwrap().unwrap();
        assert!(!banned.online && banned.devices.is_empty(), "{banned:?}");
        alice.add(carol.id).await.unwrap();
        sees(&mut alice, carol.id, "Carol again", |view| view.online && !view.devices.is_empty()).await;
    });
}

#[test]
fn a_single_device_that_is_banned_is_not_heard_until_it_is_allowed_again() {
    run(async {
        let Pair { place, mut alice, mut carol } = Pair::start().await.unwrap();
        let id = alice.befriend(&mut carol).await.unwrap();
        let device: DeviceId = carol.describe().await.unwrap().device;
        sees(&mut alice, carol.id, "a link", |view| view.connected).await;
        let since = carol.node.events().mark();
        let params = || ContactDeviceParams { account: alice.local, device };
        let (ban, allow) = (params(), params());
        alice.node.call(method::ContactBanDevice, ban).await.unwrap();
        let down = |event: &Event| matches!(event, Event::LinkDown { .. }).then_some(());
        carol.told(since, "the link to end", down).await.unwrap();
        let banned = sees(&mut alice, carol.id, "no link", |view| !view.connected).await;
        assert!(
            !banned.online && banned.state == "active" && banned.banned_devices == [device],
            "{banned:?}"
        );
        carol.send(id, "do you hear me?").await.unwrap();

        // It holds after a restart, too, in which Carol begins to call, and then Bob becomes a contact and is linked.
        alice.node.restart().await.unwrap();
        alice.announced().await.unwrap();
        carol.node.restart().await.unwrap();
        carol.announced().await.unwrap();
        until("carol", "a call", async || {
            let account = AccountParams { account: carol.local };
            Ok((!carol.node.call(method::LinksList, account).await?.links.is_empty()).then_some(()))
        })
        .await
        .unwrap();
        let address = alice.node.address().await.unwrap();
        let setup = NodeSetup::new("bob", place.path()).joining(&address);
        let mut bob = Person::start(Golden::BOB, setup).await.unwrap();
        bob.announced().await.unwrap();
        let other = alice.befriend(&mut bob).await.unwrap();
        alice.send(other, "are you there?").await.unwrap();
        bob.receives(other, "are you there?").await.unwrap();
        sees(&mut alice, bob.id, "a link", |view| view.connected).await;
        let after = seen(&mut alice, carol.id).await.unwrap().unwrap();
        assert!(!after.online && after.banned_devices == [device], "{after:?}");
        let heard = alice.messages(id).await.unwrap();
        assert!(!heard.iter().any(|message| message.body == "do you hear me?"), "{heard:?}");

        alice.node.call(method::ContactAllowDevice, allow).await.unwrap();
        until("alice", "what was said meanwhile", async || {
            let heard = alice.messages(id).await?;
            Ok(heard.iter().any(|message| message.body == "do you hear me?").then_some(()))
        })
        .await
        .unwrap();
        alice.send(id, "now I do").await.unwrap();
        carol.receives(id, "now I do").await.unwrap();
    });
}

#[test]
fn a_second_device_is_seen_beside_the_first() {
    run(async {
        let Pair { place, mut alice, mut carol } = Pair::start().await.unwrap();
        alice.befriend(&mut carol).await.unwrap();
        let pin = carol.export_under_pin(None).await.unwrap();
        let address = alice.node.address().await.unwrap();
        let node = NodeSetup::new("tablet", place.path()).joining(&address).start().await.unwrap();
        let mut tablet = Person::link_by_pin(node, &pin, None).await.unwrap();
        let second = tablet.describe().await.unwrap().device;
        let both = sees(&mut alice, carol.id, "two devices", |view| view.devices.len() == 2).await;
        assert!(both.devices.iter().any(|it| it.id == second), "{both:?}");
        assert_eq!(carol.id.to_string(), Golden::CAROL.id);
        drop((carol, tablet));
    });
}
