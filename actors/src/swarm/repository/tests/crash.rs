//! What a crash or damage leaves, and what opening makes of it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use super::super::consolidate::MAX_PACKS;
use super::super::{Consolidation, Repository, RepositoryError, is_in_history};
use super::*;

/// A repository opened after a crash between objects and reference: its head, and the commit on top.
fn cut_off() -> (tempfile::TempDir, Repository, [CommitId; 2]) {
    let (folder, repository) = empty();
    let old = append(&repository, 2, "text");
    let new = commit(&repository, &[old], 5_000, "never acknowledged");
    let path = repository.path().to_owned();
    drop(repository);
    (folder, Repository::open(&path).unwrap(), [old, new])
}

#[test]
fn a_crash_between_objects_and_reference_leaves_the_old_head() {
    let (_folder, repository, [old, new]) = cut_off();
    let path = repository.path().to_owned();
    assert_eq!(repository.head().unwrap(), Some(old));
    check_with_git(&path);
    repository.move_main(Some(old), new).unwrap();
    check_with_git(&path);
}

#[test]
fn names_that_a_crash_left_unforced_are_forced_before_anything_builds_upon_them() {
    let (_folder, repository, [_, new]) = cut_off();
    let folder = repository.loose_path(new.into()).parent().unwrap().to_owned();
    assert!(repository.unforced.borrow().contains(&folder));
    repository.write_objects(&[]).unwrap();
    assert!(repository.unforced.borrow().is_empty());
}

#[test]
fn what_an_interrupted_write_leaves_is_swept_when_opening() {
    let (_folder, repository) = empty();
    let head = append(&repository, 2, "text");
    let path = repository.path().to_owned();
    let before = files_below(&path).len();
    drop(repository);
    let id = head.to_hex();
    for leftover in [
        format!("objects/{}/tmp_obj_{id}", &id[..2]),
        "objects/tmp_obj_x".to_owned(),
        "objects/pack/tmp_pack_1_2".to_owned(),
        "objects/pack/tmp_idx_pack-1".to_owned(),
        format!("objects/pack/pack-{id}.pack"),
        format!("objects/pack/pack-{}.idx", "ab".repeat(20)),
        "quarantine/1_2/objects/pack/tmp_pack".to_owned(),
        "refs/heads/main.lock".to_owned(),
    ] {
        fs::create_dir_all(path.join(&leftover).parent().unwrap()).unwrap();
        fs::write(path.join(leftover), b"partly writ").unwrap();
    }
    let repository = Repository::open(&path).unwrap();
    assert_eq!(files_below(&path).len(), before);
    assert_eq!(repository.head().unwrap(), Some(head));
    append(&repository, 1, "goes on");
    check_with_git(&path);
}

/// The repository as it is on disk now, as a crash would leave it.
fn crashed(repository: &Repository, folder: &Path) -> Repository {
    let copy = folder.join("crashed");
    let copied = Command::new("cp").arg("-r").arg(repository.path()).arg(&copy).status();
    assert!(copied.unwrap().success());
    Repository::open(&copy).unwrap()
}

#[test]
fn a_fetch_cut_off_by_a_crash_leaves_no_objects_before_they_are_admitted_and_no_part_of_them_after() {
    let few = vec![blob(b"one")];
    let many: Vec<_> = (0..100).map(|number| blob(format!("{number}").as_bytes())).collect();
    let large = vec![blob(&receive::noise(3_000_000, 1))];
    for objects in [few, many, large] {
        let (folder, mut repository) = empty();
        let head = append(&repository, 2, "text");
        let before = files_below(repository.path()).len();
        let check = |repository: &Repository, moment: &str| {
            let again = crashed(repository, folder.path());
            assert_eq!(files_below(again.path()).len(), before, "{moment}");
            assert!(objects.iter().all(|object| !again.contains(ObjectId(object.id)).unwrap()), "{moment}");
            assert_eq!(again.head().unwrap(), Some(head), "{moment}");
            check_with_git(again.path());
            Repository::erase(again.path()).unwrap();
        };
        let bytes = pack(&objects);
        let mut receiver = repository.receive_pack();
        receiver.receive(&bytes[..bytes.len() - 1]).unwrap();
        check(&repository, "while it is received");
        receiver.receive(&bytes[bytes.len() - 1..]).unwrap();
        let quarantine = receiver.store(&repository).unwrap();
        check(&repository, "while it is validated");
        let staged = files_below(repository.path());
        if let Some(staged) = staged.iter().find(|file| file.extension().is_some_and(|it| it == "pack")) {
            fs::copy(staged, repository.pack_folder().join(staged.file_name().unwrap())).unwrap();
            check(&repository, "between the pack and its index");
            fs::remove_file(repository.pack_folder().join(staged.file_name().unwrap())).unwrap();
        }
        repository.admit(quarantine).unwrap();
        let again = crashed(&repository, folder.path());
        assert!(objects.iter().all(|object| again.contains(ObjectId(object.id)).unwrap()), "admitted, whole");
        assert_eq!(again.head().unwrap(), Some(head), "and in no history yet");
        check_with_git(again.path());
    }
}

