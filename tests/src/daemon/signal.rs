//! The signals of a daemon that a scenario waits for.

use std::collections::BTreeMap;

use skep::{AccountId, CommitId, ConversationId, DeviceId};
use zbus::Message;
use zbus::zvariant::{Array, Structure, Value};

/// Member event: the member has joined.
pub const JOINED: i32 = 1;

/// Status of a message: the member has read it.
const READ: i32 = 3;

/// What a daemon told. Accounts are named as the daemon itself does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// The device of an account is announced on the DHT.
    Announced {
        /// Whose.
        account: String,
    },
    /// The archive of an account is on the DHT under a PIN, or is not.
    Exported {
        /// Whose.
        account: String,
        /// 0 if it worked, 1 for a wrong password, 2 when the network was not reached.
        status: i32,
        /// The PIN.
        pin: String,
    },
    /// Somebody asks to become a contact.
    TrustRequest {
        /// Who is asked.
        account: String,
        /// The conversation that was made for it.
        conversation: ConversationId,
        /// Who asks.
        from: AccountId,
        /// The vCard that came with it; empty if none did.
        profile: String,
    },
    /// The invitation that came with it is noted.
    ConversationRequest {
        /// Who is invited.
        account: String,
        /// Into which conversation.
        conversation: ConversationId,
    },
    /// A conversation can be used.
    Ready {
        /// By whom.
        account: String,
        /// Which.
        conversation: ConversationId,
    },
    /// Something happened to a member.
    Member {
        /// Who tells it.
        account: String,
        /// In which conversation.
        conversation: ConversationId,
        /// To whom.
        member: AccountId,
        /// What, such as [`JOINED`].
        event: i32,
    },
    /// A conversation is gone.
    Removed {
        /// Whose.
        account: String,
        /// Which.
        conversation: ConversationId,
    },
    /// Somebody has read a message.
    Read {
        /// Who tells it.
        account: String,
        /// In which conversation.
        conversation: ConversationId,
        /// Who has read.
        member: AccountId,
        /// The message.
        message: CommitId,
    },
    /// Somebody began to type, or has stopped.
    Typing {
        /// Who tells it.
        account: String,
        /// In which conversation.
        conversation: ConversationId,
        /// Who types.
        member: AccountId,
        /// Whether typing.
        active: bool,
    },
    /// A message entered a conversation.
    Message {
        /// Who has it now.
        account: String,
        /// In which conversation.
        conversation: ConversationId,
        /// Its text.
        body: String,
    },
    /// Something happened to a file.
    File {
        /// Who tells it.
        account: String,
        /// Its id.
        file: String,
        /// What, by the daemon's number.
        event: i32,
    },
    /// A device was revoked, or was not.
    Revoked {
        /// Whose.
        account: String,
        /// Which.
        device: DeviceId,
        /// 0 if it worked.
        status: i32,
    },
    /// A name was registered, or was not.
    NameRegistered {
        /// For whom.
        account: String,
        /// Which.
        name: String,
        /// 0 if it worked.
        status: i32,
    },
    /// What a name server says.
    NameFound {
        /// Who has asked.
        account: String,
        /// The name.
        name: String,
        /// Whose it is; empty if nobody's.
        address: String,
        /// 0 if there is such a name.
        status: i32,
    },
    /// A history that was asked for.
    Loaded {
        /// The number that the request got.
        request: u32,
        /// The commits, newest first.
        messages: Vec<BTreeMap<String, String>>,
    },
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
            Value::Str(text) => Some(text.as_str()),
            _ => None,
        };
        let number = |place: usize| match fields.get(place)? {
            Value::I32(number) => Some(*number),
            _ => None,
        };
        if name == "conversationLoaded" {
            let (Value::U32(request), Value::Array(messages)) = (fields.first()?, fields.get(3)?) else {
                return None;
            };
            return Some(Self::Loaded { request: *request, messages: texts(messages)? });
        }
        let account = text(0)?.to_owned();
        let conversation = || text(1)?.parse().ok();
        Some(match name {
            "volatileAccountDetailsChanged" => {
                let announced = find(fields.get(1)?, "Account.deviceAnnounced")?;
                (announced == "true").then_some(Self::Announced { account })?
            }
            "exportOnRingEnded" => Self::Exported { account, status: number(1)?, pin: text(2)?.to_owned() },
            "incomingTrustRequest" => {
                let (from, profile) = (text(2)?.parse().ok()?, bytes(fields.get(3)?)?);
                let profile = String::from_utf8_lossy(&profile).into_owned();
                Self::TrustRequest { account, conversation: conversation()?, from, profile }
            }
            "conversationRequestReceived" => {
                Self::ConversationRequest { account, conversation: conversation()? }
            }
            "conversationReady" => Self::Ready { account, conversation: conversation()? },
            "conversationRemoved" => Self::Removed { account, conversation: conversation()? },
            "accountMessageStatusChanged" => {
                let (member, message) = (text(2)?.parse().ok()?, text(3)?.parse().ok()?);
                let read = number(4)? == READ;
                read.then_some(Self::Read { account, conversation: conversation()?, member, message })?
            }
            "composingStatusChanged" => {
                let (member, active) = (text(2)?.parse().ok()?, number(3)? != 0);
                Self::Typing { account, conversation: conversation()?, member, active }
            }
            "conversationMemberEvent" => {
                let event = number(3)?;
                let member = text(2)?.parse().ok()?;
                Self::Member { account, conversation: conversation()?, member, event }
            }
            "deviceRevocationEnded" => {
                Self::Revoked { account, device: text(1)?.parse().ok()?, status: number(2)? }
            }
            "nameRegistrationEnded" => {
                Self::NameRegistered { account, status: number(1)?, name: text(2)?.to_owned() }
            }
            "registeredNameFound" => {
                let (address, name) = (text(2)?.to_owned(), text(3)?.to_owned());
                Self::NameFound { account, status: number(1)?, address, name }
            }
            "dataTransferEvent" => Self::File { account, file: text(3)?.to_owned(), event: number(4)? },
            // The second is what later versions send; there the texts are inside a structure.
            "messageReceived" | "swarmMessageReceived" => {
                Self::Message { account, conversation: conversation()?, body: find(fields.get(2)?, "body")? }
            }
            _ => return None,
        })
    }
}

