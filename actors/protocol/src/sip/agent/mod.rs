//! A SIP account: registers at its server, stays registered, sends messages and takes them.
//!
//! ```text
//!             connect                REGISTER                     200
//!   (start) ───────────► opening ──────────────► trying ─────────────────────► registered
//!                           ▲  └ no path           │ refused, silent, nonsense    │ before it expires: again
//!                           │                      ▼                              │ path lost, server silent
//!                           └──── 2 s … 10 min ── resting ◄───────────────────────┘
//!
//!   credentials  challenges                      client       requests that wait for a response
//!   registering  path, registration, keep-alive  server       requests that were answered
//!                                                messaging    messages out and in, other requests
//! ```
//!
//! All goes through the server of the account, over one path that the owner of this core opens: a socket
//! that takes from the server only. Whatever the server says, there is a pause between two attempts, an end
//! to every request, and one answer to everybody who sends.

mod client;
mod credentials;
mod messaging;
mod registering;
mod server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use ezk_sip_types::Method;
use ezk_sip_types::header::typed::CSeq;
use ezk_sip_types::msg::MessageLine;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::address::SipAddress;
use super::digest::Login;
use super::fields::parameter;
use super::stream::SipMessage;
use super::token::Tokens;
use crate::time::Moment;
use client::{ClientTransaction, Due, Purpose};
use credentials::Credentials;
use registering::{Path, Standing};
use server::Served;

pub use credentials::MAX_CHALLENGES;
pub use messaging::{Arrived, MAX_DATAGRAM, MAX_OUTGOING, MAX_TEXT, SendFailure};
pub use registering::{
    DEFAULT_EXPIRY, FIRST_PAUSE, KEEP_ALIVE, LEAVING, LONGEST_EXPIRY, LONGEST_PAUSE, MAX_CONTACT_CHANGES,
    MAX_RETRY_AFTER, PONG, SHORTEST_EXPIRY,
};
pub use server::{MAX_ANSWER, MESSAGE_BURST, MESSAGES_PER_SECOND};

/// Round trip time that is assumed, and first pause before a request is sent again over UDP.
pub const T1: Duration = Duration::from_millis(500);

/// Longest pause before a request is sent again over UDP.
pub const T2: Duration = Duration::from_secs(4);

/// How long a request waits for its final response, and an answer for a repeated request (timers F and J).
pub const TRANSACTION_TIME: Duration = Duration::from_secs(32);

/// What we call ourselves.
const USER_AGENT: &str = "Skep";

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A connection.
    Tcp,
    /// A connection under TLS; the server's name is checked.
    Tls,
}

impl Transport {
    /// The port of servers that name none.
    #[must_use]
    pub const fn usual_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    pub(crate) const fn parameter(self) -> &'static str {
        match self {
            Self::Udp => "",
            Self::Tcp => ";transport=tcp",
            Self::Tls => ";transport=tls",
        }
    }
}

/// What an account is.
#[derive(Clone, Debug)]
pub struct SipIdentity {
    /// Its address.
    pub address: SipAddress,
    /// How its server is spoken to.
    pub transport: Transport,
    /// Name to log in with; usually the user part of the address.
    pub login: String,
    /// Password to log in with.
    pub password: SipPassword,
    /// How long a registration is to last; the server may say otherwise.
    pub expiry: Duration,
}

/// A password; it does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct SipPassword(pub Zeroizing<String>);

impl std::fmt::Debug for SipPassword {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SipPassword(..)")
    }
}

/// Why an account is not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SipProblem {
    /// There is no path to the server.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// The server did not answer.
    #[error("the server does not answer")]
    Silent,
    /// The server did not take what the password makes of its challenge.
    #[error("the server does not take this name and password")]
    WrongPassword,
    /// What the server wants hashed, or how, is not known here.
    #[error("the server asks for a login that is not known here; digest with MD5 or SHA-256 is")]
    NoUsableChallenge,
    /// The server asks again and again.
    #[error("the server asked for the password {MAX_CHALLENGES} times and wants it once more")]
    EndlessChallenges,
    /// The server said no.
    #[error("the server refused: {status} {reason}")]
    Refused {
        /// Its status.
        status: u16,
        /// What it says about it.
        reason: String,
    },
    /// The server said that it agrees, and did not register the account.
    #[error("the server answers, and does not register the account")]
    NotRegistered,
}

