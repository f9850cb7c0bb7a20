//! Definitions that need each other's earlier rows: which walk together, and whether they can.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::head::Left;
use super::support::reads;
use super::walk::Lag;
use super::*;
use crate::diag::Code;

/// One read of a variable in a definition.
#[derive(Clone)]
struct Use {
    of: VarId,
    index: Vec<Index>,
    span: Span,
    /// Axes whose cell is another one there than on the left side: reductions run over them, or an index replaces them.
    moved: Vec<AxisId>,
}

/// The reads in an expression, with those of the values that it names.
#[derive(Default)]
struct Uses {
    out: Vec<Use>,
    moved: Vec<AxisId>,
    locals: HashMap<LocalId, Vec<Use>>,
}

impl Uses {
    fn visit(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Read { var, index } => {
                let (index, moved) = (index.clone(), self.moved.clone());
                index.iter().for_each(|i| self.index(i));
                self.out.push(Use { of: *var, index, span: e.span, moved });
            }
            ExprKind::Local(l) => {
                let uses = self.locals.get(l).cloned().unwrap_or_default();
                let moved = self.moved.clone();
                self.out.extend(uses.into_iter().map(|u| Use { moved: [u.moved, moved.clone()].concat(), ..u }));
            }
            ExprKind::Bind { local, value, body } => {
                let before = std::mem::take(&mut self.out);
                self.visit(value);
                let uses = std::mem::replace(&mut self.out, before);
                self.locals.insert(*local, uses);
                self.visit(body);
            }
            ExprKind::At { body, axis, index } => {
                self.index(index);
                self.within(&[*axis], |u| u.visit(body));
            }
            ExprKind::Reduce { axes, filter, body, .. } => self.within(axes, |u| {
                filter.iter().for_each(|f| u.visit(f));
                u.visit(body);
            }),
            // A whole matrix is read at all its cells, whatever the cell at hand.
            ExprKind::Matrix { matrix, axes, vector, .. } => {
                self.within(axes, |u| u.visit(matrix));
                if let Some((axis, v)) = vector {
                    self.within(&[*axis], |u| u.visit(v));
                }
            }
            ExprKind::Ode(ode) => {
                let axes: Vec<AxisId> = ode.state.into_iter().chain(ode.time).collect();
                self.within(&axes, |u| ode.inputs().for_each(|x| u.visit(x)));
            }
            ExprKind::Unary(_, a) => self.visit(a),
            ExprKind::Binary(_, a, b) => [a, b].into_iter().for_each(|x| self.visit(x)),
            ExprKind::If { condition, then, otherwise } => {
                [condition, then, otherwise].into_iter().for_each(|x| self.visit(x));
            }
            ExprKind::List { items, .. } | ExprKind::Noise(_, items) => items.iter().for_each(|i| self.visit(i)),
            ExprKind::Number(_) | ExprKind::Position(_) | ExprKind::Size(_) => {}
        }
    }

    fn index(&mut self, i: &Index) {
        if let Index::At(e) = i {
            self.visit(e);
        }
    }

    fn within(&mut self, axes: &[AxisId], f: impl FnOnce(&mut Uses)) {
        let before = self.moved.len();
        self.moved.extend_from_slice(axes);
        f(self);
        self.moved.truncate(before);
    }
}

