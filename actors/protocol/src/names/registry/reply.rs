//! What the name server answers (`spec: name-server 3-6`).

use std::time::Duration;

use serde::Serialize;

use super::super::name::Name;
use super::super::registration::Registration;
use crate::ids::AccountId;

/// An answer, of the type [`CONTENT_TYPE`](super::super::CONTENT_TYPE).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The body, JSON.
    pub body: String,
    /// The value of the `Retry-After` header, in seconds, if it has one.
    pub retry_after: Option<u64>,
}

#[derive(Serialize)]
struct Resolved<'a> {
    name: &'a str,
    addr: String,
    publickey: String,
    signature: String,
}

#[derive(Serialize)]
struct Owner<'a> {
    name: &'a str,
    owner: &'a str,
}

#[derive(Serialize)]
struct OnlyName<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Missing<'a> {
    error: &'a str,
}

#[derive(Serialize)]
struct Outcome<'a> {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
}

#[derive(Serialize)]
struct Profiles<'a> {
    profiles: Vec<Profile<'a>>,
}

#[derive(Serialize)]
struct Profile<'a> {
    username: &'a str,
    id: AccountId,
}

impl Reply {
    fn new(status: u16, body: &impl Serialize) -> Self {
        // Structs of texts always have a JSON form.
        Self { status, body: serde_json::to_string(body).unwrap_or_default(), retry_after: None }
    }

    fn outcome(status: u16, success: bool, error: Option<&str>, owner: Option<&str>) -> Self {
        Self::new(status, &Outcome { success, error, owner })
    }

    pub(super) fn resolved(registration: &Registration) -> Self {
        let (publickey, signature) = registration.proof().to_base64();
        let addr = registration.account().to_hex();
        Self::new(200, &Resolved { name: registration.name().as_str(), addr, publickey, signature })
    }

    pub(super) fn owner(registration: &Registration) -> Self {
        Self::new(200, &Owner { name: registration.name().as_str(), owner: registration.owner() })
    }

    pub(super) fn name(name: &Name) -> Self {
        Self::new(200, &OnlyName { name: name.as_str() })
    }

    pub(super) fn profiles(found: Vec<(&Name, AccountId)>) -> Self {
        let profiles = found.into_iter().map(|(name, id)| Profile { username: name.as_str(), id });
        Self::new(200, &Profiles { profiles: profiles.collect() })
    }

    pub(super) fn registered() -> Self {
        Self::outcome(200, true, None, None)
    }

    /// The spelling is the protocol's.
    pub(super) fn name_unknown() -> Self {
        Self::not_found("name not registred")
    }

    /// The spelling is the protocol's.
    pub(super) fn address_unknown() -> Self {
        Self::not_found("address not registred")
    }

    pub(super) fn not_found(error: &str) -> Self {
        Self::new(404, &Missing { error })
    }

    pub(super) fn no_id() -> Self {
        Self::outcome(400, false, None, None)
    }

    pub(super) fn bad_name() -> Self {
        Self::refused("a name has 3 to 32 letters, digits, `-` and `_`")
    }

    pub(super) fn refused(error: &str) -> Self {
        Self::outcome(400, false, Some(error), None)
    }

    pub(super) fn forged() -> Self {
        Self::outcome(401, false, Some("the signature of the name does not belong to the account"), None)
    }

    pub(super) fn taken(owner: &str) -> Self {
        Self::outcome(403, false, None, Some(owner))
    }

    pub(super) fn wrong_method() -> Self {
        Self::outcome(405, false, Some("this is read with GET, and registered with POST"), None)
    }

    pub(super) fn failed(error: &str) -> Self {
        Self::outcome(500, false, Some(error), None)
    }

    pub(super) fn busy() -> Self {
        let reply = Self::outcome(503, false, Some("the name is just being registered; try again"), None);
        Self { retry_after: Some(1), ..reply }
    }

    pub(super) fn too_much(wait: Duration) -> Self {
        let reply = Self::outcome(503, false, Some("too many requests; try again later"), None);
        Self { retry_after: Some(wait.as_secs().saturating_add(1)), ..reply }
    }
}
