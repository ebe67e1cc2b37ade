//! An account's keys and certificates on disk: made, imported, loaded, exported.
//!
//! Everything in this module that starts with a verb blocks or makes RSA keys; it runs on the
//! blocking pool. A new account's folder is filled under another name and renamed when it is whole,
//! and that of an account to be removed is renamed before it is emptied, so a crash leaves no half
//! account. [`sweep`] erases what it does leave.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use skep_protocol::identity::{
    AccountKeys, Archive, ArchiveError, ArchiveFileError, ArchiveKey, ArchiveSecret, Chain, DeviceIdentity,
    EnrolError, EthereumKey, IssuedAt, RevocationList, SerialNumber, SignedReceipt,
};
use skep_protocol::ids::LocalAccountId;
use skep_protocol::keys::PrivateKey;
use skep_protocol::time::UnixMillis;

use super::messages::{AccountError, Password};
use super::state::{self, Dirty, State};
use crate::blocking::{BlockingPool, Lane, Share};
use crate::directory::write_first;
use crate::storage;
use crate::supervision::Environment;

/// Largest file read here, in bytes; certificates and receipts have a few kilobytes, archives with
/// thousands of contacts some hundred.
const MAX_FILE: usize = 16 * 1024 * 1024;

const KEY: &str = "ring_device.key";
const CHAIN: &str = "ring_device.crt";
const RECEIPT: &str = "receipt";
const RECEIPT_SIGNATURE: &str = "receipt.sig";

/// Folder of the revocation lists of this account and of its contacts.
pub(super) const REVOCATIONS: &str = "revocations";

/// Ending of the folder of an account that is being made.
const UNFINISHED: &str = "new";

/// Ending of the folder of an account that was removed.
const REMOVED: &str = "removed";

/// Setting that holds the display name.
const DISPLAY_NAME: &str = "Account.displayName";

/// How far the making of an account is, for those who watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// The account is looked for on the DHT.
    Searching,
    /// RSA keys are being made: how many are done of how many.
    Keys {
        /// Done.
        done: usize,
        /// Needed.
        of: usize,
    },
    /// Certificates are being issued and files written.
    Writing,
}

/// Told each [`Stage`]; called from pool threads.
pub type Progress = Arc<dyn Fn(Stage) + Send + Sync>;

/// The files of one account.
#[derive(Clone, Debug)]
pub struct AccountFolder(PathBuf);

impl AccountFolder {
    /// The account's folder below the node's folder of accounts.
    #[must_use]
    pub fn new(accounts: &Path, local: LocalAccountId) -> Self {
        Self(accounts.join(local.to_hex()))
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A file or folder in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn archive(&self) -> PathBuf {
        self.join("archive.gz")
    }
}

/// The accounts that have a folder, in order.
///
/// # Errors
/// [`AccountError::Storage`] when the folder cannot be read.
pub fn list(accounts: &Path) -> Result<Vec<LocalAccountId>, AccountError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(accounts).map_err(storage_error)? {
        let name = entry.map_err(storage_error)?.file_name();
        found.extend(name.to_str().and_then(|name| name.parse::<LocalAccountId>().ok()));
    }
    found.sort();
    Ok(found)
}

/// Erases what a crash left of accounts that were being made or removed. Nothing may be at work on
/// these accounts.
///
/// # Errors
/// [`AccountError::Storage`] when something cannot be erased.
pub fn sweep(accounts: &Path) -> Result<(), AccountError> {
    for entry in fs::read_dir(accounts).map_err(storage_error)? {
        let path = entry.map_err(storage_error)?.path();
        let is_account = path.file_stem().and_then(|name| name.to_str()?.parse::<LocalAccountId>().ok());
        let ending = path.extension().and_then(|ending| ending.to_str());
        if is_account.is_some() && matches!(ending, Some(UNFINISHED | REMOVED)) {
            fs::remove_dir_all(&path).map_err(storage_error)?;
        }
    }
    Ok(())
}

