//! L-BFGS with a strong Wolfe line search.
//! Nocedal & Wright, "Numerical Optimization", algorithms 3.5, 3.6, 7.4 and 7.5.

use serde::{Deserialize, Serialize};

use super::linalg::{axpy, dot};

/// What is minimised. Not finite means: not here.
pub trait Function {
    fn value_grad(&mut self, x: &[f64], gradient: &mut [f64]) -> f64;
    /// The longest step along `direction` that may be tried.
    fn longest_step(&self, _direction: &[f64]) -> f64 {
        f64::INFINITY
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// On the largest gradient component.
    pub tolerance: f64,
    pub iterations: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    Converged,
    Iterations,
    /// No lower point could be found along the direction.
    Stuck,
    /// The watcher asked to stop.
    Stopped,
    /// The first point is not finite.
    NonFinite,
}

/// Where the search is after an iteration.
#[derive(Clone, Copy, Debug)]
pub struct State {
    pub iteration: usize,
    pub value: f64,
    pub gradient_norm: f64,
    /// −½ gᵀd: what the quadratic model still expects to gain.
    pub decrement: f64,
}

/// Largest decrement, in nats, at which the search may end.
const DECREMENT: f64 = 1e-3;
const MEMORY: usize = 10;
const ARMIJO: f64 = 1e-4;
const WOLFE: f64 = 0.9;

/// A search between two iterations: all that it needs to go on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pause {
    x: Vec<f64>,
    gradient: Vec<f64>,
    value: f64,
    iteration: usize,
    memory: Memory,
}

impl Pause {
    /// A search that is to begin at `x`.
    pub fn at(f: &mut dyn Function, x: &[f64]) -> Pause {
        let mut gradient = vec![0.0; x.len()];
        let value = f.value_grad(x, &mut gradient);
        Pause { x: x.to_vec(), gradient, value, iteration: 0, memory: Memory::new(x.len()) }
    }

    pub fn is_finite(&self) -> bool {
        self.value.is_finite()
    }

    /// Where the search stands.
    pub fn x(&self) -> &[f64] {
        &self.x
    }

    pub fn into_x(self) -> Vec<f64> {
        self.x
    }
}

/// Minimise from `at`, which says at the end where the search stands: at the best point. `watch` sees every iteration and
/// may stop the search.
pub fn minimise(
    f: &mut dyn Function,
    at: &mut Pause,
    limits: Limits,
    watch: &mut dyn FnMut(&State, &[f64]) -> bool,
) -> (End, State) {
    let Pause { x, gradient: g, value, iteration, memory } = at;
    if !value.is_finite() {
        let state = State { iteration: *iteration, value: *value, gradient_norm: norm(g), decrement: f64::INFINITY };
        return (End::NonFinite, state);
    }
    let mut search = Search::new(x.len());
    let mut d = vec![0.0; x.len()];
    loop {
        memory.direction(g, &mut d);
        let mut slope = dot(g, &d);
        if slope >= 0.0 || slope.is_nan() {
            memory.clear();
            memory.direction(g, &mut d);
            slope = dot(g, &d);
        }
        let state = State { iteration: *iteration, value: *value, gradient_norm: norm(g), decrement: -0.5 * slope };
        if watch(&state, x) {
            return (End::Stopped, state);
        }
        if state.gradient_norm <= limits.tolerance && state.decrement <= DECREMENT {
            return (End::Converged, state);
        }
        if *iteration >= limits.iterations {
            return (End::Iterations, state);
        }
        // Without curvature the length of the gradient says nothing about the step: begin with a short one.
        let first = if memory.used == 0 { (1.0 / dot(g, g).sqrt()).min(1.0) } else { 1.0 };
        let longest = f.longest_step(&d);
        match search.run(f, x, &d, *value, slope, first.min(longest), longest) {
            Some((step, new_value)) => {
                memory.push(step, &d, g, &search.gradient);
                axpy(step, &d, x);
                *value = new_value;
                g.copy_from_slice(&search.gradient);
            }
            None if memory.used > 0 => memory.clear(),
            None => return (End::Stuck, state),
        }
        *iteration += 1;
    }
}

/// Largest magnitude.
fn norm(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |m: f64, v| m.max(v.abs()))
}

