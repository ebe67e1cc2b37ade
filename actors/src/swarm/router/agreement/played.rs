//! The same with actors: routers over links in memory. What is under way waits in a list, and time passes from
//! one entry of it to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use skep_protocol::drt::telling::Head;
use skep_protocol::identity::VerifiedChain;
use skep_protocol::ids::{AccountId, CommitId, DeviceId};
use skep_protocol::swarm::notice::Notice as SwarmNotice;
use skep_sim::overlay::Item;
use skep_sim::scenario::Scenario;
use skep_sim::time::Time;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::super::lab::{CONVERSATION, Ready, SOON};
use super::super::messages::{Membership, RouteState, RouterMessage, RouterTold};
use super::super::{RouterActor, RouterActorConfig};
use super::{Course, Script, Step};
use crate::blocking::{BlockingPool, Share};
use crate::directory::messages::DirectoryMessage;
use crate::peer::messages::{Channel, ChannelOffer, LinkError, LinksMessage, Recipient};
use crate::recorded::NOW;
use crate::supervision::{Actor, ChildSpec, Environment, Port, Reply, RootHandle, Scope, start_root};
use crate::swarm::messages::{ConversationMessage, LinkState};
use crate::swarm::testing::{channel, founder};
use crate::virtual_time::until;

/// So often everything that is ready goes on until the next thing happens: more often than what one thing sets off
/// goes from task to task.
const TURNS: usize = 16;

/// In microseconds. Routers wait for whole ones only.
const SECOND: u64 = 1_000_000;

/// What is under way.
enum Due {
    Step(usize, Step),
    /// Somebody asks for a channel.
    Request {
        from: usize,
        to: usize,
        asked: Asked,
    },
    /// There is a connection with another.
    Meet {
        at: usize,
        peer: usize,
    },
    Offer {
        from: usize,
        to: usize,
        name: String,
        end: Channel,
    },
    Answer {
        asked: Asked,
        end: Channel,
    },
    Failed {
        asked: Asked,
        device: DeviceId,
    },
    Bytes {
        from: usize,
        to: usize,
        inbound: mpsc::Sender<Bytes>,
        bytes: Bytes,
    },
    Notice {
        from: usize,
        to: usize,
        item: Item,
    },
    Fetched {
        at: usize,
        from: usize,
        item: Item,
    },
    /// A device notices that another is gone.
    Down {
        at: usize,
        gone: usize,
    },
}

/// A channel that is asked for.
struct Asked {
    name: String,
    reply: Reply<Result<Channel, LinkError>>,
}

/// A connection between two, and the channels over it.
struct Link {
    /// From when on both have it.
    from: Time,
    pumps: Vec<AbortHandle>,
}

/// One device.
struct Place {
    id: DeviceId,
    is_up: bool,
    router: Option<Port<RouterMessage>>,
    fetching: BTreeSet<Item>,
}

struct World {
    scenario: Scenario,
    /// In milliseconds.
    latency: Vec<Vec<f64>>,
    places: Vec<Place>,
    links: BTreeMap<(usize, usize), Link>,
    now: Time,
    under_way: BTreeMap<(Time, u64), Due>,
    count: u64,
    started: usize,
    course: Course,
}

fn pair(one: usize, other: usize) -> (usize, usize) {
    (one.min(other), one.max(other))
}

fn item(commit: CommitId) -> Item {
    let mut first = [0; 4];
    first.copy_from_slice(&commit.0[..4]);
    Item::from_be_bytes(first)
}

fn commit(item: Item) -> CommitId {
    let mut commit = CommitId([0; CommitId::LENGTH]);
    commit.0[..4].copy_from_slice(&item.to_be_bytes());
    commit
}

impl World {
    fn new(scenario: &Scenario, ids: &[DeviceId]) -> Self {
        let table = std::fs::read_to_string(scenario.folder.join("latency.csv")).unwrap();
        let row = |line: &str| line.split(',').map(|cell| cell.parse().unwrap()).collect();
        let place = |id: &DeviceId| Place { id: *id, is_up: false, router: None, fetching: BTreeSet::new() };
        Self {
            scenario: scenario.clone(),
            latency: table.lines().map(row).collect(),
            places: ids.iter().map(place).collect(),
            links: BTreeMap::new(),
            now: Time::default(),
            under_way: BTreeMap::new(),
            count: 0,
            started: 0,
            course: Course::default(),
        }
    }

    fn put(&mut self, at: Time, due: Due) {
        self.count += 1;
        self.under_way.insert((at, self.count), due);
    }

    fn way(&self, from: usize, to: usize) -> Time {
        Time::from_millis(self.latency[from][to])
    }

