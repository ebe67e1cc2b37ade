//! One attempt to connect two devices, step by step, from either side (`spec: connection 10`).
//!
//! ```text
//!   requester                              responder
//!   Gather --candidates--> put request     CheckPolicy --allowed--> Gather
//!     WaitAnswer --answer--+                 Gather --candidates--> put answer
//!                          v                          |
//!                       Checking <--------------------+
//!                          | nominated
//!                       Handshake      requester: TLS server, responder: TLS client
//!                          | done and verified
//!                        Ready         every state may lead to Failed instead
//! ```
//!
//! The attempt says what to do next ([`Step`]) and is told what became of it ([`Event`]). What it has
//! put on the DHT it puts again a few times while nothing comes of it.

use std::collections::VecDeque;
use std::time::Duration;

use super::ice_text::{IceText, IceTextError};
use super::mux::Role;
use super::request::{KeyKind, PeerRequest, RequestId};
use crate::ids::DeviceId;
use crate::time::Moment;

/// How long gathering may take: four seconds for a port mapping, and as much again to be safe.
pub const GATHER_TIMEOUT: Duration = Duration::from_secs(8);
/// How long the requester waits for the answer once its request is put.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// When a request that is not answered is put again, and an answer after which no path works yet;
/// twice as long after each time. The DHT may lose either, and the peer drops what it has had already
/// by its id (`spec: connection 2.4`); a path between devices that hear each other is found sooner.
pub const FIRST_REPEAT: Duration = Duration::from_secs(3);
/// How often a request or an answer is put again: after 3, 9 and 21 s.
pub const MAX_REPEATS: u32 = 3;
/// How long the checks may take: one of them fails by itself after 33 s, and the ICE agent then waits
/// another 10 s for the peer's; this only catches an agent that says nothing.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the TLS handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(40);

/// Why an attempt came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// Our policy refuses the requester; it is not told.
    #[error("the requesting device is not allowed to connect")]
    Refused,
    /// No candidates could be gathered.
    #[error("no address could be gathered; check the network")]
    Gather,
    /// The request could not be put on the DHT.
    #[error("the request could not be put on the DHT; check that the node is connected")]
    Put,
    /// The device did not answer: it is off line, or does not want us.
    #[error("the device did not answer within {} s", ANSWER_TIMEOUT.as_secs())]
    NoAnswer,
    /// The peer's ICE text cannot be used.
    #[error(transparent)]
    IceText(#[from] IceTextError),
    /// The peer's ICE text has no candidate.
    #[error("the peer gave no address at which it can be reached")]
    NoCandidates,
    /// No pair of addresses works.
    #[error("no path to the peer works")]
    Checks,
    /// TLS failed, or showed another device than expected.
    #[error("the secure session failed, or the peer is not the device expected")]
    Handshake,
    /// A step of our own took too long.
    #[error("{0} took too long")]
    TimedOut(&'static str),
}

/// What the attempt wants done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Find the requester's certificate and decide; answer with [`Event::PolicyDecided`].
    CheckPolicy,
    /// Gather candidates; the ICE agent controls if `controlling`.
    Gather {
        /// The responder controls, the requester is controlled.
        controlling: bool,
    },
    /// Encrypt for the peer and put at its keys of these kinds.
    Put {
        /// The request or answer.
        request: PeerRequest,
        /// Kinds of key to put it at.
        kinds: &'static [KeyKind],
    },
    /// Check connectivity to these candidates.
    StartChecks(IceText),
    /// Start TLS on the nominated path: the requester as server, the responder as client.
    StartTls(Role),
    /// The session is up: a [`Multiplex`](super::mux::Multiplex) of this role goes on top.
    Ready(Role),
    /// Drop everything; nothing follows.
    Failed(AttemptError),
}

/// What became of a step, or came from the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Whether the requester may connect.
    PolicyDecided(bool),
    /// All our candidates, with the credentials of the session.
    CandidatesReady(IceText),
    /// Gathering failed.
    GatherFailed,
    /// A put failed; one that succeeds needs no event.
    PutFailed,
    /// The answer; it must fit [`Attempt::awaits`].
    Answer(PeerRequest),
    /// A pair is nominated.
    Nominated,
    /// No pair works.
    ChecksFailed,
    /// TLS is up and the peer is the device expected.
    TlsDone,
    /// TLS failed.
    TlsFailed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    CheckPolicy,
    Gather,
    WaitAnswer,
    Checking,
    Handshake,
    /// Ready or failed.
    Over,
}

