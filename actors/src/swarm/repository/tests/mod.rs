//! Repositories against real git, damage, crashes and hostile peers.

mod crash;
mod driver;
mod receive;
mod recorded;
mod steps;
mod store;
mod wire;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use skep_protocol::ids::{CommitId, ConversationId, DeviceId, ObjectId, TreeId};
use skep_protocol::swarm::git::pack::write::PackWriter;
use skep_protocol::swarm::object::{EntryKind, NewObject, ObjectKind, Tree};
use tempfile::TempDir;

use super::fetch::{Fetched, NewCommits};
use super::{Consolidation, Quarantine, Repository};

pub(super) const BUNDLES: [&str; 8] = [
    "jami-13.7.0/swarms/group/alice.bundle",
    "jami-13.7.0/swarms/one-to-one-two-devices/bob.bundle",
    "jami-13.11.0/swarms/group/alice.bundle",
    "jami-13.11.0/swarms/one-to-one/alice.bundle",
    "newest/swarm/document.bob.bundle",
    "newest/swarm/group.alice.bundle",
    "newest/swarm/group.carla.bundle",
    "newest/swarm/one-to-one.bob.final.bundle",
];

pub(super) const SERVER: DeviceId = DeviceId([7; 32]);
pub(super) const CONVERSATION: ConversationId = ConversationId([8; 20]);

pub(super) fn bundle(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/vectors")).join(name)
}

/// A folder with the repository `repo` imported from a bundle.
pub(super) fn imported(name: &str) -> (TempDir, Repository) {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::import_bundle(&bundle(name), &folder.path().join("repo")).unwrap();
    (folder, repository)
}

/// A folder with an empty repository `repo`.
pub(super) fn empty() -> (TempDir, Repository) {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::create(&folder.path().join("repo")).unwrap();
    (folder, repository)
}

/// Whether tests with real git can run; says so if not.
pub(super) fn git_is_here() -> bool {
    let here = Command::new("git").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !here {
        eprintln!("skipped: no git program on the path");
    }
    here
}

/// Runs git without anybody's configuration; returns what it printed.
pub(super) fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = git_command(folder, arguments).output().unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

