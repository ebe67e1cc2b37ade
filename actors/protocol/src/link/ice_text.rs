//! The text that introduces one ICE session to the peer: credentials and candidates
//! (`spec: connection 3`).
//!
//! ```text
//! <ufrag>
//! <pwd>
//! Hc0a80105 1 TCP 2130706431 192.168.1.5 41523 typ host tcptype passive
//! Hc0a80105 1 TCP 2130706175 192.168.1.5 9 typ host tcptype active
//! ```
//!
//! Reading is forgiving: a line that is no candidate is skipped, and too many candidates are
//! trimmed the way the reference trims them. Credentials that are missing spoil the whole text.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;

/// Longest text read, in bytes: what the DHT can carry.
pub const MAX_TEXT: usize = 64 * 1024;
/// Most candidates kept and sent: the reference keeps no more.
pub const MAX_CANDIDATES: usize = 31;
/// Most host candidates kept when there are more than [`MAX_CANDIDATES`] in all.
pub const MAX_HOST_CANDIDATES: usize = 8;
/// Most relay candidates kept when there are more than [`MAX_CANDIDATES`] in all.
pub const MAX_RELAY_CANDIDATES: usize = 4;
/// Longest foundation, in characters.
pub const MAX_FOUNDATION: usize = 31;
/// Longest user fragment or password, in characters (RFC 8445 5.3).
pub const MAX_CREDENTIAL: usize = 256;
/// Port written in every active candidate: it listens nowhere (RFC 6544 4.5).
pub const ACTIVE_PORT: u16 = 9;

/// The only component of a session.
const COMPONENT: u32 = 1;
/// Characters of the user fragment made by [`Credentials::from_random`], as the reference's.
const UFRAG_LENGTH: usize = 8;

/// User fragment and password of one side of an ICE session. `Debug` hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User fragment: names the session in checks.
    pub ufrag: String,
    /// Password: keys the message integrity of checks sent to this side.
    pub password: String,
}

impl Credentials {
    /// Credentials from random bytes: 8 and 24 characters, as the reference makes them, of six random
    /// bits each.
    #[must_use]
    pub fn from_random(random: &[u8; 24]) -> Self {
        let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(random);
        let (ufrag, password) = text.split_at(UFRAG_LENGTH);
        Self { ufrag: ufrag.to_owned(), password: password.to_owned() }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

/// How an address was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CandidateKind {
    /// An address of an interface of the host.
    Host,
    /// The host's address as a server or the router sees it.
    ServerReflexive,
    /// The host's address as the peer saw it in a check.
    PeerReflexive,
    /// An address of a relay.
    Relay,
}

impl CandidateKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::ServerReflexive => "srflx",
            Self::PeerReflexive => "prflx",
            Self::Relay => "relay",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Host, Self::ServerReflexive, Self::PeerReflexive, Self::Relay]
            .into_iter()
            .find(|kind| kind.name() == name)
    }

    /// Foundation of a candidate of this kind: a letter and the base address in hexadecimal, or for
    /// IPv6 a hash of it. Candidates of one kind and base share it.
    #[must_use]
    pub fn foundation(self, base: IpAddr) -> String {
        let letter = match self {
            Self::Host => 'H',
            Self::ServerReflexive => 'S',
            Self::PeerReflexive => 'P',
            Self::Relay => 'R',
        };
        let number = match base {
            IpAddr::V4(address) => u32::from(address),
            IpAddr::V6(address) => crc32fast::hash(&address.octets()),
        };
        format!("{letter}{number:x}")
    }

    /// Priority of the candidate at `position` (from 0) of the list sent (RFC 8445 5.1.2.1 with the
    /// reference's preferences: host 126, peer-reflexive 110, server-reflexive 100, relay 0).
    #[must_use]
    pub fn priority(self, position: u16) -> u32 {
        let type_preference: u32 = match self {
            Self::Host => 126,
            Self::PeerReflexive => 110,
            Self::ServerReflexive => 100,
            Self::Relay => 0,
        };
        (type_preference << 24) | (u32::from(u16::MAX - position) << 8) | (256 - COMPONENT)
    }
}

