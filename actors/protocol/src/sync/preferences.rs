//! What the owner prefers of a conversation, such as its colour, and when that was changed last
//! (`spec: sync 4.6 and 5.6`).

use std::collections::BTreeMap;

use super::file_time::FileTime;
use crate::time::UnixMillis;

/// Most preferences of a conversation.
pub const MAX_PREFERENCES: usize = 256;

/// Longest name of a preference, in bytes.
pub const MAX_PREFERENCE_NAME: usize = 256;

/// Longest value of a preference, in bytes.
pub const MAX_PREFERENCE_VALUE: usize = 4096;

/// The entry beside the preferences that says when they were changed.
const MODIFIED: &str = "lastModified";

/// The preferences of one conversation. They are one thing: of two sets the later one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Preferences {
    /// When they were changed last, by whichever device.
    modified: FileTime,
    values: BTreeMap<String, String>,
}

impl Preferences {
    /// As they were kept.
    #[must_use]
    pub fn new(modified: FileTime, values: BTreeMap<String, String>) -> Self {
        let mut values = values;
        values.retain(|name, value| fits(name, value));
        while values.len() > MAX_PREFERENCES {
            values.pop_last();
        }
        Self { modified, values }
    }

    /// As another own device tells them: its map with the time among the entries. Without a time they
    /// are of now. Entries that are too long, or too many, are left out. `None` when the time is no
    /// number.
    #[must_use]
    pub fn from_texts(texts: &BTreeMap<String, String>, now: UnixMillis) -> Option<Self> {
        let modified = match texts.get(MODIFIED) {
            Some(text) => FileTime::from_text(text)?,
            None => FileTime::at(now),
        };
        let values = texts.iter().filter(|(name, value)| *name != MODIFIED && fits(name, value));
        let values = values.take(MAX_PREFERENCES).map(|(name, value)| (name.clone(), value.clone()));
        Some(Self { modified, values: values.collect() })
    }

    /// As they are told to other own devices.
    #[must_use]
    pub fn to_texts(&self) -> BTreeMap<String, String> {
        let mut texts = self.values.clone();
        texts.insert(MODIFIED.to_owned(), self.modified.to_wire().to_string());
        texts
    }

    /// When they were changed last.
    #[must_use]
    pub const fn modified(&self) -> FileTime {
        self.modified
    }

    /// The preferences themselves.
    #[must_use]
    pub const fn values(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    /// Puts other values in their place, as the owner wishes.
    pub fn change(&mut self, values: BTreeMap<String, String>, now: UnixMillis) {
        *self = Self::new(self.modified.next(now), values);
    }

    /// Takes in what another own device tells; says whether that is later, and took their place. Of two
    /// different ones of the same second the greater counts, so that devices agree.
    pub fn merge(&mut self, other: Self) -> bool {
        let later = other > *self;
        if later {
            *self = other;
        }
        later
    }
}

fn fits(name: &str, value: &str) -> bool {
    (1..=MAX_PREFERENCE_NAME).contains(&name.len()) && value.len() <= MAX_PREFERENCE_VALUE
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn texts(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn at(seconds: i64) -> UnixMillis {
        UnixMillis::from_seconds(seconds)
    }

    fn told(entries: &[(&str, &str)]) -> Preferences {
        Preferences::from_texts(&texts(entries), at(50)).unwrap()
    }

    #[test]
    fn set_on_two_devices_the_later_ones_count_on_both() {
        let (mut one, mut other) = (Preferences::default(), Preferences::default());
        one.change(texts(&[("color", "red")]), at(10));
        other.change(texts(&[("symbol", "x")]), at(11));
        assert!(one.merge(other.clone()));
        assert!(!other.merge(one.clone()), "the same comes back");
        assert_eq!(one.values(), &texts(&[("symbol", "x")]));
        one.change(texts(&[]), at(1));
        assert!(other.merge(one), "a clock that is behind does not hide a change");
        assert!(other.values().is_empty());
    }

    #[test]
    fn without_a_time_they_are_of_now_and_with_one_that_is_no_number_they_are_ignored() {
        assert_eq!(told(&[("color", "red")]).modified(), FileTime::at(at(50)));
        assert_eq!(Preferences::from_texts(&texts(&[("lastModified", "soon")]), at(50)), None);
    }

    #[test]
    fn a_time_of_another_platform_is_compared_as_what_it_means() {
        let mut linux = told(&[("lastModified", "18446744069067231427"), ("color", "red")]);
        assert!(!linux.merge(told(&[("lastModified", "1795343810"), ("color", "blue")])));
        assert!(linux.merge(told(&[("lastModified", "1795343812"), ("color", "blue")])));
        assert_eq!(linux.to_texts(), texts(&[("lastModified", "18446744069067231428"), ("color", "blue")]));
    }

    #[test]
    fn number_and_length_are_bounded() {
        let long = "v".repeat(MAX_PREFERENCE_VALUE + 1);
        let mut many: BTreeMap<_, _> = (0..999).map(|number| (format!("{number:03}"), "x".into())).collect();
        many.extend([("000".to_owned(), long), (String::new(), "x".to_owned())]);
        let read = Preferences::from_texts(&many, at(50)).unwrap();
        assert_eq!(read.values().len(), MAX_PREFERENCES);
        assert!(!read.values().contains_key("000") && !read.values().contains_key(""));
        assert_eq!(Preferences::new(read.modified(), many), read);
    }

    fn arbitrary() -> impl Strategy<Value = Preferences> {
        let values = prop::collection::btree_map("[ab]", "[xy]?", 0..3);
        (0..3_i64, values).prop_map(|(seconds, values)| Preferences::new(FileTime::at(at(seconds)), values))
    }

    proptest! {
        #[test]
        fn preferences_survive_being_told(one in arbitrary()) {
            prop_assert_eq!(Preferences::from_texts(&one.to_texts(), at(50)), Some(one));
        }

        #[test]
        fn preferences_merge_in_any_order_and_repeated(all in prop::collection::vec(arbitrary(), 1..5)) {
            let merged = |all: &mut dyn Iterator<Item = &Preferences>| {
                let mut merged = Preferences::default();
                all.for_each(|it| _ = merged.merge(it.clone()));
                merged
            };
            let twice = &mut all.iter().chain(&all);
            prop_assert_eq!(merged(&mut all.iter().rev()), merged(twice));
        }
    }
}
