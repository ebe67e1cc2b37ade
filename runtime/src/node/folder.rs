//! The data folder: private, locked against a second process, with the node's own key.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use zeroize::Zeroizing;

use crate::error::NodeError;

/// Bytes of the key that makes the node's id among the nodes of the DHT.
pub(crate) const NODE_KEY: usize = 32;

/// The data folder, ours as long as this lives.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Makes the folder if need be, makes it private, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, NodeError> {
        let failed = |error: std::io::Error| NodeError::file(path, error);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let lock = lock(&path)?;
        let accounts = path.join("accounts");
        match fs::DirBuilder::new().mode(0o700).create(&accounts) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(NodeError::file(accounts, error)),
            _ => Ok(Self { path, _lock: lock }),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where each account has a folder, named by its local name.
    pub(crate) fn accounts(&self) -> PathBuf {
        self.path.join("accounts")
    }

    /// The node's key, made at the first start.
    pub(crate) fn node_key(&self) -> Result<[u8; NODE_KEY], NodeError> {
        let path = self.path.join("node.key");
        let text = secret_file(&path)?;
        let mut key = [0; NODE_KEY];
        hex::decode_to_slice(text.trim(), &mut key).map_err(|_| {
            NodeError::file(&path, "it is damaged; delete it to get a new one, and a new node id with it")
        })?;
        Ok(key)
    }
}

/// Reads a file that holds a random secret in hexadecimal; makes it if it is not there. Only its
/// owner may read it.
pub(crate) fn secret_file(path: &Path) -> Result<Zeroizing<String>, NodeError> {
    let failed = |error: std::io::Error| NodeError::file(path, error);
    match fs::read_to_string(path) {
        Ok(text) => {
            let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(NodeError::file(path, "others can read it; run chmod 600 on it"));
            }
            Ok(Zeroizing::new(text))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let text = Zeroizing::new(hex::encode(rand::random::<[u8; 32]>()));
            write_private(path, text.as_bytes()).map_err(failed)?;
            Ok(text)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Writes a file of mode 0600 so that it is there whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Locks the folder for as long as the file is open, and writes into it who holds it.
fn lock(folder: &Path) -> Result<File, NodeError> {
    let path = folder.join("lock");
    let failed = |error: std::io::Error| NodeError::file(&path, error);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            file.set_len(0).map_err(failed)?;
            file.rewind().map_err(failed)?;
            file.write_all(std::process::id().to_string().as_bytes()).map_err(failed)?;
            Ok(file)
        }
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            // Who holds it is a courtesy; that it is held is what matters.
            let _ = file.take(20).read_to_string(&mut pid);
            let pid = if pid.is_empty() { "unknown".to_owned() } else { pid };
            Err(NodeError::InUse { path: folder.to_owned(), pid })
        }
        Err(error) => Err(failed(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_folder_is_private_and_locked_against_a_second_user() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("deep/skep");
        let folder = DataFolder::open(&path).unwrap();
        assert_eq!((mode(&path), mode(&path.join("lock"))), (0o700, 0o600));
        match DataFolder::open(&path).unwrap_err() {
            NodeError::InUse { pid, .. } => assert_eq!(pid, std::process::id().to_string()),
            other => panic!("{other:?}"),
        }
        drop(folder);
        DataFolder::open(&path).unwrap();
    }

    #[test]
    fn a_folder_open_to_others_is_closed_to_them() {
        let base = tempfile::tempdir().unwrap();
        fs::set_permissions(base.path(), Permissions::from_mode(0o755)).unwrap();
        DataFolder::open(base.path()).unwrap();
        assert_eq!(mode(base.path()), 0o700);
    }

    #[test]
    fn the_node_key_stays_the_same_and_private() {
        let base = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(base.path()).unwrap();
        let key = folder.node_key().unwrap();
        assert_eq!(folder.node_key().unwrap(), key);
        let path = base.path().join("node.key");
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(folder.node_key().unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "no key").unwrap();
        assert!(folder.node_key().unwrap_err().to_string().contains("damaged"));
    }

    #[test]
    fn a_file_where_the_folder_should_be_is_an_error() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("file");
        fs::write(&path, "").unwrap();
        assert!(matches!(DataFolder::open(&path).unwrap_err(), NodeError::File { .. }));
    }
}
