//! How an account is found and finds others: announcements, presence and revocations on the DHT
//! (`spec: contacts 1 and 6, identity 7`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skep_protocol::dht::content::Content;
use skep_protocol::dht::kind::ValueKind;
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::identity::{Announcement, RevocationList, VerifiedChain};
use skep_protocol::ids::{AccountId, DhtKey};
use skep_protocol::keys::PublicKey;
use skep_protocol::msgpack::Value as Object;

use super::actor::{ASK, AccountActor};
use super::messages::{AccountMessage, DhtPlace};
use crate::dht::envelope::random_value_id;
use crate::dht::messages::{DhtMessage, ListenEvent, ListenId};
use crate::directory::messages::DirectoryMessage;
use crate::event::Event;
use crate::peer::messages::LinksMessage;
use crate::supervision::{Reply, Scope, SendError};

/// How long the DHT may take to keep a value.
pub(super) const PUT: Duration = Duration::from_secs(30);

/// Pause before a put that failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Pause before the certificate of an announced device is looked for again; doubles each time. The
/// device may have announced itself before its certificate had arrived.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// Longest such pause; then the device has to announce itself anew.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Pause before a listening that was refused is tried again.
const LISTEN_AGAIN: Duration = Duration::from_secs(10);

/// How long finding somebody's devices may take.
pub(super) const FIND: Duration = Duration::from_secs(60);

/// How often the DHT is asked how it is.
const WATCH: Duration = Duration::from_secs(5);

/// Announcements of one contact looked at; beyond it, somebody floods its key.
const MAX_ANNOUNCED: usize = 256;

/// Value id of the device certificate (`spec: dht 11`).
const CERTIFICATE_ID: ValueId = ValueId(1);

/// What of ours is kept on the DHT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Publication {
    Certificate,
    /// The certificate, where older releases look for it.
    LegacyCertificate,
    Announcement,
    RevocationList,
}

impl AccountActor {
    /// Begins to be found and to find others.
    pub(super) fn begin_reach(&mut self, contacts: Vec<AccountId>, scope: &mut Scope<'_, Self>) {
        self.announce(scope);
        let Some(running) = &self.running else { return };
        self.listen(running.identity.account_id().dht_key(), DhtPlace::Own, scope);
        self.listen_inbox(scope);
        for contact in contacts {
            self.track(contact, scope);
        }
        self.follow_fellows(scope);
    }

    /// Ceases to be found and to find others, because this device was revoked. The links refuse
    /// everybody by themselves.
    pub(super) fn end_reach(&mut self, scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        running.revoked = true;
        running.announced = false;
        let published = std::mem::take(&mut running.published);
        let contacts = std::mem::take(&mut running.listening);
        let inbox = DhtKey::inbox(running.identity.key().public().device_short_id());
        let own = running.identity.account_id().dht_key();
        let keys = contacts.iter().map(AccountId::dht_key).chain([inbox, own]);
        let listens: Vec<_> = keys.map(|key| ListenId::of(scope.port().id(), key)).collect();
        let dht = self.config.dht.clone();
        let cancel = async move {
            for (key, id) in published {
                dht.send(DhtMessage::CancelPut { key, id }).await?;
            }
            for id in listens {
                dht.send(DhtMessage::Cancel { id }).await?;
            }
            Ok::<_, SendError>(())
        };
        scope.spawn(cancel, |_, _, _| ());
        for contact in &contacts {
            running.presence.revoked(*contact, |_| true);
        }
        tracing::error!(account = %self.config.local, "this device was revoked; it connects to nobody any more");
        self.tell_presence(scope);
        self.emit(Event::DeviceRevoked {}, scope);
    }

    /// Whether our account has revoked this device.
    pub(super) fn is_revoked(&self) -> bool {
        self.running.as_ref().is_some_and(|running| {
            let chain = running.identity.chain();
            running.revocations.check(chain).is_err()
        })
    }

