//! What has to hold of those who left or were banned: what they wrote before is with all who remain, what
//! they wrote afterwards is nowhere.
//!
//! That somebody went is read from the history alone, whatever the workload says: a departure is a commit
//! by which somebody left or was banned, a return one by which they joined or were unbanned.

use skep_protocol::ids::CommitId;

use super::history::History;
use super::workload::Acknowledged;
use super::world::World;
use crate::swarm::repository::Repository;

/// Everything wrong that is found in the history that all who remain have.
pub(super) fn check(world: &World, history: &History, acknowledged: &Acknowledged) -> Vec<String> {
    let mut wrong = Vec::new();
    for departure in &acknowledged.left {
        let device = departure.device;
        // What somebody forged upon it may have kept it from being taken.
        if acknowledged.banned.contains(&departure.person) || world.devices[device].forged {
            continue;
        }
        if !history.has(departure.commit) {
            wrong.push(format!("nobody knows that {device} has left"));
        }
        for message in departure.wrote.iter().filter(|message| !history.has(**message)) {
            wrong.push(format!("{} of {device}, who has left, is lost", message.short()));
        }
    }
    for message in acknowledged.afterwards.iter().filter(|message| history.has(**message)) {
        wrong.push(format!("{} was written after its author had gone", message.short()));
    }
    for message in written_afterwards(history) {
        wrong.push(format!("{} is of somebody gone", message.short()));
    }
    wrong
}

/// Nothing is lost that a device that takes part has had once, whoever has gone since, but merges that gave
/// way to others.
pub(super) fn check_kept(world: &World, device: usize, history: &History, wrong: &mut Vec<String>) {
    let it = &world.devices[device];
    let had = it.cloned.iter().chain(it.told.keys());
    let lost: Vec<CommitId> = had.filter(|commit| !history.has(**commit)).copied().collect();
    if lost.is_empty() {
        return;
    }
    let repository = Repository::open(world.copy_of(device)).unwrap();
    let is_merge = |commit: &CommitId| repository.commit_at(*commit).unwrap().parents.len() > 1;
    for commit in lost.into_iter().filter(|commit| !is_merge(commit)) {
        wrong.push(format!("{device} had {} and has lost it", commit.short()));
    }
}

/// What people wrote who were gone by then and had not come back.
fn written_afterwards(history: &History) -> Vec<CommitId> {
    let mut wrong = Vec::new();
    for (departure, entry) in &history.0 {
        let Some(person) = entry.gone else { continue };
        let before = history.past(*departure);
        for (id, entry) in history.0.iter().filter(|(id, entry)| entry.author == person && *id != departure) {
            let past = history.past(*id);
            let is_back = |it: &CommitId| history.0[it].back == Some(person) && !before.contains(it);
            if past.contains(departure) && entry.back != Some(person) && !past.iter().any(is_back) {
                wrong.push(*id);
            }
        }
    }
    wrong
}
