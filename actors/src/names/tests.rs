//! Client and server over real sockets.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use skep_protocol::ids::AccountId;
use skep_protocol::keys::PrivateKey;
use skep_protocol::names::{
    About, Answer, AskError, Evidence, Found, MAX_ANSWER, Name, NameError, Question, RegisterError,
    Registration, Resolution, ServerUrl,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::blocking::{BlockingPool, Share};
use crate::event::{Event, NodeEvent};
use crate::recorded::{NOW, Recorded};
use crate::supervision::{Environment, Outlet, RootHandle, start_root};
use crate::virtual_time;

/// Time that anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// A name server on loopback.
struct Serving {
    url: ServerUrl,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Serving {
    async fn start(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let (stop, stopped) = watch::channel(false);
        let server = Arc::new(NameServer::open(folder).unwrap());
        Self { url, stop, task: tokio::spawn(server.serve(listener, stopped)) }
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
    }

    /// What comes back for these bytes, until the server closes.
    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect((self.url.host(), self.url.port())).await.unwrap();
        let mut answer = Vec::new();
        // The server may close with bytes of ours unread.
        let _ = stream.write_all(request).await;
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// A client with a file of its own.
struct Client {
    root: RootHandle<NameMessage>,
    environment: Environment,
    events: mpsc::Receiver<NodeEvent>,
}

impl Client {
    /// One that asks for no names by itself.
    fn start(folder: &Path) -> Self {
        Self::start_with(folder, |_| ())
    }

    fn start_with(folder: &Path, change: impl FnOnce(&mut NameConfig)) -> Self {
        let (outlet, events) = Outlet::channel("test", 64);
        let mut config = NameConfig {
            server: None,
            file: folder.join("names"),
            tls: None,
            pool: BlockingPool::new(1),
            share: Share(1),
            events: outlet,
        };
        change(&mut config);
        // Each begins later than those before it.
        thread_local!(static HOURS: Cell<u64> = const { Cell::new(0) });
        let later = Duration::from_secs(3600 * HOURS.replace(HOURS.get() + 1));
        let environment = Environment::single_thread(NOW.plus(later), 1);
        let root = start_root(environment.clone(), move || NameActor::new(config.clone()));
        Self { root, environment, events }
    }

    async fn ask(&self, server: &ServerUrl, about: About) -> Answer {
        let question = Question { server: server.clone(), about };
        self.root.port().ask(PATIENCE, |reply| NameMessage::Ask { question, reply }).await.unwrap()
    }

    async fn account(&self, server: &ServerUrl, name: &str) -> Answer {
        self.ask(server, About::Name(name.parse().unwrap())).await
    }

    async fn known(&self, people: impl IntoIterator<Item = AccountId>) -> BTreeMap<AccountId, Name> {
        let people = people.into_iter().collect();
        self.root.port().ask(PATIENCE, |reply| NameMessage::Known { people, reply }).await.unwrap()
    }

    async fn register(&self, server: &ServerUrl, name: &str, key: &PrivateKey) -> Result<(), RegisterError> {
        let registration = Box::new(Registration::sign(name.parse().unwrap(), key, None).unwrap());
        let server = server.clone();
        let register = |reply| NameMessage::Register { server, registration, reply };
        self.root.port().ask(PATIENCE, register).await.unwrap()
    }

    /// Waits for an answer while virtual time passes, but none while a request is under way.
    async fn patiently<T>(&self, answer: impl Future<Output = T>) -> T {
        let idle = async || {
            while self.environment.tree().rows().iter().any(|row| row.tasks > 0) {
                tokio::task::yield_now().await;
            }
        };
        tokio::pin!(answer);
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
                () = idle() => virtual_time::pass(5).await,
            }
        }
    }

    async fn stop(self) {
        assert!(self.root.shutdown(PATIENCE).await.complete);
    }
}

fn alice() -> PrivateKey {
    Recorded::new("newest", "alice").open().account_key
}

fn other() -> PrivateKey {
    Recorded::new("jami-13.11.0", "alice").open().account_key
}

fn signed(account: AccountId) -> Answer {
    Ok(Some(Found::Account(Resolution { account, evidence: Evidence::Signed })))
}

#[test]
fn names_are_registered_and_found_both_ways_and_survive_the_server_and_the_client() {
    run(async {
        let (names, known) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (server, client) = (Serving::start(names.path()).await, Client::start(known.path()));
        let (alice, other) = (alice(), other());
        let (id, name): (_, Name) = (alice.public().account_id(), "alice".parse().unwrap());
        assert_eq!(client.account(&server.url, "alice").await, Ok(None));
        assert_eq!(client.register(&server.url, "Alice", &alice).await, Ok(()));
        assert_eq!(client.register(&server.url, "alice", &other).await, Err(RegisterError::Taken));
        assert_eq!(client.register(&server.url, "second", &alice).await, Err(RegisterError::Taken));
        assert_eq!(client.account(&server.url, "ALICE").await, signed(id));
        let url = server.url.clone();
        client.stop().await;
        server.stop().await;

        // The client knows it still, without a server.
        let client = Client::start(known.path());
        assert_eq!(client.account(&url, "alice").await, signed(id));
        client.stop().await;

        // The server knows it still, and tells a client that does not.
        let server = Serving::start(names.path()).await;
        let client = Client::start(&known.path().join("elsewhere"));
        assert_eq!(client.account(&server.url, "alice").await, signed(id));
        let elsewhere = Client::start(&known.path().join("third"));
        let found = Found::Name { name, evidence: Evidence::Signed };
        assert_eq!(elsewhere.ask(&server.url, About::Account(id)).await, Ok(Some(found)));
        let search = About::Search("ali".into());
        let Ok(Some(Found::Profiles(profiles))) = elsewhere.ask(&server.url, search).await else { panic!() };
        assert_eq!(profiles[0]["username"], "alice");
        for client in [client, elsewhere] {
            client.stop().await;
        }
        server.stop().await;
    });
}

#[test]
fn a_torn_log_is_mended_and_a_second_server_on_one_folder_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = NameServer::open(folder.path()).unwrap();
    assert!(matches!(NameServer::open(folder.path()), Err(StoreError::Locked(_))));
    drop(server);
    let path = folder.path().join("names.log");
    let whole = std::fs::read(&path).unwrap();
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"\xfe\x5b half").unwrap();
    let (mut store, registry) = NameStore::open(folder.path()).unwrap();
    assert!(registry.is_empty());
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    store.append(b"record").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), [&whole[..], b"record"].concat());
    drop(store);
    std::fs::write(&path, b"something else").unwrap();
    assert!(matches!(NameStore::open(folder.path()), Err(StoreError::Log { .. })));
}