pub(super) fn git_command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .args(["-c", "safe.directory=*", "-c", "user.name=n", "-c", "user.email=e", "-c", "gc.auto=0"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env_remove("GIT_DIR");
    command
}

/// Checks the repository as git sees it, if git is there.
pub(super) fn check_with_git(path: &Path) {
    if git_is_here() {
        let said = git(path, &["fsck", "--strict", "--full", "--no-dangling"]);
        assert_eq!(said, "");
    }
}

pub(super) fn blob(data: &[u8]) -> NewObject {
    NewObject::new(ObjectKind::Blob, data.to_vec()).unwrap()
}

/// A tree with these files.
pub(super) fn tree(files: &[(&str, &NewObject)]) -> NewObject {
    let mut tree = Tree::default();
    for (name, blob) in files {
        tree.put(name, EntryKind::File(skep_protocol::ids::BlobId(blob.id))).unwrap();
    }
    NewObject::new(ObjectKind::Tree, tree.to_bytes()).unwrap()
}

pub(super) fn commit_object(tree: TreeId, parents: &[CommitId], seconds: i64, text: &str) -> NewObject {
    let parents: String = parents.iter().map(|parent| format!("parent {parent}\n")).collect();
    let who = format!("n <e> {seconds} +0000");
    let content = format!("tree {tree}\n{parents}author {who}\ncommitter {who}\n\n{text}");
    NewObject::new(ObjectKind::Commit, content.into_bytes()).unwrap()
}

/// Writes a commit with a file and moves nothing.
pub(super) fn commit(repository: &Repository, parents: &[CommitId], seconds: i64, text: &str) -> CommitId {
    let file = blob(b"file");
    let root = tree(&[("file", &file)]);
    let commit = commit_object(TreeId(root.id), parents, seconds, text);
    let id = CommitId(commit.id);
    repository.write_objects(&[file, root, commit]).unwrap();
    id
}

/// Appends `count` commits to `main`.
pub(super) fn append(repository: &Repository, count: usize, label: &str) -> CommitId {
    let old = repository.head().unwrap();
    let (head, objects) = chain(repository, old, count, label);
    repository.write_objects(&objects).unwrap();
    repository.move_main(old, head).unwrap();
    head
}

/// `count` commits upon `old`, one second apart.
pub(super) fn chain(
    repository: &Repository,
    old: Option<CommitId>,
    count: usize,
    label: &str,
) -> (CommitId, Vec<NewObject>) {
    let start = old.map_or(1_000, |head| repository.commit_at(head).unwrap().committer.seconds);
    let file = blob(b"file");
    let root = tree(&[("file", &file)]);
    let mut head = old;
    let mut objects = vec![file, root.clone()];
    for (number, seconds) in (0..count).zip(start + 1..) {
        let text = format!("{label} {number}");
        let commit = commit_object(TreeId(root.id), head.as_slice(), seconds, &text);
        head = Some(CommitId(commit.id));
        objects.push(commit);
    }
    (head.unwrap(), objects)
}

/// Appends `count` commits to `main` by way of a pack, which takes less forcing to disk.
pub(super) fn append_packed(repository: &mut Repository, count: usize, label: &str) -> CommitId {
    let old = repository.head().unwrap();
    let (head, objects) = chain(repository, old, count, label);
    let quarantine = receive(repository, &pack(&objects)).unwrap();
    repository.admit(quarantine).unwrap();
    repository.move_main(old, head).unwrap();
    head
}

/// Takes in a whole pack.
pub(super) fn receive(repository: &Repository, bytes: &[u8]) -> super::Result<Quarantine> {
    let mut receiver = repository.receive_pack();
    for piece in bytes.chunks(10_000) {
        receiver.receive(piece)?;
    }
    receiver.store(repository)
}

pub(super) fn consolidate(repository: &mut Repository) -> Consolidation {
    super::consolidate(&RefCell::new(repository)).unwrap()
}

/// The objects that have a file of their own.
pub(super) fn loose(repository: &Repository) -> Vec<ObjectId> {
    super::loose::loose_ids(repository.path()).unwrap()
}

/// Takes in `count` packs of objects that nobody needs; `first` tells them apart.
pub(super) fn admit_packs(repository: &mut Repository, first: usize, count: usize) {
    for number in first..first + count {
        let objects: Vec<_> = (0..70).map(|n| blob(format!("{number} {n}").as_bytes())).collect();
        let quarantine = receive(repository, &pack(&objects)).unwrap();
        repository.admit(quarantine).unwrap();
    }
}

/// What a fetch brought, which must be something.
pub(super) fn stored(repository: &Repository, fetched: Fetched) -> NewCommits {
    let Fetched::New(pack) = fetched else { panic!("{fetched:?}") };
    pack.store(repository).unwrap()
}

/// Takes what a fetch brought into the history; returns the commits.
pub(super) fn take_in(repository: &mut Repository, fetched: Fetched) -> Vec<CommitId> {
    let new = stored(repository, fetched);
    repository.admit(new.quarantine).unwrap();
    repository.move_main(repository.head().unwrap(), new.head).unwrap();
    new.commits
}

/// The head that a fetch found to be known.
pub(super) fn up_to_date(fetched: Fetched) -> CommitId {
    let Fetched::UpToDate { head } = fetched else { panic!("{fetched:?}") };
    head
}

/// A pack of these objects.
pub(super) fn pack(objects: &[NewObject]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = PackWriter::new(u32::try_from(objects.len()).unwrap(), &mut bytes);
    for object in objects {
        writer.object(object.kind, &object.content, &mut bytes).unwrap();
    }
    writer.finish(&mut bytes).unwrap();
    bytes
}

/// How many commits `main` has.
pub(super) fn history_length(repository: &Repository) -> usize {
    repository.commits_between(repository.head().unwrap().unwrap(), &[]).unwrap().len()
}

pub(super) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files
}

pub(super) fn object_id(commit: CommitId) -> ObjectId {
    commit.into()
}
