//! Which file of a conversation's tree means what (`spec: swarm 1`).
//!
//! ```text
//!   admins/<account>.crt   members/<account>.crt   invited/<account>   devices/<device>.crt
//!   banned/{admins,members,devices}/<id>.crt       banned/invited/<account>
//!   votes/{ban,unban}/{admins,members,invited,devices}/<target>/<voter>
//!   CRLs/<account>         profile.vcf             attachments/<blob>
//! ```
//!
//! A path that is not one of these has no place in a conversation.

use std::collections::BTreeMap;
use std::fmt;

use super::diff::{ReadError, TreeReader};
use super::message::{MemberAction, Target};
use super::object::{EntryKind, ObjectSource};
use crate::ids::{AccountId, BlobId, DeviceId, TreeId};

/// Longest certificate file read, in bytes; a chain of three RSA-4096 certificates has 6,000.
pub(super) const MAX_CERTIFICATE_FILE: usize = 64 * 1024;

/// Where a person or device stands, and below which folder of `banned` and `votes` it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Folder {
    /// `admins`
    Admins,
    /// `members`
    Members,
    /// `invited`
    Invited,
    /// `devices`
    Devices,
}

impl Folder {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Admins, Self::Members, Self::Invited, Self::Devices];

    /// Those that hold persons.
    pub const OF_PERSONS: [Self; 3] = [Self::Admins, Self::Members, Self::Invited];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admins => "admins",
            Self::Members => "members",
            Self::Invited => "invited",
            Self::Devices => "devices",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|folder| folder.name() == name)
    }

    /// The name of the target's file in this folder, if such a target can be there.
    fn file(self, target: Target) -> Option<String> {
        match (self, target) {
            (Self::Admins | Self::Members, Target::Account(_)) | (Self::Devices, Target::Device(_)) => {
                Some(format!("{}.crt", target.to_hex()))
            }
            (Self::Invited, Target::Account(_)) => Some(target.to_hex()),
            _ => None,
        }
    }

    fn target(self, file: &str) -> Option<Target> {
        let stem = if self == Self::Invited { file } else { file.strip_suffix(".crt")? };
        let target = parse_target(stem)?;
        (self.file(target)? == file).then_some(target)
    }
}

/// Ban or unban.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VoteAction {
    /// Voting somebody out.
    Ban,
    /// Voting somebody in again.
    Unban,
}

impl VoteAction {
    /// The word in paths.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ban => "ban",
            Self::Unban => "unban",
        }
    }

    /// The other one.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Ban => Self::Unban,
            Self::Unban => Self::Ban,
        }
    }

    /// The membership action it leads to.
    #[must_use]
    pub const fn member_action(self) -> MemberAction {
        match self {
            Self::Ban => MemberAction::Ban,
            Self::Unban => MemberAction::Unban,
        }
    }
}

/// A path of the layout. Folder and target always fit: `Invited` never holds a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TreePath {
    /// `<folder>/<target>[.crt]`
    Standing(Folder, Target),
    /// `banned/<folder>/<target>[.crt]`
    Banned(Folder, Target),
    /// `votes/<action>/<folder>/<target>/<voter>`
    Vote {
        /// Ban or unban.
        action: VoteAction,
        /// Where the target is, or was before the ban.
        folder: Folder,
        /// Who is voted on.
        target: Target,
        /// The admin who votes.
        voter: AccountId,
    },
    /// `CRLs/<account>`
    Revocations(AccountId),
    /// `profile.vcf`
    Profile,
    /// `attachments/<blob id>`
    Attachment(BlobId),
}

impl TreePath {
    /// `admins/<account>.crt`
    #[must_use]
    pub const fn admin(account: AccountId) -> Self {
        Self::Standing(Folder::Admins, Target::Account(account))
    }

    /// `members/<account>.crt`
    #[must_use]
    pub const fn member(account: AccountId) -> Self {
        Self::Standing(Folder::Members, Target::Account(account))
    }

    /// `invited/<account>`
    #[must_use]
    pub const fn invited(account: AccountId) -> Self {
        Self::Standing(Folder::Invited, Target::Account(account))
    }

    /// `devices/<device>.crt`
    #[must_use]
    pub const fn device(device: DeviceId) -> Self {
        Self::Standing(Folder::Devices, Target::Device(device))
    }

