//! The conversation actor: one copy of a swarm, kept up to date with those of other devices.
//!
//! ```text
//!   send ──► batch ──► pool: sign, write, move the head ──► durable: answer
//!                                                      └──► event, announcement to the links
//!   announced ──► git channel (kept open) ──► pool: pack, validate, merge ──► event, announcement
//! ```
//!
//! At most one fetch runs for each device; what is announced meanwhile is looked at once more after
//! it. History that was refused is remembered by its head and not fetched again.

mod announcing;
mod changing;
mod cloning;
mod fetching;
pub(super) mod leaving;
mod markers;
mod overlay;
mod recent;
mod serving;
mod settling;
mod syncing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use skep_protocol::identity::DeviceIdentity;
use skep_protocol::ids::{AccountId, CommitId, ConversationId, DeviceId, LocalAccountId};
use skep_protocol::sync::MarkerKind;
use tokio::sync::watch;

use self::announcing::{AnnouncingState, Source};
use self::changing::Refusals;
use self::cloning::{CloneState, FIRST_CLONE_PAUSE};
use self::fetching::{Failing, FetchState, Standby};
use self::markers::Markers;
use self::recent::Recent;
use self::serving::Serving;
use super::damage::set_aside;
use super::founder::Founder;
use super::messages::{
    ConversationError, ConversationMessage, ConversationTold, ConversationView, LinkState, MAX_PAGE,
    OfferedIn, Outgoing,
};
use super::preferences::Preferences;
use super::replica::{Moved, Replica, ReplicaError, Sent};
use super::repository::Consolidation;
use super::router::messages::RouterMessage;
use super::standing::{Standing, describe};
use super::timeline::Change;
use crate::account::messages::AccountSettings;
use crate::blocking::{BlockingPool, Lane, Share};
use crate::directory::messages::DirectoryMessage;
use crate::event::{Event, NodeEvent};
use crate::peer::messages::{Channel, LinksMessage};
use crate::supervision::{Actor, Outlet, Port, Reply, Scope, TimerId};

/// Messages written with one move of the head; a signature each makes this a sixth of a second.
const MAX_BATCH: usize = 64;

/// Messages that wait to be written; more are refused.
const MAX_WAITING: usize = 1024;

/// Pause after the last change before loose objects are packed.
const CONSOLIDATE: Duration = Duration::from_secs(30);

/// How long history that was read is kept in memory after the last look: longer than between two
/// pages that somebody leafs through.
const KEEP_READ: Duration = Duration::from_secs(60);

/// Commits that are kept in memory all the same: two megabytes of a conversation that is open.
const KEEP_COMMITS: usize = 4096;

/// First pause before joining is tried again: what hinders it is the disk, or a busy machine.
const FIRST_JOIN_PAUSE: Duration = Duration::from_secs(5);

/// Longest such pause; until it works we can neither write nor be seen.
const LONGEST_JOIN_PAUSE: Duration = Duration::from_secs(600);

/// What a conversation needs to start.
#[derive(Clone, Debug)]
pub struct ConversationConfig {
    /// Which conversation.
    pub id: ConversationId,
    /// Local name of the account.
    pub local: LocalAccountId,
    /// Folder of its repository.
    pub folder: PathBuf,
    /// File of what its members have fetched and read.
    pub status_file: PathBuf,
    /// File of what the owner prefers.
    pub preferences_file: PathBuf,
    /// File of the mobile devices that the overlay remembers.
    pub mobiles_file: PathBuf,
    /// Our device.
    pub identity: Arc<DeviceIdentity>,
    /// The account's display name.
    pub name: watch::Receiver<String>,
    /// The links of the account.
    pub links: Port<LinksMessage>,
    /// Where certificates are found.
    pub directory: Port<DirectoryMessage>,
    /// What others may be told of the owner.
    pub settings: watch::Receiver<AccountSettings>,
    /// Where blocking work runs.
    pub pool: BlockingPool,
    /// Whose work it is.
    pub share: Share,
    /// Where the owner's events go.
    pub events: Outlet<NodeEvent>,
    /// Where the account is told.
    pub account: Outlet<ConversationTold>,
}

type SendReply = Reply<Result<CommitId, ConversationError>>;

