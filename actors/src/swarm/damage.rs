//! Repositories that cannot be used any more: telling them from a system that refuses, and keeping
//! them, as they may hold messages that nobody else has.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::{fs, iter};

/// Ending of the folder of a repository that was set aside because it is damaged.
pub(crate) const DAMAGED: &str = "damaged";

/// Damaged repositories kept of one conversation. If a disk fails again and again, the first ones
/// hold what was written here, and the later ones what others have too.
const MAX_SET_ASIDE: usize = 4;

/// Moves a damaged repository away under a name of its own. If there are as many as are kept, it
/// replaces the last.
///
/// # Errors
/// What the system says; the repository is where it was then.
pub(super) fn set_aside(folder: &Path) -> io::Result<()> {
    let place = |number: usize| folder.with_extension(format!("{number}.{DAMAGED}"));
    let free = (1..MAX_SET_ASIDE).map(place).find(|place| !place.exists());
    let place = free.unwrap_or_else(|| place(MAX_SET_ASIDE));
    match fs::remove_dir_all(&place) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(folder, place)
}

/// What the system refused, if that is behind an error: no more files, room or memory, or a disk that
/// does not answer. Nothing follows from it for what is stored.
pub(super) fn refusal_of_system<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e io::Error> {
    let mut chain = iter::successors(Some(error), |error| (*error).source());
    chain.find_map(|error| error.downcast_ref::<io::Error>().filter(|error| is_refusal(error)))
}

fn is_refusal(error: &io::Error) -> bool {
    // Without a number it is not the system that speaks; and these say what is, or is not, there.
    let says_what_is_there = matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::InvalidInput
    );
    error.raw_os_error().is_some() && !says_what_is_there
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::replica::ReplicaError;
    use crate::swarm::repository::RepositoryError;

    #[test]
    fn a_repository_set_aside_does_not_replace_those_before() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("aa");
        for number in 1..=6 {
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("number"), number.to_string()).unwrap();
            set_aside(&folder).unwrap();
            assert!(!folder.exists());
        }
        let mut kept: Vec<_> = fs::read_dir(place.path())
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                assert_eq!(path.extension().unwrap(), DAMAGED);
                fs::read_to_string(path.join("number")).unwrap()
            })
            .collect();
        kept.sort();
        assert_eq!(kept, ["1", "2", "3", "6"]);
    }

    #[test]
    fn what_the_system_refuses_is_no_damage() {
        let io = |number| RepositoryError::Io {
            path: "objects".into(),
            source: io::Error::from_raw_os_error(number),
        };
        let (no_more_files, no_room, failing_disk) = (24, 28, 5);
        for number in [no_more_files, no_room, failing_disk] {
            assert!(!ReplicaError::from(io(number)).is_damage());
        }
        let cut_off = RepositoryError::Store { path: "objects".into(), message: "cut off".to_owned() };
        assert!(ReplicaError::from(cut_off).is_damage());
    }
}
