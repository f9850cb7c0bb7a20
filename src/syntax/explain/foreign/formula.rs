//! Formulas of R: `y ~ x + z`, `lm(y ~ x * z + (1 | g))`. What they leave unsaid is written out here.

use super::super::Place;
use crate::diag::{Code, Diagnostic};
use crate::syntax::token::{Token, lex};

/// Functions that take a formula.
const FITTERS: &[&str] = &[
    "lm",
    "glm",
    "lmer",
    "glmer",
    "brm",
    "bf",
    "stan_glm",
    "stan_lm",
    "stan_lmer",
    "stan_glmer",
    "gam",
    "rlm",
    "lme",
    "bam",
    "Model",
];
/// Functions of a column that a formula may hold.
const OF_COLUMNS: &[&str] = &["I", "log", "exp", "sqrt", "scale", "factor", "offset", "s", "poly"];

/// What a formula says, in declarations.
pub struct Formula {
    /// The mean: `a + b_x * x`.
    pub mean: String,
    /// Names of coefficients that have one value.
    pub coefficients: Vec<String>,
    /// Effects per group: the latent, and its plate.
    pub groups: Vec<(String, String)>,
}

impl Formula {
    /// The line for what is observed.
    pub fn line(&self, target: &str) -> String {
        format!("observe {target} ~ Normal({}, sigma)", self.mean)
    }

    /// What has to stand above it.
    pub fn above(&self) -> String {
        let mut lines = vec![];
        if !self.coefficients.is_empty() {
            lines.push(format!("`latent {} ~ Normal(0, 1)`", self.coefficients.join(", ")));
        }
        for (name, plate) in &self.groups {
            lines.push(format!("`latent {name}[{plate}] ~ Normal(0, tau)`"));
        }
        let scales = if self.groups.is_empty() { "sigma" } else { "sigma, tau" };
        lines.push(format!("`latent {scales} ~ HalfNormal(1)`"));
        lines.join(", ")
    }
}

/// The right side of a formula, if it is one: names joined by `+`, `*`, `:`, and groups in parentheses.
pub fn formula(text: &str) -> Option<Formula> {
    let tokens = lex(text);
    if tokens.is_empty()
        || tokens
            .iter()
            .any(|t| matches!(t.1, Token::Tilde | Token::Equals | Token::If | Token::Text(_) | Token::Comma))
    {
        return None;
    }
    let calls = tokens
        .windows(2)
        .any(|w| matches!((w[0].1, w[1].1), (Token::Name(n), Token::LParen) if !OF_COLUMNS.contains(&n)));
    if calls {
        return None;
    }
    let mut terms = vec![];
    let (mut start, mut depth) = (0, 0);
    for (i, (at, token, _)) in tokens.iter().enumerate() {
        if depth == 0 && matches!(token, Token::Plus | Token::Minus) && i > 0 {
            terms.push(text[start..*at].trim());
            start = if *token == Token::Minus { *at } else { *at + 1 };
        }
        depth += i32::from(token.closer().is_some()) - i32::from(token.is_closer());
    }
    terms.push(text[start..].trim());
    let mut out = Formula { mean: String::new(), coefficients: vec![], groups: vec![] };
    let (mut parts, mut intercept) = (vec![], true);
    for term in terms {
        match term {
            "1" => {}
            "0" | "-1" | "- 1" => intercept = false,
            _ => written(term, &mut parts, &mut out)?,
        }
    }
    if intercept {
        parts.insert(0, "a".to_owned());
        out.coefficients.insert(0, "a".to_owned());
    }
    out.mean = parts.join(" + ");
    (!out.mean.is_empty()).then_some(out)
}

/// One term: the parts of the mean that it stands for.
fn written(term: &str, parts: &mut Vec<String>, out: &mut Formula) -> Option<()> {
    let plain = |t: &str| !t.is_empty() && t.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.');
    if let Some(inside) = term.strip_prefix('(').and_then(|t| t.strip_suffix(')')) {
        let (left, group) =
            inside.split_once("||").or_else(|| inside.split_once('|')).or_else(|| inside.split_once(" or "))?;
        let group = group.trim();
        if !plain(group) {
            return None;
        }
        let mut varies = vec![];
        let mut own = true;
        for t in left.split('+').map(str::trim) {
            match t {
                "1" => {}
                "0" => own = false,
                t if plain(t) => varies.push(t),
                _ => return None,
            }
        }
        if own {
            parts.push(format!("u[{group}]"));
            out.groups.push(("u".to_owned(), group.to_owned()));
        }
        for x in varies {
            parts.push(format!("u_{x}[{group}] * {x}"));
            out.groups.push((format!("u_{x}"), group.to_owned()));
        }
        return Some(());
    }
    let mut add = |names: &[&str]| {
        let b = format!("b_{}", names.join("_"));
        parts.push(format!("{b} * {}", names.join(" * ")));
        out.coefficients.push(b);
    };
    if let Some((x, z)) = term.split_once('*') {
        let (x, z) = (x.trim(), z.trim());
        if !plain(x) || !plain(z) {
            return None;
        }
        add(&[x]);
        add(&[z]);
        add(&[x, z]);
        return Some(());
    }
    if let Some((x, z)) = term.split_once(':') {
        let (x, z) = (x.trim(), z.trim());
        return (plain(x) && plain(z)).then(|| add(&[x, z]));
    }
    if plain(term) && term.starts_with(|c: char| c.is_alphabetic()) {
        add(&[term]);
        return Some(());
    }
    // A function of a column: `I(x^2)`, `log(x)`.
    let (function, rest) = term.split_once('(')?;
    let inside = rest.strip_suffix(')')?;
    let name: String = inside.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let value = if function == "I" { format!("({inside})") } else { term.to_owned() };
    let b = if function == "I" { format!("b_{name}") } else { format!("b_{function}_{name}") };
    parts.push(format!("{b} * {value}"));
    out.coefficients.push(b);
    Some(())
}

impl Place<'_, '_> {
    /// `y ~ x + z` on a line of its own, or as the argument of a function that fits.
    pub(super) fn written_formula(&self) -> Option<Diagnostic> {
        let fitter = (self.first..self.last).find(|&i| {
            self.name_at(i).is_some_and(|n| FITTERS.contains(&n)) && self.token(i + 1) == Some(Token::LParen)
        });
        let tilde = (self.first..self.last).find(|&i| self.tokens[i].1 == Token::Tilde)?;
        let (target, end) = match fitter {
            Some(f) => (f + 2, self.arguments(f + 1)?.iter().find(|a| a.0 <= tilde && tilde <= a.1)?.1),
            // Only a name may stand before it.
            None if tilde == self.first + 1 => (self.first, self.last.checked_sub(1)?),
            None => return None,
        };
        let name = self.name_at(target).filter(|_| target + 1 == tilde)?;
        if tilde >= end {
            return None;
        }
        let right = &self.text[self.tokens[tilde + 1].0..self.tokens[end].2];
        let found = formula(right)?;
        let here = match fitter {
            Some(f) => self.span_of(f),
            None => self.span_of(tilde + 1).to(self.span_of(end)),
        };
        Some(told(here, &found, name).edit(self.whole(), found.line(name)))
    }
}

/// What is said of a formula, here or after a parse.
pub fn told(here: crate::source::Span, found: &Formula, target: &str) -> Diagnostic {
    Code::NOT_A_DISTRIBUTION
        .at(here, "a formula leaves unsaid how the data are distributed, and what its coefficients may be")
        .here("not a distribution")
        .note(format!("above it: {}", found.above()))
        .help(format!("write it out: `{}`", found.line(target)))
}
