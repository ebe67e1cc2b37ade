//! The tree object: one folder (`spec: swarm 1, 18`).
//!
//! Only regular files and folders with harmless names are read: no link, sub-module or
//! executable, and no name that some file system could take for another one or for `.git`.

use bytes::Bytes;

use super::ObjectError;
use crate::ids::{BlobId, TreeId};

/// Longest tree read, in bytes: about 100,000 devices.
pub const MAX_TREE: usize = 10 * 1024 * 1024;

/// Deepest folder below the root; `votes/ban/members/<target>/` is the deepest that exists.
pub const MAX_TREE_DEPTH: usize = 4;

/// Longest name, in bytes; `<device id>.crt` has 68.
const MAX_NAME: usize = 128;

const FILE_MODE: &[u8] = b"100644";
const FOLDER_MODE: &[u8] = b"40000";

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file.
    File(BlobId),
    /// A folder.
    Folder(TreeId),
}

impl EntryKind {
    fn id(&self) -> &[u8; 20] {
        match self {
            Self::File(id) => id.as_bytes(),
            Self::Folder(id) => id.as_bytes(),
        }
    }
}

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// Its name, see [`is_safe_name`].
    pub name: String,
    /// What it is, and its id.
    pub kind: EntryKind,
}

impl TreeEntry {
    fn sort_key(&self) -> (&[u8], bool) {
        (self.name.as_bytes(), matches!(self.kind, EntryKind::Folder(_)))
    }

    /// Which of two entries comes first in a tree. Equal: both files, or both folders, of one name.
    pub(in crate::swarm) fn cmp_in_git(&self, other: &Self) -> std::cmp::Ordering {
        git_order(self.sort_key(), other.sort_key())
    }
}

/// Whether a folder may hold this name: ASCII letters, digits, `-`, `_` and inner dots. All names
/// of the layout are such; so `..`, `.git` and everything that a file system could fold, strip or
/// shorten into them is out.
#[must_use]
pub fn is_safe_name(name: &[u8]) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && !name.starts_with(b".")
        && !name.ends_with(b".")
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Git's order: by name, a folder as if its name ended with a slash.
fn git_order(left: (&[u8], bool), right: (&[u8], bool)) -> std::cmp::Ordering {
    let next = |(name, folder): (&[u8], bool), at: usize| name.get(at).copied().or(folder.then_some(b'/'));
    let shared = left.0.len().min(right.0.len());
    let prefixes = left.0.get(..shared).cmp(&right.0.get(..shared));
    prefixes.then_with(|| next(left, shared).cmp(&next(right, shared)))
}

/// A folder, sorted as git wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    entries: Vec<TreeEntry>,
}

impl Tree {
    /// Reads a tree object.
    ///
    /// # Errors
    /// [`ObjectError`] when it is longer than [`MAX_TREE`], not sorted, names something twice, or
    /// holds another mode or an unsafe name.
    pub fn parse(bytes: &[u8]) -> Result<Self, ObjectError> {
        if bytes.len() > MAX_TREE {
            return Err(ObjectError::TooLong { kind: "tree", length: bytes.len(), limit: MAX_TREE });
        }
        let mut entries: Vec<TreeEntry> = Vec::new();
        for entry in RawEntries(bytes) {
            let (mode, name, id) = entry?;
            if !is_safe_name(name) {
                return Err(ObjectError::Tree("unsafe name"));
            }
            let name = String::from_utf8(name.to_vec()).map_err(|_| ObjectError::Tree("unsafe name"))?;
            let kind = match mode {
                FILE_MODE => EntryKind::File(BlobId(id)),
                FOLDER_MODE => EntryKind::Folder(TreeId(id)),
                _ => return Err(ObjectError::Tree("neither a regular file nor a folder")),
            };
            let entry = TreeEntry { name, kind };
            if let Some(last) = entries.last()
                && (last.name == entry.name || git_order(last.sort_key(), entry.sort_key()).is_ge())
            {
                return Err(ObjectError::Tree("not sorted"));
            }
            entries.push(entry);
        }
        let tree = Self { entries };
        // Sorted as they are, only a file and a folder can still have one name.
        let folders = tree.entries.iter().filter(|entry| matches!(entry.kind, EntryKind::Folder(_)));
        if folders.into_iter().any(|folder| tree.find(&folder.name, false).is_some()) {
            return Err(ObjectError::Tree("a name twice"));
        }
        Ok(tree)
    }

    fn place(&self, name: &str, folder: bool) -> Option<usize> {
        let wanted = (name.as_bytes(), folder);
        self.entries.binary_search_by(|entry| git_order(entry.sort_key(), wanted)).ok()
    }

    fn find(&self, name: &str, folder: bool) -> Option<EntryKind> {
        self.entries.get(self.place(name, folder)?).map(|entry| entry.kind)
    }

    /// The content of the tree object.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(self.entries.len() * 80);
        for entry in &self.entries {
            let mode = if matches!(entry.kind, EntryKind::File(_)) { FILE_MODE } else { FOLDER_MODE };
            bytes.extend_from_slice(mode);
            bytes.push(b' ');
            bytes.extend_from_slice(entry.name.as_bytes());
            bytes.push(0);
            bytes.extend_from_slice(entry.kind.id());
        }
        bytes.into()
    }

    /// The entries in git's order.
    #[must_use]
    pub fn entries(&self) -> &[TreeEntry] {
        &self.entries
    }

    /// The entries, taken out.
    #[must_use]
    pub fn into_entries(self) -> Vec<TreeEntry> {
        self.entries
    }

    /// The entry of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<EntryKind> {
        self.find(name, false).or_else(|| self.find(name, true))
    }

    /// Puts an entry in its place, instead of one of the same name.
    ///
    /// # Errors
    /// [`ObjectError::Tree`] when the name is unsafe.
    pub fn put(&mut self, name: &str, kind: EntryKind) -> Result<(), ObjectError> {
        if !is_safe_name(name.as_bytes()) {
            return Err(ObjectError::Tree("unsafe name"));
        }
        self.remove(name);
        let entry = TreeEntry { name: name.to_owned(), kind };
        let place = self.entries.partition_point(|other| other.cmp_in_git(&entry).is_lt());
        self.entries.insert(place, entry);
        Ok(())
    }

    /// Takes the entry of this name away; says whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let place = self.place(name, false).or_else(|| self.place(name, true));
        if let Some(place) = place {
            self.entries.remove(place);
        }
        place.is_some()
    }

    /// Whether the folder is empty; git has no empty folders but the root.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Looks one name up in the bytes of a tree without building it: folders can be large and most
