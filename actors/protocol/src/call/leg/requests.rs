//! What the other side asks (`spec: calls 4.1, 4.3, 11`).

use bytes::Bytes;
use ezk_sip_types::{Method, Name};

use super::client::Purpose;
use super::write::{SDP, branch_of, sequence_of, trying};
use super::{
    Action, End, HELD_MESSAGES, LONGEST_ANSWER, Leg, MAX_ANSWERED, MAX_MESSAGE, Phase, RING_TIME,
    TRYING_AFTER, Waiting,
};
use crate::call::control::{Control, KeyPress};
use crate::call::ends::{ALLOW, Ends};
use crate::call::parts::parts_of;
use crate::sdp::Description;
use crate::sip::fields::{display_name, parameter, uri};
use crate::sip::response::respond;
use crate::sip::stream::SipMessage;
use crate::sip::token::Tokens;
use crate::time::Moment;

/// The call that an INVITE is to take the place of (RFC 3891).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaces {
    /// Names the dialog.
    pub call_id: String,
    /// Our tag in it.
    pub local_tag: String,
    /// Their tag in it.
    pub remote_tag: String,
}

/// An INVITE that begins no call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The response, to be written in one piece; none if the request cannot even be answered.
    pub response: Option<Bytes>,
}

impl Leg {
    /// Takes a call: says that it rings. What is offered, and whom the call replaces, is told beside.
    ///
    /// `user` is whom the channel belongs to, if the caller must say the same (`spec: calls 11`).
    ///
    /// # Errors
    /// [`Refused`] when the request begins no call.
    #[expect(clippy::type_complexity, reason = "what comes of an INVITE, once")]
    pub fn ring(
        now: Moment,
        ends: Ends,
        seed: [u8; 32],
        request: &SipMessage,
        user: Option<&str>,
    ) -> Result<(Self, Option<Description>, Option<Replaces>, Vec<Action>), Refused> {
        let mut tokens = Tokens::new(seed);
        let tag = tokens.text();
        let refuse = |status: &str| {
            let more = format!("Allow: {ALLOW}\r\n");
            let response = respond(request, status, Some(&tag), ends.peer, &more, None);
            Refused { response: response.map(Bytes::from) }
        };
        let header = |name| request.header(&name).unwrap_or_default();
        let (from, to, call_id) = (header(Name::FROM), header(Name::TO), header(Name::CALL_ID));
        let contact = uri(header(Name::CONTACT));
        let numbered = request.header(&Name::CSEQ).is_some_and(|it| it.ends_with("INVITE"));
        if call_id.is_empty() || from.is_empty() || contact.is_empty() || !numbered || !is_uri(contact) {
            return Err(refuse("400 Bad Request"));
        }
        if parameter(to, "tag").is_some() {
            return Err(refuse("481 Call/Transaction Does Not Exist"));
        }
        if user.is_some_and(|user| user_of(uri(from)) != Some(user)) {
            return Err(refuse("403 Forbidden"));
        }
        if request.headers.contains(&Name::REQUIRE) {
            return Err(refuse("405 Method Not Allowed"));
        }
        let offer = offer_of(request).map_err(refuse)?;
        let replaces = request.header(&Name::from("Replaces".to_owned())).and_then(replaces);

        let mut ends = ends;
        ends.local = to.to_owned();
        ends.remote = from.to_owned();
        let mut leg = Self::new(ends, tokens, call_id.to_owned(), tag, false);
        leg.target = contact.to_owned();
        leg.remote_sequence = Some(sequence_of(request));
        let routes = request.headers.get_raw(&Name::RECORD_ROUTE);
        leg.route = routes.map(|route| route.as_str().trim().to_owned()).collect();
        leg.abilities.learn(request);
        leg.actions.extend(trying(request, &leg.ends).map(Action::Send));
        leg.actions.extend(leg.response(request, "180 Ringing", None).map(Action::Send));
        let until = now.plus(RING_TIME);
        leg.waiting = Some(Waiting { request: request.clone(), tried: true, try_at: now, until });
        let actions = leg.take_actions();
        Ok((leg, offer, replaces, actions))
    }

    /// A request of this dialog: see [`Leg::is_for`].
    pub fn received(&mut self, now: Moment, message: &SipMessage) -> Vec<Action> {
        match message.line.request_method().cloned() {
            Some(method) => self.asked(now, &method, message),
            None => self.responded(now, message),
        }
        self.settle(now);
        self.take_actions()
    }

