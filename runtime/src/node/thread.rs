//! The thread of a node: an actix system, its arbiters, and the root from start to shutdown.
//!
//! The first arbiter is the system's own thread; a node with two threads has one more. Each is a
//! single-threaded runtime, so an actor never moves; parallel work is in the blocking pool.

use std::sync::Arc;
use std::time::Duration;

use actix_rt::{Arbiter, System};
use skep_actors::blocking::BlockingPool;
use skep_actors::supervision::{Environment, start_root};
use tokio::sync::{broadcast, oneshot, watch};

use super::actor::{NodeActor, Plan};
use super::folder::DataFolder;
use super::messages::NodeMessage;
use super::parts::Parts;
use super::{ASK_DEADLINE, Life, Node, NodeEnd};
use crate::config::NodeConfig;
use crate::error::NodeError;
use crate::rpc::RpcPlan;

/// Time for the whole tree to stop: long enough for a link to be closed and a pack to be written.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// Most threads for actors; more than that only cost memory.
const MAX_THREADS: usize = 64;

/// What the parts are made of.
pub(crate) struct Foundations<'a> {
    pub(crate) folder: &'a DataFolder,
    pub(crate) config: &'a NodeConfig,
    pub(crate) pool: BlockingPool,
    pub(crate) environment: Environment,
}

/// Makes the parts, on the node's thread.
pub(crate) type Install = fn(&Foundations<'_>) -> Result<Box<dyn Parts>, NodeError>;

/// Starts a node with these parts on a thread of its own.
pub(crate) async fn start(config: NodeConfig, install: Install) -> Result<Node, NodeError> {
    let (ready, started) = oneshot::channel();
    std::thread::Builder::new()
        .name("skep".to_owned())
        .spawn(move || run(config, install, ready))
        .map_err(|error| NodeError::Start(error.to_string()))?;
    started.await.map_err(|_| NodeError::Start("its thread ended at once; the log says why".to_owned()))?
}

type Ready = oneshot::Sender<Result<Node, NodeError>>;

fn run(config: NodeConfig, install: Install, ready: Ready) {
    let system = System::new();
    let mut shards = vec![System::current().arbiter().clone()];
    let arbiters: Vec<_> = (1..config.threads.clamp(1, MAX_THREADS)).map(|_| Arbiter::new()).collect();
    shards.extend(arbiters.iter().map(Arbiter::handle));
    let environment = Environment::threads(shards);
    let end = system.block_on(live(config, install, environment, ready));
    for arbiter in arbiters {
        arbiter.stop();
        if arbiter.join().is_err() {
            tracing::error!("a thread of the node panicked");
        }
    }
    // The runtime's own end waits for blocking work; only then is the node said to have ended.
    drop(system);
    if let Some((life, end, folder)) = end {
        drop(folder);
        life.end.send_replace(Some(end));
    }
}

/// The node from its start to its end.
async fn live(
    config: NodeConfig,
    install: Install,
    environment: Environment,
    ready: Ready,
) -> Option<(Arc<Life>, NodeEnd, DataFolder)> {
    let (node, root, folder) = match assemble(config, install, environment) {
        Ok(assembled) => assembled,
        Err(error) => {
            // Whoever started it has gone if this fails.
            let _ = ready.send(Err(error));
            return None;
        }
    };
    // Answered when the root has started its children.
    let started = root.port().ask(ASK_DEADLINE, NodeMessage::Accounts).await;
    let life = Arc::clone(&node.life);
    let told = ready.send(started.map(|_| node).map_err(NodeError::from));
    let mut stop = life.stop.subscribe();
    if told.is_err() {
        life.stop.send_replace(true);
    }
    let failed = tokio::select! {
        failed = root.ended() => failed,
        _ = stop.wait_for(|stop| *stop) => false,
    };
    if failed {
        tracing::error!("the node failed too often and ends; what it acknowledged is safe");
    }
    let shutdown = root.shutdown(SHUTDOWN_DEADLINE).await;
    Some((life, NodeEnd { failed, shutdown }, folder))
}

type Root = skep_actors::supervision::RootHandle<NodeMessage>;

fn assemble(
    mut config: NodeConfig,
    install: Install,
    environment: Environment,
) -> Result<(Node, Root, DataFolder), NodeError> {
    let folder = DataFolder::open(&config.data_dir)?;
    config.data_dir = folder.path().to_owned();
    let pool = BlockingPool::new(config.limits.blocking_workers);
    let parts =
        install(&Foundations { folder: &folder, config: &config, pool, environment: environment.clone() })?;
    let ring = broadcast::Sender::new(config.limits.event_buffer.max(1));
    let life = Arc::new(Life { stop: watch::Sender::new(false), end: watch::Sender::new(None), config });
    let weak = ring.downgrade();
    let rpc = RpcPlan::bind(Arc::clone(&life), weak.clone())?;
    let plan = Arc::new(Plan { parts, ring, rpc });
    let root = start_root(environment.clone(), move || NodeActor::new(Arc::clone(&plan)));
    Ok((Node::assemble(root.port().clone(), environment, weak, life), root, folder))
}
