//! Asking devices for what is wanted, and what becomes of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use skep_protocol::ids::DeviceId;
use skep_protocol::link::channel_name::ChannelName;
use skep_protocol::transfer::{
    Chance, FileRequest, Flaw, Receiving, Room as DiskRoom, TransferName, Verdict,
};
use tokio::sync::watch;

use super::super::disk::{Place, space};
use super::super::fetching::{Ended, Fetching};
use super::super::here::{self, Beginning, Here};
use super::super::messages::{TransferError, TransferState};
use super::super::wishes::Wished;
use super::{Key, MAX_FETCHING, Partial, Running, TransfersActor, Wish};
use crate::blocking::Lane;
use crate::peer::messages::{Channel, LinkError, LinksMessage};
use crate::supervision::Scope;

/// How long a device may take to open the channel: it may hash a large file first.
const OPEN: Duration = Duration::from_secs(180);

/// Time beyond that for the links to tell the reason.
const GRACE: Duration = Duration::from_secs(5);

impl TransfersActor {
    /// Introduces the devices that are up to a wish, those of the author first.
    pub(super) fn introduce(&mut self, key: &Key) {
        let Some(room) = self.rooms.get(&key.0) else { return };
        let Some(wish) = self.wishes.get_mut(key) else { return };
        let author = wish.wished.author;
        let member = self.up.iter().filter(|(_, account)| room.members.contains(account));
        let (first, others): (Vec<_>, Vec<_>) = member.partition(|(_, account)| **account == author);
        wish.wanted.learn(first.into_iter().chain(others).map(|(device, _)| *device));
    }

    /// Asks whom it is time to ask, each wish in turn.
    pub(super) fn drive(&mut self, scope: &mut Scope<'_, Self>) {
        let now = scope.now();
        let turn = self.turn.clone();
        let later = self.wishes.keys().filter(|key| turn.as_ref().is_none_or(|turn| *key > turn));
        let sooner = self.wishes.keys().filter(|key| turn.as_ref().is_some_and(|turn| *key <= turn));
        let keys: Vec<Key> = later.chain(sooner).cloned().collect();
        let mut active = self.wishes.values().filter(|wish| wish.is_active()).count();
        for key in keys {
            let Some(wish) = self.wishes.get_mut(&key) else { continue };
            let is_active = wish.is_active();
            let has_place = is_active || active < MAX_FETCHING;
            let is_free = self.rooms.contains_key(&key.0) && !self.ending.contains_key(&key);
            let is_due = wish.wanted.is_due(now) || !wish.was_looked_at;
            if !has_place || !is_free || !is_due {
                continue;
            }
            match &wish.partial {
                Partial::Reading => {}
                Partial::Rests(_) => {
                    active += 1;
                    self.turn = Some(key.clone());
                    self.look_here(&key, scope);
                }
                Partial::Read { .. } => {
                    active += usize::from(!is_active);
                    self.turn = Some(key.clone());
                    self.ask_due(&key, scope);
                }
            }
        }
        // Those of whom nobody is asked any more leave their room to others.
        for wish in self.wishes.values_mut().filter(|wish| !wish.is_active()) {
            wish.rest();
        }
        let ready = self.wishes.values().filter(|wish| !matches!(wish.partial, Partial::Reading));
        let busy = active >= MAX_FETCHING;
        let deadlines =
            ready.filter(|wish| !busy || wish.is_active()).filter_map(|wish| wish.wanted.deadline());
        // What is due and cannot be asked now waits for something to end.
        scope.set_alarm(deadlines.filter(|deadline| *deadline > now).min());
    }

    /// The room there is for a file, beside what other files were promised.
    pub(super) fn room_for(
        &self,
        wished: &Wished,
    ) -> impl Future<Output = Result<DiskRoom, TransferError>> + use<> {
        let (pool, share) = (self.config.pool.clone(), self.config.share);
        let data = self.config.data.clone();
        let folder = wished.to.clone().unwrap_or_else(|| data.clone());
        // What the owner saves elsewhere is not the account's.
        let quota = if wished.to.is_some() { u64::MAX } else { self.config.limits.quota };
        let largest = self.config.limits.largest;
        let others = self.wishes.values().filter(|wish| wish.wished.file.id != wished.file.id);
        let promised = others.map(Wish::promised).fold(0, u64::saturating_add);
        async move {
            let (used, free) = pool.run(share, Lane::Files, move || space(&data, &folder)).await??;
            Ok(DiskRoom { largest, quota, used, promised, free })
        }
    }

