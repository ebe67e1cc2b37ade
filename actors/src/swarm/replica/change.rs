//! Changes of members and profile: the commits of one change, with one move of the head
//! (`spec: swarm 6.2, 6.5, 6.6`).

use std::sync::Arc;

use skep_protocol::ids::{AccountId, CommitId, DeviceId};
use skep_protocol::profile::{ConversationProfile, Picture};
use skep_protocol::swarm::create::{CreateError, Draft, LocalDevice, Writer};
use skep_protocol::swarm::history::HistoryCommit;
use skep_protocol::swarm::layout::{Role, VoteAction};
use skep_protocol::swarm::message::Target;
use skep_protocol::swarm::object::{MemoryObjects, NewObject};
use skep_protocol::time::UnixMillis;

use super::{Moved, Overlay, Replica, ReplicaError, SharedRepository, lock, storage};
use crate::swarm::messages::{
    Changed, ConversationError, GroupChange, MAX_DESCRIPTION, MAX_TITLE, ProfileChange, ProfileError,
};
use crate::swarm::timeline::News;

/// Commits that are signed and not written yet, each upon the one before.
struct Chain<'r> {
    replica: &'r Replica,
    local: Arc<LocalDevice>,
    overlay: Overlay<'r, SharedRepository>,
    head: CommitId,
    commits: Vec<HistoryCommit>,
    objects: Vec<NewObject>,
    now: UnixMillis,
}

impl Chain<'_> {
    fn writer(&self) -> Result<Writer<'_, Overlay<'_, SharedRepository>>, CreateError> {
        Writer::new(&self.overlay, &self.local, self.head, self.now)
    }

    fn add(&mut self, draft: Draft) -> Result<(), ReplicaError> {
        let (commit, objects) = self.replica.sign_draft(draft)?;
        self.overlay.new.extend(objects.iter().cloned());
        self.head = commit.id;
        self.commits.push(commit);
        self.objects.extend(objects);
        Ok(())
    }
}

impl Replica {
    /// Makes the commits of a change; they are durable when it returns.
    pub(in crate::swarm) fn change(
        &self,
        change: &GroupChange,
        now: UnixMillis,
    ) -> Result<(Changed, Option<Moved>), ConversationError> {
        let _writer = lock(&self.writer);
        let old = self.head().map_err(|error| storage(&error))?;
        let mut chain = Chain {
            replica: self,
            local: self.local(),
            overlay: Overlay { new: MemoryObjects::default(), base: &self.repository },
            head: old,
            commits: Vec::new(),
            objects: Vec::new(),
            now,
        };
        let decided = match change {
            GroupChange::Invite(person) => self.invite(*person, &mut chain)?,
            GroupChange::Vote { action, target } => vote(*action, *target, &mut chain)?,
            GroupChange::Profile(profile) => self.change_profile(profile, &mut chain)?,
        };
        let Chain { head, commits, objects, .. } = chain;
        let changed = Changed { commit: head, decided };
        if commits.is_empty() {
            return Ok((changed, None));
        }
        let moved = self
            .advance(old, head, &objects, &News { commits, untold: 0 })
            .map_err(|error| storage(&error))?;
        Ok((changed, Some(moved)))
    }

    /// Who was invited already is only sent the invitation again. Whom we have banned is not invited; an
    /// admin votes to unban them instead.
    fn invite(&self, person: AccountId, chain: &mut Chain<'_>) -> Result<bool, ConversationError> {
        let invited = chain.writer().and_then(|writer| writer.invite(person, &self.founding));
        match invited {
            Ok(draft) => chain.add(draft).map(|()| true).map_err(|error| storage(&error)),
            Err(CreateError::AlreadyThere(_)) if self.role(person)? == Some(Role::Invited) => Ok(true),
            Err(CreateError::Yourself) => Err(ConversationError::AlreadyThere(person)),
            Err(CreateError::Banned(_)) if self.role(self.account)? == Some(Role::Admin) => {
                vote(VoteAction::Unban, Target::Account(person), chain)
            }
            Err(error) => Err(explain(error)),
        }
    }

