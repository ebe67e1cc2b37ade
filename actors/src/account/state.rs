//! What an account must not forget, and its files.
//!
//! Each file is replaced whole when something in it changes; several changes go out with one write.
//! A request is answered when the write that holds its change is durable.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use skep_protocol::contact::{
    BannedDevices, Contact, ContactList, MAX_BANNED_DEVICES_FILE, MAX_CONTACTS_FILE, MAX_OUTGOING_FILE,
    MAX_PENDING_FILE, OutgoingRequests, PendingRequests, Standing,
};
use skep_protocol::identity::Archive;
use skep_protocol::ids::{AccountId, sha1};
use skep_protocol::msgpack::Value as Object;
use skep_protocol::swarm::message::Mode;
use skep_protocol::sync::{
    ConversationRecord, ConversationRecords, ConversationRequest, ConversationRequests, KnownDevices,
    ListDigests, MAX_CONVERSATIONS_FILE, MAX_DEVICES_FILE, MAX_REQUESTS_FILE,
};

use super::identity::AccountFolder;
use super::messages::AccountSettings;
use crate::peer::messages::Trust;
use crate::profile::messages::MAX_NAME;
use crate::storage;

const CONTACTS: &str = "contacts";
const PENDING: &str = "incomingTrustRequests";
const OUTGOING: &str = "outgoingTrustRequests";
const CONVERSATIONS: &str = "convInfo";
const REQUESTS: &str = "convRequests";
const DEVICES: &str = "knownDevices";
const BANNED_DEVICES: &str = "bannedDevices";
const NAME: &str = "name";
const SETTINGS: &str = "settings";

/// Most people followed and let in because they are in a group with us: each costs a listening on the
/// DHT. Of a larger group, the others are reached through these.
const MAX_FELLOWS: usize = 1024;

/// Largest settings file read, in bytes: a few words of JSON.
const MAX_SETTINGS: usize = 4096;

/// The durable state of an account.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) name: String,
    pub(super) settings: AccountSettings,
    pub(super) contacts: ContactList,
    pub(super) pending: PendingRequests,
    pub(super) outgoing: OutgoingRequests,
    pub(super) conversations: ConversationRecords,
    /// Invitations that wait or were declined.
    pub(super) requests: ConversationRequests,
    /// The account's devices, this one included.
    pub(super) devices: KnownDevices,
    /// Devices of others that are banned.
    pub(super) banned_devices: BannedDevices,
    /// Whether records of conversations are missing or could not be read when the account was
    /// loaded, so that a conversation without a record is none that was never finished.
    pub(super) records_lost: bool,
}

impl State {
    /// Nothing but a name.
    pub(super) fn new(own: AccountId, name: &str) -> Self {
        Self {
            name: cut(name).to_owned(),
            settings: AccountSettings::default(),
            contacts: ContactList::new(own),
            pending: PendingRequests::default(),
            outgoing: OutgoingRequests::default(),
            conversations: ConversationRecords::default(),
            requests: ConversationRequests::default(),
            devices: KnownDevices::default(),
            banned_devices: BannedDevices::default(),
            records_lost: false,
        }
    }

    /// What an archive holds beside the keys. Entries that do not fit are left out.
    pub(super) fn from_archive(archive: &Archive, name: &str) -> Self {
        let own = archive.account_id();
        let mut state = Self::new(own, name);
        for (account, record) in &archive.contacts {
            let merged = state.contacts.merge(*account, Contact::from_json(record), |_, imported| imported);
            if let Err(error) = merged {
                tracing::warn!(%account, %error, "a contact of the archive is left out");
            }
        }
        for (id, record) in &archive.conversations {
            let record = skep_protocol::sync::ConversationRecord::from_json(record);
            if let Err(error) = state.conversations.insert(*id, record) {
                tracing::warn!(%id, %error, "a conversation of the archive is left out");
            }
        }
        for (id, request) in &archive.conversation_requests {
            if let Some(request) = ConversationRequest::from_json(request) {
                state.requests.merge(*id, request);
            }
        }
        state
    }

    /// Puts what own devices need into an archive that is about to be exported.
    pub(super) fn write_to_archive(&self, archive: &mut Archive) {
        archive.refresh_contacts(&self.contacts);
        archive.refresh_conversations(&self.conversations);
        archive.refresh_requests(&self.requests);
    }

