//! Calls between processes: rung, answered, heard and written down.

use skep::rpc::schema::{AccountParams, CallAnswerParams, CallParams, CallPlaceParams, method};
use skep::{CallId, CallOver, CallStage, Event, SoundChoice, SoundOutput, SoundSource};
use skep_tests::harness::{Mark, Person, Result, run, until};

use super::{Pair, skep};

/// Neither microphone nor loudspeaker, so that it is the same on every machine.
fn quiet() -> SoundChoice {
    SoundChoice { source: SoundSource::Silence, output: SoundOutput::Nowhere }
}

async fn place(from: &mut Person, to: &Person, sound: SoundChoice) -> Result<CallId> {
    let params = CallPlaceParams { account: from.local, contact: to.id.to_string(), sound };
    Ok(from.node.call(method::CallPlace, params).await?.call)
}

async fn answer(person: &mut Person, call: CallId, sound: SoundChoice) {
    let params = CallAnswerParams { account: person.local, call, sound };
    person.node.call(method::CallAnswer, params).await.unwrap();
}

async fn reaches(person: &Person, since: Mark, stage: CallStage) -> CallId {
    let far = |event: &Event| match event {
        Event::CallChanged { call } if call.stage == stage => Some(call.id),
        _ => None,
    };
    person.told(since, "a call that goes on", far).await.unwrap()
}

async fn over(person: &Person, id: CallId) -> (CallOver, u64) {
    let over = |event: &Event| match event {
        Event::CallEnded { call, over, duration_ms, .. } if *call == id => Some((*over, *duration_ms)),
        _ => None,
    };
    person.told(Mark::BEGINNING, "the end of a call", over).await.unwrap()
}

/// Waits until so many packets have come.
async fn hears(person: &mut Person, packets: u64) {
    let name = person.node.name().to_owned();
    until(&name, "sound", async || {
        let params = AccountParams { account: person.local };
        let calls = person.node.call(method::CallList, params).await?.calls;
        Ok(calls.first().is_some_and(|call| call.received >= packets).then_some(()))
    })
    .await
    .unwrap();
}

#[test]
fn two_processes_call_hear_each_other_and_write_it_down() {
    run(async {
        let Pair { place: _place, mut alice, mut carol } = Pair::start().await.unwrap();
        let conversation = alice.befriend(&mut carol).await.unwrap();
        let call = place(&mut alice, &carol, quiet()).await.unwrap();
        let rings = reaches(&carol, Mark::BEGINNING, CallStage::Incoming).await;
        let table = skep(carol.node.setup().data(), &["call", "list"]);
        let table = String::from_utf8(table.stdout).unwrap();
        assert!(table.contains("rings here") && table.contains(&rings.to_string()), "{table}");
        answer(&mut carol, rings, quiet()).await;
        reaches(&alice, Mark::BEGINNING, CallStage::Active).await;
        hears(&mut alice, 25).await;
        hears(&mut carol, 25).await;
        let held = skep(alice.node.setup().data(), &["call", "hold"]);
        assert!(held.status.success(), "{held:?}");
        reaches(&alice, Mark::BEGINNING, CallStage::Held).await;
        let since = alice.node.events().mark();
        let params = CallParams { account: alice.local, call };
        alice.node.call(method::CallResume, params).await.unwrap();
        reaches(&alice, since, CallStage::Active).await;
        let ended = skep(alice.node.setup().data(), &["call", "hang-up"]);
        assert!(ended.status.success(), "{ended:?}");
        let (how, duration) = over(&alice, call).await;
        assert_eq!((how, over(&carol, rings).await.0), (CallOver::HungUp, CallOver::PeerHungUp));
        assert!(duration > 500);
        let name = carol.node.name().to_owned();
        until(&name, "the record of the call", async || {
            let messages = carol.messages(conversation).await?;
            Ok(messages.iter().any(|it| it.kind == "application/call-history+json").then_some(()))
        })
        .await
        .unwrap();
        alice.node.stop().await.unwrap();
        carol.node.stop().await.unwrap();
    });
}

#[test]
fn a_node_that_is_killed_in_a_call_ends_it_for_the_other() {
    run(async {
        let Pair { place: _place, mut alice, mut carol } = Pair::start().await.unwrap();
        alice.befriend(&mut carol).await.unwrap();
        let call = place(&mut alice, &carol, quiet()).await.unwrap();
        let rings = reaches(&carol, Mark::BEGINNING, CallStage::Incoming).await;
        answer(&mut carol, rings, quiet()).await;
        hears(&mut alice, 5).await;
        carol.node.kill();
        let (how, _) = over(&alice, call).await;
        assert!(matches!(how, CallOver::Lost | CallOver::NoPath), "{how:?}");
        alice.node.stop().await.unwrap();
    });
}

#[cfg(feature = "media")]
#[test]
fn a_tone_played_on_one_side_is_found_at_the_other_and_no_other_tone() {
    use skep_media::pipelines::{RATE, read_sound};
    use skep_media::tone::best_share;

    run(async {
        let Pair { place: folder, mut alice, mut carol } = Pair::start().await.unwrap();
        alice.befriend(&mut carol).await.unwrap();
        let sound = |hertz, name: &str| SoundChoice {
            source: SoundSource::Tone(hertz),
            output: SoundOutput::File(folder.path().join(name)),
        };
        let call = place(&mut alice, &carol, sound(700, "alice.ogg")).await.unwrap();
        let rings = reaches(&carol, Mark::BEGINNING, CallStage::Incoming).await;
        answer(&mut carol, rings, sound(1900, "carol.ogg")).await;
        hears(&mut alice, 150).await;
        hears(&mut carol, 150).await;
        let params = CallParams { account: alice.local, call };
        alice.node.call(method::CallHangUp, params).await.unwrap();
        over(&alice, call).await;
        over(&carol, rings).await;
        for (name, theirs, ours) in [("alice.ogg", 1900, 700), ("carol.ogg", 700, 1900)] {
            let path = folder.path().join(name);
            let samples = until(name, "a finished recording", async || {
                let samples = read_sound(&path).unwrap_or_default();
                Ok((samples.len() > 48_000).then_some(samples))
            })
            .await
            .unwrap();
            assert!(best_share(&samples, RATE, theirs) > 0.8, "{name}");
            assert!(best_share(&samples, RATE, ours) < 0.1, "{name}");
        }
        alice.node.stop().await.unwrap();
        carol.node.stop().await.unwrap();
    });
}

#[test]
fn what_is_no_call_or_no_file_is_refused_in_words() {
    run(async {
        let Pair { place: _place, mut alice, mut carol } = Pair::start().await.unwrap();
        alice.befriend(&mut carol).await.unwrap();
        let relative = SoundChoice { output: SoundOutput::File("heard.ogg".into()), ..quiet() };
        let refused = place(&mut alice, &carol, relative).await.unwrap_err().to_string();
        assert!(refused.contains("heard.ogg"), "{refused}");
        let myself = CallPlaceParams { account: alice.local, contact: alice.id.to_string(), sound: quiet() };
        let refused = alice.node.call(method::CallPlace, myself).await.unwrap_err().to_string();
        assert!(refused.contains("cannot call itself"), "{refused}");
        let nothing = skep(alice.node.setup().data(), &["call", "hang-up"]);
        assert!(!nothing.status.success());
        alice.node.stop().await.unwrap();
        carol.node.stop().await.unwrap();
    });
}
