//! The hockey-stick curve delta(epsilon) of a composed loss on a grid.

use super::cumulants::log_peak;

/// More than what sums of 2^21 masses lose where their exponentials underflow, in units of
/// the mass at the origin: a value below it is not known.
const UNDERFLOW: f64 = 1e-290;

/// Tilted masses of a composed loss, from which delta and epsilon are read.
///
/// The mass at the loss y is e^(K - a y) times the tilted mass, with a the tilt and K
/// the cumulant generating function at a.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    /// Upper bounds on the tilted masses at `first * h`, `(first + 1) * h`, ...
    pub(super) masses: Vec<f64>,
    pub(super) first: i64,
    pub(super) h: f64,
    pub(super) tilt: f64,
    /// Loss from which exponentials are counted: the mean of the tilted loss.
    pub(super) origin: f64,
    /// K.
    pub(super) log_moment: f64,
    /// Tilted mass at losses not in `masses`.
    pub(super) outside: f64,
    /// Mass at infinite loss.
    pub(super) cut: f64,
}

/// State of the sum from the largest loss downwards, at the grid loss y, in units of
/// `unit` = e^(K - a y0).
struct Walk {
    y: f64,
    /// sum over losses x > y of m(x) (1 - e^(y-x)): the hockey-stick divergence at y.
    delta: f64,
    /// sum over losses x >= y of m(x) e^(y-x).
    decayed: f64,
    /// Bound on what the losses in no entry add at y.
    charge: f64,
}

impl Curve {
    /// Least epsilon >= 0 with delta(epsilon) <= `delta`; +infinity when not in the window.
    pub(super) fn epsilon(&self, delta: f64) -> f64 {
        if delta < self.cut {
            return f64::INFINITY;
        }
        let target = ((delta - self.cut).max(0.0).ln() - self.log_unit()).exp();
        let mut above: Option<Walk> = None;
        for at in self.walk() {
            // Also where one of them is not known.
            if (at.delta + at.charge).partial_cmp(&target).is_none_or(|o| o.is_gt()) {
                let solve = |w: Walk| w.solve(target - at.charge).max(0.0);
                return above.map_or(f64::INFINITY, solve);
            }
            if at.y <= 0.0 {
                return 0.0;
            }
            above = Some(at);
        }
        above.map_or(f64::INFINITY, |w| w.y)
    }

    /// Upper bound on delta at `epsilon`.
    pub(super) fn delta(&self, epsilon: f64) -> f64 {
        let mut above: Option<Walk> = None;
        for at in self.walk() {
            let below = at.y <= epsilon;
            above = if below { above.or(Some(at)) } else { Some(at) };
            if below {
                break;
            }
        }
        let Some(w) = above else { return 1.0 };
        let log_charge = self.log_charge(epsilon);
        // Above the largest loss nothing is left but the charge.
        let hockey_stick = w.delta - w.decayed * (epsilon - w.y).exp_m1();
        let hockey_stick = if hockey_stick < 0.0 { 0.0 } else { hockey_stick };
        let delta = (hockey_stick + log_charge.exp()) * self.log_unit().exp() + self.cut;
        if delta.is_nan() { 1.0 } else { delta.clamp(0.0, 1.0) }
    }

    fn log_unit(&self) -> f64 {
        self.tilt.mul_add(-self.origin, self.log_moment)
    }

    /// A tilted mass p at an unknown loss adds at most p max_y e^(-a y) (1 - e^(e-y)) to
    /// delta at e, up to the unit.
    fn log_charge(&self, epsilon: f64) -> f64 {
        let a = self.tilt;
        self.outside.ln() + log_peak(a) - a * (epsilon - self.origin)
    }

