//! The `node` command: what is measured when, and what comes beside it.
//!
//! Skep and the real daemon are measured one after the other in the same run, by the same scenario,
//! in networks of the same make.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use skep_tests::daemon::{Bootstrap, Daemon, daemon_version, no_daemons};
use skep_tests::harness::{Golden, Network, check, no_namespaces};

use crate::conversation::{self, Bundles, LENGTHS};
use crate::messenger::{BURST, IDLE_SETTLE, IDLE_SPAN, Idle, PAUSE, Times, measure, measure_idle};
use crate::report::{Earlier, Measurement, Outcome, Peer, Progress, Quantity, Report, Target, Wanted};
use crate::skep::SkepNode;
use crate::statistics::{Samples, millis};
use crate::year::{self, YearFiles};
use crate::{BenchError, Result, local_first};

const MESSAGE_LATENCY: Quantity =
    Quantity { name: "message_latency", unit: "ms", target: Target::AtMost(10.0), p99: Target::AtMost(30.0) };
const BURST_100: Quantity = Quantity::new("burst_100", "ms", Target::AtMost(800.0));
const ACCEPT_TO_CLONED: Quantity = Quantity::new("accept_to_cloned", "ms", Target::AtMost(500.0));
const NEW_CONNECTION: Quantity = Quantity::new("new_connection", "ms", Target::AtMost(250.0));
const RSS_IDLE: Quantity = Quantity::new("rss_idle", "MB", Target::AtMost(25.0));
const IDLE_PACKETS: Quantity = Quantity::new("idle_packets", "1/s", Target::AtMost(1.0));
const OPEN_100K: Quantity = Quantity::new("open_100k", "ms", Target::AtMost(50.0));
const VALIDATE_100K: Quantity = Quantity::new("validate_100k", "commits/s", Target::AtLeast(2000.0));
const CLONE_100K: Quantity = Quantity::new("clone_100k", "s", Target::None);
const RSA_SIGN: Quantity = Quantity::new("rsa_sign", "ms", Target::None);

/// Everything, in the order of the table.
const ALL: [Quantity; 16] = [
    MESSAGE_LATENCY,
    BURST_100,
    ACCEPT_TO_CLONED,
    NEW_CONNECTION,
    RSS_IDLE,
    IDLE_PACKETS,
    OPEN_100K,
    VALIDATE_100K,
    CLONE_100K,
    RSA_SIGN,
    year::QUANTITIES[0],
    year::QUANTITIES[1],
    year::QUANTITIES[2],
    year::QUANTITIES[3],
    local_first::QUANTITIES[0],
    local_first::QUANTITIES[1],
];

/// Messages of the page that is opened.
pub(crate) const PAGE: usize = 50;

/// How often it is opened, each time by a node just started.
const OPENINGS: usize = 5;

/// What `skep-bench node` is told.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Measure only these, by name; the file keeps the earlier results of the others
    #[arg(long, value_delimiter = ',', value_name = "NAME", value_parser = ALL.map(|quantity| quantity.name))]
    only: Vec<String>,
}

/// Measures a node and tells `progress` what is being done.
///
/// # Errors
/// [`BenchError`] when the results cannot be written. What cannot be measured is said in the table.
pub async fn run(options: &Options, progress: Progress) -> Result<Outcome> {
    let target = workspace().join("target/bench");
    let file = target.join("node.json");
    // Read first: whoever measures a part wants to know at once if the rest cannot be kept.
    let earlier = if options.only.is_empty() { Vec::new() } else { Earlier::read(&file)? };
    let folder = tempfile::tempdir().map_err(BenchError::file(std::env::temp_dir()))?;
    let run = Run { wanted: Wanted(&options.only), folder: folder.path(), target: &target, progress };
    let mut measurements = Vec::new();
    if run.wanted.any(&[MESSAGE_LATENCY, BURST_100, ACCEPT_TO_CLONED, NEW_CONNECTION]) {
        measurements.extend(run.talk().await);
    }
    if run.wanted.any(&[RSS_IDLE, IDLE_PACKETS]) {
        measurements.extend(run.idle().await);
    }
    if run.wanted.any(&[OPEN_100K, VALIDATE_100K, CLONE_100K]) {
        measurements.extend(run.long_conversations().await);
    }
    if run.wanted.any(&[RSA_SIGN]) {
        measurements.push(Run::rsa_sign());
    }
    if run.wanted.any(&year::QUANTITIES) || run.wanted.any(&local_first::QUANTITIES) {
        measurements.extend(run.busy_group().await);
    }
    let peer = no_daemons().unwrap_or_else(|| format!("jami-daemon {}", daemon_version()));
    Report::conclude(measurements, run.wanted, peer, file, earlier)
}

