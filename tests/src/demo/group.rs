//! A group of twenty: every step with what must hold after it.

use std::path::Path;
use std::time::Instant;

use super::report::Report;
use crate::harness::{Arrival, Guests, Result, Spread, no_namespaces};

/// People in the group, each on a node of their own.
const PEOPLE: usize = 20;

/// How many of them are killed in the middle.
const KILLED: usize = 5;

/// Plays everything; what it leaves is below `place`.
pub(super) async fn play(report: &mut Report, place: &Path) -> Result<()> {
    report.step("start the processes");
    let mut guests = Guests::start(Arrival::newcomers(PEOPLE), place).await?;
    report.done(&format!("a bootstrap and {PEOPLE} nodes with an account each; all can be found"));

    report.step("become contacts");
    guests.befriend().await?;
    report.done(&format!("the first asked the other {}; all accepted", PEOPLE - 1));

    report.step("make a group");
    let mut crowd = guests.gather("A skep of twenty").await?;
    report.done(&format!("{}: {} invited, all joined, and all {PEOPLE} see that", crowd.id(), PEOPLE - 1));

    report.step("talk in turn");
    let spread = crowd.talk("Hello").await?;
    report.done(&format!("everybody said something and all others heard it: {}", told(&spread)));

    report.step("talk at once");
    let spread = crowd.talk_at_once("All at once").await?;
    crowd.settle().await?;
    report.done(&format!("{PEOPLE} messages at the same time: {}; one head", told(&spread)));

    report.step("kill five in a burst");
    let killed = crowd.kill_while_all_write(KILLED).await?;
    report.done(&format!("everybody wrote; {} of them got SIGKILL in the middle of it", killed.len()));

    report.step("start them again");
    crowd.restart(&killed).await?;
    let begun = Instant::now();
    crowd.settle().await?;
    report.done(&format!("all are back; one head {:.1?} after they answered", begun.elapsed()));

    match no_namespaces() {
        Some(obstacle) => report.say(&format!("the network is not parted: {obstacle}")),
        None => {
            report.step("part the network");
            crowd.part()?;
            let spread = crowd.talk_in_halves("Is anybody there").await?;
            report.done(&format!("two halves; each heard its own and nothing else: {}", told(&spread)));

            report.step("heal it");
            crowd.heal()?;
            let begun = Instant::now();
            crowd.settle().await?;
            report.done(&format!("both halves have all messages and one head after {:.1?}", begun.elapsed()));
        }
    }

    report.step("talk again");
    let spread = crowd.talk("Goodbye").await?;
    report.done(&format!("everybody to everybody: {}", told(&spread)));

    report.step("compare histories, commit for commit");
    let all = crowd.compare().await?;
    report.done(&format!(
        "all {PEOPLE} copies are equal in {} commits; {} messages, none of {} acknowledged lost, none twice",
        all.commits, all.texts, all.acknowledged
    ));

    report.step("stop in order");
    crowd.stop().await?;
    report.done("every process ended with exit code 0 and left nothing half written");
    Ok(())
}

fn told(spread: &Spread) -> String {
    format!("p50 {:.0?}, worst {:.0?} of {}", spread.median(), spread.worst(), spread.count())
}
