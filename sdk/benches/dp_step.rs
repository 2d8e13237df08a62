//! One private step on the MNIST CNN (26,010 parameters), batch 256: per-example
//! gradients, standardise, mask, clip, exact sum, noise. Examples a second by threads.

use std::cell::RefCell;

use adafed::algorithm::{
    AlgorithmPlan, ImportanceRule, Layout, Mask, Plans, Retention, ScaleSettings, SgdSettings,
    Standardisation,
};
use adafed::data::{Examples, digits};
use adafed::nn::{Model, ModelSpec};
use adafed::privacy::{
    Adjacency, ClipNorm, Delta, Epsilon, Ledger, LedgerStore, Noise, NoiseMultiplier, NoiseSeed,
    Permit, Policy, PrivacyPhase, PrivacyPlan, ResolutionBits, SamplingRate, TrustModel,
};
use adafed::train::LocalRound;
use divan::Bencher;
use divan::counter::ItemsCount;

const BATCH: usize = 256;

fn main() {
    divan::main();
}

/// A ledger in memory: the benchmark measures computing, not the disk.
#[derive(Default)]
struct Memory(RefCell<String>);

impl LedgerStore for Memory {
    fn append(&mut self, line: &str) -> Result<(), String> {
        self.0.borrow_mut().push_str(line);
        Ok(())
    }

    fn read(&mut self) -> Result<String, String> {
        Ok(self.0.borrow().clone())
    }

    fn truncate(&mut self, bytes: u64) -> Result<(), String> {
        self.0.borrow_mut().truncate(bytes as usize);
        Ok(())
    }
}

/// Everything of a step that is made once.
struct Setting {
    model: Model,
    data: Examples,
    layout: Layout,
    privacy: PrivacyPlan,
    algorithm: AlgorithmPlan,
    parameters: Vec<f32>,
}

impl Setting {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let model = Model::new(&ModelSpec::mnist_cnn())?;
        let phase = PrivacyPhase { rounds: 1, noise_multiplier: NoiseMultiplier::new(1.0)? };
        let privacy = PrivacyPlan {
            trust: TrustModel::Local,
            adjacency: Adjacency::AddRemove,
            rate: SamplingRate::new(0.01)?,
            nominal_examples: 25_600,
            clip: ClipNorm::new(0.1)?,
            resolution_bits: ResolutionBits::DEFAULT,
            delta: Delta::new(1e-5)?,
            local_steps: 1,
            warmup: PrivacyPhase { rounds: 0, ..phase },
            main: phase,
        };
        let algorithm = AlgorithmPlan {
            importance: ImportanceRule::Debiased,
            random_seed: 0,
            retention: Retention::full(),
            scale: "none".parse::<ScaleSettings>()?,
            optimizer: SgdSettings { learning_rate: 1.0, final_share: 1.0, momentum: 0.0 },
            local_learning_rate: 1.0,
        };
        let parameters = model.initial(1);
        let layout = model.layout().clone();
        Ok(Self { data: digits(1, BATCH), model, layout, privacy, algorithm, parameters })
    }

    fn permit(&self) -> Result<Permit, Box<dyn std::error::Error>> {
        let policy = Policy {
            epsilon_cap: Epsilon::new(100.0)?,
            delta: Delta::new(1e-5)?,
            least_noise_multiplier: NoiseMultiplier::new(0.0)?,
            tasks: None,
        };
        let mut ledger = Ledger::open(Memory::default(), policy)?;
        ledger.accept("bench", "digest", &self.privacy)?;
        Ok(ledger.charge("bench", 0)?)
    }
}

#[divan::bench(args = [1, 2], sample_count = 30)]
fn mnist_cnn(bencher: Bencher<'_, '_>, threads: usize) {
    let setting = Setting::new().expect("constants are valid");
    let permit = setting.permit().expect("the policy allows the plan");
    let seed = NoiseSeed::from_os().expect("the system gives randomness");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
    let Setting { model, data, layout, privacy, algorithm, parameters } = &setting;
    let (mask, standardisation) = (Mask::full(layout.len()), Standardisation::none());
    let plans = Plans { layout, privacy, algorithm };
    let round = LocalRound { model, data, plans, mask: &mask, standardisation: &standardisation };
    let indices: Vec<usize> = (0..BATCH).collect();
    let step = || {
        let noise = Noise::draw(privacy, &permit, &seed, 0, mask.active_count())?;
        let sum = round.clipped_sum(parameters, &indices)?;
        Ok::<_, adafed::Error>(noise.release(sum, mask.active())?)
    };
    bencher.counter(ItemsCount::new(BATCH)).bench(|| pool.install(step));
}
