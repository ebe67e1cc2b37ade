//! The actor: which calls there are, and which of them a message is of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use skep_protocol::call::{
    About, CallEnd, End, LegNumber, RingingCalls, about, answer_outside, call_of, gives_way, history,
};
use skep_protocol::conference::ConferenceInfo;
use skep_protocol::ids::{AccountId, DeviceId, DeviceShortId, LocalAccountId};
use skep_protocol::sdp::{Description, MediaKind};
use skep_protocol::sip::stream::SipMessage;
use skep_protocol::swarm::message::CallRecord;
use skep_protocol::time::Moment;

use super::carrier::Counters;
use super::conference::messages::{ConferenceId, people_of};
use super::conference::{Conferences, Switch};
use super::media::{SharedMedia, SoundChoice};
use super::messages::{
    CallCommand, CallError, CallId, CallOver, CallStage, CallView, CallsMessage, CallsTold, MAX_CALLS,
    MAX_KEPT,
};
use super::paths::Paths;
use super::session::{Begin, CallSession, ONLY, SessionConfig, SessionMessage, SessionTold};
use crate::blocking::{BlockingPool, Share};
use crate::directory::messages::DirectoryMessage;
use crate::event::{Event, NodeEvent};
use crate::peer::dialect::SOMEWHERE;
use crate::peer::messages::{LinkEvent, LinksMessage, Place, SipLine};
use crate::supervision::{Actor, ChildSpec, OnLimit, Outlet, Port, Reply, RestartPolicy, Scope};

/// The greatest number of a call (`spec: calls 1`).
const MAX_ID: u64 = 1 << 53;

/// How long a call that meets one of ours may ring unseen: who gives way does so when ours arrives there.
const GIVING_WAY: Duration = Duration::from_secs(5);

/// What the calls of an account need to start.
#[derive(Clone, Debug)]
pub struct CallsConfig {
    /// Local name of the account.
    pub local: LocalAccountId,
    /// Who the account is.
    pub account: AccountId,
    /// This device.
    pub device: DeviceShortId,
    /// The same, as it is named in conferences.
    pub device_id: DeviceId,
    /// What the owner is called.
    pub name: String,
    /// Finds ways for sound.
    pub paths: Arc<dyn Paths>,
    /// Makes and takes sound.
    pub media: SharedMedia,
    /// The links of the account.
    pub links: Port<LinksMessage>,
    /// Knows which devices people have.
    pub directory: Port<DirectoryMessage>,
    /// Where blocking work runs.
    pub pool: BlockingPool,
    /// Whose work it is.
    pub share: Share,
    /// Where the owner's events go.
    pub events: Outlet<NodeEvent>,
    /// Where the account is told.
    pub told: Outlet<CallsTold>,
}

/// A call as the others see it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) port: Port<SessionMessage>,
    pub(super) peer: AccountId,
    /// The device that has answered, or calls.
    pub(super) device: Option<DeviceId>,
    pub(super) switch: Arc<Switch>,
    /// The conference here that it is in.
    pub(super) conference: Option<ConferenceId>,
    /// The conference at the other end, as its host tells it.
    pub(super) told: Option<ConferenceInfo>,
    /// Whether they called.
    incoming: bool,
    /// Its dialogs: with which devices, and what names them there and in the call.
    dialogs: Vec<(DeviceId, String, LegNumber)>,
    sound: SoundChoice,
    counters: Arc<Counters>,
    stage: CallStage,
    muted: bool,
    pub(super) peer_muted: bool,
    pub(super) answered: Option<Moment>,
    /// Whether the owner was told of it.
    shown: bool,
    /// The call of ours that it has met. The owner is not told of one that comes to nothing because of that.
    quiet: Option<CallId>,
    rings: Rings,
    pub(super) over: bool,
}

/// Whether a call counts among those that ring here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rings {
    /// It is ours, or was answered.
    No,
    /// It does.
    Yes,
    /// It was given up, which its caller has not acknowledged.
    GivenUp,
}

/// See the module.
pub struct CallsActor {
    pub(super) config: CallsConfig,
    pub(super) calls: BTreeMap<CallId, Entry>,
    pub(super) conferences: Conferences,
    ringing: RingingCalls,
}

impl std::fmt::Debug for CallsActor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "CallsActor({})", self.config.local)
    }
}

impl CallsActor {
    /// No calls.
    #[must_use]
    pub fn new(config: CallsConfig) -> Self {
        Self {
            config,
            calls: BTreeMap::new(),
            conferences: Conferences::default(),
            ringing: RingingCalls::default(),
        }
    }

