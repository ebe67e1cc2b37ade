//! Where blocking work runs: git, disk and RSA, never on an actor's thread.
//!
//! The pool runs a few jobs at a time on tokio's blocking threads. What waits is kept in one queue
//! for each share (an account), served in turn, so that an account with a thousand jobs delays
//! another one's by one job. Jobs that take long (packs, whole histories, searches) are
//! [`Lane::Bulk`] and never take the last places, so a message can be signed while a clone is
//! validated. Neither do they together with those of [`Lane::Files`], whose disks may hang. Those that start the
//! sound of calls have places of their own ([`Lane::Sound`]). A job must not wait for the network: a silent peer
//! would hold its place.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Jobs that may wait for each share and lane; a burst of sends is one job, so this is generous.
pub const MAX_WAITING_PER_SHARE: usize = 1024;

/// Sound jobs that run at once, beside all others: each takes milliseconds unless its sound server hangs.
const SOUND_WORKERS: usize = 4;

/// How long a job takes, so that the long ones leave room for the short ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Pipelines of calls, while people wait for each other's voice. A sound server may hang, so these take places
    /// of their own.
    Sound,
    /// Milliseconds: sign and commit, read a page.
    Quick,
    /// Short, unless the disk is slow or hangs, as network disks do: files that the owner exchanges.
    Files,
    /// Up to minutes: packs, validation of a clone, search, key generation.
    Bulk,
}

/// Whose work it is: jobs of different shares take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(pub u64);

/// Why a job has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// Too many jobs of this share wait already.
    #[error("too much work is waiting for this account ({MAX_WAITING_PER_SHARE} jobs); try again later")]
    Full,
    /// The job panicked; the panic is in the log.
    #[error("the work failed unexpectedly; the log says why")]
    Panicked,
}

/// What a short job comes to.
#[derive(Debug)]
pub enum Then<T, L> {
    /// Its result.
    Done(T),
    /// A long job, which has the result.
    Bulk(L),
}

/// A job, which may leave a long one to be done after it.
type Job = Box<dyn FnOnce() -> Option<LongJob> + Send>;

/// What it leaves, which is told whether it was taken.
type LongJob = Box<dyn FnOnce(Result<(), PoolError>) + Send>;

/// The pool. Cheap to clone.
#[derive(Clone)]
pub struct BlockingPool {
    state: Arc<Mutex<State>>,
    workers: usize,
    bulk_workers: usize,
}

#[derive(Default)]
struct State {
    lanes: BTreeMap<Lane, Queues>,
    /// Without those of sound.
    running: usize,
    running_sound: usize,
    running_files: usize,
    running_bulk: usize,
    #[cfg(test)]
    submitted: usize,
}

/// The waiting jobs of one lane, by share, in the order in which shares are served.
#[derive(Default)]
struct Queues {
    turn: VecDeque<Share>,
    jobs: BTreeMap<Share, VecDeque<Job>>,
}

impl Queues {
    fn has_room(&self, share: Share) -> bool {
        self.jobs.get(&share).is_none_or(|jobs| jobs.len() < MAX_WAITING_PER_SHARE)
    }

    fn push(&mut self, share: Share, job: Job) {
        let jobs = self.jobs.entry(share).or_default();
        if jobs.is_empty() {
            self.turn.push_back(share);
        }
        jobs.push_back(job);
    }

    fn pop(&mut self) -> Option<(Share, Job)> {
        let share = self.turn.pop_front()?;
        let jobs = self.jobs.get_mut(&share)?;
        let job = jobs.pop_front();
        if jobs.is_empty() {
            self.jobs.remove(&share);
        } else {
            self.turn.push_back(share);
        }
        Some((share, job?))
    }
}

