//! Bounded MessagePack.
//!
//! Jami's messages are MessagePack with two habits that general decoders do not share: integers are
//! always written in their shortest form (signatures depend on it), and several objects may follow
//! each other in one stream that is cut anywhere. This module decodes one object from the front of a
//! byte slice into a small tree, never allocates more than the input is long, and says
//! [`DecodeError::Incomplete`] when more bytes are needed. Encoding of single tokens is `rmp`'s.

use std::fmt;

use rmp::Marker;
use rmp::encode;

/// One MessagePack object.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Nil,
    /// True or false.
    Bool(bool),
    /// A number that is not negative.
    Unsigned(u64),
    /// A negative number.
    Negative(i64),
    /// A floating-point number of 32 bits.
    Float32(f32),
    /// A floating-point number of 64 bits.
    Float64(f64),
    /// Text; the bytes are not checked to be UTF-8.
    Text(Vec<u8>),
    /// Bytes.
    Binary(Vec<u8>),
    /// A list.
    Array(Vec<Value>),
    /// A map as written: keys in order, doubles kept.
    Map(Vec<(Value, Value)>),
    /// An extension: its type and its bytes.
    Extension(i8, Vec<u8>),
}

/// How deep objects may nest: no message of Jami's nests deeper than six (`spec: references F 11`).
pub const MAX_DEPTH: usize = 32;

/// Why bytes could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The object does not end within the bytes given; more may complete it.
    #[error("the MessagePack object is cut short")]
    Incomplete,
    /// A byte that begins no object (0xc1).
    #[error("not MessagePack: byte 0xc1")]
    Reserved,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("MessagePack nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// One object is, or announces to be, longer than the limit given.
    #[error("MessagePack object larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Bytes follow the object although it should be alone.
    #[error("bytes follow the MessagePack object")]
    Trailing,
}

/// Decodes the object at the front of `input`, of at most `limit` bytes; returns it and its length.
///
/// # Errors
/// [`DecodeError::Incomplete`] when `input` ends within the object; otherwise the bytes are wrong
/// and no further byte can mend them.
pub fn decode(input: &[u8], limit: usize) -> Result<(Value, usize), DecodeError> {
    let mut reader = Reader { input, at: 0, limit };
    let value = reader.value(0)?;
    Ok((value, reader.at))
}

/// Decodes `input` as exactly one object.
///
/// # Errors
/// As [`decode`], and [`DecodeError::Trailing`] when bytes follow the object.
pub fn decode_all(input: &[u8]) -> Result<Value, DecodeError> {
    let (value, length) = decode(input, input.len())?;
    if length == input.len() { Ok(value) } else { Err(DecodeError::Trailing) }
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    limit: usize,
}

