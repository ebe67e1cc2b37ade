//! What an account on a daemon does with files.

use std::path::Path;
use std::time::Instant;

use skep::ConversationId;

use super::{Daemon, DaemonAccount, Signal};
use crate::harness::{Mark, Result, check, until};

/// What became of a file: it is here, or was offered.
const FINISHED: i32 = 6;

/// A file that somebody offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedFile {
    /// The message that offers it.
    pub message: String,
    /// What the daemon calls it.
    pub id: String,
}

impl Daemon {
    /// Offers a file; does not wait until it is hashed.
    ///
    /// # Errors
    /// [`Failure::Bus`](crate::harness::Failure::Bus).
    pub async fn send_file(
        &self,
        own: &DaemonAccount,
        conversation: ConversationId,
        path: &Path,
        name: &str,
    ) -> Result<()> {
        let no_answer = "";
        let arguments = (&own.local, conversation.to_string(), path.display().to_string(), name, no_answer);
        self.bus.call("sendFile", &arguments).await
    }

    /// Waits until a file of this name was offered.
    ///
    /// # Errors
    /// [`Failure::Timeout`](crate::harness::Failure::Timeout).
    pub async fn offered(
        &self,
        own: &DaemonAccount,
        conversation: ConversationId,
        name: &str,
    ) -> Result<OfferedFile> {
        until(self.name(), format!("an offer of the file {name:?}"), async || {
            let history = self.history(own, conversation).await?;
            let mut offers =
                history.into_iter().filter(|commit| commit.get("displayName").is_some_and(|it| it == name));
            Ok(offers.find_map(|mut commit| {
                Some(OfferedFile { message: commit.remove("id")?, id: commit.remove("fileId")? })
            }))
        })
        .await
    }

    /// Begins to fetch a file to this path.
    ///
    /// # Errors
    /// [`Failure`](crate::harness::Failure) when it does not.
    pub async fn fetch_file(
        &self,
        own: &DaemonAccount,
        conversation: ConversationId,
        file: &OfferedFile,
        path: &Path,
    ) -> Result<()> {
        let conversation = conversation.to_string();
        let arguments = (&own.local, conversation, &file.message, &file.id, path.display().to_string());
        let begun: bool = self.bus.call("downloadFile", &arguments).await?;
        check(begun, || format!("{} to fetch {}", self.name(), file.id))
    }

    /// Waits until a file is here, and tells since when.
    ///
    /// # Errors
    /// [`Failure::Timeout`](crate::harness::Failure::Timeout).
    pub async fn fetched(&self, own: &DaemonAccount, file: &OfferedFile) -> Result<Instant> {
        let fetched = |signal: &Signal| match signal {
            Signal::File { account, file: it, event: FINISHED }
                if *account == own.local && *it == file.id =>
            {
                Some(())
            }
            _ => None,
        };
        let expected = format!("the file {}", file.id);
        Ok(self.events().arrival(Mark::BEGINNING, expected, fetched).await?.0)
    }
}
