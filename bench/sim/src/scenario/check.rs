//! What no scenario can mean, and in which line it says so.

use std::fmt;

use toml::de::{DeTable, DeValue};

use super::{Attack, AttackKind, Churn, Fault, Latency, OverlayKind, Scenario, Senders, Sizes, Span};

/// Most nodes: more need more than 20 GB.
pub(super) const MAX_NODES: usize = 1_200_000;

/// Most nodes that each have a link with each other: some gigabytes.
pub(super) const MAX_MESH: usize = 6000;

/// Longest run, in seconds: a year.
pub(super) const MAX_DURATION: f64 = 366.0 * 86_400.0;

/// Most messages of one run.
pub(super) const MAX_MESSAGES: usize = 1_000_000;

/// Most rows of series.csv.
pub(super) const MAX_ROWS: f64 = 1e6;

/// Most rows of series.csv times nodes: each row looks at all of them, which takes some minutes in all.
pub(super) const MAX_ROWS_OF_NODES: f64 = 1e9;

/// Most messages times nodes: who has which takes a bit, and twelve bytes until a message is judged.
pub(super) const MAX_DELIVERIES: usize = 1_000_000_000;

/// Most messages in a second, and look-ups.
pub(super) const MAX_RATE: f64 = 100_000.0;

/// Most look-ups of one run: each is remembered, and takes a hundred messages.
pub(super) const MAX_LOOKUPS: f64 = 1e7;

/// Most ends of links beforehand: as many as the largest mesh has.
pub(super) const MAX_ENDS: usize = MAX_MESH * MAX_MESH;

/// Most nodes that are looked at times samples of them, for distances and for paths: some minutes.
pub(super) const MAX_LOOKS: usize = 200_000_000;

/// Most contacts that a node knows when it comes, or keeps in a bucket.
pub(super) const MAX_CONTACTS: usize = 1000;

/// Shortest time of anything that comes again and again, in seconds and milliseconds.
pub(super) const SHORTEST_S: f64 = 0.001;
pub(super) const SHORTEST_MS: f64 = 1.0;

/// Shortest mean life of a link, in seconds: what breaks faster is made again without end.
pub(super) const SHORTEST_LINK: f64 = 0.1;

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Which, as `network.loss`.
    pub(super) entry: String,
    what: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.entry, self.what)
    }
}

type Checked = Result<(), Wrong>;

fn ensure(holds: bool, entry: &str, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Wrong { entry: entry.to_owned(), what: what() }) }
}

fn at_least(value: f64, least: f64, entry: &str) -> Checked {
    ensure(value.is_finite() && value >= least, entry, || format!("{value} must be {least} or more"))
}

fn above(value: f64, bound: f64, entry: &str) -> Checked {
    ensure(value.is_finite() && value > bound, entry, || format!("{value} must be more than {bound}"))
}

/// As many of something for each of so many nodes.
fn product(count: usize, nodes: usize, most: usize, entry: &str) -> Checked {
    ensure(count.saturating_mul(nodes) <= most, entry, || {
        format!("{count} with {nodes} nodes are too many; {} at most", most / nodes.max(1))
    })
}

fn within(value: f64, least: f64, most: f64, entry: &str) -> Checked {
    ensure((least..=most).contains(&value), entry, || format!("{value} must be from {least} to {most}"))
}

/// Something that comes again after a time, or never if that is 0.
fn again(seconds: f64, least: f64, entry: &str) -> Checked {
    ensure(seconds == 0.0 || seconds.is_finite() && seconds >= least, entry, || {
        format!("{seconds} must be 0, or {least} or more")
    })
}

fn share(value: f64, entry: &str) -> Checked {
    ensure((0.0..=1.0).contains(&value), entry, || format!("{value} must be a share, from 0 to 1"))
}

