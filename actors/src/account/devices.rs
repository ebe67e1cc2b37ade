//! The devices of the account: which there are, what they are called, and which were revoked
//! (`spec: sync 2 and 5.1, identity 7`).
//!
//! ```text
//!   announced at our own key, or told by another device
//!        └─► certificate found, the account's, not revoked ──► known ──► linked, told everything
//!   revoke ──► list in the archive, durable ──► on the DHT ──► every device that hears of it parts
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skep_protocol::dht::value::{Fingerprint, Value};
use skep_protocol::identity::{Announcement, RevocationList, RevokedDevices, VerifiedChain};
use skep_protocol::ids::{AccountId, DeviceId, DeviceShortId};
use skep_protocol::keys::PublicKey;
use skep_protocol::sync::{ListDigests, MAX_DEVICE_NAME, MAX_DEVICES, device_name};

use super::actor::{AccountActor, Running};
use super::identity;
use super::messages::{AccountError, DeviceView, Password};
use super::reach::{FIND, FIRST_PAUSE, LONGEST_PAUSE};
use super::state::Dirty;
use super::syncing::Waiting;
use crate::blocking::Lane;
use crate::directory::messages::DirectoryMessage;
use crate::event::Event;
use crate::peer::messages::LinksMessage;
use crate::supervision::{Reply, Scope};
use crate::sync::messages::{OwnDevices, SyncActorMessage};

/// Announcements of our own devices looked at; beyond it, somebody floods our key.
const MAX_ANNOUNCED: usize = 256;

/// What a device is called of which nobody has said anything else.
const UNNAMED: &str = "Skep";

/// What is known of the account's other devices while it runs.
#[derive(Debug, Default)]
pub(super) struct Devices {
    /// The certificates of those that are known.
    pub(super) chains: BTreeMap<DeviceId, VerifiedChain>,
    /// What announces them on the DHT.
    announced: BTreeMap<Fingerprint, DeviceId>,
    /// Those whose certificate is looked for.
    finding: BTreeSet<DeviceId>,
    /// What the lists were like when they were written last.
    pub(super) lists: ListDigests,
    /// Conversations that they have and that are not fetched yet.
    pub(super) waiting: Waiting,
}

impl Devices {
    /// Those whose certificates are here, none of which has been seen yet.
    pub(super) fn new(chains: BTreeMap<DeviceId, VerifiedChain>, lists: ListDigests) -> Self {
        Self { chains, lists, ..Self::default() }
    }

    fn is_announced(&self, device: DeviceId) -> bool {
        self.announced.values().any(|announced| *announced == device)
    }
}

/// What this machine is called.
pub(super) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = device_name(name.trim());
    if name.is_empty() { UNNAMED.to_owned() } else { name }
}

impl Running {
    /// Takes this device in among those known, under `name` if it has none, and those out that were revoked.
    pub(super) fn settle_devices(&mut self, name: &str) {
        let own = self.identity.device_id();
        // A list that is full was not made by us; this device then has no name in it.
        if self.state.devices.add(own).is_ok_and(|added| added) {
            self.state.devices.name(own, name, own);
        }
        self.forget_revoked();
    }

    /// Takes out the devices that the account has revoked; says whether there was any.
    fn forget_revoked(&mut self) -> bool {
        let revoked = |chain: &VerifiedChain| self.revocations.check(chain).is_err();
        let gone = self.devices.chains.iter().filter(|(_, chain)| revoked(chain));
        let gone: Vec<DeviceId> = gone.map(|(device, _)| *device).collect();
        for device in &gone {
            self.devices.chains.remove(device);
            self.state.devices.revoke(*device);
        }
        !gone.is_empty()
    }

    /// The short id of a device whose certificate is here.
    pub(super) fn short_id(&self, device: DeviceId) -> Option<DeviceShortId> {
        if device == self.identity.device_id() {
            return Some(self.identity.key().public().device_short_id());
        }
        let chain = self.devices.chains.get(&device)?;
        Some(chain.device().public_key().device_short_id())
    }

