//! The actor: the owner's profile and how it changes, and what others send.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use skep_protocol::ids::{AccountId, ConversationId, DeviceId, LocalAccountId};
use skep_protocol::profile::{
    Announced, Distribution, MAX_PROFILE, OwnChange, ProfileDigest, ProfilePace, ProfilePath, ReceptionError,
    Transfer, kept_time, takes_over,
};
use skep_protocol::sync::FileTime;
use skep_protocol::time::UnixMillis;

use super::channels::{self, ChannelError, Incoming, Reception};
use super::messages::{
    CROWDED, KEPT_AT_REST, MAX_KEPT_PROFILES, MAX_NAME, PersonView, PictureChange, ProfileError,
    ProfilesMessage, ProfilesTold,
};
use super::outgoing::{Reached, load_sent};
use super::picture::{self, MAX_PHOTO, PictureError};
use super::store::{self, Own};
use crate::blocking::{BlockingPool, Lane, Share};
use crate::event::{Event, NodeEvent};
use crate::peer::messages::{ChannelOffer, LinkError, LinksMessage};
use crate::storage;
use crate::supervision::{Actor, Outlet, Port, Reply, Scope};

/// Changes of the owner's profile that wait while one is being written.
const MAX_CHANGES: usize = 16;

/// Profiles given to others at once.
const MAX_GIVING: usize = 16;

/// Of them, those given to one other account: nobody can take all places and read slowly. Devices of our own account
/// are not held to it; what they are declined they do not ask for again.
const MAX_GIVING_EACH: usize = 2;

/// Hints that wait until nothing else comes of that person, or there is a place. A hint has 64 kB at most.
const MAX_HINTS: usize = 16;

/// People whose profiles a device of ours is asked for, over one link.
const MAX_ASKED: usize = 256;

/// Pause before the profiles are loaded again after they could not be read.
const RELOAD: Duration = Duration::from_secs(10);

/// What the profiles of an account need to start.
#[derive(Clone, Debug)]
pub struct ProfilesConfig {
    /// Local name of the account.
    pub local: LocalAccountId,
    /// Who the account is.
    pub account: AccountId,
    /// This device.
    pub device: DeviceId,
    /// The account's folder.
    pub folder: PathBuf,
    /// The links of the account.
    pub links: Port<LinksMessage>,
    /// Where blocking work runs.
    pub pool: BlockingPool,
    /// Whose work it is.
    pub share: Share,
    /// Where the owner's events go.
    pub events: Outlet<NodeEvent>,
    /// Where the account is told.
    pub told: Outlet<ProfilesTold>,
}

/// A change of the owner's profile.
enum Change {
    /// The owner's.
    Set { name: Option<String>, picture: PictureChange, reply: Reply<Result<(), ProfileError>> },
    /// What another device of the account has.
    Adopt { file: Vec<u8>, modified: Option<FileTime>, from: DeviceId },
}

/// See the module.
pub struct ProfilesActor {
    pub(super) config: ProfilesConfig,
    pub(super) own: Option<Own>,
    pub(super) distribution: Distribution,
    /// Devices with a link.
    pub(super) reached: BTreeMap<DeviceId, Reached>,
    pub(super) next_number: u64,
    /// Whether who has the profile is about to be written, and whether it is being written.
    pub(super) noting: bool,
    pub(super) writing: bool,
    changes: VecDeque<Change>,
    changing: bool,
    /// Whose profiles are kept.
    kept: BTreeSet<AccountId>,
    /// Those whose files are being removed. Nothing of them is taken meanwhile.
    dropping: BTreeSet<AccountId>,
    incoming: Incoming,
    pace: ProfilePace,
    /// Profiles that are being given, to devices of which account.
    giving: BTreeMap<AccountId, usize>,
    /// Hints that wait.
    hints: BTreeMap<AccountId, Vec<u8>>,
    /// Of whom which device of ours was asked, with success or not.
    asked: BTreeSet<(DeviceId, AccountId)>,
}

