//! Making commits (`spec: swarm 2, 3, 6`): the trees and messages of everything a member can do.
//!
//! Nothing is written here. A [`Draft`] holds what to write; the actor signs its commit on the
//! blocking pool, writes all of it, then moves the branch. What may not be done fails with a
//! [`CreateError`] that says why not; [`Writer::may`] asks without making anything.

mod local;
mod may;
mod voting;

pub use local::LocalDevice;
pub use may::Act;

use super::diff::{ReadError, TreeReader};
use super::edit::TreeEdit;
use super::layout::{Folder, MAX_CERTIFICATE_FILE, TreePath};
use super::message::{
    CommitMessage, Content, MAX_SENT_TEXT, MemberAction, Mode, Relation, Target, merge_message,
};
use super::object::{
    Commit, EntryKind, MemoryObjects, NewObject, ObjectError, ObjectSource, Overlay, SignError, SignedCommit,
    UnsignedCommit,
};
use super::validate::Founding;
use crate::identity::Certificate;
use crate::ids::{AccountId, BlobId, CommitId, TreeId};
use crate::keys::PrivateKey;
use crate::profile::ConversationProfile;
use crate::time::UnixMillis;

/// Why something cannot be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The certificate chain has no account certificate.
    #[error("the device certificate comes without that of the account")]
    NoAccount,
    /// We are not a member.
    #[error("this account is not a member of the conversation")]
    NotMember,
    /// Only admins may do this.
    #[error("only an admin may do this")]
    NotAdmin,
    /// We were not invited.
    #[error("this account is not invited")]
    NotInvited,
    /// The person was banned; an admin can vote to unban.
    #[error("{0} is banned from the conversation")]
    Banned(AccountId),
    /// This very device was banned.
    #[error("this device is banned from the conversation")]
    BannedDevice,
    /// The person is in the conversation already.
    #[error("{0} is in the conversation already")]
    AlreadyThere(AccountId),
    /// Nobody else may join a one-to-one conversation.
    #[error("nobody else may join a one-to-one conversation")]
    OneToOne,
    /// Nobody invites, bans or unbans oneself.
    #[error("nobody can do this to oneself")]
    Yourself,
    /// The target is not in the conversation.
    #[error("there is nobody like this in the conversation")]
    NoTarget,
    /// The target is banned already.
    #[error("{} is banned already", .0.to_hex())]
    AlreadyBanned(Target),
    /// The target is in the conversation, so there is no ban to lift.
    #[error("{} is not banned", .0.to_hex())]
    NotBanned(Target),
    /// This admin has voted already.
    #[error("this account has voted already")]
    VotedAlready,
    /// The text is longer than [`MAX_SENT_TEXT`].
    #[error("a text of {0} bytes is too long, the limit is {MAX_SENT_TEXT}")]
    TooLong(usize),
    /// The commit referred to is not there.
    #[error("commit {0} is not in the conversation")]
    UnknownCommit(CommitId),
    /// Only texts, files on offer and documents can be edited.
    #[error("commit {0} cannot be edited")]
    NotEditable(CommitId),
    /// Only its author may edit a message.
    #[error("commit {0} is by somebody else")]
    NotYours(CommitId),
    /// Nothing is said in a collaborative document.
    #[error("a document holds no messages")]
    Document,
    /// This device has not written yet, or its certificate or that of the account was renewed. It has
    /// to write a message first: neither a leave nor a merge may introduce a device, and only a
    /// message may renew the account.
    #[error("this device has to write something else first")]
    NewDevice,
    /// The commit could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The conversation could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<ObjectError> for CreateError {
    fn from(error: ObjectError) -> Self {
        Self::Read(error.into())
    }
}

/// What to write for one local operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// New files and folders.
    pub objects: Vec<NewObject>,
    /// The commit, to be signed.
    pub commit: UnsignedCommit,
}

/// What to write for one local operation, signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedDraft {
    /// New files and folders.
    pub objects: Vec<NewObject>,
    /// The commit.
    pub commit: SignedCommit,
}

