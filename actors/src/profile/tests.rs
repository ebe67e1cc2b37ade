//! The actor with links that a test plays.

use std::fs;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use skep_protocol::ids::{AccountId, ConversationId, DeviceId, LocalAccountId};
use skep_protocol::profile::{
    Announced, Distribution, PersonalProfile, Picture, ProfileDigest, Transfer, file_name,
};
use skep_protocol::sync::FileTime;
use skep_protocol::time::UnixMillis;
use tokio::sync::{mpsc, oneshot};

use super::messages::*;
use super::{ProfilesActor, ProfilesConfig};
use crate::blocking::{BlockingPool, Share};
use crate::event::{Event, NodeEvent};
use crate::peer::channel::Outbound;
use crate::peer::messages::{Channel, ChannelEnd, ChannelOffer, LinkError, LinksMessage};
use crate::recorded::NOW;
use crate::supervision::{Actor, Environment, Outlet, Reply, RootHandle, Scope, start_root};
use crate::swarm::testing::channel;
use crate::virtual_time::{self, pass};

const OWN: AccountId = AccountId([1; 20]);
const DESK: DeviceId = DeviceId([0x11; 32]);
const PHONE: DeviceId = DeviceId([0x12; 32]);
const BOB: AccountId = AccountId([2; 20]);
const BOBS: DeviceId = DeviceId([0x21; 32]);
const ROOM: ConversationId = ConversationId([0xc0; 20]);

type Asked = (DeviceId, String, Reply<Result<Channel, LinkError>>);

struct PlayedLinks(mpsc::Sender<Asked>);

impl Actor for PlayedLinks {
    type Message = LinksMessage;
    const KIND: &'static str = "links";

    fn handle(&mut self, message: LinksMessage, _: &mut Scope<'_, Self>) {
        if let LinksMessage::Open { device, name, reply, .. } = message {
            self.0.try_send((device, name, reply)).unwrap();
        }
    }
}

struct Lab {
    profiles: RootHandle<ProfilesMessage>,
    _links: RootHandle<LinksMessage>,
    told: mpsc::Receiver<ProfilesTold>,
    events: mpsc::Receiver<NodeEvent>,
    asked: mpsc::Receiver<Asked>,
}

impl Lab {
    async fn start(place: &tempfile::TempDir) -> Self {
        let (links_sender, asked) = mpsc::channel(256);
        let links = start_root(Environment::threads(Vec::new()), move || PlayedLinks(links_sender.clone()));
        let (told_outlet, mut told) = Outlet::channel("account", 256);
        let (events_outlet, events) = Outlet::channel("events", 256);
        let config = ProfilesConfig {
            local: LocalAccountId([1; 8]),
            account: OWN,
            device: DESK,
            folder: place.path().to_owned(),
            links: links.port().clone(),
            pool: BlockingPool::new(2),
            share: Share(0),
            events: events_outlet,
            told: told_outlet,
        };
        let profiles =
            start_root(Environment::single_thread(NOW, 7), move || ProfilesActor::new(config.clone()));
        assert!(matches!(told.recv().await, Some(ProfilesTold::Started(_))));
        Self { profiles, _links: links, told, events, asked }
    }

    async fn tell(&self, message: ProfilesMessage) {
        self.profiles.port().send(message).await.unwrap();
    }

    async fn set(&mut self, name: &str) {
        let (reply, answer) = Reply::channel();
        let name = Some(name.to_owned());
        self.tell(ProfilesMessage::Set { name, picture: PictureChange::Keep, reply }).await;
        answer.await.unwrap().unwrap();
        while !matches!(self.events.recv().await.unwrap().event, Event::ProfileChanged { person: OWN, .. }) {}
    }

    async fn reach(&self, device: DeviceId, account: AccountId, way: Option<Way>) {
        self.tell(ProfilesMessage::Reach { device, account, way }).await;
    }

    /// Whom the actor asks for a channel, and under which name without the digest.
    async fn asks(&mut self) -> (DeviceId, String, Reply<Result<Channel, LinkError>>) {
        let (device, name, reply) = self.asked.recv().await.unwrap();
        (device, name.split_once('?').map_or(name.clone(), |(name, _)| name.to_owned()), reply)
    }

    /// Takes what the actor sends to whoever is next.
    async fn receive(&mut self) -> (DeviceId, String, String) {
        let (device, name, reply) = self.asks().await;
        let (ours, mut theirs) = channel(BOB, device, 64);
        reply.send(Ok(ours));
        let mut file = Vec::new();
        while let Some(Outbound::Data { bytes, .. }) = theirs.outbound.recv().await {
            file.extend_from_slice(&bytes);
        }
        pass(3).await;
        (device, name, String::from_utf8(file).unwrap())
    }

