//! Our client against our server, in memory, step by step.

use std::collections::VecDeque;

use skep_protocol::swarm::git::download::DownloadError;

use super::super::RepositoryError;
use super::super::fetch::{Fetch, FetchError, Fetched, NewCommits};
use super::super::serve::{Serve, ServeError, Served};
use super::*;

/// Runs one fetch, delivering `step` bytes at a time and at most `budget` bytes from the server.
fn run(
    ours: &Repository,
    theirs: &Repository,
    serve: &mut Serve,
    fetch: &mut Fetch,
    step: usize,
    budget: usize,
) -> Result<(Fetched, Vec<Served>), FetchError> {
    let mut to_client: VecDeque<u8> = VecDeque::new();
    let mut to_server: VecDeque<u8> = VecDeque::new();
    let mut served = Vec::new();
    let mut delivered = 0;
    let mut more = false;
    let mut done = None;
    loop {
        let room = step.min(to_client.len());
        let bytes: Vec<u8> = to_client.drain(..room).collect();
        delivered += bytes.len();
        if delivered > budget {
            fetch.closed()?;
        }
        let advanced = fetch.advance(ours, &bytes)?;
        to_server.extend(advanced.send.iter().flatten());
        done = done.or(advanced.done);
        let room = step.min(to_server.len());
        let bytes: Vec<u8> = to_server.drain(..room).collect();
        if !bytes.is_empty() || more {
            let answered = serve.advance(theirs, &bytes).unwrap();
            more = answered.more;
            to_client.extend(answered.send.iter().flatten());
            served.extend(answered.served);
        }
        if to_server.is_empty()
            && serve.is_idle()
            && let Some(fetched) = done.take()
        {
            return Ok((fetched, served));
        }
    }
}

fn fetch(ours: &Repository, theirs: &Repository, serve: &mut Serve, step: usize) -> (Fetched, Vec<Served>) {
    let mut fetch = Fetch::new(CONVERSATION, SERVER);
    run(ours, theirs, serve, &mut fetch, step, usize::MAX).unwrap()
}

#[test]
fn clone_then_increment_then_up_to_date_on_one_channel_however_bytes_arrive() {
    for step in [1, 100, usize::MAX] {
        let (_theirs, theirs) = imported(BUNDLES[5]);
        let (_ours, mut ours) = empty();
        let mut serve = Serve::default();
        let head = theirs.head().unwrap().unwrap();
        let (fetched, served) = fetch(&ours, &theirs, &mut serve, step);
        assert_eq!(served, [Served::Sent(head)]);
        assert_eq!(take_in(&mut ours, fetched).len(), history_length(&theirs));
        check_with_git(ours.path());

        let newer = append(&theirs, 3, "more");
        let (fetched, served) = fetch(&ours, &theirs, &mut serve, step);
        assert_eq!(served[0].commit(), newer);
        let new = stored(&ours, fetched);
        // Three commits, one tree, one file: nothing of what we have is sent again.
        assert_eq!((new.quarantine.objects(), new.commits.len()), (5, 3));
        ours.admit(new.quarantine).unwrap();
        ours.move_main(Some(head), newer).unwrap();

        let (fetched, served) = fetch(&ours, &theirs, &mut serve, step);
        assert_eq!(up_to_date(fetched), newer);
        assert_eq!(served, [Served::UpToDate(newer)]);
        check_with_git(ours.path());
    }
}

#[test]
fn a_peer_that_is_behind_has_nothing_for_us() {
    let (_theirs, theirs) = imported(BUNDLES[3]);
    let (_ours, ours) = imported(BUNDLES[3]);
    append(&ours, 2, "ahead");
    let (fetched, _) = fetch(&ours, &theirs, &mut Serve::default(), usize::MAX);
    assert_eq!(Some(up_to_date(fetched)), theirs.head().unwrap());
}

#[test]
fn more_than_twenty_commits_apart_the_rest_of_the_history_is_sent_again() {
    let (_theirs, theirs) = imported(BUNDLES[3]);
    let (_ours, ours) = imported(BUNDLES[3]);
    append(&ours, 25, "ours");
    append(&theirs, 30, "theirs");
    let (fetched, _) = fetch(&ours, &theirs, &mut Serve::default(), usize::MAX);
    let NewCommits { head, commits, quarantine } = stored(&ours, fetched);
    assert_eq!(commits.len(), 30);
    assert!(quarantine.objects() > 60);
    assert_eq!(commits.last(), Some(&head));
}

