//! What commits can say, as types.

use crate::ids::{AccountId, CommitId, ConversationId, DeviceId};

/// How a conversation works; written into its first commit (`spec: swarm 2`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Two members for ever.
    OneToOne,
    /// Only admins invite.
    AdminInvitesOnly,
    /// Every member invites; the mode of new groups.
    InvitesOnly,
    /// Reserved; treated as a group.
    Public,
    /// A collaborative document (`spec: swarm 14`).
    Document,
}

impl Mode {
    /// The number in the first commit.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::OneToOne => 0,
            Self::AdminInvitesOnly => 1,
            Self::InvitesOnly => 2,
            Self::Public => 3,
            Self::Document => 4,
        }
    }

    /// The mode of this number.
    #[must_use]
    pub const fn from_number(number: i64) -> Option<Self> {
        Some(match number {
            0 => Self::OneToOne,
            1 => Self::AdminInvitesOnly,
            2 => Self::InvitesOnly,
            3 => Self::Public,
            4 => Self::Document,
            _ => return None,
        })
    }
}

/// What happens to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemberAction {
    /// Invited.
    Add,
    /// Took up the invitation.
    Join,
    /// Left.
    Remove,
    /// Voted out.
    Ban,
    /// Voted in again.
    Unban,
}

impl MemberAction {
    /// The word in `action`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Join => "join",
            Self::Remove => "remove",
            Self::Ban => "ban",
            Self::Unban => "unban",
        }
    }

    /// The action of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Add, Self::Join, Self::Remove, Self::Ban, Self::Unban].into_iter().find(|it| it.word() == word)
    }
}

/// Whom a membership commit or a vote is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A person: 40 digits.
    Account(AccountId),
    /// A single device: 64 digits.
    Device(DeviceId),
}

impl Target {
    /// Parses 40 or 64 lower-case digits that are not all zero.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let target = match text.len() {
            40 => Self::Account(text.parse().ok()?),
            64 => Self::Device(text.parse().ok()?),
            _ => return None,
        };
        (target.to_hex() == text && text.bytes().any(|digit| digit != b'0')).then_some(target)
    }

    /// Lower-case hexadecimal text.
    #[must_use]
    pub fn to_hex(self) -> String {
        match self {
            Self::Account(id) => id.to_hex(),
            Self::Device(id) => id.to_hex(),
        }
    }
}

/// How a text refers to another commit; at most one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// A new message.
    None,
    /// An answer to a message.
    Reply(CommitId),
    /// New text of a message or reaction; empty deletes it.
    Edit(CommitId),
    /// A reaction to a message.
    React(CommitId),
}

/// A file on offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOffer {
    /// Name to show.
    pub display_name: String,
    /// SHA3-512 of the content in hexadecimal.
    pub sha3sum: String,
    /// Number chosen by the sender, in decimal.
    pub tid: String,
    /// Length in bytes.
    pub total_size: u64,
    /// The message it answers.
    pub reply_to: Option<CommitId>,
}

/// A call as it appears in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallRecord {
    /// A one-to-one call that is over.
    OneToOne {
        /// The called person.
        to: AccountId,
        /// How long it took, in milliseconds.
        duration_ms: u64,
        /// Why it ended, if not by hanging up (`busy`, `declined`…).
        reason: Option<String>,
    },
    /// A group call; started, or ended if there is a duration.
    Group {
        /// Id of the conference, in decimal.
        conference: String,
        /// Device of the host.
        device: DeviceId,
        /// The host.
        host: AccountId,
        /// How long it took, in milliseconds, when it is over.
        duration_ms: Option<u64>,
    },
}

/// What a message means. Fields that do not fit make it [`Content::Other`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// The first commit.
    Initial {
        /// How the conversation works.
        mode: Mode,
        /// The other one of a one-to-one conversation.
        invited: Option<AccountId>,
    },
    /// A change of membership.
    Member {
        /// What happens.
        action: MemberAction,
        /// To whom.
        target: Target,
    },
    /// A vote; for what is told by the tree.
    Vote(Target),
    /// A text, reply, reaction or edit.
    Text {
        /// The text.
        body: String,
        /// What it refers to.
        relation: Relation,
    },
    /// A file on offer.
    File(FileOffer),
    /// A file is no longer on offer.
    FileRemoved {
        /// The offer.
        edit: CommitId,
    },
    /// A call.
    Call(CallRecord),
    /// `profile.vcf` changed.
    Profile,
    /// A collaborative document was made.
    Document {
        /// Its conversation id.
        document: ConversationId,
        /// Name to show.
        display_name: String,
        /// Its kind.
        mime_type: String,
    },
    /// A collaborative document was retired.
    DocumentRemoved {
        /// The announcement.
        edit: CommitId,
    },
    /// Changes of a collaborative document.
    Checkpoint {
        /// Updates in base64, one a line.
        body: String,
    },
    /// Anything else, newer or malformed: shown as unknown.
    Other,
}
