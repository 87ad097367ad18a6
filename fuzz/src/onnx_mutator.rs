//! Mutations of ONNX models that leave a well-formed message: other operators, edges, attributes,
//! dimensions and numbers.

use bytes::Bytes;
use fewbits_onnx::proto::{AttributeProto, DimensionValue, GraphProto, ModelProto, NodeProto, TensorProto};
use prost::Message;

/// Names of attributes of which some operator knows what they mean.
const ATTRIBUTES: &[&str] = &[
    "allowzero",
    "alpha",
    "axes",
    "axis",
    "batch_dims",
    "beta",
    "bias",
    "block_size",
    "blocksize",
    "ceil_mode",
    "count_include_pad",
    "detect_negative",
    "dilations",
    "direction",
    "dtype",
    "end",
    "epsilon",
    "exclusive",
    "fmod",
    "group",
    "kernel_shape",
    "keepdims",
    "largest",
    "lambd",
    "noop_with_empty_axes",
    "num_groups",
    "num_outputs",
    "output_dtype",
    "output_padding",
    "output_shape",
    "p",
    "pads",
    "perm",
    "reverse",
    "saturate",
    "scales",
    "select_last_index",
    "size",
    "sorted",
    "split",
    "start",
    "starts",
    "ends",
    "stash_type",
    "storage_order",
    "strides",
    "to",
    "transA",
    "transB",
    "training_mode",
    "upper",
    "value",
    "value_float",
    "value_floats",
    "value_int",
    "value_ints",
];

/// Numbers on the edges of what is sensible.
const NUMBERS: &[i64] = &[
    0,
    1,
    -1,
    2,
    3,
    4,
    5,
    7,
    8,
    16,
    -2,
    -3,
    -4,
    63,
    64,
    127,
    128,
    255,
    256,
    1000,
    65_536,
    1 << 20,
    i32::MAX as i64,
    i32::MIN as i64,
    1 << 32,
    1 << 40,
    1 << 61,
    1 << 62,
    i64::MAX,
    i64::MAX - 1,
    i64::MIN,
    i64::MIN + 1,
];

/// Likewise, of floats.
const FLOATS: &[f32] =
    &[0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 6.0, 1e-5, f32::MIN_POSITIVE, 1e-45, f32::MAX, f32::MIN, f32::INFINITY, f32::NAN];

/// A generator of numbers (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014); the fuzzer's seed makes each mutation repeatable.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % (n.max(1) as u64)).unwrap_or(0)
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.below(list.len()))
    }

    fn of_mut<'a, T>(&mut self, list: &'a mut [T]) -> Option<&'a mut T> {
        let at = self.below(list.len());
        list.get_mut(at)
    }

    /// Mostly small: what is far out seldom gets past the first check.
    fn number(&mut self) -> i64 {
        let list = if self.below(3) == 0 { NUMBERS } else { &NUMBERS[..13] };
        *self.of(list).unwrap_or(&0)
    }

    fn numbers(&mut self) -> Vec<i64> {
        (0..self.below(6)).map(|_| self.number()).collect()
    }

    fn float(&mut self) -> f32 {
        *self.of(FLOATS).unwrap_or(&0.0)
    }
}

/// A mutation of the model that `data` holds; `None` if it holds none.
pub fn mutate(data: &[u8], seed: u32) -> Option<Vec<u8>> {
    let mut model = ModelProto::decode(data).ok()?;
    let mut random = Random(seed.into());
    for _ in 0..=random.below(3) {
        if random.below(30) == 0 {
            model.opset_import.first_mut()?.version = 7 + i64::try_from(random.below(19)).ok()?;
        }
        change_graph(model.graph.as_mut()?, &mut random);
    }
    Some(model.encode_to_vec())
}

fn change_graph(graph: &mut GraphProto, random: &mut Random) {
    let names = value_names(graph);
    match random.below(12) {
        0 => append_node(graph, &names, random),
        1 => change_tensor(random.of_mut(&mut graph.initializer), random),
        2 => change_input(graph, random),
        3 if graph.node.len() > 1 => {
            let at = random.below(graph.node.len());
            graph.node.remove(at);
        }
        4 => {
            if let (Some(output), Some(name)) = (random.of_mut(&mut graph.output), random.of(&names)) {
                output.name.clone_from(name);
                output.r#type = None;
            }
        }
        _ => {
            if let Some(node) = random.of_mut(&mut graph.node) {
                change_node(node, &names, random);
            }
        }
    }
}

fn value_names(graph: &GraphProto) -> Vec<String> {
    let inputs = graph.input.iter().map(|v| &v.name);
    let constants = graph.initializer.iter().map(|t| &t.name);
    let outputs = graph.node.iter().flat_map(|n| &n.output);
    inputs.chain(constants).chain(outputs).filter(|name| !name.is_empty()).cloned().collect()
}

/// A new node, which writes a public output.
fn append_node(graph: &mut GraphProto, names: &[String], random: &mut Random) {
    let output = format!("v{}", random.next() % 1000);
    let mut node = NodeProto { output: vec![output.clone()], ..NodeProto::default() };
    set_operator(&mut node, random);
    for _ in 0..=random.below(3) {
        node.input.extend(random.of(names).cloned());
    }
    graph.node.push(node);
    if let Some(public) = random.of_mut(&mut graph.output) {
        public.name = output;
        public.r#type = None;
    }
}

fn set_operator(node: &mut NodeProto, random: &mut Random) {
    if let Some(op) = random.of(&fewbits_onnx::supported_operators()) {
        node.op_type = op.name.to_owned();
        node.domain = op.domain.to_owned();
    }
}

