//! The directory actor.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use skep_protocol::dht::value::{Body, Value};
use skep_protocol::identity::{Announcement, Chain, RevocationList, VerifiedChain};
use skep_protocol::ids::{AccountId, DeviceId, DeviceShortId, DhtKey};
use skep_protocol::keys::PublicKey;
use skep_protocol::time::UnixMillis;

use super::messages::{DirectoryEvent, DirectoryMessage};
use super::revocations::{Revocations, signed_lists};
use crate::blocking::{BlockingPool, Lane, Share};
use crate::dht::messages::DhtMessage;
use crate::storage;
use crate::supervision::{Actor, Outlet, Port, Reply, Scope};

/// Certificates kept in memory; each is about 6 KiB.
const MAX_CACHED: usize = 1024;

/// Look-ups under way at once; further ones are answered with nothing, and asked again later.
const MAX_LOOKUPS: usize = 256;

/// Look-ups under way at once for which anybody can be the cause: the others are for people we want
/// to reach, and strangers must not take their places.
const MAX_LOOKUPS_OF_ANYBODY: usize = MAX_LOOKUPS / 2;

/// Devices of one person looked up; a person has a handful.
const MAX_DEVICES: usize = 32;

/// Values at one key looked at; an attacker may put many at a public key.
const MAX_VALUES: usize = 256;

/// How long one DHT query may take.
const QUERY: Duration = Duration::from_secs(15);

/// Largest certificate file, in bytes (`spec: connection 6.2`).
const MAX_FILE: usize = 64 * 1024;

/// Batches of values verified at once for their revocation lists; of further ones the lists are
/// asked for when a device of that person is looked up.
const MAX_VERIFYING: usize = 64;

/// Why a device is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// It wrote to us, as anybody may; its certificate is not kept on disk.
    Anybody,
    /// We want to reach its owner.
    Wanted,
}

/// What the directory needs to start.
#[derive(Clone, Debug)]
pub struct DirectoryConfig {
    /// Folder of the certificates.
    pub folder: PathBuf,
    /// Folder of the revocation lists.
    pub revocations_folder: PathBuf,
    /// The revocation lists, loaded from there.
    pub revocations: Revocations,
    /// Where events go.
    pub events: Outlet<DirectoryEvent>,
    /// The DHT.
    pub dht: Port<DhtMessage>,
    /// Where disk work runs.
    pub pool: BlockingPool,
    /// Whose work it is.
    pub share: Share,
}

/// See the module.
#[derive(Debug)]
pub struct DirectoryActor {
    config: DirectoryConfig,
    cache: Cache,
    lookups: HashMap<DeviceId, Vec<Reply<Option<VerifiedChain>>>>,
    verifying: usize,
    saving: bool,
}

impl DirectoryActor {
    /// A directory that starts with what is on disk.
    #[must_use]
    pub fn new(config: DirectoryConfig) -> Self {
        Self { config, cache: Cache::default(), lookups: HashMap::new(), verifying: 0, saving: false }
    }

    fn look_up(
        &mut self,
        device: DeviceId,
        short: Option<DeviceShortId>,
        whose: Whose,
        reply: Reply<Option<VerifiedChain>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let (cached, now) = (self.cache.get(device, scope.wall()), scope.wall());
        let revocations = &self.config.revocations;
        // In the place of a certificate that was revoked there may be a new one.
        let cached = cached.filter(|chain| revocations.check(chain).is_ok());
        if let Some(chain) = &cached
            && !revocations.must_ask(chain.account_id(), now)
        {
            return reply.send(cached);
        }
        if let Some(waiting) = self.lookups.get_mut(&device) {
            return waiting.push(reply);
        }
        let limit = match whose {
            Whose::Anybody => MAX_LOOKUPS_OF_ANYBODY,
            Whose::Wanted => MAX_LOOKUPS,
        };
        if self.lookups.len() >= limit {
            return reply.send(None);
        }
        self.lookups.insert(device, vec![reply]);
        let config = self.config.clone();
        let find = async move {
            let chain = match cached {
                Some(chain) => chain,
                None => find_device(&config, device, short, whose, now).await?,
            };
            let asked = config.revocations.must_ask(chain.account_id(), now);
            let key = chain.account().public_key();
            let lists = if asked { find_lists(&config, key).await } else { None };
            Some((chain, lists))
        };
        scope.spawn_background(find, move |actor, found, scope| {
            let chain = found.map(|(chain, lists)| {
                let key = chain.account().public_key();
                actor.learn(key, scope);
                if let Some(lists) = lists {
                    actor.take(key, lists, scope);
                }
                actor.cache.insert(chain.clone());
                chain
            });
            let chain = actor.unless_revoked(chain);
            for reply in actor.lookups.remove(&device).unwrap_or_default() {
                reply.send(chain.clone());
            }
        });
    }

