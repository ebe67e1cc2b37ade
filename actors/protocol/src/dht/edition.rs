//! Editions of signed values: the same owner replaces one by the next (`spec: dht 3.1`). Who keeps a
//! value for others takes no older one, but who asks or listens meets nodes that still have, or replay,
//! what was replaced.

use std::collections::{BTreeMap, btree_map};
use std::sync::Arc;

use crate::dht::value::{Fingerprint, Value, ValueId};
use crate::ids::DeviceShortId;

/// Which edition of a value, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edition {
    owner: DeviceShortId,
    sequence: u16,
}

impl Edition {
    /// The edition of a value that was admitted. `None` where nobody is known to have signed it: types
    /// that are admitted without a look at their signature have no editions.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let signed = value.as_signed().filter(|_| value.kind().signature_decides())?;
        Some(Self { owner: signed.owner().device_short_id(), sequence: signed.sequence() })
    }

    pub(super) fn is_before(self, other: Self) -> bool {
        self.owner == other.owner && self.sequence < other.sequence
    }
}

/// The values without those that a later edition among them replaces.
pub(super) fn latest(values: BTreeMap<Fingerprint, Arc<Value>>) -> Vec<Arc<Value>> {
    let mut last: BTreeMap<(ValueId, DeviceShortId), Edition> = BTreeMap::new();
    let editions: Vec<_> = values.values().map(|value| Edition::of(value)).collect();
    for (value, edition) in values.values().zip(&editions) {
        let Some(edition) = *edition else { continue };
        match last.entry((value.id, edition.owner)) {
            btree_map::Entry::Vacant(first) => drop(first.insert(edition)),
            btree_map::Entry::Occupied(mut known) if known.get().is_before(edition) => {
                known.insert(edition);
            }
            btree_map::Entry::Occupied(_) => {}
        }
    }
    let is_last = |value: &Value, edition: Edition| {
        last.get(&(value.id, edition.owner)).is_none_or(|last| !edition.is_before(*last))
    };
    let values = values.into_values().zip(editions);
    values
        .filter(|(value, edition)| edition.is_none_or(|it| is_last(value, it)))
        .map(|(value, _)| value)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::content::Content;
    use crate::dht::golden;

    fn signed(id: u64, type_number: u16, sequence: u16) -> Arc<Value> {
        let content = Content::new(type_number, sequence.to_be_bytes().to_vec());
        Value::signed(ValueId(id), content.sign(golden::throw_away_key(), sequence).unwrap()).into()
    }

    fn kept(values: &[&Arc<Value>]) -> Vec<Arc<Value>> {
        latest(values.iter().map(|value| (value.fingerprint(), Arc::clone(value))).collect())
    }

    #[test]
    fn a_later_edition_replaces_those_before_under_the_same_id_only() {
        let [first, second, third] = [1, 2, 3].map(|sequence| signed(1, 0, sequence));
        let plain: Arc<Value> = Value::plain(ValueId(1), Content::new(0, b"plain".to_vec())).into();
        assert_eq!(kept(&[&first, &third, &second]), [Arc::clone(&third)]);
        let beside = kept(&[&first, &third, &plain, &signed(2, 0, 1)]);
        assert!(beside.len() == 3 && !beside.contains(&first), "{beside:?}");
    }

    #[test]
    fn types_whose_signature_nobody_checks_replace_nothing() {
        let (honest, unchecked) = (signed(1, 0, 1), signed(1, 2, 9));
        assert_eq!(kept(&[&honest, &unchecked]).len(), 2);
    }
}
