//! Fuzz bodies of what comes in conferences and of the files that are kept.

use super::info::bodies;
use super::*;
use crate::ids::{AccountId, DeviceId};
use crate::testing::{DAEMONS, with_mutations};
use crate::time::Moment;

const OWN: (AccountId, DeviceId) = (AccountId([1; 20]), DeviceId([1; 32]));

/// What is read is read again from its own writing, fits into a message, and does a host no harm.
fn fuzz_info(data: &[u8]) {
    let Some(info) = ConferenceInfo::read(data) else { return };
    if !info.is_over() || info.picture == Size::default() {
        let again = ConferenceInfo::read(&info.write()).unwrap();
        assert_eq!(again.entries.len(), info.entries.len());
    }
    assert!(info.fitted(OWN, &[], MAX_SENT_INFO).write().len() <= MAX_SENT_INFO + 2);
    let mut conference = Conference::new(OWN, HostSettings::default(), Kind::Meeting, true);
    let video = Some(Size { width: 640, height: 360 });
    let joined =
        Joined { account: OWN.0, device: DeviceId([2; 32]), call_id: "7".into(), video, muted: false };
    let (seat, _) = conference.join(Moment::default(), joined);
    conference.nested(Moment::default(), seat.unwrap(), info);
    let picture = Size { width: 1280, height: 720 };
    for entry in conference.info(None).entries {
        assert_eq!(entry.place.within(picture), entry.place);
    }
}

fn fuzz_order(data: &[u8]) {
    let orders = Order::read(data);
    assert!(orders.len() <= MAX_ORDERS);
    for order in orders {
        for version in [0, 1] {
            if let Some(body) = order.write(version) {
                assert_eq!(Order::read(&body).len(), 1, "{order:?}");
            }
        }
    }
}

fn fuzz_files(data: &[u8]) {
    if let Some(calls) = ActiveCalls::read(data) {
        assert_eq!(ActiveCalls::read(&calls.write()), Some(calls));
    }
    if let Some(calls) = HostedCalls::read(data) {
        assert!(HostedCalls::read(&calls.write()).is_some());
    }
}

fn fuzz_address(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(address) = text.parse::<CallAddress>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
    let _ = of_to(&text);
}

#[test]
fn damaged_states_and_orders_are_read_or_ignored() {
    for daemon in DAEMONS {
        for body in bodies(daemon, INFO_TYPE).iter().take(6) {
            with_mutations(body.as_bytes(), 60, fuzz_info);
        }
        for body in bodies(daemon, ORDER_TYPE) {
            with_mutations(body.as_bytes(), 100, fuzz_order);
        }
    }
}

#[test]
fn damaged_files_and_addresses_of_calls_are_read_or_refused() {
    let mut hosted = HostedCalls::default();
    let content = hosted.begin("7", OWN.0, OWN.1, crate::time::UnixMillis(1)).unwrap();
    let mut calls = ActiveCalls::default();
    calls.commit(OWN.0, OWN.1, &content, |_| true);
    with_mutations(&hosted.write(), 500, fuzz_files);
    with_mutations(&calls.write(), 500, fuzz_files);
    let conversation = "2ce39c209b93cc91155160136e010d9a3cc2077e";
    let address = format!("rdv:{conversation}/{}/{}/604168913243961", OWN.0, OWN.1);
    with_mutations(address.as_bytes(), 500, fuzz_address);
    with_mutations(format!("<sips:{}@10.0.0.1>", &address[4..]).as_bytes(), 500, fuzz_address);
}
