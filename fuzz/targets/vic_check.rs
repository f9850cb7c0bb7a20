//! What `vic check` does with a file: checking, and every diagnostic shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vic::diag::{RenderStyle, render};
use vic::driver::{self, Session};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut session = Session::default();
    driver::check(&mut session, "fuzz.vi", &text);
    for (width, color, unicode) in [(100, false, true), (40, true, false)] {
        for d in session.diags.sorted() {
            render(d, &session.sources, RenderStyle { width, color, unicode });
        }
    }
});
