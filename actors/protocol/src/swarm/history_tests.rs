//! The history against what the recorded daemons list, and its rules one by one.

use std::collections::BTreeMap;

use serde_json::Value;

use super::golden;
use super::graph::CommitGraph;
use super::history::{Appended, Entry, History, HistoryCommit, Reaction};
use super::lab::conversation;
use super::message::{CommitMessage, Content, Relation, file_id};
use super::validate::Validator;
use crate::ids::{AccountId, CommitId, DeviceId};

fn recorded(daemon: &str) -> Vec<(String, golden::Repository, Vec<HistoryCommit>)> {
    let golden = golden::load(daemon);
    let objects = golden.objects;
    let repositories = golden.repositories.into_iter();
    repositories
        .map(|(name, repository)| {
            let mut validator = Validator::new(&objects, conversation(&objects, repository.head));
            let valid = validator.validate_history(repository.head, |_| false).unwrap();
            let commits = valid.iter().map(HistoryCommit::from).collect();
            (name, repository, commits)
        })
        .collect()
}

fn field<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// The fields that Jami's clients get, without those about the commit itself.
fn fields(entry: &Entry) -> BTreeMap<String, String> {
    let message = CommitMessage::from_content(&entry.content).unwrap();
    let mut fields = message.text_fields();
    if let Content::File(offer) = &entry.content {
        fields.insert("fileId".to_owned(), file_id(entry.id, &offer.tid, &offer.display_name));
    }
    fields
}

fn expected_fields(body: &Value) -> BTreeMap<String, String> {
    let own = ["author", "id", "linearizedParent", "parents", "timestamp"];
    let fields = body.as_object().unwrap().iter().filter(|(key, _)| !own.contains(&key.as_str()));
    fields.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect()
}

