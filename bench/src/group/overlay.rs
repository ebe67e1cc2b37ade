//! A group of a thousand members in this process, in virtual time: how news spreads among them.

use std::time::Duration;

use skep_protocol::drt::presence;
use skep_protocol::drt::simulation::{self, Acquaintance, Conditions, Network};
use skep_protocol::ids::{CommitId, ConversationId};
use skep_protocol::time::UnixMillis;

use crate::statistics::Samples;

/// Members, each with one device, all of them online.
pub(crate) const MEMBERS: usize = 1000;

/// Commits that spread, one after the other, each by another author.
pub(crate) const COMMITS: usize = 100;

/// The time of one hop: a channel comes up, or a message of the overlay arrives.
const HOP: Duration = Duration::from_millis(50);

/// Time for the overlay to come to rest after the first came online.
const SETTLED: Duration = Duration::from_mins(5);

/// What everything follows from.
const SEED: u64 = 1;

/// What the members find.
const CONDITIONS: Conditions = Conditions {
    conversation: ConversationId([9; 20]),
    wall: UnixMillis(1_795_400_000_000),
    latency: [HOP; 2],
    failures: 0,
};

/// With whom members have links, over which they ask for channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// With everybody whose device is announced, as a node has.
    All,
    /// With nobody at first but the few that one looks for who knows nobody.
    Few,
}

impl Links {
    /// With how many of those who came before one gets links who comes online.
    fn count(self, members: usize) -> usize {
        match self {
            Self::All => members,
            Self::Few => presence::watched_count(members),
        }
    }
}

/// How commits spread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spread {
    /// Of each commit, the hops within which 99 of 100 members had it.
    pub(crate) hops: Samples,
    /// Hops until the last member had it.
    pub(crate) last: Samples,
    /// Of each commit, how often a member was told of it on average.
    pub(crate) received: Samples,
    /// Members that did not get a commit, over all commits.
    pub(crate) missed: usize,
    /// Channels of each member.
    pub(crate) degrees: Samples,
}

impl Spread {
    /// The mean number of channels of a member.
    pub(crate) fn degree(&self) -> f64 {
        self.degrees.mean().unwrap_or_default()
    }

    fn add(&mut self, commit: &simulation::Spread) {
        self.missed += commit.hops.iter().filter(|hop| hop.is_none()).count();
        let hops: Samples = commit.hops.iter().flatten().copied().map(f64::from).collect();
        let [most, last] = [99, 100].map(|percent| hops.percentile(percent).unwrap_or_default());
        self.hops.add(most);
        self.last.add(last);
        let received: Samples = commit.received.iter().copied().map(f64::from).collect();
        self.received.add(received.mean().unwrap_or_default());
    }
}

/// Has so many members come online and commits spread among them.
pub(crate) fn measure(members: usize, links: Links) -> Spread {
    let mut network = Network::new(members, SEED, CONDITIONS);
    network.join(0..members, Acquaintance::Linked(links.count(members)));
    network.run(SETTLED);
    let degrees = network.degrees().into_iter().map(number).collect();
    let mut spread = Spread { degrees, ..Spread::default() };
    for commit in 0..COMMITS {
        let author = network.random().below(members);
        let mut id = CommitId([0; 20]);
        id.0[..8].copy_from_slice(&commit.to_be_bytes());
        spread.add(&network.publish(author, id));
    }
    spread
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_is_told_of_every_commit_and_by_no_more_than_have_channels_with_it() {
        let spread = measure(60, Links::All);
        assert_eq!((spread.missed, spread.hops.count()), (0, COMMITS));
        assert!(spread.received.percentile(100).unwrap() <= spread.degree());
        assert!(spread.last.percentile(100).unwrap() <= 3.0);
        let spread = measure(60, Links::Few);
        assert_eq!(spread.missed, 0);
    }
}
