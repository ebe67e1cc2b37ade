//! Requests and responses of a dialog, in the order of headers that daemons use (`spec: calls 3`).

use bytes::Bytes;
use ezk_sip_types::{Method, Name};

use super::client::{Client, Purpose, Repeated};
use super::{Action, Leg, LegError, MAX_REQUESTS};
use crate::call::ends::{ALLOW, Ends, SUBJECT};
use crate::sip::fields::parameter;
use crate::sip::response::respond;
use crate::sip::stream::SipMessage;
use crate::time::Moment;

/// Type of a description.
pub(super) const SDP: &str = "application/sdp";

/// `100 Trying`, which begins no dialog.
pub(super) fn trying(request: &SipMessage, ends: &Ends) -> Option<Bytes> {
    let more = format!("User-Agent: {}\r\n", ends.agent);
    respond(request, "100 Trying", None, ends.peer, &more, None).map(Bytes::from)
}

impl Leg {
    /// The first INVITE; `more` are whole header lines.
    pub(super) fn invite(&mut self, now: Moment, more: &str) -> Result<(), LegError> {
        let body = self.offered.clone();
        let more = format!("Subject: {SUBJECT}\r\n{}{more}", self.abilities_lines());
        let body = body.as_deref().map(|body| (SDP, body));
        self.request(now, &Method::INVITE, Purpose::Call, &more, body)
    }

    /// The offer that waits, if none is under way.
    pub(super) fn make_offer(&mut self, now: Moment) -> Result<(), LegError> {
        if self.inviting.is_some() || self.waiting.is_some() || self.unacknowledged.is_some() {
            return Ok(());
        }
        let Some(offer) = self.next_offer.take() else { return Ok(()) };
        let more = self.abilities_lines();
        let body = offer.as_deref().map(|body| (SDP, body));
        self.offered.clone_from(&offer);
        self.request(now, &Method::INVITE, Purpose::Offer, &more, body)
    }

    fn abilities_lines(&self) -> String {
        format!("Allow: {ALLOW}\r\nSupported: replaces\r\nUser-Agent: {}\r\n", self.ends.agent)
    }

    /// Writes a request and sends it.
    pub(super) fn request(
        &mut self,
        now: Moment,
        method: &Method,
        purpose: Purpose,
        more: &str,
        body: Option<(&str, &[u8])>,
    ) -> Result<(), LegError> {
        if self.clients.len() >= MAX_REQUESTS && !matches!(purpose, Purpose::Bye | Purpose::Cancel) {
            return Err(LegError::TooMany);
        }
        let sequence = self.sequence.wrapping_add(1) & 0x7fff_ffff;
        let branch = format!("z9hG4bKPj{}", self.tokens.text());
        let target = self.target.clone();
        let bytes = self.write(method, &target, sequence, &branch, more, body);
        self.check_length(&bytes)?;
        self.sequence = sequence;
        if matches!(purpose, Purpose::Call | Purpose::Offer) {
            self.inviting = Some(branch.clone());
        }
        let client = Client::new(now, purpose, sequence, bytes.clone(), self.ends.reliable);
        self.clients.insert(branch, client);
        self.actions.push(Action::Send(bytes));
        Ok(())
    }

    pub(super) const fn check_length(&self, bytes: &Bytes) -> Result<(), LegError> {
        let (length, longest) = (bytes.len(), self.ends.longest);
        if length > longest { Err(LegError::TooLong { length, longest }) } else { Ok(()) }
    }

