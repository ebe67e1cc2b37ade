//! Conferences, and calls of a conversation (`spec: conference, calls-in-swarm`).
//!
//! ```text
//!   layout       where each picture is in the composed one
//!   info         the state of a conference, as its host tells it
//!   order        what participants order their host to do
//!   host         who is in it, what they may, who hears whom, whom to tell what
//!   address      how a call of a conversation is named
//!   active       the calls of a conversation that are going on, out of its commits
//!   hosted       the calls that this device hosts, over restarts too
//!   placing      where a call of a conversation goes; who may join one here
//! ```

mod active;
mod address;
mod host;
mod hosted;
mod info;
mod layout;
mod order;
mod placing;

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod host_tests;

pub use active::{ActiveCall, ActiveCalls, MAX_ACTIVE};
pub use address::{ANY, AddressError, CallAddress, GroupAddress, MAX_CONFERENCE_ID, of_to};
pub use host::{
    Conference, HostAction, HostSettings, INFO_INTERVAL, Joined, Kind, Listener, MAX_PARTICIPANTS,
    ORDER_BURST, ORDERS_PER_SECOND, Remaining, Seat, Voice,
};
pub use hosted::{HostedCalls, MAX_HOSTED};
pub use info::{ConferenceInfo, Entry, Fitting, INFO_TYPE, MAX_ENTRIES, MAX_INFO, MAX_SENT_INFO};
pub use layout::{Layout, MAX_SIDE, Rectangle, Size, arrange};
pub use order::{MAX_ORDER, MAX_ORDERS, ORDER_TYPE, Order, Whom};
pub use placing::{Joining, NotJoined, Placed, join, place};
