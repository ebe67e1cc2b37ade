//! Links that take time, where the kernel itself (`tc netem`) cannot slow them down.
//!
//! ```text
//!   place ──► hub ──┬─ off ──────────────► place       every packet between two places goes over the hub
//!                   └─ on ──► delay0 ────► place       a TUN device, whose reader hands it back later
//! ```

use std::path::Path;
use std::time::Duration;

use super::{Failure, HUB, Network, Place, Process, Result, find_program, run_to_end, until};

/// Waits and hands back; the kernel's interface to TUN devices needs a language with `ioctl`.
const PROGRAM: &str = include_str!("delay_line.py");

/// Prints the milliseconds until a machine refuses a connection, which is one round trip.
const ROUND_TRIP: &str = "import socket, sys, time\n\
    begin = time.monotonic()\n\
    socket.socket().connect_ex((sys.argv[1], 9))\n\
    print((time.monotonic() - begin) * 1000)";

/// Round trips of which the shortest counts: a busy machine makes any of them longer, and none shorter.
const ROUND_TRIPS: usize = 5;

/// What runs them.
const PYTHON: &str = "/usr/bin/python3";

/// The TUN device.
const DEVICE: &str = "delay0";

/// The routing table of the hub for delayed packets.
const TABLE: &str = "100";

/// A switch for a delay between all places of a network that were connected to it.
#[derive(Debug)]
pub struct DelayLine {
    hub: Place,
    _process: Process,
}

impl DelayLine {
    /// Why there can be none, beyond what namespaces need; `None` if there can.
    #[must_use]
    pub fn obstacle() -> Option<&'static str> {
        if find_program(PYTHON).is_none() {
            Some("delays need python3 (apt-get install python3)")
        } else if !Path::new("/dev/net/tun").exists() {
            Some("delays need TUN devices, which this machine has not")
        } else {
            None
        }
    }

    /// Puts a line with this delay, for one way, into the hub of a network; it is off.
    ///
    /// # Errors
    /// [`Failure`] when the network has no hub, being on loopback, or the system refuses.
    pub async fn lay(network: &Network, delay: Duration, folder: &Path) -> Result<Self> {
        let hub = network.hub().ok_or_else(|| Failure::Expected("a network with a hub".to_owned()))?;
        let milliseconds = delay.as_millis().to_string();
        let arguments = ["-c", PROGRAM, DEVICE, &milliseconds];
        let log = folder.join("delay.log");
        let process = Process::start("the delay line", &hub, Path::new(PYTHON), &arguments, &[], &log)?;
        until("the hub", format!("the device {DEVICE}; the log is {}", log.display()), async || {
            Ok(run_to_end(hub.command("ip").args(["link", "set", DEVICE, "up"])).ok())
        })
        .await?;
        // Packets come back over the interface that they leave by, from whoever sent them.
        let settings = "for what in all default br0 delay0; do \
            echo 0 > /proc/sys/net/ipv4/conf/$what/rp_filter; \
            echo 0 > /proc/sys/net/ipv4/conf/$what/send_redirects; done";
        run_to_end(hub.command("sh").args(["-c", settings]))?;
        run_to_end(hub.command("ip").args(["route", "add", "default", "dev", DEVICE, "table", TABLE]))?;
        Ok(Self { hub, _process: process })
    }

    /// Leads what `place` sends to others over the hub.
    ///
    /// # Errors
    /// [`Failure::Command`] when the namespace is gone.
    pub fn connect(&self, place: &Place) -> Result<()> {
        let (hub, own) = (HUB.to_string(), place.address.to_string());
        let ip = |arguments: &[&str]| run_to_end(place.command("ip").args(arguments));
        ip(&["route", "replace", &hub, "dev", "eth0", "src", &own])?;
        ip(&["route", "replace", "10.78.0.0/24", "via", &hub, "src", &own])?;
        Ok(())
    }

    /// Switches the delay on or off.
    ///
    /// # Errors
    /// [`Failure::Command`] when the namespace is gone.
    pub fn switch(&self, on: bool) -> Result<()> {
        let what = if on { "add" } else { "del" };
        run_to_end(self.hub.command("ip").args(["rule", what, "iif", "br0", "lookup", TABLE]))?;
        Ok(())
    }

    /// The time of a round trip between two places now: the shortest of some.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be measured.
    pub fn round_trip(from: &Place, to: &Place) -> Result<Duration> {
        let mut shortest = Duration::MAX;
        for _ in 0..ROUND_TRIPS {
            shortest = shortest.min(one_round_trip(from, to)?);
        }
        Ok(shortest)
    }
}

fn one_round_trip(from: &Place, to: &Place) -> Result<Duration> {
    let text = run_to_end(from.command(PYTHON).args(["-c", ROUND_TRIP, &to.address.to_string()]))?;
    let seconds = text.parse::<f64>().ok().map(|milliseconds| milliseconds / 1000.0);
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.ok_or_else(|| Failure::Expected(format!("the time of a round trip, not {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::no_namespaces;

    #[test]
    #[allow(clippy::print_stderr, reason = "whoever reads the output should know that it was skipped")]
    fn packets_between_places_take_as_long_as_the_line_is_and_only_while_it_is_on() {
        if let Some(obstacle) = no_namespaces().or(DelayLine::obstacle()) {
            eprintln!("skipped: {obstacle}");
            return;
        }
        crate::harness::run(async {
            let folder = tempfile::tempdir().unwrap();
            let mut network = Network::private().unwrap();
            let (one, other) = (network.place("one").unwrap(), network.place("other").unwrap());
            let delay = Duration::from_millis(300);
            let line = DelayLine::lay(&network, delay, folder.path()).await.unwrap();
            line.connect(&one).unwrap();
            line.connect(&other).unwrap();
            DelayLine::round_trip(&one, &other).unwrap();
            line.switch(true).unwrap();
            assert!(DelayLine::round_trip(&one, &other).unwrap() >= 2 * delay);
            line.switch(false).unwrap();
            assert!(DelayLine::round_trip(&one, &other).unwrap() < 2 * delay);
        });
    }
}
