//! Who is there, as an account sees it on a DHT that holds what a test puts into it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use skep_protocol::contact::{ContactList, MAX_ANNOUNCED_DEVICES, MAX_CHANGES_AT_ONCE};
use skep_protocol::dht::content::Content;
use skep_protocol::dht::value::Value;
use skep_protocol::identity::Announcement;
use skep_protocol::ids::DeviceId;
use skep_protocol::keys::PrivateKey;
use skep_protocol::msgpack::Value as Object;
use skep_protocol::time::UnixMillis;

use super::*;
use crate::dht::messages::{Found, ListenEvent, ListenId, PutReport};

/// A DHT that answers with what it holds, and counts what it is asked.
#[derive(Clone, Debug, Default)]
struct Held(Arc<Mutex<Shelves>>);

#[derive(Debug, Default)]
struct Shelves {
    values: BTreeMap<DhtKey, Vec<Arc<Value>>>,
    listening: BTreeMap<ListenId, (DhtKey, Outlet<ListenEvent>)>,
    /// How often each key was listened at.
    listened: BTreeMap<DhtKey, usize>,
    gets: usize,
}

impl Actor for Held {
    type Message = DhtMessage;
    const KIND: &'static str = "dht";

    fn handle(&mut self, message: DhtMessage, _: &mut Scope<'_, Self>) {
        let mut held = self.0.lock().unwrap();
        match message {
            DhtMessage::Get { key, reply } => {
                held.gets += 1;
                let values = held.values.get(&key).into_iter().flatten();
                let values = values.map(|value| Value::clone(value)).collect();
                reply.send(Ok(Found { values, answered: 1 }));
            }
            DhtMessage::Put { reply, .. } => reply.send(Ok(PutReport { stored: 8 })),
            DhtMessage::Listen { id, key, outlet } => {
                if let Some(values) = held.values.get(&key) {
                    outlet.try_send(ListenEvent::Values(values.clone())).unwrap();
                }
                *held.listened.entry(key).or_default() += 1;
                held.listening.insert(id, (key, outlet));
            }
            DhtMessage::Cancel { id } => drop(held.listening.remove(&id)),
            DhtMessage::Health { reply } => reply.send(crate::dht::messages::Health::default()),
            _ => {}
        }
    }
}

impl Held {
    /// Tells those who listen at a key.
    async fn tell(&self, key: DhtKey, event: ListenEvent) {
        let listening: Vec<_> = self.0.lock().unwrap().listening.values().cloned().collect();
        for (_, outlet) in listening.into_iter().filter(|(at, _)| *at == key) {
            outlet.send(event.clone()).await.unwrap();
        }
    }

    /// Puts values, and tells those who listen.
    async fn put(&self, key: DhtKey, values: Vec<Value>) {
        let values: Vec<_> = values.into_iter().map(Arc::new).collect();
        self.0.lock().unwrap().values.entry(key).or_default().extend(values.iter().cloned());
        self.tell(key, ListenEvent::Values(values)).await;
    }

    /// Lets a value expire.
    async fn expire(&self, key: DhtKey, value: &Value) {
        if let Some(values) = self.0.lock().unwrap().values.get_mut(&key) {
            values.retain(|held| held.id != value.id);
        }
        self.tell(key, ListenEvent::Expired(vec![value.fingerprint()])).await;
    }

    fn listened(&self, account: AccountId) -> usize {
        self.0.lock().unwrap().listened.get(&account.dht_key()).copied().unwrap_or_default()
    }

    fn listens(&self, account: AccountId) -> bool {
        self.0.lock().unwrap().listening.values().any(|(key, _)| *key == account.dht_key())
    }

    fn gets(&self) -> usize {
        self.0.lock().unwrap().gets
    }
}

struct Alone {
    held: Held,
    account: Box<dyn Fn(Port<DhtMessage>) -> AccountConfig>,
    port: Option<Port<AccountMessage>>,
}

struct PortWanted(Reply<Port<AccountMessage>>);

impl Message for PortWanted {
    fn kind(&self) -> &'static str {
        "port_wanted"
    }
    fn policy(&self) -> Policy {
        Policy::Wait
    }
}

impl Actor for Alone {
    type Message = PortWanted;
    const KIND: &'static str = "root";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        let held = self.held.clone();
        let dht = scope.start_child(ChildSpec::new("dht"), move || held.clone());
        let config = (self.account)(dht);
        self.port =
            Some(scope.start_child(ChildSpec::new("account"), move || AccountActor::new(config.clone())));
    }

    fn handle(&mut self, PortWanted(reply): PortWanted, _: &mut Scope<'_, Self>) {
        reply.send(self.port.clone().unwrap());
    }
}

