//! What comes over the inboxes of devices on the DHT: contact requests and their answers
//! (`spec: contacts 2`), and of 2023 instant messages (`spec: dht 11.1`) and what own devices tell
//! (`spec: sync 9.1`).

use skep_protocol::contact::{
    Action, Audience, Incoming, OutgoingRequest, TrustRequestMessage, TrustStatus, TrustTable, admit, receive,
};
use skep_protocol::dht::cipher;
use skep_protocol::dht::content::{Content, SignedContent};
use skep_protocol::dht::instant::DhtInstantMessage;
use skep_protocol::dht::kind::ValueKind;
use skep_protocol::dht::value::{Body, Value};
use skep_protocol::identity::VerifiedChain;
use skep_protocol::ids::{AccountId, ConversationId, DhtKey};
use skep_protocol::keys::PublicKey;
use skep_protocol::profile::{PersonalProfile, request_payload, shown_name};
use skep_protocol::swarm::message::Mode;
use skep_protocol::sync::{ConversationRecord, SyncMessage};

use super::actor::AccountActor;
use super::messages::AccountError;
use super::reach::{FIND, PUT};
use super::state::{Dirty, State};
use crate::blocking::Lane;
use crate::dht::envelope::{EnvelopeRandom, seal};
use crate::dht::messages::DhtMessage;
use crate::directory::messages::DirectoryMessage;
use crate::event::Event;
use crate::peer::messages::{LinksMessage, Notice};
use crate::profile::messages::ProfilesMessage;
use crate::supervision::{Reply, Scope};

/// Values of the inbox decrypted at once; each costs two milliseconds, and anybody may put them.
const MAX_OPENING: usize = 64;

/// Devices whose letters wait for a certificate at once.
const MAX_SENDERS: usize = 256;

/// Answers to instant messages on their way to the DHT at once; who gets none writes again after a minute.
const MAX_ANSWERING: usize = 16;

/// Letters of one device that wait for its certificate at once: a request, a confirmation, repeated.
const MAX_LETTERS_EACH: usize = 4;

/// What a device put into our inbox.
#[derive(Debug)]
enum Letter {
    /// A contact request or its confirmation.
    Trust(TrustRequestMessage),
    /// What later releases send over links only.
    Instant(DhtInstantMessage),
    /// What another device of the account knows. Later releases tell it over links only.
    Devices(Box<SyncMessage>),
}

/// The name in a vCard that came with a request, made safe to show; empty if there is none.
pub(super) fn name_in(payload: &[u8]) -> String {
    PersonalProfile::parse(payload).map(|profile| shown_name(&profile.name)).unwrap_or_default()
}

