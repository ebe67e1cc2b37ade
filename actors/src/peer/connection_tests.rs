//! Two connection tasks over a pipe, in virtual time.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use skep_protocol::time::UnixMillis;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

use super::*;

const DEVICE: DeviceId = DeviceId([7; 32]);

/// How long a channel is asked for, from the start of a test on.
const PATIENCE_OF_ASKER: Duration = Duration::from_secs(30);

struct Side {
    handle: ConnectionHandle,
    task: JoinHandle<ShutdownReason>,
}

impl Side {
    fn start(stream: DuplexStream, role: Role) -> Self {
        let remote = Remote { device: DEVICE, account: AccountId([8; 20]) };
        let environment = Environment::single_thread(UnixMillis(0), 1);
        let (handle, run) = connection(stream, role, remote, environment);
        Self { handle, task: tokio::spawn(run) }
    }

    async fn open(&self, name: &str) -> Result<Channel, LinkError> {
        let (reply, answer) = oneshot::channel();
        let patience = Patience::Channel(Moment(PATIENCE_OF_ASKER));
        let open = Command::Open { name: name.to_owned(), patience, reply };
        self.handle.commands.send(open).await.unwrap();
        answer.await.unwrap_or(Err(LinkError::Lost(DEVICE)))
    }

    async fn accept(&mut self) -> Channel {
        self.handle.offers.recv().await.unwrap().accept().await.unwrap()
    }
}

fn pair() -> (Side, Side) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    (Side::start(ours, Role::Requester), Side::start(theirs, Role::Responder))
}

async fn channel(ours: &Side, theirs: &mut Side) -> (Channel, Channel) {
    let (opened, accepted) = tokio::join!(ours.open("test"), theirs.accept());
    (opened.unwrap(), accepted)
}

/// Reads `length` bytes, however they are cut.
async fn read(channel: &mut Channel, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        bytes.extend_from_slice(&channel.receiver.receive().await.unwrap());
    }
    bytes
}

