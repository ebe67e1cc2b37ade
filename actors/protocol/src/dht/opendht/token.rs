//! Tokens: proof that whoever writes can receive at the address it writes from (`spec: dht 2.3`).
//!
//! A storing node gives a token with each answer to `find`, `get` and `listen` and wants it back with
//! `put`, `refresh` and `listen`. It remembers none of them: a token is a digest of a secret and the
//! address.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::ids::sha256;
use crate::time::Moment;

/// What a storing node wants back. Means something to that node only.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<[u8]>);

impl Token {
    /// Longest token in bytes that is kept.
    pub const MAX_LENGTH: usize = 64;

    /// A token of another node; `None` if it is empty or too long.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (!bytes.is_empty() && bytes.len() <= Self::MAX_LENGTH).then(|| Self(bytes.into()))
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Token({})", hex::encode(&self.0))
    }
}

/// Length of a secret in bytes: beyond guessing from any number of tokens.
pub const SECRET_LENGTH: usize = 16;

/// Shortest life of a secret. A token lives one to two times as long as its secret.
const SHORTEST_LIFE: Duration = Duration::from_secs(15 * 60);

/// By how many seconds, less one, a life may be longer than the shortest: up to 45 minutes.
const LIFE_SPREAD: u32 = 30 * 60 + 1;

/// Makes and verifies tokens.
pub struct TokenMint {
    current: [u8; SECRET_LENGTH],
    previous: [u8; SECRET_LENGTH],
    rotation: Moment,
}

impl fmt::Debug for TokenMint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TokenMint").field("rotation", &self.rotation).finish_non_exhaustive()
    }
}

impl TokenMint {
    /// Starts with a random secret; `spread` is random too and decides how long it lives.
    #[must_use]
    pub fn new(now: Moment, secret: [u8; SECRET_LENGTH], spread: u32) -> Self {
        Self { current: secret, previous: secret, rotation: end_of_life(now, spread) }
    }

    /// When the secret is to be [replaced](Self::rotate).
    #[must_use]
    pub const fn rotation(&self) -> Moment {
        self.rotation
    }

    /// Replaces the secret. Tokens of the one before stay good until the next time.
    pub fn rotate(&mut self, now: Moment, secret: [u8; SECRET_LENGTH], spread: u32) {
        self.previous = std::mem::replace(&mut self.current, secret);
        self.rotation = end_of_life(now, spread);
    }

    /// The token for a node at this address.
    #[must_use]
    pub fn token(&self, address: &SocketAddr) -> Token {
        Token(digest(&self.current, address).into())
    }

    /// Whether `token` was made for this address not too long ago.
    #[must_use]
    pub fn verify(&self, address: &SocketAddr, token: &Token) -> bool {
        [&self.current, &self.previous].iter().any(|secret| {
            aws_lc_rs::constant_time::verify_slices_are_equal(&digest(secret, address), &token.0).is_ok()
        })
    }
}

fn end_of_life(now: Moment, spread: u32) -> Moment {
    now.plus(SHORTEST_LIFE + Duration::from_secs((spread % LIFE_SPREAD).into()))
}

fn digest(secret: &[u8; SECRET_LENGTH], address: &SocketAddr) -> [u8; 32] {
    let mut bytes = secret.to_vec();
    match address.ip() {
        IpAddr::V4(ip) => bytes.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes.extend_from_slice(&ip.octets()),
    }
    bytes.extend_from_slice(&address.port().to_be_bytes());
    sha256(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_address_and_no_other() {
        let mint = TokenMint::new(Moment::default(), [1; SECRET_LENGTH], 0);
        let address: SocketAddr = "10.0.0.1:7".parse().unwrap();
        let token = mint.token(&address);
        assert_eq!(token.as_bytes().len(), 32);
        assert!(mint.verify(&address, &token));
        for other in ["10.0.0.1:8", "10.0.0.2:7", "[::1]:7"] {
            assert!(!mint.verify(&other.parse().unwrap(), &token), "{other}");
        }
        assert!(!mint.verify(&address, &Token::new(b"short").unwrap()));
        let other = TokenMint::new(Moment::default(), [2; SECRET_LENGTH], 0);
        assert!(!other.verify(&address, &token));
    }

    #[test]
    fn a_token_survives_one_rotation_and_not_two() {
        let mut mint = TokenMint::new(Moment::default(), [1; SECRET_LENGTH], 0);
        let address: SocketAddr = "[2001:db8::1]:7".parse().unwrap();
        let token = mint.token(&address);
        mint.rotate(mint.rotation(), [2; SECRET_LENGTH], 0);
        assert!(mint.verify(&address, &token));
        assert_ne!(mint.token(&address), token);
        mint.rotate(mint.rotation(), [3; SECRET_LENGTH], 0);
        assert!(!mint.verify(&address, &token));
    }

    #[test]
    fn a_secret_lives_fifteen_to_forty_five_minutes() {
        for spread in [0, 1, 1800, 1801, 77_777, u32::MAX] {
            let mint = TokenMint::new(Moment::default(), [1; SECRET_LENGTH], spread);
            let minutes = mint.rotation().0.as_secs_f64() / 60.0;
            assert!((15.0..=45.0).contains(&minutes), "{minutes}");
        }
    }

    #[test]
    fn tokens_of_other_nodes_have_up_to_sixty_four_bytes() {
        assert!(Token::new(&[]).is_none());
        assert!(Token::new(&[1; 64]).is_some());
        assert!(Token::new(&[1; 65]).is_none());
    }
}
