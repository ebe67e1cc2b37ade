//! What has to hold when everything is connected and quiet. Nothing here knows what the people did
//! beyond what was acknowledged to them.

use std::collections::{BTreeMap, BTreeSet};

use skep_protocol::ids::CommitId;
use skep_protocol::swarm::layout::Role;

use super::departures;
use super::history::History;
use super::workload::Acknowledged;
use super::world::World;
use crate::swarm::standing::Standing;

/// Everything wrong that is found.
pub(super) fn check(world: &mut World, acknowledged: &Acknowledged) -> Vec<String> {
    let mut wrong = std::mem::take(&mut world.refusals);
    // Nothing is promised to who broke the rules.
    let honest = world.devices.iter().enumerate().filter(|(_, device)| !device.forged);
    let inside: Vec<(usize, Standing)> = honest
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
    let mut histories = BTreeMap::new();
    for (device, Standing { head, .. }) in &inside {
        histories.entry(*head).or_insert_with(|| History::read(world, *device, *head));
    }
    let history = &histories[&agreed.head];
    for (message, author) in &acknowledged.messages {
        // Whoever was invited only by somebody already banned is in no group but theirs. What is forged upon
        // a message keeps it from being taken.
        let is_known = agreed.members.role(*author).is_some();
        let has_forged = world.devices_of(*author).into_iter().any(|device| world.devices[device].forged);
        let is_promised = is_known && !has_forged && !acknowledged.banned.contains(author);
        if !history.has(*message) && is_promised {
            wrong.push(format!("{} was acknowledged and is lost", message.short()));
        }
    }
    wrong.extend(departures::check(world, history, acknowledged));
    let mut shown_first = None;
    for (device, standing) in &inside {
        check_told(world, *device, &histories[&standing.head], &mut wrong);
        if takes_part[*device] && standing.head == agreed.head {
            departures::check_kept(world, *device, history, &mut wrong);
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

/// Whatever came after the clone was told once; what came with it was not.
fn check_told(world: &World, device: usize, history: &History, wrong: &mut Vec<String>) {
    let it = &world.devices[device];
    for (commit, entry) in &history.0 {
        let told = it.told.get(commit).copied().unwrap_or_default();
        if told != usize::from(entry.is_shown && !it.cloned.contains(commit)) {
            wrong.push(format!("{device} was told {} {told} times, which is wrong", commit.short()));
        }
    }
}
