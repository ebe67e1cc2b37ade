//! Calls with a daemon: who rings, who answers, and a tone of each side that is found at the other.

use std::time::Duration;

use skep::rpc::schema::{AccountParams, CallAnswerParams, CallParams, CallPlaceParams, method};
use skep::{CallId, CallOver, CallStage, CallView, Event, SoundChoice};
use skep_tests::daemon::Listening;
use skep_tests::harness::{Mark, Person, run, until};
use skep_tests::live::{Direction, Feature};

use super::pair::Pair;

/// Without pipelines Skep is silent, and hears nothing of what comes.
#[cfg(not(feature = "media"))]
mod measure {
    use skep::{SoundOutput, SoundSource};

    use super::*;

    pub(super) fn sound(_: &Pair) -> SoundChoice {
        SoundChoice { source: SoundSource::Silence, output: SoundOutput::Nowhere }
    }

    pub(super) async fn bob_hears(_: &Listening, _: bool) {}

    pub(super) async fn ada_heard(_: &Pair) {}
}

/// Ada plays a tone and records what she hears; so does Bob's daemon.
#[cfg(feature = "media")]
mod measure {
    use skep::{SoundOutput, SoundSource};
    use skep_media::pipelines::{RATE, read_sound};
    use skep_media::tone::{best_share, share_of_tone};
    use skep_tests::daemon::{DAEMON_RATE, DAEMON_TONE};

    use super::*;

    /// Ada's tone.
    const TONE: u32 = 700;

    fn recording(pair: &Pair) -> std::path::PathBuf {
        pair.lab.folder().join("ada.ogg")
    }

    pub(super) fn sound(pair: &Pair) -> SoundChoice {
        SoundChoice { source: SoundSource::Tone(TONE), output: SoundOutput::File(recording(pair)) }
    }

    /// Waits until Bob hears Ada's tone for half a second, or for half a second does not.
    pub(super) async fn bob_hears(listening: &Listening, tone: bool) {
        let from = listening.samples().len();
        until("bob", if tone { "Ada's tone" } else { "no tone any more" }, async || {
            let samples = listening.samples();
            let half = DAEMON_RATE as usize / 2;
            let last = samples.get(from..).unwrap_or_default().rchunks_exact(half).next();
            let share = last.map(|last| share_of_tone(last, DAEMON_RATE, TONE));
            Ok(share.is_some_and(|share| if tone { share > 0.8 } else { share < 0.1 }).then_some(()))
        })
        .await
        .unwrap();
    }

    /// Waits for the end of Ada's recording: Bob's tone is in it, and not her own.
    pub(super) async fn ada_heard(pair: &Pair) {
        let path = recording(pair);
        let samples = until("ada", "a finished recording", async || {
            let samples = read_sound(&path).unwrap_or_default();
            Ok((samples.len() > RATE as usize).then_some(samples))
        })
        .await
        .unwrap();
        assert!(best_share(&samples, RATE, DAEMON_TONE) > 0.8);
        assert!(best_share(&samples, RATE, TONE) < 0.1);
    }
}

impl Pair {
    async fn ada_calls(&mut self) -> CallId {
        let (account, contact) = (self.ada.local, self.bob.id.to_string());
        let params = CallPlaceParams { account, contact, sound: measure::sound(self) };
        self.ada.node.call(method::CallPlace, params).await.unwrap().call
    }

    async fn ada_answers(&mut self, call: CallId) {
        let params = CallAnswerParams { account: self.ada.local, call, sound: measure::sound(self) };
        self.ada.node.call(method::CallAnswer, params).await.unwrap();
    }

    const fn of(&self, call: CallId) -> CallParams {
        CallParams { account: self.ada.local, call }
    }

    /// A call that Ada makes, and Bob has answered.
    async fn call_of_ada(&mut self) -> (CallId, String) {
        let call = self.ada_calls().await;
        let rings = self.jamid.call_in_state(&self.bob, "INCOMING").await.unwrap();
        reaches(&self.ada, Mark::BEGINNING, CallStage::Ringing).await;
        self.jamid.answer_call(&self.bob, &rings).await.unwrap();
        reaches(&self.ada, Mark::BEGINNING, CallStage::Active).await;
        (call, rings)
    }

    /// A call that Bob makes, and Ada has answered.
    async fn call_of_bob(&mut self) -> (CallId, String) {
        let placed = self.jamid.place_call(&self.bob, self.ada.id).await.unwrap();
        let rings = reaches(&self.ada, Mark::BEGINNING, CallStage::Incoming).await;
        self.ada_answers(rings).await;
        reaches(&self.ada, Mark::BEGINNING, CallStage::Active).await;
        (rings, placed)
    }

