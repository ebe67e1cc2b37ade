//! The account archive: everything a new device needs to become one of an account's devices
//! (`spec: identity 4`).
//!
//! Entries that cannot be read are left out, as long as the account key is there; entries of
//! unknown kinds are kept and written again.

use std::collections::BTreeMap;

use aws_lc_rs::aead::NONCE_LEN;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::archive_file::{self, ArchiveFileError, ArchiveKey, ArchiveSecret};
use super::chain::Chain;
use super::ethereum::EthereumKey;
use super::revocation::RevocationList;
use crate::ids::{AccountId, ConversationId};
use crate::keys::{KeyError, PrivateKey};

/// Most contacts, and most conversations, and most requests, read from one archive; more are left
/// out.
pub const MAX_ENTRIES: usize = 100_000;

const ACCOUNT_KEY: &str = "ringAccountKey";
const ACCOUNT_CHAIN: &str = "ringAccountCert";
const CA_KEY: &str = "ringCaKey";
const ETHEREUM_KEY: &str = "ethKey";
const REVOCATION_LIST: &str = "ringAccountCRL";
const CONTACTS: &str = "ringAccountContacts";
const CONVERSATIONS: &str = "conversations";
const CONVERSATION_REQUESTS: &str = "conversationsRequests";

/// Settings of the older releases that hold another device's certificate and private key.
const DEVICE_FILES: [&str; 3] = ["TLS.certificateFile", "TLS.certificateListFile", "TLS.privateKeyFile"];

/// Why an archive cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The file cannot be opened or made.
    #[error(transparent)]
    File(#[from] ArchiveFileError),
    /// What is inside is not a JSON object.
    #[error("this is not an account archive; if it has a password, give it")]
    NotAnArchive,
    /// There is no account key in it.
    #[error("the archive holds no account key")]
    NoAccountKey,
    /// The account key in it is of no use.
    #[error("the account key in the archive is of no use: {0}")]
    AccountKey(KeyError),
}

/// An opened archive.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The key whose short id is the account id.
    pub account_key: PrivateKey,
    /// The account's certificate, then its authority's.
    pub account_chain: Option<Chain>,
    /// The authority's key; absent for accounts managed by an organisation.
    pub ca_key: Option<PrivateKey>,
    /// The key whose address owns a registered name.
    pub ethereum_key: Option<EthereumKey>,
    /// The devices revoked so far.
    pub revocation_list: Option<RevocationList>,
    /// Contact records, as JSON objects with the fields of `spec: contacts 3`.
    pub contacts: BTreeMap<AccountId, Map<String, Value>>,
    /// Conversations, as JSON objects.
    pub conversations: BTreeMap<ConversationId, Map<String, Value>>,
    /// Conversation requests, as JSON objects.
    pub conversation_requests: BTreeMap<ConversationId, Map<String, Value>>,
    /// Account settings by their names in the account details; booleans are `true` and `false`,
    /// numbers decimal.
    pub settings: BTreeMap<String, String>,
    /// Entries of unknown kinds.
    other: BTreeMap<String, Value>,
}

impl Archive {
    /// An archive with the keys of an account and nothing else yet.
    #[must_use]
    pub fn new(account_key: PrivateKey, account_chain: Option<Chain>) -> Self {
        Self {
            account_key,
            account_chain,
            ca_key: None,
            ethereum_key: None,
            revocation_list: None,
            contacts: BTreeMap::new(),
            conversations: BTreeMap::new(),
            conversation_requests: BTreeMap::new(),
            settings: BTreeMap::new(),
            other: BTreeMap::new(),
        }
    }

    /// Opens an archive file. With a password this takes about a second and 64 MiB, so it belongs
    /// on the blocking pool; the key comes back too, to write the file again without that.
    ///
    /// # Errors
    /// [`ArchiveError`] when the secret is wrong, the file is damaged, or no account key is in it.
    pub fn open(file: &[u8], secret: ArchiveSecret<'_>) -> Result<(Self, Option<ArchiveKey>), ArchiveError> {
        let (json, key) = archive_file::unpack(file, secret)?;
        Ok((Self::from_json(&json)?, key))
    }

    /// The bytes of an unprotected archive file.
    ///
    /// # Errors
    /// [`ArchiveError::File`] when it is too long to be compressed.
    pub fn seal_unprotected(&self) -> Result<Vec<u8>, ArchiveError> {
        Ok(archive_file::pack(self.to_json().as_bytes())?)
    }

    /// The bytes of a protected archive file. The nonce (`iv`) is drawn at random by the caller for
    /// every file.
    ///
    /// # Errors
    /// [`ArchiveError::File`] when it is too long to be encrypted.
    pub fn seal(&self, key: &ArchiveKey, nonce: [u8; NONCE_LEN]) -> Result<Vec<u8>, ArchiveError> {
        Ok(archive_file::pack_protected(self.to_json().as_bytes(), key, nonce)?)
    }

