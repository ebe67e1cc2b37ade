//! What a received trust request changes: steps 6 to 9 of `spec: contacts 2.3`.
//!
//! The steps before are those of [`trust::admit`](crate::contact::admit): the sender's chain is
//! verified, and neither device, account nor authority is banned. Everything here is idempotent,
//! because requests arrive several times.

use crate::contact::list::{Change, ContactList, Standing};
use crate::contact::message::TrustRequestMessage;
use crate::contact::pending::{PendingRequest, PendingRequests, Recorded};
use crate::ids::{AccountId, ConversationId};
use crate::keys::PublicKey;
use crate::sync::ConversationRecords;
use crate::time::UnixMillis;

/// How far in the future an invitation may say it was issued, in milliseconds (5 minutes).
pub const MAX_INVITE_SKEW: i64 = 300_000;

/// A request whose sender is certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The account whose device signed it, by its verified chain.
    pub account: AccountId,
    /// The key that signed it.
    pub device: PublicKey,
    /// The message.
    pub message: TrustRequestMessage,
}

/// What is to be done about a request. The list and the pending requests are changed already and
/// are to be written to disk when there is an action other than [`Action::Ignore`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// A contact is confirmed now: tell the user and own devices.
    ContactConfirmed(Change),
    /// Answer with a confirmation at each device of the account.
    SendConfirmation {
        /// The account.
        account: AccountId,
        /// The conversation that is confirmed.
        conversation: Option<ConversationId>,
    },
    /// Our own request was accepted: do not repeat it any more.
    ForgetOutgoing {
        /// The account.
        account: AccountId,
    },
    /// Ask the user.
    RaiseRequest {
        /// Who asks.
        account: AccountId,
        /// The conversation of the two; none in requests of very old clients.
        conversation: Option<ConversationId>,
        /// vCard of the one who asks; may be empty or no vCard at all.
        payload: Vec<u8>,
        /// When the invitation was issued or, if that is unknown or in the future, received.
        received: UnixMillis,
    },
    /// A contact has a conversation with us that we lack: fetch it. If it is not the one that we asked
    /// for, the contact is no more confirmed than before; it goes on in this one when it is here and
    /// the contact has joined it. Daemons of 2023 name one from before when they were removed here and
    /// not told (M).
    CloneConversation {
        /// The contact.
        account: AccountId,
        /// The conversation.
        conversation: ConversationId,
    },
    /// Nothing, and nobody is told.
    Ignore(IgnoreReason),
}

/// Why a request changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IgnoreReason {
    /// It came from our own account.
    Own,
    /// The account is banned.
    Banned,
    /// A confirmation of what we have not asked for, or no longer want.
    UnaskedConfirmation,
    /// The conversation is here already, or was left, or is that of others.
    KnownConversation,
    /// A request of this account waits that is no earlier.
    Duplicate,
    /// A later request of this account says what the one before said.
    Repeated,
    /// Too many requests wait; it will come again.
    Full,
}

/// Takes in a request from the DHT. Of `conversations`, one that was removed may come back if it was
/// that of the two alone. `own` is our account.
pub fn receive(
    now: UnixMillis,
    own: AccountId,
    contacts: &mut ContactList,
    pending: &mut PendingRequests,
    conversations: &ConversationRecords,
    incoming: Incoming,
) -> Vec<Action> {
    let Incoming { account, device, message } = incoming;
    let conversation = message.conversation;
    if account == own {
        return ignore(IgnoreReason::Own);
    }
    match contacts.standing(account) {
        Standing::Banned => ignore(IgnoreReason::Banned),
        Standing::Active { confirmed } if message.confirm => {
            let asked = contacts.get(account).and_then(|contact| contact.conversation);
            let elsewhere = conversation.filter(|it| !confirmed && asked.is_some_and(|asked| asked != *it));
            match elsewhere {
                // It may be from before, or anybody's copy of one from before: it shows nothing yet.
                Some(_) => clone(own, account, elsewhere, conversations)
                    .map_or_else(|| ignore(IgnoreReason::KnownConversation), |action| vec![action]),
                None => {
                    let mut actions = confirm(contacts, pending, account);
                    actions.push(Action::ForgetOutgoing { account });
                    actions
                }
            }
        }
        Standing::Active { .. } => {
            let mut actions = confirm(contacts, pending, account);
            actions.push(Action::SendConfirmation { account, conversation });
            actions.extend(clone(own, account, conversation, conversations));
            actions
        }
        Standing::Unknown | Standing::Removed if message.confirm => ignore(IgnoreReason::UnaskedConfirmation),
        Standing::Unknown | Standing::Removed => {
            let not_after = now.0.saturating_add(MAX_INVITE_SKEW);
            let invited = message.known_invited().filter(|invited| invited.0 <= not_after);
            let payload = message.payload;
            let request =
                PendingRequest { device: Some(device), conversation, received: now, payload, invited };
            record(own, pending, account, request, conversations)
        }
    }
}

