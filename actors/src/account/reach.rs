//! How an account is found and finds others: announcements, presence, revocations and contact
//! requests over the DHT (`spec: contacts 1, 2, 6, identity 7`).

use std::sync::Arc;
use std::time::Duration;

use skep_protocol::contact::{
    Action, Audience, Incoming, OutgoingRequest, PresenceEvent, PresenceState, TrustRequestMessage,
    TrustTable, admit, receive,
};
use skep_protocol::dht::cipher;
use skep_protocol::dht::content::{Content, SignedContent};
use skep_protocol::dht::kind::ValueKind;
use skep_protocol::dht::value::{Body, Value, ValueId};
use skep_protocol::identity::{Announcement, VerifiedChain};
use skep_protocol::ids::{AccountId, ConversationId, DhtKey};
use skep_protocol::keys::PublicKey;
use skep_protocol::msgpack::Value as Object;
use skep_protocol::profile::{PersonalProfile, shown_name, trust_request_payload};
use skep_protocol::sync::ConversationRecord;

use super::actor::{ASK, AccountActor};
use super::messages::{AccountError, AccountMessage, DhtPlace};
use super::state::{Dirty, State};
use crate::blocking::Lane;
use crate::dht::envelope::{EnvelopeRandom, random_value_id, seal};
use crate::dht::messages::{DhtMessage, ListenEvent, ListenId};
use crate::directory::messages::DirectoryMessage;
use crate::event::Event;
use crate::peer::messages::LinksMessage;
use crate::supervision::{Reply, Scope, SendError};

/// How long the DHT may take to keep a value.
const PUT: Duration = Duration::from_secs(30);

/// Pause before a put that failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Pause before the certificate of an announced device is looked for again; doubles each time. The
/// device may have announced itself before its certificate had arrived.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// Longest such pause; then the device has to announce itself anew.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Pause before a listening that was refused is tried again.
const LISTEN_AGAIN: Duration = Duration::from_secs(10);

/// How long finding somebody's devices may take.
const FIND: Duration = Duration::from_secs(60);

/// How often the DHT is asked how it is.
const WATCH: Duration = Duration::from_secs(5);

/// Values of the inbox decrypted at once; each costs two milliseconds, and anybody may put them.
const MAX_OPENING: usize = 64;

/// Devices whose letters wait for a certificate at once.
const MAX_SENDERS: usize = 256;

/// Letters of one device that wait for its certificate at once: a request, a confirmation, repeated.
const MAX_LETTERS_EACH: usize = 4;

/// Announcements of one contact looked at; beyond it, somebody floods its key.
const MAX_ANNOUNCED: usize = 256;

/// Value id of the device certificate (`spec: dht 11`).
const CERTIFICATE_ID: ValueId = ValueId(1);