    /// Somebody has revoked a device, perhaps ourselves this one.
    pub(super) fn revoked(&mut self, account: AccountId, scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        let revocations = &running.revocations;
        running.presence.revoked(account, |serial| revocations.names(account, serial));
        let links = running.links.clone();
        scope.spawn(async move { links.send(LinksMessage::Recheck).await }, |_, _, _| ());
        let is_own = account == running.identity.account_id();
        let ours = !running.revoked && self.is_revoked();
        if is_own {
            self.own_revoked(scope);
        }
        self.tell_presence(scope);
        if ours {
            self.end_reach(scope);
        }
    }

    /// Puts the device's certificate, then its announcement and the account's revocation lists, for
    /// as long as the account lives: whoever sees the announcement looks for the certificate.
    fn announce(&mut self, scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        // The DHT may still have that of an actor that failed.
        running.published.push((running.identity.account_id().dht_key(), self.config.announcement));
        let key = running.identity.key().public();
        let pem = running.identity.chain().chain().to_pem();
        let content =
            Content::new(ValueKind::Certificate.type_number(), Object::binary(pem.as_bytes()).encode());
        let certificate = Value::plain(CERTIFICATE_ID, content);
        let (place, legacy) =
            (DhtKey::certificate(key.device_id()), DhtKey::legacy_certificate(key.device_short_id()));
        self.publish(place, certificate.clone(), Publication::Certificate, scope);
        self.publish(legacy, certificate, Publication::LegacyCertificate, scope);
    }

    fn certificate_published(&mut self, scope: &mut Scope<'_, Self>) {
        let Some(running) = &self.running else { return };
        let own = running.identity.account_id();
        let announcement = running.identity.announcement(self.config.announcement);
        let lists = running.revocations.lists(own);
        self.publish(own.dht_key(), announcement, Publication::Announcement, scope);
        for list in lists {
            self.publish_list(&list, scope);
        }
    }

    /// Puts a revocation list of the account permanently.
    pub(super) fn publish_list(&mut self, list: &RevocationList, scope: &mut Scope<'_, Self>) {
        let Some(running) = &self.running else { return };
        let own = running.identity.account_id().dht_key();
        let value = list.to_value(random_value_id(scope.environment()));
        self.publish(own, value, Publication::RevocationList, scope);
    }

    /// Puts a value permanently, again and again until the DHT has it or it may not be published any
    /// more.
    fn publish(&mut self, key: DhtKey, value: Value, what: Publication, scope: &mut Scope<'_, Self>) {
        let Some(running) = self.running.as_mut().filter(|running| running.may_publish()) else { return };
        if !running.published.contains(&(key, value.id)) {
            running.published.push((key, value.id));
        }
        let (dht, sent) = (self.config.dht.clone(), value.clone());
        let put = async move {
            dht.ask(PUT, |reply| DhtMessage::Put { key, value: sent, permanent: true, reply }).await
        };
        scope.spawn_background(put, move |account, answer, scope| match answer {
            Ok(Ok(_)) => account.published(what, scope),
            _ => {
                scope.after(AGAIN, move |account, scope| account.publish(key, value, what, scope));
            }
        });
    }

    fn published(&mut self, what: Publication, scope: &mut Scope<'_, Self>) {
        let Some(running) = self.running.as_mut().filter(|running| running.may_publish()) else { return };
        match what {
            Publication::Certificate => self.certificate_published(scope),
            Publication::Announcement => {
                if !std::mem::replace(&mut running.announced, true) {
                    self.emit(Event::AccountReady {}, scope);
                }
            }
            Publication::LegacyCertificate | Publication::RevocationList => {}
        }
    }

