//! Who is told of a new commit (`spec: drt 9`): every link, and enough others that nobody is left out.

use std::collections::BTreeSet;

use super::random::Random;
use crate::ids::{AccountId, DeviceId};

/// Members without a connected device that are told of each commit.
pub const UNCONNECTED_MEMBERS: usize = 2;

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
    let strangers = situation.members.iter().copied();
    let is_stranger = |member: &AccountId| {
        *member != situation.own_account && !situation.connected_members.contains(member)
    };
    let strangers = random.choose(strangers.filter(is_stranger).collect(), UNCONNECTED_MEMBERS);
    let linked = situation.connected.iter().chain(situation.with_git).copied();
    let devices: BTreeSet<DeviceId> = linked.filter(|device| Some(*device) != situation.source).collect();
    let asleep = |device: &DeviceId| Some(*device) != situation.source && !devices.contains(device);
    Targets {
        accounts: situation.is_own.then_some(situation.own_account).into_iter().chain(strangers).collect(),
        wake: situation.to_wake.iter().copied().filter(asleep).collect(),
        devices: devices.into_iter().collect(),
    }
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
}
