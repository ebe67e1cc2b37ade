//! Leaving conversations, and erasing what is left of them (`spec: swarm 12`).
//!
//! ```text
//!   leave ──► commit durable ──► record: removed ──► answer
//!                                  │ announced and served, also after a restart
//!                                  ▼
//!             somebody else's device has it, or nobody has come for it in a month
//!                                  │
//!                                  ▼
//!             record: erased ──► actor ends ──► folder goes
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use skep_protocol::ids::{AccountId, ConversationId};
use skep_protocol::sync::ConversationRecord;
use skep_protocol::time::UnixMillis;

use super::actor::AccountActor;
use super::identity::storage_error;
use super::messages::AccountError;
use super::rooms::{FIND, STOP};
use super::state::Dirty;
use super::sweep::erase;
use crate::blocking::Lane;
use crate::event::Event;
use crate::supervision::{AskError, Reply, Scope};
use crate::swarm::messages::{ConversationError, ConversationMessage, ConversationTold, Left};

/// How long a conversation that was left is kept for others to fetch that. The protocol has no
/// limit; who has not been there for a month may never come back, and sees us silent anyway.
const LEAVING: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long after an erasure that failed it is tried again.
const ERASE_AGAIN: Duration = Duration::from_secs(60);

/// Whether a conversation that was left has been kept long enough.
pub(super) fn is_given_up(record: &ConversationRecord, now: UnixMillis) -> bool {
    record.removed.plus(LEAVING) <= now
}

impl AccountActor {
    pub(super) fn leave_conversation(
        &mut self,
        id: ConversationId,
        reply: Reply<Result<(), AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let room = match self.room_port(id) {
            Ok(room) => room,
            Err(error) => return reply.send(Err(error)),
        };
        let leave = async move { room.ask(FIND, ConversationMessage::Leave).await };
        scope.spawn(leave, move |account, left, scope| match left {
            Ok(Ok(left)) => {
                account.conversation_left(id, left, scope);
                account.save(Dirty::CONVERSATIONS, scope, |saved| reply.send(saved));
            }
            Ok(Err(error)) => reply.send(Err(AccountError::Conversation(error.to_string()))),
            Err(error) => reply.send(Err(AccountError::Busy(error.to_string()))),
        });
    }

    /// That we have left is durable in the conversation; the caller writes it to the records.
    fn conversation_left(&mut self, id: ConversationId, left: Left, scope: &mut Scope<'_, Self>) {
        if left == Left::Alone {
            return self.forget_conversation(id, scope);
        }
        let now = scope.wall();
        let Some(running) = &mut self.running else { return };
        let Some(room) = running.conversations.remove(&id) else { return };
        running.leaving.insert(id, room.port);
        if let Some(record) = running.state.conversations.get_mut(id) {
            record.removed = now.max(record.created);
        }
        self.hide_room(id);
        self.give_up_later(id, LEAVING, scope);
        self.emit(Event::ConversationRemoved { conversation: id }, scope);
    }

    /// Takes up leaving where a stop or crash has cut it off.
    pub(super) fn go_on_leaving(&mut self, id: ConversationId, scope: &mut Scope<'_, Self>) {
        let now = scope.wall();
        // It is asked to leave once more when it has opened its copy.
        let Some(port) = self.start_actor(id, scope) else { return };
        let Some(running) = &mut self.running else { return };
        running.leaving.insert(id, port);
        let until = running.state.conversations.get(id).map(|record| record.removed.plus(LEAVING));
        let rest = until.map(|until| until.since(now)).unwrap_or_default();
        self.give_up_later(id, rest, scope);
    }

    /// Another device has left a conversation: its copy is kept until that one has told others.
    pub(super) fn await_erasure(&self, id: ConversationId, scope: &mut Scope<'_, Self>) {
        self.give_up_later(id, LEAVING, scope);
    }

