//! From stored updates to the next training state: exact integers, then
//! `adafed_algorithm`. No I/O.

use adafed_algorithm::{BaseRound, Collector, Mask, ReleasedSum, Standardisation, TrainingState};
use adafed_wire::{
    Digest, MaskMessage, Message, ModelMessage, ScaleMessage, TaskPlan, Update, decode, encode,
};

use crate::Error;

/// An encoded message and its name.
pub(crate) struct Content {
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
}

impl Content {
    fn of<M: Message>(message: &M) -> Result<Self, Error> {
        let bytes = encode(message)?;
        Ok(Self { digest: Digest::of(&bytes), bytes })
    }
}

/// What the devices of a round work on.
pub(crate) struct Opening {
    pub(crate) model: Content,
    pub(crate) mask: Content,
    pub(crate) scale: Content,
    pub(crate) active: usize,
}

impl Opening {
    /// The opening of the state's next round.
    pub(crate) fn of(plan: &TaskPlan, state: &TrainingState) -> Result<Self, Error> {
        let mask = state.mask(plan.plans());
        let scale = state.standardisation(plan.plans(), &mask).map_err(adafed_wire::Error::from)?;
        let pooling = plan.algorithm.scale.pooling;
        Ok(Self {
            model: Content::of(&ModelMessage { parameters: state.parameters().to_vec() })?,
            mask: Content::of(&MaskMessage::new(&mask))?,
            scale: Content::of(&ScaleMessage::new(&scale, &mask, &plan.layout, pooling))?,
            active: mask.active_count(),
        })
    }
}

/// The updates of one base round: those computed under one model, mask and scale.
///
/// # Guarantee
/// A function of the set of updates and their weights: sums are exact whatever hostile
/// devices send, and no rule looks at order or names.
pub(crate) struct RoundSum {
    round: u64,
    collector: Collector,
    /// Grid steps in one unit of an upload.
    unit: i64,
    active: usize,
}

impl RoundSum {
    /// No update yet of base round `round`, whose mask has `active` coordinates.
    pub(crate) fn new(plan: &TaskPlan, round: u64, active: usize) -> Self {
        let shift = plan.upload_shift(round);
        let unit = if shift < 63 { 1 << shift } else { i64::MAX };
        Self { round, collector: Collector::new(plan.plans(), round, active), unit, active }
    }

    /// The base round.
    pub(crate) const fn round(&self) -> u64 {
        self.round
    }

    /// Adds one stored update with the public weight that the operator gave its device; the
    /// weight is read only where the plan has weights.
    pub(crate) fn add(&mut self, body: &[u8], weight: u32) -> Result<(), Error> {
        let corrupt = Error::corrupt("update");
        let update: Update = decode(body).map_err(&corrupt)?;
        let mut values = update.values.unpack(self.active).map_err(&corrupt)?;
        values.iter_mut().for_each(|v| *v = v.saturating_mul(self.unit));
        self.collector.add(values, weight).map_err(|e| corrupt(e.into()))
    }
}

/// A base round with its updates and the mask and scale its devices had, as stored. How
/// stale it is follows from its round and the state's.
pub(crate) struct Part {
    pub(crate) sum: RoundSum,
    pub(crate) mask: Vec<u8>,
    pub(crate) scale: Vec<u8>,
}

impl Part {
    fn restored(self, plan: &TaskPlan) -> Result<Restored, Error> {
        let mask = stored_mask(plan, &self.mask)?;
        let scale = stored_scale(plan, &mask, &self.scale)?;
        let sum = self.sum.collector.finish().map_err(adafed_wire::Error::from)?;
        Ok(Restored { round: self.sum.round, mask, scale, sum })
    }
}

struct Restored {
    round: u64,
    mask: Mask,
    scale: Standardisation,
    sum: ReleasedSum,
}

impl Restored {
    const fn base(&self) -> BaseRound<'_> {
        let Self { round, mask, scale, sum } = self;
        BaseRound { round: *round, mask, standardisation: scale, sum }
    }
}

/// Takes the step of the state's round with the updates of the base rounds in `parts`, in
/// any order, each base round once; `None` when the model would not stay finite.
///
/// Which base rounds may be among them, `plan.plans().admits(base, round)` says: the round
/// itself, and under a buffer those that are not too old.
pub(crate) fn advance(
    plan: &TaskPlan,
    state: &TrainingState,
    parts: Vec<Part>,
) -> Result<Option<TrainingState>, Error> {
    let parts = parts.into_iter().map(|part| part.restored(plan));
    let parts: Vec<Restored> = parts.collect::<Result<_, _>>()?;
    let parts: Vec<BaseRound<'_>> = parts.iter().map(Restored::base).collect();
    let mut next = state.clone();
    match next.advance_buffered(plan.plans(), &parts) {
        Ok(()) => Ok(Some(next)),
        Err(adafed_algorithm::Error::NotFinite { .. }) => Ok(None),
        Err(e) => Err(adafed_wire::Error::from(e).into()),
    }
}

fn stored_mask(plan: &TaskPlan, bytes: &[u8]) -> Result<Mask, Error> {
    let message: MaskMessage = decode(bytes).map_err(Error::corrupt("mask"))?;
    message.mask(plan.layout.len()).map_err(Error::corrupt("mask"))
}

