//! `--out DIR`: the files of a fit, all of them or none.
//!
//! They are written to a new directory beside `DIR`, which is then renamed: a reader never sees half a fit, and a fit
//! that fails leaves the one before it as it was.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{FitReport, discrete, fit_json, summary_json, tensors};
use crate::diag::{Code, Diagnostic};

/// The files that make up a fit.
const FILES: [&str; 6] = ["discrete.csv", "draws.csv", "fit.json", "summary.json", "trace.csv", tensors::FILE];

/// A directory that a fit can go to.
#[derive(Debug)]
pub struct OutDir {
    /// As typed.
    name: String,
    target: PathBuf,
    parent: PathBuf,
    force: bool,
}

impl OutDir {
    /// Check, before a fit that may take long, that its files can be written to `dir` afterwards.
    pub fn prepare(dir: &str, force: bool) -> Result<OutDir, Diagnostic> {
        let path = Path::new(dir);
        // A link is followed: its target is replaced, not the link.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let (Some(_), Some(parent)) = (target.file_name(), target.parent()) else {
            return Err(Code::OUT_NOT_A_DIRECTORY
                .plain(format!("`--out {dir}` does not name a directory that can be made or replaced"))
                .help("name a directory of its own for the fit, such as `--out fit`"));
        };
        let parent = if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_owned() };
        let out = OutDir { name: dir.to_owned(), target, parent, force };
        out.check_target()?;
        fs::create_dir_all(&out.parent).map_err(|e| out.failed("make the directory", &e))?;
        out.temporary()?; // made and removed again: shows that writing is allowed
        Ok(out)
    }

    /// Write the files of `fit` and put them in place in one step.
    pub fn write(&self, fit: &FitReport) -> Result<(), Diagnostic> {
        let temporary = self.temporary()?;
        let file = |name: &str, fill: &dyn Fn(&mut BufWriter<File>) -> io::Result<()>| {
            let made = File::create_new(temporary.path().join(name)).and_then(|f| {
                let mut w = BufWriter::with_capacity(1 << 16, f);
                fill(&mut w)?;
                // A full disk may show itself only here.
                w.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
            });
            made.map_err(|e| self.failed(&format!("write {name}"), &e))
        };
        file("draws.csv", &|w| write_draws(fit, w))?;
        file("summary.json", &|w| w.write_all(summary_json(fit).as_bytes()))?;
        file("fit.json", &|w| w.write_all(fit_json(fit).as_bytes()))?;
        file("trace.csv", &|w| write_trace(fit, w))?;
        if !fit.discrete.is_empty() {
            file("discrete.csv", &|w| discrete::write(fit, w))?;
        }
        if !fit.weights.is_empty() || !fit.guide_params.is_empty() {
            file(tensors::FILE, &|w| w.write_all(&tensors::encode(fit.weights.iter().chain(&fit.guide_params))))?;
        }
        // What was there when the fit began may have changed while it ran.
        self.check_target()?;
        self.put_in_place(temporary)
    }

    /// Nothing, an empty directory, or with `--force` a fit: these may be replaced.
    fn check_target(&self) -> Result<(), Diagnostic> {
        let entries = match fs::read_dir(&self.target) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
                return Err(Code::OUT_NOT_A_DIRECTORY
                    .plain(format!("`--out {}`: this is a file, or lies below one", self.name))
                    .help("name a directory for the fit"));
            }
            Err(e) => return Err(self.failed("look into the directory", &e)),
        };
        let mut fit = false;
        for entry in entries {
            let entry = entry.map_err(|e| self.failed("look into the directory", &e))?.file_name();
            if !FILES.iter().any(|f| entry == *f) {
                return Err(Code::OUT_OTHER_FILES
                    .plain(format!("`--out {}`: the directory holds other files", self.name))
                    .place(Path::new(&self.name).join(entry).display().to_string())
                    .help("only a fit is ever replaced: name another directory"));
            }
            fit = true;
        }
        if fit && !self.force {
            return Err(Code::OUT_EXISTS
                .plain(format!("`--out {}`: there is a fit already", self.name))
                .help("name another directory, or add `--force` to replace it"));
        }
        Ok(())
    }

    fn temporary(&self) -> Result<TempDir, Diagnostic> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".vic-fit-");
        #[cfg(unix)]
        {
            // What `mkdir` gives; the default of a temporary directory would shut everyone else out of the fit.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o777));
        }
        builder.tempdir_in(&self.parent).map_err(|e| self.failed("make a directory beside it", &e))
    }

    fn put_in_place(&self, temporary: TempDir) -> Result<(), Diagnostic> {
        let failed = |e: io::Error| self.failed("put the files in place", &e);
        // A rename onto a directory succeeds only if that is empty: nothing is lost by trying.
        match fs::rename(temporary.path(), &self.target) {
            Ok(()) => {
                _ = temporary.keep(); // it has moved: there is nothing left to remove
                Ok(())
            }
            Err(_) if self.force && self.target.is_dir() => exchange(&temporary, &self.target).map_err(failed),
            Err(e) => Err(failed(e)),
        }
        // After an exchange, dropping `temporary` removes the old fit.
    }

    fn failed(&self, what: &str, e: &io::Error) -> Diagnostic {
        let help = match e.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "name a directory that you may write to"
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space, or name another disk",
            _ => "name another directory",
        };
        let reason = e.to_string();
        let reason = reason.split(" (os error").next().unwrap_or(&reason);
        let reason = reason.split(" at path").next().unwrap_or(reason).to_lowercase();
        Code::CANNOT_WRITE.plain(format!("`--out {}`: cannot {what}: {reason}", self.name)).help(help)
    }
}

