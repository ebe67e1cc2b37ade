//! How transfers look to the owner.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use skep_protocol::ids::{CommitId, DeviceId};
use skep_protocol::time::Moment;
use skep_protocol::transfer::MAX_UNKNOWN;

use super::super::here::Beginning;
use super::super::messages::{Direction, TransferState, TransferView};
use super::{LOOK, Partial, Sent, TransfersActor, Wish};
use crate::supervision::Scope;

impl Wish {
    pub(super) const fn message(&self) -> CommitId {
        self.wished.file.id.commit()
    }

    /// Whether it takes one of the few places.
    pub(super) fn is_active(&self) -> bool {
        self.wanted.is_active() || matches!(self.partial, Partial::Reading)
    }

    /// Where a device that is asked now is to begin.
    pub(super) fn start_for(&self, device: DeviceId, here: &Beginning) -> u64 {
        if self.unmixed && here.from != Some(device) { 0 } else { here.prefix.length() }
    }

    /// Gives back the room that it was promised; what is known of the partial file is kept.
    pub(super) fn rest(&mut self) {
        if let Partial::Read { here, .. } = &mut self.partial {
            self.partial = Partial::Rests(Some(std::mem::take(here)));
        }
    }

    /// Bytes that may still come, once there was found room for them, or while it is looked for.
    pub(super) fn promised(&self) -> u64 {
        let limit = match (&self.running, &self.partial) {
            (Some(running), _) => running.limit,
            (None, Partial::Read { limit, .. }) => *limit,
            (None, Partial::Reading) => MAX_UNKNOWN,
            (None, Partial::Rests(_)) => return 0,
        };
        let file = &self.wished.file;
        let is_unknown = file.size == 0 && !file.is_empty();
        if is_unknown { limit } else { file.size.saturating_sub(self.position) }
    }

    pub(super) fn view(&self, state: TransferState, path: Option<PathBuf>) -> TransferView {
        let so_far = self.running.as_ref().map(|running| running.position.load(Ordering::Relaxed));
        TransferView {
            conversation: self.wished.conversation,
            message: self.message(),
            name: self.wished.file.name.clone(),
            direction: Direction::Receiving,
            state,
            position: so_far.unwrap_or(self.position),
            size: self.wished.file.size,
            rate: if self.running.is_some() { self.rate } else { 0 },
            device: self.running.as_ref().map(|running| running.device),
            path,
            problem: self.problem.clone(),
        }
    }

    pub(super) fn view_now(&self) -> TransferView {
        let state = if self.running.is_some() { TransferState::Running } else { TransferState::Waiting };
        self.view(state, None)
    }

    /// Looks how far it is; says how many bytes have come.
    fn look(&mut self, now: Moment) -> u64 {
        let Some(running) = &self.running else { return 0 };
        let position = running.position.load(Ordering::Relaxed);
        let new = position.saturating_sub(self.position);
        let rate = per_second(new, now.since(self.looked));
        // A running mean, so that bars do not jump.
        self.rate = if self.rate == 0 { rate } else { self.rate / 2 + rate / 2 };
        self.position = position;
        self.looked = now;
        new
    }
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    bytes.saturating_mul(1000) / millis
}

impl Sent {
    /// Bytes a second since it was accepted.
    pub(super) fn rate(&self, now: Moment) -> u64 {
        per_second(self.progress.sent(), self.progress.time().unwrap_or_else(|| now.since(self.began)))
    }

    fn view(&self, now: Moment) -> TransferView {
        let (conversation, file) = &self.key;
        let (position, size) = (&self.progress.position, &self.progress.size);
        let position = position.load(Ordering::Relaxed);
        TransferView {
            conversation: *conversation,
            message: file.commit(),
            name: self.progress.name.get().cloned().unwrap_or_else(|| file.to_string()),
            direction: Direction::Sending,
            state: TransferState::Running,
            position,
            size: size.load(Ordering::Relaxed),
            rate: self.rate(now),
            device: Some(self.device),
            path: None,
            problem: None,
        }
    }
}

impl TransfersActor {
    pub(super) fn list(&self, scope: &Scope<'_, Self>) -> Vec<TransferView> {
        let receiving = self.wishes.values().map(Wish::view_now);
        receiving.chain(self.sending.values().map(|sent| sent.view(scope.now()))).collect()
    }

    /// Looks at what runs, again and again while something does: tells the owner, and ends transfers
    /// whose sender is silent.
    pub(super) fn look_later(&mut self, scope: &mut Scope<'_, Self>) {
        if self.looking.is_some() || self.wishes.values().all(|wish| wish.running.is_none()) {
            return;
        }
        self.looking = Some(scope.after(LOOK, |files, scope| {
            files.looking = None;
            let now = scope.now();
            let mut told = Vec::new();
            for wish in files.wishes.values_mut() {
                let new = wish.look(now);
                wish.wanted.heard(new, now);
                if new > 0 {
                    told.push(wish.view_now());
                }
                if wish.wanted.stalled(now).is_some()
                    && let Some(running) = &mut wish.running
                {
                    running.stop = None;
                }
            }
            for view in told {
                files.emit(view, scope);
            }
            files.look_later(scope);
        }));
    }
}