/// Finds the first contradiction.
pub(super) fn check(scenario: &Scenario) -> Checked {
    let Scenario { nodes, duration_s, bootstrap, metrics, .. } = scenario;
    ensure(*nodes >= 1, "nodes", || "there must be a node".to_owned())?;
    let all = scenario.all_nodes();
    ensure(all <= MAX_NODES, "nodes", || format!("{all} in all are too many; {MAX_NODES} fit in memory"))?;
    above(*duration_s, 0.0, "duration_s")?;
    ensure(*duration_s <= MAX_DURATION, "duration_s", || format!("{duration_s} is more than a year"))?;
    ensure(bootstrap.contacts >= 1 || all == 1, "bootstrap.contacts", || {
        "a node that knows nobody finds nobody; 1 or more".to_owned()
    })?;
    ensure(bootstrap.contacts < all.max(2), "bootstrap.contacts", || {
        format!("a node cannot know {} others when there are {} only", bootstrap.contacts, all - 1)
    })?;
    ensure(bootstrap.contacts <= MAX_CONTACTS, "bootstrap.contacts", || {
        format!("{} are too many; {MAX_CONTACTS} at most", bootstrap.contacts)
    })?;
    at_least(bootstrap.interval_ms, 0.0, "bootstrap.interval_ms")?;
    at_least(bootstrap.presence_ms, SHORTEST_MS, "bootstrap.presence_ms")?;
    network(scenario)?;
    churn(scenario)?;
    mobiles(scenario)?;
    workload(scenario)?;
    for (number, fault) in scenario.faults.iter().enumerate() {
        self::fault(scenario, fault, number)?;
    }
    if let Some(attack) = &scenario.attack {
        self::attack(scenario, attack)?;
    }
    overlay(scenario, all)?;
    at_least(metrics.series_every_s, SHORTEST_S, "metrics.series_every_s")?;
    let rows = duration_s / metrics.series_every_s;
    ensure(rows <= MAX_ROWS, "metrics.series_every_s", || {
        "series.csv would have more than a million rows".to_owned()
    })?;
    ensure(rows * all as f64 <= MAX_ROWS_OF_NODES, "metrics.series_every_s", || {
        format!("{rows:.0} rows that look at {all} nodes each take too long")
    })?;
    // More samples than nodes are as many as those.
    product(metrics.distance_samples.min(all), all, MAX_LOOKS, "metrics.distance_samples")?;
    product(metrics.path_samples, all, MAX_LOOKS, "metrics.path_samples")?;
    at_least(metrics.judge_after_s, SHORTEST_S, "metrics.judge_after_s")?;
    at_least(metrics.idle_from_s, 0.0, "metrics.idle_from_s")
}

fn network(scenario: &Scenario) -> Checked {
    let it = &scenario.network;
    match &it.latency {
        Latency::Constant { ms } => above(*ms, 0.0, "network.latency.ms")?,
        Latency::Uniform { min_ms, max_ms } => {
            above(*min_ms, 0.0, "network.latency.min_ms")?;
            ensure(max_ms.is_finite() && max_ms >= min_ms, "network.latency.max_ms", || {
                format!("{max_ms} must be at least min_ms, {min_ms}")
            })?;
        }
        Latency::LogNormal { median_ms, sigma } => {
            above(*median_ms, 0.0, "network.latency.median_ms")?;
            at_least(*sigma, 0.0, "network.latency.sigma")?;
        }
        Latency::Pareto { min_ms, shape } => {
            above(*min_ms, 0.0, "network.latency.min_ms")?;
            above(*shape, 1.0, "network.latency.shape")?;
        }
        Latency::Matrix { .. } => {}
    }
    for (value, entry) in [
        (it.jitter, "network.jitter"),
        (it.upload_bits_s, "network.upload_bits_s"),
        (it.setup_ms, "network.setup_ms"),
        (it.setup_round_trips, "network.setup_round_trips"),
        (it.detection_ms, "network.detection_ms"),
    ] {
        at_least(value, 0.0, entry)?;
    }
    again(it.link_life_s, SHORTEST_LINK, "network.link_life_s")?;
    at_least(it.connect_timeout_ms, SHORTEST_MS, "network.connect_timeout_ms")?;
    share(it.loss, "network.loss")?;
    ensure(it.loss <= 0.9, "network.loss", || "hardly anything would ever arrive; 0.9 at most".to_owned())?;
    share(it.connect_failure, "network.connect_failure")?;
    ensure(it.connect_failure < 1.0, "network.connect_failure", || {
        "no link would ever be made; less than 1".to_owned()
    })?;
    share(it.nat_share, "network.nat_share")?;
    share(it.nat_failure, "network.nat_failure")?;
    ensure((1..=65_535).contains(&it.regions), "network.regions", || "from 1 to 65535".to_owned())
}