    /// Has the DHT forget what is published for the account: the nodes that keep it let it expire.
    pub(super) fn withdraw(&mut self, reply: Reply<()>, scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return reply.send(()) };
        running.announced = false;
        running.withdrawn = true;
        let (dht, published) = (self.config.dht.clone(), std::mem::take(&mut running.published));
        let cancel = async move {
            for (key, id) in published {
                if let Err(error) = dht.send(DhtMessage::CancelPut { key, id }).await {
                    tracing::warn!(%error, "an account is still announced");
                }
            }
        };
        scope.spawn(cancel, |_, (), _| reply.send(()));
    }

    /// Listens for what is put into our inbox.
    fn listen_inbox(&mut self, scope: &mut Scope<'_, Self>) {
        let Some(running) = &self.running else { return };
        let key = DhtKey::inbox(running.identity.key().public().device_short_id());
        self.listen(key, DhtPlace::Inbox, scope);
    }

    fn listen(&mut self, key: DhtKey, place: DhtPlace, scope: &mut Scope<'_, Self>) {
        let dht = self.config.dht.clone();
        let outlet = scope.port().outlet(move |event| AccountMessage::Dht(place, event));
        let id = ListenId::of(scope.port().id(), key);
        let listen = async move {
            dht.send(DhtMessage::Cancel { id }).await?;
            dht.send(DhtMessage::Listen { id, key, outlet }).await
        };
        scope.spawn_background(listen, move |account, sent, scope| {
            if sent.is_err() {
                account.listen_later(key, place, scope);
            }
        });
    }

    fn listen_later(&mut self, key: DhtKey, place: DhtPlace, scope: &mut Scope<'_, Self>) {
        scope.after(LISTEN_AGAIN, move |account, scope| {
            let Some(running) = &account.running else { return };
            let wanted = match place {
                DhtPlace::Contact(contact) => running.listening.contains(&contact),
                DhtPlace::Inbox | DhtPlace::Own => !running.revoked,
            };
            if wanted {
                account.listen(key, place, scope);
            }
        });
    }

    /// Follows whether a contact is there.
    pub(super) fn track(&mut self, contact: AccountId, scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        if !running.presence.track(contact) || !running.listening.insert(contact) {
            return;
        }
        running.revocations.follow(contact);
        for (device, _) in running.up.iter().filter(|(_, account)| **account == contact) {
            running.presence.channel_opened(contact, *device);
        }
        self.tell_presence(scope);
        self.listen(contact.dht_key(), DhtPlace::Contact(contact), scope);
    }

    pub(super) fn untrack(&mut self, contact: AccountId, scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        running.presence.untrack(contact);
        running.revocations.unfollow(contact);
        if running.listening.remove(&contact) {
            let (dht, id) = (self.config.dht.clone(), ListenId::of(scope.port().id(), contact.dht_key()));
            scope.spawn(async move { dht.send(DhtMessage::Cancel { id }).await }, |_, _, _| ());
        }
    }

    /// Tells the owner when the DHT becomes reachable or ceases to be.
    pub(super) fn watch_dht(&mut self, scope: &mut Scope<'_, Self>) {
        let dht = self.config.dht.clone();
        let ask = async move { dht.ask(ASK, |reply| DhtMessage::Health { reply }).await };
        scope.spawn_background(ask, |account, health, scope| {
            let reachable = health.is_ok_and(|health| health.reachable);
            if let Some(running) = &mut account.running
                && running.reachable != reachable
            {
                running.reachable = reachable;
                account.emit(Event::DhtReachable { reachable }, scope);
            }
            scope.after(WATCH, Self::watch_dht);
        });
    }

    pub(super) fn dht(&mut self, place: DhtPlace, event: ListenEvent, scope: &mut Scope<'_, Self>) {
        match (place, event) {
            (place, ListenEvent::Refused(error)) => {
                tracing::error!(%error, ?place, "nothing can be listened for; it is tried again");
                let Some(running) = &self.running else { return };
                let key = match place {
                    DhtPlace::Inbox => DhtKey::inbox(running.identity.key().public().device_short_id()),
                    DhtPlace::Own => running.identity.account_id().dht_key(),
                    DhtPlace::Contact(contact) => contact.dht_key(),
                };
                self.listen_later(key, place, scope);
            }
            (DhtPlace::Inbox, ListenEvent::Values(values)) => {
                for value in values {
                    self.open_letter(&value, scope);
                }
            }
            (DhtPlace::Inbox, ListenEvent::Expired(_)) => {}
            (DhtPlace::Own, ListenEvent::Expired(fingerprints)) => self.own_expired(&fingerprints, scope),
            (DhtPlace::Own, ListenEvent::Values(values)) => {
                self.own_announced(&values, scope);
                let Some(running) = &self.running else { return };
                self.show_directory(running.identity.account_id(), values, scope);
            }
            (DhtPlace::Contact(contact), ListenEvent::Values(values)) => {
                self.show_directory(contact, values.clone(), scope);
                self.announced(contact, &values, scope);
            }
            (DhtPlace::Contact(contact), ListenEvent::Expired(fingerprints)) => {
                let Some(running) = &mut self.running else { return };
                for fingerprint in fingerprints {
                    running.presence.expired(contact, fingerprint);
                }
                self.tell_presence(scope);
            }
        }
    }

    /// Shows the directory what appeared at a person's key: there may be a revocation list.
    fn show_directory(&self, account: AccountId, values: Vec<Arc<Value>>, scope: &mut Scope<'_, Self>) {
        let Some(running) = &self.running else { return };
        if values.iter().all(|value| value.content().is_none()) {
            // Lists are put plain.
            return;
        }
        let directory = running.directory.clone();
        let show = async move { directory.send(DirectoryMessage::Seen { account, values }).await };
        scope.spawn_background(show, |_, _, _| ());
    }

    /// Values appeared at the key of somebody who is followed: devices of theirs may be among them.
    fn announced(&mut self, contact: AccountId, values: &[Arc<Value>], scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        if !running.listening.contains(&contact) {
            return;
        }
        let mut new = BTreeMap::new();
        for value in values.iter().take(MAX_ANNOUNCED) {
            let Ok(Announcement { key: Some(key), .. }) = Announcement::from_value(value, contact) else {
                continue;
            };
            let device = key.device_id();
            if running.presence.announced(contact, value.fingerprint(), device)
                && !running.state.banned_devices.contains(device)
                && (running.presence.awaits_verification(contact, device)
                    || !running.up.contains_key(&device))
            {
                new.insert(device, key);
            }
        }
        if !new.is_empty() {
            self.introduce(contact, new.into_values().collect(), FIRST_PAUSE, scope);
        }
    }

    /// Finds the certificates of announced devices: from then on they count as there, and the links
    /// may connect to them. What is not found is looked for again after `pause`.
    fn introduce(
        &mut self,
        account: AccountId,
        keys: Vec<PublicKey>,
        pause: Duration,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &self.running else { return };
        let directory = running.directory.clone();
        let find = async move {
            let wanted = keys.clone();
            let ask = |reply| DirectoryMessage::Announced { account, keys: wanted, reply };
            (directory.ask(FIND, ask).await.unwrap_or_default(), keys)
        };
        scope.spawn_background(find, move |actor, (devices, mut keys), scope| {
            actor.introduced(account, devices, scope);
            let Some(running) = &actor.running else { return };
            keys.retain(|key| running.presence.awaits_verification(account, key.device_id()));
            if !keys.is_empty() && running.listening.contains(&account) && pause <= LONGEST_PAUSE {
                scope.after(pause, move |actor, scope| actor.introduce(account, keys, pause * 2, scope));
            }
        });
    }

    pub(super) fn introduced(
        &mut self,
        account: AccountId,
        mut devices: Vec<VerifiedChain>,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &mut self.running else { return };
        devices.retain(|chain| !running.state.banned_devices.contains(chain.device_id()));
        if devices.is_empty() || !running.listening.contains(&account) {
            return;
        }
        for chain in &devices {
            running.presence.verified(chain);
        }
        let links = running.links.clone();
        let present = async move { links.send(LinksMessage::Present { account, devices }).await };
        scope.spawn_background(present, |_, _, _| ());
        self.tell_presence(scope);
    }

    /// Acts on who came and went, and tells the owner.
    pub(super) fn tell_presence(&mut self, scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        let changes = running.presence.changes(scope.now());
        for change in &changes {
            match (change.was_online, change.is_online()) {
                (false, true) => running.state.outgoing.came_online(change.account),
                (true, false) => running.state.outgoing.went_offline(change.account),
                _ => {}
            }
        }
        for change in changes {
            let (contact, online) = (change.account, change.is_online());
            self.emit(Event::Presence { contact, online, devices: change.devices }, scope);
        }
        self.resend(scope);
    }
}