impl<'a> Reader<'a> {
    /// The next `count` bytes; checks the limit before it says that more are needed.
    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.limit);
        let end = end.ok_or(DecodeError::TooLarge { limit: self.limit })?;
        let bytes = self.input.get(self.at..end).ok_or(DecodeError::Incomplete)?;
        self.at = end;
        Ok(bytes)
    }

    fn number(&mut self, width: usize) -> Result<u64, DecodeError> {
        Ok(self.take(width)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&mut self, width: usize) -> Result<usize, DecodeError> {
        let number = self.number(width)?;
        usize::try_from(number).map_err(|_| DecodeError::TooLarge { limit: self.limit })
    }

    fn signed(&mut self, width: usize) -> Result<Value, DecodeError> {
        let number = self.number(width)?;
        let shift = 64 - 8 * u32::try_from(width).unwrap_or(8);
        let number = (number << shift).cast_signed() >> shift;
        Ok(Value::from(number))
    }

    fn bytes(&mut self, count: usize) -> Result<Vec<u8>, DecodeError> {
        self.take(count).map(<[u8]>::to_vec)
    }

    /// Every item takes at least one byte, so an announced count beyond the rest of the limit is a lie.
    fn check_count(&self, count: usize, bytes_each: usize) -> Result<usize, DecodeError> {
        let needed = count.checked_mul(bytes_each).and_then(|bytes| bytes.checked_add(self.at));
        match needed {
            Some(needed) if needed <= self.limit => Ok(count),
            _ => Err(DecodeError::TooLarge { limit: self.limit }),
        }
    }

    fn array(&mut self, count: usize, depth: usize) -> Result<Value, DecodeError> {
        self.check_count(count, 1)?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(self.value(depth + 1)?);
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, count: usize, depth: usize) -> Result<Value, DecodeError> {
        self.check_count(count, 2)?;
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push((self.value(depth + 1)?, self.value(depth + 1)?));
        }
        Ok(Value::Map(entries))
    }

    fn extension(&mut self, count: usize) -> Result<Value, DecodeError> {
        let kind = self.number(1)?;
        let kind = u8::try_from(kind).unwrap_or(0).cast_signed();
        Ok(Value::Extension(kind, self.bytes(count)?))
    }

    fn value(&mut self, depth: usize) -> Result<Value, DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        let marker = self.take(1)?.first().copied().unwrap_or_default();
        match Marker::from_u8(marker) {
            Marker::FixPos(number) => Ok(Value::Unsigned(number.into())),
            Marker::FixNeg(number) => Ok(Value::Negative(number.into())),
            Marker::Null => Ok(Value::Nil),
            Marker::True => Ok(Value::Bool(true)),
            Marker::False => Ok(Value::Bool(false)),
            Marker::U8 => self.number(1).map(Value::Unsigned),
            Marker::U16 => self.number(2).map(Value::Unsigned),
            Marker::U32 => self.number(4).map(Value::Unsigned),
            Marker::U64 => self.number(8).map(Value::Unsigned),
            Marker::I8 => self.signed(1),
            Marker::I16 => self.signed(2),
            Marker::I32 => self.signed(4),
            Marker::I64 => self.signed(8),
            Marker::F32 => {
                let bits = self.number(4)?;
                Ok(Value::Float32(f32::from_bits(u32::try_from(bits).unwrap_or(0))))
            }
            Marker::F64 => self.number(8).map(|bits| Value::Float64(f64::from_bits(bits))),
            Marker::FixStr(length) => self.bytes(length.into()).map(Value::Text),
            Marker::Str8 => self.length(1).and_then(|length| self.bytes(length)).map(Value::Text),
            Marker::Str16 => self.length(2).and_then(|length| self.bytes(length)).map(Value::Text),
            Marker::Str32 => self.length(4).and_then(|length| self.bytes(length)).map(Value::Text),
            Marker::Bin8 => self.length(1).and_then(|length| self.bytes(length)).map(Value::Binary),
            Marker::Bin16 => self.length(2).and_then(|length| self.bytes(length)).map(Value::Binary),
            Marker::Bin32 => self.length(4).and_then(|length| self.bytes(length)).map(Value::Binary),
            Marker::FixArray(count) => self.array(count.into(), depth),
            Marker::Array16 => self.length(2).and_then(|count| self.array(count, depth)),
            Marker::Array32 => self.length(4).and_then(|count| self.array(count, depth)),
            Marker::FixMap(count) => self.map(count.into(), depth),
            Marker::Map16 => self.length(2).and_then(|count| self.map(count, depth)),
            Marker::Map32 => self.length(4).and_then(|count| self.map(count, depth)),
            Marker::FixExt1 => self.extension(1),
            Marker::FixExt2 => self.extension(2),
            Marker::FixExt4 => self.extension(4),
            Marker::FixExt8 => self.extension(8),
            Marker::FixExt16 => self.extension(16),
            Marker::Ext8 => self.length(1).and_then(|length| self.extension(length)),
            Marker::Ext16 => self.length(2).and_then(|length| self.extension(length)),
            Marker::Ext32 => self.length(4).and_then(|length| self.extension(length)),
            Marker::Reserved => Err(DecodeError::Reserved),
        }
    }
}

