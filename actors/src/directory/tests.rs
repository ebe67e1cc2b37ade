//! The directory on a DHT that holds what a test puts into it.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use skep_protocol::dht::content::Content;
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::identity::{
    Announcement, Archive, ArchiveSecret, Chain, MAX_REVOCATION_LIST, RevocationList, VerifiedChain,
};
use skep_protocol::ids::{AccountId, DhtKey};
use skep_protocol::msgpack::Value as Object;
use skep_protocol::time::UnixMillis;
use tokio::sync::mpsc;

use super::messages::{DirectoryEvent, DirectoryMessage};
use super::{DirectoryActor, DirectoryConfig, Revocations};
use crate::blocking::{BlockingPool, Share};
use crate::dht::messages::{DhtMessage, Found};
use crate::supervision::{
    Actor, ChildSpec, Environment, Message, Outlet, Policy, Port, Reply, RootHandle, Scope, start_root,
};

/// Time that anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// When the recorded certificates are valid.
const NOW: UnixMillis = UnixMillis(1_795_400_000_000);

/// A DHT that answers with what it holds.
#[derive(Clone, Debug, Default)]
struct Held(Arc<Mutex<Shelves>>);

/// What the DHT holds, and the keys it was asked for.
#[derive(Debug, Default)]
struct Shelves {
    values: BTreeMap<DhtKey, Vec<Value>>,
    asked: Vec<DhtKey>,
}

impl Held {
    fn put(&self, key: DhtKey, value: Value) {
        self.0.lock().unwrap().values.entry(key).or_default().push(value);
    }

    fn times_asked(&self, wanted: DhtKey) -> usize {
        self.0.lock().unwrap().asked.iter().filter(|key| **key == wanted).count()
    }
}

impl Actor for Held {
    type Message = DhtMessage;
    const KIND: &'static str = "dht";

    fn handle(&mut self, message: DhtMessage, _: &mut Scope<'_, Self>) {
        if let DhtMessage::Get { key, reply } = message {
            let mut held = self.0.lock().unwrap();
            held.asked.push(key);
            let values = held.values.get(&key).cloned().unwrap_or_default();
            reply.send(Ok(Found { values, answered: 1 }));
        }
    }
}

struct Root {
    held: Held,
    config: Box<dyn Fn(Port<DhtMessage>) -> DirectoryConfig>,
    directory: Option<Port<DirectoryMessage>>,
}

struct DirectoryWanted(Reply<Port<DirectoryMessage>>);

impl Message for DirectoryWanted {
    fn kind(&self) -> &'static str {
        "directory_wanted"
    }
    fn policy(&self) -> Policy {
        Policy::Wait
    }
}

impl Actor for Root {
    type Message = DirectoryWanted;
    const KIND: &'static str = "root";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        let held = self.held.clone();
        let dht = scope.start_child(ChildSpec::new("dht"), move || held.clone());
        let config = (self.config)(dht);
        let directory =
            scope.start_child(ChildSpec::new("directory"), move || DirectoryActor::new(config.clone()));
        self.directory = Some(directory);
    }

    fn handle(&mut self, DirectoryWanted(reply): DirectoryWanted, _: &mut Scope<'_, Self>) {
        reply.send(self.directory.clone().unwrap());
    }
}

/// A directory with nothing on disk but what was there before.
struct Room {
    held: Held,
    revocations: Revocations,
    directory: Port<DirectoryMessage>,
    events: mpsc::Receiver<DirectoryEvent>,
    root: RootHandle<DirectoryWanted>,
}

impl Room {
    async fn start(folder: &Path, followed: &[AccountId]) -> Self {
        let (events, received) = Outlet::channel("test", 16);
        let held = Held::default();
        let lists = folder.join("revocations");
        let revocations = Revocations::load(&lists, followed.iter().copied()).unwrap();
        let (shared, dht, folder) = (revocations.clone(), held.clone(), folder.to_path_buf());
        let root = start_root(Environment::single_thread(NOW, 1), move || {
            let (folder, revocations, events) = (folder.clone(), shared.clone(), events.clone());
            Root {
                held: dht.clone(),
                config: Box::new(move |dht| DirectoryConfig {
                    folder: folder.clone(),
                    revocations_folder: folder.join("revocations"),
                    revocations: revocations.clone(),
                    events: events.clone(),
                    dht,
                    pool: BlockingPool::new(1),
                    share: Share(1),
                }),
                directory: None,
            }
        });
        let directory = root.port().ask(PATIENCE, DirectoryWanted).await.unwrap();
        Self { held, revocations, directory, events: received, root }
    }

    async fn find(&self, chain: &VerifiedChain) -> Option<VerifiedChain> {
        let (device, key) = (chain.device_id(), chain.device().public_key());
        let short = key.device_short_id();
        let ask = |reply| DirectoryMessage::Device { device, short: Some(short), reply };
        self.directory.ask(PATIENCE, ask).await.unwrap()
    }

