//! Who is typing (`spec: swarm 13`).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::AccountId;
use crate::time::Moment;

/// How long somebody is shown as typing after having said so first. Who still types then says so again,
/// and is shown again.
pub const TYPING_LASTS: Duration = Duration::from_secs(12);

/// Most members shown as typing at once; who is one too many is not shown.
pub const MAX_TYPING: usize = 64;

/// The members of one conversation that are typing.
#[derive(Clone, Debug, Default)]
pub struct Typing {
    until: BTreeMap<AccountId, Moment>,
}

impl Typing {
    /// A member says that it is typing, or is not any more; whether that changes what is shown.
    pub fn heard(&mut self, member: AccountId, active: bool, now: Moment) -> bool {
        if !active {
            return self.until.remove(&member).is_some();
        }
        if self.until.contains_key(&member) || self.until.len() >= MAX_TYPING {
            return false;
        }
        self.until.insert(member, now.plus(TYPING_LASTS));
        true
    }

    /// When the next member stops being shown.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.until.values().min().copied()
    }

    /// Those whose time is over; they are not shown any more.
    pub fn expire(&mut self, now: Moment) -> Vec<AccountId> {
        self.end(|_, until| until <= now)
    }

    /// Those who may not be shown any more; they are not.
    pub fn retain(&mut self, may: impl Fn(AccountId) -> bool) -> Vec<AccountId> {
        self.end(|member, _| !may(member))
    }

    fn end(&mut self, is_over: impl Fn(AccountId, Moment) -> bool) -> Vec<AccountId> {
        let over = self.until.iter().filter(|(member, until)| is_over(**member, **until));
        let over: Vec<_> = over.map(|(member, _)| *member).collect();
        for member in &over {
            self.until.remove(member);
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: AccountId = AccountId([1; 20]);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn typing_shows_once_and_ends_when_said_so() {
        let mut typing = Typing::default();
        assert!(typing.heard(ANN, true, at(0)));
        assert!(!typing.heard(ANN, true, at(1)));
        assert!(typing.heard(ANN, false, at(2)));
        assert!(!typing.heard(ANN, false, at(3)));
        assert_eq!(typing.deadline(), None);
    }

    #[test]
    fn typing_ends_twelve_seconds_after_it_was_first_said() {
        let mut typing = Typing::default();
        typing.heard(ANN, true, at(0));
        typing.heard(ANN, true, at(5));
        assert_eq!(typing.deadline(), Some(at(12)));
        assert_eq!(typing.expire(at(11)), []);
        assert_eq!(typing.expire(at(12)), [ANN]);
        assert_eq!(typing.expire(at(18)), []);
        assert!(typing.heard(ANN, true, at(18)), "who still types is shown again");
    }

    #[test]
    fn who_is_removed_stops_typing_at_once() {
        let mut typing = Typing::default();
        typing.heard(ANN, true, at(0));
        assert_eq!(typing.retain(|member| member == ANN), []);
        assert_eq!(typing.retain(|_| false), [ANN]);
        assert_eq!(typing.deadline(), None);
    }

    #[test]
    fn only_so_many_are_shown() {
        let mut typing = Typing::default();
        for number in 0..=MAX_TYPING {
            let mut id = [0; 20];
            id[0] = u8::try_from(number).unwrap();
            assert_eq!(typing.heard(AccountId(id), true, at(0)), number < MAX_TYPING);
        }
    }
}
