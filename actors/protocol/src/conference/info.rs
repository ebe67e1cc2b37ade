//! The state of a conference, as its host tells it (`spec: conference 3`).
//!
//! Reading is lenient: numbers may be texts, and what is missing is nothing. Writing gives the bytes that
//! the newest daemon writes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::layout::{Layout, Rectangle, Size};
use crate::ids::{AccountId, DeviceId};

/// MIME type of it.
pub const INFO_TYPE: &str = "application/confInfo+json";

/// Longest text that is read, in bytes: five hundred entries, indented, have less.
pub const MAX_INFO: usize = 256 * 1024;

/// Most entries that are read.
pub const MAX_ENTRIES: usize = 512;

/// Longest text that daemons can take in a message, in bytes: 7,999, of which headers take the rest.
pub const MAX_SENT_INFO: usize = 7_200;

/// Longest text in an entry, in bytes.
const MAX_TEXT: usize = 256;

/// What accounts are followed by.
const DOMAIN: &str = "@ring.dht";

/// Width and height of what has no picture.
const AUDIO_ONLY: u32 = 10;

/// A conference, as somebody in it sees it. Without entries it is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConferenceInfo {
    /// Who and what is in it.
    pub entries: Vec<Entry>,
    /// Size of the composed picture.
    pub picture: Size,
    /// The highest dialect of orders that the host understands.
    pub version: u8,
    /// How pictures are arranged.
    pub layout: Layout,
}

/// One stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Whose: an account id, or whatever the host calls it.
    pub uri: String,
    /// On which device: 64 digits, or nothing.
    pub device: String,
    /// Names the stream.
    pub stream: String,
    /// Whether it is the one shown big.
    pub active: bool,
    /// Where it is in the picture.
    pub place: Rectangle,
    /// Whether there is no picture.
    pub video_muted: bool,
    /// Whether its owner is muted by himself.
    pub local_muted: bool,
    /// Whether its owner is muted by a moderator.
    pub moderator_muted: bool,
    /// Whether its owner may give orders.
    pub moderator: bool,
    /// Whether its owner wants to say something.
    pub hand: bool,
    /// Whether its owner speaks.
    pub voice: bool,
    /// Whether its owner records.
    pub recording: bool,
}

impl Entry {
    /// Whose it is, if that can be read.
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        self.uri.parse().ok()
    }

    /// On which device; an entry without one is nobody's own.
    #[must_use]
    pub fn device(&self) -> Option<DeviceId> {
        self.device.parse().ok()
    }

    /// The place of what has no picture.
    #[must_use]
    pub const fn audio_only() -> Rectangle {
        Rectangle { x: 0, y: 0, size: Size { width: AUDIO_ONLY, height: AUDIO_ONLY } }
    }

    fn has_tile(&self) -> bool {
        self.place.is_visible() && self.place != Self::audio_only()
    }

    fn read(value: &Value, picture: Size) -> Option<Self> {
        let text = |key: &str| {
            let text = value.get(key).and_then(Value::as_str).unwrap_or_default();
            text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default().to_owned()
        };
        let flag = |key| value.get(key).is_some_and(flag);
        let length = |key| u32::try_from(number(value.get(key)).unwrap_or(0)).unwrap_or(0);
        let uri = text("uri").split('@').next().unwrap_or_default().to_owned();
        if uri.is_empty() {
            return None;
        }
        let place = Rectangle {
            x: length("x"),
            y: length("y"),
            size: Size { width: length("w"), height: length("h") },
        };
        let outside = number(value.get("x")).unwrap_or(0) < 0 || number(value.get("y")).unwrap_or(0) < 0;
        // Older hosts do not say how large their picture is.
        let within = if picture == Size::default() {
            place.within(Size::new(u32::MAX, u32::MAX))
        } else {
            place.within(picture)
        };
        Some(Self {
            uri,
            device: text("device"),
            stream: text("sinkId"),
            active: flag("active"),
            place: if outside { Rectangle::default() } else { within },
            video_muted: flag("videoMuted"),
            local_muted: flag("audioLocalMuted"),
            moderator_muted: flag("audioModeratorMuted"),
            moderator: flag("isModerator"),
            hand: flag("handRaised"),
            voice: flag("voiceActivity"),
            recording: flag("recording"),
        })
    }
}

