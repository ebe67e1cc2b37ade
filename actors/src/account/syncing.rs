//! What other devices of the account tell, and what they are told (`spec: sync 3 to 6`).
//!
//! ```text
//!   sync actor ── received ──► tables: merged ──► effects: contacts, conversations, events ──► disk
//!   sync actor ── wished ────► tables, and what conversations know beside their histories ──► messages
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use skep_protocol::contact::{Change, Standing};
use skep_protocol::ids::{AccountId, ConversationId, DeviceId, DeviceShortId};
use skep_protocol::keys::PublicKey;
use skep_protocol::profile::shown_name;
use skep_protocol::sync::{
    AccountTables, Detail, MemberStatus, Preferences, Received, SyncChannel, SyncEffect, SyncMessage,
    Telling, preferences_told, status_told,
};
use skep_protocol::time::UnixMillis;

use super::actor::{ASK, AccountActor, Running};
use super::rooms::STOP;
use super::state::{Dirty, State};
use crate::blocking::Lane;
use crate::event::Event;
use crate::peer::messages::LinksMessage;
use crate::supervision::{Port, Scope};
use crate::swarm::messages::{ConversationDetails, ConversationMessage};
use crate::swarm::mode_word;
use crate::sync::messages::{SyncActorMessage, SyncTold, Wish};

/// Conversations of other devices that are fetched at once; the others wait.
const MAX_FETCHING: usize = 16;

/// How long one may keep its place: what cannot be fetched by then is tried beside others.
const FETCHING: Duration = Duration::from_secs(15);

/// Conversations that are asked at once for what they know.
const ASKED_AT_ONCE: usize = 32;

/// Conversations that other devices have and that are not here.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: VecDeque<ConversationId>,
    told: BTreeMap<ConversationId, Told>,
    fetching: BTreeMap<ConversationId, u64>,
    turn: u64,
}

/// What was told of a conversation that is not here.
#[derive(Debug)]
struct Told {
    from: DeviceId,
    preferences: Preferences,
    status: BTreeMap<AccountId, MemberStatus>,
}

impl Waiting {
    fn add(&mut self, id: ConversationId, from: DeviceId) {
        let told = self.told.entry(id).or_insert_with(|| {
            self.queue.push_back(id);
            Told { from, preferences: Preferences::default(), status: BTreeMap::new() }
        });
        told.from = from;
    }

    /// The next one to fetch, and the number of its turn.
    fn next(&mut self) -> Option<(ConversationId, Told, u64)> {
        if self.fetching.len() >= MAX_FETCHING {
            return None;
        }
        let id = self.queue.pop_front()?;
        let told = self.told.remove(&id)?;
        self.turn += 1;
        self.fetching.insert(id, self.turn);
        Some((id, told, self.turn))
    }
}

impl AccountActor {
    pub(super) fn sync_told(&mut self, told: SyncTold, scope: &mut Scope<'_, Self>) {
        match told {
            SyncTold::Started => self.push_devices(scope),
            SyncTold::Connect(device) => self.connect_own(device, scope),
            SyncTold::Wished { wish, channels, version } => self.tell_own(wish, channels, version, scope),
            // Handled when this turn ends, and so is its place free.
            SyncTold::Received { device, message, place: _place } => self.told_by(device, *message, scope),
        }
    }

    /// A device has put what it knows on the DHT, as those of 2023 do with each change of a contact. Whoever
    /// is not known as one of ours is not looked for: what it has to say is told over a link as well.
    pub(super) fn told_over_dht(
        &mut self,
        sender: &PublicKey,
        message: SyncMessage,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &mut self.running else { return };
        let from = sender.device_id();
        if !running.devices.chains.contains_key(&from) {
            return tracing::debug!(from = %from.short(), "a stranger tells of devices and is not believed");
        }
        // The last one counts; what was put before may come later, or once more.
        if running.state.devices.told_over_dht(from, message.date) {
            self.told_by(from, message, scope);
            // Last, for a crash between the two files would have it refused and forgotten.
            self.save(Dirty::DEVICES, scope, |_| ());
        }
    }

