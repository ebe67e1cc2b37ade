//! What the methods are given and what they answer.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_actors::account::messages::{AccountView, ContactView, LinkView, RequestView};
use skep_actors::event::NodeEvent;
use skep_actors::supervision::ActorRow;
use skep_actors::swarm::messages::{ConversationView, MemberView, MessageView};
use skep_protocol::ids::{CommitId, ConversationId, LocalAccountId};
use zeroize::Zeroize as _;

use crate::node::Health;

/// No parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// It was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Done {}

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
    /// The new display name.
    pub name: String,
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
    /// The person's Jami id, with or without `jami:` before it.
    pub contact: String,
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

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeView {
    /// Version of Skep.
    pub version: String,
    /// Number of its process.
    pub pid: u32,
    /// Milliseconds since its start.
    pub uptime_ms: u64,
    /// Its data folder.
    pub data_dir: PathBuf,
    /// How many accounts it has.
    pub accounts: usize,
    /// Where it can be controlled and observed: kind and address.
    pub endpoints: Vec<EndpointView>,
}

/// Where a node can be controlled or observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointView {
    /// `unix`, `websocket` or `metrics`.
    pub kind: String,
    /// Path or address.
    pub address: String,
}

/// The supervision tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TreeView {
    /// Every actor, each parent before its children.
    pub actors: Vec<ActorView>,
    /// Panics in this process since its start.
    pub panics: u64,
}

/// An actor. Times and counts are totals since the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActorView {
    /// Its number.
    pub id: u64,
    /// The number of its parent; none for the root.
    pub parent: Option<u64>,
    /// Levels above it.
    pub depth: usize,
    /// Its kind.
    pub kind: String,
    /// Its name among its siblings.
    pub name: String,
    /// `starting`, `running`, `restarting` or `stopping`.
    pub state: String,
    /// Messages waiting in its mailbox.
    pub mailbox: usize,
    /// Room in its mailbox.
    pub capacity: usize,
    /// Futures of its own under way.
    pub tasks: usize,
    /// Turns taken.
    pub turns: u64,
    /// Microseconds spent in turns.
    pub busy_us: u64,
    /// Microseconds of its longest turn.
    pub longest_turn_us: u64,
    /// Microseconds that messages waited in its mailbox, summed.
    pub waited_us: u64,
    /// Messages refused because the mailbox was full.
    pub rejected: u64,
    /// Old messages thrown away for newer ones.
    pub dropped: u64,
    /// Messages merged into one that waited already.
    pub coalesced: u64,
    /// How often it was made anew.
    pub restarts: u64,
}

impl From<ActorRow> for ActorView {
    fn from(row: ActorRow) -> Self {
        Self {
            id: row.id.0,
            parent: row.parent.map(|parent| parent.0),
            depth: row.depth,
            kind: row.kind.to_owned(),
            name: row.name,
            state: row.state.to_string(),
            mailbox: row.mailbox,
            capacity: row.capacity,
            tasks: row.tasks,
            turns: row.turns,
            busy_us: row.busy_us,
            longest_turn_us: row.longest_turn_us,
            waited_us: row.waited_us,
            rejected: row.rejected,
            dropped: row.dropped,
            coalesced: row.coalesced,
            restarts: row.restarts,
        }
    }
}

/// How the DHT is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthView {
    /// Whether another node answered recently.
    pub reachable: bool,
    /// Connected nodes.
    pub peers: usize,
    /// Nodes in the routing table.
    pub known: usize,
    /// Milliseconds since the last answer of another node; none if there was none.
    pub last_answer_ms: Option<u64>,
    /// This node's id in the DHT.
    pub node_id: String,
    /// Addresses listened on.
    pub listening: Vec<String>,
    /// Values kept, for others and of our own.
    pub stored_values: usize,
    /// Other nodes' listenings served.
    pub listeners: usize,
    /// Values published by this node.
    pub published: usize,
    /// Keys this node listens at.
    pub listening_keys: usize,
}

impl From<Health> for HealthView {
    fn from(health: Health) -> Self {
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            reachable: health.reachable,
            peers: health.peers,
            known: health.known,
            last_answer_ms: health.last_answer.map(millis),
            node_id: health.node_id,
            listening: health.listening,
            stored_values: health.stored_values,
            listeners: health.listeners,
            published: health.published,
            listening_keys: health.listening_keys,
        }
    }
}

/// An archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArchiveView {
    /// The bytes of the archive file, in base64.
    pub archive: String,
}

/// Accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountsView {
    /// The accounts.
    pub accounts: Vec<AccountView>,
}

/// Contacts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContactsView {
    /// The contacts.
    pub contacts: Vec<ContactView>,
}

/// Contact requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestsView {
    /// The requests.
    pub requests: Vec<RequestView>,
}

/// Conversations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConversationsView {
    /// The conversations.
    pub conversations: Vec<ConversationView>,
}

/// Members of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MembersView {
    /// The members.
    pub members: Vec<MemberView>,
}

/// Messages, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessagesView {
    /// The messages.
    pub messages: Vec<MessageView>,
}

/// Commits, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommitsView {
    /// Their ids.
    #[schemars(with = "Vec<String>")]
    pub commits: Vec<CommitId>,
}

/// Links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LinksView {
    /// The links.
    pub links: Vec<LinkView>,
}

/// A conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConversationRef {
    /// Its id.
    #[schemars(with = "String")]
    pub conversation: ConversationId,
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageRef {
    /// Its commit.
    #[schemars(with = "String")]
    pub message: CommitId,
}

/// The parameters of an `event` notification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventNotice {
    /// The subscription it belongs to.
    pub subscription: u64,
    /// The event.
    pub event: NodeEvent,
}

/// The parameters of a `progress` notification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProgressNotice {
    /// The id of the request it belongs to.
    pub request: serde_json::Value,
    /// What is being done, for people.
    pub stage: String,
    /// Steps done.
    pub done: u32,
    /// Steps in all.
    pub total: u32,
}
