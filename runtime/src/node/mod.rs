//! A node: its thread, its root actor, and the handles through which a program uses it.
//!
//! ```text
//!   Node, Account, Conversation       what a program holds; typed messages to the actors
//!   messages.rs, actor.rs             the root of the tree
//!   dht.rs                            the DHT by hand
//!   names.rs                          names instead of ids
//!   parts.rs                          what the root starts: DHT, names and accounts
//!   events.rs                         from all accounts to all subscribers
//!   calls.rs                          calls of accounts
//!   linking.rs                        becoming a device of an account, and letting others in
//!   sip.rs                            accounts at SIP servers
//!   folder.rs                         the data folder, locked
//!   thread.rs                         the actix system and its threads
//! ```

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use skep_actors::account::messages::Password;
use skep_actors::event::NodeEvent;
use skep_actors::supervision::{Environment, Port, Shutdown, Tree};
use skep_protocol::ids::LocalAccountId;
use skep_protocol::time::Moment;
use tokio::sync::{broadcast, watch};

use crate::config::NodeConfig;
use crate::error::NodeError;

mod account;
mod actor;
mod calls;
mod conversation;
mod dht;
mod events;
mod folder;
mod linking;
mod messages;
mod names;
mod parts;
mod sip;
mod thread;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

pub use account::Account;
pub use conversation::Conversation;
pub use events::{EventStream, WHOLE_NODE};
pub(crate) use folder::{secret_file, write_private};
pub use messages::{CreationProgress, OnProgress};
pub(crate) use messages::{NewAccount, NodeMessage, Origin};
pub use names::NamedView;
pub(crate) use skep_actors::account::messages::AccountMessage;
pub(crate) use skep_actors::dht::messages::DhtMessage;
pub use skep_actors::dht::messages::Health;

/// Time for what needs neither the disk nor a peer.
pub(crate) const ASK_DEADLINE: Duration = Duration::from_secs(10);

/// Time to make an account: three RSA-4096 keys take two seconds of a core, rarely ten, and others
/// may be before it.
const CREATE_DEADLINE: Duration = Duration::from_secs(300);

/// Time to remove an account: its actors end, and gigabytes of history are erased.
const REMOVE_DEADLINE: Duration = Duration::from_secs(60);

/// A running node. Cheap to clone; all clones are the same node, which runs until
/// [`Self::shutdown`], whether or not a clone is left.
///
/// Its methods wait on timers of tokio, so they are called from a tokio runtime; the node itself
/// has threads of its own.
#[derive(Clone)]
pub struct Node {
    root: Port<NodeMessage>,
    environment: Environment,
    /// Weak, so that subscribers see the end when the tree has ended.
    ring: broadcast::WeakSender<Arc<NodeEvent>>,
    life: Arc<Life>,
}

/// What a node's thread and its handles tell each other, and facts that never change.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) end: watch::Sender<Option<NodeEnd>>,
    pub(crate) config: NodeConfig,
}

/// How a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeEnd {
    /// Whether the root failed too often; otherwise it was shut down.
    pub failed: bool,
    /// What was left over.
    pub shutdown: Shutdown,
}

impl Node {
    /// Starts a node on threads of its own; answers when its actors run. Reaching the DHT goes on
    /// beside: [`Self::health`] and [`Event::DhtReachable`](crate::Event::DhtReachable) tell.
    ///
    /// # Errors
    /// [`NodeError::InUse`] when another process uses the folder, [`NodeError::Listen`],
    /// [`NodeError::Dht`] and [`NodeError::File`] when what the configuration names cannot be used.
    pub async fn start(config: NodeConfig) -> Result<Self, NodeError> {
        thread::start(config, parts::install).await
    }

    pub(crate) const fn assemble(
        root: Port<NodeMessage>,
        environment: Environment,
        ring: broadcast::WeakSender<Arc<NodeEvent>>,
        life: Arc<Life>,
    ) -> Self {
        Self { root, environment, ring, life }
    }

