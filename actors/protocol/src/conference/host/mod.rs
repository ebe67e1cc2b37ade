//! A conference at its host: who is in it, what they may, who hears whom, whom to tell what
//! (`spec: conference 2 to 6`).
//!
//! ```text
//!   join, leave, orders, INFO of calls, the owner ──► Conference ──► info to each, hang up, forward
//!                                                        └ hears, tiles: asked by what mixes
//!
//!   orders     who may give which, and what they do
//!   shown      who hears whom, where pictures are, how things are told
//! ```

mod orders;
mod shown;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::info::{ConferenceInfo, Fitting, MAX_SENT_INFO};
use super::layout::{Layout, Size};
use super::order::Order;
use crate::ids::{AccountId, DeviceId};
use crate::time::Moment;

/// Most calls in a conference.
pub const MAX_PARTICIPANTS: usize = 4096;

/// Shortest time between two states told to one participant: four a second.
pub const INFO_INTERVAL: Duration = Duration::from_millis(250);

/// Orders taken of one participant each second.
pub const ORDERS_PER_SECOND: u32 = 20;

/// Orders taken of one participant at once.
pub const ORDER_BURST: u32 = 50;

/// How many who spoke last are shown before others.
const MAX_SPOKEN: usize = 8;

/// The stream of the host's own picture.
const HOST_STREAM: &str = "host_video_0";

/// Names a call in a conference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seat(pub u32);

/// Whose sound it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Voice {
    /// The host's own microphone.
    Host,
    /// A participant's.
    Seat(Seat),
}

/// Who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// The host's owner.
    Host,
    /// A participant.
    Seat(Seat),
    /// The recording.
    Recording,
}

/// How a conference came to be, which says when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Calls that were put together: with one of them left it is a call again.
    Merged,
    /// Of a conversation, or of an account that lets everybody meet: it stays while anybody is there.
    Meeting,
}

/// What becomes of a conference after somebody left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remaining {
    /// It goes on.
    Goes,
    /// It is a call with this one again.
    Single(Seat),
    /// Nobody is left.
    Over,
}

/// Who may give orders, as the host's account is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSettings {
    /// Whether everybody may.
    pub all_moderate: bool,
    /// Who else may: those that are named, and the accounts of this machine.
    pub moderators: BTreeSet<AccountId>,
    /// Size of the composed picture.
    pub picture: Size,
}

impl Default for HostSettings {
    fn default() -> Self {
        Self { all_moderate: true, moderators: BTreeSet::new(), picture: Size { width: 1280, height: 720 } }
    }
}

/// Who joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The account of the call's channel.
    pub account: AccountId,
    /// Its device.
    pub device: DeviceId,
    /// Our id of the call.
    pub call_id: String,
    /// The size of the pictures that come, once some do.
    pub video: Option<Size>,
    /// Whether the owner has muted the sound.
    pub muted: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostAction {
    /// Tell this participant how things are.
    Tell(Seat, ConferenceInfo),
    /// Hang this call up.
    HangUp(Seat),
    /// The host's owner takes no part any more.
    Detach,
    /// Give an order to a participant who hosts a conference itself, where this one is.
    Forward(Seat, Order),
    /// Who hears whom, or where pictures are, may be different now.
    Remix,
}

/// One call.
#[derive(Debug)]
struct Participant {
    joined: Joined,
    moderator_muted: bool,
    hand: bool,
    voice: bool,
    recording: bool,
    /// By how much its pictures are turned.
    turned: i16,
    /// The conference that it hosts itself.
    nested: Option<ConferenceInfo>,
    told: Option<ConferenceInfo>,
    told_at: Option<Moment>,
    /// Orders it may still give, in thousandths, and when that was counted.
    orders: (u32, Moment),
}

impl Participant {
    fn stream(&self) -> String {
        let kind = if self.joined.video.is_some() { "video" } else { "audio" };
        format!("{}_{kind}_0", self.joined.call_id)
    }

    fn has_stream(&self, stream: &str) -> bool {
        let rest = stream.strip_prefix(&*self.joined.call_id);
        rest.is_some_and(|rest| rest.starts_with("_video_") || rest.starts_with("_audio_"))
    }
}

/// A conference that this device hosts.
#[derive(Debug)]
pub struct Conference {
    own: (AccountId, DeviceId),
    settings: HostSettings,
    kind: Kind,
    seats: BTreeMap<Seat, Participant>,
    next: u32,
    attached: bool,
    host_muted: bool,
    host_moderator_muted: bool,
    host_video: Option<Size>,
    host_voice: bool,
    host_hand: bool,
    recording: bool,
    moderators: BTreeSet<AccountId>,
    layout: Layout,
    active: Option<String>,
    spoke: VecDeque<String>,
    changed: bool,
    /// When the first of those is told for whom it was too early.
    tell_at: Option<Moment>,
    actions: Vec<HostAction>,
}

