//! Coming to one head with daemons of 2023, which tell nobody of the merges that they make.
//!
//! ```text
//!   both have written ──► we merge, and tell ──► it fetches, and merges what it made meanwhile: silence
//!                                                       └──► we look once more, and take that over
//! ```

use std::time::Duration;

use skep_protocol::ids::AccountId;

use super::ConversationActor;
use crate::supervision::Scope;
use crate::swarm::messages::LinkState;

/// How long a daemon that has fetched our merge may take to make its own.
const SETTLE: Duration = Duration::from_secs(3);

impl ConversationActor {
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
