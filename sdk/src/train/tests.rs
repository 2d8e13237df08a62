//! The private step against its definition, on every kind of gradient part.

use adafed_algorithm::{
    AlgorithmPlan, FederationPlan, ImportanceRule, Mask, Provenance, Retention, ScaleSettings,
    SgdSettings,
};
use adafed_privacy::{
    Adjacency, ClipNorm, Delta, NoiseMultiplier, PrivacyPhase, PrivacyPlan, ResolutionBits,
    SamplingRate, TrustModel,
};

use super::*;
use crate::data::Examples;
use crate::nn::{ModelSpec, test_batch};

const CLIP: f64 = 0.1;
/// Share of C that is kept for rounding the factors of outer products where a centre is taken
/// off in the sum, for the models here.
const LATE_CENTRE: f64 = 0.01;
fn privacy() -> PrivacyPlan {
    let phase = PrivacyPhase { rounds: 1, noise_multiplier: NoiseMultiplier::new(1.0).unwrap() };
    PrivacyPlan {
        trust: TrustModel::Local,
        adjacency: Adjacency::AddRemove,
        rate: SamplingRate::new(0.5).unwrap(),
        nominal_examples: 100,
        clip: ClipNorm::new(CLIP).unwrap(),
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

/// Examples of several views each, one after the other.
struct Stacked {
    all: Examples,
    views: usize,
}

impl Dataset for Stacked {
    fn len(&self) -> usize {
        self.all.len() / self.views
    }

    fn shape(&self) -> &[usize] {
        self.all.shape()
    }

    fn classes(&self) -> usize {
        0
    }

    fn target_len(&self) -> usize {
        Dataset::target_len(&self.all)
    }

    fn read(&self, index: usize, input: &mut [f32], target: &mut [f32]) -> Result<(), data::Error> {
        self.all.read(index * self.views, input, target)
    }

    fn views(&self) -> usize {
        self.views
    }

    fn read_view(
        &self,
        index: usize,
        view: View,
        input: &mut [f32],
        target: &mut [f32],
    ) -> Result<(), data::Error> {
        self.all.read(index * self.views + view.number, input, target)
    }
}

/// A model with examples, a mask of two thirds and a scale for each coordinate.
struct Case {
    model: Model,
    data: Stacked,
    privacy: PrivacyPlan,
    algorithm: AlgorithmPlan,
    mask: Mask,
    standardisation: Standardisation,
}

impl Case {
    fn new(model: Model, examples: usize, centred: bool) -> Self {
        Self::of_views(model, examples, 1, centred)
    }

    fn of_views(model: Model, examples: usize, views: usize, centred: bool) -> Self {
        let d = model.parameters();
        let (inputs, targets) = test_batch(&model, examples * views, 3);
        let shape = model.input_shape().to_vec();
        let all = Examples::with_targets(shape, inputs, targets, model.target_len()).unwrap();
        let data = Stacked { all, views };
        let active = (0..d as u32).filter(|j| j % 3 > 0).collect();
        let scale = (0..d).map(|j| 0.5 + (j % 7) as f32 / 7.0).collect();
        let centre = centred.then(|| (0..d).map(|j| 1e-3 * (j % 5) as f32).collect());
        Self {
            data,
            privacy: privacy(),
            algorithm: algorithm(),
            mask: Mask::published(d, active, Provenance::Released).unwrap(),
            standardisation: Standardisation::new(d, centre, Some(scale)).unwrap(),
            model,
        }
    }

    fn round(&self) -> LocalRound<'_> {
        let Self { model, data, privacy, algorithm, mask, standardisation } = self;
        let plans = Plans {
            layout: model.layout(),
            privacy,
            algorithm,
            federation: &FederationPlan::DEFAULT,
        };
        let setting = Setting { model, data, plans, mask, standardisation };
        LocalRound::new(setting).unwrap()
    }

    /// Sums at the active coordinates, in flat order.
    fn sums(&self, parameters: &[f32], indices: &[usize]) -> Vec<i64> {
        let round = self.round();
        let sum = round.clipped_sum(parameters, indices, 0).unwrap().reveal();
        round.kept.places.active().iter().map(|place| sum[*place as usize]).collect()
    }

    /// One example's standardised, clipped gradient at the active coordinates, in grid
    /// steps, by the definition; and what rounding the factors of an outer product moves an
    /// entry by, at most: M^2 is 256 times the largest entry of the clipped gradient before
    /// its scale of at least 1/2, a factor is below sqrt(2) M and loses less than 1.
    fn expected(&self, parameters: &[f32], index: usize) -> (Vec<f64>, f64) {
        let (views, d) = (self.data.views, self.model.parameters());
        let own = self.data.all.subset(&(index * views..(index + 1) * views).collect::<Vec<_>>());
        let of_views =
            self.model.per_example_gradients(parameters, own.inputs(), own.targets()).unwrap();
        let mean = |j| of_views[j..].iter().step_by(d).sum::<f32>() / views as f32;
        let gradient: Vec<f32> = (0..d).map(mean).collect();
        let standardise = |j: usize| {
            let (a, b) = (self.standardisation.centre(j), self.standardisation.scale(j));
            (f64::from(gradient[j]) - a) / b
        };
        let values: Vec<f64> = self.mask.indices().map(standardise).collect();
        let norm = values.iter().map(|value| value * value).sum::<f64>().sqrt();
        let grid = CLIP / f64::from(1 << 18);
        let factor = (CLIP / norm).min(1.0) / grid;
        let largest = gradient.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
        let factors = (2.0 * 256.0 * f64::from(largest) * factor).sqrt();
        let rounding = 2.0 * (2.0 * factors + 1.0) / 256.0;
        (values.iter().map(|value| value * factor).collect(), rounding)
    }

    /// Within rounding of half a step a coordinate and of the factors of outer products, the
    /// shrinking of C by it, and the raising of the norm by the error bound of its sum.
    fn assert_definition(&self, parameters: &[f32]) {
        for index in 0..self.data.len() {
            let found = self.sums(parameters, &[index]);
            let centred = self.standardisation.centres().is_some();
            let late = if centred { LATE_CENTRE } else { 0.0 };
            let shrink = 1.125 * (found.len() as f64).sqrt() / f64::from(1 << 18) + 1e-4 + late;
            let (expected, rounding) = self.expected(parameters, index);
            for (found, expected) in found.iter().zip(expected) {
                let allowed = 0.51 + rounding + shrink * expected.abs();
                assert!((*found as f64 - expected).abs() < allowed, "{found} for {expected}");
            }
            assert!(norm(&found) <= f64::from(1 << 18));
        }
    }
}

fn norm(values: &[i64]) -> f64 {
    values.iter().map(|value| (*value as f64).powi(2)).sum::<f64>().sqrt()
}

fn models() -> Vec<Model> {
    let specs = [
        ModelSpec::mnist_cnn(),
        ModelSpec::perceptron(40, 33, 7),
        ModelSpec::text(),
        ModelSpec::transformer_lora(1, 16, 2, 24, 9, 50, 3),
    ];
    specs.iter().map(|spec| Model::new(spec).unwrap()).collect()
}

#[test]
fn a_contribution_is_the_clipped_standardised_gradient() {
    for centred in [false, true] {
        for model in models() {
            let case = Case::new(model, 3, centred);
            case.assert_definition(&case.model.initial(1));
        }
    }
}

#[test]
fn a_contribution_of_several_views_is_their_mean_clipped_once() {
    for model in models() {
        // Fewer and more views than a micro-batch takes.
        for views in [2, 37] {
            let case = Case::of_views(model.clone(), 2, views, views == 2);
            case.assert_definition(&case.model.initial(1));
            #[cfg(feature = "candle")]
            {
                let model = model.clone().on_tensors().unwrap();
                let case = Case::of_views(model, 2, views, views == 2);
                case.assert_definition(&case.model.initial(1));
            }
        }
        let case = Case::of_views(model, 4, 3, false);
        let parameters = case.model.initial(1);
        let mut total = case.sums(&parameters, &[0, 3]);
        let others = case.sums(&parameters, &[1, 2]);
        total.iter_mut().zip(others).for_each(|(sum, value)| *sum += value);
        assert!(total == case.sums(&parameters, &[0, 1, 2, 3]));
    }
}

#[test]
fn examples_are_mapped_as_they_are_drawn_where_the_model_has_features() {
    let text = r#"{"input": [1, 12, 9], "features": {"type": "scattering", "scales": 1},
        "loss": "cross_entropy", "layers": [{"type": "flatten"},
        {"type": "linear", "in": 216, "out": 4}]}"#;
    let model = Model::new(&ModelSpec::from_json(text).unwrap()).unwrap();
    let (parameters, indices) = (model.initial(1), (0..70).collect::<Vec<_>>());
    let whole = Case::new(model.clone(), 70, true);
    let data = whole.data.all.with_features(&**model.features().unwrap().unwrap()).unwrap();
    assert_eq!(model.seen_shape(), data.shape());
    let data = Stacked { all: data, views: 1 };
    let by_hand = Case { data, ..Case::new(model.layers(), 1, true) };
    assert_eq!(whole.sums(&parameters, &indices), by_hand.sums(&parameters, &indices));
    let plain = |case: &Case| PlainGradient::new(&case.model, &case.data).sum(&parameters, &[3, 7]);
    assert_eq!(plain(&whole).unwrap(), plain(&by_hand).unwrap());
    #[cfg(feature = "candle")]
    {
        let on_tensors = |case: Case| Case { model: case.model.on_tensors().unwrap(), ..case };
        let (whole, by_hand) = (on_tensors(whole), on_tensors(by_hand));
        assert_eq!(whole.sums(&parameters, &[3, 7]), by_hand.sums(&parameters, &[3, 7]));
    }
}

