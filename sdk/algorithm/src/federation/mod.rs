//! The federation plan: how devices' releases become the next model.

mod buffer;
mod refresh;

use serde::{Deserialize, Serialize};

pub use self::buffer::{BaseRound, Buffer};
pub use self::refresh::MaskRefresh;

pub(crate) use self::buffer::combine;
pub(crate) use self::refresh::RunningImportance;

use crate::Error;
use crate::aggregation::{Aggregation, Weights};
use crate::optimizer::Adaptivity;

/// How devices' releases become the next model. All of it is computed from releases and
/// public constants: nothing here can touch the privacy guarantee.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FederationPlan {
    /// FedProx mu >= 0 (Li et al. 2020, arXiv 1812.06127, Algorithm 2): a device's local
    /// steps are drawn back to the round's model, w <- w - lr (g + mu (w - w0)). 0 is
    /// plain SGD.
    pub proximal: f64,
    /// How the server's steps adapt to each coordinate.
    pub adaptivity: Adaptivity,
    /// What makes one update of many.
    pub aggregation: Aggregation,
    /// Longest update that is taken as it is, as a multiple (at least 1) of the L2 norm of
    /// its noise, sqrt(k E) sigma C; a longer one is scaled down to it, before the rule.
    /// The signal's norm is bounded by the batch only, which is private: an honest update
    /// has the norm of its noise and what the signal adds. Where honest updates are cut, too,
    /// the stated noise is more than there is.
    pub norm_bound: Option<f64>,
    /// Weights of devices.
    pub weights: Weights,
    /// Late updates, where they are taken.
    pub buffer: Option<Buffer>,
    /// New masks in the main phase, where there are any.
    pub refresh: Option<MaskRefresh>,
}

impl FederationPlan {
    /// The default, for constants: the uniform mean of a round's updates, SGD with
    /// momentum, one mask that thaws.
    pub const DEFAULT: Self = Self {
        proximal: 0.0,
        adaptivity: Adaptivity::None,
        aggregation: Aggregation::Mean,
        norm_bound: None,
        weights: Weights::Uniform,
        buffer: None,
        refresh: None,
    };

    /// Whether this is the default, bit by bit.
    #[must_use]
    pub fn is_default(&self) -> bool {
        // -0 is another encoding of the same behaviour, and a plan has one encoding.
        *self == Self::DEFAULT && self.proximal.is_sign_positive()
    }

    /// Checks every setting and every combination that this plan alone shows.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first that is out of range or makes no sense.
    ///
    /// # Edge cases
    /// | case | answer |
    /// |---|---|
    /// | `proximal` below 0 (-0 included) or not finite | refused |
    /// | `norm_bound` below 1 | refused: noise alone would be cut |
    /// | public weights or a buffer with a robust rule | refused: those rank equals |
    pub fn check(&self) -> Result<(), Error> {
        self.check_proximal()?;
        self.adaptivity.check()?;
        self.aggregation.check()?;
        self.buffer.as_ref().map_or(Ok(()), Buffer::check)?;
        self.refresh.as_ref().map_or(Ok(()), MaskRefresh::check)?;
        if let Some(bound) = self.norm_bound.filter(|b| !(*b >= 1.0 && b.is_finite())) {
            return refuse("norm bound", bound, "a multiple >= 1 of the noise's norm");
        }
        if self.weights == (Weights::Public { cap: 0 }) {
            return refuse("cap of public weights", 0, "at least 1");
        }
        self.check_combinations()
    }

    fn check_proximal(&self) -> Result<(), Error> {
        let mu = self.proximal;
        if mu.is_sign_positive() && mu.is_finite() {
            return Ok(());
        }
        refuse("proximal term", mu, "a finite number >= 0")
    }

    fn check_combinations(&self) -> Result<(), Error> {
        if !self.aggregation.is_robust() {
            return Ok(());
        }
        if self.weights != Weights::Uniform {
            return refuse("weights", "public", "uniform weights under a robust aggregation");
        }
        if self.buffer.is_some() {
            return refuse("buffer", "set", "no buffer under a robust aggregation");
        }
        Ok(())
    }
}

fn refuse(name: &'static str, value: impl ToString, expected: &'static str) -> Result<(), Error> {
    Err(Error::Setting { name, value: value.to_string(), expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut FederationPlan)) -> String {
        let mut plan = FederationPlan::default();
        change(&mut plan);
        plan.check().unwrap_err().to_string()
    }

    #[test]
    fn the_default_is_the_constant_and_passes() {
        assert_eq!(FederationPlan::default(), FederationPlan::DEFAULT);
        assert!(FederationPlan::DEFAULT.is_default());
        assert!(FederationPlan::DEFAULT.check().is_ok());
        assert!(!FederationPlan { proximal: -0.0, ..FederationPlan::DEFAULT }.is_default());
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for mu in [-1.0, -0.0, f64::NAN, f64::INFINITY] {
            assert!(refused(|p| p.proximal = mu).contains("proximal"));
        }
        for bound in [0.5, 0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(refused(|p| p.norm_bound = Some(bound)).contains("norm bound"));
        }
        for share in [0.0, 0.5, -0.1, f64::NAN] {
            let rule = Aggregation::TrimmedMean { share };
            assert!(refused(|p| p.aggregation = rule).contains("trimmed"));
        }
        let rule = Aggregation::MultiKrum { hostile: 1, keep: 0 };
        assert!(refused(|p| p.aggregation = rule).contains("multi-Krum"));
        assert!(refused(|p| p.weights = Weights::Public { cap: 0 }).contains("cap"));
    }

    #[test]
    fn combinations_without_a_meaning_are_named() {
        let robust = [
            Aggregation::Median,
            Aggregation::TrimmedMean { share: 0.2 },
            Aggregation::MultiKrum { hostile: 1, keep: 2 },
        ];
        for aggregation in robust {
            let weights = Weights::Public { cap: 3 };
            let refusal = refused(|p| (p.aggregation, p.weights) = (aggregation, weights));
            assert!(refusal.contains("weights"), "{refusal}");
            let buffer = Some(Buffer { most_staleness: 2, exponent: 0.5 });
            let refusal = refused(|p| (p.aggregation, p.buffer) = (aggregation, buffer));
            assert!(refusal.contains("buffer"), "{refusal}");
        }
    }
}
