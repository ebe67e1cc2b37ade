//! Messages as Jami of 2023 sends them: MESSAGE requests outside of any dialog, answered with 200
//! (`spec: calls 4.3, swarm 10`).

use std::net::SocketAddr;

use ezk_sip_types::{Method, Name};
use x509_parser::time::ASN1Time;

use super::fields;
use super::response::response;
use super::stream::SipMessage;
use crate::ids::AccountId;
use crate::time::UnixMillis;

/// Longest message that a daemon of 2023 takes, in bytes: all of it, head and body (`spec: calls 2.1`).
pub const MAX_SENT: usize = 7999;

/// What we call ourselves. Daemons look for their own name and take the version behind it as a list of
/// abilities (`spec: calls 3`).
pub const USER_AGENT: &str = "Jami Daemon 13.11.0 (Skep)";

/// One message: a type and a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstantMessage {
    /// MIME type, with its parameters.
    pub mime_type: String,
    /// What is said, in the form the type tells.
    pub content: String,
}

/// What stands in a request beside the message. Nothing depends on it: who sends is told by the channel.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Who sends.
    pub from: AccountId,
    /// Who it is for.
    pub to: AccountId,
    /// Our end of the connection.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// When it is sent.
    pub now: UnixMillis,
    /// Makes tags, the call id and the message id; new ones for every message.
    pub random: [u64; 4],
}

/// Why a message cannot be sent this way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstantError {
    /// More than [`MAX_SENT`].
    #[error("a message of {0} bytes is too long for a daemon of 2023, which takes {MAX_SENT}")]
    TooLong(usize),
    /// A line break or another control character in the type.
    #[error("{0:?} is no MIME type")]
    Type(String),
}

impl InstantMessage {
    /// The bytes to write into a `sip` channel, in one write.
    ///
    /// # Errors
    /// When the peer could not take it.
    pub fn request(&self, envelope: &Envelope) -> Result<Vec<u8>, InstantError> {
        if self.mime_type.is_empty() || self.mime_type.chars().any(char::is_control) {
            return Err(InstantError::Type(self.mime_type.chars().take(80).collect()));
        }
        let Envelope { from, to, local, remote, now, random: [branch, tag, call, id] } = envelope;
        let peer = remote.ip();
        let peer = if peer.is_ipv6() { format!("[{peer}]") } else { peer.to_string() };
        let (date, length) = (date(*now), self.content.len());
        // The sequence number may be any below 2^31; one request a dialog needs no order.
        let sequence = call & 0xffff;
        let text = format!(
            "MESSAGE sips:{to}@{remote};transport=tls SIP/2.0\r\n\
             Via: SIP/2.0/TLS {local};rport;branch=z9hG4bKPj{branch:016x};alias\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{from}@ring.dht>;tag={tag:016x}\r\n\
             To: <sips:{to}@{peer}>\r\n\
             Call-ID: {call:016x}{id:016x}\r\n\
             CSeq: {sequence} MESSAGE\r\n\
             Date: {date}\r\n\
             Message-ID: {id:016x}\r\n\
             User-Agent: {USER_AGENT}\r\n\
             Content-Type: {mime_type}\r\n\
             Content-Length: {length}\r\n\r\n{content}",
            mime_type = self.mime_type,
            content = self.content,
        );
        if text.len() > MAX_SENT { Err(InstantError::TooLong(text.len())) } else { Ok(text.into_bytes()) }
    }

    /// The message in a request; `None` if it is none, or not a single text.
    #[must_use]
    pub fn of(request: &SipMessage) -> Option<Self> {
        if !request.is_request(&Method::MESSAGE) {
            return None;
        }
        let mime_type = request.header(&Name::CONTENT_TYPE).filter(|it| !it.starts_with("multipart/"))?;
        let content = std::str::from_utf8(&request.body).ok()?;
        Some(Self { mime_type: mime_type.to_owned(), content: content.to_owned() })
    }
}

