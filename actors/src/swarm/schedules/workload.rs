//! What the people of a group do, drawn from the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use skep_protocol::drt::telling::FEW_MEMBERS;
use skep_protocol::ids::{AccountId, CommitId};
use skep_protocol::swarm::layout::VoteAction;
use skep_protocol::swarm::message::Target;

use super::world::World;
use crate::swarm::messages::{GroupChange, Outgoing, ProfileChange};

/// Pause between two acts, in milliseconds: from in the middle of an exchange to long after it.
const PAUSE: std::ops::Range<u64> = 0..600;

/// How long a device is down at most, in milliseconds.
pub(super) const LONGEST_DOWN: u64 = 2_000;

/// What was acknowledged to people, for the checkers.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    /// Messages, and who wrote them.
    pub(super) messages: BTreeMap<CommitId, AccountId>,
    /// Those of whom nothing is promised: they were banned at some time.
    pub(super) banned: Vec<AccountId>,
    /// Who left.
    pub(super) left: Vec<Departure>,
    /// What was written by those who had left or were banned, and knew.
    pub(super) afterwards: Vec<CommitId>,
}

/// Somebody leaves.
#[derive(Debug)]
pub(super) struct Departure {
    pub(super) person: AccountId,
    pub(super) device: usize,
    /// The commit that says so.
    pub(super) commit: CommitId,
    /// What they wrote before, as far as this device has it.
    pub(super) wrote: Vec<CommitId>,
}

/// People that are invited at once when a group begins.
const AT_ONCE: usize = 4;

/// Has the founder invite half of the people, or all who make a large group, and them come.
pub(super) fn gather(world: &mut World) {
    let people: BTreeSet<AccountId> = world.devices.iter().skip(1).map(|device| device.person).collect();
    let step = if people.len() > FEW_MEMBERS { 1 } else { 2 };
    let invited: Vec<AccountId> = people.into_iter().step_by(step).collect();
    for some in invited.chunks(AT_ONCE) {
        for person in some {
            change(world, 0, &GroupChange::Invite(*person));
        }
        world.run_until(world.time + 1_000);
    }
}

/// Has the people do so many things.
pub(super) fn act(world: &mut World, acts: usize) -> Acknowledged {
    let mut acknowledged = Acknowledged::default();
    for _ in 0..acts {
        let pause = world.random.random_range(PAUSE);
        world.run_until(world.time + pause);
        let device = world.random.random_range(0..world.devices.len());
        match world.random.random_range(0..100) {
            0..60 => write(world, device, &mut acknowledged),
            60..75 => invite(world, device),
            75..78 => leave(world, device, &mut acknowledged),
            78..84 => vote(world, device, &mut acknowledged),
            84..88 => rename(world, device),
            88..92 => crash(world, device),
            92..96 => {
                let sides = world.random.random_range(2..=3);
                world.part(sides);
            }
            _ => world.heal(),
        }
    }
    acknowledged
}

/// Whether a device has a copy that says that its owner has no part in the group any more.
fn is_out(world: &World, device: usize) -> bool {
    let it = &world.devices[device];
    it.standing.as_ref().is_some_and(|standing| !standing.people().contains(&it.person))
}

/// Somebody tries to write who may not, with our program or another one.
fn write_afterwards(world: &mut World, device: usize, acknowledged: &mut Acknowledged) {
    let Some(replica) = world.devices[device].replica.clone() else { return };
    if device > 0 && world.random.random_bool(0.5) {
        drop(replica);
        acknowledged.afterwards.extend(world.forge(device));
        return;
    }
    let message = Outgoing::Text { body: "one word more".to_owned(), reply_to: None };
    let (answers, moved) = replica.send(&[message], world.clock(device));
    acknowledged.afterwards.extend(answers.into_iter().flatten().map(|sent| sent.id));
    if let Some(moved) = moved {
        world.has_moved(device, moved, None);
    }
}

