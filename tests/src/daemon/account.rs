//! What an account on a daemon does.
//!
//! Scenarios make every text and every conversation unique, so signals are looked for from the
//! beginning; where the same can happen twice, wait on [`Daemon::events`] after a mark.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Instant;

use skep::{AccountId, CommitId, ConversationId};

use super::{Daemon, JOINED, Signal};
use crate::harness::{Failure, HUB, Mark, Newcomer, Result, check, until};

/// An account on a daemon.
#[derive(Clone, Debug)]
pub struct DaemonAccount {
    /// What the daemon calls it.
    pub local: String,
    /// What others call it.
    pub id: AccountId,
}

/// What a text is to another message, numbered as the daemon does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// An answer; without a message to answer, a text.
    Reply = 0,
    /// The new text of it.
    Edit = 1,
    /// A reaction to it.
    Reaction = 2,
}

/// The details of an account, by their names.
type Details = HashMap<String, String>;

impl Daemon {
    /// Makes an account, and waits until others can find it.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be made.
    pub async fn create_account(&self, name: &str, password: Option<&str>) -> Result<DaemonAccount> {
        self.add_account(name, &[("Account.archivePassword", password.unwrap_or_default())]).await
    }

    /// Opens the account in an archive, and waits until others can find it.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be opened.
    pub async fn import_account(
        &self,
        name: &str,
        archive: &Path,
        password: Option<&str>,
    ) -> Result<DaemonAccount> {
        let archive = archive.display().to_string();
        let given =
            [("Account.archivePath", &*archive), ("Account.archivePassword", password.unwrap_or_default())];
        self.add_account(name, &given).await
    }

    /// Opens the account of a newcomer, which is much quicker than making one.
    ///
    /// # Errors
    /// [`Failure`] when there is no such newcomer, or it cannot be opened.
    pub async fn arrive(&self, newcomer: &Newcomer) -> Result<DaemonAccount> {
        let file = self.folder().join("newcomer.gz");
        std::fs::write(&file, newcomer.archive()?).map_err(Failure::file(&file))?;
        self.import_account(newcomer.name(), &file, None).await
    }

    async fn add_account(&self, name: &str, given: &[(&str, &str)]) -> Result<DaemonAccount> {
        let mut details: Details = self.bus.call("getAccountTemplate", &"RING").await?;
        let settings = settings(name, self.bootstrap());
        details.extend(settings.iter().chain(given).map(|(key, value)| ((*key).into(), (*value).into())));
        details.insert("RingNS.uri".to_owned(), format!("http://{HUB}:9"));
        let since = self.events().mark();
        let local: String = self.bus.call("addAccount", &(details,)).await?;
        self.announced(&local, since).await?;
        let details: Details = self.bus.call("getAccountDetails", &local.as_str()).await?;
        let user = details.get("Account.username").map(String::as_str).unwrap_or_default();
        let id = user.trim_start_matches("ring:").trim_start_matches("jami:").parse();
        let id = id.map_err(|_| Failure::Expected(format!("{} to tell an id, not {user:?}", self.name())))?;
        Ok(DaemonAccount { local, id })
    }

