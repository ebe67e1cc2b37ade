//! Which server (`spec: name-server 1`).

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// The server that is asked if nobody says otherwise.
pub const DEFAULT_SERVER: &str = "https://ns.jami.net";

/// Longest URL of a server, in bytes: room for a host name of full length and a path.
pub const MAX_SERVER_URL: usize = 512;

/// The URL of a name server, without a final `/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerUrl {
    text: Box<str>,
    secure: bool,
    /// Where host and port begin and end, and how long the host is.
    authority: (usize, usize),
    host_length: usize,
    port: u16,
}

/// Why a text is no URL of a name server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerUrlError {
    /// Longer than [`MAX_SERVER_URL`].
    #[error("the URL of a name server has at most {MAX_SERVER_URL} bytes")]
    TooLong,
    /// Another scheme than `http` and `https`.
    #[error("a name server is asked over http or https")]
    Scheme,
    /// No host, or one that is none.
    #[error("the URL of a name server has a host: a name in ASCII, or an address; IPv6 in brackets")]
    Host,
    /// No port.
    #[error("the port of a name server is a number between 1 and 65535")]
    Port,
    /// A path with something in it that does not belong there.
    #[error("the path of a name server has only visible ASCII characters, no `..`, no query and no fragment")]
    Path,
}

impl ServerUrl {
    /// Whether it is asked over TLS.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// Host and port as they are written, for the `Host` header.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.text.get(self.authority.0..self.authority.1).unwrap_or_default()
    }

    /// The host to connect to; an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.authority().get(..self.host_length).unwrap_or_default();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The port to connect to.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What every path begins with; empty for most.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.text.get(self.authority.1..).unwrap_or_default()
    }

    /// The URL as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where a redirection leads: the server, without a path, and the path with the query. `None` if it is
    /// no place to go to from here: only paths and URLs are, and none that gives up TLS.
    #[must_use]
    pub(super) fn redirected(&self, location: &str) -> Option<(Self, String)> {
        if location.len() > MAX_SERVER_URL || !location.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let without_fragment = location.split('#').next().unwrap_or_default();
        if without_fragment.starts_with('/') && !without_fragment.starts_with("//") {
            let root = self.text.get(..self.authority.1)?.parse().ok()?;
            return Some((root, without_fragment.to_owned()));
        }
        let (scheme, rest) = without_fragment.split_once("://")?;
        let path = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(path)?;
        let server: Self = format!("{scheme}://{authority}").parse().ok()?;
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        (server.secure || !self.secure).then_some((server, target))
    }
}

impl Default for ServerUrl {
    /// [`DEFAULT_SERVER`].
    fn default() -> Self {
        let (authority, host_length) = (("https://".len(), DEFAULT_SERVER.len()), "ns.jami.net".len());
        Self { text: DEFAULT_SERVER.into(), secure: true, authority, host_length, port: 443 }
    }
}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    /// As clients of 2026 read it: nothing means [`DEFAULT_SERVER`], and without a scheme it is `https`.
    fn from_str(text: &str) -> Result<Self, ServerUrlError> {
        let text = text.trim();
        if text.len() > MAX_SERVER_URL {
            return Err(ServerUrlError::TooLong);
        }
        if matches!(text, "" | "/") {
            return Ok(Self::default());
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest.to_owned()),
            None => ("https".to_owned(), text.to_ascii_lowercase()),
        };
        let secure = match &*scheme {
            "https" => true,
            "http" => false,
            _ => return Err(ServerUrlError::Scheme),
        };
        let path = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, prefix) = rest.split_at_checked(path).ok_or(ServerUrlError::Path)?;
        let prefix = prefix.trim_end_matches('/');
        check_path(prefix)?;
        let (host, port) = split_port(authority)?;
        check_host(host)?;
        let port = port.unwrap_or(if secure { 443 } else { 80 });
        let start = scheme.len() + "://".len();
        let text = format!("{scheme}://{}{prefix}", authority.to_ascii_lowercase());
        let (authority, host_length) = ((start, start + authority.len()), host.len());
        Ok(Self { text: text.into(), secure, authority, host_length, port })
    }
}

fn check_path(path: &str) -> Result<(), ServerUrlError> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'\\');
    if path.bytes().all(allowed) && !path.split('/').any(|part| part == "..") {
        Ok(())
    } else {
        Err(ServerUrlError::Path)
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), ServerUrlError> {
    let Some((host, port)) = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) else {
        return Ok((authority, None));
    };
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| is_number && *port > 0).ok_or(ServerUrlError::Port)?;
    Ok((host, Some(port)))
}