impl Draft {
    /// Signs it. RSA takes milliseconds: not for a thread that must not wait.
    ///
    /// # Errors
    /// [`SignError`] when the key is not the device's.
    pub fn sign(self, key: &PrivateKey) -> Result<SignedDraft, SignError> {
        Ok(SignedDraft { commit: self.commit.sign(key)?, objects: self.objects })
    }
}

/// Makes the commits that follow `head`.
#[derive(Debug)]
pub struct Writer<'w, S> {
    source: &'w S,
    local: &'w LocalDevice,
    head: CommitId,
    tree: TreeId,
    now: UnixMillis,
}

impl<'w, S: ObjectSource> Writer<'w, S> {
    /// For commits on top of `head` at the time `now`.
    ///
    /// # Errors
    /// [`CreateError::Read`] when `head` cannot be read.
    pub fn new(
        source: &'w S,
        local: &'w LocalDevice,
        head: CommitId,
        now: UnixMillis,
    ) -> Result<Self, CreateError> {
        let raw = source.commit(head).map_err(ReadError::from)?;
        let tree = Commit::parse(raw.ok_or_else(|| ReadError::Missing(head.to_hex()))?)?.tree;
        Ok(Self { source, local, head, tree, now })
    }

    /// Says something that touches no file: a call, a file offer, anything of [`CommitMessage`].
    ///
    /// # Errors
    /// [`CreateError`] when we are no member, or the message edits what we may not edit.
    pub fn say(&self, message: &CommitMessage) -> Result<Draft, CreateError> {
        self.message(message.edited(), message.to_bytes())
    }

    /// A text, reply, edit, deletion (edit with an empty body) or reaction.
    ///
    /// # Errors
    /// [`CreateError`] when we are no member, the text is too long, or the commit it refers to is
    /// not there or not ours to edit.
    pub fn text(&self, body: &str, relation: Relation) -> Result<Draft, CreateError> {
        if body.len() > MAX_SENT_TEXT {
            return Err(CreateError::TooLong(body.len()));
        }
        if let Relation::Reply(id) | Relation::Edit(id) | Relation::React(id) = relation
            && self.source.commit(id).map_err(ReadError::from)?.is_none()
        {
            return Err(CreateError::UnknownCommit(id));
        }
        let content = Content::Text { body: body.to_owned(), relation };
        let edited = if let Relation::Edit(id) = relation { Some(id) } else { None };
        self.message(edited, message_of(&content))
    }

    /// Invites somebody.
    ///
    /// # Errors
    /// [`CreateError::Banned`] (vote to unban instead), [`CreateError::AlreadyThere`],
    /// [`CreateError::Yourself`], [`CreateError::OneToOne`], or we are no member, or no admin where only admins invite.
    pub fn invite(&self, person: AccountId, founding: &Founding) -> Result<Draft, CreateError> {
        self.require_member()?;
        match founding.mode {
            Mode::OneToOne if person != founding.author && Some(person) != founding.invited => {
                return Err(CreateError::OneToOne);
            }
            Mode::AdminInvitesOnly => self.require_admin()?,
            _ => {}
        }
        let target = Target::Account(person);
        if person == self.local.account {
            return Err(CreateError::Yourself);
        }
        if self.where_banned(target)?.is_some() {
            return Err(CreateError::Banned(person));
        }
        if self.where_standing(target)?.is_some() {
            return Err(CreateError::AlreadyThere(person));
        }
        let mut edit = self.edit()?;
        edit.put(TreePath::invited(person), b"")?;
        self.draft(edit, member_message(MemberAction::Add, target))
    }

    /// Takes up the invitation.
    ///
    /// # Errors
    /// [`CreateError::NotInvited`], or [`CreateError::AlreadyThere`].
    pub fn join(&self) -> Result<Draft, CreateError> {
        self.require_good_device()?;
        let own = self.local.account;
        match self.where_standing(Target::Account(own))? {
            Some(Folder::Invited) => {}
            Some(_) => return Err(CreateError::AlreadyThere(own)),
            None => return Err(CreateError::NotInvited),
        }
        let mut edit = self.edit()?;
        edit.remove(TreePath::invited(own));
        edit.put(TreePath::member(own), self.local.account_file.as_bytes())?;
        self.draft(edit, member_message(MemberAction::Join, Target::Account(own)))
    }

