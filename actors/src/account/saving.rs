//! How changes of an account become durable: one write at a time, for all that have come until then.

use super::actor::AccountActor;
use super::identity::storage_error;
use super::messages::AccountError;
use super::state::{self, Dirty};
use crate::blocking::Lane;
use crate::supervision::Scope;

impl AccountActor {
    /// Writes what has changed, and then tells `done`. Changes that come while a write is under
    /// way go out together with the next.
    pub(super) fn save(
        &mut self,
        dirty: Dirty,
        scope: &mut Scope<'_, Self>,
        done: impl FnOnce(Result<(), AccountError>) + 'static,
    ) {
        self.save_then(dirty, scope, |_, saved, _| done(saved));
    }

    /// As [`Self::save`], with a turn of its own for what follows.
    pub(super) fn save_then(
        &mut self,
        dirty: Dirty,
        scope: &mut Scope<'_, Self>,
        done: impl FnOnce(&mut Self, Result<(), AccountError>, &mut Scope<'_, Self>) + 'static,
    ) {
        let Some(running) = &mut self.running else { return };
        running.dirty.add(dirty);
        running.waiting.push(Box::new(done));
        if !running.saving {
            self.write(scope);
        }
    }

    fn write(&mut self, scope: &mut Scope<'_, Self>) {
        let share = self.share();
        let Some(running) = &mut self.running else { return };
        running.saving = true;
        let dirty = std::mem::take(&mut running.dirty);
        let files = running.state.files(dirty);
        let waiting = std::mem::take(&mut running.waiting);
        if dirty.has_people() {
            running.devices.lists = state::digests(&files, running.devices.lists);
            self.push_devices(scope);
            self.want_names();
        }
        let (pool, folder) = (self.config.pool.clone(), self.config.folder.clone());
        let write = async move {
            let write = move || state::write(&folder, &files).map_err(storage_error);
            pool.run(share, Lane::Quick, write).await.unwrap_or_else(|error| Err(error.into()))
        };
        scope.spawn(write, |account, written, scope| {
            for done in waiting {
                done(account, written.clone(), scope);
            }
            let Some(running) = &mut account.running else { return };
            running.saving = false;
            if written.is_err() {
                // What was not written is written with the next change.
                running.dirty.add(Dirty::ALL);
            }
            // Whoever waits must be answered; what nobody waits for is not tried in a circle.
            if !running.waiting.is_empty() || (written.is_ok() && running.dirty != Dirty::default()) {
                account.write(scope);
            }
        });
    }
}