    fn round_trips(&self, one: usize, other: usize, trips: f64) -> Time {
        let both = self.way(one, other).plus(self.way(other, one));
        Time((both.0 as f64 * trips) as u64)
    }

    /// When a new connection stands, so many ways there and back from now.
    fn connected(&self, from: usize, to: usize, trips: f64) -> Time {
        let setup = Time::from_millis(self.scenario.network.setup_ms);
        self.now.plus(setup).plus(self.way(from, to)).plus(self.round_trips(from, to, trips))
    }

    fn account(&self, place: usize) -> AccountId {
        // As the simulation has it, so that members stand in the same order.
        let mut account = AccountId([0; AccountId::LENGTH]);
        account.0.copy_from_slice(&self.places[place].id.0[DeviceId::LENGTH - AccountId::LENGTH..]);
        account
    }

    fn find(&self, id: DeviceId) -> usize {
        self.places.iter().position(|place| place.id == id).unwrap()
    }

    fn tell(&self, place: usize, message: RouterMessage) {
        self.places[place].router.as_ref().unwrap().try_send(message).unwrap();
    }

    fn tell_link(&self, place: usize, peer: usize, state: LinkState) {
        let (device, account) = (self.places[peer].id, self.account(peer));
        self.tell(place, RouterMessage::Link { device, account, state });
    }

    fn notify(&mut self, from: usize, to: &Recipient, item: Item, except: Option<DeviceId>) {
        if !self.places[from].is_up {
            return;
        }
        let trips = 1.0 + self.scenario.network.setup_round_trips;
        match to {
            Recipient::Device(device) => {
                let to = self.find(*device);
                assert!(self.links.contains_key(&pair(from, to)));
                self.put(self.now.plus(self.way(from, to)), Due::Notice { from, to, item });
            }
            Recipient::Account(account) => {
                let to = (0..self.places.len()).find(|place| self.account(*place) == *account).unwrap();
                if to != from && except != Some(self.places[to].id) {
                    self.put(self.connected(from, to, trips), Due::Notice { from, to, item });
                }
            }
        }
    }

    /// A device hears of a commit.
    fn noticed(&mut self, from: usize, to: usize, item: Item) {
        if !self.places[to].is_up {
            return;
        }
        *self.course.told.entry((item, to)).or_default() += 1;
        let (device, commit) = (self.places[from].id, commit(item));
        self.tell(to, RouterMessage::Heard { device, commit });
        if !self.course.had.contains_key(&(item, to)) && self.places[to].fetching.insert(item) {
            let workload = &self.scenario.workload;
            let takes = self.round_trips(to, from, workload.fetch_round_trips);
            let at = self.now.plus(takes).plus(Time::from_millis(workload.fetch_ms));
            self.put(at, Due::Fetched { at: to, from, item });
        }
    }

    fn fetched(&mut self, at: usize, from: usize, item: Item) {
        assert!(self.places[from].is_up);
        let (_, hops) = self.course.had[&(item, from)];
        self.course.had.insert((item, at), (self.now, hops + 1));
        let source = Some(self.places[from].id);
        self.tell(at, RouterMessage::Head(Head { commit: commit(item), source }));
    }

    fn step(&mut self, place: usize, step: Step) {
        match step {
            Step::Come(known) => {
                self.places[place].is_up = true;
                let audience: BTreeSet<AccountId> =
                    (0..self.places.len()).map(|place| self.account(place)).collect();
                let mut people = audience.clone();
                people.insert(founder().identity.account_id());
                let members = Membership { active: true, audience, people, banned_devices: Vec::new() };
                let linked = known
                    .into_iter()
                    .map(|peer| (self.places[peer].id, (self.account(peer), LinkState::Up)))
                    .collect();
                self.tell(place, RouterMessage::Overview { members, linked });
            }
            Step::Vanish => {
                self.places[place].is_up = false;
                let at = self.now.plus(Time::from_millis(self.scenario.network.detection_ms));
                let ends = self.links.keys().filter(|(one, other)| [*one, *other].contains(&place));
                for (one, other) in ends.copied().collect::<Vec<_>>() {
                    self.put(at, Due::Down { at: one + other - place, gone: place });
                }
            }
            Step::Write(item) => {
                self.course.had.insert((item, place), (self.now, 0));
                self.tell(place, RouterMessage::Head(Head { commit: commit(item), source: None }));
            }
        }
    }