    /// Leaves, taking all devices of the account along.
    ///
    /// # Errors
    /// [`CreateError::NotMember`], or [`CreateError::NewDevice`].
    pub fn leave(&self) -> Result<Draft, CreateError> {
        self.require_known()?;
        let own = self.local.account;
        let mut edit = TreeEdit::new(self.source, Some(self.tree));
        edit.remove(TreePath::admin(own));
        edit.remove(TreePath::member(own));
        for path in self.devices_of(own)? {
            edit.remove(path);
        }
        self.draft(edit, member_message(MemberAction::Remove, Target::Account(own)))
    }

    /// Changes the profile.
    ///
    /// # Errors
    /// [`CreateError::NotAdmin`].
    pub fn profile(&self, profile: &ConversationProfile) -> Result<Draft, CreateError> {
        self.require_admin()?;
        let mut edit = self.edit()?;
        edit.put(TreePath::Profile, profile.to_vcard().as_bytes())?;
        self.draft(edit, message_of(&Content::Profile))
    }

    /// The merge commit of `theirs` into our head, with the tree that
    /// [`super::merge::merge_heads`] found.
    ///
    /// # Errors
    /// [`CreateError::NotMember`], [`CreateError::BannedDevice`] or [`CreateError::NewDevice`] when
    /// that is so in the merged tree.
    pub fn merge(
        &self,
        theirs: CommitId,
        tree: TreeId,
        objects: Vec<NewObject>,
    ) -> Result<Draft, CreateError> {
        let mut above = MemoryObjects::default();
        above.extend(objects.iter().cloned());
        let source = Overlay { above, below: self.source };
        Writer { source: &source, local: self.local, head: self.head, tree, now: self.now }
            .require_known()?;
        let parents = vec![self.head, theirs];
        let commit = self.local.commit(tree, parents, merge_message(theirs), self.now);
        Ok(Draft { objects, commit })
    }

