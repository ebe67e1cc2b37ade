//! Skep beside the real daemon: every step with what must hold after it.
//!
//! ```text
//!   Skep   Ada ──asks──▶ Bob    jamid         dhtnode is where both join Jami's DHT;
//!          Ada ◀──asks── Cleo                 each of the three has a namespace of its own
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use skep::{CommitId, ConversationId};

use super::report::Report;
use crate::daemon::{Daemon, DaemonAccount, daemon_version};
use crate::harness::{Failure, Mark, Person, Result, check, until};
use crate::live::Lab;

/// Messages each way in each conversation.
const ROUNDS: usize = 4;

/// Messages to a node that is away, in each conversation.
const WHILE_AWAY: usize = 2;

/// The nodes and who talks.
struct Cast {
    ada: Person,
    jamid: Daemon,
    talks: [Talk; 2],
}

/// A conversation of Ada with somebody on the daemon.
struct Talk {
    id: ConversationId,
    with: DaemonAccount,
    name: &'static str,
}

/// Plays everything; what it leaves is below `place`.
pub(super) async fn play(report: &mut Report, place: &Path) -> Result<()> {
    report.step("start a private network");
    let mut lab = Lab::open_in(place)?;
    let node = lab.skep_on_opendht("skep")?.start().await?;
    let jamid = lab.daemon("jamid").await?;
    report.done(&format!(
        "dhtnode at {}; Skep and jamid {} join through it",
        lab.bootstrap(),
        daemon_version()
    ));

    report.step("make accounts");
    let (ada, bob, cleo) = tokio::join!(
        Person::create(node, "Ada", None),
        jamid.create_account("Bob", None),
        jamid.create_account("Cleo", None)
    );
    let (mut ada, bob, cleo) = (ada?, bob?, cleo?);
    ada.announced().await?;
    for (name, on, id) in [("Ada", "Skep", ada.id), ("Bob", "jamid", bob.id), ("Cleo", "jamid", cleo.id)] {
        Report::quote(&format!("{name:<4} on {on:<5}  {id}"));
    }
    report.done("Ada on Skep, Bob and Cleo on jamid; all three can be found on the DHT");

    let with_bob = ada_asks(report, &mut ada, &jamid, bob).await?;
    let with_cleo = cleo_asks(report, &mut ada, &jamid, cleo).await?;
    let mut cast = Cast { ada, jamid, talks: [with_bob, with_cleo] };
    talk(report, "talk both ways", &mut cast, "at first").await?;
    restart_daemon(report, &mut cast).await?;
    restart_skep(report, &mut cast).await?;
    talk(report, "talk again", &mut cast, "after both restarts").await?;
    compare(report, &mut cast).await?;

    report.step("stop Skep in order");
    cast.ada.node.stop().await?;
    report.done("it ended with exit code 0 and left nothing half written");
    Ok(())
}

/// Skep asks, the daemon accepts.
async fn ada_asks(report: &mut Report, ada: &mut Person, jamid: &Daemon, bob: DaemonAccount) -> Result<Talk> {
    report.step("Skep asks, jamid accepts");
    let begun = Instant::now();
    let id = ada.add(bob.id).await?;
    let asked = jamid.request(&bob, ada.id).await?;
    check(asked == id, || format!("a request for {id}, not {asked}"))?;
    report.say(&format!(
        "  Ada asked Bob into conversation {id}; jamid told him after {:.1?}",
        begun.elapsed()
    ));
    let accepted = Instant::now();
    jamid.accept(&bob, ada.id).await?;
    jamid.ready(&bob, id).await?;
    report.say(&format!("  Bob accepted; jamid has the conversation after {:.1?}", accepted.elapsed()));
    ada.confirmed(bob.id).await?;
    ada.joined(bob.id, id).await?;
    report.done(&format!(
        "request, answer and conversation; Bob is in it {:.1?} after he accepted",
        accepted.elapsed()
    ));
    Ok(Talk { id, with: bob, name: "Bob" })
}

/// The daemon asks, Skep accepts.
async fn cleo_asks(
    report: &mut Report,
    ada: &mut Person,
    jamid: &Daemon,
    cleo: DaemonAccount,
) -> Result<Talk> {
    report.step("jamid asks, Skep accepts");
    let begun = Instant::now();
    jamid.add_contact(&cleo, ada.id).await?;
    let id = ada.asked_by(cleo.id, Mark::BEGINNING).await?;
    report.say(&format!(
        "  Cleo asked Ada into conversation {id}; Skep told her after {:.1?}",
        begun.elapsed()
    ));
    let accepted = Instant::now();
    let joining = ada.accept(cleo.id).await?;
    check(joining == id, || format!("Ada to join {id}, not {joining}"))?;
    ada.usable(id).await?;
    report.say(&format!("  Ada accepted; Skep has the conversation after {:.1?}", accepted.elapsed()));
    jamid.joined(&cleo, id, ada.id).await?;
    report.done(&format!(
        "request, answer and conversation; Ada is in it {:.1?} after she accepted",
        accepted.elapsed()
    ));
    Ok(Talk { id, with: cleo, name: "Cleo" })
}