/// See the module.
pub struct ConversationActor {
    config: ConversationConfig,
    replica: Option<Arc<Replica>>,
    /// Whether there is no copy here, as far as was looked: one that could not be opened may be there.
    absent: bool,
    standing: Option<Standing>,
    /// Which change of the head that is of; none as long as it is as it was opened.
    turn: u64,
    recent: Recent,
    waiting: VecDeque<(Outgoing, SendReply)>,
    writing: bool,
    fetches: BTreeMap<DeviceId, FetchState>,
    standby: Standby,
    /// Devices from which fetching failed.
    failed_fetches: BTreeMap<DeviceId, Failing>,
    /// Git channels to other devices, open between fetches.
    channels: BTreeMap<DeviceId, Channel>,
    refused: VecDeque<CommitId>,
    /// Channels that are served, numbered.
    served: BTreeMap<u64, Serving>,
    next_served: u64,
    refusals: Refusals,
    preferences: Arc<Preferences>,
    announcing: AnnouncingState,
    /// The overlay, while the conversation is here.
    router: Option<Port<RouterMessage>>,
    /// Whether it has begun once.
    router_began: bool,
    /// Whether the router is shown everything again soon, because it missed something.
    showing_router: bool,
    /// Members' devices with a link, whose they are, and how they are spoken to.
    linked: BTreeMap<DeviceId, (AccountId, LinkState)>,
    /// Daemons of 2023 that may have merged since we did, and when they are looked at, if they have fetched.
    unsettled: BTreeMap<DeviceId, Option<TimerId>>,
    /// Daemons of 2023 whose links are new, and when they are looked at next.
    newly_linked: BTreeMap<DeviceId, TimerId>,
    clone: CloneState,
    consolidating: bool,
    /// Whether we have left, and are only here until somebody knows.
    leaving: bool,
    /// Who has fetched that we have left.
    know_of_leave: BTreeSet<AccountId>,
    markers: Markers,
    /// The timer after which history that nobody reads is let go.
    reading: Option<TimerId>,
}

impl std::fmt::Debug for ConversationActor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ConversationActor({})", self.config.id)
    }
}

impl ConversationActor {
    /// A conversation that opens its repository, or has to be cloned if there is none.
    #[must_use]
    pub fn new(config: ConversationConfig) -> Self {
        Self {
            markers: Markers::new(config.status_file.clone()),
            preferences: Arc::new(Preferences::new(config.preferences_file.clone())),
            config,
            replica: None,
            absent: false,
            standing: None,
            turn: 0,
            recent: Recent::default(),
            waiting: VecDeque::new(),
            writing: false,
            fetches: BTreeMap::new(),
            standby: Standby::default(),
            failed_fetches: BTreeMap::new(),
            channels: BTreeMap::new(),
            refused: VecDeque::new(),
            served: BTreeMap::new(),
            next_served: 0,
            refusals: Refusals::default(),
            announcing: AnnouncingState::default(),
            router: None,
            router_began: false,
            showing_router: false,
            linked: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            newly_linked: BTreeMap::new(),
            clone: CloneState::default(),
            consolidating: false,
            leaving: false,
            know_of_leave: BTreeSet::new(),
            reading: None,
        }
    }

    fn founder(&self, scope: &Scope<'_, Self>) -> Founder {
        Founder {
            identity: Arc::clone(&self.config.identity),
            name: self.config.name.borrow().clone(),
            now: scope.wall(),
        }
    }

    /// Tells the owner, in the order of the events. Events that find no room are lost, and counted by
    /// the mailbox.
    fn emit(&self, events: Vec<Event>, scope: &mut Scope<'_, Self>) {
        let (account, time) = (self.config.local, scope.wall());
        let sent =
            events.into_iter().map(|event| self.config.events.try_send(NodeEvent { account, time, event }));
        let failed: Vec<_> = sent.filter_map(Result::err).collect();
        if let Some(error) = failed.first() {
            tracing::warn!(%error, count = failed.len(), "events were not delivered");
        }
    }

    fn tell(&self, told: ConversationTold, scope: &mut Scope<'_, Self>) {
        let account = self.config.account.clone();
        scope.spawn(async move { account.send(told).await }, |_, _, _| ());
    }

