//! The sync actor: mailbox, channels and timers around the schedule.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use skep_protocol::ids::{AccountId, DeviceId};
use skep_protocol::link::channel_name::ChannelName;
use skep_protocol::sync::{
    ListChange, MAX_VERSIONS_FILE, SyncAction, SyncChannel, SyncSchedule, SyncVersions,
};

use super::channels::{OpenChannel, Telling, run};
use super::messages::{OwnDevices, SyncActorMessage, SyncTold, Wish};
use crate::blocking::{BlockingPool, Lane, Share};
use crate::peer::messages::{Channel, ChannelOffer, LinksMessage};
use crate::storage;
use crate::supervision::{Actor, Outlet, Port, Scope};

/// How long a device may take to accept a channel.
const OPEN: Duration = Duration::from_secs(30);

/// Pause before a device is asked once more for a channel that it has declined or closed: it may not have
/// known yet whose device this is.
const ASK_AGAIN: Duration = Duration::from_secs(20);

/// What the sync actor needs to start.
#[derive(Clone, Debug)]
pub struct SyncConfig {
    /// The account.
    pub account: AccountId,
    /// Where it is kept who has heard of what.
    pub file: PathBuf,
    /// The links of the account.
    pub links: Port<LinksMessage>,
    /// Where the account is told.
    pub events: Outlet<SyncTold>,
    /// Where disk work runs.
    pub pool: BlockingPool,
    /// Whose work it is.
    pub share: Share,
}

/// See the module.
#[derive(Debug)]
pub struct SyncActor {
    config: SyncConfig,
    schedule: SyncSchedule,
    devices: OwnDevices,
    channels: BTreeMap<SyncChannel, (DeviceId, OpenChannel)>,
    next_channel: SyncChannel,
    /// Devices that are asked once more for a channel later.
    asking_again: BTreeSet<DeviceId>,
    keeping: bool,
    keep_again: bool,
}

impl SyncActor {
    /// One that begins with what is on disk.
    #[must_use]
    pub fn new(config: SyncConfig) -> Self {
        Self {
            config,
            schedule: SyncSchedule::new(SyncVersions::default(), []),
            devices: OwnDevices::default(),
            channels: BTreeMap::new(),
            next_channel: 0,
            asking_again: BTreeSet::new(),
            keeping: false,
            keep_again: false,
        }
    }

