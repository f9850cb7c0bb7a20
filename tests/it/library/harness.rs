//! Distributions of the library, checked from a model's text and evaluated on the numbers of a test.

use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;

use crate::support;
use rand::SeedableRng;
use rand::rngs::StdRng;
use vic::check::check;
use vic::diag::{Diags, RenderStyle, render};
use vic::hir::{AxisId, DistUse, Expr, Hir, Step, VarKind};
use vic::library::LIBRARY;
use vic::run::sample::{Cells, Sampler};
use vic::source::Sources;
use vic::syntax::ast::{Ast, DeclKind};
use vic::syntax::parse;

/// The parsed library.
pub struct Library {
    pub sources: Sources,
    pub asts: Vec<Ast>,
}

pub fn library() -> &'static Library {
    static LIB: OnceLock<Library> = OnceLock::new();
    LIB.get_or_init(|| {
        let (mut sources, mut diags) = (Sources::default(), Diags::default());
        let asts = LIBRARY.iter().map(|(name, text)| parse(sources.add(*name, *text), text, &mut diags)).collect();
        assert!(diags.list.is_empty(), "the library parses: {:?}", diags.list);
        Library { sources, asts }
    })
}

/// One form of a distribution, as the library declares it.
#[derive(Clone, Debug)]
pub struct Form {
    pub name: String,
    /// `Normal(mu, precision)`
    pub signature: String,
    /// Name, base type, and whether it is a vector over the distribution's plate.
    pub params: Vec<(String, String, bool)>,
    /// `real`, `int`, `bool`, `simplex`, or the plate parameter of a distribution of its cells.
    pub support: String,
    pub on_plate: bool,
    pub has_cdf: bool,
    /// The declaration's text.
    pub text: String,
}

/// Distributions whose arguments or values lie on several plates: they have tests of their own, in `joint.rs`.
pub const APART: &[&str] = &[
    "OrderedLogistic",
    "OrderedProbit",
    "ZeroSumNormal",
    "Multinomial",
    "DirichletMultinomial",
    "ICAR",
    "GaussianRandomWalk",
];

pub fn forms() -> Vec<Form> {
    let lib = library();
    let mut out = vec![];
    for decl in lib.asts.iter().flat_map(|a| &a.decls) {
        let DeclKind::Dist { name, plates, params, support, items } = &decl.kind else { continue };
        // Those of matrices have tests of their own, in `matrices.rs`.
        let matrix = |t: &vic::syntax::ast::Type| vic::hir::MatrixKind::of(&t.base.name).is_some();
        let apart = APART.contains(&name.name.as_str());
        if apart || matrix(support) || params.iter().any(|p| matrix(&p.ty)) {
            continue;
        }
        let names: Vec<&str> = params.iter().map(|p| p.name.name.as_str()).collect();
        out.push(Form {
            name: name.name.clone(),
            signature: format!("{}({})", name.name, names.join(", ")),
            params: params
                .iter()
                .map(|p| {
                    let vector = !p.ty.axes.is_empty() || p.ty.base.name == "simplex";
                    (p.name.name.clone(), p.ty.base.name.clone(), vector)
                })
                .collect(),
            support: support.base.name.clone(),
            on_plate: !plates.is_empty(),
            has_cdf: items.iter().any(|i| i.name.name == "logcdf"),
            text: lib.sources.slice(decl.span).to_string(),
        });
    }
    assert!(out.len() >= 27, "only {} forms found", out.len());
    out
}

pub fn form(signature: &str) -> Form {
    forms().into_iter().find(|f| f.signature == signature).unwrap_or_else(|| panic!("no form {signature}"))
}

impl Form {
    /// The same distribution as a user would declare it, under another name.
    pub fn copied(&self) -> Form {
        let old = format!("dist {}", self.name);
        assert!(self.text.starts_with(&old));
        Form { name: "Mine".into(), text: self.text.replacen(&old, "dist Mine", 1), ..self.clone() }
    }

    /// `Normal(mu: a0, sigma: a1)` on the values that [`Program`] declares.
    fn call(&self) -> String {
        let args: Vec<String> = self.params.iter().enumerate().map(|(i, p)| format!("{}: a{i}", p.0)).collect();
        format!("{}({})", self.name, args.join(", "))
    }

    /// A model that draws (`latent`) or observes `x` over the rows of a table.
    fn model(&self, declared: Option<&str>) -> String {
        let mut text = if self.name == "Mine" { format!("{}\n", self.text) } else { String::new() };
        let column = match self.support.as_str() {
            "int" | "bool" => &self.support,
            _ if self.on_plate && self.support != "simplex" => "kinds",
            _ => "real",
        };
        text += &format!("data rows {{ x: {column}, low: real, high: real }}\n");
        let vectors = self.params.iter().enumerate().filter(|(_, p)| p.2);
        let columns: String = vectors.map(|(i, _)| format!(", a{i}: real")).collect();
        if self.on_plate {
            text += &format!("data kinds {{ kind: key{columns} }}\n");
        }
        for (i, (_, ty, _)) in self.params.iter().enumerate().filter(|(_, p)| !p.2) {
            text += &format!("data a{i}: {ty}\n");
        }
        text += &match (declared, self.support.as_str()) {
            (Some(ty), _) => format!("latent s[rows]: {ty} ~ {}\n", self.call()),
            (None, "simplex") => format!("latent s[rows] over kinds ~ {}\n", self.call()),
            (None, _) => format!("observe x ~ {}\n", self.call()),
        };
        text
    }
}

