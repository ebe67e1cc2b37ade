//! Broken files and full disks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use skep::ConversationId;
use skep::rpc::client::ClientError;
use skep::rpc::schema::{ErrorCode, PathParams, SendParams, method};
use skep_tests::harness::{Golden, NodeSetup, Person, Result, run, same_history, until, vector};

use super::Pair;

/// A conversation of the golden account that no living node has.
const BUNDLE: &str = "newest/swarm/one-to-one.bob.final.bundle";

async fn open_bundle(person: &mut Person) -> Result<ConversationId> {
    let params = PathParams { account: person.local, path: vector(BUNDLE).canonicalize().unwrap() };
    Ok(person.node.call(method::ConversationImport, params).await?.conversation)
}

fn repository(person: &Person, id: ConversationId) -> PathBuf {
    let accounts = person.node.setup().data().join("accounts");
    accounts.join(person.local.to_string()).join("conversations").join(id.to_string())
}

/// Cuts a file in half.
fn cut(path: &Path) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}

/// The first file in a folder with this ending.
fn file_in(folder: &Path, ending: &str) -> PathBuf {
    let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.to_string_lossy().ends_with(ending)).unwrap()
}

/// Waits until a conversation is set aside for the `time`-th time, and checks that the log says so. Its
/// event may come before anybody can listen.
async fn set_aside(person: &Person, id: ConversationId, time: usize) {
    let folder = repository(person, id).with_extension(format!("{time}.damaged"));
    let log = person.node.setup().log();
    let look = async || Ok(folder.join("objects").is_dir().then_some(()));
    until(person.node.name(), format!("conversation {id} to be set aside"), look).await.unwrap();
    let log = fs::read_to_string(log).unwrap();
    let told = log.lines().any(|line| line.contains("set aside") && line.contains(&id.to_string()));
    assert!(told, "{log}");
}

#[test]
fn a_damaged_conversation_is_set_aside_and_fetched_anew_and_others_are_left_alone() {
    run(async {
        let Pair { place: _place, mut alice, mut carol } = Pair::start().await.unwrap();
        let id = alice.befriend(&mut carol).await.unwrap();
        let old = open_bundle(&mut alice).await.unwrap();
        let old_log = alice.log(old).await.unwrap();
        let mut last = alice.send(id, "kept").await.unwrap();
        carol.has(id, last).await.unwrap();
        same_history(&mut alice, &mut carol, id).await.unwrap();
        let folder = repository(&alice, id);
        let reference = folder.join("refs/heads/main");
        for (round, time) in ["the newest commit", "the reference"].into_iter().zip(1..) {
            alice.node.stop().await.unwrap();
            if round == "the reference" {
                cut(&reference);
            } else {
                let hex = last.to_string();
                let (first, rest) = hex.split_at(2);
                cut(&folder.join("objects").join(first).join(rest));
            }
            alice.node.restart().await.unwrap();
            set_aside(&alice, id, time).await;
            assert_eq!(alice.log(old).await.unwrap(), old_log, "{round}: the other conversation");
            alice.usable(id).await.unwrap();
            same_history(&mut alice, &mut carol, id).await.unwrap();
            last = alice.send(id, round).await.unwrap();
            carol.has(id, last).await.unwrap();
        }
        alice.node.stop().await.unwrap();
    });
}

#[test]
fn a_cut_pack_costs_only_its_own_conversation() {
    run(async {
        let Pair { place: _place, mut alice, mut carol } = Pair::start().await.unwrap();
        let id = alice.befriend(&mut carol).await.unwrap();
        let old = open_bundle(&mut alice).await.unwrap();
        alice.node.stop().await.unwrap();
        let folder = repository(&alice, old);
        let packed = Command::new("git").arg("--git-dir").arg(&folder).args(["repack", "-adq"]).status();
        assert!(packed.unwrap().success());
        cut(&file_in(&folder.join("objects/pack"), ".pack"));
        alice.node.restart().await.unwrap();
        set_aside(&alice, old, 1).await;
        let params = SendParams { account: alice.local, conversation: old, body: "hello?".to_owned() };
        match alice.node.ask(method::MessageSend, params).await.unwrap() {
            Err(ClientError::Refused(error)) => assert_eq!(error.code, ErrorCode::NotReady.number()),
            other => panic!("{other:?}"),
        }
        alice.send(id, "all is well here").await.unwrap();
        carol.receives(id, "all is well here").await.unwrap();
    });
}

#[test]
fn a_damaged_list_of_contacts_is_set_aside_and_costs_no_history() {
    run(async {
        let Pair { place: _place, mut alice, mut carol } = Pair::start().await.unwrap();
        let id = alice.befriend(&mut carol).await.unwrap();
        let sent = alice.send(id, "kept").await.unwrap();
        alice.node.stop().await.unwrap();
        let account = alice.node.setup().data().join("accounts").join(alice.local.to_string());
        fs::write(account.join("contacts"), b"no MessagePack").unwrap();
        alice.node.restart().await.unwrap();
        assert!(alice.contacts().await.unwrap().is_empty());
        assert!(account.join("contacts.unreadable").is_file());
        alice.usable(id).await.unwrap();
        assert!(alice.log(id).await.unwrap().contains(&sent));
        alice.node.stop().await.unwrap();
    });
}

/// A file system of its own, so small that it is soon full.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None if this user may not mount one.
    pub(crate) fn mount(folder: &Path, megabytes: usize) -> Option<Self> {
        fs::create_dir(folder).unwrap();
        let options = format!("size={megabytes}m");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder).output();
        mount.is_ok_and(|output| output.status.success()).then(|| Self(folder.to_owned()))
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut file = fs::File::create(self.filler()).unwrap();
        let piece = [0; 4096];
        while std::io::Write::write_all(&mut file, &piece).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What cannot be unmounted now is when nobody uses it any more.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
#[allow(clippy::print_stderr, reason = "whoever reads the test's output should know that it was skipped")]
fn a_full_disk_is_told_to_the_sender_and_costs_nothing_acknowledged() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let Some(disk) = SmallDisk::mount(&place.path().join("disk"), 8) else {
            eprintln!("skipped: only root can mount a small disk to fill");
            return;
        };
        let setup = NodeSetup::new("alice", place.path()).data_in(&disk.0.join("data"));
        let mut alice = Person::start(Golden::ALICE, setup).await.unwrap();
        let id = alice.add(Golden::CAROL.id.parse().unwrap()).await.unwrap();
        let mut sent = vec![alice.send(id, "before").await.unwrap()];
        disk.fill();
        let refusal = loop {
            let params = SendParams { account: alice.local, conversation: id, body: "x".repeat(8000) };
            match alice.node.ask(method::MessageSend, params).await.unwrap() {
                Ok(answer) => sent.push(answer.message),
                Err(error) => break error,
            }
            assert!(sent.len() < 100, "the disk does not fill");
        };
        match refusal {
            ClientError::Refused(error) => assert_eq!(error.code, ErrorCode::Storage.number(), "{error:?}"),
            other => panic!("{other:?}"),
        }
        let log = alice.log(id).await.unwrap();
        assert!(sent.iter().all(|commit| log.contains(commit)));

        fs::remove_file(disk.filler()).unwrap();
        sent.push(alice.send(id, "after").await.unwrap());
        alice.node.stop().await.unwrap();
        alice.node.restart().await.unwrap();
        let log = alice.log(id).await.unwrap();
        assert!(sent.iter().all(|commit| log.contains(commit)));
        assert_eq!(alice.messages(id).await.unwrap().last().unwrap().body, "after");
        drop(alice);
    });
}
