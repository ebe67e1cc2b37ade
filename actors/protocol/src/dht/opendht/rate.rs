//! How many requests are answered: what exceeds the limits is dropped silently (`spec: dht 2.4`).

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::time::Moment;

/// Requests of one IP address that are answered within one [`WINDOW`].
pub const PER_ADDRESS: u32 = 1024;

/// Requests that are answered within one [`WINDOW`]. Bounds the memory of this limit as well.
pub const IN_ALL: usize = 8192;

/// The time over which requests are counted, ending now.
pub const WINDOW: Duration = Duration::from_secs(1);

/// Counts the requests of the last second. Replies and errors are not to be counted.
#[derive(Debug)]
pub struct RateLimit {
    per_address: u32,
    in_all: usize,
    admitted: VecDeque<(Moment, IpAddr)>,
    by_address: HashMap<IpAddr, u32>,
}

impl Default for RateLimit {
    /// The limits on requests: [`PER_ADDRESS`] and [`IN_ALL`].
    fn default() -> Self {
        Self::new(PER_ADDRESS, IN_ALL)
    }
}

impl RateLimit {
    /// Admits so many from one IP address, and so many in all, within one [`WINDOW`].
    #[must_use]
    pub fn new(per_address: u32, in_all: usize) -> Self {
        Self { per_address, in_all, admitted: VecDeque::new(), by_address: HashMap::new() }
    }

    /// Whether to answer a request from this address. Refused ones are not counted.
    pub fn admit(&mut self, now: Moment, address: IpAddr) -> bool {
        self.forget(now);
        if self.admitted.len() >= self.in_all {
            return false;
        }
        let count = self.by_address.entry(address).or_default();
        if *count >= self.per_address {
            return false;
        }
        *count += 1;
        self.admitted.push_back((now, address));
        true
    }

    fn forget(&mut self, now: Moment) {
        while let Some((moment, address)) = self.admitted.front().copied() {
            if moment.plus(WINDOW) > now {
                break;
            }
            self.admitted.pop_front();
            if let Some(count) = self.by_address.get_mut(&address) {
                *count -= 1;
                if *count == 0 {
                    self.by_address.remove(&address);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment(Duration::from_millis(millis))
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn one_address_has_its_share_of_each_second() {
        let mut limit = RateLimit::default();
        let admitted = (0..2000).filter(|_| limit.admit(at(0), address(1))).count();
        assert_eq!(admitted, 1024);
        assert!(limit.admit(at(0), address(2)));
        assert!(!limit.admit(at(999), address(1)));
        assert!(limit.admit(at(1000), address(1)));
    }

    #[test]
    fn the_window_slides() {
        let mut limit = RateLimit::default();
        for moment in [0, 900] {
            assert_eq!((0..512).filter(|_| limit.admit(at(moment), address(1))).count(), 512);
        }
        assert!(!limit.admit(at(950), address(1)));
        assert_eq!((0..1024).filter(|_| limit.admit(at(1500), address(1))).count(), 512);
    }

    #[test]
    fn all_addresses_together_are_limited_and_forgotten() {
        let mut limit = RateLimit::default();
        let admitted = (0..100_000).filter(|number| limit.admit(at(0), address(*number))).count();
        assert_eq!(admitted, 8192);
        assert_eq!(limit.by_address.len(), 8192);
        assert!(limit.admit(at(1000), address(7)));
        assert_eq!((limit.by_address.len(), limit.admitted.len()), (1, 1));
    }
}
