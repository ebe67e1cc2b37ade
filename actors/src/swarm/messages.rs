//! What a conversation can be asked, and the views it answers with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_protocol::ids::{AccountId, CommitId, ConversationId, DeviceId};
use skep_protocol::profile::MAX_PICTURE;
use skep_protocol::swarm::layout::VoteAction;
use skep_protocol::swarm::message::{CallRecord, FileOffer, Target};
use skep_protocol::sync::{MemberStatus, MessageStatus, Preferences};
use skep_protocol::time::UnixMillis;

use super::repository::serve::Served;
use super::router::messages::{RouterTold, RoutesView};
use super::standing::describe;
use crate::peer::messages::ChannelOffer;
use crate::supervision::{Message, Policy, Reply};

/// Longest text of one message, in bytes: the protocol has no limit, and this is what people write
/// (`spec: swarm 15`).
pub const MAX_TEXT: usize = 64 * 1024;

/// Most messages in one page.
pub const MAX_PAGE: usize = 1000;

/// What is sent: a commit without change of the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outgoing {
    /// A text, or an answer to a message.
    Text {
        /// The text, at most 64 KiB.
        body: String,
        /// The message answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        reply_to: Option<CommitId>,
    },
    /// Another text for a message of one's own.
    Edit {
        /// The original message.
        #[schemars(with = "String")]
        message: CommitId,
        /// The new text.
        body: String,
    },
    /// Takes a message, a reaction or a file of one's own back.
    Delete {
        /// The original message.
        #[schemars(with = "String")]
        message: CommitId,
    },
    /// The offer of a file; only the files of the account make one, which have it at hand.
    #[serde(skip)]
    File(FileOffer),
    /// A call that is over; only the calls of the account write one.
    #[serde(skip)]
    Call(CallRecord),
    /// A reaction to a message.
    React {
        /// The message.
        #[schemars(with = "String")]
        message: CommitId,
        /// The reaction, usually one emoji.
        body: String,
    },
}

/// Longest title of a conversation, in bytes: a line to show in a list.
pub const MAX_TITLE: usize = 1024;

/// Longest description of a conversation, in bytes: a page to read.
pub const MAX_DESCRIPTION: usize = 16 * 1024;

/// Changes of a conversation that touch its tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupChange {
    /// Invite somebody. Of somebody banned, a vote to unban, if we are an admin.
    Invite(AccountId),
    /// Vote to ban or unban, which also happens if that is decided then.
    Vote {
        /// Ban or unban.
        action: VoteAction,
        /// Whom, or which device.
        target: Target,
    },
    /// Another profile.
    Profile(ProfileChange),
}

/// What of a conversation's profile changes; the rest stays. An empty text takes an entry away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProfileChange {
    /// The title, at most 1024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The description, at most 16 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The picture in base64, at most 1 MiB; one of 48,000 bytes or more is left out of invitations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
    /// The Jami id of who hosts calls unless somebody else does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_host: Option<String>,
    /// The device of that account that hosts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_host_device: Option<String>,
}

impl ProfileChange {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A change of a conversation that is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// The commit that says so.
    #[schemars(with = "String")]
    pub commit: CommitId,
    /// Whether it holds; false for a vote that needs those of more admins.
    pub decided: bool,
}

/// The offer of a file, as a message has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedIn {
    /// What is offered.
    pub offer: FileOffer,
    /// Who offers it.
    pub author: AccountId,
}

/// A conversation that was written to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exported {
    /// The newest commit in it.
    #[schemars(with = "String")]
    pub head: CommitId,
    /// Length of the file in bytes.
    pub bytes: u64,
}

