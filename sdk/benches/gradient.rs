//! Per-example gradients of the benchmark network, examples a second.
//!
//! `cargo bench -p adafed --bench gradient`

use adafed::nn::{MICRO_BATCH, Model, ModelSpec};
use divan::counter::ItemsCount;
use rayon::prelude::*;

const BATCH: usize = 256;

fn main() {
    divan::main();
}

/// One batch of 256 on 1 and 2 threads; each gradient is only looked at.
#[divan::bench(args = [1, 2])]
fn mnist_cnn(bencher: divan::Bencher<'_, '_>, threads: usize) {
    let model = Model::new(&ModelSpec::mnist_cnn()).expect("the preset is valid");
    let parameters = model.initial(1);
    let inputs: Vec<f32> =
        (0..BATCH * model.input_len()).map(|i| (i % 251) as f32 / 125.0 - 1.0).collect();
    let labels: Vec<u32> = (0..BATCH as u32).map(|example| example % 10).collect();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("the machine has threads");
    let step = || {
        let bound = model.bind(&parameters).expect("the parameters are the model's own");
        inputs
            .par_chunks(MICRO_BATCH * model.input_len())
            .zip(labels.par_chunks(MICRO_BATCH))
            .for_each(|(inputs, labels)| {
                let mut visit = |_: usize, gradient: &mut [f32]| {
                    divan::black_box(gradient);
                };
                bound
                    .for_each_gradient(inputs, labels, &mut visit)
                    .expect("the batch fits the model");
            });
    };
    bencher.counter(ItemsCount::new(BATCH)).bench(|| pool.install(step));
}
