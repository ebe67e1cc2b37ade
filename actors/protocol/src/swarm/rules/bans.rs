//! No merge drops a ban. Rule K alone lets a merge take *every* file from one side, so somebody
//! who was banned could fork from before the ban, merge the rest of the history into that fork
//! and keep the old list of members. Honest merges never do that, so this refuses none of them.

//!
//! Only bans that differ between the sides are looked at, so an honest merge costs no more for a
//! thousand bans than for none. Whether a ban that is gone was lifted is told by where the sides
//! parted; that search goes back as far as the older side forked, within
//! [`crate::swarm::validate::MAX_SEARCH_STEPS`].

use crate::ids::{CommitId, TreeId};
use crate::swarm::layout::{Folder, TreePath};
use crate::swarm::object::{EntryKind, ObjectSource};
use crate::swarm::refusal::{Refusal, Verdict, require};
use crate::swarm::validate::Desk;

/// A ban that one side has and the merge has not must have been lifted on the other side: then it
/// was there before the sides parted.
pub(crate) fn check<S: ObjectSource>(
    desk: &mut Desk<'_, S>,
    merged: TreeId,
    parents: [CommitId; 2],
    sides: [TreeId; 2],
) -> Verdict {
    let mut dropped = Vec::new();
    for side in sides {
        if side != merged {
            dropped_from(desk, side, merged, &mut dropped)?;
        }
    }
    if dropped.is_empty() {
        return Ok(());
    }
    let [first, second] = parents;
    let mut bases = Vec::new();
    for base in desk.merge_bases(first, second)? {
        bases.push(desk.tree_of(base)?);
    }
    for path in dropped {
        let mut was_there = false;
        for base in &bases {
            was_there = was_there || desk.reader().file(*base, path)?.is_some();
        }
        require(was_there, || Refusal::MergeDropsBan(path))?;
    }
    Ok(())
}

fn dropped_from<S: ObjectSource>(
    desk: &Desk<'_, S>,
    side: TreeId,
    merged: TreeId,
    dropped: &mut Vec<TreePath>,
) -> Verdict {
    let reader = desk.reader();
    for folder in Folder::ALL {
        let place = ["banned", folder.name()];
        let (before, after) = (reader.folder_id(side, &place)?, reader.folder_id(merged, &place)?);
        if before.is_none() || before == after {
            continue;
        }
        let gone = reader.pairs(before, after, place.len())?.into_iter().filter_map(|(name, old, new)| {
            let is_gone = matches!((old, new), (Some(EntryKind::File(_)), None));
            is_gone.then(|| TreePath::parse(&format!("banned/{}/{name}", folder.name()))).flatten()
        });
        dropped.extend(gone);
    }
    Ok(())
}
