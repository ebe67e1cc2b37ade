//! What the account does to get another device: its archive under a PIN, or over a channel to a new device
//! that shows an invitation (`spec: identity 5 and 6`).

use std::time::Duration;

use skep_protocol::dht::value::Value;
use skep_protocol::identity::{Archive, ArchiveKey, RevocationList};
use skep_protocol::ids::DhtKey;
use skep_protocol::linking::{self, LinkInvitation, LinkScheme, Pin, PinKey, Source, SourceAction};
use tokio::sync::oneshot;

use super::AccountActor;
use super::actor::ASK;
use super::identity::{self, AccountFolder};
use super::messages::{AccountError, Password};
use super::reach::FIND;
use super::state::State;
use crate::blocking::{BlockingPool, Lane, Share};
use crate::dht::envelope::random_value_id;
use crate::dht::messages::DhtMessage;
use crate::directory::messages::DirectoryMessage;
use crate::linking::{DHT_DEADLINE, random_number};
use crate::peer::messages::{Channel, ChannelReceiver, LinkError, LinksMessage};
use crate::supervision::{Environment, Reply, Scope};

/// How long connecting to a new device may take.
const CONNECT: Duration = Duration::from_secs(60);

/// How long a new device may take to read the account, and to close the channel.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// The archive on disk, and what has changed since it was written.
#[derive(Clone)]
pub(super) struct ArchiveSource {
    folder: AccountFolder,
    state: State,
    lists: Vec<RevocationList>,
}

impl ArchiveSource {
    /// Opens the archive and brings it up to date: on the blocking pool.
    pub(super) fn open(
        &self,
        password: Option<&Password>,
    ) -> Result<(Archive, Option<ArchiveKey>), AccountError> {
        let (mut archive, key) = identity::read_archive(&self.folder, password)?;
        self.state.write_to_archive(&mut archive);
        identity::set_revocations(&mut archive, self.lists.clone());
        identity::set_display_name(&mut archive, &self.state.name);
        Ok((archive, key))
    }
}

impl AccountActor {
    /// The archive as it stands, to be opened.
    pub(super) fn archive(&self) -> Option<ArchiveSource> {
        let running = self.running.as_ref()?;
        let lists = running.revocations.lists(running.identity.account_id());
        Some(ArchiveSource { folder: self.config.folder.clone(), state: running.state.clone(), lists })
    }

    /// Puts the archive on the DHT under a new PIN, for the ten minutes that values live there.
    pub(super) fn export_under_pin(
        &mut self,
        password: Option<Password>,
        reply: Reply<Result<Pin, AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let share = self.share();
        let Some(archive) = self.archive() else { return };
        let environment = scope.environment();
        let pin = Pin::from_random([(); 16].map(|()| random_number(environment)));
        let (now, id) = (scope.wall(), random_value_id(environment));
        let mut nonce = [0; 12];
        environment.fill_random(&mut nonce);
        let (pool, dht, shown) = (self.config.pool.clone(), self.config.dht.clone(), pin.clone());
        let work = move || {
            let (archive, key) = archive.open(password.as_ref())?;
            // Whoever has the PIN of an account without a password types none.
            let password = password.filter(|_| key.is_some()).unwrap_or_default();
            let place = PinKey::derive(&pin, &password.0, now)?;
            Ok::<(DhtKey, Value), AccountError>((place.dht_key(), place.seal(&archive, nonce, id)?))
        };
        let export = async move {
            let (key, value) = pool.run(share, Lane::Bulk, work).await??;
            let put = |reply| DhtMessage::Put { key, value, permanent: false, reply };
            dht.ask(DHT_DEADLINE, put).await??;
            Ok(shown)
        };
        scope.spawn_background(export, |_, exported, _| reply.send(exported));
    }

