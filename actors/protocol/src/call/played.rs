//! Two legs in virtual time, and the line between them.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use ezk_sip_types::msg::MessageLine;

use super::*;
use crate::ids::{AccountId, DeviceShortId};
use crate::link::ice_text::Credentials;
use crate::sdp::{self, Codec, Description, LocalMedia, LocalStream, MediaKind, Origin, SrtpKey};
use crate::sip::stream::SipMessage;
use crate::time::Moment;

pub(super) const ALICE: AccountId = AccountId([0xa1; 20]);
pub(super) const BOB: AccountId = AccountId([0xb0; 20]);

/// How messages get lost.
pub(super) type Losing = Box<dyn FnMut(&SipMessage) -> bool>;

pub(super) fn ends(of: AccountId, to: AccountId, reliable: bool) -> Ends {
    let (local, peer) =
        if of == ALICE { ("10.0.0.1:4000", "10.0.0.2:5000") } else { ("10.0.0.2:5000", "10.0.0.1:4000") };
    let device = DeviceShortId(of.0);
    let name = if of == ALICE { "Alice" } else { "Bob" };
    let ends =
        Ends::of_devices(name, of, device, &to.to_hex(), local.parse().unwrap(), peer.parse().unwrap());
    Ends { reliable, ..ends }
}

/// A description; `version` tells them apart.
pub(super) fn description(version: u64, ice: bool) -> Description {
    let address = [10, 0, 0, 1].into();
    let stream = LocalStream {
        kind: MediaKind::Audio,
        codecs: Codec::USUAL_AUDIO.to_vec(),
        enabled: true,
        muted: false,
        held: false,
    };
    let key = Some(SrtpKey::new([version.to_le_bytes()[0]; 30]));
    let media = LocalMedia { stream, port: 4000, rtcp_port: 4001, key, candidates: Vec::new() };
    let ice =
        ice.then(|| Credentials { ufrag: "abcdefgh".into(), password: "0123456789012345678901".into() });
    sdp::offer(Origin::at("vm", 0, version, address), "Call ID 1", ice, address, &[media])
}

pub(super) fn parse(bytes: &Bytes) -> SipMessage {
    SipMessage::in_datagram(bytes).unwrap().unwrap()
}

/// `INVITE`, or `200`.
pub(super) fn word(message: &SipMessage) -> String {
    match &message.line {
        MessageLine::Request(line) => line.method.to_string(),
        MessageLine::Response(line) => line.code.into_u16().to_string(),
    }
}

/// A caller, a callee, and what has come of it.
pub(super) struct Pair {
    pub(super) now: Moment,
    pub(super) caller: Leg,
    pub(super) callee: Option<Leg>,
    /// What the callee refused at once.
    pub(super) refused: Option<SipMessage>,
    pub(super) caller_told: Vec<Action>,
    pub(super) callee_told: Vec<Action>,
    /// First word of every message, with who sent it: `>` the caller, `<` the callee.
    pub(super) said: Vec<String>,
    pub(super) losing: Losing,
    pub(super) replaces: Option<Replaces>,
    /// Whether there may be messages that are of no call.
    pub(super) stray: bool,
    reliable: bool,
    wire: VecDeque<(bool, Bytes)>,
}

impl Pair {
    /// The call has been made, and nothing of it was heard.
    pub(super) fn silent(reliable: bool) -> Self {
        let now = Moment::default();
        let offer = description(0, true);
        let (caller, actions) = Leg::call(now, ends(ALICE, BOB, reliable), [1; 32], Some(&offer)).unwrap();
        let mut pair = Self {
            now,
            caller,
            callee: None,
            refused: None,
            caller_told: Vec::new(),
            callee_told: Vec::new(),
            said: Vec::new(),
            losing: Box::new(|_| false),
            replaces: None,
            stray: false,
            reliable,
            wire: VecDeque::new(),
        };
        pair.take(true, actions);
        pair
    }

    pub(super) fn ringing(reliable: bool) -> Self {
        let mut pair = Self::silent(reliable);
        pair.deliver();
        pair
    }

