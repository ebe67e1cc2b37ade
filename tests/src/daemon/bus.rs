//! One daemon's bus: calls, and the log of its signals.

use std::path::Path;
use std::time::Duration;

use futures::StreamExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;
use zbus::message::Type;
use zbus::zvariant::DynamicType;
use zbus::{Connection, MatchRule, MessageStream};

use super::signal::Signal;
use crate::harness::{EventLog, Failure, Result, until};

const NAME: &str = "cx.ring.Ring";
const PATH: &str = "/cx/ring/Ring/ConfigurationManager";
const INTERFACE: &str = "cx.ring.Ring.ConfigurationManager";

/// What makes calls.
const CALLS_PATH: &str = "/cx/ring/Ring/CallManager";
const CALLS: &str = "cx.ring.Ring.CallManager";

/// What tells who is there.
const PRESENCE_PATH: &str = "/cx/ring/Ring/PresenceManager";
const PRESENCE: &str = "cx.ring.Ring.PresenceManager";

/// How long the daemon may take to answer a call; the longest are those that hash passwords.
const ANSWER: Duration = Duration::from_secs(30);

/// Signals that may wait to be read; a burst brings a few hundred.
const QUEUE: usize = 4096;

/// The connection to a daemon.
#[derive(Debug)]
pub(super) struct Bus {
    node: String,
    connection: Connection,
    log: EventLog<Signal>,
    /// The methods of this version, as the daemon describes itself.
    description: String,
    reader: AbortHandle,
}

/// A bus for one daemon, as `dbus-daemon` is told.
pub(super) fn configuration(socket: &Path) -> String {
    format!(
        "<!DOCTYPE busconfig PUBLIC '-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN' \
         'http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd'>\n\
         <busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
         <policy context='default'><allow send_destination='*'/><allow receive_sender='*'/><allow own='*'/></policy></busconfig>\n",
        socket.display()
    )
}

impl Bus {
    /// Connects, and waits until the daemon answers.
    pub(super) async fn connect(node: &str, socket: &Path) -> Result<Self> {
        let failed = Failure::bus(node, "connect");
        let (connection, mut signals) = open(socket).await.map_err(failed)?;
        let log = EventLog::new(node);
        let writer = log.clone();
        let reader = tokio::spawn(async move {
            while let Some(Ok(message)) = signals.next().await {
                if let Some(signal) = Signal::read(&message) {
                    writer.push(signal);
                }
            }
        });
        let (node, description) = (node.to_owned(), String::new());
        let mut bus = Self { node, connection, log, description, reader: reader.abort_handle() };
        bus.answers().await?;
        Ok(bus)
    }

    /// The signals so far.
    pub(super) const fn events(&self) -> &EventLog<Signal> {
        &self.log
    }

    /// How many arguments a method has in this version of the daemon; 0 if it does not exist.
    pub(super) fn arguments(&self, method: &str) -> usize {
        count_arguments(&self.description, method)
    }

    /// Calls a method of the configuration manager.
    pub(super) async fn call<B, R>(&self, method: &str, body: &B) -> Result<R>
    where
        B: Serialize + DynamicType,
        R: DeserializeOwned + zbus::zvariant::Type,
    {
        self.call_at(PATH, INTERFACE, method, body).await
    }

    /// Calls a method of the call manager.
    pub(super) async fn call_calls<B, R>(&self, method: &str, body: &B) -> Result<R>
    where
        B: Serialize + DynamicType,
        R: DeserializeOwned + zbus::zvariant::Type,
    {
        self.call_at(CALLS_PATH, CALLS, method, body).await
    }

    /// Calls a method of the presence manager.
    pub(super) async fn call_presence<B, R>(&self, method: &str, body: &B) -> Result<R>
    where
        B: Serialize + DynamicType,
        R: DeserializeOwned + zbus::zvariant::Type,
    {
        self.call_at(PRESENCE_PATH, PRESENCE, method, body).await
    }

    async fn call_at<B, R>(&self, path: &str, interface: &str, method: &str, body: &B) -> Result<R>
    where
        B: Serialize + DynamicType,
        R: DeserializeOwned + zbus::zvariant::Type,
    {
        let answer = self.connection.call_method(Some(NAME), path, Some(interface), method, body).await;
        let answer = answer.map_err(Failure::bus(&self.node, method))?;
        answer.body().deserialize().map_err(Failure::bus(&self.node, method))
    }

    /// Waits until the daemon answers, and learns which methods it has.
    pub(super) async fn answers(&mut self) -> Result<()> {
        let interface = Some("org.freedesktop.DBus.Introspectable");
        let connection = &self.connection;
        let answer = until(&self.node, "the daemon on its bus", async || {
            Ok(connection.call_method(Some(NAME), PATH, interface, "Introspect", &()).await.ok())
        });
        let described = answer.await?.body().deserialize();
        self.description = described.map_err(Failure::bus(&self.node, "Introspect"))?;
        Ok(())
    }
}

async fn open(socket: &Path) -> zbus::Result<(Connection, MessageStream)> {
    let address = format!("unix:path={}", socket.display());
    let connection =
        zbus::connection::Builder::address(address.as_str())?.method_timeout(ANSWER).build().await?;
    let rule = MatchRule::builder().msg_type(Type::Signal).interface(INTERFACE)?.build();
    let signals = MessageStream::for_match_rule(rule, &connection, Some(QUEUE)).await?;
    Ok((connection, signals))
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Incoming arguments of a method in an introspection text.
fn count_arguments(description: &str, method: &str) -> usize {
    let begin = description.split_once(&format!("<method name=\"{method}\">"));
    let body = begin.and_then(|(_, rest)| rest.split_once("</method>"));
    body.map_or(0, |(body, _)| body.matches("direction=\"in\"").count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_counted_by_method() {
        let text = r#"<method name="send"><arg direction="in"/><arg direction="in"/><arg direction="out"/></method>
            <method name="sendFile"><arg direction="in"/></method>"#;
        assert_eq!((count_arguments(text, "send"), count_arguments(text, "sendFile")), (2, 1));
        assert_eq!(count_arguments(text, "receive"), 0);
    }
}
