//! What is shown of histories that nobody would write.

use skep_protocol::ids::BlobId;
use skep_protocol::swarm::object::{MemoryObjects, NewObject, ObjectKind, SourceError};

use super::*;

/// A history in memory, and a timeline over it.
struct Written {
    objects: MemoryObjects,
    timeline: Timeline,
    commits: Vec<CommitId>,
}

impl Default for Written {
    fn default() -> Self {
        let timeline = Timeline::new(CommitId([0; 20]));
        Self { objects: MemoryObjects::default(), timeline, commits: Vec::new() }
    }
}

impl Written {
    /// A commit with this message on top of another one; the next second.
    fn write(&mut self, parents: &[CommitId], message: &str) -> CommitId {
        let seconds = 1_700_000_000 + self.commits.len();
        let device = "ab".repeat(32);
        let person = format!("Alice <{device}> {seconds} +0000");
        let parents: String = parents.iter().map(|parent| format!("parent {parent}\n")).collect();
        let tree = TreeId([1; 20]);
        let content = format!("tree {tree}\n{parents}author {person}\ncommitter {person}\n\n{message}");
        let object = NewObject::new(ObjectKind::Commit, content.into_bytes()).unwrap();
        let id = CommitId(object.id);
        self.objects.insert(object);
        self.commits.push(id);
        id
    }

    /// Commits with these messages, each on top of the one before.
    fn write_on(&mut self, messages: impl IntoIterator<Item = String>) {
        for message in messages {
            let parent = self.commits.last().copied();
            self.write(parent.as_slice(), &message);
        }
    }

    /// The last commits as if they had been validated just now.
    fn news(&mut self, count: usize) -> Vec<HistoryCommit> {
        let last = self.commits.split_off(self.commits.len() - count);
        let news = last.iter().map(|id| {
            let commit = read_commit(&self.objects, *id).unwrap();
            self.timeline.entry_of(&self.objects, *id, &commit, MAX_SHOWN)
        });
        let news = news.collect();
        self.commits.extend(last);
        news
    }

    /// Shows what was written, and reads nothing yet.
    fn open(&mut self) {
        self.timeline = Timeline::new(*self.commits.last().unwrap());
    }

    /// Tells the last commits.
    fn append(&mut self, count: usize) -> Vec<Change> {
        let news = News { commits: self.news(count), untold: 0 };
        let head = *self.commits.last().unwrap();
        self.timeline.append(&self.objects, head, &news)
    }

    fn page(&self, limit: usize) -> Vec<MessageView> {
        self.timeline.page(&self.objects, None, limit).unwrap().messages
    }
}

