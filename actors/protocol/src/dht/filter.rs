//! Which values of a key are wanted: the conditions of a query (`spec: dht 5`).

use crate::dht::value::{Value, ValueId};
use crate::ids::sha1;

/// Conditions that must all hold; the default wants every value.
///
/// Encrypted values are user data without owner and user type to a storing node, so only their id
/// tells them apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only the value with this id.
    pub id: Option<ValueId>,
    /// Only values of this type.
    pub type_number: Option<u16>,
    /// Only values signed by the key with this short id.
    pub owner: Option<[u8; 20]>,
    /// Only values with this user type.
    pub user_type: Option<String>,
}

impl Filter {
    /// Only the value with this id.
    #[must_use]
    pub fn id(id: ValueId) -> Self {
        Self { id: Some(id), ..Self::default() }
    }

    /// Whether `value` is wanted.
    #[must_use]
    pub fn matches(&self, value: &Value) -> bool {
        let type_number = value.content().map_or(0, |content| content.type_number);
        let user_type = value.content().map_or("", |content| content.user_type.as_str());
        self.id.is_none_or(|id| id == value.id)
            && self.type_number.is_none_or(|wanted| wanted == type_number)
            && self.user_type.as_deref().is_none_or(|wanted| wanted == user_type)
            && self.owner.is_none_or(|wanted| {
                value.as_signed().is_some_and(|signed| sha1(signed.owner().der()) == wanted)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::content::Content;
    use crate::dht::golden;

    #[test]
    fn every_condition_must_hold() {
        let key = golden::throw_away_key();
        let content = Content::new(3, b"x".to_vec()).with_user_type("text").sign(key, 0).unwrap();
        let value = Value::signed(ValueId(5), content);
        let all = Filter {
            id: Some(ValueId(5)),
            type_number: Some(3),
            owner: Some(key.public().account_id().0),
            user_type: Some("text".to_owned()),
        };
        assert!(Filter::default().matches(&value));
        assert!(all.matches(&value));
        for wrong in [
            Filter { id: Some(ValueId(6)), ..all.clone() },
            Filter { type_number: Some(0), ..all.clone() },
            Filter { owner: Some([0; 20]), ..all.clone() },
            Filter { user_type: Some(String::new()), ..all },
        ] {
            assert!(!wrong.matches(&value), "{wrong:?}");
        }
    }

    #[test]
    fn an_encrypted_value_is_user_data_of_nobody() {
        let value = Value::encrypted(ValueId(5), vec![1]);
        assert!(
            Filter { type_number: Some(0), user_type: Some(String::new()), ..Filter::id(ValueId(5)) }
                .matches(&value)
        );
        assert!(!Filter { owner: Some([0; 20]), ..Filter::default() }.matches(&value));
    }
}
