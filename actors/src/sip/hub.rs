//! The SIP accounts of a node.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use skep_protocol::ids::LocalAccountId;
use skep_protocol::sip::agent::{LEAVING, Registration, Transport};
use tokio::sync::watch;

use super::account::{AccountConfig, SipAccount};
use super::messages::{NewSipAccount, Outgoing, SipAccountView, SipError, SipHubMessage, SipState};
use super::path::Destination;
use super::stored::{self, Stored};
use crate::blocking::{BlockingPool, Lane, Share};
use crate::event::{Event, NodeEvent};
use crate::supervision::{Actor, ChildSpec, Outlet, Port, Reply, RestartPolicy, Scope};

/// Most SIP accounts of a node: each keeps a connection to its server.
pub const MAX_SIP_ACCOUNTS: usize = 32;

/// How long an account rests that failed too often.
const REST: Duration = Duration::from_secs(60);

/// What the hub needs to start.
#[derive(Clone, Debug)]
pub struct SipConfig {
    /// Where the accounts are.
    pub folder: PathBuf,
    /// Where disk work runs.
    pub pool: BlockingPool,
    /// Told what happens.
    pub events: Outlet<NodeEvent>,
}

/// One account.
struct Account {
    stored: Stored,
    standing: watch::Receiver<Registration>,
    /// None while it rests.
    port: Option<Port<Outgoing>>,
    /// Told when it is gone: it is being removed.
    removing: Option<Reply<Result<(), SipError>>>,
}

/// See the module.
pub struct SipHub {
    config: SipConfig,
    accounts: BTreeMap<LocalAccountId, Account>,
    /// Accounts that are being written.
    creating: usize,
}

impl std::fmt::Debug for SipHub {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SipHub({} accounts)", self.accounts.len())
    }
}

fn name(local: LocalAccountId) -> String {
    format!("sip {local}")
}

impl SipHub {
    /// A hub that reads its accounts when it starts.
    #[must_use]
    pub const fn new(config: SipConfig) -> Self {
        Self { config, accounts: BTreeMap::new(), creating: 0 }
    }

    /// Runs work on the disk.
    fn on_disk<T, W>(
        &self,
        local: LocalAccountId,
        work: W,
    ) -> impl Future<Output = Result<T, SipError>> + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> std::io::Result<T> + Send + 'static,
    {
        let (pool, share) = (self.config.pool.clone(), Share(u64::from_be_bytes(local.0)));
        async move {
            match pool.run(share, Lane::Quick, work).await {
                Ok(done) => done.map_err(|error| SipError::Storage(error.to_string())),
                Err(error) => Err(SipError::Storage(error.to_string())),
            }
        }
    }

    fn start(&mut self, local: LocalAccountId, stored: Stored, scope: &mut Scope<'_, Self>) {
        let (Some(identity), Some((host, port))) = (stored.identity(), stored.server()) else { return };
        let (sender, standing) = watch::channel(Registration::Trying);
        let config = AccountConfig {
            local,
            identity,
            destination: Destination {
                host,
                port,
                transport: stored.transport(),
                authorities: stored.authorities.clone(),
            },
            standing: Arc::new(sender),
            events: self.config.events.clone(),
        };
        let spec = ChildSpec::new(name(local)).restart(RestartPolicy::giving_up());
        let port = Some(scope.start_child(spec, move || SipAccount::new(config.clone())));
        self.accounts.insert(local, Account { stored, standing, port, removing: None });
    }

    /// An account that is not being removed.
    fn account(&self, local: LocalAccountId) -> Result<&Account, SipError> {
        let account = self.accounts.get(&local).filter(|account| account.removing.is_none());
        account.ok_or(SipError::Unknown(local))
    }

    fn view(local: LocalAccountId, account: &Account, scope: &Scope<'_, Self>) -> SipAccountView {
        let (host, port) = account.stored.server().unwrap_or_default();
        let server = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let transport = match account.stored.transport() {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        };
        let state = match &account.port {
            Some(_) => SipState::of(&account.standing.borrow(), scope.now()),
            None => SipState::Failed { problem: SipError::Down.to_string(), again_seconds: REST.as_secs() },
        };
        let (address, transport) = (account.stored.address().to_owned(), transport.to_owned());
        SipAccountView { account: local, address, server, transport, state }
    }

