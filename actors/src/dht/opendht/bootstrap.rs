//! The nodes to join through: addresses, and names that are looked up when the node needs somebody.

use std::collections::BTreeMap;
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
}

/// The names among the nodes to join through, and when each is looked up.
#[derive(Debug, Default)]
pub(super) struct Bootstrap {
    names: BTreeMap<(String, u16), Lookup>,
    addresses: usize,
    lookups: JoinSet<Vec<SocketAddr>>,
}

impl Bootstrap {
    /// Adds one; returns the address if it is known. Tells `None` if there are too many.
    pub(super) fn add(&mut self, now: Moment, host: HostAddress) -> Option<Option<SocketAddr>> {
        if self.names.len().saturating_add(self.addresses) >= MAX_BOOTSTRAP {
            return None;
        }
        match host {
            HostAddress::Address(address) => {
                self.addresses = self.addresses.saturating_add(1);
                Some(Some(address))
            }
            HostAddress::Name(name, port) => {
                self.names.entry((name, port)).or_insert(Lookup { due: now, wait: FIRST_WAIT });
                Some(None)
            }
        }
    }

    /// Looks up the names that are due. While nodes answer nothing is: `connected`.
    pub(super) fn look_up(&mut self, now: Moment, connected: bool) {
        for ((name, port), lookup) in &mut self.names {
            if connected {
                // When the connection is lost, they are looked up at once.
                *lookup = Lookup { due: now, wait: FIRST_WAIT };
            } else if lookup.due <= now {
                lookup.due = now.plus(lookup.wait);
                lookup.wait = lookup.wait.saturating_mul(2).min(MAX_WAIT);
                self.lookups.spawn(resolve(name.clone(), *port));
            }
        }
    }

    /// When a name is due next, if no node answers.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.names.values().map(|lookup| lookup.due).min()
    }

    /// The addresses of the next name that was found. Waits for ever if none is looked up.
    pub(super) async fn found(&mut self) -> Vec<SocketAddr> {
        match self.lookups.join_next().await {
            Some(found) => found.unwrap_or_default(),
            None => std::future::pending().await,
        }
    }
}

/// The addresses behind a name; none if it cannot be looked up, which is tried again.
async fn resolve(name: String, port: u16) -> Vec<SocketAddr> {
    match tokio::net::lookup_host((name.as_str(), port)).await {
        Ok(addresses) => addresses.take(MAX_RESOLVED).collect(),
        Err(error) => {
            tracing::debug!(name, %error, "the name of a bootstrap node cannot be looked up");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_looked_up_again_until_a_node_answers_and_at_once_when_none_does_any_more() {
        let at = |seconds| Moment(Duration::from_secs(seconds));
        let mut bootstrap = Bootstrap::default();
        assert_eq!(bootstrap.add(at(0), "localhost:7".parse().unwrap()), Some(None));
        bootstrap.look_up(at(0), false);
        assert!(bootstrap.found().await.iter().all(|address| address.ip().is_loopback()));
        assert_eq!(bootstrap.next_deadline(), Some(at(2)));
        bootstrap.look_up(at(2), false);
        assert_eq!(bootstrap.next_deadline(), Some(at(6)));
        bootstrap.look_up(at(6), true);
        bootstrap.look_up(at(7), false);
        assert_eq!(bootstrap.next_deadline(), Some(at(9)));
    }

    #[test]
    fn their_number_is_bounded() {
        let mut bootstrap = Bootstrap::default();
        let added = (1..100).filter(|port| {
            bootstrap.add(Moment::default(), HostAddress::Name("host".to_owned(), *port)).is_some()
        });
        assert_eq!(added.count(), MAX_BOOTSTRAP);
    }
}
