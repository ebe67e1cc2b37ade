//! Who takes part in a conversation and what it is called, as the tree of its head says.

use std::collections::{BTreeMap, BTreeSet};

use skep_protocol::ids::{AccountId, CommitId, ConversationId, DeviceId, TreeId};
use skep_protocol::profile::{ConversationProfile, MAX_PROFILE};
use skep_protocol::swarm::create::CreateError;
use skep_protocol::swarm::diff::TreeReader;
use skep_protocol::swarm::layout::{Members, Role, TreePath};
use skep_protocol::swarm::message::Mode;
use skep_protocol::swarm::notice::MAX_METADATA_VALUE;
use skep_protocol::swarm::object::ObjectSource;
use skep_protocol::swarm::validate::Founding;
use skep_protocol::swarm::votes::{PendingVote, pending_votes};
use skep_protocol::sync::MessageStatus;

use super::messages::{ConversationView, MemberView, ProfileView, VoteView};
use super::replica::ReplicaError;

/// What the actor keeps in mind of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) head: CommitId,
    pub(super) members: Members,
    pub(super) mode: Mode,
    pub(super) profile: ConversationProfile,
    pub(super) votes: Vec<PendingVote>,
}

impl Standing {
    /// Those who may take part, joined or not.
    pub(super) fn people(&self) -> BTreeSet<AccountId> {
        people(&self.members)
    }

    /// Whether somebody is one of those.
    pub(super) fn has(&self, person: AccountId) -> bool {
        self.members.role(person).is_some_and(|role| role != Role::Banned)
    }

    /// Whether a device may fetch from us and we from it: neither it nor its account is banned.
    pub(super) fn admits(&self, account: AccountId, device: DeviceId) -> bool {
        self.has(account) && !self.members.banned_devices.contains(&device)
    }

    /// Who is told of new commits. Those invited to a group are invited instead; the other one of two
    /// may have joined already.
    pub(super) fn audience(&self) -> BTreeSet<AccountId> {
        if self.mode == Mode::OneToOne { self.people() } else { self.joined() }
    }

    /// Who was invited and has not joined.
    pub(super) fn invited(&self) -> BTreeSet<AccountId> {
        let invited = self.members.people.iter().filter(|(_, role)| **role == Role::Invited);
        invited.map(|(person, _)| *person).collect()
    }

    /// What an invitation says of the conversation (`spec: swarm 11`).
    pub(super) fn metadata(&self) -> BTreeMap<String, String> {
        let ConversationProfile { title, description, avatar, call_host, call_host_device } = &self.profile;
        let entries = [
            ("mode", self.mode.number().to_string()),
            ("title", title.clone()),
            ("description", description.clone()),
            ("avatar", avatar.as_ref().map(|it| it.as_base64().to_owned()).unwrap_or_default()),
            ("rdvAccount", call_host.map(|it| it.to_hex()).unwrap_or_default()),
            ("rdvDevice", call_host_device.map(|it| it.to_hex()).unwrap_or_default()),
        ];
        let kept = entries.into_iter().filter(|(_, it)| !it.is_empty() && it.len() < MAX_METADATA_VALUE);
        kept.map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Whether there is anybody who has to learn that `own` has left: those who may fetch it from
    /// us. Who was only ever invited, or banned, has nothing to tell.
    pub(super) fn must_learn_of_leave(&self, own: AccountId) -> bool {
        let others = self.members.people.keys().filter(|person| **person != own);
        // Groups do not list who has left.
        matches!(self.members.role(own), None | Some(Role::Left))
            && others.into_iter().any(|person| self.members.may_fetch(*person))
    }

    /// Whether a device can keep what it fetches beside what it has, for it has written and can merge.
    pub(super) fn has_written(&self, device: DeviceId) -> bool {
        self.members.devices.contains(&device)
    }

    /// Those who have joined.
    pub(super) fn joined(&self) -> BTreeSet<AccountId> {
        let joined =
            self.members.people.iter().filter(|(_, role)| matches!(role, Role::Admin | Role::Member));
        joined.map(|(person, _)| *person).collect()
    }
}

/// What a mode is called in views.
pub(crate) const fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::OneToOne => "one_to_one",
        Mode::AdminInvitesOnly => "admin_invites_only",
        Mode::InvitesOnly => "invites_only",
        Mode::Public => "public",
        Mode::Document => "document",
    }
}

/// The conversation at a glance. `linked` is how many devices of whom are linked.
pub(super) fn describe(
    id: ConversationId,
    standing: Option<&Standing>,
    status: &MessageStatus,
    linked: &BTreeMap<AccountId, usize>,
    state: &str,
    problem: Option<String>,
) -> ConversationView {
    let mode = standing.map_or(Mode::OneToOne, |standing| standing.mode);
    let members = standing.iter().flat_map(|standing| &standing.members.people);
    let text = |field: fn(&ConversationProfile) -> &String| {
        standing.map(|standing| field(&standing.profile).clone()).unwrap_or_default()
    };
    let member = |(id, role): (&AccountId, &Role)| {
        let status = status.of(*id);
        MemberView {
            id: *id,
            role: role.word().to_owned(),
            linked: linked.get(id).copied().unwrap_or_default(),
            fetched: status.fetched.map(|marker| marker.commit),
            read: status.read.map(|marker| marker.commit),
        }
    };
    ConversationView {
        id,
        mode: mode_word(mode).to_owned(),
        title: text(|profile| &profile.title),
        description: text(|profile| &profile.description),
        members: members.map(member).collect(),
        banned_devices: standing.map(|it| it.members.banned_devices.clone()).unwrap_or_default(),
        votes: standing.iter().flat_map(|it| &it.votes).map(vote_view).collect(),
        refusals: Vec::new(),
        head: standing.map(|standing| standing.head),
        state: state.to_owned(),
        problem,
    }
}

fn vote_view(vote: &PendingVote) -> VoteView {
    VoteView {
        action: vote.action.word().to_owned(),
        kind: vote.folder.name().to_owned(),
        target: vote.target.to_hex(),
        voters: vote.voters.iter().copied().collect(),
        needed: vote.needed,
    }
}

/// The whole profile.
pub(super) fn profile_view(profile: &ConversationProfile) -> ProfileView {
    ProfileView {
        title: profile.title.clone(),
        description: profile.description.clone(),
        avatar: profile.avatar.as_ref().map(|it| it.as_base64().to_owned()).unwrap_or_default(),
        call_host: profile.call_host,
        call_host_device: profile.call_host_device,
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
    let votes = pending_votes(source, tree).map_err(CreateError::from)?;
    Ok(Standing { head, members, mode: founding.mode, profile, votes })
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
