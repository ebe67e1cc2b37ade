//! Having the other members' devices told of our head, which the overlay does, and reminding those that do
//! not fetch it: the only other one, or in larger conversations daemons of 2023.
//!
//! The other one's own heads need no reminding of; for those that came from another device of ours, which
//! may not be able to tell, we do it.
//!
//! A daemon of 2023 that was suspended, or lost its network, goes on for half a minute over a link that
//! is gone; what it was told to fetch meanwhile it never looks for again. Nor does it while two of them
//! that fetch from each other have come to a standstill.

use std::collections::BTreeSet;
use std::time::Duration;

use skep_protocol::drt::telling::Head;
use skep_protocol::ids::{AccountId, DeviceId};
use skep_protocol::swarm::layout::Role;
use skep_protocol::swarm::notice::{Announcement, Notice as SwarmNotice};
use skep_protocol::time::Moment;

use super::{ConversationActor, topic};
use crate::blocking::Lane;
use crate::peer::messages::{LinksMessage, Notice, Recipient};
use crate::supervision::{Scope, TimerId};
use crate::swarm::messages::LinkState;
use crate::swarm::router::messages::RouterMessage;

/// Pause before an announcement that found no room is made again.
const ANNOUNCE_AGAIN: Duration = Duration::from_millis(200);

/// When the other one is reminded of a head that it does not fetch, from when it was first told, and who is.
///
/// A daemon of 2023 that is told over a new link before it has seen that the old one is gone fetches over the
/// old one, and then not at all: the first two. The third is later than a peer needs to see that a link is
/// gone (`spec: connection 4.6`), unless its machine is busy; such a daemon opens a channel upon the first
/// reminder after that, and fetches upon the second.
const REMINDERS: [(Duration, Reminded); 7] = [
    (Duration::from_millis(500), Reminded::LinkedDaemon),
    (Duration::from_secs(2), Reminded::LinkedDaemon),
    (Duration::from_secs(30), Reminded::Anybody),
    (Duration::from_secs(40), Reminded::Anybody),
    (Duration::from_secs(50), Reminded::Anybody),
    (Duration::from_secs(60), Reminded::Anybody),
    (Duration::from_secs(120), Reminded::Anybody),
];

/// Who is reminded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reminded {
    /// The only other one, if a daemon of 2023 has a link. In larger conversations it is told by others, too,
    /// and comes to a standstill more easily the more often it is told.
    LinkedDaemon,
    /// Whoever lacks it.
    Anybody,
}

/// The announcement of our head.
#[derive(Debug, Default)]
pub(super) struct AnnouncingState {
    /// From where the head came, if it did not begin here.
    source: Option<Source>,
    /// Without an overlay: who has yet to be told, as the links take it.
    untold: BTreeSet<AccountId>,
    /// Whether it goes on soon.
    again: bool,
    /// From whom our head came, as it is, if it did not begin here.
    has_head: Option<AccountId>,
    reminder: Option<TimerId>,
}

/// The device, and its person, whose head we took over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) device: DeviceId,
    pub(super) account: AccountId,
}

impl ConversationActor {
    /// Tells the other members' devices of our head. The device that we have it from knows.
    pub(super) fn announce(&mut self, source: Option<Source>, scope: &mut Scope<'_, Self>) {
        let Some(standing) = &self.standing else { return };
        if standing.members.role(self.config.identity.account_id()) == Some(Role::Banned) {
            return;
        }
        if self.router.is_none() {
            self.announcing.untold = standing.audience();
            if self.leaving {
                // Our own devices learn that we have left from each other.
                self.announcing.untold.remove(&self.config.identity.account_id());
            }
        }
        self.announcing.source = source;
        self.go_on_announcing(scope);
        self.announcing.has_head = source.map(|source| source.account);
        self.remind_later(0, scope.now(), scope);
    }

    /// Has the overlay tell of our head, or tells all members if there is none that chooses.
    fn go_on_announcing(&mut self, scope: &mut Scope<'_, Self>) {
        let Some(commit) = self.standing.as_ref().map(|standing| standing.head) else { return };
        let source = self.announcing.source.map(|source| source.device);
        let told = if self.router.is_some() {
            self.tell_router(RouterMessage::Head(Head { commit, source }))
        } else {
            let untold = std::mem::take(&mut self.announcing.untold);
            let full = untold.into_iter().filter(|person| !self.tell_head(*person, true, source));
            self.announcing.untold = full.collect();
            self.announcing.untold.is_empty()
        };
        if !told && !std::mem::replace(&mut self.announcing.again, true) {
            scope.after(ANNOUNCE_AGAIN, |conversation, scope| {
                conversation.announcing.again = false;
                conversation.go_on_announcing(scope);
            });
        }
    }

