//! What a SIP account is, on disk: one file for each, which only its owner may read, as the password is in it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skep_protocol::ids::LocalAccountId;
use skep_protocol::sip::address::{SipAddress, SipServer};
use skep_protocol::sip::agent::{DEFAULT_EXPIRY, SipIdentity, SipPassword, Transport};
use zeroize::Zeroizing;

use super::messages::{NewSipAccount, SipError};
use crate::storage;

/// Largest file of an account, in bytes: nearly all of it are certificates to trust.
const MAX_FILE: usize = 256 * 1024;

/// Longest name to log in with, and longest password, in bytes.
const MAX_LOGIN: usize = 256;

/// How files of accounts end.
const ENDING: &str = "sip";

/// An account as it is on disk, in JSON.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Stored {
    address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    transport: Transport,
    login: String,
    #[serde(with = "wiped")]
    password: Zeroizing<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) authorities: Option<String>,
    expiry_seconds: u64,
}

/// A text that is wiped from memory, as the text that it is.
mod wiped {
    use serde::{Deserialize, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(text: &Zeroizing<String>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(from).map(Zeroizing::new)
    }
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Stored({})", self.address)
    }
}

impl Stored {
    /// An account as it is asked for.
    pub(super) fn new(new: NewSipAccount) -> Result<Self, SipError> {
        let login = new.login.unwrap_or_else(|| new.address.user().to_owned());
        for (text, what) in [(&login, "the login"), (&*new.password.0, "the password")] {
            if text.is_empty() || text.len() > MAX_LOGIN || text.chars().any(char::is_control) {
                let problem = format!("{what} has 1 to {MAX_LOGIN} bytes and no control characters");
                return Err(SipError::Unfit(problem));
            }
        }
        if new.authorities.as_ref().is_some_and(|pem| pem.len() > MAX_FILE / 2) {
            return Err(SipError::Unfit(format!(
                "certificates to trust have at most {} bytes",
                MAX_FILE / 2
            )));
        }
        if new.authorities.is_some() && new.transport != Transport::Tls {
            return Err(SipError::Unfit("certificates to trust are for TLS only".to_owned()));
        }
        if new.address.is_secure() && new.transport != Transport::Tls {
            return Err(SipError::Unfit("a sips address is for TLS only".to_owned()));
        }
        let server = new.server.map(|server| match (server.host.contains(':'), server.port) {
            (true, Some(port)) => format!("[{}]:{port}", server.host),
            (false, Some(port)) => format!("{}:{port}", server.host),
            (_, None) => server.host,
        });
        let stored = Self {
            address: new.address.to_string(),
            server,
            transport: new.transport,
            login,
            password: new.password.0,
            authorities: new.authorities,
            expiry_seconds: new.expiry.unwrap_or(DEFAULT_EXPIRY).as_secs(),
        };
        // What is written has to be what can be read back.
        if !stored.is_whole() {
            return Err(SipError::Unfit("its address or its server is none".to_owned()));
        }
        Ok(stored)
    }

    fn is_whole(&self) -> bool {
        self.identity().is_some() && self.server().is_some()
    }

    /// What the core needs; `None` if the file was changed by hand into something that is no account.
    pub(super) fn identity(&self) -> Option<SipIdentity> {
        let address: SipAddress = self.address.parse().ok()?;
        if address.is_secure() && self.transport != Transport::Tls {
            return None;
        }
        Some(SipIdentity {
            address,
            transport: self.transport,
            login: self.login.clone(),
            password: SipPassword(self.password.clone()),
            expiry: Duration::from_secs(self.expiry_seconds),
        })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) const fn transport(&self) -> Transport {
        self.transport
    }

    /// Host, whose name a certificate has to bear, and port.
    pub(super) fn server(&self) -> Option<(String, u16)> {
        let usual = self.transport.usual_port();
        match &self.server {
            Some(server) => {
                let SipServer { host, port } = server.parse().ok()?;
                Some((host, port.unwrap_or(usual)))
            }
            None => {
                let address: SipAddress = self.address.parse().ok()?;
                Some((address.host().to_owned(), address.port().unwrap_or(usual)))
            }
        }
    }
}

fn path(folder: &Path, local: LocalAccountId) -> PathBuf {
    folder.join(format!("{local}.{ENDING}"))
}

/// Writes an account durably.
pub(super) fn write(folder: &Path, local: LocalAccountId, stored: &Stored) -> io::Result<()> {
    storage::make_folder(folder)?;
    let text = Zeroizing::new(serde_json::to_vec(stored)?);
    storage::replace(&path(folder, local), &text)
}

