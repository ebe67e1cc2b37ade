//! Commands against a node of fake parts, from what is typed to what is printed.

use clap::Parser as _;

use skep_protocol::ids::{AccountId, DeviceId, DhtKey};
use skep_protocol::time::UnixMillis;

use super::*;
use crate::node::Node;
use crate::node::fake::{self, CONVERSATION, NAME, NAMED, PASSWORD, PROFILED};
use crate::rpc::schema::Names;

struct Running {
    folder: tempfile::TempDir,
    node: Node,
}

impl Running {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let node = fake::start(fake::config(&folder)).await.unwrap();
        Self { folder, node }
    }

    async fn skep(&self, words: &[&str]) -> Result<String, CliError> {
        skep(&[&["--data-dir", self.folder.path().to_str().unwrap()], words].concat()).await
    }
}

async fn skep(words: &[&str]) -> Result<String, CliError> {
    let cli = Cli::try_parse_from(["skep"].iter().chain(words)).map_err(|error| usage(&error))?;
    let mut out = Vec::new();
    execute(cli, &mut out).await?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn the_arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[tokio::test]
async fn what_needs_no_node_needs_no_node() {
    assert_eq!(skep(&["--print-default-config"]).await.unwrap(), DEFAULT);
    assert!(skep(&["api-reference"]).await.unwrap().contains("### account.create"));
    assert!(skep(&["completions", "bash"]).await.unwrap().contains("_skep"));
}

#[tokio::test]
async fn without_a_node_the_error_is_one_line_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let error = skep(&["--data-dir", folder.path().to_str().unwrap(), "node", "info"]).await.unwrap_err();
    let line = error.line();
    assert!(
        line.starts_with("skep: no node answers at ") && line.ends_with("start one with `skep run`"),
        "{line}"
    );
    assert!(!line.contains('\n'));
    assert_eq!(error.exit_code(), ExitCode::FAILURE);
}

#[tokio::test]
async fn what_cannot_be_meant_has_exit_code_2() {
    let running = Running::start().await;
    for words in
        [&["account", "show"][..], &["account", "show", "--account", "nobody"], &["contact", "add"], &["fly"]]
    {
        let error = running.skep(words).await.unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::from(2), "{words:?} {error}");
        assert!(!error.line().contains('\n'));
    }
    running.node.shutdown().await;
}

#[tokio::test]
async fn people_get_tables_and_programs_get_json() {
    let running = Running::start().await;
    running.skep(&["account", "create", "Alice"]).await.unwrap();
    let table = running.skep(&["account", "list"]).await.unwrap();
    assert!(table.starts_with("ACCOUNT") && table.contains("Fake"), "{table}");
    let json: serde_json::Value =
        serde_json::from_str(&running.skep(&["account", "list", "--json"]).await.unwrap()).unwrap();
    let local = json["accounts"][0]["local"].as_str().unwrap();
    assert!(table.contains(local));
    let contacts = running.skep(&["contact", "list"]).await.unwrap();
    assert!(contacts.contains("2023-11-14 22:13:20"), "{contacts}");
    let tree = running.skep(&["node", "tree"]).await.unwrap();
    for actor in ["node", "  dht", "    conversation", "  rpc"] {
        assert!(tree.lines().any(|line| line.starts_with(actor)), "{actor:?} is missing from\n{tree}");
    }
    running.skep(&["node", "health"]).await.unwrap();
    running.skep(&["node", "info"]).await.unwrap();
    running.skep(&["node", "shutdown"]).await.unwrap();
    assert!(!running.node.ended().await.failed);
}

#[tokio::test]
async fn profiles_are_shown_saved_and_set() {
    let running = Running::start().await;
    running.skep(&["account", "create", "Alice"]).await.unwrap();
    let person = PROFILED.to_hex();
    let photo = running.folder.path().join("photo.jpg");
    let words = ["profile", "show", &person, "--save", photo.to_str().unwrap()];
    let shown = running.skep(&words).await.unwrap();
    assert!(shown.contains("Seven") && shown.contains("image/jpeg, 4 bytes"), "{shown}");
    assert_eq!(std::fs::read(&photo).unwrap(), b"\xff\xd8\xff\xe0");
    assert!(running.skep(&words).await.unwrap_err().line().contains("exists already"));
    let unknown = running.skep(&["profile", "show", &"1".repeat(40)]).await.unwrap_err();
    assert!(unknown.line().contains("there is no profile"), "{}", unknown.line());
    for words in [&["--name", "Ada", "--photo", "photo.jpg"][..], &["--no-photo"], &["--name", ""]] {
        running.skep(&[&["profile", "set"], words].concat()).await.unwrap();
    }
    for words in [&[][..], &["--photo", "photo.jpg", "--no-photo"]] {
        let error = running.skep(&[&["profile", "set"], words].concat()).await.unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::from(2), "{error}");
    }
    let requests = running.skep(&["contact", "requests"]).await.unwrap();
    assert!(requests.contains("Seven"), "{requests}");
    running.node.shutdown().await;
}

