//! One call: its dialogs, its streams, and what becomes of them.
//!
//! ```text
//!   placed    gather ─► offer ─► a leg for each device ─► one answers ─┐
//!   taken     ring ─► answer: gather ─► 200 ───────────────────────────┴─► connect ─► sound ─► over
//!                                                     changes: offer, answer ◄──────────┘
//! ```

mod media;
mod signalling;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use skep_protocol::call::{
    Action, CallEnd, Change, Connection, Dialled, End, Ends, Leg, LegNumber, OutgoingCall, Refusal, Renewals,
    Stream, Streams, Takes, history,
};
use skep_protocol::ids::{AccountId, DeviceId, DeviceShortId};
use skep_protocol::sdp::{Carrier as How, Description, MediaKind, SrtpKey};
use skep_protocol::sip::stream::SipMessage;
use skep_protocol::swarm::message::CallRecord;
use skep_protocol::time::Moment;

use self::media::Running;
use super::carrier::Counters;
use super::conference::messages::Said;
use super::media::{SharedMedia, SoundChoice};
use super::messages::{CallCommand, CallError, CallId, CallOver, CallStage};
use super::paths::{GatheredPaths, Paths};
use crate::blocking::{BlockingPool, Share};
use crate::directory::messages::DirectoryMessage;
use crate::peer::dialect::SOMEWHERE;
use crate::peer::line::LineReader;
use crate::peer::messages::{LinksMessage, Place, SipLine};
use crate::supervision::{Actor, Message, Outlet, Policy, Port, Reply, Scope};

/// The one leg of a call that was taken.
pub(super) const ONLY: LegNumber = LegNumber(0);

/// How long devices may take to write the last words of a call when the node ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a call needs to start.
#[derive(Clone, Debug)]
pub(super) struct SessionConfig {
    pub(super) id: CallId,
    pub(super) own: AccountId,
    pub(super) device: DeviceShortId,
    /// What we are called.
    pub(super) name: String,
    pub(super) peer: AccountId,
    pub(super) begin: Begin,
    pub(super) counters: Arc<Counters>,
    pub(super) paths: Arc<dyn Paths>,
    pub(super) media: SharedMedia,
    pub(super) links: Port<LinksMessage>,
    pub(super) directory: Port<DirectoryMessage>,
    pub(super) pool: BlockingPool,
    pub(super) share: Share,
    pub(super) told: Outlet<SessionTold>,
}

/// How it begins.
#[derive(Clone, Debug)]
pub(super) enum Begin {
    /// We call.
    Place(SoundChoice),
    /// They do.
    Ring(SipLine, Box<SipMessage>),
}

/// What a call can be told.
#[derive(Debug)]
pub(super) enum SessionMessage {
    /// The owner wants something.
    Do(CallCommand, Reply<Result<(), CallError>>),
    /// Say this to the other side.
    Say(Said),
    /// Something of the dialog of this leg came.
    Sip(LegNumber, Box<SipMessage>, Place),
}

/// What a call tells.
#[derive(Debug)]
pub enum SessionTold {
    /// It is this far.
    Changed {
        /// How far.
        stage: CallStage,
        /// Whether we are muted.
        muted: bool,
        /// Whether they are.
        peer_muted: bool,
        /// When it was answered.
        answered: Option<Moment>,
    },
    /// It is over. Once only.
    Ended {
        /// Why.
        over: CallOver,
        /// In words, where that says more.
        detail: Option<String>,
        /// How long it was answered.
        duration: Duration,
        /// What belongs into the conversation.
        record: Option<CallRecord>,
    },
    /// This device has answered.
    Won(DeviceId),
    /// The other side said something that is not of this call alone.
    Said(Said),
    /// It has opened a channel, for a dialog of this name. What comes over it may be of other calls, too.
    Opened {
        /// Its own name of the dialog.
        leg: LegNumber,
        /// The device at the other end.
        device: DeviceId,
        /// Names the dialog.
        call: String,
        /// What is to be read.
        reader: LineReader,
    },
}

impl Message for SessionMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Do(..) => "do",
            Self::Say(_) => "say",
            Self::Sip(..) => "sip",
        }
    }

    fn policy(&self) -> Policy {
        Policy::Wait
    }
}

/// Who is spoken to.
#[derive(Debug)]
enum Dialog {
    /// We called; boxed because it is large.
    Placed(Box<OutgoingCall>),
    /// They did.
    Taken(Box<Leg>),
}

/// An offer of theirs that is not answered yet.
#[derive(Debug)]
struct Offered {
    offer: Description,
    /// The owner, who has answered the call.
    reply: Option<Reply<Result<(), CallError>>>,
}

