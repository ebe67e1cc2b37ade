//! Tests whose time passes only when they say so.

use std::future::Future;
use std::time::Duration;

/// Runs a test as a task among those of the actors, in a time that stands still unless it is told to
/// pass: a runtime that is never idle does not move it.
pub(crate) fn run(test: impl Future<Output = ()> + 'static) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::task::spawn_local(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        tokio::task::spawn_local(test).await.unwrap();
    });
}

/// Waits while everything that is ready goes on, without time passing in the test.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(30), "it never happened");
        tokio::task::yield_now().await;
    }
}

/// Has time pass.
pub(crate) async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}
