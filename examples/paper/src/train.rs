//! Training as a server and its devices do it, on one machine, without the wire between them.
//!
//! The steps are the product's own: ledger, local rounds, noise, and the training state that
//! server and devices share. Only the seeds of the noise are chosen, so that a run can be
//! repeated to the last digit.

use std::borrow::Cow;
use std::time::Instant;

use adafed::algorithm::{Mask, Plans, Provenance, ReleasedSum, Standardisation, TrainingState};
use adafed::data::{Augmented, Dataset, Examples};
use adafed::nn::Model;
use adafed::privacy::{
    EphemeralStore, Ledger, NoiseMultiplier, NoiseSeed, Permit, Policy, PrivacyPlan, RoundRelease,
};
use adafed::train::{LocalRound, PlainGradient, Setting};
use adafed::wire::TaskPlan;

use crate::Error;
use crate::quantile::Tracker;
use crate::released::ReleasePlan;
use crate::settings::{Ranking, Settings};

/// What a run tells while it goes.
pub(crate) struct Step {
    pub(crate) round: u64,
    pub(crate) rounds: u64,
}

impl Step {
    /// The share of the run that is done.
    pub(crate) fn share(&self) -> f64 {
        self.round as f64 / self.rounds as f64
    }
}

/// What is trained.
pub(crate) struct Trainer<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) plan: &'a TaskPlan,
    pub(crate) model: &'a Model,
    /// Public parameters of the first layers; none where they are drawn.
    pub(crate) start: &'a [f32],
    /// One part a device.
    pub(crate) shares: &'a [Cow<'a, Examples>],
    /// Plan of the counts that the clip norm follows, where it does.
    pub(crate) counts: Option<&'a ReleasePlan>,
    pub(crate) seed: u64,
}

/// The models that a run ends with.
pub(crate) struct Trained {
    /// The last iterate.
    pub(crate) last: Vec<f32>,
    /// The moving average of the released models, where one is kept.
    pub(crate) average: Option<Vec<f32>>,
    pub(crate) train_s: f64,
    /// Noise energy of a round as a share of what all coordinates at scale 1 have, in the mean.
    pub(crate) noise_energy: f64,
    /// The clip norm that would come next, where it is followed.
    pub(crate) clip: Option<f64>,
}

/// What a run carries from round to round.
struct Memory<'a> {
    state: TrainingState,
    devices: Vec<Device<'a>>,
    oracle: Oracle<'a>,
    tracker: Option<Tracker<'a>>,
    noise_energy: f64,
}

/// A device: its examples and its ledger.
struct Device<'a> {
    index: u64,
    data: Box<dyn Dataset + 'a>,
    ledger: Ledger<EphemeralStore>,
}

const TASK: &str = "paper";

impl Trainer<'_> {
    /// Trains to the end.
    ///
    /// # Errors
    /// Those of the privacy core, of the model and of the algorithm.
    pub(crate) fn run(&self, mut show: impl FnMut(Step)) -> Result<Trained, Error> {
        let (plan, started) = (self.plan, Instant::now());
        let rounds = plan.privacy.rounds();
        let mut first = match self.settings.model.starts_at_zero() {
            true => vec![0.0; self.model.parameters()],
            false => self.model.initial(self.seed),
        };
        first[..self.start.len()].copy_from_slice(self.start);
        let mut memory = Memory {
            state: TrainingState::new(&plan.layout, first)?,
            devices: self.devices()?,
            oracle: Oracle::new(self),
            tracker: self.tracker()?,
            noise_energy: 0.0,
        };
        let mut average =
            (self.settings.average > 0.0).then(|| Average::new(self.settings.average));
        for round in 0..rounds {
            self.round(&mut memory)?;
            average.iter_mut().for_each(|average| average.add(memory.state.parameters()));
            show(Step { round: round + 1, rounds });
        }
        Ok(Trained {
            last: memory.state.parameters().to_vec(),
            average: average.map(Average::value),
            train_s: started.elapsed().as_secs_f64(),
            noise_energy: memory.noise_energy / rounds as f64,
            clip: memory.tracker.map(|tracker| tracker.clip()),
        })
    }

    fn tracker(&self) -> Result<Option<Tracker<'_>>, Error> {
        let (Some(quantile), Some(counts)) = (self.settings.quantile, self.counts) else {
            return Ok(None);
        };
        Tracker::new(self.settings, quantile, counts, self.seed).map(Some)
    }

    fn devices<'s>(&'s self) -> Result<Vec<Device<'s>>, Error> {
        let digest = self.plan.digest()?.to_string();
        let device = |(index, share): (usize, &'s Cow<'_, Examples>)| {
            let data: Box<dyn Dataset + 's> = match self.settings.augmentation {
                None => Box::new(&**share),
                Some(augmentation) => Box::new(Augmented::new(&**share, augmentation)?),
            };
            let mut ledger = Ledger::open(EphemeralStore::default(), policy(&self.plan.privacy)?)?;
            ledger.accept(TASK, &digest, &self.plan.privacy)?;
            Ok(Device { index: index as u64, data, ledger })
        };
        self.shares.iter().enumerate().map(device).collect()
    }

    fn round(&self, memory: &mut Memory<'_>) -> Result<(), Error> {
        let Memory { state, devices, oracle, tracker, noise_energy } = memory;
        let (plans, d) = (self.plan.plans(), state.parameters().len());
        let mask = match oracle.mask(state, plans)? {
            Some(mask) => mask,
            None => state.mask(plans),
        };
        let standardisation = match tracker {
            Some(tracker) => tracker.standardisation(d)?,
            None => state.standardisation(plans, &mask)?,
        };
        // A step whose clip norm moves keeps its length.
        let restored = match tracker {
            Some(_) => &Standardisation::none(),
            None => &standardisation,
        };
        let squares = mask.indices().map(|j| restored.scale(j).powi(2));
        *noise_energy += squares.sum::<f64>() / d as f64;
        let steps = self.plan.privacy.local_steps;
        let mut sum = ReleasedSum::new(mask.active_count(), steps);
        for device in devices {
            let permit = device.ledger.charge(TASK, state.round())?;
            let local = LocalRound::new(Setting {
                model: self.model,
                data: &*device.data,
                plans,
                mask: &mask,
                standardisation: &standardisation,
            })?;
            let release = self.local(&local, &permit, device.index, state)?;
            sum.add_device(release.values())?;
            device.ledger.record_release(permit, "")?;
        }
        if let Some(tracker) = tracker {
            let model = self.model.bind(state.parameters())?;
            tracker.follow(&model, &mask, self.shares, state.round())?;
        }
        Ok(state.advance(plans, &mask, restored, &sum)?)
    }

    fn local(
        &self,
        local: &LocalRound<'_>,
        permit: &Permit,
        device: u64,
        state: &TrainingState,
    ) -> Result<RoundRelease, Error> {
        let (start, round) = (state.parameters(), state.round());
        let seed = NoiseSeed::predictable(mixed(&[self.seed, device, round]));
        let steps = self.plan.privacy.local_steps;
        let mut sums = RoundRelease::new();
        let mut parameters = (steps > 1).then(|| start.to_vec());
        for step in 0..steps {
            let at = parameters.as_deref().unwrap_or(start);
            let released = local.step(at, permit, &seed, step)?;
            if let Some(parameters) = parameters.as_mut().filter(|_| step + 1 < steps) {
                local.sgd(parameters, start, &released, round)?;
            }
            sums.add(&released)?;
            local.reuse(released);
        }
        Ok(sums)
    }
}

