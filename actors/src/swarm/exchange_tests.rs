//! Peers that stop talking in the middle of an exchange, in virtual time.

use skep_protocol::ids::{AccountId, BlobId, ObjectId};
use skep_protocol::swarm::git::download::{DownloadOutput, DownloadSession};
use skep_protocol::swarm::object::{EntryKind, NewObject, ObjectKind, Tree};
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::*;
use crate::peer::channel::Outbound;
use crate::recorded::NOW;
use crate::supervision::{Actor, Environment, Scope, start_root};
use crate::swarm::testing::{self, Silent, founder};

const PEER: DeviceId = DeviceId([7; 32]);
const CONTACT: AccountId = AccountId([8; 20]);

/// A channel to the contact that takes `room` frames until the peer reads.
fn channel(room: usize) -> (Channel, Silent) {
    testing::channel(CONTACT, PEER, room)
}

/// A new conversation with one commit.
fn conversation(folder: &Path) -> (ConversationId, Arc<Replica>) {
    let founder = founder();
    let id = founder.begin(folder, CONTACT, |_| false).unwrap();
    let (replica, _) = Replica::open(id, &folder.join(id.to_hex()), &founder).unwrap().unwrap();
    (id, replica)
}

/// Links that open nothing: a fetch over a channel given asks for no other.
struct NoLinks;

impl Actor for NoLinks {
    type Message = LinksMessage;
    const KIND: &'static str = "links";

