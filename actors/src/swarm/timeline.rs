//! The history of a conversation as it is shown, loaded from the newest commit backwards.
//!
//! A conversation of a hundred thousand messages must show its last page at once, so only as many
//! commits are read as are asked for: from the head down to a commit through which all older
//! history leads, and further when an older page is wanted. Edits and reactions come after what
//! they are about, so a page loaded like this shows what the whole history would.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use skep_protocol::identity::Certificate;
use skep_protocol::ids::{AccountId, CommitId, DeviceId, TreeId};
use skep_protocol::swarm::diff::TreeReader;
use skep_protocol::swarm::history::{Appended, Entry, History, HistoryCommit, MAX_SHOWN};
use skep_protocol::swarm::layout::TreePath;
use skep_protocol::swarm::message::{CommitMessage, Content, Relation};
use skep_protocol::swarm::object::{Commit, ObjectSource};
use skep_protocol::time::UnixMillis;
use skep_protocol::transfer::safe_name;

use super::messages::{MessageView, Page, ReactionView};
use super::newest::{Newest, Unreadable, newest, read_commit};

/// Commits loaded at first: a page and what its edits and reactions may add.
const FIRST_LOAD: usize = 256;

/// Commits read beyond what is wanted before a message is acknowledged: some ten milliseconds.
const MAX_AT_ONCE: usize = 1024;

/// Commits that come while older history is read, and are put on top of it then.
const MAX_MEANWHILE: usize = 4096;

/// How often older history is read anew because what came meanwhile does not fit on top.
const MAX_READS: usize = 3;

/// Memory of the messages that are loaded, in bytes: a quarter of a million of them. Of what is older then, little
/// more is shown than that it is there.
const MAX_LOADED: usize = 128 * 1024 * 1024;

/// Largest certificate file read, in bytes.
const MAX_CERTIFICATE: usize = 64 * 1024;

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

/// See the module. Older history is read while messages are put on top.
#[derive(Debug)]
pub(super) struct Timeline {
    shown: Mutex<Shown>,
    /// Held while older history is read: one reads, and the others find it.
    reading: Mutex<()>,
    authors: Mutex<HashMap<DeviceId, AccountId>>,
}

/// What is loaded.
#[derive(Debug)]
struct Shown {
    head: CommitId,
    history: History,
    loaded: usize,
    complete: bool,
    /// Bytes that messages may still take.
    room: usize,
    /// What was put on top since somebody began to read older history; none if nobody reads, or what is
    /// being read does not lead there any more.
    meanwhile: Option<Vec<HistoryCommit>>,
}

/// History that was read.
struct Loaded {
    history: History,
    loaded: usize,
    complete: bool,
    room: usize,
}

impl Shown {
    fn new(head: CommitId) -> Self {
        Self { head, history: History::default(), loaded: 0, complete: false, room: 0, meanwhile: None }
    }

    fn has(&self, count: usize) -> bool {
        self.complete || self.loaded >= count
    }

    fn show(&mut self, head: CommitId, Loaded { history, loaded, complete, room }: Loaded) {
        *self = Self { head, history, loaded, complete, room, meanwhile: None };
    }

    /// Shows what was read, with what came meanwhile on top; whether that fits together.
    fn take(&mut self, mut read: Loaded) -> bool {
        let Some(meanwhile) = self.meanwhile.take() else { return false };
        for commit in meanwhile {
            read.room = read.room.saturating_sub(weight(&commit));
            if read.history.append(commit).is_err() {
                return false;
            }
            read.loaded += 1;
        }
        self.show(self.head, read);
        true
    }

    /// Puts commits on top of what is loaded; none if they hang on what is not, or there is no room, and
    /// some may be there then.
    fn put_on_top(&mut self, head: CommitId, commits: &[HistoryCommit]) -> Option<Vec<Appended>> {
        if self.loaded == 0 {
            return None;
        }
        let mut touched = Vec::with_capacity(commits.len());
        for commit in commits {
            if self.history.graph().contains(commit.id) {
                touched.push(self.history.touched(commit.id));
                continue;
            }
            self.room = self.room.checked_sub(weight(commit))?;
            touched.push(self.history.append(commit.clone()).ok()?);
            self.loaded += 1;
        }
        self.head = head;
        if let Some(meanwhile) = &mut self.meanwhile {
            meanwhile.extend_from_slice(commits);
        }
        self.meanwhile.take_if(|meanwhile| meanwhile.len() > MAX_MEANWHILE);
        Some(touched)
    }
}

