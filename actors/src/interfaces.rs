//! Notices that this machine got another network.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use skep_protocol::time::Moment;

/// How often the addresses of this machine are looked at. It takes some microseconds.
const INTERVAL: Duration = Duration::from_secs(5);

/// The addresses of this machine when they were looked at last.
#[derive(Debug)]
pub(crate) struct Interfaces {
    addresses: BTreeSet<IpAddr>,
    next: Moment,
}

impl Interfaces {
    pub(crate) fn new(now: Moment) -> Self {
        Self { addresses: addresses().unwrap_or_default(), next: now.plus(INTERVAL) }
    }

    /// When to look next.
    pub(crate) const fn next_deadline(&self) -> Moment {
        self.next
    }

    /// Looks, if it is time to; tells whether an address was added. Those that are gone are no news:
    /// what was sent from them is lost in any case.
    pub(crate) fn have_grown(&mut self, now: Moment) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now.plus(INTERVAL);
        let Some(addresses) = addresses() else { return false };
        let grown = !addresses.is_subset(&self.addresses);
        self.addresses = addresses;
        grown
    }
}

/// Addresses beside loopback; none if the system does not tell.
fn addresses() -> Option<BTreeSet<IpAddr>> {
    let interfaces = if_addrs::get_if_addrs().ok()?;
    Some(
        interfaces.iter().filter(|interface| !interface.is_loopback()).map(if_addrs::Interface::ip).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_address_is_noticed_when_it_is_time_and_only_once() {
        let at = |seconds| Moment(Duration::from_secs(seconds));
        let mut interfaces = Interfaces::new(at(0));
        assert!(!interfaces.have_grown(at(5)));
        interfaces.addresses.insert(IpAddr::from([192, 0, 2, 99]));
        assert!(!interfaces.have_grown(at(10)));
        if interfaces.addresses.pop_first().is_some() {
            assert!(!interfaces.have_grown(at(14)));
            assert!(interfaces.have_grown(at(15)));
            assert!(!interfaces.have_grown(at(20)));
        }
    }
}
