//! What a message of another own device changes here (`spec: sync 5`).
//!
//! Everything is merged by rules that lead to the same whatever comes first and however often, so a
//! device may tell all it knows at any time, and a third one may pass it on.

use std::collections::BTreeMap;

use super::conversation::{ConversationRecord, ConversationRecords, ConversationStanding};
use super::devices::KnownDevices;
use super::message::{SyncMessage, Texts, ToldDevice};
use super::preferences::Preferences;
use super::request::{ConversationRequest, ConversationRequests, MergedRequest};
use super::status::{MAX_STATUS_MEMBERS, MemberStatus};
use crate::contact::{
    Action, Change, Contact, ContactList, PendingRequest, PendingRequests, is_for_known_conversation,
    receive_synced,
};
use crate::ids::{AccountId, ConversationId, DeviceId, DeviceShortId};
use crate::swarm::message::Mode;
use crate::time::UnixMillis;

/// What an account remembers, and which device remembers it here.
#[derive(Debug)]
pub struct AccountTables<'a> {
    /// The account.
    pub account: AccountId,
    /// This device.
    pub device: DeviceId,
    /// The account's devices.
    pub devices: &'a mut KnownDevices,
    /// Its contacts.
    pub contacts: &'a mut ContactList,
    /// Requests of people who want to be contacts.
    pub pending: &'a mut PendingRequests,
    /// Its conversations.
    pub conversations: &'a mut ConversationRecords,
    /// Invitations into others.
    pub requests: &'a mut ConversationRequests,
}

/// Something to be done because of a message. The tables are changed already.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncEffect {
    /// A device is told of that is not known here: find its certificate, check that it is the account's
    /// and not revoked, then add it under this name.
    FindDevice {
        /// The device.
        device: DeviceId,
        /// Where its certificate lies for devices of 2023.
        short_id: Option<DeviceShortId>,
        /// What it is said to be called.
        name: String,
    },
    /// The name of a device is another now.
    DeviceNamed {
        /// The device.
        device: DeviceId,
    },
    /// A contact stands otherwise now: trust, links and presence follow, and the owner is told.
    Contact(Change),
    /// What a request to be a contact, told by the other device, asks for.
    Request(Action),
    /// A request to be a contact does not wait any more: another device has answered it, in a way that
    /// the owner was told of or will be.
    RequestGone {
        /// Who asked.
        account: AccountId,
    },
    /// The other device has this conversation: fetch it from there if it is not here.
    Offered {
        /// The conversation.
        conversation: ConversationId,
        /// Whether it is new here, or back.
        is_new: bool,
    },
    /// A conversation was removed on another device. Its copy stays until others have fetched that we
    /// left; the leaving itself is for the device where the owner did it.
    Removed {
        /// The conversation.
        conversation: ConversationId,
    },
    /// A removed conversation was erased on another device: erase it here, unless this device has still
    /// to tell others that we left.
    Erase {
        /// The conversation.
        conversation: ConversationId,
    },
    /// An invitation waits for the owner.
    InvitationRaised {
        /// The conversation.
        conversation: ConversationId,
    },
    /// An invitation was answered on another device, or is void.
    InvitationGone {
        /// The conversation.
        conversation: ConversationId,
    },
    /// Preferences told of a conversation: merge them with those here.
    Preferences {
        /// The conversation.
        conversation: ConversationId,
        /// What was told.
        preferences: Preferences,
    },
    /// How far members have fetched and read: merge it with what is known here.
    Status {
        /// The conversation.
        conversation: ConversationId,
        /// What was told of each member.
        members: BTreeMap<AccountId, MemberStatus>,
    },
}

/// What a message has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// What is to be done.
    pub effects: Vec<SyncEffect>,
    /// Whether a table is to be written again.
    pub is_changed: bool,
    /// Whether other own devices have to hear of it (`spec: sync 6.1`).
    pub is_news: bool,
    /// Entries that the tables refused: they are full, or the entry was of ourselves.
    pub refused: usize,
}

