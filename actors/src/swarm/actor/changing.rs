//! Changes of members and profile, parting with those who were banned, and what peers offered in vain.

use std::collections::VecDeque;

use skep_protocol::ids::{AccountId, CommitId, DeviceId};
use skep_protocol::swarm::layout::{Role, VoteAction};
use skep_protocol::swarm::message::Target;

use super::ConversationActor;
use crate::blocking::Lane;
use crate::event::Event;
use crate::supervision::{Reply, Scope};
use crate::swarm::messages::{
    Changed, ConversationError, ConversationTold, GroupChange, ProfileView, RefusalView,
};
use crate::swarm::standing::{Standing, profile_view};

/// Refusals remembered, for people; the oldest goes first.
const MAX_REFUSALS: usize = 16;

/// What peers offered in vain, newest first.
#[derive(Debug, Default)]
pub(super) struct Refusals(VecDeque<RefusalView>);

impl Refusals {
    /// Remembers one. The same again from the same device takes its place.
    fn remember(&mut self, refusal: RefusalView) {
        let same = |old: &RefusalView| (old.device, &old.reason) == (refusal.device, &refusal.reason);
        self.0.retain(|old| !same(old));
        self.0.truncate(MAX_REFUSALS - 1);
        self.0.push_front(refusal);
    }

    pub(super) fn list(&self) -> Vec<RefusalView> {
        self.0.iter().cloned().collect()
    }
}

impl ConversationActor {
    pub(super) fn change(
        &mut self,
        change: GroupChange,
        reply: Reply<Result<Changed, ConversationError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        if self.leaving {
            return reply.send(Err(ConversationError::NotMember));
        }
        let person = match &change {
            GroupChange::Invite(person)
            | GroupChange::Vote { action: VoteAction::Unban, target: Target::Account(person) } => {
                Some(*person)
            }
            _ => None,
        };
        let now = scope.wall();
        self.with_replica(
            Lane::Quick,
            scope,
            move |replica| replica.change(&change, now),
            move |conversation, changed, scope| match changed {
                Ok(Ok((changed, moved))) => {
                    let was_banned = person.filter(|person| conversation.is_banned(*person));
                    if let Some(moved) = moved {
                        conversation.moved(moved, None, scope);
                    }
                    if let Some(person) = was_banned.filter(|person| !conversation.is_banned(*person)) {
                        conversation.tell(ConversationTold::Unbanned(person), scope);
                    }
                    reply.send(Ok(changed));
                }
                Ok(Err(error)) | Err(error) => reply.send(Err(error)),
            },
        );
    }

    fn is_banned(&self, person: AccountId) -> bool {
        self.standing.as_ref().is_some_and(|it| it.members.role(person) == Some(Role::Banned))
    }

    pub(super) fn profile(&self) -> Result<ProfileView, ConversationError> {
        let standing = self.standing.as_ref().ok_or(ConversationError::NotReady)?;
        Ok(profile_view(&standing.profile))
    }

    /// Whether history is exchanged with a device: its owner takes part and neither is banned.
    pub(super) fn may_exchange(&self, account: AccountId, device: DeviceId) -> bool {
        let own = account == self.config.identity.account_id();
        self.standing.as_ref().is_some_and(|standing| {
            standing.admits(account, device) || (own && !standing.members.banned_devices.contains(&device))
        })
    }

    /// Ends what goes on with those who may not take part any more: channels in both directions, and
    /// that they are shown as typing.
    pub(super) fn part(&mut self, before: &Standing, scope: &mut Scope<'_, Self>) {
        let own = self.config.identity.account_id();
        let Some(now) = &self.standing else { return };
        let may = |account: AccountId, device: DeviceId| {
            (account == own && !now.members.banned_devices.contains(&device)) || now.admits(account, device)
        };
        self.channels.retain(|device, channel| may(channel.account, *device));
        // Whoever is taken back is shown as linked again.
        self.linked.retain(|device, (account, _)| may(*account, *device));
        // Their sessions end with the senders.
        self.served.retain(|_, serving| may(serving.account, serving.device));
        // Nor does it matter what they have read of what never came.
        self.markers.early.retain(|(member, _), _| now.has(*member));
        let gone: Vec<_> = before.people().into_iter().filter(|person| !now.has(*person)).collect();
        for person in gone {
            self.end_typing_of(person, scope);
        }
    }

    /// Remembers that what a peer offered was not taken, and why.
    pub(super) fn remember_refusal(
        &mut self,
        device: DeviceId,
        peer: Option<AccountId>,
        commit: Option<CommitId>,
        reason: String,
        scope: &Scope<'_, Self>,
    ) {
        self.refusals.remember(RefusalView { time: scope.wall(), peer, device, commit, reason });
    }

    /// What the owner is told when members or profile are no longer as before.
    pub(super) fn changes_since(&self, before: Option<&Standing>) -> Vec<Event> {
        let Some(now) = &self.standing else { return Vec::new() };
        let conversation = self.config.id;
        let mut events = Vec::new();
        if before.map(|it| &it.members) != Some(&now.members) {
            events.push(Event::MembersChanged { conversation });
        }
        if before.is_some_and(|it| it.profile != now.profile) {
            let (title, description) = (now.profile.title.clone(), now.profile.description.clone());
            events.push(Event::ConversationProfileChanged { conversation, title, description });
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use skep_protocol::time::UnixMillis;

    use super::*;

    #[test]
    fn the_newest_refusals_are_remembered_and_equal_ones_once() {
        let mut refusals = Refusals::default();
        let refusal = |device: u8, time: i64| RefusalView {
            time: UnixMillis(time),
            peer: None,
            device: DeviceId([device; 32]),
            commit: None,
            reason: "a bad commit".to_owned(),
        };
        for time in 0..1000 {
            refusals.remember(refusal(7, time));
        }
        assert_eq!(refusals.list(), [refusal(7, 999)]);
        for device in 10..100 {
            refusals.remember(refusal(device, 2000));
        }
        assert_eq!(refusals.list().len(), MAX_REFUSALS);
        assert_eq!(refusals.list()[0].device, DeviceId([99; 32]));
    }
}
