//! Requests that were sent and not answered yet: they are repeated when the other one comes online
//! (`spec: contacts 2.4`).
//!
//! A request lives ten minutes on the DHT, so it reaches only who is there. Each time a contact
//! comes online it gets the request once more, with waits between that grow from
//! [`FIRST_WAIT`] to [`LONGEST_WAIT`]: a device that comes and goes all the time costs little.
//! Confirmations are answers; [`AnswerPace`] spaces them out.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::contact::message::TrustRequestMessage;
use crate::ids::{AccountId, ConversationId};
use crate::msgpack::{self, DecodeError, Value as Object};
use crate::time::{Moment, UnixMillis};

/// Shortest time between two sendings of one request.
pub const FIRST_WAIT: Duration = Duration::from_secs(30);

/// Longest time between two sendings of one request to a contact that comes online.
pub const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Requests without answer at one time.
pub const MAX_OUTGOING: usize = 1000;

/// Largest file read in bytes: [`MAX_OUTGOING`] requests with a vCard each.
pub const MAX_OUTGOING_FILE: usize = MAX_OUTGOING * 65_536;

/// Shortest time between two confirmations to one account.
pub const ANSWER_SPACING: Duration = Duration::from_secs(10);

/// Why a request is not kept, or the file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutgoingError {
    /// [`MAX_OUTGOING`] is reached.
    #[error("{MAX_OUTGOING} requests wait for an answer already: remove contacts that never came")]
    Full,
    /// The file is not MessagePack.
    #[error("the file of sent requests cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// The file is no map.
    #[error("the file of sent requests holds no map")]
    NotAMap,
}

/// What is sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingRequest {
    /// The conversation of the two.
    pub conversation: ConversationId,
    /// vCard as it was sent first.
    pub payload: Vec<u8>,
    /// When the invitation was issued.
    pub invited: UnixMillis,
}

impl OutgoingRequest {
    /// The message to each device of the account.
    #[must_use]
    pub fn message(&self) -> TrustRequestMessage {
        TrustRequestMessage::request(self.conversation, &self.payload, self.invited)
    }
}

#[derive(Clone, Debug)]
struct Entry {
    request: OutgoingRequest,
    /// Whether the account came online since the request was sent last.
    wanted: bool,
    not_before: Moment,
    wait: Duration,
}

/// The requests of an account that wait for an answer, one per contact.
#[derive(Clone, Debug, Default)]
pub struct OutgoingRequests {
    entries: BTreeMap<AccountId, Entry>,
}

impl OutgoingRequests {
    /// Notes that a request is being sent for the first time. It takes the place of an older one.
    ///
    /// # Errors
    /// [`OutgoingError::Full`]: the request is sent but will not be repeated.
    pub fn sent(
        &mut self,
        now: Moment,
        account: AccountId,
        request: OutgoingRequest,
    ) -> Result<(), OutgoingError> {
        if self.entries.len() >= MAX_OUTGOING && !self.entries.contains_key(&account) {
            return Err(OutgoingError::Full);
        }
        let entry = Entry { request, wanted: false, not_before: now.plus(FIRST_WAIT), wait: FIRST_WAIT };
        self.entries.insert(account, entry);
        Ok(())
    }

    /// Whether somebody is asked, again and again.
    #[must_use]
    pub fn contains(&self, account: AccountId) -> bool {
        self.entries.contains_key(&account)
    }

    /// Stops to repeat: the account accepted, or is no longer wanted.
    pub fn forget(&mut self, account: AccountId) -> Option<OutgoingRequest> {
        self.entries.remove(&account).map(|entry| entry.request)
    }

    /// Notes that the account came online: its request is due as soon as the wait is over.
    pub fn came_online(&mut self, account: AccountId) {
        self.want(account, true);
    }

    /// Notes that the account is gone: nothing is due until it comes again.
    pub fn went_offline(&mut self, account: AccountId) {
        self.want(account, false);
    }

    fn want(&mut self, account: AccountId, wanted: bool) {
        if let Some(entry) = self.entries.get_mut(&account) {
            entry.wanted = wanted;
        }
    }

    /// The requests to send again now; each is due no more until its account comes online again.
    pub fn due(&mut self, now: Moment) -> Vec<(AccountId, TrustRequestMessage)> {
        let mut due = Vec::new();
        for (account, entry) in &mut self.entries {
            if entry.wanted && entry.not_before <= now {
                entry.wanted = false;
                entry.wait = entry.wait.saturating_mul(2).min(LONGEST_WAIT);
                entry.not_before = now.plus(entry.wait);
                due.push((*account, entry.request.message()));
            }
        }
        due
    }

