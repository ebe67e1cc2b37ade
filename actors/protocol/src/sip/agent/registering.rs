//! The path to the server and the registration over it.

use std::net::SocketAddr;
use std::time::Duration;

use ezk_sip_types::Name;

use super::super::address::SipAddress;
use super::super::fields::{list, parameter};
use super::super::stream::SipMessage;
use super::client::Purpose;
use super::messaging::SendFailure;
use super::{Action, Dialog, Draft, Registration, SipAgent, SipIdentity, SipProblem, Transport, reason};
use crate::time::Moment;

/// How long a registration is asked for, unless told otherwise.
pub const DEFAULT_EXPIRY: Duration = Duration::from_secs(3600);

/// Shortest time for which a registration is asked for, or taken to last, so that no server can have us
/// register all the time: it is renewed after half of it.
pub const SHORTEST_EXPIRY: Duration = Duration::from_secs(4);

/// Longest time for which a registration is asked for, whatever the server wants at least.
pub const LONGEST_EXPIRY: Duration = Duration::from_secs(24 * 3600);

/// How long before its end a registration is renewed, unless it is shorter than twice that: more than a
/// request may take.
const RENEW_BEFORE: Duration = Duration::from_secs(64);

/// Pause after the first attempt that failed; it doubles with each.
pub const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// Longest pause between attempts, and the pause after a password that was not taken: servers lock out who
/// tries a wrong one often.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Longest pause that a server may ask for.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Pause between signs of life while nothing else is sent: less than what the address translators on the
/// way remember, half a minute for datagrams and two minutes for connections.
pub const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(25), Duration::from_secs(55));

/// How long a server that answers such signs over connections may take for it (RFC 5626, 4.4.1).
pub const PONG: Duration = Duration::from_secs(10);

/// How often the address that the server sees is taken over for one path: once is the rule.
pub const MAX_CONTACT_CHANGES: u8 = 3;

/// How long the server may take to hear that we go.
pub const LEAVING: Duration = Duration::from_secs(2);

/// The way to the server.
#[derive(Debug)]
pub(super) enum Path {
    Closed,
    Opening,
    Open(OpenPath),
}

/// A way that is open.
#[derive(Debug)]
pub(super) struct OpenPath {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// Our address as the server sees it.
    contact: SocketAddr,
    changes: u8,
    /// The next sign of life.
    alive: Moment,
    /// Whether the server has ever answered empty lines.
    answers_blank: bool,
    /// Until when it has to do so.
    pong: Option<Moment>,
}

/// How far the account is.
#[derive(Debug)]
pub(super) enum Standing {
    Stopped,
    /// A path is being opened, or a request is on its way.
    Trying,
    Registered {
        until: Moment,
        renew: Moment,
        /// Why the server did not renew it when it was last asked.
        refused: Option<SipProblem>,
    },
    Resting {
        again: Moment,
    },
    Leaving {
        end: Moment,
    },
}

impl SipAgent {
    /// Begins.
    #[must_use]
    pub fn start(&mut self, now: Moment) -> Vec<Action> {
        if matches!(self.standing, Standing::Stopped) {
            self.attempt(now);
        }
        self.take_actions()
    }

    /// The path is open, between these addresses.
    #[must_use]
    pub fn connected(&mut self, now: Moment, local: SocketAddr, remote: SocketAddr) -> Vec<Action> {
        if matches!(self.path, Path::Opening) {
            self.path = Path::Open(OpenPath {
                local,
                remote,
                contact: local,
                changes: 0,
                alive: now,
                answers_blank: false,
                pong: None,
            });
            self.send_register(now, self.expiry, Vec::new());
        }
        self.take_actions()
    }

    /// The path has ended, or could not be opened.
    #[must_use]
    pub fn disconnected(&mut self, now: Moment, why: &str) -> Vec<Action> {
        if !matches!(self.path, Path::Closed) {
            let why = why.chars().filter(|letter| !letter.is_control()).take(200).collect();
            self.lost(now, SipProblem::Unreachable(why), false);
        }
        self.take_actions()
    }

