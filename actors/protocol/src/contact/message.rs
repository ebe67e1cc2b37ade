//! The trust request and its confirmation: the data of a value of type 4 (`spec: contacts 2.1`).

use crate::dht::content::Content;
use crate::dht::kind::ValueKind;
use crate::ids::ConversationId;
use crate::msgpack::{self, DecodeError, Value as Object};
use crate::time::UnixMillis;

/// A vCard of this many bytes or more is left out of a request.
pub const MAX_PAYLOAD: usize = 64_000;

/// Largest request read in bytes: no value is larger.
pub const MAX_REQUEST: usize = 65_536;

/// The only service there is.
const SERVICE: &str = "cx.ring";

/// Why bytes are no trust request. It is dropped without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not MessagePack, or cut short, or larger than [`MAX_REQUEST`].
    #[error("the trust request is not one MessagePack object: {0}")]
    Decode(#[from] DecodeError),
    /// Not a map.
    #[error("the trust request is not a map")]
    NotAMap,
    /// An entry is of another type.
    #[error("the entry {0:?} of the trust request has a wrong type")]
    WrongType(&'static str),
    /// Meant for another service.
    #[error("the trust request is for another service")]
    OtherService,
    /// The conversation is named by something that is no id.
    #[error("the trust request names a conversation by something that is no id")]
    Conversation,
}

/// A request to become contacts, or its confirmation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustRequestMessage {
    /// The conversation of the two; none in requests of very old clients.
    pub conversation: Option<ConversationId>,
    /// vCard of the sender; empty in confirmations.
    pub payload: Vec<u8>,
    /// Whether this is a confirmation.
    pub confirm: bool,
    /// When the sender first issued the invitation. Absent before July 2026, 0 for unknown.
    pub invited: Option<UnixMillis>,
}

impl TrustRequestMessage {
    /// A request; a vCard of [`MAX_PAYLOAD`] bytes or more is left out.
    #[must_use]
    pub fn request(conversation: ConversationId, payload: &[u8], invited: UnixMillis) -> Self {
        let payload = if payload.len() < MAX_PAYLOAD { payload.to_vec() } else { Vec::new() };
        Self { conversation: Some(conversation), payload, confirm: false, invited: Some(invited) }
    }

    /// The answer to a request that was accepted.
    #[must_use]
    pub fn confirmation(conversation: Option<ConversationId>) -> Self {
        Self { conversation, payload: Vec::new(), confirm: true, invited: Some(UnixMillis(0)) }
    }

    /// When the invitation was first issued, if the sender says so.
    #[must_use]
    pub fn known_invited(&self) -> Option<UnixMillis> {
        self.invited.filter(|invited| invited.0 > 0)
    }

    /// Reads the data of a value.
    ///
    /// # Errors
    /// When it is no request to us.
    pub fn decode(data: &[u8]) -> Result<Self, MessageError> {
        let (map, length) = msgpack::decode(data, MAX_REQUEST)?;
        if length != data.len() {
            return Err(DecodeError::Trailing.into());
        }
        if map.as_map().is_none() {
            return Err(MessageError::NotAMap);
        }
        if text(&map, "service")? != SERVICE {
            return Err(MessageError::OtherService);
        }
        let conversation = match text(&map, "conversationId")? {
            "" => None,
            id => Some(id.parse().map_err(|_| MessageError::Conversation)?),
        };
        let payload = match map.get("payload") {
            None => Vec::new(),
            Some(payload) => payload.as_binary().ok_or(MessageError::WrongType("payload"))?.to_vec(),
        };
        let confirm = match map.get("confirm") {
            None => false,
            Some(confirm) => confirm.as_bool().ok_or(MessageError::WrongType("confirm"))?,
        };
        let invited = match map.get("invitedMs") {
            None => None,
            Some(time) => Some(UnixMillis(time.as_signed().ok_or(MessageError::WrongType("invitedMs"))?)),
        };
        Ok(Self { conversation, payload, confirm, invited })
    }

    /// The data of a value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let conversation = self.conversation.map(|id| id.to_hex()).unwrap_or_default();
        let mut entries = vec![
            ("service", Object::text(SERVICE)),
            ("conversationId", Object::text(&conversation)),
            ("payload", Object::binary(&self.payload)),
            ("confirm", Object::from(self.confirm)),
        ];
        if let Some(invited) = self.invited {
            entries.push(("invitedMs", Object::from(invited.0)));
        }
        Object::map(entries).encode()
    }

    /// The content to sign for a device and encrypt to it.
    #[must_use]
    pub fn to_content(&self) -> Content {
        Content::new(ValueKind::TrustRequest.type_number(), self.encode())
    }
}

