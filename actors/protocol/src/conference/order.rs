//! What participants order their host to do (`spec: conference 4`).
//!
//! ```text
//!   flat (v0)     {"muteParticipant": account, "muteState": "true"}
//!   nested (v1)   {account: {"devices": {device: {"raiseHand": true, "medias": {stream: {…}}}},
//!                            "medias": {stream: {…}}}, "version": 1}
//! ```
//!
//! Daemons write `medias` twice, below the device and beside `devices`, look below the device whether it is
//! there, and beside for what it says. So both are written, and either is read.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::info::{flag, number};
use super::layout::Layout;
use crate::ids::{AccountId, DeviceId};

/// MIME type of them.
pub const ORDER_TYPE: &str = "application/confOrder+json";

/// Longest message with orders that is read, in bytes; those of daemons have less than 500.
pub const MAX_ORDER: usize = 16 * 1024;

/// Most orders of one message.
pub const MAX_ORDERS: usize = 64;

/// Longest name of a stream, in bytes.
const MAX_STREAM: usize = 256;

/// Whom an order is about: a person, and the device where that is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whom {
    /// The person.
    pub account: AccountId,
    /// The device; without one all of them, or the first.
    pub device: Option<DeviceId>,
}

/// One order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Arrange pictures so.
    Layout(Layout),
    /// Raise or lower a hand.
    Hand(Whom, bool),
    /// Hang up.
    HangUp(Whom),
    /// Mute the sound, or not any more.
    Mute(Whom, bool),
    /// Show this big. Old orders name no stream.
    Show(Whom, Option<String>),
    /// Show nothing big.
    ShowNone,
    /// A stream speaks, or not any more.
    Voice(Whom, String, bool),
}

impl Order {
    /// Reads the orders of a message, in the order in which they are to be followed. What is unknown or of
    /// the wrong kind is passed over.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Vec<Self> {
        if bytes.len() > MAX_ORDER {
            return Vec::new();
        }
        let Ok(Value::Object(fields)) = serde_json::from_slice(bytes) else { return Vec::new() };
        let mut orders = match fields.get("version") {
            None => flat(&fields),
            Some(version) if number(Some(version)) == Some(1) => nested(&fields),
            Some(_) => Vec::new(),
        };
        orders.truncate(MAX_ORDERS);
        orders
    }

    /// The body of a message to a host that understands this version, and no higher. An order that cannot
    /// be said in it is not.
    #[must_use]
    pub fn write(&self, version: u8) -> Option<Vec<u8>> {
        let value = match (self, version) {
            // Daemons write this one as they always did.
            (Self::Layout(layout), _) => json!({"layout": layout.number()}),
            (_, 0) => self.flat()?,
            _ => self.nested()?,
        };
        serde_json::to_vec(&sorted(&value)).ok()
    }

    fn flat(&self) -> Option<Value> {
        let word = |on: bool| if on { "true" } else { "false" };
        Some(match self {
            Self::Hand(whom, raised) => {
                json!({"handRaised": whom.account.to_hex(), "handState": word(*raised)})
            }
            Self::HangUp(whom) => json!({"hangupParticipant": whom.account.to_hex()}),
            Self::Mute(whom, muted) => {
                json!({"muteParticipant": whom.account.to_hex(), "muteState": word(*muted)})
            }
            Self::Show(whom, _) => json!({"activeParticipant": whom.account.to_hex()}),
            Self::ShowNone => json!({"activeParticipant": ""}),
            Self::Layout(_) | Self::Voice(..) => return None,
        })
    }

    fn nested(&self) -> Option<Value> {
        let (whom, key, value) = match self {
            Self::Hand(whom, raised) => (whom, "raiseHand", json!(raised)),
            Self::HangUp(whom) => (whom, "hangup", json!("true")),
            // A daemon does not look at the stream, but there must be one.
            Self::Mute(whom, muted) => (whom, "medias", json!({"audio_0": {"muteAudio": muted}})),
            Self::Show(whom, stream) => (whom, "medias", json!({stream.as_ref()?: {"active": true}})),
            Self::Voice(whom, stream, on) => (whom, "medias", json!({stream: {"voiceActivity": on}})),
            Self::Layout(_) | Self::ShowNone => return None,
        };
        let device = whom.device?.to_hex();
        Some(json!({whom.account.to_hex(): {"devices": {device: {key: value}}, key: value}, "version": 1}))
    }
}

