//! Handshakes with GnuTLS, the library of the reference, in the reference's settings. They need the
//! programs `gnutls-serv` and `gnutls-cli` (Debian: gnutls-bin) and say so when they are missing.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::testing::{Device, NOW};
use super::*;

/// The suites, groups and signatures of the reference, which include one without certificates.
const REFERENCE: &str = "SECURE192:+ANON-DH:+GROUP-X25519:-RSA:%SERVER_PRECEDENCE:%SAFE_RENEGOTIATION";
/// What is taken away from [`REFERENCE`] for a peer that knows one version only.
const VERSIONS: [&str; 3] = ["", ":-VERS-TLS1.3", ":-VERS-ALL:+VERS-TLS1.3"];
/// Far longer than any of this takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn start(program: &str, device: &Device, priority: &str, arguments: &[String]) -> Option<Child> {
    let child = Command::new(program)
        .arg(format!("--x509certfile={}.crt", device.files))
        .arg(format!("--x509keyfile={}.key", device.files))
        .arg(format!("--priority={priority}"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    if child.is_err() {
        println!("skipped: {program} is not installed (Debian package gnutls-bin)");
    }
    child.ok()
}

#[tokio::test]
async fn our_client_talks_to_a_gnutls_server() {
    let (alice, bob) = (Device::alice(), Device::load("jami-13.7.0/accounts/bob"));
    for version in VERSIONS {
        let port = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
        let arguments = ["--echo".to_owned(), "--require-client-cert".to_owned(), format!("--port={port}")];
        let Some(server) = start("gnutls-serv", &bob, &format!("{REFERENCE}{version}"), &arguments) else {
            return;
        };
        let talk = async {
            let socket = loop {
                match TcpStream::connect(("127.0.0.1", port)).await {
                    Ok(socket) => break socket,
                    Err(_) => tokio::task::yield_now().await,
                }
            };
            let role = IceRole::Controlling;
            let mut stream = secure(socket, role, &alice.identity, bob.id, NOW).await.unwrap();
            stream.write_all(b"hello\n").await.unwrap();
            stream.flush().await.unwrap();
            let mut echo = [0; 6];
            stream.read_exact(&mut echo).await.unwrap();
            assert_eq!(&echo, b"hello\n");
        };
        timeout(PATIENCE, talk).await.unwrap();
        drop(server);
    }
}

#[tokio::test]
async fn a_gnutls_client_talks_to_our_server() {
    let (alice, bob) = (Device::alice(), Device::load("jami-13.7.0/accounts/bob"));
    for version in VERSIONS {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let arguments = ["--insecure".to_owned(), format!("--port={port}"), "127.0.0.1".to_owned()];
        let Some(mut client) = start("gnutls-cli", &bob, &format!("{REFERENCE}{version}"), &arguments) else {
            return;
        };
        let talk = async {
            let (socket, _) = listener.accept().await.unwrap();
            let role = IceRole::Controlled;
            let mut stream = secure(socket, role, &alice.identity, bob.id, NOW).await.unwrap();
            client.stdin.as_mut().unwrap().write_all(b"hello\n").await.unwrap();
            let mut heard = [0; 6];
            stream.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"hello\n");
            stream.write_all(b"and good bye\n").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
            while let Some(line) = lines.next_line().await.unwrap() {
                if line == "and good bye" {
                    return true;
                }
            }
            false
        };
        assert!(timeout(PATIENCE, talk).await.unwrap());
    }
}