/// A checked use of a distribution and the numbers that its names stand for.
pub struct Program {
    hir: Hir,
    dist: DistUse,
    args: Vec<Vec<f64>>,
}

/// Numbers for the columns of the rows.
#[derive(Clone, Default)]
pub struct Rows {
    pub count: usize,
    pub low: f64,
    pub high: f64,
    /// In place of `high`, one number per row.
    pub highs: Option<Vec<f64>>,
}

impl Rows {
    pub fn of(count: usize) -> Rows {
        Rows { count, ..Rows::default() }
    }
}

impl Program {
    /// `declared`: as the prior of a latent of this type.
    pub fn new(form: &Form, args: &[Vec<f64>], declared: Option<&str>) -> Program {
        let text = form.model(declared);
        let mut sources = library().sources.clone();
        let mut diags = Diags::default();
        let ast = parse(sources.add("model.vi", text.as_str()), &text, &mut diags);
        let asts: Vec<&Ast> = library().asts.iter().collect();
        let hir = check(&ast, &asts, &mut diags);
        let style = RenderStyle { width: 100, color: false, unicode: true };
        let said: Vec<String> = diags.list.iter().map(|d| render(d, &sources, style)).collect();
        assert!(!diags.has_errors(), "{text}\n{}", said.join("\n"));
        let dist = hir.steps.iter().find_map(|s| match s {
            Step::Latent { dist, .. } | Step::Observe { dist, .. } => Some(dist.clone()),
            _ => None,
        });
        assert_eq!(args.len(), form.params.len(), "arguments of {}", form.signature);
        Program { dist: dist.expect("the model has one distribution"), hir, args: args.to_vec() }
    }

    fn plate_axis(&self, name: &str) -> Option<AxisId> {
        self.hir.plates.iter().find(|p| p.name == name).map(|p| p.axis)
    }

    /// The cells of the distribution's own plate, 1 without one.
    pub fn kinds(&self) -> usize {
        self.args.iter().map(Vec::len).max().unwrap_or(1)
    }

    /// Evaluate one of the distribution's bodies, spread over `rows` (and over the plate, if it varies over it):
    /// row `i` of cell `k` is at `i + rows · k`.
    fn eval(&self, body: &Expr, x: Option<&[f64]>, rows: &Rows, seed: u64) -> Vec<f64> {
        let rows_axis = self.plate_axis("rows").expect("every model has rows");
        let kinds_axis = self.plate_axis("kinds");
        let kinds = self.kinds();
        let size = |p: vic::hir::PlateId| if self.hir.plate(p).name == "rows" { rows.count } else { kinds };
        let read = |v: vic::hir::VarId| {
            let var = self.hir.var(v);
            let numbers = match var.name.as_str() {
                "low" => vec![rows.low; rows.count],
                "high" => rows.highs.clone().unwrap_or_else(|| vec![rows.high; rows.count]),
                name => {
                    let i = name.strip_prefix('a').and_then(|n| n.parse::<usize>().ok());
                    self.args[i.unwrap_or_else(|| panic!("a body reads `{name}`"))].clone()
                }
            };
            assert!(matches!(var.kind, VarKind::Column(_) | VarKind::DataValue { .. }));
            Cells { axes: var.axes.clone(), numbers }
        };
        let rng = StdRng::seed_from_u64(seed);
        let mut sampler = Sampler {
            hir: &self.hir,
            size: &size,
            read: &read,
            locals: HashMap::new(),
            counted: &size,
            label: &support::numbered,
            rng,
        };
        for (local, _, value) in &self.dist.args {
            let v = sampler.eval(value);
            sampler.locals.insert(*local, v);
        }
        if let Some(x) = x {
            let mut axes = vec![rows_axis];
            if x.len() > rows.count {
                axes.push(kinds_axis.expect("a vector value needs a plate"));
                assert!(axes.is_sorted());
            }
            sampler.locals.insert(self.dist.x, Cells { axes, numbers: x.to_vec() });
        }
        let out = sampler.eval(body);
        let varies = |a| out.axes.contains(&a);
        match (varies(rows_axis), kinds_axis.is_some_and(varies)) {
            (true, _) => out.numbers,
            (false, false) => vec![out.numbers[0]; rows.count],
            (false, true) => out.numbers.iter().flat_map(|v| vec![*v; rows.count]).collect(),
        }
    }

    pub fn logpdf(&self, x: &[f64]) -> Vec<f64> {
        self.logpdf_rows(x, x.len())
    }

