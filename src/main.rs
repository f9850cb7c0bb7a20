//! The `vic` program; see the library for everything it does.

fn main() -> std::process::ExitCode {
    vic::cli::main()
}
