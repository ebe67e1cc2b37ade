//! Who has fetched and read how far, and who is typing (`spec: swarm 13`).
//!
//! What others tell is kept soon; what the owner has read is on disk before that is acknowledged, and
//! told unless the owner has switched that off.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skep_protocol::ids::{AccountId, CommitId};
use skep_protocol::swarm::notice::Notice as SwarmNotice;
use skep_protocol::swarm::typing::Typing;
use skep_protocol::sync::{MAX_STATUS_FILE, MarkerKind, MessageStatus};

use super::{ConversationActor, topic};
use crate::blocking::{Lane, PoolError};
use crate::event::Event;
use crate::peer::messages::{LinksMessage, Notice, Recipient};
use crate::storage;
use crate::supervision::{Reply, Scope};
use crate::swarm::messages::ConversationError;
use crate::swarm::replica::{Place, Replica};

/// How long what others tell may wait until it is on disk.
const SAVE_PAUSE: Duration = Duration::from_secs(1);

/// Pause before markers that the system did not let us read are looked for again.
const LOAD_AGAIN: Duration = Duration::from_secs(5);

/// Callers that may wait for one write; a write takes milliseconds.
const MAX_UNSAVED: usize = 1024;

/// Told apart from announcements and from each other while they wait for a link.
const READ_TOPIC: u64 = 1;
const TYPING_TOPIC: u64 = 2;

type SaveReply = Reply<Result<(), ConversationError>>;

/// What a conversation keeps of its members beside the history.
#[derive(Debug)]
pub(super) struct Markers {
    file: PathBuf,
    /// Whether they are as on the disk: before, nothing is counted that could be written over them.
    loaded: bool,
    pub(super) status: MessageStatus,
    typing: Typing,
    /// The markers whose place in the history is being looked up, and what was told meanwhile: however
    /// fast a member tells, one look-up of each runs.
    looking: BTreeMap<(AccountId, MarkerKind), Option<CommitId>>,
    /// The last marker of each member at a commit that is not here yet.
    pub(super) early: BTreeMap<(AccountId, MarkerKind), CommitId>,
    /// What other devices of ours have told last of each member.
    pub(super) told: BTreeMap<(AccountId, MarkerKind), CommitId>,
    /// Whether a timer runs after which they are saved.
    saving: bool,
    /// Whether they are being written.
    writing: bool,
    /// Who waits for the next write.
    unsaved: Vec<SaveReply>,
}

impl Markers {
    pub(super) fn new(file: PathBuf) -> Self {
        Self {
            file,
            loaded: false,
            status: MessageStatus::default(),
            typing: Typing::default(),
            looking: BTreeMap::new(),
            early: BTreeMap::new(),
            told: BTreeMap::new(),
            saving: false,
            writing: false,
            unsaved: Vec::new(),
        }
    }
}

impl ConversationActor {
    /// Reads what is on disk; messages wait for it, unless the disk cannot be read now.
    pub(super) fn load_markers(&mut self, scope: &mut Scope<'_, Self>) {
        let (pool, share, file) = (self.config.pool.clone(), self.config.share, self.markers.file.clone());
        let load = async move { pool.run(share, Lane::Quick, move || read(&file)).await };
        scope.hold();
        scope.spawn(load, |conversation, loaded, scope| {
            match loaded {
                Ok(Ok(status)) => conversation.markers_loaded(status, scope),
                Ok(Err(error)) if is_damage(&error) => {
                    tracing::warn!(%error, "read markers begin anew");
                    conversation.markers_loaded(MessageStatus::default(), scope);
                }
                Ok(Err(error)) => conversation.load_markers_later(&error, scope),
                Err(error) => conversation.load_markers_later(&error, scope),
            }
            scope.release();
        });
    }

    fn markers_loaded(&mut self, status: MessageStatus, scope: &mut Scope<'_, Self>) {
        self.markers.status = status;
        self.markers.loaded = true;
        self.review_markers(|_| true, scope);
    }