impl AccountActor {
    /// Sends the requests that are due again, and sets the alarm for the next, or for telling who is there.
    pub(super) fn resend(&mut self, scope: &mut Scope<'_, Self>) {
        let Some(running) = self.running.as_mut().filter(|running| !running.revoked) else { return };
        let due = running.state.outgoing.due(scope.now());
        let deadlines = [running.state.outgoing.next_deadline(), running.presence.next_deadline()];
        scope.set_alarm(deadlines.into_iter().flatten().min());
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
        let banned = running.state.banned_devices.clone();
        let send = async move {
            let Ok(mut devices) =
                directory.ask(FIND, |reply| DirectoryMessage::Devices { account, reply }).await
            else {
                return;
            };
            devices.retain(|chain| !banned.contains(chain.device_id()));
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

    pub(super) fn open_letter(&mut self, value: &Value, scope: &mut Scope<'_, Self>) {
        let share = self.share();
        let Some(running) = &mut self.running else { return };
        let Body::Encrypted(cipher) = value.body.clone() else { return };
        if running.opening >= MAX_OPENING {
            tracing::warn!("too many values in the inbox; some are not looked at");
            return;
        }
        running.opening += 1;
        let (pool, key) = (self.config.pool.clone(), running.identity.key().clone());
        // Anybody can put something here, so that it is read on the pool, too.
        let read = move || {
            let opened = cipher::open(&cipher, &key).ok()?;
            read_letter(&opened)
        };
        let open = async move { pool.run(share, Lane::Quick, read).await.ok()? };
        scope.spawn_background(open, |account, letter, scope| {
            if let Some(running) = &mut account.running {
                running.opening -= 1;
            }
            match letter {
                Some((sender, Letter::Devices(told))) => account.told_over_dht(&sender, *told, scope),
                Some((sender, letter)) => account.find_sender(sender, letter, scope),
                None => {}
            }
        });
    }

    /// Finds the certificate of whoever sent a letter. Few letters of one device wait for that at
    /// once, so that one whose certificate is nowhere does not take the places of others.
    fn find_sender(&mut self, sender: PublicKey, letter: Letter, scope: &mut Scope<'_, Self>) {
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
            let ask = |reply| DirectoryMessage::Device { device, short: Some(short), reply };
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
                account.take_letter(&chain, sender, letter, scope);
            }
        });
    }

    fn take_letter(
        &mut self,
        chain: &VerifiedChain,
        device: PublicKey,
        letter: Letter,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &self.running else { return };
        let own = running.identity.account_id();
        let (trust, contacts) = (TrustTable::new(own, None), &running.state.contacts);
        let banned = &running.state.banned_devices;
        let status = |id| {
            let is_banned = banned.certificates().any(|certificate| certificate == id);
            if is_banned { TrustStatus::Banned } else { trust.status(contacts, id) }
        };
        let lists = running.revocations.lists(chain.account_id());
        if let Err(denial) = admit(chain.chain(), status, Audience::Public, &lists, scope.wall()) {
            tracing::debug!(%denial, "what was put into the inbox is ignored");
            return;
        }
        match letter {
            Letter::Trust(message) => self.take_request(chain.account_id(), device, message, scope),
            Letter::Instant(message) => self.take_instant(chain.account_id(), device, message, scope),
            // Of a device that is known already, or of none.
            Letter::Devices(_) => {}
        }
    }

    /// An instant message. Of people we know it is taken as if it had come over a link, and answered:
    /// before that, they write nothing more to us.
    fn take_instant(
        &mut self,
        account: AccountId,
        device: PublicKey,
        message: DhtInstantMessage,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &self.running else { return };
        let is_known = account == running.identity.account_id() || running.listening.contains(&account);
        if message.is_answer() || !is_known {
            return;
        }
        let answer = DhtInstantMessage::answer(message.id, scope.wall()).to_content();
        self.put_for(device.clone(), answer, scope);
        let notice = Notice { kind: message.mime_type, content: message.content };
        self.notice(device.device_id(), account, &notice, scope);
    }

    /// Puts something for a device into our own inbox, where it waits for an answer.
    /// Beyond [`MAX_ANSWERING`] nothing is put.
    fn put_for(&mut self, recipient: PublicKey, content: Content, scope: &mut Scope<'_, Self>) {
        let share = self.share();
        let Some(running) = self.running.as_mut().filter(|running| running.answering < MAX_ANSWERING) else {
            return tracing::debug!("too many instant messages at once; one is not answered");
        };
        running.answering += 1;
        let (dht, pool) = (self.config.dht.clone(), self.config.pool.clone());
        let (key, random) = (running.identity.key().clone(), EnvelopeRandom::draw(scope.environment()));
        let inbox = DhtKey::inbox(key.public().device_short_id());
        let put = async move {
            let seal = move || seal(content, &key, &recipient, &random);
            let Ok(Ok(value)) = pool.run(share, Lane::Quick, seal).await else { return };
            let put = |reply| DhtMessage::Put { key: inbox, value, permanent: false, reply };
            if let Ok(Err(error)) = dht.ask(PUT, put).await {
                tracing::debug!(%error, "an instant message was not answered");
            }
        };
        scope.spawn_background(put, |account, (), _| {
            if let Some(running) = &mut account.running {
                running.answering -= 1;
            }
        });
    }

    fn take_request(
        &mut self,
        from: AccountId,
        device: PublicKey,
        message: TrustRequestMessage,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &mut self.running else { return };
        let own = running.identity.account_id();
        let State { contacts, pending, conversations, .. } = &mut running.state;
        let actions = receive(
            scope.wall(),
            own,
            contacts,
            pending,
            conversations,
            Incoming { account: from, device, message },
        );
        let outgoing = &running.state.outgoing;
        // Whoever confirms or asks once more changes nothing.
        let changed = actions.iter().any(|action| match action {
            Action::Ignore(_) | Action::SendConfirmation { .. } => false,
            Action::ForgetOutgoing { account } => outgoing.contains(*account),
            _ => true,
        });
        for action in actions {
            self.act(action, scope);
        }
        // With what was done about it, for neither file is to be written without the other.
        if changed {
            self.save(Dirty::PEOPLE, scope, |_| ());
        }
    }

    pub(super) fn act(&mut self, action: Action, scope: &mut Scope<'_, Self>) {
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
                }
            }
            Action::RaiseRequest { account, conversation, payload, .. } => {
                let name = name_in(&payload);
                self.emit(Event::ContactRequest { from: account, name, conversation }, scope);
            }
            Action::CloneConversation { account, conversation } => {
                self.expect_from_contact(account, conversation, scope);
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
        let conversation = record.and_then(|record| record.conversation);
        if let Some(conversation) = conversation.filter(|id| running.is_shared_with_only(*id, contact)) {
            return reply.send(Ok(conversation));
        }
        if let Some(waiting) = running.adding.get_mut(&contact) {
            return waiting.push(reply);
        }
        running.adding.insert(contact, vec![reply]);
        // The conversation with somebody who was banned was kept.
        let members = [running.identity.account_id(), contact].into();
        if let Some(conversation) = running.state.conversations.one_to_one(&members) {
            return self.contact_added(contact, conversation, scope);
        }
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
        let payload = request_payload(&running.profile);
        let request = OutgoingRequest { conversation, payload, invited: now };
        let added = running.state.contacts.add(now, contact, Some(conversation), false);
        let record = running.state.conversations.get(conversation).cloned();
        let record = record.unwrap_or_else(|| ConversationRecord::new(now, [own, contact], 0));
        let recorded = running.state.conversations.insert(conversation, record);
        if let Err(error) = added.map_err(|error| error.to_string()).and(recorded.map_err(|e| e.to_string()))
        {
            return self.answer_adding(contact, &Err(AccountError::TooMany(error)));
        }
        // One of old style, which names no conversation, is answered by this.
        running.state.pending.remove(contact);
        let message = request.message();
        if let Err(error) = running.state.outgoing.sent(scope.now(), contact, request) {
            tracing::warn!(%contact, %error, "a contact request will not be repeated");
        }
        self.tell_profiles(ProfilesMessage::Forget(contact));
        self.start_conversation(conversation, scope);
        self.track(contact, scope);
        self.push_trust(scope);
        self.emit(Event::ContactAdded { contact, confirmed: false }, scope);
        self.save_then(Dirty::PEOPLE, scope, move |account, saved, scope| {
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
        // What we have become a member of since is no conversation with them alone.
        let own = running.identity.account_id();
        let records = &running.state.conversations;
        let request = request.filter(|id| records.get(*id).is_none_or(|record| record.is_between(own, from)));
        let Some(conversation) = request else {
            return reply.send(Err(AccountError::UnknownRequest(from)));
        };
        if running.revoked {
            return reply.send(Err(AccountError::Revoked));
        }
        if let Err(error) = running.state.contacts.add(scope.wall(), from, Some(conversation), true) {
            return reply.send(Err(AccountError::TooMany(error.to_string())));
        }
        let shown = running.state.pending.remove(from).map(|request| request.payload);
        running.state.outgoing.forget(from);
        self.tell_profiles(ProfilesMessage::Forget(from));
        if let Some(vcard) = shown.filter(|vcard| !vcard.is_empty()) {
            self.tell_profiles(ProfilesMessage::Hint { person: from, vcard });
        }
        self.track(from, scope);
        self.push_trust(scope);
        self.emit(Event::ContactAdded { contact: from, confirmed: true }, scope);
        self.send_trust(from, TrustRequestMessage::confirmation(Some(conversation)), scope);
        if let Err(error) = self.expect_conversation(from, conversation, Mode::OneToOne, scope) {
            return reply.send(Err(error));
        }
        self.save(Dirty::PEOPLE, scope, move |saved| reply.send(saved.map(|()| conversation)));
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
        let conversation = conversation.filter(|id| running.is_shared_with_only(*id, contact));
        match running.state.contacts.remove(scope.wall(), contact, ban) {
            Ok(_) => {}
            Err(_) => return reply.send(Err(AccountError::UnknownContact(contact))),
        }
        running.state.pending.remove(contact);
        running.state.outgoing.forget(contact);
        let links = running.links.clone();
        scope.spawn(async move { links.send(LinksMessage::Drop { account: contact }).await }, |_, _, _| ());
        self.tell_profiles(ProfilesMessage::Forget(contact));
        self.untrack(contact, scope);
        self.push_trust(scope);
        self.emit(Event::ContactRemoved { contact, banned: ban }, scope);
        // The history with somebody banned is kept; the one with somebody removed is not.
        if let Some(conversation) = conversation.filter(|_| !ban) {
            self.forget_conversation(conversation, scope);
        }
        self.decline_all_of(contact, scope.wall());
        self.follow_fellows(scope);
        self.save(Dirty::PEOPLE, scope, |saved| reply.send(saved));
    }
}

/// The sender's key and what an opened value says, if it is for us.
fn read_letter(signed: &SignedContent) -> Option<(PublicKey, Letter)> {
    let content = signed.content();
    let letter = match ValueKind::of(content.type_number) {
        ValueKind::TrustRequest => {
            TrustRequestMessage::decode(&content.data).map(Letter::Trust).map_err(|error| {
                tracing::debug!(%error, "a contact request is unreadable");
            })
        }
        ValueKind::InstantMessage => {
            DhtInstantMessage::decode(&content.data).map(Letter::Instant).map_err(|error| {
                tracing::debug!(%error, "an instant message is unreadable");
            })
        }
        ValueKind::UserData if content.type_number == 0 => {
            let read = SyncMessage::decode_device_data(&content.data);
            read.map(|(told, _)| Letter::Devices(Box::new(told))).map_err(|error| {
                tracing::debug!(%error, "what another device tells is unreadable");
            })
        }
        _ => return None,
    };
    Some((signed.owner().clone(), letter.ok()?))
}
