use proptest::prelude::*;

use super::super::testing::{RECORDED_SYNC, recorded_sync};
use super::*;
use crate::ids::CommitId;
use crate::msgpack;
use crate::testing::with_mutations;
use crate::time::UnixMillis;

/// A message as releases of 2023 write it, with this many parts: no milliseconds, no mode, and one more
/// entry, always empty, before the devices.
fn as_of_2023(message: &SyncMessage, parts: usize) -> Vec<u8> {
    fn cut(object: &mut Object, count: usize) {
        let Object::Map(entries) = object else { panic!("{object:?}") };
        for (_, entry) in entries {
            let Object::Map(fields) = entry else { panic!("{entry:?}") };
            fields.truncate(count);
        }
    }
    let Object::Array(mut array) = message.to_object() else { panic!() };
    array.truncate(parts);
    let Object::Map(data) = &mut array[0] else { panic!() };
    for (name, field) in data.iter_mut() {
        match name.as_text() {
            Some("peers") => cut(field, 5),
            Some("trust_requests") => cut(field, 4),
            _ => {}
        }
    }
    data.insert(2, ("devices_known".into(), Object::map([])));
    cut(&mut array[1], 6);
    cut(&mut array[2], 5);
    Object::Array(array).encode()
}

/// The same message with the members of conversations by rising id; those releases have them in the
/// order in which they joined, and now and then twice.
fn with_sorted_members(bytes: &[u8]) -> Vec<u8> {
    let Object::Array(mut parts) = msgpack::decode_all(bytes).unwrap() else { panic!() };
    let Object::Map(conversations) = &mut parts[1] else { panic!() };
    for (_, entry) in conversations {
        let Object::Map(fields) = entry else { panic!() };
        let (_, Object::Array(members)) = &mut fields[4] else { panic!() };
        members.sort_by_key(|member| member.as_text().unwrap().to_owned());
        members.dedup();
    }
    Object::Array(parts).encode()
}

fn read(bytes: &[u8]) -> SyncMessage {
    let (message, skipped) = SyncMessage::from_object(&msgpack::decode_all(bytes).unwrap()).unwrap();
    assert_eq!(skipped, 0);
    message
}

#[test]
fn recorded_messages_are_written_as_they_were_read() {
    for (release, parts) in RECORDED_SYNC {
        let recorded = recorded_sync(release);
        assert!(recorded.len() >= 10, "{release}");
        for line in recorded {
            let message = read(&line.bytes());
            let (written, recorded) = match parts {
                6 => (message.encode(), line.bytes()),
                parts => (as_of_2023(&message, parts), with_sorted_members(&line.bytes())),
            };
            assert_eq!(hex::encode(written), hex::encode(recorded), "{release}");
            assert_eq!(read(&message.encode()), with_numbered_modes(message), "{release}");
        }
    }
}

/// Modes are always written: 0 where the older releases say nothing.
fn with_numbered_modes(mut message: SyncMessage) -> SyncMessage {
    message.conversations.values_mut().for_each(|record| record.mode = record.mode.or(Some(0)));
    message
}

#[test]
fn a_recorded_full_state_has_one_part_in_each_message() {
    let sent: Vec<_> = recorded_sync("newest").into_iter().filter(|line| line.from == "alice").collect();
    let messages: Vec<_> = sent[..4].iter().map(|line| read(&line.bytes())).collect();
    let [devices, conversations, preferences, status] = &messages[..] else { panic!() };
    assert_eq!((devices.devices.len(), devices.contacts.len()), (2, 2));
    assert!(devices.devices.values().any(|device| device.name == "vm"));
    assert_eq!(conversations.conversations.len(), 3);
    assert_eq!(preferences.preferences.values().next().unwrap()["color"], "#ff8800");
    let read = status.status.values().flat_map(BTreeMap::values).filter(|it| it.contains_key("read"));
    assert!(read.count() > 3);
}

#[test]
fn arrays_of_any_length_are_read() {
    let message = read(&recorded_sync("newest")[0].bytes());
    let Object::Array(mut parts) = message.to_object() else { panic!() };
    parts.extend([Object::Nil, Object::map([]), "later".into()]);
    for count in [9, 7, 6, 5, 4, 1] {
        parts.truncate(count);
        assert_eq!(read(&Object::Array(parts.clone()).encode()), message, "{count}");
    }
    assert_eq!(read(&[0x90]), SyncMessage::default());
}

