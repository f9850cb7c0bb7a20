//! Nothing is allocated for an evaluation after the first. The allocator of the test binary counts, by thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

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
