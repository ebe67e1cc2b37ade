//! A year of a busy group: fifty members, two hundred messages a day, and every day somebody comes and
//! somebody goes.
//!
//! ```text
//!   day 0 mod 3    one leaves, another is invited and joins
//!   day 1 mod 3    one is banned, another is invited and joins
//!   day 2 mod 3    the ban is lifted, another one leaves
//! ```
//!
//! As in [`crate::history`] the commits are real ones, and the same each time.

mod measure;
mod people;

pub(crate) use measure::{QUANTITIES, YearFiles, last_page, measure};

use std::collections::{HashSet, VecDeque};

use skep_protocol::ids::{CommitId, ConversationId};
use skep_protocol::profile::ConversationProfile;
use skep_protocol::swarm::create::{CreateError, Draft, SignedDraft, Writer};
use skep_protocol::swarm::git::pack::write::PackWriter;
use skep_protocol::swarm::layout::VoteAction;
use skep_protocol::swarm::message::{Mode, Relation, Target};
use skep_protocol::swarm::object::{MemoryObjects, NewObject, ObjectKind};
use skep_protocol::swarm::validate::Founding;
use skep_protocol::time::UnixMillis;

use self::people::{Person, people};
use crate::{BenchError, Result};

/// Members at a time.
pub(crate) const MEMBERS: usize = 50;

/// Messages a day, reactions and edits among them.
pub(crate) const MESSAGES_A_DAY: usize = 200;

/// Days of a year.
pub(crate) const DAYS: usize = 365;

/// When the group began: 2025-01-01.
const BEGIN: i64 = 1_735_689_600;

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

/// Members who never leave.
const STAYING: usize = 2;

/// Messages that others answer and react to.
const RECENT: usize = 20;

/// What people write about.
const WORDS: [&str; 48] = [
    "the",
    "meeting",
    "is",
    "moved",
    "to",
    "Thursday",
    "who",
    "brings",
    "a",
    "projector",
    "I",
    "can't",
    "find",
    "my",
    "keys",
    "again",
    "see",
    "you",
    "at",
    "eight",
    "tonight",
    "thanks",
    "for",
    "yesterday",
    "photos",
    "are",
    "in",
    "shared",
    "folder",
    "what",
    "about",
    "lunch",
    "train",
    "late",
    "ten",
    "minutes",
    "somebody",
    "knows",
    "good",
    "doctor",
    "near",
    "station",
    "ticket",
    "number",
    "weather",
    "was",
    "better",
    "last",
];

/// How people react.
const REACTIONS: [&str; 4] = ["👍", "😂", "❤️", "🎉"];

/// What a group was at the end of a day.
#[derive(Clone, Copy, Debug)]
struct Evening {
    head: CommitId,
    /// How many objects there were.
    objects: usize,
}

/// A group and all that was said in it.
#[derive(Debug)]
pub(crate) struct Group {
    people: Vec<Person>,
    founding: Founding,
    conversation: ConversationId,
    objects: MemoryObjects,
    /// All objects, in the order in which they were made.
    made: Vec<NewObject>,
    known: HashSet<[u8; 20]>,
    head: CommitId,
    commits: usize,
    evenings: Vec<Evening>,
    /// Who is in it, by number; the first two, one of whom is the founder, stay.
    members: Vec<usize>,
    outside: VecDeque<usize>,
    banned: VecDeque<usize>,
    recent: VecDeque<CommitId>,
    /// The last text of each person.
    last: Vec<Option<CommitId>>,
    chance: Chance,
    now: i64,
}

impl Group {
    /// The group as it was founded.
    pub(crate) fn found() -> Result<Self> {
        let people = people(UnixMillis::from_seconds(BEGIN - DAY))?;
        let founder = people.first().ok_or_else(|| lacking("its founder"))?;
        let first = founder.author.local().begin(Mode::InvitesOnly, None, UnixMillis::from_seconds(BEGIN));
        let first = sign(first, founder)?;
        let head = first.commit.id;
        let mut group = Self {
            founding: Founding { mode: Mode::InvitesOnly, author: founder.account(), invited: None },
            conversation: ConversationId::from_initial_commit(head),
            objects: MemoryObjects::default(),
            made: Vec::new(),
            known: HashSet::new(),
            head,
            commits: 0,
            evenings: Vec::new(),
            members: vec![0],
            outside: (1..people.len()).collect(),
            banned: VecDeque::new(),
            recent: VecDeque::new(),
            last: vec![None; people.len()],
            chance: Chance(1),
            now: BEGIN,
            people,
        };
        group.add(first);
        Ok(group)
    }

