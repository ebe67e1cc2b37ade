//! Taking in packs, good and bad.

use skep_protocol::swarm::git::pack::{PackError, PackLimit};

use super::super::{Received, Repository, RepositoryError};
use super::*;

fn receive(repository: &mut Repository, bytes: &[u8]) -> Result<Received, RepositoryError> {
    let mut receiver = repository.receive_pack();
    for piece in bytes.chunks(10_000) {
        receiver.receive(piece)?;
    }
    repository.store_pack(receiver)
}

/// Bytes that do not compress.
fn noise(length: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(length)
    .collect()
}

#[test]
fn few_objects_become_files_and_only_the_missing_ones() {
    let (_folder, mut repository) = empty();
    let objects = [blob(b"one"), blob(b"two")];
    repository.write_objects(&objects[..1]).unwrap();
    let received = receive(&mut repository, &pack(&objects)).unwrap();
    assert_eq!(received.objects, 2);
    assert_eq!(repository.loose_ids().unwrap().len(), 2);
    repository.discard(received).unwrap();
    assert_eq!(repository.loose_ids().unwrap(), [ObjectId(objects[0].id)]);
}

#[test]
fn many_objects_and_large_ones_become_packs_and_can_be_discarded() {
    let many: Vec<_> = (0..100).map(|number| blob(format!("{number}").as_bytes())).collect();
    let large: Vec<_> = (0..5).map(|seed| blob(&noise(1_000_000, seed))).collect();
    for objects in [many, large] {
        let (_folder, mut repository) = empty();
        let before = files_below(repository.path()).len();
        let received = receive(&mut repository, &pack(&objects)).unwrap();
        assert_eq!(files_below(&repository.pack_folder()).len(), 2);
        assert!(objects.iter().all(|object| repository.contains(ObjectId(object.id))));
        check_with_git(repository.path());
        repository.discard(received).unwrap();
        assert!(!repository.contains(ObjectId(objects[0].id)));
        assert_eq!(files_below(repository.path()).len(), before);
    }
}

#[test]
fn discarding_spares_what_the_history_came_to_need() {
    for extra in [1, 100] {
        let (_folder, mut repository) = empty();
        append(&repository, 1, "before");
        let shared = blob(b"shared");
        let mut objects: Vec<_> = (0..extra).map(|number| blob(format!("{number}").as_bytes())).collect();
        objects.push(shared.clone());
        let received = receive(&mut repository, &pack(&objects)).unwrap();
        let root = tree(&[("file", &shared)]);
        let old = repository.head().unwrap();
        let commit = commit_object(TreeId(root.id), old.as_slice(), 7_000, "uses it");
        let id = CommitId(commit.id);
        repository.write_objects(&[shared, root, commit]).unwrap();
        repository.move_main(old, id).unwrap();
        repository.discard(received).unwrap();
        assert!(!repository.contains(ObjectId(objects[0].id)));
        check_with_git(repository.path());
        Repository::open(repository.path()).unwrap();
    }
}

#[test]
fn the_same_large_pack_twice_is_stored_once() {
    let (_folder, mut repository) = empty();
    let bytes = pack(&[blob(&noise(3_000_000, 1))]);
    let first = receive(&mut repository, &bytes).unwrap();
    let second = receive(&mut repository, &bytes).unwrap();
    repository.discard(second).unwrap();
    assert_eq!(files_below(&repository.pack_folder()).len(), 2);
    repository.discard(first).unwrap();
    assert_eq!(files_below(&repository.pack_folder()).len(), 0);
}

#[test]
fn a_refused_pack_leaves_others_what_both_brought() {
    for extra in [1, 100] {
        let (_folder, mut repository) = empty();
        let shared: Vec<_> = (0..extra).map(|number| blob(format!("{number}").as_bytes())).collect();
        let bad = [shared.clone(), vec![blob(b"bad")]].concat();
        let refused = receive(&mut repository, &pack(&bad)).unwrap();
        let good = receive(&mut repository, &pack(&shared)).unwrap();
        repository.discard(refused).unwrap();
        assert!(shared.iter().all(|object| repository.contains(ObjectId(object.id))));
        let root = tree(&[("file", &shared[0])]);
        let commit = commit_object(TreeId(root.id), &[], 7_000, "uses one");
        let id = CommitId(commit.id);
        repository.write_objects(&[root, commit]).unwrap();
        repository.move_main(None, id).unwrap();
        repository.keep(good).unwrap();
        assert!(!repository.contains(ObjectId(bad[extra].id)));
        Repository::open(repository.path()).unwrap();
    }
}

#[test]
fn refused_packs_leave_nothing_behind() {
    let small = pack(&[blob(b"one")]);
    let large = pack(&[blob(&noise(3_000_000, 1))]);
    let (_folder, mut repository) = empty();
    let before = files_below(repository.path());
    for whole in [&small, &large] {
        let mut wrong_sum = whole.clone();
        *wrong_sum.last_mut().unwrap() ^= 1;
        assert!(matches!(
            receive(&mut repository, &wrong_sum),
            Err(RepositoryError::Pack(PackError::Checksum))
        ));
        assert!(matches!(
            receive(&mut repository, &whole[..whole.len() - 5]),
            Err(RepositoryError::Pack(PackError::Truncated))
        ));
        assert!(matches!(
            receive(&mut repository, &[whole, &b"x"[..]].concat()),
            Err(RepositoryError::Pack(PackError::TrailingBytes))
        ));
    }
    let bomb = pack(&[blob(&vec![0; 33 * 1024 * 1024])]);
    assert!(matches!(
        receive(&mut repository, &bomb),
        Err(RepositoryError::Pack(PackError::Limit(PackLimit::ObjectBytes)))
    ));
    assert_eq!(files_below(repository.path()), before);
}

#[test]
fn a_small_pack_that_inflates_to_much_goes_through_a_file() {
    let (_folder, mut repository) = empty();
    let objects = [blob(&vec![1; 20_000_000]), blob(&vec![2; 20_000_000])];
    let bytes = pack(&objects);
    assert!(bytes.len() < 100_000);
    let _ = receive(&mut repository, &bytes).unwrap();
    assert!(repository.contains(ObjectId(objects[1].id)));
    check_with_git(repository.path());
}

#[test]
fn trees_with_links_or_paths_upwards_are_refused() {
    let file = blob(b"file");
    for entry in ["120000 link", "100755 tool", "160000 module", "100644 ..", "100644 .git"] {
        let (_folder, mut repository) = empty();
        let content = [entry.as_bytes(), b"\0", &file.id].concat();
        let root = NewObject::new(ObjectKind::Tree, content).unwrap();
        let head = commit_object(TreeId(root.id), &[], 1, "hostile");
        let id = CommitId(head.id);
        let received = receive(&mut repository, &pack(&[file.clone(), root, head])).unwrap();
        let checked = repository.check_connected(id, &[]);
        assert!(matches!(checked, Err(RepositoryError::BadObject { .. })), "{entry} {checked:?}");
        repository.discard(received).unwrap();
        assert_eq!(repository.loose_ids().unwrap(), []);
    }
}
