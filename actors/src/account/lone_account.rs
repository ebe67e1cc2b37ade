//! An account alone with a DHT that holds what a test puts into it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use skep_protocol::contact::ContactList;
use skep_protocol::dht::content::Content;
use skep_protocol::dht::value::Value;
use skep_protocol::identity::Announcement;
use skep_protocol::ids::DeviceId;
use skep_protocol::keys::PrivateKey;
use skep_protocol::msgpack::Value as Object;

use super::*;
use crate::dht::messages::{Found, ListenEvent, ListenId, PutReport};

/// A DHT that answers with what it holds, and counts what it is asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(Arc<Mutex<Shelves>>);

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
    pub(super) async fn tell(&self, key: DhtKey, event: ListenEvent) {
        let listening: Vec<_> = self.0.lock().unwrap().listening.values().cloned().collect();
        for (_, outlet) in listening.into_iter().filter(|(at, _)| *at == key) {
            outlet.send(event.clone()).await.unwrap();
        }
    }

    /// Puts values, and tells those who listen.
    pub(super) async fn put(&self, key: DhtKey, values: Vec<Value>) {
        let values: Vec<_> = values.into_iter().map(Arc::new).collect();
        self.0.lock().unwrap().values.entry(key).or_default().extend(values.iter().cloned());
        self.tell(key, ListenEvent::Values(values)).await;
    }

    /// Lets a value expire.
    pub(super) async fn expire(&self, key: DhtKey, value: &Value) {
        if let Some(values) = self.0.lock().unwrap().values.get_mut(&key) {
            values.retain(|held| held.id != value.id);
        }
        self.tell(key, ListenEvent::Expired(vec![value.fingerprint()])).await;
    }

    pub(super) fn listened(&self, account: AccountId) -> usize {
        self.0.lock().unwrap().listened.get(&account.dht_key()).copied().unwrap_or_default()
    }

    pub(super) fn listens(&self, account: AccountId) -> bool {
        self.0.lock().unwrap().listening.values().any(|(key, _)| *key == account.dht_key())
    }

    pub(super) fn gets(&self) -> usize {
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
pub(super) struct Room {
    pub(super) held: Held,
    pub(super) account: Port<AccountMessage>,
    events: mpsc::Receiver<NodeEvent>,
    root: RootHandle<PortWanted>,
    place: tempfile::TempDir,
}

impl Room {
    /// One with these contacts.
    pub(super) async fn with_contacts(contacts: impl FnOnce(&mut ContactList)) -> Self {
        let version = "jami-13.11.0";
        let place = tempfile::tempdir().unwrap();
        let folder = folder_in(&place);
        lay_out(&folder, version, "alice");
        let own = Recorded::new(version, "alice").open().account_key.public().account_id();
        let mut list = ContactList::new(own);
        contacts(&mut list);
        storage::replace(&folder.join("contacts"), &list.encode()).unwrap();
        Self::open(place, Held::default()).await
    }

    /// One with what its folder holds.
    pub(super) async fn open(place: tempfile::TempDir, held: Held) -> Self {
        let folder = folder_in(&place);
        let (events, received) = Outlet::channel("test", 8192);
        let (names, _) = Outlet::channel("names", 64);
        // One thread: what comes first is opened first.
        let (dht, pool) = (held.clone(), BlockingPool::new(1));
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
                    media: std::sync::Arc::new(crate::call::media::SilentSide),
                    unused: UnusedPlaces::default(),
                    files: TransferLimits::default(),
                    public: false,
                    announcement: ValueId(1),
                }),
                port: None,
            }
        });
        let account = root.port().ask(PATIENCE, PortWanted).await.unwrap();
        let mut room = Self { held, account, events: received, root, place };
        room.wait(|event| matches!(event, Event::AccountReady {}).then_some(())).await;
        room
    }

    pub(super) async fn wait<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
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
    pub(super) async fn presence(&mut self) -> (AccountId, Vec<DeviceId>) {
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
    pub(super) fn presences(&mut self) -> usize {
        let mut count = 0;
        while let Ok(told) = self.events.try_recv() {
            count += usize::from(matches!(told.event, Event::Presence { .. }));
        }
        count
    }

    pub(super) async fn ask<R>(&self, request: impl FnOnce(Reply<R>) -> AccountRequest) -> R {
        self.account.ask(PATIENCE, |reply| AccountMessage::Request(request(reply))).await.unwrap()
    }

    pub(super) async fn contact(&self, id: AccountId) -> ContactView {
        let contacts: Vec<ContactView> = self.ask(AccountRequest::Contacts).await;
        contacts.into_iter().find(|contact| contact.id == id).unwrap()
    }

    /// The devices of a contact as the list shows them.
    pub(super) async fn shown(&self, id: AccountId) -> Vec<DeviceId> {
        let contact = self.contact(id).await;
        assert_eq!(contact.online, !contact.devices.is_empty());
        contact.devices.into_iter().map(|device| device.id).collect()
    }

    pub(super) async fn stop(self) {
        self.close().await;
    }

    /// Ends, and leaves the folder for another one.
    pub(super) async fn close(self) -> tempfile::TempDir {
        assert!(self.root.shutdown(PATIENCE).await.complete);
        self.place
    }

    pub(super) fn environment(&self) -> &Environment {
        self.root.environment()
    }

    /// Turns of the actors of a kind so far.
    pub(super) fn turns(&self, kind: &str) -> u64 {
        let rows = self.root.environment().tree().rows();
        rows.iter().filter(|row| row.kind == kind).map(|row| row.turns).sum()
    }
}

/// Where time can be made to pass.
pub(super) fn run_on_one_thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// The account's folder.
pub(super) fn folder_in(place: &tempfile::TempDir) -> AccountFolder {
    AccountFolder::new(place.path(), LocalAccountId([1; 8]))
}

/// A contact with two devices, whose certificates are on the DHT.
pub(super) struct Friend {
    pub(super) id: AccountId,
    pub(super) key: PrivateKey,
    pub(super) devices: Vec<PublicKey>,
}

impl Friend {
    pub(super) fn of(held: &Held) -> Self {
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

    pub(super) fn device(&self, number: usize) -> DeviceId {
        self.devices[number].device_id()
    }

    pub(super) fn announcement(&self, device: usize, id: u64) -> Value {
        Value { id: ValueId(id), ..Announcement::issue(&self.key, &self.devices[device]).unwrap() }
    }
}