    /// Offers a file as the links do; false if it is declined.
    async fn offer(
        &self,
        device: DeviceId,
        account: AccountId,
        transfer: Transfer,
        pieces: Vec<Bytes>,
    ) -> bool {
        let (accept, accepted) = oneshot::channel::<oneshot::Sender<Channel>>();
        let offer = ChannelOffer { name: "data-transfer://".to_owned(), device, account, accept };
        self.tell(ProfilesMessage::Serve(offer, transfer)).await;
        let Ok(give) = accepted.await else { return false };
        let (ours, theirs) = channel(account, device, 64);
        let end: Arc<OnceLock<ChannelEnd>> = Arc::clone(&ours.receiver.end);
        assert!(give.send(ours).is_ok());
        for piece in pieces {
            if theirs.inbound.send(piece).await.is_err() {
                break;
            }
        }
        end.set(ChannelEnd::Closed).unwrap();
        drop(theirs);
        // Until it is read.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        true
    }

    async fn bob_gives(&self, file: &[u8]) -> bool {
        let transfer = Transfer::Take { owner: BOB, announced: Announced::Nothing, modified: None };
        self.offer(BOBS, BOB, transfer, vec![Bytes::copy_from_slice(file)]).await
    }

    /// As often as it takes: while one of his is being written, another is declined.
    async fn bob_gives_until_taken(&self, file: &[u8]) -> bool {
        for _ in 0..1000 {
            if self.bob_gives(file).await {
                return true;
            }
            // Off this thread, as the writing is.
            let _ = self.shown(OWN).await;
        }
        false
    }

    async fn shown(&self, person: AccountId) -> Result<PersonView, ProfileError> {
        let (reply, answer) = Reply::channel();
        self.tell(ProfilesMessage::Show { person, reply }).await;
        answer.await.unwrap()
    }
}

fn vcard(name: &str, picture: Option<Picture>) -> Vec<u8> {
    PersonalProfile { name: name.to_owned(), picture }.to_vcard().into_bytes()
}

#[test]
fn each_device_gets_each_edition_once_also_over_restarts() {
    virtual_time::run(async {
        let place = tempfile::tempdir().unwrap();
        let mut lab = Lab::start(&place).await;
        lab.reach(BOBS, BOB, Some(Way::Member(ROOM))).await;
        lab.reach(PHONE, OWN, Some(Way::Own { bare: true })).await;
        lab.set("Ada").await;
        let mut received = [lab.receive().await, lab.receive().await];
        received.sort();
        let file = String::from_utf8(vcard("Ada", None)).unwrap();
        assert_eq!(received[0], (PHONE, "data-transfer://profile.vcf".to_owned(), file.clone()));
        let name = format!("data-transfer://{ROOM}/{DESK}/profile.vcf");
        assert_eq!(received[1], (BOBS, name.clone(), file));
        for way in [None, Some(Way::Member(ROOM))] {
            lab.reach(BOBS, BOB, way).await;
        }
        let noted = |device: (AccountId, DeviceId)| {
            let file = fs::read(place.path().join("profileSent")).unwrap_or_default();
            Distribution::decode(&file).is_ok_and(|mut sent| sent.begin(device).is_none())
        };
        // It is written a second after it is known, off this thread.
        for _ in 0..1000 {
            if noted((BOB, BOBS)) && noted((OWN, PHONE)) {
                break;
            }
            pass(1).await;
            lab.shown(OWN).await.unwrap();
        }
        assert!(noted((BOB, BOBS)) && noted((OWN, PHONE)));
        assert!(lab.asked.try_recv().is_err(), "he has it");
        drop(lab);

        let mut lab = Lab::start(&place).await;
        lab.reach(BOBS, BOB, Some(Way::Member(ROOM))).await;
        assert_eq!(lab.shown(OWN).await.unwrap().name, "Ada");
        assert!(lab.asked.try_recv().is_err(), "he still has it");
        lab.set("Eve").await;
        assert_eq!(lab.receive().await.2, String::from_utf8(vcard("Eve", None)).unwrap());
        lab.tell(ProfilesMessage::Forget(BOB)).await;
        lab.reach(BOBS, BOB, Some(Way::Member(ROOM))).await;
        assert_eq!(lab.receive().await.1, name, "a contact that comes back gets it anew");
    });
}

