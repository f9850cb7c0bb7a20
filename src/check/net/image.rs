//! Images in nets: convolutions and their transposes, pooling. An image is a value over rows, columns and channels.
//!
//! A convolution is a sum over the taps of its kernel, all channels together, of weights times patches: what each place of the
//! result sees. Patches are stored, so that the sum is a product of matrices. Where a patch leaves the image it is 0. With
//! stride s an image of R rows has ⌈R / s⌉ after a convolution, and s R after a transposed one, which is the transpose of the
//! first as a linear map (Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning").

use super::super::expr::is_bad;
use super::super::*;
use super::formula::Formula;
use super::layers::{Run, Signal, Width};
use super::weights::Start;
use crate::diag::Code;
use crate::hir::{BinOp, UnOp};

/// `conv(16, 3, stride: 2)`
pub(super) struct Convolution {
    pub kernel: f64,
    pub stride: f64,
    pub transposed: bool,
    pub span: Span,
}

/// What pooling makes of a window.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pool {
    Max,
    Mean,
}

/// The axes of an image.
#[derive(Clone, Copy)]
struct Frame {
    row: AxisId,
    column: AxisId,
    channel: Option<AxisId>,
}

impl Checker<'_, '_> {
    /// `image(28, 28)`: the units of one plate, row after row, as rows and columns; the channels of a pixel stand together, and
    /// are as many as there are units left.
    pub(super) fn image(&mut self, run: &mut Run, x: Signal, sides: (Expr, Expr), span: Span) -> Option<Signal> {
        let at = Formula(span);
        let &[units] = x.features.as_slice() else {
            self.no_image(
                span,
                "`image` arranges the units of one plate",
                "put it behind the parameter, or a `dense` layer",
            );
            return None;
        };
        let name = run.layer();
        let plate = self.plate_of(units);
        let channels = at.div(at.size(plate), at.mul(sides.0.clone(), sides.1.clone()));
        let frame = self.frame(&name, span, sides.0, sides.1, channels);
        let position = self.position_in(frame, at);
        let value = self.store(run, x.value);
        let y = self.gathered(value, units, position, at);
        Some(self.framed(run, y, frame))
    }

    /// New plates for the rows, columns and channels of an image.
    fn frame(&mut self, name: &str, span: Span, rows: Expr, columns: Expr, channels: Expr) -> Frame {
        let row = self.units(&format!("{name}.rows"), span, rows);
        let column = self.units(&format!("{name}.columns"), span, columns);
        let channel = self.units(&format!("{name}.channels"), span, channels);
        Frame { row, column, channel: Some(channel) }
    }

    /// Where a cell of an image stands among its units.
    fn position_in(&self, f: Frame, at: Formula) -> Expr {
        let place = at.add(at.mul(at.position(f.row), at.size(self.plate_of(f.column))), at.position(f.column));
        match f.channel {
            Some(c) => at.add(at.mul(place, at.size(self.plate_of(c))), at.position(c)),
            None => place,
        }
    }

    fn framed(&mut self, run: &mut Run, value: Expr, f: Frame) -> Signal {
        let features = [f.row, f.column].into_iter().chain(f.channel).collect();
        Signal { image: true, ..self.keep(run, value, features) }
    }

    /// `value` at a position on one of its plates.
    pub(super) fn gathered(&self, value: Expr, axis: AxisId, mut position: Expr, at: Formula) -> Expr {
        position.ty = Ty::Index(self.plate_of(axis));
        let axes = union(&minus(&value.axes, &[axis]), &position.axes);
        let kind = ExprKind::At { body: value.into(), axis, index: Box::new(Index::At(position.into())) };
        Expr { kind, ty: Ty::Real, axes, span: at.0 }
    }

    fn no_image(&mut self, span: Span, said: &str, help: &str) {
        self.diags.push(Code::NET_PLATES.at(span, said).here("no such values before it").help(help));
    }

    /// The image that a layer is given.
    fn seen(&mut self, signals: &[Signal], layer: &str, span: Span) -> Option<(Expr, Frame)> {
        if let [x] = signals
            && !matches!(x.value.ty, Ty::Index(_))
        {
            match *x.features.as_slice() {
                [row, column] => return Some((x.value.clone(), Frame { row, column, channel: None })),
                [row, column, channel] => {
                    return Some((x.value.clone(), Frame { row, column, channel: Some(channel) }));
                }
                _ => {}
            }
        }
        let said = format!("`{layer}` works on an image: values over rows and columns, and channels perhaps");
        self.no_image(span, &said, &format!("say how many rows and columns the units are: `image(28, 28) |> {layer}`"));
        None
    }