/// Takes in a request that another own device has received (`spec: sync 5.3`). No confirmation is
/// sent: the device that the request came to does that.
pub fn receive_synced(
    own: AccountId,
    contacts: &mut ContactList,
    pending: &mut PendingRequests,
    conversations: &ConversationRecords,
    account: AccountId,
    request: PendingRequest,
) -> Vec<Action> {
    if account == own {
        return ignore(IgnoreReason::Own);
    }
    match contacts.standing(account) {
        Standing::Banned => ignore(IgnoreReason::Banned),
        Standing::Active { .. } => {
            let mut actions = confirm(contacts, pending, account);
            actions.extend(clone(own, account, request.conversation, conversations));
            actions
        }
        Standing::Unknown | Standing::Removed => record(own, pending, account, request, conversations),
    }
}

fn ignore(reason: IgnoreReason) -> Vec<Action> {
    vec![Action::Ignore(reason)]
}

fn confirm(contacts: &mut ContactList, pending: &mut PendingRequests, account: AccountId) -> Vec<Action> {
    pending.remove(account);
    contacts.confirm(account).map(Action::ContactConfirmed).into_iter().collect()
}

/// Fetches a conversation that a contact names, unless it is here, or was left and others have yet to
/// learn of that, or is not one of the two alone: nobody brings us back into what we left.
fn clone(
    own: AccountId,
    account: AccountId,
    conversation: Option<ConversationId>,
    conversations: &ConversationRecords,
) -> Option<Action> {
    let conversation = conversation?;
    let may_fetch = conversations
        .get(conversation)
        .is_none_or(|record| record.is_removed() && !record.is_leaving() && record.is_between(own, account));
    may_fetch.then_some(Action::CloneConversation { account, conversation })
}

/// Whether a request names a conversation that is here already, or was left, or is that of others.
pub(crate) fn is_for_known_conversation(
    own: AccountId,
    account: AccountId,
    conversation: Option<ConversationId>,
    conversations: &ConversationRecords,
) -> bool {
    let known = conversation.and_then(|id| conversations.get(id));
    known.is_some_and(|record| !record.is_removed() || !record.is_between(own, account))
}

