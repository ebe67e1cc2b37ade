//! Synthetic conversations of any length: people of the golden data write in turn, two of them, or a group
//! of a few.
//!
//! The commits are real ones, signed with RSA-4096 keys, and RSA signatures of this kind are the same
//! each time; so the same length is always the same conversation, and each is the beginning of the
//! longer ones.

use skep_protocol::identity::Chain;
use skep_protocol::ids::{AccountId, CommitId, ConversationId};
use skep_protocol::keys::PrivateKey;
use skep_protocol::swarm::create::{CreateError, Draft, LocalDevice, Writer};
use skep_protocol::swarm::git::pack::write::PackWriter;
use skep_protocol::swarm::message::{Mode, Relation};
use skep_protocol::swarm::object::{MemoryObjects, ObjectKind};
use skep_protocol::swarm::validate::Founding;
use skep_protocol::time::UnixMillis;

use crate::node::workspace;
use crate::{BenchError, Result};

/// When the conversation began: within the lifetime of the golden certificates.
const BEGIN: i64 = 1_795_400_000;

/// Seconds between two messages.
const PACE: i64 = 30;

/// What people write, on average: 60 characters.
const TEXT: &str = "a message of usual length, about sixty characters in all,";

/// Who is in a group.
const GROUP: [&str; 3] = ["alice", "bob", "carla"];

/// Everything of a conversation.
#[derive(Debug)]
pub struct SyntheticHistory {
    /// Its id.
    pub conversation: ConversationId,
    /// All objects.
    pub objects: MemoryObjects,
    /// The commits, oldest first.
    pub commits: Vec<CommitId>,
    /// When the newest was written, in seconds.
    now: i64,
}

/// One of the two who write.
#[derive(Debug)]
pub struct Author {
    local: LocalDevice,
    key: PrivateKey,
}

impl Author {
    /// This device.
    pub(crate) const fn new(local: LocalDevice, key: PrivateKey) -> Self {
        Self { local, key }
    }

    /// Who it is.
    pub(crate) const fn local(&self) -> &LocalDevice {
        &self.local
    }

    /// A device of the golden data: `alice`, `bob` or `carla`.
    ///
    /// # Errors
    /// [`BenchError`] when the golden data is not there.
    pub fn golden(name: &str) -> Result<Self> {
        let folder = workspace().join("tests/data/vectors/newest/accounts").join(name);
        let read = |file: &str| {
            let path = folder.join(file);
            std::fs::read(&path).map_err(BenchError::file(path))
        };
        let chain = Chain::parse(&read("ring_device.crt")?).map_err(BenchError::conversation)?;
        let pem = String::from_utf8_lossy(&read("ring_device.key")?).into_owned();
        Ok(Self {
            local: LocalDevice::new(&chain, name).map_err(BenchError::conversation)?,
            key: PrivateKey::from_pem(&pem).map_err(BenchError::conversation)?,
        })
    }

    /// The key of the device.
    #[must_use]
    pub const fn key(&self) -> &PrivateKey {
        &self.key
    }
}

impl SyntheticHistory {
    /// Makes a conversation of `length` commits, at least two: the first one and the join. `progress`
    /// is told how many there are after each.
    ///
    /// # Errors
    /// [`BenchError`] when the golden data is not there or cannot be used.
    pub fn generate(length: usize, mut progress: impl FnMut(usize)) -> Result<Self> {
        let (alice, bob) = (Author::golden("alice")?, Author::golden("bob")?);
        let mut history = Self::begin(Mode::OneToOne, Some(bob.local.account()), &alice, BEGIN)?;
        while history.commits.len() < length.max(2) {
            let number = history.commits.len();
            let author = if number % 2 == 1 { &bob } else { &alice };
            history.write(author, |writer| match number {
                1 => writer.join(),
                _ => writer.text(&format!("{TEXT} {number}"), Relation::None),
            })?;
            progress(history.commits.len());
        }
        Ok(history)
    }

    /// Makes a group of a few with so many texts: alice lets the others in, and all write in turn. Groups of
    /// different numbers are different conversations.
    ///
    /// # Errors
    /// As [`Self::generate`].
    pub fn group(number: u16, texts: usize) -> Result<Self> {
        let people = GROUP.into_iter().map(Author::golden).collect::<Result<Vec<_>>>()?;
        let Some((host, others)) = people.split_first() else { return Self::generate(texts, |_| ()) };
        let mut history = Self::begin(Mode::InvitesOnly, None, host, BEGIN - i64::from(number))?;
        let founding = Founding { mode: Mode::InvitesOnly, author: host.local.account(), invited: None };
        for other in others {
            history.write(host, |writer| writer.invite(other.local.account(), &founding))?;
            history.write(other, |writer| writer.join())?;
        }
        for (text, author) in (0..texts).zip(people.iter().cycle()) {
            history.write(author, |writer| writer.text(&format!("{TEXT} {text}"), Relation::None))?;
        }
        Ok(history)
    }

