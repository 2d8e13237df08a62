//! Local training: one step is one use of the noise mechanism.

mod norms;
mod pass;
mod plain;
#[cfg(feature = "candle")]
mod tensors;

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adafed_algorithm::{Mask, Plans, Proximal, Standardisation, descend};
use adafed_privacy::{
    ClippedSum, Noise, NoiseMemory, NoiseSeed, Permit, Places, Released, Rounded,
};

pub use self::plain::PlainGradient;

use self::pass::{Constants, Pass, Worker};
use crate::Error;
use crate::data::{self, Dataset, View};
use crate::nn::Model;
use crate::nn::cpu::{Engine, Workspace};
use crate::profile;

impl Model {
    /// Reads a micro-batch of `count` through `read`, and refuses what the model cannot take.
    fn read(
        &self,
        count: usize,
        workspace: &mut Workspace,
        targets: &mut Vec<f32>,
        read: impl FnMut(usize, &mut [f32], &mut [f32]) -> Result<(), data::Error>,
    ) -> Result<(), Error> {
        targets.resize(count * self.target_len(), 0.0);
        self.read_into(workspace.inputs(self.engine(), count), targets, read)
    }

    /// As [`Model::read`], into slices of the right lengths: `inputs` are what layers see.
    fn read_into(
        &self,
        inputs: &mut [f32],
        targets: &mut [f32],
        read: impl FnMut(usize, &mut [f32], &mut [f32]) -> Result<(), data::Error>,
    ) -> Result<(), Error> {
        let Some(features) = self.features()? else {
            return self.read_raw(inputs, targets, read);
        };
        let mut raw = vec![0.0; targets.len() / self.target_len() * self.input_len()];
        self.read_raw(&mut raw, targets, read)?;
        features.compute(&raw, inputs);
        Ok(())
    }

    /// As the data set has them.
    fn read_raw(
        &self,
        inputs: &mut [f32],
        targets: &mut [f32],
        mut read: impl FnMut(usize, &mut [f32], &mut [f32]) -> Result<(), data::Error>,
    ) -> Result<(), Error> {
        let slots = inputs.chunks_exact_mut(self.input_len());
        let slots = slots.zip(targets.chunks_exact_mut(self.target_len()));
        let count = slots.len();
        for (slot, (input, target)) in slots.enumerate() {
            read(slot, input, target)?;
        }
        self.check_inputs(inputs, count)?;
        Ok(self.check_targets(targets)?)
    }
}

/// The views of the examples of a step, one after the other.
#[derive(Clone, Copy)]
struct Views<'a> {
    data: &'a dyn Dataset,
    /// Views of an example.
    each: usize,
    /// What dropout masks and views of this step are drawn from: secret.
    seed: u64,
}

impl Views<'_> {
    /// What dropout masks and changes of the view in a place are drawn from: injective in
    /// example and view, so that no two of a step share them.
    fn stream(&self, indices: &[usize], place: usize) -> u64 {
        let number = indices[place / self.each] * self.each + place % self.each;
        self.seed ^ (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn read(
        &self,
        indices: &[usize],
        place: usize,
        input: &mut [f32],
        target: &mut [f32],
    ) -> Result<(), data::Error> {
        let view = View { number: place % self.each, draw: self.stream(indices, place) };
        self.data.read_view(indices[place / self.each], view, input, target)
    }

    /// Takes the gradient of the view in a place into `sum`. With an example's last view,
    /// `gradient` becomes the mean of all; true then.
    fn completes(&self, place: usize, gradient: &mut [f32], sum: &mut Vec<f32>) -> bool {
        if self.each == 1 {
            return true;
        }
        let view = place % self.each;
        match view {
            0 => gradient.clone_into(sum),
            _ => sum.iter_mut().zip(&*gradient).for_each(|(sum, value)| *sum += value),
        }
        let share = 1.0 / self.each as f32;
        let is_last = view + 1 == self.each;
        if is_last {
            gradient.iter_mut().zip(sum).for_each(|(value, sum)| *value = *sum * share);
        }
        is_last
    }
}

/// What is fixed during a round: model, data and the public constants.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// The model's forward and backward pass.
    pub model: &'a Model,
    /// The device's examples, as the model takes them. Where it has features, they are
    /// computed whenever an example is drawn; see [`Model::layers`] for once.
    pub data: &'a dyn Dataset,
    /// Layout, privacy plan, algorithm plan and federation plan.
    pub plans: Plans<'a>,
    /// Active coordinates.
    pub mask: &'a Mask,
    /// Centre and scale.
    pub standardisation: &'a Standardisation,
}

impl<'a> Setting<'a> {
    fn views(&self) -> usize {
        self.data.views().max(1)
    }

    /// Gradients of several views are averaged, so they are formed.
    fn engine(&self) -> &'a Engine {
        if self.views() == 1 { self.model.engine() } else { self.model.materialised() }
    }
}

