//! The overlays that are compared: one file each.

pub mod drt;
pub mod flooding;
pub mod full_mesh;
pub mod kademlia;
pub mod regular;
