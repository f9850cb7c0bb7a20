//! Where a log joint jumps. A guide that is drawn by moving its noise sees slopes, and no jump.

use super::{Stream, Target};

/// Points on a line between which it is looked at.
const PARTS: usize = 16;
/// Halvings of a part that holds something: to a width of 1e-12.
const HALVINGS: usize = 40;
/// Parts of a line that are looked into.
const WORST: usize = 4;
/// A change over no width that counts, relative to the log joint's size.
const SMALL: f64 = 1e-6;

/// A jump of the log joint.
#[derive(Clone, Debug, PartialEq)]
pub struct Jump {
    /// The coordinate that it is across.
    pub coordinate: usize,
    /// In nats.
    pub size: f64,
}

/// The largest jump met on random lines through the box of ±2 around the start, where starts come from.
pub fn jump(target: &dyn Target, lines: usize, seed: u64) -> Option<Jump> {
    let (names, centre) = (target.names(), target.start());
    let end = |number: usize| -> Vec<f64> {
        let draw = |name: &String| 4.0 * Stream::at(seed, "jumps", name, number).uniform() - 2.0;
        names.iter().zip(&centre).map(|(name, c)| c + draw(name)).collect()
    };
    let ends: Vec<f64> = (0..2 * lines).flat_map(end).collect();
    let mut evaluator = target.evaluator();
    jump_between(&mut |theta, gradient| evaluator.value_grad(theta, gradient), names.len(), &ends)
}

/// A log joint that writes its gradient.
type LogJoint<'t> = dyn FnMut(&[f64], &mut [f64]) -> f64 + 't;

/// The largest jump met on the lines between two points each: the first and the second, the third and the fourth, ….
/// Row-major.
pub fn jump_between(log_joint: &mut LogJoint, dim: usize, ends: &[f64]) -> Option<Jump> {
    let mut line = Line { log_joint, gradient: vec![0.0; dim] };
    let mut largest: Option<Jump> = None;
    for pair in ends.chunks_exact((2 * dim).max(1)) {
        let (from, to) = pair.split_at(dim);
        let at = |share: f64| -> Vec<f64> { from.iter().zip(to).map(|(a, b)| a + share * (b - a)).collect() };
        let points: Vec<Point> = (0..=PARTS).map(|i| line.point(at(i as f64 / PARTS as f64))).collect();
        let mut parts: Vec<(Point, Point)> = points.windows(2).map(|p| (p[0].clone(), p[1].clone())).collect();
        parts.sort_by(|a, b| surprise(&b.0, &b.1).total_cmp(&surprise(&a.0, &a.1)));
        for (mut low, mut high) in parts.into_iter().take(WORST) {
            if !low.value.is_finite() || !high.value.is_finite() {
                continue;
            }
            for _ in 0..HALVINGS {
                let middle = line.point(low.theta.iter().zip(&high.theta).map(|(a, b)| 0.5 * (a + b)).collect());
                if !middle.value.is_finite() {
                    break;
                }
                if surprise(&low, &middle) > surprise(&middle, &high) { high = middle } else { low = middle }
            }
            let size = (high.value - low.value).abs();
            let slope =
                low.gradient.iter().zip(high.theta.iter().zip(&low.theta)).map(|(g, (b, a))| g * (b - a)).sum::<f64>();
            let real = size.is_finite() && size > SMALL * (1.0 + low.value.abs()) && size > 100.0 * slope.abs();
            if real && largest.as_ref().is_none_or(|l| size > l.size) {
                largest = Some(Jump { coordinate: line.across(&low, &high), size });
            }
        }
    }
    largest
}

#[derive(Clone)]
struct Point {
    theta: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

/// How far the values at two points are from what the slopes there say (the trapezium rule). Not a number: none.
fn surprise(a: &Point, b: &Point) -> f64 {
    let slope = |i: usize| 0.5 * (a.gradient[i] + b.gradient[i]) * (b.theta[i] - a.theta[i]);
    let off = (b.value - a.value - (0..a.theta.len()).map(slope).sum::<f64>()).abs();
    if off.is_nan() { 0.0 } else { off }
}

struct Line<'l, 't> {
    log_joint: &'l mut LogJoint<'t>,
    gradient: Vec<f64>,
}

impl Line<'_, '_> {
    fn point(&mut self, theta: Vec<f64>) -> Point {
        let value = (self.log_joint)(&theta, &mut self.gradient);
        Point { theta, value, gradient: self.gradient.clone() }
    }

    /// The coordinate that alone takes most of the jump from one point to a neighbour.
    fn across(&mut self, low: &Point, high: &Point) -> usize {
        let mut alone = |i: usize| {
            let mut theta = low.theta.clone();
            theta[i] = high.theta[i];
            ((self.log_joint)(&theta, &mut self.gradient) - low.value).abs()
        };
        let changes: Vec<f64> = (0..low.theta.len()).map(&mut alone).collect();
        (0..changes.len()).max_by(|&i, &j| changes[i].total_cmp(&changes[j])).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::Evaluator;

    struct Of(fn(&[f64], &mut [f64]) -> f64);

    impl Target for Of {
        fn dim(&self) -> usize {
            2
        }
        fn names(&self) -> Vec<String> {
            vec!["a".into(), "b".into()]
        }
        fn evaluator(&self) -> Box<dyn Evaluator + '_> {
            Box::new(Of(self.0))
        }
    }

    impl Evaluator for Of {
        fn value_grad(&mut self, theta: &[f64], grad: &mut [f64]) -> f64 {
            (self.0)(theta, grad)
        }
        fn value(&mut self, theta: &[f64]) -> f64 {
            (self.0)(theta, &mut [0.0; 2])
        }
    }

    fn bowl(x: &[f64], g: &mut [f64]) -> f64 {
        (g[0], g[1]) = (-100.0 * x[0], -x[1]);
        -50.0 * x[0] * x[0] - 0.5 * x[1] * x[1]
    }

    #[test]
    fn jumps_are_told_from_kinks_and_steep_slopes() {
        assert_eq!(jump(&Of(bowl), 10, 1), None);
        assert_eq!(jump_between(&mut bowl, 2, &[-9.0, 9.0, 5.0, -5.0]), None);
        let kink = |x: &[f64], g: &mut [f64]| {
            let f = bowl(x, g);
            g[1] += 30.0 * x[1].signum();
            f + 30.0 * x[1].abs()
        };
        assert_eq!(jump(&Of(kink), 10, 1), None);
        let step = |x: &[f64], g: &mut [f64]| bowl(x, g) + if x[1] > 0.3 { 2.5 } else { 0.0 };
        let found = jump(&Of(step), 10, 1).expect("a jump");
        assert_eq!(found.coordinate, 1);
        assert!((found.size - 2.5).abs() < 1e-6, "{found:?}");
        // Beyond the box, where no start is.
        let mut far = |x: &[f64], g: &mut [f64]| bowl(x, g) + if x[0] > 3.0 { 2.5 } else { 0.0 };
        assert_eq!(jump(&Of(far), 10, 1), None);
        assert_eq!(jump_between(&mut far, 2, &[2.5, 0.0, 3.5, 1.0]).map(|j| j.coordinate), Some(0));
        let edge = |x: &[f64], g: &mut [f64]| if x[1] > 0.3 { f64::NEG_INFINITY } else { bowl(x, g) };
        assert_eq!(jump(&Of(edge), 10, 1), None, "an edge of the support is another matter");
    }
}
