//! The data sets of the experiments.

use std::path::{Path, PathBuf};

use adafed::data::{
    Examples, TextForm, digits, load_adult, load_cifar10, load_mnist_like, load_sms,
};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Training and test examples of the drawn set.
const DIGITS: (usize, usize) = (6_000, 1_000);

/// Messages as a bag of words.
const BAG: TextForm = TextForm::Bag { buckets: 1024 };
/// Messages word by word; nine in ten are shorter.
const TOKENS: TextForm = TextForm::Tokens { length: 40, words: TOKEN_WORDS };
/// Numbers of words; 0 fills up.
pub(crate) const TOKEN_WORDS: u16 = 1023;

/// A data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Source {
    /// Digits that AdaFed draws itself.
    Digits,
    /// MNIST.
    Mnist,
    /// Fashion-MNIST.
    FashionMnist,
    /// CIFAR-10.
    #[serde(rename = "cifar-10")]
    Cifar10,
    /// UCI Adult: census records.
    Adult,
    /// The SMS Spam Collection, as a bag of words.
    Sms,
    /// The same, word by word.
    SmsTokens,
}

/// Examples to train and to test on.
#[derive(Clone)]
pub(crate) struct Split {
    pub(crate) train: Examples,
    pub(crate) test: Examples,
}

impl Source {
    const fn folder(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
            Self::Cifar10 => "cifar-10",
            Self::Adult => "tabular",
            Self::Sms | Self::SmsTokens => "text",
        }
    }

    /// The whole set, from its folder under `root`.
    ///
    /// # Errors
    /// Those of its reader, naming the file.
    pub(crate) fn load(self, root: &Path) -> Result<Split, Error> {
        let folder = root.join(self.folder());
        let (train, test) = match self {
            Self::Digits => (digits(1, DIGITS.0), digits(1 << 32, DIGITS.1)),
            Self::Mnist | Self::FashionMnist => load_mnist_like(&folder)?,
            Self::Cifar10 => load_cifar10(&folder)?,
            Self::Adult => load_adult(&folder)?,
            Self::Sms => load_sms(&folder, BAG)?,
            Self::SmsTokens => load_sms(&folder, TOKENS)?,
        };
        Ok(Split { train, test })
    }
}

/// Where the data sets are: `ADAFED_DATA`, or the folder `shared/data` beside the repository.
pub(crate) fn default_root() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    std::env::var_os("ADAFED_DATA").map_or_else(beside, PathBuf::from)
}

impl Split {
    /// With the last sixth of the training examples in place of the test set.
    pub(crate) fn held_out(&self) -> Self {
        let border = self.train.len() - self.train.len() / 6;
        let part = |range: std::ops::Range<usize>| self.train.subset(&range.collect::<Vec<_>>());
        Self { train: part(0..border), test: part(border..self.train.len()) }
    }

    /// With the first `count` training examples only.
    pub(crate) fn first(self, count: usize) -> Self {
        let indices: Vec<usize> = (0..count.min(self.train.len())).collect();
        Self { train: self.train.subset(&indices), test: self.test }
    }
}
