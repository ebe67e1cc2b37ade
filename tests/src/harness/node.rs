//! A `skep run` process, driven over its control socket as any program would.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skep::rpc::client::{Client, ClientError};
use skep::rpc::schema::{HealthView, Method, Nothing, SubscribeParams, method};
use tokio::task::AbortHandle;

use super::{
    DHT_PORT, EventLog, Failure, PATIENCE, Place, Process, Result, program, show_log_of_failure, until,
};

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct NodeSetup {
    name: String,
    place: Place,
    folder: PathBuf,
    data: PathBuf,
    network: &'static str,
    bootstrap: Vec<String>,
    local_discovery: bool,
    /// The URL of the name server it asks; empty for none.
    name_server: String,
    /// Where its DHT listens; on port 0 a free one is chosen at the first start, and kept.
    listen: SocketAddr,
}

impl NodeSetup {
    /// A node on loopback whose files go into a folder of its name below `folder`.
    #[must_use]
    pub fn new(name: &str, folder: &Path) -> Self {
        let (place, folder) = (Place::loopback(), folder.join(name));
        let listen = SocketAddr::from((place.address, 0));
        let data = folder.join("data");
        Self {
            name: name.to_owned(),
            place,
            folder,
            data,
            network: "kad",
            bootstrap: Vec::new(),
            local_discovery: false,
            name_server: String::new(),
            listen,
        }
    }

    /// A node at a place of a network, where its DHT has the usual port.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.listen = SocketAddr::from((place.address, DHT_PORT));
        self.place = place;
        self
    }

    /// A node that keeps its data elsewhere.
    #[must_use]
    pub fn data_in(mut self, data: &Path) -> Self {
        data.clone_into(&mut self.data);
        self
    }

    /// A node on another DHT network: `opendht`, or `both`.
    #[must_use]
    pub const fn on(mut self, network: &'static str) -> Self {
        self.network = network;
        self
    }

    /// A node that joins through this address.
    #[must_use]
    pub fn joining(mut self, address: &str) -> Self {
        self.bootstrap.push(address.to_owned());
        self
    }

    /// A node that asks the name server at this URL.
    #[must_use]
    pub fn asking(mut self, name_server: &str) -> Self {
        name_server.clone_into(&mut self.name_server);
        self
    }

    /// A node that looks for others in its local network.
    #[must_use]
    pub const fn looking_around(mut self) -> Self {
        self.local_discovery = true;
        self
    }

    /// A node whose DHT listens at this address only.
    #[must_use]
    pub const fn listening_at(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Where it runs.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Writes the configuration and starts the process; does not wait for it.
    ///
    /// # Errors
    /// [`Failure`] when a file cannot be written or the program is not there.
    pub fn launch(&self) -> Result<Process> {
        fs::create_dir_all(&self.folder).map_err(Failure::file(&self.folder))?;
        let file = self.folder.join("skep.toml");
        let Self { data, network, bootstrap, local_discovery, name_server, listen, .. } = self;
        let loopback = self.place.address.is_loopback();
        let text = format!(
            "data_dir = {data:?}\n\
             [dht]\nnetwork = \"{network}\"\nlisten = ['{listen}']\nbootstrap = {bootstrap:?}\n\
             local_discovery = {local_discovery}\n\
             [links]\nloopback = {loopback}\n\
             [names]\nserver = {name_server:?}\n\
             [debug]\nfault_injection = true\n"
        );
        fs::write(&file, text).map_err(Failure::file(&file))?;
        let arguments = [PathBuf::from("--config"), file, PathBuf::from("run")];
        Process::start(&self.name, &self.place, &program()?, &arguments, &[], &self.log())
    }

    /// Starts the node and waits until it can be asked.
    ///
    /// # Errors
    /// [`Failure`] when it cannot.
    pub async fn start(self) -> Result<Node> {
        let events = EventLog::new(&self.name);
        let (process, client, reader) = begin(&self, &events).await?;
        let mut node = Node { setup: self, process, client, events, reader };
        if node.setup.network == "kad" {
            // As tcp/PORT at the end of a multiaddress; others find the node there after a restart.
            let port = node.address().await?.rsplit('/').next().and_then(|port| port.parse().ok());
            node.setup.listen.set_port(port.unwrap_or_default());
        }
        Ok(node)
    }

    /// The file with what the node printed.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}

/// A node. Dropped, it is killed.
#[derive(Debug)]
pub struct Node {
    setup: NodeSetup,
    process: Process,
    client: Client,
    events: EventLog,
    reader: AbortHandle,
}

impl Node {
    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.setup.name
    }

    /// What it was started with.
    #[must_use]
    pub const fn setup(&self) -> &NodeSetup {
        &self.setup
    }

    /// What it has told so far.
    #[must_use]
    pub const fn events(&self) -> &EventLog {
        &self.events
    }

    /// Calls a method.
    ///
    /// # Errors
    /// [`Failure::Refused`] with what the node says, [`Failure::Timeout`] when it says nothing.
    pub async fn call<M: Method>(&mut self, method: M, params: M::Params) -> Result<M::Answer> {
        self.ask(method, params).await?.map_err(Failure::refused(&self.setup.name, M::NAME))
    }

    /// Calls a method that may be refused.
    ///
    /// # Errors
    /// [`Failure::Timeout`] when there is no answer.
    pub async fn ask<M: Method>(
        &mut self,
        method: M,
        params: M::Params,
    ) -> Result<std::result::Result<M::Answer, ClientError>> {
        let answer = tokio::time::timeout(PATIENCE, self.client.call(method, params)).await;
        answer.map_err(|_| Failure::Timeout {
            node: self.setup.name.clone(),
            expected: format!("an answer to {}", M::NAME),
            within: PATIENCE,
        })
    }

    /// A further connection to the node.
    ///
    /// # Errors
    /// [`Failure::Refused`] when it does not listen.
    pub async fn connect(&self) -> Result<Client> {
        let socket = self.setup.data.join("control.sock");
        Client::connect(&socket).await.map_err(Failure::refused(&self.setup.name, "connect"))
    }

    /// How its DHT is.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn health(&mut self) -> Result<HealthView> {
        self.call(method::NodeHealth, Nothing {}).await
    }

    /// An address at which others can join.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn address(&mut self) -> Result<String> {
        let name = self.setup.name.clone();
        until(&name, "an address listened on", async || Ok(self.health().await?.listening.into_iter().next()))
            .await
    }

    /// The memory its process uses now, in bytes.
    ///
    /// # Errors
    /// [`Failure::File`] when it has ended.
    pub fn resident(&self) -> Result<usize> {
        self.process.resident()
    }

    /// The most memory its process has used so far, in bytes.
    ///
    /// # Errors
    /// [`Failure::File`] when it has ended.
    pub fn peak(&self) -> Result<usize> {
        self.process.peak()
    }

    /// Stops the process where it is: it falls silent, and its connections stay.
    pub fn halt(&mut self) {
        self.process.halt();
    }

    /// Lets it go on after [`Self::halt`].
    pub fn go_on(&mut self) {
        self.process.go_on();
    }

    /// The processor time its process has used so far.
    ///
    /// # Errors
    /// [`Failure::File`] when it has ended.
    pub fn processor_time(&self) -> Result<Duration> {
        self.process.processor_time()
    }

    /// Kills the process: it gets no chance to tidy up.
    pub fn kill(&mut self) {
        self.process.kill();
        self.reader.abort();
    }

    /// Starts it again on the same data.
    ///
    /// # Errors
    /// As [`NodeSetup::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        (self.process, self.client, self.reader) = begin(&self.setup, &self.events).await?;
        Ok(())
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// [`Failure::Expected`] when it ends with another exit code than 0, or leaves something half
    /// written in its data folder.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.terminate();
        let status = self.process.end().await?;
        let name = self.name();
        super::check(status.success(), || format!("{name} to end with exit code 0, not {status}"))?;
        let left = leftovers(&self.setup.data)?;
        super::check(left.is_empty(), || format!("{name} to leave nothing half written, not {left:?}"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.reader.abort();
        show_log_of_failure(self.name(), &self.setup.log());
    }
}

