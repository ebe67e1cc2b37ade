//! The command line beyond its good days: passwords on a terminal, other users, mistakes.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use skep::rpc::schema::{Nothing, method};
use skep_tests::harness::{Golden, NodeSetup, Person, Result, program, run, until};

use super::{client_of, skep};

/// A command on a terminal of its own, which `script` makes.
struct Terminal {
    child: Child,
    screen: Arc<Mutex<String>>,
}

impl Terminal {
    fn start(data: &Path, words: &str) -> Self {
        let client: Vec<_> = client_of(data).into_iter().map(|it| it.into_string().unwrap()).collect();
        let line = format!("{} {} {words}", program().unwrap().display(), client.join(" "));
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--flush", "--echo", "always", "--command", &line, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (screen, mut output) = (Arc::<Mutex<String>>::default(), child.stdout.take().unwrap());
        let shown = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut piece = [0; 1024];
            while let Ok(length @ 1..) = output.read(&mut piece) {
                shown.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..length]));
            }
        });
        Self { child, screen }
    }

    fn screen(&self) -> String {
        self.screen.lock().unwrap().clone()
    }

    async fn shows(&self, text: &str) {
        let look = async || Ok(self.screen().contains(text).then_some(()));
        until("the terminal", format!("{text:?}"), look).await.unwrap();
    }

    fn types(&mut self, text: &str) {
        let keys = self.child.stdin.as_mut().unwrap();
        keys.write_all(text.as_bytes()).unwrap();
        keys.flush().unwrap();
    }

    async fn end(mut self) -> (ExitStatus, String) {
        let look = async || Ok(self.child.try_wait().unwrap());
        let status = until("the terminal", "the command to end", look).await.unwrap();
        (status, self.screen())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended already where all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn on_a_terminal_a_password_is_asked_for_unseen_and_the_making_of_keys_shown() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let mut node = NodeSetup::new("node", place.path()).start().await.unwrap();
        let data = node.setup().data().to_owned();

        let mut differing = Terminal::start(&data, "account create Ada --protect");
        differing.shows("Password of the new archive: ").await;
        differing.types("open sesame\n");
        differing.shows("The same again: ").await;
        differing.types("open barley\n");
        let (status, screen) = differing.end().await;
        assert_eq!(status.code(), Some(2), "{screen}");
        assert!(screen.contains("the two passwords differ"), "{screen}");
        assert!(node.call(method::AccountList, Nothing {}).await.unwrap().accounts.is_empty());

        let mut creating = Terminal::start(&data, "account create Ada --protect");
        creating.shows("Password of the new archive: ").await;
        creating.types("open sesame\n");
        creating.shows("The same again: ").await;
        creating.types("open sesame\n");
        creating.shows("/3 making keys").await;
        creating.shows("jami id").await;
        let (status, screen) = creating.end().await;
        assert!(status.success(), "{screen}");
        assert!(!screen.contains("sesame"), "{screen}");
        let accounts = node.call(method::AccountList, Nothing {}).await.unwrap().accounts;
        assert!(accounts.len() == 1 && accounts[0].protected);

        let mut keeping = Terminal::start(&data, "account remove");
        keeping.shows("Type yes to do it: ").await;
        assert!(keeping.screen().contains("Ada"));
        keeping.types("y\n");
        let (status, screen) = keeping.end().await;
        assert!(status.code() == Some(2) && screen.contains("nothing was changed"), "{screen}");
        assert_eq!(node.call(method::AccountList, Nothing {}).await.unwrap().accounts.len(), 1);

        let mut removing = Terminal::start(&data, "account remove");
        removing.shows("Type yes to do it: ").await;
        removing.types("yes\n");
        let (status, screen) = removing.end().await;
        assert!(status.success(), "{screen}");
        assert!(node.call(method::AccountList, Nothing {}).await.unwrap().accounts.is_empty());
        node.stop().await.unwrap();
    });
}

/// What a command says that fails: one line, with this exit code.
#[track_caller]
fn fails(data: &Path, words: &[&str], code: i32, wanted: &str) {
    let output = skep(data, words);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
    assert!(text.starts_with("skep: ") && text.lines().count() == 1, "{words:?}: {text}");
    assert!(text.contains(wanted), "{words:?}: {wanted:?} is missing from {text}");
}

/// One node with the accounts of two people.
async fn two_accounts(place: &Path) -> Result<Person> {
    let setup = NodeSetup::new("node", place);
    Golden::CAROL.lay_out(setup.data())?;
    let mut alice = Person::start(Golden::ALICE, setup).await?;
    let name = alice.node.name().to_owned();
    until(&name, "both accounts", async || {
        let accounts = alice.node.call(method::AccountList, Nothing {}).await?.accounts;
        Ok((accounts.len() == 2).then_some(()))
    })
    .await?;
    Ok(alice)
}

