//! A group of a thousand members in this process, in virtual time: how news spreads among them.
//!
//! ```text
//!   member ── router     whom it has channels with: the overlay
//!          ── telling    whom it tells of a commit
//!
//!   a commit: author ──► channels ──► their channels ──► …      one hop each: told, and fetched
//! ```
//!
//! Both are what a node decides with; only links, actors and repositories are left out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use skep_protocol::drt::dissemination::Targets;
use skep_protocol::drt::message::Message;
use skep_protocol::drt::presence;
use skep_protocol::drt::random::Random;
use skep_protocol::drt::router::{Action, ChannelId, Context, Event, Router, RouterConfig};
use skep_protocol::drt::telling::{Company, Head, Linked, Telling};
use skep_protocol::ids::{AccountId, CommitId, ConversationId, DeviceId};
use skep_protocol::time::{Moment, UnixMillis};

use crate::statistics::Samples;

/// Members, each with one device, all of them online.
pub(crate) const MEMBERS: usize = 1000;

/// Commits that spread, one after the other, each by another author.
pub(crate) const COMMITS: usize = 100;

/// The time of one hop: a channel comes up, a message of the overlay arrives, or a commit is told and
/// fetched.
const HOP: Duration = Duration::from_millis(50);

/// Time between two members who come online.
const JOIN: Duration = Duration::from_millis(10);

/// Time for the overlay to come to rest after the first came online.
const SETTLED: Duration = Duration::from_mins(5);

/// What everything follows from.
const SEED: u64 = 1;

/// When it happens.
const TODAY: UnixMillis = UnixMillis(1_795_400_000_000);

const CONVERSATION: ConversationId = ConversationId([9; 20]);

/// With whom members have links, over which they ask for channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// With everybody whose device is announced, as a node has.
    All,
    /// With nobody at first but the few that one looks for who knows nobody.
    Few,
}

/// How commits spread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spread {
    /// Of each commit, the hops within which 99 of 100 members had it.
    pub(crate) hops: Samples,
    /// Hops until the last member had it.
    pub(crate) last: Samples,
    /// Of each commit, how often a member was told of it on average.
    pub(crate) received: Samples,
    /// Members that did not get a commit, over all commits.
    pub(crate) missed: usize,
    /// Channels of each member.
    pub(crate) degrees: Samples,
}

impl Spread {
    /// The mean number of channels of a member.
    pub(crate) fn degree(&self) -> f64 {
        self.degrees.mean().unwrap_or_default()
    }
}

/// Has so many members come online and commits spread among them.
pub(crate) fn measure(members: usize, links: Links) -> Spread {
    let mut group = Group::new(members);
    group.join(links);
    group.run();
    let mut spread = Spread::default();
    let degrees = group.members.iter().map(|member| number(member.router.table().connected().count()));
    spread.degrees = degrees.collect();
    for commit in 0..COMMITS {
        group.publish(commit, &mut spread);
    }
    spread
}

/// What is on its way to a member.
enum Arrival {
    /// It comes online, and gets to know these.
    Online(Vec<usize>),
    Event(Event),
    /// Somebody asks for a channel.
    Asked(usize),
    Message(ChannelId, Message),
}

struct Member {
    device: DeviceId,
    account: AccountId,
    router: Router,
    telling: Telling,
    /// The other end of each channel.
    channels: BTreeMap<ChannelId, usize>,
    /// Members' devices that it has links with.
    linked: BTreeMap<DeviceId, AccountId>,
    /// When it wants to hear that time has passed.
    deadline: Option<Moment>,
}

impl Member {
    fn new(random: &mut Random) -> Self {
        let mut bytes = || random.number().to_be_bytes();
        let id: Vec<u8> = (0..4).flat_map(|_| bytes()).collect();
        let mut device = DeviceId([0; 32]);
        device.0.copy_from_slice(&id);
        let mut account = AccountId([0; 20]);
        account.0.copy_from_slice(&id[..20]);
        let seed = random.number();
        let config = RouterConfig {
            own: device,
            conversation: CONVERSATION,
            is_mobile: false,
            seed,
            mobiles: Vec::new(),
        };
        Self {
            device,
            account,
            router: Router::new(config),
            telling: Telling::new(Random::from_seed(seed)),
            channels: BTreeMap::new(),
            linked: BTreeMap::new(),
            deadline: None,
        }
    }
}