/// A run under way.
struct Run<'r> {
    wanted: Wanted<'r>,
    /// Gone afterwards.
    folder: &'r Path,
    /// Stays.
    target: &'r Path,
    progress: Progress,
}

impl Run<'_> {
    fn say(&self, text: &str) {
        (self.progress)(text);
    }

    /// What the real daemon did; its failures do not matter to the rest.
    async fn peer<T>(&self, doing: &str, measured: impl Future<Output = Result<T>>) -> Peer<T> {
        if let Some(obstacle) = no_daemons() {
            return Peer::Absent(obstacle);
        }
        self.say(doing);
        match measured.await {
            Ok(measured) => Peer::Measured(measured),
            Err(error) => {
                self.say(&format!("the real daemon: {error}"));
                Peer::Failed(error.to_string())
            }
        }
    }

    async fn talk(&self) -> Vec<Measurement> {
        self.say("two nodes of Skep talk");
        let mut own = Times::default();
        let measured = talk_skep(self.folder, &mut own).await;
        let peer = self.peer("two real daemons talk", talk_daemons(self.folder, self.progress)).await;
        let measurements = compare_talks(&own, &peer);
        match measured {
            Ok(()) => measurements,
            Err(error) => measurements.into_iter().map(|measured| measured.spoiled(&error)).collect(),
        }
    }

    async fn idle(&self) -> Vec<Measurement> {
        self.say("a node of Skep rests");
        let own = idle_skep(self.folder).await;
        let peer = self.peer("a real daemon rests", idle_daemon(self.folder)).await;
        let samples = |value: Option<f64>| value.into_iter().collect::<Samples>();
        let memory = peer.map(|peer| samples(Some(peer.megabytes)));
        let packets = peer.map(|peer| samples(peer.packets));
        let own = match own {
            Ok(own) => own,
            Err(error) => {
                return vec![
                    Measurement::failed(RSS_IDLE, &error).beside(&memory),
                    Measurement::failed(IDLE_PACKETS, &error).beside(&packets),
                ];
            }
        };
        let settled = format!(
            "one account without contacts, {} s after it was announced",
            (IDLE_SETTLE + IDLE_SPAN).as_secs()
        );
        let counted = format!(
            "sent and received by a node with one account and one DHT neighbour, over {} s",
            IDLE_SPAN.as_secs()
        );
        let own_packets = match own.packets {
            Some(count) => Measurement::new(IDLE_PACKETS, &samples(Some(count)), counted),
            None => Measurement::skipped(IDLE_PACKETS, NO_NAMESPACES),
        };
        vec![
            Measurement::new(RSS_IDLE, &samples(Some(own.megabytes)), settled).beside(&memory),
            own_packets.beside(&packets),
        ]
    }

    async fn long_conversations(&self) -> Vec<Measurement> {
        self.say("long conversations");
        let (target, progress) = (self.target.to_owned(), self.progress);
        let bundles = match aside(move || Bundles::prepare(&target, progress)).await {
            Ok(bundles) => bundles,
            Err(error) => {
                let quantities = [OPEN_100K, VALIDATE_100K, CLONE_100K];
                return quantities.map(|quantity| Measurement::failed(quantity, &error)).into();
            }
        };
        let mut measurements = Vec::new();
        if self.wanted.any(&[OPEN_100K]) {
            self.say("a node opens a long conversation");
            let opened = open(self.folder, &bundles).await;
            measurements.push(opened.unwrap_or_else(|error| Measurement::failed(OPEN_100K, &error)));
        }
        if self.wanted.any(&[VALIDATE_100K]) {
            self.say("validating a long conversation");
            let (folder, bundles) = (self.folder.to_owned(), bundles.clone());
            let valid = aside(move || validate(&folder, &bundles)).await;
            measurements.push(valid.unwrap_or_else(|error| Measurement::failed(VALIDATE_100K, &error)));
        }
        if self.wanted.any(&[CLONE_100K]) {
            self.say("cloning long conversations");
            let (folder, bundles) = (self.folder.to_owned(), bundles.clone());
            let cloned = aside(move || clone(&folder, &bundles)).await;
            measurements.push(cloned.unwrap_or_else(|error| Measurement::failed(CLONE_100K, &error)));
        }
        measurements
    }

    async fn busy_group(&self) -> Vec<Measurement> {
        let (target, progress) = (self.target.to_owned(), self.progress);
        let files = match aside(move || YearFiles::prepare(&target, progress)).await {
            Ok(files) => files,
            Err(error) => {
                let quantities = year::QUANTITIES.into_iter().chain(local_first::QUANTITIES);
                return quantities.map(|quantity| Measurement::failed(quantity, &error)).collect();
            }
        };
        let mut measurements = year::measure(&files, self.folder, self.wanted, progress).await;
        measurements.extend(local_first::measure(&files, self.folder, self.wanted, progress).await);
        measurements
    }

    fn rsa_sign() -> Measurement {
        let conditions = "one RSA-4096 signature, as every commit needs: the floor of every message";
        match conversation::rsa_sign() {
            Ok(samples) => Measurement::new(RSA_SIGN, &samples, conditions),
            Err(error) => Measurement::failed(RSA_SIGN, &error),
        }
    }
}

