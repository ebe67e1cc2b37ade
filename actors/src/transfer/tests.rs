//! People who exchange files over a network that loses, changes and withholds what it is told to. Time
//! passes when a test says so; files are real.

mod lab;

use std::fs;
use std::os::unix::fs::symlink;

use skep_protocol::ids::CommitId;
use skep_protocol::transfer::{MAX_SENDING_EACH, NoRoom};

use self::lab::{CONVERSATION, Fault, Lab, Person};
use super::actor::MAX_FETCHING;
use super::messages::*;
use crate::virtual_time::{self, pass, until};

/// Some hundred kilobytes that are the same nowhere.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at * at / 7 + at) % 251).unwrap()).collect()
}

/// Three people, of whom the first offers a file.
async fn offered(name: &str, content: &[u8]) -> (Lab, Person, Person, Person, CommitId) {
    let lab = Lab::default();
    let (alice, bob, carol) = (lab.person(1).await, lab.person(2).await, lab.person(3).await);
    lab.connect().await;
    let offered = alice.offer(name, content).await.unwrap();
    (lab, alice, bob, carol, offered.message)
}

#[test]
fn a_file_arrives_verified_and_is_served_to_others_by_whoever_has_it() {
    virtual_time::run(async {
        let content = content(70_072);
        let (lab, alice, bob, carol, message) = offered("a.png", &content).await;
        assert_eq!(bob.fetch(message, None).await.unwrap().state, TransferState::Waiting);
        let path = bob.done().await.path.unwrap();
        assert_eq!(fs::read(&path).unwrap(), content);
        assert!(path.ends_with(bob.file_id(message)));
        assert!(bob.list().await.is_empty());
        bob.forgets().await;
        lab.vanish(&alice).await;
        carol.fetch(message, None).await.unwrap();
        assert_eq!(fs::read(carol.done().await.path.unwrap()).unwrap(), content);
        assert_eq!(lab.asked_of(&bob).len(), 1);
    });
}

#[test]
fn an_empty_file_arrives_with_the_close() {
    virtual_time::run(async {
        let (_lab, _alice, bob, _carol, message) = offered("empty", b"").await;
        bob.fetch(message, None).await.unwrap();
        assert_eq!(fs::read(bob.done().await.path.unwrap()).unwrap(), b"");
    });
}

#[test]
fn a_file_that_is_here_makes_no_network_traffic() {
    virtual_time::run(async {
        let (lab, _alice, bob, _carol, message) = offered("a", &content(1000)).await;
        bob.fetch(message, None).await.unwrap();
        bob.done().await;
        assert_eq!(bob.fetch(message, None).await.unwrap().state, TransferState::Done);
        assert_eq!(lab.names().len(), 1);
    });
}

#[test]
fn a_file_that_was_changed_after_its_offer_is_declined() {
    virtual_time::run(async {
        let (_lab, alice, bob, _carol, message) = offered("a", &content(1000)).await;
        fs::write(alice.own_file("a"), b"something else").unwrap();
        bob.fetch(message, None).await.unwrap();
        bob.rests().await;
        assert_eq!(bob.files(), Vec::<String>::new());
        assert_eq!(bob.list().await[0].state, TransferState::Waiting);
    });
}

#[test]
fn a_dangling_link_counts_as_not_there() {
    virtual_time::run(async {
        let (_lab, alice, bob, _carol, message) = offered("a", &content(1000)).await;
        fs::remove_file(alice.own_file("a")).unwrap();
        bob.fetch(message, None).await.unwrap();
        bob.rests().await;
        assert_eq!(bob.files(), Vec::<String>::new());
    });
}

#[test]
fn other_bytes_are_thrown_away_and_their_sender_is_not_asked_again() {
    virtual_time::run(async {
        let (lab, alice, bob, _carol, message) = offered("a", &content(200_000)).await;
        lab.fault(Fault::Change);
        bob.fetch(message, None).await.unwrap();
        bob.problem("something else").await;
        assert_eq!(bob.files(), Vec::<String>::new());
        for _ in 0..20 {
            pass(60).await;
            bob.list().await;
        }
        lab.link(&bob, &alice, true).await;
        bob.list().await;
        assert_eq!(lab.asked_of(&alice).len(), 1);
    });
}

