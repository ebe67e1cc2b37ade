//! Packs for peers: made while they are sent, one object in memory at a time.

use skep_protocol::ids::{CommitId, ObjectId};
use skep_protocol::swarm::git::pack::write::PackWriter;
use skep_protocol::swarm::object::ObjectKind;

use super::walk::NewHistory;
use super::{Repository, RepositoryError, Result};

/// Bytes gathered before they are handed on, one object more at most.
const CHUNK: usize = 64 * 1024;

/// Most commits of a pack that is made at once.
const SHORT: usize = 128;

/// Among so many commits one that was the head a moment ago is looked for.
const NEWEST: usize = 32;

/// A pack under way.
#[derive(Debug)]
pub struct PackStream {
    objects: std::vec::IntoIter<ObjectId>,
    /// None once the checksum was written.
    writer: Option<PackWriter>,
    out: Vec<u8>,
}

impl Repository {
    /// Starts a pack of everything that `want` has and `haves` do not. Haves that are not here are
    /// ignored. The pack is self-contained: no delta, no outside base.
    ///
    /// # Errors
    /// [`RepositoryError::NotInHistory`] when `want` is no commit of `main`, or when an object is
    /// missing or damaged.
    pub fn pack_stream(&self, want: CommitId, haves: &[CommitId]) -> Result<PackStream> {
        let head = self.head()?.ok_or(RepositoryError::NotInHistory(want))?;
        let is_commit = matches!(self.header(want.into())?, Some((ObjectKind::Commit, _)));
        if !is_commit || !self.reaches(head, want)? {
            return Err(RepositoryError::NotInHistory(want));
        }
        self.pack_of(&self.new_history(want, haves)?)
    }

    /// The same, if it takes milliseconds: a few commits up to one of the newest.
    pub(super) fn short_pack_stream(&self, want: CommitId, haves: &[CommitId]) -> Result<Option<PackStream>> {
        let Some(head) = self.head()? else { return Ok(None) };
        if want != head && !self.newest_commits(head, NEWEST)?.contains(&want) {
            return Ok(None);
        }
        match self.new_history_within(want, haves, SHORT) {
            Ok(history) => self.pack_of(&history).map(Some),
            Err(RepositoryError::TooMany { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn pack_of(&self, history: &NewHistory) -> Result<PackStream> {
        let files = self.new_objects(history)?;
        let mut objects: Vec<ObjectId> = history.commits.iter().map(|step| step.id.into()).collect();
        objects.extend(files.into_iter().map(|(id, _)| id));
        let count = u32::try_from(objects.len())
            .map_err(|_| RepositoryError::TooMany { what: "objects", limit: u32::MAX as usize })?;
        let mut out = Vec::new();
        let writer = Some(PackWriter::new(count, &mut out));
        Ok(PackStream { objects: objects.into_iter(), writer, out })
    }
}

impl PackStream {
    /// The next bytes of the pack; none when it is complete.
    ///
    /// # Errors
    /// When an object is missing or damaged: the pack cannot be completed.
    pub fn next_bytes(&mut self, repository: &Repository) -> Result<Option<Vec<u8>>> {
        while let Some(writer) = &mut self.writer {
            if self.out.len() >= CHUNK {
                break;
            }
            let miscounted = |_| repository.store_error(&"a pack was miscounted");
            if let Some(id) = self.objects.next() {
                let (kind, data) = repository.find(id)?.ok_or(RepositoryError::MissingObject(id))?;
                writer.object(kind, &data, &mut self.out).map_err(miscounted)?;
            } else if let Some(writer) = self.writer.take() {
                writer.finish(&mut self.out).map_err(miscounted)?;
            }
        }
        let bytes = std::mem::take(&mut self.out);
        Ok((!bytes.is_empty()).then_some(bytes))
    }
}
