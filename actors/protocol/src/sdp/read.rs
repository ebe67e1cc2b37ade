//! Bytes to a description.
//!
//! An answer has as many `m=` lines as the offer, each in its place. So a description whose `m=` lines
//! cannot be read, or are too many, is refused; any other line that makes no sense is passed over.

use std::net::IpAddr;

use super::crypto::Crypto;
use super::description::{
    Candidate, Description, Direction, Format, Media, MediaKind, Origin, Profile, RtpMap,
};
use crate::link::ice_text::{CandidateKind, Credentials, MAX_CREDENTIAL, MAX_FOUNDATION};

/// Longest description, in bytes. Daemons take messages of less than 8,000; SIP servers pass on more.
pub const MAX_DESCRIPTION: usize = 32 * 1024;

/// Most lines of a description: 16 streams with 32 formats and 16 candidates each have fewer.
pub const MAX_LINES: usize = 2048;

/// Longest line that is read, in bytes; longer ones are passed over.
pub const MAX_LINE: usize = 1024;

/// Most `m=` lines: as many as daemons read.
pub const MAX_MEDIA: usize = 16;

/// Most formats of an `m=` line: as many as daemons read; further ones are passed over.
pub const MAX_FORMATS: usize = 32;

/// Most candidates of a description: as many as daemons keep; further ones are passed over.
pub const MAX_CANDIDATES: usize = 256;

/// Highest number of a path: two for each of [`MAX_MEDIA`].
pub const MAX_COMPONENT: u8 = 32;

/// Longest text that is kept as it came (a name, a parameter), in bytes.
const MAX_TEXT: usize = 256;

/// Why a description cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// More than [`MAX_DESCRIPTION`] bytes or [`MAX_LINES`] lines.
    #[error("a session description of more than {MAX_DESCRIPTION} bytes or {MAX_LINES} lines")]
    TooLong,
    /// It does not begin with `v=0`.
    #[error("what came is no session description")]
    Malformed,
    /// An `m=` line that cannot be read.
    #[error("a session description with a stream that cannot be read")]
    MalformedMedia,
    /// More than [`MAX_MEDIA`].
    #[error("a session description with more than {MAX_MEDIA} streams")]
    TooManyMedia,
}

impl Description {
    /// Reads a description.
    ///
    /// # Errors
    /// [`SdpError`] when there is none, or it cannot be answered stream by stream.
    pub fn read(bytes: &[u8]) -> Result<Self, SdpError> {
        if bytes.len() > MAX_DESCRIPTION {
            return Err(SdpError::TooLong);
        }
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
        if lines.next() != Some("v=0") {
            return Err(SdpError::Malformed);
        }
        let mut reader = Reader::default();
        for (count, line) in lines.enumerate() {
            if count >= MAX_LINES {
                return Err(SdpError::TooLong);
            }
            reader.line(line)?;
        }
        Ok(reader.finish())
    }
}

