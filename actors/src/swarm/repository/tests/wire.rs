//! Our server against the git program, and our client against git's server.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::fetch::{Fetch, FetchError};
use super::super::serve::{ServeError, Served};
use super::driver::{fetch, serve};
use super::*;

/// Far more than any of these tests needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// `git daemon` on the other end of two pipes.
struct Daemon {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
}

impl Daemon {
    /// Serves `<folder>/<conversation>`.
    fn start(folder: &Path) -> Self {
        let base = format!("--base-path={}", folder.display());
        let mut child = git_command(folder, &["daemon", "--inetd", "--export-all", &base])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, stdin, stdout }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Read for Daemon {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stdout.read(buffer)
    }
}

impl Write for Daemon {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stdin.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stdin.flush()
    }
}

/// The next connection; a peer that says nothing for too long ends it.
fn accept(listener: &TcpListener) -> TcpStream {
    let channel = listener.accept().unwrap().0;
    channel.set_read_timeout(Some(PATIENCE)).unwrap();
    channel
}

type Outcome = (Repository, Vec<Served>, Vec<ServeError>);

/// Serves `connections` one after the other; gives the repository back with what was served.
fn serve_with_git(repository: Repository, connections: usize) -> (String, JoinHandle<Outcome>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("git://127.0.0.1:{}/{CONVERSATION}", listener.local_addr().unwrap().port());
    let thread = std::thread::spawn(move || {
        let (mut all, mut errors) = (Vec::new(), Vec::new());
        for _ in 0..connections {
            let (served, ended) = serve(&repository, &mut accept(&listener));
            all.extend(served);
            errors.extend(ended.err());
        }
        (repository, all, errors)
    });
    (url, thread)
}

#[test]
fn git_clones_and_fetches_from_us_with_every_protocol_version() {
    if !git_is_here() {
        return;
    }
    for version in ["0", "1", "2"] {
        let version = format!("protocol.version={version}");
        let (folder, repository) = imported(BUNDLES[5]);
        let clone = folder.path().join("clone");
        let head = repository.head().unwrap().unwrap();
        let (url, thread) = serve_with_git(repository, 1);
        git(folder.path(), &["-c", &version, "clone", "-q", "--bare", &url, "clone"]);
        let (repository, served, errors) = thread.join().unwrap();
        assert_eq!(served, [Served::Sent(head)], "{errors:?}");
        assert_eq!(git(&clone, &["rev-parse", "main"]).trim(), head.to_hex());
        check_with_git(&clone);

        let newer = append(&repository, 3, "more");
        let (url, thread) = serve_with_git(repository, 2);
        git(&clone, &["-c", &version, "fetch", "-q", &url, "main:main"]);
        assert_eq!(git(&clone, &["rev-parse", "main"]).trim(), newer.to_hex());
        git(&clone, &["-c", &version, "fetch", "-q", &url, "main:main"]);
        let (_, served, errors) = thread.join().unwrap();
        assert_eq!(served, [Served::Sent(newer), Served::UpToDate(newer)], "{errors:?}");
        check_with_git(&clone);
    }
}

#[test]
fn git_with_any_number_of_commits_of_its_own_fetches_from_us() {
    if !git_is_here() {
        return;
    }
    for own in [1, 15, 16, 17, 31, 32, 33, 70, 300] {
        let (folder, repository) = imported(BUNDLES[3]);
        let path = repository.path().to_owned();
        git(folder.path(), &["clone", "-q", "--bare", path.to_str().unwrap(), "clone"]);
        let clone = folder.path().join("clone");
        let theirs = Repository::open(&path).unwrap();
        drop(theirs);
        let mut stream = String::new();
        for number in 0..own {
            let from = if number == 0 { "from refs/heads/main^0\n" } else { "" };
            let text = format!("own {number}");
            stream += &format!(
                "commit refs/heads/own\ncommitter n <e> {} +0000\ndata {}\n{text}\n{from}\n",
                2_000_000_000 + number,
                text.len()
            );
        }
        let mut child =
            git_command(&clone, &["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());

        let newer = append(&repository, 2, "more");
        let (url, thread) = serve_with_git(repository, 1);
        git(&clone, &["fetch", "-q", &url, "main:main"]);
        let (_, served, errors) = thread.join().unwrap();
        assert_eq!(served, [Served::Sent(newer)], "{own} {errors:?}");
        assert_eq!(git(&clone, &["rev-parse", "main"]).trim(), newer.to_hex());
        check_with_git(&clone);
    }
}

#[test]
fn we_clone_and_fetch_from_gits_own_server() {
    if !git_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(CONVERSATION.to_hex());
    let theirs = Repository::import_bundle(&bundle(BUNDLES[5]), &path).unwrap();
    let mut ours = Repository::create(&folder.path().join("ours")).unwrap();
    let run = |ours: &Repository| {
        fetch(ours, &mut Daemon::start(folder.path()), Fetch::new(CONVERSATION, SERVER)).unwrap()
    };
    let cloned = run(&ours);
    assert_eq!(take_in(&mut ours, cloned).len(), history_length(&theirs));
    check_with_git(ours.path());
    assert_eq!(Some(up_to_date(run(&ours))), ours.head().unwrap());

    let newer = append(&theirs, 3, "more");
    let fetched = run(&ours);
    assert_eq!(take_in(&mut ours, fetched).len(), 3);
    assert_eq!(ours.head().unwrap(), Some(newer));

    // More than twenty commits of our own, then git's own deltas.
    append(&ours, 25, "ours");
    let last = append(&theirs, 90, "theirs");
    git(&path, &["repack", "-q", "-a", "-d", "-f"]);
    let new = stored(&ours, run(&ours));
    assert_eq!((new.head, new.commits.len()), (last, 90));
    ours.admit(new.quarantine).unwrap();
    check_with_git(ours.path());
}

#[test]
fn several_fetches_run_on_one_connection() {
    let (_theirs, theirs) = imported(BUNDLES[0]);
    let (_ours, mut ours) = empty();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (served, ended) = serve(&theirs, &mut accept(&listener));
        assert!(ended.is_ok(), "{ended:?}");
        served
    });
    let mut channel = TcpStream::connect(address).unwrap();
    let request = || Fetch::new(CONVERSATION, SERVER);
    let first = fetch(&ours, &mut channel, request()).unwrap();
    take_in(&mut ours, first);
    for _ in 0..3 {
        let again = fetch(&ours, &mut channel, request()).unwrap();
        assert_eq!(Some(up_to_date(again)), ours.head().unwrap());
    }
    drop(channel);
    assert_eq!(thread.join().unwrap().len(), 4);
}

#[test]
fn a_closing_peer_ends_the_fetch_at_once() {
    let (_ours, ours) = empty();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut channel = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    accept(&listener).shutdown(std::net::Shutdown::Write).unwrap();
    let ended = fetch(&ours, &mut channel, Fetch::new(CONVERSATION, SERVER));
    assert!(matches!(ended, Err(FetchError::Download(_))));
}
