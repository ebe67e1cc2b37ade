//! Supervision: a thin layer over actix that makes actors bounded, visible and restartable.
//!
//! ```text
//!            ┌──────────────── parent ────────────────┐
//!            │ owns a factory and a restart policy    │
//!            └───────┬───────────────────▲────────────┘
//!        start, stop │                   │ stopped, gave up
//!                    ▼                   │
//!   Port ──► mailbox (bounded, a policy per message kind) ──► Host (actix) ──► your Actor
//!                                                               │  ▲
//!                                          futures, timers ◄────┘  │ their results
//!                                                  └───────────────┘
//! ```
//!
//! What the rest of the project sees is small: the [`Actor`] trait, the [`Scope`] that its handlers
//! get, and the [`Port`] through which others speak to it. actix runs the turns and the threads.
//!
//! Rules that hold for every actor:
//! - A mailbox belongs to the port, not to the actor: it survives a restart, so ports stay valid.
//! - A panic in a handler, a factory, a timer or a spawned future is caught here, logged, counted,
//!   and makes the actor anew from its factory. The message being handled is lost and whoever waits
//!   for its reply learns so at once; messages that were waiting are handled by the new actor.
//! - Restarts back off with jitter. More than [`RestartPolicy::max_restarts`] within
//!   [`RestartPolicy::window`] and the failure goes up to the parent.
//! - Stopping closes the mailbox, handles what is in it, waits for the work in flight, calls
//!   [`Actor::flush`], then stops the children, youngest first. All of it within a deadline.

mod actor;
mod host;
mod mailbox;
mod panics;
mod policy;
mod port;
mod root;
mod scope;
mod tree;

pub use actor::{Actor, Message};
pub use panics::install_panic_hook;
pub use policy::{OnLimit, Policy, RestartPolicy};
pub use port::{AskError, Outlet, Port, Reply, SendError};
pub use root::{Environment, RootHandle, Shutdown, start_root};
pub use scope::{ChildSpec, Placement, Scope, TimerId};
pub use tree::{ActorId, ActorRow, ActorState, Tree};

#[cfg(test)]
mod tests;
