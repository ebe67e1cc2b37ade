//! How long a send takes, whatever others do: one of them falls silent, or sends a year of history.
//!
//! ```text
//!   A ── sends, timed ──► B hears it
//!   └──── C, which the system stops where it is: linked, fetching, fetched from, dialled
//! ```

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use skep::{AccountId, ConversationId, ConversationView, Event};
use skep_actors::swarm::repository::Repository;
use skep_tests::harness::{Golden, Network, NodeSetup, Person, no_namespaces};

use crate::node::{aside, make};
use crate::report::{Measurement, Progress, Quantity, Target, Wanted};
use crate::statistics::Samples;
use crate::year::{YearFiles, last_page};
use crate::{BenchError, Result};

const SILENT_PEER: Quantity = Quantity {
    name: "send_with_silent_peer",
    unit: "ms",
    target: Target::AtMost(20.0),
    p99: Target::AtMost(20.0),
};
/// Without a target: on two cores, which the two nodes of a fetch keep busy, each wait for the disk ends with
/// one for a core.
const DURING_FETCH: Quantity = Quantity::new("send_during_fetch", "ms", Target::None);

/// Both, in the order of the table.
pub(crate) const QUANTITIES: [Quantity; 2] = [SILENT_PEER, DURING_FETCH];

/// Messages sent while somebody is silent, for each of [`STEPS`].
const MESSAGES: usize = 100;

/// Pause between two messages.
const PAUSE: Duration = Duration::from_millis(20);

/// How long the fetch of a year may take.
const LONGEST_FETCH: Duration = Duration::from_secs(300);

/// When somebody falls silent.
const STEPS: [Step; 4] = [Step::Linked, Step::Fetching, Step::FetchedFrom, Step::Dialled];

#[derive(Clone, Copy, Debug)]
enum Step {
    /// With nothing to do.
    Linked,
    /// Just told of a message.
    Fetching,
    /// Having told of a message.
    FetchedFrom,
    /// Without a link, so that others try to make one.
    Dialled,
}

/// Measures what is wanted of [`QUANTITIES`].
pub(crate) async fn measure(
    files: &YearFiles,
    folder: &Path,
    wanted: Wanted<'_>,
    progress: Progress,
) -> Vec<Measurement> {
    let mut measurements = Vec::new();
    if wanted.any(&[SILENT_PEER]) {
        progress("a node sends while another one is silent");
        let measured = with_silent_peer(folder).await;
        measurements.push(measured.unwrap_or_else(|error| Measurement::failed(SILENT_PEER, &error)));
    }
    if wanted.any(&[DURING_FETCH]) {
        progress("a node sends while it fetches a year of a busy group");
        let measured = during_fetch(files, folder).await;
        measurements.push(measured.unwrap_or_else(|error| Measurement::failed(DURING_FETCH, &error)));
    }
    measurements
}

async fn with_silent_peer(folder: &Path) -> Result<Measurement> {
    let folder = make(folder, "silent")?;
    let mut network = Network::best()?;
    let setup = NodeSetup::new("a", &folder).at(network.place("a")?);
    let mut a = Person::start(Golden::ALICE, setup).await?;
    let address = a.node.address().await?;
    let setup = NodeSetup::new("b", &folder).at(network.place("b")?).joining(&address);
    let mut b = Person::start(Golden::CAROL, setup).await?;
    let setup = NodeSetup::new("c", &folder).at(network.place("c")?).joining(&address);
    let mut c = Person::start(Golden::DAN, setup).await?;
    let group = a.found("three").await?;
    for other in [&mut b, &mut c] {
        a.announced().await?;
        other.announced().await?;
        a.befriend(other).await?;
        let since = other.node.events().mark();
        a.invite(group, other.id).await?;
        other.invited(group, since).await?;
        other.enter(group).await?;
        other.ready(group, since).await?;
        a.joined(other.id, group).await?;
    }
    let (mut sent, mut heard) = (Samples::default(), Samples::default());
    for step in STEPS {
        if matches!(step, Step::Dialled) && no_namespaces().is_some() {
            continue;
        }
        fall_silent(step, &mut a, &mut c, group).await?;
        for number in 0..MESSAGES {
            tokio::time::sleep(PAUSE).await;
            let since = b.node.events().mark();
            let begin = Instant::now();
            let id = a.send(group, &format!("{step:?} {number}")).await?;
            sent.add_millis(begin.elapsed());
            let told = |it: &skep::NodeEvent| match &it.event {
                Event::Message { message, .. } if message.id == id => Some(()),
                _ => None,
            };
            let (arrival, ()) = b.node.events().arrival(since, "a message", told).await?;
            heard.add_millis(arrival.saturating_duration_since(begin));
        }
        c.node.go_on();
        let last = a.view(group).await?.head;
        if let Some(last) = last {
            c.has(group, last).await?;
        }
    }
    let conditions = format!(
        "send call to its answer, the commit being on disk, in a group of three of whom one was stopped: with a link, \
         while fetching, while fetched from, while dialled; the third one had it after {:.1} ms (p99 {:.1} ms)",
        heard.median().unwrap_or_default(),
        heard.percentile(99).unwrap_or_default()
    );
    Ok(Measurement::new(SILENT_PEER, &sent, conditions))
}