    /// The sum over taps, with a bias per channel of the result. `channels`: their number, from the sides of the result.
    pub(super) fn convolved(
        &mut self,
        run: &mut Run,
        name: &str,
        signals: &[Signal],
        c: &Convolution,
        channels: &dyn Fn(Formula, Expr, Expr) -> Expr,
        rectified: bool,
    ) -> Option<Signal> {
        let at = Formula(c.span);
        let (x, from) = self.seen(signals, if c.transposed { "conv_transpose" } else { "conv" }, c.span)?;
        let side = |s: &Self, a: AxisId| at.size(s.plate_of(a));
        let stride = at.number(c.stride);
        let resized = |n: Expr| match c.transposed {
            true => at.mul(n, stride.clone()),
            false => at.apply(UnOp::Ceil, at.div(n, stride.clone())),
        };
        let (rows, columns) = (resized(side(self, from.row)), resized(side(self, from.column)));
        let count = channels(at, rows.clone(), columns.clone());
        let to = self.frame(name, c.span, rows, columns, count);
        let own = to.channel?;
        let deep = from.channel.map_or(at.number(1.0), |a| side(self, a));
        let taps = at.mul(at.number(c.kernel * c.kernel), deep.clone());
        let tap = self.units(&format!("{name}.taps"), c.span, taps);
        let (place, channel) =
            (at.apply(UnOp::Floor, at.div(at.position(tap), deep.clone())), at.remainder(at.position(tap), deep));
        let kernel = at.number(c.kernel);
        let down = at.apply(UnOp::Floor, at.div(place.clone(), kernel.clone()));
        let across = at.remainder(place, kernel);
        let value = self.store(run, x);
        let (down, is_down) = self.looked_at(c, at.position(to.row), down, side(self, from.row));
        let (across, is_across) = self.looked_at(c, at.position(to.column), across, side(self, from.column));
        let mut patch = self.gathered(value, from.row, down, at);
        patch = self.gathered(patch, from.column, across, at);
        if let Some(a) = from.channel {
            patch = self.gathered(patch, a, channel, at);
        }
        let patch = at.mul(at.mul(is_down, is_across), patch);
        let patch = self.store(run, patch);
        let bias = self.weight(&format!("{name}.bias"), c.span, &[own], Start::Number(0.0));
        let bias = self.read_weight(bias, vec![Index::Axis(own)], &[own], c.span);
        let (inputs, outputs) = ([vec![tap]], [own]);
        let spread = c.kernel * c.kernel;
        let start = Start::Draw { inputs: &inputs, outputs: &outputs, rectified, spread };
        let weight = self.weight(&format!("{name}.weight"), c.span, &[own, tap], start);
        let weight = self.read_weight(weight, vec![Index::Axis(own), Index::Axis(tap)], &[own, tap], c.span);
        let total = at.add(bias, at.sum(tap, at.mul(weight, patch)));
        (!is_bad(&total)).then(|| self.framed(run, total, to))
    }

    /// Where a tap looks for a place of the result, and 1 if that is inside of the image of `n` rows, 0 if not.
    fn looked_at(&self, c: &Convolution, place: Expr, tap: Expr, n: Expr) -> (Expr, Expr) {
        let at = Formula(c.span);
        let stride = at.number(c.stride);
        let pad = at.number(((c.kernel - 1.0) / 2.0).floor());
        let (found, hit) = if c.transposed {
            let sum = at.sub(at.add(place, pad), tap);
            let found = at.apply(UnOp::Floor, at.div(sum.clone(), stride.clone()));
            let hit = at.of(BinOp::Equal, at.mul(found.clone(), stride), sum);
            (found, hit)
        } else {
            (at.sub(at.add(at.mul(place, stride), tap), pad), at.number(1.0))
        };
        let last = at.sub(n, at.number(1.0));
        let inside = at.mul(
            at.of(BinOp::LessEq, at.number(0.0), found.clone()),
            at.of(BinOp::LessEq, found.clone(), last.clone()),
        );
        (at.min(at.max(found, at.number(0.0)), last), at.mul(hit, inside))
    }

