//! Erasing what a stop or crash left of conversations, when an account is loaded.

use std::path::Path;
use std::{fs, io};

use skep_protocol::ids::{AccountId, ConversationId};
use skep_protocol::swarm::message::Mode;
use skep_protocol::sync::ConversationRecord;
use skep_protocol::time::UnixMillis;

use super::leaving;
use super::state::State;
use crate::swarm::DAMAGED;

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
        let path = entry?.path();
        let id = path.file_name().and_then(|name| name.to_str()?.parse::<ConversationId>().ok());
        let record = id.and_then(|id| state.conversations.get(id));
        let set_aside = path.extension().is_some_and(|ending| ending == DAMAGED);
        if let (Some(id), None, true) = (id, record, state.records_lost) {
            tracing::warn!(%id, "a conversation without a record is taken up again");
            let record = ConversationRecord::new(now, [own], Mode::OneToOne.number());
            if let Err(error) = state.conversations.insert(id, record) {
                tracing::error!(%id, %error, "it stays on disk unused");
            }
        } else if !set_aside && record.is_none_or(|record| record.is_removed() && !record.is_leaving()) {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use skep_protocol::ids::LocalAccountId;

    use super::*;
    use crate::account::identity::AccountFolder;
    use crate::storage;

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
        for name in [id(1).to_hex(), id(2).to_hex(), format!("{}.clone", id(3))] {
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
        assert!(!conversations.join(format!("{}.clone", id(3))).exists());
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