    /// Tells the owner. An event that finds no room is lost, and counted by the mailbox.
    pub(super) fn emit(&self, event: Event, scope: &Scope<'_, Self>) {
        let event = NodeEvent { account: self.config.local, time: scope.wall(), event };
        if let Err(error) = self.config.events.try_send(event) {
            tracing::warn!(%error, "an event was not delivered");
        }
    }

    fn tell(&self, told: CallsTold, scope: &mut Scope<'_, Self>) {
        let account = self.config.told.clone();
        scope.spawn(async move { account.send(told).await }, |_, _, _| ());
    }

    fn place(
        &mut self,
        peer: AccountId,
        sound: SoundChoice,
        scope: &mut Scope<'_, Self>,
    ) -> Result<CallId, CallError> {
        if peer == self.config.account {
            return Err(CallError::Oneself);
        }
        self.config.media.check(&sound)?;
        if self.present() >= MAX_CALLS {
            return Err(CallError::TooMany);
        }
        let id = self.start(peer, Begin::Place(sound.clone()), scope);
        if let Some(entry) = self.calls.get_mut(&id) {
            entry.sound = sound;
            entry.shown = true;
        }
        self.show(id, scope);
        Ok(id)
    }

    /// A number that neither a call nor a conference has.
    pub(super) fn new_id(&self, scope: &Scope<'_, Self>) -> CallId {
        loop {
            let id = CallId(scope.environment().random_u64() % MAX_ID + 1);
            if !self.calls.contains_key(&id) && !self.conferences.has(ConferenceId(id.0)) {
                return id;
            }
        }
    }

    fn start(&mut self, peer: AccountId, begin: Begin, scope: &mut Scope<'_, Self>) -> CallId {
        let id = self.new_id(scope);
        let (stage, dialogs) = match &begin {
            Begin::Place(_) => (CallStage::Searching, Vec::new()),
            Begin::Ring(line, request) => {
                let name = call_of(request).unwrap_or_default().to_owned();
                (CallStage::Incoming, vec![(line.device, name, ONLY)])
            }
        };
        let counters = Arc::new(Counters::default());
        let device = dialogs.first().map(|(device, _, _)| *device);
        let switch = Arc::new(Switch::new(Arc::clone(&self.config.media)));
        let config = SessionConfig {
            id,
            own: self.config.account,
            device: self.config.device,
            name: self.config.name.clone(),
            peer,
            begin,
            counters: Arc::clone(&counters),
            paths: Arc::clone(&self.config.paths),
            media: Arc::clone(&switch) as SharedMedia,
            links: self.config.links.clone(),
            directory: self.config.directory.clone(),
            pool: self.config.pool.clone(),
            share: self.config.share,
            told: scope.port().outlet(move |told| CallsMessage::Session(id, told)),
        };
        // What a call is cannot be made anew from anything: one that fails is over.
        let once = RestartPolicy { max_restarts: 0, on_limit: OnLimit::GiveUp, ..RestartPolicy::default() };
        let spec = ChildSpec::new(id.to_string()).restart(once);
        let port = scope.start_child(spec, move || CallSession::new(config.clone()));
        let entry = Entry {
            port,
            peer,
            device,
            switch,
            conference: None,
            told: None,
            incoming: stage == CallStage::Incoming,
            dialogs,
            sound: SoundChoice::default(),
            counters,
            stage,
            muted: false,
            peer_muted: false,
            answered: None,
            shown: false,
            quiet: None,
            rings: Rings::No,
            over: false,
        };
        self.calls.insert(id, entry);
        id
    }

    pub(super) fn command(&mut self, id: CallId, command: CallCommand, reply: Reply<Result<(), CallError>>) {
        let Some(entry) = self.calls.get(&id).filter(|entry| !entry.over) else {
            return reply.send(Err(CallError::Unknown(id)));
        };
        // Whoever finds no room learns so by the reply that is dropped.
        if let Err(error) = entry.port.try_send(SessionMessage::Do(command, reply)) {
            tracing::debug!(%error, "a call is too busy");
        }
    }

    fn sip(&mut self, line: SipLine, message: Box<SipMessage>, place: Place, scope: &mut Scope<'_, Self>) {
        let of = call_of(&message);
        let known = self.calls.values().find_map(|entry| {
            let mut dialogs = entry.dialogs.iter();
            let found = dialogs.find(|(device, call, _)| *device == line.device && of == Some(call.as_str()));
            found.map(|(_, _, leg)| (entry, *leg))
        });
        if let Some((entry, leg)) = known {
            if let Err(error) = entry.port.try_send(SessionMessage::Sip(leg, message, place)) {
                tracing::debug!(%error, "a call is too busy, or over");
            }
            return;
        }
        if about(&message) == About::NewCall && of.is_some() && self.may_ring(line.account) {
            return self.ring(line, message, scope);
        }
        if let Some(answer) = answer_outside(&message, SOMEWHERE) {
            // Whoever does not read answers is not read either.
            let answer = async move {
                let _place = place;
                line.send(answer).await
            };
            scope.spawn(answer, |_, _, _| ());
        }
    }

