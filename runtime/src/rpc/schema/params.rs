//! What the methods are given.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_actors::call::conference::messages::ConferenceId;
use skep_actors::call::media::SoundChoice;
use skep_actors::call::messages::CallId;
use skep_actors::swarm::messages::ProfileChange;
use skep_protocol::ids::{AccountId, CommitId, ConversationId, DeviceId, LocalAccountId};
use skep_protocol::sip::agent::Transport;
use zeroize::Zeroize as _;

/// A SIP account to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SipCreateParams {
    /// Its address: `sip:alice@example.org`.
    pub address: String,
    /// The password at the server.
    pub password: Secret,
    /// How the server is spoken to: `udp`, `tcp` or `tls`.
    #[schemars(with = "String")]
    pub transport: Transport,
    /// Name or IP address of the server, with a port if need be; without, the address says where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Name to log in with, if it is not the part of the address before the `@`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// Certificates to trust, in PEM, instead of those that the system trusts; for `tls` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<String>,
    /// How long registrations are to last, in seconds; an hour if it is not said. The server decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry_seconds: Option<u32>,
}

/// A text to be sent over SIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SipSendParams {
    /// The SIP account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// Whom to: `sip:bob@example.org`.
    pub to: String,
    /// The text.
    pub text: String,
}

/// Somebody to be called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallPlaceParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The person's Jami id, with or without `jami:` before it, or registered name.
    pub contact: String,
    /// Where our sound comes from and theirs goes; the usual devices if it is not said. Paths are those of the
    /// node's machine, from the root.
    #[serde(default)]
    pub sound: SoundChoice,
}

/// A call to be answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallAnswerParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The call.
    pub call: CallId,
    /// As for a call that is placed.
    #[serde(default)]
    pub sound: SoundChoice,
}

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The call.
    pub call: CallId,
}

/// Keys to be pressed in a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallPressParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The call.
    pub call: CallId,
    /// Digits, `*`, `#`, and A to D; 32 at most.
    pub keys: String,
}

/// Calls to be put together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConferenceMakeParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The calls, all answered.
    pub calls: Vec<CallId>,
    /// The own sound in it, as for a call that is placed.
    #[serde(default)]
    pub sound: SoundChoice,
}

/// A conference that is hosted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConferenceParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The conference.
    pub conference: ConferenceId,
}

/// A call to be added to a conference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConferenceAddParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The conference.
    pub conference: ConferenceId,
    /// The call, answered.
    pub call: CallId,
}

/// A conference in which the owner takes part, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConferenceAttachParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The conference.
    pub conference: ConferenceId,
    /// Whether the owner is to take part.
    pub attached: bool,
}

/// A conference to be recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConferenceRecordParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The conference.
    pub conference: ConferenceId,
    /// A new file on the node's machine, from the root: Opus in Ogg. Without one recording ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

/// A hand to be raised or lowered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConferenceHandParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// A conference that is hosted here, or a call that is in one.
    pub of: CallId,
    /// Whose: a Jami id or registered name; the own one if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// Whether it is to be up.
    pub raised: bool,
}

/// Somebody to be muted, or not any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConferenceMuteParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// A conference that is hosted here, or a call that is in one.
    pub of: CallId,
    /// A Jami id or registered name.
    pub person: String,
    /// Whether nothing is to be heard of them.
    pub muted: bool,
}

/// Somebody to be hung up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConferencePersonParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// A conference that is hosted here, or a call that is in one.
    pub of: CallId,
    /// A Jami id or registered name.
    pub person: String,
}

/// No parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// An actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActorParams {
    /// Its number in `node.tree`.
    pub actor: u64,
}

/// An account to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateParams {
    /// Display name.
    #[serde(default)]
    pub name: String,
    /// Protects the archive; none for no protection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// An archive to be imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportParams {
    /// The bytes of the archive file, in base64.
    pub archive: String,
    /// Opens the archive if it is protected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// An account that another device has put on the DHT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkByPinParams {
    /// The PIN that the other device shows.
    pub pin: Secret,
    /// The account's password, if it has one. It protects the archive here, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// A stage of the linking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageParams {
    /// The number of the stage that is known.
    #[serde(default)]
    pub after: u64,
}

/// The password of the account that lets this node in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkPasswordParams {
    /// The password.
    pub password: Secret,
}

/// The invitation of a new device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InvitationParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// What the new device shows: `jami-auth://…`.
    pub invitation: String,
}

/// An account whose archive is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// Opens the archive if it is protected, and protects what is exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
}

/// Another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The new name.
    pub name: String,
}

/// Whose profile is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfileShowParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The person's Jami id, with or without `jami:` before it, or registered name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
}

/// Another profile of the owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfileSetParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// Display name; an empty one takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The picture: a PNG or JPEG image in base64; an empty one takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// The picture: the absolute path of a PNG or JPEG file on the node's machine. It may be longer than a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture_file: Option<PathBuf>,
}

/// A device to be revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The device.
    #[schemars(with = "String")]
    pub device: DeviceId,
    /// Opens the archive if it is protected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// Other settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// Whether others are told how far the owner has read, and the owner how far they have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_receipts: Option<bool>,
    /// Whether others are told that the owner types, and the owner that they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typing: Option<bool>,
}

/// Another password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The present password; none if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Secret>,
    /// The new password; none to take the protection away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Secret>,
}

/// A person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContactParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The person's Jami id, with or without `jami:` before it, or registered name.
    pub contact: String,
}

/// A device of somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContactDeviceParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The device.
    #[schemars(with = "String")]
    pub device: DeviceId,
}

