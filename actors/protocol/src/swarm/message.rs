//! What a commit says: its message as JSON (`spec: swarm 4`).
//!
//! Reading keeps every field, known or not, so that nothing a newer release writes is lost;
//! [`Content`] is the typed view of it. Writing gives the bytes the reference would write.

mod content;

use std::collections::BTreeMap;

use serde_json::Value;

pub use content::{CallRecord, Content, FileOffer, MemberAction, Mode, Relation, Target};

use crate::ids::{CommitId, ConversationId};

/// Suggested longest text to send, in bytes; the protocol itself has no limit (`spec: swarm 15`).
pub const MAX_SENT_TEXT: usize = 64 * 1024;

/// Memory that a field takes beside its name and its text, in bytes, about.
const FIELD_COST: usize = 128;

/// What [`CommitMessage::shortened`] keeps in any case, in bytes: what a message is, and what it is about.
const MIN_SHORTENED: usize = 1024;

/// What it keeps first: without it the rest is misunderstood.
const FIRST_FIELDS: [&str; 5] = ["type", "edit", "react-to", "reply-to", "body"];

/// Why a message is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not a JSON object, or nested too deeply.
    #[error("the commit message is not a JSON object")]
    NotJson,
    /// No `type`.
    #[error("the commit message has no type")]
    NoType,
}

/// The message of a commit with at most one parent: a JSON object with a `type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitMessage {
    fields: BTreeMap<String, Value>,
}