impl std::fmt::Debug for ProfilesActor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ProfilesActor({})", self.config.local)
    }
}

impl ProfilesActor {
    /// Profiles of an account; they are read from its folder.
    #[must_use]
    pub fn new(config: ProfilesConfig) -> Self {
        Self {
            config,
            own: None,
            distribution: Distribution::default(),
            reached: BTreeMap::new(),
            next_number: 0,
            noting: false,
            writing: false,
            changes: VecDeque::new(),
            changing: false,
            kept: BTreeSet::new(),
            dropping: BTreeSet::new(),
            incoming: Incoming::default(),
            pace: ProfilePace::default(),
            giving: BTreeMap::new(),
            hints: BTreeMap::new(),
            asked: BTreeSet::new(),
        }
    }

    fn load(&mut self, scope: &mut Scope<'_, Self>) {
        let (folder, pool, share) = (self.config.folder.clone(), self.config.pool.clone(), self.config.share);
        let now = scope.wall();
        let load = async move {
            let read = move || {
                let own = store::load_own(&folder, "")?.map(|own| own.believed(&folder, now)).transpose()?;
                Ok((own, load_sent(&folder), store::load_names(&folder)?))
            };
            pool.run(share, Lane::Quick, read).await?
        };
        scope.spawn(load, |profiles, loaded: Result<_, ProfileError>, scope| match loaded {
            Ok((own, sent, names)) => {
                profiles.own = own;
                profiles.distribution = sent;
                profiles.kept = names.keys().copied().collect();
                profiles.edition_changed(scope);
                profiles.tell(ProfilesTold::Started(names), scope);
                profiles.look_for_room(scope);
                scope.release();
            }
            Err(error) => {
                tracing::error!(account = %profiles.config.local, %error, "profiles cannot be read");
                scope.after(RELOAD, Self::load);
            }
        });
    }

    fn tell(&self, told: ProfilesTold, scope: &mut Scope<'_, Self>) {
        let account = self.config.told.clone();
        scope.spawn_background(async move { account.send(told).await }, |_, _, _| ());
    }

    /// Tells the owner. An event that finds no room is lost, and counted by the mailbox.
    fn emit(&self, person: AccountId, view: &PersonView, scope: &Scope<'_, Self>) {
        let event =
            Event::ProfileChanged { person, name: view.name.clone(), picture: !view.picture.is_empty() };
        let event = NodeEvent { account: self.config.local, time: scope.wall(), event };
        if let Err(error) = self.config.events.try_send(event) {
            tracing::debug!(%error, "an event was not delivered");
        }
    }

    fn set(
        &mut self,
        name: Option<String>,
        picture: PictureChange,
        reply: Reply<Result<(), ProfileError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        if name.as_ref().is_some_and(|name| name.len() > MAX_NAME) {
            return reply.send(Err(ProfileError::NameTooLong));
        }
        if self.changes.len() >= MAX_CHANGES {
            return reply.send(Err(ProfileError::Busy));
        }
        self.changes.push_back(Change::Set { name, picture, reply });
        self.change(scope);
    }

    fn adopt(
        &mut self,
        file: Vec<u8>,
        modified: Option<FileTime>,
        from: DeviceId,
        scope: &mut Scope<'_, Self>,
    ) {
        if self.changes.len() < MAX_CHANGES {
            self.changes.push_back(Change::Adopt { file, modified, from });
            self.change(scope);
        }
    }