/// What only one of the sides knows.
#[derive(Clone, Debug)]
enum Side {
    Requester { connection_type: String, kinds: &'static [KeyKind] },
    Responder { ice_text: String, kind: KeyKind },
}

/// What is on the DHT for the peer, and may be put again.
#[derive(Clone, Debug)]
struct Letter {
    request: PeerRequest,
    kinds: &'static [KeyKind],
    /// How often it was put again.
    repeats: u32,
    /// How many of the puts failed.
    failed: u32,
    /// When it is put again.
    next: Option<Moment>,
}

/// One attempt.
#[derive(Clone, Debug)]
pub struct Attempt {
    device: DeviceId,
    id: RequestId,
    side: Side,
    state: State,
    deadline: Option<Moment>,
    letter: Option<Letter>,
    steps: VecDeque<Step>,
}

impl Attempt {
    /// An attempt of ours to reach `device`. `connection_type` is for push notifications, `kinds`
    /// comes from [`KeyKind::choose`].
    #[must_use]
    pub fn request(
        device: DeviceId,
        id: RequestId,
        connection_type: String,
        kinds: &'static [KeyKind],
        now: Moment,
    ) -> Self {
        let side = Side::Requester { connection_type, kinds };
        let mut attempt = Self {
            device,
            id,
            side,
            state: State::Gather,
            deadline: None,
            letter: None,
            steps: VecDeque::new(),
        };
        attempt.gather(now);
        attempt
    }

    /// An attempt of `device` to reach us, which came in on our key of this kind. The caller has
    /// dropped answers and requests already treated.
    #[must_use]
    pub fn respond(device: DeviceId, request: PeerRequest, kind: KeyKind) -> Self {
        Self {
            device,
            id: request.id,
            side: Side::Responder { ice_text: request.ice_text, kind },
            state: State::CheckPolicy,
            deadline: None,
            letter: None,
            steps: VecDeque::from([Step::CheckPolicy]),
        }
    }

    /// What this side is.
    #[must_use]
    pub const fn role(&self) -> Role {
        match self.side {
            Side::Requester { .. } => Role::Requester,
            Side::Responder { .. } => Role::Responder,
        }
    }

    /// The device at the other end.
    #[must_use]
    pub const fn device(&self) -> DeviceId {
        self.device
    }

    /// The id of the request, which becomes the id of the socket.
    #[must_use]
    pub const fn id(&self) -> RequestId {
        self.id
    }

    /// Whether an answer from `sender` with this id belongs to this attempt; other answers are dropped.
    #[must_use]
    pub fn awaits(&self, sender: DeviceId, id: RequestId) -> bool {
        self.state == State::WaitAnswer && self.device == sender && self.id == id
    }

    /// The next thing to do; to be drained after every other call.
    pub fn poll(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called, if ever.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let repeat = self.letter.as_ref().and_then(|letter| letter.next);
        self.deadline.into_iter().chain(repeat).min()
    }

    /// Gives up if the current state has lasted too long at `now`, or puts again what may be lost.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.repeat(now);
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.state {
            State::Gather => self.fail(AttemptError::TimedOut("gathering addresses")),
            State::WaitAnswer => self.fail(AttemptError::NoAnswer),
            State::Checking => self.fail(AttemptError::TimedOut("checking paths")),
            State::Handshake => self.fail(AttemptError::TimedOut("the TLS handshake")),
            State::CheckPolicy | State::Over => {}
        }
    }