/// See the module.
pub(super) struct CallSession {
    config: SessionConfig,
    dialog: Option<Dialog>,
    lines: BTreeMap<LegNumber, SipLine>,
    sound: SoundChoice,
    streams: Streams,
    /// Our last description, and the version of the next.
    ours: Option<Description>,
    version: u64,
    /// Second in which it began.
    began: u64,
    key: Option<SrtpKey>,
    /// A session of ours whose other side is not known yet.
    gathered: Option<Box<dyn GatheredPaths>>,
    /// Number of the last session that was to be opened, and whether it is still being opened. What comes of others
    /// is too late.
    gather: u64,
    gathering: bool,
    /// How many new sessions the other side may still have.
    renewals: Option<Renewals>,
    /// The way broke while a new one is looked for.
    path_lost: bool,
    /// What our streams are now is to be offered when the offer before is answered.
    offer_later: bool,
    offered: Option<Offered>,
    /// How sound is carried since the last agreement.
    how: Option<How>,
    running: Option<Running>,
    /// Number of the last attempt to carry; what comes of others is too late.
    attempt: u64,
    stage: CallStage,
    peer_muted: bool,
    answered: Option<Moment>,
    /// The place of the message that is being heard. What it has us say holds it, too.
    heard: Option<Arc<Place>>,
    /// Why we end it, where the dialog would say less.
    failure: Option<(CallOver, String)>,
    ended: bool,
}

impl std::fmt::Debug for CallSession {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "CallSession({}, {:?})", self.config.id, self.stage)
    }
}

impl CallSession {
    pub(super) fn new(config: SessionConfig) -> Self {
        let (sound, stage) = match &config.begin {
            Begin::Place(sound) => (sound.clone(), CallStage::Searching),
            Begin::Ring(..) => (SoundChoice::default(), CallStage::Incoming),
        };
        Self {
            config,
            dialog: None,
            lines: BTreeMap::new(),
            sound,
            streams: Streams::new([Stream::of(MediaKind::Audio)]),
            ours: None,
            version: 0,
            began: 0,
            key: None,
            gathered: None,
            gather: 0,
            gathering: false,
            renewals: None,
            path_lost: false,
            offer_later: false,
            offered: None,
            how: None,
            running: None,
            attempt: 0,
            stage,
            peer_muted: false,
            answered: None,
            heard: None,
            failure: None,
            ended: false,
        }
    }

    fn tell(&self, told: SessionTold) {
        if let Err(error) = self.config.told.try_send(told) {
            tracing::debug!(%error, "what a call told was not heard");
        }
    }

    fn tell_change(&self) {
        if !self.ended {
            let muted = self.streams.all().first().is_some_and(|stream| stream.muted);
            let (stage, peer_muted, answered) = (self.stage, self.peer_muted, self.answered);
            self.tell(SessionTold::Changed { stage, muted, peer_muted, answered });
        }
    }

    fn reach(&mut self, stage: CallStage) {
        if self.stage != stage {
            self.stage = stage;
            self.tell_change();
        }
    }

    /// It is over: said once, whatever else happens. However much is told, this waits until it is heard.
    fn finish(&mut self, end: CallEnd, scope: &mut Scope<'_, Self>) {
        let Some(last) = self.last_words(end, scope.now()) else { return };
        let told = self.config.told.clone();
        scope.spawn(async move { told.send(last).await }, |call, heard, _| {
            if let Err(error) = heard {
                tracing::debug!(call = %call.config.id, %error, "the end of a call was not heard");
            }
        });
    }

    fn last_words(&mut self, end: CallEnd, now: Moment) -> Option<SessionTold> {
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        self.running = None;
        self.gathered = None;
        let duration = self.answered.map(|since| now.since(since));
        let placed = matches!(self.config.begin, Begin::Place(_));
        let (over, detail) = match self.failure.take() {
            Some((over, detail)) => (over, Some(detail)),
            // It rang here, and nobody answered.
            None if !placed && end == CallEnd::Over(End::NoAnswer) => (CallOver::Missed, None),
            None => over_of(end),
        };
        let record = placed.then(|| history(self.config.peer, duration, end));
        let duration = duration.unwrap_or_default();
        if let Some(Offered { reply: Some(reply), .. }) = self.offered.take() {
            reply.send(Err(CallError::Unknown(self.config.id)));
        }
        Some(SessionTold::Ended { over, detail, duration, record })
    }

