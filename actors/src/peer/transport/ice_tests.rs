//! Two agents on the loopback of this host, and agents against hand-made peers.

use std::net::{IpAddr, Ipv4Addr};

use skep_protocol::link::framing::{self, Frame, FrameReader, MAX_EARLY_DATA};
use skep_protocol::link::ice_text::{TcpType, Transport};
use skep_protocol::link::stun::{
    Attribute, BINDING_REQUEST, BINDING_SUCCESS, ICE_CONTROLLING, Message, PRIORITY, USE_CANDIDATE, USERNAME,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const LOOPBACK: GatherOptions = GatherOptions { include_loopback: true };

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn gather_pair() -> (IceAgent, IceAgent) {
    let gather = |role| IceAgent::gather(role, LOOPBACK).unwrap();
    (gather(IceRole::Controlling), gather(IceRole::Controlled))
}

/// The text of `agent` with the candidates that `keep` wants.
fn text_of(agent: &IceAgent, keep: impl Fn(&Candidate) -> bool) -> IceText {
    let mut text = agent.local_text().clone();
    text.candidates.retain(keep);
    text
}

fn is_passive(candidate: &Candidate) -> bool {
    candidate.transport == Transport::Tcp(TcpType::Passive)
}

/// Connects both agents. Whoever is done first serves its stream, for the other may need answers.
async fn connect(
    (controlling, text_for_controlled): (IceAgent, IceText),
    (controlled, text_for_controlling): (IceAgent, IceText),
) -> Result<(IceStream, IceStream), IceError> {
    let mut left = std::pin::pin!(controlling.connect(&text_for_controlling, soon()));
    let mut right = std::pin::pin!(controlled.connect(&text_for_controlled, soon()));
    tokio::select! {
        stream = &mut left => {
            let mut stream = stream?;
            let other = serve_until(&mut stream, right).await?;
            Ok((stream, other))
        }
        stream = &mut right => {
            let mut stream = stream?;
            let other = serve_until(&mut stream, left).await?;
            Ok((other, stream))
        }
    }
}

async fn serve_until<T>(stream: &mut IceStream, done: impl Future<Output = T>) -> T {
    tokio::select! {
        result = done => result,
        byte = stream.read_u8() => panic!("nothing was sent, and {byte:?} came"),
    }
}

async fn connected() -> (IceStream, IceStream) {
    let (controlling, controlled) = gather_pair();
    let (left, right) = (controlling.local_text().clone(), controlled.local_text().clone());
    connect((controlling, left), (controlled, right)).await.unwrap()
}

async fn assert_talking(left: &mut IceStream, right: &mut IceStream) {
    assert_heard(left, right).await;
    assert_heard(right, left).await;
}

async fn assert_heard(from: &mut IceStream, to: &mut IceStream) {
    from.write_all(b"hello").await.unwrap();
    from.flush().await.unwrap();
    let mut received = [0; 5];
    to.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"hello");
}

#[tokio::test]
async fn two_agents_meet_and_talk_over_either_address_family() {
    for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), "::1".parse().unwrap()] {
        let (controlling, controlled) = gather_pair();
        let only = |agent: &IceAgent| text_of(agent, |candidate| candidate.address == address);
        let (left, right) = (only(&controlling), only(&controlled));
        let (mut left, mut right) = connect((controlling, left), (controlled, right)).await.unwrap();
        assert_eq!(left.peer_address().ip(), address);
        assert_talking(&mut left, &mut right).await;
    }
}

#[tokio::test]
async fn all_candidates_together_lead_to_one_path() {
    let (mut left, mut right) = connected().await;
    assert_talking(&mut left, &mut right).await;
}

#[tokio::test]
async fn it_is_enough_that_one_side_can_be_reached() {
    for controlling_is_reachable in [true, false] {
        let (controlling, controlled) = gather_pair();
        let left = text_of(&controlling, |it| controlling_is_reachable || !is_passive(it));
        let right = text_of(&controlled, |it| !controlling_is_reachable || !is_passive(it));
        let (mut left, mut right) = connect((controlling, left), (controlled, right)).await.unwrap();
        assert_talking(&mut left, &mut right).await;
    }
}

