//! How a device takes messages: packed ones over a `msg:` channel, or, as in 2023, SIP requests over a
//! `sip` channel (`spec: swarm 10`).
//!
//! A device shows which it is: one of 2023 declines `msg:` channels and opens a `sip` channel by
//! itself. Where its connection requests come on the key of old releases, both channels are asked for
//! at once, so that finding out costs no round trip; `msg:` wins.

use std::net::{Ipv4Addr, SocketAddr};

use skep_protocol::call::{About, about};
use skep_protocol::ids::AccountId;
use skep_protocol::link::message::{MessageReader, PeerMessage};
use skep_protocol::msgpack::DecodeError;
use skep_protocol::sip::instant::{Answer, Envelope, InstantMessage};
use skep_protocol::sip::stream::{SipError, SipMessage, SipReader};

use super::messages::Notice;
use crate::supervision::Environment;

/// What stands for both ends of the connection in SIP messages, where addresses are decoration: the
/// channel says who speaks (`spec: calls 3`).
pub(crate) const SOMEWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5061);

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Packed messages, since November 2024.
    Packed,
    /// SIP, before.
    Sip,
}

impl Dialect {
    /// The bytes to send in one write; `None` if the device could not take the notice this way.
    pub(super) fn encode(
        self,
        notice: &Notice,
        from: AccountId,
        to: AccountId,
        environment: &Environment,
    ) -> Option<Vec<u8>> {
        let Notice { kind, content } = notice;
        match self {
            Self::Packed => {
                let id = environment.random_u64();
                Some(PeerMessage { id, mime_type: kind.clone(), content: content.clone() }.encode())
            }
            Self::Sip => {
                let envelope = Envelope {
                    from,
                    to,
                    local: SOMEWHERE,
                    remote: SOMEWHERE,
                    now: environment.wall(),
                    random: std::array::from_fn(|_| environment.random_u64()),
                };
                let message = InstantMessage { mime_type: kind.clone(), content: content.clone() };
                match message.request(&envelope) {
                    Ok(bytes) => Some(bytes),
                    Err(error) => {
                        tracing::warn!(%error, "a device of 2023 is not told something");
                        None
                    }
                }
            }
        }
    }

    pub(super) fn reader(self) -> Reader {
        match self {
            Self::Packed => Reader::Packed(MessageReader::default()),
            Self::Sip => Reader::Sip(SipReader::default()),
        }
    }
}

/// What came over a message channel.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) notice: Option<Notice>,
    /// Bytes to send back at once.
    pub(super) answer: Option<Vec<u8>>,
    /// What is about a call, answered by those who have it.
    pub(super) call: Option<Box<SipMessage>>,
}

/// Why a message channel cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error(transparent)]
    Packed(#[from] DecodeError),
    #[error(transparent)]
    Sip(#[from] SipError),
}

/// Takes notices out of the bytes of a message channel.
#[derive(Debug)]
pub(super) enum Reader {
    Packed(MessageReader),
    Sip(SipReader),
}

impl Reader {
    /// What comes next, taken from the front of `input`; `None` when more is needed.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Incoming>, Unreadable> {
        match self {
            Self::Packed(reader) => {
                let message = reader.next(input)?;
                Ok(message.map(|PeerMessage { mime_type, content, .. }| Incoming {
                    notice: Some(Notice { kind: mime_type, content }),
                    answer: None,
                    call: None,
                }))
            }
            Self::Sip(reader) => {
                let Some(message) = reader.next(input)? else { return Ok(None) };
                if about(&message) != About::Text {
                    return Ok(Some(Incoming { notice: None, answer: None, call: Some(Box::new(message)) }));
                }
                let instant = InstantMessage::of(&message);
                let answer = if instant.is_some() { Answer::Ok } else { Answer::NotAllowed };
                let answer = answer.to(&message, SOMEWHERE);
                let notice =
                    instant.map(|InstantMessage { mime_type, content }| Notice { kind: mime_type, content });
                Ok(Some(Incoming { notice, answer, call: None }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use skep_protocol::time::UnixMillis;

    use super::*;

    fn notice(content: &str) -> Notice {
        Notice { kind: "application/im-gitmessage-id".to_owned(), content: content.to_owned() }
    }

    fn encode(dialect: Dialect, notice: &Notice) -> Option<Vec<u8>> {
        let environment = Environment::single_thread(UnixMillis::from_seconds(1_795_341_269), 7);
        dialect.encode(notice, AccountId([1; 20]), AccountId([2; 20]), &environment)
    }

    #[test]
    fn what_one_side_says_the_other_understands_in_both_dialects() {
        for dialect in [Dialect::Packed, Dialect::Sip] {
            let said = [notice("one"), notice("two"), notice("")];
            let bytes: Vec<u8> = said.iter().flat_map(|it| encode(dialect, it).unwrap()).collect();
            let (mut reader, mut heard) = (dialect.reader(), Vec::new());
            for mut piece in bytes.chunks(100) {
                while let Some(Incoming { notice, answer, .. }) = reader.next(&mut piece).unwrap() {
                    assert_eq!(answer.is_some(), dialect == Dialect::Sip, "only SIP is answered");
                    heard.extend(notice);
                }
            }
            assert_eq!(heard, said);
        }
    }

    #[test]
    fn an_answer_is_no_notice_and_is_not_answered() {
        let request = encode(Dialect::Sip, &notice("one")).unwrap();
        let answer = Dialect::Sip.reader().next(&mut &request[..]).unwrap().unwrap().answer.unwrap();
        let heard = Dialect::Sip.reader().next(&mut &answer[..]).unwrap().unwrap();
        assert_eq!((heard.notice, heard.answer), (None, None));
    }

    #[test]
    fn a_call_is_no_notice_and_is_answered_by_those_who_have_calls() {
        let call = "INVITE sips:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TLS 1.2.3.4;branch=z9hG4bKx\r\nCall-ID: 1\r\n\
                    From: <sip:a@ring.dht>;tag=b\r\nTo: <sips:c@1.2.3.4>\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";
        let heard = Dialect::Sip.reader().next(&mut call.as_bytes()).unwrap().unwrap();
        assert_eq!(heard.notice, None);
        assert_eq!(heard.answer, None);
        assert!(heard.call.unwrap().line.is_request());
    }

    #[test]
    fn a_device_of_2023_is_not_sent_what_it_cannot_take() {
        assert_eq!(encode(Dialect::Sip, &notice(&"x".repeat(8000))), None);
        assert!(encode(Dialect::Packed, &notice(&"x".repeat(8000))).is_some());
    }
}
