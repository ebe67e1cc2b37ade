//! The Ethereum key of an account, whose address owns a registered name (`spec: identity 3`).

use std::fmt;

use k256::SecretKey;
use k256::elliptic_curve::sec1::ToEncodedPoint as _;
use sha3::{Digest as _, Keccak256};
use zeroize::Zeroizing;

/// A secp256k1 private key. Its `Debug` shows only the address; it is wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct EthereumKey {
    secret: Zeroizing<[u8; 32]>,
    address: EthereumAddress,
}

/// The last 20 bytes of the Keccak-256 of the uncompressed public key. Displayed without `0x`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EthereumAddress(pub [u8; 20]);

impl EthereumKey {
    /// From the 32 bytes of the scalar. A random one is accepted with overwhelming probability.
    #[must_use]
    pub fn from_bytes(secret: &[u8; 32]) -> Option<Self> {
        let key = SecretKey::from_slice(secret).ok()?;
        let point = key.public_key().to_encoded_point(false);
        let digest = Keccak256::digest(point.as_bytes().get(1..)?);
        let address = EthereumAddress(digest.get(12..)?.try_into().ok()?);
        Some(Self { secret: Zeroizing::new(*secret), address })
    }

    /// The 32 bytes of the scalar.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.secret
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> EthereumAddress {
        self.address
    }
}

impl fmt::Debug for EthereumKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "EthereumKey(of {})", self.address)
    }
}

impl fmt::Display for EthereumAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for EthereumAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "EthereumAddress({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_that_of_the_recorded_account() {
        let secret = hex::decode("c930ad7069dc28f3e48ae8def00f626ca37f7404008410263ce49082877327c5").unwrap();
        let key = EthereumKey::from_bytes(&secret.try_into().unwrap()).unwrap();
        assert_eq!(key.address().to_string(), "4ccd83aec0a66b72a21bc1473744cc43957eb11e");
        assert!(!format!("{key:?}").contains("c930"));
    }

    #[test]
    fn a_scalar_outside_of_the_curve_order_is_refused() {
        assert!(EthereumKey::from_bytes(&[0; 32]).is_none());
        assert!(EthereumKey::from_bytes(&[0xff; 32]).is_none());
    }
}
