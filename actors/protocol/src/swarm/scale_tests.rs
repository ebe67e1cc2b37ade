//! How much a verdict costs: objects and tree entries read, counted. A history costs in proportion
//! to its commits and the folders they change, whatever its shape.

use std::cell::Cell;
use std::collections::BTreeSet;

use bytes::Bytes;

use super::edit::TreeEdit;
use super::graph::{CommitGraph, unseen_commits};
use super::lab::{Actor, Lab};
use super::layout::{Folder, Members, Role, TreePath, VoteAction};
use super::merge::{Merge, merge_heads};
use super::message::{Relation, Target};
use super::object::{
    Commit, MemoryObjects, NewObject, ObjectKind, ObjectSource, SourceError, Tree, UnsignedCommit,
};
use super::person_tests::with_two_admins;
use super::refusal::{Refusal, ValidationError};
use super::validate::Validator;
use super::validate_tests::member;
use crate::ids::{AccountId, BlobId, CommitId, DeviceId, TreeId};

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Work {
    commits: usize,
    trees: usize,
    /// Of all trees read.
    entries: usize,
    blobs: usize,
}

/// Counts what is read.
struct Counted<'o> {
    objects: &'o MemoryObjects,
    work: Cell<Work>,
}

impl<'o> Counted<'o> {
    fn new(objects: &'o MemoryObjects) -> Self {
        Self { objects, work: Cell::default() }
    }

    fn count(&self, add: impl FnOnce(&mut Work)) {
        let mut work = self.work.get();
        add(&mut work);
        self.work.set(work);
    }
}

impl ObjectSource for Counted<'_> {
    fn commit(&self, id: CommitId) -> Result<Option<Bytes>, SourceError> {
        self.count(|work| work.commits += 1);
        self.objects.commit(id)
    }
    fn tree(&self, id: TreeId) -> Result<Option<Bytes>, SourceError> {
        let tree = self.objects.tree(id)?;
        let entries = tree.as_ref().map_or(0, |bytes| Tree::parse(bytes).unwrap().entries().len());
        self.count(|work| {
            work.trees += 1;
            work.entries += entries;
        });
        Ok(tree)
    }
    fn blob(&self, id: BlobId, limit: usize) -> Result<Option<Bytes>, SourceError> {
        self.count(|work| work.blobs += 1);
        self.objects.blob(id, limit)
    }
}

/// What it costs to judge all that leads to the head and follows `known`.
fn cost(lab: &Lab, known: CommitId) -> Work {
    let counted = Counted::new(&lab.objects);
    let before: BTreeSet<CommitId> =
        unseen_commits(&lab.objects, known, |_| false).unwrap().into_iter().collect();
    let mut validator = Validator::new(&counted, lab.conversation);
    validator.validate_history(lab.head, |id| before.contains(&id)).unwrap();
    counted.work.get()
}

fn person(number: u32) -> AccountId {
    AccountId(crate::ids::sha1(&number.to_be_bytes()))
}

fn say(lab: &mut Lab, texts: usize) {
    for number in 0..texts {
        let text = number.to_string();
        lab.honest(|lab| &lab.carla, |writer| writer.text(&text, Relation::None).unwrap());
    }
}

fn merge(lab: &mut Lab, ours: CommitId, theirs: CommitId) -> CommitId {
    let mut graph = CommitGraph::default();
    for head in [ours, theirs] {
        for id in unseen_commits(&lab.objects, head, |id| graph.contains(id)).unwrap() {
            let commit = Commit::parse(lab.objects.commit(id).unwrap().unwrap()).unwrap();
            graph.insert(id, &commit.parents, commit.seconds()).unwrap();
        }
    }
    let Merge::Merged { tree, objects } = merge_heads(&lab.objects, &graph, ours, theirs).unwrap() else {
        panic!("nothing to merge");
    };
    lab.head = ours;
    lab.honest(|lab| &lab.alice, |writer| writer.merge(theirs, tree, objects).unwrap())
}

#[test]
fn a_text_costs_two_readings_of_its_commit_and_nothing_else() {
    let mut lab = Lab::group();
    let known = lab.head;
    say(&mut lab, 10);
    let ten = cost(&lab, known);
    say(&mut lab, 30);
    let forty = cost(&lab, known);
    assert_eq!(forty.commits - ten.commits, 2 * 30);
    assert_eq!((forty.trees, forty.entries, forty.blobs), (ten.trees, ten.entries, ten.blobs));
}

