//! Groups: making them, inviting into them, and invitations from others (`spec: swarm 11`).
//!
//! ```text
//!   invite ──► record: when, durable ──► commit, durable ──► answer
//!                                            │
//!                     tree says "invited" ◄──┘      sent to every device that is connected, and
//!                             └────────────────────► again to each that connects, until they join
//!
//!   invitation ──► known? banned? declined later? ──► convRequests ──► event
//!   accept ──► record of the conversation, durable ──► cloned from who invites ──► joined
//! ```

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use skep_protocol::ids::{AccountId, ConversationId, DeviceId};
use skep_protocol::profile::{ConversationProfile, shown_name};
use skep_protocol::swarm::message::Mode;
use skep_protocol::swarm::notice::{Invitation, Notice as SwarmNotice};
use skep_protocol::sync::{ConversationRecord, ConversationRequest, RecordedRequest};
use skep_protocol::time::UnixMillis;

use super::actor::AccountActor;
use super::messages::{AccountError, ConversationReply};
use super::rooms::FIND;
use super::state::Dirty;
use crate::event::Event;
use crate::peer::messages::{LinksMessage, Notice, Recipient};
use crate::supervision::{Reply, Scope};
use crate::swarm::messages::{Changed, ConversationError, ConversationMessage, GroupChange, ProfileChange};
use crate::swarm::{Founder, changed_profile, mode_word};

/// Notices to one device that wait for the links to take them: the answers to what it says.
const MAX_TELLING: usize = 16;

/// Times of invitations kept for one conversation; the oldest goes first.
const MAX_INVITED: usize = 1024;

/// How often invitations are sent to one device that connects again and again.
const INVITE_AGAIN: Duration = Duration::from_secs(10);

/// Told apart from announcements while they wait for a link.
const INVITATION_TOPIC: u64 = 3;

impl AccountActor {
    pub(super) fn create_conversation(
        &mut self,
        mode: Mode,
        profile: &ProfileChange,
        reply: ConversationReply,
        scope: &mut Scope<'_, Self>,
    ) {
        if !matches!(mode, Mode::AdminInvitesOnly | Mode::InvitesOnly | Mode::Public) {
            return reply.send(Err(AccountError::NoGroup(mode_word(mode))));
        }
        let profile = match changed_profile(&ConversationProfile::default(), profile) {
            Ok(profile) => profile,
            Err(error) => return reply.send(Err(ConversationError::from(error).into())),
        };
        let make = move |founder: &Founder, folder: &Path, is_taken: &dyn Fn(ConversationId) -> bool| {
            founder.begin_group(mode, &profile, folder, is_taken)
        };
        self.begin(scope, make, move |account, begun, scope| match begun {
            Ok(id) => account.conversation_created(id, mode, reply, scope),
            Err(error) => reply.send(Err(error)),
        });
    }

    fn conversation_created(
        &mut self,
        id: ConversationId,
        mode: Mode,
        reply: ConversationReply,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &mut self.running else { return };
        let record = ConversationRecord::new(scope.wall(), [running.identity.account_id()], mode.number());
        if let Err(error) = running.state.conversations.insert(id, record) {
            return reply.send(Err(AccountError::TooMany(error.to_string())));
        }
        self.start_conversation(id, scope);
        self.save_then(Dirty::CONVERSATIONS, scope, move |account, saved, scope| {
            if saved.is_ok() {
                account.emit(Event::ConversationReady { conversation: id }, scope);
            }
            reply.send(saved.map(|()| id));
        });
    }

    /// Invites somebody: first when, then the commit, so that the invitation can be sent whatever
    /// happens after it.
    pub(super) fn invite(
        &mut self,
        id: ConversationId,
        person: AccountId,
        reply: Reply<Result<Changed, AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let room = match self.room_port(id) {
            Ok(room) => room,
            Err(error) => return reply.send(Err(error)),
        };
        let before = self.note_invitation(id, person, scope.wall());
        self.save_then(Dirty::CONVERSATIONS, scope, move |_, saved, scope| {
            if let Err(error) = saved {
                return reply.send(Err(error));
            }
            let change = GroupChange::Invite(person);
            let ask =
                async move { room.ask(FIND, |reply| ConversationMessage::Change { change, reply }).await };
            scope.spawn(ask, move |account, changed, scope| match changed {
                Ok(Ok(changed)) => {
                    if changed.decided {
                        account.send_invitation(id, person, scope);
                    }
                    reply.send(Ok(changed));
                }
                Ok(Err(error)) => {
                    account.forget_invitation(id, person, before);
                    reply.send(Err(error.into()));
                }
                Err(error) => reply.send(Err(AccountError::Busy(error.to_string()))),
            });
        });
    }