fn change_node(node: &mut NodeProto, names: &[String], random: &mut Random) {
    match random.below(8) {
        0 => set_operator(node, random),
        1 | 2 => {
            if let (Some(input), Some(name)) = (random.of_mut(&mut node.input), random.of(names)) {
                input.clone_from(name);
            }
        }
        3 => match random.below(3) {
            0 => drop(node.input.pop()),
            1 => node.input.push(String::new()),
            _ => node.input.extend(random.of(names).cloned()),
        },
        4 => {
            let name = random.of(ATTRIBUTES).copied().unwrap_or_default();
            node.attribute.retain(|a| a.name != name);
            let mut attribute = AttributeProto { name: name.to_owned(), ..AttributeProto::default() };
            set_attribute(&mut attribute, random);
            node.attribute.push(attribute);
        }
        5 if !node.attribute.is_empty() => {
            let at = random.below(node.attribute.len());
            node.attribute.remove(at);
        }
        6 => node.output.push(format!("v{}", random.next() % 1000)),
        _ => {
            if let Some(attribute) = random.of_mut(&mut node.attribute) {
                change_attribute(attribute, random);
            }
        }
    }
}

/// A value of any type: float 1, integer 2, tensor 4, floats 6, integers 7.
fn set_attribute(attribute: &mut AttributeProto, random: &mut Random) {
    match random.below(5) {
        0 => (attribute.f, attribute.r#type) = (Some(random.float()), 1),
        1 => {
            let tensor = TensorProto { data_type: 7, int64_data: vec![random.number()], ..TensorProto::default() };
            (attribute.t, attribute.r#type) = (Some(tensor), 4);
        }
        2 => (attribute.i, attribute.r#type) = (Some(random.number()), 2),
        3 => (attribute.floats, attribute.r#type) = (vec![random.float(); random.below(5)], 6),
        _ => (attribute.ints, attribute.r#type) = (random.numbers(), 7),
    }
}

/// Another value of the same type.
fn change_attribute(attribute: &mut AttributeProto, random: &mut Random) {
    if let Some(i) = &mut attribute.i {
        *i = random.number();
    } else if let Some(f) = &mut attribute.f {
        *f = random.float();
    } else if attribute.t.is_some() {
        change_tensor(attribute.t.as_mut(), random);
    } else if let Some(f) = random.of_mut(&mut attribute.floats) {
        *f = random.float();
    } else if random.below(2) == 0 {
        attribute.ints = random.numbers();
    } else if let Some(i) = random.of_mut(&mut attribute.ints) {
        *i = random.number();
    }
}

fn change_input(graph: &mut GraphProto, random: &mut Random) {
    let input = random.of_mut(&mut graph.input).and_then(|v| v.r#type.as_mut()).and_then(|t| t.tensor_type.as_mut());
    let Some(ty) = input else { return };
    if random.below(4) == 0 {
        ty.elem_type = i32::try_from(random.below(24)).unwrap_or(1);
        return;
    }
    let Some(shape) = &mut ty.shape else { return };
    match random.below(4) {
        0 => drop(shape.dim.pop()),
        1 => shape.dim.extend(shape.dim.first().cloned()),
        _ => {
            if let Some(dim) = random.of_mut(&mut shape.dim) {
                dim.value = Some(match random.below(4) {
                    0 => DimensionValue::Param("n".to_owned()),
                    _ => DimensionValue::Value(random.number()),
                });
            }
        }
    }
}

fn change_tensor(tensor: Option<&mut TensorProto>, random: &mut Random) {
    let Some(tensor) = tensor else { return };
    match random.below(4) {
        0 => set_dimension(tensor, random),
        1 => tensor.data_type = i32::try_from(random.below(24)).unwrap_or(1),
        _ => set_element(tensor, random),
    }
}

/// One dimension, with as many bytes of data as fit it if those are few.
fn set_dimension(tensor: &mut TensorProto, random: &mut Random) {
    match random.of_mut(&mut tensor.dims) {
        Some(dim) => *dim = random.number(),
        None => tensor.dims.push(1),
    }
    let elements = tensor.dims.iter().try_fold(1i64, |n, &d| n.checked_mul(d)).and_then(|n| usize::try_from(n).ok());
    let width = match tensor.data_type {
        1 | 6 | 12 => 4,
        7 | 11 | 13 => 8,
        4 | 5 | 10 | 16 => 2,
        _ => 1,
    };
    if let (Some(elements), Some(raw)) = (elements.filter(|&n| n < 4096), &tensor.raw_data) {
        let mut bytes = raw.to_vec();
        bytes.resize(elements * width, 0);
        tensor.raw_data = Some(Bytes::from(bytes));
    }
}

fn set_element(tensor: &mut TensorProto, random: &mut Random) {
    let Some(raw) = &tensor.raw_data else {
        if let Some(i) = random.of_mut(&mut tensor.int64_data) {
            *i = random.number();
        }
        return;
    };
    let mut bytes = raw.to_vec();
    let word = match tensor.data_type {
        1 => random.float().to_le_bytes().to_vec(),
        _ => random.number().to_le_bytes().to_vec(),
    };
    let width = match tensor.data_type {
        7 => 8,
        1 | 6 => 4,
        _ => 1,
    };
    let at = random.below(bytes.len() / width) * width;
    if let Some(target) = bytes.get_mut(at..at + width) {
        target.copy_from_slice(&word[..width]);
    }
    tensor.raw_data = Some(Bytes::from(bytes));
}
