//! Creating, importing, writing, walking, consolidating.

use skep_protocol::ids::BlobId;
use skep_protocol::swarm::object::{EMPTY_BLOB, ObjectSource, SourceError};

use super::super::cache::ObjectCache;
use super::super::consolidate::{MAX_LOOSE, MAX_PACKS};
use super::super::staging::NewPack;
use super::super::{
    Consolidation, Repository, RepositoryError, durable, export_bundle, is_in_history, pack_folder,
};
use super::*;
use crate::swarm::replica::ReplicaError;

#[test]
fn a_repository_can_move_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<Repository>();
}

#[test]
fn a_new_repository_is_empty_and_sound() {
    let (folder, repository) = empty();
    assert_eq!(repository.head().unwrap(), None);
    assert_eq!(repository.advertise().unwrap(), None);
    check_with_git(repository.path());
    let path = folder.path().join("repo");
    assert!(matches!(Repository::create(&path), Err(RepositoryError::AlreadyExists(_))));
    assert!(matches!(Repository::open(folder.path()), Err(RepositoryError::NotARepository(_))));
    let moved = repository.move_to(&folder.path().join("elsewhere")).unwrap();
    assert!(!path.exists() && moved.path().exists());
    Repository::erase(moved.path()).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn bundles_of_real_conversations_import_and_walk() {
    for name in BUNDLES {
        let (_folder, repository) = imported(name);
        let head = repository.head().unwrap().unwrap();
        let commits = repository.commits_between(head, &[]).unwrap();
        check_with_git(repository.path());
        if git_is_here() {
            let listed = git(repository.path(), &["rev-list", "main"]);
            let mut theirs: Vec<_> = listed.lines().collect();
            let mut ours: Vec<_> = commits.iter().map(ToString::to_string).collect();
            theirs.sort_unstable();
            ours.sort_unstable();
            assert_eq!(ours, theirs, "{name}");
        }
        for (place, id) in commits.iter().enumerate() {
            let commit = repository.commit_at(*id).unwrap();
            assert!(commit.parents.iter().all(|parent| commits[..place].contains(parent)), "{name}");
            // Whatever is known at a commit, the rest is exactly what it does not reach.
            let rest = repository.commits_between(head, &[*id]).unwrap();
            let reached = repository.commits_between(*id, &[]).unwrap();
            assert_eq!(rest.len() + reached.len(), commits.len(), "{name}");
            assert!(rest.iter().all(|id| !reached.contains(id)));
            assert!(is_in_history(&repository, *id).unwrap());
        }
    }
}

#[test]
fn a_repository_is_not_damaged_because_the_system_gives_no_index() {
    let (_folder, mut repository) = empty();
    let head = append(&repository, MAX_LOOSE + 1, "packed");
    let path = repository.path().to_owned();
    assert_eq!(consolidate(&mut repository), Consolidation::Done);
    let index = durable::file_names(&pack_folder(&path)).unwrap();
    let index = pack_folder(&path).join(index.iter().find(|name| name.ends_with(".idx")).unwrap());
    let aside = path.join("aside");
    std::fs::rename(&index, &aside).unwrap();
    // What is told there cannot be mapped into memory.
    std::os::unix::fs::symlink("/proc/self/environ", &index).unwrap();
    let refused = Repository::open(&path).unwrap_err();
    assert!(matches!(refused, RepositoryError::Io { .. }), "{refused}");
    assert!(!ReplicaError::from(refused).is_damage());
    std::fs::remove_file(&index).unwrap();
    std::fs::write(&index, "cut off").unwrap();
    assert!(ReplicaError::from(Repository::open(&path).unwrap_err()).is_damage());
    std::fs::rename(&aside, &index).unwrap();
    let whole = Repository::open(&path).unwrap();
    assert_eq!(whole.commits_between(head, &[]).unwrap().len(), MAX_LOOSE + 1);
}

#[test]
fn folders_that_are_in_each_other_twice_are_looked_at_once() {
    let (_folder, repository) = empty();
    let mut folder = tree(&[("file", &blob(b"file"))]);
    let mut objects = vec![blob(b"file"), folder.clone()];
    for _ in 0..60 {
        let mut twice = Tree::default();
        for name in ["a", "b"] {
            twice.put(name, EntryKind::Folder(TreeId(folder.id))).unwrap();
        }
        folder = NewObject::new(ObjectKind::Tree, twice.to_bytes()).unwrap();
        objects.push(folder.clone());
    }
    let head = commit_object(TreeId(folder.id), &[], 1, "many folders");
    objects.push(head.clone());
    repository.write_objects(&objects).unwrap();
    repository.move_main(None, CommitId(head.id)).unwrap();
    let path = repository.path().to_owned();
    drop(repository);
    assert_eq!(Repository::open(&path).unwrap().head().unwrap(), Some(CommitId(head.id)));
}

#[test]
fn what_was_reached_is_remembered_when_a_merge_gives_way_to_another_one() {
    let (_folder, repository) = empty();
    let first = append(&repository, 1, "first");
    let middle = append(&repository, 1, "middle");
    let (ours, theirs) =
        (commit(&repository, &[middle], 2_000, "ours"), commit(&repository, &[middle], 2_001, "theirs"));
    let merges = [[ours, theirs], [theirs, ours]].map(|sides| commit(&repository, &sides, 2_002, "a merge"));
    repository.move_main(Some(middle), merges[0]).unwrap();
    assert!(is_in_history(&repository, first).unwrap());
    // Whoever walks down to this one again finds it missing.
    let (lost, aside) = (repository.loose_path(middle.into()), repository.path().join("aside"));
    std::fs::rename(&lost, &aside).unwrap();
    *repository.cache() = ObjectCache::default();
    repository.move_main(Some(merges[0]), merges[1]).unwrap();
    for reached in [first, ours, theirs, merges[1]] {
        assert!(is_in_history(&repository, reached).unwrap());
    }
    assert!(!is_in_history(&repository, merges[0]).unwrap(), "it is no part of the history any more");
    std::fs::rename(&aside, &lost).unwrap();
    // A head that leaves out more than a merge is walked from anew.
    let apart = commit(&repository, &[ours], 2_003, "apart");
    repository.move_main(Some(merges[1]), apart).unwrap();
    assert!(is_in_history(&repository, first).unwrap() && !is_in_history(&repository, theirs).unwrap());
}

#[test]
fn an_erased_repository_does_not_come_back_with_what_is_still_being_written() {
    let (_folder, repository) = empty();
    append(&repository, 1, "first");
    Repository::erase(repository.path()).unwrap();
    assert!(repository.write_objects(&[blob(b"late")]).is_err());
    assert!(NewPack::create(&repository, 1).is_err());
    assert!(!repository.path().exists());
}

#[test]
fn a_pack_that_comes_again_before_it_was_removed_stays() {
    let (_folder, mut repository) = empty();
    admit_packs(&mut repository, 0, MAX_PACKS + 1);
    let (stem, ids) = repository.packs().unwrap().swap_remove(0);
    let folder = repository.pack_folder();
    let kept = std::fs::read(folder.join(format!("{stem}.idx"))).unwrap();
    let packed = repository.begin_packing().unwrap().pack().unwrap().unwrap();
    let surplus = repository.adopt_packed(packed).unwrap().unwrap();
    assert!(!folder.join(format!("{stem}.idx")).exists() && folder.join(format!("{stem}.pack")).exists());
    std::fs::write(folder.join(format!("{stem}.idx")), kept).unwrap();
    surplus.remove(&RefCell::new(&mut repository)).unwrap();
    let again = Repository::open(repository.path()).unwrap();
    assert!(again.packs().unwrap().iter().any(|pack| pack.0 == stem));
    assert!(ids.iter().all(|id| again.find(*id).unwrap().is_some()));
}

#[test]
fn a_damaged_bundle_leaves_nothing() {
    let whole = std::fs::read(bundle(BUNDLES[0])).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file.bundle");
    let mut altered = whole.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    for bytes in [&b""[..], b"# v2 git bundle\n", b"garbage\n\n", &whole[..whole.len() - 100], &altered] {
        std::fs::write(&file, bytes).unwrap();
        assert!(Repository::import_bundle(&file, &folder.path().join("repo")).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn what_is_acknowledged_is_there_after_opening_again() {
    let (_folder, repository) = empty();
    let head = append(&repository, 3, "text");
    let again = Repository::open(repository.path()).unwrap();
    assert_eq!(again.head().unwrap(), Some(head));
    assert_eq!(history_length(&again), 3);
    check_with_git(again.path());
}

#[test]
fn main_moves_only_from_the_expected_head_to_a_commit_that_is_here() {
    let (_folder, repository) = empty();
    let one = commit(&repository, &[], 1, "one");
    let two = commit(&repository, &[one], 2, "two");
    repository.move_main(None, one).unwrap();
    for wrong in [None, Some(two)] {
        let refused = repository.move_main(wrong, two);
        assert!(matches!(refused, Err(RepositoryError::HeadMoved { .. })), "{refused:?}");
    }
    let missing = repository.move_main(Some(one), CommitId([1; 20]));
    assert!(matches!(missing, Err(RepositoryError::MissingObject(_))));
    repository.move_main(Some(one), two).unwrap();
    assert_eq!(repository.head().unwrap(), Some(two));
    assert!(files_below(&repository.path().join("refs")).iter().all(|path| path.ends_with("main")));
}

#[test]
fn as_a_source_it_neither_mixes_kinds_nor_reads_beyond_the_limit() {
    let (_folder, repository) = empty();
    let file = blob(b"four");
    repository.write_objects(std::slice::from_ref(&file)).unwrap();
    let id = BlobId(file.id);
    assert_eq!(repository.blob(id, 4).unwrap().unwrap().as_ref(), b"four");
    assert!(matches!(repository.blob(id, 3), Err(SourceError::TooLong { limit: 3 })));
    assert!(repository.commit(CommitId(file.id)).unwrap().is_none());
    assert!(repository.tree(TreeId(file.id)).unwrap().is_none());
    assert!(repository.blob(EMPTY_BLOB, 4).unwrap().is_none());
}

#[test]
fn walks_stop_at_what_is_known_and_do_not_trust_times() {
    let (_folder, mut repository) = empty();
    let base = append_packed(&mut repository, 2_000, "old");
    let old = commit(&repository, &[base], 5, "claims to be from 1970");
    let future = commit(&repository, &[old], 1 << 40, "claims to be from the future");
    assert_eq!(repository.commits_between(future, &[base]).unwrap(), [old, future]);
    assert_eq!(repository.commits_between(base, &[future]).unwrap(), []);
    let other = commit(&repository, &[base], 4_000, "other side");
    assert_eq!(repository.commits_between(other, &[future]).unwrap(), [other]);
    let merge = commit(&repository, &[future, other], 4_001, "merge");
    assert_eq!(repository.commits_between(merge, &[future]).unwrap(), [other, merge]);
    let newest = repository.newest_commits(merge, 3).unwrap();
    assert_eq!(newest, [merge, future, other]);
}

#[test]
fn a_long_known_side_does_not_hide_where_a_short_new_side_begins() {
    let (_folder, mut repository) = empty();
    let fork = append_packed(&mut repository, 300, "before");
    let ours = append_packed(&mut repository, 1_500, "ours");
    let theirs = commit(&repository, &[fork], 1_302, "theirs");
    assert_eq!(repository.commits_between(theirs, &[ours]).unwrap(), [theirs]);
    assert_eq!(repository.commits_between(ours, &[theirs]).unwrap().len(), 1_500);
}

#[test]
fn consolidating_keeps_every_object_and_bounds_the_number_of_files() {
    let (_folder, mut repository) = empty();
    let mut expected = 0;
    for round in 0..3 {
        append(&repository, MAX_LOOSE + 1, &format!("round {round}"));
        expected += MAX_LOOSE + 1;
        assert_eq!(consolidate(&mut repository), Consolidation::Done);
        assert_eq!(consolidate(&mut repository), Consolidation::Nothing);
        assert_eq!(loose(&repository), []);
        assert_eq!(history_length(&repository), expected);
        assert!(files_below(&repository.path().join("objects")).len() <= 2 * 3);
    }
    check_with_git(repository.path());
    let again = Repository::open(repository.path()).unwrap();
    assert_eq!(history_length(&again), expected);
}

#[test]
fn what_is_written_and_admitted_while_objects_are_packed_is_seen_and_stays() {
    let (_folder, mut repository) = empty();
    append(&repository, 600, "before");
    admit_packs(&mut repository, 0, MAX_PACKS + 1);
    let packing = repository.begin_packing().unwrap();
    assert!(repository.begin_packing().is_none(), "one packs at a time");
    append(&repository, 1, "begun");
    let packed = packing.pack().unwrap().unwrap();
    let mut stay = vec![append(&repository, 1, "packed").into()];
    admit_packs(&mut repository, 100, 1);
    let surplus = repository.adopt_packed(packed).unwrap().unwrap();
    stay.push(append(&repository, 1, "adopted").into());
    assert_eq!(history_length(&repository), 603);
    surplus.remove(&RefCell::new(&mut repository)).unwrap();
    stay.push(append(&repository, 1, "removed").into());
    stay.sort_unstable();
    assert_eq!(loose(&repository), stay);
    assert_eq!(history_length(&repository), 604);
    assert!([0, MAX_PACKS, 100].iter().all(|number| {
        repository.contains(ObjectId(blob(format!("{number} 69").as_bytes()).id)).unwrap()
    }));
    assert_eq!(consolidate(&mut repository), Consolidation::Nothing);
    check_with_git(repository.path());
}

#[test]
fn commits_of_one_author_are_packed_as_what_they_add_and_read_as_they_were() {
    let (_folder, mut repository) = empty();
    let author = "0123456789abcdef".repeat(40);
    let (head, objects) = chain(&repository, None, 300, &author);
    repository.write_objects(&objects).unwrap();
    repository.move_main(None, head).unwrap();
    assert_eq!(consolidate(&mut repository), Consolidation::Done);
    let [(name, ids)] = <[_; 1]>::try_from(repository.packs().unwrap()).unwrap();
    assert_eq!(ids.len(), objects.len());
    let file = repository.pack_folder().join(format!("{name}.pack"));
    assert!(std::fs::metadata(file).unwrap().len() * 10 < pack(&objects).len() as u64 * 9);
    let again = Repository::open(repository.path()).unwrap();
    for object in &objects {
        assert_eq!(again.find(ObjectId(object.id)).unwrap(), Some((object.kind, object.content.clone())));
    }
    check_with_git(repository.path());
}

#[test]
fn packs_stay_few_however_many_come_and_each_object_is_rewritten_few_times() {
    const PACKS: usize = 120;
    let (_folder, mut repository) = empty();
    let mut rewritten = 0;
    for number in 0..PACKS {
        admit_packs(&mut repository, number, 1);
        let before: Vec<_> = repository.packs().unwrap().into_iter().map(|(name, _)| name).collect();
        let _ = consolidate(&mut repository);
        let packs = repository.packs().unwrap();
        assert!(packs.len() <= MAX_PACKS, "{}", packs.len());
        rewritten +=
            packs.iter().filter(|(name, _)| !before.contains(name)).map(|pack| pack.1.len()).sum::<usize>();
    }
    assert!(rewritten <= 4 * 70 * PACKS, "{rewritten}");
    assert!(
        (0..PACKS).all(|number| {
            repository.contains(ObjectId(blob(format!("{number} 0").as_bytes()).id)).unwrap()
        })
    );
    check_with_git(repository.path());
}

#[test]
fn an_object_whose_name_could_not_be_forced_to_disk_is_forced_when_it_is_written_again() {
    let (folder, repository) = empty();
    let objects = [blob(b"one"), blob(b"two")];
    // Its turn is first, and it cannot be forced.
    let missing = folder.path().join("missing");
    repository.unforced.borrow_mut().insert(missing.clone());
    for _ in 0..2 {
        assert!(repository.write_objects(&objects).is_err());
        let place = repository.loose_path(ObjectId(objects[0].id));
        assert!(repository.unforced.borrow().contains(place.parent().unwrap()));
    }
    std::fs::create_dir(&missing).unwrap();
    assert_eq!(repository.write_objects(&objects).unwrap(), []);
    assert!(repository.unforced.borrow().is_empty());
}

#[test]
fn whether_old_commits_are_in_the_history_is_found_out_by_one_walk() {
    let (_folder, repository) = empty();
    let first = append(&repository, 1, "first");
    let second = append(&repository, 1, "second");
    append(&repository, 20, "more");
    assert!(is_in_history(&repository, first).unwrap());
    // Who walked again would miss it.
    std::fs::remove_file(repository.loose_path(second.into())).unwrap();
    let newer = append(&repository, 3, "newer");
    let newest = append(&repository, 1, "newest");
    assert!([first, newer, newest].iter().all(|id| is_in_history(&repository, *id).unwrap()));
    let walk = Repository::open(repository.path()).unwrap();
    assert!(is_in_history(&walk, first).is_err());
}

#[test]
fn a_commit_in_the_store_is_in_the_history_only_while_the_head_reaches_it() {
    let (_folder, repository) = empty();
    let base = append(&repository, 5, "base");
    let ours = commit(&repository, &[base], 5_000, "a merge that is given up");
    let theirs = commit(&repository, &[base], 5_001, "the other one");
    assert!(!is_in_history(&repository, ours).unwrap());
    repository.move_main(Some(base), ours).unwrap();
    let newer = append(&repository, 1, "newer");
    assert!(is_in_history(&repository, ours).unwrap());
    repository.move_main(Some(newer), theirs).unwrap();
    for (id, is_in) in
        [(ours, false), (newer, false), (base, true), (theirs, true), (CommitId([1; 20]), false)]
    {
        assert_eq!(is_in_history(&repository, id).unwrap(), is_in);
    }
}

#[test]
fn an_exported_bundle_is_verified_by_git_and_imports_as_the_same_history() {
    for name in BUNDLES {
        let (folder, repository) = imported(name);
        let path = folder.path().join("exported.bundle");
        let (head, length) = export_bundle(&repository, &path).unwrap();
        assert_eq!(Some(head), repository.head().unwrap());
        assert_eq!(length, std::fs::metadata(&path).unwrap().len());
        assert!(matches!(export_bundle(&repository, &path), Err(RepositoryError::AlreadyExists(_))));
        if git_is_here() {
            git(repository.path(), &["bundle", "verify", "-q", path.to_str().unwrap()]);
        }
        let again = Repository::import_bundle(&path, &folder.path().join("again")).unwrap();
        let commits = |of: &Repository| of.commits_between(head, &[]).unwrap();
        assert_eq!(commits(&again), commits(&repository));
        // What cannot be written whole is not there at all.
        let nowhere = folder.path().join("missing").join("bundle");
        assert!(matches!(export_bundle(&repository, &nowhere), Err(RepositoryError::Io { .. })));
    }
    let (folder, repository) = empty();
    let path = folder.path().join("bundle");
    assert!(matches!(export_bundle(&repository, &path), Err(RepositoryError::Empty(_))));
    assert!(!path.exists());
}