    /// For vectors: `rows` of them, the first cell of every row first.
    pub fn logpdf_rows(&self, x: &[f64], rows: usize) -> Vec<f64> {
        self.eval(&self.dist.logpdf, Some(x), &Rows::of(rows), 0)
    }

    /// The log of the probability that the declared type keeps.
    pub fn log_kept(&self, rows: &Rows) -> Option<Vec<f64>> {
        Some(self.eval(self.dist.log_kept.as_ref()?, None, rows, 0))
    }

    pub fn draws(&self, n: usize, seed: u64) -> Vec<f64> {
        let body = self.dist.sample.as_ref().expect("every distribution of the library can be drawn from");
        self.eval(body, None, &Rows::of(n), seed)
    }

    /// One number per cell of the plate, or one.
    pub fn mean(&self) -> Option<Vec<f64>> {
        Some(self.eval(self.dist.mean.as_ref()?, None, &Rows::of(1), 0))
    }

    pub fn variance(&self) -> Option<Vec<f64>> {
        Some(self.eval(self.dist.variance.as_ref()?, None, &Rows::of(1), 0))
    }

    /// The ends of the values that it gives.
    pub fn ends(&self) -> (f64, f64) {
        use vic::hir::Constraint as C;
        let end = |e: &Expr| self.eval(e, None, &Rows::of(1), 0)[0];
        match &self.dist.support.constraint {
            C::Lower { bound, .. } => (end(bound), f64::INFINITY),
            C::Upper { bound, .. } => (f64::NEG_INFINITY, end(bound)),
            C::Interval { lower, upper, .. } => (end(lower), end(upper)),
            C::Simplex => (0.0, 1.0),
            C::None | C::Ordered { .. } | C::Matrix(_) | C::UnitVector | C::ZeroSum => {
                (f64::NEG_INFINITY, f64::INFINITY)
            }
        }
    }
}

/// A value with its reference densities.
#[derive(Clone, Debug)]
pub struct Point {
    pub x: Vec<f64>,
    pub logpdf: f64,
    pub logcdf: f64,
    pub logccdf: f64,
}

/// A form at one set of arguments, with reference values.
#[derive(Clone, Debug)]
pub struct Case {
    pub form: Form,
    /// As in the reference file, for messages.
    pub text: String,
    pub args: Vec<Vec<f64>>,
    pub mean: Vec<f64>,
    pub variance: Vec<f64>,
    pub points: Vec<Point>,
}

impl Case {
    pub fn program(&self) -> Program {
        Program::new(&self.form, &self.args, None)
    }

    /// The point whose distribution function is nearest to `p`.
    pub fn quantile(&self, p: f64) -> f64 {
        let off = |q: &Point| (q.logcdf.exp() - p).abs();
        self.points.iter().min_by(|a, b| off(a).total_cmp(&off(b))).expect("a case has points").x[0]
    }

    /// Where a quadrature is cut: the median, or the kink of a density that has one elsewhere.
    pub fn middle(&self) -> f64 {
        match self.form.name.as_str() {
            "SkewDoubleExponential" => self.args[0][0],
            _ => self.quantile(0.5),
        }
    }

    pub fn continuous(&self) -> bool {
        self.form.support == "real"
    }
}

fn vector(text: &str) -> Vec<f64> {
    text.split(';').map(|v| v.parse().unwrap_or_else(|_| panic!("a number: {text}"))).collect()
}

/// Lines of a reference file, without its header.
pub fn reference(file: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/library").join(file);
    let mut reader = csv::Reader::from_path(path).expect("the reference values are part of the repository");
    reader.records().map(|r| r.expect("a row").iter().map(str::to_string).collect()).collect()
}

/// Every case of the reference file.
pub fn cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| {
        let forms = forms();
        let mut out: Vec<Case> = vec![];
        for row in reference("distributions.csv") {
            let text = format!("{} at {}", row[0], row[1]);
            if out.last().is_none_or(|c| c.text != text) {
                let form = forms.iter().find(|f| f.signature == row[0]).unwrap_or_else(|| panic!("no {}", row[0]));
                let mut args = vec![];
                for (pair, param) in row[1].split(' ').zip(&form.params) {
                    let (name, value) = pair.split_once('=').expect("name=value");
                    assert_eq!(name, param.0, "{text}");
                    args.push(vector(value));
                }
                let (mean, variance) = (vector(&row[6]), vector(&row[7]));
                out.push(Case { form: form.clone(), text, args, mean, variance, points: vec![] });
            }
            let n = |i: usize| row[i].parse::<f64>().expect("a number");
            let point = Point { x: vector(&row[2]), logpdf: n(3), logcdf: n(4), logccdf: n(5) };
            out.last_mut().expect("just pushed").points.push(point);
        }
        out
    })
}

/// Whether two numbers agree to `tolerance` relative to `max(1, |want|)`; infinities and NaN agree with themselves.
pub fn near(got: f64, want: f64, tolerance: f64) -> bool {
    got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() <= tolerance * want.abs().max(1.0)
}
