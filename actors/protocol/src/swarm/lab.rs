//! Test support: a recorded conversation to build further commits on, honest or not.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::create::{Draft, LocalDevice, Writer};
use super::diff::TreeReader;
use super::edit::TreeEdit;
use super::golden;
use super::layout::{Members, Role, TreePath};
use super::object::{Commit, MemoryObjects, ObjectSource, UnsignedCommit};
use super::refusal::{Refusal, ValidationError};
use super::validate::{Founding, ValidCommit, Validator};
use crate::identity::Chain;
use crate::ids::{AccountId, BlobId, CommitId, ConversationId, DeviceId, TreeId};
use crate::keys::PrivateKey;
use crate::time::UnixMillis;

/// A time after the recordings, before any certificate expires.
pub(super) const NOW: UnixMillis = UnixMillis(1_795_400_000_000);

/// One device with its key.
pub(super) struct Actor {
    pub local: LocalDevice,
    pub key: PrivateKey,
}

impl Actor {
    pub(super) fn of(daemon: &str, name: &str) -> Self {
        let chain = Chain::parse(golden::device_chain(daemon, name).as_bytes()).unwrap();
        Self { local: LocalDevice::new(&chain, "Somebody").unwrap(), key: golden::device_key(daemon, name) }
    }

    pub(super) fn account(&self) -> AccountId {
        self.local.account()
    }

    pub(super) fn device(&self) -> DeviceId {
        self.local.device()
    }
}

/// A conversation under test.
pub(super) struct Lab {
    pub objects: MemoryObjects,
    pub conversation: ConversationId,
    pub head: CommitId,
    pub alice: Actor,
    pub alice2: Actor,
    pub bob: Actor,
    pub carla: Actor,
}

/// The first commit of the history that `head` ends.
pub(super) fn conversation(objects: &impl ObjectSource, head: CommitId) -> ConversationId {
    let mut id = head;
    loop {
        let commit = Commit::parse(objects.commit(id).unwrap().unwrap()).unwrap();
        match commit.parents.first() {
            Some(parent) => id = *parent,
            None => return ConversationId::from_initial_commit(id),
        }
    }
}

impl Lab {
    /// The group: alice is admin, carla a member, bob has left.
    pub(super) fn group() -> Self {
        Self::of("group.alice")
    }

    /// One to one: alice is admin, bob a member; alice2 has written.
    pub(super) fn one_to_one() -> Self {
        Self::of("one-to-one.bob.final")
    }

    /// The collaborative document of alice and bob.
    pub(super) fn document() -> Self {
        Self::of("document.bob")
    }

    fn of(name: &str) -> Self {
        let golden = golden::load("newest");
        let head = golden.repositories[name].head;
        Self {
            conversation: conversation(&golden.objects, head),
            objects: golden.objects,
            head,
            alice: Actor::of("newest", "alice"),
            alice2: Actor::of("newest", "alice2"),
            bob: Actor::of("newest", "bob"),
            carla: Actor::of("newest", "carla"),
        }
    }

    /// A new conversation begun by alice.
    pub(super) fn begun(draft: impl FnOnce(&Actor) -> Draft) -> Self {
        let mut lab = Self::group();
        let draft = draft(&lab.alice);
        let alice = Actor::of("newest", "alice");
        lab.head = lab.keep(draft, &alice);
        lab.conversation = ConversationId::from_initial_commit(lab.head);
        lab
    }

