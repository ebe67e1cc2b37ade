//! The actor around the core of one SIP account.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use skep_protocol::ids::LocalAccountId;
use skep_protocol::sip::agent::{Action, LEAVING, Registration, SipAgent, SipIdentity};
use skep_protocol::time::Moment;
use tokio::sync::{Mutex, Notify, mpsc, watch};

use super::messages::{Outgoing, SipError, SipState};
use super::path::{Came, Destination, Ends, open};
use crate::event::{Event, NodeEvent};
use crate::supervision::{Actor, Outlet, Reply, Scope};

/// How long the last words may take to go out, beside [`LEAVING`].
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What the actor needs to start.
#[derive(Clone, Debug)]
pub(super) struct AccountConfig {
    pub(super) local: LocalAccountId,
    pub(super) identity: SipIdentity,
    pub(super) destination: Destination,
    /// Told how the registration stands.
    pub(super) standing: Arc<watch::Sender<Registration>>,
    pub(super) events: Outlet<NodeEvent>,
}

/// The path in use.
struct Link {
    sender: mpsc::Sender<Bytes>,
    receiver: Rc<Mutex<mpsc::Receiver<Came>>>,
    /// Tells the one that reads to leave the receiver to others.
    leave: Rc<Notify>,
}

/// Who reads holds the receiver; the path ends when they let go of it.
impl Drop for Link {
    fn drop(&mut self) {
        self.leave.notify_one();
    }
}

/// One SIP account.
pub(super) struct SipAccount {
    config: AccountConfig,
    agent: Option<SipAgent>,
    link: Option<Link>,
    /// Paths opened so far: what is told of others than the newest is of no matter.
    paths: u64,
    sending: BTreeMap<u64, Reply<Result<(), SipError>>>,
    sends: u64,
    /// What was told last, without its times.
    told: Option<std::mem::Discriminant<Registration>>,
}

impl SipAccount {
    pub(super) fn new(config: AccountConfig) -> Self {
        let (agent, link, sending, told) = Default::default();
        Self { config, agent, link, paths: 0, sending, sends: 0, told }
    }

    fn drive(&mut self, scope: &mut Scope<'_, Self>, act: impl FnOnce(&mut SipAgent, Moment) -> Vec<Action>) {
        let now = scope.now();
        let Some(agent) = &mut self.agent else { return };
        let actions = act(agent, now);
        self.perform(actions, scope);
        scope.set_alarm(self.agent.as_ref().and_then(SipAgent::next_deadline));
    }

    fn perform(&mut self, actions: Vec<Action>, scope: &mut Scope<'_, Self>) {
        let mut broken = false;
        for action in actions {
            match action {
                Action::Connect => self.connect(scope),
                Action::Disconnect => self.link = None,
                Action::Send(bytes) => {
                    let full = |link: &Link| link.sender.try_send(bytes).is_err();
                    broken |= self.link.as_ref().is_some_and(full);
                }
                Action::Status(registration) => self.status(registration, scope),
                Action::Arrived(arrived) => {
                    let (from, name, text) = (arrived.from.to_string(), arrived.name, arrived.text);
                    self.tell(Event::SipMessage { from, name, text }, scope);
                }
                Action::Sent { id, result } => {
                    if let Some(reply) = self.sending.remove(&id) {
                        reply.send(result.map_err(SipError::from));
                    }
                }
            }
        }
        if broken {
            let why = "it does not take what is sent";
            self.lost(self.paths, why, scope);
        }
    }

    fn connect(&mut self, scope: &mut Scope<'_, Self>) {
        self.link = None;
        self.paths += 1;
        let (number, destination) = (self.paths, self.config.destination.clone());
        scope.spawn_background(open(destination), move |actor, opened, scope| {
            if actor.paths != number {
                return;
            }
            let (ends, carry) = match opened {
                Ok(opened) => opened,
                Err(error) => return actor.lost(number, &error.to_string(), scope),
            };
            let Ends { local, remote, sender, receiver } = ends;
            let receiver = Rc::new(Mutex::new(receiver));
            actor.link = Some(Link { sender, receiver, leave: Rc::default() });
            scope.spawn_background(carry, move |actor, why, scope| {
                actor.lost(number, &why.to_string(), scope)
            });
            actor.drive(scope, |agent, now| agent.connected(now, local, remote));
            actor.read(number, scope);
        });
    }

