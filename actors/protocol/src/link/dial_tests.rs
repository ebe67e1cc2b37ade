use proptest::prelude::*;

use super::*;

const OWN: DeviceId = DeviceId([1; 32]);
const PEER: DeviceId = DeviceId([2; 32]);

fn drain(dialer: &mut Dialer) -> Vec<Output> {
    std::iter::from_fn(|| dialer.poll()).collect()
}

fn want(dialer: &mut Dialer, ticket: u64) -> Vec<Output> {
    dialer.connect(Ticket(ticket), PEER, format!("git://{ticket}"), String::new());
    drain(dialer)
}

fn started(connection: u64) -> Output {
    let connection_type = String::new();
    Output::StartAttempt { connection: ConnectionNumber(connection), device: PEER, connection_type }
}

fn open(connection: u64, ticket: u64) -> Output {
    Output::OpenChannel {
        connection: ConnectionNumber(connection),
        ticket: Ticket(ticket),
        name: format!("git://{ticket}"),
        answer_within: None,
    }
}

fn failed(ticket: u64, error: DialError) -> Output {
    Output::Failed { ticket: Ticket(ticket), error }
}

fn first(connection: u64) -> Output {
    Output::FirstSocket { device: PEER, connection: ConnectionNumber(connection) }
}

fn ready(dialer: &mut Dialer, connection: u64, id: u64) -> Vec<Output> {
    dialer.attempt_ready(ConnectionNumber(connection), RequestId(id));
    drain(dialer)
}

fn attempt_failed(dialer: &mut Dialer, connection: u64) -> Vec<Output> {
    dialer.attempt_failed(ConnectionNumber(connection), &AttemptError::NoAnswer);
    drain(dialer)
}

fn ended(dialer: &mut Dialer, connection: u64) -> Vec<Output> {
    dialer.socket_ended(ConnectionNumber(connection));
    drain(dialer)
}

/// A dialler with one socket, connection 0.
fn connected() -> Dialer {
    let mut dialer = Dialer::new(OWN);
    want(&mut dialer, 0);
    assert_eq!(ready(&mut dialer, 0, 50), [first(0), open(0, 0)]);
    dialer.channel_answered(PEER, Ticket(0));
    dialer
}

#[test]
fn channels_wanted_while_dialling_share_one_attempt() {
    let mut dialer = Dialer::new(OWN);
    assert_eq!(want(&mut dialer, 0), [started(0)]);
    assert_eq!((1..8).flat_map(|ticket| want(&mut dialer, ticket)).collect::<Vec<_>>(), []);
    let mut expected = vec![first(0)];
    expected.extend((0..8).map(|ticket| open(0, ticket)));
    assert_eq!(ready(&mut dialer, 0, 50), expected);
    assert_eq!(want(&mut dialer, 8), [open(0, 8)], "a socket that is up is used at once");
    assert!(dialer.is_connected(PEER));
}

#[test]
fn all_that_waits_fails_with_the_last_attempt() {
    let mut dialer = Dialer::new(OWN);
    want(&mut dialer, 0);
    want(&mut dialer, 1);
    let theirs = dialer.incoming_attempt(PEER).unwrap();
    assert_eq!(attempt_failed(&mut dialer, 0), [], "the device's own attempt still runs");
    let error = || DialError::Attempt(AttemptError::NoAnswer);
    assert_eq!(attempt_failed(&mut dialer, theirs.0), [failed(0, error()), failed(1, error())]);
    assert_eq!(want(&mut dialer, 2), [started(2)], "the next wish dials again");
}

#[test]
fn an_own_device_is_refused_at_once() {
    let mut dialer = Dialer::new(OWN);
    dialer.connect(Ticket(1), OWN, "sip".into(), String::new());
    assert_eq!(drain(&mut dialer), [failed(1, DialError::OwnDevice)]);
    assert_eq!(dialer.incoming_attempt(OWN), None);
}

#[test]
fn simultaneous_dials_make_two_sockets_and_new_channels_use_the_smaller_id() {
    let mut dialer = Dialer::new(OWN);
    let theirs = dialer.incoming_attempt(PEER).unwrap();
    assert_eq!(want(&mut dialer, 0), [started(1)], "an attempt of the device does not stop ours");
    assert_eq!(ready(&mut dialer, 1, 70), [first(1), open(1, 0)]);
    assert_eq!(ready(&mut dialer, theirs.0, 60), [Output::Beacon(ConnectionNumber(1))]);
    assert_eq!(want(&mut dialer, 1), [open(0, 1)]);
    assert_eq!(ended(&mut dialer, 0), [open(1, 1)], "retried on the socket that is left");
    assert_eq!(want(&mut dialer, 2), [open(1, 2)]);
}

