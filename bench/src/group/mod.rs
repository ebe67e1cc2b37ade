//! The `group` command: groups of processes that talk, a group of a thousand, and what groups cost.
//!
//! ```text
//!   talk      four, ten and fifty processes: how long a message takes to all; beside it, real daemons
//!   overlay   a thousand members in this process, in virtual time: how news spreads among them
//!   idle      a node with many groups in which nothing happens: memory
//!   disk      what a message takes on the disk
//! ```

mod disk;
mod idle;
mod overlay;
mod talk;

use std::path::Path;

use clap::Args;
use overlay::{Links, Spread};
use skep_tests::daemon::{daemon_version, no_daemons};
use talk::{PAUSE, Times};

use crate::machine::load_average;
use crate::node::{aside, make, workspace};
use crate::report::{Earlier, Measurement, Outcome, Peer, Progress, Quantity, Report, Target, Wanted};
use crate::{BenchError, Result};

const MESSAGE_TO_ALL_4: Quantity = Quantity::new("message_to_all_4", "ms", Target::AtMost(20.0));
const MESSAGE_TO_ALL_10: Quantity = Quantity::new("message_to_all_10", "ms", Target::AtMost(60.0));
const MESSAGE_TO_ALL_50: Quantity = Quantity::new("message_to_all_50", "ms", Target::AtMost(150.0));
const MEMBER_1000_P99_HOPS: Quantity = Quantity {
    name: "member_1000_p99_hops",
    unit: "hops",
    target: Target::AtMost(3.0),
    p99: Target::AtMost(3.0),
};
/// Its target depends on the overlay.
const NOTIFICATIONS_PER_MEMBER: Quantity = Quantity::new("notifications_per_member", "each", Target::None);
const MEMORY_PER_CONVERSATION: Quantity =
    Quantity::new("memory_per_conversation", "KB", Target::AtMost(100.0));
const BYTES_PER_MESSAGE: Quantity = Quantity::new("bytes_per_message", "bytes", Target::None);

/// Everything, in the order of the table.
const ALL: [Quantity; 7] = [
    MESSAGE_TO_ALL_4,
    MESSAGE_TO_ALL_10,
    MESSAGE_TO_ALL_50,
    MEMBER_1000_P99_HOPS,
    NOTIFICATIONS_PER_MEMBER,
    MEMORY_PER_CONVERSATION,
    BYTES_PER_MESSAGE,
];

/// What `skep-bench group` is told.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Measure only these, by name; the file keeps the earlier results of the others
    #[arg(long, value_delimiter = ',', value_name = "NAME", value_parser = ALL.map(|quantity| quantity.name))]
    only: Vec<String>,
}

/// Measures groups and tells `progress` what is being done.
///
/// # Errors
/// [`BenchError`] when the results cannot be written. What cannot be measured is said in the table.
pub async fn run(options: &Options, progress: Progress) -> Result<Outcome> {
    let file = workspace().join("target/bench/group.json");
    // Read first: whoever measures a part wants to know at once if the rest cannot be kept.
    let earlier = if options.only.is_empty() { Vec::new() } else { Earlier::read(&file)? };
    let folder = tempfile::tempdir().map_err(BenchError::file(std::env::temp_dir()))?;
    let wanted = Wanted(&options.only);
    let run = Run { folder: folder.path(), load: load_average(), progress };
    let mut measurements = Vec::new();
    for (count, quantity) in [(4, MESSAGE_TO_ALL_4), (10, MESSAGE_TO_ALL_10), (50, MESSAGE_TO_ALL_50)] {
        if wanted.any(&[quantity]) {
            measurements.push(run.talk(count, quantity).await);
        }
    }
    // At the same time, for none of these measures time.
    let overlay = async {
        let wanted = wanted.any(&[MEMBER_1000_P99_HOPS, NOTIFICATIONS_PER_MEMBER]);
        if wanted { run.overlay().await } else { Vec::new() }
    };
    let idle =
        async { if wanted.any(&[MEMORY_PER_CONVERSATION]) { vec![run.idle().await] } else { Vec::new() } };
    let disk = async { if wanted.any(&[BYTES_PER_MESSAGE]) { vec![run.disk().await] } else { Vec::new() } };
    let (overlay, idle, disk) = futures::join!(overlay, idle, disk);
    measurements.extend([overlay, idle, disk].into_iter().flatten());
    let peer = no_daemons().unwrap_or_else(|| format!("jami-daemon {}", daemon_version()));
    Report::conclude(measurements, wanted, peer, file, earlier)
}

/// A run under way.
struct Run<'r> {
    /// Gone afterwards.
    folder: &'r Path,
    /// What the machine had to do before.
    load: String,
    progress: Progress,
}

