//! Features as plain data: the settings and the seed, which travel with a task.

use serde::{Deserialize, Serialize};

use super::making::{Made, Making};
use super::patches::{self, PatchSettings};
use super::scattering;
use super::whitened::{self, WhiteningSettings};
use super::{ALWAYS, Features, procedural};
use crate::data::Error;

/// Angles of the wavelets.
pub(super) const ANGLES: usize = 8;

/// Procedural images that filters, or statistics of responses, are learned from, at most.
pub const MOST_IMAGES: usize = 1 << 13;
/// Sizes of patches, at most.
pub const MOST_SIZES: usize = 4;
/// Filters of a size, without their mirror images, at most.
pub const MOST_PAIRS: usize = 1 << 10;
/// Directions that whitening keeps, at most.
pub const MOST_DIRECTIONS: usize = 1 << 12;
/// Features of an example, before whitening and after it, at most.
pub const MOST_FEATURES: usize = 1 << 14;
/// Multiply-adds for an example's features, at most: some 10 ms of a processor core.
pub const MOST_AN_EXAMPLE: u64 = 1 << 28;
/// Multiply-adds for learning features from procedural images, at most: some minutes of a
/// processor core.
pub const MOST_LEARNING: u64 = 1 << 42;
/// Values of one vector that is held while features are learned, at most: 512 MiB, of which
/// up to two are there at once.
pub const MOST_VALUES: u64 = 1 << 27;

/// Fixed features of images, in few numbers: whoever has them, has the features.
///
/// A description may come from a server: every limit above is checked before anything is
/// computed.
///
/// ```
/// use adafed::data::features::FeatureSpec;
///
/// let text = r#"{"type": "scattering", "scales": 2}"#;
/// let features: FeatureSpec = serde_json::from_str(text)?;
/// assert_eq!(features.shape(&[1, 28, 28])?, [81, 7, 7]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum FeatureSpec {
    /// [`Scattering`](super::Scattering) over eight angles, `[c, h, w] -> [c * maps, h', w']`.
    Scattering {
        /// Octaves.
        scales: usize,
    },
    /// [`Patches`](super::Patches), [`Whitened`](super::Whitened) by their responses to
    /// procedural images: `[c, h, w] -> [directions + 1]`, fewer directions where there are
    /// fewer images or responses.
    Patches {
        /// The filters. The images of whitening are those of the seed's complement.
        filters: PatchSettings,
        /// How responses are whitened.
        whitening: WhiteningSettings,
        /// Procedural images whose responses say how.
        images: usize,
    },
}

impl FeatureSpec {
    /// The type as written in JSON.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Scattering { .. } => "scattering",
            Self::Patches { .. } => "patches",
        }
    }

    /// Shape of the features of inputs of shape `input`. Nothing is computed for it.
    ///
    /// # Errors
    /// [`Error::FeatureInput`] for inputs that are no images of a shape that they take,
    /// [`Error::Scattering`] and [`Error::Patches`] for images that they do not fit,
    /// [`Error::FeatureSetting`] for numbers that mean nothing, and [`Error::FeatureLimit`]
    /// for what no device has to compute.
    pub fn shape(&self, input: &[usize]) -> Result<Vec<usize>, Error> {
        let image = self.image(input)?;
        match self {
            Self::Scattering { scales } => scattering_shape(image, *scales),
            Self::Patches { filters, whitening, images } => {
                patches_shape(image, filters, whitening, *images)
            }
        }
    }

    /// The features, learned on rayon's current pool: a function of these settings and
    /// `input`, the same bits at any number of threads of one machine. Takes up to what
    /// [`MOST_LEARNING`] and [`MOST_VALUES`] say.
    ///
    /// # Errors
    /// As [`FeatureSpec::shape`].
    pub fn build(&self, input: &[usize]) -> Result<Box<dyn Features>, Error> {
        let mut making = Making::new(self, input)?;
        loop {
            if let Made::Whole(features) = making.advance(ALWAYS)? {
                return Ok(features);
            }
        }
    }

    /// `[c, h, w]`.
    pub(super) fn image(&self, input: &[usize]) -> Result<[usize; 3], Error> {
        let expected = match self {
            Self::Scattering { .. } => "images [channels, height, width]",
            Self::Patches { .. } => "images [1 or 3, at most 32, at most 32]",
        };
        let image = <[usize; 3]>::try_from(input).ok().filter(|image| match self {
            Self::Scattering { .. } => true,
            Self::Patches { .. } => procedural::draws(*image),
        });
        let (features, shape) = (self.type_name(), input.to_vec());
        image.ok_or(Error::FeatureInput { features, shape, expected })
    }
}

