//! Files that keep the state of a fit, to go on from.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What every checkpoint begins with; the number is the format's.
const MAGIC: &[u8] = b"vic checkpoint 3\n";
/// A running fit writes its checkpoint at most this often.
pub const EVERY: Duration = Duration::from_secs(10);

/// Where a fit keeps its checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub path: PathBuf,
    /// Go on from what the file holds; else it must not exist yet.
    pub resume: bool,
}

/// Why a checkpoint cannot be written or gone on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointError {
    Exists,
    Unreadable(String),
    Unwritable(String),
    /// Not a checkpoint, or only part of one.
    Damaged,
    /// Of another model, other data, other options, or a machine that computes other bits.
    Foreign,
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            CheckpointError::Exists => f.write_str("the checkpoint exists already"),
            CheckpointError::Unreadable(why) => write!(f, "the checkpoint cannot be read: {why}"),
            CheckpointError::Unwritable(why) => write!(f, "the checkpoint cannot be written: {why}"),
            CheckpointError::Damaged => f.write_str("this is not a whole checkpoint"),
            CheckpointError::Foreign => f.write_str("the checkpoint is not of this fit"),
        }
    }
}

/// The state to go on from; nothing for a fit that begins.
pub fn begin<T: DeserializeOwned>(at: &Checkpoint, fingerprint: u64) -> Result<Option<T>, CheckpointError> {
    if at.resume {
        return read(&at.path, fingerprint).map(Some);
    }
    if at.path.exists() { Err(CheckpointError::Exists) } else { Ok(None) }
}

/// Write a checkpoint. Whatever happens meanwhile, one whole checkpoint is on the disk.
pub fn write<T: Serialize>(path: &Path, fingerprint: u64, state: &T) -> Result<(), CheckpointError> {
    let unwritable = |e: &dyn fmt::Display| CheckpointError::Unwritable(e.to_string());
    let body = postcard::to_stdvec(state).map_err(|e| unwritable(&e))?;
    let mut beside = path.to_path_buf().into_os_string();
    beside.push(".part");
    let written = fs::File::create(&beside).and_then(|mut file| {
        file.write_all(MAGIC)?;
        file.write_all(&checksum(&body).to_le_bytes())?;
        file.write_all(&fingerprint.to_le_bytes())?;
        file.write_all(&body)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    written.map_err(|e| {
        _ = fs::remove_file(&beside);
        unwritable(&e)
    })
}

fn read<T: DeserializeOwned>(path: &Path, fingerprint: u64) -> Result<T, CheckpointError> {
    let bytes = fs::read(path).map_err(|e| CheckpointError::Unreadable(e.to_string()))?;
    let rest = bytes.strip_prefix(MAGIC).ok_or(CheckpointError::Damaged)?;
    let (sum, rest) = rest.split_first_chunk::<8>().ok_or(CheckpointError::Damaged)?;
    let (whose, body) = rest.split_first_chunk::<8>().ok_or(CheckpointError::Damaged)?;
    if u64::from_le_bytes(*sum) != checksum(body) {
        return Err(CheckpointError::Damaged);
    }
    if u64::from_le_bytes(*whose) != fingerprint {
        return Err(CheckpointError::Foreign);
    }
    postcard::from_bytes(body).map_err(|_| CheckpointError::Damaged)
}

/// FNV-1a: tells damage, not malice.
pub fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, b| (sum ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}
