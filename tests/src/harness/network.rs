//! A network of our own.
//!
//! ```text
//!   namespace HUB          bridge 10.78.0.1/24
//!                            |          |
//!   namespaces of nodes   10.78.0.2  10.78.0.3  ...   (one end of a veth pair each)
//! ```
//!
//! No namespace is joined to the machine's network or to another network of ours, so nothing can leave
//! it, its addresses cannot clash with any, and many can be used at once. Needs root; without, nodes
//! share the loopback interface, each with an address of its own in 127.78.0.0/16.

use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::OnceLock;

use super::{Failure, Owner, Result, find_program, run_to_end};

/// Port of the DHT at every place.
pub const DHT_PORT: u16 = 4222;

/// Address of the hub, which forwards nothing.
pub const HUB: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);

/// Most nodes in namespaces of which each may talk to each.
const MOST_IN_NAMESPACES: usize = 30;

/// What joins all places, in the hub.
const BRIDGE: &str = "br0";

/// What joins those that are parted from the others.
const OTHER_BRIDGE: &str = "br1";

/// A network; its namespaces are deleted when it is dropped.
#[derive(Debug)]
pub struct Network {
    /// `None` on loopback.
    owner: Option<Owner>,
    namespaces: Vec<String>,
    hosts: u8,
}

/// Where a node runs.
#[derive(Clone, Debug)]
pub struct Place {
    namespace: Option<String>,
    /// Its address.
    pub address: Ipv4Addr,
}

/// Why there can be no namespaces; `None` if there can.
#[must_use]
pub fn no_namespaces() -> Option<&'static str> {
    static FOUND: OnceLock<Option<&str>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        if !rustix::process::geteuid().is_root() {
            Some("network namespaces need root")
        } else if find_program("ip").is_none() || find_program("ss").is_none() {
            Some("network namespaces need iproute2 (apt-get install iproute2)")
        } else if Network::private().is_err() {
            // As in most containers.
            Some("network namespaces are not allowed here, even for root")
        } else {
            None
        }
    })
}

impl Network {
    /// Nodes on the loopback interface.
    #[must_use]
    pub const fn loopback() -> Self {
        Self { owner: None, namespaces: Vec::new(), hosts: 1 }
    }