#[test]
fn requests_that_are_none_are_answered_or_closed_and_the_server_goes_on() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let server = Serving::start(folder.path()).await;
        for (request, status) in [
            ("GET /name/nobody HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404"),
            ("GET /name/a HTTP/1.0\r\n\r\n", "HTTP/1.0 400"),
            ("GET http://x/name/nobody HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404"),
            ("BREW / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404"),
            ("POST /name/alice HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 400"),
            ("nonsense\r\n\r\n", "HTTP/1.1 400"),
            ("\u{16}\u{3}\u{1}", ""),
        ] {
            let answer = server.raw(request.as_bytes()).await;
            assert!(answer.starts_with(status), "{request}: {answer}");
        }
        let long = format!(
            "POST /name/alice HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n{}",
            "x".repeat(40_000)
        );
        assert!(!server.raw(long.as_bytes()).await.contains("200 OK"));
        let head = format!("GET /name/{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000));
        assert!(!server.raw(head.as_bytes()).await.contains("200 OK"));
        server.stop().await;
    });
}

#[test]
fn one_address_has_a_bounded_number_of_connections() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let server = Serving::start(folder.path()).await;
        let address = (server.url.host().to_owned(), server.url.port());
        let mut idle = Vec::new();
        for _ in 0..MAX_CONNECTIONS_PER_ADDRESS {
            idle.push(TcpStream::connect(address.clone()).await.unwrap());
        }
        let request = b"GET /name/nobody HTTP/1.1\r\nHost: x\r\n\r\n";
        // The next is closed without an answer, until one of the others has gone.
        assert_eq!(server.raw(request).await, "");
        drop(idle);
        let answered = async {
            while !server.raw(request).await.starts_with("HTTP/1.1 404") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.unwrap();
        server.stop().await;
    });
}

