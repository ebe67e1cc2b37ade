//! What works between Skep and which daemon, in which direction: written by the live tests themselves as
//! they run, and copied into the read-me by `skep-tests features`.
//!
//! ```text
//!   live test ── Trial ──▶ target/live/results.jsonl ── FeatureTable ──▶ README.md
//!               a line at the beginning, "fails", and one when it works; the last one of a feature counts           between two markers
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file of results, below the folder of the sources.
pub const RESULTS: &str = "target/live/results.jsonl";

/// Where the table begins in the read-me, and where it ends.
const BEGIN: &str = "<!-- live features: written by `make live`, not by hand -->";
const END: &str = "<!-- end of live features -->";

/// What is tried with a real daemon, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// An exported account, without a password, opens on the other side.
    Archive,
    /// The same, protected by a password.
    ProtectedArchive,
    /// An account that one side puts on the DHT under a PIN gets a device on the other.
    Pin,
    /// The same, protected by a password.
    ProtectedPin,
    /// A contact added on one device of an account is one on the other, and gone when it is removed there.
    DeviceContact,
    /// A conversation begun on one device of an account is on the other, and both write in it.
    DeviceConversation,
    /// A device that the other side revokes has no link any more, and knows.
    Revocation,
    /// A name is registered at Skep's name server, and found by the other side.
    Name,
    /// The certificates that one side makes for its device of a shared account satisfy the other.
    DeviceChain,
    /// One asks to be a contact; the other sees it, accepts, and has the conversation.
    Contact,
    /// The request shows the profile of whoever asks.
    Profile,
    /// A contact gets name and picture, and those that come later.
    ProfileTold,
    /// A device that is linked gets the owner's name and picture.
    OwnProfile,
    /// A call is answered, heard on both sides and ended.
    Call,
    /// A call is held by either side, and goes on.
    CallHold,
    /// Either side mutes itself.
    CallMute,
    /// A call is refused, or given up.
    CallRefused,
    /// A text in a conversation of two.
    Text,
    /// A text of any script, of many lines, of a few thousand bytes.
    Unicode,
    /// An answer to a message.
    Reply,
    /// A message gets another text.
    Edit,
    /// A message is taken back.
    Deletion,
    /// A reaction to a message.
    Reaction,
    /// One has read up to a message; the other is told.
    Read,
    /// One begins and ends to type; the other is told.
    Typing,
    /// A hundred messages, while the other side sends as many: both end with the same commits.
    Burst,
    /// Messages to one that is killed meanwhile and comes back.
    ReceiverKilled,
    /// Messages of one that is killed meanwhile and comes back.
    SenderKilled,
    /// A request is declined; asked again, it is accepted.
    Decline,
    /// A contact is removed, its conversation with it; asked again, it accepts.
    Removal,
    /// Who was removed as a contact asks, and is accepted.
    Return,
    /// A contact is banned and not heard; the ban is lifted.
    Ban,
    /// A contact is seen to be there.
    Presence,
    /// A file is offered; the other fetches it, and has what was offered.
    File,
    /// A file whose sender is killed on the way and comes back: it goes on where it stopped.
    FileResumed,
    /// A group is made and somebody on the other side invited, who accepts; both talk.
    Invitation,
    /// A group of two on each side, made by one: whatever one says, the other three hear.
    Group,
    /// An invitation is declined; the group goes on.
    InvitationDecline,
    /// A member leaves; the others see it and go on.
    Leave,
    /// Title and description of a group are changed.
    GroupProfile,
    /// A member is banned by vote and hears nothing any more; the others go on, and the ban is lifted.
    GroupBan,
    /// A group falls into two parts that go on and meet again: the same history for all.
    Partition,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 42] = [
        Self::Archive,
        Self::ProtectedArchive,
        Self::Pin,
        Self::ProtectedPin,
        Self::DeviceContact,
        Self::DeviceConversation,
        Self::Revocation,
        Self::Name,
        Self::DeviceChain,
        Self::Contact,
        Self::Profile,
        Self::ProfileTold,
        Self::OwnProfile,
        Self::Call,
        Self::CallHold,
        Self::CallMute,
        Self::CallRefused,
        Self::Text,
        Self::Unicode,
        Self::Reply,
        Self::Edit,
        Self::Deletion,
        Self::Reaction,
        Self::Read,
        Self::Typing,
        Self::Burst,
        Self::ReceiverKilled,
        Self::SenderKilled,
        Self::Decline,
        Self::Removal,
        Self::Return,
        Self::Ban,
        Self::Presence,
        Self::File,
        Self::FileResumed,
        Self::Invitation,
        Self::Group,
        Self::InvitationDecline,
        Self::Leave,
        Self::GroupProfile,
        Self::GroupBan,
        Self::Partition,
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::Archive => "account archive",
            Self::ProtectedArchive => "account archive with a password",
            Self::Pin => "new device linked by a PIN",
            Self::ProtectedPin => "new device linked by a PIN and a password",
            Self::DeviceContact => "contact added and removed on one of two devices of an account",
            Self::DeviceConversation => "conversation begun on one of two devices, both write",
            Self::Revocation => "device revoked: it has no link any more, and knows",
            Self::Name => "name registered at `skep names serve`, found by the other",
            Self::DeviceChain => "certificates of a new device",
            Self::Contact => "contact request, accepted, conversation fetched",
            Self::Profile => "profile in a contact request",
            Self::ProfileTold => "name and picture of a contact, and other ones later",
            Self::OwnProfile => "name and picture on a new device of the owner",
            Self::Call => "call: answered, heard on both sides, hung up",
            Self::CallHold => "call on hold, and on",
            Self::CallMute => "muted in a call",
            Self::CallRefused => "call refused, and given up",
            Self::Text => "text",
            Self::Unicode => "long text, many lines, any script",
            Self::Reply => "reply",
            Self::Edit => "edit",
            Self::Deletion => "deletion",
            Self::Reaction => "reaction",
            Self::Read => "read up to a message",
            Self::Typing => "typing",
            Self::Burst => "100 messages while the other sends 100, same history",
            Self::ReceiverKilled => "messages to a side that is killed and restarted",
            Self::SenderKilled => "messages of a side that is killed and restarted",
            Self::Decline => "request declined, asked again, accepted",
            Self::Removal => "contact removed, asked again, accepted",
            Self::Return => "removed by the other, asking again, accepted",
            Self::Ban => "contact banned, then allowed again",
            Self::Presence => "contact seen online",
            Self::File => "file",
            Self::FileResumed => "file whose sender is killed and restarted, gone on with",
            Self::Invitation => "group: invitation accepted, both talk",
            Self::Group => "group of two on each side, everybody talks",
            Self::InvitationDecline => "group: invitation declined, the group goes on",
            Self::Leave => "group: a member leaves, the others go on",
            Self::GroupProfile => "group: title and description",
            Self::GroupBan => "group: a member is banned, then let in again",
            Self::Partition => "group cut in two, then one again, same history",
        }
    }
}

