//! Names of the account and of people it knows: signed with the account's key, and wanted from whoever asks
//! name servers.

use std::collections::BTreeSet;

use skep_protocol::identity::EthereumKey;
use skep_protocol::ids::AccountId;
use skep_protocol::names::{MAX_WANTED, Name, Registration};

use super::AccountActor;
use super::identity::read_archive;
use super::messages::{AccountError, Password};
use crate::blocking::Lane;
use crate::supervision::{Reply, Scope};

impl AccountActor {
    /// Has the names looked up of the people the account knows and did not know before: itself, contacts,
    /// who asks to be one or invites, and members of conversations.
    pub(super) fn want_names(&mut self) {
        let Some(running) = &mut self.running else { return };
        let own = running.identity.account_id();
        let people: BTreeSet<AccountId> =
            [own].into_iter().chain(running.state.people()).take(MAX_WANTED).collect();
        let new: BTreeSet<AccountId> = people.difference(&running.named).copied().collect();
        running.named = people;
        if !new.is_empty() && self.config.names.try_send(new).is_err() {
            tracing::debug!("names are looked up when they are shown");
        }
    }

    /// Signs a name with the key in the archive.
    pub(super) fn sign_name(
        &self,
        name: Name,
        password: Option<Password>,
        reply: Reply<Result<Registration, AccountError>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let (folder, pool, share) = (self.config.folder.clone(), self.config.pool.clone(), self.share());
        let sign = async move {
            let work = move || {
                let (archive, _) = read_archive(&folder, password.as_ref())?;
                let owner = archive.ethereum_key.as_ref().map(EthereumKey::address);
                Registration::sign(name, &archive.account_key, owner)
                    .map_err(|error| AccountError::Archive(error.to_string()))
            };
            pool.run(share, Lane::Bulk, work).await.unwrap_or_else(|error| Err(error.into()))
        };
        scope.spawn(sign, |_, signed, _| reply.send(signed));
    }
}