    /// Reads the files. One that is missing is empty; one that cannot be read is set aside and
    /// starts empty, as the reference does, so that the account can still be used.
    pub(super) fn load(folder: &AccountFolder, own: AccountId) -> io::Result<Self> {
        storage::sweep(folder.path())?;
        let name = read(folder, NAME, MAX_NAME, |file| Ok(String::from_utf8_lossy(file).into_owned()))?;
        let mut records_skipped = 0;
        let conversations = read(folder, CONVERSATIONS, MAX_CONVERSATIONS_FILE, |file| {
            let (records, skipped) = ConversationRecords::decode(file).map_err(|error| error.to_string())?;
            records_skipped = skipped;
            Ok(first((records, skipped)))
        })?;
        let conversations_lost = conversations.is_none();
        let conversations = conversations.unwrap_or_default();
        let mut requests = read(folder, REQUESTS, MAX_REQUESTS_FILE, |file| {
            ConversationRequests::decode(file).map(first).map_err(|error| error.to_string())
        })?
        .unwrap_or_default();
        // A crash may have come between the two files.
        for (id, _) in conversations.present() {
            requests.remove(id);
        }
        let devices = read(folder, DEVICES, MAX_DEVICES_FILE, |file| {
            KnownDevices::decode(file).map(first).map_err(|error| error.to_string())
        })?;
        Ok(Self {
            devices: devices.unwrap_or_default(),
            banned_devices: read(folder, BANNED_DEVICES, MAX_BANNED_DEVICES_FILE, |file| {
                BannedDevices::decode(file).map(first)
            })?
            .unwrap_or_default(),
            requests,
            name: name.unwrap_or_default(),
            settings: read(folder, SETTINGS, MAX_SETTINGS, |file| {
                serde_json::from_slice(file).map_err(|error| error.to_string())
            })?
            .unwrap_or_default(),
            contacts: read(folder, CONTACTS, MAX_CONTACTS_FILE, |file| {
                ContactList::decode(own, file).map(first).map_err(|error| error.to_string())
            })?
            .unwrap_or_else(|| ContactList::new(own)),
            pending: read(folder, PENDING, MAX_PENDING_FILE, |file| {
                PendingRequests::decode(file).map(first).map_err(|error| error.to_string())
            })?
            .unwrap_or_default(),
            outgoing: read(folder, OUTGOING, MAX_OUTGOING_FILE, |file| {
                OutgoingRequests::decode(file).map_err(|error| error.to_string())
            })?
            .unwrap_or_default(),
            records_lost: conversations_lost || records_skipped > 0,
            conversations,
        })
    }

    /// The contents of the files named, in the order in which they must be written: a crash between
    /// two may leave a conversation that no contact has, never a contact whose conversation is gone; and what a
    /// device has told is taken in before it is noted that it was told.
    pub(super) fn files(&self, dirty: Dirty) -> Vec<(&'static str, Vec<u8>)> {
        let mut files = Vec::new();
        let mut add = |wanted: bool, name, content: &dyn Fn() -> Vec<u8>| {
            if wanted {
                files.push((name, content()));
            }
        };
        add(dirty.conversations, CONVERSATIONS, &|| self.conversations.encode());
        add(dirty.requests, REQUESTS, &|| self.requests.encode());
        add(dirty.name, NAME, &|| self.name.clone().into_bytes());
        // Two booleans always become JSON.
        add(dirty.settings, SETTINGS, &|| serde_json::to_vec(&self.settings).unwrap_or_default());
        add(dirty.contacts, CONTACTS, &|| self.contacts.encode());
        add(dirty.contacts, PENDING, &|| self.pending.encode());
        add(dirty.contacts, OUTGOING, &|| self.outgoing.encode());
        add(dirty.contacts, BANNED_DEVICES, &|| self.banned_devices.encode());
        add(dirty.devices, DEVICES, &|| self.devices.encode());
        files
    }

    /// What the lists that own devices hear of are like.
    pub(super) fn digests(&self) -> ListDigests {
        digests(&self.files(Dirty::PEOPLE), ListDigests::default())
    }

    /// Who may connect, by the contacts.
    pub(super) fn trust(&self, own: AccountId, public: bool) -> Trust {
        let with = |wanted: fn(Standing) -> bool| {
            let all = self.contacts.iter().map(|(account, _)| account);
            all.filter(|account| wanted(self.contacts.standing(*account))).collect::<BTreeSet<_>>()
        };
        let mut allowed = with(|standing| matches!(standing, Standing::Active { .. }));
        allowed.insert(own);
        let mut banned = with(|standing| standing == Standing::Banned);
        banned.extend(self.banned_devices.certificates());
        allowed.extend(self.fellows().difference(&banned));
        Trust { allowed, banned, public }
    }

