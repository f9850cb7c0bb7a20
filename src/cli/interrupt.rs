//! Ctrl-C during a fit: the first asks it to stop where it is, the second ends the process at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::INTERRUPTED;

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on an interrupt sets the returned flag. Before the first call it ends the process, as usual.
pub fn watch() -> Arc<AtomicBool> {
    let flag = ASKED.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        let asked = flag.clone();
        // Where no handler can be installed, an interrupt goes on ending the process: nothing is lost by it.
        _ = ctrlc::set_handler(move || {
            if asked.swap(true, Ordering::Relaxed) {
                std::process::exit(i32::from(INTERRUPTED));
            }
        });
        flag
    });
    flag.clone()
}

/// Whether a watched fit was interrupted.
pub fn happened() -> bool {
    ASKED.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}
