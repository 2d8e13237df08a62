//! Which fixed features a run puts before its model.

use adafed::data::features::{FeatureSpec, Features, PatchSettings, Whitened, WhiteningSettings};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::glyphs::Glyphs;
use crate::pretrained::{Pretrained, glyph_images};
use crate::source::Split;
use crate::upright::{Upright, scaled};

/// Fixed features: nothing private goes into them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum FeatureSettings {
    /// The input itself.
    #[default]
    None,
    /// Wavelet scattering over eight angles.
    Scattering {
        /// Octaves.
        scales: usize,
    },
    /// Responses to patches of procedural images, whitened by others.
    Patches {
        /// The filters.
        filters: PatchSettings,
        /// How responses are whitened.
        whitening: WhiteningSettings,
        /// Procedural images whose responses say how.
        images: usize,
    },
    /// A small network pre-trained on made-up handwriting, on images made upright.
    Glyphs {
        /// Classes of made-up glyphs.
        classes: usize,
        /// Steps of pre-training.
        steps: usize,
        /// Public seed of glyphs and weights.
        seed: u64,
        /// How features are whitened.
        whitening: WhiteningSettings,
        /// Glyphs whose features say how.
        images: usize,
    },
}

impl FeatureSettings {
    /// Both parts of a data set through the features.
    ///
    /// # Errors
    /// Where the features do not take inputs of that shape.
    pub(crate) fn apply(&self, split: Split) -> Result<Split, Error> {
        let Some(features) = self.features(split.train.shape())? else { return Ok(split) };
        let train = split.train.with_features(&*features)?;
        let test = split.test.with_features(&*features)?;
        Ok(Split { train, test })
    }

    fn features(&self, shape: &[usize]) -> Result<Option<Box<dyn Features>>, Error> {
        Ok(Some(match self {
            Self::None => return Ok(None),
            Self::Scattering { scales } => {
                FeatureSpec::Scattering { scales: *scales }.build(shape)?
            }
            Self::Patches { filters, whitening, images } => {
                let (filters, whitening) = (filters.clone(), whitening.clone());
                FeatureSpec::Patches { filters, whitening, images: *images }.build(shape)?
            }
            Self::Glyphs { classes, steps, seed, whitening, images } => {
                let glyphs = Glyphs::new(*classes, *seed);
                let trunk = Pretrained::train(&glyphs, *steps, *seed)?;
                let (mut others, _) = glyph_images(&glyphs, !seed, 0, *images);
                scaled(&mut others);
                let upright = Box::new(Upright(Box::new(trunk)));
                Box::new(Whitened::learn(upright, &others, whitening))
            }
        }))
    }
}
