//! One dialog with one device, from INVITE to BYE (`spec: calls 4`).
//!
//! ```text
//!   caller    calling ──1xx──► proceeding ──180──► ringing ──2xx, ACK──┐
//!                └─────────────────┴──────────────────┴ hang up: CANCEL│
//!                                                                      ▼
//!   callee    invited (100, 180) ──── accept: 200 until ACK ───────► confirmed ── BYE ──► over
//!                └ refuse: 4xx, 6xx; CANCEL: 487; 30 s: 486            └ offers, INFO, MESSAGE, REFER
//!
//!   write      requests          requests   what the other side asks
//!   client     what waits        responses  what it answers
//! ```
//!
//! Over channels nothing is repeated but the 200 to an INVITE; over UDP requests and responses are.

mod action;
mod client;
mod requests;
mod responses;
mod write;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use ezk_sip_types::{Method, Name};

use self::client::{Client, Purpose, Repeated};
use super::abilities::Abilities;
use super::control::{Control, KeyPress};
use super::ends::Ends;
use super::parts::{Part, write_parts};
use crate::sdp::Description;
use crate::sip::agent::{T1, T2, TRANSACTION_TIME};
use crate::sip::fields::parameter;
use crate::sip::stream::SipMessage;
use crate::sip::token::Tokens;
use crate::time::Moment;

pub use action::{Action, End, LegError, Refusal};
pub use requests::{Refused, Replaces};

/// How long a call rings here before it is said to be busy.
pub const RING_TIME: Duration = Duration::from_secs(30);

/// How long a call may ring there. Daemons end it after [`RING_TIME`]; phones may ring longer.
pub const MAX_RINGING: Duration = Duration::from_secs(180);

/// How long an offer waits for its answer before we say that it is looked at.
pub const TRYING_AFTER: Duration = Duration::from_millis(100);

/// How long an offer may wait for its answer: the other side ends the call after 32 s.
pub const LONGEST_ANSWER: Duration = Duration::from_secs(28);

/// Most requests that wait for a response.
pub const MAX_REQUESTS: usize = 64;

/// Most messages held back until the call is answered, in each direction.
pub const HELD_MESSAGES: usize = 32;

/// Longest body of a MESSAGE, in bytes.
pub const MAX_MESSAGE: usize = 32 * 1024;

/// Answers remembered for requests that come again.
const MAX_ANSWERED: usize = 32;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// INVITE sent.
    Calling,
    /// There was a provisional response.
    Proceeding,
    /// Given up; the final response is waited for.
    Cancelling,
    /// They called, and we ring.
    Invited,
    /// It is answered.
    Confirmed,
    /// BYE sent, or refused; what is under way is waited for.
    Ending,
    /// Nothing waits. Repeated requests are still answered until then.
    Over(Moment),
    /// Told so.
    Done,
}

/// An INVITE of theirs without a final response.
#[derive(Debug)]
struct Waiting {
    request: SipMessage,
    /// Whether it was said that it is looked at.
    tried: bool,
    /// When that is said.
    try_at: Moment,
    /// When it is refused.
    until: Moment,
}

/// One dialog.
#[derive(Debug)]
pub struct Leg {
    ends: Ends,
    tokens: Tokens,
    call_id: String,
    /// Our side of the dialog, with its tag.
    local: String,
    local_tag: String,
    /// Their side, with its tag when that is known.
    remote: String,
    /// Where requests in the dialog go.
    target: String,
    /// Through which servers.
    route: Vec<String>,
    /// Whether the call is ours; who made it waits longer when two offers cross.
    caller: bool,
    sequence: u32,
    remote_sequence: Option<u32>,
    phase: Phase,
    abilities: Abilities,
    clients: BTreeMap<String, Client>,
    /// Branch of our INVITE without a final response.
    inviting: Option<String>,
    /// The acknowledgement of the last 2xx, for when that comes again.
    acknowledged: Option<(String, Bytes)>,
    waiting: Option<Waiting>,
    /// Our final response to an INVITE that is not acknowledged yet.
    unacknowledged: Option<Repeated>,
    answered: VecDeque<(String, Bytes)>,
    /// The last offer that was to be made, while another one is under way; and when it may be made.
    next_offer: Option<Option<Bytes>>,
    offer_at: Option<Moment>,
    /// What is in our INVITE.
    offered: Option<Bytes>,
    to_send: VecDeque<Vec<Part>>,
    to_tell: VecDeque<Vec<Part>>,
    hang_up_when_acknowledged: bool,
    ended: bool,
    actions: Vec<Action>,
}

