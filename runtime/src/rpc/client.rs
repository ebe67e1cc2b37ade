//! A client of the control interface over its unix socket, as the command line uses it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::schema::{DhtNotice, EventNotice, Method, ProgressNotice, RpcError};

/// Events kept while a reply is awaited; a client that asks much while subscribed reads them late.
const MAX_WAITING_EVENTS: usize = 4096;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No node listens on the socket.
    #[error("no node answers at {}: {source}; start one with `skep run`", path.display())]
    NoNode {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The node refused or could not do it.
    #[error(transparent)]
    Refused(#[from] RpcError),
    /// The connection was lost before the answer came.
    #[error("the node closed the connection; the request may or may not have been done")]
    Lost,
    /// The answer is not one that this version understands.
    #[error("the node's answer cannot be understood ({0}); is it of another version?")]
    Answer(String),
}

/// A connection to a node. It does one request at a time.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    count: u64,
    events: VecDeque<EventNotice>,
    listened: VecDeque<DhtNotice>,
}

#[derive(Deserialize)]
struct Incoming {
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Value,
    #[serde(default)]
    result: Option<Value>,
    #[serde(default)]
    error: Option<RpcError>,
}

impl Client {
    /// Connects to the node that listens on this socket.
    ///
    /// # Errors
    /// [`ClientError::NoNode`] when there is none.
    pub async fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| ClientError::NoNode { path: path.to_owned(), source })?;
        let (reader, writer) = stream.into_split();
        Ok(Self {
            reader: BufReader::new(reader),
            writer,
            count: 0,
            events: VecDeque::new(),
            listened: VecDeque::new(),
        })
    }

    /// Calls a method.
    ///
    /// # Errors
    /// [`ClientError`] when the node refuses, or the connection is lost.
    pub async fn call<M: Method>(&mut self, _: M, params: M::Params) -> Result<M::Answer, ClientError> {
        self.call_with::<M>(params, |_| ()).await
    }

    /// Calls a method that tells how far it is.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_with<M: Method>(
        &mut self,
        params: M::Params,
        mut on_progress: impl FnMut(&ProgressNotice),
    ) -> Result<M::Answer, ClientError> {
        self.count += 1;
        let id = json!(self.count);
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": M::NAME, "params": params });
        // A node that refuses the connection has closed it by now; what it said is read below.
        let _ = self.writer.write_all(format!("{request}\n").as_bytes()).await;
        loop {
            let incoming = self.read().await?;
            match incoming.method.as_deref() {
                Some("progress") => {
                    if let Ok(notice) = serde_json::from_value(incoming.params) {
                        on_progress(&notice);
                    }
                }
                Some("event") => self.keep_event(incoming.params)?,
                Some("dht") => self.keep_listened(incoming.params)?,
                // A notification that a later version sends.
                Some(_) => (),
                None => match incoming.error {
                    // A connection that is refused is told so before it asks anything.
                    Some(error) if incoming.id.is_none_or(|found| found == id || found.is_null()) => {
                        return Err(error.into());
                    }
                    Some(_) => (),
                    None => {
                        let result = incoming.result.unwrap_or_default();
                        return serde_json::from_value(result)
                            .map_err(|error| ClientError::Answer(error.to_string()));
                    }
                },
            }
        }
    }

    /// The next event of this connection's subscriptions.
    ///
    /// # Errors
    /// [`ClientError::Lost`] when the node has ended.
    pub async fn next_event(&mut self) -> Result<EventNotice, ClientError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let incoming = self.read().await?;
            if incoming.method.as_deref() == Some("event") {
                self.keep_event(incoming.params)?;
            }
        }
    }

    /// What is told next of the keys of the DHT that this connection listens at.
    ///
    /// # Errors
    /// [`ClientError::Lost`] when the node has ended.
    pub async fn next_listened(&mut self) -> Result<DhtNotice, ClientError> {
        loop {
            if let Some(notice) = self.listened.pop_front() {
                return Ok(notice);
            }
            let incoming = self.read().await?;
            if incoming.method.as_deref() == Some("dht") {
                self.keep_listened(incoming.params)?;
            }
        }
    }

    fn keep_listened(&mut self, params: Value) -> Result<(), ClientError> {
        keep(&mut self.listened, params)
    }

    fn keep_event(&mut self, params: Value) -> Result<(), ClientError> {
        keep(&mut self.events, params)
    }

    async fn read(&mut self) -> Result<Incoming, ClientError> {
        let mut line = String::new();
        match self.reader.read_line(&mut line).await {
            Ok(0) | Err(_) => Err(ClientError::Lost),
            Ok(_) => serde_json::from_str(&line).map_err(|error| ClientError::Answer(error.to_string())),
        }
    }
}

/// Keeps a notification until it is asked for; of too many, the oldest goes.
fn keep<N: serde::de::DeserializeOwned>(kept: &mut VecDeque<N>, params: Value) -> Result<(), ClientError> {
    let notice = serde_json::from_value(params).map_err(|error| ClientError::Answer(error.to_string()))?;
    if kept.len() == MAX_WAITING_EVENTS {
        kept.pop_front();
    }
    kept.push_back(notice);
    Ok(())
}
