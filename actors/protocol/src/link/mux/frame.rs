//! Frames of the multiplexed socket: MessagePack arrays `[channel, bytes]` (`spec: connection 7.1`).
//!
//! The reader walks MessagePack token by token, so a byte is looked at once however the stream is
//! cut, and what is kept never exceeds one frame. An object of another shape is walked over without
//! being kept.

use std::fmt;

use rmp::encode;

use crate::link::objects::{Item, Token, TokenReader, Walk, take};
use crate::msgpack::DecodeError;

/// Most bytes of data in one frame.
pub const MAX_DATA: usize = 65_535;

/// Longest object of another shape that is walked over, in bytes; a longer one ends the socket.
pub const MAX_SKIPPED: usize = 128 * 1024;

/// Number of a channel on one socket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelNumber(pub u16);

impl ChannelNumber {
    /// Carries requests for channels and the answers to them.
    pub const CONTROL: Self = Self(0);
    /// Carries versions and beacons.
    pub const PROTOCOL: Self = Self(u16::MAX);

    /// Whether this number can never name an application's channel.
    #[must_use]
    pub fn is_reserved(self) -> bool {
        self == Self::CONTROL || self == Self::PROTOCOL
    }
}

impl fmt::Debug for ChannelNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{}", self.0)
    }
}

impl fmt::Display for ChannelNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The channel it belongs to.
    pub channel: ChannelNumber,
    /// The bytes it carries; none marks the end of an application's channel.
    pub data: Vec<u8>,
}

/// Why a byte stream cannot be read on; the socket must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes are not MessagePack, or hold an object of another shape that is too deep or longer
    /// than [`MAX_SKIPPED`].
    #[error("the peer sent bytes that are no frames: {0}")]
    Foreign(#[from] DecodeError),
    /// A frame announces more than [`MAX_DATA`] bytes.
    #[error("the peer sent a frame of {length} bytes; {MAX_DATA} is the most")]
    TooLong {
        /// What it announces, in bytes.
        length: usize,
    },
}

/// Appends one frame to `out`, numbers and lengths in their shortest form. At most [`MAX_DATA`]
/// bytes of `data` are written; use [`write_data`] for more.
pub fn write_frame(channel: ChannelNumber, data: &[u8], out: &mut Vec<u8>) {
    let data = data.get(..MAX_DATA).unwrap_or(data);
    // Writing to a `Vec` cannot fail, so the results carry nothing.
    drop(encode::write_array_len(out, 2));
    drop(encode::write_uint(out, channel.0.into()));
    drop(encode::write_bin_len(out, u32::try_from(data.len()).unwrap_or(u32::MAX)));
    out.extend_from_slice(data);
}

/// Appends `data` to `out` in as many frames as it needs; none for no data.
pub fn write_data(channel: ChannelNumber, data: &[u8], out: &mut Vec<u8>) {
    data.chunks(MAX_DATA).for_each(|piece| write_frame(channel, piece, out));
}

/// Takes frames out of a byte stream cut anywhere.
#[derive(Debug)]
pub struct FrameReader {
    state: State,
    tokens: TokenReader,
    /// Data of the frame being read.
    data: Vec<u8>,
    /// Through an object of another shape.
    walk: Walk,
}

impl Default for FrameReader {
    fn default() -> Self {
        let walk = Walk::new(MAX_SKIPPED);
        Self { state: State::Start, tokens: TokenReader::default(), data: Vec::new(), walk }
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before an object.
    Start,
    /// Inside an array of two, before its first item.
    Channel,
    /// Before the second item.
    Data(ChannelNumber),
    /// Within the bytes of the second item, which has as many in all.
    Body(ChannelNumber, usize),
    /// Within an object of another shape.
    Walk,
}

impl FrameReader {
    /// The next frame, taken from the front of `input`. `None` means that all of `input` is used up
    /// and more is needed.
    ///
    /// # Errors
    /// When the stream cannot be read on; every later call fails or yields nonsense.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, FrameError> {
        loop {
            if let State::Body(channel, length) = self.state {
                let missing = length - self.data.len();
                self.data.extend_from_slice(take(input, missing));
                if self.data.len() < length {
                    return Ok(None);
                }
                self.state = State::Start;
                return Ok(Some(Frame { channel, data: std::mem::take(&mut self.data) }));
            }
            if !self.walk.pass_payload(input) {
                return Ok(None);
            }
            match self.tokens.next(input)? {
                Some(token) => self.state = self.step(&token)?,
                None => return Ok(None),
            }
        }
    }

