//! The files of an account: what they have to know of its conversations and links.

use std::collections::BTreeSet;
use std::sync::Arc;

use skep_protocol::identity::DeviceIdentity;
use skep_protocol::ids::{AccountId, ConversationId, DeviceId};
use skep_protocol::transfer::TransferName;

use super::actor::AccountActor;
use super::messages::AccountMessage;
use crate::blocking::Share;
use crate::peer::messages::{ChannelOffer, LinksMessage};
use crate::supervision::{ChildSpec, Port, Scope};
use crate::swarm::messages::ConversationMessage;
use crate::transfer::messages::{TransfersMessage, TransfersTold};
use crate::transfer::{TransfersActor, TransfersConfig};

/// Room in the mailbox of the files: at the start they hear of every conversation and link.
const CAPACITY: usize = 4096;

impl AccountActor {
    pub(super) fn start_transfers(
        &self,
        identity: &Arc<DeviceIdentity>,
        links: &Port<LinksMessage>,
        scope: &mut Scope<'_, Self>,
    ) -> Port<TransfersMessage> {
        let config = TransfersConfig {
            local: self.config.local,
            account: identity.account_id(),
            device: identity.device_id(),
            data: self.config.folder.join("conversation_data"),
            wishes_file: self.config.folder.join("wantedFiles"),
            limits: self.config.files,
            links: links.clone(),
            pool: self.config.pool.clone(),
            // One of their own: no message waits for more than one job of theirs.
            share: Share(!self.share().0),
            events: self.config.events.clone(),
            told: scope.port().outlet(AccountMessage::Transfers),
        };
        let spec = ChildSpec::new("transfers").capacity(CAPACITY);
        scope.start_child(spec, move || TransfersActor::new(config.clone()))
    }

    pub(super) fn transfers_told(&mut self, told: TransfersTold, scope: &mut Scope<'_, Self>) {
        match told {
            TransfersTold::Started => {
                let Some(running) = &self.running else { return };
                for (id, room) in running.conversations.iter().filter(|(_, room)| room.ready) {
                    self.show_room(*id, room.port.clone(), room.members.clone());
                }
                for (device, account) in &running.up {
                    self.tell_transfers(link(*device, *account, true));
                }
            }
            TransfersTold::Seek(members) => self.seek_members(&members, scope),
        }
    }

    /// Shows the files a conversation that is here, or whose members have changed.
    pub(super) fn show_room(
        &self,
        conversation: ConversationId,
        port: Port<ConversationMessage>,
        members: BTreeSet<AccountId>,
    ) {
        self.tell_transfers(TransfersMessage::Room { conversation, port, members });
    }

    /// Shows the files that a link has come up, or ended.
    pub(super) fn show_transfers_link(&self, device: DeviceId, account: AccountId, up: bool) {
        self.tell_transfers(link(device, account, up));
    }

    pub(super) fn hide_room(&self, conversation: ConversationId) {
        self.tell_transfers(TransfersMessage::RoomGone(conversation));
    }

    /// Hands on a channel that is about a file; dropping the offer declines it.
    pub(super) fn offer_transfer(&self, offer: ChannelOffer, path: &str) {
        match TransferName::parse(path) {
            Ok(TransferName::File(request)) => {
                self.tell_transfers(TransfersMessage::Serve(offer, request));
            }
            Ok(_) => self.offer_profile(offer, path),
            Err(error) => tracing::debug!(name = offer.name, %error, "a channel was declined"),
        }
    }

    fn tell_transfers(&self, message: TransfersMessage) {
        let Some(running) = &self.running else { return };
        if let Err(error) = running.transfers.try_send(message) {
            tracing::debug!(%error, "the files were not told something");
        }
    }
}

const fn link(device: DeviceId, account: AccountId, up: bool) -> TransfersMessage {
    TransfersMessage::Link { device, account, up }
}
