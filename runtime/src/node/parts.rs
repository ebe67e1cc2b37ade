//! The seam between the root and the actors it starts: what it needs of the DHT and of accounts.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use skep_actors::account::identity::{self, AccountFolder, Progress, Stage};
use skep_actors::account::messages::{AccountError, AccountMessage};
use skep_actors::account::{AccountActor, AccountConfig};
use skep_actors::blocking::{BlockingPool, Lane, Share};
use skep_actors::call::media::SharedMedia;
use skep_actors::dht::envelope::random_value_id;
use skep_actors::dht::kad::KadNetwork;
use skep_actors::dht::kad::config::{NodeSecret, ip_address};
use skep_actors::dht::messages::DhtMessage;
use skep_actors::dht::network::Network;
use skep_actors::dht::opendht::{OpenDhtNetwork, node_id};
use skep_actors::dht::{BothNetworks, DhtActor, DhtMemory};
use skep_actors::event::NodeEvent;
use skep_actors::linking::messages::LinkingMessage;
use skep_actors::linking::{LinkingActor, LinkingConfig, import_by_pin};
use skep_actors::names::{NameActor, NameConfig, NameMessage};
use skep_actors::peer::transport::{GatherOptions, UnusedPlaces};
use skep_actors::sip::messages::SipHubMessage;
use skep_actors::sip::{SipConfig, SipHub};
use skep_actors::supervision::{ChildSpec, Environment, Outlet, Port, Scope};
use skep_actors::transfer::messages::TransferLimits;
use skep_protocol::dht::opendht::packet::NetworkId;
use skep_protocol::ids::LocalAccountId;
use skep_protocol::names::ServerUrl;

use super::actor::NodeActor;
use super::messages::{CreationProgress, NewAccount, NodeMessage, OnProgress, Origin};
use super::thread::Foundations;
use crate::config::{DhtNetwork, FilesConfig};
use crate::error::NodeError;

/// File of known names in the data folder.
const NAMES: &str = "names";

/// Folder of the SIP accounts in the data folder.
const SIP: &str = "sip";

/// Whose work on disk is that for names: no account's.
const NAMES_SHARE: Share = Share(0);

