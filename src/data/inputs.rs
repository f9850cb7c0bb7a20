//! What the command line brings besides the model.

/// Data files and `--set` values, as the user gave them.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    pub files: Vec<DataFile>,
    /// `--set K=3` as `("K", "3")`.
    pub sets: Vec<(String, String)>,
}

/// One data file, already read.
#[derive(Clone, Debug)]
pub struct DataFile {
    /// The table before `=` in `houses=houses.csv`.
    pub table: Option<String>,
    /// The path as typed: what messages call it.
    pub name: String,
    pub bytes: Vec<u8>,
}
