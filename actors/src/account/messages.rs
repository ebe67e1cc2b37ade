//! What an account can be asked, and the views it answers with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_protocol::ids::{AccountId, ConversationId, DeviceId, LocalAccountId};
use skep_protocol::linking::{self, LinkInvitation, Pin, PinError};
use skep_protocol::names::{Name, Registration};
use skep_protocol::swarm::message::Mode;
use skep_protocol::time::UnixMillis;

use crate::call::messages::{CallsMessage, CallsTold};
use crate::dht::messages::{DhtError, ListenEvent};
use crate::directory::messages::DirectoryEvent;
use crate::peer::messages::{LinkError, LinkEvent};
use crate::profile::messages::{ProfilesMessage, ProfilesTold};
use crate::supervision::{AskError, Message, Policy, Port, Reply};
use crate::swarm::messages::{
    Changed, ConversationError, ConversationMessage, ConversationTold, ConversationView, ProfileChange,
};
use crate::sync::messages::SyncTold;
use crate::transfer::messages::{TransfersMessage, TransfersTold};

/// Why an account did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// One cannot be one's own contact.
    #[error("{0} is this account itself; a contact must be somebody else")]
    Oneself(AccountId),
    /// There is no such contact.
    #[error("{0} is not a contact of this account")]
    UnknownContact(AccountId),
    /// There is no request from this person.
    #[error("there is no contact request from {0}")]
    UnknownRequest(AccountId),
    /// There is no invitation into this conversation.
    #[error("there is no invitation into conversation {0}")]
    UnknownInvitation(ConversationId),
    /// A group has one of the modes 1 to 3.
    #[error("a group cannot be {0}; choose admin_invites_only, invites_only or public")]
    NoGroup(&'static str),
    /// The conversation refuses.
    #[error(transparent)]
    InConversation(#[from] ConversationError),
    /// There is no such conversation.
    #[error("this account has no conversation {0}")]
    UnknownConversation(ConversationId),
    /// The conversation has been given up until the node restarts.
    #[error("conversation {0} failed too often; it is opened again when the node restarts")]
    ConversationDown(ConversationId),
    /// The conversation was removed a moment ago and is to come back.
    #[error("conversation {0} is fetched anew when its removed copy is erased; ask again in a few seconds")]
    ConversationReturning(ConversationId),
    /// The password does not open the archive.
    #[error("the password is wrong, or the archive is damaged")]
    WrongPassword,
    /// The archive cannot be used.
    #[error("the archive cannot be used: {0}")]
    Archive(String),
    /// Too many contacts or requests.
    #[error("the account already has {0}, the most it may have")]
    TooMany(String),
    /// The disk refused.
    #[error("the account could not be written: {0}")]
    Storage(String),
    /// What was to be opened as a conversation is none.
    #[error("this is not a valid conversation: {0}")]
    Conversation(String),
    /// This device was revoked.
    #[error("this device was revoked by its account; import the account's archive to make a new device")]
    Revoked,
    /// The account has no such device, or its certificate is nowhere to be found.
    #[error("this account has no device {0}, or its certificate cannot be found")]
    UnknownDevice(DeviceId),
    /// Whose device it is cannot be said.
    #[error("the certificate of device {0} cannot be found; try again when it is announced")]
    NoCertificate(DeviceId),
    /// The device is not banned.
    #[error("device {0} is not banned")]
    NotBanned(DeviceId),
    /// One's own devices are revoked.
    #[error("a device of this account cannot be banned; revoke it instead")]
    BanOwnDevice,
    /// A device cannot revoke itself.
    #[error("this device cannot revoke itself; do it on another one, or remove the account here")]
    OwnDevice,
    /// A device needs a name.
    #[error("a device needs a name of at least one letter")]
    DeviceName,
    /// The device could not be revoked.
    #[error("the device could not be revoked: {0}")]
    Revocation(String),
    /// The account cannot be put under a PIN.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// Nothing is under this PIN that opens.
    #[error(
        "no account is found under this PIN: it or the password is wrong, or it was made more than ten \
         minutes ago"
    )]
    NothingUnderPin,
    /// The DHT could not do it.
    #[error(transparent)]
    InDht(#[from] DhtError),
    /// Another device is being let in.
    #[error("another device is being linked; wait for it, or cancel it")]
    AddingDevice,
    /// The new device cannot be reached.
    #[error("the new device cannot be reached: {0}")]
    NewDevice(#[from] LinkError),
    /// The new device was not linked.
    #[error(transparent)]
    Linking(#[from] linking::LinkError),
    /// A part of the account failed or is too busy.
    #[error("the account is busy: {0}")]
    Busy(String),
}

impl From<crate::blocking::PoolError> for AccountError {
    fn from(error: crate::blocking::PoolError) -> Self {
        Self::Busy(error.to_string())
    }
}

impl From<AskError> for AccountError {
    fn from(error: AskError) -> Self {
        Self::Busy(error.to_string())
    }
}

/// What the owner of an account has chosen. Everything is on unless it was switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountSettings {
    /// Whether others are told how far the owner has read, and the owner how far they have.
    pub read_receipts: bool,
    /// Whether others are told that the owner types, and the owner that they do.
    pub typing: bool,
}

impl Default for AccountSettings {
    fn default() -> Self {
        Self { read_receipts: true, typing: true }
    }
}

/// An account at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountView {
    /// Local name: the folder of the account.
    #[schemars(with = "String")]
    pub local: LocalAccountId,
    /// The Jami id.
    #[schemars(with = "String")]
    pub id: AccountId,
    /// This device.
    #[schemars(with = "String")]
    pub device: DeviceId,
    /// Display name; empty if none.
    pub name: String,
    /// Whether the archive has a password.
    pub protected: bool,
    /// Whether the account is announced on the DHT and can be found.
    pub announced: bool,
    /// Whether the account has revoked this device: it then connects to nobody any more, and the
    /// account's archive makes a new device.
    pub revoked: bool,
    /// Contacts that are active.
    pub contacts: usize,
    /// Requests that wait for an answer.
    pub requests: usize,
    /// Conversations.
    pub conversations: usize,
    /// Links that are up.
    pub links: usize,
    /// Whether others are told how far the owner has read, and the owner how far they have.
    pub read_receipts: bool,
    /// Whether others are told that the owner types, and the owner that they do.
    pub typing: bool,
}

