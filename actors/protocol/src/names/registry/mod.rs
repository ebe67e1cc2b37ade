//! The name server: requests in, answers and records to store out (`spec: name-server 3-6`).
//!
//! ```text
//!   request ─► limit of the address ─► route ─┬─ look-up, search ────────────────► answer
//!                                             └─ registration: signature, free?
//!                                                   │
//!                                                   ▼
//!                                    name reserved, record to append
//!                                                   │ forced to disk, or not
//!                                                   ▼
//!                                                answer
//! ```
//!
//! Clients take most statuses between 401 and 499 for "nobody has it" or "it is taken". So whatever is
//! wrong with a request is said with 400, and whatever is wrong here, or too much, with 5xx.

mod limits;
mod log;
mod reply;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use limits::{Limit, Rate};

use super::directory::{SEARCH_PARAMETER, SEARCH_PATH};
use super::http::decode;
use super::name::Name;
use super::registration::{Registration, RegistrationError};
use crate::ids::AccountId;
use crate::time::Moment;

pub use limits::network_of;
pub use log::{LogDamage, LogError, MAX_LOG, new_log};
pub use reply::Reply;

/// Names that a server has room for: one with a key of 4096 bits takes about two kilobytes of memory.
pub const MAX_NAMES: usize = 100_000;

/// Longest path and query read, in bytes: a name of full length, encoded, has less than a thousand.
const MAX_TARGET: usize = 2048;

/// Registrations that may wait for the disk.
const MAX_PENDING: usize = 256;

/// Look-ups and searches of one address: a node may ask twice for each of a thousand contacts at once.
const LOOK_UPS: Rate = Rate { burst: 2000, refill: Duration::from_millis(20) };

/// Registrations of one address, taken or not: a household behind one address at once, then 120 an hour.
const REGISTRATIONS: Rate = Rate { burst: 20, refill: Duration::from_secs(30) };

/// Shortest text searched for, in characters.
const MIN_SEARCHED: usize = 3;

/// Most names found by a search.
const MAX_FOUND: usize = 20;

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The method, as it is written.
    pub method: &'a str,
    /// Path and query, as they are written.
    pub target: &'a str,
    /// The body: at most [`super::MAX_REGISTRATION`] bytes and one more, which says that there were more.
    pub body: &'a [u8],
    /// Who asks.
    pub address: IpAddr,
}

/// What to do with a request.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// Answer.
    Reply(Reply),
    /// Append the record to the log, force it to disk, and say whether that worked: that gives the answer.
    /// If it did not, cut the log to its length before.
    Append {
        /// What to append.
        record: Vec<u8>,
        /// For [`NameRegistry::stored`] or [`NameRegistry::not_stored`].
        pending: Pending,
    },
}

/// A registration that waits for the disk. Its name is reserved meanwhile.
#[derive(Debug)]
#[must_use]
pub struct Pending(Registration);

/// All names of a server.
#[derive(Debug)]
pub struct NameRegistry {
    names: BTreeMap<Name, Registration>,
    accounts: HashMap<AccountId, Name>,
    reserved: BTreeMap<Name, AccountId>,
    look_ups: Limit,
    registrations: Limit,
}

