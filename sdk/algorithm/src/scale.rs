//! Scale state: running mean and noise-corrected variance of releases, and the
//! per-coordinate scale derived from them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::mask::Mask;
use crate::release::ReleasedGradient;
use crate::{Error, Layout};

/// How the scale b follows from s = sqrt(v).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleRule {
    /// b = 1: plain DP-SGD clipping.
    None,
    /// b ~ s: AdaDPIGU as published; equal signal-to-noise on every coordinate.
    Whiten,
    /// b ~ sqrt(s): least total noise (AdaCliP, arXiv 1908.07643, Theorem 2).
    Minimal,
}

/// Over which coordinates v is averaged before use. A single coordinate's v is mostly
/// noise at real budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Each coordinate by itself.
    Coordinate,
    /// The active coordinates of one output row of a tensor.
    Row,
    /// The active coordinates of a whole tensor.
    Tensor,
}

/// Settings of the scale state.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleSettings {
    /// How b follows from v.
    pub rule: ScaleRule,
    /// Over what v is averaged.
    pub pooling: Pooling,
    /// Whether the running mean is taken off before clipping and put back after.
    pub centre: bool,
    /// Decay of the running mean a.
    pub beta1: f64,
    /// Decay of the running variance v.
    pub beta2: f64,
    /// Least v that is used.
    pub h1: f64,
    /// Largest v that is used.
    pub h2: f64,
    /// Least b, as a share of the root mean square of b: a coordinate that looks
    /// silent must not swallow the norm.
    pub floor: f64,
}

impl ScaleSettings {
    /// The defaults for a rule and a pooling.
    #[must_use]
    pub const fn new(rule: ScaleRule, pooling: Pooling) -> Self {
        let (h1, h2) = (1e-16, 1e4);
        Self { rule, pooling, centre: false, beta1: 0.9, beta2: 0.99, h1, h2, floor: 0.1 }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting out of range.
    pub fn check(&self) -> Result<(), Error> {
        let unit = 0.0..1.0;
        let checks = [
            ("beta1", self.beta1, unit.contains(&self.beta1), "a number in [0, 1)"),
            ("beta2", self.beta2, unit.contains(&self.beta2), "a number in [0, 1)"),
            ("h1", self.h1, self.h1 > 0.0 && self.h1 < self.h2, "a number above 0, below h2"),
            ("h2", self.h2, self.h2.is_finite(), "a finite number"),
            ("floor", self.floor, self.floor > 0.0 && self.floor < 1.0, "a number in (0, 1)"),
        ];
        match checks.into_iter().find(|(_, _, valid, _)| !valid) {
            Some((name, value, _, expected)) => {
                Err(Error::Setting { name, value: value.to_string(), expected })
            }
            None => Ok(()),
        }
    }
}

impl FromStr for ScaleSettings {
    type Err = Error;
    /// Reads `none`, `whiten` or `minimal`, with `:coordinate`, `:row` or `:tensor`.
    fn from_str(s: &str) -> Result<Self, Error> {
        let (rule, pooling) = s.split_once(':').unwrap_or((s, "coordinate"));
        let rule = match rule {
            "none" => Some(ScaleRule::None),
            "whiten" => Some(ScaleRule::Whiten),
            "minimal" => Some(ScaleRule::Minimal),
            _ => None,
        };
        let pooling = match pooling {
            "coordinate" => Some(Pooling::Coordinate),
            "row" => Some(Pooling::Row),
            "tensor" => Some(Pooling::Tensor),
            _ => None,
        };
        rule.zip(pooling).map(|(r, p)| Self::new(r, p)).ok_or_else(|| Error::Setting {
            name: "scale",
            value: s.to_owned(),
            expected: "none, whiten or minimal, then optionally :coordinate, :row or :tensor",
        })
    }
}

impl fmt::Display for ScaleSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = match self.rule {
            ScaleRule::None => return f.write_str("none"),
            ScaleRule::Whiten => "whiten",
            ScaleRule::Minimal => "minimal",
        };
        let pooling = match self.pooling {
            Pooling::Coordinate => "coordinate",
            Pooling::Row => "row",
            Pooling::Tensor => "tensor",
        };
        write!(f, "{rule}:{pooling}")
    }
}

