//! Recorded accounts for tests, so that none has to make a key.

use std::fs;
use std::path::{Path, PathBuf};

use skep_protocol::identity::{Archive, ArchiveSecret, Chain, DeviceIdentity, SignedReceipt};
use skep_protocol::keys::PrivateKey;
use skep_protocol::time::UnixMillis;

/// When the recorded certificates are valid.
pub(crate) const NOW: UnixMillis = UnixMillis(1_795_400_000_000);

/// A recorded account, and one of its devices.
pub(crate) struct Recorded {
    /// The archive as it was written, which has no password.
    pub(crate) archive: Vec<u8>,
    /// Where what the device keeps is.
    pub(crate) folder: PathBuf,
}

impl Recorded {
    /// That of this name, as a daemon of this version wrote it.
    pub(crate) fn new(version: &str, name: &str) -> Self {
        let data = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/vectors")).join(version);
        let accounts = data.join("accounts");
        let archive = [format!("{name}-nopassword.gz"), format!("{name}/archive-nopassword.gz")]
            .into_iter()
            .find_map(|file| fs::read(accounts.join(file)).ok())
            .unwrap();
        Self { archive, folder: accounts.join(name) }
    }

    /// What is in the archive.
    pub(crate) fn open(&self) -> Archive {
        Archive::open(&self.archive, ArchiveSecret::None).unwrap().0
    }

    /// The device's key as its file holds it.
    pub(crate) fn key_file(&self) -> String {
        fs::read_to_string(self.folder.join("ring_device.key")).unwrap()
    }

    /// The device's certificates as their file holds them.
    pub(crate) fn chain_file(&self) -> Vec<u8> {
        fs::read(self.folder.join("ring_device.crt")).unwrap()
    }

    pub(crate) fn chain(&self) -> Chain {
        Chain::parse(&self.chain_file()).unwrap()
    }

    /// A receipt as the account would give it to the device.
    pub(crate) fn receipt(&self) -> SignedReceipt {
        let (archive, key) = (self.open(), PrivateKey::from_pem(&self.key_file()).unwrap());
        let address = archive.ethereum_key.as_ref().unwrap().address();
        SignedReceipt::issue(&archive.account_key, key.public(), address).unwrap()
    }

    /// The device, ready to act.
    pub(crate) fn identity(&self) -> DeviceIdentity {
        let key = PrivateKey::from_pem(&self.key_file()).unwrap();
        DeviceIdentity::load(&self.chain(), key, self.receipt(), &[], NOW).unwrap()
    }
}
