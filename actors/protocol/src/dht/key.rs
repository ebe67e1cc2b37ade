//! The keys of the DHT at which things are found (`spec: dht 11`).
//!
//! Jami of 2023 names most keys after the short id of a device, Jami of 2026 after the long one; a
//! node that must meet both uses both.

use crate::ids::{AccountId, DeviceId, DeviceShortId, DhtKey, sha1};

impl DhtKey {
    /// Key of the letter box of a device: trust requests.
    #[must_use]
    pub fn inbox(device: DeviceShortId) -> Self {
        Self(sha1(format!("inbox:{device}").as_bytes()))
    }

    /// Key at which a device awaits connection requests.
    #[must_use]
    pub fn peer(device: DeviceId) -> Self {
        Self(sha1(format!("peer:{device}").as_bytes()))
    }

    /// Key at which a device of 2023 awaits connection requests.
    #[must_use]
    pub fn legacy_peer(device: DeviceShortId) -> Self {
        Self(sha1(format!("peer:{device}").as_bytes()))
    }

    /// Key of a device's certificate.
    #[must_use]
    pub fn certificate(device: DeviceId) -> Self {
        Self(sha1(device.as_bytes()))
    }

    /// Key of a device's certificate in 2023: its short id itself.
    #[must_use]
    pub const fn legacy_certificate(device: DeviceShortId) -> Self {
        Self(device.0)
    }

    /// Key of an account's device announcements and revocation lists: its id itself.
    #[must_use]
    pub const fn account(account: AccountId) -> Self {
        account.dht_key()
    }

    /// Id of the node that a device runs.
    #[must_use]
    pub fn node(device: DeviceShortId) -> Self {
        Self(sha1(format!("node:{device}").as_bytes()))
    }

    /// Key of a free text, as people and tools use it.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self(sha1(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_derived_as_recorded() {
        // (spec: dht V18)
        let short: DeviceShortId = "6353c00c2d711c98010945118043f6ce2cbb3e33".parse().unwrap();
        let long: DeviceId =
            "d91f1be6b4a8672a459ea245b7530f71fde1a59ab96246ea50fb99a576970f9b".parse().unwrap();
        for (key, text) in [
            (DhtKey::node(short), "91f2308b5c0a080e5928c3da501616caec36571d"),
            (DhtKey::inbox(short), "d8bbdf9811e2f72fb4113b0b75c8d41e00e216fd"),
            (DhtKey::legacy_peer(short), "93a6be6977c437225c2ad5266438ecaadb40f333"),
            (DhtKey::peer(long), "1fafa68f9f06b4f9ba7d5d03f94eb852e7fd96b4"),
            (DhtKey::certificate(long), "0326adf6ed0734f62ed6241b6df6392b344ed47e"),
            (DhtKey::legacy_certificate(short), "6353c00c2d711c98010945118043f6ce2cbb3e33"),
            (DhtKey::of_text("hello"), "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"),
        ] {
            assert_eq!(key.to_hex(), text);
        }
        let account: AccountId = "30e629015fcb780a18681348f8b8c4853f01c13f".parse().unwrap();
        assert_eq!(DhtKey::account(account).to_hex(), account.to_hex());
    }
}