#[tokio::test(start_paused = true)]
async fn bytes_go_both_ways_and_a_dropped_channel_ends_in_order() {
    let (ours, mut theirs) = pair();
    let (mut ours_end, mut theirs_end) = channel(&ours, &mut theirs).await;
    assert_eq!((ours_end.name.as_str(), theirs_end.name.as_str()), ("test", "test"));
    let long: Vec<u8> = (0..200_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let (sent, received) =
        tokio::join!(ours_end.sender.send(Bytes::from(long.clone())), read(&mut theirs_end, long.len()));
    sent.unwrap();
    assert_eq!(received, long);
    theirs_end.sender.send(Bytes::from_static(b"answer")).await.unwrap();
    assert_eq!(read(&mut ours_end, 6).await, b"answer");
    drop(ours_end);
    assert_eq!(theirs_end.receiver.receive().await, Err(ChannelEnd::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_offer_declines_its_channel_alone() {
    let (ours, mut theirs) = pair();
    let open = ours.open("unwanted");
    let decline = async { drop(theirs.handle.offers.recv().await.unwrap()) };
    let (opened, ()) = tokio::join!(open, decline);
    assert_eq!(opened.unwrap_err(), LinkError::Declined { device: DEVICE, name: "unwanted".to_owned() });
    channel(&ours, &mut theirs).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_not_an_orderly_end() {
    let (stream, broken) = tokio::io::duplex(1024);
    let ours = Side::start(stream, Role::Requester);
    let opening = ours.open("test");
    let lose = async { drop(broken) };
    let (opened, ()) = tokio::join!(opening, lose);
    assert_eq!(opened.unwrap_err(), LinkError::Lost(DEVICE));
    assert!(matches!(
        ours.task.await.unwrap(),
        ShutdownReason::EndOfStream | ShutdownReason::TransportFailed
    ));
}

#[tokio::test(start_paused = true)]
async fn a_user_that_does_not_read_loses_its_channel_and_holds_up_nobody() {
    let (ours, mut theirs) = pair();
    let (slow_sender, slow) = channel(&ours, &mut theirs).await;
    let (quick_sender, mut quick) = channel(&ours, &mut theirs).await;
    for _ in 0..RECEIVE_QUEUE + 1 {
        slow_sender.sender.send(Bytes::from_static(b"unread")).await.unwrap();
    }
    quick_sender.sender.send(Bytes::from_static(b"read")).await.unwrap();
    let started = Instant::now();
    assert_eq!(read(&mut quick, 4).await, b"read");
    assert!(started.elapsed() <= PATIENCE + Duration::from_millis(10));
    drop(slow);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_a_request_costs_that_channel_only() {
    let (ours, mut theirs) = pair();
    let (mut ours_end, theirs_end) = channel(&ours, &mut theirs).await;
    let started = Instant::now();
    let (opened, unanswered) = tokio::join!(ours.open("unanswered"), theirs.handle.offers.recv());
    assert_eq!(opened.unwrap_err(), LinkError::Deadline(DEVICE));
    assert!(started.elapsed() <= PATIENCE_OF_ASKER + Duration::from_millis(10));
    // An answer that comes too late opens nothing on either side.
    let late = unanswered.unwrap().accept().await;
    if let Ok(mut late) = late {
        assert_eq!(late.receiver.receive().await, Err(ChannelEnd::Closed));
    }
    theirs_end.sender.send(Bytes::from_static(b"still there")).await.unwrap();
    assert_eq!(read(&mut ours_end, 11).await, b"still there");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_channel_waits_for_no_reader() {
    let (ours, mut theirs) = pair();
    let (full, mut unread) = channel(&ours, &mut theirs).await;
    for _ in 0..RECEIVE_QUEUE {
        full.sender.send(Bytes::from_static(b"unread")).await.unwrap();
    }
    drop(full);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let started = Instant::now();
    drop(ours.handle);
    assert_eq!(theirs.task.await.unwrap(), ShutdownReason::EndOfStream);
    assert!(started.elapsed() < PATIENCE);
    assert_eq!(read(&mut unread, RECEIVE_QUEUE * 6).await.len(), RECEIVE_QUEUE * 6);
    assert_eq!(unread.receiver.receive().await, Err(ChannelEnd::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_makes_senders_wait() {
    let (stream, mut peer) = tokio::io::duplex(1024);
    let ours = Side::start(stream, Role::Requester);
    let accept = async {
        // Accepts the first channel and then reads no more.
        let mut request = [0; 64];
        let length = tokio::io::AsyncReadExt::read(&mut peer, &mut request).await.unwrap();
        assert!(length > 0);
        let accept = [0x92, 0x00, 0xc4, 0x0a, 0x93, 0xa4, b't', b'e', b's', b't', 0xcd, 0x80, 0x00, 0x01];
        peer.write_all(&accept).await.unwrap();
    };
    let (opened, ()) = tokio::join!(ours.open("test"), accept);
    let opened = opened.unwrap();
    let flood = async {
        let mut sent = 0;
        loop {
            opened.sender.send(Bytes::from(vec![0; 60_000])).await.unwrap();
            sent += 60_000;
            assert!(sent < 2 * (WRITE_BUFFER + OUTBOUND_QUEUE * 60_000));
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), flood).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_beacon_ends_the_connection() {
    let (stream, mut silent) = tokio::io::duplex(1024);
    let ours = Side::start(stream, Role::Requester);
    // The peer says that it understands beacons, and nothing more.
    silent.write_all(&[0x92, 0xcd, 0xff, 0xff, 0xc4, 0x04, 0x81, 0xa1, 0x76, 0x01]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    ours.handle.commands.send(Command::Beacon).await.unwrap();
    assert_eq!(ours.task.await.unwrap(), ShutdownReason::BeaconUnanswered);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_handle_ends_the_connection_in_order() {
    let (ours, mut theirs) = pair();
    let (_kept, mut theirs_end) = channel(&ours, &mut theirs).await;
    drop(ours.handle);
    assert_eq!(ours.task.await.unwrap(), ShutdownReason::Local);
    assert_eq!(theirs_end.receiver.receive().await, Err(ChannelEnd::Closed));
    assert_eq!(theirs.task.await.unwrap(), ShutdownReason::EndOfStream);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_asks_and_does_not_read_is_not_read_from_without_end() {
    let (stream, mut peer) = tokio::io::duplex(1024);
    let _ours = Side::start(stream, Role::Requester);
    let beacon = [0x92, 0xcd, 0xff, 0xff, 0xc4, 0x04, 0x81, 0xa1, 0x70, 0xc3].repeat(1000);
    let flood = async {
        for _ in 0..4 * ANSWER_BUFFER / beacon.len() {
            peer.write_all(&beacon).await.unwrap();
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), flood).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_sender_learns_that_the_peer_closed_its_channel() {
    let (ours, mut theirs) = pair();
    let (mut ours_end, theirs_end) = channel(&ours, &mut theirs).await;
    drop(theirs_end);
    assert_eq!(ours_end.receiver.receive().await, Err(ChannelEnd::Closed));
    assert_eq!(ours_end.sender.send(Bytes::from_static(b"late")).await, Err(ChannelEnd::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_file_lets_messages_go_first() {
    let (ours, mut theirs) = pair();
    let (file, mut file_end) = channel(&ours, &mut theirs).await;
    let (message, mut message_end) = channel(&ours, &mut theirs).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let (sender, counter) = (file.sender.yielding(), Arc::clone(&sent));
    let sending = tokio::spawn(async move {
        while sender.send(Bytes::from(vec![1; 60_000])).await.is_ok() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    // Until every queue on the way is full.
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    let before = sent.load(Ordering::Relaxed);
    message.sender.send(Bytes::from_static(b"now")).await.unwrap();
    let mut read = 0;
    let arrived = loop {
        tokio::select! {
            biased;
            arrived = message_end.receiver.receive() => break arrived,
            block = file_end.receiver.receive() => {
                assert_eq!(block.unwrap().len(), 60_000);
                read += 1;
            }
        }
    };
    assert_eq!(arrived.unwrap(), "now");
    assert!(read + BULK_QUEUE <= before, "{read} of {before} blocks came before the message");
    sending.abort();
}
