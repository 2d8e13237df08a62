//! What is uploaded: updates of random integers, each of them different, and their sum.

use adafed::algorithm::{
    AlgorithmPlan, FederationPlan, ImportanceRule, Layout, Mask, Retention, Schedule, SgdSettings,
    TensorLayout,
};
use adafed::privacy::{
    Adjacency, ClipNorm, Delta, NoiseMultiplier, PrivacyPhase, PrivacyPlan, ResolutionBits,
    SamplingRate, TrustModel,
};
use adafed_wire::{Assignment, RoundPlan, TaskId, TaskPlan, encode};

use crate::fixture::Failure;
use crate::peer::update;

/// Bits of a packed value: what honest noise needs.
const WIDTH: usize = 10;
/// Different updates before the part that each device makes its own.
const TEMPLATES: usize = 64;
/// Values that each device makes its own: so many fill whole bytes.
const OWN: usize = 4;
const OWN_BYTES: usize = OWN * WIDTH / 8;

/// A task of one round for `devices` devices, after a warm-up round where a mask is to be
/// learned. Steps are plain, so that a model shows the sum that moved it.
///
/// # Errors
/// A retention out of range.
pub(super) fn plan(devices: u32, coordinates: usize, retention: f64) -> Result<TaskPlan, Failure> {
    let full = retention >= 1.0;
    let noise_multiplier = NoiseMultiplier::new(1.0)?;
    let phase = |rounds| PrivacyPhase { rounds, noise_multiplier };
    let retention = if full {
        Retention::full()
    } else {
        Retention::new(retention, retention, Schedule::Static)?
    };
    Ok(TaskPlan {
        task: "load".parse()?,
        model: "{}".into(),
        layout: Layout {
            tensors: vec![TensorLayout { name: "w".into(), shape: vec![coordinates] }],
        },
        privacy: PrivacyPlan {
            trust: TrustModel::Local,
            adjacency: Adjacency::AddRemove,
            rate: SamplingRate::new(0.1)?,
            nominal_examples: 100,
            clip: ClipNorm::new(1.0)?,
            resolution_bits: ResolutionBits::DEFAULT,
            delta: Delta::new(1e-5)?,
            local_steps: 1,
            warmup: phase(u64::from(!full)),
            main: phase(1),
        },
        algorithm: AlgorithmPlan {
            importance: ImportanceRule::Random,
            random_seed: 1,
            retention,
            scale: "none".parse()?,
            optimizer: SgdSettings { learning_rate: 1.0, final_share: 1.0, momentum: 0.0 },
            local_learning_rate: 0.0,
        },
        rounds: RoundPlan {
            cohort: devices,
            report_goal: devices,
            least_reports: devices,
            deadline_ms: 24 * 3_600_000,
            retry_after_ms: 1_000,
        },
        federation: FederationPlan::default(),
    })
}

/// The updates of a round, of which [`Uploads::body`] makes one a device.
#[derive(Debug)]
pub(super) struct Uploads {
    templates: Vec<(Vec<i64>, Vec<u8>)>,
}

impl Uploads {
    /// Updates of `active` values.
    ///
    /// # Errors
    /// Those of the encoding.
    pub(super) fn new(
        task: &TaskId,
        assignment: &Assignment,
        active: usize,
    ) -> Result<Self, Failure> {
        let mut random = Random(assignment.round + 1);
        let mut templates = Vec::with_capacity(TEMPLATES);
        for _ in 0..TEMPLATES {
            let mut values: Vec<i64> = (0..active).map(|_| random.value()).collect();
            // The lowest of all: every update is packed at the same width.
            values[active - 1] = -1 << (WIDTH - 1);
            let body = encode(&update(task, assignment, &values)?)?;
            templates.push((values, body));
        }
        Ok(Self { templates })
    }

    /// Bytes of one body.
    pub(super) fn body_bytes(&self) -> usize {
        self.templates[0].1.len()
    }

    /// The body of a device: a template with a few values of its own.
    pub(super) fn body(&self, device: usize) -> Vec<u8> {
        let (values, template) = &self.templates[device % TEMPLATES];
        let mut body = template.clone();
        // The packed values are the end of the body; the first fill whole bytes.
        let start = body.len() - (values.len() * WIDTH).div_ceil(8);
        let zigzag = |v: i64| ((v << 1) ^ (v >> 63)) as u64;
        let own = own(device).iter().rev().fold(0, |bits, v| bits << WIDTH | zigzag(*v));
        body[start..start + OWN_BYTES].copy_from_slice(&own.to_le_bytes()[..OWN_BYTES]);
        body
    }

    /// The sum of the bodies of `devices` devices, one value an active coordinate.
    pub(super) fn sum(&self, devices: usize) -> Vec<i64> {
        let mut sum = vec![0; self.templates[0].0.len()];
        for (n, (values, _)) in self.templates.iter().enumerate() {
            let times = (devices + TEMPLATES - 1 - n) / TEMPLATES;
            sum.iter_mut().zip(values).skip(OWN).for_each(|(s, v)| *s += v * times as i64);
        }
        for device in 0..devices {
            sum.iter_mut().zip(own(device)).for_each(|(s, v)| *s += v);
        }
        sum
    }
}

/// The values that only this device sends.
fn own(device: usize) -> [i64; OWN] {
    let mut random = Random(!(device as u64));
    [(); OWN].map(|()| random.value())
}

/// The sum that took `before` to `after`: -(after - before) K E L / (unit grid), which is
/// close to an integer because the step was plain.
pub(super) fn sum_of_step(
    plan: &TaskPlan,
    round: u64,
    mask: &Mask,
    before: &[f32],
    after: &[f32],
) -> Vec<f64> {
    let privacy = &plan.privacy;
    let grid = privacy.clip.value() / f64::from(privacy.resolution_bits.steps_per_clip());
    let unit = f64::from(plan.upload_shift(round)).exp2() * grid;
    let uses = f64::from(plan.rounds.report_goal) * f64::from(privacy.local_steps);
    let scale = uses * privacy.expected_batch() / unit;
    mask.indices().map(|j| (f64::from(before[j]) - f64::from(after[j])) * scale).collect()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// A value of at most [`WIDTH`] bits, sign included.
    fn value(&mut self) -> i64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> (64 - WIDTH)) as i64 - (1 << (WIDTH - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adafed_wire::{Digest, Update, decode};

    #[test]
    fn bodies_differ_and_add_up_to_the_sum() {
        let none = Digest::of(b"");
        let assignment = Assignment { round: 1, plan: none, model: none, mask: none, scale: none };
        let uploads = Uploads::new(&"load".parse().unwrap(), &assignment, 11).unwrap();
        let (mut sum, mut bodies) = ([0; 11], Vec::new());
        for device in 0..150 {
            let body = uploads.body(device);
            let values = decode::<Update>(&body).unwrap().values.unpack(11).unwrap();
            sum.iter_mut().zip(values).for_each(|(s, v)| *s += v);
            bodies.push(body);
        }
        assert_eq!(uploads.sum(150), sum);
        bodies.sort();
        bodies.dedup();
        assert_eq!(bodies.len(), 150);
    }
}
