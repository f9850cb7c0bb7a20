//! Expressions as sums of products over functions of latents' cells, such as x, x², log x: what their expectation under
//! independent factors is made of (Hoffman, Johnson and Tran 2018, Autoconj, section 4).

use std::collections::HashMap;

use super::Obstacle;
use crate::derive::joint::*;
use crate::derive::translate::Translator;
use crate::hir::{AxisId, AxisInfo, Constraint, ExprKind, MatrixFn, MatrixKind, VarId};

/// A function of one cell whose expectation is a statistic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Function {
    /// x^(n / 2), for this n.
    Power(i32),
    Log,
    /// log(1 - x)
    Log1m,
    /// Of a covariance or precision matrix X with the lower factor L, at a cell: of L, and of L⁻¹. They stand in pairs, which
    /// are cells of X and of its inverse.
    Root,
    InverseRoot,
    /// log L_ii, whose sum over i is ½ log |X|.
    LogRoot,
    /// A cell of X⁻¹.
    Inverse,
}

impl Function {
    /// x itself.
    pub const SELF: Function = Function::Power(2);
    /// x²
    pub const SQUARE: Function = Function::Power(4);

    /// For a person: `log w`.
    pub fn of(self, name: &str) -> String {
        match self {
            Function::Power(2) => name.into(),
            Function::Power(n) if n % 2 == 0 => format!("{name}^{}", n / 2),
            Function::Power(n) => format!("{name}^({n}/2)"),
            Function::Log => format!("log {name}"),
            Function::Log1m => format!("log(1 - {name})"),
            Function::Root => format!("factor of {name}"),
            Function::InverseRoot => format!("inverse factor of {name}"),
            Function::LogRoot => format!("log det {name}"),
            Function::Inverse => format!("inverse of {name}"),
        }
    }

    /// At a point, for a function of one number.
    pub fn at(self, x: f64) -> f64 {
        match self {
            Function::Power(2) => x,
            Function::Power(4) => x * x,
            Function::Power(n) => x.powf(f64::from(n) / 2.0),
            Function::Log => x.ln(),
            Function::Log1m => (-x).ln_1p(),
            Function::Root | Function::InverseRoot | Function::LogRoot | Function::Inverse => {
                unreachable!("functions of whole matrices")
            }
        }
    }
}

/// Σ over `axes` where `filter` of `coefficient` · Π factors; 0 unless `when` holds.
#[derive(Clone, Debug)]
pub(super) struct Monomial {
    /// Of data alone.
    pub coefficient: NodeId,
    /// Reads of latents, each in a function.
    pub factors: Vec<(NodeId, Function)>,
    pub axes: Vec<AxisId>,
    pub filter: Option<NodeId>,
    /// A condition on data, outside of which indices of the factors may lie beyond their plates.
    pub when: Option<NodeId>,
}

pub(super) type Polynomial = Vec<Monomial>;

/// More products than this are not worth a closed form.
const MOST: usize = 512;

pub(super) struct Expansion<'t, 'h> {
    pub t: &'t mut Translator<'h>,
    /// The slots of what has statistics.
    pub latents: HashMap<SlotId, VarId>,
    /// By slot, the place of its definition.
    pub defs: HashMap<SlotId, usize>,
    depends: HashMap<NodeId, bool>,
    def_depends: HashMap<SlotId, bool>,
    known: HashMap<NodeId, Result<Polynomial, Obstacle>>,
    /// Of lower triangles of data.
    inverses: HashMap<NodeId, SlotId>,
}

impl<'t, 'h> Expansion<'t, 'h> {
    pub fn new(t: &'t mut Translator<'h>, latents: HashMap<SlotId, VarId>) -> Self {
        let defs = t.joint.defs.iter().enumerate().map(|(i, d)| (d.slot, i)).collect();
        let (depends, def_depends, known, inverses) = Default::default();
        Expansion { t, latents, defs, depends, def_depends, known, inverses }
    }

