//! A call to all devices of a person, of which one wins (`spec: calls 9.1`).
//!
//! ```text
//!   cached channels ──► a leg each              ┌ first answer: the winner; all others are given up
//!   devices on the DHT ──► open ──► a leg each ─┤ declined or busy anywhere: all of it is over
//!                             └ failed ─────────┴ the last one gone, nothing open: failed
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::ends::Ends;
use super::leg::{Action, End, Leg, LegError};
use super::parts::Part;
use super::state::Connection;
use crate::ids::DeviceId;
use crate::sdp::Description;
use crate::sip::stream::SipMessage;
use crate::time::Moment;

/// Most devices that are called; people have fewer.
pub const MAX_LEGS: usize = 32;

/// Names a leg of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegNumber(pub u32);

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// Somebody there declined it.
    Declined,
    /// Somebody there is busy, or nobody answered.
    Busy,
    /// There is no device to call.
    NoDevice,
    /// Otherwise.
    Over(End),
}

/// What is to be done, or has come.
#[derive(Clone, Debug)]
pub enum Dialled {
    /// Open a channel to this device; then call [`OutgoingCall::opened`] or [`OutgoingCall::not_opened`].
    Open(DeviceId),
    /// Of one leg. Of legs that have not won these are only [`Action::Send`].
    Leg(LegNumber, Action),
    /// How far the connection is.
    Connection(Connection),
    /// This device answered: its leg is the call from now on.
    Won(LegNumber, DeviceId),
    /// It is over. Once only.
    Ended(CallEnd),
    /// Nothing more is to come: forget it.
    Done,
}

#[derive(Debug)]
struct Called {
    device: DeviceId,
    leg: Leg,
    /// Whether nobody will answer there.
    over: bool,
}

/// A call that goes out.
#[derive(Debug)]
pub struct OutgoingCall {
    /// Offered to all of them: the same ICE session, which only the winner joins.
    offer: Description,
    legs: BTreeMap<LegNumber, Called>,
    opening: BTreeSet<DeviceId>,
    /// All that were tried.
    tried: BTreeSet<DeviceId>,
    /// Those that were tried once more.
    retried: BTreeSet<DeviceId>,
    searching: bool,
    next: u32,
    winner: Option<LegNumber>,
    connection: Connection,
    /// Messages for whoever answers.
    messages: Vec<Vec<Part>>,
    last_end: Option<End>,
    ended: bool,
    done: bool,
    out: Vec<Dialled>,
}

impl OutgoingCall {
    /// Begins a call. Devices are looked for until [`Self::found`] is told that these are all.
    #[must_use]
    pub const fn new(offer: Description) -> Self {
        Self {
            offer,
            legs: BTreeMap::new(),
            opening: BTreeSet::new(),
            tried: BTreeSet::new(),
            retried: BTreeSet::new(),
            searching: true,
            next: 0,
            winner: None,
            connection: Connection::Trying,
            messages: Vec::new(),
            last_end: None,
            ended: false,
            done: false,
            out: Vec::new(),
        }
    }

    /// The leg that has won, to make use of it; what that gives is to go through [`Self::follow`].
    pub fn winner(&mut self) -> Option<(LegNumber, &mut Leg)> {
        let number = self.winner?;
        self.legs.get_mut(&number).map(|called| (number, &mut called.leg))
    }

    /// Whether a message that came over the channel of a leg is of it.
    #[must_use]
    pub fn is_for(&self, number: LegNumber, message: &SipMessage) -> bool {
        self.legs.get(&number).is_some_and(|called| called.leg.is_for(message))
    }

    /// Names the dialog of a leg.
    #[must_use]
    pub fn call_id(&self, number: LegNumber) -> Option<&str> {
        self.legs.get(&number).map(|called| called.leg.call_id())
    }

    /// How far the connection is.
    #[must_use]
    pub const fn connection(&self) -> Connection {
        self.connection
    }

