//! Sockets of real daemons, decoded and played again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::control::{self, ChannelState, ControlMessage};
use super::frame::{self, Frame, FrameReader};
use super::*;
use crate::link::channel_name::{ChannelName, ChannelNameError};
use crate::link::golden::{self, RecordedConnection, RecordedFrame};
use crate::link::message::MessageReader;
use crate::testing::recorded_lines;
use crate::time::Moment;

const SETS: [&str; 3] = ["jami-13.7.0", "jami-13.11.0", "newest"];

fn all_connections() -> Vec<RecordedConnection> {
    SETS.into_iter().flat_map(golden::connections).collect()
}

fn encode(frame: &RecordedFrame) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_frame(ChannelNumber(frame.channel), &frame.data, &mut out);
    out
}

fn stream(connection: &RecordedConnection, sent: bool) -> Vec<u8> {
    connection.frames.iter().filter(|frame| frame.sent == sent).flat_map(encode).collect()
}

fn read_frames(stream: &[u8]) -> Vec<Frame> {
    let mut reader = FrameReader::default();
    let mut frames = Vec::new();
    for mut piece in stream.chunks(1447) {
        while let Some(frame) = reader.next(&mut piece).unwrap() {
            frames.push(frame);
        }
    }
    assert!(reader.is_at_boundary());
    frames
}

#[test]
fn recorded_streams_survive_encoding_and_decoding() {
    for connection in all_connections() {
        for sent in [true, false] {
            let frames = read_frames(&stream(&connection, sent));
            let recorded = connection.frames.iter().filter(|frame| frame.sent == sent);
            let recorded: Vec<Frame> = recorded
                .map(|it| Frame { channel: ChannelNumber(it.channel), data: it.data.clone() })
                .collect();
            assert!(frames == recorded, "{}", connection.name);
        }
    }
}

#[test]
fn recorded_streams_have_the_lengths_we_encode() {
    let lengths = recorded_lines::<Value>("newest/mux/connections.jsonl");
    let connections = golden::connections("newest");
    assert_eq!(lengths.len(), connections.len());
    for (length, connection) in lengths.iter().zip(&connections) {
        let length = |direction: &str| usize::try_from(length[direction].as_u64().unwrap()).unwrap();
        let ours = |sent| stream(connection, sent).len();
        assert_eq!((ours(true), ours(false)), (length("tx"), length("rx")), "{}", connection.name);
    }
}

#[test]
fn recorded_control_messages_survive_decoding_and_encoding() {
    let mut count = 0;
    for connection in all_connections() {
        for frame in connection.frames {
            let messages: Vec<ControlMessage> = match ChannelNumber(frame.channel) {
                ChannelNumber::CONTROL => control::read_control(&frame.data).collect(),
                ChannelNumber::PROTOCOL => control::read_protocol(&frame.data).into_iter().collect(),
                _ => continue,
            };
            count += messages.len();
            let encoded: Vec<u8> = messages.iter().flat_map(ControlMessage::encode).collect();
            assert_eq!(encoded, frame.data);
        }
    }
    assert!(count > 300);
}

#[test]
fn recorded_channel_names_are_understood() {
    for connection in all_connections() {
        for frame in connection.frames.iter().filter(|frame| frame.channel == 0) {
            for message in control::read_control(&frame.data) {
                let ControlMessage::Channel { name, .. } = message else { continue };
                match name.parse::<ChannelName>() {
                    Ok(parsed) => assert_eq!(parsed.to_string(), name),
                    Err(error) => {
                        assert!(name.starts_with("ydoc://"), "{name}");
                        assert_eq!(error, ChannelNameError::UnknownScheme);
                    }
                }
            }
        }
    }
}

#[test]
fn recorded_messages_survive_decoding_and_encoding() {
    let mut count = 0;
    for connection in golden::connections("newest") {
        let mut names = BTreeMap::new();
        for frame in &connection.frames {
            if frame.channel == 0 {
                for message in control::read_control(&frame.data) {
                    if let ControlMessage::Channel { name, number, .. } = message {
                        names.insert(number.0, name);
                    }
                }
            }
        }
        for sent in [true, false] {
            let mut readers: BTreeMap<u16, MessageReader> = BTreeMap::new();
            for frame in connection.frames.iter().filter(|frame| frame.sent == sent) {
                if !names.get(&frame.channel).is_some_and(|name| name.starts_with("msg:")) {
                    continue;
                }
                assert!(!frame.cut);
                let mut input = &frame.data[..];
                let mut encoded = Vec::new();
                while let Some(message) = readers.entry(frame.channel).or_default().next(&mut input).unwrap()
                {
                    encoded.extend(message.encode());
                    count += 1;
                }
                assert_eq!(encoded, frame.data, "each message came in a frame of its own");
            }
        }
    }
    assert!(count > 50, "{count}");
}

/// The connection as if our end had numbered its channels in the order of its requests: the first
/// daemons draw numbers at random, and the threads of later ones sometimes overtake each other between
/// taking a number and writing the request.
fn renumbered(connection: &RecordedConnection, role: Role) -> RecordedConnection {
    let mut in_order = if role == Role::Requester { 0x8000.. } else { 1_u16.. };
    let mut numbers = BTreeMap::new();
    let mut frames = Vec::new();
    for frame in &connection.frames {
        let mut data = Vec::new();
        if frame.channel == 0 {
            for mut message in control::read_control(&frame.data) {
                if let ControlMessage::Channel { number, state, .. } = &mut message {
                    if frame.sent && *state == ChannelState::Request {
                        numbers.insert(number.0, in_order.next().unwrap());
                    }
                    number.0 = numbers.get(&number.0).copied().unwrap_or(number.0);
                }
                data.extend(message.encode());
            }
        } else {
            data.clone_from(&frame.data);
        }
        let channel = numbers.get(&frame.channel).copied().unwrap_or(frame.channel);
        frames.push(RecordedFrame { channel, data, ..*frame });
    }
    RecordedConnection { name: connection.name.clone(), frames }
}

