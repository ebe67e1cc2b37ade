//! The seam between the root and the actors it starts: what it needs of the DHT and of accounts.

use futures::future::BoxFuture;
use skep_actors::account::messages::AccountError;
use skep_actors::dht::kad::config::{NodeSecret, ip_address};
use skep_actors::dht::messages::DhtMessage;
use skep_actors::dht::{DhtActor, DhtConfig};
use skep_actors::event::NodeEvent;
use skep_actors::supervision::{ChildSpec, Outlet, Port, Scope};
use skep_protocol::ids::LocalAccountId;

use super::actor::NodeActor;
use super::messages::{NewAccount, OnProgress};
use super::thread::Foundations;
use crate::error::NodeError;

pub(crate) use interim::AccountMessage;

/// How the root starts its children and makes accounts.
pub(crate) trait Parts: Send + Sync + 'static {
    /// The accounts on disk.
    fn accounts(&self) -> Result<Vec<LocalAccountId>, NodeError>;

    /// Starts the DHT.
    fn start_dht(&self, scope: &mut Scope<'_, NodeActor>) -> Port<DhtMessage>;

    /// Starts an account that is on disk.
    fn start_account(
        &self,
        local: LocalAccountId,
        spec: ChildSpec,
        dht: Port<DhtMessage>,
        events: Outlet<NodeEvent>,
        scope: &mut Scope<'_, NodeActor>,
    ) -> Port<AccountMessage>;

    /// Makes an account on disk.
    fn create_account(
        &self,
        new: NewAccount,
        progress: OnProgress,
    ) -> BoxFuture<'static, Result<LocalAccountId, NodeError>>;
}

/// The parts of a real node.
pub(crate) fn install(foundations: &Foundations<'_>) -> Result<Box<dyn Parts>, NodeError> {
    Ok(Box::new(RealParts { dht: dht_config(foundations)? }))
}

struct RealParts {
    dht: DhtConfig,
}

fn dht_config(foundations: &Foundations<'_>) -> Result<DhtConfig, NodeError> {
    let config = &foundations.config.dht;
    let bootstrap = config.bootstrap.iter().map(|address| address.parse());
    Ok(DhtConfig {
        secret: NodeSecret(foundations.folder.node_key()?),
        listen: config.listen.iter().map(|address| ip_address(address.ip(), address.port())).collect(),
        bootstrap: bootstrap
            .collect::<Result<_, _>>()
            .map_err(|error: skep_actors::dht::kad::config::ConfigError| NodeError::Dht(error.to_string()))?,
        known_peers: Some(foundations.folder.path().join("dht-peers")),
    })
}

impl Parts for RealParts {
    fn accounts(&self) -> Result<Vec<LocalAccountId>, NodeError> {
        Ok(Vec::new())
    }

    fn start_dht(&self, scope: &mut Scope<'_, NodeActor>) -> Port<DhtMessage> {
        let config = self.dht.clone();
        scope.start_child(ChildSpec::new("dht"), move || DhtActor::new(config.clone()))
    }

    fn start_account(
        &self,
        _: LocalAccountId,
        spec: ChildSpec,
        _: Port<DhtMessage>,
        _: Outlet<NodeEvent>,
        scope: &mut Scope<'_, NodeActor>,
    ) -> Port<AccountMessage> {
        scope.start_child(spec, || interim::NoAccount)
    }

    fn create_account(
        &self,
        _: NewAccount,
        _: OnProgress,
    ) -> BoxFuture<'static, Result<LocalAccountId, NodeError>> {
        let error = AccountError::Busy("this build has no accounts yet".to_owned());
        Box::pin(async { Err(error.into()) })
    }
}

/// Until the account actor is there.
mod interim {
    use skep_actors::account::messages::AccountRequest;
    use skep_actors::supervision::{Actor, Message, Policy, Scope};

    #[derive(Debug)]
    pub(crate) enum AccountMessage {
        Request(AccountRequest),
    }

    impl Message for AccountMessage {
        fn kind(&self) -> &'static str {
            "request"
        }
        fn policy(&self) -> Policy {
            Policy::Wait
        }
    }

    pub(super) struct NoAccount;

    impl Actor for NoAccount {
        type Message = AccountMessage;
        const KIND: &'static str = "account";
        fn handle(&mut self, message: AccountMessage, _: &mut Scope<'_, Self>) {
            let AccountMessage::Request(request) = message;
            drop(request);
        }
    }
}
