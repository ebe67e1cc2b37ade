//! The overlays that are compared: one file or folder each.

pub mod drt;
pub mod flooding;
pub mod full_mesh;
pub mod gossipsub;
pub mod hyparview;
pub mod kademlia;
pub mod regular;
