//! File ids, and what the name of a channel asks for (`spec: file-transfer 2, 3, 6`).
//!
//! ```text
//!   data-transfer://profile.vcf[?sha3=…&modified=…]                             own profile to an own device
//!   data-transfer://<conversation>/<opener's device>/profile.vcf[?sha3=…]       own profile to a member
//!   data-transfer://<conversation>/profile/<member>.vcf                         a member's profile is wanted
//!   data-transfer://<conversation>/<opener's device>/<file id>[?start=…&end=…]  a file is wanted
//! ```

use std::fmt;
use std::str::FromStr;

use super::digest::FileHash;
use crate::ids::{AccountId, CommitId, ConversationId, DeviceId};
use crate::swarm::message::file_id;

/// Digits of a commit's id.
const COMMIT_DIGITS: usize = CommitId::LENGTH * 2;

/// Most digits of a `tid`: those of 2^53.
const MAX_TID_DIGITS: usize = 16;

/// Longest extension, in bytes.
const MAX_EXTENSION: usize = 7;

/// Longest name of a channel that is looked at, in bytes: the longest that means something has 400.
const MAX_NAME: usize = 1024;

/// The file that holds a profile.
const PROFILE: &str = "profile.vcf";

/// Name of one file on the wire and on disk: `<commit>_<tid>[.<extension>]`.
///
/// It holds nothing that a file system could take for a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    commit: CommitId,
    text: String,
}

/// A text that is not a file id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a file: <commit>_<number>[.<extension>] is expected")]
pub struct FileIdError;

impl FileId {
    /// The id of the file that a commit offers.
    ///
    /// # Errors
    /// [`FileIdError`] when the number or the name offered cannot be part of one.
    pub fn new(commit: CommitId, tid: &str, display_name: &str) -> Result<Self, FileIdError> {
        file_id(commit, tid, display_name).parse()
    }

    /// The commit that offers the file.
    #[must_use]
    pub const fn commit(&self) -> CommitId {
        self.commit
    }

    /// The id as text: also the file's name on disk.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for FileId {
    type Err = FileIdError;

    fn from_str(text: &str) -> Result<Self, FileIdError> {
        let (commit, rest) = text.split_once('_').ok_or(FileIdError)?;
        let is_hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
        if commit.len() != COMMIT_DIGITS || !commit.bytes().all(is_hex) {
            return Err(FileIdError);
        }
        let (tid, extension) = match rest.split_once('.') {
            Some((tid, extension)) => (tid, Some(extension)),
            None => (rest, None),
        };
        if !is_tid(tid) || !extension.is_none_or(is_extension) {
            return Err(FileIdError);
        }
        let commit = commit.parse().map_err(|_| FileIdError)?;
        Ok(Self { commit, text: text.to_owned() })
    }
}

/// Whether a text can be the number that a sender chose.
pub(super) fn is_tid(text: &str) -> bool {
    (1..=MAX_TID_DIGITS).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit())
}

fn is_extension(text: &str) -> bool {
    let is_bad = |it: char| matches!(it, '.' | '/' | '\\') || it.is_control();
    (1..=MAX_EXTENSION).contains(&text.len()) && !text.contains(is_bad)
}

impl fmt::Display for FileId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Which bytes of a file are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ByteRange {
    /// Offset of the first one.
    pub start: u64,
    /// Offset after the last one; 0 for the end of the file.
    pub end: u64,
}

/// What a profile that is sent says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProfileStamp {
    /// The hash of the file; releases before 2023-12 do not say it.
    pub sha3: Option<FileHash>,
    /// When it was changed, by the file clock of the sender, in its own unit (`spec: sync 4.8`).
    pub modified: Option<u64>,
}

/// What somebody who opens a `data-transfer://` channel wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TransferName {
    /// To hand their own profile to a device of their own.
    OwnProfile(ProfileStamp),
    /// To hand their own profile to a member of a conversation.
    Profile {
        /// The conversation.
        conversation: ConversationId,
        /// The opener's device, as it says; the channel's certificate tells whose profile it is.
        device: String,
        /// What it says of the profile.
        stamp: ProfileStamp,
    },
    /// To get the profile of a member.
    MemberProfile {
        /// The conversation.
        conversation: ConversationId,
        /// Whose.
        member: AccountId,
    },
    /// To get a file.
    File(FileRequest),
}

/// A file that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileRequest {
    /// The conversation in which it was offered.
    pub conversation: ConversationId,
    /// The device that asks, as it says: free text.
    pub device: String,
    /// Which file.
    pub file: FileId,
    /// Which bytes of it.
    pub range: ByteRange,
}