impl BlockingPool {
    /// A pool that runs at most `workers` jobs at once (at least two), half of them bulk.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let workers = workers.max(2);
        Self { state: Arc::default(), workers, bulk_workers: workers / 2 }
    }

    /// Runs `job` when it is its share's turn. Dropping the future does not stop a job that runs.
    ///
    /// # Errors
    /// [`PoolError`] when it was not taken or panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        share: Share,
        lane: Lane,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move || {
            answer(sender, job);
            None
        });
        self.submit(share, lane, job)?;
        receiver.await.map_err(|_| PoolError::Panicked)
    }

    /// Drops something that is on the disk, when it is its share's turn; for what others may not wait for. It is never
    /// refused: there are no more such things than there were jobs.
    pub fn drop_later<T: Send + 'static>(&self, share: Share, thing: T) {
        let job: Job = Box::new(move || {
            drop(thing);
            None
        });
        let mut state = self.lock();
        state.lanes.entry(Lane::Bulk).or_default().push(share, job);
        self.start_next(state);
    }

    /// Runs a short `job`, and what it leaves to be done as bulk work, without a turn of the asker between them: on a
    /// busy machine each is waited for.
    ///
    /// # Errors
    /// [`PoolError`] when it was not taken or one of the two panicked.
    pub async fn run_then<T: Send + 'static, L: FnOnce() -> T + Send + 'static>(
        &self,
        share: Share,
        job: impl FnOnce() -> Then<T, L> + Send + 'static,
    ) -> Result<T, PoolError> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move || {
            if sender.is_closed() {
                return None;
            }
            match catch_unwind(AssertUnwindSafe(job)).ok()? {
                Then::Done(result) => {
                    let _ = sender.send(Ok(result));
                    None
                }
                Then::Bulk(long) => Some(Box::new(move |taken| match taken {
                    Ok(()) => answer(sender, || Ok(long())),
                    Err(error) => _ = sender.send(Err(error)),
                })),
            }
        });
        self.submit(share, Lane::Quick, job)?;
        receiver.await.map_err(|_| PoolError::Panicked)?
    }

    /// How many jobs it was given.
    #[cfg(test)]
    pub(crate) fn submitted(&self) -> usize {
        self.lock().submitted
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, share: Share, lane: Lane, job: Job) -> Result<(), PoolError> {
        let mut state = self.lock();
        let queues = state.lanes.entry(lane).or_default();
        if !queues.has_room(share) {
            // What the job holds may need the pool when it is dropped.
            drop(state);
            drop(job);
            return Err(PoolError::Full);
        }
        queues.push(share, job);
        #[cfg(test)]
        {
            state.submitted += 1;
        }
        self.start_next(state);
        Ok(())
    }

    fn start_next(&self, mut state: MutexGuard<'_, State>) {
        let next = self.take(&mut state);
        drop(state);
        if let Some(next) = next {
            let pool = self.clone();
            tokio::task::spawn_blocking(move || pool.work(next));
        }
    }

    /// Takes a job and a place for it, if there are both.
    fn take(&self, state: &mut State) -> Option<Taken> {
        if state.running_sound < SOUND_WORKERS
            && let Some((share, job)) = state.lanes.get_mut(&Lane::Sound).and_then(Queues::pop)
        {
            state.running_sound += 1;
            return Some(Taken { share, lane: Lane::Sound, job });
        }
        if state.running >= self.workers {
            return None;
        }
        let (files, bulk) = (state.running_files, state.running_bulk);
        // The last place is for quick work.
        let is_room = files + bulk + 1 < self.workers;
        let (is_room_for_files, is_room_for_bulk) =
            (is_room && files < self.bulk_workers, is_room && bulk < self.bulk_workers);
        let mut lanes = state.lanes.iter_mut().filter(|(lane, _)| match lane {
            Lane::Sound => false,
            Lane::Quick => true,
            Lane::Files => is_room_for_files,
            Lane::Bulk => is_room_for_bulk,
        });
        let (lane, (share, job)) = lanes.find_map(|(lane, queues)| Some((*lane, queues.pop()?)))?;
        state.running += 1;
        state.running_files += usize::from(lane == Lane::Files);
        state.running_bulk += usize::from(lane == Lane::Bulk);
        Some(Taken { share, lane, job })
    }

    /// Runs a job and then whatever waits.
    fn work(&self, first: Taken) {
        let mut current = Some(first);
        while let Some(Taken { share, lane, job }) = current {
            let left = job();
            let mut state = self.lock();
            state.running -= usize::from(lane != Lane::Sound);
            state.running_sound -= usize::from(lane == Lane::Sound);
            state.running_files -= usize::from(lane == Lane::Files);
            state.running_bulk -= usize::from(lane == Lane::Bulk);
            let refused = left.and_then(|long| {
                let queues = state.lanes.entry(Lane::Bulk).or_default();
                if !queues.has_room(share) {
                    return Some(long);
                }
                let job = move || {
                    long(Ok(()));
                    None
                };
                queues.push(share, Box::new(job));
                None
            });
            current = self.take(&mut state);
            drop(state);
            if let Some(long) = refused {
                long(Err(PoolError::Full));
            }
        }
    }
}