#[test]
fn sums_have_the_same_bits_on_any_number_of_threads() {
    for model in models() {
        let case = Case::new(model, 150, false);
        let (parameters, indices) = (case.model.initial(1), (0..150).collect::<Vec<_>>());
        let sums = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| case.sums(&parameters, &indices))
        };
        let one = sums(1);
        assert!(one == sums(2) && one == sums(4));
        assert!(one.iter().any(|value| *value != 0));
        let plain = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let gradient = PlainGradient::new(&case.model, &case.data);
            pool.install(|| gradient.sum(&parameters, &indices).unwrap())
        };
        assert!(plain(1) == plain(3));
    }
}

#[test]
fn a_sum_that_was_called_off_leaves_nothing_for_the_next_one() {
    let model = Model::new(&ModelSpec::mlp()).unwrap();
    let case = Case::new(model, 200, false);
    let parameters = case.model.initial(1);
    let indices: Vec<usize> = (0..200).collect();
    let asked = AtomicUsize::new(0);
    let may_go_on = || asked.fetch_add(1, Ordering::Relaxed) < 3;
    let round = case.round().interruptible(&may_go_on);
    let error = round.clipped_sum(&parameters, &indices, 0).err().unwrap();
    assert!(matches!(error, Error::Interrupted) && !error.is_retryable(), "{error}");
    let again = LocalRound::resume(round.setting, round.kept());
    let sum = || again.clipped_sum(&parameters, &indices, 0).unwrap().reveal();
    let fresh = case.round().clipped_sum(&parameters, &indices, 0).unwrap().reveal();
    assert_eq!(sum(), fresh);
}

