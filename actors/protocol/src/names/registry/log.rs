//! The log of registrations: a file to which one record a name is appended.
//!
//! ```text
//!   "skep names 1\n"
//!   record   mark (4) │ length of what follows the sum, u32 LE (4) │ CRC-32 of that (4) │ MessagePack
//!   record   …
//! ```
//!
//! A record is forced to disk before its registration is confirmed. A crash while one is written leaves a
//! tail that is no record: it is cut off, and nobody was told that it was there. A record that is damaged
//! while whole ones follow is no such tail: then the log is not read at all, so that nobody registers
//! anew what is registered already.

use super::super::name::Name;
use super::super::registration::{MAX_REGISTRATION, Registration, SignedName};
use crate::ids::AccountId;
use crate::msgpack::{self, Value as Object};

/// What a log begins with.
const HEADER: &[u8] = b"skep names 1\n";

/// What a record begins with: no UTF-8, so that it is in no text.
const MARK: [u8; 4] = [0xfe, 0x5b, 0xa7, 0xff];

/// Bytes of a record before its content.
const PREFIX: usize = 12;

/// Largest content of a record, in bytes: less than the body that it was made of.
const MAX_CONTENT: usize = MAX_REGISTRATION;

/// Largest log read, in bytes: twice what the most names take with keys of 4096 bits.
pub const MAX_LOG: usize = 512 * 1024 * 1024;

/// Why a log is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Larger than [`MAX_LOG`].
    #[error("the log of names has {0} bytes, more than {MAX_LOG}")]
    TooLarge(usize),
    /// It begins with something else.
    #[error("this is no log of names")]
    NoLog,
    /// Damaged in the middle.
    #[error(transparent)]
    Damaged(#[from] LogDamage),
}

/// A damaged record, with whole ones behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the log of names is damaged at byte {at}, and whole records follow at byte {whole_again}: restore it from a \
     copy, or cut out what is between; the names in there will be free"
)]
pub struct LogDamage {
    /// Where the damaged record begins.
    pub at: usize,
    /// Where the next whole one does.
    pub whole_again: usize,
}

/// What a new log begins with.
#[must_use]
pub const fn new_log() -> &'static [u8] {
    HEADER
}

/// The record of a registration.
pub(super) fn record(registration: &Registration) -> Vec<u8> {
    let content = Object::map([
        ("name", Object::text(registration.name().as_str())),
        ("addr", Object::binary(&registration.account().0)),
        ("owner", Object::text(registration.owner())),
        ("publickey", Object::binary(&registration.proof().public_key)),
        ("signature", Object::binary(&registration.proof().signature)),
    ])
    .encode();
    let mut record = Vec::with_capacity(PREFIX + content.len());
    record.extend_from_slice(&MARK);
    // Contents are far below four gigabytes.
    record.extend_from_slice(&u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes());
    record.extend_from_slice(&crc32fast::hash(&content).to_le_bytes());
    record.extend_from_slice(&content);
    record
}

/// Gives all registrations to `take`, in order, and says how much of the log is whole. The rest is the
/// torn tail of a crash, to be cut off before anything is appended. An empty log is one, too, and gets
/// [`new_log`] first.
pub(super) fn read(log: &[u8], mut take: impl FnMut(Registration)) -> Result<usize, LogError> {
    if log.len() > MAX_LOG {
        return Err(LogError::TooLarge(log.len()));
    }
    let Some(mut rest) = log.strip_prefix(HEADER) else {
        return if HEADER.starts_with(log) { Ok(0) } else { Err(LogError::NoLog) };
    };
    while let Some((registration, after)) = first_record(rest) {
        take(registration);
        rest = after;
    }
    let at = log.len() - rest.len();
    match next_record(rest) {
        Some(offset) => Err(LogDamage { at, whole_again: at + offset }.into()),
        None => Ok(at),
    }
}

/// The record at the beginning, and what follows it.
fn first_record(bytes: &[u8]) -> Option<(Registration, &[u8])> {
    let (length, rest) = bytes.strip_prefix(&MARK)?.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= MAX_CONTENT)?;
    let (content, rest) = rest.split_at_checked(length)?;
    let is_whole = crc32fast::hash(content) == u32::from_le_bytes(*sum);
    Some((is_whole.then(|| registration(content)).flatten()?, rest))
}

