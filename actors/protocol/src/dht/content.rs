//! The inside of a value: application bytes with a type, and the signature over them
//! (`spec: dht 3, 3.2`).
//!
//! ```text
//!   Content --sign--> SignedContent --verify--> VerifiedContent
//!                        ^ a claim of a peer        ^ the claim is true
//! ```

use crate::dht::value::ValueError;
use crate::ids::DeviceShortId;
use crate::keys::{KeyError, PrivateKey, PublicKey};
use crate::msgpack::Value as Object;

/// Longest user type in bytes; Jami's are short words, and it counts against the size of a value.
pub const MAX_USER_TYPE: usize = 1024;

/// Application bytes with their type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Number of the value type; see [`ValueKind`](crate::dht::kind::ValueKind).
    pub type_number: u16,
    /// The application's bytes.
    pub data: Vec<u8>,
    /// A free name of what the data is; mostly empty.
    pub user_type: String,
}

impl Content {
    /// Content without a user type.
    #[must_use]
    pub fn new(type_number: u16, data: Vec<u8>) -> Self {
        Self { type_number, data, user_type: String::new() }
    }

    /// The same with a user type, such as `peer_request`.
    #[must_use]
    pub fn with_user_type(mut self, user_type: &str) -> Self {
        user_type.clone_into(&mut self.user_type);
        self
    }

    /// Signs the content for everybody.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] if the provider refuses the key.
    pub fn sign(self, key: &PrivateKey, sequence: u16) -> Result<VerifiedContent, KeyError> {
        SignedContent::make(self, key, sequence, None)
    }

    /// Signs the content for one device; needed before it can be encrypted to that device.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] if the provider refuses the key.
    pub fn sign_for(
        self,
        key: &PrivateKey,
        sequence: u16,
        recipient: DeviceShortId,
    ) -> Result<VerifiedContent, KeyError> {
        SignedContent::make(self, key, sequence, Some(recipient))
    }

    /// The entries every inner map ends with, in their order.
    fn entries(&self) -> Vec<(&'static str, Object)> {
        let mut entries =
            vec![("type", Object::from(u64::from(self.type_number))), ("data", Object::binary(&self.data))];
        if !self.user_type.is_empty() {
            entries.push(("utype", Object::text(&self.user_type)));
        }
        entries
    }

    /// The inner map of an unsigned value.
    pub(crate) fn inner(&self) -> Object {
        Object::map(self.entries())
    }

    fn read(inner: &Object) -> Result<Self, ValueError> {
        let type_number = read_u16(inner, "type")?.ok_or(ValueError::Missing("type"))?;
        let data = inner.get("data").ok_or(ValueError::Missing("data"))?;
        let data = data.as_binary().ok_or(ValueError::WrongType("data"))?.to_vec();
        let user_type = match inner.get("utype") {
            None => "",
            Some(text) => text.as_text().ok_or(ValueError::WrongType("utype"))?,
        };
        if user_type.len() > MAX_USER_TYPE {
            return Err(ValueError::UserTypeTooLong);
        }
        Ok(Self { type_number, data, user_type: user_type.to_owned() })
    }
}

/// Content with a signature that nobody has checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedContent {
    content: Content,
    sequence: u16,
    owner: PublicKey,
    to: Option<DeviceShortId>,
    signature: Vec<u8>,
}

impl SignedContent {
    fn make(
        content: Content,
        key: &PrivateKey,
        sequence: u16,
        to: Option<DeviceShortId>,
    ) -> Result<VerifiedContent, KeyError> {
        let owner = key.public().clone();
        let mut signed = Self { content, sequence, owner, to, signature: Vec::new() };
        signed.signature = key.sign(&signed.to_sign())?;
        Ok(VerifiedContent(signed))
    }

    /// What is said to be signed.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Number of this edition; a greater one replaces a smaller one.
    #[must_use]
    pub fn sequence(&self) -> u16 {
        self.sequence
    }

    /// The key that is said to have signed.
    #[must_use]
    pub fn owner(&self) -> &PublicKey {
        &self.owner
    }

    /// The device the content was signed for, if it was for one.
    #[must_use]
    pub fn to(&self) -> Option<DeviceShortId> {
        self.to
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The bytes under the signature: the inner map in its one order (`spec: dht 3.2`).
    #[must_use]
    pub fn to_sign(&self) -> Vec<u8> {
        self.inner().encode()
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`KeyError::BadSignature`] when it is not the owner's over these bytes.
    pub fn verify(self) -> Result<VerifiedContent, KeyError> {
        self.check()?;
        Ok(VerifiedContent(self))
    }

    /// Checks the signature of a borrowed content.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn check(&self) -> Result<(), KeyError> {
        self.owner.verify(&self.to_sign(), &self.signature)
    }