#[test]
fn more_than_was_offered_is_thrown_away() {
    virtual_time::run(async {
        let (lab, alice, bob, _carol, message) = offered("a", &content(200_000)).await;
        lab.vanish(&alice).await;
        lab.change_offer(message, |offer| offer.total_size = 100_000);
        bob.fetch(message, None).await.unwrap();
        // Who sends it does not look at its length.
        lab.change_offer(message, |offer| offer.total_size = 200_000);
        lab.appear(&alice);
        lab.link(&bob, &alice, true).await;
        bob.problem("not asked again").await;
        assert_eq!(bob.files(), Vec::<String>::new());
        assert_eq!(lab.asked_of(&alice).len(), 1);
    });
}

#[test]
fn a_broken_transfer_goes_on_where_it_stopped() {
    virtual_time::run(async {
        let content = content(600_000);
        let (lab, alice, bob, _carol, message) = offered("a.bin", &content).await;
        lab.fault(Fault::Cut(300_000));
        bob.fetch(message, None).await.unwrap();
        bob.problem("before the end").await;
        assert_eq!(bob.files(), [format!("{}.tmp", bob.file_id(message))]);
        lab.link(&bob, &alice, true).await;
        assert_eq!(fs::read(bob.done().await.path.unwrap()).unwrap(), content);
        let names = lab.asked_of(&alice);
        assert_eq!(names.len(), 2);
        let start: usize =
            names[1].split_once("?start=").unwrap().1.strip_suffix("&end=0").unwrap().parse().unwrap();
        assert_eq!(start, 300_000);
        assert_eq!(lab.bytes_sent(), content.len(), "no byte came twice");
        assert_eq!(bob.files(), [bob.file_id(message)]);
    });
}

#[test]
fn a_partial_file_goes_on_after_a_restart_and_from_another_holder() {
    virtual_time::run(async {
        let content = content(600_000);
        let (lab, alice, bob, carol, message) = offered("a.bin", &content).await;
        carol.fetch(message, None).await.unwrap();
        carol.done().await;
        lab.link(&bob, &carol, false).await;
        lab.fault(Fault::Cut(300_000));
        bob.fetch(message, None).await.unwrap();
        bob.problem("before the end").await;
        lab.vanish(&alice).await;
        let bob = lab.restart(bob).await;
        assert_eq!(bob.list().await.len(), 1, "the wish is on the disk");
        lab.link(&bob, &carol, true).await;
        assert_eq!(fs::read(bob.done().await.path.unwrap()).unwrap(), content);
        assert!(lab.asked_of(&carol)[0].contains("?start="));
    });
}

#[test]
fn a_partial_file_longer_than_the_file_is_begun_anew() {
    virtual_time::run(async {
        let content = content(1000);
        let (lab, alice, bob, _carol, message) = offered("a", &content).await;
        fs::create_dir_all(bob.data()).unwrap();
        fs::write(bob.data().join(format!("{}.tmp", bob.file_id(message))), [7; 2000]).unwrap();
        bob.fetch(message, None).await.unwrap();
        assert_eq!(fs::read(bob.done().await.path.unwrap()).unwrap(), content);
        assert!(!lab.asked_of(&alice)[0].contains('?'));
    });
}

#[test]
fn a_partial_file_that_is_wrong_is_found_out_and_begun_anew() {
    virtual_time::run(async {
        let content = content(1000);
        let (lab, _alice, bob, carol, message) = offered("a", &content).await;
        carol.fetch(message, None).await.unwrap();
        carol.done().await;
        fs::create_dir_all(bob.data()).unwrap();
        fs::write(bob.data().join(format!("{}.tmp", bob.file_id(message))), [7; 500]).unwrap();
        bob.fetch(message, None).await.unwrap();
        assert_eq!(fs::read(bob.done().await.path.unwrap()).unwrap(), content);
        assert_eq!(lab.names().len(), 3);
    });
}