    /// How things are, for the sync actor.
    fn own_devices(&self) -> OwnDevices {
        let others: BTreeSet<DeviceId> = self.devices.chains.keys().copied().collect();
        let linked = others.iter().copied().filter(|device| self.up.contains_key(device)).collect();
        OwnDevices { others, linked, lists: self.devices.lists }
    }
}

impl AccountActor {
    /// Tells the sync actor how things are.
    pub(super) fn push_devices(&self, scope: &mut Scope<'_, Self>) {
        let Some(running) = self.running.as_ref().filter(|running| !running.revoked) else { return };
        let (sync, devices) = (running.sync.clone(), running.own_devices());
        scope.spawn_background(
            async move { sync.send(SyncActorMessage::Devices(devices)).await },
            |_, _, _| (),
        );
    }

    fn devices_changed(&mut self, scope: &mut Scope<'_, Self>) {
        self.push_devices(scope);
        self.emit(Event::DevicesChanged {}, scope);
        self.save(Dirty::DEVICES, scope, |_| ());
    }

    /// Values appeared at our own key: other devices of ours may be among them.
    pub(super) fn own_announced(&mut self, values: &[Arc<Value>], scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        let (account, own) = (running.identity.account_id(), running.identity.device_id());
        let mut keys = Vec::new();
        for value in values.iter().take(MAX_ANNOUNCED) {
            let Ok(Announcement { key: Some(key), .. }) = Announcement::from_value(value, account) else {
                continue;
            };
            let device = key.device_id();
            if device != own && running.devices.announced.len() < MAX_ANNOUNCED {
                running.devices.announced.insert(value.fingerprint(), device);
                keys.push(key);
            }
        }
        if !keys.is_empty() {
            self.find_own(keys, FIRST_PAUSE, scope);
            self.emit(Event::DevicesChanged {}, scope);
        }
    }

    /// Announcements of our devices are gone.
    pub(super) fn own_expired(&mut self, fingerprints: &[Fingerprint], scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        let announced = &mut running.devices.announced;
        let gone = fingerprints.iter().filter(|it| announced.remove(*it).is_some()).count();
        if gone > 0 {
            self.emit(Event::DevicesChanged {}, scope);
        }
    }

    /// Finds the certificates of announced devices of ours; those not found yet again after `pause`.
    fn find_own(&mut self, keys: Vec<PublicKey>, pause: Duration, scope: &mut Scope<'_, Self>) {
        let Some(running) = &self.running else { return };
        let (account, directory) = (running.identity.account_id(), running.directory.clone());
        let find = async move {
            let wanted = keys.clone();
            let ask = |reply| DirectoryMessage::Announced { account, keys: wanted, reply };
            (directory.ask(FIND, ask).await.unwrap_or_default(), keys)
        };
        scope.spawn_background(find, move |actor, (chains, mut keys), scope| {
            actor.own_found(chains, scope);
            let Some(running) = actor.running.as_ref().filter(|running| !running.revoked) else { return };
            keys.retain(|key| {
                let device = key.device_id();
                running.devices.is_announced(device) && !running.devices.chains.contains_key(&device)
            });
            if !keys.is_empty() && pause <= LONGEST_PAUSE {
                scope.after(pause, move |actor, scope| actor.find_own(keys, pause * 2, scope));
            }
        });
    }

    /// The certificates of announced devices were found: as devices of members they get links, if there is
    /// a conversation, and otherwise if they lack something.
    fn own_found(&mut self, chains: Vec<VerifiedChain>, scope: &mut Scope<'_, Self>) {
        let mut changed = false;
        for chain in &chains {
            changed |= self.own_known(chain);
        }
        if changed {
            self.devices_changed(scope);
        }
        let Some(running) = self.running.as_ref().filter(|running| !running.revoked) else { return };
        let (sync, links, account) =
            (running.sync.clone(), running.links.clone(), running.identity.account_id());
        let known: Vec<_> =
            chains.into_iter().filter(|it| running.devices.chains.contains_key(&it.device_id())).collect();
        let as_members = !running.conversations.is_empty();
        let devices = running.own_devices();
        let tell = async move {
            sync.send(SyncActorMessage::Devices(devices)).await?;
            for chain in &known {
                sync.send(SyncActorMessage::Announced(chain.device_id())).await?;
            }
            if as_members && !known.is_empty() {
                links.send(LinksMessage::Present { account, devices: known }).await?;
            }
            Ok::<_, crate::supervision::SendError>(())
        };
        scope.spawn_background(tell, |_, _, _| ());
    }

