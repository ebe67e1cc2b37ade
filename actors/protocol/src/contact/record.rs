//! The record of one contact and how the records of own devices become one (`spec: contacts 3`).

use std::cmp::Ordering;

use serde_json::{Map, Value as Json};

use crate::ids::ConversationId;
use crate::msgpack::Value as Object;
use crate::time::UnixMillis;

/// What is remembered of somebody who was a contact at some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// When it was added; 0 for never.
    pub added: UnixMillis,
    /// When it was removed; 0 for never.
    pub removed: UnixMillis,
    /// Whether the other one accepted or added us.
    pub confirmed: bool,
    /// Whether it was banned when it was removed.
    pub banned: bool,
    /// The conversation of the two.
    pub conversation: Option<ConversationId>,
}

impl Contact {
    /// Whether it is a contact now.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.added > self.removed
    }

    /// Whether it is banned now.
    #[must_use]
    pub fn is_banned(&self) -> bool {
        !self.is_active() && self.banned
    }

    /// When it last changed between being a contact and not.
    #[must_use]
    pub fn latest(&self) -> UnixMillis {
        self.added.max(self.removed)
    }

    /// This record after another own device told of `other`, by the rule of 2026: the record that
    /// changed last wins; of two equal ones both confirmations count. Where the reference leaves each
    /// device its own word, a tie is decided here: removal wins over addition, a ban over removal, and
    /// the greater conversation id over the other. So any order of records leads to the same one.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        let order = |it: &Self| (it.latest(), !it.is_active());
        match order(&self).cmp(&order(&other)) {
            Ordering::Less => other,
            Ordering::Greater => self,
            Ordering::Equal => Self {
                added: self.added.max(other.added),
                removed: self.removed.max(other.removed),
                confirmed: self.confirmed || other.confirmed,
                banned: self.banned || other.banned,
                conversation: self.conversation.max(other.conversation),
            },
        }
    }

    /// The same by the rule of 2023, for devices of that age: additions and removals are merged
    /// apart, and a confirmation is never taken back.
    #[must_use]
    pub fn merged_as_in_2023(self, other: Self) -> Self {
        let mut merged = self;
        if other.added > self.added {
            merged.added = other.added;
            merged.conversation = other.conversation;
        }
        if other.removed > self.removed {
            merged.removed = other.removed;
            merged.banned = other.banned;
        }
        merged.confirmed |= other.confirmed;
        if merged.conversation.is_none() && other.is_active() {
            merged.conversation = other.conversation;
        }
        merged
    }

    /// The record as MessagePack, with both units of time.
    #[must_use]
    pub fn to_object(&self) -> Object {
        let conversation = self.conversation.map(|id| id.to_hex()).unwrap_or_default();
        Object::map([
            ("added", Object::from(self.added.seconds())),
            ("removed", Object::from(self.removed.seconds())),
            ("confirmed", Object::from(self.confirmed)),
            ("banned", Object::from(self.banned)),
            ("conversationId", Object::text(&conversation)),
            ("addedMs", Object::from(self.added.0)),
            ("removedMs", Object::from(self.removed.0)),
        ])
    }

    /// From MessagePack. Missing entries take zero, false or none; milliseconds win over seconds.
    /// None if it is no map or an entry is of another type.
    #[must_use]
    pub fn from_object(object: &Object) -> Option<Self> {
        object.as_map()?;
        Some(Self {
            added: read_time(object, "added", "addedMs")?,
            removed: read_time(object, "removed", "removedMs")?,
            confirmed: object.get("confirmed").map_or(Some(false), Object::as_bool)?,
            banned: object.get("banned").map_or(Some(false), Object::as_bool)?,
            conversation: object.get("conversationId").map_or(Some(""), Object::as_text)?.parse().ok(),
        })
    }

    /// The record as it stands in the account archive: entries of no meaning are left out.
    #[must_use]
    pub fn to_json(&self) -> Map<String, Json> {
        let mut json = Map::new();
        json.insert("added".to_owned(), self.added.seconds().into());
        json.insert("addedMs".to_owned(), self.added.0.into());
        if self.removed.0 != 0 {
            json.insert("removed".to_owned(), self.removed.seconds().into());
            json.insert("removedMs".to_owned(), self.removed.0.into());
        }
        for (key, truth) in [("confirmed", self.confirmed), ("banned", self.banned)] {
            if truth {
                json.insert(key.to_owned(), true.into());
            }
        }
        let conversation = self.conversation.map(|id| id.to_hex()).unwrap_or_default();
        json.insert("conversationId".to_owned(), conversation.into());
        json
    }

    /// From the account archive; what is missing or wrong takes zero, false or none.
    #[must_use]
    pub fn from_json(json: &Map<String, Json>) -> Self {
        let truth = |key: &str| json.get(key).and_then(Json::as_bool).unwrap_or(false);
        let conversation = json.get("conversationId").and_then(Json::as_str);
        Self {
            added: json_time(json, "added", "addedMs"),
            removed: json_time(json, "removed", "removedMs"),
            confirmed: truth("confirmed"),
            banned: truth("banned"),
            conversation: conversation.and_then(|id| id.parse().ok()),
        }
    }
}

