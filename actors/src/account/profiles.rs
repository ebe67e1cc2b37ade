//! The profiles of an account: who gets the owner's, and by what way; and what people are called.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skep_protocol::identity::DeviceIdentity;
use skep_protocol::ids::{AccountId, ConversationId, DeviceId};
use skep_protocol::profile::{Opener, ProfilePath};

use super::actor::{AccountActor, Running};
use super::messages::AccountMessage;
use super::state::{Dirty, cut};
use crate::blocking::Share;
use crate::call::messages::CallsMessage;
use crate::peer::messages::{ChannelOffer, LinksMessage};
use crate::profile::messages::{KEPT_AT_REST, ProfilesMessage, ProfilesTold, Way};
use crate::profile::{ProfilesActor, ProfilesConfig};
use crate::supervision::{ChildSpec, Port, Scope};

/// Room in the mailbox of the profiles: at the start they hear of every link.
const CAPACITY: usize = 4096;

/// Time in which a device of 2023 shows that it is one, by writing as such do: several round trips.
const KIND_SHOWS: Duration = Duration::from_secs(2);

/// People whose profiles a device of ours is asked for at once.
const MAX_MISSING: usize = 256;

impl AccountActor {
    pub(super) fn start_profiles(
        &self,
        identity: &Arc<DeviceIdentity>,
        links: &Port<LinksMessage>,
        scope: &mut Scope<'_, Self>,
    ) -> Port<ProfilesMessage> {
        let config = ProfilesConfig {
            local: self.config.local,
            account: identity.account_id(),
            device: identity.device_id(),
            folder: self.config.folder.path().to_owned(),
            links: links.clone(),
            pool: self.config.pool.clone(),
            // One of their own: no message waits for a picture.
            share: Share(self.share().0.rotate_left(32)),
            events: self.config.events.clone(),
            told: scope.port().outlet(AccountMessage::Profiles),
        };
        let spec = ChildSpec::new("profiles").capacity(CAPACITY);
        scope.start_child(spec, move || ProfilesActor::new(config.clone()))
    }

    pub(super) fn profiles_told(&mut self, told: ProfilesTold, scope: &mut Scope<'_, Self>) {
        let Some(running) = &mut self.running else { return };
        match told {
            ProfilesTold::Started(names) => {
                running.display_names = names;
                for (device, account) in running.up.clone() {
                    // How long each is linked is not known here: those that have not shown what they are may yet.
                    self.reach_profile_when_known(device, account, true, scope);
                }
            }
            ProfilesTold::Own { name, file } => {
                running.profile = file;
                let name = cut(&name);
                if running.state.name != name {
                    name.clone_into(&mut running.state.name);
                    running.name.send_replace(name.to_owned());
                    let name = name.to_owned();
                    self.tell_calls(CallsMessage::Name(name));
                    self.save(Dirty { name: true, ..Dirty::default() }, scope, |_| ());
                }
            }
            ProfilesTold::Named(person, name) => {
                running.display_names.insert(person, name);
            }
            ProfilesTold::Crowded => {
                let closest = running.state.closest(KEPT_AT_REST);
                self.tell_profiles(ProfilesMessage::Retain(closest));
            }
            ProfilesTold::Dropped(people) => {
                running.display_names.retain(|person, _| !people.contains(person));
            }
        }
    }

    /// What people are called, as far as they have said so.
    pub(super) fn display_names(&self, people: &BTreeSet<AccountId>) -> BTreeMap<AccountId, String> {
        let Some(running) = &self.running else { return BTreeMap::new() };
        let own = (running.identity.account_id(), &running.state.name);
        let others = people.iter().filter_map(|person| running.display_names.get_key_value(person));
        let all = others.map(|(person, name)| (*person, name)).chain(people.contains(&own.0).then_some(own));
        all.filter(|(_, name)| !name.is_empty()).map(|(person, name)| (person, name.clone())).collect()
    }

    /// A device is linked: it gets the profile if it has not, and one of ours is asked for those of others.
    pub(super) fn reach_profile(&self, device: DeviceId, account: AccountId, may_be_legacy: bool) {
        let Some(running) = &self.running else { return };
        let Some(way) = running.profile_way(device, account, may_be_legacy) else { return };
        self.tell_profiles(ProfilesMessage::Reach { device, account, way: Some(way) });
        if let Way::Own { .. } = way {
            let people = running.without_profile(running.conversations.keys().copied());
            self.ask_for_profiles(device, people);
        }
    }

