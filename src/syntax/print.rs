//! A tree as canonical source text: `parse(print(parse(x)))` is the tree of `x`, but for places and comments.

use super::ast::*;
use std::fmt::{self, Write};

/// The program in canonical form, one declaration per line.
pub fn print(ast: &Ast) -> String {
    let mut out = String::new();
    for decl in &ast.decls {
        if let Some(doc) = &decl.doc {
            for line in doc.lines() {
                let _ = writeln!(out, "# {line}");
            }
        }
        let _ = writeln!(out, "{}{}", decl.kind, Attrs(&decl.attrs));
    }
    out
}

/// Values separated by `, `.
struct List<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.0.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{item}")?;
        }
        Ok(())
    }
}

/// `: TYPE`, if there is one.
struct Typed<'a>(&'a Option<Type>);

impl fmt::Display for Typed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |ty| write!(f, ": {ty}"))
    }
}

/// ` from SOURCE`, if there is one.
struct From<'a>(&'a Option<ColumnSource>);

impl fmt::Display for From<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(ColumnSource::Name(name)) => write!(f, " from {name}"),
            Some(ColumnSource::Range(first, last)) => write!(f, " from {first}..{last}"),
            Some(ColumnSource::List(names, _)) => write!(f, " from [{}]", List(names)),
        }
    }
}

/// ` over a`, ` over (a, b)`, or nothing.
struct Over<'a>(&'a [Axis]);

impl fmt::Display for Over<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => Ok(()),
            [axis] => write!(f, " over {axis}"),
            axes => write!(f, " over ({})", List(axes)),
        }
    }
}

/// `[…]`, or nothing.
struct Brackets<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Brackets<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "[{}]", List(self.0)) }
    }
}

struct Attrs<'a>(&'a [Attr]);

impl fmt::Display for Attrs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|attr| write!(f, " {attr}"))
    }
}

/// `{ … }` with one item per line.
struct Block<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Block<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{\n")?;
        for item in self.0 {
            // A body in braces spans several lines; a quoted text never does.
            writeln!(f, "  {}", item.to_string().replace('\n', "\n  "))?;
        }
        f.write_str("}")
    }
}

impl fmt::Display for DeclKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeclKind::Table { name, fields } => write!(f, "data {name} {}", Block(fields)),
            DeclKind::DataValue { names, ty, from, default } => {
                write!(f, "data {}: {ty}{}", List(names), From(from))?;
                default.as_ref().map_or(Ok(()), |value| write!(f, " = {value}"))
            }
            DeclKind::Plate { name, value } => write!(f, "plate {name} = {value}"),
            DeclKind::Const { name, value } => write!(f, "const {name} = {value}"),
            DeclKind::Latent { heads, ty, dist } => write!(f, "latent {}{} ~ {dist}", List(heads), Typed(ty)),
            DeclKind::Param { head, ty, init } => write!(f, "param {head}{} = {init}", Typed(ty)),
            DeclKind::Let { head, ty, value } => write!(f, "let {head}{} = {value}", Typed(ty)),
            DeclKind::Observe { target, over, dist } => write!(f, "observe {target}{} ~ {dist}", Over(over)),
            DeclKind::Factor { value } => write!(f, "factor {value}"),
            DeclKind::Report { names } => write!(f, "report {}", List(names)),
            DeclKind::ReportLet { head, value } => write!(f, "report {head} = {value}"),
            DeclKind::Net { name, plates, params, result, body, prior } => {
                write!(f, "net {name}{}({}) -> {result} = {body}", Brackets(plates), List(params))?;
                prior.iter().try_for_each(|p| write!(f, " ~ {p}"))
            }
            DeclKind::Fn { name, plates, params, result, body } => {
                write!(f, "fn {name}{}({}) -> {result} = {body}", Brackets(plates), List(params))
            }
            DeclKind::Dist { name, plates, params, support, items } => {
                write!(f, "dist {name}{}({}) on {support} {}", Brackets(plates), List(params), Block(items))
            }
            DeclKind::Guide { items } => write!(f, "guide {}", Block(items)),
            DeclKind::GuideFamily { family } => write!(f, "guide {family}"),
            DeclKind::Fit { items } => write!(f, "fit {}", Block(items)),
            DeclKind::Import { path } => write!(f, "import {path}"),
            DeclKind::Error => f.write_str("# (a declaration that did not parse)"),
        }
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.value)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{}", List(&self.names), self.ty, From(&self.from))
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.name, Brackets(&self.axes), Over(&self.over))
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(index) = &self.index {
            write!(f, "{index} in ")?;
        }
        write!(f, "{}", self.plate)?;
        if let Some(label) = &self.without {
            write!(f, " without {label}")?;
        }
        if let Some(column) = &self.by {
            write!(f, " by {column}")?;
        }
        if let Some(column) = &self.along {
            write!(f, " along {column}")?;
        }
        if let Some(filter) = &self.filter {
            write!(f, " where {}", At(filter, Level::Or))?;
        }
        Ok(())
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.base, if self.optional { "?" } else { "" }, Brackets(&self.axes))?;
        if let Some(levels) = &self.levels {
            write!(f, " [{}]", List(levels))?;
        }
        match &self.bound {
            None => Ok(()),
            Some(Bound::Compare { op, value }) => write!(f, " {} {}", op.symbol(), At(value, Level::Sum)),
            Some(Bound::Interval { lower, upper, closed: false }) => write!(f, " in ({lower}, {upper})"),
            Some(Bound::Interval { lower, upper, closed: true }) => write!(f, " in [{lower}, {upper}]"),
        }
    }
}

impl fmt::Display for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.ty)
    }
}

