//! The overlay of one conversation as one device sees it: the core of the protocol, and what that has to
//! be told of members and links. No clock, no files, no network, for the actor and the schedules alike.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skep_protocol::drt::dissemination::Targets;
use skep_protocol::drt::message::MobileInfo;
use skep_protocol::drt::presence;
use skep_protocol::drt::random::Random;
use skep_protocol::drt::router::{Action, ChannelId, Context, Event, Router, RouterConfig};
use skep_protocol::drt::telling::{Company, FEW_MEMBERS, Head, Linked, Telling};
use skep_protocol::ids::{AccountId, CommitId, ConversationId, DeviceId};
use skep_protocol::time::{Moment, UnixMillis};

use super::messages::Membership;
use crate::swarm::messages::LinkState;

/// Devices remembered as having no overlay; each costs 32 bytes.
const MAX_WITHOUT: usize = 1024;

/// Shortest time between two searches for members.
const SEEK_AGAIN: Duration = Duration::from_secs(60);

/// Whose overlay it is.
#[derive(Clone, Copy, Debug)]
pub(in crate::swarm) struct Place {
    pub(in crate::swarm) conversation: ConversationId,
    pub(in crate::swarm) device: DeviceId,
    pub(in crate::swarm) account: AccountId,
}

/// What follows from a change of members or links.
#[derive(Clone, Debug)]
pub(in crate::swarm) enum Follows {
    /// The overlay is to handle an event.
    Event(Event),
    /// Somebody may have to be told of the head.
    Tell,
}

/// How a device gets a channel that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::swarm) enum Request {
    /// Over the link that is there.
    Open,
    /// It has to be looked for first.
    Search,
    /// Not at all, as it is.
    Fail,
}

/// See the module.
#[derive(Debug)]
pub(in crate::swarm) struct Overlay {
    place: Place,
    core: Router,
    members: Membership,
    /// Its audience, sorted.
    audience: Vec<AccountId>,
    /// Members' devices with a link, whose they are, and how they are spoken to.
    linked: BTreeMap<DeviceId, (AccountId, LinkState)>,
    /// Devices that have declined a channel since they had one.
    without_overlay: BTreeSet<DeviceId>,
    /// Who is at the other end of each open channel.
    ends: BTreeMap<ChannelId, (DeviceId, AccountId)>,
    /// Who had channels when we left: they are told of that, and pass it on.
    parted: Vec<(DeviceId, AccountId)>,
    telling: Telling,
    random: Random,
    /// When members were looked for last.
    sought: Option<Moment>,
}

impl Overlay {
    /// One that knows nobody but mobile devices. Its choices come from `seed`.
    pub(in crate::swarm) fn new(place: Place, seed: u64, mobiles: Vec<MobileInfo>) -> Self {
        let mut random = Random::from_seed(seed);
        let Place { conversation, device: own, .. } = place;
        let config = RouterConfig { own, conversation, is_mobile: false, seed: random.number(), mobiles };
        Self {
            place,
            core: Router::new(config),
            members: Membership::default(),
            audience: Vec::new(),
            linked: BTreeMap::new(),
            without_overlay: BTreeSet::new(),
            ends: BTreeMap::new(),
            parted: Vec::new(),
            telling: Telling::new(Random::from_seed(random.number())),
            random,
            sought: None,
        }
    }

    pub(in crate::swarm) const fn core(&self) -> &Router {
        &self.core
    }

    /// Members' devices with a link, and whose they are.
    pub(super) fn linked(&self) -> impl Iterator<Item = (DeviceId, AccountId)> {
        self.linked.iter().map(|(device, (account, _))| (*device, *account))
    }

    /// Whose a device is, if it has a link or a channel.
    pub(super) fn owner(&self, device: DeviceId) -> Option<AccountId> {
        let linked = self.linked.get(&device).map(|(account, _)| *account);
        linked.or_else(|| self.ends.values().find(|(it, _)| *it == device).map(|(_, account)| *account))
    }

    /// Whether a device may have a channel.
    pub(in crate::swarm) fn admits(&self, account: AccountId, device: DeviceId) -> bool {
        self.members.admits(account, device)
    }

    /// Handles an event; what is to be done then, in order. A channel that is open is told of by
    /// [`Self::opened`] first.
    pub(in crate::swarm) fn handle(&mut self, moment: Moment, wall: UnixMillis, event: Event) -> Vec<Action> {
        if let Event::ChannelDown(channel) = &event {
            self.ends.remove(channel);
        }
        let (members, linked) = (&self.members, &self.linked);
        let context = Context {
            moment,
            wall,
            is_active_member: &|account| members.audience.contains(&account),
            has_socket: &|device| linked.contains_key(&device),
        };
        let actions = self.core.handle(&context, event);
        for action in &actions {
            if let Action::CloseChannel(channel) = action {
                self.ends.remove(channel);
            }
        }
        actions
    }

