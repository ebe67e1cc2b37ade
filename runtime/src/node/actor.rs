//! The root actor: starts everything else, and knows who is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skep_actors::account::messages::{AccountMessage, AccountRequest};
use skep_actors::dht::messages::DhtMessage;
use skep_actors::event::{Event, NodeEvent};
use skep_actors::linking::messages::LinkingMessage;
use skep_actors::names::NameMessage;
use skep_actors::sip::messages::SipHubMessage;
use skep_actors::supervision::{Actor, ChildSpec, Outlet, Port, Reply, RestartPolicy, Scope};
use skep_protocol::ids::LocalAccountId;
use tokio::sync::broadcast;

use super::ASK_DEADLINE;
use super::events::{EVENT_MAILBOX, EventsActor, Publish, WHOLE_NODE};
use super::messages::{NewAccount, NodeMessage, OnProgress};
use super::parts::{Family, Parts};
use crate::error::NodeError;
use crate::rpc::{RpcActor, RpcPlan};

/// Accounts being made at once: each keeps a core busy for seconds.
const MAX_CREATIONS: usize = 4;

/// How long an account rests that failed too often, before it is tried anew.
const ACCOUNT_REST: Duration = Duration::from_secs(60);

/// Time an account that is removed gets to take back what it published, and then to end: links are
/// closed in it, and what is being written is finished. One whose files are damaged uses all of it.
const REMOVAL_STEP: Duration = Duration::from_secs(5);

/// How often the DHT is asked whether it is reached: often enough for people, too seldom to cost.
const HEALTH_INTERVAL: Duration = Duration::from_secs(2);

/// What the root is made of, at its start and after each failure.
pub(crate) struct Plan {
    pub(crate) parts: Box<dyn Parts>,
    pub(crate) ring: broadcast::Sender<Arc<NodeEvent>>,
    pub(crate) rpc: Option<RpcPlan>,
}

/// The root of the node's tree.
pub(crate) struct NodeActor {
    plan: Arc<Plan>,
    children: Option<Children>,
    accounts: BTreeMap<LocalAccountId, AccountState>,
    creations: usize,
}

struct Children {
    events: Outlet<NodeEvent>,
    dht: Port<DhtMessage>,
    names: Port<NameMessage>,
    linking: Port<LinkingMessage>,
    sip: Port<SipHubMessage>,
    /// What was told last of the DHT.
    reachable: bool,
}

enum AccountState {
    Running(Port<AccountMessage>),
    /// Failed too often; tried anew after [`ACCOUNT_REST`].
    Resting,
    /// Ends, and is then removed from disk. To whoever asks, it is not there any more.
    Removing(Reply<Result<(), NodeError>>),
}

impl NodeActor {
    pub(crate) const fn new(plan: Arc<Plan>) -> Self {
        Self { plan, children: None, accounts: BTreeMap::new(), creations: 0 }
    }

    fn start_account(&mut self, local: LocalAccountId, scope: &mut Scope<'_, Self>) {
        let Some(children) = &self.children else { return };
        // The root, the DHT, the names and the control interface are on the first thread.
        let shard = u64::try_from(self.accounts.len()).unwrap_or_default() + 1;
        let spec = ChildSpec::new(account_name(local)).shard(shard).restart(RestartPolicy::giving_up());
        let family = Family {
            dht: children.dht.clone(),
            names: children.names.clone(),
            events: children.events.clone(),
        };
        let port = self.plan.parts.start_account(local, spec, family, scope);
        self.accounts.insert(local, AccountState::Running(port));
    }

    fn account(&self, local: LocalAccountId) -> Result<Port<AccountMessage>, NodeError> {
        match self.accounts.get(&local) {
            Some(AccountState::Running(port)) => Ok(port.clone()),
            Some(AccountState::Resting) => Err(NodeError::AccountDown(local)),
            Some(AccountState::Removing(_)) | None => Err(NodeError::UnknownAccount(local)),
        }
    }

    /// The accounts that can be asked for.
    fn present(&self) -> Vec<LocalAccountId> {
        let present = |(local, state): (&LocalAccountId, &AccountState)| match state {
            AccountState::Running(_) | AccountState::Resting => Some(*local),
            AccountState::Removing(_) => None,
        };
        self.accounts.iter().filter_map(present).collect()
    }

    /// Removes an account: first it takes back what it published, then its actors end in order, then
    /// its folder goes.
    fn remove(
        &mut self,
        local: LocalAccountId,
        reply: Reply<Result<(), NodeError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let port = match self.account(local) {
            Ok(port) => Some(port),
            Err(NodeError::AccountDown(_)) => None,
            Err(error) => return reply.send(Err(error)),
        };
        self.accounts.insert(local, AccountState::Removing(reply));
        let Some(port) = port else { return self.erase(local, scope) };
        let withdraw = async move {
            let withdraw = |reply| AccountMessage::Request(AccountRequest::Withdraw(reply));
            if let Err(error) = port.ask(REMOVAL_STEP, withdraw).await {
                tracing::warn!(account = %local, %error, "what an account published stays until it expires");
            }
            port
        };
        scope.spawn(withdraw, |_, port, scope| scope.stop_child(&port, REMOVAL_STEP));
    }

    /// Removes the folder of an account whose actors have ended.
    fn erase(&mut self, local: LocalAccountId, scope: &mut Scope<'_, Self>) {
        let erase = self.plan.parts.remove_account(local);
        scope.spawn(erase, move |actor, erased, scope| {
            let state = actor.accounts.remove(&local);
            match &erased {
                Ok(()) => {
                    tracing::info!(account = %local, "an account was removed");
                    actor.publish(local, Event::AccountRemoved {}, scope);
                }
                Err(_) => actor.start_account(local, scope),
            }
            if let Some(AccountState::Removing(reply)) = state {
                reply.send(erased);
            }
        });
    }

