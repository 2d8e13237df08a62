//! Local training: one step is one use of the noise mechanism.

use adafed_algorithm::{Mask, MaskedStandardisation, ReleasedGradient, Standardisation};
use adafed_algorithm::{Plans, ReleasedSum};
use adafed_privacy::{ClippedSum, Lattice, Noise, NoiseSeed, PerExample, Permit, Released};
use rayon::prelude::*;

use crate::Error;
use crate::data::Dataset;
use crate::nn::{BoundModel, MICRO_BATCH, Model};

/// What is fixed during a round: model, data and the public constants.
pub struct LocalRound<'a> {
    /// The model's forward and backward pass.
    pub model: &'a Model,
    /// The device's examples.
    pub data: &'a dyn Dataset,
    /// Layout, privacy plan and algorithm plan.
    pub plans: Plans<'a>,
    /// Active coordinates.
    pub mask: &'a Mask,
    /// Centre and scale.
    pub standardisation: &'a Standardisation,
}

impl LocalRound<'_> {
    /// One private step at `parameters`: sample, per-example gradients, standardise,
    /// mask, clip, sum, noise.
    ///
    /// An empty sample is a step like any other: zero plus noise, and it was charged.
    ///
    /// # Errors
    /// Those of reading examples, of the model, and of the privacy core.
    pub fn step(
        &self,
        parameters: &[f32],
        permit: &Permit,
        seed: &NoiseSeed,
        step: u32,
    ) -> Result<Released, Error> {
        let plan = self.plans.privacy;
        let noise = Noise::draw(plan, permit, seed, step, self.mask.active_count())?;
        let drawn = seed.poisson_sample(u64::from(step), plan.rate, self.data.len());
        let sum = self.clipped_sum(parameters, &drawn)?;
        Ok(noise.release(sum, self.mask.active())?)
    }

    /// Exact sum of the clipped gradients of the examples at `indices`.
    ///
    /// Micro-batches have a fixed size and their sums are integers, so the result does
    /// not depend on the number of threads.
    ///
    /// # Errors
    /// Those of reading examples and of the model.
    pub fn clipped_sum(&self, parameters: &[f32], indices: &[usize]) -> Result<ClippedSum, Error> {
        let lattice = self.plans.privacy.lattice(self.mask.active_count())?;
        let pass = Pass {
            data: self.data,
            model: self.model.bind(parameters)?,
            d: parameters.len(),
            lattice,
            standardise: self.standardisation.masked(self.mask),
        };
        let empty = || Worker::new(&pass);
        indices
            .par_chunks(MICRO_BATCH)
            .try_fold(empty, |mut worker, chunk| pass.add(&mut worker, chunk).map(|()| worker))
            .map(|worker| worker.map(|w| w.sum))
            .try_reduce(|| empty().sum, |a, b| Ok(a.merge(b)))
    }

    /// The parameters after a plain SGD step along one release.
    ///
    /// # Errors
    /// Those of [`ReleasedGradient::restore`].
    pub fn sgd(
        &self,
        parameters: &[f32],
        released: &Released,
        round: u64,
    ) -> Result<Vec<f32>, Error> {
        let sum = ReleasedSum::of_steps(std::slice::from_ref(released))?;
        let scale = self.plans.release_scale(round);
        let gradient = ReleasedGradient::restore(&sum, self.mask, self.standardisation, scale)?;
        let rate = self.plans.algorithm.local_learning_rate;
        let step = |(w, g): (&f32, &f64)| (f64::from(*w) - rate * g) as f32;
        Ok(parameters.iter().zip(gradient.values()).map(step).collect())
    }
}

/// One pass over a batch: what every micro-batch needs.
struct Pass<'a> {
    data: &'a dyn Dataset,
    model: BoundModel<'a>,
    d: usize,
    lattice: Lattice,
    standardise: MaskedStandardisation,
}

/// What one thread accumulates, with its reused buffers.
struct Worker {
    sum: ClippedSum,
    quanta: Vec<i32>,
    inputs: Vec<f32>,
    labels: Vec<u32>,
}

impl Worker {
    fn new(pass: &Pass<'_>) -> Self {
        let sum = ClippedSum::new(pass.lattice, pass.d);
        Self { sum, quanta: Vec::new(), inputs: Vec::new(), labels: Vec::new() }
    }
}

