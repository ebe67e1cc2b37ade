//! Interactive Connectivity Establishment over TCP (RFC 8445, RFC 6544, `spec: connection 3, 4`):
//! from two candidate lists to one TCP connection that both sides agree on.
//!
//! ```text
//!   gather ──▶ local text ──(DHT)──▶ peer
//!                                      │
//!   connect ◀── remote text ◀──(DHT)───┘
//!      │  dial passive candidates, accept connections; webrtc-ice checks and nominates
//!      ▼
//!   IceStream        listeners and agent are closed; other connections stay open beside it, unused
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use skep_protocol::link::ice_text::{Candidate, CandidateKind, Credentials, IceText, MAX_CANDIDATES};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use webrtc_ice::agent::Agent;
use webrtc_ice::agent::agent_config::AgentConfig;
use webrtc_ice::candidate::candidate_base::{CandidateBase, CandidateBaseConfig};
use webrtc_ice::candidate::candidate_host::CandidateHostConfig;
use webrtc_ice::candidate::candidate_peer_reflexive::CandidatePeerReflexiveConfig;
use webrtc_ice::candidate::candidate_relay::CandidateRelayConfig;
use webrtc_ice::candidate::candidate_server_reflexive::CandidateServerReflexiveConfig;
use webrtc_ice::candidate::{self, CandidateType};
use webrtc_ice::mdns::MulticastDnsMode;
use webrtc_ice::network_type::NetworkType;
use webrtc_ice::udp_network::UDPNetwork;
use webrtc_util::vnet::net::{Net, NetConfig};

use super::binding::BindingResponder;
use super::candidates::{self, Listeners};
use super::mux::{AbortOnDrop, PathMux, UnusedPlaces};
use super::path::{REDIALS, RELAY_REDIALS};
use super::stream::IceStream;

/// How often the agent looks whether a pair can be nominated.
const NOMINATION_INTERVAL: Duration = Duration::from_millis(20);
/// How long better pairs are waited for before a peer-reflexive one is nominated. Host pairs are
/// not waited for. The reference waits 400 ms in every case; we have 250 ms for all of a connection.
const PEER_REFLEXIVE_WAIT: Duration = Duration::from_millis(40);
/// The same for a pair with a server-reflexive candidate.
const SERVER_REFLEXIVE_WAIT: Duration = Duration::from_millis(80);
/// The same for a relayed pair, which costs bandwidth of others for as long as it lives.
const RELAY_WAIT: Duration = Duration::from_millis(400);
/// How long connections of the peer are waited for when nothing is left to dial
/// (`spec: connection 4.3`).
const INCOMING_WAIT: Duration = Duration::from_secs(10);
/// Longer than any attempt: the agent's own ideas of failure are switched off with it.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the agent may take to end its tasks.
const AGENT_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The only component there is.
const COMPONENT: u16 = 1;

/// Which side nominates. The role in TLS and the numbers of channels follow from it
/// (`spec: connection 4.1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceRole {
    /// The responder: the device that answers a request.
    Controlling,
    /// The requester.
    Controlled,
}

/// What to gather.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GatherOptions {
    /// Announce loopback addresses and dial the peer's. For tests and for nodes on one host; a peer
    /// on the network must not be able to make us connect to local services.
    pub include_loopback: bool,
}

