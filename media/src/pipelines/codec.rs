//! Opus for rooms: single elements that are fed and emptied by hand.
//!
//! ```text
//!   own pad ──► opusdec ──► own pad        a packet in, its samples out
//!   own pad ──► opusenc ──► own pad        a frame in, its packet out
//! ```
//!
//! There is no pipeline around them, and so no thread, no queue and no clock: whoever pushes into the first pad
//! does the work, and has what comes of it at the second one when that returns. Pipelines with `appsrc` and
//! `appsink`, or an element of our own between N decoders and N encoders, have a thread for each stream and two
//! wake-ups a frame, and buffers that wait between them; here a frame of 20 ms to decode takes 54 µs and one to
//! encode 52 µs, all included (bench `room`, two cores of a virtual machine), which is little
//! more than what the codec alone takes. So rooms are no elements: choosing and summing are plain functions between these two.

use std::sync::{Arc, Mutex, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::elements::{SoundError, need};
use crate::opus::FRAME;
use crate::room::{Codecs, Decoder, Encoder};

/// Most that may come of one push: some packets of a flushed encoder.
const MAX_OUT: usize = 8;

/// Bits a second of what a room sends to each: one channel of speech at full band.
const BITRATE: i32 = 40_000;

/// How hard the encoder tries, of ten. More is not heard at this bitrate, and costs twice as much.
const COMPLEXITY: i32 = 5;

/// Losses that the encoder prepares for, in percent.
const LOSSES: i32 = 5;

/// Length of a frame.
const STEP: gst::ClockTime = gst::ClockTime::from_mseconds(20);

/// Opus of GStreamer.
#[derive(Clone, Copy, Debug, Default)]
pub struct GstOpus;

impl GstOpus {
    /// Looks whether there is all that is needed.
    ///
    /// # Errors
    /// [`SoundError`] that says what is missing.
    pub fn check() -> Result<(), SoundError> {
        need(&["opusenc", "opusdec"])
    }
}

impl Codecs for GstOpus {
    fn decoder(&self) -> Result<Box<dyn Decoder>, String> {
        Ok(Box::new(Opened::decoder().map_err(|error| error.to_string())?))
    }

    fn encoder(&self) -> Result<Box<dyn Encoder>, String> {
        Ok(Box::new(Opened::encoder().map_err(|error| error.to_string())?))
    }
}

type Out = Arc<Mutex<Vec<gst::Buffer>>>;

/// One element between two pads of our own.
struct Opened {
    element: gst::Element,
    into: gst::Pad,
    out_of: gst::Pad,
    out: Out,
    caps: gst::Caps,
    /// Frames pushed.
    pushed: u64,
}

fn broken(problem: &str) -> SoundError {
    SoundError::Pipeline(problem.to_owned())
}

/// One channel, as rooms mix it.
fn samples() -> gst::Caps {
    gst::Caps::builder("audio/x-raw")
        .field("format", "S16LE")
        .field("layout", "interleaved")
        .field("rate", 48_000_i32)
        .field("channels", 1_i32)
        .build()
}

impl Opened {
    fn decoder() -> Result<Self, SoundError> {
        GstOpus::check()?;
        let element = gst::ElementFactory::make("opusdec").property("plc", true).build();
        let caps = gst::Caps::builder("audio/x-opus")
            .field("rate", 48_000_i32)
            .field("channels", 2_i32)
            .field("channel-mapping-family", 0_i32)
            .build();
        Self::open(element.map_err(|error| broken(&error.to_string()))?, caps, samples())
    }

    fn encoder() -> Result<Self, SoundError> {
        GstOpus::check()?;
        let element = gst::ElementFactory::make("opusenc")
            .property("bitrate", BITRATE)
            .property("complexity", COMPLEXITY)
            .property("inband-fec", true)
            .property("packet-loss-percentage", LOSSES)
            .build();
        let element = element.map_err(|error| broken(&error.to_string()))?;
        element.set_property_from_str("bitrate-type", "vbr");
        Self::open(element, samples(), gst::Caps::new_any())
    }

    fn open(element: gst::Element, caps: gst::Caps, wanted: gst::Caps) -> Result<Self, SoundError> {
        let (Some(sink), Some(source)) = (element.static_pad("sink"), element.static_pad("src")) else {
            return Err(broken("an element has no pads"));
        };
        let out = Out::default();
        let taken = Arc::clone(&out);
        let template =
            gst::PadTemplate::new("out", gst::PadDirection::Sink, gst::PadPresence::Always, &wanted);
        let template = template.map_err(|error| broken(&error.to_string()))?;
        let out_of = gst::Pad::builder_from_template(&template)
            .chain_function(move |_, _, buffer| {
                let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
                if taken.len() < MAX_OUT {
                    taken.push(buffer);
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .build();
        let into = gst::Pad::builder(gst::PadDirection::Src).build();
        let linked = into.link(&sink).is_ok() && source.link(&out_of).is_ok();
        let active = out_of.set_active(true).is_ok() && into.set_active(true).is_ok();
        let opened = Self { element, into, out_of, out, caps, pushed: 0 };
        if !linked || !active || opened.element.set_state(gst::State::Playing).is_err() {
            return Err(broken("an element of Opus cannot be started"));
        }
        opened.begin();
        Ok(opened)
    }

    fn begin(&self) {
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        for event in [
            gst::event::StreamStart::new("room"),
            gst::event::Caps::new(&self.caps),
            gst::event::Segment::new(&segment),
        ] {
            // An element that does not take them takes no data either, which is seen then.
            let _ = self.into.push_event(event);
        }
    }

    fn flush(&mut self) {
        let _ = self.into.push_event(gst::event::FlushStart::new());
        let _ = self.into.push_event(gst::event::FlushStop::new(true));
        self.out.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.pushed = 0;
        self.begin();
    }

    /// When the next frame is.
    fn next_time(&mut self) -> gst::ClockTime {
        self.pushed += 1;
        STEP * (self.pushed - 1)
    }

    /// Pushes bytes; whether the element is alive.
    fn push(&mut self, bytes: Vec<u8>) -> bool {
        let mut buffer = gst::Buffer::from_mut_slice(bytes);
        let time = self.next_time();
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(time);
            buffer.set_duration(STEP);
        }
        self.into.push(buffer).is_ok()
    }

    /// What came out.
    fn taken(&self, mut take: impl FnMut(&[u8])) {
        for buffer in self.out.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if let Ok(bytes) = buffer.map_readable() {
                take(&bytes);
            }
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // Nothing runs here by itself, so nothing is waited for.
        let _ = self.element.set_state(gst::State::Null);
        let _ = self.into.set_active(false);
        let _ = self.out_of.set_active(false);
    }
}

impl Decoder for Opened {
    fn decode(&mut self, packet: Option<&[u8]>, out: &mut Vec<i16>) {
        let alive = match packet {
            Some(packet) => self.push(packet.to_vec()),
            None => {
                let gap = gst::event::Gap::builder(self.next_time()).duration(STEP).build();
                self.into.push_event(gap)
            }
        };
        self.taken(|bytes| {
            out.extend(bytes.chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]])));
        });
        if !alive {
            self.flush();
        }
    }

    fn reset(&mut self) {
        self.flush();
    }
}