/// A conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConversationParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The conversation.
    #[schemars(with = "String")]
    pub conversation: ConversationId,
}

/// How a group works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GroupMode {
    /// Only admins invite.
    AdminInvitesOnly,
    /// Every member invites.
    #[default]
    InvitesOnly,
    /// Reserved by the protocol; like `invites_only`.
    Public,
}

/// A group to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateConversationParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// How it works; every member invites unless said otherwise.
    #[serde(default)]
    pub mode: GroupMode,
    /// Its profile.
    #[serde(default)]
    pub profile: ProfileChange,
}

/// A person to be invited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The conversation.
    #[schemars(with = "String")]
    pub conversation: ConversationId,
    /// The person's Jami id, with or without `jami:` before it, or registered name.
    pub contact: String,
}

/// A person or device to vote on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VoteParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The conversation.
    #[schemars(with = "String")]
    pub conversation: ConversationId,
    /// The person's Jami id, or the 64 digits of a device.
    pub target: String,
}

/// Another profile of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfileParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The conversation.
    #[schemars(with = "String")]
    pub conversation: ConversationId,
    /// What changes.
    pub profile: ProfileChange,
}

/// What is preferred of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreferParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The conversation.
    #[schemars(with = "String")]
    pub conversation: ConversationId,
    /// Names and values, such as `color` and `#ff8800`; an empty value takes a preference away.
    pub preferences: BTreeMap<String, String>,
}

/// A file or folder of the node's machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// Absolute path of the bundle or the bare repository.
    pub path: PathBuf,
}

/// A conversation and a file of the node's machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConversationPathParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The conversation.
    #[schemars(with = "String")]
    pub conversation: ConversationId,
    /// Absolute path of the new file.
    pub path: PathBuf,
}

/// A file of the node's machine to offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSendParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The conversation.
    #[schemars(with = "String")]
    pub conversation: ConversationId,
    /// Absolute path of the file.
    pub path: PathBuf,
    /// The message it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub reply_to: Option<CommitId>,
}

/// A file to fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileFetchParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The conversation.
    #[schemars(with = "String")]
    pub conversation: ConversationId,
    /// The message that offers the file.
    #[schemars(with = "String")]
    pub message: CommitId,
    /// Absolute path of the folder to save it in, under a name that is free there; the account's own
    /// folder if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<PathBuf>,
}

/// A text to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The conversation.
    #[schemars(with = "String")]
    pub conversation: ConversationId,
    /// The text, at most 64 KiB.
    pub body: String,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The conversation.
    #[schemars(with = "String")]
    pub conversation: ConversationId,
    /// The message.
    #[schemars(with = "String")]
    pub message: CommitId,
}

/// A message, and a text about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageBodyParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The conversation.
    #[schemars(with = "String")]
    pub conversation: ConversationId,
    /// The message.
    #[schemars(with = "String")]
    pub message: CommitId,
    /// The answer, the new text, or the reaction.
    pub body: String,
}

/// A page of history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The conversation.
    #[schemars(with = "String")]
    pub conversation: ConversationId,
    /// The message before which the page ends; the newest page without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub before: Option<CommitId>,
    /// How many messages, at most 1000; 50 without it.
    #[serde(default = "page_size")]
    pub limit: usize,
}

/// Who types.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TypingParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The conversation.
    #[schemars(with = "String")]
    pub conversation: ConversationId,
    /// Whether typing.
    pub active: bool,
}

/// What to find.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The conversation.
    #[schemars(with = "String")]
    pub conversation: ConversationId,
    /// The text to find.
    pub text: String,
    /// How many messages, at most 1000; 50 without it.
    #[serde(default = "page_size")]
    pub limit: usize,
}

/// How much of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The conversation.
    #[schemars(with = "String")]
    pub conversation: ConversationId,
    /// How many commits, at most 20000; 1000 without it.
    #[serde(default = "log_size")]
    pub limit: usize,
}

/// Messages of a page unless stated otherwise.
pub(crate) const fn page_size() -> usize {
    50
}

/// Commits of a log unless stated otherwise.
pub(crate) const fn log_size() -> usize {
    1000
}

/// Most commits of one log: their ids fill about a megabyte.
pub(crate) const MAX_LOG: usize = 20_000;

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscribeParams {
    /// Only the events of this account, and those of the whole node; all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub account: Option<LocalAccountId>,
}

/// A name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NameParams {
    /// The name, `name@server`, or a Jami id; for a search, the beginning of names.
    pub text: String,
}

/// A name to be registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterParams {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// The name: 3 to 32 letters, digits, `-` and `_`, for most servers.
    pub name: String,
    /// Opens the archive if it is protected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// People.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PeopleParams {
    /// The account whose contacts and fellow members they are, by its local name; with it, their display names are
    /// answered, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub account: Option<LocalAccountId>,
    /// Their Jami ids.
    #[schemars(with = "Vec<String>")]
    pub people: BTreeSet<AccountId>,
}

/// A key of the DHT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DhtKeyParams {
    /// The key: 40 hexadecimal digits, or any other text, whose SHA-1 it then is.
    pub key: String,
}

/// A text for the DHT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DhtPutParams {
    /// The key: 40 hexadecimal digits, or any other text, whose SHA-1 it then is.
    pub key: String,
    /// The text, at most 64 KiB.
    pub text: String,
    /// Keep it there until the node ends; without it, ten minutes.
    #[serde(default)]
    pub permanent: bool,
}

/// A subscription of this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionRef {
    /// Its number.
    pub subscription: u64,
}

/// A password: never shown, wiped from memory when dropped.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// A password.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// Its text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(..)")
    }
}
