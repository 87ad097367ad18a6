//! What training minimises.

use fewbits_graph::{Graph, Op, ValueId};
use fewbits_train::{Result, Tape, loss};

use super::augment::Mix;

/// Where the loss comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Objective {
    /// Cross-entropy with the labels.
    Labels,
    /// Distance to the float model's outputs on the same samples: no labels are needed.
    #[default]
    Distill,
    /// The mean of both.
    Both,
}

impl Objective {
    /// Whether labels are needed.
    pub fn needs_labels(self) -> bool {
        self != Objective::Distill
    }

    /// Whether the float model must be run.
    pub(super) fn needs_teacher(self) -> bool {
        self != Objective::Labels
    }
}

/// Makes what enters a final soft-max the output in its place: losses want logits. Returns whether
/// there was one.
pub(super) fn take_logits(graph: &mut Graph) -> bool {
    let producers = graph.producers();
    let mut found = false;
    for i in 0..graph.outputs.len() {
        if let Some(logits) = before_softmax(graph, &producers, graph.outputs[i]) {
            graph.outputs[i] = logits;
            found = true;
        }
    }
    found
}

fn before_softmax(graph: &Graph, producers: &[Option<fewbits_graph::NodeId>], mut v: ValueId) -> Option<ValueId> {
    loop {
        let node = graph.node(producers[v.0]?);
        v = node.inputs.first().copied().flatten()?;
        match node.op {
            Op::Softmax(_) => return Some(v),
            Op::FakeQuantize(_) | Op::Identity(_) | Op::Dequantize(_) => {}
            _ => return None,
        }
    }
}

/// The losses of one model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Losses {
    pub(super) objective: Objective,
    pub(super) temperature: f32,
    /// The output whose last axis are classes, if there is one.
    pub(super) classes_at: Option<usize>,
}

/// A loss, its gradients by output, and how many rows had the right class (`None` without labels).
pub(super) struct Lost {
    pub(super) value: f64,
    pub(super) gradients: Vec<Vec<f32>>,
    pub(super) right: Option<usize>,
}

impl Losses {
    /// The loss of the tape's outputs. `labels`: a class for each row of the output of classes.
    pub(super) fn of(
        &self,
        tape: &Tape,
        labels: Option<&[usize]>,
        teacher: Option<&[Vec<f32>]>,
        mix: Option<&Mix>,
    ) -> Result<Lost> {
        let mut lost = Lost {
            value: 0.0,
            gradients: (0..tape.outputs()).map(|i| vec![0.0; tape.output(i).len()]).collect(),
            right: None,
        };
        let share = if self.objective == Objective::Both { 0.5 } else { 1.0 };
        if let (Some(at), Some(labels)) = (self.classes_at, labels) {
            let (logits, classes) = (tape.output(at), tape.output_shape(at).last().copied().unwrap_or(1));
            lost.right = Some(count_right(logits, classes, labels));
            if self.objective.needs_labels() {
                let mut add = |labels: &[usize], share: f32| {
                    let loss = loss::cross_entropy(logits, classes, labels)?;
                    lost.add(at, &loss, share);
                    fewbits_train::Result::Ok(())
                };
                match mix {
                    Some(mix) => {
                        let other: Vec<usize> = mix.other.iter().map(|&r| labels[r]).collect();
                        add(labels, share * mix.own)?;
                        add(&other, share * (1.0 - mix.own))?;
                    }
                    None => add(labels, share)?,
                }
            }
        }
        for (i, target) in teacher.unwrap_or_default().iter().enumerate() {
            let output = tape.output(i);
            if self.classes_at == Some(i) {
                let classes = tape.output_shape(i).last().copied().unwrap_or(1);
                let loss = loss::distillation(output, target, classes, self.temperature)?;
                lost.add(i, &loss, share);
            } else if self.classes_at.is_none() {
                // In units of the signal, so that learning rates do not depend on the outputs' scale.
                let power =
                    target.iter().map(|&t| f64::from(t) * f64::from(t)).sum::<f64>() / target.len().max(1) as f64;
                let loss = loss::mean_squared_error(output, target, None)?;
                lost.add(i, &loss, share / power.max(1e-12) as f32);
            }
        }
        Ok(lost)
    }
}

impl Lost {
    fn add(&mut self, output: usize, loss: &loss::Loss, share: f32) {
        self.value += f64::from(share) * loss.value;
        self.gradients[output].iter_mut().zip(&loss.gradient).for_each(|(a, g)| *a += share * g);
    }
}

fn count_right(logits: &[f32], classes: usize, labels: &[usize]) -> usize {
    let best = |row: &[f32]| (0..row.len()).reduce(|a, b| if row[b] > row[a] { b } else { a });
    logits.chunks_exact(classes.max(1)).zip(labels).filter(|(row, label)| best(row) == Some(**label)).count()
}