/// Why something is not measured on loopback.
const NO_NAMESPACES: &str = "needs network namespaces, so root and iproute2";

async fn talk_skep(folder: &Path, times: &mut Times) -> Result<()> {
    let folder = make(folder, "talk-skep")?;
    let mut network = Network::best()?;
    let bootstrap = SkepNode::start(&mut network, None, "boot", &folder).await?;
    let mut a = SkepNode::start(&mut network, Some(&bootstrap), "alice", &folder).await?;
    let mut b = SkepNode::start(&mut network, Some(&bootstrap), "bob", &folder).await?;
    Ok(measure(&mut a, &mut b, times).await?)
}

/// Two daemons now and then lose a message for minutes; what they did until then counts.
async fn talk_daemons(folder: &Path, progress: Progress) -> Result<Times> {
    let folder = make(folder, "talk-daemons")?;
    let mut network = Network::private()?;
    let bootstrap = Bootstrap::start(&network.place("dhtnode")?, &folder)?;
    let mut a = Daemon::start(network.place("alice")?, &bootstrap, "alice", &folder).await?;
    let mut b = Daemon::start(network.place("bob")?, &bootstrap, "bob", &folder).await?;
    let mut times = Times::default();
    match measure(&mut a, &mut b, &mut times).await {
        Err(error) if times.message_latency.count() > 0 => {
            progress(&format!("the real daemons stopped short, and count as far as they came: {error}"));
        }
        measured => measured?,
    }
    Ok(times)
}

async fn idle_skep(folder: &Path) -> Result<Idle> {
    let folder = make(folder, "idle-skep")?;
    let mut network = Network::best()?;
    let bootstrap = SkepNode::start(&mut network, None, "boot", &folder).await?;
    let mut node = SkepNode::start(&mut network, Some(&bootstrap), "alice", &folder).await?;
    Ok(measure_idle(&mut node).await?)
}

async fn idle_daemon(folder: &Path) -> Result<Idle> {
    let folder = make(folder, "idle-daemon")?;
    let mut network = Network::private()?;
    let bootstrap = Bootstrap::start(&network.place("dhtnode")?, &folder)?;
    let mut daemon = Daemon::start(network.place("alice")?, &bootstrap, "alice", &folder).await?;
    Ok(measure_idle(&mut daemon).await?)
}

