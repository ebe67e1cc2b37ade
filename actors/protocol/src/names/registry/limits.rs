//! How much one address may ask: a bucket of tokens for each, refilled with time.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::time::Moment;

/// Addresses with a bucket of their own. All others share one, so that addresses without number cost no
/// memory and take nothing from those that were there before.
pub(super) const MAX_BUCKETS: usize = 65_536;

/// How often full buckets are looked for when there is no room for another.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How much a bucket holds, and how long one token takes to come back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) burst: u32,
    pub(super) refill: Duration,
}

/// Tokens are counted by the time at which the bucket is full again.
#[derive(Debug)]
pub(super) struct Limit {
    rate: Rate,
    full_at: BTreeMap<IpAddr, Moment>,
    shared_full_at: Moment,
    swept: Option<Moment>,
}

impl Limit {
    pub(super) const fn new(rate: Rate) -> Self {
        Self { rate, full_at: BTreeMap::new(), shared_full_at: Moment(Duration::ZERO), swept: None }
    }

    /// Takes a token for a request from this address.
    ///
    /// # Errors
    /// How long until there is one.
    pub(super) fn take(&mut self, now: Moment, address: IpAddr) -> Result<(), Duration> {
        let network = network_of(address);
        if !self.full_at.contains_key(&network) && self.full_at.len() >= MAX_BUCKETS {
            self.sweep(now);
        }
        let has_room = self.full_at.len() < MAX_BUCKETS || self.full_at.contains_key(&network);
        let full_at =
            if has_room { self.full_at.entry(network).or_default() } else { &mut self.shared_full_at };
        let next = now.max(*full_at).plus(self.rate.refill);
        let missing = next.since(now).saturating_sub(self.rate.refill.saturating_mul(self.rate.burst));
        if missing.is_zero() {
            *full_at = next;
            Ok(())
        } else {
            Err(missing)
        }
    }

    /// Forgets full buckets: a new one is full, too.
    fn sweep(&mut self, now: Moment) {
        if self.swept.is_some_and(|swept| now.since(swept) < SWEEP_INTERVAL) {
            return;
        }
        self.swept = Some(now);
        self.full_at.retain(|_, full_at| *full_at > now);
    }
}

/// What counts as one address: whoever has an IPv6 address has all of its network of 64 bits.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => IpAddr::V4(mapped),
            None => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        },
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, refill: Duration::from_secs(10) };

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn an_address_has_a_burst_and_then_one_for_each_refill() {
        let mut limit = Limit::new(RATE);
        for _ in 0..3 {
            assert_eq!(limit.take(at(5), address(1)), Ok(()));
        }
        assert_eq!(limit.take(at(5), address(1)), Err(Duration::from_secs(10)));
        assert_eq!(limit.take(at(14), address(1)), Err(Duration::from_secs(1)));
        assert_eq!(limit.take(at(15), address(1)), Ok(()));
        assert!(limit.take(at(15), address(1)).is_err());
        assert_eq!(limit.take(at(5), address(2)), Ok(()));
        for _ in 0..3 {
            assert_eq!(limit.take(at(1000), address(1)), Ok(()));
        }
        assert!(limit.take(at(1000), address(1)).is_err());
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let mut limit = Limit::new(RATE);
        for text in ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:ffff"] {
            assert!(limit.take(at(0), text.parse().unwrap()).is_ok());
        }
        assert!(limit.take(at(0), "2001:db8::3".parse().unwrap()).is_err());
        assert!(limit.take(at(0), "2001:db8:0:1::3".parse().unwrap()).is_ok());
        assert_eq!(network_of("::ffff:10.0.0.1".parse().unwrap()), "10.0.0.1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn addresses_without_number_share_one_bucket_and_leave_the_others_alone() {
        let mut limit = Limit::new(RATE);
        let taken = (0..200_000).filter(|number| limit.take(at(0), address(*number)).is_ok()).count();
        assert_eq!((taken, limit.full_at.len()), (MAX_BUCKETS + 3, MAX_BUCKETS));
        assert!(limit.take(at(0), address(0)).is_ok());
        // Most are full again, and make room.
        assert!(limit.take(at(11), address(300_000)).is_ok());
        assert_eq!(limit.full_at.len(), 2);
    }
}
