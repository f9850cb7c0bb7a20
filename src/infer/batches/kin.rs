//! Rows of other plates that come with those of a batch: all that belongs to its members.

use std::fmt;

/// A row that only fills a batch up belongs to nobody.
const NOBODY: usize = usize::MAX;

/// Per further plate, its rows by the member that they belong to.
#[derive(Clone, Default)]
pub struct Kin {
    plates: Vec<Owned>,
}

#[derive(Clone)]
struct Owned {
    /// The rows of member m stand from `starts[m]` on, up to `starts[m + 1]`, in `rows`.
    starts: Vec<usize>,
    rows: Vec<usize>,
    /// As many as any batch can have.
    most: usize,
}

/// What a plan is told from others by, without the data.
impl fmt::Debug for Kin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.plates.iter().map(|p| (p.rows.len(), p.most))).finish()
    }
}

/// Rows of a further plate in a batch, always as many.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Along {
    pub rows: Vec<usize>,
    /// Which member of the batch each belongs to.
    of: Vec<usize>,
}

impl Along {
    /// The member that a row belongs to, by its place in the batch; `None` for a row that fills it up.
    pub fn owner(&self, row: usize) -> Option<usize> {
        Some(self.of[row]).filter(|of| *of != NOBODY)
    }
}

impl Kin {
    /// `owners`: per further plate the member that each row belongs to. `members`: how many there are, and how many in a batch.
    pub fn new(owners: &[Vec<usize>], (members, batch): (usize, usize)) -> Kin {
        let of = |owners: &Vec<usize>| {
            let mut starts = vec![0; members + 1];
            owners.iter().for_each(|m| starts[m + 1] += 1);
            let mut counts = starts[1..].to_vec();
            counts.sort_unstable_by(|a, b| b.cmp(a));
            (0..members).for_each(|m| starts[m + 1] += starts[m]);
            let (mut next, mut rows) = (starts.clone(), vec![0; owners.len()]);
            for (row, m) in owners.iter().enumerate() {
                rows[next[*m]] = row;
                next[*m] += 1;
            }
            Owned { starts, rows, most: counts.iter().take(batch).sum() }
        };
        Kin { plates: owners.iter().map(of).collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.plates.is_empty()
    }

    /// Rows of each further plate in a batch.
    pub fn sizes(&self) -> impl Iterator<Item = usize> {
        self.plates.iter().map(|p| p.most)
    }

    /// The rows that come with these members.
    pub(super) fn gather(&self, members: &[usize], out: &mut Vec<Along>) {
        out.resize_with(self.plates.len(), Along::default);
        for (plate, out) in self.plates.iter().zip(out) {
            out.rows.clear();
            out.of.clear();
            // What grows while a fit goes on would be allocated then.
            out.rows.reserve(plate.most);
            out.of.reserve(plate.most);
            for (at, m) in members.iter().enumerate() {
                let own = &plate.rows[plate.starts[*m]..plate.starts[m + 1]];
                out.rows.extend_from_slice(own);
                out.of.resize(out.rows.len(), at);
            }
            let n = out.rows.len();
            for i in n..plate.most {
                // A row without an owner is any: the first of all, where the members have none.
                out.rows.push(if n > 0 { out.rows[i % n] } else { plate.rows[0] });
            }
            out.of.resize(plate.most, NOBODY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups of 3, 0, 1 and 2 rows, two at a time: at most 5 rows.
    #[test]
    fn rows_come_with_their_members() {
        let kin = Kin::new(&[vec![3, 0, 0, 2, 3, 0]], (4, 2));
        assert_eq!(kin.sizes().collect::<Vec<_>>(), [5]);
        let mut out = vec![];
        kin.gather(&[3, 2], &mut out);
        assert_eq!(out[0].rows, [0, 4, 3, 0, 4]);
        let owners = |along: &Along| (0..5).map(|i| along.owner(i)).collect::<Vec<_>>();
        assert_eq!(owners(&out[0]), [Some(0), Some(0), Some(1), None, None]);
        kin.gather(&[1], &mut out);
        assert_eq!((out[0].rows.len(), owners(&out[0])), (5, vec![None; 5]));
    }
}
