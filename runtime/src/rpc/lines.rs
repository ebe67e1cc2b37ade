//! Reading lines without ever keeping more than one of bounded length.

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

use super::MAX_REQUEST;
use super::connection::Incoming;

/// Bytes read at once: a usual request fits, and an idle connection costs little.
const READ_BUFFER: usize = 4096;

/// Splits a stream of bytes into lines. Dropping a future of it loses nothing.
pub(super) struct LineReader<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    /// The line is too long; its rest is thrown away.
    skipping: bool,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader: BufReader::with_capacity(READ_BUFFER, reader), line: Vec::new(), skipping: false }
    }

    /// The next line that is not empty; none at the end of the stream, or when it fails.
    pub(super) async fn next(&mut self) -> Option<Incoming> {
        loop {
            let available = self.reader.fill_buf().await.ok()?;
            if available.is_empty() {
                // A last line without its end still counts.
                return self.take();
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
            if self.skipping || self.line.len().saturating_add(part.len()) > MAX_REQUEST {
                self.skipping = true;
                self.line = Vec::new();
            } else {
                self.line.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some()
                && let Some(incoming) = self.take()
            {
                return Some(incoming);
            }
        }
    }

    fn take(&mut self) -> Option<Incoming> {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.skipping) {
            return Some(Incoming::TooLong);
        }
        (!line.trim_ascii().is_empty()).then_some(Incoming::Text(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> Vec<Option<usize>> {
        let mut reader = LineReader::new(bytes);
        let mut found = Vec::new();
        while let Some(incoming) = reader.next().await {
            found.push(match incoming {
                Incoming::Text(line) => Some(line.len()),
                Incoming::TooLong => None,
            });
        }
        found
    }

    #[tokio::test]
    async fn lines_are_split_and_empty_ones_skipped() {
        assert_eq!(read(b"one\n\n \r\nfour\nlast").await, [Some(3), Some(4), Some(4)]);
    }

    #[tokio::test]
    async fn a_line_too_long_is_told_once_and_the_next_is_read() {
        let mut bytes = vec![b'x'; MAX_REQUEST + 1];
        bytes.extend_from_slice(b"\nnext\n");
        bytes.extend(vec![b'y'; MAX_REQUEST]);
        bytes.push(b'\n');
        bytes.extend(vec![b'z'; 3 * MAX_REQUEST]);
        assert_eq!(read(&bytes).await, [None, Some(4), Some(MAX_REQUEST), None]);
    }
}
