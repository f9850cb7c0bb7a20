//! The words that a program may use where a name of its own has no place, each with what it means: for suggestions here, and
//! for editors.

/// A word and its meaning.
pub type Word = (&'static str, &'static str);

/// Types of columns and values.
pub const TYPES: &[Word] = &[
    ("real", "a number"),
    ("int", "a whole number"),
    ("bool", "true or false"),
    ("category", "a label; its levels are a plate"),
    ("key", "a label of the row; other tables refer to it"),
    ("date", "a day, as in 2024-03-01"),
    ("simplex", "positive parts that sum to 1, over a plate"),
    ("ordered", "increasing values over a plate; `ordered > 0` are positive as well"),
    ("unit_vector", "of length 1 over a plate"),
    ("zero_sum", "values that sum to 0 over a plate"),
    ("corr", "a correlation matrix over a plate"),
    ("cov", "a covariance matrix over a plate"),
    ("cholesky_corr", "the lower Cholesky factor of a correlation matrix"),
    ("cholesky_cov", "the lower Cholesky factor of a covariance matrix"),
];

/// Families of guides.
pub const GUIDES: &[Word] = &[
    ("meanfield", "independent normals"),
    ("fullrank", "one normal with correlations"),
    ("lowrank", "a normal with correlations in a few directions: `lowrank(10)`"),
    ("mixture", "a normal for each of several modes: `mixture(2)`"),
    ("flow", "a normal bent by coupling layers: `flow(4)`"),
    ("amortised", "a net for each latent of rows, which reads its row"),
];

/// What may follow a declaration.
pub const ATTRIBUTES: &[Word] = &[
    ("centered", "draw the latent itself"),
    ("noncentered", "draw the latent by its distance from its mean, in standard deviations"),
    ("allow", "silence a warning: `@allow(V1002)`"),
];

/// What may follow a line of a written guide: how its gradient is taken.
pub const GUIDE_ATTRIBUTES: &[Word] = &[
    ("score", "by the score function"),
    ("enumerate", "by the expectation over the values of a discrete latent"),
    ("gumbel", "along a relaxed draw of a discrete latent: `@gumbel(temperature: 0.5)`"),
];

/// The words without their meanings.
pub fn names(words: &[Word]) -> impl Iterator<Item = &'static str> {
    words.iter().map(|w| w.0)
}