/// A truth value, or what older and other hosts write for one.
pub(super) fn flag(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => text == "true",
        _ => false,
    }
}

/// A whole number, or a text that is one.
pub(super) fn number(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::String(text) => text.parse().ok(),
        other => other.as_i64(),
    }
}

impl ConferenceInfo {
    /// Reads a message; `None` if it says nothing: then all is as it was.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_INFO {
            return None;
        }
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let entries = |list: &Vec<Value>, picture| {
            list.iter().take(MAX_ENTRIES).filter_map(|entry| Entry::read(entry, picture)).collect()
        };
        match &value {
            // As it was before there were versions.
            Value::Array(list) => Some(Self { entries: entries(list, Size::default()), ..Self::default() }),
            Value::Object(fields) => {
                let length = |key| u32::try_from(number(fields.get(key)).unwrap_or(0)).unwrap_or(0);
                let picture = Size::new(length("w"), length("h"));
                let list = fields.get("p").and_then(Value::as_array);
                let layout = number(fields.get("layout")).and_then(Layout::from_number);
                Some(Self {
                    entries: list.map(|list| entries(list, picture)).unwrap_or_default(),
                    picture,
                    version: u8::try_from(number(fields.get("v")).unwrap_or(0)).unwrap_or(0),
                    layout: layout.unwrap_or_default(),
                })
            }
            _ => None,
        }
    }

    /// Whether it says that the conference is over.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.entries.is_empty()
    }

    /// The body of a message.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        if self.is_over() && self.picture == Size::default() {
            return b"{}".to_vec();
        }
        let written = Written {
            h: self.picture.height,
            layout: self.layout.number(),
            p: self.entries.iter().map(WrittenEntry::of).collect(),
            v: self.version,
            w: self.picture.width,
        };
        // Numbers, truths and texts can always be written.
        serde_json::to_vec(&written).unwrap_or_else(|_| b"{}".to_vec())
    }

    /// As much of it as `budget` bytes hold: see [`Fitting`].
    #[must_use]
    pub fn fitted(&self, own: (AccountId, DeviceId), spoke: &[String], budget: usize) -> Self {
        Fitting::new(self, spoke, budget).of(own)
    }
}

/// Finds for many receivers as much of a state as a message holds: first of all what the receiver is about,
/// then what is shown big, who speaks or has spoken, who wants to, who moderates, and whom one sees. The
/// order stays. What is the same for all is found once.
#[derive(Debug)]
pub struct Fitting<'i> {
    info: &'i ConferenceInfo,
    /// Bytes of each entry.
    lengths: Vec<usize>,
    /// Places of entries, what matters most first.
    order: Vec<usize>,
    places: BTreeMap<(&'i str, &'i str), usize>,
    room: usize,
    all_fit: bool,
}