/// A contact as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContactView {
    /// Who.
    #[schemars(with = "String")]
    pub id: AccountId,
    /// `active`, `banned` or `removed`.
    pub state: String,
    /// Whether both sides have agreed.
    pub confirmed: bool,
    /// Whether a device of theirs is announced, or linked.
    pub online: bool,
    /// Whether a link to a device of theirs is up.
    pub connected: bool,
    /// Those devices; only of contacts that are active.
    #[serde(default)]
    pub devices: Vec<ContactDeviceView>,
    /// Devices of theirs that are banned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub banned_devices: Vec<DeviceId>,
    /// When it was added, in milliseconds since 1970.
    #[schemars(with = "i64")]
    pub added: UnixMillis,
    /// The one-to-one conversation.
    #[schemars(with = "Option<String>")]
    pub conversation: Option<ConversationId>,
}

/// A device of a contact that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContactDeviceView {
    /// Its id.
    #[schemars(with = "String")]
    pub id: DeviceId,
    /// Whether a link to it is up. If not, it is announced.
    pub connected: bool,
}

/// A contact request, or an invitation into a conversation, as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestView {
    /// From whom.
    #[schemars(with = "String")]
    pub from: AccountId,
    /// The name in the profile sent with it; empty if none.
    pub name: String,
    /// When it was received, in milliseconds since 1970.
    #[schemars(with = "i64")]
    pub received: UnixMillis,
    /// The one-to-one conversation made for it, or the one invited to.
    #[schemars(with = "Option<String>")]
    pub conversation: Option<ConversationId>,
    /// How that conversation works: `one_to_one`, `invites_only`, …
    pub mode: String,
    /// Its title, as the invitation says; empty if none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Its description, as the invitation says; empty if none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Whether it is an invitation, to be answered by its conversation, and no contact request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub invitation: bool,
}

