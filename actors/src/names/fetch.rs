//! One request over a connection of its own, and the answer (`spec: name-server 2`).

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, LOCATION, USER_AGENT};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use skep_protocol::names::{self, MAX_ANSWER, Request, ServerUrl};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Largest head of an answer, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// How long one address of a server may take to answer, so that there is time for the next: of two kinds of
/// addresses, one may lead nowhere.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Addresses of a server that are tried.
const MAX_ADDRESSES: usize = 4;

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fetched {
    pub(super) status: u16,
    pub(super) location: Option<String>,
    /// At most one byte more than [`MAX_ANSWER`], which says that it was too long.
    pub(super) body: Vec<u8>,
}

/// Why nothing came back; for the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no connection: {0}")]
    Connect(#[from] io::Error),
    #[error("no HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be written: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("the host is none that a certificate could name")]
    Host,
    #[error("there are no certificate authorities")]
    NoAuthorities,
}

/// Sends a request and reads the answer. How long that may take is the caller's business.
pub(super) async fn fetch(request: Request, tls: Option<Arc<ClientConfig>>) -> Result<Fetched, FetchError> {
    let server = &request.server;
    let stream = connect(server).await?;
    if !server.is_secure() {
        return exchange(stream, &request).await;
    }
    let connector = TlsConnector::from(tls.ok_or(FetchError::NoAuthorities)?);
    let name = ServerName::try_from(server.host().to_owned()).map_err(|_| FetchError::Host)?;
    exchange(connector.connect(name, stream).await?, &request).await
}

/// Connects to the first address of the server that answers.
async fn connect(server: &ServerUrl) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in tokio::net::lookup_host((server.host(), server.port())).await?.take(MAX_ADDRESSES) {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

async fn exchange<S>(stream: S, request: &Request) -> Result<Fetched, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await?;
    // The connection moves the bytes until there is an answer, and whoever waits for one learns of its end.
    let connection = async {
        let _ = connection.await;
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        answer = receive(&mut sender, request) => answer,
        never = connection => match never {},
    }
}

async fn receive(sender: &mut SendRequest<Full<Bytes>>, request: &Request) -> Result<Fetched, FetchError> {
    let mut response = sender.send_request(hyper_request(request)?).await?;
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let (status, location) = (response.status().as_u16(), location.map(str::to_owned));
    Ok(Fetched { status, location, body: read_body(response.body_mut()).await? })
}

async fn read_body(body: &mut hyper::body::Incoming) -> Result<Vec<u8>, hyper::Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let Some(data) = frame.data_ref() else { continue };
        let room = MAX_ANSWER.saturating_add(1).saturating_sub(bytes.len());
        bytes.extend_from_slice(data.get(..room).unwrap_or(data));
        if bytes.len() > MAX_ANSWER {
            break;
        }
    }
    Ok(bytes)
}

fn hyper_request(request: &Request) -> Result<hyper::Request<Full<Bytes>>, hyper::http::Error> {
    hyper::Request::builder()
        .method(request.method.as_str())
        .uri(&request.target)
        .header(HOST, request.server.authority())
        .header(USER_AGENT, names::USER_AGENT)
        .header(ACCEPT, names::ACCEPT)
        .header(CONTENT_TYPE, names::CONTENT_TYPE)
        .header(CONNECTION, HeaderValue::from_static("close"))
        .body(Full::new(request.body.clone().into()))
}
