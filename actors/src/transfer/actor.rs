//! The actor: what is wanted, what is served, and who hears of it.

mod asking;
mod offering;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use skep_protocol::ids::{AccountId, CommitId, ConversationId, DeviceId, LocalAccountId};
use skep_protocol::time::Moment;
use skep_protocol::transfer::{CheckedFiles, FileId, FileRequest, OfferedFile, SendingPlaces, Wanted};
use tokio::sync::watch;

use super::disk::Place;
use super::here::Beginning;
use super::messages::{
    Answer, TransferError, TransferLimits, TransferState, TransferView, TransfersMessage, TransfersTold,
};
use super::serving::{Checking, Progress, STALL, Serving};
use super::wishes::{self, Wished};
use crate::blocking::{BlockingPool, Lane, Share};
use crate::event::{Event, NodeEvent};
use crate::peer::messages::{ChannelOffer, LinksMessage};
use crate::supervision::{Actor, Outlet, Port, Scope, TimerId};
use crate::swarm::messages::ConversationMessage;

/// Files fetched at once: they share the line, and each holds a few megabytes.
pub(super) const MAX_FETCHING: usize = 8;

/// Pause between two looks at what runs: for the owner's bars, and for senders that fall silent.
const LOOK: Duration = Duration::from_millis(500);

/// What the files of an account need to start.
#[derive(Clone, Debug)]
pub struct TransfersConfig {
    /// Local name of the account.
    pub local: LocalAccountId,
    /// Who the account is.
    pub account: AccountId,
    /// This device.
    pub device: DeviceId,
    /// Folder with one folder for each conversation.
    pub data: PathBuf,
    /// File of what is waited for.
    pub wishes_file: PathBuf,
    /// How much files may take.
    pub limits: TransferLimits,
    /// The links of the account.
    pub links: Port<LinksMessage>,
    /// Where blocking work runs.
    pub pool: BlockingPool,
    /// Whose work it is.
    pub share: Share,
    /// Where the owner's events go.
    pub events: Outlet<NodeEvent>,
    /// Where the account is told.
    pub told: Outlet<TransfersTold>,
}

/// Names a file for the whole account.
type Key = (ConversationId, FileId);

/// A conversation with files.
#[derive(Debug)]
struct Room {
    port: Port<ConversationMessage>,
    members: BTreeSet<AccountId>,
}

/// What is known of the partial file.
#[derive(Debug)]
enum Partial {
    /// It is looked at before anybody is asked; what is in it, if that is known.
    Rests(Option<Beginning>),
    /// It is being looked at.
    Reading,
    /// What is in it, and how much may come, where the offer does not say it.
    Read { here: Beginning, limit: u64 },
}

/// A transfer to this device.
#[derive(Debug)]
struct Running {
    device: DeviceId,
    /// Whether all that is here came from that device.
    is_alone: bool,
    /// Most bytes that may come, as in [`Partial::Read`].
    limit: u64,
    position: Arc<AtomicU64>,
    /// Dropped to end it.
    stop: Option<watch::Sender<()>>,
}

/// A file that the owner waits for.
#[derive(Debug)]
struct Wish {
    /// Told apart from an earlier wish for the same file.
    number: u64,
    wished: Wished,
    wanted: Wanted,
    partial: Partial,
    /// Whether it was looked at what is here of it, which is done though nobody is there to be asked.
    was_looked_at: bool,
    /// Whether what several devices sent was wrong: from then on each begins anew.
    unmixed: bool,
    running: Option<Running>,
    position: u64,
    rate: u64,
    /// When position and rate were looked at last.
    looked: Moment,
    problem: Option<String>,
}

/// A transfer from this device.
#[derive(Debug)]
struct Sent {
    key: Key,
    device: DeviceId,
    account: AccountId,
    progress: Arc<Progress>,
    began: Moment,
}