    fn role(&self, person: AccountId) -> Result<Option<Role>, ConversationError> {
        let standing = self.head().and_then(|head| self.standing(head)).map_err(|error| storage(&error))?;
        Ok(standing.members.role(person))
    }

    fn change_profile(
        &self,
        change: &ProfileChange,
        chain: &mut Chain<'_>,
    ) -> Result<bool, ConversationError> {
        let standing = self.head().and_then(|head| self.standing(head)).map_err(|error| storage(&error))?;
        let profile = changed_profile(&standing.profile, change)?;
        let draft = chain.writer().and_then(|writer| writer.profile(&profile)).map_err(explain)?;
        chain.add(draft).map_err(|error| storage(&error))?;
        Ok(true)
    }
}

/// Votes, and bans or unbans if that decides it; whether it did. A vote already given may decide now
/// that there are fewer admins.
fn vote(action: VoteAction, target: Target, chain: &mut Chain<'_>) -> Result<bool, ConversationError> {
    // The reference wants the device to be there for either vote (`spec: swarm 7.3 B`), and whoever makes
    // commits that it refuses is alone with them.
    if matches!((action, target), (VoteAction::Unban, Target::Device(_))) {
        return Err(ConversationError::DeviceStaysBanned);
    }
    let no_target =
        || ConversationError::NoTarget { action: action.word().to_owned(), target: target.to_hex() };
    let explain_vote = |error| match error {
        CreateError::NoTarget
        | CreateError::Yourself
        | CreateError::AlreadyBanned(_)
        | CreateError::NotBanned(_) => no_target(),
        error => explain(error),
    };
    let drafted = chain.writer().and_then(|writer| writer.vote(action, target));
    let voted = match drafted {
        Ok(draft) => chain.add(draft).map(|()| true).map_err(|error| storage(&error))?,
        Err(CreateError::VotedAlready) => false,
        Err(error) => return Err(explain_vote(error)),
    };
    let resolution = chain.writer().and_then(|writer| writer.resolve(action, target));
    match resolution.map_err(explain_vote)? {
        Some(draft) => chain.add(draft).map(|()| true).map_err(|error| storage(&error)),
        None if voted => Ok(false),
        None => Err(ConversationError::VotedAlready { missing: missing(action, target, chain)? }),
    }
}

/// How many votes a ban or unban still needs.
fn missing(action: VoteAction, target: Target, chain: &Chain<'_>) -> Result<usize, ConversationError> {
    let standing = chain.replica.standing(chain.head).map_err(|error| storage(&error))?;
    let vote = standing.votes.iter().find(|vote| (vote.action, vote.target) == (action, target));
    Ok(vote.map_or(0, |vote| vote.needed.saturating_sub(vote.voters.len())))
}

fn explain(error: CreateError) -> ConversationError {
    match error {
        CreateError::NotMember | CreateError::NotInvited => ConversationError::NotMember,
        CreateError::NotAdmin => ConversationError::NotAdmin,
        CreateError::Banned(person) => ConversationError::Banned(person),
        CreateError::AlreadyThere(person) => ConversationError::AlreadyThere(person),
        CreateError::OneToOne => ConversationError::OneToOne,
        CreateError::NewDevice => ConversationError::NewDevice,
        CreateError::BannedDevice => ConversationError::BannedDevice,
        error => ConversationError::Storage(error.to_string()),
    }
}

/// A profile with a change applied.
pub(crate) fn changed_profile(
    old: &ConversationProfile,
    change: &ProfileChange,
) -> Result<ConversationProfile, ProfileError> {
    let mut profile = old.clone();
    for (field, text, limit, place) in [
        ("title", &change.title, MAX_TITLE, &mut profile.title),
        ("description", &change.description, MAX_DESCRIPTION, &mut profile.description),
    ] {
        let Some(text) = text else { continue };
        if text.len() > limit {
            return Err(ProfileError::TooLong { field, length: text.len(), limit });
        }
        place.clone_from(text);
    }
    if let Some(avatar) = &change.avatar {
        profile.avatar = Picture::from_base64(avatar);
        if profile.avatar.as_ref().is_some_and(|avatar| avatar.decode().is_none()) {
            return Err(ProfileError::Picture);
        }
    }
    if let Some(host) = &change.call_host {
        profile.call_host = optional(host, |it| AccountId::from_uri(it).ok(), "Jami")?;
        profile.call_host_device = None;
    }
    if let Some(device) = &change.call_host_device {
        profile.call_host_device = optional(device, |it| it.parse::<DeviceId>().ok(), "device's")?;
    }
    Ok(profile)
}

