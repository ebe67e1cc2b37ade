//! The history that leads to a head, as the files of a device say it.

use std::collections::{BTreeMap, BTreeSet};

use skep_protocol::ids::{AccountId, CommitId};

use super::world::World;
use crate::swarm::repository::Repository;

/// A commit, as far as it matters here.
pub(super) struct Entry {
    pub(super) author: AccountId,
    pub(super) parents: Vec<CommitId>,
    /// Whether it is shown for itself: no merge, and about no other commit.
    pub(super) is_shown: bool,
    /// Who has left or was banned by it.
    pub(super) gone: Option<AccountId>,
    /// Who has joined or was unbanned by it.
    pub(super) back: Option<AccountId>,
}

/// See the module.
pub(super) struct History(pub(super) BTreeMap<CommitId, Entry>);

impl History {
    pub(super) fn read(world: &World, device: usize, head: CommitId) -> Self {
        let repository = Repository::open(world.copy_of(device)).unwrap();
        let commits = repository.commits_between(head, &[]).unwrap();
        Self(commits.into_iter().map(|id| (id, entry(world, &repository, id))).collect())
    }

    pub(super) fn has(&self, commit: CommitId) -> bool {
        self.0.contains_key(&commit)
    }

    /// All that leads to a commit, without itself.
    pub(super) fn past(&self, commit: CommitId) -> BTreeSet<CommitId> {
        let (mut past, mut open) = (BTreeSet::new(), vec![commit]);
        while let Some(entry) = open.pop().and_then(|id| self.0.get(&id)) {
            open.extend(entry.parents.iter().filter(|parent| past.insert(**parent)));
        }
        past
    }
}

fn entry(world: &World, repository: &Repository, id: CommitId) -> Entry {
    let commit = repository.commit_at(id).unwrap();
    let message = serde_json::from_slice::<serde_json::Value>(&commit.message);
    let is_about = |key: &str| {
        let target = message.as_ref().ok().and_then(|message| message[key].as_str());
        target.is_some_and(|target| !target.is_empty())
    };
    let is_shown = message.is_ok() && commit.parents.len() < 2 && !is_about("edit") && !is_about("react-to");
    let message = message.unwrap_or_default();
    let person = message["uri"].as_str().and_then(|uri| uri.parse().ok());
    let person = person.filter(|_| message["type"] == "member");
    let action = message["action"].as_str().unwrap_or_default();
    Entry {
        author: world.devices[world.places[&commit.author.device().unwrap()]].person,
        parents: commit.parents,
        is_shown,
        gone: person.filter(|_| ["remove", "ban"].contains(&action)),
        back: person.filter(|_| ["join", "unban"].contains(&action)),
    }
}
