//! Whole SIP messages out of a stream (`spec: calls 2.1`).

use bytes::Bytes;
use ezk_sip_types::header::typed::ContentLength;
use ezk_sip_types::msg::{Line, MessageLine, PullParser};
use ezk_sip_types::parse::Parse as _;
use ezk_sip_types::{Headers, Method, Name};

/// Longest message read, in bytes, head and body together. Daemons neither send nor take 8000 and more;
/// this leaves room for a whole write of a channel.
pub const MAX_SIP_MESSAGE: usize = 64 * 1024;

/// Most header lines of a message; calls have about twenty.
pub const MAX_HEADERS: usize = 128;

/// Ends the head of a message.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Why a stream of SIP messages cannot be read on: close the channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SipError {
    /// Longer than [`MAX_SIP_MESSAGE`].
    #[error("a SIP message of more than {MAX_SIP_MESSAGE} bytes")]
    TooLong,
    /// The head is not text, or its first line is neither a request nor a response.
    #[error("what came is no SIP message")]
    Malformed,
    /// More than [`MAX_HEADERS`] lines.
    #[error("a SIP message with more than {MAX_HEADERS} headers")]
    TooManyHeaders,
    /// Without it the end of a message is unknown.
    #[error("a SIP message without a readable Content-Length")]
    NoLength,
}

/// One message, request or response.
#[derive(Clone, Debug)]
pub struct SipMessage {
    /// Method and address, or status.
    pub line: MessageLine,
    /// All headers; each kind in its order.
    pub headers: Headers,
    /// As many bytes as `Content-Length` says.
    pub body: Bytes,
}

impl SipMessage {
    /// The first value of a header, as it stands.
    #[must_use]
    pub fn header(&self, name: &Name) -> Option<&str> {
        self.headers.get_raw(name).next().map(|value| value.as_str().trim())
    }

    /// Whether it is a request with this method.
    #[must_use]
    pub fn is_request(&self, method: &Method) -> bool {
        self.line.request_method() == Some(method)
    }

    /// The message in a datagram; `None` if that has only empty lines, which keep paths open. Without a
    /// length the message ends where the datagram does (RFC 3261, 18.3).
    ///
    /// # Errors
    /// When it is no message, or was cut off.
    pub fn in_datagram(datagram: &Bytes) -> Result<Option<Self>, SipError> {
        if datagram.len() > MAX_SIP_MESSAGE {
            return Err(SipError::TooLong);
        }
        let blank = datagram.iter().take_while(|byte| matches!(byte, b'\r' | b'\n' | 0)).count();
        let text = datagram.slice(blank..);
        if text.is_empty() {
            return Ok(None);
        }
        let end = text.windows(HEAD_END.len()).position(|window| window == HEAD_END);
        let start = end.ok_or(SipError::Malformed)? + HEAD_END.len();
        let (line, headers) = Self::parse_head(&text.slice(..start))?;
        let mut body = text.slice(start..);
        match headers.try_get_named() {
            None => {}
            Some(Ok(ContentLength(length))) if length <= body.len() => body.truncate(length),
            Some(_) => return Err(SipError::NoLength),
        }
        Ok(Some(Self { line, headers, body }))
    }

    fn parse_head(head: &Bytes) -> Result<(MessageLine, Headers), SipError> {
        let mut lines = PullParser::new(head, 0);
        let mut next = || -> Result<Option<&str>, SipError> {
            let Some(line) = lines.next() else { return Ok(None) };
            let line = line.map_err(|_| SipError::Malformed)?;
            std::str::from_utf8(line).map(Some).map_err(|_| SipError::Malformed)
        };
        let first = next()?.ok_or(SipError::Malformed)?;
        let (_, line) = MessageLine::parse(head)(first).map_err(|_| SipError::Malformed)?;
        let mut headers = Headers::new();
        let mut count = 0;
        while let Some(text) = next()? {
            count += 1;
            if count > MAX_HEADERS {
                return Err(SipError::TooManyHeaders);
            }
            // A line that is no header is passed over, as the reference's stack does.
            if let Ok((_, Line { name, value })) = Line::parse(head, text) {
                headers.insert(name, value);
            }
        }
        Ok((line, headers))
    }
}

