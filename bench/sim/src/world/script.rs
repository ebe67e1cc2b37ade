//! What the scenario has happen, whatever the overlay: who comes and goes, what breaks, who writes what.

use std::path::Path;

use skep_protocol::drt::random::Random;

use super::core::{Core, Event};
use crate::chance::{self, Purpose, happens};
use crate::error::{Result, SimError};
use crate::overlay::{Item, Place};
use crate::scenario::{Among, Churn, Fault, Scenario, Senders, Sizes, Span, read_text};
use crate::time::Time;

/// Shortest time that anybody stays or is away: no draw makes a storm of one node.
const SHORTEST_SPAN: Time = Time(100_000);

/// What happens by the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A node comes online, after a certain life if there is one: whoever came otherwise meanwhile is in another.
    Come(Place, Option<u32>),
    /// A node goes, in a certain life if there is one.
    Go(Place, Why, Option<u32>),
    /// Somebody writes.
    Write(Place, u32),
    /// A message is judged.
    Judge(Item),
    /// An id is looked up.
    LookUp,
    /// A fault begins, by its number.
    Fault(usize),
    /// It ends.
    Mend(usize),
    /// A row of the series.
    Row,
    /// Whether all reach each other again is looked at.
    Watch,
    /// From now on the network is at rest.
    Idle,
}

/// Why a node goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// By its sessions.
    Churn,
    /// A mobile device sleeps.
    Sleep,
    /// As recorded.
    Trace,
}

/// What a scenario needs beside itself.
#[derive(Debug)]
pub(super) struct Script {
    /// By place.
    churn: Vec<Random>,
    /// Who comes and goes, by place.
    goes: Vec<bool>,
    lookups: Random,
}

impl Script {
    /// Puts what is known beforehand into the queue.
    pub(super) fn begin<M>(core: &mut Core<M>) -> Result<Self> {
        let scenario = core.scenario.clone();
        let seed = core.seed;
        let mut put = |at: Time, step| core.queue.push(at, Event::Script(step));
        let end = Time::from_seconds(scenario.duration_s);
        for second in 0.. {
            let at = Time::from_seconds(scenario.metrics.series_every_s * f64::from(second));
            if at > end {
                break;
            }
            put(at, Step::Row);
        }
        put(Time::from_seconds(scenario.metrics.idle_from_s), Step::Idle);
        arrivals(&scenario, &mut put);
        faults(&scenario, &mut put);
        messages(&scenario, seed, end, &mut put);
        if scenario.workload.lookups_s > 0.0 {
            put(Time::from_seconds(scenario.workload.lookups_start_s), Step::LookUp);
        }
        let mut script = Self {
            churn: (0..scenario.all_nodes() as u64)
                .map(|place| chance::stream(seed, Purpose::Churn, place))
                .collect(),
            goes: vec![false; scenario.all_nodes()],
            lookups: chance::stream(seed, Purpose::Workload, 1),
        };
        script.departures(core, &scenario)?;
        Ok(script)
    }

    /// First departures of churn and sleep; those of who comes later follow from when that is.
    fn departures<M>(&mut self, core: &mut Core<M>, scenario: &Scenario) -> Result<()> {
        let honest = (scenario.nodes + scenario.late_nodes()) as Place;
        let sleep = Time::from_seconds(scenario.mobiles.start_s);
        for place in (0..honest).filter(|_| scenario.mobiles.share > 0.0) {
            if core.seat(place).is_mobile {
                // Not all at the same moment.
                let random = &mut self.churn[place as usize];
                let awake = Time::from_seconds(scenario.mobiles.awake_s * chance::unit(random));
                self.first(core, place, sleep.plus(awake), Why::Sleep);
            }
        }
        match &scenario.churn {
            Churn::None => {}
            Churn::Sessions { online, start_s, share, .. } => {
                for place in 0..honest {
                    let random = &mut self.churn[place as usize];
                    if !core.seat(place).is_mobile && happens(random, *share) {
                        let at = Time::from_seconds(*start_s).plus(draw(*online, random));
                        self.first(core, place, at, Why::Churn);
                    }
                }
            }
            Churn::Diurnal { period_s, online, spread, start_s, .. } => {
                for place in (0..honest).filter(|_| *online < 1.0) {
                    let random = &mut self.churn[place as usize];
                    // The evening of the first day, which began when all came.
                    let evening = start_s + period_s * online + period_s * spread * chance::unit(random);
                    if !core.seat(place).is_mobile {
                        self.first(core, place, Time::from_seconds(evening), Why::Churn);
                    }
                }
            }
            Churn::Trace { file, .. } => {
                for (at, place, up) in read_trace(&scenario.folder.join(file), scenario.nodes)? {
                    let step = if up { Step::Come(place, None) } else { Step::Go(place, Why::Trace, None) };
                    core.queue.push(at, Event::Script(step));
                }
            }
        }
        Ok(())
    }

    /// A node is one of those that come and go.
    fn first<M>(&mut self, core: &mut Core<M>, place: Place, at: Time, why: Why) {
        self.goes[place as usize] = true;
        if (place as usize) < core.scenario.nodes {
            core.queue.push(at, Event::Script(Step::Go(place, why, Some(1))));
        }
    }

