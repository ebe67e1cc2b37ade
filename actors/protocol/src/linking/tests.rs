use std::sync::OnceLock;
use std::time::Duration;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::*;
use crate::dht::golden;
use crate::dht::value::{Value, ValueId};
use crate::identity::{Archive, ArchiveSecret};
use crate::ids::{DeviceId, DhtKey};
use crate::link::channel_name::ChannelName;
use crate::testing::{data, recorded_lines, recording, with_mutations};
use crate::time::{Moment, UnixMillis};

const START: Moment = Moment(Duration::from_secs(7));

fn archive() -> Archive {
    static ARCHIVE: OnceLock<Archive> = OnceLock::new();
    let file = data!("vectors/newest/accounts/alice-nopassword.gz");
    ARCHIVE.get_or_init(|| Archive::open(file, ArchiveSecret::None).unwrap().0).clone()
}

fn invitation() -> LinkInvitation {
    LinkInvitation { device: DeviceId([7; 32]), code: LinkCode::from_random(630_897) }
}

fn secret(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

/// A new device with an open channel to a device of the archive's account.
fn new_device() -> NewDevice {
    let mut device = NewDevice::new(invitation());
    assert!(device.requested(&invitation().code.channel()).0);
    device.opened(START, archive().account_id());
    device
}

/// A source whose owner has confirmed.
fn source(scheme: LinkScheme) -> Source {
    let (mut source, _) = Source::new(START, scheme);
    source.confirm();
    source
}

/// What is written into the channel.
fn sent_by_new(actions: &[NewDeviceAction]) -> Vec<u8> {
    let sent = actions.iter().filter_map(|action| match action {
        NewDeviceAction::Send(bytes) => Some(&bytes[..]),
        _ => None,
    });
    sent.flatten().copied().collect()
}

fn sent_by_source(actions: &[SourceAction]) -> Vec<u8> {
    let sent = actions.iter().filter_map(|action| match action {
        SourceAction::Send(bytes) => Some(&bytes[..]),
        _ => None,
    });
    sent.flatten().copied().collect()
}

fn why_new(actions: &[NewDeviceAction]) -> Option<&LinkError> {
    let [.., NewDeviceAction::Close, NewDeviceAction::Fail(error)] = actions else { return None };
    Some(error)
}

fn why_source(actions: &[SourceAction]) -> Option<&LinkError> {
    let [.., SourceAction::Close, SourceAction::Fail(error)] = actions else { return None };
    Some(error)
}

#[derive(Deserialize)]
struct Recorded {
    from: String,
    data: String,
}

/// What the two daemons wrote, without the empty frames that closed the channel.
fn recorded() -> Vec<(bool, Vec<u8>)> {
    let lines: Vec<Recorded> = recorded_lines("newest/linking.jsonl.gz");
    let lines = lines.into_iter().filter(|line| !line.data.is_empty());
    lines.map(|line| (line.from == "source", hex::decode(line.data).unwrap())).collect()
}

#[test]
fn the_recorded_linking_plays_against_both_sides_byte_for_byte() {
    let recorded = recorded();
    let [(false, hello), (true, scheme), (false, password), (true, account)] = &recorded[..] else {
        panic!()
    };

    let mut device = NewDevice::new(invitation());
    assert_eq!(sent_by_new(&device.opened(START, archive().account_id())), *hello);
    assert_eq!(sent_by_new(&device.received(scheme)), *password);
    let actions = device.received(account);
    let [NewDeviceAction::Import { archive: imported, password: none }, NewDeviceAction::Close] =
        &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!((imported.account_id(), none.len()), (archive().account_id(), 0));
    assert!(device.is_over());

    let (mut source, _) = Source::new(START, LinkScheme::None);
    assert!(source.received(hello).is_empty());
    assert_eq!(sent_by_source(&source.confirm()), *scheme);
    let actions = source.received(password);
    let [SourceAction::OpenArchive { password: none }] = &actions[..] else { panic!("{actions:?}") };
    assert!(none.is_empty());
    let actions = source.opened_archive(imported);
    assert_eq!(sent_by_source(&actions), *account);
    assert!(matches!(actions[..], [_, SourceAction::Close, SourceAction::Done]));
}

#[test]
fn a_stream_cut_anywhere_links_as_well() {
    let recorded = recorded();
    let mut device = new_device();
    let mut actions = Vec::new();
    for (_, message) in recorded.iter().filter(|(is_source, _)| *is_source) {
        message.chunks(1).for_each(|byte| actions.extend(device.received(byte)));
    }
    assert!(matches!(
        actions[..],
        [NewDeviceAction::Send(_), NewDeviceAction::Import { .. }, NewDeviceAction::Close]
    ));
}

#[test]
fn contacts_and_conversations_are_not_sent_but_the_settings_and_what_is_unknown_are() {
    let mut archive =
        Archive::from_json(archive().to_json().replacen('{', r#"{"later":{"kept":1},"#, 1).as_bytes())
            .unwrap();
    archive.contacts.insert(crate::ids::AccountId([1; 20]), serde_json::Map::new());
    let mut source = source(LinkScheme::None);
    source.received(&message::Message::Password(secret("")).encode());
    let sent = sent_by_source(&source.opened_archive(&archive));
    let mut device = new_device();
    device.received(&message::Message::Scheme(LinkScheme::None).encode());
    let actions = device.received(&sent);
    let [NewDeviceAction::Import { archive: imported, .. }, _] = &actions[..] else { panic!("{actions:?}") };
    assert!(imported.contacts.is_empty() && imported.to_json().contains(r#""later":{"kept":1}"#));
    assert_eq!(imported.settings, archive.settings);
}

/// Both sides; the source knows the password `right`. Says how often the new device's owner was asked.
fn play(passwords: &[&str]) -> (usize, Vec<NewDeviceAction>, Vec<SourceAction>) {
    let archive = archive();
    let (mut device, mut source) = (NewDevice::new(invitation()), source(LinkScheme::Password));
    let mut from_new = device.opened(START, archive.account_id());
    let mut from_source = vec![SourceAction::Send(message::Message::Scheme(LinkScheme::Password).encode())];
    let mut passwords = passwords.iter();
    let mut asked = 0;
    let (mut all_new, mut all_source) = (Vec::new(), Vec::new());
    while !from_new.is_empty() || !from_source.is_empty() {
        let (to_source, to_new) = (sent_by_new(&from_new), sent_by_source(&from_source));
        let mut next_new = device.received(&to_new);
        let mut next_source = source.received(&to_source);
        for action in &next_new {
            if let NewDeviceAction::AskPassword { account, was_wrong } = action {
                assert_eq!((*account, *was_wrong), (archive.account_id(), asked > 0));
                asked += 1;
            }
        }
        if matches!(next_new.last(), Some(NewDeviceAction::AskPassword { .. })) {
            next_new.extend(passwords.next().map(|it| device.password(secret(it))).unwrap_or_default());
        }
        if let Some(SourceAction::OpenArchive { password }) = next_source.last() {
            let outcome = if **password == *"right" {
                source.opened_archive(&archive)
            } else {
                source.wrong_password()
            };
            next_source.extend(outcome);
        }
        all_new.append(&mut from_new);
        all_source.append(&mut from_source);
        (from_new, from_source) = (next_new, next_source);
    }
    (asked, all_new, all_source)
}

#[test]
fn with_the_right_password_at_last_the_device_is_linked_under_it() {
    let (asked, new, source) = play(&["wrong", "guess", "right"]);
    assert_eq!(asked, 3);
    let imported = new.iter().find_map(|action| match action {
        NewDeviceAction::Import { password, .. } => Some(password),
        _ => None,
    });
    assert_eq!(imported.map(|password| password.as_str()), Some("right"));
    assert!(matches!(source.last(), Some(SourceAction::Done)));
}

#[test]
fn after_three_wrong_passwords_it_is_over_on_both_sides() {
    let (asked, new, source) = play(&["wrong", "guess", "hope", "right"]);
    assert_eq!(asked, 3);
    assert_eq!(
        (why_new(&new), why_source(&source)),
        (Some(&LinkError::WrongPasswords), Some(&LinkError::WrongPasswords))
    );
}

#[test]
fn a_password_that_is_too_long_is_wrong_before_it_is_sent() {
    let mut device = new_device();
    device.received(&message::Message::Scheme(LinkScheme::Password).encode());
    let actions = device.password(secret(&"x".repeat(MAX_PASSWORD + 1)));
    assert!(matches!(actions[..], [NewDeviceAction::AskPassword { was_wrong: true, .. }]));
    assert!(!sent_by_new(&device.password(secret(&"x".repeat(MAX_PASSWORD)))).is_empty());
    assert!(device.password(secret("twice")).is_empty());
}

#[test]
fn only_the_channel_with_the_code_is_accepted_and_only_one() {
    let mut device = NewDevice::new(invitation());
    let sync = ChannelName::Sync { device: DeviceId([1; 32]) };
    assert!(!device.requested(&sync).0);
    assert!(!device.requested(&ChannelName::Auth { code: "100000".into() }).0);
    assert!(device.requested(&invitation().code.channel()).0);
    device.opened(START, archive().account_id());
    assert!(!device.requested(&invitation().code.channel()).0, "one at a time");
    assert!(device.opened(START, archive().account_id()).is_empty());
}

#[test]
fn a_code_is_void_after_ten_wrong_ones() {
    let mut device = NewDevice::new(invitation());
    for number in 1..MAX_WRONG_CODES {
        let (_, actions) = device.requested(&ChannelName::Auth { code: format!("{}", 100_000 + number) });
        assert!(actions.is_empty());
    }
    let (accepted, actions) = device.requested(&ChannelName::Auth { code: String::new() });
    assert_eq!((accepted, why_new(&actions)), (false, Some(&LinkError::WrongCodes)));
    assert!(!device.requested(&invitation().code.channel()).0);
}

#[test]
fn either_side_gives_up_after_five_minutes_and_the_other_one_hears_why() {
    let mut device = new_device();
    let mut source = source(LinkScheme::None);
    let end = START.plus(LINK_TIMEOUT);
    assert_eq!((device.deadline(), source.deadline()), (Some(end), Some(end)));
    let early = START.plus(LINK_TIMEOUT - Duration::from_millis(1));
    assert!(device.tick(early).is_empty() && source.tick(early).is_empty());
    let (new, of_source) = (device.tick(end), source.tick(end));
    assert_eq!(
        (why_new(&new), why_source(&of_source)),
        (Some(&LinkError::TimedOut), Some(&LinkError::TimedOut))
    );
    assert_eq!(
        why_new(&new_device().received(&sent_by_source(&of_source))),
        Some(&LinkError::TimedOutAtPeer)
    );
    let mut other = self::source(LinkScheme::None);
    assert_eq!(why_source(&other.received(&sent_by_new(&new))), Some(&LinkError::TimedOutAtPeer));
    assert_eq!((device.deadline(), source.deadline()), (None, None));
    assert_eq!(
        NewDevice::new(invitation()).deadline(),
        None,
        "an invitation is shown as long as its owner likes"
    );
}

#[test]
fn the_owner_may_cancel_on_either_side_at_any_step() {
    let (mut asking, _) = Source::new(START, LinkScheme::None);
    for source in [&mut asking, &mut source(LinkScheme::Password)] {
        let actions = source.cancel();
        assert_eq!(why_source(&actions), Some(&LinkError::Cancelled));
        let heard = new_device().received(&sent_by_source(&actions));
        assert_eq!(why_new(&heard), Some(&LinkError::CancelledByPeer));
        assert!(source.cancel().is_empty());
    }
    for device in [&mut NewDevice::new(invitation()), &mut new_device()] {
        assert_eq!(why_new(&device.cancel()), Some(&LinkError::Cancelled));
        assert!(device.cancel().is_empty());
    }
}

#[test]
fn a_channel_that_ends_before_its_time_is_told() {
    assert_eq!(why_new(&new_device().closed()), Some(&LinkError::Closed));
    assert_eq!(why_source(&source(LinkScheme::None).closed()), Some(&LinkError::Closed));
    let mut shown = NewDevice::new(invitation());
    assert!(shown.closed().is_empty() && !shown.is_over());
}

#[test]
fn nothing_is_given_before_the_owner_has_confirmed() {
    let (mut source, actions) = Source::new(START, LinkScheme::None);
    assert!(matches!(actions[..], [SourceAction::AskOwner]));
    let password = message::Message::Password(secret("")).encode();
    assert!(source.received(&password).is_empty());
    assert!(source.opened_archive(&archive()).is_empty());
    assert!(source.wrong_password().is_empty());
    assert!(!source.confirm().is_empty() && source.confirm().is_empty());
}

#[test]
fn messages_out_of_turn_end_it() {
    use message::Message;
    let scheme = Message::Scheme(LinkScheme::Password).encode();
    let account = Message::Account(archive().to_json()).encode();
    let wrong = Message::WrongPassword.encode();
    for first in [&account, &wrong, &Message::Hello.encode(), &vec![0xc1], &vec![0x90]] {
        assert_eq!(why_new(&new_device().received(first)), Some(&LinkError::Protocol));
    }
    let mut asked = new_device();
    asked.received(&scheme);
    assert_eq!(why_new(&asked.received(&account)), Some(&LinkError::Protocol), "no password was sent");
    let mut proving = new_device();
    proving.received(&Message::Scheme(LinkScheme::None).encode());
    assert_eq!(why_new(&proving.received(&Message::Other.encode())), Some(&LinkError::Protocol));
    for odd in [&scheme, &vec![0xc1]] {
        assert_eq!(why_source(&source(LinkScheme::None).received(odd)), Some(&LinkError::Protocol));
    }
    let mut opening = source(LinkScheme::Password);
    let password = Message::Password(secret("x")).encode();
    let twice = [&password[..], &password].concat();
    assert_eq!(why_source(&opening.received(&twice)), Some(&LinkError::Protocol));
}

#[test]
fn an_account_of_somebody_else_or_none_at_all_is_not_imported() {
    use message::Message;
    let account = Message::Account(archive().to_json()).encode();
    let mut device = NewDevice::new(invitation());
    let other = crate::ids::AccountId([9; 20]);
    device.opened(START, other);
    device.received(&Message::Scheme(LinkScheme::None).encode());
    let actions = device.received(&account);
    let expected = LinkError::OtherAccount { device: other, sent: archive().account_id() };
    assert_eq!(why_new(&actions), Some(&expected));

    let mut device = new_device();
    device.received(&Message::Scheme(LinkScheme::None).encode());
    let actions = device.received(&Message::Account(secret("{}")).encode());
    assert!(matches!(why_new(&actions), Some(LinkError::Archive(_))));
}

fn fuzz_linking(data: &[u8]) {
    let (mut device, mut proving) = (new_device(), new_device());
    proving.received(&message::Message::Scheme(LinkScheme::None).encode());
    let mut source = source(LinkScheme::Password);
    let _ = (device.received(data), proving.received(data), source.received(data));
    // Whatever came, what is over stays so.
    for device in [&mut device, &mut proving] {
        assert!(!device.is_over() || (device.received(data).is_empty() && device.closed().is_empty()));
    }
    assert!(!source.is_over() || (source.received(data).is_empty() && source.closed().is_empty()));
}

#[test]
fn damaged_messages_link_nobody_and_do_no_harm() {
    for (_, message) in recorded() {
        let rounds = if message.len() > 1000 { 20 } else { 300 };
        with_mutations(&message, rounds, fuzz_linking);
    }
}

#[derive(Deserialize)]
struct RecordedPin {
    pin: String,
    password: String,
    exported_at_unix: f64,
}

fn recorded_pin(release: &str) -> (Pin, String, UnixMillis) {
    let file = recording(&format!("{release}/accounts/alice/pin.json"));
    let recorded: RecordedPin = serde_json::from_slice(&file).unwrap();
    let at = UnixMillis::from_seconds(format!("{:.0}", recorded.exported_at_unix.floor()).parse().unwrap());
    (recorded.pin.parse().unwrap(), recorded.password, at)
}

#[test]
fn recorded_pins_open_the_recorded_archives() {
    for (release, values, key) in [
        ("jami-13.7.0", golden::jami_13_7(), "99711431afd77d284af65324365108ba6b3864ae"),
        ("jami-13.11.0", golden::jami_13_11(), "290b5e80bc34664105f7de1e259fa2b224739fb0"),
    ] {
        let key: DhtKey = key.parse().unwrap();
        let (pin, password, at) = recorded_pin(release);
        // The importer asked in the slot after the one in which it was exported.
        let later = UnixMillis(at.0 + 1_200_000);
        let mut search = PinSearch::new(&pin, &password, later).unwrap();
        assert_eq!(search.dht_keys()[1], key);
        let value = values.iter().find(|value| value.key == key).unwrap();
        let value = Value::decode(&hex::decode(&value.packed_value).unwrap()).unwrap();
        let other = search.dht_keys()[0];
        assert!(search.found(other, &value).is_none(), "sealed in another slot");
        let found = search.found(key, &value).unwrap();
        let expected = recording(&format!("{release}/accounts/alice/archive-nopassword.gz"));
        let (expected, _) = Archive::open(&expected, ArchiveSecret::None)
            .unwrap_or_else(|_| Archive::from_json(&expected).map(|archive| (archive, None)).unwrap());
        assert_eq!(found.account_id(), expected.account_id());
        assert!(!found.contacts.is_empty(), "unlike those sent over a channel");
    }
}

#[test]
fn an_exported_archive_is_found_among_garbage_and_the_ends_are_told() {
    let now = UnixMillis::from_seconds(1_795_339_206);
    let pin: Pin = "0e4eh9ht".parse().unwrap();
    let key = PinKey::derive(&pin, "correct horse", now).unwrap();
    // (spec: identity V8)
    assert_eq!(key.dht_key().to_hex(), "e8c1c3d4b4103320eb641dc0ae6e00af17ac223a");
    let sealed = key.seal(&archive(), [3; 12], ValueId(8)).unwrap();
    let mut search = PinSearch::new(&pin, "correct horse", now).unwrap();
    let [here, before] = search.dht_keys();
    assert_eq!(here, key.dht_key());
    let content = |data: &[u8]| Value::plain(ValueId(9), crate::dht::content::Content::new(0, data.to_vec()));
    let mut damaged = sealed.content().unwrap().data.to_vec();
    damaged[40] ^= 1;
    for garbage in [&b""[..], &[0; 11], &[0; 100], &damaged] {
        assert!(search.found(here, &content(garbage)).is_none());
    }
    assert!(search.found(before, &sealed).is_none());
    assert!(search.found(DhtKey([0; 20]), &sealed).is_none());
    assert_eq!(search.found(here, &sealed).unwrap().to_json(), archive().to_json());
    for _ in 0..MAX_VALUES_TRIED {
        search.found(here, &content(b""));
    }
    assert!(search.found(here, &sealed).is_none(), "anybody may put values there");

    assert_eq!(search.ended(here, false), None);
    assert_eq!(search.ended(before, false), Some(PinOutcome::Unreachable));
    assert_eq!(search.ended(before, true), Some(PinOutcome::NotFound));

    let mut large = archive();
    for number in 0..40_000_u64 {
        let noise = hex::encode(crate::ids::sha256(&number.to_be_bytes()));
        large.settings.insert(noise.clone(), noise);
    }
    assert!(matches!(key.seal(&large, [3; 12], ValueId(8)), Err(PinError::TooLong(_))));
}

#[test]
fn pins_are_shown_in_small_letters_and_read_in_any() {
    let pin = Pin::from_random([0, 9, 10, 35, 36, 71, u32::MAX, 1, 2, 3, 4, 5, 6, 7, 8, 11]);
    let shown = pin.shown();
    assert_eq!(shown.as_str(), "09az0z31-2345678b");
    for text in [shown.as_str(), " 09AZ0z31-2345678B\n"] {
        assert_eq!(text.parse(), Ok(pin.clone()));
    }
    assert!("q0xf5lsa".parse::<Pin>().is_ok());
    for text in [
        "",
        "q0xf5ls",
        "q0xf5lsab",
        "q0xf5ls!",
        "2ehbntvzbqr9i59v",
        "2ehbntvz-bqr9i59",
        "2ehbntvz--qr9i59v",
        "éehbntv",
    ] {
        assert_eq!(text.parse::<Pin>(), Err(PinError::Malformed), "{text}");
    }
    assert!(!format!("{pin:?}").to_lowercase().contains("09az"));
}
