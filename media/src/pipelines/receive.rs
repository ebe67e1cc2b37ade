//! Packets of Opus to where sound goes.
//!
//! ```text
//!   packets ──► appsrc ► rtpjitterbuffer ► rtpopusdepay ─┬─► opusdec ► convert ► autoaudiosink   device
//!                                                        ├─► opusdec ► fakesink                  nowhere
//!                                                        └─► opusparse ► oggmux ► filesink       file
//! ```

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as app;

use super::OnFailure;
use super::elements::{SoundError, build, element, need, start, stop};

/// Bytes of packets that may wait: some seconds of sound. What comes beyond them is dropped.
const WAITING: u64 = 64 * 1024;

/// How long packets are held to be put in order: what daemons hold them at most, and a little more.
const LATENCY_MS: u32 = 60;

/// How long a file may take to be finished.
const FINISHING: Duration = Duration::from_secs(3);

/// Where sound goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SoundTo {
    /// The usual device.
    Device,
    /// Nowhere.
    Nowhere,
    /// A new file.
    File(PathBuf),
}

/// Whether there is all that an output needs.
///
/// # Errors
/// [`SoundError`] that says what is missing.
pub fn check_output(to: &SoundTo) -> Result<(), SoundError> {
    need(&["appsrc", "rtpjitterbuffer", "rtpopusdepay"])?;
    match to {
        SoundTo::Device => need(&["opusdec", "audioconvert", "audioresample", "autoaudiosink"]),
        SoundTo::Nowhere => need(&["opusdec", "fakesink"]),
        SoundTo::File(path) => {
            need(&["opusparse", "oggmux", "filesink"])?;
            let folder = path.parent().filter(|folder| folder.is_dir());
            if path.exists() {
                let text = format!("{} exists already; choose another name", path.display());
                return Err(SoundError::File(text));
            }
            let missing = || SoundError::File(format!("the folder of {} does not exist", path.display()));
            folder.map(drop).ok_or_else(missing)
        }
    }
}

