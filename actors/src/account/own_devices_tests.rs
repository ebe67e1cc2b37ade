//! What other devices of the account, as far as they are of 2023, do on the DHT and over links.

use skep_protocol::contact::Contact;
use skep_protocol::dht::content::Content;
use skep_protocol::identity::DeviceIdentity;
use skep_protocol::ids::DeviceId;
use skep_protocol::msgpack;
use skep_protocol::sync::SyncMessage;
use skep_protocol::time::UnixMillis;

use super::alone::{Friend, Held, Room, folder_in, run_on_one_thread};
use super::*;
use crate::account::messages::DeviceView;
use crate::dht::envelope::{EnvelopeRandom, seal};
use crate::peer::messages::LinkEvent;
use crate::profile::messages::ProfilesTold;

/// The second device of alice's account.
fn second_device() -> DeviceIdentity {
    let first = Recorded::new("newest", "alice");
    Recorded { folder: first.folder.with_file_name("alice2"), archive: first.archive }.identity()
}

/// Alice, who knows her second device.
async fn alice(place: tempfile::TempDir) -> Room {
    let held = Held::default();
    let alice = Friend::of(&held);
    let room = Room::open(place, held).await;
    room.held.put(alice.id.dht_key(), vec![alice.announcement(1, 11)]).await;
    let known = async {
        while room.ask::<Vec<DeviceView>>(AccountRequest::Devices).await.len() != 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, known).await.unwrap();
    room
}

fn person(number: u8) -> AccountId {
    AccountId([number; 20])
}

/// A device tells, over the DHT, that somebody was added.
async fn tell(room: &Room, sender: &DeviceIdentity, date: u64, number: u8) {
    let contact = Contact { added: UnixMillis(7), ..Contact::default() };
    let contacts = [(person(number), contact)].into();
    let message = SyncMessage { date, contacts, ..SyncMessage::default() };
    let data = msgpack::decode_all(&message.encode()).unwrap().as_array().unwrap()[0].encode();
    let recipient = Recorded::new("newest", "alice").identity().chain().device().public_key().clone();
    let random = EnvelopeRandom::draw(room.environment());
    let value = seal(Content::new(0, data), sender.key(), &recipient, &random).unwrap();
    room.held.put(DhtKey::inbox(recipient.device_short_id()), vec![value]).await;
}

/// Who is added, up to this one. What was told before has been opened before, and would have been added.
async fn added_until(room: &mut Room, last: u8) -> Vec<u8> {
    let mut added = Vec::new();
    room.wait(|event| {
        let Event::ContactAdded { contact, .. } = event else { return None };
        added.push(contact.0[0]);
        (contact.0[0] == last).then_some(())
    })
    .await;
    added
}

#[test]
fn what_an_own_device_puts_into_the_inbox_counts_once_and_in_order_also_after_a_restart() {
    run_on_one_thread(async {
        let place = tempfile::tempdir().unwrap();
        lay_out(&folder_in(&place), "newest", "alice");
        let mut room = alice(place).await;
        let (second, stranger) = (second_device(), Recorded::new("jami-13.7.0", "alice").identity());
        for (sender, date, number) in [
            (&stranger, 9, 1),
            (&second, 5, 2),
            (&second, 5, 3),
            (&second, 4, 4),
            (&stranger, 10, 5),
            (&second, 6, 6),
        ] {
            tell(&room, sender, date, number).await;
        }
        assert_eq!(added_until(&mut room, 6).await, [2, 6]);

        let mut room = alice(room.close().await).await;
        for (date, number) in [(5, 7), (6, 8), (7, 9)] {
            tell(&room, &second, date, number).await;
        }
        assert_eq!(added_until(&mut room, 9).await, [9]);
        room.stop().await;
    });
}

/// Lets everything go on that waits for no time, and says how many turns the profiles have had then.
async fn turns(room: &Room) -> u64 {
    let mut quiet = (0, 0);
    while quiet.1 < 20 {
        // What is on the disk takes true time.
        std::thread::sleep(Duration::from_millis(2));
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        let turns = room.turns("profiles");
        quiet = if turns == quiet.0 { (turns, quiet.1 + 1) } else { (turns, 0) };
    }
    quiet.0
}

#[test]
fn an_own_device_gets_the_profile_when_it_had_time_to_show_its_kind_also_when_profiles_begin_anew() {
    run_on_one_thread(async {
        let place = tempfile::tempdir().unwrap();
        lay_out(&folder_in(&place), "newest", "alice");
        let room = Room::open(place, Held::default()).await;
        let account = room.ask::<AccountView>(AccountRequest::Describe).await.id;
        let device = DeviceId([9; 32]);
        let link = |event| AccountMessage::Link(event);
        turns(&room).await;
        tokio::time::pause();
        room.account.send(link(LinkEvent::Up { device, account, may_be_legacy: true })).await.unwrap();
        let mut before = turns(&room).await;
        // Long enough for all that is tried in vain, for there is no such device.
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(turns(&room).await > before, "it did not show that it is of 2023");
        for _ in 0..100 {
            tokio::time::advance(Duration::from_secs(10)).await;
            before = turns(&room).await;
        }

        let anew = || AccountMessage::Profiles(ProfilesTold::Started([].into()));
        room.account.send(anew()).await.unwrap();
        assert_eq!(turns(&room).await, before, "it may show it yet");
        tokio::time::advance(Duration::from_secs(3)).await;
        let after = turns(&room).await;
        assert!(after > before);
        room.account.send(link(LinkEvent::Legacy { device, account })).await.unwrap();
        let shown = turns(&room).await;
        assert!(shown > after, "now it is known");
        room.account.send(anew()).await.unwrap();
        assert!(turns(&room).await > shown, "and stays so");
        tokio::time::resume();
        room.stop().await;
    });
}