#[test]
fn a_member_that_declines_is_asked_again_with_growing_pauses_and_an_own_device_is_not() {
    virtual_time::run(async {
        let place = tempfile::tempdir().unwrap();
        let mut lab = Lab::start(&place).await;
        lab.set("Ada").await;
        lab.reach(PHONE, OWN, Some(Way::Own { bare: false })).await;
        let decline = |(device, name, reply): Asked| {
            reply.send(Err(LinkError::Declined { device, name }));
            device
        };
        assert_eq!(decline(lab.asked.recv().await.unwrap()), PHONE);
        lab.reach(BOBS, BOB, Some(Way::Member(ROOM))).await;
        let mut times = 0;
        for _ in 0..400 {
            while let Ok(asked) = lab.asked.try_recv() {
                assert_eq!(decline(asked), BOBS);
                times += 1;
            }
            pass(1).await;
            lab.shown(OWN).await.unwrap();
        }
        assert_eq!(times, 7, "once, and six times more");
        lab.reach(BOBS, BOB, None).await;
        lab.shown(OWN).await.unwrap();
        lab.reach(BOBS, BOB, Some(Way::Member(ROOM))).await;
        assert_eq!(lab.receive().await.0, BOBS, "a new link is a new chance");
    });
}

#[test]
fn what_others_send_is_kept_as_far_as_it_is_safe_and_told_when_it_is_new() {
    virtual_time::run(async {
        let place = tempfile::tempdir().unwrap();
        let mut lab = Lab::start(&place).await;
        assert_eq!(lab.shown(BOB).await, Err(ProfileError::Unknown(BOB)));
        let bomb = Picture::from_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\xff\xff\xff\xff\xff\xff\xff\xff");
        assert!(lab.bob_gives(&vcard("B\u{202e}ob", Some(bomb))).await);
        assert_eq!(lab.told.recv().await, Some(ProfilesTold::Named(BOB, "Bob".to_owned())));
        let event = lab.events.recv().await.unwrap().event;
        assert_eq!(event, Event::ProfileChanged { person: BOB, name: "Bob".to_owned(), picture: false });
        assert!(lab.bob_gives_until_taken(&vcard("Bob", None)).await);
        assert!(lab.bob_gives_until_taken(b"BEGIN:VCARD\nFN:Cut off").await);
        assert!(lab.bob_gives_until_taken(&vcard("Robert", None)).await);
        // That nothing has changed is not told.
        assert_eq!(lab.told.recv().await, Some(ProfilesTold::Named(BOB, "Robert".to_owned())));
        lab.tell(ProfilesMessage::Hint { person: BOB, vcard: vcard("Mallory", None) }).await;
        assert_eq!(lab.shown(BOB).await.unwrap().name, "Robert", "a hint says less than he himself");
        drop(lab);
        let lab = Lab::start(&place).await;
        assert_eq!(lab.shown(BOB).await.unwrap().name, "Robert");
    });
}

#[test]
fn a_profile_without_end_is_given_up_at_the_limit_and_a_flood_is_declined() {
    virtual_time::run(async {
        let place = tempfile::tempdir().unwrap();
        let mut lab = Lab::start(&place).await;
        assert!(lab.bob_gives(&vcard("Bob", None)).await);
        assert!(matches!(lab.told.recv().await, Some(ProfilesTold::Named(..))));
        let piece = Bytes::from(vec![b'x'; 1 << 16]);
        let transfer = Transfer::Take { owner: BOB, announced: Announced::Nothing, modified: None };
        assert!(lab.offer(BOBS, BOB, transfer, vec![piece; 1600]).await, "a hundred megabytes");
        assert_eq!(lab.shown(BOB).await.unwrap().name, "Bob");
        let mut taken = 0;
        for number in 0..100 {
            taken += usize::from(lab.bob_gives(&vcard(&format!("Bob {number}"), None)).await);
        }
        assert!((1..12).contains(&taken), "{taken}");
        pass(60).await;
        assert!(lab.bob_gives_until_taken(&vcard("Bob", None)).await, "later he may again");
    });
}

