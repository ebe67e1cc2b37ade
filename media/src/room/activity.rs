//! Who may be speaking, guessed without decoding.
//!
//! Packets of a call say nothing of their loudness. But encoders with a variable bitrate, which is what daemons
//! and this project use, spend more bytes on speech than on the noise of a room: what counts is how much longer
//! packets are than the shortest of late. Encoders with a constant bitrate tell nothing; their streams are
//! decoded in turn for a moment each. And the other side may say that its owner speaks.

use crate::opus;

/// By which part of the difference the floor rises with each packet: in ten seconds it follows a noisier room.
const RISE: i64 = 512;

/// By which part the excess follows.
const FOLLOW: i64 = 4;

/// Fixed point.
const ONE: i64 = 1024;

/// Excess from which somebody probably speaks, in bytes.
pub(super) const SPEAKS: i64 = 10;

/// What is known of one stream.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// The length of packets in which nothing is said; in parts of [`ONE`] of a byte.
    floor: Option<i64>,
    /// By how much packets are longer than that.
    excess: i64,
    /// Whether the last packet may hold sound.
    sounds: bool,
    /// Whether the other side says that its owner speaks.
    pub(super) told: bool,
}

impl Activity {
    pub(super) fn packet(&mut self, payload: &[u8]) {
        let length = i64::try_from(payload.len()).unwrap_or(0) * ONE;
        self.sounds = !opus::is_silent(payload);
        let floor = self.floor.map_or(length, |floor| length.min(floor + (length - floor) / RISE));
        self.floor = Some(floor);
        self.excess += (length - floor - self.excess) / FOLLOW;
    }

    /// Whether anything but silence came last.
    pub(super) const fn sounds(&self) -> bool {
        self.sounds
    }

    /// Nothing comes any more.
    pub(super) const fn stopped(&mut self) {
        self.sounds = false;
        self.excess = 0;
    }

    /// How likely it is that somebody speaks, in bytes.
    pub(super) const fn likely(&self) -> i64 {
        if self.told { 10_000 } else { self.excess / ONE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lengths: impl IntoIterator<Item = usize>) -> Activity {
        let mut activity = Activity::default();
        lengths.into_iter().for_each(|length| activity.packet(&vec![0xf8; length]));
        activity
    }

    #[test]
    fn speech_is_seen_by_its_longer_packets_within_two() {
        let quiet = std::iter::repeat_n([40, 44, 38], 100).flatten();
        assert!(after(quiet.clone()).likely() < SPEAKS);
        assert!(after(quiet.clone().chain([90, 95])).likely() >= SPEAKS);
        let paused = quiet.chain([90; 50]).chain([40; 25]);
        assert!(after(paused).likely() < SPEAKS, "and its end soon");
    }

    #[test]
    fn silence_does_not_sound_and_a_constant_bitrate_tells_nothing() {
        assert!(!after([90, 3]).sounds());
        let constant = after([240; 500]);
        assert!(constant.sounds());
        assert_eq!(constant.likely(), 0);
        let mut told = constant;
        told.told = true;
        assert!(told.likely() > SPEAKS);
    }

    #[test]
    fn a_room_that_gets_noisier_is_no_speech_after_a_while() {
        let noisier = after(std::iter::repeat_n(30, 100).chain(std::iter::repeat_n(80, 1500)));
        assert!(noisier.likely() < SPEAKS, "{}", noisier.likely());
    }
}