/// Removes an account for good: after a crash at any instant it is there whole, or gone. No actor of
/// the account may run.
///
/// # Errors
/// [`AccountError::Storage`] when it could not be removed; it is there whole then.
pub fn remove(folder: &AccountFolder) -> Result<(), AccountError> {
    let away = folder.path().with_extension(REMOVED);
    let force = || away.parent().map_or(Ok(()), storage::force_folder);
    fs::rename(folder.path(), &away).and_then(|()| force()).map_err(storage_error)?;
    // The account is gone; what cannot be erased now is at the next start.
    if let Err(error) = fs::remove_dir_all(&away).and_then(|()| force()) {
        tracing::error!(folder = %away.display(), %error, "the files of a removed account are still on disk");
    }
    Ok(())
}

/// Loads the identity and checks that its parts belong together (`spec: identity 2.1, 3`). Whether
/// the device was revoked is for the account to ask: one that was has no use for others, but what it
/// holds can still be read.
///
/// # Errors
/// [`AccountError::Archive`] says which part is unusable.
pub fn load(folder: &AccountFolder, now: UnixMillis) -> Result<DeviceIdentity, AccountError> {
    let key =
        PrivateKey::from_pem(&read_text(folder, KEY)?).map_err(|error| unusable("device key", &error))?;
    let chain =
        Chain::parse(&read(&folder.join(CHAIN))?).map_err(|error| unusable("device certificate", &error))?;
    let receipt = SignedReceipt {
        text: read_text(folder, RECEIPT)?,
        signature: read(&folder.join(RECEIPT_SIGNATURE))?,
    };
    DeviceIdentity::load(&chain, key, receipt, &[], now).map_err(|error| unusable("identity", &error))
}

/// Whether the archive has a password.
///
/// # Errors
/// [`AccountError::Storage`] when it cannot be read.
pub fn is_protected(folder: &AccountFolder) -> Result<bool, AccountError> {
    // An unprotected archive is plain gzip.
    Ok(!read(&folder.archive())?.starts_with(&[0x1f, 0x8b]))
}

/// Makes a new account: three RSA keys, certificates, archive and receipt.
///
/// # Errors
/// [`AccountError`] when the disk refuses or the node is too busy.
pub async fn create(
    accounts: &Path,
    name: &str,
    password: Option<Password>,
    environment: &Environment,
    pool: &BlockingPool,
    progress: Progress,
) -> Result<LocalAccountId, AccountError> {
    let local = LocalAccountId(environment.random_u64().to_be_bytes());
    let [ca, account, device] = make_keys(pool, local, progress.clone()).await?;
    let draft = Draft::draw(accounts, local, environment, device);
    let keys = AccountKeys { ca, account, ethereum: ethereum_key(environment)? };
    let name = name.to_owned();
    let work = move || {
        progress(Stage::Writing);
        let [ca, account, _] = draft.serials;
        let archive = Archive::create(keys, draft.now, [ca, account]);
        let mut archive = archive.map_err(|error| unusable("new account", &error))?;
        set_display_name(&mut archive, &name);
        let key = password.map(|password| stretch(&password, draft.salt)).transpose()?;
        draft.write(archive, key.as_ref())
    };
    pool.run(share(local), Lane::Bulk, work).await??;
    Ok(local)
}

/// Makes a device of the account in an archive: the archive's password stays the archive's.
///
/// # Errors
/// [`AccountError::WrongPassword`] or [`AccountError::Archive`] when it cannot be used, others when
/// the disk refuses or the node is too busy.
pub async fn import(
    accounts: &Path,
    file: Vec<u8>,
    password: Option<Password>,
    environment: &Environment,
    pool: &BlockingPool,
    progress: Progress,
) -> Result<LocalAccountId, AccountError> {
    let local = LocalAccountId(environment.random_u64().to_be_bytes());
    let open = move || open_archive(&file, password.as_ref());
    // Opened before the key is made: a wrong password is told at once.
    let (archive, key) = pool.run(share(local), Lane::Bulk, open).await??;
    let [device] = make_keys(pool, local, progress.clone()).await?;
    let draft = Draft::draw(accounts, local, environment, device);
    let work = move || {
        progress(Stage::Writing);
        draft.write(archive, key.as_ref())
    };
    pool.run(share(local), Lane::Bulk, work).await??;
    Ok(local)
}

