//! A network of our own.
//!
//! ```text
//!   namespace HUB          bridge 10.78.0.1/24
//!                            |          |
//!   namespaces of nodes   10.78.0.2  10.78.0.3  ...   (one end of a veth pair each)
//! ```
//!
//! No namespace is joined to the machine's network, so nothing can leave it and its addresses cannot
//! clash with any. Needs root; without, nodes share the loopback interface, each with an address of
//! its own in 127.78.0.0/16, and what needs a namespace is not measured.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use crate::process::{find_program, run};
use crate::{BenchError, Result};

/// Port of the DHT at every place.
pub(crate) const DHT_PORT: u16 = 4222;

/// A network; its namespaces are deleted when it is dropped.
#[derive(Debug)]
pub(crate) struct Network {
    /// What namespaces are called before the dash; `None` on loopback.
    tag: Option<String>,
    namespaces: Vec<String>,
    hosts: u8,
}

/// Where a node runs.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    namespace: Option<String>,
    /// Its address.
    pub(crate) address: Ipv4Addr,
}

/// Why there can be no namespaces; `None` if there can.
pub(crate) fn obstacle() -> Option<&'static str> {
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
    pub(crate) fn loopback() -> Self {
        Self { tag: None, namespaces: Vec::new(), hosts: 1 }
    }

    /// Nodes in namespaces of their own. First deletes those of runs that were killed.
    pub(crate) fn private() -> Result<Self> {
        delete_orphans()?;
        let tag = format!("skep{}", std::process::id());
        let mut network = Self { tag: Some(tag), namespaces: Vec::new(), hosts: 1 };
        let hub = network.add_namespace("hub")?;
        ip(&["-n", &hub, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &hub, "addr", "add", "10.78.0.1/24", "dev", "br0"])?;
        ip(&["-n", &hub, "link", "set", "br0", "up"])?;
        // So that the hub answers "unreachable" at once for addresses outside.
        in_namespace(&hub, "sh").args(["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]).status().ok();
        Ok(network)
    }

    /// Namespaces if possible, else loopback.
    pub(crate) fn best() -> Result<Self> {
        if obstacle().is_none() { Self::private() } else { Ok(Self::loopback()) }
    }

    /// Whether every place has a network interface of its own.
    pub(crate) fn is_private(&self) -> bool {
        self.tag.is_some()
    }

    /// A place for one more node.
    pub(crate) fn place(&mut self, name: &str) -> Result<Place> {
        self.hosts = self.hosts.checked_add(1).ok_or_else(|| BenchError::Missing {
            what: "a free address".to_owned(),
            remedy: "a network has room for 253 nodes".to_owned(),
        })?;
        let host = self.hosts;
        let Some(hub) = self.tag.as_ref().map(|tag| format!("{tag}-hub")) else {
            return Ok(Place { namespace: None, address: Ipv4Addr::new(127, 78, 0, host) });
        };
        let namespace = self.add_namespace(name)?;
        let address = Ipv4Addr::new(10, 78, 0, host);
        let port = format!("v{host}");
        let pair = ["type", "veth", "peer", "name", "eth0", "netns", &namespace];
        ip(&[&["link", "add", &port, "netns", &hub], &pair[..]].concat())?;
        ip(&["-n", &hub, "link", "set", &port, "master", "br0", "up"])?;
        ip(&["-n", &namespace, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
        ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
        ip(&["-n", &namespace, "route", "add", "default", "via", "10.78.0.1"])?;
        Ok(Place { namespace: Some(namespace), address })
    }

    fn add_namespace(&mut self, name: &str) -> Result<String> {
        let namespace = format!("{}-{name}", self.tag.as_deref().unwrap_or_default());
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
    /// A command that runs here.
    pub(crate) fn command(&self, program: &str) -> Command {
        match &self.namespace {
            Some(namespace) => in_namespace(namespace, program),
            None => Command::new(program),
        }
    }

    /// Packets sent and received over the interface of this place so far; `None` on loopback.
    pub(crate) fn packets(&self) -> Result<Option<u64>> {
        let Some(namespace) = &self.namespace else { return Ok(None) };
        let text = ip(&["-n", namespace, "-s", "-j", "link", "show", "eth0"])?;
        let links: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let count = |way: &str| links.pointer(&format!("/0/stats64/{way}/packets"))?.as_u64();
        Ok(count("rx").zip(count("tx")).map(|(received, sent)| received.saturating_add(sent)))
    }

    /// Breaks every TCP connection between here and `other`, except those of the DHT; both ends
    /// notice at once. Returns false on loopback, where this is not done.
    pub(crate) fn cut_links(&self, other: &Self) -> Result<bool> {
        if self.namespace.is_none() {
            return Ok(false);
        }
        let filter = format!("dst {} and not ( sport = :{DHT_PORT} or dport = :{DHT_PORT} )", other.address);
        run(self.command("ss").args(["-H", "-K", "-t", &filter]))?;
        Ok(true)
    }
}

fn in_namespace(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

fn ip(arguments: &[&str]) -> Result<String> {
    run(Command::new("ip").args(arguments))
}

/// Deletes the namespaces of runs that were killed; their processes have ended with them.
fn delete_orphans() -> Result<()> {
    for line in ip(&["netns", "list"])?.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        if owner(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            ip(&["netns", "del", name])?;
        }
    }
    Ok(())
}

/// The process that made the namespace of this name, if it is one of ours.
fn owner(namespace: &str) -> Option<u32> {
    namespace.strip_prefix("skep")?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaces_of_this_program_are_taken_for_its_own() {
        assert_eq!(owner("skep4711-hub"), Some(4711));
        assert_eq!(owner("skep-hub"), None);
        assert_eq!(owner("other4711-hub"), None);
    }

    #[test]
    fn places_on_loopback_have_addresses_of_their_own() {
        let mut network = Network::loopback();
        let (one, other) = (network.place("one").unwrap(), network.place("other").unwrap());
        assert_ne!(one.address, other.address);
        assert!(one.address.is_loopback());
        assert_eq!(one.packets().unwrap(), None);
    }

    #[test]
    fn namespaces_see_each_other_and_are_gone_afterwards() {
        if let Some(obstacle) = obstacle() {
            println!("skipped: {obstacle}");
            return;
        }
        let mut network = Network::private().unwrap();
        let (one, other) = (network.place("one").unwrap(), network.place("other").unwrap());
        let route = run(one.command("ip").args(["route", "get", &other.address.to_string()])).unwrap();
        assert!(route.contains("dev eth0"), "{route}");
        assert!(one.packets().unwrap().is_some());
        assert!(one.cut_links(&other).unwrap());
        let tag = network.tag.clone().unwrap();
        drop(network);
        assert!(!ip(&["netns", "list"]).unwrap().contains(&tag));
    }
}