    /// Everybody whom lists show: contacts, who asks to be one or invites, and members of conversations.
    pub(super) fn people(&self) -> impl Iterator<Item = AccountId> {
        self.contacts.iter().map(|(account, _)| account).chain(self.acquaintances())
    }

    /// Those of them who are more than somebody who was a contact once.
    fn acquaintances(&self) -> impl Iterator<Item = AccountId> {
        let asking = self.pending.iter().map(|(account, _)| account);
        let inviting = self.requests.waiting().map(|(_, request)| request.from);
        let members = self.conversations.present().flat_map(|(_, record)| record.members.iter().copied());
        asking.chain(inviting).chain(members)
    }

    /// The people who matter most, at most so many: contacts, then who asks or invites, then members of
    /// conversations.
    pub(super) fn closest(&self, most: usize) -> BTreeSet<AccountId> {
        let mut closest = BTreeSet::new();
        for person in self.contacts.active().map(|(account, _)| account).chain(self.acquaintances()) {
            if closest.len() >= most {
                break;
            }
            closest.insert(person);
        }
        closest
    }

    /// Those who are in a group with us, at most [`MAX_FELLOWS`]: they may connect, contacts or not.
    pub(super) fn fellows(&self) -> BTreeSet<AccountId> {
        // Whom we leave has to fetch that from us.
        let here = |record: &&ConversationRecord| !record.is_removed() || record.is_leaving();
        let groups = self.conversations.iter().map(|(_, record)| record).filter(here);
        let groups = groups.filter(|record| record.mode.is_some_and(|it| it != Mode::OneToOne.number()));
        groups.flat_map(|record| record.members.iter().copied()).take(MAX_FELLOWS).collect()
    }
}

