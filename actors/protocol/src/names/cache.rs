//! What name servers told, for a while (`spec: name-server 7`).
//!
//! The reference never forgets, so that what a server once told wrongly stays for ever. Here a name that
//! the account signed counts for a month, and what a server only claimed for a day; lists may show it for
//! a month, too, while the server is asked anew or cannot be. That something is not registered is not kept.

use std::collections::BTreeMap;
use std::time::Duration;

use super::answer::{Evidence, Resolution};
use super::name::Name;
use super::server_url::ServerUrl;
use crate::ids::AccountId;
use crate::msgpack::{self, DecodeError, Value as Object};
use crate::time::UnixMillis;

/// How long a name counts that its account signed. Names do not change; a server may be set up anew.
pub const SIGNED_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long a name counts that a server claims.
pub const CLAIMED_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Most names kept, and as many ids. Beyond that the oldest goes.
pub const MAX_CACHED: usize = 10_000;

/// Largest file, in bytes: all entries with names and URLs of full length are larger, real ones have a
/// tenth of this.
pub const MAX_CACHE_FILE: usize = 16 * 1024 * 1024;

/// Why a file of names cannot be read. It is safe to begin with an empty one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// Not MessagePack, or too large.
    #[error("the file of known names cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// No map.
    #[error("the file of known names holds no map")]
    NotAMap,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Known<T> {
    what: T,
    evidence: Evidence,
    learned: UnixMillis,
}

impl<T> Known<T> {
    fn counts(&self, now: UnixMillis) -> bool {
        let lifetime = match self.evidence {
            Evidence::Claimed => CLAIMED_LIFETIME,
            Evidence::Signed => SIGNED_LIFETIME,
        };
        self.is_younger(now, lifetime)
    }

    /// Whether it may be shown though it counts no more.
    fn is_kept(&self, now: UnixMillis) -> bool {
        self.is_younger(now, SIGNED_LIFETIME)
    }

    fn is_younger(&self, now: UnixMillis, lifetime: Duration) -> bool {
        // What was learned in the future was learned by another clock: nobody knows how old it is.
        self.learned <= now && now.since(self.learned) < lifetime
    }
}

/// Names and ids of all servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameCache {
    accounts: BTreeMap<(ServerUrl, Name), Known<AccountId>>,
    names: BTreeMap<(ServerUrl, AccountId), Known<Name>>,
}

impl NameCache {
    /// Whose a name is.
    #[must_use]
    pub fn account_of(&self, now: UnixMillis, server: &ServerUrl, name: &Name) -> Option<Resolution> {
        let known = self.accounts.get(&(server.clone(), name.clone())).filter(|known| known.counts(now))?;
        Some(Resolution { account: known.what, evidence: known.evidence })
    }

    /// The name of an account.
    #[must_use]
    pub fn name_of(
        &self,
        now: UnixMillis,
        server: &ServerUrl,
        account: AccountId,
    ) -> Option<(Name, Evidence)> {
        let known = self.names.get(&(server.clone(), account)).filter(|known| known.counts(now))?;
        Some((known.what.clone(), known.evidence))
    }

    /// The name that an account had when that was last known, for lists.
    #[must_use]
    pub fn last_name_of(&self, now: UnixMillis, server: &ServerUrl, account: AccountId) -> Option<&Name> {
        let known = self.names.get(&(server.clone(), account)).filter(|known| known.is_kept(now))?;
        Some(&known.what)
    }

    /// Notes that a name belongs to an account.
    pub(super) fn learn(&mut self, now: UnixMillis, server: &ServerUrl, name: &Name, resolution: Resolution) {
        let Resolution { account, evidence } = resolution;
        let account_known = Known { what: account, evidence, learned: now };
        insert(&mut self.accounts, (server.clone(), name.clone()), account_known);
        let name_known = Known { what: name.clone(), evidence, learned: now };
        insert(&mut self.names, (server.clone(), account), name_known);
    }

    /// Forgets the name of an account: the server says that it has none.
    pub(super) fn forget_name_of(&mut self, server: &ServerUrl, account: AccountId) -> bool {
        self.names.remove(&(server.clone(), account)).is_some()
    }

