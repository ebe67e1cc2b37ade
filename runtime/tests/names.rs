//! `skep names serve` as a process, spoken to as any client does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What a client of 2023 sent to register this name for this account.
const BODY: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/spec/name-server/registration.json"));
const NAME: &str = "alicetest";
const ACCOUNT: &str = "30e629015fcb780a18681348f8b8c4853f01c13f";

/// A name server that is killed if the test fails before it has stopped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_skep"))
            .args(["names", "serve", "--listen", "127.0.0.1:0"])
            .env("SKEP_DATA_DIR", folder)
            .env_remove("SKEP_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once("http://").unwrap().1.to_owned();
        Self { child, address }
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all((head + body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already where it was told to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_registered_name_survives_that_the_name_server_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    assert_eq!(server.exchange("POST", &format!("/name/{NAME}"), BODY), r#"{"success":true}"#);
    drop(server);
    let mut server = Server::start(folder.path());
    let found = server.exchange("GET", &format!("/name/{NAME}"), "");
    assert!(found.starts_with(&format!(r#"{{"name":"{NAME}","addr":"{ACCOUNT}","publickey":""#)), "{found}");
    assert_eq!(server.exchange("GET", &format!("/addr/{ACCOUNT}"), ""), format!(r#"{{"name":"{NAME}"}}"#));
    assert_eq!(server.exchange("GET", "/name/nobody", ""), r#"{"error":"name not registred"}"#);
    let pid = rustix::process::Pid::from_child(&server.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(server.child.wait().unwrap().success());
}
