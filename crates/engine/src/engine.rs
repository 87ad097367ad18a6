//! The engine: plans by input shapes, and runs.

use std::fmt;

use fewbits_graph::{Graph, Tensor};
use fewbits_kernels::isa::Isa;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::fold::{Constants, fold};
use crate::lower::check;
use crate::plan::{Observer, Plan};
use crate::site::{Environment, PackCache};
use crate::view::TensorView;
use crate::{Error, Result, Rounding, Unsupported};

/// Plans kept for other input shapes than the last ones.
const KEPT_PLANS: usize = 4;

/// How to compile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Threads; 0 takes all cores. Results do not depend on it.
    pub threads: usize,
    /// Arithmetic of integer operators.
    pub rounding: Rounding,
}

/// Time that one node took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepProfile {
    /// Node name.
    pub node: String,
    /// Operator name.
    pub op: &'static str,
    /// Nanoseconds.
    pub ns: u64,
    /// Multiply-accumulates; 0 for operators that are not counted in them.
    pub macs: u64,
    /// The node computes on integers where its edges are quantized.
    pub integer: bool,
}

/// A compiled graph.
///
/// A plan (folded shape arithmetic, packed weights, one arena) is made for each distinct set of
/// input shapes and kept for the next run; packed weights are shared by all plans.
pub struct Engine {
    graph: Graph,
    constants: Constants,
    env: Environment,
    pool: ThreadPool,
    /// The last used one is last.
    plans: Vec<(Vec<Vec<usize>>, Plan)>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({}, {} nodes, {} plans)", self.graph.name, self.graph.nodes.len(), self.plans.len())
    }
}

impl Engine {
    /// Compiles `graph` as it is; call [`simplify`](crate::simplify()) before for speed. A graph whose
    /// inputs have fixed shapes is planned at once, others when inputs come.
    ///
    /// # Errors
    /// An inconsistent graph; [`Error::Unsupported`] with every node that cannot be executed;
    /// [`Error::Isa`], [`Error::Threads`].
    pub fn compile(graph: &Graph, options: &Options) -> Result<Engine> {
        let pool = ThreadPoolBuilder::new().num_threads(options.threads).build();
        let pool = pool.map_err(|e| Error::Threads { threads: options.threads, reason: e.to_string() })?;
        let env = Environment { isa: Isa::active()?, rounding: options.rounding, packed: PackCache::default() };
        let mut graph = graph.clone();
        let fixed: Option<Vec<Vec<usize>>> = graph.inputs.iter().map(|&v| graph.value(v).shape.to_fixed()).collect();
        let inferred = graph.infer();
        let mut constants = Constants::of(&graph);
        match inferred {
            Ok(()) => {
                graph.validate()?;
                let problems = problems(&graph, &constants);
                if !problems.is_empty() {
                    return Err(Error::Unsupported(problems));
                }
                pool.install(|| fold(&graph, &mut constants, &env))?;
            }
            // Some operators have no shape rule for symbolic sizes; those of a run are numbers.
            Err(_) if fixed.is_none() => {}
            Err(e) => return Err(e.into()),
        }
        let mut engine = Engine { graph, constants, env, pool, plans: Vec::new() };
        if let Some(shapes) = fixed {
            engine.select(shapes)?;
        }
        Ok(engine)
    }

    /// The graph as compiled; observers are given its value ids.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Bytes of intermediate values and scratch of the plan that ran last; `None` before there is
    /// one.
    pub fn arena_bytes(&self) -> Option<usize> {
        self.plans.last().map(|(_, plan)| plan.arena_bytes())
    }

    /// Computes the graph's outputs from `inputs`, both in the graph's order, with the types and
    /// layouts the graph declares.
    ///
    /// # Errors
    /// Inputs of a wrong number, type or shape; data that points outside of a tensor.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let (plan, pool) = self.prepare(inputs)?;
        pool.install(|| {
            plan.run()?;
            Ok(plan.results())
        })
    }

    /// As [`Engine::run`]; `observe` is shown every graph input and every node output at the
    /// moment it is produced, in execution order. Results are the same bits as those of `run`.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn run_observed(
        &mut self,
        inputs: &[Tensor],
        observe: &mut dyn FnMut(fewbits_graph::ValueId, &TensorView<'_>),
    ) -> Result<Vec<Tensor>> {
        let (plan, pool) = self.prepare(inputs)?;
        let observe: &mut Observer<'_> = observe;
        plan.observe_inputs(observe);
        // The observer stays on this thread: it need not be `Send`.
        for i in 0..plan.steps() {
            pool.install(|| plan.step(i))?;
            plan.observe_step(i, observe);
        }
        Ok(plan.results())
    }

    /// Runs once and tells how long each node took, in execution order. Nodes that were folded
    /// away or only rename bytes are left out.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn run_profiled(&mut self, inputs: &[Tensor]) -> Result<Vec<StepProfile>> {
        let (plan, pool) = self.prepare(inputs)?;
        pool.install(|| plan.run_profiled())
    }

    fn prepare(&mut self, inputs: &[Tensor]) -> Result<(&mut Plan, &ThreadPool)> {
        self.check_inputs(inputs)?;
        self.select(inputs.iter().map(|t| t.shape().to_vec()).collect())?;
        let (_, plan) = self.plans.last_mut().expect("a plan was just selected");
        plan.load(inputs);
        Ok((plan, &self.pool))
    }

    fn check_inputs(&self, inputs: &[Tensor]) -> Result<()> {
        if inputs.len() != self.graph.inputs.len() {
            return Err(Error::InputCount { expected: self.graph.inputs.len(), got: inputs.len() });
        }
        for (&id, tensor) in self.graph.inputs.iter().zip(inputs) {
            let value = self.graph.value(id);
            if value.dtype != tensor.dtype() {
                let (expected, got) = (value.dtype, tensor.dtype());
                return Err(Error::InputType { input: value.name.clone(), expected, got });
            }
        }
        Ok(())
    }

    /// Makes the plan for `shapes` the last one.
    fn select(&mut self, shapes: Vec<Vec<usize>>) -> Result<()> {
        if let Some(at) = self.plans.iter().position(|(s, _)| *s == shapes) {
            self.plans[at..].rotate_left(1);
            return Ok(());
        }
        let graph = self.graph.with_input_shapes(&shapes)?;
        graph.validate()?;
        let (env, base) = (&self.env, &self.constants);
        let plan = self.pool.install(|| {
            let mut constants = base.clone();
            fold(&graph, &mut constants, env)?;
            Plan::new(&graph, &constants, env)
        })?;
        if self.plans.len() == KEPT_PLANS {
            self.plans.remove(0);
        }
        self.plans.push((shapes, plan));
        Ok(())
    }
}

/// Every node that cannot be executed, whatever the shapes.
fn problems(graph: &Graph, constants: &Constants) -> Vec<Unsupported> {
    let check = |node: &fewbits_graph::Node| {
        let what = check(graph, node, constants).err()?;
        Some(Unsupported { node: node.name.clone(), op: node.op.name(), what })
    };
    graph.nodes.iter().filter_map(check).collect()
}
