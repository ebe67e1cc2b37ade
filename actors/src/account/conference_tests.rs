//! Conferences between nodes in one process: what is told, ordered and obeyed.

use super::*;
use crate::call::conference::messages::{
    ConferenceError, ConferenceId, ConferenceRequest, ConferenceView, Done, OwnerOrder, Person,
};
use crate::call::media::SoundChoice;
use crate::call::messages::{CallCommand, CallError, CallId, CallStage, CallView, CallsMessage};

impl Node {
    async fn request<R>(&self, request: impl FnOnce(Reply<R>) -> ConferenceRequest) -> R {
        let calls: Port<CallsMessage> = self.ask(AccountRequest::Calls).await.unwrap();
        calls.ask(PATIENCE, |reply| CallsMessage::Conference(request(reply))).await.unwrap()
    }

    async fn done(&self, request: impl FnOnce(Done) -> ConferenceRequest) {
        self.request(request).await.unwrap();
    }

    async fn make(&self, calls: &[CallId]) -> Result<ConferenceId, CallError> {
        let (calls, sound) = (calls.to_vec(), SoundChoice::default());
        self.request(|reply| ConferenceRequest::Make { calls, sound, reply }).await
    }

    async fn order(&self, of: u64, order: OwnerOrder) -> Result<(), CallError> {
        self.request(|reply| ConferenceRequest::Order { of, order, reply }).await
    }

    async fn placed(&self, peer: AccountId) -> CallId {
        let calls: Port<CallsMessage> = self.ask(AccountRequest::Calls).await.unwrap();
        let place = |reply| CallsMessage::Place { peer, sound: SoundChoice::default(), reply };
        calls.ask(PATIENCE, place).await.unwrap().unwrap()
    }

    async fn command(&self, call: CallId, command: CallCommand) {
        let calls: Port<CallsMessage> = self.ask(AccountRequest::Calls).await.unwrap();
        calls.ask(PATIENCE, |reply| CallsMessage::Do { call, command, reply }).await.unwrap().unwrap();
    }

    async fn listed_calls(&self) -> Vec<CallView> {
        let calls: Port<CallsMessage> = self.ask(AccountRequest::Calls).await.unwrap();
        calls.ask(PATIENCE, CallsMessage::List).await.unwrap()
    }

    /// Waits until a call is like this.
    async fn call_is(&self, is: impl Fn(&CallView) -> bool) -> CallView {
        until(async || self.listed_calls().await.into_iter().find(&is)).await
    }

    /// Waits until a conference here is like this.
    async fn conference_is(&self, is: impl Fn(&ConferenceView) -> bool) -> ConferenceView {
        until(async || {
            let views: Vec<ConferenceView> = self.request(ConferenceRequest::List).await;
            views.into_iter().find(&is)
        })
        .await
    }

    async fn hears_more(&self, call: CallId, more: u64) {
        let before = self.call_is(|it| it.id == call).await.received;
        self.call_is(|it| it.id == call && it.received >= before + more).await;
    }
}

async fn until<T>(mut is: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = is().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap()
}

/// A call between two that is answered: its names on both sides.
async fn talk(from: &mut Node, to: &mut Node) -> (CallId, CallId) {
    let ours = from.placed(to.id().await).await;
    let theirs = to.call_is(|call| call.stage == CallStage::Incoming).await.id;
    to.command(theirs, CallCommand::Answer(SoundChoice::default())).await;
    from.call_is(|call| call.id == ours && call.stage == CallStage::Active).await;
    to.call_is(|call| call.id == theirs && call.stage == CallStage::Active).await;
    (ours, theirs)
}

fn of(people: &[Person], who: AccountId) -> Option<&Person> {
    people.iter().find(|person| person.person == who.to_hex())
}

