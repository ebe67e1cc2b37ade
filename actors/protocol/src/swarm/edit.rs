//! Changing a tree: a few files put or removed, the folders on their way written anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diff::{ReadError, TreeReader};
use super::layout::TreePath;
use super::object::{EntryKind, NewObject, ObjectError, ObjectKind, ObjectSource, Tree};
use crate::ids::{BlobId, TreeId};

/// Edits of one tree, gathered and then written at once.
#[derive(Debug)]
pub struct TreeEdit<'s, S> {
    reader: TreeReader<'s, S>,
    root: Option<TreeId>,
    files: BTreeMap<String, Option<BlobId>>,
    objects: Vec<NewObject>,
}

/// An edited tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditedTree {
    /// Its id.
    pub root: TreeId,
    /// The new files and folders.
    pub objects: Vec<NewObject>,
}

type Edits<'e> = [(&'e str, Option<BlobId>)];

impl<'s, S: ObjectSource> TreeEdit<'s, S> {
    /// Edits of `root`, or of nothing.
    #[must_use]
    pub const fn new(source: &'s S, root: Option<TreeId>) -> Self {
        Self { reader: TreeReader::new(source), root, files: BTreeMap::new(), objects: Vec::new() }
    }

    /// Puts a file with this content.
    ///
    /// # Errors
    /// [`ObjectError::Collision`] when the content is an attack.
    pub fn put(&mut self, path: TreePath, content: &[u8]) -> Result<(), ObjectError> {
        self.put_at(path.to_string(), content)
    }

    /// Puts a file that exists elsewhere already.
    pub fn place(&mut self, path: TreePath, file: BlobId) {
        self.files.insert(path.to_string(), Some(file));
    }

    /// Takes a file away, if it is there.
    pub fn remove(&mut self, path: TreePath) {
        self.files.insert(path.to_string(), None);
    }

    pub(super) fn put_at(&mut self, path: String, content: &[u8]) -> Result<(), ObjectError> {
        let blob = NewObject::new(ObjectKind::Blob, content.to_vec())?;
        self.files.insert(path, Some(BlobId(blob.id)));
        self.objects.push(blob);
        Ok(())
    }

    /// Writes the folders.
    ///
    /// # Errors
    /// [`ReadError`] when a folder on the way is missing or malformed.
    pub fn finish(mut self) -> Result<EditedTree, ReadError> {
        let files = std::mem::take(&mut self.files);
        let edits: Vec<(&str, Option<BlobId>)> =
            files.iter().map(|(path, file)| (path.as_str(), *file)).collect();
        let root = self.write(self.root, &edits)?;
        let root = match root {
            Some(root) => root,
            None => self.keep(&Tree::default())?,
        };
        Ok(EditedTree { root, objects: self.objects })
    }

    /// Writes one folder, its paths being relative to it; as deep as the paths of the layout.
    /// `None` if nothing remains in it.
    fn write(&mut self, folder: Option<TreeId>, edits: &Edits<'_>) -> Result<Option<TreeId>, ReadError> {
        let tree = folder.map(|id| self.reader.tree(id)).transpose()?.unwrap_or_default();
        let mut tree = Arc::unwrap_or_clone(tree);
        let mut below: BTreeMap<&str, Vec<(&str, Option<BlobId>)>> = BTreeMap::new();
        for (path, file) in edits {
            match (path.split_once('/'), file) {
                (Some((name, rest)), file) => below.entry(name).or_default().push((rest, *file)),
                (None, Some(file)) => tree.put(path, EntryKind::File(*file))?,
                (None, None) => _ = tree.remove(path),
            }
        }
        for (name, edits) in below {
            let old = match tree.get(name) {
                Some(EntryKind::Folder(id)) => Some(id),
                _ => None,
            };
            match self.write(old, &edits)? {
                Some(id) => tree.put(name, EntryKind::Folder(id))?,
                None => _ = tree.remove(name),
            }
        }
        if tree.is_empty() { Ok(None) } else { Ok(Some(self.keep(&tree)?)) }
    }

    fn keep(&mut self, tree: &Tree) -> Result<TreeId, ObjectError> {
        let object = NewObject::new(ObjectKind::Tree, tree.to_bytes())?;
        let id = TreeId(object.id);
        self.objects.push(object);
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AccountId;
    use crate::swarm::object::MemoryObjects;

    #[test]
    fn folders_come_and_go_with_their_files() {
        let mut objects = MemoryObjects::default();
        let (one, two) = (TreePath::invited(AccountId([1; 20])), TreePath::invited(AccountId([2; 20])));
        let mut edit = TreeEdit::new(&objects, None);
        edit.put(one, b"").unwrap();
        edit.put(TreePath::Profile, b"x").unwrap();
        let first = edit.finish().unwrap();
        objects.extend(first.objects);

        let mut edit = TreeEdit::new(&objects, Some(first.root));
        edit.put(two, b"").unwrap();
        edit.remove(one);
        let second = edit.finish().unwrap();
        objects.extend(second.objects);
        let reader = TreeReader::new(&objects);
        let changed: Vec<_> =
            reader.changes(Some(first.root), second.root).unwrap().iter().map(|change| change.path).collect();
        assert_eq!(changed, [one, two]);

        let mut edit = TreeEdit::new(&objects, Some(second.root));
        edit.remove(two);
        let third = edit.finish().unwrap();
        objects.extend(third.objects);
        let reader = TreeReader::new(&objects);
        assert_eq!(reader.tree(third.root).unwrap().entries().len(), 1);

        let mut edit = TreeEdit::new(&objects, Some(third.root));
        edit.remove(TreePath::Profile);
        let nothing = edit.finish().unwrap();
        assert_eq!(nothing.root.to_hex(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
    }
}