#[test]
fn today_s_daemon_lists_the_same_entries() {
    let mut seen = 0;
    for (name, repository, commits) in recorded("newest") {
        let Some(expected) = &repository.messages else { continue };
        let mut history = History::default();
        history.load(commits, repository.head).unwrap();
        let page = history.page(None, 1000);
        assert_eq!(page.len(), expected.len(), "{name}");
        for (entry, expected) in page.iter().zip(expected) {
            let body = &expected["body"];
            assert_eq!(entry.id.to_hex(), field(expected, "id"), "{name}");
            let parent = entry.linearized_parent.map(|id| id.to_hex()).unwrap_or_default();
            assert_eq!(parent, field(expected, "linearizedParent"), "{name}");
            assert_eq!(entry.author.to_hex(), field(body, "author"));
            assert_eq!(entry.seconds.to_string(), field(body, "timestamp"));
            assert_eq!(fields(entry), expected_fields(body), "{name}");
            let reactions: Vec<_> = entry
                .reactions
                .iter()
                .map(|it| (it.id.to_hex(), it.author.to_hex(), it.body.clone()))
                .collect();
            let told: Vec<_> = expected["reactions"].as_array().unwrap().iter().collect();
            let text = |value: &Value, key: &str| field(value, key).to_owned();
            let told_reactions: Vec<_> =
                told.iter().map(|it| (text(it, "id"), text(it, "author"), text(it, "body"))).collect();
            assert_eq!(reactions, told_reactions);
            let editions: Vec<_> =
                entry.editions.iter().map(|it| (it.id.to_hex(), it.body.clone())).collect();
            let told: Vec<_> = expected["editions"].as_array().unwrap().iter().collect();
            assert_eq!(
                editions,
                told.iter().map(|it| (text(it, "id"), text(it, "body"))).collect::<Vec<_>>()
            );
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn older_daemons_list_the_same_raw_order() {
    for daemon in ["jami-13.7.0", "jami-13.11.0"] {
        for (name, repository, commits) in recorded(daemon) {
            let mut graph = CommitGraph::default();
            for commit in &commits {
                graph.insert(commit.id, &commit.parents, commit.seconds).unwrap();
            }
            let order: Vec<String> = graph.order(repository.head).iter().map(CommitId::to_hex).collect();
            let expected = repository.messages.unwrap();
            let ids: Vec<&str> = expected.iter().map(|message| field(message, "id")).collect();
            assert_eq!(order, ids, "{daemon} {name}");
            for (place, expected) in expected.iter().enumerate() {
                let parent = order.get(place + 1).map(String::as_str).unwrap_or_default();
                assert_eq!(field(expected, "linearizedParent"), parent);
                let commit =
                    commits.iter().find(|commit| commit.id.to_hex() == field(expected, "id")).unwrap();
                assert_eq!(commit.author.to_hex(), field(expected, "author"));
                if let Some(message) = &commit.message {
                    let mut told = expected_fields(expected);
                    told.remove("fileId");
                    assert_eq!(message.text_fields(), told);
                }
            }
        }
    }
}

/// A history of made-up commits; the id is the number given.
struct Maker {
    history: History,
    head: Vec<CommitId>,
}

fn id(number: u32) -> CommitId {
    let mut bytes = [0; 20];
    bytes[16..].copy_from_slice(&number.to_be_bytes());
    CommitId(bytes)
}

fn commit(number: u32, parents: &[u32], seconds: i64, author: u8, content: Option<Content>) -> HistoryCommit {
    HistoryCommit {
        id: id(number),
        parents: parents.iter().copied().map(id).collect(),
        author: AccountId([author; 20]),
        device: DeviceId([author; 32]),
        seconds,
        message: content.map(|content| CommitMessage::from_content(&content).unwrap()),
    }
}

fn text(body: &str, relation: Relation) -> Option<Content> {
    Some(Content::Text { body: body.to_owned(), relation })
}

impl Maker {
    fn new() -> Self {
        Self { history: History::default(), head: Vec::new() }
    }

    fn say(&mut self, number: u32, author: u8, body: &str, relation: Relation) -> Appended {
        let mut commit = commit(number, &[], i64::from(number), author, text(body, relation));
        commit.parents.clone_from(&self.head);
        self.head = vec![commit.id];
        self.history.append(commit).unwrap()
    }

    fn body(&self, number: u32) -> String {
        match self.history.entry(id(number)).unwrap().content {
            Content::Text { body, .. } => body,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn edits_show_the_newest_text_and_keep_the_older_ones() {
    let mut maker = Maker::new();
    assert_eq!(maker.say(1, 1, "one", Relation::None), Appended::Entry(id(1)));
    assert_eq!(maker.say(2, 1, "two", Relation::Edit(id(1))), Appended::Updated(id(1)));
    assert_eq!(maker.say(3, 1, "three", Relation::Edit(id(1))), Appended::Updated(id(1)));
    maker.say(4, 2, "forged", Relation::Edit(id(1)));
    maker.say(5, 1, "an edit of an edit", Relation::Edit(id(2)));
    assert_eq!(maker.body(1), "three");
    let editions = maker.history.entry(id(1)).unwrap().editions;
    assert_eq!(editions.iter().map(|edition| edition.id).collect::<Vec<_>>(), [id(2), id(1)]);
    assert_eq!(maker.history.len(), 1);
}

#[test]
fn a_deletion_clears_text_and_reactions() {
    let mut maker = Maker::new();
    maker.say(1, 1, "one", Relation::None);
    maker.say(2, 2, "+1", Relation::React(id(1)));
    maker.say(3, 1, "", Relation::Edit(id(1)));
    let entry = maker.history.entry(id(1)).unwrap();
    assert!(entry.deleted && entry.reactions.is_empty());
    assert_eq!(maker.body(1), "");
}

#[test]
fn reactions_can_be_changed_and_removed() {
    let mut maker = Maker::new();
    maker.say(1, 1, "one", Relation::None);
    assert_eq!(maker.say(2, 2, "a", Relation::React(id(1))), Appended::Updated(id(1)));
    maker.say(3, 3, "b", Relation::React(id(1)));
    assert_eq!(maker.say(4, 2, "c", Relation::Edit(id(2))), Appended::Updated(id(1)));
    maker.say(5, 3, "", Relation::Edit(id(3)));
    let reactions = maker.history.entry(id(1)).unwrap().reactions;
    let author = AccountId([2; 20]);
    assert_eq!(reactions, [Reaction { id: id(2), author, seconds: 2, body: "c".to_owned() }]);
}

#[test]
fn edits_and_reactions_wait_for_their_target() {
    let mut maker = Maker::new();
    maker.say(9, 1, "first", Relation::None);
    assert_eq!(maker.say(1, 1, "edited", Relation::Edit(id(3))), Appended::Pending(id(3)));
    assert_eq!(maker.say(2, 2, "+1", Relation::React(id(3))), Appended::Pending(id(3)));
    assert_eq!(maker.history.len(), 1);
    maker.say(3, 1, "original", Relation::None);
    assert_eq!(maker.body(3), "edited");
    assert_eq!(maker.history.entry(id(3)).unwrap().reactions.len(), 1);
}

#[test]
fn a_removed_file_loses_its_tid() {
    let mut maker = Maker::new();
    maker.say(1, 1, "x", Relation::None);
    let offer = super::message::FileOffer {
        display_name: "Picture.PNG".to_owned(),
        sha3sum: String::new(),
        tid: "7".to_owned(),
        total_size: 1,
        reply_to: None,
    };
    maker.history.append(commit(2, &[1], 2, 1, Some(Content::File(offer)))).unwrap();
    assert_eq!(maker.history.search("picture", 9), [id(2)]);
    let removal = commit(3, &[2], 3, 1, Some(Content::FileRemoved { edit: id(2) }));
    assert_eq!(maker.history.append(removal).unwrap(), Appended::Updated(id(2)));
    let entry = maker.history.entry(id(2)).unwrap();
    assert!(entry.deleted && matches!(entry.content, Content::File(offer) if offer.tid.is_empty()));
}

#[test]
fn search_finds_present_texts_only() {
    let mut maker = Maker::new();
    maker.say(1, 1, "Grüße an ALLE", Relation::None);
    maker.say(2, 1, "grüsse", Relation::None);
    maker.say(3, 1, "alle neune", Relation::Edit(id(2)));
    maker.say(4, 1, "alle", Relation::React(id(1)));
    assert_eq!(maker.history.search("alle", 9), [id(2), id(1)]);
    assert_eq!(maker.history.search("grüß", 9), [id(1)]);
    assert_eq!(maker.history.search("alle", 1), [id(2)]);
}

#[test]
fn pages_join_without_gap_and_a_commit_twice_changes_nothing() {
    let mut maker = Maker::new();
    for number in 1..=10 {
        maker.say(number, 1, "x", Relation::None);
    }
    let again = commit(10, &[9], 10, 1, text("x", Relation::None));
    assert_eq!(maker.history.append(again).unwrap(), Appended::Nothing);
    let mut all = Vec::new();
    let mut before = None;
    loop {
        let page = maker.history.page(before, 3);
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        all.extend(page.iter().map(|entry| entry.id));
    }
    assert_eq!(all, (1..=10).rev().map(id).collect::<Vec<_>>());
    assert!(maker.history.page(Some(id(77)), 3).is_empty());
    assert!(maker.history.is_covered(id(3), id(3)) && !maker.history.is_covered(id(4), id(3)));
}

#[test]
fn both_views_hold_the_same_entries() {
    let said = |number: u32, parents: &[u32], seconds| {
        commit(number, parents, seconds, 1, text("x", Relation::None))
    };
    let commits = [
        said(1, &[], 1),
        said(2, &[1], 50),
        said(3, &[1], 10),
        said(4, &[3], 60),
        commit(5, &[2, 4], 61, 1, None),
        said(6, &[5], 5),
    ];
    let mut appended = History::default();
    for commit in commits.clone() {
        appended.append(commit).unwrap();
    }
    let ids = |history: &History| history.page(None, 99).iter().map(|entry| entry.id).collect::<Vec<_>>();
    assert_eq!(ids(&appended), [6, 4, 3, 2, 1].map(id));
    let generation = appended.generation();
    appended.reorder(id(6));
    assert_ne!(appended.generation(), generation);
    assert_eq!(ids(&appended), [6, 4, 2, 3, 1].map(id));
    let mut loaded = History::default();
    loaded.load(commits, id(6)).unwrap();
    assert_eq!(ids(&loaded), ids(&appended));
}

#[test]
fn of_equal_times_a_merge_s_first_parent_comes_first() {
    let mut graph = CommitGraph::default();
    for (number, parents) in [(1, vec![]), (2, vec![1]), (3, vec![1]), (4, vec![3, 2])] {
        graph.insert(id(number), &parents.into_iter().map(id).collect::<Vec<_>>(), 7).unwrap();
    }
    assert_eq!(graph.order(id(4)), [4, 3, 2, 1].map(id));
}

#[test]
fn merge_bases_of_crossing_merges_are_both_found() {
    let mut graph = CommitGraph::default();
    for (number, parents) in [
        (1, vec![]),
        (2, vec![1]),
        (3, vec![1]),
        (4, vec![2, 3]),
        (5, vec![3, 2]),
        (6, vec![4]),
        (7, vec![2]),
    ] {
        graph.insert(id(number), &parents.into_iter().map(id).collect::<Vec<_>>(), 7).unwrap();
    }
    assert_eq!(graph.merge_bases(id(6), id(5)), [3, 2].map(id));
    assert_eq!(graph.merge_bases(id(6), id(7)), [id(2)]);
    assert_eq!(graph.merge_bases(id(6), id(4)), [id(4)]);
    assert_eq!(graph.merge_bases(id(6), id(99)), []);
    assert!(graph.is_ancestor(id(1), id(7)) && !graph.is_ancestor(id(3), id(7)));
    assert_eq!(graph.only_in(id(6), id(5)), [6, 4].map(id));
    assert_eq!(graph.only_in(id(6), id(7)), [6, 4, 3].map(id));
    assert_eq!((graph.only_in(id(4), id(6)), graph.only_in(id(6), id(99))), (vec![], vec![]));
    assert!(graph.insert(id(9), &[id(8)], 0).is_err());
}

#[test]
fn a_hundred_thousand_commits_are_ordered() {
    let total = 100_000;
    let commits = (0..total).map(|number: u32| {
        let parents: Vec<u32> = number.checked_sub(1).into_iter().collect();
        commit(number, &parents, i64::from(number), 1, text("hello", Relation::None))
    });
    let mut history = History::default();
    history.load(commits, id(total - 1)).unwrap();
    assert_eq!(history.len(), total as usize);
    assert_eq!(history.page(None, 2)[1].id, id(total - 2));
}