    fn asked(&mut self, now: Moment, method: &Method, request: &SipMessage) {
        if *method == Method::ACK {
            return self.acknowledged(now, request);
        }
        let key = transaction(request);
        if let Some((_, answer)) = self.answered.iter().find(|(known, _)| *known == key) {
            return self.actions.push(Action::Send(answer.clone()));
        }
        if *method == Method::CANCEL {
            return self.cancelled(now, request);
        }
        if let Some(waiting) = &self.waiting
            && transaction(&waiting.request) == key
        {
            // It came again over UDP: so did our response not.
            let status = if self.phase == Phase::Invited { "180 Ringing" } else { "100 Trying" };
            let again = self.response(&waiting.request, status, None);
            return self.actions.extend(again.map(Action::Send));
        }
        let sequence = sequence_of(request);
        if self.remote_sequence.is_some_and(|last| sequence <= last) {
            return self.reply(request, "500 Server Internal Error");
        }
        self.remote_sequence = Some(sequence);
        self.abilities.learn(request);
        let is_over = matches!(self.phase, Phase::Ending | Phase::Over(_) | Phase::Done);
        if is_over && *method != Method::BYE {
            return self.reply(request, "481 Call/Transaction Does Not Exist");
        }
        if *method == Method::BYE {
            self.peer_left(now, request);
        } else if *method == Method::INVITE {
            self.offered(now, request);
        } else if *method == Method::INFO {
            self.informed(request);
        } else if *method == Method::MESSAGE {
            self.messaged(request);
        } else if *method == Method::REFER {
            self.referred(request);
        } else if *method == Method::OPTIONS {
            let more = format!(
                "Allow: {ALLOW}\r\nAccept: {SDP}, text/plain\r\nSupported: replaces\r\nAllow-Events: refer\r\n"
            );
            self.reply_with(request, "200 OK", &more);
        } else if *method == Method::NOTIFY {
            self.reply(request, "200 OK");
        } else if *method == Method::UPDATE {
            // It is used by nobody; an offer in one would have to be answered at once.
            let status = if request.body.is_empty() { "200 OK" } else { "488 Not Acceptable Here" };
            self.reply(request, status);
        } else {
            self.reply_with(request, "405 Method Not Allowed", &format!("Allow: {ALLOW}\r\n"));
        }
    }

    fn acknowledged(&mut self, now: Moment, request: &SipMessage) {
        let sequence = sequence_of(request);
        let Some(response) = self.unacknowledged.take_if(|it| it.sequence == sequence) else { return };
        if !response.ok {
            return;
        }
        if self.hang_up_when_acknowledged {
            self.phase = Phase::Ending;
            return self.say_bye(now);
        }
        let answer = offer_of(request).ok().flatten();
        self.actions.push(Action::Acknowledged(answer));
        self.offer_later(now);
    }

    /// Makes the offer that waits, now that none is under way.
    pub(super) fn offer_later(&mut self, now: Moment) {
        if self.next_offer.is_some() && self.offer_at.is_none() && self.phase == Phase::Confirmed {
            // At once, but by way of the clock, where what goes wrong is told.
            self.offer_at = Some(now);
        }
    }

    fn cancelled(&mut self, now: Moment, request: &SipMessage) {
        let of_this = self.waiting.as_ref().is_some_and(|it| branch_of(&it.request) == branch_of(request));
        if !of_this {
            return self.reply(request, "481 Call/Transaction Does Not Exist");
        }
        self.reply(request, "200 OK");
        self.refuse_with(now, "487 Request Terminated");
        if self.phase == Phase::Invited {
            self.end(now, End::PeerCancelled);
        }
    }

    fn peer_left(&mut self, now: Moment, request: &SipMessage) {
        self.reply(request, "200 OK");
        if self.phase == Phase::Invited {
            self.refuse_with(now, "487 Request Terminated");
        }
        self.waiting = None;
        self.unacknowledged = None;
        if self.phase != Phase::Ending {
            self.clients.retain(|_, client| client.purpose == Purpose::Bye);
            self.inviting = None;
        }
        if matches!(self.phase, Phase::Confirmed | Phase::Invited) {
            self.end(now, End::PeerHungUp);
        }
    }

    fn offered(&mut self, now: Moment, request: &SipMessage) {
        if self.inviting.is_some() {
            return self.refuse_invite(now, request, "491 Request Pending");
        }
        if self.waiting.is_some() || self.phase != Phase::Confirmed {
            return self.refuse_invite(now, request, "500 Server Internal Error");
        }
        match offer_of(request) {
            Ok(offer) => {
                let contact = uri(request.header(&Name::CONTACT).unwrap_or_default());
                if is_uri(contact) {
                    self.target = contact.to_owned();
                }
                let (try_at, until) = (now.plus(TRYING_AFTER), now.plus(LONGEST_ANSWER));
                self.waiting = Some(Waiting { request: request.clone(), tried: false, try_at, until });
                self.actions.push(Action::Offered(offer));
            }
            Err(status) => self.refuse_invite(now, request, status),
        }
    }

