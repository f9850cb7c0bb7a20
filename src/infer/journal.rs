//! What a fit has done so far, so that another process can go on from there and end in the same bits.
//!
//! A fit is a sequence of units: a descent, a whitening, a window of stochastic steps. Each depends on nothing but the
//! target, the options and the units before it. The journal keeps their outcomes; a resumed fit takes them from there
//! instead of computing them. Of a descent that was interrupted, the search's own state is kept.

use std::path::PathBuf;
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::kept::{self, CheckpointError, EVERY, checksum};
use super::lbfgs::Pause;
use super::options::{FitOptions, Progress};
use super::pool::Pool;
use super::result::StopReason;
use super::rng::Stream;

/// The part of a fit's state that units change besides their outcomes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Counts {
    gradients: usize,
    values: usize,
    non_finite: usize,
}

impl Counts {
    fn of(pool: &Pool) -> Counts {
        Counts { gradients: pool.gradients, values: pool.values, non_finite: pool.non_finite }
    }

    fn restore(self, pool: &mut Pool) {
        (pool.gradients, pool.values, pool.non_finite) = (self.gradients, self.values, self.non_finite);
    }
}

#[derive(Serialize, Deserialize)]
struct Unit {
    outcome: Vec<u8>,
    trace: Vec<Progress>,
    counts: Counts,
    halt: Option<StopReason>,
}

/// A descent that was interrupted.
#[derive(Serialize, Deserialize)]
struct Unfinished {
    pause: Pause,
    trace: Vec<Progress>,
    counts: Counts,
}

#[derive(Default, Serialize, Deserialize)]
struct Record {
    seconds: f64,
    units: Vec<Unit>,
    unfinished: Option<Unfinished>,
}

/// The record of a fit, and where it is kept, if it is.
pub struct Journal {
    path: Option<PathBuf>,
    /// Tells whose fit it is.
    fingerprint: u64,
    record: Record,
    /// Units before this one have been taken from the record.
    next: usize,
    started: Instant,
    saved: Instant,
    /// Why the last attempt to write failed.
    trouble: Option<CheckpointError>,
}

/// What a unit changed besides its outcome.
pub struct Effects {
    pub outcome: Vec<u8>,
    pub trace: Vec<Progress>,
    pub halt: Option<StopReason>,
}

impl Journal {
    /// A journal that is kept where the options say. `pool` is asked for a few log joints, which tell whether a checkpoint
    /// is of this model and these data; they are not counted.
    pub fn open(options: &FitOptions, names: &[String], pool: &mut Pool) -> Result<Journal, CheckpointError> {
        let now = Instant::now();
        let mut journal = Journal {
            path: options.checkpoint.as_ref().map(|c| c.path.clone()),
            fingerprint: 0,
            record: Record::default(),
            next: 0,
            started: now,
            saved: now,
            trouble: None,
        };
        let Some(checkpoint) = &options.checkpoint else { return Ok(journal) };
        journal.fingerprint = fingerprint(options, names, pool);
        match kept::begin(checkpoint, journal.fingerprint)? {
            Some(record) => journal.record = record,
            // Better to hear now than after an hour that nothing can be written there.
            None => journal.write()?,
        }
        Ok(journal)
    }

    /// Seconds since the fit began, those before an interruption included.
    pub fn seconds(&self) -> f64 {
        self.record.seconds + self.started.elapsed().as_secs_f64()
    }

    pub fn trouble(&self) -> Option<&CheckpointError> {
        self.trouble.as_ref()
    }

    /// The outcome of the next unit, if it is known.
    pub fn replay(&mut self, pool: &mut Pool) -> Option<Effects> {
        let unit = self.record.units.get(self.next)?;
        self.next += 1;
        unit.counts.restore(pool);
        Some(Effects { outcome: unit.outcome.clone(), trace: unit.trace.clone(), halt: unit.halt.clone() })
    }

    /// Keep the outcome of a unit that ended of itself.
    pub fn keep(&mut self, effects: Effects, pool: &Pool) {
        if self.path.is_none() {
            return;
        }
        let Effects { outcome, trace, halt } = effects;
        self.record.units.push(Unit { outcome, trace, halt, counts: Counts::of(pool) });
        self.next = self.record.units.len();
        if self.saved.elapsed() > EVERY {
            self.save();
        }
    }

    /// Keep the state of a descent that was interrupted.
    pub fn pause(&mut self, pause: Pause, trace: Vec<Progress>, pool: &Pool) {
        if self.path.is_some() {
            self.record.unfinished = Some(Unfinished { pause, trace, counts: Counts::of(pool) });
        }
    }

    /// The state of the descent that begins now, if it was interrupted; with it the trace so far. What was counted up to
    /// the interruption is to be restored by `recount` once the search stands where it stood.
    pub fn resumed(&mut self) -> Option<(Pause, Vec<Progress>, Recount)> {
        // An unfinished descent is the one after the last finished unit.
        let u = (self.next == self.record.units.len()).then(|| self.record.unfinished.take()).flatten()?;
        Some((u.pause, u.trace, Recount(u.counts)))
    }

    /// Write the checkpoint now; trouble is remembered, and does not end the fit.
    pub fn save(&mut self) {
        if self.path.is_some() {
            self.trouble = self.write().err();
        }
    }

    fn write(&mut self) -> Result<(), CheckpointError> {
        let Some(path) = &self.path else { return Ok(()) };
        let seconds = self.seconds();
        (self.record.seconds, self.started, self.saved) = (seconds, Instant::now(), Instant::now());
        kept::write(path, self.fingerprint, &self.record)
    }
}

/// What had been counted when a descent was interrupted.
pub struct Recount(Counts);

impl Recount {
    pub fn recount(self, pool: &mut Pool) {
        self.0.restore(pool);
    }
}

pub fn encode<T: Serialize>(outcome: &T) -> Vec<u8> {
    postcard::to_stdvec(outcome).expect("numbers, names and lists of them can be written to memory")
}

/// The outcome of a unit; what the journal's checksum let through is what [`encode`] wrote.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> T {
    postcard::from_bytes(bytes).expect("the same program wrote it for the same unit")
}

/// Differs for another program, model, data or option that moves a bit of the fit: from the names of the coordinates, and
/// the log joint with its gradient at points where hardly two models agree.
fn fingerprint(options: &FitOptions, names: &[String], pool: &mut Pool) -> u64 {
    const POINTS: usize = 3;
    let counted = Counts::of(pool);
    let dim = pool.dim();
    let (mut thetas, mut values, mut gradients) = (vec![0.0; POINTS * dim], [0.0; POINTS], vec![0.0; POINTS * dim]);
    for (k, theta) in thetas.chunks_mut(dim.max(1)).enumerate().skip(1) {
        theta.iter_mut().zip(names).for_each(|(t, name)| *t = 0.1 * Stream::at(0, "fingerprint", name, k).uniform());
    }
    pool.value_grad(&thetas, &mut values, &mut gradients);
    counted.restore(pool);
    let numbers = values.iter().chain(&gradients).flat_map(|v| v.to_bits().to_le_bytes());
    // Threads, the flag that interrupts and the place of the checkpoint change no result.
    let plain = FitOptions { threads: 1, cancel: None, checkpoint: None, ..options.clone() };
    let mut bytes = format!("{} {plain:?} {names:?}", env!("CARGO_PKG_VERSION")).into_bytes();
    bytes.extend(numbers);
    checksum(&bytes)
}
