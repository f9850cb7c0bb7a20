//! Lexer and parser: any text has a tree and diagnostics; what parses without an error is laid out, and stays so.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vic::diag::Diags;
use vic::source::Sources;
use vic::syntax::{self, token::lex};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    lex(&text);
    let (mut sources, mut diags) = (Sources::default(), Diags::default());
    let file = sources.add("fuzz.vi", text.as_ref());
    syntax::parse(file, &sources.get(file).text, &mut diags);
    if !diags.has_errors() {
        let once = syntax::format(&sources.get(file).text);
        assert_eq!(syntax::format(&once), once, "formatting is idempotent");
    }
});