    fn open(&mut self, scope: &mut Scope<'_, Self>) {
        scope.hold();
        let (id, folder, founder) = (self.config.id, self.config.folder.clone(), self.founder(scope));
        let (pool, share) = (self.config.pool.clone(), self.config.share);
        let open =
            async move { pool.run(share, Lane::Quick, move || Replica::open(id, &folder, &founder)).await };
        scope.spawn(open, |conversation, opened, scope| {
            match opened {
                Ok(Ok(Some((replica, standing)))) => conversation.ready(replica, standing, false, scope),
                Ok(Ok(None)) => conversation.wanted(scope),
                Ok(Err(error)) if error.is_damage() => conversation.damaged(&error, scope),
                Ok(Err(error)) => conversation.open_later(&error, scope),
                Err(error) => conversation.open_later(&error, scope),
            }
            scope.release();
        });
    }

    /// There is no copy here.
    fn wanted(&mut self, scope: &mut Scope<'_, Self>) {
        self.absent = true;
        self.tell(ConversationTold::Wanted, scope);
    }

    fn open_later(&mut self, error: &dyn std::error::Error, scope: &mut Scope<'_, Self>) {
        self.clone.problem = Some(format!("{error}; it is opened again"));
        tracing::error!(conversation = %self.config.id, %error, "a conversation is opened again later");
        scope.after(FIRST_CLONE_PAUSE, Self::open);
    }

    /// The repository cannot be used: it is kept aside, and the conversation fetched anew.
    fn damaged(&mut self, error: &ReplicaError, scope: &mut Scope<'_, Self>) {
        let conversation = self.config.id;
        tracing::error!(%conversation, %error, "a conversation is damaged; it is set aside and fetched anew");
        let reason = format!("{error}; the repository was set aside and is fetched anew");
        self.failed(reason, scope);
        let folder = self.config.folder.clone();
        let (pool, share) = (self.config.pool.clone(), self.config.share);
        let set_aside = async move {
            let work = move || set_aside(&folder).map_err(|source| ReplicaError::Io { path: folder, source });
            pool.run(share, Lane::Quick, work).await
        };
        scope.spawn(set_aside, |conversation, done, scope| match done {
            Ok(Ok(())) => conversation.wanted(scope),
            Ok(Err(error)) => conversation.open_later(&error, scope),
            Err(error) => conversation.open_later(&error, scope),
        });
    }

    fn ready(
        &mut self,
        replica: Arc<Replica>,
        standing: Standing,
        cloned: bool,
        scope: &mut Scope<'_, Self>,
    ) {
        self.replica = Some(replica);
        self.absent = false;
        self.clone = CloneState::default();
        self.tell_standing(&standing, true, scope);
        self.standing = Some(standing);
        (self.turn, self.recent) = (0, Recent::default());
        self.start_router(scope);
        if cloned {
            self.emit(vec![Event::ConversationReady { conversation: self.config.id }], scope);
        }
        self.review_markers(|_| true, scope);
        self.remind_after_start(scope);
        self.join(FIRST_JOIN_PAUSE, scope);
    }

    fn tell_standing(&self, standing: &Standing, opened: bool, scope: &mut Scope<'_, Self>) {
        let told = ConversationTold::Ready {
            members: standing.people(),
            joined: standing.joined(),
            invited: standing.invited(),
            mode: standing.mode.number(),
            metadata: standing.metadata(),
            opened,
        };
        self.tell(told, scope);
    }

    /// Runs a job over the copy on the pool; nothing if there is none.
    fn with_replica<T: Send + 'static>(
        &self,
        lane: Lane,
        scope: &mut Scope<'_, Self>,
        job: impl FnOnce(&Replica) -> T + Send + 'static,
        then: impl FnOnce(&mut Self, Result<T, ConversationError>, &mut Scope<'_, Self>) + 'static,
    ) {
        let (replica, pool, share) = (self.replica.clone(), self.config.pool.clone(), self.config.share);
        let run = async move {
            let replica = replica.ok_or(ConversationError::NotReady)?;
            Ok(pool.run(share, lane, move || job(&replica)).await?)
        };
        scope.spawn(run, then);
    }

