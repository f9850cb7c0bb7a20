//! The compiler at run time: settings for this processor, the routines that kernels call, finished code.

use std::collections::HashMap;

use cranelift_codegen::ir::types::{F64, I64};
use cranelift_codegen::ir::{AbiParam, FuncRef, InstBuilder, Type, UserFuncName, Value};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module};

use super::plan::Callee;
use crate::lower::graph::{BinOp, MatrixCall, ProductCall, UnOp};
use crate::prim::vector::{self, Isa, Routine};
use crate::prim::{matrix, product};

/// Why kernels could not be compiled; the interpreter runs such graphs.
#[derive(Debug)]
pub struct CompileError(pub String);

impl std::fmt::Display for CompileError {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "kernels cannot be compiled here: {}", self.0)
    }
}

impl std::error::Error for CompileError {}

/// A compiled program: takes the table of buffers.
pub type Entry = unsafe extern "C" fn(*const *mut u8);

/// Finished code; freed when dropped.
pub struct Code {
    module: Option<JITModule>,
    pub entry: Entry,
    /// Listing of the machine code, if it was asked for.
    pub listing: Option<String>,
}

// After `finalize_definitions` the code is only read and run.
unsafe impl Send for Code {}
unsafe impl Sync for Code {}

impl Drop for Code {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // Nobody can call `entry` any more: it is reached through `self` alone.
            unsafe { module.free_memory() };
        }
    }
}

