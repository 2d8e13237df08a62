//! What can go wrong in the algorithm's settings.

/// An error of a training plan or of vectors that do not fit it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Caller: a setting outside its range.
    #[error("{name} is {value}, expected {expected}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// The refused value, as text.
        value: String,
        /// The accepted values, in words.
        expected: &'static str,
    },
    /// Caller or peer: two things that must have the same length do not.
    #[error("{what} has {found} entries, expected {expected}")]
    Length {
        /// What was measured.
        what: &'static str,
        /// Length found.
        found: usize,
        /// Length needed.
        expected: usize,
    },
    /// Caller or peer: a number that must be finite is not.
    #[error("{what} holds a value that is not finite at index {index}")]
    NotFinite {
        /// What was looked at.
        what: &'static str,
        /// Index of the first such value.
        index: usize,
    },
    /// Caller or peer: the privacy part refuses.
    #[error(transparent)]
    Privacy(#[from] adafed_privacy::Error),
}

impl Error {
    /// Stable identifier, for logs and for the C interface.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Setting { .. } => "algorithm/setting",
            Self::Length { .. } => "algorithm/length",
            Self::NotFinite { .. } => "algorithm/not-finite",
            Self::Privacy(e) => e.code(),
        }
    }
}

/// Checks a length and that every value is finite.
pub(crate) fn check_finite(what: &'static str, values: &[f32], len: usize) -> Result<(), Error> {
    if values.len() != len {
        return Err(Error::Length { what, found: values.len(), expected: len });
    }
    match values.iter().position(|x| !x.is_finite()) {
        Some(index) => Err(Error::NotFinite { what, index }),
        None => Ok(()),
    }
}
