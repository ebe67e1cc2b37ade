//! Random lives of conversations: several devices do what they may, in any order, apart and
//! together. Whatever our builders make is valid for everybody, and all agree in the end on who is
//! what.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::create::{CreateError, Draft, Writer};
use super::graph::{CommitGraph, unseen_commits};
use super::lab::{Actor, NOW, conversation};
use super::layout::{Members, Role, VoteAction};
use super::merge::{Merge, MergeError, merge_heads};
use super::message::{Mode, Relation, Target};
use super::object::{Commit, MemoryObjects, ObjectSource};
use super::reconcile::{Reconciliation, reconcile};
use super::validate::{Founding, Validator};
use crate::ids::{CommitId, ConversationId};
use crate::profile::ConversationProfile;
use crate::time::UnixMillis;

/// One thing a device tries; most are not allowed at most times, and then nothing happens.
#[derive(Clone, Copy, Debug)]
enum Try {
    Say,
    EditOwn,
    Invite(usize),
    Join,
    Leave,
    Vote(VoteAction, usize),
    VoteOnDevice(VoteAction, usize),
    Retitle,
    Fetch(usize),
}

const DEVICES: usize = 4;

struct Device {
    actor: Actor,
    head: CommitId,
    /// The last text it wrote.
    text: Option<CommitId>,
}

/// Devices over one pool of objects; each knows what its head leads to.
struct World {
    objects: MemoryObjects,
    conversation: ConversationId,
    founding: Founding,
    devices: Vec<Device>,
    clock: i64,
}

impl World {
    fn new(mode: Mode) -> Self {
        let actors = ["alice", "alice2", "bob", "carla"].map(|name| Actor::of("newest", name));
        let bob = actors[2].account();
        let begun = actors[0].local.begin(mode, Some(bob), NOW).unwrap().sign(&actors[0].key).unwrap();
        let mut objects = MemoryObjects::default();
        objects.extend(begun.objects);
        objects.insert_commit(&begun.commit);
        let head = begun.commit.id;
        let conversation = conversation(&objects, head);
        let founding = Validator::new(&objects, conversation).founding().unwrap();
        let devices = actors.into_iter().map(|actor| Device { actor, head, text: None }).collect();
        Self { objects, conversation, founding, devices, clock: 0 }
    }

    fn writer<'w>(&'w self, device: &'w Device) -> Writer<'w, MemoryObjects> {
        let now = UnixMillis(NOW.0 + self.clock * 1000);
        Writer::new(&self.objects, &device.actor.local, device.head, now).unwrap()
    }

    /// Takes over what is new below `head`, as a fetch does.
    fn adopt(&mut self, number: usize, head: CommitId) {
        let known: BTreeSet<CommitId> = unseen_commits(&self.objects, self.devices[number].head, |_| false)
            .unwrap()
            .into_iter()
            .collect();
        let mut validator = Validator::new(&self.objects, self.conversation);
        let verdict = validator.validate_history(head, |id| known.contains(&id));
        verdict.unwrap_or_else(|error| panic!("{error}"));
        self.devices[number].head = head;
    }

    /// Writes what may be written; says whether it was.
    fn write(&mut self, number: usize, draft: Result<Draft, CreateError>) -> Option<CommitId> {
        let signed = draft.ok()?.sign(&self.devices[number].actor.key).unwrap();
        self.objects.extend(signed.objects);
        self.objects.insert_commit(&signed.commit);
        self.adopt(number, signed.commit.id);
        Some(signed.commit.id)
    }

    fn attempt(&mut self, number: usize, what: Try) {
        self.clock += 1;
        let device = &self.devices[number];
        let account = |other: usize| Target::Account(self.devices[other].actor.account());
        let draft = match what {
            Try::Say => {
                let draft = self.writer(device).text("hello", Relation::None);
                if let Some(text) = self.write(number, draft) {
                    self.devices[number].text = Some(text);
                }
                return;
            }
            Try::EditOwn => {
                let Some(text) = device.text else { return };
                self.writer(device).text("", Relation::Edit(text))
            }
            Try::Invite(other) => {
                self.writer(device).invite(self.devices[other].actor.account(), &self.founding)
            }
            Try::Join => self.writer(device).join(),
            Try::Leave => self.writer(device).leave(),
            Try::Vote(action, other) => return self.vote(number, action, account(other)),
            Try::VoteOnDevice(action, other) => {
                let target = Target::Device(self.devices[other].actor.device());
                return self.vote(number, action, target);
            }
            Try::Retitle => {
                let title = format!("title {}", self.clock);
                self.writer(device).profile(&ConversationProfile { title, ..Default::default() })
            }
            Try::Fetch(other) => return self.fetch(number, other),
        };
        self.write(number, draft);
    }

