//! The owner's profile on its way to others: each device gets each edition once (`spec: profiles 4.4`).

use std::time::Duration;

use bytes::Bytes;
use skep_protocol::ids::{AccountId, DeviceId};
use skep_protocol::profile::{Announced, Distribution, MAX_DISTRIBUTION_FILE, ProfileDigest, ProfilePath};

use super::actor::ProfilesActor;
use super::channels::{self, ChannelError};
use super::messages::Way;
use crate::blocking::Lane;
use crate::peer::messages::LinkError;
use crate::storage;
use crate::supervision::Scope;

/// Who has the profile as it is now, in the account's folder.
pub(super) const SENT: &str = "profileSent";

/// Pause before a device that did not take it is sent it again; doubles each time. It may not have known yet
/// that we are in a conversation with it.
const AGAIN: Duration = Duration::from_secs(3);

/// How often it is tried over one link.
const MAX_TRIES: u32 = 6;

/// Pause before what was noted is written: many devices get the profile at once.
const WRITE_LATER: Duration = Duration::from_secs(1);

/// A device that is linked.
#[derive(Debug)]
pub(super) struct Reached {
    account: AccountId,
    way: Way,
    /// Told apart from links before.
    number: u64,
    tries: u32,
    /// Whether the pause before it is tried again lasts.
    pausing: bool,
    /// Whether it gets nothing more of this edition over this link.
    given_up: bool,
}

/// Reads who has the profile. What cannot be read costs everybody one profile more.
pub(super) fn load_sent(folder: &std::path::Path) -> Distribution {
    let file = storage::read(&folder.join(SENT), MAX_DISTRIBUTION_FILE);
    let file = file.inspect_err(|error| tracing::warn!(%error, "who has the profile is not known"));
    let Ok(Some(file)) = file else { return Distribution::default() };
    let read = Distribution::decode(&file);
    read.inspect_err(|error| tracing::warn!(%error, "who has the profile is not known")).unwrap_or_default()
}

impl ProfilesActor {
    /// A device is linked, or is no more, or is to be sent to otherwise.
    pub(super) fn reach(
        &mut self,
        device: DeviceId,
        account: AccountId,
        way: Option<Way>,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(way) = way else {
            self.reached.remove(&device);
            self.forget_asked(device);
            return;
        };
        if let Some(reached) = self.reached.get_mut(&device) {
            reached.way = way;
        } else {
            self.next_number += 1;
            let number = self.next_number;
            let reached = Reached { account, way, number, tries: 0, pausing: false, given_up: false };
            self.reached.insert(device, reached);
        }
        self.send_to(device, scope);
    }

    /// Sends the profile to everybody who is linked and does not have it.
    pub(super) fn send_to_all(&mut self, scope: &mut Scope<'_, Self>) {
        for device in self.reached.keys().copied().collect::<Vec<_>>() {
            self.send_to(device, scope);
        }
    }

    /// The profile is another one: nobody has it.
    pub(super) fn edition_changed(&mut self, scope: &mut Scope<'_, Self>) {
        if self.distribution.profile(self.own.as_ref().map(|own| own.digest)) {
            for reached in self.reached.values_mut() {
                (reached.tries, reached.pausing, reached.given_up) = (0, false, false);
            }
            self.note_sent(scope);
        }
    }

    fn send_to(&mut self, device: DeviceId, scope: &mut Scope<'_, Self>) {
        let (Some(own), Some(reached)) = (&self.own, self.reached.get(&device)) else { return };
        let (account, number) = (reached.account, reached.number);
        let recipient = (account, device);
        let Some(digest) = self.distribution.begin(recipient) else { return };
        let (announced, modified) = (Announced::Digest(digest), Some(own.modified));
        let path = match reached.way {
            Way::Own { bare } => {
                let path = ProfilePath::Own { announced, modified };
                if bare { path.bare() } else { path }
            }
            Way::Member(conversation) => {
                ProfilePath::Pushed { conversation, device: self.config.device, announced, modified }
            }
        };
        let (links, file): (_, Bytes) = (self.config.links.clone(), own.file.clone());
        let send = async move { channels::write(channels::open(&links, device, path).await?, file).await };
        scope.spawn_background(send, move |profiles, sent, scope| {
            let holds = profiles.reached.get(&device).is_some_and(|it| it.number == number);
            match sent {
                Ok(()) if holds => {
                    profiles.distribution.finished(recipient, digest);
                    profiles.note_sent(scope);
                }
                Ok(()) => profiles.distribution.failed(recipient, digest),
                Err(error) => {
                    tracing::debug!(device = %device.short(), %error, "the profile was not sent");
                    profiles.distribution.failed(recipient, digest);
                    profiles.try_again(device, &error, scope);
                }
            }
            // There may be room for others now.
            profiles.send_to_all_waiting(scope);
        });
    }

