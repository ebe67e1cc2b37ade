//! Who is told of a new commit (`spec: drt 9`): every link, and enough others that nobody is left out.

use std::collections::BTreeSet;

use super::random::Random;
use crate::ids::{AccountId, DeviceId};

/// Members without a connected device that are told of each commit.
pub const UNCONNECTED_MEMBERS: usize = 2;

/// From so many members on, strangers are drawn from all rather than picked out of them.
const MANY_MEMBERS: usize = 256;

/// How often one is drawn before all are looked at.
const DRAWS: usize = 16;

/// How things stand when there is something to tell.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// Whether the commit was made here, so that our own other devices are to hear of it.
    pub is_own: bool,
    /// The device that told us, which need not be told.
    pub source: Option<DeviceId>,
    /// The account of this device.
    pub own_account: AccountId,
    /// The active members.
    pub members: &'a [AccountId],
    /// Those of them that have a connected device.
    pub connected_members: &'a BTreeSet<AccountId>,
    /// Devices connected in the overlay.
    pub connected: &'a [DeviceId],
    /// Devices with an open git channel of the conversation.
    pub with_git: &'a [DeviceId],
    /// Mobile devices that are for us to wake, authorised ones only.
    pub to_wake: &'a [DeviceId],
}

/// Who is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Accounts, of which all devices are told; connections may be opened for it.
    pub accounts: Vec<AccountId>,
    /// Devices, each once, over connections that exist.
    pub devices: Vec<DeviceId>,
    /// Devices to be woken.
    pub wake: Vec<DeviceId>,
}

/// Chooses who is told of a commit.
#[must_use]
pub fn targets(situation: &Situation<'_>, random: &mut Random) -> Targets {
    let strangers = strangers(situation, random);
    let linked = situation.connected.iter().chain(situation.with_git).copied();
    let devices: BTreeSet<DeviceId> = linked.filter(|device| Some(*device) != situation.source).collect();
    let asleep = |device: &DeviceId| Some(*device) != situation.source && !devices.contains(device);
    Targets {
        accounts: situation.is_own.then_some(situation.own_account).into_iter().chain(strangers).collect(),
        wake: situation.to_wake.iter().copied().filter(asleep).collect(),
        devices: devices.into_iter().collect(),
    }
}

/// Members without a connected device, at random. Of many members hardly any is connected, so a few draws
/// find them; only where they do not are all looked at.
fn strangers(situation: &Situation<'_>, random: &mut Random) -> Vec<AccountId> {
    let members = situation.members;
    let is_stranger = |member: &AccountId| {
        *member != situation.own_account && !situation.connected_members.contains(member)
    };
    if members.len() >= MANY_MEMBERS {
        let mut drawn: Vec<AccountId> = Vec::with_capacity(UNCONNECTED_MEMBERS);
        for _ in 0..DRAWS {
            let Some(member) = members.get(random.below(members.len())) else { break };
            if is_stranger(member) && !drawn.contains(member) {
                drawn.push(*member);
            }
            if drawn.len() == UNCONNECTED_MEMBERS {
                return drawn;
            }
        }
    }
    random.choose(members.iter().copied().filter(is_stranger).collect(), UNCONNECTED_MEMBERS)
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

    #[test]
    fn links_git_channels_two_strangers_and_sleepers_are_told_each_once() {
        let members: Vec<AccountId> = (0..10).map(account).collect();
        let connected_members = [account(1), account(2)].into();
        let situation = Situation {
            is_own: true,
            source: None,
            own_account: account(0),
            members: &members,
            connected_members: &connected_members,
            connected: &[device(1), device(2)],
            with_git: &[device(2), device(3)],
            to_wake: &[device(3), device(4)],
        };
        for seed in 0..50 {
            let told = targets(&situation, &mut Random::from_seed(seed));
            assert_eq!(told.devices, [device(1), device(2), device(3)]);
            assert_eq!(told.wake, [device(4)]);
            let (own, strangers) = told.accounts.split_first().unwrap();
            assert_eq!((*own, strangers.len()), (account(0), UNCONNECTED_MEMBERS));
            assert_ne!(strangers[0], strangers[1]);
            assert!(strangers.iter().all(|it| members[3..].contains(it)), "{strangers:?}");
        }
    }

    #[test]
    fn who_told_us_is_not_told_and_own_devices_are_told_of_own_commits_only() {
        let situation = Situation {
            is_own: false,
            source: Some(device(1)),
            own_account: account(0),
            members: &[account(0)],
            connected_members: &BTreeSet::new(),
            connected: &[device(1), device(2)],
            with_git: &[device(1)],
            to_wake: &[device(1)],
        };
        let told = targets(&situation, &mut Random::from_seed(1));
        assert_eq!(told, Targets { devices: vec![device(2)], ..Targets::default() });
    }

    #[test]
    fn of_thousands_of_members_any_two_strangers_are_told_and_none_that_is_connected() {
        let member = |number: u16| {
            let mut id = [0; 20];
            id[..2].copy_from_slice(&number.to_be_bytes());
            AccountId(id)
        };
        let members: Vec<AccountId> = (0..3000).map(member).collect();
        let told = |connected: BTreeSet<AccountId>, seed| {
            let situation = Situation {
                is_own: false,
                source: None,
                own_account: member(0),
                members: &members,
                connected_members: &connected,
                connected: &[],
                with_git: &[],
                to_wake: &[],
            };
            targets(&situation, &mut Random::from_seed(seed)).accounts
        };
        let few: BTreeSet<AccountId> = (1..40).map(member).collect();
        let all_but_two: BTreeSet<AccountId> = (1..2998).map(member).collect();
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let strangers = told(few.clone(), seed);
            assert!(strangers.len() == 2 && strangers[0] != strangers[1]);
            assert!(strangers.iter().all(|it| *it >= member(40)), "{strangers:?}");
            seen.extend(strangers);
            let mut last = told(all_but_two.clone(), seed);
            last.sort_unstable();
            assert_eq!(last, [member(2998), member(2999)]);
        }
        assert!(seen.len() > 300, "{}", seen.len());
    }
}