/// What a request is for.
enum Route<'a> {
    Resolve(&'a str),
    Owner(&'a str),
    Register(&'a str),
    NameOf(&'a str),
    Search(&'a str),
    WrongMethod,
    Unknown,
}

impl NameRegistry {
    /// Reads the log, and says how much of it is whole: the rest is the torn tail of a crash, to be cut
    /// off. A log of no whole byte gets [`new_log`] first.
    ///
    /// # Errors
    /// When it is no log, or damaged in the middle.
    pub fn open(log: &[u8]) -> Result<(Self, usize), LogError> {
        let mut registry = Self {
            names: BTreeMap::new(),
            accounts: HashMap::new(),
            reserved: BTreeMap::new(),
            look_ups: Limit::new(LOOK_UPS),
            registrations: Limit::new(REGISTRATIONS),
        };
        let whole = log::read(log, |registration| registry.insert(registration))?;
        Ok((registry, whole))
    }

    /// Number of names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are no names.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// What to do with a request.
    pub fn handle(&mut self, now: Moment, incoming: Incoming<'_>) -> Step {
        let route = route(incoming.method, incoming.target);
        let limit =
            if matches!(route, Route::Register(_)) { &mut self.registrations } else { &mut self.look_ups };
        if let Err(wait) = limit.take(now, incoming.address) {
            return Step::Reply(Reply::too_much(wait));
        }
        if incoming.target.len() > MAX_TARGET {
            return Step::Reply(Reply::refused("the request is too long"));
        }
        let reply = match route {
            Route::Register(name) => return self.register(name, incoming.body),
            Route::Resolve(name) => with_name(name, |name| self.resolve(name)),
            Route::Owner(name) => with_name(name, |name| self.owner(name)),
            Route::NameOf(id) => self.name_of(id),
            Route::Search(query) => self.search(query),
            Route::WrongMethod => Reply::wrong_method(),
            Route::Unknown => Reply::not_found("no such thing here"),
        };
        Step::Reply(reply)
    }

    /// The answer to a registration whose record is on disk.
    pub fn stored(&mut self, pending: Pending) -> Reply {
        self.reserved.remove(pending.0.name());
        self.insert(pending.0);
        Reply::registered()
    }

    /// The answer to a registration whose record could not be stored. The name is free again.
    pub fn not_stored(&mut self, pending: Pending) -> Reply {
        self.reserved.remove(pending.0.name());
        Reply::failed("the name could not be stored; try again later")
    }

    fn resolve(&self, name: &Name) -> Reply {
        self.names.get(name).map_or_else(Reply::name_unknown, Reply::resolved)
    }

    fn owner(&self, name: &Name) -> Reply {
        self.names.get(name).map_or_else(Reply::name_unknown, Reply::owner)
    }

    fn name_of(&self, id: &str) -> Reply {
        let Some(account) = decode(id).as_deref().and_then(account) else { return Reply::no_id() };
        self.accounts.get(&account).map_or_else(Reply::address_unknown, Reply::name)
    }

    /// The names that begin with a text.
    fn search(&self, query: &str) -> Reply {
        let parameters = query.split('&').filter_map(|parameter| parameter.split_once('='));
        let text = parameters.filter(|(key, _)| *key == SEARCH_PARAMETER).map(|(_, text)| text).next();
        // Forms write spaces as `+`; no name has one.
        let Some(text) = text.and_then(decode).filter(|text| text.chars().count() >= MIN_SEARCHED) else {
            return Reply::refused("search for three characters or more");
        };
        let Ok(first) = text.parse::<Name>() else { return Reply::profiles(Vec::new()) };
        let found = self
            .names
            .range(first.clone()..)
            .take_while(|(name, _)| name.as_str().starts_with(first.as_str()));
        Reply::profiles(found.take(MAX_FOUND).map(|(name, it)| (name, it.account())).collect())
    }

    fn register(&mut self, name: &str, body: &[u8]) -> Step {
        match self.check(name, body) {
            Ok(registration) => {
                self.reserved.insert(registration.name().clone(), registration.account());
                Step::Append { record: log::record(&registration), pending: Pending(registration) }
            }
            Err(reply) => Step::Reply(reply),
        }
    }

    /// A registration that can be stored, or the answer (`spec: name-server 5.1`).
    fn check(&self, name: &str, body: &[u8]) -> Result<Registration, Reply> {
        let name = plain(name).ok_or_else(Reply::bad_name)?;
        let registration = Registration::read(name, body).map_err(|error| match error {
            RegistrationError::Forged => Reply::forged(),
            other => Reply::refused(&other.to_string()),
        })?;
        if let Some(present) = self.names.get(registration.name()) {
            let is_same =
                present.account() == registration.account() && present.owner() == registration.owner();
            return Err(if is_same { Reply::registered() } else { Reply::taken(present.owner()) });
        }
        if self.accounts.contains_key(&registration.account()) {
            return Err(Reply::taken(registration.owner()));
        }
        let is_reserved = self.reserved.contains_key(registration.name())
            || self.reserved.values().any(|account| *account == registration.account());
        if is_reserved || self.reserved.len() >= MAX_PENDING {
            return Err(Reply::busy());
        }
        if self.names.len() + self.reserved.len() >= MAX_NAMES {
            return Err(Reply::failed("there is no room for more names here"));
        }
        Ok(registration)
    }

    /// The first of several registrations of a name or an account counts.
    fn insert(&mut self, registration: Registration) {
        let (name, account) = (registration.name().clone(), registration.account());
        self.accounts.entry(account).or_insert_with(|| name.clone());
        self.names.entry(name).or_insert(registration);
    }
}

fn route<'a>(method: &str, target: &'a str) -> Route<'a> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (is_get, is_post) = (method == "GET", method == "POST");
    if let Some(name) = path.strip_prefix("/name/") {
        return match name.split_once('/') {
            None if is_get => Route::Resolve(name),
            None if is_post => Route::Register(name),
            Some((name, "owner")) if is_get => Route::Owner(name),
            None | Some((_, "owner")) => Route::WrongMethod,
            Some(_) => Route::Unknown,
        };
    }
    let found = match path.strip_prefix("/addr/") {
        Some(id) => Route::NameOf(id),
        None if path == SEARCH_PATH => Route::Search(query),
        None => return Route::Unknown,
    };
    if is_get { found } else { Route::WrongMethod }
}

/// A name that is registered here, from a path.
fn plain(encoded: &str) -> Option<Name> {
    decode(encoded)?.parse().ok().filter(Name::is_plain)
}

fn with_name(encoded: &str, answer: impl FnOnce(&Name) -> Reply) -> Reply {
    plain(encoded).map_or_else(Reply::bad_name, |name| answer(&name))
}

/// An id with one of the prefixes that people write.
fn account(text: &str) -> Option<AccountId> {
    let prefixes = ["0x", "ring:", "jami:"];
    let bare = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
    bare.parse().ok()
}
