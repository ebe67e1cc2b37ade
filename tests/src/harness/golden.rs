//! Accounts of real daemons, as test data: archives to import, and folders laid out for a node so
//! that no key has to be made.

use std::fs;
use std::path::{Path, PathBuf};

use skep::LocalAccountId;
use skep_actors::account::identity::AccountFolder;
use skep_actors::storage;
use skep_protocol::identity::{Archive, ArchiveSecret, SignedReceipt};
use skep_protocol::keys::PrivateKey;

use super::{Failure, Result};

/// A picture that somebody shows: a PNG of four by four pixels, each of another colour, in base64.
pub const PICTURE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAAPElEQVR4nAXBIQIAMAQF0J9l2UmWZXknkeVlJ5Fl2Yn2HgCcc9y9qkBEqhoR3Q1mNrP33sxARO69mbm7H7d7E7EHlkVEAAAAAElFTkSuQmCC";

/// A file of the golden vectors.
#[must_use]
pub fn vector(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/data/vectors")).join(path)
}

/// An account that a real daemon made.
#[derive(Clone, Copy, Debug)]
pub struct Golden {
    /// Its archive.
    pub archive: &'static str,
    /// The folder with the certificate and the key of its device.
    pub device: &'static str,
    /// Its display name.
    pub name: &'static str,
    /// The password of the archive, if it has one.
    pub password: Option<&'static str>,
    /// Its Jami id.
    pub id: &'static str,
}

impl Golden {
    /// An account of the newest daemon.
    pub const ALICE: Self = Self {
        archive: "newest/accounts/alice-nopassword.gz",
        device: "newest/accounts/alice",
        name: "Alice",
        password: None,
        id: "b08c67bcb7b83cdffbf33f0f4a68c82095c9790c",
    };

    /// The second device of [`Self::ALICE`].
    pub const ALICE_AGAIN: Self = Self { device: "newest/accounts/alice2", ..Self::ALICE };

    /// An account of the daemon of December 2023, with a password.
    pub const BOB: Self = Self {
        archive: "jami-13.11.0/accounts/bob/archive-password.gz",
        device: "jami-13.11.0/accounts/bob",
        name: "Bob",
        password: Some("correct horse battery"),
        id: "1203b7b36976a45bcb7e760da41f72592a30b1fa",
    };

    /// An account of the daemon of December 2023.
    pub const CAROL: Self = Self {
        archive: "jami-13.11.0/accounts/carol/archive-nopassword.gz",
        device: "jami-13.11.0/accounts/carol",
        name: "Carol",
        password: None,
        id: "dade06a61df98e096ba22727978edf8617779e00",
    };

    /// An account of the daemon of December 2023.
    pub const DAN: Self = Self {
        archive: "jami-13.11.0/accounts/alice/archive-nopassword.gz",
        device: "jami-13.11.0/accounts/alice",
        name: "Dan",
        password: None,
        id: "30650a7101771851966d5951be66a111c198782a",
    };

    /// An account of the newest daemon, with a password.
    pub const DAVE: Self = Self {
        archive: "newest/accounts/bob-password.gz",
        device: "newest/accounts/bob",
        name: "Dave",
        password: Some("lab-password"),
        id: "11eac7c8522415e5294f255daa4284711bd28268",
    };

    /// The bytes of its archive.
    ///
    /// # Errors
    /// [`Failure::File`] when it is not there.
    pub fn archive(&self) -> Result<Vec<u8>> {
        let path = vector(self.archive);
        fs::read(&path).map_err(Failure::file(&path))
    }

    /// Writes the account's folder into a data folder, with the device the daemon had.
    ///
    /// # Errors
    /// [`Failure`] when the vectors are not what they should be, or the folder cannot be written.
    pub fn lay_out(&self, data: &Path) -> Result<()> {
        let id = self.id.get(..16).unwrap_or_default();
        let local: LocalAccountId = id.parse().map_err(|error| self.unusable(&error))?;
        let folder = AccountFolder::new(&data.join("accounts"), local);
        let file = |name: &str| {
            let path = vector(self.device).join(name);
            fs::read_to_string(&path).map_err(Failure::file(&path))
        };
        let (archive, key, chain) = (self.archive()?, file("ring_device.key")?, file("ring_device.crt")?);
        let secret = self.password.map_or(ArchiveSecret::None, ArchiveSecret::Password);
        let (opened, _) = Archive::open(&archive, secret).map_err(|error| self.unusable(&error))?;
        let device = PrivateKey::from_pem(&key).map_err(|error| self.unusable(&error))?;
        let ethereum = opened.ethereum_key.as_ref().ok_or_else(|| self.unusable(&"no address"))?;
        let receipt = SignedReceipt::issue(&opened.account_key, device.public(), ethereum.address());
        let receipt = receipt.map_err(|error| self.unusable(&error))?;
        write_account(
            &folder,
            [
                ("archive.gz", archive.as_slice()),
                ("ring_device.key", key.as_bytes()),
                ("ring_device.crt", chain.as_bytes()),
                ("receipt", receipt.text.as_bytes()),
                ("receipt.sig", &receipt.signature),
                ("name", self.name.as_bytes()),
            ],
        )
    }

    fn unusable(&self, problem: &dyn std::fmt::Display) -> Failure {
        Failure::Golden { name: self.name.to_owned(), problem: problem.to_string() }
    }
}

/// Writes the files that make an account.
pub(super) fn write_account(folder: &AccountFolder, files: [(&str, &[u8]); 6]) -> Result<()> {
    storage::make_folder(folder.path()).map_err(Failure::file(folder.path()))?;
    for (name, content) in files {
        let path = folder.join(name);
        storage::replace(&path, content).map_err(Failure::file(&path))?;
    }
    Ok(())
}
