//! Cumulants of a composed loss, and what is read off them: tilt and window.

use super::super::mixture::LogSum;

/// ln of the tilted mass that may lie beyond each end of the window.
const LOG_OUTSIDE: f64 = -23.0;

/// Bisections of a tilt, which only has to be about right.
const BISECTIONS: u32 = 30;

/// Tilts tried for a narrower window, each nine tenths of the one before.
const VIEWS: u32 = 10;

/// Furthest, in deviations of the tilted loss, from its mean to the loss looked at: with
/// 4 the mass there is e^-8 of the peak, and round-off is small against it.
const VIEW: f64 = 4.0;

/// A window has to be this much narrower to move further away from the mean.
const LEAST_GAIN: f64 = 0.8;

/// Doublings tried when bracketing a tilt.
const DOUBLINGS: u32 = 200;

/// A finite measure on the line: losses with the logs of their masses.
#[derive(Clone, Debug)]
pub(super) struct Atoms {
    pub(super) losses: Vec<f64>,
    pub(super) log_mass: Vec<f64>,
}

/// Cumulant generating function at a tilt a: K(a) = ln E[e^(a loss)], K'(a), K''(a).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cumulants {
    pub(super) log_moment: f64,
    pub(super) mean: f64,
    pub(super) variance: f64,
}

impl Atoms {
    /// Cumulant generating function of one step at tilt `a`.
    pub(super) fn log_moment(&self, a: f64) -> f64 {
        let mut sum = LogSum::new();
        let pairs = self.losses.iter().zip(&self.log_mass);
        pairs.for_each(|(loss, log_mass)| sum.add(a.mul_add(*loss, *log_mass)));
        sum.ln()
    }

    /// Largest loss.
    fn most(&self) -> f64 {
        self.losses.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// Cumulants of one step at tilt `a`.
    pub(super) fn at(&self, a: f64) -> Cumulants {
        let exponent = |(l, m): (&f64, &f64)| a.mul_add(*l, *m);
        let pairs = || self.losses.iter().zip(&self.log_mass);
        let max = pairs().map(exponent).fold(f64::NEG_INFINITY, f64::max);
        let (mut zeroth, mut first) = (0.0, 0.0);
        for pair in pairs() {
            let weight = (exponent(pair) - max).exp();
            zeroth += weight;
            first += weight * pair.0;
        }
        let mean = first / zeroth;
        let square = |pair: (&f64, &f64)| (exponent(pair) - max).exp() * (pair.0 - mean).powi(2);
        let variance = pairs().map(square).sum::<f64>() / zeroth;
        Cumulants { log_moment: max + zeroth.ln(), mean, variance }
    }
}

/// ln of the largest e^(-a y) (1 - e^-y) over y > 0, which is a^a / (1+a)^(1+a).
pub(super) fn log_peak(a: f64) -> f64 {
    if a > 0.0 { -a * (1.0 / a).ln_1p() - a.ln_1p() } else { 0.0 }
}

/// Independent losses, each with its number of repetitions.
#[derive(Clone, Debug)]
pub(super) struct Sum(Vec<(u64, Atoms)>);

/// An interval of losses, with the tilts by which Chernoff's bound limits what lies
/// beyond its ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) least: f64,
    pub(super) most: f64,
    pub(super) tilt_below: f64,
    pub(super) tilt_above: f64,
}

impl Window {
    pub(super) fn width(self) -> f64 {
        self.most - self.least
    }
}

impl Sum {
    pub(super) const fn new(parts: Vec<(u64, Atoms)>) -> Self {
        Self(parts)
    }

    /// Cumulants of the sum at tilt `a`: cumulants of independent losses add up.
    pub(super) fn at(&self, a: f64) -> Cumulants {
        self.0.iter().fold(Cumulants::default(), |sum, (count, atoms)| {
            let (n, one) = (*count as f64, atoms.at(a));
            Cumulants {
                log_moment: n.mul_add(one.log_moment, sum.log_moment),
                mean: n.mul_add(one.mean, sum.mean),
                variance: n.mul_add(one.variance, sum.variance),
            }
        })
    }

