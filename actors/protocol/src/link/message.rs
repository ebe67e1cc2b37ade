//! The messages of a `msg:` channel (`spec: connection 8`): MessagePack maps
//! `{id, t, c, req}` one after the other, without acknowledgement.

use super::objects::ObjectReader;
use crate::msgpack::{DecodeError, Value};

/// Longest message read, in bytes. The longest sent by daemons are invitations with an avatar, which
/// stay below the 64 KiB of a DHT value.
pub const MAX_MESSAGE: usize = 256 * 1024;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerMessage {
    /// Random number chosen by the sender.
    pub id: u64,
    /// MIME type.
    pub mime_type: String,
    /// What is said, in the form the type tells.
    pub content: String,
}

impl PeerMessage {
    /// The bytes to write into the channel.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Value::map([
            ("id", self.id.into()),
            ("t", self.mime_type.as_str().into()),
            ("c", self.content.as_str().into()),
            ("req", Value::Nil),
        ])
        .encode()
    }

    /// `None` when the object is no message; a missing `id` is 0.
    fn from_value(value: &Value) -> Option<Self> {
        Some(Self {
            id: value.get("id").and_then(Value::as_unsigned).unwrap_or(0),
            mime_type: value.get("t")?.as_text()?.to_owned(),
            content: value.get("c")?.as_text()?.to_owned(),
        })
    }
}

/// Takes messages out of the bytes of a channel, cut anywhere.
#[derive(Debug)]
pub struct MessageReader {
    objects: ObjectReader,
}

impl Default for MessageReader {
    fn default() -> Self {
        Self { objects: ObjectReader::new(MAX_MESSAGE) }
    }
}

impl MessageReader {
    /// The next message, taken from the front of `input`; objects that are no messages are passed
    /// over. `None` means that all of `input` is used up and more is needed.
    ///
    /// # Errors
    /// When the stream cannot be read on: close the channel.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<PeerMessage>, DecodeError> {
        while let Some(value) = self.objects.next(input)? {
            if let Some(message) = PeerMessage::from_value(&value) {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: u64, content: &str) -> PeerMessage {
        PeerMessage { id, mime_type: "text/plain".into(), content: content.into() }
    }

    #[test]
    fn messages_come_out_of_a_stream_cut_anywhere_and_odd_objects_are_passed_over() {
        let messages = [message(1, "one"), message(u64::MAX, ""), message(3, "trois")];
        let mut stream = messages[0].encode();
        stream.extend(Value::map([("t", Value::Nil), ("c", "x".into())]).encode());
        stream.extend(messages[1].encode());
        stream.extend([0x05, 0x90]);
        stream.extend(messages[2].encode());
        for segment in 1..stream.len() {
            let mut reader = MessageReader::default();
            let mut read = Vec::new();
            for mut piece in stream.chunks(segment) {
                while let Some(message) = reader.next(&mut piece).unwrap() {
                    read.push(message);
                }
            }
            assert_eq!(read, messages);
        }
    }

    #[test]
    fn text_that_is_not_utf_8_is_passed_over() {
        let odd = |key| {
            let other = if key == "t" { "c" } else { "t" };
            Value::map([(key, Value::Text(b"\xff\xfe".to_vec())), (other, "x".into())]).encode()
        };
        let stream = [odd("c"), odd("t"), message(1, "still read").encode()].concat();
        let read = MessageReader::default().next(&mut &stream[..]).unwrap();
        assert_eq!(read, Some(message(1, "still read")));
    }

    #[test]
    fn a_message_beyond_the_limit_ends_the_channel() {
        let stream = message(1, &"x".repeat(MAX_MESSAGE)).encode();
        let too_large = Err(DecodeError::TooLarge { limit: MAX_MESSAGE });
        assert_eq!(MessageReader::default().next(&mut &stream[..100]), too_large);
    }

    #[test]
    fn unknown_entries_are_ignored_and_the_id_may_be_missing() {
        let stream =
            Value::map([("new", 1_u64.into()), ("c", "hi".into()), ("t", "text/plain".into())]).encode();
        let read = MessageReader::default().next(&mut &stream[..]).unwrap();
        assert_eq!(read, Some(message(0, "hi")));
    }
}
