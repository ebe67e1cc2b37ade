//! Two nodes in one process: DHT over TCP on this machine, ICE, TLS, channels, swarms on disk.

#[path = "lone_account.rs"]
mod alone;
#[path = "call_tests.rs"]
mod calls;
#[path = "conference_tests.rs"]
mod conferences;
#[path = "group_tests.rs"]
mod groups;
#[path = "inbox_tests.rs"]
mod inbox;
#[path = "names_tests.rs"]
mod names;
#[path = "own_devices_tests.rs"]
mod own_devices;
#[path = "presence_tests.rs"]
mod presence;
#[path = "syncing_tests.rs"]
mod syncing;

use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skep_protocol::dht::value::ValueId;
use skep_protocol::identity::{Archive, ArchiveSecret, Chain, RevocationList};
use skep_protocol::ids::{AccountId, CommitId, ConversationId, DhtKey, LocalAccountId};
use skep_protocol::keys::PublicKey;
use skep_protocol::sync::{ConversationRecord, ConversationRecords};
use tokio::sync::mpsc;

use super::identity::{AccountFolder, REVOCATIONS};
use super::messages::{AccountError, AccountMessage, AccountRequest, AccountView, ContactView, LinkView};
use super::{AccountActor, AccountConfig};
use crate::blocking::BlockingPool;
use crate::dht::kad::KadNetwork;
use crate::dht::kad::config::{BootstrapAddress, NodeSecret};
use crate::dht::messages::DhtMessage;
use crate::dht::{DhtActor, DhtMemory};
use crate::directory::write_first;
use crate::event::{Event, NodeEvent};
use crate::peer::transport::{GatherOptions, UnusedPlaces};
use crate::recorded::{NOW, Recorded};
use crate::storage;
use crate::supervision::{
    Actor, ActorRow, ChildSpec, Environment, Message, Outlet, Policy, Port, Reply, RootHandle, Scope,
    start_root,
};
use crate::swarm::messages::{ConversationMessage, Outgoing};
use crate::transfer::messages::{TransferLimits, TransferState, TransfersMessage};

/// Time that anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A root with a DHT and one account, as the runtime has them.
struct Node {
    dht: Port<DhtMessage>,
    account: Port<AccountMessage>,
    root: RootHandle<RootMessage>,
    events: mpsc::Receiver<NodeEvent>,
    /// People whose names are to be looked up.
    wanted: mpsc::Receiver<BTreeSet<AccountId>>,
}

struct Root {
    dht: KadNetwork,
    account: Box<dyn Fn(Port<DhtMessage>) -> AccountConfig>,
    ports: Option<(Port<DhtMessage>, Port<AccountMessage>)>,
}

enum RootMessage {
    Ports(Reply<(Port<DhtMessage>, Port<AccountMessage>)>),
}

impl Message for RootMessage {
    fn kind(&self) -> &'static str {
        "ports"
    }
    fn policy(&self) -> Policy {
        Policy::Wait
    }
}

impl Actor for Root {
    type Message = RootMessage;
    const KIND: &'static str = "root";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        let (config, memory) = (self.dht.clone(), DhtMemory::default());
        let dht =
            scope.start_child(ChildSpec::new("dht"), move || DhtActor::new(config.clone(), memory.clone()));
        let config = (self.account)(dht.clone());
        let account = scope.start_child(ChildSpec::new("account"), move || AccountActor::new(config.clone()));
        self.ports = Some((dht, account));
    }

    fn handle(&mut self, RootMessage::Ports(reply): RootMessage, _: &mut Scope<'_, Self>) {
        reply.send(self.ports.clone().unwrap());
    }
}

/// The list with which alice revokes the device she has in [`pair`], and her key.
fn alices_list() -> (RevocationList, PublicKey) {
    let alice = Recorded::new("newest", "alice");
    let (archive, chain) = (alice.open(), alice.chain());
    let (account, key) = (&chain.issuers()[0], &archive.account_key);
    let list = RevocationList::revoke(account, key, None, chain.leaf(), NOW, 8).unwrap();
    (list, key.public().clone())
}