    /// Whether an expression depends on what has statistics.
    pub fn depends(&mut self, node: NodeId) -> bool {
        if let Some(&d) = self.depends.get(&node) {
            return d;
        }
        let own = match self.t.joint.node(node) {
            Node::Read { slot, .. } => {
                let slot = *slot;
                self.latents.contains_key(&slot) || self.def_depends(slot)
            }
            _ => false,
        };
        // All of them, so that each is known as it is seen from where its definition is walked.
        let d = self.t.joint.operands(node).into_iter().fold(own, |d, o| self.depends(o) || d);
        self.depends.insert(node, d);
        d
    }

    pub fn def_depends(&mut self, slot: SlotId) -> bool {
        let Some(&at) = self.defs.get(&slot) else { return false };
        if let Some(&d) = self.def_depends.get(&slot) {
            return d;
        }
        // A walk reads its earlier cells, which stay as they are.
        self.def_depends.insert(slot, false);
        let value = self.t.joint.defs[at].value;
        let d = self.depends(value);
        self.def_depends.insert(slot, d);
        d
    }

    /// The latents that an expression reads, through definitions.
    pub fn read_by(&mut self, node: NodeId) -> Vec<VarId> {
        let (mut out, mut stack, mut seen) = (vec![], vec![node], std::collections::HashSet::new());
        while let Some(n) = stack.pop() {
            if !seen.insert(n) {
                continue;
            }
            if let Node::Read { slot, .. } = self.t.joint.node(n) {
                if let Some(&v) = self.latents.get(slot)
                    && !out.contains(&v)
                {
                    out.push(v);
                }
                if let Some(&at) = self.defs.get(slot) {
                    stack.push(self.t.joint.defs[at].value);
                }
            }
            stack.extend(self.t.joint.operands(n));
        }
        out
    }

    pub fn obstacle(&mut self, node: NodeId, why: impl Into<String>) -> Obstacle {
        Obstacle { vars: self.read_by(node), why: why.into() }
    }

    pub fn polynomial(&mut self, node: NodeId) -> Result<Polynomial, Obstacle> {
        if let Some(p) = self.known.get(&node) {
            return p.clone();
        }
        let p = self.expand(node).and_then(|p| {
            let p = self.collected(p);
            if p.len() > MOST { Err(self.obstacle(node, "expands into too many products")) } else { Ok(p) }
        });
        self.known.insert(node, p.clone());
        p
    }

    fn expand(&mut self, node: NodeId) -> Result<Polynomial, Obstacle> {
        if !self.depends(node) {
            return Ok(vec![self.known_value(node)]);
        }
        match self.t.joint.node(node).clone() {
            Node::Read { slot, index } if self.latents.contains_key(&slot) => {
                if index.iter().any(|ix| matches!(ix, Ix::At(n) if self.depends(*n))) {
                    return Err(self.obstacle(node, "is picked by an index that is not data"));
                }
                let one = self.t.joint.constant(1.0);
                let factors = vec![(node, Function::SELF)];
                Ok(vec![Monomial { coefficient: one, factors, axes: vec![], filter: None, when: None }])
            }
            Node::Read { slot, index } => {
                let def = self.t.joint.defs[self.defs[&slot]].clone();
                if def.walk.is_some() || def.scatter.is_some() {
                    return Err(self.obstacle(node, "is computed row after row"));
                }
                if let Node::Matrix { function, operands } = self.t.joint.node(def.value).clone() {
                    return self.matrix(node, &def, function, &operands, &index);
                }
                let inlined = self.t.moved_at_once(def.value, &def.axes, &index);
                self.polynomial(inlined)
            }
            Node::Unary(op, a) => self.unary(node, op, a),
            Node::Binary(op, a, b) => self.binary(node, op, a, b),
            Node::Select(c, a, b) => {
                if let Some(holds) = self.certain(c) {
                    return self.polynomial(if holds { a } else { b });
                }
                if self.depends(c) {
                    return Err(self.obstacle(c, "stands in a condition"));
                }
                let (a, b) = (self.polynomial(a)?, self.polynomial(b)?);
                let not = self.t.joint.unary(UnOp::Not, c);
                let mut out = self.where_holds(a, c);
                out.extend(self.where_holds(b, not));
                Ok(out)
            }
            Node::Reduce { op: Fold::Sum, axes, filter, body } => {
                if filter.is_some_and(|f| self.depends(f)) {
                    return Err(self.obstacle(node, "stands in a condition"));
                }
                let mut body = self.polynomial(body)?;
                for m in &mut body {
                    if m.axes.iter().any(|a| axes.contains(a)) {
                        *m = self.renamed(m);
                    }
                    // A condition inside may be on the cells that are summed over.
                    m.filter = self.both(filter, m.filter);
                    m.axes.extend(&axes);
                }
                Ok(body)
            }
            Node::Reduce { .. } => Err(self.obstacle(node, "stands in a reduction that is not a sum")),
            Node::Matrix { .. } => Err(self.obstacle(node, "stands in a function of matrices")),
            Node::Ode { .. } => Err(self.obstacle(node, "stands in a differential equation")),
            Node::Detached(_) => Err(self.obstacle(node, "has no derivative here")),
            Node::Const(_) | Node::Position(_) | Node::Size(_) => unreachable!("these depend on nothing"),
        }
    }