fn text(body: &str) -> String {
    format!(r#"{{"body":"{body}","type":"text/plain"}}"#)
}

/// Those that changes are about, and whether they are new.
fn told(changes: &[Change]) -> Vec<(CommitId, bool)> {
    let one = |change: &Change| match change {
        Change::New(message) => (message.id, true),
        Change::Changed(message) => (message.id, false),
    };
    changes.iter().map(one).collect()
}

#[test]
fn a_message_that_unfolds_in_memory_is_shown_without_what_nobody_sees() {
    let mut written = Written::default();
    let unfolding =
        format!(r#"{{"a":[{}[]],"b":"{}","type":"x"}}"#, "[],".repeat(100_000), "é".repeat(200_000));
    written.write_on([text("first"), unfolding]);
    written.open();
    let page = written.page(10);
    assert_eq!((page[0].kind.as_str(), page[1].body.as_str()), ("x", "first"));
    assert!(!page[0].details.contains_key("a") && "é".repeat(200_000).starts_with(&page[0].details["b"]));
    let kept = written.timeline.shown().history.entry(written.commits[1]).unwrap().unknown.unwrap();
    assert!(kept.weight() <= MAX_SHOWN, "{}", kept.weight());
}

#[test]
fn a_reaction_that_is_the_first_news_after_the_start_tells_what_it_changed() {
    let mut written = Written::default();
    written.write_on([text("first"), text("second")]);
    let first = written.commits[0];
    let react = format!(r#"{{"body":"+","react-to":"{first}","type":"text/plain"}}"#);
    let edit = format!(r#"{{"body":"new","edit":"{first}","type":"text/plain"}}"#);
    written.write_on([react, edit]);
    let changes = written.append(2);
    assert_eq!(told(&changes), [(first, false)]);
    let Change::Changed(message) = &changes[0] else { panic!("{changes:?}") };
    assert_eq!((message.body.as_str(), message.reactions.len()), ("new", 1));
}

#[test]
fn of_more_commits_than_are_told_the_newest_are_told_without_reading_the_rest() {
    let mut written = Written::default();
    written.write_on((0..20).map(|number| text(&number.to_string())));
    let news = News { commits: written.news(5), untold: 15 };
    let head = written.commits[19];
    // Nothing can be read from an empty store.
    let changes = written.timeline.append(&MemoryObjects::default(), head, &news);
    let newest: Vec<_> = written.commits[15..].iter().map(|id| (*id, true)).collect();
    assert_eq!(told(&changes), newest);
    assert_eq!(written.page(100).len(), 20);
}

/// Two branches that part at the third commit; the first is loaded, the second comes with a reaction to the
/// commit that is told.
fn parted(commits: usize) -> (Written, CommitId) {
    let mut written = Written::default();
    written.write_on((0..commits).map(|number| text(&number.to_string())));
    written.open();
    assert_eq!(written.page(1).len(), 1);
    let (fork, ours) = (written.commits[2], *written.commits.last().unwrap());
    let target = written.commits[3];
    let react = format!(r#"{{"body":"+","react-to":"{target}","type":"text/plain"}}"#);
    let theirs = written.write(&[fork], &react);
    written.write(&[ours, theirs], "a merge");
    (written, target)
}

#[test]
fn a_reaction_from_a_branch_that_was_not_loaded_tells_what_it_changed() {
    let (mut written, target) = parted(FIRST_LOAD + 10);
    assert_eq!(told(&written.append(2)), [(target, false)]);
    assert_eq!(written.page(1000).len(), FIRST_LOAD + 10);
}

#[test]
fn whoever_writes_does_not_wait_for_what_is_far_back() {
    let (mut written, _) = parted(FIRST_LOAD + MAX_AT_ONCE + 10);
    assert!(written.append(2).is_empty());
    assert_eq!(written.timeline.loaded(), 0, "it is read when somebody looks at it");
    assert_eq!(written.page(1).len(), 1);
    assert_eq!(written.timeline.loaded(), FIRST_LOAD + MAX_AT_ONCE + 9, "down to where they part");
}

/// Where something happens in the middle of reading.
struct Interrupted<'a, F> {
    written: &'a Written,
    at: CommitId,
    then: std::cell::RefCell<Option<F>>,
}

impl<F: FnOnce()> ObjectSource for Interrupted<'_, F> {
    fn commit(&self, id: CommitId) -> Result<Option<bytes::Bytes>, SourceError> {
        let then = self.then.borrow_mut().take_if(|_| id == self.at);
        if let Some(then) = then {
            then();
        }
        self.written.objects.commit(id)
    }

    fn tree(&self, id: TreeId) -> Result<Option<bytes::Bytes>, SourceError> {
        self.written.objects.tree(id)
    }

    fn blob(&self, id: BlobId, limit: usize) -> Result<Option<bytes::Bytes>, SourceError> {
        self.written.objects.blob(id, limit)
    }
}

#[test]
fn messages_are_put_on_top_while_the_whole_history_is_read() {
    let mut written = Written::default();
    written.write_on((0..FIRST_LOAD * 2).map(|number| text(&number.to_string())));
    written.open();
    assert_eq!(written.page(1).len(), 1);
    written.write_on([text("new")]);
    let news = News { commits: written.news(1), untold: 0 };
    let (first, last) = (written.commits[0], *written.commits.last().unwrap());
    // The message is appended when the first of all commits is being read.
    let append = || {
        let changes = written.timeline.append(&written.objects, last, &news);
        assert_eq!(told(&changes), [(last, true)]);
    };
    let source = Interrupted { written: &written, at: first, then: std::cell::RefCell::new(Some(append)) };
    let found = written.timeline.search(&source, "new", 10).unwrap();
    assert!(source.then.borrow().is_none());
    assert_eq!(found.iter().map(|message| message.id).collect::<Vec<_>>(), [last]);
    assert_eq!(written.timeline.loaded(), FIRST_LOAD * 2 + 1);
    assert_eq!(written.timeline.log(&written.objects, 1).unwrap(), [last]);
}

#[test]
fn what_a_reader_was_overtaken_by_is_read_again() {
    let mut written = Written::default();
    written.write_on((0..FIRST_LOAD * 2).map(|number| text(&number.to_string())));
    written.open();
    written.write_on((0..20).map(|number| text(&number.to_string())));
    let news = News { commits: written.news(1), untold: 19 };
    let (first, last) = (written.commits[0], *written.commits.last().unwrap());
    let append = || drop(written.timeline.append(&written.objects, last, &news));
    let source = Interrupted { written: &written, at: first, then: std::cell::RefCell::new(Some(append)) };
    assert_eq!(written.timeline.log(&source, usize::MAX).unwrap().len(), FIRST_LOAD * 2 + 20);
}

#[test]
fn a_marker_far_back_is_found_beside_one_that_is_near_without_reading_that_far() {
    let mut written = Written::default();
    written.write_on((0..FIRST_LOAD * 2).map(|number| text(&number.to_string())));
    written.open();
    let (old, older, new) = (written.commits[9], written.commits[8], written.commits[500]);
    let covered =
        |commit, marker, near| written.timeline.is_covered(&written.objects, commit, marker, near).unwrap();
    assert_eq!(covered(old, new, true), Some(true));
    assert_eq!(covered(new, old, true), Some(false));
    assert_eq!(covered(CommitId([7; 20]), new, true), Some(false), "not here");
    assert_eq!(covered(older, old, true), None);
    assert_eq!(written.timeline.loaded(), FIRST_LOAD);
    assert_eq!(covered(older, old, false), Some(true));
    assert_eq!(covered(old, older, true), Some(false));
}
