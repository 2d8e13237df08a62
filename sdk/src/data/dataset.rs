//! The trainer's view of data, and the in-memory data set.

use super::Error;

/// Labelled examples, read by index.
///
/// Implement it to train from an app's own store: nothing is copied before an example
/// is drawn. The trainer may read from several threads at once and may read an index
/// any number of times; the answer must not change during a round.
pub trait Dataset: Send + Sync {
    /// Number of examples on this device. It is private and never leaves the device.
    fn len(&self) -> usize;

    /// Whether there are no examples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shape of one example, without the batch dimension, for instance `[1, 28, 28]`.
    fn shape(&self) -> &[usize];

    /// Number of classes, where targets are labels `0..classes`; 0 where they are numbers.
    fn classes(&self) -> usize;

    /// Values of one target: 1 for a label, one a position or an output otherwise.
    fn target_len(&self) -> usize {
        1
    }

    /// Writes example `index` into `input` (row-major, as long as the product of
    /// [`shape`](Self::shape)) and its target into `target`
    /// ([`target_len`](Self::target_len) values). Labels and tokens are whole numbers.
    ///
    /// # Errors
    /// [`Error::Index`] or [`Error::Buffer`] for a call that cannot be answered,
    /// [`Error::Source`] when the app's store fails.
    fn read(&self, index: usize, input: &mut [f32], target: &mut [f32]) -> Result<(), Error>;

    /// Refuses buffers that [`Dataset::read`] cannot fill.
    ///
    /// # Errors
    /// [`Error::Buffer`].
    fn check_buffers(&self, input: &[f32], target: &[f32]) -> Result<(), Error> {
        let width = self.shape().iter().product();
        for (found, expected) in [(input.len(), width), (target.len(), self.target_len())] {
            if found != expected {
                return Err(Error::Buffer { found, expected });
            }
        }
        Ok(())
    }

    /// Views of an example, at least 1: their gradients are averaged before the clip
    /// (augmentation multiplicity: De et al., Unlocking High-Accuracy Differentially Private
    /// Image Classification through Scale, 2022). The average is the example's one
    /// contribution, so views cost no privacy; they cost time, one pass each.
    fn views(&self) -> usize {
        1
    }

    /// As [`Dataset::read`], one view of the example.
    ///
    /// # Errors
    /// As [`Dataset::read`].
    fn read_view(
        &self,
        index: usize,
        _view: View,
        input: &mut [f32],
        target: &mut [f32],
    ) -> Result<(), Error> {
        self.read(index, input, target)
    }
}

/// Which view of an example is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Its number, below [`Dataset::views`].
    pub number: usize,
    /// What its random changes are drawn from: secret, another one for every view, example and
    /// step, and the same when a restored step is repeated.
    pub draw: u64,
}

/// Examples in memory, checked once: every length fits, every input is finite, every
/// label has a class.
#[derive(Clone, PartialEq)]
pub struct Examples {
    shape: Vec<usize>,
    width: usize,
    inputs: Vec<f32>,
    /// Empty where targets are not one label an example.
    labels: Vec<u32>,
    targets: Vec<f32>,
    target_len: usize,
    classes: usize,
}

impl Examples {
    /// Takes `labels.len()` examples of `shape`, their inputs one after the other.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Length`], [`Error::NotFinite`] or [`Error::Label`],
    /// naming the first example at fault.
    ///
    /// # Edge cases
    /// | case | result |
    /// | --- | --- |
    /// | no examples | accepted: a device may have none |
    /// | a dimension of 0, or no dimension | [`Error::Shape`] |
    /// | NaN or infinity | [`Error::NotFinite`] |
    pub fn new(
        shape: Vec<usize>,
        inputs: Vec<f32>,
        labels: Vec<u32>,
        classes: usize,
    ) -> Result<Self, Error> {
        if let Some(example) = labels.iter().position(|&y| y as usize >= classes) {
            return Err(Error::Label { example, label: labels[example], classes });
        }
        let targets = labels.iter().map(|&label| label as f32).collect();
        Ok(Self { labels, classes, ..Self::with_targets(shape, inputs, targets, 1)? })
    }