    /// Empty lines came over a connection: the server lives.
    #[must_use]
    pub fn received_blank(&mut self) -> Vec<Action> {
        if let Path::Open(path) = &mut self.path {
            path.answers_blank = true;
            path.pong = None;
        }
        Vec::new()
    }

    /// Gives the registration up. [`Registration::Stopped`] is told when that is done, after [`LEAVING`]
    /// at the latest.
    #[must_use]
    pub fn stop(&mut self, now: Moment) -> Vec<Action> {
        let leaving = matches!(self.standing, Standing::Leaving { .. });
        // Whatever happened since, the server may still have what it once took.
        if !leaving && self.known_contact.is_some() && matches!(self.path, Path::Open(_)) {
            self.standing = Standing::Leaving { end: now.plus(LEAVING) };
            self.send_register(now, Duration::ZERO, Vec::new());
        } else if !leaving {
            self.end();
        }
        self.take_actions()
    }

    fn attempt(&mut self, now: Moment) {
        self.standing = Standing::Trying;
        self.raised = false;
        self.actions.push(Action::Status(Registration::Trying));
        match self.path {
            Path::Closed => {
                self.path = Path::Opening;
                self.actions.push(Action::Connect);
            }
            Path::Opening => {}
            Path::Open(_) => self.send_register(now, self.expiry, Vec::new()),
        }
    }

    fn contact(&self, address: SocketAddr) -> String {
        let SipIdentity { address: account, transport, .. } = &self.identity;
        format!("<sip:{}@{address}{}>", account.user(), transport.parameter())
    }

    fn send_register(&mut self, now: Moment, expiry: Duration, answered: Vec<(bool, String)>) {
        let Path::Open(path) = &self.path else { return };
        let (contact, seconds) = (path.contact, expiry.as_secs());
        let mut more = format!("Contact: {};expires={seconds}\r\n", self.contact(contact));
        // Where we were is not where we are: nobody is to be sent there.
        if let Some(former) = self.known_contact.filter(|former| *former != contact) {
            more.push_str(&format!("Contact: {};expires=0\r\n", self.contact(former)));
        }
        more.push_str(&format!("Expires: {seconds}\r\nAllow: MESSAGE, OPTIONS\r\n"));
        self.register.sequence += 1;
        let (uri, to) = (self.identity.address.domain(), self.identity.address.to_string());
        let Dialog { call, tag, sequence } = &self.register;
        let dialog = Dialog { call: call.clone(), tag: tag.clone(), sequence: *sequence };
        let draft = Draft { method: "REGISTER", uri: &uri, to: &to, dialog: &dialog, more: &more, body: "" };
        // One at a time.
        self.transactions.retain(|_, other| !matches!(other.purpose, Purpose::Register));
        let _ = self.begin(now, &draft, Purpose::Register, answered);
    }

    /// The final response to a registration.
    pub(super) fn registered(
        &mut self,
        now: Moment,
        status: u16,
        response: &SipMessage,
        mut answered: Vec<(bool, String)>,
        seen: Option<SocketAddr>,
    ) {
        let leaving = matches!(self.standing, Standing::Leaving { .. });
        let expiry = if leaving { Duration::ZERO } else { self.expiry };
        match status {
            401 | 407 => {
                match self.for_register.challenged(response, status == 407, &mut answered, |_| true) {
                    Ok(()) => self.send_register(now, expiry, answered),
                    Err(_) if leaving => self.end(),
                    Err(problem) => self.rest(now, problem, None),
                }
            }
            _ if leaving => self.end(),
            200..300 => self.accepted(now, response, seen),
            423 => {
                let least = number(response, &Name::MIN_EXPIRES).map(Duration::from_secs);
                let is_fit = |least: &Duration| *least > self.expiry && *least <= LONGEST_EXPIRY;
                // A longer time is asked for once in an attempt, and then kept.
                match least.filter(|least| !self.raised && is_fit(least)) {
                    Some(least) => {
                        self.raised = true;
                        self.expiry = least;
                        self.send_register(now, least, answered);
                    }
                    None => self.rest(now, refused(status, response), None),
                }
            }
            _ => {
                let pause = number(response, &Name::RETRY_AFTER).map(Duration::from_secs);
                self.rest(now, refused(status, response), pause);
            }
        }
    }

