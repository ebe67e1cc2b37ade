//! Commit messages against recorded ones, and against what peers may send.

use proptest::prelude::*;

use super::golden;
use super::message::*;
use super::object::{Commit, ObjectKind};
use crate::ids::CommitId;

#[test]
fn golden_messages_are_written_as_the_daemons_wrote_them() {
    let mut typed = 0;
    for daemon in golden::DAEMONS {
        for (kind, _, content) in golden::load(daemon).objects.iter() {
            if kind != ObjectKind::Commit {
                continue;
            }
            let commit = Commit::parse(content.clone()).unwrap();
            if commit.parents.len() == 2 {
                assert_eq!(commit.message, merge_message(commit.parents[1]));
                continue;
            }
            let message = CommitMessage::parse(&commit.message).unwrap();
            assert_eq!(message.to_bytes(), commit.message);
            let content = message.content();
            assert_ne!(content, Content::Other, "{:?}", commit.message);
            let plain_type = message.message_type() != "application/edited-message";
            let plain_initial =
                !message.fields().contains_key("mimeType") || message.message_type() != "initial";
            if plain_type && plain_initial {
                assert_eq!(CommitMessage::from_content(&content).unwrap(), message);
                typed += 1;
            }
        }
    }
    assert!(typed > 80, "{typed}");
}

#[test]
fn texts_are_escaped_as_the_reference_does() {
    let body = "é❤️😀\n\"\\/\u{7f}\u{1}".to_owned();
    let message = CommitMessage::from_content(&Content::Text { body, relation: Relation::None }).unwrap();
    assert_eq!(
        String::from_utf8(message.to_bytes()).unwrap(),
        "{\"body\":\"\\u00e9\\u2764\\ufe0f\\ud83d\\ude00\\n\\\"\\\\/\u{7f}\\u0001\",\"type\":\"text/plain\"}"
    );
    assert_eq!(CommitMessage::parse(&message.to_bytes()).unwrap(), message);
}

#[test]
fn of_a_key_given_twice_the_last_counts() {
    let message = CommitMessage::parse(br#"{"type":"a","body":"1","type":"b"}"#).unwrap();
    assert_eq!(message.message_type(), "b");
}

#[test]
fn what_is_no_message_is_refused() {
    let deep = format!("{{\"type\":\"x\",\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for text in ["", "[]", "\"x\"", "{", "null", "Merge commit 'x'", &deep] {
        assert_eq!(CommitMessage::parse(text.as_bytes()), Err(MessageError::NotJson), "{text:.40}");
    }
    assert_eq!(CommitMessage::parse(b"{\"type\":\"\xff\"}"), Err(MessageError::NotJson));
    for text in ["{}", "{\"type\":\"\"}", "{\"type\":5}"] {
        assert_eq!(CommitMessage::parse(text.as_bytes()), Err(MessageError::NoType), "{text}");
    }
}

#[test]
fn unknown_types_and_fields_are_kept() {
    let text = br#"{"new":{"deep":[1,2]},"number":7,"type":"application/of-tomorrow"}"#;
    let message = CommitMessage::parse(text).unwrap();
    assert_eq!(message.content(), Content::Other);
    assert_eq!(message.to_bytes(), text);
    assert_eq!(message.text_fields()["number"], "7");
}

#[test]
fn malformed_targets_are_no_targets() {
    for text in ["", &"0".repeat(40), &"A".repeat(40), &"g".repeat(40), &"1".repeat(41), &"é".repeat(20)] {
        assert_eq!(Target::parse(text), None, "{text}");
    }
    assert!(Target::parse(&"1".repeat(64)).is_some());
}

#[test]
fn a_file_id_has_the_extension_of_the_displayed_name() {
    let commit = CommitId([0x11; 20]);
    for (name, end) in
        [("a.png", "_7.png"), ("a", "_7"), ("a.", "_7"), ("a.b.c", "_7.c"), ("a.toolong88", "_7")]
    {
        assert_eq!(file_id(commit, "7", name), format!("{commit}{end}"));
    }
}

proptest! {
    #[test]
    fn any_text_survives(body in "\\PC{0,40}|.{0,40}", seed: [u8; 20], which in 0..4) {
        let id = CommitId(seed);
        let relation = [Relation::None, Relation::Reply(id), Relation::Edit(id), Relation::React(id)][which as usize];
        let content = Content::Text { body, relation };
        let bytes = CommitMessage::from_content(&content).unwrap().to_bytes();
        prop_assert!(bytes.is_ascii());
        prop_assert_eq!(CommitMessage::parse(&bytes).unwrap().content(), content);
    }

    #[test]
    fn any_bytes_parse_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = CommitMessage::parse(&bytes).map(|message| (message.content(), message.to_bytes()));
    }
}

#[test]
fn a_shortened_message_takes_bounded_memory_and_is_understood_as_before() {
    let edited = CommitId([7; 20]);
    let nested = format!("[{}[]]", "[],".repeat(100_000));
    let text = "é".repeat(1_000_000);
    let fields: String = (0..100_000).map(|number| format!(",\"{number}\":{number}")).collect();
    let all = format!(
        "{{\"type\":\"text/plain\",\"a\":{nested},\"body\":\"{text}\",\"edit\":\"{edited}\",\"z\":{{\"n\":1}}{fields}}}"
    );
    let whole = CommitMessage::parse(all.as_bytes()).unwrap();
    for limit in [0, 10_000, 256 * 1024] {
        let short = whole.shortened(limit);
        assert!(short.weight() <= limit.max(1024), "{} of {limit}", short.weight());
        let Content::Text { body, relation } = short.content() else { panic!("{short:?}") };
        assert_eq!((short.is_edit(), relation), (true, Relation::Edit(edited)));
        assert!(!body.is_empty() && text.starts_with(&body));
    }
    let few =
        CommitMessage::parse(br#"{"type":"new","a":[1],"b":{"c":1},"d":true,"e":"text","f":1.5}"#).unwrap();
    let short = few.shortened(10_000);
    assert_eq!(short.to_bytes(), br#"{"a":[],"b":{},"d":true,"e":"text","f":1.5,"type":"new"}"#);
    assert_eq!(short.text_fields(), few.text_fields());
}
