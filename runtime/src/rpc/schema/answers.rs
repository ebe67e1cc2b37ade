//! What the methods answer, and what is told unasked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_actors::account::messages::{AccountView, ContactView, DeviceView, LinkView, RequestView};
use skep_actors::call::conference::messages::{ConferenceId, ConferenceView};
use skep_actors::call::messages::{CallId, CallView};
use skep_actors::dht::messages::ListenEvent;
use skep_actors::event::NodeEvent;
use skep_actors::sip::messages::SipAccountView;
use skep_actors::supervision::ActorRow;
use skep_actors::swarm::messages::{ConversationView, MemberView, MessageView};
use skep_actors::transfer::messages::TransferView;
use skep_protocol::dht::value::{Body, Value};
use skep_protocol::ids::{AccountId, CommitId, ConversationId};
use skep_protocol::names::Profile;

use super::Secret;
use crate::node::Health;

/// What is preferred of a conversation, on this device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreferencesView {
    /// Names and values.
    pub preferences: BTreeMap<String, String>,
}

/// Registered names of people, by their Jami ids.
pub type Names = BTreeMap<AccountId, String>;

/// An answer, and the names of people in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}WithNames")]
pub struct WithNames<T> {
    /// The answer.
    #[serde(flatten)]
    pub view: T,
    /// The registered names of people in it, as far as they are known.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub names: Names,
    /// The names that people in it have given themselves, as far as they have told them: nothing proves them.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub display_names: Names,
}

/// Names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamesView {
    /// The registered names, by Jami id.
    #[schemars(with = "BTreeMap<String, String>")]
    pub names: Names,
    /// The names that they have given themselves, as far as they have told them: nothing proves them.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub display_names: Names,
}

/// A call that was placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlacedView {
    /// Names it on this node.
    pub call: CallId,
}

/// A conference that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConferenceMadeView {
    /// Names it on this node.
    pub conference: ConferenceId,
}

/// The conferences that an account hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConferencesView {
    /// In no order.
    pub conferences: Vec<ConferenceView>,
    /// The registered names of those who are in them, as far as they are known.
    #[schemars(with = "BTreeMap<String, String>")]
    pub names: Names,
    /// The names that they have given themselves, as far as they have told them: nothing proves them.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub display_names: Names,
}

/// The calls of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallsView {
    /// In no order.
    pub calls: Vec<CallView>,
    /// The registered names of those who are in it, as far as they are known.
    #[schemars(with = "BTreeMap<String, String>")]
    pub names: Names,
    /// The names that they have given themselves, as far as they have told them: nothing proves them.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub display_names: Names,
}

/// The SIP accounts of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SipAccountsView {
    /// In the order of their local names.
    pub accounts: Vec<SipAccountView>,
}

/// What a directory tells of people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProfilesView {
    /// Whom it found: texts by the names that the directory has for them, such as `username` and `id`.
    pub profiles: Vec<Profile>,
}

/// A PIN under which the archive of an account is found on the DHT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PinView {
    /// The PIN, to be typed on the other device.
    pub pin: Secret,
    /// For how many seconds from now.
    pub seconds: u64,
}

/// Files on their way, or waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TransfersView {
    /// The transfers.
    pub transfers: Vec<TransferView>,
}

/// It was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Done {}

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
    /// The registered names of people in them, as far as they are known.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub names: Names,
}

/// Contacts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContactsView {
    /// The contacts.
    pub contacts: Vec<ContactView>,
    /// The registered names of people in them, as far as they are known.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub names: Names,
    /// The names that people in them have given themselves, as far as they have told them: nothing proves them.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub display_names: Names,
}

/// Contact requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestsView {
    /// The requests.
    pub requests: Vec<RequestView>,
    /// The registered names of people in them, as far as they are known.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub names: Names,
    /// The names that people in them have given themselves, as far as they have told them: nothing proves them.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub display_names: Names,
}

/// Conversations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConversationsView {
    /// The conversations.
    pub conversations: Vec<ConversationView>,
    /// The registered names of people in them, as far as they are known.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub names: Names,
    /// The names that people in them have given themselves, as far as they have told them: nothing proves them.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub display_names: Names,
}

/// Members of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MembersView {
    /// The members.
    pub members: Vec<MemberView>,
    /// The registered names of people in them, as far as they are known.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub names: Names,
    /// The names that people in them have given themselves, as far as they have told them: nothing proves them.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub display_names: Names,
}

/// Messages, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessagesView {
    /// The messages.
    pub messages: Vec<MessageView>,
    /// The registered names of people in them, as far as they are known.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub names: Names,
    /// The names that people in them have given themselves, as far as they have told them: nothing proves them.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub display_names: Names,
}

/// Commits, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommitsView {
    /// Their ids.
    #[schemars(with = "Vec<String>")]
    pub commits: Vec<CommitId>,
}

/// Devices of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DevicesView {
    /// The devices.
    pub devices: Vec<DeviceView>,
}

/// Links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LinksView {
    /// The links.
    pub links: Vec<LinkView>,
    /// The registered names of people in them, as far as they are known.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub names: Names,
    /// The names that people in them have given themselves, as far as they have told them: nothing proves them.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub display_names: Names,
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

/// A value that was put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DhtPutView {
    /// Its id: 16 hexadecimal digits.
    pub id: String,
    /// How many other nodes keep it by now.
    pub stored: usize,
}

/// A value of the DHT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DhtValueView {
    /// Its id: 16 hexadecimal digits.
    pub id: String,
    /// The number of its type; none if it is encrypted.
    pub type_number: Option<u16>,
    /// Its user type, such as `text/plain`.
    pub user_type: String,
    /// Short id of the key that signed it; none if nobody did, or it is encrypted.
    pub signer: Option<String>,
    /// What it says, if that is text.
    pub text: Option<String>,
    /// What it says, or its cipher text, in base64.
    pub data: String,
}

impl From<&Value> for DhtValueView {
    fn from(value: &Value) -> Self {
        let content = value.content();
        let data: &[u8] = match &value.body {
            Body::Encrypted(cipher) => cipher,
            _ => content.map_or(&[], |content| &content.data),
        };
        Self {
            id: value.id.to_string(),
            type_number: content.map(|content| content.type_number),
            user_type: content.map_or_else(String::new, |content| content.user_type.clone()),
            signer: value.as_signed().map(|signed| signed.owner().device_short_id().to_string()),
            text: content.and_then(|content| String::from_utf8(content.data.clone()).ok()),
            data: STANDARD.encode(data),
        }
    }
}

/// Values of the DHT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DhtValuesView {
    /// The values, by rising id.
    pub values: Vec<DhtValueView>,
    /// How many other nodes answered.
    pub answered: usize,
}

/// The parameters of a `dht` notification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DhtNotice {
    /// The subscription it belongs to.
    pub subscription: u64,
    /// Values that are new at the key, or edited.
    pub values: Vec<DhtValueView>,
    /// Ids of values that no node keeps any more.
    pub expired: Vec<String>,
    /// Why nothing will be told.
    pub refused: Option<String>,
}

impl DhtNotice {
    /// What a listener is told.
    #[must_use]
    pub fn new(subscription: u64, event: &ListenEvent) -> Self {
        let mut notice = Self { subscription, values: Vec::new(), expired: Vec::new(), refused: None };
        match event {
            ListenEvent::Values(values) => notice.values = values.iter().map(|v| (&**v).into()).collect(),
            ListenEvent::Expired(gone) => notice.expired = gone.iter().map(|v| v.id.to_string()).collect(),
            ListenEvent::Refused(error) => notice.refused = Some(error.to_string()),
        }
        notice
    }
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
