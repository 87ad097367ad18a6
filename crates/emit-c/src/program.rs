//! A graph as a list of calls with every pointer decided.

use fewbits_engine::macs;
use fewbits_graph::{DType, Graph, Node, ValueId};

use crate::borders::{Port, integer_borders};
use crate::kernel::{Arg, Kernel, Lowered};
use crate::options::Options;
use crate::order::{Work, frugal};
use crate::plan::{Buffer, Overlap, Placement, Problem};
use crate::site::Site;
use crate::{Error, Result, Unsupported, ops};

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Public input `i`.
    Input(usize),
    /// Public output `i`.
    Output(usize),
    /// The constant of value `v`.
    Constant(usize),
    /// The arena, from that byte on.
    Arena(usize),
}

/// A call of a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) node: String,
    pub(crate) op: &'static str,
    pub(crate) output: Vec<usize>,
    pub(crate) macs: u64,
    pub(crate) kernel: Kernel,
    pub(crate) inputs: Vec<Option<Place>>,
    pub(crate) outputs: Vec<Place>,
    pub(crate) input_types: Vec<DType>,
    pub(crate) output_types: Vec<DType>,
    /// Offset of its scratch.
    pub(crate) scratch: usize,
    /// Bytes of the arena in use while it runs.
    pub(crate) memory: usize,
}

impl Step {
    /// The element type of input `i`.
    pub(crate) fn kernel_input_type(&self, i: usize) -> DType {
        self.input_types.get(i).copied().unwrap_or(DType::I8)
    }
}

/// A model ready to be written.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) steps: Vec<Step>,
    /// Constants that are read as activations: value and bytes.
    pub(crate) constants: Vec<(usize, Vec<i8>)>,
    /// Outputs that no kernel writes: `(output, where its bytes are)`.
    pub(crate) copies: Vec<(usize, Place)>,
    pub(crate) arena: usize,
}

/// A node that became a kernel.
struct Call<'a> {
    node: &'a Node,
    output: Vec<usize>,
    kernel: Kernel,
}

pub(crate) fn build(graph: &Graph, options: &Options) -> Result<Program> {
    graph.validate()?;
    let mut graph = graph.clone();
    let (inputs, outputs) = integer_borders(&mut graph)?;
    let mut roots: Vec<ValueId> = graph.value_ids().collect();
    let calls = lower(&graph, options, &mut roots)?;
    let values = Values::new(&graph, &roots, &calls);
    let orders = [(0..calls.len()).collect(), values.frugal(&calls)];
    let plans = orders.map(|order: Vec<usize>| {
        let plan = values.plan(&order, &calls, options);
        (plan, order)
    });
    let best = plans.into_iter().min_by_key(|((placement, _), _)| placement.total);
    let ((placement, problem), order) = best.unwrap_or_default();
    let mut steps = Vec::with_capacity(order.len());
    let mut calls: Vec<Option<Call<'_>>> = calls.into_iter().map(Some).collect();
    for (at, &index) in order.iter().enumerate() {
        let Some(call) = calls[index].take() else { continue };
        steps.push(values.step(&graph, call, at, &placement, &problem));
    }
    let copies = values.copies(&graph, &placement);
    let constants = values.constants(&graph, &steps, &copies);
    Ok(Program { inputs, outputs, steps, constants, copies, arena: placement.total })
}

/// All nodes as kernels; those that only rename a value join `roots`.
fn lower<'g>(graph: &'g Graph, options: &Options, roots: &mut [ValueId]) -> Result<Vec<Call<'g>>> {
    let (mut calls, mut unsupported) = (Vec::new(), Vec::new());
    for node in &graph.nodes {
        let lowered = Site::new(graph, node, options).and_then(|site| Ok((ops::lower(&site)?, site)));
        match lowered {
            Ok((Lowered::Kernel(kernel), site)) => {
                let output = site.outputs.first().map(|o| o.dims.clone()).unwrap_or_default();
                calls.push(Call { node, output, kernel: *kernel });
            }
            Ok((Lowered::Alias, site)) => {
                if let (Some(Some(input)), Some(output)) = (site.inputs.first(), site.outputs.first()) {
                    roots[output.id.0] = roots[input.id.0];
                }
            }
            Err(what) => unsupported.push(Unsupported { node: node.name.clone(), op: node.op.name(), what }),
        }
    }
    if unsupported.is_empty() {
        return Ok(calls);
    }
    // Where an operator is left in float, the changes of domain around it are only consequences.
    let change = |u: &Unsupported| matches!(u.op, "Quantize" | "Dequantize");
    if !unsupported.iter().all(change) {
        unsupported.retain(|u| !change(u));
    }
    Err(Error::Unsupported(unsupported))
}

