//! Whom to dial, and when: bootstrap nodes and peers that were good before.
//!
//! A node stays in the network without help: whoever is not connected is dialled again and again,
//! after a pause that doubles and is stretched at random, so that the nodes which lost a bootstrap
//! node together do not return together. Bootstrap nodes are dialled for ever; peers only as long
//! as fewer than [`ENOUGH_PEERS`] are connected, and those that never answer are forgotten.
//!
//! Good peers are written to a file, one libp2p address with node id a line, latest first.

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use skep_protocol::time::Moment;

use super::config::{BootstrapAddress, MAX_BOOTSTRAP};

/// With so many connections no peer is dialled only to have more: one for each place that a value
/// is stored at.
const ENOUGH_PEERS: usize = 8;

/// Most peers remembered; enough that some are still there after a long absence.
const MAX_PEERS: usize = 64;

/// Most addresses remembered of one peer.
const MAX_ADDRESSES: usize = 4;

/// First pause after a failed attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Longest pause between attempts at a bootstrap node, and at any peer while the node is alone.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Longest pause between attempts at a peer while there are others, and pause between attempts at a
/// bootstrap node while there are enough: a full book of absent peers is one attempt every 10 s.
const RELAXED_PAUSE: Duration = Duration::from_secs(10 * 60);

/// Attempts after which a peer that never answers is forgotten: half a day of them.
const MAX_FAILURES: u32 = 64;

/// Someone to dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Contact {
    /// A configured node.
    Bootstrap(BootstrapAddress),
    /// A node met before.
    Peer(PeerId),
}

/// One attempt to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) contact: Contact,
    /// Addresses of a peer; empty for a bootstrap node, whose address is in the contact.
    pub(super) addresses: Vec<Multiaddr>,
}

#[derive(Debug, Default)]
struct Entry {
    /// Who is there, as far as known.
    peer: Option<PeerId>,
    addresses: Vec<Multiaddr>,
    failures: u32,
    /// When to dial; `None` while connected.
    next: Option<Moment>,
    /// When to dial if no other peer is connected.
    next_alone: Option<Moment>,
    /// When it was last connected; decides who is forgotten first.
    last_seen: Option<Moment>,
}

/// Everyone who may be dialled.
#[derive(Debug, Default)]
pub(super) struct AddressBook {
    entries: BTreeMap<Contact, Entry>,
    changed: bool,
}

impl AddressBook {
    /// Adds a bootstrap node, to be dialled now. Returns whether there was room.
    pub(super) fn add_bootstrap(&mut self, address: BootstrapAddress, now: Moment) -> bool {
        let contact = Contact::Bootstrap(address);
        let count = self.entries.keys().filter(|contact| matches!(contact, Contact::Bootstrap(_))).count();
        if count >= MAX_BOOTSTRAP && !self.entries.contains_key(&contact) {
            return false;
        }
        let entry = self.entries.entry(contact).or_default();
        if entry.peer.is_none() {
            entry.next = Some(now);
        }
        true
    }

    /// Adds the peers of a file written by [`Self::to_text`]; lines that are none are skipped.
    pub(super) fn add_text(&mut self, text: &str, now: Moment) {
        for line in text.lines().take(MAX_PEERS * MAX_ADDRESSES) {
            let Ok(mut address) = line.trim().parse::<Multiaddr>() else { continue };
            let Some(Protocol::P2p(peer)) = address.pop() else { continue };
            self.learn(peer, address);
            if let Some(entry) = self.entries.get_mut(&Contact::Peer(peer)) {
                entry.next = Some(now);
            }
        }
        self.changed = false;
    }

    /// The peers that were good, for the file.
    pub(super) fn to_text(&self) -> String {
        let peers = self.entries.iter().filter_map(|(contact, entry)| match contact {
            Contact::Peer(peer) => Some((*peer, entry)),
            Contact::Bootstrap(_) => None,
        });
        let mut peers: Vec<_> = peers.collect();
        peers.sort_by_key(|(_, entry)| (entry.failures, std::cmp::Reverse(entry.last_seen)));
        let mut text = String::new();
        for (peer, entry) in peers {
            for address in &entry.addresses {
                text.push_str(&address.clone().with(Protocol::P2p(peer)).to_string());
                text.push('\n');
            }
        }
        text
    }

    /// Whether [`Self::to_text`] differs from what was last read or [saved](Self::saved).
    pub(super) fn is_changed(&self) -> bool {
        self.changed
    }

    /// The file is up to date.
    pub(super) fn saved(&mut self) {
        self.changed = false;
    }