#[test]
fn a_damaged_partial_file_is_begun_anew_with_the_only_holder() {
    virtual_time::run(async {
        let content = content(200_000);
        let (lab, alice, bob, _carol, message) = offered("a", &content).await;
        for damaged in [100_000, content.len()] {
            fs::create_dir_all(bob.data()).unwrap();
            fs::write(bob.partial(message), vec![7; damaged]).unwrap();
            bob.fetch(message, None).await.unwrap();
            assert_eq!(fs::read(bob.done().await.path.unwrap()).unwrap(), content);
            bob.remove(message).await.unwrap();
        }
        assert_eq!(lab.asked_of(&alice).len(), 2 + 1, "what is whole and wrong costs no request");
    });
}

#[test]
fn who_sends_rubbish_and_breaks_off_cannot_have_others_blamed() {
    virtual_time::run(async {
        let content = content(600_000);
        let (lab, _alice, bob, carol, message) = offered("a", &content).await;
        carol.fetch(message, None).await.unwrap();
        carol.done().await;
        // Whoever is asked first, again and again.
        lab.fault(Fault::Rubbish(500_000));
        lab.fault(Fault::None);
        lab.fault(Fault::Rubbish(500_000));
        bob.fetch(message, None).await.unwrap();
        bob.problem("fetched anew").await;
        assert_eq!(fs::read(bob.done().await.path.unwrap()).unwrap(), content);
        let starts = lab.names().split_off(1).into_iter().map(|(_, name)| name.contains("?start="));
        assert_eq!(starts.collect::<Vec<_>>(), [false, true, false, false]);
    });
}

#[test]
fn a_partial_file_that_others_took_away_leaves_no_hole() {
    virtual_time::run(async {
        let content = content(600_000);
        let (lab, alice, bob, _carol, message) = offered("a", &content).await;
        lab.fault(Fault::Cut(300_000));
        bob.fetch(message, None).await.unwrap();
        bob.problem("before the end").await;
        fs::remove_file(bob.partial(message)).unwrap();
        lab.link(&bob, &alice, true).await;
        bob.problem("changed by others").await;
        assert_eq!(fs::read(bob.done_in_time().await.path.unwrap()).unwrap(), content);
    });
}

#[test]
fn a_file_that_was_saved_when_the_node_ended_is_not_fetched_again() {
    virtual_time::run(async {
        let (lab, alice, bob, _carol, message) = offered("photo.jpg", &content(5000)).await;
        let folder = bob.folder().join("downloads");
        fs::create_dir(&folder).unwrap();
        lab.fault(Fault::Cut(1000));
        bob.fetch(message, Some(folder.clone())).await.unwrap();
        bob.problem("before the end").await;
        let wishes = fs::read(bob.folder().join("wantedFiles")).unwrap();
        lab.link(&bob, &alice, true).await;
        bob.done().await;
        bob.forgets().await;
        let asked = lab.names().len();
        // The end came before the wish was taken back.
        fs::write(bob.folder().join("wantedFiles"), wishes).unwrap();
        let bob = lab.restart(bob).await;
        assert_eq!(bob.done().await.path.unwrap(), folder.join("photo.jpg"));
        bob.forgets().await;
        assert_eq!((lab.names().len(), fs::read_dir(&folder).unwrap().count()), (asked, 1));
    });
}

#[test]
fn a_partial_file_that_is_whole_gets_its_name_though_nobody_is_there() {
    virtual_time::run(async {
        let content = content(5000);
        let (lab, alice, bob, carol, message) = offered("a", &content).await;
        lab.vanish(&alice).await;
        lab.vanish(&carol).await;
        bob.fetch(message, None).await.unwrap();
        fs::create_dir_all(bob.data()).unwrap();
        fs::write(bob.partial(message), &content).unwrap();
        let bob = lab.restart(bob).await;
        assert_eq!(fs::read(bob.done().await.path.unwrap()).unwrap(), content);
        assert!(lab.names().is_empty());
    });
}

#[test]
fn a_wish_that_cannot_be_written_is_refused_and_not_begun() {
    virtual_time::run(async {
        let (_lab, _alice, bob, _carol, message) = offered("a", &content(1000)).await;
        fs::create_dir(bob.folder().join("wantedFiles")).unwrap();
        let refused = bob.fetch(message, None).await;
        assert!(matches!(refused, Err(TransferError::Storage(_))), "{refused:?}");
        assert!(bob.list().await.is_empty());
    });
}

