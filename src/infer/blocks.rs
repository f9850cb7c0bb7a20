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
//!
//! What stays connected in the large, such as a chain, is cut into windows; a window is judged given the globals and its
//! neighbours outside, by the same ratio.

use serde::Serialize;

use super::linalg::{cholesky, dot, solve_lower, solve_lower_transposed};
use super::{Evaluator, Fit, Target, psis};

/// Fewer coordinates are judged together.
pub const LARGE: usize = 20;
/// A coordinate with this many times as many partners as is usual, and more than a few, is one of the globals.
const HUB: usize = 3;
const FEW: usize = 8;
/// A larger block is cut into windows of a few neighbours, and more coordinates are not regressed on.
const LARGEST: usize = 12;
const WINDOW: usize = 4;
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
    let columns = |set: &[usize]| -> Vec<f64> {
        theta.chunks(dim).flat_map(|row| set.iter().map(|&i| row[i] - fit.approximation.mean()[i])).collect()
    };
    let mut tails: Vec<(usize, f64)> = vec![];
    for apart in 0..=blocks.iter().map(|b| b.apart).max()? {
        let those: Vec<usize> = (0..blocks.len()).filter(|b| blocks[*b].apart == apart).collect();
        let own: Vec<&[usize]> = those.iter().map(|b| blocks[*b].own.as_slice()).collect();
        let moved = moves(target, &theta, fit.approximation.mean(), &own, threads);
        for (at, b) in those.iter().enumerate() {
            let Block { own, given, .. } = &blocks[*b];
            let Some(log_q) = conditional(&columns(own), own.len(), &columns(given), given.len()) else { continue };
            let ratios: Vec<f64> = log_q.iter().enumerate().map(|(s, q)| moved[s * those.len() + at] - q).collect();
            tails.push((*b, psis::smooth(&ratios).k_hat));
        }
    }
    tails.sort_by(|a, b| b.1.total_cmp(&a.1));
    let names = |set: &[usize]| set.iter().map(|&i| fit.names[i].clone()).collect::<Vec<String>>();
    Some(Blocks {
        judged: tails.len(),
        above: tails.iter().filter(|t| t.1 > super::importance::USABLE).count(),
        worst: tails.iter().take(TOLD).map(|&(b, k)| (names(&blocks[b].own), k)).collect(),
        given: names(&globals),
    })
    .filter(|b| b.judged > 1)
}

/// Coordinates that are judged together.
struct Block {
    own: Vec<usize>,
    /// Coordinates that are given: all that it interacts with are among them.
    given: Vec<usize>,
    /// Blocks with the same number interact with none of the others.
    apart: usize,
}

/// The globals, and the blocks of what is left when they are given.
fn split(partners: &[Vec<u32>], points: &[bool]) -> Option<(Vec<usize>, Vec<Block>)> {
    let dim = partners.len();
    let mut degrees: Vec<usize> = partners.iter().map(Vec::len).collect();
    let global: Vec<bool> = {
        let own = degrees.clone();
        degrees.sort_unstable();
        let usual = degrees[dim / 2];
        own.iter().map(|d| *d > (HUB * usual).max(FEW)).collect()
    };
    let globals: Vec<usize> = (0..dim).filter(|&i| global[i] && !points[i]).collect();
    let local = |i: usize| !global[i] && !points[i];
    let (mut seen, mut blocks) = (vec![false; dim], vec![]);
    for first in (0..dim).filter(|i| local(*i)) {
        if seen[first] {
            continue;
        }
        // Breadth first, so that neighbours stand close to each other.
        let (mut reached, mut next) = (vec![first], 0);
        seen[first] = true;
        while let Some(&i) = reached.get(next) {
            next += 1;
            for j in partners[i].iter().map(|j| *j as usize).filter(|j| local(*j)) {
                if !seen[j] {
                    seen[j] = true;
                    reached.push(j);
                }
            }
        }
        if reached.len() <= LARGEST {
            reached.sort_unstable();
            blocks.push(Block { own: reached, given: globals.clone(), apart: 0 });
        } else {
            blocks.extend(windows(partners, &local, &globals, &reached));
        }
    }
    (blocks.len() > 1 && globals.len() <= GLOBALS).then_some((globals, blocks))
}

