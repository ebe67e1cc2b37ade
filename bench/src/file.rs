//! The `file` command: a large file between two nodes, and what else they do meanwhile.
//!
//! ```text
//!   hash_rate         the hash alone, in memory: the floor of what follows
//!   A  send ──────► B received       message_latency_at_rest
//!   A  file_send      (hashed, offered)
//!   B  file_fetch ──► done           transfer_1gib: hashed as it comes, forced to disk, renamed
//!   B  file_fetch ──► done           once more, and meanwhile
//!   A  send ──────► B received       message_latency_during_transfer, one after the other
//! ```
//!
//! Two real daemons exchange a shorter file in the same way, where they are installed.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use skep_protocol::transfer::FileHasher;
use skep_tests::daemon::{Bootstrap, Daemon, daemon_version, no_daemons};
use skep_tests::harness::Network;

use crate::messenger::{Messenger as _, PAUSE, SETTLE, Talk, befriend, deliver};
use crate::node::{make, workspace};
use crate::report::{Earlier, Measurement, Outcome, Peer, Progress, Quantity, Report, Target, Wanted};
use crate::skep::{SkepAccount, SkepNode};
use crate::statistics::Samples;
use crate::{BenchError, Result};

const TRANSFER: Quantity = Quantity::new("transfer_1gib", "MB/s", Target::AtLeast(200.0));
const HASH_RATE: Quantity = Quantity::new("hash_rate", "MB/s", Target::None);
const MEMORY: Quantity = Quantity::new("transfer_memory", "MB", Target::AtMost(8.0));
const AT_REST: Quantity = Quantity::new("message_latency_at_rest", "ms", Target::None);
const LATENCY: Quantity = Quantity::new("message_latency_during_transfer", "ms", Target::None);

/// How many times as long a message may take while a file is on its way.
const SLOWER: f64 = 2.0;

/// Length of the file, in bytes.
const LENGTH: u64 = 1 << 30;

/// Length of the file that real daemons exchange, in bytes.
const DAEMON_LENGTH: u64 = 50 << 20;

/// The file is made, and the hash fed, in blocks of this length.
const BLOCK: usize = 1 << 20;

/// How often the file is fetched, each time as an offer of its own.
const TRANSFERS: usize = 3;

/// Messages sent before the transfers, to compare with.
const MESSAGES: usize = 50;

const MEGABYTE: f64 = 1e6;

/// What `skep-bench file` is told.
#[derive(Clone, Copy, Debug, Args)]
pub struct Options {}

#[derive(Default)]
struct Found {
    rates: Samples,
    memory: Samples,
    at_rest: Samples,
    during: Samples,
}

/// Measures transfers and tells `progress` what is being done.
///
/// # Errors
/// [`BenchError`] when the results cannot be written. What cannot be measured is said in the table.
pub async fn run(_: Options, progress: Progress) -> Result<Outcome> {
    let file = workspace().join("target/bench/file.json");
    let folder = tempfile::tempdir().map_err(BenchError::file(std::env::temp_dir()))?;
    progress("the hash alone");
    let hash = hash_rate();
    progress("a file of 1 GiB between two nodes of Skep");
    let mut found = Found::default();
    let outcome = transfer(folder.path(), &mut found).await;
    let daemons = match no_daemons() {
        Some(obstacle) => Peer::Absent(obstacle),
        None => {
            progress("a file of 50 MiB between two real daemons");
            match transfer_of_daemons(folder.path()).await {
                Ok(rates) => Peer::Measured(rates),
                Err(error) => Peer::Failed(error.to_string()),
            }
        }
    };
    let most = Target::AtMost(SLOWER * found.at_rest.percentile(99).unwrap_or_default());
    let latency = Quantity { target: most, p99: most, ..LATENCY };
    let mut measurements = vec![
        Measurement::new(
            TRANSFER,
            &found.rates,
            "file.fetch call to the event that it is done: sent, hashed, forced to disk, renamed; two \
             processes; real daemons: 50 MiB",
        )
        .beside(&daemons),
        Measurement::new(
            MEMORY,
            &found.memory,
            "most resident memory above that before, of the node that needs more",
        ),
        Measurement::new(AT_REST, &found.at_rest, "send call to receive event, before the transfers"),
        Measurement::new(
            latency,
            &found.during,
            "the same while a file of 1 GiB is on its way; may take twice the p99 at rest",
        ),
    ];
    if let Err(error) = outcome {
        measurements = measurements.into_iter().map(|measured| measured.spoiled(&error)).collect();
    }
    measurements.push(Measurement::new(HASH_RATE, &hash, "SHA3-512 of 1 GiB in memory, one core"));
    let peer = no_daemons().unwrap_or_else(|| format!("jami-daemon {}", daemon_version()));
    Report::conclude(measurements, Wanted(&[]), peer, file, Vec::<Earlier>::new())
}

fn block() -> Vec<u8> {
    (0..BLOCK).map(|at| at.wrapping_mul(31).to_le_bytes()[0]).collect()
}

fn hash_rate() -> Samples {
    let block = block();
    let once = |_| {
        let begun = Instant::now();
        let mut hasher = FileHasher::default();
        for _ in 0..LENGTH / BLOCK as u64 {
            hasher.update(&block);
        }
        std::hint::black_box(hasher.finish());
        rate(LENGTH, begun.elapsed())
    };
    (0..TRANSFERS).map(once).collect()
}

