//! The revocation lists an account knows: shared by all of its actors, kept on disk.
//!
//! ```text
//!   account: listens at its own key and its contacts' ──┐ values
//!   directory: looks up people's devices ───────────────┴──▶ directory actor ──▶ Revocations ──▶ disk
//!                                                             verified on the pool    │
//!          who may connect, who is there, whose requests are read ◀──── check ────────┘
//! ```
//!
//! The accounts that are *followed* are listened at, and their lists outlive a restart. Of others
//! some are remembered, and asked for again after [`FRESH`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io};

use skep_protocol::dht::value::Value;
use skep_protocol::identity::{
    ChainError, MAX_LISTS_EACH, MAX_REVOCATION_LIST, RevocationList, RevokedDevices, VerifiedChain,
};
use skep_protocol::ids::AccountId;
use skep_protocol::keys::PublicKey;
use skep_protocol::time::UnixMillis;

use crate::storage::{self, snapshot};

/// How long the lists of somebody who is not followed are believed to be all there are: the time
/// that a value lives on the DHT.
const FRESH: Duration = Duration::from_secs(600);

/// Accounts remembered that are not followed; the oldest goes first. Their lists may have
/// 256 KiB each.
const MAX_PASSING: usize = 64;

/// Format of the files.
const VERSION: u8 = 1;

/// Largest file, in bytes: the lists, and some room for the account's key and the lengths.
const MAX_FILE: usize = MAX_LISTS_EACH * MAX_REVOCATION_LIST + 8 * 1024;

/// The revocation lists known to one account. Cheap to clone; clones share their content.
#[derive(Clone, Debug, Default)]
pub struct Revocations(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    followed: BTreeSet<AccountId>,
    accounts: BTreeMap<AccountId, RevokedDevices>,
    /// The accounts of `accounts` that are not followed, and when their lists were asked for.
    passing: VecDeque<(AccountId, UnixMillis)>,
    /// Followed accounts at whose key something was seen before their key was known.
    missed: BTreeSet<AccountId>,
    /// Accounts whose file is not as it should be.
    unsaved: BTreeSet<AccountId>,
}

impl Revocations {
    /// What is on disk of the accounts `followed`; files of others are removed, for nobody would
    /// keep them up to date. A file that cannot be read is removed too: the DHT has what it held.
    ///
    /// # Errors
    /// What the system says.
    pub fn load(folder: &Path, followed: impl IntoIterator<Item = AccountId>) -> io::Result<Self> {
        storage::make_folder(folder)?;
        storage::sweep(folder)?;
        let mut known = Known { followed: followed.into_iter().collect(), ..Known::default() };
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let account = path.file_name().and_then(|name| name.to_str()?.parse::<AccountId>().ok());
            let account = account.filter(|account| known.followed.contains(account));
            let content = match storage::read(&path, MAX_FILE) {
                Err(error) if error.kind() != io::ErrorKind::FileTooLarge => return Err(error),
                content => content.ok().flatten(),
            };
            let devices = content.and_then(|content| decode(&content));
            match account.zip(devices) {
                Some((account, devices)) if devices.key().account_id() == account => {
                    known.accounts.insert(account, devices);
                }
                _ => fs::remove_file(&path)?,
            }
        }
        Ok(Self(Arc::new(Mutex::new(known))))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses the chain of a device that its account has revoked.
    ///
    /// # Errors
    /// [`ChainError::Revoked`].
    pub fn check(&self, chain: &VerifiedChain) -> Result<(), ChainError> {
        self.lock().accounts.get(&chain.account_id()).map_or(Ok(()), |devices| devices.check(chain))
    }

    /// Whether an account has revoked its certificate with this serial number (content bytes).
    #[must_use]
    pub fn names(&self, account: AccountId, serial: &[u8]) -> bool {
        self.lock().accounts.get(&account).is_some_and(|devices| devices.names(serial))
    }

    /// The lists of an account.
    #[must_use]
    pub fn lists(&self, account: AccountId) -> Vec<RevocationList> {
        self.lock().accounts.get(&account).map(|devices| devices.lists().to_vec()).unwrap_or_default()
    }

    /// Notes that what appears at the key of an account is told to the directory from now on.
    pub(crate) fn follow(&self, account: AccountId) {
        let mut known = self.lock();
        if known.followed.insert(account) && known.accounts.contains_key(&account) {
            known.passing.retain(|(other, _)| *other != account);
            known.unsaved.insert(account);
        }
    }

    /// The opposite of [`Self::follow`]; what is known of the account is forgotten.
    pub(crate) fn unfollow(&self, account: AccountId) {
        let mut known = self.lock();
        known.followed.remove(&account);
        known.missed.remove(&account);
        if known.accounts.remove(&account).is_some() {
            known.unsaved.insert(account);
        }
    }

