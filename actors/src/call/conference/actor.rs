//! The actor of one conference: it carries out what the core says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use skep_media::Speaker;
use skep_media::room::{Mixer, MixerRoom};
use skep_protocol::call::{Control, Part};
use skep_protocol::conference::{
    Conference, ConferenceInfo, HostAction, HostSettings, INFO_TYPE, Joined, Kind, Listener, ORDER_TYPE,
    Remaining, Seat, Voice,
};
use skep_protocol::ids::{AccountId, DeviceId};

use super::local::LocalSound;
use super::messages::{
    ConferenceError, ConferenceId, ConferenceMessage, ConferenceTold, ConferenceView, Done, OwnerOrder, Said,
    missed, people_of,
};
use super::switch::Switch;
use crate::blocking::{BlockingPool, Lane, Share};
use crate::call::media::{MediaError, SharedMedia, SoundChoice, SoundOutput, SoundSource};
use crate::call::messages::CallId;
use crate::supervision::{Actor, Outlet, Scope};

/// The owner's own seat in the room; those of calls count from zero.
const HOST: Speaker = Speaker(u32::MAX);

/// The seat of a recording.
const RECORDING: Speaker = Speaker(u32::MAX - 1);

/// What a conference needs to start.
#[derive(Clone, Debug)]
pub(super) struct ConferenceConfig {
    pub(super) id: ConferenceId,
    pub(super) own: (AccountId, DeviceId),
    /// The owner's own sound.
    pub(super) sound: SoundChoice,
    pub(super) media: SharedMedia,
    pub(super) mixer: Arc<Mixer>,
    pub(super) pool: BlockingPool,
    pub(super) share: Share,
    pub(super) told: Outlet<ConferenceTold>,
}

/// One call in it.
struct InIt {
    seat: Seat,
    switch: Arc<Switch>,
}

/// See the module.
pub(super) struct ConferenceActor {
    config: ConferenceConfig,
    core: Conference,
    room: MixerRoom,
    calls: BTreeMap<CallId, InIt>,
    host: Option<LocalSound>,
    /// The owner's own sound is being started.
    starting: bool,
    recording: Option<LocalSound>,
    /// A file is being opened.
    opening: bool,
    shown: Option<ConferenceView>,
    over: bool,
}

impl std::fmt::Debug for ConferenceActor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ConferenceActor({}, {} calls)", self.config.id, self.calls.len())
    }
}

impl ConferenceActor {
    pub(super) fn new(config: ConferenceConfig) -> Self {
        let core = Conference::new(config.own, HostSettings::default(), Kind::Merged, true);
        let room = config.mixer.room();
        Self {
            config,
            core,
            room,
            calls: BTreeMap::new(),
            host: None,
            starting: false,
            recording: None,
            opening: false,
            shown: None,
            over: false,
        }
    }

    fn tell(&self, told: ConferenceTold) {
        if let Err(error) = self.config.told.try_send(told) {
            tracing::warn!(%error, "what a conference told was not heard");
        }
    }

    fn call_of(&self, seat: Seat) -> Option<CallId> {
        self.calls.iter().find(|(_, it)| it.seat == seat).map(|(call, _)| *call)
    }

    fn join(
        &mut self,
        call: CallId,
        joined: Joined,
        switch: Arc<Switch>,
        scope: &mut Scope<'_, Self>,
    ) -> Result<(), ConferenceError> {
        let (seat, actions) = self.core.join(scope.now(), joined);
        let full = || ConferenceError::Media(MediaError::Broken("the conference is full".to_owned()));
        let seat = seat.ok_or_else(full)?;
        // The seat is taken first, so that whether it may be heard is known before anything is.
        let taken = self.room.join(Speaker(seat.0), None);
        let entered = taken.map_err(|error| MediaError::Broken(error.to_string()));
        let entered = entered.and_then(|_| switch.enter(self.room.clone(), Speaker(seat.0)));
        self.calls.insert(call, InIt { seat, switch });
        self.act(actions, scope);
        if let Err(error) = entered {
            self.leave(call, false, scope);
            return Err(error.into());
        }
        if self.recording.is_some() {
            self.tell(ConferenceTold::Say(call, Said::Control(Control::Recording(true))));
        }
        Ok(())
    }

    /// A call leaves, or is gone; what becomes of the conference.
    fn leave(&mut self, call: CallId, gone: bool, scope: &mut Scope<'_, Self>) {
        let Some(left) = self.calls.remove(&call) else { return };
        self.room.leave(Speaker(left.seat.0));
        left.switch.leave();
        if !gone {
            self.tell(ConferenceTold::Say(call, over_for()));
            self.tell(ConferenceTold::Released(call));
        }
        let (remaining, actions) = self.core.leave(scope.now(), left.seat);
        self.act(actions, scope);
        match remaining {
            Remaining::Goes => {}
            Remaining::Single(_) | Remaining::Over => self.finish(),
        }
    }

