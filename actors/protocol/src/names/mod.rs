//! Names instead of forty digits: the protocol of name servers, a client and a server
//! (`spec: name-server`).
//!
//! ```text
//!   client                                          server
//!   GET  /name/alice          ──────────────►       registry: names, ids, limits for each address
//!   GET  /addr/30e6…          ──────────────►          │ registration: signature of the account key
//!   POST /name/alice          ──────────────►          ▼
//!     cache, retries, redirects                     log: one record a name, forced to disk, then 200
//!
//!   name           what is a name
//!   typed          what people type: a name, a name at a server, an id
//!   server_url     which server
//!   http           requests and answers as values, percent-encoding
//!   registration   what the account key signs, and how that is checked
//!   answer         what answers of a server mean
//!   directory      search
//!   cache          what was learned, for a while
//!   client         questions in, requests and answers out
//!   registry       requests in, answers and records out
//! ```
//!
//! A server is believed no more than it can prove. Who resolves a name learns whether the account
//! itself signed it; the name that a server tells of an id counts only if the name leads back to it.

mod answer;
mod cache;
mod client;
mod directory;
mod http;
mod name;
mod registration;
mod registry;
mod server_url;
mod typed;

pub use answer::{AskError, Evidence, RegisterError, Resolution};
pub use cache::{CLAIMED_LIFETIME, CacheError, MAX_CACHE_FILE, MAX_CACHED, NameCache, SIGNED_LIFETIME};
pub use client::{
    About, Action, Answer, Found, MAX_IN_FLIGHT, MAX_IN_FLIGHT_PER_SERVER, MAX_QUESTIONS, MAX_WANTED,
    NameClient, Question, REPLY_TIMEOUT, RequestId, SAVE_DELAY, SENDS,
};
pub use directory::{MAX_PROFILES, Profile};
pub use http::{ACCEPT, CONTENT_TYPE, MAX_ANSWER, Method, Request, Response, USER_AGENT};
pub use name::{MAX_NAME, Name, NameError};
pub use registration::{MAX_REGISTRATION, Registration, RegistrationError};
pub use registry::{
    Incoming, LogDamage, LogError, MAX_LOG, MAX_NAMES, NameRegistry, Pending, Reply, Step, network_of,
    new_log,
};
pub use server_url::{DEFAULT_SERVER, MAX_SERVER_URL, ServerUrl, ServerUrlError};
pub use typed::{Typed, TypedError};

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod golden;
