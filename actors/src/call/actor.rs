//! The actor: which calls there are, and which of them a message is of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use skep_protocol::call::{About, RingingCalls, about, answer_outside, call_of, gives_way};
use skep_protocol::conference::ConferenceInfo;
use skep_protocol::ids::{AccountId, DeviceId, DeviceShortId, LocalAccountId};
use skep_protocol::sdp::{Description, MediaKind};
use skep_protocol::sip::stream::SipMessage;
use skep_protocol::time::Moment;

use super::carrier::Counters;
use super::conference::messages::{ConferenceId, people_of};
use super::conference::{Conferences, Switch};
use super::media::{SharedMedia, SoundChoice};
use super::messages::{
    CallCommand, CallError, CallId, CallOver, CallStage, CallView, CallsMessage, CallsTold, MAX_CALLS,
};
use super::paths::Paths;
use super::session::{Begin, CallSession, SessionConfig, SessionMessage, SessionTold};
use crate::blocking::{BlockingPool, Share};
use crate::directory::messages::DirectoryMessage;
use crate::event::{Event, NodeEvent};
use crate::peer::dialect::SOMEWHERE;
use crate::peer::messages::{LinkEvent, LinksMessage, Place, SipLine};
use crate::supervision::{Actor, ChildSpec, OnLimit, Outlet, Port, Reply, RestartPolicy, Scope};

/// The greatest number of a call (`spec: calls 1`).
const MAX_ID: u64 = 1 << 53;

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
    /// The dialog of one that was taken.
    dialog: Option<(DeviceId, String)>,
    sound: SoundChoice,
    counters: Arc<Counters>,
    stage: CallStage,
    muted: bool,
    pub(super) peer_muted: bool,
    pub(super) answered: Option<Moment>,
    /// Whether the owner was told of it.
    shown: bool,
    /// Whether the owner is told of it: not of one that comes to nothing because two called each other.
    quiet: bool,
    /// Whether it counts among those that ring here.
    rings: bool,
    pub(super) over: bool,
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
        if self.calls.len() >= MAX_CALLS {
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
        let (stage, dialog) = match &begin {
            Begin::Place(_) => (CallStage::Searching, None),
            Begin::Ring(line, request) => {
                let name = call_of(request).unwrap_or_default().to_owned();
                (CallStage::Incoming, Some((line.device, name)))
            }
        };
        let counters = Arc::new(Counters::default());
        let device = dialog.as_ref().map(|(device, _): &(DeviceId, String)| *device);
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
            dialog,
            sound: SoundChoice::default(),
            counters,
            stage,
            muted: false,
            peer_muted: false,
            answered: None,
            shown: false,
            quiet: false,
            rings: false,
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
        let known = self.calls.values().find(|entry| {
            let name = entry.dialog.as_ref().map(|(device, call)| (*device, call.as_str()));
            name.is_some() && name == of.map(|of| (line.device, of))
        });
        if let Some(entry) = known {
            if let Err(error) = entry.port.try_send(SessionMessage::Sip(message, place)) {
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

    fn may_ring(&mut self, peer: AccountId) -> bool {
        peer != self.config.account && self.calls.len() < MAX_CALLS && self.ringing.admit(peer)
    }

    fn ring(&mut self, line: SipLine, request: Box<SipMessage>, scope: &mut Scope<'_, Self>) {
        let peer = line.account;
        let offer = Description::read(&request.body).ok();
        let has_video = offer.is_some_and(|offer| {
            offer.media.iter().any(|media| media.kind == MediaKind::Video && media.is_enabled())
        });
        let ours = self.calls.iter().find(|(_, entry)| {
            let rings = matches!(entry.stage, CallStage::Searching | CallStage::Ringing);
            entry.peer == peer && entry.dialog.is_none() && rings && !entry.over
        });
        let crossed = ours.map(|(id, entry)| (*id, entry.sound.clone()));
        let id = self.start(peer, Begin::Ring(line, request), scope);
        let Some(entry) = self.calls.get_mut(&id) else { return };
        entry.rings = true;
        let Some((ours, sound)) = crossed else { return };
        if gives_way(self.config.account, peer, false, has_video) {
            self.command(id, CallCommand::Answer(sound), Reply::channel().0);
            self.command(ours, CallCommand::HangUp, Reply::channel().0);
        } else {
            entry.quiet = true;
        }
    }

    fn told(&mut self, id: CallId, told: SessionTold, scope: &mut Scope<'_, Self>) {
        match told {
            SessionTold::Changed { stage, muted, peer_muted, answered } => {
                let Some(entry) = self.calls.get_mut(&id) else { return };
                (entry.stage, entry.muted, entry.peer_muted) = (stage, muted, peer_muted);
                entry.answered = answered;
                entry.shown |= !entry.quiet;
                self.rings_no_more(id, stage != CallStage::Incoming);
                self.show(id, scope);
            }
            SessionTold::Ended { over, detail, duration, record } => {
                self.ended(id, over, detail, duration, scope);
                let peer = self.calls.get(&id).map(|entry| entry.peer);
                if let (Some(peer), Some(record)) = (peer, record) {
                    self.tell(CallsTold::Record { peer, record }, scope);
                }
            }
            SessionTold::Won(device) => {
                if let Some(entry) = self.calls.get_mut(&id) {
                    entry.device = Some(device);
                }
            }
            SessionTold::Said(said) => self.said_in(id, said, scope),
            SessionTold::Heard(LinkEvent::Sip { line, message, place }) => {
                self.sip(line, message, place, scope);
            }
            SessionTold::Heard(other) => self.tell(CallsTold::Heard(other), scope),
        }
    }

    fn ended(
        &mut self,
        id: CallId,
        over: CallOver,
        detail: Option<String>,
        duration: Duration,
        scope: &mut Scope<'_, Self>,
    ) {
        self.rings_no_more(id, true);
        self.left_conference(id);
        let Some(entry) = self.calls.get_mut(&id) else { return };
        if std::mem::replace(&mut entry.over, true) || !entry.shown {
            return;
        }
        let (peer, incoming) = (entry.peer, entry.dialog.is_some());
        let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.emit(Event::CallEnded { call: id, peer, incoming, over, detail, duration_ms }, scope);
    }

    fn rings_no_more(&mut self, id: CallId, no_more: bool) {
        if let Some(entry) = self.calls.get_mut(&id)
            && no_more
            && std::mem::take(&mut entry.rings)
        {
            self.ringing.done(entry.peer);
        }
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
        incoming: entry.dialog.is_some(),
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
            CallsMessage::Session(id, told) => self.told(id, told, scope),
        }
    }

    fn child_failed(&mut self, name: &str, scope: &mut Scope<'_, Self>) {
        self.conference_failed(name, scope);
        if let Ok(id) = name.parse() {
            let detail = Some("an error inside the node".to_owned());
            self.ended(id, CallOver::Failed, detail, Duration::ZERO, scope);
            self.calls.remove(&id);
        }
    }

    fn child_stopped(&mut self, name: &str, scope: &mut Scope<'_, Self>) {
        if let Ok(id) = name.parse() {
            // What it told last may still wait behind this.
            scope.after(Duration::ZERO, move |calls, _| {
                calls.rings_no_more(id, true);
                calls.calls.remove(&id);
            });
        }
    }
}