#[test]
fn mistakes_are_told_in_one_line_with_an_exit_code() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let mut alice = two_accounts(place.path()).await.unwrap();
        let data = alice.node.setup().data().to_owned();
        let (first, second) = (&Golden::ALICE.id[..16], &Golden::CAROL.id[..16]);
        for (local, name) in [(first, "Anna"), (second, "Anton")] {
            assert!(skep(&data, &["account", "rename", name, "--account", local]).status.success());
        }
        let stranger = "80eeb21d7e704d9da4e4a51d01a686f5587a9127";
        let archive = skep_tests::harness::vector(Golden::BOB.archive);
        let archive = archive.to_str().unwrap();
        let nothing = "0".repeat(40);
        // Conversations are added until two begin with the same digit.
        let (mut digits, mut number) = (Vec::new(), 0);
        let shared = loop {
            number += 1;
            let id = alice.add(format!("{number:040x}").parse().unwrap()).await.unwrap();
            let digit = id.to_string()[..1].to_owned();
            if digits.contains(&digit) {
                break digit;
            }
            digits.push(digit);
        };
        let cases: &[(&[&str], i32, &str)] = &[
            // Which account?
            (&["contact", "list"], 2, "2 accounts; choose one with --account"),
            (&["contact", "list", "--account", "An"], 2, "several accounts begin with"),
            (&["contact", "list", "--account", "Berta"], 2, "there is no account"),
            (&["contact", "list", "--account", ""], 2, "there is no account"),
            (&["account", "show", "--account", "0000000000000000"], 1, "there is no account"),
            // Which person?
            (&["contact", "add", "80eeb2", "-a", "Anna"], 2, "40 hexadecimal digits"),
            (&["contact", "add", Golden::ALICE.id, "-a", "Anna"], 1, "must be somebody else"),
            (&["contact", "accept", stranger, "-a", "Anna"], 1, "no contact request"),
            (&["contact", "remove", stranger, "-a", "Anna"], 1, "not a contact"),
            // Which conversation, which message?
            (&["message", "send", &shared, "hello", "-a", "Anna"], 2, "several conversations begin with"),
            (&["message", "send", "", "hello", "-a", "Anna"], 2, "there is no conversation"),
            (&["message", "list", "xyz", "-a", "Anna"], 2, "there is no conversation"),
            (&["conversation", "show", &nothing, "-a", "Anna"], 1, "has no conversation"),
            (&["message", "edit", &shared, "abc", "text", "-a", "Anna"], 2, "40 hexadecimal digits"),
            (&["conversation", "import", "/nowhere", "-a", "Anna"], 1, "No such file"),
            // Nobody is asked where there is no terminal.
            (&["account", "create", "Bob", "--protect"], 2, "--password-file"),
            (&["account", "import", archive], 2, "--password-file"),
            (&["account", "password", "-a", "Anna"], 2, "--new-password-file"),
            (&["account", "remove", "-a", "Anna"], 2, "--yes"),
            // What cannot be a command.
            (&["account"], 2, "a command is missing"),
            (&["message", "send", &shared], 2, "<TEXT>"),
            (&["message", "send", &shared, "", "-a", "Anna"], 2, "the text is empty"),
            (&["mesage", "send"], 2, "message"),
        ];
        for (words, code, wanted) in cases {
            fails(&data, words, *code, wanted);
        }
        alice.node.stop().await.unwrap();
        fails(&data, &["account", "list"], 1, "no node answers");
    });
}

#[test]
fn a_port_that_another_node_has_is_a_clear_error() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let mut node = NodeSetup::new("node", place.path()).start().await.unwrap();
        let address = node.address().await.unwrap();
        let port = address.rsplit('/').next().unwrap();
        let config = place.path().join("second.toml");
        std::fs::write(&config, format!("[dht]\nlisten = ['127.0.0.1:{port}']\n")).unwrap();
        let words = ["--config", config.to_str().unwrap(), "run"];
        fails(&place.path().join("second"), &words, 1, &format!("cannot listen on 127.0.0.1:{port}"));
        node.stop().await.unwrap();
    });
}

/// A user that is not the one of the node.
const NOBODY: &str = "65534";

#[test]
#[allow(clippy::print_stderr, reason = "whoever reads the test's output should know that it was skipped")]
fn another_user_is_kept_out_by_the_sockets_mode_and_by_its_credentials() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    run(async {
        let place = tempfile::tempdir().unwrap();
        let mut node = NodeSetup::new("node", place.path()).start().await.unwrap();
        let data = node.setup().data().to_owned();
        let socket = data.join("control.sock");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&data), mode(&socket)), (0o700, 0o600));
        // A copy that everybody may run, wherever this was built.
        let copy = place.path().join("skep");
        std::fs::copy(program().unwrap(), &copy).unwrap();
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        open(place.path(), 0o755);
        open(&copy, 0o755);
        let as_nobody = || {
            let words = [&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups"];
            let output = Command::new("setpriv")
                .args(words)
                .arg(&copy)
                .args(["node", "info", "--socket"])
                .arg(&socket)
                .env_remove("SKEP_CONFIG")
                .output()
                .unwrap();
            (output.status.code(), String::from_utf8(output.stderr).unwrap())
        };
        let (code, text) = as_nobody();
        assert!(code == Some(1) && text.contains("Permission denied"), "{text}");
        // Even if somebody opens the files to all.
        open(&data, 0o755);
        open(&socket, 0o666);
        let (code, text) = as_nobody();
        assert!(code == Some(1) && text.contains("controlled by user 0 and root only"), "{text}");
        assert!(skep(&data, &["node", "info"]).status.success());
        node.stop().await.unwrap();
    });
}
