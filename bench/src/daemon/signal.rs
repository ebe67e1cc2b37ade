//! The signals of a daemon that a measurement waits for.

use zbus::Message;
use zbus::zvariant::{Structure, Value};

/// What a daemon told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// The device of an account is announced on the DHT.
    Announced { account: String },
    /// Somebody asks to become a contact.
    TrustRequest { account: String, conversation: String, from: String },
    /// The invitation that came with it is noted.
    ConversationRequest { account: String, conversation: String },
    /// A conversation can be used.
    Ready { account: String, conversation: String },
    /// Something happened to a member.
    Member { account: String, conversation: String, member: String, event: i32 },
    /// A message entered a conversation.
    Message { account: String, conversation: String, body: String },
}

impl Signal {
    /// Reads a signal; `None` for those that nobody waits for.
    pub(super) fn read(message: &Message) -> Option<Self> {
        let header = message.header();
        let body = message.body();
        let body: Structure<'_> = body.deserialize().ok()?;
        Self::parse(header.member()?.as_str(), body.fields())
    }

    fn parse(name: &str, fields: &[Value<'_>]) -> Option<Self> {
        let text = |place: usize| match fields.get(place)? {
            Value::Str(text) => Some(text.to_string()),
            _ => None,
        };
        let account = text(0)?;
        Some(match name {
            "volatileAccountDetailsChanged" => {
                let announced = find(fields.get(1)?, "Account.deviceAnnounced")?;
                (announced == "true").then_some(Self::Announced { account })?
            }
            "incomingTrustRequest" => Self::TrustRequest { account, conversation: text(1)?, from: text(2)? },
            "conversationRequestReceived" => Self::ConversationRequest { account, conversation: text(1)? },
            "conversationReady" => Self::Ready { account, conversation: text(1)? },
            "conversationMemberEvent" => {
                let Value::I32(event) = *fields.get(3)? else { return None };
                Self::Member { account, conversation: text(1)?, member: text(2)?, event }
            }
            // The second is what later versions send; there the texts are inside a structure.
            "messageReceived" | "swarmMessageReceived" => {
                Self::Message { account, conversation: text(1)?, body: find(fields.get(2)?, "body")? }
            }
            _ => return None,
        })
    }
}

/// The text under `key` in the first dictionary of texts that has it, inside structures too.
fn find(value: &Value<'_>, key: &str) -> Option<String> {
    match value {
        Value::Dict(dictionary) => dictionary.get::<&str, String>(&key).ok()?,
        Value::Structure(structure) => structure.fields().iter().find_map(|field| find(field, key)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn texts<'v>(entries: &[(&'static str, &'static str)]) -> Value<'v> {
        Value::from(entries.iter().copied().collect::<HashMap<_, _>>())
    }

    #[test]
    fn a_message_is_read_from_both_forms() {
        let expected = Signal::Message {
            account: "a".to_owned(),
            conversation: "c".to_owned(),
            body: "hello".to_owned(),
        };
        let old = [Value::from("a"), Value::from("c"), texts(&[("type", "text/plain"), ("body", "hello")])];
        assert_eq!(Signal::parse("messageReceived", &old), Some(expected.clone()));
        let inner = Structure::from(("id", "text/plain", "parent", HashMap::from([("body", "hello")])));
        let new = [Value::from("a"), Value::from("c"), Value::from(inner)];
        assert_eq!(Signal::parse("swarmMessageReceived", &new), Some(expected));
    }

    #[test]
    fn an_account_is_announced_once_its_details_say_so() {
        let details = |announced| [Value::from("a"), texts(&[("Account.deviceAnnounced", announced)])];
        let name = "volatileAccountDetailsChanged";
        assert_eq!(Signal::parse(name, &details("false")), None);
        let expected = Signal::Announced { account: "a".to_owned() };
        assert_eq!(Signal::parse(name, &details("true")), Some(expected));
        assert_eq!(Signal::parse("callStateChanged", &details("true")), None);
    }
}