    /// There is no overlay any more; what it had yet to tell is told to all.
    pub(super) fn overlay_failed(&mut self, scope: &mut Scope<'_, Self>) {
        self.router = None;
        self.announce(self.announcing.source, scope);
    }

    /// Tells a member's devices of our head; false when the links had no room for that.
    fn tell_head(&self, person: AccountId, lasting: bool, except: Option<DeviceId>) -> bool {
        let Some(standing) = &self.standing else { return true };
        let announcement = Announcement {
            conversation: self.config.id,
            commit: standing.head,
            device: self.config.identity.device_id(),
        };
        let notice = SwarmNotice::Announcement(announcement);
        let notice = Notice { kind: notice.mime_type().to_owned(), content: notice.to_text() };
        let (to, topic) = (Recipient::Account(person), topic(self.config.id));
        let told = self.config.links.try_send(LinksMessage::Notify { to, topic, notice, lasting, except });
        if let Err(error) = &told {
            tracing::debug!(%error, "an announcement was not taken");
        }
        told.is_ok()
    }

    /// After a start it is not known who has our head, except for who wrote it.
    pub(super) fn remind_after_start(&mut self, scope: &mut Scope<'_, Self>) {
        let Some(head) = self.standing.as_ref().map(|standing| standing.head) else { return };
        self.with_replica(
            Lane::Quick,
            scope,
            move |replica| replica.author_of(head),
            move |conversation, author, scope| {
                if conversation.standing.as_ref().is_some_and(|standing| standing.head == head) {
                    conversation.announcing.has_head = super::flatten(author).ok();
                    conversation.remind_later(0, scope.now(), scope);
                }
            },
        );
    }

    /// After so many reminders of a head that was first told then, has the other member reminded of it if it
    /// still lacks it when the next is due.
    fn remind_later(&mut self, reminded: usize, since: Moment, scope: &mut Scope<'_, Self>) {
        if let Some(earlier) = self.announcing.reminder.take() {
            scope.cancel(earlier);
        }
        let next = REMINDERS.get(reminded).filter(|_| !self.who_lacks_head().is_empty());
        self.announcing.reminder = next.map(|(time, whom)| {
            let pause = since.plus(*time).since(scope.now());
            scope.after(pause, move |conversation, scope| {
                conversation.announcing.reminder = None;
                for person in conversation.who_is_reminded(*whom) {
                    // Whoever is not connected looks for news when a link is up.
                    conversation.tell_head(person, false, None);
                }
                conversation.remind_later(reminded + 1, since, scope);
            })
        });
    }

    fn who_is_reminded(&self, whom: Reminded) -> Vec<AccountId> {
        let mut people = self.who_lacks_head();
        if whom == Reminded::LinkedDaemon {
            let is_alone = self.others().len() == 1;
            let daemons = self.linked_daemons();
            people.retain(|person| is_alone && daemons.contains(person));
        }
        people
    }

    /// The members who are told of new commits, without ourselves.
    fn others(&self) -> BTreeSet<AccountId> {
        let mut others = self.standing.as_ref().map(|standing| standing.audience()).unwrap_or_default();
        others.remove(&self.config.identity.account_id());
        others
    }

    /// The people who are linked by a daemon of 2023.
    fn linked_daemons(&self) -> BTreeSet<AccountId> {
        let daemons = self.linked.values().filter(|(_, state)| *state == LinkState::Legacy);
        daemons.map(|(account, _)| *account).collect()
    }

    /// The only other member, or in larger conversations those who are linked by a daemon of 2023, as long as
    /// nothing says that they have our head. Others are told by the overlay, whatever breaks.
    fn who_lacks_head(&self) -> Vec<AccountId> {
        let Some(standing) = &self.standing else { return Vec::new() };
        let mut others = self.others();
        if others.len() > 1 {
            others = &others & &self.linked_daemons();
        }
        others.retain(|person| {
            let fetched = self.markers.status.of(*person).fetched.map(|marker| marker.commit);
            self.announcing.has_head != Some(*person) && fetched != Some(standing.head)
        });
        others.into_iter().collect()
    }
}
