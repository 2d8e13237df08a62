//! Features of a small network that was trained on made-up handwriting: public pre-training, in
//! which no private example takes part.

use adafed::data::Examples;
use adafed::data::features::{Features, MayGoOn};
use adafed::nn::{LayerSpec, Loss, Model, ModelSpec};
use adafed::train::PlainGradient;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::glyphs::{Glyphs, SIDE};
use crate::upright::scaled;

/// Examples of a step of pre-training.
const BATCH: usize = 128;
const LEARNING_RATE: f64 = 1.5e-3;
/// Steps in which the learning rate grows to it, and what is left of it at the end.
const GROWING: f64 = 100.0;
const LEFT: f64 = 0.02;
/// The maps that the convolutions end with, and what they are averaged to.
const MAPS: usize = 64;
const MAP_SIDE: usize = 7;
const POOLED: usize = 4;

/// The last convolution's maps, averaged to 4 x 4, `[1, 28, 28] -> [1024]`.
pub(crate) struct Pretrained {
    trunk: Model,
    parameters: Vec<f32>,
}

fn trunk() -> Vec<LayerSpec> {
    vec![
        LayerSpec::conv2d(1, 32, 5, 1, 2),
        LayerSpec::Relu,
        LayerSpec::max_pool2d(2, 2),
        LayerSpec::conv2d(32, MAPS, 3, 1, 1),
        LayerSpec::Relu,
        LayerSpec::max_pool2d(2, 2),
        LayerSpec::conv2d(MAPS, MAPS, 3, 1, 1),
        LayerSpec::Relu,
        LayerSpec::Flatten,
    ]
}

fn model(layers: Vec<LayerSpec>) -> Result<Model, Error> {
    let (input, loss) = (vec![1, SIDE, SIDE], Loss::CrossEntropy);
    let spec = ModelSpec { input, features: None, layers, loss };
    Ok(Model::new(&spec)?)
}

/// `count` glyphs from `start` on, and their classes.
pub(crate) fn glyph_images(
    glyphs: &Glyphs,
    seed: u64,
    start: u64,
    count: usize,
) -> (Vec<f32>, Vec<u32>) {
    let mut images = vec![0.0; count * SIDE * SIDE];
    let written = images.par_chunks_mut(SIDE * SIDE).enumerate();
    let classes =
        written.map(|(index, image)| glyphs.write(seed, start + index as u64, image) as u32);
    let classes = classes.collect();
    (images, classes)
}

/// Trains a network to tell the glyphs apart, by Adam (Kingma and Ba 2015), on images as `scale`
/// leaves them; its parameters.
fn tell_apart(
    layers: Vec<LayerSpec>,
    glyphs: &Glyphs,
    steps: usize,
    seed: u64,
    scale: fn(&mut [f32]),
) -> Result<Vec<f32>, Error> {
    let whole = model(layers)?;
    let mut parameters = whole.initial(seed);
    let mut adam = Adam::new(parameters.len());
    let indices: Vec<usize> = (0..BATCH).collect();
    for step in 0..steps {
        let (mut images, classes) = glyph_images(glyphs, seed, (step * BATCH) as u64, BATCH);
        scale(&mut images);
        let batch = Examples::new(vec![1, SIDE, SIDE], images, classes, glyphs.len())?;
        let gradient = PlainGradient::new(&whole, &batch).sum(&parameters, &indices)?;
        let done = step as f64 / steps as f64;
        let rate = LEARNING_RATE
            * ((step + 1) as f64 / GROWING).min(1.0)
            * (LEFT + (1.0 - LEFT) * (1.0 - done));
        adam.step(&mut parameters, &gradient, 1.0 / BATCH as f64, rate);
    }
    Ok(parameters)
}

/// Public pre-training on made-up handwriting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pretraining {
    /// Classes of made-up glyphs.
    classes: usize,
    /// Steps.
    steps: usize,
    /// Public seed of glyphs and weights.
    seed: u64,
}

impl Pretraining {
    /// The parameters of all layers of `spec` but the last, after pre-training with a last layer
    /// for the glyphs.
    ///
    /// # Errors
    /// Where the model does not take images of 28 x 28, or does not end in a linear layer.
    pub(crate) fn start(self, spec: &ModelSpec) -> Result<Vec<f32>, Error> {
        let expected = || Error::Settings {
            what: "pretraining",
            expected: "a model of images of 1 x 28 x 28 that ends in a linear layer".to_owned(),
        };
        let mut layers = spec.layers.clone();
        let last = layers.pop();
        if !matches!(last, Some(LayerSpec::Linear(_))) || spec.input != [1, SIDE, SIDE] {
            return Err(expected());
        }
        let kept = model(layers.clone())?;
        let glyphs = Glyphs::new(self.classes, self.seed);
        layers.push(LayerSpec::linear(kept.output_len(), glyphs.len()));
        let mut parameters = tell_apart(layers, &glyphs, self.steps, self.seed, scaled)?;
        parameters.truncate(kept.parameters());
        Ok(parameters)
    }
}

