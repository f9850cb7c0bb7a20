//! The `guide` and `fit` declarations.

use super::*;
use crate::diag::{Code, nearest};
use crate::syntax::ast::{ExprKind as A, FitItem};

/// Options of the `fit` block: name, and what its value must be.
/// What other programs call an option of ours.
const FOREIGN_OPTIONS: &[(&str, &str)] = &[
    ("lr", "learning_rate"),
    ("step_size", "learning_rate"),
    ("iterations", "max_steps"),
    ("iter", "max_steps"),
    ("num_steps", "max_steps"),
    ("steps", "max_steps"),
    ("step", "max_steps"),
    ("n", "max_steps"),
    ("num_samples", "draws"),
    ("samples", "draws"),
    ("num_draws", "draws"),
    ("random_seed", "seed"),
    ("rng_key", "seed"),
    ("inits", "starts"),
    ("restarts", "starts"),
    ("tol", "tolerance"),
    ("tol_rel_obj", "tolerance"),
    ("batch_size", "batch"),
    ("minibatch", "batch"),
    ("optim", "optimizer"),
    ("algorithm", "method"),
    ("inference", "method"),
    ("early_stopping", "patience"),
    ("validation_split", "holdout"),
];

const OPTIONS: &[(&str, Kind)] = &[
    ("draws", Kind::Whole),
    ("starts", Kind::Whole),
    ("seed", Kind::Whole),
    ("max_steps", Kind::Whole),
    ("learning_rate", Kind::Positive),
    ("tolerance", Kind::Positive),
    ("importance_samples", Kind::Whole),
    ("estimator", Kind::Word(&["entropy", "stl"])),
    (
        "method",
        Kind::Word(&[
            "auto",
            "lbfgs",
            "adam",
            "bam",
            "laplace",
            "map",
            "pathfinder",
            "score",
            "iwae",
            "forward_kl",
            "cavi",
            "em",
            "nuts",
        ]),
    ),
    ("batch", Kind::Batch),
    ("epochs", Kind::Whole),
    ("alternate", Kind::Whole),
    ("optimizer", Kind::Optimizer),
    ("schedule", Kind::Word(&["linear", "cosine", "constant", "tripling"])),
    ("warmup", Kind::Whole),
    ("holdout", Kind::Share),
    ("patience", Kind::Whole),
    ("kl_warmup", Kind::Whole),
    ("free_bits", Kind::Positive),
    ("precision", Kind::Word(&["f64", "f32"])),
    ("clip", Kind::Positive),
    ("binarise", Kind::Condition),
    ("collapse", Kind::Word(&["on", "off"])),
];

/// Options that mean something for batches only.
const OF_BATCHES: [&str; 12] = [
    "epochs",
    "alternate",
    "optimizer",
    "schedule",
    "warmup",
    "holdout",
    "patience",
    "kl_warmup",
    "free_bits",
    "precision",
    "clip",
    "binarise",
];
/// Options that batches have no use for.
const NOT_OF_BATCHES: [&str; 5] = ["draws", "starts", "max_steps", "learning_rate", "tolerance"];
/// Methods of batches: one draw per row, several that are weighed against each other, or none.
const BATCH_METHODS: [&str; 6] = ["auto", "adam", "iwae", "forward_kl", "cavi", "em"];
/// What softens the divergence of one draw.
const SOFTENING: [&str; 2] = ["kl_warmup", "free_bits"];

const OPTIMIZERS: [&str; 3] = ["adam", "adamw", "sgd"];

/// `a`, `b` or `c`.
fn one_of(words: &[&str]) -> String {
    let (last, others) = words.split_last().expect("an option has values");
    let others: Vec<String> = others.iter().map(|w| format!("`{w}`")).collect();
    if others.is_empty() { format!("`{last}`") } else { format!("{} or `{last}`", others.join(", ")) }
}

#[derive(Clone, Copy)]
enum Kind {
    Whole,
    Positive,
    /// Between 0 and 1, neither of them.
    Share,
    Word(&'static [&'static str]),
    /// `digits(128)`
    Batch,
    /// `adam(1e-3)`
    Optimizer,
    /// A `bool` column.
    Condition,
}

