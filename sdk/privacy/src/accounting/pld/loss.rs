//! One use's privacy loss, exactly as moments.

use super::super::mixture::{Against, Ratio};
use super::super::pair::Pair;
use super::cumulants::Atoms;

/// Most atoms of a discrete loss.
const MOST_ATOMS: f64 = 524_288.0;

/// Widest interval of t (in units of the shape's own scale) for one Gauss-Legendre rule:
/// with three nodes the relative error is 4e-16 t^6 around a mode, below 1e-11 up to five
/// deviations.
const WIDEST_PIECE: f64 = 0.03;

/// Nodes and weights of the three-point Gauss-Legendre rule on [0, 1].
const GAUSS_LEGENDRE: [(f64, f64); 3] = [
    (0.112_701_665_379_258_3, 5.0 / 18.0),
    (0.5, 8.0 / 18.0),
    (0.887_298_334_620_741_7, 5.0 / 18.0),
];

/// Which of the two neighbouring data sets is real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// P of the pair: loss ln(P/Q) under P.
    Forward,
    /// Q: loss ln(Q/P) under Q.
    Backward,
}

/// A loss that is monotone in t and has a density there.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// A likelihood ratio in one direction.
    Ratio(Ratio, Direction),
    /// Between the two Laplace modes, at distance s: loss t in (-s, s), density
    /// e^((t-s)/2) / 4.
    Laplace { shift: f64 },
}

impl Shape {
    /// Loss and log density at t.
    fn at(self, t: f64) -> (f64, f64) {
        let log_normal = -0.5 * t.mul_add(t, std::f64::consts::TAU.ln());
        match self {
            Self::Ratio(ratio, Direction::Forward) => {
                let l = ratio.log(t);
                (l, log_normal + ratio.log_reference(t) + l)
            }
            Self::Ratio(ratio, Direction::Backward) => {
                (-ratio.log(t), log_normal + ratio.log_reference(t))
            }
            Self::Laplace { shift } => (t, 0.5 * (t - shift) - 4.0_f64.ln()),
        }
    }

    /// The t of a loss.
    fn position(self, loss: f64) -> f64 {
        match self {
            Self::Ratio(ratio, Direction::Forward) => ratio.position(loss),
            Self::Ratio(ratio, Direction::Backward) => ratio.position(-loss),
            Self::Laplace { .. } => loss,
        }
    }

    /// Length in t over which density and loss change.
    fn scale(self) -> f64 {
        match self {
            Self::Ratio(ratio, _) => ratio.mixture.scale(),
            Self::Laplace { .. } => 1.0,
        }
    }
}

/// A shape on an interval of t.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arc {
    shape: Shape,
    from: f64,
    to: f64,
    /// Whether nothing to speak of lies outside, so that trapezoidal sums are exact.
    whole: bool,
}

impl Arc {
    /// Least and largest loss.
    fn range(&self) -> (f64, f64) {
        let (a, b) = (self.shape.at(self.from).0, self.shape.at(self.to).0);
        (a.min(b), a.max(b))
    }

    /// Losses and log masses of Gauss-Legendre nodes for the losses in [lower, upper).
    pub(super) fn nodes(&self, lower: f64, upper: f64) -> impl Iterator<Item = (f64, f64)> {
        let Self { shape, from, to, .. } = *self;
        let end = |loss| shape.position(loss).clamp(from, to);
        let (a, b) = (end(lower), end(upper));
        let (a, b) = (a.min(b), a.max(b));
        let pieces = ((b - a) / (WIDEST_PIECE * shape.scale())).ceil();
        let width = (b - a) / pieces;
        (0..pieces as u32).flat_map(move |piece| {
            let start = f64::from(piece).mul_add(width, a);
            GAUSS_LEGENDRE.map(|(x, weight)| {
                let (loss, log_density) = shape.at(x.mul_add(width, start));
                (loss, log_density + (weight * width).ln())
            })
        })
    }

    /// Nodes of a rule whose moments are those of the exact loss.
    fn sketch(&self) -> Vec<(f64, f64)> {
        let step = match self.shape {
            Shape::Ratio(ratio, _) if self.whole => ratio.mixture.quadrature_step(),
            _ => return self.nodes(f64::NEG_INFINITY, f64::INFINITY).collect(),
        };
        // Negative powers of the likelihood ratio are tame only half as far from the real
        // axis as positive ones, hence half the step.
        let intervals = (2.0 * (self.to - self.from) / step).ceil();
        let h = (self.to - self.from) / intervals;
        let node = |k: u32| {
            let (loss, log_density) = self.shape.at(f64::from(k).mul_add(h, self.from));
            (loss, log_density + h.ln())
        };
        (0..=intervals as u32).map(node).collect()
    }
}

/// The privacy loss of one use in one direction, but for what is cut off far out.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    pub(super) arcs: Vec<Arc>,
    /// Losses with their log masses.
    pub(super) atoms: Vec<(f64, f64)>,
    /// Whether the mass missing to 1 is at loss 0.
    pub(super) rest_at_zero: bool,
}