/// A policy that allows exactly the plan.
pub(crate) fn policy(plan: &PrivacyPlan) -> Result<Policy, Error> {
    let cap = adafed::privacy::Epsilon::new(plan.epsilon().epsilon * 1.1)?;
    let least_noise_multiplier = NoiseMultiplier::new(0.0)?;
    Ok(Policy { least_noise_multiplier, ..Policy::new(cap, plan.delta)? })
}

/// One number of several, by rounds of SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) fn mixed(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |state: u64, part| {
        let mut z = (state ^ part).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

/// Moving average of models with bias correction: post-processing of releases.
struct Average {
    decay: f64,
    weight: f64,
    sum: Vec<f64>,
}

impl Average {
    const fn new(decay: f64) -> Self {
        Self { decay, weight: 0.0, sum: Vec::new() }
    }

    fn add(&mut self, model: &[f32]) {
        self.sum.resize(model.len(), 0.0);
        self.weight = self.decay * self.weight + 1.0 - self.decay;
        let (keep, take) = (self.decay, 1.0 - self.decay);
        self.sum.iter_mut().zip(model).for_each(|(s, w)| *s = keep * *s + take * f64::from(*w));
    }

    fn value(self) -> Vec<f32> {
        self.sum.iter().map(|s| (s / self.weight) as f32).collect()
    }
}

/// Masks by the gradients themselves. NOT private: a control.
struct Oracle<'a> {
    trainer: Option<&'a Trainer<'a>>,
    /// Sum of absolute mean gradients over the warm-up.
    importance: Vec<f64>,
}

impl<'a> Oracle<'a> {
    fn new(trainer: &'a Trainer<'a>) -> Self {
        let wanted = trainer.settings.importance == Ranking::Oracle;
        Self { trainer: wanted.then_some(trainer), importance: Vec::new() }
    }

    /// The mask of the next round, where this ranking is asked for; looks at the gradient
    /// during the warm-up.
    fn mask(&mut self, state: &TrainingState, plans: Plans<'_>) -> Result<Option<Mask>, Error> {
        let Some(trainer) = self.trainer else { return Ok(None) };
        let (privacy, d) = (plans.privacy, state.parameters().len());
        if privacy.is_warmup(state.round()) {
            self.look(trainer, state.parameters())?;
            return Ok(Some(Mask::full(d)));
        }
        let t = state.round() - privacy.warmup.rounds;
        let retention = plans.algorithm.retention;
        let mut order: Vec<u32> = (0..d as u32).collect();
        let value = |j: u32| self.importance[j as usize];
        order.sort_by(|&i, &j| value(j).total_cmp(&value(i)).then(i.cmp(&j)));
        order.truncate(retention.active_count(t, privacy.main.rounds, d));
        order.sort_unstable();
        Ok(Some(Mask::published(d, order, Provenance::Public)?))
    }

    fn look(&mut self, trainer: &Trainer<'_>, parameters: &[f32]) -> Result<(), Error> {
        for data in trainer.shares {
            let indices: Vec<usize> = (0..data.len()).collect();
            let sum = PlainGradient::new(trainer.model, &**data).sum(parameters, &indices)?;
            self.importance.resize(sum.len(), 0.0);
            self.importance.iter_mut().zip(sum).for_each(|(s, g)| *s += f64::from(g.abs()));
        }
        Ok(())
    }
}
