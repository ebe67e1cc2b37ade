//! What comes of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skep_protocol::drt::random::Random;

use super::core::Core;
use super::ledger::{Ledger, Traffic};
use crate::graph::Graph;
use crate::histogram::Histogram;
use crate::overlay::Place;
use crate::scenario::{AttackKind, Scenario};
use crate::time::Time;

/// Most paths without a common node that are looked for between two.
const MAX_PATHS: usize = 64;

/// What comes of a run: numbers by name, in the order of the report; what does not apply is absent.
pub type Summary = BTreeMap<String, f64>;

/// How things stood at a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// In seconds.
    pub t_s: f64,
    /// Nodes online.
    pub online: usize,
    /// Links among them.
    pub links: usize,
    /// Mean number of neighbours.
    pub degree_mean: f64,
    /// Largest number of neighbours.
    pub degree_max: usize,
    /// Parts of the network that do not reach each other.
    pub components: usize,
    /// The share of nodes in the largest part.
    pub largest_share: f64,
    /// Of all that nodes remember, which share is offline; 0 if they remember nobody.
    pub stale_share: f64,
    /// Messages that keep the overlay up, since the start.
    pub upkeep_messages: u64,
    /// Their bytes.
    pub upkeep_bytes: u64,
    /// Messages that tell of what was written, or carry it, since the start.
    pub item_messages: u64,
    /// Their bytes, and those of what was fetched.
    pub item_bytes: u64,
    /// Requests for links since the start.
    pub dials: u64,
    /// Mobile devices woken since the start.
    pub wake_ups: u64,
}

/// How long it took until all reached each other again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Healing {
    /// When that was to begin, in seconds.
    pub from_s: f64,
    /// How long it took, in seconds; nothing if it never came.
    pub took_s: Option<f64>,
}

/// All that comes of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The numbers.
    pub summary: Summary,
    /// How things stood at times.
    pub rows: Vec<Row>,
    /// How the network healed.
    pub healings: Vec<Healing>,
    /// How many nodes have how many neighbours at the end.
    pub degrees: BTreeMap<usize, usize>,
    /// How many deliveries took how many hops: from 0 on.
    pub latency_ms: Vec<(f64, f64)>,
    /// How each message spread: when it was written, the share of those expected who have it, the time
    /// to the last in milliseconds, and how often a node was told that has it.
    pub messages: Vec<[f64; 4]>,
    /// The graph at the end.
    pub graph: Graph,
    /// Which nodes mean harm.
    pub hostile: Vec<Place>,
    /// Every event, if that was wanted.
    pub journal: Option<String>,
    /// Events handled; not written anywhere, as it says how fast this was.
    pub events: u64,
    /// Messages that were sent.
    pub sent: u64,
    /// Bytes of memory that nodes and links take, roughly.
    pub memory: usize,
}

/// What is noted on the way.
#[derive(Debug)]
pub(super) struct Report {
    rows: Vec<Row>,
    healings: Vec<Healing>,
    gone: BTreeMap<usize, Vec<Place>>,
    /// When the network was at rest, and what it had taken until then.
    idle: Option<(Time, Traffic, u64, u64)>,
    calm: bool,
}

impl Report {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let calm = scenario.faults.is_empty()
            && scenario.mobiles.share == 0.0
            && matches!(scenario.churn, crate::scenario::Churn::None);
        Self { rows: Vec::new(), healings: Vec::new(), gone: BTreeMap::new(), idle: None, calm }
    }

    pub(super) fn row<M>(&mut self, core: &Core<M>, graph: &Graph, stale: Option<f64>) {
        let (degrees, components) = (graph.degrees(), graph.components());
        let online = degrees.len();
        let share = |count: usize| count as f64 / online.max(1) as f64;
        let ledger = &core.ledger;
        self.rows.push(Row {
            t_s: core.now.seconds(),
            online,
            links: graph.edges(),
            degree_mean: share(degrees.iter().sum()),
            degree_max: degrees.iter().copied().max().unwrap_or_default(),
            components: components.len(),
            largest_share: components.first().copied().map_or(0.0, share),
            stale_share: stale.unwrap_or_default(),
            upkeep_messages: ledger.upkeep.messages,
            upkeep_bytes: ledger.upkeep.bytes,
            item_messages: ledger.items.messages,
            item_bytes: ledger.items.bytes,
            dials: ledger.dials,
            wake_ups: ledger.wake_ups,
        });
    }

    pub(super) fn idle<M>(&mut self, core: &Core<M>) {
        let ledger = &core.ledger;
        self.idle = Some((core.now, ledger.upkeep, ledger.joins, ledger.departures));
    }

    pub(super) fn begin_healing(&mut self, now: Time) {
        self.healings.push(Healing { from_s: now.seconds(), took_s: None });
    }

    /// Takes note of whether all reach each other; true if they do.
    pub(super) fn watched(&mut self, now: Time, whole: bool) -> bool {
        if whole {
            for healing in self.healings.iter_mut().filter(|healing| healing.took_s.is_none()) {
                healing.took_s = Some(now.seconds() - healing.from_s);
            }
        }
        whole
    }

    pub(super) fn remember(&mut self, fault: usize, gone: Vec<Place>) {
        self.gone.insert(fault, gone);
    }

    pub(super) fn remembered(&mut self, fault: usize) -> Vec<Place> {
        self.gone.remove(&fault).unwrap_or_default()
    }
}

