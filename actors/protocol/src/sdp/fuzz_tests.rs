//! Fuzz body of descriptions, and what holds for all of them.

use proptest::prelude::*;

use super::offer_tests::{audio, offered, video};
use super::recorded_tests::bodies;
use super::*;
use crate::testing::{DAEMONS, with_mutations};

/// What is read is read again from its own writing, is answered line by line, and agrees with anything.
fn fuzz_description(data: &[u8]) {
    let Ok(read) = Description::read(data) else { return };
    let again = Description::read(&read.write()).unwrap();
    assert_eq!(again, read);
    let media: Vec<_> = (0..MAX_MEDIA).map(|at| if at % 2 == 0 { audio() } else { video() }).collect();
    let ours = answer(&read, read.origin.clone(), "x", read.ice.clone(), [10, 0, 0, 1].into(), &media);
    if let Ok(ours) = ours {
        assert_eq!(ours.media.len(), read.media.len());
        assert_eq!(agreed(&ours, &read, false).len(), ours.media.len());
        let _ = carrier(&ours, &read, None, true);
        assert!(Description::read(&ours.write()).is_ok());
    }
    let _ = agreed(&offered(&media), &read, true);
}

#[test]
fn damaged_descriptions_are_read_or_refused() {
    for daemon in DAEMONS {
        for body in bodies(daemon) {
            with_mutations(body.as_bytes(), 25, fuzz_description);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn whatever_two_sides_have_both_see_the_same_call(
        streams in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), 0..4_usize), 1..6),
    ) {
        let side = |ours: bool| -> Vec<LocalMedia> {
            streams.iter().map(|&(is_audio, enabled, muted, held, first)| {
                let mut local = if is_audio { audio() } else { video() };
                if ours {
                    (local.stream.enabled, local.stream.muted, local.stream.held) = (enabled, muted, held);
                } else {
                    let length = local.stream.codecs.len();
                    local.stream.codecs.rotate_left(first % length);
                }
                local
            }).collect()
        };
        let offer = offered(&side(true));
        let Ok(ours) = answer(&offer, offer.origin.clone(), "x", None, [10, 0, 0, 1].into(), &side(false)) else {
            return Err(TestCaseError::fail("everything is offered in the right way"));
        };
        let (caller, callee) = (agreed(&offer, &ours, true), agreed(&ours, &offer, false));
        prop_assert_eq!(caller.len(), callee.len());
        for (one, other) in caller.iter().zip(&callee) {
            prop_assert_eq!(one.is_some(), other.is_some());
            if let (Some(one), Some(other)) = (one, other) {
                prop_assert_eq!(one.codec, other.codec);
                prop_assert_eq!(one.send_payload, other.receive_payload);
                prop_assert_eq!(one.direction, other.direction.reversed());
                prop_assert_eq!(&one.encrypt, &other.decrypt);
            }
        }
    }
}