/// An account alone with its DHT.
struct Room {
    held: Held,
    account: Port<AccountMessage>,
    events: mpsc::Receiver<NodeEvent>,
    root: RootHandle<PortWanted>,
    _place: tempfile::TempDir,
}

impl Room {
    /// One with these contacts.
    async fn start(contacts: impl FnOnce(&mut ContactList)) -> Self {
        let place = tempfile::tempdir().unwrap();
        let folder = AccountFolder::new(place.path(), LocalAccountId([1; 8]));
        lay_out(&folder, "jami-13.11.0", "alice");
        let own = Recorded::new("jami-13.11.0", "alice").open().account_key.public().account_id();
        let mut list = ContactList::new(own);
        contacts(&mut list);
        storage::replace(&folder.join("contacts"), &list.encode()).unwrap();
        let (events, received) = Outlet::channel("test", 8192);
        let (names, _) = Outlet::channel("names", 64);
        let held = Held::default();
        let (dht, pool) = (held.clone(), BlockingPool::new(2));
        let root = start_root(Environment::single_thread(NOW, 1), move || {
            let (folder, pool, events, names) = (folder.clone(), pool.clone(), events.clone(), names.clone());
            Alone {
                held: dht.clone(),
                account: Box::new(move |dht| AccountConfig {
                    folder: folder.clone(),
                    local: LocalAccountId([1; 8]),
                    dht,
                    pool: pool.clone(),
                    events: events.clone(),
                    names: names.clone(),
                    gather: GatherOptions { include_loopback: true },
                    unused: UnusedPlaces::default(),
                    files: TransferLimits::default(),
                    public: false,
                    announcement: ValueId(1),
                }),
                port: None,
            }
        });
        let account = root.port().ask(PATIENCE, PortWanted).await.unwrap();
        let mut room = Self { held, account, events: received, root, _place: place };
        room.wait(|event| matches!(event, Event::AccountReady {}).then_some(())).await;
        room
    }

