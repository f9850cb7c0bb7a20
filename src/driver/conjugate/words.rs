//! What is in the way of closed forms, and what went wrong with them, in words.

use crate::derive::statistics::Obstacle;
use crate::diag::{Code, Diagnostic};
use crate::driver::fit::own_name;
use crate::hir::{Hir, VarKind};
use crate::infer::Method;
use crate::infer::conjugate::{Trouble, TroubleKind};

pub(super) fn in_the_way(hir: &Hir, obstacle: &Obstacle, method: Method) -> Diagnostic {
    let method = method.name();
    let names: Vec<String> = obstacle.vars.iter().map(|v| format!("`{}`", hir.var(*v).name)).collect();
    let help = "leave `--method` out: a guide is fitted instead. Conjugate priors are: normal for means, `InvGamma` for a \
                variance v in `Normal(mu, sqrt(v))`, `Gamma` for a rate or a precision, `Beta` for a chance, `Dirichlet` \
                for probabilities, `InverseWishart` for a covariance matrix, `Wishart` for a precision matrix";
    let subject = if names.is_empty() { "the log joint".into() } else { names.join(", ") };
    let text = format!("`--method {method}` needs factors in closed form, and {subject} {}", obstacle.why);
    let d = match obstacle.vars.first() {
        Some(v) => Code::NOT_CONJUGATE.at(hir.var(*v).span, text).here("no closed form"),
        None => Code::NOT_CONJUGATE.plain(text),
    };
    d.help(help)
}

/// To follow a start.
pub(super) fn in_words(trouble: &Trouble) -> String {
    let name = own_name(&trouble.name);
    match trouble.kind {
        TroubleKind::NotFinite => format!("the bound is not finite when `{name}` is updated"),
        TroubleKind::Empty => format!("no row is left to `{name}`"),
        TroubleKind::Unbounded => format!("`{name}` goes to 0, and the likelihood to infinity"),
        TroubleKind::NoMaximum => format!("no value of `{name}` maximises the likelihood"),
        TroubleKind::Improper => format!("neither its prior nor the data determine `{name}`"),
        TroubleKind::Singular => format!("the precision matrix of `{name}` and what is drawn with it is singular"),
    }
}

pub(super) fn in_trouble(hir: &Hir, trouble: &Trouble) -> Diagnostic {
    let (code, here, help) = match trouble.kind {
        TroubleKind::NotFinite => (
            Code::ASCENT_NOT_FINITE,
            "not finite here",
            "give params a start at which every row is possible, `param m: real = mean(y)`; priors of latents must allow the data",
        ),
        TroubleKind::Empty => (
            Code::EMPTY_COMPONENT,
            "empty",
            "start from other values, `= draw(Normal(mean(y), sd(y)))`; take fewer components; or give it a prior, as `latent`",
        ),
        TroubleKind::Unbounded => (
            Code::UNBOUNDED_LIKELIHOOD,
            "goes to 0",
            "a component that takes a single row, or equal ones, has no likeliest scale: give it a prior, \
             `latent v ~ InvGamma(2, 1)`, let components share it, or start elsewhere",
        ),
        TroubleKind::NoMaximum => (
            Code::NO_MAXIMUM,
            "no value is best",
            "give it a prior, as `latent`, or remove what the data do not determine",
        ),
        TroubleKind::Improper => (Code::IMPROPER_FACTOR, "undetermined", "give it a proper prior in place of `flat()`"),
        TroubleKind::Singular => (
            Code::SINGULAR_FACTOR,
            "singular",
            "effects that only their sum is known of, or a column that others add up to, leave a direction undetermined: \
             give them priors, or remove one",
        ),
    };
    let name = own_name(&trouble.name);
    let head = name.split('[').next().unwrap_or(&name);
    let text = in_words(trouble);
    let d = match hir.vars.iter().find(|v| v.name == head && matches!(v.kind, VarKind::Latent | VarKind::Param { .. }))
    {
        Some(v) => code.at(v.span, text).here(here),
        None => code.plain(text),
    };
    d.help(help)
}