/// Writes the folder of an account from a recorded archive and a recorded device key, so that no key
/// has to be made.
fn lay_out(folder: &AccountFolder, version: &str, name: &str) {
    let recorded = Recorded::new(version, name);
    let (key, chain, receipt) = (recorded.key_file(), recorded.chain_file(), recorded.receipt());
    storage::make_folder(folder.path()).unwrap();
    for (file, content) in [
        ("archive.gz", recorded.archive.as_slice()),
        ("ring_device.key", key.as_bytes()),
        ("ring_device.crt", &chain),
        ("receipt", receipt.text.as_bytes()),
        ("receipt.sig", &receipt.signature),
        ("name", name.as_bytes()),
    ] {
        storage::replace(&folder.join(file), content).unwrap();
    }
}

impl Node {
    async fn start(number: u8, folder: &AccountFolder, bootstrap: Vec<BootstrapAddress>) -> Self {
        let (events, received) = Outlet::channel("test", 4096);
        let (names, wanted) = Outlet::channel("names", 64);
        let dht = KadNetwork {
            secret: NodeSecret([number; 32]),
            listen: vec![format!("/ip4/127.0.0.1/tcp/{}", free_port()).parse().unwrap()],
            bootstrap,
            known_peers: None,
        };
        let (pool, folder) = (BlockingPool::new(4), folder.clone());
        let root = start_root(Environment::single_thread(NOW, number.into()), move || {
            let (pool, folder, events, names) = (pool.clone(), folder.clone(), events.clone(), names.clone());
            Root {
                dht: dht.clone(),
                account: Box::new(move |dht| AccountConfig {
                    folder: folder.clone(),
                    local: LocalAccountId([number; 8]),
                    dht,
                    pool: pool.clone(),
                    events: events.clone(),
                    names: names.clone(),
                    gather: GatherOptions { include_loopback: true },
                    media: std::sync::Arc::new(crate::call::media::SilentSide),
                    unused: UnusedPlaces::default(),
                    files: TransferLimits::default(),
                    public: false,
                    announcement: ValueId(u64::from(number)),
                }),
                ports: None,
            }
        });
        let (dht, account) = root.port().ask(PATIENCE, RootMessage::Ports).await.unwrap();
        Self { dht, account, root, events: received, wanted }
    }

