//! Lines of single precision as tiles of their parts.

use std::arch::x86_64::*;
use std::ops::Range;

use super::{CHUNK, PANEL, SIDE, TILES, Tile};

/// Lines of a factor in memory: where the first begins, and the steps from line to line and from number to number.
#[derive(Clone, Copy)]
pub struct Lines {
    pub at: *const f32,
    pub lines: usize,
    pub length: usize,
    pub steps: [usize; 2],
}

// Who uses them from several threads reads.
unsafe impl Sync for Lines {}

/// What packing has seen of the numbers.
#[derive(Clone, Copy, Default)]
pub struct Seen {
    /// Whether each is its own first part.
    pub whole: bool,
    /// Whether one is not finite, or so large that its first part is not.
    pub beyond: bool,
}

/// Pack chunks of a panel. A row of a tile has the numbers of a line if `by_lines`, as a first factor has; else one number of each
/// line. With each number, in the upper half of its four bytes, is the one half a chunk further on.
///
/// # Safety
/// The tiles [are there](super::multiply::tiles_are_there), with room for the chunks, and so are the lines.
pub unsafe fn pack(from: &Lines, by_lines: bool, panel: usize, chunks: Range<usize>, to: *mut Tile) -> Seen {
    // Processors with tiles have these.
    unsafe { pack_wide(from, by_lines, panel, chunks, to) }
}

#[target_feature(enable = "avx512f")]
unsafe fn pack_wide(from: &Lines, by_lines: bool, panel: usize, chunks: Range<usize>, to: *mut Tile) -> Seen {
    let (mut rests, mut lost) = (_mm512_setzero_si512(), _mm512_setzero_ps());
    for (c, chunk) in chunks.enumerate() {
        for half in 0..2 {
            let first = [panel * PANEL + half * SIDE, chunk * CHUNK];
            let mut squares = [[_mm512_setzero_ps(); SIDE]; 2];
            for (square, number) in squares.iter_mut().zip([first[1], first[1] + SIDE]) {
                unsafe { load_square(from, by_lines, [first[0], number], square) };
            }
            let tile = to.wrapping_add(c * TILES + half);
            for (row, (low, high)) in squares[0].iter().zip(&squares[1]).enumerate() {
                let mut numbers = [*low, *high];
                for part in 0..3 {
                    // What two parts leave is a part, unless it is so small that it has no exponent of its own.
                    let parts = if part < 2 { rounded(numbers) } else { bits(numbers) };
                    let (low, high) = (_mm512_srli_epi32::<16>(parts[0]), parts[1]);
                    // low | (high & !0xffff)
                    let pairs = _mm512_ternarylogic_epi32::<0xf2>(low, _mm512_set1_epi32(0xffff), high);
                    // Within the room, by the caller's promise.
                    unsafe { _mm512_store_si512(tile.add(2 * part).cast::<__m512i>().add(row), pairs) };
                    match part {
                        1 => rests = _mm512_or_si512(rests, pairs),
                        // Of what is not finite or nearly so, no number is left.
                        2 => {
                            for x in numbers {
                                lost = _mm512_fmadd_ps(x, _mm512_setzero_ps(), lost);
                            }
                        }
                        _ => {}
                    }
                    for (x, part) in numbers.iter_mut().zip(parts) {
                        *x = _mm512_sub_ps(*x, _mm512_castsi512_ps(part));
                    }
                }
            }
        }
    }
    Seen {
        whole: _mm512_test_epi32_mask(rests, rests) == 0,
        beyond: _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(lost, lost) != 0,
    }
}