fn registration(content: &[u8]) -> Option<Registration> {
    let object = msgpack::decode_all(content).ok()?;
    let name: Name = object.get("name")?.as_text()?.parse().ok()?;
    let account = AccountId::from_bytes(object.get("addr")?.as_binary()?)?;
    let owner = object.get("owner")?.as_text()?.to_owned();
    let bytes = |key| Some(object.get(key)?.as_binary()?.to_vec());
    let proof = SignedName { public_key: bytes("publickey")?, signature: bytes("signature")? };
    Some(Registration::restored(name, account, owner, proof))
}

/// Where the first whole record is, anywhere in `bytes`.
fn next_record(bytes: &[u8]) -> Option<usize> {
    let places = bytes.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    places.map(|(at, _)| at).find(|at| bytes.get(*at..).and_then(first_record).is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::names::golden::RECORDED_BODY;

    fn recorded() -> Registration {
        Registration::read("alicetest".parse().unwrap(), RECORDED_BODY).unwrap()
    }

    /// A registration that nobody checks.
    fn numbered(number: usize) -> Registration {
        let proof = SignedName { public_key: vec![7; number % 50], signature: MARK.to_vec() };
        Registration::restored(
            format!("name{number}").parse().unwrap(),
            AccountId([1; 20]),
            "x".into(),
            proof,
        )
    }

    fn log(count: usize) -> (Vec<u8>, Vec<usize>) {
        let (mut log, mut ends) = (new_log().to_vec(), vec![new_log().len()]);
        for number in 0..count {
            log.extend(record(&numbered(number)));
            ends.push(log.len());
        }
        (log, ends)
    }

    fn read_all(log: &[u8]) -> (Vec<Registration>, Result<usize, LogError>) {
        let mut found = Vec::new();
        let whole = read(log, |registration| found.push(registration));
        (found, whole)
    }

    #[test]
    fn a_registration_survives_its_record() {
        let log = [new_log(), &record(&recorded())].concat();
        assert_eq!(read_all(&log), (vec![recorded()], Ok(log.len())));
        assert_eq!(read_all(&log).0[0].body(), RECORDED_BODY);
    }

    #[test]
    fn a_log_cut_anywhere_loses_the_last_record_only() {
        let (log, ends) = log(4);
        for cut in 0..=log.len() {
            let (found, whole) = read_all(&log[..cut]);
            let expected = ends.iter().rposition(|end| *end <= cut);
            assert_eq!(found.len(), expected.unwrap_or(0), "cut at {cut}");
            assert_eq!(whole, Ok(expected.map_or(0, |index| ends[index])), "cut at {cut}");
        }
    }

    #[test]
    fn a_tail_of_zeros_or_noise_is_cut_off() {
        let (log, ends) = log(3);
        for tail in [vec![0; 5000], vec![0xfe; 100], MARK.to_vec(), [MARK, [255; 4], [0; 4]].concat()] {
            let torn = [&log[..], &tail].concat();
            assert_eq!(read_all(&torn).1, Ok(ends[3]));
            assert_eq!(read_all(&torn).0.len(), 3);
        }
    }

    #[test]
    fn a_bit_changed_in_the_last_record_cuts_it_off_and_in_an_earlier_one_is_damage() {
        let (log, ends) = log(3);
        for at in ends[0]..log.len() {
            let mut changed = log.clone();
            changed[at] ^= 0x10;
            let (found, whole) = read_all(&changed);
            if at >= ends[2] {
                assert_eq!((found.len(), whole), (2, Ok(ends[2])), "byte {at}");
            } else {
                let record = ends.iter().rposition(|end| *end <= at).unwrap();
                let damage = LogDamage { at: ends[record], whole_again: ends[record + 1] };
                assert_eq!(whole, Err(LogError::Damaged(damage)), "byte {at}");
            }
        }
    }

    #[test]
    fn other_files_are_no_log() {
        for file in [b"skep names 2\n".as_slice(), b"x", b"\0\0\0\0", b"SQLite format 3\0"] {
            assert_eq!(read_all(file), (vec![], Err(LogError::NoLog)));
        }
        for file in [b"".as_slice(), b"skep na"] {
            assert_eq!(read_all(file), (vec![], Ok(0)));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_behind_a_log_are_survived(tail: Vec<u8>) {
            let (log, ends) = log(2);
            let (found, whole) = read_all(&[&log[..], &tail].concat());
            prop_assert_eq!((found.len(), whole), (2, Ok(ends[2])));
        }
    }
}