    /// Makes the next change, one at a time.
    fn change(&mut self, scope: &mut Scope<'_, Self>) {
        if self.changing {
            return;
        }
        let Some(change) = self.changes.pop_front() else { return };
        self.changing = true;
        let (folder, present, now) = (self.config.folder.clone(), self.own.clone(), scope.wall());
        let (pool, share, told) = (self.config.pool.clone(), self.config.share, self.config.told.clone());
        let (work, reply, from) = match change {
            Change::Set { name, picture, reply } => {
                let work = Work::Set { name, picture };
                (work, Some(reply), None)
            }
            Change::Adopt { file, modified, from } => (Work::Adopt { file, modified }, None, Some(from)),
        };
        let change = async move {
            let work = move || {
                let changed = work.run(present.as_ref(), now)?;
                if let Some(own) = &changed {
                    own.write(&folder)?;
                }
                Ok::<_, ProfileError>(changed)
            };
            let changed = pool.run(share, Lane::Bulk, work).await.unwrap_or_else(|error| Err(error.into()));
            if let Ok(Some(own)) = &changed {
                // Before the owner is answered, who may ask the account at once.
                let _ = told.send(ProfilesTold::Own { name: own.name(), file: own.file.clone() }).await;
            }
            changed
        };
        scope.spawn(change, move |profiles, changed, scope| {
            profiles.changing = false;
            let done = changed.map(|changed| profiles.changed(changed, from, scope));
            match reply {
                Some(reply) => reply.send(done),
                None => {
                    if let Err(error) = done {
                        tracing::warn!(%error, "the profile of another device was not taken");
                    }
                }
            }
            profiles.change(scope);
        });
    }

    fn changed(&mut self, own: Option<Own>, from: Option<DeviceId>, scope: &mut Scope<'_, Self>) {
        let Some(own) = own else { return };
        let view = store::view_of(self.config.account, &own.file);
        let digest = own.digest;
        self.own = Some(own);
        self.edition_changed(scope);
        if let Some(device) = from {
            self.has(device, digest);
        }
        self.emit(self.config.account, &view, scope);
        self.send_to_all(scope);
    }

    fn show(
        &self,
        person: AccountId,
        reply: Reply<Result<PersonView, ProfileError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let (folder, own) = (self.config.folder.clone(), self.own.as_ref().map(|own| own.file.clone()));
        let (is_own, pool, share) =
            (person == self.config.account, self.config.pool.clone(), self.config.share);
        let show = async move {
            let read = move || {
                let file =
                    if is_own { Some(own.unwrap_or_default().into()) } else { store::read(&folder, person)? };
                file.map(|file| store::view_of(person, &file)).ok_or(ProfileError::Unknown(person))
            };
            pool.run(share, Lane::Quick, read).await?
        };
        scope.spawn(show, |_, shown, _| reply.send(shown));
    }

    /// A peer gives or wants a profile; dropping the offer declines it.
    fn serve(&mut self, offer: ChannelOffer, transfer: Transfer, scope: &mut Scope<'_, Self>) {
        match transfer {
            Transfer::Give { owner } => self.give(offer, owner, scope),
            Transfer::Take { owner, announced, modified } => {
                self.take(offer, owner, announced, modified, scope)
            }
        }
    }

    fn take(
        &mut self,
        offer: ChannelOffer,
        owner: AccountId,
        announced: Announced,
        modified: Option<FileTime>,
        scope: &mut Scope<'_, Self>,
    ) {
        let device = offer.device;
        let is_own = owner == self.config.account;
        let digest = match announced {
            Announced::Digest(digest) => Some(digest),
            _ => None,
        };
        let is_wanted = if is_own {
            takes_over(
                (modified, digest),
                self.own.as_ref().map(|own| (own.modified, own.digest)),
                scope.wall(),
            )
        } else {
            self.may_keep(owner)
        };
        if !is_wanted {
            self.look_for_room(scope);
            return tracing::debug!(device = %device.short(), "a profile was declined");
        }
        // Of ours each device may send one: they are compared again when they are adopted, and what another device
        // was declined it would not send again.
        let begun = if is_own {
            self.incoming.begin((device, owner), announced)
        } else {
            self.incoming.begin_alone((device, owner), announced)
        };
        let reception = match begun {
            Ok(reception) => reception,
            Err(error) => return tracing::debug!(device = %device.short(), %error, "a profile was declined"),
        };
        // Last: what is declined for want of a place is not counted.
        if !self.pace.allows(scope.now(), owner) {
            return tracing::debug!(device = %device.short(), "a profile was declined: too many of that person");
        }
        scope.spawn_background(reception.read(offer.accept()), move |profiles, read, scope| match read {
            Ok((place, file)) if is_own => {
                drop(place);
                profiles.adopt(file, modified, device, scope);
                profiles.write_hints(scope);
            }
            Ok((place, file)) => profiles.keep(place, owner, file, scope),
            Err(error) => {
                tracing::debug!(device = %device.short(), %error, "a profile was not taken");
                profiles.write_hints(scope);
            }
        });
    }

