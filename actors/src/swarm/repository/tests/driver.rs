//! Runs the sessions of a client and a server over anything that blocks: sockets, pipes.

use std::io::{self, Read, Write};

use super::super::Repository;
use super::super::fetch::{Fetch, FetchError, Fetched};
use super::super::serve::{Serve, ServeError, Served};

/// Bytes read at a time.
const READ_BUFFER: usize = 16 * 1024;

/// Runs a whole fetch.
pub(super) fn fetch(
    repository: &Repository,
    channel: &mut (impl Read + Write),
    mut fetch: Fetch,
) -> Result<Fetched, FetchError> {
    let mut buffer = vec![0; READ_BUFFER];
    let mut filled = 0;
    loop {
        let step = fetch.advance(repository, &buffer[..filled])?;
        for bytes in step.send {
            let written = send(channel, &bytes);
            // A server that has sent its pack may be gone before our last flush.
            if step.done.is_none() {
                written?;
            }
        }
        if let Some(fetched) = step.done {
            return Ok(fetched);
        }
        filled = channel.read(&mut buffer)?;
        if filled == 0 {
            fetch.closed()?;
        }
    }
}

/// Serves a channel until it closes or the client does something wrong, and tells what the client has.
pub(super) fn serve(
    repository: &Repository,
    channel: &mut (impl Read + Write),
) -> (Vec<Served>, Result<(), ServeError>) {
    let (mut serve, mut served) = (Serve::default(), Vec::new());
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        let filled = channel.read(&mut buffer).unwrap();
        if filled == 0 {
            return (served, Ok(()));
        }
        let mut bytes = &buffer[..filled];
        loop {
            let step = match serve.advance(repository, bytes) {
                Ok(step) => step,
                Err(error) => return (served, Err(error)),
            };
            step.send.iter().for_each(|bytes| send(channel, bytes).unwrap());
            served.extend(step.served);
            if !step.more {
                break;
            }
            bytes = &[];
        }
    }
}

fn send(channel: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    channel.write_all(bytes)?;
    channel.flush()
}