    async fn view(&mut self) -> Option<CallView> {
        let params = AccountParams { account: self.ada.local };
        self.ada.node.call(method::CallList, params).await.unwrap().calls.first().cloned()
    }

    /// Waits until so many packets more have come, each signed as it must be.
    async fn ada_hears(&mut self, more: u64) {
        let before = self.view().await.map_or(0, |call| call.received);
        until("ada", "sound of the daemon", async || {
            let call = self.view().await;
            Ok(call.is_some_and(|call| call.received >= before + more).then_some(()))
        })
        .await
        .unwrap();
        assert_eq!(self.view().await.map(|call| call.dropped), Some(0));
    }

    /// Waits until no more packets come.
    async fn ada_hears_nothing(&mut self) {
        let mut last = None;
        until("ada", "silence of the daemon", async || {
            let received = self.view().await.map(|call| call.received);
            let still = received == last;
            last = received;
            // Ten packets would have come meanwhile.
            tokio::time::sleep(Duration::from_millis(200)).await;
            Ok(still.then_some(()))
        })
        .await
        .unwrap();
    }
}

async fn reaches(person: &Person, since: Mark, stage: CallStage) -> CallId {
    let far = |event: &Event| match event {
        Event::CallChanged { call } if call.stage == stage => Some(call.id),
        _ => None,
    };
    person.told(since, format!("a call that is {stage:?}"), far).await.unwrap()
}

async fn over(person: &Person, id: CallId) -> CallOver {
    let over = |event: &Event| match event {
        Event::CallEnded { call, over, .. } if *call == id => Some(*over),
        _ => None,
    };
    person.told(Mark::BEGINNING, "the end of a call", over).await.unwrap()
}

async fn peer_muted(person: &Person, since: Mark, muted: bool) {
    let told = |event: &Event| match event {
        Event::CallChanged { call } if call.peer_muted == muted => Some(()),
        _ => None,
    };
    person.told(since, "a word of who is muted", told).await.unwrap();
}

