//! What integrates out exactly: the fit sees the log joint of the rest, the report every latent.

use super::Compiled;
use crate::derive::joint::Joint;
use crate::derive::structure::{self, Collapsed, Structure};
use crate::diag::Diags;
use crate::hir::{FitValue, Hir};
use crate::infer::{self, Target};
use crate::lower::graph::BufId;
use crate::lower::{self, Layout};
use crate::run::Model;

/// Points at which a rewritten log joint is held to the one that it comes from.
const POINTS: usize = 5;
/// How far the two may be apart, relative to the largest number in the comparison.
const TOLERANCE: f64 = 1e-9;

/// A model with some of its latents integrated out.
pub struct Exact {
    /// The model with all its latents, those that integrate out as they are: what is reported is computed from it.
    pub compiled: Compiled,
    /// The log joint of the rest.
    pub rest: Model,
    /// The latents that integrate out, given the rest and noise.
    draw: Model,
    /// Where each part of the whole theta comes from, in its order.
    parts: Vec<Part>,
    pub collapsed: Vec<Collapsed>,
}

/// A slice of the whole theta.
enum Part {
    /// This slice of the rest.
    Rest(std::ops::Range<usize>),
    Drawn(BufId),
}

/// Whether the model asks for its log joint as it is.
pub(super) fn refused(hir: &Hir) -> bool {
    hir.fit.iter().any(|o| o.name == "collapse" && matches!(&o.value, FitValue::Word(w) if w == "off"))
}

impl Exact {
    /// What integrates out of a model on its data; Err: a sentence, if a rewritten log joint is not what it should be.
    pub fn new(model: &Compiled) -> Result<Option<Exact>, String> {
        if model.batches.is_some() || model.hir.written.is_some() || refused(&model.hir) {
            return Ok(None);
        }
        let found = structure::structure(&model.hir, &lower::known_size(&model.bound));
        if found.collapsed.is_empty() {
            return Ok(None);
        }
        let names: Vec<String> = found.collapsed.iter().map(|c| format!("`{}`", c.name)).collect();
        let names = names.join(", ");
        let Some(exact) = Exact::compile(model, found) else {
            return Err(format!("{names} would integrate out, but what is left cannot be computed; all are fitted."));
        };
        match exact.agrees() {
            true => Ok(Some(exact)),
            false => Err(format!(
                "{names} would integrate out, but with these data rounding spoils what is left; all are fitted."
            )),
        }
    }

    fn compile(model: &Compiled, found: Structure) -> Option<Exact> {
        let Structure { hir, whole, rest, draw, collapsed, .. } = found;
        let mut bound = model.bound.clone();
        bound.add_derived(&hir);
        let lowered = |joint: &Joint| lower::lower(&hir, joint, &bound, &mut Diags::default());
        let compile = |(graph, layout): (lower::graph::Graph, Layout)| {
            let model = Model::new(graph, layout.theta_names(&bound), layout.points(), layout.start().to_vec());
            (model, layout)
        };
        let (whole_model, layout) = compile(lowered(&whole)?);
        let (rest_model, rest_layout) = compile(lowered(&rest)?);
        let (draw_model, draw_layout) = compile(lowered(&draw)?);
        let parts = whole.unconstrained.iter().map(|u| {
            match rest_layout.place(u.slot).filter(|_| rest.unconstrained.iter().any(|r| r.slot == u.slot)) {
                Some(place) => Some(Part::Rest(place.offset..place.offset + place.len())),
                None => draw_layout.buffer(u.var).map(Part::Drawn),
            }
        });
        let parts = parts.collect::<Option<Vec<Part>>>()?;
        let compiled = Compiled {
            hir,
            bound,
            layout,
            model: whole_model,
            batches: None,
            exact: Default::default(),
            conjugate: Default::default(),
        };
        Some(Exact { compiled, rest: rest_model, draw: draw_model, parts, collapsed })
    }

    /// Whether log p(rest) + log p(drawn | rest) is the log joint, at points without pattern.
    fn agrees(&self) -> bool {
        let (mut whole, mut rest, mut draw) =
            (self.compiled.model.evaluator(), self.rest.evaluator(), self.draw.evaluator());
        let (start, dim) = (self.rest.start(), self.rest.dim());
        let noise = self.draw.dim() - dim;
        let mut reporter = self.draw.reporter();
        let mut seen = 0;
        // Somewhere a model may be without a value.
        for point in 0..4 * POINTS {
            let number = |i: usize| (12.9898 * (i + 1) as f64 + 78.233 * (point + 1) as f64).sin();
            let own: Vec<f64> = (0..dim).map(|i| start[i] + number(i)).collect();
            let with: Vec<f64> = own.iter().copied().chain((0..noise).map(|i| 1.5 * number(dim + i))).collect();
            let theta = self.lift(&mut reporter, &with);
            let (all, left, drawn) = (whole.value(&theta), rest.value(&own), draw.value(&with));
            if !all.is_finite() && !left.is_finite() {
                continue;
            }
            let scale = all.abs().max(left.abs()).max(drawn.abs()).max(1.0);
            let off = (all - left - drawn).abs();
            if off.is_nan() || off > TOLERANCE * scale {
                return false;
            }
            seen += 1;
            if seen == POINTS {
                return true;
            }
        }
        false
    }

    /// The whole theta from the rest and noise.
    fn lift(&self, reporter: &mut crate::run::Reporter<'_>, with: &[f64]) -> Vec<f64> {
        reporter.run(with);
        let mut theta = Vec::with_capacity(self.compiled.layout.dim());
        for part in &self.parts {
            match part {
                Part::Rest(range) => theta.extend_from_slice(&with[range.clone()]),
                Part::Drawn(buffer) => theta.extend_from_slice(reporter.buffer(*buffer)),
            }
        }
        theta
    }

    /// A draw of all latents for each of the rest. The noise is spread evenly, so that means and sds of what is integrated out have
    /// little error of their own.
    pub fn draws(&self, rest: &[f64], count: usize, seed: u64) -> Vec<f64> {
        let dim = self.rest.dim();
        let names = self.draw.names().split_off(dim);
        let noise = infer::spread(seed, "integrated out", &names, count);
        let mut reporter = self.draw.reporter();
        let mut out = Vec::with_capacity(count * self.compiled.layout.dim());
        let mut with = vec![0.0; dim + names.len()];
        for d in 0..count {
            with[..dim].copy_from_slice(&rest[d * dim..(d + 1) * dim]);
            with[dim..].copy_from_slice(&noise[d * names.len()..(d + 1) * names.len()]);
            out.extend(self.lift(&mut reporter, &with));
        }
        out
    }

    /// Each latent that was integrated out, with its plates, and how.
    pub fn told(&self) -> Vec<(String, String)> {
        let hir = &self.compiled.hir;
        let of = |c: &Collapsed| {
            let plates: Vec<&str> = hir.var(c.latent.var).axes.iter().map(|a| hir.axis(*a).name.as_str()).collect();
            let name = if plates.is_empty() { c.name.clone() } else { format!("{}[{}]", c.name, plates.join(", ")) };
            (name, c.how.sentence())
        };
        self.collapsed.iter().map(of).collect()
    }
}