    pub(super) fn confirmed(reliable: bool) -> Self {
        let mut pair = Self::ringing(reliable);
        pair.callee(|leg, now| leg.answer(now, &description(1, true)).unwrap());
        pair.deliver();
        assert!(pair.caller.is_confirmed() && pair.callee.as_ref().unwrap().is_confirmed());
        pair.forget();
        pair
    }

    pub(super) fn forget(&mut self) {
        self.said.clear();
        self.caller_told.clear();
        self.callee_told.clear();
    }

    fn take(&mut self, from_caller: bool, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(bytes) => {
                    let message = parse(&bytes);
                    let arrow = if from_caller { '>' } else { '<' };
                    self.said.push(format!("{arrow}{}", word(&message)));
                    if !(self.losing)(&message) {
                        self.wire.push_back((from_caller, bytes));
                    }
                }
                other if from_caller => self.caller_told.push(other),
                other => self.callee_told.push(other),
            }
        }
    }

    pub(super) fn caller(&mut self, act: impl FnOnce(&mut Leg, Moment) -> Vec<Action>) {
        let actions = act(&mut self.caller, self.now);
        self.take(true, actions);
    }

    pub(super) fn callee(&mut self, act: impl FnOnce(&mut Leg, Moment) -> Vec<Action>) {
        let actions = act(self.callee.as_mut().unwrap(), self.now);
        self.take(false, actions);
    }

    /// Lets everything under way arrive.
    pub(super) fn deliver(&mut self) {
        let mut count = 0;
        while let Some((from_caller, bytes)) = self.wire.pop_front() {
            count += 1;
            assert!(count < 1000, "they never stop");
            let message = parse(&bytes);
            self.hear(!from_caller, &message);
        }
    }

    /// Lets one side hear a message.
    pub(super) fn hear(&mut self, caller: bool, message: &SipMessage) {
        let now = self.now;
        let leg = if caller { Some(&mut self.caller) } else { self.callee.as_mut() };
        match leg {
            Some(leg) => {
                if !leg.is_for(message) {
                    assert!(self.stray, "{message:?}");
                    return;
                }
                let actions = leg.received(now, message);
                self.take(caller, actions);
            }
            None => {
                let user = ALICE.to_hex();
                match Leg::ring(now, ends(BOB, ALICE, self.reliable), [2; 32], message, Some(&user)) {
                    Ok((leg, offer, replaces, actions)) => {
                        assert!(offer.is_some());
                        self.replaces = replaces;
                        self.callee = Some(leg);
                        self.take(false, actions);
                    }
                    Err(refused) => {
                        let bytes = refused.response.unwrap();
                        self.refused = Some(parse(&bytes));
                        self.take(false, vec![Action::Send(bytes)]);
                    }
                }
            }
        }
    }

    /// Lets time pass, and everything in it happen.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.plus(time);
        for turn in 0.. {
            assert!(turn < 10_000, "time stands still");
            let of_callee = self.callee.as_ref().and_then(Leg::next_deadline);
            let next = [self.caller.next_deadline(), of_callee].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            self.caller(Leg::tick);
            if self.callee.is_some() {
                self.callee(Leg::tick);
            }
            self.deliver();
        }
        self.now = end;
    }

    /// What is under way is lost.
    pub(super) fn wire_clear(&mut self) {
        self.wire.clear();
    }

    /// The first message under way, and whether the caller sent it.
    pub(super) fn wire_take(&mut self) -> (bool, Bytes) {
        self.wire.pop_front().unwrap()
    }

    pub(super) fn caller_end(&self) -> Option<End> {
        end_in(&self.caller_told)
    }

    pub(super) fn callee_end(&self) -> Option<End> {
        end_in(&self.callee_told)
    }

    pub(super) fn count(&self, word: &str) -> usize {
        self.said.iter().filter(|said| *said == word).count()
    }
}

pub(super) fn end_in(actions: &[Action]) -> Option<End> {
    let mut ends = actions.iter().filter_map(|action| match action {
        Action::Ended(end) => Some(*end),
        _ => None,
    });
    let end = ends.next();
    assert!(ends.next().is_none(), "it ends once");
    end
}

pub(super) fn is_done(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Done))
}

impl Leg {
    /// Our side of the dialog, as the other one writes it.
    pub(super) fn local_header(&self) -> &str {
        self.local()
    }
}
