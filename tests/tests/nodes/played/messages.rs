//! The channel over which a played peer and the node tell each other things: packed messages, or SIP in
//! releases of 2023.

use skep_protocol::ids::CommitId;
use skep_protocol::link::message::MessageReader;
use skep_protocol::swarm::notice::{Announcement, Notice};

use super::socket::Channel;
use crate::device::Release;

/// See the module.
pub(super) struct Messages {
    pub(super) channel: Channel,
    pub(super) release: Release,
}

impl Messages {
    /// Says what was recorded. Old releases were answered, and are by the node.
    pub(super) async fn say(&self, recorded: &[u8], answers: &[&[u8]]) {
        self.channel.say(recorded);
        if self.release == Release::Of2023 {
            let said = text(recorded);
            let same_call = |answer: &&&[u8]| header(&text(answer), "Call-ID") == header(&said, "Call-ID");
            let expected = text(answers.iter().find(same_call).unwrap());
            let answer = self.channel.hear("an answer", |heard| take_sip(heard, "SIP/2.0 ")).await;
            assert_eq!(answer.lines().next(), expected.lines().next());
            for name in ["Call-ID", "From", "To", "CSeq"] {
                assert_eq!(header(&answer, name), header(&expected, name));
            }
        }
    }

    /// The next announcement of the node.
    pub(super) async fn announcement(&self) -> Announcement {
        loop {
            let release = self.release;
            let said = self.channel.hear("an announcement", |heard| take_message(release, heard)).await;
            if let Some(answer) = &said.answer {
                self.channel.say(answer.as_bytes());
            }
            if let Some(announcement) = said.announcement() {
                return announcement;
            }
        }
    }

    /// What was recorded of somebody that announces a commit.
    pub(super) fn announcing<'r>(&self, recorded: &[&'r [u8]], commit: CommitId) -> &'r [u8] {
        let announces = |bytes: &&&[u8]| {
            let said = take_message(self.release, &mut bytes.to_vec());
            said.and_then(|said| said.announcement()).is_some_and(|it| it.commit == commit)
        };
        recorded.iter().find(announces).unwrap()
    }
}

/// A message that somebody sent.
struct Said {
    kind: String,
    content: String,
    /// How a daemon of 2023 answers it.
    answer: Option<String>,
}

impl Said {
    fn announcement(&self) -> Option<Announcement> {
        match Notice::parse(&self.kind, &self.content) {
            Ok(Notice::Announcement(announcement)) => Some(announcement),
            _ => None,
        }
    }
}

fn take_message(release: Release, heard: &mut Vec<u8>) -> Option<Said> {
    match release {
        Release::Newest => take_packed(heard),
        Release::Of2023 => {
            let request = take_sip(heard, "MESSAGE ")?;
            let (_, content) = request.split_once("\r\n\r\n").unwrap();
            let kind = header(&request, "Content-Type").unwrap().to_owned();
            Some(Said { kind, content: content.to_owned(), answer: Some(accept(&request)) })
        }
    }
}

/// Whether something recorded is a message with this text in it.
pub(super) fn says(recorded: &[u8], part: &str) -> bool {
    let is_answer = recorded.starts_with(b"SIP/2.0 ");
    !is_answer && recorded.windows(part.len()).any(|window| window == part.as_bytes())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn take_packed(heard: &mut Vec<u8>) -> Option<Said> {
    let mut rest = &heard[..];
    let message = MessageReader::default().next(&mut rest).unwrap()?;
    let taken = heard.len() - rest.len();
    heard.drain(..taken);
    Some(Said { kind: message.mime_type, content: message.content, answer: None })
}

/// The first message that begins like this; answers and requests come over the same channel.
fn take_sip(heard: &mut Vec<u8>, beginning: &str) -> Option<String> {
    let mut place = 0;
    loop {
        let rest = text(&heard[place..]);
        let (head, _) = rest.split_once("\r\n\r\n")?;
        let length: usize = header(head, "Content-Length").unwrap().parse().unwrap();
        let length = head.len() + 4 + length;
        if rest.len() < length {
            return None;
        }
        if rest.starts_with(beginning) {
            heard.drain(place..place + length);
            return Some(rest[..length].to_owned());
        }
        place += length;
    }
}

/// A header of a SIP message.
fn header<'m>(message: &'m str, name: &str) -> Option<&'m str> {
    let mut lines = message.lines().take_while(|line| !line.is_empty());
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// The answer of a daemon of 2023 to a request.
fn accept(request: &str) -> String {
    let via = header(request, "Via").unwrap();
    let branch = via.split_once("branch=").unwrap().1.split(';').next().unwrap();
    let [call, from, to, sequence] =
        ["Call-ID", "From", "To", "CSeq"].map(|name| header(request, name).unwrap());
    format!(
        "SIP/2.0 200 OK\r\nVia: {via}\r\nCall-ID: {call}\r\nFrom: {from}\r\nTo: {to};tag={branch}\r\n\
         CSeq: {sequence}\r\nContent-Length:  0\r\n\r\n"
    )
}