#[test]
fn a_fetch_that_fails_validation_leaves_nothing_and_can_be_made_again() {
    let (_theirs, theirs) = imported(BUNDLES[3]);
    let (_ours, ours) = imported(BUNDLES[3]);
    let old = ours.head().unwrap();
    append(&theirs, 100, "theirs");
    for _ in 0..2 {
        let files = files_below(ours.path());
        let (fetched, _) = fetch(&ours, &theirs, &mut Serve::default(), usize::MAX);
        let NewCommits { head, quarantine, .. } = stored(&ours, fetched);
        assert!(quarantine.commit_at(head).is_ok());
        assert!(!ours.contains(object_id(head)).unwrap(), "only who looks into the quarantine sees it");
        drop(quarantine);
        assert_eq!(ours.head().unwrap(), old);
        assert_eq!(files_below(ours.path()), files);
    }
}

#[test]
fn a_vanishing_peer_or_an_oversized_pack_changes_nothing() {
    let (_theirs, theirs) = imported(BUNDLES[5]);
    let (_ours, ours) = empty();
    let files = files_below(ours.path());
    for budget in [0, 50, 200, 1_000, 10_000] {
        let mut fetch = Fetch::new(CONVERSATION, SERVER);
        let failed = run(&ours, &theirs, &mut Serve::default(), &mut fetch, 10, budget);
        assert!(matches!(failed, Err(FetchError::Download(DownloadError::Vanished))), "{failed:?}");
    }
    let mut fetch = Fetch::with_limit(CONVERSATION, SERVER, 2_000);
    let failed = run(&ours, &theirs, &mut Serve::default(), &mut fetch, 100, usize::MAX);
    assert!(matches!(failed, Err(FetchError::Download(DownloadError::TooLarge))));
    assert_eq!(ours.head().unwrap(), None);
    assert_eq!(files_below(ours.path()), files);
}

#[test]
fn unknown_wants_unvalidated_commits_and_empty_repositories_are_not_served() {
    let (_theirs, theirs) = imported(BUNDLES[3]);
    let head = theirs.head().unwrap().unwrap();
    let unvalidated = commit(&theirs, &[head], 1 << 33, "fetched but not accepted");
    let request = b"002egit-upload-pack /conversation\0host=device\0".as_slice();
    for want in [CommitId([9; 20]), unvalidated, CommitId(blob(b"file").id)] {
        let mut serve = Serve::default();
        serve.advance(&theirs, request).unwrap();
        let mut asked = serve.advance(&theirs, format!("0032want {want}\n00000009done\n").as_bytes());
        if matches!(&asked, Ok(step) if step.more) {
            asked = serve.advance(&theirs, &[]);
        }
        assert!(matches!(asked, Err(ServeError::Repository(RepositoryError::NotInHistory(_)))));
    }
    let (_empty, nothing) = empty();
    assert!(Serve::default().advance(&nothing, request).is_err());
}

#[test]
fn what_takes_long_to_serve_is_told_before_it_is_done() {
    let (_theirs, theirs) = empty();
    append(&theirs, 200, "history");
    let head = theirs.head().unwrap().unwrap();
    let all = theirs.commits_between(head, &[]).unwrap();
    let request = b"002egit-upload-pack /conversation\0host=device\0".as_slice();
    let heavy = |haves: &[CommitId]| {
        let mut serve = Serve::default();
        serve.advance(&theirs, request).unwrap();
        let haves: String = haves.iter().map(|have| format!("0032have {have}\n")).collect();
        let asked = format!("0032want {head}\n0000{haves}0009done\n");
        let mut step = serve.advance(&theirs, asked.as_bytes()).unwrap();
        let (mut heavy, mut served) = (0, step.served);
        while step.more {
            heavy += usize::from(serve.is_heavy());
            step = serve.advance(&theirs, &[]).unwrap();
            served.extend(step.served);
        }
        assert_eq!(served, [Served::Sent(head)]);
        heavy
    };
    assert_eq!(heavy(&all[190..195]), 0, "a few commits");
    assert_eq!(heavy(&[]), 1, "a whole history");
    let many: Vec<_> = std::iter::repeat_n(all[195], 300).collect();
    assert_eq!(heavy(&many), 1, "many to look up");
}

#[test]
fn a_pack_that_leaves_out_a_file_is_refused_and_removed() {
    let (_theirs, theirs) = empty();
    append(&theirs, 1, "whole");
    let file = blob(b"left out");
    let root = tree(&[("file", &file)]);
    let old = theirs.head().unwrap();
    let head = commit_object(TreeId(root.id), old.as_slice(), 9_000, "lacks its file");
    let id = CommitId(head.id);
    theirs.write_objects(&[file.clone(), root.clone(), head]).unwrap();
    theirs.move_main(old, id).unwrap();
    let (_ours, ours) = empty();
    let given = [object_id(id), ObjectId(root.id)].map(|id| {
        let (kind, content) = theirs.find(id).unwrap().unwrap();
        NewObject { kind, id: id.0, content }
    });
    let missing = receive(&ours, &pack(&given)).unwrap().keep_needed(id);
    assert!(matches!(missing, Err(RepositoryError::MissingObject(_))), "{missing:?}");
    assert_eq!(loose(&ours), []);
}