    /// Takes a device in whose certificate is the account's; says whether it was not known.
    fn own_known(&mut self, chain: &VerifiedChain) -> bool {
        let Some(running) = &mut self.running else { return false };
        let is_ours = chain.account_id() == running.identity.account_id()
            && chain.device_id() != running.identity.device_id()
            && running.revocations.check(chain).is_ok();
        if !is_ours {
            return false;
        }
        match running.state.devices.add(chain.device_id()) {
            Ok(added) => running.devices.chains.insert(chain.device_id(), chain.clone()).is_none() || added,
            Err(error) => {
                tracing::warn!(%error, "a device of the account is left out");
                false
            }
        }
    }

    /// Another device has told of one that is not known here.
    pub(super) fn find_told(
        &mut self,
        device: DeviceId,
        short: Option<DeviceShortId>,
        name: String,
        from: DeviceId,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &mut self.running else { return };
        if running.devices.finding.len() >= MAX_DEVICES || !running.devices.finding.insert(device) {
            return;
        }
        let directory = running.directory.clone();
        let find = async move {
            directory
                .ask(FIND, |reply| DirectoryMessage::Wanted { device, short, reply })
                .await
                .ok()
                .flatten()
        };
        scope.spawn_background(find, move |actor, chain, scope| {
            if let Some(running) = &mut actor.running {
                running.devices.finding.remove(&device);
            }
            let Some(chain) = chain else { return };
            if actor.own_known(&chain) {
                if let Some(running) = &mut actor.running {
                    running.state.devices.name(device, &name, from);
                }
                actor.devices_changed(scope);
            }
        });
    }

    /// A device has a link: it is known if it is ours.
    pub(super) fn own_linked(&mut self, device: DeviceId, account: AccountId, scope: &mut Scope<'_, Self>) {
        let Some(running) = &self.running else { return };
        if account != running.identity.account_id() {
            return;
        }
        if running.devices.chains.contains_key(&device) {
            self.push_devices(scope);
        } else {
            self.find_told(device, None, String::new(), device, scope);
        }
    }

    /// A device lacks something: it is linked if it is there.
    pub(super) fn connect_own(&self, device: DeviceId, scope: &mut Scope<'_, Self>) {
        let Some(running) = &self.running else { return };
        let chain = running.devices.chains.get(&device).filter(|_| running.devices.is_announced(device));
        let Some(chain) = chain.cloned() else { return };
        let (links, account) = (running.links.clone(), running.identity.account_id());
        let present = LinksMessage::Present { account, devices: vec![chain] };
        scope.spawn_background(async move { links.send(present).await }, |_, _, _| ());
    }

    /// New links know of no device: those that are there are introduced once more.
    pub(super) fn introduce_own(&self, scope: &mut Scope<'_, Self>) {
        let Some(running) = &self.running else { return };
        if running.conversations.is_empty() {
            return;
        }
        let there: Vec<_> = running.devices.chains.keys().copied().collect();
        for device in there {
            self.connect_own(device, scope);
        }
    }

    /// The account has revoked devices, as was heard or done here.
    pub(super) fn own_revoked(&mut self, scope: &mut Scope<'_, Self>) {
        if self.running.as_mut().is_some_and(Running::forget_revoked) {
            self.devices_changed(scope);
        }
    }