impl<'i> Fitting<'i> {
    /// For a message of `budget` bytes; `spoke` are streams that spoke lately.
    #[must_use]
    pub fn new(info: &'i ConferenceInfo, spoke: &[String], budget: usize) -> Self {
        let lengths: Vec<usize> = info.entries.iter().map(WrittenEntry::length).collect();
        let empty = ConferenceInfo { entries: Vec::new(), ..*info };
        let room = budget.saturating_sub(empty.write().len() + r#""p":[],"#.len());
        let all_fit = lengths.iter().sum::<usize>() <= room;
        let rank = |entry: &Entry| match entry {
            _ if entry.active => 1,
            _ if entry.voice => 2,
            _ if spoke.contains(&entry.stream) => 3,
            _ if entry.hand => 4,
            _ if entry.moderator && entry.has_tile() => 5,
            _ if entry.moderator => 6,
            _ if entry.has_tile() => 7,
            _ => 8,
        };
        let mut order: Vec<usize> = Vec::new();
        let mut places = BTreeMap::new();
        if !all_fit {
            order.extend(0..info.entries.len());
            order.sort_by_key(|at| info.entries.get(*at).map(rank));
            let place = |(at, entry): (usize, &'i Entry)| ((&*entry.uri, &*entry.device), at);
            places = info.entries.iter().enumerate().map(place).collect();
        }
        Self { info, lengths, order, places, room, all_fit }
    }

    /// For this receiver.
    #[must_use]
    pub fn of(&self, own: (AccountId, DeviceId)) -> ConferenceInfo {
        if self.all_fit {
            return self.info.clone();
        }
        let (account, device) = (own.0.to_hex(), own.1.to_hex());
        let own = self.places.get(&(&*account, &*device)).copied();
        let (mut left, mut kept) = (self.room, BTreeSet::new());
        for at in own.into_iter().chain(self.order.iter().copied()) {
            if kept.contains(&at) {
                continue;
            }
            let Some(rest) = self.lengths.get(at).and_then(|length| left.checked_sub(*length)) else { break };
            left = rest;
            kept.insert(at);
        }
        let entries = kept.into_iter().filter_map(|at| self.info.entries.get(at).cloned()).collect();
        ConferenceInfo { entries, ..*self.info }
    }
}

/// In the order of the reference, which is that of the alphabet.
#[derive(Serialize)]
struct Written<'i> {
    h: u32,
    layout: u8,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    p: Vec<WrittenEntry<'i>>,
    v: u8,
    w: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenEntry<'i> {
    active: bool,
    audio_local_muted: bool,
    audio_moderator_muted: bool,
    device: &'i str,
    h: u32,
    hand_raised: bool,
    is_moderator: bool,
    recording: bool,
    sink_id: &'i str,
    uri: String,
    video_muted: bool,
    voice_activity: bool,
    w: u32,
    x: u32,
    y: u32,
}

impl<'i> WrittenEntry<'i> {
    fn of(entry: &'i Entry) -> Self {
        Self {
            active: entry.active,
            audio_local_muted: entry.local_muted,
            audio_moderator_muted: entry.moderator_muted,
            device: &entry.device,
            h: entry.place.size.height,
            hand_raised: entry.hand,
            is_moderator: entry.moderator,
            recording: entry.recording,
            sink_id: &entry.stream,
            uri: format!("{}{DOMAIN}", entry.uri),
            video_muted: entry.video_muted,
            voice_activity: entry.voice,
            w: entry.place.size.width,
            x: entry.place.x,
            y: entry.place.y,
        }
    }