/// Who opens the TCP connection of a candidate (RFC 6544).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TcpType {
    /// Its owner connects; it accepts nothing.
    Active,
    /// Its owner listens.
    Passive,
    /// Both connect at once; never produced, and pairs with nothing of ours.
    SimultaneousOpen,
}

impl TcpType {
    const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::SimultaneousOpen => "so",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Active, Self::Passive, Self::SimultaneousOpen].into_iter().find(|kind| kind.name() == name)
    }
}

/// Transport of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams; of no use to the connections described here, whatever is not TCP is read so.
    Udp,
    /// A TCP connection opened by one side.
    Tcp(TcpType),
}

/// One address at which a side may be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Equal for candidates whose checks succeed or fail alike; only equality matters.
    pub foundation: String,
    /// Transport, and for TCP who connects.
    pub transport: Transport,
    /// Priority, used as the sender gave it.
    pub priority: u32,
    /// Address without scope.
    pub address: IpAddr,
    /// Port; [`ACTIVE_PORT`] when active.
    pub port: u16,
    /// How the address was learnt.
    pub kind: CandidateKind,
}

impl Candidate {
    /// A listening TCP candidate; `base` is the local address behind it and `position` its place in
    /// the list sent, from 0.
    #[must_use]
    pub fn passive(kind: CandidateKind, base: IpAddr, address: IpAddr, port: u16, position: u16) -> Self {
        Self {
            foundation: kind.foundation(base),
            transport: Transport::Tcp(TcpType::Passive),
            priority: kind.priority(position),
            address,
            port,
            kind,
        }
    }

    /// A TCP candidate that connects and does not listen; see [`passive`](Self::passive).
    #[must_use]
    pub fn active(kind: CandidateKind, base: IpAddr, address: IpAddr, position: u16) -> Self {
        let transport = Transport::Tcp(TcpType::Active);
        Self { transport, ..Self::passive(kind, base, address, ACTIVE_PORT, position) }
    }

    /// Reads one line; `None` when it is no candidate of the only component there is.
    fn parse(line: &str) -> Option<Self> {
        let mut tokens = line.split_ascii_whitespace();
        let foundation = tokens.next().filter(|text| is_token(text, MAX_FOUNDATION))?;
        let component: u32 = tokens.next()?.parse().ok()?;
        let transport = tokens.next()?;
        let priority = tokens.next()?.parse().ok()?;
        let address = tokens.next()?.parse().ok()?;
        let port = tokens.next()?.parse().ok()?;
        tokens.next().filter(|token| *token == "typ")?;
        let kind = CandidateKind::from_name(tokens.next()?)?;
        let tcp_type = match tokens.next() {
            None => None,
            Some("tcptype") => Some(TcpType::from_name(tokens.next()?)?),
            Some(_) => return None,
        };
        let transport = if transport == "TCP" { Transport::Tcp(tcp_type?) } else { Transport::Udp };
        if component != COMPONENT || tokens.next().is_some() {
            return None;
        }
        Some(Self { foundation: foundation.to_owned(), transport, priority, address, port, kind })
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { foundation, priority, address, port, .. } = self;
        let transport = if self.transport == Transport::Udp { "UDP" } else { "TCP" };
        let kind = self.kind.name();
        write!(formatter, "{foundation} {COMPONENT} {transport} {priority} {address} {port} typ {kind}")?;
        match self.transport {
            Transport::Udp => Ok(()),
            Transport::Tcp(tcp_type) => write!(formatter, " tcptype {}", tcp_type.name()),
        }
    }
}

/// Why a text introduces no ICE session; the attempt it came for fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IceTextError {
    /// The text is longer than [`MAX_TEXT`].
    #[error("the peer's ICE text of {length} bytes is longer than {MAX_TEXT}; give up the attempt")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// The first two lines are not a user fragment and a password.
    #[error("the peer's ICE text has no usable {what}; give up the attempt")]
    NoCredentials {
        /// Which of them.
        what: &'static str,
    },
}

