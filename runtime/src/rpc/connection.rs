//! One connection, whatever carries it: bounded reading, bounded work, ordered end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::lines::LineReader;
use super::server::Server;
use super::session::Session;
use super::{MAX_IN_FLIGHT, dispatch};

/// Replies and notifications that wait for the client to read.
const OUT_QUEUE: usize = 64;

/// How long a client may leave a reply unread before it is cut off.
const WRITE_DEADLINE: Duration = Duration::from_secs(60);

/// Time for the requests under way when the node stops.
pub(super) const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// What a connection receives.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A request or a batch.
    Text(Vec<u8>),
    /// Something longer than is read.
    TooLong,
}

/// Serves a connection whose requests are lines.
pub(super) async fn serve_lines(
    reader: impl AsyncRead + Send + Unpin,
    writer: impl AsyncWrite + Send + Unpin + 'static,
    server: Arc<Server>,
    stop: watch::Receiver<bool>,
) {
    let incoming = futures::stream::unfold(LineReader::new(reader), |mut lines| async move {
        let incoming = lines.next().await?;
        Some((incoming, lines))
    });
    let outgoing = futures::sink::unfold(writer, |mut writer, mut line: String| async move {
        line.push('\n');
        writer.write_all(line.as_bytes()).await?;
        writer.flush().await?;
        Ok::<_, std::io::Error>(writer)
    });
    serve(incoming, outgoing, server, stop).await;
}

/// Serves a connection until the client has nothing more to say, or `stop` says so; requests under
/// way are still answered.
pub(super) async fn serve<E: Send + 'static>(
    incoming: impl Stream<Item = Incoming> + Send,
    outgoing: impl Sink<String, Error = E> + Send + 'static,
    server: Arc<Server>,
    mut stop: watch::Receiver<bool>,
) {
    let (out, queue) = mpsc::channel(OUT_QUEUE);
    let mut writer = tokio::spawn(write_all(queue, outgoing));
    let session = Arc::new(Session::new(out.clone()));
    let mut requests = JoinSet::new();
    let mut incoming = pin!(incoming);
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            () = out.closed() => break,
            Some(_) = requests.join_next() => (),
            next = incoming.next(), if requests.len() < MAX_IN_FLIGHT => match next {
                None => break,
                Some(Incoming::TooLong) => session.send(dispatch::too_long()).await,
                Some(Incoming::Text(text)) => {
                    let (server, session) = (Arc::clone(&server), Arc::clone(&session));
                    requests.spawn(async move { dispatch::answer(&server, &session, &text).await });
                }
            },
        }
    }
    let finish = async {
        while requests.join_next().await.is_some() {}
        drop((session, out));
        // It ends when nobody can send any more and all is written.
        (&mut writer).await
    };
    // A client that only listens no longer asks, but its half of the connection is still open.
    let unhurried = async {
        stopped(&mut stop).await;
        tokio::time::sleep(CLOSE_DEADLINE).await;
    };
    tokio::select! {
        _ = finish => (),
        () = unhurried => (),
    }
    writer.abort();
}

/// Completes when the node stops.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error says that whoever could stop us has gone, which is the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn write_all<E>(mut queue: mpsc::Receiver<String>, outgoing: impl Sink<String, Error = E>) {
    let mut outgoing = pin!(outgoing);
    while let Some(text) = queue.recv().await {
        match timeout(WRITE_DEADLINE, outgoing.send(text)).await {
            Ok(Ok(())) => (),
            Ok(Err(_)) => return,
            Err(_) => {
                tracing::warn!("a control client does not read its replies and is cut off");
                return;
            }
        }
    }
    // What is written is written; the client sees the end either way.
    let _ = timeout(CLOSE_DEADLINE, outgoing.close()).await;
}
