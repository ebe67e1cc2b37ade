//! What an offer and its answer agree on (`spec: calls 5.5, 5.6, 7`).

use std::net::{IpAddr, SocketAddr};

use super::codec::Codec;
use super::crypto::Crypto;
use super::description::{Component, Description, Direction, Format, Media, MediaKind, Profile};
use crate::link::ice_text::Credentials;

/// Why two sides do not come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAgreed {
    /// No stream with a codec that both have, and a key where one is needed.
    #[error("the other side offers no stream that can be carried here")]
    NothingInCommon,
    /// The answer has no ICE credentials, and media are not to go in plain datagrams.
    #[error("the other side's answer does not say how its media can be reached")]
    NoIce,
}

/// One stream that both sides have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Its place among the streams of the call.
    pub index: usize,
    /// Sound or pictures.
    pub kind: MediaKind,
    /// How it is written down.
    pub codec: Codec,
    /// Number of the packets we send.
    pub send_payload: u8,
    /// Number of the packets that come.
    pub receive_payload: u8,
    /// Numbers of pressed keys, sent and coming, if both sides have them.
    pub keys: Option<(u8, u8)>,
    /// What we encrypt with; in plain streams nothing.
    pub encrypt: Option<Crypto>,
    /// What they encrypt with.
    pub decrypt: Option<Crypto>,
    /// Which way it flows, seen from here.
    pub direction: Direction,
    /// Whether the other side does not want to be seen, or heard.
    pub remote_muted: bool,
    /// Whether the other side has put us on hold. Of sound it does not say so.
    pub remote_held: bool,
    /// Where media go without ICE, if the other side has said that.
    pub rtp: Option<SocketAddr>,
    /// Where reports go without ICE.
    pub rtcp: Option<SocketAddr>,
    /// Whether reports come and go where media do.
    pub rtcp_mux: bool,
}

/// How media are to be carried after an offer and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// By a new ICE session with these credentials of the other side; media stop, and begin with new keys.
    NewIce(Credentials),
    /// As they are, with the keys they have; those of this offer and answer do not count.
    Keep,
    /// To the addresses that were said.
    Plain,
}

/// Finds how media are to be carried. `running` is how they are already, if they are; plain datagrams are
/// for SIP accounts.
///
/// # Errors
/// When there is no way.
pub fn carrier(
    ours: &Description,
    theirs: &Description,
    running: Option<&Carrier>,
    plain_allowed: bool,
) -> Result<Carrier, NotAgreed> {
    match (&ours.ice, &theirs.ice, running) {
        (Some(_), Some(credentials), _) => Ok(Carrier::NewIce(credentials.clone())),
        (_, _, Some(Carrier::NewIce(_) | Carrier::Keep)) => Ok(Carrier::Keep),
        _ if plain_allowed => Ok(Carrier::Plain),
        _ => Err(NotAgreed::NoIce),
    }
}

/// What our description and theirs agree on, line by line; `offered` says whether ours is the offer. Lines
/// that only one of them has are not in use.
#[must_use]
pub fn agreed(ours: &Description, theirs: &Description, offered: bool) -> Vec<Option<Agreed>> {
    let agree = |(index, local): (usize, &Media)| {
        let remote = theirs.media.get(index)?;
        stream(index, local, remote, offered, theirs.address)
    };
    ours.media.iter().enumerate().map(agree).collect()
}

fn stream(
    index: usize,
    local: &Media,
    remote: &Media,
    offered: bool,
    address: Option<IpAddr>,
) -> Option<Agreed> {
    let same = local.kind == remote.kind && local.profile == remote.profile;
    if !local.is_enabled() || !remote.is_enabled() || !same {
        return None;
    }
    let (encrypt, decrypt) = match local.profile {
        Profile::Avp => (None, None),
        Profile::Savp => (Some(local.crypto.clone()?), Some(remote.crypto.clone()?)),
        Profile::Other(_) => return None,
    };
    // The answer has one codec; of several the first counts.
    let answer = if offered { remote } else { local };
    let numbers = |codec| {
        let payload = |media: &Media| media.format_of(codec).and_then(Format::payload);
        payload(remote).zip(payload(local))
    };
    let mut codecs = answer.formats.iter().filter_map(Format::codec);
    let (codec, (send_payload, receive_payload)) = codecs.find_map(|codec| {
        let usable = codec != Codec::TelephoneEvent && codec.kind() == local.kind;
        usable.then(|| numbers(codec)).flatten().map(|numbers| (codec, numbers))
    })?;
    let theirs = remote.direction();
    let place = |host: Option<IpAddr>, port| host.zip(port).map(SocketAddr::from);
    let host = remote.address.or(address);
    let next_port = || remote.port.checked_add(1);
    let rtcp = match remote.rtcp {
        Some((port, own)) => place(own.or(host), Some(port).filter(|port| *port != 0)),
        None => place(host, next_port()),
    };
    Some(Agreed {
        index,
        kind: local.kind.clone(),
        codec,
        send_payload,
        receive_payload,
        keys: numbers(Codec::TelephoneEvent).filter(|_| local.kind == MediaKind::Audio),
        encrypt,
        decrypt,
        direction: local.direction().and(theirs.reversed()),
        remote_muted: !theirs.sends(),
        remote_held: !theirs.receives(),
        rtp: place(host, Some(remote.port)),
        rtcp,
        rtcp_mux: local.rtcp_mux && remote.rtcp_mux,
    })
}

impl Description {
    /// Candidates of the stream at `index` for one of its paths.
    pub fn candidates(&self, index: usize, component: Component) -> impl Iterator<Item = &super::Candidate> {
        let media = self.media.get(index).into_iter().flat_map(|media| &media.candidates);
        media.filter(move |candidate| candidate.component() == component)
    }
}
