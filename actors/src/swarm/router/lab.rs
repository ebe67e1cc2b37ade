//! Routers of many devices over links that exist only here. Time passes when a test says so.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use skep_protocol::drt::message::MobileInfo;
use skep_protocol::drt::mobiles::encode_list;
use skep_protocol::drt::random::Random;
use skep_protocol::drt::telling::Head;
use skep_protocol::ids::{AccountId, CommitId, ConversationId, DeviceId};
use skep_protocol::swarm::notice::Notice as SwarmNotice;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::messages::{Membership, RouterMessage, RoutesView};
use super::{RouterActor, RouterActorConfig};
use crate::blocking::{BlockingPool, Share};
use crate::directory::messages::DirectoryMessage;
use crate::peer::messages::{Channel, ChannelOffer, LinkError, LinksMessage, Recipient};
use crate::recorded::NOW;
use crate::supervision::{
    Actor, ActorRow, ChildSpec, Environment, Message, Policy, Port, Reply, RootHandle, Scope, start_root,
};
use crate::swarm::messages::{ConversationMessage, LinkState};
use crate::swarm::testing::{channel_pair, founder};
use crate::virtual_time::until;

/// How long a question may take, in the time of the test.
pub(super) const SOON: Duration = Duration::from_secs(5);

pub(super) const CONVERSATION: ConversationId = ConversationId([9; 20]);

pub(super) fn device(place: usize) -> DeviceId {
    let mut random = Random::from_seed(u64::try_from(place).unwrap());
    DeviceId(std::array::from_fn(|_| random.number().to_be_bytes()[0]))
}

pub(super) fn account(place: usize) -> AccountId {
    let mut id = [0; 20];
    id[..8].copy_from_slice(&place.to_be_bytes());
    AccountId(id)
}

pub(super) fn commit(number: u16) -> CommitId {
    let mut id = [0; 20];
    id[..2].copy_from_slice(&number.to_be_bytes());
    CommitId(id)
}

/// What a device does when it is asked for a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manners {
    Accepts,
    /// As devices of 2023 do.
    Declines,
    /// Never answers.
    Silent,
}

/// One device, as the others see it.
pub(super) struct Place {
    pub(super) router: Option<Port<RouterMessage>>,
    pub(super) manners: Manners,
    /// The commits it has.
    pub(super) has: BTreeSet<CommitId>,
    /// How often it was told of each commit by whom.
    pub(super) received: BTreeMap<(CommitId, usize), usize>,
    /// How often it was asked for a channel.
    pub(super) asked: usize,
    pub(super) unanswered: Vec<Reply<Result<Channel, LinkError>>>,
    /// Announcements for people without a link to it.
    pub(super) kept: Vec<AccountId>,
    /// Devices that it has woken, and for which commit.
    pub(super) woken: Vec<(DeviceId, CommitId)>,
}

/// All of them, and what is between them.
#[derive(Default)]
pub(super) struct World {
    pub(super) places: Vec<Place>,
    links: BTreeSet<(usize, usize)>,
    pumps: BTreeMap<(usize, usize), Vec<AbortHandle>>,
}

fn pair(one: usize, other: usize) -> (usize, usize) {
    (one.min(other), one.max(other))
}

impl World {
    fn place_of(&self, wanted: DeviceId) -> Option<usize> {
        (0..self.places.len()).find(|place| device(*place) == wanted)
    }
}

#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    fn deliver(&self, from: usize, to: usize, told: CommitId) {
        let mut world = self.world();
        if !world.links.contains(&pair(from, to)) {
            return;
        }
        let place = &mut world.places[to];
        *place.received.entry((told, from)).or_default() += 1;
        let new = place.has.insert(told);
        let Some(router) = place.router.clone() else { return };
        drop(world);
        router.try_send(RouterMessage::Heard { device: device(from), commit: told }).unwrap();
        if new {
            // It was fetched in no time.
            router.try_send(RouterMessage::Head(Head { commit: told, source: Some(device(from)) })).unwrap();
        }
    }

    fn notify(&self, from: usize, to: &Recipient, told: CommitId, except: Option<DeviceId>) {
        let places: Vec<usize> = match to {
            Recipient::Device(wanted) => self.world().place_of(*wanted).into_iter().collect(),
            Recipient::Account(wanted) => {
                let all = 0..self.world().places.len();
                all.filter(|place| account(*place) == *wanted && *place != from).collect()
            }
        };
        for place in places {
            if !self.world().links.contains(&pair(from, place)) {
                self.world().places[from].kept.push(account(place));
            } else if except != Some(device(place)) {
                self.deliver(from, place, told);
            }
        }
    }

    fn open(&self, from: usize, to: DeviceId, name: String, reply: Reply<Result<Channel, LinkError>>) {
        let mut world = self.world();
        let target = world.place_of(to).filter(|place| world.links.contains(&pair(from, *place)));
        let Some(target) = target else { return reply.send(Err(LinkError::UnknownDevice(to))) };
        let place = &mut world.places[target];
        place.asked += 1;
        let router = match place.manners {
            Manners::Silent => return place.unanswered.push(reply),
            Manners::Declines => None,
            Manners::Accepts => place.router.clone(),
        };
        drop(world);
        let declined = LinkError::Declined { device: to, name: name.clone() };
        let Some(router) = router else { return reply.send(Err(declined)) };
        let (accept, accepted) = oneshot::channel();
        let offer = ChannelOffer { name, device: device(from), account: account(from), accept };
        let _ = router.try_send(RouterMessage::Offer(offer));
        let shared = self.clone();
        tokio::task::spawn_local(async move {
            let Ok(give) = accepted.await else { return reply.send(Err(declined)) };
            let (ours, theirs) = shared.connect(from, target);
            let _ = give.send(theirs);
            reply.send(Ok(ours));
        });
    }

    /// A channel between two places.
    fn connect(&self, one: usize, other: usize) -> (Channel, Channel) {
        let ([ours, theirs], pumps) = channel_pair([other, one].map(|peer| (account(peer), device(peer))));
        self.world().pumps.entry(pair(one, other)).or_default().extend(pumps);
        (ours, theirs)
    }
}

