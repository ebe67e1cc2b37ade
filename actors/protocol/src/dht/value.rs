//! Values: what is put at a key of the DHT (`spec: dht 3`).
//!
//! ```text
//!   value = { "id": uint64, "dat": bin | { "body": inner, ["sig": bin] }, ["p": uint], ["pt": str] }
//! ```
//!
//! Values are decoded into their parts and encoded anew, never passed on as the bytes that came:
//! signatures are over the bytes a reader makes, and what no reader knows is not carried further.

use std::fmt;

use crate::dht::content::{self, BodyContent, Content, SignedContent, VerifiedContent};
use crate::dht::kind::ValueKind;
use crate::ids::sha1;
use crate::msgpack::{self, Value as Object};

/// Largest value in bytes, counted as [`Value::size`] does (`spec: dht 3`).
pub const MAX_VALUE_SIZE: usize = 65_536;

/// Largest packed value in bytes: announced sizes beyond it are skipped by readers (`spec: dht 4`).
pub const MAX_PACKED_VALUE: usize = MAX_VALUE_SIZE + 32;

/// Longest push type in bytes; Jami's are short words.
pub const MAX_PUSH_TYPE: usize = 1024;

/// Number that tells apart the values of one key. Zero means that none was given yet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub u64);

impl ValueId {
    /// No id: fine in a receipt, refused by storing nodes.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for ValueId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl fmt::Debug for ValueId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ValueId({self})")
    }
}

/// Why bytes are no value, or a value cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// Not MessagePack, or cut short.
    #[error("the value is not one MessagePack object: {0}")]
    Decode(#[from] msgpack::DecodeError),
    /// A required entry is not there.
    #[error("the value has no {0:?}")]
    Missing(&'static str),
    /// An entry is of another type or out of range.
    #[error("the entry {0:?} of the value has a wrong type or range")]
    WrongType(&'static str),
    /// The owner is not an RSA public key.
    #[error("the owner of the value is not an RSA public key")]
    Owner,
    /// The encrypted bytes are empty.
    #[error("the encrypted value is empty")]
    EmptyCipher,
    /// The user type is longer than [`content::MAX_USER_TYPE`].
    #[error("the user type of the value is too long")]
    UserTypeTooLong,
    /// The push type is longer than [`MAX_PUSH_TYPE`].
    #[error("the push type of the value is too long")]
    PushTypeTooLong,
    /// Larger than [`MAX_VALUE_SIZE`], or packed larger than [`MAX_PACKED_VALUE`].
    #[error("the value of {size} bytes is larger than the DHT carries")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
}

/// The main part of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Readable by all, signed by nobody.
    Plain(Content),
    /// Readable by all, with an unchecked signature.
    Signed(SignedContent),
    /// Closed for one device; see [`cipher::open`](crate::dht::cipher::open).
    Encrypted(Vec<u8>),
}

/// A value of the DHT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Tells it from the other values of its key.
    pub id: ValueId,
    /// What it carries.
    pub body: Body,
    /// 0 is high, 1 is normal; matters for push notifications only.
    pub priority: u32,
    /// Kind of push notification, such as `audioCall`; mostly empty.
    pub push_type: String,
}

/// What makes a value the same one on several nodes: its id and a digest of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint {
    /// Id of the value.
    pub id: ValueId,
    /// SHA-1 of the packed body.
    pub digest: [u8; 20],
}

impl Value {
    /// An unsigned value.
    #[must_use]
    pub fn plain(id: ValueId, content: Content) -> Self {
        Self { id, body: Body::Plain(content), priority: 0, push_type: String::new() }
    }

    /// A signed value that all can read.
    #[must_use]
    pub fn signed(id: ValueId, content: VerifiedContent) -> Self {
        Self { id, body: Body::Signed(content.into_signed()), priority: 0, push_type: String::new() }
    }

    /// A value closed for one device, from [`cipher::encrypt`](crate::dht::cipher::encrypt).
    #[must_use]
    pub fn encrypted(id: ValueId, cipher: Vec<u8>) -> Self {
        Self { id, body: Body::Encrypted(cipher), priority: 0, push_type: String::new() }
    }

    /// The same value with another priority.
    #[must_use]
    pub fn with_priority(mut self, priority: u32) -> Self {
        self.priority = priority;
        self
    }

    /// Reads a packed value.
    ///
    /// # Errors
    /// When the bytes are no value that a node may carry; the value is then to be skipped.
    pub fn decode(packed: &[u8]) -> Result<Self, ValueError> {
        if packed.len() > MAX_PACKED_VALUE {
            return Err(ValueError::TooLarge { size: packed.len() });
        }
        Self::from_object(&msgpack::decode_all(packed)?)
    }

