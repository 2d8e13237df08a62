//! Which fixed features a run puts before its model.

use adafed::data::features::{
    Features, PatchSettings, Patches, Scattering, Whitened, WhiteningSettings, dead_leaves,
};
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
        let image = || {
            <[usize; 3]>::try_from(shape).map_err(|_| Error::Settings {
                what: "features",
                expected: format!("inputs that are images, not of shape {shape:?}"),
            })
        };
        Ok(Some(match self {
            Self::None => return Ok(None),
            Self::Scattering { scales } => {
                const ANGLES: usize = 8;
                let made = Scattering::new(image()?, *scales, ANGLES);
                Box::new(made?)
            }
            Self::Patches { filters, whitening, images } => {
                let patches = Patches::new(image()?, filters)?;
                // Others than the filters were made from.
                let others = dead_leaves(!filters.seed, *images, image()?);
                let others = others?;
                Box::new(Whitened::learn(Box::new(patches), &others, whitening))
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
