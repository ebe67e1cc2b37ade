//! The messages of an `auth:` channel: MessagePack maps `{schemeId, payload}` back to back
//! (`spec: identity 6`, vectors V10).

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use super::LinkError;
use crate::link::objects::ObjectReader;
use crate::msgpack::Value as Object;

/// Longest message read by a new device, in bytes. An archive takes some fifteen thousand; it holds
/// neither contacts nor conversations.
pub const MAX_LINK_MESSAGE: usize = 1 << 20;

/// Longest password, in bytes.
pub const MAX_PASSWORD: usize = 4096;

/// Longest message read by a source, in bytes: a password and what is around it.
const MAX_ANSWER: usize = MAX_PASSWORD + 1024;

const SCHEME: &str = "authScheme";
const PASSWORD: &str = "password";
const ACCOUNT: &str = "accData";
const IS_CORRECT: &str = "passwordCorrect";
const MAY_RETRY: &str = "canRetry";
const STATE: &str = "stateMsg";

/// What opens the account's archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkScheme {
    /// Nothing: the archive has no password.
    None,
    /// The password.
    Password,
}

impl LinkScheme {
    const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Password => "password",
        }
    }
}

/// One message. `Debug` shows no secrets.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// The new device is there.
    Hello,
    /// What is needed to open the archive.
    Scheme(LinkScheme),
    /// The password; empty where none is needed.
    Password(Zeroizing<String>),
    /// The account: the JSON text of an archive.
    Account(Zeroizing<String>),
    /// The password was wrong; another may be tried.
    WrongPassword,
    /// The password was wrong; no other may be tried.
    LastWrongPassword,
    /// The other device has waited too long.
    TimedOut,
    /// The owner has cancelled it on the other device.
    Cancelled,
    /// A message that says none of these.
    Other,
}

impl Message {
    /// The bytes to write into the channel.
    pub(super) fn encode(&self) -> Vec<u8> {
        let entries: &[(&str, &str)] = match self {
            Self::Hello | Self::Other => &[],
            Self::Scheme(scheme) => &[(SCHEME, scheme.name())],
            Self::Password(password) => &[(PASSWORD, password)],
            Self::Account(json) => &[(ACCOUNT, json)],
            Self::WrongPassword => &[(MAY_RETRY, "true"), (IS_CORRECT, "false")],
            Self::LastWrongPassword => &[(MAY_RETRY, "false")],
            Self::TimedOut => &[(STATE, "TIMEOUT")],
            Self::Cancelled => &[(STATE, "CANCELED")],
        };
        let payload = Object::map(entries.iter().map(|(name, text)| (*name, Object::text(text))));
        Object::map([("schemeId", 0_u64.into()), ("payload", payload)]).encode()
    }

    fn from_object(object: &Object) -> Result<Self, LinkError> {
        let scheme = object.get("schemeId").and_then(Object::as_unsigned);
        let payload = object.get("payload").and_then(Object::as_map).filter(|_| scheme == Some(0));
        let mut texts = BTreeMap::new();
        for (name, text) in payload.ok_or(LinkError::Protocol)? {
            let (Some(name), Some(text)) = (name.as_text(), text.as_text()) else {
                return Err(LinkError::Protocol);
            };
            texts.insert(name, text);
        }
        let secret = |text: &str| Zeroizing::new(text.to_owned());
        let is = |name, text| texts.get(name) == Some(&text);
        Ok(match (texts.get(SCHEME), texts.get(PASSWORD), texts.get(ACCOUNT)) {
            _ if is(STATE, "TIMEOUT") => Self::TimedOut,
            _ if is(STATE, "CANCELED") => Self::Cancelled,
            _ if is(MAY_RETRY, "false") => Self::LastWrongPassword,
            _ if is(IS_CORRECT, "false") => Self::WrongPassword,
            (_, _, Some(json)) => Self::Account(secret(json)),
            (_, Some(password), _) if password.len() > MAX_PASSWORD => return Err(LinkError::Protocol),
            (_, Some(password), _) => Self::Password(secret(password)),
            (Some(&""), ..) => Self::Scheme(LinkScheme::None),
            (Some(&"password"), ..) => Self::Scheme(LinkScheme::Password),
            (Some(_), ..) => return Err(LinkError::Protocol),
            (None, None, None) => Self::Other,
        })
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Hello => "Hello",
            Self::Scheme(LinkScheme::None) => "Scheme(None)",
            Self::Scheme(LinkScheme::Password) => "Scheme(Password)",
            Self::Password(_) => "Password(…)",
            Self::Account(_) => "Account(…)",
            Self::WrongPassword => "WrongPassword",
            Self::LastWrongPassword => "LastWrongPassword",
            Self::TimedOut => "TimedOut",
            Self::Cancelled => "Cancelled",
            Self::Other => "Other",
        })
    }
}

