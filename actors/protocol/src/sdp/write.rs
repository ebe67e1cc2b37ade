//! A description to the bytes that the reference writes (`spec: calls 5.1`).

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use super::description::{Candidate, Description, Format, Media};

/// An address with its kind.
struct Place(IpAddr);

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.0.is_ipv4() { "IP4" } else { "IP6" };
        write!(formatter, "IN {kind} {}", self.0)
    }
}

impl Description {
    /// The body of a message. It holds keys.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut text = String::with_capacity(1024);
        // Writing to a text cannot fail.
        let _ = self.write_to(&mut text);
        text.into_bytes()
    }

    fn write_to(&self, text: &mut String) -> fmt::Result {
        let origin = &self.origin;
        let name = &self.name;
        write!(
            text,
            "v=0\r\no={} {} {} {}\r\ns={name}\r\n",
            origin.user,
            origin.session,
            origin.version,
            Place(origin.address)
        )?;
        if let Some(address) = self.address {
            write!(text, "c={}\r\n", Place(address))?;
        }
        text.push_str("t=0 0\r\n");
        if let Some(ice) = &self.ice {
            write!(text, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", ice.ufrag, ice.password)?;
        }
        self.media.iter().try_for_each(|media| write_media(media, text))
    }
}

fn write_media(media: &Media, text: &mut String) -> fmt::Result {
    write!(text, "m={} {} {}", media.kind.word(), media.port, media.profile.word())?;
    for format in &media.formats {
        write!(text, " {}", format.name)?;
    }
    text.push_str("\r\n");
    if let Some(address) = media.address {
        write!(text, "c={}\r\n", Place(address))?;
    }
    media.formats.iter().try_for_each(|format| write_format(format, text))?;
    if let Some((port, address)) = media.rtcp {
        write!(text, "a=rtcp:{port}")?;
        if let Some(address) = address {
            write!(text, " {}", Place(address))?;
        }
        text.push_str("\r\n");
    }
    if media.rtcp_mux {
        text.push_str("a=rtcp-mux\r\n");
    }
    if let Some(direction) = media.direction {
        write!(text, "a={}\r\n", direction.word())?;
    }
    if let Some(crypto) = &media.crypto {
        write!(text, "a=crypto:{}\r\n", *crypto.value())?;
    }
    media.candidates.iter().try_for_each(|candidate| write_candidate(candidate, text))
}

fn write_format(format: &Format, text: &mut String) -> fmt::Result {
    if let Some(map) = &format.map {
        write!(text, "a=rtpmap:{} {}/{}", format.name, map.encoding, map.clock)?;
        if let Some(channels) = map.channels {
            write!(text, "/{channels}")?;
        }
        text.push_str("\r\n");
    }
    if let Some(parameters) = &format.parameters {
        write!(text, "a=fmtp:{} {parameters}\r\n", format.name)?;
    }
    Ok(())
}

fn write_candidate(candidate: &Candidate, text: &mut String) -> fmt::Result {
    let Candidate { foundation, number, priority, address, port, kind } = candidate;
    write!(text, "a=candidate:{foundation} {number} UDP {priority} {address} {port} typ {}\r\n", kind.name())
}
