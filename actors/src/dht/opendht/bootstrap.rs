//! The nodes to join through: addresses, and names that are looked up when the node needs somebody.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use skep_protocol::time::Moment;
use tokio::task::JoinSet;

use crate::dht::host_address::HostAddress;

/// Most bootstrap nodes: enough for any list people keep.
pub(super) const MAX_BOOTSTRAP: usize = 32;

/// Most addresses taken of one name.
const MAX_RESOLVED: usize = 8;

/// First wait before a name is looked up again; doubles up to [`MAX_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// Longest wait before a name is looked up again, as long as no node answers.
const MAX_WAIT: Duration = Duration::from_secs(600);

#[derive(Debug)]
struct Lookup {
    due: Moment,
    wait: Duration,
    /// What was found last.
    addresses: Vec<SocketAddr>,
}

/// A name and a port.
type Name = (String, u16);

/// The names among the nodes to join through, and when each is looked up.
#[derive(Debug, Default)]
pub(super) struct Bootstrap {
    names: BTreeMap<Name, Lookup>,
    addresses: BTreeSet<SocketAddr>,
    lookups: JoinSet<(Name, Vec<SocketAddr>)>,
}

impl Bootstrap {
    /// Adds one, if it is not there already. Tells whether there was room for it.
    pub(super) fn add(&mut self, now: Moment, host: HostAddress) -> bool {
        let known = match &host {
            HostAddress::Address(address) => self.addresses.contains(address),
            HostAddress::Name(name, port) => self.names.contains_key(&(name.clone(), *port)),
        };
        if known {
            return true;
        }
        if self.names.len().saturating_add(self.addresses.len()) >= MAX_BOOTSTRAP {
            return false;
        }
        match host {
            HostAddress::Address(address) => {
                self.addresses.insert(address);
            }
            HostAddress::Name(name, port) => {
                let lookup = Lookup { due: now, wait: FIRST_WAIT, addresses: Vec::new() };
                self.names.insert((name, port), lookup);
            }
        }
        true
    }

    /// The addresses known by now: those that were given, and what the names stand for.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let resolved = self.names.values().flat_map(|lookup| &lookup.addresses);
        self.addresses.iter().chain(resolved).copied()
    }

    /// Looks up the names that are due. While nodes answer nothing is: `connected`.
    pub(super) fn look_up(&mut self, now: Moment, connected: bool) {
        for ((name, port), lookup) in &mut self.names {
            if connected {
                // When the connection is lost, they are looked up at once.
                (lookup.due, lookup.wait) = (now, FIRST_WAIT);
            } else if lookup.due <= now {
                lookup.due = now.plus(lookup.wait);
                lookup.wait = lookup.wait.saturating_mul(2).min(MAX_WAIT);
                self.lookups.spawn(resolve((name.clone(), *port)));
            }
        }
    }

    /// When a name is due next, if no node answers.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.names.values().map(|lookup| lookup.due).min()
    }

    /// Waits until a name was found, and takes what it stands for now in place of what it did before.
    /// Waits for ever if none is looked up.
    pub(super) async fn found(&mut self) {
        loop {
            match self.lookups.join_next().await {
                Some(Ok((name, addresses))) if !addresses.is_empty() => {
                    if let Some(lookup) = self.names.get_mut(&name) {
                        lookup.addresses = addresses;
                    }
                    return;
                }
                // What it stood for may still be true.
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }
}

/// The addresses behind a name; none if it cannot be looked up, which is tried again.
async fn resolve(name: Name) -> (Name, Vec<SocketAddr>) {
    let found = match tokio::net::lookup_host((name.0.as_str(), name.1)).await {
        Ok(addresses) => addresses.take(MAX_RESOLVED).collect(),
        Err(error) => {
            tracing::debug!(name = name.0, %error, "the name of a bootstrap node cannot be looked up");
            Vec::new()
        }
    };
    (name, found)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_name_is_looked_up_again_until_a_node_answers_and_at_once_when_none_does_any_more() {
        let at = |seconds| Moment(Duration::from_secs(seconds));
        let mut bootstrap = Bootstrap::default();
        assert!(bootstrap.add(at(0), "localhost:7".parse().unwrap()));
        bootstrap.look_up(at(0), false);
        bootstrap.found().await;
        assert!(bootstrap.addresses().all(|address| address.ip().is_loopback()));
        assert_eq!(bootstrap.next_deadline(), Some(at(2)));
        bootstrap.look_up(at(2), false);
        assert_eq!(bootstrap.next_deadline(), Some(at(6)));
        bootstrap.look_up(at(6), true);
        bootstrap.look_up(at(7), false);
        assert_eq!(bootstrap.next_deadline(), Some(at(9)));
    }

    #[tokio::test]
    async fn a_name_stands_for_what_it_was_looked_up_for_last_and_a_failure_changes_nothing() {
        let (name, given) = (("localhost".to_owned(), 7), "192.0.2.1:7".parse().unwrap());
        let [old, new] = [["192.0.2.2:7".parse().unwrap()], ["192.0.2.3:7".parse().unwrap()]];
        let mut bootstrap = Bootstrap::default();
        bootstrap.add(Moment::default(), HostAddress::Name(name.0.clone(), name.1));
        bootstrap.add(Moment::default(), HostAddress::Address(given));
        for addresses in [old, new] {
            let name = name.clone();
            bootstrap.lookups.spawn(async move { (name, addresses.to_vec()) });
            bootstrap.found().await;
            assert_eq!(bootstrap.addresses().collect::<Vec<_>>(), [given, addresses[0]]);
        }
        bootstrap.lookups.spawn(async move { (name, Vec::new()) });
        tokio::task::yield_now().await;
        assert!(bootstrap.found().now_or_never().is_none(), "nothing was found");
        assert_eq!(bootstrap.addresses().collect::<Vec<_>>(), [given, new[0]]);
    }

    #[test]
    fn their_number_is_bounded_and_the_same_counts_once() {
        let mut bootstrap = Bootstrap::default();
        let hosts = (1..100).map(|port| match port % 2 {
            0 => HostAddress::Name("host".to_owned(), port),
            _ => HostAddress::Address(SocketAddr::from(([192, 0, 2, 1], port))),
        });
        let added: Vec<HostAddress> =
            hosts.filter(|host| (0..3).all(|_| bootstrap.add(Moment::default(), host.clone()))).collect();
        assert_eq!(added.len(), MAX_BOOTSTRAP);
        assert!(added.into_iter().all(|host| bootstrap.add(Moment::default(), host)));
    }
}