/// How the registration of an account stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registration {
    /// It is being made.
    Trying,
    /// The server sends us what is for the account.
    Registered {
        /// Until then, if it is not renewed, which it will be.
        until: Moment,
    },
    /// It was not made, or is lost.
    Failed {
        /// Why.
        problem: SipProblem,
        /// When it is tried again.
        again: Moment,
    },
    /// It was given up, as was asked.
    Stopped,
}

/// What the owner of the core is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a path to the server, having closed the one before; then call [`SipAgent::connected`] or
    /// [`SipAgent::disconnected`].
    Connect,
    /// Close the path. Nothing more is to come from it.
    Disconnect,
    /// Send this over the path, whole.
    Send(Bytes),
    /// How the registration stands now.
    Status(Registration),
    /// Somebody wrote.
    Arrived(Arrived),
    /// What became of [`SipAgent::send`]; once for each.
    Sent {
        /// Its number.
        id: u64,
        /// Whether the server, or who was written to, has taken it.
        result: Result<(), SendFailure>,
    },
}

/// A SIP account at work.
#[derive(Debug)]
pub struct SipAgent {
    identity: SipIdentity,
    tokens: Tokens,
    path: Path,
    standing: Standing,
    /// Attempts to register that failed, one after the other.
    failures: u32,
    /// How long a registration is asked for.
    expiry: Duration,
    /// Whether the server wanted a longer time since the attempt was begun.
    raised: bool,
    /// The contact that the server knows, if it may differ from that of the path.
    known_contact: Option<SocketAddr>,
    register: Dialog,
    for_register: Credentials,
    for_messages: Credentials,
    /// By branch.
    transactions: BTreeMap<String, ClientTransaction>,
    served: Served,
    actions: Vec<Action>,
}

/// What requests of one row have in common.
#[derive(Debug)]
struct Dialog {
    call: String,
    tag: String,
    sequence: u32,
}

impl Dialog {
    fn new(tokens: &mut Tokens) -> Self {
        Self { call: tokens.text(), tag: tokens.text(), sequence: 0 }
    }
}

/// A request to be written.
struct Draft<'a> {
    method: &'static str,
    uri: &'a str,
    to: &'a str,
    dialog: &'a Dialog,
    /// Whole header lines.
    more: &'a str,
    body: &'a str,
}

impl SipAgent {
    /// An account that does nothing yet. The seed makes what nobody may guess: it has to come from a
    /// strong source, and to be another at each start.
    #[must_use]
    pub fn new(now: Moment, identity: SipIdentity, seed: [u8; 32]) -> Self {
        let mut tokens = Tokens::new(seed);
        let register = Dialog::new(&mut tokens);
        let expiry = identity.expiry.clamp(SHORTEST_EXPIRY, LONGEST_EXPIRY);
        Self {
            identity,
            tokens,
            path: Path::Closed,
            standing: Standing::Stopped,
            failures: 0,
            expiry,
            raised: false,
            known_contact: None,
            register,
            for_register: Credentials::default(),
            for_messages: Credentials::default(),
            transactions: BTreeMap::new(),
            served: Served::new(now),
            actions: Vec::new(),
        }
    }

    /// A message came over the path.
    #[must_use]
    pub fn received(&mut self, now: Moment, message: &SipMessage) -> Vec<Action> {
        if let Path::Open(path) = &self.path {
            let remote = path.remote;
            match &message.line {
                MessageLine::Response(line) => self.response(now, line.code.into_u16(), message),
                MessageLine::Request(line) => {
                    let method = line.method.clone();
                    self.request(now, &method, message, remote);
                }
            }
        }
        self.take_actions()
    }

    /// Lets pass what is due; to be called at [`Self::next_deadline`].
    #[must_use]
    pub fn tick(&mut self, now: Moment) -> Vec<Action> {
        let branches: Vec<String> = self.transactions.keys().cloned().collect();
        for branch in branches {
            match self.transactions.get_mut(&branch).map(|it| it.due(now)) {
                Some(Due::Send(bytes)) => self.actions.push(Action::Send(bytes)),
                Some(Due::TimedOut) => {
                    if let Some(late) = self.transactions.remove(&branch) {
                        self.timed_out(now, late);
                    }
                }
                Some(Due::Nothing) | None => {}
            }
        }
        self.registration_tick(now);
        self.take_actions()
    }

