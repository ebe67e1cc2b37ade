//! The conversations of an account: making, fetching and opening them, and what peers say about them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skep_protocol::ids::{AccountId, ConversationId, DeviceId};
use skep_protocol::link::channel_name::ChannelName;
use skep_protocol::swarm::message::Mode;
use skep_protocol::swarm::notice::Notice as SwarmNotice;
use skep_protocol::sync::{ConversationRecord, Detail};

use super::actor::{AccountActor, Room};
use super::messages::{AccountError, AccountMessage};
use super::state::Dirty;
use crate::blocking::Lane;
use crate::directory::messages::DirectoryMessage;
use crate::event::Event;
use crate::peer::messages::{ChannelOffer, LinksMessage, Notice};
use crate::supervision::{ChildSpec, Port, Reply, RestartPolicy, Scope};
use crate::swarm::messages::{ConversationMessage, ConversationTold};
use crate::swarm::{ConversationActor, ConversationConfig, Founder, ReplicaError};
use crate::sync::messages::SyncActorMessage;

/// How long finding the devices to fetch from may take.
pub(super) const FIND: Duration = Duration::from_secs(60);

/// Time a conversation that is removed gets to end.
pub(super) const STOP: Duration = Duration::from_secs(5);

/// Members kept in the record of a conversation, to find devices to clone from.
const MAX_RECORDED: usize = 1024;

/// Pause before conversations are shown again a link that they had no room for.
const SHOW_AGAIN: Duration = Duration::from_secs(1);

/// Conversations that one contact has named and that have not arrived. Each costs an actor and a
/// record; one is made when somebody was removed elsewhere and asks again.
pub(super) const MAX_AWAITED_EACH: usize = 8;

impl AccountActor {
    pub(super) fn founder(&self, scope: &Scope<'_, Self>) -> Option<Founder> {
        let running = self.running.as_ref()?;
        Some(Founder {
            identity: running.identity.clone(),
            name: running.state.name.clone(),
            now: scope.wall(),
        })
    }

