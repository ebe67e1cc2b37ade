//! The header of a packet (RFC 3550, 5.1).

/// Longest packet that is taken, in bytes: daemons send up to 1,204, and more costs nothing
/// (`spec: calls 6`).
pub const MAX_PACKET: usize = 2048;

/// Longest protected packet that is sent, in bytes: over IPv6 daemons read no more (`spec: calls 6`).
pub const SENT_PACKET: usize = 1174;

/// Length of a header without anything more, in bytes.
const FIXED: usize = 12;

/// A packet that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no RTP packet, or its length fields exceed it")]
pub struct RtpMalformed;

/// What of a header is made use of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// Where the payload begins, behind contributing sources and extension.
    pub length: usize,
    /// What the payload is.
    pub payload: u8,
    /// Grows by one with each packet.
    pub sequence: u16,
    /// When it is played, in ticks of the codec's clock.
    pub timestamp: u32,
    /// Who sends.
    pub source: u32,
}

impl RtpHeader {
    /// Reads the header of a packet that ends with `tail` bytes which are not of it.
    ///
    /// # Errors
    /// [`RtpMalformed`] when it is none, or the packet is shorter than it says.
    pub fn read(packet: &[u8], tail: usize) -> Result<Self, RtpMalformed> {
        let room = packet.len().checked_sub(tail).ok_or(RtpMalformed)?;
        let fixed: &[u8; FIXED] =
            packet.first_chunk().filter(|fixed| fixed[0] >> 6 == 2).ok_or(RtpMalformed)?;
        let mut length = FIXED + 4 * usize::from(fixed[0] & 0x0f);
        if fixed[0] & 0x10 != 0 {
            let words = packet.get(length + 2..length + 4).ok_or(RtpMalformed)?;
            length += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
        }
        if length > room {
            return Err(RtpMalformed);
        }
        Ok(Self {
            length,
            payload: fixed[1] & 0x7f,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            source: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_extensions_are_skipped_by_their_lengths_and_never_exceed_the_packet() {
        let mut packet = vec![0x80, 0xe8, 0x12, 0x34, 0, 0, 0, 9, 1, 2, 3, 4];
        let plain = RtpHeader::read(&packet, 0).unwrap();
        assert_eq!(
            (plain.length, plain.payload, plain.sequence, plain.source),
            (12, 104, 0x1234, 0x0102_0304)
        );
        packet[0] = 0x92;
        packet.extend([0; 8]);
        packet.extend([0xbe, 0xde, 0, 1, 0x32, 1, 2, 3, 0xff]);
        assert_eq!(RtpHeader::read(&packet, 0).unwrap().length, 28);
        assert_eq!(RtpHeader::read(&packet, 1).unwrap().length, 28);
        assert_eq!(RtpHeader::read(&packet, 2), Err(RtpMalformed));
        packet[22] = 0xff;
        assert_eq!(RtpHeader::read(&packet, 0), Err(RtpMalformed));
        for end in 0..12 {
            assert_eq!(RtpHeader::read(&packet[..end], 0), Err(RtpMalformed));
        }
        packet[0] = 0x12;
        assert_eq!(RtpHeader::read(&packet, 0), Err(RtpMalformed));
    }
}
