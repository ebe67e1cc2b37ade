//! Who has no name, as far as is known: lists show the same people again and again, and nobody needs to be
//! asked about each of them every time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Answer, Question};
use crate::time::Moment;

/// How long nobody is asked about somebody who has no name.
const REST: Duration = Duration::from_secs(3600);

/// How long nobody is asked about somebody after the server could not say.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(60);

/// Questions remembered. Of more, some are asked again earlier.
const MAX_REMEMBERED: usize = 16_384;

/// Questions about people that had no name for an answer, and when they are asked again.
#[derive(Debug, Default)]
pub(super) struct Nameless(BTreeMap<Question, Moment>);

impl Nameless {
    /// Notes the answer to a question about somebody.
    pub(super) fn answered(&mut self, now: Moment, question: &Question, answer: &Answer) {
        let rest = match answer {
            Ok(Some(_)) => {
                self.0.remove(question);
                return;
            }
            Ok(None) => REST,
            Err(_) => REST_AFTER_FAILURE,
        };
        if self.0.len() >= MAX_REMEMBERED && !self.0.contains_key(question) {
            self.0.pop_first();
        }
        self.0.insert(question.clone(), now.plus(rest));
    }

    /// Whether the same was asked lately, without finding a name.
    pub(super) fn is_resting(&self, now: Moment, question: &Question) -> bool {
        self.0.get(question).is_some_and(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AccountId;
    use crate::names::{About, AskError, ServerUrl};

    fn question(number: u64) -> Question {
        let mut account = [0; 20];
        account[..8].copy_from_slice(&number.to_be_bytes());
        Question { server: ServerUrl::default(), about: About::Account(AccountId(account)) }
    }

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn what_has_no_answer_rests_for_a_minute_and_who_has_no_name_for_an_hour() {
        for (answer, rest) in [(Ok(None), 3600), (Err(AskError::TimedOut), 60)] {
            let mut nameless = Nameless::default();
            assert!(!nameless.is_resting(at(0), &question(1)));
            nameless.answered(at(10), &question(1), &answer);
            assert!(nameless.is_resting(at(9 + rest), &question(1)));
            assert!(!nameless.is_resting(at(10 + rest), &question(1)));
            assert!(!nameless.is_resting(at(10), &question(2)));
        }
    }

    #[test]
    fn the_number_of_people_without_name_is_bounded() {
        let mut nameless = Nameless::default();
        for number in 0..30_000 {
            nameless.answered(at(0), &question(number), &Ok(None));
        }
        assert_eq!(nameless.0.len(), MAX_REMEMBERED);
        assert!(nameless.is_resting(at(0), &question(29_999)));
    }
}