#[test]
fn a_list_of_files_that_cannot_be_read_is_set_aside_and_not_replaced() {
    virtual_time::run(async {
        let (lab, _alice, bob, _carol, message) = offered("a", &content(1000)).await;
        fs::write(bob.folder().join("wantedFiles"), b"no list").unwrap();
        let bob = lab.restart(bob).await;
        lab.connect().await;
        bob.fetch(message, None).await.unwrap();
        bob.done().await;
        assert_eq!(fs::read(bob.folder().join("wantedFiles.unreadable")).unwrap(), b"no list");
    });
}

#[test]
fn a_file_that_is_waited_for_can_be_removed_and_saved_in_one_place_only() {
    virtual_time::run(async {
        let (lab, alice, bob, carol, message) = offered("a", &content(1000)).await;
        lab.vanish(&alice).await;
        lab.vanish(&carol).await;
        let folder = bob.folder().join("downloads");
        fs::create_dir(&folder).unwrap();
        bob.fetch(message, None).await.unwrap();
        let refused = bob.fetch(message, Some(folder.clone())).await;
        assert!(matches!(refused, Err(TransferError::Elsewhere(_))), "{refused:?}");
        bob.remove(message).await.unwrap();
        assert!(bob.list().await.is_empty() && bob.wishes_on_disk().is_empty());
        let own = alice.fetch(message, Some(folder)).await;
        assert!(matches!(own, Err(TransferError::Elsewhere(_))), "{own:?}");
    });
}

#[test]
fn files_ordered_at_once_do_not_take_the_same_room() {
    virtual_time::run(async {
        let lab = Lab::default();
        let alice = lab.person(1).await;
        let bob = lab.person_with(2, TransferLimits { largest: 10_000, quota: 12_000 }).await;
        lab.connect().await;
        let first = alice.offer("first", &content(8000)).await.unwrap().message;
        let second = alice.offer("second", &content(8001)).await.unwrap().message;
        let (one, other) = futures::join!(bob.fetch(first, None), bob.fetch(second, None));
        bob.done().await;
        // Whichever was looked at later: at its order, or after it.
        match [one, other].into_iter().find_map(Result::err) {
            Some(refused) => assert!(matches!(refused, TransferError::NoRoom(_)), "{refused:?}"),
            None => {
                bob.rests().await;
                assert!(bob.list().await[0].problem.as_ref().unwrap().contains("may only take"));
            }
        }
        assert_eq!((bob.files().len(), lab.names().len()), (1, 1));
    });
}

#[test]
fn who_does_not_read_what_is_sent_is_left_after_a_minute() {
    virtual_time::run(async {
        let (lab, alice, bob, _carol, message) = offered("a", &content(20_000_000)).await;
        let asked = lab.request(&bob, &alice, message);
        until(|| lab.opened() == 1).await;
        asked.await.unwrap();
        while !alice.list().await.is_empty() {
            pass(1).await;
        }
        assert!(lab.bytes_sent() < 20_000_000);
    });
}

#[test]
fn a_file_that_was_not_hashed_since_the_start_is_served_to_many_who_ask_at_once() {
    virtual_time::run(async {
        let (lab, alice, bob, _carol, message) = offered("a", &content(3_000_000)).await;
        let alice = lab.restart(alice).await;
        let asked: Vec<_> = (0..MAX_SENDING_EACH).map(|_| lab.request(&bob, &alice, message)).collect();
        until(|| lab.opened() == MAX_SENDING_EACH).await;
        for asked in asked {
            asked.await.unwrap();
        }
    });
}

#[test]
fn a_file_that_was_ordered_while_nobody_was_there_comes_after_a_restart() {
    virtual_time::run(async {
        let content = content(1000);
        let (lab, alice, bob, carol, message) = offered("a", &content).await;
        lab.vanish(&alice).await;
        lab.vanish(&carol).await;
        bob.fetch(message, None).await.unwrap();
        let bob = lab.restart(bob).await;
        lab.appear(&alice);
        lab.link(&bob, &alice, true).await;
        assert_eq!(fs::read(bob.done().await.path.unwrap()).unwrap(), content);
        bob.forgets().await;
    });
}

