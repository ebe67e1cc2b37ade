//! People without a past, for scenarios that need many: their keys were made beforehand, for making one
//! takes a second.

use std::fmt::Display;
use std::io::Read as _;
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use flate2::read::GzDecoder;
use skep::{AccountId, LocalAccountId};
use skep_actors::account::identity::AccountFolder;
use skep_protocol::contact::Contact;
use skep_protocol::identity::{AccountKeys, Archive, EthereumKey, IssuedAt, SerialNumber};
use skep_protocol::keys::PrivateKey;
use skep_protocol::time::UnixMillis;

use super::golden::write_account;
use super::{Failure, Result};

/// RSA keys that belong to nobody: quick ones, and ones as long as those of real accounts.
const SHORT: &[u8] = include_bytes!("../../data/keys/rsa-2048.pem.gz");
const LONG: &[u8] = include_bytes!("../../data/keys/rsa-4096.pem.gz");

/// What ends a key there.
const END: &str = "-----END PRIVATE KEY-----\n";

/// A new account with one device.
#[derive(Clone, Debug)]
pub struct Newcomer {
    number: usize,
    name: String,
    long_keys: bool,
}

/// The keys of one.
struct Keys {
    ca: PrivateKey,
    account: PrivateKey,
    device: PrivateKey,
}

impl Newcomer {
    /// How many different ones there can be: two keys each, beside the one that signs all accounts.
    pub const MOST: usize = 32;

    /// How many there can be of those whom a real daemon may meet: three keys each.
    pub const MOST_REAL: usize = 20;

    /// The newcomer of this number, below [`Self::MOST`]; the same number is the same account.
    #[must_use]
    pub fn new(number: usize, name: &str) -> Self {
        Self { number, name: name.to_owned(), long_keys: false }
    }

    /// The newcomer of this number, below [`Self::MOST_REAL`], whose keys are as long as those of real
    /// accounts, and whose certificates nobody else's key has signed.
    #[must_use]
    pub fn real(number: usize, name: &str) -> Self {
        Self { number, name: name.to_owned(), long_keys: true }
    }

    /// Their name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes the account's folder into a data folder.
    ///
    /// # Errors
    /// [`Failure`] when there are no keys for this number, or the folder cannot be written.
    pub fn lay_out(&self, data: &Path) -> Result<()> {
        let unusable = |problem: &dyn Display| self.unusable(problem);
        let keys = self.keys()?;
        let (device, now) = (keys.device.clone(), today());
        let archive = self.make_archive(keys, now)?;
        let serial = self.serial(3);
        let identity = archive.enrol(device, IssuedAt { now, serial });
        let identity = identity.map_err(|error| unusable(&error))?;
        let local = archive.account_id().to_hex().get(..16).unwrap_or_default().parse::<LocalAccountId>();
        let folder = AccountFolder::new(&data.join("accounts"), local.map_err(|error| unusable(&error))?);
        let sealed = archive.seal_unprotected().map_err(|error| unusable(&error))?;
        let receipt = identity.receipt();
        write_account(
            &folder,
            [
                ("archive.gz", sealed.as_slice()),
                ("ring_device.key", identity.key().to_pem().as_bytes()),
                ("ring_device.crt", identity.chain().chain().to_pem().as_bytes()),
                ("receipt", receipt.text.as_bytes()),
                ("receipt.sig", &receipt.signature),
                ("name", self.name.as_bytes()),
            ],
        )
    }

    /// The account as an unprotected archive, from which any implementation opens it.
    ///
    /// # Errors
    /// [`Failure`] when there are no keys for this number.
    pub fn archive(&self) -> Result<Vec<u8>> {
        let archive = self.make_archive(self.keys()?, today())?;
        archive.seal_unprotected().map_err(|error| self.unusable(&error))
    }

    /// The same, with these people as contacts who have agreed to it.
    ///
    /// # Errors
    /// [`Failure`] when there are no keys for this number.
    pub fn archive_knowing(&self, people: &[AccountId]) -> Result<Vec<u8>> {
        let mut archive = self.make_archive(self.keys()?, today())?;
        let contact = Contact { added: today(), confirmed: true, ..Contact::default() };
        archive.contacts = people.iter().map(|person| (*person, contact.to_json())).collect();
        archive.seal_unprotected().map_err(|error| self.unusable(&error))
    }

    fn make_archive(&self, keys: Keys, now: UnixMillis) -> Result<Archive> {
        let ethereum = EthereumKey::from_bytes(&[7; 32]).ok_or_else(|| self.unusable(&"no address"))?;
        let keys = AccountKeys { ca: keys.ca, account: keys.account, ethereum };
        Archive::create(keys, now, [self.serial(1), self.serial(2)]).map_err(|error| self.unusable(&error))
    }

    fn serial(&self, kind: u64) -> SerialNumber {
        SerialNumber::from_random(kind << 32 | (self.number as u64 + 1))
    }

    fn keys(&self) -> Result<Keys> {
        let (all, of_this) = if self.long_keys {
            let first = 3 * self.number;
            (parsed_long(), [first, first + 1, first + 2])
        } else {
            let first = 1 + 2 * self.number;
            (parsed_short(), [0, first, first + 1])
        };
        let all = all.map_err(|problem| self.unusable(&problem))?;
        let key = |index: usize| all.get(index).cloned();
        let [ca, account, device] = of_this.map(key);
        let keys = ca.zip(account).zip(device).map(|((ca, account), device)| Keys { ca, account, device });
        keys.ok_or_else(|| self.unusable(&"there are too few keys"))
    }

    fn unusable(&self, problem: &dyn Display) -> Failure {
        Failure::Golden { name: self.name.clone(), problem: problem.to_string() }
    }
}

type Parsed = std::result::Result<Vec<PrivateKey>, String>;

fn parsed_short() -> std::result::Result<&'static [PrivateKey], &'static str> {
    static KEYS: OnceLock<Parsed> = OnceLock::new();
    KEYS.get_or_init(|| parse(SHORT)).as_deref().map_err(String::as_str)
}

fn parsed_long() -> std::result::Result<&'static [PrivateKey], &'static str> {
    static KEYS: OnceLock<Parsed> = OnceLock::new();
    KEYS.get_or_init(|| parse(LONG)).as_deref().map_err(String::as_str)
}

fn parse(packed: &[u8]) -> Parsed {
    let mut text = String::new();
    GzDecoder::new(packed).read_to_string(&mut text).map_err(|error| error.to_string())?;
    let pems = text.split_inclusive(END).filter(|pem| pem.ends_with(END));
    pems.map(|pem| PrivateKey::from_pem(pem).map_err(|error| error.to_string())).collect()
}

/// A minute ago: certificates are valid from then on.
fn today() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or_default().saturating_sub(60_000))
}