    fn give_up_later(&self, id: ConversationId, time: Duration, scope: &mut Scope<'_, Self>) {
        scope.after(time, move |account, scope| {
            let now = scope.wall();
            let Some(running) = &account.running else { return };
            let record = running.state.conversations.get(id);
            let Some(record) = record.filter(|record| record.is_leaving()) else { return };
            if is_given_up(record, now) {
                tracing::warn!(%id, "nobody has fetched that we left; the conversation is erased");
                account.leaving_ended(id, scope);
            } else {
                // It was left anew, or the clock was set back.
                let rest = record.removed.plus(LEAVING).since(now);
                account.give_up_later(id, rest, scope);
            }
        });
    }

    /// What the actor of a conversation that was left has to say.
    pub(super) fn leaving_told(
        &mut self,
        id: ConversationId,
        told: &ConversationTold,
        scope: &mut Scope<'_, Self>,
    ) {
        match told {
            // It was left on another device, whose business that is; this copy waits to be erased.
            ConversationTold::Ready { joined, .. } if self.is_among(joined) => {
                self.left_by_another_device(id, scope);
            }
            ConversationTold::Ready { .. } => {
                let port = self.running.as_ref().and_then(|running| running.leaving.get(&id).cloned());
                let Some(port) = port else { return };
                let leave = async move { port.ask(FIND, ConversationMessage::Leave).await };
                scope.spawn_background(leave, move |account, left, scope| {
                    account.left_again(id, &left, scope);
                });
            }
            // There is no copy that could be fetched.
            ConversationTold::Wanted | ConversationTold::LeaveFetched => self.leaving_ended(id, scope),
            // Who leaves changes nothing any more.
            ConversationTold::Unbanned(_)
            | ConversationTold::Sought(_)
            | ConversationTold::Preferred
            | ConversationTold::Marked(_) => {}
        }
    }

    /// The copy shows that we left on another device: it waits until that one has erased its own, unless it
    /// has said so already.
    fn left_by_another_device(&mut self, id: ConversationId, scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        if let Some(erased) = running.erased_elsewhere.remove(&id) {
            if let Some(record) = running.state.conversations.get_mut(id) {
                record.erased = erased;
            }
            self.fellows_changed(scope);
            self.save(Dirty::CONVERSATIONS, scope, |_| ());
            self.erase_conversation(id, scope);
        } else if let Some(port) = running.leaving.remove(&id) {
            scope.stop_child(&port, STOP);
        }
    }

    fn is_among(&self, people: &BTreeSet<AccountId>) -> bool {
        self.running.as_ref().is_some_and(|running| people.contains(&running.identity.account_id()))
    }

    /// Somebody has fetched that we have left, and whoever asked for leaving was not answered in time.
    pub(super) fn left_and_fetched(&mut self, id: ConversationId, scope: &mut Scope<'_, Self>) {
        if self.running.as_ref().is_some_and(|running| running.conversations.contains_key(&id)) {
            self.forget_conversation(id, scope);
            self.save(Dirty::CONVERSATIONS, scope, |_| ());
        }
    }

