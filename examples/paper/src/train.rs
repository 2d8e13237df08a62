//! Training as a server and its devices do it, on one machine, without the wire between them.
//!
//! The steps are the product's own: ledger, local rounds, noise, and the training state that
//! server and devices share. Only the seeds of the noise are chosen, so that a run can be
//! repeated to the last digit.

use std::borrow::Cow;
use std::time::Instant;

use adafed::algorithm::{Mask, Plans, Provenance, ReleasedSum, TrainingState};
use adafed::data::Examples;
use adafed::nn::Model;
use adafed::privacy::{
    EphemeralStore, Ledger, NoiseMultiplier, NoiseSeed, Permit, Policy, PrivacyPlan, RoundRelease,
};
use adafed::train::{LocalRound, PlainGradient, Setting};
use adafed::wire::TaskPlan;

use crate::Error;
use crate::settings::{Ranking, Settings};

/// What a run tells while it goes.
pub(crate) struct Step {
    pub(crate) round: u64,
    pub(crate) rounds: u64,
}

/// What is trained.
pub(crate) struct Trainer<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) plan: &'a TaskPlan,
    pub(crate) model: &'a Model,
    /// One part a device.
    pub(crate) shares: &'a [Cow<'a, Examples>],
    pub(crate) seed: u64,
}

/// The models that a run ends with.
pub(crate) struct Trained {
    /// The last iterate.
    pub(crate) last: Vec<f32>,
    /// The moving average of the released models, where one is kept.
    pub(crate) average: Option<Vec<f32>>,
    /// Upload of one device, summed over rounds, in bytes.
    pub(crate) bytes_up: u64,
    pub(crate) train_s: f64,
}

/// A device: its examples and its ledger.
struct Device<'a> {
    index: u64,
    data: &'a Examples,
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
        let first = match self.settings.model.starts_at_zero() {
            true => vec![0.0; self.model.parameters()],
            false => self.model.initial(self.seed),
        };
        let mut devices = self.devices()?;
        let mut state = TrainingState::new(&plan.layout, first)?;
        let mut average =
            (self.settings.average > 0.0).then(|| Average::new(self.settings.average));
        let mut oracle = Oracle::new(self);
        let mut bytes_up = 0;
        for round in 0..rounds {
            self.round(&mut state, &mut devices, &mut oracle)?;
            average.iter_mut().for_each(|average| average.add(state.parameters()));
            bytes_up += plan.expected_update_bytes(round);
            show(Step { round: round + 1, rounds });
        }
        let (last, average) = (state.parameters().to_vec(), average.map(Average::value));
        Ok(Trained { last, average, bytes_up, train_s: started.elapsed().as_secs_f64() })
    }

    fn devices(&self) -> Result<Vec<Device<'_>>, Error> {
        let digest = self.plan.digest()?.to_string();
        let device = |(index, data): (usize, _)| {
            let mut ledger = Ledger::open(EphemeralStore::default(), policy(&self.plan.privacy)?)?;
            ledger.accept(TASK, &digest, &self.plan.privacy)?;
            Ok(Device { index: index as u64, data, ledger })
        };
        self.shares.iter().map(|share| &**share).enumerate().map(device).collect()
    }

    fn round(
        &self,
        state: &mut TrainingState,
        devices: &mut [Device<'_>],
        oracle: &mut Oracle<'_>,
    ) -> Result<(), Error> {
        let plans = self.plan.plans();
        let mask = match oracle.mask(state, plans)? {
            Some(mask) => mask,
            None => state.mask(plans),
        };
        let standardisation = state.standardisation(plans, &mask)?;
        let steps = self.plan.privacy.local_steps;
        let mut sum = ReleasedSum::new(mask.active_count(), steps);
        for device in devices {
            let permit = device.ledger.charge(TASK, state.round())?;
            let (model, data) = (self.model, device.data);
            let local = LocalRound::new(Setting {
                model,
                data,
                plans,
                mask: &mask,
                standardisation: &standardisation,
            })?;
            let release = self.local(&local, &permit, device.index, state)?;
            sum.add_device(release.values())?;
            device.ledger.record_release(permit, "")?;
        }
        Ok(state.advance(plans, &mask, &standardisation, &sum)?)
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