impl Conference {
    /// An empty one, in which the host takes part or not.
    #[must_use]
    pub const fn new(own: (AccountId, DeviceId), settings: HostSettings, kind: Kind, attached: bool) -> Self {
        Self {
            own,
            settings,
            kind,
            seats: BTreeMap::new(),
            next: 0,
            attached,
            host_muted: false,
            host_moderator_muted: false,
            host_video: None,
            host_voice: false,
            host_hand: false,
            recording: false,
            moderators: BTreeSet::new(),
            layout: Layout::Grid,
            active: None,
            spoke: VecDeque::new(),
            changed: false,
            tell_at: None,
            actions: Vec::new(),
        }
    }

    /// How many calls are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether nobody is in it, the host aside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Whether the host takes part.
    #[must_use]
    pub const fn is_attached(&self) -> bool {
        self.attached
    }

    /// Whether somebody may give orders.
    #[must_use]
    pub fn may_moderate(&self, account: AccountId) -> bool {
        account == self.own.0
            || self.settings.moderators.contains(&account)
            || self.moderators.contains(&account)
    }

    /// Adds a call; `None` if there are too many.
    pub fn join(&mut self, now: Moment, joined: Joined) -> (Option<Seat>, Vec<HostAction>) {
        if self.seats.len() >= MAX_PARTICIPANTS {
            return (None, Vec::new());
        }
        let seat = self.seat(now, joined);
        self.remixed();
        (Some(seat), self.flush(now))
    }

    #[cfg(test)]
    pub(super) fn seat_silently(&mut self, joined: Joined) {
        self.seat(Moment::default(), joined);
    }

    fn seat(&mut self, now: Moment, joined: Joined) -> Seat {
        let seat = Seat(self.next);
        self.next = self.next.wrapping_add(1);
        if self.settings.all_moderate {
            self.moderators.insert(joined.account);
        }
        let participant = Participant {
            joined,
            moderator_muted: false,
            hand: false,
            voice: false,
            recording: false,
            turned: 0,
            nested: None,
            told: None,
            told_at: None,
            orders: (ORDER_BURST * 1000, now),
        };
        self.seats.insert(seat, participant);
        seat
    }

    /// A call is gone: what becomes of the conference.
    pub fn leave(&mut self, now: Moment, seat: Seat) -> (Remaining, Vec<HostAction>) {
        if let Some(gone) = self.seats.remove(&seat) {
            if self.active.as_deref().is_some_and(|active| gone.has_stream(active)) {
                self.active = None;
            }
            let account = gone.joined.account;
            if !self.seats.values().any(|it| it.joined.account == account) {
                self.moderators.remove(&account);
            }
            self.spoke.retain(|stream| !gone.has_stream(stream));
            self.remixed();
        }
        let remaining = self.remaining();
        let mut actions = match remaining {
            // Who is left alone is told that this is a call again.
            Remaining::Single(last) => {
                self.changed = false;
                self.tell_at = None;
                vec![HostAction::Tell(last, ConferenceInfo::default())]
            }
            Remaining::Goes | Remaining::Over => self.flush(now),
        };
        actions.extend(std::mem::take(&mut self.actions));
        (remaining, actions)
    }

    fn remaining(&self) -> Remaining {
        match (self.kind, self.seats.len()) {
            (Kind::Meeting, 0) if self.attached => Remaining::Goes,
            (_, 0) => Remaining::Over,
            (Kind::Merged, 1) => {
                self.seats.keys().next().map_or(Remaining::Over, |seat| Remaining::Single(*seat))
            }
            _ => Remaining::Goes,
        }
    }

    /// Ends it: everybody is hung up.
    pub fn end(&mut self) -> Vec<HostAction> {
        self.attached = false;
        self.seats.keys().map(|seat| HostAction::HangUp(*seat)).collect()
    }

    /// The host's owner takes part, or not.
    pub fn attach(&mut self, now: Moment, attached: bool) -> (Remaining, Vec<HostAction>) {
        if self.attached != attached {
            self.attached = attached;
            if self.active.as_deref() == Some(HOST_STREAM) {
                self.active = None;
            }
            self.remixed();
        }
        (self.remaining(), self.flush(now))
    }

    /// The host's owner mutes the own sound, or not any more.
    pub fn mute_host(&mut self, now: Moment, muted: bool) -> Vec<HostAction> {
        self.host_muted = muted;
        self.remixed();
        self.flush(now)
    }

    /// The host's owner shows pictures of this size, or none.
    pub fn show_host(&mut self, now: Moment, video: Option<Size>) -> Vec<HostAction> {
        self.host_video = video;
        self.remixed();
        self.flush(now)
    }

    /// The conference is recorded, or not any more: the calls are told by INFO.
    pub fn record(&mut self, now: Moment, recording: bool) -> Vec<HostAction> {
        self.recording = recording;
        self.changed = true;
        self.flush(now)
    }

    /// The host's owner speaks, or not any more.
    pub fn host_speaks(&mut self, now: Moment, voice: bool) -> Vec<HostAction> {
        self.changed |= self.host_voice != voice;
        self.host_voice = voice;
        self.flush(now)
    }