    fn publish(&self, account: LocalAccountId, event: Event, scope: &Scope<'_, Self>) {
        let Some(children) = &self.children else { return };
        let event = NodeEvent { account, time: scope.wall(), event };
        if children.events.try_send(event).is_err() {
            tracing::warn!("too many events wait; one is lost");
        }
    }

    /// The account with this actor.
    fn named(&mut self, name: &str) -> Option<(LocalAccountId, &mut AccountState)> {
        let mut accounts = self.accounts.iter_mut().map(|(local, state)| (*local, state));
        accounts.find(|(local, _)| account_name(*local) == name)
    }

    /// Tells when the DHT becomes reachable or ceases to be.
    fn watch_dht(&mut self, scope: &mut Scope<'_, Self>) {
        let Some(children) = &self.children else { return };
        let dht = children.dht.clone();
        let ask = async move { dht.ask(ASK_DEADLINE, |reply| DhtMessage::Health { reply }).await };
        scope.spawn_background(ask, |actor, health, scope| {
            let reachable = health.is_ok_and(|health| health.reachable);
            if let Some(children) = actor.children.as_mut().filter(|known| known.reachable != reachable) {
                children.reachable = reachable;
                tracing::info!(reachable, "the DHT");
                actor.publish(WHOLE_NODE, Event::DhtReachable { reachable }, scope);
            }
            scope.after(HEALTH_INTERVAL, Self::watch_dht);
        });
    }

    fn create(
        &mut self,
        new: NewAccount,
        progress: OnProgress,
        reply: Reply<Result<LocalAccountId, NodeError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        if self.creations >= MAX_CREATIONS {
            return reply.send(Err(NodeError::TooManyCreations(MAX_CREATIONS)));
        }
        let Some(children) = &self.children else { return };
        self.creations += 1;
        let work = self.plan.parts.create_account(new, children.dht.clone(), progress);
        scope.spawn(work, |actor, made, scope| {
            actor.creations = actor.creations.saturating_sub(1);
            if let Ok(local) = made {
                actor.start_account(local, scope);
            }
            reply.send(made);
        });
    }
}

fn account_name(local: LocalAccountId) -> String {
    format!("account {local}")
}

impl Actor for NodeActor {
    type Message = NodeMessage;
    const KIND: &'static str = "node";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        let ring = self.plan.ring.clone();
        let spec = ChildSpec::new("events").capacity(EVENT_MAILBOX);
        let told_missed = Arc::default();
        let events = move || EventsActor { ring: ring.clone(), told_missed: Arc::clone(&told_missed) };
        let events = scope.start_child(spec, events).outlet(Publish);
        let plan = Arc::clone(&self.plan);
        let dht = plan.parts.start_dht(scope);
        let names = plan.parts.start_names(events.clone(), scope);
        let linking = plan.parts.start_linking(dht.clone(), scope);
        let sip = plan.parts.start_sip(events.clone(), scope);
        self.children = Some(Children { events, dht, names, linking, sip, reachable: false });
        scope.after(HEALTH_INTERVAL, Self::watch_dht);
        match plan.parts.accounts() {
            Ok(accounts) => accounts.into_iter().for_each(|local| self.start_account(local, scope)),
            Err(error) => tracing::error!(%error, "the accounts cannot be listed"),
        }
        // The youngest child is stopped first: nothing is asked of the others any more.
        if let Some(rpc) = &plan.rpc {
            let (rpc, root, environment) = (rpc.clone(), scope.port(), scope.environment().clone());
            scope.start_child(ChildSpec::new("rpc"), move || {
                RpcActor::new(rpc.clone(), root.clone(), environment.clone())
            });
        }
    }

    fn handle(&mut self, message: NodeMessage, scope: &mut Scope<'_, Self>) {
        match message {
            NodeMessage::Accounts(reply) => reply.send(self.present()),
            NodeMessage::Account { local, reply } => reply.send(self.account(local)),
            NodeMessage::Create { new, progress, reply } => self.create(new, progress, reply, scope),
            NodeMessage::Remove { local, reply } => self.remove(local, reply, scope),
            NodeMessage::Dht(reply) => {
                reply.send(self.children.as_ref().map(|children| children.dht.clone()));
            }
            NodeMessage::Linking(reply) => {
                reply.send(self.children.as_ref().map(|children| children.linking.clone()));
            }
            NodeMessage::Linked(local) => {
                if !self.accounts.contains_key(&local) {
                    self.start_account(local, scope);
                }
            }
            NodeMessage::Names(reply) => {
                reply.send(self.children.as_ref().map(|children| children.names.clone()));
            }
            NodeMessage::Sip(reply) => {
                reply.send(self.children.as_ref().map(|children| children.sip.clone()));
            }
        }
    }

    fn child_failed(&mut self, name: &str, scope: &mut Scope<'_, Self>) {
        match self.named(name) {
            Some((local, AccountState::Removing(_))) => self.erase(local, scope),
            Some((local, state)) => {
                *state = AccountState::Resting;
                scope.after(ACCOUNT_REST, move |actor, scope| {
                    if matches!(actor.accounts.get(&local), Some(AccountState::Resting)) {
                        actor.start_account(local, scope);
                    }
                });
            }
            None => (),
        }
    }

    fn child_stopped(&mut self, name: &str, scope: &mut Scope<'_, Self>) {
        if let Some((local, AccountState::Removing(_))) = self.named(name) {
            self.erase(local, scope);
        }
    }
}