    /// Forgets whose a name is: the server says that it is nobody's.
    pub(super) fn forget_account_of(&mut self, server: &ServerUrl, name: &Name) -> bool {
        self.accounts.remove(&(server.clone(), name.clone())).is_some()
    }

    /// The file; a file of our own.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let accounts =
            self.accounts.iter().map(|((server, name), known)| entry(server, name, &known.what, known));
        let names =
            self.names.iter().map(|((server, account), known)| entry(server, &known.what, account, known));
        let (accounts, names) = (Object::Array(accounts.collect()), Object::Array(names.collect()));
        Object::map([("accounts", accounts), ("names", names)]).encode()
    }

    /// Reads a file. Wrong entries, and those that are too old even to be shown, are skipped.
    ///
    /// # Errors
    /// When it is no map at all.
    pub fn decode(now: UnixMillis, file: &[u8]) -> Result<Self, CacheError> {
        let (object, _) = msgpack::decode(file, MAX_CACHE_FILE)?;
        object.as_map().ok_or(CacheError::NotAMap)?;
        let entries = |key| object.get(key).and_then(Object::as_array).unwrap_or_default().iter();
        let mut cache = Self::default();
        for (server, name, account, evidence, learned) in entries("accounts").filter_map(read) {
            let known = Known { what: account, evidence, learned };
            if known.is_kept(now) && cache.accounts.len() < MAX_CACHED {
                cache.accounts.insert((server, name), known);
            }
        }
        for (server, name, account, evidence, learned) in entries("names").filter_map(read) {
            let known = Known { what: name, evidence, learned };
            if known.is_kept(now) && cache.names.len() < MAX_CACHED {
                cache.names.insert((server, account), known);
            }
        }
        Ok(cache)
    }
}

/// Inserts an entry, in the place of the oldest if there are too many.
fn insert<K: Ord + Clone, T>(entries: &mut BTreeMap<K, Known<T>>, key: K, known: Known<T>) {
    if entries.len() >= MAX_CACHED && !entries.contains_key(&key) {
        let oldest = entries.iter().min_by_key(|(_, known)| known.learned).map(|(key, _)| key.clone());
        if let Some(oldest) = oldest {
            entries.remove(&oldest);
        }
    }
    entries.insert(key, known);
}

fn entry<T>(server: &ServerUrl, name: &Name, account: &AccountId, known: &Known<T>) -> Object {
    Object::Array(vec![
        Object::text(server.as_str()),
        Object::text(name.as_str()),
        Object::binary(&account.0),
        Object::from(known.evidence == Evidence::Signed),
        Object::from(known.learned.0),
    ])
}