    fn accepted(&mut self, now: Moment, response: &SipMessage, seen: Option<SocketAddr>) {
        let Path::Open(path) = &mut self.path else { return };
        let known = path.contact;
        let Some(granted) = granted(response, self.identity.address.user(), known, self.expiry) else {
            return self.rest(now, SipProblem::NotRegistered, None);
        };
        self.known_contact = Some(known);
        self.failures = 0;
        if let Some(seen) = seen.filter(|seen| *seen != known && path.changes < MAX_CONTACT_CHANGES) {
            path.changes += 1;
            path.contact = seen;
            return self.send_register(now, self.expiry, Vec::new());
        }
        let granted = granted.clamp(SHORTEST_EXPIRY, LONGEST_EXPIRY);
        // Those that were cut off together do not all come back in the same second.
        let early = RENEW_BEFORE.mul_f64(1.0 + self.tokens.fraction() / 2.0).min(granted / 2);
        let until = now.plus(granted);
        self.standing = Standing::Registered { until, renew: now.plus(granted - early), refused: None };
        let alive = now.plus(self.keep_alive_pause());
        if let Path::Open(path) = &mut self.path {
            path.alive = alive;
        }
        self.actions.push(Action::Status(Registration::Registered { until }));
    }

    /// Pauses after a failure; the path, if there is one, is kept. A registration that the server only does
    /// not renew lasts until it ends.
    fn rest(&mut self, now: Moment, problem: SipProblem, wanted: Option<Duration>) {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        let pause = match problem {
            SipProblem::WrongPassword | SipProblem::NoUsableChallenge | SipProblem::EndlessChallenges => {
                LONGEST_PAUSE
            }
            _ => doubled.mul_f64(0.5 + self.tokens.fraction() / 2.0),
        };
        let pause = wanted.map_or(pause, |wanted| pause.max(wanted.min(MAX_RETRY_AFTER)));
        self.failures = self.failures.saturating_add(1);
        let again = now.plus(pause);
        if let (Standing::Registered { until, renew, refused }, SipProblem::Refused { .. }) =
            (&mut self.standing, &problem)
            && now < *until
        {
            *renew = again;
            *refused = Some(problem);
            return;
        }
        self.rest_until(again, problem);
    }

    fn rest_until(&mut self, again: Moment, problem: SipProblem) {
        self.standing = Standing::Resting { again };
        self.actions.push(Action::Status(Registration::Failed { problem, again }));
    }

    /// There is no path any more; `close` if it is to be closed first.
    pub(super) fn lost(&mut self, now: Moment, problem: SipProblem, close: bool) {
        self.path = Path::Closed;
        if close {
            self.actions.push(Action::Disconnect);
        }
        self.fail_messages();
        match self.standing {
            Standing::Leaving { .. } => self.end(),
            // The pause goes on: it may be a long one, for a reason.
            Standing::Stopped | Standing::Resting { .. } => {}
            Standing::Trying | Standing::Registered { .. } => self.rest(now, problem, None),
        }
    }

    fn end(&mut self) {
        self.standing = Standing::Stopped;
        self.known_contact = None;
        if !matches!(self.path, Path::Closed) {
            self.path = Path::Closed;
            self.actions.push(Action::Disconnect);
        }
        self.fail_messages();
        self.actions.push(Action::Status(Registration::Stopped));
    }

    /// All requests end with the path.
    fn fail_messages(&mut self) {
        for (_, ended) in std::mem::take(&mut self.transactions) {
            if let Purpose::Message(message) = ended.purpose {
                self.sent(message.id, Err(SendFailure::PathLost));
            }
        }
    }

    fn keep_alive_pause(&mut self) -> Duration {
        let longest = match self.identity.transport {
            Transport::Udp => KEEP_ALIVE.0,
            Transport::Tcp | Transport::Tls => KEEP_ALIVE.1,
        };
        longest.mul_f64(0.8 + self.tokens.fraction() / 5.0)
    }

