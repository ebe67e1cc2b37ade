//! Who is told of a new commit (`spec: drt 9`), and the budgets of that: each device once for each
//! commit however often links come and go, and only of the newest.
//!
//! Beside the rules of the overlay: devices that have none are told directly; and in a conversation of
//! few, everybody without a channel is told, not two of them only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use skep_protocol::drt::dissemination::{Situation, Targets, targets};
use skep_protocol::drt::random::Random;
use skep_protocol::ids::{AccountId, CommitId, DeviceId};
use skep_protocol::swarm::notice::{Announcement, Notice as SwarmNotice};

use super::actor::RouterActor;
use super::messages::Head;
use crate::peer::messages::{LinksMessage, Notice, Recipient};
use crate::supervision::Scope;
use crate::swarm::messages::LinkState;
use crate::swarm::topic;

/// With at most this many members, every link gets a channel, and who has none is told all the same:
/// one hop, and a handful of announcements.
pub(super) const FEW_MEMBERS: usize = 16;

/// Announcements handed to the links at once; what is not among them gives way to a newer commit.
const AT_ONCE: usize = 64;

/// Devices remembered as told of the newest commit; each costs 32 bytes. Beyond, none is told.
const MAX_TOLD: usize = 4096;

/// The announcement of the newest commit.
#[derive(Debug)]
pub(super) struct Telling {
    head: Option<Head>,
    /// Who was told of it.
    devices: BTreeSet<DeviceId>,
    accounts: BTreeSet<AccountId>,
    /// What linked devices have said last that they have.
    heard: BTreeMap<DeviceId, CommitId>,
    /// What the links have not taken yet, all of the newest commit.
    waiting: VecDeque<LinksMessage>,
    /// Whether the links are being waited for.
    sending: bool,
    random: Random,
    pub(super) told_count: u64,
    pub(super) heard_count: u64,
}

impl Telling {
    pub(super) const fn new(random: Random) -> Self {
        Self {
            head: None,
            devices: BTreeSet::new(),
            accounts: BTreeSet::new(),
            heard: BTreeMap::new(),
            waiting: VecDeque::new(),
            sending: false,
            random,
            told_count: 0,
            heard_count: 0,
        }
    }

    /// Forgets what a device has said: its link is gone.
    pub(super) fn unlinked(&mut self, device: DeviceId) {
        self.heard.remove(&device);
    }

    /// Who of those chosen was not told yet and does not know by itself.
    fn new_targets(&mut self, mut targets: Targets, commit: CommitId) -> Targets {
        let knows = |device: &DeviceId| self.heard.get(device) == Some(&commit);
        targets.devices.retain(|device| !knows(device));
        targets.wake.retain(|device| !knows(device));
        targets.accounts.retain(|account| self.accounts.insert(*account));
        let mut first = |device: &DeviceId| self.devices.len() < MAX_TOLD && self.devices.insert(*device);
        targets.devices.retain(&mut first);
        targets.wake.retain(&mut first);
        targets
    }
}

impl RouterActor {
    /// There is a new head.
    pub(super) fn head(&mut self, head: Head, scope: &mut Scope<'_, Self>) {
        let telling = &mut self.telling;
        if telling.head.replace(head).is_none_or(|before| before.commit != head.commit) {
            telling.devices.clear();
            telling.accounts.clear();
            // What was to be said of the one before is said by this one.
            telling.waiting.clear();
        }
        self.tell(scope);
    }

    /// A device says that it has a commit.
    pub(super) fn heard(&mut self, device: DeviceId, commit: CommitId) {
        self.telling.heard_count += 1;
        if self.linked.contains_key(&device) {
            self.telling.heard.insert(device, commit);
        }
    }

