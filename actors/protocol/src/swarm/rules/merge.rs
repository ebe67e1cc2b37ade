//! K: a merge takes every file from one of its sides.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::TreeId;
use crate::swarm::object::{EntryKind, MAX_TREE_DEPTH, ObjectSource};
use crate::swarm::refusal::{Refusal, Verdict, require};
use crate::swarm::validate::Desk;

type Entries = BTreeMap<String, EntryKind>;

/// No file may differ from both parents' files.
pub(crate) fn check<S: ObjectSource>(desk: &Desk<'_, S>, merged: TreeId, sides: [TreeId; 2]) -> Verdict {
    let mut open = vec![(String::new(), 0_usize, Some(merged), sides.map(Some))];
    while let Some((prefix, depth, merged, sides)) = open.pop() {
        if sides.contains(&merged) {
            continue;
        }
        require(depth <= MAX_TREE_DEPTH, || Refusal::Folder)?;
        let merged = read(desk, merged, depth)?;
        let [first, second] = [read(desk, sides[0], depth)?, read(desk, sides[1], depth)?];
        let names: BTreeSet<&String> = merged.keys().chain(first.keys()).chain(second.keys()).collect();
        for name in names {
            let [result, ours, theirs] = [&merged, &first, &second].map(|tree| tree.get(name).copied());
            if result == ours || result == theirs {
                continue;
            }
            let path = format!("{prefix}{name}");
            let file_is_kept = file(result) == file(ours) || file(result) == file(theirs);
            require(file_is_kept, || Refusal::MergeChanges(path.clone()))?;
            open.push((format!("{path}/"), depth + 1, folder(result), [folder(ours), folder(theirs)]));
        }
    }
    Ok(())
}

fn read<S: ObjectSource>(desk: &Desk<'_, S>, id: Option<TreeId>, depth: usize) -> Verdict<Entries> {
    let Some(id) = id else { return Ok(Entries::new()) };
    let tree = desk.reader().tree(id)?;
    require(depth == 0 || !tree.is_empty(), || Refusal::Folder)?;
    Ok(tree.entries().iter().map(|entry| (entry.name.clone(), entry.kind)).collect())
}

const fn file(kind: Option<EntryKind>) -> Option<EntryKind> {
    match kind {
        Some(EntryKind::File(_)) => kind,
        _ => None,
    }
}

const fn folder(kind: Option<EntryKind>) -> Option<TreeId> {
    match kind {
        Some(EntryKind::Folder(id)) => Some(id),
        _ => None,
    }
}
