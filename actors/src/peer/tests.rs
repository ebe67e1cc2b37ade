//! The links of one account and their peers, over a DHT that only notes what is put. Time passes when
//! a test says so.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use skep_protocol::dht::cipher;
use skep_protocol::dht::content::Content;
use skep_protocol::dht::kind::ValueKind;
use skep_protocol::dht::value::{Body, Value};
use skep_protocol::identity::{DeviceIdentity, VerifiedChain};
use skep_protocol::ids::{AccountId, DhtKey};
use skep_protocol::link::ice_text::{Candidate, CandidateKind, Credentials, IceText};
use skep_protocol::link::request::{PeerRequest, RequestId, RequestKeys, USER_TYPE};

use super::messages::{LinkEvent, LinksMessage, Notice, Recipient, Trust};
use super::transport::{GatherOptions, TlsIdentity, UnusedPlaces};
use super::{LinkConfig, LinksActor, LinksConfig};
use crate::account::messages::LinkView;
use crate::blocking::{BlockingPool, Share};
use crate::dht::envelope::{EnvelopeRandom, seal};
use crate::dht::messages::{DhtMessage, ListenEvent, PutReport};
use crate::directory::Revocations;
use crate::directory::messages::DirectoryMessage;
use crate::recorded::{NOW, Recorded};
use crate::supervision::{
    Actor, ActorRow, ActorState, ChildSpec, Environment, Message, Outlet, Policy, Port, Reply, RootHandle,
    Scope, start_root,
};
use crate::virtual_time::{self, pass, until};

/// How long a question may take, in the time of the test.
const SOON: Duration = Duration::from_secs(5);

/// After how long a device without links and wishes is forgotten.
const IDLE: Duration = Duration::from_secs(120);

/// What the DHT and the directory were asked.
#[derive(Clone, Default)]
struct Asked {
    puts: Arc<Mutex<Vec<Value>>>,
    listeners: Arc<Mutex<HashMap<DhtKey, Outlet<ListenEvent>>>>,
    look_ups: Arc<AtomicUsize>,
}

struct Dht(Asked);

impl Actor for Dht {
    type Message = DhtMessage;
    const KIND: &'static str = "dht";

    fn handle(&mut self, message: DhtMessage, _: &mut Scope<'_, Self>) {
        match message {
            DhtMessage::Put { value, reply, .. } => {
                self.0.puts.lock().unwrap().push(value);
                reply.send(Ok(PutReport { stored: 1 }));
            }
            DhtMessage::Listen { key, outlet, .. } => {
                self.0.listeners.lock().unwrap().insert(key, outlet);
            }
            _ => {}
        }
    }
}

struct Directory(Asked, VerifiedChain);

impl Actor for Directory {
    type Message = DirectoryMessage;
    const KIND: &'static str = "directory";

    fn handle(&mut self, message: DirectoryMessage, _: &mut Scope<'_, Self>) {
        if let DirectoryMessage::Device { reply, .. } = message {
            self.0.look_ups.fetch_add(1, Ordering::Relaxed);
            reply.send(Some(self.1.clone()));
        }
    }
}

struct Root {
    alice: Arc<DeviceIdentity>,
    bob: VerifiedChain,
    folder: tempfile::TempDir,
    asked: Asked,
    events: Outlet<LinkEvent>,
    links: Option<Port<LinksMessage>>,
}

struct Links(Reply<Port<LinksMessage>>);

impl Message for Links {
    fn kind(&self) -> &'static str {
        "links"
    }
    fn policy(&self) -> Policy {
        Policy::Wait
    }
}

impl Actor for Root {
    type Message = Links;
    const KIND: &'static str = "root";

    fn started(&mut self, scope: &mut Scope<'_, Self>) {
        let (asked, bob) = (self.asked.clone(), self.bob.clone());
        let dht = scope.start_child(ChildSpec::new("dht"), move || Dht(asked.clone()));
        let asked = self.asked.clone();
        let directory =
            scope.start_child(ChildSpec::new("directory"), move || Directory(asked.clone(), bob.clone()));
        let config = LinksConfig {
            link: LinkConfig {
                identity: Arc::clone(&self.alice),
                tls: TlsIdentity::new(self.alice.chain().chain(), self.alice.key()).unwrap(),
                dht,
                pool: BlockingPool::new(2),
                share: Share(1),
                gather: GatherOptions { include_loopback: true },
                unused: UnusedPlaces::default(),
                environment: scope.environment().clone(),
                revocations: Revocations::default(),
            },
            directory,
            events: self.events.clone(),
            treated_file: self.folder.path().join("treatedRequests"),
            trust: Trust { allowed: [self.bob.account_id()].into(), ..Trust::default() },
        };
        self.links =
            Some(scope.start_child(ChildSpec::new("links"), move || LinksActor::new(config.clone())));
    }

