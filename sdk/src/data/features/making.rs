//! Features in the making, in pieces between which the host may call it off.

use super::scattering::Scattering;
use super::spec::{ANGLES, FeatureSpec};
use super::whitened::{Basis, Whitened, WhiteningSettings, mean, take_off};
use super::{Features, MayGoOn, PatchSettings, Patches, leaves};
use crate::data::Error;

/// Images whose responses are one piece: what is lost when it is called off.
const TOGETHER: usize = 64;

/// Features that are being learned. What a piece has made stays when the next is called off,
/// and the result is the same.
pub(crate) enum Making {
    Scattering { image: [usize; 3], scales: usize },
    Patches(Box<Learning>),
}

/// What a piece of work came to.
pub(crate) enum Made {
    /// The features.
    Whole(Box<dyn Features>),
    /// A part of them.
    Part,
    /// Nothing: it was called off.
    Nothing,
}

impl Making {
    /// # Errors
    /// As [`FeatureSpec::shape`].
    pub(crate) fn new(spec: &FeatureSpec, input: &[usize]) -> Result<Self, Error> {
        spec.shape(input)?;
        let image = spec.image(input)?;
        Ok(match spec.clone() {
            FeatureSpec::Scattering { scales } => Self::Scattering { image, scales },
            FeatureSpec::Patches { filters, whitening, images } => {
                Self::Patches(Box::new(Learning::new(image, filters, whitening, images)))
            }
        })
    }

    /// Does one piece, on rayon's current pool.
    ///
    /// # Errors
    /// None where [`Making::new`] had none.
    pub(crate) fn advance(&mut self, may_go_on: MayGoOn<'_>) -> Result<Made, Error> {
        match self {
            Self::Scattering { image, scales } => {
                let made = Scattering::new_while(*image, *scales, ANGLES, may_go_on)?;
                Ok(made.map_or(Made::Nothing, |made| Made::Whole(Box::new(made))))
            }
            Self::Patches(learning) if learning.patches.is_none() => learning.start(may_go_on),
            Self::Patches(learning) => Ok(learning.go_on(may_go_on).unwrap_or(Made::Nothing)),
        }
    }
}

/// Whitened responses to patches, up to some piece.
pub(crate) struct Learning {
    image: [usize; 3],
    filters: PatchSettings,
    whitening: WhiteningSettings,
    /// Images that say how to whiten.
    count: usize,
    images: Vec<f32>,
    /// The filters, once they are there.
    patches: Option<Box<Patches>>,
    /// Responses to the images so far, and of how many of them the mean, once there is one, is
    /// taken off.
    responses: Vec<f32>,
    mean: Vec<f32>,
    centred: usize,
    basis: Option<Basis>,
}

impl Learning {
    fn new(
        image: [usize; 3],
        filters: PatchSettings,
        whitening: WhiteningSettings,
        count: usize,
    ) -> Self {
        let (images, responses, mean) = Default::default();
        let (patches, basis, centred) = (None, None, 0);
        Self { image, filters, whitening, count, images, patches, responses, mean, centred, basis }
    }

    /// Filters and images.
    fn start(&mut self, may_go_on: MayGoOn<'_>) -> Result<Made, Error> {
        // Others than the filters are made from.
        let images = leaves(!self.filters.seed, self.count, self.image, may_go_on)?;
        let patches = Patches::new_while(self.image, &self.filters, may_go_on)?;
        let (Some(images), Some(patches)) = (images, patches) else { return Ok(Made::Nothing) };
        (self.images, self.patches) = (images, Some(Box::new(patches)));
        Ok(Made::Part)
    }