    /// Keeps what somebody sent. Its place is held until it is written, so that nothing of the same person overtakes
    /// it, and so that no more files wait than there are places.
    fn keep(&mut self, place: Reception, person: AccountId, file: Vec<u8>, scope: &mut Scope<'_, Self>) {
        // Not the share of the owner's changes, which would wait for the pictures of all others.
        let share = Share(!self.config.share.0);
        let (folder, pool) = (self.config.folder.clone(), self.config.pool.clone());
        let keep =
            async move { pool.run(share, Lane::Bulk, move || store::keep(&folder, person, &file)).await? };
        scope.spawn(keep, move |profiles, kept, scope| {
            drop(place);
            match kept {
                Ok((view, is_new)) => profiles.is_kept(person, &view, is_new, scope),
                Err(error) => tracing::warn!(%person, %error, "a profile was not kept"),
            }
            profiles.write_hints(scope);
        });
    }

    /// Keeps what a request showed, unless more is known or coming.
    fn hint(&mut self, person: AccountId, vcard: Vec<u8>, scope: &mut Scope<'_, Self>) {
        if self.hints.len() < MAX_HINTS || self.hints.contains_key(&person) {
            self.hints.insert(person, vcard);
        } else {
            tracing::debug!(%person, "what a request showed is not kept, for too many wait");
        }
        self.write_hints(scope);
    }

    /// Writes the hints of whom nothing else is coming; those of whom something has come are void.
    fn write_hints(&mut self, scope: &mut Scope<'_, Self>) {
        for (person, vcard) in std::mem::take(&mut self.hints) {
            if self.kept.contains(&person) || !self.may_keep(person) {
                continue;
            }
            // A hint comes from no device, so it has the place of this one.
            match self.incoming.begin_alone((self.config.device, person), Announced::Nothing) {
                Ok(place) => self.keep(place, person, vcard, scope),
                Err(_) => _ = self.hints.insert(person, vcard),
            }
        }
    }

    fn is_kept(&mut self, person: AccountId, view: &PersonView, is_new: bool, scope: &mut Scope<'_, Self>) {
        self.kept.insert(person);
        if is_new {
            self.tell(ProfilesTold::Named(person, view.name.clone()), scope);
            self.emit(person, view, scope);
        }
        self.look_for_room(scope);
    }

    /// Whether there is room for the profile of somebody.
    fn may_keep(&self, person: AccountId) -> bool {
        !self.dropping.contains(&person)
            && (self.kept.contains(&person) || self.kept.len() < MAX_KEPT_PROFILES)
    }

    /// Has the account say who matters most if there is hardly any room left.
    fn look_for_room(&self, scope: &mut Scope<'_, Self>) {
        if self.kept.len() >= CROWDED && self.dropping.is_empty() {
            self.tell(ProfilesTold::Crowded, scope);
        }
    }

    /// Drops what is kept of all others. Whoever is among them later has theirs taken like anybody's.
    fn retain(&mut self, people: &BTreeSet<AccountId>, scope: &mut Scope<'_, Self>) {
        if self.kept.len() < CROWDED || !self.dropping.is_empty() {
            return;
        }
        let goes = |person: &&AccountId| !people.contains(person) && !self.incoming.is_coming(**person);
        self.dropping = self.kept.iter().filter(goes).copied().collect();
        let dropped = self.dropping.clone();
        let share = Share(!self.config.share.0);
        let (folder, pool) = (self.config.folder.clone(), self.config.pool.clone());
        let drop_all =
            async move { pool.run(share, Lane::Bulk, move || store::drop_all(&folder, &dropped)).await };
        scope.spawn(drop_all, |profiles, done, scope| {
            if !matches!(done, Ok(Ok(()))) {
                // They are loaded again with the next start, and dropped again.
                tracing::warn!(?done, "profiles that are not kept any more may still be on disk");
            }
            let dropped = std::mem::take(&mut profiles.dropping);
            profiles.kept.retain(|person| !dropped.contains(person));
            if !dropped.is_empty() {
                profiles.tell(ProfilesTold::Dropped(dropped), scope);
            }
        });
    }