/// Why a conversation did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConversationError {
    /// The text is too long.
    #[error("the text has {length} bytes, more than the {MAX_TEXT} a message may have")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// There is no such message here.
    #[error("there is no message {message} in this conversation")]
    UnknownMessage {
        /// The message named.
        message: CommitId,
    },
    /// Only the author may edit or delete.
    #[error("message {message} was written by somebody else; only its author can change it")]
    NotYours {
        /// The message named.
        message: CommitId,
    },
    /// The entry offers no file.
    #[error("message {message} offers no file")]
    NoFile {
        /// The message named.
        message: CommitId,
    },
    /// The kind of entry cannot be edited.
    #[error("entry {message} is not a text and cannot be edited")]
    NotEditable {
        /// The message named.
        message: CommitId,
    },
    /// The conversation has not been fetched yet.
    #[error("the conversation has not arrived yet; wait for it to be ready")]
    NotReady,
    /// We are not, or no longer, a member.
    #[error("this account is not a member of the conversation")]
    NotMember,
    /// Only admins may do this.
    #[error("only admins of the conversation may do this")]
    NotAdmin,
    /// The person was banned.
    #[error("{0} is banned from the conversation; an admin can unban them")]
    Banned(AccountId),
    /// The person takes part already, or was invited.
    #[error("{0} is in the conversation already, or invited to it")]
    AlreadyThere(AccountId),
    /// Nobody else may join a one-to-one conversation.
    #[error("nobody else may join a one-to-one conversation; make a group instead")]
    OneToOne,
    /// The one to vote on is not there.
    #[error("{target} is nobody in this conversation whom this account could {action}")]
    NoTarget {
        /// `ban` or `unban`.
        action: String,
        /// Whom, or which device.
        target: String,
    },
    /// This account has voted so already.
    #[error("this account has voted so already; {missing} more admins have to")]
    VotedAlready {
        /// Votes still needed.
        missing: usize,
    },
    /// This very device was banned.
    #[error("this device was banned from the conversation")]
    BannedDevice,
    /// Other members' rules leave no way to unban a device.
    #[error("a device that was banned stays banned: the others would refuse to unban it")]
    DeviceStaysBanned,
    /// The profile cannot be as asked.
    #[error("the {0}")]
    BadProfile(#[from] ProfileError),
    /// A preference cannot be as asked.
    #[error(transparent)]
    BadPreference(#[from] PreferenceError),
    /// This device has not written yet.
    #[error("this device has to write something in the conversation first")]
    NewDevice,
    /// The overlay does not answer.
    #[error("the overlay of the conversation does not answer: {0}")]
    NoRouter(String),
    /// An export never replaces anything.
    #[error("{} exists already; choose another name", .0.display())]
    FileExists(PathBuf),
    /// The disk refused.
    #[error("the conversation could not be written: {0}")]
    Storage(String),
    /// The node is too busy.
    #[error(transparent)]
    Busy(#[from] crate::blocking::PoolError),
}

/// What of a profile cannot be as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// Too long.
    #[error("{field} has {length} bytes, more than the {limit} it may have")]
    TooLong {
        /// Title or description.
        field: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The most it may have.
        limit: usize,
    },
    /// The picture is not base64, or too large.
    #[error("picture is not base64, or has more than {MAX_PICTURE} bytes")]
    Picture,
    /// The host of calls is no Jami id, or its device no device's.
    #[error("call host is no {0} id")]
    CallHost(&'static str),
}

/// What of a preference cannot be as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PreferenceError {
    /// The name or the value is too long, or the name empty.
    #[error(
        "a preference has a name of 1 to {MAX_PREFERENCE_NAME} bytes and a value of at most {MAX_PREFERENCE_VALUE}"
    )]
    Length,
    /// Too many.
    #[error("a conversation has at most {MAX_PREFERENCES} preferences; remove some")]
    TooMany,
}

/// Most preferences of a conversation: clients know a handful.
pub const MAX_PREFERENCES: usize = 256;

/// Longest name of a preference, in bytes.
pub const MAX_PREFERENCE_NAME: usize = 256;

/// Longest value of a preference, in bytes: some keep a picture's name or a colour there.
pub const MAX_PREFERENCE_VALUE: usize = 4096;

/// A message as a list shows it, its edits and reactions applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageView {
    /// The commit.
    #[schemars(with = "String")]
    pub id: CommitId,
    /// Who wrote it.
    #[schemars(with = "String")]
    pub author: AccountId,
    /// When, by the author's clock, in milliseconds since 1970.
    #[schemars(with = "i64")]
    pub time: UnixMillis,
    /// The commit's type: `text/plain`, `member`, `initial`, …
    pub kind: String,
    /// The newest text; empty when it was deleted or has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// Whether its author deleted it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// Earlier texts, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub editions: Vec<String>,
    /// The message answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub reply_to: Option<CommitId>,
    /// Reactions, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<ReactionView>,
    /// Other fields of the commit, as text: `action` and `uri` of a member commit, a file's name.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