fn span(span: Span, entry: &str) -> Checked {
    let parts = match span {
        Span::Constant { s } => [(s, "s"), (1.0, "")],
        Span::Exponential { mean_s } => [(mean_s, "mean_s"), (1.0, "")],
        Span::Weibull { scale_s, shape } => [(scale_s, "scale_s"), (shape, "shape")],
        Span::LogNormal { median_s, sigma } => [(median_s, "median_s"), (sigma, "sigma")],
        Span::Pareto { min_s, shape } => [(min_s, "min_s"), (shape, "shape")],
    };
    parts.iter().try_for_each(|(value, name)| above(*value, 0.0, &format!("{entry}.{name}")))
}

fn churn(scenario: &Scenario) -> Checked {
    match &scenario.churn {
        Churn::None | Churn::Trace { graceful: 0.0, .. } => Ok(()),
        Churn::Trace { graceful, .. } => share(*graceful, "churn.graceful"),
        Churn::Sessions { online, offline, start_s, stop_s, share: taking_part, graceful } => {
            span(*online, "churn.online")?;
            span(*offline, "churn.offline")?;
            at_least(*start_s, 0.0, "churn.start_s")?;
            ensure(*stop_s == 0.0 || stop_s > start_s, "churn.stop_s", || {
                format!("{stop_s} must be later than start_s, {start_s}")
            })?;
            share(*taking_part, "churn.share")?;
            share(*graceful, "churn.graceful")
        }
        Churn::Diurnal { period_s, online, spread, start_s, graceful } => {
            above(*period_s, 0.0, "churn.period_s")?;
            share(*online, "churn.online")?;
            ensure(*online > 0.0, "churn.online", || "the network would be empty; more than 0".to_owned())?;
            share(*spread, "churn.spread")?;
            at_least(*start_s, 0.0, "churn.start_s")?;
            share(*graceful, "churn.graceful")
        }
    }
}

fn mobiles(scenario: &Scenario) -> Checked {
    let it = &scenario.mobiles;
    share(it.share, "mobiles.share")?;
    ensure(it.share < 1.0, "mobiles.share", || {
        "nobody would be there to wake the others; less than 1".to_owned()
    })?;
    above(it.period_s, 0.0, "mobiles.period_s")?;
    above(it.awake_s, 0.0, "mobiles.awake_s")?;
    ensure(it.awake_s <= it.period_s, "mobiles.awake_s", || {
        format!("{} is longer than the whole period, {}", it.awake_s, it.period_s)
    })?;
    at_least(it.push_ms, 0.0, "mobiles.push_ms")?;
    at_least(it.start_s, 0.0, "mobiles.start_s")
}