    /// Takes examples whose targets have `target_len` values each: numbers for a
    /// regression, one class a position for a sequence.
    ///
    /// # Errors
    /// As [`Examples::new`]; [`Error::Targets`] for targets that are not whole.
    pub fn with_targets(
        shape: Vec<usize>,
        inputs: Vec<f32>,
        targets: Vec<f32>,
        target_len: usize,
    ) -> Result<Self, Error> {
        let width = width_of(&shape)?;
        if target_len == 0 || !targets.len().is_multiple_of(target_len) {
            return Err(Error::Targets { found: targets.len(), expected: target_len });
        }
        let examples = targets.len() / target_len;
        if examples.checked_mul(width) != Some(inputs.len()) {
            let (found, expected) = (inputs.len(), examples.saturating_mul(width));
            return Err(Error::Length { found, examples, expected });
        }
        if let Some(at) = inputs.iter().position(|x| !x.is_finite()) {
            let (example, offset) = (at / width, at % width);
            return Err(Error::NotFinite { example, offset, value: inputs[at] });
        }
        Ok(Self { shape, width, inputs, labels: Vec::new(), targets, target_len, classes: 0 })
    }

    /// The same targets with other inputs, one of `shape` for each.
    ///
    /// # Errors
    /// As [`Examples::new`] about inputs.
    pub fn with_inputs(&self, shape: Vec<usize>, inputs: Vec<f32>) -> Result<Self, Error> {
        let other = Self::with_targets(shape, inputs, self.targets.clone(), self.target_len)?;
        Ok(Self { labels: self.labels.clone(), classes: self.classes, ..other })
    }

    /// Number of examples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.targets.len() / self.target_len
    }

    /// Whether there are no examples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Shape of one example.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Inputs of all examples, `[len, shape..]`.
    #[must_use]
    pub fn inputs(&self) -> &[f32] {
        &self.inputs
    }

    /// Labels of all examples, `[len]`; none where targets are not one label an example.
    #[must_use]
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Targets of all examples, `[len, target_len]`: labels as whole numbers, or what
    /// [`Examples::with_targets`] was given.
    #[must_use]
    pub fn targets(&self) -> &[f32] {
        &self.targets
    }

    /// Input of one example, or `None` past the end.
    #[must_use]
    pub fn input(&self, index: usize) -> Option<&[f32]> {
        self.inputs.get(index * self.width..(index + 1) * self.width)
    }

    /// The examples at `indices` as a set of their own, for instance one device's share.
    ///
    /// An index may occur more than once.
    ///
    /// # Panics
    /// If an index is not below [`len`](Self::len): indices come from a sampler or a
    /// partition over this very set, never from outside the program.
    #[must_use]
    pub fn subset(&self, indices: &[usize]) -> Self {
        let labelled = indices.iter().filter(|_| !self.labels.is_empty());
        Self {
            shape: self.shape.clone(),
            inputs: gather(&self.inputs, self.width, indices),
            labels: labelled.map(|&index| self.labels[index]).collect(),
            targets: gather(&self.targets, self.target_len, indices),
            ..*self
        }
    }
}

impl<D: Dataset + ?Sized> Dataset for &D {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn shape(&self) -> &[usize] {
        (**self).shape()
    }

    fn classes(&self) -> usize {
        (**self).classes()
    }

    fn target_len(&self) -> usize {
        (**self).target_len()
    }

    fn read(&self, index: usize, input: &mut [f32], target: &mut [f32]) -> Result<(), Error> {
        (**self).read(index, input, target)
    }

    fn views(&self) -> usize {
        (**self).views()
    }

    fn read_view(
        &self,
        index: usize,
        view: View,
        input: &mut [f32],
        target: &mut [f32],
    ) -> Result<(), Error> {
        (**self).read_view(index, view, input, target)
    }
}

impl Dataset for Examples {
    fn len(&self) -> usize {
        self.len()
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn target_len(&self) -> usize {
        self.target_len
    }

    fn read(&self, index: usize, input: &mut [f32], target: &mut [f32]) -> Result<(), Error> {
        let source = self.input(index).ok_or(Error::Index { index, len: self.len() })?;
        self.check_buffers(input, target)?;
        input.copy_from_slice(source);
        target.copy_from_slice(&self.targets[index * self.target_len..][..self.target_len]);
        Ok(())
    }
}

/// The rows of `width` values at `indices`, one after the other.
fn gather(values: &[f32], width: usize, indices: &[usize]) -> Vec<f32> {
    indices.iter().flat_map(|index| &values[index * width..][..width]).copied().collect()
}

/// Shows the layout only: examples are private and do not belong in a log.
impl std::fmt::Debug for Examples {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Examples")
            .field("shape", &self.shape)
            .field("classes", &self.classes)
            .finish_non_exhaustive()
    }
}

