//! Who is told of a new commit by one device, and the budgets of that: each device once for each commit
//! however often links come and go, and only of the newest.
//!
//! Beside the rules of the overlay ([`targets`]): devices that have none are told directly; and in a
//! conversation of few, everybody without a channel is told, not two of them only.

use std::collections::{BTreeMap, BTreeSet};

use super::dissemination::{Situation, Targets, targets};
use super::random::Random;
use crate::ids::{AccountId, CommitId, DeviceId};

/// With at most this many members, every link gets a channel, and who has none is told all the same:
/// one hop, and a handful of announcements.
pub const FEW_MEMBERS: usize = 16;

/// Devices remembered as told of the newest commit; each costs 32 bytes. Beyond, none is told.
const MAX_TOLD: usize = 4096;

/// The newest commit here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which.
    pub commit: CommitId,
    /// The device that we have it from, if it did not begin here.
    pub source: Option<DeviceId>,
}

/// A member's device that has a link with ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linked {
    /// Which.
    pub device: DeviceId,
    /// Whose.
    pub account: AccountId,
    /// Whether it may have channels of the overlay.
    pub has_overlay: bool,
}

/// Who is there when there is something to tell.
#[derive(Clone, Copy, Debug)]
pub struct Company<'a> {
    /// The account of this device.
    pub own: AccountId,
    /// Who is told of commits, each once, sorted.
    pub members: &'a [AccountId],
    /// Members' devices with a link.
    pub linked: &'a [Linked],
    /// Devices connected in the overlay.
    pub connected: &'a [DeviceId],
    /// Whose those are.
    pub connected_members: &'a BTreeSet<AccountId>,
    /// Mobile devices that are for us to wake.
    pub to_wake: &'a [DeviceId],
}

/// Who was told of the newest commit, and who knows of it anyway.
#[derive(Clone, Debug)]
pub struct Telling {
    head: Option<Head>,
    /// Who was told of it.
    devices: BTreeSet<DeviceId>,
    accounts: BTreeSet<AccountId>,
    /// What linked devices have said last that they have.
    heard: BTreeMap<DeviceId, CommitId>,
    random: Random,
}

impl Telling {
    /// Nobody was told of anything yet.
    #[must_use]
    pub const fn new(random: Random) -> Self {
        Self {
            head: None,
            devices: BTreeSet::new(),
            accounts: BTreeSet::new(),
            heard: BTreeMap::new(),
            random,
        }
    }

    /// The newest commit.
    #[must_use]
    pub const fn head(&self) -> Option<Head> {
        self.head
    }

    /// There is a head. Whether it is another commit than before: what was to be said of that one is said
    /// by this.
    pub fn set_head(&mut self, head: Head) -> bool {
        let is_new = self.head.replace(head).is_none_or(|before| before.commit != head.commit);
        if is_new {
            self.devices.clear();
            self.accounts.clear();
        }
        is_new
    }

    /// A linked device says that it has a commit.
    pub fn heard(&mut self, device: DeviceId, commit: CommitId) {
        self.heard.insert(device, commit);
    }

    /// Forgets what a device has said: its link is gone.
    pub fn unlinked(&mut self, device: DeviceId) {
        self.heard.remove(&device);
    }

    /// Who is to be told of the head, was not, and does not know by itself. They count as told from now
    /// on.
    pub fn next(&mut self, company: &Company<'_>) -> Targets {
        debug_assert!(company.members.is_sorted(), "members are looked up by halving");
        let Some(head) = self.head else { return Targets::default() };
        let mut targets = choose(head, company, &mut self.random);
        let knows = |device: &DeviceId| self.heard.get(device) == Some(&head.commit);
        targets.devices.retain(|device| !knows(device));
        targets.wake.retain(|device| !knows(device));
        targets.accounts.retain(|account| self.accounts.insert(*account));
        let mut first = |device: &DeviceId| self.devices.len() < MAX_TOLD && self.devices.insert(*device);
        targets.devices.retain(&mut first);
        targets.wake.retain(&mut first);
        targets
    }
}