    /// Walks the grid downwards. With S = `decayed` and D = `delta`, every step only adds:
    /// D(y-h) = D(y) + (1 - e^-h) S(y) and S(y-h) = m(y-h) + e^-h S(y).
    fn walk(&self) -> impl Iterator<Item = Walk> {
        let (decay, gain) = ((-self.h).exp(), -(-self.h).exp_m1());
        let (mut delta, mut decayed) = (UNDERFLOW, 0.0);
        let charge_per_untilt = (self.outside.ln() + log_peak(self.tilt)).exp();
        self.masses.iter().enumerate().rev().map(move |(k, mass)| {
            let y = (self.first + k as i64) as f64 * self.h;
            let untilt = (-self.tilt * (y - self.origin)).exp();
            delta += gain * decayed;
            decayed = decay * decayed + mass * untilt;
            Walk { y, delta, decayed, charge: charge_per_untilt * untilt }
        })
    }
}

impl Walk {
    /// Between two grid points delta is linear in e^epsilon; the epsilon below y at which
    /// it reaches `target`, or y when it is there already.
    fn solve(&self, target: f64) -> f64 {
        let missing = (target - self.delta).max(0.0);
        self.y + (-missing / self.decayed).max(-1.0).ln_1p()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounding.
    const EXACT: f64 = 1e-12;

    /// Losses 1, 2 and 3 with masses 0.5, 0.25 and 0.125, the rest at infinity, seen
    /// through a tilt from an origin.
    fn curve_from(origin: f64, tilt: f64) -> Curve {
        let masses = [(1.0, 0.5), (2.0, 0.25), (3.0, 0.125)];
        let tilted = masses.map(|(y, m): (f64, f64)| m * (tilt * (y - origin)).exp());
        Curve {
            masses: tilted.to_vec(),
            first: 1,
            h: 1.0,
            tilt,
            origin,
            log_moment: tilt * origin,
            outside: 0.0,
            cut: 0.125,
        }
    }

    fn curve(tilt: f64) -> Curve {
        curve_from(2.0, tilt)
    }

    fn naive(epsilon: f64) -> f64 {
        let term = |(y, m): (f64, f64)| m * (-(epsilon - y).exp_m1()).max(0.0);
        0.125 + [(1.0, 0.5), (2.0, 0.25), (3.0, 0.125)].map(term).iter().sum::<f64>()
    }

    #[test]
    fn delta_is_the_hockey_stick_divergence_under_any_tilt() {
        for tilt in [0.0, 1.0, 30.0] {
            for epsilon in [0.0, 0.5, 1.0, 1.7, 2.9, 3.0, 9.0] {
                let delta = curve(tilt).delta(epsilon);
                assert!((delta - naive(epsilon)).abs() < EXACT, "{tilt} {epsilon}: {delta}");
            }
        }
    }

    #[test]
    fn epsilon_inverts_delta() {
        for epsilon in [1.0, 1.7, 2.5, 2.9] {
            let back = curve(2.0).epsilon(naive(epsilon));
            assert!((back - epsilon).abs() < 1e3 * EXACT, "{epsilon}: {back}");
        }
    }

    #[test]
    fn what_underflows_is_not_taken_for_nothing() {
        // Under this tilt only the largest loss is left of the masses.
        let far = curve_from(3.0, 1e3);
        assert!((far.delta(2.9) - naive(2.9)).abs() < EXACT);
        assert_eq!(far.delta(0.5), 1.0);
        assert!(far.epsilon(0.3) > 1.9, "{}", far.epsilon(0.3));
        // Exponentials counted from so far off that all of them underflow.
        let lost = Curve { origin: -2.0, log_moment: 3e3, ..curve_from(3.0, 1e3) };
        assert_eq!((lost.delta(2.9), lost.epsilon(0.13)), (1.0, f64::INFINITY));
    }

    #[test]
    fn mass_at_infinity_has_no_finite_epsilon() {
        assert_eq!(curve(1.0).epsilon(0.124), f64::INFINITY);
    }

    #[test]
    fn mass_at_unknown_losses_is_charged() {
        let charged = Curve { outside: 0.1, ..curve(1.0) };
        assert!(charged.delta(1.5) > curve(1.0).delta(1.5));
        assert!(charged.epsilon(0.3) >= curve(1.0).epsilon(0.3));
    }
}
