//! One device as the network sees it, and its ends of links.

use skep_protocol::drt::random::Random;
use skep_protocol::ids::DeviceId;

use crate::overlay::Place;
use crate::time::Time;

/// One end of a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// Who is at the other end.
    pub(super) peer: Place,
    /// Tells this link from earlier ones between the two; 0 for one that is dead and not yet known to be.
    pub(super) epoch: u32,
    /// Of a dead end whose peer said goodbye: the link from which what was sent before that still arrives.
    pub(super) fading: u32,
    /// Nothing that is sent from here arrives before this.
    pub(super) clear: Time,
}

/// One device.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) id: DeviceId,
    pub(super) is_up: bool,
    /// Whether it went to sleep, so that a push wakes it.
    pub(super) is_asleep: bool,
    pub(super) is_mobile: bool,
    pub(super) is_hostile: bool,
    pub(super) is_natted: bool,
    pub(super) region: u16,
    /// Nodes on different sides do not reach each other.
    pub(super) side: u8,
    /// How often it came online.
    pub(super) life: u32,
    pub(super) up_since: Time,
    /// What it sends next leaves no earlier.
    pub(super) upload_free: Time,
    /// When it wants to be told that time has passed.
    pub(super) timer: Time,
    pub(super) random: Random,
    /// By peer.
    pub(super) ends: Vec<End>,
}

impl Seat {
    pub(super) fn end(&self, peer: Place) -> Option<&End> {
        self.place(peer).ok().and_then(|place| self.ends.get(place))
    }

    pub(super) fn end_mut(&mut self, peer: Place) -> Option<&mut End> {
        self.place(peer).ok().and_then(|place| self.ends.get_mut(place))
    }

    /// The link with a peer that is alive.
    pub(super) fn alive(&self, peer: Place) -> Option<u32> {
        self.end(peer).map(|end| end.epoch).filter(|epoch| *epoch != 0)
    }

    /// Whether something that a peer sent over a link is heard.
    pub(super) fn hears(&self, peer: Place, epoch: u32) -> bool {
        self.end(peer).is_some_and(|end| end.epoch == epoch || end.fading == epoch)
    }

    /// Bytes of memory that it takes.
    pub(super) const fn memory(&self) -> usize {
        size_of::<Self>() + self.ends.capacity() * size_of::<End>()
    }

    pub(super) fn insert(&mut self, end: End) {
        match self.place(end.peer) {
            Ok(place) => self.ends[place] = end,
            Err(place) => {
                if self.ends.len() == self.ends.capacity() {
                    // A quarter more instead of twice as much, for there are many of these.
                    self.ends.reserve_exact(self.ends.len() / 4 + 4);
                }
                self.ends.insert(place, end);
            }
        }
    }

    pub(super) fn remove(&mut self, peer: Place) -> Option<End> {
        self.place(peer).ok().map(|place| self.ends.remove(place))
    }

    fn place(&self, peer: Place) -> Result<usize, usize> {
        self.ends.binary_search_by_key(&peer, |end| end.peer)
    }
}

/// The id of a node: any bits, and at the end its number, so that a node is found by its id at once.
pub(super) fn id(random: &mut Random, place: Place) -> DeviceId {
    let mut id = DeviceId([0; DeviceId::LENGTH]);
    id.0.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&random.number().to_be_bytes()));
    id.0[DeviceId::LENGTH - 4..].copy_from_slice(&place.to_be_bytes());
    id
}

/// The number of the node that an id names, if there are so many nodes.
pub(super) fn place_of(id: &DeviceId) -> Place {
    let mut last = [0; 4];
    last.copy_from_slice(&id.0[DeviceId::LENGTH - 4..]);
    Place::from_be_bytes(last)
}

/// Gives an id the first bits of another.
pub(super) fn grind(id: &mut DeviceId, like: &DeviceId, bits: u32) {
    for (index, (byte, like)) in id.0.iter_mut().zip(&like.0).enumerate() {
        let kept = bits.saturating_sub(u32::try_from(index * 8).unwrap_or(u32::MAX)).min(8);
        let mask = !u8::try_from(0xff_u32 >> kept).unwrap_or(0);
        *byte = (*byte & !mask) | (like & mask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_its_node_and_can_be_ground_to_lie_next_to_another() {
        let mut random = Random::from_seed(1);
        let (one, mut other) = (id(&mut random, 7), id(&mut random, 70_000));
        grind(&mut other, &one, 20);
        assert_eq!((place_of(&one), place_of(&other)), (7, 70_000));
        assert_eq!(one.0[..2], other.0[..2]);
        assert_eq!(one.0[2] >> 4, other.0[2] >> 4);
        assert_ne!(one.0[3..], other.0[3..]);
    }
}
