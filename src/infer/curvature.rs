//! Hessians of the log joint, entry by entry, from as few products as their pattern allows.

use super::pattern::Pattern;
use super::pool::Pool;

/// Calls `each` with a row's number and the entries of its Hessian (those of `pattern`, in its order) for every row of
/// `thetas`. `units` are lengths over which the coordinates matter. `false`, at the first row where the Hessian is not
/// finite.
pub fn hessians(
    pool: &mut Pool,
    pattern: &Pattern,
    thetas: &[f64],
    units: &[f64],
    mut each: impl FnMut(usize, &[f64]),
) -> bool {
    let (dim, products) = (pattern.dim(), pattern.products());
    if dim == 0 {
        return true;
    }
    let mut directions = vec![0.0; products * dim];
    for (c, direction) in directions.chunks_mut(dim).enumerate() {
        pattern.direction(c, units, direction);
    }
    let mut out = vec![0.0; products * dim];
    let mut entries = vec![0.0; pattern.entries().len()];
    for (k, theta) in thetas.chunks(dim).enumerate() {
        if !pool.products(&theta.repeat(products), &directions, &mut out) {
            return false;
        }
        for (value, e) in entries.iter_mut().zip(pattern.entries()) {
            let of = e.row + e.column - e.at;
            *value = out[e.product as usize * dim + e.at as usize] / units[of as usize];
        }
        each(k, &entries);
    }
    true
}