#[test]
fn a_device_that_connects_again_and_again_keeps_its_newest_sockets_only() {
    let mut dialer = Dialer::new(OWN);
    for round in 0..20_u64 {
        let theirs = dialer.incoming_attempt(PEER).expect("its sockets do not keep it out");
        let done = ready(&mut dialer, theirs.0, 1000 - round);
        let dropped: Vec<_> = done.into_iter().filter(|output| matches!(output, Output::Drop(_))).collect();
        match round.checked_sub(u64::try_from(MAX_SOCKETS_PER_DEVICE).unwrap()) {
            Some(oldest) => assert_eq!(dropped, [Output::Drop(ConnectionNumber(oldest))]),
            None => assert_eq!(dropped, []),
        }
    }
    assert_eq!(dialer.peers[&PEER].connection_count(), MAX_SOCKETS_PER_DEVICE);
}

#[test]
fn a_channel_asked_for_on_a_surplus_socket_is_requested_on_another() {
    let mut dialer = connected();
    assert_eq!(want(&mut dialer, 1), [open(0, 1)]);
    for number in 1..u64::try_from(MAX_SOCKETS_PER_DEVICE).unwrap() {
        dialer.incoming_attempt(PEER).unwrap();
        ready(&mut dialer, number, 50 + number);
    }
    let last = dialer.incoming_attempt(PEER).unwrap();
    let done = ready(&mut dialer, last.0, 90);
    assert_eq!(done[done.len() - 2..], [Output::Drop(ConnectionNumber(0)), open(1, 1)]);
}

#[test]
fn a_request_whose_socket_dies_is_made_once_more_and_no_more() {
    let mut dialer = connected();
    assert_eq!(want(&mut dialer, 1), [open(0, 1)]);
    assert_eq!(ended(&mut dialer, 0), [started(1)]);
    assert!(!dialer.is_connected(PEER));
    assert_eq!(ready(&mut dialer, 1, 51), [first(1), open(1, 1)]);
    assert_eq!(ended(&mut dialer, 1), [failed(1, DialError::SocketLost)]);
    assert!(dialer.peers.is_empty() && dialer.devices.is_empty());
}

#[test]
fn answered_and_withdrawn_channels_are_not_retried() {
    let mut dialer = connected();
    want(&mut dialer, 1);
    want(&mut dialer, 2);
    dialer.channel_answered(PEER, Ticket(1));
    dialer.withdraw(PEER, Ticket(2));
    assert_eq!(ended(&mut dialer, 0), []);
    want(&mut dialer, 3);
    dialer.withdraw(PEER, Ticket(3));
    assert_eq!(ready(&mut dialer, 1, 51), [first(1)]);
}

#[test]
fn only_sip_channels_have_a_deadline() {
    let mut dialer = connected();
    dialer.connect(Ticket(1), PEER, "sip".into(), String::new());
    let [Output::OpenChannel { answer_within, .. }] = drain(&mut dialer)[..] else { panic!() };
    assert_eq!(answer_within, Some(SIP_REQUEST_TIMEOUT));
}

#[test]
fn a_network_change_makes_every_socket_prove_itself() {
    let mut dialer = connected();
    let other = dialer.incoming_attempt(DeviceId([3; 32])).unwrap();
    dialer.attempt_ready(other, RequestId(1));
    drain(&mut dialer);
    dialer.network_changed();
    assert_eq!(drain(&mut dialer), [Output::Beacon(ConnectionNumber(0)), Output::Beacon(other)]);
}

#[test]
fn removing_a_contact_drops_all_its_connections_and_wishes() {
    let mut dialer = connected();
    want(&mut dialer, 1);
    let theirs = dialer.incoming_attempt(PEER).unwrap();
    dialer.remove(PEER);
    let expected = [Output::Drop(theirs), Output::Drop(ConnectionNumber(0)), failed(1, DialError::Removed)];
    assert_eq!(drain(&mut dialer), expected);
    assert_eq!(ready(&mut dialer, theirs.0, 9), [], "too late");
    assert_eq!(ended(&mut dialer, 0), []);

    assert_eq!(want(&mut dialer, 2), [started(2)]);
    dialer.remove(PEER);
    assert_eq!(drain(&mut dialer), [Output::Drop(ConnectionNumber(2)), failed(2, DialError::Removed)]);
    assert!(dialer.peers.is_empty() && dialer.devices.is_empty());
}