    fn write(
        &self,
        method: &Method,
        target: &str,
        sequence: u32,
        branch: &str,
        more: &str,
        body: Option<(&str, &[u8])>,
    ) -> Bytes {
        let Ends { via, via_end, contact, agent, .. } = &self.ends;
        let (local, remote, call_id) = (&self.local, &self.remote, &self.call_id);
        let mut text = format!(
            "{method} {target} SIP/2.0\r\nVia: {via};branch={branch}{via_end}\r\nMax-Forwards: 70\r\n"
        );
        for route in &self.route {
            text.push_str(&format!("Route: {route}\r\n"));
        }
        text.push_str(&format!("From: {local}\r\nTo: {remote}\r\n"));
        if [Method::INVITE, Method::REFER].contains(method) {
            text.push_str(&format!("Contact: {contact}\r\n"));
        }
        text.push_str(&format!("Call-ID: {call_id}\r\nCSeq: {sequence} {method}\r\n"));
        if *method == Method::BYE {
            text.push_str(&format!("Contact: {contact}\r\nUser-Agent: {agent}\r\n"));
        }
        text.push_str(more);
        let (kind, body) = body.unwrap_or_default();
        if !kind.is_empty() {
            text.push_str(&format!("Content-Type: {kind}\r\n"));
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(body);
        Bytes::from(bytes)
    }

    pub(super) fn say_bye(&mut self, now: Moment) {
        // Without a body it is never too long, unless the other side's own headers are; then it is not said.
        let _ = self.request(now, &Method::BYE, Purpose::Bye, "", None);
    }

    /// Gives the first INVITE up: under its own number and branch (RFC 3261, 9.1).
    pub(super) fn cancel(&mut self, now: Moment) {
        let Some(branch) = self.inviting.clone() else { return };
        let Some(client) = self.clients.get_mut(&branch) else { return };
        client.give_up(now);
        let sequence = client.sequence;
        let target = self.target.clone();
        let bytes = self.write(&Method::CANCEL, &target, sequence, &branch, "", None);
        let client = Client::new(now, Purpose::Cancel, sequence, bytes.clone(), self.ends.reliable);
        self.clients.insert(cancelling(&branch), client);
        self.actions.push(Action::Send(bytes));
    }

    /// Acknowledges a final response. That to a 2xx is a request of its own; else it is of the INVITE's
    /// transaction.
    pub(super) fn acknowledge(&mut self, invite: &str, sequence: u32, ok: bool, response: &SipMessage) {
        let branch = if ok { format!("z9hG4bKPj{}", self.tokens.text()) } else { invite.to_owned() };
        let target = self.target.clone();
        let remote = response.header(&Name::TO).unwrap_or_default().to_owned();
        let before = std::mem::replace(&mut self.remote, remote);
        let bytes = self.write(&Method::ACK, &target, sequence, &branch, "", None);
        self.remote = before;
        self.acknowledged = Some((invite.to_owned(), bytes.clone()));
        self.actions.push(Action::Send(bytes));
    }

    /// A response in the dialog; to INVITE it says what we can do.
    pub(super) fn response(&self, request: &SipMessage, status: &str, sdp: Option<&[u8]>) -> Option<Bytes> {
        let mut more = String::new();
        if request.is_request(&Method::INVITE) {
            let Ends { agent, contact, .. } = &self.ends;
            more = format!("User-Agent: {agent}\r\nAllow: {ALLOW}\r\n");
            if sdp.is_some() {
                more.push_str("Supported: replaces\r\n");
            }
            more.push_str(&format!("Contact: {contact}\r\n"));
            for route in request.headers.get_raw(&Name::RECORD_ROUTE) {
                more.push_str(&format!("Record-Route: {}\r\n", route.as_str().trim()));
            }
        }
        let sdp = sdp.map(|sdp| (SDP, sdp));
        respond(request, status, Some(&self.local_tag), self.ends.peer, &more, sdp).map(Bytes::from)
    }

    /// Sends our final response to an INVITE, and waits for its acknowledgement.
    pub(super) fn respond_to_invite(&mut self, now: Moment, request: &SipMessage, bytes: Bytes, ok: bool) {
        let sequence = sequence_of(request);
        self.unacknowledged = Some(Repeated::new(now, sequence, ok, bytes.clone(), self.ends.reliable));
        self.remember(request, bytes.clone());
        self.actions.push(Action::Send(bytes));
    }
}

/// Under which name the CANCEL of an INVITE waits: it has the same branch.
pub(super) fn cancelling(branch: &str) -> String {
    format!("{branch} CANCEL")
}

/// The number of a message; 0 if it has none.
pub(super) fn sequence_of(message: &SipMessage) -> u32 {
    let value = message.header(&Name::CSEQ).unwrap_or_default();
    value.split_ascii_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The branch of a message's first `Via`.
pub(super) fn branch_of(message: &SipMessage) -> &str {
    message.header(&Name::VIA).and_then(|via| parameter(via, "branch")).unwrap_or_default()
}
