//! The conversation as it is shown: one line of entries, with edits, reactions and deletions
//! applied (`spec: swarm 8`).
//!
//! ```text
//!   commits --load--> graph --walk--> order of entries --page--> Entry, Entry, ...
//!          \--append (pulled)----------> on top                   ^ edits, reactions by target
//! ```
//!
//! Merges, edits and reactions are no entries. An edit or reaction whose target is not here yet
//! simply waits in the table of targets. After [`History::load`] the order is that of the walk;
//! [`History::append`] puts new entries on top, and the next load may place them differently:
//! both hold the same entries, and [`History::generation`] tells readers when places moved.

use std::collections::HashMap;

use super::graph::{CommitGraph, GraphError};
use super::message::{CommitMessage, Content, Relation};
use super::validate::ValidCommit;
use crate::ids::{AccountId, CommitId, DeviceId};

/// Memory that the message of one commit may take, in bytes: of longer texts, which only the size of a commit
/// bounds, the beginning is shown.
pub const MAX_SHOWN: usize = 256 * 1024;

/// A commit as the history needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryCommit {
    /// Its id.
    pub id: CommitId,
    /// Its parents.
    pub parents: Vec<CommitId>,
    /// Who wrote it.
    pub author: AccountId,
    /// On which device.
    pub device: DeviceId,
    /// Commit time in Unix seconds.
    pub seconds: i64,
    /// What it says, as far as it is shown; `None` for a merge.
    pub message: Option<CommitMessage>,
}

impl From<&ValidCommit> for HistoryCommit {
    fn from(valid: &ValidCommit) -> Self {
        Self {
            id: valid.id(),
            parents: valid.commit().parents.clone(),
            author: valid.author(),
            device: valid.device(),
            seconds: valid.commit().seconds(),
            message: valid.message().map(|message| message.shortened(MAX_SHOWN)),
        }
    }
}

/// What appending a commit did to the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is a new entry.
    Entry(CommitId),
    /// It changed the entry of this id: an edit, deletion or reaction.
    Updated(CommitId),
    /// It changes an entry that is not here yet.
    Pending(CommitId),
    /// Nothing to see: a merge, or a commit that was here.
    Nothing,
}

/// A text or reaction by somebody: the original, or an edit of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edition {
    /// The commit.
    pub id: CommitId,
    /// Its commit time in Unix seconds.
    pub seconds: i64,
    /// The text.
    pub body: String,
}

/// A reaction that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaction {
    /// The commit that reacted; edits and removals name it.
    pub id: CommitId,
    /// Who reacted.
    pub author: AccountId,
    /// Its commit time in Unix seconds.
    pub seconds: i64,
    /// Usually an emoji.
    pub body: String,
}

/// One shown message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The commit.
    pub id: CommitId,
    /// The entry before it, if it is not the first.
    pub linearized_parent: Option<CommitId>,
    /// Who wrote it.
    pub author: AccountId,
    /// On which device.
    pub device: DeviceId,
    /// Commit time in Unix seconds.
    pub seconds: i64,
    /// What it says now: the newest text, an empty `tid` for a removed file.
    pub content: Content,
    /// The message as written, where [`Content`] does not know it.
    pub unknown: Option<CommitMessage>,
    /// Whether its author took it back.
    pub deleted: bool,
    /// Earlier texts, newest first.
    pub editions: Vec<Edition>,
    /// Reactions in the order they were made.
    pub reactions: Vec<Reaction>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// An entry of its own.
    Entry,
    /// Edits another commit.
    Edit(CommitId),
    /// Reacts to another commit.
    React(CommitId),
    /// Never shown.
    Hidden,
}

#[derive(Clone, Debug)]
struct Record {
    author: AccountId,
    device: DeviceId,
    content: Content,
    unknown: Option<Box<CommitMessage>>,
    link: Link,
    /// Greater is newer.
    rank: u32,
    /// Place among the entries, if shown.
    shown: Option<u32>,
}

/// All commits of one conversation and the order they are shown in.
#[derive(Clone, Debug, Default)]
pub struct History {
    graph: CommitGraph,
    records: Vec<Record>,
    /// Shown commits, oldest first.
    entries: Vec<u32>,
    /// Edits and reactions by the commit they are about, in order of entry.
    targets: HashMap<CommitId, Vec<u32>>,
    generation: u64,
}

impl History {
    /// Takes commits in, parents first, and shows the history of `head` in the order of the walk.
    /// Commits that are here already are passed over.
    ///
    /// # Errors
    /// [`GraphError`] when a parent is missing; what came before it is kept.
    pub fn load(
        &mut self,
        commits: impl IntoIterator<Item = HistoryCommit>,
        head: CommitId,
    ) -> Result<(), GraphError> {
        let commits = commits.into_iter();
        self.graph.reserve(commits.size_hint().0);
        for commit in commits {
            self.enter(commit)?;
        }
        self.reorder(head);
        Ok(())
    }

