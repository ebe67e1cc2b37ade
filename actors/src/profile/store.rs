//! Profiles on disk. All of it blocks, and runs on the pool.
//!
//! ```text
//!   profile.vcf             the owner's: with all that other clients have written into it
//!   profiles/<base64>.vcf   of others: a safe name and a picture made anew, written by us
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use skep_protocol::ids::AccountId;
use skep_protocol::profile::{
    MAX_PROFILE, PersonalProfile, PictureKind, ProfileDigest, account_of_file, file_name, kept_time,
    shown_name,
};
use skep_protocol::sync::FileTime;
use skep_protocol::time::UnixMillis;

use super::messages::{MAX_KEPT_PROFILES, PersonView, ProfileError};
use super::picture;
use crate::storage;

/// The file of the owner's profile, in the account's folder.
const OWN: &str = "profile.vcf";

/// The folder of the others', beside it.
const OTHERS: &str = "profiles";

/// As much of a file of ours as holds the name: at most 256 characters, in the second line.
const HEAD: u64 = 2048;

/// The owner's profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) file: Bytes,
    pub(super) digest: ProfileDigest,
    pub(super) modified: FileTime,
}

impl Own {
    /// A file that is the owner's profile since then.
    pub(super) fn new(file: Vec<u8>, modified: FileTime) -> Self {
        Self { digest: ProfileDigest::of(&file), file: file.into(), modified }
    }

    /// The name in it, made safe to show.
    pub(crate) fn name(&self) -> String {
        shown(&self.file).name
    }

    /// The same with a time that other devices believe; written, so that it is no newer with each start.
    pub(super) fn believed(self, folder: &Path, now: UnixMillis) -> io::Result<Self> {
        let modified = kept_time(self.modified, now);
        if modified == self.modified {
            return Ok(self);
        }
        let own = Self { modified, ..self };
        own.write(folder)?;
        Ok(own)
    }

    /// Writes it durably.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let seconds = u64::try_from(self.modified.seconds()).unwrap_or_default();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        storage::replace_dated(&folder.join(OWN), &self.file, time)
    }
}

