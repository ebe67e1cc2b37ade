//! The files that the owner waits for, on disk, so that a wish survives a restart (`spec:
//! file-transfer 3`). Everything here blocks.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use skep_protocol::ids::{AccountId, ConversationId};
use skep_protocol::transfer::{FileId, OfferedFile, safe_name};

use super::messages::MAX_WISHES;
use crate::storage;

/// Largest file read, in bytes: a kilobyte for each wish, and long paths for some.
const MAX_FILE: usize = MAX_WISHES * 8 * 1024;

/// A file that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wished {
    pub(super) conversation: ConversationId,
    pub(super) author: AccountId,
    pub(super) file: OfferedFile,
    pub(super) to: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    conversation: ConversationId,
    author: AccountId,
    file: String,
    sha3: String,
    size: u64,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<PathBuf>,
}

/// Reads them; what cannot be read is left out. None where the file is missing, or was set aside because it
/// cannot be read at all: the next [`save`] replaces nothing that may still be of use.
pub(super) fn load(path: &Path) -> io::Result<Vec<Wished>> {
    let listed = storage::read(path, MAX_FILE).map(|bytes| match bytes {
        Some(bytes) => serde_json::from_slice::<Vec<serde_json::Value>>(&bytes).map_err(io::Error::from),
        None => Ok(Vec::new()),
    });
    let records = match listed.and_then(|records| records) {
        Ok(records) => records,
        Err(error) => {
            let aside = path.with_extension("unreadable");
            tracing::error!(path = %aside.display(), %error, "the files waited for are unreadable; they are set aside");
            std::fs::rename(path, aside)?;
            return Ok(Vec::new());
        }
    };
    Ok(records.into_iter().take(MAX_WISHES).filter_map(read).collect())
}

fn read(record: serde_json::Value) -> Option<Wished> {
    let record: Record = serde_json::from_value(record).ok()?;
    let id: FileId = record.file.parse().ok()?;
    let name = safe_name(&record.name);
    let file = OfferedFile { id, hash: record.sha3.parse().ok()?, size: record.size, name };
    Some(Wished { conversation: record.conversation, author: record.author, file, to: record.to })
}

/// Writes them, durably.
pub(super) fn save(path: &Path, wishes: &[Wished]) -> io::Result<()> {
    let records: Vec<Record> = wishes
        .iter()
        .map(|wish| Record {
            conversation: wish.conversation,
            author: wish.author,
            file: wish.file.id.to_string(),
            sha3: wish.file.hash.to_string(),
            size: wish.file.size,
            name: wish.file.name.clone(),
            to: wish.to.clone(),
        })
        .collect();
    storage::replace(path, &serde_json::to_vec(&records)?)
}