impl Encoder for Opened {
    fn encode(&mut self, frame: &[i16]) -> Option<Vec<u8>> {
        let bytes = frame.iter().take(FRAME).flat_map(|sample| sample.to_le_bytes()).collect();
        let alive = self.push(bytes);
        let mut packet = None;
        self.taken(|bytes| packet = Some(bytes.to_vec()));
        if !alive {
            self.flush();
        }
        packet
    }

    fn reset(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opus::{SILENCE, is_silent, samples_of};
    use crate::tone::share_of_tone;

    fn tone(hertz: u32, frames: u32) -> Vec<Vec<i16>> {
        let mut samples = (0_u32..).map(|at| {
            let angle = f64::from(at) * f64::from(hertz) * std::f64::consts::TAU / 48_000.0;
            #[expect(clippy::cast_possible_truncation, reason = "in the range of samples")]
            let sample = (angle.sin() * 8000.0) as i16;
            sample
        });
        (0..frames).map(|_| samples.by_ref().take(FRAME).collect()).collect()
    }

    fn packets(frames: &[Vec<i16>]) -> Vec<Vec<u8>> {
        let mut encoder = GstOpus.encoder().unwrap();
        frames.iter().filter_map(|frame| encoder.encode(frame)).collect()
    }

    #[test]
    fn a_frame_makes_a_packet_and_a_packet_a_frame_of_the_same_tone() {
        let packets = packets(&tone(700, 50));
        assert_eq!(packets.len(), 50);
        assert!(packets.iter().all(|packet| samples_of(packet) == Some(FRAME)));
        let mut decoder = GstOpus.decoder().unwrap();
        let mut samples = Vec::new();
        for packet in &packets {
            let before = samples.len();
            decoder.decode(Some(packet), &mut samples);
            // The first frame lacks what the encoder looks ahead.
            assert!(before == 0 || samples.len() == before + FRAME, "{}", samples.len() - before);
        }
        assert!(share_of_tone(&samples[4800..], 48_000, 700) > 0.9);
    }

    #[test]
    fn what_is_lost_is_made_up_and_what_is_broken_harms_nothing() {
        let mut decoder = GstOpus.decoder().unwrap();
        let mut samples = Vec::new();
        for (at, packet) in packets(&tone(700, 60)).iter().enumerate() {
            match at % 10 {
                3 => decoder.decode(None, &mut samples),
                7 => {
                    decoder.decode(Some(&[0xff, 0xff, 0xff, 0xff]), &mut samples);
                    decoder.decode(Some(packet), &mut samples);
                }
                _ => decoder.decode(Some(packet), &mut samples),
            }
        }
        assert!(samples.len() > 50 * FRAME, "{}", samples.len());
        assert!(share_of_tone(&samples[4800..], 48_000, 700) > 0.6);
        decoder.reset();
        samples.clear();
        for packet in packets(&tone(1900, 20)) {
            decoder.decode(Some(&packet), &mut samples);
        }
        assert!(share_of_tone(&samples[9600..], 48_000, 1900) > 0.9);
        assert!(share_of_tone(&samples[9600..], 48_000, 700) < 0.05);
    }

    #[test]
    fn silence_is_short_and_the_constant_packet_is_silent() {
        let packets = packets(&vec![vec![0; FRAME]; 20]);
        assert!(packets[5..].iter().all(|packet| is_silent(packet)), "{packets:?}");
        let mut decoder = GstOpus.decoder().unwrap();
        let mut samples = Vec::new();
        for _ in 0..5 {
            decoder.decode(Some(&SILENCE), &mut samples);
        }
        assert!(samples.len() >= 4 * FRAME && samples.iter().all(|sample| sample.abs() < 5));
    }
}