    /// A cell of the factor of a latent covariance, or of a solution by such a factor or by one of data, as the sum that it
    /// is: Σ over j of L⁻¹[i, j] b[j].
    fn matrix(
        &mut self,
        node: NodeId,
        def: &Def,
        function: MatrixFn,
        operands: &[NodeId],
        index: &[Ix],
    ) -> Result<Polynomial, Obstacle> {
        let why = "stands in a function of matrices";
        let one = self.t.joint.constant(1.0);
        let alone =
            |read, f| Monomial { coefficient: one, factors: vec![(read, f)], axes: vec![], filter: None, when: None };
        match (function, operands) {
            (MatrixFn::Cholesky, &[matrix]) => {
                let matrix = self.t.moved_at_once(matrix, &def.axes, index);
                match self.polynomial(matrix)?.as_slice() {
                    [m] if plain(m) && self.t.joint.is_constant(m.coefficient, 1.0) => match m.factors[..] {
                        [(read, Function::SELF)] if self.is_covariance(read) => Ok(vec![alone(read, Function::Root)]),
                        _ => Err(self.obstacle(node, why)),
                    },
                    _ => Err(self.obstacle(node, why)),
                }
            }
            (MatrixFn::Solve { transposed: false }, &[l, b]) => {
                let own = def.axes[0];
                let Node::Read { slot, index: cells } = self.t.joint.node(l).clone() else {
                    return Err(self.obstacle(node, why));
                };
                let j = self.t.fresh_axis(self.t.hir.axis(own).plate, "column");
                let at = [&[Ix::Axis(own), Ix::Axis(j)][..], &cells[2..]].concat();
                let inverse = if self.depends(l) {
                    let cell = self.t.joint.intern(Node::Read { slot, index: at });
                    match self.polynomial(cell)?.as_slice() {
                        [m] if plain(m) => match m.factors[..] {
                            [(read, Function::Root)] => alone(read, Function::InverseRoot),
                            _ => return Err(self.obstacle(node, why)),
                        },
                        _ => return Err(self.obstacle(node, why)),
                    }
                } else {
                    let inverse = match self.inverses.get(&l) {
                        Some(&known) => known,
                        None => {
                            let inverse = self.t.inverse_of(l);
                            self.inverses.insert(l, inverse);
                            inverse
                        }
                    };
                    let coefficient = self.t.joint.intern(Node::Read { slot: inverse, index: at });
                    Monomial { coefficient, factors: vec![], axes: vec![], filter: None, when: None }
                };
                let b = self.t.substitute(b, own, &Ix::Axis(j));
                let b = self.polynomial(b)?;
                let mut sum = self.product(node, &vec![inverse], &b)?;
                sum.iter_mut().for_each(|m| m.axes.push(j));
                Ok(sum.iter().map(|m| self.moved(m, &def.axes, index)).collect())
            }
            _ => Err(self.obstacle(node, why)),
        }
    }

