//! Leaving: the commit that says so, and staying until the others have it (`spec: swarm 12`).

use std::time::Duration;

use skep_protocol::ids::{AccountId, DeviceId};

use super::ConversationActor;
use crate::blocking::Lane;
use crate::supervision::{Reply, Scope};
use crate::swarm::messages::{ConversationError, ConversationTold, Left};
use crate::swarm::replica::Moved;
use crate::swarm::repository::serve::Served;
use crate::swarm::standing::Standing;

/// How long the linked members may take to fetch that we have left, once one of them has.
pub(in crate::swarm) const LEAVE_GRACE: Duration = Duration::from_secs(30);

impl ConversationActor {
    pub(super) fn leave(
        &mut self,
        reply: Reply<Result<Left, ConversationError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        if self.replica.is_none() && self.absent {
            // What was never here has nothing to tell.
            self.leaving = true;
            return reply.send(Ok(Left::Alone));
        }
        let now = scope.wall();
        self.with_replica(
            Lane::Quick,
            scope,
            move |replica| replica.leave(now),
            |conversation, left, scope| match left {
                Ok(Ok(moved)) => reply.send(Ok(conversation.left(moved, scope))),
                Ok(Err(error)) => reply.send(Err(ConversationError::Storage(error.to_string()))),
                Err(error) => reply.send(Err(error)),
            },
        );
    }

    /// That we have left is durable: has the others fetch it, if there are any.
    fn left(&mut self, moved: Option<Moved>, scope: &mut Scope<'_, Self>) -> Left {
        let first = !std::mem::replace(&mut self.leaving, true);
        self.channels.clear();
        self.show_router(scope);
        match moved {
            Some(moved) => self.moved(moved, None, scope),
            None if first => self.announce(None, scope),
            None => {}
        }
        let own = self.config.identity.account_id();
        match &self.standing {
            Some(standing) if standing.must_learn_of_leave(own) => Left::Announced,
            _ => Left::Alone,
        }
    }

    /// A device was served. What it was sent and cannot merge with what it has it does not keep, and asks for
    /// again at the next link.
    pub(super) fn served(
        &mut self,
        account: AccountId,
        device: DeviceId,
        served: Served,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(standing) = &self.standing else { return };
        let keeps = matches!(served, Served::UpToDate(_)) || standing.has_written(device);
        if keeps && standing.head == served.commit() {
            self.leave_fetched(account, scope);
        }
    }

    /// Somebody has all that we have. If we are leaving, that is what we stayed for; those who are linked
    /// may fetch it from us, too, for daemons of 2023 tell nobody of what they fetch.
    pub(super) fn leave_fetched(&mut self, account: AccountId, scope: &mut Scope<'_, Self>) {
        let own = self.config.identity.account_id();
        if !self.leaving || account == own {
            return;
        }
        let first = self.know_of_leave.is_empty();
        self.know_of_leave.insert(account);
        let audience = self.standing.as_ref().map(Standing::audience).unwrap_or_default();
        let mut linked = self.linked.values().map(|(account, _)| account);
        if linked.all(|it| *it == own || !audience.contains(it) || self.know_of_leave.contains(it)) {
            self.tell(ConversationTold::LeaveFetched, scope);
        } else if first {
            scope.after(LEAVE_GRACE, |conversation, scope| {
                conversation.tell(ConversationTold::LeaveFetched, scope);
            });
        }
    }
}
