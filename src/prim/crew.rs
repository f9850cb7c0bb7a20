//! A few threads that take the pieces of one job at a time. What a piece computes does not depend on who takes it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// How often a thread looks for work before it lies down: about 50 µs, less than waking takes.
const LOOKS: usize = 4096;

/// The calling thread and its helpers.
pub struct Crew {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// Counts jobs; also read without the lock.
    jobs: AtomicU64,
    /// The next piece of this job, and the helpers that are still at it.
    next: AtomicUsize,
    busy: AtomicUsize,
    begin: Condvar,
    end: Condvar,
}

struct State {
    job: Option<Job>,
    quit: bool,
}

/// What to call for each piece: a function of the caller's, which waits until all is done.
#[derive(Clone, Copy)]
struct Job {
    call: unsafe fn(*const (), usize),
    of: *const (),
    pieces: usize,
}

// The pointer is to a closure that is `Sync`, and outlives the job.
unsafe impl Send for Job {}

impl Crew {
    /// So many threads, the calling one among them.
    pub fn new(threads: usize) -> Crew {
        let shared = Arc::new(Shared {
            state: Mutex::new(State { job: None, quit: false }),
            jobs: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            begin: Condvar::new(),
            end: Condvar::new(),
        });
        let helper = |_| {
            let shared = shared.clone();
            std::thread::spawn(move || shared.help())
        };
        let helpers = (1..threads.max(1)).map(helper).collect();
        Crew { shared, helpers }
    }

    /// Call `f` for each of 0, …, pieces - 1, and return when all are done. Pieces must not panic.
    pub fn each<F: Fn(usize) + Sync>(&self, pieces: usize, f: &F) {
        if self.helpers.is_empty() || pieces < 2 {
            (0..pieces).for_each(f);
            return;
        }
        /// # Safety
        /// `of` points to an `F`.
        unsafe fn call<F: Fn(usize)>(of: *const (), piece: usize) {
            unsafe { (*of.cast::<F>())(piece) }
        }
        let job = Job { call: call::<F>, of: std::ptr::from_ref(f).cast(), pieces };
        let shared = &*self.shared;
        shared.next.store(0, Ordering::Relaxed);
        shared.busy.store(self.helpers.len(), Ordering::Relaxed);
        shared.lock().job = Some(job);
        shared.jobs.fetch_add(1, Ordering::Release);
        shared.begin.notify_all();
        shared.take(job);
        for _ in 0..LOOKS {
            if shared.busy.load(Ordering::Acquire) == 0 {
                return;
            }
            std::hint::spin_loop();
        }
        let mut state = shared.lock();
        while shared.busy.load(Ordering::Acquire) > 0 {
            state = shared.end.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.lock().quit = true;
        self.shared.jobs.fetch_add(1, Ordering::Release);
        self.shared.begin.notify_all();
        for helper in self.helpers.drain(..) {
            _ = helper.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn help(&self) {
        let mut seen = 0;
        loop {
            let news = |seen: u64| self.jobs.load(Ordering::Acquire) != seen;
            let mut looks = 0;
            while !news(seen) && looks < LOOKS {
                looks += 1;
                std::hint::spin_loop();
            }
            let mut state = self.lock();
            while !news(seen) {
                state = self.begin.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.quit {
                return;
            }
            // A job is over when all helpers have been at it, so none is missed.
            seen += 1;
            let job = state.job.expect("a job is set before it is counted");
            drop(state);
            self.take(job);
            if self.busy.fetch_sub(1, Ordering::AcqRel) == 1 {
                // Under the lock, so that the caller does not lie down between its look and its sleep.
                drop(self.lock());
                self.end.notify_all();
            }
        }
    }

    fn take(&self, job: Job) {
        loop {
            let piece = self.next.fetch_add(1, Ordering::Relaxed);
            if piece >= job.pieces {
                return;
            }
            // The caller waits until every helper is done: the closure is alive.
            unsafe { (job.call)(job.of, piece) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_done_once() {
        for threads in [1, 2, 4] {
            let crew = Crew::new(threads);
            let counts: Vec<AtomicUsize> = (0..37).map(|_| AtomicUsize::new(0)).collect();
            for round in 1..=200 {
                crew.each(counts.len(), &|i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == round), "{threads} threads, round {round}");
            }
        }
    }
}