/// Takes messages out of the bytes of a channel, cut anywhere.
#[derive(Debug)]
pub(super) struct MessageReader(ObjectReader);

impl MessageReader {
    /// For what a source sends.
    pub(super) fn of_source() -> Self {
        Self(ObjectReader::new(MAX_LINK_MESSAGE))
    }

    /// For what a new device sends.
    pub(super) fn of_new_device() -> Self {
        Self(ObjectReader::new(MAX_ANSWER))
    }

    /// The next message, taken from the front of `input`; `None` when more is needed.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Message>, LinkError> {
        match self.0.next(input).map_err(|_| LinkError::Protocol)? {
            None => Ok(None),
            Some(object) => Message::from_object(&object).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_mutations;

    fn read(bytes: &[u8]) -> Result<Option<Message>, LinkError> {
        MessageReader::of_source().next(&mut &*bytes)
    }

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    /// (spec: identity V10)
    fn vectors() -> Vec<(Message, &'static str)> {
        vec![
            (Message::Hello, "82a8736368656d65496400a77061796c6f616480"),
            (
                Message::Scheme(LinkScheme::Password),
                "82a8736368656d65496400a77061796c6f616481aa61757468536368656d65a870617373776f7264",
            ),
            (
                Message::Password(secret("pw")),
                "82a8736368656d65496400a77061796c6f616481a870617373776f7264a27077",
            ),
            (
                Message::WrongPassword,
                "82a8736368656d65496400a77061796c6f616482a863616e5265747279a474727565af70617373776f7264436f727265\
                 6374a566616c7365",
            ),
            (Message::TimedOut, "82a8736368656d65496400a77061796c6f616481a873746174654d7367a754494d454f5554"),
        ]
    }

    fn fuzz_messages(data: &[u8]) {
        for reader in [MessageReader::of_source, MessageReader::of_new_device] {
            let all = |pieces: &mut dyn Iterator<Item = &[u8]>| {
                let (mut reader, mut messages) = (reader(), Vec::new());
                for mut piece in pieces {
                    loop {
                        match reader.next(&mut piece) {
                            Ok(Some(message)) => messages.push(message),
                            Ok(None) => break,
                            Err(_) => return messages,
                        }
                    }
                }
                messages
            };
            let messages = all(&mut std::iter::once(data));
            assert_eq!(all(&mut data.chunks(1)), messages);
            for message in messages {
                let again = read(&message.encode()).unwrap().unwrap();
                assert!(again == message || message == Message::Hello);
            }
        }
    }

    #[test]
    fn the_specified_messages_are_read_and_written() {
        for (message, text) in vectors() {
            let bytes = hex::decode(text).unwrap();
            assert_eq!(hex::encode(message.encode()), text);
            let expected = if message == Message::Hello { Message::Other } else { message };
            assert_eq!(read(&bytes), Ok(Some(expected)));
            with_mutations(&bytes, 300, fuzz_messages);
        }
    }

    #[test]
    fn every_other_message_survives_its_bytes() {
        for message in [
            Message::Scheme(LinkScheme::None),
            Message::Account(secret("{}")),
            Message::LastWrongPassword,
            Message::Cancelled,
            Message::Other,
        ] {
            assert_eq!(read(&message.encode()), Ok(Some(message)));
        }
    }

    #[test]
    fn what_is_no_map_of_texts_with_scheme_0_is_refused_and_unknown_entries_are_ignored() {
        let with = |scheme: Object, payload: Object| {
            Object::map([("schemeId", scheme), ("payload", payload), ("later", Object::Nil)]).encode()
        };
        let zero = || Object::from(0_u64);
        for bytes in [
            vec![0xc0],
            vec![0x90],
            vec![0x80],
            vec![0xc1],
            with(1_u64.into(), Object::map([])),
            with(Object::Nil, Object::map([])),
            with(zero(), Object::Nil),
            with(zero(), Object::map([("password", Object::Nil)])),
            with(zero(), Object::map([("authScheme", "retina".into())])),
            with(zero(), Object::map([("password", "x".repeat(MAX_PASSWORD + 1).as_str().into())])),
            hex::decode("df7fffffff").unwrap(),
        ] {
            assert_eq!(read(&bytes), Err(LinkError::Protocol), "{bytes:x?}");
        }
        let known = Object::map([("later", "x".into()), ("password", "pw".into())]);
        assert_eq!(read(&with(zero(), known)), Ok(Some(Message::Password(secret("pw")))));
    }

    #[test]
    fn secrets_are_not_shown() {
        for message in [Message::Password(secret("hunter2")), Message::Account(secret("hunter2"))] {
            assert!(!format!("{message:?}").contains("hunter2"));
        }
    }
}