    /// Puts a validated commit on top.
    ///
    /// # Errors
    /// [`GraphError`] when a parent is missing.
    pub fn append(&mut self, commit: HistoryCommit) -> Result<Appended, GraphError> {
        let id = commit.id;
        let Some(place) = self.enter(commit)? else { return Ok(Appended::Nothing) };
        let next = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let Some(record) = self.records.get_mut(place as usize) else { return Ok(Appended::Nothing) };
        Ok(match record.link {
            Link::Hidden => Appended::Nothing,
            Link::Entry => {
                record.shown = Some(next);
                self.entries.push(place);
                Appended::Entry(id)
            }
            Link::Edit(target) | Link::React(target) => self.updated(target),
        })
    }

    /// What a commit that is here is, or changes, as if it had been appended just now.
    #[must_use]
    pub fn touched(&self, id: CommitId) -> Appended {
        match self.record(id).map(|record| record.link) {
            Some(Link::Entry) => Appended::Entry(id),
            Some(Link::Edit(target) | Link::React(target)) => self.updated(target),
            Some(Link::Hidden) | None => Appended::Nothing,
        }
    }

    /// Orders the entries anew, as a walk from `head` gives them.
    pub fn reorder(&mut self, head: CommitId) {
        let Some(head) = self.graph.place(head) else { return };
        self.generation = self.generation.wrapping_add(1);
        for record in &mut self.records {
            record.shown = None;
        }
        self.entries.clear();
        for (place, rank) in self.graph.order_of_places(head).into_iter().rev().zip(0..) {
            let next = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
            let Some(record) = self.records.get_mut(place as usize) else { continue };
            record.rank = rank;
            if record.link == Link::Entry {
                record.shown = Some(next);
                self.entries.push(place);
            }
        }
    }

    fn enter(&mut self, commit: HistoryCommit) -> Result<Option<u32>, GraphError> {
        if !self.graph.insert(commit.id, &commit.parents, commit.seconds)? {
            return Ok(None);
        }
        let place = u32::try_from(self.records.len()).map_err(|_| GraphError::Full)?;
        let content = commit.message.as_ref().map_or(Content::Other, CommitMessage::content);
        let link = link_of(commit.message.as_ref(), &content);
        let unknown = commit.message.filter(|_| content == Content::Other).map(Box::new);
        if let Link::Edit(target) | Link::React(target) = link {
            self.targets.entry(target).or_default().push(place);
        }
        let (author, device) = (commit.author, commit.device);
        self.records.push(Record { author, device, content, unknown, link, rank: place, shown: None });
        Ok(Some(place))
    }

    /// The entry that changes when `target` is edited or reacted to.
    fn updated(&self, target: CommitId) -> Appended {
        let Some(record) = self.record(target) else { return Appended::Pending(target) };
        match record.link {
            Link::Entry => Appended::Updated(target),
            Link::React(entry) if self.graph.contains(entry) => Appended::Updated(entry),
            Link::React(entry) => Appended::Pending(entry),
            Link::Edit(_) | Link::Hidden => Appended::Nothing,
        }
    }

    /// Which commit follows which.
    #[must_use]
    pub const fn graph(&self) -> &CommitGraph {
        &self.graph
    }

    /// Counts the times the order was made anew; places of pages are good within one.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// At most `limit` entries, newest first, beginning with the newest or with the one before
    /// `before`. Empty if `before` is no entry.
    ///
    /// A replied message may be on a later page; [`History::entry`] has it in any case.
    #[must_use]
    pub fn page(&self, before: Option<CommitId>, limit: usize) -> Vec<Entry> {
        let end = match before {
            None => Some(self.entries.len()),
            Some(id) => self.record(id).and_then(|record| record.shown).map(|shown| shown as usize),
        };
        let older = end.and_then(|end| self.entries.get(..end)).unwrap_or_default();
        older.iter().rev().take(limit).filter_map(|place| self.view(*place)).collect()
    }

    /// One entry, if this commit is one.
    #[must_use]
    pub fn entry(&self, id: CommitId) -> Option<Entry> {
        self.view(self.graph.place(id)?)
    }

    /// Whether `commit` is `marker` or older in the order shown; markers cover those (`spec: swarm 13`).
    /// Commits that are never shown have their place in it too. False if one of them is not here.
    #[must_use]
    pub fn is_covered(&self, commit: CommitId, marker: CommitId) -> bool {
        let rank = |id| self.record(id).map(|record| record.rank);
        matches!((rank(commit), rank(marker)), (Some(commit), Some(marker)) if commit <= marker)
    }

