//! Bringing an archive up to date before it is kept or handed on, and revoking a device with it
//! (`spec: identity 4.3 and 7`).
//!
//! What a newer release has written into an archive stays there, also inside of the entries that this
//! one knows and replaces.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::archive::Archive;
use super::chain::VerifiedChain;
use super::revocation::{RevocationError, RevocationList};
use super::revoked_devices::RevokedDevices;
use crate::contact::ContactList;
use crate::ids::{AccountId, DeviceId};
use crate::sync::{ConversationRecords, ConversationRequests};
use crate::time::UnixMillis;

/// What is written of a contact.
const CONTACT: [&str; 7] =
    ["added", "addedMs", "removed", "removedMs", "confirmed", "banned", "conversationId"];

/// What is written of a conversation.
const CONVERSATION: [&str; 11] = [
    "id",
    "members",
    "lastDisplayed",
    "created",
    "createdMs",
    "removed",
    "removedMs",
    "erased",
    "erasedMs",
    "mode",
    "invited",
];

/// What is written of an invitation.
const REQUEST: [&str; 7] =
    ["conversationId", "from", "metadatas", "received", "receivedMs", "declined", "declinedMs"];

/// Why a device is not revoked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevokeError {
    /// It is the one that should revoke it: the account would be left without a device that can.
    #[error("this device cannot revoke itself; do it on another one, or remove the account here")]
    ThisDevice,
    /// It belongs to another account.
    #[error("the device belongs to {0}, not to this account")]
    OtherAccount(AccountId),
    /// The archive has no certificate of the account.
    #[error("the archive holds no certificate of the account; renew it first")]
    NoCertificate,
    /// The list cannot be made.
    #[error(transparent)]
    List(#[from] RevocationError),
}

impl Archive {
    /// Puts the account's contacts into the archive.
    pub fn refresh_contacts(&mut self, contacts: &ContactList) {
        refresh(&mut self.contacts, contacts.iter().map(|(id, it)| (id, it.to_json())), &CONTACT);
    }

    /// Puts the account's conversations into the archive.
    pub fn refresh_conversations(&mut self, records: &ConversationRecords) {
        refresh(&mut self.conversations, records.iter().map(|(id, it)| (id, it.to_json(id))), &CONVERSATION);
    }

    /// Puts the invitations into the archive.
    pub fn refresh_requests(&mut self, requests: &ConversationRequests) {
        let fresh = requests.iter().map(|(id, it)| (id, it.to_json(id)));
        refresh(&mut self.conversation_requests, fresh, &REQUEST);
    }

    /// Revokes a device of the account: the archive's list gets an entry for it, and those of the lists
    /// that `known` holds, which other devices may have made with archives of their own. Returns the
    /// list, which is to be kept, put on the DHT and told to other own devices.
    ///
    /// `this_device` is the one that revokes; `first_number` is drawn at random and used when there is no
    /// list yet. One RSA signature: some two milliseconds.
    ///
    /// # Errors
    /// [`RevokeError`]; the archive is unchanged then.
    pub fn revoke(
        &mut self,
        device: &VerifiedChain,
        this_device: DeviceId,
        known: &RevokedDevices,
        now: UnixMillis,
        first_number: u64,
    ) -> Result<&RevocationList, RevokeError> {
        if device.device_id() == this_device {
            return Err(RevokeError::ThisDevice);
        }
        if device.account().public_key() != self.account_key.public() {
            return Err(RevokeError::OtherAccount(device.account_id()));
        }
        let account = self.account_chain.as_ref().ok_or(RevokeError::NoCertificate)?.leaf();
        let of_others = known.lists().iter().filter(|_| known.key() == self.account_key.public());
        let previous: Vec<_> = self.revocation_list.iter().chain(of_others).collect();
        let key = &self.account_key;
        let list = RevocationList::revoke_after(account, key, &previous, device.device(), now, first_number)?;
        Ok(self.revocation_list.insert(list))
    }
}

/// Replaces what is known of each record by what is fresh, and keeps the rest of it. Records that are no
/// longer there go.
fn refresh<Id: Ord>(
    records: &mut BTreeMap<Id, Map<String, Value>>,
    fresh: impl Iterator<Item = (Id, Map<String, Value>)>,
    known: &[&str],
) {
    let mut old = std::mem::take(records);
    for (id, fresh) in fresh {
        let mut record = old.remove(&id).unwrap_or_default();
        record.retain(|name, _| !known.contains(&name.as_str()));
        record.extend(fresh);
        records.insert(id, record);
    }
}

#[cfg(test)]
#[path = "archive_update_tests.rs"]
mod tests;
