//! Daemons of December 2023 (13.11.0) and of 2026 (17.0.0), played out of their recorded connections
//! against a node that takes the place of the other end: the same account on the same device.
//!
//! ```text
//!   played peer: DHT, ICE, TLS, multiplexed socket ◄──► node
//!     git://     what it served, and what it fetched             git.rs
//!     swarm://   what it asked and told of the overlay           overlay, below
//!     msg: sip   what it announced                               messages.rs
//! ```
//!
//! What the peer says are the recorded bytes; channels have the recorded names, but numbers of this
//! connection. What depends on commits of the node, which are not those of the recording, names the node's.

mod git;
mod messages;
mod peer;
mod recording;
mod socket;

use std::cell::Cell;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use skep::rpc::schema::method;
use skep::{CommitId, ConversationId, Event, RouteState};
use skep_actors::account::identity::AccountFolder;
use skep_actors::storage;
use skep_actors::swarm::repository::Repository;
use skep_protocol::contact::ContactList;
use skep_protocol::drt::message::{Body, Found, Message, Version};
use skep_protocol::drt::reader::SwarmReader;
use skep_protocol::ids::{AccountId, DeviceId};
use skep_protocol::swarm::message::Mode;
use skep_protocol::sync::{ConversationRecord, ConversationRecords};
use skep_protocol::time::UnixMillis;
use skep_tests::harness::{Golden, NodeSetup, Person, run, until, vector};
use tempfile::TempDir;

use self::git::{Served, fetch, git};
use self::messages::{Messages, says};
use self::peer::PlayedPeer;
use self::recording::{RecordedChannel, RecordedFetch, Recording};
use self::socket::{Channel, Socket};
use super::groups::about;
use crate::device::{Release, device_of};

/// When the accounts that are laid out got what they have.
const LONG_AGO: UnixMillis = UnixMillis(1_700_000_000_000);

/// The one-to-one conversation of a recording, and who talked in it.
#[derive(Clone, Copy)]
struct Cast {
    release: Release,
    /// The folder of the recording.
    set: &'static str,
    alice: Golden,
    bob: Golden,
    id: &'static str,
    /// All of it.
    bundle: &'static str,
}

const OF_2023: Cast = Cast {
    release: Release::Of2023,
    set: "jami-13.11.0",
    alice: Golden::DAN,
    bob: Golden::BOB,
    id: "dce89e766fd7702d20fc336667bd99ad0fdf3470",
    bundle: "jami-13.11.0/swarms/one-to-one/alice.bundle",
};

const NEWEST: Cast = Cast {
    release: Release::Newest,
    set: "newest",
    alice: Golden::ALICE,
    bob: Golden::DAVE,
    id: "0237426a15a050a06868d6636d6edc6e6f185951",
    bundle: "newest/swarm/one-to-one.bob.final.bundle",
};

/// The connection of these two.
const BETWEEN: &str = "alice-bob";

impl Cast {
    fn id(&self) -> ConversationId {
        self.id.parse().unwrap()
    }

    /// Its first commit.
    fn first(&self) -> CommitId {
        self.id.parse().unwrap()
    }
}

/// A recording that is about to be played.
struct Stage {
    cast: Cast,
    recording: Recording,
    place: TempDir,
}

impl Stage {
    fn set(cast: Cast) -> Self {
        Self { cast, recording: Recording::read(cast.set), place: tempfile::tempdir().unwrap() }
    }

    /// A channel of the two with this beginning of a name.
    fn channel(&self, name: &str, asked_by: &str) -> &RecordedChannel {
        self.recording.channel(BETWEEN, name, asked_by)
    }

    /// The channel for messages that somebody asked for.
    fn messages(&self, asked_by: &str) -> &RecordedChannel {
        let name = if self.cast.release == Release::Newest { "msg:" } else { "sip" };
        self.channel(name, asked_by)
    }

    /// What was fetched by one of the two, and had not begun with the conversation.
    fn fetched_by(&self, who: &str) -> Vec<RecordedFetch> {
        let mut fetches = self.channel("git://", who).fetches();
        fetches.retain(|fetch| fetch.head() != self.cast.first());
        fetches
    }