/// Starts the process, connects to it, and has its events written into the log.
async fn begin(setup: &NodeSetup, events: &EventLog) -> Result<(Process, Client, AbortHandle)> {
    let mut process = setup.launch()?;
    let client = connect(setup, &mut process).await?;
    let mut listener = connect(setup, &mut process).await?;
    let subscribed = listener.call(method::EventsSubscribe, SubscribeParams { account: None }).await;
    subscribed.map_err(Failure::refused(&setup.name, "events.subscribe"))?;
    let log = events.clone();
    let reader = tokio::spawn(async move {
        while let Ok(notice) = listener.next_event().await {
            log.push(notice.event);
        }
    });
    Ok((process, client, reader.abort_handle()))
}

async fn connect(setup: &NodeSetup, process: &mut Process) -> Result<Client> {
    let socket = setup.data.join("control.sock");
    until(&setup.name, "a control socket", async || {
        if let Some(status) = process.ended() {
            let status = format!("{status}; its log is {}", setup.log().display());
            return Err(Failure::Ended { node: setup.name.clone(), status });
        }
        Ok(Client::connect(&socket).await.ok())
    })
    .await
}

/// Files in a data folder that somebody began to write and did not finish.
fn leftovers(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Failure::file(folder))? {
        let path = entry.map_err(Failure::file(folder))?.path();
        let extension = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
        if matches!(extension, "tmp" | "new" | "lock") {
            found.push(path);
        } else if path.is_dir() {
            found.extend(leftovers(&path)?);
        }
    }
    Ok(found)
}