/// What a request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was taken.
    Ok,
    /// We do not do that outside of a dialog.
    NotAllowed,
    /// The dialog it belongs to is not here.
    NoDialog,
}

impl Answer {
    const fn status(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::NotAllowed => "405 Method Not Allowed",
            Self::NoDialog => "481 Call/Transaction Does Not Exist",
        }
    }

    /// The response to `request`, as bytes to write in one write; `None` if that is no request, one
    /// that is never answered, or one without the headers that an answer repeats. `from` is the other
    /// end of the connection.
    #[must_use]
    pub fn to(self, request: &SipMessage, from: SocketAddr) -> Option<Vec<u8>> {
        let branch = fields::parameter(request.header(&Name::VIA)?, "branch").unwrap_or("z9hG4bK");
        response(request, self.status(), branch, from, "")
    }
}

/// As C's `asctime` writes it, in UTC.
fn date(now: UnixMillis) -> String {
    let Ok(time) = ASN1Time::from_timestamp(now.seconds()) else { return date(UnixMillis(0)) };
    let time = time.to_datetime();
    let three = |name: String| name.chars().take(3).collect::<String>();
    format!(
        "{} {} {:2} {:02}:{:02}:{:02} {}",
        three(time.weekday().to_string()),
        three(time.month().to_string()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.year()
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::stream::SipReader;
    use super::*;

    /// A message that a daemon 13.7.0 sent, and how it was answered.
    pub(crate) const RECORDED: &str = "MESSAGE sips:e5d80855132e79c27f93036f3ce8aab25a884c4f@10.77.0.4:34982;transport=tls SIP/2.0\r\nVia: SIP/2.0/TLS 10.77.0.3:52293;rport;branch=z9hG4bKPj505721c6-02f9-4899-9900-dfb4891d2cb4;alias\r\nMax-Forwards: 70\r\nFrom: \"Alice Laboratory\" <sip:d80eb171c037c5a1630db8ae9abf2cafc3e9c56d@ring.dht>;tag=ee1766fc-1fd4-441f-9d49-cd0125fa9af2\r\nTo: <sips:e5d80855132e79c27f93036f3ce8aab25a884c4f@10.77.0.4>\r\nCall-ID: d762880a-4d7f-4104-b057-c04e2ea43819\r\nCSeq: 58306 MESSAGE\r\nDate: Sun Nov 22 09:54:29 2026\r\nMessage-ID: 001ff6df4a5a2eed\r\nUser-Agent: Jami Daemon 13.7.0 (linux)\r\nContent-Type: application/im-gitmessage-id\r\nContent-Length:   192\r\n\r\n{\n\t\"commit\" : \"5ddca2076b1eb4746da9385b8058a8f2de97f65d\",\n\t\"deviceId\" : \"8aaa57b3001bb3f78c7a094517ea37cca850c38bfa0ad6df8bfa5656d05a6e4c\",\n\t\"id\" : \"10ad34b1474a4bea1b70bd5d00241f1fd8441f13\"\n}";
    const RECORDED_ANSWER: &str = "SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS 10.77.0.3:52293;rport=52293;received=10.77.0.3;branch=z9hG4bKPj505721c6-02f9-4899-9900-dfb4891d2cb4;alias\r\nCall-ID: d762880a-4d7f-4104-b057-c04e2ea43819\r\nFrom: \"Alice Laboratory\" <sip:d80eb171c037c5a1630db8ae9abf2cafc3e9c56d@ring.dht>;tag=ee1766fc-1fd4-441f-9d49-cd0125fa9af2\r\nTo: <sips:e5d80855132e79c27f93036f3ce8aab25a884c4f@10.77.0.4>;tag=z9hG4bKPj505721c6-02f9-4899-9900-dfb4891d2cb4\r\nCSeq: 58306 MESSAGE\r\nContent-Length:  0\r\n\r\n";

    fn read(text: &[u8]) -> SipMessage {
        SipReader::default().next(&mut &text[..]).unwrap().unwrap()
    }

    fn envelope() -> Envelope {
        Envelope {
            from: "d80eb171c037c5a1630db8ae9abf2cafc3e9c56d".parse().unwrap(),
            to: "e5d80855132e79c27f93036f3ce8aab25a884c4f".parse().unwrap(),
            local: "10.77.0.3:52293".parse().unwrap(),
            remote: "10.77.0.4:34982".parse().unwrap(),
            now: UnixMillis::from_seconds(1_795_341_269),
            random: [1, 2, 3, 4],
        }
    }

    /// Headers by name, without those that differ from message to message.
    fn steady_headers(message: &SipMessage) -> Vec<(String, String)> {
        let mut steady = Vec::new();
        for (name, value) in message.headers.iter() {
            let name = name.as_print_str().to_owned();
            if !["Via", "From", "Call-ID", "CSeq", "Message-ID", "User-Agent"].contains(&name.as_str()) {
                steady.push((name, value.as_str().trim().to_owned()));
            }
        }
        steady
    }

    #[test]
    fn a_recorded_message_is_read_and_ours_has_its_form() {
        let recorded = read(RECORDED.as_bytes());
        let message = InstantMessage::of(&recorded).unwrap();
        assert_eq!(message.mime_type, "application/im-gitmessage-id");
        assert_eq!(message.content.len(), 192);

        let ours = message.request(&envelope()).unwrap();
        let first_line = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().next().unwrap().to_owned();
        assert_eq!(first_line(&ours), first_line(RECORDED.as_bytes()));
        let ours = read(&ours);
        assert_eq!(steady_headers(&ours), steady_headers(&recorded));
        assert_eq!(InstantMessage::of(&ours), Some(message));
    }

    #[test]
    fn the_answer_is_the_recorded_one() {
        let request = read(RECORDED.as_bytes());
        let answer = Answer::Ok.to(&request, "10.77.0.3:52293".parse().unwrap()).unwrap();
        let expected = RECORDED_ANSWER.replace("Content-Length:  0", "Content-Length: 0");
        assert_eq!(String::from_utf8(answer).unwrap(), expected);
        // A response is not answered, nor an acknowledgement.
        let address = "10.77.0.3:52293".parse().unwrap();
        assert_eq!(Answer::Ok.to(&read(RECORDED_ANSWER.as_bytes()), address), None);
        let acknowledgement = read(b"ACK sip:a@b SIP/2.0\r\nVia: x\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(Answer::NoDialog.to(&acknowledgement, address), None);
    }

    #[test]
    fn messages_that_the_peer_cannot_take_are_refused() {
        let long = InstantMessage { mime_type: "text/plain".into(), content: "x".repeat(MAX_SENT) };
        assert!(matches!(long.request(&envelope()), Err(InstantError::TooLong(_))));
        let split = InstantMessage { mime_type: "text/plain\r\nX: y".into(), content: String::new() };
        assert!(matches!(split.request(&envelope()), Err(InstantError::Type(_))));
    }

    #[test]
    fn several_parts_and_other_requests_are_no_instant_message() {
        for text in [
            "MESSAGE sip:a@b SIP/2.0\r\nContent-Type: multipart/mixed\r\nContent-Length: 0\r\n\r\n",
            "MESSAGE sip:a@b SIP/2.0\r\nContent-Length: 0\r\n\r\n",
            "MESSAGE sip:a@b SIP/2.0\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\n\u{0}",
            "OPTIONS sip:a@b SIP/2.0\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n",
        ] {
            let message = InstantMessage::of(&read(text.as_bytes()));
            assert_eq!(message.is_some(), text.contains("text/plain\r\nContent-Length: 1"), "{text}");
        }
        let no_text = b"MESSAGE sip:a@b SIP/2.0\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\n\xff";
        assert_eq!(InstantMessage::of(&read(no_text)), None);
    }

    #[test]
    fn dates_are_written_as_c_does() {
        assert_eq!(date(UnixMillis(0)), "Thu Jan  1 00:00:00 1970");
        assert_eq!(date(UnixMillis(i64::MAX)), date(UnixMillis(0)));
    }
}
