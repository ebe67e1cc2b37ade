//! Accounts: one actor each, parent of all that serves one person.

pub mod messages;
