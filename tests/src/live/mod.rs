//! Skep beside real daemons: the laboratory they meet in, and the table of what was seen to work.

mod features;
mod lab;

pub use features::{Direction, Feature, FeatureTable, Outcome, RESULTS, TableError, Trial, results_file};
pub use lab::Lab;