    /// A request for a channel arrives; the first makes the connection.
    fn requested(&mut self, from: usize, to: usize, asked: Asked, shared: &Shared) {
        if !self.places[to].is_up || !self.places[from].is_up {
            let at = self.now.plus(Time::from_millis(self.scenario.network.connect_timeout_ms));
            return self.put(at, Due::Failed { asked, device: self.places[to].id });
        }
        let (now, back) = (self.now, self.now.plus(self.way(to, from)));
        match self.links.get(&pair(from, to)).map(|link| link.from) {
            // Both asked at once.
            Some(stands) if stands > now => return self.put(stands, Due::Request { from, to, asked }),
            Some(_) => {}
            None => {
                self.links.insert(pair(from, to), Link { from: back, pumps: Vec::new() });
                self.put(now, Due::Meet { at: to, peer: from });
                self.put(back, Due::Meet { at: from, peer: to });
            }
        }
        let (ours, us) = channel(self.account(to), self.places[to].id, 64);
        let (theirs, them) = channel(self.account(from), self.places[from].id, 64);
        let (outward, inward) = (us.outbound, them.outbound);
        let pumps = [shared.pump(from, to, outward, them.inbound), shared.pump(to, from, inward, us.inbound)];
        self.links.get_mut(&pair(from, to)).unwrap().pumps.extend(pumps);
        self.put(now, Due::Offer { from, to, name: asked.name.clone(), end: theirs });
        self.put(back, Due::Answer { asked, end: ours });
    }

    fn happen(&mut self, due: Due, shared: &Shared) {
        match due {
            Due::Step(place, step) => self.step(place, step),
            Due::Request { from, to, asked } => self.requested(from, to, asked, shared),
            Due::Meet { at, peer } => self.tell_link(at, peer, LinkState::Up),
            Due::Offer { from, to, name, end } => {
                let (accept, accepted) = oneshot::channel::<oneshot::Sender<Channel>>();
                let (device, account) = (self.places[from].id, self.account(from));
                self.tell(to, RouterMessage::Offer(ChannelOffer { name, device, account, accept }));
                tokio::task::spawn_local(async move { accepted.await.unwrap().send(end).unwrap() });
            }
            Due::Answer { asked, end } => asked.reply.send(Ok(end)),
            Due::Failed { asked, device } => asked.reply.send(Err(LinkError::Lost(device))),
            Due::Bytes { from, to, inbound, bytes } => {
                if self.places[from].is_up && self.places[to].is_up {
                    inbound.try_send(bytes).unwrap();
                }
            }
            Due::Notice { from, to, item } => self.noticed(from, to, item),
            Due::Fetched { at, from, item } => self.fetched(at, from, item),
            Due::Down { at, gone } => {
                let link = self.links.remove(&pair(at, gone)).unwrap();
                link.pumps.iter().for_each(AbortHandle::abort);
                self.tell_link(at, gone, LinkState::Down);
            }
        }
    }
}

#[derive(Clone)]
struct Shared(Arc<Mutex<World>>);

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// Has what one device writes into a channel reach the other after its time.
    fn pump(
        &self,
        from: usize,
        to: usize,
        mut written: mpsc::Receiver<crate::peer::channel::Outbound>,
        inbound: mpsc::Sender<Bytes>,
    ) -> AbortHandle {
        let shared = self.clone();
        let pump = tokio::task::spawn_local(async move {
            while let Some(crate::peer::channel::Outbound::Data { bytes, .. }) = written.recv().await {
                let mut world = shared.world();
                let at = world.now.plus(world.way(from, to));
                world.put(at, Due::Bytes { from, to, inbound: inbound.clone(), bytes });
            }
        });
        pump.abort_handle()
    }
}

struct Links(usize, Shared);

impl Actor for Links {
    type Message = LinksMessage;
    const KIND: &'static str = "links";

    fn handle(&mut self, message: LinksMessage, _: &mut Scope<'_, Self>) {
        let mut world = self.1.world();
        match message {
            LinksMessage::Notify { to, notice, except, .. } => {
                match SwarmNotice::parse(&notice.kind, &notice.content) {
                    Ok(SwarmNotice::Announcement(told)) => {
                        world.notify(self.0, &to, item(told.commit), except)
                    }
                    other => panic!("{other:?}"),
                }
            }
            LinksMessage::Open { device, name, reply, .. } => {
                let (from, to) = (self.0, world.find(device));
                let at = world.connected(from, to, world.scenario.network.setup_round_trips);
                world.put(at, Due::Request { from, to, asked: Asked { name, reply } });
            }
            _ => {}
        }
    }
}

/// Finds every device: who it belongs to is a member.
struct Directory(VerifiedChain);

impl Actor for Directory {
    type Message = DirectoryMessage;
    const KIND: &'static str = "directory";

    fn handle(&mut self, message: DirectoryMessage, _: &mut Scope<'_, Self>) {
        if let DirectoryMessage::Device { reply, .. } = message {
            reply.send(Some(self.0.clone()));
        }
    }
}

