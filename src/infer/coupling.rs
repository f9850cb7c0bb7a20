//! Coupling layers: an invertible map of Rⁿ whose Jacobian is triangular (Dinh, Sohl-Dickstein, Bengio. "Density estimation
//! using real NVP", 2017).
//!
//! A layer leaves some coordinates x_a as they are and takes the others to y_b = x_b ∘ e^s + t, with s and t by a small net
//! of x_a: two hidden layers of tanh, and log scales bounded by s = 2 tanh(s̃ / 2). Layers come in pairs that exchange the
//! roles of the coordinates; each pair divides them anew.

use super::linalg::{axpy, dot};
use super::rng::Stream;

/// Units of each hidden layer (Agrawal, Sheldon, Domke. "Advances in black-box VI", 2020, have as many).
const HIDDEN: usize = 32;
/// Scale of the first outputs: the map begins near the identity.
const FIRST: f64 = 0.01;

/// Which coordinates each layer reads and moves. Parameters are one flat vector, layer by layer.
#[derive(Clone, Debug)]
pub struct Couplings {
    n: usize,
    layers: Vec<Layer>,
}

#[derive(Clone, Debug)]
struct Layer {
    /// Read, and moved.
    a: Vec<usize>,
    b: Vec<usize>,
    /// Where its parameters begin.
    from: usize,
}

/// What one layer made of one row, for the way back.
#[derive(Clone, Debug, Default)]
struct Trace {
    xa: Vec<f64>,
    xb: Vec<f64>,
    h1: Vec<f64>,
    h2: Vec<f64>,
    /// tanh(s̃ / 2), and e^s.
    bounded: Vec<f64>,
    scale: Vec<f64>,
    t: Vec<f64>,
    /// Adjoints, as scratch.
    out: Vec<f64>,
    d1: Vec<f64>,
    d2: Vec<f64>,
    da: Vec<f64>,
}

/// Every layer's, for one row.
#[derive(Clone, Debug)]
pub struct Path(Vec<Trace>);

impl Layer {
    fn parameters(&self) -> usize {
        let (a, b) = (self.a.len(), self.b.len());
        HIDDEN * a + HIDDEN + HIDDEN * HIDDEN + HIDDEN + 2 * b * HIDDEN + 2 * b
    }