fn check_host(host: &str) -> Result<(), ServerUrlError> {
    let is_good = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            let allowed =
                |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.' || byte == b'_';
            host.len() <= 253 && host.bytes().all(allowed) && host.bytes().any(|byte| byte != b'.')
        }
    };
    if is_good { Ok(()) } else { Err(ServerUrlError::Host) }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ServerUrl({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> ServerUrl {
        text.parse().unwrap()
    }

    #[test]
    fn urls_are_completed_as_clients_of_2026_do() {
        for (typed, expected) in [
            ("", DEFAULT_SERVER),
            ("/", DEFAULT_SERVER),
            ("https://ns.jami.net", DEFAULT_SERVER),
            ("NS.example.org/", "https://ns.example.org"),
            ("http://127.0.0.1:8090", "http://127.0.0.1:8090"),
            ("HTTPS://Host/Path/", "https://host/Path"),
            ("[::1]:80", "https://[::1]:80"),
        ] {
            assert_eq!(url(typed).as_str(), expected, "{typed}");
        }
        assert_eq!(url(""), ServerUrl::default());
    }

    #[test]
    fn the_parts_are_those_that_a_connection_needs() {
        let parts = |text| {
            let url = url(text);
            (
                url.is_secure(),
                url.host().to_owned(),
                url.port(),
                url.authority().to_owned(),
                url.prefix().to_owned(),
            )
        };
        let expected = |secure, host: &str, port, authority: &str, prefix: &str| {
            (secure, host.to_owned(), port, authority.to_owned(), prefix.to_owned())
        };
        assert_eq!(parts(""), expected(true, "ns.jami.net", 443, "ns.jami.net", ""));
        assert_eq!(parts("http://a.b:8/c/d"), expected(false, "a.b", 8, "a.b:8", "/c/d"));
        assert_eq!(parts("http://[::1]"), expected(false, "::1", 80, "[::1]", ""));
        assert_eq!(parts("https://[::1]:9"), expected(true, "::1", 9, "[::1]:9", ""));
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for (text, error) in [
            ("ftp://host", ServerUrlError::Scheme),
            ("https://", ServerUrlError::Host),
            ("https://user@host", ServerUrlError::Host),
            ("https://hö.st", ServerUrlError::Host),
            ("https://..", ServerUrlError::Host),
            ("https://[::g]", ServerUrlError::Host),
            ("https://host:", ServerUrlError::Port),
            ("https://host:0", ServerUrlError::Port),
            ("https://host:+1", ServerUrlError::Port),
            ("https://host:65536", ServerUrlError::Port),
            ("https://host?query", ServerUrlError::Path),
            ("https://host/#", ServerUrlError::Path),
            ("https:///", ServerUrlError::Host),
            ("https://host/a/../b", ServerUrlError::Path),
            ("https://host/a\r\nX: y", ServerUrlError::Path),
        ] {
            assert_eq!(text.parse::<ServerUrl>(), Err(error), "{text}");
        }
        assert_eq!("h".repeat(513).parse::<ServerUrl>(), Err(ServerUrlError::TooLong));
    }

    #[test]
    fn redirections_lead_to_paths_and_servers_and_never_away_from_tls() {
        let redirected = |from: &str, to| {
            let place = url(from).redirected(to);
            place.map(|(server, target)| (server.as_str().to_owned(), target))
        };
        let place = |server: &str, target: &str| Some((server.to_owned(), target.to_owned()));
        assert_eq!(redirected("http://a/p", "/name/x"), place("http://a", "/name/x"));
        assert_eq!(redirected("http://a", "https://b:1/name/x?y#z"), place("https://b:1", "/name/x?y"));
        assert_eq!(redirected("https://a", "https://b"), place("https://b", "/"));
        assert_eq!(redirected("https://a", "https://b?q"), place("https://b", "/?q"));
        for to in ["http://b/", "//b/name", "name", "", "ftp://b/", "https:///x", "/a b", "/a\r\nX: y"] {
            assert_eq!(redirected("https://a", to), None, "{to}");
        }
    }

    proptest! {
        #[test]
        fn any_url_is_read_or_refused_and_survives_its_text(text in "(http://|https://|)[a-zA-Z0-9.:/\\[\\]@?-]{0,20}") {
            if let Ok(url) = text.parse::<ServerUrl>() {
                prop_assert_eq!(url.as_str().parse::<ServerUrl>(), Ok(url.clone()));
                prop_assert!(!url.host().is_empty() && url.port() > 0);
            }
        }

        #[test]
        fn any_redirection_is_read_or_refused(location in any::<String>()) {
            let _ = ServerUrl::default().redirected(&location);
        }
    }
}
