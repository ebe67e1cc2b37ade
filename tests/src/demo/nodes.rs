//! The main job: every step with what must hold after it.
//!
//! ```text
//!   A  an account and a conversation that a real daemon made        bootstrap ── A
//!   B  a new account, friend of A and of C                              │   ╲  ╱ │
//!   C  a new account                                                    C ── B ──┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;
use skep::rpc::schema::{CreateParams, PathParams, ProgressNotice, method};
use skep::{AccountId, CommitId, ConversationId};

use super::report::Report;
use super::transcript;
use crate::harness::{Failure, Golden, Node, NodeSetup, Person, Result, check, same_history, vector};

/// The conversation of the real daemons that is opened.
const BUNDLE: &str = "newest/swarm/one-to-one.bob.final.bundle";

/// What the real daemons list for their conversations.
const VIEWS: &str = "newest/swarm-views.json.gz";

/// The conversation's name there.
const VIEW: &str = "one-to-one.bob.final";

/// The person the imported account talked with.
const BOB: &str = "11eac7c8522415e5294f255daa4284711bd28268";

/// Messages that each side of a conversation sends at once.
const AT_ONCE: usize = 15;

/// Messages of the burst in which a node is killed.
const BURST: usize = 60;

/// Messages acknowledged before it is killed.
const KILLED_AFTER: usize = 12;

/// Messages sent to the node while it is away.
const WHILE_AWAY: usize = 5;

/// The people, their conversations, and what was acknowledged in each.
struct Cast {
    alice: Person,
    bea: Person,
    cem: Person,
    alice_bea: Talk,
    bea_cem: Talk,
}

/// A conversation and the messages that nodes acknowledged in it.
struct Talk {
    id: ConversationId,
    acknowledged: BTreeSet<CommitId>,
}

/// Plays everything; what it leaves is below `place`.
pub(super) async fn play(report: &mut Report, place: &Path) -> Result<()> {
    report.step("start four processes");
    let mut bootstrap = NodeSetup::new("bootstrap", place).start().await?;
    let address = bootstrap.address().await?;
    let join = async |name| NodeSetup::new(name, place).joining(&address).start().await;
    let (a, b, c) = (join("A").await?, join("B").await?, join("C").await?);
    report.done(&format!("a bootstrap at {address}, and nodes A, B and C that join through it"));

    let mut alice = import(report, a).await?;
    open_history(report, &mut alice).await?;
    let (mut bea, mut cem) = create(report, b, c).await?;

    report.step("exchange contact requests");
    for person in [&mut alice, &mut bea, &mut cem] {
        person.announced().await?;
    }
    let alice_bea = Talk::new(alice.befriend(&mut bea).await?);
    let bea_cem = Talk::new(bea.befriend(&mut cem).await?);
    report.done("A asked B, and B asked C; both accepted and cloned the conversation");

    let mut cast = Cast { alice, bea, cem, alice_bea, bea_cem };
    talk(report, &mut cast).await?;
    talk_at_once(report, &mut cast).await?;
    kill_mid_burst(report, &mut cast).await?;
    compare(report, &mut cast).await?;

    report.step("stop in order");
    for node in [&mut cast.alice.node, &mut cast.bea.node, &mut cast.cem.node, &mut bootstrap] {
        node.stop().await?;
    }
    report.done("every process ended with exit code 0 and left nothing half written");
    Ok(())
}

async fn import(report: &mut Report, node: Node) -> Result<Person> {
    let golden = Golden::ALICE;
    report.step("import the account of a real daemon");
    let alice = Person::import(node, &golden.archive()?, golden.password).await?;
    check(alice.id.to_string() == golden.id, || format!("the id {}, not {}", golden.id, alice.id))?;
    report.done(&format!("{} on A, from an archive of daemon 17.0.0", alice.id));
    Ok(alice)
}

async fn open_history(report: &mut Report, alice: &mut Person) -> Result<()> {
    report.step("open a real conversation");
    let path = fs::canonicalize(vector(BUNDLE)).map_err(Failure::file(&vector(BUNDLE)))?;
    let params = PathParams { account: alice.local, path };
    let id = alice.node.call(method::ConversationImport, params).await?.conversation;
    let messages = alice.messages(id).await?;
    let bob: Option<AccountId> = BOB.parse().ok();
    let mut names = BTreeMap::from([(alice.id, "Alice")]);
    names.extend(bob.map(|bob| (bob, "Bob")));
    for line in transcript::lines(&messages, &names) {
        Report::quote(&line);
    }
    let own: Vec<String> = messages.iter().rev().map(|message| message.id.to_string()).collect();
    let daemons = listed_by_the_daemon()?;
    check(own == daemons, || format!("the messages that the daemon lists, {daemons:?}, not {own:?}"))?;
    let commits = alice.log(id).await?.len();
    let count = messages.len();
    report.done(&format!("{commits} commits validated, {count} messages as the daemon lists them"));
    Ok(())
}