/// The last steps and gradient changes, in a ring.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Memory {
    n: usize,
    s: Vec<f64>,
    y: Vec<f64>,
    sy: [f64; MEMORY],
    alpha: [f64; MEMORY],
    used: usize,
    next: usize,
    /// Scale of the initial inverse Hessian.
    gamma: f64,
}

impl Memory {
    fn new(n: usize) -> Memory {
        let ring = || vec![0.0; n * MEMORY];
        Memory { n, s: ring(), y: ring(), sy: [0.0; MEMORY], alpha: [0.0; MEMORY], used: 0, next: 0, gamma: 1.0 }
    }

    fn clear(&mut self) {
        (self.used, self.next, self.gamma) = (0, 0, 1.0);
    }

    fn push(&mut self, step: f64, d: &[f64], g: &[f64], g_new: &[f64]) {
        let at = self.next * self.n..(self.next + 1) * self.n;
        let (s, y) = (&mut self.s[at.clone()], &mut self.y[at]);
        for i in 0..self.n {
            s[i] = step * d[i];
            y[i] = g_new[i] - g[i];
        }
        let (sy, yy) = (dot(s, y), dot(y, y));
        // Skip pairs without usable curvature (Stan's rule).
        if sy > 0.0 && yy <= 1e12 * sy {
            self.sy[self.next] = sy;
            self.gamma = sy / yy;
            self.next = (self.next + 1) % MEMORY;
            self.used = (self.used + 1).min(MEMORY);
        }
    }

    /// d = −H g by the two-loop recursion.
    fn direction(&mut self, g: &[f64], d: &mut [f64]) {
        d.iter_mut().zip(g).for_each(|(d, g)| *d = -g);
        let newest_first = (1..=self.used).map(|k| (self.next + MEMORY - k) % MEMORY);
        for i in newest_first.clone() {
            let at = i * self.n..(i + 1) * self.n;
            self.alpha[i] = dot(&self.s[at.clone()], d) / self.sy[i];
            axpy(-self.alpha[i], &self.y[at], d);
        }
        d.iter_mut().for_each(|d| *d *= self.gamma);
        for i in newest_first.rev() {
            let at = i * self.n..(i + 1) * self.n;
            let beta = dot(&self.y[at.clone()], d) / self.sy[i];
            axpy(self.alpha[i] - beta, &self.s[at], d);
        }
    }
}

/// A point on the line: step, value, slope.
#[derive(Clone, Copy)]
struct Point {
    step: f64,
    value: f64,
    slope: f64,
}

struct Search {
    trial: Vec<f64>,
    /// At the last point tried.
    gradient: Vec<f64>,
}

impl Search {
    fn new(n: usize) -> Search {
        Search { trial: vec![0.0; n], gradient: vec![0.0; n] }
    }

    fn at(&mut self, f: &mut dyn Function, x: &[f64], d: &[f64], step: f64) -> Point {
        for i in 0..x.len() {
            self.trial[i] = x[i] + step * d[i];
        }
        let value = f.value_grad(&self.trial, &mut self.gradient);
        if value.is_finite() {
            Point { step, value, slope: dot(&self.gradient, d) }
        } else {
            Point { step, value: f64::INFINITY, slope: f64::INFINITY }
        }
    }

    /// A step with sufficient decrease and curvature; `self.gradient` is the gradient there.
    #[allow(clippy::too_many_arguments)]
    fn run(
        &mut self,
        f: &mut dyn Function,
        x: &[f64],
        d: &[f64],
        value: f64,
        slope: f64,
        first: f64,
        longest: f64,
    ) -> Option<(f64, f64)> {
        let origin = Point { step: 0.0, value, slope };
        // Near the optimum, differences of the objective drown in its rounding: allow for that.
        let slack = 1e-14 * value.abs();
        let enough = |p: Point| p.value <= value + ARMIJO * p.step * slope + slack;
        let longest = longest.min(first * 1e6);
        let (mut low, mut step) = (origin, first);
        let mut high = loop {
            let p = self.at(f, x, d, step);
            if !enough(p) || (low.step > 0.0 && p.value >= low.value) {
                break p;
            }
            if p.slope.abs() <= -WOLFE * slope || p.step >= longest {
                return Some((p.step, p.value));
            }
            if p.slope >= 0.0 {
                let old = std::mem::replace(&mut low, p);
                break old;
            }
            low = p;
            step = (4.0 * step).min(longest);
        };
        for _ in 0..40 {
            let p = self.at(f, x, d, between(low, high));
            if !enough(p) || p.value > low.value {
                high = p;
            } else {
                if p.slope.abs() <= -WOLFE * slope {
                    return Some((p.step, p.value));
                }
                if p.slope * (high.step - low.step) >= 0.0 {
                    high = low;
                }
                low = p;
            }
            if (high.step - low.step).abs() <= 1e-14 * low.step.max(first) {
                break;
            }
        }
        // No point with the wanted curvature; one that is lower will do.
        if low.step > 0.0 && low.value < value {
            let p = self.at(f, x, d, low.step);
            return Some((p.step, p.value));
        }
        None
    }
}

