//! Having the other members' devices told of our head, which the overlay does, and reminding the only
//! other one that does not fetch it.
//!
//! The other one's own heads need no reminding of; for those that came from another device of ours, which
//! may not be able to tell, we do it.
//!
//! A daemon of 2023 that was suspended, or lost its network, goes on for half a minute over a link that
//! is gone; what it was told to fetch meanwhile it never looks for again.

use std::time::Duration;

use skep_protocol::ids::{AccountId, DeviceId};
use skep_protocol::swarm::layout::Role;
use skep_protocol::swarm::notice::{Announcement, Notice as SwarmNotice};

use super::{ConversationActor, topic};
use crate::blocking::Lane;
use crate::peer::messages::{LinksMessage, Notice, Recipient};
use crate::supervision::{Scope, TimerId};
use crate::swarm::router::messages::{Head, RouterMessage};

/// Pause before an announcement that found no room is made again.
const ANNOUNCE_AGAIN: Duration = Duration::from_millis(200);

/// Pauses before the other one is reminded of a head that it does not fetch. The first is longer than a
/// peer needs to see that a link is gone (`spec: connection 4.6`). A daemon of 2023 opens a channel upon the
/// first reminder and fetches upon the second.
const REMINDERS: [Duration; 3] = [Duration::from_secs(30), Duration::from_secs(10), Duration::from_secs(60)];

/// The announcement of our head.
#[derive(Debug, Default)]
pub(super) struct AnnouncingState {
    /// Whether it is to be made again soon, and from where the head came.
    again: Option<Option<Source>>,
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
        let device = source.map(|source| source.device);
        let told = match &self.router {
            Some(_) => self.tell_router(RouterMessage::Head(Head { commit: standing.head, source: device })),
            None => self.tell_everybody(device),
        };
        if !told && self.announcing.again.replace(source).is_none() {
            scope.after(ANNOUNCE_AGAIN, |conversation, scope| {
                if let Some(source) = conversation.announcing.again.take() {
                    conversation.announce(source, scope);
                }
            });
        }
        self.announcing.has_head = source.map(|source| source.account);
        self.remind_later(0, scope);
    }

    /// Tells all members of our head when there is no overlay that chooses; false when the links had no
    /// room for that.
    fn tell_everybody(&self, except: Option<DeviceId>) -> bool {
        // Our own devices learn that we have left from each other.
        let own = self.leaving.then(|| self.config.identity.account_id());
        let audience = self.standing.as_ref().map(super::Standing::audience).unwrap_or_default();
        let mut told = true;
        for person in audience.into_iter().filter(|person| Some(*person) != own) {
            told &= self.tell_head(person, true, except);
        }
        told
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
                    conversation.remind_later(0, scope);
                }
            },
        );
    }

    /// After so many reminders, has the other member reminded of our head if it still lacks it then.
    fn remind_later(&mut self, reminded: usize, scope: &mut Scope<'_, Self>) {
        if let Some(earlier) = self.announcing.reminder.take() {
            scope.cancel(earlier);
        }
        let pause = REMINDERS.get(reminded).filter(|_| self.who_lacks_head().is_some());
        self.announcing.reminder = pause.map(|pause| {
            scope.after(*pause, move |conversation, scope| {
                conversation.announcing.reminder = None;
                if let Some(person) = conversation.who_lacks_head() {
                    // Whoever is not connected looks for news when a link is up.
                    conversation.tell_head(person, false, None);
                    conversation.remind_later(reminded + 1, scope);
                }
            })
        });
    }

    /// The only other member, as long as nothing says that it has our head. In larger conversations it may
    /// have it from anybody.
    fn who_lacks_head(&self) -> Option<AccountId> {
        let (standing, own) = (self.standing.as_ref()?, self.config.identity.account_id());
        let mut others = standing.audience().into_iter().filter(|person| *person != own);
        let other = others.next().filter(|_| others.next().is_none())?;
        if self.announcing.has_head == Some(other) {
            return None;
        }
        let fetched = self.markers.status.of(other).fetched.map(|marker| marker.commit);
        (fetched != Some(standing.head)).then_some(other)
    }
}
