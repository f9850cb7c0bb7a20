//! The body of a net, `dense(400, tanh) |> residual(dense(400, relu)) |> head`, as a list of layers.

use super::super::expr::is_bad;
use super::super::*;
use super::NetDecl;
use super::activation::{ACTIVATIONS, Activation};
use super::chain::filled;
use super::formula::Formula;
use super::image::{Convolution, Pool};
use super::layers::{Layer, Width};
use super::recurrent::{Cell, Recurrent};
use crate::diag::{Code, nearest};
use crate::syntax::ast::{Arg, ExprKind as A};

const LAYERS: [&str; 14] = [
    "conv",
    "conv_transpose",
    "dense",
    "dropout",
    "first",
    "gru",
    "head",
    "image",
    "last",
    "layer_norm",
    "max_pool",
    "mean_pool",
    "residual",
    "rnn",
];

/// What other libraries call a layer.
const FOREIGN: &[(&str, &str)] = &[
    ("linear", "write `dense(50)`"),
    ("affine", "write `dense(50)`"),
    ("fully_connected", "write `dense(50)`"),
    ("conv2d", "write `conv(16, 3)`: 16 channels, by a kernel of 3 × 3"),
    ("deconv", "write `conv_transpose(16, 3, stride: 2)`"),
    ("flatten", "leave it out: `dense` and `head` take all values of an image"),
    ("lstm", "write `gru(20, day)`, with the plate that it goes along"),
    ("reshape", "write `image(28, 28)`"),
    ("batch_norm", "write `layer_norm`: it treats every row alike, whatever the batch"),
    ("split", "declare the results, `-> (mu: real[code], sigma: real[code] > 0)`, and end with `head`"),
    ("softmax", "declare the result `simplex[class]` and end with `head`"),
    ("exp", "declare the result `real > 0` and end with `head`"),
    ("embedding", "declare the parameter with the name of its plate: `net f(c: county, …)`"),
];