/// Makes a device of the account in an archive that came from another device and is open. Here it is kept
/// under `password`, or unprotected.
///
/// # Errors
/// [`AccountError`] when the archive cannot be used, the disk refuses or the node is too busy.
pub async fn add_device(
    accounts: &Path,
    archive: Archive,
    password: Option<Password>,
    environment: &Environment,
    pool: &BlockingPool,
    progress: Progress,
) -> Result<LocalAccountId, AccountError> {
    let local = LocalAccountId(environment.random_u64().to_be_bytes());
    let [device] = make_keys(pool, local, progress.clone()).await?;
    let draft = Draft::draw(accounts, local, environment, device);
    let work = move || {
        progress(Stage::Writing);
        let key = password.map(|password| stretch(&password, draft.salt)).transpose()?;
        draft.write(archive, key.as_ref())
    };
    pool.run(share(local), Lane::Bulk, work).await??;
    Ok(local)
}

/// A device of nobody's account, by which this node is found until one lets it in.
pub(crate) struct TemporaryDevice {
    pub(crate) identity: DeviceIdentity,
    /// For what its links keep. It has the name of an account that is being made, so that it is gone after a
    /// crash.
    pub(crate) folder: PathBuf,
}

/// Makes a temporary device, with certificates as those of every device.
///
/// # Errors
/// [`AccountError`] when the disk refuses or the node is too busy.
pub(crate) async fn make_temporary_device(
    accounts: &Path,
    environment: &Environment,
    pool: &BlockingPool,
) -> Result<TemporaryDevice, AccountError> {
    let local = LocalAccountId(environment.random_u64().to_be_bytes());
    let [ca, account, device] = make_keys(pool, local, Arc::new(|_| ())).await?;
    let draft = Draft::draw(accounts, local, environment, device);
    let keys = AccountKeys { ca, account, ethereum: ethereum_key(environment)? };
    let work = move || {
        let [ca, account, device] = draft.serials;
        let failed = |error: EnrolError| unusable("temporary device", &error);
        let archive = Archive::create(keys, draft.now, [ca, account]).map_err(failed)?;
        let at = IssuedAt { now: draft.now, serial: device };
        let identity = archive.enrol(draft.device_key, at).map_err(failed)?;
        let folder = draft.folder.0.with_extension(UNFINISHED);
        storage::make_folder(&folder.join("certificates")).map_err(storage_error)?;
        Ok::<_, AccountError>(TemporaryDevice { identity, folder })
    };
    pool.run(share(local), Lane::Bulk, work).await?
}

/// The archive on disk, opened.
///
/// # Errors
/// [`AccountError::WrongPassword`] or [`AccountError::Archive`].
pub fn read_archive(
    folder: &AccountFolder,
    password: Option<&Password>,
) -> Result<(Archive, Option<ArchiveKey>), AccountError> {
    open_archive(&read(&folder.archive())?, password)
}

/// Writes the archive durably, under `key` or unprotected.
///
/// # Errors
/// [`AccountError::Storage`] when the disk refuses.
pub fn write_archive(
    folder: &AccountFolder,
    archive: &Archive,
    key: Option<&ArchiveKey>,
    nonce: [u8; 12],
) -> Result<Vec<u8>, AccountError> {
    let file = seal(archive, key, nonce)?;
    storage::replace(&folder.archive(), &file).map_err(storage_error)?;
    Ok(file)
}

/// Rewrites the archive for another password, or for none. The salt stays (`spec: identity 4.2`).
///
/// # Errors
/// [`AccountError::WrongPassword`] when `old` is wrong; nothing is changed then.
pub fn change_password(
    folder: &AccountFolder,
    old: Option<&Password>,
    new: Option<&Password>,
    salt: [u8; 16],
    nonce: [u8; 12],
) -> Result<(), AccountError> {
    let (archive, old_key) = read_archive(folder, old)?;
    let salt = old_key.map_or(salt, |key| key.salt());
    let key = new.map(|new| stretch(new, salt)).transpose()?;
    write_archive(folder, &archive, key.as_ref(), nonce).map(drop)
}

/// The name shown to others, as the archive's settings have it.
#[must_use]
pub fn display_name(archive: &Archive) -> &str {
    archive.settings.get(DISPLAY_NAME).map_or("", String::as_str)
}

/// Sets the name shown to others.
pub fn set_display_name(archive: &mut Archive, name: &str) {
    archive.settings.insert(DISPLAY_NAME.to_owned(), name.to_owned());
}

