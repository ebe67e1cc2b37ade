//! What an account on a daemon does with its other devices, and with names.

use std::collections::{BTreeMap, HashMap};

use skep::{AccountId, ConversationId, DeviceId};

use super::{Daemon, DaemonAccount, Signal};
use crate::harness::{Failure, Result, check, until};

impl Daemon {
    /// The devices of an account, by their ids, with their names.
    ///
    /// # Errors
    /// [`Failure`] when one of them has no id.
    pub async fn devices(&self, own: &DaemonAccount) -> Result<BTreeMap<DeviceId, String>> {
        let devices: HashMap<String, String> =
            self.bus.call("getKnownRingDevices", &own.local.as_str()).await?;
        let no_id = |_| Failure::Expected(format!("{} to tell the ids of its devices", self.name()));
        devices.into_iter().map(|(id, name)| Ok((id.parse().map_err(no_id)?, name))).collect()
    }

    /// Waits until an account has these devices and no other.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn has_devices(&self, own: &DaemonAccount, wanted: &[DeviceId]) -> Result<()> {
        until(self.name(), format!("the devices {wanted:?}"), async || {
            let known = self.devices(own).await?;
            let all = known.len() == wanted.len() && wanted.iter().all(|device| known.contains_key(device));
            Ok(all.then_some(()))
        })
        .await
    }

    /// Revokes a device of an account without a password. Others hear of it when the daemon starts next.
    ///
    /// # Errors
    /// [`Failure`] when the daemon does not do it.
    pub async fn revoke_device(&self, own: &DaemonAccount, device: DeviceId) -> Result<()> {
        let since = self.events().mark();
        // It answers false though it begins; the signal counts.
        let _: bool = self.bus.call("revokeDevice", &(&own.local, "", device.to_string())).await?;
        let ended = |signal: &Signal| match signal {
            Signal::Revoked { account, device: it, status } if *account == own.local && *it == device => {
                Some(*status)
            }
            _ => None,
        };
        let status = self.events().wait(since, format!("{device} to be revoked"), ended).await?;
        check(status == 0, || format!("{} to revoke {device}, not status {status}", self.name()))
    }

    /// Waits until somebody is a contact of an account, or is not any more.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn knows(&self, own: &DaemonAccount, other: AccountId, wanted: bool) -> Result<()> {
        until(self.name(), format!("{other} to be a contact: {wanted}"), async || {
            Ok((self.contacts(own).await?.contains(&other) == wanted).then_some(()))
        })
        .await
    }

    /// Waits until an account has a conversation, or has it no more.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn has(&self, own: &DaemonAccount, wanted: ConversationId, there: bool) -> Result<()> {
        until(self.name(), format!("conversation {wanted} to be there: {there}"), async || {
            let all: Vec<String> = self.bus.call("getConversations", &own.local.as_str()).await?;
            Ok((all.contains(&wanted.to_string()) == there).then_some(()))
        })
        .await
    }

    /// Has an account ask another name server.
    ///
    /// # Errors
    /// [`Failure::Bus`].
    pub async fn ask_names_at(&self, own: &DaemonAccount, url: &str) -> Result<()> {
        let mut details: HashMap<String, String> =
            self.bus.call("getAccountDetails", &own.local.as_str()).await?;
        details.insert("RingNS.uri".to_owned(), url.to_owned());
        self.bus.call("setAccountDetails", &(&own.local, details)).await
    }

    /// Registers a name for an account without a password.
    ///
    /// # Errors
    /// [`Failure`] when the name server refuses.
    pub async fn register_name(&self, own: &DaemonAccount, name: &str) -> Result<()> {
        let since = self.events().mark();
        let begun: bool = self.bus.call("registerName", &(&own.local, "", name)).await?;
        check(begun, || format!("{} to begin to register {name}", self.name()))?;
        let ended = |signal: &Signal| match signal {
            Signal::NameRegistered { account, name: it, status } if *account == own.local && it == name => {
                Some(*status)
            }
            _ => None,
        };
        let status = self.events().wait(since, format!("{name} to be registered"), ended).await?;
        check(status == 0, || format!("{} to register {name}, not status {status}", self.name()))
    }

    /// Looks up whose a name is; `None` if nobody's.
    ///
    /// # Errors
    /// [`Failure`] when the name server does not answer.
    pub async fn look_up(&self, own: &DaemonAccount, name: &str) -> Result<Option<AccountId>> {
        let since = self.events().mark();
        let begun: bool = self.bus.call("lookupName", &(&own.local, "", name)).await?;
        check(begun, || format!("{} to look up {name}", self.name()))?;
        let found = |signal: &Signal| match signal {
            Signal::NameFound { account, name: it, address, .. } if *account == own.local && it == name => {
                Some(address.clone())
            }
            _ => None,
        };
        let address = self.events().wait(since, format!("whose {name} is"), found).await?;
        Ok(address.parse().ok())
    }

    /// Looks up what somebody is called; empty if nothing.
    ///
    /// # Errors
    /// [`Failure`] when the name server does not answer.
    pub async fn name_of(&self, own: &DaemonAccount, other: AccountId) -> Result<String> {
        let (since, id) = (self.events().mark(), other.to_string());
        let begun: bool = self.bus.call("lookupAddress", &(&own.local, "", &id)).await?;
        check(begun, || format!("{} to look up {id}", self.name()))?;
        let found = |signal: &Signal| match signal {
            Signal::NameFound { account, address, name, .. } if *account == own.local && *address == id => {
                Some(name.clone())
            }
            _ => None,
        };
        self.events().wait(since, format!("what {id} is called"), found).await
    }
}
