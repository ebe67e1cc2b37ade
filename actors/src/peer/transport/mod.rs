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
//!   establish(...)   ◀═════TCP═════▶      establish(...)
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

use skep_protocol::ids::DeviceId;
use skep_protocol::link::ice_text::IceText;
use skep_protocol::time::UnixMillis;
use tokio::time::Instant;

pub use ice::{GatherOptions, IceAgent, IceError, IceRole};
pub use peer_verifier::PeerRefused;
pub use stream::IceStream;
pub use tls::{HANDSHAKE_TIMEOUT, SecureStream, TlsError, TlsIdentity, secure};

/// Why an attempt to reach a device failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EstablishError {
    /// There was no way to it.
    #[error(transparent)]
    Ice(#[from] IceError),
    /// There was a way to somebody, who did not prove to be the device.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Connects to the device `expected`, which sent `remote`, and makes sure that it is the one. The
/// roles in ICE and in TLS are those `agent` was made for.
///
/// `deadline` is when the two must have agreed on a path; the handshake has [`HANDSHAKE_TIMEOUT`] after
/// that. Certificates must be valid `now`. Everything is closed when the future is dropped.
///
/// # Errors
/// When no path is found, or the device at its end is not `expected`.
pub async fn establish(
    agent: IceAgent,
    identity: &TlsIdentity,
    expected: DeviceId,
    remote: &IceText,
    deadline: Instant,
    now: UnixMillis,
) -> Result<SecureStream, EstablishError> {
    let role = agent.role();
    let stream = Box::pin(agent.connect(remote, deadline)).await?;
    Ok(secure(stream, role, identity, expected, now).await?)
}

#[cfg(test)]
mod gnutls_tests;
#[cfg(test)]
mod tests;
