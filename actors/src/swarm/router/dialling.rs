//! Asking devices for channels. Those with a link are asked over it; those that were only heard of
//! are looked for first, and are asked if they belong to a member.

use std::time::Duration;

use skep_protocol::drt::router::Event;
use skep_protocol::identity::VerifiedChain;
use skep_protocol::ids::DeviceId;
use skep_protocol::link::channel_name::ChannelName;

use super::actor::RouterActor;
use super::messages::RouterTold;
use super::overlay::Request;
use crate::directory::messages::DirectoryMessage;
use crate::peer::messages::{Channel, ChannelOffer, LinkError, LinksMessage};
use crate::supervision::Scope;
use crate::swarm::messages::ConversationMessage;

/// How long opening a channel may take: a new link over the DHT, and the TLS handshake.
const OPEN: Duration = Duration::from_secs(60);

/// How long finding the certificate of a device may take.
const FIND: Duration = Duration::from_secs(40);

impl RouterActor {
    /// Asks a device for a channel. The answer to that, if it is known at once.
    pub(super) fn request(
        &mut self,
        device: DeviceId,
        new_socket: bool,
        scope: &mut Scope<'_, Self>,
    ) -> Option<Event> {
        match self.overlay.request(device, new_socket) {
            Request::Open => self.open(device, None, scope),
            Request::Search => self.search(device, scope),
            Request::Fail => return Some(Event::ChannelFailed(device)),
        }
        None
    }

    /// Looks for a device that was only heard of.
    fn search(&mut self, device: DeviceId, scope: &mut Scope<'_, Self>) {
        let directory = self.config.directory.clone();
        let find = async move {
            let ask = |reply| DirectoryMessage::Device { device, short: None, reply };
            directory.ask(FIND, ask).await.ok().flatten()
        };
        scope.spawn_background(find, move |router, chain: Option<VerifiedChain>, scope| match chain {
            Some(chain) if router.overlay.admits(chain.account_id(), device) => {
                router.open(device, Some(chain), scope);
            }
            // Whoever told us of it is mistaken, or has not heard that its owner has gone.
            Some(_) => router.happen(Event::Removed(vec![device]), scope),
            None => router.happen(Event::ChannelFailed(device), scope),
        });
    }

    /// Opens a channel to a device, which is introduced to the links first if they may not know it.
    fn open(&mut self, device: DeviceId, chain: Option<VerifiedChain>, scope: &mut Scope<'_, Self>) {
        let (links, name) =
            (self.config.links.clone(), ChannelName::Swarm { conversation: self.config.id }.to_string());
        let open = async move {
            if let Some(chain) = chain {
                let present = LinksMessage::Present { account: chain.account_id(), devices: vec![chain] };
                links.send(present).await.map_err(|_| LinkError::Lost(device))?;
            }
            let open = |reply| LinksMessage::Open { device, name, deadline: OPEN, reply };
            // A little longer, so that the links tell the reason.
            let opened = links.ask(OPEN + Duration::from_secs(5), open).await;
            opened.unwrap_or(Err(LinkError::Lost(device)))
        };
        scope.spawn_background(open, move |router, opened, scope| match opened {
            Ok(channel) => router.channel_opened(channel, false, scope),
            Err(error) => router.not_opened(device, &error, scope),
        });
    }

    fn not_opened(&mut self, device: DeviceId, error: &LinkError, scope: &mut Scope<'_, Self>) {
        tracing::debug!(device = %device.short(), %error, "no swarm channel");
        let declined = matches!(error, LinkError::Declined { .. });
        if declined {
            self.overlay.declined(device);
        }
        self.happen(Event::ChannelFailed(device), scope);
        if declined {
            self.tell(scope);
        }
    }

    /// A member's device asks for a channel; whoever is not to have one is declined.
    pub(super) fn offered(&mut self, offer: ChannelOffer, scope: &mut Scope<'_, Self>) {
        if !self.overlay.admits(offer.account, offer.device) {
            return;
        }
        scope.spawn_background(offer.accept(), |router, accepted, scope| {
            if let Ok(channel) = accepted {
                router.channel_opened(channel, true, scope);
            }
        });
    }

    fn channel_opened(&mut self, channel: Channel, incoming: bool, scope: &mut Scope<'_, Self>) {
        let (device, account) = (channel.device, channel.account);
        if !self.overlay.admits(account, device) {
            if !incoming {
                self.happen(Event::ChannelFailed(device), scope);
            }
            return;
        }
        let number = self.add_channel(channel, scope);
        let event = self.overlay.opened(number, device, account, incoming);
        self.happen(event, scope);
    }

    /// Nobody is connected: has the devices of some members looked for.
    pub(super) fn seek(&mut self, scope: &mut Scope<'_, Self>) {
        let sought = self.overlay.seek(scope.now());
        if !sought.is_empty() {
            self.told(RouterTold::Seek(sought), scope);
        }
    }

    pub(super) fn told(&self, told: RouterTold, scope: &mut Scope<'_, Self>) {
        let conversation = self.config.conversation.clone();
        let tell = async move { conversation.send(ConversationMessage::Router(told)).await };
        scope.spawn_background(tell, |_, _, _| ());
    }
}