    /// Reads a path; only the one spelling of each path is accepted.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let mut parts = path.split('/');
        let parsed = match (parts.next()?, parts.next(), parts.next(), parts.next(), parts.next()) {
            ("profile.vcf", None, ..) => Self::Profile,
            ("CRLs", Some(id), None, ..) => Self::Revocations(lower(id)?),
            ("attachments", Some(id), None, ..) => Self::Attachment(lower_blob(id)?),
            ("banned", Some(folder), Some(file), None, _) => {
                let folder = Folder::from_name(folder)?;
                Self::Banned(folder, folder.target(file)?)
            }
            ("votes", Some(action), Some(folder), Some(target), Some(voter)) => {
                let folder = Folder::from_name(folder)?;
                let target = parse_target(target)?;
                folder.file(target)?;
                let action =
                    [VoteAction::Ban, VoteAction::Unban].into_iter().find(|it| it.word() == action)?;
                Self::Vote { action, folder, target, voter: lower(voter)? }
            }
            (folder, Some(file), None, ..) => {
                let folder = Folder::from_name(folder)?;
                Self::Standing(folder, folder.target(file)?)
            }
            _ => return None,
        };
        parts.next().is_none().then_some(parsed)
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = |folder: &Folder, target: &Target| folder.file(*target).unwrap_or_else(|| target.to_hex());
        match self {
            Self::Standing(folder, target) => {
                write!(formatter, "{}/{}", folder.name(), file(folder, target))
            }
            Self::Banned(folder, target) => {
                write!(formatter, "banned/{}/{}", folder.name(), file(folder, target))
            }
            Self::Vote { action, folder, target, voter } => {
                write!(formatter, "votes/{}/{}/{}/{voter}", action.word(), folder.name(), target.to_hex())
            }
            Self::Revocations(account) => write!(formatter, "CRLs/{account}"),
            Self::Profile => formatter.write_str("profile.vcf"),
            Self::Attachment(blob) => write!(formatter, "attachments/{blob}"),
        }
    }
}

/// Lower-case digits of either length; unlike [`Target::parse`] all zeros are an id here.
fn parse_target(text: &str) -> Option<Target> {
    match text.len() {
        40 => lower(text).map(Target::Account),
        64 => {
            let id: DeviceId = text.parse().ok()?;
            (id.to_hex() == text).then_some(Target::Device(id))
        }
        _ => None,
    }
}

fn lower(text: &str) -> Option<AccountId> {
    let id: AccountId = text.parse().ok()?;
    (id.to_hex() == text).then_some(id)
}

fn lower_blob(text: &str) -> Option<BlobId> {
    let id: BlobId = text.parse().ok()?;
    (id.to_hex() == text).then_some(id)
}

/// What a person is in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// May vote and change the profile.
    Admin,
    /// Has joined.
    Member,
    /// Has not joined yet.
    Invited,
    /// Was voted out.
    Banned,
    /// Has left a one-to-one conversation.
    Left,
}

impl Role {
    /// The word Jami's clients know.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Invited => "invited",
            Self::Banned => "banned",
            Self::Left => "left",
        }
    }
}

/// Who is in a conversation, read from one of its trees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Every person mentioned, with the role.
    pub people: BTreeMap<AccountId, Role>,
    /// Devices that have written.
    pub devices: Vec<DeviceId>,
    /// Devices that were voted out.
    pub banned_devices: Vec<DeviceId>,
}

impl Members {
    /// Reads the members of a tree. `pair` are the two persons of a one-to-one conversation:
    /// they stay listed as [`Role::Left`] when the tree no longer mentions them.
    ///
    /// # Errors
    /// [`ReadError`] when a tree is missing or malformed.
    pub fn read<S: ObjectSource>(
        source: &S,
        root: TreeId,
        pair: impl IntoIterator<Item = AccountId>,
    ) -> Result<Self, ReadError> {
        let reader = TreeReader::new(source);
        let mut members = Self::default();
        members.people.extend(pair.into_iter().map(|person| (person, Role::Left)));
        for (folder, role) in
            [(Folder::Invited, Role::Invited), (Folder::Members, Role::Member), (Folder::Admins, Role::Admin)]
        {
            for target in files_in(&reader, root, &[folder.name()], folder)? {
                if let Target::Account(person) = target {
                    members.people.insert(person, role);
                }
            }
        }
        for folder in Folder::OF_PERSONS {
            for target in files_in(&reader, root, &["banned", folder.name()], folder)? {
                if let Target::Account(person) = target {
                    members.people.insert(person, Role::Banned);
                }
            }
        }
        members.devices = devices_in(&reader, root, &["devices"])?;
        members.banned_devices = devices_in(&reader, root, &["banned", "devices"])?;
        Ok(members)
    }

    /// The role of a person.
    #[must_use]
    pub fn role(&self, person: AccountId) -> Option<Role> {
        self.people.get(&person).copied()
    }

    /// The admins.
    pub fn admins(&self) -> impl Iterator<Item = AccountId> {
        self.people.iter().filter(|(_, role)| **role == Role::Admin).map(|(person, _)| *person)
    }

    /// Whether the person may fetch: admin, member or invited (`spec: swarm 9.1`).
    #[must_use]
    pub fn may_fetch(&self, person: AccountId) -> bool {
        matches!(self.role(person), Some(Role::Admin | Role::Member | Role::Invited))
    }
}

