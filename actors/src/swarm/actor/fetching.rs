//! Fetching what others have announced: at most one fetch for each device at a time, and what many announce
//! is fetched from one of them.

use std::collections::VecDeque;
use std::time::Duration;

use skep_protocol::ids::{AccountId, CommitId, DeviceId};
use skep_protocol::time::Moment;

use super::ConversationActor;
use super::announcing::Source;
use crate::event::Event;
use crate::peer::messages::LinkError;
use crate::supervision::Scope;
use crate::swarm::exchange::{Failure, FetchJob, Outcome};
use crate::swarm::replica::refusal;

/// First pause before a fetch that failed is tried again; doubles each time.
const FIRST_FETCH_PAUSE: Duration = Duration::from_secs(1);

/// Longest such pause: a device that always fails costs one try in this time, however much it announces, and
/// one for each new link unless what it serves breaks the rules.
const LONGEST_FETCH_PAUSE: Duration = Duration::from_secs(3600);

/// Fetches from a device that may fail in a row until it takes another announcement or link to try again.
const MAX_FETCH_TRIES: u32 = 5;

/// Fetches at once from the devices of one member, who has a handful.
const MAX_FETCHES_EACH: usize = 4;

/// Fetches at once in a conversation: each may take 256 MiB of the disk until it is refused.
const MAX_FETCHES: usize = 32;

/// Pause before a device is looked at that found too many fetches under way.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// Devices remembered as failing: those of a large conversation. A hundred bytes each.
const MAX_FAILING: usize = 1024;

/// How long a device may take to deliver a commit before another one that has announced it is asked, too: a
/// few times what it takes on a busy machine, and hardly noticed where one is silent.
const NEXT_IS_ASKED: Duration = Duration::from_millis(250);

/// Devices that stand by to be asked for what is being fetched. Beyond, they are asked at once.
const MAX_STANDING_BY: usize = 64;

/// Refused heads remembered; each costs 20 bytes.
const MAX_REFUSED_HEADS: usize = 1024;

/// A fetch under way, and what was announced meanwhile.
#[derive(Debug)]
pub(super) struct FetchState {
    pub(super) account: AccountId,
    /// What is looked for, if that is known.
    pub(super) commit: Option<CommitId>,
    pub(super) again: Option<Option<CommitId>>,
}

/// Devices that have announced what is being fetched from another one, in the order of that.
#[derive(Debug, Default)]
pub(super) struct Standby {
    devices: VecDeque<(DeviceId, AccountId, CommitId)>,
    /// Whether the first of them is asked soon.
    waiting: bool,
}

/// A device from which fetching has failed.
#[derive(Debug)]
pub(super) struct Failing {
    /// How often in a row.
    failures: u32,
    /// Until then nothing is fetched from it.
    until: Moment,
    /// Whether it is looked at again by then.
    again: bool,
    /// Whether it has served what breaks the rules, which a new link does not make better.
    refused: bool,
}

impl ConversationActor {
    pub(super) fn announced(
        &mut self,
        device: DeviceId,
        account: AccountId,
        commit: Option<CommitId>,
        scope: &mut Scope<'_, Self>,
    ) {
        if self.leaving {
            return;
        }
        if let Some(commit) = commit {
            self.heard_head(device, commit);
        }
        let Some(standing) = &self.standing else {
            // Not here yet: whoever tells of it has it.
            return self.clone_from(&[device], scope);
        };
        let has = |commit| commit == standing.head || self.recent.has(commit);
        let known = commit.is_some_and(|commit| has(commit) || self.refused.contains(&commit));
        if known || !self.may_exchange(account, device) {
            return;
        }
        if let Some(fetch) = self.fetches.get_mut(&device) {
            // Of two commits announced meanwhile either may be the newer one: all is looked for.
            let one = fetch.again.is_none_or(|earlier| earlier == commit);
            fetch.again = Some(commit.filter(|_| one));
            return;
        }
        let earlier = self.standby.devices.iter().position(|(other, ..)| *other == device);
        let earlier = earlier.and_then(|place| self.standby.devices.remove(place));
        let commit = commit.filter(|commit| earlier.is_none_or(|(.., earlier)| earlier == *commit));
        if !self.stands_by(device, account, commit, scope) {
            self.fetch(device, account, commit, scope);
        }
    }

    /// Has a device wait that has announced what is being fetched from another one.
    fn stands_by(
        &mut self,
        device: DeviceId,
        account: AccountId,
        commit: Option<CommitId>,
        scope: &mut Scope<'_, Self>,
    ) -> bool {
        let under_way = |commit: &CommitId| self.fetches.values().any(|it| it.commit == Some(*commit));
        let Some(commit) = commit.filter(under_way) else { return false };
        if self.standby.devices.len() >= MAX_STANDING_BY {
            return false;
        }
        self.standby.devices.push_back((device, account, commit));
        self.ask_next_later(scope);
        true
    }

