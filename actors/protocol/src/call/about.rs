//! What a message on a `sip` channel is about, before anybody knows its dialog (`spec: calls 4`).

use bytes::Bytes;
use ezk_sip_types::{Method, Name};

use super::ends::ALLOW;
use crate::sip::fields::{parameter, uri};
use crate::sip::response::respond;
use crate::sip::stream::SipMessage;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A message to the account, outside of any call.
    Text,
    /// A call that begins.
    NewCall,
    /// A call of a conversation, which begins or is joined.
    GroupCall,
    /// A call that there is, or was: its name is in `Call-ID`.
    Call,
    /// What we can do.
    Abilities,
}

/// Tells what a message is about.
#[must_use]
pub fn about(message: &SipMessage) -> About {
    let to = message.header(&Name::TO).unwrap_or_default();
    let inside = parameter(to, "tag").is_some();
    let Some(method) = message.line.request_method().filter(|_| !inside) else { return About::Call };
    if *method == Method::MESSAGE {
        About::Text
    } else if *method == Method::INVITE {
        let user = uri(to).split('@').next().unwrap_or_default();
        if user.contains('/') { About::GroupCall } else { About::NewCall }
    } else if *method == Method::OPTIONS {
        About::Abilities
    } else {
        // CANCEL has no tag, as its INVITE.
        About::Call
    }
}

/// Which call a message is of.
#[must_use]
pub fn call_of(message: &SipMessage) -> Option<&str> {
    message.header(&Name::CALL_ID).filter(|id| !id.is_empty())
}

/// Answers a request that no call takes; none if it is not to be answered. `from` is the other end.
#[must_use]
pub fn answer_outside(message: &SipMessage, from: std::net::SocketAddr) -> Option<Bytes> {
    let status = match about(message) {
        About::Abilities | About::Text => "200 OK",
        About::NewCall => "486 Busy Here",
        About::GroupCall => "404 Not Found",
        About::Call => "481 Call/Transaction Does Not Exist",
    };
    let tag = parameter(message.header(&Name::VIA)?, "branch").unwrap_or("z9hG4bK");
    let more = format!("Allow: {ALLOW}\r\n");
    respond(message, status, Some(tag), from, &more, None).map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(method: &str, to: &str) -> SipMessage {
        let text = format!(
            "{method} sips:a@b SIP/2.0\r\nVia: SIP/2.0/TLS 1.2.3.4;branch=z9hG4bKx\r\nCall-ID: 1\r\n\
             From: <sip:a@b>;tag=c\r\nTo: {to}\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
        );
        SipMessage::in_datagram(&Bytes::from(text)).unwrap().unwrap()
    }

    #[test]
    fn messages_are_told_apart_by_method_and_dialog() {
        let of = |method, to| about(&message(method, to));
        assert_eq!(of("INVITE", "<sips:abc@1.2.3.4>"), About::NewCall);
        assert_eq!(of("INVITE", "<sips:abc/d/e/f@1.2.3.4>"), About::GroupCall);
        assert_eq!(of("INVITE", "<sips:abc@1.2.3.4>;tag=x"), About::Call);
        assert_eq!(of("MESSAGE", "<sips:abc@1.2.3.4>"), About::Text);
        assert_eq!(of("MESSAGE", "<sips:abc@1.2.3.4>;tag=x"), About::Call);
        assert_eq!(of("CANCEL", "<sips:abc@1.2.3.4>"), About::Call);
        assert_eq!(of("OPTIONS", "<sips:abc@1.2.3.4>"), About::Abilities);
        assert_eq!(call_of(&message("BYE", "<sip:a@b>")), Some("1"));
    }

    #[test]
    fn what_no_call_takes_is_answered_unless_it_must_not_be() {
        let from = "127.0.0.1:5061".parse().unwrap();
        let text = |method| answer_outside(&message(method, "<sip:a@b>;tag=x"), from);
        assert!(text("BYE").unwrap().starts_with(b"SIP/2.0 481 "));
        assert!(text("ACK").is_none());
        let options = answer_outside(&message("OPTIONS", "<sip:a@b>"), from).unwrap();
        assert!(options.starts_with(b"SIP/2.0 200 ") && options.windows(7).any(|it| it == b"MESSAGE"));
    }
}