    /// Looks a device up in memory and on disk only.
    fn look_up_kept(
        &self,
        device: DeviceId,
        reply: Reply<Option<VerifiedChain>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let now = scope.wall();
        if let Some(chain) = self.cache.get(device, now) {
            return reply.send(self.unless_revoked(Some(chain)));
        }
        let config = self.config.clone();
        let find = async move { accept(&load(&config, device).await?, device, now) };
        scope.spawn_background(find, move |actor, chain, _| reply.send(actor.unless_revoked(chain)));
    }

    fn unless_revoked(&self, chain: Option<VerifiedChain>) -> Option<VerifiedChain> {
        chain.filter(|chain| match self.config.revocations.check(chain) {
            Ok(()) => true,
            Err(error) => {
                tracing::info!(device = %chain.device_id().short(), %error, "a device is ignored");
                false
            }
        })
    }

    /// Learns the key of a person. If values were seen before that could not be verified without
    /// it, they are asked for once more.
    fn learn(&mut self, key: &PublicKey, scope: &mut Scope<'_, Self>) {
        if self.config.revocations.learn(key) {
            let (config, key) = (self.config.clone(), key.clone());
            let find = async move { (find_lists(&config, &key).await, key) };
            scope.spawn_background(find, |actor, (lists, key), scope| match lists {
                Some(lists) => actor.take(&key, lists, scope),
                None => actor.config.revocations.miss(key.account_id()),
            });
        }
    }

    /// Keeps the revocation lists among values that appeared at the key of a person.
    fn seen(&mut self, account: AccountId, values: Vec<Arc<Value>>, scope: &mut Scope<'_, Self>) {
        // A list is put plain, so a batch without plain values has none.
        let may_be_list = |value: &&Arc<Value>| matches!(value.body, Body::Plain(_));
        let plain: Vec<_> = values.iter().filter(may_be_list).take(MAX_VALUES).cloned().collect();
        let key = self.config.revocations.key(account).or_else(|| owner_among(&values, account));
        if let Some(key) = &key {
            self.learn(key, scope);
        }
        if plain.is_empty() {
            return;
        }
        let Some(key) = key.filter(|_| self.verifying < MAX_VERIFYING) else {
            return self.config.revocations.miss(account);
        };
        self.verifying += 1;
        let config = self.config.clone();
        let verify = async move { (verify_lists(&config, plain, &key).await, key) };
        scope.spawn_background(verify, move |actor, (lists, key), scope| {
            actor.verifying -= 1;
            match lists {
                Some(lists) => actor.take(&key, lists, scope),
                None => actor.config.revocations.miss(account),
            }
        });
    }

    /// Takes lists in that this key has signed, writes them, and tells the account what is new.
    fn take(&mut self, key: &PublicKey, lists: Vec<RevocationList>, scope: &mut Scope<'_, Self>) {
        let account = key.account_id();
        if self.config.revocations.take(key, lists, scope.wall()) {
            tracing::info!(account = %account.short(), "a person has revoked a device");
            let events = self.config.events.clone();
            let tell = async move { events.send(DirectoryEvent::Revoked(account)).await };
            scope.spawn(tell, |_, _, _| ());
        }
        self.save_lists(scope);
    }

