//! From whom what was announced is fetched, and who is left alone for how long: counted channels.

use super::*;

#[test]
fn only_so_many_devices_of_a_member_are_fetched_from_at_once() {
    run(|lab| async move {
        for number in 1..=6 {
            let (device, commit) = (DeviceId([number; 32]), Some(CommitId([number; 20])));
            lab.tell(ConversationMessage::Announced { device, account: OTHER, commit });
        }
        until(|| lab.opening.lock().unwrap().len() == 4).await;
        lab.settled().await;
        let (first, reply) = lab.opening.lock().unwrap().remove(0);
        reply.send(Err(LinkError::Lost(first)));
        lab.settled().await;
        pass(1).await;
        until(|| lab.opening.lock().unwrap().len() == 4).await;
        lab.settled().await;
        let mut opening = lab.asked().await;
        let last = opening.pop().unwrap();
        opening.sort_unstable();
        assert_eq!(opening[..], [1, 2, 3, 4].into_iter().filter(|it| *it != first.0[0]).collect::<Vec<_>>());
        assert!([5, 6].contains(&last), "{last}");
        // However long they wait for that, it is not held against them.
        for _ in 0..100 {
            pass(1).await;
        }
        let (second, reply) = lab.opening.lock().unwrap().remove(0);
        reply.send(Err(LinkError::Lost(second)));
        lab.settled().await;
        pass(1).await;
        until(|| lab.opening.lock().unwrap().len() == 4).await;
    });
}

fn announced_by(number: u8, commit: u8) -> ConversationMessage {
    let (device, commit) = (DeviceId([number; 32]), Some(CommitId([commit; 20])));
    ConversationMessage::Announced { device, account: OTHER, commit }
}

impl Lab {
    /// Who is being asked for a channel, in the order of that.
    async fn asked(&self) -> Vec<u8> {
        self.settled().await;
        self.opening.lock().unwrap().iter().map(|(device, _)| device.0[0]).collect()
    }
}

#[test]
fn what_many_announce_is_fetched_from_one_and_from_the_next_when_that_one_fails() {
    run(|lab| async move {
        for number in 1..=4 {
            for _ in 0..100 {
                lab.tell(announced_by(number, 7));
            }
        }
        until(|| !lab.opening.lock().unwrap().is_empty()).await;
        assert_eq!(lab.asked().await, [1]);
        let (device, reply) = lab.opening.lock().unwrap().remove(0);
        reply.send(Err(LinkError::Lost(device)));
        until(|| !lab.opening.lock().unwrap().is_empty()).await;
        assert_eq!(lab.asked().await, [2], "the others stand by");
    });
}

#[test]
fn who_announces_and_is_silent_keeps_nobody_waiting() {
    run(|lab| async move {
        for number in 1..=3 {
            lab.tell(announced_by(number, 7));
            lab.settled().await;
        }
        for asked in [&[1][..], &[1, 2], &[1, 2, 3]] {
            until(|| lab.opening.lock().unwrap().len() == asked.len()).await;
            assert_eq!(lab.asked().await, asked);
            tokio::time::advance(std::time::Duration::from_millis(250)).await;
        }
    });
}

#[test]
fn many_devices_of_one_who_is_silent_do_not_keep_others_waiting() {
    let own = founder().identity.account_id();
    run(move |lab| async move {
        for number in 1..=40 {
            lab.tell(announced_by(number, 7));
        }
        let (device, commit) = (DeviceId([50; 32]), Some(CommitId([7; 20])));
        lab.tell(ConversationMessage::Announced { device, account: own, commit });
        until(|| !lab.opening.lock().unwrap().is_empty()).await;
        assert_eq!(lab.asked().await, [1]);
        tokio::time::advance(std::time::Duration::from_millis(250)).await;
        until(|| lab.opening.lock().unwrap().len() == 2).await;
        assert_eq!(lab.asked().await, [1, 50]);
    });
}

#[test]
fn who_stands_by_and_announces_something_else_is_asked_for_everything() {
    run(|lab| async move {
        lab.tell(announced_by(1, 7));
        lab.tell(announced_by(2, 7));
        until(|| !lab.opening.lock().unwrap().is_empty()).await;
        assert_eq!(lab.asked().await, [1]);
        lab.tell(announced_by(2, 8));
        until(|| lab.opening.lock().unwrap().len() == 2).await;
        assert_eq!(lab.asked().await, [1, 2]);
    });
}