    /// Ends it because something failed here.
    fn fail(&mut self, over: CallOver, why: &str, scope: &mut Scope<'_, Self>) {
        tracing::info!(call = %self.config.id, why, "a call fails");
        self.failure.get_or_insert_with(|| (over, why.to_owned()));
        self.hang_up(scope);
        if self.dialog.is_none() {
            self.finish(CallEnd::Over(End::HungUp), scope);
            scope.stop();
        }
    }

    fn hang_up(&mut self, scope: &mut Scope<'_, Self>) {
        let now = scope.now();
        match &mut self.dialog {
            Some(Dialog::Placed(call)) => {
                let dialled = call.hang_up(now);
                self.dialled(dialled, scope);
            }
            Some(Dialog::Taken(leg)) => {
                let actions = if self.failure.is_some() && !leg.is_confirmed() {
                    leg.refuse(now, Refusal::NoCodec)
                } else {
                    leg.hang_up(now)
                };
                self.act_all(actions, scope);
            }
            None => {}
        }
    }

    fn command(
        &mut self,
        command: CallCommand,
        reply: Reply<Result<(), CallError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        if self.ended {
            return reply.send(Err(CallError::Unknown(self.config.id)));
        }
        match command {
            CallCommand::Answer(sound) => return self.answer_call(sound, reply, scope),
            CallCommand::Decline if self.stage == CallStage::Incoming => {
                if let Some(Dialog::Taken(leg)) = &mut self.dialog {
                    let actions = leg.refuse(scope.now(), Refusal::Decline);
                    self.act_all(actions, scope);
                }
            }
            CallCommand::Decline => return reply.send(Err(CallError::WrongStage(self.stage))),
            CallCommand::HangUp if self.dialog.is_none() => {
                self.finish(CallEnd::Over(End::Cancelled), scope);
                scope.stop();
            }
            CallCommand::HangUp => self.hang_up(scope),
            CallCommand::Hold(hold) => {
                let change = if hold { Change::Hold } else { Change::Resume };
                return reply.send(self.change(change, scope));
            }
            CallCommand::Mute(muted) => return reply.send(self.change(Change::Mute(0, muted), scope)),
            CallCommand::Press(press) => {
                let now = scope.now();
                return reply.send(self.speak(scope, |leg| leg.press(now, press)));
            }
        }
        reply.send(Ok(()));
    }

    /// Changes our streams, and does what that takes.
    fn change(&mut self, change: Change, scope: &mut Scope<'_, Self>) -> Result<(), CallError> {
        let holds = matches!(change, Change::Hold | Change::Resume);
        let settled = matches!(self.stage, CallStage::Active | CallStage::Held);
        if holds && (!settled || self.gathered.is_some()) {
            return Err(CallError::WrongStage(self.stage));
        }
        let now = scope.now();
        let abilities = self.leg().map(|leg| *leg.abilities()).unwrap_or_default();
        let told = match self.streams.change(change, &abilities) {
            Takes::Nothing => return Ok(()),
            Takes::Impossible => return Err(CallError::WrongStage(self.stage)),
            // Before it is answered there is nobody to be told; they are when it is.
            Takes::Tell(_) if self.answered.is_none() => Ok(()),
            Takes::Tell(control) => self.speak(scope, |leg| leg.control(now, control)),
            // What they offer is about to be answered, and the answer says how we are now, over a new way.
            Takes::Offer { .. } if self.offered.is_some() => Ok(()),
            Takes::Offer { new_ice: false } => self.offer_again(scope),
            Takes::Offer { new_ice: true } => {
                self.gather_and_offer(scope);
                Ok(())
            }
        };
        // Whatever the other side is told or not: who mutes is not heard.
        self.streams_changed();
        told
    }

    /// Lets sound and stage follow the streams.
    fn streams_changed(&mut self) {
        match (self.stage, self.streams.is_held()) {
            (CallStage::Active, true) => self.stage = CallStage::Held,
            (CallStage::Held, false) => self.stage = CallStage::Connecting,
            _ => {}
        }
        // Of a call that goes on the sound comes back with the new path, not over the old one.
        self.set_running(self.streams.is_held() || self.stage == CallStage::Connecting);
        self.tell_change();
    }

    fn set_running(&self, held: bool) {
        let muted = self.streams.all().first().is_none_or(|stream| stream.muted);
        if let Some(running) = &self.running {
            running.set(muted, held);
        }
    }

    /// Takes a message. The next one is read when what this one had us say is on its way.
    fn hear(&mut self, number: LegNumber, message: &SipMessage, place: Place, scope: &mut Scope<'_, Self>) {
        self.heard = Some(Arc::new(place));
        self.received(number, message, scope);
        self.heard = None;
    }

