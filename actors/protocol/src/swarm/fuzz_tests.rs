//! Fuzz bodies of this room, over the repositories that real daemons left. Those of the git
//! sessions are in [`super::git`].

use std::collections::BTreeSet;

use super::golden;
use super::layout::TreePath;
use super::message::CommitMessage;
use super::notice::{self, Notice};
use super::object::{Commit, ObjectKind, Tree, find_entry, is_safe_name};
use crate::testing::with_mutations;

fn fuzz_commit(data: &[u8]) {
    if let Ok(commit) = Commit::parse(data.to_vec()) {
        assert_eq!(&commit.raw()[..], data);
        let _ = (commit.signed_content(), format!("{commit:?}"));
        fuzz_message(&commit.message);
    }
}

fn fuzz_tree(data: &[u8]) {
    if let Ok(tree) = Tree::parse(data) {
        assert_eq!(&tree.to_bytes()[..], data);
        for entry in tree.entries() {
            assert_eq!(find_entry(data, &entry.name), Some(entry.kind));
        }
    }
    let _ = find_entry(data, "profile.vcf");
}

fn fuzz_message(data: &[u8]) {
    if let Ok(message) = CommitMessage::parse(data) {
        let again = CommitMessage::parse(&message.to_bytes()).unwrap();
        assert_eq!(again.content(), message.content());
    }
}

fn fuzz_path(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(path) = TreePath::parse(&text) {
        assert_eq!(path.to_string(), text);
        assert!(text.split('/').all(|name| is_safe_name(name.as_bytes())));
    }
}

fn fuzz_notice(data: &[u8]) {
    for (mime_type, _) in notice::tests::RECORDED {
        if let Ok(notice) = Notice::parse(mime_type, &String::from_utf8_lossy(data)) {
            let again = Notice::parse(mime_type, &notice.to_text());
            assert!(again.is_ok(), "{notice:?}: {again:?}");
        }
    }
}

#[test]
fn damaged_commits_trees_and_messages_are_read_or_refused() {
    for daemon in golden::DAEMONS {
        let golden = golden::load(daemon);
        let objects = |kind| golden.objects.iter().filter(move |object| object.0 == kind);
        for (_, _, content) in objects(ObjectKind::Commit).step_by(4) {
            with_mutations(content, 40, fuzz_commit);
            let commit = Commit::parse(content.clone()).unwrap();
            with_mutations(&commit.message, 40, fuzz_message);
        }
        for (_, _, content) in objects(ObjectKind::Tree).step_by(4) {
            with_mutations(content, 40, fuzz_tree);
        }
    }
}

#[test]
fn damaged_paths_are_read_or_refused() {
    let id = "0237426a15a050a06868d6636d6edc6e6f185951";
    let paths = [
        "profile.vcf".to_owned(),
        format!("admins/{id}.crt"),
        format!("invited/{id}"),
        format!("devices/{}.crt", "1f".repeat(32)),
        format!("banned/members/{id}.crt"),
        format!("votes/ban/members/{id}/{id}"),
    ];
    let known: BTreeSet<_> = paths.iter().map(|path| TreePath::parse(path).unwrap()).collect();
    assert_eq!(known.len(), paths.len());
    for path in paths {
        with_mutations(path.as_bytes(), 500, fuzz_path);
    }
}

#[test]
fn damaged_notices_are_read_or_refused() {
    for (_, text) in notice::tests::RECORDED {
        with_mutations(text.as_bytes(), 300, fuzz_notice);
    }
}