/// Minimiser of the cubic through both ends, kept away from them; a tenth of the way if the far end is not finite.
fn between(low: Point, high: Point) -> f64 {
    let width = high.step - low.step;
    if !high.value.is_finite() {
        return low.step + 0.1 * width;
    }
    let d1 = low.slope + high.slope - 3.0 * (high.value - low.value) / width;
    let root = d1 * d1 - low.slope * high.slope;
    let t = if root >= 0.0 {
        let d2 = root.sqrt() * width.signum();
        1.0 - (high.slope + d2 - d1) / (high.slope - low.slope + 2.0 * d2)
    } else {
        0.5
    };
    low.step + width * if t.is_nan() { 0.5 } else { t.clamp(0.1, 0.9) }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Of<F>(F, usize);
    impl<F: Fn(&[f64], &mut [f64]) -> f64> Function for Of<F> {
        fn value_grad(&mut self, x: &[f64], g: &mut [f64]) -> f64 {
            self.1 += 1;
            (self.0)(x, g)
        }
    }

    fn rosenbrock(x: &[f64], g: &mut [f64]) -> f64 {
        let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
        g[0] = -2.0 * a - 400.0 * x[0] * b;
        g[1] = 200.0 * b;
        a * a + 100.0 * b * b
    }

    fn run(f: impl Fn(&[f64], &mut [f64]) -> f64, x: &mut [f64]) -> (End, State, usize) {
        let mut f = Of(f, 0);
        let mut search = Pause::at(&mut f, x);
        let limits = Limits { tolerance: 1e-8, iterations: 500 };
        let (end, state) = minimise(&mut f, &mut search, limits, &mut |_, _| false);
        x.copy_from_slice(search.x());
        (end, state, f.1)
    }

    #[test]
    fn rosenbrock_is_solved_in_few_evaluations() {
        let mut x = [-1.2, 1.0];
        let (end, _, evaluations) = run(rosenbrock, &mut x);
        assert_eq!(end, End::Converged);
        assert!((x[0] - 1.0).abs() < 1e-7 && (x[1] - 1.0).abs() < 1e-7, "{x:?}");
        assert!(evaluations < 80, "{evaluations}");
    }

    #[test]
    fn a_badly_scaled_quadratic_is_solved() {
        let scales = [1e-3, 1.0, 30.0, 1e4];
        let mut x = [1.0; 4];
        let (end, ..) = run(
            |x, g| {
                (0..4).for_each(|i| g[i] = scales[i] * x[i]);
                (0..4).map(|i| 0.5 * scales[i] * x[i] * x[i]).sum()
            },
            &mut x,
        );
        assert_eq!(end, End::Converged);
    }

    #[test]
    fn a_wall_of_nan_is_walked_around() {
        // log x is NaN for negative x; the first step from 1e-3 overshoots the wall.
        let mut x = [1e-3];
        let (end, ..) = run(
            |x, g| {
                g[0] = 1.0 - 1.0 / x[0];
                x[0] - x[0].ln()
            },
            &mut x,
        );
        assert_eq!(end, End::Converged);
        assert!((x[0] - 1.0).abs() < 1e-7);
    }

    #[test]
    fn an_unbounded_function_ends() {
        let mut x = [0.0];
        let (end, state, _) = run(
            |x, g| {
                g[0] = -1.0;
                -x[0]
            },
            &mut x,
        );
        assert!(end != End::Converged && state.iteration <= 500);
    }

    #[test]
    fn a_start_that_is_not_finite_is_said() {
        assert_eq!(run(|_, _| f64::NAN, &mut [0.0]).0, End::NonFinite);
    }
}