fn stored_scale(plan: &TaskPlan, mask: &Mask, bytes: &[u8]) -> Result<Standardisation, Error> {
    let message: ScaleMessage = decode(bytes).map_err(Error::corrupt("scale state"))?;
    message.standardisation(mask, &plan.layout).map_err(Error::corrupt("scale state"))
}

#[cfg(test)]
mod tests {
    use adafed_algorithm::{Aggregation, Buffer, FederationPlan, Weights};
    use adafed_wire::Assignment;

    use super::*;
    use crate::testing;

    /// The state before round 2, and the openings of the rounds up to it.
    fn trained(plan: &TaskPlan) -> (TrainingState, Vec<Opening>) {
        let mut state = TrainingState::new(&plan.layout, vec![0.0; testing::D]).unwrap();
        let mut openings = vec![Opening::of(plan, &state).unwrap()];
        for round in 0..2 {
            let part = part(plan, &openings[round], round as u64, &[(7 + round as i64, 1)]);
            state = advance(plan, &state, vec![part]).unwrap().unwrap();
            openings.push(Opening::of(plan, &state).unwrap());
        }
        (state, openings)
    }

    fn part(plan: &TaskPlan, opening: &Opening, round: u64, updates: &[(i64, u32)]) -> Part {
        let mut sum = RoundSum::new(plan, round, opening.active);
        for &(value, weight) in updates {
            let digest = opening.model.digest;
            let (mask, scale) = (opening.mask.digest, opening.scale.digest);
            let assignment = Assignment { round, plan: digest, model: digest, mask, scale };
            let values: Vec<i64> = (0..opening.active as i64).map(|j| value * (j + 1)).collect();
            let update = testing::update_message(&assignment, &values);
            sum.add(&encode(&update).unwrap(), weight).unwrap();
        }
        Part { sum, mask: opening.mask.bytes.clone(), scale: opening.scale.bytes.clone() }
    }

    fn plan(federation: FederationPlan) -> TaskPlan {
        TaskPlan { federation, ..testing::plan("task") }
    }

    fn reversed(updates: &[(i64, u32)]) -> Vec<(i64, u32)> {
        updates.iter().rev().copied().collect()
    }

    #[test]
    fn the_next_state_does_not_depend_on_any_order() {
        let buffer = Some(Buffer { most_staleness: 1, exponent: 0.5 });
        let plan = plan(FederationPlan { buffer, ..FederationPlan::DEFAULT });
        let (state, openings) = trained(&plan);
        let (late, fresh) = ([(5, 1), (-400, 1)], [((1 << 35), 1), (-9, 1), (33, 1)]);
        let parts = |late: &[(i64, u32)], fresh: &[(i64, u32)]| {
            [part(&plan, &openings[1], 1, late), part(&plan, &openings[2], 2, fresh)]
        };
        let next = advance(&plan, &state, parts(&late, &fresh).into()).unwrap().unwrap();
        let mut other: Vec<Part> = parts(&reversed(&late), &reversed(&fresh)).into();
        other.reverse();
        assert_eq!(advance(&plan, &state, other).unwrap().unwrap(), next);
        let fresh_only = vec![part(&plan, &openings[2], 2, &fresh)];
        assert_ne!(advance(&plan, &state, fresh_only).unwrap().unwrap(), next);
    }

    #[test]
    fn rounds_that_the_plan_does_not_admit_are_refused() {
        let buffer = Some(Buffer { most_staleness: 9, exponent: 0.5 });
        let buffered = plan(FederationPlan { buffer, ..FederationPlan::DEFAULT });
        let (state, openings) = trained(&buffered);
        let alone = |plan: &TaskPlan, round: usize| {
            advance(plan, &state, vec![part(plan, &openings[round], round as u64, &[(1, 1)])])
        };
        assert!(alone(&buffered, 0).is_err(), "a warm-up's update in a main round");
        assert!(alone(&buffered, 1).is_ok());
        assert!(alone(&plan(FederationPlan::DEFAULT), 1).is_err(), "a late one without a buffer");
        assert!(advance(&buffered, &state, Vec::new()).is_err());
        let twice = || part(&buffered, &openings[2], 2, &[(1, 1)]);
        assert!(advance(&buffered, &state, vec![twice(), twice()]).is_err());
    }

    #[test]
    fn the_largest_updates_neither_overflow_nor_panic_under_any_rule() {
        let largest = (1 << 39) - 1;
        let updates = [(largest / 8, 4), (-largest / 8, 1), (1, u32::MAX), (2, 0), (3, 1)];
        let weights = Weights::Public { cap: u32::MAX };
        let mut plans = vec![FederationPlan { weights, ..FederationPlan::DEFAULT }];
        plans.extend(
            [
                Aggregation::Mean,
                Aggregation::Median,
                Aggregation::TrimmedMean { share: 0.3 },
                Aggregation::MultiKrum { hostile: 1, keep: 2 },
            ]
            .map(|aggregation| FederationPlan { aggregation, ..FederationPlan::DEFAULT }),
        );
        for federation in plans {
            for norm_bound in [None, Some(2.0)] {
                let plan = plan(FederationPlan { norm_bound, ..federation });
                let (state, openings) = trained(&plain());
                let next = |updates: &[(i64, u32)]| {
                    advance(&plan, &state, vec![part(&plan, &openings[2], 2, updates)]).unwrap()
                };
                assert_eq!(next(&updates), next(&reversed(&updates)), "{federation:?}");
            }
        }
    }

    fn plain() -> TaskPlan {
        plan(FederationPlan::DEFAULT)
    }
}
