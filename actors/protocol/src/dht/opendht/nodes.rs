//! The other nodes: where they are and whether they answer (`spec: dht 8`).
//!
//! ```text
//!   dubious ── answers ──► good ── silent for 10 min ──► dubious
//!      └──────── three requests in a row unanswered ───────► expired ── heard of ──► dubious
//! ```
//!
//! Only nodes that something here refers to are kept: the routing table, a search, a listening. So
//! their number is bounded by those, whatever strangers send.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::token::Token;
use crate::ids::NodeId;
use crate::time::Moment;

/// How long after its last answer a node may count as good.
pub(super) const ANSWER_LIFETIME: Duration = Duration::from_secs(120 * 60);

/// How long after anything was heard of it a node may count as good.
pub(super) const HEARD_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// Nodes kept at most; a few hundred bytes each. A thousand searches with candidates of their own
/// need that many.
pub(super) const MAX_NODES: usize = 32_768;

/// How long a token of a node is used: nodes take them for 15 minutes at least (`spec: dht 2.3`).
pub(super) const TOKEN_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// Refused tokens in a row after which a node counts as expired.
const MAX_REFUSED_TOKENS: u8 = 3;

/// Which of the two networks: they share nothing but the id of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    #[must_use]
    pub const fn of(address: &SocketAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }
}

/// Names a node in one of the two networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeKey {
    /// In which network.
    pub(super) family: Family,
    /// Which node.
    pub(super) id: NodeId,
}

/// What is known of a node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Where it is.
    pub(super) address: SocketAddr,
    heard: Option<Moment>,
    answered: Option<Moment>,
    expired: bool,
    slow: bool,
    refused_tokens: u8,
    token: Option<(Token, Moment)>,
    /// Requests sent to it and neither answered nor given up.
    pub(super) pending: u16,
}

impl Node {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            heard: None,
            answered: None,
            expired: false,
            slow: false,
            refused_tokens: 0,
            token: None,
            pending: 0,
        }
    }

    /// Whether it answers; only such nodes are named to others.
    #[must_use]
    pub(super) fn is_good(&self, now: Moment) -> bool {
        let within = |time: Option<Moment>, limit| time.is_some_and(|time: Moment| now.since(time) < limit);
        !self.expired && within(self.answered, ANSWER_LIFETIME) && within(self.heard, HEARD_LIFETIME)
    }

    /// Whether it left requests unanswered.
    #[must_use]
    pub(super) const fn is_expired(&self) -> bool {
        self.expired
    }
}

/// The nodes known.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    nodes: BTreeMap<NodeKey, Node>,
}

impl Nodes {
    /// What is known of a node.
    #[must_use]
    pub(super) fn get(&self, key: NodeKey) -> Option<&Node> {
        self.nodes.get(&key)
    }

    /// The record of a node, to be changed.
    pub(super) fn get_mut(&mut self, key: NodeKey) -> Option<&mut Node> {
        self.nodes.get_mut(&key)
    }

    /// Where a node is, if it is known and not expired.
    #[must_use]
    pub(super) fn address(&self, key: NodeKey) -> Option<SocketAddr> {
        self.nodes.get(&key).filter(|node| !node.expired).map(|node| node.address)
    }

    /// Whether a node is known and good.
    #[must_use]
    pub(super) fn is_good(&self, now: Moment, key: NodeKey) -> bool {
        self.nodes.get(&key).is_some_and(|node| node.is_good(now))
    }

    /// Whether a node has expired or is about to.
    #[must_use]
    pub(super) fn is_slow(&self, key: NodeKey) -> bool {
        self.nodes.get(&key).is_none_or(|node| node.slow || node.expired)
    }

    /// Notes that a request to a node is overdue. Returns whether that is news.
    pub(super) fn overdue(&mut self, key: NodeKey) -> bool {
        self.nodes.get_mut(&key).is_some_and(|node| !std::mem::replace(&mut node.slow, true))
    }

    /// Notes that `key` is said to be at `address`. Returns whether it can be asked there: not if it
    /// has expired there, or is known at another address, or there are too many.
    pub(super) fn mention(&mut self, key: NodeKey, address: SocketAddr) -> bool {
        if let Some(node) = self.nodes.get_mut(&key) {
            if node.expired && node.address != address {
                *node = Node::new(address);
            }
            return !node.expired && node.address == address;
        }
        if self.nodes.len() >= MAX_NODES {
            return false;
        }
        self.nodes.insert(key, Node::new(address));
        true
    }

