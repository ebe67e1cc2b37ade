//! No merge drops a ban. Rule K alone lets a merge take *every* file from one side, so somebody
//! who was banned could fork from before the ban, merge the rest of the history into that fork
//! and keep the old list of members. Honest merges never do that, so this refuses none of them.

use std::collections::BTreeSet;

use crate::ids::{CommitId, TreeId};
use crate::swarm::layout::{Folder, TreePath};
use crate::swarm::object::ObjectSource;
use crate::swarm::refusal::{Refusal, Verdict, require};
use crate::swarm::validate::Desk;

/// A ban that one side has and the merge has not must have been lifted on the other side: then it
/// was there before the sides parted.
pub(crate) fn check<S: ObjectSource>(
    desk: &mut Desk<'_, S>,
    merged: TreeId,
    first: CommitId,
    second: CommitId,
) -> Verdict {
    let mut dropped = BTreeSet::new();
    for side in [first, second] {
        let side = desk.commit(side)?.tree;
        if side != merged {
            dropped.extend(bans_in(desk, side)?);
        }
    }
    if dropped.is_empty() {
        return Ok(());
    }
    for kept in bans_in(desk, merged)? {
        dropped.remove(&kept);
    }
    if dropped.is_empty() {
        return Ok(());
    }
    let bases = desk.merge_bases(first, second)?;
    for path in dropped {
        let mut was_there = false;
        for base in &bases {
            let base = desk.commit(*base)?.tree;
            was_there |= desk.reader().file(base, path)?.is_some();
        }
        require(was_there, || Refusal::MergeDropsBan(path))?;
    }
    Ok(())
}

fn bans_in<S: ObjectSource>(desk: &Desk<'_, S>, tree: TreeId) -> Verdict<Vec<TreePath>> {
    let mut bans = Vec::new();
    for folder in Folder::ALL {
        let found = desk.reader().folder(tree, &["banned", folder.name()])?;
        let names = found.iter().flat_map(|found| found.entries());
        bans.extend(
            names.filter_map(|entry| TreePath::parse(&format!("banned/{}/{}", folder.name(), entry.name))),
        );
    }
    Ok(bans)
}