struct Group {
    members: Vec<Member>,
    devices: BTreeMap<DeviceId, usize>,
    accounts: BTreeMap<AccountId, usize>,
    people: BTreeSet<AccountId>,
    /// By time, then in the order they were sent.
    under_way: BinaryHeap<Reverse<(Moment, u64, usize)>>,
    arrivals: BTreeMap<u64, Arrival>,
    /// When members want to hear that time has passed.
    deadlines: BTreeSet<(Moment, usize)>,
    sent: u64,
    channels: u64,
    now: Moment,
    random: Random,
}

impl Group {
    fn new(members: usize) -> Self {
        let mut random = Random::from_seed(SEED);
        let members: Vec<Member> = (0..members).map(|_| Member::new(&mut random)).collect();
        Self {
            devices: members.iter().enumerate().map(|(place, member)| (member.device, place)).collect(),
            accounts: members.iter().enumerate().map(|(place, member)| (member.account, place)).collect(),
            people: members.iter().map(|member| member.account).collect(),
            members,
            under_way: BinaryHeap::new(),
            arrivals: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            sent: 0,
            channels: 0,
            now: Moment::default(),
            random,
        }
    }

    /// They come online one after the other.
    fn join(&mut self, links: Links) {
        for place in 1..self.members.len() {
            // In no order: whoever is known first is asked first.
            let count = match links {
                Links::All => place,
                Links::Few => presence::watched_count(self.members.len()),
            };
            let known = self.random.choose((0..place).collect(), count);
            let at = JOIN.saturating_mul(u32::try_from(place).unwrap_or(u32::MAX));
            self.send(self.now.plus(at), place, Arrival::Online(known));
        }
    }

    fn send(&mut self, at: Moment, to: usize, arrival: Arrival) {
        self.sent += 1;
        self.under_way.push(Reverse((at, self.sent, to)));
        self.arrivals.insert(self.sent, arrival);
    }

    /// Runs until everything has come to rest.
    fn run(&mut self) {
        let end = self.now.plus(SETTLED);
        loop {
            let next = self.under_way.peek().map(|Reverse((at, ..))| *at);
            let deadline = self.deadlines.first().copied();
            match (next, deadline) {
                (next, Some((at, place))) if at <= end && next.is_none_or(|next| at < next) => {
                    self.now = self.now.max(at);
                    self.handle(place, Event::Deadline);
                }
                (Some(at), _) if at <= end => self.arrive(),
                _ => break,
            }
        }
        self.now = end;
    }

    fn arrive(&mut self) {
        let Some(Reverse((at, number, to))) = self.under_way.pop() else { return };
        self.now = at;
        match self.arrivals.remove(&number) {
            Some(Arrival::Online(known)) => {
                for other in known {
                    self.link(to, other);
                    self.handle(to, Event::Known(vec![self.members[other].device]));
                    self.handle(other, Event::Known(vec![self.members[to].device]));
                }
            }
            Some(Arrival::Event(event)) => self.handle(to, event),
            Some(Arrival::Asked(from)) => self.asked(from, to),
            Some(Arrival::Message(channel, message)) if self.members[to].channels.contains_key(&channel) => {
                self.handle(to, Event::Received { channel, message });
            }
            Some(Arrival::Message(..)) | None => {}
        }
    }

    fn link(&mut self, one: usize, other: usize) {
        for (place, peer) in [(one, other), (other, one)] {
            let Member { device, account, .. } = self.members[peer];
            self.members[place].linked.insert(device, account);
        }
    }

    /// Everybody accepts.
    fn asked(&mut self, from: usize, to: usize) {
        self.link(from, to);
        self.channels += 1;
        let channel = ChannelId(self.channels);
        self.members[from].channels.insert(channel, to);
        self.members[to].channels.insert(channel, from);
        let up = |device, incoming| Event::ChannelUp { channel, device, incoming };
        let (asker, asked) = (self.members[from].device, self.members[to].device);
        self.send(self.now.plus(HOP), from, Arrival::Event(up(asked, false)));
        self.handle(to, up(asker, true));
    }