/// How the root starts its children and makes accounts.
pub(crate) trait Parts: Send + Sync + 'static {
    /// The accounts on disk.
    fn accounts(&self) -> Result<Vec<LocalAccountId>, NodeError>;

    /// Starts the DHT.
    fn start_dht(&self, scope: &mut Scope<'_, NodeActor>) -> Port<DhtMessage>;

    /// Starts who asks name servers.
    fn start_names(&self, events: Outlet<NodeEvent>, scope: &mut Scope<'_, NodeActor>) -> Port<NameMessage>;

    /// Starts who links this node to an account of other devices.
    fn start_linking(&self, dht: Port<DhtMessage>, scope: &mut Scope<'_, NodeActor>) -> Port<LinkingMessage>;

    /// Starts the SIP accounts.
    fn start_sip(&self, events: Outlet<NodeEvent>, scope: &mut Scope<'_, NodeActor>) -> Port<SipHubMessage>;

    /// Starts an account that is on disk.
    fn start_account(
        &self,
        local: LocalAccountId,
        spec: ChildSpec,
        family: Family,
        scope: &mut Scope<'_, NodeActor>,
    ) -> Port<AccountMessage>;

    /// Makes an account on disk; the DHT is asked for what other devices have put there.
    fn create_account(
        &self,
        new: NewAccount,
        dht: Port<DhtMessage>,
        progress: OnProgress,
    ) -> BoxFuture<'static, Result<LocalAccountId, NodeError>>;

    /// Removes an account from disk; its actors have ended.
    fn remove_account(&self, local: LocalAccountId) -> BoxFuture<'static, Result<(), NodeError>>;
}

/// Whom an account speaks to, beside its own children.
pub(crate) struct Family {
    pub(crate) dht: Port<DhtMessage>,
    pub(crate) names: Port<NameMessage>,
    pub(crate) events: Outlet<NodeEvent>,
}

/// The parts of a real node.
pub(crate) fn install(foundations: &Foundations<'_>) -> Result<Box<dyn Parts>, NodeError> {
    let accounts = foundations.folder.accounts();
    if let Err(error) = identity::sweep(&accounts) {
        tracing::error!(%error, "what a crash left of accounts cannot be erased");
    }
    Ok(Box::new(RealParts {
        accounts,
        network: foundations.config.dht.network,
        networks: networks(foundations)?,
        names: foundations.folder.path().join(NAMES),
        sip: foundations.folder.path().join(SIP),
        name_server: foundations.config.names.server.clone(),
        media: skep_actors::call::media::of_this_build(),
        gather: GatherOptions { include_loopback: foundations.config.links.loopback },
        unused: UnusedPlaces::default(),
        files: limits(&foundations.config.files),
        pool: foundations.pool.clone(),
        environment: foundations.environment.clone(),
    }))
}

struct RealParts {
    accounts: PathBuf,
    network: DhtNetwork,
    networks: BothNetworks,
    names: PathBuf,
    sip: PathBuf,
    name_server: Option<ServerUrl>,
    media: SharedMedia,
    gather: GatherOptions,
    unused: UnusedPlaces,
    files: TransferLimits,
    pool: BlockingPool,
    environment: Environment,
}

fn limits(config: &FilesConfig) -> TransferLimits {
    let all = TransferLimits::default();
    TransferLimits {
        largest: config.largest.unwrap_or(all.largest),
        quota: config.quota.unwrap_or(all.quota),
    }
}

/// Fails if another process has one of these ports: the DHT over Kademlia shares ports, so that the
/// two would take each other's connections without a word.
fn check_free(network: DhtNetwork, listen: &[SocketAddr]) -> Result<(), NodeError> {
    for address in listen.iter().filter(|address| address.port() != 0) {
        let stream = || TcpListener::bind(address).map(drop);
        let datagrams = || UdpSocket::bind(address).map(drop);
        let bound = match network {
            DhtNetwork::Kad => stream(),
            DhtNetwork::OpenDht => datagrams(),
            DhtNetwork::Both => stream().and_then(|()| datagrams()),
        };
        match bound {
            Err(error) if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) => {
                return Err(NodeError::Listen { address: address.to_string(), problem: error.to_string() });
            }
            // What this machine does not have, such as IPv6, is not listened on.
            _ => (),
        }
    }
    Ok(())
}

/// What each network is started with.
fn networks(foundations: &Foundations<'_>) -> Result<BothNetworks, NodeError> {
    let config = &foundations.config.dht;
    check_free(config.network, &config.listen)?;
    let secret = NodeSecret(foundations.folder.node_key()?);
    let kad = KadNetwork {
        secret: secret.clone(),
        listen: config.listen.iter().map(|address| ip_address(address.ip(), address.port())).collect(),
        bootstrap: config.bootstrap.iter().filter_map(|address| address.parse().ok()).collect(),
        known_peers: Some(foundations.folder.path().join("dht-peers")),
    };
    let opendht = OpenDhtNetwork {
        id: node_id(&secret),
        network: NetworkId::default(),
        listen: config.listen.clone(),
        bootstrap: config.bootstrap.clone(),
        local_discovery: config.local_discovery,
        known_nodes: Some(foundations.folder.path().join("opendht-nodes")),
    };
    let mut both = BothNetworks { kad, opendht };
    for address in &config.bootstrap {
        let checked = match config.network {
            DhtNetwork::Kad => both.kad.check_address(address),
            DhtNetwork::OpenDht => both.opendht.check_address(address),
            DhtNetwork::Both => both.check_address(address),
        };
        checked.map_err(|error| NodeError::Dht(error.to_string()))?;
    }
    // With both, a multiaddress is for one of them only.
    let is_known = |address: &&String| both.opendht.check_address(address).is_ok();
    both.opendht.bootstrap = config.bootstrap.iter().filter(is_known).cloned().collect();
    Ok(both)
}

/// Starts the DHT over a network.
fn start_over(network: impl Network, scope: &mut Scope<'_, NodeActor>) -> Port<DhtMessage> {
    let memory = DhtMemory::default();
    scope.start_child(ChildSpec::new("dht"), move || DhtActor::new(network.clone(), memory.clone()))
}

impl Parts for RealParts {
    fn accounts(&self) -> Result<Vec<LocalAccountId>, NodeError> {
        Ok(identity::list(&self.accounts)?)
    }

    fn start_dht(&self, scope: &mut Scope<'_, NodeActor>) -> Port<DhtMessage> {
        let networks = self.networks.clone();
        match self.network {
            DhtNetwork::Kad => start_over(networks.kad, scope),
            DhtNetwork::OpenDht => start_over(networks.opendht, scope),
            DhtNetwork::Both => start_over(networks, scope),
        }
    }

    fn start_names(&self, events: Outlet<NodeEvent>, scope: &mut Scope<'_, NodeActor>) -> Port<NameMessage> {
        let config = NameConfig {
            server: self.name_server.clone(),
            file: self.names.clone(),
            tls: None,
            pool: self.pool.clone(),
            share: NAMES_SHARE,
            events,
        };
        scope.start_child(ChildSpec::new("names"), move || NameActor::new(config.clone()))
    }

    fn start_linking(&self, dht: Port<DhtMessage>, scope: &mut Scope<'_, NodeActor>) -> Port<LinkingMessage> {
        let config = LinkingConfig {
            accounts: self.accounts.clone(),
            dht,
            pool: self.pool.clone(),
            gather: self.gather,
            unused: self.unused.clone(),
            linked: scope.port().outlet(NodeMessage::Linked),
        };
        scope.start_child(ChildSpec::new("linking"), move || LinkingActor::new(config.clone()))
    }

    fn start_sip(&self, events: Outlet<NodeEvent>, scope: &mut Scope<'_, NodeActor>) -> Port<SipHubMessage> {
        let config = SipConfig { folder: self.sip.clone(), pool: self.pool.clone(), events };
        scope.start_child(ChildSpec::new("sip"), move || SipHub::new(config.clone()))
    }

    fn start_account(
        &self,
        local: LocalAccountId,
        spec: ChildSpec,
        family: Family,
        scope: &mut Scope<'_, NodeActor>,
    ) -> Port<AccountMessage> {
        let Family { dht, names, events } = family;
        let config = AccountConfig {
            folder: AccountFolder::new(&self.accounts, local),
            local,
            dht,
            pool: self.pool.clone(),
            events,
            names: names.outlet(NameMessage::Want),
            gather: self.gather,
            media: Arc::clone(&self.media),
            unused: self.unused.clone(),
            files: self.files,
            public: false,
            announcement: random_value_id(&self.environment),
        };
        scope.start_child(spec, move || AccountActor::new(config.clone()))
    }

    fn create_account(
        &self,
        new: NewAccount,
        dht: Port<DhtMessage>,
        progress: OnProgress,
    ) -> BoxFuture<'static, Result<LocalAccountId, NodeError>> {
        let (accounts, environment, pool) =
            (self.accounts.clone(), self.environment.clone(), self.pool.clone());
        let progress: Progress = Arc::new(move |stage| progress(describe(stage)));
        async move {
            let NewAccount { origin, password } = new;
            Ok(match origin {
                Origin::Keys { name } => {
                    identity::create(&accounts, &name, password, &environment, &pool, progress).await
                }
                Origin::Archive(archive) => {
                    identity::import(&accounts, archive, password, &environment, &pool, progress).await
                }
                Origin::Pin(pin) => {
                    import_by_pin(&accounts, pin, password, &dht, &environment, &pool, progress).await
                }
            }?)
        }
        .boxed()
    }

    fn remove_account(&self, local: LocalAccountId) -> BoxFuture<'static, Result<(), NodeError>> {
        let (folder, pool) = (AccountFolder::new(&self.accounts, local), self.pool.clone());
        let remove = move || identity::remove(&folder);
        let share = Share(u64::from_be_bytes(local.0));
        async move { Ok(pool.run(share, Lane::Bulk, remove).await.map_err(AccountError::from)??) }.boxed()
    }
}

/// A stage for people.
fn describe(stage: Stage) -> CreationProgress {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    match stage {
        Stage::Keys { done, of } => {
            CreationProgress { stage: "making keys".to_owned(), done: count(done), total: count(of) }
        }
        Stage::Searching => {
            CreationProgress { stage: "looking for the account".to_owned(), done: 0, total: 1 }
        }
        _ => CreationProgress { stage: "writing".to_owned(), done: 1, total: 1 },
    }
}
