//! Who hears of what: the overlay that ships, driven over the links of the world, as its actor does.

use std::collections::{BTreeMap, VecDeque};

use rand::Rng as _;
use skep_protocol::drt::dissemination::Targets;
use skep_protocol::drt::router::{Action, ChannelId, Event as OverlayEvent};
use skep_protocol::drt::telling::Head;
use skep_protocol::ids::{AccountId, CommitId, DeviceId};
use skep_protocol::swarm::layout::Role;

use super::world::{Event, LATENCY, World};
use crate::swarm::messages::LinkState;
use crate::swarm::replica::Moved;
use crate::swarm::router::messages::Membership;
use crate::swarm::router::overlay::{Follows, Overlay, Place, Request};
use crate::swarm::timeline::Change;

/// How long a device is looked for, in milliseconds.
const SEARCH: u64 = 60_000;

/// A channel of the overlay.
pub(super) struct Channel {
    /// Who asked for it, and who was asked.
    ends: [usize; 2],
    /// When the last that is under way arrives at each: nothing overtakes it.
    last: [u64; 2],
}

impl World {
    /// A head has moved: counts what is told to the owner, and tells others.
    pub(super) fn has_moved(&mut self, device: usize, moved: Moved, source: Option<usize>) {
        self.moved = self.time;
        for change in &moved.changes {
            if let Change::New(message) = change {
                *self.devices[device].told.entry(message.id).or_default() += 1;
            }
        }
        let before = self.devices[device].standing.replace(moved.standing);
        let now = self.devices[device].standing.as_ref();
        if before.map(|it| it.members).as_ref() != now.map(|it| &it.members) {
            self.show(device);
        }
        self.announce(device, source);
    }

    /// Has others told of the head of a device.
    pub(super) fn announce(&mut self, device: usize, source: Option<usize>) {
        let it = &self.devices[device];
        let Some(standing) = it.standing.as_ref().filter(|_| it.replica.is_some()) else { return };
        if standing.members.role(it.person) == Some(Role::Banned) {
            return;
        }
        let source = source.map(|source| self.devices[source].identity.device_id());
        let head = Head { commit: standing.head, source };
        if let Some(overlay) = &mut self.devices[device].overlay {
            overlay.set_head(head);
        }
        self.tell_others(device);
    }

    fn tell_others(&mut self, device: usize) {
        let Some(overlay) = &mut self.devices[device].overlay else { return };
        let Some((head, Targets { accounts, devices, wake })) = overlay.next_targets() else { return };
        for to in devices.into_iter().chain(wake) {
            self.notify(device, self.places[&to], head.commit);
        }
        let source = head.source.map(|source| self.places[&source]);
        for account in accounts {
            for to in self.devices_of(account).into_iter().filter(|to| Some(*to) != source) {
                self.notify(device, to, head.commit);
            }
        }
    }

    /// Has an announcement on its way, if there is a link; the next link makes good for it.
    pub(super) fn notify(&mut self, from: usize, to: usize, commit: CommitId) {
        if !self.linked(from, to) {
            return;
        }
        if let Some(earlier) = self.announced.remove(&(from, to)) {
            self.queue.remove(&earlier);
        }
        let pause = self.random.random_range(LATENCY);
        let key = self.after(pause, Event::Notice { from, to, commit });
        self.announced.insert((from, to), key);
    }

    pub(super) fn noticed(&mut self, from: usize, to: usize, commit: CommitId) {
        self.announced.remove(&(from, to));
        self.counts.notices += 1;
        let from_id = self.id_of(from);
        let device = &mut self.devices[to];
        if let Some(overlay) = device.overlay.as_mut().filter(|_| !device.left) {
            overlay.heard(from_id, commit);
        }
        let known = device.replica.as_ref().is_some_and(|replica| replica.has(commit).unwrap());
        if !known {
            self.look_for_news(to, from);
        }
    }

    /// A device has invited somebody, and finds them.
    pub(super) fn invited(&mut self, device: usize, person: AccountId) {
        self.devices[device].invited.insert(person);
        for other in self.devices_of(person) {
            self.introduce(device, other);
            if self.linked(device, other) {
                self.invite_again(device, other);
            }
        }
    }

    /// Whoever was invited and has not joined is told so, at each link, by who has invited them.
    pub(super) fn invite_again(&mut self, device: usize, other: usize) {
        let (it, person) = (&self.devices[device], self.devices[other].person);
        let role = it.standing.as_ref().and_then(|standing| standing.members.role(person));
        if role == Some(Role::Invited) && it.invited.contains(&person) && !it.left && it.replica.is_some() {
            let pause = self.random.random_range(LATENCY);
            self.after(pause, Event::Invitation { from: device, to: other });
        }
    }

