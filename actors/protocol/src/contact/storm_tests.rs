//! Two people whose requests and confirmations could go on answering each other.

use std::collections::VecDeque;
use std::time::Duration;

use super::*;
use crate::dht::golden;
use crate::ids::{AccountId, ConversationId};
use crate::swarm::message::Mode;
use crate::sync::{ConversationRecord, ConversationRecords};
use crate::time::{Moment, UnixMillis};

const CONVERSATION: ConversationId = ConversationId([7; 20]);

struct Side {
    own: AccountId,
    contacts: ContactList,
    pending: PendingRequests,
    conversations: ConversationRecords,
    pace: AnswerPace,
    sent: usize,
}

impl Side {
    fn new(own: AccountId, other: AccountId) -> Self {
        let mut contacts = ContactList::new(own);
        contacts.add(UnixMillis(1), other, Some(CONVERSATION), false).unwrap();
        let mut conversations = ConversationRecords::default();
        let record = ConversationRecord::new(UnixMillis(1), [own, other], Mode::OneToOne.number());
        conversations.insert(CONVERSATION, record).unwrap();
        let (pending, pace) = (PendingRequests::default(), AnswerPace::default());
        Self { own, contacts, pending, conversations, pace, sent: 0 }
    }

    /// Takes a letter; the answers to it.
    fn receive(
        &mut self,
        now: Moment,
        from: AccountId,
        message: TrustRequestMessage,
    ) -> Vec<TrustRequestMessage> {
        let incoming = Incoming { account: from, device: golden::device_b().public().clone(), message };
        let wall = UnixMillis(1_000_000).plus(now.since(Moment::default()));
        let (contacts, pending) = (&mut self.contacts, &mut self.pending);
        let actions = receive(wall, self.own, contacts, pending, &self.conversations, incoming);
        let mut answers = Vec::new();
        for action in actions {
            if let Action::SendConfirmation { account, conversation } = action
                && self.pace.allows(now, account)
            {
                answers.push(TrustRequestMessage::confirmation(conversation));
            }
        }
        self.sent += answers.len();
        answers
    }
}

#[test]
fn contact_requests_do_not_answer_each_other_for_ever() {
    let people = [AccountId([1; 20]), AccountId([2; 20])];
    let mut sides = [Side::new(people[0], people[1]), Side::new(people[1], people[0])];
    let minutes = 10;
    for second in 0..60 * minutes {
        let now = Moment(Duration::from_secs(second));
        // Both ask at once, a hundred times, and the DHT tells each letter twice.
        let request = || TrustRequestMessage::request(CONVERSATION, b"BEGIN:VCARD", UnixMillis(1_000_000));
        let mut letters: VecDeque<(usize, TrustRequestMessage)> =
            (0..200).map(|number| (number % 2, request())).collect();
        let mut delivered = 0;
        while let Some((to, letter)) = letters.pop_front() {
            delivered += 1;
            assert!(delivered <= 210, "letters answer letters");
            for answer in sides[to].receive(now, people[1 - to], letter) {
                letters.extend([(1 - to, answer.clone()), (1 - to, answer)]);
            }
        }
    }
    let most = usize::try_from(60 * minutes / ANSWER_SPACING.as_secs()).unwrap();
    for side in sides {
        assert!((1..=most).contains(&side.sent), "{} confirmations", side.sent);
    }
}
