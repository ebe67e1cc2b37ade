//! Erasing what a stop or crash left of conversations, when an account is loaded.

use std::path::Path;
use std::{fs, io};

use skep_protocol::ids::{AccountId, ConversationId};
use skep_protocol::swarm::message::Mode;
use skep_protocol::sync::ConversationRecord;
use skep_protocol::time::UnixMillis;

use super::leaving;
use super::state::State;
use crate::storage;
use crate::swarm::{CLONE, IMPORT, UNFINISHED};

/// Ending of the folder of a conversation that is being erased.
const ERASED: &str = "erased";

/// Erases what a stop or crash left of conversations: copies never finished, and those removed that
/// nobody has to fetch from us any more. If records were lost, a conversation without one gets a new
/// one instead, to be filled in when it is opened: its history may be all that is left of it anywhere.
pub(super) fn sweep(
    conversations: &Path,
    state: &mut State,
    own: AccountId,
    now: UnixMillis,
) -> io::Result<()> {
    let leaving: Vec<_> =
        state.conversations.iter().filter(|(_, record)| record.is_leaving()).map(|(id, _)| id).collect();
    for id in leaving {
        if let Some(record) = state.conversations.get_mut(id)
            && (leaving::is_given_up(record, now) || !conversations.join(id.to_hex()).exists())
        {
            record.erased = record.removed;
        }
    }
    for entry in fs::read_dir(conversations)? {
        match entry {
            Ok(entry) => sweep_entry(&entry.path(), state, own, now),
            Err(error) => tracing::error!(%error, "an entry among the conversations cannot be read"),
        }
    }
    Ok(())
}

fn sweep_entry(path: &Path, state: &mut State, own: AccountId, now: UnixMillis) {
    let id = path.file_name().and_then(|name| name.to_str()?.parse::<ConversationId>().ok());
    let record = id.and_then(|id| state.conversations.get(id));
    let is_leftover = match (id, record) {
        (Some(id), None) if state.records_lost => {
            tracing::warn!(%id, "a conversation without a record is taken up again");
            let record = ConversationRecord::new(now, [own], Mode::OneToOne.number());
            if let Err(error) = state.conversations.insert(id, record) {
                tracing::error!(%id, %error, "it stays on disk unused");
            }
            false
        }
        (Some(_), None) => true,
        (Some(_), Some(record)) => record.is_removed() && !record.is_leaving(),
        (None, _) => is_unfinished(path),
    };
    if is_leftover && let Err(error) = fs::remove_dir_all(path) {
        tracing::error!(path = %path.display(), %error, "a leftover of a conversation cannot be erased");
    }
}

/// Whether a name is one of those that conversations have while they are made or erased:
/// `<id>.<number>.new`, `<id>.<number>.clone`, `<id>.erased`, `import.new`. Anything else is not ours.
fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some((stem, ending)) = name.split_once('.') else { return false };
    let is_ending = match ending.rsplit_once('.') {
        None => ending == ERASED,
        Some((number, ending)) => [UNFINISHED, CLONE].contains(&ending) && number.parse::<u64>().is_ok(),
    };
    name == IMPORT || (is_ending && stem.parse::<ConversationId>().is_ok())
}

/// Erases a conversation whose actor has ended. From when this succeeds its folder has another name at
/// least, under which it is never opened.
///
/// # Errors
/// What the system says; the folder may be as it was then.
pub(super) fn erase(folder: &Path, data: &Path) -> io::Result<()> {
    // What is known beside the history goes first: without the history it is never looked for.
    unless_absent(fs::remove_dir_all(data))?;
    let aside = folder.with_extension(ERASED);
    unless_absent(fs::remove_dir_all(&aside))?;
    unless_absent(fs::rename(folder, &aside))?;
    if let Some(parent) = folder.parent() {
        unless_absent(storage::force_folder(parent))?;
    }
    if let Err(error) = unless_absent(fs::remove_dir_all(&aside)) {
        tracing::warn!(path = %aside.display(), %error, "it is erased when the account is loaded again");
    }
    Ok(())
}

