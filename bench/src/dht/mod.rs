//! The `dht` command: Skep among the nodes of Jami's DHT, half of which are the distribution's own.
//!
//! ```text
//!   fleet        a hundred nodes in one network, and how slow its links are
//!   peer         a node of either kind that puts, gets and listens
//!   operations   put, get and push, one at a time
//!   load         processor time and memory of both kinds under the same load
//!   contact      people on the network: first contact, messages, new links
//! ```
//!
//! Nodes of both kinds are measured in turn, in the same network.

mod contact;
mod fleet;
mod load;
mod operations;
mod peer;

use std::path::Path;
use std::time::Duration;

use clap::Args;
use contact::ContactTimes;
use fleet::{Fleet, ONE_WAY};
use operations::{Both, Latencies, MEASURED};
use skep_tests::daemon::{DhtNode, daemon_version, no_daemons};
use skep_tests::harness::no_namespaces;

use crate::machine::load_average;
use crate::node::workspace;
use crate::report::{Earlier, Measurement, Outcome, Peer, Progress, Quantity, Report, Target, Wanted};
use crate::statistics::{Samples, millis};
use crate::{BenchError, Result};

const PUT: Quantity = Quantity::new("put", "ms", Target::AsDaemon);
const GET: Quantity = Quantity::new("get", "ms", Target::AsDaemon);
/// Its target depends on the links.
const LISTEN_PUSH: Quantity = Quantity::new("listen_push", "ms", Target::None);
const PUT_FAST_LINKS: Quantity = Quantity::new("put_fast_links", "ms", Target::AsDaemon);
const GET_FAST_LINKS: Quantity = Quantity::new("get_fast_links", "ms", Target::AsDaemon);
const PUSH_FAST_LINKS: Quantity = Quantity::new("listen_push_fast_links", "ms", Target::None);
const CPU_RATIO: Quantity = Quantity::new("cpu_ratio", "of dhtnode's", Target::AtMost(0.5));
const MEMORY: Quantity = Quantity::new("memory", "MB", Target::AtMost(10.0));
const MESSAGE: Quantity = Quantity::new("skep_jamid_message", "ms", Target::AsDaemon);
const FIRST_MESSAGE: Quantity = Quantity::new("skep_jamid_first_message", "ms", Target::AsDaemon);
const NEW_CONNECTION: Quantity = Quantity::new("skep_jamid_new_connection", "ms", Target::AsDaemon);
const SKEP_NEW_CONNECTION: Quantity =
    Quantity::new("skep_new_connection_opendht", "ms", Target::AtMost(300.0));

/// Everything, in the order of the table.
const ALL: [Quantity; 12] = [
    PUT,
    GET,
    LISTEN_PUSH,
    PUT_FAST_LINKS,
    GET_FAST_LINKS,
    PUSH_FAST_LINKS,
    CPU_RATIO,
    MEMORY,
    MESSAGE,
    FIRST_MESSAGE,
    NEW_CONNECTION,
    SKEP_NEW_CONNECTION,
];

/// Round trips that a push may take.
const PUSH_ROUND_TRIPS: f64 = 1.5;

/// What `skep-bench dht` is told.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Measure only these, by name; the file keeps the earlier results of the others
    #[arg(long, value_delimiter = ',', value_name = "NAME", value_parser = ALL.map(|quantity| quantity.name))]
    only: Vec<String>,

    /// Nodes in the network, half of them dhtnode
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u8).range(20..=200))]
    nodes: u8,
}

/// Measures Skep on Jami's DHT and tells `progress` what is being done.
///
/// # Errors
/// [`BenchError`] when the results cannot be written. What cannot be measured is said in the table.
pub async fn run(options: &Options, progress: Progress) -> Result<Outcome> {
    let file = workspace().join("target/bench/dht.json");
    // Read first: whoever measures a part wants to know at once if the rest cannot be kept.
    let earlier = if options.only.is_empty() { Vec::new() } else { Earlier::read(&file)? };
    let folder = tempfile::tempdir().map_err(BenchError::file(std::env::temp_dir()))?;
    if let Some(obstacle) = no_dhtnode() {
        progress(&format!("skipped, no dhtnode can be compared with: {obstacle}"));
    }
    let each = usize::from(options.nodes / 2);
    let run = Run { wanted: Wanted(&options.only), each, load: load_average(), progress };
    let measurements = match run.measure(folder.path()).await {
        Ok(measurements) => measurements,
        Err(error) => ALL.map(|quantity| Measurement::failed(quantity, &error)).into(),
    };
    let peer = no_dhtnode().unwrap_or_else(|| format!("dhtnode and jami-daemon {}", daemon_version()));
    Report::conclude(measurements, run.wanted, peer, file, earlier)
}