impl Leg {
    /// Calls. Without an offer the other side makes one, which daemons never do.
    ///
    /// # Errors
    /// When the other side could not take it.
    pub fn call(
        now: Moment,
        ends: Ends,
        seed: [u8; 32],
        offer: Option<&Description>,
    ) -> Result<(Self, Vec<Action>), LegError> {
        let mut tokens = Tokens::new(seed);
        let (call_id, tag) = (tokens.text(), tokens.text());
        let mut leg = Self::new(ends, tokens, call_id, tag, true);
        leg.target.clone_from(&leg.ends.target);
        leg.offered = offer.map(|offer| Bytes::from(offer.write()));
        leg.invite(now, "")?;
        let actions = leg.take_actions();
        Ok((leg, actions))
    }

    fn new(ends: Ends, mut tokens: Tokens, call_id: String, local_tag: String, caller: bool) -> Self {
        let sequence = u32::from(u16::from_str_radix(tokens.text().get(..4).unwrap_or("0"), 16).unwrap_or(0));
        Self {
            local: format!("{};tag={local_tag}", ends.local),
            remote: ends.remote.clone(),
            target: String::new(),
            route: Vec::new(),
            ends,
            tokens,
            call_id,
            local_tag,
            caller,
            sequence,
            remote_sequence: None,
            phase: if caller { Phase::Calling } else { Phase::Invited },
            abilities: Abilities::default(),
            clients: BTreeMap::new(),
            inviting: None,
            acknowledged: None,
            waiting: None,
            unacknowledged: None,
            answered: VecDeque::new(),
            next_offer: None,
            offer_at: None,
            offered: None,
            to_send: VecDeque::new(),
            to_tell: VecDeque::new(),
            hang_up_when_acknowledged: false,
            ended: false,
            actions: Vec::new(),
        }
    }