#[test]
fn a_daemon_is_called_answers_is_heard_and_hangs_up() {
    run(async {
        let Some(mut pair) = Pair::with_sound().await else { return };
        let called = pair.lab.attempt(Feature::Call, Direction::ToDaemon);
        let listening = pair.jamid.listen().unwrap();
        let (call, rings) = pair.call_of_ada().await;
        pair.ada_hears(100).await;
        measure::bob_hears(&listening, true).await;
        assert_eq!(pair.jamid.call_in_state(&pair.bob, "CURRENT").await.unwrap(), rings);
        pair.jamid.hang_up(&pair.bob, &rings).await.unwrap();
        assert_eq!(over(&pair.ada, call).await, CallOver::PeerHungUp);
        measure::ada_heard(&pair).await;
        called.works();
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn a_daemon_calls_is_answered_heard_and_hung_up_on() {
    run(async {
        let Some(mut pair) = Pair::with_sound().await else { return };
        let called = pair.lab.attempt(Feature::Call, Direction::FromDaemon);
        let listening = pair.jamid.listen().unwrap();
        let (call, _) = pair.call_of_bob().await;
        pair.ada_hears(100).await;
        measure::bob_hears(&listening, true).await;
        pair.jamid.call_in_state(&pair.bob, "CURRENT").await.unwrap();
        let params = pair.of(call);
        pair.ada.node.call(method::CallHangUp, params).await.unwrap();
        assert_eq!(over(&pair.ada, call).await, CallOver::HungUp);
        pair.jamid.without_calls(&pair.bob).await.unwrap();
        measure::ada_heard(&pair).await;
        called.works();
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn a_call_with_a_daemon_is_held_and_muted_by_us_and_goes_on() {
    run(async {
        let Some(mut pair) = Pair::with_sound().await else { return };
        let listening = pair.jamid.listen().unwrap();
        let (call, rings) = pair.call_of_ada().await;
        pair.ada_hears(25).await;
        measure::bob_hears(&listening, true).await;

        let muted = pair.lab.attempt(Feature::CallMute, Direction::ToDaemon);
        let params = pair.of(call);
        pair.ada.node.call(method::CallMute, params).await.unwrap();
        measure::bob_hears(&listening, false).await;
        pair.ada.node.call(method::CallUnmute, params).await.unwrap();
        measure::bob_hears(&listening, true).await;
        muted.works();

        let held = pair.lab.attempt(Feature::CallHold, Direction::ToDaemon);
        pair.ada.node.call(method::CallHold, params).await.unwrap();
        reaches(&pair.ada, Mark::BEGINNING, CallStage::Held).await;
        measure::bob_hears(&listening, false).await;
        let since = pair.ada.node.events().mark();
        pair.ada.node.call(method::CallResume, params).await.unwrap();
        reaches(&pair.ada, since, CallStage::Active).await;
        pair.ada_hears(50).await;
        measure::bob_hears(&listening, true).await;
        held.works();

        pair.jamid.hang_up(&pair.bob, &rings).await.unwrap();
        assert_eq!(over(&pair.ada, call).await, CallOver::PeerHungUp);
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn a_call_is_held_and_muted_by_a_daemon_and_goes_on() {
    run(async {
        let Some(mut pair) = Pair::with_sound().await else { return };
        let listening = pair.jamid.listen().unwrap();
        let (call, placed) = pair.call_of_bob().await;
        pair.ada_hears(25).await;

        let muted = pair.lab.attempt(Feature::CallMute, Direction::FromDaemon);
        pair.jamid.mute_call(&pair.bob, &placed, true).await.unwrap();
        peer_muted(&pair.ada, Mark::BEGINNING, true).await;
        let since = pair.ada.node.events().mark();
        pair.jamid.mute_call(&pair.bob, &placed, false).await.unwrap();
        peer_muted(&pair.ada, since, false).await;
        muted.works();

        let held = pair.lab.attempt(Feature::CallHold, Direction::FromDaemon);
        pair.jamid.hold_call(&pair.bob, &placed, true).await.unwrap();
        pair.jamid.call_in_state(&pair.bob, "HOLD").await.unwrap();
        // One who goes on before the hold is agreed on goes on without sound, with daemons of 2023.
        pair.ada_hears_nothing().await;
        pair.jamid.hold_call(&pair.bob, &placed, false).await.unwrap();
        pair.jamid.call_in_state(&pair.bob, "CURRENT").await.unwrap();
        pair.ada_hears(50).await;
        measure::bob_hears(&listening, true).await;
        held.works();

        let params = pair.of(call);
        pair.ada.node.call(method::CallHangUp, params).await.unwrap();
        assert_eq!(over(&pair.ada, call).await, CallOver::HungUp);
        pair.jamid.without_calls(&pair.bob).await.unwrap();
        pair.ada.node.stop().await.unwrap();
    });
}

#[test]
fn calls_that_are_refused_or_given_up_end_on_both_sides() {
    run(async {
        let Some(mut pair) = Pair::with_sound().await else { return };
        let refused = pair.lab.attempt(Feature::CallRefused, Direction::ToDaemon);
        let call = pair.ada_calls().await;
        let rings = pair.jamid.call_in_state(&pair.bob, "INCOMING").await.unwrap();
        pair.jamid.refuse_call(&pair.bob, &rings).await.unwrap();
        // Daemons of 2023 say that they are busy.
        let how = over(&pair.ada, call).await;
        assert!(matches!(how, CallOver::Busy | CallOver::Declined), "{how:?}");
        pair.jamid.without_calls(&pair.bob).await.unwrap();
        let call = pair.ada_calls().await;
        pair.jamid.call_in_state(&pair.bob, "INCOMING").await.unwrap();
        let params = pair.of(call);
        pair.ada.node.call(method::CallHangUp, params).await.unwrap();
        assert_eq!(over(&pair.ada, call).await, CallOver::Cancelled);
        pair.jamid.without_calls(&pair.bob).await.unwrap();
        refused.works();

        let refused = pair.lab.attempt(Feature::CallRefused, Direction::FromDaemon);
        let since = pair.ada.node.events().mark();
        pair.jamid.place_call(&pair.bob, pair.ada.id).await.unwrap();
        let rings = reaches(&pair.ada, since, CallStage::Incoming).await;
        let params = pair.of(rings);
        pair.ada.node.call(method::CallDecline, params).await.unwrap();
        assert_eq!(over(&pair.ada, rings).await, CallOver::Declined);
        pair.jamid.without_calls(&pair.bob).await.unwrap();
        let since = pair.ada.node.events().mark();
        let placed = pair.jamid.place_call(&pair.bob, pair.ada.id).await.unwrap();
        let rings = reaches(&pair.ada, since, CallStage::Incoming).await;
        pair.jamid.hang_up(&pair.bob, &placed).await.unwrap();
        assert_eq!(over(&pair.ada, rings).await, CallOver::PeerCancelled);
        pair.jamid.without_calls(&pair.bob).await.unwrap();
        refused.works();
        pair.ada.node.stop().await.unwrap();
    });
}
