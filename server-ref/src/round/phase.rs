//! Names of the phases.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Phase of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Devices that check in are asked to take part; updates are taken already.
    Selecting,
    /// Every device of the cohort has been asked; updates are taken.
    Collecting,
    /// No update is taken any more; the model is about to take its step.
    Aggregating,
    /// The model has taken its step.
    Committed,
    /// Too few updates came; the model stays, the charges stay.
    Abandoned,
}

impl Phase {
    const ALL: [Self; 5] =
        [Self::Selecting, Self::Collecting, Self::Aggregating, Self::Committed, Self::Abandoned];

    /// Name, as in the database and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Selecting => "selecting",
            Self::Collecting => "collecting",
            Self::Aggregating => "aggregating",
            Self::Committed => "committed",
            Self::Abandoned => "abandoned",
        }
    }

    /// The phase of that name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.as_str() == name)
    }

    /// Whether the round is over.
    #[must_use]
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Committed | Self::Abandoned)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
