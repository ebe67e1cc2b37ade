//! No panic is silent: a hook logs each one through tracing and counts it.

use std::any::Any;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

static PANICS: AtomicU64 = AtomicU64::new(0);
static HOOK: Once = Once::new();

/// Logs and counts every panic of the process from now on, before the hook that was there says its
/// own. Calling it again does nothing.
pub fn install_panic_hook() {
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            let place = info.location().map_or_else(String::new, ToString::to_string);
            tracing::error!(place, "panic: {}", describe(info.payload()));
            before(info);
        }));
    });
}

/// How many panics the hook has seen in this process.
pub(super) fn panic_count() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// The text of a panic, for logs.
pub(super) fn describe(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without text".to_owned())
}