/// Values in one example; at least one, and addressable.
fn width_of(shape: &[usize]) -> Result<usize, Error> {
    let width = shape.iter().try_fold(1usize, |width, &side| width.checked_mul(side));
    match width {
        Some(width) if width > 0 && !shape.is_empty() => Ok(width),
        _ => Err(Error::Shape { shape: shape.to_vec() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Examples {
        Examples::new(vec![1, 2], vec![0., 1., 2., 3., 4., 5.], vec![0, 1, 2], 3).unwrap()
    }

    #[test]
    fn a_subset_keeps_order_and_repeats() {
        let subset = three().subset(&[2, 0, 2]);
        assert_eq!(subset.inputs(), [4., 5., 0., 1., 4., 5.]);
        assert_eq!((subset.labels(), subset.targets()), (&[2, 0, 2][..], &[2., 0., 2.][..]));
    }

    #[test]
    fn targets_of_several_values_are_read_whole() {
        let data = Examples::with_targets(vec![1], vec![1., 2.], vec![3., 4., 5., 6.], 2).unwrap();
        let (mut input, mut target) = ([0.0], [0.0; 2]);
        assert_eq!((data.len(), data.read(1, &mut input, &mut target)), (2, Ok(())));
        assert_eq!((input, target), ([2.0], [5.0, 6.0]));
        let refused = Examples::with_targets(vec![1], vec![1.], vec![3., 4., 5.], 2);
        assert_eq!(refused, Err(Error::Targets { found: 3, expected: 2 }));
    }

    #[test]
    fn a_subset_is_the_gathered_set() {
        let subset = three().subset(&[1]);
        assert_eq!(subset, Examples::new(vec![1, 2], vec![2., 3.], vec![1], 3).unwrap());
    }

    #[test]
    fn reading_through_the_trait_copies_one_example() {
        let data: Box<dyn Dataset> = Box::new(three());
        let mut input = [0.0; 2];
        let mut target = [0.0];
        assert_eq!(data.read(1, &mut input, &mut target), Ok(()));
        assert_eq!(target, [1.0]);
        assert_eq!(input, [2., 3.]);
        assert_eq!(data.read(3, &mut input, &mut target), Err(Error::Index { index: 3, len: 3 }));
        assert_eq!(
            data.read(0, &mut [0.0], &mut target),
            Err(Error::Buffer { found: 1, expected: 2 })
        );
    }

    #[test]
    fn an_empty_set_is_a_set() {
        let none = Examples::new(vec![3], vec![], vec![], 2).unwrap();
        assert!(none.is_empty() && none.input(0).is_none());
    }

    #[test]
    fn wrong_lengths_are_refused() {
        let error = Examples::new(vec![2], vec![0.0; 3], vec![0, 1], 2).unwrap_err();
        assert_eq!(error, Error::Length { found: 3, examples: 2, expected: 4 });
        for shape in [vec![], vec![0], vec![4, 0], vec![usize::MAX, 2]] {
            let error = Examples::new(shape.clone(), vec![], vec![], 2).unwrap_err();
            assert_eq!(error, Error::Shape { shape });
        }
    }

    #[test]
    fn the_first_value_that_is_not_finite_is_named() {
        for value in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            let error = Examples::new(vec![2], vec![0., 0., 0., value], vec![0, 1], 2).unwrap_err();
            assert!(matches!(error, Error::NotFinite { example: 1, offset: 1, .. }), "{error}");
        }
    }

    #[test]
    fn a_label_without_a_class_is_named() {
        let error = Examples::new(vec![1], vec![0., 0.], vec![1, 2], 2).unwrap_err();
        assert_eq!(error, Error::Label { example: 1, label: 2, classes: 2 });
        assert!(error.to_string().contains("example 1 has label 2, expected 0 to 1"), "{error}");
    }

    #[test]
    fn debug_shows_no_example() {
        let shown = format!("{:?}", three());
        assert_eq!(shown, "Examples { shape: [1, 2], classes: 3, .. }");
    }
}