    /// Entries whose present text or file name contains `words`, whatever the case; newest first,
    /// at most `limit`.
    #[must_use]
    pub fn search(&self, words: &str, limit: usize) -> Vec<CommitId> {
        let words = words.to_lowercase();
        let found = self.entries.iter().rev().filter(|place| {
            let text = match self.records.get(**place as usize).map(|record| &record.content) {
                Some(Content::File(offer)) => offer.display_name.clone(),
                Some(Content::Text { body, .. }) => match self.newest_edit(**place) {
                    Some(edition) => edition.body,
                    None => body.clone(),
                },
                _ => return false,
            };
            text.to_lowercase().contains(&words)
        });
        found.take(limit).filter_map(|place| self.graph.id_at(*place)).collect()
    }

    fn record(&self, id: CommitId) -> Option<&Record> {
        self.records.get(self.graph.place(id)? as usize)
    }

    fn view(&self, place: u32) -> Option<Entry> {
        let record = self.records.get(place as usize)?;
        let shown = record.shown? as usize;
        let parent = shown.checked_sub(1).and_then(|older| self.entries.get(older));
        let mut editions = self.editions(place);
        let edited = !editions.is_empty();
        let mut content = record.content.clone();
        let deleted = match &mut content {
            Content::Text { body, .. } => {
                let original = Edition {
                    id: self.graph.id_at(place)?,
                    seconds: self.seconds(place),
                    body: body.clone(),
                };
                editions.push(original);
                let newest = editions.remove(0);
                *body = newest.body;
                edited && body.is_empty()
            }
            Content::File(offer) if edited => {
                offer.tid.clear();
                true
            }
            Content::Document { .. } => edited,
            _ => false,
        };
        if !matches!(content, Content::Text { .. }) {
            editions.clear();
        }
        Some(Entry {
            id: self.graph.id_at(place)?,
            linearized_parent: parent.and_then(|parent| self.graph.id_at(*parent)),
            author: record.author,
            device: record.device,
            seconds: self.seconds(place),
            content,
            unknown: record.unknown.as_deref().cloned(),
            deleted,
            editions,
            reactions: if deleted { Vec::new() } else { self.reactions(place) },
        })
    }

    fn seconds(&self, place: u32) -> i64 {
        self.graph.seconds_at(place).unwrap_or_default()
    }

    /// Edits and reactions about a commit that `wanted` accepts, oldest first.
    fn about(&self, place: u32, wanted: impl Fn(&Record) -> bool) -> Vec<(u32, &Record)> {
        let linked = self.graph.id_at(place).and_then(|id| self.targets.get(&id));
        let mut found: Vec<(u32, &Record)> = linked
            .into_iter()
            .flatten()
            .filter_map(|place| Some((*place, self.records.get(*place as usize)?)))
            .filter(|(_, record)| wanted(record))
            .collect();
        found.sort_by_key(|(_, record)| record.rank);
        found
    }

    /// Edits of a commit by its author, newest first.
    fn editions(&self, place: u32) -> Vec<Edition> {
        let Some(author) = self.records.get(place as usize).map(|record| record.author) else {
            return Vec::new();
        };
        let edits =
            self.about(place, |record| matches!(record.link, Link::Edit(_)) && record.author == author);
        edits
            .into_iter()
            .rev()
            .filter_map(|(place, record)| {
                let body = match &record.content {
                    Content::Text { body, .. } => body.clone(),
                    _ => String::new(),
                };
                Some(Edition { id: self.graph.id_at(place)?, seconds: self.seconds(place), body })
            })
            .collect()
    }

    fn newest_edit(&self, place: u32) -> Option<Edition> {
        self.editions(place).into_iter().next()
    }

    fn reactions(&self, place: u32) -> Vec<Reaction> {
        let reactions = self.about(place, |record| matches!(record.link, Link::React(_)));
        let standing = reactions.into_iter().filter_map(|(place, record)| {
            let body = match (self.newest_edit(place), &record.content) {
                (Some(edition), _) => edition.body,
                (None, Content::Text { body, .. }) => body.clone(),
                _ => return None,
            };
            let id = self.graph.id_at(place)?;
            let reaction = Reaction { id, author: record.author, seconds: self.seconds(place), body };
            (!reaction.body.is_empty()).then_some(reaction)
        });
        standing.collect()
    }
}

fn link_of(message: Option<&CommitMessage>, content: &Content) -> Link {
    let Some(message) = message else { return Link::Hidden };
    if let Content::Text { relation: Relation::React(target), .. } = content {
        return Link::React(*target);
    }
    match (message.is_edit(), message.edited()) {
        (true, Some(target)) => Link::Edit(target),
        (true, None) => Link::Hidden,
        (false, _) => Link::Entry,
    }
}
