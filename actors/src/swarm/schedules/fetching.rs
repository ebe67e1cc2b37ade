//! Looking for news at each other, in whole git sessions, and leaving.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use rand::Rng as _;
use skep_protocol::ids::{AccountId, CommitId};
use skep_protocol::swarm::layout::Role;

use super::world::{Event, World};
use crate::swarm::actor::leaving::LEAVE_GRACE;
use crate::swarm::replica::{Replica, ReplicaError};
use crate::swarm::repository::Repository;
use crate::swarm::repository::fetch::{Fetch, FetchStep, Fetched, FetchedPack};
use crate::swarm::repository::serve::Serve;
use crate::swarm::testing::forge;

/// A git session, in milliseconds.
const FETCH: std::ops::Range<u64> = 5..200;

impl World {
    pub(super) fn look_for_news(&mut self, to: usize, from: usize) {
        let device = &self.devices[to];
        if device.left || (device.replica.is_some() && !self.admits(to, from)) {
            return;
        }
        if let Some(again) = self.devices[to].fetching.get_mut(&from) {
            *again = true;
            return;
        }
        self.devices[to].fetching.insert(from, false);
        let pause = self.random.random_range(FETCH);
        self.after(pause, Event::Fetch { to, from });
    }

    pub(super) fn fetch(&mut self, to: usize, from: usize) {
        let Some(again) = self.devices[to].fetching.remove(&from) else { return };
        if self.linked(to, from) && self.admits(from, to) {
            self.counts.fetches += 1;
            let had_it = match self.devices[to].replica.clone() {
                Some(replica) => !self.pull(to, from, &replica),
                None => {
                    self.clone_from(to, from);
                    false
                }
            };
            let standing = self.devices[from].standing.as_ref();
            if had_it || standing.is_some_and(|it| it.has_written(self.id_of(to))) {
                self.leave_fetched(from, self.devices[to].person);
            }
        }
        if again {
            self.look_for_news(to, from);
        }
    }

    /// Fetches; false if there was nothing new.
    fn pull(&mut self, to: usize, from: usize, replica: &Replica) -> bool {
        let server = self.devices[from].replica.clone().unwrap();
        let mut fetch = Fetch::new(self.id, self.devices[from].identity.device_id());
        let Some(pack) = session(|bytes| replica.fetch_step(&mut fetch, bytes).unwrap(), &server) else {
            return false;
        };
        let now = self.clock(to);
        match replica.integrate(pack, now) {
            Ok(Some(moved)) => {
                let source = moved.adopted.then_some(from);
                self.counts.merges += usize::from(source.is_none());
                self.tell(|| format!("{to} takes {:?} from {from}", moved.standing.head.short()));
                self.has_moved(to, moved, source);
            }
            Ok(None) => self.tell(|| format!("{to} keeps what it has beside that of {from}")),
            Err(error) => self.refuses(to, from, &error),
        }
        true
    }

    fn clone_from(&mut self, to: usize, from: usize) {
        let server = self.devices[from].replica.clone().unwrap();
        let folder = self.devices[to].folder.clone();
        let unfinished = folder.with_extension("clone");
        let mut repository = Repository::create(&unfinished).unwrap();
        let mut fetch = Fetch::new(self.id, self.devices[from].identity.device_id());
        let pack = session(|bytes| fetch.advance(&repository, bytes).unwrap(), &server).unwrap();
        let head = pack.head();
        let new = pack.store(&repository).unwrap();
        repository.admit(new.quarantine).unwrap();
        let founder = self.founder(to);
        match Replica::adopt(self.id, repository, head, &folder, &founder) {
            Ok((replica, standing)) => {
                let history = replica.log(usize::MAX).unwrap();
                self.tell(|| format!("{to} clones {} commits from {from}", history.len()));
                self.devices[to].cloned = history.into_iter().collect();
                self.has_copy(to, Arc::clone(&replica), standing);
                if let Some(moved) = replica.join(self.clock(to)).unwrap() {
                    self.has_moved(to, moved, None);
                }
            }
            Err(error) => {
                Repository::erase(&unfinished).unwrap();
                // Whoever invited us may have left us out meanwhile.
                if !matches!(error, ReplicaError::NotMember) {
                    self.refuses(to, from, &error);
                }
            }
        }
    }