    /// The key of an account, if it is known.
    pub(super) fn key(&self, account: AccountId) -> Option<PublicKey> {
        self.lock().accounts.get(&account).map(|devices| devices.key().clone())
    }

    /// Notes that something was seen at the key of an account which cannot be verified yet.
    pub(super) fn miss(&self, account: AccountId) {
        let mut known = self.lock();
        if known.followed.contains(&account) {
            known.missed.insert(account);
        }
    }

    /// Learns the key of a followed account; whether there may be lists that were
    /// [missed](Self::miss) before.
    pub(crate) fn learn(&self, key: &PublicKey) -> bool {
        let (mut known, account) = (self.lock(), key.account_id());
        if known.followed.contains(&account) {
            known.accounts.entry(account).or_insert_with(|| RevokedDevices::new(key.clone()));
        }
        known.missed.remove(&account)
    }

    /// Whether the lists of an account have to be asked for before it is believed that a device of
    /// it is not revoked.
    pub(super) fn must_ask(&self, account: AccountId, now: UnixMillis) -> bool {
        let known = self.lock();
        let asked = known.passing.iter().find(|(passing, _)| *passing == account);
        let fresh = asked.is_some_and(|(_, at)| now.since(*at) < FRESH);
        !fresh && !known.followed.contains(&account)
    }

    /// Takes lists in that were found at the key of the account with this key. Whether they revoke
    /// anything that was not revoked before.
    pub(super) fn take(&self, key: &PublicKey, lists: Vec<RevocationList>, now: UnixMillis) -> bool {
        let (mut known, account) = (self.lock(), key.account_id());
        let followed = known.followed.contains(&account);
        if !followed {
            known.remember(account, now);
        }
        let devices = known.accounts.entry(account).or_insert_with(|| RevokedDevices::new(key.clone()));
        let mut changed = false;
        for list in lists {
            match devices.offer(list) {
                Ok(news) => changed |= news,
                Err(error) => tracing::debug!(%account, %error, "a revocation list is not taken"),
            }
        }
        if changed && followed {
            known.unsaved.insert(account);
        }
        changed
    }

    /// An account to [write](Self::write) next.
    pub(super) fn next_unsaved(&self) -> Option<AccountId> {
        self.lock().unsaved.pop_first()
    }

    /// Writes what is known of an account, or removes its file if there is nothing to keep. Blocks.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn write(&self, folder: &Path, account: AccountId) -> io::Result<()> {
        let content = {
            let known = self.lock();
            let devices = known.accounts.get(&account).filter(|devices| !devices.lists().is_empty());
            devices.filter(|_| known.followed.contains(&account)).and_then(encode)
        };
        let path = folder.join(account.to_hex());
        content.map_or_else(|| storage::remove(&path), |content| storage::replace(&path, &content))
    }
}

impl Known {
    fn remember(&mut self, account: AccountId, now: UnixMillis) {
        self.passing.retain(|(other, _)| *other != account);
        self.passing.push_back((account, now));
        if self.passing.len() > MAX_PASSING
            && let Some((oldest, _)) = self.passing.pop_front()
        {
            self.accounts.remove(&oldest);
        }
    }
}

/// Writes the revocation list in the archive of a new device of an account. Blocks.
///
/// # Errors
/// What the system says.
pub(crate) fn write_first(folder: &Path, key: &PublicKey, list: &RevocationList) -> io::Result<()> {
    storage::make_folder(folder)?;
    let (revocations, account) = (Revocations::default(), key.account_id());
    revocations.follow(account);
    revocations.take(key, vec![list.clone()], UnixMillis(0));
    revocations.write(folder, account)
}

/// The lists among these values that are signed with this key. For the pool: each costs a signature
/// check, and anybody may put values there.
pub(super) fn signed_lists<'v>(
    values: impl IntoIterator<Item = &'v Value>,
    key: &PublicKey,
) -> Vec<RevocationList> {
    let lists = values.into_iter().filter_map(|value| RevocationList::from_value(value).ok());
    lists.filter(|list| list.is_signed_with(key)).collect()
}

fn encode(devices: &RevokedDevices) -> Option<Vec<u8>> {
    let lists: Vec<Vec<u8>> = devices.lists().iter().map(|list| list.der().to_vec()).collect();
    snapshot::encode(VERSION, &(devices.key().der().to_vec(), lists))
}

fn decode(content: &[u8]) -> Option<RevokedDevices> {
    let (key, lists): (Vec<u8>, Vec<Vec<u8>>) = snapshot::decode(VERSION, content)?;
    let mut devices = RevokedDevices::new(PublicKey::from_der(&key).ok()?);
    for list in lists.into_iter().take(MAX_LISTS_EACH) {
        devices.offer(RevocationList::from_der(&list).ok()?).ok()?;
    }
    Some(devices)
}