#[test]
fn calls_are_put_together_everybody_is_told_and_one_who_is_left_goes_on_alone() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut alice, mut bob, _) = pair(place.path()).await;
        befriend(&mut alice, &mut bob).await;
        let (alice_id, bob_id) = (alice.id().await, bob.id().await);
        let (to_bob, at_bob) = talk(&mut alice, &mut bob).await;
        // Two calls of the same two are two participants.
        let (second, at_bob_too) = talk(&mut alice, &mut bob).await;

        let conference = alice.make(&[to_bob, second]).await.unwrap();
        let view = alice.conference_is(|it| it.calls.len() == 2).await;
        assert_eq!((view.id, view.attached, view.people.len()), (conference, true, 3));
        for call in [at_bob, at_bob_too] {
            let told = bob.call_is(|it| it.id == call && it.people.len() == 3).await;
            assert_eq!(told.people, view.people);
            assert!(of(&told.people, alice_id).is_some_and(|it| it.moderator && !it.moderator_muted));
        }
        assert!(matches!(
            alice.make(&[to_bob]).await,
            Err(CallError::Conference(ConferenceError::InOne(call))) if call == to_bob
        ));

        // The host mutes, and a participant raises the hand.
        alice.order(conference.0, OwnerOrder::Mute(bob_id, true)).await.unwrap();
        bob.call_is(|it| of(&it.people, bob_id).is_some_and(|it| it.moderator_muted)).await;
        bob.order(at_bob.0, OwnerOrder::Hand(None, true)).await.unwrap();
        alice.conference_is(|it| it.people.iter().any(|it| it.hand)).await;
        // Everybody is a moderator here, and may mute the host.
        bob.order(at_bob.0, OwnerOrder::Mute(alice_id, true)).await.unwrap();
        alice.conference_is(|it| of(&it.people, alice_id).is_some_and(|it| it.moderator_muted)).await;
        // Who mutes himself is told as well.
        bob.command(at_bob, CallCommand::Mute(true)).await;
        alice.conference_is(|it| it.people.iter().any(|it| it.muted)).await;

        bob.command(at_bob, CallCommand::HangUp).await;
        bob.call_is(|it| it.id == at_bob_too && it.people.is_empty()).await;
        let ended = |event: &Event| match event {
            Event::ConferenceEnded { conference } => Some(*conference),
            _ => None,
        };
        assert_eq!(alice.event(ended).await, conference);
        bob.hears_more(at_bob_too, 10).await;
        alice.hears_more(second, 10).await;
        assert!(matches!(
            alice.order(conference.0, OwnerOrder::Hand(None, true)).await,
            Err(CallError::Conference(ConferenceError::NotInOne(_)))
        ));
        alice.stop().await;
        bob.stop().await;
    });
}

#[test]
fn a_call_is_taken_out_and_a_conference_that_ends_hangs_everybody_up() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut alice, mut bob, _) = pair(place.path()).await;
        befriend(&mut alice, &mut bob).await;
        assert!(matches!(alice.make(&[]).await, Err(CallError::Conference(ConferenceError::Empty))));
        let unknown = alice.make(&[CallId(7)]).await;
        assert!(matches!(unknown, Err(CallError::Unknown(CallId(7)))));

        let (first, at_bob) = talk(&mut alice, &mut bob).await;
        let (second, at_bob_too) = talk(&mut alice, &mut bob).await;
        let conference = alice.make(&[first]).await.unwrap();
        alice.done(|reply| ConferenceRequest::Add { conference, call: second, reply }).await;
        alice.conference_is(|it| it.calls.len() == 2).await;
        bob.call_is(|it| it.id == at_bob && it.people.len() == 3).await;
        // One of two is taken out: both go on alone.
        alice.done(|reply| ConferenceRequest::Remove { call: first, reply }).await;
        for (ours, theirs) in [(first, at_bob), (second, at_bob_too)] {
            bob.call_is(|it| it.id == theirs && it.people.is_empty()).await;
            alice.call_is(|it| it.id == ours && it.conference.is_none()).await;
            bob.hears_more(theirs, 10).await;
        }

        // The host leaves another, and the others go on without.
        let conference = alice.make(&[first, second]).await.unwrap();
        bob.call_is(|it| it.id == at_bob && it.people.len() == 3).await;
        alice.done(|reply| ConferenceRequest::Attach { conference, attached: false, reply }).await;
        let alice_id = alice.id().await;
        bob.call_is(|it| it.people.len() == 2 && of(&it.people, alice_id).is_none()).await;

        alice.done(|reply| ConferenceRequest::HangUp { conference, reply }).await;
        for _ in 0..2 {
            bob.event(|event| matches!(event, Event::CallEnded { .. }).then_some(())).await;
        }
        let left: Vec<ConferenceView> = alice.request(ConferenceRequest::List).await;
        assert!(left.is_empty());
        alice.stop().await;
        bob.stop().await;
    });
}
