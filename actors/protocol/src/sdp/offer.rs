//! Offers and answers out of what this side has (`spec: calls 5.4, 5.5, 7`; RFC 3264).

use std::net::IpAddr;

use super::agreed::NotAgreed;
use super::codec::{Codec, DTMF_PAYLOAD, FIRST_DYNAMIC};
use super::crypto::{Crypto, SrtpKey};
use super::description::{
    Candidate, Component, Description, Direction, Format, Media, MediaKind, Origin, Profile,
};
use crate::link::ice_text::Credentials;

/// Last number that may be given to a codec.
const LAST_DYNAMIC: u8 = 127;

/// One stream as this side wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalStream {
    /// Sound or pictures.
    pub kind: MediaKind,
    /// The codecs that will do, the best first; telephone events go without saying.
    pub codecs: Vec<Codec>,
    /// Whether there is one. One that was removed keeps its place.
    pub enabled: bool,
    /// Whether the owner does not want to be seen. Of sound nothing is said.
    pub muted: bool,
    /// Whether the call is on hold. Of sound nothing is said.
    pub held: bool,
}

impl LocalStream {
    /// Which way it flows, as daemons say it (`spec: calls 5.5`).
    #[must_use]
    pub fn direction(&self) -> Direction {
        match (&self.kind, self.muted, self.held) {
            (_, _, _) if !self.enabled => Direction::Neither,
            (MediaKind::Video, true, true) => Direction::Neither,
            (MediaKind::Video, true, false) => Direction::Receive,
            (MediaKind::Video, false, true) => Direction::Send,
            _ => Direction::Both,
        }
    }
}

/// A stream and what it needs to be carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalMedia {
    /// The stream.
    pub stream: LocalStream,
    /// The port for RTP; with ICE it is decoration, but must not be 0.
    pub port: u16,
    /// The port for RTCP.
    pub rtcp_port: u16,
    /// What we encrypt with; without it the stream is carried in the clear.
    pub key: Option<SrtpKey>,
    /// Where we may be reached, and by which path. They are numbered when they are written.
    pub candidates: Vec<(Component, Candidate)>,
}

impl LocalMedia {
    const fn profile(&self) -> Profile {
        if self.key.is_some() { Profile::Savp } else { Profile::Avp }
    }

    /// The line; `place` is its place among those in use.
    fn media(
        &self,
        formats: Vec<Format>,
        direction: Direction,
        address: IpAddr,
        place: u8,
        ice: bool,
    ) -> Media {
        let number = |component| place * 2 + if component == Component::Rtp { 1 } else { 2 };
        let numbered = |(component, candidate): &(Component, Candidate)| Candidate {
            number: number(*component),
            ..candidate.clone()
        };
        Media {
            kind: self.stream.kind.clone(),
            port: self.port,
            profile: self.profile(),
            formats,
            address: None,
            rtcp: Some((self.rtcp_port, Some(address))),
            rtcp_mux: false,
            direction: Some(direction),
            crypto: self.key.clone().map(Crypto::new),
            candidates: if ice { self.candidates.iter().map(numbered).collect() } else { Vec::new() },
        }
    }
}

/// Describes what this side has. With `ice` the media get a new ICE session; without it they go on as they
/// are, or in plain datagrams.
#[must_use]
pub fn offer(
    origin: Origin,
    name: &str,
    ice: Option<Credentials>,
    address: IpAddr,
    media: &[LocalMedia],
) -> Description {
    let (mut lines, mut place) = (Vec::new(), 0);
    for local in media {
        let formats = offered_formats(&local.stream);
        if local.stream.enabled && !formats.is_empty() {
            let direction = local.stream.direction();
            lines.push(local.media(formats, direction, address, place, ice.is_some()));
            place = place.saturating_add(1);
        } else {
            lines.push(removed(local, formats));
        }
    }
    Description { origin, name: name.to_owned(), address: Some(address), ice, media: lines }
}

