//! Flows of written guides, `z ~ Normal(m, s) |> iaf(2, 64)`: invertible maps of a draw, each with a triangular Jacobian.
//!
//! The cells of the latent's last plate are one vector; over its other plates the same map is applied to each. Every layer has
//! a net of one hidden layer, whose connections are masked so that the output for a cell sees the cells that it may, and whose
//! last weights start at 0, so that a flow starts near the identity.

use super::super::expr::{bind, is_bad};
use super::super::*;
use super::formula::Formula;
use super::layers::{Run, Signal, Width};
use super::pipeline::flat;
use super::spline;
use super::weights::Start;
use crate::diag::{Code, nearest};
use crate::hir::{Bend, BinOp, DistUse, UnOp};
use crate::syntax::ast::{Arg, ExprKind as A};

const NAMES: [&str; 5] = ["coupling", "exp", "iaf", "inv_logit", "spline"];
/// Layers that one word may stand for.
const MOST: f64 = 64.0;
/// The gate of an autoregressive layer starts at 1 / (1 + e^-2): mostly open (Kingma et al. 2016, section 3).
const GATE: f64 = 2.0;

/// What a line of a guide makes of its draw.
#[derive(Default)]
pub(in crate::check) struct Flow {
    pub bends: Vec<Bend>,
    /// The values that come out; `None`: those of the distribution.
    pub range: Option<Constraint>,
}

/// One word of a chain.
enum Word<'a> {
    /// Its name, how many layers, the units of their nets, and what these nets read besides the cells.
    Net { name: &'a str, layers: usize, width: Width, reads: Vec<&'a ast::Expr>, bins: f64, bound: f64 },
    /// A function of each cell.
    Each(&'a str),
}

/// What all nets of one flow have in common.
pub(super) struct Vector {
    /// The latent's axes, and the last of them.
    axes: Vec<AxisId>,
    pub cell: AxisId,
    context: Vec<Signal>,
    pub at: Formula,
}

