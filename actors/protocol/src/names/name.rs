//! What is a name (`spec: name-server 1`).
//!
//! Clients of 2026 leave it to the server which names there are. A [`Name`] is therefore wide, but not
//! so wide that it could look like something else than it is, or change the request it is put in.
//! Servers of ours register only [plain](Name::is_plain) ones.

use std::fmt;
use std::str::FromStr;

/// Longest name, in characters (`spec: name-server 1`).
pub const MAX_NAME: usize = 64;

/// Shortest and longest plain name, in characters (`spec: name-server 1`).
const PLAIN_LENGTH: std::ops::RangeInclusive<usize> = 3..=32;

/// A name with its ASCII letters in lower case, which is the form that is signed and compared.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Empty, or longer than [`MAX_NAME`].
    #[error("a name has between 1 and {MAX_NAME} characters")]
    Length,
    /// A character that cannot be seen, that changes how others are seen, or that parts texts.
    #[error("no name has the character U+{:04X} in it", u32::from(*.0))]
    Character(char),
    /// Nothing but dots, which would lead to another place on the server.
    #[error("a name is more than dots")]
    Dots,
}

impl Name {
    /// The text, with ASCII letters in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether every server takes it: 3 to 32 letters and digits of ASCII, `-` and `_`. Only such a name
    /// cannot be mistaken for one in the letters of another script; whoever shows another one shows the
    /// id beside it.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        PLAIN_LENGTH.contains(&self.0.len()) && self.0.bytes().all(allowed)
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        // One more than allowed is enough to know.
        if text.is_empty() || text.chars().take(MAX_NAME + 1).count() > MAX_NAME {
            return Err(NameError::Length);
        }
        if let Some(character) = text.chars().find(|character| is_forbidden(*character)) {
            return Err(NameError::Character(character));
        }
        if text.bytes().all(|byte| byte == b'.') {
            return Err(NameError::Dots);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Name({})", self.0)
    }
}

fn is_forbidden(character: char) -> bool {
    let parts_texts = matches!(character, '@' | '/' | '\\' | '?' | '#' | '%');
    character.is_whitespace() || character.is_control() || parts_texts || is_unseen(character)
}

/// Characters that are not seen themselves: controls of direction, joiners, variation selectors, fillers
/// and the like, private ones, and those that are none.
const fn is_unseen(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}'
            | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{ffff}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{10ffff}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn letters_of_ascii_are_lowered_and_others_kept() {
        for (typed, name) in [("AliceTest", "alicetest"), ("Alic_e-1", "alic_e-1"), ("CAFÉ", "cafÉ")] {
            assert_eq!(typed.parse::<Name>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn only_names_that_every_server_takes_are_plain() {
        for (text, plain) in [
            ("abc", true),
            ("AB-_9", true),
            (&*"x".repeat(32), true),
            (&*"x".repeat(33), false),
            ("ab", false),
            ("café", false),
            ("alice!", false),
            // A Cyrillic letter that looks like a Latin one.
            ("\u{430}lice", false),
        ] {
            assert_eq!(text.parse::<Name>().unwrap().is_plain(), plain, "{text}");
        }
    }

    #[test]
    fn names_with_controls_of_direction_or_unseen_characters_are_refused() {
        for character in [
            '\u{202e}',
            '\u{202d}',
            '\u{2066}',
            '\u{2069}',
            '\u{61c}',
            '\u{200f}',
            '\u{200b}',
            '\u{200d}',
            '\u{feff}',
            '\u{ad}',
            '\u{2028}',
            '\u{0}',
            '\n',
            '\u{7f}',
            '\u{85}',
            ' ',
            '\u{a0}',
            '\u{3000}',
            '@',
            '/',
            '\\',
            '?',
            '#',
            '%',
            '\u{fe0f}',
            '\u{e0041}',
            '\u{3164}',
            '\u{fffe}',
            '\u{10ffff}',
        ] {
            let text = format!("ali{character}ce");
            assert_eq!(text.parse::<Name>(), Err(NameError::Character(character)), "{character:?}");
        }
    }

    #[test]
    fn length_is_counted_in_characters_and_limited() {
        assert_eq!("".parse::<Name>(), Err(NameError::Length));
        assert!("é".repeat(MAX_NAME).parse::<Name>().is_ok());
        assert_eq!("é".repeat(MAX_NAME + 1).parse::<Name>(), Err(NameError::Length));
        assert_eq!("x".repeat(100_000_000).parse::<Name>(), Err(NameError::Length));
        assert_eq!("..".parse::<Name>(), Err(NameError::Dots));
    }

    proptest! {
        #[test]
        fn any_text_is_a_name_or_refused_and_a_name_stays_one(text in any::<String>()) {
            if let Ok(name) = text.parse::<Name>() {
                prop_assert_eq!(name.as_str().parse::<Name>(), Ok(name.clone()));
                prop_assert_eq!(text.to_ascii_uppercase().parse::<Name>(), Ok(name));
            }
        }
    }
}
