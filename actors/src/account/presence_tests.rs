//! Who is there, as an account sees it on a DHT that holds what a test puts into it.

use skep_protocol::contact::{MAX_ANNOUNCED_DEVICES, MAX_CHANGES_AT_ONCE};
use skep_protocol::dht::value::Value;
use skep_protocol::identity::Announcement;
use skep_protocol::time::UnixMillis;

use super::alone::{Friend, Held, Room, run_on_one_thread};
use super::*;

fn stranger(number: usize) -> AccountId {
    let mut id = [7; 20];
    id[..8].copy_from_slice(&(number as u64).to_be_bytes());
    AccountId(id)
}

/// A room whose owner has one contact, who has agreed.
async fn with_friend() -> (Room, Friend) {
    let friend = Friend::of(&Held::default()).id;
    let room = Room::with_contacts(|contacts| {
        contacts.add(NOW, friend, None, true).unwrap();
    })
    .await;
    let friend = Friend::of(&room.held);
    (room, friend)
}

#[test]
fn a_contacts_devices_come_and_go_with_their_announcements() {
    run(async {
        let (mut room, friend) = with_friend().await;
        let key = friend.id.dht_key();
        assert_eq!(room.shown(friend.id).await, []);
        room.held.put(key, vec![friend.announcement(0, 10)]).await;
        assert_eq!(room.presence().await, (friend.id, vec![friend.device(0)]));
        let mut both = vec![friend.device(0), friend.device(1)];
        both.sort();
        room.held.put(key, vec![friend.announcement(1, 11)]).await;
        assert_eq!(room.presence().await, (friend.id, both.clone()));
        assert_eq!(room.shown(friend.id).await, both);
        assert!(!room.contact(friend.id).await.connected);
        room.held.expire(key, &friend.announcement(0, 10)).await;
        assert_eq!(room.presence().await, (friend.id, vec![friend.device(1)]));
        room.held.expire(key, &friend.announcement(1, 11)).await;
        assert_eq!(room.presence().await, (friend.id, vec![]));
        assert_eq!(room.shown(friend.id).await, []);
        room.stop().await;
    });
}

