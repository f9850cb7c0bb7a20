//! Sparse symmetric positive definite matrices: ordering by least degree, Cholesky factor, solves, the diagonal of the
//! inverse (Takahashi, Fagan and Chin 1973). With globals and local blocks everything is linear in the blocks.

use serde::{Deserialize, Serialize};

/// The lower factor of a permuted matrix, by columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SparseFactor {
    /// `order[k]` is the coordinate that is eliminated k-th.
    order: Vec<usize>,
    /// Column k of the factor: its diagonal, and below `starts[k]..starts[k + 1]` of `rows` (ascending) and `values`.
    diagonal: Vec<f64>,
    starts: Vec<usize>,
    rows: Vec<u32>,
    values: Vec<f64>,
}

/// Where the factor of every matrix of one pattern is not 0.
#[derive(Clone, Debug)]
pub struct Symbolic {
    order: Vec<usize>,
    /// The inverse of `order`.
    place: Vec<usize>,
    starts: Vec<usize>,
    rows: Vec<u32>,
}

impl Symbolic {
    /// From the places of the lower triangle of a matrix of `n` rows. `None` if the factor would have more than `most` numbers.
    pub fn new(n: usize, places: impl Iterator<Item = (usize, usize)>, most: usize) -> Option<Symbolic> {
        let mut adjacent: Vec<Vec<u32>> = vec![vec![]; n];
        for (i, j) in places.filter(|(i, j)| i != j) {
            adjacent[i].push(j as u32);
            adjacent[j].push(i as u32);
        }
        for list in &mut adjacent {
            list.sort_unstable();
            list.dedup();
        }
        // By degree, then number: the least first.
        let mut queue: std::collections::BTreeSet<(usize, u32)> =
            adjacent.iter().enumerate().map(|(i, list)| (list.len(), i as u32)).collect();
        let (mut order, mut columns, mut total) = (Vec::with_capacity(n), Vec::with_capacity(n), 0);
        while let Some((degree, v)) = queue.pop_first() {
            let near = std::mem::take(&mut adjacent[v as usize]);
            order.push(v as usize);
            total += near.len();
            if degree == queue.len() {
                // All that is left is joined with all: the order does not matter any more.
                total += degree * degree.saturating_sub(1) / 2;
                columns.push(near.clone());
                for (k, &u) in near.iter().enumerate() {
                    order.push(u as usize);
                    columns.push(near[k + 1..].to_vec());
                }
                break;
            }
            for &u in &near {
                let list = &mut adjacent[u as usize];
                queue.remove(&(list.len(), u));
                *list = merged(list, &near, v, u);
                queue.insert((list.len(), u));
            }
            columns.push(near);
            if total > most {
                return None;
            }
        }
        if total > most {
            return None;
        }
        let mut place = vec![0; n];
        order.iter().enumerate().for_each(|(k, &v)| place[v] = k);
        let (mut starts, mut rows) = (vec![0], Vec::with_capacity(total));
        for column in columns {
            let start = rows.len();
            rows.extend(column.iter().map(|&u| place[u as usize] as u32));
            rows[start..].sort_unstable();
            starts.push(rows.len());
        }
        Some(Symbolic { order, place, starts, rows })
    }

    /// The factor of the matrix with these entries of its lower triangle; those of one place are added. `None` if it is not
    /// positive definite.
    pub fn factor(&self, entries: impl Iterator<Item = (usize, usize, f64)>) -> Option<SparseFactor> {
        let n = self.order.len();
        let (mut diagonal, mut values) = (vec![0.0; n], vec![0.0; self.rows.len()]);
        for (i, j, v) in entries {
            let (a, b) = (self.place[i].min(self.place[j]), self.place[i].max(self.place[j]));
            if a == b {
                diagonal[a] += v;
            } else {
                let column = &self.rows[self.starts[a]..self.starts[a + 1]];
                let at = column.binary_search(&(b as u32)).expect("the pattern holds every entry");
                values[self.starts[a] + at] += v;
            }
        }
        // Left-looking: column k takes what earlier columns with a number in row k give it. `next[j]` is how far column j
        // has come; columns that stand at row k are linked from `first[k]`.
        const END: usize = usize::MAX;
        let (mut first, mut link, mut next) = (vec![END; n], vec![END; n], self.starts.clone());
        let mut work = vec![0.0; n];
        for k in 0..n {
            let own = self.starts[k]..self.starts[k + 1];
            let mut j = first[k];
            for c in own.clone() {
                work[self.rows[c] as usize] = values[c];
            }
            let mut pivot = diagonal[k];
            while j != END {
                let following = link[j];
                let (at, end) = (next[j], self.starts[j + 1]);
                let by = values[at];
                pivot -= by * by;
                for c in at + 1..end {
                    work[self.rows[c] as usize] -= by * values[c];
                }
                next[j] = at + 1;
                if at + 1 < end {
                    let row = self.rows[at + 1] as usize;
                    (link[j], first[row]) = (first[row], j);
                }
                j = following;
            }
            if pivot.is_nan() || pivot <= 0.0 || !pivot.is_finite() {
                return None;
            }
            let root = pivot.sqrt();
            diagonal[k] = root;
            for c in own.clone() {
                values[c] = work[self.rows[c] as usize] / root;
            }
            if let Some(&row) = self.rows[own].first() {
                (link[k], first[row as usize]) = (first[row as usize], k);
            }
        }
        let (order, starts, rows) = (self.order.clone(), self.starts.clone(), self.rows.clone());
        Some(SparseFactor { order, diagonal, starts, rows, values })
    }
}

