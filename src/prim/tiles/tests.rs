//! On processors without tiles nothing is there to be tested: products are faer's then.

use super::*;

/// Steps from row to row and from column to column; three are left out between neighbours if `apart`.
fn steps([rows, columns]: [usize; 2], by_rows: bool, apart: bool) -> [usize; 2] {
    let gap = if apart { 4 } else { 1 };
    if by_rows { [columns * gap, gap] } else { [gap, rows * gap] }
}

struct Numbers {
    cells: Vec<f32>,
    steps: [usize; 2],
}

impl Numbers {
    fn of(sizes: [usize; 2], steps: [usize; 2], number: impl Fn(usize) -> f32) -> Numbers {
        let last = (sizes[0] - 1) * steps[0] + (sizes[1] - 1) * steps[1];
        Numbers { cells: (0..=last).map(number).collect(), steps }
    }

    fn at(&self, i: usize, j: usize) -> f64 {
        self.cells[i * self.steps[0] + j * self.steps[1]].into()
    }

    fn matrix(&mut self) -> Matrix<f32> {
        Matrix { at: self.cells.as_mut_ptr(), steps: self.steps }
    }
}

/// Whether it was made, by so many threads.
fn made(tiles: &Tiles, threads: usize, sizes: [usize; 3], all: [&mut Numbers; 3]) -> bool {
    unsafe { tiles.product(&Crew::new(threads), sizes, all.map(Numbers::matrix)) }
}

const SIZES: [[usize; 3]; 5] = [[32, 32, 32], [33, 50, 47], [70, 300, 36], [128, 40, 65], [40, 2100, 530]];

/// Sizes with edges, in every order of memory, on one thread and on three: as near to the sum in double precision as single
/// precision allows. A sum's own rounding, of 2⁻²⁴ at each of its terms, and 2⁻²⁴ for what is left out: the root of the
/// number of terms, times the root of the sum of squares, is what to expect; six of those are not met by chance.
#[test]
fn products_are_as_good_as_single_precision() {
    let Some(tiles) = Tiles::there() else { return };
    for [m, k, n] in SIZES {
        for orders in 0..16 {
            let [of_a, of_b, of_c, apart] = [1, 2, 4, 8].map(|bit| orders & bit != 0);
            let number = |by: f32| move |i: usize| (by * i as f32).sin() * (1.0 + (i % 5) as f32);
            let mut a = Numbers::of([m, k], steps([m, k], of_a, apart), number(0.7));
            let mut b = Numbers::of([k, n], steps([k, n], of_b, apart), number(1.3));
            let mut c = Numbers::of([m, n], steps([m, n], of_c, false), |_| f32::NAN);
            let mut again = Numbers::of([m, n], c.steps, |_| f32::NAN);
            assert!(made(&tiles, 1, [m, k, n], [&mut a, &mut b, &mut c]));
            assert!(made(&tiles, 3, [m, k, n], [&mut a, &mut b, &mut again]));
            assert_eq!(c.cells, again.cells);
            for i in 0..m {
                for j in 0..n {
                    let terms = || (0..k).map(|l| a.at(i, l) * b.at(l, j));
                    let squares: f64 = terms().map(|t| t * t).sum();
                    let error = (c.at(i, j) - terms().sum::<f64>()).abs();
                    let allowed = 6.0 * 2f64.powi(-24) * (k as f64 * squares).sqrt();
                    assert!(error <= allowed, "{m} {k} {n}, order {orders}, at {i} {j}: {error:e} > {allowed:e}");
                }
            }
        }
    }
}

/// Integers of 1, 2 and 3 parts, whose sums single precision holds, so that no sum is rounded: no error at all.
#[test]
fn integers_are_exact() {
    let Some(tiles) = Tiles::there() else { return };
    for [of_a, of_b] in [[1, 1], [1, 4001], [4001, 1], [61, 61], [1, 16_000_001]] {
        let [m, k, n] = [48, if of_b > 5000 { 32 } else { 64 }, 40];
        // One number in each line of a, so that the sums are as small as they.
        let mut a = Numbers::of([m, k], [k, 1], |i| if i % k == i / k % k { of_a as f32 } else { 0.0 });
        let mut b = Numbers::of([k, n], [n, 1], |i| (i * 7919 % (of_b + 1)) as f32);
        let mut c = Numbers::of([m, n], [n, 1], |_| f32::NAN);
        assert!(made(&tiles, 1, [m, k, n], [&mut a, &mut b, &mut c]));
        for i in 0..m {
            for j in 0..n {
                assert_eq!(c.at(i, j), (0..k).map(|l| a.at(i, l) * b.at(l, j)).sum::<f64>(), "{of_a} {of_b}: {i} {j}");
            }
        }
    }
}

/// Numbers so small that the third part, or even the second, has no exponent of its own: they are next to nothing, and change
/// nothing of their neighbours. As near as in [`products_are_as_good_as_single_precision`].
#[test]
fn tiny_numbers_keep_to_themselves() {
    let Some(tiles) = Tiles::there() else { return };
    let [m, k, n] = [32, 64, 32];
    let tiny = [2f32.powi(-112) * (1.0 + f32::EPSILON), (-83f32).exp(), f32::from_bits(0x7f00), f32::from_bits(0x7f80)];
    for tiny in tiny.into_iter().flat_map(|x| [x, -x]) {
        for [of_a, of_b] in [[true, true], [true, false], [false, true]] {
            // In both halves of chunks, every third number of either factor.
            let number = |here: bool| move |i: usize| if here && i % 3 == 1 { tiny } else { (0.7 * i as f32).sin() };
            let mut a = Numbers::of([m, k], [k, 1], number(of_a));
            let mut b = Numbers::of([k, n], [n, 1], number(of_b));
            let mut c = Numbers::of([m, n], [n, 1], |_| f32::NAN);
            assert!(made(&tiles, 1, [m, k, n], [&mut a, &mut b, &mut c]));
            for i in 0..m {
                for j in 0..n {
                    let terms = || (0..k).map(|l| a.at(i, l) * b.at(l, j));
                    let error = (c.at(i, j) - terms().sum::<f64>()).abs();
                    let squares: f64 = terms().map(|t| t * t).sum();
                    assert!(
                        error <= 6.0 * 2f64.powi(-24) * (k as f64 * squares).sqrt(),
                        "{tiny:e} at {i} {j}: {error:e}"
                    );
                }
            }
        }
    }
}

/// What parts cannot give is left to others: numbers that are not finite or nearly so, in either factor, and short lines or few.
#[test]
fn what_tiles_cannot_do_is_said() {
    let Some(tiles) = Tiles::there() else { return };
    let sizes = [64, 40, 33];
    let numbers = |sizes: [usize; 2]| Numbers::of(sizes, [sizes[1], 1], |i| i as f32);
    let (mut a, mut b, mut c) = (numbers([64, 40]), numbers([40, 33]), numbers([64, 33]));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3.4e38, -3.4e38] {
        for at in [0, 700, 1319] {
            for of_a in [true, false] {
                let cell = if of_a { &mut a.cells[at] } else { &mut b.cells[at] };
                let good = std::mem::replace(cell, bad);
                assert!(!made(&tiles, 2, sizes, [&mut a, &mut b, &mut c]), "{bad} at {at}");
                *(if of_a { &mut a.cells[at] } else { &mut b.cells[at] }) = good;
            }
        }
    }
    assert!(made(&tiles, 2, sizes, [&mut a, &mut b, &mut c]));
    assert!(!made(&tiles, 2, [31, 40, 33], [&mut a, &mut b, &mut c]));
}
