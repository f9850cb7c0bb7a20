//! Exact values at the edges of a parameter's or a value's range.

use super::harness::*;

#[test]
fn densities_are_exact_at_their_edges() {
    let inf = f64::INFINITY;
    let cases: &[(&str, &[f64], f64, f64)] = &[
        ("Bernoulli(p)", &[0.0], 0.0, 0.0),
        ("Bernoulli(p)", &[0.0], 1.0, -inf),
        ("Bernoulli(p)", &[1.0], 1.0, 0.0),
        ("Bernoulli(p)", &[1.0], 0.0, -inf),
        ("Bernoulli(logit)", &[1000.0], 1.0, 0.0),
        ("Bernoulli(logit)", &[1000.0], 0.0, -1000.0),
        ("Bernoulli(logit)", &[-1000.0], 1.0, -1000.0),
        ("Binomial(n, p)", &[0.0, 0.3], 0.0, 0.0),
        ("Binomial(n, p)", &[7.0, 0.0], 0.0, 0.0),
        ("Binomial(n, p)", &[7.0, 0.0], 1.0, -inf),
        ("Binomial(n, p)", &[7.0, 1.0], 7.0, 0.0),
        ("Binomial(n, p)", &[7.0, 1.0], 6.0, -inf),
        ("Binomial(n, logit)", &[0.0, 3.0], 0.0, 0.0),
        ("Poisson(rate)", &[0.0], 0.0, 0.0),
        ("Poisson(rate)", &[0.0], 3.0, -inf),
        ("Poisson(log)", &[-800.0], 0.0, 0.0),
        ("Beta(a, b)", &[1.0, 1.0], 0.0, 0.0),
        ("Beta(a, b)", &[1.0, 1.0], 1.0, 0.0),
        ("Beta(a, b)", &[2.0, 1.0], 1.0, std::f64::consts::LN_2),
        ("Beta(a, b)", &[1.0, 2.0], 1.0, -inf),
        ("Beta(a, b)", &[2.0, 1.0], 0.0, -inf),
        ("Exponential(rate)", &[1.0], 0.0, 0.0),
        ("Gamma(shape, rate)", &[1.0, 1.0], 0.0, 0.0),
        ("Gamma(shape, rate)", &[2.0, 1.0], 0.0, -inf),
        ("Normal(mu, sigma)", &[0.0, 1e-300], 1.0, -inf),
        ("Geometric(p)", &[0.5], 0.0, -std::f64::consts::LN_2),
    ];
    for (signature, args, x, want) in cases {
        let args: Vec<Vec<f64>> = args.iter().map(|a| vec![*a]).collect();
        let got = Program::new(&form(signature), &args, None).logpdf(&[*x])[0];
        assert!(got == *want, "{signature} {args:?} at {x}: {got}, want {want}");
    }
}

#[test]
fn draws_at_the_edges_are_certain() {
    let all = |signature: &str, args: &[f64], want: f64| {
        let args: Vec<Vec<f64>> = args.iter().map(|a| vec![*a]).collect();
        let draws = Program::new(&form(signature), &args, None).draws(200, 1);
        assert!(draws.iter().all(|d| *d == want), "{signature} {args:?}");
    };
    all("Bernoulli(p)", &[0.0], 0.0);
    all("Bernoulli(p)", &[1.0], 1.0);
    all("Binomial(n, p)", &[9.0, 0.0], 0.0);
    all("Binomial(n, p)", &[9.0, 1.0], 9.0);
    all("Binomial(n, p)", &[0.0, 0.4], 0.0);
    all("Poisson(rate)", &[0.0], 0.0);
}

/// Zero cells have probability 0 and are allowed at exponent 0.
#[test]
fn dirichlet_and_categorical_are_exact_at_a_corner() {
    let flat = Program::new(&form("Dirichlet(alpha)"), &[vec![1.0; 3]], None);
    assert_eq!(flat.logpdf_rows(&[0.0, 0.0, 1.0], 1), [std::f64::consts::LN_2]);
    let peaked = Program::new(&form("Dirichlet(alpha)"), &[vec![2.0, 1.0, 1.0]], None);
    assert_eq!(peaked.logpdf_rows(&[0.0, 0.0, 1.0], 1), [f64::NEG_INFINITY]);
    let certain = Program::new(&form("Categorical(p)"), &[vec![0.0, 1.0]], None);
    assert_eq!(certain.logpdf(&[0.0, 1.0]), [f64::NEG_INFINITY, 0.0]);
}