fn scattering_shape(image: [usize; 3], scales: usize) -> Result<Vec<usize>, Error> {
    /// For each value of a map: a transform's butterflies, and the filter.
    const A_VALUE: u64 = 64;
    let shape = scattering::output_shape(image, scales, ANGLES)?;
    let smaller = "take smaller images, or other scales";
    at_most("an example's features", product(&shape), MOST_FEATURES as u64, smaller)?;
    let [_, height, width] = image;
    let plane = [height, width].map(|side| scattering::padded(side, scales));
    let operations = product(&[shape[0]]).saturating_mul(product(&plane)).saturating_mul(A_VALUE);
    at_most("operations an example", operations, MOST_AN_EXAMPLE, smaller)?;
    Ok(shape.to_vec())
}

fn patches_shape(
    image: [usize; 3],
    filters: &PatchSettings,
    whitening: &WhiteningSettings,
    images: usize,
) -> Result<Vec<usize>, Error> {
    let counts = [
        ("images of filters", filters.images, MOST_IMAGES),
        ("images of whitening", images, MOST_IMAGES),
        ("sizes", filters.sizes.len(), MOST_SIZES),
        ("pairs", filters.pairs, MOST_PAIRS),
        ("directions", whitening.directions, MOST_DIRECTIONS),
    ];
    for (what, found, most) in counts {
        if found == 0 {
            let (value, expected) = (0.0, "at least 1");
            return Err(Error::FeatureSetting { setting: what, value, expected });
        }
        at_most(what, found as u64, most as u64, "take fewer")?;
    }
    let ridge = whitening.ridge;
    if !(ridge.is_finite() && ridge >= 0.0) {
        let (setting, expected) = ("ridge of whitening", "a finite number of at least 0");
        return Err(Error::FeatureSetting { setting, value: ridge, expected });
    }
    if !whitening.constant.is_finite() {
        let (setting, value) = ("constant", f64::from(whitening.constant));
        return Err(Error::FeatureSetting { setting, value, expected: "a finite number" });
    }
    let responses = product(&filters.shape(image)?);
    let fewer = "take fewer images, pairs, sizes or directions, or a coarser grid";
    at_most("responses an example", responses, MOST_FEATURES as u64, fewer)?;
    let directions = whitened::directions(whitening, images, responses as usize);
    let cost = Cost::of(image, filters, [images as u64, responses, directions as u64]);
    at_most("operations an example", cost.an_example, MOST_AN_EXAMPLE, fewer)?;
    at_most("values held while learning", cost.values, MOST_VALUES, fewer)?;
    at_most("operations of learning", cost.learning, MOST_LEARNING, fewer)?;
    Ok(vec![directions + 1])
}

/// What patch features take. All numbers that go in are below their limits, so that nothing
/// overflows.
struct Cost {
    an_example: u64,
    learning: u64,
    values: u64,
}