    pub(super) fn registration_tick(&mut self, now: Moment) {
        match &mut self.standing {
            Standing::Leaving { end } if now >= *end => return self.end(),
            Standing::Resting { again } if now >= *again => self.attempt(now),
            Standing::Registered { until, renew, refused } if now >= *until || now >= *renew => {
                if now < *until {
                    *renew = *until;
                    self.raised = false;
                    self.send_register(now, self.expiry, Vec::new());
                } else if let Some(problem) = refused.take().filter(|_| now < *renew) {
                    // The pause that the refusal began goes on.
                    let again = *renew;
                    self.rest_until(again, problem);
                } else {
                    self.attempt(now);
                }
            }
            _ => {}
        }
        if !matches!(self.standing, Standing::Registered { .. }) {
            return;
        }
        let pause = self.keep_alive_pause();
        let Path::Open(path) = &mut self.path else { return };
        if path.pong.is_some_and(|end| now >= end) {
            return self.lost(now, SipProblem::Silent, true);
        }
        if now < path.alive {
            return;
        }
        path.alive = now.plus(pause);
        if self.identity.transport == Transport::Udp {
            self.ask_alive(now);
        } else {
            path.pong = path.answers_blank.then(|| now.plus(PONG));
            self.actions.push(Action::Send(bytes::Bytes::from_static(b"\r\n\r\n")));
        }
    }

    /// A request that shows that the server lives: datagrams tell nothing else.
    fn ask_alive(&mut self, now: Moment) {
        if self.transactions.values().any(|it| matches!(it.purpose, Purpose::Alive)) {
            return;
        }
        let mut dialog = Dialog::new(&mut self.tokens);
        dialog.sequence = 1;
        let uri = self.identity.address.domain();
        let more = "Accept: text/plain\r\n";
        let draft = Draft { method: "OPTIONS", uri: &uri, to: &uri, dialog: &dialog, more, body: "" };
        let _ = self.begin(now, &draft, Purpose::Alive, Vec::new());
    }

    pub(super) fn registration_deadline(&self) -> Option<Moment> {
        let standing = match self.standing {
            Standing::Leaving { end } => Some(end),
            Standing::Resting { again } => Some(again),
            Standing::Registered { until, renew, .. } => Some(renew.min(until)),
            Standing::Stopped | Standing::Trying => None,
        };
        let (alive, pong) = match &self.path {
            Path::Open(path) if matches!(self.standing, Standing::Registered { .. }) => {
                (Some(path.alive), path.pong)
            }
            _ => (None, None),
        };
        [standing, alive, pong].into_iter().flatten().min()
    }
}

/// How long the server keeps the contact; `None` if it does not.
fn granted(response: &SipMessage, user: &str, contact: SocketAddr, asked: Duration) -> Option<Duration> {
    let contacts: Vec<&str> =
        response.headers.get_raw(&Name::CONTACT).flat_map(|value| list(value.as_str())).collect();
    let ours = contacts.iter().find(|value| {
        SipAddress::in_header(value).is_some_and(|address| {
            let host = address.host().parse().ok();
            address.user() == user && host == Some(contact.ip()) && address.port() == Some(contact.port())
        })
    });
    // Servers in between may write contacts in another way; the general time counts then.
    let own = ours.and_then(|value| parameter(value, "expires")?.parse().ok());
    let seconds = own.or_else(|| number(response, &Name::EXPIRES)).unwrap_or(asked.as_secs());
    (seconds > 0 && !contacts.is_empty()).then(|| Duration::from_secs(seconds))
}

/// The number that a header begins with.
fn number(response: &SipMessage, name: &Name) -> Option<u64> {
    let value = response.header(name)?;
    let digits = value.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(value.len());
    value.get(..digits)?.parse().ok()
}

fn refused(status: u16, response: &SipMessage) -> SipProblem {
    SipProblem::Refused { status, reason: reason(response) }
}
