//! Where a node to join through is, as people write it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Port of nodes that are given without one (`spec: dht 1`).
const DEFAULT_PORT: u16 = 4222;

/// Longest address accepted, in bytes: a host name has at most 253.
const MAX_LENGTH: usize = 300;

/// Characters of a wrong text that its error repeats.
const EXCERPT: usize = 80;

/// A name or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostAddress {
    /// To be looked up.
    Name(String, u16),
    /// Known.
    Address(SocketAddr),
}

/// A text is neither `host`, nor `host:port`, nor an address with or without port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a bootstrap address; write host or host:port")]
pub struct NoHostAddress {
    /// The beginning of it.
    text: String,
}

impl FromStr for HostAddress {
    type Err = NoHostAddress;

    fn from_str(text: &str) -> Result<Self, NoHostAddress> {
        let text = text.trim();
        Self::read(text).ok_or_else(|| NoHostAddress { text: excerpt(text) })
    }
}

impl HostAddress {
    fn read(text: &str) -> Option<Self> {
        if text.len() > MAX_LENGTH {
            return None;
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self::Address(SocketAddr::new(address, DEFAULT_PORT)));
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return (address.port() != 0).then_some(Self::Address(address));
        }
        if let Some(bare) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            let address = bare.parse::<Ipv6Addr>().ok()?;
            return Some(Self::Address(SocketAddr::from((address, DEFAULT_PORT))));
        }
        let (host, port) = match text.rsplit_once(':') {
            // The parser takes a sign, too.
            Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => {
                (host, port.parse().ok().filter(|port| *port != 0)?)
            }
            Some(_) => return None,
            None => (text, DEFAULT_PORT),
        };
        let legal = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_');
        (!host.is_empty() && host.chars().all(legal)).then(|| Self::Name(host.to_owned(), port))
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(host, port) => write!(formatter, "{host}:{port}"),
            Self::Address(address) => address.fmt(formatter),
        }
    }
}

/// As much of a wrong text as an error repeats.
pub(super) fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_every_notation() {
        for (text, expected) in [
            ("bootstrap.jami.net", "bootstrap.jami.net:4222"),
            (" host:1234 ", "host:1234"),
            ("127.0.0.1", "127.0.0.1:4222"),
            ("127.0.0.1:7", "127.0.0.1:7"),
            ("[::1]:7", "[::1]:7"),
            ("::1", "[::1]:4222"),
            ("[::1]", "[::1]:4222"),
        ] {
            assert_eq!(text.parse::<HostAddress>().unwrap().to_string(), expected);
        }
    }

    #[test]
    fn wrong_addresses_are_refused_with_their_beginning() {
        for text in [
            "",
            ":1",
            "host:",
            "host:0",
            "host:+80",
            "1.2.3.4:0",
            "1.2.3.4:+80",
            "[::1]:+80",
            "[host]",
            "[1.2.3.4]",
            "[::1",
            "host:99999",
            "a b",
            "/ip4/1.2.3.4",
            &"a".repeat(400),
        ] {
            let error = text.parse::<HostAddress>().unwrap_err().to_string();
            assert!(error.contains(&excerpt(text)) && error.len() < 200, "{error}");
        }
    }
}