    /// W1, b1, W2, b2, W3, b3; matrices row-major, one row per output.
    fn split<'p>(&self, p: &'p [f64]) -> [&'p [f64]; 6] {
        let p = &p[self.from..self.from + self.parameters()];
        let (w1, p) = p.split_at(HIDDEN * self.a.len());
        let (b1, p) = p.split_at(HIDDEN);
        let (w2, p) = p.split_at(HIDDEN * HIDDEN);
        let (b2, p) = p.split_at(HIDDEN);
        let (w3, b3) = p.split_at(2 * self.b.len() * HIDDEN);
        [w1, b1, w2, b2, w3, b3]
    }

    /// s and t from `trace.xa`.
    fn condition(&self, p: &[f64], trace: &mut Trace) {
        let [w1, b1, w2, b2, w3, b3] = self.split(p);
        let (na, nb) = (self.a.len(), self.b.len());
        for i in 0..HIDDEN {
            trace.h1[i] = (b1[i] + dot(&w1[i * na..(i + 1) * na], &trace.xa)).tanh();
        }
        for i in 0..HIDDEN {
            trace.h2[i] = (b2[i] + dot(&w2[i * HIDDEN..(i + 1) * HIDDEN], &trace.h1)).tanh();
        }
        let row = |i: usize| b3[i] + dot(&w3[i * HIDDEN..(i + 1) * HIDDEN], &trace.h2);
        for j in 0..nb {
            trace.bounded[j] = (0.5 * row(j)).tanh();
            trace.scale[j] = (2.0 * trace.bounded[j]).exp();
            trace.t[j] = row(nb + j);
        }
    }

    /// From adjoints of (s, t) in `trace.out` to those of x_a, in `trace.da`; and to those of the parameters, added to `dp`.
    fn back(&self, p: &[f64], trace: &mut Trace, dp: Option<&mut [f64]>) {
        let [w1, _, w2, _, w3, _] = self.split(p);
        let (na, nb) = (self.a.len(), self.b.len());
        // ds / ds̃ = 1 − tanh².
        (0..nb).for_each(|j| trace.out[j] *= 1.0 - trace.bounded[j] * trace.bounded[j]);
        trace.d2.fill(0.0);
        (0..2 * nb).for_each(|i| axpy(trace.out[i], &w3[i * HIDDEN..(i + 1) * HIDDEN], &mut trace.d2));
        (0..HIDDEN).for_each(|i| trace.d2[i] *= 1.0 - trace.h2[i] * trace.h2[i]);
        trace.d1.fill(0.0);
        (0..HIDDEN).for_each(|i| axpy(trace.d2[i], &w2[i * HIDDEN..(i + 1) * HIDDEN], &mut trace.d1));
        (0..HIDDEN).for_each(|i| trace.d1[i] *= 1.0 - trace.h1[i] * trace.h1[i]);
        trace.da.fill(0.0);
        (0..HIDDEN).for_each(|i| axpy(trace.d1[i], &w1[i * na..(i + 1) * na], &mut trace.da));
        let Some(dp) = dp else { return };
        let dp = &mut dp[self.from..self.from + self.parameters()];
        let (dw1, dp) = dp.split_at_mut(HIDDEN * na);
        let (db1, dp) = dp.split_at_mut(HIDDEN);
        let (dw2, dp) = dp.split_at_mut(HIDDEN * HIDDEN);
        let (db2, dp) = dp.split_at_mut(HIDDEN);
        let (dw3, db3) = dp.split_at_mut(2 * nb * HIDDEN);
        for i in 0..HIDDEN {
            axpy(trace.d1[i], &trace.xa, &mut dw1[i * na..(i + 1) * na]);
            axpy(trace.d2[i], &trace.h1, &mut dw2[i * HIDDEN..(i + 1) * HIDDEN]);
        }
        axpy(1.0, &trace.d1, db1);
        axpy(1.0, &trace.d2, db2);
        for i in 0..2 * nb {
            axpy(trace.out[i], &trace.h2, &mut dw3[i * HIDDEN..(i + 1) * HIDDEN]);
        }
        axpy(1.0, &trace.out, db3);
    }
}

impl Couplings {
    /// `count` layers over `names.len()` coordinates, at least two. Which coordinates a layer moves is drawn by their names.
    pub fn new(names: &[String], count: usize, seed: u64) -> Couplings {
        let n = names.len();
        let mut layers: Vec<Layer> = vec![];
        let mut from = 0;
        for l in 0..count {
            let (a, b) = match layers.last() {
                Some(last) if l % 2 == 1 => (last.b.clone(), last.a.clone()),
                _ => {
                    let key = |i: &usize| Stream::at(seed, "coupling", &names[*i], l).uniform();
                    let mut order: Vec<usize> = (0..n).collect();
                    order.sort_by(|x, y| key(x).total_cmp(&key(y)));
                    let b = order.split_off(n / 2);
                    (order, b)
                }
            };
            let layer = Layer { a, b, from };
            from += layer.parameters();
            layers.push(layer);
        }
        Couplings { n, layers }
    }

    pub fn parameters(&self) -> usize {
        self.layers.iter().map(Layer::parameters).sum()
    }

    /// Parameters near those of the identity. Hidden layers have the usual spread, so that the outputs' weights, which begin
    /// near 0, have something to weigh.
    pub fn first(&self, seed: u64) -> Vec<f64> {
        let mut stream = Stream::new(seed, "coupling", "first parameters");
        let mut p = vec![0.0; self.parameters()];
        for layer in &self.layers {
            let mut at = layer.from;
            let (a, b) = (layer.a.len(), layer.b.len());
            for (weights, biases, scale) in [
                (HIDDEN * a, HIDDEN, (a as f64).powf(-0.5)),
                (HIDDEN * HIDDEN, HIDDEN, (HIDDEN as f64).powf(-0.5)),
                (2 * b * HIDDEN, 2 * b, FIRST),
            ] {
                p[at..at + weights].iter_mut().for_each(|w| *w = scale * stream.normal());
                at += weights + biases;
            }
        }
        p
    }

