//! How a long fit is going, on one line of standard error.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::infer;

/// Shown from here on: a short fit should not flicker.
const AFTER: Duration = Duration::from_millis(500);

/// A line that follows a fit. Draws nothing unless standard error is a terminal.
pub struct Progress {
    began: Instant,
    wanted: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub fn new(wanted: bool) -> Progress {
        Progress { began: Instant::now(), wanted, bar: None }
    }

    pub fn update(&mut self, p: &infer::Progress) {
        if !self.wanted || (self.bar.is_none() && self.began.elapsed() < AFTER) {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}").expect("the template is a constant");
            bar.set_style(style);
            bar
        });
        bar.set_message(format!(
            "{} · ELBO {:.2} · gradient {:.1e} · {} gradients",
            p.stage.name(),
            -p.objective,
            p.gradient_norm,
            p.gradients
        ));
        bar.tick();
    }

    /// Remove the line.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A bar that counts what is done. Draws nothing unless standard error is a terminal.
pub struct Counter(ProgressBar);

impl Counter {
    pub fn new(of: usize) -> Counter {
        let bar = ProgressBar::with_draw_target(Some(of as u64), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {eta}").expect("the template is a constant");
        bar.set_style(style);
        Counter(bar)
    }

    pub fn update(&self, done: usize) {
        self.0.set_position(done as u64);
    }

    /// Remove the bar.
    pub fn finish(self) {
        self.0.finish_and_clear();
    }
}
