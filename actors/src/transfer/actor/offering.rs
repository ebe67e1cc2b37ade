//! What the owner orders: offering a file, fetching one, removing one.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use skep_protocol::ids::{AccountId, CommitId, ConversationId};
use skep_protocol::transfer::{FileHash, FileStamp, OfferedFile, offer};

use super::super::disk::{OpenFile, Place};
use super::super::messages::{
    Answer, Direction, MAX_WISHES, OfferedView, TransferError, TransferState, TransferView, TransfersTold,
};
use super::super::wishes::Wished;
use super::super::{hashing, here};
use super::{Key, TransfersActor};
use crate::blocking::{BlockingPool, Lane, Share};
use crate::supervision::{AskError, Scope};
use crate::swarm::messages::{ConversationError, ConversationMessage, OfferedIn, Outgoing};

/// How long a conversation may take to read a commit.
const ASK: Duration = Duration::from_secs(30);

/// How long it may take to write one. An offer that is written when nobody waits for it any more is served
/// by nobody, so this is long.
const WRITE: Duration = Duration::from_secs(600);

/// Members besides the author whose devices are looked for at an order: each costs a question to the DHT.
const MAX_SOUGHT: usize = 16;

/// A file that was hashed to be offered.
struct Hashed {
    path: PathBuf,
    stamp: FileStamp,
    hash: FileHash,
}

impl TransfersActor {
    /// Hashes a file, has the commit written, and serves it from then on.
    pub(super) fn offer(
        &mut self,
        conversation: ConversationId,
        path: PathBuf,
        reply_to: Option<CommitId>,
        reply: Answer<OfferedView>,
        scope: &mut Scope<'_, Self>,
    ) {
        let room = match self.room(conversation) {
            Ok(room) => room,
            Err(error) => return reply.send(Err(error)),
        };
        let mut random = [0; 8];
        scope.environment().fill_random(&mut random);
        let (pool, share) = (self.config.pool.clone(), self.config.share);
        let (data, checked) = (self.config.data.clone(), Arc::clone(&self.checked));
        let work = async move {
            let hashed = hash(path, &pool, share).await?;
            let name = hashed.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let offer = offer(&name, hashed.hash, hashed.stamp.size, random, reply_to);
            let message = Outgoing::File(offer.clone());
            let send = |reply| ConversationMessage::Send { message, reply };
            let commit = room.ask(WRITE, send).await.map_err(unanswered)??;
            let file = OfferedFile::read(commit, &offer)?;
            let view = OfferedView {
                message: commit,
                name: file.name.clone(),
                size: file.size,
                sha3: file.hash.to_string(),
            };
            let place = Place { data, conversation, file: file.id.clone(), to: None };
            let link = move || {
                let linked = place.link(&hashed.path);
                let mut checked = checked.lock().unwrap_or_else(PoisonError::into_inner);
                checked.remember(file.id, hashed.stamp, hashed.hash);
                linked
            };
            pool.run(share, Lane::Files, link).await??;
            Ok(view)
        };
        scope.spawn(work, |_, offered, _| reply.send(offered));
    }

    /// Looks up what a message offers, and fetches it unless it is here.
    pub(super) fn fetch(
        &mut self,
        conversation: ConversationId,
        message: CommitId,
        to: Option<PathBuf>,
        reply: Answer<TransferView>,
        scope: &mut Scope<'_, Self>,
    ) {
        if let Some(key) = self.key_of(conversation, message) {
            return self.fetch_again(&key, to.as_ref(), reply, scope);
        }
        // The list of what is waited for is text.
        if let Some(folder) = to.as_ref().filter(|folder| folder.to_str().is_none()) {
            return reply.send(Err(TransferError::NotAFolder(folder.clone())));
        }
        if self.wishes.len() >= MAX_WISHES {
            return reply.send(Err(TransferError::TooMany));
        }
        let room = match self.room(conversation) {
            Ok(room) => room,
            Err(error) => return reply.send(Err(error)),
        };
        let (pool, share, data) = (self.config.pool.clone(), self.config.share, self.config.data.clone());
        let look = async move {
            let ask = |reply| ConversationMessage::File { message, asker: None, reply };
            let OfferedIn { offer, author } = room.ask(ASK, ask).await.map_err(unanswered)??;
            let file = OfferedFile::read(message, &offer)?;
            let place = Place { data, conversation, file: file.id.clone(), to: None };
            let folder = to.clone();
            let look = move || match folder {
                Some(folder) if !folder.is_dir() => Err(TransferError::NotAFolder(folder)),
                folder => Ok(folder.and_then(|folder| folder.canonicalize().ok())),
            };
            let folder = pool.run(share, Lane::Files, look).await??;
            let here = here::whole(place, &file, &pool, share).await;
            if let (Some(folder), Some(path)) = (&folder, &here)
                && path.parent() != Some(folder)
            {
                return Err(TransferError::Elsewhere(path.clone()));
            }
            Ok((Wished { conversation, author, file, to }, here))
        };
        scope.spawn(look, |files, looked, scope| match looked {
            Ok((wished, Some(path))) => {
                let view = Self::view_of_whole(&wished, path);
                files.emit(view.clone(), scope);
                reply.send(Ok(view));
            }
            Ok((wished, None)) => files.admit(wished, reply, scope),
            Err(error) => reply.send(Err(error)),
        });
    }

