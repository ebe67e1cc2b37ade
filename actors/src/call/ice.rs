//! ICE over UDP for calls (RFC 8445; `spec: calls 5.7`).
//!
//! ```text
//!   one session of the description      ┌ agent for RTP      component 1
//!   with its credentials           ─────┤
//!                                       └ agent for RTCP     component 2
//! ```
//!
//! The library's agents have one component each; checks do not name components, so two agents with the same
//! credentials are one session to the other side.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use skep_protocol::link::ice_text::{CandidateKind, Credentials};
use skep_protocol::sdp::{Candidate, Component};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use webrtc_ice::agent::Agent;
use webrtc_ice::agent::agent_config::AgentConfig;
use webrtc_ice::candidate::candidate_base::CandidateBaseConfig;
use webrtc_ice::candidate::candidate_host::CandidateHostConfig;
use webrtc_ice::candidate::{Candidate as AgentCandidate, CandidateType};
use webrtc_ice::mdns::MulticastDnsMode;
use webrtc_ice::network_type::NetworkType;
use webrtc_ice::state::ConnectionState;
use webrtc_util::Conn;

use super::paths::{GatheredPaths, MediaPath, PathError, PathRole, Paths, RemotePaths};
use crate::peer::transport::{GatherOptions, may_announce};

/// How long finding our own addresses may take (`spec: calls 5.7`).
const GATHERING: Duration = Duration::from_secs(35);

/// How long the two sides may take to agree: a device that was just answered may be slow.
const CONNECTING: Duration = Duration::from_secs(20);

/// How long a path may be silent before it counts as broken.
const SILENT: Duration = Duration::from_secs(10);

/// How long after that it is given up.
const BROKEN: Duration = Duration::from_secs(15);

/// The last two.
#[derive(Clone, Copy, Debug)]
struct Patience {
    silent: Duration,
    broken: Duration,
}

/// With people.
const PATIENCE: Patience = Patience { silent: SILENT, broken: BROKEN };

/// How long an agent may take to end its tasks.
const CLOSING: Duration = Duration::from_secs(5);

/// Most addresses told and tried for each component (`spec: calls 5.7`): of ours eight keep the message short.
const MAX_LOCAL: usize = 8;
const MAX_REMOTE: usize = 32;

/// Finds paths by ICE.
#[derive(Clone, Copy, Debug)]
pub struct IcePaths(pub GatherOptions);

impl Paths for IcePaths {
    fn gather(&self, role: PathRole) -> BoxFuture<'static, Result<Box<dyn GatheredPaths>, PathError>> {
        gather(self.0, role, PATIENCE).boxed()
    }
}

async fn gather(
    options: GatherOptions,
    role: PathRole,
    patience: Patience,
) -> Result<Box<dyn GatheredPaths>, PathError> {
    let credentials = Credentials::from_random(&rand::random());
    let make = |component| OneAgent::gather(role, component, options, credentials.clone(), patience);
    let gathered = futures::future::try_join(make(Component::Rtp), make(Component::Rtcp));
    let (media, reports) = timeout(GATHERING, gathered).await.map_err(|_| PathError::NoLocalAddress)??;
    let address = media.candidates.first().map(|it| it.address).ok_or(PathError::NoLocalAddress)?;
    Ok(Box::new(Session { role, credentials, address, options, media, reports }))
}

#[derive(Debug)]
struct Session {
    role: PathRole,
    credentials: Credentials,
    address: IpAddr,
    options: GatherOptions,
    media: OneAgent,
    reports: OneAgent,
}

impl GatheredPaths for Session {
    fn credentials(&self) -> Credentials {
        self.credentials.clone()
    }

    fn candidates(&self) -> Vec<(Component, Candidate)> {
        let of = |component, agent: &OneAgent| {
            agent.candidates.clone().into_iter().map(move |candidate| (component, candidate))
        };
        of(Component::Rtp, &self.media).chain(of(Component::Rtcp, &self.reports)).collect()
    }

    fn address(&self) -> IpAddr {
        self.address
    }

