//! What the other side can do, by what it says of itself (`spec: calls 3`).

use ezk_sip_types::Name;

use crate::sip::stream::SipMessage;

/// What daemons call themselves.
const PRODUCT: &str = "Jami Daemon ";

/// Parts of a version that count.
const MAX_PARTS: usize = 4;

/// A version of the daemon: up to four numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub [u32; MAX_PARTS]);

impl Version {
    /// The version in a `User-Agent`: what stands behind the daemon's name, up to a `-` or a space.
    #[must_use]
    pub fn of(user_agent: &str) -> Option<Self> {
        let text = user_agent.split_once(PRODUCT)?.1.split(['-', ' ']).next()?;
        let mut version = Self::default();
        for (place, number) in version.0.iter_mut().zip(text.split('.')) {
            *place = number.parse().ok()?;
        }
        Some(version)
    }
}

/// What the other side can do. Nothing until it has said who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    version: Option<Version>,
    messages: bool,
}

impl Abilities {
    /// Reads what a message says of its sender; what it does not say stays.
    pub fn learn(&mut self, message: &SipMessage) {
        if let Some(agent) = message.header(&Name::USER_AGENT) {
            self.version = Version::of(agent).or(self.version);
        }
        let mut allow = message.headers.get_raw(&Name::ALLOW).peekable();
        if allow.peek().is_some() {
            self.messages = allow.any(|line| {
                line.as_str().split(',').any(|method| method.trim().eq_ignore_ascii_case("MESSAGE"))
            });
        }
    }

    fn is_since(&self, version: [u32; MAX_PARTS]) -> bool {
        self.version.is_some_and(|known| known >= Version(version))
    }

    /// Whether it takes MESSAGE in the call: texts, the state of a conference, orders.
    #[must_use]
    pub const fn messages(&self) -> bool {
        self.messages
    }

    /// Whether streams may be added beside one of each kind.
    #[must_use]
    pub fn several_streams(&self) -> bool {
        self.is_since([10, 0, 2, 0])
    }

    /// Whether an offer may leave the ICE session as it is.
    #[must_use]
    pub fn offers_without_ice(&self) -> bool {
        self.is_since([11, 0, 2, 0])
    }

    /// Whether there may be more than two streams.
    #[must_use]
    pub fn more_than_two_streams(&self) -> bool {
        self.is_since([13, 3, 0, 0])
    }

    /// Whether there may be several streams of sound.
    #[must_use]
    pub fn several_audio(&self) -> bool {
        self.is_since([13, 11, 0, 0])
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn learn(headers: &str) -> Abilities {
        let text = format!("OPTIONS sip:a@b SIP/2.0\r\n{headers}\r\n");
        let mut abilities = Abilities::default();
        abilities.learn(&SipMessage::in_datagram(&Bytes::from(text)).unwrap().unwrap());
        abilities
    }

    #[test]
    fn versions_are_read_up_to_a_dash_or_a_space() {
        let version = |text| Version::of(text).map(|version| version.0);
        assert_eq!(version("Jami Daemon 17.0.0 (Linux)"), Some([17, 0, 0, 0]));
        assert_eq!(version("x Jami Daemon 13.11-abc.7"), Some([13, 11, 0, 0]));
        assert_eq!(version("Jami Daemon 1.2.3.4.5"), Some([1, 2, 3, 4]));
        assert_eq!(version("Jami Daemon x"), None);
        assert_eq!(version("Jami Daemon 99999999999"), None);
        assert_eq!(version("Kamailio"), None);
        assert!(Version::of("Jami Daemon 13.11.0 ") > Version::of("Jami Daemon 13.3.0 "));
    }

    #[test]
    fn who_is_no_daemon_can_do_nothing_of_it() {
        let stranger = learn("User-Agent: Phone 99\r\n");
        assert!(!stranger.several_streams() && !stranger.offers_without_ice() && !stranger.messages());
        let old = learn("User-Agent: Jami Daemon 13.3.0 (x)\r\n");
        assert!(old.several_streams() && old.more_than_two_streams() && !old.several_audio());
    }

    #[test]
    fn the_last_allow_header_says_whether_messages_are_taken() {
        let mut abilities = learn("Allow: INVITE, message\r\n");
        assert!(abilities.messages());
        let other = learn("Allow: INVITE\r\n");
        assert!(!other.messages());
        abilities.learn(
            &SipMessage::in_datagram(&Bytes::from_static(b"OPTIONS sip:a@b SIP/2.0\r\n\r\n"))
                .unwrap()
                .unwrap(),
        );
        assert!(abilities.messages());
    }
}