#[test]
fn messages_in_one_write_and_in_writes_of_one_byte_are_read_alike() {
    let recorded = recorded_sync("newest");
    let expected: Vec<_> = recorded[..5].iter().map(|line| read(&line.bytes())).collect();
    let stream: Vec<u8> = recorded[..5].iter().flat_map(|line| line.bytes()).collect();
    for size in [1, 7, stream.len()] {
        let mut reader = SyncReader::default();
        let mut messages = Vec::new();
        for mut piece in stream.chunks(size) {
            while let Some((message, _)) = reader.next(&mut piece).unwrap() {
                messages.push(message);
            }
        }
        assert_eq!(messages, expected, "{size}");
    }
}

#[test]
fn what_is_no_message_closes_the_channel_and_counts_for_nothing() {
    for (bytes, error) in [
        (&b"\xc0"[..], SyncError::Shape),
        (b"\x80", SyncError::Shape),
        (b"\x91\xc0", SyncError::Shape),
        (b"\x92\x80\x90", SyncError::Shape),
        (b"\x91\x81\xa5peers\x90", SyncError::Shape),
        (b"\xc1", SyncError::Stream(DecodeError::Reserved)),
    ] {
        assert_eq!(SyncReader::default().next(&mut &*bytes), Err(error), "{bytes:x?}");
    }
}

#[test]
fn a_message_without_end_is_refused_when_its_length_is_announced() {
    let error = SyncError::Stream(DecodeError::TooLarge { limit: MAX_SYNC_MESSAGE });
    for bomb in ["96df7fffffff", "96dd7fffffff", "9681c67fffffff"] {
        let bytes = hex::decode(bomb).unwrap();
        assert_eq!(SyncReader::default().next(&mut &*bytes), Err(error.clone()), "{bomb}");
    }
}

#[test]
fn a_stream_that_ends_within_a_message_says_nothing_of_it() {
    let bytes = recorded_sync("newest")[0].bytes();
    let mut reader = SyncReader::default();
    assert_eq!(reader.next(&mut &bytes[..bytes.len() - 1]), Ok(None));
}

#[test]
fn one_wrong_entry_does_not_discard_the_others() {
    let message = read(&recorded_sync("newest")[0].bytes());
    let conversations = read(&recorded_sync("newest")[1].bytes());
    let Object::Array(mut parts) = message.to_object() else { panic!() };
    let Object::Array(others) = conversations.to_object() else { panic!() };
    parts[1] = others[1].clone();
    let wrong = [
        (Object::binary(&[1; 19]), Object::map([])),
        (Object::Nil, Object::map([])),
        (Object::binary(&[1; 20]), Object::map([("added", "soon".into())])),
        (Object::binary(&[1; 32]), Object::map([("name", Object::Nil)])),
        (Object::text(".."), Object::map([("id", "..".into())])),
        (Object::text(""), Object::Nil),
    ];
    let add = |object: &mut Object| {
        let Object::Map(entries) = object else { panic!() };
        entries.extend(wrong.iter().cloned());
    };
    let Object::Map(data) = &mut parts[0] else { panic!() };
    data.iter_mut().filter(|(_, field)| field.as_map().is_some()).for_each(|(_, field)| add(field));
    parts[1..].iter_mut().for_each(add);
    let object = msgpack::decode_all(&Object::Array(parts).encode()).unwrap();
    let (read, skipped) = SyncMessage::from_object(&object).unwrap();
    assert!(skipped >= 40, "{skipped}");
    assert_eq!(read.conversations, conversations.conversations);
    assert!(message.contacts.iter().all(|(id, contact)| read.contacts.get(id) == Some(contact)));
    assert!(message.devices.iter().all(|(id, device)| read.devices.get(id) == Some(device)));
}

#[test]
fn keys_of_wrong_types_and_unknown_ones_are_ignored_within_an_entry() {
    let contact = Object::Map(vec![
        (Object::Nil, Object::Nil),
        ("later".into(), Object::map([])),
        ("added".into(), 7_u64.into()),
    ]);
    let peers = Object::Map(vec![(Object::binary(&[1; 20]), contact)]);
    let message = read(&Object::Array(vec![Object::map([("peers", peers)])]).encode());
    assert_eq!(message.contacts[&AccountId([1; 20])].added, UnixMillis(7000));
}

#[test]
fn the_id_inside_of_an_entry_counts_more_than_its_key() {
    let entry = Object::map([("id", Object::text(&"ab".repeat(20))), ("created", 7_u64.into())]);
    let key = Object::text(&"cd".repeat(20));
    let message = Object::Array(vec![Object::map([]), Object::Map(vec![(key, entry)])]);
    assert_eq!(read(&message.encode()).conversations.keys().next(), Some(&ConversationId([0xab; 20])));
}

