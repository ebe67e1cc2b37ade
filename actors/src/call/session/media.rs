//! From an agreement of two descriptions to sound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use skep_protocol::rtp::{Opener, SENT_PACKET, Sealer};
use skep_protocol::sdp::{Agreed, Component, agreed, carrier};
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::blocking::Lane;
use crate::call::carrier::{Carrier, CarrierEnd};
use crate::call::media::{MediaError, MediaEvent, PACKET_QUEUE, Playing, SoundPlan};
use crate::call::paths::{MediaPath, PathError, RemotePaths};

/// Sound under way. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Running {
    playing: Arc<dyn Playing>,
    held: Arc<AtomicBool>,
    _stop: oneshot::Sender<()>,
}

impl Running {
    pub(super) fn set(&self, muted: bool, held: bool) {
        self.playing.mute(muted);
        self.held.store(held, Ordering::Relaxed);
    }
}

/// What was begun: who plays, and what it tells.
type Begun = (Box<dyn Playing>, mpsc::Receiver<MediaEvent>);

const PATH_LOST: &str = "the way for the sound broke";

impl CallSession {
    /// Whether another way for the sound is on its way.
    fn is_renewing(&self) -> bool {
        self.gathering || self.gathered.is_some() || self.offered.is_some()
    }

    /// No other way for the sound will come of what was offered: the old one has to be there still.
    pub(super) fn not_renewed(&mut self, scope: &mut Scope<'_, Self>) {
        self.gathered = None;
        if std::mem::take(&mut self.path_lost) {
            self.fail(CallOver::NoPath, PATH_LOST, scope);
        }
    }

    /// Both sides have described themselves. `offered` says whether ours was the offer.
    pub(super) fn agree(&mut self, theirs: &Description, offered: bool, scope: &mut Scope<'_, Self>) {
        let Some(ours) = self.ours.clone() else { return };
        let how = match carrier(&ours, theirs, self.how.as_ref(), false) {
            Ok(how) => how,
            Err(error) => return self.fail(CallOver::NoPath, &error.to_string(), scope),
        };
        let sound = agreed(&ours, theirs, offered).into_iter().flatten();
        let Some(sound) = sound.into_iter().find(|it| it.kind == MediaKind::Audio) else {
            return self.fail(CallOver::Failed, "the other side takes no sound that is spoken here", scope);
        };
        if let How::NewIce(credentials) = &how {
            let Some(gathered) = self.gathered.take() else {
                return self.fail(CallOver::NoPath, "the answer is to no session of ours", scope);
            };
            let of =
                |component| theirs.candidates(sound.index, component).cloned().map(move |it| (component, it));
            let candidates = of(Component::Rtp).chain(of(Component::Rtcp)).collect();
            let remote = RemotePaths { credentials: credentials.clone(), candidates };
            self.running = None;
            self.path_lost = false;
            self.attempt += 1;
            let attempt = self.attempt;
            scope.spawn_background(gathered.connect(remote), move |call, path, scope| {
                if call.attempt == attempt && !call.ended {
                    call.connected(path, sound, scope);
                }
                call.arm(scope);
            });
        }
        let kept = !matches!(how, How::NewIce(_));
        self.how = Some(how);
        if kept && offered && ours.ice.is_some() {
            // They keep to the way that there is.
            self.not_renewed(scope);
            self.set_running(self.streams.is_held());
            if self.stage == CallStage::Connecting && self.running.is_some() {
                self.reach(CallStage::Active);
            }
        }
    }

    fn connected(&mut self, path: Result<MediaPath, PathError>, sound: Agreed, scope: &mut Scope<'_, Self>) {
        let path = match path {
            Ok(path) => path,
            Err(error) => return self.fail(CallOver::NoPath, &error.to_string(), scope),
        };
        let muted = self.streams.all().first().is_none_or(|stream| stream.muted);
        let environment = scope.environment();
        // Lower than half, so that the numbers do not begin anew before the other side has heard one.
        let first = u16::try_from(environment.random_u64() & 0x7fff).unwrap_or_default();
        let ssrc = u32::try_from(environment.random_u64() >> 32).unwrap_or_default();
        let plan = SoundPlan {
            codec: sound.codec,
            send_payload: sound.send_payload,
            receive_payload: sound.receive_payload,
            choice: self.sound.clone(),
            muted,
            longest: SENT_PACKET - sound.encrypt.as_ref().map_or(0, |crypto| crypto.suite.tag_length()),
            ssrc,
            first,
        };
        let (media, runtime) = (Arc::clone(&self.config.media), tokio::runtime::Handle::current());
        let (pool, share, attempt) = (self.config.pool.clone(), self.config.share, self.attempt);
        let begin = async move {
            let begin = move || {
                let _runtime = runtime.enter();
                let (events, received) = mpsc::channel(PACKET_QUEUE);
                Ok((media.start(plan, events)?, received))
            };
            let begun = pool.run(share, Lane::Sound, begin).await;
            begun.unwrap_or_else(|error| Err(MediaError::Broken(error.to_string())))
        };
        scope.spawn_background(begin, move |call, begun, scope| {
            if call.attempt == attempt && !call.ended {
                call.carry(path, &sound, begun, scope);
            }
            call.arm(scope);
        });
    }

    fn carry(
        &mut self,
        path: MediaPath,
        sound: &Agreed,
        begun: Result<Begun, MediaError>,
        scope: &mut Scope<'_, Self>,
    ) {
        let (playing, events) = match begun {
            Ok(begun) => begun,
            Err(error) => return self.fail(CallOver::Failed, &error.to_string(), scope),
        };
        // Between devices all is protected: lines that are not were refused.
        let keys = sound.encrypt.as_ref().zip(sound.decrypt.as_ref());
        let keys = keys.map(|(ours, theirs)| Ok((Sealer::new(ours)?, Opener::new(theirs)?)));
        let (sealer, opener) = match keys {
            Some(Ok(keys)) => keys,
            Some(Err::<_, skep_protocol::rtp::SrtpError>(error)) => {
                return self.fail(CallOver::Failed, &error.to_string(), scope);
            }
            None => return self.fail(CallOver::Failed, "the sound would not be protected", scope),
        };
        let (stop, stopped) = oneshot::channel();
        let playing: Arc<dyn Playing> = playing.into();
        let held = Arc::new(AtomicBool::new(false));
        let carrier = Carrier {
            path,
            sealer,
            opener,
            receive_payload: sound.receive_payload,
            playing: Arc::clone(&playing),
            events,
            counters: Arc::clone(&self.config.counters),
            held: Arc::clone(&held),
            stop: stopped,
        };
        let running = Running { playing, held, _stop: stop };
        let muted = self.streams.all().first().is_none_or(|stream| stream.muted);
        running.set(muted, self.streams.is_held());
        self.running = Some(running);
        self.reach(if self.streams.is_held() { CallStage::Held } else { CallStage::Active });
        let attempt = self.attempt;
        scope.spawn_background(carrier.run(), move |call, end, scope| {
            let current = call.attempt == attempt && !call.ended;
            match end {
                // The other side may close the old way before there is a new one.
                CarrierEnd::PathLost if current && call.is_renewing() => call.path_lost = true,
                CarrierEnd::PathLost if current => call.fail(CallOver::NoPath, PATH_LOST, scope),
                CarrierEnd::Media(reason) if current => call.fail(CallOver::Failed, &reason, scope),
                _ => {}
            }
            call.arm(scope);
        });
    }
}
