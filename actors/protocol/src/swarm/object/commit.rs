//! The commit object: read, made and signed (`spec: swarm 3`).

use base64::Engine as _;
use bytes::Bytes;

use super::{ObjectError, ObjectKind, object_id};
use crate::ids::{CommitId, DeviceId, TreeId};
use crate::keys::{KeyError, PrivateKey};

/// Longest commit read or made, in bytes. A message is suggested to stay below 64 KiB; a document
/// checkpoint may carry more in its message.
pub const MAX_COMMIT: usize = 4 * 1024 * 1024;

/// Most parents read. Validation allows two; git itself knows more.
pub const MAX_PARENTS: usize = 16;

/// Most header lines read, continuation lines included; an honest commit has seven.
const MAX_HEADER_LINES: usize = 256;

/// Who made a commit and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Display name as bytes; not always valid UTF-8.
    pub name: Bytes,
    /// The e-mail field: the device id in hexadecimal, for every honest commit.
    pub email: Bytes,
    /// Unix time in seconds, as the author claims.
    pub seconds: i64,
}

impl Signature {
    /// The device named by the e-mail field: 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn device(&self) -> Option<DeviceId> {
        let text = std::str::from_utf8(&self.email).ok()?;
        let device: DeviceId = text.parse().ok()?;
        (device.to_hex() == text).then_some(device)
    }

    fn parse(raw: &Bytes, line: &[u8]) -> Result<Self, ObjectError> {
        const BAD: ObjectError = ObjectError::Commit("author or committer line");
        let open = line.iter().position(|&byte| byte == b'<').ok_or(BAD)?;
        let close = line.iter().position(|&byte| byte == b'>').ok_or(BAD)?;
        let (name, rest) = line.split_at(open);
        let email = line.get(open + 1..close).ok_or(BAD)?;
        let after = line.get(close + 1..).ok_or(BAD)?;
        let angles = |bytes: &[u8]| bytes.iter().any(|byte| matches!(byte, b'<' | b'>' | 0));
        if angles(name) || angles(email) || angles(after) || rest.is_empty() {
            return Err(BAD);
        }
        let after = std::str::from_utf8(after).map_err(|_| BAD)?;
        let (seconds, zone) = after.strip_prefix(' ').and_then(|text| text.split_once(' ')).ok_or(BAD)?;
        let zone_is_good = zone.len() == 5
            && zone.starts_with(['+', '-'])
            && zone.bytes().skip(1).all(|byte| byte.is_ascii_digit());
        let seconds_are_good = seconds.bytes().all(|byte| byte.is_ascii_digit());
        if !zone_is_good || !seconds_are_good {
            return Err(BAD);
        }
        let name = name.strip_suffix(b" ").unwrap_or(name);
        Ok(Self {
            name: raw.slice_ref(name),
            email: raw.slice_ref(email),
            seconds: seconds.parse().map_err(|_| BAD)?,
        })
    }
}

/// A commit as read. It says nothing about whether the commit is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The folder it records.
    pub tree: TreeId,
    /// Its parents, in order.
    pub parents: Vec<CommitId>,
    /// Who wrote it.
    pub author: Signature,
    /// Who committed it; honest commits repeat the author.
    pub committer: Signature,
    /// The message.
    pub message: Bytes,
    /// The decoded `signature` header, if there is one and it is base64.
    pub signature: Option<Vec<u8>>,
    raw: Bytes,
    signature_span: (usize, usize),
}

