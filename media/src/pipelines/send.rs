//! A source of sound to packets of Opus.
//!
//! ```text
//!   device   autoaudiosrc ───────────────────────────┐
//!   tone     audiotestsrc ───────────────────────────┤
//!   file     filesrc ► decodebin ► convert ► mixer ──┤   the mixer adds silence, before and behind
//!            audiotestsrc (silence) ─────────► ┘     │
//!                                                    ▼
//!   convert ► 48 kHz, 2 channels ► volume ► opusenc ► rtpopuspay ► appsink ──► packets
//! ```

use std::path::PathBuf;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as app;

use super::OnFailure;
use super::elements::{SoundError, build, element, need, start, stop};

/// Where sound comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SoundFrom {
    /// The usual device.
    Device,
    /// Nowhere.
    Silence,
    /// A steady tone of so many hertz.
    Tone(u32),
    /// A file, once.
    File(PathBuf),
}

/// What packets are to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packets {
    /// Number of the codec.
    pub payload: u8,
    /// Who sends.
    pub source: u32,
    /// Number of the first packet.
    pub first: u16,
    /// Longest packet, in bytes.
    pub longest: u32,
}

/// What follows every source. 96 kbit/s and two channels are what daemons send.
const TAIL: &str = "audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=2 ! volume name=volume ! \
     opusenc frame-size=20 bitrate=96000 inband-fec=true packet-loss-percentage=10 ! rtpopuspay name=pay ! \
     appsink name=out sync=false max-buffers=16 drop=true";

const ELEMENTS: [&str; 8] =
    ["audiotestsrc", "audioconvert", "audioresample", "volume", "opusenc", "rtpopuspay", "appsink", "queue"];

/// Whether there is all that a source needs.
///
/// # Errors
/// [`SoundError`] that says what is missing.
pub fn check_source(from: &SoundFrom) -> Result<(), SoundError> {
    need(&ELEMENTS)?;
    match from {
        SoundFrom::Device => need(&["autoaudiosrc"]),
        SoundFrom::File(path) => {
            need(&["filesrc", "decodebin", "audiomixer"])?;
            // Not opened: that waits where it is a pipe.
            match std::fs::metadata(path) {
                Ok(found) if found.is_file() => Ok(()),
                Ok(_) => Err(SoundError::File(format!("{} is no file", path.display()))),
                Err(error) => Err(SoundError::File(format!("{} cannot be read: {error}", path.display()))),
            }
        }
        SoundFrom::Silence | SoundFrom::Tone(_) => Ok(()),
    }
}

/// Sound on its way out. Dropping it ends it.
#[derive(Debug)]
pub struct Sending {
    pipeline: gst::Pipeline,
    volume: gst::Element,
}

impl Sending {
    /// Begins; `packet` gets each packet, in their order, from a thread of GStreamer.
    ///
    /// # Errors
    /// [`SoundError`] when it cannot.
    pub fn start(
        from: &SoundFrom,
        packets: Packets,
        muted: bool,
        packet: impl Fn(&[u8]) + Send + 'static,
        failed: OnFailure,
    ) -> Result<Self, SoundError> {
        check_source(from)?;
        let graph = match from {
            SoundFrom::Device => format!("autoaudiosrc ! {TAIL}"),
            SoundFrom::Silence => {
                format!("audiotestsrc is-live=true wave=silence samplesperbuffer=960 ! {TAIL}")
            }
            SoundFrom::Tone(hertz) => {
                format!("audiotestsrc is-live=true freq={hertz} volume=0.5 samplesperbuffer=960 ! {TAIL}")
            }
            SoundFrom::File(_) => format!(
                "audiotestsrc is-live=true wave=silence samplesperbuffer=960 ! audio/x-raw,rate=48000,channels=2 ! \
                 audiomixer name=mixer ! {TAIL} \
                 filesrc name=file ! decodebin ! audioconvert ! audioresample ! \
                 audio/x-raw,rate=48000,channels=2 ! queue ! mixer."
            ),
        };
        let pipeline = build(&graph)?;
        if let SoundFrom::File(path) = from {
            element(&pipeline, "file")?.set_property("location", path);
        }
        let volume = element(&pipeline, "volume")?;
        volume.set_property("mute", muted);
        let pay = element(&pipeline, "pay")?;
        pay.set_property("pt", u32::from(packets.payload));
        pay.set_property("ssrc", packets.source);
        pay.set_property("seqnum-offset", i32::from(packets.first));
        pay.set_property("mtu", packets.longest);
        let out = element(&pipeline, "out")?
            .downcast::<app::AppSink>()
            .map_err(|_| SoundError::Pipeline("it has no way out".to_owned()))?;
        let new_sample = move |out: &app::AppSink| {
            let sample = out.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let buffer = sample.buffer().ok_or(gst::FlowError::Error)?;
            let bytes = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
            packet(&bytes);
            Ok(gst::FlowSuccess::Ok)
        };
        out.set_callbacks(app::AppSinkCallbacks::builder().new_sample(new_sample).build());
        start(&pipeline, failed, None)?;
        Ok(Self { pipeline, volume })
    }

    /// Whether silence is sent instead.
    pub fn mute(&self, muted: bool) {
        self.volume.set_property("mute", muted);
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        // Stopping waits for threads and devices, which the one who drops must not.
        self.pipeline.call_async(stop);
    }
}
