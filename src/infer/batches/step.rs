//! Stochastic steps: Adam, AdamW and gradient descent with momentum, and how the rate goes.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::prim::vector::widely;

/// Share of a weight that AdamW takes away per step and unit of rate (Loshchilov and Hutter 2019).
const DECAY: f64 = 0.01;
const MOMENTUM: f64 = 0.9;
/// Of Adam (Kingma and Ba 2015, algorithm 1).
const BETA: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    Adam,
    AdamW,
    Sgd,
}

/// How the rate changes over the fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Schedule {
    Constant,
    /// Constant over the first half, then falling to 0.
    Linear,
    Cosine,
    /// Stages of 1, 3, 9, 27, … epochs, the rate falling by 10^(1/7) from one to the next (Burda, Grosse and Salakhutdinov 2016,
    /// section 5; with eight stages, 3280 epochs in all, it falls to a tenth).
    Tripling,
}

#[derive(Clone, Debug)]
pub struct Optimizer {
    pub rule: Rule,
    pub rate: f64,
    pub schedule: Schedule,
    /// Steps over which the rate rises from near 0 to what the schedule says.
    pub warm_up: usize,
    /// Gradients longer than this are shortened to it.
    pub clip: Option<f64>,
}

impl Optimizer {
    /// The rate of step `n` of so many, of which so many make an epoch.
    pub fn rate_at(&self, n: usize, steps: usize, epoch: usize) -> f64 {
        let t = n as f64 / steps.max(1) as f64;
        let rising = if n < self.warm_up { (n + 1) as f64 / self.warm_up as f64 } else { 1.0 };
        let falling = match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Linear => (2.0 * (1.0 - t)).min(1.0),
            Schedule::Cosine => 0.5 * (1.0 + (PI * t).cos()),
            Schedule::Tripling => {
                // Before stage i lie (3^i - 1) / 2 epochs.
                let stage = (2 * (n / epoch.max(1)) + 1).ilog(3);
                10f64.powf(-f64::from(stage) / 7.0)
            }
        };
        self.rate * rising * falling
    }
}

/// Running means of the gradient and of its square; of descent with momentum the velocity alone.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Moments {
    first: Vec<f64>,
    second: Vec<f64>,
    steps: i32,
}

impl Moments {
    pub fn new(rule: Rule, parameters: usize) -> Moments {
        let second = if rule == Rule::Sgd { 0 } else { parameters };
        Moments { first: vec![0.0; parameters], second: vec![0.0; second], steps: 0 }
    }

    /// One step of descent. `decays`: the params that AdamW shrinks.
    pub fn step(&mut self, step: &Descent, psi: &mut [f64], gradient: &[f64], decays: &[bool], each: Each) {
        self.steps = self.steps.saturating_add(1);
        let (rate, mut scale) = (step.rate, step.scale);
        if let Some(most) = step.optimizer.clip.filter(|most| step.length > *most) {
            scale *= most / step.length;
        }
        let decay = if step.optimizer.rule == Rule::AdamW { rate * DECAY } else { 0.0 };
        let taken = step.turn.map_or(self.steps, |t| t.taken);
        let corrections = BETA.map(|b| 1.0 / (1.0 - b.powi(taken)));
        let (psi, first, second) = (Parts::of(psi), Parts::of(&mut self.first), Parts::of(&mut self.second));
        let sgd = step.optimizer.rule == Rule::Sgd;
        each(gradient.len().div_ceil(PIECE), &|i| {
            let from = i * PIECE;
            let (gradient, decays) = (&gradient[from..gradient.len().min(from + PIECE)], &decays[from..]);
            // Pieces do not overlap, and each is taken once.
            let (psi, first) = unsafe { (psi.part(i), first.part(i)) };
            let second = if sgd { &mut [][..] } else { unsafe { second.part(i) } };
            let mut some = |range: std::ops::Range<usize>| {
                let (psi, first, gradient) =
                    (&mut psi[range.clone()], &mut first[range.clone()], &gradient[range.clone()]);
                if sgd {
                    for ((p, v), g) in psi.iter_mut().zip(first).zip(gradient) {
                        *v = MOMENTUM * *v + scale * g;
                        *p -= rate * *v;
                    }
                    return;
                }
                if decay > 0.0 {
                    let decays = &decays[range.clone()];
                    psi.iter_mut().zip(decays).filter(|p| *p.1).for_each(|(p, _)| *p *= 1.0 - decay);
                }
                adam(rate, scale, corrections, psi, gradient, first, &mut second[range]);
            };
            match step.turn {
                None => some(0..gradient.len()),
                Some(turn) => {
                    // Stretches of params whose turn it is.
                    let mine = |i: usize| turn.of_guide[from + i] == turn.guide;
                    let mut at = 0;
                    while at < gradient.len() {
                        let begins = (at..gradient.len()).find(|i| mine(*i)).unwrap_or(gradient.len());
                        at = (begins..gradient.len()).find(|i| !mine(*i)).unwrap_or(gradient.len());
                        some(begins..at);
                    }
                }
            }
        });
    }
}

