//! What tests of conversations need: somebody who makes them, with a recorded key.

use std::sync::Arc;

use bytes::Bytes;
use skep_protocol::identity::DeviceIdentity;
use skep_protocol::ids::{AccountId, CommitId, DeviceId};
use skep_protocol::swarm::object::{NewObject, ObjectKind, UnsignedCommit};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::founder::Founder;
use super::repository::Repository;
use crate::peer::channel::Outbound;
use crate::peer::messages::{Channel, ChannelReceiver, ChannelSender};
use crate::recorded::{NOW, Recorded};

/// Alice, on her device.
pub(super) fn founder() -> Founder {
    let identity = Recorded::new("newest", "alice").identity();
    Founder { identity: Arc::new(identity), name: "Alice".to_owned(), now: NOW }
}

/// Writes a text past all rules, as a changed program would, and moves the head to it.
pub(super) fn forge(repository: &Repository, author: &DeviceIdentity, seconds: i64, body: &str) -> CommitId {
    let head = repository.head().unwrap().unwrap();
    let commit = UnsignedCommit {
        tree: repository.commit_at(head).unwrap().tree,
        parents: vec![head],
        name: "forger".to_owned(),
        device: author.device_id(),
        seconds,
        message: format!(r#"{{"body":"{body}","type":"text/plain"}}"#).into_bytes(),
    };
    let commit = commit.sign(author.key()).unwrap();
    let object = NewObject { kind: ObjectKind::Commit, id: commit.id.0, content: commit.content };
    repository.write_objects(&[object]).unwrap();
    repository.move_main(Some(head), commit.id).unwrap();
    commit.id
}

/// The other end of a channel, at which nobody is unless the test plays it.
pub(crate) struct Silent {
    pub(crate) outbound: mpsc::Receiver<Outbound>,
    pub(crate) inbound: mpsc::Sender<Bytes>,
}

/// A channel that takes `room` frames until the peer reads.
pub(crate) fn channel(account: AccountId, device: DeviceId, room: usize) -> (Channel, Silent) {
    let (outbound_sender, outbound) = mpsc::channel(room);
    let (inbound_sender, inbound) = mpsc::channel(64);
    let bulk = outbound_sender.clone();
    let sender =
        ChannelSender { number: 1, outbound: outbound_sender, bulk, open: inbound_sender.downgrade() };
    let receiver = ChannelReceiver { inbound, end: Arc::default() };
    let channel = Channel { name: String::new(), device, account, sender, receiver };
    (channel, Silent { outbound, inbound: inbound_sender })
}

/// The two ends of a channel, each with who is at the other one, and what carries the bytes between them:
/// it is lost when that is aborted.
pub(super) fn channel_pair(peers: [(AccountId, DeviceId); 2]) -> ([Channel; 2], [AbortHandle; 2]) {
    let [(ours, from_us), (theirs, from_them)] = peers.map(|(account, device)| channel(account, device, 64));
    let pump = |mut from: mpsc::Receiver<Outbound>, to: mpsc::Sender<Bytes>| {
        let pump = tokio::task::spawn_local(async move {
            while let Some(Outbound::Data { bytes, .. }) = from.recv().await {
                if to.send(bytes).await.is_err() {
                    return;
                }
            }
        });
        pump.abort_handle()
    };
    let pumps = [pump(from_us.outbound, from_them.inbound), pump(from_them.outbound, from_us.inbound)];
    ([ours, theirs], pumps)
}