#[test]
fn what_is_here_is_not_looked_for_though_it_is_not_the_head() {
    run(|lab| async move {
        let first = lab.send("first").await;
        lab.send("second").await;
        let device = DeviceId([1; 32]);
        lab.tell(ConversationMessage::Announced { device, account: OTHER, commit: Some(first) });
        lab.settled().await;
        pass(120).await;
        lab.settled().await;
        assert!(lab.opening.lock().unwrap().is_empty());
    });
}

#[test]
fn of_two_commits_that_a_device_announces_at_once_none_is_forgotten() {
    let announced = |commit: Option<CommitId>| ConversationMessage::Announced {
        device: DeviceId([1; 32]),
        account: OTHER,
        commit,
    };
    let (first, second) = (Some(CommitId([1; 20])), Some(CommitId([2; 20])));
    for (earlier, later, both) in
        [(first, second, None), (None, second, None), (first, None, None), (second, second, second)]
    {
        let mut waiting = announced(earlier);
        waiting.coalesce(announced(later));
        assert!(matches!(waiting, ConversationMessage::Announced { commit, .. } if commit == both));
    }
}

#[test]
fn a_new_link_ends_the_rest_of_a_device_that_could_not_be_fetched_from() {
    run(|lab| async move {
        let device = DeviceId([1; 32]);
        let link = |state| ConversationMessage::Link { device, account: OTHER, state };
        lab.tell(link(LinkState::Legacy));
        for number in 0..8 {
            lab.tell(announced_by(1, number));
            lab.decline_all().await;
            pass(300).await;
        }
        lab.decline_all().await;
        lab.tell(announced_by(1, 100));
        assert_eq!(lab.decline_all().await, 0, "it rests");
        lab.tell(link(LinkState::Legacy));
        lab.tell(announced_by(1, 101));
        assert_eq!(lab.decline_all().await, 0, "the link is not new");
        lab.tell(link(LinkState::Down));
        lab.settled().await;
        lab.tell(link(LinkState::Legacy));
        lab.tell(announced_by(1, 102));
        assert_eq!(lab.decline_all().await, 1);
    });
}

#[test]
fn whoever_fetches_for_the_first_time_is_looked_at_again() {
    run(|lab| async move {
        let device = DeviceId([1; 32]);
        lab.tell(ConversationMessage::Link { device, account: OTHER, state: LinkState::Legacy });
        let head = lab.send("hello").await;
        // They have no copy yet, and decline.
        for number in 0..8 {
            lab.tell(announced_by(1, number));
            lab.decline_all().await;
            pass(300).await;
        }
        for (tries, number) in [(1, 100), (0, 101)] {
            lab.decline_all().await;
            lab.tell(served_to_other(head));
            lab.settled().await;
            lab.tell(announced_by(1, number));
            assert_eq!(lab.decline_all().await, tries);
        }
    });
}

#[test]
fn a_daemon_of_2023_with_a_new_link_is_looked_at_four_times_and_no_more() {
    run(|lab| async move {
        let device = DeviceId([1; 32]);
        let link = |state| ConversationMessage::Link { device, account: OTHER, state };
        let looks = async |seconds: u64| {
            let mut looks: Vec<u64> = Vec::new();
            for second in 0..seconds {
                lab.waits_for_channels().await;
                let opening = std::mem::take(&mut *lab.opening.lock().unwrap());
                looks.extend(opening.iter().map(|_| second));
                opening.into_iter().for_each(|(device, reply)| reply.send(Err(LinkError::Lost(device))));
                lab.waits_for_channels().await;
                pass(1).await;
            }
            looks
        };
        lab.tell(link(LinkState::Legacy));
        assert_eq!(looks(300).await, [5, 10, 20, 40]);
        lab.tell(link(LinkState::Down));
        lab.settled().await;
        lab.tell(link(LinkState::Legacy));
        assert_eq!(looks(6).await, [5]);
        lab.tell(link(LinkState::Down));
        assert!(looks(100).await.is_empty());
    });
}
