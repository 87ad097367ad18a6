//! Operators of ONNX files: one table of what is read, one file an operator family.

pub(crate) mod constant;
pub(crate) mod dynamic;
pub(crate) mod importer;
pub(crate) mod node;

mod activation;
mod conv;
mod elementwise;
mod linear;
mod movement;
mod narrow;
mod norm;
mod pool;
mod qlinear;
mod quantize;
mod reduce;
mod reshape;
mod resize;
mod source;

use self::node::NodeReader;
use crate::Result;
use crate::proto::NodeProto;
use crate::reader::{NEWEST_OPSET, OLDEST_OPSET};

type Import = fn(&mut NodeReader<'_>) -> Result<()>;

/// One operator that is read.
pub(crate) struct Entry {
    domain: &'static str,
    name: &'static str,
    since: i64,
    last: i64,
    elementwise: bool,
    pub(crate) import: Import,
}

/// An operator that [`crate::read`] understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupportedOperator {
    /// Domain; empty for the standard operators.
    pub domain: &'static str,
    /// Name.
    pub name: &'static str,
    /// First version of the operator set in which it is read.
    pub since: i64,
    /// Last version.
    pub last: i64,
}

const fn op(name: &'static str, since: i64, import: Import) -> Entry {
    let since = if since < OLDEST_OPSET { OLDEST_OPSET } else { since };
    Entry { domain: "", name, since, last: NEWEST_OPSET, elementwise: false, import }
}

/// An operator that treats every element by itself, in any layout.
const fn each(name: &'static str, since: i64, import: Import) -> Entry {
    let mut entry = op(name, since, import);
    entry.elementwise = true;
    entry
}

const fn until(name: &'static str, since: i64, last: i64, import: Import) -> Entry {
    let mut entry = op(name, since, import);
    entry.last = last;
    entry
}

const fn microsoft(name: &'static str, import: Import) -> Entry {
    Entry { domain: "com.microsoft", name, since: 1, last: 1, elementwise: false, import }
}

