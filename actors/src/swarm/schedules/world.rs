//! Devices, the links between them, and time. Everything that happens is an event in one queue.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use skep_protocol::identity::DeviceIdentity;
use skep_protocol::ids::{AccountId, CommitId, ConversationId};
use skep_protocol::profile::ConversationProfile;
use skep_protocol::swarm::message::Mode;
use skep_protocol::time::UnixMillis;

use super::cast;
use crate::recorded::NOW;
use crate::swarm::founder::Founder;
use crate::swarm::replica::{Moved, Replica, ReplicaError};
use crate::swarm::repository::Repository;
use crate::swarm::repository::fetch::{Fetch, Fetched, FetchedPack};
use crate::swarm::repository::serve::Serve;
use crate::swarm::timeline::Change;

/// Devices that are all linked with each other; in larger groups each has a few neighbours.
const FULL_MESH: usize = 8;

/// Neighbours that each device chooses in a larger group, beside the next in a ring.
const CHOSEN: usize = 3;

/// One way, in milliseconds.
const LATENCY: std::ops::Range<u64> = 1..100;

/// A git session, in milliseconds.
const FETCH: std::ops::Range<u64> = 5..200;

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
    identity: Arc<DeviceIdentity>,
    folder: PathBuf,
    skew: i64,
    pub(super) replica: Option<Arc<Replica>>,
    neighbours: BTreeSet<usize>,
    /// Between a crash and the next start.
    pub(super) down: bool,
    /// On which side of a partition.
    side: u8,
    /// Whom it fetches from, and whether once more afterwards.
    fetching: BTreeMap<usize, bool>,
    /// Who has left writes no more, and only serves.
    pub(super) left: bool,
    /// How often each commit was told as new.
    pub(super) told: BTreeMap<CommitId, usize>,
    /// What came with the clone.
    pub(super) cloned: BTreeSet<CommitId>,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Notice { from: usize, to: usize, commit: CommitId },
    Fetch { to: usize, from: usize },
    Start { device: usize },
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) notices: usize,
    pub(super) fetches: usize,
    pub(super) merges: usize,
}

/// A group under way.
pub(super) struct World {
    pub(super) id: ConversationId,
    pub(super) devices: Vec<Device>,
    pub(super) random: StdRng,
    /// What is told of each step, if somebody wants to read it.
    trace: bool,
    queue: BTreeMap<(u64, u64), Event>,
    next: u64,
    /// Milliseconds since the beginning.
    pub(super) time: u64,
    /// When a head moved last.
    pub(super) moved: u64,
    /// Announcements that are under way: a later one takes the place of an earlier one.
    announced: BTreeMap<(usize, usize), (u64, u64)>,
    pub(super) counts: Counts,
    /// What honest devices refused of each other, which must not be.
    pub(super) refusals: Vec<String>,
    _place: tempfile::TempDir,
}

