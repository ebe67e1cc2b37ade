//! Telling the other members' devices of our head, and reminding the only other one that does not fetch it.
//!
//! A daemon of 2023 that was suspended, or lost its network, goes on for half a minute over a link that
//! is gone; what it was told to fetch meanwhile it never looks for again.

use std::time::Duration;

use skep_protocol::ids::{AccountId, DeviceId};
use skep_protocol::swarm::notice::{Announcement, Notice as SwarmNotice};

use super::{ConversationActor, topic};
use crate::peer::messages::{LinksMessage, Notice, Recipient};
use crate::supervision::{Scope, TimerId};

/// Pause before an announcement that the links had no room for is made again.
const ANNOUNCE_AGAIN: Duration = Duration::from_millis(200);

/// How long the other one may take to fetch our head before it is reminded: longer than a peer needs to
/// see that a link is gone (`spec: connection 4.6`). Doubles each time.
const FIRST_REMINDER: Duration = Duration::from_secs(30);

/// Reminders of one head.
const MAX_REMINDERS: u32 = 3;

/// The announcement of our head.
#[derive(Debug, Default)]
pub(super) struct AnnouncingState {
    /// Whether it is to be made again soon.
    again: bool,
    reminder: Option<TimerId>,
}

impl ConversationActor {
    /// Tells the other members' devices of our head. The device that we have it from knows.
    pub(super) fn announce(&mut self, source: Option<DeviceId>, scope: &mut Scope<'_, Self>) {
        let Some(standing) = &self.standing else { return };
        // Our own devices learn that we have left from each other.
        let own = self.leaving.then(|| self.config.identity.account_id());
        for person in standing.people().into_iter().filter(|person| Some(*person) != own) {
            if !self.tell_head(person, true, source) && !std::mem::replace(&mut self.announcing.again, true) {
                scope.after(ANNOUNCE_AGAIN, |conversation, scope| {
                    conversation.announcing.again = false;
                    conversation.announce(None, scope);
                });
            }
        }
        if let Some(earlier) = self.announcing.reminder.take() {
            scope.cancel(earlier);
        }
        self.remind_later(0, scope);
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

    fn remind_later(&mut self, reminded: u32, scope: &mut Scope<'_, Self>) {
        if let Some(pause) = pause(reminded).filter(|_| self.who_lacks_head().is_some()) {
            self.announcing.reminder = Some(scope.after(pause, move |conversation, scope| {
                conversation.announcing.reminder = None;
                if let Some(person) = conversation.who_lacks_head() {
                    // Whoever is not connected looks for news when a link is up.
                    conversation.tell_head(person, false, None);
                    conversation.remind_later(reminded + 1, scope);
                }
            }));
        }
    }

    /// The only other member, as long as nothing says that it has our head. In larger conversations it may
    /// have it from anybody.
    fn who_lacks_head(&self) -> Option<AccountId> {
        let (standing, own) = (self.standing.as_ref()?, self.config.identity.account_id());
        let mut others = standing.people().into_iter().filter(|person| *person != own);
        let other = others.next().filter(|_| others.next().is_none())?;
        let fetched = self.markers.status.of(other).fetched.map(|marker| marker.commit);
        (fetched != Some(standing.head)).then_some(other)
    }
}

/// How long to wait after so many reminders until the next; none when there were enough.
fn pause(reminded: u32) -> Option<Duration> {
    (reminded < MAX_REMINDERS).then(|| FIRST_REMINDER.saturating_mul(1 << reminded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reminders_get_rarer_and_come_to_an_end() {
        let pauses: Vec<_> = (0..).map_while(pause).map(|pause| pause.as_secs()).collect();
        assert_eq!(pauses, [30, 60, 120]);
    }
}
