//! Z: the author is a member with a device of his own; and the rule for new certificates.

use crate::identity::Certificate;
use crate::ids::{AccountId, BlobId, DeviceId, TreeId};
use crate::keys::PublicKey;
use crate::swarm::diff::Change;
use crate::swarm::layout::{Folder, TreePath};
use crate::swarm::message::Target;
use crate::swarm::object::{Commit, ObjectSource};
use crate::swarm::refusal::{Refusal, Verdict, require};
use crate::swarm::validate::{Desk, Step};
use crate::time::UnixMillis;

/// An author as one tree knows him.
#[derive(Clone, Debug)]
pub(crate) struct Author {
    user: AccountId,
    key: PublicKey,
    device_expires: UnixMillis,
    account: TreePath,
    account_expires: UnixMillis,
}

/// Checks the author of `commit` in `tree`, and the signature; gives the person.
pub(crate) fn check<S: ObjectSource>(
    desk: &mut Desk<'_, S>,
    commit: &Commit,
    device: DeviceId,
    tree: TreeId,
) -> Verdict<AccountId> {
    let author = desk.author((tree, device), |desk| find(desk, device, tree))?;
    let made = UnixMillis::from_seconds(commit.seconds());
    require(author.device_expires >= made, || Refusal::Expired(TreePath::device(device)))?;
    require(author.account_expires >= made, || Refusal::Expired(author.account))?;
    let signature = commit.signature.as_ref().ok_or(Refusal::NoSignature)?;
    author.key.verify(&commit.signed_content(), signature).map_err(|_| Refusal::BadSignature(device))?;
    Ok(author.user)
}

fn find<S: ObjectSource>(desk: &mut Desk<'_, S>, device: DeviceId, tree: TreeId) -> Verdict<Author> {
    let path = TreePath::device(device);
    let (certificate, device_file) = device_certificate(desk, tree, device)?;
    require(certificate.device_id() == device, || Refusal::ForeignCertificate(path))?;
    // Else a banned device would simply bring its certificate again.
    let banned = desk.reader().file(tree, TreePath::Banned(Folder::Devices, Target::Device(device)))?;
    require(banned.is_none(), || Refusal::BannedDevice(device))?;
    let user = issuer(&certificate).ok_or(Refusal::ForeignCertificate(path))?;
    let (account, file) = standing(desk, tree, user)?.ok_or(Refusal::NotMember(user))?;
    let account_certificate = desk.certificate(account, file)?;
    require(account_certificate.account_id() == user, || Refusal::ForeignCertificate(account))?;
    let issued = desk.is_issued((device_file, file), &certificate, &account_certificate);
    require(issued, || Refusal::ForeignCertificate(path))?;
    Ok(Author {
        user,
        key: certificate.public_key().clone(),
        device_expires: certificate.not_after(),
        account,
        account_expires: account_certificate.not_after(),
    })
}

fn device_certificate<S: ObjectSource>(
    desk: &mut Desk<'_, S>,
    tree: TreeId,
    device: DeviceId,
) -> Verdict<(Certificate, BlobId)> {
    let path = TreePath::device(device);
    let file = desk.reader().file(tree, path)?.ok_or(Refusal::UnknownDevice(device))?;
    Ok((desk.certificate(path, file)?, file))
}

/// The file that makes `user` an admin or member in `tree`.
fn standing<S: ObjectSource>(
    desk: &Desk<'_, S>,
    tree: TreeId,
    user: AccountId,
) -> Verdict<Option<(TreePath, BlobId)>> {
    for path in [TreePath::member(user), TreePath::admin(user)] {
        if let Some(file) = desk.reader().file(tree, path)? {
            return Ok(Some((path, file)));
        }
    }
    Ok(None)
}

/// Whose device it is, as its certificate in `tree` says.
pub(crate) fn user_of<S: ObjectSource>(
    desk: &mut Desk<'_, S>,
    tree: TreeId,
    device: DeviceId,
) -> Verdict<AccountId> {
    let (certificate, _) = device_certificate(desk, tree, device)?;
    issuer(&certificate).ok_or_else(|| Refusal::ForeignCertificate(TreePath::device(device)).into())
}

/// The person a device certificate names as its issuer.
pub(crate) fn issuer(certificate: &Certificate) -> Option<AccountId> {
    certificate.issuer_uid()?.parse().ok()
}

/// Fails unless `user` is an admin in `tree`.
pub(crate) fn require_admin<S: ObjectSource>(desk: &Desk<'_, S>, tree: TreeId, user: AccountId) -> Verdict {
    let file = desk.reader().file(tree, TreePath::admin(user))?;
    require(file.is_some(), || Refusal::NotAdmin(user))
}

/// The certificate rule: a certificate put into the tree belongs to `user`, and one that replaces
/// another has its key and, for a device, its issuer.
pub(crate) fn certificate_rule<S: ObjectSource>(
    desk: &mut Desk<'_, S>,
    change: &Change,
    user: AccountId,
) -> Verdict {
    let foreign = || Refusal::ForeignCertificate(change.path);
    let file = change.new.ok_or_else(foreign)?;
    let certificate = desk.certificate(change.path, file)?;
    let is_device = matches!(change.path, TreePath::Standing(Folder::Devices, _));
    if let Some(old) = change.old {
        let old = desk.certificate(change.path, old)?;
        require(old.account_id() == certificate.account_id(), foreign)?;
        let same_issuer = !is_device || issuer(&old) == issuer(&certificate);
        require(same_issuer, foreign)?;
    }
    let owner = if is_device { issuer(&certificate) } else { Some(certificate.account_id()) };
    require(owner == Some(user), foreign)
}

/// Whether the change is the author's device being added or renewed; fails if it is another
/// certificate or if the device is removed.
pub(crate) fn is_own_device<S: ObjectSource>(
    desk: &mut Desk<'_, S>,
    step: &Step<'_>,
    change: &Change,
) -> Verdict<bool> {
    if change.path != TreePath::device(step.device) {
        return Ok(false);
    }
    certificate_rule(desk, change, step.user)?;
    Ok(true)
}