impl<'a> Checker<'a, '_> {
    /// The variable of a declaration that has not been reached, for a read of its earlier rows: `s[t-1]`.
    pub(super) fn ahead(&mut self, name: &str) -> Option<VarId> {
        if let Some(known) = self.ahead.get(name) {
            return known.as_ref().map(|(var, _)| *var);
        }
        let (kind, head, ty) = self.heads.get(name)?.clone();
        // A chain of discrete states indexes by its own earlier ones.
        let ty = match ty.map(|t| (self.names.get(&t.base.name).and_then(|e| e.plate), t.base.name.as_str())) {
            Some((Some(plate), _)) => Ty::Index(plate),
            Some((None, "int")) => Ty::Int,
            Some((None, "bool")) => Ty::Bool,
            Some((None, _)) | None => Ty::Real,
        };
        if head.axes.is_empty() || !self.names.later.contains_key(name) {
            return None;
        }
        let left = self.left(head);
        let entry = left.map(|left| {
            let axes = left.axes.iter().chain(&left.over).copied().collect();
            let var = self.add_var(Var {
                name: head.name.name.clone(),
                span: head.name.span,
                joint: left.over.len(),
                kind: kind.clone(),
                axes,
                ty,
                constraint: Constraint::None,
            });
            if !matches!(kind, VarKind::Latent) && !self.is_current(head.name.span) {
                // What it depends on is not known yet.
                self.random.insert(var);
                self.smooth.insert(var);
            }
            (var, left)
        });
        let var = entry.as_ref().map(|e| e.0);
        self.ahead.insert(name.to_string(), entry);
        var
    }

    pub(super) fn is_current(&self, name: Span) -> bool {
        name.file == self.current.file && name.start >= self.current.start && name.end <= self.current.end
    }

    /// The left side of a declaration, known already if its earlier rows have been read.
    pub(super) fn left_of(&mut self, head: &'a ast::Head) -> Option<Left<'a>> {
        match self.ahead.get(&head.name.name) {
            Some(known) if self.heads.get(head.name.name.as_str()).is_some_and(|h| h.1.span == head.span) => {
                known.as_ref().map(|(_, left)| left.clone())
            }
            _ => self.left(head),
        }
    }

    /// Give a declaration its variable: the one that earlier reads mean, if there are any.
    pub(super) fn settle_var(&mut self, var: Var) -> VarId {
        let known = self.ahead.get(&var.name).and_then(Option::as_ref).map(|k| k.0);
        match known.filter(|v| self.hir.var(*v).span == var.span) {
            Some(id) => {
                self.random.remove(&id);
                self.smooth.remove(&id);
                self.hir.vars[id.0 as usize] = var;
                id
            }
            None => self.add_var(var),
        }
    }

    /// Find the definitions that walk together, and put steps in an order in which each finds what it needs. Expects
    /// all steps; does nothing unless some definition reads earlier rows of one that is not above it.
    pub(super) fn recurrences(&mut self) {
        if self.ahead.is_empty() || self.diags.has_errors() {
            return;
        }
        let steps = std::mem::take(&mut self.hir.steps);
        let defined: HashMap<VarId, usize> =
            steps.iter().enumerate().filter_map(|(i, s)| Some((step_var(s)?, i))).collect();
        let uses: Vec<Vec<Use>> = steps.iter().map(|s| self.needs_of(s)).collect();
        let needs: Vec<Vec<usize>> =
            uses.iter().map(|u| u.iter().filter_map(|u| defined.get(&u.of).copied()).collect()).collect();
        let mut units: Vec<Vec<usize>> = vec![];
        for mut unit in components(&needs) {
            unit.sort_unstable();
            let walks = unit.len() > 1 || needs[unit[0]].contains(&unit[0]);
            // The states of nets are known to be recurrences.
            let known = |i: &usize| self.hir.recurrences.iter().any(|r| step_var(&steps[*i]) == Some(r.vars[0]));
            if walks && !unit.iter().all(known) {
                self.recurrence(&unit, &steps, &uses);
            }
            units.push(unit);
        }
        self.hir.steps = in_order(steps, &units, &needs);
    }

    /// What the value of a step depends on. That of a latent which is not noncentred is its own.
    fn needs_of(&self, step: &Step) -> Vec<Use> {
        let mut found = Uses::default();
        match step {
            Step::Let { value, .. } | Step::Factor { value, .. } => found.visit(value),
            Step::Latent { var, dist, centering, .. } => {
                if *centering == Centering::Noncentered || self.hir.discrete(*var).is_some() {
                    dist.args.iter().for_each(|a| found.visit(&a.2));
                }
                let span = self.hir.var(*var).span;
                reads(&self.hir.var(*var).constraint, &mut |v| {
                    found.out.push(Use { of: v, index: vec![], span, moved: vec![] })
                });
            }
            Step::Observe { dist, .. } => dist.args.iter().for_each(|a| found.visit(&a.2)),
            Step::Param { .. } => {}
        }
        found.out
    }

    /// Definitions that need each other: one plate is walked by all, in one order, and what is read of it lies behind.
    fn recurrence(&mut self, unit: &[usize], steps: &[Step], uses: &[Vec<Use>]) {
        let vars: Vec<VarId> = unit.iter().filter_map(|&i| step_var(&steps[i])).collect();
        // A chain of discrete states is summed out, not computed.
        let discrete = vars.iter().copied().find(|v| self.hir.discrete(*v).is_some());
        let summed = steps.iter().find_map(|s| match s {
            Step::Let { var, value, .. } if vars.contains(var) => self.discrete_in(value),
            _ => None,
        });
        let chains = vars.iter().all(|v| self.hir.discrete(*v).is_some());
        match (discrete, summed) {
            (Some(_), _) if unit.len() == 1 => return,
            // Chains that read each other's earlier rows.
            (Some(_), None) if chains => {}
            (Some(z), None) => return self.by_class(z, self.hir.var(z).span),
            (_, Some((z, span))) => return self.by_class(z, span),
            (None, None) => {}
        }
        let mut order: Option<(PlateId, Option<WalkId>, Span)> = None;
        let mut axes: HashMap<VarId, AxisId> = HashMap::new();
        // Which axis of each is walked, from the reads of earlier rows.
        for (&i, &reader) in unit.iter().zip(&vars) {
            for u in uses[i].iter().filter(|u| vars.contains(&u.of)) {
                let lags = u.index.iter().enumerate().filter_map(|(dim, ix)| match ix {
                    Index::At(e) => Some((dim, self.as_lag(e)?)),
                    Index::Axis(_) | Index::Label(..) => None,
                });
                let own = |l: &Lag| self.hir.var(reader).axes.contains(&l.axis);
                let Some((dim, lag)) = lags.into_iter().find(|(_, l)| own(l)) else { continue };
                let read = self.hir.var(u.of).axes[dim];
                let here = (self.plate_of(lag.axis), lag.walk, u.span);
                let by = bounds::range(&self.hir, lag.by, &|_| bounds::Range::ALL).lower;
                let first = *order.get_or_insert(here);
                let same = first.0 == here.0
                    && first.1 == here.1
                    && *axes.entry(reader).or_insert(lag.axis) == lag.axis
                    && *axes.entry(u.of).or_insert(read) == read;
                if !same {
                    return self.two_walks(first.2, u.span);
                }
                if by < 1.0 {
                    let name = self.hir.var(u.of).name.clone();
                    return self.diags.push(
                        Code::LAG_SIZE
                            .at(u.span, format!("`{name}` is computed from earlier rows of itself, and this may read the current one"))
                            .here("may be the current row")
                            .help("step back by 1 or more"),
                    );
                }
            }
        }
        let Some((_, walk, _)) = order else { return self.not_behind(unit, &vars, uses, &axes) };
        if vars.iter().any(|v| !axes.contains_key(v)) {
            // Read in place only: its axis over the same plate is walked with the others.
            for &v in &vars {
                let var = self.hir.var(v);
                let plate = order.map(|o| o.0);
                let axis = var.axes.iter().copied().find(|&a| Some(self.plate_of(a)) == plate);
                match axis {
                    Some(a) => _ = axes.entry(v).or_insert(a),
                    None => return self.not_behind(unit, &vars, uses, &axes),
                }
            }
        }
        for &v in &vars {
            let var = self.hir.var(v);
            let joint = &var.axes[var.axes.len() - var.joint..];
            if joint.contains(&axes[&v]) || matches!(var.ty, Ty::Index(_)) && !chains {
                return self.not_behind(unit, &vars, uses, &axes);
            }
        }
        if !self.all_behind(unit, &vars, uses, &axes) {
            return self.not_behind(unit, &vars, uses, &axes);
        }
        if chains {
            return;
        }
        let axes = vars.iter().map(|v| axes[v]).collect();
        self.hir.recurrences.push(Recurrence { vars, axes, walk });
    }

    /// Whether every read within the group is of an earlier row, or in place of what is computed before.
    fn all_behind(&self, unit: &[usize], vars: &[VarId], uses: &[Vec<Use>], axes: &HashMap<VarId, AxisId>) -> bool {
        unit.iter().zip(vars).enumerate().all(|(n, (&i, reader))| {
            uses[i].iter().all(|u| match vars.iter().position(|v| *v == u.of) {
                None => true,
                Some(m) => self.is_behind(u, axes[reader], axes[&u.of], m < n),
            })
        })
    }

    fn is_behind(&self, u: &Use, walked: AxisId, read: AxisId, before: bool) -> bool {
        let dim = self.hir.var(u.of).axes.iter().position(|a| *a == read);
        match dim.and_then(|d| u.index.get(d)) {
            Some(_) if u.moved.contains(&walked) => false,
            Some(Index::At(e)) => self.as_lag(e).is_some_and(|l| l.axis == walked),
            Some(Index::Axis(a)) => *a == walked && before,
            Some(Index::Label(..)) | None => false,
        }
    }

    fn by_class(&mut self, z: VarId, span: Span) {
        let z = self.hir.var(z);
        let d = Code::CANNOT_SUM_OUT
            .at(
                span,
                format!("a recurrence depends on the discrete `{}`: it would have a value per path of it", z.name),
            )
            .here("summed out")
            .label(z.span, "declared here")
            .help("let the distribution of what is observed depend on the discrete latent instead");
        self.diags.push(d);
    }

    fn two_walks(&mut self, first: Span, second: Span) {
        self.diags.push(
            Code::RECURRENCE_FORM
                .at(second, "definitions that need each other walk one plate, in one order")
                .here("another plate, or another order")
                .label(first, "than here")
                .help("walk the same plate on every left side, with the same `by` and `along`"),
        );
    }

    /// A read of a row that the walk has not passed.
    fn not_behind(&mut self, unit: &[usize], vars: &[VarId], uses: &[Vec<Use>], axes: &HashMap<VarId, AxisId>) {
        let mut found = None;
        for (n, (&i, reader)) in unit.iter().zip(vars).enumerate() {
            for u in &uses[i] {
                let Some(m) = vars.iter().position(|v| *v == u.of) else { continue };
                let behind = match (axes.get(reader), axes.get(&u.of)) {
                    (Some(&walked), Some(&read)) => self.is_behind(u, walked, read, m < n),
                    _ => false,
                };
                found = found.or((!behind).then_some((u.of, u.span)));
            }
        }
        let (var, span) = found.unwrap_or((vars[0], self.hir.var(vars[0]).span));
        let v = self.hir.var(var);
        let (name, at, index) = (v.name.clone(), v.span, matches!(v.ty, Ty::Index(_)));
        let d = match index {
            true => Code::RECURRENCE_FORM.at(span, format!("`{name}` is an index, and a recurrence computes numbers")),
            false => Code::RECURRENCE_FORM
                .at(span, format!("`{name}` is needed here at a row that its own computation may not have reached")),
        };
        self.diags.push(d.here("not an earlier row of the walk").label(at, "defined here").help(format!(
            "step back along the plate that the left side walks: `{name}[t-1]` where it says `t in …`, inside `[ ]`"
        )));
    }
}