#[test]
fn the_newer_profile_of_an_own_device_is_taken_and_not_sent_back_to_it() {
    virtual_time::run(async {
        let place = tempfile::tempdir().unwrap();
        let mut lab = Lab::start(&place).await;
        lab.set("Ada").await;
        assert!(matches!(lab.told.recv().await, Some(ProfilesTold::Own { .. })));
        let gives = |name: &str, seconds: i64| {
            let (file, time) = (vcard(name, None), UnixMillis(NOW.0 + seconds * 1000));
            let announced = Announced::Digest(ProfileDigest::of(&file));
            (Transfer::Take { owner: OWN, announced, modified: Some(FileTime::at(time)) }, vec![file.into()])
        };
        let (older, file) = gives("Older", -10);
        assert!(!lab.offer(PHONE, OWN, older, file).await);
        let (newer, file) = gives("Newer", 10);
        assert!(lab.offer(PHONE, OWN, newer, file).await);
        let Some(ProfilesTold::Own { name, file }) = lab.told.recv().await else { panic!("nothing told") };
        assert_eq!((name.as_str(), &file[..]), ("Newer", &vcard("Newer", None)[..]));
        let time = fs::metadata(place.path().join("profile.vcf")).unwrap().modified().unwrap();
        let since = time.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(i64::try_from(since).unwrap(), NOW.seconds() + 10, "it is as old as there");
        lab.events.recv().await.unwrap();
        lab.reach(PHONE, OWN, Some(Way::Own { bare: false })).await;
        lab.shown(OWN).await.unwrap();
        assert!(lab.asked.try_recv().is_err(), "it has it");
        lab.set("Newest").await;
        assert_eq!(lab.receive().await.2, String::from_utf8(vcard("Newest", None)).unwrap());
        let (ahead, file) = gives("From the future", 1_000_000);
        assert!(lab.offer(PHONE, OWN, ahead, file).await);
        lab.events.recv().await.unwrap();
        let time = fs::metadata(place.path().join("profile.vcf")).unwrap().modified().unwrap();
        let since = time.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert!(i64::try_from(since).unwrap() < NOW.seconds() + 300, "as of now");
    });
}

#[test]
fn own_devices_are_asked_for_the_profiles_that_they_have_and_given_ours() {
    virtual_time::run(async {
        let place = tempfile::tempdir().unwrap();
        let mut lab = Lab::start(&place).await;
        let people = vec![(ROOM, BOB)];
        lab.tell(ProfilesMessage::Missing { device: PHONE, people: people.clone() }).await;
        let (device, name, reply) = lab.asks().await;
        assert_eq!((device, name), (PHONE, format!("data-transfer://{ROOM}/profile/{BOB}.vcf")));
        let (ours, theirs) = channel(OWN, PHONE, 64);
        let end = Arc::clone(&ours.receiver.end);
        reply.send(Ok(ours));
        theirs.inbound.send(vcard("Bob", None).into()).await.unwrap();
        end.set(ChannelEnd::Closed).unwrap();
        drop(theirs);
        assert_eq!(lab.told.recv().await, Some(ProfilesTold::Named(BOB, "Bob".to_owned())));
        lab.tell(ProfilesMessage::Missing { device: PHONE, people }).await;
        lab.shown(OWN).await.unwrap();
        assert!(lab.asked.try_recv().is_err(), "it is here");

        let give = |owner| Transfer::Give { owner };
        assert!(lab.offer(PHONE, OWN, give(BOB), Vec::new()).await);
        assert!(!lab.offer(PHONE, OWN, give(AccountId([9; 20])), Vec::new()).await, "nobody knows it");
        assert!(!lab.offer(BOBS, BOB, give(OWN), Vec::new()).await, "there is none yet");
        lab.set("Ada").await;
        let mut held = Vec::new();
        for _ in 0..2 {
            let (accept, accepted) = oneshot::channel::<oneshot::Sender<Channel>>();
            let name = "data-transfer://".to_owned();
            let offer = ChannelOffer { name, device: BOBS, account: BOB, accept };
            lab.tell(ProfilesMessage::Serve(offer, give(OWN))).await;
            held.push(accepted.await.unwrap());
        }
        assert!(!lab.offer(BOBS, BOB, give(OWN), Vec::new()).await, "two at once for one account");
        assert!(lab.offer(PHONE, OWN, give(OWN), Vec::new()).await, "others get it");
    });
}

#[test]
fn an_own_device_is_asked_again_after_a_failure_and_over_a_new_link_but_not_after_it_had_none() {
    virtual_time::run(async {
        let place = tempfile::tempdir().unwrap();
        let mut lab = Lab::start(&place).await;
        let missing = || ProfilesMessage::Missing { device: PHONE, people: vec![(ROOM, BOB)] };
        lab.tell(missing()).await;
        let (device, _, reply) = lab.asks().await;
        reply.send(Err(LinkError::Deadline(device)));
        let _ = lab.shown(OWN).await;
        lab.tell(missing()).await;
        let (device, name, reply) = lab.asks().await;
        reply.send(Err(LinkError::Declined { device, name }));
        let _ = lab.shown(OWN).await;
        lab.tell(missing()).await;
        let _ = lab.shown(OWN).await;
        assert!(lab.asked.try_recv().is_err(), "it has none");
        lab.reach(PHONE, OWN, None).await;
        lab.tell(missing()).await;
        assert_eq!(lab.asks().await.0, PHONE);
    });
}