    fn log_moment(&self, a: f64) -> f64 {
        self.0.iter().map(|(n, atoms)| *n as f64 * atoms.log_moment(a)).sum()
    }

    /// Largest loss.
    pub(super) fn most(&self) -> f64 {
        self.0.iter().map(|(n, atoms)| *n as f64 * atoms.most()).sum()
    }

    /// The tilt a at which Chernoff's bound on the hockey-stick divergence at
    /// epsilon = K'(a), which is exp(K(a) - a K'(a)) a^a / (1+a)^(1+a), equals `delta`.
    ///
    /// The bound falls with a, whatever the shape of the loss; a saddle-point estimate
    /// would be closer for bell shapes and lost for few steps at a small rate.
    pub(super) fn tilt_for_delta(&self, delta: f64) -> f64 {
        self.bisect(|a| {
            let c = self.at(a);
            a.mul_add(-c.mean, c.log_moment) + log_peak(a) > delta.ln()
        })
    }

    /// The tilt at which the mean is `mean`, or nearly 0 when that is below the
    /// untilted mean.
    pub(super) fn tilt_for_mean(&self, mean: f64) -> f64 {
        self.bisect(|a| self.at(a).mean < mean)
    }

    /// A tilt around whose mean a narrow window shows `loss`.
    ///
    /// The tilt with mean `loss` itself puts a far tail of rare large losses into the
    /// window; a little less tilt often does not, and `loss` is still within
    /// [`VIEW`] deviations of the mean.
    pub(super) fn tilt_for_view(&self, loss: f64) -> f64 {
        let (mut best, mut width) = (self.tilt_for_mean(loss), f64::INFINITY);
        let mut tilt = best;
        for _ in 0..VIEWS {
            let (at, window) = (self.at(tilt), self.window(tilt));
            if loss - at.mean > VIEW * at.variance.sqrt() {
                break;
            }
            if window.width() < LEAST_GAIN * width {
                (best, width) = (tilt, window.width());
            }
            tilt *= 0.9;
        }
        best
    }

    /// Largest tilt with `below`, on a logarithmic scale from one that changes nothing.
    fn bisect(&self, below: impl Fn(f64) -> bool) -> f64 {
        let mut low = 1e-4 / self.at(0.0).variance.sqrt();
        let mut high = low;
        for _ in 0..DOUBLINGS {
            if !below(high) {
                break;
            }
            low = high;
            high *= 2.0;
        }
        for _ in 0..BISECTIONS {
            let middle = (low * high).sqrt();
            *(if below(middle) { &mut low } else { &mut high }) = middle;
        }
        low
    }

    /// An interval outside which the loss tilted by `a` has hardly any mass.
    ///
    /// Chernoff: P_a(loss >= y) <= exp(K(a+s) - K(a) - s y) for s > 0, solved for y at
    /// the best s of a geometric grid; likewise below.
    pub(super) fn window(&self, a: f64) -> Window {
        let centre = self.at(a);
        let normal = (-2.0 * LOG_OUTSIDE / centre.variance).sqrt();
        let tilts = (-8..=4).map(|k| normal * (0.5 * f64::from(k)).exp2());
        let end = |s: f64| (self.log_moment(a + s) - centre.log_moment - LOG_OUTSIDE) / s;
        let mut window = Window {
            least: f64::NEG_INFINITY,
            most: f64::INFINITY,
            tilt_below: 0.0,
            tilt_above: 0.0,
        };
        for s in tilts {
            let (below, above) = (end(-s), end(s));
            if below > window.least {
                (window.least, window.tilt_below) = (below, s);
            }
            if above < window.most {
                (window.most, window.tilt_above) = (above, s);
            }
        }
        window
    }
}