impl fmt::Display for NetResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetResult::Single(ty) => write!(f, "{ty}"),
            NetResult::Heads(heads) => write!(f, "({})", List(heads)),
        }
    }
}

impl fmt::Display for DistItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.arg, self.name.name.as_str()) {
            (Some(arg), name) => write!(f, "{name}({arg}) = {}", self.value),
            // The one part that is called without an argument.
            (None, "sample") => write!(f, "sample() = {}", self.value),
            (None, name) => write!(f, "{name} = {}", self.value),
        }
    }
}

impl fmt::Display for GuideItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GuideItem::Let { head, value } => write!(f, "let {head} = {value}"),
            GuideItem::Param { head, ty, init } => write!(f, "param {head}{} = {init}", Typed(ty)),
            GuideItem::Sample { names, dist, attrs } => write!(f, "{} ~ {dist}{}", List(names), Attrs(attrs)),
        }
    }
}

impl fmt::Display for FitItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.value)
    }
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.name)?;
        if self.args.is_empty() { Ok(()) } else { write!(f, "({})", List(&self.args)) }
    }
}

impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}: ")?;
        }
        write!(f, "{}{}", self.value, Over(&self.over))
    }
}

impl fmt::Display for ListItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(label) = &self.label {
            write!(f, "{label}: ")?;
        }
        write!(f, "{}", self.value)
    }
}

impl fmt::Display for IndexItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IndexItem::Expr(e) => write!(f, "{e}"),
            IndexItem::Axis(axis) => write!(f, "{axis}"),
        }
    }
}

/// How tight an expression binds, loosest first, as in the grammar.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// `if`, and a body in braces.
    Expr,
    Pipe,
    Or,
    And,
    Not,
    Compare,
    Sum,
    Product,
    Unary,
    Power,
    Postfix,
}

fn level(e: &Expr) -> Level {
    match &e.kind {
        ExprKind::If { .. } | ExprKind::Block { .. } => Level::Expr,
        ExprKind::Pipe { .. } => Level::Pipe,
        ExprKind::Unary { op: UnaryOp::Not, .. } => Level::Not,
        ExprKind::Unary { op: UnaryOp::Neg, .. } => Level::Unary,
        ExprKind::Binary { op, .. } => operator_level(*op),
        ExprKind::Number { .. }
        | ExprKind::Text(_)
        | ExprKind::Name(_)
        | ExprKind::Call { .. }
        | ExprKind::Index { .. }
        | ExprKind::Field { .. }
        | ExprKind::List(_)
        | ExprKind::Error => Level::Postfix,
    }
}

fn operator_level(op: BinaryOp) -> Level {
    match op {
        BinaryOp::Or => Level::Or,
        BinaryOp::And => Level::And,
        BinaryOp::Less
        | BinaryOp::LessEq
        | BinaryOp::Greater
        | BinaryOp::GreaterEq
        | BinaryOp::Equal
        | BinaryOp::NotEqual => Level::Compare,
        BinaryOp::Add | BinaryOp::Sub => Level::Sum,
        BinaryOp::Mul | BinaryOp::Div => Level::Product,
        BinaryOp::Pow => Level::Power,
    }
}

/// An expression where the grammar wants one of at least this level: in parentheses if it binds looser.
struct At<'a>(&'a Expr, Level);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if level(self.0) < self.1 { write!(f, "({})", self.0) } else { write!(f, "{}", self.0) }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number { text, .. } => f.write_str(text),
            ExprKind::Text(text) => write!(f, "\"{text}\""),
            ExprKind::Name(name) => f.write_str(name),
            ExprKind::Unary { op: UnaryOp::Not, operand } => write!(f, "not {}", At(operand, Level::Not)),
            ExprKind::Unary { op: UnaryOp::Neg, operand } => write!(f, "-{}", At(operand, Level::Unary)),
            ExprKind::Binary { op, left, right } => {
                let (l, r) = match operator_level(*op) {
                    Level::Or => (Level::Or, Level::And),
                    Level::And => (Level::And, Level::Not),
                    Level::Sum => (Level::Sum, Level::Product),
                    Level::Product => (Level::Product, Level::Unary),
                    Level::Power => (Level::Postfix, Level::Unary),
                    _ => (Level::Sum, Level::Sum),
                };
                match op {
                    BinaryOp::Pow => write!(f, "{}^{}", At(left, l), At(right, r)),
                    _ => write!(f, "{} {} {}", At(left, l), op.symbol(), At(right, r)),
                }
            }
            ExprKind::If { condition, then, otherwise } => write!(f, "if {condition} then {then} else {otherwise}"),
            ExprKind::Call { callee, args } => write!(f, "{}({})", At(callee, Level::Postfix), List(args)),
            ExprKind::Index { base, items } => write!(f, "{}[{}]", At(base, Level::Postfix), List(items)),
            // `2.x` would read as a number.
            ExprKind::Field { base, name } if matches!(base.kind, ExprKind::Number { .. }) => {
                write!(f, "({base}).{name}")
            }
            ExprKind::Field { base, name } => write!(f, "{}.{name}", At(base, Level::Postfix)),
            ExprKind::List(items) => write!(f, "[{}]", List(items)),
            ExprKind::Block { lets, value } => {
                f.write_str("{\n")?;
                for (head, value) in lets {
                    writeln!(f, "  let {head} = {value}")?;
                }
                // A line that starts with a sign would continue the one above.
                let value = value.to_string();
                if value.starts_with('-') { write!(f, "  ({value})\n}}") } else { write!(f, "  {value}\n}}") }
            }
            ExprKind::Pipe { left, right } => {
                write!(f, "{} |> {}", At(left, Level::Pipe), At(right, Level::Or))
            }
            ExprKind::Error => f.write_str("(?)"),
        }
    }
}
