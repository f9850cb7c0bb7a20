//! The layers of a net, as expressions over named plates.

use super::super::expr::{binary, is_bad, number, unary};
use super::super::*;
use super::activation::Activation;
use super::formula::Formula;
use super::image::{Convolution, Pool};
use super::recurrent::Recurrent;
use super::weights::Start;
use crate::diag::Code;

/// Keeps the square root of `layer_norm` away from 0.
const NORM_FLOOR: f64 = 1e-5;

/// What goes from one layer to the next: numbers over the plates of its features, and over those that the net is
/// mapped over.
#[derive(Clone)]
pub(super) struct Signal {
    pub name: String,
    pub value: Expr,
    pub features: Vec<AxisId>,
    /// Whether these are the rows, columns and channels of an image that a layer has made.
    pub image: bool,
}

pub(super) enum Layer {
    Dense {
        width: Width,
        activation: Option<Activation>,
        span: Span,
    },
    Activate(Activation, Span),
    Norm(Span),
    Residual(Vec<Layer>, Span),
    /// The share of units that is dropped.
    Dropout(f64, Span),
    /// How many rows and columns.
    Image(Expr, Expr, Span),
    Conv {
        channels: Width,
        convolution: Convolution,
        activation: Option<Activation>,
    },
    Pool(Pool, f64, Span),
    Recurrent(Width, Recurrent),
    /// The last cell of a plate that is walked, or the first.
    End(AxisId, bool, Span),
    Head(Option<Convolution>, Span),
}

/// How many units a layer has.
pub(super) enum Width {
    Plate(AxisId),
    Cells(Expr),
}

impl Layer {
    pub fn span(&self) -> Span {
        match self {
            Layer::Dense { span, .. }
            | Layer::Activate(_, span)
            | Layer::Norm(span)
            | Layer::Residual(_, span)
            | Layer::Dropout(_, span)
            | Layer::Image(_, _, span)
            | Layer::Pool(_, _, span)
            | Layer::Head(_, span) => *span,
            Layer::Conv { convolution, .. } => convolution.span,
            Layer::Recurrent(_, cell) => cell.span,
            Layer::End(_, _, span) => *span,
        }
    }
}

/// One expansion of a net.
pub(super) struct Run {
    /// The net's name, with the plates that it was called for.
    pub instance: String,
    /// The number of the next layer that has weights.
    pub next: usize,
    /// Values of layers, each used by the next.
    pub bound: Vec<(LocalId, Expr)>,
}

impl Run {
    pub fn layer(&mut self) -> String {
        self.next += 1;
        format!("{}.{}", self.instance, self.next - 1)
    }
}