    fn handle(&mut self, Links(reply): Links, _: &mut Scope<'_, Self>) {
        reply.send(self.links.clone().unwrap());
    }
}

/// The identity of a recorded device.
fn identity(version: &str, name: &str) -> DeviceIdentity {
    Recorded::new(version, name).identity()
}

/// Alice's links, and Bob, a device that is announced and never answers.
struct Lab {
    links: Port<LinksMessage>,
    root: RootHandle<Links>,
    alice: Arc<DeviceIdentity>,
    bob: DeviceIdentity,
    asked: Asked,
}

impl Lab {
    async fn start() -> Self {
        let alice = Arc::new(identity("newest", "alice"));
        let asked = Asked::default();
        let root = {
            let (alice, asked) = (Arc::clone(&alice), asked.clone());
            let (events, mut told) = Outlet::channel("test", 64);
            tokio::task::spawn_local(async move { while told.recv().await.is_some() {} });
            start_root(Environment::single_thread(NOW, 1), move || Root {
                alice: Arc::clone(&alice),
                bob: identity("jami-13.11.0", "alice").chain().clone(),
                folder: tempfile::tempdir().unwrap(),
                asked: asked.clone(),
                events: events.clone(),
                links: None,
            })
        };
        let links = root.port().ask(SOON, Links).await.unwrap();
        let lab = Self { links, root, alice, bob: identity("jami-13.11.0", "alice"), asked };
        until(|| lab.asked.listeners.lock().unwrap().len() == 2).await;
        lab
    }

    fn bob_account(&self) -> AccountId {
        self.bob.account_id()
    }

    fn send(&self, message: LinksMessage) {
        self.links.try_send(message).unwrap();
    }

    /// Tells the links that Bob's device is announced.
    fn announce(&self) {
        let devices = vec![self.bob.chain().clone()];
        self.send(LinksMessage::Present { account: self.bob_account(), devices });
    }

    fn drop_links(&self) {
        self.send(LinksMessage::Drop { account: self.bob_account() });
    }

    async fn state(&self) -> Option<String> {
        let list: Vec<LinkView> = self.links.ask(SOON, LinksMessage::List).await.unwrap();
        list.first().map(|link| link.state.clone())
    }

    fn peer(&self) -> Option<ActorRow> {
        self.root.environment().tree().rows().into_iter().find(|row| row.kind == "peer")
    }

    fn put_count(&self) -> usize {
        self.asked.puts.lock().unwrap().len()
    }

    async fn has_put(&self, count: usize) {
        until(|| self.put_count() >= count).await;
        assert_eq!(self.put_count(), count);
    }

    /// What was put for Bob, as he reads it.
    fn letters(&self) -> Vec<PeerRequest> {
        let puts = self.asked.puts.lock().unwrap();
        let letter = |value: &Value| {
            let Body::Encrypted(cipher) = &value.body else { panic!("a request that is not encrypted") };
            let signed = cipher::open(cipher, self.bob.key()).unwrap();
            PeerRequest::decode(&signed.content().data).unwrap()
        };
        puts.iter().map(letter).collect()
    }

    /// A request of Bob's arrives, in an envelope of its own.
    fn request_of_bob(&self, id: RequestId) {
        let address = "127.0.0.1".parse().unwrap();
        let candidate = Candidate::passive(CandidateKind::Host, address, address, 9, 0);
        let text = IceText::new(Credentials::from_random(&[1; 24]), vec![candidate]);
        let request =
            PeerRequest { id, ice_text: text.to_string(), is_answer: false, connection_type: String::new() };
        let alice = self.alice.key().public();
        let content = Content::new(ValueKind::UserData.type_number(), request.encode());
        let random = EnvelopeRandom::draw(self.root.environment());
        let value = seal(content.with_user_type(USER_TYPE), self.bob.key(), alice, &random).unwrap();
        let key = RequestKeys::of(alice.device_id(), alice.device_short_id()).current;
        let listener = self.asked.listeners.lock().unwrap()[&key].clone();
        listener.try_send(ListenEvent::Values(vec![Arc::new(value)])).unwrap();
    }
}

