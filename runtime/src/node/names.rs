//! Names for programs and people.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_actors::names::NameMessage;
use skep_actors::supervision::Port;
use skep_protocol::ids::AccountId;
use skep_protocol::names::{
    About, Answer, Evidence, Found, Name, Profile, Question, Registration, ServerUrl, Typed, TypedError,
};

use super::{ASK_DEADLINE, Node, NodeMessage};
use crate::error::NodeError;

/// Time for an answer of a name server: three tries of half a minute with pauses, and others before it.
const SERVER_DEADLINE: Duration = Duration::from_secs(180);

/// Time to look up names in memory. Lists are shown without names rather than late.
const KNOWN_DEADLINE: Duration = Duration::from_secs(1);

/// Longest text to search for, in bytes: room for the longest name in any script.
const MAX_SEARCHED: usize = 256;

/// Somebody and their name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamedView {
    /// Who.
    #[schemars(with = "String")]
    pub id: AccountId,
    /// The name.
    pub name: String,
    /// The name server that says so.
    pub server: String,
    /// Whether the account has signed the name. Otherwise the server only claims that it is theirs.
    pub signed: bool,
}

impl NamedView {
    fn new(id: AccountId, name: &Name, server: &ServerUrl, evidence: Evidence) -> Self {
        let signed = evidence == Evidence::Signed;
        Self { id, name: name.to_string(), server: server.to_string(), signed }
    }
}

impl Node {
    /// Looks up whose a name is, or the name of an id: `alice`, `alice@names.example.org`, or 40 digits.
    ///
    /// # Errors
    /// [`NodeError::UnknownName`] and [`NodeError::Nameless`] when nobody registered it,
    /// [`NodeError::NameServer`] when the server cannot be asked or believed.
    pub async fn look_up(&self, text: &str) -> Result<NamedView, NodeError> {
        match Typed::parse(text)? {
            Typed::Account(account) => self.name_of(account).await,
            Typed::Name { name, server } => self.owner_of(name, server).await,
        }
    }

    async fn owner_of(&self, name: Name, server: Option<ServerUrl>) -> Result<NamedView, NodeError> {
        let server = server.map_or_else(|| self.name_server(), Ok)?;
        match self.ask_server(&server, About::Name(name.clone())).await? {
            Some(Found::Account(found)) => Ok(NamedView::new(found.account, &name, &server, found.evidence)),
            _ => Err(NodeError::UnknownName { name, server }),
        }
    }

    async fn name_of(&self, account: AccountId) -> Result<NamedView, NodeError> {
        let server = self.name_server()?;
        match self.ask_server(&server, About::Account(account)).await? {
            Some(Found::Name { name, evidence }) => Ok(NamedView::new(account, &name, &server, evidence)),
            _ => Err(NodeError::Nameless { account, server }),
        }
    }

    /// Who is meant by an id, with or without `jami:` before it, or by a name.
    ///
    /// # Errors
    /// As [`Self::look_up`]; an id needs no server.
    pub async fn person(&self, text: &str) -> Result<AccountId, NodeError> {
        if let Ok(account) = AccountId::from_uri(text) {
            return Ok(account);
        }
        match self.look_up(text).await {
            Ok(found) => Ok(found.id),
            Err(NodeError::NoNameServer) => Err(NodeError::NoId),
            Err(error) => Err(error),
        }
    }

    /// Who is in the directory of the name server and fits a text. Not every server has one.
    ///
    /// # Errors
    /// [`NodeError::NoNameServer`], [`NodeError::NameServer`], and [`NodeError::NoName`] for a text that is
    /// longer than names are.
    pub async fn search_names(&self, text: impl Into<String>) -> Result<Vec<Profile>, NodeError> {
        let (server, text): (_, String) = (self.name_server()?, text.into());
        if text.len() > MAX_SEARCHED {
            return Err(TypedError::Malformed.into());
        }
        match self.ask_server(&server, About::Search(text)).await? {
            Some(Found::Profiles(profiles)) => Ok(profiles),
            _ => Ok(Vec::new()),
        }
    }

    /// The names of people, as far as they are known. The server is asked for the others, and
    /// [`Event::NameFound`](crate::Event::NameFound) tells of them.
    pub async fn known_names(&self, people: BTreeSet<AccountId>) -> BTreeMap<AccountId, Name> {
        if people.is_empty() || self.life.config.names.server.is_none() {
            return BTreeMap::new();
        }
        let known = async {
            let known = |reply| NameMessage::Known { people, reply };
            Ok::<_, NodeError>(self.names().await?.ask(KNOWN_DEADLINE, known).await?)
        };
        known.await.unwrap_or_else(|error| {
            tracing::debug!(%error, "a list is shown without names");
            BTreeMap::new()
        })
    }

    /// The server asked where nobody says another.
    pub(super) fn name_server(&self) -> Result<ServerUrl, NodeError> {
        self.life.config.names.server.clone().ok_or(NodeError::NoNameServer)
    }

    async fn ask_server(&self, server: &ServerUrl, about: About) -> Result<Option<Found>, NodeError> {
        let question = Question { server: server.clone(), about };
        let ask = |reply| NameMessage::Ask { question, reply };
        let answer: Answer = self.names().await?.ask(SERVER_DEADLINE, ask).await?;
        Ok(answer?)
    }

    async fn names(&self) -> Result<Port<NameMessage>, NodeError> {
        let port = self.root.ask(ASK_DEADLINE, NodeMessage::Names).await?;
        port.ok_or_else(|| NodeError::Start("names are not there yet; try again".to_owned()))
    }

    /// Registers a signed name.
    pub(super) async fn register_name(&self, registration: Registration) -> Result<NamedView, NodeError> {
        let server = self.name_server()?;
        let (account, name) = (registration.account(), registration.name().clone());
        let (at, registration) = (server.clone(), Box::new(registration));
        let register = |reply| NameMessage::Register { server: at, registration, reply };
        self.names().await?.ask(SERVER_DEADLINE, register).await??;
        Ok(NamedView::new(account, &name, &server, Evidence::Signed))
    }
}