impl Loss {
    /// The loss of a pair forwards and, where it has another law, backwards, leaving out
    /// what is further than `radius` standard deviations from every mode. `None` for pairs
    /// without a bounded description.
    pub(super) fn both(pair: Pair, radius: f64) -> Option<(Self, Option<Self>)> {
        let noise = |mixture| Ratio { mixture, against: Against::Noise };
        let forward = match pair {
            Pair::AddRemove(mixture) => {
                let of = |direction| Self::whole(noise(mixture), direction, radius);
                return Some((of(Direction::Forward), Some(of(Direction::Backward))));
            }
            Pair::Mirrored(mixture) => {
                let ratio = Ratio { mixture, against: Against::Mirror };
                Self::whole(ratio, Direction::Forward, radius)
            }
            Pair::FixedSize(mixture) => Self::halves(noise(mixture), radius),
            Pair::Laplace { shift } => Self::laplace(shift),
            Pair::DiscreteGaussian { std, shift, scalar } if scalar => {
                Self::discrete(std, shift, radius)?
            }
            Pair::DiscreteGaussian { .. } | Pair::Unbounded => return None,
        };
        Some((forward, None))
    }

    /// All of it: the modes of P are at 0 and 1/sigma, that of the noise is at 0.
    fn whole(ratio: Ratio, direction: Direction, radius: f64) -> Self {
        let highest = match direction {
            Direction::Forward => 1.0 / ratio.mixture.sigma,
            Direction::Backward => 0.0,
        };
        let (from, to) = (-radius, highest + radius);
        let arc = Arc { shape: Shape::Ratio(ratio, direction), from, to, whole: true };
        Self { arcs: vec![arc], atoms: Vec::new(), rest_at_zero: false }
    }

    /// Losses above 0 of mixture against noise, those below 0 of noise against mixture;
    /// P = Q where t = 1 / (2 sigma).
    fn halves(ratio: Ratio, radius: f64) -> Self {
        let one = 1.0 / ratio.mixture.sigma;
        let half = |direction| {
            let shape = Shape::Ratio(ratio, direction);
            Arc { shape, from: 0.5 * one, to: one + radius, whole: false }
        };
        let arcs = vec![half(Direction::Forward), half(Direction::Backward)];
        Self { arcs, atoms: Vec::new(), rest_at_zero: true }
    }

    /// Beyond its own mode the loss is s with probability 1/2, beyond the other one -s with
    /// probability e^-s / 2.
    fn laplace(shift: f64) -> Self {
        let arc = Arc { shape: Shape::Laplace { shift }, from: -shift, to: shift, whole: false };
        let log_half = 0.5_f64.ln();
        let atoms = vec![(shift, log_half), (-shift, log_half - shift)];
        Self { arcs: vec![arc], atoms, rest_at_zero: false }
    }

    /// At x the loss is (2 x - shift) shift / (2 std^2), x around `shift`. The tails of the
    /// discrete law are below those of the continuous one a step further in (Canonne,
    /// Kamath, Steinke, arXiv 2004.00010, proposition 25).
    fn discrete(std: f64, shift: f64, radius: f64) -> Option<Self> {
        let reach = (radius * std + 1.0).ceil();
        if 2.0 * reach >= MOST_ATOMS {
            return None;
        }
        let log_weight = |k: i32| -0.5 * (f64::from(k) / std).powi(2);
        let all = -(reach as i32)..=reach as i32;
        let total: f64 = all.clone().map(|k| log_weight(k).exp()).sum();
        let loss = |k: i32| (2.0 * f64::from(k) + shift) * shift / (2.0 * std * std);
        let atoms = all.map(|k| (loss(k), log_weight(k) - total.ln())).collect();
        Some(Self { arcs: Vec::new(), atoms, rest_at_zero: false })
    }

    /// Least and largest loss.
    pub(super) fn range(&self) -> (f64, f64) {
        let points = self.atoms.iter().map(|&(l, _)| (l, l));
        let ranges = self.arcs.iter().map(Arc::range).chain(points);
        let zero = self.rest_at_zero.then_some((0.0, 0.0));
        let wider = |(a, b): (f64, f64), (c, d): (f64, f64)| (a.min(c), b.max(d));
        ranges.chain(zero).fold((f64::INFINITY, f64::NEG_INFINITY), wider)
    }

    /// Length of the interval of losses.
    pub(super) fn width(&self) -> f64 {
        let (least, most) = self.range();
        most - least
    }

    /// Atoms whose moments are those of the exact loss.
    pub(super) fn sketch(&self) -> Atoms {
        let nodes = self.arcs.iter().flat_map(Arc::sketch).chain(self.atoms.iter().copied());
        let (mut losses, mut log_mass): (Vec<f64>, Vec<f64>) = nodes.unzip();
        if self.rest_at_zero {
            let rest = 1.0 - log_mass.iter().map(|m| m.exp()).sum::<f64>();
            losses.push(0.0);
            log_mass.push(rest.max(0.0).ln());
        }
        Atoms { losses, log_mass }
    }
}