    /// How many calls there are that are not over.
    fn present(&self) -> usize {
        self.calls.values().filter(|entry| !entry.over).count()
    }

    fn may_ring(&mut self, peer: AccountId) -> bool {
        let is_room = self.present() < MAX_CALLS && self.calls.len() < MAX_KEPT;
        peer != self.config.account && is_room && self.ringing.admit(peer)
    }

    fn ring(&mut self, line: SipLine, request: Box<SipMessage>, scope: &mut Scope<'_, Self>) {
        let peer = line.account;
        let offer = Description::read(&request.body).ok();
        let has_video = offer.is_some_and(|offer| {
            offer.media.iter().any(|media| media.kind == MediaKind::Video && media.is_enabled())
        });
        let ours = self.calls.iter().find(|(_, entry)| {
            let rings = matches!(entry.stage, CallStage::Searching | CallStage::Ringing);
            entry.peer == peer && !entry.incoming && rings && !entry.over
        });
        let crossed = ours.map(|(id, entry)| (*id, entry.sound.clone()));
        let id = self.start(peer, Begin::Ring(line, request), scope);
        let Some(entry) = self.calls.get_mut(&id) else { return };
        entry.rings = Rings::Yes;
        let Some((ours, sound)) = crossed else { return };
        if gives_way(self.config.account, peer, false, has_video) {
            self.command(id, CallCommand::Answer(sound), Reply::channel().0);
            self.command(ours, CallCommand::HangUp, Reply::channel().0);
        } else {
            entry.quiet = Some(ours);
            scope.after(GIVING_WAY, move |calls, scope| calls.speak_up(id, scope));
        }
    }

    /// A call that has met one of ours did not give way: it rings as any other.
    fn speak_up(&mut self, id: CallId, scope: &Scope<'_, Self>) {
        if let Some(entry) = self.calls.get_mut(&id)
            && entry.quiet.take().is_some()
        {
            entry.shown = true;
            self.show(id, scope);
        }
    }

    fn told(&mut self, id: CallId, told: SessionTold, scope: &mut Scope<'_, Self>) {
        match told {
            SessionTold::Changed { stage, muted, peer_muted, answered } => {
                let Some(entry) = self.calls.get_mut(&id) else { return };
                (entry.stage, entry.muted, entry.peer_muted) = (stage, muted, peer_muted);
                entry.answered = answered;
                entry.shown |= entry.quiet.is_none();
                if stage != CallStage::Incoming {
                    self.rings_no_more(id, true);
                }
                self.show(id, scope);
            }
            SessionTold::Ended { over, detail, duration, record } => {
                self.ended(id, over, detail, duration, record, scope);
            }
            SessionTold::Opened { leg, device, call, reader } => {
                if let Some(entry) = self.calls.get_mut(&id) {
                    entry.dialogs.push((device, call, leg));
                }
                // Not by the call: others may use the channel when it is over.
                let heard = scope.port().outlet(CallsMessage::Heard);
                scope.spawn_background(reader.read(heard), |_, (), _| ());
            }
            SessionTold::Won(device) => {
                if let Some(entry) = self.calls.get_mut(&id) {
                    entry.device = Some(device);
                }
            }
            SessionTold::Said(said) => self.said_in(id, said, scope),
        }
    }

    fn heard(&mut self, event: LinkEvent, scope: &mut Scope<'_, Self>) {
        match event {
            LinkEvent::Sip { line, message, place } => self.sip(line, message, place, scope),
            other => self.tell(CallsTold::Heard(other), scope),
        }
    }