    /// Writes what an honest program would, and takes it over as the head.
    pub(super) fn honest(
        &mut self,
        who: fn(&Self) -> &Actor,
        make: impl FnOnce(&Writer<'_, MemoryObjects>) -> Draft,
    ) -> CommitId {
        let actor = who(self);
        let draft = make(&Writer::new(&self.objects, &actor.local, self.head, NOW).unwrap());
        let signed = draft.commit.sign(&actor.key).unwrap();
        self.objects.extend(draft.objects);
        self.objects.insert_commit(&signed);
        self.verdict(signed.id).unwrap_or_else(|refusal| panic!("{refusal}"));
        self.head = signed.id;
        signed.id
    }

    /// What its first commit settles.
    pub(super) fn founding(&self) -> Founding {
        Validator::new(&self.objects, self.conversation).founding().unwrap()
    }

    /// Signs and keeps a draft.
    pub(super) fn keep(&mut self, draft: Draft, actor: &Actor) -> CommitId {
        let signed = draft.commit.sign(&actor.key).unwrap();
        self.objects.extend(draft.objects);
        self.objects.insert_commit(&signed);
        signed.id
    }

    pub(super) fn tree_of(&self, id: CommitId) -> TreeId {
        Commit::parse(self.objects.commit(id).unwrap().unwrap()).unwrap().tree
    }

    /// A commit on top of the head with any edit and message; gives its id.
    pub(super) fn forge(
        &mut self,
        who: fn(&Self) -> &Actor,
        message: &str,
        change: impl FnOnce(&mut TreeEdit<'_, MemoryObjects>),
    ) -> CommitId {
        let mut edit = TreeEdit::new(&self.objects, Some(self.tree_of(self.head)));
        change(&mut edit);
        let edited = edit.finish().unwrap();
        self.objects.extend(edited.objects);
        let parents = vec![self.head];
        self.raw(who, edited.root, parents, message)
    }

    /// A commit of anything.
    pub(super) fn raw(
        &mut self,
        who: fn(&Self) -> &Actor,
        tree: TreeId,
        parents: Vec<CommitId>,
        message: &str,
    ) -> CommitId {
        let actor = who(self);
        let commit = UnsignedCommit {
            tree,
            parents,
            name: "Mallory".to_owned(),
            device: actor.device(),
            seconds: NOW.seconds(),
            message: message.as_bytes().to_vec(),
        };
        let signed = commit.sign(&actor.key).unwrap();
        self.objects.insert_commit(&signed);
        signed.id
    }

    /// Judges one commit.
    pub(super) fn verdict(&self, id: CommitId) -> Result<ValidCommit, Refusal> {
        match Validator::new(&self.objects, self.conversation).validate(id) {
            Ok(valid) => Ok(valid),
            Err(ValidationError::Refused { refusal, .. }) => Err(refusal),
            Err(error) => panic!("{error}"),
        }
    }

    /// Forges a commit that must be refused.
    pub(super) fn refused(
        &mut self,
        who: fn(&Self) -> &Actor,
        message: &str,
        change: impl FnOnce(&mut TreeEdit<'_, MemoryObjects>),
    ) -> Refusal {
        let id = self.forge(who, message, change);
        self.verdict(id).unwrap_err()
    }

    /// Forges a commit that must be accepted; it does not become the head.
    #[track_caller]
    pub(super) fn accepted(
        &mut self,
        who: fn(&Self) -> &Actor,
        message: &str,
        change: impl FnOnce(&mut TreeEdit<'_, MemoryObjects>),
    ) -> CommitId {
        let id = self.forge(who, message, change);
        self.verdict(id).unwrap_or_else(|refusal| panic!("{refusal}"));
        id
    }

    /// Makes any tree the head's, past all rules: for what takes long to come about, or cannot.
    pub(super) fn arrange(&mut self, change: impl FnOnce(&mut TreeEdit<'_, MemoryObjects>)) {
        self.head = self.forge(|lab| &lab.alice, r#"{"type":"arranged"}"#, change);
    }

    /// The file at a path of the head's tree.
    pub(super) fn file(&self, path: TreePath) -> Option<BlobId> {
        TreeReader::new(&self.objects).file(self.tree_of(self.head), path).unwrap()
    }

    /// What a person is at the head.
    pub(super) fn role(&self, person: AccountId) -> Option<Role> {
        Members::read(&self.objects, self.tree_of(self.head), []).unwrap().role(person)
    }

    /// The certificate file of an actor: the account's if `account`, else the device's.
    pub(super) fn certificate(daemon: &str, name: &str, account: bool) -> String {
        let chain = Chain::parse(golden::device_chain(daemon, name).as_bytes()).unwrap();
        if account {
            chain.issuers().iter().map(|certificate| certificate.to_pem()).collect()
        } else {
            chain.leaf().to_pem()
        }
    }
}