fn write(world: &mut World, device: usize, acknowledged: &mut Acknowledged) {
    if is_out(world, device) {
        return write_afterwards(world, device, acknowledged);
    }
    let Some(replica) = world.devices[device].replica.clone().filter(|_| !world.devices[device].left) else {
        return;
    };
    let own: Vec<CommitId> = {
        let person = world.devices[device].person;
        let mine = acknowledged.messages.iter().filter(|(_, author)| **author == person);
        mine.map(|(id, _)| *id).filter(|id| replica.has(*id).unwrap()).collect()
    };
    let any = acknowledged.messages.keys().copied().filter(|id| replica.has(*id).unwrap());
    let any = any.collect::<Vec<_>>().choose(&mut world.random).copied();
    let (mine, body) = (own.choose(&mut world.random).copied(), format!("at {} on {device}", world.time));
    let message = match (world.random.random_range(0..10), mine, any) {
        (0, Some(message), _) => Outgoing::Edit { message, body },
        (1, Some(message), _) => Outgoing::Delete { message },
        (2, _, Some(message)) => Outgoing::React { message, body: "👍".to_owned() },
        (3, _, reply_to) => Outgoing::Text { body, reply_to },
        _ => Outgoing::Text { body, reply_to: None },
    };
    // Sometimes several at once, as a burst is written.
    let count = if world.random.random_bool(0.1) { 5 } else { 1 };
    let is_text = matches!(message, Outgoing::Text { .. });
    let (answers, moved) = replica.send(&vec![message; count], world.clock(device));
    let person = world.devices[device].person;
    for answer in answers {
        // Not a member any more, or only invited, or a device that is new: that is said at once.
        if let (Ok(sent), true) = (answer, is_text) {
            acknowledged.messages.insert(sent.id, person);
        }
    }
    if let Some(moved) = moved {
        world.step(device, || format!("writes {}", moved.standing.head.short()));
        world.has_moved(device, moved, None);
    }
}

fn change(world: &mut World, device: usize, change: &GroupChange) {
    let Some(replica) = world.devices[device].replica.clone().filter(|_| !world.devices[device].left) else {
        return;
    };
    if let Ok((_, Some(moved))) = replica.change(change, world.clock(device)) {
        world.step(device, || format!("{change:?}: {}", moved.standing.head.short()));
        world.has_moved(device, moved, None);
        // Whoever is unbanned is invited anew.
        if let GroupChange::Invite(person)
        | GroupChange::Vote { action: VoteAction::Unban, target: Target::Account(person) } = change
        {
            world.invited(device, *person);
        }
    }
}

fn somebody(world: &mut World) -> AccountId {
    let device = world.random.random_range(0..world.devices.len());
    world.devices[device].person
}

fn invite(world: &mut World, device: usize) {
    let person = somebody(world);
    change(world, device, &GroupChange::Invite(person));
}

fn leave(world: &mut World, device: usize, acknowledged: &mut Acknowledged) {
    let Some(replica) = world.devices[device].replica.clone().filter(|_| !world.devices[device].left) else {
        return;
    };
    let person = world.devices[device].person;
    let own = acknowledged.messages.iter().filter(|(_, author)| **author == person);
    let wrote = own.map(|(id, _)| *id).filter(|id| replica.has(*id).unwrap()).collect();
    if let Some(commit) = world.leave(device) {
        acknowledged.left.push(Departure { person, device, commit, wrote });
        if world.random.random_bool(0.5) {
            let pause = world.random.random_range(PAUSE);
            world.run_until(world.time + pause);
            write(world, device, acknowledged);
        }
    }
}

fn vote(world: &mut World, device: usize, acknowledged: &mut Acknowledged) {
    let person = somebody(world);
    let action = if world.random.random_bool(0.6) { VoteAction::Ban } else { VoteAction::Unban };
    acknowledged.banned.push(person);
    change(world, device, &GroupChange::Vote { action, target: Target::Account(person) });
}

fn rename(world: &mut World, device: usize) {
    let title = Some(format!("title of {} at {}", device, world.time));
    change(world, device, &GroupChange::Profile(ProfileChange { title, ..ProfileChange::default() }));
}

fn crash(world: &mut World, device: usize) {
    if !world.devices[device].down {
        let pause = Duration::from_millis(world.random.random_range(1..LONGEST_DOWN));
        world.crash(device, pause);
    }
}