    /// Makes the one-to-one conversation with somebody, on disk.
    pub(super) fn begin_conversation(
        &mut self,
        contact: AccountId,
        scope: &mut Scope<'_, Self>,
        then: impl FnOnce(&mut Self, Result<ConversationId, AccountError>, &mut Scope<'_, Self>) + 'static,
    ) {
        self.begin(scope, move |founder, folder, is_taken| founder.begin(folder, contact, is_taken), then);
    }

    /// Has a conversation made on the pool, in our folder of conversations and under an id that is not taken.
    pub(super) fn begin(
        &mut self,
        scope: &mut Scope<'_, Self>,
        make: impl FnOnce(
            &Founder,
            &Path,
            &dyn Fn(ConversationId) -> bool,
        ) -> Result<ConversationId, ReplicaError>
        + Send
        + 'static,
        then: impl FnOnce(&mut Self, Result<ConversationId, AccountError>, &mut Scope<'_, Self>) + 'static,
    ) {
        let Some(founder) = self.founder(scope) else { return };
        let (folder, pool, share) =
            (self.config.folder.join("conversations"), self.config.pool.clone(), self.share());
        let records = self.running.as_ref().map(|running| running.state.conversations.clone());
        let records = records.unwrap_or_default();
        let begin = async move {
            let work = move || {
                let is_taken = |id| records.get(id).is_some();
                make(&founder, &folder, &is_taken).map_err(|error| storage(&error))
            };
            pool.run(share, Lane::Quick, work).await.unwrap_or_else(|error| Err(error.into()))
        };
        scope.spawn(begin, then);
    }

    /// Opens a bundle or repository, validates it whole, and takes it as a conversation of ours.
    pub(super) fn import_conversation(
        &mut self,
        path: PathBuf,
        reply: Reply<Result<ConversationId, AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(founder) = self.founder(scope) else { return };
        let (folder, pool, share) =
            (self.config.folder.join("conversations"), self.config.pool.clone(), self.share());
        let import = async move {
            let work = move || {
                founder.import(&path, &folder).map_err(|error| AccountError::Conversation(error.to_string()))
            };
            pool.run(share, Lane::Bulk, work).await.unwrap_or_else(|error| Err(error.into()))
        };
        scope.spawn(import, move |account, imported, scope| {
            let (id, members, mode) = match imported {
                Ok(imported) => imported,
                Err(error) => return reply.send(Err(error)),
            };
            let Some(running) = &mut account.running else { return };
            if running.erasing.contains(&id) {
                // What was imported goes, too.
                return reply
                    .send(Err(AccountError::Busy("the old copy is being erased; try again".to_owned())));
            }
            let record = ConversationRecord::new(scope.wall(), members, mode);
            if let Err(error) = running.state.conversations.insert(id, record) {
                return reply.send(Err(AccountError::TooMany(error.to_string())));
            }
            // An actor that waits to fetch it makes way for one that finds it on disk.
            if let Some(room) = running.conversations.remove(&id) {
                scope.stop_child(&room.port, STOP);
            }
            account.start_conversation(id, scope);
            account.fellows_changed(scope);
            account.save(Dirty::CONVERSATIONS, scope, move |saved| reply.send(saved.map(|()| id)));
        });
    }

    /// Starts the actor of a conversation on record, here or still to be fetched.
    pub(super) fn start_conversation(&mut self, id: ConversationId, scope: &mut Scope<'_, Self>) {
        let Some(running) = &self.running else { return };
        // What is being erased begins anew when it is gone.
        if running.conversations.contains_key(&id) || running.erasing.contains(&id) {
            return;
        }
        let record = running.state.conversations.get(id);
        if record.is_some_and(ConversationRecord::has_old_copy) {
            return self.erase_conversation(id, scope);
        }
        let members = record.map(|record| record.members.clone());
        let Some(port) = self.start_actor(id, scope) else { return };
        let Some(running) = &mut self.running else { return };
        running.failed.remove(&id);
        let members = members.unwrap_or_default();
        running.conversations.insert(id, Room::new(port, members));
    }

    /// Starts the actor of a conversation.
    pub(super) fn start_actor(
        &self,
        id: ConversationId,
        scope: &mut Scope<'_, Self>,
    ) -> Option<Port<ConversationMessage>> {
        let running = self.running.as_ref()?;
        let config = ConversationConfig {
            id,
            local: self.config.local,
            folder: self.conversation_folder(id),
            status_file: self.conversation_data(id).join("status"),
            preferences_file: self.conversation_data(id).join("preferences"),
            mobiles_file: self.conversation_data(id).join("mobiles"),
            identity: running.identity.clone(),
            name: running.name.subscribe(),
            links: running.links.clone(),
            directory: running.directory.clone(),
            settings: running.settings.subscribe(),
            pool: self.config.pool.clone(),
            share: self.share(),
            events: self.config.events.clone(),
            account: scope.port().outlet(move |told| AccountMessage::Conversation(id, told)),
        };
        // One conversation's trouble must not become everybody's.
        let restart = RestartPolicy::giving_up();
        let spec = ChildSpec::new(id.short()).shard(u64::from(id.0[0])).restart(restart);
        Some(scope.start_child(spec, move || ConversationActor::new(config.clone())))
    }

    /// Expects a conversation that a contact says it has with us, unless it has named too many that did
    /// not arrive. The caller writes the record.
    pub(super) fn expect_from_contact(
        &mut self,
        from: AccountId,
        id: ConversationId,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &self.running else { return };
        let own = running.identity.account_id();
        let is_awaited = |id| running.conversations.get(&id).is_none_or(|room| !room.ready);
        let records = running.state.conversations.present();
        let awaited = records.filter(|(id, record)| record.is_between(own, from) && is_awaited(*id)).count();
        if awaited >= MAX_AWAITED_EACH {
            tracing::debug!(%from, %id, "too many conversations of a contact have not arrived; one is ignored");
        } else if let Err(error) = self.expect_conversation(from, id, Mode::OneToOne, scope) {
            tracing::debug!(%from, %id, %error, "a conversation is not fetched");
        }
    }

    /// Records a conversation that somebody has and we do not, and fetches it from them. The caller
    /// writes the record.
    pub(super) fn expect_conversation(
        &mut self,
        from: AccountId,
        id: ConversationId,
        mode: Mode,
        scope: &mut Scope<'_, Self>,
    ) -> Result<(), AccountError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let own = running.identity.account_id();
        let old = running.state.conversations.get(id);
        if old.is_none_or(ConversationRecord::is_removed) {
            let mut record = ConversationRecord::new(scope.wall(), [own, from], mode.number());
            // The copy that was removed gives way to a new one, also if we are stopped before it is gone.
            let is_erased = |old: &&ConversationRecord| !old.is_leaving() && !running.erasing.contains(&id);
            if let Some(old) = old.filter(|old| !is_erased(old)) {
                record.removed = old.removed;
                record.created = record.created.max(old.removed.plus(Duration::from_millis(1)));
            }
            let inserted = running.state.conversations.insert(id, record);
            inserted.map_err(|error| AccountError::TooMany(error.to_string()))?;
        }
        running.state.requests.remove(id);
        self.start_conversation(id, scope);
        self.fellows_changed(scope);
        self.fetch_anew(from, id, scope);
        Ok(())
    }

    /// Has a conversation fetched from somebody who has just said that we may.
    pub(super) fn fetch_anew(&mut self, account: AccountId, id: ConversationId, scope: &mut Scope<'_, Self>) {
        if let Ok(room) = self.room_port(id) {
            // One that is too busy to hear it is not pausing.
            let _ = room.try_send(ConversationMessage::Invited);
        }
        self.fetch_from(account, id, scope);
    }

    /// Finds the devices of somebody, introduces them to the links, and has a conversation fetched
    /// from them. Asked again meanwhile, it does nothing more.
    fn fetch_from(&mut self, account: AccountId, id: ConversationId, scope: &mut Scope<'_, Self>) {
        let Ok(room) = self.room_port(id) else { return };
        let Some(running) = &mut self.running else { return };
        if !running.finding.insert((account, id)) {
            return;
        }
        let (directory, links) = (running.directory.clone(), running.links.clone());
        let find = async move {
            let ask = |reply| DirectoryMessage::Devices { account, reply };
            let Ok(chains) = directory.ask(FIND, ask).await else { return };
            let devices: Vec<DeviceId> = chains.iter().map(|chain| chain.device_id()).collect();
            if devices.is_empty() {
                return;
            }
            let _ = links.send(LinksMessage::Present { account, devices: chains }).await;
            let _ = room.send(ConversationMessage::Clone { devices }).await;
        };
        scope.spawn_background(find, move |actor, (), _| {
            if let Some(running) = &mut actor.running {
                running.finding.remove(&(account, id));
            }
        });
    }

    pub(super) fn conversation_told(
        &mut self,
        id: ConversationId,
        told: ConversationTold,
        scope: &mut Scope<'_, Self>,
    ) {
        if self.running.as_ref().is_some_and(|running| running.leaving.contains_key(&id)) {
            return self.leaving_told(id, &told, scope);
        }
        match told {
            // The answer to leaving says so, too, unless that came too late for whoever asked.
            ConversationTold::LeaveFetched => self.left_and_fetched(id, scope),
            ConversationTold::Ready { members, joined, invited, mode, metadata, opened } => {
                if let Some(room) = self.running.as_mut().and_then(|it| it.conversations.get_mut(&id)) {
                    room.invited = invited;
                    room.joined.clone_from(&joined);
                    room.metadata = metadata;
                }
                self.conversation_ready(id, members, &joined, mode, opened, scope);
                self.told_is_here(id, scope);
            }
            ConversationTold::Sought(members) => self.seek_members(&members, scope),
            ConversationTold::Unbanned(person) => self.unbanned(id, person, scope),
            ConversationTold::Wanted => self.conversation_wanted(id, scope),
            ConversationTold::Preferred => self.detail_changed(Detail::Preferences(id)),
            ConversationTold::Marked(member) => self.detail_changed(Detail::Status(id, member)),
        }
    }

    fn conversation_ready(
        &mut self,
        id: ConversationId,
        members: BTreeSet<AccountId>,
        joined: &BTreeSet<AccountId>,
        mode: i64,
        opened: bool,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &mut self.running else { return };
        let Some(room) = running.conversations.get_mut(&id) else { return };
        let new: Vec<AccountId> = members.difference(&room.members).copied().collect();
        room.members.clone_from(&members);
        room.ready = true;
        let shown = (room.port.clone(), members.clone());
        let mut dirty = Dirty::default();
        let recorded: BTreeSet<AccountId> = members.iter().take(MAX_RECORDED).copied().collect();
        if let Some(record) = running.state.conversations.get_mut(id)
            && (record.members != recorded || record.mode != Some(mode))
        {
            record.members = recorded;
            record.mode = Some(mode);
            dirty.add(Dirty::CONVERSATIONS);
        }
        let others = dirty != Dirty::default() && mode != Mode::OneToOne.number();
        // Joining our one-to-one conversation accepts us, also when the confirmation got lost; and so does
        // having joined another one with us, in which we go on then.
        let own = running.identity.account_id();
        let record = running.state.conversations.get(id);
        let accepting = running.state.contacts.active().find(|(contact, it)| {
            let is_ours =
                it.conversation == Some(id) || record.is_some_and(|record| record.is_between(own, *contact));
            !it.confirmed && joined.contains(contact) && is_ours
        });
        let accepting = accepting.map(|(contact, it)| (contact, it.conversation));
        let mut unused = None;
        if let Some((contact, asked)) = accepting {
            unused = asked.filter(|asked| *asked != id);
            if asked == Some(id) {
                running.state.contacts.confirm(contact);
            } else if let Err(error) = running.state.contacts.add(scope.wall(), contact, Some(id), true) {
                tracing::error!(%contact, %error, "it is not noted where to go on with a contact");
            }
            running.state.outgoing.forget(contact);
            dirty.add(Dirty::CONTACTS);
        }
        self.show_room(id, shown.0, shown.1);
        self.show_profiles_room(id, opened);
        let Some(running) = &mut self.running else { return };
        if opened {
            // It knows of no link yet, and what the devices connected know was not asked for.
            let up: Vec<_> = running.up.iter().map(|(device, account)| (*device, *account)).collect();
            for (device, account) in up {
                self.look_at(device, account, scope);
                self.invite_connected(device, account, scope);
            }
        } else if !new.is_empty() {
            // Who came to the others may have links to us already.
            let up = running.up.iter().filter(|(_, account)| new.contains(account));
            for (device, account) in up.map(|(device, account)| (*device, *account)).collect::<Vec<_>>() {
                self.show_link(device, account, scope);
            }
        }
        if others {
            self.fellows_changed(scope);
        }
        if let Some((contact, _)) = accepting {
            self.emit(Event::ContactAdded { contact, confirmed: true }, scope);
        }
        if dirty != Dirty::default() {
            self.save(dirty, scope, |_| ());
        }
        if let Some(unused) = unused {
            self.forget_unused(unused, scope);
        }
    }

    /// Has a conversation that is not here fetched from anybody who is connected, or can be found.
    fn conversation_wanted(&mut self, id: ConversationId, scope: &mut Scope<'_, Self>) {
        let Some(running) = &self.running else { return };
        let Some(room) = running.conversations.get(&id) else { return };
        let own = running.identity.account_id();
        let members: Vec<AccountId> = room.members.iter().copied().filter(|it| *it != own).collect();
        for member in members {
            self.fetch_from(member, id, scope);
        }
    }

    /// Shows the conversations shared with a device's owner how the device is linked now.
    pub(super) fn show_link(&mut self, device: DeviceId, account: AccountId, scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        let own = running.identity.account_id();
        let state = running.link_state(device);
        let mut all = true;
        for room in running.conversations.values() {
            if account == own || room.members.contains(&account) {
                all &= room.port.try_send(ConversationMessage::Link { device, account, state }).is_ok();
            }
        }
        // Those that had no room are shown it again, as it is then.
        if !all && running.showing.insert(device) {
            scope.after(SHOW_AGAIN, move |actor, scope| {
                if let Some(running) = &mut actor.running {
                    running.showing.remove(&device);
                    actor.show_link(device, account, scope);
                }
            });
        }
    }

    /// Looks for the devices of members whom a conversation misses. Who is followed anyway is found as
    /// soon as a device is there.
    pub(super) fn seek_members(&mut self, members: &[AccountId], scope: &mut Scope<'_, Self>) {
        for member in members {
            if self.running.as_ref().is_some_and(|running| !running.listening.contains(member)) {
                self.find_devices(*member, scope);
            }
        }
    }

    /// Finds the devices of somebody and introduces them to the links.
    pub(super) fn find_devices(&mut self, account: AccountId, scope: &mut Scope<'_, Self>) {
        let Some(running) = &self.running else { return };
        let (directory, links) = (running.directory.clone(), running.links.clone());
        let find = async move {
            let ask = |reply| DirectoryMessage::Devices { account, reply };
            if let Ok(devices) = directory.ask(FIND, ask).await {
                let _ = links.send(LinksMessage::Present { account, devices }).await;
            }
        };
        scope.spawn_background(find, |_, (), _| ());
    }

    /// What a device says, over a link or not.
    pub(super) fn notice(
        &mut self,
        device: DeviceId,
        account: AccountId,
        notice: &Notice,
        scope: &mut Scope<'_, Self>,
    ) {
        let notice = match SwarmNotice::parse(&notice.kind, &notice.content) {
            Ok(notice) => notice,
            Err(error) => {
                tracing::debug!(device = %device.short(), %error, "a message is ignored");
                return;
            }
        };
        match notice {
            SwarmNotice::Announcement(announcement) => match self.room_port(announcement.conversation) {
                Ok(room) => {
                    let Some(running) = &self.running else { return };
                    let known = running.conversations.get(&announcement.conversation);
                    let may_have_it = account == running.identity.account_id()
                        || known.is_some_and(|room| room.ready || room.members.contains(&account));
                    if !may_have_it {
                        tracing::debug!(device = %device.short(), "a stranger's announcement is ignored");
                        return;
                    }
                    // Where to fetch is the device that told us, whatever it says.
                    let commit = Some(announcement.commit);
                    let announced = ConversationMessage::Announced { device, account, commit };
                    if let Err(error) = room.try_send(announced) {
                        tracing::debug!(%error, "an announcement was not taken");
                    }
                }
                Err(_) => self.ask_for_invitation(device, announcement.conversation, scope),
            },
            SwarmNotice::Invitation(invitation) => self.invited(account, &invitation, scope),
            SwarmNotice::InvitationWanted(id) => self.invite_again(device, account, id, scope),
            SwarmNotice::Displayed { conversation: Some(id), commit } => {
                self.tell_room(id, ConversationMessage::ReadBy { member: account, commit });
            }
            SwarmNotice::Typing { conversation, active } => {
                self.tell_room(conversation, ConversationMessage::TypedBy { member: account, active });
            }
            other => tracing::trace!(?other, "a notice is not used"),
        }
    }

    /// Hands what a member says to the conversation; nothing if it is not here.
    fn tell_room(&self, id: ConversationId, message: ConversationMessage) {
        if let Ok(room) = self.room_port(id)
            && let Err(error) = room.try_send(message)
        {
            tracing::debug!(%error, "a marker or typing was not taken");
        }
    }

    /// Routes a channel that a peer asks for; dropping the offer declines it.
    pub(super) fn offer(&self, offer: ChannelOffer) {
        let Some(running) = &self.running else { return };
        match offer.name.parse() {
            Ok(ChannelName::Git { device, conversation }) if device == running.identity.device_id() => {
                let room = running.conversations.get(&conversation).map(|room| &room.port);
                if let Some(port) = room.or_else(|| running.leaving.get(&conversation)) {
                    // A conversation that is too busy to serve declines.
                    let _ = port.try_send(ConversationMessage::Serve(offer));
                }
            }
            Ok(ChannelName::Sync { .. }) => {
                // It is for the sync actor to say which devices may, and one too busy declines.
                let _ = running.sync.try_send(SyncActorMessage::Offer(offer));
            }
            Ok(ChannelName::Swarm { conversation }) => {
                if let Some(room) = running.conversations.get(&conversation) {
                    let _ = room.port.try_send(ConversationMessage::OfferOverlay(offer));
                }
            }
            Ok(ChannelName::DataTransfer { path }) => self.offer_transfer(offer, &path),
            _ => tracing::debug!(name = offer.name, "a channel was declined"),
        }
    }
}

fn storage(error: &dyn std::error::Error) -> AccountError {
    AccountError::Storage(error.to_string())
}
