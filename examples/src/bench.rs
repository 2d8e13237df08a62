//! `bench-step`: examples a second of one training step, private and not.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use adafed::SimdLevel;
use adafed::algorithm::{
    AlgorithmPlan, FederationPlan, ImportanceRule, Layout, Mask, Plans, Provenance, Retention,
    ScaleSettings, SgdSettings, Standardisation,
};
use adafed::data::Examples;
use adafed::nn::{Model, ModelSpec};
use adafed::privacy::{
    Adjacency, ClipNorm, Delta, EphemeralStore, Epsilon, Ledger, NoiseMultiplier, NoiseSeed,
    Permit, Policy, PrivacyPhase, PrivacyPlan, ResolutionBits, SamplingRate, TrustModel,
};
use adafed::profile;
use adafed::train::{LocalRound, PlainGradient, Setting};
use clap::{Parser, ValueEnum};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::output;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Times one training step on made-up examples: gradients of a batch, and the parameters
/// moved along them; in the private modes every example clipped, and noise drawn for every
/// active coordinate. Reports the median over timed blocks.
///
/// Exit code 0: measured; 1: an error, which is printed; 2: flags that cannot be read.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Options {
    /// Model to train.
    #[arg(long, value_enum, default_value_t = Network::MnistCnn)]
    model: Network,
    /// Examples of one step.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    batch: u32,
    /// Threads; 0 stands for all cores.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// What a step does.
    #[arg(long, value_enum, default_value_t = Mode::Adadpigu)]
    mode: Mode,
    /// Share of active coordinates (adadpigu).
    #[arg(long, default_value_t = 0.6)]
    retention: f64,
    /// A centre for every coordinate, too (adadpigu).
    #[arg(long)]
    centre: bool,
    /// Timed blocks.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(7..=1000))]
    blocks: u32,
    /// Least length of a block, in milliseconds.
    #[arg(long, default_value_t = 400)]
    block_ms: u64,
    /// Instruction set: portable, avx2, avx512 or neon [default: the best there is].
    #[arg(long)]
    simd: Option<SimdLevel>,
    /// Prints one line of JSON, last.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Network {
    /// 26,010 parameters, 28 x 28 grey images.
    MnistCnn,
    /// 550,570 parameters, 32 x 32 colour images.
    CifarCnn,
    /// 784-512-256-10.
    Mlp,
    /// Mean of 64 embeddings of 5,000, then 64-64-4.
    Text,
    /// Two blocks of width 128, four heads, length 64, vocabulary 1,000.
    Transformer,
    /// Twelve frozen blocks of width 256 with LoRA of rank 8: 10 million parameters.
    Lora,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Mode {
    /// Plain SGD.
    Nonprivate,
    /// DP-SGD: clip, sum, noise.
    Dpsgd,
    /// A mask and a scale for every coordinate, then as DP-SGD.
    Adadpigu,
}

/// What was measured; the keys of the JSON line.
#[derive(Debug, Serialize)]
struct Measured {
    model: String,
    mode: String,
    batch: u32,
    threads: usize,
    parameters: usize,
    examples_per_s: f64,
    examples_per_s_min: f64,
    examples_per_s_max: f64,
    peak_rss_mb: f64,
    share_gemm: f64,
    share_noise: f64,
    share_per_example: f64,
    simd: String,
}

/// Measures, prints, and says how it went.
#[must_use]
pub fn main(options: &Options) -> ExitCode {
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    if let Some(level) = options.simd.filter(|level| !level.force()) {
        return Err(format!("this processor has no {level}; leave --simd out").into());
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads).build()?;
    let measured = pool.install(|| measure(options, pool.current_num_threads()))?;
    output::line(format_args!(
        "{} {} batch {} threads {} ({}): {:.0} examples/s, {:.0} to {:.0}; peak {:.0} MB; \
         gemm {:.0} %, noise {:.0} %, per-example pass {:.0} %",
        measured.model,
        measured.mode,
        measured.batch,
        measured.threads,
        measured.simd,
        measured.examples_per_s,
        measured.examples_per_s_min,
        measured.examples_per_s_max,
        measured.peak_rss_mb,
        measured.share_gemm * 100.0,
        measured.share_noise * 100.0,
        measured.share_per_example * 100.0,
    ))?;
    if options.json {
        output::line(serde_json::to_string(&measured)?)?;
    }
    Ok(())
}

