//! The file of nodes that were good, so that a node joins again without bootstrap nodes.
//!
//! One node a line: its id, a space, its address. Lines that are none are ignored.

use std::path::{Path, PathBuf};

use skep_protocol::dht::opendht::compact::Contact;

use crate::storage;

/// Most nodes that are written and read: more than a node tries when it starts.
const MAX_NODES: usize = 128;

/// Largest file that is read, in bytes: some times what [`MAX_NODES`] take.
const MAX_FILE: usize = 64 * 1024;

/// The nodes in the file. Blocks.
pub(super) fn read(path: &Path) -> Vec<Contact> {
    match storage::read(path, MAX_FILE) {
        Ok(bytes) => parse(&String::from_utf8_lossy(&bytes.unwrap_or_default())),
        Err(error) => {
            tracing::warn!(%error, "the file of known OpenDHT nodes cannot be read");
            Vec::new()
        }
    }
}

/// What writes these nodes to the file: to be called where it may block.
pub(super) fn writing(path: PathBuf, nodes: &[Contact]) -> impl FnOnce() + Send + use<> {
    let text = print(nodes);
    move || {
        if let Err(error) = storage::replace(&path, text.as_bytes()) {
            tracing::warn!(%error, "the file of known OpenDHT nodes cannot be written");
        }
    }
}

fn print(nodes: &[Contact]) -> String {
    nodes.iter().take(MAX_NODES).map(|node| format!("{} {}\n", node.id, node.address)).collect()
}

fn parse(text: &str) -> Vec<Contact> {
    let contact = |line: &str| {
        let (id, address) = line.split_once(' ')?;
        Some(Contact { id: id.parse().ok()?, address: address.parse().ok()? })
    };
    text.lines().filter_map(contact).take(MAX_NODES).collect()
}

#[cfg(test)]
mod tests {
    use skep_protocol::ids::NodeId;

    use super::*;

    #[test]
    fn nodes_survive_their_file_and_wrong_lines_are_ignored() {
        let contact = |id, address: &str| Contact { id: NodeId([id; 20]), address: address.parse().unwrap() };
        let nodes = [contact(1, "192.0.2.1:4222"), contact(2, "[2001:db8::1]:7")];
        let text = format!("x\n\n{}0102 1.2.3.4:5\n{} here\n", print(&nodes), NodeId([3; 20]));
        assert_eq!(parse(&text), nodes);
    }

    #[test]
    fn a_file_is_written_and_read_and_a_missing_one_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nodes");
        assert_eq!(read(&path), []);
        let nodes = vec![Contact { id: NodeId([1; 20]), address: "192.0.2.1:4222".parse().unwrap() }];
        writing(path.clone(), &nodes)();
        assert_eq!(read(&path), nodes);
    }
}
