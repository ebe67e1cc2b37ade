//! Leases that wait for the certificate of their device (`spec: drt 8`, step 4).
//!
//! ```text
//!   parked ──► own store ──► peer that told us ──► DHT ──► given up
//!                  │               │ 10 s           │
//!                  └──────── found ┴────────────────┘──► verified
//! ```

use std::time::Duration;

use super::lease::Lease;
use super::message::MAX_CERTIFICATE_IDS;
use super::router::ChannelId;
use crate::ids::DeviceId;
use crate::time::Moment;

/// Most leases that wait; of more, the one that ends first is forgotten.
pub const MAX_PARKED: usize = 64;

/// How long a peer is waited for.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Looked for in our own store.
    Store,
    /// To be asked of the peer that told us.
    Queued,
    /// Asked of it.
    Asked,
    /// Looked for in the DHT.
    Dht,
}

#[derive(Clone, Debug)]
struct Waiting {
    lease: Lease,
    /// From whom it came.
    channel: ChannelId,
    stage: Stage,
}

/// The leases that wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Parked {
    leases: Vec<Waiting>,
    /// Requests that are not answered yet, at most one for each channel.
    asked: Vec<(ChannelId, Moment)>,
}

impl Parked {
    /// Lets a lease wait. Returns whether its certificate is to be looked for: not if that is being
    /// done, nor if too many wait that end later.
    pub(super) fn park(&mut self, lease: Lease, channel: ChannelId) -> bool {
        let device = lease.device();
        if let Some(waiting) = self.leases.iter_mut().find(|waiting| waiting.lease.device() == device) {
            if lease.is_newer_than(&waiting.lease) {
                waiting.lease = lease;
            }
            return false;
        }
        self.leases.push(Waiting { lease, channel, stage: Stage::Store });
        if self.leases.len() > MAX_PARKED {
            let ends = |waiting: &Waiting| waiting.lease.statement.expires_at;
            let first = self.leases.iter().enumerate().min_by_key(|(_, waiting)| ends(waiting));
            if let Some((place, _)) = first {
                return self.leases.remove(place).lease.device() != device;
            }
        }
        true
    }

    /// The lease of a device, which waits no longer.
    pub(super) fn take(&mut self, device: &DeviceId) -> Option<Lease> {
        let place = self.leases.iter().position(|waiting| waiting.lease.device() == *device)?;
        Some(self.leases.remove(place).lease)
    }

    /// The certificate is not in our store: the peer is asked next.
    pub(super) fn not_in_store(&mut self, device: &DeviceId) {
        let waiting = self.leases.iter_mut().find(|waiting| waiting.lease.device() == *device);
        if let Some(waiting) = waiting.filter(|waiting| waiting.stage == Stage::Store) {
            waiting.stage = Stage::Queued;
        }
    }

    /// Whether the certificate of a device is looked for in the DHT.
    pub(super) fn is_in_dht(&self, device: &DeviceId) -> bool {
        let mut waiting = self.leases.iter().filter(|waiting| waiting.lease.device() == *device);
        waiting.any(|waiting| waiting.stage == Stage::Dht)
    }

    /// What is to be asked now, and of whom.
    pub(super) fn requests(&mut self, now: Moment) -> Vec<(ChannelId, Vec<DeviceId>)> {
        let mut requests: Vec<(ChannelId, Vec<DeviceId>)> = Vec::new();
        for waiting in self.leases.iter_mut().filter(|waiting| waiting.stage == Stage::Queued) {
            let (channel, device) = (waiting.channel, waiting.lease.device());
            if self.asked.iter().any(|(asked, _)| *asked == channel) {
                continue;
            }
            match requests.iter_mut().find(|(to, _)| *to == channel) {
                Some((_, devices)) if devices.len() >= MAX_CERTIFICATE_IDS => continue,
                Some((_, devices)) => devices.push(device),
                None => requests.push((channel, vec![device])),
            }
            waiting.stage = Stage::Asked;
        }
        let deadline = now.plus(REPLY_TIMEOUT);
        self.asked.extend(requests.iter().map(|(channel, _)| (*channel, deadline)));
        requests
    }

    /// The devices asked of a channel; `None` when nothing is.
    pub(super) fn asked_of(&self, channel: ChannelId) -> Option<Vec<DeviceId>> {
        self.asked.iter().find(|(asked, _)| *asked == channel)?;
        let of_channel = |waiting: &&Waiting| waiting.channel == channel && waiting.stage == Stage::Asked;
        Some(self.leases.iter().filter(of_channel).map(|waiting| waiting.lease.device()).collect())
    }

    /// The peer has answered: what it did not answer is looked for in the DHT from now on.
    pub(super) fn answered(&mut self, channel: ChannelId) -> Vec<DeviceId> {
        self.asked.retain(|(asked, _)| *asked != channel);
        self.move_to_dht(|waiting| waiting.channel == channel && waiting.stage == Stage::Asked)
    }

    /// The channel is gone, or its peer knows no such requests.
    pub(super) fn cannot_ask(&mut self, channel: ChannelId) -> Vec<DeviceId> {
        self.asked.retain(|(asked, _)| *asked != channel);
        let before_dht = [Stage::Queued, Stage::Asked];
        self.move_to_dht(|waiting| waiting.channel == channel && before_dht.contains(&waiting.stage))
    }

    /// What peers were asked for and did not answer in time.
    pub(super) fn timed_out(&mut self, now: Moment) -> Vec<DeviceId> {
        let late: Vec<ChannelId> =
            self.asked.iter().filter(|(_, deadline)| *deadline <= now).map(|(channel, _)| *channel).collect();
        late.into_iter().flat_map(|channel| self.answered(channel)).collect()
    }

    /// When the first peer is late.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.asked.iter().map(|(_, deadline)| *deadline).min()
    }

    fn move_to_dht(&mut self, which: impl Fn(&Waiting) -> bool) -> Vec<DeviceId> {
        let moved = self.leases.iter_mut().filter(|waiting| which(waiting));
        moved
            .map(|waiting| {
                waiting.stage = Stage::Dht;
                waiting.lease.device()
            })
            .collect()
    }
}