    /// A channel with a device that is [admitted](Self::admits) is open.
    pub(in crate::swarm) fn opened(
        &mut self,
        channel: ChannelId,
        device: DeviceId,
        account: AccountId,
        incoming: bool,
    ) -> Event {
        self.without_overlay.remove(&device);
        self.ends.insert(channel, (device, account));
        Event::ChannelUp { channel, device, incoming }
    }

    /// How a device gets a channel.
    pub(in crate::swarm) fn request(&self, device: DeviceId, new_socket: bool) -> Request {
        match self.linked.get(&device) {
            // The next link asks again.
            _ if self.without_overlay.contains(&device) => Request::Fail,
            Some((_, LinkState::Up)) => Request::Open,
            None if new_socket => Request::Search,
            _ => Request::Fail,
        }
    }

    /// A device declines a channel. If it only is not ready yet, it will ask us.
    pub(in crate::swarm) fn declined(&mut self, device: DeviceId) {
        if self.without_overlay.len() < MAX_WITHOUT {
            self.without_overlay.insert(device);
        }
    }

    /// Takes in who takes part and which devices are linked, whatever was missed before.
    pub(in crate::swarm) fn overview(
        &mut self,
        members: Membership,
        linked: &BTreeMap<DeviceId, (AccountId, LinkState)>,
    ) -> Vec<Follows> {
        let mut follows: Vec<Follows> = self.set_members(members).into_iter().map(Follows::Event).collect();
        let down = self.linked().filter(|(device, _)| !linked.contains_key(device));
        for (device, account) in down.collect::<Vec<_>>() {
            follows.extend(self.link(device, account, LinkState::Down));
        }
        let mut known = Vec::new();
        for (device, (account, state)) in linked {
            match self.link(*device, *account, *state) {
                Some(Follows::Event(Event::Known(devices))) => known.extend(devices),
                other => follows.extend(other),
            }
        }
        // All at once, so that it is chance who of them is dialled. If it were the first of the list, these
        // would be the same with every device, and have channels with all.
        if !known.is_empty() {
            follows.push(Follows::Event(Event::Known(known)));
        }
        follows
    }

    fn set_members(&mut self, members: Membership) -> Option<Event> {
        let before = std::mem::replace(&mut self.members, members);
        self.audience = self.members.audience.iter().copied().collect();
        let known = self.ends.values().copied().chain(self.linked());
        let gone = known.filter(|(device, account)| !self.members.admits(*account, *device));
        let mut gone: BTreeSet<DeviceId> = gone.map(|(device, _)| device).collect();
        gone.extend(&self.members.banned_devices);
        for device in &gone {
            self.linked.remove(device);
            self.telling.unlinked(*device);
        }
        match (before.active, self.members.active) {
            (true, false) => self.parted = self.ends.values().copied().collect(),
            (false, false) => {}
            (_, true) => self.parted.clear(),
        }
        match (before.active, self.members.active) {
            (_, false) => Some(Event::Shutdown),
            (false, true) => Some(Event::Restart),
            (true, true) if !gone.is_empty() => Some(Event::Removed(gone.into_iter().collect())),
            (true, true) => None,
        }
    }

    /// A link to a member's device has changed.
    pub(in crate::swarm) fn link(
        &mut self,
        device: DeviceId,
        account: AccountId,
        state: LinkState,
    ) -> Option<Follows> {
        if state == LinkState::Down {
            self.linked.remove(&device);
            self.telling.unlinked(device);
            return None;
        }
        if !self.members.admits(account, device)
            || self.linked.insert(device, (account, state)) == Some((account, state))
        {
            return None;
        }
        // It may be another release than before.
        self.without_overlay.remove(&device);
        match state {
            // It has no overlay, and there may be something that it was not told.
            LinkState::Legacy => Some(Follows::Tell),
            LinkState::Up if self.members.audience.len() <= FEW_MEMBERS => {
                Some(Follows::Event(Event::SocketOpened(device)))
            }
            LinkState::Up => Some(Follows::Event(Event::Known(vec![device]))),
            LinkState::Down => None,
        }
    }

    /// There is a head; whether it is another commit than before.
    pub(in crate::swarm) fn set_head(&mut self, head: Head) -> bool {
        self.telling.set_head(head)
    }

