//! How the packets of a call get to the other side. ICE is one way ([`super::IcePaths`]), tests have others.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use skep_protocol::link::ice_text::Credentials;
use skep_protocol::sdp::{Candidate, Component};
use webrtc_util::Conn;

/// Why packets cannot get there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// This machine has no address that another could use.
    #[error("this host has no network address for calls; connect it to a network")]
    NoLocalAddress,
    /// The other side has said none.
    #[error("the other side has told no address that can be tried")]
    NoRemoteAddress,
    /// Nothing gets through.
    #[error("no way for the sound was found: the devices do not reach each other by UDP")]
    Unreachable,
    /// The library refused.
    #[error("the ICE agent failed: {0}")]
    Agent(String),
}

/// Which side nominates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathRole {
    /// Whoever makes the offer.
    Offering,
    /// Whoever answers it.
    Answering,
}

/// What the other side has said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotePaths {
    /// Credentials of its session.
    pub credentials: Credentials,
    /// Where it may be reached.
    pub candidates: Vec<(Component, Candidate)>,
}

/// Finds paths.
pub trait Paths: Debug + Send + Sync {
    /// Opens what a session of one stream needs, and finds where it may be reached.
    fn gather(&self, role: PathRole) -> BoxFuture<'static, Result<Box<dyn GatheredPaths>, PathError>>;
}

/// A session whose other side is not known yet. Dropping it closes everything.
pub trait GatheredPaths: Debug + Send {
    /// Our credentials.
    fn credentials(&self) -> Credentials;

    /// Where we may be reached; not empty.
    fn candidates(&self) -> Vec<(Component, Candidate)>;

    /// An address to name where one has to be named.
    fn address(&self) -> IpAddr;

    /// Agrees with the other side on a path for each component.
    fn connect(self: Box<Self>, remote: RemotePaths) -> BoxFuture<'static, Result<MediaPath, PathError>>;
}

/// Paths that both sides have agreed on. Dropping it closes them.
pub struct MediaPath {
    /// For sound.
    pub media: Arc<dyn Conn + Send + Sync>,
    /// For reports.
    pub reports: Arc<dyn Conn + Send + Sync>,
    /// Comes when one of them is given up, though nothing is sent.
    pub broken: BoxFuture<'static, ()>,
    /// What keeps them open.
    pub keep: Box<dyn Send>,
}

impl Debug for MediaPath {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("MediaPath")
    }
}
