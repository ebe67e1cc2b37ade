//! A node in its local network: when it asks who is there and says that it is, whom it answers, and
//! whom it believes (`spec: dht 9`).
//!
//! ```text
//!   start, another network, connection lost ──► query and announcement to the groups
//!        still without connection:               again after 10 s, 20 s, 40 s, then each minute
//!
//!   query to the group        ──► announcement to its sender     some a second at most
//!   announcement, from anyone ──► a node to try                  some a second at most
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use super::compact::{self, Contact};
use super::discovery::{AnnouncedNode, Discovery};
use super::packet::NetworkId;
use super::rate::RateLimit;
use crate::ids::NodeId;
use crate::time::Moment;

/// First wait before the groups are asked again; doubles up to [`LAST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(10);

/// Longest wait before they are asked again.
const LAST_WAIT: Duration = Duration::from_secs(60);

/// Queries of one IP address that are answered in one second: as many as a machine with several nodes
/// sends when its network comes up.
const ANSWERS_PER_ADDRESS: u32 = 4;

/// Queries that are answered in one second: what more ask in a large network ask again.
const ANSWERS: usize = 16;

/// Announcements of one IP address that are believed in one second; each costs up to three pings.
const NODES_PER_ADDRESS: u32 = 4;

/// Announcements that are believed in one second: some neighbours are enough to find the others.
const NODES: usize = 16;

/// How a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To a group, so from this network.
    Group,
    /// To this node alone. Queries that come so may come from anywhere, and are not answered.
    Alone,
}

/// What follows from a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing.
    Nothing,
    /// Its sender is to be sent [`LocalNetwork::announcement`].
    Query,
    /// A node to try.
    Node(Contact),
}

/// The part of a node that the local network sees.
#[derive(Debug)]
pub struct LocalNetwork {
    id: NodeId,
    network: NetworkId,
    /// When the groups are asked although the node is connected.
    owed: bool,
    next: Option<Moment>,
    wait: Duration,
    answers: RateLimit,
    nodes: RateLimit,
}

impl LocalNetwork {
    /// A node that has not announced itself yet.
    #[must_use]
    pub fn new(id: NodeId, network: NetworkId) -> Self {
        Self {
            id,
            network,
            owed: true,
            next: None,
            wait: FIRST_WAIT,
            answers: RateLimit::new(ANSWERS_PER_ADDRESS, ANSWERS),
            nodes: RateLimit::new(NODES_PER_ADDRESS, NODES),
        }
    }

    /// The machine got another network: the groups are asked there as well.
    pub const fn network_changed(&mut self) {
        self.owed = true;
        self.wait = FIRST_WAIT;
    }

    /// Whether query and announcement are to be sent to the groups now. `connected` is whether any
    /// node answers.
    pub fn poll(&mut self, now: Moment, connected: bool) -> bool {
        if connected {
            self.next = None;
            self.wait = FIRST_WAIT;
        }
        let waiting = connected || self.next.is_some_and(|next| next > now);
        if waiting && !self.owed {
            return false;
        }
        self.owed = false;
        if !connected {
            self.next = Some(now.plus(self.wait));
            self.wait = self.wait.saturating_mul(2).min(LAST_WAIT);
        }
        true
    }

    /// When to [poll](Self::poll) next, if nothing happens.
    #[must_use]
    pub const fn next_deadline(&self) -> Option<Moment> {
        self.next
    }

    /// What this node tells of itself when it can be reached at this UDP port.
    #[must_use]
    pub fn announcement(&self, port: u16) -> Vec<u8> {
        let node = Some(AnnouncedNode { id: self.id, port, network: self.network });
        Discovery::Announcement { node, person: None }.encode()
    }

    /// Takes a packet.
    pub fn receive(&mut self, now: Moment, from: SocketAddr, way: Way, bytes: &[u8]) -> Heard {
        let from = compact::canonical(from);
        if compact::is_martian(&from) {
            return Heard::Nothing;
        }
        match Discovery::decode(bytes) {
            Some(Discovery::Query) if way == Way::Group && self.answers.admit(now, from.ip()) => Heard::Query,
            Some(Discovery::Announcement { node: Some(node), .. })
                if node.network == self.network
                    && node.id != self.id
                    && node.id.0 != [0; 20]
                    && self.nodes.admit(now, from.ip()) =>
            {
                let mut address = from;
                address.set_port(node.port);
                Heard::Node(Contact { id: node.id, address })
            }
            _ => Heard::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: NetworkId = NetworkId(7);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn node() -> LocalNetwork {
        LocalNetwork::new(NodeId([1; 20]), NETWORK)
    }

    fn source(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 8888))
    }

