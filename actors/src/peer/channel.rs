//! A channel as its user holds it: a bounded byte pipe to an application on another device.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use skep_protocol::ids::{AccountId, DeviceId};
use tokio::sync::{mpsc, oneshot};

/// Frames a channel's receiver may lag behind before the link stops reading for it: 64 frames of at
/// most 64 KiB are 4 MiB.
pub(super) const RECEIVE_QUEUE: usize = 64;

/// The same for a file: what waits here, messages behind it wait for, too.
pub(super) const FILE_QUEUE: usize = 16;

/// How a channel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelEnd {
    /// One side closed it in order: what was received is complete.
    #[error("the channel was closed")]
    Closed,
    /// The link below it was lost: what was received may be cut short.
    #[error("the link to the device was lost")]
    Lost,
}

/// What a channel's sender hands to the link's task.
#[derive(Debug)]
pub(crate) enum Outbound {
    Data { channel: u16, bytes: Bytes },
    Close { channel: u16 },
}

/// The sending half. Dropping it closes the channel.
#[derive(Debug)]
pub struct ChannelSender {
    pub(crate) number: u16,
    pub(crate) outbound: mpsc::Sender<Outbound>,
    /// The queue of those that let others go first.
    pub(crate) bulk: mpsc::Sender<Outbound>,
    /// Held by the link's task as long as the channel is open: its number may be another's after.
    pub(crate) open: mpsc::WeakSender<Bytes>,
}

impl ChannelSender {
    /// Whether the channel can still be sent over, as far as is known.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.upgrade().is_some()
    }

    /// The same, which lets messages and other short channels of the link go first: for files. To be called
    /// before anything is sent.
    #[must_use]
    pub fn yielding(mut self) -> Self {
        // The mark of the end goes the same way, so that it comes last.
        self.outbound = self.bulk.clone();
        self
    }

    /// Sends bytes, waiting while the link is congested.
    ///
    /// # Errors
    /// [`ChannelEnd::Lost`] when the link is gone, [`ChannelEnd::Closed`] when the peer has closed
    /// the channel.
    pub async fn send(&self, bytes: Bytes) -> Result<(), ChannelEnd> {
        if !self.is_open() && !self.outbound.is_closed() {
            return Err(ChannelEnd::Closed);
        }
        let outbound = Outbound::Data { channel: self.number, bytes };
        self.outbound.send(outbound).await.map_err(|_| ChannelEnd::Lost)
    }
}

impl Drop for ChannelSender {
    fn drop(&mut self) {
        if !self.is_open() {
            return;
        }
        let close = Outbound::Close { channel: self.number };
        if let Err(mpsc::error::TrySendError::Full(close)) = self.outbound.try_send(close) {
            // The link is congested: the mark waits its turn in a task of its own, which ends with
            // the link at the latest.
            let outbound = self.outbound.clone();
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                drop(runtime.spawn(async move { outbound.send(close).await }));
            }
        }
    }
}

/// The receiving half.
#[derive(Debug)]
pub struct ChannelReceiver {
    pub(crate) inbound: mpsc::Receiver<Bytes>,
    /// How the channel ended, set before `inbound` ends; beside the queue, so that a full one does not
    /// hold it up.
    pub(crate) end: Arc<OnceLock<ChannelEnd>>,
}

impl ChannelReceiver {
    /// The next bytes, however they were cut on the way.
    ///
    /// # Errors
    /// How the channel ended, when it has, and nothing more is to come.
    pub async fn receive(&mut self) -> Result<Bytes, ChannelEnd> {
        let lost = || self.end.get().copied().unwrap_or(ChannelEnd::Lost);
        self.inbound.recv().await.ok_or_else(lost)
    }
}

/// An open channel.
#[derive(Debug)]
pub struct Channel {
    /// Its name, as requested.
    pub name: String,
    /// The device at the other end.
    pub device: DeviceId,
    /// Whose device it is.
    pub account: AccountId,
    /// The sending half.
    pub sender: ChannelSender,
    /// The receiving half.
    pub receiver: ChannelReceiver,
}

/// A channel that a peer asks for. Dropping the offer declines it.
#[derive(Debug)]
pub struct ChannelOffer {
    /// The name asked for.
    pub name: String,
    /// The device that asks.
    pub device: DeviceId,
    /// Whose device it is.
    pub account: AccountId,
    pub(crate) accept: oneshot::Sender<oneshot::Sender<Channel>>,
}

impl ChannelOffer {
    /// Accepts the channel.
    ///
    /// # Errors
    /// [`ChannelEnd::Lost`] when the link is gone meanwhile.
    pub async fn accept(self) -> Result<Channel, ChannelEnd> {
        let (sender, receiver) = oneshot::channel();
        self.accept.send(sender).map_err(|_| ChannelEnd::Lost)?;
        receiver.await.map_err(|_| ChannelEnd::Lost)
    }
}