    /// Tells everybody of the head who is to be told and was not.
    pub(super) fn tell(&mut self, scope: &mut Scope<'_, Self>) {
        let Some(head) = self.telling.head else { return };
        let own = self.config.account;
        let targets = self.choose(head, own);
        let Targets { accounts, devices, wake } = self.telling.new_targets(targets, head.commit);
        let announcement =
            Announcement { conversation: self.config.id, commit: head.commit, device: self.config.device };
        let notice = SwarmNotice::Announcement(announcement);
        let notice = Notice { kind: notice.mime_type().to_owned(), content: notice.to_text() };
        let topic = topic(self.config.id);
        let devices = devices.into_iter().chain(wake).map(Recipient::Device);
        for to in devices.chain(accounts.into_iter().map(Recipient::Account)) {
            self.telling.told_count += 1;
            let notice = notice.clone();
            let notify = LinksMessage::Notify { to, topic, notice, lasting: true, except: head.source };
            self.telling.waiting.push_back(notify);
        }
        self.send_announcements(scope);
    }

    /// Hands the announcements to the links, one after the other as they take them.
    fn send_announcements(&mut self, scope: &mut Scope<'_, Self>) {
        if self.telling.sending || self.telling.waiting.is_empty() {
            return;
        }
        self.telling.sending = true;
        let links = self.config.links.clone();
        let count = self.telling.waiting.len().min(AT_ONCE);
        let next = self.telling.waiting.drain(..count).collect::<Vec<_>>();
        let send = async move {
            for notify in next {
                if let Err(error) = links.send(notify).await {
                    tracing::debug!(%error, "an announcement was not taken; the next link makes good for it");
                }
            }
        };
        scope.spawn_background(send, |router, (), scope| {
            router.telling.sending = false;
            router.send_announcements(scope);
        });
    }

    fn choose(&mut self, head: Head, own: AccountId) -> Targets {
        let members: Vec<AccountId> = self.members.audience.iter().copied().collect();
        let few = members.len() <= FEW_MEMBERS;
        let connected: Vec<DeviceId> = self.core.table().connected().collect();
        let mut connected_members: BTreeSet<AccountId> =
            self.channels.values().map(|channel| channel.account).collect();
        let has_none = |device: &DeviceId, state: LinkState| {
            state == LinkState::Legacy || self.without_overlay.contains(device)
        };
        if !few && head.source.is_some() {
            // Who passes a commit on counts on the others for those whom all could reach: they have
            // channels with some. The author counts on nobody.
            let others = self.linked.iter().filter(|(device, (_, state))| !has_none(device, *state));
            connected_members.extend(others.map(|(_, (account, _))| *account));
        }
        // Who has no channel among the linked devices: the others of few, and those that have no overlay.
        let direct = self.linked.iter().filter(|(device, (account, state))| {
            self.members.audience.contains(account) && (few || has_none(device, *state))
        });
        let direct: Vec<DeviceId> = direct.map(|(device, _)| *device).collect();
        let situation = Situation {
            is_own: head.source.is_none() && self.members.audience.contains(&own),
            source: head.source,
            own_account: own,
            members: &members,
            connected_members: &connected_members,
            connected: &connected,
            with_git: &direct,
            to_wake: &self.core.to_wake(),
        };
        let mut targets = targets(&situation, &mut self.telling.random);
        if members.len() <= 2 {
            // Nobody else could pass it on: all devices are told, also when they come back much later.
            return Targets { accounts: members, ..Targets::default() };
        }
        if few {
            targets.accounts = members.into_iter().filter(|it| !connected_members.contains(it)).collect();
        } else if connected_members.contains(&own) {
            targets.accounts.retain(|account| *account != own);
        }
        // Whoever is told as an account hears of it at each device.
        let accounts: BTreeSet<AccountId> = targets.accounts.iter().copied().collect();
        let whose = |device: &DeviceId| self.linked.get(device).map(|(account, _)| *account);
        targets.devices.retain(|device| whose(device).is_none_or(|account| !accounts.contains(&account)));
        targets
    }
}