/// Who makes what the other has to understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Skep makes it.
    ToDaemon,
    /// The daemon makes it.
    FromDaemon,
}

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should.
    Works,
    /// Otherwise.
    Fails,
}

/// A line of the file of results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    feature: Feature,
    daemon: String,
    direction: Direction,
    result: Outcome,
}

/// A feature that is being tried. Until it is told to work, it fails: also if the test is killed.
#[derive(Debug)]
#[must_use = "until it is told to work, the feature counts as failing"]
pub struct Trial {
    line: Line,
    file: PathBuf,
}

impl Trial {
    /// Begins one, with a daemon of this version.
    pub fn begin(feature: Feature, direction: Direction, daemon: String) -> Self {
        Self::begin_in(results_file(), feature, direction, daemon)
    }

    fn begin_in(file: PathBuf, feature: Feature, direction: Direction, daemon: String) -> Self {
        let trial = Self { line: Line { feature, daemon, direction, result: Outcome::Fails }, file };
        trial.record();
        trial
    }

    /// It ended as it should.
    pub fn works(mut self) {
        self.line.result = Outcome::Works;
        self.record();
    }

    #[allow(clippy::print_stderr, reason = "shown with a test that fails; the others need not care")]
    fn record(&self) {
        if let Err(error) = self.append() {
            eprintln!("{}: {error}; the table of features will lack a result", self.file.display());
        }
    }

    fn append(&self) -> io::Result<()> {
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder)?;
        }
        let line = serde_json::to_string(&self.line)? + "\n";
        // A line is appended in one piece, so tests that run at once do not mix theirs.
        File::options().create(true).append(true).open(&self.file)?.write_all(line.as_bytes())
    }
}

/// Where the results are.
#[must_use]
pub fn results_file() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).join(RESULTS)
}

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// A file cannot be read or written.
    #[error("{}: {problem}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        problem: io::Error,
    },
    /// A line is not what the live tests write.
    #[error(
        "line {number} of the results is of another version ({problem}); delete the file and run them again"
    )]
    Line {
        /// Which.
        number: usize,
        /// What is wrong with it.
        problem: serde_json::Error,
    },
    /// Nothing was tried yet.
    #[error("no live test has run yet: cargo nextest run -p skep-tests --test live, as root")]
    Empty,
    /// The read-me has no place for it.
    #[error("the read-me has no line {BEGIN:?} with a line {END:?} after it")]
    NoPlace,
}

/// The last result of every feature, by daemon and direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureTable {
    cells: BTreeMap<(Feature, String, Direction), Outcome>,
}