    /// Waits until others can find the account, by its local name.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn announced(&self, account: &str, since: Mark) -> Result<()> {
        let announced = |signal: &Signal| {
            matches!(signal, Signal::Announced { account: it } if it == account).then_some(())
        };
        self.events().wait(since, "its account to be announced", announced).await
    }

    /// Writes the account's archive to a file, protected as the account is.
    ///
    /// # Errors
    /// [`Failure`] when the password is wrong or the file cannot be written.
    pub async fn export_account(
        &self,
        own: &DaemonAccount,
        file: &Path,
        password: Option<&str>,
    ) -> Result<()> {
        let (file, password) = (file.display().to_string(), password.unwrap_or_default());
        // Later versions want to know how it is protected.
        let exported: bool = if self.bus.arguments("exportToFile") > 3 {
            let scheme = if password.is_empty() { "" } else { "password" };
            self.bus.call("exportToFile", &(&own.local, file, scheme, password)).await?
        } else {
            self.bus.call("exportToFile", &(&own.local, file, password)).await?
        };
        check(exported, || format!("{} to export its account", self.name()))
    }

    /// Makes a device of the account that another device has put on the DHT under a PIN, and waits until
    /// others can find it.
    ///
    /// # Errors
    /// [`Failure`] when it is not found or cannot be opened.
    pub async fn link_by_pin(&self, name: &str, pin: &str, password: Option<&str>) -> Result<DaemonAccount> {
        let given = [("Account.archivePIN", pin), ("Account.archivePassword", password.unwrap_or_default())];
        self.add_account(name, &given).await
    }

    /// Puts the account's archive on the DHT, and returns the PIN.
    ///
    /// # Errors
    /// [`Failure`] when the password is wrong or the network is not reached.
    pub async fn export_under_pin(&self, own: &DaemonAccount, password: Option<&str>) -> Result<String> {
        let since = self.events().mark();
        let arguments = (&own.local, password.unwrap_or_default());
        let begun: bool = self.bus.call("exportOnRing", &arguments).await?;
        check(begun, || format!("{} to begin to export its account", self.name()))?;
        let ended = |signal: &Signal| match signal {
            Signal::Exported { account, status, pin } if *account == own.local => {
                Some((*status, pin.clone()))
            }
            _ => None,
        };
        let (status, pin) = self.events().wait(since, "a PIN", ended).await?;
        check(status == 0, || format!("{} to export its account, not status {status}", self.name()))?;
        Ok(pin)
    }

    /// What the daemon finds wrong with the certificates of a device whose authority it is given: names of
    /// checks, in order. How the files are protected is left out.
    ///
    /// # Errors
    /// [`Failure::Bus`], also when they are not certificates.
    pub async fn certificate_faults(
        &self,
        own: &DaemonAccount,
        chain: &Path,
        key: &Path,
        authority: &Path,
    ) -> Result<Vec<String>> {
        let [chain, key, authority] = [chain, key, authority].map(|path| path.display().to_string());
        let no_password = "";
        let arguments = (&own.local, chain, key, no_password, authority);
        let checks: BTreeMap<String, String> = self.bus.call("validateCertificatePath", &arguments).await?;
        check(!checks.is_empty(), || format!("{} to check something", self.name()))?;
        let about_files = |name: &str| name.contains("PERMISSION") || name.contains("STORAGE");
        let faults = checks.into_iter().filter(|(name, result)| result == "FAILED" && !about_files(name));
        Ok(faults.map(|(name, _)| name).collect())
    }

    /// The folder in which it keeps an account: `ring_device.crt`, `ring_device.key` and the rest.
    #[must_use]
    pub fn account_folder(&self, own: &DaemonAccount) -> PathBuf {
        self.accounts().join(&own.local)
    }

    /// Has the daemon follow whether somebody is there.
    ///
    /// # Errors
    /// [`Failure::Bus`].
    pub async fn follow(&self, own: &DaemonAccount, person: AccountId) -> Result<()> {
        self.bus.call_presence("subscribeBuddy", &(&own.local, person.to_string(), true)).await
    }

    /// Whether somebody who is followed is there, as the daemon sees it.
    ///
    /// # Errors
    /// [`Failure::Bus`].
    pub async fn sees_online(&self, own: &DaemonAccount, person: AccountId) -> Result<bool> {
        let followed: Vec<BTreeMap<String, String>> =
            self.bus.call_presence("getSubscriptions", &own.local.as_str()).await?;
        let is_it = |buddy: &&BTreeMap<String, String>| {
            buddy.get("Buddy").is_some_and(|uri| uri.ends_with(&person.to_string()))
        };
        let found = followed.iter().find(is_it);
        Ok(found.and_then(|buddy| buddy.get("Status")).is_some_and(|status| status == "Online"))
    }

    /// Adds a contact and asks it, without a profile.
    ///
    /// # Errors
    /// [`Failure::Bus`].
    pub async fn add_contact(&self, own: &DaemonAccount, contact: AccountId) -> Result<()> {
        self.add_contact_showing(own, contact, "").await
    }

    /// Adds a contact and asks it, showing it a profile: a vCard.
    ///
    /// # Errors
    /// [`Failure::Bus`].
    pub async fn add_contact_showing(
        &self,
        own: &DaemonAccount,
        contact: AccountId,
        profile: &str,
    ) -> Result<()> {
        let contact = contact.to_string();
        self.bus.call::<_, ()>("addContact", &(&own.local, &contact)).await?;
        self.bus.call("sendTrustRequest", &(&own.local, &contact, profile.as_bytes())).await
    }

    /// The contacts of an account.
    ///
    /// # Errors
    /// [`Failure`] when one of them has no id.
    pub async fn contacts(&self, own: &DaemonAccount) -> Result<Vec<AccountId>> {
        let contacts: Vec<Details> = self.bus.call("getContacts", &own.local.as_str()).await?;
        let id = |contact: &Details| contact.get("id").and_then(|id| id.parse().ok());
        let no_id = || Failure::Expected(format!("{} to tell the ids of its contacts", self.name()));
        contacts.iter().map(|contact| id(contact).ok_or_else(no_id)).collect()
    }

    /// Removes a contact; the conversation with it goes too, unless it is banned.
    ///
    /// # Errors
    /// [`Failure::Bus`].
    pub async fn remove_contact(&self, own: &DaemonAccount, contact: AccountId, ban: bool) -> Result<()> {
        self.bus.call("removeContact", &(&own.local, contact.to_string(), ban)).await
    }

    /// Waits until somebody asked, and returns the conversation made for it.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn request(&self, own: &DaemonAccount, sender: AccountId) -> Result<ConversationId> {
        self.request_after(Mark::BEGINNING, own, sender).await
    }

    /// As [`Self::request`], where somebody asked before.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn request_after(
        &self,
        since: Mark,
        own: &DaemonAccount,
        sender: AccountId,
    ) -> Result<ConversationId> {
        let asked = |signal: &Signal| match signal {
            Signal::TrustRequest { account, conversation, from, .. }
                if *account == own.local && *from == sender =>
            {
                Some(*conversation)
            }
            _ => None,
        };
        let wanted = format!("a request from {sender}");
        let conversation = self.events().wait(since, wanted, asked).await?;
        // Accepted before this, the conversation would never be cloned.
        let noted = |signal: &Signal| {
            let Signal::ConversationRequest { account, conversation: asked } = signal else { return None };
            (*account == own.local && *asked == conversation).then_some(())
        };
        self.events().wait(since, "a conversation request", noted).await?;
        Ok(conversation)
    }

    /// Accepts what was asked; does not wait for the conversation.
    ///
    /// # Errors
    /// [`Failure`] when nobody asked.
    pub async fn accept(&self, own: &DaemonAccount, from: AccountId) -> Result<()> {
        let accepted: bool = self.bus.call("acceptTrustRequest", &(&own.local, from.to_string())).await?;
        check(accepted, || format!("{} to accept {from}", self.name()))
    }

    /// Declines what was asked.
    ///
    /// # Errors
    /// [`Failure`] when nobody asked.
    pub async fn decline(&self, own: &DaemonAccount, from: AccountId) -> Result<()> {
        let declined: bool = self.bus.call("discardTrustRequest", &(&own.local, from.to_string())).await?;
        check(declined, || format!("{} to decline {from}", self.name()))
    }

    /// Waits until the conversation can be used, and tells since when.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn ready(&self, own: &DaemonAccount, wanted: ConversationId) -> Result<Instant> {
        let ready = |signal: &Signal| {
            let Signal::Ready { account, conversation } = signal else { return None };
            (*account == own.local && *conversation == wanted).then_some(())
        };
        let expected = format!("conversation {wanted} to be ready");
        Ok(self.events().arrival(Mark::BEGINNING, expected, ready).await?.0)
    }

    /// Waits until `who` has joined the conversation.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn joined(&self, own: &DaemonAccount, wanted: ConversationId, who: AccountId) -> Result<()> {
        let joined = |signal: &Signal| match signal {
            Signal::Member { account, conversation, member, event: JOINED }
                if *account == own.local && *conversation == wanted && *member == who =>
            {
                Some(())
            }
            _ => None,
        };
        self.events().wait(Mark::BEGINNING, format!("{who} to join"), joined).await
    }

    /// Asks somebody on another daemon, who accepts: both have the conversation afterwards.
    ///
    /// # Errors
    /// [`Failure`] when anything of it does not happen.
    pub async fn befriend(
        &self,
        own: &DaemonAccount,
        other: &Self,
        others: &DaemonAccount,
    ) -> Result<ConversationId> {
        self.add_contact(own, others.id).await?;
        let conversation = other.request(others, own.id).await?;
        other.accept(others, own.id).await?;
        other.ready(others, conversation).await?;
        self.joined(own, conversation, others.id).await?;
        Ok(conversation)
    }

    /// Sends a text.
    ///
    /// # Errors
    /// [`Failure::Bus`].
    pub async fn send(&self, own: &DaemonAccount, conversation: ConversationId, text: &str) -> Result<()> {
        self.upon(own, conversation, Relation::Reply, "", text).await
    }

    /// Answers a message, edits it or reacts to it. A message that is edited to nothing is deleted.
    ///
    /// # Errors
    /// [`Failure::Bus`].
    pub async fn upon(
        &self,
        own: &DaemonAccount,
        conversation: ConversationId,
        relation: Relation,
        message: &str,
        text: &str,
    ) -> Result<()> {
        let (conversation, flag) = (conversation.to_string(), relation as i32);
        // Earlier versions know answers only.
        if self.bus.arguments("sendMessage") > 4 {
            self.bus.call("sendMessage", &(&own.local, conversation, text, message, flag)).await
        } else {
            self.bus.call("sendMessage", &(&own.local, conversation, text, message)).await
        }
    }

    /// Says that it has read up to a message.
    ///
    /// # Errors
    /// [`Failure`] when the daemon does not know the message.
    pub async fn read(
        &self,
        own: &DaemonAccount,
        conversation: ConversationId,
        message: CommitId,
    ) -> Result<()> {
        let (uri, displayed) = (format!("swarm:{conversation}"), 3_i32);
        let arguments = (&own.local, uri, message.to_string(), displayed);
        let noted: bool = self.bus.call("setMessageDisplayed", &arguments).await?;
        check(noted, || format!("{} to note that {message} was read", self.name()))
    }

    /// Says that it types, or has stopped.
    ///
    /// # Errors
    /// [`Failure::Bus`].
    pub async fn typing(
        &self,
        own: &DaemonAccount,
        conversation: ConversationId,
        active: bool,
    ) -> Result<()> {
        self.bus.call("setIsComposing", &(&own.local, format!("swarm:{conversation}"), active)).await
    }

    /// Waits until a text was received, and tells when.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn received(&self, own: &DaemonAccount, wanted: ConversationId, text: &str) -> Result<Instant> {
        let received = |signal: &Signal| match signal {
            Signal::Message { account, conversation, body }
                if *account == own.local && *conversation == wanted && body == text =>
            {
                Some(())
            }
            _ => None,
        };
        let expected = format!("the message {text:?}");
        Ok(self.events().arrival(Mark::BEGINNING, expected, received).await?.0)
    }

    /// The whole history as the daemon shows it, newest first: of each commit its `id`, `type` and
    /// whatever else it has.
    ///
    /// # Errors
    /// [`Failure::Timeout`] when it is not loaded.
    pub async fn history(
        &self,
        own: &DaemonAccount,
        conversation: ConversationId,
    ) -> Result<Vec<BTreeMap<String, String>>> {
        let since = self.events().mark();
        let all: u32 = 0;
        let arguments = (&own.local, conversation.to_string(), "", all);
        let asked: u32 = self.bus.call("loadConversationMessages", &arguments).await?;
        let loaded = |signal: &Signal| match signal {
            Signal::Loaded { request, messages } if *request == asked => Some(messages.clone()),
            _ => None,
        };
        self.events().wait(since, format!("the history of {conversation}"), loaded).await
    }

    /// Waits until the history has a commit with these fields, and returns its id.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn shows(
        &self,
        own: &DaemonAccount,
        conversation: ConversationId,
        fields: &[(&str, &str)],
    ) -> Result<String> {
        until(self.name(), format!("a commit with {fields:?}"), async || {
            let has = |commit: &BTreeMap<String, String>| {
                fields.iter().all(|(name, value)| commit.get(*name).is_some_and(|it| it == value))
            };
            let found = self.history(own, conversation).await?.into_iter().find(has);
            Ok(found.and_then(|mut commit| commit.remove("id")))
        })
        .await
    }
}

/// Settings for the private network alone: no TURN, STUN, UPnP, DHT proxy, local discovery.
fn settings<'s>(name: &'s str, bootstrap: &'s str) -> [(&'static str, &'s str); 18] {
    [
        ("Account.type", "RING"),
        ("Account.alias", name),
        ("Account.displayName", name),
        ("Account.hostname", bootstrap),
        ("Account.bootstrapListUrl", ""),
        ("Account.upnpEnabled", "false"),
        ("Account.proxyEnabled", "false"),
        ("Account.dhtProxyListUrl", ""),
        ("Account.proxyServer", ""),
        ("Account.peerDiscovery", "false"),
        ("Account.accountDiscovery", "false"),
        ("Account.accountPublish", "false"),
        ("Account.videoEnabled", "false"),
        ("Account.ringtoneEnabled", "false"),
        ("TURN.enable", "false"),
        ("TURN.server", ""),
        ("STUN.enable", "false"),
        ("STUN.server", ""),
    ]
}