/// All operators, by name within a domain.
static TABLE: &[Entry] = &[
    each("Abs", 1, elementwise::unary),
    each("Add", 7, elementwise::binary),
    each("And", 7, elementwise::logical),
    op("ArgMax", 1, reduce::arg),
    op("ArgMin", 1, reduce::arg),
    op("AveragePool", 1, pool::pool),
    op("BatchNormalization", 7, norm::batch),
    each("Cast", 6, elementwise::cast),
    each("CastLike", 15, elementwise::cast),
    each("Ceil", 1, elementwise::unary),
    each("Clip", 6, activation::clip),
    op("Concat", 4, movement::concat),
    op("Constant", 1, source::constant),
    op("ConstantOfShape", 9, source::constant_of_shape),
    op("Conv", 1, conv::conv),
    op("ConvInteger", 10, conv::conv_integer),
    op("ConvTranspose", 1, conv::conv_transpose),
    each("Cos", 7, elementwise::unary),
    op("CumSum", 11, reduce::cumulative_sum),
    op("DepthToSpace", 1, movement::depth_to_space),
    each("DequantizeLinear", 10, quantize::dequantize),
    each("Div", 7, elementwise::binary),
    each("Dropout", 7, elementwise::identity),
    op("DynamicQuantizeLinear", 11, quantize::dynamic),
    each("Elu", 6, activation::activation),
    each("Equal", 7, elementwise::compare),
    each("Erf", 9, elementwise::unary),
    each("Exp", 6, elementwise::unary),
    op("Expand", 8, reshape::expand),
    op("Flatten", 1, reshape::flatten),
    each("Floor", 6, elementwise::unary),
    op("Gather", 1, movement::gather),
    op("GatherElements", 11, movement::gather_elements),
    op("GatherND", 11, movement::gather_nd),
    each("Gelu", 20, activation::activation),
    op("Gemm", 7, linear::gemm),
    op("GlobalAveragePool", 1, pool::global),
    op("GlobalMaxPool", 1, pool::global),
    each("Greater", 7, elementwise::compare),
    each("GreaterOrEqual", 12, elementwise::compare),
    op("GroupNormalization", 18, norm::group),
    each("HardSigmoid", 6, activation::activation),
    each("HardSwish", 14, activation::activation),
    each("Identity", 1, elementwise::identity),
    op("InstanceNormalization", 6, norm::instance),
    op("LayerNormalization", 17, norm::layer),
    each("LeakyRelu", 6, activation::activation),
    each("Less", 7, elementwise::compare),
    each("LessOrEqual", 12, elementwise::compare),
    each("Log", 6, elementwise::unary),
    op("LogSoftmax", 1, reduce::softmax),
    op("LpNormalization", 1, norm::lp),
    op("MatMul", 1, linear::matmul),
    op("MatMulInteger", 10, linear::matmul_integer),
    each("Max", 6, elementwise::variadic),
    op("MaxPool", 1, pool::pool),
    each("Mean", 6, elementwise::variadic),
    each("Min", 6, elementwise::variadic),
    each("Mish", 18, elementwise::unary),
    each("Mod", 10, elementwise::modulo),
    each("Mul", 7, elementwise::binary),
    each("Neg", 6, elementwise::unary),
    each("Not", 1, elementwise::unary),
    op("OneHot", 9, source::one_hot),
    each("Or", 7, elementwise::logical),
    each("PRelu", 7, activation::prelu),
    op("Pad", 2, movement::pad),
    each("Pow", 7, elementwise::binary),
    op("QLinearConv", 10, qlinear::conv),
    op("QLinearMatMul", 10, qlinear::matmul),
    each("QuantizeLinear", 10, quantize::quantize),
    op("Range", 11, source::range),
    each("Reciprocal", 6, elementwise::unary),
    op("ReduceL1", 1, reduce::reduce),
    op("ReduceL2", 1, reduce::reduce),
    op("ReduceLogSum", 1, reduce::reduce),
    op("ReduceLogSumExp", 1, reduce::reduce),
    op("ReduceMax", 1, reduce::reduce),
    op("ReduceMean", 1, reduce::reduce),
    op("ReduceMin", 1, reduce::reduce),
    op("ReduceProd", 1, reduce::reduce),
    op("ReduceSum", 1, reduce::reduce),
    op("ReduceSumSquare", 1, reduce::reduce),
    each("Relu", 6, elementwise::unary),
    op("Reshape", 5, reshape::reshape),
    op("Resize", 10, resize::resize),
    each("Round", 11, elementwise::unary),
    op("ScatterND", 11, movement::scatter_nd),
    each("Selu", 6, activation::activation),
    op("Shape", 1, source::shape),
    each("Sigmoid", 6, elementwise::unary),
    each("Sign", 9, elementwise::unary),
    each("Sin", 7, elementwise::unary),
    op("Size", 1, source::size),
    op("Slice", 1, movement::slice),
    op("Softmax", 1, reduce::softmax),
    each("Softplus", 1, elementwise::unary),
    each("Softsign", 1, elementwise::unary),
    op("SpaceToDepth", 1, movement::space_to_depth),
    op("Split", 2, movement::split),
    each("Sqrt", 6, elementwise::unary),
    op("Squeeze", 1, reshape::squeeze),
    each("Sub", 7, elementwise::binary),
    each("Sum", 6, elementwise::variadic),
    each("Swish", 24, activation::activation),
    each("Tanh", 6, elementwise::unary),
    op("Tile", 6, movement::tile),
    op("TopK", 1, reduce::top_k),
    op("Transpose", 1, reshape::transpose),
    op("Unsqueeze", 1, reshape::unsqueeze),
    until("Upsample", 7, 9, resize::upsample),
    each("Where", 9, elementwise::select),
    each("Xor", 7, elementwise::logical),
    microsoft("DequantizeLinear", quantize::dequantize),
    microsoft("FastGelu", activation::activation),
    microsoft("Gelu", activation::activation),
    microsoft("MatMulNBits", narrow::matmul_n_bits),
    microsoft("QGemm", qlinear::gemm),
    microsoft("QLinearAdd", qlinear::binary),
    microsoft("QLinearAveragePool", qlinear::average_pool),
    microsoft("QLinearConcat", qlinear::concat),
    microsoft("QLinearGlobalAveragePool", qlinear::global_average_pool),
    microsoft("QLinearLeakyRelu", qlinear::leaky_relu),
    microsoft("QLinearMul", qlinear::binary),
    microsoft("QLinearSigmoid", qlinear::sigmoid),
    microsoft("QLinearSoftmax", qlinear::softmax),
    microsoft("QuantizeLinear", quantize::quantize),
    microsoft("QuickGelu", activation::activation),
];

/// The importer of an operator in a version of its operator set.
pub(crate) fn find(domain: &str, name: &str, opset: i64) -> Option<&'static Entry> {
    TABLE.iter().find(|e| e.domain == domain && e.name == name && (e.since..=e.last).contains(&opset))
}

/// Whether a node's operator treats every element by itself.
pub(crate) fn is_elementwise(node: &NodeProto) -> bool {
    TABLE.iter().any(|e| e.elementwise && e.name == node.op_type)
}

/// Every operator that [`crate::read`] understands, by domain and name, with the versions of the
/// operator set in which it does.
pub fn supported_operators() -> Vec<SupportedOperator> {
    TABLE.iter().map(|e| SupportedOperator { domain: e.domain, name: e.name, since: e.since, last: e.last }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_without_duplicates() {
        let operators = supported_operators();
        assert!(operators.windows(2).all(|w| (w[0].domain, w[0].name) < (w[1].domain, w[1].name)));
    }
}