    /// Another device of ours has told something.
    fn told_by(&mut self, from: DeviceId, message: SyncMessage, scope: &mut Scope<'_, Self>) {
        let Some(running) = self.running.as_mut().filter(|running| !running.revoked) else { return };
        let State { devices, contacts, pending, conversations, requests, .. } = &mut running.state;
        let mut tables = AccountTables {
            account: running.identity.account_id(),
            device: running.identity.device_id(),
            devices,
            contacts,
            pending,
            conversations,
            requests,
        };
        let Received { effects, is_changed, refused, .. } = tables.receive(from, message, scope.wall());
        if refused > 0 {
            tracing::debug!(from = %from.short(), refused, "what another device told was left out in part");
        }
        for effect in effects {
            self.follow_told(from, effect, scope);
        }
        self.fetch_waiting(scope);
        if is_changed {
            self.fellows_changed(scope);
            self.save(Dirty { devices: true, ..Dirty::PEOPLE }, scope, |_| ());
        }
    }

    fn follow_told(&mut self, from: DeviceId, effect: SyncEffect, scope: &mut Scope<'_, Self>) {
        match effect {
            SyncEffect::FindDevice { device, short_id, name } => {
                self.find_told(device, short_id, name, from, scope);
            }
            SyncEffect::DeviceNamed { .. } => self.emit(Event::DevicesChanged {}, scope),
            SyncEffect::Contact(change) => self.contact_told(change, scope),
            SyncEffect::Request(action) => self.act(action, scope),
            SyncEffect::RequestGone { account } => {
                self.emit(Event::RequestAnswered { from: Some(account), conversation: None }, scope);
            }
            SyncEffect::Offered { conversation, .. } => self.conversation_offered(conversation, from),
            SyncEffect::Removed { conversation } => self.removed_elsewhere(conversation, scope),
            SyncEffect::Erase { conversation } => self.erased_elsewhere(conversation, scope),
            SyncEffect::InvitationRaised { conversation } => self.invitation_told(conversation, scope),
            SyncEffect::InvitationGone { conversation } => {
                let gone = Event::RequestAnswered { from: None, conversation: Some(conversation) };
                self.emit(gone, scope);
            }
            SyncEffect::Preferences { conversation, preferences } => {
                self.preferences_told(conversation, preferences);
            }
            SyncEffect::Status { conversation, members } => self.status_told(conversation, members),
            other => tracing::debug!(?other, "what another device told has no effect here"),
        }
    }

    /// A contact stands otherwise now, as another device knows.
    fn contact_told(&mut self, change: Change, scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        let Change { account: contact, before, after } = change;
        match after {
            Standing::Active { confirmed } => {
                if confirmed {
                    running.state.outgoing.forget(contact);
                }
                self.track(contact, scope);
                self.emit(Event::ContactAdded { contact, confirmed }, scope);
            }
            Standing::Removed | Standing::Banned => {
                running.state.outgoing.forget(contact);
                let (links, drop) = (running.links.clone(), LinksMessage::Drop { account: contact });
                scope.spawn(async move { links.send(drop).await }, |_, _, _| ());
                self.untrack(contact, scope);
                let banned = after == Standing::Banned;
                if banned || before != Standing::Unknown {
                    self.emit(Event::ContactRemoved { contact, banned }, scope);
                }
            }
            Standing::Unknown => {}
        }
    }

    fn invitation_told(&mut self, conversation: ConversationId, scope: &mut Scope<'_, Self>) {
        let Some(running) = &self.running else { return };
        let Some(request) = running.state.requests.get(conversation) else { return };
        let title = request.metadata.get("title").map(|title| shown_name(title)).unwrap_or_default();
        let (from, mode) = (request.from, mode_word(request.mode()).to_owned());
        self.emit(Event::ConversationRequest { from, conversation, mode, title }, scope);
    }

    /// Another device has a conversation: it is fetched from there when it is its turn.
    fn conversation_offered(&mut self, id: ConversationId, from: DeviceId) {
        let Some(running) = &mut self.running else { return };
        let is_here = running.conversations.get(&id).is_some_and(|room| room.ready);
        if !is_here && !running.devices.waiting.fetching.contains_key(&id) {
            running.devices.waiting.add(id, from);
        }
    }