/// A link as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LinkView {
    /// Whose device.
    #[schemars(with = "String")]
    pub account: AccountId,
    /// Which device.
    #[schemars(with = "String")]
    pub device: DeviceId,
    /// `up`, `dialling` or `down`.
    pub state: String,
    /// Connections: two when both sides dialled at once.
    pub connections: usize,
}

/// A device of the account as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceView {
    /// Its id.
    #[schemars(with = "String")]
    pub id: DeviceId,
    /// Its name; empty if nobody has told it.
    pub name: String,
    /// Whether it is this one.
    pub this: bool,
    /// Whether it is announced.
    pub online: bool,
    /// Whether a link to it is up.
    pub connected: bool,
}

/// A password; not shown in logs and wiped when dropped is the keeper's business.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Password(..)")
    }
}

type Answer<T> = Reply<Result<T, AccountError>>;

/// Where the id of a conversation goes.
pub(super) type ConversationReply = Answer<ConversationId>;

/// What others may ask of an account.
#[derive(Debug)]
pub enum AccountRequest {
    /// The account at a glance.
    Describe(Reply<AccountView>),
    /// The archive as it stands, under this password (none for an unprotected one).
    Export {
        /// Opens the archive if it is protected, and protects what is exported.
        password: Option<Password>,
        /// Gets the bytes of the archive file.
        reply: Answer<Vec<u8>>,
    },
    /// Another password, or none.
    ChangePassword {
        /// The present one.
        old: Option<Password>,
        /// The new one.
        new: Option<Password>,
        /// Told when it is durable.
        reply: Answer<()>,
    },
    /// Put the archive on the DHT, where a new device finds it with the PIN that is answered.
    ExportUnderPin {
        /// Opens the archive if it is protected; the new device needs it, too.
        password: Option<Password>,
        /// Gets the PIN when the archive is there.
        reply: Answer<Pin>,
    },
    /// Let a new device in that shows this invitation; the owner has agreed.
    AddDevice {
        /// What the new device shows.
        invitation: LinkInvitation,
        /// Told when the new device has the account.
        reply: Answer<()>,
    },
    /// Let it not in after all.
    CancelAddDevice(Reply<()>),
    /// Other settings; those not named stay.
    Set {
        /// See [`AccountSettings::read_receipts`].
        read_receipts: Option<bool>,
        /// See [`AccountSettings::typing`].
        typing: Option<bool>,
        /// Told when it is durable.
        reply: Answer<()>,
    },
    /// Sign a name for a name server, with the account's own key.
    SignName {
        /// The name.
        name: Name,
        /// Opens the archive if it is protected.
        password: Option<Password>,
        /// Gets what can be registered.
        reply: Answer<Registration>,
    },
    /// Add a contact and send it a request; creates the one-to-one conversation.
    AddContact {
        /// Whom.
        contact: AccountId,
        /// Gets the conversation when contact and conversation are durable.
        reply: Answer<ConversationId>,
    },
    /// Accept a request.
    Accept {
        /// Whose.
        from: AccountId,
        /// Gets the conversation, which is being fetched.
        reply: Answer<ConversationId>,
    },
    /// Decline a request; the sender is not told.
    Decline {
        /// Whose.
        from: AccountId,
        /// Told when it is durable.
        reply: Answer<()>,
    },
    /// Remove a contact, and ban it if so asked.
    RemoveContact {
        /// Whom.
        contact: AccountId,
        /// Whether it may not come back by itself.
        ban: bool,
        /// Told when it is durable.
        reply: Answer<()>,
    },
    /// Ban a single device of somebody else: it gets no link and no answer.
    BanDevice {
        /// Which.
        device: DeviceId,
        /// Told when it is durable.
        reply: Answer<()>,
    },
    /// Lift the ban of a single device.
    AllowDevice {
        /// Which.
        device: DeviceId,
        /// Told when it is durable.
        reply: Answer<()>,
    },
    /// All contacts, also those removed and banned.
    Contacts(Reply<Vec<ContactView>>),
    /// Contact requests and invitations that wait for an answer.
    Requests(Reply<Vec<RequestView>>),
    /// Make a group of which this account is the only member and admin.
    CreateConversation {
        /// How it works.
        mode: Mode,
        /// Its profile.
        profile: ProfileChange,
        /// Gets the conversation when it is durable.
        reply: Answer<ConversationId>,
    },
    /// Invite somebody into a conversation. Delivery goes on by itself, also after a restart.
    Invite {
        /// Into which.
        conversation: ConversationId,
        /// Whom.
        person: AccountId,
        /// Gets the commit when it is durable.
        reply: Answer<Changed>,
    },
    /// Accept an invitation.
    AcceptInvitation {
        /// Into which conversation.
        conversation: ConversationId,
        /// Told when it is durable; the conversation is being fetched then.
        reply: Answer<()>,
    },
    /// Decline an invitation; who invites is not told.
    DeclineInvitation {
        /// Into which conversation.
        conversation: ConversationId,
        /// Told when it is durable.
        reply: Answer<()>,
    },
    /// All conversations.
    Conversations(Answer<Vec<ConversationView>>),
    /// The port of a conversation, to speak to it directly.
    Conversation {
        /// Which.
        conversation: ConversationId,
        /// Gets the port.
        reply: Answer<Port<ConversationMessage>>,
    },
    /// Open a conversation from a git bundle or a bare repository on this machine, after full
    /// validation; what is read is copied, and the source is not needed afterwards.
    ImportConversation {
        /// The bundle file or the repository's folder.
        path: PathBuf,
        /// Gets the conversation when it is validated and durable.
        reply: Answer<ConversationId>,
    },
    /// Leave a conversation and remove it from this account.
    LeaveConversation {
        /// Which.
        conversation: ConversationId,
        /// Told when it is durable.
        reply: Answer<()>,
    },
    /// The account's devices.
    Devices(Reply<Vec<DeviceView>>),
    /// Give this device another name.
    RenameDevice {
        /// The name.
        name: String,
        /// Told when it is durable.
        reply: Answer<()>,
    },
    /// Revoke another device of the account.
    RevokeDevice {
        /// Which.
        device: DeviceId,
        /// Opens the archive if it is protected.
        password: Option<Password>,
        /// Told when it is durable here; others hear of it as they can be reached.
        reply: Answer<()>,
    },
    /// The port of the account's files, to speak to it directly.
    Transfers(Answer<Port<TransfersMessage>>),
    /// The port of the account's profiles, to speak to it directly.
    Profiles(Answer<Port<ProfilesMessage>>),
    /// What people are called, as far as they have said so.
    DisplayNames {
        /// Who.
        people: BTreeSet<AccountId>,
        /// Gets the names, made safe to show.
        reply: Reply<BTreeMap<AccountId, String>>,
    },
    /// All links.
    Links(Answer<Vec<LinkView>>),
    /// Where calls are asked for.
    Calls(Answer<Port<CallsMessage>>),
    /// Take back what announces this device on the DHT; for an account that is about to be removed.
    Withdraw(Reply<()>),
}

/// Everything an account can be told.
#[derive(Debug)]
pub enum AccountMessage {
    /// A request from outside.
    Request(AccountRequest),
    /// From its links.
    Link(LinkEvent),
    /// From its directory.
    Directory(DirectoryEvent),
    /// From the DHT.
    Dht(DhtPlace, ListenEvent),
    /// From one of its conversations.
    Conversation(ConversationId, ConversationTold),
    /// From its sync actor.
    Sync(SyncTold),
    /// From its files.
    Transfers(TransfersTold),
    /// From its profiles.
    Profiles(ProfilesTold),
    /// From its calls.
    Calls(CallsTold),
}

/// Where on the DHT something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DhtPlace {
    /// In our inbox.
    Inbox,
    /// At the key of our own account.
    Own,
    /// At the key of a contact.
    Contact(AccountId),
}

impl Message for AccountMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::Link(_) => "link",
            Self::Directory(_) => "directory",
            Self::Dht(..) => "dht",
            Self::Conversation(..) => "conversation",
            Self::Sync(_) => "sync",
            Self::Transfers(_) => "transfers",
            Self::Profiles(_) => "profiles",
            Self::Calls(_) => "calls",
        }
    }

    fn policy(&self) -> Policy {
        Policy::Wait
    }
}