/// A text entry; empty when it is missing.
fn text<'m>(map: &'m Object, key: &'static str) -> Result<&'m str, MessageError> {
    map.get(key).map_or(Ok(""), |text| text.as_text().ok_or(MessageError::WrongType(key)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dht::cipher;
    use crate::dht::golden;
    use crate::dht::value::Value;

    fn conversation() -> ConversationId {
        "e4cf25b85ca783de0aeee9d77d830705cd9d3e6d".parse().unwrap()
    }

    #[test]
    fn the_recorded_request_is_read_and_written() {
        // (spec: contacts V1, V3)
        let data = cipher::open(&golden::trust_request(), golden::device_b()).unwrap().content().data.clone();
        let text = "84a773657276696365a763782e72696e67ae636f6e766572736174696f6e4964d928653463663235\
                    62383563613738336465306165656539643737643833303730356364396433653664a77061796c6f\
                    6164c42b424547494e3a56434152440a56455253494f4e3a322e310a464e3a5573657220410a454e\
                    443a5643415244a7636f6e6669726dc2";
        assert_eq!(hex::encode(&data), text);
        let message = TrustRequestMessage::decode(&data).unwrap();
        assert_eq!(message.conversation, Some(conversation()));
        assert_eq!(message.payload, b"BEGIN:VCARD\nVERSION:2.1\nFN:User A\nEND:VCARD");
        assert_eq!((message.confirm, message.known_invited()), (false, None));
        assert_eq!(message.encode(), data);
    }

    #[test]
    fn requests_and_confirmations_of_2026_are_written_as_recorded() {
        let mut seen = (0, 0);
        for line in golden::newest().iter().filter(|line| line.kind == "plain") {
            let value = Value::decode(&hex::decode(&line.packed).unwrap()).unwrap();
            let content = value.content().unwrap();
            if content.type_number != ValueKind::TrustRequest.type_number() {
                continue;
            }
            let message = TrustRequestMessage::decode(&content.data).unwrap();
            let made = if message.confirm {
                seen.0 += 1;
                TrustRequestMessage::confirmation(message.conversation)
            } else {
                seen.1 += 1;
                let invited = message.known_invited().unwrap();
                TrustRequestMessage::request(message.conversation.unwrap(), &message.payload, invited)
            };
            assert_eq!(&made.to_content(), content);
        }
        assert_eq!(seen, (1, 1));
    }

    #[test]
    fn missing_entries_take_their_defaults_and_unknown_ones_are_ignored() {
        let map = Object::map([("service", SERVICE.into()), ("later", 1_u64.into())]);
        let message = TrustRequestMessage::decode(&map.encode()).unwrap();
        let expected =
            TrustRequestMessage { conversation: None, payload: Vec::new(), confirm: false, invited: None };
        assert_eq!(message, expected);
    }

    #[test]
    fn wrong_requests_are_refused() {
        let with = |key, value| Object::map([("service", SERVICE.into()), (key, value)]).encode();
        for (data, error) in [
            (Object::map([("service", "other".into())]).encode(), MessageError::OtherService),
            (Object::map([]).encode(), MessageError::OtherService),
            (Object::Array(Vec::new()).encode(), MessageError::NotAMap),
            (with("conversationId", "e4cf".into()), MessageError::Conversation),
            (with("conversationId", 1_u64.into()), MessageError::WrongType("conversationId")),
            (with("payload", "text".into()), MessageError::WrongType("payload")),
            (with("confirm", 1_u64.into()), MessageError::WrongType("confirm")),
            (with("invitedMs", u64::MAX.into()), MessageError::WrongType("invitedMs")),
            (b"\x81".to_vec(), MessageError::Decode(DecodeError::Incomplete)),
        ] {
            assert_eq!(TrustRequestMessage::decode(&data), Err(error));
        }
    }

    #[test]
    fn a_large_vcard_is_left_out() {
        let make = |length| TrustRequestMessage::request(conversation(), &vec![b'x'; length], UnixMillis(1));
        assert_eq!(make(MAX_PAYLOAD - 1).payload.len(), MAX_PAYLOAD - 1);
        assert_eq!(make(MAX_PAYLOAD).payload.len(), 0);
    }

    proptest! {
        #[test]
        fn every_message_survives_its_bytes(
            id in any::<Option<[u8; 20]>>(),
            payload in prop::collection::vec(any::<u8>(), 0..200),
            confirm in any::<bool>(),
            invited in any::<Option<i64>>(),
        ) {
            let conversation = id.map(ConversationId);
            let message =
                TrustRequestMessage { conversation, payload, confirm, invited: invited.map(UnixMillis) };
            prop_assert_eq!(TrustRequestMessage::decode(&message.encode()), Ok(message));
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = TrustRequestMessage::decode(&bytes);
        }
    }
}
