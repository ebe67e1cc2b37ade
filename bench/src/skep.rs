//! `skep run` as a [`Messenger`]: a process of its own, driven over its control socket as any
//! program would.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use ::skep::rpc::client::{Client, ClientError};
use ::skep::rpc::schema::{
    ContactParams, ConversationParams, CreateParams, ImportParams, ListParams, Method, Nothing, PathParams,
    SendParams, SubscribeParams, method,
};
use ::skep::{ConversationId, Event, LocalAccountId, NodeEvent};
use tokio::task::AbortHandle;

use crate::event_log::{EventLog, Mark};
use crate::messenger::{Account, Messenger, PATIENCE, refused};
use crate::network::{DHT_PORT, Network, Place};
use crate::process::Process;
use crate::{BenchError, Result};

/// How long a node may take until its socket answers.
const START: Duration = Duration::from_secs(15);

/// How often something is looked for that no event tells.
const POLL: Duration = Duration::from_millis(20);

/// Role of a member who has joined.
const MEMBER: &str = "member";

/// A node.
#[derive(Debug)]
pub(crate) struct SkepNode {
    name: String,
    place: Place,
    folder: PathBuf,
    process: Process,
    client: Client,
    log: EventLog<NodeEvent>,
    reader: AbortHandle,
}

/// The program, which is built beside this one.
fn program() -> Result<PathBuf> {
    let missing = || BenchError::Missing {
        what: "the program skep".to_owned(),
        remedy: "build it in the same profile: cargo build --release -p skep".to_owned(),
    };
    let own = std::env::current_exe().map_err(|_| missing())?;
    Some(own.with_file_name("skep")).filter(|program| program.is_file()).ok_or_else(missing)
}

impl SkepNode {
    /// Starts a node at a new place; its files go below `folder`. Without a bootstrap it is one.
    pub(crate) async fn start(
        network: &mut Network,
        bootstrap: Option<&Self>,
        name: &str,
        folder: &Path,
    ) -> Result<Self> {
        let place = network.place(name)?;
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).map_err(BenchError::file(&folder))?;
        let file = folder.join("skep.toml");
        let bootstrap = bootstrap.map(|node| format!("{}:{DHT_PORT}", node.place.address));
        let text = configuration(&folder.join("data"), &place, bootstrap, !network.is_private());
        std::fs::write(&file, text).map_err(BenchError::file(&file))?;
        Self::run(name, place, folder).await
    }

    /// Ends the node and starts it again on the same data.
    pub(crate) async fn restart(self) -> Result<Self> {
        let (name, place, folder) = (self.name.clone(), self.place.clone(), self.folder.clone());
        drop(self);
        Self::run(&name, place, folder).await
    }

    async fn run(name: &str, place: Place, folder: PathBuf) -> Result<Self> {
        let arguments = [PathBuf::from("--config"), folder.join("skep.toml"), PathBuf::from("run")];
        let process = Process::start(&place, &program()?, &arguments, &[], &folder.join("log"))?;
        let socket = folder.join("data/control.sock");
        let client = connect(name, &socket).await?;
        let log = EventLog::new(name);
        let reader = read_events(name, &socket, log.clone()).await?;
        Ok(Self { name: name.to_owned(), place, folder, process, client, log, reader })
    }

    async fn call<M: Method>(&mut self, method: M, params: M::Params) -> Result<M::Answer> {
        self.client.call(method, params).await.map_err(|error| refused(&self.name, M::NAME, error))
    }

    /// Makes an account of an archive without a password.
    pub(crate) async fn import_account(&mut self, archive: &[u8]) -> Result<Account> {
        use base64::Engine as _;
        let archive = base64::engine::general_purpose::STANDARD.encode(archive);
        let params = ImportParams { archive, password: None };
        let view = self.call(method::AccountImport, params).await?;
        Ok(Account { local: view.local.to_string(), id: view.id.to_string() })
    }

    /// Waits until an account that the node had before answers again.
    pub(crate) async fn until_account(&mut self, own: &Account) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < START {
            let accounts = self.call(method::AccountList, Nothing {}).await?.accounts;
            if accounts.iter().any(|found| found.local.to_string() == own.local) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        let (node, event) = (self.name.clone(), "account after its start".to_owned());
        Err(BenchError::Timeout { node, event, within: START })
    }

    /// Opens a conversation from a bundle.
    pub(crate) async fn import_conversation(&mut self, own: &Account, bundle: &Path) -> Result<String> {
        let params = PathParams { account: local(own)?, path: bundle.to_owned() };
        Ok(self.call(method::ConversationImport, params).await?.conversation.to_string())
    }

    /// The newest messages of a conversation.
    pub(crate) async fn last_page(
        &mut self,
        own: &Account,
        conversation: &str,
        limit: usize,
    ) -> Result<usize> {
        let params =
            ListParams { account: local(own)?, conversation: parse(conversation)?, before: None, limit };
        Ok(self.call(method::MessageList, params).await?.messages.len())
    }

    async fn wait<T>(
        &self,
        own: &Account,
        what: &str,
        pick: impl Fn(&Event) -> Option<T>,
    ) -> Result<(Instant, T)> {
        let account = local(own)?;
        let pick = |told: &NodeEvent| if told.account == account { pick(&told.event) } else { None };
        // What is waited for is unique, so everything may be looked at.
        self.log.wait(Mark::BEGINNING, what, PATIENCE, pick).await
    }
}

