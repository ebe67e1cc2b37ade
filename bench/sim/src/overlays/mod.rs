//! The overlays that are compared: one file each.

pub mod drt;
