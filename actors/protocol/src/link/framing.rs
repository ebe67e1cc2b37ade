//! Frames on the TCP path (RFC 4571, `spec: connection 4.5`): a length of two bytes, then either a STUN
//! message or a piece of the application's byte stream.
//!
//! ```text
//!   0        2                2 + L
//!   | L (be) | STUN or data    |   L = 0 is legal and means nothing
//! ```
//!
//! Boundaries of data frames have no meaning; the data of all of them is one stream.

use super::stun;

/// Most bytes one frame carries.
pub const MAX_FRAME: usize = 65_535;

/// Most application bytes kept before the pair is nominated: 1 MiB, far more than any first flight
/// of TLS (`spec: connection 13`).
pub const MAX_EARLY_DATA: usize = 1024 * 1024;

/// Length of the length, in bytes.
const HEADER: usize = 2;

/// What one frame carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Bytes in the form of a STUN message; what they say is not yet checked.
    Stun(Vec<u8>),
    /// The next bytes of the application's stream.
    Data(Vec<u8>),
}

/// Appends `data` to `out` in as many frames as it needs; nothing for no data.
pub fn write_frames(data: &[u8], out: &mut Vec<u8>) {
    for piece in data.chunks(MAX_FRAME) {
        // A chunk is never longer than `MAX_FRAME`, which fits.
        let length = u16::try_from(piece.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(piece);
    }
}

/// Takes frames out of a byte stream cut anywhere. Holds at most one unfinished frame.
#[derive(Debug, Default)]
pub struct FrameReader {
    /// Length of the frame that has begun, once that is here.
    length: Option<usize>,
    /// What is here of the length, or of the frame after it.
    partial: Vec<u8>,
}

impl FrameReader {
    /// The next frame, taken from the front of `input`. `None` means that all of `input` is used up
    /// and more is needed.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Frame> {
        loop {
            let length = match self.length {
                Some(length) => length,
                None => self.header(input)?,
            };
            self.fill(length, input)?;
            self.length = None;
            let frame = std::mem::take(&mut self.partial);
            if frame.is_empty() {
                continue;
            }
            return Some(if stun::looks_like_stun(&frame) { Frame::Stun(frame) } else { Frame::Data(frame) });
        }
    }

    fn header(&mut self, input: &mut &[u8]) -> Option<usize> {
        self.fill(HEADER, input)?;
        let header = *self.partial.first_chunk::<HEADER>()?;
        self.partial.clear();
        let length = usize::from(u16::from_be_bytes(header));
        self.length = Some(length);
        Some(length)
    }

    /// Whether the stream may end here: no frame has begun.
    #[must_use]
    pub const fn is_at_boundary(&self) -> bool {
        self.length.is_none() && self.partial.is_empty()
    }

    /// Moves bytes from `input` until `length` are there.
    fn fill(&mut self, length: usize, input: &mut &[u8]) -> Option<()> {
        let missing = length.saturating_sub(self.partial.len());
        let (piece, rest) = input.split_at(missing.min(input.len()));
        self.partial.extend_from_slice(piece);
        *input = rest;
        (self.partial.len() >= length).then_some(())
    }
}

/// The peer sent more than [`MAX_EARLY_DATA`] before the pair was nominated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent more than {MAX_EARLY_DATA} bytes before the path was chosen; close the path")]
pub struct EarlyDataOverflow;

/// Application bytes that arrive before the local side knows that the pair is nominated.
#[derive(Debug, Default)]
pub struct EarlyData {
    bytes: Vec<u8>,
}

impl EarlyData {
    /// Keeps `data` for later.
    ///
    /// # Errors
    /// When more would be kept than [`MAX_EARLY_DATA`]; nothing of `data` is kept then.
    pub fn push(&mut self, data: &[u8]) -> Result<(), EarlyDataOverflow> {
        if data.len() > MAX_EARLY_DATA - self.bytes.len() {
            return Err(EarlyDataOverflow);
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// All that was kept, in order; to be delivered before anything newer.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::link::golden;

    fn read_all(stream: &[u8], segment: usize) -> Vec<Frame> {
        let mut reader = FrameReader::default();
        let mut frames = Vec::new();
        for mut piece in stream.chunks(segment) {
            while let Some(frame) = reader.next(&mut piece) {
                frames.push(frame);
            }
            assert!(piece.is_empty());
        }
        assert!(reader.is_at_boundary());
        frames
    }

    fn data_of(frames: &[Frame]) -> Vec<u8> {
        let data =
            frames.iter().filter_map(|frame| if let Frame::Data(it) = frame { Some(&it[..]) } else { None });
        data.collect::<Vec<_>>().concat()
    }

    #[test]
    fn a_mebibyte_arrives_whole_however_the_path_cuts_it() {
        let data: Vec<u8> = (0..1024 * 1024_u32).map(|n| u8::try_from(n % 251).unwrap() | 0x80).collect();
        let mut stream = Vec::new();
        write_frames(&data[..500_000], &mut stream);
        write_frames(&golden::keepalive(), &mut stream);
        write_frames(&data[500_000..], &mut stream);
        for segment in [1, 1447, 65_536] {
            let frames = read_all(&stream, segment);
            assert_eq!(data_of(&frames), data, "segments of {segment}");
            let messages: Vec<_> = frames.into_iter().filter(|it| matches!(it, Frame::Stun(_))).collect();
            assert_eq!(messages, [Frame::Stun(golden::keepalive())]);
        }
    }

    #[test]
    fn empty_frames_mean_nothing_and_a_truncated_one_waits() {
        assert_eq!(read_all(&[0, 0, 0, 0], 1), []);
        let mut reader = FrameReader::default();
        assert_eq!(reader.next(&mut &[0, 3, 0x16, 3][..]), None);
        assert!(!reader.is_at_boundary());
        assert_eq!(reader.next(&mut &[1][..]), Some(Frame::Data(vec![0x16, 3, 1])));
    }

    #[test]
    fn tls_records_and_damaged_stun_are_data() {
        let mut message = golden::keepalive();
        message[4] ^= 1;
        for bytes in [vec![0x16, 3, 1, 0, 0], message, vec![0; 20]] {
            let mut stream = Vec::new();
            write_frames(&bytes, &mut stream);
            assert_eq!(read_all(&stream, 3), [Frame::Data(bytes)]);
        }
    }

    #[test]
    fn early_data_is_bounded_and_comes_out_in_order() {
        let mut early = EarlyData::default();
        early.push(&[1]).unwrap();
        early.push(&vec![2; MAX_EARLY_DATA - 1]).unwrap();
        assert_eq!(early.push(&[3]), Err(EarlyDataOverflow));
        let bytes = early.into_bytes();
        assert_eq!((bytes.len(), bytes[0], bytes[1]), (MAX_EARLY_DATA, 1, 2));
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..10),
            segment in 1..40_usize,
        ) {
            let mut stream = Vec::new();
            pieces.iter().for_each(|piece| write_frames(piece, &mut stream));
            let frames = pieces.into_iter().map(Frame::Data).collect::<Vec<_>>();
            prop_assert_eq!(read_all(&stream, segment), frames);
        }

        #[test]
        fn any_bytes_leave_at_most_one_unfinished_frame(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut reader = FrameReader::default();
            let mut input = &bytes[..];
            while reader.next(&mut input).is_some() {}
            prop_assert!(reader.partial.len() < HEADER + MAX_FRAME);
        }
    }
}