    async fn list(&self, account: AccountId) -> Vec<VerifiedChain> {
        self.directory.ask(PATIENCE, |reply| DirectoryMessage::Devices { account, reply }).await.unwrap()
    }

    async fn show(&self, account: AccountId, values: Vec<Value>) {
        let values = values.into_iter().map(Arc::new).collect();
        self.directory.send(DirectoryMessage::Seen { account, values }).await.unwrap();
    }

    async fn revoked(&mut self) -> AccountId {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.unwrap().unwrap();
        let DirectoryEvent::Revoked(account) = event;
        account
    }

    async fn stop(self) {
        assert!(self.root.shutdown(PATIENCE).await.complete);
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

fn recorded(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/vectors")).join(path)
}

fn chain(path: &str) -> VerifiedChain {
    Chain::parse(&fs::read(recorded(path)).unwrap()).unwrap().verify(NOW).unwrap()
}

/// A person with two devices.
struct Person {
    archive: Archive,
    phone: VerifiedChain,
    laptop: VerifiedChain,
}

impl Person {
    fn alice() -> Self {
        Self::read("newest/accounts", "alice-nopassword.gz")
    }

    fn other() -> Self {
        Self::read("jami-13.11.0/accounts", "alice/archive-nopassword.gz")
    }

    fn read(folder: &str, archive: &str) -> Self {
        let archive = fs::read(recorded(folder).join(archive)).unwrap();
        Self {
            archive: Archive::open(&archive, ArchiveSecret::None).unwrap().0,
            phone: chain(&format!("{folder}/alice/ring_device.crt")),
            laptop: chain(&format!("{folder}/alice2/ring_device.crt")),
        }
    }

    fn id(&self) -> AccountId {
        self.phone.account_id()
    }

    fn revoke(&self, previous: Option<&RevocationList>, device: &VerifiedChain) -> RevocationList {
        let (account, key) = (self.phone.account(), &self.archive.account_key);
        RevocationList::revoke(account, key, previous, device.device(), NOW, 8).unwrap()
    }

    fn announcement(&self, device: &VerifiedChain) -> Value {
        let value = Announcement::issue(&self.archive.account_key, device.device().public_key()).unwrap();
        Value { id: ValueId(u64::from(device.device_id().0[0]) + 100), ..value }
    }

    fn publish(&self, held: &Held) {
        for device in [&self.phone, &self.laptop] {
            let pem = Object::binary(device.chain().to_pem().as_bytes()).encode();
            held.put(DhtKey::certificate(device.device_id()), Value::plain(ValueId(1), Content::new(8, pem)));
            held.put(self.id().dht_key(), self.announcement(device));
        }
    }
}

fn value(list: &RevocationList) -> Value {
    list.to_value(ValueId(7))
}

#[test]
fn a_revoked_device_is_neither_found_nor_listed() {
    run(async {
        let (place, alice) = (tempfile::tempdir().unwrap(), Person::alice());
        for followed in [vec![alice.id()], vec![]] {
            let mut room = Room::start(place.path(), &followed).await;
            alice.publish(&room.held);
            assert_eq!(room.list(alice.id()).await.len(), 2);
            assert!(room.find(&alice.laptop).await.is_some());
            room.held.put(alice.id().dht_key(), value(&alice.revoke(None, &alice.laptop)));
            assert_eq!(room.list(alice.id()).await, std::slice::from_ref(&alice.phone));
            assert_eq!(room.revoked().await, alice.id());
            assert_eq!(room.find(&alice.laptop).await, None);
            assert_eq!(room.find(&alice.phone).await.as_ref(), Some(&alice.phone));
            room.stop().await;
        }
    });
}

#[test]
fn forged_and_broken_lists_change_nothing() {
    run(async {
        let (place, alice, other) = (tempfile::tempdir().unwrap(), Person::alice(), Person::other());
        let mut room = Room::start(place.path(), &[alice.id()]).await;
        alice.publish(&room.held);
        assert!(room.find(&alice.laptop).await.is_some());

        let genuine = alice.revoke(None, &alice.laptop);
        let mut flipped = genuine.der().to_vec();
        *flipped.last_mut().unwrap() ^= 1;
        let plain = |der: &[u8]| Value::plain(ValueId(9), Content::new(0, Object::binary(der).encode()));
        let bad = vec![
            plain(&flipped),
            value(&other.revoke(None, &alice.laptop)),
            plain(&[genuine.der(), &[0]].concat()),
            plain(&vec![0x30; MAX_REVOCATION_LIST + 1]),
            plain(b"not a list"),
            Value::plain(ValueId(9), Content::new(0, vec![0xc1; 100])),
            Value::encrypted(ValueId(9), vec![1; 600]),
        ];
        room.show(alice.id(), bad).await;
        // The list of another person, shown after them, is taken when they have been looked at.
        room.revocations.follow(other.id());
        let list = value(&other.revoke(None, &other.laptop));
        room.show(other.id(), vec![list, other.announcement(&other.phone)]).await;
        assert_eq!(room.revoked().await, other.id());
        assert!(room.find(&alice.laptop).await.is_some());

        room.show(alice.id(), vec![value(&genuine)]).await;
        assert_eq!(room.revoked().await, alice.id());
        assert_eq!(room.find(&alice.laptop).await, None);
        room.stop().await;
    });
}

#[test]
fn an_older_list_shown_again_does_not_bring_a_device_back_not_even_after_a_restart() {
    run(async {
        let (place, alice) = (tempfile::tempdir().unwrap(), Person::alice());
        let older = alice.revoke(None, &Person::other().laptop);
        let newer = alice.revoke(Some(&older), &alice.laptop);
        let mut room = Room::start(place.path(), &[alice.id()]).await;
        let announced = alice.announcement(&alice.phone);
        room.show(alice.id(), vec![value(&newer), announced.clone()]).await;
        assert_eq!(room.revoked().await, alice.id());
        room.stop().await;

        let mut room = Room::start(place.path(), &[alice.id()]).await;
        alice.publish(&room.held);
        room.show(alice.id(), vec![value(&older), announced]).await;
        assert_eq!(room.find(&alice.laptop).await, None);
        assert_eq!(room.list(alice.id()).await, std::slice::from_ref(&alice.phone));
        assert!(room.events.try_recv().is_err(), "nothing was revoked that was not known");
        room.stop().await;
    });
}

#[test]
fn the_lists_of_people_no_longer_followed_are_removed_from_disk() {
    run(async {
        let (place, alice) = (tempfile::tempdir().unwrap(), Person::alice());
        let lists = place.path().join("revocations");
        let mut room = Room::start(place.path(), &[alice.id()]).await;
        let values = vec![value(&alice.revoke(None, &alice.laptop)), alice.announcement(&alice.phone)];
        room.show(alice.id(), values).await;
        room.revoked().await;
        room.stop().await;
        assert!(Revocations::load(&lists, [alice.id()]).unwrap().check(&alice.laptop).is_err());
        assert!(Revocations::load(&lists, []).unwrap().check(&alice.laptop).is_ok());
        assert_eq!(fs::read_dir(&lists).unwrap().count(), 0);
    });
}

#[test]
fn a_damaged_file_of_lists_is_none() {
    let (place, alice) = (tempfile::tempdir().unwrap(), Person::alice());
    let key = alice.archive.account_key.public();
    super::write_first(place.path(), key, &alice.revoke(None, &alice.laptop)).unwrap();
    let file = place.path().join(alice.id().to_hex());
    let whole = fs::read(&file).unwrap();
    assert!(Revocations::load(place.path(), [alice.id()]).unwrap().check(&alice.laptop).is_err());
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [Vec::new(), vec![9; 300], whole[..whole.len() - 1].to_vec(), flipped] {
        fs::write(&file, damaged).unwrap();
        assert!(Revocations::load(place.path(), [alice.id()]).unwrap().check(&alice.laptop).is_ok());
        assert!(!file.exists());
    }
}

#[test]
fn a_list_seen_before_its_account_is_known_is_asked_for_again() {
    run(async {
        let (place, alice) = (tempfile::tempdir().unwrap(), Person::alice());
        let mut room = Room::start(place.path(), &[alice.id()]).await;
        alice.publish(&room.held);
        let list = value(&alice.revoke(None, &alice.laptop));
        room.held.put(alice.id().dht_key(), list.clone());
        room.show(alice.id(), vec![list]).await;
        assert_eq!(room.find(&alice.phone).await.as_ref(), Some(&alice.phone));
        assert_eq!(room.revoked().await, alice.id());
        assert_eq!(room.find(&alice.laptop).await, None);
        room.stop().await;
    });
}

#[test]
fn strangers_are_asked_for_their_lists_once_in_a_while() {
    run(async {
        let (place, alice) = (tempfile::tempdir().unwrap(), Person::alice());
        let room = Room::start(place.path(), &[]).await;
        alice.publish(&room.held);
        room.held.put(alice.id().dht_key(), value(&alice.revoke(None, &alice.laptop)));
        assert_eq!(room.find(&alice.laptop).await, None);
        for _ in 0..3 {
            assert!(room.find(&alice.phone).await.is_some());
        }
        assert_eq!(room.held.times_asked(alice.id().dht_key()), 1);
        assert_eq!(fs::read_dir(place.path().join("revocations")).unwrap().count(), 0);
        room.stop().await;
    });
}