impl Checker<'_, '_> {
    /// Pass signals through layers. `target`: the plate that the last affine layer must end on.
    pub(super) fn run(
        &mut self,
        run: &mut Run,
        mut signals: Vec<Signal>,
        layers: &[Layer],
        target: Option<AxisId>,
    ) -> Option<Vec<Signal>> {
        let last = layers.iter().rposition(|l| matches!(l, Layer::Dense { .. }));
        for (i, layer) in layers.iter().enumerate() {
            signals = match layer {
                Layer::Dense { width, activation, span } => {
                    let name = run.layer();
                    let axis = match (target.filter(|_| last == Some(i)), width) {
                        (Some(wanted), width) => self.same_width(wanted, width, *span)?,
                        (None, Width::Plate(axis)) => *axis,
                        (None, Width::Cells(cells)) => self.units(&name, *span, cells.clone()),
                    };
                    let rectified = is_rectified(*activation, layers.get(i + 1));
                    let signals =
                        signals.into_iter().map(|s| self.flat_image(run, &name, s, *span)).collect::<Vec<_>>();
                    let x = self.affine(&name, &signals, &[axis], rectified, *span)?;
                    let x = self.keep(run, x, vec![axis]);
                    match activation {
                        Some(a) => {
                            let y = a.of(x.value.clone());
                            vec![self.keep(run, y, x.features)]
                        }
                        None => vec![x],
                    }
                }
                Layer::Activate(a, _) => {
                    let each = signals.into_iter().map(|s| {
                        let y = a.of(s.value.clone());
                        Signal { name: s.name, image: s.image, ..self.keep(run, y, s.features) }
                    });
                    each.collect()
                }
                Layer::Norm(span) => {
                    let x = self.single(&signals, "layer_norm", *span)?;
                    let name = run.layer();
                    let y = self.normalised(&name, &x, *span);
                    vec![Signal { image: x.image, ..self.keep(run, y, x.features) }]
                }
                Layer::Residual(inner, span) => {
                    let x = self.single(&signals, "residual", *span)?;
                    let &[axis] = x.features.as_slice() else {
                        self.needs_dense("residual", *span);
                        return None;
                    };
                    let after = self.run(run, vec![x.clone()], inner, Some(axis))?;
                    let added =
                        after.into_iter().fold(x.value, |sum, s| binary(BinOp::Add, sum, s.value, Ty::Real, *span));
                    vec![self.keep(run, added, x.features)]
                }
                Layer::Dropout(rate, span) => {
                    if signals.iter().any(|s| matches!(s.value.ty, Ty::Index(_))) {
                        self.needs_dense("dropout(0.2)", *span);
                        return None;
                    }
                    let each = signals.into_iter().map(|s| {
                        let kept = self.dropped(&run.instance, &s.value, *rate, *span);
                        Signal { name: s.name, image: s.image, ..self.keep(run, kept, s.features) }
                    });
                    each.collect()
                }
                Layer::Image(rows, columns, span) => {
                    let x = self.single(&signals, "image(28, 28)", *span)?;
                    vec![self.image(run, x, (rows.clone(), columns.clone()), *span)?]
                }
                Layer::Conv { channels, convolution, activation } => {
                    let name = run.layer();
                    let rectified = is_rectified(*activation, layers.get(i + 1));
                    let count = self.count(channels, Formula(convolution.span));
                    let x = self.convolved(run, &name, &signals, convolution, &|_, _, _| count.clone(), rectified)?;
                    match activation {
                        Some(a) => {
                            let y = a.of(x.value.clone());
                            vec![Signal { image: true, ..self.keep(run, y, x.features) }]
                        }
                        None => vec![x],
                    }
                }
                Layer::Pool(pool, size, span) => vec![self.pooled(run, &signals, *pool, *size, *span)?],
                Layer::Recurrent(width, cell) => {
                    let name = run.layer();
                    let count = self.count(width, Formula(cell.span));
                    let units = self.units(&name, cell.span, count);
                    vec![self.recurrent(run, &name, &signals, units, cell)?]
                }
                Layer::End(axis, last, span) => self.end_of_walk(run, signals, (*axis, *last), *span)?,
                Layer::Head(_, span) => {
                    self.diags.push(
                        Code::HEAD_MISPLACED
                            .at(*span, "`head` is the last layer of a net")
                            .here("layers follow it")
                            .help("move it to the end: `dense(50, tanh) |> head`"),
                    );
                    return None;
                }
            };
        }
        Some(signals)
    }

    /// Give a layer's value a name of its own, so that what follows refers to it once computed.
    pub(super) fn keep(&mut self, run: &mut Run, value: Expr, features: Vec<AxisId>) -> Signal {
        let id = self.fresh_local();
        let read = Expr { kind: ExprKind::Local(id), ty: Ty::Real, axes: value.axes.clone(), span: value.span };
        run.bound.push((id, value));
        Signal { name: String::new(), value: read, features, image: false }
    }

    fn single(&mut self, signals: &[Signal], layer: &str, span: Span) -> Option<Signal> {
        match signals {
            [one] if !one.features.is_empty() && !matches!(one.value.ty, Ty::Index(_)) => Some(one.clone()),
            _ => {
                self.needs_dense(layer, span);
                None
            }
        }
    }

    fn needs_dense(&mut self, layer: &str, span: Span) {
        self.diags.push(
            Code::NET_PLATES
                .at(span, format!("`{layer}` works on the units of one layer, and stands before any"))
                .here("no layer of units before it")
                .help(format!("put an affine layer first: `dense(50) |> {layer}`")),
        );
    }

    /// The plate that a residual must end on, if the width written is its size.
    fn same_width(&mut self, wanted: AxisId, width: &Width, span: Span) -> Option<AxisId> {
        let plate = self.hir.plate(self.plate_of(wanted));
        let size = match &plate.kind {
            PlateKind::Sized(e) => Some(e),
            _ => None,
        };
        let fits = match width {
            Width::Plate(axis) => *axis == wanted || self.plate_of(*axis) == self.plate_of(wanted),
            Width::Cells(cells) => match (&cells.kind, size.map(|e| &e.kind)) {
                (ExprKind::Number(a), Some(ExprKind::Number(b))) => a == b,
                (ExprKind::Size(p), _) => *p == self.plate_of(wanted),
                _ => size.is_some_and(|e| e.is_same_as(cells)),
            },
        };
        if fits {
            return Some(wanted);
        }
        let has = match size.map(|e| &e.kind) {
            Some(ExprKind::Number(n)) => format!("{n} units"),
            _ => format!("one unit per cell of `{}`", plate.name),
        };
        self.diags.push(
            Code::NET_PLATES
                .at(span, "what a residual adds must have as many units as what it is added to")
                .here(format!("another number than the {has} before it"))
                .help(match size.map(|e| &e.kind) {
                    Some(ExprKind::Number(n)) => format!("end the residual with `dense({n})`"),
                    _ => "end the residual with a layer on the same plate".to_string(),
                }),
        );
        None
    }

