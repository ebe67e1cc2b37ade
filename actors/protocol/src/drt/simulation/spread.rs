//! How a commit spreads over the overlay, hop by hop.

use std::collections::{BTreeSet, VecDeque};

use super::{Network, Node};
use crate::drt::dissemination::Targets;
use crate::drt::telling::{Company, Head, Linked};
use crate::ids::{AccountId, CommitId, DeviceId};

/// How a commit spread: of each node, by its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// Within how many hops it had the commit: none for its author, and nothing if it did not get it.
    pub hops: Vec<Option<u32>>,
    /// How often it was told.
    pub received: Vec<u32>,
}

impl Network {
    /// A node makes a commit, and everybody who gets it passes it on. Every hop takes as long: one is
    /// told, and fetches. The overlay does not change meanwhile.
    pub fn publish(&mut self, author: usize, commit: CommitId) -> Spread {
        let mut spread = Spread { hops: vec![None; self.nodes.len()], received: vec![0; self.nodes.len()] };
        let mut under_way = VecDeque::from([(author, None, 0)]);
        while let Some((place, source, hop)) = under_way.pop_front() {
            let source: Option<usize> = source;
            if let Some(source) = source {
                if !self.reaches(source, place) {
                    continue;
                }
                spread.received[place] += 1;
                let device = self.nodes[source].device;
                self.nodes[place].telling.heard(device, commit);
            }
            if spread.hops[place].is_none() {
                spread.hops[place] = Some(hop);
                let source = source.map(|source| self.nodes[source].device);
                let told = self.tell(place, Head { commit, source });
                under_way.extend(told.into_iter().map(|other| (other, Some(place), hop + 1)));
            }
        }
        spread
    }

    /// Whom a node tells of a new head.
    fn tell(&mut self, place: usize, head: Head) -> Vec<usize> {
        let Node { account: own, router, channels, linked, .. } = &self.nodes[place];
        let own = *own;
        let connected: Vec<DeviceId> = router.table().connected().collect();
        let linked: Vec<Linked> = linked
            .iter()
            .map(|(device, account)| Linked { device: *device, account: *account, has_overlay: true })
            .collect();
        let connected_members: BTreeSet<AccountId> =
            channels.values().map(|other| self.nodes[*other].account).collect();
        let telling = &mut self.nodes[place].telling;
        telling.set_head(head);
        let Targets { accounts, devices, .. } = telling.next(&Company {
            own,
            members: &self.people,
            linked: &linked,
            connected: &connected,
            connected_members: &connected_members,
            to_wake: &[],
        });
        let devices = devices.iter().filter_map(|device| self.devices.get(device));
        let accounts = accounts.iter().filter_map(|account| self.accounts.get(account));
        devices.chain(accounts).copied().filter(|other| *other != place).collect()
    }
}