    async fn address(&self) -> BootstrapAddress {
        loop {
            let health = self.dht.ask(PATIENCE, |reply| DhtMessage::Health { reply }).await.unwrap();
            match health.listening.first() {
                Some(address) => return address.parse().unwrap(),
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    async fn ask<R>(&self, request: impl FnOnce(Reply<R>) -> AccountRequest) -> R {
        self.account.ask(PATIENCE, |reply| AccountMessage::Request(request(reply))).await.unwrap()
    }

    async fn id(&self) -> AccountId {
        let view: AccountView = self.ask(AccountRequest::Describe).await;
        view.id
    }

    /// Waits for an event; those before it are passed over.
    async fn event<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        tokio::time::timeout(PATIENCE, async {
            loop {
                let event = self.events.recv().await.unwrap().event;
                if let Some(found) = wanted(&event) {
                    return found;
                }
            }
        })
        .await
        .unwrap()
    }

    async fn conversation(&self, id: ConversationId) -> Port<ConversationMessage> {
        self.ask(|reply| AccountRequest::Conversation { conversation: id, reply }).await.unwrap()
    }

    async fn send(&self, id: ConversationId, body: &str) -> CommitId {
        let message = Outgoing::Text { body: body.to_owned(), reply_to: None };
        let send = |reply| ConversationMessage::Send { message, reply };
        self.conversation(id).await.ask(PATIENCE, send).await.unwrap().unwrap()
    }

    async fn text(&mut self, id: ConversationId, body: &str) -> CommitId {
        self.event(|event| match event {
            Event::Message { conversation, message } if *conversation == id && message.body == body => {
                Some(message.id)
            }
            _ => None,
        })
        .await
    }

    async fn log(&self, id: ConversationId) -> Vec<CommitId> {
        let log = |reply| ConversationMessage::Log { limit: 10_000, reply };
        self.conversation(id).await.ask(PATIENCE, log).await.unwrap().unwrap()
    }

    fn rows(&self) -> Vec<ActorRow> {
        self.root.environment().tree().rows()
    }

    async fn stop(self) {
        let end = self.root.shutdown(PATIENCE).await;
        assert!(end.complete && end.actors_left == 0 && end.tasks_left == 0, "{end:?}");
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// A port to listen on that stays the same when a DHT is restarted.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Two accounts that have become contacts and have the conversation.
async fn befriend(alice: &mut Node, bob: &mut Node) -> ConversationId {
    let (alice_id, bob_id) = (alice.id().await, bob.id().await);
    for node in [&mut *alice, &mut *bob] {
        node.event(|event| matches!(event, Event::AccountReady {}).then_some(())).await;
    }
    let added = alice.ask(|reply| AccountRequest::AddContact { contact: bob_id, reply }).await.unwrap();
    let asked = bob
        .event(|event| match event {
            Event::ContactRequest { from, conversation, .. } if *from == alice_id => *conversation,
            _ => None,
        })
        .await;
    assert_eq!(asked, added);
    let accepted = bob.ask(|reply| AccountRequest::Accept { from: alice_id, reply }).await.unwrap();
    assert_eq!(accepted, added);
    bob.event(|event| {
        matches!(event, Event::ConversationReady { conversation } if *conversation == added).then_some(())
    })
    .await;
    alice
        .event(|event| match event {
            Event::ContactAdded { contact, confirmed: true } if *contact == bob_id => Some(()),
            _ => None,
        })
        .await;
    added
}

async fn same_history(alice: &Node, bob: &Node, id: ConversationId) {
    let equal = async {
        while alice.log(id).await != bob.log(id).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, equal).await;
    let newest = |log: Vec<CommitId>| log.into_iter().take(5).map(|id| id.short()).collect::<Vec<_>>();
    let heads = (newest(alice.log(id).await), newest(bob.log(id).await));
    assert!(reached.is_ok(), "the histories stay different: {heads:?}");
}

async fn pair(place: &Path) -> (Node, Node, [AccountFolder; 2]) {
    let folders = ["1111111111111111", "2222222222222222"]
        .map(|local| AccountFolder::new(place, local.parse().unwrap()));
    lay_out(&folders[0], "newest", "alice");
    lay_out(&folders[1], "jami-13.11.0", "alice");
    let alice = Node::start(1, &folders[0], Vec::new()).await;
    let bob = Node::start(2, &folders[1], vec![alice.address().await]).await;
    (alice, bob, folders)
}

#[test]
fn two_people_become_contacts_and_talk() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut alice, mut bob, _) = pair(place.path()).await;
        let id = befriend(&mut alice, &mut bob).await;
        let sent = alice.send(id, "hello bob").await;
        assert_eq!(bob.text(id, "hello bob").await, sent);
        let answered = bob.send(id, "hello alice").await;
        assert_eq!(alice.text(id, "hello alice").await, answered);
        same_history(&alice, &bob, id).await;
        alice.stop().await;
        bob.stop().await;
    });
}

/// Has somebody offer a file and another one fetch it; where it is then.
async fn fetched(from: &Node, to: &mut Node, conversation: ConversationId, path: &Path) -> PathBuf {
    let files = from.ask(AccountRequest::Transfers).await.unwrap();
    let path = path.to_owned();
    let offer = |reply| TransfersMessage::Offer { conversation, path, reply_to: None, reply };
    let message = files.ask(PATIENCE, offer).await.unwrap().unwrap().message;
    let is_offer = |event: &Event| match event {
        Event::Message { message: offer, .. } if offer.id == message => Some(()),
        _ => None,
    };
    to.event(is_offer).await;
    let files = to.ask(AccountRequest::Transfers).await.unwrap();
    let fetch = |reply| TransfersMessage::Fetch { conversation, message, to: None, reply };
    files.ask(PATIENCE, fetch).await.unwrap().unwrap();
    let done = |event: &Event| match event {
        Event::Transfer { transfer } if transfer.state == TransferState::Done => transfer.path.clone(),
        _ => None,
    };
    to.event(done).await
}

#[test]
fn files_go_both_ways_between_two_people() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut alice, mut bob, folders) = pair(place.path()).await;
        let id = befriend(&mut alice, &mut bob).await;
        let path = place.path().join("picture.png");
        let content: Vec<u8> = (0..300_000_u32).map(|at| at.to_le_bytes()[1]).collect();
        std::fs::write(&path, &content).unwrap();
        assert_eq!(std::fs::read(fetched(&alice, &mut bob, id, &path).await).unwrap(), content);
        assert_eq!(std::fs::read(fetched(&bob, &mut alice, id, &path).await).unwrap(), content);
        let data = folders[0].join("conversation_data").join(id.to_hex());
        let kept = std::fs::read_dir(data).unwrap();
        let kept = kept.filter(|it| it.as_ref().unwrap().file_name().to_str().unwrap().contains('_'));
        assert_eq!(kept.count(), 2, "a link to the own file, and the other's");
        alice.stop().await;
        bob.stop().await;
    });
}