/// Removes an account durably.
pub(super) fn remove(folder: &Path, local: LocalAccountId) -> io::Result<()> {
    storage::remove(&path(folder, local))
}

/// All accounts that can be read; of others the log tells, and they are left as they are.
pub(super) fn read_all(folder: &Path) -> Vec<(LocalAccountId, Stored)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    if let Err(error) = storage::sweep(folder) {
        tracing::warn!(%error, "what a crash left of SIP accounts is not removed");
    }
    let mut all = Vec::new();
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let local = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".sip")?.parse().ok());
        let Some(local) = local else { continue };
        match read(&path) {
            Ok(stored) => all.push((local, stored)),
            Err(error) => tracing::error!(%error, account = %local, "a SIP account cannot be read"),
        }
    }
    all.sort_by_key(|(local, _)| *local);
    all
}

fn read(path: &Path) -> io::Result<Stored> {
    let bytes = Zeroizing::new(storage::read(path, MAX_FILE)?.ok_or(io::ErrorKind::NotFound)?);
    // What the parser says of a wrong file would show parts of it.
    let stored: Option<Stored> = serde_json::from_slice(&bytes).ok();
    stored
        .filter(Stored::is_whole)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the file is damaged"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn new() -> NewSipAccount {
        NewSipAccount {
            address: "sip:alice@example.org".parse().unwrap(),
            server: None,
            transport: Transport::Tls,
            login: None,
            password: SipPassword(Zeroizing::new("secret word".to_owned())),
            authorities: None,
            expiry: None,
        }
    }

    #[test]
    fn accounts_are_kept_and_only_their_owner_may_read_them() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("sip");
        let local = LocalAccountId([7; 8]);
        write(&folder, local, &Stored::new(new()).unwrap()).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&path(&folder, local))), (0o700, 0o600));
        let all = read_all(&folder);
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].0, all[0].1.server()), (local, Some(("example.org".to_owned(), 5061))));
        assert_eq!(&**all[0].1.identity().unwrap().password.0, "secret word");
        assert!(!format!("{:?} {:?}", all, new()).contains("secret"));
        remove(&folder, local).unwrap();
        assert!(read_all(&folder).is_empty());
    }

    #[test]
    fn what_could_not_be_read_back_is_refused() {
        for host in ["", "a b", "a\r\nb", "x:y"] {
            let server = Some(SipServer { host: host.to_owned(), port: Some(5061) });
            let made = Stored::new(NewSipAccount { server, ..new() });
            assert!(matches!(made, Err(SipError::Unfit(_))), "{host:?}");
        }
    }

    #[test]
    fn a_secure_address_is_for_tls_only() {
        let secure = |transport| {
            let address = "sips:alice@example.org".parse().unwrap();
            Stored::new(NewSipAccount { address, transport, ..new() })
        };
        assert!(secure(Transport::Tls).is_ok());
        for transport in [Transport::Udp, Transport::Tcp] {
            assert!(matches!(secure(transport), Err(SipError::Unfit(_))));
        }
    }

    #[test]
    fn damaged_files_are_left_out_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let local = LocalAccountId([7; 8]);
        write(folder.path(), local, &Stored::new(new()).unwrap()).unwrap();
        for (name, text) in [
            ("00000000000000aa.sip", "{"),
            (
                "00000000000000ab.sip",
                r#"{"address":"x","transport":"tcp","login":"a","password":"b","expiry_seconds":1}"#,
            ),
            ("00000000000000ac.sip", ""),
            ("other", "x"),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        std::fs::write(folder.path().join("00000000000000ad.sip"), vec![b' '; MAX_FILE + 1]).unwrap();
        assert_eq!(read_all(folder.path()).len(), 1);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 6);
    }

    #[test]
    fn what_is_no_login_is_refused() {
        for (login, password) in [("", "x"), ("a", ""), ("a\r\nb", "x"), ("a", "x\ny")] {
            let login = Some(login.to_owned());
            let password = SipPassword(Zeroizing::new(password.to_owned()));
            assert!(matches!(
                Stored::new(NewSipAccount { login, password, ..new() }),
                Err(SipError::Unfit(_))
            ));
        }
        let pem = NewSipAccount { authorities: Some(String::new()), transport: Transport::Udp, ..new() };
        assert!(Stored::new(pem).is_err());
    }
}
