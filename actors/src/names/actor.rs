//! The actor around the client of name servers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use rustls::ClientConfig;
use skep_protocol::ids::AccountId;
use skep_protocol::names::{
    About, Action, Answer, AskError, Found, MAX_CACHE_FILE, Name, NameCache, NameClient, Question,
    RegisterError, Registration, Request, RequestId, Response, ServerUrl,
};
use skep_protocol::time::{Now, UnixMillis};
use tokio::sync::oneshot;

use super::authorities::system_authorities;
use super::fetch::fetch;
use crate::blocking::{BlockingPool, Lane, Share};
use crate::event::{Event, NodeEvent, WHOLE_NODE};
use crate::storage;
use crate::supervision::{Actor, Message, Outlet, Policy, Reply, Scope};

/// Who may wait for the answer to one question.
const MAX_WAITING: usize = 64;

/// What the names actor needs to start.
#[derive(Clone, Debug)]
pub struct NameConfig {
    /// The server that is asked for the names of people whom lists show; without one they are not asked
    /// for.
    pub server: Option<ServerUrl>,
    /// The file of known names. If it cannot be read it is made anew.
    pub file: PathBuf,
    /// TLS with the authorities to trust; without, those of the system.
    pub tls: Option<Arc<ClientConfig>>,
    /// Where disk work runs.
    pub pool: BlockingPool,
    /// Whose work it is.
    pub share: Share,
    /// Where it is told that a name was found.
    pub events: Outlet<NodeEvent>,
}

/// What the names actor can be asked.
#[derive(Debug)]
pub enum NameMessage {
    /// Asks a name server.
    Ask {
        /// What.
        question: Question,
        /// Gets the answer.
        reply: Reply<Answer>,
    },
    /// Registers a name.
    Register {
        /// Where.
        server: ServerUrl,
        /// The name, signed.
        registration: Box<Registration>,
        /// Gets the outcome.
        reply: Reply<Result<(), RegisterError>>,
    },
    /// What is known of these people's names, without waiting for the server. It is asked for the others.
    Known {
        /// Who.
        people: BTreeSet<AccountId>,
        /// Gets the names known.
        reply: Reply<BTreeMap<AccountId, Name>>,
    },
    /// Asks for the names of people who will be shown.
    Want(BTreeSet<AccountId>),
}

impl Message for NameMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Ask { .. } => "ask",
            Self::Register { .. } => "register",
            Self::Known { .. } => "known",
            Self::Want(_) => "want",
        }
    }

    fn policy(&self) -> Policy {
        match self {
            // They are wanted again when they are shown.
            Self::Want(_) => Policy::Reject,
            _ => Policy::Wait,
        }
    }
}

/// Asks name servers for all accounts of a node.
#[derive(Debug)]
pub struct NameActor {
    config: NameConfig,
    client: NameClient,
    asking: BTreeMap<Question, Vec<Reply<Answer>>>,
    registering: BTreeMap<(ServerUrl, AccountId), Reply<Result<(), RegisterError>>>,
    /// Requests under way; they end when this is dropped.
    requests: BTreeMap<RequestId, oneshot::Sender<()>>,
}

impl NameActor {
    /// An actor that reads what it knew when it starts.
    #[must_use]
    pub fn new(config: NameConfig) -> Self {
        let client = NameClient::new(NameCache::default(), 0);
        let (asking, registering, requests) = Default::default();
        Self { config, client, asking, registering, requests }
    }

    fn ask(&mut self, question: Question, reply: Reply<Answer>, scope: &mut Scope<'_, Self>) {
        if self.asking.get(&question).is_some_and(|waiting| waiting.len() >= MAX_WAITING) {
            return reply.send(Err(AskError::Busy));
        }
        let actions = self.client.ask(now(scope), question.clone());
        // What needs no server is no news to others.
        if let [Action::Answer { answer, .. }] = &actions[..] {
            return reply.send(answer.clone());
        }
        self.asking.entry(question).or_default().push(reply);
        self.perform(actions, scope);
    }

    fn known(
        &mut self,
        people: BTreeSet<AccountId>,
        reply: Reply<BTreeMap<AccountId, Name>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(server) = &self.config.server else { return reply.send(BTreeMap::new()) };
        let (cache, wall) = (self.client.cache(), scope.wall());
        let name =
            |account: &AccountId| Some((*account, cache.last_name_of(wall, server, *account)?.clone()));
        reply.send(people.iter().filter_map(name).collect());
        self.want(people, scope);
    }

    fn want(&mut self, people: BTreeSet<AccountId>, scope: &mut Scope<'_, Self>) {
        let Some(server) = &self.config.server else { return };
        let actions = self.client.want(now(scope), server, people);
        self.perform(actions, scope);
    }

    fn answered(&mut self, question: Question, answer: Answer, scope: &mut Scope<'_, Self>) {
        let found = match (&question.about, &answer) {
            (About::Account(person), Ok(Some(Found::Name { name, .. }))) => Some((*person, name)),
            _ => None,
        };
        if let Some((person, name)) = found.filter(|_| self.config.server.as_ref() == Some(&question.server))
        {
            let event = Event::NameFound { person, name: name.to_string() };
            let event = NodeEvent { account: WHOLE_NODE, time: scope.wall(), event };
            if let Err(error) = self.config.events.try_send(event) {
                tracing::warn!(%error, "an event was not delivered");
            }
        }
        for reply in self.asking.remove(&question).unwrap_or_default() {
            reply.send(answer.clone());
        }
    }