/// The messages of the conversation as the real daemon lists them, newest first.
fn listed_by_the_daemon() -> Result<Vec<String>> {
    let path = vector(VIEWS);
    let packed = fs::read(&path).map_err(Failure::file(&path))?;
    let mut text = String::new();
    GzDecoder::new(packed.as_slice()).read_to_string(&mut text).map_err(Failure::file(&path))?;
    let views: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| Failure::file(&path)(error.into()))?;
    let messages = views.get(VIEW).and_then(|view| view.get("messages")?.as_array());
    let id = |message: &serde_json::Value| Some(message.get("id")?.as_str()?.to_owned());
    Ok(messages.into_iter().flatten().filter_map(id).collect())
}

async fn create(report: &mut Report, b: Node, c: Node) -> Result<(Person, Person)> {
    report.step("make two new accounts");
    let told: &Report = report;
    let make = async |node: Node, name: &'static str| {
        let on_node = node.name().to_owned();
        let mut client = node.connect().await?;
        let params = CreateParams { name: name.to_owned(), password: None };
        let tell = |notice: &ProgressNotice| {
            told.say(&format!("  {on_node}: {} ({} of {})", notice.stage, notice.done, notice.total));
        };
        let made = client.call_with::<method::AccountCreate>(params, tell).await;
        let view = made.map_err(Failure::refused(&on_node, "account.create"))?;
        Ok(Person::of(node, &view))
    };
    let (bea, cem) = tokio::join!(make(b, "Bea"), make(c, "Cem"));
    let (bea, cem) = (bea?, cem?);
    report.done(&format!("{} on B, {} on C", bea.id, cem.id));
    Ok((bea, cem))
}

async fn talk(report: &mut Report, cast: &mut Cast) -> Result<()> {
    report.step("talk both ways");
    let Cast { alice, bea, cem, alice_bea, bea_cem } = cast;
    let id = alice_bea.id;
    let hello = alice.send(id, "Hello Bea, this is Alice").await?;
    bea.receives(id, "Hello Bea, this is Alice").await?;
    let reply = bea.upon(method::MessageReply, id, hello, "Hello Alice!").await?;
    alice.receives(id, "Hello Alice!").await?;
    let reaction = alice.upon(method::MessageReact, id, reply, "👍").await?;
    let edit = bea.upon(method::MessageEdit, id, reply, "Hello Alice, good to see you").await?;
    let wrong = alice.send(id, "to be deleted").await?;
    let deletion = alice.delete(id, wrong).await?;
    alice_bea.acknowledged.extend([hello, reply, reaction, edit, wrong, deletion]);
    let id = bea_cem.id;
    for (text, from_bea) in [("Hi Cem", true), ("Hi Bea", false), ("How is C?", true)] {
        let (sender, receiver) = if from_bea { (&mut *bea, &mut *cem) } else { (&mut *cem, &mut *bea) };
        bea_cem.acknowledged.insert(sender.send(id, text).await?);
        receiver.receives(id, text).await?;
    }
    report.done("six texts, a reply, a reaction, an edit and a deletion arrived");

    report.step("see the same on both sides");
    let id = alice_bea.id;
    same_history(alice, bea, id).await?;
    let (ours, theirs) = (alice.messages(id).await?, bea.messages(id).await?);
    for line in transcript::lines(&ours, &BTreeMap::from([(alice.id, "Alice"), (bea.id, "Bea")])) {
        Report::quote(&line);
    }
    check(ours == theirs, || format!("B to list what A lists, {ours:?}, not {theirs:?}"))?;
    let found = ours.iter().find(|message| message.id == reply);
    let applied = found.is_some_and(|it| {
        it.body == "Hello Alice, good to see you" && it.reply_to == Some(hello) && it.reactions.len() == 1
    });
    check(applied, || format!("the reply with its edit and reaction, not {found:?}"))?;
    let gone = ours.iter().any(|message| message.id == wrong && message.deleted);
    check(gone, || format!("message {wrong} to be deleted"))?;
    report.done(&format!("A and B list the same {} messages", ours.len()));
    Ok(())
}