/// Puts all together.
pub(super) fn conclude<M>(
    report: Report,
    core: &mut Core<M>,
    graph: Graph,
    stale: Option<f64>,
    memory: usize,
    mut random: Random,
) -> Outcome {
    let scenario = core.scenario.clone();
    let ledger = &core.ledger;
    let mut summary = Numbers(Summary::new());
    spreading(&mut summary, ledger);
    shape(&mut summary, &scenario, &graph, &mut random);
    traffic(&mut summary, &report, core);
    attack(&mut summary, core, &graph);
    lookups(&mut summary, ledger);
    summary.put("stale_contacts_share", stale);
    let healed: Option<Vec<f64>> = report.healings.iter().map(|healing| healing.took_s).collect();
    if !report.healings.is_empty() {
        summary.put("healed", Some(f64::from(u8::from(healed.is_some()))));
        summary.put("heal_s", healed.and_then(|times| times.into_iter().reduce(f64::max)));
    }
    let mut degrees = BTreeMap::new();
    graph.degrees().into_iter().for_each(|degree| *degrees.entry(degree).or_default() += 1);
    let percents = (0..=100).map(f64::from);
    let latency = percents.filter_map(|percent| Some((percent, ledger.latency.percentile(percent)?)));
    let messages = ledger.verdicts.iter().map(|it| {
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        let (delivered, received) = (share(it.delivered, it.expected), share(it.received, it.reached));
        [it.written_s, delivered, it.last_ms, received]
    });
    let hostile = core.seats.iter().enumerate().filter(|(_, seat)| seat.is_hostile);
    Outcome {
        seed: core.seed,
        summary: summary.0,
        rows: report.rows,
        healings: report.healings,
        degrees,
        latency_ms: latency.collect(),
        messages: messages.collect(),
        hostile: hostile.map(|(place, _)| place as Place).collect(),
        graph,
        events: ledger.events,
        sent: ledger.upkeep.messages + ledger.items.messages,
        memory,
        journal: core.journal.take(),
    }
}

/// Numbers by name; those that there are not are left out.
struct Numbers(Summary);

impl Numbers {
    fn put(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.0.insert(name.to_owned(), value);
        }
    }

    fn spread(&mut self, name: &str, unit: &str, histogram: &Histogram) {
        self.put(&format!("{name}_mean{unit}"), histogram.mean());
        for percent in [50, 90, 99] {
            self.put(&format!("{name}_p{percent}{unit}"), histogram.percentile(f64::from(percent)));
        }
        self.put(&format!("{name}_max{unit}"), histogram.max());
    }
}

fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

fn spreading(summary: &mut Numbers, ledger: &Ledger) {
    let sum = |of: fn(&super::ledger::Verdict) -> u64| ledger.verdicts.iter().map(of).sum::<u64>() as f64;
    let (expected, delivered) = (sum(|it| it.expected), sum(|it| it.delivered));
    // Both over all nodes that a message reached, and not over those only that it had to.
    let (received, reached) = (sum(|it| it.received), sum(|it| it.reached));
    summary.put("messages_judged", Some(ledger.verdicts.len() as f64));
    summary.put("delivery_ratio", ratio(delivered, expected));
    summary.put(
        "delivered_to_all_share",
        ratio(
            ledger.verdicts.iter().filter(|it| it.delivered == it.expected).count() as f64,
            ledger.verdicts.len() as f64,
        ),
    );
    summary.spread("latency", "_ms", &ledger.latency);
    summary.spread("hops", "", &ledger.hops);
    let lasts = ledger.verdicts.iter().map(|it| it.last_ms).fold(0.0, f64::max);
    summary.put("latency_last_ms", (!ledger.verdicts.is_empty()).then_some(lasts));
    summary.put("received_per_node", ratio(received, reached));
    summary.put("redundancy", ratio(received - reached, reached));
    let (asleep, woken) = (sum(|it| it.asleep), sum(|it| it.asleep_delivered));
    summary.put("mobile_delivery_ratio", ratio(woken, asleep));
    let commits = ledger.written() as f64;
    summary
        .put("mobile_wake_ups_per_message", ratio(ledger.wake_ups as f64, commits).filter(|_| asleep > 0.0));
    summary.put("pushes_per_message", ratio(ledger.pushes as f64, commits).filter(|_| asleep > 0.0));
    summary.put("messages_per_commit", ratio(ledger.items.messages as f64, commits));
    summary.put("bytes_per_commit", ratio(ledger.items.bytes as f64, commits));
    summary.put("fetches_per_commit", ratio(ledger.fetches as f64, commits));
}

