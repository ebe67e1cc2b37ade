//! Sixty people with keys that were made beforehand: of 4096 bits for their devices, which sign every
//! commit.

use std::io::Read as _;

use flate2::read::GzDecoder;
use skep_protocol::identity::{AccountKeys, Archive, EthereumKey, IssuedAt, SerialNumber};
use skep_protocol::ids::AccountId;
use skep_protocol::keys::PrivateKey;
use skep_protocol::swarm::create::LocalDevice;
use skep_protocol::time::UnixMillis;

use crate::history::Author;
use crate::{BenchError, Result};

/// People there are.
pub(super) const PEOPLE: usize = 60;

/// Keys of devices.
const DEVICES: &[u8] = include_bytes!("../../../tests/data/keys/rsa-4096.pem.gz");

/// Keys of the authority that signs all accounts, and of the accounts.
const ACCOUNTS: &[u8] = include_bytes!("../../../tests/data/keys/rsa-2048.pem.gz");

/// What ends a key there.
const END: &str = "-----END PRIVATE KEY-----\n";

/// Somebody with one device.
#[derive(Debug)]
pub(super) struct Person {
    /// The device.
    pub(super) author: Author,
    /// The account, to be imported by a node.
    pub(super) archive: Archive,
}

impl Person {
    pub(super) fn account(&self) -> AccountId {
        self.archive.account_id()
    }
}

/// All of them, with certificates of this time; the same each time.
pub(super) fn people(issued: UnixMillis) -> Result<Vec<Person>> {
    let accounts = keys(ACCOUNTS)?;
    let (ca, accounts) = accounts.split_first().ok_or_else(|| missing("of accounts"))?;
    let devices = keys(DEVICES)?;
    let people: Vec<Person> = accounts
        .iter()
        .zip(devices)
        .take(PEOPLE)
        .enumerate()
        .map(|(number, (account, device))| person(number, ca, account, device, issued))
        .collect::<Result<_>>()?;
    if people.len() < PEOPLE { Err(missing("of devices")) } else { Ok(people) }
}

fn person(
    number: usize,
    ca: &PrivateKey,
    account: &PrivateKey,
    device: PrivateKey,
    issued: UnixMillis,
) -> Result<Person> {
    let ethereum = EthereumKey::from_bytes(&[7; 32]).ok_or_else(|| missing("of names"))?;
    let keys = AccountKeys { ca: ca.clone(), account: account.clone(), ethereum };
    let serial = |kind: u64| SerialNumber::from_random((kind << 32) + number as u64 + 1);
    let archive = Archive::create(keys, issued, [serial(1), serial(2)]).map_err(BenchError::conversation)?;
    let at = IssuedAt { now: issued, serial: serial(3) };
    let identity = archive.enrol(device, at).map_err(BenchError::conversation)?;
    let local = LocalDevice::new(identity.chain().chain(), &format!("Member {number}"));
    let local = local.map_err(BenchError::conversation)?;
    Ok(Person { author: Author::new(local, identity.key().clone()), archive })
}

fn keys(packed: &[u8]) -> Result<Vec<PrivateKey>> {
    let mut text = String::new();
    GzDecoder::new(packed).read_to_string(&mut text).map_err(BenchError::conversation)?;
    text.split_inclusive(END).map(|pem| PrivateKey::from_pem(pem).map_err(BenchError::conversation)).collect()
}

fn missing(what: &str) -> BenchError {
    BenchError::conversation(std::io::Error::other(format!("there are too few keys {what}")))
}
