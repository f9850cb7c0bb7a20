//! What a fit says to its reader: summaries, the table on the terminal, JSON, and the files of `--out`.

mod fit;

pub use fit::{Dim, FileHash, FitReport, ReportKind, ReportVar, Trace};