    /// Whether a cell is one of a latent covariance matrix.
    fn is_covariance(&self, read: NodeId) -> bool {
        let Node::Read { slot, .. } = self.t.joint.node(read) else { return false };
        let constraint = self.latents.get(slot).map(|v| &self.t.hir.var(*v).constraint);
        matches!(constraint, Some(Constraint::Matrix(MatrixKind::Cov)))
    }

    /// A product over `axes`, at other cells of these.
    fn moved(&mut self, m: &Monomial, axes: &[AxisId], index: &[Ix]) -> Monomial {
        // Its own sums must not catch what the index varies over.
        let mut m = self.renamed(m);
        let each = |t: &mut Translator, node: NodeId| t.moved_at_once(node, axes, index);
        m.coefficient = each(self.t, m.coefficient);
        m.filter = m.filter.map(|f| each(self.t, f));
        m.when = m.when.map(|f| each(self.t, f));
        m.factors.iter_mut().for_each(|(read, _)| *read = each(self.t, *read));
        m.factors.sort();
        m
    }

    /// Two cells of the factor of a matrix that are summed over their column are a cell of the matrix; of the inverse factor,
    /// over their row, a cell of the inverse. `None`: they do not stand like that.
    pub fn paired(&mut self, m: &Monomial) -> Option<Monomial> {
        let of_root = |f: &Function| matches!(f, Function::Root | Function::InverseRoot);
        let (roots, factors): (Vec<_>, Vec<_>) = m.factors.iter().copied().partition(|(_, f)| of_root(f));
        let [(a, f), (b, g)] = roots[..] else { return roots.is_empty().then(|| m.clone()) };
        let parts = |n: NodeId| match self.t.joint.node(n) {
            Node::Read { slot, index } => (*slot, index.clone()),
            _ => unreachable!("factors are reads"),
        };
        let ((slot, mut index), (other, second)) = (parts(a), parts(b));
        let n = index.len() - 2;
        // Which of the two indices they share, and where the other one is.
        let (shared, own) = if f == Function::Root { (n + 1, n) } else { (n, n + 1) };
        let Ix::Axis(summed) = index[shared] else { return None };
        let same = slot == other && f == g && index[..n] == second[..n] && index[shared] == second[shared];
        let elsewhere = |n: NodeId| self.t.joint.varies_over(n, summed);
        let (first, second) = (index[own].clone(), second[own].clone());
        index.truncate(n);
        index.extend([first, second]);
        let alone = !elsewhere(m.coefficient)
            && !factors.iter().any(|f| elsewhere(f.0))
            && !m.filter.is_some_and(elsewhere)
            && !m.when.is_some_and(elsewhere)
            && index.iter().all(|ix| match ix {
                Ix::Axis(a) => *a != summed,
                Ix::At(n) => !elsewhere(*n),
                Ix::Label(..) => true,
            });
        if !same || !alone || !m.axes.contains(&summed) {
            return None;
        }
        let read = self.t.joint.intern(Node::Read { slot, index });
        let mut out = Monomial { factors, ..m.clone() };
        out.factors.push((read, if f == Function::Root { Function::SELF } else { Function::Inverse }));
        out.factors.sort();
        out.axes.retain(|a| *a != summed);
        Some(out)
    }

    fn known_value(&mut self, node: NodeId) -> Monomial {
        Monomial { coefficient: node, factors: vec![], axes: vec![], filter: None, when: None }
    }

    fn unary(&mut self, node: NodeId, op: UnOp, a: NodeId) -> Result<Polynomial, Obstacle> {
        // A function of a choice is a choice of functions.
        if let Node::Select(c, t, o) = *self.t.joint.node(a)
            && op != UnOp::Neg
            && !self.depends(c)
        {
            let (t, o) = (self.t.joint.unary(op, t), self.t.joint.unary(op, o));
            let node = self.t.joint.intern(Node::Select(c, t, o));
            return self.polynomial(node);
        }
        let p = self.polynomial(a)?;
        match (op, p.as_slice()) {
            (UnOp::Neg, _) => {
                let minus = self.t.joint.constant(-1.0);
                Ok(self.scaled(p, minus))
            }
            (UnOp::Sqrt, [m]) if plain(m) => Ok(vec![self.raised(node, m, 1, 2)?]),
            (UnOp::Recip, [m]) if plain(m) => Ok(vec![self.raised(node, m, -1, 1)?]),
            (UnOp::Log, [m]) if plain(m) => self.log(node, m),
            (UnOp::Log, [one, m]) | (UnOp::Log, [m, one]) if self.is_one(one) && self.is_minus(m) => {
                self.log1m(node, m)
            }
            (UnOp::Log1p, [m]) if self.is_minus(m) => self.log1m(node, m),
            _ => Err(self.obstacle(node, "stands in a function that has no statistic")),
        }
    }

