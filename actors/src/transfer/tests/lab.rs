//! The people, and the network between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use skep_protocol::ids::{AccountId, CommitId, ConversationId, DeviceId, LocalAccountId};
use skep_protocol::swarm::message::FileOffer;
use skep_protocol::transfer::{FileRequest, OfferedFile, TransferName};
use tokio::sync::{mpsc, oneshot};

use super::super::messages::*;
use super::super::{TransfersActor, TransfersConfig};
use crate::blocking::{BlockingPool, Share};
use crate::event::{Event, NodeEvent};
use crate::peer::channel::Outbound;
use crate::peer::messages::{
    Channel, ChannelEnd, ChannelOffer, ChannelReceiver, ChannelSender, LinkError, LinksMessage,
};
use crate::recorded::NOW;
use crate::supervision::{Actor, Environment, Outlet, Port, RootHandle, Scope, start_root};
use crate::swarm::messages::{ConversationError, ConversationMessage, OfferedIn, Outgoing};
use crate::virtual_time::{pass, until};

/// The one conversation.
pub(super) const CONVERSATION: ConversationId = ConversationId([0xc0; 20]);

/// How long the disk may take, in true time.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long an answer may take, in the time of the test.
const SOON: Duration = Duration::from_secs(3600);

/// What happens to the bytes of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// One byte is another.
    Change,
    /// The link breaks after so many bytes.
    Cut(usize),
    /// The same, and the bytes are others.
    Rubbish(usize),
    /// Nothing comes after so many bytes.
    Hang(usize),
}

#[derive(Default)]
struct Net {
    people: BTreeMap<DeviceId, (AccountId, Port<TransfersMessage>)>,
    /// Those who cannot be reached.
    vanished: BTreeSet<DeviceId>,
    /// Those who do not answer.
    muted: BTreeSet<DeviceId>,
    expelled: BTreeSet<AccountId>,
    offers: BTreeMap<CommitId, (FileOffer, AccountId)>,
    faults: VecDeque<Fault>,
    /// Who was asked for which channel.
    names: Vec<(DeviceId, String)>,
    bytes: usize,
    opened: usize,
    /// Channels that a test holds open by hand.
    held: Vec<Channel>,
}

#[derive(Clone, Default)]
pub(super) struct Lab(Arc<Mutex<Net>>);

pub(super) struct Person {
    number: u8,
    folder: tempfile::TempDir,
    limits: TransferLimits,
    root: RootHandle<TransfersMessage>,
    _others: (RootHandle<LinksMessage>, RootHandle<ConversationMessage>),
    room: Port<ConversationMessage>,
    events: Mutex<mpsc::Receiver<NodeEvent>>,
    lab: Lab,
}

struct Links {
    lab: Lab,
    device: DeviceId,
    account: AccountId,
}

impl Actor for Links {
    type Message = LinksMessage;
    const KIND: &'static str = "links";

    fn handle(&mut self, message: LinksMessage, scope: &mut Scope<'_, Self>) {
        let LinksMessage::Open { device, name, reply, .. } = message else { return };
        let path = name.strip_prefix("data-transfer://").unwrap().to_owned();
        self.lab.0.lock().unwrap().names.push((device, path.clone()));
        let Ok(TransferName::File(request)) = TransferName::parse(&path) else { panic!("{path}") };
        let opening = self.lab.open(device, (self.account, self.device), request);
        scope.spawn_background(opening, move |_, opened, _| {
            reply.send(opened.ok_or(LinkError::Declined { device, name }));
        });
    }
}

struct Room {
    lab: Lab,
    account: AccountId,
}

impl Actor for Room {
    type Message = ConversationMessage;
    const KIND: &'static str = "room";

