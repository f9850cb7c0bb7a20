//! What every inference engine sees of a model: a log joint over unconstrained reals, with its gradient.

/// What a written guide makes of a coordinate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Fitted to a point.
    Point,
    /// Standard normal noise, from which a draw is made.
    Noise,
    /// A latent of a family: drawn together with those of the same number, on its own if that is 0.
    Family(u32),
    /// An input that is 0 while params are fitted, and 1 where enumerated latents are taken at the values drawn.
    Switch,
    /// The same where some latents are relaxed at 0: what is fitted is then not the lower bound itself.
    Relaxed,
    /// An input, 0, along which the derivative is what the log joint owes to one cell of a scored latent.
    Terms,
    /// An input, 0, that multiplies the log chance of that cell's value. There are as many as of `Terms`, in their order.
    Score,
}

/// A model on its data. Shared by threads; each takes an [`Evaluator`] of its own.
pub trait Target: Sync {
    /// Length of theta.
    fn dim(&self) -> usize;
    /// For each coordinate, whether it belongs to a `param`: fitted to a point, without noise or entropy.
    fn points(&self) -> Vec<bool> {
        vec![false; self.dim()]
    }
    /// Where the search begins: 0 for latents, the starting value of a `param`.
    fn start(&self) -> Vec<f64> {
        vec![0.0; self.dim()]
    }
    /// What a written guide makes of each coordinate; `None` if the guide is a family over all of them.
    fn roles(&self) -> Option<Vec<Role>> {
        None
    }
    /// Whether the log joint has no jumps: then chains follow its gradient.
    fn smooth(&self) -> bool {
        let jumps = |r: &Role| matches!(r, Role::Switch | Role::Relaxed | Role::Terms);
        self.roles().is_none_or(|roles| !roles.iter().any(jumps))
    }
    /// A name per coordinate, for messages and for keying random draws (`theta[Choate]`); unique.
    fn names(&self) -> Vec<String>;
    /// Whether evaluators multiply by the Hessian themselves; else differences of gradients stand in.
    fn has_products(&self) -> bool {
        false
    }
    /// Whether evaluators take the log joint apart by coordinates.
    fn has_parts(&self) -> bool {
        false
    }
    /// For each coordinate those that it interacts with (where the Hessian may differ from 0), itself included, ascending;
    /// `None` if all may interact with all.
    fn interactions(&self) -> Option<&[Vec<u32>]> {
        None
    }
    fn evaluator(&self) -> Box<dyn Evaluator + '_>;
}

/// Evaluates the log joint; holds the buffers that an evaluation writes, so that none is allocated per call.
pub trait Evaluator: Send {
    /// Log joint at `theta` (Jacobians included); writes d/d theta. May return a non-finite value, never panics.
    fn value_grad(&mut self, theta: &[f64], grad: &mut [f64]) -> f64;
    /// Log joint alone.
    fn value(&mut self, theta: &[f64]) -> f64;
    /// Log joint, and for each coordinate that is not a point the sum of the terms that depend on it: all of them, where
    /// [`Target::has_parts`] is not so.
    fn value_parts(&mut self, theta: &[f64], parts: &mut [f64]) -> f64 {
        let value = self.value(theta);
        parts.fill(value);
        value
    }
    /// The Hessian of the log joint at `theta` times `direction`, for about the price of two gradients. `false`, with
    /// `out` as it was, where [`Target::has_products`] is not so.
    fn hessian_times(&mut self, _theta: &[f64], _direction: &[f64], _out: &mut [f64]) -> bool {
        false
    }
    /// The model's latents at `theta`, where these are not the coordinates themselves.
    fn latents(&mut self, theta: &[f64]) -> Vec<f64> {
        theta.to_vec()
    }
}