    /// Joins, if we are here without having joined. Tried again after `pause` if the disk is full.
    fn join(&mut self, pause: Duration, scope: &mut Scope<'_, Self>) {
        let now = scope.wall();
        self.with_replica(
            Lane::Quick,
            scope,
            move |replica| replica.join(now),
            move |conversation, joined, scope| match joined {
                Ok(Ok(Some(moved))) => conversation.moved(moved, None, scope),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => conversation.join_later(pause, &error, scope),
                Err(error) => conversation.join_later(pause, &error, scope),
            },
        );
    }

    fn join_later(&self, pause: Duration, error: &dyn std::error::Error, scope: &mut Scope<'_, Self>) {
        let next = pause.saturating_mul(2).min(LONGEST_JOIN_PAUSE);
        tracing::error!(conversation = %self.config.id, %error, ?pause, "a conversation could not be joined; it is tried again");
        scope.after(pause, move |conversation, scope| {
            if !conversation.leaving {
                conversation.join(next, scope);
            }
        });
    }

    /// The head has moved: tells the owner, the account and the other devices.
    fn moved(&mut self, moved: Moved, source: Option<Source>, scope: &mut Scope<'_, Self>) {
        let Moved { turn, standing, changes, untold, new, gave_up, .. } = moved;
        let conversation = self.config.id;
        let mut events = Vec::new();
        if untold > 0 {
            events.push(Event::Missed { count: u64::try_from(untold).unwrap_or(u64::MAX) });
        }
        events.extend(changes.into_iter().map(|change| match change {
            Change::New(message) => Event::Message { conversation, message },
            Change::Changed(message) => Event::MessageChanged { conversation, message },
        }));
        // Two jobs may end in one order and be heard of in the other: the newer standing says it all.
        let is_newer = turn > self.turn;
        if gave_up {
            self.recent.clear();
        }
        if is_newer {
            self.turn = turn;
            self.recent.add(&new, standing.head);
            events.extend(self.stand(standing, scope));
        }
        self.review_markers(|commit| new.contains(commit), scope);
        if is_newer {
            self.announce(source, scope);
        }
        self.emit(events, scope);
        self.consolidate_later(scope);
    }

    /// Takes over who the members are, and the rest of what the head says; what changed by it.
    fn stand(&mut self, standing: Standing, scope: &mut Scope<'_, Self>) -> Vec<Event> {
        let before = self.standing.replace(standing.clone());
        let changes = self.changes_since(before.as_ref());
        if !changes.is_empty() {
            self.tell_standing(&standing, false, scope);
        }
        if let Some(before) = before {
            if before.members != standing.members {
                self.show_router(scope);
            }
            self.part(&before, scope);
        }
        changes
    }

    fn send(&mut self, message: Outgoing, reply: SendReply, scope: &mut Scope<'_, Self>) {
        if self.replica.is_none() {
            return reply.send(Err(ConversationError::NotReady));
        }
        if self.waiting.len() >= MAX_WAITING {
            return reply.send(Err(ConversationError::Busy(crate::blocking::PoolError::Full)));
        }
        self.waiting.push_back((message, reply));
        if !self.writing {
            self.write(scope);
        }
    }

    /// Writes what waits, as one batch; what comes meanwhile is the next.
    fn write(&mut self, scope: &mut Scope<'_, Self>) {
        let count = self.waiting.len().min(MAX_BATCH);
        if count == 0 {
            return;
        }
        self.writing = true;
        let (batch, replies): (Vec<_>, Vec<_>) = self.waiting.drain(..count).unzip();
        let now = scope.wall();
        self.with_replica(
            Lane::Quick,
            scope,
            move |replica| replica.send(&batch, now),
            |conversation, written, scope| {
                conversation.writing = false;
                match written {
                    Ok((answers, moved)) => {
                        for (reply, answer) in replies.into_iter().zip(answers) {
                            reply.send(answer.map(|Sent { id }| id));
                        }
                        if let Some(moved) = moved {
                            conversation.moved(moved, None, scope);
                        }
                    }
                    Err(error) => replies.into_iter().for_each(|reply| reply.send(Err(error.clone()))),
                }
                conversation.write(scope);
            },
        );
    }

