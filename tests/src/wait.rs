//! Waiting for conditions with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Waits until `condition` holds; panics with `sentence` when `within` is over.
pub fn until(sentence: &str, within: Duration, mut condition: impl FnMut() -> bool) {
    until_some(sentence, within, || condition().then_some(()));
}

/// Waits until `look` finds something and returns it; panics with `sentence` otherwise.
pub fn until_some<T>(sentence: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within {within:?}: {sentence}");
        thread::park_timeout(LOOK_EVERY);
    }
}