/// The nearest numbers of 8 significant bits, halves away from 0. Of what is not a number it may make one, and none of what is left.
#[inline]
#[target_feature(enable = "avx512f")]
fn rounded(numbers: [__m512; 2]) -> [__m512i; 2] {
    let [mut low, mut high] = bits(numbers);
    for x in [&mut low, &mut high] {
        *x = _mm512_and_si512(_mm512_add_epi32(*x, _mm512_set1_epi32(0x8000)), _mm512_set1_epi32(!0xffff));
    }
    [low, high]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn bits([low, high]: [__m512; 2]) -> [__m512i; 2] {
    [_mm512_castps_si512(low), _mm512_castps_si512(high)]
}

/// Sixteen numbers of sixteen lines from there on, as rows of lines or of numbers; `to` stays as it is past the end.
///
/// # Safety
/// The lines are there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_square(from: &Lines, by_lines: bool, [line, number]: [usize; 2], to: &mut [__m512; SIDE]) {
    let left = |all: usize, first: usize| all.saturating_sub(first).min(SIDE);
    let (mut sizes, mut steps) = ([left(from.lines, line), left(from.length, number)], from.steps);
    let at = from.at.wrapping_add(line * steps[0] + number * steps[1]);
    if !by_lines {
        sizes.reverse();
        steps.reverse();
    }
    let ([rows, columns], [to_row, to_column]) = (sizes, steps);
    if to_column == 1 {
        unsafe { load(at, to_row, [rows, columns], to) };
    } else if to_row == 1 {
        unsafe { load(at, to_column, [columns, rows], to) };
        transpose(to);
    } else {
        let mut numbers = [[0.0f32; SIDE]; SIDE];
        for (i, row) in numbers.iter_mut().enumerate().take(rows) {
            for (j, x) in row.iter_mut().enumerate().take(columns) {
                *x = unsafe { *at.add(i * to_row + j * to_column) };
            }
        }
        unsafe { load(numbers.as_ptr().cast(), SIDE, [SIDE; 2], to) };
    }
}

/// # Safety
/// The numbers are there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(at: *const f32, to_row: usize, [rows, columns]: [usize; 2], to: &mut [__m512; SIDE]) {
    let mask = ((1u32 << columns) - 1) as __mmask16;
    if rows == SIDE {
        // Apart, for a loop whose length is known.
        for (i, row) in to.iter_mut().enumerate() {
            *row = unsafe { _mm512_maskz_loadu_ps(mask, at.wrapping_add(i * to_row)) };
        }
    } else {
        for (i, row) in to.iter_mut().enumerate().take(rows) {
            *row = unsafe { _mm512_maskz_loadu_ps(mask, at.wrapping_add(i * to_row)) };
        }
    }
}

/// Columns for rows: pairs of numbers change places, then fours, then halves of registers, then quarters.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(x: &mut [__m512; SIDE]) {
    let mut y = *x;
    for (i, to) in y.iter_mut().enumerate() {
        let (a, b) = (x[i & !1], x[i | 1]);
        *to = if i & 1 == 0 { _mm512_unpacklo_ps(a, b) } else { _mm512_unpackhi_ps(a, b) };
    }
    for (i, to) in x.iter_mut().enumerate() {
        let [a, b] = [0, 2].map(|pair| (i & !3) + pair + (i >> 1 & 1));
        let (a, b) = (_mm512_castps_pd(y[a]), _mm512_castps_pd(y[b]));
        *to = _mm512_castpd_ps(if i & 1 == 0 { _mm512_unpacklo_pd(a, b) } else { _mm512_unpackhi_pd(a, b) });
    }
    // Even and odd quarters.
    for (i, to) in y.iter_mut().enumerate() {
        let (a, b) = (x[(i & 3) + (i & 8)], x[(i & 3) + (i & 8) + 4]);
        *to = if i & 4 == 0 { _mm512_shuffle_f32x4::<0x88>(a, b) } else { _mm512_shuffle_f32x4::<0xdd>(a, b) };
    }
    for (i, to) in x.iter_mut().enumerate() {
        let (a, b) = (y[i & 7], y[(i & 7) + 8]);
        *to = if i < 8 { _mm512_shuffle_f32x4::<0x88>(a, b) } else { _mm512_shuffle_f32x4::<0xdd>(a, b) };
    }
}