    /// Begins to fetch what waits, as far as there are places.
    fn fetch_waiting(&mut self, scope: &mut Scope<'_, Self>) {
        while let Some((id, told, turn)) = self.running.as_mut().and_then(|it| it.devices.waiting.next()) {
            let Some(running) = &self.running else { return };
            if running.state.conversations.get(id).is_none_or(|record| record.is_removed()) {
                self.fetched_told(id);
                continue;
            }
            self.start_conversation(id, scope);
            if let Ok(room) = self.room_port(id) {
                let clone = async move {
                    let Told { from, preferences, status } = told;
                    room.send(ConversationMessage::Clone { devices: vec![from] }).await?;
                    if preferences != Preferences::default() {
                        room.send(ConversationMessage::PreferencesTold(preferences)).await?;
                    }
                    if !status.is_empty() {
                        room.send(ConversationMessage::StatusTold(status)).await?;
                    }
                    Ok::<_, crate::supervision::SendError>(())
                };
                scope.spawn_background(clone, |_, _, _| ());
            }
            scope.after(FETCHING, move |account, scope| {
                let Some(running) = &mut account.running else { return };
                if running.devices.waiting.fetching.get(&id) == Some(&turn) {
                    account.fetched_told(id);
                    account.fetch_waiting(scope);
                }
            });
        }
    }

    fn fetched_told(&mut self, id: ConversationId) {
        if let Some(running) = &mut self.running {
            running.devices.waiting.fetching.remove(&id);
        }
    }

    /// A conversation is here: the next one may be fetched.
    pub(super) fn told_is_here(&mut self, id: ConversationId, scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        if running.devices.waiting.fetching.remove(&id).is_some() {
            self.fetch_waiting(scope);
        }
    }

    /// Another device has removed a conversation. The leaving is its business; the copy stays, unused,
    /// until it has told others.
    fn removed_elsewhere(&mut self, id: ConversationId, scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        running.failed.remove(&id);
        if let Some(room) = running.conversations.remove(&id) {
            scope.stop_child(&room.port, STOP);
        }
        self.await_erasure(id, scope);
        self.emit(Event::ConversationRemoved { conversation: id }, scope);
    }

    /// Another device has told others that we left, and erased its copy.
    fn erased_elsewhere(&mut self, id: ConversationId, scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        if running.leaving.contains_key(&id) {
            // From here others do not know it yet. Whose business the leaving is shows when the copy is open.
            if let Some(record) = running.state.conversations.get_mut(id) {
                let erased = std::mem::replace(&mut record.erased, UnixMillis(0));
                running.erased_elsewhere.insert(id, erased);
            }
            return;
        }
        let was_here = running.conversations.contains_key(&id);
        self.erase_conversation(id, scope);
        if was_here {
            self.emit(Event::ConversationRemoved { conversation: id }, scope);
        }
    }

    fn preferences_told(&mut self, id: ConversationId, preferences: Preferences) {
        let Some(running) = &mut self.running else { return };
        if let Some(told) = running.devices.waiting.told.get_mut(&id) {
            told.preferences.merge(preferences);
        } else if let Some(room) = running.conversations.get(&id)
            && let Err(error) = room.port.try_send(ConversationMessage::PreferencesTold(preferences))
        {
            tracing::debug!(%error, "preferences told by another device were not taken");
        }
    }

    fn status_told(&mut self, id: ConversationId, members: BTreeMap<AccountId, MemberStatus>) {
        let Some(running) = &mut self.running else { return };
        if let Some(told) = running.devices.waiting.told.get_mut(&id) {
            told.status.extend(members);
        } else if let Some(room) = running.conversations.get(&id)
            && let Err(error) = room.port.try_send(ConversationMessage::StatusTold(members))
        {
            tracing::debug!(%error, "markers told by another device were not taken");
        }
    }