#[test]
fn what_is_known_already_costs_nothing() {
    let mut lab = Lab::group();
    say(&mut lab, 3);
    assert_eq!(cost(&lab, lab.head), Work::default());
}

#[test]
fn an_edit_costs_as_much_however_long_ago_its_message_was() {
    let costs = [1, 40].map(|texts| {
        let mut lab = Lab::group();
        let message = lab.honest(|lab| &lab.carla, |writer| writer.text("x", Relation::None).unwrap());
        say(&mut lab, texts);
        let known = lab.head;
        for _ in 0..5 {
            lab.honest(|lab| &lab.carla, |writer| writer.text("y", Relation::Edit(message)).unwrap());
        }
        cost(&lab, known)
    });
    assert_eq!(costs[0], costs[1]);
    assert!(costs[0].commits <= 5 * 3 + 2, "{costs:?}");
}

#[test]
fn each_tree_of_a_history_is_read_once() {
    let mut lab = Lab::group();
    let (known, founding) = (lab.head, lab.founding());
    let mut folders = BTreeSet::new();
    for number in 0..30 {
        lab.honest(|lab| &lab.alice, |writer| writer.invite(person(number), &founding).unwrap());
        folders.insert(lab.tree_of(lab.head));
    }
    let work = cost(&lab, known);
    // A new root and a new `invited` each; and what the first of them is compared with.
    assert!(work.trees <= 2 * folders.len() + 12, "{work:?}");
    assert!(work.commits <= 2 * folders.len() + 3, "{work:?}");
}

/// A group that ten thousand more have been invited to, and as many are members of.
fn crowd() -> Lab {
    let mut lab = Lab::group();
    let file = lab.file(TreePath::member(lab.carla.account())).unwrap();
    lab.arrange(|edit| {
        for number in 0..10_000 {
            edit.put(TreePath::invited(person(number)), b"").unwrap();
            edit.place(TreePath::member(person(20_000 + number)), file);
        }
    });
    lab
}

#[test]
fn ten_thousand_members_cost_nothing_to_who_does_not_touch_them() {
    let mut lab = crowd();
    let known = lab.head;
    say(&mut lab, 3);
    let texts = cost(&lab, known);
    // The author is looked up once: root, devices, banned and its devices, members, admins.
    assert!(texts.trees <= 6 && texts.blobs <= 3, "{texts:?}");
    say(&mut lab, 10);
    assert_eq!(cost(&lab, known).trees, texts.trees);
    let founding = lab.founding();
    let known = lab.head;
    for number in 0..3 {
        lab.honest(|lab| &lab.alice, |writer| writer.invite(person(50_000 + number), &founding).unwrap());
    }
    let invitations = cost(&lab, known);
    // Of the large folders, `invited` is read once a change, and the unchanged ones at most once.
    assert!(invitations.entries < 6 * 10_000 + 100, "{invitations:?}");
    let counted = Counted::new(&lab.objects);
    let members = Members::read(&counted, lab.tree_of(lab.head), []).unwrap();
    assert_eq!(members.people.len(), 20_000 + 3 + 2);
    assert!(counted.work.get().trees <= 20 && counted.work.get().blobs == 0);
}

#[test]
fn one_commit_that_invites_ten_thousand_is_refused_when_the_first_is_seen() {
    let mut lab = Lab::group();
    let add = member("add", person(0));
    let refusal = lab.refused(
        |lab| &lab.alice,
        &add,
        |edit| (0..9_000).for_each(|number| edit.put(TreePath::invited(person(number)), b"").unwrap()),
    );
    assert!(matches!(refusal, Refusal::UnexpectedChange { .. }), "{refusal:?}");
    let refusal = lab.refused(
        |lab| &lab.alice,
        &add,
        |edit| (0..11_000).for_each(|number| edit.put(TreePath::invited(person(number)), b"").unwrap()),
    );
    assert_eq!(refusal, Refusal::TooManyChanges);
}