/// The same with keys in the order of the alphabet, whatever keeps them.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let ordered: BTreeMap<&String, &Value> = fields.iter().collect();
            Value::Object(ordered.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
        }
        other => other.clone(),
    }
}

fn account(value: Option<&Value>) -> Option<AccountId> {
    value?.as_str()?.split('@').next()?.parse().ok()
}

/// In the order in which daemons follow them: hand, layout, active, mute, hang up.
fn flat(fields: &Map<String, Value>) -> Vec<Order> {
    let whom = |key| account(fields.get(key)).map(|account| Whom { account, device: None });
    let state = |key| fields.get(key).is_some_and(flag);
    let mut orders = Vec::new();
    orders.extend(whom("handRaised").map(|whom| Order::Hand(whom, state("handState"))));
    orders.extend(number(fields.get("layout")).and_then(Layout::from_number).map(Order::Layout));
    if fields.contains_key("activeParticipant") {
        let shown = whom("activeParticipant").map(|whom| Order::Show(whom, None));
        orders.push(shown.unwrap_or(Order::ShowNone));
    }
    orders.extend(whom("muteParticipant").map(|whom| Order::Mute(whom, state("muteState"))));
    orders.extend(whom("hangupParticipant").map(Order::HangUp));
    orders
}

fn nested(fields: &Map<String, Value>) -> Vec<Order> {
    let mut orders = Vec::new();
    orders.extend(number(fields.get("layout")).and_then(Layout::from_number).map(Order::Layout));
    for (key, value) in fields {
        let (Ok(account), Value::Object(person)) = (key.parse::<AccountId>(), value) else { continue };
        let beside = person.get("medias").and_then(Value::as_object);
        let empty = Map::new();
        let devices = person.get("devices").and_then(Value::as_object).unwrap_or(&empty);
        let mut below_any = false;
        for (key, value) in devices.iter().take(MAX_ORDERS) {
            let (Ok(device), Value::Object(of_device)) = (key.parse::<DeviceId>(), value) else { continue };
            let whom = Whom { account, device: Some(device) };
            let below = of_device.get("medias").and_then(Value::as_object);
            below_any |= below.is_some();
            let mut medias = below.cloned().unwrap_or_default();
            // What stands beside counts where there is a trigger below, and says nothing else.
            for (stream, value) in below.and(beside).into_iter().flatten() {
                medias.entry(stream.clone()).or_insert_with(|| value.clone());
            }
            streams(whom, &medias, &mut orders);
            orders.extend(of_device.get("raiseHand").map(|value| Order::Hand(whom, flag(value))));
            if of_device.contains_key("hangup") {
                orders.push(Order::HangUp(whom));
            }
        }
        if let Some(beside) = beside.filter(|_| !below_any) {
            let device = devices.keys().next().and_then(|key| key.parse().ok());
            streams(Whom { account, device }, beside, &mut orders);
        }
        if orders.len() >= MAX_ORDERS {
            break;
        }
    }
    orders
}

fn streams(whom: Whom, medias: &Map<String, Value>, orders: &mut Vec<Order>) {
    for (stream, value) in medias.iter().take(MAX_ORDERS).filter(|(stream, _)| stream.len() <= MAX_STREAM) {
        orders.extend(value.get("muteAudio").map(|value| Order::Mute(whom, flag(value))));
        orders.extend(value.get("active").map(|value| {
            if flag(value) { Order::Show(whom, Some(stream.clone())) } else { Order::ShowNone }
        }));
        orders
            .extend(value.get("voiceActivity").map(|value| Order::Voice(whom, stream.clone(), flag(value))));
    }
}

#[cfg(test)]
mod tests {
    use super::super::info::bodies;
    use super::*;

    const BOB: &str = "11eac7c8522415e5294f255daa4284711bd28268";
    const DEVICE: &str = "b3cd03f42aedf8e63274de4a228e4b39cafc8f22e3159fc727068f53c305f21d";

    fn bob() -> Whom {
        Whom { account: BOB.parse().unwrap(), device: Some(DEVICE.parse().unwrap()) }
    }

