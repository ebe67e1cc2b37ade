//! MessagePack objects in a stream that is cut anywhere.
//!
//! [`msgpack::decode`] needs a whole object; trying it again after every few bytes would let a peer
//! make us read the same bytes over and over. Here a stream is walked token by token, so that each
//! byte is looked at once, and an object is decoded only when its last byte is there.

use rmp::Marker;

use crate::msgpack::{self, DecodeError, MAX_DEPTH, Value};

/// Takes objects out of a byte stream. Holds at most one unfinished object.
#[derive(Debug)]
pub struct ObjectReader {
    limit: usize,
    tokens: TokenReader,
    walk: Walk,
    /// The object so far.
    bytes: Vec<u8>,
}

impl ObjectReader {
    /// A reader of objects of at most `limit` bytes each.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let mut walk = Walk::new(limit);
        walk.begin(1);
        Self { limit, tokens: TokenReader::default(), walk, bytes: Vec::new() }
    }

    /// The next object, taken from the front of `input`. `None` means that all of `input` is used up
    /// and more is needed.
    ///
    /// # Errors
    /// When the stream is not MessagePack, or an object is too deep or too long; the stream cannot be
    /// read on then.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Value>, DecodeError> {
        loop {
            let before = *input;
            let step = self.step(input);
            self.bytes.extend_from_slice(take(&mut &*before, before.len() - input.len()));
            match step? {
                Step::Starved => return Ok(None),
                Step::Inside => {}
                Step::Done => {
                    self.walk.begin(1);
                    let object = msgpack::decode(&self.bytes, self.limit);
                    self.bytes.clear();
                    return object.map(|(value, _)| Some(value));
                }
            }
        }
    }

    fn step(&mut self, input: &mut &[u8]) -> Result<Step, DecodeError> {
        if !self.walk.pass_payload(input) {
            return Ok(Step::Starved);
        }
        if self.walk.is_over() {
            return Ok(Step::Done);
        }
        let Some(token) = self.tokens.next(input)? else { return Ok(Step::Starved) };
        let over = self.walk.enter(&token)? && self.walk.payload() == 0;
        Ok(if over { Step::Done } else { Step::Inside })
    }
}

enum Step {
    /// More input is needed.
    Starved,
    /// The object goes on.
    Inside,
    /// The object is whole.
    Done,
}

/// The marker of one MessagePack item and what follows it to tell its length or number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    /// How many bytes it takes itself.
    length: usize,
    pub(super) item: Item,
}

/// What one MessagePack item is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item {
    /// A number that is not negative, in any form.
    Unsigned(u64),
    /// A byte or text string of this many bytes.
    Bytes(usize),
    /// Anything else without items, followed by this many bytes of its own.
    Other(usize),
    /// A list of this many items.
    Array(usize),
    /// A map of this many pairs.
    Map(usize),
}

/// Takes tokens out of a byte stream.
#[derive(Debug, Default)]
pub(super) struct TokenReader {
    /// The beginning of a token that the last piece of input cut off: at most nine bytes.
    partial: Vec<u8>,
}

impl TokenReader {
    /// The next token; `None` when `input` is used up.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Token>, DecodeError> {
        loop {
            if let Some(item) = read_item(&self.partial)? {
                let length = self.partial.len();
                self.partial.clear();
                return Ok(Some(Token { length, item }));
            }
            let piece = take(input, 1);
            if piece.is_empty() {
                return Ok(None);
            }
            self.partial.extend_from_slice(piece);
        }
    }

    /// Whether no token is cut off.
    pub(super) fn is_at_boundary(&self) -> bool {
        self.partial.is_empty()
    }
}

/// A way through some items and all they contain, from token to token.
#[derive(Debug)]
pub(super) struct Walk {
    /// How many bytes the items may have in all.
    limit: usize,
    /// How many items are still to come in each container that is open, outermost first.
    open: Vec<usize>,
    /// Bytes of the current item that are still to come.
    payload: usize,
    /// Bytes entered since the beginning.
    length: usize,
}

impl Walk {
    pub(super) const fn new(limit: usize) -> Self {
        Self { limit, open: Vec::new(), payload: 0, length: 0 }
    }

    /// Starts a way through `items` items.
    pub(super) fn begin(&mut self, items: usize) {
        self.open.clear();
        self.open.push(items);
        self.length = 0;
    }

    /// Enters the item that `token` begins; says whether it was the last token of all.
    pub(super) fn enter(&mut self, token: &Token) -> Result<bool, DecodeError> {
        let (payload, items) = match token.item {
            Item::Unsigned(_) => (0, 0),
            Item::Bytes(length) | Item::Other(length) => (length, 0),
            Item::Array(count) => (0, count),
            Item::Map(count) => (0, count.saturating_mul(2)),
        };
        self.length = self.length.saturating_add(token.length).saturating_add(payload);
        // Every item that is announced has a byte at least.
        if self.length.saturating_add(items) > self.limit {
            return Err(DecodeError::TooLarge { limit: self.limit });
        }
        self.payload = payload;
        if let Some(left) = self.open.last_mut() {
            *left = left.saturating_sub(1);
        }
        if items > 0 {
            self.open.push(items);
        }
        while self.open.last() == Some(&0) {
            self.open.pop();
        }
        if self.open.len() > MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        Ok(self.is_over())
    }

    /// Whether no further item is to come; bytes of the last one may be.
    pub(super) fn is_over(&self) -> bool {
        self.open.is_empty()
    }

    /// Bytes of the current item that are still to come.
    pub(super) const fn payload(&self) -> usize {
        self.payload
    }