    pub(super) fn list_devices(&self) -> Vec<DeviceView> {
        let Some(running) = &self.running else { return Vec::new() };
        let own = running.identity.device_id();
        let view = |(id, device): (DeviceId, &skep_protocol::sync::KnownDevice)| DeviceView {
            id,
            name: device.name().to_owned(),
            this: id == own,
            online: (id == own && running.announced) || running.devices.is_announced(id),
            connected: running.up.contains_key(&id),
        };
        running.state.devices.iter().map(view).collect()
    }

    /// Gives this device another name.
    pub(super) fn rename_device(
        &mut self,
        name: &str,
        reply: Reply<Result<(), AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &mut self.running else { return };
        if name.len() > MAX_DEVICE_NAME {
            return reply.send(Err(AccountError::TooMany(format!("a name of {MAX_DEVICE_NAME} bytes"))));
        }
        if device_name(name).is_empty() {
            return reply.send(Err(AccountError::DeviceName));
        }
        let own = running.identity.device_id();
        running.state.devices.name(own, name, own);
        // It rides on the next full state, but people expect to see it.
        self.tell_contacts(scope);
        self.emit(Event::DevicesChanged {}, scope);
        self.save(Dirty::DEVICES, scope, |saved| reply.send(saved));
    }

    /// Has devices, contacts and requests told to those that are here.
    fn tell_contacts(&self, scope: &mut Scope<'_, Self>) {
        let Some(running) = &self.running else { return };
        let sync = running.sync.clone();
        scope.spawn_background(
            async move { sync.send(SyncActorMessage::ContactsChanged).await },
            |_, _, _| (),
        );
    }

    /// Revokes another device of the account, with the archive.
    pub(super) fn revoke_device(
        &mut self,
        device: DeviceId,
        password: Option<Password>,
        reply: Reply<Result<(), AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &self.running else { return };
        if running.revoked {
            return reply.send(Err(AccountError::Revoked));
        }
        let own = running.identity.device_id();
        if device == own {
            return reply.send(Err(AccountError::OwnDevice));
        }
        let directory = running.directory.clone();
        let known = running.devices.chains.get(&device).cloned();
        let account_key = running.identity.chain().account().public_key().clone();
        let lists = running.revocations.lists(running.identity.account_id());
        let (folder, pool, share, now) =
            (self.config.folder.clone(), self.config.pool.clone(), self.share(), scope.wall());
        let (mut nonce, first_number) = ([0; 12], scope.environment().random_u64());
        scope.environment().fill_random(&mut nonce);
        let revoke = async move {
            let ask = |reply| DirectoryMessage::Wanted { device, short: None, reply };
            let chain = match known {
                Some(chain) => chain,
                None => match directory.ask(FIND, ask).await {
                    Ok(Some(chain)) => chain,
                    _ => return Err(AccountError::UnknownDevice(device)),
                },
            };
            let work = move || {
                let (mut archive, key) = identity::read_archive(&folder, password.as_ref())?;
                let mut known = RevokedDevices::new(account_key);
                for list in lists {
                    // They were taken in before.
                    let _ = known.offer(list);
                }
                let list = archive
                    .revoke(&chain, own, &known, now, first_number)
                    .map_err(|error| AccountError::Revocation(error.to_string()))?
                    .clone();
                identity::write_archive(&folder, &archive, key.as_ref(), nonce)?;
                Ok(list)
            };
            pool.run(share, Lane::Bulk, work).await.unwrap_or_else(|error| Err(error.into()))
        };
        scope.spawn(revoke, move |account, revoked, scope| {
            reply.send(revoked.map(|list| account.publish_revocation(list, scope)));
        });
    }

    /// A list of ours that is durable in the archive takes effect, here and everywhere.
    fn publish_revocation(&mut self, list: RevocationList, scope: &mut Scope<'_, Self>) {
        let Some(running) = &self.running else { return };
        let directory = running.directory.clone();
        let key = running.identity.chain().account().public_key().clone();
        self.publish_list(&list, scope);
        // The directory keeps it and tells of it.
        let take = DirectoryMessage::Take { key, list: Box::new(list) };
        scope.spawn(async move { directory.send(take).await }, |actor, _, scope| actor.tell_contacts(scope));
    }
}
