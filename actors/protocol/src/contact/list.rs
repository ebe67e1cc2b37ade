//! All contacts of an account, past ones included, and their file (`spec: contacts 3, 4.1`).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::contact::record::Contact;
use crate::ids::{AccountId, ConversationId};
use crate::msgpack::{self, DecodeError, Value as Object};
use crate::time::UnixMillis;

/// Records kept, removed and banned ones included: each active one costs a subscription.
pub const MAX_CONTACTS: usize = 10_000;

/// Largest contacts file read in bytes: room for [`MAX_CONTACTS`] of some 150 bytes each.
pub const MAX_CONTACTS_FILE: usize = 4 << 20;

/// Why the list was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// The account itself.
    #[error("an account cannot be a contact of itself")]
    Own,
    /// The id of all zeros.
    #[error("the account id is all zeros")]
    Null,
    /// [`MAX_CONTACTS`] is reached.
    #[error("{MAX_CONTACTS} contacts are known already, removed ones included")]
    Full,
    /// Nothing is known of this account.
    #[error("account {0} is not a contact")]
    Unknown(AccountId),
    /// The file is not a map in MessagePack.
    #[error("the contacts file cannot be read ({0}); sync with another device rebuilds it")]
    File(#[from] DecodeError),
    /// The file is MessagePack but no map.
    #[error("the contacts file holds no map; sync with another device rebuilds it")]
    NotAMap,
}

/// How somebody stands to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Never was a contact.
    Unknown,
    /// Is a contact.
    Active {
        /// Whether the other one agrees.
        confirmed: bool,
    },
    /// Was a contact.
    Removed,
    /// Is banned.
    Banned,
}

impl Standing {
    fn of(contact: &Contact) -> Self {
        match (contact.is_active(), contact.banned) {
            (true, _) => Self::Active { confirmed: contact.confirmed },
            (false, true) => Self::Banned,
            (false, false) => Self::Removed,
        }
    }
}

/// A change of a record, to be written to disk and synced to own devices. When the standings
/// differ, the pending request of the account goes, its trust status follows, and the user is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose record.
    pub account: AccountId,
    /// How the account stood before.
    pub before: Standing,
    /// How it stands now.
    pub after: Standing,
}

/// The contacts of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactList {
    own: AccountId,
    contacts: BTreeMap<AccountId, Contact>,
}

impl ContactList {
    /// The empty list of the account `own`.
    #[must_use]
    pub fn new(own: AccountId) -> Self {
        Self { own, contacts: BTreeMap::new() }
    }

    /// The record of an account.
    #[must_use]
    pub fn get(&self, account: AccountId) -> Option<&Contact> {
        self.contacts.get(&account)
    }

    /// How an account stands to us.
    #[must_use]
    pub fn standing(&self, account: AccountId) -> Standing {
        self.get(account).map_or(Standing::Unknown, Standing::of)
    }

    /// All records by rising id, removed and banned ones included.
    pub fn iter(&self) -> impl Iterator<Item = (AccountId, &Contact)> {
        self.contacts.iter().map(|(account, contact)| (*account, contact))
    }

    /// The accounts that are contacts now.
    pub fn active(&self) -> impl Iterator<Item = (AccountId, &Contact)> {
        self.iter().filter(|(_, contact)| contact.is_active())
    }

    /// Makes somebody a contact, which lifts a ban. None if it is one already, with the same
    /// conversation and no less confirmed.
    ///
    /// # Errors
    /// When the account cannot be a contact or the list is full.
    pub fn add(
        &mut self,
        now: UnixMillis,
        account: AccountId,
        conversation: Option<ConversationId>,
        confirmed: bool,
    ) -> Result<Option<Change>, ListError> {
        let old = self.get(account).copied().unwrap_or_default();
        // A confirmation is of the contact that was; somebody who was removed has to confirm anew.
        let confirmed = confirmed || (old.is_active() && old.confirmed);
        if old.is_active() && old.confirmed == confirmed && old.conversation == conversation {
            return Ok(None);
        }
        let added = after(now, old.latest());
        self.set(account, Contact { added, removed: UnixMillis(0), confirmed, banned: false, conversation })
    }