/// A time of an account archive in milliseconds if there is one, else in seconds, else 0.
pub(crate) fn json_time(json: &Map<String, Json>, seconds: &str, millis: &str) -> UnixMillis {
    let number = |key| json.get(key).and_then(Json::as_i64);
    UnixMillis::from_either(number(millis), number(seconds)).unwrap_or_default()
}

/// A time in milliseconds if there is one, else in seconds, else 0; negative ones are 0. None if it is
/// no number.
pub(super) fn read_time(object: &Object, seconds: &str, millis: &str) -> Option<UnixMillis> {
    let time = match (object.get(millis), object.get(seconds)) {
        (Some(time), _) => UnixMillis(time.as_signed()?),
        (None, Some(time)) => UnixMillis::from_seconds(time.as_signed()?),
        (None, None) => UnixMillis(0),
    };
    Some(time.max(UnixMillis(0)))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn arbitrary() -> impl Strategy<Value = Contact> {
        let conversation = prop::option::of(prop_oneof![Just([1; 20]), Just([2; 20])]);
        (0_i64..6, 0_i64..6, any::<bool>(), any::<bool>(), conversation).prop_map(
            |(added, removed, confirmed, banned, conversation)| Contact {
                added: UnixMillis(added * 500),
                removed: UnixMillis(removed * 500),
                confirmed,
                banned,
                conversation: conversation.map(ConversationId),
            },
        )
    }

    fn contact(added: i64, removed: i64) -> Contact {
        Contact { added: UnixMillis(added), removed: UnixMillis(removed), ..Contact::default() }
    }

    #[test]
    fn the_record_that_changed_last_wins() {
        let old = Contact { confirmed: true, ..contact(1000, 0) };
        let removed = Contact { banned: true, ..contact(1000, 2000) };
        assert_eq!(old.merged(removed), removed);
        assert_eq!(removed.merged(old), removed);
        let again = contact(3000, 0);
        assert_eq!(removed.merged(again), again);
        assert!(!again.is_banned());
    }

    #[test]
    fn two_confirmations_of_one_addition_both_count() {
        let one = contact(1500, 0);
        let other = Contact { confirmed: true, ..one };
        assert_eq!(one.merged(other), other);
        assert_eq!(other.merged(one), other);
    }

    #[test]
    fn by_the_rule_of_2023_additions_and_removals_merge_apart() {
        let conversation = Some(ConversationId([7; 20]));
        let own = Contact { confirmed: true, ..contact(1000, 0) };
        let other = Contact { banned: true, conversation, ..contact(500, 3000) };
        let merged = own.merged_as_in_2023(other);
        assert_eq!(merged, Contact { confirmed: true, banned: true, ..contact(1000, 3000) });
        let filled = own.merged_as_in_2023(Contact { conversation, ..contact(500, 0) });
        assert_eq!(filled, Contact { conversation, ..own });
    }

    #[test]
    fn the_archive_entry_is_read_and_written() {
        // (spec: contacts V6)
        let text = r#"{"added":1795339206,"conversationId":"e4cf25b85ca783de0aeee9d77d830705cd9d3e6d"}"#;
        let contact = Contact::from_json(&serde_json::from_str(text).unwrap());
        assert_eq!(contact.added, UnixMillis::from_seconds(1_795_339_206));
        assert!(contact.is_active() && contact.conversation.is_some());
        let mut json = contact.to_json();
        json.remove("addedMs");
        assert_eq!(serde_json::to_string(&json).unwrap(), text);
    }

    proptest! {
        #[test]
        fn a_record_survives_both_of_its_forms(contact in arbitrary()) {
            prop_assert_eq!(Contact::from_object(&contact.to_object()), Some(contact));
            prop_assert_eq!(Contact::from_json(&contact.to_json()), contact);
        }

        #[test]
        fn merging_again_changes_nothing(own in arbitrary(), other in arbitrary()) {
            for merge in [Contact::merged, Contact::merged_as_in_2023] {
                prop_assert_eq!(merge(own, own), own);
                let merged = merge(own, other);
                prop_assert_eq!(merge(merged, other), merged);
            }
            prop_assert_eq!(own.merged(other).merged(own), own.merged(other));
        }

        #[test]
        fn records_merge_in_any_order_grouped_in_any_way_and_repeated(
            a in arbitrary(), b in arbitrary(), c in arbitrary(),
        ) {
            prop_assert_eq!(a.merged(b), b.merged(a));
            prop_assert_eq!(a.merged(b).merged(c), a.merged(b.merged(c)));
            prop_assert_eq!(a.merged(b).merged(a), a.merged(b));
        }
    }

    #[test]
    fn at_the_same_time_removal_wins_over_addition_and_a_ban_over_both() {
        let (added, removed) = (contact(2000, 0), contact(1000, 2000));
        let banned = Contact { banned: true, ..removed };
        assert_eq!(added.merged(removed), removed);
        assert_eq!(added.merged(banned).merged(removed), banned);
    }

    #[test]
    fn removed_here_and_added_later_elsewhere_is_a_contact_in_either_order() {
        let (first, again) = (contact(1000, 2000), contact(3000, 0));
        assert!(first.merged(again).is_active() && again.merged(first).is_active());
    }

    #[test]
    fn negative_times_are_read_as_none() {
        let object = Object::map([("added", Object::from(-5_i64)), ("removedMs", Object::from(i64::MIN))]);
        assert_eq!(Contact::from_object(&object), Some(Contact::default()));
    }
}