type Saved = Result<(), TransferError>;
type Waiter = Box<dyn FnOnce(&mut TransfersActor, Saved, &mut Scope<'_, TransfersActor>)>;

/// See the module.
pub struct TransfersActor {
    config: TransfersConfig,
    rooms: BTreeMap<ConversationId, Room>,
    /// Devices with a link, and whose they are.
    up: BTreeMap<DeviceId, AccountId>,
    wishes: BTreeMap<Key, Wish>,
    /// Files that were given up, while something is still done with them: how many jobs. A new wish for
    /// one waits.
    ending: BTreeMap<Key, usize>,
    next_number: u64,
    /// Where the next look for something to ask begins, so that all have their turn.
    turn: Option<Key>,
    places: SendingPlaces,
    sending: BTreeMap<u64, Sent>,
    checked: Arc<Mutex<CheckedFiles>>,
    checking: Checking,
    looking: Option<TimerId>,
    dirty: bool,
    saving: bool,
    waiting: Vec<Waiter>,
}

impl std::fmt::Debug for TransfersActor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "TransfersActor({})", self.config.local)
    }
}

impl TransfersActor {
    /// Files of an account; the wishes are read from its folder.
    #[must_use]
    pub fn new(config: TransfersConfig) -> Self {
        Self {
            config,
            rooms: BTreeMap::new(),
            up: BTreeMap::new(),
            wishes: BTreeMap::new(),
            ending: BTreeMap::new(),
            next_number: 0,
            turn: None,
            places: SendingPlaces::default(),
            sending: BTreeMap::new(),
            checked: Arc::default(),
            checking: Checking::default(),
            looking: None,
            dirty: false,
            saving: false,
            waiting: Vec::new(),
        }
    }

    fn load(&mut self, scope: &mut Scope<'_, Self>) {
        scope.hold();
        let (path, pool, share) =
            (self.config.wishes_file.clone(), self.config.pool.clone(), self.config.share);
        let load = async move { pool.run(share, Lane::Quick, move || wishes::load(&path)).await };
        scope.spawn(load, |files, loaded, scope| {
            match loaded {
                Ok(Ok(wishes)) => {
                    for wished in wishes {
                        files.insert(wished, scope);
                    }
                }
                Ok(Err(error)) => tracing::error!(%error, "the files waited for cannot be read"),
                Err(error) => tracing::error!(%error, "the files waited for cannot be read"),
            }
            files.tell(TransfersTold::Started, scope);
            scope.release();
        });
    }

    fn tell(&self, told: TransfersTold, scope: &mut Scope<'_, Self>) {
        let account = self.config.told.clone();
        scope.spawn_background(async move { account.send(told).await }, |_, _, _| ());
    }

    /// Tells the owner. An event that finds no room is lost, and counted by the mailbox.
    fn emit(&self, transfer: TransferView, scope: &Scope<'_, Self>) {
        let event =
            NodeEvent { account: self.config.local, time: scope.wall(), event: Event::Transfer { transfer } };
        if let Err(error) = self.config.events.try_send(event) {
            tracing::debug!(%error, "an event was not delivered");
        }
    }

    fn place(&self, conversation: ConversationId, file: &OfferedFile, to: Option<&PathBuf>) -> Place {
        Place {
            data: self.config.data.clone(),
            conversation,
            file: file.id.clone(),
            to: to.map(|folder| (folder.clone(), file.name.clone())),
        }
    }

    fn place_of(&self, wished: &Wished) -> Place {
        self.place(wished.conversation, &wished.file, wished.to.as_ref())
    }

    fn room(&self, conversation: ConversationId) -> Result<Port<ConversationMessage>, TransferError> {
        let room = self.rooms.get(&conversation).ok_or(TransferError::NotReady(conversation))?;
        Ok(room.port.clone())
    }

    fn insert(&mut self, wished: Wished, scope: &Scope<'_, Self>) {
        let number = self.next_number;
        self.next_number += 1;
        let key = (wished.conversation, wished.file.id.clone());
        let wish = Wish {
            number,
            wished,
            wanted: Wanted::default(),
            partial: Partial::Rests(None),
            was_looked_at: false,
            unmixed: false,
            running: None,
            position: 0,
            rate: 0,
            looked: scope.now(),
            problem: None,
        };
        self.wishes.insert(key, wish);
    }

    /// The key of the wish for a message's file.
    fn key_of(&self, conversation: ConversationId, message: CommitId) -> Option<Key> {
        let mut keys = self.wishes.keys();
        keys.find(|(room, file)| *room == conversation && file.commit() == message).cloned()
    }