#[test]
fn an_address_that_registers_without_end_is_told_to_come_again() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let server = Serving::start(folder.path()).await;
        let request = b"POST /name/alice HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
        for _ in 0..20 {
            assert!(server.raw(request).await.starts_with("HTTP/1.1 400"));
        }
        let refused = server.raw(request).await;
        assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: "), "{refused}");
        let found = server.raw(b"GET /name/nobody HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(found.starts_with("HTTP/1.1 404"), "{found}");
        server.stop().await;
    });
}

#[test]
fn a_server_stops_though_a_client_says_nothing_or_half_of_something() {
    virtual_time::run(async {
        let folder = tempfile::tempdir().unwrap();
        let server = Serving::start(folder.path()).await;
        let address = (server.url.host().to_owned(), server.url.port());
        let _silent = TcpStream::connect(address.clone()).await.unwrap();
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(b"POST /name/alice HTTP/1.1\r\nContent-Le").await.unwrap();
        server.stop.send(true).unwrap();
        let mut seconds = 0;
        while !server.task.is_finished() {
            virtual_time::pass(1).await;
            seconds += 1;
        }
        assert!(seconds < 10, "{seconds}");
    });
}

#[test]
fn a_log_damaged_in_the_middle_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let (server, client) = (Serving::start(folder.path()).await, Client::start(folder.path()));
        assert_eq!(client.register(&server.url, "alice", &alice()).await, Ok(()));
        assert_eq!(client.register(&server.url, "other", &other()).await, Ok(()));
        client.stop().await;
        server.stop().await;
    });
    let path = folder.path().join("names.log");
    let mut log = std::fs::read(&path).unwrap();
    log[100] ^= 1;
    std::fs::write(&path, &log).unwrap();
    let error = NameServer::open(folder.path()).unwrap_err();
    assert!(error.to_string().contains("whole records follow at byte"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), log, "nothing is cut off");
}

/// A server that answers everything with the same bytes.
struct Scripted {
    url: ServerUrl,
    /// Requests it has read.
    asked: Rc<Cell<usize>>,
    /// Those of them whose clients have gone.
    left: Rc<Cell<usize>>,
}

/// What a [`Scripted`] does when it has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Closes,
    IsSilent,
    SaysItAgain,
}

impl Scripted {
    async fn start(answer: impl Into<Vec<u8>>, then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let (asked, left, answer) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)), answer.into());
        let scripted = Self { url, asked: Rc::clone(&asked), left: Rc::clone(&left) };
        tokio::task::spawn_local(async move {
            loop {
                let Ok((mut stream, _)) = listener.accept().await else { return };
                let (asked, left, answer) = (Rc::clone(&asked), Rc::clone(&left), answer.clone());
                tokio::task::spawn_local(async move {
                    let _ = stream.read(&mut [0; 4096]).await;
                    asked.set(asked.get() + 1);
                    let mut sent = stream.write_all(&answer).await;
                    while then == Then::SaysItAgain && sent.is_ok() {
                        sent = stream.write_all(&answer).await;
                    }
                    if then != Then::Closes {
                        let _ = stream.read(&mut [0; 4096]).await;
                    }
                    left.set(left.get() + 1);
                });
            }
        });
        scripted
    }
}

fn http(status: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    [format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}\r\n").as_bytes(), body].concat()
}