#[test]
fn a_cancelled_file_leaves_nothing_and_its_sender_stops() {
    virtual_time::run(async {
        let (lab, alice, bob, _carol, message) = offered("a", &content(3_000_000)).await;
        lab.fault(Fault::Hang(100_000));
        bob.fetch(message, None).await.unwrap();
        bob.running().await;
        assert_eq!(alice.list().await[0].direction, Direction::Sending);
        bob.cancel(message).await.unwrap();
        bob.gone().await;
        alice.idle().await;
        assert!(bob.list().await.is_empty() && bob.wishes_on_disk().is_empty());
        assert_eq!(bob.cancel(message).await, Err(TransferError::NoTransfer(message)));
    });
}

#[test]
fn a_sender_that_falls_silent_is_left_for_another() {
    virtual_time::run(async {
        let content = content(300_000);
        let (lab, alice, bob, carol, message) = offered("a", &content).await;
        carol.fetch(message, None).await.unwrap();
        carol.done().await;
        lab.fault(Fault::Hang(100_000));
        bob.fetch(message, None).await.unwrap();
        bob.running().await;
        // What Carol sends may take the disk longer than her silence would be borne.
        bob.passes_until(|| !lab.asked_of(&carol).is_empty()).await;
        assert_eq!(fs::read(bob.done().await.path.unwrap()).unwrap(), content);
        assert_eq!((lab.asked_of(&alice).len(), lab.asked_of(&carol).len()), (2, 1));
    });
}

#[test]
fn a_file_saved_in_a_folder_replaces_nothing_and_is_served_from_there() {
    virtual_time::run(async {
        let content = content(5000);
        let (lab, alice, bob, carol, message) = offered("photo.jpg", &content).await;
        let folder = bob.folder().join("downloads");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("photo.jpg"), b"mine").unwrap();
        bob.fetch(message, Some(folder.clone())).await.unwrap();
        assert_eq!(bob.done().await.path.unwrap(), folder.join("photo (2).jpg"));
        assert_eq!(fs::read(folder.join("photo (2).jpg")).unwrap(), content);
        assert_eq!(fs::read(folder.join("photo.jpg")).unwrap(), b"mine");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "nothing partial is left");
        lab.vanish(&alice).await;
        carol.fetch(message, None).await.unwrap();
        assert_eq!(fs::read(carol.done().await.path.unwrap()).unwrap(), content);
    });
}

#[test]
fn a_link_in_place_of_a_partial_file_is_not_followed() {
    virtual_time::run(async {
        let (_lab, _alice, bob, _carol, message) = offered("a", &content(5000)).await;
        let folder = bob.folder().join("downloads");
        let precious = bob.folder().join("precious");
        fs::create_dir(&folder).unwrap();
        fs::write(&precious, b"mine").unwrap();
        symlink(&precious, folder.join(format!(".{}.tmp", bob.file_id(message)))).unwrap();
        bob.fetch(message, Some(folder)).await.unwrap();
        bob.rests().await;
        assert_eq!(fs::read(&precious).unwrap(), b"mine");
    });
}

#[test]
fn what_is_too_large_is_refused_before_anybody_is_asked() {
    virtual_time::run(async {
        let lab = Lab::default();
        let alice = lab.person(1).await;
        let limits = TransferLimits { largest: 10_000, quota: 12_000 };
        let bob = lab.person_with(2, limits).await;
        lab.connect().await;
        let large = alice.offer("large", &content(10_001)).await.unwrap().message;
        assert_eq!(
            bob.fetch(large, None).await,
            Err(NoRoom::TooLarge { size: 10_001, largest: 10_000 }.into())
        );
        let first = alice.offer("first", &content(8000)).await.unwrap().message;
        bob.fetch(first, None).await.unwrap();
        bob.done().await;
        let second = alice.offer("second", &content(4001)).await.unwrap().message;
        assert_eq!(bob.fetch(second, None).await, Err(NoRoom::Quota { needed: 4001, left: 4000 }.into()));
        bob.remove(first).await.unwrap();
        bob.fetch(second, None).await.unwrap();
        bob.done().await;
        assert_eq!(lab.names().len(), 2);
    });
}