#[test]
fn when_hardly_any_room_is_left_those_of_whoever_matters_least_go_and_may_come_anew() {
    virtual_time::run(async {
        let place = tempfile::tempdir().unwrap();
        let others = place.path().join("profiles");
        fs::create_dir(&others).unwrap();
        let person = |number: usize| {
            let mut id = [7; 20];
            id[..8].copy_from_slice(&(number as u64).to_be_bytes());
            AccountId(id)
        };
        for number in 0..MAX_KEPT_PROFILES {
            fs::write(others.join(file_name(person(number))), vcard("Somebody", None)).unwrap();
        }
        let mut lab = Lab::start(&place).await;
        assert_eq!(lab.told.recv().await, Some(ProfilesTold::Crowded));
        assert!(!lab.bob_gives(&vcard("Bob", None)).await, "there is no place");
        assert_eq!(
            lab.told.recv().await,
            Some(ProfilesTold::Crowded),
            "what may not be missed is told again"
        );
        lab.tell(ProfilesMessage::Missing { device: PHONE, people: vec![(ROOM, BOB)] }).await;
        let _ = lab.shown(OWN).await;
        assert!(lab.asked.try_recv().is_err(), "nobody is asked for what would go again");

        let stays = [person(1), person(2), BOB].into();
        lab.tell(ProfilesMessage::Retain(stays)).await;
        let Some(ProfilesTold::Dropped(dropped)) = lab.told.recv().await else { panic!("nothing told") };
        assert_eq!(dropped.len(), MAX_KEPT_PROFILES - 2);
        assert!(!dropped.contains(&person(1)) && dropped.contains(&person(3)));
        assert_eq!(fs::read_dir(&others).unwrap().count(), 2);
        assert_eq!(lab.shown(person(3)).await, Err(ProfileError::Unknown(person(3))));
        assert_eq!(lab.shown(person(2)).await.unwrap().name, "Somebody");
        assert!(lab.bob_gives_until_taken(&vcard("Bob", None)).await);
        assert_eq!(lab.told.recv().await, Some(ProfilesTold::Named(BOB, "Bob".to_owned())));
        let transfer = Transfer::Take { owner: person(3), announced: Announced::Nothing, modified: None };
        assert!(lab.offer(PHONE, person(3), transfer, vec![vcard("Back", None).into()]).await);
        assert_eq!(lab.told.recv().await, Some(ProfilesTold::Named(person(3), "Back".to_owned())));
        lab.tell(ProfilesMessage::Retain([BOB].into())).await;
        assert_eq!(lab.shown(person(2)).await.unwrap().name, "Somebody", "there is room enough for all");
    });
}

#[test]
fn while_a_profile_comes_no_other_of_the_same_person_does_and_a_hint_waits_and_is_void_then() {
    virtual_time::run(async {
        let place = tempfile::tempdir().unwrap();
        let mut lab = Lab::start(&place).await;
        let (accept, accepted) = oneshot::channel::<oneshot::Sender<Channel>>();
        let name = "data-transfer://".to_owned();
        let offer = ChannelOffer { name, device: PHONE, account: BOB, accept };
        let transfer = Transfer::Take { owner: BOB, announced: Announced::Nothing, modified: None };
        lab.tell(ProfilesMessage::Serve(offer, transfer)).await;
        let give = accepted.await.unwrap();
        assert!(!lab.bob_gives(&vcard("Mallory", None)).await);
        lab.tell(ProfilesMessage::Hint { person: BOB, vcard: vcard("Mallory", None) }).await;
        assert_eq!(lab.shown(BOB).await, Err(ProfileError::Unknown(BOB)));
        let (ours, theirs) = channel(BOB, PHONE, 64);
        let end = Arc::clone(&ours.receiver.end);
        assert!(give.send(ours).is_ok());
        theirs.inbound.send(vcard("Bob", None).into()).await.unwrap();
        end.set(ChannelEnd::Closed).unwrap();
        drop(theirs);
        assert_eq!(lab.told.recv().await, Some(ProfilesTold::Named(BOB, "Bob".to_owned())));
        assert!(lab.bob_gives_until_taken(&vcard("Robert", None)).await);
        assert_eq!(
            lab.told.recv().await,
            Some(ProfilesTold::Named(BOB, "Robert".to_owned())),
            "no hint between"
        );
    });
}