struct Conversation(usize, Shared);

impl Actor for Conversation {
    type Message = ConversationMessage;
    const KIND: &'static str = "conversation";

    fn handle(&mut self, message: ConversationMessage, _: &mut Scope<'_, Self>) {
        match message {
            ConversationMessage::Router(RouterTold::Started) => self.1.world().started += 1,
            // The first that comes is alone until the second does.
            ConversationMessage::Router(RouterTold::Seek(_)) => assert_eq!(self.0, 0),
            _ => {}
        }
    }
}

struct Root {
    place: usize,
    shared: Shared,
    pool: BlockingPool,
    folder: tempfile::TempDir,
}

impl Actor for Root {
    type Message = Ready;
    const KIND: &'static str = "root";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        let (place, shared, identity) = (self.place, self.shared.clone(), founder().identity);
        let chain = identity.chain().clone();
        let directory = scope.start_child(ChildSpec::new("directory"), move || Directory(chain.clone()));
        let told = shared.clone();
        let conversation =
            scope.start_child(ChildSpec::new("conversation"), move || Conversation(place, told.clone()));
        let asked = shared.clone();
        let links = scope.start_child(ChildSpec::new("links"), move || Links(place, asked.clone()));
        let device = shared.world().places[place].id;
        let account = shared.world().account(place);
        let config = RouterActorConfig {
            id: CONVERSATION,
            device,
            account,
            identity,
            mobiles_file: self.folder.path().join("mobiles"),
            links,
            directory,
            pool: self.pool.clone(),
            share: Share(1),
            conversation,
        };
        let router = scope.start_child(ChildSpec::new("router"), move || RouterActor::new(config.clone()));
        shared.world().places[place].router = Some(router);
    }

    fn handle(&mut self, Ready(reply): Ready, _: &mut Scope<'_, Self>) {
        reply.send(());
    }
}

async fn settled() {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}

/// Lets time pass until the next thing happens or, if that is before, to the end of a second: whoever waited for
/// that does what it wanted to.
async fn pass(shared: &Shared, end: Time) {
    let (now, next) = {
        let mut world = shared.world();
        let first = world.under_way.first_key_value().map_or(end, |((at, _), _)| *at);
        let now = world.now;
        world.now = first.min(Time((now.0 / SECOND + 1) * SECOND));
        (now, world.now)
    };
    tokio::time::advance(Duration::from_micros(next.since(now).0)).await;
    settled().await;
}

/// Plays what befell simulated devices.
pub(super) async fn run(scenario: &Scenario, script: Script) -> Course {
    let shared = Shared(Arc::new(Mutex::new(World::new(scenario, &script.ids))));
    let pool = BlockingPool::new(1);
    let mut roots: Vec<RootHandle<Ready>> = Vec::new();
    for (place, seed) in script.seeds.iter().enumerate() {
        let (shared, pool) = (shared.clone(), pool.clone());
        let root = start_root(Environment::single_thread(NOW, *seed), move || Root {
            place,
            shared: shared.clone(),
            pool: pool.clone(),
            folder: tempfile::tempdir().unwrap(),
        });
        root.port().ask(SOON, Ready).await.unwrap();
        roots.push(root);
    }
    until(|| shared.world().started == script.ids.len()).await;
    for (at, place, step) in script.steps {
        shared.world().put(at, Due::Step(place, step));
    }
    let end = Time::from_seconds(scenario.duration_s);
    while shared.world().now < end {
        pass(&shared, end).await;
        loop {
            let mut world = shared.world();
            let now = world.now;
            if world.under_way.first_key_value().is_none_or(|((at, _), _)| *at > now) {
                break;
            }
            let (_, due) = world.under_way.pop_first().unwrap();
            world.happen(due, &shared);
            drop(world);
            settled().await;
        }
    }
    links(&shared).await
}

/// How it went; both ends of each link have it.
async fn links(shared: &Shared) -> Course {
    let count = shared.world().places.len();
    let mut ends = BTreeSet::new();
    for place in 0..count {
        let router = shared.world().places[place].router.clone().unwrap();
        if !shared.world().places[place].is_up {
            continue;
        }
        let routes = router.ask(SOON, RouterMessage::Routes).await.unwrap();
        let connected = routes.nodes.iter().filter(|node| node.state == RouteState::Connected);
        let world = shared.world();
        ends.extend(connected.map(|node| (place, world.find(node.device))));
    }
    let mut course = std::mem::take(&mut shared.world().course);
    for (one, other) in &ends {
        assert!(ends.contains(&(*other, *one)));
        course.links.insert(pair(*one, *other));
    }
    course
}
