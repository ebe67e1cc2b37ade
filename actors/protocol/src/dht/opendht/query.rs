//! Which values of a key are wanted, and which fields of them (`spec: dht 5`).
//!
//! ```text
//!   q = { "s": [field, …], "w": [ { "f": field, "v": value }, … ] }
//! ```

use std::collections::BTreeSet;

use crate::dht::filter::Filter;
use crate::dht::value::ValueId;
use crate::msgpack::Value as Object;

/// A part of a value that can be asked for. All but the sequence number can be a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// The id of the value.
    Id,
    /// The number of its type.
    Type,
    /// The key that signed it.
    Owner,
    /// Its edition.
    Sequence,
    /// Its user type.
    UserType,
}

impl Field {
    pub(super) const fn number(self) -> u64 {
        match self {
            Self::Id => 1,
            Self::Type => 2,
            Self::Owner => 3,
            Self::Sequence => 4,
            Self::UserType => 5,
        }
    }

    pub(super) fn read(object: &Object) -> Option<Self> {
        Some(match object.as_unsigned()? {
            1 => Self::Id,
            2 => Self::Type,
            3 => Self::Owner,
            4 => Self::Sequence,
            5 => Self::UserType,
            _ => return None,
        })
    }
}

/// What of a key is wanted; the default is every value as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The fields wanted of each value; whole values if empty. Never ask for the owner where values
    /// may be signed: readers of the reference trip over the answer.
    pub select: BTreeSet<Field>,
    /// Which values.
    pub filter: Filter,
}

impl Query {
    /// The ids of the values that pass `filter`: the first step of a search for values.
    #[must_use]
    pub fn ids(filter: Filter) -> Self {
        Self { select: BTreeSet::from([Field::Id]), filter }
    }

    /// The ids and editions of all values: what a publisher asks before it publishes.
    #[must_use]
    pub fn editions() -> Self {
        Self { select: BTreeSet::from([Field::Id, Field::Sequence]), filter: Filter::default() }
    }

    /// The whole value with this id.
    #[must_use]
    pub fn value(id: ValueId) -> Self {
        Self { select: BTreeSet::new(), filter: Filter::id(id) }
    }

    /// Whether this wants every value as a whole, and so need not be written.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn to_object(&self) -> Object {
        let select = self.select.iter().map(|field| Object::from(field.number())).collect();
        let condition =
            |field: Field, value| Object::map([("f", Object::from(field.number())), ("v", value)]);
        let Filter { id, type_number, owner, user_type } = &self.filter;
        let conditions = [
            id.map(|id| condition(Field::Id, Object::from(id.0))),
            type_number.map(|number| condition(Field::Type, Object::from(u64::from(number)))),
            owner.map(|owner| condition(Field::Owner, Object::binary(&owner))),
            user_type.as_ref().map(|text| condition(Field::UserType, Object::binary(text.as_bytes()))),
        ];
        Object::map([
            ("s", Object::Array(select)),
            ("w", Object::Array(conditions.into_iter().flatten().collect())),
        ])
    }

    /// Reads a query. `None` if it is none, or one that no value can pass: such are not asked.
    pub(super) fn read(object: &Object) -> Option<Self> {
        let select = object.get("s")?.as_array()?;
        let select = select.iter().map(Field::read).collect::<Option<_>>()?;
        let mut filter = Filter::default();
        for condition in object.get("w")?.as_array()? {
            let value = condition.get("v")?;
            match Field::read(condition.get("f")?)? {
                Field::Id => only(&mut filter.id, ValueId(value.as_unsigned()?))?,
                Field::Type => only(&mut filter.type_number, u16::try_from(value.as_unsigned()?).ok()?)?,
                Field::Owner => only(&mut filter.owner, value.as_binary()?.try_into().ok()?)?,
                Field::Sequence => return None,
                Field::UserType => only(&mut filter.user_type, user_type(value)?)?,
            }
        }
        Some(Self { select, filter })
    }
}

/// Adds a condition, unless it contradicts an earlier one.
fn only<T: PartialEq>(condition: &mut Option<T>, value: T) -> Option<()> {
    if condition.as_ref().is_some_and(|earlier| *earlier != value) {
        return None;
    }
    *condition = Some(value);
    Some(())
}

fn user_type(value: &Object) -> Option<String> {
    String::from_utf8(value.as_binary()?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object {
        crate::msgpack::decode_all(&hex::decode(text.replace(' ', "")).unwrap()).unwrap()
    }

    #[test]
    fn queries_are_written_as_recorded() {
        for (query, text) in [
            (Query::ids(Filter::default()), "82a1739101a17790"),
            (Query::editions(), "82a173920104a17790"),
            (Query::value(ValueId(0x1122_3344_5566_7788)), "82a17390a1779182a16601a176cf1122334455667788"),
        ] {
            assert_eq!(hex::encode(query.to_object().encode()), text);
            assert_eq!(Query::read(&object(text)), Some(query));
        }
    }

    #[test]
    fn every_condition_survives_its_bytes() {
        let query = Query {
            select: BTreeSet::from([Field::Id, Field::Type, Field::Owner, Field::Sequence, Field::UserType]),
            filter: Filter {
                id: Some(ValueId(u64::MAX)),
                type_number: Some(4),
                owner: Some([3; 20]),
                user_type: Some("peer_request".to_owned()),
            },
        };
        assert_eq!(Query::read(&query.to_object()), Some(query));
        assert!(Query::default().is_all());
    }

    #[test]
    fn wrong_queries_are_refused() {
        for text in [
            "c0",
            "80",
            "81 a173 90",
            "81 a177 90",
            "82 a173 91 09 a177 90",
            "82 a173 91 a0 a177 90",
            "82 a173 90 a177 91 82 a166 04 a176 01",
            "82 a173 90 a177 91 82 a166 01 a176 a0",
            "82 a173 90 a177 91 82 a166 02 a176 ce00010000",
            "82 a173 90 a177 91 82 a166 03 a176 c4020102",
            "82 a173 90 a177 91 82 a166 05 a176 a178",
            "82 a173 90 a177 91 82 a166 05 a176 c401ff",
            "82 a173 90 a177 91 81 a166 01",
            "82 a173 90 a177 92 82 a166 01 a176 01 82 a166 01 a176 02",
        ] {
            assert_eq!(Query::read(&object(text)), None, "{text}");
        }
        assert!(Query::read(&object("82 a173 90 a177 92 82 a166 01 a176 01 82 a166 01 a176 01")).is_some());
    }
}