#[test]
fn a_crash_at_any_step_of_packing_loses_nothing_and_what_it_leaves_goes_with_the_next_packing() {
    let (folder, mut repository) = empty();
    append(&repository, 600, "text");
    admit_packs(&mut repository, 0, MAX_PACKS + 1);
    let check = |repository: &Repository, moment: &str, damage: &dyn Fn(&Path)| {
        let copy = folder.path().join("crashed");
        let copied = Command::new("cp").arg("-r").arg(repository.path()).arg(&copy).status();
        assert!(copied.unwrap().success());
        damage(&copy);
        let mut again = Repository::open(&copy).unwrap();
        check_with_git(&copy);
        assert_eq!(history_length(&again), 600, "{moment}");
        let _ = consolidate(&mut again);
        assert_eq!(loose(&again), [], "{moment}");
        let files = files_below(&copy.join("objects")).len();
        assert_eq!(files, 2 * again.packs().unwrap().len(), "{moment}: nothing but packs");
        assert!(files <= 2 * MAX_PACKS, "{moment}: {files}");
        assert_eq!(consolidate(&mut again), Consolidation::Nothing, "{moment}");
        assert_eq!(history_length(&again), 600, "{moment}");
        let objects = (0..=MAX_PACKS).map(|number| ObjectId(blob(format!("{number} 7").as_bytes()).id));
        assert!(objects.into_iter().all(|id| again.contains(id).unwrap()), "{moment}");
        check_with_git(&copy);
        Repository::erase(&copy).unwrap();
    };
    let before = files_below(&repository.pack_folder());
    let packing = repository.begin_packing().unwrap();
    let packed = packing.pack().unwrap().unwrap();
    let new = files_below(&repository.pack_folder())
        .into_iter()
        .find(|file| !before.contains(file) && file.extension().is_some_and(|ending| ending == "idx"));
    let new = new.unwrap().strip_prefix(repository.path()).unwrap().to_owned();
    check(&repository, "before the pack is in place", &|copy| {
        fs::remove_file(copy.join(&new)).unwrap();
        fs::remove_file(copy.join(&new).with_extension("pack")).unwrap();
    });
    check(&repository, "before its index is in place", &|copy| fs::remove_file(copy.join(&new)).unwrap());
    check(&repository, "when both are in place", &|_| ());
    let objects = loose(&repository);
    let surplus = repository.adopt_packed(packed).unwrap().unwrap();
    check(&repository, "when the old indexes are gone", &|_| ());
    check(&repository, "amid the removal", &|copy| {
        for id in &objects[..objects.len() / 2] {
            fs::remove_file(super::super::loose::loose_path(copy, *id)).unwrap();
        }
    });
    surplus.remove(&RefCell::new(&mut repository)).unwrap();
    check(&repository, "afterwards", &|_| ());
}