#[test]
fn bursts_from_both_sides_at_once_end_in_one_history() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut alice, mut bob, _) = pair(place.path()).await;
        let id = befriend(&mut alice, &mut bob).await;
        for number in 0..20 {
            let (a, b) = (format!("a{number}"), format!("b{number}"));
            tokio::join!(alice.send(id, &a), bob.send(id, &b));
        }
        alice.text(id, "b19").await;
        bob.text(id, "a19").await;
        same_history(&alice, &bob, id).await;
        let log = alice.log(id).await;
        let merges = log.len() - 40 - 2;
        assert!(merges <= 45, "{merges} merges for 40 messages");
        alice.stop().await;
        bob.stop().await;
    });
}

#[test]
fn a_node_that_was_away_catches_up() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut alice, mut bob, folders) = pair(place.path()).await;
        let id = befriend(&mut alice, &mut bob).await;
        let bootstrap = alice.address().await;
        bob.stop().await;
        alice.send(id, "while you were away").await;
        let mut bob = Node::start(3, &folders[1], vec![bootstrap]).await;
        bob.text(id, "while you were away").await;
        same_history(&alice, &bob, id).await;
        alice.stop().await;
        bob.stop().await;
    });
}

/// The record that an account's folder has of a conversation.
fn record(folder: &AccountFolder, id: ConversationId) -> ConversationRecord {
    let file = fs::read(folder.join("convInfo")).unwrap();
    ConversationRecords::decode(&file).unwrap().0.get(id).unwrap().clone()
}

async fn until(mut reached: impl FnMut() -> bool) {
    let wait = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

#[test]
fn a_conversation_that_was_left_is_kept_over_a_restart_until_somebody_else_knows() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut alice, mut bob, folders) = pair(place.path()).await;
        let id = befriend(&mut alice, &mut bob).await;
        alice.send(id, "good bye").await;
        bob.text(id, "good bye").await;
        let bootstrap = alice.address().await;
        alice.stop().await;
        // Bob leaves while nobody is there to hear it.
        bob.ask(|reply| AccountRequest::LeaveConversation { conversation: id, reply }).await.unwrap();
        assert!(record(&folders[1], id).is_leaving());
        let gone = bob.ask(|reply| AccountRequest::Conversation { conversation: id, reply }).await;
        assert_eq!(gone.unwrap_err(), AccountError::UnknownConversation(id));
        bob.stop().await;
        let copy = folders[1].join("conversations").join(id.to_hex());
        assert!(copy.exists());
        let bob = Node::start(3, &folders[1], vec![bootstrap]).await;
        let mut alice = Node::start(4, &folders[0], vec![bob.address().await]).await;
        assert!(copy.exists());
        alice.event(|event| matches!(event, Event::MembersChanged { .. }).then_some(())).await;
        until(|| !copy.exists()).await;
        assert!(record(&folders[1], id).is_removed() && !record(&folders[1], id).is_leaving());
        alice.stop().await;
        bob.stop().await;
    });
}

