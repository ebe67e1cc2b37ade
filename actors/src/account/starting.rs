//! How an account is loaded from its folder and begins: what it knows first, then its parts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use skep_protocol::contact::{AnswerPace, Presence};
use skep_protocol::identity::DeviceIdentity;
use skep_protocol::ids::{AccountId, ConversationId};
use tokio::sync::watch;

use super::actor::{AccountActor, Running};
use super::devices::{Devices, host_name};
use super::identity::{self, storage_error};
use super::messages::{AccountError, AccountMessage};
use super::state::{self, Dirty, State};
use super::sweep::sweep;
use crate::blocking::Lane;
use crate::directory::{DirectoryActor, DirectoryConfig, Revocations, read_kept};
use crate::interfaces::Interfaces;
use crate::peer::transport::TlsIdentity;
use crate::peer::{LinkConfig, LinksActor, LinksConfig};
use crate::profile::store;
use crate::storage;
use crate::supervision::{ChildSpec, RestartPolicy, Scope};
use crate::sync::{SyncActor, SyncConfig};

/// How long to wait before the account is loaded again after its files could not be read.
const RELOAD: Duration = Duration::from_secs(10);

/// What an account is loaded from its folder.
struct Loaded {
    identity: DeviceIdentity,
    protected: bool,
    state: State,
    revocations: Revocations,
    devices: Devices,
    /// What this machine is called.
    host: String,
    /// The owner's profile; empty if there is none.
    profile: Bytes,
}

impl AccountActor {
    pub(super) fn load(&mut self, scope: &mut Scope<'_, Self>) {
        let (folder, pool, share) = (self.config.folder.clone(), self.config.pool.clone(), self.share());
        let now = scope.wall();
        let load = async move {
            let read = move || {
                let identity = identity::load(&folder, now)?;
                let protected = identity::is_protected(&folder)?;
                let mut state = State::load(&folder, identity.account_id()).map_err(storage_error)?;
                let contacts = state.contacts.active().map(|(contact, _)| contact);
                let followed = contacts.chain([identity.account_id()]);
                let own = store::load_own(folder.path(), &state.name).map_err(storage_error)?;
                if let Some(own) = &own {
                    state.name = state::cut(&own.name()).to_owned();
                }
                let revocations = Revocations::load(&folder.join(identity::REVOCATIONS), followed)
                    .map_err(storage_error)?;
                for name in ["certificates", "conversations"] {
                    storage::make_folder(&folder.join(name)).map_err(storage_error)?;
                }
                sweep(&folder.join("conversations"), &mut state, identity.account_id(), now)
                    .map_err(storage_error)?;
                let kept = |device| read_kept(&folder.join("certificates"), device, now);
                let devices = state.devices.iter().filter_map(|(device, _)| Some((device, kept(device)?)));
                let devices = Devices::new(devices.collect(), state.digests());
                let (host, profile) = (host_name(), own.map(|own| own.file).unwrap_or_default());
                Ok::<_, AccountError>(Loaded {
                    identity,
                    protected,
                    state,
                    revocations,
                    devices,
                    host,
                    profile,
                })
            };
            pool.run(share, Lane::Quick, read).await?
        };
        scope.spawn(load, |account, loaded, scope| match loaded {
            Ok(loaded) => account.run(loaded, scope),
            Err(error) => {
                tracing::error!(account = %account.config.local, %error, "an account could not be loaded");
                scope.after(RELOAD, Self::load);
            }
        });
    }