/// Sound on its way in. Dropping it ends it; a file is finished behind that.
#[derive(Debug)]
pub struct Receiving {
    pipeline: gst::Pipeline,
    packets: app::AppSrc,
    ended: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Receiving {
    /// Begins to take packets with this number of the codec.
    ///
    /// # Errors
    /// [`SoundError`] when it cannot.
    pub fn start(to: &SoundTo, payload: u8, failed: OnFailure) -> Result<Self, SoundError> {
        check_output(to)?;
        let tail = match to {
            SoundTo::Device => {
                "opusdec use-inband-fec=true plc=true ! audioconvert ! audioresample ! autoaudiosink"
            }
            SoundTo::Nowhere => "opusdec use-inband-fec=true plc=true ! fakesink sync=false",
            SoundTo::File(_) => "opusparse ! oggmux ! filesink name=file",
        };
        let graph = format!(
            "appsrc name=in is-live=true format=time do-timestamp=true ! \
             rtpjitterbuffer latency={LATENCY_MS} do-lost=true ! rtpopusdepay ! {tail}"
        );
        let pipeline = build(&graph)?;
        if let SoundTo::File(path) = to {
            element(&pipeline, "file")?.set_property("location", path);
        }
        let packets = element(&pipeline, "in")?
            .downcast::<app::AppSrc>()
            .map_err(|_| SoundError::Pipeline("it has no way in".to_owned()))?;
        let caps = gst::Caps::builder("application/x-rtp")
            .field("media", "audio")
            .field("clock-rate", 48_000_i32)
            .field("encoding-name", "OPUS")
            .field("payload", i32::from(payload))
            .build();
        packets.set_caps(Some(&caps));
        packets.set_max_bytes(WAITING);
        let (told, ended) = mpsc::sync_channel(1);
        start(&pipeline, failed, Some(told))?;
        Ok(Self { pipeline, packets, ended: Mutex::new(Some(ended)) })
    }

    /// Takes a packet, without waiting; it is dropped if too much waits.
    pub fn packet(&self, packet: impl AsRef<[u8]> + Send + 'static) {
        if self.packets.current_level_bytes() < WAITING {
            // What cannot be taken has broken, which is told elsewhere.
            let _ = self.packets.push_buffer(gst::Buffer::from_slice(packet));
        }
    }

    /// What tells the end, for the one who waits for it.
    fn take_end(&self) -> Option<mpsc::Receiver<()>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Ends, and waits until a file is finished.
    pub fn finish(self) {
        if let Some(ended) = self.take_end() {
            finish(&self.pipeline, &self.packets, &ended);
        }
    }
}

fn finish(pipeline: &gst::Pipeline, packets: &app::AppSrc, ended: &mpsc::Receiver<()>) {
    let _ = packets.end_of_stream();
    let _ = ended.recv_timeout(FINISHING);
    stop(pipeline);
}

impl Drop for Receiving {
    fn drop(&mut self) {
        // Finishing waits, which the one who drops must not.
        if let Some(ended) = self.take_end() {
            let packets = self.packets.clone();
            self.pipeline.call_async(move |pipeline| finish(pipeline, &packets, &ended));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::super::send::Packets;
    use super::super::{RATE, Sending, SoundFrom, read_sound};
    use super::*;
    use crate::tone::best_share;

    const PACKETS: Packets = Packets { payload: 104, source: 7, first: 65_500, longest: 1164 };

    fn quiet() -> OnFailure {
        Box::new(|problem| assert!(problem.is_empty(), "{problem}"))
    }

    /// The packets of a source, for so many packets.
    fn packets_of(from: &SoundFrom, muted: bool, count: usize) -> Vec<Vec<u8>> {
        let packets = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&packets);
        let take = move |packet: &[u8]| taken.lock().unwrap().push(packet.to_vec());
        let sending = Sending::start(from, PACKETS, muted, take, quiet()).unwrap();
        let begun = Instant::now();
        while packets.lock().unwrap().len() < count {
            assert!(begun.elapsed() < Duration::from_secs(30), "no packets come");
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(sending);
        let taken = packets.lock().unwrap();
        taken.iter().take(count).cloned().collect()
    }

    /// Records packets, as fast as they are heard: what comes faster waits, and is not in a record that ends before.
    fn record(packets: Vec<Vec<u8>>, path: &Path) {
        let receiving = Receiving::start(&SoundTo::File(path.to_owned()), 104, quiet()).unwrap();
        for packet in packets {
            receiving.packet(packet);
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(300));
        receiving.finish();
    }

    /// Records packets and reads the record.
    fn recorded(packets: Vec<Vec<u8>>) -> Vec<i16> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("heard.ogg");
        record(packets, &path);
        assert!(matches!(check_output(&SoundTo::File(path.clone())), Err(SoundError::File(_))));
        read_sound(&path).unwrap()
    }

    #[test]
    fn a_tone_gets_through_packets_and_a_recording_and_is_the_same() {
        let packets = packets_of(&SoundFrom::Tone(700), false, 60);
        for (at, packet) in packets.iter().enumerate() {
            assert_eq!(packet[1] & 0x7f, 104);
            let number = u16::from_be_bytes([packet[2], packet[3]]);
            assert_eq!(number, 65_500_u16.wrapping_add(u16::try_from(at).unwrap()));
            assert_eq!(packet[8..12], [0, 0, 0, 7]);
            assert!(packet.len() <= 1164);
        }
        let samples = recorded(packets);
        assert!(samples.len() > 54_000, "{} samples", samples.len());
        assert!(best_share(&samples, RATE, 700) > 0.8);
        assert!(best_share(&samples, RATE, 1500) < 0.1);
    }

    #[test]
    fn who_is_muted_goes_on_sending_silence() {
        let samples = recorded(packets_of(&SoundFrom::Tone(700), true, 30));
        assert!(samples.iter().all(|sample| sample.abs() < 50));
    }

    #[test]
    fn a_file_is_sent_and_silence_after_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("tone.ogg");
        record(packets_of(&SoundFrom::Tone(500), false, 30), &path);
        let samples = recorded(packets_of(&SoundFrom::File(path), false, 100));
        assert!(best_share(&samples, RATE, 500) > 0.8);
        let last = &samples[samples.len() - 4800..];
        assert!(last.iter().all(|sample| sample.abs() < 50), "silence at the end");
    }

    #[test]
    fn broken_packets_do_not_end_the_sound() {
        let good = packets_of(&SoundFrom::Tone(700), false, 60);
        let mut mixed = Vec::new();
        for packet in good {
            let mut broken = packet.clone();
            broken.truncate(14);
            mixed.extend([Vec::new(), vec![0xff; 5], packet.clone(), broken, packet]);
        }
        let samples = recorded(mixed);
        assert!(best_share(&samples, RATE, 700) > 0.5);
    }

    #[test]
    fn what_cannot_be_read_or_written_is_told_before_anything_begins() {
        let nowhere = PathBuf::from("/nowhere/at/all.ogg");
        assert!(matches!(check_output(&SoundTo::File(nowhere.clone())), Err(SoundError::File(_))));
        let from = SoundFrom::File(nowhere);
        assert!(matches!(Sending::start(&from, PACKETS, false, |_| (), quiet()), Err(SoundError::File(_))));
    }
}