/// Why a requested channel must be declined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransferNameError {
    /// Fewer than three parts, arguments in the middle, or longer than any name that means something.
    #[error("the channel names no file; decline it")]
    Malformed,
    /// The first part is no conversation.
    #[error("the channel names no conversation; decline it")]
    Conversation,
    /// The last part is no file id.
    #[error("the channel names something that is no file id; decline it")]
    File,
    /// Start or end is no number, or ends before it starts.
    #[error("the channel asks for bytes that no file has; decline it")]
    Range,
}

impl FileRequest {
    /// A request for a file from `start` to its end.
    #[must_use]
    pub fn from(conversation: ConversationId, own: DeviceId, file: FileId, start: u64) -> Self {
        Self { conversation, device: own.to_hex(), file, range: ByteRange { start, end: 0 } }
    }

    /// Whether a device asks itself, which must be declined.
    #[must_use]
    pub fn is_from(&self, device: DeviceId) -> bool {
        self.device == device.to_hex()
    }
}

impl TransferName {
    /// Reads what follows `data-transfer://`. Arguments that are not known are ignored; of one given
    /// twice the last counts.
    ///
    /// # Errors
    /// [`TransferNameError`] when the channel must be declined.
    pub fn parse(path: &str) -> Result<Self, TransferNameError> {
        if path.len() > MAX_NAME {
            return Err(TransferNameError::Malformed);
        }
        let (path, arguments) = path.rsplit_once('?').unwrap_or((path, ""));
        if path == PROFILE {
            return Ok(Self::OwnProfile(stamp(arguments)));
        }
        let (conversation, rest) = path.split_once('/').ok_or(TransferNameError::Malformed)?;
        let (device, file) = rest.rsplit_once('/').ok_or(TransferNameError::Malformed)?;
        if device.contains('?') {
            return Err(TransferNameError::Malformed);
        }
        let conversation = conversation.parse().map_err(|_| TransferNameError::Conversation)?;
        if file == PROFILE {
            return Ok(Self::Profile { conversation, device: device.to_owned(), stamp: stamp(arguments) });
        }
        if let Some(member) = file.strip_suffix(".vcf").and_then(|member| member.parse().ok()) {
            return Ok(Self::MemberProfile { conversation, member });
        }
        let file = file.parse().map_err(|_| TransferNameError::File)?;
        let range = range(arguments)?;
        Ok(Self::File(FileRequest { conversation, device: device.to_owned(), file, range }))
    }
}

/// The arguments of a name, each with its value.
fn each(arguments: &str) -> impl Iterator<Item = (&str, &str)> {
    arguments.split('&').filter_map(|argument| argument.split_once('='))
}

fn stamp(arguments: &str) -> ProfileStamp {
    let mut stamp = ProfileStamp::default();
    for (name, value) in each(arguments) {
        match name {
            "sha3" => stamp.sha3 = value.parse().ok(),
            "modified" => stamp.modified = value.parse().ok().filter(|time| *time != 0),
            _ => {}
        }
    }
    stamp
}

fn range(arguments: &str) -> Result<ByteRange, TransferNameError> {
    let mut range = ByteRange::default();
    for (name, value) in each(arguments) {
        let number = match name {
            "start" => &mut range.start,
            "end" => &mut range.end,
            _ => continue,
        };
        *number = value.parse().map_err(|_| TransferNameError::Range)?;
    }
    if range.end != 0 && range.end < range.start {
        return Err(TransferNameError::Range);
    }
    Ok(range)
}

impl fmt::Display for TransferName {
    /// What follows `data-transfer://`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnProfile(stamp) => write!(formatter, "{PROFILE}{stamp}"),
            Self::Profile { conversation, device, stamp } => {
                write!(formatter, "{conversation}/{device}/{PROFILE}{stamp}")
            }
            Self::MemberProfile { conversation, member } => {
                write!(formatter, "{conversation}/profile/{member}.vcf")
            }
            Self::File(request) => write!(formatter, "{request}"),
        }
    }
}

impl fmt::Display for ProfileStamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut mark = '?';
        if let Some(sha3) = self.sha3 {
            write!(formatter, "{mark}sha3={sha3}")?;
            mark = '&';
        }
        match self.modified {
            Some(modified) => write!(formatter, "{mark}modified={modified}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for FileRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { conversation, device, file, range } = self;
        write!(formatter, "{conversation}/{device}/{file}")?;
        // A question mark in the id would be taken for the beginning of the arguments.
        if *range == ByteRange::default() && !file.as_str().contains('?') {
            return Ok(());
        }
        write!(formatter, "?start={}&end={}", range.start, range.end)
    }
}

#[cfg(test)]
#[path = "name_tests.rs"]
mod tests;
