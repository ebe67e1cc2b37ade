//! What the specification demands of a socket, one demand a test.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::control::{ChannelState, ControlMessage};
use super::frame::{self, MAX_DATA};
use super::socket::{BEACON_TIMEOUT, MAX_NAME, SIP_REQUEST_TIMEOUT};
use super::*;
use crate::time::Moment;

/// Later than any test.
const LATER: Patience = Patience::Channel(Moment(Duration::from_secs(1_000_000)));

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

fn control(name: &str, number: u16, state: ChannelState) -> Vec<u8> {
    let message = ControlMessage::Channel { name: name.into(), number: ChannelNumber(number), state };
    frame(0, &message.encode())
}

fn protocol(message: &ControlMessage) -> Vec<u8> {
    frame(u16::MAX, &message.encode())
}

fn frame(channel: u16, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_frame(ChannelNumber(channel), data, &mut out);
    out
}

fn drain(socket: &mut Multiplex) -> Vec<Output> {
    std::iter::from_fn(|| socket.poll()).collect()
}

/// A socket of the requester's that has sent its version.
fn socket() -> Multiplex {
    let mut socket = Multiplex::new(Role::Requester, Limits::default());
    assert_eq!(drain(&mut socket), [Output::Transmit(protocol(&ControlMessage::Version(1)))]);
    socket
}

/// A socket with channel 0x8000 open, asked for by us.
fn socket_with_channel() -> (Multiplex, ChannelNumber) {
    let mut socket = socket();
    let number = socket.open("sip", LATER).unwrap();
    socket.input_bytes(&control("sip", number.0, ChannelState::Accept));
    assert_eq!(drain(&mut socket).last(), Some(&Output::Opened(number)));
    (socket, number)
}

/// Both ends of a connection and what each has told its application.
struct Pair {
    ends: [Multiplex; 2],
    told: [Vec<Output>; 2],
}

impl Pair {
    fn new() -> Self {
        let end = |role| Multiplex::new(role, Limits::default());
        let mut pair = Self { ends: [end(Role::Requester), end(Role::Responder)], told: [vec![], vec![]] };
        pair.settle();
        pair
    }

