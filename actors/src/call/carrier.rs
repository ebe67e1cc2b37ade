//! Carries the packets of a call between its path and whoever makes and takes its sound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use skep_protocol::rtp::{MAX_PACKET, Opener, RtpHeader, Sealer};
use tokio::sync::{mpsc, oneshot};

use super::media::{MediaEvent, Playing};
use super::paths::MediaPath;

/// What was carried, for those who look.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) dropped: AtomicU64,
}

/// Why it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CarrierEnd {
    /// It was told to.
    Stopped,
    /// The path broke.
    PathLost,
    /// The sound did.
    Media(String),
}

/// What is carried.
#[derive(Debug)]
pub(super) struct Carrier {
    pub(super) path: MediaPath,
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
    pub(super) receive_payload: u8,
    pub(super) playing: Arc<dyn Playing>,
    pub(super) events: mpsc::Receiver<MediaEvent>,
    pub(super) counters: Arc<Counters>,
    /// Whether the call is on hold, so that nothing is carried.
    pub(super) held: Arc<AtomicBool>,
    /// Told, or dropped, to stop.
    pub(super) stop: oneshot::Receiver<()>,
}

impl Carrier {
    /// Carries until it is stopped, or something breaks.
    pub(super) async fn run(mut self) -> CarrierEnd {
        let (mut packet, mut report) = (vec![0; MAX_PACKET], vec![0; MAX_PACKET]);
        let (media, reports) = (Arc::clone(&self.path.media), Arc::clone(&self.path.reports));
        loop {
            tokio::select! {
                _ = &mut self.stop => return CarrierEnd::Stopped,
                () = &mut self.path.broken => return CarrierEnd::PathLost,
                come = media.recv(&mut packet) => match come {
                    Ok(length) => self.take(packet.get(..length).unwrap_or_default()),
                    Err(_) => return CarrierEnd::PathLost,
                },
                // Reports are read, so that they do not pile up, and mean nothing here.
                come = reports.recv(&mut report) => if come.is_err() {
                    return CarrierEnd::PathLost;
                },
                event = self.events.recv() => match event {
                    Some(MediaEvent::Packet(plain)) => if !self.send(&plain).await {
                        return CarrierEnd::PathLost;
                    },
                    Some(MediaEvent::Failed(reason)) => return CarrierEnd::Media(reason),
                    None => return CarrierEnd::Media("the sound ended by itself".to_owned()),
                },
            }
        }
    }

    fn take(&mut self, packet: &[u8]) {
        if self.held.load(Ordering::Relaxed) {
            return;
        }
        let opened = self.opener.open(packet).ok();
        let is_ours = |plain: &Vec<u8>| {
            RtpHeader::read(plain, 0).is_ok_and(|header| header.payload == self.receive_payload)
        };
        match opened {
            Some(plain) if is_ours(&plain) => {
                self.counters.received.fetch_add(1, Ordering::Relaxed);
                self.playing.packet(Bytes::from(plain));
            }
            // Pressed keys and the like are good packets, and no sound.
            Some(_) => {}
            None => {
                self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Sends a packet; false when there is no way for it any more.
    async fn send(&mut self, plain: &[u8]) -> bool {
        if self.held.load(Ordering::Relaxed) {
            return true;
        }
        match self.sealer.seal(plain) {
            Ok(sealed) => match self.path.media.send(&sealed).await {
                // So an agent says that it has given up all its pairs.
                Ok(0) => return false,
                Ok(_) => _ = self.counters.sent.fetch_add(1, Ordering::Relaxed),
                // A packet that the network does not take is lost, as many are.
                Err(_) => {}
            },
            Err(error) => tracing::debug!(%error, "a packet of our own was not sent"),
        }
        true
    }
}
