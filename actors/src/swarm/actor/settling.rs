//! Coming to one head with daemons of 2023, which tell nobody of the merges that they make, and tell of
//! everything over the link before as long as they do not know that it is gone.
//!
//! ```text
//!   both have written ──► we merge, and tell ──► it fetches, and merges what it made meanwhile: silence
//!                                                       └──► we look once more, and take that over
//!
//!   our link breaks ──► a new one ──► it writes, and tells over the old one: silence
//!                           └──► we look several times, and find that
//! ```

use std::time::Duration;

use skep_protocol::ids::{AccountId, DeviceId};

use super::ConversationActor;
use crate::supervision::Scope;
use crate::swarm::messages::LinkState;

/// How long a daemon that has fetched our merge may take to make its own.
const SETTLE: Duration = Duration::from_secs(3);

/// Pauses between looks at a daemon whose link is new: it sees within half a minute that the one before is
/// gone, if there was one.
const LOOKS: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(5), Duration::from_secs(10), Duration::from_secs(20)];

impl ConversationActor {
    /// A daemon of 2023 has a new link and was looked at so often: it is looked at again after a while, for
    /// what it tells over the link before.
    pub(super) fn look_again(
        &mut self,
        device: DeviceId,
        account: AccountId,
        looks: usize,
        scope: &mut Scope<'_, Self>,
    ) {
        self.look_no_more(device, scope);
        let Some(pause) = LOOKS.get(looks) else { return };
        let timer = scope.after(*pause, move |conversation, scope| {
            conversation.announced(device, account, None, scope);
            conversation.look_again(device, account, looks + 1, scope);
        });
        self.newly_linked.insert(device, timer);
    }

    /// The link is gone.
    pub(super) fn look_no_more(&mut self, device: DeviceId, scope: &mut Scope<'_, Self>) {
        if let Some(timer) = self.newly_linked.remove(&device) {
            scope.cancel(timer);
        }
    }

    /// We have merged: what the linked daemons of 2023 make of that is to be looked at.
    pub(super) fn merged(&mut self, scope: &mut Scope<'_, Self>) {
        let daemons = self.linked.iter().filter(|(_, (_, state))| *state == LinkState::Legacy);
        for (device, _) in daemons {
            // What they make of an earlier merge is seen with what they make of this one.
            if let Some(Some(planned)) = self.unsettled.insert(*device, None) {
                scope.cancel(planned);
            }
        }
    }

    /// Somebody has fetched. Looks at their daemons after a while, once after the last of our merges.
    pub(super) fn settle(&mut self, account: AccountId, scope: &mut Scope<'_, Self>) {
        for (device, planned) in &mut self.unsettled {
            let is_theirs = self.linked.get(device).is_some_and(|(it, _)| *it == account);
            if !is_theirs || planned.is_some() {
                continue;
            }
            let device = *device;
            *planned = Some(scope.after(SETTLE, move |conversation, scope| {
                if conversation.unsettled.remove(&device).is_some() {
                    conversation.announced(device, account, None, scope);
                }
            }));
        }
    }
}