    /// Notes when somebody is invited; when it was before.
    fn note_invitation(
        &mut self,
        id: ConversationId,
        person: AccountId,
        now: UnixMillis,
    ) -> Option<UnixMillis> {
        let record = self.running.as_mut()?.state.conversations.get_mut(id)?;
        let before = record.invited.insert(person, now);
        if record.invited.len() > MAX_INVITED {
            let oldest = record.invited.iter().min_by_key(|(_, time)| **time).map(|(who, _)| *who);
            record.invited.retain(|who, _| Some(*who) != oldest);
        }
        before
    }

    fn forget_invitation(&mut self, id: ConversationId, person: AccountId, before: Option<UnixMillis>) {
        let Some(running) = &mut self.running else { return };
        let Some(record) = running.state.conversations.get_mut(id) else { return };
        match before {
            Some(before) => record.invited.insert(person, before),
            None => record.invited.remove(&person),
        };
    }

    /// Somebody we have unbanned is invited anew, with a new time (`spec: swarm 6.5`).
    pub(super) fn unbanned(&mut self, id: ConversationId, person: AccountId, scope: &mut Scope<'_, Self>) {
        self.note_invitation(id, person, scope.wall());
        self.save_then(Dirty::CONVERSATIONS, scope, move |account, _, scope| {
            account.send_invitation(id, person, scope);
        });
    }

    /// What we write to somebody to invite them, with the time of the first invitation.
    fn invitation(&self, id: ConversationId, person: AccountId) -> Option<SwarmNotice> {
        let running = self.running.as_ref()?;
        let record = running.state.conversations.get(id)?;
        let mut metadata =
            running.conversations.get(&id).map(|room| room.metadata.clone()).unwrap_or_default();
        metadata.entry("mode".to_owned()).or_insert_with(|| record.mode.unwrap_or(0).to_string());
        let received = record.invited.get(&person).copied().unwrap_or(record.created);
        Some(SwarmNotice::Invitation(Invitation { conversation: id, metadata, received: Some(received) }))
    }

    /// Sends an invitation to all devices of somebody, now or when they can be reached.
    fn send_invitation(&mut self, id: ConversationId, person: AccountId, scope: &mut Scope<'_, Self>) {
        let Some(notice) = self.invitation(id, person) else { return };
        let Some(running) = &self.running else { return };
        let notify = notify(Recipient::Account(person), id, &notice);
        let links = running.links.clone();
        scope.spawn_background(async move { links.send(notify).await }, |_, _, _| ());
        self.find_devices(person, scope);
    }