    fn handle(&mut self, _: LinksMessage, _: &mut Scope<'_, Self>) {}
}

fn job(conversation: ConversationId, replica: Arc<Replica>, links: Port<LinksMessage>) -> FetchJob {
    FetchJob {
        replica,
        conversation,
        device: PEER,
        commit: None,
        links,
        pool: BlockingPool::new(2),
        share: Share(1),
        refused: HashSet::new(),
        now: NOW,
    }
}

/// Fetches over a channel; how it fails, and after how many seconds.
async fn fetch(conversation: ConversationId, replica: Arc<Replica>, channel: Channel) -> (Failure, u64) {
    let links = start_root(Environment::single_thread(NOW, 1), || NoLinks);
    let job = job(conversation, replica, links.port().clone());
    let begun = Instant::now();
    (job.fetch(channel, SILENCE).await.unwrap_err(), begun.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn the_server_hears_that_it_is_over_before_what_it_sent_is_validated() {
    let place = tempfile::tempdir().unwrap();
    let (id, replica, theirs) = copies(place.path());
    let (channel, mut silent) = channel(64);
    let test = async {
        let links = start_root(Environment::single_thread(NOW, 1), || NoLinks);
        let job = job(id, replica, links.port().clone());
        // All places of bulk work are taken.
        let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
        let mut busy = Box::pin(job.pool.run(Share(2), Lane::Bulk, move || _ = held.recv()));
        assert!((&mut busy).now_or_never().is_none());
        let mut fetch = pin!(job.fetch(channel, SILENCE));
        let told = async {
            play(&theirs, &mut silent, 2).await;
            silent.outbound.recv().await
        };
        let (told, fetch) = match select(pin!(told), &mut fetch).await {
            Either::Left((told, fetch)) => (told, fetch),
            Either::Right(_) => panic!("validated without a place"),
        };
        assert!(matches!(told, Some(Outbound::Data { bytes, .. }) if bytes == b"0000"[..]), "its last word");
        drop(release);
        busy.await.unwrap();
        let (channel, moved) = fetch.await.unwrap();
        assert!(channel.is_some() && moved.is_some_and(|moved| moved.adopted));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn a_kept_channel_that_is_served_no_more_costs_three_seconds() {
    let place = tempfile::tempdir().unwrap();
    let (id, replica) = conversation(place.path());
    let (channel, _silent) = channel(8);
    let fetch = async {
        let links = start_root(Environment::single_thread(NOW, 1), || NoLinks);
        let begun = Instant::now();
        let outcome = job(id, replica, links.port().clone()).run(Some(channel)).await;
        assert!(matches!(outcome, Outcome::NoChannel(_)), "another one is asked for");
        begun.elapsed().as_secs()
    };
    assert_eq!(LocalSet::new().run_until(fetch).await, SILENCE_OF_KEPT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up_after_half_a_minute() {
    let place = tempfile::tempdir().unwrap();
    let (id, replica) = conversation(place.path());
    let (channel, _silent) = channel(8);
    let (failure, seconds) = LocalSet::new().run_until(fetch(id, replica, channel)).await;
    assert!(matches!(failure.error, ReplicaError::Fetch(FetchError::Download(DownloadError::Vanished))));
    assert_eq!(seconds, SILENCE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_read_the_request_is_given_up_as_well() {
    let place = tempfile::tempdir().unwrap();
    let (id, replica) = conversation(place.path());
    let (channel, _silent) = channel(1);
    channel.sender.send(Bytes::from_static(b"what fills the link")).await.unwrap();
    let (failure, seconds) = LocalSet::new().run_until(fetch(id, replica, channel)).await;
    assert!(matches!(failure.error, ReplicaError::Fetch(FetchError::Download(DownloadError::Vanished))));
    assert_eq!(seconds, SILENCE.as_secs());
}

/// Plays the server of a fetch from `theirs`, as long as there is something to answer; the last word of the client
/// stays unread.
async fn play(theirs: &Repository, silent: &mut Silent, mut reads: usize) {
    let mut serve = Serve::default();
    while reads > 0 {
        let Some(Outbound::Data { bytes, .. }) = silent.outbound.recv().await else { return };
        reads -= 1;
        let mut step = serve.advance(theirs, &bytes).unwrap();
        loop {
            for answer in std::mem::take(&mut step.send) {
                silent.inbound.send(answer).await.unwrap();
            }
            if !step.more {
                break;
            }
            step = serve.advance(theirs, &[]).unwrap();
        }
    }
}

/// A copy of a conversation, and a second one whose history is longer by a message.
fn copies(place: &Path) -> (ConversationId, Arc<Replica>, Repository) {
    let (id, replica) = conversation(&place.join("ours"));
    let mut theirs = Repository::create(&place.join("theirs")).unwrap();
    let (mut fetch, mut serve) = (Fetch::new(id, PEER), Serve::default());
    let ours = Repository::open(&place.join("ours").join(id.to_hex())).unwrap();
    let mut answers = vec![Bytes::new()];
    let pack = loop {
        let mut requests = Vec::new();
        let mut done = None;
        for bytes in std::mem::take(&mut answers) {
            let step = fetch.advance(&theirs, &bytes).unwrap();
            requests.extend(step.send);
            done = done.or(step.done);
        }
        if let Some(Fetched::New(pack)) = done {
            break pack;
        }
        for request in requests {
            let mut step = serve.advance(&ours, &request).unwrap();
            answers.append(&mut step.send);
            while step.more {
                step = serve.advance(&ours, &[]).unwrap();
                answers.append(&mut step.send);
            }
        }
    };
    let new = pack.store(&theirs).unwrap();
    theirs.admit(new.quarantine).unwrap();
    theirs.move_main(None, new.head).unwrap();
    testing::forge(&theirs, &founder().identity, 1_900_000_000, "hello");
    (id, replica, theirs)
}

/// Serves a client that asks for the head and reads what comes if there is `room` for it, and then `more`;
/// after how many seconds the channel is closed.
async fn served_for(room: usize, more: &[&'static [u8]]) -> u64 {
    let place = tempfile::tempdir().unwrap();
    let (id, replica) = conversation(place.path());
    let (accept, accepted) = oneshot::channel();
    let offer = ChannelOffer { name: String::new(), device: PEER, account: CONTACT, accept };
    let (channel, silent) = channel(room);
    channel.sender.send(Bytes::from_static(b"what fills the link")).await.unwrap();
    let mut client = DownloadSession::new(id, PEER);
    let Ok(Some(DownloadOutput::Send(request))) = client.poll() else { panic!("no request") };
    silent.inbound.send(request).await.unwrap();
    for bytes in more {
        silent.inbound.send(Bytes::from_static(bytes)).await.unwrap();
    }
    let begun = Instant::now();
    let hand_over = async {
        let user: oneshot::Sender<Channel> = accepted.await.unwrap();
        user.send(channel).unwrap();
    };
    let (told, _told) = Outlet::channel("served", 8);
    let serving = serve(offer, replica, BlockingPool::new(2), Share(1), told, watch::channel(None).0);
    // A day: what is served for ever ends then.
    let a_day = Duration::from_secs(24 * 3600);
    let _ = tokio::time::timeout(a_day, async { tokio::join!(serving, hand_over) }).await;
    drop(silent);
    begun.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_what_it_asked_for_is_given_up_after_a_minute() {
    assert_eq!(served_for(1, &[]).await, SERVE_STALL.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_falls_silent_in_the_middle_of_a_session_is_given_up_after_a_minute() {
    assert_eq!(served_for(64, &[]).await, SERVE_STALL.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_channel_on_which_nothing_is_asked_stays_open() {
    assert_eq!(served_for(64, &[b"0000"]).await, 24 * 3600);
}

/// A fetch into `ours` that has received half of a pack, more than is kept in memory.
fn half_received(ours: &Repository, theirs: &Repository) -> Fetch {
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    let file = NewObject::new(ObjectKind::Blob, noise.take(6_000_000).collect::<Vec<u8>>()).unwrap();
    let mut root = Tree::default();
    root.put("file", EntryKind::File(BlobId(file.id))).unwrap();
    let root = NewObject::new(ObjectKind::Tree, root.to_bytes()).unwrap();
    let who = "n <e> 1 +0000";
    let first = format!("tree {}\nauthor {who}\ncommitter {who}\n\n", ObjectId(root.id));
    let first = NewObject::new(ObjectKind::Commit, first.into_bytes()).unwrap();
    let head = CommitId(first.id);
    theirs.write_objects(&[file, root, first]).unwrap();
    theirs.move_main(None, head).unwrap();
    let (mut fetch, mut serve) = (Fetch::new(ConversationId([1; 20]), PEER), Serve::default());
    let (mut answers, mut received) = (vec![Bytes::new()], 0);
    loop {
        let mut requests = Vec::new();
        for bytes in std::mem::take(&mut answers) {
            received += bytes.len();
            requests.extend(fetch.advance(ours, &bytes).unwrap().send);
            if received > 4_000_000 {
                return fetch;
            }
        }
        for request in requests {
            let mut step = serve.advance(theirs, &request).unwrap();
            answers.append(&mut step.send);
            while step.more {
                step = serve.advance(theirs, &[]).unwrap();
                answers.append(&mut step.send);
            }
        }
    }
}

#[tokio::test]
async fn what_a_failed_fetch_received_is_removed_by_the_pool() {
    let place = tempfile::tempdir().unwrap();
    let [ours, theirs] = ["ours", "theirs"].map(|name| Repository::create(&place.path().join(name)).unwrap());
    let (pool, share) = (BlockingPool::new(2), Share(1));
    let receiving = Receiving::new(half_received(&ours, &theirs), &pool, share);
    let files = || fs::read_dir(ours.path().join("quarantine")).unwrap().count();
    let (go, wait) = std::sync::mpsc::sync_channel::<()>(1);
    let mut busy = Box::pin(pool.run(share, Lane::Bulk, move || wait.recv()));
    assert!((&mut busy).now_or_never().is_none());
    drop(receiving);
    assert_eq!(files(), 1, "the pool is busy");
    drop(go);
    assert!(busy.await.unwrap().is_err());
    pool.run(share, Lane::Bulk, || ()).await.unwrap();
    assert_eq!(files(), 0);
}

#[test]
fn only_what_earlier_tries_to_clone_the_same_conversation_left_is_erased() {
    let place = tempfile::tempdir().unwrap();
    for name in ["aa", "aa.1.clone", "aa.2.clone", "aa.1.damaged", "ab.1.clone"] {
        fs::create_dir(place.path().join(name)).unwrap();
    }
    erase_clones(&place.path().join("aa")).unwrap();
    let mut left: Vec<_> = fs::read_dir(place.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["aa", "aa.1.damaged", "ab.1.clone"]);
}