/// Messages in every conversation, in turn; each is timed.
async fn talk(report: &mut Report, title: &'static str, cast: &mut Cast, when: &str) -> Result<()> {
    report.step(title);
    let Cast { ada, jamid, talks } = cast;
    let (mut there, mut back) = (Vec::new(), Vec::new());
    for Talk { id, with, name } in talks {
        for number in 1..=ROUNDS {
            let text = format!("Hello {name}, {when}: {number} 🐝");
            let begun = Instant::now();
            ada.send(*id, &text).await?;
            jamid.received(with, *id, &text).await?;
            there.push(quote("Ada", name, &text, begun));
            let text = format!("Hello Ada, {when}: {number} 👋");
            let begun = Instant::now();
            jamid.send(with, *id, &text).await?;
            ada.receives(*id, &text).await?;
            back.push(quote(name, "Ada", &text, begun));
        }
    }
    let count = there.len();
    report.done(&format!(
        "{count} messages each way: Skep → jamid {}, jamid → Skep {}",
        range(&there),
        range(&back)
    ));
    Ok(())
}

async fn restart_daemon(report: &mut Report, cast: &mut Cast) -> Result<()> {
    report.step("kill jamid, write, start it again");
    let Cast { ada, jamid, talks } = cast;
    jamid.kill();
    let mut sent = Vec::new();
    for talk in &*talks {
        for number in 1..=WHILE_AWAY {
            let text = format!("To absent {}: {number}", talk.name);
            ada.send(talk.id, &text).await?;
            sent.push((talk, text));
        }
    }
    report.say(&format!("  jamid is gone; Skep acknowledged {} messages to it", sent.len()));
    let begun = Instant::now();
    let since = jamid.events().mark();
    jamid.restart().await?;
    report.say(&format!("  jamid answers again after {:.1?}", begun.elapsed()));
    for talk in &*talks {
        jamid.announced(&talk.with.local, since).await?;
    }
    report.say(&format!("  Bob and Cleo can be found again after {:.1?}", begun.elapsed()));
    for (talk, text) in &sent {
        jamid.received(&talk.with, talk.id, text).await?;
        quote("Ada", talk.name, text, begun);
    }
    report.done(&format!("jamid had all that was sent meanwhile, {:.1?} after its start", begun.elapsed()));
    Ok(())
}

async fn restart_skep(report: &mut Report, cast: &mut Cast) -> Result<()> {
    report.step("kill Skep, write, start it again");
    let Cast { ada, jamid, talks } = cast;
    ada.node.kill();
    let mut sent = Vec::new();
    for talk in &*talks {
        for number in 1..=WHILE_AWAY {
            let text = format!("To absent Ada from {}: {number}", talk.name);
            jamid.send(&talk.with, talk.id, &text).await?;
            sent.push((talk, text));
        }
    }
    report.say(&format!("  Skep is gone; jamid took {} messages to it", sent.len()));
    let begun = Instant::now();
    ada.node.restart().await?;
    report.say(&format!("  Skep answers again after {:.1?}", begun.elapsed()));
    for (talk, text) in &sent {
        // They may have come before anybody listened to its events again.
        lists(ada, talk.id, text).await?;
        quote(talk.name, "Ada", text, begun);
    }
    report.done(&format!("Skep had all that was sent meanwhile, {:.1?} after its start", begun.elapsed()));
    Ok(())
}

/// Waits until a text is in Ada's history.
async fn lists(ada: &mut Person, conversation: ConversationId, text: &str) -> Result<()> {
    let name = ada.node.name().to_owned();
    until(&name, format!("the message {text:?}"), async || {
        let messages = ada.messages(conversation).await?;
        Ok(messages.iter().any(|message| message.body == text).then_some(()))
    })
    .await
}

async fn compare(report: &mut Report, cast: &mut Cast) -> Result<()> {
    report.step("compare histories");
    let Cast { ada, jamid, talks } = cast;
    let mut counts = Vec::new();
    for talk in talks {
        let commits = until("Skep and jamid", "the same history, commit for commit", async || {
            let (here, there) = (ada.log(talk.id).await?, daemon_log(jamid, talk).await?);
            Ok((here == there).then_some(here.len()))
        });
        counts.push(format!("{} with {}", commits.await?, talk.name));
    }
    report.done(&format!("the same commits in the same order: {}", counts.join(", ")));
    Ok(())
}

/// Every commit of a conversation as the daemon lists them, newest first.
async fn daemon_log(jamid: &Daemon, talk: &Talk) -> Result<Vec<CommitId>> {
    let history = jamid.history(&talk.with, talk.id).await?;
    let ids: Option<Vec<_>> = history.iter().map(|entry| entry.get("id")?.parse().ok()).collect();
    ids.ok_or_else(|| Failure::Expected(format!("commits with ids from {}, not {history:?}", jamid.name())))
}

/// Tells a message that has arrived, and how long after `begun`.
fn quote(from: &str, to: &str, text: &str, begun: Instant) -> Duration {
    let took = begun.elapsed();
    Report::quote(&format!("{:>9.1?}  {from} → {to}: {text}", took));
    took
}

/// The shortest and the longest.
fn range(times: &[Duration]) -> String {
    let (least, most) = (times.iter().min().copied(), times.iter().max().copied());
    format!("{:.1?} to {:.1?}", least.unwrap_or_default(), most.unwrap_or_default())
}