#[test]
fn an_account_takes_back_what_it_published_also_when_it_was_made_anew() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (alice, bob, _) = pair(place.path()).await;
        let published = async |wanted: usize| {
            let same = async {
                loop {
                    let health = alice.dht.ask(PATIENCE, |reply| DhtMessage::Health { reply }).await.unwrap();
                    if health.published == wanted {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(PATIENCE, same).await.unwrap();
        };
        published(3).await;
        let row = alice.rows().into_iter().find(|row| row.kind == "account").unwrap();
        assert!(alice.root.environment().tree().inject_panic(row.id));
        while alice.rows().iter().all(|it| it.id != row.id || it.restarts == 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        alice.id().await;
        published(3).await;
        alice.ask(AccountRequest::Withdraw).await;
        published(0).await;
        alice.stop().await;
        bob.stop().await;
    });
}

#[test]
fn every_actor_kind_may_fail_while_the_conversation_goes_on() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut alice, mut bob, _) = pair(place.path()).await;
        let id = befriend(&mut alice, &mut bob).await;
        let mut round = 0;
        for kind in ["conversation", "peer", "links", "directory", "account", "dht", "root"] {
            let row = alice.rows().into_iter().find(|row| row.kind == kind).unwrap();
            assert!(alice.root.environment().tree().inject_panic(row.id), "{kind}");
            let failed = async {
                loop {
                    let restarts =
                        alice.rows().iter().filter(|it| it.kind == kind).map(|it| it.restarts).sum::<u64>();
                    let replaced = !alice.rows().iter().any(|it| it.id == row.id);
                    if restarts > 0 || replaced {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(PATIENCE, failed).await.unwrap();
            // The root's children are new: their ports have to be asked for again.
            (alice.dht, alice.account) = alice.root.port().ask(PATIENCE, RootMessage::Ports).await.unwrap();
            round += 1;
            let (from_alice, from_bob) = (format!("{kind} {round} a"), format!("{kind} {round} b"));
            let sent = async {
                loop {
                    let room = alice
                        .account
                        .ask(PATIENCE, |reply| {
                            AccountMessage::Request(AccountRequest::Conversation { conversation: id, reply })
                        })
                        .await;
                    if let Ok(Ok(room)) = room {
                        let message = Outgoing::Text { body: from_alice.clone(), reply_to: None };
                        let send = |reply| ConversationMessage::Send { message, reply };
                        if let Ok(Ok(_)) = room.ask(PATIENCE, send).await {
                            return;
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(PATIENCE, sent).await.unwrap();
            bob.text(id, &from_alice).await;
            bob.send(id, &from_bob).await;
            alice.text(id, &from_bob).await;
        }
        same_history(&alice, &bob, id).await;
        alice.stop().await;
        bob.stop().await;
    });
}

#[test]
fn a_conversation_that_comes_back_begins_anew_also_after_a_crash() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut alice, mut bob, folders) = pair(place.path()).await;
        let id = befriend(&mut alice, &mut bob).await;
        alice.send(id, "good morning").await;
        bob.text(id, "good morning").await;
        let bootstrap = alice.address().await;
        bob.stop().await;
        // It was taken up again, and the node killed before the old copy was gone.
        let file = fs::read(folders[1].join("convInfo")).unwrap();
        let mut records = ConversationRecords::decode(&file).unwrap().0;
        let record = records.get_mut(id).unwrap();
        record.removed = record.created;
        record.created = record.removed.plus(Duration::from_secs(1));
        storage::replace(&folders[1].join("convInfo"), &records.encode()).unwrap();
        let copy = folders[1].join("conversations").join(id.to_hex());
        fs::write(copy.join("of old"), "").unwrap();
        let mut bob = Node::start(3, &folders[1], vec![bootstrap]).await;
        told(&mut bob, |event| matches!(event, Event::ConversationReady { .. })).await;
        assert!(copy.exists() && !copy.join("of old").exists());
        assert!(!self::record(&folders[1], id).has_old_copy());
        bob.send(id, "good evening").await;
        alice.text(id, "good evening").await;
        alice.stop().await;
        bob.stop().await;
    });
}

/// Waits until one of the events is told.
async fn told(node: &mut Node, wanted: impl Fn(&Event) -> bool) {
    node.event(|event| wanted(event).then_some(())).await;
}

async fn links(node: &Node) -> Vec<LinkView> {
    node.ask(AccountRequest::Links).await.unwrap()
}