    /// Sends a device that has connected the invitations that its owner has not taken up, by what the
    /// trees say. However often it connects, they are sent once in [`INVITE_AGAIN`].
    pub(super) fn invite_connected(
        &mut self,
        device: DeviceId,
        account: AccountId,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &self.running else { return };
        let rooms = running.conversations.iter().filter(|(id, room)| {
            let record = running.state.conversations.get(**id);
            let invited_by_us = record.is_some_and(|record| record.invited.contains_key(&account));
            room.invited.contains(&account) && invited_by_us
        });
        let ids: Vec<ConversationId> = rooms.map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return;
        }
        let notices = ids.into_iter().filter_map(|id| Some((id, self.invitation(id, account)?)));
        let notices: Vec<_> =
            notices.map(|(id, notice)| notify(Recipient::Device(device), id, &notice)).collect();
        let Some(running) = &mut self.running else { return };
        if let Some(again) = running.inviting.get_mut(&device) {
            *again = true;
            return;
        }
        running.inviting.insert(device, false);
        scope.after(INVITE_AGAIN, move |actor, scope| {
            let Some(running) = &mut actor.running else { return };
            let again = running.inviting.remove(&device).unwrap_or_default();
            if again && running.up.contains_key(&device) {
                actor.invite_connected(device, account, scope);
            }
        });
        let links = running.links.clone();
        let send = async move {
            for notice in notices {
                if links.send(notice).await.is_err() {
                    return;
                }
            }
        };
        scope.spawn_background(send, |_, (), _| ());
    }

    /// Asks a device that told of a conversation we do not know to invite us. The notice replaces
    /// one that waits, so a flood of announcements asks once.
    pub(super) fn ask_for_invitation(
        &mut self,
        device: DeviceId,
        id: ConversationId,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &self.running else { return };
        let known = running.state.conversations.get(id).is_some() || running.state.requests.get(id).is_some();
        if !known {
            self.tell(device, id, &SwarmNotice::InvitationWanted(id), scope);
        }
    }

    /// Answers a device that asked to be invited, if its owner takes part or may.
    pub(super) fn invite_again(
        &mut self,
        device: DeviceId,
        account: AccountId,
        id: ConversationId,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &self.running else { return };
        if !running.conversations.get(&id).is_some_and(|room| room.members.contains(&account)) {
            return;
        }
        if let Some(invitation) = self.invitation(id, account) {
            self.tell(device, id, &invitation, scope);
        }
    }

    /// An invitation came. One to one, that of a confirmed contact is taken at once (`spec: swarm 11`).
    pub(super) fn invited(&mut self, from: AccountId, invitation: &Invitation, scope: &mut Scope<'_, Self>) {
        let (id, mode, now) = (invitation.conversation, invitation.mode(), scope.wall());
        let Some(running) = &self.running else { return };
        if from == running.identity.account_id() || mode == Mode::Document {
            return;
        }
        let received = invitation.received_at(now);
        let record = running.state.conversations.get(id);
        if record.is_some_and(|record| !record.is_removed()) {
            let room = running.conversations.get(&id);
            if room.is_some_and(|room| !room.ready && room.members.contains(&from)) {
                self.fetch_anew(from, id, scope);
            }
            return;
        }
        // What was left comes back by a later invitation only, and one to one by a contact request.
        let was_left = record.is_some_and(|it| mode == Mode::OneToOne || received <= it.removed);
        let contact = running.state.contacts.get(from);
        let confirmed = contact.is_some_and(|contact| contact.is_active() && contact.confirmed);
        if was_left {
            tracing::debug!(%id, "an invitation into a conversation that was left is ignored");
        } else if confirmed && mode == Mode::OneToOne {
            self.expect_from_contact(from, id, scope);
            self.save(Dirty::PEOPLE, scope, |_| ());
        } else {
            self.keep_invitation(from, invitation, received, scope);
        }
    }

    fn keep_invitation(
        &mut self,
        from: AccountId,
        invitation: &Invitation,
        received: UnixMillis,
        scope: &mut Scope<'_, Self>,
    ) {
        let (id, now) = (invitation.conversation, scope.wall());
        let request = ConversationRequest::new(from, &invitation.metadata, received);
        let mode = mode_word(request.mode()).to_owned();
        let title = request.metadata.get("title").map(|title| shown_name(title)).unwrap_or_default();
        let Some(running) = &mut self.running else { return };
        match running.state.requests.record(id, request, now) {
            RecordedRequest::New => {
                self.save_then(Dirty::REQUESTS, scope, move |account, _, scope| {
                    account.emit(Event::ConversationRequest { from, conversation: id, mode, title }, scope);
                });
            }
            RecordedRequest::Full => {
                tracing::warn!(%from, %id, "an invitation is left out: too many wait for an answer");
            }
            other => tracing::debug!(%id, ?other, "an invitation changes nothing"),
        }
    }

    pub(super) fn accept_invitation(
        &mut self,
        id: ConversationId,
        reply: Reply<Result<(), AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let now = scope.wall();
        let Some(running) = &mut self.running else { return };
        let requests = &running.state.requests;
        let Some(request) = requests.get(id).filter(|_| requests.is_waiting(id)) else {
            return reply.send(Err(AccountError::UnknownInvitation(id)));
        };
        if running.revoked {
            return reply.send(Err(AccountError::Revoked));
        }
        let (from, mode) = (request.from, request.mode());
        if mode == Mode::OneToOne {
            if let Err(error) = running.state.contacts.add(now, from, Some(id), true) {
                return reply.send(Err(AccountError::TooMany(error.to_string())));
            }
            running.state.pending.remove(from);
            self.track(from, scope);
            self.push_trust(scope);
            self.emit(Event::ContactAdded { contact: from, confirmed: true }, scope);
        }
        if let Err(error) = self.expect_conversation(from, id, mode, scope) {
            return reply.send(Err(error));
        }
        self.save(Dirty::PEOPLE, scope, |saved| reply.send(saved));
    }

    pub(super) fn decline_invitation(
        &mut self,
        id: ConversationId,
        reply: Reply<Result<(), AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let now = scope.wall();
        let Some(running) = &mut self.running else { return };
        if !running.state.requests.decline(id, now) {
            return reply.send(Err(AccountError::UnknownInvitation(id)));
        }
        self.save(Dirty::REQUESTS, scope, |saved| reply.send(saved));
    }

    /// Declines the invitations of somebody who was removed from the contacts (`spec: contacts 3`).
    pub(super) fn decline_all_of(&mut self, person: AccountId, now: UnixMillis) {
        let Some(running) = &mut self.running else { return };
        let theirs = running.state.requests.waiting().filter(|(_, request)| request.from == person);
        for id in theirs.map(|(id, _)| id).collect::<Vec<_>>() {
            running.state.requests.decline(id, now);
        }
    }

    /// The people in groups with us are others than before: lets them in, and follows whether they
    /// are there.
    pub(super) fn fellows_changed(&mut self, scope: &mut Scope<'_, Self>) {
        self.push_trust(scope);
        self.follow_fellows(scope);
    }

    /// Follows contacts and members of common groups, and nobody else.
    pub(super) fn follow_fellows(&mut self, scope: &mut Scope<'_, Self>) {
        let Some(running) = self.running.as_ref().filter(|running| !running.revoked) else { return };
        let state = &running.state;
        let banned = |who: &AccountId| state.contacts.get(*who).is_some_and(|it| it.is_banned());
        let own = running.identity.account_id();
        let mut wanted: BTreeSet<AccountId> =
            state.fellows().into_iter().filter(|who| *who != own && !banned(who)).collect();
        wanted.extend(state.contacts.active().map(|(contact, _)| contact));
        let new: Vec<AccountId> = wanted.difference(&running.listening).copied().collect();
        let gone: Vec<AccountId> = running.listening.difference(&wanted).copied().collect();
        for person in gone {
            self.untrack(person, scope);
        }
        for person in new {
            self.track(person, scope);
        }
    }

    /// Tells a device something. What it makes us say faster than the links take it is left out.
    fn tell(
        &mut self,
        device: DeviceId,
        id: ConversationId,
        notice: &SwarmNotice,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &mut self.running else { return };
        let telling = running.telling.entry(device).or_default();
        if *telling >= MAX_TELLING {
            return;
        }
        *telling += 1;
        let notify = notify(Recipient::Device(device), id, notice);
        let links = running.links.clone();
        scope.spawn_background(async move { links.send(notify).await }, move |account, _, _| {
            let Some(running) = &mut account.running else { return };
            if let Some(telling) = running.telling.get_mut(&device) {
                *telling -= 1;
            }
            running.telling.retain(|_, telling| *telling > 0);
        });
    }
}

/// A notice about being invited, kept until it can be delivered.
fn notify(to: Recipient, id: ConversationId, notice: &SwarmNotice) -> LinksMessage {
    let topic = id.0.iter().take(8).fold(0_u64, |key, byte| key << 8 | u64::from(*byte));
    let topic = topic.wrapping_add(INVITATION_TOPIC);
    let notice = Notice { kind: notice.mime_type().to_owned(), content: notice.to_text() };
    LinksMessage::Notify { to, topic, notice, lasting: true, except: None }
}
