//! The command line: arguments in, exit code out. What the commands do is in [`crate::driver`].

mod args;
mod calibrate;
mod check;
mod compare;
mod deny;
mod diagnose;
mod encode;
mod explain;
mod files;
mod findings;
mod fit;
mod fmt;
mod generate;
mod impute;
mod interrupt;
mod lsp;
mod predict;
mod progress;
mod rows;
mod saved;
mod score;
mod show;
mod simulate;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use terminal::Terminal;

/// No error, and a fit converged.
const OK: u8 = 0;
/// An error in the model, the data or the values of flags; standard error says which.
const ERROR: u8 = 1;
// 2: the arguments do not form a command (clap's own code).
/// A fit that did not converge; its results are written and printed all the same.
const NOT_CONVERGED: u8 = 3;
/// Interrupted from the keyboard; as a shell reports a program ended by SIGINT.
const INTERRUPTED: u8 = 130;

/// Run the command that the arguments of the process ask for.
pub fn main() -> ExitCode {
    let terminal = Terminal::of_process();
    let code = match Cli::parse().command {
        Command::Fit(args) => fit::run(&args, &terminal),
        Command::Check(args) => check::run(&args, &terminal),
        Command::Show(args) => show::run(&args, &terminal),
        Command::Simulate(args) => simulate::run(&args, &terminal),
        Command::Calibrate(args) => calibrate::run(&args, &terminal),
        Command::Compare(args) => compare::run(&args, &terminal),
        Command::Diagnose(args) => diagnose::run(&args, &terminal),
        Command::Predict(args) => predict::run(&args, &terminal),
        Command::Encode(args) => encode::run(&args, &terminal),
        Command::Score(args) => score::run(&args, &terminal),
        Command::Generate(args) => generate::run(&args, &terminal),
        Command::Impute(args) => impute::run(&args, &terminal),
        Command::Fmt(args) => fmt::run(&args, &terminal),
        Command::Explain(args) => explain::run(&args, &terminal),
        Command::Lsp(_) => lsp::run(&terminal),
    };
    ExitCode::from(code)
}