    /// It is over; calls that are still there go on by themselves.
    fn finish(&mut self) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let stopped_recording = self.recording.take().is_some();
        for (call, left) in std::mem::take(&mut self.calls) {
            self.room.leave(Speaker(left.seat.0));
            left.switch.leave();
            if stopped_recording {
                self.tell(ConferenceTold::Say(call, Said::Control(Control::Recording(false))));
            }
            self.tell(ConferenceTold::Released(call));
        }
        self.host = None;
        self.tell(ConferenceTold::Over);
    }

    fn said(&mut self, call: CallId, said: Said, scope: &mut Scope<'_, Self>) {
        let Some(it) = self.calls.get(&call) else { return };
        let (seat, now) = (it.seat, scope.now());
        match said {
            Said::Control(Control::Muted(muted)) => {
                let actions = self.core.muted(now, seat, muted);
                self.act(actions, scope);
            }
            Said::Control(Control::Voice(speaks)) => {
                it.switch.speaks(speaks);
                let actions = self.core.speaks(now, seat, speaks);
                self.act(actions, scope);
            }
            Said::Control(Control::Recording(records)) => {
                let actions = self.core.records(now, seat, records);
                self.act(actions, scope);
            }
            Said::Control(_) => {}
            Said::Message(parts) => parts.iter().for_each(|part| self.message(seat, part, scope)),
        }
    }

    fn message(&mut self, seat: Seat, part: &Part, scope: &mut Scope<'_, Self>) {
        let now = scope.now();
        let kind = part.mime_type();
        let actions = if kind == ORDER_TYPE.to_ascii_lowercase() {
            self.core.ordered(now, seat, &part.body)
        } else if kind == INFO_TYPE.to_ascii_lowercase() {
            ConferenceInfo::read(&part.body).map(|info| self.core.nested(now, seat, info)).unwrap_or_default()
        } else {
            return;
        };
        self.act(actions, scope);
    }

    fn order(&mut self, order: OwnerOrder, scope: &mut Scope<'_, Self>) -> Result<(), ConferenceError> {
        let own = self.config.own.0;
        let whom = order.whom(own);
        let is_there = self.core.info(None).entries.iter().any(|entry| entry.account() == Some(whom));
        if !is_there {
            return Err(ConferenceError::NobodyThere(whom));
        }
        let actions = self.core.own_order(scope.now(), &order.order(own, None));
        self.act(actions, scope);
        Ok(())
    }

    fn act(&mut self, actions: Vec<HostAction>, scope: &mut Scope<'_, Self>) {
        for action in actions {
            match action {
                HostAction::Tell(seat, info) => {
                    let part = Part { content_type: INFO_TYPE.to_owned(), body: info.write() };
                    self.say(seat, vec![part]);
                }
                HostAction::HangUp(seat) => {
                    if let Some(call) = self.call_of(seat) {
                        self.tell(ConferenceTold::HangUp(call));
                    }
                }
                HostAction::Detach => self.host = None,
                HostAction::Forward(seat, order) => {
                    // Who hosts a conference tells it in the newer form, and takes orders in it.
                    if let Some(body) = order.write(1).or_else(|| order.write(0)) {
                        self.say(seat, vec![Part { content_type: ORDER_TYPE.to_owned(), body }]);
                    }
                }
                HostAction::Remix => self.remix(),
            }
        }
        self.show();
        scope.set_alarm(self.core.next_deadline());
    }

    fn say(&self, seat: Seat, parts: Vec<Part>) {
        if let Some(call) = self.call_of(seat) {
            self.tell(ConferenceTold::Say(call, Said::Message(parts)));
        }
    }

    fn remix(&self) {
        let speaker = |voice: Voice| match voice {
            Voice::Host => HOST,
            Voice::Seat(seat) => Speaker(seat.0),
        };
        let audible: Vec<Speaker> = self.core.hears(Listener::Recording).into_iter().map(speaker).collect();
        self.room.set_audible(&audible);
    }

    fn show(&mut self) {
        let view = ConferenceView {
            id: self.config.id,
            calls: self.calls.keys().copied().collect(),
            attached: self.core.is_attached(),
            recording: self.recording.is_some(),
            people: people_of(&self.core.info(None)),
            missed: missed(self.config.mixer.ticks()),
        };
        let same = |shown: &ConferenceView| ConferenceView { missed: view.missed, ..shown.clone() } == view;
        if !self.over && !self.shown.as_ref().is_some_and(same) {
            self.shown = Some(view.clone());
            self.tell(ConferenceTold::Changed(view));
        }
    }

    fn attach(&mut self, attached: bool, reply: Done, scope: &mut Scope<'_, Self>) {
        if attached && self.host.is_none() && !self.starting {
            return self.start_host(Some(reply), scope);
        }
        if !attached {
            self.host = None;
        }
        let (remaining, actions) = self.core.attach(scope.now(), attached);
        self.act(actions, scope);
        if remaining == Remaining::Over {
            self.finish();
            scope.stop();
        }
        reply.send(Ok(()));
    }

    /// The owner's own sound.
    fn start_host(&mut self, reply: Option<Done>, scope: &mut Scope<'_, Self>) {
        let sound = self.config.sound.clone();
        self.starting = true;
        self.start(sound, HOST, scope, move |conference, started, scope| {
            conference.starting = false;
            // Who has left meanwhile is not brought back; but who has asked to come is.
            let wanted = reply.is_some() || conference.core.is_attached();
            let outcome = match started {
                Ok(sound) if wanted && !conference.over => {
                    conference.host = Some(sound);
                    let (_, actions) = conference.core.attach(scope.now(), true);
                    conference.act(actions, scope);
                    conference.remix();
                    Ok(())
                }
                Ok(_) => Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "the owner takes no part in a conference");
                    let (_, actions) = conference.core.attach(scope.now(), false);
                    conference.act(actions, scope);
                    Err(ConferenceError::from(error).into())
                }
            };
            if let Some(reply) = reply {
                reply.send(outcome);
            }
        });
    }

    fn record(&mut self, to: Option<PathBuf>, reply: Done, scope: &mut Scope<'_, Self>) {
        let Some(path) = to else {
            let stopped = self.recording.take().is_some();
            if stopped {
                self.recorded(false, scope);
            }
            let outcome = if stopped { Ok(()) } else { Err(ConferenceError::NotRecorded.into()) };
            return reply.send(outcome);
        };
        if self.recording.is_some() || self.opening {
            return reply.send(Err(ConferenceError::Recorded.into()));
        }
        self.opening = true;
        let choice = SoundChoice { source: SoundSource::Silence, output: SoundOutput::File(path) };
        self.start(choice, RECORDING, scope, move |conference, started, scope| {
            conference.opening = false;
            let outcome = started.map(|sound| {
                if !conference.over {
                    conference.recording = Some(sound);
                    conference.recorded(true, scope);
                }
            });
            reply.send(outcome.map_err(|error| ConferenceError::from(error).into()));
        });
    }

    /// Everybody is told that it is recorded, or is not any more.
    fn recorded(&mut self, recording: bool, scope: &mut Scope<'_, Self>) {
        for call in self.calls.keys() {
            self.tell(ConferenceTold::Say(*call, Said::Control(Control::Recording(recording))));
        }
        let actions = self.core.record(scope.now(), recording);
        self.act(actions, scope);
    }

    fn start(
        &self,
        choice: SoundChoice,
        speaker: Speaker,
        scope: &mut Scope<'_, Self>,
        then: impl FnOnce(&mut Self, Result<LocalSound, MediaError>, &mut Scope<'_, Self>) + 'static,
    ) {
        let (media, room) = (Arc::clone(&self.config.media), self.room.clone());
        let runtime = tokio::runtime::Handle::current();
        let begin = move || {
            let _runtime = runtime.enter();
            media.check(&choice)?;
            LocalSound::start(&media, choice, room, speaker, speaker == HOST)
        };
        let (pool, share) = (self.config.pool.clone(), self.config.share);
        let begin = async move {
            let begun = pool.run(share, Lane::Sound, begin).await;
            begun.unwrap_or_else(|error| Err(MediaError::Broken(error.to_string())))
        };
        scope.spawn_background(begin, then);
    }
}

