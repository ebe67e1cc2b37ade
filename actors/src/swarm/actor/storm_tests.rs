//! Storms that were seen elsewhere, and what is left of them in a conversation: counted channels.

use super::*;

const DEVICE: DeviceId = DeviceId([1; 32]);

fn announcement(number: u16) -> ConversationMessage {
    let mut commit = [7; 20];
    commit[..2].copy_from_slice(&number.to_be_bytes());
    ConversationMessage::Announced { device: DEVICE, account: OTHER, commit: Some(CommitId(commit)) }
}

#[test]
fn a_device_that_announces_every_second_and_serves_nothing_costs_ever_fewer_tries() {
    run(|lab| async move {
        let mut tries = 0;
        for number in 0..3600 {
            lab.tell(announcement(number));
            tries += lab.decline_all().await;
            pass(1).await;
        }
        // The pauses double: one second, two, four.
        assert!((5..=13).contains(&tries), "{tries} in an hour");
    });
}

#[test]
fn a_device_that_serves_nothing_is_left_alone_when_it_is_silent() {
    run(|lab| async move {
        lab.tell(announcement(1));
        let mut tries = 0;
        for _ in 0..24 * 60 {
            tries += lab.decline_all().await;
            pass(60).await;
        }
        assert_eq!(tries, 6, "the first and five more");
    });
}

#[test]
fn hundreds_of_announcements_during_a_fetch_wait_for_it_as_one() {
    run(|lab| async move {
        for number in 0..500 {
            lab.tell(announcement(number));
            lab.settled().await;
        }
        assert_eq!(lab.opening.lock().unwrap().len(), 1);
        let (_, reply) = lab.opening.lock().unwrap().remove(0);
        reply.send(Err(LinkError::Lost(DEVICE)));
        until(|| lab.opening.lock().unwrap().len() == 1).await;
        lab.settled().await;
        assert_eq!(lab.opening.lock().unwrap().len(), 1, "all that came meanwhile is looked for at once");
    });
}

#[test]
fn the_same_commit_announced_thousands_of_times_is_looked_for_once() {
    run(|lab| async move {
        let head = lab.send("hello").await;
        for _ in 0..5000 {
            lab.tell(announcement(1));
            lab.tell(ConversationMessage::Announced { device: DEVICE, account: OTHER, commit: Some(head) });
        }
        lab.settled().await;
        assert!(lab.opening.lock().unwrap().len() <= 1);
        assert_eq!(lab.times_told(head).await, (1, 0));
    });
}

#[test]
fn a_clone_that_backs_off_is_not_tried_in_a_loop() {
    virtual_time::run(async {
        for (invited, most) in [(false, 4), (true, 13)] {
            let lab = Lab::start_empty().await;
            let mut tries = 0;
            for second in 0..60_u8 {
                for _ in 0..20 {
                    lab.tell(ConversationMessage::Clone { devices: vec![DEVICE, DeviceId([second; 32])] });
                    lab.tell(announcement(second.into()));
                    if invited {
                        lab.tell(ConversationMessage::Invited);
                    }
                }
                tries += lab.decline_all().await;
                pass(1).await;
            }
            assert!((4..=most).contains(&tries), "{tries} in a minute");
        }
    });
}

#[test]
fn markers_at_merges_that_were_given_up_are_not_looked_for_with_each_message() {
    run(|lab| async move {
        let work_for_a_message = async || {
            let before = lab.pool.submitted();
            lab.send("hello").await;
            lab.settled().await;
            lab.pool.submitted() - before
        };
        // The first one is written while the conversation is being opened.
        work_for_a_message().await;
        let usual = work_for_a_message().await;
        let given_up = CommitId([7; 20]);
        let before = lab.pool.submitted();
        lab.tell(ConversationMessage::ReadBy { member: OTHER, commit: given_up });
        lab.tell(served_to_other(given_up));
        lab.settled().await;
        until(|| lab.root.environment().tree().rows().iter().all(|row| row.tasks == 0)).await;
        assert_eq!(lab.pool.submitted() - before, 2, "each is looked for when it is heard of");
        assert_eq!(work_for_a_message().await, usual);
    });
}

#[test]
fn that_somebody_has_our_head_is_counted_without_a_look_at_the_copy() {
    run(|mut lab| async move {
        lab.send("first").await;
        for text in ["second", "third"] {
            let head = lab.send(text).await;
            lab.settled().await;
            until(|| lab.root.environment().tree().rows().iter().all(|row| row.tasks == 0)).await;
            let before = lab.pool.submitted();
            lab.tell(served_to_other(head));
            lab.settled().await;
            assert_eq!(lab.pool.submitted() - before, 0);
            assert!(matches!(lab.next_sign().await, Event::Fetched { message, .. } if message == head));
        }
    });
}