impl Received {
    fn news(&mut self, effect: SyncEffect) {
        self.is_news = true;
        self.changed(effect);
    }

    fn changed(&mut self, effect: SyncEffect) {
        self.is_changed = true;
        self.effects.push(effect);
    }
}

impl AccountTables<'_> {
    /// Takes in a message that the account's device `from` sent.
    pub fn receive(&mut self, from: DeviceId, message: SyncMessage, now: UnixMillis) -> Received {
        let mut received = Received::default();
        for (device, told) in message.devices {
            self.receive_device(from, device, told, &mut received);
        }
        for (account, contact) in message.contacts {
            self.receive_contact(account, contact, &mut received);
        }
        for (account, request) in message.trust_requests {
            self.receive_trust_request(account, request, &mut received);
        }
        for (id, record) in message.conversations {
            self.receive_conversation(id, &record, &mut received);
        }
        for (id, request) in message.requests {
            self.receive_request(id, request, &mut received);
        }
        self.settle_answered_requests(&mut received);
        for (id, texts) in message.preferences {
            self.receive_preferences(id, &texts, now, &mut received);
        }
        for (id, members) in message.status {
            self.receive_status(id, &members, &mut received);
        }
        received
    }

    fn receive_device(
        &mut self,
        from: DeviceId,
        device: DeviceId,
        told: ToldDevice,
        received: &mut Received,
    ) {
        if device == self.device {
            return;
        }
        let ToldDevice { name, short_id } = told;
        if self.devices.get(device).is_none() {
            if self.devices.has_room() {
                received.effects.push(SyncEffect::FindDevice { device, short_id, name });
            } else {
                received.refused += 1;
            }
        } else if self.devices.name(device, &name, from) {
            received.changed(SyncEffect::DeviceNamed { device });
        }
    }

    fn receive_contact(&mut self, account: AccountId, contact: Contact, received: &mut Received) {
        let Ok(change) = self.contacts.merge(account, contact, Contact::merged) else {
            received.refused += 1;
            return;
        };
        let Some(mut change) = change else { return };
        received.is_changed = true;
        // Who asked and was added has agreed, whichever of the two was heard of first.
        if self.settle_trust_request(account)
            && let Some(confirmed) = self.contacts.confirm(account)
        {
            change.after = confirmed.after;
        }
        if change.before != change.after {
            received.news(SyncEffect::Contact(change));
        }
    }

    /// Takes out the request of somebody whose record says more than it; says whether there was one.
    fn settle_trust_request(&mut self, account: AccountId) -> bool {
        let (Some(contact), Some(request)) = (self.contacts.get(account), self.pending.get(account)) else {
            return false;
        };
        let is_void = contact.is_active() || contact.is_banned() || request.order_time() <= contact.latest();
        is_void && self.pending.remove(account).is_some()
    }

    /// Takes out the requests for conversations that are known now.
    fn settle_answered_requests(&mut self, received: &mut Received) {
        let is_answered = |(account, request): &(AccountId, &PendingRequest)| {
            is_for_known_conversation(self.account, *account, request.conversation, self.conversations)
        };
        let answered = self.pending.iter().filter(is_answered).map(|(account, _)| account);
        for account in answered.collect::<Vec<_>>() {
            self.pending.remove(account);
            received.changed(SyncEffect::RequestGone { account });
        }
    }

    fn receive_trust_request(
        &mut self,
        account: AccountId,
        request: PendingRequest,
        received: &mut Received,
    ) {
        let contact = self.contacts.get(account);
        // Who was removed after asking does not ask anew because another device has not heard of it.
        if contact.is_some_and(|it| !it.is_active() && request.order_time() <= it.latest()) {
            return;
        }
        let actions = receive_synced(
            self.account,
            self.contacts,
            self.pending,
            self.conversations,
            account,
            PendingRequest { payload: Vec::new(), ..request },
        );
        for action in actions {
            match action {
                Action::Ignore(_) => {}
                Action::ContactConfirmed(_) | Action::RaiseRequest { .. } => {
                    received.news(SyncEffect::Request(action));
                }
                _ => received.effects.push(SyncEffect::Request(action)),
            }
        }
    }

    fn receive_conversation(
        &mut self,
        conversation: ConversationId,
        record: &ConversationRecord,
        received: &mut Received,
    ) {
        let Ok(merged) = self.conversations.merge(conversation, record) else {
            received.refused += 1;
            return;
        };
        received.is_changed |= merged.is_changed;
        self.settle_invitation(conversation, received);
        use ConversationStanding::{Erased, Leaving, Present};
        let is_new = merged.before != Some(merged.after);
        received.is_news |= is_new;
        match (merged.before, merged.after) {
            // What the other one removed it does not have, though we have it.
            (_, Present) if record.is_removed() => {}
            (_, Present) if record.mode.is_none_or(|mode| Mode::from_number(mode).is_some()) => {
                received.effects.push(SyncEffect::Offered { conversation, is_new });
            }
            (Some(Present), Leaving) => received.effects.push(SyncEffect::Removed { conversation }),
            (Some(Present | Leaving), Erased) => received.effects.push(SyncEffect::Erase { conversation }),
            _ => {}
        }
    }

    /// Takes out the invitation into a conversation that is known, if that says more.
    fn settle_invitation(&mut self, conversation: ConversationId, received: &mut Received) {
        let known = self.conversations.get(conversation);
        let request = self.requests.get(conversation);
        if request.is_some_and(|request| known.is_some_and(|record| is_void(request, record))) {
            self.requests.remove(conversation);
            received.changed(SyncEffect::InvitationGone { conversation });
        }
    }

    fn receive_request(
        &mut self,
        conversation: ConversationId,
        request: ConversationRequest,
        received: &mut Received,
    ) {
        if request.from == self.account {
            received.refused += 1;
            return;
        }
        if self.conversations.get(conversation).is_some_and(|record| is_void(&request, record)) {
            return self.settle_invitation(conversation, received);
        }
        match self.requests.merge(conversation, request) {
            MergedRequest::Raised => received.news(SyncEffect::InvitationRaised { conversation }),
            MergedRequest::Declined => received.news(SyncEffect::InvitationGone { conversation }),
            MergedRequest::Updated => received.is_changed = true,
            MergedRequest::Unchanged => {}
            MergedRequest::Full => received.refused += 1,
        }
    }

    fn receive_preferences(
        &self,
        conversation: ConversationId,
        texts: &Texts,
        now: UnixMillis,
        received: &mut Received,
    ) {
        let is_known = self.conversations.get(conversation).is_some();
        match Preferences::from_texts(texts, now).filter(|_| is_known) {
            Some(preferences) => {
                received.effects.push(SyncEffect::Preferences { conversation, preferences });
            }
            None => received.refused += 1,
        }
    }

    fn receive_status(
        &self,
        conversation: ConversationId,
        members: &BTreeMap<AccountId, Texts>,
        received: &mut Received,
    ) {
        if self.conversations.get(conversation).is_none() {
            received.refused += 1;
            return;
        }
        let members = members.iter().take(MAX_STATUS_MEMBERS);
        let members: BTreeMap<_, _> = members
            .map(|(member, texts)| (*member, MemberStatus::from_texts(texts)))
            .filter(|(_, status)| *status != MemberStatus::default())
            .collect();
        if !members.is_empty() {
            received.effects.push(SyncEffect::Status { conversation, members });
        }
    }
}

/// Whether an invitation says nothing beside what is known of the conversation: the account is in it, or
/// left it later, or it is one of two, which nobody is invited into again (`spec: swarm 11`).
fn is_void(request: &ConversationRequest, record: &ConversationRecord) -> bool {
    let is_of_two = record.mode == Some(Mode::OneToOne.number());
    !record.is_removed() || is_of_two || request.received <= record.removed
}

#[cfg(test)]
#[path = "receive_tests.rs"]
mod tests;
