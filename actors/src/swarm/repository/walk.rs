//! Walking the history without visiting all of it.
//!
//! A walk goes from new commits backwards and stops at what is known. Both sides advance newest
//! first, so the known side marks its commits before the new side reaches them. Commit times come
//! from peers and may lie; therefore the known side may not run further ahead than
//! [`HIDDEN_HEAD_START`] and a multiple of what is new, and a commit that it reaches too late is
//! taken back afterwards. With honest times the result is exact; with lying ones it may hold
//! commits that are known, never miss one that is new.

use std::collections::{BinaryHeap, HashMap, HashSet};

use skep_protocol::ids::{CommitId, ObjectId, TreeId};
use skep_protocol::swarm::object::{EntryKind, ObjectKind};

use super::{Repository, RepositoryError, Result};

/// Most new commits of one walk: what 256 MiB can bring, and some hundred MiB of memory.
pub(super) const MAX_NEW_COMMITS: usize = 1_000_000;

/// Most objects of the new commits together.
const MAX_NEW_OBJECTS: usize = 4_000_000;

/// Known commits visited in any case; tens of milliseconds.
const HIDDEN_HEAD_START: usize = 1_024;

/// Known commits visited for each new one.
const HIDDEN_PER_NEW: usize = 4;

/// A commit as far as walking needs it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) id: CommitId,
    pub(super) tree: TreeId,
    pub(super) parents: Vec<CommitId>,
    seconds: i64,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct NewHistory {
    /// The new commits in the order of the walk: mostly newest first.
    pub(super) commits: Vec<Step>,
    /// Known commits that are parents of new ones.
    pub(super) boundary: Vec<CommitId>,
}

/// New history that is complete.
#[derive(Debug)]
pub(super) struct Connected {
    /// The new commits, parents before children.
    pub(super) commits: Vec<CommitId>,
    /// Those commits, and the trees and files that they need beyond what their known parents have.
    pub(super) needed: HashSet<ObjectId>,
}

#[derive(Debug)]
struct Mark {
    hidden: bool,
    waiting: bool,
}

type Queue = BinaryHeap<(i64, CommitId)>;

struct Walk<'r> {
    repository: &'r Repository,
    marks: HashMap<CommitId, Mark>,
    steps: HashMap<CommitId, Step>,
    new: Queue,
    hidden: Queue,
    /// Commits in `new` that were not hidden since.
    open: usize,
    hidden_steps: usize,
    order: Vec<CommitId>,
    /// Most new commits that may be met.
    most: usize,
    oldest: i64,
    reached_root: bool,
}

impl Repository {
    /// The commits that `head` has and `known` does not reach, parents before children. `known`
    /// commits that are not here are ignored.
    ///
    /// # Errors
    /// When a commit is missing or damaged, or there are more than a million.
    pub fn commits_between(&self, head: CommitId, known: &[CommitId]) -> Result<Vec<CommitId>> {
        let history = self.new_history(head, known)?;
        Ok(parents_first(&history.commits))
    }

    /// The newest commits of the history of `head`, newest first, at most `count`: what to tell a
    /// server that we have.
    ///
    /// # Errors
    /// When a commit is missing or damaged.
    pub fn newest_commits(&self, head: CommitId, count: usize) -> Result<Vec<CommitId>> {
        let mut queue = Queue::new();
        let mut seen = HashSet::from([head]);
        queue.push((self.commit_at(head)?.committer.seconds, head));
        let mut newest = Vec::new();
        while newest.len() < count {
            let Some((_, id)) = queue.pop() else { break };
            newest.push(id);
            for parent in self.commit_at(id)?.parents {
                if seen.insert(parent) {
                    queue.push((self.commit_at(parent)?.committer.seconds, parent));
                }
            }
        }
        Ok(newest)
    }

