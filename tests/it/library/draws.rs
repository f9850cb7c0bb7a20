//! Draws follow their distribution; a user's copy of a distribution is the same to the bit.

use super::harness::*;
use super::quadrature::Rule;

const DRAWS: usize = 200_000;

/// Five standard errors: 1 in 2 million for each of some 200 comparisons, with a fixed seed.
const SIGMAS: f64 = 5.0;

/// Fourth central moment, or infinity where quadrature shows no finite one.
fn fourth_moment(case: &Case, program: &Program) -> f64 {
    let (mean, variance) = (case.mean[0], case.variance[0]);
    if !case.continuous() {
        let n = 200 + 20 * case.points.iter().map(|p| p.x[0] as usize).max().unwrap_or(0);
        let (_, upper) = program.ends();
        let top = if case.form.support == "bool" { 1 } else { n.min(upper as usize) };
        let x: Vec<f64> = (0..=top).map(|k| k as f64).collect();
        return x.iter().zip(program.logpdf(&x)).map(|(x, lp)| (x - mean).powi(4) * lp.exp()).sum();
    }
    let (lower, upper) = program.ends();
    let scale = case.quantile(0.75) - case.quantile(0.25);
    let rule = Rule::new(lower, upper, case.middle(), scale, 1.0 / 64.0);
    let m4 = rule.integral(&program.logpdf(&rule.x), |x| (x - mean).powi(4));
    if m4 > 1e8 * variance * variance { f64::INFINITY } else { m4 }
}

#[test]
fn draws_have_the_mean_and_variance_and_follow_the_distribution_function() {
    let n = DRAWS as f64;
    for (i, case) in cases().iter().enumerate().filter(|(_, c)| c.form.support != "simplex") {
        let program = case.program();
        let draws = program.draws(DRAWS, 1000 + i as u64);
        assert_eq!(draws.len(), DRAWS, "{}", case.text);
        let text = &case.text;

        let (lower, upper) = match case.form.support.as_str() {
            "bool" => (0.0, 1.0),
            _ if case.form.on_plate => (0.0, program.kinds() as f64 - 1.0),
            _ => program.ends(),
        };
        // Rounding may bring a draw onto an open end (`Beta(0.5, …)` next to 1): the closed range is what holds.
        let outside = draws.iter().find(|x| !(lower <= **x && **x <= upper));
        assert_eq!(outside, None, "{text}: a draw outside the support");
        if !case.continuous() {
            assert!(draws.iter().all(|x| x.fract() == 0.0), "{text}: a draw that is no whole number");
        }

        let (mean, variance) = (case.mean[0], case.variance[0]);
        if variance.is_finite() {
            let got = draws.iter().sum::<f64>() / n;
            let se = (variance / n).sqrt();
            assert!((got - mean).abs() <= SIGMAS * se, "{text}: mean of draws {got}, want {mean} ± {se}");
            // Var(s²) = (m4 - σ⁴ (n-3)/(n-1)) / n; the bound is normal, which heavy tails are not yet: at a kurtosis
            // above 1000 the sample's own extremes decide, and the comparison below covers them.
            let m4 = fourth_moment(case, &program);
            if m4 < 1000.0 * variance * variance {
                let got = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                let se = ((m4 - variance * variance) / n).sqrt();
                // A symmetric coin has no variation of (x - mean)² at all; rounding remains.
                let bound = SIGMAS * se + 1e-10 * variance;
                assert!((got - variance).abs() <= bound, "{text}: variance of draws {got}, want {variance} ± {se}");
            }
        }

        for point in &case.points {
            let (x, p) = (point.x[0], point.logcdf.exp());
            let got = draws.iter().filter(|d| **d <= x).count() as f64 / n;
            let bound = SIGMAS * (p * (1.0 - p).max(0.0) / n).sqrt() + 3.0 / n;
            assert!((got - p).abs() < bound, "{text}: {got} of the draws are at most {x}, want {p}");
        }

        // Kolmogorov-Smirnov on every draw, by the library's own distribution function. P(√n D > 2.4) = 2e-5.
        if case.form.has_cdf {
            let mut sorted = draws;
            sorted.sort_by(f64::total_cmp);
            let kept = Program::new(&case.form, &case.args, Some("real < high"));
            let rows = Rows { highs: Some(sorted), ..Rows::of(DRAWS) };
            let cdf = kept.log_kept(&rows).expect("it is truncated");
            let off = cdf.iter().enumerate().map(|(i, f)| {
                let f = f.exp();
                ((i as f64 + 1.0) / n - f).max(f - i as f64 / n)
            });
            let d = off.fold(0.0, f64::max) * n.sqrt();
            assert!(d < 2.4, "{text}: Kolmogorov-Smirnov statistic {d}");
        }
    }
}

