//! What a packet of Opus says of itself before it is decoded (RFC 6716, 3).

/// Samples of a frame of 20 ms, one channel: the step of all mixing.
pub const FRAME: usize = 960;

/// Longest payload that is taken, in bytes: a packet of Opus has at most 1,275 a frame, and daemons send less.
pub const MAX_PAYLOAD: usize = 1500;

/// Most samples of a packet: 120 ms.
pub const MAX_SAMPLES: usize = 5760;

/// 20 ms of silence: one frame, full band, nothing in it.
pub const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];

/// Longest payload that holds nothing but silence, in bytes, whatever encodes it: with variable bitrate
/// nothing takes three, and a pause two or less.
const SILENT: usize = 6;

/// How many samples a packet holds; `None` if it is none.
#[must_use]
pub fn samples_of(payload: &[u8]) -> Option<usize> {
    let first = *payload.first()?;
    if payload.len() > MAX_PAYLOAD {
        return None;
    }
    let config = first >> 3;
    let frame = match config {
        0..=11 => [480, 960, 1920, 2880][usize::from(config % 4)],
        12..=15 => [480, 960][usize::from(config % 2)],
        _ => [120, 240, 480, 960][usize::from(config % 4)],
    };
    let frames = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => usize::from(payload.get(1)? & 0x3f),
    };
    Some(frames * frame).filter(|samples| (1..=MAX_SAMPLES).contains(samples))
}

/// Whether a packet is so short that it can only be silent.
#[must_use]
pub const fn is_silent(payload: &[u8]) -> bool {
    payload.len() <= SILENT
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_bytes_tell_how_long_a_packet_sounds() {
        assert_eq!(samples_of(&SILENCE), Some(FRAME));
        for (bytes, samples) in [
            (&[0x00, 1][..], Some(480)),
            (&[0x18], Some(2880)),
            (&[0x60], Some(480)),
            (&[0x68], Some(960)),
            (&[0x80], Some(120)),
            (&[0xf9], Some(1920)),
            (&[0xfb, 6], Some(5760)),
            (&[0xfb, 7], None),
            (&[0xfb, 0], None),
            (&[0xfb], None),
            (&[], None),
        ] {
            assert_eq!(samples_of(bytes), samples, "{bytes:02x?}");
        }
        assert_eq!(samples_of(&[0xf8; MAX_PAYLOAD + 1]), None);
        assert!(is_silent(&SILENCE) && is_silent(&[]) && !is_silent(&[0xf8; 40]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn no_packet_says_that_it_sounds_longer_than_one_may(payload in prop::collection::vec(any::<u8>(), 0..8)) {
            prop_assert!(samples_of(&payload).is_none_or(|samples| (1..=MAX_SAMPLES).contains(&samples)));
        }
    }
}