#[tokio::test]
async fn forty_candidates_of_which_most_lead_nowhere_do_no_harm() {
    let (controlling, controlled) = gather_pair();
    let wanted = text_of(&controlled, |it| it.address.is_loopback());
    let mut lines = format!("{}\n{}\n", wanted.credentials.ufrag, wanted.credentials.password);
    // Addresses for documentation lead nowhere, port 1 of this host refuses, and the third is our own.
    let own = text_of(&controlling, |it| is_passive(it) && it.address.is_ipv4());
    for n in 0..12 {
        lines += &format!("S{n} 1 TCP 16777{n} 198.51.100.{n} 7 typ srflx tcptype passive\n");
        lines += &format!("H{n} 1 TCP 21306{n} 127.0.0.1 1 typ host tcptype passive\nnonsense {n}\n\n");
    }
    for candidate in wanted.candidates.iter().chain(&own.candidates) {
        lines = lines.replacen("nonsense", &format!("{candidate}\nmore nonsense"), 1);
    }
    let left = controlling.local_text().clone();
    let (mut left, mut right) =
        connect((controlling, left), (controlled, IceText::parse(&lines).unwrap())).await.unwrap();
    assert_talking(&mut left, &mut right).await;
}

#[tokio::test]
async fn the_controlling_side_need_not_wait_for_the_answer_to_reach_the_peer() {
    let (controlling, controlled) = gather_pair();
    let (left, right) = (controlling.local_text().clone(), controlled.local_text().clone());
    let mut left_stream = controlling.connect(&right, soon()).await.unwrap();
    left_stream.write_all(b"before you know it").await.unwrap();
    let mut right_stream = serve_until(&mut left_stream, controlled.connect(&left, soon())).await.unwrap();
    let mut received = [0; 18];
    right_stream.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"before you know it");
    assert_talking(&mut left_stream, &mut right_stream).await;
}

