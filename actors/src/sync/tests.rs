//! The actor with links that a test plays.

use std::path::PathBuf;

use bytes::Bytes;
use skep_protocol::ids::{AccountId, DeviceId};
use skep_protocol::sync::{ListDigests, MAX_CHANNELS_EACH, SyncMessage, SyncVersions, ToldDevice};
use tokio::sync::{mpsc, oneshot};

use super::messages::{OwnDevices, SyncActorMessage, SyncTold, Wish};
use super::{SyncActor, SyncConfig};
use crate::blocking::{BlockingPool, Share};
use crate::peer::channel::Outbound;
use crate::peer::messages::{Channel, ChannelOffer, LinkError, LinksMessage};
use crate::supervision::{Actor, Environment, Outlet, Reply, RootHandle, Scope, start_root};
use crate::swarm::testing::{Silent, channel};
use crate::virtual_time::{self, pass, until};

const OWN: AccountId = AccountId([1; 20]);
const OTHER: AccountId = AccountId([2; 20]);
const PHONE: DeviceId = DeviceId([3; 32]);
const STRANGER: DeviceId = DeviceId([4; 32]);

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

/// Lets everything that is ready go on, so that what was said last has been heard.
async fn settled() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

struct Lab {
    sync: RootHandle<SyncActorMessage>,
    _links: RootHandle<LinksMessage>,
    told: mpsc::Receiver<SyncTold>,
    asked: mpsc::Receiver<Asked>,
    file: PathBuf,
}

impl Lab {
    async fn start(place: &tempfile::TempDir) -> Self {
        let (links_sender, asked) = mpsc::channel(16);
        let links = start_root(Environment::threads(Vec::new()), move || PlayedLinks(links_sender.clone()));
        let (events, mut told) = Outlet::channel("account", 64);
        let file = place.path().join("syncVersions");
        let config = SyncConfig {
            account: OWN,
            file: file.clone(),
            links: links.port().clone(),
            events,
            pool: BlockingPool::new(2),
            share: Share(0),
        };
        let sync = start_root(Environment::threads(Vec::new()), move || SyncActor::new(config.clone()));
        assert!(matches!(told.recv().await, Some(SyncTold::Started)));
        Self { sync, _links: links, told, asked, file }
    }

    async fn tell(&self, message: SyncActorMessage) {
        self.sync.port().send(message).await.unwrap();
    }

    async fn phone_is(&self, linked: bool, lists: u8) {
        let linked = linked.then_some(PHONE).into_iter().collect();
        let lists = ListDigests { contacts: [lists; 20], ..ListDigests::default() };
        self.tell(SyncActorMessage::Devices(OwnDevices { others: [PHONE].into(), linked, lists })).await;
    }

    /// Opens the channel that the phone is asked for; its number, and the phone's end.
    async fn open(&mut self) -> (u64, Option<u64>, Silent) {
        let (device, name, reply) = self.asked.recv().await.unwrap();
        assert_eq!((device, name), (PHONE, format!("sync://{PHONE}")));
        let (ours, theirs) = channel(OWN, PHONE, 64);
        reply.send(Ok(ours));
        loop {
            // What was told before is about channels that are closed.
            if let Some(SyncTold::Wished { wish: Wish::All, channels, version }) = self.told.recv().await {
                return (channels[0], version, theirs);
            }
        }
    }

    async fn offer(&self, account: AccountId, device: DeviceId) -> bool {
        let (accept, accepted) = oneshot::channel::<oneshot::Sender<Channel>>();
        let name = "sync://x".to_owned();
        self.tell(SyncActorMessage::Offer(ChannelOffer { name, device, account, accept })).await;
        let Ok(give) = accepted.await else { return false };
        let (ours, theirs) = channel(account, device, 64);
        std::mem::forget(theirs);
        give.send(ours).is_ok()
    }
}

#[test]
fn a_device_that_was_told_everything_is_called_again_only_when_something_has_changed() {
    virtual_time::run(async {
        let place = tempfile::tempdir().unwrap();
        let mut lab = Lab::start(&place).await;
        lab.phone_is(true, 1).await;
        let (number, version, mut phone) = lab.open().await;
        assert_eq!(version, Some(1));
        let messages = vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")];
        lab.tell(SyncActorMessage::Tell { channels: vec![number], messages, version }).await;
        for expected in ["one", "two"] {
            let Some(Outbound::Data { bytes, .. }) = phone.outbound.recv().await else { panic!("nothing") };
            assert_eq!(bytes, expected);
        }
        let heard = |file: &PathBuf| {
            let versions = SyncVersions::decode(&std::fs::read(file).unwrap_or_default());
            versions.is_ok_and(|versions| versions.devices().any(|device| device == PHONE))
        };
        until(|| heard(&lab.file)).await;
        drop(lab);

        let mut lab = Lab::start(&place).await;
        lab.phone_is(false, 1).await;
        lab.tell(SyncActorMessage::Announced(PHONE)).await;
        // Else what is said of the lists next would take the place of what was said before.
        settled().await;
        lab.phone_is(false, 2).await;
        lab.tell(SyncActorMessage::Announced(PHONE)).await;
        assert!(matches!(lab.told.recv().await, Some(SyncTold::Connect(PHONE))));
        assert!(lab.told.try_recv().is_err(), "nothing had changed before");
    });
}

#[test]
fn channels_of_others_and_more_than_a_few_of_our_own_are_declined() {
    virtual_time::run(async {
        let place = tempfile::tempdir().unwrap();
        let lab = Lab::start(&place).await;
        lab.phone_is(false, 1).await;
        assert!(!lab.offer(OTHER, STRANGER).await);
        assert!(!lab.offer(OTHER, PHONE).await, "whatever it says");
        assert!(!lab.offer(OWN, STRANGER).await, "its certificate was not checked");
        for _ in 0..MAX_CHANNELS_EACH {
            assert!(lab.offer(OWN, PHONE).await);
            settled().await;
        }
        assert!(!lab.offer(OWN, PHONE).await);
    });
}

#[test]
fn what_is_said_is_handed_on_and_what_cannot_be_read_ends_the_channel_until_later() {
    virtual_time::run(async {
        let place = tempfile::tempdir().unwrap();
        let mut lab = Lab::start(&place).await;
        lab.phone_is(true, 1).await;
        let (_, _, mut phone) = lab.open().await;
        let said =
            SyncMessage { devices: [(STRANGER, ToldDevice::default())].into(), ..SyncMessage::default() };
        let bytes = said.encode();
        for part in bytes.chunks(7) {
            phone.inbound.send(Bytes::copy_from_slice(part)).await.unwrap();
        }
        let Some(SyncTold::Received { device, message, .. }) = lab.told.recv().await else { panic!() };
        assert_eq!((device, *message), (PHONE, said));

        phone.inbound.send(Bytes::from_static(b"\xc1")).await.unwrap();
        while let Some(Outbound::Data { .. }) = phone.outbound.recv().await {}
        settled().await;
        assert!(lab.asked.try_recv().is_err(), "not at once");
        pass(20).await;
        lab.open().await;
    });
}