    fn handle(&mut self, message: ConversationMessage, _: &mut Scope<'_, Self>) {
        let mut net = self.lab.0.lock().unwrap();
        match message {
            ConversationMessage::File { message, asker, reply } => {
                if asker.is_some_and(|(account, _)| net.expelled.contains(&account)) {
                    return reply.send(Err(ConversationError::NotMember));
                }
                let found = net.offers.get(&message).cloned();
                let found = found.map(|(offer, author)| OfferedIn { offer, author });
                reply.send(found.ok_or(ConversationError::UnknownMessage { message }));
            }
            ConversationMessage::Send { message: Outgoing::File(offer), reply } => {
                let commit = CommitId([u8::try_from(net.offers.len()).unwrap() + 1; 20]);
                net.offers.insert(commit, (offer, self.account));
                reply.send(Ok(commit));
            }
            ConversationMessage::Send { message: Outgoing::Delete { message }, reply } => {
                reply.send(Ok(message))
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The two ends of a channel, of which the first one receives.
fn pair(
    lab: &Lab,
    asker: (AccountId, DeviceId),
    server: (AccountId, DeviceId),
    fault: Fault,
) -> (Channel, Channel) {
    let (to_asker, asker_inbound) = mpsc::channel::<Bytes>(64);
    let (to_server, server_inbound) = mpsc::channel::<Bytes>(64);
    let (server_outbound, from_server) = mpsc::channel(32);
    let (asker_outbound, mut from_asker) = mpsc::channel::<Outbound>(32);
    let end: Arc<std::sync::OnceLock<ChannelEnd>> = Arc::default();
    let channel =
        |remote: (AccountId, DeviceId), outbound: mpsc::Sender<Outbound>, open, inbound, end| Channel {
            name: String::new(),
            device: remote.1,
            account: remote.0,
            sender: ChannelSender { number: 1, bulk: outbound.clone(), outbound, open },
            receiver: ChannelReceiver { inbound, end },
        };
    let mine = channel(server, asker_outbound, to_asker.downgrade(), asker_inbound, Arc::clone(&end));
    let theirs = channel(asker, server_outbound, to_server.downgrade(), server_inbound, Arc::default());
    let lab = lab.clone();
    tokio::task::spawn_local(async move {
        tokio::select! {
            () = carry(lab, from_server, &to_asker, fault) => {}
            // The asker has closed the channel.
            _ = from_asker.recv() => {}
        }
        let _ = end.set(ChannelEnd::Closed);
        drop(to_server);
    });
    (mine, theirs)
}

async fn carry(lab: Lab, mut from: mpsc::Receiver<Outbound>, to: &mpsc::Sender<Bytes>, fault: Fault) {
    let mut carried = 0;
    while let Some(Outbound::Data { mut bytes, .. }) = from.recv().await {
        match fault {
            Fault::None => {}
            Fault::Change if carried == 0 => {
                let mut changed = bytes.to_vec();
                changed[0] ^= 1;
                bytes = changed.into();
            }
            Fault::Change => {}
            Fault::Cut(limit) | Fault::Hang(limit) => bytes.truncate(limit - carried),
            Fault::Rubbish(limit) => bytes = vec![0; bytes.len().min(limit - carried)].into(),
        }
        carried += bytes.len();
        lab.0.lock().unwrap().bytes += bytes.len();
        if to.send(bytes).await.is_err() {
            return;
        }
        match fault {
            Fault::Cut(limit) | Fault::Rubbish(limit) if carried == limit => return,
            Fault::Hang(limit) if carried == limit => std::future::pending().await,
            _ => {}
        }
    }
}

impl Lab {
    pub(super) async fn person(&self, number: u8) -> Person {
        self.person_with(number, TransferLimits::default()).await
    }

    pub(super) async fn person_with(&self, number: u8, limits: TransferLimits) -> Person {
        self.start(number, limits, tempfile::tempdir().unwrap()).await
    }

    async fn start(&self, number: u8, limits: TransferLimits, folder: tempfile::TempDir) -> Person {
        let (account, device) = (AccountId([number; 20]), DeviceId([number; 32]));
        let environment = || Environment::single_thread(NOW, number.into());
        let lab = self.clone();
        let links = start_root(environment(), move || Links { lab: lab.clone(), device, account });
        let lab = self.clone();
        let room = start_root(environment(), move || Room { lab: lab.clone(), account });
        let (events, received) = Outlet::channel("events", 4096);
        let (told, mut telling) = Outlet::channel("account", 64);
        let config = TransfersConfig {
            local: LocalAccountId([number; 8]),
            account,
            device,
            data: folder.path().join("data"),
            wishes_file: folder.path().join("wantedFiles"),
            limits,
            links: links.port().clone(),
            pool: BlockingPool::new(4),
            share: Share(number.into()),
            events,
            told,
        };
        let root = start_root(environment(), move || TransfersActor::new(config.clone()));
        assert_eq!(telling.recv().await, Some(TransfersTold::Started));
        // Others are looked for elsewhere.
        tokio::task::spawn_local(async move { while telling.recv().await.is_some() {} });
        self.0.lock().unwrap().people.insert(device, (account, root.port().clone()));
        let room_port = room.port().clone();
        let lab = self.clone();
        let person = Person {
            number,
            folder,
            limits,
            root,
            _others: (links, room),
            room: room_port,
            events: Mutex::new(received),
            lab,
        };
        person.introduced()
    }

    /// Ends somebody and starts them anew over the same files.
    pub(super) async fn restart(&self, person: Person) -> Person {
        let Person { number, folder, limits, root, .. } = person;
        assert!(root.shutdown(SOON).await.complete);
        self.start(number, limits, folder).await
    }

    /// Links everybody with everybody.
    pub(super) async fn connect(&self) {
        let people: Vec<_> = self.0.lock().unwrap().people.clone().into_iter().collect();
        for (device, (account, _)) in &people {
            for (other, (_, port)) in &people {
                if device != other {
                    let link = TransfersMessage::Link { device: *device, account: *account, up: true };
                    port.send(link).await.unwrap();
                }
            }
        }
    }

    pub(super) async fn link(&self, who: &Person, with: &Person, up: bool) {
        let link = TransfersMessage::Link { device: with.device(), account: with.account(), up };
        who.port().send(link).await.unwrap();
    }

    /// Somebody is gone, and everybody knows.
    pub(super) async fn vanish(&self, person: &Person) {
        let others: Vec<_> = {
            let mut net = self.0.lock().unwrap();
            net.vanished.insert(person.device());
            net.people.values().map(|(_, port)| port.clone()).collect()
        };
        for port in others {
            let link =
                TransfersMessage::Link { device: person.device(), account: person.account(), up: false };
            // Who was restarted has another port.
            let _ = port.send(link).await;
        }
    }

    pub(super) fn appear(&self, person: &Person) {
        self.0.lock().unwrap().vanished.remove(&person.device());
    }

    pub(super) fn expel(&self, person: &Person) {
        self.0.lock().unwrap().expelled.insert(person.account());
    }

    /// What happens on the next channel.
    pub(super) fn fault(&self, fault: Fault) {
        self.0.lock().unwrap().faults.push_back(fault);
    }

    pub(super) fn change_offer(&self, message: CommitId, change: impl FnOnce(&mut FileOffer)) {
        change(&mut self.0.lock().unwrap().offers.get_mut(&message).unwrap().0);
    }

    /// The same file in so many offers more.
    pub(super) fn repeat_offer(&self, message: CommitId, count: u32) -> Vec<CommitId> {
        let mut net = self.0.lock().unwrap();
        let offer = net.offers[&message].clone();
        let repeat = |number: u32| {
            let mut id = [0xff; 20];
            id[..4].copy_from_slice(&number.to_be_bytes());
            net.offers.insert(CommitId(id), offer.clone());
            CommitId(id)
        };
        (0..count).map(repeat).collect()
    }

    /// Somebody takes no request any more, nor declines one.
    pub(super) fn mute(&self, person: &Person) {
        self.0.lock().unwrap().muted.insert(person.device());
    }

    pub(super) fn names(&self) -> Vec<(DeviceId, String)> {
        self.0.lock().unwrap().names.clone()
    }

    pub(super) fn asked_of(&self, person: &Person) -> Vec<String> {
        let asked = self.names().into_iter().filter(|(device, _)| *device == person.device());
        asked.map(|(_, name)| name).collect()
    }

    pub(super) fn bytes_sent(&self) -> usize {
        self.0.lock().unwrap().bytes
    }

    /// Channels that [`Self::request`] has opened.
    pub(super) fn opened(&self) -> usize {
        self.0.lock().unwrap().opened
    }

    /// Reads the channel that is held open until it ends.
    pub(super) async fn read_all(&self) {
        let held = self.0.lock().unwrap().held.pop();
        let mut channel = held.unwrap();
        while channel.receiver.receive().await.is_ok() {}
    }

    pub(super) fn close_all(&self) {
        self.0.lock().unwrap().held.clear();
    }

    /// Asks for a file by hand, and reads nothing.
    pub(super) fn request(
        &self,
        asker: &Person,
        server: &Person,
        message: CommitId,
    ) -> tokio::task::JoinHandle<()> {
        let opening = self.request_named(asker, server, asker.device(), message);
        let lab = self.clone();
        tokio::task::spawn_local(async move {
            if let Ok(channel) = opening.await {
                let mut net = lab.0.lock().unwrap();
                net.opened += 1;
                net.held.push(channel);
            }
        })
    }

    /// The same under a name of one's choice.
    pub(super) fn request_named(
        &self,
        asker: &Person,
        server: &Person,
        named: DeviceId,
        message: CommitId,
    ) -> impl Future<Output = Result<Channel, ()>> + use<> {
        let file = server.file_id(message).parse().unwrap();
        let request = FileRequest::from(CONVERSATION, named, file, 0);
        let opening = self.open(server.device(), (asker.account(), asker.device()), request);
        async move { opening.await.ok_or(()) }
    }

    /// Carries a request to a device, and makes the channel if it is accepted.
    fn open(
        &self,
        device: DeviceId,
        asker: (AccountId, DeviceId),
        request: FileRequest,
    ) -> impl Future<Output = Option<Channel>> + use<> {
        let (accept, accepted) = oneshot::channel::<oneshot::Sender<Channel>>();
        let offer = ChannelOffer { name: request.to_string(), device: asker.1, account: asker.0, accept };
        let server = {
            let net = self.0.lock().unwrap();
            net.people.get(&device).filter(|_| !net.vanished.contains(&device)).cloned()
        };
        let is_muted = self.0.lock().unwrap().muted.contains(&device);
        let lab = self.clone();
        async move {
            if is_muted {
                std::future::pending::<()>().await;
            }
            let (account, port) = server?;
            port.send(TransfersMessage::Serve(offer, request)).await.ok()?;
            let give = accepted.await.ok()?;
            let fault = lab.0.lock().unwrap().faults.pop_front().unwrap_or(Fault::None);
            let (mine, theirs) = pair(&lab, asker, (account, device), fault);
            give.send(theirs).ok()?;
            Some(mine)
        }
    }
}

impl Person {
    /// Shows the conversation to the one who was started.
    fn introduced(self) -> Self {
        self.show_room(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        self
    }

    /// Tells who takes part in the conversation now.
    pub(super) fn show_room(&self, members: &[u8]) {
        let members = members.iter().map(|number| AccountId([*number; 20])).collect();
        let room = TransfersMessage::Room { conversation: CONVERSATION, port: self.room.clone(), members };
        self.tell(room);
    }

    pub(super) const fn device(&self) -> DeviceId {
        DeviceId([self.number; 32])
    }

    pub(super) const fn account(&self) -> AccountId {
        AccountId([self.number; 20])
    }

    pub(super) fn port(&self) -> &Port<TransfersMessage> {
        self.root.port()
    }

    pub(super) fn tell(&self, message: TransfersMessage) {
        self.port().try_send(message).unwrap();
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Where files of the conversation are kept.
    pub(super) fn data(&self) -> PathBuf {
        self.folder().join("data").join(CONVERSATION.to_hex())
    }

    /// A file that this person has made.
    pub(super) fn own_file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// What is kept of the conversation, partial files too.
    pub(super) fn files(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.data()) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(super) fn wishes_on_disk(&self) -> Vec<serde_json::Value> {
        let file = self.folder().join("wantedFiles");
        std::fs::read(file).map(|bytes| serde_json::from_slice(&bytes).unwrap()).unwrap_or_default()
    }

    /// Where what came of a file is kept.
    pub(super) fn partial(&self, message: CommitId) -> PathBuf {
        self.data().join(format!("{}.tmp", self.file_id(message)))
    }

    pub(super) fn file_id(&self, message: CommitId) -> String {
        let offer = self.lab.0.lock().unwrap().offers[&message].0.clone();
        OfferedFile::read(message, &offer).unwrap().id.to_string()
    }

    pub(super) async fn offer(&self, name: &str, content: &[u8]) -> Result<OfferedView, TransferError> {
        std::fs::write(self.own_file(name), content).unwrap();
        self.offer_path(self.own_file(name)).await
    }

    pub(super) async fn offer_path(&self, path: PathBuf) -> Result<OfferedView, TransferError> {
        let offer =
            |reply| TransfersMessage::Offer { conversation: CONVERSATION, path, reply_to: None, reply };
        self.port().ask(SOON, offer).await.unwrap()
    }

    pub(super) async fn fetch(
        &self,
        message: CommitId,
        to: Option<PathBuf>,
    ) -> Result<TransferView, TransferError> {
        let fetch = |reply| TransfersMessage::Fetch { conversation: CONVERSATION, message, to, reply };
        self.port().ask(SOON, fetch).await.unwrap()
    }

    pub(super) async fn cancel(&self, message: CommitId) -> Result<(), TransferError> {
        let cancel = |reply| TransfersMessage::Cancel { conversation: CONVERSATION, message, reply };
        self.port().ask(SOON, cancel).await.unwrap()
    }

    pub(super) async fn remove(&self, message: CommitId) -> Result<(), TransferError> {
        let remove = |reply| TransfersMessage::Remove { conversation: CONVERSATION, message, reply };
        self.port().ask(SOON, remove).await.unwrap()
    }

    pub(super) async fn list(&self) -> Vec<TransferView> {
        self.port().ask(SOON, TransfersMessage::List).await.unwrap()
    }

    /// The next event of a kind; those before it are passed over.
    async fn event(&self, wanted: impl Fn(&TransferView) -> bool) -> TransferView {
        let found = Mutex::new(None);
        until(|| {
            while let Ok(NodeEvent { event: Event::Transfer { transfer }, .. }) =
                self.events.lock().unwrap().try_recv()
            {
                if wanted(&transfer) {
                    *found.lock().unwrap() = Some(transfer);
                    return true;
                }
            }
            false
        })
        .await;
        found.into_inner().unwrap().unwrap()
    }

    pub(super) async fn done(&self) -> TransferView {
        self.event(|view| view.state == TransferState::Done).await
    }

    /// Has time pass until something has happened, and not a second longer: what the disk does after that takes
    /// none of it.
    pub(super) async fn passes_until(&self, condition: impl Fn() -> bool) {
        let started = std::time::Instant::now();
        while !condition() {
            assert!(started.elapsed() < PATIENCE, "it never happened: {:?}", self.list().await);
            pass(1).await;
            self.list().await;
        }
    }

    /// As [`Self::done`], while time passes: as much as it takes, for work of the disk takes none of it.
    pub(super) async fn done_in_time(&self) -> TransferView {
        let started = std::time::Instant::now();
        loop {
            while let Ok(NodeEvent { event: Event::Transfer { transfer }, .. }) =
                self.events.lock().unwrap().try_recv()
            {
                if transfer.state == TransferState::Done {
                    return transfer;
                }
            }
            assert!(started.elapsed() < PATIENCE, "it never came: {:?}", self.list().await);
            pass(1).await;
            self.list().await;
        }
    }

    pub(super) async fn running(&self) -> TransferView {
        self.event(|view| view.state == TransferState::Running).await
    }

    pub(super) async fn problem(&self, words: &str) -> TransferView {
        self.event(|view| view.problem.as_ref().is_some_and(|problem| problem.contains(words))).await
    }

    /// Waits until a transfer was given up and nothing of it is left.
    pub(super) async fn gone(&self) {
        self.event(|view| view.state == TransferState::Cancelled).await;
        until(|| self.files().is_empty()).await;
    }

    /// Waits until the disk knows of no file that is waited for.
    pub(super) async fn forgets(&self) {
        until(|| self.wishes_on_disk().is_empty()).await;
    }

    /// Waits until nothing is sent any more.
    pub(super) async fn idle(&self) {
        while !self.list().await.is_empty() {
            tokio::task::yield_now().await;
        }
    }

    /// Has an hour pass, in which a file that is waited for does not come.
    pub(super) async fn rests(&self) {
        for _ in 0..60 {
            for _ in 0..50 {
                self.list().await;
                tokio::task::yield_now().await;
            }
            pass(60).await;
        }
        assert_eq!(self.list().await[0].state, TransferState::Waiting);
    }
}
