//! ONNX bytes → [`Graph`].

use std::collections::{HashMap, HashSet};
use std::path::Path;

use bytes::Bytes;
use fewbits_graph::ops::Identity;
use fewbits_graph::{Dim, Graph, Op, Shape};
use prost::Message;

use crate::error::UnsupportedOperator;
use crate::import::constant::Constant;
use crate::import::importer::{Importer, Output};
use crate::import::node::NodeReader;
use crate::import::{self, dynamic};
use crate::layout::Layout;
use crate::proto::{DimensionValue, GraphProto, ModelProto, NodeProto, ValueInfoProto};
use crate::storage::{External, map};
use crate::{Error, Result, tensor};

/// Reads an ONNX model file, which is memory-mapped; constants stay in the map.
///
/// Spatial values of the graph are stored channels-last; public inputs and outputs keep their
/// names, order and layout. `float64` and `bfloat16` constants become `float32`.
///
/// # Errors
/// [`Error::File`] around what is wrong; [`Error::Unsupported`] lists all unknown operators of the
/// model at once.
pub fn read(path: &Path) -> Result<Graph> {
    let bytes = map(path)?;
    read_bytes(bytes, path.parent()).map_err(|e| e.in_file(path))
}

/// Reads an ONNX model from memory. External data is looked for in `folder`, and refused without
/// one.
///
/// # Errors
/// As [`read`], without the file's name.
pub fn read_bytes(bytes: impl Into<Bytes>, folder: Option<&Path>) -> Result<Graph> {
    let model = ModelProto::decode(bytes.into())?;
    let opsets = Opsets::of(&model)?;
    let proto = model.graph.as_ref().ok_or_else(|| Error::model("the file holds no graph: not an ONNX model"))?;
    refuse_unknown(&model, proto, &opsets)?;
    let order = topological_order(proto)?;
    let mut importer =
        Importer::new(External::new(folder), all_names(proto), output_names(proto), convolved(proto, &order));
    importer.graph.name = proto.name.clone();
    add_initializers(&mut importer, proto)?;
    add_inputs(&mut importer, proto)?;
    for &i in &order {
        read_node(&mut importer, &proto.node[i], i, &opsets)?;
    }
    add_outputs(&mut importer, proto)?;
    let mut graph = importer.graph;
    graph.prune();
    dynamic::collapse(&mut graph)?;
    graph.prune();
    graph.sort()?;
    graph.infer()?;
    graph.validate()?;
    Ok(graph)
}

/// Newest version of the standard operator set that this reader was checked against.
pub(crate) const NEWEST_OPSET: i64 = 25;
/// Oldest version that is read.
pub(crate) const OLDEST_OPSET: i64 = 7;

/// Versions of the operator sets that a model imports.
struct Opsets(HashMap<String, i64>);

impl Opsets {
    fn of(model: &ModelProto) -> Result<Self> {
        let mut versions = HashMap::new();
        for set in &model.opset_import {
            versions.insert(domain(&set.domain).to_owned(), set.version);
        }
        if let Some(&standard) = versions.get("")
            && !(OLDEST_OPSET..=NEWEST_OPSET).contains(&standard)
        {
            return Err(Error::model(format!(
                "the model uses ONNX operator set {standard}; {OLDEST_OPSET} to {NEWEST_OPSET} can be read \
                 (onnx.version_converter changes it)"
            )));
        }
        Ok(Opsets(versions))
    }

    fn version(&self, node: &NodeProto) -> i64 {
        self.0.get(domain(&node.domain)).copied().unwrap_or(1)
    }
}

/// The standard domain has two names.
fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

fn node_name(node: &NodeProto, index: usize) -> String {
    if node.name.is_empty() { format!("{}_{index}", node.op_type) } else { node.name.clone() }
}

