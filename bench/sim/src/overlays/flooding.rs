//! What overlays share that hand messages on along fixed links: whoever gets one that is new tells all others.

use crate::overlay::{Item, Place};
use crate::world::Net;

/// What a message takes on the line beside itself, in bytes.
const ENVELOPE: u32 = 60;

/// A message on its way, so many hops from its author.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Which.
    pub item: Item,
    /// How far from its author it is when it arrives.
    pub hops: u32,
}

/// Sends a message to some, but not back.
pub fn pass(
    net: &mut Net<'_, Passed>,
    to: impl IntoIterator<Item = Place>,
    Passed { item, hops }: Passed,
    back: Option<Place>,
) {
    let bytes = net.size(item).saturating_add(ENVELOPE);
    for peer in to.into_iter().filter(|peer| Some(*peer) != back) {
        net.send_item(peer, item, Passed { item, hops: hops + 1 }, bytes);
    }
}