#[test]
fn no_example_exceeds_the_sensitivity_whatever_its_size() {
    for model in models().into_iter().take(2) {
        for factor in [1e-30_f32, 1e-12, 1e6, 1e18, 1e25, 1e38, f32::NAN, f32::INFINITY] {
            let case = Case::new(model.clone(), 2, false);
            let mut parameters = case.model.initial(1);
            let last = parameters.len() - 100;
            parameters[..last].iter_mut().for_each(|value| *value *= 50.0);
            let inputs = case.data.all.inputs().iter().map(|value| value * factor).collect();
            // Around the data set's own refusal of what is not finite.
            let data =
                Raw { inputs, targets: case.data.all.targets().to_vec(), like: &case.data.all };
            let (privacy, algorithm) = (privacy(), algorithm());
            let layout = case.model.layout();
            let round = LocalRound::new(Setting {
                model: &case.model,
                data: &data,
                plans: Plans {
                    layout,
                    privacy: &privacy,
                    algorithm: &algorithm,
                    federation: &FederationPlan::DEFAULT,
                },
                mask: &case.mask,
                standardisation: &case.standardisation,
            });
            let sum = round.unwrap().clipped_sum(&parameters, &[1], 0).unwrap().reveal();
            assert!(norm(&sum) <= f64::from(1 << 18), "{factor}");
            assert!(factor.is_finite() || norm(&sum) == 0.0, "{factor}");
        }
    }
}