    /// Whether the stream may end here: no object has begun.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        matches!(self.state, State::Start) && self.tokens.is_at_boundary() && self.walk.payload() == 0
    }

    fn step(&mut self, token: &Token) -> Result<State, FrameError> {
        match (self.state, token.item) {
            (State::Start, Item::Array(2)) => return Ok(State::Channel),
            (State::Channel, Item::Unsigned(number)) if number <= u64::from(u16::MAX) => {
                return Ok(State::Data(ChannelNumber(u16::try_from(number).unwrap_or(u16::MAX))));
            }
            (State::Data(channel), Item::Bytes(length)) if length <= MAX_DATA => {
                return Ok(State::Body(channel, length));
            }
            (State::Data(_), Item::Bytes(length)) => return Err(FrameError::TooLong { length }),
            // Another shape: this item is walked over, and what is left of an array of two.
            (State::Start | State::Data(_), _) => self.walk.begin(1),
            (State::Channel, _) => self.walk.begin(2),
            (State::Walk | State::Body(..), _) => {}
        }
        let done = self.walk.enter(token)?;
        Ok(if done { State::Start } else { State::Walk })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::msgpack::Value;

    fn read_cut(stream: &[u8], segment: usize) -> Result<Vec<Frame>, FrameError> {
        let mut reader = FrameReader::default();
        let mut frames = Vec::new();
        for mut piece in stream.chunks(segment) {
            while let Some(frame) = reader.next(&mut piece)? {
                frames.push(frame);
            }
            assert!(piece.is_empty());
        }
        assert!(reader.is_at_boundary());
        Ok(frames)
    }

    fn bytes(text: &str) -> Vec<u8> {
        hex::decode(text.replace(' ', "")).unwrap()
    }

    fn frame(channel: u16, data: &[u8]) -> Frame {
        Frame { channel: ChannelNumber(channel), data: data.to_vec() }
    }

    #[test]
    fn the_examples_of_the_specification_are_read_and_written() {
        for (text, channel, data) in [
            ("92 cd ff ff c4 04 81 a1 76 01", 65_535, "81a17601"),
            ("92 00 c4 09 93 a3 73 69 70 cd 80 00 00", 0, "93a3736970cd800000"),
            ("92 01 c4 00", 1, ""),
        ] {
            let expected = frame(channel, &bytes(data));
            assert_eq!(read_cut(&bytes(text), 1).unwrap(), std::slice::from_ref(&expected));
            let mut out = Vec::new();
            write_frame(expected.channel, &expected.data, &mut out);
            assert_eq!(out, bytes(text));
        }
    }

    #[test]
    fn a_long_write_is_cut_at_the_largest_frame() {
        let mut out = Vec::new();
        write_data(ChannelNumber(7), &[5; 70_000], &mut out);
        let lengths: Vec<usize> =
            read_cut(&out, 1447).unwrap().iter().map(|frame| frame.data.len()).collect();
        assert_eq!(lengths, [65_535, 4_465]);
    }

    #[test]
    fn objects_of_another_shape_are_skipped() {
        let good = bytes("92 05 c4 01 aa");
        for odd in [
            "80",
            "81 a1 76 01",
            "00",
            "ff",
            "c0",
            "c2",
            "90",
            "91 05",
            "93 05 c4 00 c0",
            "92 a1 31 c4 00",
            "92 05 05",
            "92 05 93 01 92 02 03 04",
            "92 ce 00 01 00 00 c4 02 01 02",
            "92 d0 ff c4 00",
            "d6 01 00 00 00 00",
            "c7 03 01 aa bb cc",
            "cb 00 00 00 00 00 00 00 00",
            "92 81 01 02 81 03 c4 01 00",
            "92 05 cb 00 00 00 00 00 00 00 00",
            "da 00 02 92 05",
            "dc 00 02 dc 00 00 df 00 00 00 00",
        ] {
            let stream = if odd.starts_with("dc 00 02") {
                // An array of two in its long form is still an array of two, with a wrong first item.
                [bytes(odd), good.clone()].concat()
            } else {
                [bytes(odd), good.clone(), bytes(odd), good.clone()].concat()
            };
            for segment in [1, 2, 1000] {
                let frames = read_cut(&stream, segment).unwrap();
                assert!(!frames.is_empty() && frames.iter().all(|it| *it == frame(5, &[0xaa])), "{odd}");
            }
        }
    }

    #[test]
    fn unusual_forms_of_a_frame_are_read() {
        let expected = [frame(5, b"ab")];
        for text in [
            "92 cd 00 05 c5 00 02 61 62",
            "dc 00 02 05 c6 00 00 00 02 61 62",
            "92 cf 00 00 00 00 00 00 00 05 a2 61 62",
            "92 d0 05 d9 02 61 62",
        ] {
            assert_eq!(read_cut(&bytes(text), 1).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn streams_that_cannot_be_read_on_fail() {
        for (text, error) in [
            ("c1", DecodeError::Reserved.into()),
            ("92 c1", DecodeError::Reserved.into()),
            ("92 05 c6 00 01 00 00", FrameError::TooLong { length: 65_536 }),
            ("dd ff ff ff ff", DecodeError::TooLarge { limit: MAX_SKIPPED }.into()),
            ("c6 ff ff ff ff", DecodeError::TooLarge { limit: MAX_SKIPPED }.into()),
        ] {
            let mut reader = FrameReader::default();
            assert_eq!(reader.next(&mut &bytes(text)[..]), Err(error), "{text}");
        }
        let mut reader = FrameReader::default();
        assert_eq!(reader.next(&mut &vec![0x91; 100_000][..]), Err(DecodeError::TooDeep.into()));
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(
            pieces in prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..300)), 0..8),
            segment in 1..400_usize,
        ) {
            let frames: Vec<Frame> = pieces.iter().map(|(channel, data)| frame(*channel, data)).collect();
            let mut stream = Vec::new();
            frames.iter().for_each(|frame| write_frame(frame.channel, &frame.data, &mut stream));
            prop_assert_eq!(read_cut(&stream, segment), Ok(frames));
        }

        #[test]
        fn any_bytes_give_the_same_result_in_one_piece_and_in_many(
            noise in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x92), Just(0xc4), Just(0x01)], 0..400),
        ) {
            let run = |segment: usize| {
                let mut reader = FrameReader::default();
                let mut frames = Vec::new();
                for mut piece in noise.chunks(segment) {
                    loop {
                        match reader.next(&mut piece) {
                            Ok(Some(frame)) => frames.push(frame),
                            Ok(None) => break,
                            Err(error) => return (frames, Err(error)),
                        }
                    }
                    assert!(reader.data.len() <= MAX_DATA);
                }
                (frames, Ok(reader.is_at_boundary()))
            };
            prop_assert_eq!(run(1), run(1000));
        }

        #[test]
        fn the_walk_agrees_with_the_tree_decoder(channel in any::<u16>(), items in prop::collection::vec(any::<u32>(), 0..20)) {
            let odd = Value::Array(items.iter().map(|item| Value::map([("k", u64::from(*item).into())])).collect());
            let mut stream = odd.encode();
            write_frame(ChannelNumber(channel), b"x", &mut stream);
            prop_assert_eq!(read_cut(&stream, 3), Ok(vec![frame(channel, b"x")]));
        }
    }
}