    fn announcement(id: u8, network: NetworkId) -> Vec<u8> {
        LocalNetwork::new(NodeId([id; 20]), network).announcement(4222)
    }

    #[test]
    fn the_groups_are_asked_with_growing_pauses_until_a_node_answers() {
        let mut node = node();
        let asked: Vec<u64> = (0..260).filter(|second| node.poll(at(*second), false)).collect();
        assert_eq!(asked, [0, 10, 30, 70, 130, 190, 250]);
        assert_eq!(node.next_deadline(), Some(at(310)));
        assert!((260..1000).all(|second| !node.poll(at(second), true)));
        assert_eq!(node.next_deadline(), None);
        let asked: Vec<u64> = (1000..1040).filter(|second| node.poll(at(*second), false)).collect();
        assert_eq!(asked, [1000, 1010, 1030]);
    }

    #[test]
    fn the_groups_are_asked_once_at_the_start_and_in_another_network_though_connected() {
        let mut node = node();
        assert!(node.poll(at(0), true) && !node.poll(at(0), true));
        node.network_changed();
        assert!(node.poll(at(5), true) && !node.poll(at(5), true));
    }

    #[test]
    fn announced_nodes_are_at_the_address_of_their_sender() {
        let mut node = node();
        for way in [Way::Group, Way::Alone] {
            let heard = node.receive(at(0), source(2), way, &announcement(2, NETWORK));
            let address = "10.0.0.2:4222".parse().unwrap();
            assert_eq!(heard, Heard::Node(Contact { id: NodeId([2; 20]), address }));
        }
        // Where it is link-local, the interface is part of the address.
        let from = std::net::SocketAddrV6::new("fe80::5".parse().unwrap(), 8888, 0, 3);
        let Heard::Node(found) = node.receive(at(0), from.into(), Way::Group, &announcement(2, NETWORK))
        else {
            panic!()
        };
        assert_eq!(found.address, std::net::SocketAddrV6::new(*from.ip(), 4222, 0, 3).into());
    }

    #[test]
    fn this_node_and_those_of_other_networks_and_of_impossible_addresses_are_passed_over() {
        let mut node = node();
        for (id, network) in [(1, NETWORK), (0, NETWORK), (2, NetworkId(8))] {
            let bytes = announcement(id, network);
            assert_eq!(node.receive(at(0), source(2), Way::Group, &bytes), Heard::Nothing);
        }
        for from in ["0.0.0.0:8888", "239.192.0.1:8888", "[ff08::101]:8888", "10.0.0.2:0"] {
            for bytes in [announcement(2, NETWORK), Discovery::Query.encode()] {
                let heard = node.receive(at(0), from.parse().unwrap(), Way::Group, &bytes);
                assert_eq!(heard, Heard::Nothing, "{from}");
            }
        }
    }

    #[test]
    fn queries_are_answered_in_the_group_only_and_with_little() {
        let mut node = node();
        let query = Discovery::Query.encode();
        assert_eq!(node.receive(at(0), source(2), Way::Alone, &query), Heard::Nothing);
        assert_eq!(node.receive(at(0), source(2), Way::Group, &query), Heard::Query);
        assert!(node.announcement(65_535).len() <= query.len() + 48);
    }

    #[test]
    fn a_flood_is_answered_and_believed_a_few_times_a_second() {
        let mut node = node();
        let query = Discovery::Query.encode();
        let mut count = |second, hosts: u8, announced: bool| {
            let times = (0..100_u8).flat_map(|round| (1..=hosts).map(move |host| (round, host)));
            let heard = times.map(|(round, host)| {
                let found = announcement(round.max(2), NETWORK);
                let bytes = if announced { &found } else { &query };
                node.receive(at(second), source(host), Way::Group, bytes)
            });
            heard.filter(|heard| *heard != Heard::Nothing).count()
        };
        for announced in [false, true] {
            assert_eq!(count(0, 1, announced), 4);
            assert_eq!(count(1, 200, announced), 16);
            assert_eq!(count(2, 1, announced), 4);
        }
    }

    #[test]
    fn bytes_of_any_kind_do_no_harm() {
        let mut node = node();
        crate::testing::with_mutations(&announcement(2, NETWORK), 2000, |bytes| {
            node.receive(at(0), source(2), Way::Group, bytes);
        });
    }
}