    /// Gives a profile to whoever may have it, or declines if there is none.
    fn give(&mut self, offer: ChannelOffer, owner: AccountId, scope: &mut Scope<'_, Self>) {
        let receiver = offer.account;
        let most = if receiver == self.config.account { MAX_GIVING } else { MAX_GIVING_EACH };
        let given = self.giving.get(&receiver).copied().unwrap_or_default();
        if given >= most || self.giving.values().sum::<usize>() >= MAX_GIVING {
            return;
        }
        let own = self.own.as_ref().filter(|_| owner == self.config.account).map(|own| own.file.clone());
        if own.is_none() && !self.kept.contains(&owner) {
            return;
        }
        self.giving.insert(receiver, given + 1);
        let (folder, pool, share) = (self.config.folder.clone(), self.config.pool.clone(), self.config.share);
        let give = async move {
            let file = match own {
                Some(file) => file,
                None => match pool.run(share, Lane::Quick, move || store::read(&folder, owner)).await {
                    Ok(Ok(Some(file))) => Bytes::from(file),
                    _ => return,
                },
            };
            let Ok(channel) = offer.accept().await else { return };
            if let Err(error) = channels::write(channel, file).await {
                tracing::debug!(%error, "a profile that was asked for was not given");
            }
        };
        scope.spawn_background(give, move |profiles, (), _| {
            if let Some(given) = profiles.giving.get_mut(&receiver) {
                *given = given.saturating_sub(1);
                if *given == 0 {
                    profiles.giving.remove(&receiver);
                }
            }
        });
    }

    /// A device is linked no more: over the next link it may be asked again.
    pub(super) fn forget_asked(&mut self, device: DeviceId) {
        self.asked.retain(|(asked, _)| *asked != device);
    }

    /// Asks a device of ours for profiles that it may have, one after the other.
    fn ask(
        &mut self,
        device: DeviceId,
        people: Vec<(ConversationId, AccountId)>,
        scope: &mut Scope<'_, Self>,
    ) {
        let mut wanted = VecDeque::new();
        for (conversation, person) in people {
            let asked = self.asked.iter().filter(|(asked, _)| *asked == device).count();
            let is_new = !self.kept.contains(&person) && self.kept.len() + wanted.len() < KEPT_AT_REST;
            if is_new && asked < MAX_ASKED && self.asked.insert((device, person)) {
                wanted.push_back((conversation, person));
            }
        }
        self.ask_next(device, wanted, scope);
    }

    fn ask_next(
        &mut self,
        device: DeviceId,
        mut wanted: VecDeque<(ConversationId, AccountId)>,
        scope: &mut Scope<'_, Self>,
    ) {
        let (links, incoming) = (self.config.links.clone(), self.incoming.clone());
        let (conversation, person) = loop {
            let Some((conversation, person)) = wanted.pop_front() else { return };
            // The link may have gone since, and the profile may have come.
            if self.asked.contains(&(device, person)) && !self.kept.contains(&person) {
                break (conversation, person);
            }
        };
        let fetch = async move {
            let path = ProfilePath::Wanted { conversation, account: person };
            let channel = channels::open(&links, device, path).await?;
            let reception = incoming.begin_alone((device, person), Announced::Nothing)?;
            reception.read(async { Ok(channel) }).await
        };
        scope.spawn_background(fetch, move |profiles, fetched: Result<_, ChannelError>, scope| {
            match fetched {
                // What the person has sent meanwhile is newer.
                Ok((place, file)) if !profiles.kept.contains(&person) => {
                    profiles.keep(place, person, file, scope);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%person, %error, "a device of ours gave no profile");
                    if !has_none(&error) {
                        profiles.asked.remove(&(device, person));
                    }
                }
            }
            profiles.write_hints(scope);
            profiles.ask_next(device, wanted, scope);
        });
    }
}

