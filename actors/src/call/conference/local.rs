//! Seats of a room on this machine: the owner's microphone and loudspeaker, and recordings.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use skep_media::Speaker;
use skep_media::room::{MixerRoom, Outlet};
use skep_protocol::rtp::{RtpHeader, SENT_PACKET};
use skep_protocol::sdp::Codec;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::packer::Packer;
use crate::call::media::{
    MediaError, MediaEvent, PACKET_QUEUE, Playing, SharedMedia, SoundChoice, SoundPlan,
};

/// Number of Opus where nobody negotiates one.
const PAYLOAD: u8 = 111;

/// Sound of this machine in a room. Dropping it gives the seat up.
#[derive(Debug)]
pub(super) struct LocalSound {
    room: MixerRoom,
    speaker: Speaker,
    listens: AbortHandle,
    _playing: Arc<dyn Playing>,
}

impl LocalSound {
    /// Takes a seat. Not on a thread of actors; inside a runtime. Who is `heard` not only listens.
    pub(super) fn start(
        media: &SharedMedia,
        choice: SoundChoice,
        room: MixerRoom,
        speaker: Speaker,
        heard: bool,
    ) -> Result<Self, MediaError> {
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| MediaError::Broken("the sound needs a runtime".to_owned()))?;
        let (events, mut made) = mpsc::channel(PACKET_QUEUE);
        let plan = SoundPlan {
            codec: Codec::Opus,
            send_payload: PAYLOAD,
            receive_payload: PAYLOAD,
            choice,
            muted: false,
            longest: SENT_PACKET,
            ssrc: speaker.0,
            first: 0,
        };
        let playing: Arc<dyn Playing> = media.start(plan, events)?.into();
        let (plays, packer) = (Arc::clone(&playing), Mutex::new(Packer::new(PAYLOAD, speaker.0, 0)));
        let outlet: Outlet = Box::new(move |payload| {
            let packet = packer.lock().unwrap_or_else(PoisonError::into_inner).pack(payload, Instant::now());
            plays.packet(packet);
        });
        let inlet = room.join(speaker, Some(outlet));
        let inlet = inlet.map_err(|error| MediaError::Broken(error.to_string()))?;
        let task = runtime.spawn(async move {
            while let Some(event) = made.recv().await {
                match event {
                    MediaEvent::Packet(packet) if heard => {
                        if let Ok(header) = RtpHeader::read(&packet, 0) {
                            inlet.packet(header.sequence, packet.get(header.length..).unwrap_or_default());
                        }
                    }
                    MediaEvent::Packet(_) => {}
                    MediaEvent::Failed(reason) => {
                        tracing::warn!(reason, "the own sound of a conference broke");
                        return;
                    }
                }
            }
        });
        Ok(Self { room, speaker, listens: task.abort_handle(), _playing: playing })
    }
}

impl Drop for LocalSound {
    fn drop(&mut self) {
        self.listens.abort();
        self.room.leave(self.speaker);
    }
}
