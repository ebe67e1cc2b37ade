//! The stream against a peer that writes frames by hand.

use skep_protocol::link::framing::{FrameReader, write_frames};
use skep_protocol::link::ice_text::Credentials;
use skep_protocol::link::stun::{
    Attribute, BINDING_INDICATION, BINDING_REQUEST, BINDING_SUCCESS, ICE_CONTROLLING, PRIORITY, USERNAME,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::super::ice::IceRole;
use super::*;

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4711);

fn stream_over<S: AsyncRead + AsyncWrite + Unpin>(socket: S) -> IceStream<S> {
    let local = Credentials { ufrag: "ours".to_owned(), password: "our password".to_owned() };
    let responder = BindingResponder::new(IceRole::Controlled, local);
    IceStream::new(FramedSocket::new(socket), PEER, responder, EarlyData::default())
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_frames(payload, &mut out);
    out
}

fn check() -> Vec<u8> {
    let mut check = Message::new(BINDING_REQUEST, [7; 12]);
    check.push(Attribute::new(PRIORITY, [0, 0, 0, 1]));
    check.push(Attribute::new(ICE_CONTROLLING, [1; 8]));
    check.push(Attribute::new(USERNAME, "ours:theirs"));
    check.add_integrity("our password");
    check.add_fingerprint();
    check.encode()
}

fn sample(length: usize) -> Vec<u8> {
    (0..length).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect()
}

async fn next_frame(socket: &mut DuplexStream, reader: &mut FrameReader) -> Frame {
    loop {
        let byte = [socket.read_u8().await.unwrap()];
        if let Some(frame) = reader.next(&mut &byte[..]) {
            return frame;
        }
    }
}

#[tokio::test]
async fn the_stream_is_the_same_however_tcp_cuts_it_and_whatever_stun_is_in_it() {
    for (segment, length) in [(1, 30_000), (1447, 1024 * 1024), (64 * 1024, 1024 * 1024)] {
        let data = sample(length);
        let (head, tail) = data.split_at(length / 3);
        let mut wire = framed(head);
        wire.extend(framed(&Message::binding_indication([3; 12]).encode()));
        wire.extend([0, 0]);
        wire.extend(tail.chunks(777).flat_map(framed));
        let (socket, mut peer) = duplex(segment);
        let mut stream = stream_over(socket);
        let mut received = Vec::new();
        let (written, read) = tokio::join!(
            async {
                peer.write_all(&wire).await?;
                peer.shutdown().await
            },
            stream.read_to_end(&mut received)
        );
        written.unwrap();
        read.unwrap();
        assert!(received == data, "segments of {segment}");
    }
}

#[tokio::test]
async fn what_is_written_arrives_in_frames() {
    let (socket, mut peer) = duplex(1447);
    let mut stream = stream_over(socket);
    let data = sample(200_000);
    let receiving = async {
        let (mut reader, mut received) = (FrameReader::default(), Vec::new());
        while received.len() < data.len() {
            let Frame::Data(piece) = next_frame(&mut peer, &mut reader).await else { panic!("STUN") };
            received.extend(piece);
        }
        received
    };
    let sending = async {
        stream.write_all(&data).await?;
        stream.flush().await
    };
    let (sent, received) = tokio::join!(sending, receiving);
    sent.unwrap();
    assert!(received == data);
}

