//! The `vic` program; see the library for everything it does.

use std::process::ExitCode;
use std::thread;

/// Functions that call functions make formulas nest deeper than any text does, and the compiler walks them by recursion. Of a
/// stack, only what is used takes memory.
const STACK: usize = 512 << 20;

fn main() -> ExitCode {
    match thread::Builder::new().stack_size(STACK).spawn(vic::cli::main) {
        Ok(main) => main.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        // Where so much address space is not to be had, what the system gives must do.
        Err(_) => vic::cli::main(),
    }
}