fn run<F: Future<Output = ()> + 'static>(test: impl FnOnce(Lab) -> F + 'static) {
    virtual_time::run(async move { test(Lab::start().await).await });
}

fn notice() -> Notice {
    Notice { kind: "text/plain".to_owned(), content: "look".to_owned() }
}

#[test]
fn a_request_that_is_not_answered_is_put_again_and_a_new_one_made_after_thirty_seconds() {
    run(|lab| async move {
        lab.announce();
        lab.has_put(2).await;
        for (repeat, seconds) in [(1, 3), (2, 6), (3, 12)] {
            pass(seconds - 1).await;
            lab.state().await;
            assert_eq!(lab.put_count(), 2 * repeat);
            pass(1).await;
            lab.has_put(2 * repeat + 2).await;
        }
        pass(8).await;
        assert_eq!(lab.state().await.unwrap(), "dialling");
        pass(2).await;
        until(|| lab.peer().is_some_and(|peer| peer.tasks == 0)).await;
        assert_eq!(lab.state().await.unwrap(), "down", "the next one is due in a moment");
        pass(1).await;
        lab.has_put(10).await;
        let letters = lab.letters();
        assert!(letters[..8].iter().all(|letter| *letter == letters[0] && !letter.is_answer));
        assert_ne!(letters[8].id, letters[0].id);
    });
}

#[test]
fn whoever_waits_to_be_tried_again_is_tried_at_once_when_this_machine_gets_another_network() {
    run(|lab| async move {
        lab.announce();
        lab.has_put(2).await;
        for (repeat, seconds) in [(2, 3), (3, 6), (4, 12)] {
            pass(seconds).await;
            lab.has_put(2 * repeat).await;
        }
        pass(9).await;
        // The attempt has failed and the next one is due later; no time passes from here on.
        until(|| lab.peer().is_some_and(|peer| peer.tasks == 0)).await;
        assert_eq!(lab.state().await.unwrap(), "down");
        lab.send(LinksMessage::NetworkChanged);
        assert_eq!(lab.state().await.unwrap(), "dialling");
        lab.has_put(10).await;
    });
}

#[test]
fn a_person_that_was_dropped_is_not_dialled_again() {
    run(|lab| async move {
        lab.announce();
        lab.has_put(2).await;
        for repeat in 2..=4 {
            pass(if repeat == 2 { 3 } else { 6 * (repeat - 2) }).await;
            lab.has_put(2 * usize::try_from(repeat).unwrap()).await;
        }
        pass(9).await;
        // The attempt has failed and the next one is due in a moment.
        until(|| lab.peer().is_some_and(|peer| peer.tasks == 0)).await;
        lab.drop_links();
        assert_eq!(lab.state().await.unwrap(), "down");
        pass(1).await;
        assert_eq!(lab.state().await.unwrap(), "down");
        assert_eq!(lab.put_count(), 8);
    });
}

#[test]
fn an_attempt_ends_at_once_when_its_person_is_dropped() {
    run(|lab| async move {
        lab.announce();
        lab.has_put(2).await;
        assert!(lab.peer().unwrap().tasks > 0);
        lab.drop_links();
        until(|| lab.peer().unwrap().tasks == 0).await;
    });
}

#[test]
fn a_notice_that_comes_just_as_its_peer_goes_idle_is_not_lost() {
    run(|lab| async move {
        for turns in 0..12 {
            lab.announce();
            let before = lab.put_count();
            lab.has_put(before + 2).await;
            lab.drop_links();
            assert_eq!(lab.state().await.unwrap(), "down");
            tokio::time::advance(IDLE).await;
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            let living = lab.peer().is_some_and(|peer| peer.state == ActorState::Running);
            let before = lab.put_count();
            let to = Recipient::Device(lab.bob.device_id());
            lab.send(LinksMessage::Notify { to, topic: 1, notice: notice(), lasting: true, except: None });
            if living {
                lab.has_put(before + 2).await;
            }
            assert!(living || turns > 0, "the first notice comes before the peer has gone idle");
            lab.drop_links();
            lab.state().await;
            tokio::time::advance(IDLE).await;
            until(|| lab.peer().is_none()).await;
        }
    });
}

