//! What peers ask and answer (`spec: drt 4`).

use super::{Action, Body, ChannelId, Context, MAX_FOUND, Message, Router, Version};
use crate::drt::message::{self, Found, MAX_MOBILE_INFOS, MobileInfo};
use crate::ids::DeviceId;

impl Router {
    pub(super) fn received(&mut self, context: &Context<'_>, channel: ChannelId, message: Message) {
        let Some(link) = self.link_mut(channel) else { return };
        if !link.budget.take(context.moment) {
            return;
        }
        let device = link.device;
        let version = message.version;
        link.version = Some(version);
        if message.is_mobile {
            self.peer_says_mobile(context, channel, device, &message);
        }
        match message.body {
            Some(Body::Find { count, target }) => self.answer(context, channel, version, count, &target),
            Some(Body::Found(found)) => self.found(context, channel, version, found),
            Some(Body::CertificateRequest(devices)) => self.certificates_wanted(channel, devices),
            Some(Body::CertificateResponse(chains)) => self.certificates_came(context, channel, &chains),
            None => {}
        }
    }

    fn answer(
        &mut self,
        context: &Context<'_>,
        channel: ChannelId,
        version: Version,
        count: u64,
        target: &DeviceId,
    ) {
        let count = usize::try_from(count).unwrap_or(MAX_FOUND).min(MAX_FOUND);
        let infos = self.table.mobile_beside(target);
        let infos = infos.filter_map(|device| self.mobiles.current(device, context.wall));
        let infos: Vec<MobileInfo> = infos.take(MAX_MOBILE_INFOS).collect();
        let unsigned = infos.iter().filter(|info| info.lease.is_none()).map(|info| info.device);
        let found = Found {
            nodes: self.table.closest(target, count),
            mobile_nodes: unsigned.collect(),
            mobile_infos: infos
                .into_iter()
                .filter(|info| info.lease.is_some() || version < Version::Three)
                .collect(),
        };
        self.send(channel, Body::Found(found));
    }

    fn found(&mut self, context: &Context<'_>, channel: ChannelId, version: Version, found: Found) {
        let new: Vec<DeviceId> =
            found.nodes.into_iter().filter(|device| self.table.add_known(*device)).collect();
        if !new.is_empty() {
            let preferred: Vec<DeviceId> =
                new.into_iter().filter(|device| (context.has_socket)(*device)).collect();
            self.maintain(context, &preferred);
        }
        for info in found.mobile_infos {
            self.mobile_told(context, channel, info);
        }
        if version < Version::Three {
            for device in found.mobile_nodes {
                self.legacy_mobile_told(context, device);
            }
        }
    }

    /// Answers for ourselves and for devices whose verified lease we have told others, so that nobody
    /// can ask us for the certificates of the whole world.
    fn certificates_wanted(&mut self, channel: ChannelId, mut devices: Vec<DeviceId>) {
        devices.retain(|device| *device == self.table.own() || self.mobiles.lease(device).is_some());
        devices.sort_unstable();
        devices.dedup();
        self.actions.push(Action::SendCertificates { channel, devices });
    }

    /// The message that answers for [`Action::SendCertificates`]: the chains found, each as
    /// concatenated DER, leaf first. It may have none.
    #[must_use]
    pub fn certificates(&self, chains: impl IntoIterator<Item = Vec<u8>>) -> Message {
        self.message(Body::CertificateResponse(message::fit_certificates(chains)))
    }

    pub(super) fn send(&mut self, channel: ChannelId, body: Body) {
        let message = self.message(body);
        self.actions.push(Action::Send { channel, message });
    }

    fn message(&self, body: Body) -> Message {
        let says_lease = matches!(body, Body::Find { .. } | Body::Found(_));
        let lease = self.own_lease.clone().filter(|_| says_lease);
        Message {
            version: Version::Three,
            is_mobile: self.is_mobile,
            self_mobile_info: lease.map(|lease| MobileInfo { device: self.table.own(), lease: Some(lease) }),
            body: Some(body),
        }
    }
}
