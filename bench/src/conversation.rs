//! Long conversations, measured in this process: on disk, without a network.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use bytes::Bytes;
use skep_actors::swarm::repository::Repository;
use skep_actors::swarm::repository::fetch::{Fetch, Fetched, NewCommits};
use skep_actors::swarm::repository::serve::Serve;
use skep_protocol::ids::{ConversationId, DeviceId};
use skep_protocol::swarm::validate::Validator;

use crate::history::{Author, SyntheticHistory};
use crate::report::Progress;
use crate::statistics::Samples;
use crate::{BenchError, Result};

/// Lengths of the conversations, in commits: the shorter ones show how time grows with length.
pub(crate) const LENGTHS: [usize; 3] = [10_000, 50_000, 100_000];

/// How often the making of a conversation is told, in commits.
const PROGRESS: usize = 10_000;

/// Signatures made; each takes about two milliseconds.
const SIGNATURES: u8 = 100;

/// Pieces of at most 64 KiB that may be on their way: as much as a channel between nodes holds back.
const PIECES_UNDER_WAY: usize = 16;

/// Milliseconds for an RSA-4096 signature, as every commit needs one.
pub(crate) fn rsa_sign() -> Result<Samples> {
    let author = Author::golden("alice")?;
    let mut samples = Samples::default();
    for number in 0..SIGNATURES {
        let data = [number; 400];
        let begin = Instant::now();
        author.key().sign(&data).map_err(BenchError::conversation)?;
        samples.add_millis(begin.elapsed());
    }
    Ok(samples)
}

/// Git bundles of the synthetic conversation, one for each of [`LENGTHS`].
#[derive(Clone, Debug)]
pub(crate) struct Bundles {
    folder: PathBuf,
    conversation: ConversationId,
}

impl Bundles {
    /// Makes them in `folder`, unless they are there from an earlier run: a hundred thousand
    /// signatures take minutes.
    pub(crate) fn prepare(folder: &Path, progress: Progress) -> Result<Self> {
        let conversation = SyntheticHistory::generate(2, |_| ())?.conversation;
        // By its name, a bundle of another conversation is not taken for this one.
        let bundles = Self { folder: folder.join(format!("conversation-{conversation}")), conversation };
        if LENGTHS.iter().all(|length| bundles.path(*length).is_file()) {
            return Ok(bundles);
        }
        std::fs::create_dir_all(&bundles.folder).map_err(BenchError::file(&bundles.folder))?;
        let most = LENGTHS.into_iter().max().unwrap_or_default();
        let history = SyntheticHistory::generate(most, |made| {
            if made % PROGRESS == 0 {
                progress(&format!("making the conversation: {made} of {most} commits"));
            }
        })?;
        for length in LENGTHS {
            let path = bundles.path(length);
            let unfinished = path.with_extension("new");
            std::fs::write(&unfinished, history.bundle(length)?).map_err(BenchError::file(&unfinished))?;
            std::fs::rename(&unfinished, &path).map_err(BenchError::file(&path))?;
        }
        Ok(bundles)
    }

    /// The bundle of so many commits.
    pub(crate) fn path(&self, length: usize) -> PathBuf {
        self.folder.join(format!("{length}.bundle"))
    }

    /// A repository made of the bundle of so many commits, as `folder/length`.
    pub(crate) fn unpack(&self, length: usize, folder: &Path) -> Result<Repository> {
        let path = folder.join(length.to_string());
        Repository::import_bundle(&self.path(length), &path).map_err(BenchError::conversation)
    }

    /// Commits validated a second, one after the other, read from the repository.
    pub(crate) fn validate(&self, repository: &Repository) -> Result<f64> {
        let mut validator = Validator::new(repository, self.conversation);
        let head = repository.head().map_err(BenchError::conversation)?;
        let head = head.unwrap_or(self.conversation.initial_commit());
        let begin = Instant::now();
        let valid = validator.validate_history(head, |_| false).map_err(BenchError::conversation)?;
        let seconds = begin.elapsed().as_secs_f64();
        Ok(f64::from(u32::try_from(valid.len()).unwrap_or(u32::MAX)) / seconds)
    }

    /// Seconds to clone `origin` into `path`, as two nodes do: the server packs, the client scans,
    /// stores and validates, and moves its `main` last.
    pub(crate) fn clone_time(&self, origin: Repository, path: &Path) -> Result<f64> {
        let (requests, asked) = sync_channel(PIECES_UNDER_WAY);
        let (answers, answered) = sync_channel(PIECES_UNDER_WAY);
        let begin = Instant::now();
        let server = std::thread::spawn(move || serve(&origin, &asked, &answers));
        let cloned = self.fetch(path, requests, &answered);
        let seconds = begin.elapsed().as_secs_f64();
        // The client knows less than the server about why the server ended.
        drop(answered);
        server.join().map_err(|_| BenchError::conversation(io::Error::other("the server panicked")))??;
        cloned?;
        Ok(seconds)
    }

    fn fetch(&self, path: &Path, requests: SyncSender<Bytes>, answers: &Receiver<Bytes>) -> Result<()> {
        let mut copy = Repository::create(path).map_err(BenchError::conversation)?;
        let mut session = Fetch::new(self.conversation, DeviceId([0; 32]));
        let mut received = Bytes::new();
        let fetched = loop {
            let step = session.advance(&copy, &received).map_err(BenchError::conversation)?;
            for bytes in step.send {
                requests.send(bytes).map_err(BenchError::conversation)?;
            }
            if let Some(fetched) = step.done {
                break fetched;
            }
            received = answers.recv().map_err(BenchError::conversation)?;
        };
        drop(requests);
        let Fetched::New(pack) = fetched else {
            return Err(BenchError::conversation(io::Error::other("the clone brought nothing")));
        };
        let NewCommits { head, commits, quarantine } = pack.store(&copy).map_err(BenchError::conversation)?;
        copy.admit(quarantine).map_err(BenchError::conversation)?;
        let mut validator = Validator::new(&copy, self.conversation);
        for commit in commits {
            validator.validate(commit).map_err(BenchError::conversation)?;
        }
        copy.move_main(None, head).map_err(BenchError::conversation)
    }
}

/// Serves a client until it asks for nothing more.
fn serve(origin: &Repository, asked: &Receiver<Bytes>, answers: &SyncSender<Bytes>) -> Result<()> {
    let mut session = Serve::default();
    while let Ok(mut bytes) = asked.recv() {
        loop {
            let step = session.advance(origin, &bytes).map_err(BenchError::conversation)?;
            for bytes in step.send {
                if answers.send(bytes).is_err() {
                    return Ok(());
                }
            }
            if !step.more {
                break;
            }
            bytes = Bytes::new();
        }
    }
    Ok(())
}