    /// Nodes in namespaces of their own. First deletes those of processes that were killed.
    ///
    /// # Errors
    /// [`Failure::Command`] when the system does not allow it; see [`no_namespaces`].
    pub fn private() -> Result<Self> {
        let _alone = alone()?;
        delete_orphans()?;
        let mut network = Self { owner: Some(Owner::this()?), namespaces: Vec::new(), hosts: 1 };
        let hub = network.add_namespace("hub")?;
        ip(&["-n", &hub, "link", "add", BRIDGE, "type", "bridge"])?;
        ip(&["-n", &hub, "addr", "add", &format!("{HUB}/24"), "dev", BRIDGE])?;
        ip(&["-n", &hub, "link", "set", BRIDGE, "up"])?;
        // So that the hub answers "unreachable" at once for addresses outside.
        in_namespace(&hub, "sh").args(["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]).status().ok();
        Ok(network)
    }

    /// Namespaces if possible, else loopback.
    ///
    /// # Errors
    /// As [`Self::private`].
    pub fn best() -> Result<Self> {
        if no_namespaces().is_none() { Self::private() } else { Ok(Self::loopback()) }
    }

    /// As [`Self::best`], but loopback also for more nodes than can all talk to each other in namespaces:
    /// some thirty, for Linux remembers 1,024 neighbours of all namespaces together unless told otherwise,
    /// and loses packets beyond.
    ///
    /// # Errors
    /// As [`Self::private`].
    pub fn for_nodes(count: usize) -> Result<Self> {
        if count <= MOST_IN_NAMESPACES { Self::best() } else { Ok(Self::loopback()) }
    }

    /// A place for one more node.
    ///
    /// # Errors
    /// [`Failure`] when the network is full or the system does not allow it.
    pub fn place(&mut self, name: &str) -> Result<Place> {
        self.hosts = self.hosts.checked_add(1).ok_or(Failure::NetworkFull)?;
        let host = self.hosts;
        let Some(hub) = self.owner.map(|owner| owner.name("hub")) else {
            return Ok(Place { namespace: None, address: Ipv4Addr::new(127, 78, 0, host) });
        };
        let namespace = self.add_namespace(name)?;
        let address = Ipv4Addr::new(10, 78, 0, host);
        let port = port(address);
        let pair = ["type", "veth", "peer", "name", "eth0", "netns", &namespace];
        ip(&[&["link", "add", &port, "netns", &hub], &pair[..]].concat())?;
        ip(&["-n", &hub, "link", "set", &port, "master", BRIDGE, "up"])?;
        ip(&["-n", &namespace, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
        ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
        ip(&["-n", &namespace, "route", "add", "default", "via", &HUB.to_string()])?;
        Ok(Place { namespace: Some(namespace), address })
    }

    /// Parts these places from all others: what either side sends to the other vanishes. Returns false on
    /// loopback, where this is not done.
    ///
    /// # Errors
    /// [`Failure::Command`] when the namespace is gone.
    pub fn part<'a>(&self, places: impl IntoIterator<Item = &'a Place>) -> Result<bool> {
        let Some(owner) = self.owner else { return Ok(false) };
        let hub = owner.name("hub");
        if ip(&["-n", &hub, "link", "show", OTHER_BRIDGE]).is_err() {
            ip(&["-n", &hub, "link", "add", OTHER_BRIDGE, "type", "bridge"])?;
            ip(&["-n", &hub, "link", "set", OTHER_BRIDGE, "up"])?;
        }
        for place in places {
            ip(&["-n", &hub, "link", "set", &port(place.address), "master", OTHER_BRIDGE])?;
        }
        Ok(true)
    }

    /// Joins these places to the others again.
    ///
    /// # Errors
    /// [`Failure::Command`] when the namespace is gone.
    pub fn heal<'a>(&self, places: impl IntoIterator<Item = &'a Place>) -> Result<()> {
        let Some(owner) = self.owner else { return Ok(()) };
        let hub = owner.name("hub");
        for place in places {
            ip(&["-n", &hub, "link", "set", &port(place.address), "master", BRIDGE])?;
        }
        Ok(())
    }

    /// Where packets between places can be forwarded; `None` on loopback.
    #[must_use]
    pub fn hub(&self) -> Option<Place> {
        self.owner.map(|owner| Place { namespace: Some(owner.name("hub")), address: HUB })
    }

    fn add_namespace(&mut self, name: &str) -> Result<String> {
        let namespace = self.owner.map(|owner| owner.name(name)).unwrap_or_default();
        ip(&["netns", "add", &namespace])?;
        self.namespaces.push(namespace.clone());
        // IPv6 would add neighbour and router discovery to the packets counted.
        let quiet = "for what in all default; do echo 1 > /proc/sys/net/ipv6/conf/$what/disable_ipv6; done";
        in_namespace(&namespace, "sh").args(["-c", quiet]).status().ok();
        ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
        Ok(namespace)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in self.namespaces.drain(..).rev() {
            let _ = ip(&["netns", "del", &namespace]);
        }
    }
}

impl Place {
    /// The loopback interface, where all share one address.
    #[must_use]
    pub const fn loopback() -> Self {
        Self { namespace: None, address: Ipv4Addr::LOCALHOST }
    }

    /// A command that runs here.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        match &self.namespace {
            Some(namespace) => in_namespace(namespace, program),
            None => Command::new(program),
        }
    }