/// Answers an offer with `media`, which are for its lines, one for one. Each line gets one codec under the
/// number it was offered with, or is refused.
///
/// # Errors
/// When all lines would be refused.
pub fn answer(
    offered: &Description,
    origin: Origin,
    name: &str,
    ice: Option<Credentials>,
    address: IpAddr,
    media: &[LocalMedia],
) -> Result<Description, NotAgreed> {
    let ice = ice.filter(|_| offered.ice.is_some());
    let (mut lines, mut place, mut asked) = (Vec::new(), 0, false);
    for (index, theirs) in offered.media.iter().enumerate() {
        asked |= theirs.is_enabled();
        let taken = media.get(index).and_then(|ours| Some((ours, taken_formats(theirs, ours)?)));
        if let Some((ours, formats)) = taken {
            let direction = ours.stream.direction().and(theirs.direction().reversed());
            lines.push(ours.media(formats, direction, address, place, ice.is_some()));
            place = place.saturating_add(1);
        } else {
            lines.push(refused(theirs));
        }
    }
    if asked && place == 0 {
        return Err(NotAgreed::NothingInCommon);
    }
    Ok(Description { origin, name: name.to_owned(), address: Some(address), ice, media: lines })
}

/// The codecs of a stream, numbered.
fn offered_formats(stream: &LocalStream) -> Vec<Format> {
    let (mut next, mut formats) = (FIRST_DYNAMIC, Vec::new());
    for codec in stream.codecs.iter().filter(|codec| codec.kind() == stream.kind) {
        let payload = codec.fixed_payload().unwrap_or_else(|| {
            let payload = next;
            next = next.saturating_add(1).min(LAST_DYNAMIC);
            payload
        });
        formats.push(codec.format(payload));
    }
    if stream.kind == MediaKind::Audio && !formats.is_empty() {
        formats.push(Codec::TelephoneEvent.format(DTMF_PAYLOAD));
    }
    formats
}

/// The codec that is taken of an offered line, and telephone events if they are offered.
fn taken_formats(theirs: &Media, ours: &LocalMedia) -> Option<Vec<Format>> {
    let secured = ours.key.is_none() || theirs.crypto.is_some();
    let same = theirs.kind == ours.stream.kind && theirs.profile == ours.profile();
    if !theirs.is_enabled() || !ours.stream.enabled || !same || !secured {
        return None;
    }
    let numbered = |format: &Format| Some((format.codec()?, format.payload()?));
    let mut known = theirs.formats.iter().filter_map(numbered);
    let (codec, payload) = known.find(|(codec, _)| ours.stream.codecs.contains(codec))?;
    let mut formats = vec![codec.format(payload)];
    if codec.kind() == MediaKind::Audio {
        let keys = theirs.format_of(Codec::TelephoneEvent).and_then(Format::payload);
        formats.extend(keys.map(|payload| Codec::TelephoneEvent.format(payload)));
    }
    Some(formats)
}

/// A line of ours that is not in use.
fn removed(local: &LocalMedia, formats: Vec<Format>) -> Media {
    let formats = if formats.is_empty() { vec![nothing()] } else { formats };
    unused(local.stream.kind.clone(), local.profile(), formats)
}

/// A line of theirs that is not taken: it stays, without a port.
fn refused(theirs: &Media) -> Media {
    unused(theirs.kind.clone(), theirs.profile.clone(), theirs.formats.iter().take(1).cloned().collect())
}

/// There has to be a format even where none is meant.
fn nothing() -> Format {
    Format { name: "0".to_owned(), map: None, parameters: None }
}

const fn unused(kind: MediaKind, profile: Profile, formats: Vec<Format>) -> Media {
    Media {
        kind,
        port: 0,
        profile,
        formats,
        address: None,
        rtcp: None,
        rtcp_mux: false,
        direction: Some(Direction::Neither),
        crypto: None,
        candidates: Vec::new(),
    }
}
