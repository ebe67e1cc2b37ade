//! Announcing new commits: whom, the core says (`skep_protocol::drt::telling`); here is how it goes to the
//! links, so many at once.

use std::collections::VecDeque;

use skep_protocol::drt::dissemination::Targets;
use skep_protocol::drt::telling::Head;
use skep_protocol::ids::{CommitId, DeviceId};
use skep_protocol::swarm::notice::{Announcement, Notice as SwarmNotice};

use super::actor::RouterActor;
use crate::peer::messages::{LinksMessage, Notice, Recipient};
use crate::supervision::Scope;
use crate::swarm::topic;

/// Announcements handed to the links at once; what is not among them gives way to a newer commit.
const AT_ONCE: usize = 64;

/// The announcements of the newest commit.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// What the links have not taken yet, all of the newest commit.
    waiting: VecDeque<LinksMessage>,
    /// Whether the links are being waited for.
    sending: bool,
    pub(super) told_count: u64,
    pub(super) heard_count: u64,
}

impl RouterActor {
    /// There is a new head.
    pub(super) fn head(&mut self, head: Head, scope: &mut Scope<'_, Self>) {
        if self.overlay.set_head(head) {
            self.outbox.waiting.clear();
        }
        self.tell(scope);
    }

    /// A device says that it has a commit.
    pub(super) fn heard(&mut self, device: DeviceId, commit: CommitId) {
        self.outbox.heard_count += 1;
        self.overlay.heard(device, commit);
    }

    /// Tells everybody of the head who is to be told and was not.
    pub(super) fn tell(&mut self, scope: &mut Scope<'_, Self>) {
        let Some((head, targets)) = self.overlay.next_targets() else { return };
        let Targets { accounts, devices, wake } = targets;
        let announcement =
            Announcement { conversation: self.config.id, commit: head.commit, device: self.config.device };
        let notice = SwarmNotice::Announcement(announcement);
        let notice = Notice { kind: notice.mime_type().to_owned(), content: notice.to_text() };
        let topic = topic(self.config.id);
        let devices = devices.into_iter().map(Recipient::Device);
        for to in devices.chain(accounts.into_iter().map(Recipient::Account)) {
            self.outbox.told_count += 1;
            let notice = notice.clone();
            let notify = LinksMessage::Notify { to, topic, notice, lasting: true, except: head.source };
            self.outbox.waiting.push_back(notify);
        }
        for device in wake {
            self.outbox.told_count += 1;
            self.outbox.waiting.push_back(LinksMessage::Wake { device, topic, notice: notice.clone() });
        }
        self.send_announcements(scope);
    }

    /// Hands the announcements to the links, one after the other as they take them.
    fn send_announcements(&mut self, scope: &mut Scope<'_, Self>) {
        if self.outbox.sending || self.outbox.waiting.is_empty() {
            return;
        }
        self.outbox.sending = true;
        let links = self.config.links.clone();
        let count = self.outbox.waiting.len().min(AT_ONCE);
        let next = self.outbox.waiting.drain(..count).collect::<Vec<_>>();
        let send = async move {
            for notify in next {
                if let Err(error) = links.send(notify).await {
                    tracing::debug!(%error, "an announcement was not taken; the next link makes good for it");
                }
            }
        };
        scope.spawn_background(send, |router, (), scope| {
            router.outbox.sending = false;
            router.send_announcements(scope);
        });
    }
}
