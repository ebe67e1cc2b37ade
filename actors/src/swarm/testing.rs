//! What tests of conversations need: somebody who makes them, with a recorded key.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use skep_protocol::identity::{Archive, ArchiveSecret, Chain, DeviceIdentity, SignedReceipt};
use skep_protocol::keys::PrivateKey;
use skep_protocol::time::UnixMillis;

use super::founder::Founder;

/// Alice, on her device.
pub(super) fn founder() -> Founder {
    let accounts = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/vectors/newest/accounts"));
    let now = UnixMillis(1_795_400_000_000);
    let archive = fs::read(accounts.join("alice-nopassword.gz")).unwrap();
    let (archive, _) = Archive::open(&archive, ArchiveSecret::None).unwrap();
    let key = fs::read_to_string(accounts.join("alice/ring_device.key")).unwrap();
    let key = PrivateKey::from_pem(&key).unwrap();
    let chain = Chain::parse(&fs::read(accounts.join("alice/ring_device.crt")).unwrap()).unwrap();
    let address = archive.ethereum_key.as_ref().unwrap().address();
    let receipt = SignedReceipt::issue(&archive.account_key, key.public(), address).unwrap();
    let identity = DeviceIdentity::load(&chain, key, receipt, &[], now).unwrap();
    Founder { identity: Arc::new(identity), name: "Alice".to_owned(), now }
}
