//! Stochastic steps: Adam, AdamW and gradient descent with momentum, and how the rate goes.

use std::f64::consts::PI;
use std::ops::{Add, Div, Mul, MulAssign, Range, SubAssign};

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

/// Numbers that a step moves, with the slopes along them.
pub struct Params<'a> {
    pub numbers: &'a mut [f64],
    pub slopes: &'a [f64],
    pub single: Option<Single<'a>>,
}

/// Stretches of params whose numbers and slopes stand in single precision, and in double are not read.
pub struct Single<'a> {
    /// In order, counted from `from` before the first of the params, as are the numbers.
    pub cells: &'a [Range<usize>],
    pub from: usize,
    pub numbers: &'a mut [f32],
    pub slopes: &'a [f32],
}

impl<'a> Params<'a> {
    pub fn double(numbers: &'a mut [f64], slopes: &'a [f64]) -> Params<'a> {
        Params { numbers, slopes, single: None }
    }
}

/// The parts of a piece in double precision, and those in single, in order.
fn stretches(cells: &[Range<usize>], from: usize, piece: Range<usize>, f: &mut dyn FnMut(Range<usize>, bool)) {
    let mut at = piece.start;
    for own in cells {
        let own = own.start.max(from + at) - from..own.end.min(from + piece.end).max(from) - from;
        if own.is_empty() {
            continue;
        }
        if at < own.start {
            f(at..own.start, false);
        }
        f(own.clone(), true);
        at = own.end;
    }
    if at < piece.end {
        f(at..piece.end, false);
    }
}

/// A number in one precision or the other.
trait Number: Copy + Sync + Add<Output = Self> + Mul<Output = Self> + Div<Output = Self> + SubAssign + MulAssign {
    fn of(x: f64) -> Self;
    fn double(self) -> f64;
    fn root(self) -> Self;
}

impl Number for f64 {
    fn of(x: f64) -> f64 {
        x
    }
    fn double(self) -> f64 {
        self
    }
    fn root(self) -> f64 {
        self.sqrt()
    }
}

impl Number for f32 {
    fn of(x: f64) -> f32 {
        x as f32
    }
    fn double(self) -> f64 {
        f64::from(self)
    }
    fn root(self) -> f32 {
        self.sqrt()
    }
}

/// Running means of the gradient and of its square; of descent with momentum the velocity alone.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Moments {
    means: Means,
    steps: i32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Means {
    Double([Vec<f64>; 2]),
    Single([Vec<f32>; 2]),
}

impl Default for Means {
    fn default() -> Means {
        Means::Double([vec![], vec![]])
    }
}

impl Moments {
    /// `single`: kept in single precision.
    pub fn new(rule: Rule, parameters: usize, single: bool) -> Moments {
        let lengths = [parameters, if rule == Rule::Sgd { 0 } else { parameters }];
        let means = match single {
            false => Means::Double(lengths.map(|n| vec![0.0; n])),
            true => Means::Single(lengths.map(|n| vec![0.0; n])),
        };
        Moments { means, steps: 0 }
    }

    /// Begin a step of descent.
    pub fn begin(&mut self) {
        self.steps = self.steps.saturating_add(1);
    }

    /// Move some of all numbers, those from `at` on. `decays`: which of all of them AdamW shrinks.
    pub fn step(&mut self, step: &Descent, at: usize, params: Params, decays: &[bool], each: Each) {
        let taken = step.turn.map_or(self.steps, |t| t.taken);
        match &mut self.means {
            Means::Double(means) => step.all(taken, (at, params), means, decays, each),
            Means::Single(means) => step.all(taken, (at, params), means, decays, each),
        }
    }
}