    pub(super) fn start_overlay(&mut self, device: usize) {
        let seed = self.random.random();
        let it = &self.devices[device];
        let place = Place {
            conversation: self.id,
            device: it.identity.device_id(),
            account: it.identity.account_id(),
        };
        self.devices[device].overlay = Some(Overlay::new(place, seed, Vec::new()));
        self.show(device);
    }

    /// Shows an overlay who takes part and which devices are linked.
    pub(super) fn show(&mut self, device: usize) {
        let it = &self.devices[device];
        let Some(standing) = &it.standing else { return };
        let members = Membership::of(standing, it.person, it.left);
        let linked = self.peers(device).into_iter().map(|peer| {
            let peer = &self.devices[peer];
            (peer.identity.device_id(), (peer.person, LinkState::Up))
        });
        let linked: BTreeMap<_, _> = linked.collect();
        let overlay = self.devices[device].overlay.as_mut();
        let follows = overlay.map(|overlay| overlay.overview(members, &linked)).unwrap_or_default();
        self.follow(device, follows);
    }

    /// A link has come or gone, as one of its ends sees it.
    pub(super) fn link_changed(&mut self, device: usize, peer: usize, state: LinkState) {
        let (id, person) = (self.devices[peer].identity.device_id(), self.devices[peer].person);
        let overlay = self.devices[device].overlay.as_mut();
        let follows = overlay.and_then(|overlay| overlay.link(id, person, state));
        self.follow(device, follows);
        if state == LinkState::Up && self.searching.remove(&(device, peer)) {
            self.ask(device, peer);
        }
    }

    /// What was under way between two devices is lost with their link.
    pub(super) fn link_ended(&mut self, one: usize, other: usize) {
        let both = |a: usize, b: usize| (a, b) == (one, other) || (b, a) == (one, other);
        let lost = self.channels.extract_if(.., |_, channel| both(channel.ends[0], channel.ends[1]));
        let lost: Vec<ChannelId> = lost.map(|(channel, _)| channel).collect();
        let asks = self.queue.extract_if(.., |_, event| match event {
            Event::Notice { from, to, .. }
            | Event::Invitation { from, to }
            | Event::Asked { from, to }
            | Event::Refused { from, to, .. } => both(*from, *to),
            Event::Opened { channel } | Event::Message { channel, .. } | Event::Closed { channel, .. } => {
                lost.contains(channel)
            }
            _ => false,
        });
        let asks: Vec<Event> = asks.map(|(_, event)| event).collect();
        for (device, peer) in [(one, other), (other, one)] {
            self.announced.remove(&(device, peer));
            self.devices[device].fetching.remove(&peer);
            self.link_changed(device, peer, LinkState::Down);
            for channel in &lost {
                self.overlay(device, OverlayEvent::ChannelDown(*channel));
            }
        }
        // Of a channel that only one side has, the other one gets to know that it did not come about.
        for event in asks {
            let from = match event {
                Event::Asked { from, .. } | Event::Refused { from, .. } => from,
                Event::Opened { .. } => {
                    for (device, peer) in [(one, other), (other, one)] {
                        self.overlay(device, OverlayEvent::ChannelFailed(self.id_of(peer)));
                    }
                    continue;
                }
                _ => continue,
            };
            let to = if from == one { other } else { one };
            self.overlay(from, OverlayEvent::ChannelFailed(self.id_of(to)));
        }
    }

    pub(super) fn id_of(&self, device: usize) -> DeviceId {
        self.devices[device].identity.device_id()
    }

    fn follow(&mut self, device: usize, follows: impl IntoIterator<Item = Follows>) {
        for next in follows {
            match next {
                Follows::Event(event) => self.overlay(device, event),
                Follows::Tell => self.tell_others(device),
            }
        }
    }

