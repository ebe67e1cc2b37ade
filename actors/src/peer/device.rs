//! One peer device: its attempts, its connections, and the channels over them. The message channel
//! and what waits for it is in [`notices`].

mod notices;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use skep_protocol::identity::VerifiedChain;
use skep_protocol::link::attempt::{Attempt, AttemptError};
use skep_protocol::link::channel_name::ChannelName;
use skep_protocol::link::dial::{ConnectionNumber, DialError, Dialer, Output, Ticket};
use skep_protocol::link::mux::{Patience, Role};
use skep_protocol::link::request::{KeyKind, PeerRequest, RequestId};
use skep_protocol::time::Moment;
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::notices::MessageChannels;
use super::attempt::{self, LinkConfig};
use super::channel::{Channel, ChannelOffer};
use super::connection::{Command, ConnectionHandle, Remote, connection};
use super::dialect::Dialect;
use super::hearing::OFFER_PLACES;
use super::messages::{LinkError, LinkEvent, Notice, Place};
use super::transport::SecureStream;
use crate::account::messages::LinkView;
use crate::supervision::{Actor, Message, Outlet, Policy, Reply, Scope};

/// First pause before a link that is wanted is tried again; doubles each time. Short, because a link
/// that breaks can usually be had again at once; one that cannot takes half a minute to fail.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Tries without success until the device announces itself anew (`spec: swarm 15`).
const MAX_TRIES: u32 = 20;

/// Answers that wait for one attempt; the first counts.
const ANSWER_QUEUE: usize = 2;

/// How long the peer may take to give us our message channel before that is tried again.
const MESSAGE_CHANNEL: Duration = Duration::from_secs(5);

/// How long a device without links and wishes is kept in mind.
const IDLE: Duration = Duration::from_secs(120);

/// What its parent tells a peer.
#[derive(Debug)]
pub(super) enum PeerMessage {
    /// Open a channel.
    Open { name: String, deadline: Duration, reply: Reply<Result<Channel, LinkError>> },
    /// Deliver a notice.
    Notify { topic: u64, notice: Notice, lasting: bool },
    /// Deliver a notice to a device that sleeps: one request for a link is to wake it.
    Wake { topic: u64, notice: Notice },
    /// The device is announced: connect if that has failed before.
    Present,
    /// This machine got another network.
    NetworkChanged,
    /// The device wants to connect and may.
    Request { request: PeerRequest, kind: KeyKind },
    /// The device has answered a request of ours.
    Answer { request: PeerRequest, kind: KeyKind },
    /// A channel is asked for on one of the connections.
    Offered(ChannelOffer),
    /// Close everything.
    Close,
    /// The link at a glance.
    Describe(Reply<LinkView>),
}

impl Message for PeerMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::Notify { .. } => "notify",
            Self::Wake { .. } => "wake",
            Self::Present => "present",
            Self::NetworkChanged => "network_changed",
            Self::Request { .. } => "request",
            Self::Answer { .. } => "answer",
            Self::Offered(_) => "offered",
            Self::Close => "close",
            Self::Describe(_) => "describe",
        }
    }

    fn policy(&self) -> Policy {
        match self {
            Self::Present | Self::NetworkChanged => Policy::Coalesce(0),
            // What a peer sends must not wait in us.
            Self::Request { .. } | Self::Answer { .. } | Self::Offered(_) => Policy::Reject,
            _ => Policy::Wait,
        }
    }
}

/// What a peer tells its parent beside the link events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerState {
    /// It begins, or begins anew after a failure, without any connection.
    Started,
    Up,
    Down,
    /// It ends, because nothing is left to do for this device.
    Idle,
}

/// What a peer needs to start.
#[derive(Clone, Debug)]
pub(super) struct PeerConfig {
    pub(super) link: LinkConfig,
    pub(super) remote: VerifiedChain,
    pub(super) events: Outlet<LinkEvent>,
    pub(super) states: Outlet<PeerState>,
}

/// What a wish for a channel is for.
enum Wish {
    User {
        reply: Reply<Result<Channel, LinkError>>,
        until: Moment,
    },
    /// A message channel of our own.
    Messages(Dialect),
}

/// See the module.
pub(super) struct PeerActor {
    config: PeerConfig,
    dialer: Dialer,
    next_ticket: u64,
    wishes: HashMap<Ticket, Wish>,
    attempts: HashMap<ConnectionNumber, RunningAttempt>,
    connections: HashMap<ConnectionNumber, mpsc::Sender<Command>>,
    /// Which keys the device was last heard on.
    key_kind: Option<KeyKind>,
    messages: MessageChannels,
    offer_places: Arc<Semaphore>,
    tries: u32,
    retry_at: Option<Moment>,
    idle_since: Option<Moment>,
}

