//! A device's examples seen through features, in memory.

use std::hash::{DefaultHasher, Hasher};

use super::{Features, MayGoOn};
use crate::data::{Dataset, Error};

/// Examples that are read and mapped together: what is lost when it is called off.
const TOGETHER: usize = 64;
/// Values of features and targets that are kept for all examples together, at most: 1 GiB.
pub const MOST_KEPT: u64 = 1 << 28;

/// Examples seen through fixed features, each computed once and kept: 4 bytes a feature and
/// a target value, and 8 an example.
///
/// [`Featured::advance`] computes them piece by piece; then it is a [`Dataset`] of what a
/// model's layers take. [`Featured::again`] looks at the examples anew, and computes only
/// those whose inputs have changed. Whether one has, is told by a hash of 64 bits. Of examples
/// with several [views](Dataset::views) the example itself is taken.
#[derive(Default)]
pub struct Featured {
    shape: Vec<usize>,
    classes: usize,
    target_len: usize,
    /// `[done or known before, features]`
    inputs: Vec<f32>,
    targets: Vec<f32>,
    /// Hashes of the inputs that the features are of.
    known: Vec<u64>,
    /// Examples that were looked at since [`Featured::again`].
    done: usize,
}

impl Featured {
    /// No examples yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at all examples again from now on, as before a round: the app's may have changed.
    pub fn again(&mut self) {
        self.done = 0;
    }

    /// Refuses examples without targets, and those whose features would not fit into
    /// [`MOST_KEPT`].
    ///
    /// # Errors
    /// [`Error::Targets`], [`Error::FeatureLimit`].
    pub fn check(data: &dyn Dataset, shape: &[usize]) -> Result<(), Error> {
        if data.target_len() == 0 {
            return Err(Error::Targets { found: 0, expected: 1 });
        }
        let each = shape.iter().product::<usize>().saturating_add(data.target_len()) as u64;
        let found = each.saturating_mul(data.len() as u64);
        if found <= MOST_KEPT {
            return Ok(());
        }
        let (what, advice) = ("values kept for all examples", "take fewer examples or features");
        Err(Error::FeatureLimit { what, found, most: MOST_KEPT, advice })
    }

    /// Looks at the next 64 examples of `data`, on rayon's current pool: those whose features
    /// are not known are computed. True once all have been looked at. `may_go_on` is asked
    /// before each example; of a piece that is called off nothing is kept.
    ///
    /// # Errors
    /// Those of reading and of [`Featured::check`], [`Error::Buffer`] where the features take
    /// inputs of another length, [`Error::NotFinite`] where they are not finite.
    pub fn advance(
        &mut self,
        features: &dyn Features,
        data: &dyn Dataset,
        may_go_on: MayGoOn<'_>,
    ) -> Result<bool, Error> {
        Self::check(data, features.shape())?;
        self.fit(features, data);
        let some = self.done..data.len().min(self.done + TOGETHER);
        let piece = Piece::read(data, features, some, may_go_on)?;
        let Some(Piece { inputs, targets, hashes }) = piece else { return Ok(false) };
        let width = inputs.len() / hashes.len().max(1);
        let new: Vec<usize> = (0..hashes.len())
            .filter(|i| self.known.get(self.done + i) != Some(&hashes[*i]))
            .collect();
        let raw: Vec<f32> =
            new.iter().flat_map(|i| &inputs[i * width..][..width]).copied().collect();
        let Some(seen) = super::computed_while(features, &raw, may_go_on) else {
            return Ok(false);
        };
        self.check_finite(&seen, &new)?;
        self.keep(&seen, &new, &targets, &hashes);
        Ok(self.done == data.len())
    }

