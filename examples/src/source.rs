//! Where the examples of a simulation come from.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use adafed::data::{self, Examples, digits, load_mnist_like};

/// Training examples of the built-in set.
const BUILTIN_TRAIN: usize = 12_000;
/// Test examples of the built-in set.
const BUILTIN_TEST: usize = 2_000;

/// A data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Digits drawn by AdaFed itself; no download.
    Builtin,
    /// MNIST, from a folder of IDX files.
    Mnist(PathBuf),
    /// Fashion-MNIST, from a folder of IDX files.
    FashionMnist(PathBuf),
}

impl FromStr for Source {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s.split_once(':') {
            None if s == "builtin" => Ok(Self::Builtin),
            Some(("mnist", folder)) if !folder.is_empty() => Ok(Self::Mnist(folder.into())),
            Some(("fashion-mnist", folder)) if !folder.is_empty() => {
                Ok(Self::FashionMnist(folder.into()))
            }
            _ => Err(format!("{s:?} is no data set; use builtin, mnist:DIR or fashion-mnist:DIR")),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Builtin => "builtin digits",
            Self::Mnist(_) => "MNIST",
            Self::FashionMnist(_) => "Fashion-MNIST",
        })
    }
}

impl Source {
    /// Training and test examples.
    ///
    /// # Errors
    /// Those of the IDX reader, naming the file.
    pub fn load(&self, seed: u64) -> Result<(Examples, Examples), data::Error> {
        match self {
            Self::Builtin => {
                // Two seeds: a test digit is never a training digit.
                let test = digits(seed.wrapping_add(1 << 32), BUILTIN_TEST);
                Ok((digits(seed, BUILTIN_TRAIN), test))
            }
            Self::Mnist(folder) | Self::FashionMnist(folder) => load_mnist_like(folder),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_from_text_and_mistakes_are_named() {
        assert_eq!("builtin".parse(), Ok(Source::Builtin));
        assert_eq!("mnist:some/dir".parse(), Ok(Source::Mnist("some/dir".into())));
        for bad in ["cifar", "mnist", "mnist:", "builtin:x"] {
            assert!(bad.parse::<Source>().unwrap_err().contains("mnist:DIR"), "{bad}");
        }
    }
}