/// In one pass over the numbers: there may be millions, and their memory is what takes time.
fn adam(
    rate: f64,
    scale: f64,
    corrections: [f64; 2],
    psi: &mut [f64],
    gradient: &[f64],
    first: &mut [f64],
    second: &mut [f64],
) {
    widely(
        #[inline(always)]
        || {
            let moments = first.iter_mut().zip(second);
            for ((p, g), (m, v)) in psi.iter_mut().zip(gradient).zip(moments) {
                let g = scale * g;
                *m = BETA[0] * *m + (1.0 - BETA[0]) * g;
                *v = BETA[1] * *v + (1.0 - BETA[1]) * g * g;
                *p -= rate * (*m * corrections[0]) / ((*v * corrections[1]).sqrt() + EPSILON);
            }
        },
    );
}

/// Calls a job for each of so many pieces, on several threads.
pub type Each<'a> = &'a dyn Fn(usize, &(dyn Fn(usize) + Sync));

/// What a step is made with: the gradient is multiplied by `scale`, and is then so long.
pub struct Descent<'o> {
    pub optimizer: &'o Optimizer,
    pub rate: f64,
    pub scale: f64,
    pub length: f64,
    /// Whose turn it is; `None`: all params move.
    pub turn: Option<Turn<'o>>,
}

/// Steps on the guide and on the model by turns: so that the guide keeps up with a model that moves away from it (He, Spokoyny,
/// Neubig and Berg-Kirkpatrick 2019).
#[derive(Clone, Copy)]
pub struct Turn<'o> {
    of_guide: &'o [bool],
    guide: bool,
    /// How many steps these params have taken, with this one.
    taken: i32,
}

impl<'o> Turn<'o> {
    /// Step `n` of a fit with `inner` steps on the guide for each on the model.
    pub fn new(of_guide: &'o [bool], n: usize, inner: usize) -> Turn<'o> {
        let (round, at) = (n / (inner + 1), n % (inner + 1));
        let guide = at < inner;
        let taken = if guide { round * inner + at + 1 } else { round + 1 };
        Turn { of_guide, guide, taken: i32::try_from(taken).unwrap_or(i32::MAX) }
    }
}

/// Numbers of a piece, whatever the number of threads.
const PIECE: usize = 1 << 14;

/// The sum of squares, piece by piece, in the order of the pieces.
pub struct Squares(Vec<f64>);

impl Squares {
    pub fn new(numbers: usize) -> Squares {
        Squares(vec![0.0; numbers.div_ceil(PIECE)])
    }

    pub fn sum(&mut self, numbers: &[f64], each: Each) -> f64 {
        let sums = Parts { at: self.0.as_mut_ptr(), len: self.0.len(), each: 1 };
        each(numbers.len().div_ceil(PIECE), &|i| {
            let own = &numbers[i * PIECE..numbers.len().min((i + 1) * PIECE)];
            // Eight sums at a time, which the compiler keeps in one register.
            let mut lanes = [0.0; 8];
            widely(
                #[inline(always)]
                || {
                    let (eights, rest) = own.as_chunks::<8>();
                    for eight in eights {
                        lanes.iter_mut().zip(eight).for_each(|(l, x)| *l += x * x);
                    }
                    lanes.iter_mut().zip(rest).for_each(|(l, x)| *l += x * x);
                },
            );
            // Each piece has a place of its own.
            unsafe { sums.part(i)[0] = lanes.iter().sum() };
        });
        self.0.iter().sum()
    }
}

/// A slice that several threads write, each its own parts.
struct Parts {
    at: *mut f64,
    len: usize,
    each: usize,
}

// Parts do not overlap.
unsafe impl Sync for Parts {}

impl Parts {
    fn of(numbers: &mut [f64]) -> Parts {
        Parts { at: numbers.as_mut_ptr(), len: numbers.len(), each: PIECE }
    }

