//! The history of a conversation as it is shown, loaded from the newest commit backwards.
//!
//! A conversation of a hundred thousand messages must show its last page at once, so only as many
//! commits are read as are asked for: from the head down to a commit through which all older
//! history leads, and further when an older page is wanted. Edits and reactions come after what
//! they are about, so a page loaded like this shows what the whole history would.

use std::collections::{BinaryHeap, HashMap, HashSet, hash_map};

use skep_protocol::identity::Certificate;
use skep_protocol::ids::{AccountId, CommitId, DeviceId, TreeId};
use skep_protocol::swarm::diff::TreeReader;
use skep_protocol::swarm::history::{Appended, Entry, History, HistoryCommit, MAX_SHOWN};
use skep_protocol::swarm::layout::TreePath;
use skep_protocol::swarm::message::{CommitMessage, Content, Relation};
use skep_protocol::swarm::object::{Commit, ObjectSource};
use skep_protocol::time::UnixMillis;

use super::messages::{MessageView, Page, ReactionView};

/// Commits loaded at first: a page and what its edits and reactions may add.
const FIRST_LOAD: usize = 256;

/// Memory of the messages that are loaded, in bytes: a million of them. Of what is older then, little more
/// is shown than that it is there.
const MAX_LOADED: usize = 128 * 1024 * 1024;

/// Largest certificate file read, in bytes.
const MAX_CERTIFICATE: usize = 64 * 1024;

/// A commit of the history is not there, or is no commit.
#[derive(Debug, thiserror::Error)]
#[error("commit {0} of the history cannot be read; fetch the conversation from another device")]
pub struct Unreadable(pub CommitId);

/// What a new commit changes for those who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A new entry.
    New(MessageView),
    /// An entry looks different now.
    Changed(MessageView),
}

/// Validated commits that a change of the head brought.
#[derive(Debug, Default)]
pub(super) struct News {
    /// The newest of them, parents first.
    pub(super) commits: Vec<HistoryCommit>,
    /// How many more there are.
    pub(super) untold: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    history: History,
    head: Option<CommitId>,
    loaded: usize,
    complete: bool,
    authors: HashMap<DeviceId, AccountId>,
}

impl Timeline {
    /// Shows the history of `head` from now on.
    pub(super) fn reset(&mut self, head: CommitId) {
        self.history = History::default();
        self.head = Some(head);
        self.loaded = 0;
        self.complete = false;
    }

    #[cfg(test)]
    pub(super) fn loaded(&self) -> usize {
        self.loaded
    }

    /// Forgets what is loaded if it is more than `keep` commits; it is read again when wanted.
    pub(super) fn release(&mut self, keep: usize) {
        if let Some(head) = self.head.filter(|_| self.loaded > keep) {
            self.reset(head);
        }
    }

    /// Makes sure that at least `count` commits are loaded, or all.
    fn load(&mut self, source: &impl ObjectSource, count: usize) -> Result<(), Unreadable> {
        let Some(head) = self.head else { return Ok(()) };
        if self.complete || self.loaded >= count {
            return Ok(());
        }
        let mut room = MAX_LOADED;
        let Newest { commits, complete } = newest(source, &[head], count, |id, commit| {
            let entry = self.entry_of(source, id, commit, room.min(MAX_SHOWN));
            room = room.saturating_sub(entry.message.as_ref().map_or(0, CommitMessage::weight));
            entry
        })?;
        let entries: Vec<_> =
            commits.into_iter().map(|(entry, parents)| HistoryCommit { parents, ..entry }).collect();
        self.loaded = entries.len();
        self.complete = complete;
        self.history = History::default();
        self.history.load(entries, head).map_err(|_| Unreadable(head))
    }

    fn load_all(&mut self, source: &impl ObjectSource) -> Result<(), Unreadable> {
        self.load(source, usize::MAX)
    }

