//! Single devices of other people that the owner bans: a lost telephone of a friend, say
//! (`spec: contacts 5`).
//!
//! Such a device gets no link and no answer, is told nothing, and is not shown as there. What it writes into
//! conversations still comes by way of others: who may write there is for their members to vote on.

use skep_protocol::contact::BannedDevice;
use skep_protocol::identity::VerifiedChain;
use skep_protocol::ids::{AccountId, DeviceId};

use super::actor::AccountActor;
use super::messages::AccountError;
use super::reach::FIND;
use super::state::Dirty;
use crate::directory::messages::DirectoryMessage;
use crate::supervision::{Reply, Scope};

impl AccountActor {
    /// Bans a device.
    pub(super) fn ban_device(
        &mut self,
        device: DeviceId,
        reply: Reply<Result<(), AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &self.running else { return };
        let own = &running.devices.chains;
        if device == running.identity.device_id() || own.contains_key(&device) {
            return reply.send(Err(AccountError::BanOwnDevice));
        }
        let directory = running.directory.clone();
        // What is kept here needs no DHT, and what the owner asks for does not queue with what strangers cause.
        let find = async move {
            let kept = |reply| DirectoryMessage::Kept { device, reply };
            match directory.ask(FIND, kept).await {
                Ok(Some(chain)) => Ok(Some(chain)),
                _ => {
                    directory.ask(FIND, |reply| DirectoryMessage::Wanted { device, short: None, reply }).await
                }
            }
        };
        scope.spawn_background(find, move |account, chain, scope| match chain {
            Ok(Some(chain)) => account.ban_found(&chain, reply, scope),
            _ => reply.send(Err(AccountError::NoCertificate(device))),
        });
    }

    fn ban_found(
        &mut self,
        chain: &VerifiedChain,
        reply: Reply<Result<(), AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &mut self.running else { return };
        let (account, device) = (chain.account_id(), chain.device_id());
        if account == running.identity.account_id() {
            return reply.send(Err(AccountError::BanOwnDevice));
        }
        let banned = BannedDevice { account, short: chain.device().public_key().device_short_id() };
        if let Err(error) = running.state.banned_devices.ban(device, banned) {
            return reply.send(Err(AccountError::TooMany(error.to_string())));
        }
        running.presence.banned(account, device);
        self.push_trust(scope);
        self.tell_presence(scope);
        self.save(Dirty::CONTACTS, scope, |saved| reply.send(saved));
    }

    /// Lifts the ban of a device.
    pub(super) fn allow_device(
        &mut self,
        device: DeviceId,
        reply: Reply<Result<(), AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &mut self.running else { return };
        let Some(banned) = running.state.banned_devices.allow(device) else {
            return reply.send(Err(AccountError::NotBanned(device)));
        };
        self.push_trust(scope);
        self.introduce_again(banned.account, scope);
        self.save(Dirty::CONTACTS, scope, |saved| reply.send(saved));
    }

    /// Looks for the devices of somebody who is followed, as if they had just been announced.
    fn introduce_again(&mut self, account: AccountId, scope: &mut Scope<'_, Self>) {
        let Some(running) = &self.running else { return };
        let directory = running.directory.clone();
        let find = async move {
            let ask = |reply| DirectoryMessage::Devices { account, reply };
            directory.ask(FIND, ask).await.unwrap_or_default()
        };
        scope.spawn_background(find, move |actor, devices, scope| actor.introduced(account, devices, scope));
    }
}