/// commits only ask for one or two files in a tree that was checked before.
#[must_use]
pub fn find_entry(tree: &[u8], name: &str) -> Option<EntryKind> {
    RawEntries(tree).map_while(Result::ok).find(|entry| entry.1 == name.as_bytes()).and_then(
        |(mode, _, id)| match mode {
            FILE_MODE => Some(EntryKind::File(BlobId(id))),
            FOLDER_MODE => Some(EntryKind::Folder(TreeId(id))),
            _ => None,
        },
    )
}

struct RawEntries<'a>(&'a [u8]);

type RawEntry<'a> = (&'a [u8], &'a [u8], [u8; 20]);

impl<'a> RawEntries<'a> {
    fn read(&mut self) -> Option<RawEntry<'a>> {
        let (head, rest) = self.0.split_at_checked(self.0.iter().position(|&byte| byte == 0)?)?;
        let (mode, name) = head.split_at_checked(head.iter().position(|&byte| byte == b' ')?)?;
        let (id, rest) = rest.get(1..)?.split_at_checked(20)?;
        self.0 = rest;
        Some((mode, name.get(1..)?, id.try_into().ok()?))
    }
}

impl<'a> Iterator for RawEntries<'a> {
    type Item = Result<RawEntry<'a>, ObjectError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = self.read().ok_or(ObjectError::Tree("cut short"));
        if entry.is_err() {
            self.0 = &[];
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::swarm::golden;
    use crate::swarm::object::ObjectKind;

    fn raw(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (mode, name) in entries {
            bytes.extend_from_slice(mode.as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(name);
            bytes.push(0);
            bytes.extend_from_slice(&[7; 20]);
        }
        bytes
    }

    #[test]
    fn golden_trees_survive_a_round_trip() {
        let golden = golden::load("newest");
        let mut seen = 0;
        for (kind, _, content) in golden.objects.iter() {
            if kind == ObjectKind::Tree {
                let tree = Tree::parse(content).unwrap();
                assert_eq!(tree.to_bytes(), content);
                for entry in tree.entries() {
                    assert_eq!(find_entry(content, &entry.name), Some(entry.kind));
                }
                seen += 1;
            }
        }
        assert!(seen > 10);
    }

    #[test]
    fn dangerous_entries_are_refused() {
        for (mode, name) in [
            ("120000", &b"link"[..]),
            ("160000", b"module"),
            ("100755", b"program"),
            ("100664", b"group"),
            ("040000", b"padded"),
            ("100644", b""),
            ("100644", b"."),
            ("100644", b".."),
            ("40000", b".git"),
            ("40000", b".GIT"),
            ("40000", b"git~1"),
            ("40000", b".git."),
            ("40000", b".git "),
            ("40000", b".git::$INDEX_ALLOCATION"),
            ("40000", ".g\u{200c}it".as_bytes()),
            ("100644", b"a/b"),
            ("100644", b"a\\b"),
            ("100644", b"con:"),
            ("100644", b"x."),
            ("100644", &[b'x'; 200]),
            ("100644", b"\xff"),
        ] {
            assert!(Tree::parse(&raw(&[(mode, name)])).is_err(), "{mode} {}", String::from_utf8_lossy(name));
        }
        assert!(Tree::parse(&raw(&[("100644", b"fine")])).is_ok());
    }

    #[test]
    fn disorder_and_doubles_are_refused() {
        assert!(Tree::parse(&raw(&[("100644", b"b"), ("100644", b"a")])).is_err());
        assert!(Tree::parse(&raw(&[("100644", b"a"), ("100644", b"a")])).is_err());
        // A file and a folder of one name, with another between them in git's order.
        assert!(Tree::parse(&raw(&[("100644", b"a"), ("100644", b"a.b"), ("40000", b"a")])).is_err());
        // `a.b` sorts before the folder `a`, which sorts as `a/`.
        assert!(Tree::parse(&raw(&[("100644", b"a.b"), ("40000", b"a")])).is_ok());
    }

    #[test]
    fn a_cut_tree_is_refused_at_every_length() {
        let bytes = raw(&[("100644", b"a"), ("40000", b"b")]);
        let whole = "100644 a".len() + 1 + 20;
        for length in 1..bytes.len() {
            assert_eq!(Tree::parse(&bytes[..length]).is_ok(), length == whole, "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Tree::parse(&bytes);
            let _ = find_entry(&bytes, "a");
        }

        #[test]
        fn built_trees_are_read_back(names in proptest::collection::vec(("[a-c]{1,3}(\\.[a-c])?", any::<bool>()), 0..20)) {
            let mut tree = Tree::default();
            for (name, folder) in names {
                let kind = if folder { EntryKind::Folder(TreeId([1; 20])) } else { EntryKind::File(BlobId([2; 20])) };
                tree.put(&name, kind).unwrap();
            }
            prop_assert_eq!(Tree::parse(&tree.to_bytes()).unwrap(), tree);
        }
    }
}
