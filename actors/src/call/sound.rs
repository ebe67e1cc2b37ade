//! The sound of calls, by the pipelines of `skep-media`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use skep_media::pipelines::{
    GstOpus, Packets, Receiving, Sending, SoundError, SoundFrom, SoundTo, check_output, check_source,
};
use skep_media::room::Mixer;
use skep_protocol::sdp::Codec;
use tokio::sync::mpsc;

use super::media::{
    MediaError, MediaEvent, MediaSide, Playing, SoundChoice, SoundOutput, SoundPlan, SoundSource,
};

/// Most recordings of one call: each time it goes on after a hold there is another.
const MAX_RECORDINGS: u32 = 1000;

/// Makes and takes sound with GStreamer.
#[derive(Debug, Default)]
pub(super) struct Sound {
    /// One for all conferences of the node.
    mixer: OnceLock<Arc<Mixer>>,
}

impl MediaSide for Sound {
    fn check(&self, choice: &SoundChoice) -> Result<(), MediaError> {
        check_source(&source(&choice.source)).map_err(broken)?;
        check_output(&output(&choice.output)).map_err(broken)
    }

    fn start(
        &self,
        plan: SoundPlan,
        events: mpsc::Sender<MediaEvent>,
    ) -> Result<Box<dyn Playing>, MediaError> {
        if plan.codec != Codec::Opus {
            return Err(MediaError::Broken(format!("{:?} is no codec of sound here", plan.codec)));
        }
        let to = match &plan.choice.output {
            SoundOutput::File(path) => SoundTo::File(free_name(path)?),
            other => output(other),
        };
        let failed = || {
            let events = events.clone();
            Box::new(move |problem| {
                // Where nobody listens any more, or too much waits, the call is about to end or to be heard of.
                if let Err(error) = events.try_send(MediaEvent::Failed(problem)) {
                    tracing::debug!(%error, "the end of a sound was not told");
                }
            })
        };
        let receiving = Receiving::start(&to, plan.receive_payload, failed()).map_err(broken)?;
        let packets = Packets {
            payload: plan.send_payload,
            source: plan.ssrc,
            first: plan.first,
            longest: u32::try_from(plan.longest).unwrap_or(u32::MAX),
        };
        let made = events.clone();
        let packet = move |bytes: &[u8]| {
            // Sound that finds no room is too late.
            let _ = made.try_send(MediaEvent::Packet(Bytes::copy_from_slice(bytes)));
        };
        let sending = Sending::start(&source(&plan.choice.source), packets, plan.muted, packet, failed());
        let sending = sending.map_err(broken)?;
        Ok(Box::new(Both { sending, receiving }))
    }

    fn mixer(&self) -> Result<Arc<Mixer>, MediaError> {
        if let Some(mixer) = self.mixer.get() {
            return Ok(Arc::clone(mixer));
        }
        GstOpus::check().map_err(broken)?;
        let mixer = Arc::new(Mixer::start(Arc::new(GstOpus)).map_err(MediaError::Broken)?);
        Ok(Arc::clone(self.mixer.get_or_init(|| mixer)))
    }
}

fn broken(error: SoundError) -> MediaError {
    MediaError::Broken(error.to_string())
}

fn source(source: &SoundSource) -> SoundFrom {
    match source {
        SoundSource::Device => SoundFrom::Device,
        SoundSource::Silence => SoundFrom::Silence,
        SoundSource::Tone(hertz) => SoundFrom::Tone(*hertz),
        SoundSource::File(path) => SoundFrom::File(path.clone()),
    }
}

fn output(output: &SoundOutput) -> SoundTo {
    match output {
        SoundOutput::Device => SoundTo::Device,
        SoundOutput::Nowhere => SoundTo::Nowhere,
        SoundOutput::File(path) => SoundTo::File(path.clone()),
    }
}

/// The name of a recording, or the next that is free: `heard.ogg`, `heard-2.ogg`.
fn free_name(path: &Path) -> Result<PathBuf, MediaError> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = |number: u32| match (number, path.extension()) {
        (1, _) => path.to_owned(),
        (_, Some(end)) => path.with_file_name(format!("{stem}-{number}.{}", end.to_string_lossy())),
        (_, None) => path.with_file_name(format!("{stem}-{number}")),
    };
    let mut names = (1..=MAX_RECORDINGS).map(name);
    let full = || MediaError::Broken(format!("there are too many recordings beside {}", path.display()));
    names.find(|path| !path.exists()).ok_or_else(full)
}

#[derive(Debug)]
struct Both {
    sending: Sending,
    receiving: Receiving,
}

impl Playing for Both {
    fn packet(&self, packet: Bytes) {
        self.receiving.packet(packet);
    }

    fn mute(&self, muted: bool) {
        self.sending.mute(muted);
    }
}