    /// Has an overlay handle an event, does what it wants done, and what follows from that.
    fn overlay(&mut self, device: usize, event: OverlayEvent) {
        let (moment, wall) = (self.moment(), self.clock(device));
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let Some(overlay) = &mut self.devices[device].overlay else { return };
            for action in overlay.handle(moment, wall, event) {
                events.extend(self.act(device, action));
            }
        }
        if let Some(earlier) = self.devices[device].alarm.take() {
            self.queue.remove(&earlier);
        }
        let deadline = self.devices[device].overlay.as_ref().and_then(|overlay| overlay.core().deadline());
        if let Some(deadline) = deadline {
            let at = u64::try_from(deadline.0.as_millis()).unwrap() + 1;
            let alarm = self.at(at.max(self.time), Event::Alarm { device });
            self.devices[device].alarm = Some(alarm);
        }
    }

    fn act(&mut self, device: usize, action: Action) -> Option<OverlayEvent> {
        match action {
            Action::RequestChannel { device: id, new_socket } => {
                let overlay = self.devices[device].overlay.as_ref()?;
                let to = self.places[&id];
                match overlay.request(id, new_socket) {
                    Request::Open => self.ask(device, to),
                    Request::Fail => return Some(OverlayEvent::ChannelFailed(id)),
                    Request::Search if overlay.admits(self.devices[to].person, id) => {
                        self.searching.insert((device, to));
                        self.after(SEARCH, Event::GivenUp { from: device, to });
                        self.introduce(device, to);
                    }
                    Request::Search => return Some(OverlayEvent::Removed(vec![id])),
                }
            }
            Action::CloseChannel(channel) => {
                if let Some(to) = self.other_end(device, channel) {
                    self.send_through(channel, to, Event::Closed { channel, to });
                }
            }
            Action::Send { channel, message } => {
                if let Some(to) = self.other_end(device, channel) {
                    let message = Box::new(message);
                    self.send_through(channel, to, Event::Message { channel, to, message });
                }
            }
            Action::Connected => self.tell_others(device),
            Action::Disconnected => {
                let moment = self.moment();
                let sought = self.devices[device].overlay.as_mut().map(|overlay| overlay.seek(moment));
                for person in sought.unwrap_or_default() {
                    for other in self.devices_of(person) {
                        self.introduce(device, other);
                    }
                }
            }
            Action::StoreMobiles => {}
            other => panic!("nobody is mobile: {other:?}"),
        }
        None
    }

    fn ask(&mut self, from: usize, to: usize) {
        let pause = self.random.random_range(LATENCY);
        self.after(pause, Event::Asked { from, to });
    }

    fn other_end(&self, device: usize, channel: ChannelId) -> Option<usize> {
        let [one, other] = self.channels.get(&channel)?.ends;
        Some(if device == one { other } else { one })
    }

    /// Has something arrive at one end of a channel, behind all that was sent before.
    fn send_through(&mut self, channel: ChannelId, to: usize, event: Event) {
        let arrival = self.time + self.random.random_range(LATENCY);
        let Some(open) = self.channels.get_mut(&channel) else { return };
        let last = &mut open.last[usize::from(open.ends[1] == to)];
        *last = arrival.max(*last);
        let arrival = *last;
        self.at(arrival, event);
    }

    /// Something that concerns overlays arrives.
    pub(super) fn route(&mut self, event: Event) {
        match event {
            Event::Alarm { device } => {
                self.devices[device].alarm = None;
                self.overlay(device, OverlayEvent::Deadline);
            }
            Event::Asked { from, to } => self.asked(from, to),
            Event::Opened { channel } => {
                let Some([from, to]) = self.channels.get(&channel).map(|it| it.ends) else { return };
                self.channel_up(from, to, channel, false);
            }
            Event::Refused { from, to, declined } => {
                let id = self.id_of(to);
                if let Some(overlay) = self.devices[from].overlay.as_mut().filter(|_| declined) {
                    overlay.declined(id);
                }
                self.overlay(from, OverlayEvent::ChannelFailed(id));
                if declined {
                    self.tell_others(from);
                }
            }
            Event::GivenUp { from, to } if self.searching.remove(&(from, to)) => {
                self.overlay(from, OverlayEvent::ChannelFailed(self.id_of(to)));
            }
            Event::Message { channel, to, message } => {
                self.overlay(to, OverlayEvent::Received { channel, message: *message });
            }
            Event::Closed { channel, to } => {
                self.channels.remove(&channel);
                self.overlay(to, OverlayEvent::ChannelDown(channel));
            }
            _ => {}
        }
    }

    /// A device asks another one for a channel.
    fn asked(&mut self, from: usize, to: usize) {
        let (id, person) = (self.id_of(from), self.devices[from].person);
        if !self.devices[to].overlay.as_ref().is_some_and(|overlay| overlay.admits(person, id)) {
            let pause = self.random.random_range(LATENCY);
            self.after(pause, Event::Refused { from, to, declined: true });
            return;
        }
        self.counts.channels += 1;
        let channel = ChannelId(u64::try_from(self.counts.channels).unwrap());
        self.channels.insert(channel, Channel { ends: [from, to], last: [0; 2] });
        self.send_through(channel, from, Event::Opened { channel });
        self.channel_up(to, from, channel, true);
    }

    fn channel_up(&mut self, device: usize, peer: usize, channel: ChannelId, incoming: bool) {
        let (id, person) = (self.id_of(peer), self.devices[peer].person);
        let Some(overlay) = &mut self.devices[device].overlay else { return };
        if overlay.admits(person, id) {
            let event = overlay.opened(channel, id, person, incoming);
            return self.overlay(device, event);
        }
        self.send_through(channel, peer, Event::Closed { channel, to: peer });
        self.overlay(device, OverlayEvent::ChannelFailed(id));
    }
}
