//! Channels that come up, fail and go down, and whom to dial (`spec: drt 5, 7`).

use std::collections::BTreeSet;

use super::{
    Action, Body, Budget, ChannelId, Context, FIND_COUNT, Link, MAX_CHANNELS_PER_PEER, Router, STABLE,
};
use crate::drt::parked::Parked;
use crate::ids::DeviceId;

impl Router {
    /// Dials those of `preferred`, and in every bucket that wants links some of the nodes known there.
    pub(super) fn maintain(&mut self, context: &Context<'_>, preferred: &[DeviceId]) {
        if self.is_stopped {
            return;
        }
        preferred.iter().for_each(|device| self.dial(*device, true));
        for (known, wanted) in self.table.wanting(context.moment) {
            for device in self.random.choose(known, wanted) {
                self.dial(device, true);
            }
        }
    }

    fn dial(&mut self, device: DeviceId, new_socket: bool) {
        if self.table.add_connecting(device) {
            self.actions.push(Action::RequestChannel { device, new_socket });
        }
    }

    pub(super) fn known(&mut self, context: &Context<'_>, devices: &[DeviceId]) {
        self.is_stopped = false;
        for device in devices {
            self.table.add_known(*device);
            self.table.forgive(device);
        }
        self.maintain(context, &[]);
    }

    pub(super) fn socket_opened(&mut self, device: DeviceId) {
        if !self.is_stopped {
            self.dial(device, false);
        }
    }

    pub(super) fn channel_up(
        &mut self,
        context: &Context<'_>,
        channel: ChannelId,
        device: DeviceId,
        incoming: bool,
    ) {
        if self.is_stopped || !self.may_link(device, incoming) {
            self.table.dial_failed(&device, context.moment);
            self.actions.push(Action::CloseChannel(channel));
            return;
        }
        if self.links.len() == self.links.capacity() {
            self.links.reserve_exact(self.links.len() / 4 + 2);
        }
        self.links.push(Link {
            channel,
            device,
            since: context.moment,
            budget: Budget::full(context.moment),
            version: None,
            told: BTreeSet::new(),
        });
        let is_first = !self.table.has_connected();
        if !self.table.add_connected(device) {
            return;
        }
        let find = Body::Find { count: FIND_COUNT, target: self.table.own() };
        self.send(channel, find);
        if is_first {
            self.actions.push(Action::Connected);
        }
    }

    /// Whether a channel that came up is kept.
    fn may_link(&self, device: DeviceId, incoming: bool) -> bool {
        let channels = self.links.iter().filter(|link| link.device == device).count();
        let has_room = || !incoming || channels > 0 || self.table.has_room_for(&device);
        device != self.table.own() && channels < MAX_CHANNELS_PER_PEER && has_room()
    }

    pub(super) fn channel_failed(&mut self, context: &Context<'_>, device: DeviceId) {
        if !self.table.dial_failed(&device, context.moment) || self.is_stopped {
            return;
        }
        if !self.table.has_connected() && !self.table.rules().waits {
            self.tell_if_alone();
        } else if !self.table.has_connected() {
            // The other nodes known are tried once each, as each must wait when it has failed.
            self.maintain(context, &[]);
            self.tell_if_alone();
        }
    }

    pub(super) fn channel_down(&mut self, context: &Context<'_>, channel: ChannelId) {
        let Some(place) = self.links.iter().position(|link| link.channel == channel) else { return };
        let link = self.links.remove(place);
        let unanswered = self.parked.cannot_ask(channel);
        self.find_in_dht(unanswered);
        if self.links.iter().any(|other| other.device == link.device) {
            return;
        }
        let stable = context.moment.since(link.since) >= STABLE;
        self.table.remove_connected(&link.device, stable, context.moment);
        self.hand_on(context, link.device);
        self.maintain(context, &[]);
        self.tell_if_alone();
    }

    /// Asks every peer for nodes close to one known in the peer's bucket, or to ourselves if there is none.
    pub(super) fn refresh(&mut self) {
        let peers: Vec<(ChannelId, DeviceId)> =
            self.links.iter().map(|link| (link.channel, link.device)).collect();
        for (channel, peer) in peers {
            let known: Vec<DeviceId> = self.table.known_beside(&peer).collect();
            let target = self.random.choose(known, 1).pop().unwrap_or(self.table.own());
            self.send(channel, Body::Find { count: FIND_COUNT, target });
        }
    }

    fn tell_if_alone(&mut self) {
        if !self.table.has_connected() && !self.table.has_connecting() {
            self.actions.push(Action::Disconnected);
        }
    }

    pub(super) fn removed(&mut self, context: &Context<'_>, devices: &[DeviceId]) {
        let was_connected = self.table.has_connected();
        for device in devices {
            self.close_links(|link| link.device == *device);
            self.table.remove(device);
            self.parked.take(device);
            self.forget_mobile(device);
        }
        self.maintain(context, &[]);
        if was_connected && !self.is_stopped {
            self.tell_if_alone();
        }
    }

    pub(super) fn shut_down(&mut self, context: &Context<'_>) {
        self.is_stopped = true;
        self.parked = Parked::default();
        self.close_links(|_| true);
        for device in self.table.connected().collect::<Vec<_>>() {
            self.table.remove_connected(&device, true, context.moment);
        }
    }

    fn close_links(&mut self, which: impl Fn(&Link) -> bool) {
        let closed = self.links.extract_if(.., |link| which(link));
        self.actions.extend(closed.map(|link| Action::CloseChannel(link.channel)));
    }
}
