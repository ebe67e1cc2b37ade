//! What is told of an account: itself, its contacts, requests, conversations and links.

use futures::future::join_all;
use skep_protocol::contact::{PresenceState, Standing};
use skep_protocol::ids::{AccountId, ConversationId};
use skep_protocol::profile::shown_name;
use skep_protocol::swarm::message::Mode;
use skep_protocol::sync::ConversationRequest;

use super::AccountActor;
use super::actor::ASK;
use super::messages::{AccountError, AccountView, ContactDeviceView, ContactView, LinkView, RequestView};
use crate::peer::messages::LinksMessage;
use crate::supervision::{Reply, Scope};
use crate::swarm::messages::{ConversationMessage, ConversationView};
use crate::swarm::mode_word;

impl AccountActor {
    pub(super) fn describe(&self) -> Option<AccountView> {
        let running = self.running.as_ref()?;
        Some(AccountView {
            local: self.config.local,
            id: running.identity.account_id(),
            device: running.identity.device_id(),
            name: running.state.name.clone(),
            protected: running.protected,
            announced: running.announced,
            revoked: running.revoked,
            contacts: running.state.contacts.active().count(),
            requests: running.state.pending.iter().count() + running.state.requests.waiting().count(),
            conversations: running.conversations.len(),
            links: running.up.len(),
            read_receipts: running.state.settings.read_receipts,
            typing: running.state.settings.typing,
        })
    }

    pub(super) fn contacts(&self) -> Vec<ContactView> {
        let Some(running) = &self.running else { return Vec::new() };
        let view = |(id, contact): (AccountId, &skep_protocol::contact::Contact)| ContactView {
            id,
            state: match running.state.contacts.standing(id) {
                Standing::Active { .. } => "active",
                Standing::Banned => "banned",
                _ => "removed",
            }
            .to_owned(),
            confirmed: contact.confirmed,
            online: running.presence.state(id) != PresenceState::Offline,
            connected: running.up.values().any(|account| *account == id),
            devices: running
                .presence
                .devices(id)
                .into_iter()
                .map(|(id, state)| ContactDeviceView { id, connected: state == PresenceState::Connected })
                .collect(),
            banned_devices: running.state.banned_devices.of(id).collect(),
            added: contact.added,
            conversation: contact.conversation,
        };
        running.state.contacts.iter().map(view).collect()
    }

    pub(super) fn requests(&self) -> Vec<RequestView> {
        let Some(running) = &self.running else { return Vec::new() };
        let view = |(from, request): (AccountId, &skep_protocol::contact::PendingRequest)| RequestView {
            from,
            name: super::requests::name_in(&request.payload),
            received: request.received,
            conversation: request.conversation,
            mode: mode_word(Mode::OneToOne).to_owned(),
            title: String::new(),
            description: String::new(),
            invitation: false,
        };
        let invitation = |(id, request): (ConversationId, &ConversationRequest)| {
            let text = |key| request.metadata.get(key).map(|text| shown_name(text)).unwrap_or_default();
            RequestView {
                from: request.from,
                name: String::new(),
                received: request.received,
                conversation: Some(id),
                mode: mode_word(request.mode()).to_owned(),
                title: text("title"),
                description: text("description"),
                invitation: true,
            }
        };
        let invitations = running.state.requests.waiting().map(invitation);
        running.state.pending.iter().map(view).chain(invitations).collect()
    }

    pub(super) fn list_conversations(
        &mut self,
        reply: Reply<Result<Vec<ConversationView>, AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &self.running else { return };
        let ports: Vec<_> = running.conversations.iter().map(|(id, room)| (*id, room.port.clone())).collect();
        let failed =
            running.failed.iter().map(|(id, reason)| ConversationView::silent(*id, "failed", reason.clone()));
        let returning = running.erasing.iter().filter(|id| running.is_returning(**id)).map(|id| {
            let problem = AccountError::ConversationReturning(*id).to_string();
            ConversationView::silent(*id, "fetching", problem)
        });
        let absent: Vec<_> = failed.chain(returning).collect();
        let ask = async move {
            let views = ports.iter().map(async |(id, port)| {
                let view = port.ask(ASK, ConversationMessage::Describe).await;
                view.unwrap_or_else(|error| ConversationView::silent(*id, "busy", error.to_string()))
            });
            join_all(views).await.into_iter().chain(absent).collect()
        };
        scope.spawn(ask, |_, views: Vec<_>, _| reply.send(Ok(views)));
    }

    pub(super) fn list_links(
        &mut self,
        reply: Reply<Result<Vec<LinkView>, AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &self.running else { return };
        let links = running.links.clone();
        let ask = async move { links.ask(ASK, LinksMessage::List).await };
        scope.spawn(ask, |_, views, _| {
            reply.send(views.map_err(|error| AccountError::Busy(error.to_string())));
        });
    }
}
