//! Whom a SIP account is, and whom it writes to: `sip:user@host`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::fields;

/// Longest address, in bytes; those of people have fewer than a hundred.
pub const MAX_ADDRESS: usize = 256;

/// An address of a person at a server: `sip:alice@example.org`, or with `sips:`, or a port.
///
/// It consists of letters that need no care wherever it stands in a message.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SipAddress {
    secure: bool,
    user: String,
    host: String,
    port: Option<u16>,
}

/// Why a text is no [`SipAddress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no SIP address; write one like sip:alice@example.org, at most {MAX_ADDRESS} bytes long")]
pub struct SipAddressError;

impl SipAddress {
    /// The part before the `@`, with its percent signs.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The server's name or IP address; IPv6 without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, if it is named.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether it is a `sips` address, for which only TLS will do.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// `sip:example.org`, as a registration is addressed.
    pub(super) fn domain(&self) -> String {
        let (scheme, host) = (self.scheme(), &self.host);
        self.port.map_or_else(|| format!("{scheme}:{host}"), |port| format!("{scheme}:{host}:{port}"))
    }

    const fn scheme(&self) -> &'static str {
        if self.secure { "sips" } else { "sip" }
    }

    /// The address in a header that somebody sent: parameters are left out.
    pub(super) fn in_header(value: &str) -> Option<Self> {
        let uri = fields::uri(value);
        uri.split([';', '?']).next()?.parse().ok()
    }
}

/// Whether a letter of a user part needs no care: that of RFC 3261 without `;`, `?` and `,`, which would
/// begin something else where an address stands without brackets.
const fn in_user(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'_'
                | b'.'
                | b'!'
                | b'~'
                | b'*'
                | b'\''
                | b'('
                | b')'
                | b'%'
                | b'&'
                | b'='
                | b'+'
                | b'$'
                | b'/'
        )
}

/// Whether it is a host name or an IP address, IPv6 in brackets.
fn is_host(host: &str) -> bool {
    if let Some(inside) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return inside.parse::<Ipv6Addr>().is_ok();
    }
    let is_label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        plain && !label.is_empty() && label.len() <= 63 && !label.starts_with('-')
    };
    host.trim_end_matches('.').split('.').all(is_label)
}

impl FromStr for SipAddress {
    type Err = SipAddressError;

    /// Reads `sip:alice@example.org`; the scheme may be left out.
    fn from_str(text: &str) -> Result<Self, SipAddressError> {
        let text = text.trim();
        if text.len() > MAX_ADDRESS {
            return Err(SipAddressError);
        }
        let (secure, rest) = match text.split_once(':') {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("sip") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("sips") => (true, rest),
            _ => (false, text),
        };
        let (user, place) = rest.split_once('@').ok_or(SipAddressError)?;
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, Some(port.parse().ok().filter(|port| *port != 0).ok_or(SipAddressError)?))
            }
            _ => (place, None),
        };
        if user.is_empty() || !user.bytes().all(in_user) || !is_host(host) {
            return Err(SipAddressError);
        }
        Ok(Self { secure, user: user.to_owned(), host: host.to_ascii_lowercase(), port })
    }
}

impl fmt::Display for SipAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}@{}", self.scheme(), self.user, self.host)?;
        self.port.map_or(Ok(()), |port| write!(formatter, ":{port}"))
    }
}

impl fmt::Debug for SipAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Where an account's server is: a name or an IP address, and a port if it is not the usual one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipServer {
    /// Name or IP address; IPv6 without brackets.
    pub host: String,
    /// The port, if it is not the usual one of the transport.
    pub port: Option<u16>,
}

/// Why a text is no [`SipServer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no server; write a name or an IP address, with a port if need be: sip.example.org:5060")]
pub struct SipServerError;

impl FromStr for SipServer {
    type Err = SipServerError;

    fn from_str(text: &str) -> Result<Self, SipServerError> {
        let text = text.trim();
        if let Ok(IpAddr::V6(address)) = text.parse() {
            return Ok(Self { host: address.to_string(), port: None });
        }
        // As in an address: the user is of no matter.
        let address: SipAddress = format!("u@{text}").parse().map_err(|_| SipServerError)?;
        Ok(Self { host: address.host().to_owned(), port: address.port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, written) in [
            ("sip:alice@example.org", "sip:alice@example.org"),
            (" alice@Example.ORG ", "sip:alice@example.org"),
            ("SIPS:a%20b@example.org:5071", "sips:a%20b@example.org:5071"),
            ("sip:+4912@[2001:db8::1]:5060", "sip:+4912@[2001:db8::1]:5060"),
            ("sip:a@[::1]", "sip:a@[::1]"),
            ("sip:a@127.0.0.1:5060", "sip:a@127.0.0.1:5060"),
        ] {
            assert_eq!(text.parse::<SipAddress>().unwrap().to_string(), written);
        }
        let address: SipAddress = "sips:a@[::1]:7".parse().unwrap();
        assert_eq!((address.host(), address.port(), &*address.domain()), ("::1", Some(7), "sips:[::1]:7"));
    }

    #[test]
    fn what_could_break_a_message_is_no_address() {
        let long = format!("sip:{}@a", "x".repeat(MAX_ADDRESS));
        for text in [
            "",
            "sip:",
            "alice",
            "sip:@example.org",
            "sip:a@",
            "sip:a@b:0",
            "sip:a@b:65536",
            "sip:a@b:x",
            "tel:+49@x:y",
            "sip:a b@c",
            "sip:a@b\r\nX: y",
            "sip:a\r\nb@c",
            "sip:a@b>c",
            "sip:a@b;x=y",
            "sip:a;b@c",
            "sip:a\"b@c",
            "sip:ä@c",
            "sip:a@ü",
            "sip:a@[127.0.0.1]",
            "sip:a@b..c",
            "sip:a@-b",
            &long,
        ] {
            assert_eq!(text.parse::<SipAddress>(), Err(SipAddressError), "{text}");
        }
    }

    #[test]
    fn the_address_of_a_header_is_without_its_parameters() {
        let address = |value| SipAddress::in_header(value).map(|address| address.to_string());
        assert_eq!(address("\"A\" <sip:a@b;transport=tcp?x=y>;tag=1").as_deref(), Some("sip:a@b"));
        assert_eq!(address("sip:a@b;tag=1").as_deref(), Some("sip:a@b"));
        assert_eq!(address("<tel:+1>"), None);
    }

    #[test]
    fn servers_are_names_or_addresses() {
        let server = |text: &str| text.parse::<SipServer>().map(|server| (server.host, server.port));
        assert_eq!(server("sip.example.org"), Ok(("sip.example.org".into(), None)));
        assert_eq!(server("127.0.0.1:5080"), Ok(("127.0.0.1".into(), Some(5080))));
        assert_eq!(server("[::1]:5080"), Ok(("::1".into(), Some(5080))));
        assert_eq!(server("::1"), Ok(("::1".into(), None)));
        assert_eq!(server("a b"), Err(SipServerError));
        assert_eq!(server(""), Err(SipServerError));
    }
}
