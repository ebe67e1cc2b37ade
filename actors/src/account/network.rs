//! What happens when this machine gets another network (`spec: drt 7`).

use super::actor::AccountActor;
use crate::interfaces::Interfaces;
use crate::peer::messages::LinksMessage;
use crate::supervision::Scope;
use crate::swarm::messages::ConversationMessage;

impl AccountActor {
    /// Looks at the addresses of this machine from now on.
    pub(super) fn watch_network(&self, mut interfaces: Interfaces, scope: &mut Scope<'_, Self>) {
        let pause = interfaces.next_deadline().since(scope.now());
        scope.after(pause, move |account, scope| {
            if interfaces.have_grown(scope.now()) {
                account.network_changed(scope);
            }
            account.watch_network(interfaces, scope);
        });
    }

    /// Links have to prove themselves, and who could not be reached is tried anew.
    fn network_changed(&self, scope: &mut Scope<'_, Self>) {
        tracing::info!("this machine has another address; whoever could not be reached is tried anew");
        let Some(running) = &self.running else { return };
        let links = running.links.clone();
        let rooms: Vec<_> = running.conversations.values().map(|room| room.port.clone()).collect();
        let tell = async move {
            let _ = links.send(LinksMessage::NetworkChanged).await;
            for room in rooms {
                let _ = room.send(ConversationMessage::NetworkChanged).await;
            }
        };
        scope.spawn_background(tell, |_, (), _| ());
    }
}