/// Running mean `a` and running noise-corrected variance `v` of the releases, `[d]`.
///
/// `v` may dip below 0 by chance; it is clamped where it is used, because clamping
/// before averaging would add a bias of the noise's own size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaleState {
    a: Vec<f64>,
    v: Vec<f64>,
}

impl ScaleState {
    /// a = v = 0 for `d` coordinates.
    #[must_use]
    pub fn new(d: usize) -> Self {
        Self { a: vec![0.0; d], v: vec![0.0; d] }
    }

    /// A state from its published parts.
    ///
    /// # Errors
    /// [`Error::Length`] when they differ in length.
    pub fn published(a: Vec<f64>, v: Vec<f64>) -> Result<Self, Error> {
        let (found, expected) = (v.len(), a.len());
        if found != expected {
            return Err(Error::Length { what: "variance", found, expected });
        }
        Ok(Self { a, v })
    }

    /// Running mean, `[d]`.
    #[must_use]
    pub fn mean(&self) -> &[f64] {
        &self.a
    }

    /// Running variance, `[d]`.
    #[must_use]
    pub fn variance(&self) -> &[f64] {
        &self.v
    }

    /// Takes in one release; frozen coordinates keep their statistics.
    ///
    /// a <- beta1 a + (1 - beta1) g,  v <- beta2 v + (1 - beta2) ((g - a)^2 - noise^2)
    pub fn update(&mut self, release: &ReleasedGradient, mask: &Mask, settings: &ScaleSettings) {
        let ScaleSettings { beta1, beta2, .. } = *settings;
        for j in mask.indices() {
            let (g, noise_std) = (release.values()[j], release.noise_std()[j]);
            let sample = (g - self.a[j]).powi(2) - noise_std.powi(2);
            self.a[j] = beta1 * self.a[j] + (1.0 - beta1) * g;
            self.v[j] = beta2 * self.v[j] + (1.0 - beta2) * sample;
        }
    }

    /// The scale b, `[d]`: s = sqrt(clamp(v, h1, h2)), then the rule, then the floor;
    /// normalised so that the mean of b^2 over active coordinates is 1 and C keeps the
    /// meaning it has without standardisation. 1 on frozen coordinates.
    #[must_use]
    pub fn scale(&self, mask: &Mask, layout: &Layout, settings: &ScaleSettings) -> Vec<f64> {
        let pooled = self.pooled_variance(mask, layout, settings.pooling);
        let mut b = vec![1.0; mask.len()];
        let rule = |v: f64| {
            let s = v.clamp(settings.h1, settings.h2).sqrt();
            match settings.rule {
                ScaleRule::None => 1.0,
                ScaleRule::Whiten => s,
                ScaleRule::Minimal => s.sqrt(),
            }
        };
        mask.indices().for_each(|j| b[j] = rule(pooled[j]));
        let floor = settings.floor * root_mean_square(&b, mask);
        mask.indices().for_each(|j| b[j] = b[j].max(floor));
        let norm = root_mean_square(&b, mask);
        mask.indices().for_each(|j| b[j] /= norm);
        b
    }

    fn pooled_variance(&self, mask: &Mask, layout: &Layout, pooling: Pooling) -> Vec<f64> {
        let mut pooled = self.v.clone();
        let mut active = mask.active();
        for range in groups(layout, pooling) {
            let split = active.partition_point(|&j| (j as usize) < range.end);
            let (group, rest) = active.split_at(split);
            active = rest;
            let mean = group.iter().map(|&j| self.v[j as usize]).sum::<f64>() / group.len() as f64;
            group.iter().for_each(|&j| pooled[j as usize] = mean);
        }
        pooled
    }
}