    fn register(
        &mut self,
        server: ServerUrl,
        registration: Registration,
        reply: Reply<Result<(), RegisterError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let key = (server.clone(), registration.account());
        let actions = self.client.register(now(scope), server, registration);
        // What is decided at once is for this one, not for one that is under way.
        if let [Action::Registered { result, .. }] = &actions[..] {
            return reply.send(*result);
        }
        self.registering.insert(key, reply);
        self.perform(actions, scope);
    }

    fn perform(&mut self, actions: Vec<Action>, scope: &mut Scope<'_, Self>) {
        for action in actions {
            match action {
                Action::Send { id, request } => self.send(id, request, scope),
                Action::Abort(id) => drop(self.requests.remove(&id)),
                Action::Answer { question, answer } => self.answered(question, answer, scope),
                Action::Registered { server, account, result, .. } => {
                    if let Some(reply) = self.registering.remove(&(server, account)) {
                        reply.send(result);
                    }
                }
                Action::Save(file) => {
                    let save = self.save(file);
                    scope.spawn(save, |_, (), _| ());
                }
            }
        }
        scope.set_alarm(self.client.next_deadline());
    }

    fn send(&mut self, id: RequestId, request: Request, scope: &mut Scope<'_, Self>) {
        let (sender, aborted) = oneshot::channel();
        self.requests.insert(id, sender);
        let (server, tls) = (request.server.clone(), self.config.tls.clone());
        let exchange = async move {
            tokio::select! {
                fetched = fetch(request, tls) => Some(fetched),
                _ = aborted => None,
            }
        };
        scope.spawn_background(exchange, move |actor, fetched, scope| {
            let Some(fetched) = fetched else { return };
            actor.requests.remove(&id);
            let actions = match fetched {
                Ok(fetched) => {
                    let (location, body) = (fetched.location.as_deref(), &fetched.body[..]);
                    actor.client.response(now(scope), id, Response { status: fetched.status, location, body })
                }
                Err(error) => {
                    tracing::debug!(%server, %error, "a name server could not be asked");
                    actor.client.unreachable(now(scope), id)
                }
            };
            actor.perform(actions, scope);
        });
    }

    /// Writes the file of known names. Without it they are asked for again.
    fn save(&self, file: Vec<u8>) -> impl Future<Output = ()> + use<> {
        let (config, path) = (self.config.clone(), self.config.file.clone());
        async move {
            let write = move || storage::replace(&path, &file);
            match config.pool.run(config.share, Lane::Quick, write).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the known names were not written"),
                Err(error) => tracing::warn!(%error, "the known names were not written"),
            }
        }
    }
}

impl Actor for NameActor {
    type Message = NameMessage;
    const KIND: &'static str = "names";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        scope.hold();
        let (config, wall, seed) = (self.config.clone(), scope.wall(), scope.environment().random_u64());
        let read = async move {
            let (file, tls) = (config.file, config.tls);
            let read = move || (read_cache(wall, &file), tls.or_else(read_authorities));
            config.pool.run(config.share, Lane::Quick, read).await.unwrap_or_default()
        };
        scope.spawn_background(read, move |actor, (cache, tls), scope| {
            actor.client = NameClient::new(cache, seed);
            actor.config.tls = tls;
            scope.release();
        });
    }

    fn handle(&mut self, message: NameMessage, scope: &mut Scope<'_, Self>) {
        match message {
            NameMessage::Ask { question, reply } => self.ask(question, reply, scope),
            NameMessage::Register { server, registration, reply } => {
                self.register(server, *registration, reply, scope);
            }
            NameMessage::Known { people, reply } => self.known(people, reply, scope),
            NameMessage::Want(people) => self.want(people, scope),
        }
    }

    fn alarm(&mut self, scope: &mut Scope<'_, Self>) {
        let actions = self.client.tick(now(scope));
        self.perform(actions, scope);
    }

    fn flush(&mut self, _: &mut Scope<'_, Self>) -> Option<LocalBoxFuture<'static, ()>> {
        let file = self.client.unsaved()?;
        Some(self.save(file).boxed_local())
    }
}

fn now<A: Actor>(scope: &Scope<'_, A>) -> Now {
    Now { moment: scope.now(), wall: scope.wall() }
}

fn read_cache(now: UnixMillis, file: &Path) -> NameCache {
    let known = match storage::read(file, MAX_CACHE_FILE) {
        Ok(None) => return NameCache::default(),
        Ok(Some(content)) => NameCache::decode(now, &content).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    known.unwrap_or_else(|error| {
        tracing::warn!(file = %file.display(), %error, "the known names are asked for again");
        NameCache::default()
    })
}

fn read_authorities() -> Option<Arc<ClientConfig>> {
    match system_authorities() {
        Ok(tls) => Some(tls),
        Err(error) => {
            tracing::warn!(%error, "name servers cannot be asked over TLS");
            None
        }
    }
}