#[test]
fn stuffed_ballots_cost_only_who_votes_and_count_for_nothing() {
    let mut lab = Lab::group();
    let (alice, carla) = (lab.alice.account(), lab.carla.account());
    let target = Target::Account(carla);
    let vote = |action, target, voter| TreePath::Vote {
        action,
        folder: Folder::Members,
        target: Target::Account(target),
        voter,
    };
    lab.arrange(|edit| {
        for number in 0..3_000 {
            // By people who are no admins, and for people who are not there.
            edit.put(vote(VoteAction::Ban, carla, person(number)), b"").unwrap();
            edit.put(vote(VoteAction::Unban, person(number), alice), b"").unwrap();
        }
    });
    let known = lab.head;
    say(&mut lab, 5);
    assert!(cost(&lab, known).trees <= 6);
    let known = lab.head;
    lab.honest(|lab| &lab.alice, |writer| writer.vote(VoteAction::Ban, target).unwrap());
    let voted = cost(&lab, known);
    // The folder of this target before and after; not those of the three thousand others.
    assert!(voted.entries < 2 * 3_000 + 200 && voted.trees < 25, "{voted:?}");
    let known = lab.head;
    lab.honest(|lab| &lab.alice, |writer| writer.resolve(VoteAction::Ban, target).unwrap().unwrap());
    let banned = cost(&lab, known);
    assert!(banned.entries < 3_000 + 200 && banned.trees < 30, "{banned:?}");
}

#[test]
fn two_admins_who_ban_and_unban_everybody_in_turn_cost_the_same_each_round_and_lose_nobody() {
    let mut lab = with_two_admins();
    let founding = lab.founding();
    let everybody: Vec<AccountId> = (0..6).map(person).collect();
    for invited in &everybody {
        lab.honest(|lab| &lab.alice, |writer| writer.invite(*invited, &founding).unwrap());
    }
    let members = |lab: &Lab| Members::read(&lab.objects, lab.tree_of(lab.head), []).unwrap();
    let (before, known) = (members(&lab), lab.head);
    let mut costs = Vec::new();
    for round in 0..4 {
        let admins: [fn(&Lab) -> &Actor; 2] = [|lab| &lab.alice, |lab| &lab.carla];
        let [first, second] = if round % 2 == 0 { admins } else { [admins[1], admins[0]] };
        for action in [VoteAction::Ban, VoteAction::Unban] {
            for target in everybody.iter().copied().map(Target::Account) {
                lab.honest(first, |writer| writer.vote(action, target).unwrap());
                lab.honest(second, |writer| writer.vote(action, target).unwrap());
                lab.honest(second, |writer| writer.resolve(action, target).unwrap().unwrap());
            }
            let role = if action == VoteAction::Ban { Role::Banned } else { Role::Invited };
            assert!(everybody.iter().all(|person| lab.role(*person) == Some(role)));
        }
        costs.push(cost(&lab, known));
    }
    assert_eq!(members(&lab), before);
    let rounds: Vec<usize> = costs.windows(2).map(|pair| pair[1].trees - pair[0].trees).collect();
    assert!(rounds.iter().all(|trees| *trees <= costs[0].trees), "{costs:?}");
    let rounds: Vec<usize> = costs.windows(2).map(|pair| pair[1].commits - pair[0].commits).collect();
    assert!(rounds.iter().all(|commits| *commits == rounds[0]), "{costs:?}");
}

#[test]
fn crossing_merges_cost_no_more_each_the_more_there_are() {
    let mut lab = Lab::group();
    let known = lab.head;
    let founding = lab.founding();
    let mut heads = [lab.head; 2];
    let mut costs = Vec::new();
    for round in 0..16 {
        for (side, head) in (0..).zip(&mut heads) {
            lab.head = *head;
            let invited = person(round * 2 + side);
            *head = lab.honest(|lab| &lab.alice, |writer| writer.invite(invited, &founding).unwrap());
        }
        let [left, right] = heads;
        heads = [merge(&mut lab, left, right), merge(&mut lab, right, left)];
        if round % 8 == 7 {
            lab.head = heads[0];
            costs.push(cost(&lab, known));
        }
    }
    let [half, whole] = [costs[0], costs[1]];
    assert!(whole.commits <= 2 * half.commits + 2, "{costs:?}");
    assert!(whole.trees <= 2 * half.trees + 2, "{costs:?}");
    assert_eq!(whole.blobs, half.blobs);
}

#[test]
fn forks_from_before_a_lifted_ban_are_merged_one_after_another_at_the_same_cost_each() {
    let mut lab = Lab::group();
    let target = Target::Account(lab.carla.account());
    lab.honest(|lab| &lab.alice, |writer| writer.vote(VoteAction::Ban, target).unwrap());
    let banned =
        lab.honest(|lab| &lab.alice, |writer| writer.resolve(VoteAction::Ban, target).unwrap().unwrap());
    lab.honest(|lab| &lab.alice, |writer| writer.vote(VoteAction::Unban, target).unwrap());
    let lifted =
        lab.honest(|lab| &lab.alice, |writer| writer.resolve(VoteAction::Unban, target).unwrap().unwrap());
    let mut costs = Vec::new();
    let mut main = lifted;
    for number in 0..24 {
        lab.head = banned;
        let text = number.to_string();
        let fork = lab.honest(|lab| &lab.alice, |writer| writer.text(&text, Relation::None).unwrap());
        main = merge(&mut lab, main, fork);
        lab.head = main;
        if number % 12 == 11 {
            costs.push(cost(&lab, lifted));
        }
    }
    let history = unseen_commits(&lab.objects, lifted, |_| false).unwrap().len();
    // Two readings to judge a commit and one for the graph, which is filled once.
    assert!(costs[1].commits <= 3 * 2 * 24 + history + 10, "{costs:?}");
    assert!(costs[1].trees <= costs[0].trees + 2, "{costs:?}");
}

