//! Objects read lately. A message is written and checked against the same few trees and
//! certificates as the one before, and reading one from disk means opening, inflating and hashing.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use skep_protocol::ids::ObjectId;
use skep_protocol::swarm::object::ObjectKind;

/// Most bytes kept for one repository: the trees and certificates of a conversation of some dozens.
const MAX_BYTES: usize = 512 * 1024;

/// Largest object kept, in bytes; pictures are not worth their place.
const MAX_OBJECT: usize = 32 * 1024;

/// What an object costs beside its bytes, about.
const OVERHEAD: usize = 128;

/// Objects by id, the oldest going first. An id names its content, and nothing is ever taken out of a
/// repository, so nothing here is ever stale.
#[derive(Clone, Debug, Default)]
pub(super) struct ObjectCache {
    objects: HashMap<ObjectId, (ObjectKind, Bytes)>,
    order: VecDeque<ObjectId>,
    bytes: usize,
}

impl ObjectCache {
    pub(super) fn get(&self, id: ObjectId) -> Option<(ObjectKind, Bytes)> {
        self.objects.get(&id).cloned()
    }

    pub(super) fn insert(&mut self, id: ObjectId, kind: ObjectKind, content: &Bytes) {
        if content.len() > MAX_OBJECT || self.objects.contains_key(&id) {
            return;
        }
        self.bytes += content.len() + OVERHEAD;
        self.objects.insert(id, (kind, content.clone()));
        self.order.push_back(id);
        while self.bytes > MAX_BYTES
            && let Some(oldest) = self.order.pop_front()
        {
            if let Some((_, content)) = self.objects.remove(&oldest) {
                self.bytes -= content.len() + OVERHEAD;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> ObjectId {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        ObjectId(bytes)
    }

    #[test]
    fn the_oldest_objects_go_first_and_the_bytes_stay_bounded() {
        let mut cache = ObjectCache::default();
        let content = Bytes::from(vec![0; 10_000]);
        for number in 0..1000 {
            cache.insert(id(number), ObjectKind::Blob, &content);
            assert!(cache.bytes <= MAX_BYTES);
        }
        assert_eq!(cache.get(id(999)), Some((ObjectKind::Blob, content)));
        assert_eq!(cache.get(id(0)), None);
        assert_eq!(cache.objects.len(), cache.order.len());
    }

    #[test]
    fn a_large_object_is_not_kept() {
        let mut cache = ObjectCache::default();
        cache.insert(id(1), ObjectKind::Blob, &Bytes::from(vec![0; MAX_OBJECT + 1]));
        assert_eq!(cache.get(id(1)), None);
    }
}