#[test]
fn connections_and_wishes_are_bounded() {
    let mut dialer = Dialer::new(OWN);
    for _ in 0..MAX_CONNECTIONS_PER_DEVICE {
        assert!(dialer.incoming_attempt(PEER).is_some());
    }
    assert_eq!(dialer.incoming_attempt(PEER), None);
    for ticket in 0..u64::try_from(MAX_WAITING).unwrap() {
        assert_eq!(want(&mut dialer, ticket), [], "waits for the attempts of the device");
    }
    assert_eq!(want(&mut dialer, 9999), [failed(9999, DialError::TooManyWaiting)]);
    for number in 0..=255_u8 {
        dialer.incoming_attempt(DeviceId([number; 32]));
    }
    for number in 0..=255_u8 {
        let mut id = [9; 32];
        id[0] = number;
        dialer.incoming_attempt(DeviceId(id));
    }
    assert_eq!(dialer.incoming.len(), MAX_INCOMING_ATTEMPTS);
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Want,
    Incoming,
    Ready(u64),
    Fail(u64),
    End(u64),
    Answer(u64),
    Remove,
}

fn action() -> impl Strategy<Value = Action> {
    let number = 0..12_u64;
    prop_oneof![
        Just(Action::Want),
        Just(Action::Incoming),
        number.clone().prop_map(Action::Ready),
        number.clone().prop_map(Action::Fail),
        number.clone().prop_map(Action::End),
        number.prop_map(Action::Answer),
        Just(Action::Remove),
    ]
}

proptest! {
    #[test]
    fn every_wish_is_pending_or_settled_once_and_asked_at_most_twice(
        actions in prop::collection::vec(action(), 0..60),
    ) {
        let mut dialer = Dialer::new(OWN);
        let mut pending: BTreeMap<Ticket, usize> = BTreeMap::new();
        let mut next = 0;
        for action in actions {
            match action {
                Action::Want => {
                    let ticket = Ticket(next);
                    next += 1;
                    pending.insert(ticket, 0);
                    dialer.connect(ticket, PEER, "x".into(), String::new());
                }
                Action::Incoming => drop(dialer.incoming_attempt(PEER)),
                Action::Ready(it) => dialer.attempt_ready(ConnectionNumber(it), RequestId(it % 5)),
                Action::Fail(it) => dialer.attempt_failed(ConnectionNumber(it), &AttemptError::Checks),
                Action::End(it) => {
                    // Only sockets end; attempts fail.
                    let number = ConnectionNumber(it);
                    if dialer.peers.get(&PEER).is_some_and(|peer| peer.sockets.iter().any(|it| it.1 == number)) {
                        dialer.socket_ended(number);
                    }
                }
                Action::Answer(it) => {
                    if pending.get(&Ticket(it)).is_some_and(|asked| *asked > 0) {
                        dialer.channel_answered(PEER, Ticket(it));
                        pending.remove(&Ticket(it));
                    }
                }
                Action::Remove => dialer.remove(PEER),
            }
            for output in drain(&mut dialer) {
                match output {
                    Output::OpenChannel { ticket, .. } => {
                        let asked = pending.get_mut(&ticket).unwrap();
                        *asked += 1;
                        prop_assert!(*asked <= 2);
                    }
                    Output::Failed { ticket, .. } => prop_assert!(pending.remove(&ticket).is_some()),
                    _ => {}
                }
            }
            let held = dialer.peers.values().map(|peer| peer.waiting.len() + peer.asked.len()).sum::<usize>();
            prop_assert_eq!(held, pending.len(), "nothing is lost, nothing leaks");
            let waiting_in_vain = dialer
                .peers
                .values()
                .any(|peer| peer.attempts.is_empty() && !peer.waiting.is_empty());
            prop_assert!(!waiting_in_vain);
            let connections = dialer.peers.values().map(Peer::connection_count).sum::<usize>();
            prop_assert_eq!(connections, dialer.devices.len());
        }
    }
}
