//! The control interface: JSON-RPC 2.0 on a unix socket, on stdio, and by WebSocket.
//!
//! ```text
//!   unix (lines) ─┐                                        ┌─► server.rs ──► Node ──► actors
//!   stdio (lines) ┼─► connection.rs ──► dispatch.rs ───────┤
//!   WebSocket ────┘   bounded in        JSON-RPC, batches  └─◄ schema: methods, types, errors
//!                     every respect
//! ```
//!
//! On unix sockets and stdio each request, reply and notification is one line; by WebSocket each is
//! one text message. Requests of one connection are worked on side by side: whoever needs an order
//! waits for the reply. Every request gets exactly one reply.

mod actor;
pub mod client;
mod connection;
mod dispatch;
mod lines;
mod people;
pub mod reference;
pub mod schema;
mod server;
mod session;
mod websocket;

#[cfg(test)]
mod tests;

pub(crate) use actor::{RpcActor, RpcPlan};
pub(crate) use server::Server;
pub(crate) use websocket::serve_http;

use std::sync::Arc;

use tokio::sync::watch;

use crate::node::Node;

/// Longest request, in bytes: sixteen times the longest message text.
pub const MAX_REQUEST: usize = 1024 * 1024;

/// Requests in one batch.
pub const MAX_BATCH: usize = 100;

/// Requests of one connection worked on at once; further ones wait unread.
pub const MAX_IN_FLIGHT: usize = 32;

/// Subscriptions of one connection.
pub const MAX_SUBSCRIPTIONS: usize = 16;

/// Serves one client on standard input and output, until its input ends or the node stops.
pub async fn serve_stdio(node: &Node) {
    let server = Arc::new(server::Server::new(node.clone(), Arc::default(), Vec::new()));
    let stop = watch::Sender::new(false);
    let serve = connection::serve_lines(tokio::io::stdin(), tokio::io::stdout(), server, stop.subscribe());
    tokio::pin!(serve);
    tokio::select! {
        () = &mut serve => return,
        _ = node.ended() => stop.send_replace(true),
    };
    serve.await;
}