    /// A peer may be reached at this address.
    pub(super) fn learn(&mut self, peer: PeerId, address: Multiaddr) {
        if !self.entries.contains_key(&Contact::Peer(peer)) && !self.make_room() {
            return;
        }
        let entry = self.entries.entry(Contact::Peer(peer)).or_default();
        entry.peer = Some(peer);
        if !entry.addresses.contains(&address) {
            entry.addresses.insert(0, address);
            entry.addresses.truncate(MAX_ADDRESSES);
            self.changed = true;
        }
    }

    /// Forgets the worst peer if the book is full; false if all are connected.
    fn make_room(&mut self) -> bool {
        let peers = || self.entries.iter().filter(|(contact, _)| matches!(contact, Contact::Peer(_)));
        if peers().count() < MAX_PEERS {
            return true;
        }
        let absent = peers().filter(|(_, entry)| entry.next.is_some());
        let worst = absent.max_by_key(|(_, entry)| (entry.failures, std::cmp::Reverse(entry.last_seen)));
        let worst = worst.map(|(contact, _)| contact.clone());
        worst.is_some_and(|contact| self.entries.remove(&contact).is_some())
    }

    /// A connection to `peer` exists; `contact` is the one whose attempt led to it, if any.
    pub(super) fn connected(&mut self, peer: PeerId, contact: Option<&Contact>, now: Moment) {
        for (other, entry) in &mut self.entries {
            if Some(other) == contact || entry.peer == Some(peer) {
                entry.peer = Some(peer);
                entry.failures = 0;
                entry.next = None;
                entry.last_seen = Some(now);
            }
        }
    }

    /// The last connection to `peer` is gone. `jitter` is a random number in 0..=1.
    pub(super) fn disconnected(&mut self, peer: PeerId, now: Moment, jitter: f64) {
        for entry in self.entries.values_mut().filter(|entry| entry.peer == Some(peer)) {
            entry.next = Some(now.plus(FIRST_PAUSE.mul_f64(jitter.clamp(0.0, 1.0))));
        }
    }

    /// An attempt failed. `jitter` is a random number in 0..=1.
    pub(super) fn failed(&mut self, contact: &Contact, now: Moment, jitter: f64) {
        let Some(entry) = self.entries.get_mut(contact) else { return };
        let doublings = entry.failures.min(16);
        entry.failures = entry.failures.saturating_add(1);
        let longest = if matches!(contact, Contact::Peer(_)) { RELAXED_PAUSE } else { LONGEST_PAUSE };
        let pause = FIRST_PAUSE.saturating_mul(1 << doublings);
        let stretched = |pause: Duration| now.plus(pause + pause.mul_f64(jitter.clamp(0.0, 1.0) / 2.0));
        entry.next = Some(stretched(pause.min(longest)));
        entry.next_alone = Some(stretched(pause.min(LONGEST_PAUSE)));
        if entry.failures >= MAX_FAILURES && matches!(contact, Contact::Peer(_)) {
            self.entries.remove(contact);
            self.changed = true;
        }
    }

    /// A contact turned out to be this node itself.
    pub(super) fn forget(&mut self, contact: &Contact) {
        self.entries.remove(contact);
    }

    /// Whom to dial now, given how many peers are connected. Each is told once until it
    /// [failed](Self::failed) or was [lost](Self::disconnected).
    pub(super) fn due(&mut self, now: Moment, connected: usize) -> Vec<Attempt> {
        let mut due = Vec::new();
        for (contact, entry) in &mut self.entries {
            if entry.due(contact, connected).is_some_and(|moment| moment <= now) {
                entry.next = None;
                due.push(Attempt { contact: contact.clone(), addresses: entry.addresses.clone() });
            }
        }
        due
    }

    /// When [`Self::due`] is not empty.
    pub(super) fn deadline(&self, connected: usize) -> Option<Moment> {
        self.entries.iter().filter_map(|(contact, entry)| entry.due(contact, connected)).min()
    }
}