    /// What honest devices have to offer must not be refused.
    fn refuses(&mut self, to: usize, from: usize, error: &ReplicaError) {
        self.tell(|| format!("{to} refuses what {from} has: {error}"));
        if !self.devices[from].forged {
            self.refusals.push(format!("{to} refuses what {from} has: {error}"));
        }
    }

    /// A member leaves, who is not the only admin, so that the others can go on. The commit that says so.
    pub(super) fn leave(&mut self, device: usize) -> Option<CommitId> {
        let (person, replica) = (self.devices[device].person, self.devices[device].replica.clone()?);
        if self.devices[device].standing.as_ref()?.members.role(person) != Some(Role::Member) {
            return None;
        }
        let moved = replica.leave(self.clock(device)).ok()??;
        let head = moved.standing.head;
        self.step(device, || format!("leaves: {}", head.short()));
        // The other devices of a person learn by synchronisation.
        for other in self.devices_of(person) {
            self.devices[other].left = true;
            self.show(other);
        }
        self.has_moved(device, moved, None);
        Some(head)
    }

    /// A device that had left tells so again after a start.
    pub(super) fn go_on_leaving(&mut self, device: usize) {
        if self.devices[device].left {
            self.announce(device, None);
        }
    }

    /// Somebody has all that a device has. If that is leaving, it stays only for those who are linked and
    /// have not, and not for long.
    fn leave_fetched(&mut self, device: usize, by: AccountId) {
        let it = &self.devices[device];
        let (person, Some(standing)) = (it.person, it.standing.as_ref()) else { return };
        let has_left = !standing.joined().contains(&person);
        if !it.left || !has_left || by == person {
            return;
        }
        let audience = standing.audience();
        let is_first = self.devices[device].know_of_leave.is_empty();
        self.devices[device].know_of_leave.insert(by);
        let know = &self.devices[device].know_of_leave;
        let linked: Vec<AccountId> =
            self.peers(device).into_iter().map(|peer| self.devices[peer].person).collect();
        if linked.iter().all(|it| *it == person || !audience.contains(it) || know.contains(it)) {
            self.erase(device);
        } else if is_first {
            let pause = u64::try_from(LEAVE_GRACE.as_millis()).unwrap();
            self.after(pause, Event::Erase { device });
        }
    }

    /// Nothing of the conversation stays on a device that has left.
    pub(super) fn erase(&mut self, device: usize) {
        let it = &mut self.devices[device];
        if it.replica.take().is_none() {
            return;
        }
        (it.overlay, it.standing) = (None, None);
        Repository::erase(&it.folder).unwrap();
        self.tell(|| format!("{device} is gone"));
    }

    /// A device writes past all rules, as a changed program would, and tells everybody.
    pub(super) fn forge(&mut self, device: usize) -> Option<CommitId> {
        self.devices[device].replica.take()?;
        let seconds = self.clock(device).seconds();
        let it = &mut self.devices[device];
        it.forged = true;
        let repository = Repository::open(&it.folder).unwrap();
        let commit = forge(&repository, &it.identity, seconds, "I am still here");
        drop(repository);
        let opened = Replica::open(self.id, &self.devices[device].folder, &self.founder(device)).unwrap();
        let (replica, standing) = opened.unwrap();
        self.devices[device].replica = Some(replica);
        self.devices[device].standing = Some(standing);
        self.step(device, || format!("forges {}", commit.short()));
        for peer in self.peers(device) {
            self.notify(device, peer, commit);
        }
        Some(commit)
    }
}

/// A whole git session; what it brought, if anything.
fn session(mut client: impl FnMut(&[u8]) -> FetchStep, server: &Replica) -> Option<FetchedPack> {
    let mut serve = Serve::default();
    let mut answers: VecDeque<Bytes> = [Bytes::new()].into();
    loop {
        let answer = answers.pop_front().expect("the session goes on");
        let step = client(&answer);
        for request in &step.send {
            let mut served = server.serve_step(&mut serve, request).unwrap();
            answers.extend(served.send);
            while served.more {
                served = server.serve_step(&mut serve, &[]).unwrap();
                answers.extend(served.send);
            }
        }
        match step.done {
            Some(Fetched::New(pack)) => return Some(pack),
            Some(Fetched::UpToDate { .. }) => return None,
            None => {}
        }
    }
}