/// Runs a job whose result somebody waits for.
fn answer<T>(sender: oneshot::Sender<T>, job: impl FnOnce() -> T) {
    if sender.is_closed() {
        // Nobody waits for it any more.
        return;
    }
    // The panic hook has logged it; the missing answer tells the asker.
    if let Ok(result) = catch_unwind(AssertUnwindSafe(job)) {
        let _ = sender.send(result);
    }
}

/// A job that has a place.
struct Taken {
    share: Share,
    lane: Lane,
    job: Job,
}

impl fmt::Debug for BlockingPool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BlockingPool({} workers)", self.workers)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn results_come_back_and_a_panic_is_an_error() {
        let pool = BlockingPool::new(2);
        assert_eq!(pool.run(Share(1), Lane::Quick, || 7).await, Ok(7));
        assert_eq!(
            pool.run(Share(1), Lane::Quick, || panic!("as told")).await,
            Err::<(), _>(PoolError::Panicked)
        );
        assert_eq!(pool.run(Share(1), Lane::Bulk, || 8).await, Ok(8));
    }

    #[tokio::test]
    async fn what_a_short_job_leaves_is_done_as_bulk_work_and_answers_for_both() {
        let pool = BlockingPool::new(2);
        let long = |bulk: bool| {
            let pool = pool.clone();
            async move {
                let job = move || if bulk { Then::Bulk(|| 8) } else { Then::Done(7) };
                pool.run_then(Share(1), job).await
            }
        };
        assert_eq!(long(false).await, Ok(7));
        assert_eq!(long(true).await, Ok(8));
        let panics = pool.run_then(Share(1), || Then::<(), _>::Bulk(|| panic!("as told"))).await;
        assert_eq!(panics, Err(PoolError::Panicked));

        // While the place of bulk work is taken, it waits, and quick work passes by.
        let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
        let holder = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(Share(2), Lane::Bulk, move || _ = held.recv()).await }
        });
        while pool.lock().running_bulk < 1 {
            tokio::task::yield_now().await;
        }
        let waiting = tokio::spawn(long(true));
        while pool.lock().lanes.get(&Lane::Bulk).is_none_or(|queues| queues.turn.is_empty()) {
            tokio::task::yield_now().await;
        }
        assert_eq!(long(false).await, Ok(7));
        assert!(!waiting.is_finished());
        drop(release);
        assert_eq!(waiting.await.unwrap(), Ok(8));
        holder.await.unwrap().unwrap();
        while pool.lock().running > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.lock().running_bulk, 0);
    }

    #[tokio::test]
    async fn files_on_a_disk_that_hangs_leave_a_place_for_messages() {
        let pool = BlockingPool::new(4);
        let (release, hangs) = std::sync::mpsc::sync_channel::<()>(0);
        let hangs = Arc::new(Mutex::new(hangs));
        let jobs = [Lane::Files, Lane::Files, Lane::Files, Lane::Bulk, Lane::Bulk].map(|lane| {
            let (pool, hangs) = (pool.clone(), Arc::clone(&hangs));
            tokio::spawn(
                async move { pool.run(Share(0), lane, move || _ = hangs.lock().unwrap().recv()).await },
            )
        });
        while pool.lock().running < 3 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(Share(0), Lane::Quick, || 7).await, Ok(7));
        drop(release);
        for job in jobs {
            job.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn sound_starts_while_everything_else_waits_and_one_that_hangs_holds_up_neither() {
        let pool = BlockingPool::new(2);
        let (release, hangs) = std::sync::mpsc::sync_channel::<()>(0);
        let hangs = Arc::new(Mutex::new(hangs));
        let jobs = [Lane::Bulk, Lane::Quick, Lane::Sound].map(|lane| {
            let (pool, hangs) = (pool.clone(), Arc::clone(&hangs));
            tokio::spawn(
                async move { pool.run(Share(0), lane, move || _ = hangs.lock().unwrap().recv()).await },
            )
        });
        while pool.lock().running < 2 || pool.lock().running_sound < 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(Share(0), Lane::Sound, || 7).await, Ok(7));
        drop(release);
        for job in jobs {
            job.await.unwrap().unwrap();
        }
        assert_eq!(pool.run(Share(0), Lane::Quick, || 8).await, Ok(8));
    }

    #[tokio::test]
    async fn shares_take_turns_and_bulk_work_leaves_room() {
        let pool = BlockingPool::new(2);
        let order = Arc::new(Mutex::new(Vec::new()));
        let (bulk, quick) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let hold = |barrier: &Arc<Barrier>, lane| {
            let (pool, barrier) = (pool.clone(), Arc::clone(barrier));
            tokio::spawn(async move {
                pool.run(Share(0), lane, move || {
                    barrier.wait();
                })
                .await
            })
        };
        let first = hold(&bulk, Lane::Bulk);
        let second = hold(&quick, Lane::Quick);
        while pool.lock().running < 2 {
            tokio::task::yield_now().await;
        }
        let mut waiting = Vec::new();
        for (share, count) in [(1, 3), (2, 2)] {
            for _ in 0..count {
                let (pool, order) = (pool.clone(), Arc::clone(&order));
                waiting.push(tokio::spawn(async move {
                    pool.run(Share(share), Lane::Quick, move || order.lock().unwrap().push(share)).await
                }));
                tokio::task::yield_now().await;
            }
        }
        // The bulk job still holds its place: the quick ones all pass by it, one worker, in turn.
        quick.wait();
        for job in waiting {
            job.await.unwrap().unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [1, 2, 1, 2, 1]);
        bulk.wait();
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
        // A worker gives its answer first and then its place back.
        while pool.lock().running > 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Needs the pool when it is dropped.
    struct Asks(BlockingPool);

    impl Drop for Asks {
        fn drop(&mut self) {
            self.0.drop_later(Share(1), ());
        }
    }

    #[tokio::test]
    async fn a_share_cannot_queue_without_bound_and_what_is_refused_may_use_the_pool() {
        let pool = BlockingPool::new(2);
        let holders: Vec<_> = [Lane::Bulk, Lane::Quick]
            .map(|lane| {
                let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
                let mut job = Box::pin({
                    let pool = pool.clone();
                    async move { pool.run(Share(2), lane, move || _ = held.recv()).await }
                });
                assert!((&mut job).now_or_never().is_none());
                (release, job)
            })
            .into();
        let mut waiting: Vec<_> = (0..MAX_WAITING_PER_SHARE)
            .map(|_| {
                let pool = pool.clone();
                Box::pin(async move { pool.run(Share(1), Lane::Bulk, || ()).await })
            })
            .collect();
        assert!(waiting.iter_mut().all(|job| job.now_or_never().is_none()));
        let asks = Asks(pool.clone());
        assert_eq!(pool.run(Share(1), Lane::Bulk, move || drop(asks)).await, Err(PoolError::Full));
        assert!(pool.run(Share(3), Lane::Bulk, || ()).now_or_never().is_none(), "others have room");
        let mut leaves = Box::pin({
            let (pool, asks) = (pool.clone(), Asks(pool.clone()));
            async move { pool.run_then(Share(1), || Then::Bulk(move || drop(asks))).await }
        });
        assert!((&mut leaves).now_or_never().is_none());
        let [(bulk, first), (quick, second)] = <[_; 2]>::try_from(holders).ok().unwrap();
        drop(quick);
        second.await.unwrap();
        assert_eq!(leaves.await, Err(PoolError::Full), "there is no room for what it leaves");
        drop(bulk);
        first.await.unwrap();
        for job in waiting {
            job.await.unwrap();
        }
    }
}