/// Whether a device that was asked for a profile has none. After anything else it may be asked again.
fn has_none(error: &ChannelError) -> bool {
    matches!(
        error,
        ChannelError::Link(LinkError::Declined { .. }) | ChannelError::Reception(ReceptionError::Empty)
    )
}

/// A change, as it is made on the pool.
enum Work {
    Set { name: Option<String>, picture: PictureChange },
    Adopt { file: Vec<u8>, modified: Option<FileTime> },
}

impl Work {
    /// The profile then; none if it stays.
    fn run(self, present: Option<&Own>, now: UnixMillis) -> Result<Option<Own>, ProfileError> {
        match self {
            Self::Set { name, picture } => {
                let picture = match picture {
                    PictureChange::Keep => None,
                    PictureChange::Remove => Some(None),
                    PictureChange::Image(image) => Some(Some(picture::of_owner(&image)?)),
                    PictureChange::File(path) => {
                        let file = storage::read(&path, MAX_PHOTO).map_err(|error| match error.kind() {
                            std::io::ErrorKind::FileTooLarge => PictureError::TooLong.into(),
                            _ => ProfileError::File(format!("{}: {error}", path.display())),
                        })?;
                        let missing =
                            || ProfileError::File(format!("{}: there is no such file", path.display()));
                        Some(Some(picture::of_owner(&file.ok_or_else(missing)?)?))
                    }
                };
                let before: &[u8] = present.map_or(&[], |own| &own.file);
                let file = OwnChange { name, picture }.apply(before).into_bytes();
                if file.len() > MAX_PROFILE {
                    return Err(ProfileError::Storage("the profile would be too long".to_owned()));
                }
                // The clock may have been set back since.
                let before_time = present.map(|own| kept_time(own.modified, now)).unwrap_or_default();
                let modified = before_time.next(now);
                Ok((file != before).then(|| Own::new(file, modified)))
            }
            Self::Adopt { file, modified } => {
                let digest = ProfileDigest::of(&file);
                // Another may have come meanwhile, and one that knows no times gives back what it got.
                let here = present.map(|own| (own.modified, own.digest));
                if here.is_some_and(|(_, here)| here == digest)
                    || !takes_over((modified, Some(digest)), here, now)
                {
                    return Ok(None);
                }
                let modified = modified.map_or_else(|| FileTime::at(now), |time| kept_time(time, now));
                Ok(Some(Own { file: file.into(), digest, modified }))
            }
        }
    }
}

impl Actor for ProfilesActor {
    type Message = ProfilesMessage;
    const KIND: &'static str = "profiles";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        // Released when they are loaded.
        scope.hold();
        self.load(scope);
    }

    fn flush(&mut self, _: &mut Scope<'_, Self>) -> Option<LocalBoxFuture<'static, ()>> {
        Some(self.flush_sent().boxed_local())
    }

    fn handle(&mut self, message: ProfilesMessage, scope: &mut Scope<'_, Self>) {
        match message {
            ProfilesMessage::Set { name, picture, reply } => self.set(name, picture, reply, scope),
            ProfilesMessage::Show { person, reply } => self.show(person, reply, scope),
            ProfilesMessage::Reach { device, account, way } => self.reach(device, account, way, scope),
            ProfilesMessage::Missing { device, people } => self.ask(device, people, scope),
            ProfilesMessage::Hint { person, vcard } => {
                if !self.kept.contains(&person) && self.may_keep(person) {
                    self.hint(person, vcard, scope);
                }
            }
            ProfilesMessage::Retain(people) => self.retain(&people, scope),
            ProfilesMessage::Forget(account) => self.forget(account, scope),
            ProfilesMessage::Serve(offer, transfer) => self.serve(offer, transfer, scope),
        }
    }
}
