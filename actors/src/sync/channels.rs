//! The sync channels: one task for each, which reads and writes messages until it ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use skep_protocol::sync::SyncReader;
use tokio::sync::{Semaphore, mpsc};

use super::messages::{SyncActorMessage, SyncTold};
use crate::peer::messages::{Channel, ChannelSender};
use crate::supervision::{Outlet, Port};

/// Tellings that wait for a channel to take them. A device that reads so slowly is told anew over its
/// next channel.
const OUTBOX: usize = 16;

/// Longest time a device may take to read one message.
const STALL: Duration = Duration::from_secs(60);

/// Messages of one channel that may wait in the account at once.
const PLACES: usize = 1;

/// What is written as a whole.
#[derive(Debug)]
pub(super) struct Telling {
    pub(super) messages: Vec<Bytes>,
    /// What the device has heard of then.
    pub(super) version: Option<u64>,
}

/// An open channel. Dropping it closes it.
#[derive(Debug)]
pub(super) struct OpenChannel(mpsc::Sender<Telling>);

impl OpenChannel {
    /// The channel, and what is to be written into it, for [`run`].
    pub(super) fn new() -> (Self, mpsc::Receiver<Telling>) {
        let (outbox, tellings) = mpsc::channel(OUTBOX);
        (Self(outbox), tellings)
    }

    /// Tells something; false if the device does not read.
    pub(super) fn tell(&self, telling: Telling) -> bool {
        self.0.try_send(telling).is_ok()
    }
}

/// Runs a channel until either side closes it, or the device says what cannot be read.
pub(super) async fn run(
    channel: Channel,
    outbox: mpsc::Receiver<Telling>,
    actor: Port<SyncActorMessage>,
    account: Outlet<SyncTold>,
) {
    let Channel { device, sender, mut receiver, .. } = channel;
    let read = async {
        let (mut reader, places) = (SyncReader::default(), Arc::new(Semaphore::new(PLACES)));
        while let Ok(bytes) = receiver.receive().await {
            let mut rest: &[u8] = &bytes;
            loop {
                let (message, skipped) = match reader.next(&mut rest) {
                    Ok(Some(read)) => read,
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(device = %device.short(), %error, "a sync channel is closed");
                        return;
                    }
                };
                if skipped > 0 {
                    tracing::debug!(device = %device.short(), skipped, "entries of a sync message are left out");
                }
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                let message = Box::new(message);
                if account.send(SyncTold::Received { device, message, place }).await.is_err() {
                    return;
                }
            }
        }
    };
    let write = write_all(&sender, outbox, |version| {
        let actor = actor.clone();
        async move { actor.send(SyncActorMessage::Written { device, version }).await.is_ok() }
    });
    // Who is slow to read may still be heard, and the other way round.
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}

async fn write_all<F: Future<Output = bool>>(
    sender: &ChannelSender,
    mut outbox: mpsc::Receiver<Telling>,
    written: impl Fn(u64) -> F,
) {
    while let Some(Telling { messages, version }) = outbox.recv().await {
        for message in messages {
            if !matches!(tokio::time::timeout(STALL, sender.send(message)).await, Ok(Ok(()))) {
                return;
            }
        }
        if let Some(version) = version
            && !written(version).await
        {
            return;
        }
    }
}
