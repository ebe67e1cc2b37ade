//! Calls between two nodes in one process: SIP over links, ICE over UDP, protected packets.

use super::*;
use crate::call::media::SoundChoice;
use crate::call::messages::{CallCommand, CallError, CallId, CallOver, CallStage, CallView, CallsMessage};

impl Node {
    async fn calls(&self) -> Port<CallsMessage> {
        self.ask(AccountRequest::Calls).await.unwrap()
    }

    async fn call(&self, peer: AccountId) -> CallId {
        let place = |reply| CallsMessage::Place { peer, sound: SoundChoice::default(), reply };
        self.calls().await.ask(PATIENCE, place).await.unwrap().unwrap()
    }

    async fn try_do(&self, call: CallId, command: CallCommand) -> Result<(), CallError> {
        self.calls().await.ask(PATIENCE, |reply| CallsMessage::Do { call, command, reply }).await.unwrap()
    }

    async fn act(&self, call: CallId, command: CallCommand) {
        self.try_do(call, command).await.unwrap();
    }

    async fn listed(&self) -> Vec<CallView> {
        self.calls().await.ask(PATIENCE, CallsMessage::List).await.unwrap()
    }

    async fn rings(&mut self) -> CallId {
        self.reaches(CallStage::Incoming).await
    }

    /// Waits until a call is so far.
    async fn reaches(&mut self, stage: CallStage) -> CallId {
        self.event(|event| match event {
            Event::CallChanged { call } if call.stage == stage => Some(call.id),
            _ => None,
        })
        .await
    }

    async fn over(&mut self, id: CallId) -> CallOver {
        self.event(|event| match event {
            Event::CallEnded { call, over, .. } if *call == id => Some(*over),
            _ => None,
        })
        .await
    }

    /// Waits until so many packets more have come.
    async fn hears(&self, more: u64) {
        let received = |calls: Vec<CallView>| calls.first().map_or(0, |call| call.received);
        let before = received(self.listed().await);
        let heard = async {
            while received(self.listed().await) < before + more {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.unwrap();
    }

    /// Waits for the record of a call in a conversation; its fields.
    async fn record(&mut self, id: ConversationId) -> (String, Option<String>) {
        self.event(|event| match event {
            Event::Message { conversation, message }
                if *conversation == id && message.kind == "application/call-history+json" =>
            {
                let field = |name: &str| message.details.get(name).cloned();
                Some((field("duration").unwrap_or_default(), field("reason")))
            }
            _ => None,
        })
        .await
    }
}

/// Two friends; bob's id.
async fn friends(place: &Path) -> (Node, Node, ConversationId, AccountId) {
    let (mut alice, mut bob, _) = pair(place).await;
    let conversation = befriend(&mut alice, &mut bob).await;
    let id = bob.id().await;
    (alice, bob, conversation, id)
}

#[test]
fn a_call_is_answered_heard_both_ways_held_resumed_muted_hung_up_and_written_down() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut alice, mut bob, conversation, bob_id) = friends(place.path()).await;
        let ours = alice.call(bob_id).await;
        let theirs = bob.rings().await;
        alice.reaches(CallStage::Ringing).await;
        assert!(matches!(alice.try_do(ours, CallCommand::Hold(true)).await, Err(CallError::WrongStage(_))));
        bob.act(theirs, CallCommand::Answer(SoundChoice::default())).await;
        alice.reaches(CallStage::Active).await;
        bob.reaches(CallStage::Active).await;
        alice.hears(5).await;
        bob.hears(5).await;

        alice.act(ours, CallCommand::Hold(true)).await;
        alice.reaches(CallStage::Held).await;
        alice.act(ours, CallCommand::Hold(false)).await;
        alice.reaches(CallStage::Active).await;
        alice.hears(5).await;
        bob.hears(5).await;

        bob.act(theirs, CallCommand::Mute(true)).await;
        let muted = |event: &Event| match event {
            Event::CallChanged { call } if call.peer_muted => Some(()),
            _ => None,
        };
        alice.event(muted).await;
        alice.hears(5).await;
        assert_eq!(alice.listed().await.first().map(|call| call.dropped), Some(0));

        bob.act(theirs, CallCommand::HangUp).await;
        assert_eq!(alice.over(ours).await, CallOver::PeerHungUp);
        assert_eq!(bob.over(theirs).await, CallOver::HungUp);
        let (duration, reason) = bob.record(conversation).await;
        assert!(duration.parse::<u64>().unwrap() > 0 && reason.is_none());
        assert!(alice.listed().await.is_empty() && bob.listed().await.is_empty());
        assert_eq!(alice.try_do(ours, CallCommand::HangUp).await, Err(CallError::Unknown(ours)));
        alice.stop().await;
        bob.stop().await;
    });
}

#[test]
fn a_call_that_is_declined_and_one_that_is_given_up_end_on_both_sides() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut alice, mut bob, conversation, bob_id) = friends(place.path()).await;
        let ours = alice.call(bob_id).await;
        let theirs = bob.rings().await;
        bob.act(theirs, CallCommand::Decline).await;
        assert_eq!(alice.over(ours).await, CallOver::Declined);
        assert_eq!(bob.over(theirs).await, CallOver::Declined);
        assert_eq!(bob.record(conversation).await, ("0".to_owned(), Some("declined".to_owned())));

        let ours = alice.call(bob_id).await;
        let theirs = bob.rings().await;
        alice.reaches(CallStage::Ringing).await;
        alice.act(ours, CallCommand::HangUp).await;
        assert_eq!(alice.over(ours).await, CallOver::Cancelled);
        assert_eq!(bob.over(theirs).await, CallOver::PeerCancelled);
        assert_eq!(bob.record(conversation).await, ("0".to_owned(), None));
        alice.stop().await;
        bob.stop().await;
    });
}

#[test]
fn of_two_who_call_each_other_at_once_one_call_remains() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut alice, mut bob, _, bob_id) = friends(place.path()).await;
        let alice_id = alice.id().await;
        let (from_alice, from_bob) = tokio::join!(alice.call(bob_id), bob.call(alice_id));
        alice.reaches(CallStage::Active).await;
        bob.reaches(CallStage::Active).await;
        alice.hears(5).await;
        bob.hears(5).await;
        let (left, right) = (alice.listed().await, bob.listed().await);
        assert_eq!((left.len(), right.len()), (1, 1));
        let kept = [left[0].id == from_alice, right[0].id == from_bob];
        assert!(kept[0] != kept[1], "one of the two, the same on both sides");
        alice.stop().await;
        bob.stop().await;
    });
}

#[test]
fn who_cannot_be_reached_is_no_device_and_nobody_calls_himself() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut alice, bob, conversation, bob_id) = friends(place.path()).await;
        let own = alice.id().await;
        let place = |reply| CallsMessage::Place { peer: own, sound: SoundChoice::default(), reply };
        let refused = alice.calls().await.ask(PATIENCE, place).await.unwrap();
        assert_eq!(refused, Err(CallError::Oneself));
        let stranger = AccountId([9; 20]);
        let call = alice.call(stranger).await;
        assert_eq!(alice.over(call).await, CallOver::NoDevice);
        let call = alice.call(bob_id).await;
        bob.stop().await;
        let over = alice.over(call).await;
        assert!(matches!(over, CallOver::Lost | CallOver::Declined | CallOver::NoDevice), "{over:?}");
        alice.record(conversation).await;
        alice.stop().await;
    });
}