/// The names of the options of a `fit` block.
pub fn fit_options() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().map(|o| o.0)
}

impl<'a> Checker<'a, '_> {
    pub(super) fn guide_and_fit(&mut self, model: &'a Ast) {
        let mut guide_at: Option<Span> = None;
        let mut fit_at: Option<Span> = None;
        for decl in &model.decls {
            match &decl.kind {
                DeclKind::GuideFamily { family } => {
                    self.only_once(decl.span, &mut guide_at, "guide");
                    self.family(family);
                }
                DeclKind::Guide { items } => {
                    self.only_once(decl.span, &mut guide_at, "guide");
                    self.start(decl.span);
                    self.written_guide(decl.span, items);
                }
                DeclKind::Fit { items } => {
                    self.only_once(decl.span, &mut fit_at, "fit");
                    for item in items {
                        self.fit_item(item);
                    }
                }
                _ => {}
            }
        }
        let asked = model.decls.iter().any(|d| match &d.kind {
            DeclKind::Fit { items } => items.iter().any(|i| i.name.name == "batch"),
            _ => false,
        });
        // What goes with a guide is seen once it is written out.
        if self.hir.amortised.is_none() {
            self.options_together(asked);
        }
    }

    /// `digits(128)`; outer `None`: reported.
    fn batch_of(&mut self, callee: &ast::Expr, args: &[ast::Arg]) -> Option<Option<FitValue>> {
        let (A::Name(name), [one]) = (&callee.kind, args) else { return Some(None) };
        let A::Number { value, .. } = one.value.kind else { return Some(None) };
        if value < 1.0 || value.fract() != 0.0 || one.name.is_some() {
            return Some(None);
        }
        let entry = self.names.get(name);
        let rows = entry.and_then(|e| e.table).map(|t| self.hir.table(t).plate);
        if let Some(plate) = rows.or_else(|| entry.and_then(|e| e.plate)) {
            return Some(Some(FitValue::Batch(plate, value as usize)));
        }
        let d = Code::BATCH_TABLE
            .at(callee.span, format!("batches are rows of a table or cells of a plate, and `{name}` is neither"))
            .here("not a plate");
        let tables: Vec<&str> = self.hir.tables.iter().map(|t| t.name.as_str()).collect();
        let d = match (nearest(name, tables.iter().copied()), tables.first()) {
            (Some(t), _) | (None, Some(&t)) => d.help(format!("write `batch: {t}({value})`")),
            (None, None) => d.help("remove `batch`"),
        };
        self.diags.push(d);
        None
    }

    /// Options that go together: those of batches with `batch`, and no others.
    fn options_together(&mut self, asked: bool) {
        let find = |name: &str| self.hir.fit.iter().find(|o| o.name == name);
        let d = match find("batch") {
            // What is wrong with it has been said.
            None if asked => None,
            None => OF_BATCHES.iter().find_map(|n| find(n)).map(|o| {
                Code::BATCH_WITH
                    .at(
                        o.span,
                        format!("`{}` says how batches of rows are gone through, and there is no `batch`", o.name),
                    )
                    .here("without batches")
                    .help("add `batch: rows(128)`, with the name of the table; or remove it")
            }),
            Some(batch) => NOT_OF_BATCHES.iter().find_map(|n| find(n)).map(|o| {
                let help = match o.name.as_str() {
                    "learning_rate" => "write `optimizer: adam(0.001)`",
                    "max_steps" => "write `epochs: 50`",
                    _ => "remove it",
                };
                Code::BATCH_WITH
                    .at(o.span, format!("`{}` has no meaning for a fit in batches", o.name))
                    .here("not with batches")
                    .label(batch.span, "batches are asked for here")
                    .help(help)
            }),
        };
        self.diags.list.extend(d);
        let method = find("method").zip(find("batch"));
        if let Some((m, batch)) = method
            && let FitValue::Word(word) = &m.value
        {
            let closed = matches!(word.as_str(), "cavi" | "em");
            let weighed = !closed && !matches!(word.as_str(), "auto" | "adam");
            let steps = OF_BATCHES.iter().filter(|n| **n != "epochs").find_map(|n| find(n)).filter(|_| closed);
            let softened = SOFTENING.iter().find_map(|n| find(n)).filter(|_| weighed);
            let d = match softened {
                _ if !BATCH_METHODS.contains(&word.as_str()) => Some(
                    Code::BATCH_WITH
                        .at(m.span, format!("the method `{word}` needs all rows at each step"))
                        .here("not with batches")
                        .label(batch.span, "batches are asked for here")
                        .help("write `optimizer: adam(0.001)`, or `method: iwae`"),
                ),
                Some(o) => Some(
                    Code::BATCH_WITH
                        .at(o.span, format!("`{}` is of the lower bound of one draw per row", o.name))
                        .here("not with draws that are weighed against each other")
                        .label(m.span, "asked for here")
                        .help("remove one of them"),
                ),
                None => steps.map(|o| {
                    Code::BATCH_WITH
                        .at(o.span, format!("`{}` is of steps along gradients, and closed forms take none", o.name))
                        .here("not with closed forms")
                        .label(m.span, "asked for here")
                        .help("remove one of them")
                }),
            };
            self.diags.list.extend(d);
        }
        let weighed = |o: &FitOption| matches!(&o.value, FitValue::Word(w) if w == "iwae" || w == "forward_kl");
        if let (Some(batch), Some(samples)) = (find("batch"), find("importance_samples"))
            && !find("method").is_some_and(weighed)
        {
            let d = Code::BATCH_WITH
                .at(
                    samples.span,
                    "`importance_samples` are weighed against each other, and this method takes one draw per row",
                )
                .here("without a method that weighs draws")
                .label(batch.span, "batches are asked for here")
                .help("add `method: iwae`; or remove it");
            self.diags.push(d);
        }
        if let (Some(patience), None) = (find("patience"), find("holdout")) {
            let d = Code::BATCH_WITH
                .at(patience.span, "`patience` says how long to wait for the rows of `holdout`, and there is none")
                .here("without rows that are held out")
                .help("add `holdout: 0.1`; or remove it");
            self.diags.push(d);
        }
        if let (Some(free), None) = (find("free_bits"), &self.hir.written) {
            let d = Code::BATCH_WITH
                .at(free.span, "`free_bits` are of latents that a written guide draws, and there is none")
                .here("without a guide that is written out")
                .help("write a guide that draws the latents of the rows; or remove it");
            self.diags.push(d);
        }
        let mask = self.hir.vars.iter().find(|v| matches!(v.kind, VarKind::Mask { .. }));
        if let (None, false, Some(mask)) = (find("batch"), asked, mask) {
            self.diags.push(
                Code::DROPOUT
                    .at(mask.span, "units are dropped in the steps of a fit in batches, and this model is fitted to all rows at once")
                    .here("would drop nothing")
                    .help("add `fit { batch: rows(128) }`, with the name of the table; or leave `dropout` out"),
            );
        }
        if let (Some(batch), Guide::FullRank | Guide::LowRank(_)) = (find("batch"), self.hir.guide) {
            let d = Code::BATCH_WITH
                .at(
                    batch.span,
                    "batches go with independent normals or a written guide, and not with correlated normals",
                )
                .here("with another guide")
                .help("write `guide meanfield`");
            self.diags.push(d);
        }
    }

    fn only_once(&mut self, span: Span, seen: &mut Option<Span>, what: &str) {
        if let Some(old) = seen.replace(span) {
            self.diags.push(
                Code::DECLARED_TWICE
                    .at(span, format!("a model has one `{what}`"))
                    .here("a second one")
                    .label(old, "the first one")
                    .help("remove one of them"),
            );
        }
    }

    fn family(&mut self, family: &ast::Expr) {
        let name = match &family.kind {
            A::Name(n) => n.as_str(),
            A::Call { callee, .. } => match &callee.kind {
                A::Name(n) => n.as_str(),
                _ => "",
            },
            A::Error => return,
            _ => "",
        };
        if let (A::Call { args, .. }, "meanfield" | "fullrank") = (&family.kind, name)
            && let Some(a) = args.first()
        {
            self.diags.push(
                Code::WRONG_ARGUMENT_COUNT
                    .at(a.value.span, format!("the guide `{name}` takes no arguments"))
                    .here("one too many")
                    .help(format!("write `guide {name}`")),
            );
        }
        match name {
            "meanfield" => self.hir.guide = Guide::MeanField,
            "fullrank" => self.hir.guide = Guide::FullRank,
            "lowrank" => {
                if let Some(k) = self.guide_size(family, name, 1, "how many directions it has beside the diagonal") {
                    self.hir.guide = Guide::LowRank(k);
                }
            }
            "mixture" => {
                if let Some(k) = self.guide_size(family, name, 2, "how many modes it may have") {
                    self.hir.guide = Guide::Mixture(k);
                }
            }
            "flow" => {
                if let Some(k) = self.guide_size(family, name, 1, "how many coupling layers bend the normal") {
                    self.hir.guide = Guide::Flow(k);
                }
            }
            "amortised" | "amortized" => {
                let hidden = match family.kind {
                    A::Name(_) => Some(amortise::HIDDEN),
                    _ => self.guide_size(family, name, 1, "units in each hidden layer of its nets"),
                };
                let span = family.span;
                self.hir.amortised = hidden.map(|hidden| Amortised { span, hidden, text: String::new() });
            }
            _ => {
                let said = if name.is_empty() { "this".into() } else { format!("`{name}`") };
                let d = Code::UNKNOWN_GUIDE.at(family.span, format!("{said} is not a guide")).here("not a guide");
                let squeezed = name.to_lowercase().replace('_', "");
                self.diags.push(match nearest(name, words::names(words::GUIDES)) {
                    Some(n) => {
                        let at = match &family.kind {
                            A::Call { callee, .. } => callee.span,
                            _ => family.span,
                        };
                        d.help(format!("did you mean `guide {n}`?")).edit(at, n)
                    }
                    None if squeezed == "advi" => {
                        d.help("its independent normals are `guide meanfield`").edit(family.span, "meanfield")
                    }
                    None if squeezed == "fullrankadvi" => {
                        d.help("write `guide fullrank`").edit(family.span, "fullrank")
                    }
                    None if matches!(squeezed.as_str(), "nuts" | "hmc" | "mcmc" | "laplace" | "pathfinder" | "map") => {
                        let method =
                            if matches!(squeezed.as_str(), "hmc" | "mcmc") { "nuts" } else { squeezed.as_str() };
                        d.help(format!(
                            "that is a method: `vic fit --method {method}`, or `fit {{ method: {method} }}`"
                        ))
                    }
                    None if squeezed == "normal" || squeezed == "gaussian" => d.help(
                        "`guide meanfield` is independent normals, `guide fullrank` one normal with correlations",
                    ),
                    None => d.help("the guides are `meanfield`, `fullrank`, `lowrank(10)`, `mixture(2)`, `flow(4)` and `amortised`"),
                });
            }
        }
    }

    /// The one whole number that a guide takes.
    fn guide_size(&mut self, family: &ast::Expr, name: &str, least: usize, what: &str) -> Option<usize> {
        let args = match &family.kind {
            A::Call { args, .. } => args.as_slice(),
            _ => &[],
        };
        if let [one] = args
            && let A::Number { value, .. } = one.value.kind
            && one.name.is_none()
            && value.fract() == 0.0
            && (least as f64..1e6).contains(&value)
        {
            return Some(value as usize);
        }
        if args.iter().any(|a| matches!(a.value.kind, A::Error)) {
            return None;
        }
        self.diags.push(
            Code::GUIDE_SIZE
                .at(family.span, format!("`{name}` takes one whole number, {least} or more: {what}"))
                .here(if args.is_empty() { "no number" } else { "not one such number" })
                .help(format!(
                    "write, for instance, `guide {name}({})`",
                    match name {
                        "lowrank" => 10,
                        "flow" => 4,
                        "amortised" | "amortized" => amortise::HIDDEN,
                        _ => 2,
                    }
                )),
        );
        None
    }

    /// The `bool` column of this name.
    fn condition_column(&self, name: &str) -> Option<VarId> {
        let var = self.names.get(name)?.var?;
        let condition = |k: &VarKind| matches!(k, VarKind::Column(c) if c.content == Content::Bool);
        condition(&self.hir.var(var).kind).then_some(var)
    }

    fn fit_item(&mut self, item: &'a FitItem) {
        let name = item.name.name.as_str();
        let Some((_, kind)) = OPTIONS.iter().find(|(n, _)| *n == name) else {
            let mut d = Code::UNKNOWN_FIT_OPTION
                .at(item.name.span, format!("there is no fit option called `{name}`"))
                .here("not an option");
            let known: Vec<&str> = OPTIONS.iter().map(|o| o.0).collect();
            let foreign = FOREIGN_OPTIONS.iter().find(|o| o.0 == name).map(|o| o.1);
            d = match foreign.or_else(|| nearest(name, known.iter().copied())) {
                Some(n) => d.meant(n),
                None => d.help(format!("the options are {}", known.join(", "))),
            };
            self.diags.push(d);
            return;
        };
        if let Some(old) = self.hir.fit.iter().find(|o| o.name == name) {
            self.diags.push(
                Code::ARGUMENT_TWICE
                    .at(item.span, format!("the fit option `{name}` is given twice"))
                    .here("given again")
                    .label(old.span, "given here first")
                    .help("remove one of them"),
            );
            return;
        }
        let value = match (&item.value.kind, kind) {
            (A::Number { value, .. }, Kind::Whole) if value.fract() == 0.0 && *value >= 1.0 => {
                Some(FitValue::Number(*value))
            }
            (A::Number { value, .. }, Kind::Whole) if name == "seed" && *value == 0.0 => Some(FitValue::Number(0.0)),
            (A::Number { value, .. }, Kind::Positive) if *value > 0.0 => Some(FitValue::Number(*value)),
            (A::Number { value, .. }, Kind::Share) if *value > 0.0 && *value < 1.0 => Some(FitValue::Number(*value)),
            (A::Name(w), Kind::Word(words)) if words.contains(&w.as_str()) => Some(FitValue::Word(w.clone())),
            (A::Name(column), Kind::Condition) => self.condition_column(column).map(FitValue::Column),
            (A::Call { callee, args }, Kind::Batch) => match self.batch_of(callee, args) {
                Some(value) => value,
                None => return,
            },
            (A::Call { callee, args }, Kind::Optimizer) => match (&callee.kind, args.as_slice()) {
                (A::Name(w), [one]) if OPTIMIZERS.contains(&w.as_str()) => match one.value.kind {
                    A::Number { value, .. } if value > 0.0 && one.name.is_none() => {
                        Some(FitValue::Optimizer(w.clone(), value))
                    }
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        };
        match value {
            Some(value) => {
                if let FitValue::Column(column) = value {
                    self.hir.binarised.push(column);
                }
                self.hir.fit.push(FitOption { name: name.to_string(), span: item.span, value });
            }
            None => {
                let wanted = match kind {
                    Kind::Whole => "a whole number, 1 or more".to_string(),
                    Kind::Positive => "a positive number".to_string(),
                    Kind::Share => "a number between 0 and 1".to_string(),
                    Kind::Word(w) => one_of(w),
                    Kind::Batch => "a table or plate, and a number of its rows".to_string(),
                    Kind::Optimizer => "`adam`, `adamw` or `sgd` with a rate".to_string(),
                    Kind::Condition => "a column of type `bool`".to_string(),
                };
                if matches!(item.value.kind, A::Error) {
                    return;
                }
                let example = match kind {
                    Kind::Whole => "100",
                    Kind::Positive => "0.01",
                    Kind::Share => "0.1",
                    Kind::Word(w) => w[0],
                    Kind::Batch => "rows(128)",
                    Kind::Optimizer => "adam(0.001)",
                    Kind::Condition => "x",
                };
                self.diags.push(
                    Code::FIT_OPTION_VALUE
                        .at(item.value.span, format!("`{name}` must be {wanted}"))
                        .here("another kind of value")
                        .help(format!("write, for instance, `{name}: {example}`")),
                );
            }
        }
    }
}