#[test]
fn a_truncated_repository_is_reported_and_not_repaired() {
    let (_folder, repository) = empty();
    let head = append(&repository, 2, "text");
    let path = repository.path().to_owned();
    let object = repository.loose_path(head.into());
    let file = repository.loose_path(ObjectId(blob(b"file").id));
    drop(repository);
    for victim in [&object, &file] {
        let whole = fs::read(victim).unwrap();
        for length in [0, 1, 10, whole.len() / 2] {
            fs::write(victim, &whole[..length]).unwrap();
            let opened = Repository::open(&path);
            assert!(matches!(opened, Err(RepositoryError::CorruptObject(_))), "{length} {opened:?}");
        }
        fs::write(victim, fs::read(if victim == &object { &file } else { &object }).unwrap()).unwrap();
        let opened = Repository::open(&path);
        assert!(matches!(opened, Err(RepositoryError::CorruptObject(_))), "{opened:?}");
        fs::remove_file(victim).unwrap();
        let opened = Repository::open(&path);
        assert!(matches!(opened, Err(RepositoryError::MissingObject(_))), "{opened:?}");
        fs::write(victim, whole).unwrap();
    }
    Repository::open(&path).unwrap();
    for content in ["", "\n", "123\n", &"g".repeat(40), &"1".repeat(100)] {
        fs::write(path.join("refs/heads/main"), content).unwrap();
        let opened = Repository::open(&path);
        assert!(matches!(opened, Err(RepositoryError::CorruptReference(_))), "{opened:?}");
    }
}

#[test]
fn a_truncated_pack_is_reported() {
    let (_folder, mut repository) = empty();
    append(&repository, 600, "text");
    assert_eq!(consolidate(&mut repository), Consolidation::Done);
    let path = repository.path().to_owned();
    let pack = files_below(&repository.pack_folder());
    let pack = pack.iter().find(|file| file.extension().unwrap() == "pack").unwrap().clone();
    drop(repository);
    let whole = fs::read(&pack).unwrap();
    for length in [0, 100, whole.len() / 2] {
        fs::write(&pack, &whole[..length]).unwrap();
        let Ok(repository) = Repository::open(&path) else { continue };
        // The head may lie in the part that is left; the rest must then be missed.
        let walked = repository.commits_between(repository.head().unwrap().unwrap(), &[]);
        assert!(walked.is_err(), "{length}");
    }
}

#[test]
fn a_head_that_is_being_moved_is_not_moved_twice() {
    let (_folder, repository) = empty();
    let head = append(&repository, 1, "text");
    let next = commit(&repository, &[head], 9_000, "next");
    let lock = repository.path().join("refs/heads/main.lock");
    fs::write(&lock, b"").unwrap();
    assert!(matches!(repository.move_main(Some(head), next), Err(RepositoryError::Locked(_))));
    assert!(lock.exists());
}

/// Tells the writer below where to write.
const WRITER_PATH: &str = "SKEP_TEST_KILLED_WRITER";

/// The process that the next test kills: acknowledges commit after commit, and packs on the way.
#[test]
#[ignore = "run by the test that kills it"]
fn writer_to_be_killed() {
    let Some(path) = std::env::var_os(WRITER_PATH) else { return };
    let mut repository = Repository::open(Path::new(&path)).unwrap();
    append(&repository, 600, "many");
    for number in 0..1_000 {
        let head = append(&repository, 1, &format!("number {number}"));
        println!("acknowledged {head}");
        std::io::stdout().flush().unwrap();
        // What a fetch does: admitted first, then in the history.
        append_packed(&mut repository, 70, &format!("fetched {number}"));
        let _ = consolidate(&mut repository);
    }
}

#[test]
fn a_killed_writer_leaves_a_sound_repository_with_all_it_acknowledged() {
    for acknowledgements in [1, 2, 9] {
        let (_folder, repository) = empty();
        let path = repository.path().to_owned();
        drop(repository);
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--nocapture", "--exact"])
            .arg(format!("{}::writer_to_be_killed", module_path!().split_once("::").unwrap().1))
            .env(WRITER_PATH, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(writer.stdout.take().unwrap()).lines().map(Result::unwrap);
        let last = lines
            .filter_map(|line| line.split_once("acknowledged ").map(|(_, id)| id.parse().unwrap()))
            .nth(acknowledgements - 1);
        let acknowledged: CommitId = last.unwrap();
        writer.kill().unwrap();
        writer.wait().unwrap();

        let repository = Repository::open(&path).unwrap();
        assert!(is_in_history(&repository, acknowledged).unwrap());
        assert!(history_length(&repository) >= 600 + acknowledgements);
        check_with_git(&path);
        append(&repository, 1, "goes on");
    }
}
