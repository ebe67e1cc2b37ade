//! What channels 0 and 65535 say (`spec: connection 7.2, 7.3`).

use super::frame::{ChannelNumber, MAX_DATA};
use crate::msgpack::{self, Value};

/// Protocol version we announce; 1 means that beacons are understood.
pub const VERSION: u64 = 1;

/// State of a channel named in a control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelState {
    /// The sender wants the channel.
    Request,
    /// The sender gives it.
    Accept,
    /// The sender refuses it.
    Decline,
}

/// One message of the control channel or the protocol channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlMessage {
    /// About one channel.
    Channel {
        /// What the channel is for; replies repeat it.
        name: String,
        /// Its number; replies repeat it.
        number: ChannelNumber,
        /// What is said about it.
        state: ChannelState,
    },
    /// The sender's protocol version.
    Version(u64),
    /// A sign of life is wanted.
    BeaconRequest,
    /// A sign of life.
    BeaconReply,
}

impl ControlMessage {
    /// The channel on which messages of this kind are sent.
    #[must_use]
    pub const fn channel(&self) -> ChannelNumber {
        match self {
            Self::Channel { .. } => ChannelNumber::CONTROL,
            Self::Version(_) | Self::BeaconRequest | Self::BeaconReply => ChannelNumber::PROTOCOL,
        }
    }

    /// The payload of the frame that carries this message alone.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Channel { name, number, state } => {
                let state: u64 = match state {
                    ChannelState::Request => 0,
                    ChannelState::Accept => 1,
                    ChannelState::Decline => 2,
                };
                Value::Array(vec![name.as_str().into(), u64::from(number.0).into(), state.into()]).encode()
            }
            Self::Version(version) => Value::map([("v", (*version).into())]).encode(),
            Self::BeaconRequest => Value::map([("p", true.into())]).encode(),
            Self::BeaconReply => Value::map([("p", false.into())]).encode(),
        }
    }

    fn from_value(value: &Value) -> Option<Self> {
        match value.as_array() {
            Some([name, number, state]) => Some(Self::Channel {
                name: name.as_text()?.to_owned(),
                number: ChannelNumber(u16::try_from(number.as_unsigned()?).ok()?),
                state: match state.as_unsigned()? {
                    0 => ChannelState::Request,
                    1 => ChannelState::Accept,
                    _ => ChannelState::Decline,
                },
            }),
            Some(_) => None,
            None => Self::from_map(value),
        }
    }

    fn from_map(value: &Value) -> Option<Self> {
        if let Some(version) = value.get("v").and_then(Value::as_unsigned) {
            return Some(Self::Version(version));
        }
        let wants_reply = value.get("p").and_then(Value::as_bool)?;
        Some(if wants_reply { Self::BeaconRequest } else { Self::BeaconReply })
    }
}

/// The messages in the payload of a frame of the control channel: any number, one after the other.
/// Objects that are none are skipped; after bytes that are no MessagePack the rest is.
pub fn read_control(payload: &[u8]) -> impl Iterator<Item = ControlMessage> {
    objects(payload).filter_map(|value| ControlMessage::from_value(&value))
}

/// The message in the payload of a frame of the protocol channel: the first that is recognised.
#[must_use]
pub fn read_protocol(payload: &[u8]) -> Option<ControlMessage> {
    objects(payload).find_map(|value| ControlMessage::from_map(&value))
}

fn objects(mut payload: &[u8]) -> impl Iterator<Item = Value> {
    std::iter::from_fn(move || {
        let (value, length) = msgpack::decode(payload, MAX_DATA).ok()?;
        payload = payload.get(length..)?;
        Some(value)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn channel(name: &str, number: u16, state: ChannelState) -> ControlMessage {
        ControlMessage::Channel { name: name.to_owned(), number: ChannelNumber(number), state }
    }

    #[test]
    fn the_examples_of_the_specification_are_read_and_written() {
        for (text, message) in [
            ("93a3736970cd800000", channel("sip", 0x8000, ChannelState::Request)),
            ("93a3736970cd800001", channel("sip", 0x8000, ChannelState::Accept)),
            ("93a3736970cd800002", channel("sip", 0x8000, ChannelState::Decline)),
            ("81a17601", ControlMessage::Version(1)),
            ("81a170c3", ControlMessage::BeaconRequest),
            ("81a170c2", ControlMessage::BeaconReply),
        ] {
            let payload = hex::decode(text).unwrap();
            assert_eq!(message.encode(), payload);
            assert_eq!(read_control(&payload).collect::<Vec<_>>(), std::slice::from_ref(&message));
            let on_protocol_channel = (message.channel() == ChannelNumber::PROTOCOL).then_some(message);
            assert_eq!(read_protocol(&payload), on_protocol_channel);
        }
    }

    #[test]
    fn messages_follow_each_other_and_odd_objects_between_them_are_skipped() {
        let wanted = [channel("a", 1, ChannelState::Request), ControlMessage::BeaconRequest];
        let payload = [
            wanted[0].encode(),
            Value::Array(vec!["a".into(), 1_u64.into()]).encode(),
            Value::Array(vec![1_u64.into(), 1_u64.into(), 0_u64.into()]).encode(),
            Value::Array(vec!["a".into(), 65_536_u64.into(), 0_u64.into()]).encode(),
            Value::map([("x", Value::Nil)]).encode(),
            Value::map([("v", "1".into())]).encode(),
            wanted[1].encode(),
            vec![0xc1],
            wanted[0].encode(),
        ]
        .concat();
        assert_eq!(read_control(&payload).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn only_the_first_message_of_a_protocol_frame_counts() {
        let payload =
            [Value::Nil.encode(), ControlMessage::BeaconReply.encode(), ControlMessage::Version(1).encode()];
        assert_eq!(read_protocol(&payload.concat()), Some(ControlMessage::BeaconReply));
    }

    #[test]
    fn an_unknown_state_is_a_decline() {
        assert_eq!(
            read_control(&hex::decode("93a3736970cd80002a").unwrap()).collect::<Vec<_>>(),
            [channel("sip", 0x8000, ChannelState::Decline)]
        );
    }

    proptest! {
        #[test]
        fn any_payload_is_read_without_panic(payload in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(read_control(&payload).count() <= payload.len());
            let _ = read_protocol(&payload);
        }
    }
}
