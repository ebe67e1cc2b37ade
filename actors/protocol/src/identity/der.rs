//! The little DER writing that certificates and revocation lists need.

use x509_parser::prelude::ASN1Time;

use crate::time::UnixMillis;

/// A constructed SEQUENCE.
pub(super) const SEQUENCE: u8 = 0x30;
/// A constructed SET.
pub(super) const SET: u8 = 0x31;
/// An INTEGER.
pub(super) const INTEGER: u8 = 0x02;
/// A BIT STRING.
pub(super) const BIT_STRING: u8 = 0x03;
/// An OCTET STRING.
pub(super) const OCTET_STRING: u8 = 0x04;
/// A PrintableString.
pub(super) const PRINTABLE_STRING: u8 = 0x13;
/// A UTCTime.
const UTC_TIME: u8 = 0x17;
/// A GeneralizedTime.
const GENERALIZED_TIME: u8 = 0x18;
/// A constructed element with context tag 0.
pub(super) const CONTEXT_0: u8 = 0xa0;
/// A constructed element with context tag 3.
pub(super) const CONTEXT_3: u8 = 0xa3;

/// One element: tag, length, then the parts as they stand.
pub(super) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length.saturating_add(6));
    out.push(tag);
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let digits: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            // A length has at most eight digits.
            out.push(0x80 | u8::try_from(digits.len()).unwrap_or(8));
            out.extend(digits);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// A non-negative INTEGER in its shortest form.
pub(super) fn unsigned(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let significant = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
    let digits = bytes.get(significant..).unwrap_or_default();
    let sign: &[u8] = if digits.first().is_some_and(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
    element(INTEGER, &[sign, digits])
}

/// A time, cut to the second: UTCTime from 1950 to 2049, GeneralizedTime up to 9999. `None` for
/// other years.
pub(super) fn time(at: UnixMillis) -> Option<Vec<u8>> {
    let date = ASN1Time::from_timestamp(at.seconds()).ok()?.to_datetime();
    let rest = format!(
        "{:02}{:02}{:02}{:02}{:02}Z",
        u8::from(date.month()),
        date.day(),
        date.hour(),
        date.minute(),
        date.second()
    );
    match date.year() {
        year @ 1950..2050 => {
            Some(element(UTC_TIME, &[format!("{:02}", year % 100).as_bytes(), rest.as_bytes()]))
        }
        year @ 2050..=9999 => {
            Some(element(GENERALIZED_TIME, &[format!("{year:04}").as_bytes(), rest.as_bytes()]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_one_byte_up_to_127_and_more_above() {
        assert_eq!(element(4, &[&[1, 2], &[3]]), [4, 3, 1, 2, 3]);
        assert_eq!(element(4, &[&[0; 127]])[..2], [4, 0x7f]);
        assert_eq!(element(4, &[&[0; 128]])[..3], [4, 0x81, 0x80]);
        assert_eq!(element(4, &[&[0; 0x1234]])[..4], [4, 0x82, 0x12, 0x34]);
    }

    #[test]
    fn integers_are_short_and_positive() {
        assert_eq!(unsigned(0), [2, 1, 0]);
        assert_eq!(unsigned(0x7f), [2, 1, 0x7f]);
        assert_eq!(unsigned(0x80), [2, 2, 0, 0x80]);
        assert_eq!(unsigned(u64::MAX)[..3], [2, 9, 0]);
    }

    #[test]
    fn times_change_their_form_in_2050() {
        let text = |seconds| time(UnixMillis::from_seconds(seconds)).map(|der| der[2..].to_vec());
        assert_eq!(text(1_795_339_135).unwrap(), b"261122091855Z");
        assert_eq!(text(2_524_607_999).unwrap(), b"491231235959Z");
        assert_eq!(text(2_524_608_000).unwrap(), b"20500101000000Z");
        assert_eq!(text(-631_152_001), None);
        assert_eq!(text(i64::MAX / 1000), None);
    }
}
