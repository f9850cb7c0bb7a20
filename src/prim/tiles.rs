//! Products of matrices in single precision by the tile registers of processors that have them (Intel's AMX).
//!
//! Tiles multiply numbers of 8 significant bits (bfloat16) and sum in single precision. A number of single precision is the sum of
//! three such parts; one below 1e-33 of fewer, since what is left of it is too small for a part. Of the nine products of the
//! parts of two numbers the six largest are taken; what the others would add is less than the rounding of the sum. After Henry,
//! Tang and Heinecke (2019), "Leveraging the bfloat16 artificial intelligence datatype for higher-precision computations",
//! section 2. Where all numbers of a panel have one part, as 0 and 1 have, three products are enough, or one. A sum that is too
//! large for single precision is infinite or no number.
//!
//! The *lines* of a factor are what is multiplied with each other: rows of the first, columns of the second. The factor of
//! fewer lines is packed as tiles for all threads, as much of the lines as stays in a near cache; then each thread takes panels
//! of the other, packs them for itself, and multiplies them with all that is packed.

mod multiply;
mod pack;
#[cfg(test)]
mod tests;

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use self::multiply::{InUse, multiply};
use self::pack::{Lines, Seen, pack};
use super::crew::Crew;
use super::product::Matrix;

/// Rows of a tile, and numbers of four bytes in a row.
const SIDE: usize = 16;
/// Lines of a panel: two tiles.
const PANEL: usize = 2 * SIDE;
/// Numbers of a line that go into one row of a tile.
const CHUNK: usize = 2 * SIDE;
/// Tiles of a chunk of a panel: two for each of three parts, the largest first.
const TILES: usize = 6;
/// Chunks that are summed in registers at most: a panel of them stays in the second-level cache.
const CHUNKS: usize = 32;
/// Fewest chunks that are summed before the result is read again, if there are more.
const FEW: usize = 8;
/// Chunks of panels that are packed for all threads at a time: 1.5 MiB, or more where there are very many panels.
const PACKED: usize = 256;

/// Most numbers of a line, for each of the lines that are multiplied with it: of long sums with few results, fetching the numbers
/// takes the time, and faer does that better.
const LONGEST: usize = 64;

/// What a tile register holds: pairs of parts.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Tile([u32; SIDE * SIDE]);

/// The room that products in tiles take, for one product at a time.
pub struct Tiles(UnsafeCell<Packed>);

/// Panels of the factor of fewer lines.
#[derive(Default)]
struct Packed {
    /// By panel, then by chunk.
    tiles: Vec<Tile>,
    /// By panel, then by stretch of chunks that are summed in registers.
    seen: Vec<Seen>,
}

/// Part of a packed factor.
#[derive(Clone, Copy)]
struct Place {
    tiles: *mut Tile,
    seen: *mut Seen,
}

// Threads write different parts, and read when all are written.
unsafe impl Sync for Place {}

impl Place {
    fn further(self, chunks: usize, stretches: usize) -> Place {
        Place { tiles: self.tiles.wrapping_add(chunks * TILES), seen: self.seen.wrapping_add(stretches) }
    }
}

/// A product to make, with rows of the result that lie together.
#[derive(Clone, Copy)]
struct Job {
    /// The factor of more lines, which is packed panel by panel, and the other.
    own: Lines,
    shared: Lines,
    /// Whether `own` has the rows of the result, and not its columns.
    own_rows: bool,
    result: Matrix<f32>,
}

impl Tiles {
    /// Nothing where the processor has no tiles, or the system does not let this process use them.
    pub fn there() -> Option<Tiles> {
        multiply::tiles_are_there().then(|| Tiles(UnsafeCell::default()))
    }

    /// c = a · b, unless the sizes are not worth it or a number is not finite or nearly so: false then, and c may hold
    /// anything. The same bits on any number of threads.
    ///
    /// # Safety
    /// The matrices have these sizes, and c overlaps no other. One product at a time.
    pub unsafe fn product(&self, crew: &Crew, [m, k, n]: [usize; 3], [a, b, c]: [Matrix<f32>; 3]) -> bool {
        if [m, k, n].iter().any(|size| *size < PANEL) || k > LONGEST * m.min(n) {
            return false;
        }
        let [ai, ak] = a.steps;
        let [bk, bj] = b.steps;
        let a = Lines { at: a.at, lines: m, length: k, steps: [ai, ak] };
        let b = Lines { at: b.at, lines: n, length: k, steps: [bj, bk] };
        let turned = Matrix { steps: [c.steps[1], c.steps[0]], ..c };
        let (rows, columns, result) = match c.steps {
            [_, 1] => (a, b, c),
            [1, _] => (b, a, turned),
            _ => return false,
        };
        let own_rows = rows.lines >= columns.lines;
        let (own, shared) = if own_rows { (rows, columns) } else { (columns, rows) };
        // The caller runs one product at a time.
        unsafe { Job { own, shared, own_rows, result }.run(crew, &mut *self.0.get()) }
    }
}

