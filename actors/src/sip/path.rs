//! One socket to the server of an account, over which whole messages go.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use skep_protocol::sip::agent::Transport;
use skep_protocol::sip::stream::{MAX_SIP_MESSAGE, SipMessage, SipReader};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use crate::names::system_authorities;

/// How long one address of a server may take to connect, so that there is time for the next.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long looking up a name, and the handshake of TLS, may take each.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Addresses of a server that are tried.
const MAX_ADDRESSES: usize = 4;

/// Messages read and not handled yet; the socket is not read on meanwhile.
const INCOMING: usize = 16;

/// Messages to be written. More than the core has on its way at once.
const OUTGOING: usize = 128;

/// What is read from a connection at once, in bytes.
const PIECE: usize = 8 * 1024;

/// How long what was queued may take to go out when the path is given up: a server that reads takes it at
/// once, another would keep the path for ever.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// Where to connect, and how.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) transport: Transport,
    /// Certificates to trust, in PEM, instead of the system's.
    pub(super) authorities: Option<String>,
}

/// What comes over a path.
#[derive(Debug)]
pub(super) enum Came {
    Message(Box<SipMessage>),
    /// Empty lines.
    Blank,
}

/// A path that is open.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) sender: mpsc::Sender<Bytes>,
    pub(super) receiver: mpsc::Receiver<Came>,
}