#[test]
fn servers_that_answer_garbage_too_much_or_elsewhere_are_errors_at_once() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::start(folder.path());
        let long = vec![b' '; 2 * MAX_ANSWER];
        let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
        let endless =
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice(), &chunk.repeat(17)];
        for (answer, then, error) in [
            (http("200 OK", "", b"{{{"), Then::Closes, AskError::Garbage),
            (http("200 OK", "", br#"{"addr":"zzz"}"#), Then::Closes, AskError::NoAccount),
            (http("200 OK", "", &long), Then::Closes, AskError::TooLong),
            // Without a length, and without an end.
            (b"HTTP/1.1 200 OK\r\n\r\n          ".repeat(50_000), Then::SaysItAgain, AskError::TooLong),
            (endless.concat(), Then::IsSilent, AskError::TooLong),
            (http("400 Bad Request", "", b""), Then::Closes, AskError::NotAccepted),
            (http("302 Found", "Location: ftp://x\r\n", b""), Then::Closes, AskError::Redirected),
        ] {
            let server = Scripted::start(answer, then).await;
            assert_eq!(client.account(&server.url, "alice").await, Err(error));
            assert_eq!(server.asked.get(), 1);
        }
        let turned = http("200 OK", "", "{\"name\":\"ali\u{202e}ce\"}".as_bytes());
        let server = Scripted::start(turned, Then::Closes).await;
        let answer = client.ask(&server.url, About::Account(AccountId([1; 20]))).await;
        assert_eq!(answer, Err(AskError::NoName(NameError::Character('\u{202e}'))));
        client.stop().await;
    });
}

#[test]
fn a_server_that_does_not_speak_http_is_asked_three_times() {
    virtual_time::run(async {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::start(folder.path());
        let head = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'x'; 200_000]].concat();
        for answer in [Vec::new(), b"\x16\x03\x01 no HTTP\r\n\r\n".to_vec(), head] {
            let server = Scripted::start(answer, Then::Closes).await;
            let answer = client.patiently(client.account(&server.url, "alice")).await;
            assert_eq!((answer, server.asked.get()), (Err(AskError::Unreachable), 3));
        }
        client.stop().await;
    });
}

#[test]
fn a_server_that_is_silent_or_stops_half_way_costs_three_times_half_a_minute() {
    virtual_time::run(async {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::start(folder.path());
        let half = http("200 OK", "", &[b' '; 1000]);
        for answer in [Vec::new(), b"HTTP/1.1 200 OK\r\nContent-".to_vec(), half[..half.len() - 1].to_vec()] {
            let server = Scripted::start(answer, Then::IsSilent).await;
            let time_passes = async {
                for request in 1..=3 {
                    virtual_time::until(|| server.asked.get() == request).await;
                    virtual_time::pass(29).await;
                    assert_eq!(server.left.get(), request - 1, "it may take that long");
                    virtual_time::pass(1).await;
                    virtual_time::until(|| server.left.get() == request).await;
                    // Longer than any pause.
                    virtual_time::pass(10).await;
                }
            };
            let (answer, ()) = tokio::join!(client.account(&server.url, "alice"), time_passes);
            assert_eq!((answer, server.asked.get()), (Err(AskError::TimedOut), 3));
        }
        client.stop().await;
    });
}

#[test]
fn a_server_that_was_down_answers_when_it_is_back() {
    virtual_time::run(async {
        let (names, known) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url: ServerUrl = format!("http://{address}").parse().unwrap();
        let client = Client::start(known.path());
        let back = async {
            // It takes a connection and ends.
            drop(listener.accept().await.unwrap());
            drop(listener);
            let listener = TcpListener::bind(address).await.unwrap();
            let (stop, stopped) = watch::channel(false);
            let server = Arc::new(NameServer::open(names.path()).unwrap());
            (stop, tokio::task::spawn_local(server.serve(listener, stopped)))
        };
        let (answer, (stop, serving)) = tokio::join!(client.patiently(client.account(&url, "nobody")), back);
        assert_eq!(answer, Ok(None));
        stop.send(true).unwrap();
        serving.await.unwrap();
        client.stop().await;
    });
}

#[test]
fn a_redirection_is_followed_to_another_server() {
    run(async {
        let (names, known) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (server, client) = (Serving::start(names.path()).await, Client::start(known.path()));
        let alice = alice();
        assert_eq!(client.register(&server.url, "alice", &alice).await, Ok(()));
        let location = format!("Location: {}/name/alice\r\n", server.url);
        let elsewhere = Scripted::start(http("302 Found", &location, b""), Then::Closes).await;
        assert_eq!(client.account(&elsewhere.url, "alice").await, signed(alice.public().account_id()));
        client.stop().await;
        server.stop().await;
    });
}