impl Entry {
    /// When to dial, given how many peers are connected.
    fn due(&self, contact: &Contact, connected: usize) -> Option<Moment> {
        let enough = connected >= ENOUGH_PEERS;
        match contact {
            Contact::Bootstrap(_) if enough && self.failures > 0 => {
                self.next.map(|next| next.plus(RELAXED_PAUSE))
            }
            Contact::Bootstrap(_) => self.next,
            Contact::Peer(_) if connected == 0 => self.next.min(self.next_alone.or(self.next)),
            Contact::Peer(_) => self.next.filter(|_| !enough),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::kad::config::NodeSecret;

    fn peer(number: u8) -> PeerId {
        NodeSecret([number; 32]).peer_id().unwrap()
    }

    fn address(number: u64) -> Multiaddr {
        format!("/memory/{number}").parse().unwrap()
    }

    fn bootstrap() -> BootstrapAddress {
        "127.0.0.1:4222".parse().unwrap()
    }

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn a_bootstrap_node_that_is_not_up_is_dialled_for_ever_with_growing_pauses() {
        let mut book = AddressBook::default();
        assert!(book.add_bootstrap(bootstrap(), at(0)));
        let contact = Contact::Bootstrap(bootstrap());
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..200 {
            assert_eq!(book.due(now, 0).len(), 1);
            assert_eq!(book.due(now, 0).len(), 0, "one attempt at a time");
            book.failed(&contact, now, 1.0);
            let before = now;
            while book.entries[&contact].next.is_some_and(|next| next > now) {
                now = now.plus(Duration::from_millis(250));
            }
            pauses.push(now.since(before));
        }
        assert_eq!(pauses[..3], [750, 1500, 3000].map(Duration::from_millis));
        assert_eq!(pauses.iter().max(), Some(&Duration::from_secs(90)));
    }

    #[test]
    fn a_bootstrap_node_that_went_away_is_dialled_at_once_and_after_it_returned_left_alone() {
        let mut book = AddressBook::default();
        book.add_bootstrap(bootstrap(), at(0));
        let contact = Contact::Bootstrap(bootstrap());
        book.due(at(0), 0);
        book.connected(peer(1), Some(&contact), at(1));
        assert_eq!(book.due(at(100), 1), []);
        book.disconnected(peer(1), at(100), 1.0);
        assert_eq!(book.due(at(101), 1).len(), 1);
        book.failed(&contact, at(101), 0.0);
        book.connected(peer(1), None, at(102));
        assert_eq!(book.due(at(1000), 1), [], "it connected to us");
    }

    #[test]
    fn known_peers_survive_their_file_and_are_dialled_only_while_peers_are_few() {
        let mut book = AddressBook::default();
        (1..=3).for_each(|number| book.learn(peer(number), address(u64::from(number))));
        book.connected(peer(2), None, at(5));
        assert!(book.is_changed());
        let text = book.to_text();
        assert!(text.starts_with(&format!("/memory/2/p2p/{}\n", peer(2))), "latest first: {text}");

        let mut again = AddressBook::default();
        again.add_text(&format!("nonsense\n/memory/9\n{text}"), at(0));
        assert!(!again.is_changed());
        assert_eq!(again.due(at(0), ENOUGH_PEERS), []);
        assert_eq!(again.due(at(0), 0).len(), 3);
    }

    #[test]
    fn an_absent_peer_is_dialled_often_by_a_lonely_node_only() {
        let pauses = |connected: usize| {
            let mut book = AddressBook::default();
            book.learn(peer(1), address(1));
            book.disconnected(peer(1), at(0), 0.0);
            let mut now = at(0);
            let attempts = (0..40).map(|_| {
                now = now.max(book.deadline(connected).unwrap());
                assert_eq!(book.due(now, connected).len(), 1);
                book.failed(&Contact::Peer(peer(1)), now, 0.0);
                now
            });
            attempts.last().unwrap().0.as_secs()
        };
        assert!((30 * 60..40 * 60).contains(&pauses(0)), "{}", pauses(0));
        assert!(pauses(1) > 4 * 3600, "{}", pauses(1));
    }

    #[test]
    fn the_book_is_bounded_and_forgets_the_peers_that_never_answer() {
        let mut book = AddressBook::default();
        for number in 0..=255 {
            book.learn(peer(number), address(1));
            book.disconnected(peer(number), at(0), 0.0);
            (0..10).for_each(|more| book.learn(peer(number), address(more)));
        }
        assert!(book.entries.len() <= MAX_PEERS);
        assert!(book.entries.values().all(|entry| entry.addresses.len() <= MAX_ADDRESSES));
        let contacts: Vec<_> = book.entries.keys().cloned().collect();
        for contact in &contacts {
            (0..MAX_FAILURES).for_each(|_| book.failed(contact, at(0), 0.0));
        }
        assert!(book.entries.is_empty());
        for port in 1..1000 {
            book.add_bootstrap(BootstrapAddress::Host("host".into(), port), at(0));
        }
        assert_eq!(book.entries.len(), MAX_BOOTSTRAP);
    }
}