/// One round on one device, with the buffers that its steps share.
pub struct LocalRound<'a> {
    setting: Setting<'a>,
    kept: Arc<Kept>,
    may_go_on: &'a (dyn Fn() -> bool + Sync),
}

/// What the steps of one round share: public constants, and buffers that hold nothing from
/// one step to the next.
pub struct Kept {
    constants: Constants,
    /// Where each active coordinate lies in the engine's order.
    places: Places,
    workers: Mutex<Vec<Worker>>,
    noise: Mutex<NoiseMemory>,
}

impl<'a> LocalRound<'a> {
    /// Lays the round's constants out in the engine's order.
    ///
    /// # Errors
    /// Where the plan's lattice is too coarse for so many active coordinates.
    pub fn new(setting: Setting<'a>) -> Result<Self, Error> {
        let Setting { model, plans, mask, standardisation, .. } = setting;
        // The tensor path gives whole gradients, in flat order.
        let engine = model.is_on_kernels().then(|| setting.engine());
        let flat = || (0..model.parameters() as u32).collect();
        let order: Cow<'_, [u32]> =
            engine.map_or_else(|| Cow::Owned(flat()), |engine| Cow::Borrowed(&engine.order[..]));
        let arranged = |flat: &[f32]| order.iter().map(|j| flat[*j as usize]).collect();
        let masked = standardisation.masked(mask);
        let gain = masked.gains().map(arranged);
        let centre = masked.centres().map(arranged);
        let mut inverse = vec![0; order.len()];
        order.iter().zip(0..).for_each(|(flat, place)| inverse[*flat as usize] = place);
        let places: Vec<u32> = mask.active().iter().map(|flat| inverse[*flat as usize]).collect();
        let lattice = plans.privacy.lattice(rounded(engine, centre.is_some(), &places))?;
        let constants = Constants::new(engine, order.len(), lattice, gain, centre)?;
        let places = constants.layout.places(places)?;
        let (workers, noise) = Default::default();
        Ok(Self::resume(setting, Arc::new(Kept { constants, places, workers, noise })))
    }

    /// Goes on with what an earlier step of the same round left in [`LocalRound::kept`].
    #[must_use]
    pub fn resume(setting: Setting<'a>, kept: Arc<Kept>) -> Self {
        Self { setting, kept, may_go_on: &|| true }
    }

    /// Asks before every micro-batch whether to go on. A sum that may not, is
    /// [`Error::Interrupted`].
    #[must_use]
    pub fn interruptible(self, may_go_on: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self { may_go_on, ..self }
    }

    /// What a later step of the same round can go on with.
    #[must_use]
    pub fn kept(&self) -> Arc<Kept> {
        self.kept.clone()
    }

