//! Taking in packs, good and bad.

use skep_protocol::ids::BlobId;
use skep_protocol::swarm::git::pack::{PackError, PackLimit};
use skep_protocol::swarm::object::ObjectSource as _;

use super::super::{Consolidation, RepositoryError};
use super::*;

/// Bytes that do not compress.
pub(super) fn noise(length: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(length)
    .collect()
}

/// What is held in memory, in a pack made of small ones, and in the pack that came.
fn few_many_and_large() -> [Vec<NewObject>; 3] {
    let blobs = |count: usize| (0..count).map(|number| blob(format!("{number}").as_bytes())).collect();
    [blobs(2), blobs(100), (0..5).map(|seed| blob(&noise(1_000_000, seed))).collect()]
}

#[test]
fn few_objects_become_files_and_only_the_missing_ones() {
    let (_folder, mut repository) = empty();
    let objects = [blob(b"one"), blob(b"two")];
    repository.write_objects(&objects[..1]).unwrap();
    let quarantine = receive(&repository, &pack(&objects)).unwrap();
    assert_eq!(quarantine.objects(), 2);
    assert_eq!(loose(&repository), [ObjectId(objects[0].id)]);
    repository.admit(quarantine).unwrap();
    assert_eq!(loose(&repository).len(), 2);
}

#[test]
fn many_objects_and_large_ones_become_packs() {
    for objects in &few_many_and_large()[1..] {
        let (_folder, mut repository) = empty();
        let quarantine = receive(&repository, &pack(objects)).unwrap();
        repository.admit(quarantine).unwrap();
        assert_eq!(files_below(&repository.pack_folder()).len(), 2);
        assert!(objects.iter().all(|object| repository.contains(ObjectId(object.id)).unwrap()));
        check_with_git(repository.path());
    }
}

#[test]
fn what_is_not_admitted_is_seen_by_nobody_else_and_leaves_nothing() {
    for objects in few_many_and_large() {
        let (_folder, repository) = empty();
        let before = files_below(repository.path());
        let quarantine = receive(&repository, &pack(&objects)).unwrap();
        for object in &objects {
            let id = BlobId(object.id);
            assert_eq!(quarantine.blob(id, usize::MAX).unwrap().as_ref(), Some(&object.content));
            assert!(!repository.contains(ObjectId(object.id)).unwrap());
        }
        drop(quarantine);
        assert_eq!(files_below(repository.path()), before);
    }
}

#[test]
fn a_quarantine_sees_what_others_write_and_admit_meanwhile() {
    for objects in few_many_and_large() {
        let (_folder, mut repository) = empty();
        let mut quarantine = receive(&repository, &pack(&objects)).unwrap();
        let written = append(&repository, 1, "written");
        assert!(quarantine.commit_at(written).is_ok());
        let packed = append_packed(&mut repository, 100, "admitted");
        quarantine.renew(&repository).unwrap();
        assert!(quarantine.commit_at(packed).is_ok());
        let id = BlobId(objects[0].id);
        assert!(quarantine.blob(id, usize::MAX).unwrap().is_some());
    }
}

#[test]
fn nothing_is_removed_while_a_quarantine_reads_it_and_nothing_packed_twice() {
    let (_folder, mut repository) = empty();
    append(&repository, 600, "text");
    let before = loose(&repository);
    let quarantine = receive(&repository, &pack(&[blob(b"one")])).unwrap();
    for _ in 0..2 {
        assert_eq!(consolidate(&mut repository), Consolidation::Viewed);
        assert_eq!(loose(&repository), before);
        assert_eq!(repository.packs().unwrap().len(), 1);
    }
    drop(quarantine);
    assert_eq!(consolidate(&mut repository), Consolidation::Done);
    assert_eq!(loose(&repository), []);
    assert_eq!(repository.packs().unwrap().len(), 1);
    assert_eq!(consolidate(&mut repository), Consolidation::Nothing);
    assert_eq!(history_length(&repository), 600);
}

#[test]
fn the_same_large_pack_twice_is_stored_once() {
    let (_folder, mut repository) = empty();
    let bytes = pack(&[blob(&noise(3_000_000, 1))]);
    let both = [(); 2].map(|()| receive(&repository, &bytes).unwrap());
    for quarantine in both {
        repository.admit(quarantine).unwrap();
    }
    assert_eq!(files_below(&repository.pack_folder()).len(), 2);
    check_with_git(repository.path());
}

#[test]
fn a_refused_pack_leaves_others_what_both_brought() {
    for extra in [1, 100] {
        let (_folder, mut repository) = empty();
        let shared: Vec<_> = (0..extra).map(|number| blob(format!("{number}").as_bytes())).collect();
        let bad = [shared.clone(), vec![blob(b"bad")]].concat();
        let refused = receive(&repository, &pack(&bad)).unwrap();
        let good = receive(&repository, &pack(&shared)).unwrap();
        drop(refused);
        repository.admit(good).unwrap();
        assert!(shared.iter().all(|object| repository.contains(ObjectId(object.id)).unwrap()));
        assert!(!repository.contains(ObjectId(bad[extra].id)).unwrap());
        check_with_git(repository.path());
    }
}