/// What those are told for whom it is over.
fn over_for() -> Said {
    let body = ConferenceInfo::default().write();
    Said::Message(vec![Part { content_type: INFO_TYPE.to_owned(), body }])
}

impl Actor for ConferenceActor {
    type Message = ConferenceMessage;
    const KIND: &'static str = "conference";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        self.start_host(None, scope);
        self.show();
    }

    fn handle(&mut self, message: ConferenceMessage, scope: &mut Scope<'_, Self>) {
        match message {
            ConferenceMessage::Join { call, joined, switch, reply } => {
                let outcome = self.join(call, joined, switch, scope);
                reply.send(outcome.map_err(Into::into));
            }
            ConferenceMessage::Leave(call, gone, reply) => {
                self.leave(call, gone, scope);
                reply.send(Ok(()));
            }
            ConferenceMessage::Said(call, said) => self.said(call, said, scope),
            ConferenceMessage::Order(order, reply) => {
                reply.send(self.order(order, scope).map_err(Into::into));
            }
            ConferenceMessage::Attach(attached, reply) => self.attach(attached, reply, scope),
            ConferenceMessage::Record(to, reply) => self.record(to, reply, scope),
            ConferenceMessage::End(reply) => {
                let actions = self.core.end();
                self.act(actions, scope);
                self.recording = None;
                // Those who are hung up are not to be heard until they are gone.
                for it in self.calls.values() {
                    it.switch.leave();
                }
                self.calls.clear();
                self.finish();
                reply.send(Ok(()));
            }
        }
        if self.over {
            scope.stop();
        }
    }

    fn alarm(&mut self, scope: &mut Scope<'_, Self>) {
        let actions = self.core.tick(scope.now());
        self.act(actions, scope);
    }
}