/// Compile one function; `emit` fills its body. The listing holds Cranelift's text and the machine code.
pub fn compile(
    name: &str,
    listing: bool,
    emit: impl FnOnce(FunctionBuilder, &mut Imports, Value),
) -> Result<Code, CompileError> {
    let error = |e: &dyn std::fmt::Display| CompileError(e.to_string());
    let mut flags = settings::builder();
    let wanted = [
        ("opt_level", "speed"),
        ("use_colocated_libcalls", "false"),
        ("is_pic", "false"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
    ];
    for (key, value) in wanted {
        flags.set(key, value).map_err(|e| error(&e))?;
    }
    let isa = cranelift_native::builder().map_err(|e| error(&e))?;
    let isa = isa.finish(settings::Flags::new(flags)).map_err(|e| error(&e))?;
    if isa.pointer_type() != I64 {
        return Err(CompileError("addresses are not of 64 bits".into()));
    }
    let mut builder = JITBuilder::with_isa(isa, cranelift_module::default_libcall_names());
    let imports = Imports::symbols(Isa::detect());
    for routine in &imports {
        builder.symbol(routine.name, routine.address);
    }
    let module = JITModule::new(builder);
    let mut context = module.make_context();
    context.func.signature.params.push(AbiParam::new(I64));
    context.func.name = UserFuncName::user(0, 0);
    let mut shared = FunctionBuilderContext::new();
    let mut imports = Imports::new(module);
    let mut b = FunctionBuilder::new(&mut context.func, &mut shared);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let table = b.block_params(entry)[0];
    emit(b, &mut imports, table);
    let mut module = imports.module;
    let text = listing.then(|| context.func.display().to_string());
    context.set_disasm(listing);
    let id = module.declare_function(name, Linkage::Export, &context.func.signature).map_err(|e| error(&e))?;
    module.define_function(id, &mut context).map_err(|e| CompileError(format!("{e:?}")))?;
    let machine = context.compiled_code().and_then(|c| c.vcode.clone());
    let listing = text.map(|clif| format!("{clif}\n{}", machine.unwrap_or_default()));
    module.clear_context(&mut context);
    module.finalize_definitions().map_err(|e| error(&e))?;
    let address = module.get_finalized_function(id);
    // The function was declared with one address as its parameter and nothing to return.
    let entry = unsafe { std::mem::transmute::<*const u8, Entry>(address) };
    Ok(Code { module: Some(module), entry, listing })
}

/// The routines that kernels call, declared as they are first used.
pub struct Imports {
    module: JITModule,
    isa: Isa,
    /// Whether the processor multiplies and adds in one instruction.
    pub fused: bool,
    /// Whether blocks of activations are computed in single precision: of what products have made in it.
    pub single: bool,
    declared: HashMap<&'static str, FuncRef>,
}

impl Imports {
    fn new(module: JITModule) -> Imports {
        let isa = Isa::detect();
        let fused = isa != Isa::Baseline || cfg!(not(target_arch = "x86_64"));
        Imports { module, isa, fused, single: false, declared: HashMap::new() }
    }

    pub fn target(&self) -> TargetFrontendConfig {
        self.module.target_config()
    }

    /// Every routine there is.
    fn symbols(isa: Isa) -> Vec<Routine> {
        let mut all =
            vec![vector::contract(isa), vector::contract_t(isa), matrix_routine(), product_routine(), ode_routine()];
        for op in vector::BINARY {
            let (one, block) = vector::binary(isa, op).expect("a function that has routines");
            all.extend([one, block]);
        }
        for op in vector::FUNCTIONS {
            let routines = vector::unary(isa, op).expect("a function that has routines");
            all.extend([routines.scalar, routines.block]);
        }
        all.extend(vector::PAIRS.iter().filter_map(|(a, b)| vector::pair(isa, *a, *b)));
        all.extend(vector::FUNCTIONS.iter().filter_map(|op| vector::single(isa, *op)));
        all.extend(vector::PAIRS.iter().filter_map(|(a, b)| vector::single_pair(isa, *a, *b)));
        all
    }

    /// A function of one number.
    pub fn call(&mut self, b: &mut FunctionBuilder, op: UnOp, x: Value) -> Value {
        let routine = vector::unary(self.isa, op).expect("a function that is not inline has routines").scalar;
        self.routine(b, routine, &[F64], Some(F64), &[x]).expect("the routine returns a number")
    }

    /// A function of two numbers.
    pub fn call_binary(&mut self, b: &mut FunctionBuilder, op: BinOp, x: Value, y: Value) -> Value {
        let (one, _) = vector::binary(self.isa, op).expect("a function that is not inline has routines");
        self.routine(b, one, &[F64, F64], Some(F64), &[x, y]).expect("the routine returns a number")
    }

    /// A block routine: how many lanes, then addresses.
    pub fn call_block(&mut self, b: &mut FunctionBuilder, callee: Callee, args: &[Value]) {
        let routine = match callee {
            Callee::Unary(op) => {
                let single = self.single.then(|| vector::single(self.isa, op)).flatten();
                single.or_else(|| vector::unary(self.isa, op).map(|r| r.block))
            }
            Callee::Pair(first, second) => {
                let single = self.single.then(|| vector::single_pair(self.isa, first, second)).flatten();
                single.or_else(|| vector::pair(self.isa, first, second))
            }
            Callee::Binary(op) => vector::binary(self.isa, op).map(|r| r.1),
        };
        let routine = routine.expect("phases call what has routines");
        self.routine(b, routine, &vec![I64; args.len()], None, args);
    }

    pub fn contract(&mut self, b: &mut FunctionBuilder, args: &[Value; 7]) {
        self.routine(b, vector::contract(self.isa), &[I64; 7], None, args);
    }

    /// An operation on whole buffers: what describes it, and the table of buffers.
    pub fn on_buffers(&mut self, b: &mut FunctionBuilder, routine: Routine, args: &[Value; 2]) {
        self.routine(b, routine, &[I64; 2], None, args);
    }

    pub fn contract_t(&mut self, b: &mut FunctionBuilder, args: &[Value; 7]) {
        self.routine(b, vector::contract_t(self.isa), &[I64; 7], None, args);
    }

    fn routine(
        &mut self,
        b: &mut FunctionBuilder,
        routine: Routine,
        params: &[Type],
        result: Option<Type>,
        args: &[Value],
    ) -> Option<Value> {
        let module = &mut self.module;
        let function = *self.declared.entry(routine.name).or_insert_with(|| {
            let mut signature = module.make_signature();
            signature.params.extend(params.iter().map(|t| AbiParam::new(*t)));
            signature.returns.extend(result.map(AbiParam::new));
            let id: FuncId = module
                .declare_function(routine.name, Linkage::Import, &signature)
                .expect("a routine is always declared with the same signature");
            module.declare_func_in_func(id, b.func)
        });
        let call = b.ins().call(function, args);
        b.inst_results(call).first().copied()
    }
}

pub fn matrix_routine() -> Routine {
    Routine { name: "matrix", address: run_matrix as *const u8 }
}

pub fn product_routine() -> Routine {
    Routine { name: "product", address: run_product as *const u8 }
}

pub fn ode_routine() -> Routine {
    Routine { name: "ode", address: super::ode::run_ode as *const u8 }
}

/// Run one product on the buffers of a table.
unsafe extern "C" fn run_product(call: *const ProductCall, table: *const *mut u8) {
    // The table has an address for every buffer of the graph that the call was verified in.
    unsafe { product::run(&*call, |b| (*table.add(b.0 as usize)).cast()) };
}

/// Run one matrix operation on the buffers of a table.
unsafe extern "C" fn run_matrix(call: *const MatrixCall, table: *const *mut u8) {
    // The table has an address for every buffer of the graph that the call was verified in.
    unsafe { matrix::run(&*call, |b| (*table.add(b.0 as usize)).cast()) };
}
