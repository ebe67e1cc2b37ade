//! Who takes part in a conversation and what it is called, as the tree of its head says.

use std::collections::BTreeSet;

use skep_protocol::ids::{AccountId, CommitId, ConversationId, TreeId};
use skep_protocol::profile::{ConversationProfile, MAX_PROFILE};
use skep_protocol::swarm::create::CreateError;
use skep_protocol::swarm::diff::TreeReader;
use skep_protocol::swarm::layout::{Members, Role, TreePath};
use skep_protocol::swarm::message::Mode;
use skep_protocol::swarm::object::ObjectSource;
use skep_protocol::swarm::validate::Founding;
use skep_protocol::sync::MessageStatus;

use super::messages::{ConversationView, MemberView};
use super::replica::ReplicaError;

/// What the actor keeps in mind of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) head: CommitId,
    pub(super) members: Members,
    pub(super) mode: Mode,
    pub(super) profile: ConversationProfile,
}

impl Standing {
    /// Those who may take part, joined or not.
    pub(super) fn people(&self) -> BTreeSet<AccountId> {
        people(&self.members)
    }

    /// Whether there is anybody who has to learn that `own` has left: those who may fetch it from
    /// us. Who was only ever invited has nothing to tell.
    pub(super) fn must_learn_of_leave(&self, own: AccountId) -> bool {
        let others = self.members.people.keys().filter(|person| **person != own);
        self.members.role(own) == Some(Role::Left)
            && others.into_iter().any(|person| self.members.may_fetch(*person))
    }

    /// Those who have joined.
    pub(super) fn joined(&self) -> BTreeSet<AccountId> {
        let joined =
            self.members.people.iter().filter(|(_, role)| matches!(role, Role::Admin | Role::Member));
        joined.map(|(person, _)| *person).collect()
    }
}

/// The conversation at a glance.
pub(super) fn describe(
    id: ConversationId,
    standing: Option<&Standing>,
    status: &MessageStatus,
    state: &str,
    problem: Option<String>,
) -> ConversationView {
    let mode = standing.map_or(Mode::OneToOne, |standing| standing.mode);
    let mode = match mode {
        Mode::OneToOne => "one_to_one",
        Mode::AdminInvitesOnly => "admin_invites_only",
        Mode::InvitesOnly => "invites_only",
        Mode::Public => "public",
        Mode::Document => "document",
    };
    let members = standing.iter().flat_map(|standing| &standing.members.people);
    let text = |field: fn(&ConversationProfile) -> &String| {
        standing.map(|standing| field(&standing.profile).clone()).unwrap_or_default()
    };
    let member = |(id, role): (&AccountId, &Role)| {
        let status = status.of(*id);
        MemberView {
            id: *id,
            role: role.word().to_owned(),
            fetched: status.fetched.map(|marker| marker.commit),
            read: status.read.map(|marker| marker.commit),
        }
    };
    ConversationView {
        id,
        mode: mode.to_owned(),
        title: text(|profile| &profile.title),
        description: text(|profile| &profile.description),
        members: members.map(member).collect(),
        head: standing.map(|standing| standing.head),
        state: state.to_owned(),
        problem,
    }
}

pub(super) fn people(members: &Members) -> BTreeSet<AccountId> {
    let people = members.people.keys().copied();
    people.filter(|person| members.role(*person) != Some(Role::Banned)).collect()
}

pub(super) fn read_standing(
    source: &impl ObjectSource,
    tree: TreeId,
    founding: &Founding,
    head: CommitId,
) -> Result<Standing, ReplicaError> {
    let members = read_members(source, tree, founding)?;
    let profile = TreeReader::new(source)
        .file(tree, TreePath::Profile)
        .ok()
        .flatten()
        .and_then(|file| source.blob(file, MAX_PROFILE).ok().flatten())
        .and_then(|bytes| ConversationProfile::parse(&bytes).ok())
        .unwrap_or_default();
    Ok(Standing { head, members, mode: founding.mode, profile })
}

pub(super) fn read_members(
    source: &impl ObjectSource,
    tree: TreeId,
    founding: &Founding,
) -> Result<Members, ReplicaError> {
    let pair = match (founding.mode, founding.invited) {
        (Mode::OneToOne, Some(invited)) => vec![founding.author, invited],
        _ => Vec::new(),
    };
    Ok(Members::read(source, tree, pair).map_err(CreateError::from)?)
}
