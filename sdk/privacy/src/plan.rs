//! The privacy plan of a task: every number that a guarantee rests on, immutable, and
//! the one place that builds sampler, lattice, noise and event together.

use serde::{Deserialize, Serialize};

use crate::lattice::{Lattice, ResolutionBits};
use crate::noise::LARGEST_STD;
use crate::{
    Adjacency, ClipNorm, Composition, Delta, Error, Event, NoiseMultiplier, PoissonSampler,
    SamplingRate, accounting,
};

/// Against whom the releases are private.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TrustModel {
    /// Every upload is private by itself, against the server and everybody behind it.
    Local,
}

/// Rounds that share one noise multiplier.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivacyPhase {
    /// Number of rounds.
    pub rounds: u64,
    /// Noise multiplier sigma of every local step in them.
    pub noise_multiplier: NoiseMultiplier,
}

/// Privacy parameters of a task. A device stores their digest: they never change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivacyPlan {
    /// Against whom.
    pub trust: TrustModel,
    /// Neighbouring relation; the unit is one example.
    pub adjacency: Adjacency,
    /// Poisson sampling rate q of each local step.
    pub rate: SamplingRate,
    /// Nominal number of examples on a device: a public constant, the same for all.
    /// The true number is private and is never divided by.
    pub nominal_examples: u32,
    /// L2 clip norm C in the standardised space.
    pub clip: ClipNorm,
    /// Grid steps in C, as a power of two.
    pub resolution_bits: ResolutionBits,
    /// Delta at which epsilon is stated.
    pub delta: Delta,
    /// Local steps E of a round, each of them one mechanism use.
    pub local_steps: u32,
    /// Rounds in which every coordinate is active and importance is learned.
    pub warmup: PrivacyPhase,
    /// Rounds under the mask.
    pub main: PrivacyPhase,
}

impl PrivacyPlan {
    /// Checks what single fields cannot.
    ///
    /// # Errors
    /// [`Error::Parameter`] names the first field that makes the plan meaningless.
    pub fn check(&self) -> Result<(), Error> {
        let parameter = |name, value, expected| Err(Error::Parameter { name, value, expected });
        if self.rate.value() <= 0.0 {
            return parameter("sampling rate", self.rate.value(), "a number in (0, 1]");
        }
        if self.nominal_examples == 0 {
            return parameter("nominal examples", 0.0, "at least 1");
        }
        if self.local_steps == 0 {
            return parameter("local steps", 0.0, "at least 1");
        }
        if self.delta.value() <= 0.0 || self.delta.value() >= 1.0 {
            return parameter("delta", self.delta.value(), "a number in (0, 1)");
        }
        if self.rounds() == 0 {
            return parameter("rounds", 0.0, "at least 1");
        }
        let least = self.least_noise_multiplier().value();
        if least <= 0.0 {
            return parameter("noise multiplier", least, "a number > 0: no release without noise");
        }
        // Refused here as well as where noise is drawn, so that no charge is spent on it.
        let std_steps = self.noise_std_steps(0).max(self.noise_std_steps(self.rounds() - 1));
        if std_steps > LARGEST_STD {
            let expected = "at most 2^34 grid steps: a smaller noise multiplier or resolution";
            return parameter("standard deviation of noise in grid steps", std_steps, expected);
        }
        Ok(())
    }

    /// Rounds of both phases.
    #[must_use]
    pub const fn rounds(&self) -> u64 {
        self.warmup.rounds.saturating_add(self.main.rounds)
    }

    /// What draws the batches of every local step.
    #[must_use]
    pub const fn sampler(&self) -> PoissonSampler {
        PoissonSampler::new(self.rate)
    }

    /// Expected batch size L = q * nominal examples: the only divisor ever used.
    #[must_use]
    pub fn expected_batch(&self) -> f64 {
        self.sampler().expected_batch(self.nominal_examples)
    }

    /// The smaller noise multiplier of the phases that have rounds.
    #[must_use]
    pub fn least_noise_multiplier(&self) -> NoiseMultiplier {
        let phases = [self.warmup, self.main].into_iter().filter(|p| p.rounds > 0);
        let sigma = phases.map(|p| p.noise_multiplier.value()).fold(f64::INFINITY, f64::min);
        NoiseMultiplier::new(sigma).unwrap_or(self.main.noise_multiplier)
    }