    fn left_again(
        &mut self,
        id: ConversationId,
        left: &Result<Result<Left, ConversationError>, AskError>,
        scope: &mut Scope<'_, Self>,
    ) {
        let leaving = self.running.as_ref().is_some_and(|running| running.leaving.contains_key(&id));
        match left {
            Ok(Ok(Left::Alone)) if leaving => self.leaving_ended(id, scope),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%id, %error, "a conversation is left when the node restarts"),
            Err(error) => tracing::warn!(%id, %error, "a conversation is left when the node restarts"),
        }
    }

    /// A conversation that was left has served its purpose.
    fn leaving_ended(&mut self, id: ConversationId, scope: &mut Scope<'_, Self>) {
        self.mark_erased(id, scope.wall());
        self.fellows_changed(scope);
        self.save(Dirty::CONVERSATIONS, scope, |_| ());
        self.erase_conversation(id, scope);
    }

    /// Ends a conversation here without a word to the others: its record says so, its actor stops,
    /// its repository is erased. The caller writes the record.
    pub(super) fn forget_conversation(&mut self, id: ConversationId, scope: &mut Scope<'_, Self>) {
        self.mark_erased(id, scope.wall());
        self.fellows_changed(scope);
        self.erase_conversation(id, scope);
        self.emit(Event::ConversationRemoved { conversation: id }, scope);
    }

    /// Ends a conversation that nobody will join, unless somebody has written in it.
    pub(super) fn forget_unused(&self, id: ConversationId, scope: &mut Scope<'_, Self>) {
        let Ok(room) = self.room_port(id) else { return };
        let close = async move { room.ask(FIND, ConversationMessage::CloseUnused).await };
        scope.spawn_background(close, move |account, closed, scope| {
            if closed == Ok(true) {
                account.forget_conversation(id, scope);
                account.save(Dirty::CONVERSATIONS, scope, |_| ());
            }
        });
    }

    fn mark_erased(&mut self, id: ConversationId, now: UnixMillis) {
        let record = self.running.as_mut().and_then(|running| running.state.conversations.get_mut(id));
        if let Some(record) = record {
            if !record.is_removed() {
                record.removed = now.max(record.created);
            }
            record.erased = now.max(record.removed);
        }
    }

    /// Stops the actor of a conversation and erases its folder. If it is taken up again meanwhile,
    /// it starts anew afterwards.
    pub(super) fn erase_conversation(&mut self, id: ConversationId, scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        running.failed.remove(&id);
        let room = running.conversations.remove(&id).map(|room| room.port);
        let port = room.or_else(|| running.leaving.remove(&id));
        running.erased_elsewhere.remove(&id);
        if let Some(port) = port {
            scope.stop_child(&port, STOP);
        }
        self.hide_room(id);
        let Some(running) = &mut self.running else { return };
        if running.erasing.insert(id) {
            // After its actor has ended, which takes at most this long.
            self.erase_after(STOP, id, scope);
        }
    }

    fn erase_after(&self, time: Duration, id: ConversationId, scope: &mut Scope<'_, Self>) {
        let (folder, data) = (self.conversation_folder(id), self.conversation_data(id));
        let (pool, share) = (self.config.pool.clone(), self.share());
        scope.after(time, move |_, scope| {
            let erase = move || erase(&folder, &data).map_err(storage_error);
            let erase = async move { pool.run(share, Lane::Quick, erase).await? };
            scope.spawn_background(erase, move |account, erased: Result<(), AccountError>, scope| {
                match erased {
                    Ok(()) => account.conversation_erased(id, scope),
                    // What is still there must not be opened as if it was new.
                    Err(error) => account.not_erased(id, &error, scope),
                }
            });
        });
    }

    fn not_erased(&self, id: ConversationId, error: &AccountError, scope: &mut Scope<'_, Self>) {
        tracing::warn!(%id, %error, "a removed conversation is still on disk; it is erased later");
        self.erase_after(ERASE_AGAIN, id, scope);
    }

    /// Nothing of a conversation is on disk any more: it begins anew if it was taken up again.
    fn conversation_erased(&mut self, id: ConversationId, scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        let record = running.state.conversations.get_mut(id);
        let Some(record) = record.filter(|record| !record.is_removed()) else {
            running.erasing.remove(&id);
            return;
        };
        record.erased = record.removed;
        self.save_then(Dirty::CONVERSATIONS, scope, move |account, saved, scope| match saved {
            Ok(()) => {
                let Some(running) = &mut account.running else { return };
                running.erasing.remove(&id);
                if running.state.conversations.get(id).is_some_and(|record| !record.is_removed()) {
                    account.start_conversation(id, scope);
                }
            }
            // After the next start it would be erased once more.
            Err(error) => account.not_erased(id, &error, scope),
        });
    }
}
