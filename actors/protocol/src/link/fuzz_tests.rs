//! Fuzz bodies of this room, over what real daemons sent. Streams are read in one piece and in many,
//! which must not make a difference.

use super::channel_name::ChannelName;
use super::framing::FrameReader;
use super::ice_text::IceText;
use super::message::MessageReader;
use super::mux::{Limits, Multiplex, Output, Role, control, frame};
use super::objects::ObjectReader;
use super::request::PeerRequest;
use super::stun::Message;
use super::{framing, golden};
use crate::testing::with_mutations;

fn fuzz_request(data: &[u8]) {
    if let Ok(request) = PeerRequest::decode(data) {
        assert_eq!(PeerRequest::decode(&request.encode()).as_ref(), Ok(&request));
    }
}

fn fuzz_ice_text(data: &[u8]) {
    if let Ok(text) = IceText::parse(&String::from_utf8_lossy(data)) {
        assert_eq!(IceText::parse(&text.to_string()).as_ref(), Ok(&text));
    }
}

fn fuzz_stun(data: &[u8]) {
    if let Ok(message) = Message::decode(data) {
        assert_eq!(message.encode(), data);
        let _ = message.verify_integrity("password");
    }
}

fn fuzz_framing(data: &[u8]) {
    assert_same(data, |pieces| {
        let mut reader = FrameReader::default();
        let frames = pieces.flat_map(|mut piece| {
            let frames: Vec<_> = std::iter::from_fn(|| reader.next(&mut piece)).collect();
            frames
        });
        frames.map(|frame| format!("{frame:?}")).collect()
    });
}

fn fuzz_multiplex(data: &[u8]) {
    assert_same(data, |pieces| multiplex(pieces, false));
    // Channels that are accepted between two pieces get what the later ones hold for them.
    multiplex(&mut data.chunks(1), true);
}

fn multiplex(pieces: &mut dyn Iterator<Item = &[u8]>, accept: bool) -> Vec<String> {
    let mut socket = Multiplex::new(Role::Responder, Limits::default());
    let mut outputs = Vec::new();
    for piece in pieces {
        socket.input_bytes(piece);
        while let Some(output) = socket.poll() {
            outputs.push(format!("{output:?}"));
            match output {
                Output::ChannelRequested { number, .. } if accept => socket.accept(number).unwrap(),
                _ => {}
            }
        }
    }
    outputs
}

fn fuzz_control(data: &[u8]) {
    let _ = (control::read_control(data).count(), control::read_protocol(data));
}

fn fuzz_messages(data: &[u8]) {
    assert_same(data, |pieces| {
        let mut reader = MessageReader::default();
        read_all(pieces, |piece| reader.next(piece))
    });
}

fn fuzz_objects(data: &[u8]) {
    assert_same(data, |pieces| {
        let mut reader = ObjectReader::new(500);
        read_all(pieces, |piece| reader.next(piece))
    });
}

fn fuzz_channel_name(data: &[u8]) {
    if let Ok(name) = String::from_utf8_lossy(data).parse::<ChannelName>() {
        assert_eq!(name.to_string().parse::<ChannelName>().as_ref(), Ok(&name));
    }
}

fn assert_same(data: &[u8], read: impl Fn(&mut dyn Iterator<Item = &[u8]>) -> Vec<String>) {
    let whole = read(&mut std::iter::once(data));
    for segment in [1, 13] {
        let pieces = data.chunks(segment).chain([&[][..]]);
        assert!(read(&mut { pieces }) == whole, "in pieces of {segment}");
    }
}

/// What a reader finds, up to its error.
fn read_all<T: std::fmt::Debug, E: std::fmt::Debug>(
    pieces: &mut dyn Iterator<Item = &[u8]>,
    mut next: impl FnMut(&mut &[u8]) -> Result<Option<T>, E>,
) -> Vec<String> {
    let mut found = Vec::new();
    for mut piece in pieces {
        loop {
            match next(&mut piece) {
                Ok(Some(item)) => found.push(format!("{item:?}")),
                Ok(None) => break,
                Err(error) => {
                    found.push(format!("{error:?}"));
                    return found;
                }
            }
        }
    }
    found
}

#[test]
fn damaged_requests_and_ice_texts_are_read_or_refused() {
    for recorded in golden::peer_requests() {
        with_mutations(&recorded.data, 60, fuzz_request);
        let request = PeerRequest::decode(&recorded.data).unwrap();
        with_mutations(request.ice_text.as_bytes(), 60, fuzz_ice_text);
    }
}

#[test]
fn damaged_stun_messages_and_frames_are_read_or_refused() {
    let messages = golden::stun_messages();
    for message in messages.iter().step_by(5) {
        with_mutations(&message.bytes, 60, fuzz_stun);
    }
    let mut stream = Vec::new();
    for message in messages.iter().take(6) {
        framing::write_frames(&message.bytes, &mut stream);
    }
    with_mutations(&stream, 300, fuzz_framing);
}

#[test]
fn damaged_sockets_are_the_same_however_they_are_cut() {
    let connections = golden::connections("newest");
    let short = |connection: &&golden::RecordedConnection| {
        connection.frames.iter().map(|frame| frame.data.len()).sum::<usize>() < 16_000
    };
    let mut names = 0;
    for connection in connections.iter().filter(short).take(4) {
        let mut stream = Vec::new();
        for recorded in connection.frames.iter().filter(|frame| !frame.sent) {
            frame::write_frame(frame::ChannelNumber(recorded.channel), &recorded.data, &mut stream);
            if recorded.channel == 0 {
                with_mutations(&recorded.data, 40, fuzz_control);
            }
            for message in control::read_control(&recorded.data) {
                if let control::ControlMessage::Channel { name, .. } = message {
                    with_mutations(name.as_bytes(), 40, fuzz_channel_name);
                    names += 1;
                }
            }
        }
        with_mutations(&stream, 100, fuzz_multiplex);
    }
    assert!(names > 0);
}

#[test]
fn damaged_messages_are_the_same_however_they_are_cut() {
    let message = |number: u64| super::message::PeerMessage {
        id: number,
        mime_type: "application/im-gitmessage-id".to_owned(),
        content: "x".repeat(usize::try_from(number).unwrap()),
    };
    let stream: Vec<u8> = [0, 30, 300].into_iter().flat_map(|number| message(number).encode()).collect();
    with_mutations(&stream, 300, fuzz_messages);
    with_mutations(&stream, 300, fuzz_objects);
}