    /// Calls over a channel that is there: an old one, or one that was opened.
    ///
    /// # Errors
    /// [`LegError`] when the offer cannot be sent.
    pub fn opened(
        &mut self,
        now: Moment,
        device: DeviceId,
        ends: Ends,
        seed: [u8; 32],
    ) -> Result<(Option<LegNumber>, Vec<Dialled>), LegError> {
        self.opening.remove(&device);
        let room = self.legs.len() < MAX_LEGS;
        if self.ended || self.winner.is_some() || !room {
            self.settle();
            return Ok((None, self.take()));
        }
        self.tried.insert(device);
        let (mut leg, actions) = Leg::call(now, ends, seed, Some(&self.offer))?;
        for parts in &self.messages {
            leg.message(now, parts.clone())?;
        }
        let number = LegNumber(self.next);
        self.next = self.next.wrapping_add(1);
        self.legs.insert(number, Called { device, leg, over: false });
        self.reach(Connection::Progressing);
        self.act(now, number, actions);
        Ok((Some(number), self.take()))
    }

    /// Devices of the person that were found; `all` if no more are to come.
    pub fn found(&mut self, devices: impl IntoIterator<Item = DeviceId>, all: bool) -> Vec<Dialled> {
        for device in devices {
            let room = self.tried.len() < MAX_LEGS;
            if !self.ended && self.winner.is_none() && room && self.tried.insert(device) {
                self.opening.insert(device);
                self.out.push(Dialled::Open(device));
            }
        }
        self.searching &= !all;
        self.settle();
        self.take()
    }

    /// No channel to a device could be opened.
    pub fn not_opened(&mut self, device: DeviceId) -> Vec<Dialled> {
        self.opening.remove(&device);
        self.settle();
        self.take()
    }

    /// A message came over the channel of a leg.
    pub fn received(&mut self, now: Moment, number: LegNumber, message: &SipMessage) -> Vec<Dialled> {
        self.with(now, number, |leg| leg.received(now, message))
    }

    /// The channel of a leg is gone. One that was not answered may have been dead all along: its device is
    /// tried once more, over a new channel.
    pub fn lost(&mut self, now: Moment, number: LegNumber) -> Vec<Dialled> {
        let untouched = self.connection == Connection::Progressing && self.winner.is_none() && !self.ended;
        if let Some(called) = self.legs.get(&number)
            && untouched
            && self.retried.insert(called.device)
        {
            let device = called.device;
            self.opening.insert(device);
            self.out.push(Dialled::Open(device));
        }
        self.with(now, number, |leg| leg.lost(now))
    }

    /// Says something to whoever answers, or to who has.
    ///
    /// # Errors
    /// [`LegError`] when it cannot be sent.
    pub fn message(&mut self, now: Moment, parts: Vec<Part>) -> Result<Vec<Dialled>, LegError> {
        if self.winner.is_none() && self.messages.len() >= super::leg::HELD_MESSAGES {
            return Err(LegError::TooMany);
        }
        let winner = self.winner;
        let numbers: Vec<LegNumber> = self.legs.keys().copied().collect();
        for number in numbers.into_iter().filter(|number| winner.is_none_or(|it| it == *number)) {
            let Some(called) = self.legs.get_mut(&number) else { continue };
            let actions = called.leg.message(now, parts.clone())?;
            self.act(now, number, actions);
        }
        if self.winner.is_none() {
            self.messages.push(parts);
        }
        Ok(self.take())
    }

    /// Ends it, however far it is.
    pub fn hang_up(&mut self, now: Moment) -> Vec<Dialled> {
        let end = if self.winner.is_some() { End::HungUp } else { End::Cancelled };
        self.end(now, CallEnd::Over(end));
        self.take()
    }

    /// Takes over what a call of [`Self::winner`]'s methods gave.
    pub fn follow(&mut self, now: Moment, number: LegNumber, actions: Vec<Action>) -> Vec<Dialled> {
        self.act(now, number, actions);
        self.take()
    }