    fn vote(&mut self, number: usize, action: VoteAction, target: Target) {
        let device = &self.devices[number];
        let Ok(written) = self.writer(device).cast_vote(action, target, &device.actor.key) else { return };
        for draft in written {
            self.objects.extend(draft.objects);
            self.objects.insert_commit(&draft.commit);
            self.adopt(number, draft.commit.id);
        }
    }

    /// Whether a device is let in by what another one knows.
    fn may_fetch(&self, number: usize, other: usize) -> bool {
        self.members(other).may_fetch(self.devices[number].actor.account())
    }

    fn fetch(&mut self, number: usize, other: usize) {
        if !self.may_fetch(number, other) || !self.may_fetch(other, number) {
            return;
        }
        let (ours, theirs) = (self.devices[number].head, self.devices[other].head);
        let mut graph = CommitGraph::default();
        let mut content: [BTreeSet<CommitId>; 2] = Default::default();
        for (head, content) in [ours, theirs].into_iter().zip(&mut content) {
            for id in unseen_commits(&self.objects, head, |_| false).unwrap() {
                let commit = Commit::parse(self.objects.commit(id).unwrap().unwrap()).unwrap();
                graph.insert(id, &commit.parents, commit.seconds()).unwrap();
                if commit.parents.len() < 2 {
                    content.insert(id);
                }
            }
        }
        if graph.is_ancestor(theirs, ours) {
            return;
        }
        if graph.is_ancestor(ours, theirs) {
            return self.adopt(number, theirs);
        }
        let [mine, other_s] = &content;
        match reconcile(ours, theirs, mine.is_subset(other_s), other_s.is_subset(mine)) {
            Reconciliation::Adopt => self.adopt(number, theirs),
            Reconciliation::Keep => {}
            Reconciliation::Merge => {
                let merged = match merge_heads(&self.objects, &graph, ours, theirs) {
                    Ok(Merge::Merged { tree, objects }) => (tree, objects),
                    Ok(_) | Err(MergeError::Conflict(_)) => return,
                    Err(error) => panic!("{error}"),
                };
                // What is theirs has to be valid by itself first.
                let before = self.devices[number].head;
                self.adopt(number, theirs);
                self.devices[number].head = before;
                let device = &self.devices[number];
                let draft = self.writer(device).merge(theirs, merged.0, merged.1);
                self.write(number, draft);
            }
        }
    }

    fn members(&self, number: usize) -> Members {
        let commit = self.objects.commit(self.devices[number].head).unwrap().unwrap();
        let pair = (self.founding.mode == Mode::OneToOne)
            .then(|| [Some(self.founding.author), self.founding.invited].into_iter().flatten());
        Members::read(&self.objects, Commit::parse(commit).unwrap().tree, pair.into_iter().flatten()).unwrap()
    }
}

fn any_try() -> impl Strategy<Value = Try> {
    let other = 0..DEVICES;
    let action = prop_oneof![Just(VoteAction::Ban), Just(VoteAction::Unban)];
    prop_oneof![
        3 => Just(Try::Say),
        1 => Just(Try::EditOwn),
        3 => other.clone().prop_map(Try::Invite),
        3 => Just(Try::Join),
        1 => Just(Try::Leave),
        2 => (action.clone(), other.clone()).prop_map(|(action, other)| Try::Vote(action, other)),
        1 => (action, other.clone()).prop_map(|(action, other)| Try::VoteOnDevice(action, other)),
        1 => Just(Try::Retitle),
        6 => other.prop_map(Try::Fetch),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_members_do_is_valid_for_all_and_all_agree_who_is_what(
        mode in prop::sample::select(vec![Mode::OneToOne, Mode::AdminInvitesOnly, Mode::InvitesOnly, Mode::Public]),
        steps in prop::collection::vec((0..DEVICES, any_try()), 0..60),
    ) {
        let mut world = World::new(mode);
        for (device, what) in steps {
            world.attempt(device, what);
        }
        for _ in 0..8 {
            for (number, other) in (0..DEVICES * DEVICES).map(|pair| (pair / DEVICES, pair % DEVICES)) {
                world.fetch(number, other);
            }
        }
        for number in 0..DEVICES {
            // Everything a device has is valid from the first commit on, too.
            let mut validator = Validator::new(&world.objects, world.conversation);
            prop_assert!(validator.validate_history(world.devices[number].head, |_| false).is_ok());
            for other in 0..DEVICES {
                let is_present = |number: usize| {
                    let role = world.members(number).role(world.devices[number].actor.account());
                    let banned = world.members(number).banned_devices;
                    matches!(role, Some(Role::Admin | Role::Member))
                        && !banned.contains(&world.devices[number].actor.device())
                };
                let talk = |number, other| world.may_fetch(number, other) && world.may_fetch(other, number);
                if is_present(number) && is_present(other) && talk(number, other) {
                    let heads = [number, other].map(|it| world.devices[it].head);
                    let roles = [number, other].map(|it| world.members(it));
                    prop_assert_eq!(&roles[0], &roles[1], "{} {}: {:?}", number, other, heads);
                }
            }
        }
    }
}