/// A reaction as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReactionView {
    /// Its commit.
    #[schemars(with = "String")]
    pub id: CommitId,
    /// Who reacted.
    #[schemars(with = "String")]
    pub author: AccountId,
    /// The reaction.
    pub body: String,
}

/// A page of history, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Page {
    /// The messages, newest first.
    pub messages: Vec<MessageView>,
    /// Where the next older page begins; none at the beginning of history.
    #[schemars(with = "Option<String>")]
    pub next: Option<CommitId>,
}

/// A member of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberView {
    /// Who.
    #[schemars(with = "String")]
    pub id: AccountId,
    /// `admin`, `member`, `invited`, `banned` or `left`.
    pub role: String,
    /// How many of their devices are linked with ours now. Who has none may be reached through others.
    #[serde(default)]
    pub linked: usize,
    /// The newest commit that a device of theirs has, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub fetched: Option<CommitId>,
    /// The message up to which they have read, as far as they have told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub read: Option<CommitId>,
}

/// A vote that is not decided yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VoteView {
    /// `ban` or `unban`.
    pub action: String,
    /// Where the target stands, or stood: `admins`, `members`, `invited` or `devices`.
    pub kind: String,
    /// The person or device.
    pub target: String,
    /// The admins who are for it.
    #[schemars(with = "Vec<String>")]
    pub voters: Vec<AccountId>,
    /// How many admins have to be for it.
    pub needed: usize,
}

/// Something a peer offered that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusalView {
    /// When, in milliseconds since 1970.
    #[schemars(with = "i64")]
    pub time: UnixMillis,
    /// Whose device offered it, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub peer: Option<AccountId>,
    /// Which device.
    #[schemars(with = "String")]
    pub device: DeviceId,
    /// The commit that breaks a rule, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub commit: Option<CommitId>,
    /// Why, for people.
    pub reason: String,
}

/// The profile of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProfileView {
    /// Title; empty if none.
    pub title: String,
    /// Description; empty if none.
    pub description: String,
    /// The picture in base64; empty if none.
    pub avatar: String,
    /// Who hosts calls unless somebody else does.
    #[schemars(with = "Option<String>")]
    pub call_host: Option<AccountId>,
    /// The device that hosts them.
    #[schemars(with = "Option<String>")]
    pub call_host_device: Option<DeviceId>,
}

/// A conversation at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConversationView {
    /// Its id.
    #[schemars(with = "String")]
    pub id: ConversationId,
    /// `one_to_one`, `admin_invites_only`, `invites_only`, `public` or `document`.
    pub mode: String,
    /// Title from its profile; empty if none.
    pub title: String,
    /// Description from its profile; empty if none.
    pub description: String,
    /// Its members, also those invited, banned and left.
    pub members: Vec<MemberView>,
    /// Devices that were voted out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub banned_devices: Vec<DeviceId>,
    /// Votes that are not decided yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub votes: Vec<VoteView>,
    /// What peers offered lately and was not taken, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<RefusalView>,
    /// The newest commit, when the conversation is here.
    #[schemars(with = "Option<String>")]
    pub head: Option<CommitId>,
    /// `ready`, `fetching`, `busy` if it did not answer, or `failed` if it failed too often and rests
    /// until the node restarts.
    pub state: String,
    /// Why it is not ready, for people; none if nothing went wrong yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl ConversationView {
    /// A conversation of which nothing is known but why it does not answer.
    pub(crate) fn silent(id: ConversationId, state: &str, problem: String) -> Self {
        describe(id, None, &MessageStatus::default(), &BTreeMap::new(), state, Some(problem))
    }
}

/// How a device is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// It has a link.
    Up,
    /// It has a link, and takes messages as devices of 2023 do: it has no overlay.
    Legacy,
    /// It has none any more.
    Down,
}

