//! Whether chains have mixed: rank-normalised split R̂ and effective sample sizes.
//!
//! Vehtari, Gelman, Simpson, Carpenter, Bürkner. "Rank-normalization, folding, and localization: an improved R̂ for
//! assessing convergence of MCMC". Bayesian Analysis 16 (2021). The definitions are those of Stan and ArviZ.

use serde::Serialize;

use super::normal_quantile;

/// How well the chains agree about one scalar.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mixing {
    /// The larger of R̂ of ranks and of ranks of distances from the median.
    pub r_hat: f64,
    /// Independent draws that would know the middle as well.
    pub ess_bulk: f64,
    /// The same for the 5 % and 95 % quantiles.
    pub ess_tail: f64,
}

/// Of draws that are all alike nothing can be said: R̂ is 1 and every draw counts.
pub fn mixing(draws: &[f64], chains: usize) -> Mixing {
    let n = draws.len() / chains.max(1);
    let total = (n * chains) as f64;
    if n < 4 || draws.iter().any(|x| !x.is_finite()) {
        return Mixing { r_hat: f64::NAN, ess_bulk: f64::NAN, ess_tail: f64::NAN };
    }
    if draws.iter().all(|x| *x == draws[0]) {
        return Mixing { r_hat: 1.0, ess_bulk: total, ess_tail: total };
    }
    let split = halves(draws, n);
    let ranks = rank_normal(&split);
    let mut sorted: Vec<f64> = split.concat();
    sorted.sort_unstable_by(f64::total_cmp);
    let quantile = |p: f64| {
        let at = p * (sorted.len() - 1) as f64;
        let low = at.floor() as usize;
        sorted[low] + (at - low as f64) * (sorted[(low + 1).min(sorted.len() - 1)] - sorted[low])
    };
    let each =
        |f: &dyn Fn(f64) -> f64| -> Vec<Vec<f64>> { split.iter().map(|c| c.iter().map(|x| f(*x)).collect()).collect() };
    let median = quantile(0.5);
    let folded = rank_normal(&each(&|x| (x - median).abs()));
    let below = |p: f64| {
        let q = quantile(p);
        each(&|x| f64::from(x <= q))
    };
    Mixing {
        r_hat: r_hat(&ranks).max(r_hat(&folded)),
        ess_bulk: ess(&ranks),
        ess_tail: ess(&below(0.05)).min(ess(&below(0.95))),
    }
}

/// Each chain as two, so that a trend within a chain shows; the middle draw of an odd number is left out.
fn halves(draws: &[f64], n: usize) -> Vec<Vec<f64>> {
    let half = n / 2;
    draws.chunks(n).flat_map(|c| [c[..half].to_vec(), c[c.len() - half..].to_vec()]).collect()
}

