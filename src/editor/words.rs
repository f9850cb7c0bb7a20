//! The words of the language, and what each means in a line. Types, families and attributes are the checker's own.

pub use crate::check::words::{ATTRIBUTES, GUIDE_ATTRIBUTES, GUIDES, TYPES};

/// Words with a meaning of their own, as an editor explains them.
pub const KEYWORDS: &[(&str, &str)] = &[
    ("data", "a table of data with its columns, or a value that stands beside the tables"),
    ("plate", "named cells that values are repeated over"),
    ("const", "a number that `--set` may change"),
    ("latent", "an unknown with its prior"),
    ("param", "an unknown without a prior: the fit gives it one value"),
    ("let", "a value computed from others"),
    ("observe", "data with the distribution that they come from"),
    ("factor", "a term that is added to the log joint"),
    ("report", "what to show besides the latents"),
    ("net", "a neural network"),
    ("fn", "a function"),
    ("dist", "a distribution of your own"),
    ("guide", "the family that approximates the posterior"),
    ("fit", "options of the fit"),
    ("import", "functions, distributions, nets and constants of another file"),
    ("if", "`if condition then a else b`"),
    ("then", "`if condition then a else b`"),
    ("else", "`if condition then a else b`"),
    ("and", "both conditions"),
    ("or", "either condition"),
    ("not", "the opposite of a condition"),
    ("over", "the plates that a value is joint over, or that a sum runs over"),
    ("in", "`t in days`: an index over a plate"),
    ("by", "`t in visits by patient`: rows group by group"),
    ("along", "`t in visits along day`: rows in the order of a column"),
    ("where", "the cells for which a condition holds"),
    ("from", "the column of the file, where its name differs"),
    ("on", "the support of a distribution"),
    ("without", "`b[work without \"none\"]`: the reference level, where the value is 0"),
];

pub fn keyword(word: &str) -> Option<&'static str> {
    let lists = [KEYWORDS, TYPES];
    lists.iter().flat_map(|l| l.iter()).find(|(name, _)| *name == word).map(|(_, meaning)| *meaning)
}
