//! Recorded and fixed data for the tests of this room.

use crate::keys::PrivateKey;
use crate::testing::data;

/// What a client of 2023 sent to register `AliceTest` (`spec: name-server 8, V2`).
pub(super) const RECORDED_BODY: &[u8] = data!("spec/name-server/registration.json");

/// The account that did.
pub(super) const RECORDED_ACCOUNT: &str = "30e629015fcb780a18681348f8b8c4853f01c13f";

/// The key and the signature of that, as they stand in it.
pub(super) fn recorded_fields() -> (String, String) {
    let body: serde_json::Value = serde_json::from_slice(RECORDED_BODY).unwrap();
    let field = |name: &str| body[name].as_str().unwrap().to_owned();
    (field("publickey"), field("signature"))
}

/// The key of an account.
pub(super) fn account_key() -> PrivateKey {
    PrivateKey::from_pem(std::str::from_utf8(data!("spec/identity/account.key")).unwrap()).unwrap()
}

/// The key of another account.
pub(super) fn other_account_key() -> PrivateKey {
    PrivateKey::from_pem(std::str::from_utf8(data!("spec/identity/device.key")).unwrap()).unwrap()
}