    fn ask_next_later(&mut self, scope: &mut Scope<'_, Self>) {
        if !self.standby.devices.is_empty() && !std::mem::replace(&mut self.standby.waiting, true) {
            scope.after(NEXT_IS_ASKED, |conversation, scope| {
                conversation.standby.waiting = false;
                conversation.ask_next(|_| true, scope);
                conversation.ask_next_later(scope);
            });
        }
    }

    /// Asks the first of those who stand by with a commit of this kind that is not here yet.
    fn ask_next(&mut self, wanted: impl Fn(CommitId) -> bool, scope: &mut Scope<'_, Self>) {
        let head = self.standing.as_ref().map(|standing| standing.head);
        let (recent, refused) = (&self.recent, &self.refused);
        let is_wanted = |commit| Some(commit) != head && !recent.has(commit) && !refused.contains(&commit);
        self.standby.devices.retain(|(.., commit)| is_wanted(*commit));
        let mut places = self.standby.devices.iter().enumerate().filter(|(_, (.., commit))| wanted(*commit));
        // Somebody else's before another one of somebody who has not delivered yet.
        let is_new = |account: AccountId| self.fetches.values().all(|fetch| fetch.account != account);
        let any = places.clone().next();
        let next = places.find(|(_, (_, account, _))| is_new(*account)).or(any).map(|(place, _)| place);
        let next = next.and_then(|place| self.standby.devices.remove(place));
        if let Some((device, account, commit)) = next.filter(|_| !self.leaving)
            && self.may_exchange(account, device)
        {
            self.fetch(device, account, Some(commit), scope);
        }
    }

    fn fetch(
        &mut self,
        device: DeviceId,
        account: AccountId,
        commit: Option<CommitId>,
        scope: &mut Scope<'_, Self>,
    ) {
        if self.is_resting(device, account, scope) {
            return;
        }
        let each = self.fetches.values().filter(|fetch| fetch.account == account).count();
        if each >= MAX_FETCHES_EACH || self.fetches.len() >= MAX_FETCHES {
            tracing::debug!(device = %device.short(), "too many fetches are under way");
            // Which says nothing of this device.
            return self.rest(device, account, BUSY_PAUSE, scope);
        }
        self.fetches.insert(device, FetchState { account, commit, again: None });
        let Some(replica) = self.replica.clone() else { return };
        let job = FetchJob {
            replica,
            conversation: self.config.id,
            device,
            commit,
            links: self.config.links.clone(),
            pool: self.config.pool.clone(),
            share: self.config.share,
            refused: self.refused.iter().copied().collect(),
            now: scope.wall(),
        };
        let channel = self.channels.remove(&device);
        scope.spawn_background(job.run(channel), move |conversation, outcome, scope| {
            conversation.fetched(device, outcome, scope);
        });
    }

    pub(super) fn fetched(&mut self, device: DeviceId, outcome: Outcome, scope: &mut Scope<'_, Self>) {
        let account = self.fetches.get(&device).map(|fetch| fetch.account);
        match outcome {
            // What came says nothing to us any more, except that they know, if it came after we left.
            Outcome::Done(_, moved) if self.leaving => {
                let knows = moved.is_some_and(|moved| moved.adopted && moved.turn > self.turn);
                if let Some(account) = account.filter(|_| knows) {
                    self.leave_fetched(account, scope);
                }
            }
            Outcome::Done(channel, moved) => {
                self.failed_fetches.remove(&device);
                if let Some(channel) = channel.filter(|it| self.may_exchange(it.account, device)) {
                    self.channels.insert(device, channel);
                }
                if let Some(moved) = moved {
                    // Whose head we took over knows it; of a merge of ours it does not.
                    let source = account.filter(|_| moved.adopted).map(|account| Source { device, account });
                    if source.is_none() {
                        self.merged(scope);
                    }
                    self.moved(*moved, source, scope);
                }
            }
            Outcome::Here => {}
            Outcome::Failed(failure) => {
                self.fetch_failed(device, account, &failure, scope);
                if let Some(account) = account {
                    self.rest_after_failure(device, failure.is_final(), scope);
                    if !failure.is_final() {
                        self.fetch_later(device, account, scope);
                    }
                }
            }
            Outcome::NoChannel(error) => {
                tracing::debug!(device = %device.short(), %error, "no channel to fetch over");
                // Without a link there is nothing to try: the next one looks for news by itself.
                let has_link =
                    matches!(error, LinkError::Declined { .. } | LinkError::Busy(_) | LinkError::Deadline(_));
                if let Some(account) = account.filter(|_| has_link) {
                    self.rest_after_failure(device, false, scope);
                    self.fetch_later(device, account, scope);
                }
            }
        }
        let Some(FetchState { account, commit: ended, again }) = self.fetches.remove(&device) else { return };
        if let Some(ended) = ended {
            self.ask_next(|commit| commit == ended, scope);
        }
        if let Some(commit) = again {
            self.announced(device, account, commit, scope);
        }
    }