/// What was read so far.
#[derive(Default)]
struct Reader {
    origin: Option<Origin>,
    name: String,
    address: Option<IpAddr>,
    fragment: Option<String>,
    password: Option<String>,
    direction: Option<Direction>,
    media: Vec<Media>,
    /// Whether a line of the last stream decided about its key.
    has_crypto: bool,
    candidates: usize,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), SdpError> {
        let Some((kind, value)) = line.split_once('=') else { return Ok(()) };
        if kind == "m" {
            if self.media.len() >= MAX_MEDIA {
                return Err(SdpError::TooManyMedia);
            }
            let fits = Some(value).filter(|value| value.len() <= MAX_LINE);
            self.media.push(fits.and_then(media).ok_or(SdpError::MalformedMedia)?);
            self.has_crypto = false;
            return Ok(());
        }
        if value.len() > MAX_LINE {
            return Ok(());
        }
        match kind {
            "o" => self.origin = self.origin.take().or_else(|| origin(value)),
            "s" => self.name = short(value),
            "c" => match self.media.last_mut() {
                Some(media) => media.address = connection(value).or(media.address),
                None => self.address = connection(value).or(self.address),
            },
            "a" => {
                let (name, value) = value.split_once(':').unwrap_or((value, ""));
                self.attribute(name, value.trim());
            }
            _ => {}
        }
        Ok(())
    }

    fn attribute(&mut self, name: &str, value: &str) {
        match name {
            "ice-ufrag" => keep_credential(&mut self.fragment, value),
            "ice-pwd" => keep_credential(&mut self.password, value),
            _ => {}
        }
        let direction = Direction::from_word(name);
        let Some(media) = self.media.last_mut() else {
            self.direction = direction.or(self.direction);
            return;
        };
        media.direction = direction.or(media.direction);
        match name {
            "rtpmap" => attribute_of_format(media, value, |format, value| format.map = rtp_map(value)),
            "fmtp" => {
                let kept = |value: &str| Some(short(value)).filter(|value| !value.trim().is_empty());
                attribute_of_format(media, value, |format, value| format.parameters = kept(value));
            }
            "rtcp" => media.rtcp = rtcp(value).or(media.rtcp),
            "rtcp-mux" => media.rtcp_mux = true,
            "crypto" if !self.has_crypto => {
                if let Ok(crypto) = Crypto::read(value) {
                    media.crypto = crypto;
                    self.has_crypto = true;
                }
            }
            "candidate" if self.candidates < MAX_CANDIDATES => {
                if let Some(candidate) = candidate(value) {
                    media.candidates.push(candidate);
                    self.candidates += 1;
                }
            }
            _ => {}
        }
    }

    fn finish(mut self) -> Description {
        for media in &mut self.media {
            media.direction = media.direction.or(self.direction);
        }
        let nobody = || Origin { user: "-".to_owned(), session: 0, version: 0, address: [0, 0, 0, 0].into() };
        let ice = self.fragment.zip(self.password);
        Description {
            origin: self.origin.unwrap_or_else(nobody),
            name: if self.name.is_empty() { "-".to_owned() } else { self.name },
            address: self.address,
            ice: ice.map(|(ufrag, password)| Credentials { ufrag, password }),
            media: self.media,
        }
    }
}

fn short(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_TEXT);
    text[..end].chars().filter(|letter| !letter.is_control()).collect()
}

/// The first that is found counts.
fn keep_credential(place: &mut Option<String>, value: &str) {
    let good =
        (1..=MAX_CREDENTIAL).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
    if good && place.is_none() {
        *place = Some(value.to_owned());
    }
}

/// `vm 4004332581 0 IN IP4 10.77.0.3`
fn origin(value: &str) -> Option<Origin> {
    let mut tokens = value.split_ascii_whitespace();
    let user = tokens.next()?;
    let (session, version) = (tokens.next()?.parse().ok()?, tokens.next()?.parse().ok()?);
    let address = address(&mut tokens)?;
    Some(Origin { user: short(user), session, version, address })
}

/// `IN IP4 10.77.0.3`, perhaps with a time to live behind it.
fn connection(value: &str) -> Option<IpAddr> {
    address(&mut value.split_ascii_whitespace())
}

fn address<'t>(tokens: &mut impl Iterator<Item = &'t str>) -> Option<IpAddr> {
    if tokens.next()? != "IN" || !matches!(tokens.next()?, "IP4" | "IP6") {
        return None;
    }
    tokens.next()?.split('/').next()?.parse().ok()
}