    /// Notes that a known node sent something from `address`. A good node keeps the address at which
    /// it answers, so that nobody takes its place by using its id.
    pub(super) fn heard(&mut self, now: Moment, key: NodeKey, address: SocketAddr) {
        let Some(node) = self.nodes.get_mut(&key) else { return };
        if node.address != address {
            if node.is_good(now) || node.pending > 0 {
                return;
            }
            *node = Node::new(address);
        }
        node.heard = Some(now);
        node.expired = false;
    }

    /// Notes that a node answered a request of ours. Returns whether it was not good before.
    pub(super) fn answered(&mut self, now: Moment, key: NodeKey) -> bool {
        let Some(node) = self.nodes.get_mut(&key) else { return false };
        let news = !node.is_good(now);
        node.heard = Some(now);
        node.answered = Some(now);
        node.expired = false;
        node.slow = false;
        news
    }

    /// Notes that a node does not answer. Returns whether that is news.
    pub(super) fn expire(&mut self, key: NodeKey) -> bool {
        self.nodes.get_mut(&key).is_some_and(|node| !std::mem::replace(&mut node.expired, true))
    }

    /// Takes a token that a node gave us; it is good at all keys.
    pub(super) fn gave_token(&mut self, now: Moment, key: NodeKey, token: Token) {
        if let Some(node) = self.nodes.get_mut(&key) {
            node.token = Some((token, now));
        }
    }

    /// The token with which we may write at a node now.
    #[must_use]
    pub(super) fn token(&self, now: Moment, key: NodeKey) -> Option<&Token> {
        let node = self.nodes.get(&key).filter(|node| !node.expired)?;
        node.token.as_ref().filter(|(_, given)| now.since(*given) < TOKEN_LIFETIME).map(|(token, _)| token)
    }

    /// Notes that a node refused the token it gave us, which is dropped. Returns whether it did so
    /// too often.
    pub(super) fn refused_token(&mut self, key: NodeKey) -> bool {
        let Some(node) = self.nodes.get_mut(&key) else { return false };
        node.token = None;
        node.refused_tokens = node.refused_tokens.saturating_add(1);
        node.refused_tokens > MAX_REFUSED_TOKENS
    }

    /// Notes that a node took the token it gave us.
    pub(super) fn took_token(&mut self, key: NodeKey) {
        if let Some(node) = self.nodes.get_mut(&key) {
            node.refused_tokens = 0;
        }
    }

    /// Lets all nodes be tried again, as after this machine got another network.
    pub(super) fn forgive_all(&mut self) {
        for node in self.nodes.values_mut() {
            *node = Node::new(node.address);
        }
    }

    /// Forgets the nodes that are not in `used`.
    pub(super) fn retain(&mut self, used: &BTreeSet<NodeKey>) {
        self.nodes.retain(|key, node| node.pending > 0 || used.contains(key));
    }

    /// All nodes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeKey, &Node)> {
        self.nodes.iter().map(|(key, node)| (*key, node))
    }
}

/// The distance between a node or a key and another, to be compared with other distances: its high 128 bits
/// and its low 32.
#[must_use]
pub(super) fn distance(one: &[u8; 20], other: &[u8; 20]) -> (u128, u32) {
    let ((high, low), (other_high, other_low)) = (halves(one), halves(other));
    (high ^ other_high, low ^ other_low)
}

const fn halves(id: &[u8; 20]) -> (u128, u32) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, low @ ..] = *id;
    (u128::from_be_bytes([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]), u32::from_be_bytes(low))
}