fn devices_in<S: ObjectSource>(
    reader: &TreeReader<S>,
    root: TreeId,
    path: &[&str],
) -> Result<Vec<DeviceId>, ReadError> {
    let targets = files_in(reader, root, path, Folder::Devices)?;
    Ok(targets
        .into_iter()
        .filter_map(|target| match target {
            Target::Device(device) => Some(device),
            Target::Account(_) => None,
        })
        .collect())
}

fn files_in<S: ObjectSource>(
    reader: &TreeReader<S>,
    root: TreeId,
    path: &[&str],
    folder: Folder,
) -> Result<Vec<Target>, ReadError> {
    let Some(tree) = reader.folder(root, path)? else { return Ok(Vec::new()) };
    let files = tree.entries().iter().filter(|entry| matches!(entry.kind, EntryKind::File(_)));
    Ok(files.filter_map(|entry| folder.target(&entry.name)).collect())
}

/// The admins of a tree.
///
/// # Errors
/// [`ReadError`] when a tree is missing or malformed.
pub fn admins_of<S: ObjectSource>(reader: &TreeReader<S>, root: TreeId) -> Result<Vec<AccountId>, ReadError> {
    let targets = files_in(reader, root, &["admins"], Folder::Admins)?;
    Ok(targets
        .into_iter()
        .filter_map(|target| match target {
            Target::Account(person) => Some(person),
            Target::Device(_) => None,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::swarm::golden;
    use crate::swarm::object::Commit;

    #[test]
    fn golden_members_have_the_roles_the_daemons_list() {
        for daemon in golden::DAEMONS {
            let golden = golden::load(daemon);
            for (name, repository) in &golden.repositories {
                let Some(expected) = &repository.members else { continue };
                let head = Commit::parse(golden.objects.commit(repository.head).unwrap().unwrap()).unwrap();
                let members = Members::read(&golden.objects, head.tree, []).unwrap();
                let listed: BTreeMap<String, String> = members
                    .people
                    .iter()
                    .map(|(person, role)| (person.to_hex(), role.word().to_owned()))
                    .collect();
                let field = |member: &serde_json::Value, key: &str| member[key].as_str().unwrap().to_owned();
                let expected: BTreeMap<String, String> =
                    expected.iter().map(|member| (field(member, "uri"), field(member, "role"))).collect();
                assert_eq!(listed, expected, "{daemon} {name}");
            }
        }
    }

    #[test]
    fn only_the_one_spelling_of_a_path_is_read() {
        let account = "1a".repeat(20);
        let device = "2b".repeat(32);
        for path in [
            String::new(),
            "profile.vcf/x".to_owned(),
            format!("admins/{account}"),
            format!("admins/{}.crt", account.to_uppercase()),
            format!("admins/{device}.crt"),
            format!("invited/{account}.crt"),
            format!("devices/{account}.crt"),
            format!("banned/invited/{account}.crt"),
            format!("banned/votes/{account}"),
            format!("votes/ban/devices/{account}/{account}"),
            format!("votes/kick/members/{account}/{account}"),
            format!("votes/ban/members/{account}"),
            format!("votes/ban/members/{account}/{account}/x"),
            "attachments/x".to_owned(),
            "README".to_owned(),
        ] {
            assert_eq!(TreePath::parse(&path), None, "{path}");
        }
    }

    fn any_path() -> impl Strategy<Value = TreePath> {
        (any::<[u8; 20]>(), any::<[u8; 32]>(), any::<[u8; 20]>(), 0..4_usize, any::<bool>(), 0..6_usize)
            .prop_map(|(account, device, voter, folder, ban, which)| {
                let folder = Folder::ALL[folder];
                let target = match folder {
                    Folder::Devices => Target::Device(DeviceId(device)),
                    _ => Target::Account(AccountId(account)),
                };
                let action = if ban { VoteAction::Ban } else { VoteAction::Unban };
                match which {
                    0 => TreePath::Standing(folder, target),
                    1 => TreePath::Banned(folder, target),
                    2 => TreePath::Vote { action, folder, target, voter: AccountId(voter) },
                    3 => TreePath::Revocations(AccountId(account)),
                    4 => TreePath::Profile,
                    _ => TreePath::Attachment(BlobId(account)),
                }
            })
    }

    proptest! {
        #[test]
        fn paths_survive_their_text(path in any_path()) {
            prop_assert_eq!(TreePath::parse(&path.to_string()), Some(path));
        }

        #[test]
        fn any_text_parses_or_fails(text in "[a-z/.0-9]{0,80}|\\PC{0,40}") {
            if let Some(path) = TreePath::parse(&text) {
                prop_assert_eq!(path.to_string(), text);
            }
        }
    }
}