/// The introduction of one ICE session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceText {
    /// What checks to this side must carry.
    pub credentials: Credentials,
    /// Where this side may be reached; empty means that the attempt cannot succeed.
    pub candidates: Vec<Candidate>,
}

impl IceText {
    /// An introduction with at most [`MAX_CANDIDATES`] of `candidates`, in their order.
    #[must_use]
    pub fn new(credentials: Credentials, candidates: Vec<Candidate>) -> Self {
        Self { credentials, candidates: trim(candidates) }
    }

    /// Reads a text; lines that are no candidates are skipped.
    ///
    /// # Errors
    /// When the text is too long, or does not begin with credentials.
    pub fn parse(text: &str) -> Result<Self, IceTextError> {
        if text.len() > MAX_TEXT {
            return Err(IceTextError::TooLong { length: text.len() });
        }
        let mut lines = text.lines();
        let mut credential = |what| {
            let line = lines.next().filter(|line| is_token(line, MAX_CREDENTIAL));
            line.map(str::to_owned).ok_or(IceTextError::NoCredentials { what })
        };
        let credentials =
            Credentials { ufrag: credential("user fragment")?, password: credential("password")? };
        Ok(Self::new(credentials, lines.filter_map(Candidate::parse).collect()))
    }
}

impl fmt::Display for IceText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}\n{}", self.credentials.ufrag, self.credentials.password)?;
        self.candidates.iter().try_for_each(|candidate| writeln!(formatter, "{candidate}"))
    }
}