struct Links(usize, Shared);

impl Actor for Links {
    type Message = LinksMessage;
    const KIND: &'static str = "links";

    fn handle(&mut self, message: LinksMessage, _: &mut Scope<'_, Self>) {
        match message {
            LinksMessage::Notify { to, notice, except, .. } => {
                match SwarmNotice::parse(&notice.kind, &notice.content) {
                    Ok(SwarmNotice::Announcement(told)) => self.1.notify(self.0, &to, told.commit, except),
                    other => panic!("{other:?}"),
                }
            }
            LinksMessage::Wake { device, notice, .. } => {
                match SwarmNotice::parse(&notice.kind, &notice.content) {
                    Ok(SwarmNotice::Announcement(told)) => {
                        self.1.world().places[self.0].woken.push((device, told.commit));
                    }
                    other => panic!("{other:?}"),
                }
            }
            LinksMessage::Open { device, name, reply, .. } => self.1.open(self.0, device, name, reply),
            _ => {}
        }
    }
}

/// Knows nobody.
struct Directory;

impl Actor for Directory {
    type Message = DirectoryMessage;
    const KIND: &'static str = "directory";

    fn handle(&mut self, _: DirectoryMessage, _: &mut Scope<'_, Self>) {}
}

/// What the routers tell, which nobody hears.
struct Conversation;

impl Actor for Conversation {
    type Message = ConversationMessage;
    const KIND: &'static str = "conversation";

    fn handle(&mut self, _: ConversationMessage, _: &mut Scope<'_, Self>) {}
}

struct Root {
    shared: Shared,
    folder: tempfile::TempDir,
    legacy: usize,
    /// The mobile devices that all remember.
    mobiles: Vec<MobileInfo>,
}

pub(super) struct Ready(pub(super) Reply<()>);

impl Message for Ready {
    fn kind(&self) -> &'static str {
        "ready"
    }
    fn policy(&self) -> Policy {
        Policy::Wait
    }
}

impl Actor for Root {
    type Message = Ready;
    const KIND: &'static str = "root";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        let (identity, pool) = (founder().identity, BlockingPool::new(1));
        let directory = scope.start_child(ChildSpec::new("directory"), || Directory);
        let conversation = scope.start_child(ChildSpec::new("conversation"), || Conversation);
        let count = self.shared.world().places.len();
        for place in 0..count - self.legacy {
            let shared = self.shared.clone();
            let spec = ChildSpec::new("links").capacity(4096);
            let links = scope.start_child(spec, move || Links(place, shared.clone()));
            let mobiles_file = self.folder.path().join(place.to_string());
            std::fs::write(&mobiles_file, encode_list(&self.mobiles)).unwrap();
            let config = RouterActorConfig {
                id: CONVERSATION,
                device: device(place),
                account: account(place),
                identity: Arc::clone(&identity),
                mobiles_file,
                links,
                directory: directory.clone(),
                pool: pool.clone(),
                share: Share(1),
                conversation: conversation.clone(),
            };
            let spec = ChildSpec::new("router").capacity(4096);
            let router = scope.start_child(spec, move || RouterActor::new(config.clone()));
            self.shared.world().places[place].router = Some(router);
        }
    }

    fn handle(&mut self, Ready(reply): Ready, _: &mut Scope<'_, Self>) {
        reply.send(());
    }
}

