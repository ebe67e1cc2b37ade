//! What the read-me says about the program, done as it says.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use skep::ConversationId;
use skep::rpc::client::Client;
use skep::rpc::schema::{AccountParams, FileSendParams, Nothing, method};
use skep_tests::harness::{Golden, Mark, NodeSetup, Person, Place, Process, program, run, until};

const READ_ME: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md"));

/// The ids that the read-me shows; each run has its own.
const SHOWN_CONTACT: &str = "80eeb21d7e704d9da4e4a51d01a686f5587a9127";
const SHOWN_CONVERSATION: &str = "90bba1";
const SHOWN_GROUP: &str = "5fd7b2";
const SHOWN_INVITATION: &str = "9c41aa";
const SHOWN_FILE: &str = "32c0610b1c788107a74ed24d553e85a549eca07c";

/// What the output of a command must show, by how the command begins.
const SHOWS: &[(&str, &str)] = &[
    ("skep account create", "jami id"),
    ("skep contact add", "conversation "),
    ("skep conversation list", "ready"),
    ("skep conversation create", "conversation "),
    ("skep conversation invite", "commit "),
    ("skep conversation requests", "Chess"),
    ("skep conversation show", "Friends"),
    ("skep conversation ban", "commit "),
    ("skep message send", "message "),
    ("skep file send", "holiday.mp4"),
    ("skep file fetch", "Downloads/photo.jpg"),
    ("skep node tree", "conversation"),
    ("skep profile show", "Carol"),
];

/// The lines of the shell blocks of a section.
fn commands(section: &str) -> Vec<&'static str> {
    let text = READ_ME.split("\n## ").find(|text| text.starts_with(section)).unwrap();
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).collect()
}

/// A user's shell, in a home of its own beside the nodes of others.
struct Shell {
    home: PathBuf,
    settings: String,
}

impl Shell {
    fn new(home: &Path, bootstrap: &str) -> Self {
        let programs = program().unwrap();
        let programs = programs.parent().unwrap().display();
        let settings = format!(
            "cd {home:?} && export HOME={home:?} PATH={programs}:$PATH SKEP_DHT_LISTEN=127.0.0.1:0 \
             SKEP_DHT_BOOTSTRAP={bootstrap} SKEP_LINKS_LOOPBACK=true && unset XDG_DATA_HOME"
        );
        Self { home: home.to_owned(), settings }
    }

    fn does(&self, line: &str) -> Output {
        // What does not end by itself is a mistake of the read-me, or of its test.
        let arguments = ["--signal=KILL", "120", "sh", "-c", &format!("{}\n{line}", self.settings)];
        Command::new("timeout").args(arguments).output().unwrap()
    }

    fn starts(&self, line: &str, log: &Path) -> Process {
        let text = format!("{}\nexec {line}", self.settings);
        Process::start("read-me", &Place::loopback(), "sh".as_ref(), &["-c", &text], &[], log).unwrap()
    }

    /// A client of the node that runs with the default configuration.
    async fn client(&self) -> Client {
        let socket = self.home.join(".local/share/skep/control.sock");
        until("the read-me's node", "its socket", async || Ok(Client::connect(&socket).await.ok()))
            .await
            .unwrap()
    }
}