    fn handle(&mut self, place: usize, event: Event) {
        let Member { router, linked, .. } = &mut self.members[place];
        let context = Context {
            moment: self.now,
            wall: TODAY,
            is_active_member: &|_| true,
            has_socket: &|device| linked.contains_key(&device),
        };
        let actions = router.handle(&context, event);
        let deadline = router.deadline();
        for action in actions {
            self.act(place, action);
        }
        let before = std::mem::replace(&mut self.members[place].deadline, deadline);
        if before != deadline {
            before.map(|at| self.deadlines.remove(&(at, place)));
            self.deadlines.extend(deadline.map(|at| (at, place)));
        }
    }

    /// Leases and certificates are for mobile devices, and nobody is one.
    fn act(&mut self, place: usize, action: Action) {
        let at = self.now.plus(HOP);
        match action {
            Action::RequestChannel { device, .. } => {
                if let Some(to) = self.devices.get(&device).copied() {
                    self.send(at, to, Arrival::Asked(place));
                }
            }
            Action::Send { channel, message } => {
                if let Some(to) = self.members[place].channels.get(&channel).copied() {
                    // Not before the channel is up there.
                    self.send(at.plus(HOP), to, Arrival::Message(channel, message));
                }
            }
            Action::CloseChannel(channel) => {
                if let Some(to) = self.members[place].channels.remove(&channel) {
                    self.members[to].channels.remove(&channel);
                    self.send(at, to, Arrival::Event(Event::ChannelDown(channel)));
                }
            }
            _ => {}
        }
    }

    /// A member makes a commit, and everybody who gets it passes it on; the overlay does not change
    /// meanwhile.
    fn publish(&mut self, commit: usize, spread: &mut Spread) {
        let author = self.random.below(self.members.len());
        let mut id = CommitId([0; 20]);
        id.0[..8].copy_from_slice(&commit.to_be_bytes());
        let mut hops: Vec<Option<u32>> = vec![None; self.members.len()];
        let mut received = 0;
        let mut under_way = VecDeque::from([(author, None, 0)]);
        while let Some((place, source, hop)) = under_way.pop_front() {
            let source: Option<DeviceId> = source;
            if let Some(source) = source {
                received += 1;
                self.members[place].telling.heard(source, id);
            }
            if hops[place].is_none() {
                hops[place] = Some(hop);
                let own = self.members[place].device;
                let told = self.tell(place, Head { commit: id, source });
                under_way.extend(told.into_iter().map(|other| (other, Some(own), hop + 1)));
            }
        }
        spread.missed += hops.iter().filter(|hop| hop.is_none()).count();
        let hops: Samples = hops.into_iter().flatten().map(f64::from).collect();
        let [most, last] = [99, 100].map(|percent| hops.percentile(percent).unwrap_or_default());
        spread.hops.add(most);
        spread.last.add(last);
        spread.received.add(number(received) / number(self.members.len()));
    }

    /// Whom somebody tells of a new head.
    fn tell(&mut self, place: usize, head: Head) -> Vec<usize> {
        let Member { account: own, router, channels, linked, .. } = &self.members[place];
        let own = *own;
        let connected: Vec<DeviceId> = router.table().connected().collect();
        let linked = linked.iter();
        let linked: Vec<Linked> = linked
            .map(|(device, account)| Linked { device: *device, account: *account, has_overlay: true })
            .collect();
        let connected_members: BTreeSet<AccountId> =
            channels.values().map(|other| self.members[*other].account).collect();
        let telling = &mut self.members[place].telling;
        telling.set_head(head);
        let Targets { accounts, devices, .. } = telling.next(&Company {
            own,
            members: &self.people,
            linked: &linked,
            connected: &connected,
            connected_members: &connected_members,
            to_wake: &[],
        });
        let devices = devices.iter().filter_map(|device| self.devices.get(device));
        let accounts = accounts.iter().filter_map(|account| self.accounts.get(account));
        devices.chain(accounts).copied().filter(|other| *other != place).collect()
    }
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_is_told_of_every_commit_and_by_no_more_than_have_channels_with_it() {
        let spread = measure(60, Links::All);
        assert_eq!((spread.missed, spread.hops.count()), (0, COMMITS));
        assert!(spread.received.percentile(100).unwrap() <= spread.degree());
        assert!(spread.last.percentile(100).unwrap() <= 3.0);
        let spread = measure(60, Links::Few);
        assert_eq!(spread.missed, 0);
    }
}