    fn connect(self: Box<Self>, remote: RemotePaths) -> BoxFuture<'static, Result<MediaPath, PathError>> {
        async move {
            let Self { role, options, media, reports, .. } = *self;
            let of = |component| {
                let wanted = remote.candidates.iter().filter(move |(it, _)| *it == component);
                let usable = wanted.filter(|(_, it)| it.port != 0 && is_usable(it.address, options));
                usable.map(|(_, it)| it.clone()).take(MAX_REMOTE).collect::<Vec<_>>()
            };
            let both = futures::future::try_join(
                media.connect(role, remote.credentials.clone(), of(Component::Rtp)),
                reports.connect(role, remote.credentials.clone(), of(Component::Rtcp)),
            );
            let (to_media, to_reports) =
                timeout(CONNECTING, both).await.map_err(|_| PathError::Unreachable)??;
            let (mut of_media, mut of_reports) = (media.failed.clone(), reports.failed.clone());
            let broken = async move {
                tokio::select! {
                    _ = of_media.wait_for(|failed| *failed) => {}
                    _ = of_reports.wait_for(|failed| *failed) => {}
                }
            };
            let (broken, keep) = (broken.boxed(), Box::new((media, reports)));
            Ok(MediaPath { media: to_media, reports: to_reports, broken, keep })
        }
        .boxed()
    }
}

/// A peer on the network must not make us write to local services.
fn is_usable(address: IpAddr, options: GatherOptions) -> bool {
    let address = address.to_canonical();
    !address.is_multicast() && may_announce(address, options.include_loopback)
}

/// An agent with its addresses; it ends its tasks when dropped.
struct OneAgent {
    agent: Arc<Agent>,
    candidates: Vec<Candidate>,
    /// Whether it has given up all ways.
    failed: watch::Receiver<bool>,
}

impl std::fmt::Debug for OneAgent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("OneAgent").field("candidates", &self.candidates).finish_non_exhaustive()
    }
}

impl OneAgent {
    async fn gather(
        role: PathRole,
        component: Component,
        options: GatherOptions,
        credentials: Credentials,
        patience: Patience,
    ) -> Result<Self, PathError> {
        let config = AgentConfig {
            local_ufrag: credentials.ufrag,
            local_pwd: credentials.password,
            multicast_dns_mode: MulticastDnsMode::Disabled,
            disconnected_timeout: Some(patience.silent),
            failed_timeout: Some(patience.broken),
            network_types: vec![NetworkType::Udp4, NetworkType::Udp6],
            candidate_types: vec![CandidateType::Host],
            is_controlling: role == PathRole::Offering,
            include_loopback: options.include_loopback,
            ip_filter: Arc::new(Some(Box::new(move |ip| may_announce(ip, options.include_loopback)))),
            ..AgentConfig::default()
        };
        let agent = Arc::new(Agent::new(config).await.map_err(broken)?);
        let (tell_failed, failed) = watch::channel(false);
        let mut one = Self { agent, candidates: Vec::new(), failed };
        one.agent.on_connection_state_change(Box::new(move |state| {
            if matches!(state, ConnectionState::Failed | ConnectionState::Closed) {
                tell_failed.send_replace(true);
            }
            Box::pin(async {})
        }));
        let (done, mut gathered) = mpsc::channel(1);
        one.agent.on_candidate(Box::new(move |candidate| {
            if candidate.is_none() {
                let _ = done.try_send(());
            }
            Box::pin(async {})
        }));
        one.agent.gather_candidates().map_err(broken)?;
        let _ = gathered.recv().await;
        let local = one.agent.get_local_candidates().await.map_err(broken)?;
        let mut candidates: Vec<_> = local.iter().filter_map(|it| told(&**it, component)).collect();
        // Loopback last: it is there for demonstrations, and others are better candidates.
        candidates.sort_by_key(|it| (it.address.is_loopback(), it.address.is_ipv6()));
        candidates.truncate(MAX_LOCAL);
        one.candidates = candidates;
        if one.candidates.is_empty() { Err(PathError::NoLocalAddress) } else { Ok(one) }
    }

    async fn connect(
        &self,
        role: PathRole,
        remote: Credentials,
        candidates: Vec<Candidate>,
    ) -> Result<Arc<dyn Conn + Send + Sync>, PathError> {
        if candidates.is_empty() {
            return Err(PathError::NoRemoteAddress);
        }
        for candidate in candidates {
            let known: Arc<dyn AgentCandidate + Send + Sync> = Arc::new(of_peer(&candidate).map_err(broken)?);
            self.agent.add_remote_candidate(&known).map_err(broken)?;
        }
        let (_keep, cancelled) = mpsc::channel(1);
        let Credentials { ufrag, password } = remote;
        Ok(match role {
            PathRole::Offering => self.agent.dial(cancelled, ufrag, password).await.map_err(broken)?,
            PathRole::Answering => self.agent.accept(cancelled, ufrag, password).await.map_err(broken)?,
        })
    }
}