/// Takes messages out of the bytes of a channel, cut anywhere.
#[derive(Debug, Default)]
pub struct SipReader {
    waiting: Vec<u8>,
    /// How many of the waiting bytes were searched for the end of the head.
    searched: usize,
    /// The message whose body is not complete yet.
    head: Option<Head>,
    /// Whether there were empty lines between messages.
    blank: bool,
    /// Whether messages that cannot be read are passed over.
    lenient: bool,
}

/// A head that was read.
#[derive(Debug)]
struct Head {
    /// `None` if the message is passed over.
    message: Option<(MessageLine, Headers)>,
    /// Where the body begins.
    start: usize,
    /// Where it ends.
    end: usize,
}

impl SipReader {
    /// A reader for a stream over which strangers' messages come, too: a message that cannot be read is
    /// passed over, as a datagram is, so that none of them can end the stream. Only what leaves the end of
    /// a message unknown, or is too long, does that.
    #[must_use]
    pub fn lenient() -> Self {
        Self { lenient: true, ..Self::default() }
    }

    /// Whether empty lines came between messages since this was asked last: who is at the other end lives.
    pub fn take_blank(&mut self) -> bool {
        std::mem::take(&mut self.blank)
    }

    /// The next message, taken from the front of `input`. `None` means that all of `input` is used up
    /// and more is needed.
    ///
    /// # Errors
    /// When the stream cannot be read on: close the channel.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<SipMessage>, SipError> {
        loop {
            if let Some(end) = self.head.as_ref().map(|head| head.end) {
                if !self.take_until(end, input) {
                    return Ok(None);
                }
                let Some(Head { message, start, .. }) = self.head.take() else { return Ok(None) };
                let whole = Bytes::from(std::mem::take(&mut self.waiting));
                self.searched = 0;
                if let Some((line, headers)) = message {
                    return Ok(Some(SipMessage { line, headers, body: whole.slice(start..) }));
                }
            }
            if !self.take_head(input)? {
                return Ok(None);
            }
        }
    }

    /// Fills up to `end` bytes; whether they are there.
    fn take_until(&mut self, end: usize, input: &mut &[u8]) -> bool {
        let wanted = end.saturating_sub(self.waiting.len()).min(input.len());
        let (taken, rest) = input.split_at(wanted);
        self.waiting.extend_from_slice(taken);
        *input = rest;
        self.waiting.len() >= end
    }

    /// Fills up to the end of a head and reads it; whether that was there.
    fn take_head(&mut self, input: &mut &[u8]) -> Result<bool, SipError> {
        if self.waiting.is_empty() {
            // Empty lines between messages keep paths open.
            let blank = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            *input = input.get(blank..).unwrap_or_default();
            self.blank |= blank > 0;
        }
        let before = self.waiting.len();
        let room = MAX_SIP_MESSAGE - before.min(MAX_SIP_MESSAGE);
        self.waiting.extend_from_slice(input.get(..room.min(input.len())).unwrap_or_default());
        let from = self.searched.saturating_sub(HEAD_END.len() - 1);
        let unsearched = self.waiting.get(from..).unwrap_or_default();
        let Some(found) = unsearched.windows(HEAD_END.len()).position(|window| window == HEAD_END) else {
            if self.waiting.len() >= MAX_SIP_MESSAGE {
                return Err(SipError::TooLong);
            }
            self.searched = self.waiting.len();
            *input = &[];
            return Ok(false);
        };
        let start = from + found + HEAD_END.len();
        self.waiting.truncate(start);
        *input = input.get(start.saturating_sub(before)..).unwrap_or_default();

        let (message, length) = if self.lenient {
            let message = SipMessage::parse_head(&readable(&self.waiting)).ok();
            let stated = message.as_ref().and_then(|(_, headers)| headers.try_get_named());
            let length = match stated {
                Some(length) => length.ok().map(|ContentLength(length)| length),
                None => stated_length(&self.waiting),
            };
            (message, length.ok_or(SipError::NoLength)?)
        } else {
            let (line, headers) = SipMessage::parse_head(&Bytes::copy_from_slice(&self.waiting))?;
            let ContentLength(length) = headers.get_named().map_err(|_| SipError::NoLength)?;
            (Some((line, headers)), length)
        };
        let end = start.checked_add(length).filter(|end| *end <= MAX_SIP_MESSAGE);
        self.head = Some(Head { message, start, end: end.ok_or(SipError::TooLong)? });
        Ok(true)
    }
}

