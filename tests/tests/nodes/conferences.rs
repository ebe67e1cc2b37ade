//! Conferences between processes: everybody hears everybody else, and is told the same.

use std::path::Path;

use skep::rpc::schema::{
    AccountParams, CallAnswerParams, CallParams, CallPlaceParams, ConferenceMakeParams, ConferenceMuteParams,
    ConferenceParams, ConferenceRecordParams, method,
};
use skep::{
    AccountId, CallId, CallStage, CallView, ConferenceId, Event, Person as InIt, SoundChoice, SoundOutput,
    SoundSource,
};
use skep_media::pipelines::{RATE, read_sound};
use skep_media::tone::best_share;
use skep_tests::harness::{Golden, Mark, Person, run, until};
use tempfile::TempDir;

use super::Pair;
use super::groups::joining;

// Tones that saturation does not make of the others.

/// How much of a piece a tone is that is heard among two others, and one that is not.
const HEARD: f64 = 0.15;
const UNHEARD: f64 = 0.02;

fn sound(hertz: u32, folder: &Path, name: &str) -> SoundChoice {
    SoundChoice { source: SoundSource::Tone(hertz), output: SoundOutput::File(folder.join(name)) }
}

/// A call that is under way: its names at both.
async fn talk(host: &mut Person, guest: &mut Person, guest_sound: SoundChoice) -> (CallId, CallId) {
    let quiet = SoundChoice { source: SoundSource::Silence, output: SoundOutput::Nowhere };
    let params = CallPlaceParams { account: host.local, contact: guest.id.to_string(), sound: quiet };
    let ours = host.node.call(method::CallPlace, params).await.unwrap().call;
    let rings = |event: &Event| match event {
        Event::CallChanged { call } if call.stage == CallStage::Incoming => Some(call.id),
        _ => None,
    };
    let theirs = guest.told(Mark::BEGINNING, "a call that rings", rings).await.unwrap();
    let params = CallAnswerParams { account: guest.local, call: theirs, sound: guest_sound };
    guest.node.call(method::CallAnswer, params).await.unwrap();
    call_is(host, "a call under way", |call| call.id == ours && call.stage == CallStage::Active).await;
    (ours, theirs)
}

async fn call_is(person: &mut Person, what: &str, is: impl Fn(&CallView) -> bool) -> CallView {
    let name = person.node.name().to_owned();
    until(&name, what, async || {
        let params = AccountParams { account: person.local };
        let calls = person.node.call(method::CallList, params).await?.calls;
        Ok(calls.into_iter().find(&is))
    })
    .await
    .unwrap()
}

/// Whom somebody is told to be in the conference, once it is so many.
async fn told(person: &mut Person, count: usize) -> Vec<InIt> {
    call_is(person, "who is in the conference", |call| call.people.len() == count).await.people
}

/// Waits until so many packets more have come.
async fn hears(person: &mut Person, call: CallId, more: u64) {
    let before = call_is(person, "its call", |it| it.id == call).await.received;
    call_is(person, "sound", |it| it.id == call && it.received >= before + more).await;
}

async fn mute(host: &mut Person, conference: ConferenceId, whom: AccountId, muted: bool) {
    let of = CallId(conference.0);
    let params = ConferenceMuteParams { account: host.local, of, person: whom.to_string(), muted };
    host.node.call(method::ConferenceMute, params).await.unwrap();
}

async fn recorded(folder: &TempDir, name: &str) -> Vec<i16> {
    let path = folder.path().join(name);
    until(name, "a finished recording", async || {
        let samples = read_sound(&path).unwrap_or_default();
        Ok((samples.len() > 96_000).then_some(samples))
    })
    .await
    .unwrap()
}