impl FeatureTable {
    /// Of a file of results.
    ///
    /// # Errors
    /// [`TableError`] when it cannot be read or is empty.
    pub fn read(file: &Path) -> Result<Self, TableError> {
        match fs::read_to_string(file) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(TableError::Empty),
            Err(problem) => Err(TableError::File { path: file.to_owned(), problem }),
        }
    }

    fn parse(text: &str) -> Result<Self, TableError> {
        let mut cells = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let line: Line = serde_json::from_str(line)
                .map_err(|problem| TableError::Line { number: index + 1, problem })?;
            cells.insert((line.feature, line.daemon, line.direction), line.result);
        }
        if cells.is_empty() { Err(TableError::Empty) } else { Ok(Self { cells }) }
    }

    /// As a table for the read-me: a row each feature, two columns each daemon.
    #[must_use]
    pub fn markdown(&self) -> String {
        let daemons: BTreeSet<&String> = self.cells.keys().map(|(_, daemon, _)| daemon).collect();
        let columns: Vec<(&String, Direction)> = daemons
            .into_iter()
            .flat_map(|daemon| [(daemon, Direction::ToDaemon), (daemon, Direction::FromDaemon)])
            .collect();
        let mut text = "|".to_owned();
        let mut row = |cells: Vec<String>| {
            for cell in cells {
                text.push_str(&format!(" {cell} |"));
            }
            text.push_str("\n|");
        };
        let titles = columns.iter().map(|(daemon, direction)| match direction {
            Direction::ToDaemon => format!("Skep → jamid {daemon}"),
            Direction::FromDaemon => format!("jamid {daemon} → Skep"),
        });
        row(std::iter::once("Feature".to_owned()).chain(titles).collect());
        row(vec!["---".to_owned(); columns.len() + 1]);
        for feature in Feature::ALL {
            let cell = |(daemon, direction): &(&String, Direction)| {
                match self.cells.get(&(feature, (*daemon).clone(), *direction)) {
                    Some(Outcome::Works) => "works",
                    Some(Outcome::Fails) => "fails",
                    None => "not tried",
                }
                .to_owned()
            };
            row(std::iter::once(feature.title().to_owned()).chain(columns.iter().map(cell)).collect());
        }
        text.pop();
        text
    }

    /// A read-me with this table in place of the one it has.
    ///
    /// # Errors
    /// [`TableError::NoPlace`].
    pub fn put_into(&self, read_me: &str) -> Result<String, TableError> {
        let (before, rest) = read_me.split_once(BEGIN).ok_or(TableError::NoPlace)?;
        let (_, after) = rest.split_once(END).ok_or(TableError::NoPlace)?;
        Ok(format!("{before}{BEGIN}\n\n{}\n{END}{after}", self.markdown()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARCHIVE: &str = r#"{"feature":"archive","daemon":"13.7.0","direction":"to_daemon","result":"#;

    #[test]
    fn a_trial_that_is_given_up_or_killed_fails_and_the_last_one_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("live/results.jsonl");
        let begin =
            |direction| Trial::begin_in(file.clone(), Feature::Archive, direction, "13.7.0".to_owned());
        drop(begin(Direction::ToDaemon));
        begin(Direction::ToDaemon).works();
        begin(Direction::FromDaemon).works();
        // A test that is killed drops nothing.
        std::mem::forget(begin(Direction::FromDaemon));
        let lines = fs::read_to_string(&file).unwrap();
        assert_eq!(lines.lines().next(), Some(&*format!("{ARCHIVE}\"fails\"}}")));
        let table = FeatureTable::read(&file).unwrap();
        let cell = |direction| table.cells.get(&(Feature::Archive, "13.7.0".to_owned(), direction)).copied();
        assert_eq!(cell(Direction::ToDaemon), Some(Outcome::Works));
        assert_eq!(cell(Direction::FromDaemon), Some(Outcome::Fails));
    }

    #[test]
    fn the_table_takes_the_place_of_the_one_before() {
        let table = FeatureTable::parse(&format!("{ARCHIVE}\"works\"}}\n")).unwrap();
        let read_me = format!("# Skep\n{BEGIN}\nold\n{END}\nmore\n");
        let written = table.put_into(&read_me).unwrap();
        let head = format!(
            "# Skep\n{BEGIN}\n\n\
             | Feature | Skep → jamid 13.7.0 | jamid 13.7.0 → Skep |\n\
             | --- | --- | --- |\n\
             | account archive | works | not tried |\n| "
        );
        assert!(written.starts_with(&head), "{written}");
        assert!(written.ends_with(&format!(" | not tried |\n\n{END}\nmore\n")), "{written}");
        assert_eq!(table.put_into(&written).unwrap(), written);
    }

    #[test]
    fn without_results_or_a_place_there_is_no_table() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(FeatureTable::read(&folder.path().join("none")), Err(TableError::Empty)));
        assert!(matches!(FeatureTable::parse("nonsense"), Err(TableError::Line { number: 1, .. })));
        let table = FeatureTable::parse(&format!("{ARCHIVE}\"works\"}}\n")).unwrap();
        assert!(matches!(table.put_into("# Skep\n"), Err(TableError::NoPlace)));
    }
}