    fn is_one(&self, m: &Monomial) -> bool {
        plain(m) && m.factors.is_empty() && self.t.joint.is_constant(m.coefficient, 1.0)
    }

    /// -x
    fn is_minus(&self, m: &Monomial) -> bool {
        plain(m) && matches!(m.factors[..], [(_, Function::SELF)]) && self.t.joint.is_constant(m.coefficient, -1.0)
    }

    fn log1m(&mut self, node: NodeId, m: &Monomial) -> Result<Polynomial, Obstacle> {
        let read = m.factors[0].0;
        let Node::Read { slot, .. } = self.t.joint.node(read) else { unreachable!("factors are reads") };
        let var = self.latents[slot];
        if !matches!(self.t.hir.var(var).constraint, Constraint::Interval { .. }) {
            return Err(self.obstacle(node, "stands in a function that has no statistic"));
        }
        let one = self.t.joint.constant(1.0);
        let factors = vec![(read, Function::Log1m)];
        Ok(vec![Monomial { coefficient: one, factors, axes: vec![], filter: None, when: None }])
    }

    fn log(&mut self, node: NodeId, m: &Monomial) -> Result<Polynomial, Obstacle> {
        let own = self.t.joint.unary(UnOp::Log, m.coefficient);
        let mut out = vec![];
        if !self.t.joint.is_constant(m.coefficient, 1.0) {
            out.push(self.known_value(own));
        }
        for (read, f) in &m.factors {
            if let (Function::Root, Node::Read { index, .. }) = (f, self.t.joint.node(*read))
                && let [.., i, j] = index.as_slice()
                && i == j
            {
                let coefficient = self.t.joint.constant(1.0);
                let factors = vec![(*read, Function::LogRoot)];
                out.push(Monomial { coefficient, factors, axes: vec![], filter: None, when: None });
                continue;
            }
            let Function::Power(n) = f else { return Err(self.obstacle(node, "is the log of a log")) };
            let coefficient = self.t.joint.constant(f64::from(*n) / 2.0);
            let factors = vec![(*read, Function::Log)];
            out.push(Monomial { coefficient, factors, axes: vec![], filter: None, when: None });
        }
        Ok(out)
    }

    /// A product to the power p / q.
    fn raised(&mut self, node: NodeId, m: &Monomial, p: i32, q: i32) -> Result<Monomial, Obstacle> {
        let mut factors = vec![];
        for (read, f) in &m.factors {
            let Node::Read { slot, .. } = self.t.joint.node(*read) else { unreachable!("factors are reads") };
            let var = self.latents[slot];
            let positive = !matches!(self.t.hir.var(var).constraint, Constraint::None);
            match f {
                Function::Power(n) if n * p % q == 0 && (positive || q == 1 && p > 0) => {
                    factors.push((*read, Function::Power(n * p / q)));
                }
                _ => return Err(self.obstacle(node, "stands in a power that has no statistic")),
            }
        }
        let coefficient = match (p, q) {
            _ if self.t.joint.is_constant(m.coefficient, 1.0) => m.coefficient,
            (1, 1) => m.coefficient,
            (1, 2) => self.t.joint.unary(UnOp::Sqrt, m.coefficient),
            (-1, 1) => self.t.joint.unary(UnOp::Recip, m.coefficient),
            _ => {
                let e = self.t.joint.constant(f64::from(p) / f64::from(q));
                self.t.joint.binary(BinOp::Pow, m.coefficient, e)
            }
        };
        Ok(Monomial { coefficient, factors, ..m.clone() })
    }