/// Megabytes a second.
fn rate(length: u64, time: Duration) -> f64 {
    length as f64 / MEGABYTE / time.as_secs_f64()
}

/// Makes a file of this length.
fn make_file(path: &Path, length: u64) -> Result<()> {
    let block = block();
    let mut file = File::create(path).map_err(BenchError::file(path))?;
    for _ in 0..length / BLOCK as u64 {
        file.write_all(&block).map_err(BenchError::file(path))?;
    }
    file.sync_all().map_err(BenchError::file(path))
}

async fn transfer(folder: &Path, found: &mut Found) -> Result<()> {
    let folder = make(folder, "transfer")?;
    let path = folder.join("file.bin");
    make_file(&path, LENGTH)?;
    let mut network = Network::best()?;
    let bootstrap = SkepNode::start(&mut network, None, "boot", &folder).await?;
    let mut a = SkepNode::start(&mut network, Some(&bootstrap), "alice", &folder).await?;
    let mut b = SkepNode::start(&mut network, Some(&bootstrap), "bob", &folder).await?;
    let (own, other) = (a.create_account("alice").await?, b.create_account("bob").await?);
    let (talk, _) = befriend(&mut a, &mut b, own, other).await?;
    tokio::time::sleep(SETTLE).await;
    for number in 0..MESSAGES {
        tokio::time::sleep(PAUSE).await;
        found.at_rest.add_millis(say(&mut a, &mut b, &talk, &format!("at rest {number}")).await?);
    }
    for number in 0..TRANSFERS {
        alone(&mut a, &mut b, &talk, &path, found).await?;
        beside_messages(&mut a, &mut b, &talk, &path, number, &mut found.during).await?;
    }
    Ok(())
}

type Both = Talk<SkepAccount, SkepAccount>;

/// One transfer, and nothing beside it.
async fn alone(
    a: &mut SkepNode,
    b: &mut SkepNode,
    talk: &Both,
    path: &Path,
    found: &mut Found,
) -> Result<()> {
    let offer = a.send_file(&talk.a, talk.conversation, path).await?;
    tokio::time::sleep(SETTLE).await;
    let rest = (a.resident()?, b.resident()?);
    let mut most = 0;
    let begun = Instant::now();
    b.fetch_file(&talk.b, talk.conversation, offer).await?;
    let done = loop {
        if let Some(done) = b.file_done(offer).await? {
            break done;
        }
        most = most.max(a.resident()?.saturating_sub(rest.0)).max(b.resident()?.saturating_sub(rest.1));
        tokio::time::sleep(PAUSE).await;
    };
    found.rates.add(rate(LENGTH, done.saturating_duration_since(begun)));
    found.memory.add(most as f64 / MEGABYTE);
    Ok(b.remove_file(&talk.b, talk.conversation, offer).await?)
}

/// One transfer, and messages as long as it takes.
async fn beside_messages(
    a: &mut SkepNode,
    b: &mut SkepNode,
    talk: &Both,
    path: &Path,
    transfer: usize,
    latencies: &mut Samples,
) -> Result<()> {
    let offer = a.send_file(&talk.a, talk.conversation, path).await?;
    tokio::time::sleep(SETTLE).await;
    b.fetch_file(&talk.b, talk.conversation, offer).await?;
    let mut said = 0;
    while b.file_done(offer).await?.is_none() {
        latencies.add_millis(say(a, b, talk, &format!("meanwhile {transfer} {said}")).await?);
        said += 1;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(b.remove_file(&talk.b, talk.conversation, offer).await?)
}

/// What two real daemons do, in megabytes a second.
async fn transfer_of_daemons(folder: &Path) -> Result<Samples> {
    let folder = make(folder, "transfer-daemons")?;
    let mut network = Network::private()?;
    let bootstrap = Bootstrap::start(&network.place("dhtnode")?, &folder)?;
    let mut a = Daemon::start(network.place("alice")?, &bootstrap, "alice", &folder).await?;
    let mut b = Daemon::start(network.place("bob")?, &bootstrap, "bob", &folder).await?;
    let (own, other) = (a.create_account("alice", None).await?, b.create_account("bob", None).await?);
    let (Talk { a: own, b: other, conversation }, _) = befriend(&mut a, &mut b, own, other).await?;
    tokio::time::sleep(SETTLE).await;
    let mut rates = Samples::default();
    for number in 0..TRANSFERS {
        // An extension like that of the path: some releases look for the file under it.
        let name = format!("file-{number}.bin");
        let path = folder.join(&name);
        make_file(&path, DAEMON_LENGTH)?;
        a.send_file(&own, conversation, &path, &name).await?;
        let offered = b.offered(&other, conversation, &name).await?;
        // The sender has its link ready a moment later.
        tokio::time::sleep(SETTLE).await;
        let begun = Instant::now();
        b.fetch_file(&other, conversation, &offered, &folder.join(format!("got-{number}.bin"))).await?;
        let done = b.fetched(&other, &offered).await?;
        rates.add(rate(DAEMON_LENGTH, done.saturating_duration_since(begun)));
    }
    Ok(rates)
}

async fn say(a: &mut SkepNode, b: &mut SkepNode, talk: &Both, text: &str) -> Result<Duration> {
    Ok(deliver((a, &talk.a), (b, &talk.b), talk.conversation, text).await?)
}
