//! What is known of a conversation beside its history, told to and by other devices of the account
//! (`spec: sync 5.6 and 5.7`).

use std::collections::BTreeMap;
use std::sync::Arc;

use skep_protocol::ids::{AccountId, CommitId};
use skep_protocol::sync::{MAX_STATUS_MEMBERS, MarkerKind, MemberStatus, Preferences};

use super::ConversationActor;
use crate::blocking::Lane;
use crate::event::Event;
use crate::supervision::{Reply, Scope};
use crate::swarm::messages::{ConversationDetails, ConversationError, ConversationTold};

/// Markers remembered as told by other devices: two of each member.
const MAX_TOLD: usize = 2 * MAX_STATUS_MEMBERS;

impl ConversationActor {
    /// Tells what other devices are to know.
    pub(super) fn details(
        &self,
        reply: Reply<Result<ConversationDetails, ConversationError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let status: BTreeMap<_, _> = self.markers.status.members().collect();
        self.with_preferences(
            scope,
            move |kept| Ok(ConversationDetails { preferences: kept.told()?, status }),
            reply,
        );
    }

    /// The owner prefers something else now, here.
    pub(super) fn prefer(
        &self,
        values: BTreeMap<String, String>,
        reply: Reply<Result<(), ConversationError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let (preferences, now) = (Arc::clone(&self.preferences), scope.wall());
        let (pool, share) = (self.config.pool.clone(), self.config.share);
        let change =
            async move { pool.run(share, Lane::Quick, move || preferences.change(values, now)).await };
        scope.spawn(change, |conversation, changed, scope| {
            let changed = changed.unwrap_or_else(|error| Err(error.into()));
            if changed.is_ok() {
                conversation.tell(ConversationTold::Preferred, scope);
            }
            reply.send(changed);
        });
    }

    /// Another device of ours tells what the owner prefers.
    pub(super) fn preferences_told(&self, told: Preferences, scope: &mut Scope<'_, Self>) {
        let preferences = Arc::clone(&self.preferences);
        let (pool, share) = (self.config.pool.clone(), self.config.share);
        let merge = async move { pool.run(share, Lane::Quick, move || preferences.merge(told)).await };
        scope.spawn(merge, |conversation, merged, scope| match merged {
            Ok(Ok(true)) => {
                let conversation_id = conversation.config.id;
                conversation.emit(vec![Event::PreferencesChanged { conversation: conversation_id }], scope);
            }
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "preferences told by another device are lost"),
            Err(error) => tracing::warn!(%error, "preferences told by another device are lost"),
        });
    }

    /// Another device of ours tells how far members have fetched and read. What it knows is not told on.
    pub(super) fn status_told(
        &mut self,
        members: BTreeMap<AccountId, MemberStatus>,
        scope: &mut Scope<'_, Self>,
    ) {
        for (member, status) in members.into_iter().take(MAX_STATUS_MEMBERS) {
            for kind in [MarkerKind::Fetched, MarkerKind::Read] {
                let Some(commit) = status.marker(kind).map(|marker| marker.commit) else { continue };
                if self.markers.told.len() < MAX_TOLD {
                    self.markers.told.insert((member, kind), commit);
                }
                if self.standing.is_none() {
                    // It counts when the conversation is here.
                    if self.markers.early.len() < MAX_TOLD {
                        self.markers.early.insert((member, kind), commit);
                    }
                } else {
                    self.heard_marker(member, kind, commit, scope);
                }
            }
        }
    }

    /// A marker has moved: other devices of ours are told, unless they told it.
    pub(super) fn tell_marker(
        &mut self,
        member: AccountId,
        kind: MarkerKind,
        commit: CommitId,
        scope: &mut Scope<'_, Self>,
    ) {
        // What was left is of no interest to them.
        if self.markers.told.remove(&(member, kind)) != Some(commit) && !self.leaving {
            self.tell(ConversationTold::Marked(member), scope);
        }
    }
}
