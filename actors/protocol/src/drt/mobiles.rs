//! The mobile devices we remember, with their word that they are mobile (`spec: drt 8`).

use std::collections::BTreeMap;

use super::lease::Lease;
use super::message::MobileInfo;
use super::table::compare_distance;
use crate::ids::DeviceId;
use crate::msgpack::{self, Value};
use crate::time::UnixMillis;

/// From this time on (2026-10-01) nobody is believed to be mobile without a lease.
pub const LEGACY_CUT_OFF: UnixMillis = UnixMillis::from_seconds(1_790_812_800);

/// Most mobile devices remembered; about 700 bytes each. Beyond, those farthest from us are forgotten,
/// whom others are to wake.
pub const MAX_MOBILES: usize = 256;

/// Largest stored list read, in bytes: [`MAX_MOBILES`] leases of the largest size.
pub const MAX_STORED: usize = 512 * 1024;

/// Mobile devices, whether connected or not.
#[derive(Clone, Debug, Default)]
pub(super) struct Mobiles {
    /// Without a lease when an old release said so.
    records: BTreeMap<DeviceId, Option<Box<Lease>>>,
}

impl Mobiles {
    /// Remembers a verified lease. Returns who had to be forgotten for it.
    pub(super) fn insert(&mut self, own: &DeviceId, lease: Box<Lease>) -> Option<DeviceId> {
        self.records.insert(lease.device(), Some(lease));
        self.drop_farthest(own)
    }

    /// Remembers a device without a lease. Returns who had to be forgotten for it.
    pub(super) fn insert_legacy(&mut self, own: &DeviceId, device: DeviceId) -> Option<DeviceId> {
        self.records.entry(device).or_default();
        self.drop_farthest(own)
    }

    fn drop_farthest(&mut self, own: &DeviceId) -> Option<DeviceId> {
        if self.records.len() <= MAX_MOBILES {
            return None;
        }
        let farthest = self.records.keys().max_by(|a, b| compare_distance(own, a, b)).copied()?;
        self.records.remove(&farthest);
        Some(farthest)
    }

    pub(super) fn remove(&mut self, device: &DeviceId) -> bool {
        self.records.remove(device).is_some()
    }

    pub(super) fn contains(&self, device: &DeviceId) -> bool {
        self.records.contains_key(device)
    }

    pub(super) fn lease(&self, device: &DeviceId) -> Option<&Lease> {
        self.records.get(device)?.as_deref()
    }

    /// The record of a device, if it is one to tell others now.
    pub(super) fn current(&self, device: DeviceId, now: UnixMillis) -> Option<MobileInfo> {
        let lease = self.records.get(&device)?.clone();
        is_current(lease.as_deref(), now).then_some(MobileInfo { device, lease })
    }

    /// Devices whose time is over.
    pub(super) fn expired(&self, now: UnixMillis) -> Vec<DeviceId> {
        let over = self.records.iter().filter(|(_, lease)| !is_current(lease.as_deref(), now));
        over.map(|(device, _)| *device).collect()
    }

    /// When the first record ends.
    pub(super) fn next_expiry(&self) -> Option<UnixMillis> {
        let end = |lease: &Option<Box<Lease>>| {
            let lease = lease.as_ref();
            lease.map_or(LEGACY_CUT_OFF, |lease| UnixMillis::from_seconds(lease.statement.expires_at))
        };
        self.records.values().map(end).min()
    }

    /// All of them, to be stored.
    pub(super) fn to_list(&self) -> Vec<MobileInfo> {
        let records = self.records.iter();
        records.map(|(device, lease)| MobileInfo { device: *device, lease: lease.clone() }).collect()
    }
}

fn is_current(lease: Option<&Lease>, now: UnixMillis) -> bool {
    lease.map_or(now < LEGACY_CUT_OFF, |lease| lease.is_current(now))
}

/// The bytes of a list to be stored.
#[must_use]
pub fn encode_list(list: &[MobileInfo]) -> Vec<u8> {
    Value::Array(list.iter().map(MobileInfo::to_value).collect()).encode()
}

/// Reads a stored list; what cannot be read is left out, as it comes back by itself.
#[must_use]
pub fn decode_list(bytes: &[u8]) -> Vec<MobileInfo> {
    let list = msgpack::decode(bytes, MAX_STORED).ok().map(|(list, _)| list);
    let items = list.as_ref().and_then(Value::as_array).unwrap_or_default();
    items.iter().take(MAX_MOBILES).filter_map(|item| MobileInfo::from_value(item).ok()).collect()
}
