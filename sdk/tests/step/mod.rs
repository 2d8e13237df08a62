//! A private step over examples that look random, and what it is compared with.

use adafed::algorithm::{
    AlgorithmPlan, FederationPlan, ImportanceRule, Layout, Mask, Plans, Provenance, Retention,
    ScaleSettings, SgdSettings, Standardisation,
};
use adafed::data::{Dataset, Error};
use adafed::nn::Model;
use adafed::privacy::{
    Adjacency, ClipNorm, Delta, EphemeralStore, Epsilon, Ledger, NoiseMultiplier, NoiseSeed,
    Permit, Policy, PrivacyPhase, PrivacyPlan, ResolutionBits, SamplingRate, TrustModel,
};
use adafed::train::{LocalRound, PlainGradient, Setting};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Clip norm C.
pub(crate) const CLIP: f64 = 0.1;

/// Values on `[-1, 1)`; the same for the same seed.
pub(crate) fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| (generator.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

/// Values on `[-1, 1)` to whole numbers below `count`.
fn whole(values: &mut [f32], count: usize) {
    values.iter_mut().for_each(|value| *value = (0.5 * (*value + 1.0) * count as f32).floor());
}

/// Examples that are not checked, as an app's own store may give them.
struct Unchecked {
    shape: Vec<usize>,
    classes: usize,
    inputs: Vec<f32>,
    labels: Vec<f32>,
}

impl Unchecked {
    fn width(&self) -> usize {
        self.shape.iter().product()
    }

    fn input(&mut self, index: usize) -> &mut [f32] {
        let width = self.width();
        &mut self.inputs[index * width..][..width]
    }
}

impl Dataset for Unchecked {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn read(&self, index: usize, input: &mut [f32], target: &mut [f32]) -> Result<(), Error> {
        input.copy_from_slice(&self.inputs[index * self.width()..][..self.width()]);
        target.copy_from_slice(&self.labels[index..=index]);
        Ok(())
    }
}

/// Everything that one step is made of.
pub(crate) struct Step<'m> {
    model: &'m Model,
    data: Unchecked,
    layout: Layout,
    privacy: PrivacyPlan,
    algorithm: AlgorithmPlan,
    pub(crate) mask: Mask,
    pub(crate) standardisation: Standardisation,
    pub(crate) parameters: Vec<f32>,
}

impl<'m> Step<'m> {
    /// Under a mask of three coordinates in five.
    pub(crate) fn new(model: &'m Model, standardisation: Standardisation, examples: usize) -> Self {
        let d = model.parameters();
        let active = (0..d as u32).filter(|j| j.wrapping_mul(2_654_435_761) >> 16 & 0xFF < 154);
        let mask = Mask::published(d, active.collect(), Provenance::Released).expect("ascending");
        Self { mask, standardisation, ..Self::unmasked(model, examples) }
    }

    /// Every coordinate active and nothing standardised.
    pub(crate) fn unmasked(model: &'m Model, examples: usize) -> Self {
        let mut inputs = values(examples * model.input_len(), 3);
        if let Some(rows) = rows(model) {
            whole(&mut inputs, rows);
        }
        let mut labels = values(examples, 4);
        whole(&mut labels, model.classes());
        let (shape, classes) = (model.input_shape().to_vec(), model.classes());
        Self {
            model,
            data: Unchecked { shape, classes, inputs, labels },
            layout: model.layout().clone(),
            privacy: privacy(),
            algorithm: algorithm(),
            mask: Mask::full(model.parameters()),
            standardisation: Standardisation::none(),
            parameters: model.initial(5),
        }
    }

    pub(crate) fn examples(&self) -> usize {
        self.data.len()
    }

    pub(crate) fn scale_inputs(&mut self, factor: f32) {
        self.data.inputs.iter_mut().for_each(|value| *value *= factor);
    }

    pub(crate) fn fill_input(&mut self, example: usize, value: f32) {
        self.data.input(example).fill(value);
    }

    pub(crate) fn break_value(&mut self, example: usize, place: usize) {
        self.data.input(example)[place] = f32::NAN;
    }

    /// Every example one value of this size among zeros.
    pub(crate) fn one_hot(&mut self, size: f32) {
        for example in 0..self.examples() {
            self.fill_input(example, 0.0);
            self.data.input(example)[7 * example + 30] = size;
        }
    }

