//! Times a training step: forward, loss and backward, with every weight trained.
//!
//! `cargo run --release -p fewbits-train --example step -- MODEL.tflite [BATCH] [THREADS] [STEPS]`

use std::path::PathBuf;
use std::time::Instant;

use fewbits_engine::{SimplifyOptions, simplify};
use fewbits_graph::Tensor;
use fewbits_train::{Options, Params, Tape, loss};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let model = PathBuf::from(arguments.next().ok_or("name a model")?);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |a| a.parse());
    let (batch, threads, steps) = (number(32)?, number(2)?, number(50)?);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    pool.install(|| time(&model, batch, steps))
}

#[allow(clippy::print_stdout)] // An example's purpose.
fn time(model: &std::path::Path, batch: usize, steps: usize) -> Result<(), Failure> {
    let graph = simplify(fewbits_tflite::read(model)?, &SimplifyOptions::default())?;
    let shape = |id: &fewbits_graph::ValueId| {
        let dims = graph.value(*id).shape.0.iter().enumerate();
        dims.map(|(i, d)| if i == 0 { batch } else { d.fixed().unwrap_or(1) }).collect::<Vec<_>>()
    };
    let input_shapes: Vec<Vec<usize>> = graph.inputs.iter().map(shape).collect();
    let options = Options { input_shapes, trainable: Params::all_of(&graph, 0), ..Default::default() };
    let mut tape = Tape::compile(&graph, &options)?;
    let params = Params::of(&graph, &options.trainable)?;
    let fill = |shape: &Vec<usize>| {
        let count = shape.iter().product::<usize>();
        Tensor::new(shape.clone(), (0..count).map(|i| (i * 7919 % 256) as f32).collect::<Vec<_>>())
    };
    let inputs: Vec<Tensor> = options.input_shapes.iter().map(fill).collect();
    let target = vec![0.0; tape.output(0).len()];
    let (mut forward, mut total) = (Vec::new(), Vec::new());
    for _ in 0..steps + 3 {
        let start = Instant::now();
        tape.forward(&inputs, &params)?;
        forward.push(start.elapsed());
        let loss = loss::mean_squared_error(tape.output(0), &target, None)?;
        tape.backward(&[&loss.gradient])?;
        total.push(start.elapsed());
    }
    let median = |times: &mut Vec<std::time::Duration>| {
        times.drain(..3);
        times.sort_unstable();
        (times[0], times[times.len() / 2])
    };
    let ((_, forward), (least, total)) = (median(&mut forward), median(&mut total));
    println!(
        "batch {batch}, {} parameters, {:.1} MiB: forward {forward:.2?}, step {total:.2?} (median), {least:.2?} (least)",
        params.values.iter().map(Vec::len).sum::<usize>(),
        tape.bytes() as f64 / f64::from(1 << 20),
    );
    Ok(())
}