/// Puts into an archive what was learnt since of the devices revoked: the longest list that has all
/// that the archive's own has.
pub(super) fn set_revocations(archive: &mut Archive, lists: Vec<RevocationList>) {
    let continues = |list: &RevocationList| match &archive.revocation_list {
        Some(present) => present.serials().all(|serial| list.names(serial)),
        None => true,
    };
    let longest = lists.into_iter().filter(continues).max_by_key(RevocationList::len);
    if let Some(list) =
        longest.filter(|list| archive.revocation_list.as_ref().is_none_or(|it| it.len() < list.len()))
    {
        archive.revocation_list = Some(list);
    }
}

/// An account about to be written.
struct Draft {
    folder: AccountFolder,
    now: UnixMillis,
    device_key: PrivateKey,
    serials: [SerialNumber; 3],
    salt: [u8; 16],
    nonce: [u8; 12],
}

impl Draft {
    fn draw(
        accounts: &Path,
        local: LocalAccountId,
        environment: &Environment,
        device_key: PrivateKey,
    ) -> Self {
        let (mut salt, mut nonce) = ([0; 16], [0; 12]);
        environment.fill_random(&mut salt);
        environment.fill_random(&mut nonce);
        Self {
            folder: AccountFolder::new(accounts, local),
            now: environment.wall(),
            device_key,
            serials: [(); 3].map(|()| SerialNumber::from_random(environment.random_u64())),
            salt,
            nonce,
        }
    }

    fn write(self, mut archive: Archive, key: Option<&ArchiveKey>) -> Result<(), AccountError> {
        let [ca, account, device] = self.serials;
        let at = IssuedAt { now: self.now, serial: device };
        let mut enrolled = archive.enrol(self.device_key.clone(), at);
        if matches!(enrolled, Err(EnrolError::NeedsRenewal)) {
            archive
                .renew(self.now, [ca, account])
                .map_err(|error| unusable("account certificate", &error))?;
            enrolled = archive.enrol(self.device_key, at);
        }
        let identity = enrolled.map_err(|error| unusable("archive", &error))?;
        let partial = AccountFolder(self.folder.0.with_extension(UNFINISHED));
        let receipt = identity.receipt();
        let write = || {
            storage::make_folder(partial.path())?;
            storage::replace(&partial.join(KEY), identity.key().to_pem().as_bytes())?;
            storage::replace(&partial.join(CHAIN), identity.chain().chain().to_pem().as_bytes())?;
            storage::replace(&partial.join(RECEIPT), receipt.text.as_bytes())?;
            storage::replace(&partial.join(RECEIPT_SIGNATURE), &receipt.signature)
        };
        write().map_err(storage_error)?;
        if let Some(list) = &archive.revocation_list {
            let key = archive.account_key.public();
            write_first(&partial.join(REVOCATIONS), key, list).map_err(storage_error)?;
        }
        write_archive(&partial, &archive, key, self.nonce)?;
        let state = State::from_archive(&archive, display_name(&archive));
        state::write(&partial, &state.files(Dirty::ALL)).map_err(storage_error)?;
        fs::rename(partial.path(), self.folder.path()).map_err(storage_error)?;
        self.folder.path().parent().map_or(Ok(()), storage::force_folder).map_err(storage_error)
    }
}

/// Makes RSA-4096 keys on the pool, as many at once as it allows.
async fn make_keys<const COUNT: usize>(
    pool: &BlockingPool,
    local: LocalAccountId,
    progress: Progress,
) -> Result<[PrivateKey; COUNT], AccountError> {
    use futures::stream::{FuturesUnordered, TryStreamExt as _};

    progress(Stage::Keys { done: 0, of: COUNT });
    let mut jobs: FuturesUnordered<_> =
        (0..COUNT).map(|_| pool.run(share(local), Lane::Bulk, make_key)).collect();
    let mut keys = Vec::with_capacity(COUNT);
    while let Some(key) = jobs.try_next().await? {
        keys.push(key?);
        progress(Stage::Keys { done: keys.len(), of: COUNT });
    }
    keys.try_into().map_err(|_| AccountError::Busy("a key was not made".to_owned()))
}

fn make_key() -> Result<PrivateKey, AccountError> {
    let failed = |_| AccountError::Archive("the crypto provider could not make an RSA key".to_owned());
    let pair = KeyPair::generate(KeySize::Rsa4096).map_err(failed)?;
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
    PrivateKey::from_pkcs8(der.as_ref()).map_err(|error| unusable("new key", &error))
}