#[test]
fn of_a_time_in_both_units_the_milliseconds_count_also_when_they_are_zero() {
    let contact = |fields: &[(&str, u64)]| {
        let fields = fields.iter().map(|(name, number)| (*name, Object::from(*number)));
        Contact::from_object(&Object::map(fields)).unwrap().added
    };
    assert_eq!(contact(&[("added", 5)]), UnixMillis(5000));
    assert_eq!(contact(&[("added", 5), ("addedMs", 5999)]), UnixMillis(5999));
    assert_eq!(contact(&[("added", 5), ("addedMs", 0)]), UnixMillis(0));
}

fn fuzz_sync(data: &[u8]) {
    let mut reader = SyncReader::default();
    let mut input = data;
    let mut messages = Vec::new();
    while let Ok(Some((message, _))) = reader.next(&mut input) {
        let message = with_numbered_modes(message);
        let object = msgpack::decode_all(&message.encode()).unwrap();
        assert_eq!(SyncMessage::from_object(&object), Ok((message.clone(), 0)));
        messages.push(message);
    }
    let mut reader = SyncReader::default();
    let mut again = Vec::new();
    for mut byte in data.chunks(1) {
        match reader.next(&mut byte) {
            Ok(Some((message, _))) => again.push(with_numbered_modes(message)),
            Ok(None) => {}
            Err(_) => break,
        }
    }
    assert_eq!(again, messages);
}

#[test]
fn damaged_messages_are_read_or_refused() {
    for (release, _) in RECORDED_SYNC {
        for line in recorded_sync(release).iter().take(6) {
            with_mutations(&line.bytes(), 60, fuzz_sync);
        }
    }
}

proptest! {
    #[test]
    fn every_message_survives_its_bytes(
        date: u64,
        devices in prop::collection::btree_map(any::<[u8; 32]>(), ("[a-z]{0,4}", any::<Option<[u8; 20]>>()), 0..3),
        contacts in prop::collection::btree_map(any::<[u8; 20]>(), (0..9_i64, 0..9_i64, any::<[bool; 2]>()), 0..3),
        texts in prop::collection::btree_map("[a-z]{1,4}", "[a-z]{0,4}", 0..3),
        ids: [[u8; 20]; 3],
    ) {
        let device = |(name, short_id): (String, Option<[u8; 20]>)| {
            ToldDevice { name, short_id: short_id.map(DeviceShortId) }
        };
        let contact = |(added, removed, [confirmed, banned]): (i64, i64, [bool; 2])| Contact {
            added: UnixMillis(added),
            removed: UnixMillis(removed),
            confirmed,
            banned,
            conversation: confirmed.then_some(ConversationId(ids[0])),
        };
        let record = ConversationRecord::new(UnixMillis(1), [AccountId(ids[1])], 3);
        let message = SyncMessage {
            date,
            devices: devices.into_iter().map(|(id, it)| (DeviceId(id), device(it))).collect(),
            contacts: contacts.into_iter().map(|(id, it)| (AccountId(id), contact(it))).collect(),
            conversations: [(ConversationId(ids[0]), record)].into(),
            preferences: [(ConversationId(ids[1]), texts.clone())].into(),
            status: [(ConversationId(ids[2]), [(AccountId(CommitId::from_bytes(&ids[0]).unwrap().0), texts)].into())].into(),
            ..SyncMessage::default()
        };
        prop_assert_eq!(read(&message.encode()), message);
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_sync(&bytes);
    }
}

#[test]
fn what_devices_of_2023_put_on_the_dht_is_the_first_part_of_a_message_and_nothing_else() {
    let contacts = [(AccountId([7; 20]), Contact { added: UnixMillis(5000), ..Contact::default() })].into();
    let devices = [(DeviceId([3; 32]), ToldDevice::default())].into();
    let told = SyncMessage { date: 8, contacts, devices, ..SyncMessage::default() };
    let Object::Array(parts) = msgpack::decode_all(&as_of_2023(&told, 4)).unwrap() else { panic!() };
    let data = parts[0].encode();
    assert_eq!(SyncMessage::decode_device_data(&data), Ok((told, 0)));
    for cut in [&data[..data.len() - 1], &[&data[..], &[0]].concat(), &parts[1].encode()[..0], b"\x05"] {
        assert!(SyncMessage::decode_device_data(cut).is_err());
    }
    with_mutations(&data, 200, |data| {
        let _ = SyncMessage::decode_device_data(data);
    });
}
