//! G to J: profiles, checkpoints, edits and everything that is just said.

use super::author::{certificate_rule, is_own_device, require_admin, user_of};
use crate::swarm::layout::TreePath;
use crate::swarm::message::{CommitMessage, Mode};
use crate::swarm::object::ObjectSource;
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
pub(crate) fn edit<S: ObjectSource>(desk: &mut Desk<'_, S>, step: &Step<'_>) -> Verdict {
    let id = step.message.edited().ok_or(Refusal::NotEditable(None))?;
    let raw = desk.source.commit(id)?;
    require(raw.is_some(), || Refusal::NotEditable(Some(id)))?;
    let edited = desk.commit(id)?;
    let editable = edited.parents.len() == 1
        && CommitMessage::parse(&edited.message).is_ok_and(|message| is_editable(&message));
    require(editable, || Refusal::NotEditable(Some(id)))?;
    let device = edited.author.device().ok_or(Refusal::NotEditable(Some(id)))?;
    let author = user_of(desk, edited.tree, device)?;
    require(author == step.user, || Refusal::ForeignEdit)?;
    message(desk, step)
}

fn is_editable(message: &CommitMessage) -> bool {
    match message.message_type() {
        "text/plain" | "application/collab-doc+json" => true,
        "application/data-transfer+json" => message.text("tid").is_some_and(|tid| !tid.is_empty()),
        _ => false,
    }
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
