//! A `sip` channel: what comes on it is read in one place, whoever has opened it (`spec: calls 2`).
//!
//! ```text
//!   channel ──► read_notices ──► texts of 2023           LinkEvent::Notice, answered at once
//!                             └► all else: calls         LinkEvent::Sip, with the line to answer over
//! ```

use std::sync::{Arc, Weak};

use bytes::Bytes;
use skep_protocol::ids::{AccountId, DeviceId};
use tokio::sync::{Semaphore, watch};

use super::channel::{Channel, ChannelEnd, ChannelReceiver, ChannelSender};
use super::connection::Remote;
use super::dialect::Dialect;
use super::hearing::{NOTICE_PLACES, read_notices};
use super::messages::LinkEvent;
use crate::supervision::Outlet;

/// One `sip` channel of a device, to be written to. The channel is closed when nobody holds it any more.
#[derive(Clone, Debug)]
pub struct SipLine {
    /// The device at the other end.
    pub device: DeviceId,
    /// Whose device it is.
    pub account: AccountId,
    sender: Arc<ChannelSender>,
    ended: watch::Receiver<()>,
}

impl SipLine {
    /// The line of a channel, and what has to be held as long as it is read.
    pub(super) fn new(remote: Remote, sender: &Arc<ChannelSender>) -> (Self, watch::Sender<()>) {
        let (reading, ended) = watch::channel(());
        let sender = Arc::clone(sender);
        (Self { device: remote.device, account: remote.account, sender, ended }, reading)
    }

    /// A channel that we have opened, and what reads it.
    pub(crate) fn open(channel: Channel) -> (Self, LineReader) {
        let Channel { device, account, sender, receiver, .. } = channel;
        let (remote, sender) = (Remote { device, account }, Arc::new(sender));
        let (line, reading) = Self::new(remote, &sender);
        let reader = LineReader { receiver, line: line.read(), reading };
        (line, reader)
    }

    /// The line for whoever reads it.
    pub(super) fn read(&self) -> ReadLine {
        let Self { device, account, sender, ended } = self;
        ReadLine { device: *device, account: *account, sender: Arc::downgrade(sender), ended: ended.clone() }
    }

    /// Writes one message.
    ///
    /// # Errors
    /// When the channel is gone.
    pub async fn send(&self, message: Bytes) -> Result<(), ChannelEnd> {
        self.sender.send(message).await
    }

    /// Returns when nothing more will come.
    pub async fn ended(mut self) {
        while self.ended.changed().await.is_ok() {}
    }
}

/// A line as whoever reads it knows it: it does not keep the channel open.
#[derive(Clone, Debug)]
pub(super) struct ReadLine {
    pub(super) device: DeviceId,
    pub(super) account: AccountId,
    sender: Weak<ChannelSender>,
    ended: watch::Receiver<()>,
}

impl ReadLine {
    /// The line to answer over, while anybody holds it.
    pub(super) fn answering(&self) -> Option<SipLine> {
        let Self { device, account, sender, ended } = self;
        Some(SipLine { device: *device, account: *account, sender: sender.upgrade()?, ended: ended.clone() })
    }
}

/// Reads a channel that we have opened, as long as anybody holds its line: a call, or several.
#[derive(Debug)]
pub struct LineReader {
    receiver: ChannelReceiver,
    line: ReadLine,
    reading: watch::Sender<()>,
}

impl LineReader {
    /// Reads to the end of the channel, and tells what comes.
    pub(crate) async fn read(mut self, events: Outlet<LinkEvent>) {
        let places = Arc::new(Semaphore::new(NOTICE_PLACES));
        let _reading = self.reading;
        read_notices(&mut self.receiver, &self.line, Dialect::Sip, &events, &places).await;
    }
}