    fn try_again(&mut self, device: DeviceId, error: &ChannelError, scope: &mut Scope<'_, Self>) {
        let Some(reached) = self.reached.get_mut(&device) else { return };
        let declined = matches!(error, ChannelError::Link(LinkError::Declined { .. }));
        // A device of ours that declines has a newer one, and sends it.
        if reached.tries >= MAX_TRIES || (declined && matches!(reached.way, Way::Own { .. })) {
            reached.given_up = true;
            return;
        }
        reached.tries += 1;
        reached.pausing = true;
        let pause = AGAIN.saturating_mul(1 << (reached.tries - 1));
        let number = reached.number;
        scope.after(pause, move |profiles, scope| {
            if let Some(reached) = profiles.reached.get_mut(&device).filter(|it| it.number == number) {
                // If there is no room now, it waits for some as the others do.
                reached.pausing = false;
                profiles.send_to(device, scope);
            }
        });
    }

    /// Sends it to those for whom there was no room, not to those who pause.
    fn send_to_all_waiting(&mut self, scope: &mut Scope<'_, Self>) {
        let waiting = self.reached.iter().filter(|(_, reached)| !reached.pausing && !reached.given_up);
        for device in waiting.map(|(device, _)| *device).collect::<Vec<_>>() {
            self.send_to(device, scope);
        }
    }

    /// A device of ours has given us this edition, so it need not get it.
    pub(super) fn has(&mut self, device: DeviceId, digest: ProfileDigest) {
        self.distribution.finished((self.config.account, device), digest);
    }

    /// The devices of somebody get the profile once more.
    pub(super) fn forget(&mut self, account: AccountId, scope: &mut Scope<'_, Self>) {
        self.distribution.forget(account);
        self.note_sent(scope);
    }

    /// Writes who has the profile, soon. A crash before costs a device one profile more.
    fn note_sent(&mut self, scope: &mut Scope<'_, Self>) {
        if std::mem::replace(&mut self.noting, true) {
            return;
        }
        scope.after(WRITE_LATER, |profiles, scope| {
            profiles.noting = false;
            profiles.write_sent(scope);
        });
    }

    /// Writes it at the end.
    pub(super) fn flush_sent(&self) -> impl Future<Output = ()> + use<> {
        let write = self.noting.then(|| (self.config.folder.join(SENT), self.distribution.encode()));
        let (pool, share) = (self.config.pool.clone(), self.config.share);
        async move {
            let Some((path, file)) = write else { return };
            let written = pool.run(share, Lane::Quick, move || storage::replace(&path, &file)).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(%error, "who has the profile was not written; some get it once more");
            }
        }
    }

    fn write_sent(&mut self, scope: &mut Scope<'_, Self>) {
        if std::mem::replace(&mut self.writing, true) {
            return self.note_sent(scope);
        }
        let (path, file) = (self.config.folder.join(SENT), self.distribution.encode());
        let (pool, share) = (self.config.pool.clone(), self.config.share);
        let write = async move { pool.run(share, Lane::Quick, move || storage::replace(&path, &file)).await };
        scope.spawn(write, |profiles, written, _| {
            profiles.writing = false;
            if let Ok(Err(error)) = written {
                tracing::warn!(%error, "who has the profile was not written; some get it once more");
            }
        });
    }
}
