//! An account in virtual time, and what the tests say in its server's place.

use std::time::Duration;

use bytes::Bytes;
use ezk_sip_types::Name;
use ezk_sip_types::msg::MessageLine;
use zeroize::Zeroizing;

use super::super::response::response;
use super::super::stream::SipMessage;
use super::*;

pub(super) const LOCAL: &str = "10.0.0.1:40000";
pub(super) const SERVER: &str = "10.0.0.9:5060";
pub(super) const CHALLENGE: &str =
    "WWW-Authenticate: Digest realm=\"example.org\", nonce=\"abc\", qop=\"auth\"\r\n";

/// An account, the time, and all it did that nobody has looked at yet.
pub(super) struct Played {
    pub(super) agent: SipAgent,
    pub(super) now: Moment,
    pub(super) done: Vec<Action>,
}

impl Played {
    pub(super) fn new(transport: Transport) -> Self {
        let identity = SipIdentity {
            address: "sip:alice@example.org".parse().unwrap(),
            transport,
            login: "alice".to_owned(),
            password: SipPassword(Zeroizing::new("secret".to_owned())),
            expiry: DEFAULT_EXPIRY,
        };
        let agent = SipAgent::new(Moment::default(), identity, [7; 32]);
        Self { agent, now: Moment::default(), done: Vec::new() }
    }

    /// Started, with a path.
    pub(super) fn connected(transport: Transport) -> Self {
        let mut played = Self::new(transport);
        played.act(SipAgent::start);
        played.open();
        played
    }

    /// Registered for an hour.
    pub(super) fn registered(transport: Transport) -> Self {
        let mut played = Self::connected(transport);
        let request = played.one_request("REGISTER");
        played.accept(&request, 3600);
        assert!(played.is_registered());
        played.done.clear();
        played
    }

    pub(super) fn open(&mut self) {
        self.act(|agent, now| agent.connected(now, LOCAL.parse().unwrap(), SERVER.parse().unwrap()));
    }

    pub(super) fn act(&mut self, act: impl FnOnce(&mut SipAgent, Moment) -> Vec<Action>) {
        let now = self.now;
        self.done.extend(act(&mut self.agent, now));
    }

    /// Lets time pass, and everything in it be done at its moment.
    pub(super) fn pass(&mut self, seconds: u64) {
        let end = self.now.plus(Duration::from_secs(seconds));
        let mut turns = 0;
        while let Some(next) = self.agent.next_deadline().filter(|next| *next <= end) {
            turns += 1;
            assert!(turns < 100_000, "time stands still");
            self.now = next.max(self.now);
            self.act(SipAgent::tick);
        }
        self.now = end;
    }

    /// What was sent since this was asked last.
    pub(super) fn sent(&mut self) -> Vec<SipMessage> {
        let mut sent = Vec::new();
        self.done.retain(|action| match action {
            Action::Send(bytes) => {
                sent.extend(SipMessage::in_datagram(bytes).unwrap());
                false
            }
            _ => true,
        });
        sent
    }

    /// The one message that was sent, a request with this method.
    pub(super) fn one_request(&mut self, method: &str) -> SipMessage {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        let request = sent.remove(0);
        assert_eq!(request.line.request_method().unwrap().to_string(), method);
        request
    }

    /// Lets time pass until something is sent; the first of it, a request with this method.
    pub(super) fn next_request(&mut self, method: &str) -> SipMessage {
        for _ in 0..1000 {
            self.pass(1);
            if let Some(request) = self.sent().into_iter().next() {
                assert_eq!(request.line.request_method().unwrap().to_string(), method);
                return request;
            }
        }
        panic!("nothing is sent");
    }

    /// The status of the one response that was sent.
    pub(super) fn one_status(&mut self) -> u16 {
        let sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        let MessageLine::Response(line) = &sent[0].line else { panic!("{sent:?}") };
        line.code.into_u16()
    }

    pub(super) fn answer(&mut self, request: &SipMessage, status: &str, more: &str) {
        let bytes = response(request, status, "server", LOCAL.parse().unwrap(), more).unwrap();
        self.hear(&String::from_utf8(bytes).unwrap());
    }

    /// Registers the contact asked for, for so many seconds.
    pub(super) fn accept(&mut self, request: &SipMessage, seconds: u32) {
        let contact = request.header(&Name::CONTACT).unwrap().split(";expires").next().unwrap().to_owned();
        self.answer(request, "200 OK", &format!("Contact: {contact};expires={seconds}\r\n"));
    }

    pub(super) fn hear(&mut self, text: &str) {
        if let Ok(Some(message)) = SipMessage::in_datagram(&Bytes::from(text.to_owned())) {
            self.act(|agent, now| agent.received(now, &message));
        }
    }

    pub(super) fn is_registered(&self) -> bool {
        matches!(self.agent.standing, Standing::Registered { .. })
    }

    /// Why the account was said not to be registered, and for how long it rests.
    pub(super) fn last_failure(&self) -> (SipProblem, Duration) {
        let failure = self.done.iter().rev().find_map(|action| match action {
            Action::Status(Registration::Failed { problem, again }) => Some((problem.clone(), *again)),
            _ => None,
        });
        let (problem, again) = failure.unwrap();
        (problem, again.since(self.now))
    }

    pub(super) fn arrived(&self) -> Vec<&Arrived> {
        let arrived = self.done.iter().filter_map(|action| match action {
            Action::Arrived(arrived) => Some(arrived),
            _ => None,
        });
        arrived.collect()
    }

    pub(super) fn results(&self) -> Vec<(u64, Result<(), SendFailure>)> {
        let result = |action: &Action| match action {
            Action::Sent { id, result } => Some((*id, result.clone())),
            _ => None,
        };
        self.done.iter().filter_map(result).collect()
    }
}

pub(super) fn header(message: &SipMessage, name: &str) -> String {
    message.header(&Name::from(name.to_owned())).unwrap_or_default().to_owned()
}
