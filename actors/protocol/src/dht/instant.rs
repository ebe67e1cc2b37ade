//! Instant messages of 2023 over the DHT: the data of a value of type 3 (`spec: dht 11.1`).
//!
//! ```text
//!   sender ── message ──► inbox of the recipient ──► recipient
//!   sender ◄─ same id, nothing else ── the same inbox ◄──┘
//! ```
//!
//! Releases of 2023 write so to whom they have no `sip` channel yet, and write nothing more to them until
//! they have the answer, or a minute has passed.

use crate::dht::content::Content;
use crate::dht::kind::ValueKind;
use crate::msgpack::{self, DecodeError, Value as Object};
use crate::time::UnixMillis;

/// Largest message read in bytes: no value is larger.
pub const MAX_MESSAGE: usize = 65_536;

/// Why bytes are no instant message. It is dropped without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstantError {
    /// Not MessagePack, or cut short, or larger than [`MAX_MESSAGE`].
    #[error("the instant message is not one MessagePack object: {0}")]
    Decode(#[from] DecodeError),
    /// An entry is missing or of another type.
    #[error("the instant message has no usable entry {0:?}")]
    Entry(&'static str),
}

/// An instant message, or the answer to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhtInstantMessage {
    /// Chosen by the sender; the answer has the same.
    pub id: u64,
    /// MIME type of the text; empty in answers.
    pub mime_type: String,
    /// The text; empty in answers.
    pub content: String,
    /// When it was sent.
    pub sent: UnixMillis,
}

impl DhtInstantMessage {
    /// That the message of this id has come.
    #[must_use]
    pub const fn answer(id: u64, now: UnixMillis) -> Self {
        Self { id, mime_type: String::new(), content: String::new(), sent: now }
    }

    /// Whether it only says that another has come.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        self.mime_type.is_empty() && self.content.is_empty()
    }

    /// Reads the data of a value.
    ///
    /// # Errors
    /// When it is no instant message.
    pub fn decode(data: &[u8]) -> Result<Self, InstantError> {
        let (map, length) = msgpack::decode(data, MAX_MESSAGE)?;
        if length != data.len() {
            return Err(DecodeError::Trailing.into());
        }
        let id = map.get("id").and_then(Object::as_unsigned).ok_or(InstantError::Entry("id"))?;
        let seconds = map.get("date").and_then(Object::as_signed).unwrap_or_default();
        Ok(Self {
            id,
            mime_type: text(&map, "datatype")?,
            content: text(&map, "msg")?,
            sent: UnixMillis(seconds.saturating_mul(1000)),
        })
    }

    /// The data of a value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Object::map([
            ("id", Object::from(self.id)),
            ("msg", Object::text(&self.content)),
            ("date", Object::from(self.sent.0.div_euclid(1000))),
            ("status", Object::from(0_u64)),
            ("datatype", Object::text(&self.mime_type)),
            ("metadatas", Object::map([])),
        ])
        .encode()
    }

    /// The content to sign for a device and encrypt to it.
    #[must_use]
    pub fn to_content(&self) -> Content {
        Content::new(ValueKind::InstantMessage.type_number(), self.encode())
    }
}

/// A text entry; empty when it is missing.
fn text(map: &Object, key: &'static str) -> Result<String, InstantError> {
    let Some(text) = map.get(key) else { return Ok(String::new()) };
    text.as_text().map(str::to_owned).ok_or(InstantError::Entry(key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries_come_in_the_order_of_the_reference() {
        let answer = DhtInstantMessage::answer(0x1234, UnixMillis(1_700_000_000_999));
        assert!(answer.is_answer());
        let expected = "86a26964cd1234a36d7367a0a464617465ce6553f100a6737461747573\
                        00a86461746174797065a0a96d657461646174617380";
        assert_eq!(hex::encode(answer.encode()), expected);
        let read = DhtInstantMessage::decode(&answer.encode()).unwrap();
        assert_eq!(read, DhtInstantMessage { sent: UnixMillis(1_700_000_000_000), ..answer });
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let with = |key, value| Object::map([("id", 1_u64.into()), (key, value)]).encode();
        for (data, error) in [
            (Object::map([]).encode(), InstantError::Entry("id")),
            (Object::map([("id", "1".into())]).encode(), InstantError::Entry("id")),
            (with("msg", 1_u64.into()), InstantError::Entry("msg")),
            (with("datatype", 1_u64.into()), InstantError::Entry("datatype")),
            (b"\x81".to_vec(), InstantError::Decode(DecodeError::Incomplete)),
        ] {
            assert_eq!(DhtInstantMessage::decode(&data), Err(error));
        }
    }

    proptest! {
        #[test]
        fn every_message_survives_its_bytes(
            id in any::<u64>(), mime_type in ".{0,40}", content in ".{0,200}", seconds in 0..=i64::MAX / 1000,
        ) {
            let sent = UnixMillis(seconds * 1000);
            let message = DhtInstantMessage { id, mime_type, content, sent };
            prop_assert_eq!(DhtInstantMessage::decode(&message.encode()), Ok(message));
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = DhtInstantMessage::decode(&bytes);
        }
    }
}
