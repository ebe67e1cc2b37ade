//! Votes and what follows from them (`spec: swarm 6.5`).

use std::collections::BTreeSet;

use super::{CreateError, Draft, SignedDraft, Writer, member_message, message_of};
use crate::ids::AccountId;
use crate::keys::PrivateKey;
use crate::swarm::diff::{ReadError, TreeReader};
use crate::swarm::layout::{Folder, TreePath, VoteAction, admins_of};
use crate::swarm::message::{Content, Target};
use crate::swarm::object::{EntryKind, MemoryObjects, ObjectSource, Overlay};

impl<S: ObjectSource> Writer<'_, S> {
    /// Votes and, if that decides it, bans or unbans at once: one or two commits, in the order to
    /// write them. If this admin has voted already and the votes suffice by now, as they can after a
    /// merge or when another admin has left, it is only the ban or unban.
    ///
    /// # Errors
    /// As [`Writer::vote`], and [`CreateError::Sign`].
    pub fn cast_vote(
        &self,
        action: VoteAction,
        target: Target,
        key: &PrivateKey,
    ) -> Result<Vec<SignedDraft>, CreateError> {
        let vote = match self.vote(action, target) {
            Ok(vote) => vote.sign(key)?,
            Err(CreateError::VotedAlready) => {
                let resolution = self.resolve(action, target)?.ok_or(CreateError::VotedAlready)?;
                return Ok(vec![resolution.sign(key)?]);
            }
            Err(error) => return Err(error),
        };
        let mut above = MemoryObjects::default();
        above.extend(vote.objects.iter().cloned());
        above.insert_commit(&vote.commit);
        let source = Overlay { above, below: self.source };
        let after = Writer::new(&source, self.local, vote.commit.id, self.now)?;
        let resolution = after.resolve(action, target)?.map(|resolution| resolution.sign(key)).transpose()?;
        Ok([Some(vote), resolution].into_iter().flatten().collect())
    }

    /// Votes to ban or unban. Afterwards see whether [`Writer::resolve`] has something to do.
    ///
    /// # Errors
    /// [`CreateError::NotAdmin`], [`CreateError::Yourself`], [`CreateError::VotedAlready`],
    /// [`CreateError::NoTarget`], [`CreateError::AlreadyBanned`], [`CreateError::NotBanned`].
    pub fn vote(&self, action: VoteAction, target: Target) -> Result<Draft, CreateError> {
        self.require_admin()?;
        if [Target::Account(self.local.account), Target::Device(self.local.device)].contains(&target) {
            return Err(CreateError::Yourself);
        }
        let folder = self.voted_folder(action, target)?;
        let vote = TreePath::Vote { action, folder, target, voter: self.local.account };
        if self.file(vote)?.is_some() {
            return Err(CreateError::VotedAlready);
        }
        let mut edit = self.edit()?;
        edit.put(vote, b"")?;
        self.draft(edit, message_of(&Content::Vote(target)))
    }

    /// Bans or unbans, if more than half of the admins voted for it.
    ///
    /// # Errors
    /// [`CreateError::NotAdmin`], [`CreateError::NoTarget`], [`CreateError::AlreadyBanned`],
    /// [`CreateError::NotBanned`].
    pub fn resolve(&self, action: VoteAction, target: Target) -> Result<Option<Draft>, CreateError> {
        self.require_admin()?;
        let folder = self.voted_folder(action, target)?;
        let reader = TreeReader::new(self.source);
        let votes = reader.folder(self.tree, &["votes", action.word(), folder.name(), &target.to_hex()])?;
        let voters: BTreeSet<AccountId> = votes
            .iter()
            .flat_map(|votes| votes.entries())
            .filter(|vote| matches!(vote.kind, EntryKind::File(_)))
            .filter_map(|vote| vote.name.parse().ok())
            .collect();
        let admins = admins_of(&reader, self.tree)?;
        let for_it = admins.iter().filter(|admin| voters.contains(*admin)).count();
        if for_it.saturating_mul(2) <= admins.len() {
            return Ok(None);
        }
        let (standing, banned) = (TreePath::Standing(folder, target), TreePath::Banned(folder, target));
        let (from, to) = match action {
            VoteAction::Ban => (standing, banned),
            VoteAction::Unban => (banned, standing),
        };
        let mut edit = self.edit()?;
        edit.place(to, self.file(from)?.ok_or(CreateError::NoTarget)?);
        edit.remove(from);
        for voter in voters {
            edit.remove(TreePath::Vote { action, folder, target, voter });
        }
        self.draft(edit, member_message(action.member_action(), target)).map(Some)
    }

    /// Where the target of a vote stands, or stood before the ban.
    fn voted_folder(&self, action: VoteAction, target: Target) -> Result<Folder, CreateError> {
        let found: [Result<Option<Folder>, ReadError>; 2] =
            [self.where_standing(target), self.where_banned(target)];
        let [standing, banned] = found;
        match (action, standing?, banned?) {
            (VoteAction::Ban, Some(folder), _) | (VoteAction::Unban, _, Some(folder)) => Ok(folder),
            (VoteAction::Ban, None, Some(_)) => Err(CreateError::AlreadyBanned(target)),
            (VoteAction::Unban, Some(_), None) => Err(CreateError::NotBanned(target)),
            (_, None, None) => Err(CreateError::NoTarget),
        }
    }
}
