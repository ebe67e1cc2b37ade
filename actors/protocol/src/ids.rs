//! Identifiers as types, so that a device id is never taken for an account id.
//!
//! All of them are digests shown as lower-case hexadecimal (`spec: identity 1`). Parsing accepts
//! either case and nothing but the exact number of digits.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;

/// A text that is not the identifier it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {digits} hexadecimal digits, got {got:?}")]
pub struct IdError {
    /// Which identifier was expected.
    pub what: &'static str,
    /// How many digits it has.
    pub digits: usize,
    /// The beginning of the offending text.
    pub got: String,
}

/// Longest piece of an offending text repeated in an error, in characters.
const ERROR_EXCERPT: usize = 80;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $length:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $length]);

        impl $name {
            /// Length in bytes.
            pub const LENGTH: usize = $length;

            /// From raw bytes, if there are exactly as many as needed.
            #[must_use]
            pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }

            /// Lower-case hexadecimal text.
            #[must_use]
            pub fn to_hex(&self) -> String {
                hex::encode(self.0)
            }

            /// The first ten digits, for logs and tables.
            #[must_use]
            pub fn short(&self) -> String {
                hex::encode(&self.0[..5])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), self.to_hex())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut bytes = [0; $length];
                match hex::decode_to_slice(text, &mut bytes) {
                    Ok(()) => Ok(Self(bytes)),
                    Err(_) => Err(IdError {
                        what: $what,
                        digits: $length * 2,
                        got: text.chars().take(ERROR_EXCERPT).collect(),
                    }),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// Jami id of a person: the short id of the account key. Also the DHT key of the account.
    AccountId, 20, "an account id"
);
id!(
    /// Device id: the long id of the device key.
    DeviceId, 32, "a device id"
);
id!(
    /// Short id of a device key; recipient of encrypted DHT values and part of older keys.
    DeviceShortId, 20, "a short device id"
);
id!(
    /// A key of the DHT.
    DhtKey, 20, "a DHT key"
);
id!(
    /// Id of a node of OpenDHT: a place among the keys, which are 20 bytes too.
    NodeId, 20, "a DHT node id"
);
id!(
    /// Id of a conversation: the id of its first commit.
    ConversationId, 20, "a conversation id"
);
id!(
    /// Id of a git object of any kind.
    ObjectId, 20, "an object id"
);
id!(
    /// Id of a git object that is a commit.
    CommitId, 20, "a commit id"
);
id!(
    /// Id of a git object that is a tree.
    TreeId, 20, "a tree id"
);
id!(
    /// Id of a git object that is a blob.
    BlobId, 20, "a blob id"
);
id!(
    /// Id of the person-local folder of an account: 16 hexadecimal digits.
    LocalAccountId, 8, "a local account name"
);

impl AccountId {
    /// Parses what people type: a bare id, or one behind `jami:` or `ring:`; only the first 40
    /// characters after the prefix count (`spec: identity 1`).
    ///
    /// # Errors
    /// When those characters are not 40 hexadecimal digits.
    pub fn from_uri(text: &str) -> Result<Self, IdError> {
        let text = text.trim();
        let bare = text.strip_prefix("jami:").or_else(|| text.strip_prefix("ring:")).unwrap_or(text);
        bare.get(..40).unwrap_or(bare).parse()
    }

    /// The DHT key at which the account's devices announce themselves.
    #[must_use]
    pub const fn dht_key(&self) -> DhtKey {
        DhtKey(self.0)
    }
}

macro_rules! object {
    ($($name:ident),*) => {$(
        impl From<$name> for ObjectId {
            fn from(id: $name) -> Self {
                Self(id.0)
            }
        }
    )*};
}

object!(CommitId, TreeId, BlobId);

impl ConversationId {
    /// The conversation whose first commit this is.
    #[must_use]
    pub const fn from_initial_commit(commit: CommitId) -> Self {
        Self(commit.0)
    }

    /// The first commit of this conversation.
    #[must_use]
    pub const fn initial_commit(self) -> CommitId {
        CommitId(self.0)
    }
}

/// SHA-1 of `bytes`, for identifiers and DHT keys.
#[must_use]
pub fn sha1(bytes: &[u8]) -> [u8; 20] {
    let mut out = [0; 20];
    out.copy_from_slice(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref());
    out
}

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text() {
        let id: AccountId = "80eeb21d7e704d9da4e4a51d01a686f5587a9127".parse().unwrap();
        assert_eq!(id.to_string().parse::<AccountId>().unwrap(), id);
        assert_eq!(serde_json::from_str::<AccountId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
    }

    #[test]
    fn an_account_uri_may_have_a_prefix_and_a_tail() {
        let bare = "80eeb21d7e704d9da4e4a51d01a686f5587a9127";
        for text in
            [bare.to_owned(), format!("jami:{bare}"), format!("ring:{bare}@ring.dht"), format!(" {bare}\n")]
        {
            assert_eq!(AccountId::from_uri(&text).unwrap().to_hex(), bare, "{text:?}");
        }
    }

    #[test]
    fn wrong_ids_are_refused_with_a_short_excerpt() {
        for text in ["", "jami:", "80eeb2", "é0eeb21d7e704d9da4e4a51d01a686f5587a912", &"g".repeat(40)] {
            assert!(AccountId::from_uri(text).is_err(), "{text:?}");
        }
        let error = "x".repeat(100_000).parse::<DeviceId>().unwrap_err();
        assert!(error.to_string().len() < 200);
    }
}