    /// The owner asks for a file that is waited for already: all are asked anew.
    fn fetch_again(
        &mut self,
        key: &Key,
        to: Option<&PathBuf>,
        reply: Answer<TransferView>,
        scope: &mut Scope<'_, Self>,
    ) {
        let Some(wish) = self.wishes.get(key) else { return };
        if to.is_some() && to != wish.wished.to.as_ref() {
            let folder = wish.wished.to.clone().unwrap_or_else(|| self.config.data.clone());
            return reply.send(Err(TransferError::Elsewhere(folder)));
        }
        let author = wish.wished.author;
        self.introduce(key);
        self.seek(key.0, author, scope);
        if let Some(wish) = self.wishes.get_mut(key) {
            wish.wanted.retry();
            reply.send(Ok(wish.view_now()));
        }
        self.drive(scope);
    }

    fn view_of_whole(wished: &Wished, path: PathBuf) -> TransferView {
        TransferView {
            conversation: wished.conversation,
            message: wished.file.id.commit(),
            name: wished.file.name.clone(),
            direction: Direction::Receiving,
            state: TransferState::Done,
            position: wished.file.size,
            size: wished.file.size,
            rate: 0,
            device: None,
            path: Some(path),
            problem: None,
        }
    }

    /// Takes a wish in if there is room for the file.
    fn admit(&mut self, wished: Wished, reply: Answer<TransferView>, scope: &mut Scope<'_, Self>) {
        let room = self.room_for(&wished);
        scope.spawn(room, move |files, room, scope| {
            let admitted = room.and_then(|room| Ok(room.admit(wished.file.size, 0)?));
            if let Err(error) = admitted {
                return reply.send(Err(error));
            }
            let key = (wished.conversation, wished.file.id.clone());
            if files.wishes.contains_key(&key) {
                return files.fetch_again(&key, wished.to.as_ref(), reply, scope);
            }
            // Others may have been taken in meanwhile.
            if files.wishes.len() >= MAX_WISHES {
                return reply.send(Err(TransferError::TooMany));
            }
            let author = wished.author;
            files.insert(wished, scope);
            files.introduce(&key);
            files.seek(key.0, author, scope);
            let Some(wish) = files.wishes.get(&key) else { return };
            let (view, number) = (wish.view_now(), wish.number);
            files.save(scope, move |files, saved, scope| {
                // What would be forgotten is not begun.
                if saved.is_err() && files.wishes.get(&key).is_some_and(|wish| wish.number == number) {
                    files.give_up(&key, scope);
                }
                reply.send(saved.map(|()| view));
            });
            files.drive(scope);
        });
    }

    /// Has the devices of those looked for who may have a file, the author's first.
    fn seek(&self, conversation: ConversationId, author: AccountId, scope: &mut Scope<'_, Self>) {
        let members = self.rooms.get(&conversation).map(|room| room.members.clone()).unwrap_or_default();
        let others = members.into_iter().filter(|member| *member != author).take(MAX_SOUGHT);
        let sought = std::iter::once(author).chain(others).filter(|member| *member != self.config.account);
        self.tell(TransfersTold::Seek(sought.collect()), scope);
    }

    /// Removes a file from here, and takes the offer back if it is ours.
    pub(super) fn remove(
        &mut self,
        conversation: ConversationId,
        message: CommitId,
        reply: Answer<()>,
        scope: &mut Scope<'_, Self>,
    ) {
        let room = match self.room(conversation) {
            Ok(room) => room,
            Err(error) => return reply.send(Err(error)),
        };
        let key = self.key_of(conversation, message);
        let was_wanted = key.is_some();
        let (saving, saved) = tokio::sync::oneshot::channel();
        if let Some(key) = key {
            self.give_up(&key, scope);
            self.save(scope, |_, saved, _| _ = saving.send(saved));
        } else {
            _ = saving.send(Ok(()));
        }
        let sent = self.sending.values().filter(|sent| sent.key.0 == conversation);
        sent.filter(|sent| sent.key.1.commit() == message).for_each(|sent| sent.progress.stop());
        let (own, data) = (self.config.account, self.config.data.clone());
        let (pool, share) = (self.config.pool.clone(), self.config.share);
        let remove = async move {
            let ask = |reply| ConversationMessage::File { message, asker: None, reply };
            let OfferedIn { offer, author } = room.ask(ASK, ask).await.map_err(unanswered)??;
            if author == own {
                let message = Outgoing::Delete { message };
                let send = |reply| ConversationMessage::Send { message, reply };
                room.ask(WRITE, send).await.map_err(unanswered)??;
            }
            let file = OfferedFile::read(message, &offer)?;
            let place = Place { data, conversation, file: file.id, to: None };
            let removed = pool.run(share, Lane::Files, move || place.remove()).await??;
            // The actor ends with its saves, and this with it.
            saved.await.unwrap_or(Ok(()))?;
            if removed || was_wanted || author == own {
                Ok(())
            } else {
                Err(TransferError::NoTransfer(message))
            }
        };
        scope.spawn(remove, |_, removed, _| reply.send(removed));
        self.drive(scope);
    }
}

fn unanswered(error: AskError) -> TransferError {
    ConversationError::Storage(error.to_string()).into()
}

/// Hashes a file that is to be offered.
async fn hash(path: PathBuf, pool: &BlockingPool, share: Share) -> Result<Hashed, TransferError> {
    let unreadable = {
        let path = path.clone();
        move |error: io::Error| TransferError::NotAFile { path, reason: error.to_string() }
    };
    let named = path.clone();
    let open = move || {
        let full = named.canonicalize()?;
        OpenFile::open(&full).map(|file| (full, file))
    };
    let (full, file) = pool.run(share, Lane::Files, open).await?.map_err(unreadable)?;
    let (file, hash) = hashing::hash::<TransferError>(pool, share, file).await?;
    let hash = hash.ok_or(TransferError::Changed(path))?;
    Ok(Hashed { path: full, stamp: file.stamp, hash })
}
