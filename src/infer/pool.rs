//! Evaluates the log joint at many points, on several threads. Each row is computed alone and nothing is summed here,
//! so the results have the same bits for any number of threads.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::Scope;
use std::time::Instant;

use super::pattern::Pattern;
use super::target::{Evaluator, Target};
use super::whiten::DENSE;

/// Work worth less than this is done on the calling thread: waking another takes about a tenth of it.
const WORTH_SPLITTING_NS: f64 = 100_000.0;

/// Where our coordinates are in the target's theta.
pub struct Pool<'t> {
    target: &'t dyn Target,
    local: Local<'t>,
    lanes: Vec<Arc<Lane>>,
    pattern: OnceCell<Option<Rc<Pattern>>>,
    /// Running mean cost of one row.
    row_ns: f64,
    pub gradients: usize,
    pub values: usize,
    pub non_finite: usize,
    /// The first theta whose log joint was not finite, in the target's order.
    pub first_lost: Option<Vec<f64>>,
}

/// One thread's evaluator and the buffers in the target's order.
struct Local<'t> {
    evaluator: Box<dyn Evaluator + 't>,
    order: Arc<[usize]>,
    theta: Vec<f64>,
    direction: Vec<f64>,
    gradient: Vec<f64>,
    /// The second gradient of a difference.
    other: Vec<f64>,
}

struct Lane {
    work: Mutex<Work>,
    changed: Condvar,
}

#[derive(PartialEq)]
enum Phase {
    Idle,
    Ready,
    Done,
    Quit,
}

struct Work {
    phase: Phase,
    task: Task,
    thetas: Vec<f64>,
    directions: Vec<f64>,
    values: Vec<f64>,
    /// Gradients, products or parts.
    vectors: Vec<f64>,
}

/// What is computed of each row.
#[derive(Clone, Copy, PartialEq)]
enum Task {
    Value,
    Gradient,
    /// The Hessian times the row's direction; the value says whether it is finite.
    Product,
    /// The log joint, and the sums of the terms of each coordinate.
    Parts,
}

/// Rows, as slices of what the caller gave.
struct Rows<'a> {
    task: Task,
    thetas: &'a [f64],
    directions: &'a [f64],
    values: &'a mut [f64],
    vectors: &'a mut [f64],
}

impl<'t> Pool<'t> {
    /// `order[i]` is the target's index of our coordinate `i`. Threads live in `scope` until the pool is dropped.
    pub fn new<'s>(target: &'t dyn Target, order: Vec<usize>, threads: usize, scope: &'s Scope<'s, 't>) -> Pool<'t> {
        let order: Arc<[usize]> = order.into();
        let lanes = (1..threads.max(1))
            .map(|_| {
                let lane = Arc::new(Lane {
                    work: Mutex::new(Work {
                        phase: Phase::Idle,
                        task: Task::Value,
                        thetas: vec![],
                        directions: vec![],
                        values: vec![],
                        vectors: vec![],
                    }),
                    changed: Condvar::new(),
                });
                let (mine, order) = (lane.clone(), order.clone());
                scope.spawn(move || mine.serve(Local::new(target, order)));
                lane
            })
            .collect();
        let pattern = OnceCell::new();
        Pool {
            target,
            local: Local::new(target, order),
            lanes,
            pattern,
            row_ns: 0.0,
            gradients: 0,
            values: 0,
            non_finite: 0,
            first_lost: None,
        }
    }

    pub fn dim(&self) -> usize {
        self.local.order.len()
    }

    /// Log joint and gradient of every row of `thetas`.
    pub fn value_grad(&mut self, thetas: &[f64], values: &mut [f64], gradients: &mut [f64]) {
        self.gradients += values.len();
        self.run(Rows { task: Task::Gradient, thetas, directions: &[], values, vectors: gradients });
    }

    /// Log joint of every row.
    pub fn value(&mut self, thetas: &[f64], values: &mut [f64]) {
        self.values += values.len();
        self.run(Rows { task: Task::Value, thetas, directions: &[], values, vectors: &mut [] });
    }

    /// Log joint of every row, and for each coordinate that is not a point the sum of the terms that depend on it.
    pub fn parts(&mut self, thetas: &[f64], values: &mut [f64], parts: &mut [f64]) {
        self.values += values.len();
        self.run(Rows { task: Task::Parts, thetas, directions: &[], values, vectors: parts });
    }

