//! What the other side answers (`spec: calls 4.2, 7`).

use std::time::Duration;

use ezk_sip_types::Name;
use ezk_sip_types::msg::MessageLine;

use super::client::{Due, Purpose};
use super::requests::{is_uri, offer_of};
use super::write::{branch_of, cancelling, sequence_of};
use super::{Action, End, Leg, Phase};
use crate::sip::fields::uri;
use crate::sip::stream::SipMessage;
use crate::time::Moment;

impl Leg {
    pub(super) fn responded(&mut self, now: Moment, response: &SipMessage) {
        let MessageLine::Response(line) = &response.line else { return };
        let status = line.code.into_u16();
        let branch = branch_of(response).to_owned();
        let is_cancel = response.header(&Name::CSEQ).is_some_and(|it| it.ends_with("CANCEL"));
        let key = if is_cancel { cancelling(&branch) } else { branch.clone() };
        let Some(client) = self.clients.get_mut(&key) else {
            // A final response that came again, because our acknowledgement was lost.
            let again = self.acknowledged.as_ref().filter(|(of, _)| *of == branch && status >= 200);
            return self.actions.extend(again.map(|(_, bytes)| Action::Send(bytes.clone())));
        };
        if client.sequence != sequence_of(response) {
            return;
        }
        if status < 200 {
            client.proceed(now);
            let purpose = client.purpose;
            return self.progressed(now, purpose, status, response);
        }
        let (purpose, sequence) = (client.purpose, client.sequence);
        self.clients.remove(&key);
        match purpose {
            Purpose::Call => self.call_answered(now, &branch, sequence, status, response),
            Purpose::Offer => self.offer_answered(now, &branch, sequence, status, response),
            Purpose::Cancel => {}
            Purpose::Bye => self.settle(now),
            Purpose::Tell => self.told_and_answered(now, status),
            Purpose::Transfer => {
                let result = if status < 300 { Ok(()) } else { Err(status) };
                self.actions.push(Action::Transferred(result));
                self.told_and_answered(now, status);
            }
        }
    }

    fn progressed(&mut self, now: Moment, purpose: Purpose, status: u16, response: &SipMessage) {
        self.abilities.learn(response);
        if purpose != Purpose::Call {
            return;
        }
        match self.phase {
            Phase::Calling => {
                self.phase = Phase::Proceeding;
                self.actions.push(Action::Trying);
            }
            Phase::Cancelling => {
                let branch = self.inviting.clone().unwrap_or_default();
                if !self.clients.contains_key(&cancelling(&branch)) {
                    self.cancel(now);
                }
                return;
            }
            _ => {}
        }
        if status == 180 {
            self.actions.push(Action::Ringing);
        }
    }

    fn call_answered(
        &mut self,
        now: Moment,
        branch: &str,
        sequence: u32,
        status: u16,
        response: &SipMessage,
    ) {
        self.inviting = None;
        if status >= 300 {
            self.acknowledge(branch, sequence, false, response);
            let challenged = matches!(status, 401 | 407);
            if challenged && self.phase != Phase::Cancelling {
                self.actions.push(Action::Challenged(Box::new(response.clone())));
                return;
            }
            let end = match status {
                486 => End::Busy,
                600 | 603 => End::Declined,
                487 => End::Cancelled,
                _ => End::Failed(status),
            };
            return self.end(now, end);
        }
        self.abilities.learn(response);
        self.remote = response.header(&Name::TO).unwrap_or_default().to_owned();
        let contact = uri(response.header(&Name::CONTACT).unwrap_or_default());
        if is_uri(contact) {
            self.target = contact.to_owned();
        }
        let routes = response.headers.get_raw(&Name::RECORD_ROUTE);
        self.route = routes.map(|route| route.as_str().trim().to_owned()).collect();
        self.route.reverse();
        self.acknowledge(branch, sequence, true, response);
        if self.phase == Phase::Cancelling {
            // It was answered while we gave it up.
            self.phase = Phase::Ending;
            return self.say_bye(now);
        }
        self.phase = Phase::Confirmed;
        match offer_of(response) {
            Ok(answer) if answer.is_some() || self.offered.is_none() => {
                self.actions.push(Action::Answered(answer));
                self.confirmed(now);
            }
            _ => self.leave(now, End::BadAnswer),
        }
    }

    fn offer_answered(
        &mut self,
        now: Moment,
        branch: &str,
        sequence: u32,
        status: u16,
        response: &SipMessage,
    ) {
        self.inviting = None;
        self.acknowledge(branch, sequence, status < 300, response);
        if self.phase != Phase::Confirmed {
            return;
        }
        match status {
            ..300 => {
                self.abilities.learn(response);
                match offer_of(response) {
                    Ok(Some(answer)) => self.actions.push(Action::OfferAnswered(answer)),
                    _ => self.actions.push(Action::OfferRefused(status)),
                }
                self.offer_later(now);
            }
            // Both sides offered at once: each waits, and who made the call the longer (RFC 3261, 14.1).
            491 => {
                let chance = self.tokens.fraction();
                let seconds = if self.caller { 2.1 + 1.9 * chance } else { 2.0 * chance };
                self.offer_at = Some(now.plus(Duration::from_secs_f64(seconds)));
                let same = self.offered.clone();
                self.next_offer.get_or_insert(same);
            }
            408 | 481 => self.leave(now, End::Gone),
            _ => {
                self.actions.push(Action::OfferRefused(status));
                self.offer_later(now);
            }
        }
    }

    /// An INFO, MESSAGE or REFER was answered. Daemons answer 500 to messages that they take: of no answer
    /// anything follows, unless it says that the call is not there.
    fn told_and_answered(&mut self, now: Moment, status: u16) {
        if matches!(status, 408 | 481) && self.phase == Phase::Confirmed {
            self.leave(now, End::Gone);
        }
    }

    /// Requests that are sent again, or got no response.
    pub(super) fn clients_tick(&mut self, now: Moment) {
        let branches: Vec<String> = self.clients.keys().cloned().collect();
        for branch in branches {
            match self.clients.get_mut(&branch).map(|client| client.due(now)) {
                Some(Due::Send(bytes)) => self.actions.push(Action::Send(bytes)),
                Some(Due::TimedOut) => self.timed_out(now, &branch),
                Some(Due::Nothing) | None => {}
            }
        }
    }

    fn timed_out(&mut self, now: Moment, branch: &str) {
        let Some(client) = self.clients.remove(branch) else { return };
        match client.purpose {
            Purpose::Call if client.is_proceeding() && self.phase != Phase::Cancelling => {
                // It has rung for too long. The request is still open there, so it is given up in form.
                self.clients.insert(branch.to_owned(), client);
                self.phase = Phase::Cancelling;
                self.cancel(now);
                self.told(End::NoAnswer);
            }
            Purpose::Call => {
                self.inviting = None;
                self.end(now, End::NoAnswer);
            }
            Purpose::Offer => {
                self.inviting = None;
                if self.phase == Phase::Confirmed {
                    self.leave(now, End::Gone);
                }
            }
            Purpose::Tell | Purpose::Transfer if self.phase == Phase::Confirmed => self.leave(now, End::Gone),
            Purpose::Tell | Purpose::Transfer | Purpose::Cancel | Purpose::Bye => {}
        }
    }
}
