//! The rules of validation, one file a subject. Letters are those of `spec: swarm 7.3`.

pub(super) mod author;
pub(super) mod bans;
pub(super) mod content;
pub(super) mod initial;
pub(super) mod member;
pub(super) mod merge;
pub(super) mod vote;