/// Swap two directories, so that there is a complete fit at `target` at every moment.
fn exchange(temporary: &TempDir, target: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, temporary.path(), CWD, target, RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS) => {} // a file system that cannot: in two steps below
            done => return Ok(done?),
        }
    }
    let aside = temporary.path().with_extension("old");
    fs::rename(target, &aside)?;
    match fs::rename(temporary.path(), target) {
        Ok(()) => fs::remove_dir_all(&aside),
        Err(e) => {
            fs::rename(&aside, target)?;
            Err(e)
        }
    }
}

/// One row per draw, one column per scalar; numbers in the shortest form that reads back to the same bits.
fn write_draws(fit: &FitReport, w: &mut impl Write) -> io::Result<()> {
    let names = fit.vars.iter().flat_map(|v| (0..v.cells()).map(|c| v.cell_name(c)));
    write_header(names, w)?;
    for draw in 0..fit.draws {
        let numbers = fit.vars.iter().flat_map(|v| v.draws.iter().skip(draw).step_by(fit.draws.max(1)));
        write_row(numbers, w)?;
    }
    Ok(())
}

fn write_trace(fit: &FitReport, w: &mut impl Write) -> io::Result<()> {
    write_header(fit.trace.columns.iter().cloned(), w)?;
    fit.trace.rows.iter().try_for_each(|row| write_row(row.iter(), w))
}

pub(super) fn write_header(names: impl Iterator<Item = String>, w: &mut impl Write) -> io::Result<()> {
    write_text_row(&names.collect::<Vec<_>>(), w)
}

pub(super) fn write_text_row(names: &[String], w: &mut impl Write) -> io::Result<()> {
    for (i, name) in names.iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        // RFC 4180: a name with a comma, a quote or a line break stands in quotes, and quotes are doubled.
        if name.contains([',', '"', '\n', '\r']) {
            write!(w, "{comma}\"{}\"", name.replace('"', "\"\""))?;
        } else {
            write!(w, "{comma}{name}")?;
        }
    }
    writeln!(w)
}

fn write_row<'a>(numbers: impl Iterator<Item = &'a f64>, w: &mut impl Write) -> io::Result<()> {
    for (i, x) in numbers.enumerate() {
        let comma = if i > 0 { "," } else { "" };
        if x.fract() == 0.0 && x.abs() < 1e15 {
            write!(w, "{comma}{x}")?;
        } else {
            write!(w, "{comma}{x:?}")?; // 1e-7 and 1e300 rather than their zeros
        }
    }
    writeln!(w)
}