fn shape(summary: &mut Numbers, scenario: &Scenario, graph: &Graph, random: &mut Random) {
    let mut degrees = graph.degrees();
    degrees.sort_unstable();
    let online = degrees.len();
    let at =
        |percent: usize| degrees.get((online * percent).div_ceil(100).saturating_sub(1)).map(|it| *it as f64);
    summary.put("online", Some(online as f64));
    summary.put("links", Some(graph.edges() as f64));
    summary.put("degree_mean", ratio(degrees.iter().sum::<usize>() as f64, online as f64));
    for percent in [1, 50, 90, 99, 100] {
        let name = if percent == 100 { "degree_max".to_owned() } else { format!("degree_p{percent}") };
        summary.put(&name, at(percent));
    }
    let components = graph.components();
    summary.put("components", Some(components.len() as f64));
    summary.put("largest_share", components.first().and_then(|it| ratio(*it as f64, online as f64)));
    let metrics = &scenario.metrics;
    summary.put("clustering", graph.clustering(metrics.clustering_samples, random));
    let starts = random.choose(graph.nodes().collect(), metrics.distance_samples);
    let (mut farthest, mut sum, mut pairs) = (0, 0.0, 0.0);
    for start in &starts {
        let rings = graph.rings(*start);
        farthest = farthest.max(rings.len().saturating_sub(1));
        let weighted = rings.iter().enumerate().map(|(hops, count)| (hops * count) as f64);
        sum += weighted.sum::<f64>();
        pairs += (rings.iter().sum::<usize>() - 1) as f64;
    }
    summary.put("distance_mean", ratio(sum, pairs));
    // From a sample of nodes it is a lower bound.
    summary.put("diameter", (!starts.is_empty()).then_some(farthest as f64));
    let mut paths = Vec::new();
    for _ in 0..metrics.path_samples {
        let pair = random.choose(graph.nodes().collect(), 2);
        if let [one, other] = pair[..] {
            paths.push(graph.disjoint_paths(one, other, MAX_PATHS) as f64);
        }
    }
    summary.put("disjoint_paths_mean", ratio(paths.iter().sum(), paths.len() as f64));
    summary.put("disjoint_paths_min", paths.into_iter().reduce(f64::min));
}

fn traffic<M>(summary: &mut Numbers, report: &Report, core: &Core<M>) {
    let ledger = &core.ledger;
    let online = core.seats.iter().filter(|seat| seat.is_up).count() as f64;
    summary.put("dials", Some(ledger.dials as f64));
    summary.put("joins", Some(ledger.joins as f64));
    let Some((from, until_then, joins, departures)) = report.idle else { return };
    summary.put("upkeep_messages_per_join", ratio(until_then.messages as f64, joins as f64));
    summary.put("upkeep_bytes_per_join", ratio(until_then.bytes as f64, joins as f64));
    let since = ledger.upkeep.since(until_then);
    let span = core.now.since(from).seconds() * online;
    if report.calm {
        summary.put("idle_messages_per_node_s", ratio(since.messages as f64, span));
        summary.put("idle_bytes_per_node_s", ratio(since.bytes as f64, span));
    } else {
        let events = (ledger.joins - joins + ledger.departures - departures) as f64;
        summary.put("upkeep_messages_per_node_s", ratio(since.messages as f64, span));
        summary.put("upkeep_messages_per_churn_event", ratio(since.messages as f64, events));
        summary.put("upkeep_bytes_per_churn_event", ratio(since.bytes as f64, events));
    }
}

fn attack<M>(summary: &mut Numbers, core: &Core<M>, graph: &Graph) {
    let Some(attack) = &core.scenario.attack else { return };
    let is_hostile = |place: &Place| core.seat(*place).is_hostile;
    let share = |place: Place| {
        let near = graph.neighbours(place);
        ratio(near.iter().filter(|it| is_hostile(it)).count() as f64, near.len() as f64)
    };
    let honest: Vec<Option<f64>> = graph.nodes().filter(|it| !is_hostile(it)).map(share).collect();
    let eclipsed = honest.iter().filter(|share| **share == Some(1.0)).count();
    summary.put("eclipsed_share", ratio(eclipsed as f64, honest.len() as f64));
    let known: Vec<f64> = honest.iter().flatten().copied().collect();
    summary.put("hostile_neighbours_share", ratio(known.iter().sum(), known.len() as f64));
    if let AttackKind::Eclipse { victim, .. } = attack.how {
        let victim = share(victim as Place);
        summary.put("victim_hostile_neighbours_share", victim);
        summary.put("eclipse_success", victim.map(|share| f64::from(u8::from(share == 1.0))));
    }
}

fn lookups(summary: &mut Numbers, ledger: &Ledger) {
    if ledger.lookups.is_empty() {
        return;
    }
    let (mut hops, mut messages) = (Histogram::default(), Histogram::default());
    for lookup in &ledger.lookups {
        hops.add(f64::from(lookup.hops));
        messages.add(f64::from(lookup.messages));
    }
    let found = ledger.lookups.iter().filter(|lookup| lookup.found).count() as f64;
    summary.put("lookups", Some(ledger.lookups.len() as f64));
    summary.put("lookup_success_ratio", ratio(found, ledger.lookups.len() as f64));
    summary.put("lookup_messages_mean", messages.mean());
    summary.spread("lookup_hops", "", &hops);
}
