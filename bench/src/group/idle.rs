//! A node with many groups in which nothing happens, and the memory that each takes.

use std::path::Path;
use std::time::Duration;

use skep_tests::harness::{Golden, Network};

use crate::history::SyntheticHistory;
use crate::messenger::Messenger as _;
use crate::skep::SkepNode;
use crate::{BenchError, Result};

/// Groups on the node.
pub(crate) const GROUPS: u16 = 200;

/// Texts in each of them.
pub(crate) const TEXTS: usize = 20;

/// Time for a node to come to rest: what was read is let go after a minute.
pub(crate) const REST: Duration = Duration::from_secs(70);

/// Messages of a page.
const PAGE: usize = 50;

/// Kilobytes of 1,000 bytes for each group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Memory {
    /// When the last page of each has been read and let go.
    pub(crate) read: f64,
    /// When nobody has asked for any since the start.
    pub(crate) started: f64,
}

/// Measures a node with and without groups. Its files go below `folder`.
pub(crate) async fn measure(folder: &Path) -> Result<Memory> {
    let mut network = Network::best()?;
    let mut node = SkepNode::start(&mut network, None, "alice", folder).await?;
    let account = node.import_account(&Golden::ALICE.archive()?).await?;
    node.restart().await?;
    node.until_account(&account).await?;
    tokio::time::sleep(SETTLE).await;
    let without = kilobytes(node.resident()?);
    let mut groups = Vec::new();
    for number in 0..GROUPS {
        let bundle = folder.join(format!("{number}.bundle"));
        let history = SyntheticHistory::group(number, TEXTS)?;
        let bytes = history.bundle(history.commits.len())?;
        std::fs::write(&bundle, bytes).map_err(BenchError::file(&bundle))?;
        groups.push(node.import_conversation(&account, &bundle).await?);
    }
    node.restart().await?;
    node.until_account(&account).await?;
    tokio::time::sleep(SETTLE).await;
    let each = |bytes: usize| (kilobytes(bytes) - without) / f64::from(GROUPS);
    let started = each(node.resident()?);
    for group in &groups {
        node.last_page(&account, *group, PAGE).await?;
    }
    tokio::time::sleep(REST).await;
    Ok(Memory { read: each(node.resident()?), started })
}

/// Time for a node to come to rest after its start.
const SETTLE: Duration = Duration::from_secs(15);

fn kilobytes(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / 1e3
}