/// Normal scores of the ranks over all chains; ties share their average rank (Blom's offsets).
fn rank_normal(chains: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut order: Vec<(f64, usize, usize)> = vec![];
    for (c, chain) in chains.iter().enumerate() {
        order.extend(chain.iter().enumerate().map(|(i, x)| (*x, c, i)));
    }
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let total = order.len() as f64;
    let mut out: Vec<Vec<f64>> = chains.iter().map(|c| vec![0.0; c.len()]).collect();
    let mut from = 0;
    while from < order.len() {
        let mut to = from + 1;
        while to < order.len() && order[to].0 == order[from].0 {
            to += 1;
        }
        let rank = 0.5 * (from + to + 1) as f64;
        let score = normal_quantile((rank - 0.375) / (total + 0.25));
        order[from..to].iter().for_each(|&(_, c, i)| out[c][i] = score);
        from = to;
    }
    out
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

fn variance(x: &[f64]) -> f64 {
    let m = mean(x);
    x.iter().map(|x| (x - m).powi(2)).sum::<f64>() / (x.len() - 1) as f64
}

/// √(var⁺ / W).
fn r_hat(chains: &[Vec<f64>]) -> f64 {
    let n = chains[0].len() as f64;
    let means: Vec<f64> = chains.iter().map(|c| mean(c)).collect();
    let within = chains.iter().map(|c| variance(c)).sum::<f64>() / chains.len() as f64;
    let between = variance(&means);
    if within == 0.0 {
        return if between == 0.0 { 1.0 } else { f64::INFINITY };
    }
    ((n - 1.0) / n + between / within).sqrt()
}

/// Effective sample size by Geyer's initial monotone sequence over all chains.
fn ess(chains: &[Vec<f64>]) -> f64 {
    let (m, n) = (chains.len(), chains[0].len());
    let total = (m * n) as f64;
    let within = chains.iter().map(|c| variance(c)).sum::<f64>() / m as f64;
    if within == 0.0 {
        return total;
    }
    let means: Vec<f64> = chains.iter().map(|c| mean(c)).collect();
    let plus = within * (n - 1) as f64 / n as f64 + variance(&means);
    let centred: Vec<Vec<f64>> = chains.iter().zip(&means).map(|(c, m)| c.iter().map(|x| x - m).collect()).collect();
    let correlation = |lag: usize| {
        let covariance = |c: &Vec<f64>| c[lag..].iter().zip(c).map(|(a, b)| a * b).sum::<f64>() / n as f64;
        let average = centred.iter().map(covariance).sum::<f64>() / m as f64;
        // The usual estimate has n - 1 below the within-chain variance.
        1.0 - (within * (n - 1) as f64 / n as f64 - average) / plus
    };
    let (mut sum, mut last) = (0.0, f64::INFINITY);
    let mut lag = 0;
    while lag + 1 < n {
        let first = if lag == 0 { 1.0 } else { correlation(lag) };
        let pair = first + correlation(lag + 1);
        if pair < 0.0 {
            break;
        }
        // Pairs of correlations of a reversible chain decrease.
        last = pair.min(last);
        sum += last;
        lag += 2;
    }
    let time = (2.0 * sum - 1.0).max(1.0 / total.log10());
    total / time
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::Stream;

    /// Chains of x' = ρ x + √(1 - ρ²) ε.
    fn autoregressive(rho: f64, chains: usize, n: usize, shift: f64) -> Vec<f64> {
        let mut out = vec![];
        for c in 0..chains {
            let mut stream = Stream::at(11, "mixing", "test", c << 32);
            let mut x = stream.normal();
            for _ in 0..n {
                x = rho * x + (1.0 - rho * rho).sqrt() * stream.normal();
                out.push(x + shift * c as f64);
            }
        }
        out
    }

    #[test]
    fn independent_draws_count_in_full() {
        let m = mixing(&autoregressive(0.0, 4, 1000, 0.0), 4);
        // The estimate's own error is a few percent for 4000 draws.
        assert!((m.r_hat - 1.0).abs() < 0.005, "{m:?}");
        assert!(m.ess_bulk > 3500.0 && m.ess_bulk < 4600.0, "{m:?}");
        assert!(m.ess_tail > 3300.0 && m.ess_tail < 4700.0, "{m:?}");
    }

    #[test]
    fn correlated_draws_count_less() {
        // An AR(1) chain has n (1 - ρ)/(1 + ρ) effective draws for its mean: 4000 · 0.1/1.9 = 210, ranks nearly the same.
        let m = mixing(&autoregressive(0.9, 4, 1000, 0.0), 4);
        assert!(m.ess_bulk > 140.0 && m.ess_bulk < 300.0, "{m:?}");
        // A thousandfold longer series pins it down.
        let long = mixing(&autoregressive(0.9, 4, 100_000, 0.0), 4);
        assert!((long.ess_bulk / (400_000.0 * 0.1 / 1.9) - 1.0).abs() < 0.1, "{long:?}");
    }

    #[test]
    fn chains_apart_are_seen() {
        assert!(mixing(&autoregressive(0.0, 4, 1000, 0.5), 4).r_hat > 1.1);
        assert_eq!(mixing(&[2.0; 400], 4), Mixing { r_hat: 1.0, ess_bulk: 400.0, ess_tail: 400.0 });
        assert!(mixing(&[f64::NAN; 400], 4).r_hat.is_nan());
    }

    #[test]
    fn a_spread_that_differs_between_chains_is_seen() {
        let mut draws = autoregressive(0.0, 4, 1000, 0.0);
        draws[..1000].iter_mut().for_each(|x| *x *= 5.0);
        assert!(mixing(&draws, 4).r_hat > 1.1);
    }
}