/// The owner's profile, if there is one. Where there is only a name, it becomes one that is older than
/// any other.
pub(crate) fn load_own(folder: &Path, name: &str) -> io::Result<Option<Own>> {
    let path = folder.join(OWN);
    let modified = match fs::metadata(&path) {
        Ok(metadata) => metadata.modified()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if name.is_empty() {
                return Ok(None);
            }
            let profile = PersonalProfile { name: name.to_owned(), picture: None };
            let own = Own::new(profile.to_vcard().into_bytes(), FileTime::at(UnixMillis::from_seconds(1)));
            own.write(folder)?;
            return Ok(Some(own));
        }
        Err(error) => return Err(error),
    };
    let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let modified = FileTime::at(UnixMillis::from_seconds(i64::try_from(since).unwrap_or(i64::MAX)));
    match storage::read(&path, MAX_PROFILE) {
        Ok(file) => Ok(file.map(|file| Own::new(file, modified))),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            tracing::error!(%error, "the owner's profile is set aside");
            fs::rename(&path, folder.join("profile.vcf.unreadable"))?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The names of all whose profiles are kept.
pub(super) fn load_names(folder: &Path) -> io::Result<BTreeMap<AccountId, String>> {
    let others = folder.join(OTHERS);
    storage::make_folder(&others)?;
    storage::sweep(&others)?;
    let mut names = BTreeMap::new();
    for entry in fs::read_dir(&others)? {
        let entry = entry?;
        if let Some(person) = entry.file_name().to_str().and_then(account_of_file) {
            let mut head = Vec::new();
            if let Err(error) =
                File::open(entry.path()).and_then(|file| file.take(HEAD).read_to_end(&mut head))
            {
                tracing::warn!(%person, %error, "a profile cannot be read");
            }
            names.insert(person, shown(&head).name);
        }
        if names.len() >= MAX_KEPT_PROFILES {
            break;
        }
    }
    Ok(names)
}

/// Keeps what is safe of a profile that somebody sent. Says what it is called and whether it is new.
pub(super) fn keep(
    folder: &Path,
    person: AccountId,
    sent: &[u8],
) -> Result<(PersonView, bool), ProfileError> {
    let PersonalProfile { name, picture } = shown(sent);
    let profile = PersonalProfile { name, picture: picture.as_ref().and_then(picture::of_others) };
    let (path, vcard) = (path_of(folder, person), profile.to_vcard());
    let is_new = !matches!(storage::read(&path, MAX_PROFILE), Ok(Some(kept)) if kept == vcard.as_bytes());
    if is_new {
        storage::replace(&path, vcard.as_bytes())?;
    }
    Ok((view(person, profile), is_new))
}

/// Removes the files of people.
pub(super) fn drop_all(folder: &Path, people: &BTreeSet<AccountId>) -> io::Result<()> {
    people.iter().try_for_each(|person| match fs::remove_file(path_of(folder, *person)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    })
}

/// The file of somebody's profile, if there is one.
pub(super) fn read(folder: &Path, person: AccountId) -> io::Result<Option<Vec<u8>>> {
    storage::read(&path_of(folder, person), MAX_PROFILE)
}

/// A profile, to be shown.
pub(super) fn view_of(person: AccountId, file: &[u8]) -> PersonView {
    view(person, shown(file))
}

fn view(id: AccountId, profile: PersonalProfile) -> PersonView {
    // What is no base64, or too long, is not shown.
    let picture = profile.picture.filter(|picture| picture.decode().is_some());
    let picture = picture.and_then(|picture| Some((picture.kind()?, picture)));
    let Some((kind, picture)) = picture else {
        return PersonView { id, name: profile.name, picture: String::new(), picture_type: String::new() };
    };
    let picture_type = match kind {
        PictureKind::Png => "image/png",
        PictureKind::Jpeg => "image/jpeg",
    };
    // As others write it, there may be spaces in it.
    let picture = STANDARD.encode(picture.decode().unwrap_or_default());
    PersonView { id, name: profile.name, picture, picture_type: picture_type.to_owned() }
}

/// A profile with a name that can be shown.
fn shown(file: &[u8]) -> PersonalProfile {
    let profile = PersonalProfile::parse(file).unwrap_or_default();
    PersonalProfile { name: shown_name(&profile.name), ..profile }
}

fn path_of(folder: &Path, person: AccountId) -> PathBuf {
    folder.join(OTHERS).join(file_name(person))
}

#[cfg(test)]
mod tests {
    use skep_protocol::profile::Picture;

    use super::*;

    const BOB: AccountId = AccountId([2; 20]);

    #[test]
    fn the_owners_profile_keeps_its_time_and_what_others_wrote_into_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load_own(folder.path(), "").unwrap(), None);
        let first = load_own(folder.path(), "Ada").unwrap().unwrap();
        assert_eq!((first.name().as_str(), first.modified.seconds()), ("Ada", 1));
        let own = Own::new(
            b"BEGIN:VCARD\nUID:7\nFN:Eve\nEND:VCARD".to_vec(),
            first.modified.next(UnixMillis(5_500)),
        );
        own.write(folder.path()).unwrap();
        assert_eq!(load_own(folder.path(), "Ada").unwrap(), Some(own));
        fs::write(folder.path().join(OWN), vec![b'x'; MAX_PROFILE + 1]).unwrap();
        assert_eq!(load_own(folder.path(), "Ada").unwrap(), None);
        assert!(folder.path().join("profile.vcf.unreadable").exists());
    }

    #[test]
    fn a_time_far_ahead_on_disk_becomes_now_and_stays_that() {
        let folder = tempfile::tempdir().unwrap();
        let now = UnixMillis::from_seconds(1_000_000);
        let ahead = FileTime::at(UnixMillis::from_seconds(1_900_000));
        let own = Own::new(b"BEGIN:VCARD\nFN:Eve\nEND:VCARD".to_vec(), ahead);
        own.write(folder.path()).unwrap();
        let own = load_own(folder.path(), "").unwrap().unwrap().believed(folder.path(), now).unwrap();
        assert_eq!(own.modified, FileTime::at(now));
        assert_eq!(load_own(folder.path(), "").unwrap(), Some(own.clone()), "it is written");
        let later = UnixMillis::from_seconds(1_000_060);
        assert_eq!(own.clone().believed(folder.path(), later).unwrap(), own);
    }

    #[test]
    fn only_what_is_safe_of_a_profile_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        load_names(folder.path()).unwrap();
        let sent = b"NOTE:mine\nFN:\xe2\x80\xaeBob\x07\xff\nPHOTO:bm8gcGljdHVyZQ==\nFN:other";
        let (view, is_new) = keep(folder.path(), BOB, sent).unwrap();
        assert_eq!((view.name.as_str(), view.picture.as_str(), is_new), ("Bob\u{fffd}", "", true));
        let kept = read(folder.path(), BOB).unwrap().unwrap();
        assert_eq!(kept, "BEGIN:VCARD\nFN:Bob\u{fffd}\nVERSION:2.1\nEND:VCARD\n".as_bytes());
        assert!(!keep(folder.path(), BOB, sent).unwrap().1);
        assert_eq!(load_names(folder.path()).unwrap(), [(BOB, "Bob\u{fffd}".to_owned())].into());
    }

    #[test]
    fn a_nested_or_broken_vcard_gives_what_can_be_read_of_it() {
        let folder = tempfile::tempdir().unwrap();
        load_names(folder.path()).unwrap();
        let nested = "BEGIN:VCARD\n".repeat(100_000) + "FN:In\u{202e}ner\n" + &"END:VCARD\n".repeat(100_000);
        let name = |sent: &[u8]| keep(folder.path(), BOB, sent).unwrap().0.name;
        assert_eq!(name(nested.as_bytes()), "Inner");
        for broken in
            [&b""[..], b"\xff\xfe\0F\0N\0:\0B", b"FN", b"FN\n:\n", b"BEGIN:VCARD\nEND:VCARD", b"=46=4E:x"]
        {
            assert_eq!(name(broken), "", "{broken:?}");
        }
        assert_eq!(name(format!("FN:{}", "é".repeat(100_000)).as_bytes()).chars().count(), 256);
    }

    #[test]
    fn a_picture_is_shown_only_if_it_seems_to_be_one() {
        let profile = |picture| PersonalProfile { name: String::new(), picture: Some(picture) }.to_vcard();
        let shown = |picture| view_of(BOB, profile(picture).as_bytes());
        assert_eq!(shown(Picture::from_bytes(b"GIF89a")).picture, "");
        let jpeg = shown(Picture::from_bytes(b"\xff\xd8\xff\xe0"));
        assert_eq!((jpeg.picture.as_str(), jpeg.picture_type.as_str()), ("/9j/4A==", "image/jpeg"));
    }
}
