//! What conferences can be asked, and what they tell.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_media::room::Ticks;
use skep_protocol::call::{Control, Part};
use skep_protocol::conference::{ConferenceInfo, Joined, Order, Whom};
use skep_protocol::ids::{AccountId, DeviceId};

use super::switch::Switch;
use crate::call::media::{MediaError, SoundChoice};
use crate::call::messages::{CallError, CallId, NoCallId};
use crate::supervision::{Message, Policy, Reply};

/// Most conferences of an account at once; each needs at least one call.
pub const MAX_CONFERENCES: usize = 8;

/// Names a conference that is hosted here; no call has the same number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ConferenceId(pub u64);

impl fmt::Display for ConferenceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Debug for ConferenceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ConferenceId({})", self.0)
    }
}

impl FromStr for ConferenceId {
    type Err = NoCallId;

    fn from_str(text: &str) -> Result<Self, NoCallId> {
        text.parse().map(Self).map_err(|_| NoCallId)
    }
}

impl TryFrom<String> for ConferenceId {
    type Error = NoCallId;

    fn try_from(text: String) -> Result<Self, NoCallId> {
        text.parse()
    }
}

impl From<ConferenceId> for String {
    fn from(id: ConferenceId) -> Self {
        id.to_string()
    }
}

/// Somebody in a conference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Person {
    /// Who, as the host says.
    pub person: String,
    /// On which device, as the host says.
    pub device: String,
    /// Whether the own sound is muted by its owner.
    pub muted: bool,
    /// Whether it is muted by a moderator.
    pub moderator_muted: bool,
    /// Whether orders may be given.
    pub moderator: bool,
    /// Whether the hand is raised.
    pub hand: bool,
    /// Whether something is said.
    pub speaks: bool,
    /// Whether it is recorded there.
    pub records: bool,
}

/// Everybody whom a host tells of.
pub(in crate::call) fn people_of(info: &ConferenceInfo) -> Vec<Person> {
    let person = |entry: &skep_protocol::conference::Entry| Person {
        person: entry.uri.clone(),
        device: entry.device.clone(),
        muted: entry.local_muted,
        moderator_muted: entry.moderator_muted,
        moderator: entry.moderator,
        hand: entry.hand,
        speaks: entry.voice,
        records: entry.recording,
    };
    info.entries.iter().map(person).collect()
}

/// A conference that is hosted here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConferenceView {
    /// Names it.
    pub id: ConferenceId,
    /// The calls in it.
    pub calls: Vec<CallId>,
    /// Whether the owner takes part.
    pub attached: bool,
    /// Whether it is recorded.
    pub recording: bool,
    /// Everybody, the owner included.
    pub people: Vec<Person>,
    /// How often the mixer of all conferences was not done in time.
    pub missed: u64,
}

/// Why something cannot be done with a conference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConferenceError {
    /// There is none with that name.
    #[error("there is no conference {0} here; it may be over")]
    Unknown(ConferenceId),
    /// Nothing has that number.
    #[error("{0} is neither a conference that is hosted here nor a call that is in one")]
    NotInOne(u64),
    /// Too many.
    #[error("there are {MAX_CONFERENCES} conferences already; end one first")]
    TooMany,
    /// A call that is not answered cannot be in one.
    #[error("call {0} is not answered yet, or is over")]
    NotAnswered(CallId),
    /// It is in one.
    #[error("call {0} is in a conference already")]
    InOne(CallId),
    /// No calls.
    #[error("a conference is made of at least one call")]
    Empty,
    /// The host of the call does not say that there is such a person.
    #[error("{0} is not in this conference")]
    NobodyThere(AccountId),
    /// A file is written already.
    #[error("the conference is recorded already")]
    Recorded,
    /// It is not.
    #[error("the conference is not recorded")]
    NotRecorded,
    /// No sound.
    #[error(transparent)]
    Media(#[from] MediaError),
}

/// What can be ordered by the owner, of a conference here or there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerOrder {
    /// Raise or lower a hand; the own one if nobody is named.
    Hand(Option<AccountId>, bool),
    /// Mute somebody, or not any more.
    Mute(AccountId, bool),
    /// Hang somebody up.
    HangUp(AccountId),
}

