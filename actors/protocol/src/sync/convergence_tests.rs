//! Devices of one account that tell each other what they know, in any order and any number of times,
//! agree in the end; and when there is nothing new, they stop.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::message::SyncReader;
use super::{
    AccountTables, ConversationRecord, ConversationRecords, ConversationRequest, ConversationRequests,
    KnownDevices, ListChange, MarkerKind, MessageStatus, Preferences, Received, SyncAction, SyncEffect,
    SyncMessage, SyncSchedule, SyncVersions, Telling, preferences_told, status_told,
};
use crate::contact::{ContactList, PendingRequest, PendingRequests};
use crate::ids::{AccountId, CommitId, ConversationId, DeviceId, DeviceShortId};
use crate::time::{Moment, UnixMillis};

const OWN: AccountId = AccountId([0xaa; 20]);

fn device_id(number: usize) -> DeviceId {
    DeviceId([u8::try_from(number).unwrap() + 1; 32])
}

fn person(number: u8) -> AccountId {
    AccountId([number + 1; 20])
}

fn conversation(number: u8) -> ConversationId {
    ConversationId([number + 1; 20])
}

/// Commits are as old as their numbers, and every device has all of them.
fn order(one: CommitId, other: CommitId) -> Option<Ordering> {
    Some(one.0.cmp(&other.0))
}

/// One device and all it remembers.
#[derive(Clone, Debug)]
struct Device {
    id: DeviceId,
    devices: KnownDevices,
    contacts: ContactList,
    pending: PendingRequests,
    conversations: ConversationRecords,
    requests: ConversationRequests,
    preferences: BTreeMap<ConversationId, Preferences>,
    status: BTreeMap<ConversationId, MessageStatus>,
}

/// What devices have to agree on.
type Agreed = (
    BTreeMap<DeviceId, String>,
    ContactList,
    BTreeMap<AccountId, (UnixMillis, Option<ConversationId>)>,
    BTreeMap<ConversationId, ConversationRecord>,
    ConversationRequests,
    BTreeMap<ConversationId, Preferences>,
    BTreeMap<ConversationId, MessageStatus>,
);

impl Device {
    fn new(number: usize, count: usize) -> Self {
        let mut devices = KnownDevices::default();
        (0..count).for_each(|other| drop(devices.add(device_id(other))));
        let id = device_id(number);
        devices.name(id, &format!("device {number}"), id);
        Self {
            id,
            devices,
            contacts: ContactList::new(OWN),
            pending: PendingRequests::default(),
            conversations: ConversationRecords::default(),
            requests: ConversationRequests::default(),
            preferences: BTreeMap::new(),
            status: BTreeMap::new(),
        }
    }

    fn tell(&self) -> Vec<SyncMessage> {
        let telling = Telling {
            devices: &self.devices,
            contacts: &self.contacts,
            pending: &self.pending,
            conversations: &self.conversations,
            requests: &self.requests,
        };
        let mut all = telling.device_data(|_| Some(DeviceShortId([1; 20])), 0);
        all.extend(telling.conversation_data());
        all.extend(preferences_told(self.preferences.iter().map(|(id, it)| (*id, it))));
        all.extend(status_told(
            self.status
                .iter()
                .flat_map(|(id, status)| status.members().map(|(member, status)| (*id, member, status))),
        ));
        all
    }

    fn hear(&mut self, from: DeviceId, message: &SyncMessage) -> Received {
        // Over the wire and back.
        let (message, skipped) = SyncReader::default().next(&mut &*message.encode()).unwrap().unwrap();
        assert_eq!(skipped, 0);
        let mut tables = AccountTables {
            account: OWN,
            device: self.id,
            devices: &mut self.devices,
            contacts: &mut self.contacts,
            pending: &mut self.pending,
            conversations: &mut self.conversations,
            requests: &mut self.requests,
        };
        let mut received = tables.receive(from, message, UnixMillis(1_000_000));
        for effect in &received.effects {
            match effect {
                SyncEffect::Preferences { conversation, preferences } => {
                    let own = self.preferences.entry(*conversation).or_default();
                    received.is_changed |= own.merge(preferences.clone());
                }
                SyncEffect::Status { conversation, members } => {
                    let own = self.status.entry(*conversation).or_default();
                    for (member, status) in members {
                        received.is_changed |= own.merge(*member, *status, order);
                    }
                }
                _ => {}
            }
        }
        received
    }