#[test]
fn a_file_of_eight_gigabytes_is_refused_before_anybody_is_asked_where_it_does_not_fit() {
    virtual_time::run(async {
        let lab = Lab::default();
        let alice = lab.person(1).await;
        let limits = TransferLimits { quota: 7 << 30, ..TransferLimits::default() };
        let bob = lab.person_with(2, limits).await;
        lab.connect().await;
        let message = alice.offer("sparse", b"x").await.unwrap().message;
        lab.change_offer(message, |offer| offer.total_size = 8 << 30);
        let refused = bob.fetch(message, None).await;
        assert!(matches!(refused, Err(TransferError::NoRoom(_))), "{refused:?}");
        assert!(lab.names().is_empty() && bob.files().is_empty());
    });
}

#[test]
fn a_disk_that_refuses_is_told_and_tried_again() {
    virtual_time::run(async {
        let content = content(1000);
        let (_lab, _alice, bob, _carol, message) = offered("a", &content).await;
        // A folder in place of the partial file: nothing can be written to it.
        let obstacle = bob.data().join(format!("{}.tmp", bob.file_id(message)));
        fs::create_dir_all(&obstacle).unwrap();
        bob.fetch(message, None).await.unwrap();
        bob.problem("could not be read or written").await;
        fs::remove_dir(&obstacle).unwrap();
        pass(2).await;
        assert_eq!(fs::read(bob.done().await.path.unwrap()).unwrap(), content);
    });
}

#[test]
fn of_ten_thousand_offers_as_many_are_waited_for_as_may_be_and_few_are_asked_for_at_once() {
    virtual_time::run(async {
        let lab = Lab::default();
        let (alice, bob) = (lab.person(1).await, lab.person(2).await);
        lab.connect().await;
        let first = alice.offer("a", &content(1000)).await.unwrap().message;
        let offers = lab.repeat_offer(first, 10_000);
        // Nobody answers: all that were taken wait.
        lab.mute(&alice);
        // The pool takes about a thousand jobs at once; the rest are told that it is busy.
        let (some, rest) = offers.split_at(500);
        let mut fetched = Vec::new();
        for offers in [some, &rest[..500], &rest[500..1000]] {
            let orders = offers.iter().map(|message| bob.fetch(*message, None));
            fetched.extend(futures::future::join_all(orders).await);
        }
        assert_eq!(fetched.iter().filter(|fetched| fetched.is_ok()).count(), MAX_WISHES);
        assert!(fetched.iter().skip(MAX_WISHES).any(|fetched| *fetched == Err(TransferError::TooMany)));
        assert_eq!(bob.list().await.len(), MAX_WISHES);
        assert_eq!(bob.wishes_on_disk().len(), MAX_WISHES);
        for _ in 0..10 {
            pass(1).await;
            bob.list().await;
        }
        until(|| lab.names().len() >= MAX_FETCHING).await;
        bob.list().await;
        assert_eq!(lab.names().len(), MAX_FETCHING);
    });
}

#[test]
fn who_is_no_member_any_more_is_not_asked() {
    virtual_time::run(async {
        let content = content(1000);
        let (lab, alice, bob, carol, message) = offered("a", &content).await;
        lab.vanish(&alice).await;
        lab.vanish(&carol).await;
        bob.fetch(message, None).await.unwrap();
        lab.link(&bob, &carol, true).await;
        until(|| !lab.asked_of(&carol).is_empty()).await;
        bob.show_room(&[1, 2]);
        bob.list().await;
        let asked = lab.asked_of(&carol).len();
        bob.rests().await;
        assert_eq!(lab.asked_of(&carol).len(), asked);
    });
}

#[test]
fn what_is_no_file_cannot_be_offered() {
    virtual_time::run(async {
        let lab = Lab::default();
        let alice = lab.person(1).await;
        lab.connect().await;
        for path in [alice.folder(), alice.folder().join("missing"), "/dev/null".into()] {
            let refused = alice.offer_path(path.clone()).await;
            assert!(matches!(refused, Err(TransferError::NotAFile { .. })), "{path:?}: {refused:?}");
        }
        let message = CommitId([9; 20]);
        let unknown = alice.fetch(message, None).await;
        assert!(matches!(unknown, Err(TransferError::Conversation(_))), "{unknown:?}");
    });
}

