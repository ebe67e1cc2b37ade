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
    pub(super) fn merged(&mut self) {
        let daemons = self.linked.iter().filter(|(_, (_, state))| *state == LinkState::Legacy);
        for (device, _) in daemons {
            self.unsettled.entry(*device).or_default();
        }
    }

    /// Somebody has fetched. Looks at their daemons after a while, once for each time that we merged.
    pub(super) fn settle(&mut self, account: AccountId, scope: &mut Scope<'_, Self>) {
        for (device, is_planned) in &mut self.unsettled {
            let is_theirs = self.linked.get(device).is_some_and(|(it, _)| *it == account);
            if !is_theirs || std::mem::replace(is_planned, true) {
                continue;
            }
            let device = *device;
            scope.after(SETTLE, move |conversation, scope| {
                if conversation.unsettled.remove(&device).is_some() {
                    conversation.announced(device, account, None, scope);
                }
            });
        }
    }
}
