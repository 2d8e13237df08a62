//! From stored updates to the next training state: exact integer sums, then
//! `adafed_algorithm`. No I/O.

use adafed_algorithm::{Mask, ReleasedSum, Standardisation, TrainingState};
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

/// The sum of a round's updates.
///
/// # Guarantee
/// A function of the set of updates: the caller adds them in the order of device names,
/// so that even saturation by hostile values comes out the same.
pub(crate) struct RoundSum {
    sum: ReleasedSum,
    /// Grid steps in one unit of an upload.
    unit: i64,
    active: usize,
}

impl RoundSum {
    /// An empty sum of `round` over `active` coordinates.
    pub(crate) fn new(plan: &TaskPlan, round: u64, active: usize) -> Self {
        let shift = plan.upload_shift(round);
        let unit = if shift < 63 { 1 << shift } else { i64::MAX };
        Self { sum: ReleasedSum::new(active, plan.privacy.local_steps), unit, active }
    }

    /// Adds one stored update.
    pub(crate) fn add(&mut self, body: &[u8]) -> Result<(), Error> {
        let corrupt = Error::corrupt("update");
        let update: Update = decode(body).map_err(&corrupt)?;
        let mut values = update.values.unpack(self.active).map_err(&corrupt)?;
        values.iter_mut().for_each(|v| *v = v.saturating_mul(self.unit));
        self.sum.add_device(&values).map_err(|e| corrupt(e.into()))
    }

    /// Takes the round's step, with the mask and scale its devices had; `None` when the
    /// model would not stay finite.
    pub(crate) fn advance(
        &self,
        plan: &TaskPlan,
        state: &TrainingState,
        mask: &[u8],
        scale: &[u8],
    ) -> Result<Option<TrainingState>, Error> {
        let mask = stored_mask(plan, mask)?;
        let scale = stored_scale(plan, &mask, scale)?;
        let mut next = state.clone();
        match next.advance(plan.plans(), &mask, &scale, &self.sum) {
            Ok(()) => Ok(Some(next)),
            Err(adafed_algorithm::Error::NotFinite { .. }) => Ok(None),
            Err(e) => Err(adafed_wire::Error::from(e).into()),
        }
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