fn unless_absent(done: io::Result<()>) -> io::Result<()> {
    done.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use skep_protocol::ids::LocalAccountId;

    use super::*;
    use crate::account::identity::AccountFolder;

    const OWN: AccountId = AccountId([1; 20]);
    const NOW: UnixMillis = UnixMillis(1_795_400_000_000);

    fn id(number: u8) -> ConversationId {
        ConversationId([number; 20])
    }

    /// An account's folder with two conversations on disk and a half-made copy of another.
    fn folder() -> (tempfile::TempDir, AccountFolder, PathBuf) {
        let data = tempfile::tempdir().unwrap();
        let folder = AccountFolder::new(data.path(), LocalAccountId([1; 8]));
        let conversations = folder.join("conversations");
        for name in [id(1).to_hex(), id(2).to_hex(), format!("{}.3.clone", id(3))] {
            storage::make_folder(&conversations.join(name)).unwrap();
        }
        (data, folder, conversations)
    }

    #[test]
    fn histories_survive_the_loss_of_their_records() {
        let (_data, folder, conversations) = folder();
        storage::replace(&folder.join("convInfo"), b"\xc1 no records").unwrap();
        let mut state = State::load(&folder, OWN).unwrap();
        sweep(&conversations, &mut state, OWN, NOW).unwrap();
        for number in [1, 2] {
            assert!(conversations.join(id(number).to_hex()).exists());
            assert!(state.conversations.get(id(number)).is_some());
        }
        assert!(!conversations.join(format!("{}.3.clone", id(3))).exists());
    }

    #[test]
    fn only_removed_and_unfinished_conversations_are_erased() {
        let (_data, _, conversations) = folder();
        let mut state = State::new(OWN, "name");
        state.conversations.insert(id(1), ConversationRecord::new(NOW, [OWN], 0)).unwrap();
        sweep(&conversations, &mut state, OWN, NOW).unwrap();
        assert!(conversations.join(id(1).to_hex()).exists());
        assert_eq!(fs::read_dir(&conversations).unwrap().count(), 1);
    }

    #[test]
    fn only_names_that_conversations_have_are_erased_and_what_resists_does_no_harm() {
        let (_data, _, conversations) = folder();
        let mut state = State::new(OWN, "name");
        let ours = ["3.new", "7.clone", "erased"].map(|ending| format!("{}.{ending}", id(5)));
        let foreign = ["notes".to_owned(), format!("{}.backup", id(5)), format!("{}.1.damaged", id(5))];
        for name in ours.iter().chain(&foreign).map(String::as_str).chain(["import.new"]) {
            storage::make_folder(&conversations.join(name)).unwrap();
        }
        // Neither is a folder.
        fs::write(conversations.join("README"), "mine").unwrap();
        fs::write(conversations.join(id(6).to_hex()), "no repository").unwrap();
        sweep(&conversations, &mut state, OWN, NOW).unwrap();
        let mut left: Vec<_> = fs::read_dir(&conversations)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let mut expected = [foreign.to_vec(), vec!["README".to_owned(), id(6).to_hex()]].concat();
        expected.sort();
        assert_eq!(left, expected);
    }

    #[test]
    fn an_erased_copy_is_never_found_under_its_name_again() {
        let (_data, folder, conversations) = folder();
        let (copy, data) = (conversations.join(id(1).to_hex()), folder.join("conversation_data"));
        // A file in the place of what is known beside the history: it cannot be erased as a folder.
        fs::write(&data, "in the way").unwrap();
        assert!(erase(&copy, &data).is_err());
        assert!(copy.exists(), "so it is not said to be erased");
        fs::remove_file(&data).unwrap();
        storage::make_folder(&copy.with_extension(ERASED)).unwrap();
        erase(&copy, &data).unwrap();
        assert!(!copy.exists() && !copy.with_extension(ERASED).exists());
        erase(&copy, &data).unwrap();
    }

    #[test]
    fn what_was_left_is_kept_for_others_to_fetch_but_not_for_ever() {
        let (_data, _, conversations) = folder();
        let mut state = State::new(OWN, "name");
        for number in [1, 2, 4] {
            let record = ConversationRecord { removed: NOW, ..ConversationRecord::new(NOW, [OWN], 0) };
            state.conversations.insert(id(number), record).unwrap();
        }
        state.conversations.get_mut(id(2)).unwrap().erased = NOW;
        let soon = NOW.plus(std::time::Duration::from_secs(29 * 24 * 3600));
        sweep(&conversations, &mut state, OWN, soon).unwrap();
        let kept = |number| conversations.join(id(number).to_hex()).exists();
        assert!(kept(1), "nobody has fetched it");
        assert!(!kept(2), "somebody has fetched it");
        assert!(!state.conversations.get(id(4)).unwrap().is_leaving(), "it was never here");
        let late = NOW.plus(std::time::Duration::from_secs(30 * 24 * 3600));
        sweep(&conversations, &mut state, OWN, late).unwrap();
        assert!(!kept(1) && !state.conversations.get(id(1)).unwrap().is_leaving());
    }
}
