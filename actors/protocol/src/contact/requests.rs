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
    /// A confirmed contact has a conversation with us that we lack: fetch it.
    CloneConversation {
        /// The contact.
        account: AccountId,
        /// The conversation.
        conversation: ConversationId,
    },
    /// A contact accepts, but goes on in another conversation with us than the one we made: that is
    /// the contact's now, and to be fetched if it is not here. Daemons of 2023 do so when they were
    /// removed here and not told (M).
    GoOnElsewhere {
        /// The contact.
        account: AccountId,
        /// The conversation that the contact names.
        conversation: ConversationId,
        /// The one that nobody will join.
        unused: ConversationId,
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
    /// The conversation is here already.
    KnownConversation,
    /// A request of this account waits that is no earlier.
    Duplicate,
    /// Too many requests wait; it will come again.
    Full,
}

/// Takes in a request from the DHT. `is_here` tells whether we have a conversation, or are fetching
/// it; one that was removed may come back. `own` is our account.
pub fn receive(
    now: UnixMillis,
    own: AccountId,
    contacts: &mut ContactList,
    pending: &mut PendingRequests,
    is_here: impl Fn(ConversationId) -> bool,
    incoming: Incoming,
) -> Vec<Action> {
    let Incoming { account, device, message } = incoming;
    let conversation = message.conversation;
    if account == own {
        return ignore(IgnoreReason::Own);
    }
    match contacts.standing(account) {
        Standing::Banned => ignore(IgnoreReason::Banned),
        Standing::Active { .. } => {
            let mut actions = confirm(contacts, pending, account);
            if message.confirm {
                let is_first = !actions.is_empty();
                actions.push(Action::ForgetOutgoing { account });
                actions.extend(
                    conversation.filter(|_| is_first).and_then(|it| go_on(now, contacts, account, it)),
                );
            } else {
                actions.push(Action::SendConfirmation { account, conversation });
                actions.extend(clone(account, conversation, is_here));
            }
            actions
        }
        Standing::Unknown | Standing::Removed if message.confirm => ignore(IgnoreReason::UnaskedConfirmation),
        Standing::Unknown | Standing::Removed => {
            let not_after = now.0.saturating_add(MAX_INVITE_SKEW);
            let invited = message.known_invited().filter(|invited| invited.0 <= not_after);
            let payload = message.payload;
            let request =
                PendingRequest { device: Some(device), conversation, received: now, payload, invited };
            record(pending, account, request, is_here)
        }
    }
}

/// Takes in a request that another own device has received (`spec: sync 5.3`). No confirmation is
/// sent: the device that the request came to does that.
pub fn receive_synced(
    own: AccountId,
    contacts: &mut ContactList,
    pending: &mut PendingRequests,
    is_here: impl Fn(ConversationId) -> bool,
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
            actions.extend(clone(account, request.conversation, is_here));
            actions
        }
        Standing::Unknown | Standing::Removed => record(pending, account, request, is_here),
    }
}

fn ignore(reason: IgnoreReason) -> Vec<Action> {
    vec![Action::Ignore(reason)]
}

fn confirm(contacts: &mut ContactList, pending: &mut PendingRequests, account: AccountId) -> Vec<Action> {
    pending.remove(account);
    contacts.confirm(account).map(Action::ContactConfirmed).into_iter().collect()
}

fn clone(
    account: AccountId,
    conversation: Option<ConversationId>,
    is_here: impl Fn(ConversationId) -> bool,
) -> Option<Action> {
    let conversation = conversation.filter(|conversation| !is_here(*conversation))?;
    Some(Action::CloneConversation { account, conversation })
}

/// A contact that was not confirmed until now names the conversation it has with us.
fn go_on(
    now: UnixMillis,
    contacts: &mut ContactList,
    account: AccountId,
    conversation: ConversationId,
) -> Option<Action> {
    let unused = contacts.get(account)?.conversation.filter(|own| *own != conversation)?;
    contacts.add(now, account, Some(conversation), true).ok()?;
    Some(Action::GoOnElsewhere { account, conversation, unused })
}

fn record(
    pending: &mut PendingRequests,
    account: AccountId,
    request: PendingRequest,
    is_here: impl Fn(ConversationId) -> bool,
) -> Vec<Action> {
    let conversation = request.conversation;
    if conversation.is_some_and(is_here) {
        return ignore(IgnoreReason::KnownConversation);
    }
    let (payload, received) = (request.payload.clone(), request.order_time());
    match pending.record(account, request) {
        Recorded::New | Recorded::Replaced => {
            vec![Action::RaiseRequest { account, conversation, payload, received }]
        }
        Recorded::Duplicate => ignore(IgnoreReason::Duplicate),
        Recorded::Full => ignore(IgnoreReason::Full),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::contact::MAX_PENDING;
    use crate::contact::tests::numbered;
    use crate::dht::golden;

    const OWN: AccountId = AccountId([0xaa; 20]);
    const PEER: AccountId = AccountId([1; 20]);
    const CONVERSATION: ConversationId = ConversationId([7; 20]);
    const NOW: UnixMillis = UnixMillis(1_000_000_000);

    struct Bench {
        contacts: ContactList,
        pending: PendingRequests,
        /// Whether [`CONVERSATION`] is here.
        is_here: bool,
    }

    impl Bench {
        fn new() -> Self {
            Self { contacts: ContactList::new(OWN), pending: PendingRequests::default(), is_here: false }
        }

        fn with_contact() -> Self {
            let mut bench = Self::new();
            bench.contacts.add(UnixMillis(1), PEER, Some(CONVERSATION), false).unwrap();
            bench.is_here = true;
            bench
        }

        fn receive(&mut self, account: AccountId, message: TrustRequestMessage) -> Vec<Action> {
            let device = golden::device_b().public().clone();
            let incoming = Incoming { account, device, message };
            let is_here = self.is_here;
            let is_here = |id| is_here && id == CONVERSATION;
            receive(NOW, OWN, &mut self.contacts, &mut self.pending, is_here, incoming)
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
        assert_eq!(bench.receive(PEER, request(5010)), raised(5010));
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

    #[test]
    fn a_first_confirmation_decides_in_which_conversation_to_go_on() {
        let (mut bench, other) = (Bench::with_contact(), ConversationId([8; 20]));
        let elsewhere = TrustRequestMessage::confirmation(Some(other));
        let forget = Action::ForgetOutgoing { account: PEER };
        let go_on = Action::GoOnElsewhere { account: PEER, conversation: other, unused: CONVERSATION };
        assert_eq!(bench.receive(PEER, elsewhere), [confirmed(), forget.clone(), go_on]);
        let contact = |bench: &Bench| *bench.contacts.get(PEER).unwrap();
        assert!(contact(&bench).conversation == Some(other) && contact(&bench).confirmed);
        assert_eq!(bench.receive(PEER, confirmation()), [forget], "it is agreed upon");
        assert_eq!(contact(&bench).conversation, Some(other));
    }

    #[test]
    fn who_was_removed_may_ask_again_for_the_same_conversation() {
        let mut bench = Bench::with_contact();
        bench.contacts.remove(UnixMillis(2), PEER, false).unwrap();
        bench.is_here = false;
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
        bench.is_here = true;
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
            receive_synced(OWN, contacts, pending, |_| false, PEER, told.clone())
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
