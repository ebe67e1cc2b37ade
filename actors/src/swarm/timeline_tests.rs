//! What is shown of histories that nobody would write.

use skep_protocol::swarm::object::{MemoryObjects, NewObject, ObjectKind};

use super::*;

/// A history in memory, and a timeline over it.
#[derive(Default)]
struct Shown {
    objects: MemoryObjects,
    timeline: Timeline,
    commits: Vec<CommitId>,
}

impl Shown {
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

    /// Tells the last commits.
    fn append(&mut self, count: usize) -> Vec<Change> {
        let news = News { commits: self.news(count), untold: 0 };
        let head = *self.commits.last().unwrap();
        self.timeline.append(&self.objects, head, &news)
    }

    fn page(&mut self, limit: usize) -> Vec<MessageView> {
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
    let mut shown = Shown::default();
    let unfolding =
        format!(r#"{{"a":[{}[]],"b":"{}","type":"x"}}"#, "[],".repeat(100_000), "é".repeat(200_000));
    shown.write_on([text("first"), unfolding]);
    shown.timeline.reset(shown.commits[1]);
    let page = shown.page(10);
    assert_eq!((page[0].kind.as_str(), page[1].body.as_str()), ("x", "first"));
    assert!(!page[0].details.contains_key("a") && "é".repeat(200_000).starts_with(&page[0].details["b"]));
    let kept = shown.timeline.history.entry(shown.commits[1]).unwrap().unknown.unwrap();
    assert!(kept.weight() <= MAX_SHOWN, "{}", kept.weight());
}

#[test]
fn of_more_commits_than_are_told_the_newest_are_told_without_reading_the_rest() {
    let mut shown = Shown::default();
    shown.write_on((0..20).map(|number| text(&number.to_string())));
    let news = News { commits: shown.news(5), untold: 15 };
    let head = shown.commits[19];
    // Nothing can be read from an empty store.
    let changes = shown.timeline.append(&MemoryObjects::default(), head, &news);
    let newest: Vec<_> = shown.commits[15..].iter().map(|id| (*id, true)).collect();
    assert_eq!(told(&changes), newest);
    assert_eq!(shown.page(100).len(), 20);
}