    fn engine(&self) -> &'a Engine {
        self.setting.engine()
    }

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
        let plan = self.setting.plans.privacy;
        let noise = self.noise(permit, seed, step)?;
        let drawn = plan.sampler().draw(seed, step, self.setting.data.len());
        let mut sum = self.clipped_sum(parameters, &drawn, seed.dropout(u64::from(step)))?;
        self.release(noise, &mut sum)
    }

    /// The noise of one step, drawn before its sum is known.
    ///
    /// # Errors
    /// As [`Noise::draw`].
    pub fn noise(&self, permit: &Permit, seed: &NoiseSeed, step: u32) -> Result<Noise, Error> {
        let (plan, active) = (self.setting.plans.privacy, self.kept.places.len());
        let memory = &mut lock(&self.kept.noise);
        Ok(Noise::draw_with(memory, plan, permit, seed, step, active)?)
    }

    /// Adds `noise` to a sum of this round, and empties it.
    ///
    /// # Errors
    /// Where the noise was drawn for another number of coordinates.
    pub fn release(&self, noise: Noise, sum: &mut RoundSum) -> Result<Released, Error> {
        Ok(noise.release(&mut sum.parts(), &self.kept.places)?)
    }

    /// Takes back a release that nobody needs any more: the next one uses its memory.
    pub fn reuse(&self, released: Released) {
        lock(&self.kept.noise).reuse(released);
    }

    /// Exact sum of the clipped gradients of the examples at `indices`, in the engine's
    /// order of coordinates. `dropout` is what dropout masks and views are drawn from: secret, and
    /// another one each step ([`NoiseSeed::dropout`]).
    ///
    /// Threads take micro-batches as they come. Micro-batches have a fixed size and their
    /// sums are integers, so the result does not depend on the number of threads.
    ///
    /// # Errors
    /// Those of reading examples and of the model.
    pub fn clipped_sum(
        &self,
        parameters: &[f32],
        indices: &[usize],
        dropout: u64,
    ) -> Result<RoundSum, Error> {
        let Setting { model, data, .. } = self.setting;
        let (engine, constants) = (self.engine(), &self.kept.constants);
        let views = Views { data, each: self.setting.views(), seed: dropout };
        #[cfg(feature = "candle")]
        if let Some(tensors) = model.tensors() {
            let pass = tensors::TensorPass { model, tensors, views, constants, parameters };
            let mut worker = self.worker();
            pass.add(&mut worker, indices)?;
            return Ok(self.held(vec![worker]));
        }
        // Before every thread makes them for itself.
        model.features()?;
        let bound = model.bind(parameters)?;
        let pass = Pass { engine, model: &bound, views, constants };
        let next = AtomicUsize::new(0);
        let parts = rayon::broadcast(|_| self.work(&pass, indices, &next));
        Ok(self.held(parts.into_iter().collect::<Result<_, _>>()?))
    }

    /// One thread's share: micro-batches until there are no more.
    fn work(
        &self,
        pass: &Pass<'_>,
        indices: &[usize],
        next: &AtomicUsize,
    ) -> Result<Worker, Error> {
        let mut worker = self.worker();
        let size = pass.engine.micro_batch;
        loop {
            let start = next.fetch_add(size, Ordering::Relaxed);
            if start >= indices.len() {
                profile::per_example(|| worker.sum.settle());
                return Ok(worker);
            }
            let micro_batch = &indices[start..indices.len().min(start + size)];
            let may_go_on = (self.may_go_on)().then_some(()).ok_or(Error::Interrupted);
            if let Err(error) = may_go_on.and_then(|()| pass.add(&mut worker, micro_batch)) {
                next.store(indices.len(), Ordering::Relaxed);
                return Err(error);
            }
        }
    }

    fn worker(&self) -> Worker {
        let kept = lock(&self.kept.workers).pop();
        kept.unwrap_or_else(|| {
            Worker::new(self.engine(), self.setting.model.workspace(), &self.kept.constants)
        })
    }

    fn held(&self, workers: Vec<Worker>) -> RoundSum {
        RoundSum { kept: self.kept.clone(), workers }
    }

    /// A plain SGD step of the parameters, in place, along one release; under a plan with a
    /// proximal term mu, w <- w - lr (g + mu (w - w0)) with w0 the round's model in `start`
    /// `[d]`, which is not read otherwise. Post-processing of releases.
    ///
    /// It moves where the next release of the round is taken, no more: what is uploaded is
    /// the sum of the releases, not the model reached. Averaging the models w_E instead would
    /// average w0 - w_E = lr sum_e (g_e + mu (w_e - w0)): the server leaves out the pull,
    /// which is a function of the releases g_e alone, and sees their sum at full precision
    /// and with noise of a known variance.
    ///
    /// # Errors
    /// Where the release has not one value an active coordinate, or `start` is needed and
    /// has not one a parameter.
    pub fn sgd(
        &self,
        parameters: &mut [f32],
        start: &[f32],
        released: &Released,
        round: u64,
    ) -> Result<(), Error> {
        let Setting { plans, mask, standardisation, .. } = self.setting;
        let (scale, rate) = (plans.release_scale(round), plans.algorithm.local_learning_rate);
        let strength = plans.federation.proximal;
        let proximal = (strength > 0.0).then_some(Proximal { strength, start });
        Ok(descend(parameters, released, mask, standardisation, scale, rate, proximal)?)
    }
}

/// How the coordinates at `places` are rounded: weights of outer products once, in the sum; so
/// are rows of tables, besides example by example, where a centre is taken off in the sum.
fn rounded(engine: Option<&Engine>, centred: bool, places: &[u32]) -> Rounded {
    let Some(engine) = engine else { return places.len().into() };
    let count = |range: std::ops::Range<usize>| {
        places.iter().filter(|place| range.contains(&(**place as usize))).count()
    };
    let tables = if centred { count(engine.dense_len..engine.bias_start) } else { 0 };
    let each = count(0..engine.each_len);
    Rounded { each, once: places.len() - each + tables }
}

/// A sum of one round, in parts; its buffers go back to the round, emptied, when it is
/// dropped.
pub struct RoundSum {
    kept: Arc<Kept>,
    workers: Vec<Worker>,
}

impl RoundSum {
    fn parts(&mut self) -> Vec<&mut ClippedSum> {
        self.workers.iter_mut().map(|worker| &mut worker.sum).collect()
    }

    /// The exact sums, in grid steps, in the engine's order: private values, for tests only.
    #[cfg(any(test, feature = "test-util"))]
    #[must_use]
    pub fn reveal(&mut self) -> Vec<i64> {
        ClippedSum::reveal(self.parts())
    }
}

impl Drop for RoundSum {
    fn drop(&mut self) {
        self.workers.iter_mut().for_each(|worker| worker.sum.clear());
        lock(&self.kept.workers).append(&mut self.workers);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
