//! A clip norm that follows a quantile of the gradients' norms (Andrew et al., Differentially
//! Private Learning with Adaptive Clipping, 2021).
//!
//! Clipping to C_t is dividing by the scale C_t / C, and clipping to the C of the plan: so the
//! noise is that of the norm that clipped. The scale is not put back: steps keep the length that
//! they have at C, as gradients become shorter (De et al., Unlocking High-Accuracy Differentially
//! Private Image Classification through Scale, 2022, normalise likewise). The share of examples
//! below C_t is released each round, from a sample of its own, with noise of its own that the
//! ledger is charged for, over a public divisor.

use std::borrow::Cow;

use adafed::algorithm::{Mask, Standardisation};
use adafed::data::{self, Dataset, Examples};
use adafed::nn::BoundModel;
use adafed::privacy::{NoiseSeed, PrivacyPlan};

use crate::Error;
use crate::released::{self, ReleasePlan, Releaser, Uses};
use crate::settings::{Quantile, Settings};
use crate::train::mixed;

/// Tells the counts' randomness from that of training.
const PURPOSE: u64 = u64::MAX - 1;
/// What an example adds to a count: this, or its negative. Half of what 0 or 1 would need.
const VOTE: f64 = 0.5;

/// The plan of the counts: one each round of training.
///
/// # Errors
/// Never in practice: the constants are valid.
pub(crate) fn plan(
    settings: &Settings,
    training: &PrivacyPlan,
    uses: Uses,
) -> Result<ReleasePlan, Error> {
    ReleasePlan::new(settings, released::privacy(training, uses, VOTE)?, 1, 1)
}

/// The clip norm of the next round.
pub(crate) struct Tracker<'a> {
    quantile: Quantile,
    /// Clip norm of the plan, and of the next round.
    planned: f64,
    clip: f64,
    /// One a device.
    releasers: Vec<Releaser<'a>>,
    seed: u64,
}

impl<'a> Tracker<'a> {
    /// Starts at the clip norm of the settings.
    ///
    /// # Errors
    /// Those of the counts' plan.
    pub(crate) fn new(
        settings: &Settings,
        quantile: Quantile,
        plan: &'a ReleasePlan,
        seed: u64,
    ) -> Result<Self, Error> {
        let releaser = |_| Releaser::new(plan);
        let releasers = (0..settings.devices).map(releaser).collect::<Result<_, _>>()?;
        Ok(Self { quantile, planned: settings.clip, clip: settings.clip, releasers, seed })
    }

    /// The clip norm of the next round.
    pub(crate) const fn clip(&self) -> f64 {
        self.clip
    }

    /// The scale that clips to it, for `d` coordinates.
    ///
    /// # Errors
    /// Where it left the range of f32.
    pub(crate) fn standardisation(&self, d: usize) -> Result<Standardisation, Error> {
        let scale = vec![(self.clip / self.planned) as f32; d];
        Ok(Standardisation::new(d, None, Some(scale))?)
    }

    /// Follows the norms of the gradients at `model`, of the coordinates that `mask` keeps.
    ///
    /// # Errors
    /// Those of the model and of the releases.
    pub(crate) fn follow(
        &mut self,
        model: &BoundModel<'_>,
        mask: &Mask,
        shares: &[Cow<'_, Examples>],
        round: u64,
    ) -> Result<(), Error> {
        let mut below = 0.0;
        for (device, (releaser, examples)) in self.releasers.iter_mut().zip(shares).enumerate() {
            let votes = Votes { model, mask, examples, clip: self.clip };
            let parts = [self.seed, PURPOSE, device as u64, round];
            let secret = NoiseSeed::predictable(mixed(&parts));
            let mean: f64 = releaser.release(&votes, round, &secret)?.iter().sum();
            below += (mean + VOTE) / shares.len() as f64;
        }
        let Quantile { target, rate, .. } = self.quantile;
        self.clip *= (-rate * (below - target)).exp();
        Ok(())
    }
}

/// Whether the gradient of an example is shorter than the clip norm, as an example.
struct Votes<'a> {
    model: &'a BoundModel<'a>,
    mask: &'a Mask,
    examples: &'a Examples,
    clip: f64,
}