    /// Something beside the history of a conversation has changed here: other devices are told.
    pub(super) fn detail_changed(&self, detail: Detail) {
        let Some(running) = &self.running else { return };
        if let Err(error) = running.sync.try_send(SyncActorMessage::Changed(detail)) {
            tracing::debug!(%error, "other devices hear of a detail with the next full state only");
        }
    }

    /// Writes what is to be told, off this thread, and hands it to the sync actor.
    fn tell_own(
        &self,
        wish: Wish,
        channels: Vec<SyncChannel>,
        version: Option<u64>,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &self.running else { return };
        let rooms = running.rooms_of(&wish);
        let state = (!matches!(wish, Wish::Details(_))).then(|| running.state.clone());
        let short_ids: BTreeMap<DeviceId, DeviceShortId> = running
            .state
            .devices
            .iter()
            .filter_map(|(device, _)| Some((device, running.short_id(device)?)))
            .collect();
        let start = usize::try_from(scope.environment().random_u64() >> 32).unwrap_or_default();
        let (pool, share, sync) = (self.config.pool.clone(), self.share(), running.sync.clone());
        let tell = async move {
            let known = known_details(rooms).await;
            let write = move || {
                let mut messages = Vec::new();
                if let Some(state) = &state {
                    messages
                        .extend(telling(state).device_data(|device| short_ids.get(&device).copied(), start));
                    if wish == Wish::All {
                        messages.extend(telling(state).conversation_data());
                    }
                }
                messages.extend(details(&wish, &known));
                messages.iter().map(|message| message.encode().into()).collect()
            };
            let messages = pool.run(share, Lane::Quick, write).await.ok()?;
            sync.send(SyncActorMessage::Tell { channels, messages, version }).await.ok()
        };
        scope.spawn_background(tell, |_, _, _| ());
    }
}

impl Running {
    /// The conversations that have to be asked for what is to be told.
    fn rooms_of(&self, wish: &Wish) -> Vec<(ConversationId, Port<ConversationMessage>)> {
        let is_wanted = |id: &ConversationId| match wish {
            Wish::All => true,
            Wish::Contacts => false,
            Wish::Details(details) => details.iter().any(|detail| conversation_of(detail) == *id),
        };
        let rooms = self.conversations.iter().filter(|(id, _)| is_wanted(id));
        rooms.map(|(id, room)| (*id, room.port.clone())).collect()
    }
}

const fn conversation_of(detail: &Detail) -> ConversationId {
    match detail {
        Detail::Preferences(id) | Detail::Status(id, _) => *id,
    }
}

const fn telling(state: &State) -> Telling<'_> {
    Telling {
        devices: &state.devices,
        contacts: &state.contacts,
        pending: &state.pending,
        conversations: &state.conversations,
        requests: &state.requests,
    }
}

/// What conversations know beside their histories. One that does not answer is told of with the next
/// full state.
async fn known_details(
    rooms: Vec<(ConversationId, Port<ConversationMessage>)>,
) -> BTreeMap<ConversationId, ConversationDetails> {
    let ask = async |(id, port): (ConversationId, Port<ConversationMessage>)| {
        Some((id, port.ask(ASK, ConversationMessage::Details).await.ok()?.ok()?))
    };
    let known = stream::iter(rooms).map(ask).buffer_unordered(ASKED_AT_ONCE);
    known.filter_map(async |known| known).collect().await
}

/// What is told of preferences and status.
fn details(wish: &Wish, known: &BTreeMap<ConversationId, ConversationDetails>) -> Vec<SyncMessage> {
    let is_wanted = |detail: &Detail| match wish {
        Wish::All => true,
        Wish::Contacts => false,
        Wish::Details(details) => details.contains(detail),
    };
    let preferences = known.iter().filter(|(id, _)| is_wanted(&Detail::Preferences(**id)));
    let mut messages = preferences_told(preferences.map(|(id, it)| (*id, &it.preferences)));
    let status = known.iter().flat_map(|(id, it)| it.status.iter().map(|(who, status)| (*id, *who, *status)));
    messages.extend(status_told(status.filter(|(id, who, _)| is_wanted(&Detail::Status(*id, *who)))));
    messages
}