/// Writes files of the state durably.
pub(super) fn write(folder: &AccountFolder, files: &[(&'static str, Vec<u8>)]) -> io::Result<()> {
    files.iter().try_for_each(|(name, content)| storage::replace(&folder.join(name), content))
}

/// Which files have changed since they were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dirty {
    pub(super) name: bool,
    pub(super) settings: bool,
    /// Contacts and the requests in both directions, which change together.
    pub(super) contacts: bool,
    pub(super) conversations: bool,
    /// Invitations.
    pub(super) requests: bool,
    /// The account's devices.
    pub(super) devices: bool,
}

impl Dirty {
    /// All of them.
    pub(super) const ALL: Self = Self {
        name: true,
        settings: true,
        contacts: true,
        conversations: true,
        requests: true,
        devices: true,
    };
    /// Contacts and requests.
    pub(super) const CONTACTS: Self = Self { contacts: true, ..Self::NOTHING };
    /// Conversations.
    pub(super) const CONVERSATIONS: Self = Self { conversations: true, ..Self::NOTHING };
    /// Contacts, conversations and invitations: an invitation that is taken up changes all.
    pub(super) const PEOPLE: Self =
        Self { contacts: true, conversations: true, requests: true, ..Self::NOTHING };
    /// Invitations.
    pub(super) const REQUESTS: Self = Self { requests: true, ..Self::NOTHING };
    /// The settings.
    pub(super) const SETTINGS: Self = Self { settings: true, ..Self::NOTHING };
    /// The account's devices.
    pub(super) const DEVICES: Self = Self { devices: true, ..Self::NOTHING };
    const NOTHING: Self = Self {
        name: false,
        settings: false,
        contacts: false,
        conversations: false,
        requests: false,
        devices: false,
    };

    /// Whether people may have come.
    pub(super) const fn has_people(self) -> bool {
        self.contacts || self.conversations || self.requests
    }

    pub(super) fn add(&mut self, other: Self) {
        self.name |= other.name;
        self.settings |= other.settings;
        self.contacts |= other.contacts;
        self.conversations |= other.conversations;
        self.requests |= other.requests;
        self.devices |= other.devices;
    }
}

/// What the lists that own devices hear of are like, when these files are written.
pub(super) fn digests(files: &[(&'static str, Vec<u8>)], before: ListDigests) -> ListDigests {
    let mut digests = before;
    let file = |wanted| files.iter().find(|(name, _)| *name == wanted).map(|(_, content)| sha1(content));
    if let (Some(contacts), Some(pending)) = (file(CONTACTS), file(PENDING)) {
        digests.contacts = sha1(&[contacts, pending].concat());
    }
    digests.conversations = file(CONVERSATIONS).unwrap_or(digests.conversations);
    digests.requests = file(REQUESTS).unwrap_or(digests.requests);
    digests
}

/// The beginning of a name that is too long, up to the end of a letter.
pub(super) fn cut(name: &str) -> &str {
    name.get(..name.floor_char_boundary(MAX_NAME)).unwrap_or(name)
}

fn first<T>((value, skipped): (T, usize)) -> T {
    if skipped > 0 {
        tracing::warn!(skipped, "entries of an account file could not be read and are left out");
    }
    value
}

fn read<T>(
    folder: &AccountFolder,
    name: &str,
    limit: usize,
    decode: impl FnOnce(&[u8]) -> Result<T, String>,
) -> io::Result<Option<T>> {
    let path = folder.join(name);
    let decoded = match storage::read(&path, limit) {
        Ok(None) => return Ok(None),
        Ok(Some(file)) if file.is_empty() || file == Object::Nil.encode() => return Ok(None),
        Ok(Some(file)) => decode(&file),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(error.to_string()),
        Err(error) => return Err(error),
    };
    match decoded {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            let aside: PathBuf = folder.join(&format!("{name}.unreadable"));
            std::fs::rename(&path, &aside)?;
            tracing::error!(file = %aside.display(), error, "an account file was unreadable; it was set aside");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: AccountId = AccountId([1; 20]);
    const CONTACT: AccountId = AccountId([2; 20]);

    #[test]
    fn unreadable_and_oversized_files_are_set_aside_and_the_others_kept() {
        let place = tempfile::tempdir().unwrap();
        let folder = AccountFolder::new(place.path(), "1111111111111111".parse().unwrap());
        storage::make_folder(folder.path()).unwrap();
        let mut state = State::new(OWN, "Ada");
        state.contacts.merge(CONTACT, Contact::default(), |_, imported| imported).unwrap();
        write(&folder, &state.files(Dirty::ALL)).unwrap();
        std::fs::write(folder.join(PENDING), b"no MessagePack: \xc1").unwrap();
        std::fs::write(folder.join(NAME), "x".repeat(MAX_NAME + 1)).unwrap();
        let loaded = State::load(&folder, OWN).unwrap();
        assert_eq!((loaded.contacts.iter().count(), loaded.pending.iter().count()), (1, 0));
        assert_eq!(loaded.name, "");
        for name in [PENDING, NAME] {
            assert!(folder.join(&format!("{name}.unreadable")).exists(), "{name}");
        }
        std::fs::write(folder.join(CONTACTS), b"\x90").unwrap();
        assert_eq!(State::load(&folder, OWN).unwrap().contacts.iter().count(), 0);
    }

    #[test]
    fn contacts_are_closer_than_members_and_members_than_who_was_a_contact_once() {
        let person = |number| AccountId([number; 20]);
        let now = skep_protocol::time::UnixMillis(10_000);
        let mut state = State::new(OWN, "name");
        for (number, is_active) in [(9, true), (3, false)] {
            state.contacts.add(now, person(number), None, true).unwrap();
            if !is_active {
                let later = skep_protocol::time::UnixMillis(20_000);
                state.contacts.remove(later, person(number), false).unwrap();
            }
        }
        let room = ConversationRecord::new(now, [person(4), person(5)], 0);
        state.conversations.insert(skep_protocol::ids::ConversationId([7; 20]), room).unwrap();
        assert_eq!(state.closest(1), [person(9)].into());
        assert_eq!(state.closest(2), [person(9), person(4)].into());
        assert_eq!(state.closest(100), [person(9), person(4), person(5)].into());
        assert!(state.people().any(|it| it == person(3)));
    }

    #[test]
    fn a_name_too_long_is_cut_where_a_letter_ends_and_can_be_loaded() {
        let place = tempfile::tempdir().unwrap();
        let folder = AccountFolder::new(place.path(), "1111111111111111".parse().unwrap());
        storage::make_folder(folder.path()).unwrap();
        let state = State::new(OWN, &format!("x{}", "é".repeat(MAX_NAME)));
        assert_eq!(state.name.len(), MAX_NAME - 1);
        write(&folder, &state.files(Dirty::ALL)).unwrap();
        assert_eq!(State::load(&folder, OWN).unwrap().name, state.name);
    }

    #[test]
    fn records_of_conversations_are_written_before_the_contacts_that_need_them() {
        let names: Vec<_> =
            State::new(OWN, "name").files(Dirty::ALL).into_iter().map(|(name, _)| name).collect();
        let place = |wanted| names.iter().position(|name| *name == wanted);
        assert!(place("convInfo") < place("contacts"));
        assert!(place("contacts") < place("knownDevices"), "or what a crash cut off would be refused");
    }
}
