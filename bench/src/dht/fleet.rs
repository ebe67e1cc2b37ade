//! A network of a hundred nodes, half of them `dhtnode`, each a process in a namespace of its own.
//!
//! ```text
//!   hub, with the delay line ──┬── dhtnode, everybody's bootstrap
//!                              ├── 49 × dhtnode      the first few are measured
//!                              ├── 50 × skep run     the first few are measured
//!   skep run, dhtnode          alone: they know of nobody, to compare memory with
//! ```
//!
//! Where there are no namespaces or there is no `dhtnode`, only the nodes of Skep are there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use skep_tests::daemon::{Bootstrap, Daemon, DhtNode};
use skep_tests::harness::{DHT_PORT, DelayLine, Failure, Network, NodeSetup, Place, Result, no_namespaces};

use super::peer::SkepPeer;
use crate::skep::SkepNode;

/// Time of a packet from one node to another while the links are slow.
pub(crate) const ONE_WAY: Duration = Duration::from_millis(10);

/// Time for the nodes to get to know each other: they look for neighbours every 5 to 25 s at first.
pub(crate) const SETTLE: Duration = Duration::from_secs(40);

/// Nodes started at the same time: they share the processors.
const STARTED_AT_ONCE: usize = 10;

/// The network. Dropped, it leaves nothing.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// The nodes of Skep.
    pub(crate) skeps: Vec<SkepPeer>,
    /// The `dhtnode`s, beside the bootstrap.
    pub(crate) daemons: Vec<DhtNode>,
    /// A node of Skep without a network.
    pub(crate) alone: SkepPeer,
    /// And a `dhtnode` without one.
    pub(crate) daemon_alone: Option<DhtNode>,
    bootstrap: Option<Bootstrap>,
    address: String,
    line: Option<DelayLine>,
    /// Between which the round trip time is measured.
    ends: [Place; 2],
    folder: PathBuf,
    // After those who live in it.
    network: Network,
}

impl Fleet {
    /// Starts `each` nodes of each kind.
    pub(crate) async fn start(each: usize, folder: &Path) -> Result<Self> {
        let mut network = Network::best()?;
        let private = no_namespaces().is_none();
        let line = if private && DelayLine::obstacle().is_none() {
            Some(DelayLine::lay(&network, ONE_WAY, folder).await?)
        } else {
            None
        };
        let first = place(&mut network, line.as_ref(), "first")?;
        let bootstrap = (private && DhtNode::is_installed()).then(|| Bootstrap::start(&first, folder));
        let bootstrap = bootstrap.transpose()?;
        let mut skeps = Vec::new();
        let mut address = format!("{}:{DHT_PORT}", first.address);
        if bootstrap.is_none() {
            let setup = NodeSetup::new("first", folder).at(first.clone()).on("opendht");
            skeps.push(SkepPeer::start(setup).await?);
        }
        let mut daemons = Vec::new();
        if let Some(bootstrap) = &bootstrap {
            bootstrap.address().clone_into(&mut address);
            for number in 1..each {
                let place = place(&mut network, line.as_ref(), &format!("dhtnode{number}"))?;
                daemons.push(DhtNode::start_without_key(&place, Some(&address)).await?);
            }
        }
        let mut last = first.clone();
        let mut setups = Vec::new();
        for number in skeps.len()..each {
            let name = format!("skep{number}");
            last = place(&mut network, line.as_ref(), &name)?;
            let setup = NodeSetup::new(&name, folder).at(last.clone());
            setups.push(setup.on("opendht").joining(&address));
        }
        while !setups.is_empty() {
            let batch = setups.drain(..STARTED_AT_ONCE.min(setups.len())).map(SkepPeer::start);
            skeps.extend(futures::future::try_join_all(batch).await?);
        }
        let setup = NodeSetup::new("alone", folder).at(network.place("alone")?).on("opendht");
        let alone = SkepPeer::start(setup).await?;
        let daemon_alone = match &bootstrap {
            Some(_) => Some(DhtNode::start_without_key(&network.place("alone2")?, None).await?),
            None => None,
        };
        tokio::time::sleep(SETTLE).await;
        let (ends, folder) = ([first, last], folder.to_owned());
        Ok(Self { skeps, daemons, alone, daemon_alone, bootstrap, address, line, ends, folder, network })
    }

    /// Whether its links can be slowed down.
    pub(crate) const fn has_slow_links(&self) -> bool {
        self.line.is_some()
    }

    /// Makes all links slow, or fast again.
    pub(crate) fn slow_links(&self, slow: bool) -> Result<()> {
        self.line.as_ref().map_or(Ok(()), |line| line.switch(slow))
    }

    /// The time of a round trip between two of its nodes now.
    pub(crate) fn round_trip(&self) -> Result<Duration> {
        let [from, to] = &self.ends;
        DelayLine::round_trip(from, to)
    }

    /// One more node of Skep, for accounts.
    pub(crate) async fn person(&mut self, name: &str) -> Result<SkepNode> {
        let place = place(&mut self.network, self.line.as_ref(), name)?;
        SkepNode::on_opendht(place, &self.address, name, &self.folder).await
    }

    /// A real daemon.
    pub(crate) async fn daemon(&mut self, name: &str) -> Result<Daemon> {
        let place = place(&mut self.network, self.line.as_ref(), name)?;
        let bootstrap = self.bootstrap.as_ref();
        let bootstrap = bootstrap.ok_or_else(|| Failure::Expected("a dhtnode to join through".to_owned()))?;
        Daemon::start(place, bootstrap, name, &self.folder).await
    }
}

fn place(network: &mut Network, line: Option<&DelayLine>, name: &str) -> Result<Place> {
    let place = network.place(name)?;
    line.map_or(Ok(()), |line| line.connect(&place))?;
    Ok(place)
}