#[test]
fn everybody_hears_the_others_and_not_himself_and_is_told_the_same() {
    run(async {
        let Pair { place: folder, mut alice, mut carol } = Pair::start().await.unwrap();
        let mut bob = joining(&mut alice, "bob", Golden::BOB, &folder).await;
        let mut dan = joining(&mut alice, "dan", Golden::DAN, &folder).await;
        for guest in [&mut bob, &mut carol, &mut dan] {
            alice.befriend(guest).await.unwrap();
        }
        let (to_bob, at_bob) = talk(&mut alice, &mut bob, sound(1000, folder.path(), "bob.ogg")).await;
        let (to_carol, at_carol) =
            talk(&mut alice, &mut carol, sound(1700, folder.path(), "carol.ogg")).await;
        let (to_dan, at_dan) = talk(&mut alice, &mut dan, sound(2730, folder.path(), "dan.ogg")).await;

        let calls = vec![to_bob, to_carol, to_dan];
        let params = ConferenceMakeParams {
            account: alice.local,
            calls,
            sound: sound(440, folder.path(), "alice.ogg"),
        };
        let conference = alice.node.call(method::ConferenceMake, params).await.unwrap().conference;
        let path = Some(folder.path().join("all.ogg"));
        let params = ConferenceRecordParams { account: alice.local, conference, path };
        alice.node.call(method::ConferenceRecord, params).await.unwrap();
        let people = told(&mut bob, 4).await;
        assert_eq!(told(&mut carol, 4).await, people);
        assert_eq!(told(&mut dan, 4).await, people);
        hears(&mut bob, at_bob, 150).await;
        hears(&mut carol, at_carol, 50).await;
        hears(&mut dan, at_dan, 50).await;

        // One is muted, another is gone without a word.
        let dan_id = dan.id;
        mute(&mut alice, conference, dan_id, true).await;
        let is_muted =
            |people: &[InIt]| people.iter().any(|it| it.person == dan_id.to_string() && it.moderator_muted);
        call_is(&mut bob, "that dan is muted", |call| is_muted(&call.people)).await;
        call_is(&mut dan, "that dan is muted", |call| is_muted(&call.people)).await;
        carol.node.kill();
        let left = told(&mut bob, 3).await;
        assert_eq!(told(&mut dan, 3).await, left);
        assert!(left.iter().all(|it| it.person != carol.id.to_string()));
        hears(&mut bob, at_bob, 120).await;
        let params = ConferenceParams { account: alice.local, conference };
        alice.node.call(method::ConferenceHangUp, params).await.unwrap();
        let over = |event: &Event| matches!(event, Event::CallEnded { .. }).then_some(());
        bob.told(Mark::BEGINNING, "the end of its call", over).await.unwrap();
        dan.told(Mark::BEGINNING, "the end of its call", over).await.unwrap();

        for (name, own, others) in [
            ("alice.ogg", 440, [1000, 1700, 2730]),
            ("bob.ogg", 1000, [440, 1700, 2730]),
            ("dan.ogg", 2730, [440, 1000, 1700]),
        ] {
            let samples = recorded(&folder, name).await;
            for hertz in others {
                let share = best_share(&samples, RATE, hertz);
                assert!(share > HEARD, "{name}: {hertz} Hz has {share}");
            }
            let share = best_share(&samples, RATE, own);
            assert!(share < UNHEARD, "{name}: the own tone has {share}");
        }
        let all = recorded(&folder, "all.ogg").await;
        for hertz in [440, 1000, 1700, 2730] {
            let share = best_share(&all, RATE, hertz);
            assert!(share > HEARD, "the recording: {hertz} Hz has {share}");
        }
        // In the end dan is muted and carol gone: bob hears alice alone.
        let bobs = recorded(&folder, "bob.ogg").await;
        let end = bobs.get(bobs.len().saturating_sub(48_000)..bobs.len() - 9_600).unwrap();
        let share = best_share(end, RATE, 440);
        assert!(share > 0.8, "{share}");
        for hertz in [1700, 2730] {
            let share = best_share(end, RATE, hertz);
            assert!(share < UNHEARD, "{hertz} Hz has {share}");
        }
        let gone = CallParams { account: alice.local, call: to_bob };
        assert!(alice.node.call(method::CallHangUp, gone).await.is_err());
        for mut person in [alice, bob, dan] {
            person.node.stop().await.unwrap();
        }
    });
}
