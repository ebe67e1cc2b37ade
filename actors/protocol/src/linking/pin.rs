//! The account's archive on the DHT, under a key that a PIN and the password lead to, as releases of
//! 2023 hand it over (`spec: identity 5`).
//!
//! ```text
//!   T   = number of the twenty minutes since 1970, in hexadecimal
//!   K   = SHA-256(Argon2i(password, PIN in capitals ‖ T))
//!   key = SHA-1(K)        value = iv(12) ‖ AES-256-GCM(zlib(JSON)) ‖ tag(16), encrypted with K
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::dht::content::Content;
use crate::dht::kind::ValueKind;
use crate::dht::value::{MAX_VALUE_SIZE, Value, ValueId};
use crate::identity::{Archive, ArchiveError, ArchiveFileError, SealingKey};
use crate::ids::{DhtKey, sha1};
use crate::time::UnixMillis;

/// How long a PIN leads to the same key: exported in one slot, it is found in that and the next.
pub const PIN_SLOT: Duration = Duration::from_secs(1200);

/// Most values at a PIN's key that are tried: anybody may put some there.
pub const MAX_VALUES_TRIED: usize = 64;

/// What PINs are made of.
const LETTERS: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Letters of a PIN up to July 2023, and of each half since.
const HALF: usize = 8;

/// Why a PIN cannot be read, or an archive not put under one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// Not what is shown as a PIN.
    #[error("a PIN is 8 letters and digits, or twice 8 with a hyphen between")]
    Malformed,
    /// The archive does not fit into a value of the DHT.
    #[error("the account with its contacts takes {0} bytes, more than the DHT takes; link over a channel")]
    TooLong(usize),
    /// It cannot be compressed or encrypted, or the PIN not stretched.
    #[error(transparent)]
    File(#[from] ArchiveFileError),
}

/// A PIN. In capitals, as it goes into the key; shown in small letters.
#[derive(Clone, PartialEq, Eq)]
pub struct Pin(Zeroizing<String>);

impl Pin {
    /// A new PIN in the form since July 2023, from random numbers drawn by the caller.
    #[must_use]
    pub fn from_random(numbers: [u32; 2 * HALF]) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(2 * HALF + 1));
        for (place, number) in numbers.into_iter().enumerate() {
            if place == HALF {
                text.push('-');
            }
            let letter = usize::try_from(number).unwrap_or(0) % LETTERS.len();
            text.push(char::from(LETTERS.get(letter).copied().unwrap_or(b'0')));
        }
        Self(text)
    }

    /// As the owner is shown it.
    #[must_use]
    pub fn shown(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.to_ascii_lowercase())
    }
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let text = Zeroizing::new(text.trim().to_ascii_uppercase());
        let is_half = |half: &str| half.len() == HALF && half.bytes().all(|it| LETTERS.contains(&it));
        let is_pin = match text.split_once('-') {
            None => is_half(&text),
            Some((first, second)) => is_half(first) && is_half(second),
        };
        if is_pin { Ok(Self(text)) } else { Err(PinError::Malformed) }
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Pin(…)")
    }
}

/// What a PIN leads to in one slot of time.
#[derive(Clone, Debug)]
pub struct PinKey {
    key: SealingKey,
}

impl PinKey {
    /// Stretches a PIN and the account's password, which is empty if it has none. Takes a second of
    /// processor time and 64 MiB, so it belongs on the blocking pool.
    ///
    /// # Errors
    /// [`PinError::File`] when there is not enough memory.
    pub fn derive(pin: &Pin, password: &str, at: UnixMillis) -> Result<Self, PinError> {
        let slot = at.seconds().max(0).unsigned_abs() / PIN_SLOT.as_secs();
        let salt = Zeroizing::new(format!("{}{slot:x}", pin.0.as_str()));
        Ok(Self { key: SealingKey::stretch(password, salt.as_bytes())? })
    }

    /// Where the archive lies.
    #[must_use]
    pub fn dht_key(&self) -> DhtKey {
        DhtKey(sha1(self.key.as_bytes()))
    }

    /// The value to put there, once. The nonce is drawn at random by the caller.
    ///
    /// # Errors
    /// [`PinError::TooLong`], or [`PinError::File`].
    pub fn seal(&self, archive: &Archive, nonce: [u8; 12], id: ValueId) -> Result<Value, PinError> {
        let data = self.key.seal(archive.to_json().as_bytes(), nonce)?;
        if data.len() >= MAX_VALUE_SIZE {
            return Err(PinError::TooLong(data.len()));
        }
        Ok(Value::plain(id, Content::new(ValueKind::UserData.type_number(), data)))
    }

    /// The archive in a value that was found there.
    ///
    /// # Errors
    /// [`ArchiveError`] when it is something else, or sealed with another key.
    pub fn open(&self, value: &Value) -> Result<Archive, ArchiveError> {
        let content = value.content().ok_or(ArchiveError::NotAnArchive)?;
        Archive::from_json(&self.key.open(&content.data)?)
    }
}

/// How a search has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinOutcome {
    /// Nothing is there that opens: the PIN or password is wrong, or it is too late.
    NotFound,
    /// The network was not reached.
    Unreachable,
}

/// The search of an importer, at the keys of this slot of time and the one before.
#[derive(Debug)]
pub struct PinSearch {
    keys: [PinKey; 2],
    /// Whether the network was reached, for each search that has ended.
    ended: [Option<bool>; 2],
    tried: [usize; 2],
}

impl PinSearch {
    /// Stretches a PIN twice; belongs on the blocking pool as [`PinKey::derive`] does.
    ///
    /// # Errors
    /// As [`PinKey::derive`].
    pub fn new(pin: &Pin, password: &str, now: UnixMillis) -> Result<Self, PinError> {
        let slot = i64::try_from(PIN_SLOT.as_millis()).unwrap_or(i64::MAX);
        let before = UnixMillis(now.0.saturating_sub(slot));
        let keys = [PinKey::derive(pin, password, now)?, PinKey::derive(pin, password, before)?];
        Ok(Self { keys, ended: [None; 2], tried: [0; 2] })
    }

    /// The keys to get.
    #[must_use]
    pub fn dht_keys(&self) -> [DhtKey; 2] {
        self.keys.each_ref().map(PinKey::dht_key)
    }

    /// A value was found at a key; the first that opens is the archive. Others are ignored.
    pub fn found(&mut self, key: DhtKey, value: &Value) -> Option<Archive> {
        let place = self.dht_keys().iter().position(|known| *known == key)?;
        let tried = self.tried.get_mut(place)?;
        if *tried >= MAX_VALUES_TRIED {
            return None;
        }
        *tried += 1;
        self.keys.get(place)?.open(value).ok()
    }

    /// The search at a key has ended. Says how both have ended, when they have.
    pub fn ended(&mut self, key: DhtKey, was_reached: bool) -> Option<PinOutcome> {
        let place = self.dht_keys().iter().position(|known| *known == key)?;
        *self.ended.get_mut(place)? = Some(was_reached);
        let [Some(one), Some(other)] = self.ended else { return None };
        Some(if one || other { PinOutcome::NotFound } else { PinOutcome::Unreachable })
    }
}