/// A head as text, with signs in place of what is none; a CR alone, at which the parser of lines would
/// stop, becomes a space.
fn readable(head: &[u8]) -> Bytes {
    let mut bytes = head.to_vec();
    for (at, byte) in bytes.iter_mut().enumerate() {
        if *byte == b'\r' && head.get(at + 1) != Some(&b'\n') {
            *byte = b' ';
        }
    }
    Bytes::from(String::from_utf8_lossy(&bytes).into_owned())
}

/// The length in a head of which nothing else need be readable.
fn stated_length(head: &[u8]) -> Option<usize> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
        let is_length = ["Content-Length", "l"].iter().any(|it| name.trim().eq_ignore_ascii_case(it));
        is_length.then(|| value.trim().parse().ok())
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(stream: &[u8], segment: usize) -> Result<Vec<SipMessage>, SipError> {
        read_with(SipReader::default(), stream, segment)
    }

    fn read_with(mut reader: SipReader, stream: &[u8], segment: usize) -> Result<Vec<SipMessage>, SipError> {
        let mut messages = Vec::new();
        for mut piece in stream.chunks(segment) {
            while let Some(message) = reader.next(&mut piece)? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    #[test]
    fn messages_come_out_of_a_stream_cut_anywhere() {
        let stream = b"\r\n\r\nMESSAGE sips:a@10.0.0.1:1;transport=tls SIP/2.0\r\nContent-Length: 5\r\n\r\nhello\
            \r\nSIP/2.0 200 OK\r\nl:0\r\nno header\r\n\r\n\nBYE sip:b@c SIP/2.0\r\nContent-Length:   1\r\n\r\nx";
        for segment in 1..stream.len() {
            let messages = read_all(stream, segment).unwrap();
            let bodies: Vec<_> = messages.iter().map(|message| &message.body[..]).collect();
            assert_eq!(bodies, [&b"hello"[..], b"", b"x"], "segments of {segment}");
            assert!(messages[0].is_request(&Method::MESSAGE));
            assert!(!messages[1].line.is_request());
            assert!(messages[2].is_request(&Method::BYE));
        }
    }

    #[test]
    fn a_head_without_end_and_a_huge_body_end_the_channel() {
        let endless = vec![b'a'; 2 * MAX_SIP_MESSAGE];
        assert_eq!(read_all(&endless, 1000).unwrap_err(), SipError::TooLong);
        for length in ["65536", "18446744073709551615"] {
            let huge = format!("MESSAGE sips:a@b SIP/2.0\r\nContent-Length: {length}\r\n\r\n");
            assert_eq!(read_all(huge.as_bytes(), 7).unwrap_err(), SipError::TooLong);
        }
    }

    #[test]
    fn a_lenient_reader_passes_over_what_it_cannot_read_and_goes_on() {
        let many = format!("BYE sip:a@b SIP/2.0\r\n{}", "a: b\r\n".repeat(MAX_HEADERS + 1));
        let good = b"BYE sip:b@c SIP/2.0\r\nl: 1\r\n\r\nx";
        for (bad, kept) in [
            (&b"MESSAGE sip:a@b SIP/2.0\r\nFrom: \xff\xfe\r\n"[..], true),
            (b"MESSAGE sip:a@b SIP/2.0\r\nSubject: a\rb\r\n", true),
            (b"MESSAGE sip:a@b SIP/2.0\r\nSubject: a\n\nb\r\n", true),
            (many.as_bytes(), false),
            (b"GET / HTTP/1.1\r\n", false),
            (b"\xff\xfe\r\n", false),
        ] {
            let stream = [bad, b"Content-Length: 7\r\n\r\nl: 9\r\n\r", good].concat();
            for segment in [1, 5, stream.len()] {
                let messages = read_with(SipReader::lenient(), &stream, segment).unwrap();
                let bodies: Vec<_> = messages.iter().map(|message| &message.body[..]).collect();
                let all = [&b"l: 9\r\n\r"[..], b"x"];
                assert_eq!(bodies, all[usize::from(!kept)..], "{}", String::from_utf8_lossy(bad));
            }
        }
    }

    #[test]
    fn a_lenient_reader_ends_where_the_end_of_a_message_is_unknown() {
        let read = |stream: &[u8]| read_with(SipReader::lenient(), stream, 7).unwrap_err();
        assert_eq!(read(b"HTTP/1.1 400 Bad Request\r\n\r\n"), SipError::NoLength);
        assert_eq!(read(b"\xff\r\nContent-Length: -1\r\n\r\n"), SipError::NoLength);
        assert_eq!(read(b"\xff\r\nContent-Length: 65536\r\n\r\n"), SipError::TooLong);
        assert_eq!(read(&vec![b'a'; 2 * MAX_SIP_MESSAGE]), SipError::TooLong);
    }

    #[test]
    fn empty_lines_are_noticed_once() {
        let mut reader = SipReader::default();
        assert!(reader.next(&mut &b"\r\n"[..]).unwrap().is_none());
        assert!(reader.take_blank() && !reader.take_blank());
    }

    #[test]
    fn a_datagram_is_one_message_or_none() {
        let read = |text: &'static [u8]| SipMessage::in_datagram(&Bytes::from_static(text));
        assert!(read(b"\r\n\r\n").unwrap().is_none());
        assert!(read(b"\0\0\0\0").unwrap().is_none());
        let body = |text| read(text).unwrap().unwrap().body;
        assert_eq!(body(b"MESSAGE sip:a@b SIP/2.0\r\nl: 2\r\n\r\nhello"), "he");
        assert_eq!(body(b"MESSAGE sip:a@b SIP/2.0\r\nFrom: x\r\n\r\nhello"), "hello");
        assert_eq!(read(b"MESSAGE sip:a@b SIP/2.0\r\nl: 9\r\n\r\nhello").unwrap_err(), SipError::NoLength);
        assert_eq!(read(b"MESSAGE sip:a@b SIP/2.0\r\n").unwrap_err(), SipError::Malformed);
        let long = Bytes::from(vec![b'a'; MAX_SIP_MESSAGE + 1]);
        assert_eq!(SipMessage::in_datagram(&long).unwrap_err(), SipError::TooLong);
    }

    #[test]
    fn what_is_no_sip_ends_the_channel() {
        let without = "MESSAGE sips:a@b SIP/2.0\r\nFrom: x\r\n\r\n";
        assert_eq!(read_all(without.as_bytes(), 100).unwrap_err(), SipError::NoLength);
        let negative = "MESSAGE sips:a@b SIP/2.0\r\nContent-Length: -1\r\n\r\n";
        assert_eq!(read_all(negative.as_bytes(), 100).unwrap_err(), SipError::NoLength);
        assert_eq!(read_all(b"GET / HTTP/1.1\r\n\r\n", 100).unwrap_err(), SipError::Malformed);
        assert_eq!(read_all(b"\xff\xfe\r\n\r\n", 100).unwrap_err(), SipError::Malformed);
        let many = format!("BYE sip:a@b SIP/2.0\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1));
        assert_eq!(read_all(many.as_bytes(), 100).unwrap_err(), SipError::TooManyHeaders);
    }
}
