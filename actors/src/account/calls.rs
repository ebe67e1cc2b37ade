//! The calls of an account: what they need of it, and what it writes down of them.

use std::sync::Arc;

use skep_protocol::identity::DeviceIdentity;
use skep_protocol::ids::AccountId;
use skep_protocol::swarm::message::CallRecord;

use super::actor::{ASK, AccountActor};
use super::messages::AccountMessage;
use crate::blocking::Share;
use crate::call::messages::{CallsMessage, CallsTold};
use crate::call::{CallsActor, CallsConfig, IcePaths};
use crate::directory::messages::DirectoryMessage;
use crate::peer::messages::LinksMessage;
use crate::supervision::{ChildSpec, Port, Scope};
use crate::swarm::messages::{ConversationMessage, Outgoing};

impl AccountActor {
    pub(super) fn start_calls(
        &self,
        identity: &Arc<DeviceIdentity>,
        name: &str,
        links: &Port<LinksMessage>,
        directory: &Port<DirectoryMessage>,
        scope: &mut Scope<'_, Self>,
    ) -> Port<CallsMessage> {
        let config = CallsConfig {
            local: self.config.local,
            account: identity.account_id(),
            device: identity.key().public().device_short_id(),
            device_id: identity.device_id(),
            name: name.to_owned(),
            paths: Arc::new(IcePaths(self.config.gather)),
            media: Arc::clone(&self.config.media),
            links: links.clone(),
            directory: directory.clone(),
            pool: self.config.pool.clone(),
            // One of their own: no call waits for messages, nor they for it.
            share: Share(self.share().0.rotate_left(16)),
            events: self.config.events.clone(),
            told: scope.port().outlet(AccountMessage::Calls),
        };
        scope.start_child(ChildSpec::new("calls"), move || CallsActor::new(config.clone()))
    }

    pub(super) fn calls_told(&mut self, told: CallsTold, scope: &mut Scope<'_, Self>) {
        match told {
            CallsTold::Record { peer, record } => self.write_call(peer, record, scope),
            CallsTold::Heard(event) => self.link(event, scope),
        }
    }

    /// Writes a call that is over into the conversation with whom was called, if there is one.
    fn write_call(&self, peer: AccountId, record: CallRecord, scope: &mut Scope<'_, Self>) {
        let Some(running) = &self.running else { return };
        let conversation = running.state.contacts.get(peer).and_then(|contact| contact.conversation);
        let room = conversation.and_then(|id| running.conversations.get(&id)).filter(|room| room.ready);
        let Some(port) = room.map(|room| room.port.clone()) else { return };
        let write = async move {
            let message = Outgoing::Call(record);
            port.ask(ASK, |reply| ConversationMessage::Send { message, reply }).await
        };
        scope.spawn(write, |_, written, _| {
            if !matches!(written, Ok(Ok(_))) {
                tracing::warn!(?written, "a call was not written into its conversation");
            }
        });
    }

    pub(super) fn tell_calls(&self, message: CallsMessage) {
        let Some(running) = &self.running else { return };
        if let Err(error) = running.calls.try_send(message) {
            tracing::debug!(%error, "the calls were not told something");
        }
    }
}
