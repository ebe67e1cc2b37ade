//! Objects as files of their own: how what is new is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use skep_protocol::ids::ObjectId;
use skep_protocol::swarm::git::deflate::deflate;
use skep_protocol::swarm::object::NewObject;

use super::durable::{self, TEMPORARY, at};
use super::{Repository, Result, objects_folder};

impl Repository {
    /// Writes objects that are not here yet; when it returns they are on disk. Returns the ids of
    /// those that were written.
    ///
    /// # Errors
    /// What the system says, for example that the disk is full. Some objects may be there then,
    /// whole and unused.
    pub fn write_objects(&self, objects: &[NewObject]) -> Result<Vec<ObjectId>> {
        let mut batch = Batch::default();
        for object in objects {
            let id = ObjectId(object.id);
            let path = self.loose_path(id);
            if self.contains(id)? || batch.renames.contains_key(&path) {
                continue;
            }
            let Some(folder) = path.parent() else { continue };
            if !folder.exists() {
                self.unforced.borrow_mut().insert(self.objects_folder());
                durable::create_folder(folder)?;
            }
            let temporary = folder.join(format!("{TEMPORARY}obj_{id}"));
            durable::write_temporary(&temporary, &encode(object))?;
            batch.renames.insert(path, temporary);
            batch.ids.push(id);
        }
        batch.finish(&mut self.unforced.borrow_mut())?;
        self.force_names()?;
        Ok(std::mem::take(&mut batch.ids))
    }

    pub(super) fn loose_path(&self, id: ObjectId) -> PathBuf {
        loose_path(self.path(), id)
    }
}

/// Where the file of an object of its own is.
pub(super) fn loose_path(repository: &Path, id: ObjectId) -> PathBuf {
    let hex = id.to_hex();
    let (folder, file) = hex.split_at(2);
    objects_folder(repository).join(folder).join(file)
}

/// The ids of all objects that have a file of their own.
pub(super) fn loose_ids(repository: &Path) -> Result<Vec<ObjectId>> {
    let objects = objects_folder(repository);
    let mut ids = Vec::new();
    for folder in durable::file_names(&objects)?.iter().filter(|name| name.len() == 2) {
        ids.extend(ids_in(&objects, folder)?);
    }
    Ok(ids)
}

/// The folders of objects that did not change before `main` did: whoever moves it has forced to disk what came
/// before.
pub(super) fn changed_since(repository: &Path, main: &Path) -> Result<Vec<PathBuf>> {
    let objects = objects_folder(repository);
    let changed = |path: &Path| fs::metadata(path).and_then(|about| about.modified()).map_err(at(path));
    let moved = if main.exists() { Some(changed(main)?) } else { None };
    let mut folders = Vec::new();
    for name in durable::file_names(&objects)?.iter().filter(|name| name.len() == 2) {
        let folder = objects.join(name);
        if Some(changed(&folder)?) >= moved {
            folders.push(folder);
        }
    }
    Ok(folders)
}

/// Files being written together.
#[derive(Default)]
struct Batch {
    ids: Vec<ObjectId>,
    /// Where each file goes, and where it is until then.
    renames: BTreeMap<PathBuf, PathBuf>,
}

impl Batch {
    /// Puts all files into place; adds the folders that their names are in.
    fn finish(&mut self, unforced: &mut BTreeSet<PathBuf>) -> Result<()> {
        while let Some((to, from)) = self.renames.pop_first() {
            unforced.extend(to.parent().map(Path::to_owned));
            let renamed = fs::rename(&from, &to).map_err(at(&to));
            if renamed.is_err() {
                self.renames.insert(to, from);
            }
            renamed?;
        }
        Ok(())
    }
}

impl Drop for Batch {
    /// After a failure nothing may stay on a disk that is perhaps full.
    fn drop(&mut self) {
        for temporary in self.renames.values() {
            let _ = fs::remove_file(temporary);
        }
    }
}

fn ids_in(objects: &Path, folder: &str) -> Result<Vec<ObjectId>> {
    let names = durable::file_names(&objects.join(folder))?;
    Ok(names.iter().filter_map(|name| format!("{folder}{name}").parse().ok()).collect())
}

/// The bytes of the file: header and content, deflated.
fn encode(object: &NewObject) -> Vec<u8> {
    let header = format!("{} {}\0", object.kind.word(), object.content.len());
    deflate(Vec::with_capacity(object.content.len() / 2), &[header.as_bytes(), &object.content])
}