/// Everything a conversation actor can be told.
#[derive(Debug)]
pub enum ConversationMessage {
    /// Write a message; answered when it is durable here.
    Send {
        /// What to write.
        message: Outgoing,
        /// Gets the commit.
        reply: Reply<Result<CommitId, ConversationError>>,
    },
    /// Read a page of history.
    Messages {
        /// The message before which the page ends; the newest page if none.
        before: Option<CommitId>,
        /// How many, at most [`MAX_PAGE`].
        limit: usize,
        /// Gets the page.
        reply: Reply<Result<Page, ConversationError>>,
    },
    /// Find texts, newest first.
    Search {
        /// The text to find, in any case.
        text: String,
        /// How many, at most [`MAX_PAGE`].
        limit: usize,
        /// Gets the messages.
        reply: Reply<Result<Vec<MessageView>, ConversationError>>,
    },
    /// Mode, members, profile and head.
    Describe(Reply<ConversationView>),
    /// All commits from the newest, for comparison of replicas: at most `limit`.
    Log {
        /// How many.
        limit: usize,
        /// Gets their ids, newest first, merges included.
        reply: Reply<Result<Vec<CommitId>, ConversationError>>,
    },
    /// What file a message offers.
    File {
        /// The message.
        message: CommitId,
        /// The person and device that want the file from us: they have to have joined.
        asker: Option<(AccountId, DeviceId)>,
        /// Gets the offer.
        reply: Reply<Result<OfferedIn, ConversationError>>,
    },
    /// Write the whole history into a new file as a git bundle.
    Export {
        /// The file.
        path: PathBuf,
        /// What is in it, once it is durable.
        reply: Reply<Result<Exported, ConversationError>>,
    },
    /// Change members or profile; answered when the commits are durable.
    Change {
        /// What.
        change: GroupChange,
        /// Gets the last commit.
        reply: Reply<Result<Changed, ConversationError>>,
    },
    /// The whole profile.
    Profile(Reply<Result<ProfileView, ConversationError>>),
    /// What the owner prefers of this conversation.
    Preferences(Reply<Result<BTreeMap<String, String>, ConversationError>>),
    /// Prefer something; an empty value takes it away. Answered when it is durable.
    Prefer {
        /// What.
        values: BTreeMap<String, String>,
        /// Told when it is durable.
        reply: Reply<Result<(), ConversationError>>,
    },
    /// What other devices of the account are to know beside the history.
    Details(Reply<Result<ConversationDetails, ConversationError>>),
    /// Another device of the account tells what the owner prefers.
    PreferencesTold(Preferences),
    /// Another device of the account tells how far members have fetched and read.
    StatusTold(BTreeMap<AccountId, MemberStatus>),
    /// Leave; answered when the commit is durable. Asked again, it says the same. The actor goes on
    /// serving, and nothing else.
    Leave(Reply<Result<Left, ConversationError>>),
    /// End, if nobody has written anything: then nothing is taken any more, so that nothing is lost with
    /// the copy. Answered with whether it has ended.
    CloseUnused(Reply<bool>),
    /// Look whether this device has something new; several collapse into one fetch.
    Announced {
        /// The device that has it.
        device: DeviceId,
        /// Whose device it is.
        account: AccountId,
        /// The new commit, if it said which.
        commit: Option<CommitId>,
    },
    /// Fetch the conversation for the first time, from any of these.
    Clone {
        /// Devices that should have it.
        devices: Vec<DeviceId>,
    },
    /// A member has invited us once more, or has a new link: if fetching has failed, it is tried again soon.
    Invited,
    /// A peer wants to fetch from us.
    Serve(ChannelOffer),
    /// A link to a member's device, or to one of ours, has changed.
    Link {
        /// Which device.
        device: DeviceId,
        /// Whose.
        account: AccountId,
        /// How it is now.
        state: LinkState,
    },
    /// This machine got another network: who could not be reached may be now.
    NetworkChanged,
    /// A device asks for a channel of the overlay.
    OfferOverlay(ChannelOffer),
    /// What the overlay tells; from the actor's child.
    Router(RouterTold),
    /// The overlay at a glance.
    Routes(Reply<Result<RoutesView, ConversationError>>),
    /// A peer has our history up to this commit; from the actor to itself.
    Served {
        /// Whose device it is.
        account: AccountId,
        /// The device.
        device: DeviceId,
        /// The commit, and whether the peer had it before.
        served: Served,
    },
    /// The owner has read up to a message; answered when that is durable. Members who are connected
    /// are told.
    MarkRead {
        /// The message.
        message: CommitId,
        /// The outcome.
        reply: Reply<Result<(), ConversationError>>,
    },
    /// A member has read up to a message.
    ReadBy {
        /// Who.
        member: AccountId,
        /// The message, which may not be here yet.
        commit: CommitId,
    },
    /// The owner types, or has stopped; members who are connected are told.
    Type {
        /// Whether typing.
        active: bool,
        /// Whether there is a conversation to type in.
        reply: Reply<Result<(), ConversationError>>,
    },
    /// A member types, or has stopped.
    TypedBy {
        /// Who.
        member: AccountId,
        /// Whether typing.
        active: bool,
    },
}