/// A connected part in pieces, each given its neighbours; of those the ones with few neighbours.
fn windows(partners: &[Vec<u32>], local: &dyn Fn(usize) -> bool, globals: &[usize], reached: &[usize]) -> Vec<Block> {
    let mut window_of = std::collections::HashMap::new();
    for (w, window) in reached.chunks(WINDOW).enumerate() {
        window_of.extend(window.iter().map(|i| (*i, w)));
    }
    let mut blocks: Vec<Block> = vec![];
    let mut apart: Vec<usize> = vec![];
    for (w, window) in reached.chunks(WINDOW).enumerate() {
        let outside = |i: &usize| partners[*i].iter().map(|j| *j as usize).filter(|j| local(*j));
        let mut near: Vec<usize> = window.iter().flat_map(outside).filter(|j| window_of[j] != w).collect();
        near.sort_unstable();
        near.dedup();
        // The smallest number that no neighbour before has.
        let taken: Vec<usize> = near.iter().map(|j| window_of[j]).filter(|v| *v < w).map(|v| apart[v]).collect();
        let own = (0..).find(|n| !taken.contains(n)).expect("numbers do not end");
        apart.push(own);
        let given: Vec<usize> = globals.iter().copied().chain(near).collect();
        if given.len() <= GLOBALS {
            let mut sorted = window.to_vec();
            sorted.sort_unstable();
            blocks.push(Block { own: sorted, given, apart: own });
        }
    }
    blocks
}

/// Per draw and block: the log joint at the draw less that where the block is at the mean.
fn moves(target: &dyn Target, theta: &[f64], mean: &[f64], blocks: &[&[usize]], threads: usize) -> Vec<f64> {
    let (dim, count) = (target.dim(), blocks.len());
    let rows = theta.len() / dim;
    let longest = blocks.iter().map(|b| b.len()).max().unwrap_or(0);
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

    /// The blocks of a model fitted by one normal.
    fn found(text: &str) -> Blocks {
        let mut session = Session::default();
        let checked = driver::check(&mut session, "m.vi", text);
        assert!(!session.diags.has_errors(), "{:?}", session.diags.list.iter().map(|d| &d.message).collect::<Vec<_>>());
        let compiled = driver::compile(&mut session, checked, &Inputs::default()).expect("it compiles");
        let request = FitRequest { guide: Some(GuideKind::FullRank), threads: Some(1), ..FitRequest::default() };
        let fit =
            crate::infer::fit(&compiled.model, &driver::options(&compiled, &request), &mut |_| {}).expect("finite");
        driver::parts::prepare(&compiled);
        let found = blocks(&compiled.model, &fit, 1, 2).expect("blocks");
        assert_eq!(found, blocks(&compiled.model, &fit, 1, 1).expect("blocks"), "threads change no bit");
        found
    }

    /// Groups of two latents that are nearly normal, but for one group whose scale is a latent of its own (a funnel).
    #[test]
    fn the_block_that_no_normal_fits_is_named() {
        let text = "plate g = 15\nlatent mu ~ Normal(0, 1)\nlatent a[g] ~ Normal(mu, 1) @centered\n\
                    latent b[i in g] ~ Normal(0, if row(i) == 7 then exp(1.5 * a[i]) else 1) @centered\n\
                    factor sum(-0.1 * (a - b)^2 over g)\n";
        let found = found(text);
        assert_eq!((found.judged, found.given.as_slice()), (15, ["mu".to_string()].as_slice()));
        assert_eq!(found.worst[0].0, ["a[7]", "b[7]"]);
        assert!(found.worst[0].1 > 0.7, "{:?}", found.worst);
        // The others are normal, and so is the guide's conditional: next to no spread of their weights.
        assert!(found.worst[1].1 < 0.5 && found.above == 1, "{:?}", found.worst);
    }

    /// A chain of 30 steps, normal but for a funnel at one step, is judged window by window.
    #[test]
    fn a_chain_is_cut_into_windows() {
        let text = "plate t = 30\nlatent a[i in t] ~ Normal(if first(i) then 0 else 0.5 * a[i-1], 1)\n\
                    latent b[i in t] ~ Normal(a, if row(i) == 17 then exp(1.5 * a[i]) else 1) @centered\n";
        let found = found(text);
        assert!(found.judged == 15 && found.given.is_empty(), "{found:?}");
        assert!(found.worst[0].0.contains(&"b[17]".to_string()) && found.worst[0].1 > 0.7, "{:?}", found.worst);
        let (with, without): (Vec<_>, Vec<_>) =
            found.worst.iter().partition(|w| w.0.iter().any(|n| ["a[17]", "b[17]"].contains(&n.as_str())));
        assert!(with.len() <= 2 && without.iter().all(|w| w.1 < 0.5), "{:?}", found.worst);
    }
}