impl<'a> Checker<'a, '_> {
    /// The value that the layers start from, if it is not the parameters, and the layers.
    pub(super) fn pipeline(&mut self, net: NetDecl<'a>, env: &Env) -> Option<(Option<&'a ast::Expr>, Vec<Layer>)> {
        let mut parts = flat(net.body);
        let first = parts.first().copied().filter(|e| self.is_source(e, env));
        if first.is_some() {
            parts.remove(0);
        }
        let layers = self.layers(&parts, env)?;
        Some((first, layers))
    }

    fn is_source(&self, e: &ast::Expr, env: &Env) -> bool {
        match &e.kind {
            A::Name(n) => env.locals.iter().any(|l| l.0 == *n),
            A::Call { callee, .. } => match &callee.kind {
                A::Name(n) => {
                    let value = self.net(n, env).is_some() || self.function(n, env).is_some();
                    !LAYERS.contains(&n.as_str()) && value && self.chain(n, env).is_none()
                }
                A::Index { .. } => true,
                _ => false,
            },
            A::Field { .. } | A::Binary { .. } | A::Unary { .. } | A::Index { .. } | A::If { .. } => true,
            _ => false,
        }
    }

    pub(super) fn layers(&mut self, parts: &[&'a ast::Expr], env: &Env) -> Option<Vec<Layer>> {
        // Every layer is looked at, so that all mistakes are said at once.
        let layers: Vec<Option<Vec<Layer>>> =
            parts.iter().map(|e| self.in_place(e, &mut |c, e| c.layers_of(e, env))).collect();
        Some(layers.into_iter().collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// A layer, or those that a name stands for.
    fn layers_of(&mut self, e: &'a ast::Expr, env: &Env) -> Option<Vec<Layer>> {
        match &e.kind {
            A::Pipe { .. } => self.layers(&flat(e), env),
            A::Call { callee, args } => match &callee.kind {
                A::Name(n) if !LAYERS.contains(&n.as_str()) => match self.chain(n, env) {
                    Some(chain) => self.of_chain(chain, args, e, env),
                    None => self.layer(e, env).map(|l| vec![l]),
                },
                _ => self.layer(e, env).map(|l| vec![l]),
            },
            _ => self.layer(e, env).map(|l| vec![l]),
        }
    }

    fn layer(&mut self, e: &'a ast::Expr, env: &Env) -> Option<Layer> {
        let (name, span, args): (&str, Span, &'a [Arg]) = match &e.kind {
            A::Name(n) => (n, e.span, &[]),
            A::Call { callee, args } => match &callee.kind {
                A::Name(n) => (n, callee.span, args),
                _ => return self.not_a_layer(e),
            },
            A::Error => return None,
            _ => return self.not_a_layer(e),
        };
        if let Some(a) = Activation::named(name) {
            return self.without_arguments(name, args, e, Layer::Activate(a, e.span));
        }
        match name {
            "head" => match args {
                [Arg { name: None, value, .. }] => self.convolution_head(value, e.span),
                _ => self.without_arguments(name, args, e, Layer::Head(None, e.span)),
            },
            "image" => self.image_layer(args, e, env),
            "conv" | "conv_transpose" => self.convolution_layer(name, args, e, env),
            "max_pool" | "mean_pool" => {
                let pool = if name == "max_pool" { Pool::Max } else { Pool::Mean };
                match args {
                    [Arg { name: None, value, .. }] => self.side(value).map(|n| Layer::Pool(pool, n, e.span)),
                    _ => self.layer_arguments(
                        e,
                        &format!("`{name}` takes the side of its windows"),
                        &format!("{name}(2)"),
                    ),
                }
            }
            "layer_norm" => self.without_arguments(name, args, e, Layer::Norm(e.span)),
            "dense" => self.dense(args, e, env),
            "dropout" => self.dropout(args, e),
            "rnn" | "gru" => self.recurrent_layer(name, args, e, env),
            "first" | "last" => match args {
                [Arg { name: None, value, .. }] => {
                    let axis = self.plate_argument(value, env)?;
                    Some(Layer::End(axis, name == "last", e.span))
                }
                _ => {
                    self.layer_arguments(e, &format!("`{name}` takes a plate"), &format!("gru(20, day) |> {name}(day)"))
                }
            },
            "residual" => match args {
                [one] if one.name.is_none() => Some(Layer::Residual(self.layers(&flat(&one.value), env)?, e.span)),
                _ => self.layer_arguments(
                    e,
                    "`residual` takes the layers whose result is added",
                    "residual(dense(50, relu))",
                ),
            },
            _ => {
                self.unknown_layer(name, span);
                None
            }
        }
    }

    fn dense(&mut self, args: &'a [Arg], e: &'a ast::Expr, env: &Env) -> Option<Layer> {
        let (width, activation) = match args {
            [width] => (width, None),
            [width, activation] => (width, Some(activation)),
            _ => {
                return self.layer_arguments(e, "`dense` takes a number of units and an activation", "dense(50, tanh)");
            }
        };
        let activation = self.activation(activation)?;
        let width = self.width(&width.value, env)?;
        Some(Layer::Dense { width, activation, span: e.span })
    }

    /// The activation that an argument names, if there is one; outer `None`: reported.
    fn activation(&mut self, arg: Option<&'a Arg>) -> Option<Option<Activation>> {
        let arg = arg.map(|a| self.in_place(&a.value, &mut |_, e| e));
        match arg.map(|e| (&e.kind, e.span)) {
            None => Some(None),
            Some((A::Name(n), span)) => {
                let known = Activation::named(n);
                if known.is_none() {
                    self.unknown_activation(n, span);
                }
                known.map(Some)
            }
            Some((A::Error, _)) => None,
            Some((_, span)) => {
                self.diags.push(
                    Code::UNKNOWN_LAYER
                        .at(span, "an activation is given by its name")
                        .here("not a name")
                        .help("write `dense(50, tanh)`"),
                );
                None
            }
        }
    }

    /// `image(28, 28)`
    fn image_layer(&mut self, args: &'a [Arg], e: &'a ast::Expr, env: &Env) -> Option<Layer> {
        let [Arg { name: None, value: rows, .. }, Arg { name: None, value: columns, .. }] = args else {
            return self.layer_arguments(e, "`image` takes the numbers of rows and columns", "image(28, 28)");
        };
        let at = Formula(e.span);
        let (rows, columns) = (self.width(rows, env)?, self.width(columns, env)?);
        Some(Layer::Image(self.count(&rows, at), self.count(&columns, at), e.span))
    }

    /// `conv(16, 3, relu, stride: 2)`
    fn convolution_layer(&mut self, name: &str, args: &'a [Arg], e: &'a ast::Expr, env: &Env) -> Option<Layer> {
        let (named, places): (Vec<&'a Arg>, Vec<&'a Arg>) = args.iter().partition(|a| a.name.is_some());
        let (channels, kernel, activation) = match places.as_slice() {
            [channels, kernel] => (channels, kernel, None),
            [channels, kernel, activation] => (channels, kernel, Some(*activation)),
            _ => {
                let said = format!("`{name}` takes a number of channels, the side of its kernel, and an activation");
                return self.layer_arguments(e, &said, &format!("{name}(16, 3, relu, stride: 2)"));
            }
        };
        let convolution = self.convolution(name, &kernel.value, &named, e)?;
        let activation = self.activation(activation)?;
        let channels = self.width(&channels.value, env)?;
        Some(Layer::Conv { channels, convolution, activation })
    }

    /// `head(conv(3))`
    fn convolution_head(&mut self, e: &'a ast::Expr, span: Span) -> Option<Layer> {
        if let A::Call { callee, args } = &e.kind
            && let A::Name(name) = &callee.kind
            && matches!(name.as_str(), "conv" | "conv_transpose")
        {
            let (named, places): (Vec<&'a Arg>, Vec<&'a Arg>) = args.iter().partition(|a| a.name.is_some());
            if let [kernel] = places.as_slice() {
                let convolution = self.convolution(name, &kernel.value, &named, e)?;
                return Some(Layer::Head(Some(convolution), span));
            }
            let said = format!("a `{name}` as head takes the side of its kernel: its channels are those of the result");
            return self.layer_arguments(e, &said, &format!("head({name}(3))"));
        }
        self.layer_arguments(e, "`head` takes no arguments, or a convolution", "head(conv(3))")
    }

    fn convolution(
        &mut self,
        name: &str,
        kernel: &'a ast::Expr,
        named: &[&'a Arg],
        e: &'a ast::Expr,
    ) -> Option<Convolution> {
        let mut stride = 1.0;
        for arg in named {
            match &arg.name {
                Some(n) if n.name == "stride" => stride = self.side(&arg.value)?,
                _ => {
                    let said = format!("`{name}` has one argument with a name, `stride`");
                    return self.layer_arguments(e, &said, &format!("{name}(16, 3, relu, stride: 2)")).and(None);
                }
            }
        }
        let kernel = self.side(kernel)?;
        Some(Convolution { kernel, stride, transposed: name == "conv_transpose", span: e.span })
    }

    /// `gru(20, day)`, `gru(20, day, backwards)`
    fn recurrent_layer(&mut self, name: &str, args: &'a [Arg], e: &'a ast::Expr, env: &Env) -> Option<Layer> {
        let back = |a: &Arg| matches!(&a.value.kind, A::Name(n) if n == "backwards") && a.name.is_none();
        let (width, plate, backwards) = match args {
            [w, p] if w.name.is_none() && p.name.is_none() => (w, p, false),
            [w, p, b] if w.name.is_none() && p.name.is_none() && back(b) => (w, p, true),
            _ => {
                let said = format!("`{name}` takes a number of units and the plate that it goes along");
                return self.layer_arguments(e, &said, &format!("{name}(20, day)` or `{name}(20, day, backwards)"));
            }
        };
        let plate = self.plate_argument(&plate.value, env)?;
        let width = self.width(&width.value, env)?;
        let cell = if name == "gru" { Cell::Gated } else { Cell::Simple };
        Some(Layer::Recurrent(width, Recurrent { cell, plate, backwards, span: e.span }))
    }

    fn plate_argument(&mut self, e: &'a ast::Expr, env: &Env) -> Option<AxisId> {
        match &e.kind {
            A::Name(n) => self.axis_named(&Ident { name: n.clone(), span: e.span }, env),
            A::Error => None,
            _ => {
                self.diags.push(
                    Code::NET_PLATES
                        .at(e.span, "a recurrent cell goes along a plate")
                        .here("not the name of a plate")
                        .help("write `gru(20, day)`, with the plate of a parameter such as `y: real[day]`"),
                );
                None
            }
        }
    }

    /// A whole number from 1 on, as written.
    fn side(&mut self, e: &'a ast::Expr) -> Option<f64> {
        let e = self.in_place(e, &mut |_, e| e);
        match e.kind {
            A::Number { value, .. } if value.fract() == 0.0 && (1.0..=1e4).contains(&value) => Some(value),
            A::Error => None,
            _ => {
                self.diags.push(
                    Code::LAYER_SIZE
                        .at(e.span, "the side of a kernel or a window, and a stride, is a whole number")
                        .here("not such a number")
                        .help("write `conv(16, 3, stride: 2)`: 16 channels, a kernel of 3 × 3, every second row and column"),
                );
                None
            }
        }
    }

    fn dropout(&mut self, args: &'a [Arg], e: &'a ast::Expr) -> Option<Layer> {
        let [Arg { name: None, value, .. }] = args else {
            return self.layer_arguments(e, "`dropout` takes the share of units that is dropped", "dropout(0.2)");
        };
        let value = self.in_place(value, &mut |_, e| e);
        match value.kind {
            A::Number { value: rate, .. } if (0.0..1.0).contains(&rate) => Some(Layer::Dropout(rate, e.span)),
            A::Error => None,
            _ => {
                self.diags.push(
                    Code::DROPOUT
                        .at(value.span, "the share of units that is dropped is a number from 0 up to, but below, 1")
                        .here("not such a share")
                        .help("write `dropout(0.2)`"),
                );
                None
            }
        }
    }

    pub(super) fn width(&mut self, e: &'a ast::Expr, env: &Env) -> Option<Width> {
        self.in_place(e, &mut |c, e| c.width_here(e, env))
    }

    fn width_here(&mut self, e: &'a ast::Expr, env: &Env) -> Option<Width> {
        if let A::Name(n) = &e.kind
            && (env.plates.iter().any(|p| p.0 == *n) || self.names.get(n).is_some_and(|x| x.plate.is_some()))
        {
            return self.axis_named(&Ident { name: n.clone(), span: e.span }, env).map(Width::Plate);
        }
        let known = self.numbers_in_place(env)?;
        let locals = known.iter().map(|k| (k.0.clone(), k.1.clone())).collect();
        let scope = Env { scope: Scope::Constant, plates: env.plates.clone(), locals, ..Env::default() };
        let v = self.expr(e, &scope);
        if is_bad(&v) {
            return None;
        }
        let v = filled(v, &known);
        let whole = match v.kind {
            ExprKind::Number(n) => n.fract() == 0.0 && (1.0..1e9).contains(&n),
            _ => v.ty == Ty::Int && v.axes.is_empty(),
        };
        if !whole {
            self.diags.push(
                Code::LAYER_SIZE
                    .at(e.span, "the number of units of a layer is a whole number that is known before fitting")
                    .here("not a number of units")
                    .help("write `dense(50)`, the name of a plate, or a constant"),
            );
            return None;
        }
        Some(Width::Cells(v))
    }

    fn without_arguments(&mut self, name: &str, args: &[Arg], e: &ast::Expr, layer: Layer) -> Option<Layer> {
        if args.is_empty() && matches!(e.kind, A::Name(_)) {
            return Some(layer);
        }
        self.layer_arguments(e, &format!("`{name}` takes no arguments here"), name)
    }

    fn layer_arguments(&mut self, e: &ast::Expr, message: &str, example: &str) -> Option<Layer> {
        if !self.misread() {
            self.diags.push(
                Code::WRONG_ARGUMENT_COUNT
                    .at(e.span, message.to_string())
                    .here("other arguments")
                    .help(format!("write `{example}`")),
            );
        }
        None
    }

    fn not_a_layer(&mut self, e: &ast::Expr) -> Option<Layer> {
        self.diags.push(
            Code::UNKNOWN_LAYER
                .at(e.span, "the body of a net is a chain of layers")
                .here("not a layer")
                .help("write layers one after the other: `dense(50, tanh) |> head`; a formula belongs in a `fn`"),
        );
        None
    }

    fn unknown_layer(&mut self, name: &str, span: Span) {
        let known = LAYERS.into_iter().chain(ACTIVATIONS.iter().map(|a| a.0));
        let d = Code::UNKNOWN_LAYER.at(span, format!("there is no layer called `{name}`")).here("unknown layer");
        let lower = name.to_lowercase();
        let foreign = FOREIGN.iter().find(|f| f.0 == lower || f.0.replace('_', "") == lower);
        self.diags.push(match (foreign, nearest(name, known)) {
            (Some((_, advice)), _) => d.help(*advice),
            (None, Some(n)) => d.meant(n),
            (None, None) => d.help(format!("layers are `{}`, and activations such as `tanh`", LAYERS.join("`, `"))),
        });
    }

    fn unknown_activation(&mut self, name: &str, span: Span) {
        let known: Vec<&str> = ACTIVATIONS.iter().map(|a| a.0).collect();
        let d =
            Code::UNKNOWN_LAYER.at(span, format!("there is no activation called `{name}`")).here("unknown activation");
        self.diags.push(match nearest(name, known.iter().copied()) {
            Some(n) => d.meant(n),
            None => d.help(format!("activations are {}", known.join(", "))),
        });
    }
}

/// `a |> b |> c` as a list.
pub(in crate::check) fn flat(e: &ast::Expr) -> Vec<&ast::Expr> {
    match &e.kind {
        A::Pipe { left, right } => {
            let mut parts = flat(left);
            parts.extend(flat(right));
            parts
        }
        _ => vec![e],
    }
}