    const fn reader(&self) -> TreeReader<'w, S> {
        TreeReader::new(self.source)
    }

    fn file(&self, path: TreePath) -> Result<Option<BlobId>, ReadError> {
        self.reader().file(self.tree, path)
    }

    /// A message that touches no file but those of our certificates.
    fn message(&self, edited: Option<CommitId>, message: Vec<u8>) -> Result<Draft, CreateError> {
        self.require_member()?;
        if let Some(edited) = edited {
            self.require_editable(edited)?;
        }
        let mut edit = self.edit_with_device()?;
        for path in self.expired_account()? {
            edit.put(path, self.local.account_file.as_bytes())?;
        }
        self.draft(edit, message)
    }

    /// An edit of anything but a message: it begins with our device, and cannot renew the account.
    fn edit(&self) -> Result<TreeEdit<'w, S>, CreateError> {
        if self.expired_account()?.is_empty() { self.edit_with_device() } else { Err(CreateError::NewDevice) }
    }

    /// An edit that begins with our device: added at its first commit, replaced once expired.
    fn edit_with_device(&self) -> Result<TreeEdit<'w, S>, CreateError> {
        let mut edit = TreeEdit::new(self.source, Some(self.tree));
        let path = TreePath::device(self.local.device);
        let present = self.file(path)?;
        if present.is_none_or(|file| self.has_expired(file)) {
            edit.put(path, self.local.device_file.as_bytes())?;
        }
        Ok(edit)
    }

    /// Where our account's certificate has expired.
    fn expired_account(&self) -> Result<Vec<TreePath>, ReadError> {
        let mut expired = Vec::new();
        for path in [TreePath::admin(self.local.account), TreePath::member(self.local.account)] {
            if self.file(path)?.is_some_and(|file| self.has_expired(file)) {
                expired.push(path);
            }
        }
        Ok(expired)
    }

    fn has_expired(&self, file: BlobId) -> bool {
        self.certificate(file).is_some_and(|certificate| certificate.not_after() < self.now)
    }

    fn certificate(&self, file: BlobId) -> Option<Certificate> {
        let text = self.source.blob(file, MAX_CERTIFICATE_FILE).ok().flatten()?;
        Certificate::from_pem(&text).ok()
    }

    fn devices_of(&self, account: AccountId) -> Result<Vec<TreePath>, CreateError> {
        let folder = self.reader().folder(self.tree, &[Folder::Devices.name()])?;
        let mut paths = Vec::new();
        for entry in folder.iter().flat_map(|folder| folder.entries()) {
            let EntryKind::File(file) = entry.kind else { continue };
            let path = TreePath::parse(&format!("{}/{}", Folder::Devices.name(), entry.name));
            paths.extend(path.filter(|_| self.owner(file) == Some(account)));
        }
        Ok(paths)
    }

    fn where_standing(&self, target: Target) -> Result<Option<Folder>, ReadError> {
        self.find(target, TreePath::Standing)
    }

    fn where_banned(&self, target: Target) -> Result<Option<Folder>, ReadError> {
        self.find(target, TreePath::Banned)
    }

    fn find(
        &self,
        target: Target,
        path: fn(Folder, Target) -> TreePath,
    ) -> Result<Option<Folder>, ReadError> {
        let folders: &[Folder] = match target {
            Target::Account(_) => &Folder::OF_PERSONS,
            Target::Device(_) => &[Folder::Devices],
        };
        for folder in folders {
            if self.file(path(*folder, target))?.is_some() {
                return Ok(Some(*folder));
            }
        }
        Ok(None)
    }

    /// A member whose certificates are there and good, for commits that cannot bring them.
    fn require_known(&self) -> Result<(), CreateError> {
        self.require_member()?;
        let device = self.file(TreePath::device(self.local.device))?;
        if device.is_none_or(|file| self.has_expired(file)) || !self.expired_account()?.is_empty() {
            return Err(CreateError::NewDevice);
        }
        Ok(())
    }

    fn require_member(&self) -> Result<(), CreateError> {
        self.require_good_device()?;
        match self.where_standing(Target::Account(self.local.account))? {
            Some(Folder::Admins | Folder::Members) => Ok(()),
            _ => Err(CreateError::NotMember),
        }
    }

    fn require_good_device(&self) -> Result<(), CreateError> {
        let device = Target::Device(self.local.device);
        match self.file(TreePath::Banned(Folder::Devices, device))? {
            Some(_) => Err(CreateError::BannedDevice),
            None => Ok(()),
        }
    }

    fn require_admin(&self) -> Result<(), CreateError> {
        self.require_good_device()?;
        match self.file(TreePath::admin(self.local.account))? {
            Some(_) => Ok(()),
            None => Err(CreateError::NotAdmin),
        }
    }

    /// Others would refuse an edit of anything else (`spec: swarm 7.3 I`).
    fn require_editable(&self, id: CommitId) -> Result<(), CreateError> {
        let raw = self.source.commit(id).map_err(ReadError::from)?.ok_or(CreateError::UnknownCommit(id))?;
        let edited = Commit::parse(raw)?;
        if edited.parents.len() != 1
            || !CommitMessage::parse(&edited.message).is_ok_and(|it| it.is_editable())
        {
            return Err(CreateError::NotEditable(id));
        }
        let device = edited.author.device().ok_or(CreateError::NotEditable(id))?;
        let certificate = self.reader().file(edited.tree, TreePath::device(device))?;
        let author = certificate.and_then(|file| self.owner(file));
        if author == Some(self.local.account) { Ok(()) } else { Err(CreateError::NotYours(id)) }
    }

    /// Whose the device in this file is.
    fn owner(&self, device: BlobId) -> Option<AccountId> {
        self.certificate(device)?.issuer_uid()?.parse().ok()
    }

    fn draft(&self, edit: TreeEdit<'w, S>, message: Vec<u8>) -> Result<Draft, CreateError> {
        let tree = edit.finish()?;
        let commit = self.local.commit(tree.root, vec![self.head], message, self.now);
        Ok(Draft { objects: tree.objects, commit })
    }
}

fn member_message(action: MemberAction, target: Target) -> Vec<u8> {
    message_of(&Content::Member { action, target })
}

fn message_of(content: &Content) -> Vec<u8> {
    CommitMessage::from_content(content).map(|message| message.to_bytes()).unwrap_or_default()
}
