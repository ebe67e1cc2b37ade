//! Where the sound of a call goes: to its own pipelines, or to a seat of a room.
//!
//! ```text
//!   carrier ─► line ─┬─► pipelines     its own microphone and loudspeaker
//!           ◄────────┴─► seat          a conference
//! ```
//!
//! The other side sees one stream with one count, however often it is switched.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use bytes::Bytes;
use skep_media::Speaker;
use skep_media::opus::SILENCE;
use skep_media::room::{Inlet, Mixer, MixerRoom, Outlet};
use skep_protocol::rtp::RtpHeader;
use tokio::sync::mpsc;

use super::packer::Packer;
use crate::call::media::{
    MediaError, MediaEvent, MediaSide, PACKET_QUEUE, Playing, SharedMedia, SoundChoice, SoundPlan,
};

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A seat of a room.
#[derive(Clone, Debug)]
struct Seat {
    room: MixerRoom,
    speaker: Speaker,
}

#[derive(Debug, Default)]
struct State {
    line: Weak<Line>,
    seat: Option<Seat>,
}

/// The sound of one call, as the call sees it. See the module.
#[derive(Debug)]
pub(in crate::call) struct Switch {
    media: SharedMedia,
    state: Mutex<State>,
}

impl Switch {
    /// To its own pipelines, at first.
    pub(in crate::call) fn new(media: SharedMedia) -> Self {
        Self { media, state: Mutex::default() }
    }

    /// From now on to this seat, which is there.
    pub(super) fn enter(&self, room: MixerRoom, speaker: Speaker) -> Result<(), MediaError> {
        let seat = Seat { room, speaker };
        let line = {
            let mut state = locked(&self.state);
            state.seat = Some(seat.clone());
            state.line.upgrade()
        };
        line.map_or(Ok(()), |line| line.sit(&seat))
    }

    /// The other side says whether its owner speaks.
    pub(super) fn speaks(&self, speaks: bool) {
        let line = locked(&self.state).line.upgrade();
        if let Some(line) = line
            && let Target::Seat(inlet) = &*locked(&line.target)
        {
            inlet.speaks(speaks);
        }
    }

    /// The seat is gone: nothing is heard until [`Self::restore`].
    pub(super) fn leave(&self) {
        let line = {
            let mut state = locked(&self.state);
            state.seat = None;
            state.line.upgrade()
        };
        if let Some(line) = line {
            *locked(&line.target) = Target::Nothing;
        }
    }

    /// Back to its own pipelines. Not on a thread of actors; inside a runtime.
    pub(super) fn restore(&self) {
        let line = locked(&self.state).line.upgrade();
        if let Some(line) = line
            && let Err(error) = self.play(&line)
        {
            // Where nobody listens the call is over.
            let _ = line.events.try_send(MediaEvent::Failed(error.to_string()));
        }
    }

    fn play(&self, line: &Arc<Line>) -> Result<(), MediaError> {
        let (events, received) = mpsc::channel(PACKET_QUEUE);
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| MediaError::Broken("the sound needs a runtime".to_owned()))?;
        let plan = SoundPlan {
            muted: line.muted.load(Ordering::Relaxed),
            first: locked(&line.packer).next(),
            ..line.plan.clone()
        };
        let playing = self.media.start(plan, events)?;
        // While it was started somebody may have taken a seat.
        let state = locked(&self.state);
        if state.seat.is_none() {
            let number = {
                let mut target = locked(&line.target);
                let number = line.turn();
                *target = Target::Own(playing);
                number
            };
            runtime.spawn(forward(Arc::downgrade(line), received, number));
        }
        drop(state);
        Ok(())
    }
}

impl MediaSide for Switch {
    fn check(&self, choice: &SoundChoice) -> Result<(), MediaError> {
        self.media.check(choice)
    }

    fn start(
        &self,
        plan: SoundPlan,
        events: mpsc::Sender<MediaEvent>,
    ) -> Result<Box<dyn Playing>, MediaError> {
        let line = Arc::new(Line {
            packer: Mutex::new(Packer::new(plan.send_payload, plan.ssrc, plan.first)),
            muted: AtomicBool::new(plan.muted),
            plan,
            events,
            target: Mutex::new(Target::Nothing),
            turns: Mutex::new(0),
        });
        let seat = {
            let mut state = locked(&self.state);
            state.line = Arc::downgrade(&line);
            state.seat.clone()
        };
        match seat {
            Some(seat) => line.sit(&seat)?,
            None => self.play(&line)?,
        }
        Ok(Box::new(OnLine(line)))
    }

    fn mixer(&self) -> Result<Arc<Mixer>, MediaError> {
        self.media.mixer()
    }
}

/// Where packets of the other side go.
#[derive(Debug)]
enum Target {
    Nothing,
    Own(Box<dyn Playing>),
    Seat(Inlet),
}

/// One run of a call's sound.
#[derive(Debug)]
struct Line {
    plan: SoundPlan,
    events: mpsc::Sender<MediaEvent>,
    packer: Mutex<Packer>,
    muted: AtomicBool,
    target: Mutex<Target>,
    /// How often it was switched: what comes of the pipelines before is too late.
    turns: Mutex<u64>,
}

impl Line {
    fn turn(&self) -> u64 {
        let mut turns = locked(&self.turns);
        *turns += 1;
        *turns
    }

    fn sit(self: &Arc<Self>, seat: &Seat) -> Result<(), MediaError> {
        let line = Arc::downgrade(self);
        self.turn();
        let outlet: Outlet = Box::new(move |payload| {
            if let Some(line) = line.upgrade() {
                let payload = if line.muted.load(Ordering::Relaxed) { &SILENCE } else { payload };
                line.send(locked(&line.packer).pack(payload, Instant::now()));
            }
        });
        let inlet = seat.room.join(seat.speaker, Some(outlet));
        let inlet = inlet.map_err(|error| MediaError::Broken(error.to_string()))?;
        *locked(&self.target) = Target::Seat(inlet);
        Ok(())
    }

    fn send(&self, packet: Bytes) {
        // What finds no room is too late.
        let _ = self.events.try_send(MediaEvent::Packet(packet));
    }
}

/// Carries what pipelines make, with the count of the line.
async fn forward(line: Weak<Line>, mut received: mpsc::Receiver<MediaEvent>, number: u64) {
    loop {
        let event = received.recv().await;
        let Some(line) = line.upgrade() else { return };
        if *locked(&line.turns) != number {
            return;
        }
        match event {
            Some(MediaEvent::Packet(packet)) => {
                let Ok(header) = RtpHeader::read(&packet, 0) else { continue };
                let payload = packet.get(header.length..).unwrap_or_default();
                line.send(locked(&line.packer).repack(header.timestamp, payload, Instant::now()));
            }
            other => {
                let ended = MediaEvent::Failed("the sound ended by itself".to_owned());
                let _ = line.events.try_send(other.unwrap_or(ended));
                return;
            }
        }
    }
}

#[derive(Debug)]
struct OnLine(Arc<Line>);

impl Playing for OnLine {
    fn packet(&self, packet: Bytes) {
        match &*locked(&self.0.target) {
            Target::Own(playing) => playing.packet(packet),
            Target::Seat(inlet) => {
                if let Ok(header) = RtpHeader::read(&packet, 0) {
                    inlet.packet(header.sequence, packet.get(header.length..).unwrap_or_default());
                }
            }
            Target::Nothing => {}
        }
    }

    fn mute(&self, muted: bool) {
        self.0.muted.store(muted, Ordering::Relaxed);
        if let Target::Own(playing) = &*locked(&self.0.target) {
            playing.mute(muted);
        }
    }
}
