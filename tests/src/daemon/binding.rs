//! A node of OpenDHT's Python binding: the library as programs use it, without the console's habits.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use super::console::Console;
use crate::harness::{Failure, Place, Result, run_to_end};

/// The interpreter that Debian's packages are made for; another may come first on the `PATH`.
const INTERPRETER: &str = "/usr/bin/python3";

/// What it runs.
const SCRIPT: &str = include_str!("binding.py");

/// A running node on loopback, killed when dropped. It has a key and publishes its certificate.
#[derive(Debug)]
pub struct BindingNode {
    console: Console,
    key_id: String,
}

/// A value as the binding shows it: opened, if it was closed for this node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct BindingValue {
    /// Its id.
    pub id: u64,
    /// Its user type.
    pub user_type: String,
    /// What it says, in hexadecimal digits.
    pub data: String,
}

/// A line that the script prints.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    key_id: Option<String>,
    put: Option<bool>,
    got: Option<Vec<BindingValue>>,
    owners: Option<Vec<String>>,
    listening: Option<bool>,
    told: Option<BindingValue>,
    expired: bool,
}

impl BindingNode {
    /// Why there can be none; `None` if there can.
    #[must_use]
    pub fn obstacle() -> Option<&'static str> {
        let import = run_to_end(Command::new(INTERPRETER).args(["-c", "import opendht"]));
        import.is_err().then_some("no Python binding of OpenDHT; apt-get install python3-opendht")
    }

    /// Starts one that joins through this address, and waits until it runs.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be started or does not say that it runs.
    pub async fn start(bootstrap: &str) -> Result<Self> {
        let no_address = || Failure::Expected(format!("host and port in {bootstrap}"));
        let (host, port) = bootstrap.rsplit_once(':').ok_or_else(no_address)?;
        let arguments = ["-c", SCRIPT, host, port];
        let mut console = Console::start(&Place::loopback(), Path::new(INTERPRETER), &arguments)?;
        let key_id = console.until("its key", |line| read(line).key_id).await?;
        Ok(Self { console, key_id })
    }

    /// The id of its key, in hexadecimal digits.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Puts a value at a key, once. Returns whether any node took it.
    ///
    /// # Errors
    /// [`Failure`] when it does not say.
    pub async fn put(&mut self, key: &str, id: u64, user_type: &str, data: &[u8]) -> Result<bool> {
        let digits: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
        self.console.command(&format!("put {key} {id} {user_type} {digits}")).await?;
        self.console.until("the outcome of a put", |line| read(line).put).await
    }

    /// The values at a key.
    ///
    /// # Errors
    /// [`Failure`] when it does not say.
    pub async fn get(&mut self, key: &str) -> Result<Vec<BindingValue>> {
        self.console.command(&format!("get {key}")).await?;
        self.console.until("the outcome of a get", |line| read(line).got).await
    }

    /// The ids of the keys that signed the values at a key, all of which must be signed.
    ///
    /// # Errors
    /// [`Failure`] when it does not say.
    pub async fn owners(&mut self, key: &str) -> Result<Vec<String>> {
        self.console.command(&format!("owner {key}")).await?;
        self.console.until("the owners of values", |line| read(line).owners).await
    }

    /// Listens at a key.
    ///
    /// # Errors
    /// [`Failure`] when it does not say that it does.
    pub async fn listen(&mut self, key: &str) -> Result<()> {
        self.console.command(&format!("listen {key}")).await?;
        self.console.until("a listening", |line| read(line).listening).await.map(drop)
    }

    /// The next value that it is told of, and whether that it has expired.
    ///
    /// # Errors
    /// [`Failure`] when it is told of none.
    pub async fn told(&mut self) -> Result<(BindingValue, bool)> {
        let told = |line: &str| {
            let answer = read(line);
            answer.told.map(|value| (value, answer.expired))
        };
        self.console.until("a value at a listened key", told).await
    }
}

fn read(line: &str) -> Answer {
    serde_json::from_str(line).unwrap_or_default()
}