/// `audio 30382 RTP/SAVP 104 101`
fn media(value: &str) -> Option<Media> {
    let mut tokens = value.split_ascii_whitespace();
    let kind = match tokens.next()? {
        "audio" => MediaKind::Audio,
        "video" => MediaKind::Video,
        other => MediaKind::Other(short(other)),
    };
    // A number of ports may be named, which means layers; only one is used.
    let port = tokens.next()?.split('/').next()?.parse().ok()?;
    let profile = match tokens.next()? {
        "RTP/AVP" => Profile::Avp,
        "RTP/SAVP" => Profile::Savp,
        other => Profile::Other(short(other)),
    };
    let format = |name| Format { name: short(name), map: None, parameters: None };
    let formats: Vec<Format> = tokens.take(MAX_FORMATS).map(format).collect();
    (!formats.is_empty()).then_some(Media {
        kind,
        port,
        profile,
        formats,
        address: None,
        rtcp: None,
        rtcp_mux: false,
        direction: None,
        crypto: None,
        candidates: Vec::new(),
    })
}

/// `101 0-15`, about a format that stands in the line.
fn attribute_of_format(media: &mut Media, value: &str, set: impl FnOnce(&mut Format, &str)) {
    let Some((name, value)) = value.split_once(' ') else { return };
    if let Some(format) = media.formats.iter_mut().find(|format| format.name == name) {
        set(format, value.trim());
    }
}

/// `opus/48000/2`
fn rtp_map(value: &str) -> Option<RtpMap> {
    let mut parts = value.split('/');
    let (encoding, clock) = (short(parts.next()?), parts.next()?.parse().ok()?);
    let channels = parts.next().and_then(|channels| channels.parse().ok());
    Some(RtpMap { encoding, clock, channels })
}

/// `30383 IN IP4 10.77.0.3`
fn rtcp(value: &str) -> Option<(u16, Option<IpAddr>)> {
    let (port, rest) = value.split_once(' ').unwrap_or((value, ""));
    Some((port.parse().ok()?, connection(rest)))
}