fn workload(scenario: &Scenario) -> Checked {
    let it = &scenario.workload;
    ensure(it.messages <= MAX_MESSAGES, "workload.messages", || {
        format!("{} are too many; {MAX_MESSAGES} at most", it.messages)
    })?;
    at_least(it.start_s, 0.0, "workload.start_s")?;
    product(it.messages, scenario.all_nodes(), MAX_DELIVERIES, "workload.messages")?;
    above(it.rate_s, 0.0, "workload.rate_s")?;
    within(it.rate_s, 0.0, MAX_RATE, "workload.rate_s")?;
    at_least(it.fetch_round_trips, 0.0, "workload.fetch_round_trips")?;
    at_least(it.fetch_ms, 0.0, "workload.fetch_ms")?;
    within(it.lookups_s, 0.0, MAX_RATE, "workload.lookups_s")?;
    ensure(it.lookups_s * scenario.duration_s <= MAX_LOOKUPS, "workload.lookups_s", || {
        format!("more than {MAX_LOOKUPS} look-ups in all are too many")
    })?;
    at_least(it.lookups_start_s, 0.0, "workload.lookups_start_s")?;
    match it.senders {
        Senders::Uniform => {}
        Senders::Zipf { exponent } => at_least(exponent, 0.0, "workload.senders.exponent")?,
        Senders::One { node } => ensure(node < scenario.nodes, "workload.senders.node", || {
            format!("there is no node {node}; the last is {}", scenario.nodes - 1)
        })?,
    }
    match it.size {
        Sizes::Constant { .. } => Ok(()),
        Sizes::LogNormal { median_bytes, sigma } => {
            above(median_bytes, 0.0, "workload.size.median_bytes")?;
            at_least(sigma, 0.0, "workload.size.sigma")
        }
    }
}

fn fault(scenario: &Scenario, fault: &Fault, number: usize) -> Checked {
    let entry = |name: &str| format!("faults.{number}.{name}");
    let empties = |part: f64, name: &str| {
        share(part, &entry(name))?;
        ensure(part < 1.0, &entry(name), || "nobody would be left; less than 1".to_owned())
    };
    match fault {
        Fault::Crash { at_s, share, back_after_s } => {
            at_least(*at_s, 0.0, &entry("at_s"))?;
            empties(*share, "share")?;
            at_least(*back_after_s, 0.0, &entry("back_after_s"))
        }
        Fault::RegionalFailure { at_s, region, back_after_s } => {
            at_least(*at_s, 0.0, &entry("at_s"))?;
            let known = matches!(scenario.network.latency, Latency::Matrix { .. });
            let regions = scenario.network.regions;
            ensure(known || *region < regions, &entry("region"), || {
                format!("there is no region {region}; network.regions is {regions}")
            })?;
            ensure(known || regions > 1, &entry("region"), || {
                "it is all there is; nobody would be left".to_owned()
            })?;
            at_least(*back_after_s, 0.0, &entry("back_after_s"))
        }
        Fault::FlashCrowd { at_s, over_s, .. } => {
            at_least(*at_s, 0.0, &entry("at_s"))?;
            at_least(*over_s, 0.0, &entry("over_s"))
        }
        Fault::Partition { at_s, heal_s, share: part, noticed } => {
            at_least(*at_s, 0.0, &entry("at_s"))?;
            ensure(heal_s.is_finite() && heal_s > at_s, &entry("heal_s"), || {
                format!("{heal_s} must be later than at_s, {at_s}")
            })?;
            share(*part, &entry("share"))?;
            share(*noticed, &entry("noticed"))
        }
    }
}

fn attack(scenario: &Scenario, attack: &Attack) -> Checked {
    ensure(attack.nodes >= 1, "attack.nodes", || "an attack takes a node".to_owned())?;
    at_least(attack.at_s, 0.0, "attack.at_s")?;
    match attack.how {
        AttackKind::Eclipse { victim, ground_bits } => {
            ensure(victim < scenario.nodes, "attack.how.victim", || {
                format!("there is no node {victim}; the last is {}", scenario.nodes - 1)
            })?;
            ensure(ground_bits <= 200, "attack.how.ground_bits", || "200 at most".to_owned())
        }
        AttackKind::Sybil { ground_bits } => {
            ensure(ground_bits <= 200, "attack.how.ground_bits", || "200 at most".to_owned())
        }
        AttackKind::CovertFlash { turn_s } => at_least(turn_s, 0.0, "attack.how.turn_s"),
        AttackKind::Slow { delay_ms } => at_least(delay_ms, 0.0, "attack.how.delay_ms"),
        AttackKind::ColdBoot => ensure(attack.at_s == 0.0, "attack.at_s", || {
            "they are there before everybody else; 0, or another kind".to_owned()
        }),
        AttackKind::EclipseAll | AttackKind::Censor => Ok(()),
    }
}