    /// Takes note of what happened. An event that does not belong to the current state is late and
    /// changes nothing.
    pub fn handle(&mut self, now: Moment, event: Event) {
        match (&self.state, event) {
            (State::CheckPolicy, Event::PolicyDecided(true)) => self.gather(now),
            (State::CheckPolicy, Event::PolicyDecided(false)) => self.fail(AttemptError::Refused),
            (State::Gather, Event::CandidatesReady(text)) => self.introduce(&text, now),
            (State::Gather, Event::GatherFailed) => self.fail(AttemptError::Gather),
            (State::WaitAnswer, Event::PutFailed) => self.put_failed(),
            (State::WaitAnswer, Event::Answer(answer)) if answer.id == self.id => {
                self.check(&answer.ice_text, now);
            }
            (State::Checking, Event::Nominated) => {
                self.letter = None;
                self.steps.push_back(Step::StartTls(self.role()));
                self.enter(State::Handshake, now, HANDSHAKE_TIMEOUT);
            }
            (State::Checking, Event::ChecksFailed) => self.fail(AttemptError::Checks),
            (State::Handshake, Event::TlsDone) => {
                self.steps.push_back(Step::Ready(self.role()));
                self.over();
            }
            (State::Handshake, Event::TlsFailed) => self.fail(AttemptError::Handshake),
            _ => {}
        }
    }

    fn gather(&mut self, now: Moment) {
        self.steps.push_back(Step::Gather { controlling: self.role() == Role::Responder });
        self.enter(State::Gather, now, GATHER_TIMEOUT);
    }

    /// Puts our candidates; the responder then starts its checks without waiting.
    fn introduce(&mut self, ours: &IceText, now: Moment) {
        let (id, ice_text) = (self.id, ours.to_string());
        match self.side.clone() {
            Side::Requester { connection_type, kinds } => {
                self.put(PeerRequest { id, ice_text, is_answer: false, connection_type }, kinds, now);
                self.enter(State::WaitAnswer, now, ANSWER_TIMEOUT);
            }
            Side::Responder { ice_text: theirs, kind } => {
                let answer = PeerRequest { id, ice_text, is_answer: true, connection_type: String::new() };
                self.put(answer, KeyKind::choose(Some(kind)), now);
                self.check(&theirs, now);
            }
        }
    }

    fn put(&mut self, request: PeerRequest, kinds: &'static [KeyKind], now: Moment) {
        self.steps.push_back(Step::Put { request: request.clone(), kinds });
        let next = Some(now.plus(FIRST_REPEAT));
        self.letter = Some(Letter { request, kinds, repeats: 0, failed: 0, next });
    }

    /// Puts the request or answer again if it is time.
    fn repeat(&mut self, now: Moment) {
        let Some(letter) = &mut self.letter else { return };
        if letter.next.is_none_or(|next| now < next) {
            return;
        }
        letter.repeats += 1;
        let pause = FIRST_REPEAT.saturating_mul(1 << letter.repeats.min(MAX_REPEATS));
        letter.next = (letter.repeats < MAX_REPEATS).then(|| now.plus(pause));
        self.steps.push_back(Step::Put { request: letter.request.clone(), kinds: letter.kinds });
    }

    /// Gives up when none of the requests put got through. A responder's checks run already; they may
    /// succeed if another copy of the answer gets through, and fail by themselves if not.
    fn put_failed(&mut self) {
        let Some(letter) = &mut self.letter else { return };
        letter.failed += 1;
        if letter.failed > letter.repeats {
            self.fail(AttemptError::Put);
        }
    }

    fn check(&mut self, theirs: &str, now: Moment) {
        match IceText::parse(theirs) {
            Err(error) => self.fail(error.into()),
            Ok(text) if text.candidates.is_empty() => self.fail(AttemptError::NoCandidates),
            Ok(text) => {
                if self.role() == Role::Requester {
                    // The peer has our request.
                    self.letter = None;
                }
                self.steps.push_back(Step::StartChecks(text));
                self.enter(State::Checking, now, CHECK_TIMEOUT);
            }
        }
    }

    fn enter(&mut self, state: State, now: Moment, timeout: Duration) {
        self.state = state;
        self.deadline = Some(now.plus(timeout));
    }

    fn fail(&mut self, error: AttemptError) {
        self.steps.push_back(Step::Failed(error));
        self.over();
    }

    fn over(&mut self) {
        self.state = State::Over;
        self.deadline = None;
        self.letter = None;
    }
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;