fn measure(options: &Options, threads: usize) -> Result<Measured, Failure> {
    let bench = Bench::new(options)?;
    let mut step: Box<dyn FnMut() -> Result<Duration, Failure> + '_> = match options.mode {
        Mode::Nonprivate => bench.plain_step(),
        Mode::Dpsgd | Mode::Adadpigu => bench.private_step()?,
    };
    let warm_up = Instant::now();
    let mut steps = 0;
    while steps < 2 || warm_up.elapsed() < Duration::from_millis(options.block_ms) {
        step()?;
        steps += 1;
    }
    let mut rates = Vec::new();
    for _ in 0..options.blocks {
        let (start, mut examples) = (Instant::now(), 0.0);
        while start.elapsed() < Duration::from_millis(options.block_ms) {
            step()?;
            examples += f64::from(options.batch);
        }
        rates.push(examples / start.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    let (start, mut noise) = (Instant::now(), Duration::ZERO);
    profile::reset();
    while start.elapsed() < Duration::from_millis(options.block_ms) {
        noise += step()?;
    }
    let (wall, shares) = (start.elapsed().as_secs_f64(), profile::stop());
    let share = |spent: Duration| spent.as_secs_f64() / wall / threads as f64;
    drop(step);
    Ok(Measured {
        model: name(options.model),
        mode: name(options.mode),
        batch: options.batch,
        threads,
        parameters: bench.model.parameters(),
        examples_per_s: rates[rates.len() / 2],
        examples_per_s_min: rates[0],
        examples_per_s_max: rates[rates.len() - 1],
        peak_rss_mb: crate::memory::peak_rss_mb(),
        share_gemm: share(shares.gemm),
        share_noise: noise.as_secs_f64() / wall,
        share_per_example: share(shares.per_example),
        simd: SimdLevel::current().to_string(),
    })
}

/// The name under which a value is given on the command line.
fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Everything that is made once.
struct Bench {
    options: Options,
    model: Model,
    data: Examples,
    layout: Layout,
    privacy: PrivacyPlan,
    algorithm: AlgorithmPlan,
    mask: Mask,
    standardisation: Standardisation,
    indices: Vec<usize>,
}

impl Bench {
    fn new(options: &Options) -> Result<Self, Failure> {
        let (spec, tokens, classes) = spec(options.model);
        let model = Model::new(&spec)?;
        let data = examples(&model, options.batch as usize, tokens, classes)?;
        let d = model.parameters();
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let (mask, standardisation) = match options.mode {
            Mode::Adadpigu => {
                let active = (0..d as u32).filter(|_| random.random::<f64>() < options.retention);
                let mask = Mask::published(d, active.collect(), Provenance::Released)?;
                let scale = (0..d).map(|_| random.random_range(0.5..1.5)).collect();
                let centre = options.centre.then(|| vec![1e-4; d]);
                (mask, Standardisation::new(d, centre, Some(scale))?)
            }
            Mode::Nonprivate | Mode::Dpsgd => (Mask::full(d), Standardisation::none()),
        };
        Ok(Self {
            options: options.clone(),
            layout: model.layout().clone(),
            model,
            data,
            privacy: privacy(options.batch)?,
            algorithm: algorithm()?,
            mask,
            standardisation,
            indices: (0..options.batch as usize).collect(),
        })
    }

    fn plain_step(&self) -> Box<dyn FnMut() -> Result<Duration, Failure> + '_> {
        let gradient = PlainGradient::new(&self.model, &self.data);
        let mut parameters = self.model.initial(1);
        let rate = 1e-3 / self.options.batch as f32;
        Box::new(move || {
            let sum = gradient.sum(&parameters, &self.indices)?;
            parameters.iter_mut().zip(&sum).for_each(|(value, sum)| *value -= rate * sum);
            Ok(Duration::ZERO)
        })
    }

    /// Gives the time that the noise took.
    fn private_step(&self) -> Result<Box<dyn FnMut() -> Result<Duration, Failure> + '_>, Failure> {
        let Self { model, data, layout, privacy, algorithm, mask, standardisation, .. } = self;
        let plans = Plans { layout, privacy, algorithm, federation: &FederationPlan::DEFAULT };
        let setting = Setting { model, data, plans, mask, standardisation };
        let round = LocalRound::new(setting)?;
        let permit = permit(privacy)?;
        let mut parameters = model.initial(1);
        Ok(Box::new(move || {
            let seed = NoiseSeed::from_os()?;
            let start = Instant::now();
            let noise = round.noise(&permit, &seed, 0)?;
            let spent = start.elapsed();
            let mut sum = round.clipped_sum(&parameters, &self.indices, seed.dropout(0))?;
            let released = round.release(noise, &mut sum)?;
            drop(sum);
            round.sgd(&mut parameters, &[], &released, 0)?;
            round.reuse(released);
            Ok(spent)
        }))
    }
}

