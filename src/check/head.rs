//! The left side of a declaration: its name, its plates, and the names of its indices.

use super::*;
use crate::diag::Code;
use crate::syntax::ast::{ExprKind as A, Head};

/// The plates that a left side fixes.
#[derive(Clone)]
pub(super) struct Left<'a> {
    pub axes: Vec<AxisId>,
    pub over: Vec<AxisId>,
    /// Levels left out of an axis.
    pub without: Vec<(AxisId, &'a ast::Text)>,
    pub env: Env,
}

impl<'a> Checker<'a, '_> {
    /// The plates of a head, with its index names in scope.
    pub(super) fn left(&mut self, head: &'a Head) -> Option<Left<'a>> {
        let mut env = Env::default();
        let mut lists = [vec![], vec![]];
        let mut without = vec![];
        for (list, written) in lists.iter_mut().zip([&head.axes, &head.over]) {
            for a in written {
                if let Some(f) = &a.filter {
                    self.diags.push(
                        Code::WALK_MISPLACED
                            .at(f.span, "every cell of the plate needs a value: `where` leaves out observations and parts of sums")
                            .here("a filter on a declaration")
                            .help(format!("give the other cells a value: `if … then … else 0`, with `{}` on the left side", head.name.name)),
                    );
                    return None;
                }
                let axis = self.axis_named(&a.plate, &env)?;
                // In `theta[i in state] over state` the bare plate keeps its own axis.
                let bare = |o: &ast::Axis| o.index.is_none() && o.plate.name == a.plate.name;
                let second = a.index.is_some() && head.axes.iter().chain(&head.over).any(bare);
                let taken = match &a.index {
                    Some(_) => second || env.context.iter().any(|c| self.plate_of(*c) == self.plate_of(axis)),
                    None => env.context.contains(&axis),
                };
                let axis = match &a.index {
                    Some(index) if taken => {
                        let plate = self.plate_of(axis);
                        self.add_axis(plate, &index.name)
                    }
                    None if taken => {
                        self.diags.push(
                            Code::SAME_PLATE_TWICE
                                .at(a.span, format!("`{}` stands twice on the left side", a.plate.name))
                                .here("the second time")
                                .help(format!("name the two indices: `[i in {0}, j in {0}]`", a.plate.name)),
                        );
                        return None;
                    }
                    _ => axis,
                };
                if let Some(index) = &a.index {
                    self.check_binder(index, &env)?;
                    env.binders.push((index.name.clone(), axis));
                }
                self.walk_given(a, axis, &mut env)?;
                without.extend(a.without.as_ref().map(|level| (axis, level)));
                env.context = union(&env.context, &[axis]);
                list.push(axis);
            }
        }
        let [axes, over] = lists;
        if let [one] = env.context.as_slice() {
            env.list_axis = Some(*one);
        }
        Some(Left { axes, over, without, env })
    }

    /// Refuse levels that are left out of anything but an effect: `what` has a value at each.
    pub(super) fn keeps_levels(&mut self, without: Option<&ast::Text>, what: &str) -> bool {
        let Some(level) = without else { return true };
        let d = Code::REFERENCE_LEVEL
            .at(level.span, format!("{what} has a value at every level: only a `latent` leaves one out"))
            .here("left out")
            .help("remove `without`, or write `if … then … else …` with an index");
        self.diags.push(d);
        false
    }

    /// Give a latent its reference levels, at which it is 0.
    pub(super) fn references(&mut self, var: VarId, left: &Left<'a>, chain: bool) {
        let v = self.hir.var(var).clone();
        let said = |level: &ast::Text, why: &str| {
            Code::REFERENCE_LEVEL.at(level.span, format!("`{}` has no reference level: {why}", v.name)).here("left out")
        };
        for (axis, level) in &left.without {
            let plate = self.plate_of(*axis);
            let d = if left.over.contains(axis) {
                let d = said(level, "its cells are one joint draw");
                d.help(format!("write `[{}]` instead of `over`, with a prior per cell", self.plate_name(*axis)))
            } else if v.ty != Ty::Real {
                said(level, "it is discrete").help("remove `without`")
            } else if chain {
                said(level, "it reads its own earlier rows").help("remove `without`; `if first(…)` starts a chain")
            } else if self.known_labels(plate).is_some_and(|l| !l.contains(&level.value)) {
                self.no_such_label(&level.value, level.span, plate)
            } else {
                let name = self.hir.plate(plate).name.clone();
                let (of, label, span) = (plate, level.value.clone(), level.span);
                let rest = self.add_plate(&name, span, PlateKind::Without { of, label: label.clone(), span });
                self.hir.references.push(Reference { var, axis: *axis, label, span, rest });
                continue;
            };
            self.diags.push(d);
        }
    }

    /// `let X[term] = [log_d1: log(d1), group: group]` declares the plate `term`.
    pub(super) fn labelled_plate(&mut self, head: &'a Head, value: &'a ast::Expr) {
        let A::List(items) = &value.kind else { return };
        let mut labels: Vec<String> = vec![];
        for l in items.iter().filter_map(|i| i.label.as_ref()) {
            if !labels.contains(&l.name) {
                labels.push(l.name.clone());
            }
        }
        let Some(last) = head.axes.last() else { return };
        if labels.is_empty() || self.names.get(&last.plate.name).is_some() {
            return;
        }
        let plate = self.add_plate(&last.plate.name, last.plate.span, PlateKind::Labels(labels));
        self.names.declare(&last.plate, "plate", |e| e.plate = Some(plate), self.diags);
    }
}

pub(super) fn same_plates(a: &Head, b: &Head) -> bool {
    let names = |h: &Head| {
        let n = |v: &[ast::Axis]| v.iter().map(|x| x.plate.name.clone()).collect::<Vec<_>>();
        (n(&h.axes), n(&h.over))
    };
    names(a) == names(b)
}