    fn load_markers_later(&self, error: &dyn std::error::Error, scope: &mut Scope<'_, Self>) {
        tracing::warn!(conversation = %self.config.id, %error, "read markers are loaded again later");
        scope.after(LOAD_AGAIN, Self::load_markers);
    }

    /// The owner has read up to a message; answered when that is on disk.
    pub(super) fn mark_read(&mut self, commit: CommitId, reply: SaveReply, scope: &mut Scope<'_, Self>) {
        if !self.markers.loaded || self.markers.unsaved.len() >= MAX_UNSAVED {
            return reply.send(Err(ConversationError::Busy(PoolError::Full)));
        }
        self.read(scope);
        let own = self.config.identity.account_id();
        let old = self.marker(own, MarkerKind::Read);
        self.find(commit, old, scope, move |conversation, found, scope| match found {
            Ok(Place::Missing) => reply.send(Err(ConversationError::UnknownMessage { message: commit })),
            // It was moved meanwhile: whether it would go back now has to be looked up anew.
            Ok(_) if conversation.marker(own, MarkerKind::Read) != old => {
                conversation.mark_read(commit, reply, scope)
            }
            Ok(place) => {
                let covered = place == Place::Covered;
                let moved = conversation.advance(own, MarkerKind::Read, commit, covered, scope);
                if moved && conversation.config.settings.borrow().read_receipts {
                    conversation.tell_connected(
                        READ_TOPIC,
                        &SwarmNotice::Displayed { conversation: Some(conversation.config.id), commit },
                    );
                }
                conversation.save_markers(reply, scope);
            }
            Err(error) => reply.send(Err(error)),
        });
    }