    /// Lets IPv6 be spoken here, which is off at first, and returns the address that this place has from
    /// then on.
    ///
    /// # Errors
    /// [`Failure::Command`] when the system has no IPv6, or on loopback.
    pub fn speak_ipv6(&self) -> Result<Ipv6Addr> {
        let [.., host] = self.address.octets();
        let address = Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, host.into());
        // Nobody else can have the address, so there is no need to wait whether somebody complains.
        let loud = "cd /proc/sys/net/ipv6/conf && echo 0 > all/accept_dad && echo 0 > default/accept_dad \
                    && echo 0 > eth0/accept_dad && echo 0 > all/disable_ipv6 && echo 0 > eth0/disable_ipv6";
        run_to_end(self.command("sh").args(["-ec", loud]))?;
        let add = ["-6", "addr", "add", &format!("{address}/64"), "dev", "eth0", "nodad"];
        run_to_end(self.command("ip").args(add))?;
        Ok(address)
    }

    /// Packets sent and received over the interface of this place so far; `None` on loopback.
    ///
    /// # Errors
    /// [`Failure::Command`] when the namespace is gone.
    pub fn packets(&self) -> Result<Option<u64>> {
        let Some(namespace) = &self.namespace else { return Ok(None) };
        let text = ip(&["-n", namespace, "-s", "-j", "link", "show", "eth0"])?;
        let links: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let count = |way: &str| links.pointer(&format!("/0/stats64/{way}/packets"))?.as_u64();
        Ok(count("rx").zip(count("tx")).map(|(received, sent)| received.saturating_add(sent)))
    }

    /// Breaks every TCP connection between here and `other`, except those of the DHT; both ends
    /// notice at once. Returns false on loopback, where this is not done.
    ///
    /// # Errors
    /// [`Failure::Command`] when the namespace is gone.
    pub fn cut_links(&self, other: &Self) -> Result<bool> {
        if self.namespace.is_none() {
            return Ok(false);
        }
        let filter = format!("dst {} and not ( sport = :{DHT_PORT} or dport = :{DHT_PORT} )", other.address);
        run_to_end(self.command("ss").args(["-H", "-K", "-t", &filter]))?;
        Ok(true)
    }
}

/// The end in the hub of the link to the place of this address.
fn port(address: Ipv4Addr) -> String {
    let [.., host] = address.octets();
    format!("v{host}")
}

fn in_namespace(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

fn ip(arguments: &[&str]) -> Result<String> {
    run_to_end(Command::new("ip").args(arguments))
}

/// Keeps other processes of ours from making or deleting namespaces: `ip` prepares the folder of all
/// namespaces with the first one, and two that do so at once disturb each other.
fn alone() -> Result<File> {
    let path = std::env::temp_dir().join("skep-namespaces.lock");
    let file = File::options().create(true).append(true).open(&path).map_err(Failure::file(&path))?;
    file.lock().map_err(Failure::file(&path))?;
    Ok(file)
}

/// Deletes the namespaces of processes that were killed; those that ran in them have ended with them.
fn delete_orphans() -> Result<()> {
    for line in ip(&["netns", "list"])?.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        if Owner::of(name).is_some_and(|owner| !owner.is_alive()) {
            ip(&["netns", "del", name])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_on_loopback_have_addresses_of_their_own() {
        let mut network = Network::loopback();
        let (one, other) = (network.place("one").unwrap(), network.place("other").unwrap());
        assert_ne!(one.address, other.address);
        assert!(one.address.is_loopback());
        assert_eq!(one.packets().unwrap(), None);
    }

    #[test]
    #[allow(clippy::print_stderr, reason = "whoever reads the output should know that it was skipped")]
    fn namespaces_see_each_other_and_are_gone_afterwards_and_those_of_the_killed_too() {
        if let Some(obstacle) = no_namespaces() {
            eprintln!("skipped: {obstacle}");
            return;
        }
        let killed = Owner::killed().name("hub");
        let lock = alone().unwrap();
        ip(&["netns", "add", &killed]).unwrap();
        drop(lock);
        let mut network = Network::private().unwrap();
        let (one, other) = (network.place("one").unwrap(), network.place("other").unwrap());
        let route = run_to_end(one.command("ip").args(["route", "get", &other.address.to_string()]));
        assert!(route.unwrap().contains("dev eth0"));
        assert!(one.packets().unwrap().is_some());
        let meets = || {
            // Nobody listens there: who is reached refuses, who is not is waited for.
            let connect = "import socket, sys; s = socket.socket(); s.settimeout(0.3)\n\
                sys.exit(s.connect_ex((sys.argv[1], 9)) != 111)";
            let address = other.address.to_string();
            run_to_end(one.command("/usr/bin/python3").args(["-c", connect, &address])).is_ok()
        };
        if find_program("/usr/bin/python3").is_some() {
            assert!(meets());
            assert!(network.part([&other]).unwrap());
            assert!(!meets());
            network.heal([&other]).unwrap();
            assert!(meets());
        }
        assert!(one.cut_links(&other).unwrap());
        let own = network.namespaces.clone();
        drop(network);
        let left = ip(&["netns", "list"]).unwrap();
        assert!(own.iter().chain([&killed]).all(|name| !left.contains(name)), "{left}");
    }
}
