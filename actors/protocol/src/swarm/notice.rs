//! What members tell each other beside the history: new commits, invitations, read markers and
//! typing (`spec: swarm 10, 11, 13`).
//!
//! These travel as a MIME type and a text, over message channels or old SIP messages. A notice
//! that cannot be read is ignored by the receiver, never fatal.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::message::{Mode, ascii_json};
use crate::ids::{AccountId, CommitId, ConversationId, DeviceId};
use crate::profile::{ConversationProfile, Picture};
use crate::time::UnixMillis;

/// Longest notice read, in bytes: an invitation with all its metadata.
pub const MAX_NOTICE: usize = 1024 * 1024;

/// Metadata of an invitation have to be shorter than this, in bytes; longer ones are left out.
pub const MAX_METADATA_VALUE: usize = 64_000;

/// Most metadata of an invitation read; six are known.
const MAX_METADATA: usize = 64;

/// How far in the future the time of an invitation may lie before it is not believed.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

const ANNOUNCEMENT: &str = "application/im-gitmessage-id";
const INVITATION: &str = "application/invite+json";
const INVITATION_WANTED: &str = "application/invite";
const DISPLAYED: &str = "message/imdn+xml";
const TYPING: &str = "application/im-iscomposing+xml";

/// Why a notice is ignored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoticeError {
    /// Another type of message; not ours to read.
    #[error("{0:?} is not a notice of a conversation")]
    OtherType(String),
    /// Longer than [`MAX_NOTICE`].
    #[error("the notice of {0} bytes is too long")]
    TooLong(usize),
    /// Not in its form, or with ids that are none.
    #[error("malformed {0}")]
    Malformed(&'static str),
}

/// A new commit is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The conversation.
    pub conversation: ConversationId,
    /// Its new commit.
    pub commit: CommitId,
    /// Where to fetch it. Who it belongs to is told by the channel, not by this.
    pub device: DeviceId,
}

/// Somebody invites into a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The conversation.
    pub conversation: ConversationId,
    /// `mode`, `title`, `description`, `avatar`, `rdvAccount`, `rdvDevice`.
    pub metadata: BTreeMap<String, String>,
    /// When the person was first invited, as claimed; absent before 2026.
    pub received: Option<UnixMillis>,
}

impl Invitation {
    /// An invitation that says what the profile says. `received` is when the person was first
    /// invited; without it the text is that of releases before 2026.
    #[must_use]
    pub fn new(
        conversation: ConversationId,
        mode: Mode,
        profile: &ConversationProfile,
        received: Option<UnixMillis>,
    ) -> Self {
        let avatar = profile.avatar.as_ref().map(|avatar| avatar.as_base64().to_owned());
        let fields = [
            ("mode", mode.number().to_string()),
            ("title", profile.title.clone()),
            ("description", profile.description.clone()),
            ("avatar", avatar.unwrap_or_default()),
            ("rdvAccount", profile.call_host.map(|host| host.to_hex()).unwrap_or_default()),
            ("rdvDevice", profile.call_host_device.map(|device| device.to_hex()).unwrap_or_default()),
        ];
        let said = fields.into_iter().filter(|(_, value)| !value.is_empty());
        let metadata = said.map(|(key, value)| (key.to_owned(), value)).collect();
        Self { conversation, metadata, received }
    }

    /// What it says of the conversation; whatever is missing or malformed stays empty.
    #[must_use]
    pub fn profile(&self) -> ConversationProfile {
        let text = |key| self.metadata.get(key).map(String::as_str).unwrap_or_default();
        ConversationProfile {
            title: text("title").to_owned(),
            description: text("description").to_owned(),
            avatar: Picture::from_base64(text("avatar")),
            call_host: AccountId::from_uri(text("rdvAccount")).ok(),
            call_host_device: text("rdvDevice").trim().parse().ok(),
        }
    }

    /// How the conversation works; one to one if that is missing or unreadable.
    #[must_use]
    pub fn mode(&self) -> Mode {
        let number = self.metadata.get("mode").and_then(|mode| mode.parse().ok());
        number.and_then(Mode::from_number).unwrap_or(Mode::OneToOne)
    }

    /// When it was made: the claimed time unless that lies too far in the future.
    #[must_use]
    pub fn received_at(&self, now: UnixMillis) -> UnixMillis {
        self.received.filter(|time| *time <= now.plus(MAX_CLOCK_SKEW)).unwrap_or(now)
    }

    fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let metadata = value.get("metadatas").and_then(Value::as_object).into_iter().flatten();
        let metadata = metadata
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .filter(|(_, value)| value.len() < MAX_METADATA_VALUE)
            .take(MAX_METADATA)
            .collect();
        let number = |key| value.get(key).and_then(Value::as_i64);
        let received = UnixMillis::from_either(number("receivedMs"), number("received"));
        let conversation = value.get("conversationId")?.as_str()?.parse().ok()?;
        Some(Self { conversation, metadata, received })
    }

    fn to_json(&self) -> Value {
        let short: BTreeMap<_, _> =
            self.metadata.iter().filter(|(_, value)| value.len() < MAX_METADATA_VALUE).collect();
        let mut value = json!({ "conversationId": self.conversation, "metadatas": short });
        if let (Some(received), Some(fields)) = (self.received, value.as_object_mut()) {
            fields.insert("received".to_owned(), received.seconds().into());
            fields.insert("receivedMs".to_owned(), received.0.into());
        }
        value
    }
}

/// Anything members tell each other about a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// There is a new commit.
    Announcement(Announcement),
    /// You are invited.
    Invitation(Invitation),
    /// I heard of a conversation I do not know: invite me, if I am a member.
    InvitationWanted(ConversationId),
    /// I have read up to this message.
    Displayed {
        /// The conversation; absent in what very old releases send.
        conversation: Option<ConversationId>,
        /// The newest message read.
        commit: CommitId,
    },
    /// I am typing, or stopped.
    Typing {
        /// The conversation.
        conversation: ConversationId,
        /// Whether typing.
        active: bool,
    },
}

impl Notice {
    /// The MIME type to send it under.
    #[must_use]
    pub const fn mime_type(&self) -> &'static str {
        match self {
            Self::Announcement(_) => ANNOUNCEMENT,
            Self::Invitation(_) => INVITATION,
            Self::InvitationWanted(_) => INVITATION_WANTED,
            Self::Displayed { .. } => DISPLAYED,
            Self::Typing { .. } => TYPING,
        }
    }

    /// Reads a message; parameters behind the MIME type do not matter.
    ///
    /// # Errors
    /// [`NoticeError::OtherType`] when it is no notice; others when it is to be ignored.
    pub fn parse(mime_type: &str, text: &str) -> Result<Self, NoticeError> {
        let bare = mime_type.split(';').next().unwrap_or_default().trim();
        let (what, read): (&'static str, fn(&str) -> Option<Self>) = match bare {
            ANNOUNCEMENT => (ANNOUNCEMENT, read_announcement),
            INVITATION => (INVITATION, |text| Invitation::parse(text).map(Self::Invitation)),
            INVITATION_WANTED => {
                (INVITATION_WANTED, |text| text.trim().parse().ok().map(Self::InvitationWanted))
            }
            DISPLAYED => (DISPLAYED, read_displayed),
            TYPING => (TYPING, read_typing),
            _ => return Err(NoticeError::OtherType(bare.chars().take(80).collect())),
        };
        if text.len() > MAX_NOTICE {
            return Err(NoticeError::TooLong(text.len()));
        }
        read(text).ok_or(NoticeError::Malformed(what))
    }

    /// The text as the reference writes it.
    #[must_use]
    pub fn to_text(&self) -> String {
        const XML: &str = "<?xml version=\"1.0\" encoding=\"utf-8\" ?>\n";
        match self {
            Self::Announcement(it) => {
                json!({ "commit": it.commit, "deviceId": it.device, "id": it.conversation }).to_string()
            }
            Self::Invitation(invitation) => ascii_json(&invitation.to_json().to_string()),
            Self::InvitationWanted(conversation) => conversation.to_hex(),
            Self::Displayed { conversation, commit } => {
                let conversation = conversation.map(|id| id.to_hex()).unwrap_or_default();
                format!(
                    "{XML}<imdn><message-id>{commit}</message-id>\n\
                     <conversation>{conversation}</conversation>\
                     <display-notification><status><displayed/></status></display-notification>\n</imdn>"
                )
            }
            Self::Typing { conversation, active } => {
                let state = if *active { "active" } else { "idle" };
                format!(
                    "{XML}<isComposing><state>{state}</state>\
                     <conversation>{conversation}</conversation></isComposing>"
                )
            }
        }
    }
}