impl Commit {
    /// Reads a commit object (its content, without git's `commit <size>` header).
    ///
    /// # Errors
    /// [`ObjectError`] when it is longer than [`MAX_COMMIT`] or not in git's form: the headers
    /// `tree`, `parent`s, `author`, `committer` in this order, then others, an empty line and the
    /// message. More than one `signature` header is refused, as is a name with angle brackets.
    pub fn parse(raw: impl Into<Bytes>) -> Result<Self, ObjectError> {
        let raw = raw.into();
        if raw.len() > MAX_COMMIT {
            return Err(ObjectError::TooLong { kind: "commit", length: raw.len(), limit: MAX_COMMIT });
        }
        let mut reader = HeaderReader { rest: &raw, lines: 0 };
        let tree = TreeId(hex_id(reader.value(b"tree ")?.ok_or(ObjectError::Commit("no tree"))?)?);
        let mut parents = Vec::new();
        while let Some(parent) = reader.value(b"parent ")? {
            if parents.len() == MAX_PARENTS {
                return Err(ObjectError::Commit("too many parents"));
            }
            parents.push(CommitId(hex_id(parent)?));
        }
        let author = reader.value(b"author ")?.ok_or(ObjectError::Commit("no author"))?;
        let author = Signature::parse(&raw, author)?;
        let committer = reader.value(b"committer ")?.ok_or(ObjectError::Commit("no committer"))?;
        let committer = Signature::parse(&raw, committer)?;
        let (signature, signature_span) = read_signature(&raw, &mut reader)?;
        let message = raw.slice_ref(reader.rest);
        Ok(Self { tree, parents, author, committer, message, signature, raw, signature_span })
    }

    /// The whole content as read.
    #[must_use]
    pub const fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// What the signature covers: the exact content without the `signature` header.
    #[must_use]
    pub fn signed_content(&self) -> Vec<u8> {
        let (start, end) = self.signature_span;
        let mut content = Vec::with_capacity(self.raw.len());
        content.extend_from_slice(self.raw.get(..start).unwrap_or_default());
        content.extend_from_slice(self.raw.get(end..).unwrap_or_default());
        content
    }

    /// Commit time in Unix seconds (the committer's), which orders the history.
    #[must_use]
    pub const fn seconds(&self) -> i64 {
        self.committer.seconds
    }
}

/// The decoded signature, and where its header stands in the commit.
type FoundSignature = (Option<Vec<u8>>, (usize, usize));

/// Reads the headers after `committer` up to the empty line; finds the signature and its bytes.
fn read_signature(raw: &Bytes, reader: &mut HeaderReader<'_>) -> Result<FoundSignature, ObjectError> {
    let offset = |rest: &[u8]| raw.len() - rest.len();
    let mut text: Option<Vec<u8>> = None;
    let mut span = (0, 0);
    let mut inside = false;
    loop {
        let start = offset(reader.rest);
        let line = reader.line()?;
        if line.is_empty() {
            break;
        }
        if let Some(more) = line.strip_prefix(b" ") {
            if inside {
                text.get_or_insert_default().extend_from_slice(more);
                span.1 = offset(reader.rest);
            }
        } else if let Some(value) = line.strip_prefix(b"signature ") {
            if text.is_some() {
                return Err(ObjectError::Commit("two signatures"));
            }
            inside = true;
            text = Some(value.to_vec());
            span = (start, offset(reader.rest));
        } else {
            inside = false;
        }
    }
    let decoded = text.and_then(|mut text| {
        text.retain(|byte| !byte.is_ascii_whitespace());
        base64::engine::general_purpose::STANDARD.decode(text).ok()
    });
    Ok((decoded, span))
}

struct HeaderReader<'a> {
    rest: &'a [u8],
    lines: usize,
}

impl<'a> HeaderReader<'a> {
    fn line(&mut self) -> Result<&'a [u8], ObjectError> {
        self.lines += 1;
        if self.lines > MAX_HEADER_LINES {
            return Err(ObjectError::Commit("too many headers"));
        }
        let end = self.rest.iter().position(|&byte| byte == b'\n');
        let end = end.ok_or(ObjectError::Commit("no empty line after the headers"))?;
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest.get(1..).unwrap_or_default();
        Ok(line)
    }

    /// The rest of the next line if it begins with `key`; else nothing is consumed.
    fn value(&mut self, key: &[u8]) -> Result<Option<&'a [u8]>, ObjectError> {
        if self.rest.starts_with(key) { Ok(self.line()?.strip_prefix(key)) } else { Ok(None) }
    }
}

fn hex_id(text: &[u8]) -> Result<[u8; 20], ObjectError> {
    let mut id = [0; 20];
    if text.iter().any(u8::is_ascii_uppercase) || hex::decode_to_slice(text, &mut id).is_err() {
        return Err(ObjectError::Commit("object id"));
    }
    Ok(id)
}

