//! Names of things outside this process, such as namespaces and folders, that tell who made them: when
//! their maker was killed, the next one can tell and remove them.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Failure, Result};

/// Who made a thing: a process, which may make many of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    process: u32,
    /// When the process started, in clock ticks since boot: process ids are used again.
    started: u64,
    /// Distinguishes what one process makes.
    number: u32,
}

impl Owner {
    /// This process, for one more thing, or a few of different names.
    pub(crate) fn this() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let process = std::process::id();
        let started = started(process)
            .ok_or_else(|| Failure::Expected("this process to be listed in /proc".to_owned()))?;
        Ok(Self { process, started, number: NUMBER.fetch_add(1, Ordering::Relaxed) })
    }

    /// A process that is no more.
    #[cfg(test)]
    pub(super) fn killed() -> Self {
        Self { process: std::process::id(), started: 1, number: 0 }
    }

    /// What the thing is called.
    pub(crate) fn name(self, what: &str) -> String {
        let Self { process, started, number } = self;
        format!("skep-{process}-{started}-{number}-{what}")
    }

    /// From the name of a thing, if it is one of ours.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix("skep-")?.splitn(4, '-');
        let process = parts.next()?.parse().ok()?;
        let started = parts.next()?.parse().ok()?;
        let number = parts.next()?.parse().ok()?;
        parts.next().map(|_| Self { process, started, number })
    }

    /// Whether the maker still runs.
    pub(crate) fn is_alive(self) -> bool {
        started(self.process) == Some(self.started)
    }
}

/// When a process started, in clock ticks since boot; `None` if there is none of this id.
fn started(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name of the program, in brackets, may hold spaces; then the state is field 3 of `proc(5)`, and
    // the start is field 22.
    text.rsplit_once(") ")?.1.split(' ').nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_who_made_a_thing_and_whether_it_still_runs() {
        let owner = Owner::this().unwrap();
        assert_eq!(Owner::of(&owner.name("a-b")), Some(owner));
        assert!(owner.is_alive());
        assert!(!Owner::killed().is_alive(), "its process id is used again");
        assert_ne!(Owner::this().unwrap(), owner);
        for other in ["skep-hub", "other-1-2-3-hub", "skep-1-2-hub", "skep"] {
            assert_eq!(Owner::of(other), None, "{other}");
        }
    }
}
