//! What the tests of this crate share.

use adafed_privacy::{
    Adjacency, ClipNorm, Delta, NoiseMultiplier, PrivacyPhase, PrivacyPlan, ResolutionBits,
    SamplingRate, TrustModel,
};

use crate::{AlgorithmPlan, ImportanceRule, SgdSettings};

/// Three warm-up rounds at noise multiplier 1.3, twenty main rounds at 1.7.
pub(crate) fn privacy(local_steps: u32) -> PrivacyPlan {
    let phase = |rounds, sigma| {
        let noise_multiplier = NoiseMultiplier::new(sigma).unwrap();
        PrivacyPhase { rounds, noise_multiplier }
    };
    PrivacyPlan {
        trust: TrustModel::Local,
        adjacency: Adjacency::AddRemove,
        rate: SamplingRate::new(0.02).unwrap(),
        nominal_examples: 1_000,
        clip: ClipNorm::new(0.4).unwrap(),
        resolution_bits: ResolutionBits::DEFAULT,
        delta: Delta::new(1e-5).unwrap(),
        local_steps,
        warmup: phase(3, 1.3),
        main: phase(20, 1.7),
    }
}

pub(crate) fn algorithm() -> AlgorithmPlan {
    AlgorithmPlan {
        importance: ImportanceRule::Abs,
        random_seed: 1,
        retention: "0.5".parse().unwrap(),
        scale: "none".parse().unwrap(),
        optimizer: SgdSettings { learning_rate: 0.1, final_share: 1.0, momentum: 0.0 },
        local_learning_rate: 0.1,
    }
}