    fn round(&self) -> LocalRound<'_> {
        let (layout, privacy, algorithm) = (&self.layout, &self.privacy, &self.algorithm);
        let setting = Setting {
            model: self.model,
            data: &self.data,
            plans: Plans { layout, privacy, algorithm, federation: &FederationPlan::DEFAULT },
            mask: &self.mask,
            standardisation: &self.standardisation,
        };
        LocalRound::new(setting).expect("the grid is fine enough")
    }

    /// Exact sum of the clipped gradients, in the engine's order.
    pub(crate) fn sum(&self, indices: &[usize]) -> Vec<i64> {
        self.sum_at(0, indices)
    }

    /// The same under other dropout masks.
    pub(crate) fn sum_at(&self, dropout: u64, indices: &[usize]) -> Vec<i64> {
        self.round().clipped_sum(&self.parameters, indices, dropout).expect("valid").reveal()
    }

    /// The sum of all gradients as they are, and that of the per-example gradients.
    pub(crate) fn plain_sums(&self) -> (Vec<f32>, Vec<f64>) {
        let indices: Vec<usize> = (0..self.examples()).collect();
        let plain = PlainGradient::new(self.model, &self.data);
        let found = plain.sum(&self.parameters, &indices).expect("valid");
        let mut sum = vec![0.0; self.parameters.len()];
        let mut add = |_, gradient: &mut [f32]| {
            sum.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += f64::from(*value));
        };
        let Unchecked { inputs, labels, .. } = &self.data;
        let gradients = self.model.for_each_gradient(&self.parameters, inputs, labels, &mut add);
        gradients.expect("valid");
        (found, sum)
    }

    /// The same as it would be released, one value an active coordinate, without the noise:
    /// that of the same seed is taken off again.
    pub(crate) fn release(&self, indices: &[usize]) -> Vec<i64> {
        let (round, permit) = (self.round(), self.permit());
        let seed = NoiseSeed::predictable(7);
        let released = |indices: &[usize]| {
            let noise = round.noise(&permit, &seed, 0).expect("charged");
            let mut sum = round.clipped_sum(&self.parameters, indices, 0).expect("valid");
            round.release(noise, &mut sum).expect("fits").values().to_vec()
        };
        let (with, noise) = (released(indices), released(&[]));
        with.iter().zip(noise).map(|(value, noise)| value - noise).collect()
    }

    /// Takes steps of one round over all examples; `run` is given each of them.
    pub(crate) fn take(&self, count: u32, mut run: impl FnMut(&mut dyn FnMut())) {
        let (round, permit) = (self.round(), self.permit());
        let indices: Vec<usize> = (0..self.examples()).collect();
        let mut parameters = self.parameters.clone();
        for _ in 0..count {
            run(&mut || {
                let seed = NoiseSeed::predictable(3);
                let noise = round.noise(&permit, &seed, 0).expect("charged");
                let mut sum = round.clipped_sum(&parameters, &indices, 0).expect("valid");
                let released = round.release(noise, &mut sum).expect("fits");
                round.sgd(&mut parameters, &[], &released, 0).expect("fits");
                round.reuse(released);
            });
        }
    }

    /// The largest entry of one example's gradient, before mask and standardisation.
    pub(crate) fn largest(&self, example: usize) -> f64 {
        let gradient = gradient(self, example);
        f64::from(gradient.iter().fold(0.0, |largest: f32, value| largest.max(value.abs())))
    }

    fn permit(&self) -> Permit {
        let cap = Epsilon::new(1000.0).expect("finite");
        let least_noise_multiplier = NoiseMultiplier::new(0.0).expect("finite");
        let any = Policy::new(cap, self.privacy.delta).expect("a plan's delta");
        let policy = Policy { least_noise_multiplier, ..any };
        let mut ledger = Ledger::open(EphemeralStore::default(), policy).expect("empty");
        ledger.accept("test", "digest", &self.privacy).expect("allowed");
        ledger.charge("test", 0).expect("accepted")
    }
}

/// `(g - a) mask / b` of one example, one value an active coordinate, in flat order.
pub(crate) fn standardised(step: &Step<'_>, example: usize) -> Vec<f64> {
    let gradient = gradient(step, example);
    let standardisation = &step.standardisation;
    let entry =
        |j: usize| (f64::from(gradient[j]) - standardisation.centre(j)) / standardisation.scale(j);
    step.mask.indices().map(entry).collect()
}

fn gradient(step: &Step<'_>, example: usize) -> Vec<f32> {
    let width = step.data.width();
    let input = &step.data.inputs[example * width..][..width];
    let target = &step.data.labels[example..=example];
    let gradient = step.model.per_example_gradients(&step.parameters, input, target);
    gradient.expect("valid")
}

/// Rows of the embedding at the start, if there is one: its weight is `[rows, dim]`, where
/// inputs of numbers meet a weight as wide as they are.
fn rows(model: &Model) -> Option<usize> {
    let first = model.layout().tensors.first()?;
    let tokens = model.input_shape().len() == 1 && model.layout().tensors.get(1)?.name != "0.bias";
    tokens.then(|| first.shape[0])
}

fn privacy() -> PrivacyPlan {
    let noise_multiplier = NoiseMultiplier::new(1.0).expect("finite");
    let phase = PrivacyPhase { rounds: 1, noise_multiplier };
    PrivacyPlan {
        trust: TrustModel::Local,
        adjacency: Adjacency::AddRemove,
        rate: SamplingRate::new(0.5).expect("a share"),
        nominal_examples: 100,
        clip: ClipNorm::new(CLIP).expect("above 0"),
        resolution_bits: ResolutionBits::DEFAULT,
        delta: Delta::new(1e-5).expect("small"),
        local_steps: 1,
        warmup: PrivacyPhase { rounds: 0, ..phase },
        main: phase,
    }
}

fn algorithm() -> AlgorithmPlan {
    AlgorithmPlan {
        importance: ImportanceRule::Abs,
        random_seed: 0,
        retention: Retention::full(),
        scale: "none".parse::<ScaleSettings>().expect("known"),
        optimizer: SgdSettings { learning_rate: 1.0, final_share: 1.0, momentum: 0.0 },
        local_learning_rate: 1.0,
    }
}