    /// A commit as it is shown, its message in `limit` bytes.
    fn entry_of(
        &mut self,
        source: &impl ObjectSource,
        id: CommitId,
        commit: &Commit,
        limit: usize,
    ) -> HistoryCommit {
        let device = commit.author.device().unwrap_or(DeviceId([0; 32]));
        let message = match commit.parents.len() {
            0 | 1 => CommitMessage::parse(&commit.message).ok().map(|message| message.shortened(limit)),
            _ => None,
        };
        let parents = commit.parents.clone();
        let author = self.author(source, device, commit);
        HistoryCommit { id, parents, author, device, seconds: commit.seconds(), message }
    }

    /// Who wrote a commit that was validated once; all zeros if that cannot be found out.
    pub(super) fn author_of(&mut self, source: &impl ObjectSource, commit: &Commit) -> AccountId {
        self.author(source, commit.author.device().unwrap_or(DeviceId([0; 32])), commit)
    }

    /// Whose device wrote a commit that was validated once: by the certificate in its tree or, if
    /// the commit removed it, in its parent's.
    fn author(&mut self, source: &impl ObjectSource, device: DeviceId, commit: &Commit) -> AccountId {
        if let Some(author) = self.authors.get(&device) {
            return *author;
        }
        let parent = commit.parents.first().and_then(|parent| read_commit(source, *parent).ok());
        let trees = [Some(commit.tree), parent.map(|parent| parent.tree)];
        let owner = trees.into_iter().flatten().find_map(|tree| owner_in(source, tree, device));
        if let Some(owner) = owner {
            self.authors.insert(device, owner);
        }
        owner.unwrap_or(AccountId([0; 20]))
    }

    /// Puts validated commits on top, and tells what they change. If there are more than are told, or what
    /// they build upon cannot be read, that is read again when it is looked at, and only new entries are
    /// told.
    pub(super) fn append(&mut self, source: &impl ObjectSource, head: CommitId, news: &News) -> Vec<Change> {
        if news.untold > 0 {
            self.reset(head);
            return changes_alone(head, &news.commits);
        }
        self.try_append(source, head, &news.commits).unwrap_or_else(|error| {
            tracing::error!(%error, "new messages are shown without what they build upon");
            self.reset(head);
            changes_alone(head, &news.commits)
        })
    }

    fn try_append(
        &mut self,
        source: &impl ObjectSource,
        head: CommitId,
        commits: &[HistoryCommit],
    ) -> Result<Vec<Change>, Unreadable> {
        self.head = Some(head);
        if self.loaded == 0 {
            // Nobody has looked yet: the commits are the newest of what is loaded now.
            self.load(source, FIRST_LOAD.max(commits.len().saturating_mul(2)))?;
        }
        let mut touched = Vec::new();
        let mut lost = false;
        for commit in commits {
            let id = commit.id;
            if self.history.graph().contains(id) {
                touched.push(Appended::Entry(id));
                continue;
            }
            match self.history.append(commit.clone()) {
                Ok(appended) => {
                    self.loaded += 1;
                    touched.push(appended);
                }
                Err(_) => {
                    lost = true;
                    touched.push(Appended::Entry(id));
                }
            }
        }
        if lost {
            // A commit hangs on a part of the history that is not loaded.
            self.loaded = 0;
            self.complete = false;
            self.load_all(source)?;
        }
        Ok(changes(&self.history, touched))
    }

    /// A page of entries, newest first. Empty if `before` is no entry.
    pub(super) fn page(
        &mut self,
        source: &impl ObjectSource,
        before: Option<CommitId>,
        limit: usize,
    ) -> Result<Page, Unreadable> {
        let mut wanted = FIRST_LOAD.max(limit.saturating_mul(2)).max(self.loaded);
        loop {
            self.load(source, wanted)?;
            // One more than asked for tells whether there is a next page.
            let entries = self.history.page(before, limit.saturating_add(1));
            if entries.len() > limit || self.complete {
                let more = entries.len() > limit;
                let messages: Vec<_> = entries.iter().take(limit).map(view).collect();
                let next = messages.last().map(|message| message.id).filter(|_| more);
                return Ok(Page { messages, next });
            }
            wanted = wanted.saturating_mul(4);
        }
    }

    /// Entries whose text contains `words`, newest first.
    pub(super) fn search(
        &mut self,
        source: &impl ObjectSource,
        words: &str,
        limit: usize,
    ) -> Result<Vec<MessageView>, Unreadable> {
        self.load_all(source)?;
        let found = self.history.search(words, limit);
        Ok(found.into_iter().filter_map(|id| self.history.entry(id)).map(|entry| view(&entry)).collect())
    }