fn overlay(scenario: &Scenario, all: usize) -> Checked {
    let least = |value: usize, least: usize, name: &str| {
        ensure(value >= least, &format!("overlay.{name}"), || format!("{value} must be {least} or more"))
    };
    match &scenario.overlay {
        OverlayKind::Drt(it) => {
            ensure((1..=64).contains(&it.bucket_size), "overlay.bucket_size", || "from 1 to 64".to_owned())?;
            again(it.refresh_s, SHORTEST_S, "overlay.refresh_s")
        }
        OverlayKind::FullMesh(_) => ensure(all <= MAX_MESH, "nodes", || {
            format!("a full mesh of {all} nodes does not fit in memory; {MAX_MESH} at most")
        }),
        OverlayKind::Regular(it) => {
            least(it.degree, 1, "degree")?;
            product(it.degree, all, MAX_ENDS, "overlay.degree")?;
            ensure(it.degree < all.max(2), "overlay.degree", || {
                format!("{} links need more than {all} nodes", it.degree)
            })
        }
        OverlayKind::HyParView(it) => {
            least(it.active, 2, "active")?;
            least(it.passive, 1, "passive")?;
            product(it.active.max(it.passive), 1, MAX_CONTACTS, "overlay.passive")?;
            at_least(it.shuffle_s, SHORTEST_S, "overlay.shuffle_s")
        }
        OverlayKind::GossipSub(it) => {
            least(it.degree_low, 1, "degree_low")?;
            least(it.degree, it.degree_low, "degree")?;
            least(it.degree_high, it.degree, "degree_high")?;
            least(it.connections, it.degree, "connections")?;
            product(it.connections.max(it.degree_high), 1, MAX_CONTACTS, "overlay.connections")?;
            at_least(it.heartbeat_s, SHORTEST_S, "overlay.heartbeat_s")
        }
        OverlayKind::Kademlia(it) => {
            least(it.k, 1, "k")?;
            least(it.alpha, 1, "alpha")?;
            least(it.fanout, 1, "fanout")?;
            for (value, name) in [(it.k, "k"), (it.alpha, "alpha"), (it.fanout, "fanout")] {
                ensure(value <= MAX_CONTACTS, &format!("overlay.{name}"), || {
                    format!("{value} are too many; {MAX_CONTACTS} at most")
                })?;
            }
            Ok(())
        }
    }
}

/// The line that a byte lies in, from 1 on.
pub(super) fn line_at(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|it| *it == b'\n').count() + 1
}

/// The line of an entry, or of the closest table around it that the text has.
pub(super) fn line_of(text: &str, entry: &str) -> usize {
    let Ok(table) = DeTable::parse(text) else { return 1 };
    let mut line = 1;
    let mut steps = entry.split('.');
    let mut next = steps.next().and_then(|step| table.get_ref().get_key_value(step));
    while let Some((key, value)) = next {
        line = line_at(text, key.span().start);
        let mut inner = value.get_ref();
        let mut step = steps.next();
        if let (DeValue::Array(items), Some(place)) = (inner, step.and_then(|it| it.parse::<usize>().ok())) {
            let Some(item) = items.get(place) else { break };
            line = line_at(text, item.span().start);
            inner = item.get_ref();
            step = steps.next();
        }
        next = match (inner, step) {
            (DeValue::Table(table), Some(step)) => table.get_key_value(step),
            _ => None,
        };
    }
    line
}
