//! Profiles: the small vCards with the name and picture of a person or a conversation
//! (`spec: profiles 2 and 7, swarm 6.6, contacts 2.1`).
//!
//! ```text
//!   BEGIN:VCARD
//!   FN:Alice                                 key, first colon, value; one line each
//!   PHOTO;ENCODING=BASE64;TYPE=PNG:iVBOR…    no folding, no escaping, first of equal keys wins
//!   VERSION:2.1
//!   END:VCARD
//! ```
//!
//! Readers take what they find; writers give the exact lines of the reference. This file is about that;
//! beside it:
//!
//! ```text
//!   path           which profile a channel is for, and who may give or get it
//!   reception      profiles that come over channels
//!   distribution   who has our own one as it is now
//!   own            changes of one's own one, and which of two devices' counts
//!   pace           how often somebody's are taken
//!   chunks         profiles in parts, as clients of 2023 send them in calls
//! ```

mod chunks;
mod distribution;
mod own;
mod pace;
mod path;
mod reception;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::ids::{AccountId, DeviceId};

pub use chunks::{CHUNK_TYPE, Chunks, MAX_PARTS};
pub use distribution::{Distribution, DistributionError, MAX_DISTRIBUTION_FILE, MAX_RECIPIENTS, Recipient};
pub use own::{OwnChange, request_payload, takes_over};
pub use pace::ProfilePace;
pub use path::{Announced, Opener, PathRefused, ProfileDigest, ProfilePath, Transfer, is_newer, kept_time};
pub use reception::{MAX_RECEPTIONS, ReceptionError, ReceptionKey, Receptions};

/// Largest profile read or received, in bytes, as the largest client has it (`spec: profiles 9`).
pub const MAX_PROFILE: usize = 8 * 1024 * 1024;

/// Largest picture decoded, in bytes (`spec: profiles 9`).
pub const MAX_PICTURE: usize = 1024 * 1024;

/// A trust request carries a profile shorter than this, in bytes, or none (`spec: contacts 2.1`).
pub const MAX_TRUST_REQUEST_PROFILE: usize = 64_000;

/// Longest name shown, in characters (`spec: profiles 9`).
pub const MAX_SHOWN_NAME: usize = 256;

const END: &str = "END:VCARD";

/// The profile is longer than [`MAX_PROFILE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the profile has {0} bytes, more than {MAX_PROFILE}; keep the old one")]
pub struct ProfileTooLong(pub usize);

/// Why an image cannot be the picture of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// Longer than [`MAX_PICTURE`].
    #[error("the picture has {0} bytes, more than the {MAX_PICTURE} that others show; make it smaller")]
    TooLong(usize),
    /// Neither PNG nor JPEG.
    #[error("the picture of a profile is a PNG or JPEG image")]
    Kind,
}

/// Which image a picture is, as far as its first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureKind {
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
}

/// A picture in base64, as profiles and clients carry it. Whether it is one is not known before it
/// is decoded and drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture(String);

/// The profile of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersonalProfile {
    /// Display name; may be empty.
    pub name: String,
    /// Picture, if there is one.
    pub picture: Option<Picture>,
}

/// The profile of a conversation; also what an invitation says of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationProfile {
    /// Title; may be empty. In an invitation from a person, their name.
    pub title: String,
    /// Description; may be empty.
    pub description: String,
    /// Picture, if there is one.
    pub avatar: Option<Picture>,
    /// Account that hosts calls by default.
    pub call_host: Option<AccountId>,
    /// Device of that account that hosts calls by default.
    pub call_host_device: Option<DeviceId>,
}

