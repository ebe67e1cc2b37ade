//! Votes that are not decided yet, read from a tree (`spec: swarm 6.5`).

use std::collections::BTreeSet;

use super::diff::{ReadError, TreeReader};
use super::layout::{Folder, TreePath, VoteAction, admins_of};
use super::message::Target;
use super::object::{EntryKind, ObjectSource};
use crate::ids::{AccountId, TreeId};

/// Most targets listed; an honest conversation votes on a handful of people at a time.
pub const MAX_LISTED_VOTES: usize = 1000;

/// A vote that is not decided yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingVote {
    /// Ban or unban.
    pub action: VoteAction,
    /// Where the target stands, or stood before the ban.
    pub folder: Folder,
    /// Whom or which device it is about.
    pub target: Target,
    /// The admins who are for it. Votes of those who are no longer admins do not count.
    pub voters: BTreeSet<AccountId>,
    /// How many admins have to be for it: more than half.
    pub needed: usize,
}

/// The votes pending in a tree, at most [`MAX_LISTED_VOTES`].
///
/// # Errors
/// [`ReadError`] when a tree is missing or malformed.
pub fn pending_votes<S: ObjectSource>(source: &S, root: TreeId) -> Result<Vec<PendingVote>, ReadError> {
    let reader = TreeReader::new(source);
    let admins: BTreeSet<AccountId> = admins_of(&reader, root)?.into_iter().collect();
    let mut pending = Vec::new();
    for action in [VoteAction::Ban, VoteAction::Unban] {
        for folder in Folder::ALL {
            let Some(targets) = reader.folder(root, &["votes", action.word(), folder.name()])? else {
                continue;
            };
            let targets = targets.entries().iter().filter(|entry| matches!(entry.kind, EntryKind::Folder(_)));
            for entry in targets {
                if pending.len() >= MAX_LISTED_VOTES {
                    return Ok(pending);
                }
                let files = reader.folder(root, &["votes", action.word(), folder.name(), &entry.name])?;
                let voters = files.iter().flat_map(|files| files.entries()).map(|file| {
                    let path =
                        format!("votes/{}/{}/{}/{}", action.word(), folder.name(), entry.name, file.name);
                    TreePath::parse(&path)
                });
                let votes: Vec<(Target, AccountId)> = voters
                    .filter_map(|path| match path {
                        Some(TreePath::Vote { target, voter, .. }) => Some((target, voter)),
                        _ => None,
                    })
                    .collect();
                let Some((target, _)) = votes.first().copied() else { continue };
                let voters = votes.into_iter().map(|(_, voter)| voter).filter(|it| admins.contains(it));
                let needed = admins.len() / 2 + 1;
                pending.push(PendingVote { action, folder, target, voters: voters.collect(), needed });
            }
        }
    }
    Ok(pending)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::edit::TreeEdit;
    use crate::swarm::object::MemoryObjects;

    #[test]
    fn pending_votes_are_listed_with_the_admins_who_count_and_how_many_are_needed() {
        let [ada, bob, eve, gone] = [1, 2, 3, 4].map(|number| AccountId([number; 20]));
        let target = Target::Account(eve);
        let vote = |action, voter| TreePath::Vote { action, folder: Folder::Members, target, voter };
        let mut objects = MemoryObjects::default();
        let nothing = MemoryObjects::default();
        let mut edit = TreeEdit::new(&nothing, None);
        for admin in [ada, bob] {
            edit.put(TreePath::admin(admin), b"certificate").unwrap();
        }
        edit.put(TreePath::member(eve), b"certificate").unwrap();
        for voter in [ada, gone] {
            edit.put(vote(VoteAction::Ban, voter), b"").unwrap();
        }
        let tree = edit.finish().unwrap();
        objects.extend(tree.objects);
        let expected = PendingVote {
            action: VoteAction::Ban,
            folder: Folder::Members,
            target,
            voters: [ada].into(),
            needed: 2,
        };
        assert_eq!(pending_votes(&objects, tree.root).unwrap(), [expected]);
    }
}
