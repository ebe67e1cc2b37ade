//! Debian's `jamid` as a [`Messenger`], to compare with.
//!
//! Each daemon has a session bus, a home and XDG folders of its own, and never hears of the
//! machine's. Its accounts are set up for the private network alone: no TURN, STUN, UPnP, DHT proxy,
//! local discovery or public name server. A `dhtnode` at a place of its own is the bootstrap.

mod bus;
mod signal;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::messenger::{Account, Messenger, PATIENCE, refused};
use crate::network::{self, DHT_PORT, Network, Place};
use crate::process::{Process, find_program, run};
use crate::{BenchError, Result};

use bus::Bus;
use signal::Signal;

/// Where Debian installs the daemon; it is not on the `PATH`.
const DAEMON: &str = "/usr/libexec/jamid";

/// How long a socket may take to appear.
const START: Duration = Duration::from_secs(15);

/// Member event: the member has joined.
const JOINED: i32 = 1;

/// A daemon with its bus.
#[derive(Debug)]
pub(crate) struct Daemon {
    name: String,
    place: Place,
    bootstrap: String,
    // In this order, the bus outlives the daemon.
    bus: Bus,
    process: Process,
    _bus_process: Process,
}

/// The bootstrap of a network of daemons.
#[derive(Debug)]
pub(crate) struct Bootstrap {
    address: String,
    _process: Process,
}

