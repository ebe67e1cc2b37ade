//! What people are asked on the terminal: passwords, typed without being shown, and whether something
//! shall be done that cannot be undone.
//!
//! Passwords can also come from a file, but never from the arguments, which every process of the
//! machine can read. Where there is no terminal nobody is asked: the error names the option to use.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::error::CliError;
use crate::rpc::schema::Secret;

/// Longest password, in bytes: far more than anybody types.
const MAX_PASSWORD: usize = 4096;

/// Longest line read as an answer to a question, in bytes.
const MAX_ANSWER: u64 = 256;

/// The password on the first line of a file.
pub(crate) fn password_in(path: &Path) -> Result<Secret, CliError> {
    let failed = |error: std::io::Error| CliError::file(path, error);
    let limit = u64::try_from(MAX_PASSWORD).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = zeroize::Zeroizing::new(String::new());
    File::open(path).map_err(failed)?.take(limit).read_to_string(&mut text).map_err(failed)?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() || line.len() > MAX_PASSWORD {
        return Err(CliError::file(path, "its first line is not a password"));
    }
    Ok(Secret::new(line.to_owned()))
}

/// The terminal that this process belongs to, wherever its input and output go.
fn terminal() -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty")
}

/// Asks for a password on the terminal. `option` takes it from a file instead.
pub(crate) fn ask_password(question: &str, option: &str) -> Result<Secret, CliError> {
    let no_terminal = |_| {
        let what = question.to_lowercase();
        CliError::Usage(format!("there is no terminal to ask for the {what} on; use {option}"))
    };
    let mut terminal = terminal().map_err(no_terminal)?;
    let hidden = Hidden::begin(&terminal).map_err(no_terminal)?;
    write!(terminal, "{question}: ")?;
    terminal.flush()?;
    let typed = read_line(&mut terminal);
    drop(hidden);
    writeln!(terminal)?;
    typed
}

/// Asks whether to do what `question` says; an error unless the answer is `yes`.
pub(crate) fn confirm(question: &str) -> Result<(), CliError> {
    let no_terminal = |_| CliError::Usage("there is no terminal to ask on; use --yes if you are sure".into());
    let mut terminal = terminal().map_err(no_terminal)?;
    write!(terminal, "{question} Type yes to do it: ")?;
    terminal.flush()?;
    let mut answer = String::new();
    BufReader::new(terminal.take(MAX_ANSWER)).read_line(&mut answer)?;
    if answer.trim() == "yes" {
        Ok(())
    } else {
        Err(CliError::Usage("that was not a yes; nothing was changed".to_owned()))
    }
}

/// Asks for a new password twice.
pub(crate) fn ask_new_password(question: &str, option: &str) -> Result<Secret, CliError> {
    let first = ask_password(question, option)?;
    let second = ask_password("The same again", option)?;
    if first != second {
        return Err(CliError::Usage("the two passwords differ; nothing was changed".to_owned()));
    }
    Ok(first)
}

/// Reads what is typed up to the end of the line, minding the few keys that a hidden line needs.
fn read_line(terminal: &mut impl std::io::Read) -> Result<Secret, CliError> {
    const INTERRUPT: u8 = 3;
    const END: u8 = 4;
    const BACKSPACE: [u8; 2] = [8, 127];
    let mut typed = zeroize::Zeroizing::new(Vec::with_capacity(MAX_PASSWORD));
    let mut byte = [0];
    loop {
        terminal.read_exact(&mut byte)?;
        match byte {
            [b'\n' | b'\r'] => break,
            [INTERRUPT | END] => return Err(CliError::Usage("no password was given".to_owned())),
            [key] if BACKSPACE.contains(&key) => {
                // A letter of several bytes goes whole.
                while typed.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            [key] if typed.len() < MAX_PASSWORD => typed.push(key),
            _ => return Err(CliError::Usage("that is too long for a password".to_owned())),
        }
    }
    let text = std::str::from_utf8(&typed)
        .map_err(|_| CliError::Usage("the password is not UTF-8 text".to_owned()))?;
    Ok(Secret::new(text.to_owned()))
}

/// The terminal shows nothing of what is typed while this lives.
struct Hidden {
    terminal: File,
    before: Termios,
}

impl Hidden {
    fn begin(terminal: &File) -> std::io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut hidden = before.clone();
        // Signals too: an interrupt must not leave the terminal without echo.
        hidden.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        tcsetattr(terminal, OptionalActions::Flush, &hidden)?;
        Ok(Self { terminal: terminal.try_clone()?, before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Nothing more can be done if the terminal is gone.
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_file_is_the_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for (text, expected) in
            [("one\ntwo\n", Some("one")), ("last", Some("last")), ("\n", None), ("", None)]
        {
            std::fs::write(&path, text).unwrap();
            let found = password_in(&path);
            assert_eq!(found.as_ref().ok().map(Secret::reveal), expected, "{text:?}");
        }
        std::fs::write(&path, "x".repeat(MAX_PASSWORD + 1)).unwrap();
        assert!(password_in(&path).is_err());
    }

    #[test]
    fn typing_can_be_corrected_and_given_up() {
        let typed = |keys: &str| read_line(&mut keys.as_bytes()).map(|secret| secret.reveal().to_owned());
        assert_eq!(typed("abcé\u{7f}\u{8}d\r").unwrap(), "abd");
        assert!(typed("abc\u{3}").is_err());
        assert!(typed("unfinished").is_err());
    }
}