    /// Whether the log joint is taken apart.
    pub fn has_parts(&self) -> bool {
        self.target.has_parts()
    }

    /// The model's latents at one row.
    pub fn latents(&mut self, theta: &[f64]) -> Vec<f64> {
        let Local { evaluator, order, theta: own, .. } = &mut self.local;
        order.iter().zip(theta).for_each(|(&i, t)| own[i] = *t);
        evaluator.latents(own)
    }

    /// The Hessian of the log joint at each row of `thetas` times the row of `directions`, at the price of two gradients:
    /// that of a compiled program, or of differences over a thousandth of the direction where there is none. Whether all
    /// are finite.
    pub fn products(&mut self, thetas: &[f64], directions: &[f64], products: &mut [f64]) -> bool {
        let rows = thetas.len() / self.dim().max(1);
        self.gradients += 2 * rows;
        let mut values = vec![0.0; rows];
        self.run(Rows { task: Task::Product, thetas, directions, values: &mut values, vectors: products });
        values.iter().all(|v| v.is_finite())
    }

    /// Whether products are those of a compiled program.
    pub fn has_products(&self) -> bool {
        self.target.has_products()
    }

    /// Which entries of the Hessian may differ from 0, in our order; `None` if of many coordinates all may.
    pub fn pattern(&self) -> Option<Rc<Pattern>> {
        let make = || {
            let order = &self.local.order;
            let Some(theirs) = self.target.interactions() else {
                return (order.len() <= DENSE).then(|| Rc::new(Pattern::dense(order.len())));
            };
            let mut ours = vec![0; order.len()];
            order.iter().enumerate().for_each(|(k, &i)| ours[i] = k as u32);
            let list = |&i: &usize| {
                let mut list: Vec<u32> = theirs[i].iter().map(|&j| ours[j as usize]).collect();
                list.sort_unstable();
                list
            };
            Some(Rc::new(Pattern::new(&order.iter().map(list).collect::<Vec<_>>())))
        };
        self.pattern.get_or_init(make).clone()
    }

    fn run(&mut self, all: Rows) {
        let Rows { task, thetas, directions, values, vectors } = all;
        self.share(Rows { task, thetas, directions, values, vectors });
        if task == Task::Product || self.first_lost.is_some() {
            return;
        }
        if let Some(k) = values.iter().position(|v| !v.is_finite()) {
            let mut theta = vec![0.0; self.dim()];
            let row = &thetas[k * self.dim()..(k + 1) * self.dim()];
            self.local.order.iter().zip(row).for_each(|(i, t)| theta[*i] = *t);
            self.first_lost = Some(theta);
        }
    }

