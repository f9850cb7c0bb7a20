//! What a fit says to its reader: summaries, the table on the terminal, JSON, and the files of `--out`.

mod calibration;
mod compare;
mod contact;
mod diagnose;
mod discrete;
mod fit;
mod hash;
mod json;
mod out;
mod summary;
mod table;
pub mod tensors;
#[cfg(test)]
mod tests;
mod verdict;

pub use calibration::{Calibrated, Position, calibrated, calibration, passes};
pub use compare::{Difference, compare, comparison};
pub use contact::contact_sheet;
pub use diagnose::diagnosis;
pub use discrete::ReportDiscrete;
pub use fit::{Dim, FileHash, FitReport, ModeAt, ReportKind, ReportMode, ReportVar, Trace, Units};
pub use hash::{sha256, sha256_of};
pub use json::{fit_json, summary_json};
pub use out::OutDir;
pub use summary::{Summary, mean_sd, summaries};
pub use table::{TableStyle, listing, table};
pub use verdict::lines as verdict_lines;