    /// `bias + Σ weight · input` over the plates of every input, one per cell of `outputs`.
    pub(super) fn affine(
        &mut self,
        name: &str,
        signals: &[Signal],
        outputs: &[AxisId],
        rectified: bool,
        span: Span,
    ) -> Option<Expr> {
        // A layer from a plate to itself has two axes over it.
        let inputs: Vec<Vec<AxisId>> = signals
            .iter()
            .map(|s| match s.value.ty {
                Ty::Index(plate) => vec![self.hir.plate(plate).axis],
                _ => s.features.clone(),
            })
            .collect();
        let bias = self.weight(&format!("{name}.bias"), span, outputs, Start::Number(0.0));
        let mut total = self.read_weight(bias, outputs.iter().map(|&a| Index::Axis(a)).collect(), outputs, span);
        for (s, own) in signals.iter().zip(&inputs) {
            let label = match signals.len() {
                1 => format!("{name}.weight"),
                _ => format!("{name}.weight.{}", s.name),
            };
            let (mut value, mut over) = (s.value.clone(), own.clone());
            for axis in over.iter_mut().filter(|a| outputs.iter().any(|o| o == *a)) {
                let second = self.input_axis(&label, *axis);
                if !matches!(value.ty, Ty::Index(_)) {
                    let axes = union(&minus(&value.axes, &[*axis]), &[second]);
                    let (ty, index) = (value.ty, Box::new(Index::Axis(second)));
                    value = Expr { kind: ExprKind::At { body: value.into(), axis: *axis, index }, ty, axes, span };
                }
                *axis = second;
            }
            let axes: Vec<AxisId> = outputs.iter().chain(&over).copied().collect();
            let start = Start::Draw { inputs: &inputs, outputs, rectified, spread: 1.0 };
            let weight = self.weight(&label, span, &axes, start);
            let part = if let Ty::Index(_) = value.ty {
                // A category is a column of weights: the product with its indicator.
                let around = union(outputs, &value.axes);
                let mut index: Vec<Index> = outputs.iter().map(|&a| Index::Axis(a)).collect();
                index.push(Index::At(value.into()));
                self.read_weight(weight, index, &around, span)
            } else {
                let read = self.read_weight(weight, axes.iter().map(|&a| Index::Axis(a)).collect(), &axes, span);
                let product = binary(BinOp::Mul, read, value, Ty::Real, span);
                if over.is_empty() {
                    product
                } else {
                    let rest = minus(&product.axes, &over);
                    let kind = ExprKind::Reduce { op: Reduction::Sum, axes: over, filter: None, body: product.into() };
                    Expr { kind, ty: Ty::Real, axes: rest, span }
                }
            };
            total = binary(BinOp::Add, total, part, Ty::Real, span);
        }
        (!is_bad(&total)).then_some(total)
    }

    pub(super) fn read_weight(&mut self, var: VarId, index: Vec<Index>, axes: &[AxisId], span: Span) -> Expr {
        self.used.insert(var);
        Expr { kind: ExprKind::Read { var, index }, ty: Ty::Real, axes: sorted(axes), span }
    }

    /// Units that are 0 with probability `rate` in a step of a fit, and larger by 1 / (1 - rate) otherwise (Srivastava, Hinton,
    /// Krizhevsky, Sutskever and Salakhutdinov 2014). Each call of a net has masks of its own.
    fn dropped(&mut self, instance: &str, x: &Expr, rate: f64, span: Span) -> Expr {
        let before = format!("{instance}.dropout ");
        let of = |v: &&Var| matches!(v.kind, VarKind::Mask { .. }) && v.name.starts_with(&before);
        let name = format!("{before}{}", self.hir.vars.iter().filter(of).count() + 1);
        let axes = x.axes.clone();
        let kind = VarKind::Mask { rate };
        let constraint = Constraint::None;
        let mask = self.add_var(Var { name, span, kind, axes: axes.clone(), joint: 0, ty: Ty::Real, constraint });
        let mask = self.read_weight(mask, axes.iter().map(|&a| Index::Axis(a)).collect(), &axes, span);
        binary(BinOp::Mul, mask, x.clone(), Ty::Real, span)
    }

