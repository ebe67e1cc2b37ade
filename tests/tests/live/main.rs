//! Skep beside the real daemon, each in a network namespace of its own.
//!
//! Every test opens a laboratory of its own, so they can run at once. Where there is no root or no daemon,
//! each says so in one line and ends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how a test fails")]

mod accounts;
mod burst;
mod calls;
mod company;
mod contacts;
mod daemons;
mod files;
mod groups;
mod killed;
mod linking;
mod messages;
mod names;
mod pair;
mod presence;
mod profiles;
mod signs;
mod stopped;
mod syncing;
mod talk;