/// `Ha4d0003 1 UDP 2130706431 10.77.0.3 49145 typ host`, and more, which is not looked at.
fn candidate(value: &str) -> Option<Candidate> {
    let mut tokens = value.split_ascii_whitespace();
    let foundation = tokens.next().filter(|it| it.len() <= MAX_FOUNDATION)?.to_owned();
    let number = tokens.next()?.parse().ok().filter(|number| (1..=MAX_COMPONENT).contains(number))?;
    if !tokens.next()?.eq_ignore_ascii_case("UDP") {
        return None;
    }
    let priority = tokens.next()?.parse().ok()?;
    let address = tokens.next()?.parse().ok()?;
    let port = tokens.next()?.parse().ok()?;
    if tokens.next()? != "typ" {
        return None;
    }
    let kind = CandidateKind::from_name(tokens.next()?)?;
    Some(Candidate { foundation, number, priority, address, port, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Description {
        Description::read(format!("v=0\r\n{lines}").as_bytes()).unwrap()
    }

    #[test]
    fn a_line_that_makes_no_sense_costs_that_line_only() {
        let description = read(
            "o=nonsense\r\ns=-\r\nc=IN IP4 nowhere\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nnonsense\r\n\
             m=audio 4000 RTP/SAVP 104\r\na=rtpmap:104\r\na=rtpmap:104 opus/48000/2\r\na=fmtp:7 x\r\n\
             a=candidate:x\r\na=candidate:H1 1 TCP 1 10.0.0.1 9 typ host tcptype active\r\n\
             a=candidate:H1 1 UDP 1 host.local 9 typ host\r\na=candidate:H1 0 UDP 1 10.0.0.1 9 typ host\r\n\
             a=candidate:H1 99 UDP 1 10.0.0.1 9 typ host\r\na=candidate:H1 2 UDP 1 10.0.0.1 9 typ far\r\n\
             a=candidate:H1 2 udp 1 ::1 9 typ host generation 0\r\na=rtcp:no\r\n",
        );
        assert_eq!(description.address, Some([10, 0, 0, 1].into()));
        let media = &description.media[0];
        assert_eq!(media.formats[0].codec(), Some(super::super::Codec::Opus));
        assert_eq!(media.candidates.len(), 1);
        assert_eq!(media.candidates[0].number, 2);
        assert_eq!(media.rtcp, None);
    }

    #[test]
    fn credentials_count_at_either_level_and_the_first_found_wins() {
        let both = read("a=ice-ufrag:one\r\na=ice-pwd:pass\r\nm=audio 1 RTP/SAVP 0\r\na=ice-ufrag:two\r\n");
        assert_eq!(both.ice.unwrap().ufrag, "one");
        let media = read("m=audio 1 RTP/SAVP 0\r\na=ice-ufrag:two\r\na=ice-pwd:pass\r\n");
        assert_eq!(media.ice.unwrap().ufrag, "two");
        assert_eq!(read("m=audio 1 RTP/SAVP 0\r\na=ice-ufrag:two\r\n").ice, None);
        let long = "x".repeat(MAX_CREDENTIAL + 1);
        assert_eq!(read(&format!("a=ice-ufrag:{long}\r\na=ice-pwd:pass\r\n")).ice, None);
    }

    #[test]
    fn a_direction_of_the_session_counts_for_streams_that_say_none() {
        let description = read("a=sendonly\r\nm=audio 1 RTP/AVP 0\r\nm=video 1 RTP/AVP 96\r\na=inactive\r\n");
        let directions: Vec<_> = description.media.iter().map(Media::direction).collect();
        assert_eq!(directions, [Direction::Send, Direction::Neither]);
    }

    #[test]
    fn a_stream_that_cannot_be_read_spoils_the_description() {
        for line in
            ["m=", "m=audio", "m=audio x RTP/SAVP 0", "m=audio 70000 RTP/SAVP 0", "m=audio 1 RTP/SAVP"]
        {
            let read = Description::read(format!("v=0\r\n{line}\r\n").as_bytes());
            assert_eq!(read, Err(SdpError::MalformedMedia), "{line}");
        }
        assert_eq!(Description::read(b""), Err(SdpError::Malformed));
        assert_eq!(Description::read(b"v=1\r\n"), Err(SdpError::Malformed));
    }

    #[test]
    fn a_hundred_thousand_streams_are_refused_and_too_many_candidates_and_formats_passed_over() {
        let many = format!("v=0\r\n{}", "m=audio 1 RTP/AVP 0\r\n".repeat(100_000));
        assert_eq!(Description::read(many.as_bytes()), Err(SdpError::TooLong));
        let many = format!("v=0\r\n{}", "m=audio 1 RTP/AVP 0\r\n".repeat(MAX_MEDIA + 1));
        assert_eq!(Description::read(many.as_bytes()), Err(SdpError::TooManyMedia));
        let many = format!("v=0\r\n{}", "a=x\r\n".repeat(MAX_LINES + 1));
        assert_eq!(Description::read(many.as_bytes()), Err(SdpError::TooLong));

        let candidate = "a=candidate:H1 1 UDP 1 10.0.0.1 9 typ host\r\n";
        let many = read(&format!("m=audio 1 RTP/AVP{}\r\n{}", " 0".repeat(99), candidate.repeat(300)));
        assert_eq!(many.media[0].formats.len(), MAX_FORMATS);
        assert_eq!(many.media[0].candidates.len(), MAX_CANDIDATES);
    }

    #[test]
    fn the_first_known_suite_decides() {
        let key = "PziwAI5SvdGCMsBBpGe7xrpz/Bov+R7uSuKfGCeb";
        let crypto = |lines: &str| read(&format!("m=audio 1 RTP/SAVP 0\r\n{lines}")).media[0].crypto.clone();
        let good = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:{key}\r\n");
        assert!(crypto(&format!("a=crypto:1 AEAD_AES_256_GCM inline:x\r\n{good}")).is_some());
        assert!(crypto(&format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n{good}")).is_none());
    }
}
