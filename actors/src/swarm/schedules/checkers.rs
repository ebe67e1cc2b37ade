//! What has to hold when everything is connected and quiet. Nothing here knows what the people did
//! beyond what was acknowledged to them.

use std::collections::BTreeSet;

use skep_protocol::ids::CommitId;
use skep_protocol::swarm::layout::Role;

use super::workload::Acknowledged;
use super::world::World;
use crate::swarm::repository::Repository;
use crate::swarm::standing::Standing;

/// Everything wrong that is found.
pub(super) fn check(world: &mut World, acknowledged: &Acknowledged) -> Vec<String> {
    let mut wrong = std::mem::take(&mut world.refusals);
    let inside: Vec<(usize, Standing)> = world
        .devices
        .iter()
        .enumerate()
        .filter_map(|(number, device)| {
            let replica = device.replica.as_ref()?;
            Some((number, replica.standing(replica.head().unwrap()).unwrap()))
        })
        .collect();
    let Some((_, agreed)) = inside.first().cloned() else {
        return vec!["the founder has lost it".to_owned()];
    };
    // Who takes part by what the founder has; the others need not have learned that they do not.
    let takes_part: Vec<bool> = world
        .devices
        .iter()
        .map(|device| {
            let role = agreed.members.role(device.person);
            !device.left && matches!(role, Some(Role::Admin | Role::Member))
        })
        .collect();
    for (device, standing) in inside.iter().filter(|(device, _)| takes_part[*device]) {
        if standing.head != agreed.head {
            wrong.push(format!("{device} has {}, not {}", standing.head.short(), agreed.head.short()));
        }
        if standing.members != agreed.members || standing.profile != agreed.profile {
            wrong.push(format!("{device} has other members or another profile"));
        }
    }
    let history = history(world, 0, agreed.head);
    for (message, author) in &acknowledged.messages {
        // Whoever was invited only by somebody already banned is in no group but theirs.
        let is_known = agreed.members.role(*author).is_some();
        if !history.contains(message) && is_known && !acknowledged.banned.contains(author) {
            wrong.push(format!("{} was acknowledged and is lost", message.short()));
        }
    }
    let mut shown_first = None;
    for (device, standing) in &inside {
        check_told(world, *device, standing.head, &mut wrong);
        if takes_part[*device] && standing.head == agreed.head {
            let shown = world.shown_after_a_start(*device);
            let own: BTreeSet<CommitId> = shown.iter().copied().collect();
            if own.len() != shown.len() {
                wrong.push(format!("{device} shows something twice"));
            }
            if *shown_first.get_or_insert_with(|| shown.clone()) != shown {
                wrong.push(format!("{device} shows others, or in another order"));
            }
        }
    }
    wrong
}

/// Every commit that leads to a head, as the files say.
fn history(world: &World, device: usize, head: CommitId) -> BTreeSet<CommitId> {
    let repository = Repository::open(world.copy_of(device)).unwrap();
    repository.commits_between(head, &[]).unwrap().into_iter().collect()
}

/// Whatever came after the clone was told once; what came with it was not.
fn check_told(world: &World, device: usize, head: CommitId, wrong: &mut Vec<String>) {
    let it = &world.devices[device];
    let repository = Repository::open(world.copy_of(device)).unwrap();
    for commit in repository.commits_between(head, &[]).unwrap() {
        let told = it.told.get(&commit).copied().unwrap_or_default();
        let is_new = is_entry(&repository, commit) && !it.cloned.contains(&commit);
        if told != usize::from(is_new) {
            wrong.push(format!("{device} was told {} {told} times, which is wrong", commit.short()));
        }
    }
}

/// Whether a commit is shown for itself: no merge, and about no other commit.
fn is_entry(repository: &Repository, commit: CommitId) -> bool {
    let commit = repository.commit_at(commit).unwrap();
    let Ok(message) = serde_json::from_slice::<serde_json::Value>(&commit.message) else { return false };
    let is_about = |key: &str| message[key].as_str().is_some_and(|target| !target.is_empty());
    commit.parents.len() < 2 && !is_about("edit") && !is_about("react-to")
}