    /// Writes the lists that have changed, one account after the other.
    fn save_lists(&mut self, scope: &mut Scope<'_, Self>) {
        if self.saving {
            return;
        }
        let Some(account) = self.config.revocations.next_unsaved() else { return };
        self.saving = true;
        let (revocations, folder) = (self.config.revocations.clone(), self.config.revocations_folder.clone());
        let (pool, share) = (self.config.pool.clone(), self.config.share);
        let write =
            async move { pool.run(share, Lane::Quick, move || revocations.write(&folder, account)).await };
        scope.spawn(write, move |actor, written, scope| {
            // They are on the DHT too, and found there after a restart.
            match written {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%account, %error, "revocation lists were not written"),
                Err(error) => tracing::warn!(%account, %error, "revocation lists were not written"),
            }
            actor.saving = false;
            actor.save_lists(scope);
        });
    }

    /// Looks several devices of one person up and answers when all are found or not.
    fn look_up_all(
        &mut self,
        account: AccountId,
        keys: Vec<PublicKey>,
        reply: Reply<Vec<VerifiedChain>>,
        scope: &mut Scope<'_, Self>,
    ) {
        let mut answers = Vec::new();
        for key in keys.into_iter().take(MAX_DEVICES) {
            let (reply, answer) = Reply::channel();
            self.look_up(key.device_id(), Some(key.device_short_id()), Whose::Wanted, reply, scope);
            answers.push(answer);
        }
        scope.spawn_background(join_all(answers), move |_, chains, _| {
            let chains = chains.into_iter().filter_map(|chain| chain.ok().flatten());
            reply.send(chains.filter(|chain| chain.account_id() == account).collect());
        });
    }
}

impl Actor for DirectoryActor {
    type Message = DirectoryMessage;
    const KIND: &'static str = "directory";

    fn handle(&mut self, message: DirectoryMessage, scope: &mut Scope<'_, Self>) {
        match message {
            DirectoryMessage::Device { device, short, reply } => {
                self.look_up(device, short, Whose::Anybody, reply, scope);
            }
            DirectoryMessage::Wanted { device, short, reply } => {
                self.look_up(device, short, Whose::Wanted, reply, scope);
            }
            DirectoryMessage::Kept { device, reply } => self.look_up_kept(device, reply, scope),
            DirectoryMessage::Announced { account, keys, reply } => {
                self.look_up_all(account, keys, reply, scope);
            }
            DirectoryMessage::Devices { account, reply } => {
                let config = self.config.clone();
                let find = async move { find_announced(&config, account).await };
                scope.spawn_background(find, move |actor, (keys, lists), scope| {
                    if let Some((key, lists)) = lists {
                        actor.learn(&key, scope);
                        actor.take(&key, lists, scope);
                    }
                    actor.look_up_all(account, keys, reply, scope);
                });
            }
            DirectoryMessage::Take { key, list } => {
                self.learn(&key, scope);
                self.take(&key, vec![*list], scope);
            }
            DirectoryMessage::Seen { account, values } => self.seen(account, values, scope),
        }
    }
}

/// Chains in memory, the oldest going first.
#[derive(Debug, Default)]
struct Cache {
    chains: HashMap<DeviceId, VerifiedChain>,
    order: VecDeque<DeviceId>,
}

impl Cache {
    /// The chain, unless it has expired since it was verified.
    fn get(&self, device: DeviceId, now: UnixMillis) -> Option<VerifiedChain> {
        let chain = self.chains.get(&device)?;
        chain.chain().certificates().all(|certificate| certificate.is_valid_at(now)).then(|| chain.clone())
    }

    fn insert(&mut self, chain: VerifiedChain) {
        let device = chain.device_id();
        if self.chains.insert(device, chain).is_none() {
            self.order.push_back(device);
        }
        if self.chains.len() > MAX_CACHED
            && let Some(oldest) = self.order.pop_front()
        {
            self.chains.remove(&oldest);
        }
    }
}

fn file(folder: &Path, device: DeviceId) -> PathBuf {
    folder.join(format!("{device}.crt"))
}

async fn save(config: &DirectoryConfig, chain: &VerifiedChain) {
    let (path, pem) = (file(&config.folder, chain.device_id()), chain.chain().to_pem());
    let saved = config.pool.run(config.share, Lane::Quick, move || storage::replace(&path, pem.as_bytes()));
    match saved.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "a certificate could not be kept; it is looked up again"),
        Err(error) => tracing::warn!(%error, "a certificate could not be kept; it is looked up again"),
    }
}

async fn load(config: &DirectoryConfig, device: DeviceId) -> Option<Vec<u8>> {
    let path = file(&config.folder, device);
    let read = config.pool.run(config.share, Lane::Quick, move || storage::read(&path, MAX_FILE)).await;
    read.ok()?.ok()?
}

