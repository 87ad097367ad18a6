//! The whole model: from the root table to a checked graph.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use fewbits_graph::{Graph, ValueId};

use super::context::{Import, Site};
use super::operators::{Importer, OPERATORS};
use super::{bias, quantize, tensors};
use crate::error::UnsupportedOperator;
use crate::schema::enums::{Builtin, PLACEHOLDER_CODE};
use crate::schema::model::{Model, OperatorCode, SubGraph};
use crate::schema::table::{UnionTable, follow, read_verified};
use crate::schema::{FILE_IDENTIFIER, VERSION, model};
use crate::{Error, Result};

pub(super) fn damaged(what: impl Into<String>) -> Error {
    Error::Damaged { what: what.into() }
}

/// Reads the model in `bytes`.
pub(super) fn import(bytes: &Arc<Vec<u8>>) -> Result<Graph> {
    let model = root(bytes)?;
    let Some(main) = model.subgraphs.first() else {
        return Err(damaged("it has no graph"));
    };
    let codes = model.operator_codes.iter().map(Code::new).collect::<Result<Vec<_>>>()?;
    refuse_unknown(main, &codes)?;

    let mut graph = Graph { name: main.name.clone().unwrap_or_default(), ..Graph::default() };
    let values = tensors::import(bytes, &model.buffers, main, &mut graph)?;
    graph.inputs = resolve_all(&values, &main.inputs)?;
    graph.outputs = resolve_all(&values, &main.outputs)?;
    let halves = quantize::widened_constants(main, &codes, &graph)?;
    let mut aliases: HashMap<ValueId, ValueId> = HashMap::new();
    for (index, operator) in main.operators.iter().enumerate() {
        let code = code_of(&codes, operator)?;
        // Unknown ones were refused above.
        let Some((builtin, importer)) = code.known else { continue };
        let mut site = site(builtin, &values, operator, &graph)?;
        for input in site.inputs.iter_mut().flatten() {
            *input = aliases.get(input).copied().unwrap_or(*input);
        }
        if halves.contains(&index) {
            aliases.extend(site.inputs[0].map(|constant| (site.outputs[0], constant)));
            continue;
        }
        importer(&mut Import { graph: &mut graph, bytes: bytes.as_slice(), site: &site })?;
    }
    tensors::define_empty(&mut graph);
    bias::restore_scales(&mut graph);
    graph.validate()?;
    graph.infer()?;
    graph.prune();
    graph.validate()?;
    Ok(graph)
}

fn root(bytes: &[u8]) -> Result<Model> {
    if bytes.get(4..8) != Some(FILE_IDENTIFIER.as_bytes()) {
        return Err(Error::NotTflite);
    }
    let at = follow(bytes, 0).ok_or_else(|| damaged("it has no root"))?;
    let model = read_verified::<Model>(bytes, at).map_err(|e| damaged(e.to_string()))?;
    let model = model.ok_or_else(|| damaged("it is cut short"))?;
    if model.version != VERSION {
        return Err(Error::Version { version: model.version });
    }
    Ok(model)
}

/// An operator code of the file.
pub(super) struct Code {
    name: String,
    version: i32,
    pub(super) known: Option<(Builtin, Importer)>,
}

impl Code {
    fn new(code: &OperatorCode) -> Result<Self> {
        let old = i32::from(code.deprecated_builtin_code);
        let number = if code.deprecated_builtin_code == PLACEHOLDER_CODE { code.builtin_code.max(old) } else { old };
        let builtin = Builtin::from_code(number);
        let name = match (builtin, &code.custom_code) {
            (Some(Builtin::CUSTOM), custom) => {
                format!("custom operator `{}`", custom.as_deref().unwrap_or("without a name"))
            }
            (Some(builtin), _) => builtin.name().to_owned(),
            (None, _) => format!("built-in operator {number}"),
        };
        let known = builtin.and_then(|b| OPERATORS.iter().find(|(known, _)| *known == b)).copied();
        Ok(Code { name, version: code.version, known })
    }
}

/// The code of an operator.
pub(super) fn code_of<'a>(codes: &'a [Code], operator: &model::Operator) -> Result<&'a Code> {
    let index = usize::try_from(operator.opcode_index).ok();
    index
        .and_then(|i| codes.get(i))
        .ok_or_else(|| damaged(format!("operator code {} does not exist", operator.opcode_index)))
}

/// One error for all operators that nothing here reads.
fn refuse_unknown(main: &SubGraph, codes: &[Code]) -> Result<()> {
    let mut unknown: BTreeMap<(String, i32), UnsupportedOperator> = BTreeMap::new();
    for operator in &main.operators {
        let code = code_of(codes, operator)?;
        if code.known.is_none() {
            let first = || tensors::first_output_name(main, operator);
            let entry = unknown.entry((code.name.clone(), code.version)).or_insert_with(|| UnsupportedOperator {
                name: code.name.clone(),
                version: code.version,
                count: 0,
                first: first(),
            });
            entry.count += 1;
        }
    }
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(Error::UnsupportedOperators { operators: unknown.into_values().collect() }),
    }
}

fn resolve(values: &[ValueId], index: i32) -> Result<ValueId> {
    let value = usize::try_from(index).ok().and_then(|i| values.get(i)).copied();
    value.ok_or_else(|| damaged(format!("tensor {index} does not exist")))
}

fn resolve_all(values: &[ValueId], indices: &[i32]) -> Result<Vec<ValueId>> {
    indices.iter().map(|&i| resolve(values, i)).collect()
}

/// The operator with its tensors resolved.
fn site(builtin: Builtin, values: &[ValueId], operator: &model::Operator, graph: &Graph) -> Result<Site> {
    let inputs = operator.inputs.iter().map(|&i| if i == -1 { Ok(None) } else { resolve(values, i).map(Some) });
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let outputs = resolve_all(values, &operator.outputs)?;
    let Some(&first) = outputs.first() else {
        return Err(damaged(format!("a {} operator has no output", builtin.name())));
    };
    let options = match operator.options {
        UnionTable::InFile(at) => Some((operator.options_kind, at)),
        UnionTable::None | UnionTable::Write(_) => None,
    };
    Ok(Site { builtin, name: graph.value(first).name.clone(), inputs, outputs, options })
}