    /// A node has gone: when it comes back.
    pub(super) fn gone<M>(&mut self, core: &mut Core<M>, place: Place, why: Why) {
        let random = &mut self.churn[place as usize];
        let scenario = &core.scenario;
        let away = match (why, &scenario.churn) {
            (Why::Sleep, _) => Time::from_seconds(scenario.mobiles.period_s - scenario.mobiles.awake_s),
            (Why::Churn, Churn::Sessions { offline, .. }) => draw(*offline, random),
            (Why::Churn, Churn::Diurnal { period_s, online, .. }) => {
                Time::from_seconds(period_s * (1.0 - online))
            }
            _ => return,
        };
        let at = core.now.plus(away.max(SHORTEST_SPAN));
        let life = core.seat(place).life;
        core.queue.push(at, Event::Script(Step::Come(place, Some(life))));
    }

    /// A node has come back, or late: when it goes again.
    pub(super) fn came<M>(&mut self, core: &mut Core<M>, place: Place) {
        if !self.goes[place as usize] {
            return;
        }
        let random = &mut self.churn[place as usize];
        let scenario = &core.scenario;
        let (stays, why) = if core.seat(place).is_mobile {
            (Time::from_seconds(scenario.mobiles.awake_s), Why::Sleep)
        } else {
            let stays = match &scenario.churn {
                Churn::Sessions { online, stop_s, .. }
                    if *stop_s == 0.0 || core.now < Time::from_seconds(*stop_s) =>
                {
                    draw(*online, random)
                }
                Churn::Diurnal { period_s, online, .. } => Time::from_seconds(period_s * online),
                _ => return,
            };
            (stays, Why::Churn)
        };
        let (at, life) = (core.now.plus(stays.max(SHORTEST_SPAN)), core.seat(place).life);
        core.queue.push(at, Event::Script(Step::Go(place, why, Some(life))));
    }

    /// What is looked up next, and when.
    pub(super) fn next_lookup<M>(&mut self, core: &mut Core<M>) -> (Place, skep_protocol::ids::DeviceId) {
        let rate = core.scenario.workload.lookups_s;
        let wait = Time::from_seconds(chance::exponential(&mut self.lookups, 1.0 / rate));
        core.queue.push(core.now.plus(wait), Event::Script(Step::LookUp));
        let who = self.lookups.below(core.seats.len()) as Place;
        let target = super::seat::id(&mut self.lookups, Place::MAX);
        (who, target)
    }

    /// Whether a departure is told to the others.
    pub(super) fn is_graceful<M>(&mut self, core: &Core<M>, place: Place, why: Why) -> bool {
        let share = match (why, &core.scenario.churn) {
            (Why::Sleep, _) | (_, Churn::None) => 0.0,
            (
                _,
                Churn::Sessions { graceful, .. }
                | Churn::Diurnal { graceful, .. }
                | Churn::Trace { graceful, .. },
            ) => *graceful,
        };
        happens(&mut self.churn[place as usize], share)
    }
}

fn draw(span: Span, random: &mut Random) -> Time {
    let seconds = match span {
        Span::Constant { s } => s,
        Span::Exponential { mean_s } => chance::exponential(random, mean_s),
        Span::Weibull { scale_s, shape } => chance::weibull(random, scale_s, shape),
        Span::LogNormal { median_s, sigma } => chance::log_normal(random, median_s, sigma),
        Span::Pareto { min_s, shape } => chance::pareto(random, min_s, shape),
    };
    Time::from_seconds(seconds).max(SHORTEST_SPAN)
}

fn arrivals(scenario: &Scenario, put: &mut impl FnMut(Time, Step)) {
    let honest = scenario.nodes + scenario.late_nodes();
    let attack_at = scenario.attack.as_ref().map(|attack| Time::from_seconds(attack.at_s));
    for place in honest..scenario.all_nodes() {
        put(attack_at.unwrap_or_default(), Step::Come(place as Place, Some(0)));
    }
    for place in 0..scenario.nodes {
        let at = Time::from_millis(scenario.bootstrap.interval_ms * place as f64);
        put(at, Step::Come(place as Place, Some(0)));
    }
    let mut next = scenario.nodes;
    for fault in &scenario.faults {
        if let Fault::FlashCrowd { at_s, nodes, over_s } = fault {
            for number in 0..*nodes {
                let at = at_s + over_s * number as f64 / *nodes as f64;
                put(Time::from_seconds(at), Step::Come((next + number) as Place, Some(0)));
            }
            next += nodes;
        }
    }
}

fn faults(scenario: &Scenario, put: &mut impl FnMut(Time, Step)) {
    for (number, fault) in scenario.faults.iter().enumerate() {
        let (begins, ends) = match fault {
            Fault::Crash { at_s, back_after_s, .. } | Fault::RegionalFailure { at_s, back_after_s, .. } => {
                (*at_s, (*back_after_s > 0.0).then_some(at_s + back_after_s))
            }
            Fault::Partition { at_s, heal_s, .. } => (*at_s, Some(*heal_s)),
            Fault::FlashCrowd { .. } => continue,
        };
        put(Time::from_seconds(begins), Step::Fault(number));
        if let Some(ends) = ends {
            put(Time::from_seconds(ends), Step::Mend(number));
        }
    }
}

