//! One device's copy of a conversation: the repository, who we are in it, and what is shown of it.
//!
//! Everything here blocks and runs on the pool. Three locks, always taken in this order: the
//! writer's (one change of the head at a time, over its whole length), the timeline's, which is not
//! held while older history is read, and the repository's, which is held for single operations only. So
//! a page can be read and a message sent while what a long fetch brought is being stored and validated:
//! that waits in a quarantine.

mod change;
mod integrate;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use skep_protocol::identity::DeviceIdentity;
use skep_protocol::ids::{AccountId, BlobId, CommitId, ConversationId, TreeId};
use skep_protocol::keys::PrivateKey;
use skep_protocol::swarm::create::{CreateError, Draft, LocalDevice, Writer};
use skep_protocol::swarm::history::{HistoryCommit, MAX_SHOWN};
use skep_protocol::swarm::layout::Role;
use skep_protocol::swarm::merge::MergeError;
use skep_protocol::swarm::message::{CommitMessage, Content, Relation};
use skep_protocol::swarm::object::{
    MemoryObjects, NewObject, ObjectKind, ObjectSource, SignError, SignedCommit, SourceError,
};
use skep_protocol::swarm::refusal::{Refusal, ValidationError};
use skep_protocol::swarm::validate::{Founding, Validator};
use skep_protocol::time::UnixMillis;

use super::damage::refusal_of_system;
use super::founder::Founder;
use super::messages::{ConversationError, Exported, MAX_TEXT, MessageView, OfferedIn, Outgoing, Page};
use super::newest::Unreadable;
use super::open_copies;
use super::repository::fetch::{Fetch, FetchError, FetchStep};
use super::repository::serve::{Serve, ServeError, ServeStep};
use super::repository::{
    Consolidation, Repository, RepositoryError, consolidate, export_bundle, is_in_history,
};
use super::shared_repository::SharedRepository;
use super::standing::{Standing, read_members, read_standing};
use super::timeline::{Change, News, Timeline};

pub(crate) use self::change::changed_profile;

/// Why a copy could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A fetch failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A commit could not be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// A commit could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// What a peer offered, or what was to be opened, breaks the rules.
    #[error(transparent)]
    Invalid(#[from] ValidationError),
    /// Two heads could not be merged.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// The history cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// There is no commit at all.
    #[error("the repository is empty")]
    Empty,
    /// Its first commit is that of another conversation.
    #[error("the history is that of another conversation")]
    OtherConversation,
    /// We have no part in it.
    #[error("this account is not a member of the conversation")]
    NotMember,
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl ReplicaError {
    /// Whether the repository itself is at fault, so that trying again cannot help; as against the
    /// system, which may have been out of files or memory.
    pub(super) fn is_damage(&self) -> bool {
        if refusal_of_system(self).is_some() {
            return false;
        }
        match self {
            Self::Repository(RepositoryError::Io { source, .. }) => {
                source.kind() == std::io::ErrorKind::FileTooLarge
            }
            Self::Repository(_) | Self::Invalid(_) | Self::Unreadable(_) => true,
            Self::Empty | Self::OtherConversation => true,
            _ => false,
        }
    }
}

/// What a change of the head brought.
#[derive(Debug)]
pub(super) struct Moved {
    /// Counts the changes of the head: of two that are told in the other order, the later has the newer
    /// standing.
    pub(super) turn: u64,
    pub(super) standing: Standing,
    pub(super) changes: Vec<Change>,
    /// How many commits it brought beside those that changed what is told here.
    pub(super) untold: usize,
    /// Whether the new head is that of the device fetched from, not one of ours.
    pub(super) adopted: bool,
    /// Whether merges that were part of the history are no more.
    pub(super) gave_up: bool,
    /// What has become part of the history by it, but for a merge of ours that it took.
    pub(super) new: BTreeSet<CommitId>,
}

/// Where a commit stands beside a marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is no part of the history.
    Missing,
    /// The marker is there, or newer.
    Covered,
    /// It is newer than the marker, or that is not here.
    Beyond,
    /// Nobody has looked that far back yet.
    Far,
}