impl Pass<'_> {
    fn add(&self, worker: &mut Worker, indices: &[usize]) -> Result<(), Error> {
        self.read(worker, indices)?;
        let Worker { sum, quanta, inputs, labels } = worker;
        let mut failed = Ok(());
        self.model.for_each_gradient(inputs, labels, &mut |_, gradient| {
            pulp::Arch::new().dispatch(|| self.standardise.apply(gradient));
            if let Err(e) = sum.add(PerExample::new(gradient), quanta) {
                failed = Err(e);
            }
        })?;
        Ok(failed?)
    }

    fn read(&self, worker: &mut Worker, indices: &[usize]) -> Result<(), Error> {
        let width: usize = self.data.shape().iter().product();
        worker.inputs.resize(indices.len() * width, 0.0);
        worker.labels.clear();
        for (&index, input) in indices.iter().zip(worker.inputs.chunks_exact_mut(width)) {
            worker.labels.push(self.data.read(index, input)?);
        }
        Ok(())
    }
}

/// Adds a release to the sum of a round's releases so far.
pub(crate) fn add_release(sums: &mut Vec<i64>, released: &Released) {
    sums.resize(released.values().len(), 0);
    sums.iter_mut().zip(released.values()).for_each(|(s, v)| *s += v);
}

/// Coarsens a sum to units of 2^shift grid steps, to the nearest, halves upwards.
/// Post-processing of a release.
pub(crate) fn coarsen(sums: &[i64], shift: u32) -> Vec<i64> {
    let half = if shift == 0 { 0 } else { 1_i64 << (shift - 1) };
    sums.iter().map(|s| (s + half) >> shift).collect()
}

#[cfg(test)]
mod tests {
    use adafed_algorithm::{
        AlgorithmPlan, ImportanceRule, Provenance, Retention, ScaleSettings, SgdSettings,
    };
    use adafed_privacy::{
        Adjacency, ClipNorm, Delta, NoiseMultiplier, PrivacyPhase, PrivacyPlan, ResolutionBits,
        SamplingRate, TrustModel,
    };

    use super::*;
    use crate::data::digits;
    use crate::nn::ModelSpec;

    fn privacy() -> PrivacyPlan {
        let phase =
            PrivacyPhase { rounds: 1, noise_multiplier: NoiseMultiplier::new(1.0).unwrap() };
        PrivacyPlan {
            trust: TrustModel::Local,
            adjacency: Adjacency::AddRemove,
            rate: SamplingRate::new(0.5).unwrap(),
            nominal_examples: 100,
            clip: ClipNorm::new(0.1).unwrap(),
            resolution_bits: ResolutionBits::DEFAULT,
            delta: Delta::new(1e-5).unwrap(),
            local_steps: 1,
            warmup: phase,
            main: phase,
        }
    }

    fn algorithm() -> AlgorithmPlan {
        AlgorithmPlan {
            importance: ImportanceRule::Abs,
            random_seed: 0,
            retention: Retention::full(),
            scale: "none".parse::<ScaleSettings>().unwrap(),
            optimizer: SgdSettings { learning_rate: 1.0, final_share: 1.0, momentum: 0.0 },
            local_learning_rate: 1.0,
        }
    }

    #[test]
    fn a_step_sums_to_the_same_bits_on_one_thread_and_on_two() {
        let model = Model::new(&ModelSpec::mnist_cnn()).unwrap();
        let (privacy, algorithm, data) = (privacy(), algorithm(), digits(1, 100));
        let (layout, d) = (model.layout(), model.parameters());
        let active = (0..d as u32).filter(|j| j % 3 > 0).collect();
        let mask = Mask::published(d, active, Provenance::Released).unwrap();
        let scale = (0..d).map(|j| 0.5 + (j % 7) as f32).collect();
        let standardisation = Standardisation::new(d, None, Some(scale)).unwrap();
        let round = LocalRound {
            model: &model,
            data: &data,
            plans: Plans { layout, privacy: &privacy, algorithm: &algorithm },
            mask: &mask,
            standardisation: &standardisation,
        };
        let (parameters, indices) = (model.initial(1), (0..100).collect::<Vec<_>>());
        let sum = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| round.clipped_sum(&parameters, &indices)).unwrap().reveal()
        };
        assert_eq!(sum(1), sum(2));
    }

    #[test]
    fn coarsening_rounds_to_the_nearest_unit() {
        assert_eq!(coarsen(&[7, 8, -8, -9, 24], 4), [0, 1, 0, -1, 2]);
        assert_eq!(coarsen(&[7, -9], 0), [7, -9]);
    }
}
