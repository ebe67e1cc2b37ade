//! What tests of conversations need: somebody who makes them, with a recorded key.

use std::sync::Arc;

use bytes::Bytes;
use skep_protocol::ids::{AccountId, DeviceId};
use tokio::sync::mpsc;

use super::founder::Founder;
use crate::peer::channel::Outbound;
use crate::peer::messages::{Channel, ChannelReceiver, ChannelSender};
use crate::recorded::{NOW, Recorded};

/// Alice, on her device.
pub(super) fn founder() -> Founder {
    let identity = Recorded::new("newest", "alice").identity();
    Founder { identity: Arc::new(identity), name: "Alice".to_owned(), now: NOW }
}

/// The other end of a channel, at which nobody is unless the test plays it.
pub(super) struct Silent {
    pub(super) outbound: mpsc::Receiver<Outbound>,
    pub(super) inbound: mpsc::Sender<Bytes>,
}

/// A channel that takes `room` frames until the peer reads.
pub(super) fn channel(account: AccountId, device: DeviceId, room: usize) -> (Channel, Silent) {
    let (outbound_sender, outbound) = mpsc::channel(room);
    let (inbound_sender, inbound) = mpsc::channel(64);
    let sender = ChannelSender { number: 1, outbound: outbound_sender, open: inbound_sender.downgrade() };
    let receiver = ChannelReceiver { inbound, end: Arc::default() };
    let channel = Channel { name: String::new(), device, account, sender, receiver };
    (channel, Silent { outbound, inbound: inbound_sender })
}
