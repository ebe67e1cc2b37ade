//! Fuzz bodies of this room, run over a recorded message and damaged versions of it.

use super::instant::{Answer, InstantMessage, tests::RECORDED};
use super::stream::SipReader;
use crate::testing::with_mutations;

/// A stream gives the same messages in one piece and byte by byte, and whatever is read can be answered.
fn fuzz_sip(data: &[u8]) {
    for reader in [SipReader::default, SipReader::lenient] {
        fuzz_reader(data, reader);
    }
}

fn fuzz_reader(data: &[u8], reader: fn() -> SipReader) {
    let read = |segment: usize| {
        let (mut reader, mut messages) = (reader(), Vec::new());
        for mut piece in data.chunks(segment) {
            loop {
                match reader.next(&mut piece) {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(error) => return (messages, Some(error)),
                }
            }
        }
        (messages, None)
    };
    let (whole, error) = read(data.len().max(1));
    let (pieces, piecewise_error) = read(1);
    let shown = |messages: &[super::stream::SipMessage]| format!("{messages:?}");
    assert_eq!((shown(&whole), &error), (shown(&pieces), &piecewise_error));
    for message in &whole {
        let _ = InstantMessage::of(message);
        if let Some(answer) = Answer::Ok.to(message, ([127, 0, 0, 1], 1).into()) {
            assert!(SipReader::default().next(&mut &answer[..]).is_ok());
        }
    }
}

#[test]
fn damaged_messages_are_read_or_refused() {
    with_mutations(RECORDED.as_bytes(), 400, fuzz_sip);
}