/// A conversation of many devices, each another person's, nobody linked yet.
pub(super) struct Lab {
    pub(super) shared: Shared,
    pub(super) count: usize,
    root: RootHandle<Ready>,
}

impl Lab {
    /// The last `legacy` devices are of 2023: they have no overlay, and pass nothing on here.
    pub(super) async fn start(count: usize, legacy: usize) -> Self {
        Self::start_beside(count, legacy, Vec::new()).await
    }

    /// The same, beside mobile devices that all of them remember.
    pub(super) async fn start_beside(count: usize, legacy: usize, mobiles: Vec<MobileInfo>) -> Self {
        let shared = Shared::default();
        for place in 0..count {
            let is_legacy = place >= count - legacy;
            shared.world().places.push(Place {
                router: None,
                manners: if is_legacy { Manners::Declines } else { Manners::Accepts },
                has: BTreeSet::new(),
                received: BTreeMap::new(),
                asked: 0,
                unanswered: Vec::new(),
                kept: Vec::new(),
                woken: Vec::new(),
            });
        }
        let (world, folder) = (shared.clone(), Mutex::new(Some(tempfile::tempdir().unwrap())));
        let root = start_root(Environment::single_thread(NOW, 1), move || {
            let folder = folder.lock().unwrap().take().unwrap();
            Root { shared: world.clone(), folder, legacy, mobiles: mobiles.clone() }
        });
        root.port().ask(SOON, Ready).await.unwrap();
        let lab = Self { shared, count, root };
        for place in 0..count {
            lab.set_members(place, &(0..count).collect::<Vec<_>>());
        }
        lab.settled().await;
        lab
    }

    pub(super) fn tell(&self, place: usize, message: RouterMessage) {
        if let Some(router) = self.shared.world().places[place].router.clone() {
            router.try_send(message).unwrap();
        }
    }

    pub(super) fn set_members(&self, place: usize, members: &[usize]) {
        let people: BTreeSet<AccountId> = members.iter().map(|member| account(*member)).collect();
        let members =
            Membership { active: true, audience: people.clone(), people, banned_devices: Vec::new() };
        let linked = {
            let world = self.shared.world();
            let peers = (0..self.count).filter(|peer| world.links.contains(&pair(place, *peer)));
            peers.map(|peer| (device(peer), (account(peer), LinkState::Up))).collect()
        };
        self.tell(place, RouterMessage::Overview { members, linked });
    }

    /// Links two devices, if they are not linked.
    pub(super) fn link(&self, one: usize, other: usize) {
        self.shared.world().links.insert(pair(one, other));
        for (place, peer) in [(one, other), (other, one)] {
            let (device, account, state) = (device(peer), account(peer), LinkState::Up);
            self.tell(place, RouterMessage::Link { device, account, state });
        }
    }

    pub(super) fn link_all(&self) {
        for one in 0..self.count {
            for other in 0..one {
                self.link(one, other);
            }
        }
    }

    /// Ends the link between two devices, and with it their channels.
    pub(super) fn unlink(&self, one: usize, other: usize) {
        let pumps = {
            let mut world = self.shared.world();
            world.links.remove(&pair(one, other));
            world.pumps.remove(&pair(one, other)).unwrap_or_default()
        };
        pumps.iter().for_each(AbortHandle::abort);
        for (place, peer) in [(one, other), (other, one)] {
            let (device, account, state) = (device(peer), account(peer), LinkState::Down);
            self.tell(place, RouterMessage::Link { device, account, state });
        }
    }

    /// A device makes a commit.
    pub(super) fn publish(&self, place: usize, commit: CommitId) {
        self.shared.world().places[place].has.insert(commit);
        self.tell(place, RouterMessage::Head(Head { commit, source: None }));
    }

    /// Everything has come to rest.
    pub(super) async fn settled(&self) {
        let tree = self.root.environment().tree();
        let is_quiet = |row: &ActorRow| row.mailbox == 0;
        let turns = || tree.rows().iter().map(|row| row.turns).sum::<u64>();
        for _ in 0..20 {
            let before = Cell::new(turns());
            until(|| {
                let now = turns();
                before.replace(now) == now && tree.rows().iter().all(is_quiet)
            })
            .await;
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn routes(&self, place: usize) -> RoutesView {
        let router = self.shared.world().places[place].router.clone().unwrap();
        router.ask(SOON, RouterMessage::Routes).await.unwrap()
    }

    /// How often a device was told of a commit.
    pub(super) fn times_told(&self, place: usize, wanted: CommitId) -> usize {
        let world = self.shared.world();
        world.places[place].received.iter().filter(|((it, _), _)| *it == wanted).map(|(_, times)| times).sum()
    }

    pub(super) fn has(&self, place: usize, commit: CommitId) -> bool {
        self.shared.world().places[place].has.contains(&commit)
    }
}
