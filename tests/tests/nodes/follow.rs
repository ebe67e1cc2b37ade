//! `skep message follow`, as people and programs run it.

use std::fs;
use std::path::{Path, PathBuf};

use skep_tests::harness::{Golden, NodeSetup, Person, Place, Process, program, run, until};

use super::client_of;

/// A running `skep message follow`, and the file with what it printed.
struct Follower {
    process: Process,
    printed: PathBuf,
}

impl Follower {
    fn start(data: &Path, words: &[&str], printed: PathBuf) -> Self {
        let mut arguments = client_of(data);
        arguments.extend(["message", "follow"].iter().chain(words).map(Into::into));
        let process =
            Process::start("follow", &Place::loopback(), &program().unwrap(), &arguments, &[], &printed)
                .unwrap();
        Self { process, printed }
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(&self.printed).unwrap().lines().map(str::to_owned).collect()
    }

    /// Waits until a line says this.
    async fn says(&self, text: &str) {
        let look = async || Ok(self.lines().iter().any(|line| line.contains(text)).then_some(()));
        until("follow", format!("a line with {text:?}"), look).await.unwrap();
    }
}

#[test]
fn messages_are_printed_as_they_come_until_an_interrupt_or_the_end_of_the_node() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let mut alice = Person::start(Golden::ALICE, NodeSetup::new("alice", place.path())).await.unwrap();
        let id = alice.add(Golden::CAROL.id.parse().unwrap()).await.unwrap();
        let data = alice.node.setup().data().to_owned();
        let mut people = Follower::start(&data, &[&id.to_string()[..8]], place.path().join("people"));
        let mut program = Follower::start(&data, &["--json"], place.path().join("program"));
        // When they have begun to listen cannot be seen, so they are told until they hear.
        until("follow", "both to hear", async || {
            alice.send(id, "hear me").await?;
            Ok((!people.lines().is_empty() && !program.lines().is_empty()).then_some(()))
        })
        .await
        .unwrap();
        for number in 1..=3 {
            alice.send(id, &format!("message {number}")).await.unwrap();
        }
        people.says("message 3").await;
        program.says("message 3").await;
        let told: Vec<_> = people.lines().into_iter().filter(|line| line.contains("message ")).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told.iter().zip(1..).all(|(line, number)| line.ends_with(&format!("message {number}"))));
        for line in program.lines() {
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(event["event"], "message", "{line}");
            assert_eq!(event["conversation"], id.to_string(), "{line}");
        }

        people.process.interrupt();
        let status = people.process.end().await.unwrap();
        assert!(status.success(), "an interrupt is the way to end it, not {status}");

        alice.node.stop().await.unwrap();
        let status = program.process.end().await.unwrap();
        assert_eq!(status.code(), Some(1));
        assert_eq!(program.lines().last().unwrap(), "skep: the node has ended; try again when it runs");
    });
}
