//! `skep names serve` as a process.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::{Failure, Place, Process, Result, program, until};

/// A name server. Dropped, it is killed; what was registered stays in its folder.
#[derive(Debug)]
pub struct NameServer {
    process: Process,
    url: String,
}

impl NameServer {
    /// Starts one that listens here; on port 0 a free one is chosen. Started in the same folder again,
    /// it knows what was registered before.
    ///
    /// # Errors
    /// [`Failure`] when it does not begin to serve.
    pub async fn start(place: &Place, folder: &Path, listen: SocketAddr) -> Result<Self> {
        let log = folder.join("name-server.log");
        // What an earlier one said.
        let _ = fs::remove_file(&log);
        let (data, names) = (folder.display().to_string(), folder.join("names-served"));
        let (listen, names) = (listen.to_string(), names.display().to_string());
        let arguments = ["--data-dir", &data, "names", "serve", "--listen", &listen, "--folder", &names];
        let process = Process::start("names", place, &program()?, &arguments, &[], &log)?;
        let url = until("the name server", "where it listens", async || {
            let log = fs::read_to_string(&log).map_err(Failure::file(&log))?;
            let serving = log.lines().find(|line| line.starts_with("serving "));
            Ok(serving.and_then(|line| line.split(" at ").nth(1)).map(str::to_owned))
        });
        let url = url.await?;
        Ok(Self { process, url })
    }

    /// Where clients find it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}