/// Disk first, then the DHT at the present key, then at the older one.
async fn find_device(
    config: &DirectoryConfig,
    device: DeviceId,
    short: Option<DeviceShortId>,
    whose: Whose,
    now: UnixMillis,
) -> Option<VerifiedChain> {
    let accept = |bytes: &[u8]| accept(bytes, device, now).filter(|it| config.revocations.check(it).is_ok());
    if let Some(bytes) = load(config, device).await
        && let Some(chain) = accept(&bytes)
    {
        return Some(chain);
    }
    let legacy = short.map(DhtKey::legacy_certificate);
    for key in [DhtKey::certificate(device)].into_iter().chain(legacy) {
        let values = get(&config.dht, key).await.unwrap_or_default();
        let contents = values.iter().filter_map(|value| value.content());
        let found = contents.take(MAX_VALUES).find_map(|content| accept(&content.data));
        if let Some(chain) = found {
            if whose == Whose::Wanted {
                save(config, &chain).await;
            }
            return Some(chain);
        }
    }
    None
}

/// The chain of a device that is kept on disk, if it verifies.
pub(crate) fn read_kept(folder: &Path, device: DeviceId, now: UnixMillis) -> Option<VerifiedChain> {
    accept(&storage::read(&file(folder, device), MAX_FILE).ok()??, device, now)
}

/// The chain in these bytes, if it is this device's and verifies.
fn accept(bytes: &[u8], device: DeviceId, now: UnixMillis) -> Option<VerifiedChain> {
    let chain = Chain::parse(bytes).ok()?;
    if chain.leaf().device_id() != device {
        return None;
    }
    chain.verify(now).map_err(|error| tracing::debug!(%device, %error, "a chain was refused")).ok()
}

/// The values at a key; none if the DHT did not answer.
async fn get(dht: &Port<DhtMessage>, key: DhtKey) -> Option<Vec<Arc<Value>>> {
    match dht.ask(QUERY, |reply| DhtMessage::Get { key, reply }).await {
        Ok(Ok(found)) => Some(found.values.into_iter().map(Arc::new).collect()),
        Ok(Err(error)) => {
            tracing::debug!(%key, %error, "a DHT query failed");
            None
        }
        Err(error) => {
            tracing::debug!(%key, %error, "a DHT query failed");
            None
        }
    }
}

/// The revocation lists on the DHT of the account with this key; none if they could not be had.
async fn find_lists(config: &DirectoryConfig, key: &PublicKey) -> Option<Vec<RevocationList>> {
    let mut values = get(&config.dht, key.account_id().dht_key()).await?;
    values.truncate(MAX_VALUES);
    verify_lists(config, values, key).await
}

/// The keys of the announced devices of an account; and, if any is announced, the account's own key
/// and its revocation lists.
async fn find_announced(
    config: &DirectoryConfig,
    account: AccountId,
) -> (Vec<PublicKey>, Option<(PublicKey, Vec<RevocationList>)>) {
    let mut values = get(&config.dht, account.dht_key()).await.unwrap_or_default();
    values.truncate(MAX_VALUES);
    let keys = announced_keys(&values, account);
    let Some(owner) = owner_among(&values, account) else { return (keys, None) };
    let lists = verify_lists(config, values, &owner).await;
    (keys, lists.map(|lists| (owner, lists)))
}

async fn verify_lists(
    config: &DirectoryConfig,
    values: Vec<Arc<Value>>,
    key: &PublicKey,
) -> Option<Vec<RevocationList>> {
    let key = key.clone();
    let verify = move || signed_lists(values.iter().map(|value| &**value), &key);
    config.pool.run(config.share, Lane::Quick, verify).await.ok()
}

/// The key of an account, if one of these values carries it: its id is the key's digest.
fn owner_among(values: &[Arc<Value>], account: AccountId) -> Option<PublicKey> {
    let mut owners = values.iter().take(MAX_VALUES).filter_map(|value| Some(value.as_signed()?.owner()));
    owners.find(|owner| owner.account_id() == account).cloned()
}

fn announced_keys(values: &[Arc<Value>], account: AccountId) -> Vec<PublicKey> {
    let announcements =
        values.iter().take(MAX_VALUES).filter_map(|value| Announcement::from_value(value, account).ok());
    let keys: BTreeMap<_, _> =
        announcements.filter_map(|found| found.key).map(|key| (key.device_id(), key)).collect();
    keys.into_values().collect()
}
