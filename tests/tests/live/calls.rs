//! Calls with a daemon: who rings, who answers, and sound that is signed with the right keys.

use skep::rpc::schema::{AccountParams, CallAnswerParams, CallParams, CallPlaceParams, method};
use skep::{CallId, CallOver, CallStage, Event, SoundChoice, SoundOutput, SoundSource};
use skep_tests::harness::{Mark, Person, run, until};
use skep_tests::live::{Direction, Feature};

use super::pair::Pair;

fn quiet() -> SoundChoice {
    SoundChoice { source: SoundSource::Silence, output: SoundOutput::Nowhere }
}

async fn reaches(person: &Person, stage: CallStage) -> CallId {
    let far = |event: &Event| match event {
        Event::CallChanged { call } if call.stage == stage => Some(call.id),
        _ => None,
    };
    person.told(Mark::BEGINNING, format!("a call that is {stage:?}"), far).await.unwrap()
}

async fn over(person: &Person, id: CallId) -> CallOver {
    let over = |event: &Event| match event {
        Event::CallEnded { call, over, .. } if *call == id => Some(*over),
        _ => None,
    };
    person.told(Mark::BEGINNING, "the end of a call", over).await.unwrap()
}

/// Waits until so many packets have come, each signed as it must be.
async fn hears(person: &mut Person, packets: u64) {
    let name = person.node.name().to_owned();
    until(&name, "sound of the daemon", async || {
        let params = AccountParams { account: person.local };
        let calls = person.node.call(method::CallList, params).await?.calls;
        Ok(calls.first().is_some_and(|call| call.received >= packets && call.dropped == 0).then_some(()))
    })
    .await
    .unwrap();
}

#[test]
fn a_daemon_is_called_answers_is_heard_and_hangs_up() {
    run(async {
        let Some(mut pair) = Pair::with_sound().await else { return };
        let called = pair.lab.attempt(Feature::Call, Direction::ToDaemon);
        let (account, contact) = (pair.ada.local, pair.bob.id.to_string());
        let params = CallPlaceParams { account, contact, sound: quiet() };
        let call = pair.ada.node.call(method::CallPlace, params).await.unwrap().call;
        let rings = pair.jamid.call_in_state(&pair.bob, "INCOMING").await.unwrap();
        reaches(&pair.ada, CallStage::Ringing).await;
        pair.jamid.answer_call(&pair.bob, &rings).await.unwrap();
        reaches(&pair.ada, CallStage::Active).await;
        hears(&mut pair.ada, 50).await;
        assert_eq!(pair.jamid.call_in_state(&pair.bob, "CURRENT").await.unwrap(), rings);
        pair.jamid.hang_up(&pair.bob, &rings).await.unwrap();
        assert_eq!(over(&pair.ada, call).await, CallOver::PeerHungUp);
        called.works();
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn a_daemon_calls_is_answered_heard_and_hung_up_on() {
    run(async {
        let Some(mut pair) = Pair::with_sound().await else { return };
        let called = pair.lab.attempt(Feature::Call, Direction::FromDaemon);
        pair.jamid.place_call(&pair.bob, pair.ada.id).await.unwrap();
        let rings = reaches(&pair.ada, CallStage::Incoming).await;
        let params = CallAnswerParams { account: pair.ada.local, call: rings, sound: quiet() };
        pair.ada.node.call(method::CallAnswer, params).await.unwrap();
        reaches(&pair.ada, CallStage::Active).await;
        hears(&mut pair.ada, 50).await;
        pair.jamid.call_in_state(&pair.bob, "CURRENT").await.unwrap();
        let params = CallParams { account: pair.ada.local, call: rings };
        pair.ada.node.call(method::CallHangUp, params).await.unwrap();
        assert_eq!(over(&pair.ada, rings).await, CallOver::HungUp);
        pair.jamid.without_calls(&pair.bob).await.unwrap();
        called.works();
        pair.ada.node.stop().await.unwrap();
    });
}