async fn talk_at_once(report: &mut Report, cast: &mut Cast) -> Result<()> {
    report.step("send from all sides at once");
    let Cast { alice, bea, cem, alice_bea, bea_cem } = cast;
    let texts = |name: &'static str| (0..AT_ONCE).map(move |number| format!("{name} at once {number}"));
    let bursts = [
        alice.burst(alice_bea.id, texts("A")).await?,
        bea.burst(alice_bea.id, texts("B")).await?,
        bea.burst(bea_cem.id, texts("B")).await?,
        cem.burst(bea_cem.id, texts("C")).await?,
    ];
    for (number, burst) in bursts.into_iter().enumerate() {
        let talk = if number < 2 { &mut *alice_bea } else { &mut *bea_cem };
        talk.acknowledge(burst.end().await?);
    }
    let one = same_history(alice, bea, alice_bea.id).await?;
    let other = same_history(bea, cem, bea_cem.id).await?;
    alice_bea.is_in(&one)?;
    bea_cem.is_in(&other)?;
    let merges = one.len() + other.len() - alice_bea.acknowledged.len() - bea_cem.acknowledged.len();
    let sent = 4 * AT_ONCE;
    report.done(&format!("{sent} messages in both conversations crossed; {merges} other commits join them"));
    Ok(())
}

async fn kill_mid_burst(report: &mut Report, cast: &mut Cast) -> Result<()> {
    report.step("kill B in the middle of a burst");
    let Cast { alice, bea, cem, alice_bea, bea_cem } = cast;
    let texts = |name: &'static str| (0..BURST).map(move |number| format!("{name} burst {number}"));
    let mut to_alice = bea.burst(alice_bea.id, texts("B")).await?;
    let to_cem = bea.burst(bea_cem.id, texts("B")).await?;
    let to_bea = alice.burst(alice_bea.id, texts("A")).await?;
    to_alice.acknowledged(KILLED_AFTER).await?;
    bea.node.kill();
    let (to_alice, to_cem) = (to_alice.end().await?, to_cem.end().await?);
    let acknowledged = to_alice.len() + to_cem.len();
    check(to_alice.len() < BURST, || "B to be killed before its burst was done".to_owned())?;
    let [own_to_alice, own_to_cem] = [&to_alice, &to_cem]
        .map(|sent| sent.iter().map(|(commit, _)| *commit).collect::<BTreeSet<CommitId>>());
    alice_bea.acknowledge(to_alice);
    bea_cem.acknowledge(to_cem);
    alice_bea.acknowledge(to_bea.end().await?);
    let mut missed = Vec::new();
    for number in 0..WHILE_AWAY {
        let from_alice = alice.send(alice_bea.id, &format!("A to absent B {number}")).await?;
        let from_cem = cem.send(bea_cem.id, &format!("C to absent B {number}")).await?;
        alice_bea.acknowledged.insert(from_alice);
        bea_cem.acknowledged.insert(from_cem);
        missed.extend([(alice_bea.id, from_alice), (bea_cem.id, from_cem)]);
    }
    report.done(&format!(
        "SIGKILL after B had acknowledged {acknowledged} of {}; A and C went on writing",
        2 * BURST
    ));

    report.step("start B again");
    bea.node.restart().await?;
    for (id, own) in [(alice_bea.id, own_to_alice), (bea_cem.id, own_to_cem)] {
        Talk { id, acknowledged: own }.is_in(&bea.log(id).await?)?;
    }
    for (id, commit) in missed {
        bea.has(id, commit).await?;
    }
    report.done("it has all it had acknowledged, and what was sent while it was away");
    Ok(())
}

async fn compare(report: &mut Report, cast: &mut Cast) -> Result<()> {
    report.step("compare histories, commit for commit");
    let Cast { alice, bea, cem, alice_bea, bea_cem } = cast;
    let one = same_history(alice, bea, alice_bea.id).await?;
    let other = same_history(bea, cem, bea_cem.id).await?;
    alice_bea.is_in(&one)?;
    bea_cem.is_in(&other)?;
    let acknowledged = alice_bea.acknowledged.len() + bea_cem.acknowledged.len();
    report.done(&format!(
        "A = B in all {} commits, B = C in all {}; nothing of {acknowledged} acknowledged is lost",
        one.len(),
        other.len()
    ));
    Ok(())
}

impl Talk {
    const fn new(id: ConversationId) -> Self {
        Self { id, acknowledged: BTreeSet::new() }
    }

    fn acknowledge(&mut self, sent: Vec<(CommitId, String)>) {
        self.acknowledged.extend(sent.into_iter().map(|(commit, _)| commit));
    }

    /// Checks that nothing acknowledged is missing from a log.
    fn is_in(&self, log: &[CommitId]) -> Result<()> {
        let log: BTreeSet<_> = log.iter().copied().collect();
        let lost: Vec<_> = self.acknowledged.difference(&log).collect();
        check(lost.is_empty(), || format!("every acknowledged message in {}, but {lost:?} are lost", self.id))
    }
}