    /// Writes what is waited for, and then tells `done`.
    fn save(
        &mut self,
        scope: &mut Scope<'_, Self>,
        done: impl FnOnce(&mut Self, Saved, &mut Scope<'_, Self>) + 'static,
    ) {
        self.dirty = true;
        self.waiting.push(Box::new(done));
        if !self.saving {
            self.write(scope);
        }
    }

    fn write(&mut self, scope: &mut Scope<'_, Self>) {
        self.saving = true;
        self.dirty = false;
        let waiting = std::mem::take(&mut self.waiting);
        let wishes: Vec<Wished> = self.wishes.values().map(|wish| wish.wished.clone()).collect();
        let (path, pool, share) =
            (self.config.wishes_file.clone(), self.config.pool.clone(), self.config.share);
        let write = async move {
            let write = move || wishes::save(&path, &wishes);
            Ok(pool.run(share, Lane::Quick, write).await??)
        };
        scope.spawn(write, |files, written: Result<(), TransferError>, scope| {
            for done in waiting {
                done(files, written.clone(), scope);
            }
            files.saving = false;
            if files.dirty {
                files.write(scope);
            }
        });
    }

    /// The owner does not want a file any more.
    fn cancel(
        &mut self,
        conversation: ConversationId,
        message: CommitId,
        reply: Answer<()>,
        scope: &mut Scope<'_, Self>,
    ) {
        match self.key_of(conversation, message) {
            Some(key) => {
                self.give_up(&key, scope);
                self.save(scope, |_, saved, _| reply.send(saved));
            }
            None => reply.send(Err(TransferError::NoTransfer(message))),
        }
        self.drive(scope);
    }

    /// Ends a wish, and removes what came. The caller writes the rest.
    fn give_up(&mut self, key: &Key, scope: &mut Scope<'_, Self>) {
        let Some(wish) = self.wishes.remove(key) else { return };
        let place = self.place_of(&wish.wished);
        let (pool, share) = (self.config.pool.clone(), self.config.share);
        let view = wish.view(TransferState::Cancelled, None);
        let jobs = 1 + usize::from(wish.running.is_some());
        *self.ending.entry(key.clone()).or_default() += jobs;
        // Its channel closes with it.
        drop(wish);
        self.emit(view, scope);
        let discard = async move { pool.run(share, Lane::Files, move || place.discard()).await };
        let key = key.clone();
        scope.spawn(discard, move |files, discarded, scope| {
            if let Ok(Err(error)) = discarded {
                tracing::warn!(%error, "a partial file is still there");
            }
            files.has_ended(&key, scope);
        });
    }

    /// A job of a file that was given up has ended.
    fn has_ended(&mut self, key: &Key, scope: &mut Scope<'_, Self>) {
        if let Some(jobs) = self.ending.get_mut(key) {
            *jobs = jobs.saturating_sub(1);
            if *jobs == 0 {
                self.ending.remove(key);
                self.drive(scope);
            }
        }
    }

    fn serve(&mut self, offer: ChannelOffer, request: FileRequest, scope: &mut Scope<'_, Self>) {
        let (device, account) = (offer.device, offer.account);
        let Ok(room) = self.room(request.conversation) else { return };
        let is_own = request.is_from(self.config.device);
        if is_own || !self.places.take(account) {
            if !is_own {
                self.end_slowest(account, scope.now());
            }
            tracing::debug!(device = %device.short(), "a request for a file was declined");
            return;
        }
        let number = self.next_number;
        self.next_number += 1;
        let progress = Arc::new(Progress::default());
        let key = (request.conversation, request.file.clone());
        let sent =
            Sent { key: key.clone(), device, account, progress: Arc::clone(&progress), began: scope.now() };
        self.sending.insert(number, sent);
        let place =
            Place { data: self.config.data.clone(), conversation: key.0, file: key.1.clone(), to: None };
        let serving = Serving {
            offer,
            request,
            room,
            place,
            checked: Arc::clone(&self.checked),
            checking: self.checking.clone(),
            pool: self.config.pool.clone(),
            share: self.config.share,
            progress,
        };
        scope.spawn_background(serving.run(), move |files, served, _| {
            files.places.free(account);
            files.sending.remove(&number);
            if let Err(error) = served {
                tracing::debug!(device = %device.short(), file = %key.1, %error, "a file was not served");
            }
        });
    }

    fn link(&mut self, device: DeviceId, account: AccountId, up: bool, scope: &mut Scope<'_, Self>) {
        if !up {
            self.up.remove(&device);
            return;
        }
        self.up.insert(device, account);
        let rooms = &self.rooms;
        for ((conversation, _), wish) in &mut self.wishes {
            if rooms.get(conversation).is_some_and(|room| room.members.contains(&account)) {
                wish.wanted.reachable(device);
            }
        }
        self.drive(scope);
    }

    fn room_is_here(
        &mut self,
        conversation: ConversationId,
        port: Port<ConversationMessage>,
        members: BTreeSet<AccountId>,
        scope: &mut Scope<'_, Self>,
    ) {
        if let Some(room) = self.rooms.get_mut(&conversation).filter(|room| room.members == members) {
            room.port = port;
            return;
        }
        let others: Vec<DeviceId> = self
            .up
            .iter()
            .filter(|(_, account)| !members.contains(account))
            .map(|(device, _)| *device)
            .collect();
        self.stop_sending(conversation, |account| !members.contains(account));
        self.rooms.insert(conversation, Room { port, members });
        let keys: Vec<Key> = self.wishes.keys().filter(|key| key.0 == conversation).cloned().collect();
        for key in keys {
            if let Some(wish) = self.wishes.get_mut(&key) {
                others.iter().for_each(|device| wish.wanted.forget(*device));
            }
            self.introduce(&key);
        }
        self.drive(scope);
    }

    /// Somebody found no place: when others take more of them, the slowest of who takes most is ended.
    fn end_slowest(&self, account: AccountId, now: Moment) {
        let mut taken: BTreeMap<AccountId, usize> = BTreeMap::new();
        self.sending.values().for_each(|sent| *taken.entry(sent.account).or_default() += 1);
        let own = taken.get(&account).copied().unwrap_or(0);
        let Some((most, count)) = taken.into_iter().max_by_key(|(_, count)| *count) else { return };
        let is_old = |sent: &&Sent| sent.account == most && now.since(sent.began) >= STALL;
        if count > own + 1
            && let Some(slowest) = self.sending.values().filter(is_old).min_by_key(|sent| sent.rate(now))
        {
            slowest.progress.stop();
        }
    }

    /// Ends what is sent of a conversation to some people.
    fn stop_sending(&self, conversation: ConversationId, whom: impl Fn(&AccountId) -> bool) {
        let sent = self.sending.values().filter(|sent| sent.key.0 == conversation && whom(&sent.account));
        sent.for_each(|sent| sent.progress.stop());
    }

    fn room_is_gone(&mut self, conversation: ConversationId, scope: &mut Scope<'_, Self>) {
        self.rooms.remove(&conversation);
        self.stop_sending(conversation, |_| true);
        let keys: Vec<Key> = self.wishes.keys().filter(|key| key.0 == conversation).cloned().collect();
        if keys.is_empty() {
            return;
        }
        for key in keys {
            self.give_up(&key, scope);
        }
        self.save(scope, |_, _, _| ());
        self.drive(scope);
    }
}

impl Actor for TransfersActor {
    type Message = TransfersMessage;
    const KIND: &'static str = "transfers";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        self.load(scope);
    }

    fn alarm(&mut self, scope: &mut Scope<'_, Self>) {
        self.drive(scope);
    }

    fn handle(&mut self, message: TransfersMessage, scope: &mut Scope<'_, Self>) {
        match message {
            TransfersMessage::Offer { conversation, path, reply_to, reply } => {
                self.offer(conversation, path, reply_to, reply, scope);
            }
            TransfersMessage::Fetch { conversation, message, to, reply } => {
                self.fetch(conversation, message, to, reply, scope);
            }
            TransfersMessage::Cancel { conversation, message, reply } => {
                self.cancel(conversation, message, reply, scope);
            }
            TransfersMessage::Remove { conversation, message, reply } => {
                self.remove(conversation, message, reply, scope);
            }
            TransfersMessage::List(reply) => reply.send(self.list(scope)),
            TransfersMessage::Serve(offer, request) => self.serve(offer, request, scope),
            TransfersMessage::Room { conversation, port, members } => {
                self.room_is_here(conversation, port, members, scope);
            }
            TransfersMessage::RoomGone(conversation) => self.room_is_gone(conversation, scope),
            TransfersMessage::Link { device, account, up } => self.link(device, account, up, scope),
        }
    }
}
