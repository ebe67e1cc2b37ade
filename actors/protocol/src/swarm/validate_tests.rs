//! Validation against the recorded repositories, and refusals built on top of them.

use super::golden;
use super::validate::Validator;
use crate::ids::ConversationId;
use crate::swarm::object::{Commit, ObjectSource};

/// The first commit of the history that `head` ends.
pub(super) fn conversation(objects: &impl ObjectSource, head: crate::ids::CommitId) -> ConversationId {
    let mut id = head;
    loop {
        let commit = Commit::parse(objects.commit(id).unwrap().unwrap()).unwrap();
        match commit.parents.first() {
            Some(parent) => id = *parent,
            None => return ConversationId::from_initial_commit(id),
        }
    }
}

#[test]
fn every_recorded_commit_is_valid() {
    for daemon in golden::DAEMONS {
        let golden = golden::load(daemon);
        for (name, repository) in &golden.repositories {
            let conversation = conversation(&golden.objects, repository.head);
            let mut validator = Validator::new(&golden.objects, conversation);
            let valid = validator.validate_history(repository.head, |_| false);
            let valid = valid.unwrap_or_else(|error| panic!("{daemon} {name}: {error}"));
            if let Some(messages) = &repository.messages {
                assert!(valid.len() >= messages.len());
            }
        }
    }
}
