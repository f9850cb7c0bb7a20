//! Which estimator a method steps by, and with how many draws.

use super::{Baseline, ClosedEntropy, Estimator, ForwardKl, Iwae, IwaeGradient, Score, StickingTheLanding};
use crate::infer::options::{FitOptions, Method, PathGradient};

/// An estimator, and how many replicates of it make a step.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    kind: Kind,
    /// Draws of one replicate.
    each: usize,
    replicates: usize,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Entropy,
    Sticking,
    Score,
    Iwae,
    ForwardKl,
}

/// The recipe for these options: paths where the method says nothing of estimators.
pub fn recipe(options: &FitOptions) -> Recipe {
    let k = options.importance_samples;
    let (kind, each, all) = match options.method {
        // The score's variance asks for many draws, which cost no gradients.
        Method::Score => (Kind::Score, options.draws.unwrap_or(32), None),
        Method::Iwae => (Kind::Iwae, k.unwrap_or(10), Some(options.draws.unwrap_or(4 * k.unwrap_or(10)))),
        Method::ForwardKl => (Kind::ForwardKl, k.or(options.draws).unwrap_or(256), options.draws),
        _ => {
            let kind = match options.path_gradient {
                PathGradient::ClosedEntropy => Kind::Entropy,
                PathGradient::StickingTheLanding => Kind::Sticking,
            };
            (kind, options.draws.unwrap_or(8).next_multiple_of(2), None)
        }
    };
    let each = each.max(2);
    Recipe { kind, each, replicates: all.map_or(1, |all| (all / each).max(1)) }
}

impl Recipe {
    pub fn estimator(&self) -> Box<dyn Estimator> {
        let draws = self.each;
        match self.kind {
            Kind::Entropy => Box::new(ClosedEntropy { draws }),
            Kind::Sticking => Box::new(StickingTheLanding { draws }),
            Kind::Score => Box::new(Score { draws, baseline: Baseline::LeaveOneOut, apart: true }),
            Kind::Iwae => Box::new(Iwae { draws, gradient: IwaeGradient::Doubly }),
            Kind::ForwardKl => Box::new(ForwardKl { draws }),
        }
    }

    /// Draws of a step.
    pub fn draws(&self) -> usize {
        self.each * self.replicates
    }

    /// Random rows of a step: half as many as draws where those come in mirror pairs.
    pub fn rows(&self) -> usize {
        if self.estimator().mirrored() { self.draws() / 2 } else { self.draws() }
    }
}