    fn binary(&mut self, node: NodeId, op: BinOp, a: NodeId, b: NodeId) -> Result<Polynomial, Obstacle> {
        match op {
            BinOp::Add => {
                let (mut a, b) = (self.polynomial(a)?, self.polynomial(b)?);
                a.extend(b);
                Ok(a)
            }
            BinOp::Sub => {
                let (mut a, b) = (self.polynomial(a)?, self.polynomial(b)?);
                let minus = self.t.joint.constant(-1.0);
                a.extend(self.scaled(b, minus));
                Ok(a)
            }
            BinOp::Mul => {
                let (a, b) = (self.polynomial(a)?, self.polynomial(b)?);
                self.product(node, &a, &b)
            }
            BinOp::Div => {
                let inverse = self.t.joint.unary(UnOp::Recip, b);
                let (a, b) = (self.polynomial(a)?, self.polynomial(inverse)?);
                self.product(node, &a, &b)
            }
            BinOp::XLogY => {
                let log = self.t.joint.unary(UnOp::Log, b);
                let (a, b) = (self.polynomial(a)?, self.polynomial(log)?);
                self.product(node, &a, &b)
            }
            BinOp::Pow => {
                let Node::Const(bits) = *self.t.joint.node(b) else {
                    return Err(self.obstacle(node, "stands in a power that is not a number"));
                };
                let twice = 2.0 * f64::from_bits(bits);
                let base = self.polynomial(a)?;
                if twice.fract() != 0.0 || twice.abs() > 64.0 {
                    return Err(self.obstacle(node, "stands in a power that has no statistic"));
                }
                let twice = twice as i32;
                match base.as_slice() {
                    [m] if plain(m) => {
                        let (p, q) = if twice % 2 == 0 { (twice / 2, 1) } else { (twice, 2) };
                        Ok(vec![self.raised(node, m, p, q)?])
                    }
                    _ if twice > 0 && twice % 2 == 0 => {
                        let mut out = base.clone();
                        for _ in 1..twice / 2 {
                            out = self.product(node, &out, &base)?;
                        }
                        Ok(out)
                    }
                    _ => Err(self.obstacle(node, "stands in a power that has no statistic")),
                }
            }
            BinOp::Min
            | BinOp::Max
            | BinOp::Less
            | BinOp::LessEq
            | BinOp::Equal
            | BinOp::NotEqual
            | BinOp::And
            | BinOp::Or
            | BinOp::LogGammaDraw
            | BinOp::LogGammaDrawSlope => Err(self.obstacle(node, "stands in a function that has no statistic")),
        }
    }

    fn scaled(&mut self, mut p: Polynomial, by: NodeId) -> Polynomial {
        for m in &mut p {
            m.coefficient = self.times(m.coefficient, by);
        }
        p
    }

    fn product(&mut self, node: NodeId, a: &Polynomial, b: &Polynomial) -> Result<Polynomial, Obstacle> {
        if a.len() * b.len() > MOST {
            return Err(self.obstacle(node, "expands into too many products"));
        }
        let mut out = vec![];
        for x in a {
            for y in b {
                // Two sums are a sum over pairs.
                let y = if x.axes.is_empty() || y.axes.is_empty() { y.clone() } else { self.renamed(y) };
                let mut factors = x.factors.clone();
                for (read, f) in &y.factors {
                    let own = factors.iter_mut().find(|(r, g)| r == read && power(*g) && power(*f));
                    match (own, f) {
                        (Some((_, Function::Power(n))), Function::Power(m)) => *n += m,
                        _ => factors.push((*read, *f)),
                    }
                }
                factors.retain(|(_, f)| *f != Function::Power(0));
                factors.sort();
                out.push(Monomial {
                    coefficient: self.times(x.coefficient, y.coefficient),
                    factors,
                    axes: x.axes.iter().chain(&y.axes).copied().collect(),
                    filter: self.both(x.filter, y.filter),
                    when: self.both(x.when, y.when),
                });
            }
        }
        Ok(self.collected(out))
    }