impl Timeline {
    /// Shows the history of `head`.
    pub(super) fn new(head: CommitId) -> Self {
        Self { shown: Mutex::new(Shown::new(head)), reading: Mutex::default(), authors: Mutex::default() }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        lock(&self.shown)
    }

    #[cfg(test)]
    pub(super) fn loaded(&self) -> usize {
        self.shown().loaded
    }

    /// Forgets what is loaded if it is more than `keep` commits; it is read again when wanted.
    pub(super) fn release(&self, keep: usize) {
        let mut shown = self.shown();
        if shown.loaded > keep {
            *shown = Shown::new(shown.head);
        }
    }

    /// Makes sure that at least `count` commits are loaded, or all.
    fn load(&self, source: &impl ObjectSource, count: usize) -> Result<(), Unreadable> {
        if self.shown().has(count) {
            return Ok(());
        }
        let _reading = lock(&self.reading);
        for _ in 0..MAX_READS {
            let head = {
                let mut shown = self.shown();
                if shown.has(count) {
                    return Ok(());
                }
                shown.meanwhile = Some(Vec::new());
                shown.head
            };
            let read = self.read(source, head, count, usize::MAX);
            let mut shown = self.shown();
            let read = read.inspect_err(|_| shown.meanwhile = None)?;
            if read.is_some_and(|read| shown.take(read)) {
                return Ok(());
            }
        }
        // What was read was overtaken each time.
        let mut shown = self.shown();
        let head = shown.head;
        if let Some(read) = self.read(source, head, count, usize::MAX)? {
            shown.show(head, read);
        }
        Ok(())
    }

    /// Reads at least `count` commits from `head` back, or all; none if that takes more than `most`.
    fn read(
        &self,
        source: &impl ObjectSource,
        head: CommitId,
        count: usize,
        most: usize,
    ) -> Result<Option<Loaded>, Unreadable> {
        let mut room = MAX_LOADED;
        let read = newest(source, &[head], count, most, |id, commit| {
            let entry = self.entry_of(source, id, commit, room.min(MAX_SHOWN));
            room = room.saturating_sub(weight(&entry));
            entry
        })?;
        let Some(Newest { commits, complete }) = read else { return Ok(None) };
        let loaded = commits.len();
        let mut history = History::default();
        let entries = commits.into_iter().map(|(entry, parents)| HistoryCommit { parents, ..entry });
        history.load(entries, head).map_err(|_| Unreadable(head))?;
        Ok(Some(Loaded { history, loaded, complete, room }))
    }