#[tokio::test]
async fn a_text_without_candidates_fails_at_once() {
    let (controlling, controlled) = gather_pair();
    let empty = text_of(&controlled, |_| false);
    let result = controlling.connect(&empty, soon()).await;
    assert!(matches!(result, Err(IceError::NoRemoteCandidate)), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_nobody_reaches_is_given_up_after_ten_seconds() {
    let (controlling, controlled) = gather_pair();
    let unreachable = text_of(&controlled, |it| !is_passive(it));
    let start = Instant::now();
    let result = controlling.connect(&unreachable, Instant::now() + Duration::from_secs(60)).await;
    assert!(matches!(result, Err(IceError::Unreachable)), "{result:?}");
    assert_eq!(start.elapsed().as_secs(), INCOMING_WAIT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_ends_at_its_deadline() {
    let (controlling, controlled) = gather_pair();
    let unreachable = text_of(&controlled, |it| !is_passive(it));
    let result = controlling.connect(&unreachable, Instant::now() + Duration::from_secs(1)).await;
    assert!(matches!(result, Err(IceError::TimedOut)), "{result:?}");
}

#[tokio::test]
async fn checks_with_a_wrong_password_lead_to_nothing() {
    let (controlling, controlled) = gather_pair();
    let (left, mut right) = (controlling.local_text().clone(), controlled.local_text().clone());
    right.credentials.password = "x".repeat(24);
    let brief = Instant::now() + Duration::from_millis(300);
    let result = tokio::join!(controlling.connect(&right, brief), controlled.connect(&left, brief));
    assert!(matches!(result, (Err(IceError::TimedOut), Err(IceError::TimedOut))), "{result:?}");
}

/// The address where `agent` listens.
fn listening_address(agent: &IceAgent) -> SocketAddr {
    let text = text_of(agent, |it| is_passive(it) && it.address == IpAddr::V4(Ipv4Addr::LOCALHOST));
    SocketAddr::new(text.candidates[0].address, text.candidates[0].port)
}

#[tokio::test]
async fn a_hundred_strangers_and_their_garbage_do_not_disturb_an_attempt() {
    let (controlling, controlled) = gather_pair();
    let address = listening_address(&controlled);
    let mut strangers = Vec::new();
    for n in 0..100_u8 {
        let mut stranger = TcpStream::connect(address).await.unwrap();
        let garbage: &[u8] = match n % 5 {
            0 => b"",
            1 => b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
            2 => &[0xff; 4000],
            3 => &[0, 4, 0x16, 3, 1, 0],
            _ => &[0, 20, 0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        };
        let _ = stranger.write_all(garbage).await;
        strangers.push(stranger);
    }
    let (left, right) = (controlling.local_text().clone(), controlled.local_text().clone());
    let (mut left, mut right) = connect((controlling, left), (controlled, right)).await.unwrap();
    assert_talking(&mut left, &mut right).await;
    for mut stranger in strangers {
        let answer = stranger.read_u8().await;
        assert!(answer.is_err(), "a stranger was closed without an answer, not {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_stranger_is_closed_in_time() {
    let (controlling, _) = gather_pair();
    let mut stranger = TcpStream::connect(listening_address(&controlling)).await.unwrap();
    let start = Instant::now();
    assert!(stranger.read_u8().await.is_err());
    assert!(start.elapsed() <= Duration::from_secs(6), "{:?}", start.elapsed());
}

/// A peer written by hand: it dials, checks, and nominates.
struct HandMadePeer {
    socket: TcpStream,
    reader: FrameReader,
    user_name: String,
    password: String,
}

impl HandMadePeer {
    async fn dial(agent: &IceAgent, own: &Credentials) -> Self {
        let socket = TcpStream::connect(listening_address(agent)).await.unwrap();
        let remote = &agent.local_text().credentials;
        let user_name = format!("{}:{}", remote.ufrag, own.ufrag);
        Self { socket, reader: FrameReader::default(), user_name, password: remote.password.clone() }
    }

    async fn send(&mut self, payload: &[u8]) {
        let mut framed = Vec::new();
        framing::write_frames(payload, &mut framed);
        self.socket.write_all(&framed).await.unwrap();
    }

    async fn check(&mut self, transaction: u8, nominate: bool) {
        let mut check = Message::new(BINDING_REQUEST, [transaction; 12]);
        check.push(Attribute::new(PRIORITY, [0x6e, 0, 0, 1]));
        if nominate {
            check.push(Attribute::new(USE_CANDIDATE, []));
        }
        check.push(Attribute::new(ICE_CONTROLLING, [1; 8]));
        check.push(Attribute::new(USERNAME, self.user_name.as_str()));
        check.add_integrity(&self.password);
        check.add_fingerprint();
        self.send(&check.encode()).await;
    }

    async fn frame(&mut self) -> Option<Frame> {
        loop {
            let mut byte = [0];
            if self.socket.read(&mut byte).await.unwrap() == 0 {
                return None;
            }
            if let Some(frame) = self.reader.next(&mut &byte[..]) {
                return Some(frame);
            }
        }
    }

    /// Answers checks until `stop` of them or of responses came; returns these.
    async fn serve(&mut self, own: &Credentials, stop: impl Fn(&Message) -> bool) -> Message {
        loop {
            let Some(Frame::Stun(bytes)) = self.frame().await else { panic!("no STUN message") };
            let message = Message::decode(&bytes).unwrap();
            if message.kind == BINDING_REQUEST {
                message.verify_integrity(&own.password).unwrap();
                let source = self.socket.peer_addr().unwrap();
                let answer =
                    Message::binding_success(message.transaction, source, "test", &own.password).encode();
                self.send(&answer).await;
            }
            if stop(&message) {
                return message;
            }
        }
    }
}

fn own_text() -> IceText {
    let candidate = Candidate::active(CandidateKind::Host, [127, 0, 0, 1].into(), [127, 0, 0, 1].into(), 0);
    IceText::new(Credentials::from_random(&[9; 24]), vec![candidate])
}

#[tokio::test]
async fn data_sent_before_the_nomination_is_delivered_after_it() {
    let agent = IceAgent::gather(IceRole::Controlled, LOOPBACK).unwrap();
    let own = own_text();
    let mut peer = HandMadePeer::dial(&agent, &own.credentials).await;
    let checking = async {
        peer.check(1, false).await;
        peer.serve(&own.credentials, |it| it.kind == BINDING_SUCCESS && it.transaction == [1; 12]).await;
        peer.send(&[0xaa; 40_000]).await;
        peer.send(&[0xbb; 40_000]).await;
        peer.check(2, true).await;
        let answer = peer.serve(&own.credentials, |it| it.transaction == [2; 12]).await;
        assert_eq!(answer.mapped_address().unwrap(), peer.socket.local_addr().unwrap());
        // The agent believes the nomination once a check of its own is answered.
        peer.serve(&own.credentials, |_| false).await
    };
    let mut stream = tokio::select! {
        stream = agent.connect(&own, soon()) => stream.unwrap(),
        message = checking => panic!("{message:?}"),
    };
    peer.send(&[0xcc; 10]).await;
    let mut received = vec![0; 80_010];
    stream.read_exact(&mut received).await.unwrap();
    let expected = [vec![0xaa; 40_000], vec![0xbb; 40_000], vec![0xcc; 10]].concat();
    assert!(received == expected);
}

#[tokio::test]
async fn a_peer_that_floods_before_the_nomination_loses_its_path() {
    let agent = IceAgent::gather(IceRole::Controlled, LOOPBACK).unwrap();
    let own = own_text();
    let mut peer = HandMadePeer::dial(&agent, &own.credentials).await;
    peer.check(1, false).await;
    peer.serve(&own.credentials, |it| it.kind == BINDING_SUCCESS).await;
    let mut framed = Vec::new();
    framing::write_frames(&vec![0xff; MAX_EARLY_DATA + 1], &mut framed);
    let _ = peer.socket.write_all(&framed).await;
    let mut rest = Vec::new();
    let ended = timeout_at(soon(), peer.socket.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the path is still open");
    assert_eq!(*agent.mux.live().borrow(), 0);
}

#[tokio::test]
async fn checks_on_the_chosen_path_are_answered_after_the_agent_is_gone() {
    let agent = IceAgent::gather(IceRole::Controlled, LOOPBACK).unwrap();
    let own = own_text();
    let mut peer = HandMadePeer::dial(&agent, &own.credentials).await;
    let connecting = async { agent.connect(&own, soon()).await.unwrap() };
    let nominating = async {
        peer.check(1, true).await;
        peer.serve(&own.credentials, |it| it.kind == BINDING_REQUEST).await;
    };
    let (mut stream, ()) = tokio::join!(connecting, nominating);
    peer.check(3, false).await;
    peer.send(b"data").await;
    let mut data = [0; 4];
    stream.read_exact(&mut data).await.unwrap();
    peer.serve(&own.credentials, |it| it.kind == BINDING_SUCCESS && it.transaction == [3; 12]).await;
}

#[tokio::test]
async fn connections_that_were_not_chosen_stay_open_until_the_stream_ends() {
    let agent = IceAgent::gather(IceRole::Controlled, LOOPBACK).unwrap();
    let own = own_text();
    let mut chosen = HandMadePeer::dial(&agent, &own.credentials).await;
    let mut other = HandMadePeer::dial(&agent, &own.credentials).await;
    let mut late = HandMadePeer::dial(&agent, &own.credentials).await;
    let connecting = async { agent.connect(&own, soon()).await.unwrap() };
    let nominating = async {
        other.check(1, false).await;
        other.serve(&own.credentials, |it| it.kind == BINDING_REQUEST).await;
        chosen.check(2, true).await;
        chosen.serve(&own.credentials, |it| it.kind == BINDING_REQUEST).await;
    };
    let (stream, ()) = tokio::join!(connecting, nominating);
    // A check that comes when all is decided still shows that it is the peer.
    late.check(3, false).await;
    late.serve(&own.credentials, |it| it.kind == BINDING_SUCCESS).await;
    for unused in [&mut other, &mut late] {
        let end = timeout(Duration::from_millis(20), async { while unused.frame().await.is_some() {} }).await;
        assert!(end.is_err(), "it was closed");
    }
    drop(stream);
    for unused in [&mut other, &mut late] {
        // It may be reset, too.
        let mut rest = [0; 64];
        let end = async { while unused.socket.read(&mut rest).await.is_ok_and(|length| length > 0) {} };
        timeout_at(soon(), end).await.expect("it is still open");
    }
}

#[tokio::test]
async fn an_established_connection_keeps_no_task_and_no_listener() {
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (controlling, controlled) = gather_pair();
    let address = listening_address(&controlling);
    let (left, right) = (controlling.local_text().clone(), controlled.local_text().clone());
    let (mut left, mut right) = connect((controlling, left), (controlled, right)).await.unwrap();
    while tokio::runtime::Handle::current().metrics().num_alive_tasks() > before {
        tokio::task::yield_now().await;
    }
    assert!(TcpStream::connect(address).await.is_err());
    assert_talking(&mut left, &mut right).await;
}

#[tokio::test]
async fn an_abandoned_attempt_leaves_nothing_behind() {
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (controlling, controlled) = gather_pair();
    let unreachable = text_of(&controlled, |it| !is_passive(it));
    let waiting = timeout(Duration::from_millis(50), controlling.connect(&unreachable, soon())).await;
    assert!(waiting.is_err());
    drop(controlled);
    while tokio::runtime::Handle::current().metrics().num_alive_tasks() > before {
        tokio::task::yield_now().await;
    }
}
