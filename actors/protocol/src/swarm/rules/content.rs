//! G to J: profiles, checkpoints, edits and everything that is just said.

use super::author::{certificate_rule, is_own_device, require_admin, user_of};
use crate::swarm::layout::TreePath;
use crate::swarm::message::{CommitMessage, Mode};
use crate::swarm::object::{Commit, ObjectSource};
use crate::swarm::refusal::{Refusal, Verdict, require};
use crate::swarm::validate::{Desk, Step};

/// G: an admin changes the profile.
pub(crate) fn profile<S: ObjectSource>(desk: &mut Desk<'_, S>, step: &Step<'_>) -> Verdict {
    require_admin(desk, step.commit.tree, step.user)?;
    for change in &step.changes {
        let fine = change.path == TreePath::Profile || is_own_device(desk, step, change)?;
        require(fine, || Refusal::UnexpectedChange { kind: "profile", path: change.path })?;
    }
    Ok(())
}

/// H: changes of a document.
pub(crate) fn checkpoint<S: ObjectSource>(desk: &mut Desk<'_, S>, step: &Step<'_>) -> Verdict {
    const KIND: &str = "checkpoint";
    let mode = desk.founding()?.mode;
    require(mode == Mode::Document, || Refusal::WrongMode { kind: KIND, mode })?;
    for change in &step.changes {
        let fine = match change.path {
            TreePath::Attachment(id) => change.new == Some(id),
            _ => is_own_device(desk, step, change)?,
        };
        require(fine, || Refusal::UnexpectedChange { kind: KIND, path: change.path })?;
    }
    Ok(())
}

/// I: somebody edits an own message.
///
/// The edited commit is looked up by its id and need not be an ancestor, as in the reference: the
/// cost is that of one look-up whatever the length of the history. One that is not here may come
/// with another branch, so [`Refusal::EditedIsMissing`] is not final.
pub(crate) fn edit<S: ObjectSource>(desk: &mut Desk<'_, S>, step: &Step<'_>) -> Verdict {
    let id = step.message.edited().ok_or(Refusal::NotEditable(None))?;
    let raw = desk.source.commit(id)?.ok_or(Refusal::EditedIsMissing(id))?;
    let edited = Commit::parse(raw)?;
    let editable = edited.parents.len() == 1
        && CommitMessage::parse(&edited.message).is_ok_and(|message| message.is_editable());
    require(editable, || Refusal::NotEditable(Some(id)))?;
    let device = edited.author.device().ok_or(Refusal::NotEditable(Some(id)))?;
    let author = user_of(desk, edited.tree, device)?;
    require(author == step.user, || Refusal::ForeignEdit)?;
    message(desk, step)
}

/// J: anything that is just said. The author's certificates may be renewed on the way.
pub(crate) fn message<S: ObjectSource>(desk: &mut Desk<'_, S>, step: &Step<'_>) -> Verdict {
    const KIND: &str = "message";
    let mode = desk.founding()?.mode;
    require(mode != Mode::Document, || Refusal::WrongMode { kind: KIND, mode })?;
    let own = [TreePath::admin(step.user), TreePath::member(step.user)];
    for change in &step.changes {
        let fine = if own.contains(&change.path) && change.old.is_some() {
            certificate_rule(desk, change, step.user)?;
            true
        } else {
            is_own_device(desk, step, change)?
        };
        require(fine, || Refusal::UnexpectedChange { kind: KIND, path: change.path })?;
    }
    Ok(())
}