    /// # Safety
    /// The slice is alive, and nobody else has this part.
    #[allow(clippy::mut_from_ref)]
    unsafe fn part(&self, i: usize) -> &mut [f64] {
        let from = (i * self.each).min(self.len);
        unsafe { std::slice::from_raw_parts_mut(self.at.add(from), self.each.min(self.len - from)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape;

    fn alone<'a>() -> Each<'a> {
        &|pieces, job| (0..pieces).for_each(job)
    }

    /// Pieces of many numbers give what one piece would.
    #[test]
    fn pieces_are_the_whole() {
        let n = 2 * PIECE + 100;
        let gradient: Vec<f64> = (0..n).map(|i| (0.01 * i as f64).sin()).collect();
        let exact: f64 = gradient.iter().map(|g| g * g).sum();
        let sum = Squares::new(n).sum(&gradient, alone());
        assert!((sum / exact - 1.0).abs() < 1e-12);
        for rule in [Rule::Adam, Rule::AdamW, Rule::Sgd] {
            let by = optimizer(rule);
            let step = Descent { optimizer: &by, rate: 0.1, scale: -0.5, length: 1.0, turn: None };
            let (mut whole, mut moments) = (vec![1.0; n], Moments::new(rule, n));
            let (mut one, mut own) = ([1.0], Moments::new(rule, 1));
            let crew = crate::prim::crew::Crew::new(3);
            for _ in 0..3 {
                moments.step(&step, &mut whole, &gradient, &vec![true; n], &|pieces, job| crew.each(pieces, &job));
                own.step(&step, &mut one, &gradient[n - 1..], &[true], alone());
            }
            assert_eq!(whole[n - 1], one[0], "{rule:?}");
        }
    }

    /// By turns, each group of params goes as if it were alone: two steps of the first for one of the second.
    #[test]
    fn turns_are_taken() {
        for rule in [Rule::Adam, Rule::Sgd] {
            let by = optimizer(rule);
            let of_guide = [true, false, true, true];
            let (mut all, mut moments) = ([1.0; 4], Moments::new(rule, 4));
            let (mut guide, mut of_its) = ([1.0], Moments::new(rule, 1));
            let (mut model, mut of_model) = ([1.0], Moments::new(rule, 1));
            for n in 0..9 {
                let gradient = [1.0 + n as f64; 4];
                let step = |turn| Descent { optimizer: &by, rate: 0.1, scale: 0.5, length: 1.0, turn };
                moments.step(&step(Some(Turn::new(&of_guide, n, 2))), &mut all, &gradient, &[false; 4], alone());
                let (one, m) = if n % 3 < 2 { (&mut guide, &mut of_its) } else { (&mut model, &mut of_model) };
                m.step(&step(None), one, &gradient[..1], &[false], alone());
            }
            assert_eq!(all, [guide[0], model[0], guide[0], guide[0]], "{rule:?}");
        }
    }

    fn optimizer(rule: Rule) -> Optimizer {
        Optimizer { rule, rate: 0.1, schedule: Schedule::Constant, warm_up: 0, clip: None }
    }

    /// The same steps as dfdx takes, up to rounding.
    #[test]
    fn adam_is_that_of_the_tape() {
        let (mut here, mut there) = ([1.0, -2.0, 0.3], [1.0, -2.0, 0.3]);
        let (mut moments, mut adam) = (Moments::new(Rule::Adam, 3), tape::Adam::new(3));
        for i in 0..50 {
            let rate = 0.1 / (1.0 + f64::from(i));
            let g = |x: [f64; 3]| [x[0], 3.0 * x[1], x[2].powi(3)];
            let gradient = g(here);
            let by = optimizer(Rule::Adam);
            let step = Descent { optimizer: &by, rate, scale: 1.0, length: 1.0, turn: None };
            moments.step(&step, &mut here, &gradient, &[false; 3], alone());
            let gradient = g(there);
            adam.step(&mut there, &gradient, rate);
            for (a, b) in here.iter().zip(there) {
                assert!((a - b).abs() < 1e-12, "{a} and {b}");
            }
        }
    }

    #[test]
    fn long_gradients_are_shortened_and_weights_shrink() {
        let clipped = Optimizer { clip: Some(1.0), ..optimizer(Rule::Sgd) };
        let mut psi = [0.0, 0.0];
        let step = Descent { optimizer: &clipped, rate: 0.1, scale: 1.0, length: 50.0, turn: None };
        Moments::new(Rule::Sgd, 2).step(&step, &mut psi, &[30.0, -40.0], &[false; 2], alone());
        assert!((psi[0] + 0.06).abs() < 1e-15 && (psi[1] - 0.08).abs() < 1e-15, "{psi:?}");
        let mut psi = [2.0, 2.0];
        let by = optimizer(Rule::AdamW);
        let step = Descent { optimizer: &by, rate: 0.1, scale: 1.0, length: 0.0, turn: None };
        Moments::new(Rule::AdamW, 2).step(&step, &mut psi, &[0.0; 2], &[true, false], alone());
        assert_eq!(psi, [2.0 * (1.0 - 0.1 * DECAY), 2.0]);
    }

    #[test]
    fn rates_rise_and_fall() {
        let at = |schedule, n| Optimizer { schedule, warm_up: 10, ..optimizer(Rule::Adam) }.rate_at(n, 100, 10);
        for (schedule, n, rate) in [
            (Schedule::Constant, 0, 0.01),
            (Schedule::Constant, 4, 0.05),
            (Schedule::Constant, 99, 0.1),
            (Schedule::Linear, 50, 0.1),
            (Schedule::Linear, 75, 0.05),
            (Schedule::Cosine, 50, 0.05),
            (Schedule::Tripling, 10, 0.1 * 0.1f64.powf(1.0 / 7.0)),
            (Schedule::Tripling, 39, 0.1 * 0.1f64.powf(1.0 / 7.0)),
            (Schedule::Tripling, 40, 0.1 * 0.1f64.powf(2.0 / 7.0)),
        ] {
            assert!((at(schedule, n) - rate).abs() < 1e-15, "{schedule:?} {n}: {}", at(schedule, n));
        }
    }
}