impl Cost {
    fn of(
        image: [usize; 3],
        filters: &PatchSettings,
        [images, responses, directions]: [u64; 3],
    ) -> Self {
        let [channels, height, width] = image.map(|side| side as u64);
        let count = 2 * filters.pairs as u64;
        let tried = patches::tried(filters.pairs) as u64;
        let seen = patches::SEEN as u64 * filters.images as u64;
        let (mut filtering, mut learning, mut values) = (0, 0, images * responses);
        for size in filters.sizes.iter().map(|size| *size as u64) {
            let dims = channels * size * size;
            filtering += (height - size + 1) * (width - size + 1) * count * (dims + 1);
            learning += dims * dims * (seen + dims + 2 * tried);
            values = values.max(seen * dims);
        }
        // Subspace iterations are products of the responses, and what makes their results
        // orthonormal: Gram matrices, their factors (which are slow) and products by them.
        let (rows, columns) = (images, responses);
        let products = 7 * rows * columns + directions * (7 * rows + 11 * columns);
        learning += images * filtering + directions * (products + 16 * directions * directions);
        let an_example = filtering + responses * directions;
        Self { an_example, learning, values: values.max(responses * directions) }
    }
}

fn at_most(what: &'static str, found: u64, most: u64, advice: &'static str) -> Result<(), Error> {
    if found <= most { Ok(()) } else { Err(Error::FeatureLimit { what, found, most, advice }) }
}

