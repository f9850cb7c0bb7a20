//! The pattern of a Hessian, and how few products with it give all of its entries.
//!
//! A coordinate that interacts with many (a global of a hierarchy) has a product to itself. The others share products by a
//! star colouring (Gebremedhin, Manne and Pothen 2005, "What color is your Jacobian?"): of two coordinates that interact,
//! one meets no other of the second's colour, and its row of that colour's product is the entry of the two alone.

/// Coordinates with more partners than this have a product of their own: finding whom they could share it with would take
/// the square of that.
const HUB: usize = 96;

/// Which entries of a symmetric matrix may differ from 0, and where the products hold them.
#[derive(Clone, Debug)]
pub struct Pattern {
    dim: usize,
    /// The product that each coordinate takes part in.
    colour: Vec<u32>,
    colours: usize,
    /// The entries of the lower triangle.
    entries: Vec<Entry>,
}

/// Entry (`row`, `column`), `column` ≤ `row`: found in `product` at `at`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    pub row: u32,
    pub column: u32,
    pub product: u32,
    pub at: u32,
}

impl Pattern {
    /// All interact with all.
    pub fn dense(dim: usize) -> Pattern {
        let entry = |row: usize, column: usize| {
            let [row, column] = [row, column].map(|i| i as u32);
            Entry { row, column, product: column, at: row }
        };
        let entries = (0..dim).flat_map(|column| (column..dim).map(move |row| entry(row, column))).collect();
        Pattern { dim, colour: (0..dim as u32).collect(), colours: dim, entries }
    }

    /// From the partners of each coordinate, itself included, ascending.
    pub fn new(neighbours: &[Vec<u32>]) -> Pattern {
        let (colour, colours, hub) = colouring(neighbours);
        let mut entries = vec![];
        for (column, list) in neighbours.iter().enumerate() {
            for &row in list.iter().filter(|&&row| row as usize >= column) {
                let (i, j) = (row as usize, column);
                // Row i of the product of j's colour is the entry alone if i meets no other of that colour.
                let alone = |at: usize, of: usize| {
                    hub[of]
                        || !hub[at]
                            && neighbours[at].iter().all(|&k| k as usize == of || colour[k as usize] != colour[of])
                };
                let (product, at) = if alone(i, j) { (colour[j], row) } else { (colour[i], column as u32) };
                debug_assert!(alone(i, j) || alone(j, i), "the colouring separates {i} and {j}");
                entries.push(Entry { row, column: column as u32, product, at });
            }
        }
        Pattern { dim: neighbours.len(), colour, colours, entries }
    }

    pub fn dim(&self) -> usize {
        self.dim
    }

    /// How many products give every entry.
    pub fn products(&self) -> usize {
        self.colours
    }

