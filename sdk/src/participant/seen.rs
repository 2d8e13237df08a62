//! A task's features on a device: made once, and once computed for each example.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Error;
use crate::data::Dataset;
use crate::data::features::{FeatureSpec, Featured, Features, Made, Making, MayGoOn};
use crate::nn::Model;

/// The features of a model and of the device's examples, in memory: they are made again after
/// a restart, to the same bits.
pub(super) struct Seen {
    spec: FeatureSpec,
    input: Vec<usize>,
    features: Stage,
    examples: Featured,
    /// The round that the examples are looked at for, and whether all have been.
    round: Option<(u64, bool)>,
}

enum Stage {
    Making(Making),
    Made(Arc<dyn Features>),
}

impl Seen {
    /// Of `model`'s features, where it has some.
    pub(super) fn of(model: &Model) -> Result<Option<Self>, Error> {
        let Some(spec) = model.feature_spec() else { return Ok(None) };
        let (spec, input) = (spec.clone(), model.input_shape().to_vec());
        let features = Stage::Making(Making::new(&spec, &input)?);
        Ok(Some(Self { spec, input, features, examples: Featured::new(), round: None }))
    }

    /// Whether they are those of `model`.
    pub(super) fn is_of(&self, model: &Model) -> bool {
        model.feature_spec() == Some(&self.spec) && model.input_shape() == self.input
    }

    /// The features, once they are made.
    pub(super) fn features(&self) -> Option<&Arc<dyn Features>> {
        match &self.features {
            Stage::Made(features) => Some(features),
            Stage::Making(_) => None,
        }
    }

    /// The examples as the layers take them, once they are ready for `round`.
    pub(super) fn examples(&self, round: u64) -> Option<&dyn Dataset> {
        (self.round == Some((round, true))).then_some(&self.examples)
    }

    /// Forgets the examples, not the features.
    pub(super) fn forget_examples(&mut self) {
        (self.examples, self.round) = (Featured::new(), None);
    }

    /// Does one piece of what is to be done before `round` can be trained, on rayon's current
    /// pool; [`Error::Interrupted`] where it is called off, and the piece is to be done again.
    pub(super) fn advance(
        &mut self,
        round: u64,
        data: &dyn Dataset,
        may_go_on: MayGoOn<'_>,
    ) -> Result<(), Error> {
        let called_off = AtomicBool::new(false);
        let asked = || {
            let goes_on = may_go_on();
            called_off.fetch_or(!goes_on, Ordering::Relaxed);
            goes_on
        };
        match &mut self.features {
            Stage::Making(making) => {
                if let Made::Whole(features) = making.advance(&asked)? {
                    self.features = Stage::Made(Arc::from(features));
                }
            }
            Stage::Made(features) => {
                if self.round != Some((round, false)) {
                    self.examples.again();
                }
                self.round = Some((round, false));
                let ready = self.examples.advance(&**features, data, &asked)?;
                self.round = Some((round, ready));
            }
        }
        if called_off.into_inner() { Err(Error::Interrupted) } else { Ok(()) }
    }
}