impl Dataset for Votes<'_> {
    fn len(&self) -> usize {
        self.examples.len()
    }

    fn shape(&self) -> &[usize] {
        &[1]
    }

    fn classes(&self) -> usize {
        0
    }

    fn read(&self, index: usize, input: &mut [f32], target: &mut [f32]) -> Result<(), data::Error> {
        let examples = self.examples;
        let missing = || data::Error::Index { index, len: examples.len() };
        let example = examples.input(index).ok_or_else(missing)?;
        let len = Dataset::target_len(examples);
        let own = &examples.targets()[index * len..][..len];
        let mut squares = 0.0;
        let mut visit = |_: usize, gradient: &mut [f32]| {
            squares = self.mask.indices().map(|j| f64::from(gradient[j]).powi(2)).sum();
        };
        let told = self.model.for_each_gradient(example, own, &mut visit);
        told.map_err(|error| data::Error::Source { index, reason: error.to_string() })?;
        let vote = if squares.sqrt() <= self.clip { VOTE } else { -VOTE };
        // The gradient at zero of (w x - t)^2 is -2 t x.
        (input[0], target[0]) = (1.0, -(vote / 2.0) as f32);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use adafed::nn::Model;

    use super::*;
    use crate::experiment::{Cell, Position};
    use crate::progress::Progress;
    use crate::result::CellResult;
    use crate::run::Runner;

    const EXAMPLES: usize = 600;

    fn settings(clip: f64) -> Settings {
        // The model hardly moves, so that the norms stay what they are at zero.
        let text = format!(
            "data = \"digits\"\nmodel = \"linear\"\nexamples = {EXAMPLES}\nepsilon = 50\n\
             batch = 300\nrounds = 60\nclip = {clip}\nlearning-rate = {}\n\
             quantile = {{ target = 0.3, rate = 0.5, batch = 300, share = 0.1 }}",
            1e-6 / clip,
        );
        toml::from_str(&text).unwrap()
    }

    fn tried(settings: Settings) -> Result<CellResult, Error> {
        let cell = Cell { arm: "tracks".to_owned(), at: Position::new(), settings };
        let mut runner = Runner::new(Default::default(), None);
        runner.run("quantile", &cell, &[1], &mut Progress::new(0))
    }

    fn run(settings: Settings) -> CellResult {
        tried(settings).unwrap()
    }

    #[test]
    fn the_clip_norm_ends_at_the_quantile_from_any_start() {
        let shared = settings(1.0);
        let examples = shared.data.load(std::path::Path::new("")).unwrap().first(EXAMPLES).train;
        let spec = shared.model.spec(examples.shape(), examples.classes());
        let model = Model::new(&spec).unwrap();
        let mut norms = Vec::new();
        let zeros = vec![0.0; model.parameters()];
        let mut visit = |_: usize, gradient: &mut [f32]| {
            norms.push(gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt());
        };
        let (inputs, targets) = (examples.inputs(), examples.targets());
        model.for_each_gradient(&zeros, inputs, targets, &mut visit).unwrap();
        norms.sort_by(f64::total_cmp);
        for start in [0.01, 1.0, 1000.0] {
            let result = run(settings(start));
            let clip = result.seeds[0].clip.unwrap();
            let below = norms.partition_point(|norm| *norm <= clip) as f64 / EXAMPLES as f64;
            assert!((0.15..0.45).contains(&below), "from {start}: {clip}, {below} below");
            let epsilon = result.epsilon_pld.unwrap();
            assert!((49.0..=50.0).contains(&epsilon), "{epsilon}");
        }
    }

    #[test]
    fn it_stands_alone() {
        for beside in [
            Settings { centre: true, ..settings(1.0) },
            Settings { local_steps: 2, ..settings(1.0) },
        ] {
            let error = tried(beside).unwrap_err().to_string();
            assert!(error.contains("quantile") && error.contains("centre"), "{error}");
        }
    }

    #[test]
    fn counts_take_their_share_of_the_budget() {
        let with = run(settings(1.0));
        let without = run(Settings { quantile: None, ..settings(1.0) });
        let [counts] = with.beside.as_slice() else { panic!("{:?}", with.beside) };
        assert_eq!((counts.what.as_str(), counts.releases), ("counts", 60));
        assert!(without.beside.is_empty());
        let ratio = with.noise_multiplier / without.noise_multiplier;
        // A tenth of mu^2 is given away, so sigma grows by about 1 / sqrt(0.9).
        assert!((1.02..1.12).contains(&ratio), "{ratio}");
    }
}