    /// Tells the owner, and keeps the reason for whoever asks later.
    fn failed(&mut self, reason: String, scope: &mut Scope<'_, Self>) {
        self.clone.problem = Some(reason.clone());
        self.emit(vec![Event::ConversationFailed { conversation: self.config.id, reason }], scope);
    }

    /// Somebody reads: lets old history go when nobody has for a while.
    fn read(&mut self, scope: &mut Scope<'_, Self>) {
        if let Some(timer) = self.reading.take() {
            scope.cancel(timer);
        }
        let timer = scope.after(KEEP_READ, |conversation, scope| {
            conversation.reading = None;
            let release = |replica: &Replica| replica.release_history(KEEP_COMMITS);
            conversation.with_replica(Lane::Quick, scope, release, |_, _, _| ());
        });
        self.reading = Some(timer);
    }

    fn consolidate_later(&mut self, scope: &mut Scope<'_, Self>) {
        if std::mem::replace(&mut self.consolidating, true) {
            return;
        }
        scope.after(CONSOLIDATE, |conversation, scope| {
            conversation.with_replica(Lane::Bulk, scope, Replica::consolidate, |conversation, packed, scope| {
                conversation.consolidating = false;
                match packed {
                    Ok(Ok(Consolidation::Viewed)) => conversation.consolidate_later(scope),
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "loose objects could not be packed; they are tried again later");
                    }
                    _ => {}
                }
            });
        });
    }

    /// Says what file a message offers, to its owner or to a member that wants it.
    fn file(
        &self,
        message: CommitId,
        asker: Option<(AccountId, DeviceId)>,
        reply: Reply<Result<OfferedIn, ConversationError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let has_joined = |(account, device)| {
            self.may_exchange(account, device)
                && self.standing.as_ref().is_some_and(|standing| standing.joined().contains(&account))
        };
        if asker.is_some_and(|asker| !has_joined(asker)) {
            return reply.send(Err(ConversationError::NotMember));
        }
        let read = move |replica: &Replica| replica.file(message);
        self.with_replica(Lane::Quick, scope, read, |_, file, _| reply.send(file.and_then(|it| it)));
    }

    /// Runs a job over the preferences on the pool, and answers with what it says.
    fn with_preferences<T: Send + 'static>(
        &self,
        scope: &mut Scope<'_, Self>,
        job: impl FnOnce(&Preferences) -> Result<T, ConversationError> + Send + 'static,
        reply: Reply<Result<T, ConversationError>>,
    ) {
        let (preferences, pool, share) =
            (Arc::clone(&self.preferences), self.config.pool.clone(), self.config.share);
        let run = async move { pool.run(share, Lane::Quick, move || job(&preferences)).await };
        scope.spawn(run, |_, done, _| reply.send(done.unwrap_or_else(|error| Err(error.into()))));
    }

    /// Ends here if there is nothing but the first commit, and nothing of ours on its way. That the other
    /// one is asked for news, which it may never answer, keeps nothing.
    fn close_unused(&mut self, reply: Reply<bool>) {
        // The id of a conversation is that of its first commit.
        let is_unused = self.standing.as_ref().is_some_and(|standing| standing.head.0 == self.config.id.0)
            && self.waiting.is_empty()
            && !self.writing;
        // Whoever asked and does not hear of it goes on with this conversation.
        if reply.deliver(is_unused) && is_unused {
            self.leaving = true;
            self.replica = None;
        }
    }

    fn state(&self) -> &'static str {
        if self.replica.is_some() { "ready" } else { "fetching" }
    }
}

