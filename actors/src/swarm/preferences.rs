//! What the owner prefers of a conversation, such as its colour: a file of texts beside the history,
//! told to nobody but other devices of the account (`spec: swarm 13, sync 4.6`). When they were changed
//! is the time of the file, as in Jami. Everything here blocks.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use skep_protocol::msgpack::{self, Value as Object};
use skep_protocol::sync::{self, FileTime};
use skep_protocol::time::UnixMillis;

use super::messages::{
    ConversationError, MAX_PREFERENCE_NAME, MAX_PREFERENCE_VALUE, MAX_PREFERENCES, PreferenceError,
};
use crate::storage;

/// Largest file read, in bytes.
const MAX_FILE: usize = MAX_PREFERENCES * (MAX_PREFERENCE_NAME + MAX_PREFERENCE_VALUE + 16);

/// The file, in Jami's own format.
#[derive(Debug)]
pub(super) struct Preferences {
    file: PathBuf,
    /// Held over reading and writing, so that no change is lost.
    writer: Mutex<()>,
}

impl Preferences {
    pub(super) const fn new(file: PathBuf) -> Self {
        Self { file, writer: Mutex::new(()) }
    }

    /// All of them; none where the file is missing.
    pub(super) fn read(&self) -> Result<BTreeMap<String, String>, ConversationError> {
        let bytes = storage::read(&self.file, MAX_FILE).map_err(storage_error)?;
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else { return Ok(BTreeMap::new()) };
        let (object, _) = msgpack::decode(&bytes, MAX_FILE)
            .map_err(|error| ConversationError::Storage(format!("{}: {error}", self.file.display())))?;
        let text = |value: &Object| value.as_text().map(str::to_owned);
        let entries = object.as_map().unwrap_or_default();
        Ok(entries.iter().filter_map(|(key, value)| Some((text(key)?, text(value)?))).collect())
    }

    /// All of them and when they were changed, for other devices.
    pub(super) fn told(&self) -> Result<sync::Preferences, ConversationError> {
        let modified = match fs::metadata(&self.file).and_then(|file| file.modified()) {
            Ok(time) => time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(sync::Preferences::default()),
            Err(error) => return Err(storage_error(error)),
        };
        let seconds = i64::try_from(modified.as_secs()).unwrap_or(i64::MAX);
        Ok(sync::Preferences::new(FileTime::at(UnixMillis::from_seconds(seconds)), self.read()?))
    }

    /// Takes in what another device tells, if it is later; says whether it was.
    pub(super) fn merge(&self, told: sync::Preferences) -> Result<bool, ConversationError> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = self.told()?;
        if !kept.merge(told) {
            return Ok(false);
        }
        self.write(&kept)?;
        Ok(true)
    }

    /// Takes values in; an empty one takes the preference away. Durable when it returns.
    pub(super) fn change(
        &self,
        values: BTreeMap<String, String>,
        now: UnixMillis,
    ) -> Result<(), ConversationError> {
        let fits = |(name, value): (&String, &String)| {
            (1..=MAX_PREFERENCE_NAME).contains(&name.len()) && value.len() <= MAX_PREFERENCE_VALUE
        };
        if !values.iter().all(fits) {
            return Err(PreferenceError::Length.into());
        }
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = self.told()?;
        let mut all = kept.values().clone();
        all.extend(values);
        all.retain(|_, value| !value.is_empty());
        if all.len() > MAX_PREFERENCES {
            return Err(PreferenceError::TooMany.into());
        }
        kept.change(all, now);
        self.write(&kept)
    }

    fn write(&self, preferences: &sync::Preferences) -> Result<(), ConversationError> {
        let entries = preferences.values().iter();
        let entries = entries.map(|(key, value)| (Object::text(key), Object::text(value)));
        let bytes = Object::Map(entries.collect()).encode();
        if let Some(folder) = self.file.parent() {
            storage::make_folder(folder).map_err(storage_error)?;
        }
        let seconds = u64::try_from(preferences.modified().seconds()).unwrap_or_default();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mark = || OpenOptions::new().write(true).open(&self.file)?.set_modified(modified);
        storage::replace(&self.file, &bytes).and_then(|()| mark()).map_err(storage_error)
    }
}

fn storage_error(error: io::Error) -> ConversationError {
    ConversationError::Storage(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis::from_seconds(1_800_000_000);

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn preferences_are_kept_changed_and_taken_away_in_jamis_format() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("conversation").join("preferences");
        let preferences = Preferences::new(file.clone());
        assert_eq!(preferences.read(), Ok(BTreeMap::new()));
        preferences.change(map(&[("color", "#ff8800")]), NOW).unwrap();
        // As a real daemon writes it.
        assert_eq!(std::fs::read(&file).unwrap(), b"\x81\xa5color\xa7#ff8800");
        preferences.change(map(&[("symbol", "x"), ("color", "")]), NOW).unwrap();
        assert_eq!(Preferences::new(file).read(), Ok(map(&[("symbol", "x")])));
    }

    #[test]
    fn what_another_device_prefers_takes_the_place_of_what_is_older() {
        let place = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| Preferences::new(place.path().join(name)));
        assert_eq!(one.told(), Ok(sync::Preferences::default()));
        assert_eq!(other.merge(one.told().unwrap()), Ok(false), "nothing was ever set");
        one.change(map(&[("color", "red")]), NOW).unwrap();
        assert_eq!(one.told().unwrap().modified(), FileTime::at(NOW));
        assert_eq!(other.merge(one.told().unwrap()), Ok(true));
        assert_eq!(other.merge(one.told().unwrap()), Ok(false));
        assert_eq!(other.told(), one.told());
        // A clock that is behind.
        other.change(map(&[("color", "blue")]), UnixMillis(0)).unwrap();
        assert_eq!(one.merge(other.told().unwrap()), Ok(true));
        assert_eq!(one.read(), Ok(map(&[("color", "blue")])));
    }

    #[test]
    fn number_and_length_of_preferences_are_bounded() {
        let place = tempfile::tempdir().unwrap();
        let preferences = Preferences::new(place.path().join("preferences"));
        for (name, value) in [("", "x"), (&*"n".repeat(257), "x"), ("n", &*"v".repeat(4097))] {
            let refused = preferences.change(map(&[(name, value)]), NOW);
            assert_eq!(refused, Err(PreferenceError::Length.into()));
        }
        let many = |count: usize| (0..count).map(|number| (number.to_string(), "x".repeat(4096))).collect();
        assert_eq!(preferences.change(many(257), NOW), Err(PreferenceError::TooMany.into()));
        preferences.change(many(256), NOW).unwrap();
        assert_eq!(preferences.read().unwrap().len(), 256);
    }
}
