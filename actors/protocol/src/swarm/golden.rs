//! Test support: the repositories that real daemons left, and what those daemons listed for them.
//!
//! `swarm-objects.bin.gz` holds every object below `main` of all bundles of one daemon, each once,
//! as `git cat-file --batch` prints them; `swarm-views.json.gz` has, by bundle, the head and the
//! daemon's own lists of messages, members and profile.

use std::collections::BTreeMap;

use super::object::{MemoryObjects, NewObject, ObjectKind};
use crate::ids::CommitId;
use crate::keys::PrivateKey;
pub(crate) use crate::testing::DAEMONS;
use crate::testing::recording;

/// All repositories of one daemon.
pub(crate) struct Golden {
    /// Every object of all of them.
    pub objects: MemoryObjects,
    /// By the name of the bundle.
    pub repositories: BTreeMap<String, Repository>,
}

/// One repository and what the daemon listed for it.
#[derive(serde::Deserialize)]
pub(crate) struct Repository {
    /// Its `main`.
    pub head: CommitId,
    /// Newest first; `null` for document repositories.
    #[serde(default)]
    pub messages: Option<Vec<serde_json::Value>>,
    /// Uri and role.
    #[serde(default)]
    pub members: Option<Vec<serde_json::Value>>,
    /// The profile and the mode.
    #[serde(default)]
    pub infos: Option<BTreeMap<String, String>>,
}

/// Reads a daemon's repositories.
pub(crate) fn load(daemon: &str) -> Golden {
    let bytes = recording(&format!("{daemon}/swarm-objects.bin.gz"));
    let mut objects = MemoryObjects::default();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let end = rest.iter().position(|&byte| byte == b'\n').unwrap();
        let header = std::str::from_utf8(&rest[..end]).unwrap();
        let [id, kind, size] = header.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let kind = match kind {
            "commit" => ObjectKind::Commit,
            "tree" => ObjectKind::Tree,
            _ => ObjectKind::Blob,
        };
        let content = rest[end + 1..end + 1 + size.parse::<usize>().unwrap()].to_vec();
        rest = &rest[end + 2 + content.len()..];
        let object = NewObject::new(kind, content).unwrap();
        assert_eq!(hex::encode(object.id), id);
        objects.insert(object);
    }
    let repositories = serde_json::from_slice(&recording(&format!("{daemon}/swarm-views.json.gz"))).unwrap();
    Golden { objects, repositories }
}

/// The device key of one of the daemons' accounts.
pub(crate) fn device_key(daemon: &str, account: &str) -> PrivateKey {
    let pem = recording(&format!("{daemon}/accounts/{account}/ring_device.key"));
    PrivateKey::from_pem(&String::from_utf8(pem).unwrap()).unwrap()
}

/// The certificate chain of one of the daemons' accounts: device, account, CA.
pub(crate) fn device_chain(daemon: &str, account: &str) -> String {
    String::from_utf8(recording(&format!("{daemon}/accounts/{account}/ring_device.crt"))).unwrap()
}