impl Run<'_> {
    fn say(&self, text: &str) {
        (self.progress)(text);
    }

    async fn talk(&self, count: usize, quantity: Quantity) -> Measurement {
        self.say(&format!("{count} nodes of Skep talk"));
        let mut times = Times::default();
        let measured = self.skeps(count, &mut times).await;
        let conditions = format!(
            "{count} members in a process each, {} (load average before: {}); send call to the last event of \
             the others, in turn, {} ms apart; to the median member {:.1} ms; all members together used \
             {:.1} ms of processor time a message; they joined live within {:.0} s",
            if times.in_namespaces { "in namespaces" } else { "on loopback" },
            self.load,
            PAUSE.as_millis(),
            times.to_median.median().unwrap_or_default(),
            times.processor,
            times.preparation,
        );
        let daemons = match count {
            4 => self.daemons(count).await,
            10 => Peer::Absent(
                "17.0.0 was seen to take 254 ms elsewhere, 208 ms to the median member".to_owned(),
            ),
            _ => Peer::Absent(format!("{count} of them were never seen")),
        };
        let beside = match &daemons {
            Peer::Measured(times) => format!(
                "; real daemons p99 {:.0} ms, to the median member {:.0} ms, n = {}, joined within {:.0} s",
                times.to_all.percentile(99).unwrap_or_default(),
                times.to_median.median().unwrap_or_default(),
                times.to_all.count(),
                times.preparation,
            ),
            _ => String::new(),
        };
        let measurement = Measurement::new(quantity, &times.to_all, conditions + &beside);
        let measurement = measurement.beside(&daemons.map(|times| times.to_all.clone()));
        match measured {
            Ok(()) => measurement,
            Err(error) => measurement.spoiled(&error),
        }
    }

    async fn skeps(&self, count: usize, times: &mut Times) -> Result<()> {
        Ok(talk::skeps(count, &make(self.folder, &format!("skeps-{count}"))?, times).await?)
    }

    /// What as many real daemons did; if they stop short, they count as far as they came.
    async fn daemons(&self, count: usize) -> Peer<Times> {
        if let Some(obstacle) = no_daemons() {
            return Peer::Absent(obstacle);
        }
        self.say(&format!("{count} real daemons talk"));
        let mut times = Times::default();
        let measured = async { Ok(talk::daemons(count, &make(self.folder, "daemons")?, &mut times).await?) };
        let measured: Result<()> = measured.await;
        match measured {
            Err(error) if times.to_all.count() == 0 => Peer::Failed(error.to_string()),
            measured => {
                if let Err(error) = measured {
                    self.say(&format!("the real daemons stopped short: {error}"));
                }
                Peer::Measured(times)
            }
        }
    }

    async fn overlay(&self) -> Vec<Measurement> {
        self.say(&format!("{} members in one process", overlay::MEMBERS));
        let measured = aside(|| {
            let measure = |links| overlay::measure(overlay::MEMBERS, links);
            Ok((measure(Links::All), measure(Links::Few)))
        })
        .await;
        let (all, few) = match measured {
            Ok(measured) => measured,
            Err(error) => {
                let quantities = [MEMBER_1000_P99_HOPS, NOTIFICATIONS_PER_MEMBER];
                return quantities.map(|quantity| Measurement::failed(quantity, &error)).into();
            }
        };
        let told = |spread: &Spread| {
            format!(
                "hops to 99% {:.0}, to the last {:.0}, told {:.1} times, degree {:.1} ({:.0} to {:.0})",
                spread.hops.percentile(100).unwrap_or_default(),
                spread.last.percentile(100).unwrap_or_default(),
                spread.received.mean().unwrap_or_default(),
                spread.degree(),
                spread.degrees.percentile(0).unwrap_or_default(),
                spread.degrees.percentile(100).unwrap_or_default(),
            )
        };
        let conditions = format!(
            "{} members with a device each, all online and linked as nodes are, in one process and in \
             virtual time; {} commits; every hop takes as long: a commit is told and fetched. At most: {}. \
             The same when they know only those whom one looks for who knows nobody: {}",
            overlay::MEMBERS,
            overlay::COMMITS,
            told(&all),
            told(&few),
        );
        let degree = (all.degree() * 10.0).floor() / 10.0;
        let notifications = Quantity { target: Target::AtMost(degree), ..NOTIFICATIONS_PER_MEMBER };
        let missed: Vec<String> = [(&all, "all linked"), (&few, "few linked")]
            .into_iter()
            .filter(|(spread, _)| spread.missed > 0)
            .map(|(spread, how)| format!("{how}: a commit did not arrive, {} times", spread.missed))
            .collect();
        let mean = format!("the target is the mean degree of the overlay, {:.1}; {conditions}", all.degree());
        vec![
            Measurement::new(MEMBER_1000_P99_HOPS, &all.hops, conditions).with_failures(&missed),
            Measurement::new(notifications, &all.received, mean).with_failures(&missed),
        ]
    }

    async fn idle(&self) -> Measurement {
        self.say(&format!("a node rests with {} groups", idle::GROUPS));
        let measured = async { idle::measure(&make(self.folder, "idle")?).await }.await;
        let memory = match measured {
            Ok(memory) => memory,
            Err(error) => return Measurement::failed(MEMORY_PER_CONVERSATION, &error),
        };
        let conditions = format!(
            "resident memory of a node with {} groups of three with {} texts each, above that of the node \
             without, divided; just started, the last page of each group read, then at rest for \
             {} s; before reading any: {:.1} KB",
            idle::GROUPS,
            idle::TEXTS,
            idle::REST.as_secs(),
            memory.started,
        );
        Measurement::new(MEMORY_PER_CONVERSATION, &std::iter::once(memory.read).collect(), conditions)
    }

    async fn disk(&self) -> Measurement {
        self.say("writing and packing messages");
        let folder = self.folder.to_owned();
        let measured = aside(move || disk::measure(&make(&folder, "disk")?)).await;
        let economy = match measured {
            Ok(economy) => economy,
            Err(error) => return Measurement::failed(BYTES_PER_MESSAGE, &error),
        };
        let conditions = format!(
            "a group of three, {} texts of about 60 characters, signed with RSA-4096; disk blocks of the \
             whole repository of {} files after packing, divided; as loose objects: {:.0} bytes",
            disk::MESSAGES,
            economy.files,
            economy.loose,
        );
        Measurement::new(BYTES_PER_MESSAGE, &std::iter::once(economy.packed).collect(), conditions)
    }
}