    /// Products that differ in their coefficients only, as one.
    fn collected(&mut self, p: Polynomial) -> Polynomial {
        let mut out: Polynomial = vec![];
        for m in p {
            if m.axes.is_empty() && self.t.joint.is_constant(m.coefficient, 0.0) {
                continue;
            }
            let same = |o: &&mut Monomial| {
                o.factors == m.factors && o.when == m.when && o.filter == m.filter && o.axes == m.axes
            };
            match out.iter_mut().find(same) {
                Some(o) => o.coefficient = self.plus(o.coefficient, m.coefficient),
                None => out.push(m),
            }
        }
        out
    }

    pub fn times(&mut self, a: NodeId, b: NodeId) -> NodeId {
        match (self.number(a), self.number(b)) {
            (Some(x), Some(y)) => self.t.joint.constant(x * y),
            (Some(1.0), _) => b,
            (_, Some(1.0)) => a,
            _ => self.t.joint.binary(BinOp::Mul, a, b),
        }
    }

    pub fn plus(&mut self, a: NodeId, b: NodeId) -> NodeId {
        match (self.number(a), self.number(b)) {
            (Some(x), Some(y)) => self.t.joint.constant(x + y),
            (Some(0.0), _) => b,
            (_, Some(0.0)) => a,
            _ => self.t.joint.binary(BinOp::Add, a, b),
        }
    }

    /// Whether a node is a number below 0.
    pub fn is_negative(&self, n: NodeId) -> bool {
        self.number(n).is_some_and(|x| x < 0.0)
    }

    fn number(&self, n: NodeId) -> Option<f64> {
        match self.t.joint.node(n) {
            Node::Const(bits) => Some(f64::from_bits(*bits)),
            Node::Unary(UnOp::Neg, a) => self.number(*a).map(|x| -x),
            _ => None,
        }
    }

    pub fn both(&mut self, a: Option<NodeId>, b: Option<NodeId>) -> Option<NodeId> {
        match (a, b) {
            (Some(a), Some(b)) if a != b => Some(self.t.joint.binary(BinOp::And, a, b)),
            (a, b) => a.or(b),
        }
    }

    fn where_holds(&mut self, mut p: Polynomial, c: NodeId) -> Polynomial {
        for m in &mut p {
            // Sums inside do not rebind the axes of the condition: it stands outside of them.
            if m.axes.iter().any(|a| self.t.joint.varies_over(c, *a)) {
                *m = self.renamed(m);
            }
            m.when = self.both(Some(c), m.when);
        }
        p
    }

    /// The same sum over axes of its own.
    fn renamed(&mut self, m: &Monomial) -> Monomial {
        let mut out = m.clone();
        for a in &mut out.axes {
            let info = self.t.hir.axis(*a).clone();
            self.t.hir.axes.push(AxisInfo { plate: info.plate, name: format!("{}'", info.name) });
            let fresh = AxisId(self.t.hir.axes.len() as u32 - 1);
            let (from, to) = (*a, Ix::Axis(fresh));
            out.coefficient = self.t.substitute(out.coefficient, from, &to);
            out.filter = out.filter.map(|f| self.t.substitute(f, from, &to));
            out.when = out.when.map(|f| self.t.substitute(f, from, &to));
            out.factors.iter_mut().for_each(|(read, _)| *read = self.t.substitute(*read, from, &to));
            *a = fresh;
        }
        out
    }

    /// A condition that the support of a latent decides.
    fn certain(&self, c: NodeId) -> Option<bool> {
        let Node::Binary(BinOp::Less, x, bound) = self.t.joint.node(c) else { return None };
        let Node::Read { slot, .. } = self.t.joint.node(*x) else { return None };
        let (_, upper) = self.t.hir.var(*self.latents.get(slot)?).constraint.ends();
        let ExprKind::Number(upper) = upper?.kind else { return None };
        (upper <= self.number(*bound)?).then_some(true)
    }
}

fn power(f: Function) -> bool {
    matches!(f, Function::Power(_))
}

/// A product without sums and conditions.
fn plain(m: &Monomial) -> bool {
    m.axes.is_empty() && m.when.is_none() && m.filter.is_none()
}