    /// Takes what comes next, and then itself again.
    fn read(&mut self, number: u64, scope: &mut Scope<'_, Self>) {
        let Some(link) = self.link.as_ref().filter(|_| self.paths == number) else { return };
        let (receiver, leave) = (Rc::clone(&link.receiver), Rc::clone(&link.leave));
        let next = async move {
            let mut receiver = receiver.lock().await;
            tokio::select! {
                came = receiver.recv() => came,
                () = leave.notified() => None,
            }
        };
        scope.spawn_background(next, move |actor, came, scope| {
            // Its end is told by the one that carries.
            let Some(came) = came.filter(|_| actor.paths == number) else { return };
            actor.drive(scope, |agent, now| take(agent, now, &came));
            actor.read(number, scope);
        });
    }

    fn lost(&mut self, number: u64, why: &str, scope: &mut Scope<'_, Self>) {
        if self.paths == number {
            self.paths += 1;
            self.link = None;
            self.drive(scope, |agent, now| agent.disconnected(now, why));
        }
    }

    fn status(&mut self, registration: Registration, scope: &Scope<'_, Self>) {
        let kind = std::mem::discriminant(&registration);
        let state = SipState::of(&registration, scope.now());
        self.config.standing.send_replace(registration);
        // A renewal is no news.
        if self.told.replace(kind) != Some(kind) || matches!(state, SipState::Failed { .. }) {
            tracing::info!(account = %self.config.local, ?state, "a SIP account");
            self.tell(Event::SipRegistration { registration: state }, scope);
        }
    }

    fn tell(&self, event: Event, scope: &Scope<'_, Self>) {
        let event = NodeEvent { account: self.config.local, time: scope.wall(), event };
        if let Err(error) = self.config.events.try_send(event) {
            tracing::warn!(%error, "an event was not delivered");
        }
    }
}

fn take(agent: &mut SipAgent, now: Moment, came: &Came) -> Vec<Action> {
    match came {
        Came::Message(message) => agent.received(now, message),
        Came::Blank => agent.received_blank(),
    }
}

impl Actor for SipAccount {
    type Message = Outgoing;
    const KIND: &'static str = "sip account";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        let mut seed = [0; 32];
        scope.environment().fill_random(&mut seed);
        self.agent = Some(SipAgent::new(scope.now(), self.config.identity.clone(), seed));
        self.drive(scope, SipAgent::start);
    }

    fn handle(&mut self, message: Outgoing, scope: &mut Scope<'_, Self>) {
        let Outgoing { to, text, reply } = message;
        self.sends += 1;
        let id = self.sends;
        self.sending.insert(id, reply);
        self.drive(scope, |agent, now| agent.send(now, id, &to, &text));
    }

    fn alarm(&mut self, scope: &mut Scope<'_, Self>) {
        self.drive(scope, SipAgent::tick);
    }

    /// Takes the registration back.
    fn flush(&mut self, scope: &mut Scope<'_, Self>) -> Option<LocalBoxFuture<'static, ()>> {
        for (_, reply) in std::mem::take(&mut self.sending) {
            reply.send(Err(SipError::Stopping));
        }
        let (mut agent, link) = (self.agent.take()?, self.link.take()?);
        link.leave.notify_one();
        let (environment, standing) = (scope.environment().clone(), Arc::clone(&self.config.standing));
        let leave = async move {
            let mut receiver = link.receiver.lock().await;
            let mut actions = agent.stop(environment.now());
            loop {
                for action in actions {
                    match action {
                        Action::Send(bytes) => {
                            let said = link.sender.send(bytes).await;
                            if said.is_err() {
                                return;
                            }
                        }
                        Action::Status(Registration::Stopped) => {
                            standing.send_replace(Registration::Stopped);
                            return;
                        }
                        _ => {}
                    }
                }
                let now = environment.now();
                let pause = agent.next_deadline().map_or(LEAVING, |deadline| deadline.since(now));
                actions = tokio::select! {
                    came = receiver.recv() => match came {
                        Some(came) => take(&mut agent, environment.now(), &came),
                        None => return,
                    },
                    () = tokio::time::sleep(pause) => agent.tick(environment.now()),
                };
            }
        };
        let limited = async move {
            // Who does not hear it finds out when the registration ends.
            let _ = tokio::time::timeout(LEAVING + LAST_WORDS, leave).await;
        };
        Some(limited.boxed_local())
    }
}