impl CommitMessage {
    /// Reads a message. Unknown fields stay; of a field given twice the last counts.
    ///
    /// # Errors
    /// [`MessageError`] when it is not a JSON object (also: nested over 128 deep) with a `type`.
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        let fields = serde_json::from_slice(bytes).map_err(|_| MessageError::NotJson)?;
        let message = Self { fields };
        if message.message_type().is_empty() { Err(MessageError::NoType) } else { Ok(message) }
    }

    /// A message of text fields.
    fn of<'a>(message_type: &str, fields: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let mut all: BTreeMap<String, Value> =
            fields.into_iter().map(|(key, value)| (key.to_owned(), Value::String(value))).collect();
        all.insert("type".to_owned(), Value::String(message_type.to_owned()));
        Self { fields: all }
    }

    /// The message that says `content`. `None` for [`Content::Other`].
    #[must_use]
    pub fn from_content(content: &Content) -> Option<Self> {
        Some(match content {
            Content::Initial { mode, invited } => {
                let mut message = Self::of("initial", invited.map(|id| ("invited", id.to_hex())));
                message.fields.insert("mode".to_owned(), mode.number().into());
                message
            }
            Content::Member { action, target } => {
                Self::of("member", [("action", action.word().to_owned()), ("uri", target.to_hex())])
            }
            Content::Vote(target) => Self::of("vote", [("uri", target.to_hex())]),
            Content::Text { body, relation } => {
                let relation = match relation {
                    Relation::None => None,
                    Relation::Reply(id) => Some(("reply-to", id.to_hex())),
                    Relation::Edit(id) => Some(("edit", id.to_hex())),
                    Relation::React(id) => Some(("react-to", id.to_hex())),
                };
                Self::of("text/plain", relation.into_iter().chain([("body", body.clone())]))
            }
            Content::File(offer) => {
                let reply = offer.reply_to.map(|id| ("reply-to", id.to_hex()));
                let fields = [
                    ("displayName", offer.display_name.clone()),
                    ("sha3sum", offer.sha3sum.clone()),
                    ("tid", offer.tid.clone()),
                    ("totalSize", offer.total_size.to_string()),
                ];
                Self::of("application/data-transfer+json", fields.into_iter().chain(reply))
            }
            Content::FileRemoved { edit } => {
                Self::of("application/data-transfer+json", [("edit", edit.to_hex()), ("tid", String::new())])
            }
            Content::Call(call) => Self::of("application/call-history+json", call_fields(call)),
            Content::Profile => Self::of("application/update-profile", []),
            Content::Document { document, display_name, mime_type } => Self::of(
                "application/collab-doc+json",
                [
                    ("uri", document.to_hex()),
                    ("displayName", display_name.clone()),
                    ("mimeType", mime_type.clone()),
                ],
            ),
            Content::DocumentRemoved { edit } => {
                Self::of("application/collab-doc+json", [("edit", edit.to_hex())])
            }
            Content::Checkpoint { body } => Self::of("application/checkpoint", [("body", body.clone())]),
            Content::Other => return None,
        })
    }

    /// The `type`.
    #[must_use]
    pub fn message_type(&self) -> &str {
        self.text("type").unwrap_or_default()
    }

    /// A text field.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.fields.get(key)?.as_str()
    }

    /// All fields as read.
    #[must_use]
    pub const fn fields(&self) -> &BTreeMap<String, Value> {
        &self.fields
    }

    /// All fields as texts, the way Jami's clients are given them: numbers and booleans spelled
    /// out, nested values left out.
    #[must_use]
    pub fn text_fields(&self) -> BTreeMap<String, String> {
        let as_text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        self.fields.iter().filter_map(|(key, value)| Some((key.clone(), as_text(value)?))).collect()
    }

    /// How much memory it takes, in bytes, about, if its nested values are empty.
    #[must_use]
    pub fn weight(&self) -> usize {
        let weight = |(name, value): (&String, &Value)| {
            FIELD_COST + name.len() + value.as_str().map(str::len).unwrap_or_default()
        };
        self.fields.iter().map(weight).sum()
    }

    /// What is kept of it for showing it, in `limit` bytes: nested values are emptied, as nobody is shown
    /// them, texts that are too long are cut, and fields for which no room is left are left out. A few bytes
    /// of a commit can stand for a hundred times as many in memory.
    #[must_use]
    pub fn shortened(&self, limit: usize) -> Self {
        let first = FIRST_FIELDS.iter().filter_map(|name| self.fields.get_key_value(*name));
        let others = self.fields.iter().filter(|(name, _)| !FIRST_FIELDS.contains(&name.as_str()));
        let (mut room, mut fields) = (limit.max(MIN_SHORTENED), BTreeMap::new());
        for (name, value) in first.chain(others) {
            let Some(left) = room.checked_sub(FIELD_COST + name.len()) else { continue };
            let value = match value {
                Value::String(text) => {
                    let kept = text.get(..text.floor_char_boundary(left)).unwrap_or_default();
                    room = left - kept.len();
                    Value::String(kept.to_owned())
                }
                value => {
                    room = left;
                    match value {
                        Value::Array(_) => Value::Array(Vec::new()),
                        Value::Object(_) => Value::Object(serde_json::Map::new()),
                        scalar => scalar.clone(),
                    }
                }
            };
            fields.insert(name.clone(), value);
        }
        Self { fields }
    }

    /// The commit named by `edit`. A non-empty field makes this message an edit for validation,
    /// whatever its type; see [`CommitMessage::is_edit`].
    #[must_use]
    pub fn edited(&self) -> Option<CommitId> {
        self.commit("edit")
    }

    /// Whether the message claims to edit another one.
    #[must_use]
    pub fn is_edit(&self) -> bool {
        let names_something = match self.fields.get("edit") {
            None | Some(Value::Null) => false,
            Some(Value::String(edit)) => !edit.is_empty(),
            // The reference reads numbers and the like as texts.
            Some(_) => true,
        };
        names_something || self.message_type() == "application/edited-message"
    }

    /// Whether its author may edit it: texts, files on offer, documents (`spec: swarm 7.3 I`).
    #[must_use]
    pub fn is_editable(&self) -> bool {
        match self.message_type() {
            "text/plain" | "application/collab-doc+json" => true,
            "application/data-transfer+json" => self.text("tid").is_some_and(|tid| !tid.is_empty()),
            _ => false,
        }
    }

    /// What the message means.
    #[must_use]
    pub fn content(&self) -> Content {
        self.try_content().unwrap_or(Content::Other)
    }

    fn try_content(&self) -> Option<Content> {
        let text = |key| self.text(key);
        let owned = |key| self.text(key).unwrap_or_default().to_owned();
        Some(match self.message_type() {
            "initial" => Content::Initial {
                mode: Mode::from_number(self.fields.get("mode")?.as_i64()?)?,
                invited: text("invited").and_then(|uri| uri.parse().ok()),
            },
            "member" => Content::Member {
                action: MemberAction::from_word(text("action")?)?,
                target: Target::parse(text("uri")?)?,
            },
            "vote" => Content::Vote(Target::parse(text("uri")?)?),
            "text/plain" => Content::Text { body: owned("body"), relation: self.relation()? },
            "application/edited-message" => {
                Content::Text { body: owned("body"), relation: Relation::Edit(self.edited()?) }
            }
            "application/data-transfer+json" if self.is_edit() => {
                Content::FileRemoved { edit: self.edited()? }
            }
            "application/data-transfer+json" => Content::File(FileOffer {
                display_name: owned("displayName"),
                sha3sum: owned("sha3sum"),
                tid: text("tid").filter(|tid| !tid.is_empty())?.to_owned(),
                total_size: text("totalSize").and_then(|size| size.parse().ok())?,
                reply_to: self.commit("reply-to"),
            }),
            "application/call-history+json" => Content::Call(self.call()?),
            "application/update-profile" => Content::Profile,
            "application/collab-doc+json" if self.is_edit() => {
                Content::DocumentRemoved { edit: self.edited()? }
            }
            "application/collab-doc+json" => Content::Document {
                document: text("uri")?.parse().ok()?,
                display_name: owned("displayName"),
                mime_type: owned("mimeType"),
            },
            "application/checkpoint" => Content::Checkpoint { body: text("body")?.to_owned() },
            _ => return None,
        })
    }

    fn commit(&self, key: &str) -> Option<CommitId> {
        self.text(key)?.parse().ok()
    }

    /// `edit` wins over `react-to`, which wins over `reply-to`; a malformed one is no relation.
    fn relation(&self) -> Option<Relation> {
        for (key, relation) in [
            ("edit", Relation::Edit as fn(CommitId) -> Relation),
            ("react-to", Relation::React),
            ("reply-to", Relation::Reply),
        ] {
            if self.text(key).is_some_and(|id| !id.is_empty()) {
                return self.commit(key).map(relation);
            }
        }
        Some(Relation::None)
    }

    fn call(&self) -> Option<CallRecord> {
        // Written as a text. A number will do, and whatever else stands there says that it is over.
        let duration_ms = self.fields.get("duration").map(|value| match value {
            Value::String(text) => text.parse().unwrap_or(0),
            other => other.as_u64().unwrap_or(0),
        });
        if let Some(conference) = self.text("confId") {
            return Some(CallRecord::Group {
                conference: conference.to_owned(),
                device: self.text("device")?.parse().ok()?,
                host: self.text("uri")?.parse().ok()?,
                duration_ms,
            });
        }
        Some(CallRecord::OneToOne {
            to: self.text("to")?.parse().ok()?,
            duration_ms: duration_ms.unwrap_or(0),
            reason: self.text("reason").map(str::to_owned),
        })
    }

    /// The bytes as the reference writes them: compact, fields in byte order, everything beyond
    /// ASCII as `\uXXXX`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let compact = serde_json::to_string(&self.fields).unwrap_or_default();
        ascii_json(&compact).into_bytes()
    }
}