fn optional<T>(
    text: &str,
    read: impl FnOnce(&str) -> Option<T>,
    kind: &'static str,
) -> Result<Option<T>, ProfileError> {
    if text.is_empty() {
        return Ok(None);
    }
    read(text).map(Some).ok_or(ProfileError::CallHost(kind))
}

#[cfg(test)]
mod tests {
    use skep_protocol::swarm::edit::TreeEdit;
    use skep_protocol::swarm::layout::TreePath;
    use skep_protocol::swarm::message::Mode;
    use skep_protocol::swarm::object::UnsignedCommit;

    use super::*;
    use crate::recorded::NOW;
    use crate::swarm::replica::sign;
    use crate::swarm::repository::Repository;
    use crate::swarm::testing::founder;

    /// No rule makes a second admin, so one is put into the tree behind their back.
    #[test]
    fn one_of_two_admins_votes_and_only_asks_for_the_other() {
        let place = tempfile::tempdir().unwrap();
        let founder = founder();
        let profile = ConversationProfile::default();
        let id = founder.begin_group(Mode::InvitesOnly, &profile, place.path(), |_| false).unwrap();
        let path = place.path().join(id.to_hex());
        {
            let repository = Repository::open(&path).unwrap();
            let head = repository.head().unwrap().unwrap();
            let mut edit = TreeEdit::new(&repository, Some(repository.commit_at(head).unwrap().tree));
            edit.put(TreePath::admin(AccountId([8; 20])), b"a certificate").unwrap();
            edit.put(TreePath::member(AccountId([9; 20])), b"a certificate").unwrap();
            let tree = edit.finish().unwrap();
            let commit = UnsignedCommit {
                tree: tree.root,
                parents: vec![head],
                name: "Alice".to_owned(),
                device: founder.identity.device_id(),
                seconds: NOW.seconds(),
                message: b"{\"type\":\"text/plain\"}".to_vec(),
            };
            let draft = Draft { objects: tree.objects, commit };
            let (commit, objects) = sign(draft, founder.identity.key()).unwrap();
            repository.write_objects(&objects).unwrap();
            repository.move_main(Some(head), commit.id).unwrap();
        }
        let (replica, _) = Replica::open(id, &path, &founder).unwrap().unwrap();
        let target = Target::Account(AccountId([9; 20]));
        let ban = GroupChange::Vote { action: VoteAction::Ban, target };
        let (changed, moved) = replica.change(&ban, NOW).unwrap();
        assert!(!changed.decided);
        let standing = moved.unwrap().standing;
        assert_eq!(standing.members.role(AccountId([9; 20])), Some(Role::Member));
        assert_eq!((standing.votes.len(), standing.votes[0].needed), (1, 2));
        let again = replica.change(&ban, NOW).unwrap_err();
        assert_eq!(again, ConversationError::VotedAlready { missing: 1 });
    }

    #[test]
    fn a_profile_changes_only_where_it_is_said_to() {
        let change =
            |title: &str| ProfileChange { title: Some(title.to_owned()), ..ProfileChange::default() };
        let old = ConversationProfile { description: "kept".to_owned(), ..ConversationProfile::default() };
        let new = changed_profile(&old, &change("Friends")).unwrap();
        assert_eq!((new.title.as_str(), new.description.as_str()), ("Friends", "kept"));
        assert_eq!(changed_profile(&new, &change("")).unwrap(), old);
        for wrong in [
            change(&"x".repeat(MAX_TITLE + 1)),
            ProfileChange { avatar: Some("no base64!".to_owned()), ..ProfileChange::default() },
            ProfileChange { call_host: Some("nobody".to_owned()), ..ProfileChange::default() },
        ] {
            assert!(changed_profile(&old, &wrong).is_err(), "{wrong:?}");
        }
    }
}