    /// What the other side can do.
    #[must_use]
    pub const fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    /// Whether it is answered and not over.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.phase == Phase::Confirmed
    }

    /// Names the dialog, for `Replaces`.
    #[must_use]
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// Whether a message is of this dialog.
    #[must_use]
    pub fn is_for(&self, message: &SipMessage) -> bool {
        if message.header(&Name::CALL_ID) != Some(&self.call_id) {
            return false;
        }
        let (ours, theirs) =
            if message.line.is_request() { (Name::TO, Name::FROM) } else { (Name::FROM, Name::TO) };
        let tag = |name: &Name| message.header(name).and_then(|value| parameter(value, "tag"));
        let known = parameter(&self.remote, "tag");
        // The first request has no tag of ours yet, and the first responses may have any of theirs.
        tag(&ours).is_none_or(|tag| tag == self.local_tag)
            && (known.is_none() || !message.line.is_request() || tag(&theirs) == known)
    }

    /// Changes the media: offers this. While another offer is under way it waits, and only the last counts.
    ///
    /// # Errors
    /// [`LegError`] when it cannot be sent.
    pub fn offer(&mut self, now: Moment, offer: Option<&Description>) -> Result<Vec<Action>, LegError> {
        if self.phase != Phase::Confirmed {
            return Err(LegError::WrongTime);
        }
        self.next_offer = Some(offer.map(|offer| Bytes::from(offer.write())));
        if self.offer_at.is_none() {
            self.make_offer(now)?;
        }
        Ok(self.take_actions())
    }

    /// Whether an offer of ours waits, or is on its way.
    #[must_use]
    pub fn is_offering(&self) -> bool {
        self.inviting.is_some() || self.next_offer.is_some()
    }

    /// Takes back an offer that is not on its way, as one that waits because theirs came first. Whether there was one.
    pub fn withdraw_offer(&mut self) -> bool {
        self.offer_at = None;
        self.next_offer.take().is_some()
    }

    /// Accepts the call, or answers an offer; `description` is an offer where they made none.
    ///
    /// # Errors
    /// [`LegError`] when there is nothing to answer, or the answer is too long.
    pub fn answer(&mut self, now: Moment, description: &Description) -> Result<Vec<Action>, LegError> {
        let body = description.write();
        let request = &self.waiting.as_ref().ok_or(LegError::WrongTime)?.request;
        let bytes = self.response(request, "200 OK", Some(&body)).ok_or(LegError::WrongTime)?;
        self.check_length(&bytes)?;
        let Some(waiting) = self.waiting.take() else { return Err(LegError::WrongTime) };
        self.respond_to_invite(now, &waiting.request, bytes, true);
        if self.phase == Phase::Invited {
            self.phase = Phase::Confirmed;
            self.confirmed(now);
        }
        Ok(self.take_actions())
    }

    /// Refuses the call, or the offer.
    pub fn refuse(&mut self, now: Moment, refusal: Refusal) -> Vec<Action> {
        self.refuse_with(now, refusal.status());
        if self.phase == Phase::Invited {
            self.end(now, End::Refused);
        }
        self.take_actions()
    }

    fn refuse_with(&mut self, now: Moment, status: &str) {
        if let Some(waiting) = self.waiting.take()
            && let Some(bytes) = self.response(&waiting.request, status, None)
        {
            self.respond_to_invite(now, &waiting.request, bytes, false);
        }
    }

    /// Ends the call, however far it is.
    pub fn hang_up(&mut self, now: Moment) -> Vec<Action> {
        match self.phase {
            // A challenge is not answered yet, and nothing is open at the server.
            Phase::Calling | Phase::Proceeding if self.inviting.is_none() => self.end(now, End::Cancelled),
            Phase::Calling => {
                // There may be no CANCEL before there is a response.
                self.phase = Phase::Cancelling;
                self.told(End::Cancelled);
            }
            Phase::Proceeding => {
                self.phase = Phase::Cancelling;
                self.cancel(now);
                self.told(End::Cancelled);
            }
            Phase::Invited => return self.refuse(now, Refusal::Gone),
            Phase::Confirmed => self.leave(now, End::HungUp),
            Phase::Cancelling | Phase::Ending | Phase::Over(_) | Phase::Done => {}
        }
        self.take_actions()
    }

    /// The channel is gone: so is the call.
    pub fn lost(&mut self, now: Moment) -> Vec<Action> {
        if self.phase == Phase::Done {
            return Vec::new();
        }
        self.clients.clear();
        self.inviting = None;
        self.waiting = None;
        self.unacknowledged = None;
        self.phase = Phase::Over(now);
        self.told(End::Lost);
        self.settle(now);
        self.take_actions()
    }

    /// Tells the other side something about media.
    ///
    /// # Errors
    /// [`LegError`] when it cannot be sent.
    pub fn control(&mut self, now: Moment, control: Control) -> Result<Vec<Action>, LegError> {
        let (kind, body) = control.write();
        self.info(now, kind, body.as_bytes())
    }

    /// Presses a key.
    ///
    /// # Errors
    /// [`LegError`] when it cannot be sent.
    pub fn press(&mut self, now: Moment, press: KeyPress) -> Result<Vec<Action>, LegError> {
        let (kind, body) = press.write();
        self.info(now, kind, body.as_bytes())
    }

    fn info(&mut self, now: Moment, kind: &str, body: &[u8]) -> Result<Vec<Action>, LegError> {
        if self.phase != Phase::Confirmed {
            return Err(LegError::WrongTime);
        }
        self.request(now, &Method::INFO, Purpose::Tell, "", Some((kind, body)))?;
        Ok(self.take_actions())
    }

    /// Sends a message, once the call is answered.
    ///
    /// # Errors
    /// [`LegError`] when it cannot be sent.
    pub fn message(&mut self, now: Moment, parts: Vec<Part>) -> Result<Vec<Action>, LegError> {
        if parts
            .iter()
            .any(|part| part.content_type.is_empty() || part.content_type.chars().any(char::is_control))
        {
            return Err(LegError::Malformed);
        }
        match self.phase {
            Phase::Confirmed => self.send_message(now, &parts)?,
            Phase::Calling | Phase::Proceeding | Phase::Invited if self.to_send.len() < HELD_MESSAGES => {
                self.to_send.push_back(parts);
            }
            Phase::Calling | Phase::Proceeding | Phase::Invited => return Err(LegError::TooMany),
            _ => return Err(LegError::WrongTime),
        }
        Ok(self.take_actions())
    }

    fn send_message(&mut self, now: Moment, parts: &[Part]) -> Result<(), LegError> {
        if !self.abilities.messages() {
            return Err(LegError::NoMessages);
        }
        let (kind, body) = write_parts(parts, &self.tokens.text());
        self.request(now, &Method::MESSAGE, Purpose::Tell, "", Some((&kind, &body)))
    }

    /// Asks the other side to call `target`, a SIP address, instead.
    ///
    /// # Errors
    /// [`LegError`] when it cannot be sent.
    pub fn transfer(&mut self, now: Moment, target: &str) -> Result<Vec<Action>, LegError> {
        if self.phase != Phase::Confirmed {
            return Err(LegError::WrongTime);
        }
        if target.chars().any(|letter| letter.is_control() || matches!(letter, '<' | '>' | ' ')) {
            return Err(LegError::Malformed);
        }
        let more = format!("Refer-To: <{target}>\r\nReferred-By: {}\r\n", self.ends.local);
        self.request(now, &Method::REFER, Purpose::Transfer, &more, None)?;
        Ok(self.take_actions())
    }

    /// Calls once more, with the answer to a challenge: whole header lines.
    ///
    /// # Errors
    /// [`LegError`] when it cannot be sent.
    pub fn authorize(&mut self, now: Moment, lines: &str) -> Result<Vec<Action>, LegError> {
        if self.inviting.is_some() || !matches!(self.phase, Phase::Calling | Phase::Proceeding) {
            return Err(LegError::WrongTime);
        }
        self.phase = Phase::Calling;
        self.invite(now, lines)?;
        Ok(self.take_actions())
    }

    /// When [`Self::tick`] is to be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let over = match self.phase {
            Phase::Over(until) => Some(until),
            _ => None,
        };
        let clients = self.clients.values().map(Client::deadline).min();
        let waiting =
            self.waiting.as_ref().map(|it| if it.tried { it.until } else { it.try_at.min(it.until) });
        let unacknowledged = self.unacknowledged.as_ref().map(Repeated::deadline);
        [over, clients, waiting, unacknowledged, self.offer_at].into_iter().flatten().min()
    }

    /// Lets pass what is due.
    pub fn tick(&mut self, now: Moment) -> Vec<Action> {
        self.clients_tick(now);
        self.invite_tick(now);
        if self.offer_at.is_some_and(|at| now >= at) {
            self.offer_at = None;
            if self.phase == Phase::Confirmed && self.make_offer(now).is_err() {
                self.next_offer = None;
                self.actions.push(Action::OfferRefused(500));
            }
        }
        self.settle(now);
        self.take_actions()
    }

    /// Their INVITE, and our final response to one.
    fn invite_tick(&mut self, now: Moment) {
        if let Some(waiting) = &mut self.waiting {
            if now >= waiting.until {
                let initial = self.phase == Phase::Invited;
                self.refuse_with(now, if initial { Refusal::Busy } else { Refusal::NoCodec }.status());
                if initial {
                    self.end(now, End::NoAnswer);
                }
            } else if !waiting.tried && now >= waiting.try_at {
                waiting.tried = true;
                let trying = write::trying(&waiting.request, &self.ends);
                self.actions.extend(trying.map(Action::Send));
            }
        }
        let Some(unacknowledged) = &mut self.unacknowledged else { return };
        match unacknowledged.due(now) {
            client::Due::Nothing => {}
            client::Due::Send(bytes) => self.actions.push(Action::Send(bytes)),
            client::Due::TimedOut => {
                let was_ok = unacknowledged.ok;
                self.unacknowledged = None;
                if was_ok && self.phase == Phase::Confirmed {
                    self.hang_up_when_acknowledged = false;
                    self.leave(now, End::Gone);
                }
            }
        }
    }

    /// The dialog is there: what waited for it goes out.
    fn confirmed(&mut self, now: Moment) {
        while let Some(parts) = self.to_send.pop_front() {
            if self.abilities.messages() {
                // One that is too long for the other side is left out, like any that it does not take.
                let _ = self.send_message(now, &parts);
            }
        }
        self.actions.extend(self.to_tell.drain(..).map(Action::Message));
    }

    /// Says BYE; a callee only after the acknowledgement (RFC 3261, 15).
    fn leave(&mut self, now: Moment, end: End) {
        self.told(end);
        if self.unacknowledged.as_ref().is_some_and(|it| it.ok) {
            self.hang_up_when_acknowledged = true;
            return;
        }
        self.phase = Phase::Ending;
        self.say_bye(now);
        self.settle(now);
    }

    /// It is over, without a BYE.
    fn end(&mut self, now: Moment, end: End) {
        self.told(end);
        self.phase = Phase::Ending;
        self.settle(now);
    }

    fn told(&mut self, end: End) {
        self.next_offer = None;
        self.offer_at = None;
        self.to_send.clear();
        self.to_tell.clear();
        if !self.ended {
            self.ended = true;
            self.actions.push(Action::Ended(end));
        }
    }

    /// Whether anything is still waited for, once it is over.
    fn settle(&mut self, now: Moment) {
        let idle = self.clients.is_empty() && self.unacknowledged.is_none() && self.waiting.is_none();
        if self.phase == Phase::Ending && idle {
            // Over UDP our last responses may have to be repeated.
            let linger = if self.ends.reliable { Duration::ZERO } else { TRANSACTION_TIME };
            self.phase = Phase::Over(now.plus(linger));
        }
        if let Phase::Over(until) = self.phase
            && now >= until
        {
            self.phase = Phase::Done;
            self.actions.push(Action::Done);
        }
    }

    #[cfg(test)]
    pub(super) fn local(&self) -> &str {
        &self.local
    }

    #[cfg(test)]
    pub(super) const fn forget_sequence(&mut self) {
        self.remote_sequence = None;
    }

    fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }
}