/// Examples without the checks of a data set.
struct Raw<'a> {
    inputs: Vec<f32>,
    targets: Vec<f32>,
    like: &'a Examples,
}

impl Dataset for Raw<'_> {
    fn len(&self) -> usize {
        self.like.len()
    }

    fn shape(&self) -> &[usize] {
        self.like.shape()
    }

    fn classes(&self) -> usize {
        0
    }

    fn read(
        &self,
        index: usize,
        input: &mut [f32],
        target: &mut [f32],
    ) -> Result<(), crate::data::Error> {
        input.copy_from_slice(&self.inputs[index * input.len()..][..input.len()]);
        target.copy_from_slice(&self.targets[index..=index]);
        Ok(())
    }
}

#[cfg(feature = "candle")]
#[test]
fn the_tensor_path_gives_the_same_contributions() {
    for centred in [false, true] {
        for model in models() {
            let case = Case::new(model.on_tensors().unwrap(), 2, centred);
            case.assert_definition(&case.model.initial(1));
        }
    }
}

/// What one example adds does not depend on the others of its batch, to the bit.
#[cfg(feature = "candle")]
#[test]
fn tensors_give_an_example_the_same_bits_alone_and_among_others() {
    for model in models() {
        let case = Case::new(model.on_tensors().unwrap(), 3, false);
        let parameters = case.model.initial(1);
        let mut total = case.sums(&parameters, &[0]);
        let others = case.sums(&parameters, &[1, 2]);
        total.iter_mut().zip(others).for_each(|(sum, value)| *sum += value);
        assert!(total == case.sums(&parameters, &[0, 1, 2]));
    }
}

#[cfg(feature = "candle")]
#[test]
fn dropout_has_the_same_masks_on_kernels_and_tensors() {
    let text = r#"{"input": [2, 4, 4], "loss": "cross_entropy", "layers": [
        {"type": "conv2d", "in": 2, "out": 3, "kernel": 1}, {"type": "dropout", "rate": 0.5},
        {"type": "flatten"}, {"type": "linear", "in": 48, "out": 4},
        {"type": "dropout", "rate": 0.25}]}"#;
    let model = Model::new(&ModelSpec::from_json(text).unwrap()).unwrap();
    let parameters = model.initial(1);
    let kernels = Case::new(model.clone(), 4, false);
    let tensors = Case::new(model.on_tensors().unwrap(), 4, false);
    let (a, b) =
        (kernels.sums(&parameters, &[0, 1, 2, 3]), tensors.sums(&parameters, &[0, 1, 2, 3]));
    // Rounding of f32 near the clip norm of 2^18 steps, and of the factors of an outer product
    // as in `Case::expected`, for four examples. Other masks change entries by thousands.
    let allowed = 4 * (2 + 182);
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= allowed), "{a:?} {b:?}");
    let plain = Case {
        standardisation: Standardisation::none(),
        ..Case::new(kernels.model.clone(), 4, false)
    };
    let again =
        Case { standardisation: Standardisation::none(), ..Case::new(kernels.model, 4, false) };
    assert_eq!(plain.sums(&parameters, &[2]), again.sums(&parameters, &[2]));
}
