//! The directory actor.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use skep_protocol::dht::value::Value;
use skep_protocol::identity::{Announcement, Chain, VerifiedChain};
use skep_protocol::ids::{AccountId, DeviceId, DeviceShortId, DhtKey};
use skep_protocol::keys::PublicKey;
use skep_protocol::time::UnixMillis;

use super::messages::DirectoryMessage;
use crate::blocking::{BlockingPool, Lane, Share};
use crate::dht::messages::DhtMessage;
use crate::storage;
use crate::supervision::{Actor, Port, Reply, Scope};

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
}

impl DirectoryActor {
    /// A directory that starts with what is on disk.
    #[must_use]
    pub fn new(config: DirectoryConfig) -> Self {
        Self { config, cache: Cache::default(), lookups: HashMap::new() }
    }

    fn look_up(
        &mut self,
        device: DeviceId,
        short: DeviceShortId,
        whose: Whose,
        reply: Reply<Option<VerifiedChain>>,
        scope: &mut Scope<'_, Self>,
    ) {
        if let Some(chain) = self.cache.get(device, scope.wall()) {
            return reply.send(Some(chain));
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
        let (config, now) = (self.config.clone(), scope.wall());
        let find = async move { find_device(&config, device, short, whose, now).await };
        scope.spawn_background(find, move |actor, chain, _| {
            if let Some(chain) = &chain {
                actor.cache.insert(chain.clone());
            }
            for reply in actor.lookups.remove(&device).unwrap_or_default() {
                reply.send(chain.clone());
            }
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
            self.look_up(key.device_id(), key.device_short_id(), Whose::Wanted, reply, scope);
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
            DirectoryMessage::Announced { account, keys, reply } => {
                self.look_up_all(account, keys, reply, scope);
            }
            DirectoryMessage::Devices { account, reply } => {
                let dht = self.config.dht.clone();
                let find = async move { announced_keys(&dht, account).await };
                scope.spawn_background(find, move |actor, keys, scope| {
                    actor.look_up_all(account, keys, reply, scope)
                });
            }
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
    short: DeviceShortId,
    whose: Whose,
    now: UnixMillis,
) -> Option<VerifiedChain> {
    if let Some(bytes) = load(config, device).await
        && let Some(chain) = accept(&bytes, device, now)
    {
        return Some(chain);
    }
    for key in [DhtKey::certificate(device), DhtKey::legacy_certificate(short)] {
        let values = get(&config.dht, key).await;
        let contents = values.iter().filter_map(Value::content);
        let found = contents.take(MAX_VALUES).find_map(|content| accept(&content.data, device, now));
        if let Some(chain) = found {
            if whose == Whose::Wanted {
                save(config, &chain).await;
            }
            return Some(chain);
        }
    }
    None
}

/// The chain in these bytes, if it is this device's and verifies.
fn accept(bytes: &[u8], device: DeviceId, now: UnixMillis) -> Option<VerifiedChain> {
    let chain = Chain::parse(bytes).ok()?;
    if chain.leaf().device_id() != device {
        return None;
    }
    chain.verify(now).map_err(|error| tracing::debug!(%device, %error, "a chain was refused")).ok()
}

async fn get(dht: &Port<DhtMessage>, key: DhtKey) -> Vec<Value> {
    match dht.ask(QUERY, |reply| DhtMessage::Get { key, reply }).await {
        Ok(Ok(found)) => found.values,
        Ok(Err(error)) => {
            tracing::debug!(%key, %error, "a DHT query failed");
            Vec::new()
        }
        Err(error) => {
            tracing::debug!(%key, %error, "a DHT query failed");
            Vec::new()
        }
    }
}

async fn announced_keys(dht: &Port<DhtMessage>, account: AccountId) -> Vec<PublicKey> {
    let values = get(dht, account.dht_key()).await;
    let announcements =
        values.iter().take(MAX_VALUES).filter_map(|value| Announcement::from_value(value, account).ok());
    let keys: BTreeMap<_, _> =
        announcements.filter_map(|found| found.key).map(|key| (key.device_id(), key)).collect();
    keys.into_values().collect()
}