impl Picture {
    /// From base64 text. `None` when it is empty.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        let text = one_line(text.trim());
        (!text.is_empty()).then(|| Self(text.into_owned()))
    }

    /// From the bytes of an image file.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(STANDARD.encode(bytes))
    }

    /// From an image file that somebody chose for a profile.
    ///
    /// # Errors
    /// When others would not show it.
    pub fn from_image(bytes: &[u8]) -> Result<Self, PictureError> {
        if bytes.len() > MAX_PICTURE {
            return Err(PictureError::TooLong(bytes.len()));
        }
        let picture = Self::from_bytes(bytes);
        picture.kind().map_or(Err(PictureError::Kind), |_| Ok(picture))
    }

    /// The base64 text.
    #[must_use]
    pub fn as_base64(&self) -> &str {
        &self.0
    }

    /// The bytes of the image file. `None` when it is not base64, or longer than [`MAX_PICTURE`].
    #[must_use]
    pub fn decode(&self) -> Option<Vec<u8>> {
        if self.0.len() > MAX_PICTURE.div_ceil(3).saturating_mul(4) {
            return None;
        }
        STANDARD.decode(&self.0).ok().filter(|bytes| bytes.len() <= MAX_PICTURE)
    }

    /// Which image it is; `None` if it is none that profiles have. The base64 of both begins always the same.
    #[must_use]
    pub fn kind(&self) -> Option<PictureKind> {
        if self.0.starts_with("/9j/") {
            Some(PictureKind::Jpeg)
        } else {
            self.0.starts_with("iVBORw0KGg").then_some(PictureKind::Png)
        }
    }

    /// What a vCard calls the type.
    fn type_name(&self) -> &'static str {
        if self.kind() == Some(PictureKind::Jpeg) { "JPEG" } else { "PNG" }
    }
}

impl PersonalProfile {
    /// Reads a profile; what is not in it stays empty.
    ///
    /// # Errors
    /// [`ProfileTooLong`].
    pub fn parse(vcard: &[u8]) -> Result<Self, ProfileTooLong> {
        let vcard = text(vcard)?;
        Ok(Self { name: value(&vcard, Key::Is("FN")).to_owned(), picture: picture(&vcard) })
    }

    /// The file of one's own profile: sorted keys, a final newline.
    #[must_use]
    pub fn to_vcard(&self) -> String {
        let mut vcard = format!("BEGIN:VCARD\nFN:{}\n", one_line(&self.name));
        if let Some(picture) = &self.picture {
            vcard += &format!("PHOTO;ENCODING=BASE64;TYPE={}:{}\n", picture.type_name(), picture.0);
        }
        vcard + "VERSION:2.1\n" + END + "\n"
    }
}

impl ConversationProfile {
    /// Reads the profile in a conversation or in an invitation; what is not in it stays empty.
    ///
    /// # Errors
    /// [`ProfileTooLong`].
    pub fn parse(vcard: &[u8]) -> Result<Self, ProfileTooLong> {
        let vcard = text(vcard)?;
        Ok(Self {
            title: value(&vcard, Key::Is("FN")).to_owned(),
            description: value(&vcard, Key::Is("DESCRIPTION")).to_owned(),
            avatar: picture(&vcard),
            call_host: AccountId::from_uri(value(&vcard, Key::StartsWith("RDV_ACCOUNT"))).ok(),
            call_host_device: value(&vcard, Key::StartsWith("RDV_DEVICE")).trim().parse().ok(),
        })
    }

    /// The `profile.vcf` of a conversation (`spec: swarm 6.6`). Each host line is followed by an empty one, which stays
    /// when the host is not set; no newline follows the end.
    #[must_use]
    pub fn to_vcard(&self) -> String {
        let mut vcard = "BEGIN:VCARD\nVERSION:2.1\n".to_owned();
        for (key, value) in [("FN", &self.title), ("DESCRIPTION", &self.description)] {
            if !value.is_empty() {
                vcard += &format!("{key}:{}\n", one_line(value));
            }
        }
        vcard += "PHOTO;ENCODING=BASE64";
        if let Some(avatar) = &self.avatar {
            vcard += ":";
            vcard += avatar.as_base64();
        }
        vcard += "\n";
        if let Some(account) = self.call_host {
            vcard += &format!("RDV_ACCOUNT:{account}\n");
        }
        vcard += "\n";
        if let Some(device) = self.call_host_device {
            vcard += &format!("RDV_DEVICE:{device}\n");
        }
        vcard + "\n" + END
    }
}