    /// Lets a new device in. The owner, who has its invitation, has agreed.
    pub(super) fn add_device(
        &mut self,
        invitation: LinkInvitation,
        reply: Reply<Result<(), AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let share = self.share();
        let (Some(archive), Some(running)) = (self.archive(), &mut self.running) else { return };
        if running.adding_device.is_some() {
            return reply.send(Err(AccountError::AddingDevice));
        }
        let (cancel, mut cancelled) = oneshot::channel();
        running.adding_device = Some(cancel);
        let (directory, links) = (running.directory.clone(), running.links.clone());
        let scheme = if running.protected { LinkScheme::Password } else { LinkScheme::None };
        let (pool, environment) = (self.config.pool.clone(), scope.environment().clone());
        let LinkInvitation { device, code } = invitation;
        let link = async move {
            let find = |reply| DirectoryMessage::Device { device, short: None, reply };
            let chain = directory.ask(FIND, find).await?.ok_or(LinkError::UnknownDevice(device))?;
            let guest = chain.account_id();
            let open = |reply| LinksMessage::OpenToGuest {
                chain: Box::new(chain),
                name: code.channel().to_string(),
                deadline: CONNECT,
                reply,
            };
            let outcome = async {
                let channel = tokio::select! {
                    channel = links.ask(CONNECT.saturating_add(ASK), open) => channel??,
                    Ok(()) = &mut cancelled => return Err(linking::LinkError::Cancelled.into()),
                };
                let giving = Giving { archive, scheme, pool, share, environment };
                giving.give(channel, cancelled).await
            };
            let outcome = outcome.await;
            if let Err(error) = links.send(LinksMessage::Drop { account: guest }).await {
                tracing::warn!(%error, "a new device may stay connected");
            }
            outcome
        };
        scope.spawn_background(link, |account, linked, _| {
            if let Some(running) = &mut account.running {
                running.adding_device = None;
            }
            reply.send(linked);
        });
    }

    /// Calls off what [`Self::add_device`] began.
    pub(super) fn cancel_add_device(&mut self) {
        // Kept until it has ended, so that no other begins meanwhile.
        if let Some(cancel) = self.running.as_mut().and_then(|running| running.adding_device.as_mut()) {
            let (spent, _) = oneshot::channel();
            // A receiver that is gone has ended.
            let _ = std::mem::replace(cancel, spent).send(());
        }
    }
}

/// What the source of an account needs.
struct Giving {
    archive: ArchiveSource,
    scheme: LinkScheme,
    pool: BlockingPool,
    share: Share,
    environment: Environment,
}

impl Giving {
    /// Gives the account over a channel, to whoever knows its password.
    async fn give(&self, channel: Channel, mut cancelled: oneshot::Receiver<()>) -> Result<(), AccountError> {
        let Channel { sender, mut receiver, .. } = channel;
        let now = || self.environment.now();
        let (mut source, _) = Source::new(now(), self.scheme);
        // The owner has typed the code that this very device shows.
        let mut actions = source.confirm();
        loop {
            for action in std::mem::take(&mut actions) {
                match action {
                    // One that cannot be sent is followed by the end of the channel.
                    SourceAction::Send(bytes) => drop(sender.send(bytes.into()).await),
                    SourceAction::OpenArchive { password } => {
                        actions = match self.open(password.to_string()).await {
                            Ok(archive) => source.opened_archive(&archive),
                            Err(AccountError::WrongPassword) => source.wrong_password(),
                            Err(error) => return Err(error),
                        };
                    }
                    SourceAction::Done => {
                        has_read(&mut receiver).await;
                        return Ok(());
                    }
                    SourceAction::Fail(error) => {
                        has_read(&mut receiver).await;
                        return Err(error.into());
                    }
                    SourceAction::AskOwner | SourceAction::Close => (),
                }
            }
            if !actions.is_empty() {
                continue;
            }
            let wait = source.deadline().map_or(LAST_WORDS, |deadline| deadline.since(now()));
            actions = tokio::select! {
                received = receiver.receive() => match received {
                    Ok(bytes) => source.received(&bytes),
                    Err(_) => source.closed(),
                },
                Ok(()) = &mut cancelled => source.cancel(),
                () = tokio::time::sleep(wait) => source.tick(now()),
            };
        }
    }

    async fn open(&self, password: String) -> Result<Archive, AccountError> {
        let (archive, is_protected) = (self.archive.clone(), self.scheme == LinkScheme::Password);
        let password = is_protected.then_some(Password(password));
        let open = move || archive.open(password.as_ref());
        Ok(self.pool.run(self.share, Lane::Bulk, open).await??.0)
    }
}

/// Waits until the new device has read what was sent: it closes the channel then.
async fn has_read(receiver: &mut ChannelReceiver) {
    let closed = async { while receiver.receive().await.is_ok() {} };
    if tokio::time::timeout(LAST_WORDS, closed).await.is_err() {
        tracing::debug!("a new device was told everything and leaves the channel open");
    }
}