    async fn wait<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let found = async {
            loop {
                let event = self.events.recv().await.unwrap().event;
                if let Some(found) = wanted(&event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap()
    }

    /// What is told next of who is there.
    async fn presence(&mut self) -> (AccountId, Vec<DeviceId>) {
        self.wait(|event| match event {
            Event::Presence { contact, online, devices } => {
                assert_eq!(*online, !devices.is_empty());
                Some((*contact, devices.clone()))
            }
            _ => None,
        })
        .await
    }

    /// How often was told since of who is there.
    fn presences(&mut self) -> usize {
        let mut count = 0;
        while let Ok(told) = self.events.try_recv() {
            count += usize::from(matches!(told.event, Event::Presence { .. }));
        }
        count
    }

    async fn ask<R>(&self, request: impl FnOnce(Reply<R>) -> AccountRequest) -> R {
        self.account.ask(PATIENCE, |reply| AccountMessage::Request(request(reply))).await.unwrap()
    }

    async fn contact(&self, id: AccountId) -> ContactView {
        let contacts: Vec<ContactView> = self.ask(AccountRequest::Contacts).await;
        contacts.into_iter().find(|contact| contact.id == id).unwrap()
    }

    /// The devices of a contact as the list shows them.
    async fn shown(&self, id: AccountId) -> Vec<DeviceId> {
        let contact = self.contact(id).await;
        assert_eq!(contact.online, !contact.devices.is_empty());
        contact.devices.into_iter().map(|device| device.id).collect()
    }

    async fn stop(self) {
        assert!(self.root.shutdown(PATIENCE).await.complete);
    }
}

/// Where time can be made to pass.
fn run_on_one_thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

fn stranger(number: usize) -> AccountId {
    let mut id = [7; 20];
    id[..8].copy_from_slice(&(number as u64).to_be_bytes());
    AccountId(id)
}

/// A contact with two devices, whose certificates are on the DHT.
struct Friend {
    id: AccountId,
    key: PrivateKey,
    devices: Vec<PublicKey>,
}

impl Friend {
    fn of(held: &Held) -> Self {
        let folders =
            ["alice", "alice2"].map(|name| Recorded::new("newest", "alice").folder.with_file_name(name));
        let devices = folders.map(|folder| {
            let pem = fs::read(folder.join("ring_device.crt")).unwrap();
            let key = Chain::parse(&pem).unwrap().leaf().public_key().clone();
            let content = Content::new(8, Object::binary(&pem).encode());
            let place = DhtKey::certificate(key.device_id());
            let value = Arc::new(Value::plain(ValueId(1), content));
            held.0.lock().unwrap().values.insert(place, vec![value]);
            key
        });
        let key = Recorded::new("newest", "alice").open().account_key.clone();
        Self { id: key.public().account_id(), key, devices: devices.to_vec() }
    }

    fn device(&self, number: usize) -> DeviceId {
        self.devices[number].device_id()
    }

    fn announcement(&self, device: usize, id: u64) -> Value {
        Value { id: ValueId(id), ..Announcement::issue(&self.key, &self.devices[device]).unwrap() }
    }
}

/// A room whose owner has one contact, who has agreed.
async fn with_friend() -> (Room, Friend) {
    let friend = Friend::of(&Held::default()).id;
    let room = Room::start(|contacts| {
        contacts.add(NOW, friend, None, true).unwrap();
    })
    .await;
    let friend = Friend::of(&room.held);
    (room, friend)
}

#[test]
fn a_contacts_devices_come_and_go_with_their_announcements() {
    run(async {
        let (mut room, friend) = with_friend().await;
        let key = friend.id.dht_key();
        assert_eq!(room.shown(friend.id).await, []);
        room.held.put(key, vec![friend.announcement(0, 10)]).await;
        assert_eq!(room.presence().await, (friend.id, vec![friend.device(0)]));
        let mut both = vec![friend.device(0), friend.device(1)];
        both.sort();
        room.held.put(key, vec![friend.announcement(1, 11)]).await;
        assert_eq!(room.presence().await, (friend.id, both.clone()));
        assert_eq!(room.shown(friend.id).await, both);
        assert!(!room.contact(friend.id).await.connected);
        room.held.expire(key, &friend.announcement(0, 10)).await;
        assert_eq!(room.presence().await, (friend.id, vec![friend.device(1)]));
        room.held.expire(key, &friend.announcement(1, 11)).await;
        assert_eq!(room.presence().await, (friend.id, vec![]));
        assert_eq!(room.shown(friend.id).await, []);
        room.stop().await;
    });
}

#[test]
fn a_thousand_contacts_cost_one_listening_each_and_nothing_more() {
    run_on_one_thread(async {
        let (banned, removed) = (stranger(5000), stranger(5001));
        let room = Room::start(|contacts| {
            for number in 0..1000 {
                contacts.add(NOW, stranger(number), None, true).unwrap();
            }
            for (contact, ban) in [(banned, true), (removed, false)] {
                contacts.add(NOW, contact, None, true).unwrap();
                contacts.remove(UnixMillis(NOW.0 + 1000), contact, ban).unwrap();
            }
        })
        .await;
        let all = async {
            while (0..1000).any(|number| room.held.listened(stranger(number)) == 0) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.unwrap();
        let gets = room.held.gets();
        tokio::time::pause();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        tokio::time::resume();
        assert!((0..1000).all(|number| room.held.listened(stranger(number)) == 1));
        assert_eq!((room.held.listened(banned), room.held.listened(removed)), (0, 0));
        assert_eq!(room.held.gets(), gets, "nothing is asked for");
        room.stop().await;
    });
}

#[test]
fn who_is_banned_is_not_followed_until_allowed_again() {
    run(async {
        let (mut room, friend) = with_friend().await;
        let key = friend.id.dht_key();
        room.held.put(key, vec![friend.announcement(0, 10)]).await;
        room.presence().await;
        let remove = |reply| AccountRequest::RemoveContact { contact: friend.id, ban: true, reply };
        room.ask(remove).await.unwrap();
        assert_eq!(room.shown(friend.id).await, []);
        while room.held.listens(friend.id) {
            tokio::task::yield_now().await;
        }
        room.held.put(key, vec![friend.announcement(1, 11)]).await;
        let allow = |reply| AccountRequest::AddContact { contact: friend.id, reply };
        room.ask(allow).await.unwrap();
        let (who, devices) = room.presence().await;
        assert_eq!((who, devices.is_empty()), (friend.id, false));
        while room.shown(friend.id).await.len() < 2 {
            tokio::task::yield_now().await;
        }
        room.stop().await;
    });
}

#[test]
fn a_banned_device_is_not_shown_beside_the_others_until_it_is_allowed_again() {
    run(async {
        let (mut room, friend) = with_friend().await;
        let key = friend.id.dht_key();
        room.held.put(key, vec![friend.announcement(0, 10)]).await;
        room.presence().await;
        let ban = |device| move |reply| AccountRequest::BanDevice { device, reply };
        let own = room.ask::<AccountView>(AccountRequest::Describe).await.device;
        assert_eq!(room.ask(ban(own)).await, Err(AccountError::BanOwnDevice));
        let device = friend.device(0);
        room.ask(ban(device)).await.unwrap();
        assert_eq!(room.presence().await, (friend.id, vec![]));
        assert_eq!(room.contact(friend.id).await.banned_devices, [device]);
        // It is announced anew, and so is another one.
        room.held.put(key, vec![friend.announcement(0, 12), friend.announcement(1, 11)]).await;
        assert_eq!(room.presence().await, (friend.id, vec![friend.device(1)]));
        let allow = |reply| AccountRequest::AllowDevice { device, reply };
        room.ask(allow).await.unwrap();
        assert_eq!(room.presence().await.1.len(), 2);
        let allow = |reply| AccountRequest::AllowDevice { device, reply };
        assert_eq!(room.ask(allow).await, Err(AccountError::NotBanned(device)));
        room.stop().await;
    });
}

#[test]
fn forged_and_foreign_announcements_show_nobody() {
    run(async {
        let (mut room, friend) = with_friend().await;
        let other = Recorded::new("jami-13.11.0", "alice").open();
        let foreign = Announcement::issue(&other.account_key, &friend.devices[0]).unwrap();
        let mut packed = friend.announcement(0, 21).encode();
        // The last bytes are the signature and then the priority.
        let last = packed.len() - 10;
        packed[last] ^= 1;
        let altered = Value::decode(&packed).unwrap();
        // A device of somebody else, which the friend claims.
        let theirs = Recorded::new("jami-13.11.0", "alice").chain().leaf().public_key().clone();
        let claimed = Announcement::issue(&friend.key, &theirs).unwrap();
        let bad = [foreign, altered, claimed];
        let bad = bad.into_iter().zip(20..).map(|(value, id)| Value { id: ValueId(id), ..value }).collect();
        room.held.put(friend.id.dht_key(), bad).await;
        room.held.put(friend.id.dht_key(), vec![friend.announcement(1, 30)]).await;
        assert_eq!(room.presence().await, (friend.id, vec![friend.device(1)]));
        assert_eq!(room.shown(friend.id).await, [friend.device(1)]);
        room.stop().await;
    });
}

#[test]
fn a_device_that_flaps_a_thousand_times_is_told_of_a_few_times() {
    run(async {
        let (mut room, friend) = with_friend().await;
        let (key, begun) = (friend.id.dht_key(), std::time::Instant::now());
        let announcement = friend.announcement(0, 0);
        for number in 0..1000 {
            let value = Value { id: ValueId(1000 + number), ..announcement.clone() };
            room.held.put(key, vec![value.clone()]).await;
            if number < 999 {
                room.held.expire(key, &value).await;
            }
        }
        while room.shown(friend.id).await.is_empty() {
            tokio::task::yield_now().await;
        }
        let most = u64::from(MAX_CHANGES_AT_ONCE) + begun.elapsed().as_secs() / 10 + 1;
        let told = room.presences();
        assert!(told as u64 <= most, "told {told} times");
        room.stop().await;
    });
}

#[test]
fn a_contact_that_announces_hundreds_of_devices_has_few_looked_up() {
    run_on_one_thread(async {
        let (mut room, friend) = with_friend().await;
        let der = friend.devices[0].der().to_vec();
        let announcements = (0..200_u16).map(|number| {
            // Somewhere within the modulus.
            let mut other = der.clone();
            other[100..102].copy_from_slice(&number.to_be_bytes());
            let device = PublicKey::from_der(&other).unwrap();
            let value = Announcement::issue(&friend.key, &device).unwrap();
            Value { id: ValueId(100 + u64::from(number)), ..value }
        });
        let announcements = announcements.collect();
        let before = room.held.gets();
        room.held.put(friend.id.dht_key(), announcements).await;
        while room.held.gets() == before {
            tokio::task::yield_now().await;
        }
        tokio::time::pause();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        tokio::time::resume();
        // Each at two keys, again and again with pauses from two seconds to five minutes.
        let gets = room.held.gets() - before;
        assert!(gets <= MAX_ANNOUNCED_DEVICES * 2 * 10, "{gets} look-ups");
        assert_eq!(room.presences(), 0);
        assert_eq!(room.shown(friend.id).await, []);
        room.stop().await;
    });
}