    /// All commits from the head, newest first, merges included.
    pub(super) fn log(
        &mut self,
        source: &impl ObjectSource,
        limit: usize,
    ) -> Result<Vec<CommitId>, Unreadable> {
        let Some(head) = self.head else { return Ok(Vec::new()) };
        self.load_all(source)?;
        let mut order = self.history.graph().order(head);
        order.truncate(limit);
        Ok(order)
    }

    /// Whether `commit` is `marker` or older in the order shown; false if one of them is not here.
    pub(super) fn is_covered(
        &mut self,
        source: &impl ObjectSource,
        commit: CommitId,
        marker: CommitId,
    ) -> Result<bool, Unreadable> {
        let all = [commit, marker];
        if all.iter().any(|id| !self.history.graph().contains(*id)) {
            if all.iter().any(|id| read_commit(source, *id).is_err()) {
                return Ok(false);
            }
            self.load_all(source)?;
        }
        Ok(self.history.is_covered(commit, marker))
    }

    /// Who wrote a commit of the history, and what it says.
    pub(super) fn record(
        &mut self,
        source: &impl ObjectSource,
        id: CommitId,
    ) -> Result<(AccountId, Content), Unreadable> {
        let commit = read_commit(source, id)?;
        let entry = self.entry_of(source, id, &commit, MAX_SHOWN);
        Ok((entry.author, entry.message.map_or(Content::Other, |message| message.content())))
    }
}

fn changes(history: &History, touched: Vec<Appended>) -> Vec<Change> {
    let new: HashSet<CommitId> =
        touched.iter().filter_map(|it| if let Appended::Entry(id) = it { Some(*id) } else { None }).collect();
    let mut told = HashSet::new();
    let mut changes = Vec::new();
    for appended in touched {
        let (Appended::Entry(id) | Appended::Updated(id)) = appended else { continue };
        if let Some(entry) = history.entry(id)
            && told.insert(id)
        {
            let view = view(&entry);
            changes.push(if new.contains(&id) { Change::New(view) } else { Change::Changed(view) });
        }
    }
    changes
}

/// What commits change if nothing is known of the history before them.
fn changes_alone(head: CommitId, commits: &[HistoryCommit]) -> Vec<Change> {
    let known: HashSet<CommitId> = commits.iter().map(|commit| commit.id).collect();
    let with_known_parents = commits.iter().cloned().map(|mut commit| {
        commit.parents.retain(|parent| known.contains(parent));
        commit
    });
    let mut history = History::default();
    match history.load(with_known_parents.collect::<Vec<_>>(), head) {
        Ok(()) => changes(&history, commits.iter().map(|commit| Appended::Entry(commit.id)).collect()),
        Err(_) => Vec::new(),
    }
}

/// The newest commits of a history, parents first.
pub(super) struct Newest<T> {
    /// What is kept of each, and its parents that are among them.
    pub(super) commits: Vec<(T, Vec<CommitId>)>,
    /// Whether they are all there are. Otherwise one single commit leads to the rest, and comes before
    /// all of them.
    pub(super) complete: bool,
}

/// A commit that was read, and its parents.
struct Read<T> {
    kept: T,
    parents: Vec<CommitId>,
}

