//! B: a vote of an admin.

use super::author::{is_own_device, require_admin};
use crate::swarm::diff::Change;
use crate::swarm::layout::{Folder, TreePath, VoteAction};
use crate::swarm::message::Target;
use crate::swarm::object::{EMPTY_BLOB, ObjectSource};
use crate::swarm::refusal::{Refusal, Verdict, require};
use crate::swarm::validate::{Desk, Step};

const KIND: &str = "vote";

/// At most the author's device and one new, empty vote of the author.
pub(crate) fn check<S: ObjectSource>(desk: &mut Desk<'_, S>, step: &Step<'_>) -> Verdict {
    if step.changes.is_empty() {
        return Ok(());
    }
    let mut votes = 0;
    for change in &step.changes {
        if !is_own_device(desk, step, change)? {
            check_vote(desk, step, change)?;
            votes += 1;
        }
    }
    require(votes == 1, || Refusal::NotOneVote)?;
    require_admin(desk, step.old, step.user)
}

fn check_vote<S: ObjectSource>(desk: &Desk<'_, S>, step: &Step<'_>, change: &Change) -> Verdict {
    let unexpected = || Refusal::UnexpectedChange { kind: KIND, path: change.path };
    let TreePath::Vote { action, target, voter, .. } = change.path else {
        return Err(unexpected().into());
    };
    let new_and_empty = change.old.is_none() && change.new == Some(EMPTY_BLOB);
    require(voter == step.user && new_and_empty, unexpected)?;
    let right = match target {
        Target::Device(device) => {
            // The reference asks for the device among the others for either vote, which leaves it
            // no way to unban one.
            let place = match action {
                VoteAction::Ban => TreePath::device(device),
                VoteAction::Unban => TreePath::Banned(Folder::Devices, target),
            };
            device != step.device && desk.reader().file(step.old, place)?.is_some()
        }
        Target::Account(person) if person == step.user => false,
        Target::Account(_) if action == VoteAction::Unban => true,
        Target::Account(_) => is_present(desk, step, target)?,
    };
    require(right, || Refusal::WrongTarget)
}

fn is_present<S: ObjectSource>(desk: &Desk<'_, S>, step: &Step<'_>, target: Target) -> Verdict<bool> {
    for folder in Folder::OF_PERSONS {
        if desk.reader().file(step.old, TreePath::Standing(folder, target))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