/// An unsigned commit, for what does not get as far as signatures.
fn unsigned(objects: &mut MemoryObjects, parents: Vec<CommitId>, seconds: i64) -> CommitId {
    let commit = UnsignedCommit {
        tree: TreeId([1; 20]),
        parents,
        name: "Mallory".to_owned(),
        device: DeviceId([1; 32]),
        seconds,
        message: Vec::new(),
    };
    let object = NewObject::new(ObjectKind::Commit, commit.content()).unwrap();
    let id = CommitId(object.id);
    objects.insert(object);
    id
}

#[test]
fn thousands_of_crossing_heads_are_walked_once_each() {
    for heads in [1_000, 4_000] {
        let mut objects = MemoryObjects::default();
        let root = unsigned(&mut objects, Vec::new(), 0);
        let mut row: Vec<CommitId> =
            (1..=heads).map(|time| unsigned(&mut objects, vec![root], time)).collect();
        for round in 1..=3 {
            let shifted = row.iter().cycle().skip(1);
            let parents: Vec<_> = row.iter().zip(shifted).map(|(one, other)| vec![*one, *other]).collect();
            let merges = (0..).zip(parents);
            // Times that lie must not make the walk come back.
            row = merges
                .map(|(time, both)| unsigned(&mut objects, both, heads * round - time % 7 * 1_000))
                .collect();
        }
        while row.len() > 1 {
            row = row.chunks(2).map(|pair| unsigned(&mut objects, pair.to_vec(), 0)).collect();
        }
        let counted = Counted::new(&objects);
        let found = unseen_commits(&counted, row[0], |_| false).unwrap();
        assert_eq!(found.len(), objects.iter().count());
        assert_eq!(counted.work.get().commits, found.len());
    }
}

#[test]
fn a_search_for_the_common_past_takes_one_step_a_commit_and_stops_where_told() {
    let mut objects = MemoryObjects::default();
    let mut graph = CommitGraph::default();
    let root = unsigned(&mut objects, Vec::new(), 0);
    graph.insert(root, &[], 0).unwrap();
    let mut row = [root; 2];
    for round in 1..=1_000 {
        for side in 0..2 {
            let parents = vec![row[side], row[1 - side]];
            let id = unsigned(&mut objects, parents.clone(), round * 2 + i64::try_from(side).unwrap());
            graph.insert(id, &parents, 0).unwrap();
            row[side] = id;
        }
    }
    let mut steps = graph.len();
    assert!(graph.merge_bases_within(row[0], row[1], &mut steps).is_some());
    assert_eq!(graph.merge_bases_within(row[0], root, &mut 10), None);
}

#[test]
fn an_unrelated_root_is_refused_wherever_it_is_merged() {
    let mut lab = Lab::group();
    let other = Lab::one_to_one();
    lab.objects.extend(other.objects.iter().map(|(kind, id, content)| NewObject {
        kind,
        id,
        content: content.clone(),
    }));
    let tree = lab.tree_of(lab.head);
    let merged = lab.raw(|lab| &lab.alice, tree, vec![lab.head, other.head], "Merge commit");
    let counted = Counted::new(&lab.objects);
    let error = Validator::new(&counted, lab.conversation).validate_history(merged, |_| false).unwrap_err();
    assert!(matches!(&error, ValidationError::Refused { refusal: Refusal::ForeignRoot, .. }), "{error}");
    assert!(error.is_final());
    let commits = lab.objects.iter().filter(|(kind, ..)| *kind == ObjectKind::Commit).count();
    assert!(counted.work.get().commits <= 2 * commits, "{:?}", counted.work.get());
    // An edit that changes nothing else may be folded into the same tree as before.
    let unchanged = TreeEdit::new(&lab.objects, Some(tree)).finish().unwrap();
    assert_eq!(unchanged.root, tree);
}