    /// Removes, or bans, a contact; banning works on strangers too. None if that is so already.
    ///
    /// # Errors
    /// [`ListError::Unknown`] when there is nobody to remove, or as for [`Self::add`] when banning.
    pub fn remove(
        &mut self,
        now: UnixMillis,
        account: AccountId,
        ban: bool,
    ) -> Result<Option<Change>, ListError> {
        let old = match self.get(account) {
            Some(contact) => *contact,
            None if ban => Contact::default(),
            None => return Err(ListError::Unknown(account)),
        };
        if self.contacts.contains_key(&account) && !old.is_active() && old.banned == ban {
            return Ok(None);
        }
        let removed = after(now, old.latest());
        self.set(account, Contact { removed, confirmed: false, banned: ban, conversation: None, ..old })
    }

    /// Notes that a contact accepted us. None if it is not active or confirmed already.
    pub fn confirm(&mut self, account: AccountId) -> Option<Change> {
        let contact = self.contacts.get_mut(&account)?;
        if !contact.is_active() || contact.confirmed {
            return None;
        }
        contact.confirmed = true;
        let (before, after) = (Standing::Active { confirmed: false }, Standing::Active { confirmed: true });
        Some(Change { account, before, after })
    }

    /// Takes in the record of an account from another own device. `merge` is [`Contact::merged`],
    /// or [`Contact::merged_as_in_2023`] for a device of that age.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn merge(
        &mut self,
        account: AccountId,
        other: Contact,
        merge: impl FnOnce(Contact, Contact) -> Contact,
    ) -> Result<Option<Change>, ListError> {
        self.set(account, self.get(account).map_or(other, |own| merge(*own, other)))
    }

    /// The contacts file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.to_object().encode()
    }

    /// The records as in the contacts file and in sync messages.
    #[must_use]
    pub fn to_object(&self) -> Object {
        let entries = self.iter().map(|(id, contact)| (Object::binary(&id.0), contact.to_object()));
        Object::Map(entries.collect())
    }

    /// Reads a contacts file. Wrong entries are skipped; how many is told.
    ///
    /// # Errors
    /// When it is no map at all. The list starts empty then and sync fills it.
    pub fn decode(own: AccountId, file: &[u8]) -> Result<(Self, usize), ListError> {
        let (object, _) = msgpack::decode(file, MAX_CONTACTS_FILE)?;
        let entries = object.as_map().ok_or(ListError::NotAMap)?;
        let mut list = Self::new(own);
        let mut skipped = 0;
        for (id, record) in entries {
            let id = id.as_binary().and_then(AccountId::from_bytes);
            match id.zip(Contact::from_object(record)).map(|(id, contact)| list.set(id, contact)) {
                Some(Ok(_)) => {}
                _ => skipped += 1,
            }
        }
        Ok((list, skipped))
    }

    fn set(&mut self, account: AccountId, contact: Contact) -> Result<Option<Change>, ListError> {
        if account == self.own {
            return Err(ListError::Own);
        }
        if account.0 == [0; 20] {
            return Err(ListError::Null);
        }
        let full = self.contacts.len() >= MAX_CONTACTS;
        let before = self.standing(account);
        match self.contacts.entry(account) {
            Entry::Vacant(_) if full => return Err(ListError::Full),
            Entry::Occupied(old) if *old.get() == contact => return Ok(None),
            Entry::Vacant(place) => drop(place.insert(contact)),
            Entry::Occupied(mut place) => drop(place.insert(contact)),
        }
        Ok(Some(Change { account, before, after: Standing::of(&contact) }))
    }
}

