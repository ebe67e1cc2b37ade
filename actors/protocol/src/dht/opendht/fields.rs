//! The answer to a query for fields instead of whole values (`spec: dht 5`).
//!
//! ```text
//!   fileds = { "f": [field, …], "v": [ fields of the first value …, of the second …, … ] }
//! ```

use std::collections::BTreeSet;

use super::query::Field;
use crate::dht::value::{Value, ValueId};
use crate::msgpack::Value as Object;

/// How the owner of an unsigned value is written.
const NO_OWNER: [u8; 20] = [0; 20];

/// Fields of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTable {
    /// Which fields each row has; never empty in an answer that was received.
    pub fields: BTreeSet<Field>,
    /// One for each value.
    pub rows: Vec<FieldRow>,
}

/// Fields of one value: those that the table is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldRow {
    /// Its id.
    pub id: Option<ValueId>,
    /// The number of its type.
    pub type_number: Option<u16>,
    /// The public key that signed it; twenty zeros if none did.
    pub owner: Option<Vec<u8>>,
    /// Its edition; 0 if unsigned.
    pub sequence: Option<u16>,
    /// Its user type.
    pub user_type: Option<String>,
}

impl FieldTable {
    /// The fields of these values.
    #[must_use]
    pub fn of<'v>(fields: &BTreeSet<Field>, values: impl IntoIterator<Item = &'v Value>) -> Self {
        let rows = values.into_iter().map(|value| FieldRow::of(fields, value)).collect();
        Self { fields: fields.clone(), rows }
    }

    pub(super) fn to_object(&self) -> Object {
        let fields = self.fields.iter().map(|field| Object::from(field.number())).collect();
        let cells = self.rows.iter().flat_map(|row| self.fields.iter().map(|field| row.cell(*field)));
        Object::map([("f", Object::Array(fields)), ("v", Object::Array(cells.collect()))])
    }

    pub(super) fn read(object: &Object) -> Option<Self> {
        let columns: Vec<Field> =
            object.get("f")?.as_array()?.iter().map(Field::read).collect::<Option<_>>()?;
        let fields: BTreeSet<Field> = columns.iter().copied().collect();
        if fields.is_empty() || fields.len() != columns.len() {
            return None;
        }
        let cells = object.get("v")?.as_array()?.chunks_exact(columns.len());
        let rows = cells.map(|cells| FieldRow::read(&columns, cells)).collect::<Option<_>>()?;
        Some(Self { fields, rows })
    }
}

impl FieldRow {
    fn of(fields: &BTreeSet<Field>, value: &Value) -> Self {
        let mut row = Self::default();
        for field in fields {
            match field {
                Field::Id => row.id = Some(value.id),
                Field::Type => {
                    row.type_number = Some(value.content().map_or(0, |content| content.type_number))
                }
                Field::Owner => {
                    let owner = value.as_signed().map_or(NO_OWNER.as_slice(), |signed| signed.owner().der());
                    row.owner = Some(owner.to_vec());
                }
                Field::Sequence => {
                    row.sequence = Some(value.as_signed().map_or(0, |signed| signed.sequence()))
                }
                Field::UserType => {
                    let user_type = value.content().map(|content| content.user_type.clone());
                    row.user_type = Some(user_type.unwrap_or_default());
                }
            }
        }
        row
    }

    fn cell(&self, field: Field) -> Object {
        match field {
            Field::Id => Object::from(self.id.unwrap_or(ValueId::NONE).0),
            Field::Type => Object::from(u64::from(self.type_number.unwrap_or_default())),
            Field::Owner => Object::binary(self.owner.as_deref().unwrap_or(&NO_OWNER)),
            Field::Sequence => Object::from(u64::from(self.sequence.unwrap_or_default())),
            Field::UserType => Object::text(self.user_type.as_deref().unwrap_or_default()),
        }
    }

    fn read(columns: &[Field], cells: &[Object]) -> Option<Self> {
        let mut row = Self::default();
        for (field, cell) in columns.iter().zip(cells) {
            let number = || cell.as_unsigned();
            let short = || number().and_then(|number| u16::try_from(number).ok());
            match field {
                Field::Id => row.id = Some(ValueId(number()?)),
                Field::Type => row.type_number = Some(short()?),
                Field::Owner => row.owner = Some(cell.as_binary()?.to_vec()),
                Field::Sequence => row.sequence = Some(short()?),
                Field::UserType => row.user_type = Some(cell.as_text()?.to_owned()),
            }
        }
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::content::Content;
    use crate::dht::golden;

    fn all() -> BTreeSet<Field> {
        BTreeSet::from([Field::Id, Field::Type, Field::Owner, Field::Sequence, Field::UserType])
    }

    #[test]
    fn the_fields_of_values_survive_their_bytes() {
        let content = Content::new(3, b"x".to_vec()).with_user_type("text");
        let signed = content.clone().sign(golden::throw_away_key(), 7).unwrap();
        let values = [
            Value::plain(ValueId(5), content),
            Value::signed(ValueId(6), signed),
            Value::encrypted(ValueId(7), vec![1]),
        ];
        let table = FieldTable::of(&all(), &values);
        assert_eq!(table.rows[1].owner.as_deref(), Some(golden::throw_away_key().public().der()));
        assert_eq!(table.rows[1].sequence, Some(7));
        assert_eq!(table.rows[2].type_number, Some(0));
        assert_eq!(FieldTable::read(&table.to_object()), Some(table));
    }

    #[test]
    fn cells_are_read_in_the_order_of_the_columns_and_a_rest_is_ignored() {
        let number = |number: u64| Object::from(number);
        let columns = Object::Array(vec![number(4), number(1)]);
        let cells = Object::Array([9, 5, 8, 6, 7].into_iter().map(number).collect());
        let table = FieldTable::read(&Object::map([("f", columns), ("v", cells)])).unwrap();
        let read: Vec<_> = table.rows.iter().map(|row| (row.id.unwrap().0, row.sequence.unwrap())).collect();
        assert_eq!(read, [(5, 9), (6, 8)]);
    }

    #[test]
    fn wrong_tables_are_refused() {
        let number = |number: u64| Object::from(number);
        let table = |fields: Vec<Object>, cells: Vec<Object>| {
            FieldTable::read(&Object::map([("f", Object::Array(fields)), ("v", Object::Array(cells))]))
        };
        assert_eq!(table(vec![], vec![]), None);
        assert_eq!(table(vec![number(6)], vec![]), None);
        assert_eq!(table(vec![number(1), number(1)], vec![]), None);
        assert_eq!(table(vec![number(1)], vec![Object::text("x")]), None);
        assert_eq!(table(vec![number(4)], vec![number(65_536)]), None);
        assert_eq!(FieldTable::read(&Object::map([("f", Object::Array(vec![number(1)]))])), None);
    }
}