/// A folder in memory where there is one: a schedule forces thousands of files to disk.
fn place() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
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
        let mut devices: Vec<Device> = (0..size.devices)
            .map(|number| {
                let identity = cast::identity(number, size.people);
                Device {
                    person: identity.account_id(),
                    identity,
                    folder: place.path().join(number.to_string()).join(id.to_hex()),
                    skew: random.random_range(-SKEW..=SKEW),
                    replica: None,
                    neighbours: BTreeSet::new(),
                    down: false,
                    side: 0,
                    fetching: BTreeMap::new(),
                    left: false,
                    told: BTreeMap::new(),
                    cloned: BTreeSet::new(),
                }
            })
            .collect();
        for device in 0..size.devices {
            std::fs::create_dir_all(place.path().join(device.to_string())).unwrap();
            let chosen: Vec<usize> = if size.devices <= FULL_MESH {
                (0..size.devices).collect()
            } else {
                let far = (0..CHOSEN).map(|_| random.random_range(0..size.devices));
                far.chain([(device + 1) % size.devices]).collect()
            };
            for other in chosen.into_iter().filter(|other| *other != device) {
                devices[device].neighbours.insert(other);
                devices[other].neighbours.insert(device);
            }
        }
        let mut world = Self {
            id,
            devices,
            random,
            trace,
            queue: BTreeMap::new(),
            next: 0,
            time: 0,
            moved: 0,
            announced: BTreeMap::new(),
            counts: Counts::default(),
            refusals: Vec::new(),
            _place: place,
        };
        world.open(0);
        let history = world.devices[0].replica.as_ref().unwrap().log(usize::MAX).unwrap();
        world.devices[0].cloned = history.into_iter().collect();
        world
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

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>8} ms  {}", self.time, what());
        }
    }

    /// What its clock says.
    pub(super) fn clock(&self, device: usize) -> UnixMillis {
        let since = i64::try_from(self.time).unwrap();
        UnixMillis(NOW.0 + since + self.devices[device].skew)
    }

    fn founder(&self, device: usize) -> Founder {
        let identity = Arc::clone(&self.devices[device].identity);
        Founder { identity, name: device.to_string(), now: self.clock(device) }
    }

    fn open(&mut self, device: usize) {
        let founder = self.founder(device);
        let opened = Replica::open(self.id, &self.devices[device].folder, &founder).unwrap();
        self.devices[device].replica = opened.map(|(replica, _)| replica);
    }

    fn after(&mut self, pause: u64, event: Event) -> (u64, u64) {
        self.next += 1;
        let key = (self.time + pause, self.next);
        self.queue.insert(key, event);
        key
    }

    fn linked(&self, one: usize, other: usize) -> bool {
        let (a, b) = (&self.devices[one], &self.devices[other]);
        a.neighbours.contains(&other) && !a.down && !b.down && a.side == b.side
    }

    /// Whether a device takes another one for somebody who may fetch.
    fn admits(&self, device: usize, other: usize) -> bool {
        let Some(replica) = &self.devices[device].replica else { return false };
        let standing = replica.standing(replica.head().unwrap()).unwrap();
        standing.members.may_fetch(self.devices[other].person)
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
            Event::Notice { from, to, commit } => {
                self.announced.remove(&(from, to));
                if self.linked(from, to) {
                    self.counts.notices += 1;
                    self.announced_to(to, from, commit);
                }
            }
            Event::Fetch { to, from } => self.fetch(to, from),
            Event::Start { device } => {
                self.devices[device].down = false;
                self.open(device);
                self.tell(|| format!("{device} starts"));
                self.links_up(|one, other| one == device || other == device);
            }
        }
    }

    /// Both ends of new links look for news.
    fn links_up(&mut self, is_new: impl Fn(usize, usize) -> bool) {
        for one in 0..self.devices.len() {
            for other in self.devices[one].neighbours.clone() {
                if is_new(one, other) && self.linked(one, other) {
                    self.look_for_news(one, other);
                }
            }
        }
    }

    fn announced_to(&mut self, to: usize, from: usize, commit: CommitId) {
        let known = self.devices[to].replica.as_ref().is_some_and(|replica| replica.has(commit).unwrap());
        if !known {
            self.look_for_news(to, from);
        }
    }

    fn look_for_news(&mut self, to: usize, from: usize) {
        let device = &self.devices[to];
        if device.left || (device.replica.is_some() && !self.admits(to, from)) {
            return;
        }
        if let Some(again) = self.devices[to].fetching.get_mut(&from) {
            *again = true;
            return;
        }
        self.devices[to].fetching.insert(from, false);
        let pause = self.random.random_range(FETCH);
        self.after(pause, Event::Fetch { to, from });
    }

    fn fetch(&mut self, to: usize, from: usize) {
        let Some(again) = self.devices[to].fetching.remove(&from) else { return };
        if self.linked(to, from) && self.admits(from, to) {
            self.counts.fetches += 1;
            match self.devices[to].replica.clone() {
                Some(replica) => self.pull(to, from, &replica),
                None => self.clone_from(to, from),
            }
        }
        if again {
            self.look_for_news(to, from);
        }
    }

    fn pull(&mut self, to: usize, from: usize, replica: &Replica) {
        let server = self.devices[from].replica.clone().unwrap();
        let mut fetch = Fetch::new(self.id, self.devices[from].identity.device_id());
        let Some(pack) = session(|bytes| replica.fetch_step(&mut fetch, bytes).unwrap(), &server) else {
            return;
        };
        let now = self.clock(to);
        match replica.integrate(pack, now) {
            Ok(Some(moved)) => {
                let source = moved.adopted.then_some(from);
                self.counts.merges += usize::from(source.is_none());
                self.tell(|| format!("{to} takes {:?} from {from}", moved.standing.head.short()));
                self.has_moved(to, moved, source);
            }
            Ok(None) => self.tell(|| format!("{to} keeps what it has beside that of {from}")),
            Err(error) => self.refusals.push(format!("{to} refuses what {from} has: {error}")),
        }
    }

    fn clone_from(&mut self, to: usize, from: usize) {
        let server = self.devices[from].replica.clone().unwrap();
        let folder = self.devices[to].folder.clone();
        let unfinished = folder.with_extension("clone");
        let mut repository = Repository::create(&unfinished).unwrap();
        let mut fetch = Fetch::new(self.id, self.devices[from].identity.device_id());
        let pack = session(|bytes| fetch.advance(&repository, bytes).unwrap(), &server).unwrap();
        let head = pack.head();
        let new = pack.store(&repository).unwrap();
        repository.admit(new.quarantine).unwrap();
        let founder = self.founder(to);
        match Replica::adopt(self.id, repository, head, &folder, &founder) {
            Ok((replica, _)) => {
                let history = replica.log(usize::MAX).unwrap();
                self.tell(|| format!("{to} clones {} commits from {from}", history.len()));
                self.devices[to].cloned = history.into_iter().collect();
                self.devices[to].replica = Some(Arc::clone(&replica));
                if let Some(moved) = replica.join(self.clock(to)).unwrap() {
                    self.has_moved(to, moved, None);
                }
            }
            // Whoever invited us has left us out meanwhile.
            Err(ReplicaError::NotMember) => Repository::erase(&unfinished).unwrap(),
            Err(error) => self.refusals.push(format!("{to} does not clone from {from}: {error}")),
        }
    }

    /// The head of a device has moved: counts what is told, and announces it.
    pub(super) fn has_moved(&mut self, device: usize, moved: Moved, source: Option<usize>) {
        self.moved = self.time;
        for change in &moved.changes {
            if let Change::New(message) = change {
                *self.devices[device].told.entry(message.id).or_default() += 1;
            }
        }
        let commit = moved.standing.head;
        for neighbour in self.devices[device].neighbours.clone() {
            if Some(neighbour) == source
                || !self.linked(device, neighbour)
                || !moved.standing.people().contains(&self.devices[neighbour].person)
            {
                continue;
            }
            if let Some(earlier) = self.announced.remove(&(device, neighbour)) {
                self.queue.remove(&earlier);
            }
            let pause = self.random.random_range(LATENCY);
            let key = self.after(pause, Event::Notice { from: device, to: neighbour, commit });
            self.announced.insert((device, neighbour), key);
        }
    }

    /// The process ends, in the middle of whatever it fetches, and starts again later.
    pub(super) fn crash(&mut self, device: usize, pause: Duration) {
        self.tell(|| format!("{device} crashes"));
        let crashed = &mut self.devices[device];
        crashed.down = true;
        crashed.replica = None;
        crashed.fetching.clear();
        let pause = u64::try_from(pause.as_millis()).unwrap();
        self.after(pause, Event::Start { device });
    }

    /// Divides the devices: those on different sides have no links.
    pub(super) fn part(&mut self, sides: u8) {
        let before: Vec<u8> = self.devices.iter().map(|device| device.side).collect();
        for device in 0..self.devices.len() {
            self.devices[device].side = self.random.random_range(0..sides);
        }
        self.tell(|| format!("parted: {:?}", self.devices.iter().map(|it| it.side).collect::<Vec<_>>()));
        // Parted anew, some find each other again.
        self.links_up(|one, other| before[one] != before[other]);
    }

    /// All links are back.
    pub(super) fn heal(&mut self) {
        let sides: Vec<u8> = self.devices.iter().map(|device| device.side).collect();
        for device in &mut self.devices {
            device.side = 0;
        }
        self.tell(|| "healed".to_owned());
        let new = self.find_neighbours();
        self.links_up(|one, other| sides[one] != sides[other] || new.contains(&(one, other)));
    }

    /// Links those who are left in a ring, as the overlay does when neighbours leave the group or are
    /// banned. Returns the new links.
    fn find_neighbours(&mut self) -> BTreeSet<(usize, usize)> {
        let present: Vec<usize> =
            (0..self.devices.len()).filter(|it| !self.devices[*it].left && self.admits(0, *it)).collect();
        let mut new = BTreeSet::new();
        for (one, other) in
            present.iter().zip(present.iter().cycle().skip(1)).filter(|(one, other)| one != other)
        {
            if self.devices[*one].neighbours.insert(*other) {
                self.devices[*other].neighbours.insert(*one);
                new.extend([(*one, *other), (*other, *one)]);
            }
        }
        new
    }

    pub(super) fn step(&self, device: usize, what: impl FnOnce() -> String) {
        self.tell(|| format!("{device} {}", what()));
    }
}

/// A whole git session; what it brought, if anything.
fn session(
    mut client: impl FnMut(&[u8]) -> crate::swarm::repository::fetch::FetchStep,
    server: &Replica,
) -> Option<FetchedPack> {
    let mut serve = Serve::default();
    let mut answers: VecDeque<Bytes> = [Bytes::new()].into();
    loop {
        let answer = answers.pop_front().expect("the session goes on");
        let step = client(&answer);
        for request in &step.send {
            let mut served = server.serve_step(&mut serve, request).unwrap();
            answers.extend(served.send);
            while served.more {
                served = server.serve_step(&mut serve, &[]).unwrap();
                answers.extend(served.send);
            }
        }
        match step.done {
            Some(Fetched::New(pack)) => return Some(pack),
            Some(Fetched::UpToDate { .. }) => return None,
            None => {}
        }
    }
}