#[test]
fn the_commands_of_the_read_me_work() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let mut carol = Person::start(Golden::CAROL, NodeSetup::new("carol", place.path())).await.unwrap();
        let shell = Shell::new(place.path(), &carol.node.address().await.unwrap());
        let (mut node, mut conversation) = (None, None::<String>);
        let (mut group, mut invitation) = (None::<String>, None::<ConversationId>);
        let mut file = None::<String>;
        for name in ["holiday.mp4", "photo.jpg"] {
            std::fs::write(place.path().join(name), name).unwrap();
        }
        std::fs::write(place.path().join("ada.png"), super::profiles::picture()).unwrap();
        std::fs::create_dir(place.path().join("Downloads")).unwrap();
        let lines = commands("Use it as a program");
        assert!(lines.len() >= 7, "{lines:?}");
        for line in lines {
            let line = line.split(" #").next().unwrap_or_default().trim_end();
            let mut line = line.replace(SHOWN_CONTACT, Golden::CAROL.id);
            if let Some(id) = &conversation {
                line = line.replace(SHOWN_CONVERSATION, id);
            }
            if let Some(id) = &group {
                line = line.replace(SHOWN_GROUP, &id[..SHOWN_GROUP.len()]);
            }
            if line.starts_with("skep conversation requests") {
                // Somebody else invites.
                let view = shell.client().await.call(method::AccountList, Nothing {}).await.unwrap();
                let (local, ada) = (view.accounts[0].local, view.accounts[0].id);
                let chess = carol.found("Chess").await.unwrap();
                carol.invite(chess, ada).await.unwrap();
                let mut client = shell.client().await;
                until("the read-me's node", "an invitation", async || {
                    let params = AccountParams { account: local };
                    let requests = client.call(method::ContactRequests, params).await.unwrap().requests;
                    Ok((!requests.is_empty()).then_some(()))
                })
                .await
                .unwrap();
                invitation = Some(chess);
            }
            if let Some(id) = invitation {
                line = line.replace(SHOWN_INVITATION, &id.to_hex()[..SHOWN_INVITATION.len()]);
                if line.starts_with("skep conversation leave") {
                    let view = shell.client().await.call(method::AccountList, Nothing {}).await.unwrap();
                    carol.sees(view.accounts[0].id, Some("member"), id).await.unwrap();
                }
            }
            if line.starts_with("skep file fetch") {
                // Somebody else offers.
                let (conversation, path) =
                    (group.as_deref().unwrap().parse().unwrap(), place.path().join("photo.jpg"));
                let params = FileSendParams { account: carol.local, conversation, path, reply_to: None };
                let offered = carol.node.call(method::FileSend, params).await.unwrap().message.to_string();
                let shows = format!("skep message list {conversation}");
                let look = async || {
                    Ok(String::from_utf8(shell.does(&shows).stdout).unwrap().contains(&offered).then_some(()))
                };
                until("the read-me's node", "an offer of a file", look).await.unwrap();
                file = Some(offered);
            }
            if let Some(id) = &file {
                line = line.replace(SHOWN_FILE, id);
            }
            if let Some(line) = line.strip_suffix('&') {
                node = Some(shell.starts(line, &place.path().join("node.log")));
                shell.client().await;
            } else if line.starts_with("skep message follow") {
                let printed = place.path().join("followed");
                let mut process = shell.starts(&line, &printed);
                let view = shell.client().await.call(method::AccountList, Nothing {}).await.unwrap();
                let ada = view.accounts[0].id;
                let id = carol.asked_by(ada, Mark::BEGINNING).await.unwrap();
                carol.accept(ada).await.unwrap();
                carol.ready(id, Mark::BEGINNING).await.unwrap();
                // When it has begun to listen cannot be seen, so it is told until it hears.
                let heard = async || {
                    carol.send(id, "hello, Ada").await?;
                    Ok(std::fs::read_to_string(&printed).unwrap().contains("hello, Ada").then_some(()))
                };
                until("follow", "Carol's message", heard).await.unwrap();
                process.interrupt();
                assert!(process.end().await.unwrap().success(), "{line}");
            } else if let Some(key) = line.strip_prefix("skep dht listen ") {
                let printed = place.path().join("listened");
                let mut process = shell.starts(&line, &printed);
                let put = shell.does(&format!("skep dht put {key} here"));
                assert!(put.status.success(), "{}", String::from_utf8_lossy(&put.stderr));
                let heard =
                    async || Ok(std::fs::read_to_string(&printed).unwrap().contains("here").then_some(()));
                until("dht listen", "the value that was put", heard).await.unwrap();
                process.interrupt();
                assert!(process.end().await.unwrap().success(), "{line}");
            } else {
                let output = shell.does(&line);
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let error = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{line}: {error}");
                let shown = SHOWS.iter().find(|(beginning, _)| line.starts_with(beginning));
                assert!(shown.is_none_or(|(_, word)| text.contains(word)), "{line}: {text}");
                if let Some(id) = text.strip_prefix("conversation ") {
                    let id = id.trim().to_owned();
                    if line.starts_with("skep conversation create") {
                        group = Some(id);
                    } else if line.starts_with("skep contact add") {
                        conversation = Some(id[..SHOWN_CONVERSATION.len()].to_owned());
                    }
                }
                if line.starts_with("skep conversation invite") {
                    let id = group.as_deref().unwrap().parse().unwrap();
                    carol.invited(id, Mark::BEGINNING).await.unwrap();
                    carol.enter(id).await.unwrap();
                    carol.ready(id, Mark::BEGINNING).await.unwrap();
                }
            }
        }
        assert!(shell.does("skep completions bash").status.success());
        assert!(shell.does("skep node shutdown").status.success());
        assert!(node.unwrap().end().await.unwrap().success());
        carol.node.stop().await.unwrap();
    });
}

#[test]
fn the_first_run_makes_the_accounts_of_the_configuration_without_a_terminal() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let shell = Shell::new(place.path(), "127.0.0.1:1");
        let archive = skep_tests::harness::vector(Golden::BOB.archive);
        std::fs::write(place.path().join("password"), Golden::BOB.password.unwrap()).unwrap();
        let account =
            format!("[[account]]\nname = 'Bob'\narchive = {archive:?}\npassword_file = 'password'\n");
        std::fs::write(place.path().join("node.toml"), account).unwrap();
        for round in 0..2 {
            let mut node = shell.starts("skep --config node.toml run", &place.path().join("log"));
            let mut client = shell.client().await;
            let accounts = until("the first run", "its account", async || {
                let accounts = client.call(method::AccountList, Nothing {}).await.unwrap().accounts;
                Ok(accounts.first().is_some_and(|it| it.name == "Bob").then_some(accounts))
            })
            .await
            .unwrap();
            assert_eq!((accounts.len(), accounts[0].id.to_string().as_str()), (1, Golden::BOB.id), "{round}");
            node.terminate();
            assert!(node.end().await.unwrap().success());
        }
    });
}
