//! What follows when devices get links and lose them.

use std::time::Duration;

use skep_protocol::ids::{AccountId, DeviceId};

use super::actor::AccountActor;
use crate::call::messages::CallsMessage;
use crate::event::Event;
use crate::peer::messages::LinkEvent;
use crate::supervision::Scope;
use crate::swarm::messages::ConversationMessage;

/// Pause before a daemon of 2023 is looked at whose link is new: several times what it takes to fetch.
const LOOK_LATER: Duration = Duration::from_secs(2);

impl AccountActor {
    /// Has conversations look for news at a device that has a new link. A daemon of 2023 fetches by itself
    /// now; it is given time for that before it has to serve.
    fn look_when_ready(
        &mut self,
        device: DeviceId,
        account: AccountId,
        may_be_legacy: bool,
        scope: &mut Scope<'_, Self>,
    ) {
        if !may_be_legacy {
            return self.look_at(device, account, scope);
        }
        self.show_link(device, account, scope);
        scope.after(LOOK_LATER, move |actor, scope| {
            if actor.running.as_ref().is_some_and(|running| running.up.contains_key(&device)) {
                actor.look_at(device, account, scope);
            }
        });
    }

    /// Has every conversation shared with a device's owner look for news there.
    pub(super) fn look_at(&mut self, device: DeviceId, account: AccountId, scope: &mut Scope<'_, Self>) {
        self.show_link(device, account, scope);
        let Some(running) = &self.running else { return };
        let own = running.identity.account_id();
        let shared: Vec<_> = running
            .conversations
            .values()
            .filter(|room| room.members.contains(&account) || account == own)
            .map(|room| (room.port.clone(), room.ready))
            .collect();
        let tell = async move {
            for (port, ready) in shared {
                if ready {
                    let _ = port.send(ConversationMessage::Announced { device, account, commit: None }).await;
                } else {
                    // However long it was tried in vain: whoever has just come may have it.
                    let _ = port.send(ConversationMessage::Invited).await;
                    let _ = port.send(ConversationMessage::Clone { devices: vec![device] }).await;
                }
            }
        };
        scope.spawn_background(tell, |_, (), _| ());
    }

    pub(super) fn link(&mut self, event: LinkEvent, scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        match event {
            LinkEvent::Started => self.links_started(scope),
            LinkEvent::Up { device, account, may_be_legacy } => {
                running.up.insert(device, account);
                running.presence.channel_opened(account, device);
                self.own_linked(device, account, scope);
                self.emit(Event::LinkUp { contact: account, device }, scope);
                self.tell_presence(scope);
                self.show_transfers_link(device, account, true);
                self.reach_profile_when_known(device, account, may_be_legacy, scope);
                self.look_when_ready(device, account, may_be_legacy, scope);
                self.invite_connected(device, account, scope);
            }
            LinkEvent::Renewed { device, account, may_be_legacy } => {
                self.show_transfers_link(device, account, true);
                self.reach_profile_when_known(device, account, may_be_legacy, scope);
                self.look_when_ready(device, account, may_be_legacy, scope);
                self.invite_connected(device, account, scope);
            }
            LinkEvent::Down { device, account } => {
                if running.up.remove(&device).is_none() {
                    return;
                }
                running.legacy.remove(&device);
                running.presence.channel_closed(account, device);
                self.push_devices(scope);
                self.show_transfers_link(device, account, false);
                self.unreach_profile(device, account);
                self.show_link(device, account, scope);
                self.emit(Event::LinkDown { contact: account, device }, scope);
                self.tell_presence(scope);
            }
            LinkEvent::Legacy { device, account } => {
                if running.up.contains_key(&device) && running.legacy.insert(device) {
                    self.show_link(device, account, scope);
                    self.reach_profile(device, account, true);
                }
            }
            // Handled when this turn ends, and so are their places free.
            LinkEvent::Notice { device, account, notice, place: _place } => {
                self.notice(device, account, &notice, scope);
            }
            LinkEvent::Sip { line, message, place } => {
                self.tell_calls(CallsMessage::Sip { line, message, place });
            }
            LinkEvent::Offer(offer, _place) => self.offer(offer),
        }
    }

    /// Tells new links what the ones before knew: who may connect, and which devices are there.
    fn links_started(&mut self, scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        let up = std::mem::take(&mut running.up);
        for (device, account) in &up {
            running.presence.channel_closed(*account, *device);
        }
        running.legacy.clear();
        for (device, contact) in up {
            self.show_transfers_link(device, contact, false);
            self.unreach_profile(device, contact);
            self.show_link(device, contact, scope);
            self.emit(Event::LinkDown { contact, device }, scope);
        }
        self.tell_presence(scope);
        self.push_trust(scope);
        self.push_devices(scope);
        self.introduce_own(scope);
        let Some(running) = &self.running else { return };
        let contacts = running.listening.iter().copied();
        let there: Vec<_> = contacts.filter(|it| !running.presence.devices(*it).is_empty()).collect();
        for contact in there {
            self.find_devices(contact, scope);
        }
    }
}
