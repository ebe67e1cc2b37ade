//! One page that shows a run, and needs nothing beside it.

use std::fmt::Write as _;

use super::plot::escape;
use super::{Line, Plot, VERSION};
use crate::scenario::Scenario;
use crate::world::{Outcome, Row};

/// The plots of a run, by the names of their files.
pub(super) fn plots(outcome: &Outcome) -> Vec<(&'static str, Plot)> {
    let line = |name: &str, of: fn(&Row) -> f64| Line {
        name: name.to_owned(),
        points: outcome.rows.iter().map(|row| (row.t_s, of(row))).collect(),
    };
    let over_time = |title: &str, y: &str, lines| Plot {
        title: title.to_owned(),
        x: "seconds".to_owned(),
        y: y.to_owned(),
        x_log: false,
        lines,
    };
    let nodes: usize = outcome.degrees.values().sum();
    let mut above = nodes;
    let tail = outcome.degrees.iter().map(|(degree, count)| {
        let share = above as f64 / nodes.max(1) as f64;
        above -= count;
        (*degree as f64, share)
    });
    let messages = |at: usize| outcome.messages.iter().map(move |message| (message[0], message[at]));
    vec![
        (
            "online",
            over_time(
                "Nodes online, and in the largest part",
                "nodes",
                vec![
                    line("online", |row| row.online as f64),
                    line("in the largest part", |row| row.online as f64 * row.largest_share),
                ],
            ),
        ),
        (
            "degree",
            over_time(
                "Neighbours of a node",
                "neighbours",
                vec![line("mean", |row| row.degree_mean), line("most", |row| row.degree_max as f64)],
            ),
        ),
        (
            "tail",
            Plot {
                title: "Share of nodes with at least so many neighbours".to_owned(),
                x: "neighbours".to_owned(),
                y: "share".to_owned(),
                x_log: false,
                lines: vec![Line { name: "share".to_owned(), points: tail.collect() }],
            },
        ),
        (
            "messages",
            over_time(
                "Messages sent since the start",
                "messages",
                vec![
                    line("for the overlay", |row| row.upkeep_messages as f64),
                    line("for what was written", |row| row.item_messages as f64),
                ],
            ),
        ),
        (
            "delivery",
            over_time(
                "Share of those expected who have a message",
                "share",
                vec![Line { name: "share".to_owned(), points: messages(1).collect() }],
            ),
        ),
        (
            "latency",
            Plot {
                title: "Time until a message was there".to_owned(),
                x: "percent of deliveries".to_owned(),
                y: "milliseconds".to_owned(),
                x_log: false,
                lines: vec![Line { name: "ms".to_owned(), points: outcome.latency_ms.clone() }],
            },
        ),
    ]
}

/// The page.
pub(super) fn html(scenario: &Scenario, outcome: &Outcome, plots: &[(&'static str, Plot)]) -> String {
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}</title>\n<style>\n\
         body {{ font: 15px/1.5 sans-serif; max-width: 72em; margin: 2em auto; padding: 0 1em; color: #222 }}\n\
         table {{ border-collapse: collapse; columns: 2 }} td {{ padding: 0 1.5em 0 0 }}\n\
         td + td {{ text-align: right; font-variant-numeric: tabular-nums }}\n\
         .plots {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(32em, 1fr)); gap: 1em }}\n\
         pre {{ background: #f5f5f5; padding: 1em; overflow-x: auto }}\n</style></head><body>\n\
         <h1>{name}</h1>\n<p>{description}</p>\n\
         <p>Overlay: {overlay}; {nodes} nodes; seed {seed}; skep-sim {VERSION}.</p>\n<div class=\"plots\">\n",
        name = escape(&scenario.name),
        description = escape(&scenario.description),
        overlay = escape(&scenario.overlay.name()),
        nodes = scenario.all_nodes(),
        seed = outcome.seed,
    );
    for (_, plot) in plots {
        html.push_str(&plot.to_svg());
    }
    html.push_str("</div>\n<h2>Numbers</h2>\n<table>\n");
    for (name, value) in &outcome.summary {
        // Writing to a string does not fail.
        let _ = writeln!(html, "<tr><td>{}</td><td>{value}</td></tr>", escape(name));
    }
    html.push_str("</table>\n");
    for healing in &outcome.healings {
        let took = healing.took_s.map_or("never until the end".to_owned(), |took| format!("after {took} s"));
        let _ = writeln!(html, "<p>What began at {} s was healed {took}.</p>", healing.from_s);
    }
    let _ = write!(
        html,
        "<h2>To repeat it</h2>\n<p>Save this as <code>scenario.toml</code>, with the files that it names beside it, \
         and run <code>skep-sim run scenario.toml --seed {} --out again</code> with version {VERSION}. All \
         files come out the same to the last byte.</p>\n<pre>{}</pre>\n</body></html>\n",
        outcome.seed,
        escape(&scenario.to_toml())
    );
    html
}