    /// Reads a value that is part of a larger message.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn from_object(object: &Object) -> Result<Self, ValueError> {
        let id = object.get("id").ok_or(ValueError::Missing("id"))?;
        let id = ValueId(id.as_unsigned().ok_or(ValueError::WrongType("id"))?);
        let body = match object.get("dat").ok_or(ValueError::Missing("dat"))? {
            Object::Binary(cipher) if cipher.is_empty() => return Err(ValueError::EmptyCipher),
            Object::Binary(cipher) => Body::Encrypted(cipher.clone()),
            map @ Object::Map(_) => match content::read_body(map)? {
                BodyContent::Plain(content) => Body::Plain(content),
                BodyContent::Signed(signed) => Body::Signed(signed),
            },
            _ => return Err(ValueError::WrongType("dat")),
        };
        let priority = match object.get("p") {
            None => 0,
            Some(number) => number
                .as_unsigned()
                .and_then(|number| u32::try_from(number).ok())
                .ok_or(ValueError::WrongType("p"))?,
        };
        let push_type = match object.get("pt") {
            None => "",
            Some(text) => text.as_text().ok_or(ValueError::WrongType("pt"))?,
        };
        if push_type.len() > MAX_PUSH_TYPE {
            return Err(ValueError::PushTypeTooLong);
        }
        let value = Self { id, body, priority, push_type: push_type.to_owned() };
        value.check_size()?;
        Ok(value)
    }

    /// The value as a MessagePack object.
    #[must_use]
    pub fn to_object(&self) -> Object {
        let mut entries = vec![("id", Object::from(self.id.0)), ("dat", self.body_object())];
        if self.priority != 0 {
            entries.push(("p", Object::from(u64::from(self.priority))));
        }
        if !self.push_type.is_empty() {
            entries.push(("pt", Object::text(&self.push_type)));
        }
        Object::map(entries)
    }

    /// The packed value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.to_object().encode()
    }

    fn body_object(&self) -> Object {
        match &self.body {
            Body::Plain(content) => Object::map([("body", content.inner())]),
            Body::Signed(signed) => signed.body(),
            Body::Encrypted(cipher) => Object::binary(cipher),
        }
    }

    /// Size for the limits, in bytes: cipher, data, signature, user type and push type.
    #[must_use]
    pub fn size(&self) -> usize {
        let body = match &self.body {
            Body::Plain(content) => content.data.len() + content.user_type.len(),
            Body::Signed(signed) => {
                let content = signed.content();
                content.data.len() + content.user_type.len() + signed.signature().len()
            }
            Body::Encrypted(cipher) => cipher.len(),
        };
        body + self.push_type.len()
    }

    /// Checks that other nodes would take a value as large as this.
    ///
    /// # Errors
    /// [`ValueError::TooLarge`].
    pub fn check_size(&self) -> Result<(), ValueError> {
        let size = self.size();
        if size > MAX_VALUE_SIZE { Err(ValueError::TooLarge { size }) } else { Ok(()) }
    }

    /// What storing nodes take this value for: encrypted values are user data to them.
    #[must_use]
    pub fn kind(&self) -> ValueKind {
        self.content().map_or(ValueKind::UserData, |content| ValueKind::of(content.type_number))
    }

    /// The content, if everybody can read it.
    #[must_use]
    pub fn content(&self) -> Option<&Content> {
        match &self.body {
            Body::Plain(content) => Some(content),
            Body::Signed(signed) => Some(signed.content()),
            Body::Encrypted(_) => None,
        }
    }

    /// The signed content, if the value is signed and everybody can read it.
    #[must_use]
    pub fn as_signed(&self) -> Option<&SignedContent> {
        if let Body::Signed(signed) = &self.body { Some(signed) } else { None }
    }

    /// Whether a put of `other` is a refresh of this one: same id and same body; priority and push
    /// type do not count (`spec: dht 3.1`).
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && self.body == other.body
    }

    /// What the value is recognised by when several nodes hand it out.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint { id: self.id, digest: sha1(&self.body_object().encode()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dht::golden;

    fn hex(text: &str) -> Vec<u8> {
        hex::decode(text.replace(' ', "")).unwrap()
    }

    #[test]
    fn an_unsigned_value_reads_and_writes_as_recorded() {
        // (spec: dht V3)
        let packed =
            hex("82a26964cf1122334455667788a364617481a4626f647982a47479706500a464617461c40568656c6c6f");
        let value = Value::decode(&packed).unwrap();
        let expected = Value::plain(ValueId(0x1122_3344_5566_7788), Content::new(0, b"hello".to_vec()));
        assert_eq!(value, expected);
        assert_eq!(value.encode(), packed);
        assert_eq!(value.size(), 5);
    }

    #[test]
    fn every_recorded_value_is_written_as_it_was_read() {
        for (name, packed) in golden::packed_values() {
            let value = Value::decode(&packed).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(value.encode(), packed, "{name}");
            if let Some(signed) = value.as_signed() {
                assert_eq!(signed.check(), Ok(()), "{name}");
            }
        }
    }

    #[test]
    fn push_type_and_priority_follow_the_body() {
        let mut value = Value::plain(ValueId(1), Content::new(0, vec![1])).with_priority(1);
        value.push_type = "audioCall".to_owned();
        let packed = value.encode();
        assert_eq!(
            packed,
            hex(
                "84 a26964 01 a3646174 81a4626f6479 82a47479706500a464617461c40101 a170 01 a27074 a9617564696f43616c6c"
            )
        );
        assert_eq!(Value::decode(&packed).unwrap(), value);
    }

    /// The map of a value made from its pieces, for wrong ones.
    fn value_object(body: Object) -> Object {
        Object::map([("id", Object::from(7_u64)), ("dat", body)])
    }

    fn body_object(inner: Vec<(&str, Object)>, signature: bool) -> Object {
        let mut body = vec![("body", Object::map(inner))];
        if signature {
            body.push(("sig", Object::binary(&[0; 256])));
        }
        value_object(Object::map(body))
    }

    #[test]
    fn values_without_what_they_need_are_rejected() {
        let owner = || ("owner", Object::binary(golden::throw_away_key().public().der()));
        let kind = || ("type", Object::from(0_u64));
        let data = || ("data", Object::binary(b"x"));
        let sequence = || ("seq", Object::from(0_u64));
        let cases = [
            (body_object(vec![data()], false), ValueError::Missing("type")),
            (body_object(vec![kind()], false), ValueError::Missing("data")),
            (body_object(vec![owner(), kind(), data()], true), ValueError::Missing("seq")),
            (body_object(vec![sequence(), owner(), kind(), data()], false), ValueError::Missing("sig")),
            (
                body_object(vec![sequence(), ("owner", Object::binary(b"no key")), kind(), data()], true),
                ValueError::Owner,
            ),
            (
                body_object(
                    vec![sequence(), owner(), ("to", Object::binary(&[1; 19])), kind(), data()],
                    true,
                ),
                ValueError::WrongType("to"),
            ),
            (
                body_object(vec![("type", Object::from(65_536_u64)), data()], false),
                ValueError::WrongType("type"),
            ),
            (body_object(vec![kind(), ("data", Object::text("x"))], false), ValueError::WrongType("data")),
            (value_object(Object::binary(&[])), ValueError::EmptyCipher),
            (value_object(Object::text("x")), ValueError::WrongType("dat")),
            (value_object(Object::Map(Vec::new())), ValueError::Missing("body")),
            (Object::map([("id", Object::from(7_u64))]), ValueError::Missing("dat")),
            (Object::map([("dat", Object::binary(&[1]))]), ValueError::Missing("id")),
            (Object::Array(Vec::new()), ValueError::Missing("id")),
        ];
        for (object, error) in cases {
            assert_eq!(Value::from_object(&object), Err(error), "{object:?}");
        }
    }

    #[test]
    fn a_signature_without_an_owner_is_not_carried_further() {
        let inner = vec![("type", Object::from(0_u64)), ("data", Object::binary(b"x"))];
        let value = Value::from_object(&body_object(inner.clone(), true)).unwrap();
        assert_eq!(value.to_object(), body_object(inner, false));
    }

    #[test]
    fn an_all_zero_recipient_is_none() {
        let signed = Content::new(0, b"x".to_vec()).sign(golden::throw_away_key(), 0).unwrap();
        let Object::Map(mut body) = signed.body() else { panic!() };
        let Object::Map(inner) = &mut body[0].1 else { panic!() };
        inner.insert(2, (Object::text("to"), Object::binary(&[0; 20])));
        let value = Value::from_object(&value_object(Object::Map(body))).unwrap();
        assert_eq!(value.as_signed().unwrap().to(), None);
        assert_eq!(value.as_signed().unwrap().check(), Ok(()));
    }

    #[test]
    fn values_beyond_the_size_limit_are_rejected() {
        let fits = Value::encrypted(ValueId(1), vec![1; MAX_VALUE_SIZE]);
        assert_eq!(Value::decode(&fits.encode()), Ok(fits));
        let large = Value::encrypted(ValueId(1), vec![1; MAX_VALUE_SIZE + 1]);
        assert!(matches!(Value::decode(&large.encode()), Err(ValueError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn every_plain_value_survives_its_bytes(
            id in any::<u64>(),
            type_number in any::<u16>(),
            data in prop::collection::vec(any::<u8>(), 0..400),
            user_type in "[a-zé]{0,20}",
            priority in any::<u32>(),
            push_type in "[a-z]{0,20}",
        ) {
            let content = Content::new(type_number, data).with_user_type(&user_type);
            let mut value = Value::plain(ValueId(id), content).with_priority(priority);
            value.push_type = push_type;
            prop_assert_eq!(Value::decode(&value.encode()), Ok(value));
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Value::decode(&bytes);
        }
    }
}