/// A message that is durable.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) id: CommitId,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Replica {
    id: ConversationId,
    account: AccountId,
    /// Who writes, by the name of today.
    local: Mutex<Arc<LocalDevice>>,
    identity: Arc<DeviceIdentity>,
    writer: Mutex<()>,
    /// How often the head has moved. Counted by whoever writes.
    turns: AtomicU64,
    timeline: Timeline,
    repository: SharedRepository,
    founding: Founding,
    /// What the tree of the head said when it was read last: messages do not change it.
    known: Mutex<(TreeId, Standing)>,
}

/// Objects about to be written, over those that are.
struct Overlay<'a, S> {
    new: MemoryObjects,
    base: &'a S,
}

impl<S: ObjectSource> ObjectSource for Overlay<'_, S> {
    fn commit(&self, id: CommitId) -> Result<Option<Bytes>, SourceError> {
        self.new.commit(id)?.map_or_else(|| self.base.commit(id), |found| Ok(Some(found)))
    }

    fn tree(&self, id: TreeId) -> Result<Option<Bytes>, SourceError> {
        self.new.tree(id)?.map_or_else(|| self.base.tree(id), |found| Ok(Some(found)))
    }

    fn blob(&self, id: BlobId, limit: usize) -> Result<Option<Bytes>, SourceError> {
        self.new.blob(id, limit)?.map_or_else(|| self.base.blob(id, limit), |found| Ok(Some(found)))
    }
}

impl Replica {
    /// Opens the copy at `path`, or takes the one that is open already; none if there is none yet.
    pub(super) fn open(
        id: ConversationId,
        path: &Path,
        founder: &Founder,
    ) -> Result<Option<(Arc<Self>, Standing)>, ReplicaError> {
        if !path.exists() {
            return Ok(None);
        }
        if let Some(open) = open_copies::find(path) {
            open.rename(&founder.name);
            let standing = open.standing(open.head()?)?;
            return Ok(Some((open, standing)));
        }
        let repository = Repository::open(path)?;
        Self::over(id, repository, path, founder).map(Some)
    }