    /// Whether `round` learns importance.
    #[must_use]
    pub const fn is_warmup(&self, round: u64) -> bool {
        round < self.warmup.rounds
    }

    /// Noise multiplier of `round`.
    #[must_use]
    pub const fn noise_multiplier(&self, round: u64) -> NoiseMultiplier {
        if self.is_warmup(round) {
            self.warmup.noise_multiplier
        } else {
            self.main.noise_multiplier
        }
    }

    /// What a device that takes part in `round` is charged; `None` after the last round.
    #[must_use]
    pub fn round_event(&self, round: u64) -> Option<Event> {
        let count = u64::from(self.local_steps);
        let event = self.sampler().event(self.adjacency, self.noise_multiplier(round), count);
        (round < self.rounds()).then_some(event)
    }

    /// Everything a device releases that takes part in every round.
    #[must_use]
    pub fn composition(&self) -> Composition {
        let phase = |p: PrivacyPhase| {
            let count = p.rounds.saturating_mul(u64::from(self.local_steps));
            self.sampler().event(self.adjacency, p.noise_multiplier, count)
        };
        [phase(self.warmup), phase(self.main)].into_iter().collect()
    }

    /// Epsilon, at the plan's delta, of taking part in every round.
    #[must_use]
    pub fn epsilon(&self) -> accounting::EpsilonBound {
        accounting::epsilon(&self.composition(), self.delta)
    }

    /// The lattice of a step with these active coordinates.
    ///
    /// # Errors
    /// [`Error::Parameter`] when the resolution is too coarse for so many.
    pub fn lattice(&self, active: impl Into<crate::Rounded>) -> Result<Lattice, Error> {
        Lattice::new(self.clip, self.resolution_bits, active)
    }

    /// Standard deviation of one step's noise, in grid steps.
    #[must_use]
    pub fn noise_std_steps(&self, round: u64) -> f64 {
        self.noise_multiplier(round).value() * f64::from(self.resolution_bits.steps_per_clip())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn valid() -> Value {
        json!({
            "trust": "local", "adjacency": "add_remove", "rate": 0.05, "nominal_examples": 600,
            "clip": 0.5, "resolution_bits": 18, "delta": 1e-5, "local_steps": 2,
            "warmup": { "rounds": 5, "noise_multiplier": 1.1 },
            "main": { "rounds": 20, "noise_multiplier": 1.1 },
        })
    }

    fn refused(change: impl FnOnce(&mut Value)) -> bool {
        let mut json = valid();
        change(&mut json);
        serde_json::from_value::<PrivacyPlan>(json).map_or(true, |plan| plan.check().is_err())
    }

    #[test]
    fn a_plan_with_any_field_out_of_range_is_refused() {
        assert!(!refused(|_| ()));
        for (field, value) in [
            ("trust", json!("central")),
            ("adjacency", json!("zero_out")),
            ("rate", json!(0.0)),
            ("rate", json!(1.1)),
            ("nominal_examples", json!(0)),
            ("clip", json!(0)),
            ("resolution_bits", json!(21)),
            ("delta", json!(0)),
            ("delta", json!(1)),
            ("local_steps", json!(0)),
            ("local_steps", json!(-1)),
            ("sensitivity", json!(0.1)),
        ] {
            assert!(refused(|plan| plan[field] = value.clone()), "{field}: {value}");
        }
        for sigma in [json!(0), json!(-1), json!(null), json!("nan"), json!(1e12)] {
            assert!(refused(|plan| plan["main"]["noise_multiplier"] = sigma.clone()), "{sigma}");
        }
        for field in valid().as_object().unwrap().keys() {
            assert!(refused(|plan| drop(plan.as_object_mut().unwrap().remove(field))), "{field}");
        }
    }

    #[test]
    fn a_plan_without_rounds_is_refused() {
        assert!(refused(|plan| {
            plan["warmup"]["rounds"] = json!(0);
            plan["main"]["rounds"] = json!(0);
        }));
    }

    #[test]
    fn a_plan_of_replacement_is_charged_as_one() {
        let mut json = valid();
        let one = serde_json::from_value::<PrivacyPlan>(json.clone()).unwrap();
        json["adjacency"] = json!("replace_one");
        let two = serde_json::from_value::<PrivacyPlan>(json).unwrap();
        assert_eq!(two.round_event(0).unwrap().adjacency, Adjacency::ReplaceOne);
        assert!(two.epsilon().epsilon > one.epsilon().epsilon);
    }
}
