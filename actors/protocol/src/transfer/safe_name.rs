//! Names that files can be saved under, whatever a sender calls them.

/// Longest safe name, in bytes: file systems take 255, and a number may have to fit in.
pub const MAX_SAFE_NAME: usize = 200;

/// Longest ending that is kept when a name is cut, in bytes.
const MAX_ENDING: usize = 16;

/// What a file without a usable name is called.
const NAMELESS: &str = "file";

/// Names that are devices on Windows, with any ending.
const RESERVED: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

/// A name that can be saved under and shown: without folders, without characters that hide or turn
/// round what follows, not hidden, no device, not too long. A name that is all that stays as it is.
#[must_use]
pub fn safe_name(display_name: &str) -> String {
    let last = display_name.rsplit(['/', '\\']).find(|part| !trim(part).is_empty()).unwrap_or_default();
    let clean: String = last.chars().filter(|it| !is_hidden(*it)).map(replace).collect();
    match cut(trim(&clean)) {
        name if name.is_empty() => NAMELESS.to_owned(),
        name if is_reserved(&name) => cut(&format!("_{name}")),
        name => name,
    }
}

/// The name to try when `number - 1` names were taken: `photo.jpg`, `photo (2).jpg`, …
#[must_use]
pub fn numbered(name: &str, number: u32) -> String {
    if number <= 1 {
        return name.to_owned();
    }
    let (stem, ending) = split(name);
    format!("{stem} ({number}){ending}")
}

/// Without the spaces that Windows drops, and without dots that hide a file or lead elsewhere.
fn trim(name: &str) -> &str {
    // Joiners belong within words of some scripts, but are nothing by themselves.
    name.trim_matches(|it: char| matches!(it, '.' | '\u{200c}' | '\u{200d}') || it.is_whitespace())
}

/// Characters without a shape of their own, some of which turn round the text after them.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Characters that some file systems or shells do not take.
const fn replace(character: char) -> char {
    match character {
        '<' | '>' | ':' | '"' | '|' | '?' | '*' => '_',
        other => other,
    }
}

/// The name and its ending, dot included.
fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if dot > 0 && name.len() - dot <= MAX_ENDING => name.split_at(dot),
        _ => (name, ""),
    }
}

fn cut(name: &str) -> String {
    if name.len() <= MAX_SAFE_NAME {
        return name.to_owned();
    }
    let (stem, ending) = split(name);
    let mut length = MAX_SAFE_NAME - ending.len();
    while !stem.is_char_boundary(length) {
        length -= 1;
    }
    let stem = stem.get(..length).unwrap_or_default();
    format!("{}{ending}", trim(stem))
}

fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let is_port = |prefix: &str| {
        let number = stem.strip_prefix(prefix).and_then(|rest| {
            let mut rest = rest.chars();
            rest.next().filter(|_| rest.next().is_none())
        });
        number.is_some_and(|it| matches!(it, '0'..='9' | '¹' | '²' | '³'))
    };
    RESERVED.contains(&stem.as_str()) || is_port("com") || is_port("lpt")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_names_stay_as_they_are() {
        for name in
            ["photo.JPEG", "archive.tar.gz", "noext", "Übung 1 (neu).odt", "写真.png", "a b", "comma,"]
        {
            assert_eq!(safe_name(name), name);
        }
    }

    #[test]
    fn folders_hidden_names_and_devices_are_made_harmless() {
        for (name, safe) in [
            ("../../etc/passwd", "passwd"),
            ("/etc/shadow", "shadow"),
            ("..\\..\\boot.ini", "boot.ini"),
            ("C:\\x\\a.txt", "a.txt"),
            ("dir/", "dir"),
            ("a/..", "a"),
            ("..", "file"),
            (".", "file"),
            ("", "file"),
            ("   ", "file"),
            ("/", "file"),
            (".bashrc", "bashrc"),
            ("name.", "name"),
            ("a\0b.txt", "ab.txt"),
            ("a\nb\u{7f}", "ab"),
            ("gpj.\u{202e}exe", "gpj.exe"),
            ("\u{2066}x\u{2069}\u{feff}", "x"),
            ("CON", "_CON"),
            ("nul.txt", "_nul.txt"),
            ("Com1.log", "_Com1.log"),
            ("lpt¹", "_lpt¹"),
            ("com10", "com10"),
            ("console", "console"),
            ("a:b?c*", "a_b_c_"),
        ] {
            assert_eq!(safe_name(name), safe, "{name:?}");
        }
    }

    #[test]
    fn long_names_are_cut_and_keep_their_ending() {
        let name = safe_name(&format!("{}.jpeg", "é".repeat(5000)));
        assert!(name.len() <= MAX_SAFE_NAME && name.ends_with("é.jpeg"), "{name}");
        assert_eq!(safe_name(&"x".repeat(100_000)).len(), MAX_SAFE_NAME);
        assert_eq!(safe_name(&format!("a.{}", "x".repeat(300))).len(), MAX_SAFE_NAME);
    }

    #[test]
    fn a_name_that_is_taken_gets_a_number() {
        assert_eq!(numbered("photo.jpg", 1), "photo.jpg");
        assert_eq!(numbered("photo.jpg", 2), "photo (2).jpg");
        assert_eq!(numbered("archive.tar.gz", 3), "archive.tar (3).gz");
        assert_eq!(numbered("noext", 12), "noext (12)");
    }

    proptest! {
        #[test]
        fn every_name_becomes_a_single_safe_component(name in any::<String>(), number in 0..u32::MAX) {
            let safe = safe_name(&name);
            prop_assert_eq!(&safe_name(&safe), &safe, "a safe name stays as it is");
            for name in [safe.clone(), numbered(&safe, number)] {
                prop_assert!((1..=255).contains(&name.len()));
                prop_assert!(!name.contains(['/', '\\', '\0']) && !name.starts_with('.'));
                let components: Vec<_> = std::path::Path::new(&name).components().collect();
                prop_assert_eq!(components, [std::path::Component::Normal(name.as_ref())]);
            }
        }
    }
}