    /// The account that the archive is of.
    #[must_use]
    pub fn account_id(&self) -> AccountId {
        self.account_key.public().account_id()
    }

    /// From the JSON text inside of an archive file.
    ///
    /// # Errors
    /// [`ArchiveError`] when it is no JSON object or has no account key.
    pub fn from_json(json: &[u8]) -> Result<Self, ArchiveError> {
        let mut entries: BTreeMap<String, Value> =
            serde_json::from_slice(json).map_err(|_| ArchiveError::NotAnArchive)?;
        let account_key = entries.remove(ACCOUNT_KEY).ok_or(ArchiveError::NoAccountKey)?;
        let mut archive = Self::new(private_key(&account_key).map_err(ArchiveError::AccountKey)?, None);
        for (name, value) in entries {
            archive.read_entry(name, value);
        }
        Ok(archive)
    }

    /// Takes up one entry; what it should be but is not is left out.
    fn read_entry(&mut self, name: String, value: Value) {
        match name.as_str() {
            ACCOUNT_CHAIN => self.account_chain = binary(&value).and_then(|pem| Chain::parse(&pem).ok()),
            CA_KEY => self.ca_key = private_key(&value).ok(),
            ETHEREUM_KEY => {
                self.ethereum_key = binary(&value)
                    .and_then(|bytes| EthereumKey::from_bytes(bytes.as_slice().try_into().ok()?));
            }
            REVOCATION_LIST => {
                self.revocation_list = binary(&value).and_then(|der| RevocationList::from_der(&der).ok());
            }
            CONTACTS => self.contacts = objects(value),
            CONVERSATIONS => self.conversations = objects(value),
            CONVERSATION_REQUESTS => self.conversation_requests = objects(value),
            device_file if DEVICE_FILES.contains(&device_file) => {}
            _ => match value {
                Value::String(setting) => {
                    self.settings.insert(name, setting);
                }
                other => {
                    self.other.insert(name, other);
                }
            },
        }
    }

    /// The same for a device that is being linked over a channel: without contacts and conversations,
    /// which it gets by sync (`spec: identity 6`).
    #[must_use]
    pub fn to_json_for_new_device(&self) -> Zeroizing<String> {
        let nothing = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (contacts, conversations, conversation_requests) = nothing;
        Self { contacts, conversations, conversation_requests, ..self.clone() }.to_json()
    }

    /// The compact JSON text with sorted keys that goes into an archive file.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<String> {
        let mut entries = self.other.clone();
        entries.extend(self.settings.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))));
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                entries.insert(name.to_owned(), value.into());
            }
        };
        add(ACCOUNT_KEY, Some(STANDARD.encode(self.account_key.to_pem().as_bytes())));
        add(ACCOUNT_CHAIN, self.account_chain.as_ref().map(|chain| STANDARD.encode(chain.to_pem())));
        add(CA_KEY, self.ca_key.as_ref().map(|key| STANDARD.encode(key.to_pem().as_bytes())));
        add(ETHEREUM_KEY, self.ethereum_key.as_ref().map(|key| STANDARD.encode(key.as_bytes())));
        add(REVOCATION_LIST, self.revocation_list.as_ref().map(|list| STANDARD.encode(list.der())));
        let mut add = |name: &str, records: Map<String, Value>| {
            if !records.is_empty() {
                entries.insert(name.to_owned(), records.into());
            }
        };
        add(CONTACTS, records(&self.contacts));
        add(CONVERSATIONS, records(&self.conversations));
        add(CONVERSATION_REQUESTS, records(&self.conversation_requests));
        // Texts as keys and JSON values as values cannot fail to be written.
        Zeroizing::new(serde_json::to_string(&entries).unwrap_or_default())
    }
}

/// The bytes of a base64 entry.
fn binary(value: &Value) -> Option<Zeroizing<Vec<u8>>> {
    STANDARD.decode(value.as_str()?).ok().map(Zeroizing::new)
}

fn private_key(value: &Value) -> Result<PrivateKey, KeyError> {
    let pem = binary(value).ok_or(KeyError::Malformed)?;
    PrivateKey::from_pem(std::str::from_utf8(&pem).map_err(|_| KeyError::Malformed)?)
}

/// The records of an entry whose keys are ids; those with other keys, and those that are no
/// objects, are left out.
fn objects<Id: std::str::FromStr + Ord>(value: Value) -> BTreeMap<Id, Map<String, Value>> {
    let Value::Object(entries) = value else { return BTreeMap::new() };
    let readable = entries.into_iter().filter_map(|(id, record)| match record {
        Value::Object(record) => Some((id.parse().ok()?, record)),
        _ => None,
    });
    readable.take(MAX_ENTRIES).collect()
}

fn records<Id: ToString>(records: &BTreeMap<Id, Map<String, Value>>) -> Map<String, Value> {
    records.iter().map(|(id, record)| (id.to_string(), Value::Object(record.clone()))).collect()
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