impl Actor for ConversationActor {
    type Message = ConversationMessage;
    const KIND: &'static str = "conversation";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        self.load_markers(scope);
        self.open(scope);
    }

    fn alarm(&mut self, scope: &mut Scope<'_, Self>) {
        self.end_typing(scope);
    }

    fn child_failed(&mut self, _: &str, scope: &mut Scope<'_, Self>) {
        tracing::error!(conversation = %self.config.id, "the overlay failed too often; all members are told directly");
        self.overlay_failed(scope);
    }

    fn handle(&mut self, message: ConversationMessage, scope: &mut Scope<'_, Self>) {
        if let Some(replica) = &self.replica {
            replica.rename(&self.config.name.borrow());
        }
        match message {
            ConversationMessage::Send { message, reply } => self.send(message, reply, scope),
            ConversationMessage::Messages { before, limit, reply } => {
                self.read(scope);
                let read = move |replica: &Replica| replica.page(before, limit.clamp(1, MAX_PAGE));
                self.with_replica(Lane::Quick, scope, read, |_, page, _| reply.send(flatten(page)));
            }
            ConversationMessage::Search { text, limit, reply } => {
                self.read(scope);
                let read = move |replica: &Replica| replica.search(&text, limit.clamp(1, MAX_PAGE));
                self.with_replica(Lane::Bulk, scope, read, |_, found, _| reply.send(flatten(found)));
            }
            ConversationMessage::Log { limit, reply } => {
                self.read(scope);
                let read = move |replica: &Replica| replica.log(limit);
                self.with_replica(Lane::Bulk, scope, read, |_, log, _| reply.send(flatten(log)));
            }
            ConversationMessage::File { message, asker, reply } => self.file(message, asker, reply, scope),
            ConversationMessage::Export { path, reply } => {
                let export = move |replica: &Replica| replica.export(&path);
                self.with_replica(Lane::Bulk, scope, export, |_, done, _| reply.send(done.and_then(|it| it)));
            }
            ConversationMessage::Describe(reply) => {
                let problem = self.clone.problem.clone();
                let status = &self.markers.status;
                let mut linked = BTreeMap::new();
                for (account, _) in self.linked.values() {
                    *linked.entry(*account).or_insert(0) += 1;
                }
                let (standing, state) = (self.standing.as_ref(), self.state());
                let view = describe(self.config.id, standing, status, &linked, state, problem);
                reply.send(ConversationView { refusals: self.refusals.list(), ..view });
            }
            ConversationMessage::Change { change, reply } => self.change(change, reply, scope),
            ConversationMessage::Profile(reply) => reply.send(self.profile()),
            ConversationMessage::Preferences(reply) => {
                self.with_preferences(scope, |preferences| preferences.read(), reply);
            }
            ConversationMessage::Prefer { values, reply } => self.prefer(values, reply, scope),
            ConversationMessage::Details(reply) => self.details(reply, scope),
            ConversationMessage::PreferencesTold(told) => self.preferences_told(told, scope),
            ConversationMessage::StatusTold(members) => self.status_told(members, scope),
            ConversationMessage::Leave(reply) => self.leave(reply, scope),
            ConversationMessage::CloseUnused(reply) => self.close_unused(reply),
            ConversationMessage::Announced { device, account, commit } => {
                self.announced(device, account, commit, scope);
            }
            ConversationMessage::Clone { devices } => self.clone_from(&devices, scope),
            ConversationMessage::Invited => self.invited(scope),
            ConversationMessage::Serve(offer) => self.serve(offer, scope),
            ConversationMessage::Link { device, account, state } => self.link(device, account, state, scope),
            ConversationMessage::NetworkChanged => drop(self.tell_router(RouterMessage::NetworkChanged)),
            ConversationMessage::OfferOverlay(offer) => self.offered_overlay(offer),
            ConversationMessage::Router(told) => self.router_told(told, scope),
            ConversationMessage::Routes(reply) => self.routes(reply, scope),
            ConversationMessage::Served { account, device, served } => {
                self.has_copy(account);
                self.heard_marker(account, MarkerKind::Fetched, served.commit(), scope);
                self.settle(account, scope);
                self.served(account, device, served, scope);
            }
            ConversationMessage::MarkRead { message, reply } => self.mark_read(message, reply, scope),
            ConversationMessage::ReadBy { member, commit } => self.heard_read(member, commit, scope),
            ConversationMessage::Type { active, reply } => reply.send(self.type_on(active)),
            ConversationMessage::TypedBy { member, active } => self.heard_typing(member, active, scope),
        }
    }
}

/// What notices about a conversation are told apart by while they wait for a link.
pub(super) fn topic(conversation: ConversationId) -> u64 {
    conversation.0.iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte))
}

fn flatten<T>(result: Result<Result<T, ReplicaError>, ConversationError>) -> Result<T, ConversationError> {
    result.and_then(|inner| inner.map_err(|error| ConversationError::Storage(error.to_string())))
}
