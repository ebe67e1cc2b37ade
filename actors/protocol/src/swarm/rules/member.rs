//! C to F: invitations, joins, leaves, bans and unbans.

use std::collections::BTreeSet;

use super::author::{is_own_device, issuer, require_admin};
use crate::ids::AccountId;
use crate::swarm::diff::Change;
use crate::swarm::layout::{Folder, TreePath, VoteAction, admins_of};
use crate::swarm::message::{MemberAction, Mode, Target};
use crate::swarm::object::{EMPTY_BLOB, ObjectSource};
use crate::swarm::refusal::{Refusal, Verdict, require};
use crate::swarm::validate::{Desk, Step};

/// Dispatches by action. Devices can only be banned and unbanned.
pub(crate) fn check<S: ObjectSource>(
    desk: &mut Desk<'_, S>,
    step: &Step<'_>,
    action: MemberAction,
    target: Target,
) -> Verdict {
    let person = match target {
        Target::Account(person) => Ok(person),
        Target::Device(_) => Err(Refusal::MalformedTarget),
    };
    match action {
        MemberAction::Add => add(desk, step, person?),
        MemberAction::Join => join(desk, step, person?),
        MemberAction::Remove => leave(desk, step, person?),
        MemberAction::Ban => ban(desk, step, target, VoteAction::Ban),
        MemberAction::Unban => ban(desk, step, target, VoteAction::Unban),
    }
}

fn unexpected(kind: &'static str, change: &Change) -> Refusal {
    Refusal::UnexpectedChange { kind, path: change.path }
}

/// C: one person is invited.
fn add<S: ObjectSource>(desk: &mut Desk<'_, S>, step: &Step<'_>, person: AccountId) -> Verdict {
    const KIND: &str = "member/add";
    let invitation = TreePath::invited(person);
    for change in &step.changes {
        let fine = match change.path {
            path if path == invitation => change.new == Some(EMPTY_BLOB),
            TreePath::Revocations(account) => account == step.user,
            _ => is_own_device(desk, step, change)?,
        };
        require(fine, || unexpected(KIND, change))?;
    }
    require(!step.changes.is_empty(), || Refusal::ExpectedChange { kind: KIND, path: invitation })?;
    let invited = desk.reader().file(step.commit.tree, invitation)?;
    require(invited == Some(EMPTY_BLOB), || Refusal::ExpectedChange { kind: KIND, path: invitation })?;
    require(person != step.user, || Refusal::WrongTarget)?;
    // Only this folder: whom the reference lets in again after another ban we may not keep out.
    let banned = TreePath::Banned(Folder::Members, Target::Account(person));
    require(desk.reader().file(step.old, banned)?.is_none(), || Refusal::WrongTarget)?;
    let founding = desk.founding()?;
    let of_the_pair = person == founding.author || founding.invited == Some(person);
    require(founding.mode != Mode::OneToOne || of_the_pair, || Refusal::WrongTarget)
}

/// D: an invited person becomes a member.
fn join<S: ObjectSource>(desk: &mut Desk<'_, S>, step: &Step<'_>, person: AccountId) -> Verdict {
    const KIND: &str = "member/join";
    require(person == step.user, || Refusal::WrongTarget)?;
    let (invitation, membership) = (TreePath::invited(person), TreePath::member(person));
    let (mut answered, mut joined) = (false, false);
    for change in &step.changes {
        let fine = match change.path {
            path if path == invitation => {
                answered = change.old.is_some() && change.new.is_none();
                answered
            }
            path if path == membership => {
                joined = change.old.is_none() && change.new.is_some();
                joined
            }
            _ => is_own_device(desk, step, change)?,
        };
        require(fine, || unexpected(KIND, change))?;
    }
    require(answered, || Refusal::ExpectedChange { kind: KIND, path: invitation })?;
    require(joined, || Refusal::ExpectedChange { kind: KIND, path: membership })
}