fn choose(head: Head, company: &Company<'_>, random: &mut Random) -> Targets {
    let Company { own, members, linked, connected, connected_members, to_wake } = *company;
    if members.len() <= 2 {
        // Nobody else could pass it on: all devices are told, also when they come back much later.
        let is_linked = |device: &DeviceId| linked.iter().any(|it| it.device == *device);
        let asleep =
            to_wake.iter().copied().filter(|device| Some(*device) != head.source && !is_linked(device));
        return Targets { accounts: members.to_vec(), devices: Vec::new(), wake: asleep.collect() };
    }
    let few = members.len() <= FEW_MEMBERS;
    let is_member = |account: &AccountId| members.binary_search(account).is_ok();
    let mut reached = connected_members.clone();
    if !few && head.source.is_some() {
        // Who passes a commit on counts on the others for those whom all could reach: they have
        // channels with some. The author counts on nobody.
        reached.extend(linked.iter().filter(|it| it.has_overlay).map(|it| it.account));
    }
    // Who has no channel among the linked devices: the others of few, and those that have no overlay.
    let direct = linked.iter().filter(|it| is_member(&it.account) && (few || !it.has_overlay));
    let direct: Vec<DeviceId> = direct.map(|it| it.device).collect();
    let situation = Situation {
        is_own: head.source.is_none() && is_member(&own),
        source: head.source,
        own_account: own,
        members,
        connected_members: &reached,
        connected,
        with_git: &direct,
        to_wake,
    };
    let mut targets = targets(&situation, random);
    if few {
        targets.accounts = members.iter().copied().filter(|it| !reached.contains(it)).collect();
    } else if reached.contains(&own) {
        targets.accounts.retain(|account| *account != own);
    }
    // Whoever is told as an account hears of it at each device.
    let accounts: BTreeSet<AccountId> = targets.accounts.iter().copied().collect();
    let at_account = linked.iter().filter(|it| accounts.contains(&it.account)).map(|it| it.device);
    let at_account: BTreeSet<DeviceId> = at_account.collect();
    targets.devices.retain(|device| !at_account.contains(device));
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(number: u8) -> AccountId {
        AccountId([number; 20])
    }

    fn device(number: u8) -> DeviceId {
        DeviceId([number; 32])
    }

    fn commit(number: u8) -> CommitId {
        CommitId([number; 20])
    }

    fn linked(number: u8) -> Linked {
        Linked { device: device(number), account: account(number), has_overlay: true }
    }

    /// Number 0 of `count` members is told of a commit by `source`, has channels with 1 and 2, and is linked
    /// with all.
    fn told(count: u8, source: Option<DeviceId>, telling: &mut Telling) -> Targets {
        let members: Vec<AccountId> = (0..count).map(account).collect();
        let linked: Vec<Linked> = (1..count).map(linked).collect();
        telling.set_head(Head { commit: commit(1), source });
        telling.next(&Company {
            own: account(0),
            members: &members,
            linked: &linked,
            connected: &[device(1), device(2)],
            connected_members: &[account(1), account(2)].into(),
            to_wake: &[],
        })
    }

    fn new() -> Telling {
        Telling::new(Random::from_seed(1))
    }

    #[test]
    fn of_few_everybody_is_told_once_however_often_there_is_something_to_tell() {
        let mut telling = new();
        let targets = told(5, None, &mut telling);
        let mut accounts: Vec<AccountId> = targets.accounts;
        accounts.sort_unstable();
        assert_eq!(targets.devices, [device(1), device(2)]);
        assert_eq!(accounts, [account(0), account(3), account(4)]);
        for _ in 0..100 {
            assert_eq!(told(5, None, &mut telling), Targets::default());
        }
    }

    #[test]
    fn in_a_large_conversation_the_author_tells_two_strangers_and_who_passes_on_none() {
        let targets = told(40, None, &mut new());
        assert_eq!(targets.devices, [device(1), device(2)]);
        assert_eq!(targets.accounts.iter().filter(|it| **it != account(0)).count(), 2);
        let targets = told(40, Some(device(2)), &mut new());
        assert_eq!(targets, Targets { devices: vec![device(1)], ..Targets::default() });
    }

    #[test]
    fn who_says_that_it_has_the_commit_is_not_told_unless_its_link_was_new_since() {
        let mut telling = new();
        telling.heard(device(1), commit(1));
        telling.heard(device(2), commit(1));
        telling.unlinked(device(2));
        assert_eq!(told(40, None, &mut telling).devices, [device(2)]);
    }
}
