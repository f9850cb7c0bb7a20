//! Nothing is allocated for an evaluation after the first. The allocator of the test binary counts, by thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vic::driver::{self, FitRequest, Session};
use vic::infer::Target;

use crate::support;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// Bytes held, and the most that were.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count() {
    // A thread that is ending has no counter any more.
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

fn hold(bytes: isize) {
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + bytes, most.max(now + bytes)));
    });
}

/// The most bytes that this thread held at once while `f` ran, beyond what it held before.
pub fn most_held<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get().0;
    HELD.set((before, before));
    let out = f();
    (out, (HELD.get().1 - before) as usize)
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        hold(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        hold(-(layout.size() as isize));
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        hold(size as isize - layout.size() as isize);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread while `f` runs.
pub fn allocations(f: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    f();
    ALLOCATIONS.get() - before
}

/// Nor for a step of a fit in batches, with products of matrices, in double precision and in single.
#[test]
fn steps_allocate_nothing() {
    let header = (0..64).map(|i| format!("x{i}")).collect::<Vec<_>>().join(",");
    let row = |i: usize| (0..64).map(|j| ((i * 7 + j * 3) % 5).to_string()).collect::<Vec<_>>().join(",");
    let data = support::csv(&format!("{header}\n{}\n", (0..300).map(row).collect::<Vec<_>>().join("\n")));
    for precision in ["f64", "f32, holdout: 0.2, clip: 1"] {
        let model = format!(
            "data rows {{ x: real[feature] from \"x*\" }}
plate code = 64
net decode(z: real[code]) -> real[feature] = dense(128, tanh) |> head
net encode(x: real[feature]) -> real[code] = dense(128, tanh) |> head
latent z[rows, code] ~ Normal(0, 1)
observe x ~ Normal(decode(z), 1)
guide {{
  param s[code]: real > 0 = 1
  z ~ Normal(encode(x), s)
}}
fit {{ batch: rows(128), epochs: 6, precision: {precision} }}"
        );
        let compiled = support::compile(&model, &data);
        let cancel = Arc::new(AtomicBool::new(false));
        let request = FitRequest { threads: Some(2), cancel: Some(cancel.clone()), ..FitRequest::default() };
        let options = driver::options(&compiled, &request);
        let mut after = Vec::with_capacity(100);
        driver::fit(&mut Session::default(), &compiled, &options, &mut |_| {
            after.push(ALLOCATIONS.get());
            // Neither the bound nor draws are wanted.
            cancel.store(after.len() == 12, Ordering::Relaxed);
        });
        // The first epochs make room: for products, and for the best params.
        let steady: Vec<usize> = after[6..].windows(2).map(|w| w[1] - w[0]).collect();
        assert!(steady.len() >= 5 && steady.iter().all(|n| *n == 0), "{precision}: {steady:?}");
    }
}

#[test]
fn evaluations_allocate_nothing() {
    assert!(allocations(|| drop(std::hint::black_box(vec![1u8; 100]))) > 0, "the allocator counts");
    for name in ["eight_schools", "radon", "wells", "blr"] {
        let (text, inputs) = support::example(name);
        let model = support::compile(&text, &inputs).model;
        assert!(model.kernels().is_ok(), "{name} has kernels");
        let (mut evaluator, mut reporter) = (model.evaluator(), model.reporter());
        let (mut theta, mut grad) = (vec![0.1; model.dim()], vec![0.0; model.dim()]);
        let mut once = || {
            evaluator.value(&theta);
            evaluator.value_grad(&theta, &mut grad);
            reporter.run(&theta);
            theta[0] += 0.01;
        };
        once();
        let n = allocations(|| (0..100).for_each(|_| once()));
        assert_eq!(n, 0, "{name} allocates while it is evaluated");
    }
}