    /// Takes what belongs to the current item from `input`; says whether all of it came.
    pub(super) fn pass_payload(&mut self, input: &mut &[u8]) -> bool {
        self.payload -= take(input, self.payload).len();
        self.payload == 0
    }
}

/// The first bytes of `input`, at most `count`, which are taken from it.
pub(super) fn take<'a>(input: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (front, rest) = input.split_at(count.min(input.len()));
    *input = rest;
    front
}

/// Reads the token that `bytes` begins and does not exceed; `None` while it is not whole.
fn read_item(bytes: &[u8]) -> Result<Option<Item>, DecodeError> {
    let Some((marker, argument)) = bytes.split_first() else { return Ok(None) };
    let marker = Marker::from_u8(*marker);
    if argument.len() < argument_width(marker)? {
        return Ok(None);
    }
    let number = argument.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let length = usize::try_from(number).unwrap_or(usize::MAX);
    Ok(Some(match marker {
        Marker::FixPos(number) => Item::Unsigned(number.into()),
        Marker::U8 | Marker::U16 | Marker::U32 | Marker::U64 => Item::Unsigned(number),
        Marker::I8 | Marker::I16 | Marker::I32 | Marker::I64 => {
            let negative = argument.first().is_some_and(|byte| *byte >= 0x80);
            if negative { Item::Other(0) } else { Item::Unsigned(number) }
        }
        Marker::FixStr(length) => Item::Bytes(length.into()),
        Marker::Str8 | Marker::Str16 | Marker::Str32 | Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
            Item::Bytes(length)
        }
        Marker::FixArray(count) => Item::Array(count.into()),
        Marker::Array16 | Marker::Array32 => Item::Array(length),
        Marker::FixMap(count) => Item::Map(count.into()),
        Marker::Map16 | Marker::Map32 => Item::Map(length),
        // An extension has a byte for its type.
        Marker::FixExt1 => Item::Other(2),
        Marker::FixExt2 => Item::Other(3),
        Marker::FixExt4 => Item::Other(5),
        Marker::FixExt8 => Item::Other(9),
        Marker::FixExt16 => Item::Other(17),
        Marker::Ext8 | Marker::Ext16 | Marker::Ext32 => Item::Other(length.saturating_add(1)),
        Marker::F32
        | Marker::F64
        | Marker::FixNeg(_)
        | Marker::Null
        | Marker::True
        | Marker::False
        | Marker::Reserved => Item::Other(0),
    }))
}

/// How many bytes of number or length follow a marker.
const fn argument_width(marker: Marker) -> Result<usize, DecodeError> {
    Ok(match marker {
        Marker::Reserved => return Err(DecodeError::Reserved),
        Marker::U8 | Marker::I8 | Marker::Str8 | Marker::Bin8 | Marker::Ext8 => 1,
        Marker::U16
        | Marker::I16
        | Marker::Str16
        | Marker::Bin16
        | Marker::Ext16
        | Marker::Array16
        | Marker::Map16 => 2,
        Marker::U32
        | Marker::I32
        | Marker::F32
        | Marker::Str32
        | Marker::Bin32
        | Marker::Ext32
        | Marker::Array32
        | Marker::Map32 => 4,
        Marker::U64 | Marker::I64 | Marker::F64 => 8,
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes out of `stream` fed in pieces of `segment` bytes.
    fn read_cut(stream: &[u8], segment: usize, limit: usize) -> (Vec<Value>, Result<(), DecodeError>) {
        let mut reader = ObjectReader::new(limit);
        let mut objects = Vec::new();
        for mut piece in stream.chunks(segment) {
            loop {
                match reader.next(&mut piece) {
                    Ok(Some(object)) => objects.push(object),
                    Ok(None) => break,
                    Err(error) => return (objects, Err(error)),
                }
            }
            assert!(piece.is_empty());
            assert!(reader.bytes.len() <= limit + 9);
        }
        (objects, Ok(()))
    }

    #[test]
    fn objects_of_every_kind_come_out_whole_however_the_stream_is_cut() {
        let objects = [
            Value::Nil,
            Value::Array(vec![]),
            Value::Map(vec![]),
            Value::Text(vec![]),
            Value::Array(vec![Value::Map(vec![(Value::Nil, Value::Array(vec![Value::from(-5_i64)]))])]),
            Value::map([("id", u64::MAX.into()), ("c", Value::binary(&[7; 300]))]),
            Value::Extension(-1, vec![1, 2, 3]),
            Value::Float64(1.5),
            Value::from(-40_000_i64),
        ];
        let stream: Vec<u8> = objects.iter().flat_map(Value::encode).collect();
        for segment in [1, 2, 7, 1000] {
            assert_eq!(read_cut(&stream, segment, 400), (objects.to_vec(), Ok(())));
        }
    }

    #[test]
    fn objects_beyond_the_limit_are_refused_before_they_arrive() {
        for bomb in ["dd00000064", "c600000064", "df00000032", "92c431", "c900000063"] {
            let mut bytes = hex::decode(bomb).unwrap();
            bytes.extend(std::iter::repeat_n(0, 20));
            assert_eq!(read_cut(&bytes, 1, 50).1, Err(DecodeError::TooLarge { limit: 50 }), "{bomb}");
        }
        assert_eq!(read_cut(&[0xc1], 1, 50).1, Err(DecodeError::Reserved));
        assert_eq!(read_cut(&[0x91; 500], 1, 1000).1, Err(DecodeError::TooDeep));
    }

    proptest! {
        #[test]
        fn any_bytes_give_the_same_in_one_piece_and_in_many(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            // As text, because a number that is none does not equal itself.
            let read = |segment| format!("{:?}", read_cut(&bytes, segment, 100));
            prop_assert_eq!(read(1), read(1000));
        }
    }
}