    fn leg(&mut self) -> Option<&mut Leg> {
        match self.dialog.as_mut()? {
            Dialog::Placed(call) => call.winner().map(|(_, leg)| leg),
            Dialog::Taken(leg) => Some(leg),
        }
    }

    fn ends(&self) -> Ends {
        let SessionConfig { name, own, device, peer, .. } = &self.config;
        Ends::of_devices(name, *own, *device, &peer.to_hex(), SOMEWHERE, SOMEWHERE)
    }

    fn arm(&self, scope: &mut Scope<'_, Self>) {
        let deadline = match &self.dialog {
            Some(Dialog::Placed(call)) => call.next_deadline(),
            Some(Dialog::Taken(leg)) => leg.next_deadline(),
            None => None,
        };
        scope.set_alarm(deadline);
    }
}

/// What an end is to the owner, and in words.
fn over_of(end: CallEnd) -> (CallOver, Option<String>) {
    let end = match end {
        CallEnd::Declined => return (CallOver::Declined, None),
        CallEnd::Busy => return (CallOver::Busy, None),
        CallEnd::NoDevice => return (CallOver::NoDevice, None),
        CallEnd::Over(end) => end,
    };
    match end {
        End::HungUp => (CallOver::HungUp, None),
        End::PeerHungUp => (CallOver::PeerHungUp, None),
        End::Cancelled => (CallOver::Cancelled, None),
        End::PeerCancelled => (CallOver::PeerCancelled, None),
        End::Declined | End::Refused => (CallOver::Declined, None),
        End::Busy => (CallOver::Busy, None),
        End::Failed(status) => {
            (CallOver::Failed, Some(format!("the other device answered with status {status}")))
        }
        End::NoAnswer => (CallOver::Failed, Some("the other device did not respond".to_owned())),
        End::Gone => {
            (CallOver::Failed, Some("the other device does not know of the call any more".to_owned()))
        }
        End::Lost => (CallOver::Lost, None),
        End::BadAnswer => (CallOver::Failed, Some("the other device's answer makes no call".to_owned())),
    }
}

impl Actor for CallSession {
    type Message = SessionMessage;
    const KIND: &'static str = "call";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        self.began = u64::try_from(scope.wall().seconds()).unwrap_or_default();
        match self.config.begin.clone() {
            Begin::Place(_) => self.gather_and_offer(scope),
            Begin::Ring(line, request) => self.ring(line, &request, scope),
        }
        self.arm(scope);
    }

    fn handle(&mut self, message: SessionMessage, scope: &mut Scope<'_, Self>) {
        match message {
            SessionMessage::Do(command, reply) => self.command(command, reply, scope),
            SessionMessage::Say(said) => self.say(said, scope),
            SessionMessage::Sip(number, message, place) => self.hear(number, &message, place, scope),
        }
        self.arm(scope);
    }

    fn alarm(&mut self, scope: &mut Scope<'_, Self>) {
        let now = scope.now();
        match &mut self.dialog {
            Some(Dialog::Placed(call)) => {
                let dialled = call.tick(now);
                self.dialled(dialled, scope);
            }
            Some(Dialog::Taken(leg)) => {
                let actions = leg.tick(now);
                self.act_all(actions, scope);
            }
            None => {}
        }
        self.arm(scope);
    }

    /// A node that ends hangs up.
    fn flush(&mut self, scope: &mut Scope<'_, Self>) -> Option<LocalBoxFuture<'static, ()>> {
        if self.ended {
            return None;
        }
        let now = scope.now();
        let mut words = Vec::new();
        let mut say = |line: Option<&SipLine>, action: Action| {
            if let (Some(line), Action::Send(bytes)) = (line, action) {
                words.push((line.clone(), bytes));
            }
        };
        match &mut self.dialog {
            Some(Dialog::Placed(call)) => {
                for dialled in call.hang_up(now) {
                    if let Dialled::Leg(number, action) = dialled {
                        say(self.lines.get(&number), action);
                    }
                }
            }
            Some(Dialog::Taken(leg)) => {
                for action in leg.hang_up(now) {
                    say(self.lines.get(&ONLY), action);
                }
            }
            None => {}
        }
        let (told, last) = (self.config.told.clone(), self.last_words(CallEnd::Over(End::HungUp), now));
        let speak = async move {
            if let Some(last) = last {
                // Nobody hears it when all of the node ends.
                let _ = told.send(last).await;
            }
            for (line, bytes) in words {
                let _ = line.send(bytes).await;
            }
        };
        Some(tokio::time::timeout(LAST_WORDS, speak).map(|_| ()).boxed_local())
    }
}