/// Why no `dhtnode` can be in the network; `None` if it can.
fn no_dhtnode() -> Option<String> {
    let missing = || (!DhtNode::is_installed()).then(|| "not installed (apt-get install dhtnode)".to_owned());
    no_namespaces().map(str::to_owned).or_else(missing)
}

/// A run under way.
struct Run<'r> {
    wanted: Wanted<'r>,
    /// Nodes of each kind.
    each: usize,
    /// What the machine had to do before.
    load: String,
    progress: Progress,
}

impl Run<'_> {
    fn say(&self, text: &str) {
        (self.progress)(text);
    }

    async fn measure(&self, folder: &Path) -> Result<Vec<Measurement>> {
        self.say(&format!("{} start", self.network()));
        let mut fleet = Fleet::start(self.each, folder).await?;
        let mut measurements = Vec::new();
        if self.wanted.any(&[PUT, GET, LISTEN_PUSH]) {
            measurements.extend(self.slow_links(&mut fleet).await);
        }
        if self.wanted.any(&[PUT_FAST_LINKS, GET_FAST_LINKS, PUSH_FAST_LINKS]) {
            measurements.extend(self.fast_links(&mut fleet).await);
        }
        if self.wanted.any(&[CPU_RATIO, MEMORY]) {
            measurements.extend(self.load(&mut fleet).await);
        }
        if self.wanted.any(&[MESSAGE, FIRST_MESSAGE, NEW_CONNECTION]) {
            measurements.extend(self.beside_jamid(&mut fleet).await);
        }
        if self.wanted.any(&[SKEP_NEW_CONNECTION]) {
            measurements.push(self.new_connection(&mut fleet).await);
        }
        Ok(measurements)
    }

    /// How the network is called.
    fn network(&self) -> String {
        let Self { each, load, .. } = self;
        match no_dhtnode() {
            None => format!("{each} dhtnode and {each} Skep nodes (load average before: {load})"),
            Some(_) => format!("{each} Skep nodes (load average before: {load})"),
        }
    }

    async fn slow_links(&self, fleet: &mut Fleet) -> Vec<Measurement> {
        let quantities = [PUT, GET, LISTEN_PUSH];
        if !fleet.has_slow_links() {
            let reason = "needs namespaces, python3 and TUN devices to slow the links down";
            return quantities.map(|quantity| Measurement::skipped(quantity, reason)).into();
        }
        self.say(&format!("put, get and push, {} ms one way", ONE_WAY.as_millis()));
        let (both, round_trip) = match slowly(fleet).await {
            Ok(measured) => measured,
            Err(error) => return quantities.map(|quantity| Measurement::failed(quantity, &error)).into(),
        };
        let longest = (PUSH_ROUND_TRIPS * millis(round_trip) * 10.0).round() / 10.0;
        let push = Quantity { target: Target::AtMost(longest), ..LISTEN_PUSH };
        self.compare([PUT, GET, push], &both, round_trip)
    }

    async fn fast_links(&self, fleet: &mut Fleet) -> Vec<Measurement> {
        self.say("put, get and push, no delay");
        let both = operations::measure(fleet, "fast").await;
        let round_trip = fleet.round_trip().unwrap_or_default();
        self.compare([PUT_FAST_LINKS, GET_FAST_LINKS, PUSH_FAST_LINKS], &both, round_trip)
    }

    fn compare(&self, quantities: [Quantity; 3], both: &Both, round_trip: Duration) -> Vec<Measurement> {
        let links = format!("{}, round trip {:.2} ms", self.network(), millis(round_trip));
        let first = |latencies: &Latencies| latencies.first_push.median().unwrap_or_default();
        let conditions = [
            format!(
                "{links}; call to the node's word that it was put, at a new key, {MEASURED} nodes in turn"
            ),
            format!("{links}; call to the node's word that this is all, at keys put by both kinds"),
            format!(
                "{links}; call of a put to the listener told, at a key where the publisher has put before; \
                 at a new key {:.1} ms, dhtnode {:.1} ms",
                first(&both.skep),
                first(&both.daemon)
            ),
        ];
        let parts: [fn(&Latencies) -> &Samples; 3] =
            [|latencies| &latencies.put, |latencies| &latencies.get, |latencies| &latencies.push];
        let measured = quantities.into_iter().zip(conditions).zip(parts);
        let measured = measured.map(|((quantity, conditions), part)| {
            let of_daemon = match part(&both.daemon).count() {
                0 => String::new(),
                count => format!("; dhtnode n = {count}{}", trouble(&both.daemon.failures)),
            };
            let conditions = conditions + &of_daemon;
            let own = Measurement::new(quantity, part(&both.skep), conditions);
            own.beside(&dhtnode(part(&both.daemon), &both.daemon.failures)).with_failures(&both.skep.failures)
        });
        measured.collect()
    }

    async fn load(&self, fleet: &mut Fleet) -> Vec<Measurement> {
        self.say("processor time and memory under load");
        let measured = match load::measure(fleet).await {
            Ok(measured) => measured,
            Err(failure) => {
                let error = failure.into();
                return [CPU_RATIO, MEMORY].map(|quantity| Measurement::failed(quantity, &error)).into();
            }
        };
        vec![self.cpu_ratio(&measured), self.memory(&measured)]
    }

    fn cpu_ratio(&self, measured: &load::Both) -> Measurement {
        let load::Both { skep, daemon, elapsed, .. } = measured;
        if daemon.busy.is_zero() {
            return Measurement::skipped(CPU_RATIO, "there is no dhtnode to compare with");
        }
        let share = |time: Duration, nodes: f64| time.as_secs_f64() / nodes / elapsed.as_secs_f64() * 1000.0;
        let nodes = f64::from(u8::try_from(MEASURED).unwrap_or(u8::MAX));
        let conditions = format!(
            "{}; each of {MEASURED} of either kind puts {} bytes and gets every {} ms and listens at {} \
             keys, for {:.1} s; {} and {} operations; processor ms a second of each: {:.2} and {:.2}, of those \
             that only serve: {:.2} and {:.2}; dhtnode without the thread of its console{}",
            self.network(),
            load::TEXT,
            load::INTERVAL.as_millis(),
            load::LISTENED,
            elapsed.as_secs_f64(),
            skep.operations,
            daemon.operations,
            share(skep.busy, nodes),
            share(daemon.busy, nodes),
            share(skep.served, 1.0),
            share(daemon.served, 1.0),
            trouble(&daemon.failures),
        );
        let ratio = std::iter::once(skep.busy.as_secs_f64() / daemon.busy.as_secs_f64()).collect();
        // What fails may be cheap.
        Measurement::new(CPU_RATIO, &ratio, conditions).with_failures(&skep.failures)
    }

    fn memory(&self, measured: &load::Both) -> Measurement {
        let grown = |nodes: &[usize], idle: usize| {
            nodes
                .iter()
                .take(MEASURED)
                .map(|bytes| megabytes(bytes.saturating_sub(idle)))
                .collect::<Samples>()
        };
        let load::Both { skep, daemon, alone, daemon_alone, .. } = measured;
        let conditions = format!(
            "{}, after the load of cpu_ratio; {MEASURED} busy nodes, above one that knows of nobody, which \
             has {:.1} MB; all nodes of Skep at most {:.1} MB",
            self.network(),
            megabytes(*alone),
            megabytes(skep.memory.iter().copied().max().unwrap_or_default()),
        );
        let peer = daemon_alone.map_or_else(absent, |idle| Peer::Measured(grown(&daemon.memory, idle)));
        Measurement::new(MEMORY, &grown(&skep.memory, *alone), conditions).beside(&peer)
    }

    async fn beside_jamid(&self, fleet: &mut Fleet) -> Vec<Measurement> {
        let quantities = [MESSAGE, FIRST_MESSAGE, NEW_CONNECTION];
        if let Some(obstacle) = no_daemons() {
            return quantities.map(|quantity| Measurement::skipped(quantity, &obstacle)).into();
        }
        self.say("two people on real daemons");
        let peer = match daemons(fleet).await {
            Ok(times) => Peer::Measured(times),
            Err(error) => Peer::Failed(error.to_string()),
        };
        let trouble = match &peer {
            Peer::Measured(times) => times.failures.join(", "),
            _ => String::new(),
        };
        let trouble =
            if trouble.is_empty() { trouble } else { format!("; two real daemons FAILED: {trouble}") };
        self.say("people on Skep and on a real daemon");
        let (there, back) = match mixed(fleet).await {
            Ok(measured) => measured,
            Err(error) => return quantities.map(|quantity| Measurement::failed(quantity, &error)).into(),
        };
        // Each direction has to be as fast: the slow one is not made up for by the other.
        let ways = |part: fn(&ContactTimes) -> &Samples| -> (Samples, String) {
            let (out, home) = (part(&there), part(&back));
            let medians = [out, home].map(|way| way.median().unwrap_or_default());
            let text = format!(
                "; the slower direction; Skep to jamid {:.0} ms, jamid to Skep {:.0} ms",
                medians[0], medians[1]
            );
            (out.or_worse(home).clone(), text)
        };
        let measured = |quantity, part: fn(&ContactTimes) -> &Samples, text: &str| {
            let (samples, ways) = ways(part);
            let conditions = format!("{}, no delay; {text}{ways}{trouble}", self.network());
            Measurement::new(quantity, &samples, conditions).beside(&peer.map(|times| part(times).clone()))
        };
        let failures = [there.failures.as_slice(), &back.failures].concat();
        let measurements = [
            measured(
                MESSAGE,
                |times| &times.messages,
                "send call to receive event, one at a time, once they have met",
            ),
            measured(
                FIRST_MESSAGE,
                |times| &times.first_message,
                "call that adds a contact to the event that its first message was received, accepted at once",
            ),
            measured(
                NEW_CONNECTION,
                |times| &times.new_connection,
                "all links cut, then send call to receive event, the message itself included",
            ),
        ];
        measurements.into_iter().map(|measured| measured.with_failures(&failures)).collect()
    }

    async fn new_connection(&self, fleet: &mut Fleet) -> Measurement {
        if no_namespaces().is_some() {
            return Measurement::skipped(SKEP_NEW_CONNECTION, "links can only be cut between namespaces");
        }
        self.say("two people on nodes of Skep");
        let times = match own(fleet).await {
            Ok(times) => times,
            Err(error) => return Measurement::failed(SKEP_NEW_CONNECTION, &error),
        };
        let conditions = format!(
            "{}, no delay; all links cut, then send call to receive event, the message itself included; \
             a message over a link {:.1} ms, first contact to first message {:.0} ms",
            self.network(),
            times.messages.median().unwrap_or_default(),
            times.first_message.median().unwrap_or_default()
        );
        Measurement::new(SKEP_NEW_CONNECTION, &times.new_connection, conditions)
            .with_failures(&times.failures)
    }
}