    /// Mean 0 and variance 1 over the units, then a gain and a bias per unit (Ba, Kiros and Hinton 2016).
    fn normalised(&mut self, name: &str, x: &Signal, span: Span) -> Expr {
        let mean = |body: Expr| {
            let rest = minus(&body.axes, &x.features);
            let kind =
                ExprKind::Reduce { op: Reduction::Mean, axes: x.features.clone(), filter: None, body: body.into() };
            Expr { kind, ty: Ty::Real, axes: rest, span }
        };
        let centred = binary(BinOp::Sub, x.value.clone(), mean(x.value.clone()), Ty::Real, span);
        let id = self.fresh_local();
        let c = Expr { kind: ExprKind::Local(id), ty: Ty::Real, axes: centred.axes.clone(), span };
        let variance = mean(binary(BinOp::Mul, c.clone(), c.clone(), Ty::Real, span));
        let floor = number(NORM_FLOOR, Ty::Real, span);
        let sd = unary(UnOp::Sqrt, binary(BinOp::Add, variance, floor, Ty::Real, span), Ty::Real, span);
        let gain = self.weight(&format!("{name}.gain"), span, &x.features, Start::Number(1.0));
        let bias = self.weight(&format!("{name}.bias"), span, &x.features, Start::Number(0.0));
        let index = || x.features.iter().map(|&a| Index::Axis(a)).collect();
        let (gain, bias) =
            (self.read_weight(gain, index(), &x.features, span), self.read_weight(bias, index(), &x.features, span));
        let scaled = binary(BinOp::Mul, gain, binary(BinOp::Div, c, sd, Ty::Real, span), Ty::Real, span);
        super::super::expr::bind(id, centred, binary(BinOp::Add, scaled, bias, Ty::Real, span))
    }

    /// One result: an affine layer, and the transform of its constraint.
    pub(super) fn head(
        &mut self,
        run: &mut Run,
        (signals, by): (&[Signal], Option<&Convolution>),
        name: Option<&Ident>,
        ty: &ast::Type,
        constraint: Constraint,
        axes: &[AxisId],
    ) -> Option<Expr> {
        let span = ty.span;
        let instance = format!("{}.head", run.instance);
        let layer = match name {
            Some(n) => format!("{}.{}", run.instance, n.name),
            None => instance.clone(),
        };
        let x = match by {
            Some(convolution) => self.image_head(run, &layer, signals, convolution, axes)?,
            None => {
                let signals: Vec<Signal> =
                    signals.iter().map(|s| self.flat_image(run, &instance, s.clone(), span)).collect();
                self.affine(&layer, &signals, axes, false, span)?
            }
        };
        let of = |op, a: Expr, b: Expr| binary(op, a, b, Ty::Real, span);
        let exp = |x: Expr| unary(UnOp::Exp, x, Ty::Real, span);
        Some(match constraint {
            Constraint::None => x,
            Constraint::Lower { bound, .. } if matches!(bound.kind, ExprKind::Number(0.0)) => exp(x),
            Constraint::Lower { bound, .. } => of(BinOp::Add, bound, exp(x)),
            Constraint::Upper { bound, .. } => of(BinOp::Sub, bound, exp(x)),
            Constraint::Interval { lower, upper, .. } => {
                let width = of(BinOp::Sub, upper, lower.clone());
                of(BinOp::Add, lower, of(BinOp::Mul, width, unary(UnOp::Sigmoid, x, Ty::Real, span)))
            }
            Constraint::Simplex => {
                let over: Vec<AxisId> = axes.last().copied().into_iter().collect();
                let logits = self.keep(run, x, axes.to_vec()).value;
                let rest = minus(&logits.axes, &over);
                let kind = ExprKind::Reduce {
                    op: Reduction::LogSumExp,
                    axes: over,
                    filter: None,
                    body: logits.clone().into(),
                };
                let total = Expr { kind, ty: Ty::Real, axes: rest, span };
                exp(of(BinOp::Sub, logits, total))
            }
            Constraint::Matrix(_) | Constraint::UnitVector | Constraint::ZeroSum | Constraint::Ordered { .. } => {
                unreachable!("the types of heads are looked at first")
            }
        })
    }
}

/// Whether the activation that follows a layer loses about half of its inputs.
fn is_rectified(own: Option<Activation>, next: Option<&Layer>) -> bool {
    let next = next.and_then(|l| if let Layer::Activate(a, _) = l { Some(*a) } else { None });
    own.or(next).is_some_and(Activation::is_rectifier)
}