    fn run(&mut self, loaded: Loaded, scope: &mut Scope<'_, Self>) {
        let Loaded { identity, protected, state, revocations, devices, host, profile } = loaded;
        let tls = match TlsIdentity::new(identity.chain().chain(), identity.key()) {
            Ok(tls) => tls,
            Err(error) => {
                tracing::error!(account = %self.config.local, %error, "an account's key cannot be used");
                return;
            }
        };
        revocations.learn(identity.chain().account().public_key());
        let own = Arc::new(identity);
        let directory = {
            let config = DirectoryConfig {
                folder: self.config.folder.join("certificates"),
                revocations_folder: self.config.folder.join(identity::REVOCATIONS),
                revocations: revocations.clone(),
                events: scope.port().outlet(AccountMessage::Directory),
                dht: self.config.dht.clone(),
                pool: self.config.pool.clone(),
                share: self.share(),
            };
            scope.start_child(ChildSpec::new("directory"), move || DirectoryActor::new(config.clone()))
        };
        let trust = state.trust(own.account_id(), self.config.public);
        let links = {
            let config = LinksConfig {
                link: LinkConfig {
                    identity: Arc::clone(&own),
                    tls,
                    dht: self.config.dht.clone(),
                    pool: self.config.pool.clone(),
                    share: self.share(),
                    gather: self.config.gather,
                    unused: self.config.unused.clone(),
                    revocations: revocations.clone(),
                    environment: scope.environment().clone(),
                },
                directory: directory.clone(),
                events: scope.port().outlet(AccountMessage::Link),
                treated_file: self.config.folder.join("treatedRequests"),
                trust,
            };
            scope.start_child(ChildSpec::new("links"), move || LinksActor::new(config.clone()))
        };
        let sync = {
            let config = SyncConfig {
                account: own.account_id(),
                file: self.config.folder.join("syncVersions"),
                links: links.clone(),
                events: scope.port().outlet(AccountMessage::Sync),
                pool: self.config.pool.clone(),
                share: self.share(),
            };
            let spec = ChildSpec::new("sync").restart(RestartPolicy::giving_up());
            scope.start_child(spec, move || SyncActor::new(config.clone()))
        };
        let transfers = self.start_transfers(&own, &links, scope);
        let profiles = self.start_profiles(&own, &links, scope);
        let calls = self.start_calls(&own, &state.name, &links, &directory, scope);
        let contacts: Vec<AccountId> = state.contacts.active().map(|(contact, _)| contact).collect();
        let conversations: Vec<ConversationId> = state.conversations.present().map(|(id, _)| id).collect();
        let left: Vec<ConversationId> =
            state.conversations.iter().filter(|(_, record)| record.is_leaving()).map(|(id, _)| id).collect();
        self.running = Some(Running {
            name: watch::Sender::new(state.name.clone()),
            settings: watch::Sender::new(state.settings),
            identity: own,
            protected,
            state,
            directory,
            links,
            sync,
            devices,
            transfers,
            profiles,
            calls,
            profile,
            display_names: BTreeMap::new(),
            revocations,
            revoked: false,
            published: Vec::new(),
            presence: Presence::default(),
            listening: BTreeSet::new(),
            pace: AnswerPace::default(),
            announced: false,
            withdrawn: false,
            reachable: false,
            up: BTreeMap::new(),
            legacy: BTreeSet::new(),
            showing: BTreeSet::new(),
            conversations: BTreeMap::new(),
            leaving: BTreeMap::new(),
            erased_elsewhere: BTreeMap::new(),
            erasing: BTreeSet::new(),
            failed: BTreeMap::new(),
            adding: HashMap::new(),
            opening: 0,
            answering: 0,
            finding: BTreeSet::new(),
            telling: HashMap::new(),
            inviting: BTreeMap::new(),
            senders: HashMap::new(),
            named: BTreeSet::new(),
            adding_device: None,
            dirty: Dirty::default(),
            saving: false,
            waiting: Vec::new(),
        });
        if let Some(running) = &mut self.running {
            running.settle_devices(&host);
        }
        for id in conversations {
            self.start_conversation(id, scope);
        }
        for id in left {
            self.go_on_leaving(id, scope);
        }
        self.want_names();
        self.watch_dht(scope);
        self.watch_network(Interfaces::new(scope.now()), scope);
        if self.is_revoked() {
            self.end_reach(scope);
        } else {
            self.begin_reach(contacts, scope);
        }
        scope.release();
    }
}