    /// A device says that it has a commit.
    pub(in crate::swarm) fn heard(&mut self, device: DeviceId, commit: CommitId) {
        if self.linked.contains_key(&device) {
            self.telling.heard(device, commit);
        }
    }

    /// The head, and who is to be told of it who was not. They count as told from now on.
    pub(in crate::swarm) fn next_targets(&mut self) -> Option<(Head, Targets)> {
        let head = self.telling.head()?;
        let has_overlay = |device: &DeviceId, state: LinkState| {
            state != LinkState::Legacy && !self.without_overlay.contains(device)
        };
        let linked: Vec<Linked> = self
            .linked
            .iter()
            .map(|(device, (account, state))| Linked {
                device: *device,
                account: *account,
                has_overlay: has_overlay(device, *state),
            })
            .collect();
        let parted = self.parted.iter().map(|(device, _)| *device);
        let connected: Vec<DeviceId> = self.core.table().connected().chain(parted).collect();
        let ends = self.ends.values().chain(&self.parted);
        let connected_members: BTreeSet<AccountId> = ends.map(|(_, account)| *account).collect();
        let targets = self.telling.next(&Company {
            own: self.place.account,
            members: &self.audience,
            linked: &linked,
            connected: &connected,
            connected_members: &connected_members,
            to_wake: &self.core.to_wake(),
        });
        Some((head, targets))
    }

    /// Nobody is connected: the members whose devices are to be looked for, at most once a minute.
    pub(in crate::swarm) fn seek(&mut self, now: Moment) -> Vec<AccountId> {
        if !self.members.active || self.sought.is_some_and(|last| now.since(last) < SEEK_AGAIN) {
            return Vec::new();
        }
        self.sought = Some(now);
        let own = self.place.account;
        let members: Vec<AccountId> = self.members.people.iter().copied().filter(|it| *it != own).collect();
        let linked: Vec<AccountId> = self.linked.values().map(|(account, _)| *account).collect();
        presence::choose(&members, &linked, &mut self.random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: u8) -> DeviceId {
        DeviceId([number; 32])
    }

    fn account(number: u8) -> AccountId {
        AccountId([number; 20])
    }

    #[test]
    fn whoever_leaves_a_large_conversation_tells_those_who_had_channels() {
        let place = Place { conversation: ConversationId([9; 20]), device: device(0), account: account(0) };
        let mut overlay = Overlay::new(place, 1, Vec::new());
        let people: BTreeSet<AccountId> = (0..40).map(account).collect();
        let linked: BTreeMap<_, _> = (1..40).map(|it| (device(it), (account(it), LinkState::Up))).collect();
        let mut members =
            Membership { active: true, audience: people.clone(), people, banned_devices: Vec::new() };
        overlay.overview(members.clone(), &linked);
        let (now, wall) = (Moment::default(), UnixMillis(0));
        for (number, channel) in [(3, ChannelId(1)), (7, ChannelId(2)), (30, ChannelId(3))] {
            let up = overlay.opened(channel, device(number), account(number), false);
            let _ = overlay.handle(now, wall, up);
        }
        members.active = false;
        members.audience.remove(&account(0));
        for follows in overlay.overview(members, &linked) {
            let Follows::Event(event) = follows else { panic!("{follows:?}") };
            let _ = overlay.handle(now, wall, event);
        }
        overlay.set_head(Head { commit: CommitId([1; 20]), source: None });
        let (_, told) = overlay.next_targets().unwrap();
        assert_eq!(told.devices, [device(3), device(7), device(30)]);
        assert_eq!(told.accounts.len(), 2);
    }
    #[test]
    fn whoever_starts_anew_among_many_links_asks_any_of_them_for_channels() {
        let place = Place { conversation: ConversationId([9; 20]), device: device(0), account: account(0) };
        let people: BTreeSet<AccountId> = (0..40).map(account).collect();
        let linked: BTreeMap<_, _> = (1..40).map(|it| (device(it), (account(it), LinkState::Up))).collect();
        let members =
            Membership { active: true, audience: people.clone(), people, banned_devices: Vec::new() };
        let mut asked = BTreeSet::new();
        for seed in 0..60 {
            let mut overlay = Overlay::new(place, seed, Vec::new());
            for follows in overlay.overview(members.clone(), &linked) {
                let Follows::Event(event) = follows else { panic!("{follows:?}") };
                for action in overlay.handle(Moment::default(), UnixMillis(0), event) {
                    let Action::RequestChannel { device, .. } = action else { panic!("{action:?}") };
                    asked.insert(device);
                }
            }
        }
        // Not the first two of the list by everybody, which would be the centre of a star.
        assert!(asked.len() > 30, "{}", asked.len());
    }
}
