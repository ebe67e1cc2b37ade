//! Servers that fail are left alone for a while: nobody wants to wait for each of a thousand names until
//! it is clear that the server is down.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::names::server_url::ServerUrl;
use crate::time::Moment;

/// Failures in a row before a server is left alone: two whole questions.
const TOLERATED: u32 = 6;

/// How long it is left alone first; twice as long after every further failure.
const FIRST_REST: Duration = Duration::from_secs(30);

/// How long it is left alone at most.
const LONGEST_REST: Duration = Duration::from_secs(600);

/// Servers in trouble that are remembered. Most accounts ask one; people may type any.
const MAX_SERVERS: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Trouble {
    failures: u32,
    until: Moment,
}

/// The servers that failed lately.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<ServerUrl, Trouble>);

impl Troubles {
    /// Notes that a server did not answer, or not as a server does that is well.
    pub(super) fn failed(&mut self, now: Moment, server: &ServerUrl) {
        if self.0.len() >= MAX_SERVERS && !self.0.contains_key(server) {
            let least = self.0.iter().min_by_key(|(_, trouble)| (trouble.until, trouble.failures));
            if let Some(least) = least.map(|(server, _)| server.clone()) {
                self.0.remove(&least);
            }
        }
        let trouble =
            self.0.entry(server.clone()).or_insert(Trouble { failures: 0, until: Moment::default() });
        trouble.failures = trouble.failures.saturating_add(1);
        if let Some(further) = trouble.failures.checked_sub(TOLERATED) {
            let rest = FIRST_REST.saturating_mul(2_u32.saturating_pow(further)).min(LONGEST_REST);
            trouble.until = now.plus(rest);
        }
    }

    /// Notes that a server answered.
    pub(super) fn answered(&mut self, server: &ServerUrl) {
        self.0.remove(server);
    }

    /// Whether a server is left alone.
    pub(super) fn is_resting(&self, now: Moment, server: &ServerUrl) -> bool {
        self.0.get(server).is_some_and(|trouble| trouble.until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn a_server_rests_longer_and_longer_until_it_answers() {
        let (mut troubles, server) = (Troubles::default(), ServerUrl::default());
        for _ in 1..TOLERATED {
            troubles.failed(at(0), &server);
        }
        assert!(!troubles.is_resting(at(0), &server));
        for rest in [30, 60, 120, 240, 480, 600, 600] {
            troubles.failed(at(0), &server);
            assert!(troubles.is_resting(at(rest - 1), &server) && !troubles.is_resting(at(rest), &server));
        }
        (0..100).for_each(|_| troubles.failed(at(0), &server));
        assert!(!troubles.is_resting(at(600), &server));
        troubles.answered(&server);
        troubles.failed(at(0), &server);
        assert!(!troubles.is_resting(at(0), &server));
    }

    #[test]
    fn the_number_of_servers_is_bounded() {
        let mut troubles = Troubles::default();
        for number in 0..200 {
            troubles.failed(at(0), &format!("http://host{number}").parse().unwrap());
        }
        assert_eq!(troubles.0.len(), MAX_SERVERS);
    }
}