fn record(
    own: AccountId,
    pending: &mut PendingRequests,
    account: AccountId,
    request: PendingRequest,
    conversations: &ConversationRecords,
) -> Vec<Action> {
    let conversation = request.conversation;
    if is_for_known_conversation(own, account, conversation, conversations) {
        return ignore(IgnoreReason::KnownConversation);
    }
    let (payload, received) = (request.payload.clone(), request.order_time());
    match pending.record(account, request) {
        Recorded::New | Recorded::Replaced => {
            vec![Action::RaiseRequest { account, conversation, payload, received }]
        }
        Recorded::Repeated => ignore(IgnoreReason::Repeated),
        Recorded::Duplicate => ignore(IgnoreReason::Duplicate),
        Recorded::Full => ignore(IgnoreReason::Full),
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use proptest::prelude::*;

    use super::*;
    use crate::contact::MAX_PENDING;
    use crate::contact::tests::numbered;
    use crate::dht::golden;
    use crate::swarm::message::Mode;
    use crate::sync::ConversationRecord;

    const OWN: AccountId = AccountId([0xaa; 20]);
    const PEER: AccountId = AccountId([1; 20]);
    const CONVERSATION: ConversationId = ConversationId([7; 20]);
    const OTHER: ConversationId = ConversationId([8; 20]);
    const NOW: UnixMillis = UnixMillis(1_000_000_000);

    struct Bench {
        contacts: ContactList,
        pending: PendingRequests,
        conversations: ConversationRecords,
    }

    impl Bench {
        fn new() -> Self {
            let (pending, conversations) = (PendingRequests::default(), ConversationRecords::default());
            Self { contacts: ContactList::new(OWN), pending, conversations }
        }

        fn with_contact() -> Self {
            let mut bench = Self::new();
            bench.contacts.add(UnixMillis(1), PEER, Some(CONVERSATION), false).unwrap();
            bench.has(CONVERSATION, [OWN, PEER], Mode::OneToOne);
            bench
        }

        fn has(&mut self, id: ConversationId, members: impl IntoIterator<Item = AccountId>, mode: Mode) {
            let record = ConversationRecord::new(UnixMillis(1), members, mode.number());
            self.conversations.insert(id, record).unwrap();
        }

        /// The conversation was left; its copy is here until it is erased.
        fn left(&mut self, id: ConversationId, erased: bool) {
            let record = self.conversations.get_mut(id).unwrap();
            record.removed = UnixMillis(2);
            record.erased = UnixMillis(if erased { 2 } else { 0 });
        }

        fn receive(&mut self, account: AccountId, message: TrustRequestMessage) -> Vec<Action> {
            let device = golden::device_b().public().clone();
            let incoming = Incoming { account, device, message };
            receive(NOW, OWN, &mut self.contacts, &mut self.pending, &self.conversations, incoming)
        }
    }

    fn request(invited: i64) -> TrustRequestMessage {
        TrustRequestMessage::request(CONVERSATION, b"BEGIN:VCARD", UnixMillis(invited))
    }

    fn confirmation() -> TrustRequestMessage {
        TrustRequestMessage::confirmation(Some(CONVERSATION))
    }

    fn raised(received: i64) -> Vec<Action> {
        vec![Action::RaiseRequest {
            account: PEER,
            conversation: Some(CONVERSATION),
            payload: b"BEGIN:VCARD".to_vec(),
            received: UnixMillis(received),
        }]
    }

    fn confirmed() -> Action {
        Action::ContactConfirmed(Change {
            account: PEER,
            before: Standing::Active { confirmed: false },
            after: Standing::Active { confirmed: true },
        })
    }

    #[test]
    fn a_request_of_a_stranger_is_raised_once() {
        let mut bench = Bench::new();
        assert_eq!(bench.receive(PEER, request(5000)), raised(5000));
        assert_eq!(bench.receive(PEER, request(5000)), ignore(IgnoreReason::Duplicate));
        for later in 5010..6000 {
            assert_eq!(bench.receive(PEER, request(later)), ignore(IgnoreReason::Repeated));
        }
        let other = TrustRequestMessage { conversation: Some(OTHER), ..request(6000) };
        assert!(matches!(bench.receive(PEER, other)[..], [Action::RaiseRequest { .. }]));
        assert_eq!(bench.pending.iter().count(), 1);
    }

    #[test]
    fn an_invitation_from_the_future_or_of_unknown_time_counts_as_received_now() {
        for invited in [0, -5, NOW.0 + MAX_INVITE_SKEW + 1, i64::MAX] {
            assert_eq!(Bench::new().receive(PEER, request(invited)), raised(NOW.0));
        }
        let skewed = NOW.0 + MAX_INVITE_SKEW;
        assert_eq!(Bench::new().receive(PEER, request(skewed)), raised(skewed));
    }

    #[test]
    fn a_request_of_a_contact_is_confirmed_and_its_conversation_fetched() {
        let mut bench = Bench::with_contact();
        let answer = Action::SendConfirmation { account: PEER, conversation: Some(CONVERSATION) };
        assert_eq!(bench.receive(PEER, request(1)), [confirmed(), answer.clone()]);
        assert_eq!(bench.receive(PEER, request(1)), [answer]);
        let other = ConversationId([8; 20]);
        let message = TrustRequestMessage { conversation: Some(other), ..request(1) };
        let actions = bench.receive(PEER, message);
        assert_eq!(actions.last(), Some(&Action::CloneConversation { account: PEER, conversation: other }));
    }

    #[test]
    fn a_confirmation_confirms_and_is_never_answered() {
        let mut bench = Bench::with_contact();
        let forget = Action::ForgetOutgoing { account: PEER };
        assert_eq!(bench.receive(PEER, confirmation()), [confirmed(), forget.clone()]);
        assert_eq!(bench.receive(PEER, confirmation()), [forget]);
        assert_eq!(Bench::new().receive(PEER, confirmation()), ignore(IgnoreReason::UnaskedConfirmation));
    }

    fn confirmation_of(conversation: ConversationId) -> TrustRequestMessage {
        TrustRequestMessage::confirmation(Some(conversation))
    }

    fn fetch(conversation: ConversationId) -> Action {
        Action::CloneConversation { account: PEER, conversation }
    }

    #[test]
    fn a_confirmation_that_names_another_conversation_has_it_fetched_and_decides_nothing() {
        for from_before in [false, true] {
            let mut bench = Bench::with_contact();
            if from_before {
                bench.has(OTHER, [OWN, PEER], Mode::OneToOne);
                bench.left(OTHER, true);
            }
            assert_eq!(bench.receive(PEER, confirmation_of(OTHER)), [fetch(OTHER)]);
            let contact = *bench.contacts.get(PEER).unwrap();
            assert_eq!((contact.conversation, contact.confirmed), (Some(CONVERSATION), false));
            let forget = Action::ForgetOutgoing { account: PEER };
            assert_eq!(bench.receive(PEER, confirmation()), [confirmed(), forget.clone()]);
            assert_eq!(bench.receive(PEER, confirmation_of(OTHER)), [forget], "it is agreed upon");
            assert_eq!(bench.contacts.get(PEER).unwrap().conversation, Some(CONVERSATION));
        }
    }

    #[test]
    fn a_contact_does_not_bind_itself_to_a_conversation_with_others() {
        let third = AccountId([3; 20]);
        let groups = [(vec![OWN, PEER, third], Mode::InvitesOnly), (vec![OWN, PEER], Mode::InvitesOnly)];
        for (members, mode) in groups.into_iter().chain([(vec![OWN, third], Mode::OneToOne)]) {
            for left in [None, Some(false), Some(true)] {
                let mut bench = Bench::with_contact();
                bench.has(OTHER, members.clone(), mode);
                left.into_iter().for_each(|erased| bench.left(OTHER, erased));
                let known = ignore(IgnoreReason::KnownConversation);
                assert_eq!(bench.receive(PEER, confirmation_of(OTHER)), known);
                let contact = bench.contacts.get(PEER).unwrap();
                assert_eq!((contact.conversation, contact.confirmed), (Some(CONVERSATION), false));
                bench.contacts.remove(UnixMillis(2), PEER, false).unwrap();
                let message = TrustRequestMessage { conversation: Some(OTHER), ..request(5000) };
                assert_eq!(bench.receive(PEER, message), known, "accepting it would bind it too");
            }
        }
    }

    #[test]
    fn a_contact_does_not_bring_us_back_into_what_we_left() {
        let answer = Action::SendConfirmation { account: PEER, conversation: Some(OTHER) };
        let message = TrustRequestMessage { conversation: Some(OTHER), ..request(5000) };
        let mut bench = Bench::with_contact();
        bench.has(OTHER, [OWN, PEER], Mode::InvitesOnly);
        bench.left(OTHER, true);
        assert_eq!(bench.receive(PEER, message.clone()), [confirmed(), answer.clone()], "a group");
        bench.has(OTHER, [OWN, PEER], Mode::OneToOne);
        bench.left(OTHER, false);
        assert_eq!(
            bench.receive(PEER, message.clone()),
            slice::from_ref(&answer),
            "others have to learn of it"
        );
        bench.left(OTHER, true);
        assert_eq!(bench.receive(PEER, message), [answer, fetch(OTHER)]);
    }

    #[test]
    fn who_was_removed_may_ask_again_for_the_same_conversation() {
        let mut bench = Bench::with_contact();
        bench.contacts.remove(UnixMillis(2), PEER, false).unwrap();
        bench.left(CONVERSATION, true);
        assert_eq!(bench.receive(PEER, request(5000)), raised(5000));
        bench.contacts.add(UnixMillis(3), PEER, Some(ConversationId([8; 20])), false).unwrap();
        let fetch = Action::CloneConversation { account: PEER, conversation: CONVERSATION };
        assert_eq!(bench.receive(PEER, request(6000)).last(), Some(&fetch), "we ask each other");
    }

    #[test]
    fn banned_accounts_and_the_own_account_are_ignored() {
        let mut bench = Bench::with_contact();
        bench.contacts.remove(UnixMillis(2), PEER, true).unwrap();
        assert_eq!(bench.receive(PEER, request(1)), ignore(IgnoreReason::Banned));
        assert_eq!(bench.receive(PEER, confirmation()), ignore(IgnoreReason::Banned));
        assert_eq!(bench.receive(OWN, request(1)), ignore(IgnoreReason::Own));
        assert_eq!(bench.pending, PendingRequests::default());
    }

    #[test]
    fn a_request_without_conversation_is_raised_and_one_for_a_known_conversation_is_not() {
        let mut bench = Bench::new();
        let old_style = TrustRequestMessage { conversation: None, ..request(0) };
        let actions = bench.receive(PEER, old_style);
        assert!(matches!(actions[..], [Action::RaiseRequest { conversation: None, .. }]));
        bench.has(CONVERSATION, [OWN, PEER], Mode::OneToOne);
        assert_eq!(bench.receive(PEER, request(1)), ignore(IgnoreReason::KnownConversation));
    }

    #[test]
    fn strangers_without_number_do_not_fill_the_memory() {
        let mut bench = Bench::new();
        for number in 0..MAX_PENDING {
            assert_ne!(bench.receive(numbered(number), request(1)), ignore(IgnoreReason::Full));
        }
        assert_eq!(bench.receive(PEER, request(1)), ignore(IgnoreReason::Full));
    }

    #[test]
    fn a_request_told_by_an_own_device_is_raised_but_not_answered() {
        let told = PendingRequest {
            device: None,
            conversation: Some(ConversationId([8; 20])),
            received: UnixMillis(5),
            payload: Vec::new(),
            invited: None,
        };
        let mut bench = Bench::new();
        let tell = |bench: &mut Bench| {
            let (contacts, pending) = (&mut bench.contacts, &mut bench.pending);
            receive_synced(OWN, contacts, pending, &ConversationRecords::default(), PEER, told.clone())
        };
        assert!(matches!(tell(&mut bench)[..], [Action::RaiseRequest { .. }]));
        assert_eq!(tell(&mut bench), ignore(IgnoreReason::Duplicate));
        bench = Bench::with_contact();
        let conversation = ConversationId([8; 20]);
        let fetch = Action::CloneConversation { account: PEER, conversation };
        assert_eq!(tell(&mut bench), [confirmed(), fetch]);
    }

    proptest! {
        /// Two accounts that answer each other come to rest whatever their states are.
        #[test]
        fn requests_do_not_answer_each_other_forever(
            one_knows in any::<bool>(), other_knows in any::<bool>(), confirm in any::<bool>(),
        ) {
            let mut sides = [Bench::new(), Bench::new()];
            for (side, knows) in sides.iter_mut().zip([one_knows, other_knows]) {
                if knows {
                    *side = Bench::with_contact();
                }
            }
            let mut message = Some(if confirm { confirmation() } else { request(1) });
            let mut sent = 0;
            let mut turn = 0;
            while let Some(current) = message.take() {
                sent += 1;
                prop_assert!(sent <= 2);
                for action in sides[turn].receive(PEER, current) {
                    if let Action::SendConfirmation { conversation, .. } = action {
                        message = Some(TrustRequestMessage::confirmation(conversation));
                    }
                }
                turn = 1 - turn;
            }
        }
    }
}