    /// The next piece; none when called off.
    fn go_on(&mut self, may_go_on: MayGoOn<'_>) -> Option<Made> {
        let patches = self.patches.as_ref()?;
        let each: usize = patches.shape().iter().product();
        let Some(basis) = &mut self.basis else {
            let done = self.responses.len() / each;
            if done < self.count {
                self.respond(done, each, may_go_on)?;
            } else if self.mean.is_empty() {
                self.mean = mean(&self.responses, each, may_go_on)?;
                self.images = Vec::new();
            } else {
                may_go_on().then_some(())?;
                let rows = self.centred..self.count.min(self.centred + TOGETHER);
                take_off(&mut self.responses[rows.start * each..rows.end * each], &self.mean);
                self.centred = rows.end;
                if self.centred == self.count {
                    self.basis = Some(Basis::new(&self.whitening, self.count, each));
                }
            }
            return Some(Made::Part);
        };
        let learned = basis.advance(&self.mean, &self.responses, &self.whitening, may_go_on)?;
        let Some(learned) = learned else { return Some(Made::Part) };
        let features = Whitened::of(self.patches.take()?, learned, &self.whitening);
        Some(Made::Whole(Box::new(features)))
    }

    /// Responses to some more images; none when called off.
    fn respond(&mut self, done: usize, each: usize, may_go_on: MayGoOn<'_>) -> Option<()> {
        let len: usize = self.image.iter().product();
        let some = &self.images[done * len..self.count.min(done + TOGETHER) * len];
        let more = super::computed_while(&**self.patches.as_ref()?, some, may_go_on)?;
        self.responses.reserve_exact(self.count * each - self.responses.len());
        self.responses.extend(more);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    fn small() -> FeatureSpec {
        serde_json::from_str(
            r#"{"type": "patches", "images": 100, "whitening": {"directions": 12, "ridge": 0.1,
                "constant": 0.3}, "filters": {"seed": 3, "images": 20, "sizes": [5],
                "pairs": 4, "ridge": 0.3, "threshold": 0.8, "grid": 2}}"#,
        )
        .unwrap()
    }

    fn seen(features: &dyn Features, images: &[f32]) -> Vec<f32> {
        super::super::computed(features, images).0
    }

    /// Called off at its `n`th question in every piece, for growing `n`, until it is through.
    #[test]
    fn what_is_called_off_goes_on_to_the_same_bits() {
        let images = super::super::dead_leaves(9, 3, [1, 28, 28]).unwrap();
        for spec in [small(), FeatureSpec::Scattering { scales: 2 }] {
            let expected = seen(&*spec.build(&[1, 28, 28]).unwrap(), &images);
            let mut making = Making::new(&spec, &[1, 28, 28]).unwrap();
            let (mut allowed, mut called_off) = (0, 0);
            let features = loop {
                let asked = AtomicUsize::new(0);
                let may_go_on = || asked.fetch_add(1, Ordering::Relaxed) < allowed;
                match making.advance(&may_go_on).unwrap() {
                    Made::Whole(features) => break features,
                    Made::Part => allowed = 0,
                    Made::Nothing => {
                        called_off += 1;
                        allowed += 1 + allowed / 2;
                    }
                }
            };
            assert!(called_off > 3, "{called_off}");
            assert_eq!(seen(&*features, &images), expected);
        }
    }

    /// The largest features of the published results, as a device learns them.
    #[test]
    #[ignore = "prints times, proves nothing"]
    fn time_between_two_looks() {
        let spec = serde_json::from_str(
            r#"{"type": "patches", "images": 5000, "whitening": {"directions": 2000,
                "ridge": 0.057, "constant": 0.3}, "filters": {"seed": 1, "images": 3000,
                "sizes": [6, 8], "pairs": 512, "ridge": 0.3, "threshold": 0.8, "grid": 2}}"#,
        );
        let mut making = Making::new(&spec.unwrap(), &[3, 32, 32]).unwrap();
        let started = Instant::now();
        let looks = Mutex::new((started, Duration::ZERO));
        let look = || {
            let mut looks = looks.lock().unwrap();
            let now = Instant::now();
            *looks = (now, looks.1.max(now - looks.0));
            true
        };
        while !matches!(making.advance(&look).unwrap(), Made::Whole(_)) {}
        look();
        let longest = looks.lock().unwrap().1;
        println!("learned in {:.1?}, longest between two looks {longest:.1?}", started.elapsed());
    }
}