    fn ended(
        &mut self,
        id: CallId,
        over: CallOver,
        detail: Option<String>,
        duration: Duration,
        record: Option<CallRecord>,
        scope: &mut Scope<'_, Self>,
    ) {
        self.rings_no_more(id, false);
        self.left_conference(id);
        let Some(entry) = self.calls.get_mut(&id) else { return };
        if std::mem::replace(&mut entry.over, true) {
            return;
        }
        let (peer, incoming, shown) = (entry.peer, entry.incoming, entry.shown);
        if let Some(record) = record {
            self.tell(CallsTold::Record { peer, record }, scope);
        }
        if shown {
            let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            let event = Event::CallEnded { call: id, peer, incoming, over, detail, duration_ms };
            // What is told of a call last waits for room, however much is told.
            let event = NodeEvent { account: self.config.local, time: scope.wall(), event };
            let events = self.config.events.clone();
            scope.spawn(async move { events.send(event).await }, |_, told, _| {
                if let Err(error) = told {
                    tracing::warn!(%error, "the end of a call was not told");
                }
            });
        }
        let met: Vec<CallId> =
            self.calls.iter().filter(|(_, entry)| entry.quiet == Some(id)).map(|(id, _)| *id).collect();
        for id in met {
            self.speak_up(id, scope);
        }
    }

    /// A call does not ring here any more; `done` when nothing more is to come of it, or it was answered.
    fn rings_no_more(&mut self, id: CallId, done: bool) {
        let Some(entry) = self.calls.get_mut(&id) else { return };
        if entry.rings == Rings::Yes {
            entry.rings = Rings::GivenUp;
            self.ringing.silent();
        }
        if done && entry.rings == Rings::GivenUp {
            entry.rings = Rings::No;
            self.ringing.done(entry.peer);
        }
    }

    /// A call is no more. What it told last may still wait, so this goes behind it.
    fn child_gone(name: &str, scope: &mut Scope<'_, Self>) {
        let Ok(id) = name.parse() else { return };
        let port = scope.port();
        scope.spawn(async move { port.send(CallsMessage::Gone(id)).await }, |_, _, _| ());
    }

    fn gone(&mut self, id: CallId, scope: &mut Scope<'_, Self>) {
        let Some(entry) = self.calls.get(&id) else { return };
        if !entry.over {
            let duration = entry.answered.map(|since| scope.now().since(since));
            let record = (!entry.incoming).then(|| history(entry.peer, duration, CallEnd::Over(End::Gone)));
            let detail = Some("an error inside the node".to_owned());
            self.ended(id, CallOver::Failed, detail, duration.unwrap_or_default(), record, scope);
        }
        self.rings_no_more(id, true);
        self.calls.remove(&id);
    }

    pub(super) fn show(&self, id: CallId, scope: &Scope<'_, Self>) {
        if let Some(entry) = self.calls.get(&id).filter(|entry| entry.shown && !entry.over) {
            self.emit(Event::CallChanged { call: view(id, entry, scope.now()) }, scope);
        }
    }

    fn list(&self, scope: &Scope<'_, Self>) -> Vec<CallView> {
        let present = self.calls.iter().filter(|(_, entry)| entry.shown && !entry.over);
        present.map(|(id, entry)| view(*id, entry, scope.now())).collect()
    }
}

fn view(id: CallId, entry: &Entry, now: Moment) -> CallView {
    let duration = entry.answered.map(|since| now.since(since)).unwrap_or_default();
    CallView {
        id,
        peer: entry.peer,
        incoming: entry.incoming,
        stage: entry.stage,
        muted: entry.muted,
        peer_muted: entry.peer_muted,
        duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        sent: entry.counters.sent.load(Ordering::Relaxed),
        received: entry.counters.received.load(Ordering::Relaxed),
        dropped: entry.counters.dropped.load(Ordering::Relaxed),
        conference: entry.conference,
        people: entry.told.as_ref().map(people_of).unwrap_or_default(),
    }
}

impl Actor for CallsActor {
    type Message = CallsMessage;
    const KIND: &'static str = "calls";

    fn handle(&mut self, message: CallsMessage, scope: &mut Scope<'_, Self>) {
        match message {
            CallsMessage::Place { peer, sound, reply } => reply.send(self.place(peer, sound, scope)),
            CallsMessage::Do { call, command, reply } => self.command(call, command, reply),
            CallsMessage::List(reply) => reply.send(self.list(scope)),
            CallsMessage::Conference(request) => self.conference(request, scope),
            CallsMessage::Name(name) => self.config.name = name,
            CallsMessage::Sip { line, message, place } => self.sip(line, message, place, scope),
            CallsMessage::Heard(event) => self.heard(event, scope),
            CallsMessage::Session(id, told) => self.told(id, told, scope),
            CallsMessage::Gone(id) => self.gone(id, scope),
        }
    }

    fn child_failed(&mut self, name: &str, scope: &mut Scope<'_, Self>) {
        self.conference_failed(name, scope);
        Self::child_gone(name, scope);
    }

    fn child_stopped(&mut self, name: &str, scope: &mut Scope<'_, Self>) {
        Self::child_gone(name, scope);
    }
}