    /// Goes on for some days; `progress` is told each.
    pub(crate) fn live(&mut self, days: usize, mut progress: impl FnMut(usize)) -> Result<()> {
        if self.members.len() == 1 {
            let profile =
                ConversationProfile { title: "A busy group".to_owned(), ..ConversationProfile::default() };
            self.write(0, |writer| writer.profile(&profile))?;
            while self.members.len() < MEMBERS {
                self.admit()?;
            }
        }
        for _ in 0..days {
            let day = self.evenings.len();
            for message in 0..MESSAGES_A_DAY {
                if message == MESSAGES_A_DAY / 2 {
                    self.change(day)?;
                }
                self.now += DAY / 200;
                self.say()?;
            }
            self.evenings.push(Evening { head: self.head, objects: self.made.len() });
            progress(day + 1);
        }
        Ok(())
    }

    /// A git bundle of the group as it was after so many days.
    pub(crate) fn bundle(&self, days: usize) -> Result<Vec<u8>> {
        let evening = days
            .checked_sub(1)
            .and_then(|day| self.evenings.get(day))
            .ok_or_else(|| lacking("such a day"))?;
        let objects = self.made.get(..evening.objects).unwrap_or(&self.made);
        let count = u32::try_from(objects.len()).map_err(BenchError::conversation)?;
        let id = evening.head;
        let mut out = format!("# v2 git bundle\n{id} refs/heads/main\n{id} HEAD\n\n").into_bytes();
        let mut pack = PackWriter::new(count, &mut out);
        for object in objects {
            pack.object(object.kind, &object.content, &mut out).map_err(BenchError::conversation)?;
        }
        pack.finish(&mut out).map_err(BenchError::conversation)?;
        Ok(out)
    }

    /// The account of somebody, to be imported by a node.
    fn archive(&self, who: usize) -> Result<Vec<u8>> {
        let person = self.people.get(who).ok_or_else(|| lacking("somebody of this number"))?;
        person.archive.seal_unprotected().map_err(BenchError::conversation)
    }

    fn say(&mut self) -> Result<()> {
        let who = self.speaker();
        let target = self.recent.get(self.chance.below(self.recent.len().max(1))).copied();
        let text = self.chance.text();
        let (body, relation) = match (self.chance.below(100), target, self.last.get(who).copied().flatten()) {
            (70..85, Some(target), _) => (text, Relation::Reply(target)),
            (85..95, Some(target), _) => (self.chance.pick(&REACTIONS).to_owned(), Relation::React(target)),
            (95.., _, Some(own)) => (text, Relation::Edit(own)),
            _ => (text, Relation::None),
        };
        let id = self.write(who, |writer| writer.text(&body, relation))?;
        if matches!(relation, Relation::None | Relation::Reply(_)) {
            if let Some(last) = self.last.get_mut(who) {
                *last = Some(id);
            }
            self.recent.push_back(id);
            if self.recent.len() > RECENT {
                self.recent.pop_front();
            }
        }
        Ok(())
    }

    /// Somebody who writes: few write much.
    fn speaker(&mut self) -> usize {
        let place = self.chance.below(self.members.len()).min(self.chance.below(self.members.len()));
        self.members.get(place).copied().unwrap_or_default()
    }

    fn change(&mut self, day: usize) -> Result<()> {
        match day % 3 {
            0 => {
                let gone = self.leave()?;
                self.admit()?;
                self.outside.push_back(gone);
            }
            1 => {
                let who = self.part();
                self.vote(VoteAction::Ban, who)?;
                self.banned.push_back(who);
                self.admit()?;
            }
            _ => {
                let Some(who) = self.banned.pop_front() else { return Ok(()) };
                self.vote(VoteAction::Unban, who)?;
                let gone = self.leave()?;
                self.outside.push_back(gone);
                self.members.push(who);
            }
        }
        Ok(())
    }

    /// Takes somebody out of the list.
    fn part(&mut self) -> usize {
        let place = STAYING + self.chance.below(self.members.len().saturating_sub(STAYING));
        self.members.remove(place)
    }

    fn leave(&mut self) -> Result<usize> {
        let who = self.part();
        self.write(who, |writer| writer.leave())?;
        Ok(who)
    }

