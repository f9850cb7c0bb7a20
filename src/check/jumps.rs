//! Densities that jump where a continuous latent passes a value: rounding, and comparisons used as numbers.
//!
//! A gradient does not see a jump, neither along draws nor along the latent itself: the fit would end somewhere, without a
//! word. Conditions of `if` are looked at where they are checked; in the body of a function or distribution both sides may
//! meet. `sign` and `abs` are not reported: `sign(x) * abs(x)` has no jump. What these leave is looked for in numbers, before
//! the fit and along its draws (`infer::jump`). What is only reported may jump.

use super::expr::walk;
use super::*;
use crate::diag::Code;

impl Checker<'_, '_> {
    pub(super) fn jumps(&mut self) {
        if self.diags.has_errors() {
            return;
        }
        let mut found: Jumps = vec![];
        let mut seen = HashSet::new();
        let lets = self.hir.steps.iter().enumerate();
        self.lets =
            lets.filter_map(|(i, s)| if let Step::Let { var, .. } = s { Some((*var, i)) } else { None }).collect();
        for step in &self.hir.steps {
            match step {
                Step::Observe { dist, .. } | Step::Latent { dist, .. } => {
                    self.jumps_of_dist(dist, &mut seen, &mut found)
                }
                Step::Factor { value, .. } => self.jumps_in(value, &mut seen, &mut found),
                Step::Let { .. } | Step::Param { .. } => {}
            }
        }
        for line in self.hir.written.iter().flat_map(|w| &w.lines) {
            if let GuideLine::Draw { dist, .. } = line {
                self.jumps_of_dist(dist, &mut seen, &mut found);
            }
        }
        for (span, jump, var) in found {
            let v = self.hir.var(var);
            let d = Code::JUMP
                .at(span, format!("the density jumps where this does, and no gradient along `{}` can see that", v.name))
                .label(v.span, "a continuous value");
            self.diags.push(match jump {
                Jump::Rounding => d
                    .here("rounded")
                    .help("leave the rounding out, or declare a discrete latent in the place of the rounded one"),
                Jump::Comparison => d
                    .here("0 or 1")
                    .help("for a smooth step write `inv_logit((a - b) / w)` with a small `w`; for two cases declare a discrete latent, `latent z ~ Bernoulli(p)`"),
            });
        }
    }

    fn jumps_of_dist(&self, dist: &DistUse, seen: &mut HashSet<VarId>, found: &mut Jumps) {
        dist.args.iter().for_each(|a| self.jumps_in(&a.2, seen, found));
    }

    /// The jumps of an expression and of the lets that it reads.
    fn jumps_in(&self, e: &Expr, seen: &mut HashSet<VarId>, found: &mut Jumps) {
        let mut conditions: Vec<Span> = vec![];
        let mut lets = vec![];
        // Arguments of functions that were expanded in place, and the unknown that each depends on.
        let mut moving: HashMap<LocalId, VarId> = HashMap::new();
        walk(e, &mut |e| {
            match &e.kind {
                ExprKind::If { condition, .. } => conditions.push(condition.span),
                ExprKind::Bind { local, value, .. } => {
                    moving.extend(self.moved_by(value, &moving).map(|var| (*local, var)));
                }
                _ => {}
            }
            let jump = match &e.kind {
                ExprKind::Unary(UnOp::Floor | UnOp::Ceil | UnOp::Round, _) => Some(Jump::Rounding),
                ExprKind::Binary(BinOp::Less | BinOp::LessEq | BinOp::Equal | BinOp::NotEqual, ..) => {
                    Some(Jump::Comparison)
                }
                ExprKind::Read { var, .. } => {
                    lets.push(*var);
                    None
                }
                _ => None,
            };
            let Some(jump) = jump else { return };
            // The library's own functions have no jumps but those of their arguments.
            let own = !self.library_files.contains(&e.span.file);
            let condition = conditions.iter().any(|c| c.start <= e.span.start && e.span.end <= c.end);
            if let (true, false, Some(var)) = (own, condition, self.moved_by(e, &moving)) {
                // A function may be called more than once.
                if found.iter().all(|f| f.0 != e.span) {
                    found.push((e.span, jump, var));
                }
            }
        });
        for var in lets {
            if let (Some(value), true) = (self.value_of(var), seen.insert(var)) {
                self.jumps_in(value, seen, found);
            }
        }
    }
}

impl Checker<'_, '_> {
    /// The first continuous unknown that an expression depends on, itself or through an argument.
    fn moved_by(&self, e: &Expr, moving: &HashMap<LocalId, VarId>) -> Option<VarId> {
        let mut through = None;
        walk(e, &mut |e| {
            if let ExprKind::Local(l) = &e.kind {
                through = through.or(moving.get(l).copied());
            }
        });
        self.unscored_in(e).or(through)
    }

    /// The first continuous unknown that an expression depends on and that no line of the guide scores: the score function
    /// needs no slope along a draw.
    fn unscored_in(&self, e: &Expr) -> Option<VarId> {
        let mut found = None;
        walk(e, &mut |e| {
            let ExprKind::Read { var, .. } = &e.kind else { return };
            if found.is_some() || self.smooth_in(e).is_none() || self.is_scored(*var) {
                return;
            }
            found = match self.value_of(*var) {
                // What the let itself reads may be scored.
                Some(value) => self.unscored_in(value).map(|_| *var),
                None => Some(*var),
            };
        });
        found
    }

    fn is_scored(&self, var: VarId) -> bool {
        let mut lines = self.hir.written.iter().flat_map(|w| &w.lines);
        lines.any(|l| matches!(l, GuideLine::Draw { var: v, gradient: Gradient::Score, .. } if *v == var))
    }

    /// The value of a `let` of the model or of its guide.
    fn value_of(&self, var: VarId) -> Option<&Expr> {
        let lines = self.hir.written.iter().flat_map(|w| &w.lines);
        let own = lines.filter_map(|l| if let GuideLine::Own(step) = l { Some(step) } else { None });
        let model = self.lets.get(&var).and_then(|&i| self.hir.steps.get(i));
        model.into_iter().chain(own).find_map(|s| match s {
            Step::Let { var: v, value, .. } if *v == var => Some(value),
            _ => None,
        })
    }
}

type Jumps = Vec<(Span, Jump, VarId)>;

/// What jumps.
#[derive(Clone, Copy)]
enum Jump {
    Rounding,
    Comparison,
}