#[tokio::test]
async fn impatient_readers_and_writers_lose_nothing() {
    let (left, right) = duplex(100);
    let (mut left, mut right) = (stream_over(left), stream_over(right));
    let data = sample(100_000);
    let writing = async {
        let mut rest = &data[..];
        while !rest.is_empty() {
            // Every second attempt is given up when the pipe is full.
            if let Ok(taken) = timeout(Duration::ZERO, left.write(rest)).await {
                rest = &rest[taken.unwrap()..];
            }
            let _ = timeout(Duration::ZERO, left.flush()).await;
        }
        left.shutdown().await.unwrap();
    };
    let reading = async {
        let mut received = Vec::new();
        let mut piece = [0; 313];
        loop {
            match timeout(Duration::ZERO, right.read(&mut piece)).await {
                Ok(Ok(0)) => return received,
                Ok(count) => received.extend_from_slice(&piece[..count.unwrap()]),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let ((), received) = tokio::join!(writing, reading);
    assert!(received == data);
}

#[tokio::test]
async fn both_directions_may_be_full_at_once() {
    let (left, right) = duplex(1000);
    let data = sample(500_000);
    let exchange = |socket| async {
        let (mut reader, mut writer) = split(stream_over(socket));
        let mut received = vec![0; data.len()];
        let to_send = data.clone();
        let sending = tokio::spawn(async move {
            writer.write_all(&to_send).await?;
            writer.flush().await?;
            Ok::<_, io::Error>(writer)
        });
        reader.read_exact(&mut received).await.unwrap();
        (received, sending.await.unwrap().unwrap())
    };
    let ((from_right, _left), (from_left, _right)) = tokio::join!(exchange(left), exchange(right));
    assert!(from_right == data && from_left == data);
}

#[tokio::test]
async fn a_peer_that_does_not_read_makes_us_wait() {
    let (socket, _peer) = duplex(1000);
    let mut stream = stream_over(socket);
    let mut taken = 0;
    while let Ok(count) = timeout(Duration::ZERO, stream.write(&[0; 10_000])).await {
        taken += count.unwrap();
    }
    assert!(taken < 200_000, "{taken}");
}

#[tokio::test]
async fn a_peer_that_asks_and_does_not_read_gets_no_more_than_a_bounded_backlog() {
    let (socket, mut peer) = duplex(1000);
    let mut stream = stream_over(socket);
    let asking = async {
        for _ in 0..20_000 {
            peer.write_all(&framed(&check())).await.unwrap();
        }
        peer.write_all(&framed(b"!")).await.unwrap();
    };
    let ((), byte) = tokio::join!(asking, stream.read_u8());
    assert_eq!(byte.unwrap(), b'!');
    peer.shutdown().await.unwrap();
    let mut answers = Vec::new();
    let (_, ended) = tokio::join!(stream.shutdown(), peer.read_to_end(&mut answers));
    ended.unwrap();
    assert!(answers.len() < 400_000, "{}", answers.len());
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_sends_an_indication_every_twenty_to_twenty_four_seconds() {
    let (socket, mut peer) = duplex(1000);
    let mut stream = stream_over(socket);
    let (mut reader, mut last) = (FrameReader::default(), Instant::now());
    let watching = async {
        for _ in 0..10 {
            let Frame::Stun(bytes) = next_frame(&mut peer, &mut reader).await else { panic!("data") };
            let message = Message::decode(&bytes).unwrap();
            assert_eq!((message.kind, message.attributes().len()), (BINDING_INDICATION, 1));
            message.verify_fingerprint().unwrap();
            assert!((20..=24).contains(&last.elapsed().as_secs()), "{:?}", last.elapsed());
            last = Instant::now();
        }
    };
    tokio::select! {
        () = watching => {}
        byte = stream.read_u8() => panic!("{byte:?}"),
    }
}

#[tokio::test]
async fn checks_are_answered_and_other_stun_is_ignored() {
    let (socket, mut peer) = duplex(10_000);
    let mut stream = stream_over(socket);
    let mut stranger = check();
    stranger[30] ^= 1;
    for message in [stranger, Message::binding_indication([1; 12]).encode(), check()] {
        peer.write_all(&framed(&message)).await.unwrap();
    }
    let mut reader = FrameReader::default();
    tokio::select! {
        Frame::Stun(answer) = next_frame(&mut peer, &mut reader) => {
            let answer = Message::decode(&answer).unwrap();
            assert_eq!((answer.kind, answer.transaction), (BINDING_SUCCESS, [7; 12]));
            assert_eq!(answer.mapped_address(), Ok(PEER));
        }
        byte = stream.read_u8() => panic!("{byte:?}"),
    }
}

#[tokio::test]
async fn an_end_between_frames_is_the_end_and_one_inside_is_an_error() {
    for (wire, expected) in [
        (framed(b"whole"), Ok(())),
        ([framed(b"whole"), vec![0]].concat(), Err(io::ErrorKind::UnexpectedEof)),
        ([framed(b"whole"), vec![0, 9, 1, 2]].concat(), Err(io::ErrorKind::UnexpectedEof)),
    ] {
        let (socket, mut peer) = duplex(1000);
        let mut stream = stream_over(socket);
        peer.write_all(&wire).await.unwrap();
        drop(peer);
        let mut received = Vec::new();
        let ended = stream.read_to_end(&mut received).await;
        assert_eq!(ended.map(drop).map_err(|error| error.kind()), expected);
        assert_eq!(received, b"whole");
    }
}

#[tokio::test]
async fn a_reset_connection_is_an_error() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (ours, theirs) = tokio::join!(connecting, listener.accept());
    let mut stream = stream_over(ours.unwrap());
    let (peer, _) = theirs.unwrap();
    // Closing without lingering resets the connection.
    peer.set_zero_linger().unwrap();
    drop(peer);
    let mut received = Vec::new();
    let error = stream.read_to_end(&mut received).await.map(drop);
    assert_eq!(error.map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionReset));
}
