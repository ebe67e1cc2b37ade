//! One's own profile: a file that other clients may have written, too, so that what is not understood in it is kept
//! (`spec: profiles 2, 4.3`).

use super::path::{ProfileDigest, is_newer};
use super::{END, PersonalProfile, Picture, one_line, trust_request_payload};
use crate::sync::FileTime;
use crate::time::UnixMillis;

/// What of one's own profile changes; the rest stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnChange {
    /// Another name; an empty one takes it away.
    pub name: Option<String>,
    /// Another picture, or none any more.
    pub picture: Option<Option<Picture>>,
}

impl OwnChange {
    /// The file after the change. Lines that are neither name nor picture are kept.
    #[must_use]
    pub fn apply(&self, file: &[u8]) -> String {
        let text = String::from_utf8_lossy(file);
        let present = PersonalProfile::parse(file).unwrap_or_default();
        let name = self.name.as_ref().unwrap_or(&present.name);
        let mut vcard = format!("BEGIN:VCARD\nFN:{}\n", one_line(name));
        let picture = match &self.picture {
            Some(picture) => picture.as_ref(),
            None => present.picture.as_ref(),
        };
        if let Some(picture) = picture {
            vcard += &format!("PHOTO;ENCODING=BASE64;TYPE={}:{}\n", picture.type_name(), picture.as_base64());
        }
        for line in text.lines() {
            let Some((key, _)) = line.split_once(':') else { continue };
            let line = line.trim_end_matches('\r');
            if !matches!(key, "BEGIN" | "END" | "FN" | "VERSION") && !key.starts_with("PHOTO") {
                vcard += line;
                vcard.push('\n');
            }
        }
        vcard + "VERSION:2.1\n" + END + "\n"
    }
}

/// Whether the profile of one's own account that another device offers takes the place of the one here: if it is newer.
/// Of two that are equally old all devices choose the same.
#[must_use]
pub fn takes_over(
    offered: (Option<FileTime>, Option<ProfileDigest>),
    here: Option<(FileTime, ProfileDigest)>,
    now: UnixMillis,
) -> bool {
    let Some((time, digest)) = here else { return true };
    if offered.0 == Some(time) {
        return offered.1.is_some_and(|offered| offered > digest);
    }
    is_newer(offered.0, Some(time), now)
}

/// What a trust request shows of one's own profile: all of it, or the name alone where that would be too much.
#[must_use]
pub fn request_payload(own_profile: &[u8]) -> Vec<u8> {
    let whole = trust_request_payload(own_profile);
    if !whole.is_empty() || own_profile.is_empty() {
        return whole.to_vec();
    }
    let name = PersonalProfile::parse(own_profile).map(|profile| profile.name).unwrap_or_default();
    let vcard = PersonalProfile { name, picture: None }.to_vcard();
    trust_request_payload(vcard.as_bytes()).to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::profile::MAX_TRUST_REQUEST_PROFILE;

    const FOREIGN: &str = "BEGIN:VCARD\r\nVERSION:2.1\r\nUID:7\r\nFN:Ada\r\nPHOTO;ENCODING=BASE64;TYPE=PNG:iVBORw0KGgo=\r\n\
                           KIND:application\r\nEND:VCARD";

    #[test]
    fn a_change_keeps_what_other_clients_have_written() {
        let change = OwnChange { name: Some("Eve\nFN:Mallory".to_owned()), picture: None };
        let changed = change.apply(FOREIGN.as_bytes());
        let expected = "BEGIN:VCARD\nFN:Eve FN:Mallory\nPHOTO;ENCODING=BASE64;TYPE=PNG:iVBORw0KGgo=\nUID:7\n\
                        KIND:application\nVERSION:2.1\nEND:VCARD\n";
        assert_eq!(changed, expected);
        let change = OwnChange { name: None, picture: Some(None) };
        let changed = change.apply(changed.as_bytes());
        assert!(changed.contains("UID:7\n") && !changed.contains("PHOTO"), "{changed}");
        let picture = Picture::from_bytes(b"\xff\xd8\xff");
        let change = OwnChange { name: None, picture: Some(Some(picture.clone())) };
        let read = PersonalProfile::parse(change.apply(b"").as_bytes()).unwrap();
        assert_eq!(read, PersonalProfile { name: String::new(), picture: Some(picture) });
    }

    #[test]
    fn devices_choose_the_same_of_two_profiles_whoever_offers_first() {
        let now = UnixMillis::from_seconds(1_000);
        let time = |seconds| FileTime::at(UnixMillis::from_seconds(seconds));
        let digests = [ProfileDigest([1; 64]), ProfileDigest([2; 64])];
        let offered = |seconds, digest: ProfileDigest| (Some(time(seconds)), Some(digest));
        assert!(takes_over(offered(5, digests[1]), Some((time(5), digests[0])), now));
        assert!(!takes_over(offered(5, digests[0]), Some((time(5), digests[1])), now));
        assert!(!takes_over(offered(5, digests[0]), Some((time(5), digests[0])), now));
        assert!(takes_over(offered(6, digests[0]), Some((time(5), digests[1])), now));
        assert!(!takes_over(offered(4, digests[1]), Some((time(5), digests[0])), now));
        assert!(takes_over((None, None), Some((time(5), digests[0])), now), "as devices of 2023 offer it");
        assert!(takes_over(offered(1, digests[0]), None, now));
    }

    #[test]
    fn a_request_shows_the_name_alone_when_the_picture_is_too_long() {
        let profile = |length| {
            let picture = Picture::from_base64(&"A".repeat(length));
            PersonalProfile { name: "Ada".to_owned(), picture }.to_vcard()
        };
        let small = profile(10_000);
        assert_eq!(request_payload(small.as_bytes()), small.trim_end().as_bytes());
        let large = profile(MAX_TRUST_REQUEST_PROFILE);
        assert_eq!(request_payload(large.as_bytes()), b"BEGIN:VCARD\nFN:Ada\nVERSION:2.1\nEND:VCARD");
        assert_eq!(request_payload(b""), b"");
    }

    proptest! {
        #[test]
        fn any_file_can_be_changed(file: Vec<u8>, name: String) {
            let change = OwnChange { name: Some(name.clone()), picture: None };
            let changed = change.apply(&file);
            let read = PersonalProfile::parse(changed.as_bytes()).unwrap();
            prop_assert_eq!(&*read.name, &*one_line(&name));
        }
    }
}
