//! What is said in INFO: key frames, turning, recording, mute, voice, pressed keys (`spec: calls 6, 8`).
//!
//! ```text
//!   application/media_control+xml   <media_control><vc_primitive> … <mute_state=1/> …
//!   application/dtmf-relay          Signal=5, Duration=250
//! ```
//!
//! The former looks like XML and is none: it is searched for words, as daemons do.

/// Longest body that is looked at, in bytes; daemons send less than 200.
pub const MAX_CONTROL: usize = 4096;

/// MIME type of media control.
const MEDIA_CONTROL: &str = "application/media_control+xml";

/// MIME type of pressed keys.
const KEYS: &str = "application/dtmf-relay";

/// How long a key is said to be pressed, in milliseconds, where nothing else is said.
const USUAL_PRESS: u32 = 250;

/// Longest press that is believed, in milliseconds.
const LONGEST_PRESS: u32 = 10_000;

/// What a peer wants, or tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// It needs a whole picture of this stream; of all if none is named.
    KeyFrame(Option<u16>),
    /// Pictures of this stream, or of all, are to be turned by so many degrees before they are shown:
    /// above -180, at most 180.
    Turn {
        /// Degrees.
        degrees: i16,
        /// The stream.
        stream: Option<u16>,
    },
    /// Whether it records.
    Recording(bool),
    /// Whether its sound is muted.
    Muted(bool),
    /// Whether its owner speaks.
    Voice(bool),
}

impl Control {
    /// Reads a body; `None` if it is of another kind, or says nothing known.
    #[must_use]
    pub fn read(content_type: &str, body: &[u8]) -> Option<Self> {
        if !is_type(content_type, MEDIA_CONTROL) || body.len() > MAX_CONTROL {
            return None;
        }
        let text = std::str::from_utf8(body).ok()?;
        let stream = number_after(text, "<stream_id>").and_then(|(number, rest)| {
            rest.starts_with("</stream_id>").then(|| u16::try_from(number).ok())?
        });
        // The first of these words that stands anywhere counts.
        if text.contains("picture_fast_update") {
            Some(Self::KeyFrame(stream))
        } else if text.contains("device_orientation") {
            let (said, _) = number_after(text, "device_orientation=")?;
            Some(Self::Turn { degrees: turned(said), stream })
        } else if text.contains("recording_state") {
            flag(text, "recording_state=").map(Self::Recording)
        } else if text.contains("mute_state") {
            flag(text, "mute_state=").map(Self::Muted)
        } else {
            flag(text, "voice_activity=").map(Self::Voice)
        }
    }

    /// Type and body of an INFO.
    #[must_use]
    pub fn write(self) -> (&'static str, String) {
        let name = |stream: Option<u16>, behind: &str| {
            stream.map(|stream| format!("<stream_id>{stream}</stream_id>{behind}")).unwrap_or_default()
        };
        let encoder = |word: String| format!("<to_encoder><{word}/></to_encoder>");
        let inside = match self {
            Self::KeyFrame(stream) => {
                format!(" {}{}", name(stream, ""), encoder("picture_fast_update".to_owned()))
            }
            // What is sent is the other way round.
            Self::Turn { degrees, stream } => {
                let said = -i32::from(degrees);
                format!("{}{}", encoder(format!("device_orientation={said}")), name(stream, ""))
            }
            Self::Recording(on) => encoder(format!("recording_state={}", u8::from(on))),
            Self::Muted(on) => encoder(format!("mute_state={}", u8::from(on))),
            Self::Voice(on) => encoder(format!("voice_activity={}", u8::from(on))),
        };
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\" ?><media_control><vc_primitive>{inside}</vc_primitive></media_control>"
        );
        (MEDIA_CONTROL, body)
    }
}

/// Degrees to turn by, of what was said: the other way round, above -180, at most 180.
fn turned(said: i64) -> i16 {
    let degrees = (-(said % 360)).rem_euclid(360);
    let degrees = if degrees > 180 { degrees - 360 } else { degrees };
    i16::try_from(degrees).unwrap_or(0)
}

fn is_type(content_type: &str, wanted: &str) -> bool {
    content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted))
}

/// The number behind `word`, and what stands behind that. One too long to be one is none.
fn number_after<'t>(text: &'t str, word: &str) -> Option<(i64, &'t str)> {
    let rest = text.split_once(word)?.1;
    let digits = rest.strip_prefix('-').unwrap_or(rest);
    let length = digits.bytes().take_while(u8::is_ascii_digit).count() + rest.len() - digits.len();
    Some((rest.get(..length)?.parse().ok()?, rest.get(length..)?))
}

fn flag(text: &str, word: &str) -> Option<bool> {
    number_after(text, word).map(|(number, _)| number != 0)
}

/// A key that was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPress {
    /// A digit, `*`, `#`, `A` to `D`, or `!` for the hook.
    pub key: char,
    /// How long, in milliseconds.
    pub millis: u32,
}