    fn read(text: &str) -> Vec<Order> {
        Order::read(text.as_bytes())
    }

    #[test]
    fn recorded_orders_are_read_and_written_byte_for_byte() {
        let recorded = bodies("newest", ORDER_TYPE);
        assert_eq!(recorded.len(), 7);
        for body in recorded {
            let orders = read(&body);
            assert_eq!(orders.len(), 1, "{body}");
            let written = String::from_utf8(orders[0].write(1).unwrap()).unwrap();
            // We name a stream of our own where none is looked at.
            if let Order::Mute(whom, muted) = &orders[0] {
                assert_eq!(read(&written), [Order::Mute(*whom, *muted)]);
            } else {
                assert_eq!(written, body);
            }
        }
        for daemon in ["jami-13.7.0", "jami-13.11.0"] {
            assert!(bodies(daemon, ORDER_TYPE).iter().all(|body| read(body).len() == 1));
        }
    }

    #[test]
    fn streams_are_read_below_the_device_or_beside_it_or_both() {
        let media = r#"{"s_audio_0":{"muteAudio":true}}"#;
        let below = format!(r#"{{"{BOB}":{{"devices":{{"{DEVICE}":{{"medias":{media}}}}}}},"version":1}}"#);
        let beside = format!(r#"{{"{BOB}":{{"devices":{{"{DEVICE}":{{}}}},"medias":{media}}},"version":1}}"#);
        let both = format!(
            r#"{{"{BOB}":{{"devices":{{"{DEVICE}":{{"medias":{media}}}}},"medias":{media}}},"version":1}}"#
        );
        let trigger = format!(
            r#"{{"{BOB}":{{"devices":{{"{DEVICE}":{{"medias":{{}}}}}},"medias":{media}}},"version":1}}"#
        );
        for text in [below, beside, both, trigger] {
            assert_eq!(read(&text), [Order::Mute(bob(), true)], "{text}");
        }
    }

    #[test]
    fn flat_orders_are_followed_in_their_order() {
        let text = format!(
            r#"{{"hangupParticipant":"{BOB}","muteParticipant":"{BOB}@ring.dht","muteState":"true",
                "layout":2,"handRaised":"{BOB}","handState":"false","activeParticipant":""}}"#
        );
        let whom = Whom { account: bob().account, device: None };
        let expected = [
            Order::Hand(whom, false),
            Order::Layout(Layout::OneBig),
            Order::ShowNone,
            Order::Mute(whom, true),
            Order::HangUp(whom),
        ];
        assert_eq!(read(&text), expected);
        for order in &expected {
            let again = read(&String::from_utf8(order.write(0).unwrap()).unwrap());
            assert_eq!(again, std::slice::from_ref(order));
        }
        assert!(Order::Voice(whom, "x".into(), true).write(0).is_none());
    }

    #[test]
    fn nested_orders_are_read_as_they_are_written() {
        for order in [
            Order::Hand(bob(), true),
            Order::HangUp(bob()),
            Order::Mute(bob(), false),
            Order::Show(bob(), Some("7_video_0".into())),
            Order::Voice(bob(), "7_audio_0".into(), true),
            Order::Layout(Layout::OneBigWithSmall),
        ] {
            assert_eq!(read(&String::from_utf8(order.write(1).unwrap()).unwrap()), [order]);
        }
    }

    #[test]
    fn another_version_or_what_is_no_order_is_ignored() {
        for text in [
            "",
            "7",
            "[]",
            "{",
            r#"{"version":2,"layout":1}"#,
            r#"{"version":"x","layout":1}"#,
            r#"{"layout":3}"#,
            r#"{"layout":-1}"#,
            r#"{"version":1,"x":7}"#,
            &format!(r#"{{"{BOB}":7,"version":1}}"#),
            &format!(r#"{{"{BOB}":{{"devices":7,"medias":[]}},"version":1}}"#),
            r#"{"muteParticipant":7,"hangupParticipant":"nobody"}"#,
        ] {
            assert!(read(text).is_empty(), "{text}");
        }
        assert!(Order::read(&vec![b' '; MAX_ORDER + 1]).is_empty());
    }
}
