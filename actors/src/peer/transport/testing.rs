//! Devices of recorded accounts, and a time at which their certificates are valid.

use skep_protocol::identity::Chain;
use skep_protocol::ids::DeviceId;
use skep_protocol::keys::PrivateKey;
use skep_protocol::time::UnixMillis;

use super::TlsIdentity;

/// 2026-12-01, a few days after the recordings.
pub(super) const NOW: UnixMillis = UnixMillis::from_seconds(1_796_083_200);

/// Folder of the recordings.
pub(super) const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/vectors");

/// A recorded device.
pub(super) struct Device {
    /// Its certificate and key files, without extension.
    pub(super) files: String,
    pub(super) chain: Chain,
    pub(super) key: PrivateKey,
    pub(super) id: DeviceId,
    pub(super) identity: TlsIdentity,
}

impl Device {
    /// The device of `name`, for example `newest/accounts/alice`.
    pub(super) fn load(name: &str) -> Self {
        let files = format!("{VECTORS}/{name}/ring_device");
        let chain = Chain::parse(&std::fs::read(format!("{files}.crt")).unwrap()).unwrap();
        let key = PrivateKey::from_pem(&std::fs::read_to_string(format!("{files}.key")).unwrap()).unwrap();
        let identity = TlsIdentity::new(&chain, &key).unwrap();
        Self { files, id: chain.leaf().device_id(), chain, key, identity }
    }

    pub(super) fn alice() -> Self {
        Self::load("newest/accounts/alice")
    }

    pub(super) fn bob() -> Self {
        Self::load("newest/accounts/bob")
    }
}