impl Drop for SkepNode {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Messenger for SkepNode {
    fn place(&self) -> &Place {
        &self.place
    }

    fn resident_megabytes(&self) -> f64 {
        self.process.resident_megabytes()
    }

    async fn create_account(&mut self, name: &str) -> Result<Account> {
        let params = CreateParams { name: name.to_owned(), password: None };
        let view = self.call(method::AccountCreate, params).await?;
        let account = Account { local: view.local.to_string(), id: view.id.to_string() };
        let ready = |event: &Event| matches!(event, Event::AccountReady {}).then_some(());
        self.wait(&account, "announced account", ready).await?;
        Ok(account)
    }

    async fn add_contact(&mut self, own: &Account, contact: &str) -> Result<()> {
        let params = ContactParams { account: local(own)?, contact: contact.to_owned() };
        self.call(method::ContactAdd, params).await.map(|_| ())
    }

    async fn request(&mut self, own: &Account, sender: &str) -> Result<String> {
        let asked = |event: &Event| match event {
            Event::ContactRequest { from, conversation, .. } if from.to_string() == sender => *conversation,
            _ => None,
        };
        Ok(self.wait(own, "contact request", asked).await?.1.to_string())
    }

    async fn accept(&mut self, own: &Account, from: &str) -> Result<()> {
        let params = ContactParams { account: local(own)?, contact: from.to_owned() };
        self.call(method::ContactAccept, params).await.map(|_| ())
    }

    async fn ready(&mut self, own: &Account, conversation: &str) -> Result<Instant> {
        let wanted: ConversationId = parse(conversation)?;
        let ready = |event: &Event| {
            matches!(event, Event::ConversationReady { conversation } if *conversation == wanted)
                .then_some(())
        };
        Ok(self.wait(own, "cloned conversation", ready).await?.0)
    }

    async fn joined(&mut self, own: &Account, conversation: &str, member: &str) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            let params = ConversationParams { account: local(own)?, conversation: parse(conversation)? };
            let members = self.call(method::ConversationMembers, params).await?.members;
            if members.iter().any(|found| found.id.to_string() == member && found.role == MEMBER) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        let (node, event) = (self.name.clone(), "joined member".to_owned());
        Err(BenchError::Timeout { node, event, within: PATIENCE })
    }

    async fn send(&mut self, own: &Account, conversation: &str, text: &str) -> Result<()> {
        let params =
            SendParams { account: local(own)?, conversation: parse(conversation)?, body: text.to_owned() };
        self.call(method::MessageSend, params).await.map(|_| ())
    }

    async fn received(&mut self, own: &Account, conversation: &str, text: &str) -> Result<Instant> {
        let wanted: ConversationId = parse(conversation)?;
        let received = |event: &Event| match event {
            Event::Message { conversation, message } if *conversation == wanted && message.body == text => {
                Some(())
            }
            _ => None,
        };
        Ok(self.wait(own, "message", received).await?.0)
    }
}

fn configuration(data: &Path, place: &Place, bootstrap: Option<String>, loopback: bool) -> String {
    let bootstrap: Vec<String> = bootstrap.into_iter().collect();
    format!(
        "data_dir = {data:?}\n\
         [dht]\nlisten = [\"{}:{DHT_PORT}\"]\nbootstrap = {bootstrap:?}\n\
         [links]\nloopback = {loopback}\n",
        place.address
    )
}

async fn connect(node: &str, socket: &Path) -> Result<Client> {
    let begin = Instant::now();
    loop {
        match Client::connect(socket).await {
            Ok(client) => return Ok(client),
            Err(ClientError::NoNode { .. }) if begin.elapsed() < START => tokio::time::sleep(POLL).await,
            Err(error) => return Err(refused(node, "connect", error)),
        }
    }
}

/// Writes the node's events into the log, over a connection of their own.
async fn read_events(node: &str, socket: &Path, log: EventLog<NodeEvent>) -> Result<AbortHandle> {
    let mut client = connect(node, socket).await?;
    let subscribed = client.call(method::EventsSubscribe, SubscribeParams { account: None }).await;
    subscribed.map_err(|error| refused(node, "events.subscribe", error))?;
    let reader = tokio::spawn(async move {
        while let Ok(notice) = client.next_event().await {
            log.push(notice.event);
        }
    });
    Ok(reader.abort_handle())
}

fn local(account: &Account) -> Result<LocalAccountId> {
    parse(&account.local)
}

fn parse<T: FromStr<Err: ToString>>(id: &str) -> Result<T> {
    id.parse().map_err(|error: T::Err| refused("skep", id, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_understands_its_configuration() {
        let place = Network::loopback().place("node").unwrap();
        let bootstrap = Some("127.78.0.9:4222".to_owned());
        let text = configuration(Path::new("/data \"here\""), &place, bootstrap, true);
        let config = ::skep::NodeConfig::parse(&text, |_| None).unwrap();
        assert_eq!(config.data_dir, Path::new("/data \"here\""));
        assert_eq!(config.dht.listen, ["127.78.0.2:4222".parse().unwrap()]);
        assert_eq!(config.dht.bootstrap, ["127.78.0.9:4222"]);
        assert!(config.links.loopback);
    }
}