#[test]
fn dirichlet_draws_lie_on_the_simplex_with_their_mean_and_variance() {
    let n = DRAWS as f64;
    for case in cases().iter().filter(|c| c.form.support == "simplex") {
        let program = case.program();
        let draws = program.draws(DRAWS, 7);
        let k = program.kinds();
        assert_eq!(draws.len(), DRAWS * k);
        for r in 0..DRAWS {
            let row = (0..k).map(|c| draws[r + DRAWS * c]);
            assert!(row.clone().all(|x| (0.0..=1.0).contains(&x)) && (row.sum::<f64>() - 1.0).abs() < 1e-14);
        }
        let total: f64 = case.args[0].iter().sum();
        for c in 0..k {
            let cell = &draws[c * DRAWS..(c + 1) * DRAWS];
            let (mean, variance) = (case.mean[c], case.variance[c]);
            let got = cell.iter().sum::<f64>() / n;
            assert!((got - mean).abs() < SIGMAS * (variance / n).sqrt(), "{} mean of cell {c}: {got}", case.text);
            // A cell is Beta(a, b); its kurtosis in closed form.
            let (a, b) = (case.args[0][c], total - case.args[0][c]);
            let excess = 6.0 * ((a - b).powi(2) * (a + b + 1.0) - a * b * (a + b + 2.0))
                / (a * b * (a + b + 2.0) * (a + b + 3.0));
            let got = cell.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            let se = variance * ((excess + 2.0) / n).sqrt();
            assert!((got - variance).abs() < SIGMAS * se, "{} variance of cell {c}: {got}", case.text);
        }
    }
}

#[test]
fn cells_of_a_plate_are_drawn_apart() {
    let draws = Program::new(&form("Normal(mu, sigma)"), &[vec![0.0], vec![1.0]], None).draws(100, 3);
    let mut distinct = draws.clone();
    distinct.sort_by(f64::total_cmp);
    distinct.dedup();
    assert_eq!(distinct.len(), 100);
}

#[test]
fn tiny_shapes_still_give_numbers() {
    let beta = Program::new(&form("Beta(a, b)"), &[vec![0.001], vec![0.001]], None);
    let draws = beta.draws(2000, 5);
    assert!(draws.iter().all(|x| (0.0..=1.0).contains(x)), "a draw is not a number");
    let mean = draws.iter().sum::<f64>() / 2000.0;
    assert!((mean - 0.5).abs() < SIGMAS * (0.25 / 2000.0_f64).sqrt(), "mean {mean}");
    let dirichlet = Program::new(&form("Dirichlet(alpha)"), &[vec![0.001; 4]], None);
    assert!(dirichlet.draws(2000, 5).iter().all(|x| x.is_finite()));
}

#[test]
fn a_users_copy_of_a_distribution_is_the_same_to_the_bit() {
    let bits = |v: &[f64]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for case in cases() {
        let (ours, theirs) = (case.program(), Program::new(&case.form.copied(), &case.args, None));
        for p in &case.points {
            assert_eq!(bits(&ours.logpdf_rows(&p.x, 1)), bits(&theirs.logpdf_rows(&p.x, 1)), "{}", case.text);
        }
        assert_eq!(bits(&ours.draws(50, 11)), bits(&theirs.draws(50, 11)), "{}", case.text);
        assert_eq!(ours.mean().map(|v| bits(&v)), theirs.mean().map(|v| bits(&v)), "{}", case.text);
        assert_eq!(ours.variance().map(|v| bits(&v)), theirs.variance().map(|v| bits(&v)), "{}", case.text);
    }
}
