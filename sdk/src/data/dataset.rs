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

    /// Number of classes; labels are `0..classes`.
    fn classes(&self) -> usize;

    /// Writes example `index` into `input` (row-major, as long as the product of
    /// [`shape`](Self::shape)) and returns its label.
    ///
    /// # Errors
    /// [`Error::Index`] or [`Error::Buffer`] for a call that cannot be answered,
    /// [`Error::Source`] when the app's store fails.
    fn read(&self, index: usize, input: &mut [f32]) -> Result<u32, Error>;
}

/// Examples in memory, checked once: every length fits, every input is finite, every
/// label has a class.
#[derive(Clone, PartialEq)]
pub struct Examples {
    shape: Vec<usize>,
    width: usize,
    inputs: Vec<f32>,
    labels: Vec<u32>,
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
        let width = width_of(&shape)?;
        if labels.len().checked_mul(width) != Some(inputs.len()) {
            return Err(Error::Length {
                found: inputs.len(),
                examples: labels.len(),
                expected: labels.len().saturating_mul(width),
            });
        }
        if let Some(at) = inputs.iter().position(|x| !x.is_finite()) {
            let (example, offset) = (at / width, at % width);
            return Err(Error::NotFinite { example, offset, value: inputs[at] });
        }
        if let Some(example) = labels.iter().position(|&y| y as usize >= classes) {
            return Err(Error::Label { example, label: labels[example], classes });
        }
        Ok(Self { shape, width, inputs, labels, classes })
    }

    /// Number of examples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no examples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
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

    /// Labels of all examples, `[len]`.
    #[must_use]
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Input of one example, or `None` past the end.
    #[must_use]
    pub fn input(&self, index: usize) -> Option<&[f32]> {
        self.inputs.chunks_exact(self.width).nth(index)
    }

    /// Copies of the examples at `indices`, in that order: inputs
    /// `[indices.len(), shape..]` and labels. An index may occur more than once.
    ///
    /// # Panics
    /// If an index is not below [`len`](Self::len): indices come from a sampler or a
    /// partition over this very set, never from outside the program.
    #[must_use]
    pub fn gather(&self, indices: &[usize]) -> (Vec<f32>, Vec<u32>) {
        let mut inputs = Vec::with_capacity(indices.len() * self.width);
        for &index in indices {
            inputs.extend_from_slice(&self.inputs[index * self.width..][..self.width]);
        }
        (inputs, indices.iter().map(|&index| self.labels[index]).collect())
    }

    /// The examples at `indices` as a set of their own, for instance one device's share.
    ///
    /// # Panics
    /// As [`gather`](Self::gather).
    #[must_use]
    pub fn subset(&self, indices: &[usize]) -> Self {
        let (inputs, labels) = self.gather(indices);
        Self { shape: self.shape.clone(), width: self.width, inputs, labels, classes: self.classes }
    }
}

impl Dataset for Examples {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn read(&self, index: usize, input: &mut [f32]) -> Result<u32, Error> {
        let source = self.input(index).ok_or(Error::Index { index, len: self.labels.len() })?;
        if input.len() != self.width {
            return Err(Error::Buffer { found: input.len(), expected: self.width });
        }
        input.copy_from_slice(source);
        Ok(self.labels[index])
    }
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
    fn gather_keeps_order_and_repeats() {
        let (inputs, labels) = three().gather(&[2, 0, 2]);
        assert_eq!(inputs, [4., 5., 0., 1., 4., 5.]);
        assert_eq!(labels, [2, 0, 2]);
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
        assert_eq!(data.read(1, &mut input), Ok(1));
        assert_eq!(input, [2., 3.]);
        assert_eq!(data.read(3, &mut input), Err(Error::Index { index: 3, len: 3 }));
        assert_eq!(data.read(0, &mut [0.0]), Err(Error::Buffer { found: 1, expected: 2 }));
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
