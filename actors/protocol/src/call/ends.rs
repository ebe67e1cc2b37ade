//! What stands in the headers of a dialog (`spec: calls 3`).

use std::net::{IpAddr, SocketAddr};

use crate::ids::{AccountId, DeviceShortId};
use crate::sip::address::SipAddress;
use crate::sip::agent::Transport;
use crate::sip::fields::quote;
use crate::sip::instant::USER_AGENT;

/// The methods that are understood here; also who reads it looks for `MESSAGE` in it.
pub const ALLOW: &str =
    "SUBSCRIBE, NOTIFY, REFER, INVITE, ACK, BYE, CANCEL, UPDATE, INFO, OPTIONS, MESSAGE, PUBLISH";

/// What a first INVITE is about.
pub const SUBJECT: &str = "Phone call";

/// Longest name that is sent, in characters.
const MAX_NAME: usize = 128;

/// The two ends of a dialog, as they are written. Between devices all of it is decoration: who is at the
/// other end of a channel is told by its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Where the first INVITE goes.
    pub target: String,
    /// Who we are, without a tag.
    pub local: String,
    /// Who they are, without a tag.
    pub remote: String,
    /// Where we take requests.
    pub contact: String,
    /// `Via` without a branch.
    pub via: String,
    /// What stands behind the branch.
    pub via_end: String,
    /// The address messages come from.
    pub peer: SocketAddr,
    /// Whether no message gets lost on the way, so that none is repeated.
    pub reliable: bool,
    /// What we call ourselves.
    pub agent: String,
    /// Longest message the other side takes, in bytes.
    pub longest: usize,
}

impl Ends {
    /// Of two devices over a `sip` channel. `callee` is an account id or the address of a group call; `name`
    /// is shown to the other side.
    #[must_use]
    pub fn of_devices(
        name: &str,
        account: AccountId,
        device: DeviceShortId,
        callee: &str,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Self {
        let name = shown(name);
        let host = match peer.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        Self {
            target: format!("sips:{peer};transport=tls"),
            local: format!("{name}<sip:{account}@ring.dht>"),
            remote: format!("<sips:{callee}@{host}>"),
            contact: format!("{name}<sips:{device}@{local};transport=tls>"),
            via: format!("SIP/2.0/TLS {local};rport"),
            via_end: ";alias".to_owned(),
            peer,
            reliable: true,
            agent: USER_AGENT.to_owned(),
            longest: crate::sip::instant::MAX_SENT,
        }
    }

    /// Of a SIP account and whom it calls, through its server.
    #[must_use]
    pub fn of_account(
        name: &str,
        account: &SipAddress,
        callee: &SipAddress,
        transport: Transport,
        local: SocketAddr,
        server: SocketAddr,
    ) -> Self {
        let name = shown(name);
        let (upper, parameter) = (transport.name(), transport.parameter());
        Self {
            target: callee.to_string(),
            local: format!("{name}<{account}>"),
            remote: format!("<{callee}>"),
            contact: format!("{name}<sip:{}@{local}{parameter}>", account.user()),
            via: format!("SIP/2.0/{upper} {local};rport"),
            via_end: String::new(),
            peer: server,
            reliable: transport != Transport::Udp,
            agent: "Skep".to_owned(),
            longest: if transport == Transport::Udp { 1300 } else { crate::sip::stream::MAX_SIP_MESSAGE },
        }
    }
}

/// `"name" `, or nothing.
fn shown(name: &str) -> String {
    let name: String = name.chars().filter(|letter| !letter.is_control()).take(MAX_NAME).collect();
    if name.trim().is_empty() { String::new() } else { format!("{} ", quote(name.trim())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_daemons() {
        let account = "b08c67bcb7b83cdffbf33f0f4a68c82095c9790c".parse().unwrap();
        let device = "d316ec16784e52ab724d4e3c37029ee532b42d80".parse().unwrap();
        let (local, peer) = ("10.77.0.3:43498".parse().unwrap(), "10.77.0.4:43535".parse().unwrap());
        let callee = "11eac7c8522415e5294f255daa4284711bd28268";
        let ends = Ends::of_devices("Alice New", account, device, callee, local, peer);
        assert_eq!(ends.target, "sips:10.77.0.4:43535;transport=tls");
        assert_eq!(ends.remote, "<sips:11eac7c8522415e5294f255daa4284711bd28268@10.77.0.4>");
        assert_eq!(ends.local, "\"Alice New\" <sip:b08c67bcb7b83cdffbf33f0f4a68c82095c9790c@ring.dht>");
        assert_eq!(
            ends.contact,
            "\"Alice New\" <sips:d316ec16784e52ab724d4e3c37029ee532b42d80@10.77.0.3:43498;transport=tls>"
        );
        let six = Ends::of_devices("", account, device, callee, local, "[::1]:5".parse().unwrap());
        assert_eq!(six.remote, format!("<sips:{callee}@[::1]>"));
        assert_eq!(six.local, "<sip:b08c67bcb7b83cdffbf33f0f4a68c82095c9790c@ring.dht>");
    }

    #[test]
    fn a_name_cannot_leave_its_place() {
        assert_eq!(shown("a\r\nb\"c\\ "), "\"ab\\\"c\\\\\" ");
        assert!(shown(&"x".repeat(1000)).len() < 140);
    }
}
