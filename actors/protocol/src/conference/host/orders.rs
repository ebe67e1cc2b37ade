//! Orders: who may give which, and what they do (`spec: conference 4`).

use std::time::Duration;

use super::{
    Conference, HOST_STREAM, HostAction, MAX_SPOKEN, ORDER_BURST, ORDERS_PER_SECOND, Participant, Seat,
};
use crate::conference::info::Entry;
use crate::conference::order::{Order, Whom};
use crate::ids::AccountId;
use crate::time::Moment;

impl Conference {
    /// A participant gave orders. Those it may not give, and those beyond its rate, are ignored.
    pub fn ordered(&mut self, now: Moment, seat: Seat, message: &[u8]) -> Vec<HostAction> {
        for order in Order::read(message) {
            let Some(participant) = self.seats.get_mut(&seat) else { break };
            if !participant.may_order(now) {
                break;
            }
            let sender = participant.joined.account;
            self.follow(sender, &order);
        }
        self.flush(now)
    }

    pub(super) fn follow(&mut self, sender: AccountId, order: &Order) {
        let moderates = self.may_moderate(sender);
        match order {
            Order::Hand(whom, raised) => {
                // Everybody raises the own hand, and moderators lower those of others.
                if sender == whom.account || (moderates && !raised) {
                    self.hand(*whom, *raised);
                }
            }
            Order::Voice(_, stream, voice) => self.stream_speaks(stream, *voice),
            _ if !moderates => {}
            Order::Layout(layout) => self.layout = *layout,
            Order::ShowNone => self.active = None,
            Order::Show(whom, stream) => self.show(*whom, stream.as_deref()),
            Order::Mute(whom, muted) => self.mute(*whom, *muted, order),
            Order::HangUp(whom) => self.hang_up(*whom, order),
        }
        self.remixed();
    }

    /// The calls of somebody: on that device, or on all.
    fn seats_of(&self, whom: Whom) -> Vec<Seat> {
        let is_of = |it: &Participant| {
            it.joined.account == whom.account && whom.device.is_none_or(|device| it.joined.device == device)
        };
        self.seats.iter().filter(|(_, it)| is_of(it)).map(|(seat, _)| *seat).collect()
    }

    fn is_host(&self, whom: Whom) -> bool {
        whom.account == self.own.0 && whom.device.is_none_or(|device| device == self.own.1)
    }

    /// The participant in whose own conference somebody is.
    fn behind(&self, whom: Whom) -> Option<Seat> {
        let is_it = |entry: &Entry| {
            entry.account() == Some(whom.account) && whom.device.is_none_or(|it| entry.device() == Some(it))
        };
        let has =
            |it: &Participant| it.nested.as_ref().is_some_and(|nested| nested.entries.iter().any(is_it));
        self.seats.iter().find(|(_, it)| has(it)).map(|(seat, _)| *seat)
    }

    fn hand(&mut self, whom: Whom, raised: bool) {
        let is_host = self.is_host(whom);
        let first = self.seats_of(whom).first().copied();
        match first.and_then(|seat| self.seats.get_mut(&seat)) {
            Some(participant) => participant.hand = raised,
            None if is_host => self.host_hand = raised,
            None => {}
        }
    }

    fn show(&mut self, whom: Whom, stream: Option<&str>) {
        if self.is_host(whom) && self.attached && stream.is_none_or(|stream| stream == HOST_STREAM) {
            self.active = Some(HOST_STREAM.to_owned());
            return;
        }
        let seat = self.seats_of(whom).first().copied();
        let participant = seat.and_then(|seat| self.seats.get(&seat));
        match (participant, stream) {
            (Some(participant), Some(stream)) if !participant.has_stream(stream) => {}
            (Some(participant), _) => self.active = Some(participant.stream()),
            // Old orders show nothing when they name nobody known.
            (None, None) => self.active = None,
            (None, Some(_)) => {}
        }
    }

    fn mute(&mut self, whom: Whom, muted: bool, order: &Order) {
        let seats = self.seats_of(whom);
        for seat in &seats {
            if let Some(participant) = self.seats.get_mut(seat) {
                participant.moderator_muted = muted;
            }
        }
        if !seats.is_empty() {
            return;
        }
        if self.is_host(whom) {
            self.host_moderator_muted = muted;
        } else if let Some(seat) = self.behind(whom) {
            self.actions.push(HostAction::Forward(seat, order.clone()));
        }
    }

    fn hang_up(&mut self, whom: Whom, order: &Order) {
        let seats = self.seats_of(whom);
        if !seats.is_empty() {
            self.actions.extend(seats.into_iter().map(HostAction::HangUp));
        } else if self.is_host(whom) {
            if self.attached {
                self.attached = false;
                self.actions.push(HostAction::Detach);
            }
        } else if let Some(seat) = self.behind(whom) {
            self.actions.push(HostAction::Forward(seat, order.clone()));
        }
    }

    fn stream_speaks(&mut self, stream: &str, voice: bool) {
        if stream == HOST_STREAM || stream.is_empty() {
            self.host_voice = voice;
        } else if let Some(participant) = self.seats.values_mut().find(|it| it.has_stream(stream)) {
            participant.voice = voice;
            let stream = participant.stream();
            self.has_spoken(stream, voice);
        }
    }

    pub(super) fn has_spoken(&mut self, stream: String, voice: bool) {
        if voice {
            self.spoke.retain(|known| *known != stream);
            self.spoke.push_front(stream);
            self.spoke.truncate(MAX_SPOKEN);
        }
    }
}

impl Participant {
    /// Whether one more order may be taken.
    fn may_order(&mut self, now: Moment) -> bool {
        let (left, counted) = self.orders;
        let passed = now.since(counted).min(Duration::from_secs(60));
        let more = u32::try_from(passed.as_millis()).unwrap_or(u32::MAX).saturating_mul(ORDERS_PER_SECOND);
        let left = left.saturating_add(more).min(ORDER_BURST * 1000);
        let may = left >= 1000;
        self.orders = (if may { left - 1000 } else { left }, now);
        may
    }
}