fn product(sides: &[usize]) -> u64 {
    sides.iter().fold(1, |product: u64, side| product.saturating_mul(*side as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patches() -> FeatureSpec {
        serde_json::from_str(
            r#"{"type": "patches", "images": 40, "whitening": {"directions": 12, "ridge": 0.1,
                "constant": 0.3}, "filters": {"seed": 3, "images": 20, "sizes": [5, 6],
                "pairs": 4, "ridge": 0.3, "threshold": 0.8, "grid": 2}}"#,
        )
        .unwrap()
    }

    fn changed(change: impl Fn(&mut PatchSettings, &mut WhiteningSettings, &mut usize)) -> Error {
        let mut spec = patches();
        let FeatureSpec::Patches { filters, whitening, images } = &mut spec else { panic!() };
        change(filters, whitening, images);
        spec.shape(&[3, 32, 32]).unwrap_err()
    }

    #[test]
    fn descriptions_go_round_through_json() {
        for spec in [patches(), FeatureSpec::Scattering { scales: 2 }] {
            let text = serde_json::to_string(&spec).unwrap();
            assert!(text.starts_with(&format!(r#"{{"type":"{}""#, spec.type_name())), "{text}");
            assert_eq!(serde_json::from_str::<FeatureSpec>(&text).unwrap(), spec);
        }
        for refused in [
            r#"{"type": "scattering", "scales": 2, "angles": 4}"#,
            r#"{"type": "glyphs", "scales": 2}"#,
            r#"{"scales": 2}"#,
        ] {
            assert!(serde_json::from_str::<FeatureSpec>(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn the_shape_is_known_without_the_features() {
        for (spec, input) in [
            (patches(), [3, 32, 32]),
            (patches(), [1, 28, 28]),
            (FeatureSpec::Scattering { scales: 2 }, [2, 12, 9]),
        ] {
            let features = spec.build(&input).unwrap();
            assert_eq!(spec.shape(&input).unwrap(), features.shape());
            assert_eq!(features.input_shape(), input);
        }
        let few = |directions, images| {
            let mut spec = patches();
            let FeatureSpec::Patches { whitening, images: of, .. } = &mut spec else { panic!() };
            (whitening.directions, *of) = (directions, images);
            assert_eq!(
                spec.shape(&[1, 28, 28]).unwrap(),
                spec.build(&[1, 28, 28]).unwrap().shape()
            );
            spec.shape(&[1, 28, 28]).unwrap()
        };
        assert_eq!((few(4000, 40), few(200, 100)), (vec![41], vec![65]));
    }

    #[test]
    fn the_settings_of_the_paper_are_allowed() {
        let text = r#"{"type": "patches", "images": 5000, "whitening": {"directions": 2000,
            "ridge": 0.057, "constant": 0.3}, "filters": {"seed": 1, "images": 3000,
            "sizes": [6, 8], "pairs": 512, "ridge": 0.3, "threshold": 0.8, "grid": 2}}"#;
        let spec: FeatureSpec = serde_json::from_str(text).unwrap();
        assert_eq!(spec.shape(&[3, 32, 32]).unwrap(), [2001]);
        let scattering = FeatureSpec::Scattering { scales: 2 };
        assert_eq!(scattering.shape(&[3, 32, 32]).unwrap(), [243, 8, 8]);
    }

    #[test]
    fn what_no_device_has_to_compute_is_refused_by_name() {
        type Change = fn(&mut PatchSettings, &mut WhiteningSettings, &mut usize);
        let cases: &[(&str, Change)] = &[
            ("images of filters", |f, _, _| f.images = MOST_IMAGES + 1),
            ("images of whitening", |_, _, images| *images = usize::MAX),
            ("sizes", |f, _, _| f.sizes = vec![5; MOST_SIZES + 1]),
            ("pairs", |f, _, _| f.pairs = MOST_PAIRS + 1),
            ("directions", |_, w, _| w.directions = MOST_DIRECTIONS + 1),
            ("responses an example", |f, _, _| (f.pairs, f.grid) = (MOST_PAIRS, 3)),
            ("operations an example", |f, _, _| (f.pairs, f.sizes) = (MOST_PAIRS, vec![8, 9])),
            ("values held while learning", |f, _, _| (f.images, f.sizes) = (4000, vec![20])),
            ("operations of learning", |f, w, images| {
                (f.pairs, f.sizes) = (1000, vec![6]);
                (w.directions, *images) = (MOST_DIRECTIONS, MOST_IMAGES);
            }),
        ];
        for (name, change) in cases {
            let error = changed(change);
            let Error::FeatureLimit { what, found, most, .. } = &error else { panic!("{error}") };
            assert_eq!(what, name, "{error}");
            assert!(found > most && error.code() == "data/feature-limit", "{error}");
        }
        let refused = |scales, input: &[usize]| {
            let error = FeatureSpec::Scattering { scales }.shape(input).unwrap_err();
            matches!(error, Error::FeatureLimit { .. })
        };
        assert!(refused(2, &[1, 512, 512]) && refused(6, &[1, 130, 130]));
        assert!(refused(1, &[1, 1 << 20, 1 << 20]));
    }

    #[test]
    fn settings_that_mean_nothing_are_refused_by_name() {
        type Change = fn(&mut PatchSettings, &mut WhiteningSettings, &mut usize);
        let cases: &[(&str, Change)] = &[
            ("images of whitening", |_, _, images| *images = 0),
            ("directions", |_, w, _| w.directions = 0),
            ("ridge of whitening", |_, w, _| w.ridge = -1.0),
            ("ridge of whitening", |_, w, _| w.ridge = f64::NAN),
            ("constant", |_, w, _| w.constant = f32::INFINITY),
        ];
        for (name, change) in cases {
            let error = changed(change);
            let Error::FeatureSetting { setting, .. } = &error else { panic!("{error}") };
            assert_eq!(setting, name, "{error}");
        }
        assert!(matches!(changed(|f, _, _| f.sizes = vec![0]), Error::Patches { .. }));
        assert!(matches!(changed(|f, _, _| f.ridge = f64::INFINITY), Error::Patches { .. }));
    }

    #[test]
    fn inputs_that_are_no_images_are_refused() {
        for input in [&[3, 33, 32][..], &[2, 28, 28], &[784], &[], &[1, 0, 28]] {
            let error = patches().shape(input).unwrap_err();
            assert!(matches!(error, Error::FeatureInput { .. }), "{error}");
        }
        let scattering = FeatureSpec::Scattering { scales: 2 };
        assert_eq!(scattering.shape(&[784]).unwrap_err().code(), "data/feature-input");
        assert_eq!(scattering.shape(&[1, 3, 28]).unwrap_err().code(), "data/scattering");
        assert_eq!(scattering.shape(&[0, 28, 28]).unwrap_err().code(), "data/shape");
    }
}
