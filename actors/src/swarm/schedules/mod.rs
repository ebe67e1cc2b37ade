//! Random schedules: groups that talk while links break, devices crash and clocks are wrong, over the
//! copies and the overlay that ship, in virtual time.
//!
//! ```text
//!   cast        people and devices, with keys made beforehand
//!   world       devices, links, time: what happens when
//!   spreading   who hears of what, and whom it looks for: the overlay
//!   fetching    looking for news, cloning, leaving
//!   workload    what people do, drawn from a seed
//!   checkers    what has to hold at the end; they share nothing with the workload
//!   departures  the same, of those who left or were banned
//!   history     what the files say, for both
//! ```
//!
//! A seed is a schedule. To see what happens in one, step by step:
//!
//! ```sh
//! SKEP_SCHEDULE=123 cargo test -p skep-actors -- schedules::groups --nocapture
//! ```
//!
//! `SKEP_SCHEDULES=100000` tries more than continuous integration does. What fails is kept in
//! [`REGRESSIONS`].

pub(super) mod cast;
mod checkers;
mod departures;
mod fetching;
mod history;
mod spreading;
mod workload;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use skep_protocol::swarm::message::Mode;

use self::world::{Size, World};

/// How many schedules are tried unless somebody asks for more.
const SCHEDULES: u64 = 1_000;

/// Seeds that failed once.
const REGRESSIONS: [u64; 10] = [3, 5, 17, 19, 73, 99, 659, 694, 778, 864];

/// Milliseconds from the moment when all is connected until all have the same head: some rounds of an
/// announcement and a fetch, each of which takes at most 300.
const MAX_HEALING: u64 = 6_000;

/// How large the group of a seed is, and how much happens in it. Most are small, as most of what goes wrong
/// needs no more. Twelve of a thousand have more than sixteen people, so that the overlay chooses who has
/// channels; two of those have fifty devices.
fn size(seed: u64) -> (Size, usize) {
    let mode = if seed.is_multiple_of(7) { Mode::AdminInvitesOnly } else { Mode::InvitesOnly };
    let small = 2 + usize::try_from(seed % 4).unwrap_or_default();
    let (people, devices, acts) = match seed % 500 {
        0 => (cast::MAX_PEOPLE, cast::MAX_DEVICES, 15),
        1..15 => (6, 10, 40),
        100 | 200 | 300 | 400 | 450 => (18, 20, 20),
        15..75 => (3, 6, 25),
        _ => (small, small, 15),
    };
    (Size { people, devices, mode }, acts)
}

/// Runs the schedule of a seed; what is wrong at its end.
fn run(seed: u64, trace: bool) -> Vec<String> {
    let (size, acts) = size(seed);
    let mut world = World::begin(seed, size, trace);
    // Everybody is invited early, so that there is a group.
    workload::gather(&mut world);
    let acknowledged = workload::act(&mut world, acts);
    // Who is down starts again first.
    world.run_until(world.time + workload::LONGEST_DOWN);
    world.heal();
    let healed = world.time;
    let settled = world.settle(1_000 * size.devices);
    let mut wrong = checkers::check(&mut world, &acknowledged);
    if !settled {
        wrong.push(format!("it does not end: {:?}", world.counts));
    }
    let healing = world.moved.saturating_sub(healed);
    if healing > MAX_HEALING {
        wrong.push(format!("it takes {healing} ms until all have the same head"));
    }
    if trace {
        eprintln!("{size:?}: healed after {healing} ms, {:?}", world.counts);
    }
    wrong
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn groups_that_part_and_crash_agree_on_everything_once_they_are_connected() {
    if let Some(seed) = number("SKEP_SCHEDULE") {
        let wrong = run(seed, true);
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
        return;
    }
    let count = number("SKEP_SCHEDULES").unwrap_or(SCHEDULES);
    let (next, failed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        break;
                    }
                    let wrong = run(seed, false);
                    if !wrong.is_empty() {
                        failed.lock().unwrap().push((seed, wrong));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    assert!(
        failed.is_empty(),
        "of {count} schedules {} failed: {:#?}",
        failed.len(),
        &failed[..failed.len().min(5)]
    );
}

#[test]
fn schedules_that_failed_once_do_not_fail_again() {
    for seed in REGRESSIONS {
        assert_eq!(run(seed, false), Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn a_schedule_is_the_same_each_time() {
    for seed in [7, 20] {
        let counts = [(); 2].map(|()| {
            let (size, acts) = size(seed);
            let mut world = World::begin(seed, size, false);
            workload::gather(&mut world);
            let acknowledged = workload::act(&mut world, acts);
            (format!("{:?}", world.counts), acknowledged.messages)
        });
        assert_eq!(counts[0], counts[1]);
    }
}