    /// Looks what is here of a file, and makes sure that there is room for the rest.
    fn look_here(&mut self, key: &Key, scope: &mut Scope<'_, Self>) {
        let Some(wish) = self.wishes.get_mut(key) else { return };
        wish.was_looked_at = true;
        let known = match std::mem::replace(&mut wish.partial, Partial::Reading) {
            Partial::Rests(known) => known,
            Partial::Reading | Partial::Read { .. } => None,
        };
        let Some(wish) = self.wishes.get(key) else { return };
        let (number, file) = (wish.number, wish.wished.file.clone());
        let place = self.place_of(&wish.wished);
        let room = self.room_for(&wish.wished);
        let (pool, share) = (self.config.pool.clone(), self.config.share);
        let look = async move {
            let size = file.size;
            let admit = async move |here| Ok(room.await?.admit(size, here)?);
            match known {
                Some(here) => {
                    let limit = admit(here.prefix.length()).await?;
                    Ok(Here::Part(here, limit))
                }
                None => here::look(place, &file, &pool, share, admit).await,
            }
        };
        let key = key.clone();
        scope.spawn_background(look, move |files, looked: Result<Here, TransferError>, scope| {
            let Some(wish) = files.wishes.get_mut(&key).filter(|wish| wish.number == number) else { return };
            match looked {
                Ok(Here::Whole(path)) => return files.complete(&key, path, scope),
                Ok(Here::Part(here, limit)) => {
                    wish.position = here.prefix.length();
                    wish.partial = Partial::Read { here, limit };
                    // At once: others would take its place.
                    files.ask_due(&key, scope);
                }
                Err(error) => {
                    wish.partial = Partial::Rests(None);
                    wish.problem = Some(error.to_string());
                    wish.wanted.postpone(scope.now());
                    let view = wish.view_now();
                    files.emit(view, scope);
                }
            }
            files.drive(scope);
        });
    }

    /// Asks the devices that are to be asked for a file now.
    fn ask_due(&mut self, key: &Key, scope: &mut Scope<'_, Self>) {
        let now = scope.now();
        while let Some(device) = self.wishes.get_mut(key).and_then(|wish| wish.wanted.next(now)) {
            self.ask(key, device, scope);
        }
    }

    fn ask(&self, key: &Key, device: DeviceId, scope: &mut Scope<'_, Self>) {
        let Some(wish) = self.wishes.get(key) else { return };
        let Partial::Read { here, .. } = &wish.partial else { return };
        let start = wish.start_for(device, here);
        let request = FileRequest::from(key.0, self.config.device, key.1.clone(), start);
        let path = TransferName::File(request).to_string();
        let name = ChannelName::DataTransfer { path }.to_string();
        let links = self.config.links.clone();
        let open = async move {
            let open = |reply| LinksMessage::Open { device, name, deadline: OPEN, reply };
            links.ask(OPEN + GRACE, open).await.unwrap_or(Err(LinkError::Lost(device)))
        };
        let (key, number) = (key.clone(), wish.number);
        scope.spawn_background(open, move |files, opened, scope| {
            files.opened(&key, number, device, start, opened, scope);
        });
    }

    fn opened(
        &mut self,
        key: &Key,
        number: u64,
        device: DeviceId,
        start: u64,
        opened: Result<Channel, LinkError>,
        scope: &mut Scope<'_, Self>,
    ) {
        let now = scope.now();
        let Some(wish) = self.wishes.get_mut(key).filter(|wish| wish.number == number) else { return };
        match opened {
            Ok(channel) => {
                // One that was asked before the last transfer brought something sends from elsewhere.
                let fits = match &wish.partial {
                    Partial::Read { here, .. } => wish.start_for(device, here) == start,
                    Partial::Rests(_) | Partial::Reading => false,
                };
                if fits && wish.wanted.opened(device, now) == Chance::Use {
                    self.begin(key, device, start, channel, scope);
                } else {
                    wish.wanted.refused(device);
                }
            }
            Err(error) => {
                tracing::debug!(device = %device.short(), %error, "a device does not send a file");
                wish.wanted.refused(device);
            }
        }
        self.drive(scope);
    }

