//! A fault of daemons of 2023 that others can neither cause nor mend: one that hears of a commit from several members
//! at once now and then believes for ever that it fetches. It goes on answering everybody, is told of what is new
//! and reminded of it, writes down each time that it looks for that, and asks nobody. None of its threads waits
//! for anything then. Its owner has to start it anew.

use std::fs;
use std::time::Duration;

use super::Daemon;
use super::process::log;
use crate::harness::{Failure, Result};

/// How long a daemon may take on a busy machine for what takes it a second, until its log is looked at.
const USUAL: Duration = Duration::from_secs(45);

/// What it logs when it is about to look for what it was told of: where, and what. Colours may come between.
const LOOKS: [&str; 2] = ["conversation.cpp ", "Sync "];

/// What it logs when it has got something, or written it.
const GETS: [&str; 3] = ["Validate commit ", "Merge analysis result", "New message added"];

/// How often in a row it has been about to look in vain when it stands still: it was told by the one who has
/// news, and reminded.
const IN_VAIN: usize = 3;

impl Daemon {
    /// Waits for what needs a fetch. If the daemon stands still meanwhile, it is started anew; once, for what
    /// happens twice in a test is no accident of the daemon. `more` is waited for then, in which somebody else has
    /// to commit something: a daemon that stood still shows what it had fetched only with what it fetches next.
    ///
    /// # Errors
    /// Those of `wait`, which is tried twice at most, and of [`Self::restart`].
    pub async fn unless_it_stands_still<T>(
        &mut self,
        wait: impl AsyncFn(&Self) -> Result<T>,
        more: impl Future<Output = ()>,
    ) -> Result<T> {
        if let Ok(done) = tokio::time::timeout(USUAL, wait(self)).await {
            return done;
        }
        let path = log(self.folder());
        let log = fs::read(&path).map_err(Failure::file(&path))?;
        if !self.stood_still && stands_still(&String::from_utf8_lossy(&log)) {
            self.stood_still = true;
            #[allow(clippy::print_stderr, reason = "whoever runs the tests counts how often this happens")]
            {
                eprintln!(
                    "{}: stands still, as daemons of 2023 sometimes do; it is started anew",
                    self.name()
                );
            }
            self.restart().await?;
            more.await;
        }
        wait(self).await
    }
}

fn stands_still(log: &str) -> bool {
    let since = log.lines().rev().take_while(|line| !GETS.iter().any(|gets| line.contains(gets)));
    since.filter(|line| LOOKS.iter().all(|part| line.contains(part))).count() >= IN_VAIN
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: &str = "[1795462423.127|7593|conversation.cpp        :1213] Sync a176 with 3b3b\n";
    const COLOURED: &str = "\u{1b}[0m\u{1b}[22;36m[1795478342.540|19237|conversation.cpp        :1213] \u{1b}[0mSync 8fa7 with 9763\n";
    const VALID: &str = "[1795462423.320|7661|conversationrepository.cpp:2771] Validate commit cabf\n";

    #[test]
    fn who_looks_for_news_again_and_again_and_gets_nothing_stands_still() {
        assert!(!stands_still(""));
        assert!(!stands_still(&[SYNC, SYNC, SYNC, VALID, SYNC, SYNC].concat()));
        assert!(stands_still(&[VALID, SYNC, SYNC, SYNC].concat()));
        assert!(stands_still(&[VALID, COLOURED, COLOURED, COLOURED].concat()));
    }
}
