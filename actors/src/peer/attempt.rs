//! Carries out one attempt to connect to a device: the steps of the core, with real sockets.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, OptionFuture};
use futures::stream::{FuturesUnordered, StreamExt as _};
use skep_protocol::dht::content::Content;
use skep_protocol::dht::kind::ValueKind;
use skep_protocol::dht::value::Value;
use skep_protocol::identity::{DeviceIdentity, VerifiedChain};
use skep_protocol::link::attempt::{Attempt, AttemptError, CHECK_TIMEOUT, Event, Step};
use skep_protocol::link::ice_text::IceText;
use skep_protocol::link::mux::Role;
use skep_protocol::link::request::{KeyKind, PeerRequest, RequestKeys, USER_TYPE};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::transport::{
    GatherOptions, IceAgent, IceError, IceRole, IceStream, SecureStream, TlsIdentity, UnusedPlaces, secure,
};
use crate::blocking::{BlockingPool, Lane, Share};
use crate::dht::envelope::{EnvelopeRandom, seal};
use crate::dht::messages::DhtMessage;
use crate::directory::Revocations;
use crate::supervision::{Environment, Port};

/// How long the DHT may take to keep a request; the peer answers sooner.
const PUT: Duration = Duration::from_secs(30);

/// What every attempt of an account needs.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// This device.
    pub identity: Arc<DeviceIdentity>,
    /// This device, for TLS.
    pub tls: TlsIdentity,
    /// The DHT, over which requests and answers go.
    pub dht: Port<DhtMessage>,
    /// Where signing and decrypting run.
    pub pool: BlockingPool,
    /// Whose work it is.
    pub share: Share,
    /// Which addresses are used.
    pub gather: GatherOptions,
    /// Places for connections that are only kept open.
    pub unused: UnusedPlaces,
    /// Which devices were revoked.
    pub revocations: Revocations,
    /// Clock and randomness.
    pub environment: Environment,
}

/// Runs the attempt to its end. Answers from the peer come in through `answers`.
pub(super) async fn run(
    mut attempt: Attempt,
    config: LinkConfig,
    remote: VerifiedChain,
    mut answers: mpsc::Receiver<PeerRequest>,
) -> Result<(Box<SecureStream>, Role), AttemptError> {
    let mut work = Work { config: &config, remote: &remote, agent: None, stream: None, secure: None };
    // What goes on beside the waiting: the peer needs what the puts carry while paths are checked.
    let mut puts = FuturesUnordered::new();
    let mut checks: OptionFuture<Checks> = None.into();
    loop {
        let now = || config.environment.now();
        while let Some(step) = attempt.poll() {
            match step {
                // The parent asked the policy before it let the attempt begin.
                Step::CheckPolicy => attempt.handle(now(), Event::PolicyDecided(true)),
                Step::Gather { controlling } => attempt.handle(now(), work.gather(controlling)),
                Step::Put { request, kinds } => puts.push(put(&config, &remote, request, kinds)),
                Step::StartChecks(text) => match work.agent.take() {
                    Some(agent) => checks = Some(check(agent, text)).into(),
                    None => attempt.handle(now(), Event::ChecksFailed),
                },
                Step::StartTls(role) => {
                    let event = work.secure(role).await;
                    attempt.handle(now(), event);
                }
                Step::Ready(role) => {
                    let stream = work.secure.take().ok_or(AttemptError::Handshake)?;
                    return Ok((stream, role));
                }
                Step::Failed(error) => return Err(error),
            }
        }
        let wait = attempt.deadline().map_or(CHECK_TIMEOUT, |deadline| deadline.since(now()));
        tokio::select! {
            Some(answer) = answers.recv() => attempt.handle(now(), Event::Answer(answer)),
            Some(put) = puts.next(), if !puts.is_empty() => {
                if !put {
                    attempt.handle(now(), Event::PutFailed);
                }
            }
            Some(checked) = &mut checks => {
                checks = None.into();
                attempt.handle(now(), work.checked(checked));
            }
            () = tokio::time::sleep(wait) => attempt.handle_timeout(now()),
        }
    }
}

type Checks = BoxFuture<'static, Result<IceStream, IceError>>;

fn check(agent: IceAgent, remote: IceText) -> Checks {
    Box::pin(async move { agent.connect(&remote, Instant::now() + CHECK_TIMEOUT).await })
}

/// What the attempt has got so far.
struct Work<'a> {
    config: &'a LinkConfig,
    remote: &'a VerifiedChain,
    agent: Option<IceAgent>,
    stream: Option<IceStream>,
    secure: Option<Box<SecureStream>>,
}

impl Work<'_> {
    fn role(controlling: bool) -> IceRole {
        if controlling { IceRole::Controlling } else { IceRole::Controlled }
    }

    fn gather(&mut self, controlling: bool) -> Event {
        match IceAgent::gather(Self::role(controlling), self.config.gather) {
            Ok(agent) => {
                let agent = agent.sharing(&self.config.unused);
                let text = agent.local_text().clone();
                self.agent = Some(agent);
                Event::CandidatesReady(text)
            }
            Err(error) => self.failed(&error, Event::GatherFailed),
        }
    }

    fn checked(&mut self, checked: Result<IceStream, IceError>) -> Event {
        match checked {
            Ok(stream) => {
                self.stream = Some(stream);
                Event::Nominated
            }
            Err(error) => self.failed(&error, Event::ChecksFailed),
        }
    }

    async fn secure(&mut self, role: Role) -> Event {
        let Some(stream) = self.stream.take() else { return Event::TlsFailed };
        let ice = Self::role(role == Role::Responder);
        let (tls, device) = (&self.config.tls, self.remote.device_id());
        let now = self.config.environment.wall();
        let stream = match Box::pin(secure(stream, ice, tls, device, now)).await {
            Ok(stream) => stream,
            Err(error) => return self.failed(&error, Event::TlsFailed),
        };
        // The lists may be newer than the attempt, and the certificate shown another than the one
        // found in the directory.
        if let Err(error) = self.config.revocations.check(stream.peer()) {
            return self.failed(&error, Event::TlsFailed);
        }
        self.secure = Some(Box::new(stream));
        Event::TlsDone
    }

    fn failed(&self, error: &dyn std::error::Error, event: Event) -> Event {
        tracing::debug!(device = %self.remote.device_id().short(), %error, "a connection attempt failed");
        event
    }
}

/// Puts a request or answer at the peer's keys; whether any of them took it.
async fn put(
    config: &LinkConfig,
    remote: &VerifiedChain,
    request: PeerRequest,
    kinds: &'static [KeyKind],
) -> bool {
    let recipient = remote.device().public_key().clone();
    let keys = RequestKeys::of(recipient.device_id(), recipient.device_short_id());
    let (key, random) = (config.identity.key().clone(), EnvelopeRandom::draw(&config.environment));
    let push_type = request.connection_type.clone();
    let seal = move || {
        let data = Content::new(ValueKind::UserData.type_number(), request.encode());
        seal(data.with_user_type(USER_TYPE), &key, &recipient, &random)
    };
    let Ok(Ok(value)) = config.pool.run(config.share, Lane::Quick, seal).await else { return false };
    // Whoever sleeps behind a proxy is woken for that (`spec: connection 2.3`).
    let value = Value { push_type, ..value };
    let puts = kinds.iter().map(|kind| {
        let (key, value) = (keys.get(*kind), value.clone());
        config.dht.ask(PUT, move |reply| DhtMessage::Put { key, value, permanent: false, reply })
    });
    futures::future::join_all(puts).await.iter().any(|put| matches!(put, Ok(Ok(_))))
}