impl Descent<'_> {
    fn all<M: Number>(
        &self,
        taken: i32,
        (at, params): (usize, Params),
        means: &mut [Vec<M>; 2],
        decays: &[bool],
        each: Each,
    ) {
        let Params { numbers, slopes, single } = params;
        let n = numbers.len();
        let shortened = self.optimizer.clip.filter(|most| self.length > *most).map_or(1.0, |most| most / self.length);
        let rate = Rate {
            rate: self.rate,
            scale: self.scale * shortened,
            decay: if self.optimizer.rule == Rule::AdamW { self.rate * DECAY } else { 0.0 },
            corrections: BETA.map(|b| 1.0 / (1.0 - b.powi(taken))),
        };
        let (double, [first, second]) = (Parts::of(numbers), means.each_mut().map(|m| Parts::of(m)));
        let (cells, from, own) = match single {
            Some(Single { cells, from, numbers, slopes }) => (cells, from, Some((Parts::of(numbers), slopes))),
            None => (&[][..], 0, None),
        };
        each(n.div_ceil(PIECE), &|i| {
            stretches(cells, from, i * PIECE..n.min((i + 1) * PIECE), &mut |range, single| {
                let some = |range: Range<usize>| {
                    let of_all = at + range.start..at + range.end;
                    let decays = &decays[of_all.clone()];
                    let there = from + range.start..from + range.end;
                    // Pieces do not overlap, and each is taken once.
                    let means = unsafe { [first.part(of_all.clone()), second.part(of_all)] };
                    match &own {
                        Some((numbers, slopes)) if single => {
                            rate.step(unsafe { numbers.part(there.clone()) }, &slopes[there], means, decays);
                        }
                        _ => rate.step(unsafe { double.part(range.clone()) }, &slopes[range], means, decays),
                    }
                };
                let Some(turn) = self.turn else { return some(range) };
                // Stretches of params whose turn it is.
                let mine = |i: usize| turn.of_guide[at + i] == turn.guide;
                let mut next = range.start;
                while next < range.end {
                    let begins = (next..range.end).find(|i| mine(*i)).unwrap_or(range.end);
                    next = (begins..range.end).find(|i| !mine(*i)).unwrap_or(range.end);
                    some(begins..next);
                }
            });
        });
    }
}

/// What a step comes to for each number.
struct Rate {
    rate: f64,
    scale: f64,
    decay: f64,
    corrections: [f64; 2],
}

impl Rate {
    /// Without second means, of descent with momentum.
    fn step<P: Number, M: Number>(
        &self,
        numbers: &mut [P],
        slopes: &[P],
        [first, second]: [&mut [M]; 2],
        decays: &[bool],
    ) {
        let (rate, scale) = (P::of(self.rate), P::of(self.scale));
        if second.is_empty() {
            let momentum = P::of(MOMENTUM);
            for ((p, v), g) in numbers.iter_mut().zip(first).zip(slopes) {
                let velocity = momentum * P::of(v.double()) + scale * *g;
                *v = M::of(velocity.double());
                *p -= rate * velocity;
            }
            return;
        }
        if self.decay > 0.0 {
            let left = P::of(1.0 - self.decay);
            numbers.iter_mut().zip(decays).filter(|p| *p.1).for_each(|(p, _)| *p *= left);
        }
        let [[keep, add], [keep_square, add_square]] = BETA.map(|b| [b, 1.0 - b].map(P::of));
        let [correction, of_square] = self.corrections.map(P::of);
        let least = P::of(EPSILON);
        // In one pass over the numbers: there may be millions, and their memory is what takes time.
        widely(
            #[inline(always)]
            || {
                let means = first.iter_mut().zip(second);
                for ((p, g), (m, v)) in numbers.iter_mut().zip(slopes).zip(means) {
                    let g = scale * *g;
                    let mean = keep * P::of(m.double()) + add * g;
                    let square = keep_square * P::of(v.double()) + add_square * g * g;
                    (*m, *v) = (M::of(mean.double()), M::of(square.double()));
                    *p -= rate * (mean * correction) / ((square * of_square).root() + least);
                }
            },
        );
    }
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

    /// Of no more slopes than there is room for.
    pub fn sum(&mut self, params: &Params, each: Each) -> f64 {
        let Params { slopes, single, .. } = params;
        let pieces = slopes.len().div_ceil(PIECE);
        let (cells, from) = single.as_ref().map_or((&[][..], 0), |s| (s.cells, s.from));
        let sums = Parts::of(&mut self.0);
        each(pieces, &|i| {
            // Eight sums at a time, which the compiler keeps in one register.
            let mut lanes = [0.0; 8];
            stretches(cells, from, i * PIECE..slopes.len().min((i + 1) * PIECE), &mut |range, own| match single {
                Some(single) if own => add_squares(&single.slopes[from + range.start..from + range.end], &mut lanes),
                _ => add_squares(&slopes[range], &mut lanes),
            });
            // Each piece has a place of its own.
            unsafe { sums.part(i..i + 1)[0] = lanes.iter().sum() };
        });
        self.0[..pieces].iter().sum()
    }
}