enum Socket {
    Datagrams(UdpSocket),
    Plain(TcpStream),
    Secure(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// Opens a path. The future moves bytes until the path ends, and says why it did; it ends too when
/// the sender is dropped.
pub(super) async fn open(to: Destination) -> io::Result<(Ends, impl Future<Output = io::Error> + 'static)> {
    let found = tokio::time::timeout(STEP_TIMEOUT, tokio::net::lookup_host((&*to.host, to.port))).await;
    let found = found.map_err(|_| io::Error::other("its name cannot be looked up in time"))??;
    let mut last = io::Error::other("its name has no address");
    for address in found.take(MAX_ADDRESSES) {
        match connect(address, &to).await {
            Ok((socket, local)) => {
                let (sender, to_write) = mpsc::channel(OUTGOING);
                let (came, receiver) = mpsc::channel(INCOMING);
                let ends = Ends { local, remote: address, sender, receiver };
                return Ok((ends, carry(socket, to_write, came)));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect(address: SocketAddr, to: &Destination) -> io::Result<(Socket, SocketAddr)> {
    if to.transport == Transport::Udp {
        let any: IpAddr =
            if address.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).await?;
        // From then on, it takes from the server only, and has one address.
        socket.connect(address).await?;
        let local = socket.local_addr()?;
        return Ok((Socket::Datagrams(socket), local));
    }
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let stream = stream.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    if to.transport == Transport::Tcp {
        return Ok((Socket::Plain(stream), local));
    }
    let name = ServerName::try_from(to.host.clone())
        .map_err(|_| io::Error::other("its name is none that a certificate could bear"))?;
    let connector = TlsConnector::from(client(to.authorities.clone()).await?);
    let stream = tokio::time::timeout(STEP_TIMEOUT, connector.connect(name, stream)).await;
    let stream = stream.map_err(|_| io::Error::other("TLS takes too long"))??;
    Ok((Socket::Secure(Box::new(stream)), local))
}

/// TLS that checks certificates, the system's authorities read off this thread.
async fn client(authorities: Option<String>) -> io::Result<Arc<ClientConfig>> {
    let Some(pem) = authorities else {
        let read = tokio::task::spawn_blocking(system_authorities).await.map_err(io::Error::other)?;
        return read.map_err(io::Error::other);
    };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
    roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    if roots.is_empty() {
        return Err(io::Error::other("there is no certificate in what is to be trusted"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(io::Error::other)?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

async fn carry(socket: Socket, to_write: mpsc::Receiver<Bytes>, came: mpsc::Sender<Came>) -> io::Error {
    let ended = match socket {
        Socket::Datagrams(socket) => tokio::select! {
            ended = read_datagrams(&socket, came) => ended,
            ended = write_datagrams(&socket, to_write) => ended,
        },
        Socket::Plain(stream) => carry_stream(stream, to_write, came).await,
        Socket::Secure(stream) => carry_stream(*stream, to_write, came).await,
    };
    ended.err().unwrap_or_else(|| io::Error::other("the connection has ended"))
}

async fn read_datagrams(socket: &UdpSocket, came: mpsc::Sender<Came>) -> io::Result<()> {
    let mut room = vec![0; MAX_SIP_MESSAGE + 1];
    loop {
        let length = socket.recv(&mut room).await?;
        let datagram = Bytes::copy_from_slice(room.get(..length).unwrap_or_default());
        match SipMessage::in_datagram(&datagram) {
            Ok(Some(message)) => {
                if came.send(Came::Message(Box::new(message))).await.is_err() {
                    return Ok(());
                }
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "a datagram of a SIP server is passed over"),
        }
    }
}

async fn write_datagrams(socket: &UdpSocket, mut to_write: mpsc::Receiver<Bytes>) -> io::Result<()> {
    while let Some(message) = to_write.recv().await {
        socket.send(&message).await?;
    }
    Ok(())
}

async fn carry_stream(
    stream: impl AsyncRead + AsyncWrite,
    mut to_write: mpsc::Receiver<Bytes>,
    came: mpsc::Sender<Came>,
) -> io::Result<()> {
    let (mut reading, mut writing) = tokio::io::split(stream);
    let read = async {
        let (mut reader, mut room) = (SipReader::lenient(), vec![0; PIECE]);
        loop {
            let length = reading.read(&mut room).await?;
            if length == 0 {
                return Err(io::Error::other("the server has closed the connection"));
            }
            let mut piece = room.get(..length).unwrap_or_default();
            while let Some(message) = reader.next(&mut piece).map_err(io::Error::other)? {
                if came.send(Came::Message(Box::new(message))).await.is_err() {
                    return Ok(());
                }
            }
            if reader.take_blank() && came.send(Came::Blank).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async {
        while let Some(message) = to_write.recv().await {
            writing.write_all(&message).await?;
            writing.flush().await?;
        }
        writing.shutdown().await
    };
    let given_up = async {
        came.closed().await;
        tokio::time::sleep(LAST_WRITES).await;
    };
    tokio::select! {
        ended = read => ended,
        ended = write => ended,
        () = given_up => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::{pass, run};

    #[test]
    fn a_path_that_is_given_up_ends_though_the_server_does_not_read() {
        run(async {
            let (stream, server) = tokio::io::duplex(16);
            let (sender, to_write) = mpsc::channel(OUTGOING);
            let (came, receiver) = mpsc::channel(INCOMING);
            let path = tokio::task::spawn_local(carry_stream(stream, to_write, came));
            sender.send(Bytes::from_static(&[b'a'; 100])).await.unwrap();
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            drop((sender, receiver));
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert!(!path.is_finished(), "what was queued has its time");
            pass(LAST_WRITES.as_secs() + 1).await;
            path.await.unwrap().unwrap();
            drop(server);
        });
    }

    #[test]
    fn what_was_queued_goes_out_before_a_path_ends() {
        run(async {
            let (stream, mut server) = tokio::io::duplex(16);
            let (sender, to_write) = mpsc::channel(OUTGOING);
            let (came, receiver) = mpsc::channel(INCOMING);
            let path = tokio::task::spawn_local(carry_stream(stream, to_write, came));
            sender.send(Bytes::from_static(&[b'a'; 100])).await.unwrap();
            drop((sender, receiver));
            let mut read = Vec::new();
            server.read_to_end(&mut read).await.unwrap();
            assert_eq!(read.len(), 100);
            path.await.unwrap().unwrap();
        });
    }
}