/// Whether a file of so many bytes may be read.
///
/// # Errors
/// [`ProfileTooLong`].
pub fn check_length(bytes: u64) -> Result<(), ProfileTooLong> {
    match usize::try_from(bytes) {
        Ok(bytes) if bytes <= MAX_PROFILE => Ok(()),
        Ok(bytes) => Err(ProfileTooLong(bytes)),
        Err(_) => Err(ProfileTooLong(usize::MAX)),
    }
}

/// The name of the file in which the profile of an account is kept (`spec: profiles 3`). The base64 of
/// hexadecimal digits has no `/`.
#[must_use]
pub fn file_name(account: AccountId) -> String {
    format!("{}.vcf", STANDARD.encode(account.to_hex()))
}

/// Whose profile a file of this name is.
#[must_use]
pub fn account_of_file(name: &str) -> Option<AccountId> {
    let account = STANDARD.decode(name.strip_suffix(".vcf")?).ok()?;
    let account: AccountId = std::str::from_utf8(&account).ok()?.parse().ok()?;
    (file_name(account) == name).then_some(account)
}

/// Whether a received profile came whole: its last line is the end of a vCard.
#[must_use]
pub fn is_complete(vcard: &[u8]) -> bool {
    vcard.trim_ascii_end().ends_with(END.as_bytes())
}

/// What a trust request carries of one's own profile file: all of it without the final newline, or
/// nothing when it is [`MAX_TRUST_REQUEST_PROFILE`] bytes or more.
#[must_use]
pub fn trust_request_payload(own_profile: &[u8]) -> &[u8] {
    let payload = own_profile.trim_ascii_end();
    if payload.len() < MAX_TRUST_REQUEST_PROFILE { payload } else { &[] }
}

/// A name or title fit to be shown: no control characters, no direction overrides, not too long.
#[must_use]
pub fn shown_name(name: &str) -> String {
    let harmless = |character: &char| {
        let turns_direction = matches!(character, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let breaks_lines = matches!(character, '\u{2028}' | '\u{2029}');
        !character.is_control() && !turns_direction && !breaks_lines
    };
    name.chars().filter(harmless).take(MAX_SHOWN_NAME).collect::<String>().trim().to_owned()
}

/// Which lines are meant.
#[derive(Clone, Copy)]
enum Key {
    Is(&'static str),
    StartsWith(&'static str),
}

fn text(vcard: &[u8]) -> Result<Cow<'_, str>, ProfileTooLong> {
    if vcard.len() > MAX_PROFILE {
        Err(ProfileTooLong(vcard.len()))
    } else {
        Ok(String::from_utf8_lossy(vcard))
    }
}

/// The value of the first such line, or nothing.
fn value(vcard: &str, wanted: Key) -> &str {
    let lines = vcard.split('\n').filter_map(|line| line.strip_suffix('\r').unwrap_or(line).split_once(':'));
    let mut values = lines.filter_map(|(key, value)| {
        let is_wanted = match wanted {
            Key::Is(name) => key == name,
            Key::StartsWith(prefix) => key.starts_with(prefix),
        };
        is_wanted.then_some(value)
    });
    values.next().unwrap_or_default()
}

fn picture(vcard: &str) -> Option<Picture> {
    Picture::from_base64(value(vcard, Key::StartsWith("PHOTO")))
}

/// `value` with control characters, above all line ends, as spaces.
fn one_line(value: &str) -> Cow<'_, str> {
    if value.contains(char::is_control) {
        value.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
    } else {
        Cow::Borrowed(value)
    }
}

#[cfg(test)]
mod tests;
