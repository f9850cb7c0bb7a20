//! The syntax tree: what the file says, with the place of every part, before any name is looked up.

use crate::source::Span;

/// A name as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Ident {
    pub name: String,
    pub span: Span,
}

/// A quoted string, without its quotes; the span includes them.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    pub value: String,
    pub span: Span,
}

/// One `.vi` file.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Ast {
    pub decls: Vec<Decl>,
    /// Names whose declaration or column did not parse: it is no use to report them as unknown.
    pub broken: Vec<Ident>,
    /// Every comment, in order.
    pub comments: Vec<Comment>,
}

/// `# …` up to the end of its line.
#[derive(Clone, Debug, PartialEq)]
pub struct Comment {
    /// Without the `#` and one space after it.
    pub text: String,
    pub span: Span,
    /// Whether it has its line to itself.
    pub own_line: bool,
}

/// One declaration.
#[derive(Clone, Debug, PartialEq)]
pub struct Decl {
    pub kind: DeclKind,
    /// Trailing `@name(args)`.
    pub attrs: Vec<Attr>,
    pub span: Span,
    /// The comment lines (without `#`) directly above.
    pub doc: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum DeclKind {
    /// `data schools { y: real, sigma: real > 0 }`
    Table {
        name: Ident,
        fields: Vec<Field>,
    },
    /// `data D, V: real = 3`: values that stand beside the tables.
    DataValue {
        names: Vec<Ident>,
        ty: Type,
        from: Option<ColumnSource>,
        default: Option<Expr>,
    },
    /// `plate cluster = 3`
    Plate {
        name: Ident,
        value: Expr,
    },
    /// `const K = 3`
    Const {
        name: Ident,
        value: Expr,
    },
    /// `latent a, b[county]: real > 0 ~ Normal(0, 1)`
    Latent {
        heads: Vec<Head>,
        ty: Option<Type>,
        dist: Expr,
    },
    /// `param w[code]: real = 0`
    Param {
        head: Head,
        ty: Option<Type>,
        init: Expr,
    },
    /// `let s[t in days] = …`
    Let {
        head: Head,
        ty: Option<Type>,
        value: Expr,
    },
    /// `observe y over points ~ MvNormal(0, cov: K)`
    Observe {
        target: Expr,
        over: Vec<Axis>,
        dist: Expr,
    },
    Factor {
        value: Expr,
    },
    /// `report a, b`
    Report {
        names: Vec<Ident>,
    },
    /// `report x = e`
    ReportLet {
        head: Head,
        value: Expr,
    },
    Net {
        name: Ident,
        plates: Vec<Ident>,
        params: Vec<Param>,
        result: NetResult,
        body: Expr,
        /// Of each weight, if they are latents.
        prior: Option<Expr>,
    },
    Fn {
        name: Ident,
        plates: Vec<Ident>,
        params: Vec<Param>,
        result: Type,
        body: Expr,
    },
    Dist {
        name: Ident,
        plates: Vec<Ident>,
        params: Vec<Param>,
        support: Type,
        items: Vec<DistItem>,
    },
    /// `guide { … }`
    Guide {
        items: Vec<GuideItem>,
    },
    /// `guide fullrank`
    GuideFamily {
        family: Expr,
    },
    /// `fit { draws: 200 }`
    Fit {
        items: Vec<FitItem>,
    },
    Import {
        path: Text,
    },
    /// A declaration that did not parse; its errors have been reported.
    Error,
}

/// A column (or several of one type) of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub names: Vec<Ident>,
    pub ty: Type,
    pub from: Option<ColumnSource>,
    pub span: Span,
}

/// Where in the file a column is found, when not under its own name.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnSource {
    /// `from "sigma"`, or a pattern with one `*`.
    Name(Text),
    /// `from "X.2".."X.25"`
    Range(Text, Text),
    /// `from ["dist", "arsenic"]`
    List(Vec<Text>, Span),
}

/// The left side of a declaration: `theta[doc] over topic`.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    pub name: Ident,
    /// Independent per cell of these.
    pub axes: Vec<Axis>,
    /// Joint over these.
    pub over: Vec<Axis>,
    pub span: Span,
}

/// A plate on a left side, in `over`, or as a binder: `counties`, `t in days by dog along trial where t > 3`, `work without "none"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The index name, for `t in days`.
    pub index: Option<Ident>,
    pub plate: Ident,
    pub by: Option<Ident>,
    pub along: Option<Ident>,
    pub filter: Option<Box<Expr>>,
    pub without: Option<Text>,
    pub span: Span,
}