    /// Checks that every tree and file of the new commits is here, of the right kind and, for
    /// trees, well made: a peer may leave some out.
    ///
    /// # Errors
    /// [`RepositoryError::MissingObject`] for the first that is not.
    pub(super) fn check_connected(&self, head: CommitId, known: &[CommitId]) -> Result<Connected> {
        let history = self.new_history(head, known)?;
        let objects = self.new_objects(&history)?;
        let mut needed = HashSet::with_capacity(history.commits.len() + objects.len());
        for (id, kind) in objects {
            if kind == ObjectKind::Blob {
                match self.header(id)? {
                    Some((ObjectKind::Blob, _)) => {}
                    Some(_) => return Err(RepositoryError::CorruptObject(id)),
                    None => return Err(RepositoryError::MissingObject(id)),
                }
            }
            needed.insert(id);
        }
        needed.extend(history.commits.iter().map(|step| ObjectId::from(step.id)));
        Ok(Connected { commits: parents_first(&history.commits), needed })
    }

    pub(super) fn new_history(&self, head: CommitId, known: &[CommitId]) -> Result<NewHistory> {
        self.new_history_within(head, known, MAX_NEW_COMMITS)
    }

    /// The same, of `most` commits at most; a walk meets known ones, too, before it knows them.
    pub(super) fn new_history_within(
        &self,
        head: CommitId,
        known: &[CommitId],
        most: usize,
    ) -> Result<NewHistory> {
        let mut walk = Walk {
            repository: self,
            marks: HashMap::new(),
            steps: HashMap::new(),
            new: Queue::new(),
            hidden: Queue::new(),
            open: 0,
            hidden_steps: 0,
            order: Vec::new(),
            most,
            oldest: i64::MAX,
            reached_root: false,
        };
        for id in known {
            if matches!(self.header((*id).into())?, Some((ObjectKind::Commit, _))) {
                walk.visit(*id, true)?;
            }
        }
        walk.visit(head, false)?;
        walk.run()?;
        Ok(walk.finish())
    }

    /// The trees and files of the new commits that their known parents do not have; every tree is
    /// read on the way.
    pub(super) fn new_objects(&self, history: &NewHistory) -> Result<Vec<(ObjectId, ObjectKind)>> {
        let mut seen = HashSet::new();
        let mut objects = Vec::new();
        for id in &history.boundary {
            self.collect(self.commit_at(*id)?.tree, &mut seen, &mut objects)?;
        }
        objects.clear();
        for commit in &history.commits {
            self.collect(commit.tree, &mut seen, &mut objects)?;
        }
        Ok(objects)
    }

    fn collect(
        &self,
        root: TreeId,
        seen: &mut HashSet<ObjectId>,
        objects: &mut Vec<(ObjectId, ObjectKind)>,
    ) -> Result<()> {
        let mut open = Vec::new();
        if seen.insert(root.into()) {
            open.push(root);
        }
        while let Some(folder) = open.pop() {
            objects.push((folder.into(), ObjectKind::Tree));
            for entry in self.tree_at(folder)?.into_entries() {
                match entry.kind {
                    EntryKind::Folder(id) if seen.insert(id.into()) => open.push(id),
                    EntryKind::File(id) if seen.insert(id.into()) => {
                        objects.push((id.into(), ObjectKind::Blob));
                    }
                    _ => {}
                }
            }
            if objects.len() > MAX_NEW_OBJECTS {
                return Err(RepositoryError::TooMany { what: "objects", limit: MAX_NEW_OBJECTS });
            }
        }
        Ok(())
    }
}

