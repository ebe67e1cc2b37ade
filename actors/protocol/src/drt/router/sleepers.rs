//! Mobile devices: their leases, the certificates that prove those, and their end (`spec: drt 8`).

use super::{
    Action, Body, CertificateSource, ChannelId, Context, Lease, Message, MobileInfo, RENEWAL_THRESHOLD,
    Router, Version,
};
use crate::drt::message::Found;
use crate::drt::mobiles::{LEGACY_CUT_OFF, MAX_MOBILES};
use crate::drt::table::{BUCKET_SIZE, compare_distance};
use crate::identity::{Chain, VerifiedChain};
use crate::ids::DeviceId;
use crate::time::UnixMillis;

/// A lease of our own is renewed at most this often, in seconds, also when the certificate ends so soon
/// that no lease lasts.
const MIN_RENEWAL_INTERVAL: i64 = 24 * 60 * 60;

impl Router {
    /// Takes back what was stored; it was verified then.
    pub(super) fn restore(&mut self, info: MobileInfo) {
        let own = self.table.own();
        let device = info.device;
        if device == own {
            return;
        }
        let forgotten = match info.lease {
            Some(lease) if lease.statement.conversation != self.conversation => return,
            Some(lease) if lease.device() != device => return,
            Some(lease) => self.mobiles.insert(&own, lease),
            None => self.mobiles.insert_legacy(&own, device),
        };
        self.table.add_mobile(device);
        forgotten.iter().for_each(|device| self.table.remove_mobile(device));
    }

    /// A connected peer says that it is mobile itself.
    pub(super) fn peer_says_mobile(
        &mut self,
        context: &Context<'_>,
        channel: ChannelId,
        device: DeviceId,
        message: &Message,
    ) {
        if message.version < Version::Three {
            self.legacy_mobile_says(context, device);
            return;
        }
        let info = message.self_mobile_info.as_ref().filter(|info| info.device == device);
        let Some(lease) = info.and_then(|info| info.lease.as_ref()) else { return };
        if self.mobiles.lease(&device) == Some(&**lease) && lease.is_current(context.wall) {
            self.table.mark_mobile(&device);
        } else {
            self.consider(context, channel, device, lease);
        }
    }

    fn legacy_mobile_says(&mut self, context: &Context<'_>, device: DeviceId) {
        if context.wall < LEGACY_CUT_OFF && self.table.mark_mobile(&device) {
            let forgotten = self.mobiles.insert_legacy(&self.table.own(), device);
            forgotten.iter().for_each(|device| self.table.remove_mobile(device));
        }
    }

    /// Somebody says that another device is mobile.
    pub(super) fn mobile_told(&mut self, context: &Context<'_>, channel: ChannelId, info: MobileInfo) {
        let is_there = info.device == self.table.own() || self.table.is_connected(&info.device);
        if let (Some(lease), false) = (info.lease, is_there) {
            self.consider(context, channel, info.device, &lease);
        }
    }

    pub(super) fn legacy_mobile_told(&mut self, context: &Context<'_>, device: DeviceId) {
        if context.wall < LEGACY_CUT_OFF && self.table.add_mobile(device) && !self.mobiles.contains(&device) {
            let forgotten = self.mobiles.insert_legacy(&self.table.own(), device);
            forgotten.iter().for_each(|device| self.table.remove_mobile(device));
            self.actions.push(Action::StoreMobiles);
        }
    }

    /// Lets a lease wait for its certificate, if it is worth that.
    fn consider(&mut self, context: &Context<'_>, channel: ChannelId, device: DeviceId, lease: &Lease) {
        if !self.is_acceptable(context, device, lease) {
            return;
        }
        if self.parked.park(lease.clone(), channel) {
            self.actions.push(Action::FindCertificate { device, source: CertificateSource::Store });
        }
    }

    fn is_acceptable(&self, context: &Context<'_>, device: DeviceId, lease: &Lease) -> bool {
        let checked = lease.check(self.conversation, device, context.wall, context.is_active_member);
        checked.is_ok() && self.mobiles.lease(&device).is_none_or(|stored| lease.is_newer_than(stored))
    }

    pub(super) fn certificate_found(
        &mut self,
        context: &Context<'_>,
        device: DeviceId,
        source: CertificateSource,
        chain: Option<&VerifiedChain>,
    ) {
        match (chain, source) {
            (Some(chain), _) => self.prove(context, device, chain),
            (None, CertificateSource::Store) => self.parked.not_in_store(&device),
            (None, CertificateSource::Dht) if self.parked.is_in_dht(&device) => {
                self.parked.take(&device);
            }
            (None, CertificateSource::Dht) => {}
        }
    }