/// Now, or a little after `latest` where the clock was set back: what is done later counts as later.
fn after(now: UnixMillis, latest: UnixMillis) -> UnixMillis {
    now.max(UnixMillis(latest.0.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::contact::record;
    use crate::contact::tests::numbered;
    use crate::testing::data;

    const OWN: AccountId = AccountId([0xaa; 20]);
    const PEER: AccountId = AccountId([1; 20]);
    const ACTIVE: Standing = Standing::Active { confirmed: false };
    const CONFIRMED: Standing = Standing::Active { confirmed: true };

    fn change(before: Standing, after: Standing) -> Option<Change> {
        Some(Change { account: PEER, before, after })
    }

    fn at(seconds: i64) -> UnixMillis {
        UnixMillis::from_seconds(seconds)
    }

    #[test]
    fn the_files_of_real_daemons_are_written_as_they_were_read() {
        for file in [
            data!("vectors/newest/accounts/alice/contacts"),
            data!("vectors/newest/accounts/alice2/contacts"),
            data!("vectors/newest/accounts/bob/contacts"),
            data!("vectors/newest/accounts/carla/contacts"),
        ] {
            let (list, skipped) = ContactList::decode(OWN, file).unwrap();
            assert_eq!((list.iter().count(), skipped), (2, 0));
            assert!(list.active().all(|(_, contact)| contact.confirmed && contact.conversation.is_some()));
            assert_eq!(list.encode(), file);
        }
    }

    #[test]
    fn the_file_of_a_daemon_of_2023_with_a_ban_is_read() {
        // (spec: contacts V4)
        let file = hex::decode(
            "81c41430e629015fcb780a18681348f8b8c4853f01c13f85a56164646564ce6b02b3d2a772656d6f\
                    766564ce6b02b483a9636f6e6669726d6564c2a662616e6e6564c3ae636f6e766572736174696f6e\
                    4964d928653463663235623835636137383364653061656565396437376438333037303563643964\
                    33653664",
        )
        .unwrap();
        let (list, skipped) = ContactList::decode(OWN, &file).unwrap();
        assert_eq!(skipped, 0);
        let account = "30e629015fcb780a18681348f8b8c4853f01c13f".parse().unwrap();
        let contact = list.get(account).unwrap();
        assert_eq!((contact.added, contact.removed), (at(1_795_339_218), at(1_795_339_395)));
        assert_eq!(contact.conversation.unwrap().to_hex(), "e4cf25b85ca783de0aeee9d77d830705cd9d3e6d");
        assert_eq!(list.standing(account), Standing::Banned);
    }

    #[test]
    fn wrong_entries_of_a_file_are_skipped() {
        let good = Contact { added: at(1), ..Contact::default() }.to_object();
        let wrong_type = Object::map([("added", "yesterday".into())]);
        let file = Object::Map(vec![
            (Object::binary(&[1; 19]), good.clone()),
            (Object::text("id"), good.clone()),
            (Object::binary(&[2; 20]), wrong_type),
            (Object::binary(&[3; 20]), Object::Nil),
            (Object::binary(&[0; 20]), good.clone()),
            (Object::binary(&OWN.0), good.clone()),
            (Object::binary(&PEER.0), good),
        ]);
        let (list, skipped) = ContactList::decode(OWN, &file.encode()).unwrap();
        assert_eq!((list.iter().count(), skipped), (1, 6));
        assert_eq!(list.standing(PEER), ACTIVE);
    }

    #[test]
    fn files_that_are_no_map_are_refused() {
        assert_eq!(ContactList::decode(OWN, b""), Err(ListError::File(DecodeError::Incomplete)));
        assert_eq!(ContactList::decode(OWN, b"\x90"), Err(ListError::NotAMap));
    }

    #[test]
    fn a_contact_lives_through_adding_confirming_banning_and_adding_again() {
        let mut list = ContactList::new(OWN);
        let conversation = Some(ConversationId([7; 20]));
        assert_eq!(list.add(at(1), PEER, conversation, false), Ok(change(Standing::Unknown, ACTIVE)));
        assert_eq!(list.add(at(2), PEER, conversation, false), Ok(None));
        assert_eq!(list.confirm(PEER), change(ACTIVE, CONFIRMED));
        assert_eq!(list.confirm(PEER), None);
        assert_eq!(list.add(at(2), PEER, conversation, false), Ok(None));
        assert_eq!(list.remove(at(3), PEER, true), Ok(change(CONFIRMED, Standing::Banned)));
        assert_eq!(list.remove(at(4), PEER, true), Ok(None));
        let banned = Contact { added: at(1), removed: at(3), banned: true, ..Contact::default() };
        assert_eq!(list.get(PEER), Some(&banned));
        assert_eq!(list.confirm(PEER), None);
        assert_eq!(list.add(at(5), PEER, conversation, false), Ok(change(Standing::Banned, ACTIVE)));
        assert_eq!(list.remove(at(6), PEER, false), Ok(change(ACTIVE, Standing::Removed)));
    }

    #[test]
    fn what_is_done_later_counts_as_later_even_if_the_clock_was_set_back() {
        let mut list = ContactList::new(OWN);
        list.add(at(100), PEER, None, false).unwrap();
        list.remove(at(50), PEER, false).unwrap();
        assert_eq!(list.standing(PEER), Standing::Removed);
        list.add(at(40), PEER, None, false).unwrap();
        assert_eq!(list.standing(PEER), ACTIVE);
        assert!(list.get(PEER).unwrap().latest() > at(100));
    }

    #[test]
    fn strangers_can_be_banned_but_not_removed() {
        let mut list = ContactList::new(OWN);
        assert_eq!(list.remove(at(1), PEER, false), Err(ListError::Unknown(PEER)));
        assert_eq!(list.remove(at(1), PEER, true), Ok(change(Standing::Unknown, Standing::Banned)));
    }

    #[test]
    fn the_own_account_and_the_null_account_are_refused() {
        let mut list = ContactList::new(OWN);
        assert_eq!(list.add(at(1), OWN, None, false), Err(ListError::Own));
        assert_eq!(list.merge(AccountId([0; 20]), Contact::default(), Contact::merged), Err(ListError::Null));
    }

    #[test]
    fn the_number_of_contacts_is_bounded() {
        let mut list = ContactList::new(OWN);
        for number in 0..MAX_CONTACTS {
            list.add(at(1), numbered(number), None, false).unwrap();
        }
        assert_eq!(list.add(at(1), PEER, None, false), Err(ListError::Full));
        assert_eq!(list.add(at(2), numbered(5), None, true).map(|change| change.is_some()), Ok(true));
        let file = list.encode();
        assert!(file.len() < MAX_CONTACTS_FILE);
        assert_eq!(ContactList::decode(OWN, &file), Ok((list, 0)));
    }

    #[test]
    fn a_record_of_another_device_is_stored_as_it_is() {
        let mut list = ContactList::new(OWN);
        let banned = Contact { added: at(1), removed: at(2), banned: true, ..Contact::default() };
        let merged = list.merge(PEER, banned, Contact::merged);
        assert_eq!(merged, Ok(change(Standing::Unknown, Standing::Banned)));
        assert_eq!(list.merge(PEER, banned, Contact::merged), Ok(None));
    }

    proptest! {
        #[test]
        fn every_list_survives_its_file(
            contacts in prop::collection::btree_map(1_u8..100, record::tests::arbitrary(), 0..20),
        ) {
            let mut list = ContactList::new(OWN);
            for (id, contact) in contacts {
                list.merge(AccountId([id; 20]), contact, Contact::merged).unwrap();
            }
            prop_assert_eq!(ContactList::decode(OWN, &list.encode()), Ok((list, 0)));
        }

        #[test]
        fn any_file_is_read_or_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = ContactList::decode(OWN, &bytes);
        }
    }
}
