//! The checker, and the log joint of what has no error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vic::driver::{self, Session};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut session = Session::default();
    let mut checked = driver::check(&mut session, "fuzz.vi", &text);
    if !session.diags.has_errors() {
        let (joint, guide) = driver::derive(&mut checked);
        vic::derive::print(&joint, &checked.hir);
        guide.to_string();
    }
});
