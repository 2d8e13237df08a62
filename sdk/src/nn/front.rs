//! What lies before the layers: fixed features, made when they are first needed.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::{Error, Model};
use crate::data::features::{FeatureSpec, Features};

/// Features of a model, shared by its clones.
#[derive(Clone)]
pub(super) struct Front {
    spec: FeatureSpec,
    pub(super) input: Vec<usize>,
    made: Arc<OnceLock<Arc<dyn Features>>>,
}

impl Front {
    pub(super) fn new(spec: FeatureSpec, input: Vec<usize>) -> Self {
        Self { spec, input, made: Arc::default() }
    }
}

impl fmt::Debug for Front {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { spec, input, .. } = self;
        let mut shown = formatter.debug_struct("Front");
        shown.field("spec", spec).field("input", input).finish_non_exhaustive()
    }
}

impl Model {
    /// The settings of the features that the layers see, where there are some.
    #[must_use]
    pub fn feature_spec(&self) -> Option<&FeatureSpec> {
        self.front.as_ref().map(|front| &front.spec)
    }

    /// The features that the layers see, where there are some. The first call for a model and
    /// its clones makes them, on rayon's current pool; what that takes, [`FeatureSpec::build`]
    /// says. What reads inputs (predictions, losses, gradients) makes this call.
    ///
    /// # Errors
    /// [`Error::Features`]; none where the model comes from a checked description.
    pub fn features(&self) -> Result<Option<&Arc<dyn Features>>, Error> {
        let Some(Front { spec, input, made }) = &self.front else { return Ok(None) };
        if made.get().is_none() {
            // Not within the lock: the pool may come back here with other work.
            let features = Arc::from(spec.build(input)?);
            return Ok(Some(made.get_or_init(|| features)));
        }
        Ok(made.get())
    }

    /// The model with features that were made for another one of the same description.
    pub(crate) fn with_made(self, features: Arc<dyn Features>) -> Self {
        if let Some(front) = &self.front {
            front.made.get_or_init(|| features);
        }
        self
    }

    /// Writes what the layers see of whole `inputs`.
    pub(crate) fn see(features: Option<&Arc<dyn Features>>, inputs: &[f32], seen: &mut [f32]) {
        match features {
            Some(features) => features.compute(inputs, seen),
            None => seen.copy_from_slice(inputs),
        }
    }
}