    /// A repository with the whole recorded conversation.
    fn whole(&self) -> PathBuf {
        let folder = self.place.path().join("whole");
        unbundle(self.cast.bundle, &folder);
        folder
    }

    /// The node of one of the two, with the conversation as it was at a revision.
    async fn node(&self, own: Golden, other: Golden, confirmed: bool, revision: &str) -> (Person, CommitId) {
        let setup = NodeSetup::new("node", self.place.path());
        let kept = Kept { id: self.cast.id(), bundle: self.cast.bundle, revision, mode: Mode::OneToOne };
        let head = kept.lay_out(setup.data(), own, &[(other, confirmed)]);
        (Person::start(own, setup).await.unwrap(), head)
    }

    async fn play(&self, golden: Golden, node: &mut Person) -> PlayedPeer {
        let address = node.node.address().await.unwrap();
        let place = self.place.path().join("peer");
        let peer = PlayedPeer::start(golden, self.cast.release, &place, &address).await;
        // Alone, the node had nobody to announce itself to.
        node.announced().await.unwrap();
        peer
    }
}

/// A conversation that an account has.
struct Kept<'k> {
    id: ConversationId,
    bundle: &'k str,
    /// Its newest commit.
    revision: &'k str,
    mode: Mode,
}

impl Kept<'_> {
    /// Writes what an account has that knows these people, confirmed or not, who are members. The newest
    /// commit.
    fn lay_out(&self, data: &Path, own: Golden, people: &[(Golden, bool)]) -> CommitId {
        let folder = AccountFolder::new(&data.join("accounts"), own.id[..16].parse().unwrap());
        storage::make_folder(folder.path()).unwrap();
        let conversation = (self.mode == Mode::OneToOne).then_some(self.id);
        let mut contacts = ContactList::new(own.id.parse().unwrap());
        let mut members: Vec<AccountId> = vec![own.id.parse().unwrap()];
        for (person, confirmed) in people {
            members.push(person.id.parse().unwrap());
            contacts.add(LONG_AGO, person.id.parse().unwrap(), conversation, *confirmed).unwrap();
        }
        let mut records = ConversationRecords::default();
        records.insert(self.id, ConversationRecord::new(LONG_AGO, members, self.mode.number())).unwrap();
        storage::replace(&folder.join("contacts"), &contacts.encode()).unwrap();
        storage::replace(&folder.join("convInfo"), &records.encode()).unwrap();
        let conversations = folder.join("conversations");
        storage::make_folder(&conversations).unwrap();
        self.write(&data.with_file_name("scratch"), &conversations.join(self.id.to_string()))
    }

    /// Writes the repository, without what came after the revision.
    fn write(&self, scratch: &Path, folder: &Path) -> CommitId {
        unbundle(self.bundle, scratch);
        let run = |words: &[&str]| {
            let output = git(scratch).args(words).output().unwrap();
            assert!(output.status.success(), "{words:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let head = run(&["rev-parse", self.revision]);
        run(&["update-ref", "refs/heads/main", head.trim()]);
        let bundle = scratch.join("short.bundle");
        run(&["bundle", "create", bundle.to_str().unwrap(), "refs/heads/main"]);
        Repository::import_bundle(&bundle, folder).unwrap();
        head.trim().parse().unwrap()
    }
}

/// Makes a repository of a recorded bundle.
fn unbundle(bundle: &str, folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let bundle = vector(bundle).canonicalize().unwrap();
    let main = "refs/heads/main:refs/heads/main";
    let fetch = ["fetch", "-q", bundle.to_str().unwrap(), main];
    for words in [&["init", "-q", "--bare"][..], &fetch[..]] {
        assert!(git(folder).args(words).status().unwrap().success());
    }
}

/// The channel of the overlay that a recorded device was asked for. The node does not ask devices of 2023,
/// most of which have no overlay; those that have ask it.
async fn overlay_channel(socket: &Rc<Socket>, name: &str, release: Release) -> Channel {
    match release {
        Release::Newest => socket.asked(name).await,
        Release::Of2023 => socket.open(name).await,
    }
}

/// Plays somebody's end of a channel of the overlay, and checks that the node says the same as the
/// recorded device in its place; which nodes it tells of.
async fn overlay(channel: &Channel, recorded: &RecordedChannel, who: &str, other: &str) -> Found {
    let read = |bytes: &[u8]| SwarmReader::default().next(&mut &bytes[..]).unwrap().unwrap();
    let is_question = |bytes: &&[u8]| matches!(read(bytes).body, Some(Body::Find { .. }));
    let (questions, answers): (Vec<_>, Vec<_>) = recorded.said_by(who).into_iter().partition(is_question);
    let asked: Vec<Message> = recorded.said_by(other).into_iter().map(read).collect();
    questions.into_iter().for_each(|question| channel.say(question));
    let (mut reader, mut find, mut found) = (SwarmReader::default(), None, None);
    while find.is_none() || found.is_none() {
        let take = |heard: &mut Vec<u8>| {
            let mut rest = &heard[..];
            let message = reader.next(&mut rest).unwrap();
            let left = rest.to_vec();
            *heard = left;
            message
        };
        let Message { version, is_mobile, self_mobile_info, body } =
            channel.hear("a message of the overlay", take).await;
        // We speak the newest, which old releases read, too.
        assert_eq!((version, is_mobile, self_mobile_info), (Version::Three, false, None));
        match body.unwrap() {
            question @ Body::Find { .. } => {
                answers.iter().for_each(|answer| channel.say(answer));
                assert_eq!(find.replace(question), None, "it asks once");
            }
            Body::Found(nodes) => assert_eq!(found.replace(nodes), None, "it answers once"),
            other => panic!("{other:?}"),
        }
    }
    let is_same = |message: &Message| message.body == find;
    assert!(asked.iter().any(is_same), "{find:?} is not in {asked:?}");
    found.unwrap()
}

/// Does one thing while another goes on beside it that never ends by itself.
async fn beside<T>(other: impl Future<Output = Infallible>, script: impl Future<Output = T>) -> T {
    tokio::select! {
        never = other => match never {},
        done = script => done,
    }
}

/// Has the node fetch what a played peer serves.
async fn serve(socket: &Rc<Socket>, name: &str, served: &Served) -> Infallible {
    let channel = socket.asked(name).await;
    served.serve(&channel).await
}

/// Waits until a node has a channel of the overlay with one device, and with nobody else.
async fn connected_with(person: &mut Person, id: ConversationId, device: DeviceId) {
    let name = person.node.name().to_owned();
    until(&name, "a channel of the overlay", async || {
        let params = about(person, id);
        let routes = person.node.call(method::ConversationRoutes, params).await?;
        let connected = routes.view.nodes.iter().filter(|node| node.state == RouteState::Connected);
        Ok(connected.map(|node| node.device).eq([device]).then_some(()))
    })
    .await
    .unwrap();
}

/// A played peer asks to become a contact; the node clones the conversation from it and joins.
fn an_inviter_is_cloned_from(cast: Cast) {
    run(async {
        let stage = Stage::set(cast);
        let (alice_id, conversation) = (cast.alice.id.parse().unwrap(), cast.id());
        let (alice_device, own_device) = (device_of(cast.alice).device_id(), device_of(cast.bob).device_id());
        let mut bob = Person::start(cast.bob, NodeSetup::new("node", stage.place.path())).await.unwrap();
        let mut alice = stage.play(cast.alice, &mut bob).await;
        let since = bob.node.events().mark();
        alice.ask(cast.bob, stage.recording.request(BETWEEN)).await;
        assert_eq!(bob.asked_by(alice_id, since).await.unwrap(), conversation);
        bob.accept(alice_id).await.unwrap();

        let socket = alice.socket().await;
        let cloned = stage.channel("git://", "bob");
        let served = Served { fetches: cloned.fetches(), head: Cell::new(cast.first()) };
        let script = async {
            bob.ready(conversation, since).await.unwrap();
            bob.joined(cast.bob.id.parse().unwrap(), conversation).await.unwrap();
            let joined = bob.log(conversation).await.unwrap()[0];

            // Bob asks for the channels.
            let recorded = stage.messages("bob");
            let channel = socket.asked(&recorded.name).await;
            let messages = Messages { channel, release: cast.release };
            let announcement = messages.announcement().await;
            let theirs = stage.channel("git://", "alice").fetches()[0].head();
            assert!(says(messages.announcing(&recorded.said_by("bob"), theirs), &own_device.to_string()));
            assert_eq!(announcement.commit, joined);
            assert_eq!((announcement.conversation, announcement.device), (conversation, own_device));
            let recorded = stage.channel("swarm://", "bob");
            let channel = overlay_channel(&socket, &recorded.name, cast.release).await;
            let found = overlay(&channel, recorded, "alice", "bob").await;
            assert_eq!(found, Found::default());
            connected_with(&mut bob, conversation, alice_device).await;

            // Alice fetches that bob has joined.
            let recorded = stage.channel("git://", "alice");
            let channel = socket.open(&recorded.name).await;
            let recorded = &recorded.fetches()[0];
            let (whole, pack) = (stage.whole(), fetch(&channel, recorded, joined).await);
            let theirs =
                git(&whole).args(["log", "-1", "--format=%P%n%s", &recorded.head().to_string()]).output();
            assert_eq!(pack.commit(&whole, joined), String::from_utf8(theirs.unwrap().stdout).unwrap());

            // What she announces is known already.
            let recorded = stage.messages("bob");
            let (said, answers) = (recorded.said_by("alice"), recorded.said_by("bob"));
            messages.say(messages.announcing(&said, cast.first()), &answers).await;
            assert_eq!(bob.log(conversation).await.unwrap(), [joined, cast.first()]);
        };
        beside(serve(&socket, &cloned.name, &served), script).await;
        bob.node.stop().await.unwrap();
    });
}

#[test]
fn an_inviter_of_2023_is_cloned_from_and_fetches_that_we_have_joined() {
    an_inviter_is_cloned_from(OF_2023);
}

#[test]
fn an_inviter_of_2026_is_cloned_from_and_fetches_that_we_have_joined() {
    an_inviter_is_cloned_from(NEWEST);
}

/// A played peer accepts to become a contact, clones the conversation from the node and joins.
fn a_guest_clones(cast: Cast) {
    run(async {
        let stage = Stage::set(cast);
        let (bob_id, conversation) = (cast.bob.id.parse().unwrap(), cast.id());
        let (mut alice, head) = stage.node(cast.alice, cast.bob, false, cast.id).await;
        let mut bob = stage.play(cast.bob, &mut alice).await;
        bob.ask(cast.alice, stage.recording.request("bob-alice")).await;
        alice.confirmed(bob_id).await.unwrap();

        let socket = bob.socket().await;
        let cloned = stage.channel("git://", "bob");
        let channel = socket.open(&cloned.name).await;
        let empty = stage.place.path().join("empty");
        fs::create_dir(&empty).unwrap();
        assert!(git(&empty).args(["init", "-q", "--bare"]).status().unwrap().success());
        let pack = fetch(&channel, &cloned.fetches()[0], head).await;
        assert!(pack.commit(&empty, head).contains("\"type\":\"initial\""));

        // He asks for the channels before anybody knows that he has joined.
        let recorded = stage.channel("swarm://", "bob");
        let found = overlay(&socket.open(&recorded.name).await, recorded, "bob", "alice").await;
        assert_eq!(found, Found::default());
        connected_with(&mut alice, conversation, device_of(cast.bob).device_id()).await;
        let recorded = stage.messages("bob");
        let messages = Messages { channel: socket.open(&recorded.name).await, release: cast.release };
        let joined = stage.fetched_by("alice")[0].clone();
        let served = Served { head: Cell::new(joined.head()), fetches: vec![joined] };
        let script = async {
            let (said, answers) = (recorded.said_by("bob"), recorded.said_by("alice"));
            let joined = served.head.get();
            messages.say(messages.announcing(&said, joined), &answers).await;
            alice.joined(bob_id, conversation).await.unwrap();
            assert_eq!(alice.log(conversation).await.unwrap(), [joined, cast.first()]);
        };
        beside(serve(&socket, &stage.channel("git://", "alice").name, &served), script).await;
        alice.node.stop().await.unwrap();
    });
}

#[test]
fn a_guest_of_2023_clones_from_us_and_we_fetch_that_it_has_joined() {
    a_guest_clones(OF_2023);
}

#[test]
fn a_guest_of_2026_clones_from_us_and_we_fetch_that_it_has_joined() {
    a_guest_clones(NEWEST);
}

/// A played peer announces its commits; the node fetches each of them.
fn announced_commits_are_fetched(cast: Cast, author: &str) {
    run(async {
        let stage = Stage::set(cast);
        let conversation = cast.id();
        let (theirs, own, reader) =
            if author == "alice" { (cast.alice, cast.bob, "bob") } else { (cast.bob, cast.alice, "alice") };
        let mut fetches = stage.fetched_by(reader);
        if author == "bob" {
            // That he has joined.
            fetches.remove(0);
        }
        let before = format!("{}^", fetches[0].head());
        let (mut node, head) = stage.node(own, theirs, true, &before).await;
        let mut peer = stage.play(theirs, &mut node).await;
        let socket = peer.socket().await;
        let served = Served { fetches, head: Cell::new(head) };
        let script = async {
            // Bob asks for the channel.
            let recorded = stage.messages("bob");
            let channel = match author {
                "bob" => socket.open(&recorded.name).await,
                _ => socket.asked(&recorded.name).await,
            };
            let messages = Messages { channel, release: cast.release };
            let (said, answers) = (recorded.said_by(author), recorded.said_by(reader));
            for fetch in &served.fetches {
                let commit = fetch.head();
                served.head.set(commit);
                messages.say(messages.announcing(&said, commit), &answers).await;
                node.has(conversation, commit).await.unwrap();
                assert_eq!(node.log(conversation).await.unwrap()[0], commit);
            }
            messages
        };
        let messages = beside(serve(&socket, &stage.channel("git://", reader).name, &served), script).await;
        if author == "alice" {
            // She types.
            let member: AccountId = theirs.id.parse().unwrap();
            let recorded = stage.messages("bob");
            let answers = recorded.said_by(reader);
            let typing =
                recorded.said_by(author).into_iter().filter(|it| says(it, "application/im-iscomposing+xml"));
            for bytes in typing {
                let since = node.node.events().mark();
                messages.say(bytes, &answers).await;
                let wanted = says(bytes, "<state>active</state>");
                let told = node.told(since, "that she types", |event| match event {
                    Event::Typing { conversation: id, member: who, active } if *id == conversation => {
                        Some((*who, *active))
                    }
                    _ => None,
                });
                assert_eq!(told.await.unwrap(), (member, wanted));
            }
        }
        node.node.stop().await.unwrap();
    });
}

#[test]
fn what_an_inviter_of_2023_announces_is_fetched_and_it_is_shown_typing() {
    announced_commits_are_fetched(OF_2023, "alice");
}

#[test]
fn what_an_inviter_of_2026_announces_is_fetched_and_it_is_shown_typing() {
    announced_commits_are_fetched(NEWEST, "alice");
}

#[test]
fn what_a_guest_of_2023_announces_is_fetched() {
    announced_commits_are_fetched(OF_2023, "bob");
}

#[test]
fn what_a_guest_of_2026_announces_is_fetched() {
    announced_commits_are_fetched(NEWEST, "bob");
}

/// A played peer tells how far it has read.
fn a_read_marker_is_shown(cast: Cast, read: &str) {
    run(async {
        let stage = Stage::set(cast);
        let (bob_id, conversation) = (cast.bob.id.parse::<AccountId>().unwrap(), cast.id());
        let (mut alice, head) = stage.node(cast.alice, cast.bob, true, read).await;
        let mut bob = stage.play(cast.bob, &mut alice).await;
        let socket = bob.socket().await;
        // A packed one went over the channel of alice's.
        let recorded = match cast.release {
            Release::Newest => stage.messages("alice"),
            Release::Of2023 => stage.messages("bob"),
        };
        let channel = match cast.release {
            Release::Newest => socket.asked(&recorded.name).await,
            Release::Of2023 => socket.open(&recorded.name).await,
        };
        let messages = Messages { channel, release: cast.release };
        let mut said = recorded.said_by("bob").into_iter();
        let marker = said.find(|bytes| says(bytes, "message/imdn+xml")).unwrap();
        let since = alice.node.events().mark();
        messages.say(marker, &recorded.said_by("alice")).await;
        let told = alice.told(since, "that bob has read", |event| match event {
            Event::Read { conversation: id, member, message } if *id == conversation => {
                Some((*member, *message))
            }
            _ => None,
        });
        assert_eq!(told.await.unwrap(), (bob_id, head));
        alice.node.stop().await.unwrap();
    });
}

#[test]
fn how_far_a_guest_of_2023_has_read_is_shown() {
    a_read_marker_is_shown(OF_2023, "fecc624bbb335f4ff2b6f03a8cd5a98f717b7965");
}

#[test]
fn how_far_a_guest_of_2026_has_read_is_shown() {
    a_read_marker_is_shown(NEWEST, "cfb1baf6bc493a27b3a52762ba374838a6d9c841");
}

/// A played peer tells the node of a device that it is connected with.
struct News<'n> {
    cast: Cast,
    /// The connection, and who is played.
    connection: &'n str,
    teller: (&'n str, Golden),
    /// In whose place the node is.
    node: (&'n str, Golden),
    others: &'n [(Golden, bool)],
    kept: Kept<'n>,
    /// The device told of.
    told: DeviceId,
}

impl News<'_> {
    fn check_that_it_is_learnt(self) {
        run(async {
            let place = tempfile::tempdir().unwrap();
            let setup = NodeSetup::new("node", place.path());
            self.kept.lay_out(setup.data(), self.node.1, self.others);
            let stage = Stage { cast: self.cast, recording: Recording::read(self.cast.set), place };
            let mut node = Person::start(self.node.1, setup).await.unwrap();
            let mut teller = stage.play(self.teller.1, &mut node).await;
            let socket = teller.socket().await;
            let name = format!("swarm://{}", self.kept.id);
            let recorded = stage.recording.channel(self.connection, &name, self.node.0);
            let channel = socket.asked(&recorded.name).await;
            overlay(&channel, recorded, self.teller.0, self.node.0).await;
            connected_with(&mut node, self.kept.id, device_of(self.teller.1).device_id()).await;
            let params = about(&node, self.kept.id);
            until("node", "the device told of", async || {
                let routes = node.node.call(method::ConversationRoutes, params.clone()).await?;
                Ok(routes.view.nodes.iter().any(|it| it.device == self.told).then_some(()))
            })
            .await
            .unwrap();
            node.node.stop().await.unwrap();
        });
    }
}

#[test]
fn a_member_of_2023_tells_us_of_another_ones_device_which_we_then_know() {
    News {
        cast: OF_2023,
        connection: "alice-carol",
        teller: ("alice", Golden::DAN),
        node: ("carol", Golden::CAROL),
        others: &[(Golden::DAN, true), (Golden::BOB, true)],
        kept: Kept {
            id: "19ed7a4a8f9e192c6f97913f71414c5901058512".parse().unwrap(),
            bundle: "jami-13.11.0/swarms/group/alice.bundle",
            // Carol has joined.
            revision: "8711363",
            mode: Mode::InvitesOnly,
        },
        told: device_of(Golden::BOB).device_id(),
    }
    .check_that_it_is_learnt();
}

#[test]
fn a_contact_of_2026_tells_a_new_device_of_ours_of_the_first_one_which_it_then_knows() {
    /// The second device of the account.
    const SECOND: Golden = Golden { device: "newest/accounts/alice2", ..Golden::ALICE };
    News {
        cast: NEWEST,
        connection: "bob-alice2",
        teller: ("bob", Golden::DAVE),
        node: ("alice2", SECOND),
        others: &[(Golden::DAVE, true)],
        kept: Kept { id: NEWEST.id(), bundle: NEWEST.bundle, revision: "main", mode: Mode::OneToOne },
        told: device_of(Golden::ALICE).device_id(),
    }
    .check_that_it_is_learnt();
}