async fn fall_silent(step: Step, a: &mut Person, c: &mut Person, group: ConversationId) -> Result<()> {
    match step {
        Step::Linked => c.node.halt(),
        Step::Fetching => {
            a.send(group, "told to somebody who falls silent").await?;
            c.node.halt();
        }
        Step::FetchedFrom => {
            c.send(group, "told by somebody who falls silent").await?;
            c.node.halt();
        }
        Step::Dialled => {
            c.node.halt();
            a.node.setup().place().cut_links(c.node.setup().place())?;
        }
    }
    Ok(())
}

async fn during_fetch(files: &YearFiles, folder: &Path) -> Result<Measurement> {
    let folder = make(folder, "during-fetch")?;
    let (year, scratch) = (files.year(), folder.join("scratch"));
    let commits = aside(move || {
        let repository = Repository::import_bundle(&year, &scratch).map_err(BenchError::conversation)?;
        let head = repository.head().map_err(BenchError::conversation)?;
        let commits = head.map_or(Ok(Vec::new()), |head| repository.commits_between(head, &[]));
        Ok(commits.map_err(BenchError::conversation)?.len())
    })
    .await?;
    let mut network = Network::best()?;
    let setup = NodeSetup::new("holder", &folder).at(network.place("holder")?);
    let mut holder = files.hold(0, &files.year(), setup).await?;
    let address = holder.node.address().await?;
    let setup = NodeSetup::new("away", &folder).at(network.place("away")?).joining(&address);
    let mut away = files.hold(1, &files.first_days(), setup).await?;
    let group = files.conversation();
    let (mut sent, mut shown) = (Samples::default(), Samples::default());
    let members = roles(&away.view(group).await?);
    let begun = Instant::now();
    loop {
        let begin = Instant::now();
        away.send(group, "meanwhile").await?;
        sent.add_millis(begin.elapsed());
        let begin = Instant::now();
        last_page(&mut away, group).await?;
        shown.add_millis(begin.elapsed());
        // Within the year, others have come and gone; what is shown last is what was sent meanwhile.
        if roles(&away.view(group).await?) != members {
            break;
        }
        if begun.elapsed() > LONGEST_FETCH {
            return Err(BenchError::conversation(io::Error::other("the year has not arrived")));
        }
        tokio::time::sleep(PAUSE).await;
    }
    let conditions = format!(
        "send call to its answer by a node that was away for a year and fetches {commits} commits for {:.0} s; \
         meanwhile it shows the last page within {:.1} ms (p99 {:.1} ms)",
        begun.elapsed().as_secs_f64(),
        shown.median().unwrap_or_default(),
        shown.percentile(99).unwrap_or_default()
    );
    Ok(Measurement::new(DURING_FETCH, &sent, conditions))
}

/// Who is in a group, and as what.
fn roles(view: &ConversationView) -> Vec<(AccountId, String)> {
    view.members.iter().map(|member| (member.id, member.role.clone())).collect()
}
