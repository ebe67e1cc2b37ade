//! A node of the DHT that is told what to do, of either kind: each over its own control interface, and
//! timed from outside.

use std::cell::Cell;
use std::time::{Duration, Instant};

use skep::rpc::schema::{DhtKeyParams, DhtPutParams, method};
use skep_protocol::ids::DhtKey;
use skep_tests::daemon::DhtNode;
use skep_tests::harness::{EventLog, Failure, Mark, Node, NodeSetup, Result, check};
use tokio::task::AbortHandle;

/// What a node of the DHT can be told to do.
pub(crate) trait DhtPeer {
    /// Puts a text, a single word, and waits until the node says that it was put.
    async fn put(&mut self, key: DhtKey, text: &str) -> Result<()>;

    /// Gets what is at a key, waits until the node says that this is all, and tells whether a text is
    /// among it.
    async fn get(&mut self, key: DhtKey, text: &str) -> Result<bool>;

    /// Begins to listen at a key.
    async fn listen(&mut self, key: DhtKey) -> Result<()>;

    /// Waits until a text is told to this node as a listener, and tells when.
    async fn told(&mut self, text: &str) -> Result<Instant>;

    /// Processor time used so far; of a `dhtnode` without its console, of Skep with everything.
    fn processor_time(&self) -> Result<Duration>;

    /// Memory in use, in bytes.
    fn resident(&self) -> Result<usize>;
}

impl DhtPeer for DhtNode {
    async fn put(&mut self, key: DhtKey, text: &str) -> Result<()> {
        self.skip_waiting();
        self.command(&format!("p {key} {text}")).await?;
        let outcome = self.until("the end of a put", |line| line.strip_prefix("Put: ").map(str::to_owned));
        let outcome = outcome.await?;
        check(outcome.starts_with("success"), || format!("dhtnode to put a text, not: {outcome}"))
    }

    async fn get(&mut self, key: DhtKey, text: &str) -> Result<bool> {
        self.skip_waiting();
        self.command(&format!("g {key}")).await?;
        let (wanted, found) = (format!("\"{text}\""), Cell::new(false));
        self.until("the end of a get", |line| {
            found.set(found.get() || line.contains(&wanted));
            (line.starts_with("Get: ") && line.contains(" took ")).then_some(())
        })
        .await?;
        Ok(found.get())
    }

    async fn listen(&mut self, key: DhtKey) -> Result<()> {
        self.skip_waiting();
        self.command(&format!("l {key}")).await?;
        self.until("a token", |line| line.starts_with("Listening, token").then_some(())).await
    }

    async fn told(&mut self, text: &str) -> Result<Instant> {
        let wanted = format!("\"{text}\"");
        self.until("a push", |line| line.contains(&wanted).then(Instant::now)).await
    }

    fn processor_time(&self) -> Result<Duration> {
        self.processor_time()
    }

    fn resident(&self) -> Result<usize> {
        self.resident()
    }
}

/// A `skep run` process without accounts. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct SkepPeer {
    node: Node,
    told: EventLog<String>,
    readers: Vec<AbortHandle>,
}

impl SkepPeer {
    /// Starts it and waits until it can be asked.
    pub(crate) async fn start(setup: NodeSetup) -> Result<Self> {
        let node = setup.start().await?;
        let told = EventLog::new(node.name());
        Ok(Self { node, told, readers: Vec::new() })
    }
}

impl DhtPeer for SkepPeer {
    async fn put(&mut self, key: DhtKey, text: &str) -> Result<()> {
        let params = DhtPutParams { key: key.to_string(), text: text.to_owned(), permanent: false };
        self.node.call(method::DhtPut, params).await.map(|_| ())
    }

    async fn get(&mut self, key: DhtKey, text: &str) -> Result<bool> {
        let found = self.node.call(method::DhtGet, DhtKeyParams { key: key.to_string() }).await?;
        Ok(found.values.iter().any(|value| value.text.as_deref() == Some(text)))
    }

    async fn listen(&mut self, key: DhtKey) -> Result<()> {
        // One connection does one thing at a time.
        let mut listener = self.node.connect().await?;
        let listening = listener.call(method::DhtListen, DhtKeyParams { key: key.to_string() }).await;
        listening.map_err(|problem| Failure::Refused {
            node: self.node.name().to_owned(),
            request: "dht.listen",
            problem,
        })?;
        let told = self.told.clone();
        let reader = tokio::spawn(async move {
            while let Ok(notice) = listener.next_listened().await {
                notice.values.into_iter().filter_map(|value| value.text).for_each(|text| told.push(text));
            }
        });
        self.readers.push(reader.abort_handle());
        Ok(())
    }

    async fn told(&mut self, text: &str) -> Result<Instant> {
        let pushed = |told: &String| (told == text).then_some(());
        // What is waited for is unique, so everything may be looked at.
        Ok(self.told.arrival(Mark::BEGINNING, "a push", pushed).await?.0)
    }

    fn processor_time(&self) -> Result<Duration> {
        self.node.processor_time()
    }

    fn resident(&self) -> Result<usize> {
        self.node.resident()
    }
}

impl Drop for SkepPeer {
    fn drop(&mut self) {
        self.readers.iter().for_each(AbortHandle::abort);
    }
}
