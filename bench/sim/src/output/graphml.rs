//! The graph at the end, for other programs.

use std::fmt::Write as _;

use crate::world::Outcome;

/// The graph in GraphML.
pub(super) fn write(outcome: &Outcome) -> String {
    let mut text = concat!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
        "<graphml xmlns=\"http://graphml.graphdrawing.org/xmlns\">\n",
        "  <key id=\"hostile\" for=\"node\" attr.name=\"hostile\" attr.type=\"boolean\"/>\n",
        "  <graph edgedefault=\"undirected\">\n"
    )
    .to_owned();
    for place in outcome.graph.nodes() {
        let hostile = outcome.hostile.binary_search(&place).is_ok();
        // Writing to a string does not fail.
        let _ = writeln!(text, "    <node id=\"n{place}\"><data key=\"hostile\">{hostile}</data></node>");
    }
    for place in outcome.graph.nodes() {
        for other in outcome.graph.neighbours(place).iter().filter(|other| **other > place) {
            let _ = writeln!(text, "    <edge source=\"n{place}\" target=\"n{other}\"/>");
        }
    }
    text + "  </graph>\n</graphml>\n"
}
