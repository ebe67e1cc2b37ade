//! Groups that talk, each member on a process of its own, and how long a message takes to all of them.
//!
//! ```text
//!   one of them: send ──► the others: told, told, told, …, told
//!                └──────────────── to_all ───────────────────┘
//! ```
//!
//! They take turns, one message at a time.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use skep::ConversationId;
use skep_tests::daemon::{Bootstrap, Daemon, DaemonAccount};
use skep_tests::harness::{Accounts, Arrival, Guests, Mark, Network, Result};

use crate::statistics::{Samples, millis};

/// Messages of each group, after those with which it warms up.
pub(crate) const MESSAGES: usize = 60;

/// Messages of the group of real daemons, which take longer.
const DAEMON_MESSAGES: usize = 40;

/// Messages at first that do not count: one by each of so many, who find everything in place later.
const WARM_UP: usize = 5;

/// Pause between two messages, so that each finds all nodes at rest.
pub(crate) const PAUSE: Duration = Duration::from_millis(200);

/// Time for everybody to come to rest once all have joined: those who do not have one yet get links.
const SETTLE: Duration = Duration::from_secs(10);

/// Role of somebody who has joined, as the daemon names it.
const MEMBER: &str = "member";

/// How long messages took, in milliseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    /// From the call that sends to the last of the other members' events.
    pub(crate) to_all: Samples,
    /// To the event of the median member.
    pub(crate) to_median: Samples,
    /// Processor time that all members together used for a message, on average.
    pub(crate) processor: f64,
    /// Whether each member is in a namespace.
    pub(crate) in_namespaces: bool,
    /// How long it took until all were there, in seconds.
    pub(crate) preparation: f64,
}

impl Times {
    /// A message was heard by all, after these times.
    fn add(&mut self, taken: impl IntoIterator<Item = Duration>) {
        let taken: Samples = taken.into_iter().map(millis).collect();
        let [last, middle] = [100, 50].map(|percent| taken.percentile(percent));
        last.into_iter().for_each(|last| self.to_all.add(last));
        middle.into_iter().for_each(|middle| self.to_median.add(middle));
    }
}

/// Measures a group of so many nodes of Skep. `times` keeps what was measured before an error.
pub(crate) async fn skeps(count: usize, folder: &Path, times: &mut Times) -> Result<()> {
    let begun = Instant::now();
    let arrival = Arrival { count, accounts: Accounts::Made, network: "kad" };
    let mut guests = Guests::start(arrival, folder).await?;
    guests.befriend().await?;
    let mut crowd = guests.gather("A measured group").await?;
    times.preparation = begun.elapsed().as_secs_f64();
    times.in_namespaces = crowd.is_in_namespaces();
    tokio::time::sleep(SETTLE).await;
    for number in 0..WARM_UP {
        crowd.say(number % count, &format!("warm up {number}")).await?;
    }
    let used = crowd.processor_time()?;
    for number in 0..MESSAGES {
        tokio::time::sleep(PAUSE).await;
        let spread = crowd.say(number % count, &format!("message {number}")).await?;
        times.add(spread.all().iter().copied());
    }
    tokio::time::sleep(PAUSE).await;
    let used = crowd.processor_time()?.saturating_sub(used);
    times.processor = millis(used) / f64::from(u32::try_from(MESSAGES).unwrap_or(u32::MAX));
    crowd.stop().await
}

/// Measures a group of so many real daemons, as [`skeps`].
pub(crate) async fn daemons(count: usize, folder: &Path, times: &mut Times) -> Result<()> {
    let begun = Instant::now();
    let mut network = Network::private()?;
    let bootstrap = Bootstrap::start(&network.place("dhtnode")?, folder)?;
    let mut people = Vec::new();
    for number in 0..count {
        let name = format!("jamid{number}");
        let daemon = Daemon::start(network.place(&name)?, &bootstrap, &name, folder).await?;
        let account = daemon.create_account(&name, None).await?;
        people.push((daemon, account));
    }
    let group = gather(&people).await?;
    times.preparation = begun.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    for number in 0..WARM_UP {
        say(&people, number % count, group, &format!("warm up {number}")).await?;
    }
    for number in 0..DAEMON_MESSAGES {
        tokio::time::sleep(PAUSE).await;
        times.add(say(&people, number % count, group, &format!("message {number}")).await?);
    }
    Ok(())
}

/// The first becomes a contact of all others, makes a group and lets them in.
async fn gather(people: &[(Daemon, DaemonAccount)]) -> Result<ConversationId> {
    let Some(((host, own), others)) = people.split_first() else { return Ok(ConversationId([0; 20])) };
    for (daemon, account) in others {
        host.befriend(own, daemon, account).await?;
    }
    let group = host.found(own).await?;
    for (daemon, account) in others {
        host.invite(own, group, account.id).await?;
        daemon.invited(account, group, Mark::BEGINNING).await?;
        daemon.enter(account, group).await?;
        daemon.ready(account, group).await?;
        host.sees(own, group, account.id, Some(MEMBER)).await?;
    }
    for (daemon, account) in people {
        for (_, other) in others {
            daemon.sees(account, group, other.id, Some(MEMBER)).await?;
        }
    }
    Ok(group)
}

/// One of them says something, and all others hear it; how long it took to each.
async fn say(
    people: &[(Daemon, DaemonAccount)],
    speaker: usize,
    group: ConversationId,
    text: &str,
) -> Result<Vec<Duration>> {
    let begun = Instant::now();
    if let Some((daemon, account)) = people.get(speaker) {
        daemon.send(account, group, text).await?;
    }
    let others = people.iter().enumerate().filter(|(listener, _)| *listener != speaker);
    let arrivals = others.map(|(_, (daemon, account))| daemon.received(account, group, text));
    let arrivals = try_join_all(arrivals).await?;
    Ok(arrivals.into_iter().map(|arrival| arrival.saturating_duration_since(begun)).collect())
}
