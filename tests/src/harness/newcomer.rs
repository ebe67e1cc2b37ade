//! People without a past, for scenarios that need many: their keys were made beforehand, for making one
//! takes a second.

use std::io::Read as _;
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use flate2::read::GzDecoder;
use skep::LocalAccountId;
use skep_actors::account::identity::AccountFolder;
use skep_protocol::identity::{AccountKeys, Archive, EthereumKey, IssuedAt, SerialNumber};
use skep_protocol::keys::PrivateKey;
use skep_protocol::time::UnixMillis;

use super::golden::write_account;
use super::{Failure, Result};

/// RSA keys that belong to nobody.
const KEYS: &[u8] = include_bytes!("../../data/keys/rsa-2048.pem.gz");

/// What ends a key there.
const END: &str = "-----END PRIVATE KEY-----\n";

/// A new account with one device.
#[derive(Clone, Debug)]
pub struct Newcomer {
    number: usize,
    name: String,
}

impl Newcomer {
    /// How many different ones there can be: two keys each, beside the one that signs all accounts.
    pub const MOST: usize = 32;

    /// The newcomer of this number, below [`Self::MOST`]; the same number is the same account.
    #[must_use]
    pub fn new(number: usize, name: &str) -> Self {
        Self { number, name: name.to_owned() }
    }

    /// Writes the account's folder into a data folder.
    ///
    /// # Errors
    /// [`Failure`] when there are no keys for this number, or the folder cannot be written.
    pub fn lay_out(&self, data: &Path) -> Result<()> {
        let unusable = |problem: &dyn std::fmt::Display| Failure::Golden {
            name: self.name.clone(),
            problem: problem.to_string(),
        };
        let keys = keys().map_err(|problem| unusable(&problem))?;
        let key = |index: usize| keys.get(index).cloned().ok_or_else(|| unusable(&"there are too few keys"));
        let own = 1 + 2 * self.number;
        let (ca, account, device) = (key(0)?, key(own)?, key(own + 1)?);
        let number = self.number as u64 + 1;
        let serial = |kind: u64| SerialNumber::from_random(kind << 32 | number);
        let ethereum = EthereumKey::from_bytes(&[7; 32]).ok_or_else(|| unusable(&"no address"))?;
        let now = today();
        let archive = Archive::create(AccountKeys { ca, account, ethereum }, now, [serial(1), serial(2)]);
        let archive = archive.map_err(|error| unusable(&error))?;
        let identity = archive.enrol(device, IssuedAt { now, serial: serial(3) });
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
}

fn keys() -> std::result::Result<&'static [PrivateKey], String> {
    static PARSED: OnceLock<std::result::Result<Vec<PrivateKey>, String>> = OnceLock::new();
    let parse = || {
        let mut text = String::new();
        GzDecoder::new(KEYS).read_to_string(&mut text).map_err(|error| error.to_string())?;
        let pems = text.split_inclusive(END).filter(|pem| pem.ends_with(END));
        pems.map(|pem| PrivateKey::from_pem(pem).map_err(|error| error.to_string())).collect()
    };
    match PARSED.get_or_init(parse) {
        Ok(keys) => Ok(keys),
        Err(problem) => Err(problem.clone()),
    }
}

/// A minute ago: certificates are valid from then on.
fn today() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or_default().saturating_sub(60_000))
}