    /// When the next request is due, if contacts stay as they are.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.entries.values().filter(|entry| entry.wanted).map(|entry| entry.not_before).min()
    }

    /// The requests by rising account id.
    pub fn iter(&self) -> impl Iterator<Item = (AccountId, &OutgoingRequest)> {
        self.entries.iter().map(|(account, entry)| (*account, &entry.request))
    }

    /// The file of sent requests; a file of our own.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let entries = self.iter().map(|(account, request)| {
            let request = Object::map([
                ("conversationId", Object::text(&request.conversation.to_hex())),
                ("payload", Object::binary(&request.payload)),
                ("invitedMs", Object::from(request.invited.0)),
            ]);
            (Object::binary(&account.0), request)
        });
        Object::Map(entries.collect()).encode()
    }

    /// Reads a file of sent requests; each may be sent again at once. Wrong entries are skipped.
    ///
    /// # Errors
    /// When it is no map at all.
    pub fn decode(file: &[u8]) -> Result<Self, OutgoingError> {
        let (object, _) = msgpack::decode(file, MAX_OUTGOING_FILE)?;
        let entries = object.as_map().ok_or(OutgoingError::NotAMap)?;
        let read = |(account, request): &(Object, Object)| {
            let account = AccountId::from_bytes(account.as_binary()?)?;
            let request = OutgoingRequest {
                conversation: request.get("conversationId")?.as_text()?.parse().ok()?,
                payload: request.get("payload")?.as_binary()?.to_vec(),
                invited: UnixMillis(request.get("invitedMs")?.as_signed()?),
            };
            let (not_before, wait) = (Moment::default(), FIRST_WAIT);
            Some((account, Entry { request, wanted: false, not_before, wait }))
        };
        Ok(Self { entries: entries.iter().filter_map(read).take(MAX_OUTGOING).collect() })
    }
}

/// Spaces out confirmations: a contact that repeats its request does not make us work each time.
#[derive(Clone, Debug, Default)]
pub struct AnswerPace {
    last: BTreeMap<AccountId, Moment>,
}

impl AnswerPace {
    /// Whether a confirmation may be sent to the account now; if so, it counts as sent.
    pub fn allows(&mut self, now: Moment, account: AccountId) -> bool {
        self.last.retain(|_, last| now.since(*last) < ANSWER_SPACING);
        if self.last.contains_key(&account) {
            return false;
        }
        self.last.insert(account, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contact::tests::numbered;

    const PEER: AccountId = AccountId([1; 20]);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn request() -> OutgoingRequest {
        OutgoingRequest {
            conversation: ConversationId([7; 20]),
            payload: b"BEGIN:VCARD".to_vec(),
            invited: UnixMillis(5),
        }
    }

    #[test]
    fn a_request_is_repeated_unchanged_when_the_contact_comes_online() {
        let mut outgoing = OutgoingRequests::default();
        outgoing.sent(at(0), PEER, request()).unwrap();
        assert_eq!(outgoing.due(at(1000)), []);
        outgoing.came_online(PEER);
        assert_eq!(outgoing.due(at(1000)), [(PEER, request().message())]);
        assert_eq!(outgoing.due(at(9000)), []);
        assert_eq!(outgoing.forget(PEER), Some(request()));
        outgoing.came_online(PEER);
        assert_eq!(outgoing.due(at(9999)), []);
    }

    #[test]
    fn a_contact_that_comes_and_goes_gets_the_request_ever_less_often() {
        let mut outgoing = OutgoingRequests::default();
        outgoing.sent(at(0), PEER, request()).unwrap();
        let mut sent = Vec::new();
        for now in 0..20_000 {
            outgoing.went_offline(PEER);
            outgoing.came_online(PEER);
            if !outgoing.due(at(now)).is_empty() {
                sent.push(now);
            }
        }
        assert_eq!(sent, [30, 90, 210, 450, 930, 1890, 3810, 7410, 11_010, 14_610, 18_210]);
    }

    #[test]
    fn nothing_is_due_while_the_contact_is_away() {
        let mut outgoing = OutgoingRequests::default();
        outgoing.sent(at(0), PEER, request()).unwrap();
        outgoing.came_online(PEER);
        assert_eq!(outgoing.next_deadline(), Some(at(30)));
        outgoing.went_offline(PEER);
        assert_eq!(outgoing.next_deadline(), None);
        assert_eq!(outgoing.due(at(31)), []);
    }

    #[test]
    fn sent_requests_survive_their_file_and_wrong_entries_are_skipped() {
        let mut outgoing = OutgoingRequests::default();
        outgoing.sent(at(0), PEER, request()).unwrap();
        let mut restored = OutgoingRequests::decode(&outgoing.encode()).unwrap();
        assert!(outgoing.iter().eq(restored.iter()));
        restored.came_online(PEER);
        assert_eq!(restored.due(at(0)), [(PEER, request().message())]);

        let wrong = Object::Map(vec![(Object::binary(&PEER.0), Object::Nil)]);
        assert_eq!(OutgoingRequests::decode(&wrong.encode()).unwrap().iter().count(), 0);
        assert!(matches!(OutgoingRequests::decode(b"\x01"), Err(OutgoingError::NotAMap)));
    }

    #[test]
    fn the_number_of_sent_requests_is_bounded() {
        let mut outgoing = OutgoingRequests::default();
        for number in 0..MAX_OUTGOING {
            outgoing.sent(at(0), numbered(number), request()).unwrap();
        }
        assert_eq!(outgoing.sent(at(0), PEER, request()), Err(OutgoingError::Full));
    }

    #[test]
    fn confirmations_to_one_account_are_spaced_out() {
        let mut pace = AnswerPace::default();
        assert!(pace.allows(at(0), PEER));
        assert!(!pace.allows(at(9), PEER));
        assert!(pace.allows(at(9), AccountId([2; 20])));
        assert!(pace.allows(at(10), PEER));
    }
}