#[test]
fn refused_packs_leave_nothing_behind() {
    let small = pack(&[blob(b"one")]);
    let large = pack(&[blob(&noise(3_000_000, 1))]);
    let (_folder, repository) = empty();
    let before = files_below(repository.path());
    for whole in [&small, &large] {
        let mut wrong_sum = whole.clone();
        *wrong_sum.last_mut().unwrap() ^= 1;
        assert!(matches!(receive(&repository, &wrong_sum), Err(RepositoryError::Pack(PackError::Checksum))));
        assert!(matches!(
            receive(&repository, &whole[..whole.len() - 5]),
            Err(RepositoryError::Pack(PackError::Truncated))
        ));
        assert!(matches!(
            receive(&repository, &[whole, &b"x"[..]].concat()),
            Err(RepositoryError::Pack(PackError::TrailingBytes))
        ));
    }
    let bomb = pack(&[blob(&vec![0; 33 * 1024 * 1024])]);
    assert!(matches!(
        receive(&repository, &bomb),
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
    let quarantine = receive(&repository, &bytes).unwrap();
    repository.admit(quarantine).unwrap();
    assert!(repository.contains(ObjectId(objects[1].id)).unwrap());
    check_with_git(repository.path());
}

#[test]
fn trees_with_links_or_paths_upwards_are_refused() {
    let file = blob(b"file");
    for entry in ["120000 link", "100755 tool", "160000 module", "100644 ..", "100644 .git"] {
        let (_folder, repository) = empty();
        let content = [entry.as_bytes(), b"\0", &file.id].concat();
        let root = NewObject::new(ObjectKind::Tree, content).unwrap();
        let head = commit_object(TreeId(root.id), &[], 1, "hostile");
        let id = CommitId(head.id);
        let mut received = receive(&repository, &pack(&[file.clone(), root, head])).unwrap();
        let checked = received.keep_needed(id);
        assert!(matches!(checked, Err(RepositoryError::BadObject { .. })), "{entry} {checked:?}");
        drop(received);
        assert_eq!(loose(&repository), []);
    }
}

/// Four ways a pack comes: a few objects, many, some large ones, and few that inflate to much.
fn junk() -> [Vec<NewObject>; 4] {
    let [few, many, large] = few_many_and_large();
    [few, many, large, vec![blob(&vec![1; 20_000_000]), blob(&vec![2; 20_000_000])]]
}

#[test]
fn only_what_the_new_commits_need_is_admitted() {
    for junk in junk() {
        let (_folder, mut repository) = empty();
        let old = append(&repository, 3, "old");
        let (head, needed) = chain(&repository, Some(old), 80, "new");
        let stray = commit_object(TreeId(needed[1].id), &[old], 9_000, "in no history");
        let sent = [needed.clone(), junk.clone(), vec![stray.clone()]].concat();
        let mut quarantine = receive(&repository, &pack(&sent)).unwrap();
        assert_eq!(quarantine.keep_needed(head).unwrap().len(), 80);
        assert!(quarantine.commit_at(CommitId(stray.id)).is_err(), "validation does not see it either");
        repository.admit(quarantine).unwrap();
        repository.move_main(Some(old), head).unwrap();
        assert!(needed.iter().all(|object| repository.contains(ObjectId(object.id)).unwrap()));
        assert!(!junk.iter().chain([&stray]).any(|object| repository.contains(ObjectId(object.id)).unwrap()));
        check_with_git(repository.path());
        assert_eq!(history_length(&Repository::open(repository.path()).unwrap()), 83);
    }
}

#[test]
fn a_large_pack_of_nothing_but_what_is_needed_is_moved_in_as_it_came() {
    let (_folder, mut repository) = empty();
    let file = blob(&noise(3_000_000, 1));
    let root = tree(&[("file", &file)]);
    let first = commit_object(TreeId(root.id), &[], 1_000, "first");
    let head = CommitId(first.id);
    let bytes = pack(&[file, root, first]);
    let mut quarantine = receive(&repository, &bytes).unwrap();
    quarantine.keep_needed(head).unwrap();
    repository.admit(quarantine).unwrap();
    let checksum: [u8; 20] = bytes[bytes.len() - 20..].try_into().unwrap();
    let name = format!("pack-{}.pack", ObjectId(checksum));
    assert_eq!(std::fs::read(repository.pack_folder().join(name)).unwrap(), bytes);
}

#[test]
fn of_a_history_that_is_sent_again_only_the_new_part_is_admitted() {
    let (_folder, mut repository) = empty();
    let (old, before) = chain(&repository, None, 500, "before");
    let file = blob(&noise(3_000_000, 1));
    repository.write_objects(&before).unwrap();
    repository.move_main(None, old).unwrap();
    let root = tree(&[("file", &file)]);
    let new = commit_object(TreeId(root.id), &[old], 9_000, "new");
    let head = CommitId(new.id);
    let mut quarantine = receive(&repository, &pack(&[before, vec![file, root, new]].concat())).unwrap();
    assert_eq!(quarantine.keep_needed(head).unwrap(), [head]);
    repository.admit(quarantine).unwrap();
    let packs = repository.packs().unwrap();
    assert_eq!(packs.iter().map(|(_, ids)| ids.len()).collect::<Vec<_>>(), [3]);
    check_with_git(repository.path());
}

#[test]
fn a_pack_whose_name_could_not_be_forced_to_disk_is_forced_and_seen_when_it_comes_again() {
    let (folder, mut repository) = empty();
    let large = blob(&noise(3_000_000, 1));
    let both = [(); 2].map(|()| receive(&repository, &pack(std::slice::from_ref(&large))).unwrap());
    // Its turn is first, and it cannot be forced.
    let missing = folder.path().join("missing");
    repository.unforced.borrow_mut().insert(missing.clone());
    let [first, second] = both;
    assert!(repository.admit(first).is_err());
    std::fs::create_dir(&missing).unwrap();
    assert!(repository.unforced.borrow().contains(&repository.pack_folder()));
    repository.admit(second).unwrap();
    assert!(repository.contains(ObjectId(large.id)).unwrap());
    assert!(repository.unforced.borrow().is_empty());
}
