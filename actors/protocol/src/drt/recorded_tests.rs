//! Messages of real daemons, decoded and written again.

use super::golden;
use super::message::{Body, Message, Version};
use super::reader::SwarmReader;
use super::router::FIND_COUNT;
use crate::msgpack::Value;

fn read(frame: &[u8]) -> Message {
    let mut input = frame;
    let message = SwarmReader::default().next(&mut input).unwrap().unwrap();
    assert!(input.is_empty(), "one message for each frame");
    message
}

#[test]
fn recorded_messages_survive_decoding_and_encoding() {
    for (set, version, count) in [("jami-13.11.0", Version::One, 52), ("newest", Version::Three, 56)] {
        let frames: Vec<Vec<u8>> = golden::channels(set).into_iter().flatten().collect();
        assert_eq!(frames.len(), count);
        for frame in frames {
            let message = read(&frame);
            assert_eq!((message.version, message.is_mobile), (version, false));
            assert_eq!(message.encode(), frame, "{message:?}");
        }
    }
}

#[test]
fn recorded_daemons_ask_once_for_two_nodes_and_answer_once() {
    for set in ["jami-13.11.0", "newest"] {
        for stream in golden::channels(set) {
            let bodies: Vec<Body> = stream.iter().map(|frame| read(frame).body.unwrap()).collect();
            let finds = bodies.iter().filter(|body| matches!(body, Body::Find { count: FIND_COUNT, .. }));
            assert!(finds.count() <= 1);
            assert!(bodies.iter().filter(|body| matches!(body, Body::Found(_))).count() <= 1);
        }
    }
}

#[test]
fn recorded_streams_are_read_alike_however_they_are_cut() {
    for stream in golden::channels("newest") {
        let whole: Vec<Message> = stream.iter().map(|frame| read(frame)).collect();
        let bytes = stream.concat();
        for segment in [1, 7, 100] {
            let mut reader = SwarmReader::default();
            let mut messages = Vec::new();
            for mut piece in bytes.chunks(segment) {
                while let Some(message) = reader.next(&mut piece).unwrap() {
                    messages.push(message);
                }
            }
            assert_eq!(messages, whole);
        }
    }
}

#[test]
fn a_daemon_of_2023_finds_in_our_messages_all_it_reads() {
    let old = golden::channels("jami-13.11.0").concat();
    for frame in old {
        let newest = Message { version: Version::Three, ..read(&frame) }.encode();
        let (ours, theirs) =
            (crate::msgpack::decode_all(&newest).unwrap(), crate::msgpack::decode_all(&frame).unwrap());
        for key in ["is_mobile", "request"] {
            assert_eq!(ours.get(key), theirs.get(key));
        }
        for key in ["q", "nodes", "mobile_nodes"] {
            let entry = |message: &Value| message.get("response").and_then(|it| it.get(key)).cloned();
            assert_eq!(entry(&ours), entry(&theirs));
        }
    }
}