#[tokio::test]
async fn messages_are_sent_and_listed() {
    let running = Running::start().await;
    let account = running.skep(&["account", "create", "Alice", "--json"]).await.unwrap();
    let account: serde_json::Value = serde_json::from_str(&account).unwrap();
    let account = &account["local"].as_str().unwrap()[..6];
    let conversation = CONVERSATION.to_hex();
    for text in ["first", "second"] {
        running.skep(&["message", "send", &conversation, text, "--account", account]).await.unwrap();
    }
    let listed = running.skep(&["message", "list", &conversation]).await.unwrap();
    let texts: Vec<_> = listed.lines().skip(1).map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(texts, ["first", "second"], "{listed}");
    let error = running.skep(&["message", "edit", &conversation, &"0".repeat(40), "x"]).await.unwrap_err();
    assert!(error.line().contains("there is no message"), "{}", error.line());
    running.node.shutdown().await;
}

#[tokio::test]
async fn an_account_is_removed_when_it_is_meant() {
    let running = Running::start().await;
    for name in ["Alice", "Bob"] {
        running.skep(&["account", "create", name]).await.unwrap();
    }
    let list = running.skep(&["account", "list", "--json"]).await.unwrap();
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let local = list["accounts"][0]["local"].as_str().unwrap();
    // Which one is not said, and then something that does not mean one.
    for words in [&["account", "remove", "--yes"][..], &["account", "remove", "--yes", "--account", ""]] {
        assert_eq!(running.skep(words).await.unwrap_err().exit_code(), ExitCode::from(2), "{words:?}");
    }
    running.skep(&["account", "remove", "--yes", "--account", local]).await.unwrap();
    let left = running.skep(&["account", "list"]).await.unwrap();
    assert!(left.lines().count() == 2 && !left.contains(local), "{left}");
    let again = running.skep(&["account", "remove", "--yes", "--account", local]).await.unwrap_err();
    assert!(again.line().contains("there is no account"), "{}", again.line());
    running.node.shutdown().await;
}

#[tokio::test]
async fn archives_go_in_and_out_with_a_password_from_a_file() {
    let running = Running::start().await;
    let path = |name: &str| running.folder.path().join(name).to_str().unwrap().to_owned();
    let (archive, password, out) = (path("in.gz"), path("password"), path("out.gz"));
    std::fs::write(&archive, "archive").unwrap();
    std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    running.skep(&["account", "import", &archive, "--password-file", &password]).await.unwrap();
    running.skep(&["account", "export", &out, "--password-file", &password]).await.unwrap();
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "archive");
    let error = running.skep(&["account", "export", &out, "--password-file", &password]).await.unwrap_err();
    assert!(error.line().contains("exists already"), "{}", error.line());
    std::fs::write(&password, "wrong").unwrap();
    let error =
        running.skep(&["account", "import", &archive, "--password-file", &password]).await.unwrap_err();
    assert_eq!(error.line(), "skep: the password is wrong, or the archive is damaged");
    running.node.shutdown().await;
}

#[tokio::test]
async fn a_wrong_configuration_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("skep.toml");
    std::fs::write(&path, "[dht]\nbotstrap = []\n").unwrap();
    let error = skep(&["--config", path.to_str().unwrap(), "node", "info"]).await.unwrap_err();
    assert!(error.line().contains("line 2") && error.line().contains("botstrap"), "{}", error.line());
}

