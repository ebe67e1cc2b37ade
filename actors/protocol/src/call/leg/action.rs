//! What becomes of a leg, and what it wants done.

use bytes::Bytes;

use super::MAX_REQUESTS;
use crate::call::control::{Control, KeyPress};
use crate::call::parts::Part;
use crate::sdp::Description;
use crate::sip::stream::SipMessage;

/// Why a call is not, or no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// We ended it.
    HungUp,
    /// They ended it.
    PeerHungUp,
    /// We gave it up before it was answered.
    Cancelled,
    /// They gave it up before we answered, or another device of ours did.
    PeerCancelled,
    /// They do not want it.
    Declined,
    /// They are busy, or did not answer in their time.
    Busy,
    /// We refused it.
    Refused,
    /// This device could not take it: the status says why.
    Failed(u16),
    /// No response, or nobody answered for too long.
    NoAnswer,
    /// They do not know of the call any more, or do not respond.
    Gone,
    /// The channel is gone.
    Lost,
    /// What they answered makes no call.
    BadAnswer,
}

/// How a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The owner does not want it, or has one already.
    Decline,
    /// The owner is busy, or did not answer.
    Busy,
    /// It is hung up without being answered.
    Gone,
    /// There is no codec for it.
    NoCodec,
    /// The two descriptions do not come together.
    NotAgreed,
    /// Who calls may not.
    Forbidden,
    /// What is called is not here.
    NotFound,
    /// Offers come faster than they can be followed.
    TooOften,
}

impl Refusal {
    pub(super) const fn status(self) -> &'static str {
        match self {
            Self::Decline => "603 Decline",
            Self::Busy => "486 Busy Here",
            Self::Gone => "481 Call/Transaction Does Not Exist",
            Self::NoCodec => "488 Not Acceptable Here",
            Self::NotAgreed => "415 Unsupported Media Type",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::TooOften => "500 Server Internal Error",
        }
    }
}

/// What is to be done, or has come.
#[derive(Clone, Debug)]
pub enum Action {
    /// Write this, in one piece.
    Send(Bytes),
    /// The other side has the call.
    Trying,
    /// It rings there.
    Ringing,
    /// It was answered with this; without one where we made no offer.
    Answered(Option<Description>),
    /// The server wants to know who we are: call [`authorize`](super::Leg::authorize) with the answer to its challenge, or
    /// hang up.
    Challenged(Box<SipMessage>),
    /// Our 200 has arrived, perhaps with an answer to the offer in it.
    Acknowledged(Option<Description>),
    /// The other side wants to change the media: answer or refuse. Without one, offer.
    Offered(Option<Description>),
    /// Our offer was answered.
    OfferAnswered(Description),
    /// Our offer was refused, and all is as it was.
    OfferRefused(u16),
    /// The other side wants or tells something about media.
    Control(Control),
    /// A key was pressed there.
    Key(KeyPress),
    /// A message came.
    Message(Vec<Part>),
    /// The other side wants us to call this address instead.
    Transfer(String),
    /// What came of [`transfer`](super::Leg::transfer).
    Transferred(Result<(), u16>),
    /// It is over. Once only.
    Ended(End),
    /// Nothing more is to come: forget it.
    Done,
}

/// Why something cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LegError {
    /// Longer than the other side takes.
    #[error("a message of {length} bytes is too long for the other side, which takes {longest}")]
    TooLong {
        /// How long it is.
        length: usize,
        /// How long it may be.
        longest: usize,
    },
    /// The call is not at a point where this can be done.
    #[error("the call is not answered yet, or is over")]
    WrongTime,
    /// The other side takes no messages in calls.
    #[error("the other side takes no messages in calls")]
    NoMessages,
    /// Too much waits for a response.
    #[error("more than {MAX_REQUESTS} requests wait for the other side; try again later")]
    TooMany,
    /// A line break or the like where none may be.
    #[error("a header with letters that may not stand there")]
    Malformed,
}
