//! Skep's OpenDHT engine beside the real `dhtnode`, and a node of OpenDHT's Python binding, on loopback or in namespaces.
//!
//! Where one of them is missing, each test that needs it says so in one line and ends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how a test fails")]
#![allow(clippy::print_stderr, reason = "that is how a test tells that it was skipped")]

mod binding;
mod encrypted;
mod engine;
mod expiry;
mod ipv6;
mod nearby;
mod people;
mod plain;
mod restart;
mod weather;