/// Which values live in the arena.
struct Values<'a> {
    roots: &'a [ValueId],
    bytes: Vec<usize>,
    /// The place of values outside of the arena.
    outside: Vec<Option<Place>>,
}

impl<'a> Values<'a> {
    fn new(graph: &Graph, roots: &'a [ValueId], calls: &[Call<'_>]) -> Self {
        let mut outside: Vec<Option<Place>> =
            graph.value_ids().map(|v| graph.value(v).data.as_ref().map(|_| Place::Constant(v.0))).collect();
        for (i, input) in graph.inputs.iter().enumerate() {
            outside[input.0] = Some(Place::Input(i));
        }
        let made: Vec<ValueId> = calls.iter().flat_map(|c| c.node.outputs.iter().copied()).collect();
        for (i, output) in graph.outputs.iter().enumerate() {
            let root = roots[output.0];
            if made.contains(&root) && outside[root.0].is_none() {
                outside[root.0] = Some(Place::Output(i));
            }
        }
        let bytes = graph.value_ids().map(|v| graph.value(v).shape.elements().unwrap_or(0)).collect();
        Values { roots, bytes, outside }
    }

    /// The values of the arena that a call reads.
    fn reads(&self, call: &Call<'_>) -> Vec<usize> {
        let given = |arg: &Arg| if let Arg::Input(i, _) = arg { call.node.inputs[*i] } else { None };
        let mut reads: Vec<usize> = call.kernel.args.iter().filter_map(given).map(|v| self.roots[v.0].0).collect();
        reads.retain(|&v| self.outside[v].is_none());
        reads.sort_unstable();
        reads.dedup();
        reads
    }

    fn makes(&self, call: &Call<'_>) -> Vec<usize> {
        call.node.outputs.iter().map(|v| v.0).filter(|&v| self.outside[v].is_none()).collect()
    }

    fn frugal(&self, calls: &[Call<'_>]) -> Vec<usize> {
        // Values outside of the arena still order the steps.
        let reads = |call: &Call<'_>| call.node.inputs.iter().flatten().map(|v| self.roots[v.0].0).collect();
        let work = calls.iter().map(|c| Work {
            reads: reads(c),
            makes: c.node.outputs.iter().map(|v| v.0).collect(),
            scratch: c.kernel.scratch,
        });
        let bytes = |v: usize| if self.outside[v].is_none() { self.bytes[v] } else { 0 };
        let bytes: Vec<usize> = (0..self.bytes.len()).map(bytes).collect();
        frugal(&work.collect::<Vec<_>>(), &bytes)
    }

    /// Buffers `0..values` are those of the values, the others the scratches of the steps.
    fn plan(&self, order: &[usize], calls: &[Call<'_>], options: &Options) -> (Placement, Problem) {
        let mut buffers = vec![Buffer { bytes: 0, first: 0, last: 0 }; self.bytes.len()];
        for (at, &index) in order.iter().enumerate() {
            for v in self.makes(&calls[index]) {
                buffers[v] = Buffer { bytes: self.bytes[v], first: at, last: at };
            }
            for v in self.reads(&calls[index]) {
                buffers[v].last = at;
            }
        }
        let mut overlaps = Vec::new();
        for (at, &index) in order.iter().enumerate() {
            overlaps.extend(self.leave(&calls[index], at, &buffers));
            buffers.push(Buffer { bytes: calls[index].kernel.scratch, first: at, last: at });
        }
        // Nothing is gained by placing what takes no bytes.
        let problem = Problem { buffers, overlaps, alignment: options.target.alignment() };
        (problem.solve(), problem)
    }

    /// The overlaps that a call allows with inputs that die in it.
    fn leave(&self, call: &Call<'_>, at: usize, buffers: &[Buffer]) -> Vec<Overlap> {
        let Some(&output) = call.node.outputs.first().filter(|v| self.outside[v.0].is_none()) else {
            return Vec::new();
        };
        let mut leaves = Vec::new();
        for root in self.reads(call) {
            let mut distance = Some(0);
            for arg in &call.kernel.args {
                let Arg::Input(i, _) = arg else { continue };
                if call.node.inputs[*i].map(|v| self.roots[v.0].0) != Some(root) {
                    continue;
                }
                let own = call.kernel.overlap.iter().find(|(input, _)| input == i).map(|(_, d)| *d);
                distance = distance.zip(own).map(|(a, b)| a.max(b));
            }
            if let Some(distance) = distance.filter(|_| buffers[root].last == at) {
                leaves.push(Overlap { output: output.0, input: root, distance });
            }
        }
        leaves
    }

    fn place(&self, value: ValueId, placement: &Placement) -> Place {
        let root = self.roots[value.0].0;
        self.outside[root].unwrap_or_else(|| Place::Arena(placement.offsets[root]))
    }

    fn step(&self, graph: &Graph, call: Call<'_>, at: usize, placement: &Placement, problem: &Problem) -> Step {
        let memory = problem.buffers.iter().zip(&placement.offsets).filter(|(b, _)| b.first <= at && at <= b.last);
        let memory = memory.filter(|(b, _)| b.bytes > 0).map(|(b, offset)| (*offset, offset + b.bytes));
        Step {
            node: call.node.name.clone(),
            op: call.node.op.name(),
            output: call.output,
            macs: macs(graph, call.node).unwrap_or(0),
            inputs: call.node.inputs.iter().map(|v| v.map(|v| self.place(v, placement))).collect(),
            outputs: call.node.outputs.iter().map(|&v| self.place(v, placement)).collect(),
            input_types: call.node.inputs.iter().map(|v| v.map_or(DType::I8, |v| graph.value(v).dtype)).collect(),
            output_types: call.node.outputs.iter().map(|&v| graph.value(v).dtype).collect(),
            kernel: call.kernel,
            scratch: placement.offsets[self.bytes.len() + at],
            memory: covered(memory.collect()),
        }
    }

    /// Public outputs that share their bytes with an input, a constant or another output.
    fn copies(&self, graph: &Graph, placement: &Placement) -> Vec<(usize, Place)> {
        let places = graph.outputs.iter().map(|&v| self.place(v, placement)).enumerate();
        places.filter(|(i, place)| *place != Place::Output(*i)).collect()
    }

    fn constants(&self, graph: &Graph, steps: &[Step], copies: &[(usize, Place)]) -> Vec<(usize, Vec<i8>)> {
        let given = |step: &'_ Step| -> Vec<Option<Place>> {
            let place = |arg: &Arg| if let Arg::Input(i, _) = arg { step.inputs[*i] } else { None };
            step.kernel.args.iter().map(place).collect()
        };
        let read = steps.iter().flat_map(given).flatten().chain(copies.iter().map(|(_, place)| *place));
        let mut used: Vec<usize> =
            read.filter_map(|p| if let Place::Constant(v) = p { Some(v) } else { None }).collect();
        used.sort_unstable();
        used.dedup();
        let bytes =
            |v: usize| graph.values[v].data.as_ref().map(|t| t.bytes().iter().map(|b| b.cast_signed()).collect());
        used.into_iter().filter_map(|v| Some((v, bytes(v)?))).collect()
    }
}

/// Bytes that intervals cover.
fn covered(mut intervals: Vec<(usize, usize)>) -> usize {
    intervals.sort_unstable();
    let (mut end, mut bytes) = (0, 0);
    for (from, to) in intervals {
        bytes += to.saturating_sub(from.max(end));
        end = end.max(to);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::covered;

    #[test]
    fn shared_bytes_count_once() {
        assert_eq!(covered(vec![(10, 20), (0, 12), (30, 31)]), 21);
        assert_eq!(covered(vec![(0, 20), (5, 6), (20, 20)]), 20);
    }
}