    /// Carries bytes both ways until nothing moves. Each application accepts what it is asked.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for here in 0..2 {
                if let Some(output) = self.ends[here].poll() {
                    moved = true;
                    match &output {
                        Output::Transmit(bytes) => self.ends[1 - here].input_bytes(bytes),
                        Output::ChannelRequested { number, .. } => self.ends[here].accept(*number).unwrap(),
                        _ => {}
                    }
                    if !matches!(output, Output::Transmit(_)) {
                        self.told[here].push(output);
                    }
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn closes(&self, end: usize) -> usize {
        self.told[end].iter().filter(|it| matches!(it, Output::Closed { .. })).count()
    }
}

#[test]
fn each_role_counts_its_channels_from_its_own_first_number() {
    for (role, first) in [(Role::Requester, 0x8000), (Role::Responder, 1)] {
        let mut socket = Multiplex::new(role, Limits::default());
        for offset in 0..3 {
            assert_eq!(socket.open("sip", LATER), Ok(ChannelNumber(first + offset)));
        }
    }
}

#[test]
fn a_channel_carries_data_both_ways_and_long_writes_are_cut() {
    let mut pair = Pair::new();
    let number = pair.ends[0].open("git://x", LATER).unwrap();
    pair.settle();
    pair.ends[0].send(number, &[1; 70_000]).unwrap();
    pair.ends[1].send(number, b"back").unwrap();
    pair.settle();
    let data = |told: &[Output]| -> Vec<usize> {
        told.iter()
            .filter_map(|it| if let Output::Data { bytes, .. } = it { Some(bytes.len()) } else { None })
            .collect()
    };
    assert_eq!(data(&pair.told[1]), [65_535, 4_465]);
    assert_eq!(data(&pair.told[0]), [4]);
}

#[test]
fn data_may_follow_right_behind_our_acceptance() {
    let mut socket = socket();
    socket.input_bytes(&control("msg:x", 5, ChannelState::Request));
    socket.accept(ChannelNumber(5)).unwrap();
    socket.send(ChannelNumber(5), b"hi").unwrap();
    let accept = control("msg:x", 5, ChannelState::Accept);
    let requested = Output::ChannelRequested { number: ChannelNumber(5), name: "msg:x".into() };
    let expected = [requested, Output::Transmit(accept), Output::Transmit(frame(5, b"hi"))];
    assert_eq!(drain(&mut socket), expected);
}

#[test]
fn nothing_is_sent_before_the_peer_accepts_and_no_data_is_taken() {
    let mut socket = socket();
    let number = socket.open("sip", LATER).unwrap();
    assert_eq!(socket.send(number, b"early"), Err(ChannelError::NoSuchChannel(number)));
    drain(&mut socket);
    socket.input_bytes(&frame(number.0, b"early"));
    assert_eq!(drain(&mut socket), []);
}

#[test]
fn a_decline_fails_that_channel_only() {
    let mut socket = socket();
    let numbers: Vec<ChannelNumber> = (0..3).map(|_| socket.open("sip", LATER).unwrap()).collect();
    drain(&mut socket);
    for (number, state) in
        numbers.iter().zip([ChannelState::Decline, ChannelState::Accept, ChannelState::Accept])
    {
        socket.input_bytes(&control("sip", number.0, state));
    }
    let expected = [Output::Declined(numbers[0]), Output::Opened(numbers[1]), Output::Opened(numbers[2])];
    assert_eq!(drain(&mut socket), expected);
    assert_eq!(socket.channel_count(), 2);
}

#[test]
fn eight_requests_follow_the_version_in_order() {
    let mut socket = Multiplex::new(Role::Requester, Limits::default());
    (0..8).for_each(|_| assert!(socket.open("sip", LATER).is_ok()));
    let mut expected = vec![Output::Transmit(protocol(&ControlMessage::Version(1)))];
    expected.extend(
        (0x8000..0x8008).map(|number| Output::Transmit(control("sip", number, ChannelState::Request))),
    );
    assert_eq!(drain(&mut socket), expected);
}

#[test]
fn each_side_sees_one_close_whoever_closes() {
    for closers in [&[0][..], &[1], &[0, 1]] {
        let mut pair = Pair::new();
        let number = pair.ends[0].open("sip", LATER).unwrap();
        pair.settle();
        closers.iter().for_each(|end| pair.ends[*end].close(number).unwrap());
        pair.settle();
        assert_eq!((pair.closes(0), pair.closes(1)), (1, 1), "closed by {closers:?}");
        assert_eq!(pair.ends[0].channel_count() + pair.ends[1].channel_count(), 0);
    }
}

#[test]
fn an_end_mark_before_the_acceptance_opens_and_then_closes() {
    // Ours: the mark overtakes the peer's acceptance.
    let mut ours = socket();
    let number = ours.open("sip", LATER).unwrap();
    drain(&mut ours);
    ours.input_bytes(&[frame(number.0, &[]), control("sip", number.0, ChannelState::Accept)].concat());
    let closed = Output::Closed { number, reason: CloseReason::EndOfChannel };
    assert_eq!(drain(&mut ours), [Output::Opened(number), closed.clone()]);
    assert_eq!(ours.channel_count(), 0);
    // The peer's: it ends the channel before we decide.
    let mut theirs = socket();
    theirs.input_bytes(&[control("sip", number.0, ChannelState::Request), frame(number.0, &[])].concat());
    theirs.accept(number).unwrap();
    assert_eq!(drain(&mut theirs).last(), Some(&closed));
    assert_eq!(theirs.channel_count(), 0);
}

#[test]
fn data_behind_the_end_mark_is_dropped() {
    let (mut socket, number) = socket_with_channel();
    socket.input_bytes(&[frame(number.0, &[]), frame(number.0, b"late"), frame(number.0, &[])].concat());
    assert_eq!(drain(&mut socket), [Output::Closed { number, reason: CloseReason::EndOfChannel }]);
}

#[test]
fn a_decline_closes_an_open_channel() {
    let (mut socket, number) = socket_with_channel();
    socket.input_bytes(&control("sip", number.0, ChannelState::Decline));
    assert_eq!(drain(&mut socket), [Output::Closed { number, reason: CloseReason::EndOfChannel }]);
}

#[test]
fn reserved_used_and_overlong_requests_are_declined() {
    let (mut socket, number) = socket_with_channel();
    let long = "x".repeat(MAX_NAME + 1);
    for (name, number) in [("sip", 0), ("sip", u16::MAX), ("sip", number.0), (long.as_str(), 9)] {
        socket.input_bytes(&control(name, number, ChannelState::Request));
        let declined = Output::Transmit(control(name, number, ChannelState::Decline));
        assert_eq!(drain(&mut socket), [declined], "{number}");
    }
    socket.send(number, b"still open").unwrap();
    assert_eq!(socket.open(&long, LATER), Err(ChannelError::NameTooLong));
}

#[test]
fn any_free_number_of_the_peer_is_accepted() {
    let mut socket = socket();
    for number in [63_054, 0x8000, 1, 65_534] {
        socket.input_bytes(&control("git://x", number, ChannelState::Request));
        socket.accept(ChannelNumber(number)).unwrap();
    }
    assert_eq!(socket.open("sip", LATER), Ok(ChannelNumber(0x8001)), "a number in use is passed over");
}

#[test]
fn what_concerns_unknown_channels_is_ignored() {
    let mut socket = socket();
    let unknown = ChannelNumber(77);
    for bytes in [
        control("sip", 77, ChannelState::Accept),
        control("sip", 77, ChannelState::Decline),
        frame(77, b"data"),
        frame(77, &[]),
        frame(0, b"\xc1"),
        frame(0, &[0x90]),
        frame(u16::MAX, &[0x80]),
        frame(0, &[]),
        vec![0x80, 0x91, 0x01],
    ] {
        socket.input_bytes(&bytes);
        assert_eq!(drain(&mut socket), []);
    }
    let none = Err(ChannelError::NoSuchChannel(unknown));
    assert_eq!(socket.accept(unknown), none);
    assert_eq!(socket.decline(unknown), none);
    assert_eq!(socket.close(unknown), none);
    assert_eq!(socket.send(unknown, b"x"), none);
}

#[test]
fn a_flood_of_requests_is_declined_beyond_the_limits() {
    let limits = Limits { channels: 10, offered: 4 };
    let mut socket = Multiplex::new(Role::Responder, limits);
    let declines = |socket: &mut Multiplex, numbers: std::ops::Range<u16>| {
        numbers.for_each(|number| socket.input_bytes(&control("sip", number, ChannelState::Request)));
        drain(socket).iter().filter(|it| matches!(it, Output::Transmit(_))).count()
    };
    drain(&mut socket);
    assert_eq!(declines(&mut socket, 100..106), 2);
    (100..104).for_each(|number| socket.accept(ChannelNumber(number)).unwrap());
    (0..6).for_each(|_| assert!(socket.open("sip", LATER).is_ok()));
    drain(&mut socket);
    assert_eq!(declines(&mut socket, 200..203), 3);
    assert_eq!(socket.open("sip", LATER), Err(ChannelError::TooManyChannels));
    assert_eq!(socket.channel_count(), 10);
}

#[test]
fn an_answered_beacon_keeps_the_socket() {
    let mut socket = socket();
    socket.input_bytes(&protocol(&ControlMessage::Version(7)));
    assert_eq!(drain(&mut socket), [Output::PeerVersion(1)], "an unknown version is taken for 1");
    assert!(socket.beacon(at(10)));
    assert_eq!(drain(&mut socket), [Output::Transmit(protocol(&ControlMessage::BeaconRequest))]);
    assert_eq!(socket.deadline(), Some(at(13)));
    socket.input_bytes(&protocol(&ControlMessage::BeaconReply));
    assert_eq!(drain(&mut socket), [Output::BeaconAnswered]);
    assert_eq!(socket.deadline(), None);
    socket.handle_timeout(at(100));
    assert!(!socket.has_ended());
    socket.input_bytes(&protocol(&ControlMessage::BeaconReply));
    assert_eq!(drain(&mut socket), [], "a reply nobody waits for");
}

#[test]
fn marks_are_answered_in_order_and_unanswered_ones_end_nothing() {
    let mut socket = socket();
    assert!(!socket.mark(), "the version is not known yet");
    socket.input_bytes(&protocol(&ControlMessage::Version(1)));
    drain(&mut socket);
    assert!(socket.mark());
    assert!(socket.beacon(at(10)));
    assert!(socket.mark());
    assert_eq!(drain(&mut socket), vec![Output::Transmit(protocol(&ControlMessage::BeaconRequest)); 3]);
    socket.input_bytes(&protocol(&ControlMessage::BeaconReply));
    assert_eq!(drain(&mut socket), [Output::BeaconAnswered, Output::MarkAnswered]);
    socket.input_bytes(&protocol(&ControlMessage::BeaconReply));
    assert_eq!(drain(&mut socket), []);
    socket.handle_timeout(at(10_000));
    assert!(!socket.has_ended());
    socket.input_bytes(&protocol(&ControlMessage::BeaconReply));
    assert_eq!(drain(&mut socket), [Output::MarkAnswered]);
    let asked = std::iter::repeat_with(|| socket.mark()).take_while(|asked| *asked).take(1000).count();
    assert_eq!(asked, 64, "no more than that are sent to a peer that does not answer");
}

#[test]
fn an_unanswered_beacon_ends_the_socket_with_an_error_for_its_channels() {
    let (mut socket, number) = socket_with_channel();
    socket.input_bytes(&protocol(&ControlMessage::Version(1)));
    assert!(socket.beacon(at(10)));
    drain(&mut socket);
    socket.handle_timeout(at(10).plus(BEACON_TIMEOUT - Duration::from_millis(1)));
    assert_eq!(drain(&mut socket), []);
    socket.handle_timeout(at(10).plus(BEACON_TIMEOUT));
    let reason = CloseReason::Socket(ShutdownReason::BeaconUnanswered);
    assert!(!reason.is_end_of_file());
    let expected = [Output::Closed { number, reason }, Output::Shutdown(ShutdownReason::BeaconUnanswered)];
    assert_eq!(drain(&mut socket), expected);
}

#[test]
fn no_beacon_is_sent_to_a_peer_that_would_not_understand() {
    let mut socket = socket();
    assert!(!socket.beacon(at(0)), "the version is not known yet");
    socket.input_bytes(&protocol(&ControlMessage::Version(0)));
    assert!(!socket.beacon(at(0)));
    assert_eq!(drain(&mut socket), [Output::PeerVersion(0)]);
    assert_eq!(socket.deadline(), None);
}

#[test]
fn the_peers_beacon_is_answered_at_once_on_either_channel() {
    let mut socket = socket();
    for channel in [0, u16::MAX] {
        socket.input_bytes(&frame(channel, &ControlMessage::BeaconRequest.encode()));
        assert_eq!(drain(&mut socket), [Output::Transmit(protocol(&ControlMessage::BeaconReply))]);
    }
}

#[test]
fn an_unanswered_request_for_which_the_socket_answers_ends_it() {
    let (mut socket, open) = socket_with_channel();
    let answered = socket.open("sip", Patience::Socket(at(5).plus(SIP_REQUEST_TIMEOUT))).unwrap();
    let silent = socket.open("sip", Patience::Socket(at(6).plus(SIP_REQUEST_TIMEOUT))).unwrap();
    let patient = socket.open("git://x", LATER).unwrap();
    socket.input_bytes(&control("sip", answered.0, ChannelState::Accept));
    assert_eq!(socket.deadline(), Some(at(9)));
    drain(&mut socket);
    socket.handle_timeout(at(9));
    let why = ShutdownReason::RequestUnanswered(silent);
    let closed: BTreeSet<ChannelNumber> = drain(&mut socket)
        .iter()
        .filter_map(|it| match it {
            Output::Closed { number, reason } if *reason == CloseReason::Socket(why) => Some(*number),
            _ => None,
        })
        .collect();
    assert_eq!(closed, BTreeSet::from([open, answered, silent, patient]));
}

#[test]
fn an_unanswered_request_is_given_up_alone_and_a_late_answer_means_nothing() {
    let (mut socket, open) = socket_with_channel();
    let silent = [at(5), at(6)].map(|until| socket.open("git://x", Patience::Channel(until)).unwrap());
    drain(&mut socket);
    socket.handle_timeout(at(4));
    assert_eq!(drain(&mut socket), []);
    assert_eq!(socket.deadline(), Some(at(5)));
    socket.handle_timeout(at(6));
    let given_up = |number: ChannelNumber| {
        let closed = Output::Closed { number, reason: CloseReason::Unanswered };
        [Output::Transmit(frame(number.0, &[])), closed]
    };
    assert_eq!(drain(&mut socket), silent.map(given_up).concat());
    assert_eq!((socket.channel_count(), socket.deadline()), (1, None));
    for state in [ChannelState::Accept, ChannelState::Decline] {
        socket.input_bytes(&control("git://x", silent[0].0, state));
    }
    socket.input_bytes(&frame(silent[0].0, b"late"));
    socket.input_bytes(&frame(silent[0].0, &[]));
    socket.input_bytes(&frame(open.0, b"still there"));
    let data = Output::Data { number: open, bytes: b"still there".to_vec() };
    assert_eq!(drain(&mut socket), [data]);
}

#[test]
fn a_peer_that_accepts_after_we_have_given_up_closes_its_end_again() {
    let carry = |from: &mut Multiplex, to: &mut Multiplex| {
        for output in drain(from) {
            if let Output::Transmit(bytes) = output {
                to.input_bytes(&bytes);
            }
        }
    };
    let (mut ours, mut theirs) = (socket(), Multiplex::new(Role::Responder, Limits::default()));
    let number = ours.open("git://x", Patience::Channel(at(5))).unwrap();
    ours.handle_timeout(at(5));
    carry(&mut ours, &mut theirs);
    theirs.accept(number).unwrap();
    carry(&mut theirs, &mut ours);
    assert_eq!((ours.channel_count(), theirs.channel_count()), (0, 0));
}

#[test]
fn a_clean_end_is_end_of_file_and_any_other_an_error() {
    for (in_order, cut, end_of_file) in [(true, false, true), (false, false, false), (true, true, false)] {
        let (mut socket, number) = socket_with_channel();
        if cut {
            socket.input_bytes(&frame(number.0, b"data")[..4]);
        }
        socket.input_end(in_order);
        let [Output::Closed { reason, .. }, Output::Shutdown(_)] = &drain(&mut socket)[..] else { panic!() };
        assert_eq!(reason.is_end_of_file(), end_of_file);
        assert_eq!(socket.open("sip", LATER), Err(ChannelError::SocketEnded));
        assert!(!socket.beacon(at(1)));
        socket.input_bytes(&frame(number.0, b"late"));
        socket.shutdown();
        assert_eq!(drain(&mut socket), []);
    }
}

#[test]
fn bytes_that_are_no_frames_end_the_socket() {
    let overlong = [&[0x92, 0x05, 0xc6, 0, 1, 0, 0][..], &[0; 100]].concat();
    for bytes in [vec![0xc1], overlong, vec![0x91; 1000], vec![0xdd, 0xff, 0xff, 0xff, 0xff]] {
        let mut socket = socket();
        socket.input_bytes(&bytes);
        assert!(matches!(drain(&mut socket)[..], [Output::Shutdown(ShutdownReason::Unreadable(_))]));
    }
}

#[test]
fn five_thousand_channels_at_once_leave_nothing_behind() {
    let mut pair = Pair::new();
    for _ in 0..3 {
        let mut numbers = [vec![], vec![]];
        // No more at a time than the peer may leave undecided.
        for _ in 0..5 {
            for (end, numbers) in numbers.iter_mut().enumerate() {
                numbers.extend((0..500).map(|_| pair.ends[end].open("git://x", LATER).unwrap()));
            }
            pair.settle();
        }
        assert_eq!(pair.ends[0].channel_count(), 5000);
        assert_eq!(pair.ends[1].channel_count(), 5000);
        for (end, numbers) in numbers.iter().enumerate() {
            numbers.iter().for_each(|number| pair.ends[end].close(*number).unwrap());
        }
        pair.settle();
        assert_eq!(pair.ends[0].channel_count() + pair.ends[1].channel_count(), 0);
    }
}

#[test]
fn numbers_wrap_over_the_reserved_ones() {
    let mut socket = socket();
    let mut last = ChannelNumber(0x7fff);
    for _ in 0..70_000 {
        let number = socket.open("sip", LATER).unwrap();
        assert!(!number.is_reserved() && number != last);
        socket.close(number).unwrap();
        drain(&mut socket);
        last = number;
    }
}

#[derive(Clone, Debug)]
enum Action {
    Noise(Vec<u8>),
    Control(u16, ChannelState),
    Data(u16, usize),
    Open,
    Accept(u16),
    Decline(u16),
    Close(u16),
    Beacon,
    Wait,
}

fn action() -> impl Strategy<Value = Action> {
    let number = prop_oneof![0..6_u16, 0x8000..0x8004_u16, Just(u16::MAX)];
    let state =
        prop_oneof![Just(ChannelState::Request), Just(ChannelState::Accept), Just(ChannelState::Decline)];
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Action::Noise),
        9 => (number.clone(), state).prop_map(|(number, state)| Action::Control(number, state)),
        6 => (number.clone(), 0..3_usize).prop_map(|(number, length)| Action::Data(number, length)),
        3 => Just(Action::Open),
        3 => number.clone().prop_map(Action::Accept),
        3 => number.clone().prop_map(Action::Decline),
        3 => number.prop_map(Action::Close),
        1 => Just(Action::Beacon),
        1 => Just(Action::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_each_channel_ends_once_and_nothing_grows(actions in prop::collection::vec(action(), 0..120)) {
        let limits = Limits { channels: 6, offered: 3 };
        let mut socket = Multiplex::new(Role::Requester, limits);
        let mut alive = BTreeSet::new();
        for (step, action) in actions.into_iter().enumerate() {
            let number = |number| ChannelNumber(number);
            match action {
                Action::Noise(bytes) => socket.input_bytes(&bytes),
                Action::Control(number, state) => socket.input_bytes(&control("n", number, state)),
                Action::Data(number, length) => socket.input_bytes(&frame(number, &vec![1; length])),
                Action::Open => alive.extend(socket.open("sip", Patience::Channel(at(u64::try_from(step).unwrap() + 9))).ok()),
                Action::Accept(it) => drop(socket.accept(number(it))),
                Action::Decline(it) => {
                    if socket.decline(number(it)).is_ok() {
                        prop_assert!(alive.remove(&number(it)));
                    }
                }
                Action::Close(it) => drop(socket.close(number(it))),
                Action::Beacon => drop(socket.beacon(at(u64::try_from(step).unwrap()))),
                Action::Wait => socket.handle_timeout(at(u64::try_from(step).unwrap())),
            }
            for output in drain(&mut socket) {
                match output {
                    Output::ChannelRequested { number, .. } => prop_assert!(alive.insert(number)),
                    Output::Declined(number) | Output::Closed { number, .. } => prop_assert!(alive.remove(&number)),
                    Output::Opened(number) => prop_assert!(alive.contains(&number)),
                    Output::Data { number, bytes } => {
                        prop_assert!(alive.contains(&number) && !bytes.is_empty() && bytes.len() <= MAX_DATA);
                    }
                    _ => {}
                }
            }
            prop_assert_eq!(socket.channel_count(), alive.len());
            prop_assert!(alive.len() <= limits.channels);
        }
        socket.shutdown();
        let closed = drain(&mut socket).iter().filter(|it| matches!(it, Output::Closed { .. })).count();
        prop_assert_eq!(closed, alive.len());
    }
}