impl Value {
    /// Text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec())
    }

    /// Bytes.
    #[must_use]
    pub fn binary(bytes: &[u8]) -> Self {
        Self::Binary(bytes.to_vec())
    }

    /// A map with text keys, in the order given.
    #[must_use]
    pub fn map<'k>(entries: impl IntoIterator<Item = (&'k str, Value)>) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (Self::text(key), value)).collect())
    }

    /// The number, if this is one that is not negative.
    #[must_use]
    pub const fn as_unsigned(&self) -> Option<u64> {
        if let Self::Unsigned(number) = self { Some(*number) } else { None }
    }

    /// The number, if it fits; an unsigned number beyond `i64::MAX` does not.
    #[must_use]
    pub fn as_signed(&self) -> Option<i64> {
        match self {
            Self::Unsigned(number) => i64::try_from(*number).ok(),
            Self::Negative(number) => Some(*number),
            _ => None,
        }
    }

    /// True or false, if this is one of them.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(truth) = self { Some(*truth) } else { None }
    }

    /// The text, if this is text in UTF-8.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(bytes) = self { std::str::from_utf8(bytes).ok() } else { None }
    }

    /// The bytes, if this is a byte string.
    #[must_use]
    pub fn as_binary(&self) -> Option<&[u8]> {
        if let Self::Binary(bytes) = self { Some(bytes) } else { None }
    }

    /// The items, if this is a list.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Value]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    /// The entries, if this is a map.
    #[must_use]
    pub fn as_map(&self) -> Option<&[(Value, Value)]> {
        if let Self::Map(entries) = self { Some(entries) } else { None }
    }

    /// The last entry of a map with this text as key; absent as well when this is no map.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        let entries = self.as_map()?;
        entries.iter().rev().find(|(name, _)| name.as_text() == Some(key)).map(|(_, value)| value)
    }

    /// The bytes of this object, integers and lengths in their shortest form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }

    /// Appends the bytes of this object to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        // Writing to a `Vec` cannot fail, so the results carry nothing.
        let length = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        match self {
            Self::Nil => drop(encode::write_nil(out)),
            Self::Bool(truth) => drop(encode::write_bool(out, *truth)),
            Self::Unsigned(number) => drop(encode::write_uint(out, *number)),
            Self::Negative(number) => drop(encode::write_sint(out, *number)),
            Self::Float32(number) => drop(encode::write_f32(out, *number)),
            Self::Float64(number) => drop(encode::write_f64(out, *number)),
            Self::Text(bytes) => {
                drop(encode::write_str_len(out, length(bytes.len())));
                out.extend_from_slice(bytes);
            }
            Self::Binary(bytes) => {
                drop(encode::write_bin_len(out, length(bytes.len())));
                out.extend_from_slice(bytes);
            }
            Self::Array(items) => {
                drop(encode::write_array_len(out, length(items.len())));
                items.iter().for_each(|item| item.encode_into(out));
            }
            Self::Map(entries) => {
                drop(encode::write_map_len(out, length(entries.len())));
                for (key, value) in entries {
                    key.encode_into(out);
                    value.encode_into(out);
                }
            }
            Self::Extension(kind, bytes) => {
                drop(encode::write_ext_meta(out, length(bytes.len()), *kind));
                out.extend_from_slice(bytes);
            }
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        u64::try_from(number).map_or(Self::Negative(number), Self::Unsigned)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Unsigned(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => formatter.write_str("nil"),
            Self::Bool(truth) => truth.fmt(formatter),
            Self::Unsigned(number) => number.fmt(formatter),
            Self::Negative(number) => number.fmt(formatter),
            Self::Float32(number) => number.fmt(formatter),
            Self::Float64(number) => number.fmt(formatter),
            Self::Text(bytes) => String::from_utf8_lossy(bytes).fmt(formatter),
            Self::Binary(bytes) => write!(formatter, "h'{}'", hex::encode(bytes)),
            Self::Array(items) => formatter.debug_list().entries(items).finish(),
            Self::Map(entries) => formatter.debug_map().entries(entries.iter().map(|(k, v)| (k, v))).finish(),
            Self::Extension(kind, bytes) => write!(formatter, "ext{kind}'{}'", hex::encode(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arbitrary() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<bool>().prop_map(Value::Bool),
            any::<u64>().prop_map(Value::Unsigned),
            (i64::MIN..0).prop_map(Value::Negative),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::Text),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::Binary),
            (any::<i8>(), prop::collection::vec(any::<u8>(), 0..20))
                .prop_map(|(k, b)| Value::Extension(k, b)),
        ];
        leaf.prop_recursive(4, 64, 20, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..20).prop_map(Value::Array),
                prop::collection::vec((inner.clone(), inner), 0..20).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_object_survives_its_bytes(value in arbitrary()) {
            let bytes = value.encode();
            prop_assert_eq!(decode_all(&bytes).unwrap(), value);
            for cut in 0..bytes.len() {
                prop_assert_eq!(decode(&bytes[..cut], bytes.len()), Err(DecodeError::Incomplete));
            }
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(&bytes, 300);
        }
    }

    #[test]
    fn announced_lengths_beyond_the_limit_are_refused_at_once() {
        for bomb in ["dd ffffffff", "df 7fffffff", "c6 ffffffff", "db 10000000", "c9 ffffffff 01", "dc ffff"]
        {
            let bytes = hex::decode(bomb.replace(' ', "")).unwrap();
            assert_eq!(decode(&bytes, 1000), Err(DecodeError::TooLarge { limit: 1000 }), "{bomb}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
        let bytes = vec![0x91; 100_000];
        assert_eq!(decode(&bytes, bytes.len()), Err(DecodeError::TooDeep));
    }

    #[test]
    fn integers_are_written_in_their_shortest_form() {
        for (number, text) in
            [(0_i64, "00"), (127, "7f"), (128, "cc80"), (65_535, "cdffff"), (-1, "ff"), (-129, "d1ff7f")]
        {
            assert_eq!(hex::encode(Value::from(number).encode()), text);
        }
    }

    #[test]
    fn signed_forms_of_small_numbers_are_read() {
        assert_eq!(decode_all(&[0xd0, 0x05]).unwrap(), Value::Unsigned(5));
        assert_eq!(
            decode_all(&[0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]).unwrap(),
            Value::Negative(-2)
        );
    }

    #[test]
    fn the_last_of_two_equal_keys_wins() {
        let value = Value::map([("a", 1_u64.into()), ("a", 2_u64.into())]);
        assert_eq!(value.get("a").and_then(Value::as_unsigned), Some(2));
    }
}