    fn inner(&self) -> Object {
        let mut entries = vec![
            ("seq", Object::from(u64::from(self.sequence))),
            ("owner", Object::binary(self.owner.der())),
        ];
        if let Some(to) = self.to {
            entries.push(("to", Object::binary(to.as_bytes())));
        }
        entries.extend(self.content.entries());
        Object::map(entries)
    }

    /// The map `{ body, sig }`.
    pub(crate) fn body(&self) -> Object {
        Object::map([("body", self.inner()), ("sig", Object::binary(&self.signature))])
    }
}

/// Content whose signature was made here or has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedContent(SignedContent);

impl VerifiedContent {
    /// The signed content, as it is put unencrypted.
    #[must_use]
    pub fn into_signed(self) -> SignedContent {
        self.0
    }
}

impl std::ops::Deref for VerifiedContent {
    type Target = SignedContent;

    fn deref(&self) -> &SignedContent {
        &self.0
    }
}

/// An unsigned or a signed content, as found in a body map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BodyContent {
    Plain(Content),
    Signed(SignedContent),
}

/// Reads the map `{ body, sig }`. A signature without an owner is dropped, and so are an edition
/// number and a recipient without an owner (`spec: dht 3`).
pub(crate) fn read_body(body: &Object) -> Result<BodyContent, ValueError> {
    let inner = body.get("body").ok_or(ValueError::Missing("body"))?;
    if inner.as_map().is_none() {
        return Err(ValueError::WrongType("body"));
    }
    let content = Content::read(inner)?;
    let Some(owner) = inner.get("owner") else {
        return Ok(BodyContent::Plain(content));
    };
    let owner = owner.as_binary().ok_or(ValueError::WrongType("owner"))?;
    let owner = PublicKey::from_der(owner).map_err(|_| ValueError::Owner)?;
    let sequence = read_u16(inner, "seq")?.ok_or(ValueError::Missing("seq"))?;
    let to = match inner.get("to") {
        None => None,
        Some(to) => {
            let to = to.as_binary().and_then(DeviceShortId::from_bytes);
            to.map(Some).ok_or(ValueError::WrongType("to"))?.filter(|to| to.0 != [0; 20])
        }
    };
    let signature = body.get("sig").ok_or(ValueError::Missing("sig"))?;
    let signature = signature.as_binary().ok_or(ValueError::WrongType("sig"))?.to_vec();
    Ok(BodyContent::Signed(SignedContent { content, sequence, owner, to, signature }))
}

fn read_u16(map: &Object, key: &'static str) -> Result<Option<u16>, ValueError> {
    let Some(number) = map.get(key) else { return Ok(None) };
    let number = number.as_unsigned().and_then(|number| u16::try_from(number).ok());
    number.map(Some).ok_or(ValueError::WrongType(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::golden;
    use crate::dht::value::{Value, ValueId};

    #[test]
    fn a_signature_is_made_as_recorded() {
        // (spec: dht V19)
        let key = golden::throw_away_key();
        assert_eq!(key.public().device_short_id().to_hex(), "2d9bf7a6214acf517f84f11d41704ea15f9997b8");
        let signed = Content::new(0, b"signed data".to_vec()).sign(key, 0).unwrap();
        let (to_sign, signature) = golden::signed_value();
        assert_eq!(signed.to_sign(), to_sign);
        assert_eq!(signed.signature(), signature);

        let mut packed = hex::decode("82a269640aa364617482a4626f6479").unwrap();
        packed.extend(to_sign);
        packed.extend(hex::decode("a3736967c50100").unwrap());
        packed.extend(signature);
        let value = Value::signed(ValueId(10), signed);
        assert_eq!(value.encode(), packed);
        assert_eq!(Value::decode(&packed), Ok(value));
    }

    #[test]
    fn a_signature_covers_every_part() {
        let key = golden::throw_away_key();
        let to = golden::device_b().public().device_short_id();
        let good = Content::new(3, b"data".to_vec())
            .with_user_type("text")
            .sign_for(key, 7, to)
            .unwrap()
            .into_signed();
        assert_eq!(good.check(), Ok(()));
        let changes: [fn(&mut SignedContent); 6] = [
            |signed| signed.content.type_number = 4,
            |signed| signed.content.data.push(0),
            |signed| signed.content.user_type.clear(),
            |signed| signed.sequence = 8,
            |signed| signed.to = None,
            |signed| signed.owner = golden::device_b().public().clone(),
        ];
        for change in changes {
            let mut changed = good.clone();
            change(&mut changed);
            assert_eq!(changed.verify(), Err(KeyError::BadSignature));
        }
    }
}