struct RunningAttempt {
    id: RequestId,
    answers: mpsc::Sender<PeerRequest>,
    /// The attempt ends when this is dropped.
    _hold: oneshot::Sender<()>,
}

impl PeerActor {
    pub(super) fn new(config: PeerConfig) -> Self {
        let own = config.link.identity.device_id();
        Self {
            config,
            dialer: Dialer::new(own),
            next_ticket: 0,
            wishes: HashMap::new(),
            attempts: HashMap::new(),
            connections: HashMap::new(),
            key_kind: None,
            messages: MessageChannels::default(),
            offer_places: Arc::new(Semaphore::new(OFFER_PLACES)),
            tries: 0,
            retry_at: None,
            idle_since: None,
        }
    }

    fn remote(&self) -> Remote {
        Remote { device: self.config.remote.device_id(), account: self.config.remote.account_id() }
    }

    fn wish(&mut self, name: String, connection_type: &str, wish: Wish) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.wishes.insert(ticket, wish);
        self.dialer.connect(ticket, self.remote().device, name, connection_type.to_owned());
        ticket
    }

    /// Carries out what the core wants.
    fn drive(&mut self, scope: &mut Scope<'_, Self>) {
        while let Some(output) = self.dialer.poll() {
            match output {
                Output::StartAttempt { connection, connection_type, .. } => {
                    let link = &self.config.link;
                    let id = RequestId::from_random(link.environment.random_u64());
                    let kinds = KeyKind::choose(self.key_kind);
                    let device = self.remote().device;
                    let attempt = Attempt::request(device, id, connection_type, kinds, scope.now());
                    self.start(connection, attempt, scope);
                }
                Output::OpenChannel { connection, ticket, name, answer_within } => {
                    let patience = self.patience(ticket, answer_within, scope.now());
                    self.open_channel(connection, ticket, name, patience, scope);
                }
                Output::Failed { ticket, error } => self.fail_wish(ticket, &error, scope),
                Output::Beacon(connection) => self.command(connection, Command::Beacon),
                Output::FirstSocket { .. } => self.up(scope),
                Output::Drop(connection) => {
                    self.attempts.remove(&connection);
                    if let Some(commands) = self.connections.get(&connection).cloned() {
                        // It must not be lost, however busy the task is.
                        let shutdown = async move { drop(commands.send(Command::Shutdown).await) };
                        scope.spawn_background(shutdown, |_, (), _| ());
                    }
                }
            }
        }
        self.rest(scope);
    }

    /// Sets the alarm for the next try, or for going idle.
    fn rest(&mut self, scope: &mut Scope<'_, Self>) {
        let busy = !self.attempts.is_empty()
            || !self.connections.is_empty()
            || !self.wishes.is_empty()
            || self.retry_at.is_some();
        self.idle_since = if busy { None } else { self.idle_since.or(Some(scope.now())) };
        scope.set_alarm(self.retry_at.or_else(|| self.idle_since.map(|since| since.plus(IDLE))));
    }

    fn command(&self, connection: ConnectionNumber, command: Command) {
        if let Some(commands) = self.connections.get(&connection) {
            // A task that is so far behind will not live long: its beacon is due.
            let _ = commands.try_send(command);
        }
    }

    fn start(&mut self, connection: ConnectionNumber, attempt: Attempt, scope: &mut Scope<'_, Self>) {
        let (answers, queue) = mpsc::channel(ANSWER_QUEUE);
        let id = attempt.id();
        let (hold, given_up) = oneshot::channel();
        self.attempts.insert(connection, RunningAttempt { id, answers, _hold: hold });
        let run = attempt::run(attempt, self.config.link.clone(), self.config.remote.clone(), queue);
        let run = async move {
            tokio::select! {
                biased;
                _ = given_up => None,
                result = run => Some(result),
            }
        };
        scope.spawn_background(run, move |peer, result, scope| {
            if peer.attempts.remove(&connection).is_none() {
                // Given up while its result waited for this turn.
                return;
            }
            match result {
                Some(Ok((stream, role))) => peer.connected(connection, id, stream, role, scope),
                Some(Err(error)) => peer.dialer.attempt_failed(connection, &error),
                None => {}
            }
            peer.drive(scope);
        });
    }

    fn connected(
        &mut self,
        number: ConnectionNumber,
        id: RequestId,
        stream: Box<SecureStream>,
        role: Role,
        scope: &mut Scope<'_, Self>,
    ) {
        let environment = self.config.link.environment.clone();
        let (ConnectionHandle { commands, mut offers }, run) =
            connection(stream, role, self.remote(), environment);
        if !self.connections.is_empty() {
            // The device may have lost the ones before without our knowing, and what was on its way.
            let Remote { device, account } = self.remote();
            self.tell(LinkEvent::Renewed { device, account, may_be_legacy: self.may_be_legacy() }, scope);
        }
        self.connections.insert(number, commands);
        scope.spawn_background(run, move |peer, reason, scope| {
            tracing::debug!(device = %peer.remote().device.short(), %reason, "a connection has ended");
            peer.connections.remove(&number);
            peer.dialer.socket_ended(number);
            if peer.connections.is_empty() {
                peer.down(scope);
            } else {
                peer.check_messages(scope);
            }
            peer.drive(scope);
        });
        let port = scope.port();
        let forward = async move {
            while let Some(offer) = offers.recv().await {
                // An offer that finds no room is dropped, and so declined.
                let _ = port.try_send(PeerMessage::Offered(offer));
            }
        };
        scope.spawn_background(forward, |_, (), _| ());
        self.dialer.attempt_ready(number, id);
    }

    fn up(&mut self, scope: &mut Scope<'_, Self>) {
        self.tries = 0;
        self.retry_at = None;
        self.messages.linked();
        let Remote { device, account } = self.remote();
        tracing::info!(device = %device.short(), account = %account.short(), "a link is up");
        self.tell(LinkEvent::Up { device, account, may_be_legacy: self.may_be_legacy() }, scope);
        self.tell_state(PeerState::Up);
        if self.messages.is_legacy() {
            self.tell(LinkEvent::Legacy { device, account }, scope);
        }
        self.want_messages();
    }

    fn may_be_legacy(&self) -> bool {
        self.messages.may_be_legacy(self.key_kind)
    }

    fn down(&mut self, scope: &mut Scope<'_, Self>) {
        let Remote { device, account } = self.remote();
        tracing::info!(device = %device.short(), account = %account.short(), "a link is down");
        self.messages.link_lost();
        self.tell(LinkEvent::Down { device, account }, scope);
        self.tell_state(PeerState::Down);
        // One try soon: either side may have restarted.
        self.retry_later(scope);
    }

    /// Tells the account, waiting for room: it must not miss that a link is up.
    fn tell(&self, event: LinkEvent, scope: &mut Scope<'_, Self>) {
        let events = self.config.events.clone();
        scope.spawn(async move { events.send(event).await }, |_, _, _| ());
    }

    fn tell_state(&self, state: PeerState) {
        if let Err(error) = self.config.states.try_send(state) {
            tracing::warn!(%error, "the links did not hear of a peer's state");
        }
    }

    fn retry_later(&mut self, scope: &Scope<'_, Self>) {
        if self.tries >= MAX_TRIES {
            self.messages.clear();
            return;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.tries.min(16)).min(LONGEST_PAUSE);
        let pause = pause.mul_f64(0.5 + scope.environment().jitter());
        self.tries += 1;
        self.retry_at = Some(scope.now().plus(pause));
    }

    /// How long the peer may take to answer the request for a channel.
    fn patience(&self, ticket: Ticket, answer_within: Option<Duration>, now: Moment) -> Patience {
        if let Some(time) = answer_within {
            return Patience::Socket(now.plus(time));
        }
        Patience::Channel(match self.wishes.get(&ticket) {
            Some(Wish::User { until, .. }) => *until,
            Some(Wish::Messages(_)) | None => now.plus(MESSAGE_CHANNEL),
        })
    }

    fn open_channel(
        &mut self,
        connection: ConnectionNumber,
        ticket: Ticket,
        name: String,
        patience: Patience,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(commands) = self.connections.get(&connection).cloned() else { return };
        let open = async move {
            let (reply, answer) = oneshot::channel();
            commands.send(Command::Open { name, patience, reply }).await.ok()?;
            answer.await.ok()
        };
        scope.spawn_background(open, move |peer, answer, scope| {
            // No answer, or a lost connection: the core tries once more when it hears of the loss.
            let lost = matches!(answer, None | Some(Err(LinkError::Lost(_))));
            if !lost {
                let device = peer.remote().device;
                peer.dialer.channel_answered(device, ticket);
                if let (Some(wish), Some(answer)) = (peer.wishes.remove(&ticket), answer) {
                    peer.grant(wish, answer, scope);
                }
            }
            peer.drive(scope);
        });
    }

    fn grant(&mut self, wish: Wish, answer: Result<Channel, LinkError>, scope: &mut Scope<'_, Self>) {
        match wish {
            Wish::User { reply, .. } => reply.send(answer),
            Wish::Messages(dialect) => self.message_channel_answered(dialect, answer, scope),
        }
    }

    fn fail_wish(&mut self, ticket: Ticket, error: &DialError, scope: &mut Scope<'_, Self>) {
        match self.wishes.remove(&ticket) {
            Some(Wish::User { reply, .. }) => reply.send(Err(link_error(self.remote().device, error))),
            Some(Wish::Messages(dialect)) => self.no_message_channel(dialect, scope),
            None => {}
        }
    }

    fn offered(&mut self, offer: ChannelOffer, scope: &mut Scope<'_, Self>) {
        let own = self.config.link.identity.device_id();
        match offer.name.parse() {
            Ok(ChannelName::Message { device }) if device == own => {
                self.offered_messages(offer, Dialect::Packed, scope);
            }
            // Whoever may connect may call, and an old release speaks here (`spec: connection 8`).
            Ok(ChannelName::Sip) => self.offered_messages(offer, Dialect::Sip, scope),
            Ok(_) => {
                // An offer that finds no room is dropped, and so declined.
                if let Ok(place) = Arc::clone(&self.offer_places).try_acquire_owned() {
                    let _ = self.config.events.try_send(LinkEvent::Offer(offer, Place(place)));
                }
            }
            Err(error) => {
                tracing::debug!(device = %self.remote().device.short(), %error, "a channel was declined");
            }
        }
    }

    fn incoming(&mut self, request: PeerRequest, kind: KeyKind, scope: &mut Scope<'_, Self>) {
        self.key_kind = Some(kind);
        let device = self.remote().device;
        if let Some(connection) = self.dialer.incoming_attempt(device) {
            self.start(connection, Attempt::respond(device, request, kind), scope);
        }
    }

    fn answer(&mut self, request: PeerRequest, kind: KeyKind) {
        self.key_kind = Some(kind);
        let waiting = self.attempts.values().find(|attempt| attempt.id == request.id);
        if let Some(attempt) = waiting {
            // A second answer to the same request means nothing.
            let _ = attempt.answers.try_send(request);
        }
    }

    fn describe(&self) -> LinkView {
        let Remote { device, account } = self.remote();
        let state = if !self.connections.is_empty() {
            "up"
        } else if !self.attempts.is_empty() {
            "dialling"
        } else {
            "down"
        };
        LinkView { account, device, state: state.to_owned(), connections: self.connections.len() }
    }
}

