//! k-hat block by block, where there are many coordinates.
//!
//! In many dimensions the weights of whole draws have heavy tails although every part of the guide is near enough. Plates take a
//! posterior apart: given the globals of a hierarchy, what belongs to one group does not interact with what belongs to another.
//! The importance ratio of a block given the globals, p(θ_B | θ_G) / q(θ_B | θ_G), has a k-hat of its own, in as few
//! dimensions as the block has.
//!
//! Of the log joint, the terms that depend on a coordinate are known ([`Evaluator::value_parts`]). What moving a block to the
//! guide's mean does to its terms is found for all blocks at once, one coordinate of each after the other, since those of
//! different blocks share no term. The guide's conditional is the normal by regression over its own draws.

use serde::Serialize;

use super::linalg::{cholesky, dot, solve_lower, solve_lower_transposed};
use super::{Evaluator, Fit, Target, psis};

/// Fewer coordinates are judged together.
pub const LARGE: usize = 20;
/// A coordinate with this many times as many partners as is usual, and more than a few, is one of the globals.
const HUB: usize = 3;
const FEW: usize = 8;
/// Larger blocks are no simpler than the whole, and more globals are not regressed on.
const LARGEST: usize = 12;
const GLOBALS: usize = 40;
/// Draws by which blocks are judged.
const DRAWS: usize = 2000;
/// How many are told.
const TOLD: usize = 10;

/// What the blocks say.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Blocks {
    /// How many were judged, and how many of their tails are too heavy for weights.
    pub judged: usize,
    pub above: usize,
    /// Those with the heaviest tails, worst first: the names of their coordinates, and k-hat.
    pub worst: Vec<(Vec<String>, f64)>,
    /// The names of the globals.
    pub given: Vec<String>,
}

/// The k-hats of the blocks of a large model; `None` where it has no blocks that are small, or its log joint is not taken
/// apart.
pub fn blocks(target: &dyn Target, fit: &Fit, seed: u64, threads: usize) -> Option<Blocks> {
    let dim = target.dim();
    if dim < LARGE || !target.has_parts() {
        return None;
    }
    let (globals, blocks) = split(target.interactions()?, &fit.points)?;
    let theta = fit.approximation.sample("blocks", DRAWS, seed);
    let moved = moves(target, &theta, fit.approximation.mean(), &blocks, threads);
    let columns = |set: &[usize]| -> Vec<f64> {
        theta.chunks(dim).flat_map(|row| set.iter().map(|&i| row[i] - fit.approximation.mean()[i])).collect()
    };
    let given = columns(&globals);
    let mut tails: Vec<(usize, f64)> = vec![];
    for (b, block) in blocks.iter().enumerate() {
        let Some(log_q) = conditional(&columns(block), block.len(), &given, globals.len()) else { continue };
        let ratios: Vec<f64> = log_q.iter().enumerate().map(|(s, q)| moved[s * blocks.len() + b] - q).collect();
        tails.push((b, psis::smooth(&ratios).k_hat));
    }
    tails.sort_by(|a, b| b.1.total_cmp(&a.1));
    let names = |set: &[usize]| set.iter().map(|&i| fit.names[i].clone()).collect::<Vec<String>>();
    Some(Blocks {
        judged: tails.len(),
        above: tails.iter().filter(|t| t.1 > super::importance::USABLE).count(),
        worst: tails.iter().take(TOLD).map(|&(b, k)| (names(&blocks[b]), k)).collect(),
        given: names(&globals),
    })
    .filter(|b| b.judged > 1)
}

/// The globals, and the connected blocks of what is left when they are given; of those the small ones.
fn split(partners: &[Vec<u32>], points: &[bool]) -> Option<(Vec<usize>, Vec<Vec<usize>>)> {
    let dim = partners.len();
    let mut degrees: Vec<usize> = partners.iter().map(Vec::len).collect();
    let global: Vec<bool> = {
        let own = degrees.clone();
        degrees.sort_unstable();
        let usual = degrees[dim / 2];
        own.iter().map(|d| *d > (HUB * usual).max(FEW)).collect()
    };
    let (mut seen, mut blocks) = (vec![false; dim], vec![]);
    for first in 0..dim {
        if seen[first] || global[first] || points[first] {
            continue;
        }
        let (mut block, mut open) = (vec![], vec![first]);
        seen[first] = true;
        while let Some(i) = open.pop() {
            block.push(i);
            for &j in &partners[i] {
                let j = j as usize;
                if !seen[j] && !global[j] && !points[j] {
                    seen[j] = true;
                    open.push(j);
                }
            }
        }
        block.sort_unstable();
        blocks.push(block);
    }
    blocks.retain(|b| b.len() <= LARGEST);
    let globals: Vec<usize> = (0..dim).filter(|&i| global[i] && !points[i]).collect();
    (blocks.len() > 1 && globals.len() <= GLOBALS).then_some((globals, blocks))
}