impl KeyPress {
    /// A key, pressed for the usual time; `None` if there is no such key.
    #[must_use]
    pub fn new(key: char) -> Option<Self> {
        let key = key.to_ascii_uppercase();
        let known = matches!(key, '0'..='9' | '*' | '#' | 'A'..='D' | '!');
        known.then_some(Self { key, millis: USUAL_PRESS })
    }

    /// Reads a body; `None` if it is of another kind, or there is no such key.
    #[must_use]
    pub fn read(content_type: &str, body: &[u8]) -> Option<Self> {
        if !is_type(content_type, KEYS) || body.len() > MAX_CONTROL {
            return None;
        }
        let text = std::str::from_utf8(body).ok()?;
        let field = |wanted: &str| {
            let mut pairs = text.lines().filter_map(|line| line.split_once('='));
            pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
        };
        let mut press = match field("Signal")? {
            "16" => Self::new('!'),
            "10" => Self::new('*'),
            "11" => Self::new('#'),
            one if one.chars().count() == 1 => Self::new(one.chars().next()?),
            _ => None,
        }?;
        if let Some(millis) = field("Duration").and_then(|millis| millis.parse().ok()) {
            press.millis = LONGEST_PRESS.min(millis);
        }
        Some(press)
    }

    /// Type and body of an INFO.
    #[must_use]
    pub fn write(self) -> (&'static str, String) {
        let signal = if self.key == '!' { "16".to_owned() } else { self.key.to_string() };
        (KEYS, format!("Signal={signal}\r\nDuration={}\r\n", self.millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<Control> {
        Control::read("application/media_control+xml; charset=x", body.as_bytes())
    }

    #[test]
    fn bodies_are_those_of_daemons_and_are_read_again() {
        for (control, inside) in [
            (
                Control::KeyFrame(Some(1)),
                " <stream_id>1</stream_id><to_encoder><picture_fast_update/></to_encoder>",
            ),
            (
                Control::Turn { degrees: -90, stream: Some(0) },
                "<to_encoder><device_orientation=90/></to_encoder><stream_id>0</stream_id>",
            ),
            (Control::Recording(true), "<to_encoder><recording_state=1/></to_encoder>"),
            (Control::Muted(true), "<to_encoder><mute_state=1/></to_encoder>"),
            (Control::Voice(false), "<to_encoder><voice_activity=0/></to_encoder>"),
        ] {
            let (_, body) = control.write();
            let expected = format!(
                "<?xml version=\"1.0\" encoding=\"utf-8\" ?><media_control><vc_primitive>{inside}</vc_primitive></media_control>"
            );
            assert_eq!(body, expected);
            assert_eq!(read(&body), Some(control));
        }
    }

    #[test]
    fn the_first_known_word_counts_and_a_stream_without_digits_means_all() {
        assert_eq!(read("<mute_state=1/><picture_fast_update/>"), Some(Control::KeyFrame(None)));
        assert_eq!(read("<stream_id>x</stream_id>picture_fast_update"), Some(Control::KeyFrame(None)));
        assert_eq!(read("<stream_id>99999</stream_id>picture_fast_update"), Some(Control::KeyFrame(None)));
        assert_eq!(read("<recording_state/><mute_state=1/>"), None);
        assert_eq!(read("<nothing/>"), None);
        assert_eq!(Control::read("text/plain", b"<mute_state=1/>"), None);
        assert_eq!(read(&format!("<mute_state=1/>{}", " ".repeat(MAX_CONTROL))), None);
    }

    #[test]
    fn degrees_are_brought_into_their_range() {
        let turn = |said: &str| match read(&format!("<device_orientation={said}/>")) {
            Some(Control::Turn { degrees, .. }) => Some(degrees),
            _ => None,
        };
        assert_eq!(turn("90"), Some(-90));
        assert_eq!(turn("-90"), Some(90));
        assert_eq!(turn("180"), Some(180));
        assert_eq!(turn("-180"), Some(180));
        assert_eq!(turn("36270"), Some(90));
        assert_eq!(turn("-9223372036854775808"), Some(8));
        assert_eq!(turn("99999999999999999999"), None);
        assert_eq!(turn("x"), None);
    }

    #[test]
    fn pressed_keys_are_read_and_written() {
        for (key, body) in [('5', "Signal=5\r\nDuration=250\r\n"), ('!', "Signal=16\r\nDuration=250\r\n")] {
            let press = KeyPress::new(key).unwrap();
            assert_eq!(press.write(), ("application/dtmf-relay", body.to_owned()));
            assert_eq!(KeyPress::read("application/dtmf-relay", body.as_bytes()), Some(press));
        }
        let read = |body: &str| KeyPress::read("application/dtmf-relay", body.as_bytes());
        assert_eq!(read("signal = d\nduration=99999999\n"), Some(KeyPress { key: 'D', millis: 10_000 }));
        assert_eq!(read("Signal=11"), KeyPress::new('#'));
        for bad in ["", "Signal=", "Signal=x", "Signal=55", "Duration=5"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(KeyPress::new('z'), None);
    }
}