/// A pipe whose reader can look at what came so far.
#[derive(Clone, Default)]
struct Pipe(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Pipe {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn following_prints_messages_as_they_come_and_ends_with_the_node() {
    let running = Running::start().await;
    let account = running.node.create_account("Alice", None, |_| ()).await.unwrap();
    let pipe = Pipe::default();
    let folder = running.folder.path().to_str().unwrap();
    let cli = Cli::try_parse_from(["skep", "--data-dir", folder, "message", "follow"]).unwrap();
    let mut out = pipe.clone();
    let talk = async {
        // When it has begun to listen cannot be seen, so it is told until it hears.
        while !pipe.text().contains("  hear me") {
            account.conversation(CONVERSATION).send("hear me").await.unwrap();
        }
        running.node.shutdown().await;
    };
    let (followed, ()) = tokio::join!(execute(cli, &mut out), talk);
    assert!(followed.unwrap_err().line().contains("the node has ended"));
}

#[test]
fn who_comes_and_goes_is_one_line_each() {
    let (contact, names) = (AccountId([7; 20]), Names::new());
    let line = |devices: &[DeviceId]| render::presence(UnixMillis(0), contact, devices, &names);
    assert!(line(&[]).ends_with("  0707070707  offline"));
    assert!(line(&[DeviceId([1; 32])]).ends_with("  online on 0101010101"));
    let two = line(&[DeviceId([1; 32]), DeviceId([2; 32])]);
    assert!(two.ends_with("  online on 2 devices: 0101010101, 0202020202"), "{two}");
}

#[tokio::test]
async fn contacts_are_listed_with_the_devices_that_are_there() {
    let running = Running::start().await;
    running.node.create_account("Alice", None, |_| ()).await.unwrap();
    let list = running.skep(&["contact", "list"]).await.unwrap();
    assert!(list.contains("DEVICES") && list.contains("0808080808 announced, 0909090909 banned"), "{list}");
}

#[tokio::test]
async fn a_value_is_put_found_and_listened_for() {
    let running = Running::start().await;
    let put = running.skep(&["dht", "put", "a key", "some text"]).await.unwrap();
    assert!(put.ends_with(" kept by 2 nodes\n"), "{put}");
    let found = running.skep(&["dht", "get", "a key"]).await.unwrap();
    assert!(found.contains("text/plain") && found.contains("some text"), "{found}");
    let hex = DhtKey::of_text("a key").to_hex();
    assert_eq!(running.skep(&["dht", "get", &hex]).await.unwrap(), found);
    assert_eq!(running.skep(&["dht", "get", "another key"]).await.unwrap(), "none\n");
    assert!(running.skep(&["dht", "stat"]).await.unwrap().contains("DHT reachable"));
}

#[tokio::test]
async fn groups_are_made_and_voted_on_and_refusals_are_one_clear_line() {
    let running = Running::start().await;
    running.skep(&["account", "create", "Alice"]).await.unwrap();
    let id = CONVERSATION.to_hex();
    let made = running.skep(&["conversation", "create", "--title", "Friends", "--mode", "public"]).await;
    assert_eq!(made.unwrap(), format!("conversation {id}\n"));
    let waiting = running.skep(&["conversation", "requests"]).await.unwrap();
    assert!(waiting.contains("Friends") && waiting.contains("invites_only"), "{waiting}");
    // By the beginning of its id.
    assert_eq!(
        running.skep(&["conversation", "accept", &id[..6]]).await.unwrap(),
        format!("conversation {id}\n")
    );
    running.skep(&["conversation", "decline", &id]).await.unwrap();
    let known = "07".repeat(20);
    let voted = running.skep(&["conversation", "ban", &id, &known]).await.unwrap();
    assert!(voted.contains("takes those of more admins"), "{voted}");
    for (words, expected) in [
        (&["conversation", "invite", &id, &known][..], "only admins of the conversation may do this"),
        (&["conversation", "ban", &id, &"08".repeat(20)], "whom this account could ban"),
        (&["conversation", "accept", &"1".repeat(40)], "there is no invitation into conversation"),
    ] {
        let error = running.skep(words).await.unwrap_err();
        assert!(error.line().contains(expected) && !error.line().contains('\n'), "{}", error.line());
        assert_eq!(error.exit_code(), ExitCode::FAILURE);
    }
    for words in [
        &["conversation", "create", "--mode", "one_to_one"][..],
        &["conversation", "accept", "zz"],
        &["conversation", "preferences", &id, "color"],
    ] {
        assert_eq!(running.skep(words).await.unwrap_err().exit_code(), ExitCode::from(2), "{words:?}");
    }
    running.node.shutdown().await;
}

#[tokio::test]
async fn names_are_looked_up_and_shown_where_ids_are() {
    let running = Running::start().await;
    running.skep(&["account", "create", "Alice"]).await.unwrap();
    let (id, conversation) = (NAMED.to_hex(), CONVERSATION.to_hex());
    let found = running.skep(&["names", "lookup", "AliceTest"]).await.unwrap();
    assert!(found.contains(&id) && found.contains("by the account"), "{found}");
    let found = running.skep(&["names", "lookup", &id]).await.unwrap();
    assert!(found.contains(NAME) && found.contains("the server claims it"), "{found}");
    let found = running.skep(&["names", "search", "ali"]).await.unwrap();
    assert!(found.contains("ali ") && found.contains(&id), "{found}");
    running.skep(&["message", "send", &conversation, "hello"]).await.unwrap();
    for words in [
        &["contact", "list"][..],
        &["contact", "requests"],
        &["conversation", "show", &conversation],
        &["conversation", "members", &conversation],
        &["message", "list", &conversation],
    ] {
        let table = running.skep(words).await.unwrap();
        assert!(table.contains(NAME), "{words:?} {table}");
        let json: serde_json::Value =
            serde_json::from_str(&running.skep(&[words, &["--json"]].concat()).await.unwrap()).unwrap();
        assert_eq!(json["names"][&id], NAME, "{words:?} {json}");
    }
    // A name does where an id does.
    running.skep(&["contact", "add", NAME]).await.unwrap();
    for (words, expected) in [
        (&["contact", "add", "nobody"][..], "nobody has the name nobody at https://ns.jami.net"),
        (&["names", "lookup", "alicetest@names.example.org"], "the name server cannot be reached"),
        (&["names", "lookup", &"1".repeat(40)], "has no name at https://ns.jami.net"),
        (&["names", "register", "alice"], "the password is wrong"),
    ] {
        let error = running.skep(words).await.unwrap_err();
        assert!(error.line().contains(expected) && !error.line().contains('\n'), "{}", error.line());
        assert_eq!(error.exit_code(), ExitCode::FAILURE);
    }
    for words in [
        &["names", "lookup", "ali\u{202e}ce"][..],
        &["names", "lookup", "two words"],
        &["names", "register", "ali\u{202e}ce"],
        &["contact", "add", "a@b@c"],
    ] {
        assert_eq!(running.skep(words).await.unwrap_err().exit_code(), ExitCode::from(2), "{words:?}");
    }
    running.node.shutdown().await;
}

#[tokio::test]
async fn files_are_offered_listed_and_fetched_until_they_are_here() {
    let running = Running::start().await;
    running.skep(&["account", "create", "Alice"]).await.unwrap();
    let (id, message) = (CONVERSATION.to_hex(), "05".repeat(20));
    let sent = running.skep(&["file", "send", &id, "photo.jpg"]).await.unwrap();
    assert!(sent.contains(&message) && sent.contains("photo.jpg"), "{sent}");
    let listed = running.skep(&["file", "list"]).await.unwrap();
    assert!(listed.contains(&message) && listed.contains("running"), "{listed}");
    let begun = running.skep(&["file", "fetch", &id, &message, "--no-wait"]).await.unwrap();
    assert_eq!(begun, "photo.jpg waiting, 500 of 1000 bytes\n");
    let fetched = running.skep(&["file", "fetch", &id, &message, "--to", "."]).await.unwrap();
    assert_eq!(fetched, "photo.jpg done, 500 of 1000 bytes: /tmp/photo.jpg\n");
    for (words, expected) in [
        (&["file", "cancel", &id, &message][..], "no file of message 0505"),
        (&["file", "remove", &id, &message], "no file of message 0505"),
        (&["file", "send", &id, "missing"], "is not a file that can be read"),
    ] {
        let error = running.skep(words).await.unwrap_err();
        assert!(error.line().contains(expected), "{}", error.line());
        assert_eq!(error.exit_code(), ExitCode::FAILURE);
    }
    assert_eq!(running.skep(&["file", "fetch", &id, "zz"]).await.unwrap_err().exit_code(), ExitCode::from(2));
    running.node.shutdown().await;
}