/// How many leading bits two ids share.
#[must_use]
pub(super) fn common_bits(one: &[u8; 20], other: &[u8; 20]) -> usize {
    match distance(one, other) {
        (0, low) => 128 + low.leading_zeros() as usize,
        (high, _) => high.leading_zeros() as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, node as key};
    use super::*;

    const MINUTE: u64 = 60;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn a_node_is_good_while_it_is_heard_of_and_has_answered() {
        let mut nodes = Nodes::default();
        assert!(nodes.mention(key(1), address(1)));
        assert!(!nodes.is_good(at(0), key(1)));
        nodes.heard(at(1), key(1), address(1));
        assert!(!nodes.is_good(at(1), key(1)), "it has not answered");
        assert!(nodes.answered(at(2), key(1)));
        assert!(!nodes.answered(at(3), key(1)), "it was good already");
        assert!(nodes.is_good(at(3 + 10 * MINUTE - 1), key(1)));
        assert!(!nodes.is_good(at(3 + 10 * MINUTE), key(1)));
        for time in (0..130 * MINUTE).step_by(300) {
            nodes.heard(at(3 + time), key(1), address(1));
        }
        assert!(nodes.is_good(at(119 * MINUTE), key(1)));
        assert!(!nodes.is_good(at(121 * MINUTE), key(1)), "it did not answer for two hours");
    }

    #[test]
    fn an_expired_node_lives_again_when_it_is_heard_of_but_not_when_it_is_mentioned() {
        let mut nodes = Nodes::default();
        nodes.mention(key(1), address(1));
        assert!(nodes.expire(key(1)));
        assert!(!nodes.expire(key(1)));
        assert!(!nodes.mention(key(1), address(1)));
        assert_eq!(nodes.address(key(1)), None);
        nodes.heard(at(0), key(1), address(1));
        assert_eq!(nodes.address(key(1)), Some(address(1)));
        nodes.expire(key(1));
        assert!(nodes.mention(key(1), address(2)), "it may be somewhere else now");
    }

    #[test]
    fn nobody_takes_the_address_of_a_good_node_by_using_its_id() {
        let mut nodes = Nodes::default();
        nodes.mention(key(1), address(1));
        nodes.answered(at(0), key(1));
        nodes.heard(at(1), key(1), address(2));
        assert!(!nodes.mention(key(1), address(2)));
        assert_eq!(nodes.address(key(1)), Some(address(1)));
        nodes.expire(key(1));
        nodes.heard(at(2), key(1), address(2));
        assert_eq!(nodes.address(key(1)), Some(address(2)));
        assert!(!nodes.is_good(at(2), key(1)));
    }

    #[test]
    fn refused_tokens_count_until_one_is_taken() {
        let mut nodes = Nodes::default();
        nodes.mention(key(1), address(1));
        for _ in 0..2 {
            for _ in 0..3 {
                assert!(!nodes.refused_token(key(1)));
            }
            nodes.took_token(key(1));
        }
        for expected in [false, false, false, true] {
            assert_eq!(nodes.refused_token(key(1)), expected);
        }
    }

    #[test]
    fn a_token_is_used_for_ten_minutes_or_until_it_is_refused() {
        let mut nodes = Nodes::default();
        let token = Token::new(&[1; 32]).unwrap();
        nodes.gave_token(at(0), key(1), token.clone());
        assert_eq!(nodes.token(at(0), key(1)), None, "the node is not known");
        nodes.mention(key(1), address(1));
        nodes.gave_token(at(0), key(1), token.clone());
        assert_eq!(nodes.token(at(599), key(1)), Some(&token));
        assert_eq!(nodes.token(at(600), key(1)), None);
        nodes.gave_token(at(600), key(1), token);
        nodes.refused_token(key(1));
        assert_eq!(nodes.token(at(600), key(1)), None);
    }

    #[test]
    fn nodes_that_nothing_refers_to_are_forgotten_unless_they_are_being_asked() {
        let mut nodes = Nodes::default();
        for number in 1..=3 {
            nodes.mention(key(number), address(1));
        }
        nodes.get_mut(key(2)).unwrap().pending = 1;
        nodes.retain(&BTreeSet::from([key(1)]));
        let left: Vec<NodeKey> = nodes.iter().map(|(key, _)| key).collect();
        assert_eq!(left, [key(1), key(2)]);
    }

    #[test]
    fn distances_are_compared_bit_by_bit() {
        let zero = [0; 20];
        assert_eq!(common_bits(&zero, &zero), 160);
        for (byte, bits) in [(0x80, 0), (0x40, 1), (0x01, 7)] {
            let mut id = [0; 20];
            id[0] = byte;
            assert_eq!(common_bits(&zero, &id), bits);
            id.rotate_right(5);
            assert_eq!(common_bits(&zero, &id), bits + 40);
        }
        assert!(distance(&zero, &[1; 20]) < distance(&zero, &[2; 20]));
    }
}