    /// When [`Self::tick`] is to be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.legs.values().filter_map(|called| called.leg.next_deadline()).min()
    }

    /// Lets pass what is due.
    pub fn tick(&mut self, now: Moment) -> Vec<Dialled> {
        let numbers: Vec<LegNumber> = self.legs.keys().copied().collect();
        for number in numbers {
            if let Some(called) = self.legs.get_mut(&number) {
                let actions = called.leg.tick(now);
                self.act(now, number, actions);
            }
        }
        self.take()
    }

    fn with(
        &mut self,
        now: Moment,
        number: LegNumber,
        act: impl FnOnce(&mut Leg) -> Vec<Action>,
    ) -> Vec<Dialled> {
        if let Some(called) = self.legs.get_mut(&number) {
            let actions = act(&mut called.leg);
            self.act(now, number, actions);
        }
        self.take()
    }

    fn act(&mut self, now: Moment, number: LegNumber, actions: Vec<Action>) {
        for action in actions {
            let won = self.winner == Some(number);
            match action {
                Action::Send(_) => self.out.push(Dialled::Leg(number, action)),
                Action::Ringing if self.winner.is_none() => self.reach(Connection::Ringing),
                Action::Trying | Action::Ringing => {}
                Action::Answered(_) if self.winner.is_none() && !self.ended => self.won(now, number, action),
                Action::Answered(_) => self.give_up(now, number),
                Action::Done => {
                    self.legs.remove(&number);
                }
                Action::Ended(end) => self.leg_ended(now, number, end, won),
                // Nobody asks between devices.
                Action::Challenged(_) => self.give_up(now, number),
                other if won => self.out.push(Dialled::Leg(number, other)),
                _ => {}
            }
        }
        self.settle();
    }

    fn won(&mut self, now: Moment, number: LegNumber, answer: Action) {
        let Some(called) = self.legs.get(&number) else { return };
        let device = called.device;
        self.winner = Some(number);
        self.opening.clear();
        self.reach(Connection::Connected);
        self.out.push(Dialled::Won(number, device));
        self.out.push(Dialled::Leg(number, answer));
        let others: Vec<LegNumber> = self.legs.keys().copied().filter(|it| *it != number).collect();
        for other in others {
            self.give_up(now, other);
        }
    }

    fn give_up(&mut self, now: Moment, number: LegNumber) {
        if let Some(called) = self.legs.get_mut(&number) {
            let actions = called.leg.hang_up(now);
            self.act(now, number, actions);
        }
    }

    fn leg_ended(&mut self, now: Moment, number: LegNumber, end: End, won: bool) {
        if let Some(called) = self.legs.get_mut(&number) {
            called.over = true;
        }
        if won {
            return self.end(now, CallEnd::Over(end));
        }
        if self.winner.is_some() {
            return;
        }
        self.last_end = Some(end);
        match end {
            End::Declined | End::PeerHungUp => self.end(now, CallEnd::Declined),
            End::Busy => self.end(now, CallEnd::Busy),
            _ => {}
        }
    }

    fn end(&mut self, now: Moment, end: CallEnd) {
        if self.ended {
            return;
        }
        self.ended = true;
        self.opening.clear();
        self.searching = false;
        self.connection = Connection::Disconnected;
        self.out.push(Dialled::Ended(end));
        let numbers: Vec<LegNumber> = self.legs.keys().copied().collect();
        for number in numbers {
            self.give_up(now, number);
        }
        self.settle();
    }

    fn reach(&mut self, connection: Connection) {
        let rank = |connection| match connection {
            Connection::Disconnected => 5,
            Connection::Trying => 0,
            Connection::Progressing => 1,
            Connection::Ringing => 2,
            Connection::Connected => 3,
        };
        if rank(connection) > rank(self.connection) {
            self.connection = connection;
            self.out.push(Dialled::Connection(connection));
        }
    }

    /// Whether anybody can still answer; and whether anything still waits once it is over.
    fn settle(&mut self) {
        let nobody =
            self.opening.is_empty() && !self.searching && self.legs.values().all(|called| called.over);
        if nobody && self.winner.is_none() && !self.ended {
            self.ended = true;
            self.connection = Connection::Disconnected;
            let end = self.last_end.map_or(CallEnd::NoDevice, CallEnd::Over);
            self.out.push(Dialled::Ended(end));
        }
        if self.ended && self.legs.is_empty() && !self.done {
            self.done = true;
            self.out.push(Dialled::Done);
        }
    }

    fn take(&mut self) -> Vec<Dialled> {
        std::mem::take(&mut self.out)
    }
}