impl Actor for PeerActor {
    type Message = PeerMessage;
    const KIND: &'static str = "peer";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        let Remote { device, account } = self.remote();
        self.tell(LinkEvent::Down { device, account }, scope);
        self.tell_state(PeerState::Started);
        self.rest(scope);
    }

    fn handle(&mut self, message: PeerMessage, scope: &mut Scope<'_, Self>) {
        match message {
            PeerMessage::Open { name, deadline, reply } => {
                let until = scope.now().plus(deadline);
                let ticket = self.wish(name, "", Wish::User { reply, until });
                let device = self.remote().device;
                scope.after(deadline, move |peer, scope| {
                    if let Some(Wish::User { reply, .. }) = peer.wishes.remove(&ticket) {
                        peer.dialer.withdraw(device, ticket);
                        reply.send(Err(LinkError::Deadline(device)));
                        peer.drive(scope);
                    }
                });
            }
            PeerMessage::Notify { topic, notice, lasting } => self.notify(topic, notice, lasting, scope),
            PeerMessage::Wake { topic, notice } => self.wake(topic, notice, scope),
            PeerMessage::Present => {
                self.tries = 0;
                self.want_messages();
            }
            PeerMessage::NetworkChanged => {
                // A link that was up over the network before has to prove itself.
                self.dialer.network_changed();
                if self.retry_at.is_some() {
                    self.tries = 0;
                    self.want_messages();
                }
            }
            PeerMessage::Request { request, kind } => self.incoming(request, kind, scope),
            PeerMessage::Answer { request, kind } => self.answer(request, kind),
            PeerMessage::Offered(offer) => self.offered(offer, scope),
            PeerMessage::Close => {
                self.messages.clear();
                self.dialer.remove(self.remote().device);
                self.tries = MAX_TRIES;
                self.retry_at = None;
            }
            PeerMessage::Describe(reply) => reply.send(self.describe()),
        }
        self.drive(scope);
    }

    fn alarm(&mut self, scope: &mut Scope<'_, Self>) {
        if self.retry_at.is_some_and(|at| at <= scope.now()) {
            self.retry_at = None;
            self.want_messages();
        } else if self.idle_since.is_some_and(|since| since.plus(IDLE) <= scope.now()) {
            if scope.stop_unless_asked() {
                self.tell_state(PeerState::Idle);
                return;
            }
            self.idle_since = None;
        }
        self.drive(scope);
    }
}

fn link_error(device: skep_protocol::ids::DeviceId, error: &DialError) -> LinkError {
    match error {
        DialError::OwnDevice => LinkError::Oneself(device),
        DialError::TooManyWaiting => LinkError::Busy(device),
        DialError::Attempt(AttemptError::NoAnswer) => LinkError::NoAnswer(device),
        DialError::Attempt(error) => LinkError::NoConnection { device, reason: error.to_string() },
        _ => LinkError::Lost(device),
    }
}