/// Plays our end of a recorded connection: the peer's frames go in, the recorded application's
/// actions are taken, and all that comes out is compared with the recording.
struct Replay {
    socket: Multiplex,
    outputs: Vec<Output>,
    sent: Vec<Frame>,
}

impl Replay {
    fn new(role: Role) -> Self {
        Self { socket: Multiplex::new(role, Limits::default()), outputs: vec![], sent: vec![] }
    }

    fn drain(&mut self) {
        while let Some(output) = self.socket.poll() {
            match output {
                Output::Transmit(bytes) => self.sent.extend(read_frames(&bytes)),
                output => self.outputs.push(output),
            }
        }
    }

    fn act(&mut self, frame: &RecordedFrame) {
        match ChannelNumber(frame.channel) {
            ChannelNumber::PROTOCOL => {
                if control::read_protocol(&frame.data) == Some(ControlMessage::BeaconRequest) {
                    assert!(self.socket.beacon(Moment::default()));
                }
            }
            ChannelNumber::CONTROL => {
                for message in control::read_control(&frame.data) {
                    let ControlMessage::Channel { name, number, state } = message else { panic!() };
                    match state {
                        ChannelState::Request => {
                            let later = Patience::Channel(Moment(Duration::from_secs(30)));
                            assert_eq!(self.socket.open(&name, later), Ok(number));
                        }
                        ChannelState::Accept => self.socket.accept(number).unwrap(),
                        ChannelState::Decline => self.socket.decline(number).unwrap(),
                    }
                }
            }
            number if frame.data.is_empty() => self.socket.close(number).unwrap(),
            number => self.socket.send(number, &frame.data).unwrap(),
        }
    }

    fn run(mut self, connection: &RecordedConnection) -> Self {
        for frame in &connection.frames {
            if frame.sent {
                self.act(frame);
            } else {
                self.socket.input_bytes(&encode(frame));
            }
            self.drain();
        }
        self
    }
}

/// What an application should learn from the frames of the peer.
fn expected_outputs(connection: &RecordedConnection) -> Vec<Output> {
    let mut expected = Vec::new();
    let mut closed = BTreeSet::new();
    for frame in &connection.frames {
        let number = ChannelNumber(frame.channel);
        if !number.is_reserved() && frame.data.is_empty() {
            // The first mark of the two sides closes the channel; its number is never used again here.
            let reason = if frame.sent { CloseReason::Local } else { CloseReason::EndOfChannel };
            if closed.insert(number) {
                expected.push(Output::Closed { number, reason });
            }
            continue;
        }
        if frame.sent || closed.contains(&number) {
            continue;
        }
        match number {
            ChannelNumber::PROTOCOL => match control::read_protocol(&frame.data) {
                Some(ControlMessage::Version(version)) => expected.push(Output::PeerVersion(version)),
                Some(ControlMessage::BeaconReply) => expected.push(Output::BeaconAnswered),
                _ => {}
            },
            ChannelNumber::CONTROL => {
                expected.extend(control::read_control(&frame.data).map(|message| match message {
                    ControlMessage::Channel { name, number, state: ChannelState::Request } => {
                        Output::ChannelRequested { number, name }
                    }
                    ControlMessage::Channel { number, state: ChannelState::Accept, .. } => {
                        Output::Opened(number)
                    }
                    ControlMessage::Channel { number, .. } => Output::Declined(number),
                    _ => panic!(),
                }));
            }
            _ => expected.push(Output::Data { number, bytes: frame.data.clone() }),
        }
    }
    expected
}

fn replay(connection: &RecordedConnection, role: Role) {
    let connection = renumbered(connection, role);
    let name = &connection.name;
    let replay = Replay::new(role).run(&connection);
    let expected = expected_outputs(&connection);
    for (index, (ours, theirs)) in replay.outputs.iter().zip(&expected).enumerate() {
        assert_eq!(ours, theirs, "{name} output {index}");
    }
    assert_eq!(replay.outputs.len(), expected.len(), "{name}");

    // Versions and signs of life are sent on our own account; the rest keeps its order.
    let split = |frames: Vec<Frame>| -> (Vec<Frame>, Vec<Frame>) {
        frames.into_iter().partition(|frame| frame.channel == ChannelNumber::PROTOCOL)
    };
    let recorded = connection.frames.iter().filter(|frame| frame.sent);
    let recorded = recorded.map(|it| Frame { channel: ChannelNumber(it.channel), data: it.data.clone() });
    assert!(split(replay.sent) == split(recorded.collect()), "{name}");
}

#[test]
fn replayed_connections_of_the_newest_daemon_come_out_as_recorded() {
    let roles = recorded_lines::<Value>("newest/mux/connections.jsonl");
    for (line, connection) in roles.iter().zip(&golden::connections("newest")) {
        replay(connection, if line["responder"] == true { Role::Responder } else { Role::Requester });
    }
}

#[test]
fn replayed_connections_of_older_daemons_come_out_as_recorded_from_either_end() {
    for set in ["jami-13.7.0", "jami-13.11.0"] {
        for mut connection in golden::connections(set) {
            // These recordings are written from the responder's end.
            replay(&connection, Role::Responder);
            connection.frames.iter_mut().for_each(|frame| frame.sent = !frame.sent);
            replay(&connection, Role::Requester);
        }
    }
}
