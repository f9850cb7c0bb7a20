//! Initial-value problems from compiled code: the rates have kernels of their own, each thread its working space.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::{CompileError, Kernels};
use crate::lower::graph::{BufId, Call, OdeCall};
use crate::prim::product;
use crate::run::Workspace;
use crate::run::ode::{Engine, Rates, Space, run};

/// What a call from compiled code points to.
pub struct OdeCode {
    pub call: Arc<OdeCall>,
    pub kernels: Arc<Kernels>,
}

/// Kernels of systems by their numbers: the programs of a graph share them.
pub type Systems = HashMap<u64, Arc<Kernels>>;

/// Compile the rates of every ode among these.
pub fn compile(calls: &[Call], systems: &mut Systems) -> Result<Vec<Arc<OdeCode>>, CompileError> {
    let mut odes = vec![];
    for call in calls {
        let Call::Ode(call) = call else { continue };
        let kernels = match systems.get(&call.system.id) {
            Some(known) => known.clone(),
            None => {
                let new = Arc::new(super::compile(&call.system.graph)?);
                systems.insert(call.system.id, new.clone());
                new
            }
        };
        odes.push(Arc::new(OdeCode { call: call.clone(), kernels }));
    }
    Ok(odes)
}

struct State {
    workspace: Workspace,
    space: Space,
}

thread_local! {
    /// By number of the system: runs after the first allocate nothing.
    static STATES: RefCell<HashMap<u64, State>> = RefCell::default();
}

struct Compiled<'a> {
    kernels: &'a Kernels,
    workspace: &'a mut Workspace,
}

impl Engine for Compiled<'_> {
    fn theta(&mut self) -> &mut [f64] {
        self.workspace.theta_mut()
    }

    fn report(&mut self) {
        self.kernels.report(self.workspace);
    }

    fn gradient(&mut self) {
        self.kernels.log_joint.gradient(self.workspace);
    }

    fn buffer(&self, id: BufId) -> &[f64] {
        self.workspace.buffer(id)
    }

    fn grad(&self) -> &[f64] {
        self.workspace.grad()
    }
}

/// Solve, or pass gradients on, in the buffers of a table.
pub unsafe extern "C" fn run_ode(code: *const OdeCode, table: *const *mut u8) {
    // The program keeps what its code points to.
    let code = unsafe { &*code };
    let system = &code.call.system;
    let taken = STATES.with_borrow_mut(|states| states.remove(&system.id));
    let mut state =
        taken.unwrap_or_else(|| State { workspace: Workspace::new(&system.graph), space: Space::new(&code.call) });
    let engine = Compiled { kernels: &code.kernels, workspace: &mut state.workspace };
    let mut rates = Rates { system, engine };
    // The table has an address for every buffer of the graph that the call was verified in.
    product::outside(|| unsafe {
        run(&code.call, |b| (*table.add(b.0 as usize)).cast(), &mut state.space, &mut rates);
    });
    STATES.with_borrow_mut(|states| states.insert(system.id, state));
}