#[test]
fn a_thousand_contacts_cost_one_listening_each_and_nothing_more() {
    run_on_one_thread(async {
        let (banned, removed) = (stranger(5000), stranger(5001));
        let room = Room::with_contacts(|contacts| {
            for number in 0..1000 {
                contacts.add(NOW, stranger(number), None, true).unwrap();
            }
            for (contact, ban) in [(banned, true), (removed, false)] {
                contacts.add(NOW, contact, None, true).unwrap();
                contacts.remove(UnixMillis(NOW.0 + 1000), contact, ban).unwrap();
            }
        })
        .await;
        let all = async {
            while (0..1000).any(|number| room.held.listened(stranger(number)) == 0) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.unwrap();
        let gets = room.held.gets();
        tokio::time::pause();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        tokio::time::resume();
        assert!((0..1000).all(|number| room.held.listened(stranger(number)) == 1));
        assert_eq!((room.held.listened(banned), room.held.listened(removed)), (0, 0));
        assert_eq!(room.held.gets(), gets, "nothing is asked for");
        room.stop().await;
    });
}

#[test]
fn who_is_banned_is_not_followed_until_allowed_again() {
    run(async {
        let (mut room, friend) = with_friend().await;
        let key = friend.id.dht_key();
        room.held.put(key, vec![friend.announcement(0, 10)]).await;
        room.presence().await;
        let remove = |reply| AccountRequest::RemoveContact { contact: friend.id, ban: true, reply };
        room.ask(remove).await.unwrap();
        assert_eq!(room.shown(friend.id).await, []);
        while room.held.listens(friend.id) {
            tokio::task::yield_now().await;
        }
        room.held.put(key, vec![friend.announcement(1, 11)]).await;
        let allow = |reply| AccountRequest::AddContact { contact: friend.id, reply };
        room.ask(allow).await.unwrap();
        let (who, devices) = room.presence().await;
        assert_eq!((who, devices.is_empty()), (friend.id, false));
        while room.shown(friend.id).await.len() < 2 {
            tokio::task::yield_now().await;
        }
        room.stop().await;
    });
}

#[test]
fn a_banned_device_is_not_shown_beside_the_others_until_it_is_allowed_again() {
    run(async {
        let (mut room, friend) = with_friend().await;
        let key = friend.id.dht_key();
        room.held.put(key, vec![friend.announcement(0, 10)]).await;
        room.presence().await;
        let ban = |device| move |reply| AccountRequest::BanDevice { device, reply };
        let own = room.ask::<AccountView>(AccountRequest::Describe).await.device;
        assert_eq!(room.ask(ban(own)).await, Err(AccountError::BanOwnDevice));
        let device = friend.device(0);
        room.ask(ban(device)).await.unwrap();
        assert_eq!(room.presence().await, (friend.id, vec![]));
        assert_eq!(room.contact(friend.id).await.banned_devices, [device]);
        // It is announced anew, and so is another one.
        room.held.put(key, vec![friend.announcement(0, 12), friend.announcement(1, 11)]).await;
        assert_eq!(room.presence().await, (friend.id, vec![friend.device(1)]));
        let allow = |reply| AccountRequest::AllowDevice { device, reply };
        room.ask(allow).await.unwrap();
        assert_eq!(room.presence().await.1.len(), 2);
        let allow = |reply| AccountRequest::AllowDevice { device, reply };
        assert_eq!(room.ask(allow).await, Err(AccountError::NotBanned(device)));
        room.stop().await;
    });
}

#[test]
fn forged_and_foreign_announcements_show_nobody() {
    run(async {
        let (mut room, friend) = with_friend().await;
        let other = Recorded::new("jami-13.11.0", "alice").open();
        let foreign = Announcement::issue(&other.account_key, &friend.devices[0]).unwrap();
        let mut packed = friend.announcement(0, 21).encode();
        // The last bytes are the signature and then the priority.
        let last = packed.len() - 10;
        packed[last] ^= 1;
        let altered = Value::decode(&packed).unwrap();
        // A device of somebody else, which the friend claims.
        let theirs = Recorded::new("jami-13.11.0", "alice").chain().leaf().public_key().clone();
        let claimed = Announcement::issue(&friend.key, &theirs).unwrap();
        let bad = [foreign, altered, claimed];
        let bad = bad.into_iter().zip(20..).map(|(value, id)| Value { id: ValueId(id), ..value }).collect();
        room.held.put(friend.id.dht_key(), bad).await;
        room.held.put(friend.id.dht_key(), vec![friend.announcement(1, 30)]).await;
        assert_eq!(room.presence().await, (friend.id, vec![friend.device(1)]));
        assert_eq!(room.shown(friend.id).await, [friend.device(1)]);
        room.stop().await;
    });
}

/// Waits until the list shows a contact there, or not.
async fn seen(room: &Room, contact: AccountId, there: bool) {
    let so = async {
        while room.shown(contact).await.is_empty() == there {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, so).await.unwrap();
}

#[test]
fn a_device_that_flaps_a_thousand_times_is_told_of_a_few_times() {
    run(async {
        let (mut room, friend) = with_friend().await;
        let (key, begun) = (friend.id.dht_key(), std::time::Instant::now());
        let announcement = friend.announcement(0, 0);
        for number in 0..1000 {
            let value = Value { id: ValueId(1000 + number), ..announcement.clone() };
            room.held.put(key, vec![value.clone()]).await;
            // Each time it is seen, or else nobody would have anything to tell of.
            seen(&room, friend.id, true).await;
            if number < 999 {
                room.held.expire(key, &value).await;
                seen(&room, friend.id, false).await;
            }
        }
        let most = u64::from(MAX_CHANGES_AT_ONCE) + begun.elapsed().as_secs() / 10 + 1;
        let told = room.presences();
        assert!((1..=most).contains(&(told as u64)), "told {told} times");
        room.stop().await;
    });
}

#[test]
fn a_contact_that_announces_hundreds_of_devices_has_few_looked_up() {
    run_on_one_thread(async {
        let (mut room, friend) = with_friend().await;
        let der = friend.devices[0].der().to_vec();
        let announcements = (0..200_u16).map(|number| {
            // Somewhere within the modulus.
            let mut other = der.clone();
            other[100..102].copy_from_slice(&number.to_be_bytes());
            let device = PublicKey::from_der(&other).unwrap();
            let value = Announcement::issue(&friend.key, &device).unwrap();
            Value { id: ValueId(100 + u64::from(number)), ..value }
        });
        let announcements = announcements.collect();
        let before = room.held.gets();
        room.held.put(friend.id.dht_key(), announcements).await;
        while room.held.gets() == before {
            tokio::task::yield_now().await;
        }
        tokio::time::pause();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        tokio::time::resume();
        // Each at two keys, again and again with pauses from two seconds to five minutes.
        let gets = room.held.gets() - before;
        assert!(gets <= MAX_ANNOUNCED_DEVICES * 2 * 10, "{gets} look-ups");
        assert_eq!(room.presences(), 0);
        assert_eq!(room.shown(friend.id).await, []);
        room.stop().await;
    });
}