/// A commit to be signed: a message and a tree by this device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsignedCommit {
    /// The folder it records.
    pub tree: TreeId,
    /// None for the first commit, one for most, two for a merge: `[own head, other head]`.
    pub parents: Vec<CommitId>,
    /// Display name of the account; see [`clean_name`] for what becomes of it.
    pub name: String,
    /// The device that signs.
    pub device: DeviceId,
    /// Unix time in seconds; not negative.
    pub seconds: i64,
    /// The message.
    pub message: Vec<u8>,
}

impl UnsignedCommit {
    /// The bytes to sign: the object without its signature header.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        let mut content = self.headers();
        content.push(b'\n');
        content.extend_from_slice(&self.message);
        content
    }

    /// Signs with the device key. RSA takes milliseconds: not for a thread that must not wait.
    ///
    /// # Errors
    /// [`SignError`] when the key is not the device's or the message is too long.
    pub fn sign(&self, key: &PrivateKey) -> Result<SignedCommit, SignError> {
        if key.public().device_id() != self.device {
            return Err(SignError::ForeignKey);
        }
        let signature = key.sign(&self.content())?;
        let mut content = self.headers();
        content.extend_from_slice(b"signature ");
        content.extend_from_slice(base64::engine::general_purpose::STANDARD.encode(signature).as_bytes());
        content.extend_from_slice(b"\n\n");
        content.extend_from_slice(&self.message);
        if content.len() > MAX_COMMIT {
            let length = content.len();
            return Err(ObjectError::TooLong { kind: "commit", length, limit: MAX_COMMIT }.into());
        }
        let id = CommitId(object_id(ObjectKind::Commit, &content)?);
        Ok(SignedCommit { id, content: content.into() })
    }

    fn headers(&self) -> Vec<u8> {
        let mut text = format!("tree {}\n", self.tree);
        for parent in &self.parents {
            text.push_str(&format!("parent {parent}\n"));
        }
        let name = clean_name(&self.name).unwrap_or_else(|| self.device.to_hex());
        let who = format!("{name} <{}> {} +0000", self.device, self.seconds.max(0));
        text.push_str(&format!("author {who}\ncommitter {who}\n"));
        text.into_bytes()
    }
}

/// Why a commit could not be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The key is not that of the device named in the commit.
    #[error("the key is not that of the device named as author")]
    ForeignKey,
    /// The key could not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The commit cannot be an object.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

/// A commit signed by its device, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCommit {
    /// Its id; covers the signature.
    pub id: CommitId,
    /// The content of the object.
    pub content: Bytes,
}