    /// The direction of a product, with `units` for the coordinates that take part in it.
    pub fn direction(&self, product: usize, units: &[f64], out: &mut [f64]) {
        for ((o, &c), unit) in out.iter_mut().zip(&self.colour).zip(units) {
            *o = if c as usize == product { *unit } else { 0.0 };
        }
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// The colours, how many they are, and which coordinates have one to themselves.
fn colouring(neighbours: &[Vec<u32>]) -> (Vec<u32>, usize, Vec<bool>) {
    const NONE: u32 = u32::MAX;
    let dim = neighbours.len();
    let hub: Vec<bool> = neighbours.iter().map(|n| n.len() > HUB).collect();
    let mut order: Vec<usize> = (0..dim).filter(|&i| !hub[i]).collect();
    // Those with most partners first: a stable sort, so that the result depends on the pattern alone.
    order.sort_by_key(|&i| std::cmp::Reverse(neighbours[i].len()));
    let mut colour = vec![NONE; dim];
    let mut colours = 0;
    let mut forbidden: Vec<usize> = vec![];
    let hubs = &hub;
    let near = |i: usize| neighbours[i].iter().map(|&j| j as usize).filter(move |&j| j != i && !hubs[j]);
    for &v in &order {
        let mut forbid = |c: u32| {
            if forbidden.len() <= c as usize {
                forbidden.resize(c as usize + 1, NONE as usize);
            }
            forbidden[c as usize] = v;
        };
        for w in near(v) {
            if colour[w] != NONE {
                forbid(colour[w]);
            }
            for x in near(w).filter(|&x| x != v && colour[x] != NONE) {
                // v - w - x: alike at both ends only if w is the only one of its colour at x.
                if colour[w] == NONE || near(x).any(|y| y != w && colour[y] == colour[w]) {
                    forbid(colour[x]);
                }
            }
        }
        let free = (0..).find(|&c: &usize| forbidden.get(c) != Some(&v)).expect("colours do not end");
        colour[v] = free as u32;
        colours = colours.max(free + 1);
    }
    for i in (0..dim).filter(|&i| hub[i]) {
        colour[i] = colours as u32;
        colours += 1;
    }
    (colour, colours, hub)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The matrix from its products is the matrix.
    fn check(neighbours: &[Vec<u32>], most: usize) {
        let n = neighbours.len();
        let value = |i: usize, j: usize| (i.min(j) * 31 + i.max(j) * 7) as f64 % 11.0 + 1.0;
        let pattern = Pattern::new(neighbours);
        assert!(pattern.products() <= most, "{} products", pattern.products());
        let products: Vec<Vec<f64>> = (0..pattern.products())
            .map(|c| {
                let mut v = vec![0.0; n];
                pattern.direction(c, &vec![1.0; n], &mut v);
                (0..n).map(|i| neighbours[i].iter().map(|&j| value(i, j as usize) * v[j as usize]).sum()).collect()
            })
            .collect();
        assert_eq!(
            pattern.entries().len(),
            neighbours.iter().enumerate().map(|(i, l)| l.iter().filter(|&&j| j as usize <= i).count()).sum::<usize>()
        );
        for e in pattern.entries() {
            let got = products[e.product as usize][e.at as usize];
            assert_eq!(got, value(e.row as usize, e.column as usize), "{e:?}");
        }
    }

    fn symmetric(n: usize, pairs: impl IntoIterator<Item = (usize, usize)>) -> Vec<Vec<u32>> {
        let mut out: Vec<Vec<u32>> = (0..n as u32).map(|i| vec![i]).collect();
        for (i, j) in pairs {
            out[i].push(j as u32);
            out[j].push(i as u32);
        }
        for list in &mut out {
            list.sort_unstable();
            list.dedup();
        }
        out
    }

    #[test]
    fn globals_and_local_blocks() {
        // Two globals, blocks of three: with few blocks by colouring alone, with many by hubs.
        for blocks in [5, 200] {
            let local = |b: usize, k: usize| 2 + 3 * b + k;
            let pairs = (0..blocks).flat_map(|b| {
                (0..3).flat_map(move |k| [(0, local(b, k)), (1, local(b, k)), (local(b, k), local(b, (k + 1) % 3))])
            });
            check(&symmetric(2 + 3 * blocks, pairs.chain([(0, 1)])), 5);
        }
    }

    #[test]
    fn bands_trees_grids_and_all_with_all() {
        check(&symmetric(60, (1..60).map(|i| (i - 1, i))), 3);
        // A tree of three levels: a root, fifteen branches of ten leaves.
        check(&symmetric(166, (1..166).map(|i| (if i <= 15 { 0 } else { 1 + (i - 16) / 10 }, i))), 3);
        // Two crossed factors of 12 and 40 levels.
        check(&symmetric(52, (0..12).flat_map(|i| (12..52).map(move |j| (i, j)))), 13);
        check(&symmetric(9, (0..9).flat_map(|i| (0..i).map(move |j| (i, j)))), 9);
        check(&symmetric(1, []), 1);
        assert_eq!(Pattern::dense(3).entries().len(), 6);
    }
}