/// Why daemons cannot run here; `None` if they can.
pub(crate) fn obstacle() -> Option<String> {
    if let Some(obstacle) = network::obstacle() {
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
    (!packages.is_empty()).then(|| format!("not there (apt-get install {})", packages.join(" ")))
}

/// The version of the installed package; empty if it did not come as one.
pub(crate) fn version() -> String {
    let mut query = std::process::Command::new("dpkg-query");
    run(query.args(["--show", "--showformat", "${Version}", "jami-daemon"])).unwrap_or_default()
}

impl Bootstrap {
    /// Starts a `dhtnode`.
    pub(crate) fn start(network: &mut Network, folder: &Path) -> Result<Self> {
        let place = network.place("dhtnode")?;
        let address = format!("{}:{DHT_PORT}", place.address);
        let port = DHT_PORT.to_string();
        // With -s it serves instead of reading commands.
        let arguments = ["-p", &port, "-s"];
        let log = folder.join("dhtnode.log");
        let process = Process::start(&place, Path::new("dhtnode"), &arguments, &[], &log)?;
        Ok(Self { address, _process: process })
    }
}

impl Daemon {
    /// Starts a daemon with its bus; its files go below `folder`.
    pub(crate) async fn start(
        network: &mut Network,
        bootstrap: &Bootstrap,
        name: &str,
        folder: &Path,
    ) -> Result<Self> {
        let place = network.place(name)?;
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).map_err(BenchError::file(&folder))?;
        let socket = folder.join("bus");
        let configuration = folder.join("bus.conf");
        std::fs::write(&configuration, bus::configuration(&socket))
            .map_err(BenchError::file(&configuration))?;
        let variables = variables(&folder, &socket);
        let arguments = [format!("--config-file={}", configuration.display()), "--nofork".to_owned()];
        let program = Path::new("dbus-daemon");
        let bus_process = Process::start(&place, program, &arguments, &variables, &folder.join("dbus.log"))?;
        wait_for(name, &socket).await?;
        // -c writes the log to the terminal, -p keeps running without clients.
        let log = folder.join("jamid.log");
        let process = Process::start(&place, Path::new(DAEMON), &["-c", "-p"], &variables, &log)?;
        let bus = Bus::connect(name, &socket).await?;
        let name = name.to_owned();
        Ok(Self {
            name,
            place,
            bootstrap: bootstrap.address.clone(),
            bus,
            process,
            _bus_process: bus_process,
        })
    }

    fn settings(&self, name: &str) -> [(&'static str, String); 19] {
        let off = || "false".to_owned();
        [
            ("Account.type", "RING".to_owned()),
            ("Account.alias", name.to_owned()),
            ("Account.displayName", name.to_owned()),
            ("Account.hostname", self.bootstrap.clone()),
            ("Account.bootstrapListUrl", String::new()),
            ("Account.upnpEnabled", off()),
            ("Account.proxyEnabled", off()),
            ("Account.dhtProxyListUrl", String::new()),
            ("Account.proxyServer", String::new()),
            ("Account.peerDiscovery", off()),
            ("Account.accountDiscovery", off()),
            ("Account.accountPublish", off()),
            ("Account.videoEnabled", off()),
            ("Account.ringtoneEnabled", off()),
            ("TURN.enable", off()),
            ("TURN.server", String::new()),
            ("STUN.enable", off()),
            ("STUN.server", String::new()),
            // Nobody listens there, so look-ups fail at once.
            ("RingNS.uri", "http://10.78.0.1:9".to_owned()),
        ]
    }
}

impl Messenger for Daemon {
    fn place(&self) -> &Place {
        &self.place
    }

    fn resident_megabytes(&self) -> f64 {
        self.process.resident_megabytes()
    }

    async fn create_account(&mut self, name: &str) -> Result<Account> {
        let mut details: HashMap<String, String> = self.bus.call("getAccountTemplate", &"RING").await?;
        details.extend(self.settings(name).map(|(key, value)| (key.to_owned(), value)));
        let mark = self.bus.log.mark();
        let local: String = self.bus.call("addAccount", &(details,)).await?;
        let announced = |signal: &Signal| {
            matches!(signal, Signal::Announced { account } if *account == local).then_some(())
        };
        self.bus.log.wait(mark, "announced account", PATIENCE, announced).await?;
        let details: HashMap<String, String> = self.bus.call("getAccountDetails", &local.as_str()).await?;
        let user = details.get("Account.username").map(String::as_str).unwrap_or_default();
        let id = user.trim_start_matches("ring:").trim_start_matches("jami:").to_owned();
        if id.is_empty() {
            return Err(refused(&self.name, "getAccountDetails", "the account has no id"));
        }
        Ok(Account { local, id })
    }

    async fn add_contact(&mut self, own: &Account, contact: &str) -> Result<()> {
        self.bus.call::<_, ()>("addContact", &(&own.local, contact)).await?;
        let no_profile: &[u8] = &[];
        self.bus.call("sendTrustRequest", &(&own.local, contact, no_profile)).await
    }

    async fn request(&mut self, own: &Account, from: &str) -> Result<String> {
        let asked = |signal: &Signal| match signal {
            Signal::TrustRequest { account, conversation, from: sender }
                if *account == own.local && sender == from =>
            {
                Some(conversation.clone())
            }
            _ => None,
        };
        let log = &self.bus.log;
        let (_, conversation) = log.wait(bus::BEGINNING, "trust request", PATIENCE, asked).await?;
        // Accepted before this, the conversation would never be cloned.
        let noted = |signal: &Signal| {
            let Signal::ConversationRequest { account, conversation: asked } = signal else { return None };
            (*account == own.local && *asked == conversation).then_some(())
        };
        log.wait(bus::BEGINNING, "conversation request", PATIENCE, noted).await?;
        Ok(conversation)
    }

    async fn accept(&mut self, own: &Account, from: &str) -> Result<()> {
        let accepted: bool = self.bus.call("acceptTrustRequest", &(&own.local, from)).await?;
        accepted.then_some(()).ok_or_else(|| refused(&self.name, "acceptTrustRequest", "answered false"))
    }

    async fn ready(&mut self, own: &Account, conversation: &str) -> Result<Instant> {
        let ready = |signal: &Signal| {
            let Signal::Ready { account, conversation: found } = signal else { return None };
            (*account == own.local && found == conversation).then_some(())
        };
        Ok(self.bus.log.wait(bus::BEGINNING, "cloned conversation", PATIENCE, ready).await?.0)
    }

    async fn joined(&mut self, own: &Account, conversation: &str, member: &str) -> Result<()> {
        let joined = |signal: &Signal| match signal {
            Signal::Member { account, conversation: found, member: who, event }
                if *account == own.local && found == conversation && who == member && *event == JOINED =>
            {
                Some(())
            }
            _ => None,
        };
        self.bus.log.wait(bus::BEGINNING, "joined member", PATIENCE, joined).await.map(|_| ())
    }

    async fn send(&mut self, own: &Account, conversation: &str, text: &str) -> Result<()> {
        // Later versions want to know whether it is a message, an edit or a reaction.
        if self.bus.arguments("sendMessage") > 4 {
            self.bus.call("sendMessage", &(&own.local, conversation, text, "", 0_i32)).await
        } else {
            self.bus.call("sendMessage", &(&own.local, conversation, text, "")).await
        }
    }

    async fn received(&mut self, own: &Account, conversation: &str, text: &str) -> Result<Instant> {
        let received = |signal: &Signal| match signal {
            Signal::Message { account, conversation: found, body }
                if *account == own.local && found == conversation && body == text =>
            {
                Some(())
            }
            _ => None,
        };
        Ok(self.bus.log.wait(bus::BEGINNING, "message", PATIENCE, received).await?.0)
    }
}

/// The whole environment of a daemon and its bus.
fn variables(folder: &Path, socket: &Path) -> Vec<(&'static str, String)> {
    let below = |path: &str| folder.join(path).display().to_string();
    vec![
        ("HOME", below("home")),
        ("XDG_CONFIG_HOME", below("home/.config")),
        ("XDG_DATA_HOME", below("home/.local/share")),
        ("XDG_CACHE_HOME", below("home/.cache")),
        ("XDG_RUNTIME_DIR", below("")),
        ("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", socket.display())),
        // There is none; without this it would start one.
        ("PULSE_SERVER", format!("unix:{}", below("no-sound"))),
        ("LC_ALL", "C.UTF-8".to_owned()),
    ]
}

async fn wait_for(node: &str, socket: &Path) -> Result<()> {
    let begin = Instant::now();
    while !socket.exists() {
        if begin.elapsed() > START {
            let event = format!("socket {}", socket.display());
            return Err(BenchError::Timeout { node: node.to_owned(), event, within: START });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
