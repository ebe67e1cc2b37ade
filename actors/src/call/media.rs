//! Who makes and takes the sound of calls. What stands here is all that calls know of it.
//!
//! ```text
//!   call ── start(plan) ──► media side ──► playing
//!     ◄── MediaEvent::Packet ─┘  RTP in the clear, in the order of its numbers, at its own pace
//!     ─── packet() ──────────►   RTP in the clear, as it came
//! ```

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_media::opus;
use skep_media::room::{Codecs, Decoder, Encoder, Mixer};
use skep_protocol::sdp::Codec;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Packets that may wait to be sent: a third of a second of sound. What finds no room is lost.
pub const PACKET_QUEUE: usize = 16;

/// Where our sound comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SoundSource {
    /// The usual device.
    #[default]
    Device,
    /// Nowhere: we are silent.
    Silence,
    /// A steady tone of so many hertz, to test with.
    Tone(u32),
    /// A file, from its beginning; silence after it.
    File(PathBuf),
}

/// Where their sound goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SoundOutput {
    /// The usual device.
    #[default]
    Device,
    /// Nowhere.
    Nowhere,
    /// A new file, Opus in Ogg.
    File(PathBuf),
}

/// Both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SoundChoice {
    /// Where ours comes from.
    #[serde(default)]
    pub source: SoundSource,
    /// Where theirs goes.
    #[serde(default)]
    pub output: SoundOutput,
}

/// What is to be made and taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoundPlan {
    /// How it is written down.
    pub codec: Codec,
    /// Number of our packets.
    pub send_payload: u8,
    /// Number of theirs.
    pub receive_payload: u8,
    /// From where and to where.
    pub choice: SoundChoice,
    /// Whether we begin muted.
    pub muted: bool,
    /// Longest packet that may be made, in bytes.
    pub longest: usize,
    /// The source's number, and that of its first packet.
    pub ssrc: u32,
    /// See `ssrc`.
    pub first: u16,
}

/// What a media side tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaEvent {
    /// A packet to send.
    Packet(Bytes),
    /// It broke, and makes and takes no more.
    Failed(String),
}

/// Why there is no sound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MediaError {
    /// This program has no media.
    #[error(
        "this program was built without sound, so a call can only be silent; build it with `--features media`"
    )]
    NotBuilt,
    /// The media side says why.
    #[error("{0}")]
    Broken(String),
}

/// Somebody who makes and takes sound.
pub trait MediaSide: Debug + Send + Sync {
    /// Whether a choice can be had at all; asked before somebody is called.
    ///
    /// # Errors
    /// [`MediaError`] when not, and what to do about it.
    fn check(&self, choice: &SoundChoice) -> Result<(), MediaError>;

    /// Begins. It may take a while, and is not called on a thread of actors.
    ///
    /// # Errors
    /// [`MediaError`] when it cannot.
    fn start(
        &self,
        plan: SoundPlan,
        events: mpsc::Sender<MediaEvent>,
    ) -> Result<Box<dyn Playing>, MediaError>;

    /// What mixes conferences. It may take a while, and is not called on a thread of actors.
    ///
    /// # Errors
    /// [`MediaError`] when there is none.
    fn mixer(&self) -> Result<Arc<Mixer>, MediaError>;
}

/// Sound under way. Dropping it ends it, which may take a while.
pub trait Playing: Debug + Send + Sync {
    /// A packet of theirs. It is not waited for.
    fn packet(&self, packet: Bytes);

    /// Whether silence is sent instead of our sound.
    fn mute(&self, muted: bool);
}

/// Sends silence and forgets what comes: all that can be done without codecs.
#[derive(Clone, Copy, Debug, Default)]
pub struct SilentSide;

/// How much sound a packet holds.
const FRAME: Duration = Duration::from_millis(20);

/// Ticks of its clock that a packet holds.
const TICKS: u32 = 960;

impl MediaSide for SilentSide {
    fn check(&self, choice: &SoundChoice) -> Result<(), MediaError> {
        let silent = matches!(choice.source, SoundSource::Device | SoundSource::Silence)
            && matches!(choice.output, SoundOutput::Device | SoundOutput::Nowhere);
        if silent { Ok(()) } else { Err(MediaError::NotBuilt) }
    }

    fn start(
        &self,
        plan: SoundPlan,
        events: mpsc::Sender<MediaEvent>,
    ) -> Result<Box<dyn Playing>, MediaError> {
        self.check(&plan.choice)?;
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| MediaError::Broken("silence needs a runtime that keeps the time".to_owned()))?;
        let SoundPlan { send_payload, ssrc, first, .. } = plan;
        let task = runtime.spawn(async move {
            let mut ticker = tokio::time::interval(FRAME);
            ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let (mut sequence, mut time) = (first, 0_u32);
            loop {
                ticker.tick().await;
                let mut packet = vec![0x80, 0x80 | send_payload];
                packet.extend(sequence.to_be_bytes());
                packet.extend(time.to_be_bytes());
                packet.extend(ssrc.to_be_bytes());
                packet.extend(opus::SILENCE);
                match events.try_send(MediaEvent::Packet(packet.into())) {
                    Err(mpsc::error::TrySendError::Closed(_)) => return,
                    Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {}
                }
                (sequence, time) = (sequence.wrapping_add(1), time.wrapping_add(TICKS));
            }
        });
        Ok(Box::new(Silent(task.abort_handle())))
    }

    fn mixer(&self) -> Result<Arc<Mixer>, MediaError> {
        Mixer::start(Arc::new(SilentCodecs)).map(Arc::new).map_err(MediaError::Broken)
    }
}

/// Hears nothing, and says nothing.
#[derive(Debug)]
struct SilentCodecs;

impl Codecs for SilentCodecs {
    fn decoder(&self) -> Result<Box<dyn Decoder>, String> {
        Ok(Box::new(Self))
    }

    fn encoder(&self) -> Result<Box<dyn Encoder>, String> {
        Ok(Box::new(Self))
    }
}

impl Decoder for SilentCodecs {
    fn decode(&mut self, _: Option<&[u8]>, _: &mut Vec<i16>) {}

    fn reset(&mut self) {}
}

impl Encoder for SilentCodecs {
    fn encode(&mut self, _: &[i16]) -> Option<Vec<u8>> {
        None
    }

    fn reset(&mut self) {}
}

#[derive(Debug)]
struct Silent(AbortHandle);

impl Playing for Silent {
    fn packet(&self, _: Bytes) {}

    fn mute(&self, _: bool) {}
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whoever makes the sound of a node, shared by its accounts.
pub type SharedMedia = Arc<dyn MediaSide>;

/// What this program was built with: pipelines.
#[cfg(feature = "media")]
#[must_use]
pub fn of_this_build() -> SharedMedia {
    Arc::new(super::sound::Sound::default())
}

/// What this program was built with: silence, as the feature `media` is missing.
#[cfg(not(feature = "media"))]
#[must_use]
pub fn of_this_build() -> SharedMedia {
    Arc::new(SilentSide)
}