/// Reads from `heads` back until `count` commits are read and one single commit leads to the rest.
/// That commit is left out. Times that lie only make it read more. `keep` says what is kept of each; a
/// whole history does not fit into memory.
pub(super) fn newest<T>(
    source: &impl ObjectSource,
    heads: &[CommitId],
    count: usize,
    mut keep: impl FnMut(CommitId, &Commit) -> T,
) -> Result<Newest<T>, Unreadable> {
    let mut open = BinaryHeap::new();
    let mut read = HashMap::new();
    let mut enter = |id, place: hash_map::VacantEntry<'_, CommitId, Read<T>>, open: &mut BinaryHeap<_>| {
        let commit = read_commit(source, id)?;
        open.push((commit.seconds(), id));
        let kept = keep(id, &commit);
        place.insert(Read { kept, parents: commit.parents });
        Ok(())
    };
    for head in heads {
        if let hash_map::Entry::Vacant(place) = read.entry(*head) {
            enter(*head, place, &mut open)?;
        }
    }
    let (mut taken, mut reached_root) = (0_usize, false);
    while let Some((_, id)) = open.pop() {
        // Past the first commit of all, what is left comes after something that was read.
        if taken >= count && open.is_empty() && !reached_root {
            read.remove(&id);
            return Ok(Newest { commits: parents_first(heads, read), complete: false });
        }
        taken += 1;
        let parents = read.get(&id).map(|commit| commit.parents.clone()).unwrap_or_default();
        reached_root |= parents.is_empty();
        for parent in parents {
            if let hash_map::Entry::Vacant(place) = read.entry(parent) {
                enter(parent, place, &mut open)?;
            }
        }
    }
    Ok(Newest { commits: parents_first(heads, read), complete: true })
}

/// Orders commits so that each comes after its parents among them.
fn parents_first<T>(heads: &[CommitId], mut commits: HashMap<CommitId, Read<T>>) -> Vec<(T, Vec<CommitId>)> {
    let parents_of = |commits: &HashMap<CommitId, Read<T>>, id: CommitId| -> Vec<CommitId> {
        let parents = commits.get(&id).map(|commit| commit.parents.clone()).unwrap_or_default();
        parents.into_iter().filter(|parent| commits.contains_key(parent)).collect()
    };
    let mut order = Vec::with_capacity(commits.len());
    let mut entered = HashSet::new();
    let mut open: Vec<_> = heads.iter().map(|head| (*head, false)).collect();
    while let Some((id, parents_done)) = open.pop() {
        if parents_done {
            order.push(id);
        } else if entered.insert(id) {
            open.push((id, true));
            open.extend(parents_of(&commits, id).into_iter().map(|parent| (parent, false)));
        }
    }
    let parents: Vec<_> = order.iter().map(|id| parents_of(&commits, *id)).collect();
    let with_parents = order.into_iter().zip(parents);
    with_parents.filter_map(|(id, parents)| Some((commits.remove(&id)?.kept, parents))).collect()
}

fn read_commit(source: &impl ObjectSource, id: CommitId) -> Result<Commit, Unreadable> {
    let raw = source.commit(id).ok().flatten().ok_or(Unreadable(id))?;
    Commit::parse(raw).map_err(|_| Unreadable(id))
}

/// The account that issued the certificate of a device in a tree.
fn owner_in(source: &impl ObjectSource, tree: TreeId, device: DeviceId) -> Option<AccountId> {
    let file = TreeReader::new(source).file(tree, TreePath::device(device)).ok()??;
    let certificate = Certificate::from_pem(&source.blob(file, MAX_CERTIFICATE).ok()??).ok()?;
    certificate.issuer_uid()?.parse().ok()
}

/// An entry as a list shows it.
fn view(entry: &Entry) -> MessageView {
    let message = entry.unknown.clone().or_else(|| CommitMessage::from_content(&entry.content));
    let (body, reply_to) = match &entry.content {
        Content::Text { body, relation } => {
            let reply_to = if let Relation::Reply(target) = relation { Some(*target) } else { None };
            (body.clone(), reply_to)
        }
        _ => (String::new(), None),
    };
    let mut details = message.as_ref().map(CommitMessage::text_fields).unwrap_or_default();
    for shown_elsewhere in ["type", "body", "reply-to"] {
        details.remove(shown_elsewhere);
    }
    MessageView {
        id: entry.id,
        author: entry.author,
        time: UnixMillis::from_seconds(entry.seconds),
        kind: message.as_ref().map(|message| message.message_type().to_owned()).unwrap_or_default(),
        body,
        deleted: entry.deleted,
        editions: entry.editions.iter().map(|edition| edition.body.clone()).collect(),
        reply_to,
        reactions: entry
            .reactions
            .iter()
            .map(|it| ReactionView { id: it.id, author: it.author, body: it.body.clone() })
            .collect(),
        details,
    }
}

#[cfg(test)]
#[path = "timeline_tests.rs"]
mod tests;