/// The name in a vCard that came with a request, made safe to show; empty if there is none.
pub(super) fn name_in(payload: &[u8]) -> String {
    PersonalProfile::parse(payload).map(|profile| shown_name(&profile.name)).unwrap_or_default()
}

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
        let presence = &mut running.presence;
        let events = contacts.iter().flat_map(|contact| presence.revoked(*contact, |_| true)).collect();
        tracing::error!(account = %self.config.local, "this device was revoked; it connects to nobody any more");
        self.presence_changed(events, scope);
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
        let events = running.presence.revoked(account, |serial| revocations.names(account, serial));
        let links = running.links.clone();
        scope.spawn(async move { links.send(LinksMessage::Recheck).await }, |_, _, _| ());
        let ours = !running.revoked && self.is_revoked();
        self.presence_changed(events, scope);
        if ours {
            self.end_reach(scope);
        }
    }

    /// Puts the device's certificate, then its announcement and the account's revocation lists, for
    /// as long as the account lives: whoever sees the announcement looks for the certificate.
    fn announce(&mut self, scope: &mut Scope<'_, Self>) {
        let Some(running) = &self.running else { return };
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
        let announcement = running.identity.announcement(random_value_id(scope.environment()));
        let lists = running.revocations.lists(own);
        self.publish(own.dht_key(), announcement, Publication::Announcement, scope);
        for list in lists {
            let value = list.to_value(random_value_id(scope.environment()));
            self.publish(own.dht_key(), value, Publication::RevocationList, scope);
        }
    }

    /// Puts a value permanently, again and again until the DHT has it.
    fn publish(&mut self, key: DhtKey, value: Value, what: Publication, scope: &mut Scope<'_, Self>) {
        let Some(running) = self.running.as_mut().filter(|running| !running.revoked) else { return };
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
        let Some(running) = self.running.as_mut().filter(|running| !running.revoked) else { return };
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
            (DhtPlace::Inbox | DhtPlace::Own, ListenEvent::Expired(_)) => {}
            (DhtPlace::Own, ListenEvent::Values(values)) => {
                let Some(running) = &self.running else { return };
                self.show_directory(running.identity.account_id(), values, scope);
            }
            (DhtPlace::Contact(contact), ListenEvent::Values(values)) => {
                self.show_directory(contact, values.clone(), scope);
                for value in values.iter().take(MAX_ANNOUNCED) {
                    self.announced(contact, value, scope);
                }
            }
            (DhtPlace::Contact(contact), ListenEvent::Expired(fingerprints)) => {
                let Some(running) = &mut self.running else { return };
                let mut events = Vec::new();
                for fingerprint in fingerprints {
                    events.extend(running.presence.expired(contact, fingerprint));
                }
                self.presence_changed(events, scope);
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

    fn announced(&mut self, contact: AccountId, value: &Value, scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        if !running.listening.contains(&contact) {
            return;
        }
        let Ok(Announcement { key: Some(key), .. }) = Announcement::from_value(value, contact) else {
            return;
        };
        let device = key.device_id();
        running.presence.announced(contact, value.fingerprint(), device);
        if running.presence.awaits_verification(contact, device) || !running.up.contains_key(&device) {
            self.introduce(contact, vec![key], FIRST_PAUSE, scope);
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

    fn introduced(&mut self, account: AccountId, devices: Vec<VerifiedChain>, scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        if devices.is_empty() || !running.listening.contains(&account) {
            return;
        }
        let events = devices.iter().flat_map(|chain| running.presence.verified(chain)).collect();
        let links = running.links.clone();
        let present = async move { links.send(LinksMessage::Present { account, devices }).await };
        scope.spawn_background(present, |_, _, _| ());
        self.presence_changed(events, scope);
    }

    pub(super) fn presence_changed(&mut self, events: Vec<PresenceEvent>, scope: &mut Scope<'_, Self>) {
        for event in events {
            let PresenceEvent::Changed { account, before, after } = event else { continue };
            let Some(running) = &mut self.running else { return };
            let (was, is) = (before != PresenceState::Offline, after != PresenceState::Offline);
            if was != is {
                if is {
                    running.state.outgoing.came_online(account);
                } else {
                    running.state.outgoing.went_offline(account);
                }
                self.emit(Event::Presence { contact: account, online: is }, scope);
                self.resend(scope);
            }
        }
    }

    /// Sends the requests that are due again, and sets the alarm for the next.
    pub(super) fn resend(&mut self, scope: &mut Scope<'_, Self>) {
        let Some(running) = self.running.as_mut().filter(|running| !running.revoked) else { return };
        let due = running.state.outgoing.due(scope.now());
        scope.set_alarm(running.state.outgoing.next_deadline());
        for (account, message) in due {
            self.send_trust(account, message, scope);
        }
    }

    /// Puts a request or confirmation into the inbox of every device of an account.
    fn send_trust(&mut self, account: AccountId, message: TrustRequestMessage, scope: &mut Scope<'_, Self>) {
        let share = self.share();
        let Some(running) = self.running.as_ref().filter(|running| !running.revoked) else { return };
        let (directory, links) = (running.directory.clone(), running.links.clone());
        let (key, environment) = (running.identity.key().clone(), scope.environment().clone());
        let (dht, pool) = (self.config.dht.clone(), self.config.pool.clone());
        let send = async move {
            let Ok(devices) = directory.ask(FIND, |reply| DirectoryMessage::Devices { account, reply }).await
            else {
                return;
            };
            let letters = devices.iter().map(|device| {
                let recipient = device.device().public_key().clone();
                let inbox = DhtKey::inbox(recipient.device_short_id());
                let (content, key) = (message.to_content(), key.clone());
                let (random, dht, pool) = (EnvelopeRandom::draw(&environment), dht.clone(), pool.clone());
                async move {
                    let seal = move || seal(content, &key, &recipient, &random);
                    let Ok(Ok(value)) = pool.run(share, Lane::Quick, seal).await else { return };
                    let put = |reply| DhtMessage::Put { key: inbox, value, permanent: false, reply };
                    if let Ok(Err(error)) = dht.ask(PUT, put).await {
                        tracing::debug!(%account, %error, "a contact request was not put; it is sent again");
                    }
                }
            });
            futures::future::join_all(letters).await;
            if !devices.is_empty() {
                let _ = links.send(LinksMessage::Present { account, devices }).await;
            }
        };
        scope.spawn_background(send, |_, (), _| ());
    }

    fn open_letter(&mut self, value: &Value, scope: &mut Scope<'_, Self>) {
        let share = self.share();
        let Some(running) = &mut self.running else { return };
        let Body::Encrypted(cipher) = value.body.clone() else { return };
        if running.opening >= MAX_OPENING {
            tracing::warn!("too many values in the inbox; some are not looked at");
            return;
        }
        running.opening += 1;
        let (pool, key) = (self.config.pool.clone(), running.identity.key().clone());
        let open = async move {
            let opened =
                pool.run(share, Lane::Quick, move || cipher::open(&cipher, &key)).await.ok()?.ok()?;
            read_letter(&opened)
        };
        scope.spawn_background(open, |account, letter, scope| {
            if let Some(running) = &mut account.running {
                running.opening -= 1;
            }
            if let Some((sender, message)) = letter {
                account.find_sender(sender, message, scope);
            }
        });
    }

    /// Finds the certificate of whoever sent a letter. Few letters of one device wait for that at
    /// once, so that one whose certificate is nowhere does not take the places of others.
    fn find_sender(&mut self, sender: PublicKey, message: TrustRequestMessage, scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        let (device, short) = (sender.device_id(), sender.device_short_id());
        let room = running.senders.len() < MAX_SENDERS || running.senders.contains_key(&device);
        let waiting = running.senders.get(&device).copied().unwrap_or_default();
        if !room || waiting >= MAX_LETTERS_EACH {
            tracing::warn!(%device, "too many letters wait for certificates; one is not read");
            return;
        }
        running.senders.insert(device, waiting + 1);
        let directory = running.directory.clone();
        let find = async move {
            let ask = |reply| DirectoryMessage::Device { device, short, reply };
            directory.ask(FIND, ask).await.ok().flatten()
        };
        scope.spawn_background(find, move |account, chain, scope| {
            if let Some(running) = &mut account.running
                && let Some(waiting) = running.senders.get_mut(&device)
            {
                *waiting -= 1;
                if *waiting == 0 {
                    running.senders.remove(&device);
                }
            }
            if let Some(chain) = chain {
                account.take_letter(&chain, sender, message, scope);
            }
        });
    }

    fn take_letter(
        &mut self,
        chain: &VerifiedChain,
        device: PublicKey,
        message: TrustRequestMessage,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &mut self.running else { return };
        let own = running.identity.account_id();
        let (trust, contacts) = (TrustTable::new(own, None), &running.state.contacts);
        let status = |id| trust.status(contacts, id);
        let lists = running.revocations.lists(chain.account_id());
        if let Err(denial) = admit(chain.chain(), status, Audience::Public, &lists, scope.wall()) {
            tracing::debug!(%denial, "a contact request is ignored");
            return;
        }
        let State { contacts, pending, conversations, .. } = &mut running.state;
        let actions = receive(
            scope.wall(),
            own,
            contacts,
            pending,
            |id| conversations.get(id).is_some(),
            Incoming { account: chain.account_id(), device, message },
        );
        if actions.iter().any(|action| !matches!(action, Action::Ignore(_))) {
            self.save(Dirty::CONTACTS, scope, |_| ());
        }
        for action in actions {
            self.act(action, scope);
        }
    }

    fn act(&mut self, action: Action, scope: &mut Scope<'_, Self>) {
        match action {
            Action::ContactConfirmed(change) => {
                self.push_trust(scope);
                self.emit(Event::ContactAdded { contact: change.account, confirmed: true }, scope);
            }
            Action::SendConfirmation { account, conversation } => {
                let now = scope.now();
                let allowed = self.running.as_mut().is_some_and(|running| running.pace.allows(now, account));
                if allowed {
                    self.send_trust(account, TrustRequestMessage::confirmation(conversation), scope);
                }
            }
            Action::ForgetOutgoing { account } => {
                if let Some(running) = &mut self.running {
                    running.state.outgoing.forget(account);
                    self.save(Dirty::CONTACTS, scope, |_| ());
                }
            }
            Action::RaiseRequest { account, conversation, payload, .. } => {
                let name = name_in(&payload);
                self.emit(Event::ContactRequest { from: account, name, conversation }, scope);
            }
            Action::CloneConversation { account, conversation } => {
                self.expect_conversation(account, conversation, scope, |_| ());
            }
            Action::Ignore(reason) => tracing::debug!(?reason, "a contact request changes nothing"),
            other => tracing::debug!(?other, "nothing is done about a contact request"),
        }
    }

    /// Adds a contact: first the conversation, then the record, then the request.
    pub(super) fn add_contact(
        &mut self,
        contact: AccountId,
        reply: Reply<Result<ConversationId, AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &mut self.running else { return };
        if contact == running.identity.account_id() {
            return reply.send(Err(AccountError::Oneself(contact)));
        }
        if running.revoked {
            return reply.send(Err(AccountError::Revoked));
        }
        // Who asked us is accepted instead: two conversations for two people help nobody.
        if running.state.pending.get(contact).is_some_and(|request| request.conversation.is_some()) {
            return self.accept(contact, reply, scope);
        }
        let record = running.state.contacts.get(contact).filter(|record| record.is_active()).copied();
        if let Some(conversation) = record.and_then(|record| record.conversation) {
            return reply.send(Ok(conversation));
        }
        if let Some(waiting) = running.adding.get_mut(&contact) {
            return waiting.push(reply);
        }
        running.adding.insert(contact, vec![reply]);
        self.begin_conversation(contact, scope, move |account, made, scope| match made {
            Ok(conversation) => account.contact_added(contact, conversation, scope),
            Err(error) => account.answer_adding(contact, &Err(error)),
        });
    }

    fn contact_added(
        &mut self,
        contact: AccountId,
        conversation: ConversationId,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &mut self.running else { return };
        let (now, own) = (scope.wall(), running.identity.account_id());
        let profile = PersonalProfile { name: running.state.name.clone(), picture: None }.to_vcard();
        let payload = trust_request_payload(profile.trim_end().as_bytes()).to_vec();
        let request = OutgoingRequest { conversation, payload, invited: now };
        let added = running.state.contacts.add(now, contact, Some(conversation), false);
        let record = ConversationRecord::new(now, [own, contact], 0);
        let recorded = running.state.conversations.insert(conversation, record);
        if let Err(error) = added.map_err(|error| error.to_string()).and(recorded.map_err(|e| e.to_string()))
        {
            return self.answer_adding(contact, &Err(AccountError::TooMany(error)));
        }
        let message = request.message();
        if let Err(error) = running.state.outgoing.sent(scope.now(), contact, request) {
            tracing::warn!(%contact, %error, "a contact request will not be repeated");
        }
        self.start_conversation(conversation, scope);
        self.track(contact, scope);
        self.push_trust(scope);
        self.emit(Event::ContactAdded { contact, confirmed: false }, scope);
        self.save_then(Dirty::BOTH, scope, move |account, saved, scope| {
            account.answer_adding(contact, &saved.map(|()| conversation));
            account.send_trust(contact, message, scope);
        });
    }

    fn answer_adding(&mut self, contact: AccountId, answer: &Result<ConversationId, AccountError>) {
        let Some(running) = &mut self.running else { return };
        for reply in running.adding.remove(&contact).unwrap_or_default() {
            reply.send(answer.clone());
        }
    }

    pub(super) fn accept(
        &mut self,
        from: AccountId,
        reply: Reply<Result<ConversationId, AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &mut self.running else { return };
        let request = running.state.pending.get(from).and_then(|request| request.conversation);
        let Some(conversation) = request else {
            return reply.send(Err(AccountError::UnknownRequest(from)));
        };
        if running.revoked {
            return reply.send(Err(AccountError::Revoked));
        }
        if let Err(error) = running.state.contacts.add(scope.wall(), from, Some(conversation), true) {
            return reply.send(Err(AccountError::TooMany(error.to_string())));
        }
        running.state.pending.remove(from);
        running.state.outgoing.forget(from);
        self.track(from, scope);
        self.push_trust(scope);
        self.emit(Event::ContactAdded { contact: from, confirmed: true }, scope);
        self.send_trust(from, TrustRequestMessage::confirmation(Some(conversation)), scope);
        self.expect_conversation(from, conversation, scope, move |saved| {
            reply.send(saved.map(|()| conversation));
        });
    }

    pub(super) fn decline(
        &mut self,
        from: AccountId,
        reply: Reply<Result<(), AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &mut self.running else { return };
        if running.state.pending.remove(from).is_none() {
            return reply.send(Err(AccountError::UnknownRequest(from)));
        }
        self.save(Dirty::CONTACTS, scope, |saved| reply.send(saved));
    }

    pub(super) fn remove_contact(
        &mut self,
        contact: AccountId,
        ban: bool,
        reply: Reply<Result<(), AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &mut self.running else { return };
        let conversation = running.state.contacts.get(contact).and_then(|record| record.conversation);
        match running.state.contacts.remove(scope.wall(), contact, ban) {
            Ok(_) => {}
            Err(_) => return reply.send(Err(AccountError::UnknownContact(contact))),
        }
        running.state.pending.remove(contact);
        running.state.outgoing.forget(contact);
        let links = running.links.clone();
        scope.spawn(async move { links.send(LinksMessage::Drop { account: contact }).await }, |_, _, _| ());
        self.untrack(contact, scope);
        self.push_trust(scope);
        self.emit(Event::ContactRemoved { contact, banned: ban }, scope);
        // The history with somebody banned is kept; the one with somebody removed is not.
        if let Some(conversation) = conversation.filter(|_| !ban) {
            self.forget_conversation(conversation, scope);
        }
        self.save(Dirty::BOTH, scope, |saved| reply.send(saved));
    }
}

/// The sender's key and the contact request in an opened value, if it is one.
fn read_letter(signed: &SignedContent) -> Option<(PublicKey, TrustRequestMessage)> {
    let content = signed.content();
    if content.type_number != ValueKind::TrustRequest.type_number() {
        return None;
    }
    match TrustRequestMessage::decode(&content.data) {
        Ok(message) => Some((signed.owner().clone(), message)),
        Err(error) => {
            tracing::debug!(%error, "a contact request is unreadable");
            None
        }
    }
}