    /// Bytes of an entry, with the comma.
    fn length(entry: &'i Entry) -> usize {
        serde_json::to_vec(&Self::of(entry)).map_or(0, |bytes| bytes.len()) + 1
    }
}

#[cfg(test)]
pub(super) use tests::bodies;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DAEMONS, recorded_lines};

    #[derive(serde::Deserialize)]
    struct Recorded {
        text: String,
    }

    /// The bodies of all recorded messages with this type.
    pub(in super::super) fn bodies(daemon: &str, kind: &str) -> Vec<String> {
        let messages: Vec<Recorded> = recorded_lines(&format!("{daemon}/calls.jsonl.gz"));
        let body = |message: Recorded| {
            let (head, body) = message.text.split_once("\r\n\r\n")?;
            head.contains(kind).then(|| body.to_owned())
        };
        messages.into_iter().filter_map(body).collect()
    }

    fn entry(number: u8) -> Entry {
        Entry {
            uri: AccountId([number; 20]).to_hex(),
            device: DeviceId([number; 32]).to_hex(),
            stream: format!("62{number}_video_0"),
            place: Rectangle { x: 1, y: 2, size: Size { width: 300, height: 200 } },
            ..Entry::default()
        }
    }

    fn crowd(count: u8) -> ConferenceInfo {
        ConferenceInfo {
            entries: (0..count).map(entry).collect(),
            picture: Size { width: 1280, height: 720 },
            version: 1,
            layout: Layout::Grid,
        }
    }

    #[test]
    fn recorded_states_are_read_and_those_of_the_newest_written_byte_for_byte() {
        for daemon in DAEMONS {
            let bodies = bodies(daemon, INFO_TYPE);
            assert!(bodies.len() > 10, "{daemon}");
            for body in bodies {
                let info = ConferenceInfo::read(body.as_bytes()).unwrap();
                assert_eq!(info.version, 1);
                assert_eq!(info.picture, Size { width: 1280, height: 720 });
                assert!(info.entries.len() >= 2);
                if daemon == "newest" {
                    assert_eq!(String::from_utf8(info.write()).unwrap(), body);
                }
                assert_eq!(ConferenceInfo::read(&info.write()).unwrap(), info);
            }
        }
    }

    #[test]
    fn what_is_of_the_wrong_kind_is_converted_or_left_out() {
        let read = |text: &str| ConferenceInfo::read(text.as_bytes());
        let info = read(
            r#"{"p":[{"uri":"x@ring.dht","x":"12","y":1,"w":5,"h":"5","active":"true","handRaised":1,
                "voiceActivity":[],"device":7},{"device":"no uri"},7,{"uri":"y","x":-5,"w":9,"h":9},
                {"uri":"z","x":90,"y":0,"w":4294967295,"h":2}],"w":100,"h":50,"v":"1","layout":9}"#,
        );
        let info = info.unwrap();
        let [first, second, third] = &info.entries[..] else { panic!("{info:?}") };
        assert_eq!((first.place.x, first.place.size.height), (12, 5));
        assert!(first.active && first.hand && !first.voice && first.device.is_empty());
        assert!(!second.place.is_visible());
        assert_eq!(third.place.size, Size { width: 10, height: 2 });
        assert_eq!((info.version, info.layout), (1, Layout::Grid));
        for nothing in ["", "7", "\"x\"", "null", "{", "[1"] {
            assert!(read(nothing).is_none(), "{nothing}");
        }
    }

    #[test]
    fn a_list_without_version_is_of_a_host_that_knows_the_old_orders_only() {
        let info = ConferenceInfo::read(br#"[{"uri":"x","w":9,"h":9}]"#).unwrap();
        assert_eq!((info.version, info.entries.len(), info.is_over()), (0, 1, false));
        let over = ConferenceInfo::read(b"{}").unwrap();
        assert!(over.is_over());
        assert_eq!(ConferenceInfo::default().write(), b"{}");
    }

    #[test]
    fn thousands_of_entries_are_bounded() {
        let many = format!("{{\"p\":[{}{{}}]}}", r#"{"uri":"x"},"#.repeat(5000));
        assert_eq!(ConferenceInfo::read(many.as_bytes()).unwrap().entries.len(), MAX_ENTRIES);
        assert!(ConferenceInfo::read(&vec![b' '; MAX_INFO + 1]).is_none());
    }

    #[test]
    fn a_crowd_is_told_to_each_in_a_message_that_fits_and_has_what_matters() {
        let mut info = crowd(200);
        info.entries[150].voice = true;
        info.entries[160].hand = true;
        info.entries[170].active = true;
        let own = (AccountId([180; 20]), DeviceId([180; 32]));
        let spoke = vec![info.entries[190].stream.clone()];
        let fitted = info.fitted(own, &spoke, MAX_SENT_INFO);
        assert!(fitted.write().len() <= MAX_SENT_INFO);
        assert!(fitted.entries.len() >= 17, "{}", fitted.entries.len());
        for number in [150, 160, 170, 180, 190] {
            assert!(fitted.entries.contains(&info.entries[number]), "{number}");
        }
        // What fits is left as it is.
        assert_eq!(crowd(10).fitted(own, &[], MAX_SENT_INFO), crowd(10));
    }
}