impl Message for ConversationMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Send { .. } => "send",
            Self::Messages { .. } => "messages",
            Self::Search { .. } => "search",
            Self::Describe(_) => "describe",
            Self::Log { .. } => "log",
            Self::File { .. } => "file",
            Self::Export { .. } => "export",
            Self::Change { .. } => "change",
            Self::Profile(_) => "profile",
            Self::Preferences(_) => "preferences",
            Self::Prefer { .. } => "prefer",
            Self::Details(_) => "details",
            Self::PreferencesTold(_) => "preferences_told",
            Self::StatusTold(_) => "status_told",
            Self::Leave(_) => "leave",
            Self::CloseUnused(_) => "close_unused",
            Self::Announced { .. } => "announced",
            Self::Clone { .. } => "clone",
            Self::Invited => "invited",
            Self::Serve(_) => "serve",
            Self::Link { .. } => "link",
            Self::NetworkChanged => "network_changed",
            Self::OfferOverlay(_) => "offer_overlay",
            Self::Router(_) => "router",
            Self::Routes(_) => "routes",
            Self::Served { .. } => "served",
            Self::MarkRead { .. } => "mark_read",
            Self::ReadBy { .. } => "read_by",
            Self::Type { .. } => "type",
            Self::TypedBy { .. } => "typed_by",
        }
    }

    fn policy(&self) -> Policy {
        match self {
            Self::Announced { device, .. } | Self::Link { device, .. } => {
                Policy::Coalesce(device_key(device))
            }
            Self::Clone { devices } => Policy::Coalesce(devices.first().map(device_key).unwrap_or_default()),
            Self::Invited | Self::NetworkChanged => Policy::Coalesce(0),
            Self::ReadBy { member, .. } | Self::TypedBy { member, .. } => {
                Policy::Coalesce(member.0.iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte)))
            }
            Self::Serve(_) | Self::OfferOverlay(_) => Policy::Reject,
            _ => Policy::Wait,
        }
    }

    /// Of two commits that a device announces either may be the newer one: all that it has is looked for.
    fn coalesce(&mut self, newer: Self) {
        let earlier = std::mem::replace(self, newer);
        if let (Self::Announced { commit: before, .. }, Self::Announced { commit, .. }) = (earlier, self) {
            *commit = commit.filter(|commit| before == Some(*commit));
        }
    }
}

/// What other devices of the account are told of a conversation beside its history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationDetails {
    /// What the owner prefers.
    pub preferences: Preferences,
    /// How far its members have fetched and read.
    pub status: BTreeMap<AccountId, MemberStatus>,
}

/// What is to be done after leaving (`spec: swarm 12`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Others have to learn of it from this copy, which is kept until
    /// [`ConversationTold::LeaveFetched`].
    Announced,
    /// There is nobody who has to learn of it: the copy is not needed any more.
    Alone,
}

/// What a conversation tells its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConversationTold {
    /// It is here and can be used: its members (all roles that may fetch) and the number of its
    /// mode. Told whenever it was opened, and whenever members change.
    Ready {
        /// Who may take part.
        members: BTreeSet<AccountId>,
        /// Who has joined.
        joined: BTreeSet<AccountId>,
        /// Who was invited and has not joined.
        invited: BTreeSet<AccountId>,
        /// Number of the mode (`spec: swarm 2`).
        mode: i64,
        /// What an invitation says of it.
        metadata: BTreeMap<String, String>,
        /// Whether it was opened just now, by an actor that knows of no links.
        opened: bool,
    },
    /// Nobody is connected: the devices of these members are to be looked for.
    Sought(Vec<AccountId>),
    /// We have unbanned somebody, who is to be invited anew (`spec: swarm 6.5`).
    Unbanned(AccountId),
    /// It has to be fetched first, and nobody is being asked now.
    Wanted,
    /// We have left, and somebody else's device has the commit that says so.
    LeaveFetched,
    /// The owner prefers something else now.
    Preferred,
    /// It is known here that a member has fetched or read more.
    Marked(AccountId),
}

pub(super) fn device_key(device: &DeviceId) -> u64 {
    device.0.iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte))
}