impl Walk<'_> {
    fn visit(&mut self, id: CommitId, hidden: bool) -> Result<()> {
        let waiting = match self.marks.get_mut(&id) {
            // A commit taken for new turns out to be known.
            Some(mark) if hidden && !mark.hidden => {
                mark.hidden = true;
                let waiting = mark.waiting;
                mark.waiting = true;
                Some(waiting)
            }
            Some(_) => return Ok(()),
            None => {
                self.marks.insert(id, Mark { hidden, waiting: true });
                None
            }
        };
        let seconds = self.step(id)?.seconds;
        match (waiting, hidden) {
            (Some(true), _) => {
                self.open -= 1;
                self.hidden.push((seconds, id));
            }
            (Some(false), _) | (None, true) => self.hidden.push((seconds, id)),
            (None, false) => {
                self.open += 1;
                self.new.push((seconds, id));
            }
        }
        Ok(())
    }

    fn step(&mut self, id: CommitId) -> Result<&Step> {
        match self.steps.entry(id) {
            std::collections::hash_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let commit = self.repository.commit_at(id)?;
                let seconds = commit.committer.seconds;
                Ok(entry.insert(Step { id, tree: commit.tree, parents: commit.parents, seconds }))
            }
        }
    }

    fn run(&mut self) -> Result<()> {
        while self.open > 0 {
            let newest_new = self.new.peek().map(|(seconds, _)| *seconds);
            let newest_hidden = self.hidden.peek().map(|(seconds, _)| *seconds);
            if newest_hidden >= newest_new && self.hidden_may_go_on() {
                self.go_hidden()?;
            } else {
                self.go_new()?;
            }
        }
        // What was taken for new may be taken back as long as the known side is not older, or if the
        // new side ran past it down to the beginning.
        while let Some((seconds, _)) = self.hidden.peek() {
            if !self.hidden_may_go_on() || (*seconds < self.oldest && !self.reached_root) {
                break;
            }
            self.go_hidden()?;
        }
        Ok(())
    }

    fn hidden_may_go_on(&self) -> bool {
        !self.hidden.is_empty() && self.hidden_steps < HIDDEN_HEAD_START + HIDDEN_PER_NEW * self.order.len()
    }

    fn go_hidden(&mut self) -> Result<()> {
        self.hidden_steps += 1;
        if let Some((_, id)) = self.hidden.pop() {
            self.advance(id, true)?;
        }
        Ok(())
    }

    fn go_new(&mut self) -> Result<()> {
        let Some((seconds, id)) = self.new.pop() else {
            self.open = 0;
            return Ok(());
        };
        if self.marks.get(&id).is_some_and(|mark| mark.hidden) {
            return Ok(());
        }
        self.open -= 1;
        if self.order.len() >= self.most {
            return Err(RepositoryError::TooMany { what: "commits", limit: self.most });
        }
        self.order.push(id);
        self.oldest = self.oldest.min(seconds);
        self.reached_root |= self.step(id)?.parents.is_empty();
        self.advance(id, false)
    }

    fn advance(&mut self, id: CommitId, hidden: bool) -> Result<()> {
        if let Some(mark) = self.marks.get_mut(&id) {
            mark.waiting = false;
        }
        for parent in self.step(id)?.parents.clone() {
            self.visit(parent, hidden)?;
        }
        Ok(())
    }

    fn finish(mut self) -> NewHistory {
        let hidden =
            |marks: &HashMap<CommitId, Mark>, id: &CommitId| marks.get(id).is_some_and(|mark| mark.hidden);
        let mut history = NewHistory::default();
        let mut boundary = HashSet::new();
        for id in &self.order {
            if hidden(&self.marks, id) {
                continue;
            }
            let Some(step) = self.steps.remove(id) else { continue };
            for parent in &step.parents {
                if hidden(&self.marks, parent) && boundary.insert(*parent) {
                    history.boundary.push(*parent);
                }
            }
            history.commits.push(step);
        }
        history
    }
}

/// Sorts commits so that parents come first, older ones before newer ones where both may be next.
fn parents_first(commits: &[Step]) -> Vec<CommitId> {
    let mut children: HashMap<CommitId, Vec<&Step>> = HashMap::new();
    let mut missing: HashMap<CommitId, usize> = commits.iter().map(|step| (step.id, 0)).collect();
    for step in commits {
        for parent in &step.parents {
            if missing.contains_key(parent) {
                children.entry(*parent).or_default().push(step);
                *missing.entry(step.id).or_default() += 1;
            }
        }
    }
    let key = |step: &Step| std::cmp::Reverse((step.seconds, step.id));
    let mut ready: BinaryHeap<_> =
        commits.iter().filter(|step| missing.get(&step.id) == Some(&0)).map(key).collect();
    let mut order = Vec::with_capacity(commits.len());
    while let Some(std::cmp::Reverse((_, id))) = ready.pop() {
        order.push(id);
        for child in children.remove(&id).unwrap_or_default() {
            if let Some(count) = missing.get_mut(&child.id) {
                *count -= 1;
                if *count == 0 {
                    ready.push(key(child));
                }
            }
        }
    }
    order
}
