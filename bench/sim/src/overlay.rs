//! What an overlay is to the simulation: one node of it, which is told what happens and acts through [`Net`].
//!
//! To add one: write a type that implements this in a file of its own, and hand it to
//! [`run_overlay`](crate::run_overlay) with a scenario. Everything else (who comes and goes, how long
//! messages take, who writes, what is measured) is the same for all overlays.

use std::sync::Arc;

use skep_protocol::ids::DeviceId;

use crate::scenario::Scenario;
use crate::world::Net;

/// A node, by its number from 0 on.
pub type Place = u32;

/// A message that somebody writes for all, by its number from 0 on.
pub type Item = u32;

/// Who a node is.
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    /// Its number.
    pub place: Place,
    /// Its id.
    pub id: DeviceId,
    /// Where its choices may come from.
    pub seed: u64,
    /// Whether it is a mobile device.
    pub is_mobile: bool,
    /// Whether it means harm.
    pub is_hostile: bool,
}

/// One node of an overlay. It is made anew each time that its device comes online.
pub trait Overlay: Sized {
    /// What nodes send each other.
    type Message;
    /// What all nodes know from the beginning: settings, lists.
    type Plan;

    /// What all nodes know from the beginning, in the run with this seed.
    fn plan(scenario: &Scenario, seed: u64) -> Self::Plan;

    /// The ids of all nodes there ever are, by place, for overlays that know everybody from the beginning.
    fn members(_plan: &mut Self::Plan, _ids: &[DeviceId]) {}

    /// A node that knows nobody.
    fn new(plan: &Arc<Self::Plan>, birth: Birth) -> Self;

    /// It is online now, and knows these.
    fn join(&mut self, net: &mut Net<'_, Self::Message>, contacts: &[Place]);

    /// A link is made; `incoming` if the other asked for it.
    fn link_up(&mut self, _net: &mut Net<'_, Self::Message>, _peer: Place, _incoming: bool) {}

    /// A link that it asked for does not come about.
    fn link_failed(&mut self, _net: &mut Net<'_, Self::Message>, _peer: Place) {}

    /// A link is gone.
    fn link_down(&mut self, _net: &mut Net<'_, Self::Message>, _peer: Place) {}

    /// Somebody sent it something.
    fn receive(&mut self, net: &mut Net<'_, Self::Message>, from: Place, message: Self::Message);

    /// What it began to [fetch](Net::fetch) is here, or will not be.
    fn fetched(&mut self, _net: &mut Net<'_, Self::Message>, _from: Place, _item: Item, _here: bool) {}

    /// The time that it [asked for](Net::wake_at) has come.
    fn timer(&mut self, _net: &mut Net<'_, Self::Message>) {}

    /// Its owner writes a message. It has it already.
    fn publish(&mut self, net: &mut Net<'_, Self::Message>, item: Item);

    /// It was woken because of a message that another has, so many hops from its author.
    fn pushed(&mut self, _net: &mut Net<'_, Self::Message>, _from: Place, _item: Item, _hops: u32) {}

    /// Its own connection to the network has changed.
    fn network_changed(&mut self, _net: &mut Net<'_, Self::Message>) {}

    /// It is to look up an id, and to tell with [`Net::looked_up`] what comes of it.
    fn look_up(&mut self, _net: &mut Net<'_, Self::Message>, _target: DeviceId) {}

    /// Where its messages go: the edges of the graph.
    fn neighbours(&self) -> Vec<Place>;

    /// All nodes that it remembers, whether they are there or not.
    fn contacts(&self) -> Vec<Place> {
        self.neighbours()
    }

    /// Bytes of memory that it takes, roughly.
    fn memory(&self) -> usize {
        size_of::<Self>()
    }
}