/// One error for all operators that the reader does not know.
fn refuse_unknown(model: &ModelProto, graph: &GraphProto, opsets: &Opsets) -> Result<()> {
    if let Some(sparse) = graph.sparse_initializer.first() {
        let name = sparse.values.as_ref().map_or(String::new(), |v| v.name.clone());
        return Err(Error::tensor(name, "sparse constants are not supported; store the constant densely"));
    }
    let mut operators: Vec<UnsupportedOperator> = Vec::new();
    let mut at: HashMap<(&str, &str), usize> = HashMap::new();
    for (i, node) in graph.node.iter().enumerate() {
        let opset = opsets.version(node);
        let defined_here =
            model.functions.iter().any(|f| f.name == node.op_type && domain(&f.domain) == domain(&node.domain));
        if !defined_here && import::find(domain(&node.domain), &node.op_type, opset).is_some() {
            continue;
        }
        let key = (domain(&node.domain), node.op_type.as_str());
        let index = *at.entry(key).or_insert_with(|| {
            operators.push(UnsupportedOperator {
                domain: key.0.to_owned(),
                operator: key.1.to_owned(),
                opset,
                nodes: Vec::new(),
            });
            operators.len() - 1
        });
        operators[index].nodes.push(node_name(node, i));
    }
    operators.sort_by(|a, b| (&a.domain, &a.operator).cmp(&(&b.domain, &b.operator)));
    if operators.is_empty() { Ok(()) } else { Err(Error::Unsupported { operators }) }
}

/// Node indices, each after its producers, in file order wherever that is one.
fn topological_order(graph: &GraphProto) -> Result<Vec<usize>> {
    let mut producer: HashMap<&str, usize> = HashMap::new();
    for (i, node) in graph.node.iter().enumerate() {
        for out in node.output.iter().filter(|o| !o.is_empty()) {
            if producer.insert(out, i).is_some() {
                let (value, node) = (out.clone(), node_name(node, i));
                return Err(fewbits_graph::Error::TwoProducers { value, node }.into());
            }
        }
    }
    let (mut open, mut done) = (vec![false; graph.node.len()], vec![false; graph.node.len()]);
    let mut order = Vec::with_capacity(graph.node.len());
    for root in 0..graph.node.len() {
        // An explicit stack: a hostile file must not overflow the real one.
        let mut stack = vec![(root, 0usize)];
        while let Some((at, next)) = stack.pop() {
            if done[at] {
                continue;
            }
            open[at] = true;
            let inputs = &graph.node[at].input;
            let pending = (next..inputs.len())
                .find_map(|i| producer.get(inputs[i].as_str()).filter(|&&p| !done[p]).map(|&p| (i, p)));
            match pending {
                Some((_, before)) if open[before] => {
                    let node = node_name(&graph.node[before], before);
                    return Err(fewbits_graph::Error::Cycle { node }.into());
                }
                Some((i, before)) => stack.extend([(at, i), (before, 0)]),
                None => {
                    done[at] = true;
                    order.push(at);
                }
            }
        }
    }
    Ok(order)
}

fn all_names(graph: &GraphProto) -> HashSet<String> {
    let values = graph.node.iter().flat_map(|n| n.input.iter().chain(&n.output));
    let infos = graph.input.iter().chain(&graph.output).map(|v| &v.name);
    values.chain(infos).chain(graph.initializer.iter().map(|t| &t.name)).cloned().collect()
}

fn output_names(graph: &GraphProto) -> HashSet<String> {
    graph.output.iter().map(|o| o.name.clone()).collect()
}

/// Names of values that reach a convolution or pooling through element-wise operators only. Such
/// an operator works channels-last even where its input is the public, channels-first one.
fn convolved(graph: &GraphProto, order: &[usize]) -> HashSet<String> {
    let mut names = HashSet::new();
    for &i in order.iter().rev() {
        let node = &graph.node[i];
        let wanted = match node.op_type.as_str() {
            "Conv" | "ConvTranspose" | "ConvInteger" | "QLinearConv" | "MaxPool" | "AveragePool" => true,
            "Pad" => node.output.first().is_some_and(|o| names.contains(o)),
            _ => import::is_elementwise(node) && node.output.first().is_some_and(|o| names.contains(o)),
        };
        if wanted {
            let data = if import::is_elementwise(node) && node.op_type != "QuantizeLinear" { 2 } else { 1 };
            names.extend(node.input.iter().take(data).cloned());
        }
    }
    names
}

fn add_initializers(importer: &mut Importer, graph: &GraphProto) -> Result<()> {
    for proto in &graph.initializer {
        if importer.knows(&proto.name) {
            return Err(Error::tensor(&proto.name, "the name is given to two initializers"));
        }
        let tensor = tensor::read(proto, &importer.external)?;
        importer.add_constant(&proto.name, Constant::plain(&proto.name, tensor));
    }
    Ok(())
}