    /// Makes room for what `data` has, and forgets what is of other features' shape.
    fn fit(&mut self, features: &dyn Features, data: &dyn Dataset) {
        (self.classes, self.target_len) = (data.classes(), data.target_len());
        if self.shape != features.shape() {
            self.shape = features.shape().to_vec();
            self.known.clear();
            self.done = 0;
        }
        let (all, each) = (data.len(), self.each());
        self.done = self.done.min(all);
        self.known.truncate(all);
        self.inputs.truncate(self.known.len() * each);
        self.inputs.reserve_exact(all * each - self.inputs.len());
        self.targets.resize(all * self.target_len, 0.0);
    }

    fn check_finite(&self, seen: &[f32], new: &[usize]) -> Result<(), Error> {
        let each = self.each();
        match seen.iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(at) => Err(Error::NotFinite {
                example: self.done + new[at / each],
                offset: at % each,
                value: seen[at],
            }),
        }
    }

    fn keep(&mut self, seen: &[f32], new: &[usize], targets: &[f32], hashes: &[u64]) {
        let each = self.each();
        for (i, features) in new.iter().zip(seen.chunks_exact(each)) {
            let place = (self.done + i) * each;
            match self.inputs.get_mut(place..place + each) {
                Some(old) => old.copy_from_slice(features),
                None => self.inputs.extend_from_slice(features),
            }
        }
        for (i, hash) in hashes.iter().enumerate() {
            match self.known.get_mut(self.done + i) {
                Some(old) => *old = *hash,
                None => self.known.push(*hash),
            }
        }
        self.targets[self.done * self.target_len..][..targets.len()].copy_from_slice(targets);
        self.done += hashes.len();
    }

    fn each(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Some examples as the app has them.
struct Piece {
    inputs: Vec<f32>,
    targets: Vec<f32>,
    hashes: Vec<u64>,
}

impl Piece {
    /// None when called off.
    fn read(
        data: &dyn Dataset,
        features: &dyn Features,
        some: std::ops::Range<usize>,
        may_go_on: MayGoOn<'_>,
    ) -> Result<Option<Self>, Error> {
        let [found, expected] =
            [data.shape(), features.input_shape()].map(|s| s.iter().product::<usize>());
        if found != expected {
            return Err(Error::Buffer { found, expected });
        }
        let (width, target_len) = (found, data.target_len());
        let mut inputs = vec![0.0; some.len() * width];
        let mut targets = vec![0.0; some.len() * target_len];
        let slots = inputs.chunks_exact_mut(width).zip(targets.chunks_exact_mut(target_len));
        for (index, (input, target)) in some.zip(slots) {
            if !may_go_on() {
                return Ok(None);
            }
            data.read(index, input, target)?;
        }
        let hashes = inputs.chunks_exact(width).map(hash).collect();
        Ok(Some(Self { inputs, targets, hashes }))
    }
}

fn hash(input: &[f32]) -> u64 {
    let mut hasher = DefaultHasher::new();
    input.iter().for_each(|value| hasher.write_u32(value.to_bits()));
    hasher.finish()
}

impl Dataset for Featured {
    /// Examples that were looked at so far.
    fn len(&self) -> usize {
        self.done
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
        if index >= self.done {
            return Err(Error::Index { index, len: self.done });
        }
        self.check_buffers(input, target)?;
        input.copy_from_slice(&self.inputs[index * input.len()..][..input.len()]);
        target.copy_from_slice(&self.targets[index * target.len()..][..target.len()]);
        Ok(())
    }
}

/// Shows the layout only: examples are private and do not belong in a log.
impl std::fmt::Debug for Featured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Featured")
            .field("shape", &self.shape)
            .field("classes", &self.classes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::data::features::ALWAYS;
    use crate::data::{Examples, digits};

    /// Twice the input, and how many inputs that was asked for.
    #[derive(Default)]
    struct Twice(AtomicUsize);

    impl Features for Twice {
        fn input_shape(&self) -> &[usize] {
            &[1, 28, 28]
        }

        fn shape(&self) -> &[usize] {
            &[784]
        }

        fn compute(&self, inputs: &[f32], outputs: &mut [f32]) {
            self.0.fetch_add(inputs.len() / 784, Ordering::Relaxed);
            outputs.iter_mut().zip(inputs).for_each(|(to, from)| *to = 2.0 * from);
        }
    }

    fn all(featured: &mut Featured, twice: &Twice, data: &Examples) -> usize {
        let before = twice.0.load(Ordering::Relaxed);
        featured.again();
        while !featured.advance(twice, data, ALWAYS).unwrap() {}
        assert_same(featured, twice, data);
        twice.0.load(Ordering::Relaxed) - before - data.len()
    }

    fn assert_same(featured: &Featured, twice: &Twice, data: &Examples) {
        let expected = data.with_features(twice).unwrap();
        assert_eq!((featured.len(), featured.shape()), (data.len(), expected.shape()));
        assert_eq!((featured.classes(), featured.target_len()), (10, 1));
        let (mut input, mut target) = (vec![0.0; 784], [0.0]);
        for index in 0..data.len() {
            featured.read(index, &mut input, &mut target).unwrap();
            assert_eq!(Some(&input[..]), expected.input(index));
            assert_eq!(target[0], expected.targets()[index]);
        }
        let missing = featured.read(data.len(), &mut input, &mut target);
        assert_eq!(missing, Err(Error::Index { index: data.len(), len: data.len() }));
    }

    #[test]
    fn only_what_changes_is_computed_again() {
        let (twice, mut featured) = (Twice::default(), Featured::new());
        let data = digits(1, 150);
        assert_eq!(all(&mut featured, &twice, &data), 150);
        assert_eq!(all(&mut featured, &twice, &data), 0);
        let mut indices: Vec<usize> = (0..150).collect();
        indices[70] = 3;
        assert_eq!(all(&mut featured, &twice, &data.subset(&indices)), 1);
        assert_eq!(all(&mut featured, &twice, &data.subset(&indices[..90])), 0);
        assert_eq!(all(&mut featured, &twice, &data), 61);
        let labels = data.labels().iter().map(|label| (label + 1) % 10).collect();
        let others = Examples::new(vec![1, 28, 28], data.inputs().to_vec(), labels, 10).unwrap();
        assert_eq!(all(&mut featured, &twice, &others), 0);
    }

    #[test]
    fn of_a_piece_that_is_called_off_nothing_is_kept() {
        let (twice, mut featured) = (Twice::default(), Featured::new());
        let data = digits(1, 70);
        for allowed in [0, 10, 64, 100] {
            let asked = AtomicUsize::new(0);
            let may_go_on = || asked.fetch_add(1, Ordering::Relaxed) < allowed;
            assert!(!featured.advance(&twice, &data, &may_go_on).unwrap());
            assert_eq!(featured.len(), 0, "{allowed}");
        }
        while !featured.advance(&twice, &data, ALWAYS).unwrap() {}
        assert_same(&featured, &twice, &data);
    }

    #[test]
    fn no_examples_are_all_of_them() {
        let none = Examples::new(vec![1, 28, 28], vec![], vec![], 10).unwrap();
        let mut featured = Featured::new();
        assert!(featured.advance(&Twice::default(), &none, ALWAYS).unwrap());
        assert!(featured.is_empty());
    }

    #[test]
    fn features_that_are_not_finite_are_named() {
        let mut inputs = vec![0.0; 3 * 784];
        inputs[2 * 784 + 5] = f32::MAX;
        let data = Examples::new(vec![1, 28, 28], inputs, vec![0; 3], 10).unwrap();
        let found = Featured::new().advance(&Twice::default(), &data, ALWAYS);
        assert!(matches!(found, Err(Error::NotFinite { example: 2, offset: 5, .. })), "{found:?}");
    }

    #[test]
    fn more_than_a_device_keeps_is_refused_by_name() {
        let data = digits(1, 20);
        assert_eq!(Featured::check(&data, &[784]), Ok(()));
        let error = Featured::check(&data, &[1 << 24]).unwrap_err();
        assert!(error.to_string().contains("values kept for all examples"), "{error}");
    }
}