fn call_fields(call: &CallRecord) -> Vec<(&'static str, String)> {
    match call {
        CallRecord::OneToOne { to, duration_ms, reason } => {
            let mut fields = vec![("to", to.to_hex()), ("duration", duration_ms.to_string())];
            fields.extend(reason.clone().map(|reason| ("reason", reason)));
            fields
        }
        CallRecord::Group { conference, device, host, duration_ms } => {
            let mut fields =
                vec![("confId", conference.clone()), ("device", device.to_hex()), ("uri", host.to_hex())];
            fields.extend(duration_ms.map(|duration| ("duration", duration.to_string())));
            fields
        }
    }
}

/// Escapes all beyond ASCII in valid JSON text. Such characters occur in strings only.
pub(crate) fn ascii_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

/// The message of the first commit of a document: unlike others it names its parent conversation.
#[must_use]
pub fn document_initial(parent: ConversationId, mime_type: &str) -> CommitMessage {
    let mut message =
        CommitMessage::of("initial", [("mimeType", mime_type.to_owned()), ("parent", parent.to_hex())]);
    message.fields.insert("mode".to_owned(), Mode::Document.number().into());
    message
}

/// The message of a merge: it is not JSON.
#[must_use]
pub fn merge_message(other_head: CommitId) -> Vec<u8> {
    format!("Merge commit '{other_head}'").into_bytes()
}

/// Longest extension that becomes part of a file id, in bytes (`spec: file-transfer 2`).
const MAX_EXTENSION: usize = 7;

/// Name shown for a file: `<commit>_<tid>[.<extension>]` (`spec: swarm 8`).
#[must_use]
pub fn file_id(commit: CommitId, tid: &str, display_name: &str) -> String {
    match display_name.rsplit_once('.') {
        Some((_, extension)) if (1..=MAX_EXTENSION).contains(&extension.len()) => {
            format!("{commit}_{tid}.{extension}")
        }
        _ => format!("{commit}_{tid}"),
    }
}
