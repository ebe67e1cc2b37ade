//! SIP accounts at a real registrar, Kamailio, which each test starts for itself on loopback.
//!
//! Without it, each test says so in one line and ends.

#![allow(clippy::print_stderr, reason = "that is how a test tells that it was skipped")]

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use skep::rpc::schema::method::{SipCreate, SipDescribe, SipList, SipRemove, SipSend};
use skep::rpc::schema::{AccountParams, Nothing, Secret, SipCreateParams, SipSendParams};
use skep::{Event, SipState};
use skep_protocol::ids::LocalAccountId;
use skep_protocol::sip::agent::Transport;
use skep_tests::harness::{Mark, Node, NodeSetup, Place, Process, find_program, run, until};
use tempfile::TempDir;

use super::skep;

/// Who the registrar is.
const DOMAIN: &str = "skep.example";

/// Longest registration that it grants, in seconds: they are renewed while a test runs.
const LONGEST: u32 = 8;

/// A password that nobody has; like the middle of Alice's, it stands nowhere by chance.
const WRONG: &str = "wR0ng9fJtUb2";

/// Whom it knows.
const ALICE: (&str, &str) = ("alice", "one \"q7Zk4vXe\" alice");
const BOB: (&str, &str) = ("bob", "one for bob");

fn program() -> Option<PathBuf> {
    // Not in everybody's path.
    let usual = Path::new("/usr/sbin/kamailio");
    find_program("kamailio").or_else(|| usual.is_file().then(|| usual.to_owned()))
}

/// A registrar, ended when dropped.
struct Registrar {
    process: Process,
    port: u16,
    secure_port: u16,
    folder: PathBuf,
}

/// A port that nobody has, neither for datagrams nor for connections.
fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// The certificate of 127.0.0.1, and who signed it.
fn certificate(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/data/spec/name-server")).join(name)
}