fn add_squares<T: Number>(numbers: &[T], lanes: &mut [f64; 8]) {
    *lanes = widely(
        #[inline(always)]
        || {
            let mut lanes = *lanes;
            let (eights, rest) = numbers.as_chunks::<8>();
            for eight in eights {
                let eight = eight.map(T::double);
                lanes.iter_mut().zip(eight).for_each(|(l, x)| *l += x * x);
            }
            lanes.iter_mut().zip(rest).for_each(|(l, x)| *l += x.double() * x.double());
            lanes
        },
    );
}

/// A slice that several threads write, each its own parts.
struct Parts<T> {
    at: *mut T,
    len: usize,
}

// Parts do not overlap.
unsafe impl<T> Sync for Parts<T> {}

impl<T> Parts<T> {
    fn of(numbers: &mut [T]) -> Parts<T> {
        Parts { at: numbers.as_mut_ptr(), len: numbers.len() }
    }

    /// As much of the range as there is.
    ///
    /// # Safety
    /// The slice is alive, and nobody else has this part.
    #[allow(clippy::mut_from_ref)]
    unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        let range = range.start.min(self.len)..range.end.min(self.len);
        unsafe { std::slice::from_raw_parts_mut(self.at.add(range.start), range.len()) }
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
        let sum = Squares::new(n).sum(&Params::double(&mut vec![0.0; n], &gradient), alone());
        assert!((sum / exact - 1.0).abs() < 1e-12);
        for rule in [Rule::Adam, Rule::AdamW, Rule::Sgd] {
            let by = optimizer(rule);
            let step = Descent { optimizer: &by, rate: 0.1, scale: -0.5, length: 1.0, turn: None };
            let (mut whole, mut moments) = (vec![1.0; n], Moments::new(rule, n, false));
            let (mut one, mut own) = ([1.0], Moments::new(rule, 1, false));
            let crew = crate::prim::crew::Crew::new(3);
            for _ in 0..3 {
                let params = Params::double(&mut whole, &gradient);
                moments.begin();
                moments.step(&step, 0, params, &vec![true; n], &|pieces, job| crew.each(pieces, &job));
                own.begin();
                own.step(&step, 0, Params::double(&mut one, &gradient[n - 1..]), &[true], alone());
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
            let (mut all, mut moments) = ([1.0; 4], Moments::new(rule, 4, false));
            let (mut guide, mut of_its) = ([1.0], Moments::new(rule, 1, false));
            let (mut model, mut of_model) = ([1.0], Moments::new(rule, 1, false));
            for n in 0..9 {
                let gradient = [1.0 + n as f64; 4];
                let step = |turn| Descent { optimizer: &by, rate: 0.1, scale: 0.5, length: 1.0, turn };
                let params = Params::double(&mut all, &gradient);
                moments.begin();
                moments.step(&step(Some(Turn::new(&of_guide, n, 2))), 0, params, &[false; 4], alone());
                let (one, m) = if n % 3 < 2 { (&mut guide, &mut of_its) } else { (&mut model, &mut of_model) };
                m.begin();
                m.step(&step(None), 0, Params::double(one, &gradient[..1]), &[false], alone());
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
        let (mut moments, mut adam) = (Moments::new(Rule::Adam, 3, false), tape::Adam::new(3));
        for i in 0..50 {
            let rate = 0.1 / (1.0 + f64::from(i));
            let g = |x: [f64; 3]| [x[0], 3.0 * x[1], x[2].powi(3)];
            let gradient = g(here);
            let by = optimizer(Rule::Adam);
            let step = Descent { optimizer: &by, rate, scale: 1.0, length: 1.0, turn: None };
            moments.begin();
            moments.step(&step, 0, Params::double(&mut here, &gradient), &[false; 3], alone());
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
        let mut moments = Moments::new(Rule::Sgd, 2, false);
        moments.begin();
        moments.step(&step, 0, Params::double(&mut psi, &[30.0, -40.0]), &[false; 2], alone());
        assert!((psi[0] + 0.06).abs() < 1e-15 && (psi[1] - 0.08).abs() < 1e-15, "{psi:?}");
        let mut psi = [2.0, 2.0];
        let by = optimizer(Rule::AdamW);
        let step = Descent { optimizer: &by, rate: 0.1, scale: 1.0, length: 0.0, turn: None };
        let mut moments = Moments::new(Rule::AdamW, 2, false);
        moments.begin();
        moments.step(&step, 0, Params::double(&mut psi, &[0.0; 2]), &[true, false], alone());
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
