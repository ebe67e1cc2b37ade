//! Groups of people on Skep and on daemons, made on either.

use skep_tests::harness::run;
use skep_tests::live::Direction::{self, FromDaemon, ToDaemon};
use skep_tests::live::{Feature, Lab};

use super::company::{Member, beside, gather, join, meet, same_history, talk};

/// Somebody on the other side joins, and both talk.
async fn two(made: Direction) {
    let Some(mut lab) = Lab::open().unwrap() else { return };
    let (mut all, _) = meet(&mut lab, ["ada", "bob"], made).await;
    let tried = lab.attempt(Feature::Invitation, made);
    let id = gather(&mut all).await;
    talk(&mut all, id, "the weather").await;
    same_history(&mut all, id).await;
    tried.works();
    for member in all {
        member.end().await;
    }
}

#[test]
fn a_daemon_joins_a_group_of_skep_and_both_talk() {
    run(two(ToDaemon));
}

#[test]
fn skep_joins_a_group_of_a_daemon_and_both_talk() {
    run(two(FromDaemon));
}

/// Two on each side hear each other.
async fn four(made: Direction) {
    let Some(mut lab) = Lab::open().unwrap() else { return };
    let (mut all, _) = meet(&mut lab, ["ada", "bob", "carol", "dora"], made).await;
    let tried = lab.attempt(Feature::Group, made);
    let id = gather(&mut all).await;
    talk(&mut all, id, "the weather").await;
    talk(&mut all, id, "themselves").await;
    same_history(&mut all, id).await;
    tried.works();
    for member in all {
        member.end().await;
    }
}

#[test]
fn two_on_skep_and_two_on_daemons_talk_in_a_group_of_skep() {
    run(four(ToDaemon));
}

#[test]
fn two_on_skep_and_two_on_daemons_talk_in_a_group_of_a_daemon() {
    run(four(FromDaemon));
}

/// Who declines is not in the group, which goes on.
async fn declined(made: Direction) {
    let Some(mut lab) = Lab::open().unwrap() else { return };
    let (mut all, pairs) = meet(&mut lab, ["ada", "bob", "carol"], made).await;
    let tried = lab.attempt(Feature::InvitationDecline, made);
    let [ada, bob, carol] = &mut all;
    let id = ada.found().await;
    join(ada, carol, id).await;
    ada.invite(bob, id).await;
    bob.decline(id).await;
    ada.say(id, "without Bob").await;
    carol.hears(id, "without Bob", ada).await;
    ada.say(pairs[0], "did you get it?").await;
    bob.hears(pairs[0], "did you get it?", ada).await;
    bob.has_no_invitation().await;
    carol.sees(bob.id(), Some("invited"), id, ada).await;
    if made == FromDaemon {
        // A daemon of 2023 that has declined takes no other invitation into the same group.
        join(ada, bob, id).await;
        talk(&mut all, id, "second thoughts").await;
        same_history(&mut all, id).await;
    }
    tried.works();
    for member in all {
        member.end().await;
    }
}

#[test]
fn a_daemon_declines_an_invitation_of_skep_and_the_group_goes_on() {
    run(declined(ToDaemon));
}

#[test]
fn skep_declines_an_invitation_of_a_daemon_and_accepts_the_next() {
    run(declined(FromDaemon));
}

/// The last two leave, one after the other.
async fn left(made: Direction) {
    let Some(mut lab) = Lab::open().unwrap() else { return };
    let (mut all, _) = meet(&mut lab, ["ada", "bob", "carol", "dora"], made).await;
    let id = gather(&mut all).await;
    let tried = lab.attempt(Feature::Leave, made);
    let [.., dora] = &mut all;
    dora.leave(id).await;
    let gone = dora.id();
    for index in 0..3 {
        let (one, other) = beside(&mut all[..3], index);
        one.sees(gone, None, id, other).await;
    }
    talk(&mut all[..3], id, "Dora").await;
    let carol = &mut all[2];
    carol.leave(id).await;
    let gone = carol.id();
    for index in 0..2 {
        let (one, other) = beside(&mut all[..2], index);
        one.sees(gone, None, id, other).await;
    }
    talk(&mut all[..2], id, "Carol").await;
    same_history(&mut all[..2], id).await;
    tried.works();
    for member in all {
        member.end().await;
    }
}

#[test]
fn who_leaves_a_group_of_skep_is_gone_for_all() {
    run(left(ToDaemon));
}

#[test]
fn who_leaves_a_group_of_a_daemon_is_gone_for_all() {
    run(left(FromDaemon));
}