#[test]
fn a_removed_offer_takes_the_link_away_and_not_the_file() {
    virtual_time::run(async {
        let (_lab, alice, bob, _carol, message) = offered("a", &content(1000)).await;
        bob.fetch(message, None).await.unwrap();
        bob.done().await;
        alice.remove(message).await.unwrap();
        assert_eq!(alice.files(), Vec::<String>::new());
        assert!(alice.own_file("a").exists());
        assert_eq!(bob.files().len(), 1, "other holders keep theirs");
        bob.remove(message).await.unwrap();
        assert_eq!(bob.files(), Vec::<String>::new());
        assert_eq!(bob.remove(message).await, Err(TransferError::NoTransfer(message)));
    });
}

#[test]
fn who_has_not_joined_gets_nothing() {
    virtual_time::run(async {
        let (lab, _alice, bob, _carol, message) = offered("a", &content(1000)).await;
        lab.expel(&bob);
        bob.fetch(message, None).await.unwrap();
        bob.rests().await;
        assert_eq!(bob.files(), Vec::<String>::new());
    });
}

#[test]
fn who_is_banned_under_way_gets_no_more() {
    virtual_time::run(async {
        // More than all queues between two devices hold.
        let (lab, alice, bob, _carol, message) = offered("a", &content(20_000_000)).await;
        let asked = lab.request(&bob, &alice, message);
        until(|| lab.opened() == 1).await;
        asked.await.unwrap();
        assert_eq!(alice.list().await.len(), 1);
        alice.show_room(&[1, 3]);
        lab.read_all().await;
        alice.idle().await;
        assert!(lab.bytes_sent() < 20_000_000);
    });
}

#[test]
fn several_files_come_at_once() {
    virtual_time::run(async {
        let lab = Lab::default();
        let (alice, bob) = (lab.person(1).await, lab.person(2).await);
        lab.connect().await;
        let mut messages = Vec::new();
        for number in 0..12_usize {
            let content = content(100_000 + number);
            messages.push(alice.offer(&format!("{number}.bin"), &content).await.unwrap().message);
        }
        for message in &messages {
            bob.fetch(*message, None).await.unwrap();
        }
        for _ in &messages {
            bob.done().await;
        }
        assert_eq!(bob.files().len(), 12);
        assert!(bob.list().await.is_empty());
    });
}

#[test]
fn one_person_cannot_have_us_serve_without_end() {
    virtual_time::run(async {
        // More than all queues between two devices hold.
        let (lab, alice, bob, carol, message) = offered("a", &content(8_000_000)).await;
        let channels: Vec<_> = (0..1000).map(|_| lab.request(&bob, &alice, message)).collect();
        until(|| lab.opened() == MAX_SENDING_EACH).await;
        assert_eq!(alice.list().await.len(), MAX_SENDING_EACH);
        carol.fetch(message, None).await.unwrap();
        carol.done().await;
        drop(channels);
        lab.close_all();
        alice.idle().await;
    });
}

#[test]
fn a_device_that_asks_itself_is_declined() {
    virtual_time::run(async {
        let (lab, alice, bob, _carol, message) = offered("a", &content(1000)).await;
        let request = lab.request_named(&bob, &alice, alice.device(), message);
        assert!(request.await.is_err());
        assert!(alice.list().await.is_empty());
    });
}

#[test]
fn a_conversation_that_goes_takes_its_transfers_along() {
    virtual_time::run(async {
        let (lab, alice, bob, _carol, message) = offered("a", &content(3_000_000)).await;
        lab.fault(Fault::Hang(100_000));
        bob.fetch(message, None).await.unwrap();
        bob.running().await;
        bob.tell(TransfersMessage::RoomGone(CONVERSATION));
        bob.gone().await;
        alice.idle().await;
        assert!(bob.list().await.is_empty());
        assert_eq!(bob.fetch(message, None).await, Err(TransferError::NotReady(CONVERSATION)));
    });
}