    /// Somebody from outside is invited by a member and joins.
    fn admit(&mut self) -> Result<()> {
        let who = self.outside.pop_front().ok_or_else(|| lacking("people outside"))?;
        let account = self.people.get(who).ok_or_else(|| lacking("somebody of this number"))?.account();
        let (founding, host) = (self.founding, self.speaker());
        self.write(host, |writer| writer.invite(account, &founding))?;
        self.write(who, |writer| writer.join())?;
        self.members.push(who);
        Ok(())
    }

    fn vote(&mut self, action: VoteAction, who: usize) -> Result<()> {
        let [founder, ..] = self.people.as_slice() else { return Err(lacking("its founder")) };
        let target = self.people.get(who).ok_or_else(|| lacking("somebody of this number"))?.account();
        let now = UnixMillis::from_seconds(self.now);
        let writer = Writer::new(&self.objects, founder.author.local(), self.head, now);
        let commits = writer
            .and_then(|writer| writer.cast_vote(action, Target::Account(target), founder.author.key()))
            .map_err(BenchError::conversation)?;
        commits.into_iter().for_each(|commit| self.add(commit));
        Ok(())
    }

    fn write(
        &mut self,
        who: usize,
        make: impl FnOnce(&Writer<'_, MemoryObjects>) -> std::result::Result<Draft, CreateError>,
    ) -> Result<CommitId> {
        let person = self.people.get(who).ok_or_else(|| lacking("somebody of this number"))?;
        let now = UnixMillis::from_seconds(self.now);
        let draft =
            Writer::new(&self.objects, person.author.local(), self.head, now).and_then(|it| make(&it));
        let signed = sign(draft, person)?;
        self.add(signed);
        Ok(self.head)
    }

    fn add(&mut self, SignedDraft { objects, commit }: SignedDraft) {
        let commit_object =
            NewObject { kind: ObjectKind::Commit, id: commit.id.0, content: commit.content.clone() };
        for object in objects.into_iter().chain([commit_object]) {
            if self.known.insert(object.id) {
                self.objects.insert(object.clone());
                self.made.push(object);
            }
        }
        self.head = commit.id;
        self.commits += 1;
    }
}

fn sign(draft: std::result::Result<Draft, CreateError>, person: &Person) -> Result<SignedDraft> {
    let draft = draft.map_err(BenchError::conversation)?;
    draft.sign(person.author.key()).map_err(BenchError::conversation)
}

fn lacking(what: &str) -> BenchError {
    BenchError::conversation(std::io::Error::other(format!("the group lacks {what}")))
}

/// Numbers that look like chance and are the same each time.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    /// A number below `limit`, which is at least one.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let high = usize::try_from(self.0 >> 33).unwrap_or_default();
        high % limit.max(1)
    }

    fn pick(&mut self, words: &[&'static str]) -> &'static str {
        words.get(self.below(words.len())).copied().unwrap_or_default()
    }

    /// Three to twenty words.
    fn text(&mut self) -> String {
        let words: Vec<_> = (0..3 + self.below(18)).map(|_| self.pick(&WORDS)).collect();
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use skep_protocol::swarm::validate::Validator;
    use skep_tests::harness::run_to_end;

    use super::*;

    #[test]
    fn a_group_lives_through_all_kinds_of_days_is_valid_and_always_the_same() {
        let mut group = Group::found().unwrap();
        group.live(3, |_| ()).unwrap();
        assert_eq!((group.members.len(), group.outside.len(), group.banned.len()), (MEMBERS, 10, 0));
        let mut validator = Validator::new(&group.objects, group.conversation);
        assert_eq!(validator.validate_history(group.head, |_| false).unwrap().len(), group.commits);
        let mut again = Group::found().unwrap();
        again.live(1, |_| ()).unwrap();
        assert_eq!(again.head, group.evenings[0].head);
    }

    #[test]
    fn git_takes_the_bundle_of_a_part() {
        let mut group = Group::found().unwrap();
        group.live(2, |_| ()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("bundle"), group.bundle(1).unwrap()).unwrap();
        let git = |arguments: &[&str]| {
            let mut command = std::process::Command::new("git");
            run_to_end(command.current_dir(folder.path()).args(arguments)).unwrap()
        };
        git(&["clone", "-q", "--bare", "bundle", "copy"]);
        assert_eq!(git(&["-C", "copy", "rev-parse", "main"]), group.evenings[0].head.to_hex());
        git(&["-C", "copy", "fsck", "--strict", "--full"]);
    }
}
