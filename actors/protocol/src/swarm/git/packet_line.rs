//! Packet lines: the framing of the git protocol (spec: swarm 9.2).
//!
//! ```text
//!   0032have 10ad34b1474a4bea1b70bd5d00241f1fd8441f13\n     four hex digits of length, themselves counted
//!   0000                                                    a flush: end of a section
//! ```

use bytes::{Buf, Bytes, BytesMut};

/// Longest packet in bytes with its length digits, as in git.
pub const MAX_PACKET_LENGTH: usize = 65_520;

/// Bytes of the length digits.
const LENGTH_DIGITS: usize = 4;

/// Longest payload of a packet in bytes.
pub const MAX_PAYLOAD_LENGTH: usize = MAX_PACKET_LENGTH - LENGTH_DIGITS;

/// Most bytes that wait undecoded: a driver hands over one read and then takes all packets out, so
/// one part of a packet and one read of up to 1 MiB is all there ever is.
pub const MAX_BUFFERED: usize = MAX_PACKET_LENGTH + 1024 * 1024;

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// `0000`: the end of a section.
    Flush,
    /// A packet with this payload, perhaps empty.
    Data(Bytes),
}

/// Bytes that are not packet lines; the channel cannot be used any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketLineError {
    /// The four digits do not say a length that the protocol allows.
    #[error("{0:?} is not the length of a git packet; close the channel")]
    Length(String),
    /// More came than anybody takes out.
    #[error("more than {MAX_BUFFERED} bytes wait undecoded; close the channel")]
    Overflow,
}

/// Cuts a stream of bytes into packets, however the bytes are split.
#[derive(Debug, Default)]
pub struct PacketDecoder {
    buffer: BytesMut,
}

impl PacketDecoder {
    /// Adds received bytes.
    ///
    /// # Errors
    /// When more than [`MAX_BUFFERED`] bytes would wait.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), PacketLineError> {
        if self.buffer.len().saturating_add(bytes.len()) > MAX_BUFFERED {
            return Err(PacketLineError::Overflow);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes the next whole packet, if there is one.
    ///
    /// # Errors
    /// When the next four bytes are not a length.
    pub fn next_packet(&mut self) -> Result<Option<Packet>, PacketLineError> {
        let Some(digits) = self.buffer.first_chunk::<LENGTH_DIGITS>() else {
            return Ok(None);
        };
        match packet_length(digits)? {
            0 => {
                self.buffer.advance(LENGTH_DIGITS);
                Ok(Some(Packet::Flush))
            }
            length if self.buffer.len() < length => Ok(None),
            length => {
                let mut packet = self.buffer.split_to(length);
                packet.advance(LENGTH_DIGITS);
                Ok(Some(Packet::Data(packet.freeze())))
            }
        }
    }

    /// Whether no byte waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

/// The flush packet.
pub const FLUSH: &[u8] = b"0000";

/// The length written in `digits`: 0 for a flush, else 4 or more.
fn packet_length(digits: &[u8; LENGTH_DIGITS]) -> Result<usize, PacketLineError> {
    let refuse = || PacketLineError::Length(String::from_utf8_lossy(digits).into_owned());
    let mut bytes = [0; 2];
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| refuse())?;
    match usize::from(u16::from_be_bytes(bytes)) {
        0 => Ok(0),
        length @ LENGTH_DIGITS..=MAX_PACKET_LENGTH => Ok(length),
        _ => Err(refuse()),
    }
}

/// Appends `payload` as packets to `out`: one, or as many as it needs if it is too long.
pub fn encode(payload: &[u8], out: &mut Vec<u8>) {
    if payload.is_empty() {
        out.extend_from_slice(b"0004");
    }
    for piece in payload.chunks(MAX_PAYLOAD_LENGTH) {
        out.extend_from_slice(format!("{:04x}", piece.len() + LENGTH_DIGITS).as_bytes());
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(bytes: &[u8], step: usize) -> Result<Vec<Packet>, PacketLineError> {
        let mut decoder = PacketDecoder::default();
        let mut packets = Vec::new();
        for piece in bytes.chunks(step.max(1)) {
            decoder.receive(piece)?;
            while let Some(packet) = decoder.next_packet()? {
                packets.push(packet);
            }
        }
        Ok(packets)
    }

    #[test]
    fn packets_are_the_same_byte_by_byte_and_all_at_once() {
        let bytes = b"0009done\n00000004000aabcdef";
        let whole = decode(bytes, bytes.len()).unwrap();
        assert_eq!(
            whole,
            [
                Packet::Data(Bytes::from_static(b"done\n")),
                Packet::Flush,
                Packet::Data(Bytes::new()),
                Packet::Data(Bytes::from_static(b"abcdef")),
            ]
        );
        assert_eq!(decode(bytes, 1).unwrap(), whole);
    }

    #[test]
    fn a_malformed_length_is_refused() {
        for digits in ["0001", "0002", "0003", "fff1", "ffff", "zzzz", "-001", " 009", "00 9"] {
            assert!(matches!(decode(digits.as_bytes(), 1), Err(PacketLineError::Length(_))), "{digits}");
        }
        assert!(decode(b"fff0", 1).unwrap().is_empty());
        assert!(decode(b"000A1234", 1).unwrap().is_empty());
    }

    #[test]
    fn bytes_that_nobody_takes_out_are_bounded() {
        let mut decoder = PacketDecoder::default();
        decoder.receive(&vec![b'0'; MAX_BUFFERED]).unwrap();
        assert_eq!(decoder.receive(b"0"), Err(PacketLineError::Overflow));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_encoded_decodes_however_it_is_split(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            step in 1_usize..400,
        ) {
            let mut bytes = Vec::new();
            for payload in &payloads {
                encode(payload, &mut bytes);
            }
            let expected: Vec<_> = payloads.into_iter().map(|p| Packet::Data(Bytes::from(p))).collect();
            prop_assert_eq!(decode(&bytes, step).unwrap(), expected);
        }

        #[test]
        fn any_bytes_are_handled(bytes in prop::collection::vec(any::<u8>(), 0..400), step in 1_usize..50) {
            let _ = decode(&bytes, step);
        }
    }
}
