//! The program `skep` as a process: what its user, its service manager and its clients see.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn skep(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.env("SKEP_DHT_LISTEN", "127.0.0.1:0").env("SKEP_DATA_DIR", folder);
    command.env_remove("SKEP_CONFIG").env_remove("SKEP_SOCKET").env_remove("SKEP_ACCOUNT");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(folder: &Path, words: &[&str]) -> Output {
    skep(folder).args(words).output().unwrap()
}

/// A daemon that is killed if the test fails before it has stopped.
struct Daemon(Child);

impl Daemon {
    /// Starts a daemon and waits until it can be spoken to.
    fn start(folder: &Path) -> Self {
        let daemon = Self(skep(folder).arg("run").stderr(Stdio::null()).spawn().unwrap());
        let begun = Instant::now();
        while !folder.join("control.sock").exists() {
            assert!(begun.elapsed() < PATIENCE, "the daemon does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        daemon
    }

    fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already where all went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn is_one_line(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("skep: ") && output.stdout.is_empty(), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing from {text}");
    }
}

#[test]
fn a_daemon_is_asked_and_stops_in_order_on_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(folder.path());
    let info = run(folder.path(), &["node", "info", "--json"]);
    let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    assert_eq!(info["pid"], daemon.0.id());
    is_one_line(&run(folder.path(), &["account", "show"]), 2, &["no account", "skep account create"]);
    let health = run(folder.path(), &["node", "health"]);
    assert_eq!(health.status.code(), Some(1), "nobody else is there");
    let pid = rustix::process::Pid::from_child(&daemon.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(daemon.ended(), Some(0));
    assert!(!folder.path().join("control.sock").exists());
}

#[test]
fn a_second_daemon_on_one_folder_names_the_first_and_leaves_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(folder.path());
    let second = run(folder.path(), &["run"]);
    is_one_line(&second, 1, &["in use by process", &daemon.0.id().to_string()]);
    assert!(run(folder.path(), &["node", "shutdown"]).status.success());
    assert_eq!(daemon.ended(), Some(0));
}

#[test]
fn a_daemon_that_was_killed_leaves_nothing_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    drop(Daemon::start(folder.path()));
    assert!(folder.path().join("control.sock").exists(), "killed, it could not tidy up");
    let mut words = skep(folder.path());
    let mut daemon = Daemon(words.arg("run").stderr(Stdio::null()).spawn().unwrap());
    let begun = Instant::now();
    while !run(folder.path(), &["node", "shutdown"]).status.success() {
        assert!(begun.elapsed() < PATIENCE, "the daemon does not listen again");
    }
    assert_eq!(daemon.ended(), Some(0));
}

#[test]
fn on_stdio_a_node_serves_one_client_and_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = skep(folder.path())
        .args(["run", "--stdio"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut daemon = Daemon(child);
    for id in 1..=3 {
        writeln!(input, r#"{{"jsonrpc": "2.0", "id": {id}, "method": "node.info"}}"#).unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let reply: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(reply["id"], id);
    }
    drop(input);
    assert_eq!(daemon.ended(), Some(0));
}

#[test]
fn what_cannot_work_is_one_line_on_standard_error() {
    let folder = tempfile::tempdir().unwrap();
    is_one_line(&run(folder.path(), &["message", "send"]), 2, &["CONVERSATION", "--help"]);
    is_one_line(&run(folder.path(), &["fly"]), 2, &["fly"]);
    is_one_line(&run(folder.path(), &["account", "list"]), 1, &["no node answers", "skep run"]);
    let config = folder.path().join("skep.toml");
    std::fs::write(&config, "[rpc]\nunixx = 'x'\n").unwrap();
    is_one_line(&run(folder.path(), &["--config", config.to_str().unwrap(), "run"]), 1, &["line 2", "unixx"]);
    std::fs::write(&config, "[dht]\nbootstrap = ['no such:thing']\n").unwrap();
    is_one_line(&run(folder.path(), &["--config", config.to_str().unwrap(), "run"]), 1, &["no such:thing"]);
    std::fs::write(&config, "[log]\nfilter = '=='\n").unwrap();
    is_one_line(&run(folder.path(), &["--config", config.to_str().unwrap(), "run"]), 2, &["log.filter"]);
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let inside = run(&file.join("data"), &["run"]);
    is_one_line(&inside, 1, &["cannot be used"]);
}