    /// The largest or the mean value of each square window; rows and columns that fill none are left out.
    pub(super) fn pooled(
        &mut self,
        run: &mut Run,
        signals: &[Signal],
        pool: Pool,
        size: f64,
        span: Span,
    ) -> Option<Signal> {
        let at = Formula(span);
        let (word, op) = match pool {
            Pool::Max => ("max_pool(2)", Reduction::Max),
            Pool::Mean => ("mean_pool(2)", Reduction::Mean),
        };
        let (x, from) = self.seen(signals, word, span)?;
        let name = run.layer();
        let side = at.number(size);
        let less = |n: Expr| at.apply(UnOp::Floor, at.div(n, side.clone()));
        let rows = less(at.size(self.plate_of(from.row)));
        let columns = less(at.size(self.plate_of(from.column)));
        let row = self.units(&format!("{name}.rows"), span, rows);
        let column = self.units(&format!("{name}.columns"), span, columns);
        let tap = self.units(&format!("{name}.taps"), span, at.number(size * size));
        let down = at.apply(UnOp::Floor, at.div(at.position(tap), side.clone()));
        let across = at.remainder(at.position(tap), side.clone());
        let value = self.store(run, x);
        let y = self.gathered(value, from.row, at.add(at.mul(at.position(row), side.clone()), down), at);
        let y = self.gathered(y, from.column, at.add(at.mul(at.position(column), side), across), at);
        let y = at.reduce(op, tap, None, y);
        Some(self.framed(run, y, Frame { row, column, channel: from.channel }))
    }

    /// An image as the units of one plate.
    pub(super) fn flat_image(&mut self, run: &mut Run, name: &str, x: Signal, span: Span) -> Signal {
        if !x.image {
            return x;
        }
        let at = Formula(span);
        let cells = x.features.iter().map(|a| at.size(self.plate_of(*a))).reduce(|a, b| at.mul(a, b));
        let cells = cells.unwrap_or_else(|| at.number(1.0));
        let unit = self.units(&format!("{name}.units"), span, cells);
        let mut value = self.store(run, x.value);
        let mut rest = at.position(unit);
        for &axis in x.features.iter().rev() {
            let n = at.size(self.plate_of(axis));
            value = self.gathered(value, axis, at.remainder(rest.clone(), n.clone()), at);
            rest = at.apply(UnOp::Floor, at.div(rest, n));
        }
        let value = self.store(run, value);
        Signal { name: x.name, value, features: vec![unit], image: false }
    }

    /// `head(conv(3))`: a convolution per result, whose cells are those of the result's plate, row after row.
    pub(super) fn image_head(
        &mut self,
        run: &mut Run,
        name: &str,
        signals: &[Signal],
        c: &Convolution,
        axes: &[AxisId],
    ) -> Option<Expr> {
        let at = Formula(c.span);
        let mapped = signals.iter().fold(vec![], |all, s| union(&all, &minus(&s.value.axes, &s.features)));
        let &[pixel] = minus(axes, &mapped).as_slice() else {
            self.diags.push(
                Code::NET_PLATES
                    .at(c.span, "a convolution as head gives one value per cell of one plate, row after row")
                    .here("the result has other plates")
                    .help("declare the result over the plate of the pixels: `-> real[pixel]`"),
            );
            return None;
        };
        let size = at.size(self.plate_of(pixel));
        let channels = move |at: Formula, rows: Expr, columns: Expr| at.div(size.clone(), at.mul(rows, columns));
        let y = self.convolved(run, name, signals, c, &channels, false)?;
        let mut value = self.store(run, y.value);
        let mut rest = at.position(pixel);
        for &axis in y.features.iter().rev() {
            let n = at.size(self.plate_of(axis));
            value = self.gathered(value, axis, at.remainder(rest.clone(), n.clone()), at);
            rest = at.apply(UnOp::Floor, at.div(rest, n));
        }
        Some(value)
    }

    /// How many units a width says.
    pub(super) fn count(&self, width: &Width, at: Formula) -> Expr {
        match width {
            Width::Cells(cells) => cells.clone(),
            Width::Plate(axis) => at.size(self.plate_of(*axis)),
        }
    }
}
