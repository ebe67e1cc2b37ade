//! SIP accounts and a server that the tests play, over sockets on loopback.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use ezk_sip_types::Name;
use skep_protocol::ids::LocalAccountId;
use skep_protocol::sip::agent::{SendFailure, SipPassword, Transport};
use skep_protocol::sip::instant::Answer;
use skep_protocol::sip::stream::{SipMessage, SipReader};
use skep_protocol::time::UnixMillis;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::messages::{NewSipAccount, Outgoing, SipAccountView, SipError, SipHubMessage, SipState};
use super::{MAX_SIP_ACCOUNTS, SipConfig, SipHub};
use crate::blocking::BlockingPool;
use crate::event::{Event, NodeEvent};
use crate::supervision::{Environment, Outlet, Reply, RootHandle, start_root};
use crate::virtual_time::{pass, run};

/// Time that anything here may take on a busy machine; it does not pass by itself.
const PATIENCE: Duration = Duration::from_secs(600);

/// The SIP accounts of a node.
struct Hub {
    root: RootHandle<SipHubMessage>,
    events: mpsc::Receiver<NodeEvent>,
}

impl Hub {
    fn start(folder: &std::path::Path) -> Self {
        let (outlet, events) = Outlet::channel("test", 256);
        let config = SipConfig { folder: folder.join("sip"), pool: BlockingPool::new(1), events: outlet };
        let environment = Environment::single_thread(UnixMillis(0), 1);
        Self { root: start_root(environment, move || SipHub::new(config.clone())), events }
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> SipHubMessage) -> T {
        self.root.port().ask(PATIENCE, request).await.unwrap()
    }

    async fn create(&self, server: SocketAddr, transport: Transport) -> Result<SipAccountView, SipError> {
        let new = Box::new(NewSipAccount {
            address: "sip:alice@example.org".parse().unwrap(),
            server: Some(server.to_string().parse().unwrap()),
            transport,
            login: None,
            password: SipPassword(Zeroizing::new("secret".to_owned())),
            authorities: None,
            expiry: None,
        });
        self.ask(|reply| SipHubMessage::Create { new, reply }).await
    }

    async fn send(&self, local: LocalAccountId, text: &str) -> Result<(), SipError> {
        let (to, text) = ("sip:bob@example.org".parse().unwrap(), text.to_owned());
        self.ask(|reply| SipHubMessage::Send { local, message: Outgoing { to, text, reply } }).await
    }

    async fn event(&mut self) -> Event {
        self.events.recv().await.unwrap().event
    }

    /// Waits until an account is registered.
    async fn registered(&mut self) {
        while !matches!(
            self.event().await,
            Event::SipRegistration { registration: SipState::Registered { .. } }
        ) {}
    }

    /// Waits until an account is not registered; why.
    async fn failed(&mut self) -> String {
        loop {
            if let Event::SipRegistration { registration: SipState::Failed { problem, .. } } =
                self.event().await
            {
                return problem;
            }
        }
    }
}

/// A connection of an account to its server.
struct Connection {
    stream: TcpStream,
    reader: SipReader,
    remote: SocketAddr,
    waiting: Vec<u8>,
}

impl Connection {
    async fn accept(listener: &TcpListener) -> Self {
        let (stream, remote) = listener.accept().await.unwrap();
        Self { stream, reader: SipReader::default(), remote, waiting: Vec::new() }
    }

    async fn next(&mut self) -> SipMessage {
        loop {
            let mut piece = &self.waiting[..];
            let message = self.reader.next(&mut piece).unwrap();
            self.waiting = piece.to_vec();
            if let Some(message) = message {
                return message;
            }
            let mut room = [0; 4096];
            let length = self.stream.read(&mut room).await.unwrap();
            assert!(length > 0, "the account has closed the connection");
            self.waiting.extend_from_slice(&room[..length]);
        }
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Agrees to a request.
    async fn agree(&mut self, request: &SipMessage) {
        let answer = agreement(request, self.remote);
        self.say(&answer).await;
    }

    /// Registers the account that asks for it.
    async fn register(&mut self) {
        let request = self.next().await;
        assert_eq!(request.header(&Name::EXPIRES), Some("3600"));
        self.agree(&request).await;
    }
}

/// An answer that agrees, and has the contacts of the request in it.
fn agreement(request: &SipMessage, from: SocketAddr) -> Vec<u8> {
    let answer = String::from_utf8(Answer::Ok.to(request, from).unwrap()).unwrap();
    let contacts: String = request
        .headers
        .get_raw(&Name::CONTACT)
        .map(|contact| format!("Contact: {}\r\n", contact.as_str()))
        .collect();
    answer.replace("Content-Length:", &format!("{contacts}Content-Length:")).into_bytes()
}

const INCOMING: &[u8] = b"MESSAGE sip:alice@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK1\r\n\
    From: \"Bob\" <sip:bob@example.org>;tag=b\r\nTo: <sip:alice@example.org>\r\nCall-ID: c\r\nCSeq: 1 MESSAGE\r\n\
    Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn an_account_registers_over_a_connection_and_messages_go_both_ways() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut hub = Hub::start(folder.path());
        let view = hub.create(listener.local_addr().unwrap(), Transport::Tcp).await.unwrap();
        assert_eq!((&*view.address, &*view.transport), ("sip:alice@example.org", "tcp"));
        assert!(matches!(
            hub.send(view.account, "x").await,
            Err(SipError::Message(SendFailure::NotRegistered))
        ));
        let mut server = Connection::accept(&listener).await;
        server.register().await;
        hub.registered().await;

