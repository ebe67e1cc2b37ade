//! A `dhtnode`, the node of OpenDHT's own, and its console.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use super::console::Console;
use crate::harness::{DHT_PORT, Failure, PATIENCE, Place, Result, find_program, usage};

/// The program.
const PROGRAM: &str = "dhtnode";

/// A running `dhtnode`, killed when dropped.
#[derive(Debug)]
pub struct DhtNode {
    console: Console,
    address: SocketAddr,
    key_id: String,
}

impl DhtNode {
    /// Whether there is one to be started.
    #[must_use]
    pub fn is_installed() -> bool {
        find_program(PROGRAM).is_some()
    }

    /// A port that nobody has on this machine now.
    ///
    /// # Errors
    /// [`Failure::File`] when the system has none.
    pub fn free_port() -> Result<u16> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| socket.local_addr());
        Ok(socket.map_err(Failure::file(Path::new("a UDP socket")))?.port())
    }

    /// Starts one on loopback, with a key of its own, which takes it a moment to make, and waits until it
    /// runs.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be started or does not say that it runs.
    pub async fn start(port: u16, bootstrap: Option<&str>) -> Result<Self> {
        let options: Vec<&str> = bootstrap.into_iter().flat_map(|address| ["-b", address]).collect();
        Self::start_at(&Place::loopback(), port, &options).await
    }

    /// As [`Self::start`], at a place of a network and with these options.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_at(place: &Place, port: u16, options: &[&str]) -> Result<Self> {
        let mut node = Self::launch(place, port, &[&["-i"], options].concat())?;
        node.key_id =
            node.until("its key", |line| line.strip_prefix("Public key ID ").map(str::to_owned)).await?;
        Ok(node)
    }

    /// Starts one without a key at a place of a network, where it has the usual port, and waits until it
    /// runs.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_without_key(place: &Place, bootstrap: Option<&str>) -> Result<Self> {
        let options: Vec<&str> = bootstrap.into_iter().flat_map(|address| ["-b", address]).collect();
        let mut node = Self::launch(place, DHT_PORT, &options)?;
        node.until("that it runs", |line| line.contains(" running on port ").then_some(())).await?;
        Ok(node)
    }

    fn launch(place: &Place, port: u16, options: &[&str]) -> Result<Self> {
        let number = port.to_string();
        let console = Console::start(place, Path::new(PROGRAM), &[&["-p", &number], options].concat())?;
        let address = SocketAddr::from((place.address, port));
        Ok(Self { console, address, key_id: String::new() })
    }

    /// Where others join.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// The memory its process uses now, in bytes.
    ///
    /// # Errors
    /// [`Failure`] when it has ended.
    pub fn resident(&self) -> Result<usize> {
        usage::resident(self.console.process()?)
    }

    /// The processor time its process has used so far, without the thread that reads its console: that
    /// thread edits the line with every letter that comes, which is no work of the DHT.
    ///
    /// # Errors
    /// [`Failure`] when it has ended.
    pub fn processor_time(&self) -> Result<Duration> {
        usage::processor_time_without_main(self.console.process()?)
    }

    /// The id of its key, in hexadecimal digits; empty without one.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Passes over what it has printed and nobody has read: late answers to commands before, which the
    /// next one must not take for its own.
    pub fn skip_waiting(&mut self) {
        self.console.skip_waiting();
    }

    /// Types a line.
    ///
    /// # Errors
    /// [`Failure::File`] when it has ended.
    pub async fn command(&mut self, line: &str) -> Result<()> {
        self.console.command(line).await
    }

    /// Reads what it prints until `find` finds something in a line. What it repeats of what was typed
    /// is left out.
    ///
    /// # Errors
    /// [`Failure::Timeout`] after [`PATIENCE`], or when it ends before.
    pub async fn until<T>(&mut self, expected: &str, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        self.console.until(expected, |line| find(answer(line)?)).await
    }

    /// As [`Self::until`], but `None` if there is nothing within this time.
    pub async fn within<T>(&mut self, time: Duration, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.console.within(time, |line| find(answer(line)?)).await
    }

    /// Asks for the values at a key until there is a line with this text.
    ///
    /// # Errors
    /// [`Failure::Timeout`] after some tries.
    pub async fn get_until(&mut self, key: &str, text: &str) -> Result<String> {
        for _ in 0..TRIES {
            self.command(&format!("g {key}")).await?;
            let found = self.within(PATIENCE / TRIES, |line| line.contains(text).then(|| line.to_owned()));
            if let Some(line) = found.await {
                return Ok(line);
            }
        }
        let expected = format!("a value with {:?} at {key}", text.chars().take(40).collect::<String>());
        Err(Failure::Timeout { node: PROGRAM.to_owned(), expected, within: PATIENCE })
    }
}

/// What it says in a line; `None` if it repeats what was typed.
fn answer(line: &str) -> Option<&str> {
    let echo = line.starts_with(">> ") && line.len() > 5 && line.as_bytes().get(4) == Some(&b' ');
    (!echo).then(|| line.trim_start_matches(">> "))
}

/// How often a value is asked for before it counts as absent.
const TRIES: u32 = 6;