#[test]
fn a_sleeping_device_is_looked_up_and_asked_once_for_a_link_in_a_way_that_wakes_it() {
    run(|lab| async move {
        let wake = |number| LinksMessage::Wake {
            device: lab.bob.device_id(),
            topic: 1,
            notice: Notice { kind: "application/im-gitmessage-id".to_owned(), content: format!("{number}") },
        };
        for round in 1..=2 {
            // However much news there is while it is asked.
            for number in 0..100 {
                lab.send(wake(number));
                lab.state().await;
            }
            until(|| lab.put_count() >= 8 * (round - 1) + 2).await;
            for (repeat, seconds) in [(2, 3), (3, 6), (4, 12)] {
                pass(seconds).await;
                lab.has_put(8 * (round - 1) + 2 * repeat).await;
            }
            // Nor is it asked again later.
            for _ in 0..10 {
                pass(60).await;
                lab.state().await;
            }
            until(|| lab.peer().is_none()).await;
        }
        lab.has_put(16).await;
        assert!(lab.asked.look_ups.load(Ordering::Relaxed) <= 8);
        let letters = lab.letters();
        assert!(letters.iter().all(|letter| letter.connection_type == "application/im-gitmessage-id"));
        assert_ne!(letters[0].id, letters[8].id);
        let puts = lab.asked.puts.lock().unwrap();
        assert!(puts.iter().all(|value| value.push_type == letters[0].connection_type));
    });
}

#[test]
fn a_sleeping_device_that_may_not_connect_is_not_woken() {
    run(|lab| async move {
        lab.send(LinksMessage::SetTrust(Trust::default()));
        lab.send(LinksMessage::Wake { device: lab.bob.device_id(), topic: 1, notice: notice() });
        until(|| lab.asked.look_ups.load(Ordering::Relaxed) == 1).await;
        for _ in 0..20 {
            lab.state().await;
        }
        assert!(lab.peer().is_none());
        assert_eq!(lab.put_count(), 0);
    });
}

#[test]
fn only_the_first_request_after_a_notice_wakes_whom_it_is_for() {
    run(|lab| async move {
        lab.announce();
        lab.has_put(2).await;
        let to = Recipient::Device(lab.bob.device_id());
        lab.send(LinksMessage::Notify { to, topic: 1, notice: notice(), lasting: true, except: None });
        for request in 1..=2 {
            for repeat in 2..=4 {
                pass(3 * (1 << (repeat - 2))).await;
                until(|| lab.put_count() >= 8 * (request - 1) + 2 * repeat).await;
            }
            pass(10).await;
            until(|| lab.peer().is_some_and(|peer| peer.tasks == 0)).await;
            lab.state().await;
            pass(2).await;
            until(|| lab.put_count() >= 8 * request + 2).await;
        }
        lab.has_put(18).await;
        let kinds: Vec<String> = lab.letters().into_iter().map(|letter| letter.connection_type).collect();
        let expected = [vec![""; 8], vec!["text/plain"; 8], vec![""; 2]].concat();
        assert_eq!(kinds, expected);
    });
}

#[test]
fn a_request_refused_a_moment_ago_is_answered_when_its_copy_comes() {
    run(|lab| async move {
        lab.send(LinksMessage::SetTrust(Trust::default()));
        lab.state().await;
        lab.request_of_bob(RequestId(42));
        until(|| lab.asked.look_ups.load(Ordering::Relaxed) == 1).await;
        for _ in 0..20 {
            lab.state().await;
        }
        assert_eq!(lab.put_count(), 0, "nobody is told that he is refused");
        let allowed = [lab.bob_account()].into();
        lab.send(LinksMessage::SetTrust(Trust { allowed, ..Trust::default() }));
        lab.request_of_bob(RequestId(42));
        lab.has_put(1).await;
        let answer = lab.letters().remove(0);
        assert!(answer.is_answer && answer.id == RequestId(42));
        // Once it is answered, further copies mean nothing.
        lab.request_of_bob(RequestId(42));
        lab.state().await;
        assert_eq!(lab.asked.look_ups.load(Ordering::Relaxed), 2);
    });
}