    /// Takes up the lease of a device that waited for this chain, if it is good.
    fn prove(&mut self, context: &Context<'_>, device: DeviceId, chain: &VerifiedChain) {
        let Some(lease) = self.parked.take(&device) else { return };
        // Time has passed, and members may have left.
        if !self.is_acceptable(context, device, &lease) || lease.verify(chain).is_err() {
            return;
        }
        let forgotten = self.mobiles.insert(&self.table.own(), Box::new(lease));
        let is_awake = self.table.mark_mobile(&device);
        if !is_awake {
            self.table.add_mobile(device);
        }
        forgotten.iter().for_each(|device| self.table.remove_mobile(device));
        self.actions.push(Action::StoreMobiles);
        for link in &mut self.links {
            link.told.remove(&device);
        }
        if !is_awake {
            self.hand_on(context, device);
        }
    }

    /// Tells those who are to wake a sleeping device, if they are closer to it than we are: they may never
    /// have had a channel with it, and then nobody would wake it. Once for each channel and lease.
    pub(super) fn hand_on(&mut self, context: &Context<'_>, device: DeviceId) {
        let info = self.mobiles.current(device, context.wall).filter(|info| info.lease.is_some());
        let Some(info) = info else { return };
        let own = self.table.own();
        let is_closer = |other: &DeviceId| compare_distance(&device, other, &own).is_lt();
        for closer in self.table.closest(&device, BUCKET_SIZE).into_iter().filter(is_closer) {
            let mut links = self.links.iter_mut().filter(|link| link.device == closer);
            let Some(link) = links.find(|link| link.version == Some(Version::Three)) else { continue };
            if link.told.len() >= MAX_MOBILES {
                link.told.clear();
            }
            if link.told.insert(device) {
                let (channel, mobile_infos) = (link.channel, vec![info.clone()]);
                self.send(channel, Body::Found(Found { mobile_infos, ..Found::default() }));
            }
        }
    }

    /// Asks peers for the certificates that our store has not.
    pub(super) fn ask_for_certificates(&mut self, context: &Context<'_>) {
        for (channel, devices) in self.parked.requests(context.moment) {
            if self.link(channel).is_some_and(|link| link.version == Some(Version::Three)) {
                self.send(channel, Body::CertificateRequest(devices));
            } else {
                let unasked = self.parked.cannot_ask(channel);
                self.find_in_dht(unasked);
            }
        }
    }

    pub(super) fn find_in_dht(&mut self, devices: Vec<DeviceId>) {
        let find = |device| Action::FindCertificate { device, source: CertificateSource::Dht };
        self.actions.extend(devices.into_iter().map(find));
    }

    /// Takes the certificates that were asked for; what else came with them is ignored.
    pub(super) fn certificates_came(
        &mut self,
        context: &Context<'_>,
        channel: ChannelId,
        chains: &[Vec<u8>],
    ) {
        let Some(mut asked) = self.parked.asked_of(channel) else { return };
        for chain in chains.iter().filter_map(|bytes| Chain::parse_der(bytes).ok()) {
            let device = chain.leaf().device_id();
            let Some(place) = asked.iter().position(|asked| *asked == device) else { continue };
            asked.swap_remove(place);
            if let Ok(chain) = chain.verify(context.wall) {
                self.prove(context, device, &chain);
            }
        }
        let unanswered = self.parked.answered(channel);
        self.find_in_dht(unanswered);
    }

    /// Forgets the mobile devices whose time is over.
    pub(super) fn expire(&mut self, context: &Context<'_>) {
        self.expiry_checked = Some(context.moment);
        for device in self.mobiles.expired(context.wall) {
            self.forget_mobile(&device);
        }
    }

    pub(super) fn forget_mobile(&mut self, device: &DeviceId) {
        self.table.remove_mobile(device);
        if self.mobiles.remove(device) {
            self.actions.push(Action::StoreMobiles);
        }
    }

    /// Asks for a new lease of our own, if we are mobile and the one we have ends soon.
    pub(super) fn renew_lease(&mut self, context: &Context<'_>) {
        let is_due = self.renewal().is_none_or(|at| at <= context.wall);
        if self.is_mobile && !self.is_stopped && !self.signing && is_due {
            self.signing = true;
            self.actions.push(Action::SignLease);
        }
    }

    /// When our own lease is to be renewed.
    pub(super) fn renewal(&self) -> Option<UnixMillis> {
        let said = &self.own_lease.as_ref()?.statement;
        let soon = said.expires_at.saturating_sub(RENEWAL_THRESHOLD);
        Some(UnixMillis::from_seconds(soon.max(said.issued_at.saturating_add(MIN_RENEWAL_INTERVAL))))
    }

    pub(super) fn lease_signed(&mut self, context: &Context<'_>, lease: Box<Lease>) {
        self.signing = false;
        let is_ours = lease.check(self.conversation, self.table.own(), context.wall, |_| true).is_ok();
        if is_ours {
            self.own_lease = Some(lease);
        } else {
            // It would be asked for at once again; a restart tries anew.
            self.signing = true;
        }
    }
}
