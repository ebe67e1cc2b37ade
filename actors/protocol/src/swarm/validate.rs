//! Whether a commit may enter the history (`spec: swarm 7`).
//!
//! ```text
//!   commit --> signed? author a device? --+-- no parent ----> first commit of this conversation
//!                                         +-- one parent ---> author is member (Z), then by type:
//!                                         |                   vote, member, profile, edit, ...
//!                                         +-- two parents --> author is member (Z), merge (K)
//! ```
//!
//! Parents are to be validated before their children ([`Validator::validate_history`] does so):
//! a verdict takes the parent's tree for granted. Everything is judged by the trees of the commit
//! and its parents, never by what this device happens to know, so that all devices agree.
//!
//! Where the reference is lenient and `spec: swarm 7` recommends more, this is stricter: real
//! tree differences, votes counted in the parent's tree, only oneself may leave, the account must
//! have signed the device certificate and the founder the first commit, edits change no file.
//! Beyond that it refuses what no honest program writes and what would undo the rules: bans and
//! unbans put the very file in place, so that nobody changes role by one; leaving only deletes; a
//! banned device does not bring its certificate again; a device keeps its issuer; merges keep
//! bans. Elsewhere it accepts whatever the reference accepts, as each refusal more would cut this
//! device off from the others: who may invite where only admins do, and who was banned before
//! joining, are such cases.
//!
//! **Cost.** A commit is read twice, and each tree of the history once (`tree_cache`),
//! whatever the shape of the history and however large the folders that nobody changes. Of a changed
//! folder all entries are read, as git stores them. An edited commit is looked up, not searched for.
//! Only where a merge leaves out a ban that was lifted is the past walked, within
//! [`MAX_SEARCH_STEPS`].
//!
//! **Old forks.** Times are what authors claim, and membership is read from the commit's own tree.
//! So somebody who was banned can still fork from a commit before the ban, and such commits are
//! valid, as they are for the reference: they could be late arrivals. They stay outside until a
//! member merges them, and that merge keeps the ban. Nobody fetches from banned persons, so such a
//! fork spreads only through members; and a merge that would drop a ban is refused (`rules/bans`).

use std::collections::HashMap;

use super::diff::{Change, TreeReader};
use super::graph::{self, CommitGraph};
use super::layout::{MAX_CERTIFICATE_FILE, TreePath};
use super::message::{CommitMessage, Content, MemberAction, Mode, Target};
use super::object::{Commit, ObjectSource};
use super::refusal::{Problem, Refusal, ValidationError, Verdict, require};
use super::rules::{author, bans, content, initial, member, merge, vote};
use super::tree_cache::TreeCache;
use crate::identity::Certificate;
use crate::ids::{AccountId, BlobId, CommitId, ConversationId, DeviceId, TreeId};

/// Most entries of each cache; beyond it the cache starts afresh.
const MAX_CACHED: usize = 20_000;

/// Most steps, for each commit of the history, of searching where the sides of merges parted that
/// leave lifted bans out. One such search takes at most one step a commit, and honest histories
/// need one for each device that was away when a ban was lifted.
pub const MAX_SEARCH_STEPS: usize = 1000;

/// A commit that passed all rules. Only a [`Validator`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidCommit {
    id: CommitId,
    commit: Commit,
    author: AccountId,
    device: DeviceId,
    message: Option<CommitMessage>,
}

impl ValidCommit {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> CommitId {
        self.id
    }

    /// The commit.
    #[must_use]
    pub const fn commit(&self) -> &Commit {
        &self.commit
    }

    /// The person who wrote it.
    #[must_use]
    pub const fn author(&self) -> AccountId {
        self.author
    }

    /// The device that wrote it.
    #[must_use]
    pub const fn device(&self) -> DeviceId {
        self.device
    }

    /// Its message; `None` for a merge.
    #[must_use]
    pub const fn message(&self) -> Option<&CommitMessage> {
        self.message.as_ref()
    }
}

/// What the first commit settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Founding {
    /// How the conversation works.
    pub mode: Mode,
    /// Who began it.
    pub author: AccountId,
    /// The other one of a one-to-one conversation.
    pub invited: Option<AccountId>,
}

/// Judges the commits of one conversation. It remembers certificates and authors, so use one for a
/// whole fetch or clone.
#[derive(Debug)]
pub struct Validator<S> {
    source: S,
    conversation: ConversationId,
    trees: TreeCache,
    memory: Memory,
}

#[derive(Debug, Default)]
struct Memory {
    founding: Option<Founding>,
    certificates: HashMap<BlobId, Option<Certificate>>,
    authors: HashMap<(TreeId, DeviceId), Result<author::Author, Refusal>>,
    /// Whether the account of one file issued the device of another: RSA takes its time.
    issued: HashMap<(BlobId, BlobId), bool>,
    /// Trees of commits examined.
    roots: HashMap<CommitId, TreeId>,
    /// Filled when a merge needs it; most histories never do.
    graph: CommitGraph,
    /// Steps of searches in `graph` so far.
    searched: usize,
}