/// Description, vocabulary if the inputs are tokens, and number of classes.
fn spec(network: Network) -> (ModelSpec, Option<u32>, u32) {
    match network {
        Network::MnistCnn => (ModelSpec::mnist_cnn(), None, 10),
        Network::CifarCnn => (ModelSpec::cifar_cnn(), None, 10),
        Network::Mlp => (ModelSpec::mlp(), None, 10),
        Network::Text => (ModelSpec::text(), Some(5000), 4),
        Network::Transformer => (ModelSpec::transformer(), Some(1000), 4),
        Network::Lora => {
            (ModelSpec::transformer_lora(12, 256, 4, 1024, 64, 1000, 8), Some(1000), 4)
        }
    }
}

fn examples(
    model: &Model,
    count: usize,
    tokens: Option<u32>,
    classes: u32,
) -> Result<Examples, Failure> {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let value = |random: &mut ChaCha8Rng| match tokens {
        Some(tokens) => random.random_range(0..tokens) as f32,
        None => random.random_range(-1.0..1.0),
    };
    let inputs = (0..count * model.input_len()).map(|_| value(&mut random)).collect();
    let labels = (0..count as u32).map(|example| example % classes).collect();
    Ok(Examples::new(model.input_shape().to_vec(), inputs, labels, classes as usize)?)
}

fn privacy(batch: u32) -> Result<PrivacyPlan, Failure> {
    let phase = PrivacyPhase { rounds: 1, noise_multiplier: NoiseMultiplier::new(1.0)? };
    Ok(PrivacyPlan {
        trust: TrustModel::Local,
        adjacency: Adjacency::AddRemove,
        rate: SamplingRate::new(0.01)?,
        nominal_examples: batch.saturating_mul(100),
        clip: ClipNorm::new(0.1)?,
        resolution_bits: ResolutionBits::DEFAULT,
        delta: Delta::new(1e-5)?,
        local_steps: 1,
        warmup: PrivacyPhase { rounds: 0, ..phase },
        main: phase,
    })
}

fn algorithm() -> Result<AlgorithmPlan, Failure> {
    Ok(AlgorithmPlan {
        importance: ImportanceRule::Debiased,
        random_seed: 0,
        retention: Retention::full(),
        scale: "none".parse::<ScaleSettings>()?,
        optimizer: SgdSettings { learning_rate: 1.0, final_share: 1.0, momentum: 0.0 },
        local_learning_rate: 1e-6,
    })
}

fn permit(plan: &PrivacyPlan) -> Result<Permit, Failure> {
    let least_noise_multiplier = NoiseMultiplier::new(0.0)?;
    let any = Policy::new(Epsilon::new(100.0)?, Delta::new(1e-5)?)?;
    // In memory: the benchmark measures computing, not the disk.
    let mut ledger =
        Ledger::open(EphemeralStore::default(), Policy { least_noise_multiplier, ..any })?;
    ledger.accept("bench", "digest", plan)?;
    Ok(ledger.charge("bench", 0)?)
}