/// Why two devices found no way to each other. Another attempt, with new candidates, may.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IceError {
    /// The system gave no listening socket or did not tell its addresses.
    #[error("cannot listen for the peer: {0}; check the network of this host")]
    Listen(#[from] io::Error),
    /// No network interface has an address a peer could use.
    #[error("this host has no network address a peer could use; connect it to a network")]
    NoLocalAddress,
    /// The peer announced no candidate.
    #[error("the peer announced no address; nothing can be tried")]
    NoRemoteCandidate,
    /// Every address of the peer failed and it did not reach us either.
    #[error("the peer was not reached at any of its addresses, nor did it reach us")]
    Unreachable,
    /// No path was agreed on before the deadline.
    #[error("no path to the peer was agreed on in time")]
    TimedOut,
    /// The path broke just as it was agreed on.
    #[error("the path to the peer broke as soon as it was chosen")]
    PathLost,
    /// The ICE agent refused its input.
    #[error("the ICE agent failed: {0}")]
    Agent(#[from] webrtc_ice::Error),
}

/// One side of one attempt to connect. Listens from the start, so that a quick peer finds it open;
/// dropping it closes everything.
#[derive(Debug)]
pub struct IceAgent {
    role: IceRole,
    options: GatherOptions,
    local: IceText,
    mux: Arc<PathMux>,
    listeners: Vec<AbortOnDrop<()>>,
    places: UnusedPlaces,
}

impl IceAgent {
    /// Opens listening sockets and makes the text to send to the peer. Must be called in a tokio
    /// runtime.
    ///
    /// # Errors
    /// When this host cannot listen or has no address to announce.
    pub fn gather(role: IceRole, options: GatherOptions) -> Result<Self, IceError> {
        let listeners = Listeners::open()?;
        let addresses = candidates::local_addresses(options.include_loopback)?;
        let candidates = listeners.candidates(addresses);
        if candidates.is_empty() {
            return Err(IceError::NoLocalAddress);
        }
        let local = IceText::new(Credentials::from_random(&rand::random()), candidates);
        let responder = BindingResponder::new(role, local.credentials.clone());
        let mux = Arc::new(PathMux::new(responder));
        let listeners = listeners.into_sockets().map(|socket| mux.accept_from(socket)).collect();
        Ok(Self { role, options, local, mux, listeners, places: UnusedPlaces::default() })
    }

    /// Keeps connections open beside the one that is used only as far as there are places for them.
    #[must_use]
    pub fn sharing(mut self, places: &UnusedPlaces) -> Self {
        self.places = places.clone();
        self
    }

    /// What the peer must know.
    #[must_use]
    pub fn local_text(&self) -> &IceText {
        &self.local
    }

    /// Which side this is.
    #[must_use]
    pub fn role(&self) -> IceRole {
        self.role
    }

    /// Finds the best path to the peer and agrees with it to use that one. Nothing else is connected or
    /// listens any longer when this returns, or when it is not waited for; other connections to the peer
    /// are closed with the stream.
    ///
    /// The stream is to be read or written soon: the peer's last check may still need an answer, and
    /// nothing else gives it.
    ///
    /// # Errors
    /// When there is no path, or none was agreed on before `deadline`.
    pub async fn connect(
        self,
        remote: &IceText,
        deadline: Instant,
    ) -> Result<IceStream<TcpStream>, IceError> {
        if remote.candidates.is_empty() {
            return Err(IceError::NoRemoteCandidate);
        }
        let connected = async {
            let path = self.agree_on_path(remote).await?;
            self.mux.take(path).await.ok_or(IceError::PathLost)
        };
        let open = timeout_at(deadline, connected).await.map_err(|_| IceError::TimedOut)??;
        let stream = IceStream::new(open.socket, open.peer, self.mux.responder().clone(), open.early);
        Ok(stream.beside(self.mux.take_unused(&self.places)))
    }

    /// Lets the agent choose; returns the alias of the path.
    async fn agree_on_path(&self, remote: &IceText) -> Result<SocketAddr, IceError> {
        let Credentials { ufrag, password } = remote.credentials.clone();
        self.mux.responder().set_remote_ufrag(&ufrag);
        let live = self.mux.live();
        let agent = RunningAgent::start(self.agent_config()).await?;
        for candidate in self.dial(remote) {
            let candidate: Arc<dyn candidate::Candidate + Send + Sync> = Arc::new(candidate?);
            agent.0.add_remote_candidate(&candidate)?;
        }
        let (_keep, cancelled) = mpsc::channel(1);
        let nominated = async {
            match self.role {
                IceRole::Controlling => agent.0.dial(cancelled, ufrag, password).await.map(drop),
                IceRole::Controlled => agent.0.accept(cancelled, ufrag, password).await.map(drop),
            }
        };
        tokio::select! {
            result = nominated => result?,
            () = nothing_left(live) => return Err(IceError::Unreachable),
        }
        agent.0.get_selected_candidate_pair().map(|pair| pair.remote.addr()).ok_or(IceError::PathLost)
    }

    /// Dials what can be dialled, each address once; returns the agent's view of these candidates.
    fn dial(&self, remote: &IceText) -> Vec<Result<CandidateBase, webrtc_ice::Error>> {
        let mut dialled = Vec::new();
        let mut agent_candidates = Vec::new();
        for candidate in remote.candidates.iter().take(MAX_CANDIDATES) {
            let address = candidates::dial_address(candidate, self.options.include_loopback);
            let Some(address) = address.filter(|address| !dialled.contains(address)) else { continue };
            let redials = if candidate.kind == CandidateKind::Relay { RELAY_REDIALS } else { REDIALS };
            if let Some(alias) = self.mux.dial(address, redials) {
                dialled.push(address);
                agent_candidates.push(agent_candidate(candidate, alias));
            }
        }
        agent_candidates
    }

    fn agent_config(&self) -> AgentConfig {
        let mux = Arc::clone(&self.mux);
        AgentConfig {
            udp_network: UDPNetwork::Muxed(mux),
            local_ufrag: self.local.credentials.ufrag.clone(),
            local_pwd: self.local.credentials.password.clone(),
            multicast_dns_mode: MulticastDnsMode::Disabled,
            disconnected_timeout: Some(NEVER),
            failed_timeout: Some(NEVER),
            keepalive_interval: Some(Duration::ZERO),
            network_types: vec![NetworkType::Udp4],
            candidate_types: vec![CandidateType::Host],
            check_interval: NOMINATION_INTERVAL,
            max_binding_requests: Some(u16::MAX - 1),
            is_controlling: self.role == IceRole::Controlling,
            host_acceptance_min_wait: Some(Duration::ZERO),
            prflx_acceptance_min_wait: Some(PEER_REFLEXIVE_WAIT),
            srflx_acceptance_min_wait: Some(SERVER_REFLEXIVE_WAIT),
            relay_acceptance_min_wait: Some(RELAY_WAIT),
            // A network of nothing but a loopback interface: the agent is to have one candidate.
            net: Some(Arc::new(Net::new(Some(NetConfig::default())))),
            include_loopback: true,
            ..AgentConfig::default()
        }
    }
}

impl Drop for IceAgent {
    fn drop(&mut self) {
        self.listeners.clear();
        self.mux.close();
    }
}

/// Returns when no connection was open or being dialled for [`INCOMING_WAIT`].
async fn nothing_left(mut live: watch::Receiver<usize>) {
    loop {
        if *live.borrow_and_update() > 0 {
            // The sender lives in the mux, which outlives this.
            let _ = live.changed().await;
            continue;
        }
        tokio::select! {
            _ = live.changed() => {}
            () = sleep(INCOMING_WAIT) => return,
        }
    }
}

/// A candidate of the peer as the agent sees it: the same but for transport and address.
fn agent_candidate(candidate: &Candidate, alias: SocketAddr) -> Result<CandidateBase, webrtc_ice::Error> {
    let base_config = CandidateBaseConfig {
        network: "udp".to_owned(),
        address: alias.ip().to_string(),
        port: alias.port(),
        component: COMPONENT,
        priority: candidate.priority,
        foundation: candidate.foundation.clone(),
        ..CandidateBaseConfig::default()
    };
    let (rel_addr, rel_port) = (String::new(), 0);
    match candidate.kind {
        CandidateKind::Host => {
            CandidateHostConfig { base_config, ..CandidateHostConfig::default() }.new_candidate_host()
        }
        CandidateKind::ServerReflexive => CandidateServerReflexiveConfig { base_config, rel_addr, rel_port }
            .new_candidate_server_reflexive(),
        CandidateKind::PeerReflexive => {
            CandidatePeerReflexiveConfig { base_config, rel_addr, rel_port }.new_candidate_peer_reflexive()
        }
        CandidateKind::Relay => {
            CandidateRelayConfig { base_config, rel_addr, rel_port, ..CandidateRelayConfig::default() }
                .new_candidate_relay()
        }
    }
}

/// An agent that has its local candidate, and ends its tasks when dropped.
struct RunningAgent(Arc<Agent>);

impl RunningAgent {
    async fn start(config: AgentConfig) -> Result<Self, IceError> {
        let agent = Self(Arc::new(Agent::new(config).await?));
        let (done, mut gathered) = mpsc::channel(1);
        agent.0.on_candidate(Box::new(move |candidate| {
            if candidate.is_none() {
                let _ = done.try_send(());
            }
            Box::pin(async {})
        }));
        agent.0.gather_candidates()?;
        let _ = gathered.recv().await;
        Ok(agent)
    }
}

impl Drop for RunningAgent {
    fn drop(&mut self) {
        let agent = Arc::clone(&self.0);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if timeout(AGENT_CLOSE_TIMEOUT, agent.close()).await.is_err() {
                    tracing::warn!("an ICE agent did not end its tasks in time");
                }
            });
        }
    }
}

#[cfg(test)]
#[path = "ice_tests.rs"]
mod tests;
