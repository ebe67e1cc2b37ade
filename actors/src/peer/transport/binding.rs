//! Answers to the peer's Binding requests, on every path and for the life of the connection
//! (`spec: connection 4.3`).

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use skep_protocol::link::ice_text::Credentials;
use skep_protocol::link::stun::{
    BINDING_REQUEST, ICE_CONTROLLED, ICE_CONTROLLING, Message, PRIORITY, USERNAME,
};

use super::ice::IceRole;

/// Value of the SOFTWARE attribute in answers.
const SOFTWARE: &str = "skep";

/// Recognises valid checks of the peer and answers them. Clones share what they know.
///
/// It answers before the peer's own credentials are known, because a peer that has ours may check
/// before its answer has come through the DHT, and does not repeat a check.
#[derive(Clone, Debug)]
pub(super) struct BindingResponder(Arc<Session>);

#[derive(Debug)]
struct Session {
    role: IceRole,
    local: Credentials,
    remote_ufrag: OnceLock<String>,
}

impl BindingResponder {
    pub(super) fn new(role: IceRole, local: Credentials) -> Self {
        Self(Arc::new(Session { role, local, remote_ufrag: OnceLock::new() }))
    }

    /// From now on only checks of the side with this user fragment are answered.
    pub(super) fn set_remote_ufrag(&self, ufrag: &str) {
        let _ = self.0.remote_ufrag.set(ufrag.to_owned());
    }

    /// The answer to a STUN message from `source`; `None` when it is not a valid Binding request.
    pub(super) fn answer(&self, message: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
        let request = Message::decode(message).ok().filter(|it| it.kind == BINDING_REQUEST)?;
        request.get(PRIORITY)?;
        let same_role = match self.0.role {
            IceRole::Controlling => ICE_CONTROLLING,
            IceRole::Controlled => ICE_CONTROLLED,
        };
        if request.get(same_role).is_some() || !self.names_us(request.get(USERNAME)?) {
            return None;
        }
        request.verify_integrity(&self.0.local.password).ok()?;
        let answer = Message::binding_success(request.transaction, source, SOFTWARE, &self.0.local.password);
        Some(answer.encode())
    }

    /// Whether the user name of a check is `<our ufrag>:<the peer's ufrag>`.
    fn names_us(&self, user_name: &[u8]) -> bool {
        let sender =
            user_name.strip_prefix(self.0.local.ufrag.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
        let known = self.0.remote_ufrag.get();
        sender.is_some_and(|sender| known.is_none_or(|ufrag| ufrag.as_bytes() == sender))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use skep_protocol::link::stun::{Attribute, BINDING_INDICATION, BINDING_SUCCESS};

    use super::*;

    const SOURCE: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), 4711);

    fn responder() -> BindingResponder {
        let local = Credentials { ufrag: "ours".to_owned(), password: "our password".to_owned() };
        BindingResponder::new(IceRole::Controlled, local)
    }

    fn request(kind: u16, user_name: &str, role: u16, password: &str) -> Vec<u8> {
        let mut request = Message::new(kind, [7; 12]);
        request.push(Attribute::new(PRIORITY, [0, 0, 0, 1]));
        request.push(Attribute::new(role, [1; 8]));
        request.push(Attribute::new(USERNAME, user_name));
        request.add_integrity(password);
        request.add_fingerprint();
        request.encode()
    }

    #[test]
    fn a_valid_check_is_answered_with_the_address_it_came_from() {
        let check = request(BINDING_REQUEST, "ours:theirs", ICE_CONTROLLING, "our password");
        let answer = Message::decode(&responder().answer(&check, SOURCE).unwrap()).unwrap();
        assert_eq!((answer.kind, answer.transaction), (BINDING_SUCCESS, [7; 12]));
        assert_eq!(answer.mapped_address(), Ok(SOURCE));
        answer.verify_integrity("our password").unwrap();
        answer.verify_fingerprint().unwrap();
    }

    #[test]
    fn once_the_peer_is_known_others_are_not_answered() {
        let responder = responder();
        responder.set_remote_ufrag("theirs");
        let check = |user| request(BINDING_REQUEST, user, ICE_CONTROLLING, "our password");
        assert!(responder.answer(&check("ours:theirs"), SOURCE).is_some());
        assert_eq!(responder.answer(&check("ours:another"), SOURCE), None);
    }

    #[test]
    fn nothing_but_a_valid_check_is_answered() {
        let mut without_priority = Message::new(BINDING_REQUEST, [7; 12]);
        without_priority.push(Attribute::new(USERNAME, "ours:theirs"));
        without_priority.add_integrity("our password");
        let good = request(BINDING_REQUEST, "ours:theirs", ICE_CONTROLLING, "our password");
        let mut altered = good.clone();
        altered[27] ^= 1;
        for check in [
            request(BINDING_REQUEST, "ours:theirs", ICE_CONTROLLING, "another password"),
            request(BINDING_REQUEST, "ours", ICE_CONTROLLING, "our password"),
            request(BINDING_REQUEST, "other:theirs", ICE_CONTROLLING, "our password"),
            request(BINDING_REQUEST, "ours:theirs", ICE_CONTROLLED, "our password"),
            request(BINDING_INDICATION, "ours:theirs", ICE_CONTROLLING, "our password"),
            without_priority.encode(),
            altered,
            good[..good.len() - 1].to_vec(),
            b"GET / HTTP/1.1\r\n".to_vec(),
            Vec::new(),
        ] {
            assert_eq!(responder().answer(&check, SOURCE), None, "{}", hex::encode(check));
        }
    }

    proptest! {
        #[test]
        fn only_checks_with_the_password_are_answered_whatever_comes(
            cut in 0..200_usize, position in 0..200_usize, flipped in 1..=255_u8, tail in any::<Vec<u8>>(),
        ) {
            let good = request(BINDING_REQUEST, "ours:theirs", ICE_CONTROLLING, "our password");
            let mut check = good.clone();
            if let Some(byte) = check.get_mut(position) {
                *byte ^= flipped;
            }
            check.truncate(cut);
            check.extend(tail);
            // The fingerprint at the end is not protected, and not needed.
            let protected = good.len() - 8;
            let intact = check.len() == good.len() && check[..protected] == good[..protected];
            prop_assert!(responder().answer(&check, SOURCE).is_none() || intact);
        }
    }
}