    /// The host's owner gives an order; a moderator always.
    pub fn own_order(&mut self, now: Moment, order: &Order) -> Vec<HostAction> {
        self.follow(self.own.0, order);
        self.flush(now)
    }

    /// Lets an account give orders, or not any more.
    pub fn set_moderator(&mut self, now: Moment, account: AccountId, moderates: bool) -> Vec<HostAction> {
        if moderates {
            self.moderators.insert(account);
        } else {
            self.moderators.remove(&account);
            self.settings.moderators.remove(&account);
        }
        self.changed = true;
        self.flush(now)
    }

    /// A participant has muted the own sound, or not any more.
    pub fn muted(&mut self, now: Moment, seat: Seat, muted: bool) -> Vec<HostAction> {
        self.set(now, seat, |it| it.joined.muted = muted)
    }

    /// A participant speaks, or not any more.
    pub fn speaks(&mut self, now: Moment, seat: Seat, voice: bool) -> Vec<HostAction> {
        if let Some(participant) = self.seats.get(&seat) {
            let stream = participant.stream();
            self.has_spoken(stream, voice);
        }
        self.note(now, seat, |it| it.voice = voice)
    }

    /// A participant records, or not any more.
    pub fn records(&mut self, now: Moment, seat: Seat, recording: bool) -> Vec<HostAction> {
        self.note(now, seat, |it| it.recording = recording)
    }

    /// A participant's pictures are to be turned.
    pub fn turns(&mut self, now: Moment, seat: Seat, degrees: i16) -> Vec<HostAction> {
        self.set(now, seat, |it| it.turned = degrees)
    }

    /// A participant's pictures have this size now, or there are none. What was shown big stays so.
    pub fn shows(&mut self, now: Moment, seat: Seat, video: Option<Size>) -> Vec<HostAction> {
        if let Some(participant) = self.seats.get_mut(&seat) {
            let before = participant.stream();
            participant.joined.video = video;
            if self.active.as_deref() == Some(&before) {
                self.active = Some(participant.stream());
            }
        }
        self.set(now, seat, |_| {})
    }

    /// A participant hosts a conference itself, and tells how that is.
    pub fn nested(&mut self, now: Moment, seat: Seat, info: ConferenceInfo) -> Vec<HostAction> {
        let nested = Some(info).filter(|info| !info.is_over());
        if self.seats.get(&seat).is_some_and(|it| it.nested == nested) {
            return Vec::new();
        }
        self.set(now, seat, |it| it.nested = nested)
    }

    /// What is only shown.
    fn note(&mut self, now: Moment, seat: Seat, set: impl FnOnce(&mut Participant)) -> Vec<HostAction> {
        if let Some(participant) = self.seats.get_mut(&seat) {
            set(participant);
            self.changed = true;
        }
        self.flush(now)
    }

    fn set(&mut self, now: Moment, seat: Seat, set: impl FnOnce(&mut Participant)) -> Vec<HostAction> {
        if let Some(participant) = self.seats.get_mut(&seat) {
            set(participant);
            self.remixed();
        }
        self.flush(now)
    }

    /// When [`Self::tick`] is to be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.tell_at
    }

    /// Tells those whose turn has come.
    pub fn tick(&mut self, now: Moment) -> Vec<HostAction> {
        self.flush(now)
    }

    fn remixed(&mut self) {
        self.changed = true;
        if !self.actions.contains(&HostAction::Remix) {
            self.actions.push(HostAction::Remix);
        }
    }

    /// Tells everybody for whom something is different, and who was not told anything just now.
    fn flush(&mut self, now: Moment) -> Vec<HostAction> {
        let mut actions = std::mem::take(&mut self.actions);
        if !self.changed {
            return actions;
        }
        let tiles = self.tiles().into_iter().collect();
        let all = self.info_with(&tiles, None);
        let spoke: Vec<String> = self.spoke.iter().cloned().collect();
        let fitting = Fitting::new(&all, &spoke, MAX_SENT_INFO);
        let (mut told, mut tell_at) = (Vec::new(), None::<Moment>);
        for (seat, participant) in &self.seats {
            let turn = participant.told_at.map(|at| at.plus(INFO_INTERVAL)).filter(|turn| now < *turn);
            if let Some(turn) = turn {
                tell_at = Some(tell_at.map_or(turn, |at| at.min(turn)));
                continue;
            }
            let own = (participant.joined.account, participant.joined.device);
            let info = match participant.nested {
                Some(_) => self.info_with(&tiles, Some(*seat)).fitted(own, &spoke, MAX_SENT_INFO),
                None => fitting.of(own),
            };
            if participant.told.as_ref() != Some(&info) {
                told.push((*seat, info));
            }
        }
        for (seat, info) in told {
            if let Some(participant) = self.seats.get_mut(&seat) {
                participant.told = Some(info.clone());
                participant.told_at = Some(now);
            }
            actions.push(HostAction::Tell(seat, info));
        }
        self.changed = tell_at.is_some();
        self.tell_at = tell_at;
        actions
    }
}
