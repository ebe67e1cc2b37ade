//! What the calls of an account can be asked, and what they tell.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_protocol::call::{KeyPress, LegError};
use skep_protocol::ids::AccountId;
use skep_protocol::sip::stream::SipMessage;
use skep_protocol::swarm::message::CallRecord;

use super::conference::messages::{ConferenceError, ConferenceId, ConferenceRequest, Person};
use super::media::{MediaError, SoundChoice};
use super::paths::PathError;
use super::session::SessionTold;
use crate::peer::messages::{LinkEvent, Place, SipLine};
use crate::supervision::{AskError, Message, Policy, Reply, SendError};

/// Most calls of an account at once, those that ring included: far more than anybody can follow.
pub const MAX_CALLS: usize = 32;

/// Most calls that are kept at once, those included that are over here and not yet for the other side. Nobody may ring
/// beyond that.
pub const MAX_KEPT: usize = 4 * MAX_CALLS;

/// Names a call on this node: a number from 1 to 2^53, as daemons have it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct CallId(pub u64);

/// Not the name of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a call is named by a number")]
pub struct NoCallId;

impl fmt::Display for CallId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CallId({})", self.0)
    }
}

impl FromStr for CallId {
    type Err = NoCallId;

    fn from_str(text: &str) -> Result<Self, NoCallId> {
        text.parse().map(Self).map_err(|_| NoCallId)
    }
}

impl TryFrom<String> for CallId {
    type Error = NoCallId;

    fn try_from(text: String) -> Result<Self, NoCallId> {
        text.parse()
    }
}

impl From<CallId> for String {
    fn from(id: CallId) -> Self {
        id.to_string()
    }
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallStage {
    /// Devices of the other person are looked for.
    Searching,
    /// It rings there.
    Ringing,
    /// It rings here: answer or decline.
    Incoming,
    /// It is answered, and the way for the sound is looked for.
    Connecting,
    /// It is under way.
    Active,
    /// We hold it.
    Held,
}

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallOver {
    /// We hung up.
    HungUp,
    /// They hung up.
    PeerHungUp,
    /// We gave it up before it was answered.
    Cancelled,
    /// They gave it up before it was answered here, or another device of ours has it.
    PeerCancelled,
    /// Who was called declined, or we did.
    Declined,
    /// Who was called is busy, or did not answer in time.
    Busy,
    /// It rang here, and nobody answered in time.
    Missed,
    /// No device of theirs could be reached.
    NoDevice,
    /// The link to them is gone.
    Lost,
    /// No way for the sound was found, or it broke.
    NoPath,
    /// Something failed: `detail` says what.
    Failed,
}

/// A call, to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallView {
    /// Names it.
    pub id: CallId,
    /// Who is at the other end.
    #[schemars(with = "String")]
    pub peer: AccountId,
    /// Whether they called.
    pub incoming: bool,
    /// How far it is.
    pub stage: CallStage,
    /// Whether we are muted.
    pub muted: bool,
    /// Whether they have said that they are.
    pub peer_muted: bool,
    /// For how long it is answered, in milliseconds.
    pub duration_ms: u64,
    /// Packets of sound sent.
    pub sent: u64,
    /// Packets of sound that came and were good.
    pub received: u64,
    /// Packets that came and were dropped: forged, repeated or broken.
    pub dropped: u64,
    /// The conference here that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conference: Option<ConferenceId>,
    /// Who is in the conference at the other end, as its host says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub people: Vec<Person>,
}

/// Why something cannot be done with a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is none with that name.
    #[error("there is no call {0}; it may be over")]
    Unknown(CallId),
    /// Too many.
    #[error("there are {MAX_CALLS} calls already; end one first")]
    TooMany,
    /// Ourselves.
    #[error("an account cannot call itself")]
    Oneself,
    /// Not now.
    #[error("this cannot be done while the call is {}", stage_name(*.0))]
    WrongStage(CallStage),
    /// The other side could not be told.
    #[error(transparent)]
    Leg(#[from] LegError),
    /// No sound.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// No address.
    #[error(transparent)]
    Path(#[from] PathError),
    /// About a conference.
    #[error(transparent)]
    Conference(#[from] ConferenceError),
    /// The call ended, or is too busy.
    #[error(transparent)]
    Unsent(#[from] SendError),
    /// The calls of the account failed or are too busy.
    #[error(transparent)]
    Unanswered(#[from] AskError),
}

const fn stage_name(stage: CallStage) -> &'static str {
    match stage {
        CallStage::Searching => "looking for devices",
        CallStage::Ringing => "ringing there",
        CallStage::Incoming => "ringing here",
        CallStage::Connecting => "connecting",
        CallStage::Active => "under way",
        CallStage::Held => "on hold",
    }
}

/// What can be done with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallCommand {
    /// Answer one that rings here.
    Answer(SoundChoice),
    /// Decline one that rings here.
    Decline,
    /// End it, however far it is.
    HangUp,
    /// Hold it, or go on.
    Hold(bool),
    /// Mute us, or not any more.
    Mute(bool),
    /// Press a key.
    Press(KeyPress),
}

/// Everything the calls of an account can be told.
#[derive(Debug)]
pub enum CallsMessage {
    /// Call somebody.
    Place {
        /// Whom.
        peer: AccountId,
        /// Where our sound comes from and theirs goes.
        sound: SoundChoice,
        /// Gets the name of the call at once.
        reply: Reply<Result<CallId, CallError>>,
    },
    /// Do something with a call.
    Do {
        /// Which.
        call: CallId,
        /// What.
        command: CallCommand,
        /// Told when it is done, as far as this side is concerned.
        reply: Reply<Result<(), CallError>>,
    },
    /// List the calls.
    List(Reply<Vec<CallView>>),
    /// About conferences.
    Conference(ConferenceRequest),
    /// The owner's name, as it is shown to those who are called.
    Name(String),
    /// Something about a call came over a channel.
    Sip {
        /// Where it came.
        line: SipLine,
        /// What.
        message: Box<SipMessage>,
        /// The place it takes.
        place: Place,
    },
    /// Something came over a channel that a call has opened; to the actor by itself.
    Heard(LinkEvent),
    /// From a call; to the actor by its children.
    Session(CallId, SessionTold),
    /// A call is no more; to the actor by itself, behind all that the call has told.
    Gone(CallId),
}

/// What the calls tell their account.
#[derive(Debug)]
pub enum CallsTold {
    /// A call of ours is over: this belongs into the conversation.
    Record {
        /// Whom we called.
        peer: AccountId,
        /// What is written.
        record: CallRecord,
    },
    /// Something that is not about calls came over a channel of a call.
    Heard(LinkEvent),
}

impl Message for CallsMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Place { .. } => "place",
            Self::Do { .. } => "do",
            Self::List(_) => "list",
            Self::Conference(_) => "conference",
            Self::Name(_) => "name",
            Self::Sip { .. } => "sip",
            Self::Heard(_) => "heard",
            Self::Session(..) => "session",
            Self::Gone(_) => "gone",
        }
    }

    fn policy(&self) -> Policy {
        match self {
            Self::Name(_) => Policy::Coalesce(0),
            _ => Policy::Wait,
        }
    }
}
