//! A `dhtnode`, the node of OpenDHT's own, and its console.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;

use crate::harness::{Failure, PATIENCE, Place, Result, find_program};

/// Lines of the console that wait to be read; what comes beyond waits in the program.
const LINES: usize = 1024;

/// The program.
const PROGRAM: &str = "dhtnode";

/// A running `dhtnode` on this machine, killed when dropped.
#[derive(Debug)]
pub struct DhtNode {
    _child: Child,
    input: ChildStdin,
    lines: mpsc::Receiver<String>,
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
        let number = port.to_string();
        let mut command = Command::from(place.command("setpriv"));
        command.args(["--pdeathsig", "KILL", "--", PROGRAM, "-i", "-p", &number]).args(options);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let program = Path::new(PROGRAM);
        let mut child = command.spawn().map_err(Failure::file(program))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::Expected("a console of dhtnode".to_owned()));
        };
        let (sender, lines) = mpsc::channel(LINES);
        tokio::spawn(async move {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                if sender.send(text).await.is_err() {
                    return;
                }
            }
        });
        let address = SocketAddr::from((place.address, port));
        let mut node = Self { _child: child, input, lines, address, key_id: String::new() };
        node.key_id =
            node.until("its key", |line| line.strip_prefix("Public key ID ").map(str::to_owned)).await?;
        Ok(node)
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

    /// The id of its key, in hexadecimal digits.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Types a line.
    ///
    /// # Errors
    /// [`Failure::File`] when it has ended.
    pub async fn command(&mut self, line: &str) -> Result<()> {
        let line = format!("{line}\n");
        self.input.write_all(line.as_bytes()).await.map_err(Failure::file(Path::new(PROGRAM)))
    }

    /// Reads what it prints until `find` finds something in a line. What it repeats of what was typed
    /// is left out.
    ///
    /// # Errors
    /// [`Failure::Timeout`] after [`PATIENCE`], or when it ends before.
    pub async fn until<T>(&mut self, expected: &str, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        self.within(PATIENCE, find).await.ok_or_else(|| Failure::Timeout {
            node: PROGRAM.to_owned(),
            expected: expected.to_owned(),
            within: PATIENCE,
        })
    }

    /// As [`Self::until`], but `None` if there is nothing within this time.
    pub async fn within<T>(&mut self, time: Duration, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let search = async {
            loop {
                let line = self.lines.recv().await?;
                let echo = line.starts_with(">> ") && line.len() > 5 && line.as_bytes().get(4) == Some(&b' ');
                if let (false, Some(found)) = (echo, find(line.trim_start_matches(">> "))) {
                    return Some(found);
                }
            }
        };
        tokio::time::timeout(time, search).await.ok().flatten()
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

/// How often a value is asked for before it counts as absent.
const TRIES: u32 = 6;