fn add_inputs(importer: &mut Importer, graph: &GraphProto) -> Result<()> {
    for input in &graph.input {
        // Before IR version 4 every initializer was listed as an input too: it is a constant.
        if importer.constant(&input.name).is_some() {
            continue;
        }
        if importer.knows(&input.name) {
            return Err(Error::tensor(&input.name, "the name is given to two inputs"));
        }
        let (dtype, shape) = declared_type(input)?;
        importer.add_input(&input.name, dtype, shape);
    }
    Ok(())
}

fn declared_type(info: &ValueInfoProto) -> Result<(fewbits_graph::DType, Shape)> {
    let bad = |what: String| Error::tensor(&info.name, what);
    let ty = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let ty = ty.ok_or_else(|| bad("the input is no tensor; sequences, maps and optionals are not supported".into()))?;
    let unknown = || bad(format!("element type {} of the input is not supported", ty.elem_type));
    let dtype = tensor::dtype(ty.elem_type).ok_or_else(unknown)?;
    if tensor::code(dtype) != ty.elem_type {
        return Err(unknown());
    }
    let shape = ty.shape.as_ref().ok_or_else(|| {
        bad("the input has no shape; give it one (at least the number of dimensions) when exporting".into())
    })?;
    let dims = shape.dim.iter().enumerate().map(|(i, d)| match &d.value {
        Some(DimensionValue::Value(n)) => {
            let n = usize::try_from(*n).map_err(|_| bad(format!("dimension {i} is {n}")))?;
            Ok(Dim::Fixed(n))
        }
        Some(DimensionValue::Param(p)) if !p.is_empty() => Ok(Dim::symbol(p)),
        _ => Ok(Dim::symbol(format!("{}_dim_{i}", info.name))),
    });
    Ok((dtype, Shape(dims.collect::<Result<_>>()?)))
}

fn read_node(importer: &mut Importer, node: &NodeProto, index: usize, opsets: &Opsets) -> Result<()> {
    let opset = opsets.version(node);
    let name = node_name(node, index);
    for input in node.input.iter().filter(|n| !n.is_empty()) {
        if !importer.knows(input) {
            return Err(fewbits_graph::Error::Undefined { node: name, value: input.clone() }.into());
        }
    }
    for output in node.output.iter().filter(|n| !n.is_empty()) {
        if importer.knows(output) {
            return Err(fewbits_graph::Error::TwoProducers { value: output.clone(), node: name }.into());
        }
    }
    let entry = import::find(domain(&node.domain), &node.op_type, opset);
    let entry = entry.ok_or_else(|| Error::model(format!("operator {} is not supported", node.op_type)))?;
    if node.attribute.iter().any(|a| a.g.is_some()) {
        return Err(Error::Node { node: name, operator: node.op_type.clone(), what: "unexpected subgraph".into() });
    }
    (entry.import)(&mut NodeReader { importer, proto: node, name, opset, quant: None })
}

/// Gives every public output its name, in the author's layout.
fn add_outputs(importer: &mut Importer, graph: &GraphProto) -> Result<()> {
    for output in &graph.output {
        if !importer.knows(&output.name) {
            return Err(fewbits_graph::Error::MissingOutput { value: output.name.clone() }.into());
        }
        let id = importer.value(&output.name, Layout::Plain)?;
        let taken = importer.graph.outputs.contains(&id) || importer.graph.inputs.contains(&id);
        let id = match importer.graph.value(id).name == output.name && !taken {
            true => id,
            // An alias of another value, or a constant: the public name gets a value of its own.
            false
                if taken
                    || importer.graph.value(id).data.is_some()
                    || importer.graph.find_value(&output.name).is_some() =>
            {
                let name = importer.claim(&output.name, Layout::Plain);
                let node = importer.fresh_node(&format!("{name}_identity"));
                let output = Output { name, quant: None };
                importer.push(node, Op::Identity(Identity), vec![Some(id)], vec![output])?[0]
            }
            false => {
                importer.graph.value_mut(id).name = output.name.clone();
                id
            }
        };
        importer.graph.outputs.push(id);
    }
    Ok(())
}
