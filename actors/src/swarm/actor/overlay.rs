//! The router of the conversation, which is its child: what it is told, and what it tells.

use std::time::Duration;

use skep_protocol::drt::telling::Head;
use skep_protocol::ids::{AccountId, CommitId, DeviceId};

use super::ConversationActor;
use crate::peer::messages::ChannelOffer;
use crate::supervision::{ChildSpec, Reply, RestartPolicy, Scope};
use crate::swarm::messages::{ConversationError, ConversationTold, LinkState};
use crate::swarm::router::messages::{Membership, RouterMessage, RouterTold, RoutesView};
use crate::swarm::router::{RouterActor, RouterActorConfig};

/// Pause before a router is shown again what it had no room for.
const SHOW_AGAIN: Duration = Duration::from_secs(1);

/// How long the router may take to show its table.
const ASK: Duration = Duration::from_secs(5);

impl ConversationActor {
    /// Starts the router, once there is something that others could want to know.
    pub(super) fn start_router(&mut self, scope: &mut Scope<'_, Self>) {
        if self.router.is_some() {
            return self.show_router(scope);
        }
        let config = RouterActorConfig {
            id: self.config.id,
            device: self.config.identity.device_id(),
            account: self.config.identity.account_id(),
            identity: self.config.identity.clone(),
            mobiles_file: self.config.mobiles_file.clone(),
            links: self.config.links.clone(),
            directory: self.config.directory.clone(),
            pool: self.config.pool.clone(),
            share: self.config.share,
            conversation: scope.port(),
        };
        let spec = ChildSpec::new("router").restart(RestartPolicy::giving_up());
        self.router = Some(scope.start_child(spec, move || RouterActor::new(config.clone())));
        self.show_router(scope);
    }

    /// Shows the router who takes part and which devices are linked, and again if it has no room for it.
    pub(super) fn show_router(&mut self, scope: &mut Scope<'_, Self>) {
        let Some(standing) = &self.standing else { return };
        let members = Membership::of(standing, self.config.identity.account_id(), self.leaving);
        let linked = self.linked.clone();
        if !self.tell_router(RouterMessage::Overview { members, linked }) {
            self.show_router_later(scope);
        }
    }

    fn show_router_later(&mut self, scope: &mut Scope<'_, Self>) {
        if self.router.is_none() || std::mem::replace(&mut self.showing_router, true) {
            return;
        }
        scope.after(SHOW_AGAIN, |conversation, scope| {
            conversation.showing_router = false;
            conversation.show_router(scope);
        });
    }

    /// Whether the router takes it; false also when there is none.
    pub(super) fn tell_router(&self, message: RouterMessage) -> bool {
        let Some(router) = &self.router else { return false };
        let told = router.try_send(message);
        if let Err(error) = &told {
            tracing::debug!(%error, "a router was not told something");
        }
        told.is_ok()
    }

    pub(super) fn router_told(&mut self, told: RouterTold, scope: &mut Scope<'_, Self>) {
        match told {
            RouterTold::Started => {
                self.show_router(scope);
                let head = self.standing.as_ref().map(|standing| standing.head);
                // One that was made anew does not know what the one before had yet to tell.
                if let Some(commit) = head.filter(|_| std::mem::replace(&mut self.router_began, true)) {
                    self.tell_router(RouterMessage::Head(Head { commit, source: None }));
                }
            }
            RouterTold::Seek(members) => self.tell(ConversationTold::Sought(members), scope),
        }
    }

    /// A link to a member's device has changed.
    pub(super) fn link(
        &mut self,
        device: DeviceId,
        account: AccountId,
        state: LinkState,
        scope: &mut Scope<'_, Self>,
    ) {
        let before = self.linked.get(&device).map(|(_, state)| *state);
        if state == LinkState::Legacy && before != Some(LinkState::Legacy) {
            self.look_again(device, account, 0, scope);
        }
        if state == LinkState::Down {
            self.linked.remove(&device);
            self.look_no_more(device, scope);
            if let Some(Some(planned)) = self.unsettled.remove(&device) {
                scope.cancel(planned);
            }
        } else if self.linked.insert(device, (account, state)).is_none() {
            // Whatever hindered it before may have ended with the link before.
            self.forgive(device);
        }
        if !self.tell_router(RouterMessage::Link { device, account, state }) {
            self.show_router_later(scope);
        }
    }

    /// A device asks for a channel of the overlay; dropping the offer declines it.
    pub(super) fn offered_overlay(&self, offer: ChannelOffer) {
        if !self.leaving && self.may_exchange(offer.account, offer.device) {
            self.tell_router(RouterMessage::Offer(offer));
        }
    }

    /// A device says that it has a commit.
    pub(super) fn heard_head(&self, device: DeviceId, commit: CommitId) {
        self.tell_router(RouterMessage::Heard { device, commit });
    }

    pub(super) fn routes(
        &self,
        reply: Reply<Result<RoutesView, ConversationError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(router) = self.router.clone() else {
            return reply.send(Err(ConversationError::NotReady));
        };
        let ask = async move { router.ask(ASK, RouterMessage::Routes).await };
        scope.spawn_background(ask, |_, routes, _| {
            reply.send(routes.map_err(|error| ConversationError::NoRouter(error.to_string())));
        });
    }
}
