//! Every event of a run as a line of JSON, if that is wanted.

use std::fmt::Write as _;

use crate::overlay::Place;
use crate::time::Time;

/// Most of it, in bytes; what happens later is counted only.
const MAX_BYTES: usize = 1 << 30;

/// See the module.
#[derive(Debug)]
pub(super) struct Journal {
    text: Option<String>,
    /// Events that were not written because there were too many.
    omitted: u64,
}

impl Journal {
    pub(super) fn new(is_wanted: bool) -> Self {
        Self { text: is_wanted.then(String::new), omitted: 0 }
    }

    pub(super) fn note(
        &mut self,
        at: Time,
        what: &'static str,
        place: Place,
        detail: &[(&'static str, u64)],
    ) {
        let Some(text) = &mut self.text else { return };
        if text.len() > MAX_BYTES {
            self.omitted += 1;
            return;
        }
        // Writing to a string does not fail.
        let _ = write!(text, "{{\"t\":{:.6},\"event\":\"{what}\",\"node\":{place}", at.seconds());
        for (name, value) in detail {
            let _ = write!(text, ",\"{name}\":{value}");
        }
        text.push_str("}\n");
    }

    /// All of it.
    pub(super) fn take(&mut self) -> Option<String> {
        let mut text = self.text.take()?;
        if self.omitted > 0 {
            let _ = writeln!(text, "{{\"event\":\"omitted\",\"count\":{}}}", self.omitted);
        }
        Some(text)
    }
}