/// What the rules work with: a source to read from and what was read before.
pub(super) struct Desk<'v, S> {
    pub(super) source: &'v S,
    conversation: ConversationId,
    trees: &'v TreeCache,
    memory: &'v mut Memory,
}

/// A commit under examination.
#[derive(Debug)]
pub(super) struct Step<'c> {
    pub(super) commit: &'c Commit,
    pub(super) message: &'c CommitMessage,
    /// A: who signed.
    pub(super) device: DeviceId,
    /// U: whose device it is.
    pub(super) user: AccountId,
    /// The parent's tree.
    pub(super) old: TreeId,
    /// The files that differ from it.
    pub(super) changes: Vec<Change>,
}

impl<S: ObjectSource> Validator<S> {
    /// For the conversation that begins with this commit.
    pub fn new(source: S, conversation: ConversationId) -> Self {
        Self { source, conversation, trees: TreeCache::default(), memory: Memory::default() }
    }

    /// Where it reads from.
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// Judges one commit whose parents are valid.
    ///
    /// # Errors
    /// [`ValidationError::Refused`] with the reason; [`ValidationError::Store`] when the source
    /// failed, which is no verdict.
    pub fn validate(&mut self, id: CommitId) -> Result<ValidCommit, ValidationError> {
        self.desk().examine(id).map_err(|problem| problem.at(id))
    }

    /// Judges everything that leads to `head` and is not `known` yet, parents first.
    ///
    /// # Errors
    /// The first refusal; then none of the commits may be taken over.
    pub fn validate_history(
        &mut self,
        head: CommitId,
        known: impl Fn(CommitId) -> bool,
    ) -> Result<Vec<ValidCommit>, ValidationError> {
        let unseen = graph::unseen_commits(&self.source, head, known)?;
        unseen.into_iter().map(|id| self.validate(id)).collect()
    }

    /// What the first commit settles.
    ///
    /// # Errors
    /// As [`Validator::validate`], if the first commit is missing or malformed.
    pub fn founding(&mut self) -> Result<Founding, ValidationError> {
        let initial = self.conversation.initial_commit();
        self.desk().founding().map_err(|problem| problem.at(initial))
    }

    fn desk(&mut self) -> Desk<'_, S> {
        Desk {
            source: &self.source,
            conversation: self.conversation,
            trees: &self.trees,
            memory: &mut self.memory,
        }
    }
}