        server.say(INCOMING).await;
        let said =
            Event::SipMessage { from: "sip:bob@example.org".into(), name: "Bob".into(), text: "hi".into() };
        assert_eq!(hub.event().await, said);
        assert!(!server.next().await.line.is_request(), "it is answered");
        let play = async {
            let request = server.next().await;
            assert_eq!(&request.body[..], b"hello");
            server.agree(&request).await;
        };
        let (sent, ()) = tokio::join!(hub.send(view.account, "hello"), play);
        assert_eq!(sent, Ok(()));
    });
}

#[test]
fn a_lost_connection_is_made_anew_and_a_restarted_node_registers_again() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut hub = Hub::start(folder.path());
        hub.create(listener.local_addr().unwrap(), Transport::Tcp).await.unwrap();
        let mut server = Connection::accept(&listener).await;
        server.register().await;
        hub.registered().await;
        drop(server);
        assert!(hub.failed().await.contains("cannot be reached"));
        pass(3).await;
        let mut server = Connection::accept(&listener).await;
        server.register().await;
        hub.registered().await;

        // Who stops takes the registration back.
        let play = async {
            let last = server.next().await;
            assert_eq!(last.header(&Name::EXPIRES), Some("0"));
            server.agree(&last).await;
        };
        let (stopped, ()) = tokio::join!(hub.root.shutdown(PATIENCE), play);
        assert!(stopped.complete);

        let mut hub = Hub::start(folder.path());
        let mut server = Connection::accept(&listener).await;
        server.register().await;
        hub.registered().await;
    });
}

#[test]
fn an_account_that_is_removed_takes_its_registration_back_and_is_gone_for_good() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut hub = Hub::start(folder.path());
        let local = hub.create(listener.local_addr().unwrap(), Transport::Tcp).await.unwrap().account;
        let mut server = Connection::accept(&listener).await;
        server.register().await;
        hub.registered().await;
        let play = async {
            let last = server.next().await;
            assert_eq!(last.header(&Name::EXPIRES), Some("0"));
            server.agree(&last).await;
        };
        let (removed, ()) = tokio::join!(hub.ask(|reply| SipHubMessage::Remove { local, reply }), play);
        assert_eq!(removed, Ok(()));
        assert_eq!(hub.ask(SipHubMessage::List).await, []);
        assert_eq!(hub.send(local, "x").await, Err(SipError::Unknown(local)));
        assert_eq!(std::fs::read_dir(folder.path().join("sip")).unwrap().count(), 0);
    });
}

#[test]
fn an_account_registers_over_datagrams_and_passes_nonsense_over() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut hub = Hub::start(folder.path());
        hub.create(socket.local_addr().unwrap(), Transport::Udp).await.unwrap();
        let mut room = [0; 4096];
        let (length, from) = socket.recv_from(&mut room).await.unwrap();
        let request = SipMessage::in_datagram(&Bytes::copy_from_slice(&room[..length])).unwrap().unwrap();
        // From elsewhere, and what is no SIP.
        let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        other.send_to(&agreement(&request, from), from).await.unwrap();
        for nonsense in [&b"\r\n\r\n"[..], b"", b"SIP/2.0 200 OK\r\n\r\n", &[0xff; 2000]] {
            socket.send_to(nonsense, from).await.unwrap();
        }
        let trying = Event::SipRegistration { registration: SipState::Registering {} };
        assert_eq!(hub.event().await, trying);
        socket.send_to(INCOMING, from).await.unwrap();
        assert!(matches!(hub.event().await, Event::SipMessage { .. }), "nothing else is told before");
        socket.send_to(&agreement(&request, from), from).await.unwrap();
        hub.registered().await;
    });
}

#[test]
fn a_server_that_speaks_no_sip_is_left_alone_for_a_while() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut hub = Hub::start(folder.path());
        hub.create(listener.local_addr().unwrap(), Transport::Tcp).await.unwrap();
        for nonsense in
            [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &[b'a'; 70_000], b"SIP/2.0 200 OK\r\nl: -1\r\n\r\n"]
        {
            let mut server = Connection::accept(&listener).await;
            // It hangs up before it has heard all.
            let _ = server.stream.write_all(nonsense).await;
            assert!(hub.failed().await.contains("cannot be reached"));
            pass(10).await;
        }
    });
}

#[test]
fn there_are_only_so_many_accounts() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub::start(folder.path());
        let nobody = "127.0.0.1:9".parse().unwrap();
        for _ in 0..MAX_SIP_ACCOUNTS {
            hub.create(nobody, Transport::Udp).await.unwrap();
        }
        assert_eq!(hub.create(nobody, Transport::Udp).await, Err(SipError::TooMany));
        assert_eq!(hub.ask(SipHubMessage::List).await.len(), MAX_SIP_ACCOUNTS);
    });
}