impl Pretrained {
    /// Trains the network to tell the glyphs apart.
    ///
    /// # Errors
    /// Those of the model.
    pub(crate) fn train(glyphs: &Glyphs, steps: usize, seed: u64) -> Result<Self, Error> {
        let mut layers = trunk();
        layers.extend([
            LayerSpec::linear(MAPS * MAP_SIDE * MAP_SIDE, 256),
            LayerSpec::Relu,
            LayerSpec::linear(256, glyphs.len()),
        ]);
        let mut parameters = tell_apart(layers, glyphs, steps, seed, |_| ())?;
        let trunk = model(trunk())?;
        parameters.truncate(trunk.parameters());
        Ok(Self { trunk, parameters })
    }
}

impl Features for Pretrained {
    fn input_shape(&self) -> &[usize] {
        &[1, SIDE, SIDE]
    }

    fn shape(&self) -> &[usize] {
        &[MAPS * POOLED * POOLED]
    }

    /// Together: one at a time, the network would be laid out anew for each.
    fn compute_while(&self, inputs: &[f32], outputs: &mut [f32], _: MayGoOn<'_>) -> bool {
        self.compute(inputs, outputs);
        true
    }

    fn compute(&self, inputs: &[f32], outputs: &mut [f32]) {
        let count = inputs.len() / (SIDE * SIDE);
        let each = MAPS * POOLED * POOLED;
        // The trunk takes any image of its shape.
        let maps = self.trunk.predict(&self.parameters, inputs, count).unwrap_or_default();
        let maps = maps.chunks_exact(MAPS * MAP_SIDE * MAP_SIDE);
        for (maps, output) in maps.zip(outputs.chunks_exact_mut(each)) {
            for (at, value) in output.iter_mut().enumerate() {
                let (map, row, column) =
                    (at / (POOLED * POOLED), at / POOLED % POOLED, at % POOLED);
                *value = mean(&maps[map * MAP_SIDE * MAP_SIDE..], row, column);
            }
        }
    }
}

/// Mean over 3 x 3 values around every other one, 0 outside of the map.
fn mean(map: &[f32], row: usize, column: usize) -> f32 {
    let near = |at: usize| (2 * at).saturating_sub(1)..(2 * at + 2).min(MAP_SIDE);
    let places = near(row).flat_map(|y| near(column).map(move |x| y * MAP_SIDE + x));
    places.map(|place| map[place]).sum::<f32>() / 9.0
}

/// Adam with its usual constants.
struct Adam {
    first: Vec<f64>,
    second: Vec<f64>,
    steps: i32,
}

impl Adam {
    fn new(parameters: usize) -> Self {
        Self { first: vec![0.0; parameters], second: vec![0.0; parameters], steps: 0 }
    }

    fn step(&mut self, parameters: &mut [f32], sum: &[f32], share: f64, rate: f64) {
        const BETA: (f64, f64) = (0.9, 0.999);
        self.steps += 1;
        let (c1, c2) = (1.0 - BETA.0.powi(self.steps), 1.0 - BETA.1.powi(self.steps));
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((w, g), (m, v)) in parameters.iter_mut().zip(sum).zip(moments) {
            let g = f64::from(*g) * share;
            *m = BETA.0 * *m + (1.0 - BETA.0) * g;
            *v = BETA.1 * *v + (1.0 - BETA.1) * g * g;
            *w -= (rate * (*m / c1) / ((*v / c2).sqrt() + 1e-8)) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretraining_leaves_all_layers_but_the_last_and_moves_them() {
        let pretraining = Pretraining { classes: 4, steps: 2, seed: 3 };
        let spec = ModelSpec::mnist_cnn();
        let start = pretraining.start(&spec).unwrap();
        let whole = Model::new(&spec).unwrap();
        assert_eq!(start.len(), whole.parameters() - (32 * 10 + 10));
        assert_eq!(start, pretraining.start(&spec).unwrap());
        let same = start.iter().zip(whole.initial(3)).filter(|(a, b)| **a == *b).count();
        assert!(same < start.len() / 2, "{same} of {} did not move", start.len());
    }

    #[test]
    fn pretraining_names_what_it_takes() {
        let pretraining = Pretraining { classes: 4, steps: 2, seed: 3 };
        let error = pretraining.start(&ModelSpec::cifar_cnn()).unwrap_err().to_string();
        assert!(error.contains("pretraining") && error.contains("1 x 28 x 28"), "{error}");
    }
}
