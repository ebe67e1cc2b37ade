//! What people do with files.

use std::fs;
use std::path::{Path, PathBuf};

use skep::rpc::schema::{AccountParams, FileFetchParams, FileSendParams, method};
use skep::{CommitId, ConversationId, Event, OfferedView, TransferState, TransferView};

use super::{Failure, Mark, Person, Result, check, file_hash, until};

impl Person {
    /// Offers a file of this machine to a conversation.
    ///
    /// # Errors
    /// [`Failure::Refused`].
    pub async fn offer(&mut self, conversation: ConversationId, path: &Path) -> Result<OfferedView> {
        let (account, path) = (self.local, path.to_owned());
        self.node.call(method::FileSend, FileSendParams { account, conversation, path, reply_to: None }).await
    }

    /// Begins to fetch a file as soon as its offer is here.
    ///
    /// # Errors
    /// [`Failure::Refused`].
    pub async fn fetch(&mut self, conversation: ConversationId, message: CommitId) -> Result<()> {
        self.has(conversation, message).await?;
        let params = FileFetchParams { account: self.local, conversation, message, to: None };
        self.node.call(method::FileFetch, params).await.map(drop)
    }

    /// Waits until more than so many bytes of a file are here, and not all of them.
    ///
    /// # Errors
    /// [`Failure`] when the file is not on its way.
    pub async fn fetched_beyond(&mut self, message: CommitId, bytes: u64) -> Result<TransferView> {
        let name = self.node.name().to_owned();
        until(&name, format!("more than {bytes} bytes of a file"), async || {
            let params = AccountParams { account: self.local };
            let transfers = self.node.call(method::FileList, params).await?.transfers;
            let found = transfers.into_iter().find(|transfer| transfer.message == message);
            check(found.is_some(), || "a file that is still on its way".to_owned())?;
            Ok(found.filter(|view| view.state == TransferState::Running && view.position > bytes))
        })
        .await
    }

    /// Waits until a file is here, and makes sure that it is what was offered.
    ///
    /// # Errors
    /// [`Failure`] when it does not come, or is another.
    pub async fn fetched(&self, offered: &OfferedView) -> Result<PathBuf> {
        let path = self.told(Mark::BEGINNING, "a whole file", |event| match event {
            Event::Transfer { transfer } if transfer.message == offered.message => transfer.path.clone(),
            _ => None,
        });
        let path = path.await?;
        let length = fs::metadata(&path).map_err(Failure::file(&path))?.len();
        check(length == offered.size, || format!("a file of {} bytes, not {length}", offered.size))?;
        let hash = file_hash(&path)?;
        check(hash == offered.sha3, || format!("a file of the hash {}, not {hash}", offered.sha3))?;
        Ok(path)
    }
}