    fn load(&mut self, scope: &mut Scope<'_, Self>) {
        scope.hold();
        let (file, pool, share) = (self.config.file.clone(), self.config.pool.clone(), self.config.share);
        let read = async move {
            pool.run(share, Lane::Quick, move || storage::read(&file, MAX_VERSIONS_FILE)).await
        };
        scope.spawn(read, |sync, bytes, scope| {
            // Without it every device is told everything once.
            let versions = match bytes {
                Ok(Ok(bytes)) => bytes.and_then(|bytes| {
                    let read = SyncVersions::decode(&bytes);
                    read.inspect_err(|error| tracing::warn!(%error, "sync versions begin anew")).ok()
                }),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "sync versions begin anew");
                    None
                }
                Err(error) => {
                    tracing::warn!(%error, "sync versions begin anew");
                    None
                }
            };
            let versions = versions.unwrap_or_default();
            sync.schedule = SyncSchedule::new(versions.clone(), versions.devices());
            sync.told(SyncTold::Started, scope);
            scope.release();
        });
    }

    /// Tells the account, waiting for room.
    fn told(&self, told: SyncTold, scope: &mut Scope<'_, Self>) {
        let events = self.config.events.clone();
        scope.spawn_background(async move { events.send(told).await }, |_, _, _| ());
    }

    fn act(&mut self, actions: impl IntoIterator<Item = SyncAction>, scope: &mut Scope<'_, Self>) {
        for action in actions {
            match action {
                SyncAction::Connect(device) => self.told(SyncTold::Connect(device), scope),
                SyncAction::OpenChannel(device) => self.open_channel(device, scope),
                SyncAction::TellAll { channel, version } => {
                    self.told(SyncTold::Wished { wish: Wish::All, channels: vec![channel], version }, scope);
                }
                SyncAction::TellContacts(channels) => {
                    self.told(SyncTold::Wished { wish: Wish::Contacts, channels, version: None }, scope);
                }
                SyncAction::TellDetails(channels, details) => {
                    let wish = Wish::Details(details);
                    self.told(SyncTold::Wished { wish, channels, version: None }, scope);
                }
                SyncAction::Keep => self.keep(scope),
            }
        }
        scope.set_alarm(self.schedule.deadline());
    }

    /// Takes in how things are now.
    fn devices(&mut self, now: OwnDevices, scope: &mut Scope<'_, Self>) {
        let before = std::mem::replace(&mut self.devices, now.clone());
        for device in self.schedule.others().difference(&now.others).copied().collect::<Vec<_>>() {
            self.schedule.device_revoked(device);
            self.channels.retain(|_, (other, _)| *other != device);
        }
        for device in &now.others {
            self.schedule.device_added(*device);
        }
        let actions = self.schedule.lists(scope.now(), now.lists);
        self.act(actions, scope);
        for device in before.linked.difference(&now.linked) {
            self.schedule.unlinked(*device);
            self.asking_again.remove(device);
            self.channels.retain(|_, (other, _)| other != device);
        }
        for device in &now.linked {
            if !self.asking_again.contains(device) {
                let action = self.schedule.linked(*device);
                self.act(action, scope);
            }
        }
    }

    fn open_channel(&mut self, device: DeviceId, scope: &mut Scope<'_, Self>) {
        let links = self.config.links.clone();
        let name = ChannelName::Sync { device }.to_string();
        let open = async move {
            links.ask(OPEN, |reply| LinksMessage::Open { device, name, deadline: OPEN, reply }).await
        };
        scope.spawn_background(open, move |sync, opened, scope| match opened {
            Ok(Ok(channel)) => sync.opened(channel, scope),
            Ok(Err(error)) => {
                tracing::debug!(device = %device.short(), %error, "no sync channel");
                sync.declined(device, scope);
            }
            Err(error) => {
                tracing::debug!(device = %device.short(), %error, "no sync channel");
                sync.declined(device, scope);
            }
        });
    }

    fn declined(&mut self, device: DeviceId, scope: &mut Scope<'_, Self>) {
        self.schedule.declined(device);
        self.ask_again(device, scope);
    }

    /// Asks a device that is still linked for a channel, if there is none then.
    fn ask_again(&mut self, device: DeviceId, scope: &mut Scope<'_, Self>) {
        if !self.asking_again.insert(device) {
            return;
        }
        scope.after(ASK_AGAIN, move |sync, scope| {
            sync.asking_again.remove(&device);
            if sync.devices.linked.contains(&device) {
                let action = sync.schedule.linked(device);
                sync.act(action, scope);
            }
        });
    }

    fn offered(&self, offer: ChannelOffer, scope: &mut Scope<'_, Self>) {
        if offer.account != self.config.account || !self.schedule.accepts(offer.device) {
            tracing::debug!(device = %offer.device.short(), "a sync channel is declined");
            return;
        }
        scope.spawn_background(offer.accept(), |sync, accepted, scope| {
            if let Ok(channel) = accepted {
                sync.opened(channel, scope);
            }
        });
    }

    fn opened(&mut self, channel: Channel, scope: &mut Scope<'_, Self>) {
        let device = channel.device;
        if channel.account != self.config.account || !self.schedule.accepts(device) {
            return self.schedule.declined(device);
        }
        let number = self.next_channel;
        self.next_channel += 1;
        let (open, outbox) = OpenChannel::new();
        self.channels.insert(number, (device, open));
        let run = run(channel, outbox, scope.port(), self.config.events.clone());
        scope.spawn_background(run, move |sync, (), scope| sync.closed(device, number, scope));
        let actions = self.schedule.opened(device, number);
        self.act(actions, scope);
    }

    fn closed(&mut self, device: DeviceId, channel: SyncChannel, scope: &mut Scope<'_, Self>) {
        self.channels.remove(&channel);
        self.schedule.closed(device, channel);
        self.ask_again(device, scope);
    }

    /// Has the messages written. A device that does not read loses its channel.
    fn tell(
        &mut self,
        channels: &[SyncChannel],
        messages: &[bytes::Bytes],
        version: Option<u64>,
        scope: &mut Scope<'_, Self>,
    ) {
        for number in channels {
            let Some((device, channel)) = self.channels.get(number) else { continue };
            let device = *device;
            if !channel.tell(Telling { messages: messages.to_vec(), version }) {
                tracing::debug!(device = %device.short(), "a sync channel that is not read is closed");
                self.closed(device, *number, scope);
            }
        }
    }

    /// Writes who has heard of what; changes meanwhile are written after.
    fn keep(&mut self, scope: &mut Scope<'_, Self>) {
        if self.keeping {
            self.keep_again = true;
            return;
        }
        self.keeping = true;
        let (file, bytes) = (self.config.file.clone(), self.schedule.versions().encode());
        let (pool, share) = (self.config.pool.clone(), self.config.share);
        let write =
            async move { pool.run(share, Lane::Quick, move || storage::replace(&file, &bytes)).await };
        scope.spawn(write, |sync, written, scope| {
            if let Ok(Err(error)) = written {
                // Costs devices a telling of what they know.
                tracing::warn!(%error, "sync versions were not written");
            }
            sync.keeping = false;
            if std::mem::take(&mut sync.keep_again) {
                sync.keep(scope);
            }
        });
    }
}

impl Actor for SyncActor {
    type Message = SyncActorMessage;
    const KIND: &'static str = "sync";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        self.load(scope);
    }

    fn alarm(&mut self, scope: &mut Scope<'_, Self>) {
        let actions = self.schedule.tick(scope.now());
        self.act(actions, scope);
    }

    fn handle(&mut self, message: SyncActorMessage, scope: &mut Scope<'_, Self>) {
        match message {
            SyncActorMessage::Devices(devices) => self.devices(devices, scope),
            SyncActorMessage::Announced(device) => {
                let action = self.schedule.announced(device);
                self.act(action, scope);
            }
            SyncActorMessage::ContactsChanged => {
                let actions = self.schedule.list_changed(scope.now(), ListChange::Contacts);
                self.act(actions, scope);
            }
            SyncActorMessage::Offer(offer) => self.offered(offer, scope),
            SyncActorMessage::Changed(detail) => {
                self.schedule.detail_changed(scope.now(), detail);
                scope.set_alarm(self.schedule.deadline());
            }
            SyncActorMessage::Tell { channels, messages, version } => {
                self.tell(&channels, &messages, version, scope);
            }
            SyncActorMessage::Written { device, version } => {
                let action = self.schedule.told_all(device, version);
                self.act(action, scope);
            }
        }
    }
}