    /// Refuses an INVITE without disturbing the one whose response is not acknowledged yet.
    fn refuse_invite(&mut self, now: Moment, request: &SipMessage, status: &str) {
        let Some(bytes) = self.response(request, status, None) else { return };
        if self.unacknowledged.is_none() {
            self.respond_to_invite(now, request, bytes, false);
        } else {
            self.remember(request, bytes.clone());
            self.actions.push(Action::Send(bytes));
        }
    }

    fn informed(&mut self, request: &SipMessage) {
        let kind = request.header(&Name::CONTENT_TYPE).unwrap_or_default();
        let told = Control::read(kind, &request.body).map(Action::Control);
        let told = told.or_else(|| KeyPress::read(kind, &request.body).map(Action::Key));
        if told.is_some() || request.body.is_empty() {
            self.reply(request, "200 OK");
        } else {
            self.reply(request, "415 Unsupported Media Type");
        }
        if self.phase == Phase::Confirmed {
            self.actions.extend(told);
        }
    }

    fn messaged(&mut self, request: &SipMessage) {
        if request.body.len() > MAX_MESSAGE {
            return self.reply(request, "413 Request Entity Too Large");
        }
        self.reply(request, "200 OK");
        let kind = request.header(&Name::CONTENT_TYPE).unwrap_or_default();
        let parts = parts_of(kind, &request.body);
        if parts.is_empty() {
            return;
        }
        if self.phase == Phase::Confirmed {
            self.actions.push(Action::Message(parts));
        } else if self.to_tell.len() < HELD_MESSAGES {
            self.to_tell.push_back(parts);
        }
    }

    fn referred(&mut self, request: &SipMessage) {
        let targets: Vec<_> = request.headers.get_raw(&Name::REFER_TO).collect();
        match &targets[..] {
            [target] if self.phase == Phase::Confirmed && is_uri(uri(target.as_str())) => {
                let target = uri(target.as_str()).to_owned();
                self.reply(request, "202 Accepted");
                self.actions.push(Action::Transfer(target));
            }
            _ => self.reply(request, "400 Bad Request"),
        }
    }

    pub(super) fn reply(&mut self, request: &SipMessage, status: &str) {
        self.reply_with(request, status, "");
    }

    fn reply_with(&mut self, request: &SipMessage, status: &str, more: &str) {
        let bytes = respond(request, status, Some(&self.local_tag), self.ends.peer, more, None);
        if let Some(bytes) = bytes.map(Bytes::from) {
            self.remember(request, bytes.clone());
            self.actions.push(Action::Send(bytes));
        }
    }

    pub(super) fn remember(&mut self, request: &SipMessage, answer: Bytes) {
        if self.answered.len() >= MAX_ANSWERED {
            self.answered.pop_front();
        }
        self.answered.push_back((transaction(request), answer));
    }
}

/// Names a request: who repeats one repeats this.
fn transaction(request: &SipMessage) -> String {
    let sequence = request.header(&Name::CSEQ).unwrap_or_default();
    format!("{}\n{sequence}", branch_of(request))
}

/// The description in a message; `Err` is the status to refuse it with.
pub(super) fn offer_of(message: &SipMessage) -> Result<Option<Description>, &'static str> {
    if message.body.is_empty() {
        return Ok(None);
    }
    let kind = message.header(&Name::CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case(SDP) {
        return Err("405 Method Not Allowed");
    }
    Description::read(&message.body).map(Some).map_err(|_| "488 Not Acceptable Here")
}

/// Whether a text may stand where an address is written.
pub(super) fn is_uri(text: &str) -> bool {
    let plain = |letter: char| !letter.is_control() && !matches!(letter, ' ' | '<' | '>' | '"');
    text.contains(':') && text.len() <= 512 && text.chars().all(plain)
}

/// The user part of an address.
fn user_of(address: &str) -> Option<&str> {
    address.split_once(':')?.1.split_once('@').map(|(user, _)| user)
}

fn replaces(value: &str) -> Option<Replaces> {
    let call_id = value.split(';').next()?.trim();
    let tag = |name| parameter(value, name).map(str::to_owned);
    Some(Replaces { call_id: call_id.to_owned(), local_tag: tag("to-tag")?, remote_tag: tag("from-tag")? })
}

impl Leg {
    /// The name that the other side shows.
    #[must_use]
    pub fn shown_name(&self) -> String {
        display_name(&self.remote).chars().filter(|letter| !letter.is_control()).take(128).collect()
    }
}