    /// Evaluate rows, on all threads where that is worth it.
    fn share(&mut self, all: Rows) {
        let (dim, rows) = (self.dim(), all.values.len());
        // The choice only moves rows between threads; it cannot change a bit of the result.
        if self.lanes.is_empty() || rows < 2 || self.row_ns * (rows as f64) < WORTH_SPLITTING_NS {
            let start = Instant::now();
            let task = all.task;
            self.non_finite += self.local.rows(all);
            if rows > 0 && task != Task::Product {
                let ns = start.elapsed().as_nanos() as f64 / rows as f64;
                self.row_ns = if self.row_ns == 0.0 { ns } else { 0.9 * self.row_ns + 0.1 * ns };
            }
            return;
        }
        let per = rows.div_ceil(self.lanes.len() + 1);
        let own = per.min(rows);
        let part = |v: &[f64], start: usize, end: usize| {
            if v.is_empty() { vec![] } else { v[start * dim..end * dim].to_vec() }
        };
        for (lane, start) in self.lanes.iter().zip((own..rows).step_by(per)) {
            let end = (start + per).min(rows);
            let mut work = lane.lock();
            work.task = all.task;
            work.thetas.clear();
            work.thetas.extend_from_slice(&all.thetas[start * dim..end * dim]);
            work.directions = part(all.directions, start, end);
            work.values.resize(end - start, 0.0);
            work.vectors.resize(if all.task == Task::Value { 0 } else { (end - start) * dim }, 0.0);
            work.phase = Phase::Ready;
            drop(work);
            lane.changed.notify_all();
        }
        let head = |v: &[f64]| own * dim.min(v.len());
        self.non_finite += self.local.rows(Rows {
            task: all.task,
            thetas: &all.thetas[..own * dim],
            directions: &all.directions[..head(all.directions)],
            values: &mut all.values[..own],
            vectors: &mut all.vectors[..if all.task == Task::Value { 0 } else { own * dim }],
        });
        for (lane, start) in self.lanes.iter().zip((own..rows).step_by(per)) {
            let mut work = lane.lock();
            while work.phase == Phase::Ready {
                work = lane.changed.wait(work).expect("an evaluator does not panic");
            }
            work.phase = Phase::Idle;
            all.values[start..start + work.values.len()].copy_from_slice(&work.values);
            if all.task != Task::Value {
                all.vectors[start * dim..start * dim + work.vectors.len()].copy_from_slice(&work.vectors);
            }
            self.non_finite += work.values.iter().filter(|v| !v.is_finite()).count();
        }
    }
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {
        for lane in &self.lanes {
            // A poisoned lane has already ended.
            if let Ok(mut work) = lane.work.lock() {
                work.phase = Phase::Quit;
            }
            lane.changed.notify_all();
        }
    }
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().expect("an evaluator does not panic")
    }

    fn serve(&self, mut local: Local) {
        // If the evaluator panics all the same, wake the caller, who then finds the lock poisoned.
        struct Wake<'a>(&'a Lane);
        impl Drop for Wake<'_> {
            fn drop(&mut self) {
                self.0.changed.notify_all();
            }
        }
        let _wake = Wake(self);
        let mut work = self.lock();
        loop {
            match work.phase {
                Phase::Quit => return,
                Phase::Ready => {
                    let Work { task, thetas, directions, values, vectors, .. } = &mut *work;
                    local.rows(Rows { task: *task, thetas, directions, values, vectors });
                    work.phase = Phase::Done;
                    self.changed.notify_all();
                }
                Phase::Idle | Phase::Done => work = self.changed.wait(work).expect("the caller does not panic"),
            }
        }
    }
}

impl<'t> Local<'t> {
    fn new(target: &'t dyn Target, order: Arc<[usize]>) -> Local<'t> {
        let dim = order.len();
        Local {
            evaluator: target.evaluator(),
            order,
            theta: vec![0.0; dim],
            direction: vec![],
            gradient: vec![0.0; dim],
            other: vec![],
        }
    }

    /// How many rows are not finite.
    fn rows(&mut self, all: Rows) -> usize {
        let dim = self.order.len();
        let mut non_finite = 0;
        for (k, value) in all.values.iter_mut().enumerate() {
            let row = k * dim..(k + 1) * dim;
            for (t, &i) in all.thetas[row.clone()].iter().zip(self.order.iter()) {
                self.theta[i] = *t;
            }
            match all.task {
                Task::Value => *value = self.evaluator.value(&self.theta),
                Task::Gradient => *value = self.evaluator.value_grad(&self.theta, &mut self.gradient),
                Task::Parts => *value = self.evaluator.value_parts(&self.theta, &mut self.gradient),
                Task::Product => {
                    self.product(&all.directions[row.clone()]);
                    *value = 0.0;
                }
            }
            if all.task != Task::Value {
                let out = &mut all.vectors[row];
                for (g, &i) in out.iter_mut().zip(self.order.iter()) {
                    *g = self.gradient[i];
                }
                // A finite value with a gradient that is not would lead the search astray.
                if all.task != Task::Parts && out.iter().any(|g| !g.is_finite()) {
                    *value = f64::NAN;
                }
            }
            non_finite += usize::from(!value.is_finite());
        }
        non_finite
    }

    /// The Hessian at `theta` times a direction, into `gradient`.
    fn product(&mut self, direction: &[f64]) {
        const STEP: f64 = 1e-3;
        self.direction.resize(self.order.len(), 0.0);
        for (d, &i) in direction.iter().zip(self.order.iter()) {
            self.direction[i] = *d;
        }
        if self.evaluator.hessian_times(&self.theta, &self.direction, &mut self.gradient) {
            return;
        }
        self.other.resize(self.order.len(), 0.0);
        let mut at = |step: f64, out: &mut [f64]| {
            self.theta.iter_mut().zip(&self.direction).for_each(|(t, d)| *t += step * d);
            self.evaluator.value_grad(&self.theta, out)
        };
        at(STEP, &mut self.gradient);
        at(-2.0 * STEP, &mut self.other);
        self.gradient.iter_mut().zip(&self.other).for_each(|(g, o)| *g = (*g - o) / (2.0 * STEP));
    }
}