#[test]
fn a_device_that_is_revoked_loses_its_links_and_its_owner_is_told() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut alice, mut bob, folders) = pair(place.path()).await;
        befriend(&mut alice, &mut bob).await;
        while links(&bob).await.iter().all(|link| link.state != "up") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (list, key) = alices_list();
        let (at, value) = (key.account_id().dht_key(), list.to_value(ValueId(77)));
        let put = |reply| DhtMessage::Put { key: at, value, permanent: true, reply };
        bob.dht.ask(PATIENCE, put).await.unwrap().unwrap();

        let (mut down, mut offline) = (false, false);
        bob.event(|event| {
            down |= matches!(event, Event::LinkDown { contact, .. } if *contact == key.account_id());
            offline |= matches!(event, Event::Presence { online: false, .. });
            (down && offline).then_some(())
        })
        .await;
        assert!(links(&bob).await.iter().all(|link| link.state != "up"));
        let contacts: Vec<ContactView> = bob.ask(AccountRequest::Contacts).await;
        assert!(contacts.iter().all(|contact| !contact.online && !contact.connected));

        told(&mut alice, |event| matches!(event, Event::DeviceRevoked {})).await;
        let view: AccountView = alice.ask(AccountRequest::Describe).await;
        assert!(view.revoked && !view.announced);
        let contact = AccountId([7; 20]);
        let added = alice.ask(|reply| AccountRequest::AddContact { contact, reply }).await;
        assert_eq!(added, Err(AccountError::Revoked));
        alice.stop().await;
        bob.stop().await;

        // Both know it still, though no DHT tells them.
        let mut alice = Node::start(4, &folders[0], Vec::new()).await;
        told(&mut alice, |event| matches!(event, Event::DeviceRevoked {})).await;
        assert!(alice.ask::<AccountView>(AccountRequest::Describe).await.revoked);
        alice.stop().await;
        assert!(folders[1].join(REVOCATIONS).join(key.account_id().to_hex()).exists());
    });
}

#[test]
fn a_revoked_device_that_does_not_know_it_is_refused_by_those_who_do() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut alice, mut bob, folders) = pair(place.path()).await;
        let id = befriend(&mut alice, &mut bob).await;
        alice.stop().await;
        bob.stop().await;
        let (list, key) = alices_list();
        write_first(&folders[1].join(REVOCATIONS), &key, &list).unwrap();

        let mut bob = Node::start(5, &folders[1], Vec::new()).await;
        let turns = |node: &Node, kind| {
            node.rows().iter().filter(|row| row.kind == kind).map(|row| row.turns).sum::<u64>()
        };
        let before = turns(&bob, "links");
        let mut alice = Node::start(4, &folders[0], vec![bob.address().await]).await;
        told(&mut alice, |event| matches!(event, Event::AccountReady {})).await;
        told(&mut bob, |event| matches!(event, Event::AccountReady {})).await;
        alice.send(id, "can you hear me").await;
        // Her connection request has arrived, and he has had turns to look at it.
        let asked = async {
            while links(&alice).await.iter().all(|link| link.state != "dialling")
                || turns(&bob, "links") < before + 4
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap();
        assert_eq!(links(&bob).await, []);
        let contacts: Vec<ContactView> = bob.ask(AccountRequest::Contacts).await;
        assert!(contacts.iter().all(|contact| !contact.online && !contact.connected));
        alice.stop().await;
        bob.stop().await;
    });
}

#[test]
fn the_lists_of_the_own_account_are_put_at_every_start_and_exported() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let folders = [1, 2].map(|local| AccountFolder::new(place.path(), LocalAccountId([local; 8])));
        lay_out(&folders[0], "newest", "alice");
        lay_out(&folders[1], "jami-13.11.0", "alice");
        let recorded = Recorded::new("newest", "alice");
        let archive = recorded.open();
        let other = fs::read(recorded.folder.with_file_name("alice2").join("ring_device.crt")).unwrap();
        let other = Chain::parse(&other).unwrap();
        let (account, key) = (&other.issuers()[0], &archive.account_key);
        let list = RevocationList::revoke(account, key, None, other.leaf(), NOW, 8).unwrap();
        write_first(&folders[0].join(REVOCATIONS), key.public(), &list).unwrap();

        let mut alice = Node::start(1, &folders[0], Vec::new()).await;
        let bob = Node::start(2, &folders[1], vec![alice.address().await]).await;
        let at = key.public().account_id().dht_key();
        let found = async {
            loop {
                let found = bob.dht.ask(PATIENCE, |reply| DhtMessage::Get { key: at, reply }).await.unwrap();
                let values = found.map(|found| found.values).unwrap_or_default();
                if let Some(value) = values.iter().find(|value| RevocationList::from_value(value).is_ok()) {
                    return value.clone();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let value = tokio::time::timeout(PATIENCE, found).await.unwrap();
        assert_eq!(value, list.to_value(value.id));
        let exported = alice.ask(|reply| AccountRequest::Export { password: None, reply }).await.unwrap();
        let (exported, _) = Archive::open(&exported, ArchiveSecret::None).unwrap();
        assert_eq!(exported.revocation_list, Some(list));
        told(&mut alice, |event| matches!(event, Event::AccountReady {})).await;
        alice.stop().await;
        bob.stop().await;
    });
}
