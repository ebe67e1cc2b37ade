//! A: the first commit.

use super::author::{certificate_rule, check as check_author};
use crate::ids::{AccountId, DeviceId};
use crate::swarm::layout::TreePath;
use crate::swarm::message::{CommitMessage, Mode};
use crate::swarm::object::{Commit, EMPTY_BLOB, ObjectSource};
use crate::swarm::refusal::{Refusal, Verdict, require};
use crate::swarm::validate::Desk;

const KIND: &str = "first";

/// Only the founder, the device and, one-to-one, the invited person may be there.
pub(crate) fn check<S: ObjectSource>(
    desk: &mut Desk<'_, S>,
    commit: &Commit,
    device: DeviceId,
    message: &CommitMessage,
) -> Verdict<AccountId> {
    require(message.message_type() == "initial", || Refusal::UnknownMode)?;
    let founding = desk.founding()?;
    let user = founding.author;
    let admin = TreePath::admin(user);
    let mut is_admin = false;
    for change in desk.reader().changes(None, commit.tree)? {
        match change.path {
            path if path == admin => {
                certificate_rule(desk, &change, user)?;
                is_admin = true;
            }
            path if path == TreePath::device(device) => certificate_rule(desk, &change, user)?,
            TreePath::Revocations(account) if account == user => {}
            path if founding.mode == Mode::OneToOne
                && founding.invited.map(TreePath::invited) == Some(path)
                && change.new == Some(EMPTY_BLOB) => {}
            path => return Err(Refusal::UnexpectedChange { kind: KIND, path }.into()),
        }
    }
    require(is_admin, || Refusal::ExpectedChange { kind: KIND, path: admin })?;
    check_author(desk, commit, device, commit.tree)
}
