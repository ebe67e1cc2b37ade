//! Debian's `jamid`, driven over D-Bus: to compare with, and to talk to.
//!
//! ```text
//!   process    dbus-daemon ── jamid, in a namespace of their own; a dhtnode is everybody's bootstrap
//!     bus      calls to the daemon, and its signals as they arrive
//!     signal   what a scenario waits for
//!   dhtnode    a dhtnode with its console, for the DHT alone
//!   binding    a node of OpenDHT's Python binding
//!   console    how those two are told what to do
//!   account    what an account does: contacts, conversations, messages, archives
//!   device     what it does with its other devices, and with names
//!   file       what it does with files
//!   group      what it does in groups
//! ```
//!
//! Each daemon has a session bus, a home and XDG folders of its own, and never hears of the machine's.

mod account;
mod binding;
mod bus;
mod call;
mod console;
mod device;
mod dhtnode;
mod file;
mod group;
mod process;
mod signal;
mod sound;
mod standstill;

use std::path::Path;
use std::process::Command;

pub use account::{DaemonAccount, Relation};
pub use binding::{BindingNode, BindingValue};
pub use dhtnode::DhtNode;
pub use file::OfferedFile;
pub use group::Roles;
pub use process::{Bootstrap, Daemon};
pub use signal::{JOINED, Signal};
pub use sound::{DAEMON_RATE, DAEMON_TONE, Listening, no_sound};

use crate::harness::{find_program, no_namespaces, run_to_end};

/// Where Debian installs the daemon; it is not on the `PATH`.
const DAEMON: &str = "/usr/libexec/jamid";

/// Why daemons cannot run here; `None` if they can.
#[must_use]
pub fn no_daemons() -> Option<String> {
    if let Some(obstacle) = no_namespaces() {
        return Some(obstacle.to_owned());
    }
    let missing = |installed: bool, package| (!installed).then_some(package);
    let packages: Vec<&str> = [
        missing(Path::new(DAEMON).is_file(), "jami-daemon"),
        missing(find_program("dhtnode").is_some(), "dhtnode"),
        missing(find_program("dbus-daemon").is_some(), "dbus-daemon"),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!packages.is_empty()).then(|| format!("not installed (apt-get install {})", packages.join(" ")))
}

/// The version of the installed daemon, as it says itself: `13.7.0`. Empty if there is none.
#[must_use]
pub fn daemon_version() -> String {
    said_version(&run_to_end(Command::new(DAEMON).arg("--version")).unwrap_or_default())
}

/// From `Jami Daemon 13.7.0, by …`.
fn said_version(text: &str) -> String {
    let rest = text.split_once("Jami Daemon ").map_or("", |(_, rest)| rest);
    rest.split(',').next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_what_the_daemon_says() {
        assert_eq!(
            said_version("Jami Daemon 13.7.0, by Savoir-faire Linux Inc.\nhttps://jami.net/"),
            "13.7.0"
        );
        assert_eq!(said_version(""), "");
    }
}
