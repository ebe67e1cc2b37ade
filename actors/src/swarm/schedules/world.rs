//! Devices, the links between them, and time. Everything that happens is an event in one queue.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use skep_protocol::drt::message::Message;
use skep_protocol::drt::router::ChannelId;
use skep_protocol::identity::DeviceIdentity;
use skep_protocol::ids::{AccountId, CommitId, ConversationId, DeviceId};
use skep_protocol::profile::ConversationProfile;
use skep_protocol::swarm::layout::Role;
use skep_protocol::swarm::message::Mode;
use skep_protocol::time::{Moment, UnixMillis};

use super::cast;
use super::spreading::Channel;
use crate::recorded::NOW;
use crate::swarm::founder::Founder;
use crate::swarm::messages::LinkState;
use crate::swarm::replica::Replica;
use crate::swarm::router::overlay::Overlay;
use crate::swarm::standing::Standing;

/// Devices that are all linked with each other; in larger groups each has a few neighbours.
const FULL_MESH: usize = 8;

/// Neighbours that each device has in a larger group, beside the next in a ring: devices that it finds on
/// the DHT. Others are looked for by the overlay.
const CHOSEN: usize = 3;

/// One way, in milliseconds.
pub(super) const LATENCY: std::ops::Range<u64> = 1..100;

/// How long a new link takes, in milliseconds.
const LINKING: std::ops::Range<u64> = 50..500;

/// How far clocks are wrong, in milliseconds: a day.
const SKEW: i64 = 24 * 60 * 60 * 1000;

/// What the schedule is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) people: usize,
    pub(super) devices: usize,
    pub(super) mode: Mode,
}

pub(super) struct Device {
    pub(super) person: AccountId,
    pub(super) identity: Arc<DeviceIdentity>,
    pub(super) folder: PathBuf,
    skew: i64,
    pub(super) replica: Option<Arc<Replica>>,
    /// What the head of the copy says.
    pub(super) standing: Option<Standing>,
    /// The overlay, while there is a copy and the device runs.
    pub(super) overlay: Option<Overlay>,
    /// When the overlay wants to be woken.
    pub(super) alarm: Option<Key>,
    /// With whom it has a link when both are there.
    neighbours: BTreeSet<usize>,
    /// Between a crash and the next start.
    pub(super) down: bool,
    /// On which side of a partition.
    side: u8,
    /// Whom it fetches from, and whether once more afterwards.
    pub(super) fetching: BTreeMap<usize, bool>,
    /// Whom it has invited, which it knows after a start, too.
    pub(super) invited: BTreeSet<AccountId>,
    /// Who has left writes no more, and only serves.
    pub(super) left: bool,
    /// Who has fetched that it has left.
    pub(super) know_of_leave: BTreeSet<AccountId>,
    /// Whether it has written what honest devices never write.
    pub(super) forged: bool,
    /// How often each commit was told as new.
    pub(super) told: BTreeMap<CommitId, usize>,
    /// What came with the clone.
    pub(super) cloned: BTreeSet<CommitId>,
}

/// When an event happens, and its number.
pub(super) type Key = (u64, u64);

#[derive(Clone, Debug)]
pub(super) enum Event {
    /// An announcement arrives.
    Notice { from: usize, to: usize, commit: CommitId },
    /// An invitation arrives.
    Invitation { from: usize, to: usize },
    /// A fetch ends.
    Fetch { to: usize, from: usize },
    /// A device starts.
    Start { device: usize },
    /// Two devices that look for each other have a link, if they can.
    Meet { one: usize, other: usize },
    /// A device that has left has been there long enough.
    Erase { device: usize },
    /// The deadline of an overlay.
    Alarm { device: usize },
    /// A request for a channel of the overlay arrives.
    Asked { from: usize, to: usize },
    /// Who asked for a channel has it.
    Opened { channel: ChannelId },
    /// Who asked for a channel gets none.
    Refused { from: usize, to: usize, declined: bool },
    /// A device that was looked for was not found.
    GivenUp { from: usize, to: usize },
    /// A message of the overlay arrives.
    Message { channel: ChannelId, to: usize, message: Box<Message> },
    /// The other side has closed a channel.
    Closed { channel: ChannelId, to: usize },
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) notices: usize,
    pub(super) fetches: usize,
    pub(super) merges: usize,
    pub(super) channels: usize,
}