/// The flat ranges over which one value of b holds; none when each coordinate has its
/// own.
pub fn groups(layout: &Layout, pooling: Pooling) -> Vec<std::ops::Range<usize>> {
    let rows = |(tensor, range): (&crate::TensorLayout, std::ops::Range<usize>)| {
        let row = match pooling {
            Pooling::Row if tensor.shape.len() > 1 => tensor.row_len(),
            _ => tensor.len(),
        };
        range.clone().step_by(row.max(1)).map(move |start| start..start + row)
    };
    match pooling {
        Pooling::Coordinate => Vec::new(),
        Pooling::Row | Pooling::Tensor => layout.ranges().flat_map(rows).collect(),
    }
}

fn root_mean_square(b: &[f64], mask: &Mask) -> f64 {
    (mask.indices().map(|j| b[j] * b[j]).sum::<f64>() / mask.active_count().max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TensorLayout;
    use crate::mask::Provenance;

    fn layout() -> Layout {
        let tensor =
            |name: &str, shape: &[usize]| TensorLayout { name: name.into(), shape: shape.to_vec() };
        Layout { tensors: vec![tensor("w", &[2, 3]), tensor("b", &[2])] }
    }

    fn state() -> ScaleState {
        let v = vec![1.0, 2.0, 3.0, 4.0, 9.0, -1.0, 0.5, 0.25];
        ScaleState::published(vec![0.0; 8], v).unwrap()
    }

    #[test]
    fn mean_square_of_the_scale_is_one_over_active_coordinates() {
        let mask = Mask::published(8, vec![0, 2, 3, 6], Provenance::Released).unwrap();
        for text in ["none", "whiten", "minimal", "whiten:row", "minimal:tensor"] {
            let b = state().scale(&mask, &layout(), &text.parse().unwrap());
            assert!((root_mean_square(&b, &mask) - 1.0).abs() < 1e-12, "{text}");
            assert!([1, 4, 5, 7].iter().all(|&j| b[j] == 1.0), "{text}");
        }
    }

    #[test]
    fn pooling_averages_active_coordinates_of_the_group_only() {
        let mask = Mask::published(8, vec![0, 2, 3, 6], Provenance::Released).unwrap();
        let pooled = |p| state().pooled_variance(&mask, &layout(), p);
        assert_eq!(pooled(Pooling::Row)[..4], [2.0, 2.0, 2.0, 4.0]);
        assert_eq!(pooled(Pooling::Tensor)[2], (1.0 + 3.0 + 4.0) / 3.0);
        assert_eq!(pooled(Pooling::Coordinate)[2], 3.0);
    }

    #[test]
    fn frozen_coordinates_keep_their_statistics() {
        let mask = Mask::published(8, vec![1], Provenance::Released).unwrap();
        let mut after = state();
        let release = ReleasedGradient::published(vec![5.0; 8], vec![0.5; 8]);
        after.update(&release, &mask, &"whiten".parse().unwrap());
        assert_eq!(after.a[0], 0.0);
        assert_eq!((after.v[0], after.v[2]), (1.0, 3.0));
        assert!(after.a[1] == 0.5 || (after.a[1] - 0.5).abs() < 1e-12);
        assert!((after.v[1] - (0.99 * 2.0 + 0.01 * 24.75)).abs() < 1e-12);
    }

    #[test]
    fn a_variance_below_zero_is_kept_in_the_state_and_clamped_in_use() {
        let mut s = ScaleState::new(1);
        let settings: ScaleSettings = "whiten".parse().unwrap();
        let quiet = ReleasedGradient::published(vec![0.0], vec![1.0]);
        s.update(&quiet, &Mask::full(1), &settings);
        assert!(s.variance()[0] < 0.0);
        let layout =
            Layout { tensors: vec![crate::TensorLayout { name: "w".into(), shape: vec![1] }] };
        assert_eq!(s.scale(&Mask::full(1), &layout, &settings), [1.0]);
    }

    #[test]
    fn unknown_scales_are_named() {
        let error = "white:tensor".parse::<ScaleSettings>().unwrap_err().to_string();
        assert!(error.contains("white:tensor") && error.contains("whiten"), "{error}");
    }
}