impl Drop for OneAgent {
    fn drop(&mut self) {
        let agent = Arc::clone(&self.agent);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if timeout(CLOSING, agent.close()).await.is_err() {
                    tracing::warn!("an ICE agent did not end its tasks in time");
                }
            });
        }
    }
}

fn broken(error: webrtc_ice::Error) -> PathError {
    PathError::Agent(error.to_string())
}

/// A candidate of ours as it is told.
fn told(candidate: &(dyn AgentCandidate + Send + Sync), component: Component) -> Option<Candidate> {
    let address: IpAddr = candidate.address().parse().ok()?;
    let (number, less) = if component == Component::Rtp { (1, 0) } else { (2, 1) };
    Some(Candidate {
        foundation: CandidateKind::Host.foundation(address),
        number,
        // The library counts all agents as component 1; the last byte of a priority is 256 less that number.
        priority: candidate.priority().saturating_sub(less),
        address,
        port: candidate.port(),
        kind: CandidateKind::Host,
    })
}

/// A candidate of the other side as the agent takes it. How its address was learnt is in its priority.
fn of_peer(
    candidate: &Candidate,
) -> Result<webrtc_ice::candidate::candidate_base::CandidateBase, webrtc_ice::Error> {
    let base_config = CandidateBaseConfig {
        network: "udp".to_owned(),
        address: candidate.address.to_string(),
        port: candidate.port,
        component: 1,
        priority: candidate.priority,
        foundation: candidate.foundation.clone(),
        ..CandidateBaseConfig::default()
    };
    CandidateHostConfig { base_config, ..CandidateHostConfig::default() }.new_candidate_host()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IcePaths = IcePaths(GatherOptions { include_loopback: true });

    fn remote(session: &dyn GatheredPaths) -> RemotePaths {
        RemotePaths { credentials: session.credentials(), candidates: session.candidates() }
    }

    #[tokio::test]
    async fn two_sides_agree_on_a_path_for_sound_and_one_for_reports() {
        let offering = LOOPBACK.gather(PathRole::Offering).await.unwrap();
        let answering = LOOPBACK.gather(PathRole::Answering).await.unwrap();
        let (theirs, ours) = (remote(&*answering), remote(&*offering));
        let (one, two) = tokio::join!(offering.connect(theirs), answering.connect(ours));
        let (one, two) = (one.unwrap(), two.unwrap());
        let mut buffer = [0; 64];
        one.media.send(b"sound").await.unwrap();
        let length = two.media.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"sound");
        two.reports.send(b"report").await.unwrap();
        let length = one.reports.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"report");
    }

    #[tokio::test]
    async fn a_path_whose_other_end_is_gone_is_given_up_though_nothing_is_sent() {
        let short = Duration::from_millis(300);
        let patience = Patience { silent: short, broken: short };
        let offering = gather(LOOPBACK.0, PathRole::Offering, patience).await.unwrap();
        let answering = gather(LOOPBACK.0, PathRole::Answering, patience).await.unwrap();
        let (theirs, ours) = (remote(&*answering), remote(&*offering));
        let (one, two) = tokio::join!(offering.connect(theirs), answering.connect(ours));
        let one = one.unwrap();
        drop(two.unwrap());
        timeout(Duration::from_secs(30), one.broken).await.unwrap();
    }

    #[tokio::test]
    async fn loopback_addresses_are_neither_told_nor_tried_unless_they_are_wanted() {
        assert!(!is_usable([127, 0, 0, 1].into(), GatherOptions::default()));
        assert!(!is_usable("::ffff:127.0.0.1".parse().unwrap(), GatherOptions::default()));
        assert!(!is_usable([224, 0, 0, 1].into(), GatherOptions { include_loopback: true }));
        if let Ok(session) = IcePaths(GatherOptions::default()).gather(PathRole::Offering).await {
            assert!(session.candidates().iter().all(|(_, it)| !it.address.is_loopback()));
        }
    }

    #[tokio::test]
    async fn without_an_address_of_the_other_side_nothing_is_tried() {
        let session = LOOPBACK.gather(PathRole::Offering).await.unwrap();
        let credentials = Credentials::from_random(&[7; 24]);
        let nowhere = RemotePaths { credentials, candidates: Vec::new() };
        assert_eq!(session.connect(nowhere).await.unwrap_err(), PathError::NoRemoteAddress);
    }
}