impl<'a> Checker<'a, '_> {
    /// The layers behind a distribution; `None`: reported.
    pub(in crate::check) fn flow(
        &mut self,
        v: &Var,
        used: &DistUse,
        layers: &[&'a ast::Expr],
        env: &Env,
    ) -> Option<Flow> {
        let words: Vec<Option<Word<'a>>> = layers.iter().map(|e| self.flow_word(e, env)).collect();
        let words: Vec<Word<'a>> = words.into_iter().collect::<Option<_>>()?;
        let span = layers.first().map_or(v.span, |e| e.span);
        if used.support.ty != Ty::Real || !matches!(used.range, Constraint::None) {
            self.diags.push(
                Code::GUIDE_FLOW
                    .at(used.span, format!("a flow bends draws that can be any number, and those of `{}` cannot", used.name))
                    .here("not on all real numbers")
                    .label(span, "bent here")
                    .help("begin with a `Normal`; for a positive latent end with `|> exp`, for one in (0, 1) with `|> inv_logit`"),
            );
            return None;
        }
        let mut flow = Flow::default();
        for (word, e) in words.into_iter().zip(layers) {
            if flow.range.is_some() {
                self.diags.push(
                    Code::GUIDE_FLOW
                        .at(e.span, "what comes out of `exp` or `inv_logit` can no longer be any number")
                        .here("bends it further")
                        .help("put `exp` or `inv_logit` last"),
                );
                return None;
            }
            match word {
                Word::Each(name) => self.flow_function(v, name, e.span, &mut flow),
                Word::Net { name, layers, width, reads, bins, bound } => {
                    let Some(&cell) = v.axes.last() else {
                        self.diags.push(
                            Code::GUIDE_FLOW
                                .at(e.span, format!("`{name}` bends a vector, and `{}` is one number", v.name))
                                .here("needs several cells")
                                .label(v.span, "declared without a plate")
                                .help("leave the layer out, or declare the latent over a plate"),
                        );
                        return None;
                    };
                    let at = Formula(e.span);
                    let context = self.flow_context(v, cell, &reads, env)?;
                    let vector = Vector { axes: v.axes.clone(), cell, context, at };
                    for _ in 0..layers {
                        let k = flow.bends.len();
                        let instance = format!("{}.{}", v.name, k + 1);
                        let cells = self.count(&width, at);
                        let units = self.units(&instance, e.span, cells);
                        let mut run = Run { instance, next: 1, bound: vec![] };
                        let input = self.flow_input(v, k);
                        let x = self.cells_of(input, &vector, cell);
                        let (value, log_slope) = match name {
                            "iaf" => self.autoregressive(&mut run, &vector, input, x, units, k),
                            _ => {
                                let spline = (name == "spline").then_some((bins, bound));
                                self.coupled(&mut run, &vector, input, x, units, k, spline)
                            }
                        }?;
                        let wrap = |e: Expr| run.bound.iter().rev().fold(e, |body, (l, v)| bind(*l, v.clone(), body));
                        let (value, log_slope) = (wrap(value), wrap(log_slope));
                        if is_bad(&value) || is_bad(&log_slope) {
                            return None;
                        }
                        flow.bends.push(Bend { name: name.to_string(), input, value, log_slope });
                    }
                }
            }
        }
        Some(flow)
    }

    /// The variable that holds what layer `k` bends.
    fn flow_input(&mut self, v: &Var, k: usize) -> VarId {
        let name = format!("{} before layer {}", v.name, k + 1);
        let (axes, constraint) = (v.axes.clone(), Constraint::None);
        let var = Var { name, span: v.span, kind: VarKind::Let, axes, joint: 0, ty: Ty::Real, constraint };
        let var = self.add_var(var);
        self.used.insert(var);
        var
    }

    fn cells_of(&mut self, var: VarId, v: &Vector, cell: AxisId) -> Expr {
        let axes: Vec<AxisId> = v.axes.iter().map(|&a| if a == v.cell { cell } else { a }).collect();
        self.read_weight(var, axes.iter().map(|&a| Index::Axis(a)).collect(), &axes, v.at.0)
    }

    fn flow_function(&mut self, v: &Var, name: &str, span: Span, flow: &mut Flow) {
        let at = Formula(span);
        let input = self.flow_input(v, flow.bends.len());
        let x = self.read_weight(input, v.axes.iter().map(|&a| Index::Axis(a)).collect(), &v.axes, span);
        let (value, log_slope) = match name {
            "exp" => (at.apply(UnOp::Exp, x.clone()), x),
            _ => {
                // σ'(x) = σ(x) σ(-x)
                let log = |x: Expr| at.apply(UnOp::Neg, at.apply(UnOp::Softplus, at.apply(UnOp::Neg, x)));
                let both = at.add(log(x.clone()), log(at.apply(UnOp::Neg, x.clone())));
                (at.apply(UnOp::Sigmoid, x), both)
            }
        };
        flow.range = Some(match name {
            "exp" => Constraint::Lower { bound: at.number(0.0), open: true },
            _ => Constraint::Interval { lower: at.number(0.0), upper: at.number(1.0), open: true },
        });
        flow.bends.push(Bend { name: name.to_string(), input, value, log_slope });
    }

    /// Values that the nets read: those that vary over other plates than the vector's are features.
    fn flow_context(&mut self, v: &Var, cell: AxisId, reads: &[&'a ast::Expr], env: &Env) -> Option<Vec<Signal>> {
        let mapped = minus(&v.axes, &[cell]);
        let each = reads.iter().enumerate().map(|(i, e)| {
            let value = self.expr(e, env);
            let value = self.numeric(value, "put this into a flow");
            let features = minus(&value.axes, &mapped);
            (!is_bad(&value)).then(|| Signal { name: (i + 1).to_string(), value, features, image: false })
        });
        each.collect()
    }

    /// The hidden units of a layer's net: of the cells, as far as `mask` of (units, inputs) lets them in, and of the context.
    #[allow(clippy::too_many_arguments)]
    fn flow_units(
        &mut self,
        run: &mut Run,
        v: &Vector,
        input: VarId,
        units: AxisId,
        mask: &dyn Fn(Expr, Expr) -> Expr,
    ) -> Option<Expr> {
        let (at, span) = (v.at, v.at.0);
        let instance = run.instance.clone();
        let mut total = if v.context.is_empty() {
            let bias = self.weight(&format!("{instance}.bias"), span, &[units], Start::Number(0.0));
            self.read_weight(bias, vec![Index::Axis(units)], &[units], span)
        } else {
            let context: Vec<Signal> = v.context.clone();
            self.affine(&instance, &context, &[units], false, span)?
        };
        let label = format!("{instance}.own");
        let other = self.input_axis(&label, v.cell);
        let (inputs, outputs) = ([vec![other]], [units]);
        let start = Start::Draw { inputs: &inputs, outputs: &outputs, rectified: false, spread: 1.0 };
        let weight = self.weight(&label, span, &[units, other], start);
        let weight = self.read_weight(weight, vec![Index::Axis(units), Index::Axis(other)], &[units, other], span);
        let masked = at.mul(weight, mask(at.position(units), at.position(other)));
        let masked = self.store(run, masked);
        let x = self.cells_of(input, v, other);
        total = at.add(total, at.sum(other, at.mul(masked, x)));
        let total = self.keep(run, total, vec![units]).value;
        let hidden = at.apply(UnOp::Tanh, total);
        Some(self.keep(run, hidden, vec![units]).value)
    }

    /// A second axis over a plate, for the inputs of a layer from it to itself.
    pub(super) fn input_axis(&mut self, label: &str, axis: AxisId) -> AxisId {
        if let Some(known) = self.nets.second(label, axis) {
            return known;
        }
        let plate = self.plate_of(axis);
        let text = format!("input {}", self.hir.plate(plate).name);
        let fresh = self.add_axis(plate, &text);
        self.nets.remember(label, axis, fresh);
        fresh
    }

    /// A value of a layer, stored whole.
    pub(super) fn store(&mut self, run: &mut Run, value: Expr) -> Expr {
        let kept = self.keep(run, value, vec![]).value;
        if let ExprKind::Local(id) = kept.kind {
            self.hir.stored.insert(id);
        }
        kept
    }

    /// An output per cell, and per cell of a further axis: `bias` at first.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn flow_output(
        &mut self,
        run: &mut Run,
        v: &Vector,
        (name, bias): (&str, f64),
        further: Option<AxisId>,
        (units, hidden): (AxisId, &Expr),
        mask: Option<&dyn Fn(Expr, Expr) -> Expr>,
    ) -> Expr {
        let (at, span) = (v.at, v.at.0);
        let mut axes = vec![v.cell];
        axes.extend(further);
        let label = format!("{}.{name}", run.instance);
        let index = |axes: &[AxisId]| axes.iter().map(|&a| Index::Axis(a)).collect::<Vec<_>>();
        let b = self.weight(&format!("{label}.bias"), span, &axes, Start::Number(bias));
        let b = self.read_weight(b, index(&axes), &axes, span);
        axes.push(units);
        let w = self.weight(&format!("{label}.weight"), span, &axes, Start::Number(0.0));
        let mut w = self.read_weight(w, index(&axes), &axes, span);
        if let Some(mask) = mask {
            w = at.mul(w, mask(at.position(units), at.position(v.cell)));
            w = self.store(run, w);
        }
        let total = at.add(b, at.sum(units, at.mul(w, hidden.clone())));
        self.keep(run, total, axes).value
    }

    /// An inverse autoregressive layer, z' = σ z + (1 - σ) m, where σ and m of a cell see the cells before it; in every second
    /// layer those after it (Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling 2016, "Improved variational inference
    /// with inverse autoregressive flow", eq. 14). Masks by degrees, as in MADE (Germain, Gregor, Murray and Larochelle 2015).
    fn autoregressive(
        &mut self,
        run: &mut Run,
        v: &Vector,
        input: VarId,
        x: Expr,
        units: AxisId,
        k: usize,
    ) -> Option<(Expr, Expr)> {
        let at = v.at;
        let n = at.size(self.plate_of(v.cell));
        let one = at.number(1.0);
        let degree = {
            let (n, one) = (n.clone(), one.clone());
            move |unit: Expr| at.remainder(unit, at.max(at.sub(n.clone(), one.clone()), one.clone()))
        };
        let place = {
            let (n, one) = (n.clone(), one.clone());
            move |cell: Expr| if k % 2 == 1 { at.sub(at.sub(n.clone(), one.clone()), cell) } else { cell }
        };
        let into = |unit: Expr, cell: Expr| at.of(BinOp::LessEq, place(cell), degree(unit));
        let out = |unit: Expr, cell: Expr| at.of(BinOp::Less, degree(unit), place(cell));
        let hidden = self.flow_units(run, v, input, units, &into)?;
        let m = self.flow_output(run, v, ("mean", 0.0), None, (units, &hidden), Some(&out));
        let s = self.flow_output(run, v, ("gate", GATE), None, (units, &hidden), Some(&out));
        let gate = at.apply(UnOp::Sigmoid, s.clone());
        let value = at.add(m.clone(), at.mul(gate, at.sub(x, m)));
        let log_slope = at.apply(UnOp::Neg, at.apply(UnOp::Softplus, at.apply(UnOp::Neg, s)));
        Some((value, log_slope))
    }

    /// A coupling layer: every second cell is moved by what a net makes of the others, in turns. Affine, x e^s + t with
    /// s = 2 tanh(s̃ / 2) (Dinh, Sohl-Dickstein and Bengio 2017, "Density estimation using real NVP"), or by a spline.
    #[allow(clippy::too_many_arguments)]
    fn coupled(
        &mut self,
        run: &mut Run,
        v: &Vector,
        input: VarId,
        x: Expr,
        units: AxisId,
        k: usize,
        spline: Option<(f64, f64)>,
    ) -> Option<(Expr, Expr)> {
        let at = v.at;
        let moved = |cell: Expr| at.remainder(at.add(cell, at.number((k % 2) as f64)), at.number(2.0));
        let into = |_: Expr, cell: Expr| at.sub(at.number(1.0), moved(cell));
        let hidden = self.flow_units(run, v, input, units, &into)?;
        let own = moved(at.position(v.cell));
        if let Some((bins, bound)) = spline {
            let bins = spline::Bins { count: bins, bound };
            let (y, log_slope) = self.spline(run, v, x.clone(), (units, &hidden), bins);
            return Some((at.add(x.clone(), at.mul(own.clone(), at.sub(y, x))), at.mul(own, log_slope)));
        }
        let t = self.flow_output(run, v, ("shift", 0.0), None, (units, &hidden), None);
        let s = self.flow_output(run, v, ("scale", 0.0), None, (units, &hidden), None);
        let half = at.apply(UnOp::Tanh, at.mul(at.number(0.5), s));
        let s = at.mul(own.clone(), at.mul(at.number(2.0), half));
        let s = self.keep(run, s, vec![]).value;
        Some((at.add(at.mul(x, at.apply(UnOp::Exp, s.clone())), at.mul(own, t)), s))
    }

    fn flow_word(&mut self, e: &'a ast::Expr, env: &Env) -> Option<Word<'a>> {
        let (name, span, args): (&'a str, Span, &'a [Arg]) = match &e.kind {
            A::Name(n) => (n, e.span, &[]),
            A::Call { callee, args } => match &callee.kind {
                A::Name(n) => (n, callee.span, args),
                _ => ("", e.span, &[]),
            },
            A::Error => return None,
            _ => ("", e.span, &[]),
        };
        debug_assert!(flat(e).len() == 1, "the chain has been cut into its layers");
        match name {
            "exp" | "inv_logit" if args.is_empty() => Some(Word::Each(name)),
            "iaf" | "coupling" | "spline" => self.flow_net(name, args, e, env),
            _ => {
                let d = Code::GUIDE_FLOW
                    .at(
                        span,
                        match name {
                            "" => "behind the distribution stand the layers of a flow".to_string(),
                            "exp" | "inv_logit" => {
                                format!("`{name}` is applied to the draw, and takes no arguments here")
                            }
                            _ => format!("there is no flow called `{name}`"),
                        },
                    )
                    .here("not a layer of a flow");
                self.diags.push(match nearest(name, NAMES) {
                    Some("exp" | "inv_logit") => d.help("write `|> exp` or `|> inv_logit`"),
                    Some(n) => d.help(format!("did you mean `{n}(2, 32)`?")),
                    None => d.help("write `iaf(2, 32)`, `coupling(4, 32)` or `spline(2, 32)`"),
                });
                None
            }
        }
    }

    /// `iaf(2, 64, q.h)`: layers, units of the net of each, and what these nets read.
    fn flow_net(&mut self, name: &'a str, args: &'a [Arg], e: &'a ast::Expr, env: &Env) -> Option<Word<'a>> {
        let wrong = |c: &mut Self, span: Span, said: String| {
            c.diags.push(
                Code::GUIDE_FLOW
                    .at(span, said)
                    .here("not so")
                    .help(format!("write `{name}(2, 32)`: two layers, whose nets have 32 hidden units each")),
            );
        };
        let (mut bins, mut bound) = (spline::BINS, spline::BOUND);
        let (named, places): (Vec<&'a Arg>, Vec<&'a Arg>) = args.iter().partition(|a| a.name.is_some());
        for arg in named {
            let Some(own) = &arg.name else { continue };
            let number = if let A::Number { value, .. } = arg.value.kind { value } else { f64::NAN };
            match (name, own.name.as_str()) {
                ("spline", "bins") if number.fract() == 0.0 && (2.0..=64.0).contains(&number) => bins = number,
                ("spline", "bound") if number > 0.0 => bound = number,
                ("spline", "bins" | "bound") => {
                    wrong(self, arg.value.span, "a spline has from 2 to 64 bins, up to a bound above 0".into());
                    return None;
                }
                _ => {
                    wrong(self, own.span, format!("`{name}` has no argument called `{}`", own.name));
                    return None;
                }
            }
        }
        let [layers, width, reads @ ..] = places.as_slice() else {
            wrong(self, e.span, format!("`{name}` takes a number of layers and a number of units"));
            return None;
        };
        let layers = match layers.value.kind {
            A::Number { value, .. } if value.fract() == 0.0 && (1.0..=MOST).contains(&value) => value as usize,
            _ => {
                wrong(self, layers.value.span, format!("the number of layers is a whole number from 1 to {MOST}"));
                return None;
            }
        };
        let width = self.width(&width.value, env)?;
        Some(Word::Net { name, layers, width, reads: reads.iter().map(|a| &a.value).collect(), bins, bound })
    }
}