impl<'v, S: ObjectSource> Desk<'v, S> {
    pub(super) const fn reader(&self) -> TreeReader<'v, S> {
        TreeReader::remembering(self.source, self.trees)
    }

    pub(super) fn commit(&self, id: CommitId) -> Verdict<Commit> {
        let raw = self.source.commit(id)?.ok_or_else(|| Refusal::Missing(id.to_hex()))?;
        Ok(Commit::parse(raw)?)
    }

    /// The tree of a commit.
    pub(super) fn tree_of(&mut self, id: CommitId) -> Verdict<TreeId> {
        if let Some(root) = self.memory.roots.get(&id) {
            return Ok(*root);
        }
        let root = self.commit(id)?.tree;
        make_room(&mut self.memory.roots);
        self.memory.roots.insert(id, root);
        Ok(root)
    }

    fn examine(&mut self, id: CommitId) -> Verdict<ValidCommit> {
        let commit = self.commit(id)?;
        make_room(&mut self.memory.roots);
        self.memory.roots.insert(id, commit.tree);
        let device = commit.author.device().ok_or(Refusal::AuthorIsNoDevice)?;
        require(commit.signature.is_some(), || Refusal::NoSignature)?;
        let (author, message) = match *commit.parents.as_slice() {
            [] => {
                require(id == self.conversation.initial_commit(), || Refusal::ForeignRoot)?;
                let message = CommitMessage::parse(&commit.message)?;
                (initial::check(self, &commit, device, &message)?, Some(message))
            }
            [parent] => {
                let message = CommitMessage::parse(&commit.message)?;
                (self.examine_ordinary(&commit, device, parent, &message)?, Some(message))
            }
            [first, second] => {
                let user = author::check(self, &commit, device, commit.tree)?;
                let sides = [self.tree_of(first)?, self.tree_of(second)?];
                merge::check(self, commit.tree, sides)?;
                bans::check(self, commit.tree, [first, second], sides)?;
                (user, None)
            }
            _ => return Err(Refusal::TooManyParents(commit.parents.len()).into()),
        };
        Ok(ValidCommit { id, commit, author, device, message })
    }

    fn examine_ordinary(
        &mut self,
        commit: &Commit,
        device: DeviceId,
        parent: CommitId,
        message: &CommitMessage,
    ) -> Verdict<AccountId> {
        let old = self.tree_of(parent)?;
        let action = message.text("action").and_then(MemberAction::from_word);
        let leaving = message.message_type() == "member" && action == Some(MemberAction::Remove);
        let user = author::check(self, commit, device, if leaving { old } else { commit.tree })?;
        let changes = self.reader().changes(Some(old), commit.tree)?;
        let step = Step { commit, message, device, user, old, changes };
        match message.message_type() {
            "vote" => vote::check(self, &step)?,
            "member" => {
                let target = message.text("uri").and_then(Target::parse).ok_or(Refusal::MalformedTarget)?;
                member::check(self, &step, action.ok_or(Refusal::UnknownAction)?, target)?;
            }
            "application/update-profile" => content::profile(self, &step)?,
            "application/checkpoint" => content::checkpoint(self, &step)?,
            _ if message.is_edit() => content::edit(self, &step)?,
            _ => content::message(self, &step)?,
        }
        Ok(user)
    }

    /// What the first commit settles; it was validated, or is just being.
    pub(super) fn founding(&mut self) -> Verdict<Founding> {
        if let Some(founding) = self.memory.founding {
            return Ok(founding);
        }
        let commit = self.commit(self.conversation.initial_commit())?;
        let device = commit.author.device().ok_or(Refusal::AuthorIsNoDevice)?;
        let author = author::user_of(self, commit.tree, device)?;
        let Content::Initial { mode, invited } = CommitMessage::parse(&commit.message)?.content() else {
            return Err(Refusal::UnknownMode.into());
        };
        let founding = Founding { mode, author, invited };
        self.memory.founding = Some(founding);
        Ok(founding)
    }

    /// Where the histories of two commits parted.
    pub(super) fn merge_bases(&mut self, left: CommitId, right: CommitId) -> Verdict<Vec<CommitId>> {
        for head in [left, right] {
            let fresh = graph::unseen(self.source, head, |id| self.memory.graph.contains(id));
            for commit in fresh.map_err(Problem::from)? {
                let entered = self.memory.graph.insert(commit.id, &commit.parents, commit.seconds);
                entered.map_err(|_| Refusal::TooManyChanges)?;
            }
        }
        let memory = &mut *self.memory;
        let allowed = memory.graph.len().saturating_mul(MAX_SEARCH_STEPS);
        let mut left_over = allowed.saturating_sub(memory.searched);
        let bases = memory.graph.merge_bases_within(left, right, &mut left_over);
        memory.searched = allowed.saturating_sub(left_over);
        bases.ok_or_else(|| Refusal::TooManyForks.into())
    }

    /// Whether the account in file `account` issued the device in file `device`.
    pub(super) fn is_issued(
        &mut self,
        files: (BlobId, BlobId),
        device: &Certificate,
        account: &Certificate,
    ) -> bool {
        if let Some(known) = self.memory.issued.get(&files) {
            return *known;
        }
        let issued = device.is_issued_by(account);
        make_room(&mut self.memory.issued);
        self.memory.issued.insert(files, issued);
        issued
    }

    /// The certificate in a file: of several the first.
    pub(super) fn certificate(&mut self, path: TreePath, file: BlobId) -> Verdict<Certificate> {
        if !self.memory.certificates.contains_key(&file) {
            let text = self.source.blob(file, MAX_CERTIFICATE_FILE)?;
            let text = text.ok_or_else(|| Refusal::Missing(file.to_hex()))?;
            let certificate = Certificate::from_pem(&text).ok();
            make_room(&mut self.memory.certificates);
            self.memory.certificates.insert(file, certificate);
        }
        let known = self.memory.certificates.get(&file).cloned().flatten();
        known.ok_or_else(|| Refusal::NotCertificate(path).into())
    }

    /// What `find` found for this author in this tree before, or finds now.
    pub(super) fn author(
        &mut self,
        key: (TreeId, DeviceId),
        find: impl FnOnce(&mut Self) -> Verdict<author::Author>,
    ) -> Verdict<author::Author> {
        if let Some(known) = self.memory.authors.get(&key) {
            return known.clone().map_err(Problem::Refused);
        }
        let found = match find(self) {
            Ok(author) => Ok(author),
            Err(Problem::Refused(refusal)) => Err(refusal),
            Err(store) => return Err(store),
        };
        make_room(&mut self.memory.authors);
        self.memory.authors.insert(key, found.clone());
        found.map_err(Problem::Refused)
    }
}

fn make_room<K, V>(cache: &mut HashMap<K, V>) {
    if cache.len() >= MAX_CACHED {
        cache.clear();
    }
}