    /// Takes a cloned repository that is still elsewhere: validates it, moves it to its place and
    /// opens it there.
    pub(super) fn adopt(
        id: ConversationId,
        repository: Repository,
        head: CommitId,
        path: &Path,
        founder: &Founder,
    ) -> Result<(Arc<Self>, Standing), ReplicaError> {
        {
            let mut validator = Validator::new(&repository, id);
            // One by one: those of a long history would fill hundreds of megabytes together.
            for commit in repository.commits_between(head, &[])? {
                validator.validate(commit)?;
            }
            let founding = validator.founding()?;
            let tree = repository.commit_at(head)?.tree;
            let own = founder.identity.account_id();
            if !read_members(&repository, tree, &founding)?.may_fetch(own) {
                return Err(ReplicaError::NotMember);
            }
        }
        repository.move_main(None, head)?;
        let unfinished = repository.path().to_owned();
        match repository.move_to(path) {
            Ok(repository) => Self::over(id, repository, path, founder),
            // A clone begun by an actor that failed meanwhile came first.
            Err(RepositoryError::AlreadyExists(_)) => {
                Repository::erase(&unfinished)?;
                Self::open(id, path, founder)?.ok_or(ReplicaError::Empty)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn over(
        id: ConversationId,
        repository: Repository,
        path: &Path,
        founder: &Founder,
    ) -> Result<(Arc<Self>, Standing), ReplicaError> {
        let head = repository.head()?.ok_or(ReplicaError::Empty)?;
        let founding = Validator::new(&repository, id).founding()?;
        let tree = repository.commit_at(head)?.tree;
        let standing = read_standing(&repository, tree, &founding, head)?;
        let local = LocalDevice::new(founder.identity.chain().chain(), &founder.name)?;
        let replica = Self {
            id,
            account: founder.identity.account_id(),
            local: Mutex::new(Arc::new(local)),
            identity: Arc::clone(&founder.identity),
            writer: Mutex::new(()),
            turns: AtomicU64::new(0),
            timeline: Timeline::new(head),
            repository: SharedRepository::new(repository),
            founding,
            known: Mutex::new((tree, standing.clone())),
        };
        let replica = Arc::new(replica);
        open_copies::remember(path, &replica);
        Ok((replica, standing))
    }

    pub(super) fn standing(&self, head: CommitId) -> Result<Standing, ReplicaError> {
        let tree = self.repository.lock().commit_at(head)?.tree;
        {
            let known = lock(&self.known);
            if known.0 == tree {
                return Ok(Standing { head, ..known.1.clone() });
            }
        }
        let standing = read_standing(&self.repository, tree, &self.founding, head)?;
        *lock(&self.known) = (tree, standing.clone());
        Ok(standing)
    }

    /// Who writes what is made from now on.
    fn local(&self) -> Arc<LocalDevice> {
        Arc::clone(&lock(&self.local))
    }

    /// Commits carry this display name from now on. Waits for nothing.
    pub(super) fn rename(&self, name: &str) {
        let mut local = lock(&self.local);
        if local.name() != name {
            *local = Arc::new(local.renamed(name));
        }
    }

    pub(super) fn head(&self) -> Result<CommitId, ReplicaError> {
        self.repository.lock().head()?.ok_or(ReplicaError::Empty)
    }

    /// Writes messages, in order, with one move of the head. Each has an answer of its own; the
    /// last item is what the change brought, if there was one.
    pub(super) fn send(
        &self,
        batch: &[Outgoing],
        now: UnixMillis,
    ) -> (Vec<Result<Sent, ConversationError>>, Option<Moved>) {
        let _writer = lock(&self.writer);
        let (mut answers, mut commits, mut objects) = (Vec::new(), Vec::new(), Vec::new());
        let old = match self.head() {
            Ok(head) => head,
            Err(error) => return (batch.iter().map(|_| Err(storage(&error))).collect(), None),
        };
        let mut head = old;
        let mut overlay = Overlay { new: MemoryObjects::default(), base: &self.repository };
        for message in batch {
            match self.compose(message, &overlay, head, now) {
                Ok((commit, new)) => {
                    overlay.new.extend(new.iter().cloned());
                    head = commit.0;
                    answers.push(Ok(Sent { id: head }));
                    commits.push(commit.1);
                    objects.extend(new);
                }
                Err(error) => answers.push(Err(error)),
            }
        }
        if head == old {
            return (answers, None);
        }
        match self.advance(old, head, &objects, &News { commits, untold: 0 }) {
            Ok(moved) => (answers, Some(moved)),
            Err(error) => {
                let failed = |answer: Result<Sent, ConversationError>| answer.and(Err(storage(&error)));
                (answers.into_iter().map(failed).collect(), None)
            }
        }
    }

    /// Makes the commit of one message upon `head`.
    fn compose(
        &self,
        message: &Outgoing,
        source: &Overlay<'_, SharedRepository>,
        head: CommitId,
        now: UnixMillis,
    ) -> Result<((CommitId, HistoryCommit), Vec<NewObject>), ConversationError> {
        let said = self.said(message)?;
        let draft = Writer::new(source, &self.local(), head, now)
            .and_then(|writer| match &said {
                Said::Text(body, relation) => writer.text(body, *relation),
                Said::Other(message) => writer.say(message),
            })
            .map_err(|error| match error {
                CreateError::UnknownCommit(message) => ConversationError::UnknownMessage { message },
                CreateError::NotMember => ConversationError::NotMember,
                CreateError::BannedDevice => ConversationError::BannedDevice,
                error => ConversationError::Storage(error.to_string()),
            })?;
        let (history, objects) = self.sign_draft(draft).map_err(|error| storage(&error))?;
        Ok(((history.id, history), objects))
    }

    fn sign_draft(&self, draft: Draft) -> Result<(HistoryCommit, Vec<NewObject>), ReplicaError> {
        let message = match draft.commit.parents.len() {
            0 | 1 => CommitMessage::parse(&draft.commit.message).ok().map(|it| it.shortened(MAX_SHOWN)),
            _ => None,
        };
        let (parents, seconds) = (draft.commit.parents.clone(), draft.commit.seconds);
        let (commit, objects) = sign(draft, self.identity.key())?;
        let (author, device) = (self.account, self.identity.device_id());
        Ok((HistoryCommit { id: commit.id, parents, author, device, seconds, message }, objects))
    }

    /// What a message says and refers to, after checking that it may.
    fn said<'m>(&self, message: &'m Outgoing) -> Result<Said<'m>, ConversationError> {
        let (body, relation) = match message {
            Outgoing::Text { body, reply_to } => {
                (body.as_str(), reply_to.map_or(Relation::None, Relation::Reply))
            }
            Outgoing::Call(record) => return said(&Content::Call(record.clone())),
            Outgoing::File(offer) => return said(&Content::File(offer.clone())),
            Outgoing::React { message, body } => {
                self.existing(*message)?;
                (body.as_str(), Relation::React(*message))
            }
            Outgoing::Edit { message, body } => match self.own(*message)? {
                Content::Text { .. } => (body.as_str(), Relation::Edit(*message)),
                _ => return Err(ConversationError::NotEditable { message: *message }),
            },
            Outgoing::Delete { message } => match self.own(*message)? {
                Content::Text { .. } => ("", Relation::Edit(*message)),
                Content::File(_) => return said(&Content::FileRemoved { edit: *message }),
                _ => return Err(ConversationError::NotEditable { message: *message }),
            },
        };
        if body.len() > MAX_TEXT {
            return Err(ConversationError::TooLong { length: body.len() });
        }
        Ok(Said::Text(body, relation))
    }

    /// What file a message offers.
    pub(super) fn file(&self, message: CommitId) -> Result<OfferedIn, ConversationError> {
        match self.existing(message)? {
            (author, Content::File(offer)) => Ok(OfferedIn { offer, author }),
            _ => Err(ConversationError::NoFile { message }),
        }
    }

    /// The author and the content of a commit that is part of the history.
    fn existing(&self, message: CommitId) -> Result<(AccountId, Content), ConversationError> {
        if !self.has(message).map_err(|error| storage(&error))? {
            return Err(ConversationError::UnknownMessage { message });
        }
        self.timeline.record(&self.repository, message).map_err(|error| storage(&error))
    }

    /// What a message of our own says.
    fn own(&self, message: CommitId) -> Result<Content, ConversationError> {
        let (author, content) = self.existing(message)?;
        if author == self.account { Ok(content) } else { Err(ConversationError::NotYours { message }) }
    }

    /// Writes objects and moves the head; the writer's lock is held.
    fn advance(
        &self,
        old: CommitId,
        new: CommitId,
        objects: &[NewObject],
        news: &News,
    ) -> Result<Moved, ReplicaError> {
        {
            let repository = self.repository.lock();
            repository.write_objects(objects)?;
            repository.move_main(Some(old), new)?;
        }
        Ok(self.moved(new, news, false))
    }

    /// What a change that is durable brought; the writer's lock is held. That the older history, or a file beside it, cannot be
    /// read just now does not undo the change: it is read again when it is looked at.
    fn moved(&self, head: CommitId, news: &News, adopted: bool) -> Moved {
        let changes = self.timeline.append(&self.repository, head, news);
        let standing = self.standing(head).unwrap_or_else(|error| {
            tracing::error!(conversation = %self.id, %error, "members cannot be read; those before are kept");
            Standing { head, ..lock(&self.known).1.clone() }
        });
        let new = news.commits.iter().map(|commit| commit.id).collect();
        let turn = self.turns.fetch_add(1, Ordering::Relaxed) + 1;
        Moved { turn, standing, changes, untold: news.untold, adopted, gave_up: false, new }
    }

    /// Makes the commit by which we join, if we are invited.
    pub(super) fn join(&self, now: UnixMillis) -> Result<Option<Moved>, ReplicaError> {
        let _writer = lock(&self.writer);
        let head = self.head()?;
        let standing = self.standing(head)?;
        if standing.members.role(self.account) != Some(Role::Invited) {
            return Ok(None);
        }
        let draft = Writer::new(&self.repository, &self.local(), head, now)?.join()?;
        self.commit(head, draft).map(Some)
    }

    /// Makes the commit by which we leave, unless we have left or never joined.
    pub(super) fn leave(&self, now: UnixMillis) -> Result<Option<Moved>, ReplicaError> {
        let _writer = lock(&self.writer);
        let head = self.head()?;
        let standing = self.standing(head)?;
        if !matches!(standing.members.role(self.account), Some(Role::Admin | Role::Member)) {
            return Ok(None);
        }
        let draft = Writer::new(&self.repository, &self.local(), head, now)?.leave()?;
        self.commit(head, draft).map(Some)
    }

    fn commit(&self, head: CommitId, draft: Draft) -> Result<Moved, ReplicaError> {
        let (commit, objects) = self.sign_draft(draft)?;
        let id = commit.id;
        let news = News { commits: vec![commit], untold: 0 };
        self.advance(head, id, &objects, &news)
    }

    /// Takes received bytes into a fetch.
    pub(super) fn fetch_step(&self, fetch: &mut Fetch, bytes: &[u8]) -> Result<FetchStep, FetchError> {
        fetch.advance(&self.repository, bytes)
    }

    /// Takes received bytes into a session that we serve. A pack is made of what is there at each step;
    /// nobody waits for it.
    pub(super) fn serve_step(&self, serve: &mut Serve, bytes: &[u8]) -> Result<ServeStep, ServeError> {
        let view = self.repository.lock().view();
        serve.advance(&view, bytes)
    }

    /// Whether a commit is part of the history.
    pub(super) fn has(&self, commit: CommitId) -> Result<bool, ReplicaError> {
        Ok(is_in_history(&self.repository, commit)?)
    }

    /// Who wrote a commit of the history.
    pub(super) fn author_of(&self, commit: CommitId) -> Result<AccountId, ReplicaError> {
        let read = self.repository.lock().commit_at(commit)?;
        Ok(self.timeline.author_of(&self.repository, &read))
    }

    /// Where `commit` stands beside a `marker`. If both are far back, that takes long, and is looked up only
    /// if what is `near` is not all that is wanted.
    pub(super) fn place_of(
        &self,
        commit: CommitId,
        marker: Option<CommitId>,
        near: bool,
    ) -> Result<Place, ReplicaError> {
        if !self.has(commit)? {
            return Ok(Place::Missing);
        }
        let Some(marker) = marker else { return Ok(Place::Beyond) };
        Ok(match self.timeline.is_covered(&self.repository, commit, marker, near)? {
            Some(true) => Place::Covered,
            Some(false) => Place::Beyond,
            None => Place::Far,
        })
    }

    pub(super) fn page(&self, before: Option<CommitId>, limit: usize) -> Result<Page, ReplicaError> {
        Ok(self.timeline.page(&self.repository, before, limit)?)
    }

    pub(super) fn search(&self, words: &str, limit: usize) -> Result<Vec<MessageView>, ReplicaError> {
        Ok(self.timeline.search(&self.repository, words, limit)?)
    }

    pub(super) fn log(&self, limit: usize) -> Result<Vec<CommitId>, ReplicaError> {
        Ok(self.timeline.log(&self.repository, limit)?)
    }

    /// Writes the whole history into a git bundle. Messages are sent and shown meanwhile.
    pub(super) fn export(&self, path: &Path) -> Result<Exported, ConversationError> {
        match export_bundle(&self.repository, path) {
            Ok((head, bytes)) => Ok(Exported { head, bytes }),
            Err(RepositoryError::AlreadyExists(path)) => Err(ConversationError::FileExists(path)),
            Err(error) => Err(ConversationError::Storage(error.to_string())),
        }
    }

    /// Lets history that was read go from memory if it is more than `keep` commits.
    pub(super) fn release_history(&self, keep: usize) {
        self.timeline.release(keep);
    }

    /// Packs loose objects when there are many. Messages are sent and shown meanwhile.
    pub(super) fn consolidate(&self) -> Result<Consolidation, ReplicaError> {
        Ok(consolidate(&self.repository)?)
    }
}

/// What a message says, before it is written.
enum Said<'m> {
    Text(&'m str, Relation),
    Other(CommitMessage),
}

fn said<'m>(content: &Content) -> Result<Said<'m>, ConversationError> {
    let message = CommitMessage::from_content(content);
    message.map(Said::Other).ok_or_else(|| ConversationError::Storage("it cannot be written".to_owned()))
}

/// Signs a draft: the commit, and all new objects with it.
pub(super) fn sign(draft: Draft, key: &PrivateKey) -> Result<(SignedCommit, Vec<NewObject>), ReplicaError> {
    let commit = draft.commit.sign(key)?;
    let mut objects = draft.objects;
    objects.push(NewObject { kind: ObjectKind::Commit, id: commit.id.0, content: commit.content.clone() });
    Ok((commit, objects))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn storage(error: &dyn std::error::Error) -> ConversationError {
    ConversationError::Storage(error.to_string())
}

/// The commit and the reason, if history was refused for good.
pub(super) fn refusal(error: &ReplicaError) -> Option<(CommitId, &Refusal)> {
    match error {
        ReplicaError::Invalid(ValidationError::Refused { commit, refusal }) => Some((*commit, refusal)),
        _ => None,
    }
}

#[cfg(test)]
#[path = "replica_tests.rs"]
mod tests;