    /// Finds where a commit stands beside a marker. What is far back is looked for beside all else.
    fn find(
        &self,
        commit: CommitId,
        marker: Option<CommitId>,
        scope: &mut Scope<'_, Self>,
        then: impl FnOnce(&mut Self, Result<Place, ConversationError>, &mut Scope<'_, Self>) + 'static,
    ) {
        let near = move |replica: &Replica| replica.place_of(commit, marker, true);
        self.with_replica(Lane::Quick, scope, near, move |conversation, found, scope| {
            match super::flatten(found) {
                Ok(Place::Far) => {
                    let far = move |replica: &Replica| replica.place_of(commit, marker, false);
                    conversation.with_replica(Lane::Bulk, scope, far, |conversation, found, scope| {
                        then(conversation, super::flatten(found), scope);
                    });
                }
                found => then(conversation, found, scope),
            }
        });
    }

    fn marker(&self, member: AccountId, kind: MarkerKind) -> Option<CommitId> {
        self.markers.status.of(member).marker(kind).map(|marker| marker.commit)
    }

    /// A member says how far it has read; of no interest where the owner does not tell that either.
    pub(super) fn heard_read(&mut self, member: AccountId, commit: CommitId, scope: &mut Scope<'_, Self>) {
        if self.config.settings.borrow().read_receipts {
            self.heard_marker(member, MarkerKind::Read, commit, scope);
        }
    }

    /// A member has fetched or read up to a commit. If that is not here yet, it counts when it is.
    pub(super) fn heard_marker(
        &mut self,
        member: AccountId,
        kind: MarkerKind,
        commit: CommitId,
        scope: &mut Scope<'_, Self>,
    ) {
        let takes_part = self.standing.as_ref().is_some_and(|standing| standing.has(member));
        if let Some(next) = self.markers.looking.get_mut(&(member, kind)) {
            *next = Some(commit);
            return;
        }
        let old = self.marker(member, kind);
        if !takes_part || old == Some(commit) {
            return;
        }
        if !self.markers.loaded {
            self.markers.early.insert((member, kind), commit);
            return;
        }
        let head = self.standing.as_ref().map(|standing| standing.head);
        if head == Some(commit) && old.is_none_or(|old| self.recent.has(old)) {
            // All that has come leads to the head. The marker may be at what has come to the copy since, and is not
            // heard of here; then it has to be looked up.
            return self.heard_newer(member, kind, commit, false, scope);
        }
        self.read(scope);
        self.markers.looking.insert((member, kind), None);
        self.find(commit, old, scope, move |conversation, found, scope| {
            let moved = conversation.standing.as_ref().map(|standing| standing.head) != head;
            match found {
                Ok(Place::Missing) if moved => {
                    // It may have come since it was looked for. What was told meanwhile is newer.
                    conversation.markers.looking.entry((member, kind)).and_modify(|next| {
                        next.get_or_insert(commit);
                    });
                }
                Ok(Place::Missing) => {
                    conversation.markers.early.insert((member, kind), commit);
                }
                // Nor does it say anything beside a marker that has moved meanwhile.
                Ok(_) if conversation.marker(member, kind) != old => {
                    conversation.markers.looking.entry((member, kind)).and_modify(|next| {
                        next.get_or_insert(commit);
                    });
                }
                Ok(place) => {
                    conversation.heard_newer(member, kind, commit, place == Place::Covered, scope);
                }
                Err(error) => tracing::debug!(%error, "a marker is ignored"),
            }
            if let Some(Some(next)) = conversation.markers.looking.remove(&(member, kind)) {
                conversation.heard_marker(member, kind, next, scope);
            }
        });
    }

    /// The head has moved: commits have `come` that were heard of, and members may be gone. What others have
    /// fetched may never come, like a merge that was given up for another one.
    pub(super) fn review_markers(&mut self, come: impl Fn(&CommitId) -> bool, scope: &mut Scope<'_, Self>) {
        for ((member, kind), commit) in
            self.markers.early.extract_if(.., |_, commit| come(commit)).collect::<Vec<_>>()
        {
            self.heard_marker(member, kind, commit, scope);
        }
        let standing = self.standing.as_ref();
        let ended =
            self.markers.typing.retain(|member| standing.is_some_and(|standing| standing.has(member)));
        self.emit_end_of_typing(ended, scope);
    }

    fn heard_newer(
        &mut self,
        member: AccountId,
        kind: MarkerKind,
        commit: CommitId,
        covered: bool,
        scope: &mut Scope<'_, Self>,
    ) {
        if self.advance(member, kind, commit, covered, scope)
            && !std::mem::replace(&mut self.markers.saving, true)
        {
            scope.after(SAVE_PAUSE, |conversation, scope| {
                conversation.markers.saving = false;
                conversation.save_markers(Reply::channel().0, scope);
            });
        }
    }

    /// Moves a marker unless it is `covered` by where it stands; whether it moved.
    fn advance(
        &mut self,
        member: AccountId,
        kind: MarkerKind,
        commit: CommitId,
        covered: bool,
        scope: &mut Scope<'_, Self>,
    ) -> bool {
        let moved = self.markers.status.advance(member, kind, commit, scope.wall(), |_, _| covered);
        if moved {
            let conversation = self.config.id;
            let event = match kind {
                MarkerKind::Fetched => Event::Fetched { conversation, member, message: commit },
                MarkerKind::Read => Event::Read { conversation, member, message: commit },
            };
            self.emit(vec![event], scope);
            self.tell_marker(member, kind, commit, scope);
        }
        moved
    }

    /// Saves the markers and answers when they are on disk. While they are being written, what comes
    /// waits for the next write.
    fn save_markers(&mut self, reply: SaveReply, scope: &mut Scope<'_, Self>) {
        self.markers.unsaved.push(reply);
        if !self.markers.writing {
            self.write_markers(scope);
        }
    }

    fn write_markers(&mut self, scope: &mut Scope<'_, Self>) {
        let replies = std::mem::take(&mut self.markers.unsaved);
        self.markers.writing = !replies.is_empty();
        if replies.is_empty() {
            return;
        }
        let (file, bytes) = (self.markers.file.clone(), self.markers.status.encode());
        let (pool, share) = (self.config.pool.clone(), self.config.share);
        let write = async move { pool.run(share, Lane::Quick, move || write(&file, &bytes)).await };
        scope.spawn(write, |conversation, written, scope| {
            let written = match written {
                Ok(written) => written.map_err(|error| ConversationError::Storage(error.to_string())),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = &written {
                tracing::warn!(%error, "read markers are not on disk");
            }
            replies.into_iter().for_each(|reply| reply.send(written.clone()));
            conversation.write_markers(scope);
        });
    }

    /// The owner types, or has stopped.
    pub(super) fn type_on(&self, active: bool) -> Result<(), ConversationError> {
        if self.standing.is_none() {
            return Err(ConversationError::NotReady);
        }
        if self.config.settings.borrow().typing {
            let conversation = self.config.id;
            self.tell_connected(TYPING_TOPIC, &SwarmNotice::Typing { conversation, active });
        }
        Ok(())
    }

    /// A member types, or has stopped; of no interest where the owner does not tell that either.
    pub(super) fn heard_typing(&mut self, member: AccountId, active: bool, scope: &mut Scope<'_, Self>) {
        if !self.config.settings.borrow().typing {
            return;
        }
        let takes_part = self.standing.as_ref().is_some_and(|standing| standing.has(member));
        if takes_part && self.markers.typing.heard(member, active, scope.now()) {
            self.emit(vec![Event::Typing { conversation: self.config.id, member, active }], scope);
        }
        scope.set_alarm(self.markers.typing.deadline());
    }

    /// A member who is gone types no more.
    pub(super) fn end_typing_of(&mut self, member: AccountId, scope: &mut Scope<'_, Self>) {
        if self.markers.typing.heard(member, false, scope.now()) {
            self.emit(vec![Event::Typing { conversation: self.config.id, member, active: false }], scope);
        }
        scope.set_alarm(self.markers.typing.deadline());
    }

    /// Those who were not heard of for a while type no more.
    pub(super) fn end_typing(&mut self, scope: &mut Scope<'_, Self>) {
        let ended = self.markers.typing.expire(scope.now());
        self.emit_end_of_typing(ended, scope);
    }

    fn emit_end_of_typing(&mut self, ended: Vec<AccountId>, scope: &mut Scope<'_, Self>) {
        let conversation = self.config.id;
        let events = ended.into_iter().map(|member| Event::Typing { conversation, member, active: false });
        self.emit(events.collect(), scope);
        scope.set_alarm(self.markers.typing.deadline());
    }

    /// Tells the other members who are connected; for the others it is not worth keeping.
    fn tell_connected(&self, kind: u64, notice: &SwarmNotice) {
        let Some(standing) = &self.standing else { return };
        let own = self.config.identity.account_id();
        let topic = topic(self.config.id).wrapping_add(kind);
        let notice = Notice { kind: notice.mime_type().to_owned(), content: notice.to_text() };
        for person in standing.audience().into_iter().filter(|person| *person != own) {
            let to = Recipient::Account(person);
            let notice = notice.clone();
            let notify = LinksMessage::Notify { to, topic, notice, lasting: false, except: None };
            if let Err(error) = self.config.links.try_send(notify) {
                tracing::debug!(%error, "a marker or typing was not told");
            }
        }
    }
}

/// Whether what is on the disk is of no use, as against not to be read now.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::FileTooLarge)
}

fn read(file: &Path) -> io::Result<MessageStatus> {
    let Some(bytes) = storage::read(file, MAX_STATUS_FILE)? else { return Ok(MessageStatus::default()) };
    MessageStatus::decode(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        storage::make_folder(folder)?;
    }
    storage::replace(file, bytes)
}