impl Registrar {
    async fn start(place: &TempDir, algorithm: &str) -> Self {
        let folder = place.path().join("registrar");
        std::fs::create_dir_all(&folder).unwrap();
        let (port, secure_port) = (free_port(), free_port());
        let (pem, (alice, for_alice), (bob, for_bob)) = (certificate("server.pem"), ALICE, BOB);
        let (pem, for_alice) = (pem.display(), for_alice.replace('"', "\\\""));
        let configuration = format!(
            r#"#!KAMAILIO
debug=1
log_stderror=yes
children=2
tcp_children=2
auto_aliases=no
enable_tls=yes
listen=udp:127.0.0.1:{port}
listen=tcp:127.0.0.1:{port}
listen=tls:127.0.0.1:{secure_port}
alias="{DOMAIN}"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
loadmodule "tls.so"
modparam("usrloc", "db_mode", 0)
modparam("registrar", "min_expires", 4)
modparam("registrar", "max_expires", {LONGEST})
modparam("registrar", "default_expires", {LONGEST})
modparam("auth", "nonce_expire", 20)
modparam("auth", "nonce_count", 1)
modparam("auth", "qop", "auth")
modparam("auth", "algorithm", "{algorithm}")
modparam("tls", "private_key", "{pem}")
modparam("tls", "certificate", "{pem}")
modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "verify_certificate", 0)
modparam("tls", "require_certificate", 0)
request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (is_method("OPTIONS")) {{ sl_send_reply("200", "OK"); exit; }}
    $var(password) = $null;
    if ($au == "{alice}") $var(password) = "{for_alice}";
    if ($au == "{bob}") $var(password) = "{for_bob}";
    if (is_method("REGISTER")) {{
        if (!pv_www_authenticate("$td", "$var(password)", "0")) {{ www_challenge("$td", "1"); exit; }}
        if (!save("location")) {{ sl_reply_error(); }}
        exit;
    }}
    if (is_method("MESSAGE")) {{
        if (!pv_proxy_authenticate("$fd", "$var(password)", "0")) {{ proxy_challenge("$fd", "1"); exit; }}
        consume_credentials();
        if (!lookup("location")) {{ sl_send_reply("404", "Not Found"); exit; }}
        if (!t_relay()) {{ sl_reply_error(); }}
        exit;
    }}
    sl_send_reply("405", "Method Not Allowed");
}}
"#
        );
        std::fs::write(folder.join("kamailio.cfg"), configuration).unwrap();
        let process = Self::launch(&folder);
        let mut registrar = Self { process, port, secure_port, folder };
        registrar.listens().await;
        registrar
    }

    fn launch(folder: &Path) -> Process {
        let (program, log) = (program().unwrap(), folder.join("log"));
        let place = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let (configuration, here, pid) = (place("kamailio.cfg"), place(""), place("pid"));
        let arguments =
            ["-DD", "-E", "-m", "32", "-M", "4", "-f", &configuration, "-Y", &here, "-w", &here, "-P", &pid];
        Process::start("kamailio", &Place::loopback(), &program, &arguments, &[], &log).unwrap()
    }

    async fn listens(&mut self) {
        let (log, ports) = (self.folder.join("log"), [self.port, self.secure_port]);
        let process = &mut self.process;
        let look = async || {
            let ended = process.ended();
            assert!(ended.is_none(), "{ended:?} {}", std::fs::read_to_string(&log).unwrap_or_default());
            let open =
                ports.iter().all(|port| std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok());
            Ok(open.then_some(()))
        };
        until("kamailio", "that it listens", look).await.unwrap();
    }

    /// Ends it; it forgets who is registered.
    fn stop(&mut self) {
        // Its children end with it only if it is asked.
        self.process.terminate();
        let begun = Instant::now();
        while self.process.ended().is_none() && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    async fn restart(&mut self) {
        self.process = Self::launch(&self.folder);
        self.listens().await;
    }

    fn account(&self, (name, password): (&str, &str), transport: Transport) -> SipCreateParams {
        let secure = transport == Transport::Tls;
        let port = if secure { self.secure_port } else { self.port };
        SipCreateParams {
            address: format!("sip:{name}@{DOMAIN}"),
            password: Secret::new(password.to_owned()),
            transport,
            server: Some(format!("127.0.0.1:{port}")),
            login: None,
            authorities: secure.then(|| std::fs::read_to_string(certificate("authority.pem")).unwrap()),
            expiry_seconds: None,
        }
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs a test, if there is a registrar to run it with.
fn with_registrar(algorithm: &'static str, test: impl AsyncFnOnce(&TempDir, Registrar)) {
    if program().is_none() {
        eprintln!("skipped: no kamailio; apt-get install kamailio kamailio-tls-modules");
        return;
    }
    run(async {
        let place = tempfile::tempdir().unwrap();
        let registrar = Registrar::start(&place, algorithm).await;
        test(&place, registrar).await;
    });
}

/// A node with a SIP account that is registered.
async fn registered(name: &str, place: &TempDir, params: SipCreateParams) -> (Node, LocalAccountId) {
    let mut node = NodeSetup::new(name, place.path()).start().await.unwrap();
    let mark = node.events().mark();
    let account = node.call(SipCreate, params).await.unwrap().account;
    becomes_registered(&node, account, mark).await;
    (node, account)
}

async fn becomes_registered(node: &Node, account: LocalAccountId, since: Mark) {
    let registered = |event: &skep::NodeEvent| match &event.event {
        Event::SipRegistration { registration: SipState::Registered { .. } } => {
            (event.account == account).then_some(())
        }
        _ => None,
    };
    node.events().wait(since, "that the account is registered", registered).await.unwrap();
}

/// Waits until an account is told not to be registered; why.
async fn fails(node: &Node, account: LocalAccountId, since: Mark) -> String {
    let failed = |event: &skep::NodeEvent| match &event.event {
        Event::SipRegistration { registration: SipState::Failed { problem, .. } } => {
            (event.account == account).then(|| problem.clone())
        }
        _ => None,
    };
    node.events().wait(since, "that the account is not registered", failed).await.unwrap()
}

/// Sends a text, and waits until it has come.
async fn says(
    from: &mut (Node, LocalAccountId),
    to: &(Node, LocalAccountId),
    names: (&str, &str),
    text: &str,
) {
    let mark = to.0.events().mark();
    let address = format!("sip:{}@{DOMAIN}", names.1);
    let params = SipSendParams { account: from.1, to: address, text: text.to_owned() };
    from.0.call(SipSend, params).await.unwrap();
    let said = |event: &skep::NodeEvent| match &event.event {
        Event::SipMessage { from, text, .. } if event.account == to.1 => Some((from.clone(), text.clone())),
        _ => None,
    };
    let came = to.0.events().wait(mark, "a message", said).await.unwrap();
    assert_eq!(came, (format!("sip:{}@{DOMAIN}", names.0), text.to_owned()));
}

/// Whether a registration is renewed while nothing else happens.
async fn stays_registered(node: &mut Node, account: LocalAccountId) {
    let begun = Instant::now();
    let mark = node.events().mark();
    let look = async || {
        let SipState::Registered { seconds } = node.call(SipDescribe, AccountParams { account }).await?.state
        else {
            panic!("it is not registered any more");
        };
        // Longer than one lasts, and just renewed.
        let renewed = begun.elapsed() > Duration::from_secs(u64::from(LONGEST) + 2)
            && seconds >= u64::from(LONGEST) / 2;
        Ok(renewed.then_some(()))
    };
    until("a node", "a renewed registration", look).await.unwrap();
    let lost =
        node.events().find(mark, |event| matches!(event.event, Event::SipRegistration { .. }).then_some(()));
    assert!(lost.is_none(), "a renewal is no news");
}

/// Two people register over one transport, write to each other, and stay registered.
fn people_talk_over(transport: Transport, algorithm: &'static str) {
    with_registrar(algorithm, async |place, registrar| {
        let mut alice = registered("alice", place, registrar.account(ALICE, transport)).await;
        let mut bob = registered("bob", place, registrar.account(BOB, transport)).await;
        says(&mut alice, &bob, ("alice", "bob"), "Hällo Bob").await;
        says(&mut bob, &alice, ("bob", "alice"), "Hello\r\n\r\nAlice").await;
        stays_registered(&mut alice.0, alice.1).await;
        for number in 0..5 {
            says(&mut alice, &bob, ("alice", "bob"), &format!("number {number}")).await;
        }
        says(&mut bob, &alice, ("bob", "alice"), "yes").await;
        alice.0.stop().await.unwrap();
        bob.0.stop().await.unwrap();
    });
}

#[test]
fn people_register_over_udp_and_write_to_each_other() {
    people_talk_over(Transport::Udp, "MD5");
}

#[test]
fn people_register_over_tcp_and_write_to_each_other() {
    people_talk_over(Transport::Tcp, "SHA-256");
}

#[test]
fn people_register_over_tls_and_write_to_each_other() {
    people_talk_over(Transport::Tls, "SHA-256");
}

#[test]
fn a_wrong_password_and_a_certificate_of_strangers_are_told_as_what_they_are() {
    with_registrar("MD5", async |place, registrar| {
        let mut node = NodeSetup::new("alice", place.path()).start().await.unwrap();
        for transport in [Transport::Udp, Transport::Tcp] {
            let mark = node.events().mark();
            let wrong = registrar.account(("alice", WRONG), transport);
            let account = node.call(SipCreate, wrong).await.unwrap().account;
            assert_eq!(fails(&node, account, mark).await, "the server does not take this name and password");
            let send = SipSendParams { account, to: "sip:bob@skep.example".to_owned(), text: "x".to_owned() };
            assert!(
                node.ask(SipSend, send).await.unwrap().unwrap_err().to_string().contains("not registered")
            );
            node.call(SipRemove, AccountParams { account }).await.unwrap();
        }
        let mark = node.events().mark();
        let strange = SipCreateParams { authorities: None, ..registrar.account(ALICE, Transport::Tls) };
        let account = node.call(SipCreate, strange).await.unwrap().account;
        let problem = fails(&node, account, mark).await;
        assert!(problem.contains("cannot be reached"), "{problem}");
        let log = std::fs::read_to_string(node.setup().log()).unwrap();
        assert!(!log.contains(WRONG) && !log.contains("q7Zk4vXe"), "passwords are in no log");
        node.stop().await.unwrap();
    });
}

#[test]
fn a_registrar_that_restarts_has_everybody_again_soon() {
    with_registrar("MD5", async |place, mut registrar| {
        let mut alice = registered("alice", place, registrar.account(ALICE, Transport::Tcp)).await;
        let mut bob = registered("bob", place, registrar.account(BOB, Transport::Udp)).await;
        says(&mut bob, &alice, ("bob", "alice"), "before").await;
        let marks = (alice.0.events().mark(), bob.0.events().mark());
        registrar.stop();
        fails(&alice.0, alice.1, marks.0).await;
        fails(&bob.0, bob.1, marks.1).await;
        let marks = (alice.0.events().mark(), bob.0.events().mark());
        registrar.restart().await;
        becomes_registered(&alice.0, alice.1, marks.0).await;
        becomes_registered(&bob.0, bob.1, marks.1).await;
        says(&mut bob, &alice, ("bob", "alice"), "after").await;
        says(&mut alice, &bob, ("alice", "bob"), "after").await;
        alice.0.stop().await.unwrap();
        bob.0.stop().await.unwrap();
    });
}

#[test]
fn accounts_outlive_the_node_and_who_goes_is_not_written_to_any_more() {
    with_registrar("MD5", async |place, registrar| {
        let mut alice = registered("alice", place, registrar.account(ALICE, Transport::Tcp)).await;
        let mut bob = registered("bob", place, registrar.account(BOB, Transport::Tcp)).await;
        alice.0.stop().await.unwrap();
        let send = |account| SipSendParams {
            account,
            to: "sip:alice@skep.example".to_owned(),
            text: "x".to_owned(),
        };
        let refused = bob.0.ask(SipSend, send(bob.1)).await.unwrap().unwrap_err().to_string();
        assert!(refused.contains("404"), "{refused}");
        alice.0.restart().await.unwrap();
        let look = async || {
            let accounts = alice.0.call(SipList, Nothing {}).await?.accounts;
            Ok(matches!(accounts[0].state, SipState::Registered { .. }).then_some(()))
        };
        until("alice", "that the account is registered again", look).await.unwrap();
        says(&mut bob, &alice, ("bob", "alice"), "you again").await;
        alice.0.kill();
        bob.0.stop().await.unwrap();
    });
}

#[test]
fn accounts_are_made_shown_used_and_removed_from_the_command_line() {
    with_registrar("MD5", async |place, registrar| {
        let mut bob = registered("bob", place, registrar.account(BOB, Transport::Udp)).await;
        let mut node = NodeSetup::new("alice", place.path()).start().await.unwrap();
        let data = node.setup().data().to_owned();
        let file = place.path().join("password");
        std::fs::write(&file, ALICE.1).unwrap();
        let (file, server) = (file.to_str().unwrap(), format!("127.0.0.1:{}", registrar.port));
        let shows = |words: &[&str]| {
            let output = skep(&data, words);
            assert!(output.status.success(), "{words:?} {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let create = [
            "sip",
            "create",
            "alice@skep.example",
            "--transport",
            "tcp",
            "--server",
            &server,
            "--password-file",
            file,
        ];
        assert!(shows(&create).contains("sip:alice@skep.example"));
        let look = async || Ok(shows(&["sip", "list"]).contains("registered, to be").then_some(()));
        until("alice", "a registered account in the list", look).await.unwrap();
        let mark = bob.0.events().mark();
        shows(&["sip", "send", "alice", "sip:bob@skep.example", "from a shell"]);
        let said = |event: &skep::NodeEvent| match &event.event {
            Event::SipMessage { text, .. } => Some(text.clone()),
            _ => None,
        };
        assert_eq!(bob.0.events().wait(mark, "a message", said).await.unwrap(), "from a shell");
        let nobody = skep(&data, &["sip", "send", "alice", "sip:nobody@skep.example", "x"]);
        assert!(String::from_utf8_lossy(&nobody.stderr).contains("404"));
        assert!(shows(&["sip", "show", "sip:alice"]).contains(&server));
        shows(&["sip", "remove", "alice", "--yes"]);
        assert!(shows(&["sip", "list"]).contains("none"));
        node.stop().await.unwrap();
        bob.0.stop().await.unwrap();
    });
}
