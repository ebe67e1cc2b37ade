//! The byte path between two devices (`spec: connection 3, 4, 6`), from candidates to a stream that
//! is known to lead to one device. What goes through the DHT meanwhile, and what is said over the
//! stream, is the business of others.
//!
//! ```text
//!   SecureStream    tls            who the peer is (peer_verifier); the requester is the TLS server
//!   ─────────────────────────────────────────────────────────────────────────────────────────────
//!   IceStream       stream         one byte stream; answers checks and keeps the path alive
//!   ─────────────────────────────────────────────────────────────────────────────────────────────
//!                   framed_socket  RFC 4571 frames of data and of STUN messages, mixed
//!   ─────────────────────────────────────────────────────────────────────────────────────────────
//!                   TCP            the one connection that both sides agreed on
//!
//!   before that     ice            gathers, dials and agrees, with webrtc-ice for the checks
//!                   ├─ candidates  where we listen, what of the peer's is dialled
//!                   ├─ mux         all connections of the attempt, as one socket of the agent
//!                   └─ path        one connection, until it is chosen or closed
//!                   binding        valid checks of the peer, and answers to them
//! ```
//!
//! ```text
//!   requester                             responder
//!   IceAgent::gather(Controlled)
//!   send local_text  ──────DHT──────▶     IceAgent::gather(Controlling)
//!                    ◀─────DHT───────     send local_text
//!   connect(...)     ◀═════TCP═════▶      connect(...)
//!   secure(...)      ◀═════TLS═════▶      secure(...)
//! ```

mod binding;
mod candidates;
mod framed_socket;
mod ice;
mod mux;
mod path;
mod peer_verifier;
mod stream;
#[cfg(test)]
mod testing;
mod tls;

pub(crate) use candidates::may_announce;
pub use ice::{GatherOptions, IceAgent, IceError, IceRole};
pub use mux::UnusedPlaces;
pub use peer_verifier::PeerRefused;
pub use stream::IceStream;
pub use tls::{HANDSHAKE_TIMEOUT, SecureStream, TlsError, TlsIdentity, secure};

#[cfg(test)]
mod gnutls_tests;
#[cfg(test)]
mod tests;