/// E: a member leaves. Files may only go away, so that nobody leaves into another role.
fn leave<S: ObjectSource>(desk: &mut Desk<'_, S>, step: &Step<'_>, person: AccountId) -> Verdict {
    const KIND: &str = "member/remove";
    require(person == step.user, || Refusal::WrongTarget)?;
    let own = Target::Account(person);
    for change in &step.changes {
        let fine = match change.path {
            TreePath::Standing(Folder::Devices, _) if change.new.is_none() => {
                owner_before(desk, change)? == Some(person)
            }
            TreePath::Standing(_, target) if target == own => change.new.is_none(),
            TreePath::Revocations(account) => account == person,
            _ => is_own_device(desk, step, change)?,
        };
        require(fine, || unexpected(KIND, change))?;
    }
    Ok(())
}

/// F: a person or device is banned or unbanned, by the votes that the commit clears away.
fn ban<S: ObjectSource>(
    desk: &mut Desk<'_, S>,
    step: &Step<'_>,
    target: Target,
    action: VoteAction,
) -> Verdict {
    let kind = match action {
        VoteAction::Ban => "member/ban",
        VoteAction::Unban => "member/unban",
    };
    require_admin(desk, step.old, step.user)?;
    let mut voters = BTreeSet::new();
    let mut moved = false;
    for change in &step.changes {
        let fine = match change.path {
            TreePath::Vote { action: of, target: on, voter, .. } if (of, on) == (action, target) => {
                voters.insert(voter);
                change.old.is_some() && change.new.is_none()
            }
            TreePath::Banned(folder, who) if who == target => {
                moved = true;
                match action {
                    VoteAction::Ban => comes_from(step, change, TreePath::Standing(folder, who)),
                    VoteAction::Unban => change.new.is_none(),
                }
            }
            TreePath::Standing(folder, who) if who == target => match action {
                VoteAction::Ban => change.new.is_none(),
                VoteAction::Unban => comes_from(step, change, TreePath::Banned(folder, who)),
            },
            TreePath::Revocations(account) => Target::Account(account) == target,
            path if path == TreePath::device(step.device) => is_own_device(desk, step, change)?,
            TreePath::Standing(Folder::Devices, _) => is_device_of(desk, change, target, action)?,
            _ => false,
        };
        require(fine, || unexpected(kind, change))?;
    }
    require(moved, || Refusal::NobodyBanned)?;
    let admins: BTreeSet<AccountId> = admins_of(&desk.reader(), step.old)?.into_iter().collect();
    let votes = voters.intersection(&admins).count();
    // Creating a ban takes more than half; accepting one takes half (`spec: swarm 7.3 F`).
    require(votes.saturating_mul(2) >= admins.len(), || Refusal::NotEnoughVotes {
        votes,
        admins: admins.len(),
    })
}

/// Whether the file of `change` is new, and the very file that vanishes at `origin`. Nobody is
/// banned or unbanned into another role this way. Files that only vanish need no such check: after
/// merges a person can be both invited and a member, and then a ban takes both away.
fn comes_from(step: &Step<'_>, change: &Change, origin: TreePath) -> bool {
    let vanished = |from: &Change| from.path == origin && from.old == change.new && from.new.is_none();
    change.old.is_none() && step.changes.iter().any(vanished)
}

/// Whether the change takes a device of the banned person away, or gives one back.
fn is_device_of<S: ObjectSource>(
    desk: &mut Desk<'_, S>,
    change: &Change,
    target: Target,
    action: VoteAction,
) -> Verdict<bool> {
    let file = match (action, change.old, change.new) {
        (VoteAction::Ban, Some(old), None) => old,
        (VoteAction::Unban, None, Some(new)) => new,
        _ => return Ok(false),
    };
    let certificate = desk.certificate(change.path, file)?;
    let in_its_place = TreePath::device(certificate.device_id()) == change.path;
    Ok(in_its_place && issuer(&certificate).map(Target::Account) == Some(target))
}

/// Whose the device of a removed file was.
fn owner_before<S: ObjectSource>(desk: &mut Desk<'_, S>, change: &Change) -> Verdict<Option<AccountId>> {
    match change.old {
        Some(file) => Ok(issuer(&desk.certificate(change.path, file)?)),
        None => Ok(None),
    }
}