    /// A channel is open, and this one is used.
    fn begin(
        &mut self,
        key: &Key,
        device: DeviceId,
        start: u64,
        channel: Channel,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(wish) = self.wishes.get(key) else { return };
        let place = self.place_of(&wish.wished);
        let Some(wish) = self.wishes.get_mut(key) else { return };
        let Partial::Read { here, limit } = std::mem::replace(&mut wish.partial, Partial::Rests(None)) else {
            return;
        };
        let here = if start == 0 { Beginning::default() } else { here };
        wish.position = start;
        let is_alone = start == 0 || here.from == Some(device);
        let abandoned = place.clone();
        let position = Arc::new(AtomicU64::new(start));
        let (stop, stopped) = watch::channel(());
        let fetching = Fetching {
            channel,
            place,
            receiving: Receiving::new(&wish.wished.file, here.prefix, limit),
            left: here.stamp,
            pool: self.config.pool.clone(),
            share: self.config.share,
            position: Arc::clone(&position),
            stop: stopped,
        };
        wish.running = Some(Running { device, is_alone, limit, position, stop: Some(stop) });
        wish.problem = None;
        wish.rate = 0;
        wish.looked = scope.now();
        let view = wish.view_now();
        let (key, number) = (key.clone(), wish.number);
        // A stop does not wait for it: what came is gone on with after the next start.
        scope.spawn_background(fetching.run(), move |files, ended, scope| {
            if files.wishes.get(&key).is_some_and(|wish| wish.number == number) {
                files.ended(&key, ended, scope);
            } else {
                files.remove_unwanted(key, abandoned, ended, scope);
            }
        });
        self.emit(view, scope);
        self.look_later(scope);
    }

    fn ended(&mut self, key: &Key, ended: Ended, scope: &mut Scope<'_, Self>) {
        let Some(wish) = self.wishes.get_mut(key) else { return };
        let Some(Running { device, is_alone, limit, .. }) = wish.running.take() else { return };
        match ended {
            Ended::Complete(path) => return self.complete(key, path, scope),
            Ended::Incomplete { new, prefix, stamp } => {
                wish.position = prefix.length();
                // The limit of a file of unknown length is asked for anew. What cannot be gone on with is
                // cut off when it is read again.
                let from = is_alone.then_some(device);
                if wish.wished.file.size != 0 && prefix.can_be_gone_on_with() {
                    wish.partial = Partial::Read { here: Beginning { prefix, stamp, from }, limit };
                }
                wish.problem = Some("the device stopped before the end of the file".to_owned());
                wish.wanted.ended(Verdict::Incomplete { new });
            }
            Ended::Worthless(Flaw::WrongContent) if !is_alone => {
                tracing::warn!(device = %device.short(), file = %key.1, "what several sent is not the file");
                wish.position = 0;
                wish.unmixed = true;
                wish.problem = Some("what was here was not of the file; it is fetched anew".to_owned());
                wish.wanted.mixed();
            }
            Ended::Worthless(flaw) => {
                let device = device.short();
                tracing::warn!(%device, file = %key.1, ?flaw, "a device sent something else than the file");
                wish.position = 0;
                wish.problem = Some(match flaw {
                    Flaw::TooLong => "a device sent more than was offered; it is not asked again".to_owned(),
                    Flaw::WrongContent => "a device sent something else; it is not asked again".to_owned(),
                });
                wish.wanted.ended(Verdict::Worthless(flaw));
            }
            Ended::Failed(problem) => {
                wish.problem = Some(problem);
                wish.wanted.ended(Verdict::Incomplete { new: 0 });
                wish.wanted.postpone(scope.now());
            }
        }
        let view = wish.view_now();
        self.emit(view, scope);
        self.drive(scope);
    }

    fn complete(&mut self, key: &Key, path: PathBuf, scope: &mut Scope<'_, Self>) {
        let Some(mut wish) = self.wishes.remove(key) else { return };
        wish.position = wish.position.max(wish.wished.file.size);
        let view = wish.view(TransferState::Done, Some(path));
        self.emit(view, scope);
        self.save(scope, |_, saved, _| {
            if let Err(error) = saved {
                tracing::warn!(%error, "a file that is here is looked at again after a restart");
            }
        });
        self.drive(scope);
    }

    /// The file was cancelled while something was still written.
    fn remove_unwanted(&self, key: Key, place: Place, ended: Ended, scope: &mut Scope<'_, Self>) {
        let (pool, share) = (self.config.pool.clone(), self.config.share);
        let remove = async move {
            let remove = move || {
                if let Ended::Complete(path) = ended {
                    std::fs::remove_file(path)?;
                    place.remove()?;
                }
                place.discard()
            };
            pool.run(share, Lane::Files, remove).await
        };
        scope.spawn(remove, move |files, removed, scope| {
            if let Ok(Err(error)) = removed {
                tracing::warn!(%error, "a file that was cancelled is still there");
            }
            files.has_ended(&key, scope);
        });
    }
}