    fn begin(mode: Mode, invited: Option<AccountId>, author: &Author, seconds: i64) -> Result<Self> {
        let first = author.local.begin(mode, invited, UnixMillis::from_seconds(seconds));
        let mut history = Self {
            conversation: ConversationId::from_initial_commit(CommitId([0; 20])),
            objects: MemoryObjects::default(),
            commits: Vec::new(),
            now: seconds,
        };
        history.add(first.map_err(BenchError::conversation)?, author)?;
        history.conversation = ConversationId::from_initial_commit(history.head());
        Ok(history)
    }

    /// Adds what somebody writes next.
    fn write(
        &mut self,
        author: &Author,
        write: impl FnOnce(&Writer<'_, MemoryObjects>) -> std::result::Result<Draft, CreateError>,
    ) -> Result<()> {
        self.now += PACE;
        let time = UnixMillis::from_seconds(self.now);
        let writer = Writer::new(&self.objects, &author.local, self.head(), time);
        let draft = write(&writer.map_err(BenchError::conversation)?);
        self.add(draft.map_err(BenchError::conversation)?, author)
    }

    fn add(&mut self, draft: Draft, author: &Author) -> Result<()> {
        self.objects.extend(draft.objects);
        let commit = draft.commit.sign(&author.key).map_err(BenchError::conversation)?;
        self.objects.insert_commit(&commit);
        self.commits.push(commit.id);
        Ok(())
    }

    /// The newest commit.
    #[must_use]
    pub fn head(&self) -> CommitId {
        self.commits.last().copied().unwrap_or(self.conversation.initial_commit())
    }

    /// A git bundle of the first `length` commits.
    ///
    /// # Errors
    /// [`BenchError::Conversation`] when there are more objects than a pack can have.
    pub fn bundle(&self, length: usize) -> Result<Vec<u8>> {
        let commits = self.commits.get(..length).unwrap_or(&self.commits);
        let head = commits.last().copied().unwrap_or(self.conversation.initial_commit());
        let wanted: std::collections::HashSet<[u8; 20]> = commits.iter().map(|id| id.0).collect();
        // Trees and files are few, and all of them are there after the join.
        let chosen =
            || self.objects.iter().filter(|(kind, id, _)| *kind != ObjectKind::Commit || wanted.contains(id));
        let count = u32::try_from(chosen().count()).map_err(BenchError::conversation)?;
        let id = head.to_hex();
        let mut out = format!("# v2 git bundle\n{id} refs/heads/main\n{id} HEAD\n\n").into_bytes();
        let mut pack = PackWriter::new(count, &mut out);
        for (kind, _, content) in chosen() {
            pack.object(kind, content, &mut out).map_err(BenchError::conversation)?;
        }
        pack.finish(&mut out).map_err(BenchError::conversation)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use skep_protocol::swarm::validate::Validator;
    use skep_tests::harness::run_to_end;

    use super::*;

    #[test]
    fn a_synthetic_conversation_is_valid_and_always_the_same() {
        let history = SyntheticHistory::generate(20, |_| ()).unwrap();
        let mut validator = Validator::new(&history.objects, history.conversation);
        assert_eq!(validator.validate_history(history.head(), |_| false).unwrap().len(), 20);
        let shorter = SyntheticHistory::generate(10, |_| ()).unwrap();
        assert_eq!(history.commits[..10], shorter.commits);
    }

    #[test]
    fn synthetic_groups_are_valid_and_different_conversations() {
        let groups = [1, 2].map(|number| SyntheticHistory::group(number, 7).unwrap());
        assert_ne!(groups[0].conversation, groups[1].conversation);
        for group in groups {
            let mut validator = Validator::new(&group.objects, group.conversation);
            assert_eq!(validator.validate_history(group.head(), |_| false).unwrap().len(), 12);
        }
    }

    #[test]
    fn git_takes_its_bundle() {
        let history = SyntheticHistory::generate(12, |_| ()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        std::fs::write(&bundle, history.bundle(8).unwrap()).unwrap();
        let git = |arguments: &[&str]| {
            let mut command = std::process::Command::new("git");
            run_to_end(command.current_dir(folder.path()).args(arguments)).unwrap()
        };
        git(&["clone", "-q", "--bare", "bundle", "copy"]);
        assert_eq!(git(&["-C", "copy", "rev-list", "--count", "main"]), "8");
        assert_eq!(git(&["-C", "copy", "rev-parse", "main"]), history.commits[7].to_hex());
    }
}