    pub fn path(&self) -> Path {
        let trace = |l: &Layer| {
            let (a, b) = (l.a.len(), l.b.len());
            let zeros = |n: usize| vec![0.0; n];
            Trace {
                xa: zeros(a),
                xb: zeros(b),
                h1: zeros(HIDDEN),
                h2: zeros(HIDDEN),
                bounded: zeros(b),
                scale: zeros(b),
                t: zeros(b),
                out: zeros(2 * b),
                d1: zeros(HIDDEN),
                d2: zeros(HIDDEN),
                da: zeros(a),
            }
        };
        Path(self.layers.iter().map(trace).collect())
    }

    /// Map `x` in place; gives log |det|.
    pub fn forward(&self, p: &[f64], x: &mut [f64], path: &mut Path) -> f64 {
        let mut log_det = 0.0;
        for (layer, trace) in self.layers.iter().zip(&mut path.0) {
            trace.xa.iter_mut().zip(&layer.a).for_each(|(v, &i)| *v = x[i]);
            trace.xb.iter_mut().zip(&layer.b).for_each(|(v, &i)| *v = x[i]);
            layer.condition(p, trace);
            for (j, &i) in layer.b.iter().enumerate() {
                x[i] = x[i] * trace.scale[j] + trace.t[j];
                log_det += 2.0 * trace.bounded[j];
            }
        }
        log_det
    }

    /// Undo the map in place; gives log |det| of the map there.
    pub fn inverse(&self, p: &[f64], y: &mut [f64], path: &mut Path) -> f64 {
        let mut log_det = 0.0;
        for (layer, trace) in self.layers.iter().zip(&mut path.0).rev() {
            trace.xa.iter_mut().zip(&layer.a).for_each(|(v, &i)| *v = y[i]);
            layer.condition(p, trace);
            for (j, &i) in layer.b.iter().enumerate() {
                y[i] = (y[i] - trace.t[j]) / trace.scale[j];
                log_det += 2.0 * trace.bounded[j];
            }
        }
        log_det
    }

    /// The gradient at the map's end of log q = log N(x; 0, I) − log |det|, the parameters held fixed, from the row that
    /// `path` remembers: layer by layer by the inverse's derivative. `g` holds −x at first.
    pub fn score(&self, p: &[f64], path: &mut Path, g: &mut [f64]) {
        for (layer, trace) in self.layers.iter().zip(&mut path.0) {
            let nb = layer.b.len();
            for (j, &i) in layer.b.iter().enumerate() {
                // x_b = (y_b − t) e^−s.
                let gb = g[i];
                trace.out[j] = -gb * trace.xb[j] - 1.0;
                trace.out[nb + j] = -gb / trace.scale[j];
                g[i] = gb / trace.scale[j];
            }
            layer.back(p, trace, None);
            layer.a.iter().zip(&trace.da).for_each(|(&i, d)| g[i] += d);
        }
    }

    /// From the adjoint of the map's end, in `g`, to that of its start, and to the parameters', added to `dp`.
    pub fn backward(&self, p: &[f64], path: &mut Path, g: &mut [f64], dp: &mut [f64]) {
        for (layer, trace) in self.layers.iter().zip(&mut path.0).rev() {
            let nb = layer.b.len();
            for (j, &i) in layer.b.iter().enumerate() {
                trace.out[j] = g[i] * trace.xb[j] * trace.scale[j];
                trace.out[nb + j] = g[i];
                g[i] *= trace.scale[j];
            }
            layer.back(p, trace, Some(dp));
            layer.a.iter().zip(&trace.da).for_each(|(&i, d)| g[i] += d);
        }
    }