    /// A commit as it is shown, its message in `limit` bytes.
    fn entry_of(
        &self,
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
    pub(super) fn author_of(&self, source: &impl ObjectSource, commit: &Commit) -> AccountId {
        self.author(source, commit.author.device().unwrap_or(DeviceId([0; 32])), commit)
    }

    /// Whose device wrote a commit that was validated once: by the certificate in its tree or, if
    /// the commit removed it, in its parent's.
    fn author(&self, source: &impl ObjectSource, device: DeviceId, commit: &Commit) -> AccountId {
        if let Some(author) = lock(&self.authors).get(&device) {
            return *author;
        }
        let parent = commit.parents.first().and_then(|parent| read_commit(source, *parent).ok());
        let trees = [Some(commit.tree), parent.map(|parent| parent.tree)];
        let owner = trees.into_iter().flatten().find_map(|tree| owner_in(source, tree, device));
        if let Some(owner) = owner {
            lock(&self.authors).insert(device, owner);
        }
        owner.unwrap_or(AccountId([0; 20]))
    }

    /// Puts validated commits on top, and tells what they change. If there are more than are told, or what
    /// they build upon is far back or cannot be read, that is read when it is looked at, and only new entries
    /// are told: whoever writes waits for this.
    pub(super) fn append(&self, source: &impl ObjectSource, head: CommitId, news: &News) -> Vec<Change> {
        let mut shown = self.shown();
        if news.untold > 0 {
            *shown = Shown::new(head);
            return changes_alone(head, &news.commits);
        }
        if let Some(touched) = shown.put_on_top(head, &news.commits) {
            return changes(&shown.history, touched);
        }
        // The commits are the newest of what is loaded now.
        let count = FIRST_LOAD.max(news.commits.len().saturating_mul(2));
        match self.read(source, head, count, count.saturating_add(MAX_AT_ONCE)) {
            Ok(Some(read)) => {
                shown.show(head, read);
                let touched = news.commits.iter().map(|commit| shown.history.touched(commit.id)).collect();
                return changes(&shown.history, touched);
            }
            Ok(None) => tracing::debug!("new messages build upon what is far back"),
            Err(error) => tracing::error!(%error, "new messages are shown without what they build upon"),
        }
        *shown = Shown::new(head);
        changes_alone(head, &news.commits)
    }

    /// A page of entries, newest first. Empty if `before` is no entry.
    pub(super) fn page(
        &self,
        source: &impl ObjectSource,
        before: Option<CommitId>,
        limit: usize,
    ) -> Result<Page, Unreadable> {
        let mut wanted = FIRST_LOAD.max(limit.saturating_mul(2));
        loop {
            self.load(source, wanted)?;
            let shown = self.shown();
            // One more than asked for tells whether there is a next page.
            let entries = shown.history.page(before, limit.saturating_add(1));
            if entries.len() > limit || shown.complete {
                let more = entries.len() > limit;
                let messages: Vec<_> = entries.iter().take(limit).map(view).collect();
                let next = messages.last().map(|message| message.id).filter(|_| more);
                return Ok(Page { messages, next });
            }
            wanted = wanted.max(shown.loaded).saturating_mul(4);
        }
    }

    /// Entries whose text contains `words`, newest first.
    pub(super) fn search(
        &self,
        source: &impl ObjectSource,
        words: &str,
        limit: usize,
    ) -> Result<Vec<MessageView>, Unreadable> {
        self.load(source, usize::MAX)?;
        let shown = self.shown();
        let found = shown.history.search(words, limit);
        Ok(found.into_iter().filter_map(|id| shown.history.entry(id)).map(|entry| view(&entry)).collect())
    }

    /// All commits from the head, newest first, merges included.
    pub(super) fn log(&self, source: &impl ObjectSource, limit: usize) -> Result<Vec<CommitId>, Unreadable> {
        self.load(source, usize::MAX)?;
        let shown = self.shown();
        let mut order = shown.history.graph().order(shown.head);
        order.truncate(limit);
        Ok(order)
    }

    /// Whether `commit` is `marker` or older in the order shown; false if one of them is not here. None if
    /// that takes older history to be read, and only what is `near` is wanted.
    pub(super) fn is_covered(
        &self,
        source: &impl ObjectSource,
        commit: CommitId,
        marker: CommitId,
        near: bool,
    ) -> Result<Option<bool>, Unreadable> {
        let mut wanted = FIRST_LOAD;
        loop {
            self.load(source, wanted)?;
            let shown = self.shown();
            let are_loaded = [commit, marker].map(|id| shown.history.graph().contains(id));
            match are_loaded {
                [true, true] => return Ok(Some(shown.history.is_covered(commit, marker))),
                _ if shown.complete => return Ok(Some(false)),
                _ => {}
            }
            wanted = shown.loaded.max(wanted).saturating_mul(4);
            drop(shown);
            if are_loaded == [false, false] && near {
                return Ok(None);
            }
            if [commit, marker].iter().any(|id| read_commit(source, *id).is_err()) {
                return Ok(Some(false));
            }
            // What is not loaded is older than all that is.
            match are_loaded {
                [false, true] => return Ok(Some(true)),
                [true, false] => return Ok(Some(false)),
                _ => {}
            }
        }
    }

    /// Who wrote a commit of the history, and what it says.
    pub(super) fn record(
        &self,
        source: &impl ObjectSource,
        id: CommitId,
    ) -> Result<(AccountId, Content), Unreadable> {
        let commit = read_commit(source, id)?;
        let entry = self.entry_of(source, id, &commit, MAX_SHOWN);
        Ok((entry.author, entry.message.map_or(Content::Other, |message| message.content())))
    }
}

/// What the message of a commit takes, in bytes.
pub(super) fn weight(commit: &HistoryCommit) -> usize {
    commit.message.as_ref().map_or(0, CommitMessage::weight)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        Content::File(offer) => (String::new(), offer.reply_to),
        _ => (String::new(), None),
    };
    let mut details = message.as_ref().map(CommitMessage::text_fields).unwrap_or_default();
    for shown_elsewhere in ["type", "body", "reply-to"] {
        details.remove(shown_elsewhere);
    }
    if let Content::File(offer) = &entry.content {
        // Names can turn round what follows them.
        details.insert("displayName".to_owned(), safe_name(&offer.display_name));
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
