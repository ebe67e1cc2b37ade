//! A file to samples.
//!
//! ```text
//!   filesrc ► decodebin ► convert ► 48 kHz, 1 channel ► appsink ──► samples
//! ```

use std::path::Path;

use gstreamer::prelude::*;
use gstreamer_app as app;

use super::elements::{SoundError, build, element, need, start, stop};

/// Most samples that are read: ten minutes.
const MAX_SAMPLES: usize = 48_000 * 600;

/// How long the next samples may take.
const NEXT: gstreamer::ClockTime = gstreamer::ClockTime::from_seconds(5);

/// The sound of a file, one channel of [`super::RATE`] samples a second.
///
/// # Errors
/// [`SoundError`] when it cannot be read.
pub fn read_sound(path: &Path) -> Result<Vec<i16>, SoundError> {
    need(&["filesrc", "decodebin", "audioconvert", "audioresample", "appsink"])?;
    let pipeline = build(
        "filesrc name=file ! decodebin ! audioconvert ! audioresample ! \
         audio/x-raw,format=S16LE,rate=48000,channels=1 ! appsink name=out sync=false",
    )?;
    element(&pipeline, "file")?.set_property("location", path);
    let out = element(&pipeline, "out")?
        .downcast::<app::AppSink>()
        .map_err(|_| SoundError::Pipeline("it has no way out".to_owned()))?;
    // A problem is told once.
    let (failed, failure) = std::sync::mpsc::sync_channel(1);
    let failed = Box::new(move |problem| {
        let _ = failed.try_send(problem);
    });
    start(&pipeline, failed, None)?;
    let mut samples = Vec::new();
    while samples.len() < MAX_SAMPLES {
        let Some(sample) = out.try_pull_sample(NEXT) else { break };
        let Some(buffer) = sample.buffer() else { break };
        let Ok(bytes) = buffer.map_readable() else { break };
        samples.extend(bytes.chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]])));
    }
    stop(&pipeline);
    failure.try_recv().map_or(Ok(samples), |problem| Err(SoundError::File(problem)))
}
