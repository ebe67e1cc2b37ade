//! The DHT for programs and people: what accounts do with it by themselves, by hand.

use std::time::Duration;

use skep_actors::dht::envelope::random_value_id;
use skep_actors::dht::messages::{DhtMessage, Found, ListenEvent, ListenId, PutReport};
use skep_actors::supervision::{Outlet, Port};
use skep_protocol::dht::content::Content;
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::ids::DhtKey;
use tokio::sync::mpsc;

use super::{ASK_DEADLINE, Node, NodeMessage};
use crate::error::NodeError;

/// Time for what asks other nodes, some of which may not answer.
const NETWORK_DEADLINE: Duration = Duration::from_secs(60);

/// Events kept for a listener that reads slowly.
const EVENTS: usize = 64;

impl Node {
    /// Puts data that everybody can read at a key of the DHT, once or until the node ends. Returns
    /// the value's id and how many other nodes keep it.
    ///
    /// # Errors
    /// [`NodeError::InDht`] when no other node takes it.
    pub async fn put_in_dht(
        &self,
        key: DhtKey,
        content: Content,
        permanent: bool,
    ) -> Result<(ValueId, PutReport), NodeError> {
        let id = random_value_id(&self.environment);
        let value = Value::plain(id, content);
        let put = |reply| DhtMessage::Put { key, value, permanent, reply };
        Ok((id, self.dht().await?.ask(NETWORK_DEADLINE, put).await??))
    }

    /// The values at a key of the DHT.
    ///
    /// # Errors
    /// [`NodeError::InDht`] when no other node answers.
    pub async fn get_from_dht(&self, key: DhtKey) -> Result<Found, NodeError> {
        Ok(self.dht().await?.ask(NETWORK_DEADLINE, |reply| DhtMessage::Get { key, reply }).await??)
    }

    /// Listens at a key of the DHT until the receiver is dropped.
    ///
    /// # Errors
    /// [`NodeError`] when the DHT takes no requests.
    pub async fn listen_in_dht(&self, key: DhtKey) -> Result<mpsc::Receiver<ListenEvent>, NodeError> {
        let (outlet, events) = Outlet::channel("DHT listener", EVENTS);
        let listen = DhtMessage::Listen { id: ListenId::unique(), key, outlet };
        self.dht().await?.send(listen).await.map_err(skep_actors::supervision::AskError::from)?;
        Ok(events)
    }

    async fn dht(&self) -> Result<Port<DhtMessage>, NodeError> {
        let port = self.root.ask(ASK_DEADLINE, NodeMessage::Dht).await?;
        port.ok_or_else(|| NodeError::Start("the DHT is not there yet; try again".to_owned()))
    }
}