/// Per draw and block: the log joint at the draw less that where the block is at the mean.
fn moves(target: &dyn Target, theta: &[f64], mean: &[f64], blocks: &[Vec<usize>], threads: usize) -> Vec<f64> {
    let (dim, count) = (target.dim(), blocks.len());
    let rows = theta.len() / dim;
    let longest = blocks.iter().map(Vec::len).max().unwrap_or(0);
    let mut out = vec![0.0; rows * count];
    let chunk = rows.div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        for (out, theta) in out.chunks_mut(chunk * count).zip(theta.chunks(chunk * dim)) {
            let mut evaluator: Box<dyn Evaluator> = target.evaluator();
            scope.spawn(move || {
                let (mut at, mut before, mut after) = (vec![0.0; dim], vec![0.0; dim], vec![0.0; dim]);
                for (out, row) in out.chunks_mut(count).zip(theta.chunks(dim)) {
                    at.copy_from_slice(row);
                    evaluator.value_parts(&at, &mut before);
                    for rank in 0..longest {
                        blocks.iter().filter_map(|b| b.get(rank)).for_each(|&i| at[i] = mean[i]);
                        evaluator.value_parts(&at, &mut after);
                        for (out, block) in out.iter_mut().zip(blocks) {
                            if let Some(&i) = block.get(rank) {
                                *out += before[i] - after[i];
                            }
                        }
                        std::mem::swap(&mut before, &mut after);
                    }
                }
            });
        }
    });
    out
}

/// Per draw: log q(x | g) less that at the mean of x, for the normal of x given g by regression; `x` and `g` row-major and
/// centred. `None` where g or what is left of x does not vary.
fn conditional(x: &[f64], n: usize, g: &[f64], m: usize) -> Option<Vec<f64>> {
    let rows = x.len() / n;
    let moment = |a: &[f64], p: usize, b: &[f64], q: usize| -> Vec<f64> {
        let entry = |i: usize, j: usize| (0..rows).map(|s| a[s * p + i] * b[s * q + j]).sum::<f64>() / rows as f64;
        (0..p).flat_map(|i| (0..q).map(move |j| (i, j))).map(|(i, j)| entry(i, j)).collect()
    };
    // Slopes: (gᵀg)⁻¹ gᵀx, a row per coordinate of x.
    let mut slopes = moment(x, n, g, m);
    if m > 0 {
        let mut factor = moment(g, m, g, m);
        if !cholesky(&mut factor, m) {
            return None;
        }
        for row in slopes.chunks_mut(m) {
            solve_lower(&factor, m, row);
            solve_lower_transposed(&factor, m, row);
        }
    }
    let shift =
        |s: usize, i: usize| if m == 0 { 0.0 } else { dot(&slopes[i * m..(i + 1) * m], &g[s * m..(s + 1) * m]) };
    let rest: Vec<f64> =
        (0..rows).flat_map(|s| (0..n).map(move |i| (s, i))).map(|(s, i)| x[s * n + i] - shift(s, i)).collect();
    let mut factor = moment(&rest, n, &rest, n);
    if !cholesky(&mut factor, n) {
        return None;
    }
    let squares = |mut v: Vec<f64>| {
        solve_lower(&factor, n, &mut v);
        dot(&v, &v)
    };
    let of = |s: usize| {
        let at_mean: Vec<f64> = (0..n).map(|i| -shift(s, i)).collect();
        -0.5 * (squares(rest[s * n..(s + 1) * n].to_vec()) - squares(at_mean))
    };
    Some((0..rows).map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Inputs;
    use crate::driver::{self, FitRequest, Session};
    use crate::infer::GuideKind;

    /// Groups of two latents that are nearly normal, but for one group whose scale is a latent of its own (a funnel).
    #[test]
    fn the_block_that_no_normal_fits_is_named() {
        let text = "plate g = 15\nlatent mu ~ Normal(0, 1)\nlatent a[g] ~ Normal(mu, 1) @centered\n\
                    latent b[i in g] ~ Normal(0, if row(i) == 7 then exp(1.5 * a[i]) else 1) @centered\n\
                    factor sum(-0.1 * (a - b)^2 over g)\n";
        let mut session = Session::default();
        let checked = driver::check(&mut session, "m.vi", text);
        assert!(!session.diags.has_errors(), "{:?}", session.diags.list.iter().map(|d| &d.message).collect::<Vec<_>>());
        let compiled = driver::compile(&mut session, checked, &Inputs::default()).expect("it compiles");
        let request = FitRequest { guide: Some(GuideKind::FullRank), threads: Some(1), ..FitRequest::default() };
        let fit =
            crate::infer::fit(&compiled.model, &driver::options(&compiled, &request), &mut |_| {}).expect("finite");
        driver::parts::prepare(&compiled);
        let found = blocks(&compiled.model, &fit, 1, 2).expect("blocks");
        assert_eq!((found.judged, found.given.as_slice()), (15, ["mu".to_string()].as_slice()));
        assert_eq!(found.worst[0].0, ["a[7]", "b[7]"]);
        assert!(found.worst[0].1 > 0.7, "{:?}", found.worst);
        // The others are normal, and so is the guide's conditional: next to no spread of their weights.
        assert!(found.worst[1].1 < 0.5 && found.above == 1, "{:?}", found.worst);
        assert_eq!(found, blocks(&compiled.model, &fit, 1, 1).expect("blocks"), "threads change no bit");
    }
}