#[test]
fn names_that_lists_want_are_told_by_an_event_and_shown_from_then_on() {
    run(async {
        let (names, known) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let server = Serving::start(names.path()).await;
        let (alice, nobody) = (alice(), AccountId([9; 20]));
        let id = alice.public().account_id();
        let registrar = Client::start(&names.path().join("registrar"));
        assert_eq!(registrar.register(&server.url, "alice", &alice).await, Ok(()));
        registrar.stop().await;

        let url = server.url.clone();
        let mut client = Client::start_with(known.path(), |config| config.server = Some(url));
        assert_eq!(client.known([id, nobody]).await, BTreeMap::new());
        let told = client.events.recv().await.unwrap();
        assert_eq!(told.event, Event::NameFound { person: id, name: "alice".to_owned() });
        let expected = BTreeMap::from([(id, "alice".parse().unwrap())]);
        assert_eq!(client.known([id, nobody]).await, expected);
        client.root.port().send(NameMessage::Want(BTreeSet::from([id, nobody]))).await.unwrap();
        // Asked by somebody who waits, it is no news.
        let found = client.ask(&server.url, About::Account(id)).await;
        assert!(matches!(found, Ok(Some(Found::Name { .. }))), "{found:?}");
        assert!(client.events.try_recv().is_err());
        client.stop().await;

        // Shown without the server, too.
        let url = server.url.clone();
        server.stop().await;
        let client = Client::start_with(known.path(), |config| config.server = Some(url));
        assert_eq!(client.known([id, nobody]).await, expected);
        client.stop().await;
    });
}

#[test]
fn a_server_is_asked_over_tls_if_its_certificate_is_good_and_not_otherwise() {
    const AUTHORITY: &[u8] =
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/spec/name-server/authority.pem"));
    const SERVER: &[u8] =
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/spec/name-server/server.pem"));
    virtual_time::run(async {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certificates = CertificateDer::pem_slice_iter(SERVER).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(SERVER).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Rc::new(Cell::new(0));
        let counted = Rc::clone(&requests);
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let Ok(1..) = stream.read(&mut [0; 4096]).await else { continue };
                counted.set(counted.get() + 1);
                let _ = stream.write_all(&http("404 Not Found", "", b"{}")).await;
                let _ = stream.shutdown().await;
            }
        });
        let trusting = |roots: RootCertStore| {
            let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
            let builder = builder.with_safe_default_protocol_versions().unwrap();
            Some(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
        };
        let mut good = RootCertStore::empty();
        good.add(CertificateDer::from_pem_slice(AUTHORITY).unwrap()).unwrap();
        for (host, roots, expected) in [
            ("127.0.0.1", good.clone(), Ok(None)),
            ("localhost", good.clone(), Ok(None)),
            // Not the name in the certificate.
            ("127.0.0.2", good, Err(AskError::Unreachable)),
            ("127.0.0.1", RootCertStore::empty(), Err(AskError::Unreachable)),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let client = Client::start_with(folder.path(), |config| config.tls = trusting(roots));
            let url: ServerUrl = format!("https://{host}:{port}").parse().unwrap();
            assert_eq!(client.patiently(client.account(&url, "nobody")).await, expected, "{host}");
            client.stop().await;
        }
        assert_eq!(requests.get(), 2, "nothing is said to a server that cannot prove who it is");
    });
}

#[test]
fn a_client_stops_at_once_though_servers_are_silent() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::start(folder.path());
        let server = Scripted::start("", Then::IsSilent).await;
        let question = Question { server: server.url, about: About::Name("alice".parse().unwrap()) };
        let (reply, answer) = crate::supervision::Reply::channel();
        client.root.port().send(NameMessage::Ask { question, reply }).await.unwrap();
        client.stop().await;
        assert!(answer.await.is_err(), "nobody waits for ever");
    });
}
