//! Evaluates the log joint at many points, on several threads. Each row is computed alone and nothing is summed here,
//! so the results have the same bits for any number of threads.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::Scope;
use std::time::Instant;

use super::target::{Evaluator, Target};

/// Work worth less than this is done on the calling thread: waking another takes about a tenth of it.
const WORTH_SPLITTING_NS: f64 = 100_000.0;

/// Where our coordinates are in the target's theta.
pub struct Pool<'t> {
    local: Local<'t>,
    lanes: Vec<Arc<Lane>>,
    /// Running mean cost of one row.
    row_ns: f64,
    pub gradients: usize,
    pub values: usize,
    pub non_finite: usize,
}

/// One thread's evaluator and the buffers in the target's order.
struct Local<'t> {
    evaluator: Box<dyn Evaluator + 't>,
    order: Arc<[usize]>,
    theta: Vec<f64>,
    gradient: Vec<f64>,
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
    thetas: Vec<f64>,
    values: Vec<f64>,
    gradients: Vec<f64>,
    with_gradient: bool,
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
                        thetas: vec![],
                        values: vec![],
                        gradients: vec![],
                        with_gradient: true,
                    }),
                    changed: Condvar::new(),
                });
                let (mine, order) = (lane.clone(), order.clone());
                scope.spawn(move || mine.serve(Local::new(target, order)));
                lane
            })
            .collect();
        Pool { local: Local::new(target, order), lanes, row_ns: 0.0, gradients: 0, values: 0, non_finite: 0 }
    }

    pub fn dim(&self) -> usize {
        self.local.order.len()
    }

    /// Log joint and gradient of every row of `thetas`.
    pub fn value_grad(&mut self, thetas: &[f64], values: &mut [f64], gradients: &mut [f64]) {
        self.gradients += values.len();
        self.run(thetas, values, Some(gradients));
    }

    /// Log joint of every row.
    pub fn value(&mut self, thetas: &[f64], values: &mut [f64]) {
        self.values += values.len();
        self.run(thetas, values, None);
    }

    /// The model's latents at one row.
    pub fn latents(&mut self, theta: &[f64]) -> Vec<f64> {
        let Local { evaluator, order, theta: own, .. } = &mut self.local;
        order.iter().zip(theta).for_each(|(&i, t)| own[i] = *t);
        evaluator.latents(own)
    }

    fn run(&mut self, thetas: &[f64], values: &mut [f64], gradients: Option<&mut [f64]>) {
        let (dim, rows) = (self.dim(), values.len());
        // The choice only moves rows between threads; it cannot change a bit of the result.
        if self.lanes.is_empty() || rows < 2 || self.row_ns * (rows as f64) < WORTH_SPLITTING_NS {
            let start = Instant::now();
            self.local.rows(thetas, values, gradients);
            if rows > 0 {
                let ns = start.elapsed().as_nanos() as f64 / rows as f64;
                self.row_ns = if self.row_ns == 0.0 { ns } else { 0.9 * self.row_ns + 0.1 * ns };
            }
        } else {
            let per = rows.div_ceil(self.lanes.len() + 1);
            let own = per.min(rows);
            for (lane, start) in self.lanes.iter().zip((own..rows).step_by(per)) {
                let end = (start + per).min(rows);
                let mut work = lane.lock();
                work.thetas.clear();
                work.thetas.extend_from_slice(&thetas[start * dim..end * dim]);
                work.values.resize(end - start, 0.0);
                work.with_gradient = gradients.is_some();
                let len = if work.with_gradient { (end - start) * dim } else { 0 };
                work.gradients.resize(len, 0.0);
                work.phase = Phase::Ready;
                drop(work);
                lane.changed.notify_all();
            }
            let mut gradients = gradients;
            let head = gradients.as_deref_mut().map(|g| &mut g[..own * dim]);
            self.local.rows(&thetas[..own * dim], &mut values[..own], head);
            for (lane, start) in self.lanes.iter().zip((own..rows).step_by(per)) {
                let mut work = lane.lock();
                while work.phase == Phase::Ready {
                    work = lane.changed.wait(work).expect("an evaluator does not panic");
                }
                work.phase = Phase::Idle;
                values[start..start + work.values.len()].copy_from_slice(&work.values);
                if let Some(g) = gradients.as_deref_mut() {
                    g[start * dim..start * dim + work.gradients.len()].copy_from_slice(&work.gradients);
                }
            }
        }
        self.non_finite += values.iter().filter(|v| !v.is_finite()).count();
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
                    let Work { thetas, values, gradients, with_gradient, .. } = &mut *work;
                    local.rows(thetas, values, with_gradient.then_some(gradients.as_mut_slice()));
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
        Local { evaluator: target.evaluator(), order, theta: vec![0.0; dim], gradient: vec![0.0; dim] }
    }

    fn rows(&mut self, thetas: &[f64], values: &mut [f64], mut gradients: Option<&mut [f64]>) {
        let dim = self.order.len();
        for (k, value) in values.iter_mut().enumerate() {
            for (t, &i) in thetas[k * dim..(k + 1) * dim].iter().zip(self.order.iter()) {
                self.theta[i] = *t;
            }
            match gradients.as_deref_mut() {
                None => *value = self.evaluator.value(&self.theta),
                Some(all) => {
                    *value = self.evaluator.value_grad(&self.theta, &mut self.gradient);
                    let row = &mut all[k * dim..(k + 1) * dim];
                    for (g, &i) in row.iter_mut().zip(self.order.iter()) {
                        *g = self.gradient[i];
                    }
                    // A finite value with a gradient that is not would lead the search astray.
                    if row.iter().any(|g| !g.is_finite()) {
                        *value = f64::NAN;
                    }
                }
            }
        }
    }
}