fn step_var(step: &Step) -> Option<VarId> {
    match step {
        Step::Latent { var, .. } | Step::Param { var, .. } | Step::Let { var, .. } => Some(*var),
        Step::Observe { .. } | Step::Factor { .. } => None,
    }
}

/// Steps as written, but each after what it needs; those of one unit next to each other.
fn in_order(steps: Vec<Step>, units: &[Vec<usize>], needs: &[Vec<usize>]) -> Vec<Step> {
    let mut unit_of = vec![0; steps.len()];
    for (u, unit) in units.iter().enumerate() {
        unit.iter().for_each(|&i| unit_of[i] = u);
    }
    let mut waiting: Vec<HashSet<usize>> = vec![HashSet::new(); units.len()];
    let mut users: Vec<Vec<usize>> = vec![vec![]; units.len()];
    for (i, needs) in needs.iter().enumerate() {
        for &n in needs {
            let (u, v) = (unit_of[i], unit_of[n]);
            if u != v && waiting[u].insert(v) {
                users[v].push(u);
            }
        }
    }
    // The last of a unit says where it stands.
    let place = |u: usize| Reverse((*units[u].last().expect("a unit has a step"), u));
    let mut ready: BinaryHeap<_> = (0..units.len()).filter(|&u| waiting[u].is_empty()).map(place).collect();
    let mut order = vec![];
    while let Some(Reverse((_, u))) = ready.pop() {
        order.extend(units[u].iter().copied());
        for &user in &users[u] {
            waiting[user].remove(&u);
            if waiting[user].is_empty() {
                ready.push(place(user));
            }
        }
    }
    let mut steps: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    order.into_iter().filter_map(|i| steps[i].take()).collect()
}

/// The sets of nodes that reach each other (Tarjan 1972), without recursion: programs can be long.
fn components(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let n = edges.len();
    let (mut index, mut low) = (vec![usize::MAX; n], vec![0; n]);
    let (mut on_stack, mut stack, mut out, mut next) = (vec![false; n], vec![], vec![], 0);
    for start in 0..n {
        if index[start] != usize::MAX {
            continue;
        }
        let mut work = vec![(start, 0)];
        while let Some((v, i)) = work.pop() {
            if i == 0 {
                (index[v], low[v]) = (next, next);
                next += 1;
                stack.push(v);
                on_stack[v] = true;
            }
            if let Some(&w) = edges[v].get(i) {
                work.push((v, i + 1));
                if index[w] == usize::MAX {
                    work.push((w, 0));
                } else if on_stack[w] {
                    low[v] = low[v].min(index[w]);
                }
                continue;
            }
            if low[v] == index[v] {
                let mut component = vec![];
                while let Some(w) = stack.pop() {
                    on_stack[w] = false;
                    component.push(w);
                    if w == v {
                        break;
                    }
                }
                out.push(component);
            }
            if let Some(&(parent, _)) = work.last() {
                low[parent] = low[parent].min(low[v]);
            }
        }
    }
    out
}
