//! Profiles on channels: whole and in time, or not at all (`spec: profiles 4.3`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use skep_protocol::ids::{AccountId, DeviceId};
use skep_protocol::link::channel_name::ChannelName;
use skep_protocol::profile::{Announced, ProfilePath, ReceptionError, ReceptionKey, Receptions};
use skep_protocol::transfer::MAX_BLOCK;
use tokio::time::timeout;

use crate::peer::messages::{Channel, ChannelEnd, LinkError, LinksMessage};
use crate::supervision::{AskError, Port};

/// How long a device may take to accept a channel.
const OPEN: Duration = Duration::from_secs(30);

/// Longest time a device may take for its next bytes, or to make room for ours.
const STALL: Duration = Duration::from_secs(60);

/// Longest time that a whole profile may take: eight megabytes on a bad mobile line.
const WHOLE: Duration = Duration::from_secs(600);

/// Time in which the end of what was written last gets over a link that holds. If it does not hold as long,
/// nobody knows.
const SETTLE: Duration = Duration::from_secs(2);

/// Why a profile did not get through.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChannelError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    End(#[from] ChannelEnd),
    #[error(transparent)]
    Reception(#[from] ReceptionError),
    #[error("the device was silent for too long")]
    Stalled,
}

/// What comes just now, for the actor and the tasks that read.
#[derive(Clone, Debug, Default)]
pub(super) struct Incoming(Arc<Mutex<Receptions>>);

impl Incoming {
    /// Takes a place for what is about to come.
    pub(super) fn begin(&self, key: ReceptionKey, announced: Announced) -> Result<Reception, ReceptionError> {
        self.lock().begin(key, announced)?;
        Ok(Reception { incoming: self.clone(), key })
    }

    /// As [`Self::begin`], if nothing else of that owner is coming or being written: what came later must not be
    /// overwritten by what came before.
    pub(super) fn begin_alone(
        &self,
        key: ReceptionKey,
        announced: Announced,
    ) -> Result<Reception, ReceptionError> {
        if self.is_coming(key.1) { Err(ReceptionError::Twice) } else { self.begin(key, announced) }
    }

    /// Whether somebody's profile is coming or being written.
    pub(super) fn is_coming(&self, owner: AccountId) -> bool {
        self.lock().is_coming(owner)
    }

    fn lock(&self) -> MutexGuard<'_, Receptions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a profile that comes. Dropping it gives the place back, and forgets what came.
#[derive(Debug)]
pub(super) struct Reception {
    incoming: Incoming,
    key: ReceptionKey,
}

impl Reception {
    /// Reads the profile. It comes with its place, to be held until it is written.
    pub(super) async fn read(
        self,
        channel: impl Future<Output = Result<Channel, ChannelEnd>>,
    ) -> Result<(Self, Vec<u8>), ChannelError> {
        // Dropped, the sending half would close the channel.
        let Channel { sender: _sender, mut receiver, .. } = channel.await?;
        let read = async {
            loop {
                match timeout(STALL, receiver.receive()).await.map_err(|_| ChannelError::Stalled)? {
                    Ok(bytes) => self.incoming.lock().data(self.key, &bytes)?,
                    Err(ChannelEnd::Closed) => {
                        return Ok::<_, ChannelError>(self.incoming.lock().end(self.key)?);
                    }
                    Err(ChannelEnd::Lost) => return Err(ChannelEnd::Lost.into()),
                }
            }
        };
        let file = timeout(WHOLE, read).await.map_err(|_| ChannelError::Stalled)??;
        Ok((self, file))
    }
}

impl Drop for Reception {
    fn drop(&mut self) {
        self.incoming.lock().abandon(self.key);
    }
}

/// Opens a channel for a profile.
pub(super) async fn open(
    links: &Port<LinksMessage>,
    device: DeviceId,
    path: ProfilePath,
) -> Result<Channel, ChannelError> {
    let name = ChannelName::DataTransfer { path: path.to_string() }.to_string();
    let open = |reply| LinksMessage::Open { device, name, deadline: OPEN, reply };
    Ok(links.ask(OPEN, open).await??)
}

/// Writes a profile, closes the channel, and waits until that should be at the other end.
pub(super) async fn write(channel: Channel, mut file: Bytes) -> Result<(), ChannelError> {
    let Channel { sender, receiver: _receiver, .. } = channel;
    let sender = sender.yielding();
    while !file.is_empty() {
        let block = file.split_to(file.len().min(MAX_BLOCK));
        timeout(STALL, sender.send(block)).await.map_err(|_| ChannelError::Stalled)??;
    }
    drop(sender);
    tokio::time::sleep(SETTLE).await;
    Ok(())
}