/// A type: base name, `?`, plates, constraint.
#[derive(Clone, Debug, PartialEq)]
pub struct Type {
    /// `real`, `int`, `bool`, `key`, `category`, `date`, `ordered`, `simplex`, `corr`, `cov`, or a plate or table.
    pub base: Ident,
    pub optional: bool,
    pub axes: Vec<Axis>,
    /// `category ["low", "high"]`
    pub levels: Option<Vec<Text>>,
    pub bound: Option<Bound>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Bound {
    /// `> 0`, `>= 0`, `< 1`, `<= 1`
    Compare { op: BinaryOp, value: Expr },
    /// `in (0, 1)` (open) or `in [0, 1]` (closed)
    Interval { lower: Expr, upper: Expr, closed: bool },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    pub name: Ident,
    pub ty: Type,
}

/// What a net returns: one value or several named heads.
// There are few of these: boxes would cost the reader more than the bytes.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq)]
pub enum NetResult {
    Single(Type),
    Heads(Vec<Param>),
}

/// `logpdf(x) = …`, `sample() = …`, `mean = …`, `variance = …`
#[derive(Clone, Debug, PartialEq)]
pub struct DistItem {
    pub name: Ident,
    /// `Some` for `logpdf(x)`; the argument itself is absent in `sample()`.
    pub arg: Option<Ident>,
    pub value: Expr,
}

// There are few of these: boxes would cost the reader more than the bytes.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq)]
pub enum GuideItem {
    Let {
        head: Head,
        value: Expr,
    },
    Param {
        head: Head,
        ty: Option<Type>,
        init: Expr,
    },
    /// `mu, tau ~ fullrank()`
    Sample {
        names: Vec<Ident>,
        dist: Expr,
        attrs: Vec<Attr>,
    },
}

/// `batch: digits(128)`, `draws: 200`
#[derive(Clone, Debug, PartialEq)]
pub struct FitItem {
    pub name: Ident,
    pub value: Expr,
    pub span: Span,
}

/// `@noncentered`, `@allow(V0123)`
#[derive(Clone, Debug, PartialEq)]
pub struct Attr {
    pub name: Ident,
    pub args: Vec<Arg>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A number and its text as written (`1`, `1.0` and `1e0` differ for labels).
    Number {
        value: f64,
        text: String,
    },
    Text(String),
    Name(String),
    Unary {
        op: UnaryOp,
        operand: Box<Expr>,
    },
    Binary {
        op: BinaryOp,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    If {
        condition: Box<Expr>,
        then: Box<Expr>,
        otherwise: Box<Expr>,
    },
    Call {
        callee: Box<Expr>,
        args: Vec<Arg>,
    },
    Index {
        base: Box<Expr>,
        items: Vec<IndexItem>,
    },
    Field {
        base: Box<Expr>,
        name: Ident,
    },
    /// `["a", "b"]`, `[log_d1: log(d1), group: group]`
    List(Vec<ListItem>),
    /// `{ let a = …  a + 1 }`: the body of a `fn`, or of a part of a `dist`.
    Block {
        lets: Vec<(Head, Expr)>,
        value: Box<Expr>,
    },
    /// `a |> b`
    Pipe {
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// An expression that did not parse; its errors have been reported.
    Error,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ListItem {
    pub label: Option<Ident>,
    pub value: Expr,
}

/// An argument: `e`, `name: e`, or `e over (a, k in lag where k < t)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Arg {
    pub name: Option<Ident>,
    pub value: Expr,
    pub over: Vec<Axis>,
}

/// Inside `[ ]`: an expression, or a binder (`y[t in series where …]`).
#[derive(Clone, Debug, PartialEq)]
pub enum IndexItem {
    Expr(Expr),
    Axis(Axis),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    Neg,
    Not,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Less,
    LessEq,
    Greater,
    GreaterEq,
    Equal,
    NotEqual,
    And,
    Or,
}

impl BinaryOp {
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Pow => "^",
            BinaryOp::Less => "<",
            BinaryOp::LessEq => "<=",
            BinaryOp::Greater => ">",
            BinaryOp::GreaterEq => ">=",
            BinaryOp::Equal => "==",
            BinaryOp::NotEqual => "!=",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
        }
    }
}