impl Job {
    /// # Safety
    /// As for [`Tiles::product`].
    unsafe fn run(&self, crew: &Crew, packed: &mut Packed) -> bool {
        let (chunks, panels) = (self.own.length.div_ceil(CHUNK), self.shared.lines.div_ceil(PANEL));
        let each = even(chunks, (PACKED / panels).max(FEW));
        let stretch = even(each, CHUNKS);
        packed.tiles.resize(packed.tiles.len().max(panels * each * TILES), Tile([0; SIDE * SIDE]));
        packed.seen.resize(packed.seen.len().max(panels * each.div_ceil(stretch)), Seen::default());
        let beyond = AtomicBool::new(false);
        for begin in (0..chunks).step_by(each) {
            let range = begin..chunks.min(begin + each);
            let stretches = range.len().div_ceil(stretch);
            let stretch_of = |s: usize| begin + s * stretch..range.end.min(begin + (s + 1) * stretch);
            let all = Place { tiles: packed.tiles.as_mut_ptr(), seen: packed.seen.as_mut_ptr() };
            let of = |panel, s| all.further(panel * each + s * stretch, panel * stretches + s);
            crew.each(panels * stretches, &|i| {
                let (panel, s) = (i / stretches, i % stretches);
                let place = of(panel, s);
                // There is room for all, and each has its own.
                let seen = unsafe { pack(&self.shared, !self.own_rows, panel, stretch_of(s), place.tiles) };
                unsafe { *place.seen = seen };
                beyond.fetch_or(seen.beyond, Ordering::Relaxed);
            });
            if beyond.load(Ordering::Relaxed) {
                return false;
            }
            crew.each(self.own.lines.div_ceil(PANEL), &|panel| {
                let mut room = MaybeUninit::<[Tile; CHUNKS * TILES]>::uninit();
                let own = room.as_mut_ptr().cast::<Tile>();
                // There is a `Tiles` only where there are tiles.
                let tiles = unsafe { InUse::begin() };
                for s in 0..stretches {
                    // A stretch has at most as many chunks as there is room for.
                    let seen = unsafe { pack(&self.own, self.own_rows, panel, stretch_of(s), own) };
                    beyond.fetch_or(seen.beyond, Ordering::Relaxed);
                    for other in 0..panels {
                        unsafe { self.block(&tiles, [panel, other], own, seen, of(other, s), stretch_of(s)) };
                    }
                }
            });
        }
        !beyond.load(Ordering::Relaxed)
    }

    /// Add what a stretch of chunks of two panels gives to the result; the first stretch is stored.
    ///
    /// # Safety
    /// The panels are packed, and the lines are of a product whose result is that.
    unsafe fn block(
        &self,
        tiles: &InUse,
        [own, shared]: [usize; 2],
        panel: *const Tile,
        seen: Seen,
        other: Place,
        chunks: Range<usize>,
    ) {
        let whole = [seen.whole, unsafe { (*other.seen).whole }];
        let mut factors = [(own, self.own.lines, panel, whole[0]), (shared, self.shared.lines, other.tiles, whole[1])];
        if !self.own_rows {
            factors.swap(0, 1);
        }
        let [(i, rows, a, a_whole), (j, columns, b, b_whole)] = factors;
        let [rows, columns] = [rows - i * PANEL, columns - j * PANEL].map(|lines| lines.min(PANEL));
        let (to, step) = (self.result.from(i * PANEL, j * PANEL).at, self.result.steps[0]);
        let add = chunks.start > 0;
        let make = |to, step| unsafe { multiply(tiles, [a, b], [a_whole, b_whole], chunks.len(), to, step, add) };
        if [rows, columns] == [PANEL; 2] {
            return make(to, step);
        }
        let mut edge = [0.0f32; PANEL * PANEL];
        let edge = edge.as_mut_ptr();
        for row in 0..if add { rows } else { 0 } {
            unsafe { to.add(row * step).copy_to_nonoverlapping(edge.add(row * PANEL), columns) };
        }
        make(edge, PANEL);
        for row in 0..rows {
            unsafe { edge.add(row * PANEL).copy_to_nonoverlapping(to.add(row * step), columns) };
        }
    }
}

/// The size of the fewest parts of at most so much, as even as can be.
fn even(all: usize, most: usize) -> usize {
    all.div_ceil(all.div_ceil(most))
}