/// A group under way.
pub(super) struct World {
    pub(super) id: ConversationId,
    pub(super) devices: Vec<Device>,
    pub(super) places: BTreeMap<DeviceId, usize>,
    pub(super) random: StdRng,
    /// What is told of each step, if somebody wants to read it.
    trace: bool,
    pub(super) queue: BTreeMap<Key, Event>,
    next: u64,
    /// Milliseconds since the beginning.
    pub(super) time: u64,
    /// When a head moved last.
    pub(super) moved: u64,
    /// The links that are up, the smaller number first.
    up: BTreeSet<(usize, usize)>,
    pub(super) channels: BTreeMap<ChannelId, Channel>,
    /// Who looks for whom to have a channel.
    pub(super) searching: BTreeSet<(usize, usize)>,
    /// Announcements that are under way: a later one takes the place of an earlier one.
    pub(super) announced: BTreeMap<(usize, usize), Key>,
    pub(super) counts: Counts,
    /// What honest devices refused of each other, which must not be.
    pub(super) refusals: Vec<String>,
    _place: tempfile::TempDir,
}

/// A folder in memory where there is one: a schedule forces thousands of files to disk.
fn place() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn pair(one: usize, other: usize) -> (usize, usize) {
    (one.min(other), one.max(other))
}

impl World {
    /// A group that the first device has just begun.
    pub(super) fn begin(seed: u64, size: Size, trace: bool) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let place = place();
        let founder = Founder { identity: cast::identity(0, size.people), name: "0".to_owned(), now: NOW };
        let first = place.path().join("0");
        std::fs::create_dir(&first).unwrap();
        let id = founder.begin_group(size.mode, &ConversationProfile::default(), &first, |_| false).unwrap();
        let devices: Vec<Device> = (0..size.devices)
            .map(|number| {
                let identity = cast::identity(number, size.people);
                let folder = place.path().join(number.to_string());
                std::fs::create_dir_all(&folder).unwrap();
                Device {
                    person: identity.account_id(),
                    identity,
                    folder: folder.join(id.to_hex()),
                    skew: random.random_range(-SKEW..=SKEW),
                    replica: None,
                    standing: None,
                    overlay: None,
                    alarm: None,
                    neighbours: BTreeSet::new(),
                    down: false,
                    side: 0,
                    fetching: BTreeMap::new(),
                    invited: BTreeSet::new(),
                    left: false,
                    know_of_leave: BTreeSet::new(),
                    forged: false,
                    told: BTreeMap::new(),
                    cloned: BTreeSet::new(),
                }
            })
            .collect();
        let places = devices.iter().enumerate();
        let places = places.map(|(place, device)| (device.identity.device_id(), place)).collect();
        let mut world = Self {
            id,
            devices,
            places,
            random,
            trace,
            queue: BTreeMap::new(),
            next: 0,
            time: 0,
            moved: 0,
            up: BTreeSet::new(),
            channels: BTreeMap::new(),
            searching: BTreeSet::new(),
            announced: BTreeMap::new(),
            counts: Counts::default(),
            refusals: Vec::new(),
            _place: place,
        };
        world.meet_first();
        world.open(0);
        let history = world.devices[0].replica.as_ref().unwrap().log(usize::MAX).unwrap();
        world.devices[0].cloned = history.into_iter().collect();
        world
    }

    /// Before there is anything to be told, everybody has found somebody.
    fn meet_first(&mut self) {
        let count = self.devices.len();
        for device in 0..count {
            let chosen: Vec<usize> = if count <= FULL_MESH {
                (0..count).collect()
            } else {
                let far = (0..CHOSEN).map(|_| self.random.random_range(0..count));
                far.chain([(device + 1) % count]).collect()
            };
            for other in chosen.into_iter().filter(|other| *other != device) {
                self.devices[device].neighbours.insert(other);
                self.devices[other].neighbours.insert(device);
                self.up.insert(pair(device, other));
            }
        }
    }

    /// Where a device keeps its copy.
    pub(super) fn copy_of(&self, device: usize) -> &Path {
        &self.devices[device].folder
    }

    /// What a device shows when it has started anew, newest first.
    pub(super) fn shown_after_a_start(&mut self, device: usize) -> Vec<CommitId> {
        self.devices[device].replica = None;
        self.open(device);
        let page = self.devices[device].replica.as_ref().unwrap().page(None, usize::MAX / 4).unwrap();
        page.messages.into_iter().map(|message| message.id).collect()
    }

    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>8} ms  {}", self.time, what());
        }
    }

    /// What its clock says.
    pub(super) fn clock(&self, device: usize) -> UnixMillis {
        let since = i64::try_from(self.time).unwrap();
        UnixMillis(NOW.0 + since + self.devices[device].skew)
    }

    /// The time for waits.
    pub(super) fn moment(&self) -> Moment {
        Moment(Duration::from_millis(self.time))
    }

    pub(super) fn founder(&self, device: usize) -> Founder {
        let identity = Arc::clone(&self.devices[device].identity);
        Founder { identity, name: device.to_string(), now: self.clock(device) }
    }

    pub(super) fn open(&mut self, device: usize) {
        let founder = self.founder(device);
        let opened = Replica::open(self.id, &self.devices[device].folder, &founder).unwrap();
        if let Some((replica, standing)) = opened {
            self.has_copy(device, replica, standing);
        }
    }

    /// A device has its copy, and takes part in the overlay.
    pub(super) fn has_copy(&mut self, device: usize, replica: Arc<Replica>, standing: Standing) {
        self.devices[device].replica = Some(replica);
        self.devices[device].standing = Some(standing);
        self.start_overlay(device);
    }

    pub(super) fn after(&mut self, pause: u64, event: Event) -> Key {
        self.at(self.time + pause, event)
    }

    pub(super) fn at(&mut self, time: u64, event: Event) -> Key {
        self.next += 1;
        let key = (time, self.next);
        self.queue.insert(key, event);
        key
    }

    pub(super) fn linked(&self, one: usize, other: usize) -> bool {
        self.up.contains(&pair(one, other))
    }

    /// With whom a device has a link.
    pub(super) fn peers(&self, device: usize) -> Vec<usize> {
        self.devices[device].neighbours.iter().copied().filter(|other| self.linked(device, *other)).collect()
    }

    pub(super) fn devices_of(&self, person: AccountId) -> Vec<usize> {
        (0..self.devices.len()).filter(|device| self.devices[*device].person == person).collect()
    }

    /// Whether a device takes another one for somebody who may fetch.
    pub(super) fn admits(&self, device: usize, other: usize) -> bool {
        let standing = self.devices[device].standing.as_ref();
        let has_copy = self.devices[device].replica.is_some();
        has_copy && standing.is_some_and(|it| it.members.may_fetch(self.devices[other].person))
    }

    /// Lets time pass up to a moment, and what is due by then happen.
    pub(super) fn run_until(&mut self, time: u64) {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= time) {
            let ((due, _), event) = entry.remove_entry();
            self.time = due;
            self.happen(event);
        }
        self.time = self.time.max(time);
    }

    /// Lets everything happen that is under way; false if that is more than `most` events.
    pub(super) fn settle(&mut self, most: usize) -> bool {
        for _ in 0..most {
            let Some(((due, _), event)) = self.queue.pop_first() else { return true };
            self.time = due;
            self.happen(event);
        }
        self.queue.is_empty()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Notice { from, to, commit } => self.noticed(from, to, commit),
            Event::Invitation { from, to } if self.linked(from, to) => self.look_for_news(to, from),
            Event::Invitation { .. } => {}
            Event::Fetch { to, from } => self.fetch(to, from),
            Event::Start { device } => {
                self.devices[device].down = false;
                self.tell(|| format!("{device} starts"));
                self.open(device);
                self.review_links();
                self.go_on_leaving(device);
            }
            Event::Meet { one, other } => self.raise(one, other),
            Event::Erase { device } => self.erase(device),
            Event::Alarm { .. }
            | Event::Asked { .. }
            | Event::Opened { .. }
            | Event::Refused { .. }
            | Event::GivenUp { .. }
            | Event::Message { .. }
            | Event::Closed { .. } => self.route(event),
        }
    }

    fn is_possible(&self, one: usize, other: usize) -> bool {
        let (a, b) = (&self.devices[one], &self.devices[other]);
        a.neighbours.contains(&other) && !a.down && !b.down && a.side == b.side
    }

    /// Two devices know of each other from now on.
    pub(super) fn introduce(&mut self, one: usize, other: usize) {
        if one == other || !self.devices[one].neighbours.insert(other) {
            return;
        }
        self.devices[other].neighbours.insert(one);
        let pause = self.random.random_range(LINKING);
        self.after(pause, Event::Meet { one, other });
    }

    /// Ends the links that cannot be any more, and makes those that can be now.
    fn review_links(&mut self) {
        for (one, other) in self.up.clone() {
            if !self.is_possible(one, other) {
                self.up.remove(&(one, other));
                self.link_ended(one, other);
            }
        }
        for one in 0..self.devices.len() {
            for other in self.devices[one].neighbours.clone().into_iter().filter(|other| one < *other) {
                self.raise(one, other);
            }
        }
    }

    /// A link comes about, if it can and is not there. Both ends look for news.
    fn raise(&mut self, one: usize, other: usize) {
        if !self.is_possible(one, other) || !self.up.insert(pair(one, other)) {
            return;
        }
        for (device, peer) in [(one, other), (other, one)] {
            self.link_changed(device, peer, LinkState::Up);
            self.look_for_news(device, peer);
            self.invite_again(device, peer);
        }
    }

    /// The process ends, in the middle of whatever it fetches, and starts again later.
    pub(super) fn crash(&mut self, device: usize, pause: Duration) {
        self.tell(|| format!("{device} crashes"));
        let crashed = &mut self.devices[device];
        crashed.down = true;
        crashed.replica = None;
        crashed.overlay = None;
        crashed.fetching.clear();
        crashed.know_of_leave.clear();
        self.review_links();
        let pause = u64::try_from(pause.as_millis()).unwrap();
        self.after(pause, Event::Start { device });
    }

    /// Divides the devices: those on different sides have no links.
    pub(super) fn part(&mut self, sides: u8) {
        for device in 0..self.devices.len() {
            self.devices[device].side = self.random.random_range(0..sides);
        }
        self.tell(|| format!("parted: {:?}", self.devices.iter().map(|it| it.side).collect::<Vec<_>>()));
        // Parted anew, some find each other again.
        self.review_links();
    }

    /// All links are back.
    pub(super) fn heal(&mut self) {
        for device in &mut self.devices {
            device.side = 0;
        }
        self.tell(|| "healed".to_owned());
        self.find_members();
        self.review_links();
    }

    /// Those who are left find the next one on the DHT, as the members of a group do: neighbours may have
    /// left, or been banned.
    fn find_members(&mut self) {
        let founder = self.devices[0].standing.clone();
        let takes_part = |device: &Device| {
            let role = founder.as_ref().and_then(|it| it.members.role(device.person));
            !device.left && matches!(role, Some(Role::Admin | Role::Member | Role::Invited))
        };
        let present: Vec<usize> =
            (0..self.devices.len()).filter(|it| takes_part(&self.devices[*it])).collect();
        for (one, other) in present.iter().zip(present.iter().cycle().skip(1)) {
            if one != other {
                self.devices[*one].neighbours.insert(*other);
                self.devices[*other].neighbours.insert(*one);
            }
        }
    }

    pub(super) fn step(&self, device: usize, what: impl FnOnce() -> String) {
        self.tell(|| format!("{device} {}", what()));
    }
}