impl OwnerOrder {
    /// The order, about a device if one is known.
    pub(super) fn order(self, own: AccountId, device: Option<DeviceId>) -> Order {
        let whom = Whom { account: self.whom(own), device };
        match self {
            Self::Hand(_, raised) => Order::Hand(whom, raised),
            Self::Mute(_, muted) => Order::Mute(whom, muted),
            Self::HangUp(_) => Order::HangUp(whom),
        }
    }

    pub(super) fn whom(self, own: AccountId) -> AccountId {
        match self {
            Self::Hand(whom, _) => whom.unwrap_or(own),
            Self::Mute(whom, _) | Self::HangUp(whom) => whom,
        }
    }
}

/// Told when something is done.
pub type Done = Reply<Result<(), CallError>>;

/// Everything about conferences that the calls of an account can be told.
#[derive(Debug)]
pub enum ConferenceRequest {
    /// Put calls together.
    Make {
        /// Which.
        calls: Vec<CallId>,
        /// The owner's own sound in it.
        sound: SoundChoice,
        /// Gets its name.
        reply: Reply<Result<ConferenceId, CallError>>,
    },
    /// Add a call.
    Add {
        /// To which.
        conference: ConferenceId,
        /// Which.
        call: CallId,
        /// See there.
        reply: Done,
    },
    /// Take a call out: it goes on by itself.
    Remove {
        /// Which.
        call: CallId,
        /// See there.
        reply: Done,
    },
    /// The owner takes part, or does not any more.
    Attach {
        /// In which.
        conference: ConferenceId,
        /// Which of both.
        attached: bool,
        /// See there.
        reply: Done,
    },
    /// End it: everybody is hung up.
    HangUp {
        /// Which.
        conference: ConferenceId,
        /// See there.
        reply: Done,
    },
    /// Record it, or stop that.
    Record {
        /// Which.
        conference: ConferenceId,
        /// Into this new file.
        to: Option<PathBuf>,
        /// See there.
        reply: Done,
    },
    /// Order something.
    Order {
        /// The number of a conference that is hosted here, or of a call that is in one.
        of: u64,
        /// What.
        order: OwnerOrder,
        /// See there.
        reply: Done,
    },
    /// List those that are hosted here.
    List(Reply<Vec<ConferenceView>>),
    /// From a conference; to the actor by its children.
    Told(ConferenceId, ConferenceTold),
}

/// What the other side of a call has said in it that may concern a conference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A message.
    Message(Vec<Part>),
    /// Something about its media.
    Control(Control),
}

/// What a conference can be told.
#[derive(Debug)]
pub(super) enum ConferenceMessage {
    /// A call joins.
    Join { call: CallId, joined: Joined, switch: Arc<Switch>, reply: Done },
    /// A call leaves; whether it is over.
    Leave(CallId, bool, Done),
    /// The other side of a call said something.
    Said(CallId, Said),
    /// The owner orders something.
    Order(OwnerOrder, Done),
    /// The owner takes part, or does not any more.
    Attach(bool, Done),
    /// The owner records it, or does not any more.
    Record(Option<PathBuf>, Done),
    /// End it.
    End(Done),
}

/// What a conference tells.
#[derive(Debug)]
pub enum ConferenceTold {
    /// Say this in a call.
    Say(CallId, Said),
    /// Hang a call up.
    HangUp(CallId),
    /// A call goes on by itself.
    Released(CallId),
    /// It is like this now.
    Changed(ConferenceView),
    /// It is over. Once, and the last.
    Over,
}

pub(super) const fn missed(ticks: Ticks) -> u64 {
    ticks.missed
}

impl Message for ConferenceMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Join { .. } => "join",
            Self::Leave(..) => "leave",
            Self::Said(..) => "said",
            Self::Order(..) => "order",
            Self::Attach(..) => "attach",
            Self::Record(..) => "record",
            Self::End(_) => "end",
        }
    }

    fn policy(&self) -> Policy {
        Policy::Wait
    }
}