fn ethereum_key(environment: &Environment) -> Result<EthereumKey, AccountError> {
    let mut secret = [0; 32];
    environment.fill_random(&mut secret);
    // All but about one of 2^128 numbers are keys.
    EthereumKey::from_bytes(&secret)
        .ok_or_else(|| AccountError::Busy("a key could not be drawn; try again".to_owned()))
}

fn open_archive(
    file: &[u8],
    password: Option<&Password>,
) -> Result<(Archive, Option<ArchiveKey>), AccountError> {
    let secret = password.map_or(ArchiveSecret::None, |password| ArchiveSecret::Password(&password.0));
    Archive::open(file, secret).map_err(|error| match error {
        ArchiveError::File(ArchiveFileError::DoesNotOpen) => AccountError::WrongPassword,
        error => AccountError::Archive(error.to_string()),
    })
}

fn seal(archive: &Archive, key: Option<&ArchiveKey>, nonce: [u8; 12]) -> Result<Vec<u8>, AccountError> {
    match key {
        Some(key) => archive.seal(key, nonce),
        None => archive.seal_unprotected(),
    }
    .map_err(|error| AccountError::Archive(error.to_string()))
}

fn stretch(password: &Password, salt: [u8; 16]) -> Result<ArchiveKey, AccountError> {
    ArchiveKey::from_password(&password.0, salt).map_err(|error| AccountError::Archive(error.to_string()))
}

fn read(path: &Path) -> Result<Vec<u8>, AccountError> {
    let missing = || AccountError::Storage(format!("{} is missing", path.display()));
    storage::read(path, MAX_FILE).map_err(storage_error)?.ok_or_else(missing)
}

fn read_text(folder: &AccountFolder, name: &str) -> Result<String, AccountError> {
    String::from_utf8(read(&folder.join(name))?).map_err(|error| unusable(name, &error))
}

fn share(local: LocalAccountId) -> Share {
    Share(u64::from_be_bytes(local.0))
}

fn unusable(what: &str, error: &dyn fmt::Display) -> AccountError {
    AccountError::Archive(format!("the {what} is unusable: {error}"))
}

pub(super) fn storage_error(error: std::io::Error) -> AccountError {
    AccountError::Storage(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> (tempfile::TempDir, AccountFolder, AccountFolder) {
        let place = tempfile::tempdir().unwrap();
        let [one, other] = [1, 2].map(|number| AccountFolder::new(place.path(), LocalAccountId([number; 8])));
        for folder in [&one, &other] {
            storage::make_folder(&folder.join("conversations")).unwrap();
            storage::replace(&folder.join(KEY), b"key").unwrap();
        }
        (place, one, other)
    }

    fn names(place: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(place)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_removed_account_leaves_nothing_and_others_stay() {
        let (place, one, other) = accounts();
        remove(&one).unwrap();
        assert_eq!(names(place.path()), ["0202020202020202"]);
        assert!(other.join(KEY).exists());
        assert!(matches!(remove(&one), Err(AccountError::Storage(_))));
    }

    #[test]
    fn what_a_crash_left_is_no_account_and_is_swept_away() {
        let (place, one, other) = accounts();
        // Killed after the folder was renamed, and in the middle of making another account.
        fs::rename(one.path(), one.path().with_extension(REMOVED)).unwrap();
        let third = AccountFolder::new(place.path(), LocalAccountId([3; 8]));
        storage::make_folder(&third.path().with_extension(UNFINISHED)).unwrap();
        storage::make_folder(&place.path().join("of the owner.removed")).unwrap();
        assert_eq!(list(place.path()).unwrap(), [LocalAccountId([2; 8])]);
        sweep(place.path()).unwrap();
        assert_eq!(names(place.path()), ["0202020202020202", "of the owner.removed"]);
        assert!(other.join(KEY).exists());
    }

    #[test]
    fn an_account_whose_folder_cannot_be_renamed_is_there_whole() {
        let (place, one, _) = accounts();
        // Something of the same name is in the way.
        storage::make_folder(&one.path().with_extension(REMOVED).join("conversations")).unwrap();
        assert!(matches!(remove(&one), Err(AccountError::Storage(_))));
        assert!(one.join(KEY).exists());
        sweep(place.path()).unwrap();
        remove(&one).unwrap();
    }
}
