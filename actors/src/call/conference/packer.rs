//! Packets of RTP out of payloads, one count over all that a stream consists of.

use std::time::Instant;

use bytes::Bytes;

/// Ticks of a packet of 20 ms.
const TICKS: u32 = 960;

/// Milliseconds after which the time is taken from the clock: nothing was sent for a while.
const PAUSE_MS: u128 = 60;

/// The longest pause that a timestamp tells of, in milliseconds; a longer one is as long as that.
const LONGEST_PAUSE_MS: u128 = 60_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Packer {
    payload: u8,
    source: u32,
    sequence: u16,
    timestamp: u32,
    last: Option<Instant>,
    /// The last timestamp of the pipeline that makes the packets, if one does.
    theirs: Option<u32>,
}

impl Packer {
    pub(super) const fn new(payload: u8, source: u32, first: u16) -> Self {
        Self { payload, source, sequence: first, timestamp: 0, last: None, theirs: None }
    }

    /// The number of the next packet.
    pub(super) const fn next(&self) -> u16 {
        self.sequence
    }

    /// The next packet of 20 ms.
    pub(super) fn pack(&mut self, payload: &[u8], now: Instant) -> Bytes {
        self.theirs = None;
        let paused = self.last.map_or(0, |last| now.saturating_duration_since(last).as_millis());
        let frames = if paused > PAUSE_MS { paused.min(LONGEST_PAUSE_MS) / 20 } else { 1 };
        self.write(payload, TICKS.saturating_mul(u32::try_from(frames).unwrap_or(1)), now)
    }

    /// The next packet, as a pipeline made it with a count of its own.
    pub(super) fn repack(&mut self, timestamp: u32, payload: &[u8], now: Instant) -> Bytes {
        let passed = self.theirs.map_or(TICKS, |last| timestamp.wrapping_sub(last));
        self.theirs = Some(timestamp);
        self.write(payload, passed, now)
    }

    fn write(&mut self, payload: &[u8], passed: u32, now: Instant) -> Bytes {
        self.timestamp = self.timestamp.wrapping_add(passed);
        self.last = Some(now);
        let mut packet = Vec::with_capacity(12 + payload.len());
        packet.extend([0x80, self.payload & 0x7f]);
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(self.timestamp.to_be_bytes());
        packet.extend(self.source.to_be_bytes());
        packet.extend_from_slice(payload);
        self.sequence = self.sequence.wrapping_add(1);
        packet.into()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use skep_protocol::rtp::RtpHeader;

    use super::*;

    #[test]
    fn numbers_go_on_by_one_and_times_by_what_passed_whoever_makes_the_packets() {
        let mut packer = Packer::new(104, 7, 65_534);
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let packets = [
            packer.repack(500_000, b"a", at(0)),
            packer.repack(500_960, b"b", at(20)),
            packer.pack(b"c", at(45)),
            packer.pack(b"d", at(1045)),
            packer.repack(7, b"e", at(1065)),
        ];
        let read = packets.map(|packet| RtpHeader::read(&packet, 0).unwrap());
        assert_eq!(read.map(|it| it.sequence), [65_534, 65_535, 0, 1, 2]);
        assert_eq!(read.map(|it| it.timestamp), [960, 1920, 2880, 50_880, 51_840]);
        assert!(read.iter().all(|it| it.source == 7 && it.payload == 104 && it.length == 12));
    }
}