/// The admin describes the group, before somebody joins and after.
async fn described(made: Direction) {
    let Some(mut lab) = Lab::open().unwrap() else { return };
    let (mut all, _) = meet(&mut lab, ["ada", "bob", "carol"], made).await;
    let tried = lab.attempt(Feature::GroupProfile, made);
    let [ada, bob, carol] = &mut all;
    let id = ada.found().await;
    ada.describe(id, "Caf\u{e9} \u{1f41d}", "Where we meet").await;
    join(ada, bob, id).await;
    bob.shows(id, "Caf\u{e9} \u{1f41d}", "Where we meet").await;
    join(ada, carol, id).await;
    ada.describe(id, "Garden", "Where we meet in summer").await;
    for other in [bob, carol] {
        other.shows(id, "Garden", "Where we meet in summer").await;
    }
    tried.works();
    for member in all {
        member.end().await;
    }
}

#[test]
fn a_daemon_shows_the_profile_that_skep_gives_a_group() {
    run(described(ToDaemon));
}

#[test]
fn skep_shows_the_profile_that_a_daemon_gives_a_group() {
    run(described(FromDaemon));
}

/// The admin bans the one on the other side, and lets them in again.
async fn banned(made: Direction) {
    let Some(mut lab) = Lab::open().unwrap() else { return };
    let (mut all, pairs) = meet(&mut lab, ["ada", "bob", "carol", "dora"], made).await;
    let id = gather(&mut all).await;
    talk(&mut all, id, "the weather").await;
    let tried = lab.attempt(Feature::GroupBan, made);
    let [ada, bob, carol, dora] = &mut all;
    let who = bob.id();
    ada.ban(who, id).await;
    ada.sees(who, Some("banned"), id, carol).await;
    for other in [&mut *carol, dora] {
        other.sees(who, Some("banned"), id, ada).await;
    }
    ada.say(id, "without Bob").await;
    bob.tries_to_say(id, "does anybody hear me?").await;
    for other in [&mut *carol, dora] {
        other.hears(id, "without Bob", ada).await;
    }
    carol.say(id, "and still without").await;
    for other in [&mut *ada, dora] {
        other.hears(id, "and still without", carol).await;
    }
    // What both say to each other elsewhere comes, so there was time for the rest.
    ada.say(pairs[0], "do you hear me?").await;
    bob.hears(pairs[0], "do you hear me?", ada).await;
    bob.say(pairs[0], "here I do").await;
    ada.hears(pairs[0], "here I do", bob).await;
    let heard = bob.texts(id).await;
    if ["without Bob", "and still without"].iter().any(|text| heard.contains_key(*text)) {
        // Daemons of 2023 go on serving him on a channel that was open, on which Skep looks for news by itself.
        assert!(made == FromDaemon, "he hears what was said without him");
        bob.sees(who, Some("banned"), id, ada).await;
    }
    for other in [&mut *ada, carol, dora] {
        assert!(!other.texts(id).await.contains_key("does anybody hear me?"), "{} hears him", other.name());
    }
    ada.add(who, id).await;
    for index in 0..all.len() {
        let (one, other) = beside(&mut all, index);
        one.sees(who, Some("member"), id, other).await;
    }
    talk(&mut all, id, "forgiving").await;
    same_history(&mut all, id).await;
    tried.works();
    for member in all {
        member.end().await;
    }
}

#[test]
fn a_daemon_that_skep_bans_from_a_group_hears_nothing_until_it_is_let_in_again() {
    run(banned(ToDaemon));
}

#[test]
fn skep_that_a_daemon_bans_from_a_group_is_not_heard_until_it_is_let_in_again() {
    run(banned(FromDaemon));
}

/// Two and two cannot reach each other for a while, and go on.
async fn divided(made: Direction) {
    let Some(mut lab) = Lab::open().unwrap() else { return };
    let (mut all, _) = meet(&mut lab, ["ada", "bob", "carol", "dora"], made).await;
    let id = gather(&mut all).await;
    talk(&mut all, id, "the weather").await;
    let tried = lab.attempt(Feature::Partition, made);
    let places = all.each_ref().map(Member::place);
    let [_, _, apart @ ..] = places.each_ref();
    lab.part(&apart).unwrap();
    let (here, there) = all.split_at_mut(2);
    talk(here, id, "the others").await;
    talk(there, id, "the others").await;
    lab.heal(&apart).unwrap();
    for speaker in 0..all.len() {
        let said = format!("{} about the others", all[speaker].name());
        for listener in (0..all.len()).filter(|index| *index != speaker) {
            let [listener, speaker] = all.get_disjoint_mut([listener, speaker]).unwrap();
            listener.hears(id, &said, speaker).await;
        }
    }
    talk(&mut all, id, "being back").await;
    same_history(&mut all, id).await;
    tried.works();
    for member in all {
        member.end().await;
    }
}

#[test]
fn a_group_of_skep_that_was_cut_in_two_becomes_one_again() {
    run(divided(ToDaemon));
}

#[test]
fn a_group_of_a_daemon_that_was_cut_in_two_becomes_one_again() {
    run(divided(FromDaemon));
}