    fn agreed(&self) -> Agreed {
        let waiting: Vec<_> = self.requests.waiting().map(|(id, _)| id).collect();
        let each = self.requests.iter().map(|(id, _)| id).filter(|id| self.requests.is_waiting(*id));
        assert_eq!(each.collect::<Vec<_>>(), waiting);
        (
            self.devices.iter().map(|(id, it)| (id, it.name().to_owned())).collect(),
            self.contacts.clone(),
            self.pending.iter().map(|(who, it)| (who, (it.order_time(), it.conversation))).collect(),
            self.conversations.iter().map(|(id, it)| (id, it.as_told())).collect(),
            self.requests.clone(),
            self.preferences.clone(),
            self.status.clone(),
        )
    }

    /// What the owner, or somebody else, does at this device, whose clock shows `now`.
    fn act(&mut self, action: &Act, now: UnixMillis) {
        match *action {
            Act::AddContact(who) => {
                let asked = self.pending.remove(person(who)).is_some();
                drop(self.contacts.add(now, person(who), Some(conversation(who)), asked));
            }
            Act::RemoveContact(who, ban) => {
                if self.contacts.remove(now, person(who), ban).is_ok() {
                    self.pending.remove(person(who));
                }
            }
            Act::Confirm(who) => _ = self.contacts.confirm(person(who)),
            Act::Ask(who, about) => {
                let contact = self.contacts.get(person(who)).copied().unwrap_or_default();
                let is_known = self.conversations.get(conversation(about)).is_some();
                if contact.is_active() || contact.is_banned() || is_known {
                    return;
                }
                let request = PendingRequest {
                    device: None,
                    conversation: Some(conversation(about)),
                    received: now.max(UnixMillis(contact.latest().0 + 1)),
                    payload: b"vcard".to_vec(),
                    invited: None,
                };
                self.pending.record(person(who), request);
            }
            Act::Join(which, mode) => {
                let id = conversation(which);
                let old = self.conversations.get(id).cloned().unwrap_or_default();
                if !old.is_removed() && old.created != UnixMillis(0) {
                    return;
                }
                let created = now.max(UnixMillis(old.removed.0 + 1));
                let other = if mode == 0 { which % 2 } else { which };
                let record = ConversationRecord::new(created, [OWN, person(other)], mode.into());
                self.conversations.insert(id, record).unwrap();
                self.requests.remove(id);
            }
            Act::Leave(which) => {
                if let Some(record) = self.conversations.get_mut(conversation(which))
                    && !record.is_removed()
                {
                    record.removed = now.max(record.created);
                }
            }
            Act::Erase(which) => {
                if let Some(record) = self.conversations.get_mut(conversation(which))
                    && record.is_leaving()
                {
                    record.erased = now.max(record.removed);
                }
            }
            Act::Invite(which, who, mode) => {
                if self.conversations.get(conversation(which)).is_none() {
                    let metadata = [("mode".to_owned(), mode.to_string())].into();
                    let request = ConversationRequest::new(person(who), &metadata, now);
                    self.requests.record(conversation(which), request, now);
                }
            }
            Act::Decline(which) => _ = self.requests.decline(conversation(which), now),
            Act::Prefer(which, value) => {
                if self.conversations.get(conversation(which)).is_some() {
                    let values = [("color".to_owned(), value.to_string())].into();
                    self.preferences.entry(conversation(which)).or_default().change(values, now);
                }
            }
            Act::Read(which, who, commit) => {
                if self.conversations.get(conversation(which)).is_some() {
                    let status = self.status.entry(conversation(which)).or_default();
                    let covered = |one, other| order(one, other).is_some_and(Ordering::is_le);
                    status.advance(person(who), MarkerKind::Read, CommitId([commit; 20]), now, covered);
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    AddContact(u8),
    RemoveContact(u8, bool),
    Confirm(u8),
    Ask(u8, u8),
    Join(u8, u8),
    Leave(u8),
    Erase(u8),
    Invite(u8, u8, u8),
    Decline(u8),
    Prefer(u8, u8),
    Read(u8, u8, u8),
}

#[derive(Clone, Debug)]
enum Step {
    /// A device does something, by its own clock.
    Act(usize, i64, Act),
    /// A device tells all it knows; messages are kept for later.
    Tell(usize),
    /// A device hears any message that was ever told.
    Hear(usize, usize),
}

fn act() -> impl Strategy<Value = Act> {
    let few = 0..3_u8;
    prop_oneof![
        few.clone().prop_map(Act::AddContact),
        (few.clone(), any::<bool>()).prop_map(|(who, ban)| Act::RemoveContact(who, ban)),
        few.clone().prop_map(Act::Confirm),
        (few.clone(), few.clone()).prop_map(|(who, about)| Act::Ask(who, about)),
        (0..5_u8).prop_map(|which| Act::Join(which, if which < 3 { 0 } else { 2 })),
        (0..5_u8).prop_map(Act::Leave),
        (0..5_u8).prop_map(Act::Erase),
        // A conversation of two is always that of the same two.
        few.clone().prop_map(|which| Act::Invite(which, which % 2, 0)),
        (3..5_u8, 0..2_u8).prop_map(|(which, who)| Act::Invite(which, who, 2)),
        (0..5_u8).prop_map(Act::Decline),
        (few.clone(), few.clone()).prop_map(|(which, value)| Act::Prefer(which, value)),
        (few.clone(), few, 0..9_u8).prop_map(|(which, who, commit)| Act::Read(which, who, commit)),
    ]
}

fn step(devices: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..devices, 1..40_i64, act()).prop_map(|(device, now, act)| Step::Act(device, now * 300, act)),
        1 => (0..devices).prop_map(Step::Tell),
        3 => (0..devices, 0..usize::MAX).prop_map(|(device, message)| Step::Hear(device, message)),
    ]
}

/// All tell all, until nobody hears anything new; in the order of `seed`.
fn settle(devices: &mut [Device], seed: usize) {
    let count = devices.len();
    for _ in 0..9 {
        let mut is_changed = false;
        for turn in 0..count * count {
            let (from, to) = ((turn + seed) % count, (turn / count + seed) % count);
            let told = devices[from].tell();
            let from = devices[from].id;
            if from != devices[to].id {
                told.iter().for_each(|message| is_changed |= devices[to].hear(from, message).is_changed);
            }
        }
        if !is_changed {
            return;
        }
    }
    panic!("they go on telling each other news");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn devices_agree_whatever_they_do_and_in_whatever_order_and_however_often_they_hear_of_it(
        steps in prop::collection::vec(step(3), 0..80),
        seed in 0..9_usize,
    ) {
        let mut devices: Vec<_> = (0..3).map(|number| Device::new(number, 3)).collect();
        let mut told: Vec<(DeviceId, SyncMessage)> = Vec::new();
        for step in &steps {
            match step {
                Step::Act(device, now, act) => devices[*device].act(act, UnixMillis(*now)),
                Step::Tell(device) => {
                    let from = devices[*device].id;
                    told.extend(devices[*device].tell().into_iter().map(|message| (from, message)));
                }
                Step::Hear(device, message) if !told.is_empty() => {
                    let (from, message) = &told[message % told.len()];
                    if *from != devices[*device].id {
                        devices[*device].hear(*from, message);
                    }
                }
                Step::Hear(..) => {}
            }
        }
        // Whatever was ever told comes again and again, until it says nothing new any more.
        let mut is_settled = false;
        for _ in 0..9 {
            is_settled = true;
            for (from, message) in &told {
                for device in devices.iter_mut().filter(|device| device.id != *from) {
                    is_settled &= !device.hear(*from, message).is_changed;
                }
            }
            settle(&mut devices, seed);
            if is_settled {
                break;
            }
        }
        prop_assert!(is_settled);
        for device in &devices[1..] {
            prop_assert_eq!(device.agreed(), devices[0].agreed());
        }
    }

    /// The same messages in any order, repeated, lead to the same.
    #[test]
    fn a_device_that_only_listens_learns_the_same_from_any_order(
        acts in prop::collection::vec((0..2_usize, 1..40_i64, act()), 0..40),
        swaps in prop::collection::vec((0..usize::MAX, 0..usize::MAX), 0..30),
    ) {
        let mut devices: Vec<_> = (0..2).map(|number| Device::new(number, 3)).collect();
        for (device, now, act) in &acts {
            devices[*device].act(act, UnixMillis(now * 300));
        }
        let told = devices.iter().flat_map(|it| it.tell().into_iter().map(|message| (it.id, message)));
        let mut told: Vec<_> = told.collect();
        let listen = |told: &[(DeviceId, SyncMessage)]| {
            let mut listener = Device::new(2, 3);
            // Twice, because preferences and status wait for their conversation to be known.
            told.iter().chain(told).for_each(|(from, message)| drop(listener.hear(*from, message)));
            listener.agreed()
        };
        let expected = listen(&told);
        let count = told.len();
        swaps.iter().for_each(|(one, other)| told.swap(one % count, other % count));
        prop_assert_eq!(listen(&told), expected);
    }
}

/// Devices with schedules, of which some are linked, in virtual time.
struct Lab {
    devices: Vec<(Device, SyncSchedule)>,
    links: Vec<(usize, usize)>,
    now: Moment,
    messages: usize,
}

impl Lab {
    fn new(count: usize) -> Self {
        let others = |number| (0..count).filter(move |other| *other != number).map(device_id);
        let device = |number| {
            let schedule = SyncSchedule::new(SyncVersions::default(), others(number));
            (Device::new(number, count), schedule)
        };
        let devices = (0..count).map(device).collect();
        Self { devices, links: Vec::new(), now: Moment::default(), messages: 0 }
    }

    fn link(&mut self, one: usize, other: usize) {
        self.links.push((one, other));
        for (here, there) in [(one, other), (other, one)] {
            self.devices[here].1.linked(device_id(there));
        }
        // The channel that one of them opened; both write into it.
        for (here, there) in [(one, other), (other, one)] {
            let actions = self.devices[here].1.opened(device_id(there), there as u64);
            self.perform(here, actions);
        }
    }

    fn unlink(&mut self) {
        for (one, other) in std::mem::take(&mut self.links) {
            self.devices[one].1.unlinked(device_id(other));
            self.devices[other].1.unlinked(device_id(one));
        }
    }

    fn perform(&mut self, from: usize, actions: Vec<SyncAction>) {
        for action in actions {
            let (to, messages, version) = match action {
                SyncAction::TellAll { channel, version } => {
                    (vec![channel], self.devices[from].0.tell(), version)
                }
                SyncAction::TellContacts(channels) => {
                    let all = self.devices[from].0.tell();
                    (channels, all.into_iter().filter(|it| !it.contacts.is_empty()).collect(), None)
                }
                _ => continue,
            };
            for to in to {
                let to = usize::try_from(to).unwrap();
                self.messages += messages.len();
                for message in &messages {
                    let received = self.devices[to].0.hear(device_id(from), message);
                    if received.is_news {
                        let actions = self.devices[to].1.list_changed(self.now, ListChange::Other);
                        assert!(!actions.iter().any(|it| matches!(it, SyncAction::TellContacts(_))));
                    }
                }
                if let Some(version) = version {
                    self.devices[from].1.told_all(device_id(to), version);
                }
            }
        }
    }

    fn add_contact(&mut self, device: usize, who: u8, now: i64) {
        self.devices[device].0.act(&Act::AddContact(who), UnixMillis(now));
        let actions = self.devices[device].1.list_changed(self.now, ListChange::Contacts);
        self.perform(device, actions);
    }

    /// Lets time pass until nobody waits for anything; says for how long.
    fn quiet(&mut self) -> Duration {
        let start = self.now;
        for _ in 0..1000 {
            let deadlines = self.devices.iter().filter_map(|(_, schedule)| schedule.deadline());
            let Some(next) = deadlines.min() else { return self.now.since(start) };
            self.now = self.now.max(next);
            for number in 0..self.devices.len() {
                let actions = self.devices[number].1.tick(self.now);
                self.perform(number, actions);
            }
        }
        panic!("they never stop");
    }

    fn knows(&self, device: usize, who: u8) -> bool {
        self.devices[device].0.contacts.active().any(|(account, _)| account == person(who))
    }
}

#[test]
fn a_change_reaches_a_device_through_a_third_one_and_then_all_is_quiet() {
    let mut lab = Lab::new(3);
    lab.link(0, 1);
    lab.link(1, 2);
    lab.quiet();
    lab.messages = 0;
    lab.add_contact(0, 1, 5000);
    assert!(lab.knows(1, 1) && !lab.knows(2, 1), "at once where there is a channel");
    let passed = lab.quiet();
    assert!(lab.knows(2, 1));
    assert!(passed <= Duration::from_secs(5), "{passed:?}");
    assert!(lab.messages <= 20, "{}", lab.messages);
    assert_eq!((lab.quiet(), lab.devices[0].1.deadline()), (Duration::ZERO, None));
}

#[test]
fn devices_that_are_never_there_together_hear_of_each_other_through_a_third_one() {
    let mut lab = Lab::new(3);
    lab.add_contact(0, 1, 5000);
    lab.quiet();
    for (one, other) in [(0, 1), (1, 2), (0, 1)] {
        lab.link(one, other);
        lab.quiet();
        lab.unlink();
    }
    assert!((0..3).all(|device| lab.knows(device, 1)));
    let calls =
        |lab: &Lab, here: usize, there: usize| lab.devices[here].1.announced(device_id(there)).is_some();
    assert!(!calls(&lab, 0, 1), "it has heard of everything");
    assert!(calls(&lab, 0, 2), "they have not met; the third one may not have told");
}

#[test]
fn a_contact_is_heard_of_at_once_and_the_full_state_after_a_second_says_nothing_new() {
    let mut lab = Lab::new(2);
    lab.link(0, 1);
    lab.quiet();
    lab.add_contact(0, 1, 5000);
    assert!(lab.knows(1, 1));
    let before = lab.devices[1].0.agreed();
    lab.quiet();
    assert_eq!(lab.devices[1].0.agreed(), before);
}
