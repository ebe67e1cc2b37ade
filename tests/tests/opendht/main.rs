//! Skep's OpenDHT engine beside the real `dhtnode`, on loopback or in namespaces.
//!
//! Where there is no `dhtnode`, each test says so in one line and ends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how a test fails")]
#![allow(clippy::print_stderr, reason = "that is how a test tells that it was skipped")]

mod encrypted;
mod engine;
mod nearby;
mod people;
mod plain;
mod restart;
