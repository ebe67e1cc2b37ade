//! Skep as a library: a Jami node inside your program.
//!
//! ```text
//!   your program ──► Node ──► Account ──► Conversation        (typed calls, each with a deadline)
//!        ▲            │
//!        └─ EventStream ◄─ events of all accounts             (bounded; a slow reader is told)
//!
//!   root actor "node" ─┬─ events
//!                      ├─ dht
//!                      ├─ names      asks name servers, for all accounts
//!                      ├─ account … one for each, with all that serves one person below it
//!                      └─ rpc        JSON-RPC on a unix socket and WebSocket, if configured
//! ```
//!
//! The program `skep` is this library with a configuration file ([`config`]), JSON-RPC ([`rpc`])
//! and a command line ([`cli`]).
//!
//! A node that tells what happens to it:
//!
//! ```no_run
//! # async fn example() -> Result<(), skep::NodeError> {
//! use skep::{Node, NodeConfig};
//!
//! let node = Node::start(NodeConfig::in_folder("/var/lib/my-bot")).await?;
//! let account = node.create_account("My bot", None, |_| ()).await?;
//! println!("my Jami id is {}", account.describe().await?.id);
//! let mut events = node.events();
//! while let Some(event) = events.next().await {
//!     println!("{event:?}");
//! }
//! node.shutdown().await;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

/// The read-me's examples, which have to compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct ReadMe;

pub mod cli;
pub mod config;
mod error;
mod metrics;
pub mod node;
pub mod rpc;

pub use config::NodeConfig;
pub use error::NodeError;
pub use node::{Account, Conversation, EventStream, NamedView, Node};
pub use skep_actors::account::messages::{
    AccountView, ContactDeviceView, ContactView, DeviceView, LinkView, Password, RequestView,
};
pub use skep_actors::call::conference::messages::{ConferenceId, ConferenceView, OwnerOrder, Person};
pub use skep_actors::call::media::{SoundChoice, SoundOutput, SoundSource};
pub use skep_actors::call::messages::{CallCommand, CallId, CallOver, CallStage, CallView};
pub use skep_actors::event::{Event, NodeEvent};
pub use skep_actors::linking::messages::{LinkStage, NumberedStage};
pub use skep_actors::profile::messages::{PersonView, PictureChange};
pub use skep_actors::sip::messages::{NewSipAccount, SipAccountView, SipState};
pub use skep_actors::swarm::messages::{
    Changed, ConversationView, Exported, MemberView, MessageView, Outgoing, Page, ProfileChange, ProfileView,
    RefusalView, VoteView,
};
pub use skep_actors::swarm::router::messages::{DirectView, RouteState, RouteView, RoutesView};
pub use skep_actors::transfer::messages::{Direction, OfferedView, TransferState, TransferView};
pub use skep_protocol::ids::{AccountId, CommitId, ConversationId, DeviceId, LocalAccountId};
pub use skep_protocol::names::Name;
pub use skep_protocol::swarm::message::{Mode, Target};