    pub fn dim(&self) -> usize {
        self.n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn couplings(n: usize, count: usize) -> (Couplings, Vec<f64>) {
        let names: Vec<String> = (0..n).map(|i| format!("x[{i}]")).collect();
        let c = Couplings::new(&names, count, 1);
        // Far from the identity.
        let p = c.first(1).iter().map(|p| 1.5 * p + 0.1 * p.signum()).collect();
        (c, p)
    }

    fn point(n: usize) -> Vec<f64> {
        let mut s = Stream::new(2, "coupling", "test");
        (0..n).map(|_| s.normal()).collect()
    }

    #[test]
    fn the_inverse_undoes_the_map() {
        for n in [2, 3, 7] {
            let (c, p) = couplings(n, 5);
            let mut path = c.path();
            let x = point(n);
            let mut y = x.clone();
            let there = c.forward(&p, &mut y, &mut path);
            assert!(y.iter().zip(&x).any(|(a, b)| (a - b).abs() > 0.1));
            let back = c.inverse(&p, &mut y, &mut path);
            assert!((there - back).abs() < 1e-12);
            assert!(y.iter().zip(&x).all(|(a, b)| (a - b).abs() < 1e-12));
        }
    }

    /// Central differences with steps of 1e-5 are good to about 1e-9.
    #[test]
    fn log_determinants_scores_and_gradients_agree_with_differences() {
        let n = 3;
        let (c, p) = couplings(n, 4);
        let mut path = c.path();
        let x = point(n);
        let map = |p: &[f64], x: &[f64], path: &mut Path| {
            let mut y = x.to_vec();
            let log_det = c.forward(p, &mut y, path);
            (y, log_det)
        };
        const STEP: f64 = 1e-5;
        let moved = |v: &[f64], i: usize, by: f64| {
            let mut v = v.to_vec();
            v[i] += by;
            v
        };
        let mut jacobian = vec![0.0; n * n];
        for j in 0..n {
            let (up, _) = map(&p, &moved(&x, j, STEP), &mut path);
            let (down, _) = map(&p, &moved(&x, j, -STEP), &mut path);
            (0..n).for_each(|i| jacobian[i * n + j] = (up[i] - down[i]) / (2.0 * STEP));
        }
        let m = |i: usize, j: usize| jacobian[i * n + j];
        let det = m(0, 0) * (m(1, 1) * m(2, 2) - m(1, 2) * m(2, 1)) - m(0, 1) * (m(1, 0) * m(2, 2) - m(1, 2) * m(2, 0))
            + m(0, 2) * (m(1, 0) * m(2, 1) - m(1, 1) * m(2, 0));
        let (y, log_det) = map(&p, &x, &mut path);
        assert!((det.abs().ln() - log_det).abs() < 1e-7, "{} {log_det}", det.abs().ln());

        let log_q = |y: &[f64]| {
            let mut x = y.to_vec();
            let log_det = c.inverse(&p, &mut x, &mut c.path());
            -0.5 * dot(&x, &x) - log_det
        };
        let mut g: Vec<f64> = x.iter().map(|x| -x).collect();
        c.score(&p, &mut path, &mut g);
        for (i, g) in g.iter().enumerate() {
            let slope = (log_q(&moved(&y, i, STEP)) - log_q(&moved(&y, i, -STEP))) / (2.0 * STEP);
            assert!((g - slope).abs() < 1e-7, "{i}: {g} {slope}");
        }

        let weights = [0.3, -1.1, 0.7];
        let value = |p: &[f64], x: &[f64]| dot(&map(p, x, &mut c.path()).0, &weights);
        let (mut g, mut dp) = (weights.to_vec(), vec![0.0; c.parameters()]);
        map(&p, &x, &mut path);
        c.backward(&p, &mut path, &mut g, &mut dp);
        for (i, g) in g.iter().enumerate() {
            let slope = (value(&p, &moved(&x, i, STEP)) - value(&p, &moved(&x, i, -STEP))) / (2.0 * STEP);
            assert!((g - slope).abs() < 1e-7);
        }
        for k in (0..p.len()).step_by(37) {
            let slope = (value(&moved(&p, k, STEP), &x) - value(&moved(&p, k, -STEP), &x)) / (2.0 * STEP);
            assert!((dp[k] - slope).abs() < 1e-7, "{k}: {} {slope}", dp[k]);
        }
    }
}
