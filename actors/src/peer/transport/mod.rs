//! The byte path between two devices (`spec: connection 3, 4, 6`).

mod binding;
mod candidates;
mod framed_socket;
pub mod ice;
mod mux;
mod path;
pub mod stream;
