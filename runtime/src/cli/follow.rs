//! What is printed as it happens: new messages, and who comes and goes.

use skep_actors::event::{Event, NodeEvent};
use skep_protocol::ids::{AccountId, ConversationId, LocalAccountId};
use tokio::signal::unix::{SignalKind, signal};

use super::commands::{Session, unless_interrupted};
use super::error::CliError;
use super::render;
use crate::rpc::schema::method::{EventsSubscribe, NamesKnown};
use crate::rpc::schema::{Names, PeopleParams, SubscribeParams};

/// What is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// New messages, of one conversation or of all.
    Messages(Option<ConversationId>),
    /// Which people are there.
    Presence,
}

impl Session<'_> {
    /// Prints what happens until an interrupt, which is the way to end it, or until the node ends.
    pub(super) async fn follow(
        &mut self,
        account: LocalAccountId,
        followed: Followed,
    ) -> Result<(), CliError> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        self.client.call(EventsSubscribe, SubscribeParams { account: Some(account) }).await?;
        loop {
            let Some(notice) = unless_interrupted(&mut interrupt, self.client.next_event()).await? else {
                return Ok(());
            };
            self.show(account, followed, &notice.event).await?;
        }
    }

    async fn show(
        &mut self,
        account: LocalAccountId,
        followed: Followed,
        event: &NodeEvent,
    ) -> Result<(), CliError> {
        match (&event.event, followed) {
            (Event::AccountRemoved {}, _) => {
                return Err(CliError::Unwell(format!("account {account} was removed")));
            }
            (Event::Message { conversation, message }, Followed::Messages(only))
                if only.is_none_or(|only| only == *conversation) =>
            {
                let names = self.names_of(account, message.author).await;
                self.output.show(event, |_| render::message(message, &names))?;
            }
            (Event::Presence { contact, devices, .. }, Followed::Presence) => {
                let names = self.names_of(account, *contact).await;
                self.output.show(event, |_| render::presence(event.time, *contact, devices, &names))?;
            }
            (Event::Missed { count }, _) => {
                self.output.show(event, |_| format!("({count} events were missed)"))?;
            }
            _ => (),
        }
        Ok(())
    }

    /// What somebody is called, if it is known. The events that come meanwhile are kept.
    async fn names_of(&mut self, account: LocalAccountId, person: AccountId) -> Names {
        let people = PeopleParams { account: Some(account), people: [person].into() };
        let known = self.client.call(NamesKnown, people).await;
        // That the node ends is told when all its events are.
        known.map(|known| render::called(&known.names, &known.display_names)).unwrap_or_default()
    }
}
