//! What a node tells its owner: one stream of typed events for all accounts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_protocol::ids::{AccountId, CommitId, ConversationId, DeviceId, LocalAccountId};
use skep_protocol::time::UnixMillis;

use crate::call::conference::messages::{ConferenceId, ConferenceView};
use crate::call::messages::{CallId, CallOver, CallView};
use crate::sip::messages::SipState;
use crate::swarm::messages::MessageView;
use crate::transfer::messages::TransferView;

/// The account of events that concern the whole node: the DHT's state, names found, and events missed.
pub const WHOLE_NODE: LocalAccountId = LocalAccountId([0; LocalAccountId::LENGTH]);

/// One event and the account it concerns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeEvent {
    /// The account, by its local name.
    #[schemars(with = "String")]
    pub account: LocalAccountId,
    /// When it happened here, in milliseconds since 1970.
    #[schemars(with = "i64")]
    pub time: UnixMillis,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The account is announced on the DHT and can be found.
    AccountReady {},
    /// The account has revoked this device. It connects to nobody any more; what is here can still be
    /// read, and the account's archive makes a new device.
    DeviceRevoked {},
    /// A device of the account was found, named or revoked, came or went: read the list again.
    DevicesChanged {},
    /// The account was removed from this node; it says no more.
    AccountRemoved {},
    /// The DHT became reachable, or ceased to be.
    DhtReachable {
        /// Whether other nodes answer.
        reachable: bool,
    },
    /// A call began, or is further than it was.
    CallChanged {
        /// The call.
        call: CallView,
    },
    /// A conference that is hosted here began, or is another than it was.
    ConferenceChanged {
        /// The conference.
        conference: ConferenceView,
    },
    /// A conference that was hosted here is over; calls that were in it and are not over go on by themselves.
    ConferenceEnded {
        /// Which.
        conference: ConferenceId,
    },
    /// A call is over. Told once of each call that was told of.
    CallEnded {
        /// Which.
        call: CallId,
        /// Who was at the other end.
        #[schemars(with = "String")]
        peer: AccountId,
        /// Whether they called.
        incoming: bool,
        /// Why it ended.
        over: CallOver,
        /// The same in words, where that says more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
        /// For how long it was answered, in milliseconds.
        duration_ms: u64,
    },
    /// The name server told the name of somebody whose name was wanted: it is new, or was confirmed.
    NameFound {
        /// Whose.
        #[schemars(with = "String")]
        person: AccountId,
        /// The name.
        name: String,
    },
    /// Somebody asks to become a contact.
    ContactRequest {
        /// Who.
        #[schemars(with = "String")]
        from: AccountId,
        /// The name in the profile sent with it; empty if none.
        name: String,
        /// The one-to-one conversation made for it.
        #[schemars(with = "Option<String>")]
        conversation: Option<ConversationId>,
    },
    /// A contact was added here or by the person's acceptance.
    ContactAdded {
        /// Who.
        #[schemars(with = "String")]
        contact: AccountId,
        /// Whether both sides have agreed.
        confirmed: bool,
    },
    /// A contact was removed.
    ContactRemoved {
        /// Who.
        #[schemars(with = "String")]
        contact: AccountId,
        /// Whether it may not come back by itself.
        banned: bool,
    },
    /// A contact, or a member of a common group, came online or went offline, or a device of theirs
    /// did. Of somebody who comes and goes all the time it is told with pauses, as it is then.
    Presence {
        /// Who.
        #[schemars(with = "String")]
        contact: AccountId,
        /// Whether a device of theirs is announced, or linked.
        online: bool,
        /// Those devices.
        #[serde(default)]
        #[schemars(with = "Vec<String>")]
        devices: Vec<DeviceId>,
    },
    /// Somebody has another profile: a contact, a member of a common conversation, or the owner, perhaps on
    /// another device.
    ProfileChanged {
        /// Whose.
        #[schemars(with = "String")]
        person: AccountId,
        /// Display name now; empty if none.
        name: String,
        /// Whether there is a picture.
        picture: bool,
    },
    /// A link to a device is up.
    LinkUp {
        /// Whose device.
        #[schemars(with = "String")]
        contact: AccountId,
        /// Which device.
        #[schemars(with = "String")]
        device: DeviceId,
    },
    /// A link to a device has ended.
    LinkDown {
        /// Whose device.
        #[schemars(with = "String")]
        contact: AccountId,
        /// Which device.
        #[schemars(with = "String")]
        device: DeviceId,
    },
    /// A conversation can be used: created here, or cloned.
    ConversationReady {
        /// Which.
        #[schemars(with = "String")]
        conversation: ConversationId,
    },
    /// A conversation could not be fetched; the reason says whether it is tried again.
    ConversationFailed {
        /// Which.
        #[schemars(with = "String")]
        conversation: ConversationId,
        /// Why, for people.
        reason: String,
    },
    /// A conversation is gone from this node.
    ConversationRemoved {
        /// Which.
        #[schemars(with = "String")]
        conversation: ConversationId,
    },
    /// A message entered the history: sent here, or received.
    Message {
        /// In which conversation.
        #[schemars(with = "String")]
        conversation: ConversationId,
        /// The message as a list would show it.
        message: MessageView,
    },
    /// A message shown before has changed: edited, deleted, or with other reactions.
    MessageChanged {
        /// In which conversation.
        #[schemars(with = "String")]
        conversation: ConversationId,
        /// The message as a list would show it now.
        message: MessageView,
    },
    /// A device of a member has the history up to a message.
    Fetched {
        /// In which conversation.
        #[schemars(with = "String")]
        conversation: ConversationId,
        /// Who.
        #[schemars(with = "String")]
        member: AccountId,
        /// The newest commit they have.
        #[schemars(with = "String")]
        message: CommitId,
    },
    /// A member, or this account on any of its devices, has read up to a message.
    Read {
        /// In which conversation.
        #[schemars(with = "String")]
        conversation: ConversationId,
        /// Who.
        #[schemars(with = "String")]
        member: AccountId,
        /// The newest message read.
        #[schemars(with = "String")]
        message: CommitId,
    },
    /// A member began to type, or has stopped.
    Typing {
        /// In which conversation.
        #[schemars(with = "String")]
        conversation: ConversationId,
        /// Who.
        #[schemars(with = "String")]
        member: AccountId,
        /// Whether typing.
        active: bool,
    },
    /// A member joined, left, was invited, banned or allowed again.
    MembersChanged {
        /// In which conversation.
        #[schemars(with = "String")]
        conversation: ConversationId,
    },
    /// Somebody invites into a conversation.
    ConversationRequest {
        /// Who.
        #[schemars(with = "String")]
        from: AccountId,
        /// Into which conversation.
        #[schemars(with = "String")]
        conversation: ConversationId,
        /// How it works: `invites_only`, …
        mode: String,
        /// Its title; empty if none.
        title: String,
    },
    /// Another device of the account has answered a request or an invitation, which waits no more.
    RequestAnswered {
        /// Who had asked to become a contact.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        from: Option<AccountId>,
        /// The conversation that was invited into.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        conversation: Option<ConversationId>,
    },
    /// Another device of the account has changed what the owner prefers of a conversation.
    PreferencesChanged {
        /// Which.
        #[schemars(with = "String")]
        conversation: ConversationId,
    },
    /// Title, description, picture or host of calls of a conversation changed.
    ConversationProfileChanged {
        /// Which.
        #[schemars(with = "String")]
        conversation: ConversationId,
        /// Its title now; empty if none.
        title: String,
        /// Its description now; empty if none.
        description: String,
    },
    /// A file that is being fetched has begun to come, got further, stopped, or is here. At most two a
    /// second for each file.
    Transfer {
        /// How it stands.
        transfer: TransferView,
    },
    /// Somebody wrote to a SIP account. Messages over SIP are told once, and kept nowhere.
    SipMessage {
        /// Who, as the server says: `sip:bob@example.org`.
        from: String,
        /// Their name, as they say; empty if they do not.
        name: String,
        /// What they say.
        text: String,
    },
    /// A SIP account was registered, or is not any more.
    SipRegistration {
        /// How it stands.
        registration: SipState,
    },
    /// What a peer offered as history broke the rules and was refused whole.
    HistoryRefused {
        /// In which conversation.
        #[schemars(with = "String")]
        conversation: ConversationId,
        /// The offending commit.
        #[schemars(with = "Option<String>")]
        commit: Option<CommitId>,
        /// Which rule, for people.
        reason: String,
    },
    /// The subscriber or the node was too slow, or one fetch brought more messages than are told one by one;
    /// this many events were dropped. Read what you need again.
    Missed {
        /// How many.
        count: u64,
    },
}
