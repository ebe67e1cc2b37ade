//! Serving our history over git channels: to whom, and to how many at once.

use skep_protocol::ids::{AccountId, DeviceId};
use tokio::sync::watch;
use tokio::time::Instant;

use super::ConversationActor;
use crate::peer::messages::ChannelOffer;
use crate::supervision::Scope;
use crate::swarm::exchange::serve;
use crate::swarm::messages::ConversationMessage;

/// Channels served at once. Peers keep them open between fetches; when there is no place left, the one over
/// which nothing was asked for longest makes room, and its peer opens another one when it needs it.
const MAX_SERVED: usize = 64;

/// Channels served at once to one person, who has a handful of devices.
pub(super) const MAX_SERVED_EACH: usize = 16;

/// A channel that is served.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) account: AccountId,
    pub(super) device: DeviceId,
    /// Since when nothing is asked for over it; none while something is.
    idle: watch::Receiver<Option<Instant>>,
    /// Dropped to end it.
    _stop: watch::Sender<()>,
}

impl ConversationActor {
    /// A device asks for a git channel; dropping the offer declines it.
    pub(super) fn serve(&mut self, offer: ChannelOffer, scope: &mut Scope<'_, Self>) {
        let (account, device) = (offer.account, offer.device);
        let may = self.may_exchange(account, device);
        let Some(replica) = self.replica.clone().filter(|_| may && self.make_room_for(account)) else {
            tracing::debug!(device = %offer.device.short(), "a git channel was declined");
            return;
        };
        let number = self.next_served;
        self.next_served += 1;
        let ((stop, mut stopped), (waits, idle)) = (watch::channel(()), watch::channel(None));
        self.served.insert(number, Serving { account, device, idle, _stop: stop });
        let (pool, share) = (self.config.pool.clone(), self.config.share);
        let told = scope.port().outlet(move |served| ConversationMessage::Served { account, device, served });
        let served = async move {
            tokio::select! {
                () = serve(offer, replica, pool, share, told, waits) => {}
                _ = stopped.changed() => {}
            }
        };
        scope.spawn_background(served, move |conversation, (), _| {
            conversation.served.remove(&number);
        });
    }

    /// Whether somebody may be served once more. If need be, a channel is closed over which nothing is asked
    /// for: one of theirs if they have many, else anybody's.
    fn make_room_for(&mut self, account: AccountId) -> bool {
        let each = self.served.values().filter(|serving| serving.account == account).count();
        let has_many = each >= MAX_SERVED_EACH;
        if !has_many && self.served.len() < MAX_SERVED {
            return true;
        }
        let candidates = self.served.iter().filter(|(_, serving)| !has_many || serving.account == account);
        let idle = candidates.filter_map(|(number, serving)| Some(((*serving.idle.borrow())?, *number)));
        let longest = idle.min().map(|(_, number)| number);
        longest.is_some_and(|number| self.served.remove(&number).is_some())
    }
}