    fn create(
        &mut self,
        new: NewSipAccount,
        reply: Reply<Result<SipAccountView, SipError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        if self.accounts.len() + self.creating >= MAX_SIP_ACCOUNTS {
            return reply.send(Err(SipError::TooMany));
        }
        let stored = match Stored::new(new) {
            Ok(stored) => stored,
            Err(error) => return reply.send(Err(error)),
        };
        self.creating += 1;
        let local = LocalAccountId(scope.environment().random_u64().to_be_bytes());
        let (folder, copy) = (self.config.folder.clone(), stored.clone());
        let write = self.on_disk(local, move || stored::write(&folder, local, &copy));
        scope.spawn(write, move |actor, written, scope| {
            actor.creating = actor.creating.saturating_sub(1);
            let made = written.and_then(|()| {
                actor.start(local, stored, scope);
                Ok(Self::view(local, actor.account(local)?, scope))
            });
            reply.send(made);
        });
    }

    fn remove(
        &mut self,
        local: LocalAccountId,
        reply: Reply<Result<(), SipError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        if let Err(error) = self.account(local) {
            return reply.send(Err(error));
        }
        let Some(account) = self.accounts.get_mut(&local) else { return };
        account.removing = Some(reply);
        match account.port.take() {
            Some(port) => scope.stop_child(&port, LEAVING * 2),
            None => self.erase(local, scope),
        }
    }

    /// Removes the file of an account whose actor has ended.
    fn erase(&mut self, local: LocalAccountId, scope: &mut Scope<'_, Self>) {
        let folder = self.config.folder.clone();
        let erase = self.on_disk(local, move || stored::remove(&folder, local));
        scope.spawn(erase, move |actor, erased, scope| {
            let Some(account) = actor.accounts.remove(&local) else { return };
            match &erased {
                Ok(()) => {
                    let event = Event::AccountRemoved {};
                    let event = NodeEvent { account: local, time: scope.wall(), event };
                    if let Err(error) = actor.config.events.try_send(event) {
                        tracing::warn!(%error, "an event was not delivered");
                    }
                }
                // It is still there.
                Err(_) => actor.start(local, account.stored, scope),
            }
            if let Some(reply) = account.removing {
                reply.send(erased);
            }
        });
    }

    fn send(&self, local: LocalAccountId, message: Outgoing) {
        let port = self.account(local).and_then(|account| account.port.as_ref().ok_or(SipError::Down));
        match port {
            // If it has no room, whoever waits learns so.
            Ok(port) => drop(port.try_send(message)),
            Err(error) => message.reply.send(Err(error)),
        }
    }

    fn named(&self, name_of: &str) -> Option<LocalAccountId> {
        self.accounts.keys().copied().find(|local| name(*local) == name_of)
    }
}

impl Actor for SipHub {
    type Message = SipHubMessage;
    const KIND: &'static str = "sip";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        scope.hold();
        let folder = self.config.folder.clone();
        let read = self.on_disk(LocalAccountId([0; 8]), move || Ok(stored::read_all(&folder)));
        scope.spawn_background(read, |actor, read, scope| {
            match read {
                Ok(all) => {
                    for (local, stored) in all.into_iter().take(MAX_SIP_ACCOUNTS) {
                        actor.start(local, stored, scope);
                    }
                }
                Err(error) => tracing::error!(%error, "the SIP accounts cannot be read"),
            }
            scope.release();
        });
    }

    fn handle(&mut self, message: SipHubMessage, scope: &mut Scope<'_, Self>) {
        match message {
            SipHubMessage::Create { new, reply } => self.create(*new, reply, scope),
            SipHubMessage::List(reply) => {
                let present = self.accounts.iter().filter(|(_, account)| account.removing.is_none());
                reply.send(present.map(|(local, account)| Self::view(*local, account, scope)).collect());
            }
            SipHubMessage::Describe { local, reply } => {
                reply.send(self.account(local).map(|account| Self::view(local, account, scope)));
            }
            SipHubMessage::Remove { local, reply } => self.remove(local, reply, scope),
            SipHubMessage::Send { local, message } => self.send(local, message),
        }
    }

    fn child_failed(&mut self, name: &str, scope: &mut Scope<'_, Self>) {
        let Some(local) = self.named(name) else { return };
        let Some(account) = self.accounts.get_mut(&local) else { return };
        if account.removing.is_some() {
            return self.erase(local, scope);
        }
        account.port = None;
        scope.after(REST, move |actor, scope| {
            let rests = |account: &Account| account.port.is_none() && account.removing.is_none();
            if let Some(stored) =
                actor.accounts.get(&local).filter(|it| rests(it)).map(|it| it.stored.clone())
            {
                actor.start(local, stored, scope);
            }
        });
    }

    fn child_stopped(&mut self, name: &str, scope: &mut Scope<'_, Self>) {
        let removing =
            |local: &LocalAccountId| self.accounts.get(local).is_some_and(|it| it.removing.is_some());
        if let Some(local) = self.named(name).filter(removing) {
            self.erase(local, scope);
        }
    }
}