/// The operations over slow links, and the time of a round trip there.
async fn slowly(fleet: &mut Fleet) -> Result<(Both, Duration)> {
    fleet.slow_links(true)?;
    let both = operations::measure(fleet, "slow").await;
    let round_trip = fleet.round_trip();
    fleet.slow_links(false)?;
    Ok((both, round_trip?))
}

async fn daemons(fleet: &mut Fleet) -> Result<ContactTimes> {
    let (mut a, mut b) = (fleet.daemon("jamid-a").await?, fleet.daemon("jamid-b").await?);
    Ok(contact::measure(&mut a, &mut b).await)
}

/// From Skep to the daemon, and from the daemon to Skep.
async fn mixed(fleet: &mut Fleet) -> Result<(ContactTimes, ContactTimes)> {
    let (mut skep, mut daemon) = (fleet.person("beside-jamid").await?, fleet.daemon("jamid-c").await?);
    let there = contact::measure(&mut skep, &mut daemon).await;
    let back = contact::measure(&mut daemon, &mut skep).await;
    Ok((there, back))
}

async fn own(fleet: &mut Fleet) -> Result<ContactTimes> {
    let (mut a, mut b) = (fleet.person("skep-a").await?, fleet.person("skep-b").await?);
    Ok(contact::measure(&mut a, &mut b).await)
}

/// What `dhtnode` did.
fn dhtnode(samples: &Samples, failures: &[String]) -> Peer<Samples> {
    match (no_dhtnode(), failures.first()) {
        (Some(obstacle), _) => Peer::Absent(obstacle),
        (None, Some(failure)) if samples.count() == 0 => Peer::Failed(failure.clone()),
        (None, _) => Peer::Measured(samples.clone()),
    }
}

/// What went wrong with `dhtnode`, to be added to the conditions.
fn trouble(failures: &[String]) -> String {
    let first = failures.first();
    first.map_or_else(String::new, |first| {
        format!("; dhtnode FAILED {} times, first: {first}", failures.len())
    })
}

/// There is no `dhtnode`.
fn absent() -> Peer<Samples> {
    Peer::Absent(no_dhtnode().unwrap_or_default())
}

fn megabytes(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / 1e6
}
