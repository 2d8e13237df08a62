//! Several changed views of every image.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Dataset, Error, View};

/// How images are changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// Views of every image; the first is the image itself.
    pub views: usize,
    /// Farthest move along each axis, in pixels; what comes in from outside is the nearest
    /// pixel of the border.
    #[serde(default)]
    pub shift: usize,
    /// Whether half of the views are mirrored left to right.
    #[serde(default)]
    pub mirror: bool,
}

/// Images `[channels, height, width]` of another data set, each in several views, whose gradients
/// the trainer averages before it clips ([`Dataset::views`]).
#[derive(Debug)]
pub struct Augmented<D> {
    data: D,
    augmentation: Augmentation,
}

impl<D: Dataset> Augmented<D> {
    /// The images of `data`, changed.
    ///
    /// # Errors
    /// [`Error::Augmentation`] where its examples are no images, or not larger than a shift, or
    /// without a view.
    pub fn new(data: D, augmentation: Augmentation) -> Result<Self, Error> {
        let Augmentation { views, shift, .. } = augmentation;
        let fits = matches!(*data.shape(), [_, height, width] if height.min(width) > shift);
        if fits && views > 0 {
            return Ok(Self { data, augmentation });
        }
        Err(Error::Augmentation { shape: data.shape().to_vec(), views, shift })
    }
}

impl<D: Dataset> Dataset for Augmented<D> {
    fn len(&self) -> usize {
        self.data.len()
    }

    fn shape(&self) -> &[usize] {
        self.data.shape()
    }

    fn classes(&self) -> usize {
        self.data.classes()
    }

    fn target_len(&self) -> usize {
        self.data.target_len()
    }

    fn read(&self, index: usize, input: &mut [f32], target: &mut [f32]) -> Result<(), Error> {
        self.data.read(index, input, target)
    }

    fn views(&self) -> usize {
        self.augmentation.views
    }

    fn read_view(
        &self,
        index: usize,
        view: View,
        input: &mut [f32],
        target: &mut [f32],
    ) -> Result<(), Error> {
        self.read(index, input, target)?;
        let [_, height, width] = *self.shape() else { return Ok(()) };
        if view.number > 0 {
            let change = Change::drawn(&self.augmentation, view.draw);
            input.chunks_exact_mut(height * width).for_each(|plane| change.apply(plane, width));
        }
        Ok(())
    }
}

/// One drawn change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    down: isize,
    right: isize,
    mirror: bool,
}

impl Change {
    fn drawn(augmentation: &Augmentation, draw: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(draw);
        let most = augmentation.shift;
        let mut moved = || rng.random_range(0..=2 * most) as isize - most as isize;
        let (down, right) = (moved(), moved());
        Self { down, right, mirror: augmentation.mirror && rng.random() }
    }

    fn apply(self, plane: &mut [f32], width: usize) {
        if self.mirror {
            plane.chunks_exact_mut(width).for_each(<[f32]>::reverse);
        }
        plane.chunks_exact_mut(width).for_each(|row| shift(row, 1, self.right));
        shift(plane, width, self.down);
    }
}

/// Moves runs of `step` values by `by` runs towards the end; gaps repeat the run of the border.
fn shift(values: &mut [f32], step: usize, by: isize) {
    let (last, moved) = (values.len() - step, by.unsigned_abs() * step);
    if by > 0 {
        values.copy_within(..values.len() - moved, moved);
        (step..moved).step_by(step).for_each(|at| values.copy_within(..step, at));
    } else if by < 0 {
        values.copy_within(moved.., 0);
        (last + step - moved..last).step_by(step).for_each(|at| values.copy_within(last.., at));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Examples;
    use super::*;

    fn image() -> Examples {
        let pixels = (1..=12).map(|value| value as f32).collect();
        Examples::new(vec![1, 3, 4], pixels, vec![0], 1).unwrap()
    }

    fn changed(down: isize, right: isize, mirror: bool) -> Vec<f32> {
        let mut plane = image().inputs().to_vec();
        Change { down, right, mirror }.apply(&mut plane, 4);
        plane
    }

    #[test]
    fn images_move_and_repeat_their_border() {
        assert_eq!(changed(1, 0, false), [1., 2., 3., 4., 1., 2., 3., 4., 5., 6., 7., 8.]);
        assert_eq!(changed(-2, 0, false), [9., 10., 11., 12.].repeat(3));
        assert_eq!(changed(0, 2, false), [1., 1., 1., 2., 5., 5., 5., 6., 9., 9., 9., 10.]);
        assert_eq!(changed(0, -1, false), [2., 3., 4., 4., 6., 7., 8., 8., 10., 11., 12., 12.]);
        assert_eq!(changed(0, 0, true), [4., 3., 2., 1., 8., 7., 6., 5., 12., 11., 10., 9.]);
    }

    #[test]
    fn draws_reach_every_change_and_the_first_view_is_the_image() {
        let augmentation = Augmentation { views: 2, shift: 1, mirror: true };
        let drawn: std::collections::HashSet<_> =
            (0..400).map(|draw| format!("{:?}", Change::drawn(&augmentation, draw))).collect();
        assert_eq!(drawn.len(), 3 * 3 * 2);
        let data = Augmented::new(image(), augmentation).unwrap();
        let (mut input, mut target) = ([0.0; 12], [0.0]);
        let mut read = |number, draw| {
            data.read_view(0, View { number, draw }, &mut input, &mut target).unwrap();
            input.to_vec()
        };
        assert!((0..20).all(|draw| read(0, draw) == image().inputs()));
        assert!((0..20).any(|draw| read(1, draw) != image().inputs()));
    }

    #[test]
    fn what_cannot_be_changed_is_refused() {
        let refused = |shift, views| {
            Augmented::new(image(), Augmentation { views, shift, mirror: false }).is_err()
        };
        assert!(refused(3, 2) && refused(1, 0) && !refused(2, 1));
        let flat = image().with_inputs(vec![12], image().inputs().to_vec()).unwrap();
        let error = Augmented::new(flat, Augmentation::default()).unwrap_err().to_string();
        assert!(error.contains("[12]") && error.contains("[channels, height, width]"), "{error}");
    }
}
