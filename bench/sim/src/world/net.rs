//! What a node of an overlay can do: send, link, fetch, wait.

use skep_protocol::drt::random::Random;
use skep_protocol::ids::DeviceId;

use super::core::{Core, Event, Lookup};
use crate::overlay::{Item, Place};
use crate::time::Time;

/// The network as one node has it.
#[derive(Debug)]
pub struct Net<'w, M> {
    pub(super) core: &'w mut Core<M>,
    pub(super) me: Place,
}

impl<M> Net<'_, M> {
    /// Which node this is.
    #[must_use]
    pub const fn me(&self) -> Place {
        self.me
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.core.now
    }

    /// The id of a node.
    #[must_use]
    pub fn id(&self, place: Place) -> DeviceId {
        self.core.seat(place).id
    }

    /// Which node has an id.
    #[must_use]
    pub fn find(&self, id: &DeviceId) -> Option<Place> {
        self.core.find(id)
    }

    /// Where this node's choices come from.
    pub fn random(&mut self) -> &mut Random {
        &mut self.core.seat_mut(self.me).random
    }

    /// Whether this node means harm and is to mislead others.
    #[must_use]
    pub fn misleads(&self) -> bool {
        self.core.misleads(self.me)
    }

    /// Other nodes that mean harm, at random.
    pub fn accomplices(&mut self, count: usize) -> Vec<Place> {
        self.core.accomplices(self.me, count)
    }

    /// Members that are online, at random, as a DHT would tell of them.
    pub fn present(&mut self, count: usize) -> Vec<Place> {
        self.core.present(self.me, count)
    }

    /// How many members are looked for by a node that has no link, and after what time it hears of them.
    #[must_use]
    pub fn presence(&self) -> Time {
        Time::from_millis(self.core.scenario.bootstrap.presence_ms)
    }

    /// Asks for a link; ends with `link_up` or `link_failed`.
    pub fn connect(&mut self, peer: Place) {
        self.core.connect(self.me, peer);
    }

    /// Closes a link. The other side is told with `link_down`, this one is not.
    pub fn close(&mut self, peer: Place) {
        self.core.close(self.me, peer);
    }

    /// Whether there is a link, as far as this node knows.
    #[must_use]
    pub fn is_linked(&self, peer: Place) -> bool {
        self.core.seat(self.me).end(peer).is_some()
    }

    /// All links, by number.
    #[must_use]
    pub fn links(&self) -> Vec<Place> {
        self.core.seat(self.me).ends.iter().map(|end| end.peer).collect()
    }

    /// Sends something over a link, if there is one.
    pub fn send(&mut self, peer: Place, message: M, bytes: u32) {
        self.core.send(self.me, peer, message, bytes, None);
    }

    /// Sends something that tells of, or holds, what somebody wrote.
    pub fn send_item(&mut self, peer: Place, item: Item, message: M, bytes: u32) {
        self.core.send(self.me, peer, message, bytes, Some((item, true)));
    }

    /// Sends something that only speaks of what somebody wrote: it counts as its traffic, and not as being told
    /// of it once more.
    pub fn send_about(&mut self, peer: Place, item: Item, message: M, bytes: u32) {
        self.core.send(self.me, peer, message, bytes, Some((item, false)));
    }

    /// Sends something without a link; it may be lost, and does not come through between all translators.
    pub fn cast(&mut self, peer: Place, message: M, bytes: u32) {
        self.core.cast(self.me, peer, message, bytes, None, false);
    }

    /// Sends something without a link that tells of, or holds, what somebody wrote. If `connects`, a
    /// connection is made for it: that takes its time, and nothing is lost.
    pub fn cast_item(&mut self, peer: Place, item: Item, message: M, bytes: u32, connects: bool) {
        self.core.cast(self.me, peer, message, bytes, Some(item), connects);
    }

    /// Fetches from a node what it has; ends with `fetched`.
    pub fn fetch(&mut self, peer: Place, item: Item) {
        self.core.fetch(self.me, peer, item);
    }

    /// How large something is that somebody wrote, in bytes.
    #[must_use]
    pub fn size(&self, item: Item) -> u32 {
        self.core.ledger.size(item)
    }

    /// Whether this node has it.
    #[must_use]
    pub fn has(&self, item: Item) -> bool {
        self.core.ledger.has(item, self.me)
    }

    /// Takes note that this node has it now, so many hops from its author. False if it had it.
    pub fn deliver(&mut self, item: Item, hops: u32) -> bool {
        let (me, now) = (self.me, self.core.now);
        let new = self.core.ledger.deliver(item, me, now, hops);
        if new {
            let detail = [("item", u64::from(item)), ("hops", u64::from(hops))];
            self.core.note("delivered", me, &detail);
        }
        new
    }

    /// Has `timer` called at this time. One time is kept; asking again changes it.
    pub fn wake_at(&mut self, at: Time) {
        let me = self.me;
        if self.core.seat(me).timer != at {
            self.core.seat_mut(me).timer = at;
            // What nobody lives to see takes no place in the queue.
            if at <= Time::from_seconds(self.core.scenario.duration_s) {
                self.core.queue.push(at.max(self.core.now), Event::Timer { to: me, at });
            }
        }
    }

    /// Wakes a mobile device because of something that this node has, so many hops from its author.
    pub fn push(&mut self, mobile: Place, item: Item, hops: u32) {
        self.core.push(self.me, mobile, item, hops);
    }

    /// An id was looked up: after so many hops and messages, with success or without.
    pub fn looked_up(&mut self, hops: u32, messages: u32, found: bool) {
        self.core.ledger.lookups.push(Lookup { hops, messages, found });
    }

    /// So many of these nodes are online: for whether look-ups are right, not for overlays to decide with.
    #[must_use]
    pub fn closest_online(&self, target: &DeviceId) -> Option<Place> {
        self.core.closest_online(target)
    }
}
