//! NumPyro, Pyro and PyMC: `mu = numpyro.sample("mu", dist.Normal(0, 1))`, `pm.Normal("y", mu, 1, observed=y)`.

use super::super::Place;
use super::MODULES;
use crate::diag::{Code, Diagnostic};
use crate::syntax::token::Token;

/// Arguments that say how a value is kept, not how it is distributed.
const ASIDE: &[&str] =
    &["obs", "observed", "shape", "dims", "initval", "testval", "rng_key", "sample_shape", "infer", "obs_mask"];

impl Place<'_, '_> {
    /// A value drawn by a call with its name in quotes.
    pub(super) fn sampled(&self) -> Option<Diagnostic> {
        let module = (self.first..self.last).find(|&i| {
            self.name_at(i).is_some_and(|n| MODULES.contains(&n)) && self.token(i + 1) == Some(Token::Dot)
        })?;
        let mut name = module;
        while self.token(name + 1) == Some(Token::Dot) && self.name_at(name + 2).is_some() {
            name += 2;
        }
        let function = self.name_at(name)?;
        let open = name + 1;
        let args = self.arguments(open).filter(|_| self.token(open) == Some(Token::LParen))?;
        let Some(Token::Text(site)) = self.token(args.first()?.0) else { return None };
        // What stands to the left: `mu =`, `latent mu ~`.
        let left = (self.first..module).rev().find_map(|i| self.name_at(i));
        let site = left.unwrap_or(site);
        if site.is_empty() || !site.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return None;
        }
        let aside = |a: &(usize, usize)| {
            self.name_at(a.0)
                .filter(|n| ASIDE.contains(n))
                .filter(|_| matches!(self.token(a.0 + 1), Some(Token::Equals)))
        };
        let observed =
            args.iter().find(|a| matches!(aside(a), Some("obs" | "observed"))).map(|a| self.plain(a.0 + 2, a.1));
        let values: Vec<&(usize, usize)> = args[1..].iter().filter(|a| aside(a).is_none()).collect();
        let line = match function {
            "sample" => {
                let (from, to) = **values.first()?;
                // Without `.to_event(1)` and the like.
                let end = (from..=to)
                    .find(|&i| self.token(i) == Some(Token::LParen))
                    .and_then(|i| self.closing(i))
                    .unwrap_or(to);
                self.drawn(site, &observed, &self.plain(from, end))
            }
            "deterministic" | "Deterministic" => {
                format!("report {site} = {}", self.plain(values.first()?.0, values.last()?.1))
            }
            "factor" | "Potential" => format!("factor {}", self.plain(values.first()?.0, values.last()?.1)),
            "param" => format!("param {site} = {}", self.plain(values.first()?.0, values.first()?.1)),
            family if family.starts_with(|c: char| c.is_ascii_uppercase()) => {
                let args: Vec<String> = values.iter().map(|a| self.plain(a.0, a.1)).collect();
                self.drawn(site, &observed, &format!("{family}({})", args.join(", ")))
            }
            _ => return None,
        };
        let d = Code::NO_DECLARATION_WORD.at(
            self.span_of(self.first).to(self.span_of(name)),
            match observed {
                Some(_) => "data are observed with `observe` and `~`",
                None => "an unknown is declared with `latent` and `~`",
            },
        );
        Some(d.help(format!("write `{line}`")).mend(self.whole(), line))
    }

    fn drawn(&self, site: &str, observed: &Option<String>, dist: &str) -> String {
        match observed {
            // `obs=data["y"]` says less than the name of the site.
            Some(y) if y.chars().all(|c| c.is_alphanumeric() || c == '_') && y != "data" => {
                format!("observe {y} ~ {dist}")
            }
            Some(_) => format!("observe {site} ~ {dist}"),
            None => format!("latent {site} ~ {dist}"),
        }
    }
}