fn read_announcement(text: &str) -> Option<Notice> {
    let value: Value = serde_json::from_str(text).ok()?;
    let field = |key| value.get(key)?.as_str();
    Some(Notice::Announcement(Announcement {
        conversation: field("id")?.parse().ok()?,
        commit: field("commit")?.parse().ok()?,
        device: field("deviceId")?.parse().ok()?,
    }))
}

fn read_displayed(text: &str) -> Option<Notice> {
    text.find("<displayed")?;
    // An empty element says as little as none.
    let conversation = element(text, "conversation").filter(|id| !id.is_empty());
    let conversation = conversation.map(str::parse).transpose().ok()?;
    Some(Notice::Displayed { conversation, commit: element(text, "message-id")?.parse().ok()? })
}

fn read_typing(text: &str) -> Option<Notice> {
    let active = match element(text, "state")? {
        "active" => true,
        "idle" => false,
        _ => return None,
    };
    Some(Notice::Typing { conversation: element(text, "conversation")?.parse().ok()?, active })
}

/// The text of the first element of this name. Receivers look for elements, not for a document.
fn element<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0.trim())
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Types and texts that real daemons sent.
    pub(crate) const RECORDED: [(&str, &str); 6] = [
        (
            TYPING,
            "<?xml version=\"1.0\" encoding=\"utf-8\" ?>\n<isComposing><state>active</state><conversation>0237426a15a050a06868d6636d6edc6e6f185951</conversation></isComposing>",
        ),
        (
            DISPLAYED,
            "<?xml version=\"1.0\" encoding=\"utf-8\" ?>\n<imdn><message-id>cfb1baf6bc493a27b3a52762ba374838a6d9c841</message-id>\n<conversation>0237426a15a050a06868d6636d6edc6e6f185951</conversation><display-notification><status><displayed/></status></display-notification>\n</imdn>",
        ),
        (
            INVITATION,
            "{\"conversationId\":\"2ce39c209b93cc91155160136e010d9a3cc2077e\",\"metadatas\":{\"mode\":\"2\"},\"received\":1795343807,\"receivedMs\":1795343807863}",
        ),
        (
            INVITATION,
            "{\"conversationId\":\"0af7aff6997b5f18f0370dc218f5fc7ce8b73c56\",\"metadatas\":{\"mode\":\"2\"}}",
        ),
        (
            ANNOUNCEMENT,
            "{\"commit\":\"672b83b06bbc4ccda27975d0e130d392d84626f7\",\"deviceId\":\"876aac3ca05854c2a60220f17b4db4d9e87ad8cf50b9eeb4cf71016a43c6bbf8\",\"id\":\"dce89e766fd7702d20fc336667bd99ad0fdf3470\"}",
        ),
        (INVITATION_WANTED, "dce89e766fd7702d20fc336667bd99ad0fdf3470"),
    ];

    #[test]
    fn recorded_notices_read_and_are_written_alike() {
        for (mime_type, text) in RECORDED {
            let notice = Notice::parse(mime_type, text).unwrap();
            assert_eq!((notice.mime_type(), notice.to_text()), (mime_type, text.to_owned()));
        }
    }

    #[test]
    fn invitations_of_both_generations_are_made_byte_for_byte() {
        let profile = ConversationProfile::default();
        for (id, received, text) in [
            ("0af7aff6997b5f18f0370dc218f5fc7ce8b73c56", None, RECORDED[3].1),
            ("2ce39c209b93cc91155160136e010d9a3cc2077e", Some(UnixMillis(1_795_343_807_863)), RECORDED[2].1),
        ] {
            let made = Invitation::new(id.parse().unwrap(), Mode::InvitesOnly, &profile, received);
            assert_eq!(Notice::Invitation(made).to_text(), text);
        }
    }

    #[test]
    fn an_invitation_carries_the_profile() {
        let profile = ConversationProfile {
            title: "Bees".to_owned(),
            description: "and honey".to_owned(),
            avatar: Some(Picture::from_bytes(b"x")),
            call_host: Some(AccountId([1; 20])),
            call_host_device: Some(DeviceId([2; 32])),
        };
        let made = Invitation::new(ConversationId([3; 20]), Mode::AdminInvitesOnly, &profile, None);
        let Ok(Notice::Invitation(read)) = Notice::parse(INVITATION, &Notice::Invitation(made).to_text())
        else {
            panic!("no invitation");
        };
        assert_eq!((read.mode(), read.profile()), (Mode::AdminInvitesOnly, profile));
    }

    #[test]
    fn an_announcement_indented_by_old_releases_is_read() {
        let text = "{\n\t\"commit\" : \"672b83b06bbc4ccda27975d0e130d392d84626f7\",\n\t\"deviceId\" : \
                    \"876aac3ca05854c2a60220f17b4db4d9e87ad8cf50b9eeb4cf71016a43c6bbf8\",\n\t\"id\" : \
                    \"dce89e766fd7702d20fc336667bd99ad0fdf3470\"\n}";
        assert_eq!(text.len(), 192);
        assert!(matches!(Notice::parse("application/im-gitmessage-id", text), Ok(Notice::Announcement(_))));
    }

    #[test]
    fn malformed_notices_are_refused() {
        let id = "dce89e766fd7702d20fc336667bd99ad0fdf3470";
        for (mime_type, text) in [
            (ANNOUNCEMENT, String::new()),
            (ANNOUNCEMENT, "[]".to_owned()),
            (ANNOUNCEMENT, format!("{{\"commit\":\"x\",\"deviceId\":\"{id}\",\"id\":\"{id}\"}}")),
            (INVITATION, "{\"metadatas\":{}}".to_owned()),
            (INVITATION, format!("{}1", "[".repeat(100_000))),
            (INVITATION_WANTED, format!("{id}0")),
            (DISPLAYED, format!("<message-id>{id}</message-id>")),
            (DISPLAYED, format!("<displayed/><message-id>{id}")),
            (TYPING, format!("<state>asleep</state><conversation>{id}</conversation>")),
            (TYPING, "x".repeat(MAX_NOTICE + 1)),
        ] {
            assert!(Notice::parse(mime_type, &text).is_err(), "{mime_type} {text:.60}");
        }
        assert!(matches!(Notice::parse("text/plain", ""), Err(NoticeError::OtherType(_))));
        assert!(Notice::parse("application/invite; x=y", id).is_ok());
    }

    #[test]
    fn a_time_from_the_future_is_replaced() {
        let at = |received: Option<i64>| {
            let conversation = ConversationId([1; 20]);
            let received = received.map(UnixMillis);
            Invitation { conversation, metadata: BTreeMap::new(), received }.received_at(UnixMillis(1000))
        };
        assert_eq!(at(Some(301_000)), UnixMillis(301_000));
        assert_eq!(at(Some(301_001)), UnixMillis(1000));
        assert_eq!(at(Some(i64::MAX)), UnixMillis(1000));
        assert_eq!(at(None), UnixMillis(1000));
    }

    #[test]
    fn long_metadata_are_left_out_and_an_unknown_mode_is_one_to_one() {
        let metadata = [("avatar", "x".repeat(MAX_METADATA_VALUE)), ("mode", "many".to_owned())];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).into_iter().collect();
        let invitation = Invitation { conversation: ConversationId([1; 20]), metadata, received: None };
        let Notice::Invitation(read) =
            Notice::parse(INVITATION, &Notice::Invitation(invitation).to_text()).unwrap()
        else {
            panic!("no invitation");
        };
        assert_eq!(read.metadata.keys().collect::<Vec<_>>(), ["mode"]);
        assert_eq!(read.mode(), Mode::OneToOne);
    }

    proptest! {
        #[test]
        fn any_text_reads_or_fails(text in ".{0,80}|[<>/a-z{}\":]{0,80}", which in 0..5_usize) {
            let _ = Notice::parse([ANNOUNCEMENT, INVITATION, INVITATION_WANTED, DISPLAYED, TYPING][which], &text);
        }

        #[test]
        fn invitations_survive(title in ".{0,30}", id: [u8; 20], received: Option<i64>) {
            let metadata = [("mode".to_owned(), "2".to_owned()), ("title".to_owned(), title)].into();
            let received = received.map(UnixMillis);
            let notice =
                Notice::Invitation(Invitation { conversation: ConversationId(id), metadata, received });
            prop_assert_eq!(Notice::parse(INVITATION, &notice.to_text()).unwrap(), notice);
        }
    }
}