/// Whether `text` is a word of printable characters that is not too long.
fn is_token(text: &str, limit: usize) -> bool {
    (1..=limit).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Keeps at most [`MAX_CANDIDATES`], in order, such that each kind present stays present: hosts and
/// relays have their quotas, reflexive candidates what is left.
fn trim(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    if candidates.len() <= MAX_CANDIDATES {
        return candidates;
    }
    let kept = |kind, most: usize| candidates.iter().filter(|it| it.kind == kind).count().min(most);
    let mut hosts = kept(CandidateKind::Host, MAX_HOST_CANDIDATES);
    let mut relays = kept(CandidateKind::Relay, MAX_RELAY_CANDIDATES);
    let mut others = MAX_CANDIDATES.saturating_sub(hosts).saturating_sub(relays);
    candidates.retain(|candidate| {
        let quota = match candidate.kind {
            CandidateKind::Host => &mut hosts,
            CandidateKind::Relay => &mut relays,
            CandidateKind::ServerReflexive | CandidateKind::PeerReflexive => &mut others,
        };
        let keep = *quota > 0;
        *quota = quota.saturating_sub(1);
        keep
    });
    candidates
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::link::golden;
    use crate::link::request::PeerRequest;

    fn count(text: &IceText, kind: CandidateKind) -> usize {
        text.candidates.iter().filter(|candidate| candidate.kind == kind).count()
    }

    #[test]
    fn recorded_texts_are_written_as_they_were_read() {
        for recorded in golden::peer_requests() {
            let request = PeerRequest::decode(&recorded.data).unwrap();
            let text = IceText::parse(&request.ice_text).unwrap();
            assert_eq!(text.candidates.len(), 3);
            assert_eq!(text.to_string(), request.ice_text);
        }
    }

    #[test]
    fn recorded_candidates_have_the_foundations_and_priorities_we_compute() {
        for recorded in golden::peer_requests() {
            let request = PeerRequest::decode(&recorded.data).unwrap();
            let text = IceText::parse(&request.ice_text).unwrap();
            let [passive, active, reflexive] = text.candidates.try_into().unwrap();
            let (host, address) = (CandidateKind::Host, passive.address);
            assert_eq!(passive, Candidate::passive(host, address, address, passive.port, 0));
            assert_eq!(active, Candidate::active(host, address, address, 1));
            let kind = CandidateKind::ServerReflexive;
            assert_eq!(reflexive, Candidate::active(kind, address, address, 2));
        }
    }

    #[test]
    fn malformed_lines_are_skipped_and_the_others_kept() {
        let text = "u\npassword\n\nnonsense\n\
            H1 1 TCP 1 10.0.0.1 80 typ host\n\
            H1 1 TCP 1 10.0.0.1 80 typ host tcptype sideways\n\
            H1 1 TCP 1 10.0.0.1 80 typ guest tcptype passive\n\
            H1 1 TCP 1 10.0.0.x 80 typ host tcptype passive\n\
            H1 1 TCP 1 10.0.0.1 65536 typ host tcptype passive\n\
            H1 1 TCP 4294967296 10.0.0.1 80 typ host tcptype passive\n\
            H1 2 TCP 1 10.0.0.1 80 typ host tcptype passive\n\
            H1 1 TCP 1 10.0.0.1 80 typ host tcptype passive raddr 0.0.0.0\n\
            12345678901234567890123456789012 1 TCP 1 10.0.0.1 80 typ host tcptype passive\n\
            H1 1 UDP 1 10.0.0.1 80 typ host\n\
            H2 1 TCP 1 fe80::1 80 typ relay tcptype so\n";
        let text = IceText::parse(text).unwrap();
        let lines: Vec<String> = text.candidates.iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["H1 1 UDP 1 10.0.0.1 80 typ host", "H2 1 TCP 1 fe80::1 80 typ relay tcptype so"]);
    }

    #[test]
    fn a_text_without_credentials_is_refused() {
        let no = |what| Err(IceTextError::NoCredentials { what });
        assert_eq!(IceText::parse(""), no("user fragment"));
        assert_eq!(IceText::parse("\n\n"), no("user fragment"));
        assert_eq!(IceText::parse("abcd"), no("password"));
        assert_eq!(IceText::parse("abcd\nwith space\n"), no("password"));
        assert_eq!(IceText::parse("\u{fffd}\u{0}\nx\n"), no("user fragment"));
        assert!(matches!(IceText::parse(&"a".repeat(MAX_TEXT + 1)), Err(IceTextError::TooLong { .. })));
        assert_eq!(IceText::parse("abcd\nefgh\n").unwrap().candidates, []);
    }

    #[test]
    fn forty_candidates_are_trimmed_so_that_every_kind_survives() {
        let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let make =
            |kind, count: u16| (0..count).map(move |n| Candidate::passive(kind, address, address, n, n));
        let candidates = make(CandidateKind::Host, 20)
            .chain(make(CandidateKind::ServerReflexive, 40))
            .chain(make(CandidateKind::Relay, 6));
        let text = IceText::new(Credentials::from_random(&[7; 24]), candidates.collect());
        assert_eq!(text.candidates.len(), MAX_CANDIDATES);
        assert_eq!(count(&text, CandidateKind::Host), MAX_HOST_CANDIDATES);
        assert_eq!(count(&text, CandidateKind::Relay), MAX_RELAY_CANDIDATES);
        let few = IceText::new(text.credentials.clone(), make(CandidateKind::Host, 20).collect());
        assert_eq!(few.candidates.len(), 20, "nothing is trimmed below the limit");
    }

    #[test]
    fn foundations_tell_bases_apart() {
        let v6 = |last| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
        let host = CandidateKind::Host;
        assert_eq!(host.foundation(v6(1)), host.foundation(v6(1)));
        assert_ne!(host.foundation(v6(1)), host.foundation(v6(2)));
        assert_eq!(host.foundation(IpAddr::V4(Ipv4Addr::new(192, 168, 1, 5))), "Hc0a80105");
    }

    #[test]
    fn random_credentials_have_the_lengths_of_the_reference() {
        let credentials = Credentials::from_random(&[0xff; 24]);
        assert_eq!((credentials.ufrag.len(), credentials.password.len()), (8, 24));
        assert!(!format!("{credentials:?}").contains(&credentials.password));
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_and_read_alike(text in "[a-z0-9]{1,8}\n[a-z]{1,9}\n([ HT1CP0.9a-z\n]|typ host tcptype passive|H1 1 TCP ){0,80}") {
            let read = IceText::parse(&text).unwrap();
            prop_assert_eq!(IceText::parse(&read.to_string()), Ok(read));
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = IceText::parse(&text);
        }
    }
}