    /// Counts a fetch that failed: whatever the device announces, it is left alone for a while.
    fn rest_after_failure(&mut self, device: DeviceId, refused: bool, scope: &Scope<'_, Self>) {
        let now = scope.now();
        let failing = self.failing(device, now);
        let pause = FIRST_FETCH_PAUSE.saturating_mul(1 << failing.failures.min(16)).min(LONGEST_FETCH_PAUSE);
        failing.failures = failing.failures.saturating_add(1);
        failing.until = now.plus(pause);
        failing.refused |= refused;
    }

    /// Looks for news at a device again after a while: what it announced may be its last.
    fn fetch_later(&mut self, device: DeviceId, account: AccountId, scope: &mut Scope<'_, Self>) {
        let failures = self.failed_fetches.get(&device).map_or(0, |failing| failing.failures);
        if failures <= MAX_FETCH_TRIES {
            self.is_resting(device, account, scope);
        }
    }

    /// Somebody has fetched from us. The first time, that is whoever had no copy to serve until now.
    pub(super) fn has_copy(&mut self, account: AccountId) {
        if self.markers.status.of(account).fetched.is_some() {
            return;
        }
        let theirs = self.linked.iter().filter(|(_, (it, _))| *it == account).map(|(device, _)| *device);
        for device in theirs.collect::<Vec<_>>() {
            self.forgive(device);
        }
    }

    /// Whatever kept a device from serving us may be over.
    pub(super) fn forgive(&mut self, device: DeviceId) {
        if self.failed_fetches.get(&device).is_some_and(|failing| !failing.refused) {
            self.failed_fetches.remove(&device);
        }
    }

    /// Looks at a device after a pause, and not before.
    fn rest(&mut self, device: DeviceId, account: AccountId, pause: Duration, scope: &mut Scope<'_, Self>) {
        let now = scope.now();
        self.failing(device, now).until = now.plus(pause);
        self.is_resting(device, account, scope);
    }

    /// What is known of the failures of a device. If there is no room for one more, the one that may be
    /// looked at soonest is forgotten, which costs one try.
    fn failing(&mut self, device: DeviceId, now: Moment) -> &mut Failing {
        if self.failed_fetches.len() >= MAX_FAILING && !self.failed_fetches.contains_key(&device) {
            let soonest = self.failed_fetches.iter().min_by_key(|(_, failing)| failing.until);
            if let Some(soonest) = soonest.map(|(device, _)| *device) {
                self.failed_fetches.remove(&soonest);
            }
        }
        self.failed_fetches.entry(device).or_insert(Failing {
            failures: 0,
            until: now,
            again: false,
            refused: false,
        })
    }

    /// Whether it is too early to fetch from a device again. Then it is looked at when that is over, so
    /// that whatever it has announced meanwhile costs one try.
    fn is_resting(&mut self, device: DeviceId, account: AccountId, scope: &mut Scope<'_, Self>) -> bool {
        let now = scope.now();
        let Some(failing) = self.failed_fetches.get_mut(&device) else { return false };
        if now >= failing.until {
            return false;
        }
        if !std::mem::replace(&mut failing.again, true) {
            scope.after(failing.until.since(now), move |conversation, scope| {
                if let Some(failing) = conversation.failed_fetches.get_mut(&device) {
                    failing.again = false;
                }
                conversation.announced(device, account, None, scope);
            });
        }
        true
    }

    pub(super) fn fetch_failed(
        &mut self,
        device: DeviceId,
        account: Option<AccountId>,
        failure: &Failure,
        scope: &mut Scope<'_, Self>,
    ) {
        let conversation = self.config.id;
        let error = &failure.error;
        let commit = refusal(error).map(|(commit, _)| commit).or(failure.head);
        self.remember_refusal(device, account, commit, error.to_string(), scope);
        match refusal(error) {
            Some((commit, refusal)) => {
                tracing::warn!(device = %device.short(), %commit, %refusal, "history was refused");
                if self.refused.len() >= MAX_REFUSED_HEADS {
                    self.refused.pop_front();
                }
                // What was served is refused from now on; what was announced may be another's head.
                self.refused.push_back(failure.head.unwrap_or(commit));
                let reason = refusal.to_string();
                self.emit(vec![Event::HistoryRefused { conversation, commit: Some(commit), reason }], scope);
            }
            None => tracing::debug!(device = %device.short(), %error, "a fetch failed"),
        }
    }
}