/// `a ∪ b` without `v` and `u`, all ascending.
fn merged(a: &[u32], b: &[u32], v: u32, u: u32) -> Vec<u32> {
    let mut out = Vec::with_capacity(a.len() + b.len());
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let take = match (a.get(i), b.get(j)) {
            (Some(&x), Some(&y)) => x.min(y),
            (Some(&x), None) | (None, Some(&x)) => x,
            (None, None) => break,
        };
        i += usize::from(a.get(i) == Some(&take));
        j += usize::from(b.get(j) == Some(&take));
        if take != v && take != u {
            out.push(take);
        }
    }
    out
}

impl SparseFactor {
    pub fn dim(&self) -> usize {
        self.order.len()
    }

    /// log det of the matrix.
    pub fn log_det(&self) -> f64 {
        2.0 * self.diagonal.iter().map(|d| d.ln()).sum::<f64>()
    }

    fn column(&self, k: usize) -> impl DoubleEndedIterator<Item = (usize, f64)> + '_ {
        let range = self.starts[k]..self.starts[k + 1];
        self.rows[range.clone()].iter().map(|&r| r as usize).zip(self.values[range].iter().copied())
    }

    /// `out = Pᵀ L⁻ᵀ z`: standard numbers become numbers whose covariance is the inverse of the matrix.
    pub fn spread(&self, z: &[f64], out: &mut [f64]) {
        for k in (0..z.len()).rev() {
            let known: f64 = self.column(k).map(|(r, v)| v * out[self.order[r]]).sum();
            out[self.order[k]] = (z[k] - known) / self.diagonal[k];
        }
    }

    /// `out = L⁻¹ P x`: the transpose of [`SparseFactor::spread`].
    pub fn gather(&self, x: &[f64], out: &mut [f64]) {
        out.iter_mut().zip(&self.order).for_each(|(o, &i)| *o = x[i]);
        for k in 0..out.len() {
            let v = out[k] / self.diagonal[k];
            out[k] = v;
            self.column(k).for_each(|(r, l)| out[r] -= l * v);
        }
    }

    /// `out = Lᵀ P x`: the inverse of [`SparseFactor::spread`].
    pub fn standardise(&self, x: &[f64], out: &mut [f64]) {
        for (k, &i) in self.order.iter().enumerate() {
            out[k] = self.diagonal[k] * x[i] + self.column(k).map(|(r, v)| v * x[self.order[r]]).sum::<f64>();
        }
    }

    /// The diagonal of the inverse of the matrix.
    pub fn inverse_diagonal(&self) -> Vec<f64> {
        let n = self.dim();
        // The inverse at the places of the factor, from the last column back: Z_ik for rows i, k of a column lies there too.
        let mut z = vec![0.0; self.rows.len()];
        let mut diagonal = vec![0.0; n];
        let mut sums = vec![];
        for k in (0..n).rev() {
            let range = self.starts[k]..self.starts[k + 1];
            let (rows, values) = (&self.rows[range.clone()], &self.values[range.clone()]);
            sums.clear();
            sums.resize(rows.len(), 0.0);
            for (a, (&i, &l)) in rows.iter().zip(values).enumerate() {
                sums[a] += diagonal[i as usize] * l;
                // Column i holds the rows after i of this one, among others: both ascend.
                let column = self.starts[i as usize]..self.starts[i as usize + 1];
                let mut at = column.start;
                for (b, &r) in rows.iter().enumerate().skip(a + 1) {
                    while self.rows[at] < r {
                        at += 1;
                    }
                    sums[a] += z[at] * values[b];
                    sums[b] += z[at] * l;
                }
            }
            let pivot = self.diagonal[k];
            let mut own = 1.0 / (pivot * pivot);
            for (a, l) in values.iter().enumerate() {
                let entry = -sums[a] / pivot;
                z[range.start + a] = entry;
                own -= entry * l / pivot;
            }
            diagonal[k] = own;
        }
        let mut out = vec![0.0; n];
        self.order.iter().zip(diagonal).for_each(|(&i, d)| out[i] = d);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::linalg::{cholesky, dot, invert_lower};

    /// A diagonally dominant matrix with these places besides the diagonal.
    fn matrix(n: usize, places: &[(usize, usize)]) -> Vec<(usize, usize, f64)> {
        let off = |i: usize, j: usize| ((i * 7 + j * 13) % 10) as f64 / 10.0 - 0.45;
        let mut entries: Vec<_> = places.iter().map(|&(i, j)| (i, j, off(i, j))).collect();
        for i in 0..n {
            let weight: f64 = places.iter().filter(|p| p.0 == i || p.1 == i).map(|p| off(p.0, p.1).abs()).sum();
            entries.push((i, i, weight + 0.3 + 0.01 * i as f64));
        }
        entries
    }

    fn check(n: usize, places: &[(usize, usize)]) {
        let entries = matrix(n, places);
        let symbolic = Symbolic::new(n, places.iter().copied(), usize::MAX).expect("no limit");
        let factor = symbolic.factor(entries.iter().copied()).expect("diagonally dominant");
        let mut dense = vec![0.0; n * n];
        for &(i, j, v) in &entries {
            dense[i * n + j] = v;
            dense[j * n + i] = v;
        }
        let a = dense.clone();
        assert!(cholesky(&mut dense, n));
        let inverse = invert_lower(&dense, n);
        let log_det: f64 = (0..n).map(|i| 2.0 * dense[i * n + i].ln()).sum();
        // Sums of a few dozen numbers near 1.
        assert!((factor.log_det() - log_det).abs() < 1e-11);
        for (i, got) in factor.inverse_diagonal().into_iter().enumerate() {
            let want: f64 = (0..n).map(|k| inverse[k * n + i].powi(2)).sum();
            assert!((got - want).abs() < 1e-11, "{i}: {got} is not {want}");
        }
        // W Wᵀ A = 1, and the other two are its transpose and its inverse.
        let x: Vec<f64> = (0..n).map(|i| (1.0 + i as f64).sin()).collect();
        let ax: Vec<f64> = a.chunks(n).map(|row| dot(row, &x)).collect();
        let (mut gathered, mut back) = (vec![0.0; n], vec![0.0; n]);
        factor.gather(&ax, &mut gathered);
        factor.spread(&gathered, &mut back);
        let mut standard = vec![0.0; n];
        factor.standardise(&back, &mut standard);
        for i in 0..n {
            assert!((back[i] - x[i]).abs() < 1e-11 && (standard[i] - gathered[i]).abs() < 1e-11);
        }
    }

    #[test]
    fn factors_agree_with_dense_ones() {
        check(1, &[]);
        check(6, &(0..6).flat_map(|i| (0..i).map(move |j| (i, j))).collect::<Vec<_>>());
        check(30, &(1..30).map(|i| (i, i - 1)).collect::<Vec<_>>());
        // Two globals first, then pairs.
        let arrow = (2..40).flat_map(|i| [(i, 0), (i, 1)]).chain((1..20).map(|b| (2 * b + 1, 2 * b)));
        check(40, &arrow.collect::<Vec<_>>());
        // A grid, whose factor fills in.
        let grid = (0..36).flat_map(|c| [(c % 6 > 0).then(|| (c, c - 1)), (c >= 6).then(|| (c, c - 6))]);
        check(36, &grid.flatten().collect::<Vec<_>>());
    }

    #[test]
    fn an_arrowhead_does_not_fill_in_and_an_indefinite_matrix_has_no_factor() {
        let n = 1000;
        let symbolic = Symbolic::new(n, (1..n).map(|i| (i, 0)), n).expect("a number per row");
        assert_eq!(symbolic.rows.len(), n - 1);
        let entries = (0..n).map(|i| (i, i, 1.0)).chain((1..n).map(|i| (i, 0, 0.1)));
        assert!(symbolic.factor(entries).is_none());
        assert!(Symbolic::new(9, (0..9).flat_map(|i| (0..i).map(move |j| (i, j))), 20).is_none());
    }
}
