//! Long conversations, measured in this process: on disk, without a network.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use skep_actors::swarm::repository::Repository;
use skep_actors::swarm::repository::fetch::{Fetch, Fetched, fetch};
use skep_actors::swarm::repository::serve::{Duplex, serve};
use skep_protocol::ids::{ConversationId, DeviceId};
use skep_protocol::swarm::validate::Validator;

use crate::history::{Author, SyntheticHistory};
use crate::node::Progress;
use crate::statistics::Samples;
use crate::{BenchError, Result};

/// Lengths of the conversations, in commits: the shorter ones show how time grows with length.
pub(crate) const LENGTHS: [usize; 3] = [10_000, 50_000, 100_000];

/// How often the making of a conversation is told, in commits.
const PROGRESS: usize = 10_000;

/// Signatures made; each takes about two milliseconds.
const SIGNATURES: u8 = 100;

/// How long a clone may take.
const PATIENCE: Duration = Duration::from_secs(600);

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

    /// Seconds to clone `origin` over a socket into `path`, as a node does: the server packs, the
    /// client scans, stores and validates, and moves its `main` last.
    pub(crate) fn clone_time(&self, origin: Repository, path: &Path) -> Result<f64> {
        let (server_end, client_end) = UnixStream::pair().map_err(BenchError::file("a socket"))?;
        let begin = Instant::now();
        let server = std::thread::spawn(move || {
            let mut deadline = || Instant::now() + PATIENCE;
            serve(&origin, &mut Socket(server_end), &mut deadline, &mut |_| ())
        });
        let cloned = self.fetch_all(client_end, path);
        let seconds = begin.elapsed().as_secs_f64();
        cloned?;
        match server.join() {
            Ok(served) => served.map_err(BenchError::conversation)?,
            Err(_) => return Err(BenchError::conversation(io::Error::other("the server panicked"))),
        }
        Ok(seconds)
    }

    fn fetch_all(&self, channel: UnixStream, path: &Path) -> Result<()> {
        let mut copy = Repository::create(path).map_err(BenchError::conversation)?;
        let session = Fetch::new(self.conversation, DeviceId([0; 32]));
        let deadline = Instant::now() + PATIENCE;
        let fetched = fetch(&mut copy, &mut Socket(channel), session, deadline);
        let Fetched::New { head, commits, .. } = fetched.map_err(BenchError::conversation)? else {
            return Err(BenchError::conversation(io::Error::other("the clone brought nothing")));
        };
        let mut validator = Validator::new(&copy, self.conversation);
        for commit in commits {
            validator.validate(commit).map_err(BenchError::conversation)?;
        }
        copy.move_main(None, head).map_err(BenchError::conversation)
    }
}

/// A socket as a channel.
struct Socket(UnixStream);

impl Duplex for Socket {
    fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        self.0.set_read_timeout(Some(deadline.saturating_duration_since(Instant::now())))?;
        self.0.read(buffer)
    }

    fn write(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        self.0.set_write_timeout(Some(deadline.saturating_duration_since(Instant::now())))?;
        self.0.write_all(bytes)
    }
}