    /// Makes an account with new keys, and starts it. `progress` is told each step; it must not
    /// block.
    ///
    /// # Errors
    /// [`NodeError::TooManyCreations`], or an account error when it could not be written.
    pub async fn create_account(
        &self,
        name: impl Into<String>,
        password: Option<Password>,
        progress: impl Fn(CreationProgress) + Send + Sync + 'static,
    ) -> Result<Account, NodeError> {
        let origin = Origin::Keys { name: name.into() };
        self.create(NewAccount { origin, password }, Arc::new(progress)).await
    }

    /// Makes an account of an archive, and starts it. `progress` is told each step; it must not
    /// block.
    ///
    /// # Errors
    /// An account error when the password does not open the archive, or it is damaged.
    pub async fn import_account(
        &self,
        archive: Vec<u8>,
        password: Option<Password>,
        progress: impl Fn(CreationProgress) + Send + Sync + 'static,
    ) -> Result<Account, NodeError> {
        let origin = Origin::Archive(archive);
        self.create(NewAccount { origin, password }, Arc::new(progress)).await
    }

    async fn create(&self, new: NewAccount, progress: OnProgress) -> Result<Account, NodeError> {
        let create = |reply| NodeMessage::Create { new, progress, reply };
        let local = self.root.ask(CREATE_DEADLINE, create).await??;
        Ok(self.account(local))
    }

    /// All accounts.
    ///
    /// # Errors
    /// [`NodeError`] when the node does not answer.
    pub async fn accounts(&self) -> Result<Vec<Account>, NodeError> {
        let accounts = self.root.ask(ASK_DEADLINE, NodeMessage::Accounts).await?;
        Ok(accounts.into_iter().map(|local| self.account(local)).collect())
    }

    /// An account by its local name. Whether there is such a one shows at its first use.
    #[must_use]
    pub fn account(&self, local: LocalAccountId) -> Account {
        Account::new(self.clone(), local)
    }

    /// The events of all accounts from now on.
    #[must_use]
    pub fn events(&self) -> EventStream {
        let ring = self.ring.upgrade().unwrap_or_else(|| broadcast::Sender::new(1));
        EventStream::new(ring.subscribe())
    }

    /// Every actor of the node, how busy it is and how often it was restarted.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        self.environment.tree()
    }

    /// Whether and how the DHT is reached.
    ///
    /// # Errors
    /// [`NodeError`] when the DHT does not answer.
    pub async fn health(&self) -> Result<Health, NodeError> {
        match self.root.ask(ASK_DEADLINE, NodeMessage::Dht).await? {
            Some(dht) => Ok(dht.ask(ASK_DEADLINE, |reply| DhtMessage::Health { reply }).await?),
            None => Ok(Health::default()),
        }
    }

    /// Time since the start.
    #[must_use]
    pub fn uptime(&self) -> Moment {
        self.environment.now()
    }

    /// What the node was started with.
    #[must_use]
    pub fn config(&self) -> &NodeConfig {
        &self.life.config
    }

    /// Stops the node in order and waits for it: no more requests, mailboxes emptied, all written,
    /// links closed.
    pub async fn shutdown(&self) -> NodeEnd {
        self.request_shutdown();
        self.ended().await
    }

    /// Asks the node to stop, without waiting for it.
    pub fn request_shutdown(&self) {
        self.life.stop.send_replace(true);
    }

    /// Completes when the node has ended, by whatever reason.
    pub fn ended(&self) -> impl Future<Output = NodeEnd> + Send + 'static {
        let mut end = self.life.end.subscribe();
        async move {
            let failed = NodeEnd {
                failed: true,
                shutdown: Shutdown { complete: false, actors_left: 0, tasks_left: 0 },
            };
            end.wait_for(Option::is_some).await.ok().and_then(|end| *end).unwrap_or(failed)
        }
    }

    pub(crate) async fn remove_account(&self, local: LocalAccountId) -> Result<(), NodeError> {
        self.root.ask(REMOVE_DEADLINE, |reply| NodeMessage::Remove { local, reply }).await?
    }

    pub(crate) async fn account_port(
        &self,
        local: LocalAccountId,
    ) -> Result<Port<AccountMessage>, NodeError> {
        self.root.ask(ASK_DEADLINE, |reply| NodeMessage::Account { local, reply }).await?
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Node({})", self.life.config.data_dir.display())
    }
}