    /// Sends the profile to a device that has a new link. One of ours that may be of 2023 gets it when it has had
    /// time to show that it is: what such devices understand names no time, and goes before what is later.
    pub(super) fn reach_profile_when_known(
        &mut self,
        device: DeviceId,
        account: AccountId,
        may_be_legacy: bool,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(running) = &self.running else { return };
        if account != running.identity.account_id() || !may_be_legacy || running.legacy.contains(&device) {
            return self.reach_profile(device, account, may_be_legacy);
        }
        scope.after(KIND_SHOWS, move |actor, _| {
            if actor.running.as_ref().is_some_and(|running| running.up.contains_key(&device)) {
                actor.reach_profile(device, account, false);
            }
        });
    }

    pub(super) fn unreach_profile(&self, device: DeviceId, account: AccountId) {
        self.tell_profiles(ProfilesMessage::Reach { device, account, way: None });
    }

    /// A conversation is here, or its members have changed: whoever is linked may be sent the profile now.
    pub(super) fn show_profiles_room(&self, id: ConversationId, opened: bool) {
        let Some(running) = &self.running else { return };
        let Some(room) = running.conversations.get(&id) else { return };
        let own = running.identity.account_id();
        for (device, account) in &running.up {
            if *account == own {
                // By what way it gets ours does not depend on conversations, and is told with its link.
                if opened {
                    self.ask_for_profiles(*device, running.without_profile([id]));
                }
            } else if room.joined.contains(account) {
                self.reach_profile(*device, *account, false);
            }
        }
    }

    fn ask_for_profiles(&self, device: DeviceId, people: Vec<(ConversationId, AccountId)>) {
        if !people.is_empty() {
            self.tell_profiles(ProfilesMessage::Missing { device, people });
        }
    }

    /// Hands on a channel for a profile, if it may be; dropping the offer declines it.
    pub(super) fn offer_profile(&self, offer: ChannelOffer, path: &str) {
        let Some(running) = &self.running else { return };
        let Some(path) = ProfilePath::parse(path) else { return };
        let ours = Opener { account: running.identity.account_id(), device: running.identity.device_id() };
        let opener = Opener { account: offer.account, device: offer.device };
        let is_member = |conversation, account| {
            running.conversations.get(&conversation).is_some_and(|room| room.members.contains(&account))
        };
        match path.admit(ours, opener, is_member) {
            Ok(transfer) => self.tell_profiles(ProfilesMessage::Serve(offer, transfer)),
            Err(error) => tracing::debug!(name = offer.name, %error, "a profile was declined"),
        }
    }

    pub(super) fn tell_profiles(&self, message: ProfilesMessage) {
        let Some(running) = &self.running else { return };
        if let Err(error) = running.profiles.try_send(message) {
            tracing::debug!(%error, "the profiles were not told something");
        }
    }
}

impl Running {
    /// By what way a device gets the profile: the conversation with its owner alone, if there is one.
    fn profile_way(&self, device: DeviceId, account: AccountId, may_be_legacy: bool) -> Option<Way> {
        if account == self.identity.account_id() {
            return Some(Way::Own { bare: may_be_legacy || self.legacy.contains(&device) });
        }
        let is_common = |id: &ConversationId| {
            self.conversations.get(id).is_some_and(|room| room.ready && room.joined.contains(&account))
        };
        let contact = self.state.contacts.get(account).and_then(|contact| contact.conversation);
        let any = || self.conversations.keys().copied().find(|id| is_common(id));
        contact.filter(is_common).or_else(any).map(Way::Member)
    }

    /// Members of conversations who have sent no profile.
    fn without_profile(
        &self,
        conversations: impl IntoIterator<Item = ConversationId>,
    ) -> Vec<(ConversationId, AccountId)> {
        let own = self.identity.account_id();
        let rooms = conversations.into_iter().filter_map(|id| Some((id, self.conversations.get(&id)?)));
        let members = rooms
            .filter(|(_, room)| room.ready)
            .flat_map(|(id, room)| room.members.iter().map(move |member| (id, *member)));
        let mut seen = BTreeSet::new();
        members
            .filter(|(_, member)| *member != own && !self.display_names.contains_key(member))
            .filter(|(_, member)| seen.insert(*member))
            .take(MAX_MISSING)
            .collect()
    }
}