/// An array of bytes.
fn bytes(value: &Value<'_>) -> Option<Vec<u8>> {
    let Value::Array(array) = value else { return None };
    Vec::try_from(array.try_clone().ok()?).ok()
}

/// An array of dictionaries of texts.
fn texts(array: &Array<'_>) -> Option<Vec<BTreeMap<String, String>>> {
    let entry = |value: &Value<'_>| {
        let Value::Dict(dictionary) = value else { return None };
        BTreeMap::try_from(dictionary.try_clone().ok()?).ok()
    };
    array.iter().map(entry).collect()
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

    fn dictionary<'v>(entries: &[(&'static str, &'static str)]) -> Value<'v> {
        Value::from(entries.iter().copied().collect::<HashMap<_, _>>())
    }

    #[test]
    fn a_message_is_read_from_both_forms() {
        let id = "11eac7c8522415e5294f255daa4284711bd28268";
        let expected = Signal::Message {
            account: "a".to_owned(),
            conversation: id.parse().unwrap(),
            body: "hello".to_owned(),
        };
        let old =
            [Value::from("a"), Value::from(id), dictionary(&[("type", "text/plain"), ("body", "hello")])];
        assert_eq!(Signal::parse("messageReceived", &old), Some(expected.clone()));
        let inner = Structure::from(("id", "text/plain", "parent", HashMap::from([("body", "hello")])));
        let new = [Value::from("a"), Value::from(id), Value::from(inner)];
        assert_eq!(Signal::parse("swarmMessageReceived", &new), Some(expected));
    }

    #[test]
    fn an_account_is_announced_once_its_details_say_so() {
        let details = |announced| [Value::from("a"), dictionary(&[("Account.deviceAnnounced", announced)])];
        let name = "volatileAccountDetailsChanged";
        assert_eq!(Signal::parse(name, &details("false")), None);
        let expected = Signal::Announced { account: "a".to_owned() };
        assert_eq!(Signal::parse(name, &details("true")), Some(expected));
        assert_eq!(Signal::parse("callStateChanged", &details("true")), None);
    }

    #[test]
    fn a_pin_is_read_with_its_status() {
        let fields = [Value::from("a"), 0_i32.into(), "q0xf5lsa".into()];
        let expected = Signal::Exported { account: "a".to_owned(), status: 0, pin: "q0xf5lsa".to_owned() };
        assert_eq!(Signal::parse("exportOnRingEnded", &fields), Some(expected));
    }

    #[test]
    fn revocations_and_names_are_read() {
        let (account, id) = ("a".to_owned(), "11eac7c8522415e5294f255daa4284711bd28268");
        let device = DeviceId([7; 32]);
        let fields = [Value::from("a"), device.to_string().into(), 0_i32.into()];
        let expected = Signal::Revoked { account: account.clone(), device, status: 0 };
        assert_eq!(Signal::parse("deviceRevocationEnded", &fields), Some(expected));
        let fields = [Value::from("a"), 0_i32.into(), "ada".into()];
        let expected = Signal::NameRegistered { account: account.clone(), name: "ada".to_owned(), status: 0 };
        assert_eq!(Signal::parse("nameRegistrationEnded", &fields), Some(expected));
        let fields = [Value::from("a"), 0_i32.into(), id.into(), "ada".into()];
        let (name, address) = ("ada".to_owned(), id.to_owned());
        let expected = Signal::NameFound { account, name, address, status: 0 };
        assert_eq!(Signal::parse("registeredNameFound", &fields), Some(expected));
    }

    #[test]
    fn what_members_do_beside_writing_is_read() {
        let (id, member) =
            ("11eac7c8522415e5294f255daa4284711bd28268", "80eeb21d7e704d9da4e4a51d01a686f5587a9127");
        let (conversation, message) = (id.parse().unwrap(), id.parse().unwrap());
        let (account, member_id) = ("a".to_owned(), member.parse().unwrap());
        let typing = [Value::from("a"), id.into(), member.into(), 1_i32.into()];
        let expected =
            Signal::Typing { account: account.clone(), conversation, member: member_id, active: true };
        assert_eq!(Signal::parse("composingStatusChanged", &typing), Some(expected));
        let status = |number: i32| [Value::from("a"), id.into(), member.into(), id.into(), number.into()];
        let expected = Signal::Read { account: account.clone(), conversation, member: member_id, message };
        assert_eq!(Signal::parse("accountMessageStatusChanged", &status(3)), Some(expected));
        assert_eq!(Signal::parse("accountMessageStatusChanged", &status(2)), None);
        let transfer = [Value::from("a"), id.into(), id.into(), "file".into(), 6_i32.into()];
        let expected = Signal::File { account: account.clone(), file: "file".to_owned(), event: 6 };
        assert_eq!(Signal::parse("dataTransferEvent", &transfer), Some(expected));
        let profile = Value::from(b"FN:Ada".to_vec());
        let asked = [Value::from("a"), id.into(), member.into(), profile, 0_u64.into()];
        let profile = "FN:Ada".to_owned();
        let expected = Signal::TrustRequest { account, conversation, from: member_id, profile };
        assert_eq!(Signal::parse("incomingTrustRequest", &asked), Some(expected));
    }

    #[test]
    fn a_loaded_history_keeps_all_that_is_said_of_each_commit() {
        let first = HashMap::from([("id", "1"), ("type", "initial")]);
        let second = HashMap::from([("id", "2"), ("body", "hello")]);
        let fields = [Value::from(7_u32), "a".into(), "c".into(), Value::from(vec![second, first])];
        let Some(Signal::Loaded { request: 7, messages }) = Signal::parse("conversationLoaded", &fields)
        else {
            panic!("not read")
        };
        assert_eq!((messages.len(), &*messages[0]["body"], &*messages[1]["type"]), (2, "hello", "initial"));
    }
}