fn messages(scenario: &Scenario, seed: u64, end: Time, put: &mut impl FnMut(Time, Step)) {
    let workload = &scenario.workload;
    let mut random = chance::stream(seed, Purpose::Workload, 0);
    let mut at = Time::from_seconds(workload.start_s);
    let zipf = Zipf::new(workload.senders, scenario.nodes);
    for _ in 0..workload.messages {
        let author = match workload.senders {
            Senders::Uniform => random.below(scenario.nodes),
            Senders::Zipf { .. } => zipf.draw(&mut random),
            Senders::One { node } => node,
        };
        let size = match workload.size {
            Sizes::Constant { bytes } => bytes,
            // Such a cast saturates.
            Sizes::LogNormal { median_bytes, sigma } => {
                chance::log_normal(&mut random, median_bytes, sigma) as u32
            }
        };
        if at <= end {
            put(at, Step::Write(author as Place, size));
        }
        let mean = 1.0 / workload.rate_s;
        let wait = if workload.poisson { chance::exponential(&mut random, mean) } else { mean };
        at = at.plus(Time::from_seconds(wait));
    }
}

/// Who writes when few write most.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(senders: Senders, nodes: usize) -> Self {
        let Senders::Zipf { exponent } = senders else { return Self(Vec::new()) };
        let mut sum = 0.0;
        let weights = (1..=nodes).map(|rank| {
            sum += libm::pow(rank as f64, -exponent);
            sum
        });
        Self(weights.collect())
    }

    fn draw(&self, random: &mut Random) -> usize {
        let wanted = chance::unit(random) * self.0.last().copied().unwrap_or_default();
        self.0.partition_point(|sum| *sum <= wanted).min(self.0.len().saturating_sub(1))
    }
}

/// Whom a node knows that comes at the beginning.
pub(super) fn acquaintances(scenario: &Scenario, place: Place) -> std::ops::Range<usize> {
    let all = scenario.nodes;
    match scenario.bootstrap.among {
        Among::All => 0..all.max(place as usize + 1),
        Among::Earlier => 0..place as usize,
    }
}

/// Whether the trace of a scenario is one, if it names any.
pub(super) fn check_trace(scenario: &Scenario) -> Result<()> {
    match &scenario.churn {
        Churn::Trace { file, .. } => read_trace(&scenario.folder.join(file), scenario.nodes).map(drop),
        _ => Ok(()),
    }
}

fn read_trace(file: &Path, nodes: usize) -> Result<Vec<(Time, Place, bool)>> {
    let text = read_text(file)?;
    let mut last = 0.0;
    let mut trace = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = |what: String| SimError::Table { file: file.to_owned(), line: number + 1, what };
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        let [at, place, event] = cells[..] else {
            return Err(wrong(format!("{line:?} is not `seconds,node,up` or `seconds,node,down`")));
        };
        let at: f64 = at.parse().map_err(|_| wrong(format!("{at:?} is no number of seconds")))?;
        if !(at.is_finite() && at >= last) {
            return Err(wrong(format!("{at} must be a time after the line before, {last} or later")));
        }
        last = at;
        let place: usize = place.parse().map_err(|_| wrong(format!("{place:?} is no number of a node")))?;
        if place >= nodes {
            return Err(wrong(format!("there is no node {place}; the last is {}", nodes - 1)));
        }
        let up = match event {
            "up" => true,
            "down" => false,
            other => return Err(wrong(format!("{other:?} is neither up nor down"))),
        };
        trace.push((Time::from_seconds(at), place as Place, up));
    }
    Ok(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_and_one_out_of_order_or_of_unknown_nodes_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trace.csv");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read_trace(&file, 10).map_err(|error| error.to_string())
        };
        let trace = read("# t, node, event\n1.5,3,down\n\n2,3,up\n").unwrap();
        assert_eq!(trace, [(Time(1_500_000), 3, false), (Time(2_000_000), 3, true)]);
        for (text, line, part) in [
            ("1,3,down\n0.5,3,up", 2, "after the line before"),
            ("1,10,down", 1, "no node 10"),
            ("1,3,sideways", 1, "neither up nor down"),
            ("1,3", 1, "is not"),
            ("x,3,up", 1, "no number of seconds"),
            ("nan,3,up", 1, "must be a time"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(&format!("trace.csv:{line}: ")) && message.contains(part), "{message}");
        }
    }

    #[test]
    fn few_senders_write_most_by_zipf() {
        let zipf = Zipf::new(Senders::Zipf { exponent: 1.0 }, 100);
        let mut random = Random::from_seed(1);
        let mut counts = [0; 100];
        (0..10_000).for_each(|_| counts[zipf.draw(&mut random)] += 1);
        assert!((1700..2200).contains(&counts[0]), "{}", counts[0]);
        assert!(counts[0] > counts[1] && counts[1] > counts[9] && counts[9] > counts[99]);
    }
}