fn read(entry: &Object) -> Option<(ServerUrl, Name, AccountId, Evidence, UnixMillis)> {
    let [server, name, account, signed, learned] = entry.as_array()? else { return None };
    let evidence = if signed.as_bool()? { Evidence::Signed } else { Evidence::Claimed };
    let account = AccountId::from_bytes(account.as_binary()?)?;
    let learned = UnixMillis(learned.as_signed()?);
    Some((server.as_text()?.parse().ok()?, name.as_text()?.parse().ok()?, account, evidence, learned))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn resolution(number: u8, evidence: Evidence) -> Resolution {
        Resolution { account: AccountId([number; 20]), evidence }
    }

    #[test]
    fn what_was_learned_is_known_both_ways_and_per_server() {
        let (mut cache, here) = (NameCache::default(), ServerUrl::default());
        let there: ServerUrl = "http://there".parse().unwrap();
        let alice = resolution(1, Evidence::Claimed);
        cache.learn(NOW, &here, &name("alice"), alice);
        assert_eq!(cache.account_of(NOW, &here, &name("ALICE")), Some(alice));
        assert_eq!(cache.name_of(NOW, &here, alice.account), Some((name("alice"), Evidence::Claimed)));
        assert_eq!(cache.account_of(NOW, &there, &name("alice")), None);
        assert_eq!(cache.name_of(NOW, &there, alice.account), None);
        assert!(cache.forget_account_of(&here, &name("alice")) && cache.forget_name_of(&here, alice.account));
        assert_eq!(cache, NameCache::default());
    }

    #[test]
    fn claims_count_for_a_day_and_signed_names_for_a_month() {
        for (evidence, lifetime) in
            [(Evidence::Claimed, CLAIMED_LIFETIME), (Evidence::Signed, SIGNED_LIFETIME)]
        {
            let (mut cache, server) = (NameCache::default(), ServerUrl::default());
            cache.learn(NOW, &server, &name("alice"), resolution(1, evidence));
            let known = |now| cache.account_of(now, &server, &name("alice")).is_some();
            assert!(known(NOW.plus(lifetime.saturating_sub(Duration::from_millis(1)))));
            assert!(!known(NOW.plus(lifetime)));
            assert!(!known(UnixMillis(NOW.0 - 1)), "learned in the future");
        }
    }

    #[test]
    fn a_name_that_counts_no_more_is_shown_for_a_month_and_kept_in_the_file_as_long() {
        let (mut cache, server) = (NameCache::default(), ServerUrl::default());
        let alice = resolution(1, Evidence::Claimed);
        cache.learn(NOW, &server, &name("alice"), alice);
        let (after_a_day, after_a_month) = (NOW.plus(CLAIMED_LIFETIME), NOW.plus(SIGNED_LIFETIME));
        assert_eq!(cache.name_of(after_a_day, &server, alice.account), None);
        assert_eq!(cache.last_name_of(after_a_day, &server, alice.account), Some(&name("alice")));
        assert_eq!(cache.last_name_of(after_a_month, &server, alice.account), None);
        let reread = |now| NameCache::decode(now, &cache.encode()).unwrap();
        assert_eq!(reread(after_a_day), cache);
        assert_eq!(reread(after_a_month), NameCache::default());
    }

    #[test]
    fn the_oldest_names_make_room() {
        let (mut cache, server) = (NameCache::default(), ServerUrl::default());
        for number in 0..=MAX_CACHED {
            let mut account = [0; 20];
            account[..8].copy_from_slice(&number.to_be_bytes());
            let resolution = Resolution { account: AccountId(account), evidence: Evidence::Claimed };
            let now = NOW.plus(Duration::from_millis(u64::try_from(number).unwrap()));
            cache.learn(now, &server, &name(&format!("name{number}")), resolution);
        }
        assert_eq!((cache.accounts.len(), cache.names.len()), (MAX_CACHED, MAX_CACHED));
        let now = NOW.plus(Duration::from_secs(60));
        assert_eq!(cache.account_of(now, &server, &name("name0")), None);
        assert!(cache.account_of(now, &server, &name("name1")).is_some());
        assert_eq!(NameCache::decode(now, &cache.encode()), Ok(cache));
    }

    #[test]
    fn wrong_entries_are_skipped_and_other_files_refused() {
        let good = Object::Array(vec![
            Object::text("https://ns.jami.net"),
            Object::text("alice"),
            Object::binary(&[1; 20]),
            Object::from(true),
            Object::from(NOW.0),
        ]);
        let mut bad = good.as_array().unwrap().to_vec();
        bad[1] = Object::text("ali\u{202e}ce");
        let file = Object::map([("accounts", Object::Array(vec![Object::Nil, Object::Array(bad), good]))]);
        let cache = NameCache::decode(NOW, &file.encode()).unwrap();
        assert_eq!((cache.accounts.len(), cache.names.len()), (1, 0));
        assert_eq!(NameCache::decode(NOW, b"\x01"), Err(CacheError::NotAMap));
        assert!(matches!(NameCache::decode(NOW, b""), Err(CacheError::Decode(_))));
    }

    proptest! {
        #[test]
        fn any_cache_survives_its_file(names in prop::collection::vec(("[a-z]{1,20}", 0..9_u8, any::<bool>()), 0..20)) {
            let mut cache = NameCache::default();
            for (text, number, signed) in names {
                let evidence = if signed { Evidence::Signed } else { Evidence::Claimed };
                cache.learn(NOW, &ServerUrl::default(), &name(&text), resolution(number, evidence));
            }
            prop_assert_eq!(NameCache::decode(NOW, &cache.encode()), Ok(cache));
        }
    }
}