    /// When [`Self::tick`] is to be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let requests = self.transactions.values().map(ClientTransaction::deadline).min();
        [requests, self.registration_deadline()].into_iter().flatten().min()
    }

    fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Writes a request and sends it; its answer comes to `purpose`.
    fn begin(
        &mut self,
        now: Moment,
        draft: &Draft<'_>,
        mut purpose: Purpose,
        answered: Vec<(bool, String)>,
    ) -> Option<Bytes> {
        let Path::Open(path) = &self.path else { return None };
        let branch = format!("z9hG4bK{}", self.tokens.text());
        let SipIdentity { address, transport, login, password, .. } = &self.identity;
        let (credentials, more_credentials) = match &mut purpose {
            Purpose::Register => (&mut self.for_register, None),
            Purpose::Alive => (&mut self.for_messages, None),
            Purpose::Message(message) => (&mut self.for_messages, Some(&mut message.challenges)),
        };
        let login = Login { name: login, password: &password.0 };
        let Draft { method, uri, to, dialog, more, body } = draft;
        let lines = credentials.lines(more_credentials, login, method, uri, &mut self.tokens);
        let text = format!(
            "{method} {uri} SIP/2.0\r\n\
             Via: SIP/2.0/{via} {local};rport;branch={branch}\r\n\
             Max-Forwards: 70\r\n\
             From: <{address}>;tag={tag}\r\n\
             To: <{to}>\r\n\
             Call-ID: {call}\r\n\
             CSeq: {sequence} {method}\r\n\
             User-Agent: {USER_AGENT}\r\n\
             {lines}{more}\
             Content-Length: {length}\r\n\r\n{body}",
            via = transport.name(),
            local = path.local,
            tag = dialog.tag,
            call = dialog.call,
            sequence = dialog.sequence,
            length = body.len(),
        );
        let bytes = Bytes::from(text);
        let reliable = *transport != Transport::Udp;
        let transaction = ClientTransaction::new(now, purpose, answered, bytes.clone(), reliable);
        self.transactions.insert(branch, transaction);
        self.actions.push(Action::Send(bytes.clone()));
        Some(bytes)
    }

    /// A response: to one of our requests, or to nothing.
    fn response(&mut self, now: Moment, status: u16, response: &SipMessage) {
        let Some(via) = response.header(&ezk_sip_types::Name::VIA) else { return };
        let Some(branch) = parameter(via, "branch").map(str::to_owned) else { return };
        let seen = seen_as(via);
        let Some(waiting) = self.transactions.get_mut(&branch) else { return };
        let method = match waiting.purpose {
            Purpose::Register => Method::REGISTER,
            Purpose::Alive => Method::OPTIONS,
            Purpose::Message(_) => Method::MESSAGE,
        };
        if !response.headers.get_named::<CSeq>().is_ok_and(|sequence| sequence.method == method) {
            return;
        }
        if status < 200 {
            return waiting.proceed();
        }
        let Some(ClientTransaction { purpose, answered, .. }) = self.transactions.remove(&branch) else {
            return;
        };
        match purpose {
            Purpose::Register => self.registered(now, status, response, answered, seen),
            // Whatever it says, it lives.
            Purpose::Alive => {}
            Purpose::Message(message) => self.message_answered(now, message, status, response, answered),
        }
    }

    fn timed_out(&mut self, now: Moment, late: ClientTransaction) {
        match late.purpose {
            Purpose::Register | Purpose::Alive => self.lost(now, SipProblem::Silent, true),
            Purpose::Message(message) => self.sent(message.id, Err(SendFailure::Silent)),
        }
    }
}

/// The address that the server sees us at (RFC 3581), as it says in the `Via` that it sends back.
fn seen_as(via: &str) -> Option<SocketAddr> {
    let port: u16 = parameter(via, "rport")?.parse().ok().filter(|port| *port != 0)?;
    let address = match parameter(via, "received") {
        Some(address) => address.trim_start_matches('[').trim_end_matches(']').parse().ok()?,
        // It is the one that the `Via` names.
        None => {
            let sent_by = via.split(';').next()?.split_whitespace().next_back()?;
            sent_by.parse::<SocketAddr>().ok()?.ip()
        }
    };
    Some(SocketAddr::new(address, port)).filter(|it| !it.ip().is_unspecified() && !it.ip().is_multicast())
}

/// What a response says, for people; foreign letters stay, control characters do not.
fn reason(response: &SipMessage) -> String {
    const LONGEST: usize = 100;
    let MessageLine::Response(line) = &response.line else { return String::new() };
    let text = line.reason.as_ref().map_or("", |reason| reason.as_str());
    text.chars().filter(|letter| !letter.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod messaging_tests;
#[cfg(test)]
mod played;
#[cfg(test)]
mod registering_tests;