fn compare_talks(own: &Times, peer: &Peer<Times>) -> Vec<Measurement> {
    let single = format!("send call to receive event, one at a time, {} ms apart", PAUSE.as_millis());
    let burst = format!("first of {BURST} send calls in a row to the last receive event");
    let accept = "accept call to the event that the conversation can be used; new accounts each time";
    let connection = "all links cut, then send call to receive event, the message itself included";
    let new_connection = if no_namespaces().is_some() {
        Measurement::skipped(NEW_CONNECTION, NO_NAMESPACES)
    } else {
        Measurement::new(NEW_CONNECTION, &own.new_connection, connection)
    };
    vec![
        Measurement::new(MESSAGE_LATENCY, &own.message_latency, single)
            .beside(&peer.map(|peer| peer.message_latency.clone())),
        Measurement::new(BURST_100, &own.burst, burst).beside(&peer.map(|peer| peer.burst.clone())),
        Measurement::new(ACCEPT_TO_CLONED, &own.accept_to_cloned, accept)
            .beside(&peer.map(|peer| peer.accept_to_cloned.clone())),
        new_connection.beside(&peer.map(|peer| peer.new_connection.clone())),
    ]
}

/// A node that has the long conversation starts, and is asked for the last page.
async fn open(folder: &Path, bundles: &Bundles) -> Result<Measurement> {
    let folder = make(folder, "open")?;
    let [.., longest] = LENGTHS;
    let mut network = Network::best()?;
    let mut node = SkepNode::start(&mut network, None, "alice", &folder).await?;
    let account = node.import_account(&Golden::ALICE.archive()?).await?;
    let conversation = node.import_conversation(&account, &bundles.path(longest)).await?;
    let mut samples = Samples::default();
    for _ in 0..OPENINGS {
        node.restart().await?;
        node.until_account(&account).await?;
        let begin = Instant::now();
        let count = node.last_page(&account, conversation, PAGE).await?;
        samples.add(millis(begin.elapsed()));
        check(count == PAGE, || format!("a page of {PAGE} messages, not {count}"))?;
    }
    let conditions =
        format!("first call for the last {PAGE} of {longest} messages to its answer, by a node just started");
    Ok(Measurement::new(OPEN_100K, &samples, conditions))
}

fn validate(folder: &Path, bundles: &Bundles) -> Result<Measurement> {
    let [.., longest] = LENGTHS;
    let repository = bundles.unpack(longest, &make(folder, "validate")?)?;
    let speed: Samples = std::iter::once(bundles.validate(&repository)?).collect();
    let conditions = format!("{longest} commits from scratch, on one core, read from the repository");
    Ok(Measurement::new(VALIDATE_100K, &speed, conditions))
}

fn clone(folder: &Path, bundles: &Bundles) -> Result<Measurement> {
    let folder = make(folder, "clone")?;
    let mut seconds = Samples::default();
    let mut growth = Vec::new();
    for length in LENGTHS {
        let origin = bundles.unpack(length, &folder)?;
        let took = bundles.clone_time(origin, &folder.join(format!("copy-{length}")))?;
        seconds = std::iter::once(took).collect();
        let commits = f64::from(u32::try_from(length).unwrap_or(u32::MAX));
        growth.push(format!("{length} in {took:.2} s ({:.3} ms a commit)", took * 1000.0 / commits));
    }
    let conditions = format!("packed, stored and validated, in one process: {}", growth.join(", "));
    Ok(Measurement::new(CLONE_100K, &seconds, conditions))
}

/// Does something long on another thread, so that this one hears when the user has had enough.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(BenchError::conversation)?
}

/// The folder of the sources.
pub(crate) fn workspace() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// A folder of this name in another.
pub(crate) fn make(folder: &Path, name: &str) -> Result<PathBuf> {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder).map_err(BenchError::file(&folder))?;
    Ok(folder)
}