/// A display name as git can carry it: no angle brackets and control characters, no punctuation
/// at the ends that git strips. `None` when nothing remains; the device id is used instead.
#[must_use]
pub fn clean_name(name: &str) -> Option<String> {
    let text: String = name.chars().filter(|c| !matches!(c, '<' | '>') && !c.is_control()).collect();
    let crud = |c: char| c <= ' ' || matches!(c, '.' | ',' | ':' | ';' | '"' | '\\' | '\'');
    let text = text.trim_matches(crud);
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::swarm::golden;

    fn unsigned(name: &str) -> UnsignedCommit {
        UnsignedCommit {
            tree: TreeId([1; 20]),
            parents: vec![CommitId([2; 20]), CommitId([3; 20])],
            name: name.to_owned(),
            device: golden::device_key("newest", "alice").public().device_id(),
            seconds: 1_795_343_851,
            message: b"{\"type\":\"x\"}".to_vec(),
        }
    }

    #[test]
    fn a_signed_commit_reads_back_and_its_signature_verifies() {
        let key = golden::device_key("newest", "alice");
        let unsigned = unsigned("Alice");
        let signed = unsigned.sign(&key).unwrap();
        let commit = Commit::parse(signed.content.clone()).unwrap();
        assert_eq!(commit.signed_content(), unsigned.content());
        assert_eq!(commit.parents, unsigned.parents);
        assert_eq!(commit.author.device(), Some(unsigned.device));
        assert_eq!(commit.author, commit.committer);
        key.public().verify(&commit.signed_content(), commit.signature.as_ref().unwrap()).unwrap();
        assert_eq!(object_id(ObjectKind::Commit, commit.raw()).unwrap(), signed.id.0);
    }

    #[test]
    fn a_foreign_key_does_not_sign() {
        let key = golden::device_key("newest", "bob");
        assert_eq!(unsigned("Alice").sign(&key).unwrap_err(), SignError::ForeignKey);
    }

    #[test]
    fn odd_names_still_make_commits() {
        for (name, expected) in
            [("<o>", "o"), ("", ""), (" \n", ""), ("<>", ""), (". Zoë\n\0 ,", "Zoë"), ("a>b", "ab")]
        {
            let unsigned = unsigned(name);
            let commit = Commit::parse(unsigned.content()).unwrap();
            let device = unsigned.device.to_hex();
            let expected = if expected.is_empty() { device.as_str() } else { expected };
            assert_eq!(commit.author.name, expected.as_bytes(), "{name:?}");
        }
    }

    #[test]
    fn a_folded_signature_is_joined_and_cut_out_whole() {
        let text = "tree 0101010101010101010101010101010101010101\nauthor a <b> 1 +0000\n\
                    committer a <b> 1 +0000\nsignature YWJj\n ZGVm\nother x\n y\n\nhello\n\nsignature no";
        let commit = Commit::parse(text.as_bytes().to_vec()).unwrap();
        assert_eq!(commit.signature.as_deref(), Some(&b"abcdef"[..]));
        assert_eq!(commit.signed_content(), text.replace("signature YWJj\n ZGVm\n", "").as_bytes());
        assert_eq!(commit.message, "hello\n\nsignature no");
    }

    #[test]
    fn malformed_commits_are_refused() {
        let tree = "tree 0101010101010101010101010101010101010101\n";
        let who = "author a <b> 1 +0000\ncommitter a <b> 1 +0000\n";
        for text in [
            String::new(),
            tree.to_owned(),
            format!("{tree}{who}"),
            format!("{who}\n"),
            format!("tree 01\n{who}\n"),
            format!("{tree}parent x\n{who}\n"),
            format!("{tree}{}{who}\n", format!("parent {}\n", "0".repeat(40)).repeat(17)),
            format!("{tree}{who}signature YQ==\nsignature YQ==\n\n"),
            format!("{tree}{who}{}\n", "x y\n".repeat(300)),
            format!("{tree}author a <b> 1\ncommitter a <b> 1 +0000\n\n"),
            format!("{tree}author a <b> -1 +0000\ncommitter a <b> 1 +0000\n\n"),
            format!("{tree}author a <b> 99999999999999999999 +0000\ncommitter a <b> 1 +0000\n\n"),
            format!("{tree}author a> <b> 1 +0000\ncommitter a <b> 1 +0000\n\n"),
            format!("{tree}author a <c> <b> 1 +0000\ncommitter a <b> 1 +0000\n\n"),
            format!("{tree}author a ><b 1 +0000\ncommitter a <b> 1 +0000\n\n"),
        ] {
            assert!(Commit::parse(text.clone().into_bytes()).is_err(), "{text}");
        }
        assert!(matches!(Commit::parse(vec![b' '; MAX_COMMIT + 1]), Err(ObjectError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Commit::parse(bytes);
        }

        #[test]
        fn what_is_made_reads_back(name in "\\PC{0,20}", seconds in 0..i64::MAX, message in ".{0,60}") {
            let unsigned = UnsignedCommit { seconds, message: message.into_bytes(), ..unsigned(&name) };
            let commit = Commit::parse(unsigned.content()).unwrap();
            prop_assert_eq!(commit.seconds(), seconds);
            prop_assert_eq!(&commit.message[..], &unsigned.message[..]);
            prop_assert_eq!(commit.tree, unsigned.tree);
            prop_assert_eq!(commit.signature.clone(), None);
            prop_assert_eq!(commit.signed_content(), unsigned.content());
        }
    }
}
