//! Editions of signed values: the same owner replaces one by the next (`spec: dht 3.1`). Who keeps a
//! value for others takes no older one, but who asks or listens meets nodes that still have, or replay,
//! what was replaced.
//!
//! A signature covers neither the id of a value nor its key (`spec: dht 3.2`). Whoever keeps a value can
//! therefore show what its owner signed elsewhere as a later edition of it; the devices of one account of
//! Jami, which share its key, announce themselves under an id each. So of two editions the earlier is
//! left out only if fewer nodes have it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dht::value::{Value, ValueId};
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

/// The values without those that a later edition among them replaces: one that more nodes have. Each
/// comes with how many nodes have it.
pub(super) fn latest(values: Vec<(Arc<Value>, usize)>) -> Vec<Arc<Value>> {
    let mut editions: BTreeMap<(ValueId, DeviceShortId), Vec<(Edition, usize)>> = BTreeMap::new();
    for (value, nodes) in &values {
        if let Some(edition) = Edition::of(value) {
            editions.entry((value.id, edition.owner)).or_default().push((edition, *nodes));
        }
    }
    let is_replaced = |value: &Value, nodes: usize| {
        let Some(edition) = Edition::of(value) else { return false };
        let others = editions.get(&(value.id, edition.owner)).into_iter().flatten();
        others.into_iter().any(|(other, have)| edition.is_before(*other) && nodes < *have)
    };
    values.into_iter().filter(|(value, nodes)| !is_replaced(value, *nodes)).map(|(value, _)| value).collect()
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

    fn kept(values: &[(&Arc<Value>, usize)]) -> Vec<Arc<Value>> {
        latest(values.iter().map(|(value, nodes)| (Arc::clone(value), *nodes)).collect())
    }

    #[test]
    fn a_later_edition_of_more_nodes_replaces_those_before_under_the_same_id_only() {
        let [first, second, third] = [1, 2, 3].map(|sequence| signed(1, 0, sequence));
        let plain: Arc<Value> = Value::plain(ValueId(1), Content::new(0, b"plain".to_vec())).into();
        assert_eq!(kept(&[(&first, 1), (&third, 6), (&second, 2)]), [Arc::clone(&third)]);
        let beside = kept(&[(&first, 1), (&third, 2), (&plain, 1), (&signed(2, 0, 1), 1)]);
        assert!(beside.len() == 3 && !beside.contains(&first), "{beside:?}");
    }

    #[test]
    fn what_one_node_shows_as_a_later_edition_hides_nothing() {
        let (honest, moved) = (signed(1, 0, 1), signed(1, 0, 9));
        assert_eq!(kept(&[(&honest, 7), (&moved, 1)]).len(), 2);
        assert_eq!(kept(&[(&honest, 1), (&moved, 1)]).len(), 2);
    }

    #[test]
    fn types_whose_signature_nobody_checks_replace_nothing() {
        let (honest, unchecked) = (signed(1, 0, 1), signed(1, 2, 9));
        assert_eq!(kept(&[(&honest, 1), (&unchecked, 5)]).len(), 2);
    }
}
