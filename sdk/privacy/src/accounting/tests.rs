//! Laws that both accountants keep, and frozen values.
//!
//! Frozen values are tight references computed independently of this crate (closed
//! forms, or tilted FFT matched to 32-digit quadrature) with their own error below 1e-7.

use proptest::prelude::*;

use super::*;
use crate::{Adjacency, Event, Mechanism, NoiseMultiplier, SamplingRate};

/// The grid may cost this much (`pld` aims at a tenth of it); less than 0 is unsound.
const PLD_LOOSENESS: f64 = 1e-3;
/// Rounding and the error of the references.
const ROUNDING: f64 = 1e-6;
/// Neighbouring queries may use different grids, each within a fraction of this.
const GRID_JITTER: f64 = 2e-4;
/// Sums in another order.
const REORDERED: f64 = 1e-9;

fn event(q: f64, sigma: f64, steps: u64) -> Event {
    let (q, sigma) = (SamplingRate::new(q).unwrap(), NoiseMultiplier::new(sigma).unwrap());
    Event::poisson_gaussian(Adjacency::AddRemove, q, sigma, steps)
}

fn plan(events: &[(f64, f64, u64)]) -> Composition {
    events.iter().map(|&(q, sigma, steps)| event(q, sigma, steps)).collect()
}

fn at(delta: f64) -> Delta {
    Delta::new(delta).unwrap()
}

/// Epsilon by Renyi divergences for ideal noise.
fn ideal_rdp(composition: &Composition, delta: Delta) -> f64 {
    rdp(composition).epsilon(delta)
}

/// (events, delta, tight epsilon, exact Renyi epsilon at the default orders).
type Reference = (&'static [(f64, f64, u64)], f64, f64, f64);
const REFERENCES: [Reference; 12] = [
    (&[(1.0, 1.0, 1)], 1e-5, 4.37717809568, 4.72850706722),
    (&[(1.0, 5.0, 1000)], 1e-8, 54.7790322655, 57.0070376624),
    (&[(1.0, 5.0, 1), (1.0, 10.0, 4)], 1e-5, 1.06078975542, 1.15815059504),
    (&[(0.01, 1.0, 1000)], 1e-5, 1.82823666657, 2.10136527165),
    (&[(0.04, 1.5, 2250)], 1e-5, 6.76878039365, 7.32911117148),
    (&[(0.02, 1.2, 1)], 1e-5, 0.242042686952, 0.770563828978),
    (&[(0.001, 0.3, 1)], 1e-6, 8.24586323369, 10.2769928979),
    (&[(0.0001, 10.0, 100_000)], 1e-5, 0.00745884747914, 0.00865240498398),
    (&[(0.0001, 0.5, 100_000)], 1e-9, 5.21162610419, 6.13301256508),
    (&[(0.01, 0.3, 100)], 1e-5, 26.8347115508, 32.0615565961),
    (&[(0.05, 4.0, 50), (0.05, 1.0, 500)], 1e-5, 7.53671771156, 8.31003652041),
    (&[(0.3, 2.0, 3), (0.01, 0.6, 300)], 1e-5, 5.09230687516, 6.1828796686),
];

#[test]
fn losses_on_a_grid_bound_the_tight_epsilon_from_above_and_closely() {
    for (events, delta, tight, _) in REFERENCES {
        let ratio = pld::epsilon(&plan(events), at(delta)) / tight;
        assert!((1.0 - ROUNDING..=1.0 + PLD_LOOSENESS).contains(&ratio), "{events:?}: {ratio}");
    }
}

#[test]
fn renyi_epsilon_is_exact_at_its_orders() {
    for (events, delta, _, exact) in REFERENCES {
        let ratio = ideal_rdp(&plan(events), at(delta)) / exact;
        assert!((ratio - 1.0).abs() <= ROUNDING, "{events:?}: {ratio}");
    }
}

#[test]
fn delta_is_bounded_closely() {
    // (q, sigma, steps, epsilon, tight delta), from the same references.
    for (q, sigma, steps, epsilon, tight) in [
        (0.01, 1.0, 1000, 2.0, 2.66557195077e-6),
        (0.01, 1.0, 1000, 4.0, 5.35147857189e-13),
        (0.5, 4.0, 100, 0.0, 0.468012322793),
        (1.0, 1.0, 1, 1.0, 0.126936737507),
        (0.3, 0.5, 1, 6.0, 5.47615166413e-4),
    ] {
        let ratio = delta(&plan(&[(q, sigma, steps)]), Epsilon::new(epsilon).unwrap()) / tight;
        assert!((1.0 - ROUNDING..=1.01).contains(&ratio), "{q} {sigma} {steps}: {ratio}");
    }
}

#[test]
fn the_tighter_accountant_is_reported_by_name() {
    let bound = epsilon(&plan(&[(0.01, 1.0, 1000)]), at(1e-5));
    assert_eq!(bound.accountant, Accountant::Pld);
    assert_eq!(bound.accountant.to_string(), "PLD");
    // Below an epsilon of 1e-9 both are the sampler's charge.
    let bound = epsilon(&plan(&[(1e-8, 1.0, 100)]), at(1e-5));
    assert_eq!(bound.accountant, Accountant::Rdp);
    assert!(bound.epsilon < 1e-6);
}

#[test]
fn edge_cases_are_those_of_the_documentation() {
    let (zero, one) = (Epsilon::new(0.0).unwrap(), Epsilon::new(1.0).unwrap());
    for nothing in [plan(&[]), plan(&[(0.5, 1.0, 0)]), plan(&[(0.0, 0.0, 9)])] {
        assert_eq!(epsilon(&nothing, at(0.0)).epsilon, 0.0);
        assert_eq!((delta(&nothing, zero), delta(&nothing, one)), (0.0, 0.0));
    }
    let noiseless = plan(&[(0.01, 1.0, 10), (0.01, 0.0, 1)]);
    assert_eq!(epsilon(&noiseless, at(1e-5)).epsilon, f64::INFINITY);
    assert_eq!(delta(&noiseless, one), 1.0);
    let some = plan(&[(0.01, 1.0, 10)]);
    assert_eq!(epsilon(&some, at(0.0)).epsilon, f64::INFINITY);
    assert_eq!(epsilon(&some, at(1.0)).epsilon, 0.0);
    assert_eq!(pld_epsilon(&some, at(1e-260)), f64::INFINITY);
    assert_eq!(pld_epsilon(&plan(&[(0.1, 1e-3, 1)]), at(1e-5)), f64::INFINITY);
    assert_eq!(pld_epsilon(&plan(&[(0.1, 1.0, u64::MAX)]), at(1e-5)), f64::INFINITY);
}

#[test]
fn tiny_losses_neither_vanish_nor_blow_up() {
    for below in [plan(&[(1.0, 1e6, 1)]), plan(&[(1e-8, 1.0, 100)])] {
        assert_eq!((ideal_rdp(&below, at(1e-5)), pld::epsilon(&below, at(1e-5))), (0.0, 0.0));
    }
    let tiny = pld::epsilon(&plan(&[(1.0, 1e6, 1)]), at(1e-9));
    assert!((tiny / 2.7178059288e-6 - 1.0).abs() < PLD_LOOSENESS, "{tiny}");
    let tiny = pld::epsilon(&plan(&[(1e-8, 1.0, 1)]), at(1e-9));
    assert!((tiny / 2.19099838948e-8 - 1.0).abs() < PLD_LOOSENESS, "{tiny}");
    let large = pld::epsilon(&plan(&[(1.0, 0.01, 1)]), at(1e-5));
    assert!((large / 5425.50984615 - 1.0).abs() < PLD_LOOSENESS, "{large}");
}

#[test]
fn a_query_of_two_to_the_31_steps_stays_within_memory() {
    // Central limit value 0.031361, exact Renyi value 0.0353095513925.
    let bound = pld::epsilon(&plan(&[(1e-6, 5.0, 1 << 31)]), at(1e-6));
    assert!((bound / 0.031361 - 1.0).abs() < 2e-2, "{bound}");
}

#[test]
fn plain_gaussian_steps_are_one_step_with_less_noise() {
    let (many, one) = (plan(&[(1.0, 4.0, 64)]), plan(&[(1.0, 0.5, 1)]));
    let rdp = ideal_rdp(&many, at(1e-6)) / ideal_rdp(&one, at(1e-6));
    let pld = pld::epsilon(&many, at(1e-6)) / pld::epsilon(&one, at(1e-6));
    assert!((rdp - 1.0).abs() < REORDERED && (pld - 1.0).abs() < GRID_JITTER, "{rdp} {pld}");
}

#[test]
fn the_sampler_is_charged_by_whichever_account_and_costs_a_millionth() {
    for (events, delta, _, _) in REFERENCES {
        let (all, delta) = (plan(events), at(delta));
        for (charged, ideal) in [
            (rdp_epsilon(&all, delta), ideal_rdp(&all, delta)),
            (pld_epsilon(&all, delta), pld::epsilon(&all, delta)),
        ] {
            let cost = charged - ideal;
            // 2 lambda for at most 1e5 steps, and epsilon's slope over a millionth of delta.
            assert!(cost > 1e-9 && cost < 3e-6 + 1e-5 * ideal, "{events:?}: {cost}");
        }
    }
}

#[test]
fn an_epsilon_beyond_the_reach_of_the_noise_is_not_vouched_for() {
    let hardly_private = plan(&[(1.0, 0.02, 1)]);
    assert!(ideal_rdp(&hardly_private, at(1e-5)).is_finite());
    assert_eq!(epsilon(&hardly_private, at(1e-5)).epsilon, f64::INFINITY);
}

fn uses(adjacency: Adjacency, mechanism: Mechanism, count: u64) -> Composition {
    [Event { adjacency, mechanism, count }].into_iter().collect()
}

fn multiplier(x: f64) -> NoiseMultiplier {
    NoiseMultiplier::new(x).unwrap()
}

/// Discrete Gaussian noise of parameter `std` on `coordinates` integers of norm `norm`.
fn discrete(std: f64, norm: u32, coordinates: u64, count: u64) -> Composition {
    let mechanism = Mechanism::DiscreteGaussian {
        noise_multiplier: multiplier(std / f64::from(norm)),
        norm_steps: norm.try_into().unwrap(),
        coordinates: coordinates.try_into().unwrap(),
    };
    uses(Adjacency::AddRemove, mechanism, count)
}

fn laplace(shift: f64, count: u64) -> Composition {
    let mechanism = Mechanism::Laplace { noise_multiplier: multiplier(1.0 / shift) };
    uses(Adjacency::AddRemove, mechanism, count)
}

fn fixed_size(batch: u64, population: u64, sigma: f64, count: u64) -> Composition {
    let sampling = crate::FixedSize::new(batch, population).unwrap();
    let noise_multiplier = multiplier(2.0 * sigma);
    let mechanism = Mechanism::FixedSizeGaussian { sampling, noise_multiplier };
    uses(Adjacency::ReplaceOne, mechanism, count)
}

#[test]
fn other_mechanisms_are_bounded_closely() {
    // Laplace and discrete Gaussian: dp-accounting 0.6.0 at intervals of 1e-5. Fixed size: the
    // pair by brute force on four million points, its last line also plain Gaussian.
    for (all, delta, tight) in [
        (laplace(1.0, 10), 1e-5, 9.98996231119598),
        (laplace(0.1, 100), 1e-6, 4.692667438643727),
        (laplace(3.0, 2), 1e-4, 5.99959999999734),
        (discrete(0.5, 1, 1, 3), 1e-5, 17.999249731309625),
        (discrete(3.0, 2, 1, 20), 1e-6, 18.0136376310756),
        (discrete(40.0, 10, 1, 50), 1e-5, 8.595927092761343),
        (fixed_size(100, 1000, 1.0, 50), 1e-5, 5.538341432253206),
        (fixed_size(10, 1000, 0.7, 300), 1e-6, 4.022062353637928),
        (fixed_size(50, 100, 3.0, 20), 1e-5, 3.4528157719785124),
        (fixed_size(7, 7, 2.0, 4), 1e-5, 4.37717809568),
    ] {
        let ratio = pld::epsilon(&all, at(delta)) / tight;
        // The references' own grids cost up to 1e-4 of epsilon.
        assert!((1.0 - 1e-4..=1.0 + PLD_LOOSENESS).contains(&ratio), "{all:?}: {ratio}");
        let by_rdp = ideal_rdp(&all, at(delta));
        assert!(by_rdp >= tight * (1.0 - 1e-4) && by_rdp < 4.0 * tight, "{all:?}: {by_rdp}");
    }
}

#[test]
fn one_laplace_or_discrete_draw_has_its_closed_form() {
    for (shift, epsilon) in [(1.0, 0.3), (0.01, 0.0), (4.0, 3.9)] {
        // 1 - e^((epsilon - shift) / 2).
        let exact = -f64::exp_m1((epsilon - shift) / 2.0);
        let found = pld::delta(&laplace(shift, 1), Epsilon::new(epsilon).unwrap());
        assert!((found / exact - 1.0).abs() < 1e-3 && found >= exact, "{shift}: {found} {exact}");
    }
    let (std, epsilon): (f64, f64) = (2.0, 0.4);
    let mass = |k: i32| (-0.5 * (f64::from(k) / std).powi(2)).exp();
    let total: f64 = (-60..=60).map(mass).sum();
    let term = |k: i32| (mass(k - 1) - epsilon.exp() * mass(k)).max(0.0) / total;
    let exact: f64 = (-60..=60).map(term).sum();
    let found = pld::delta(&discrete(std, 1, 1, 1), Epsilon::new(epsilon).unwrap());
    assert!((found / exact - 1.0).abs() < 1e-3 && found >= exact, "{found} {exact}");
}

#[test]
fn what_has_no_bound_by_losses_is_left_to_renyi_divergences() {
    let vector = discrete(3.0, 2, 5, 20);
    let bound = epsilon(&vector, at(1e-6));
    assert_eq!(
        (bound.accountant, pld_epsilon(&vector, at(1e-6))),
        (Accountant::Rdp, f64::INFINITY)
    );
    assert!(bound.epsilon.is_finite());
    // Of another population the batch would be another.
    let Event { mechanism, count, .. } = fixed_size(10, 100, 1.0, 1).events()[0];
    let removed = uses(Adjacency::AddRemove, mechanism, count);
    assert_eq!(epsilon(&removed, at(1e-5)).epsilon, f64::INFINITY);
}

#[test]
fn kinds_compose_with_each_other() {
    let mut all = laplace(0.5, 3);
    all.extend(&plan(&[(0.1, 1.0, 50)]));
    all.extend(&discrete(4.0, 2, 1, 5));
    let parts = [laplace(0.5, 3), plan(&[(0.1, 1.0, 50)]), discrete(4.0, 2, 1, 5)];
    let largest = parts.iter().map(|p| pld_epsilon(p, at(1e-5))).fold(0.0, f64::max);
    let sum: f64 = parts.iter().map(|p| pld_epsilon(p, at(1e-5 / 3.0))).sum();
    let found = pld_epsilon(&all, at(1e-5));
    assert!(largest < found && found < sum, "{largest} {found} {sum}");
}

#[test]
fn a_replacement_costs_at_least_a_removal_and_at_most_two() {
    for (q, sigma, steps) in [(0.01, 1.0, 300), (0.3, 2.0, 20), (1.0, 3.0, 5)] {
        let removal = event(q, sigma, steps);
        let replacement = Event { adjacency: Adjacency::ReplaceOne, ..removal };
        let of = |e| [e].into_iter().collect::<Composition>();
        let (one, two) = (of(removal), of(replacement));
        for account in [rdp_epsilon, pld_epsilon] {
            let (one, two) = (account(&one, at(1e-5)), account(&two, at(1e-5)));
            assert!(one <= two, "{q} {sigma} {steps}: {one} {two}");
        }
        // A removal and an addition: (2 e, (1 + e^e) d).
        let one = pld_epsilon(&one, at(1e-8));
        let delta = (1.0 + one.exp()) * 1e-8;
        assert!(pld_epsilon(&two, at(delta)) <= 2.0 * one, "{q} {sigma} {steps}");
    }
}

#[test]
fn a_query_changes_nothing_and_a_saved_composition_answers_with_the_same_bits() {
    let all = plan(&[(0.3, 2.0, 3), (0.01, 0.6, 300), (1.0 / 3.0, 7.7, 12)]);
    let (before, first) = (all.clone(), epsilon(&all, at(1e-5)));
    let loaded: Composition = serde_json::from_str(&serde_json::to_string(&all).unwrap()).unwrap();
    let second = epsilon(&loaded, at(1e-5));
    assert_eq!(all, before);
    assert_eq!(first.epsilon.to_bits(), second.epsilon.to_bits());
    assert_eq!(epsilon(&all, at(1e-5)).epsilon.to_bits(), first.epsilon.to_bits());
}

#[test]
fn sampling_never_costs_more_than_none() {
    let bound = epsilon(&plan(&[(0.9999, 1.3, 20)]), at(1e-5)).epsilon;
    assert!(bound <= 19.9412615098, "{bound}");
}

/// Plans as they occur: (q, sigma, steps, log10 delta).
fn typical() -> impl Strategy<Value = (f64, f64, u64, f64)> {
    (-2.5..0.0_f64, 0.6..8.0_f64, 1_u64..2000, -9.0..-3.0_f64)
        .prop_map(|(q, sigma, steps, delta)| (10_f64.powf(q), sigma, steps, 10_f64.powf(delta)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn epsilon_falls_with_noise_and_grows_with_steps_and_rate(
        (q, sigma, steps, delta) in typical(),
        more in 1.0..1.5_f64,
    ) {
        let eps = |q: f64, sigma, steps| {
            let c = plan(&[(q.min(1.0), sigma, steps)]);
            (rdp_epsilon(&c, at(delta)), pld_epsilon(&c, at(delta)))
        };
        let (rdp, pld) = eps(q, sigma, steps);
        for larger in [
            eps(q * more, sigma, steps),
            eps(q, sigma / more, steps),
            eps(q, sigma, (steps as f64 * more) as u64),
        ] {
            prop_assert!(rdp <= larger.0 * (1.0 + REORDERED), "{rdp} {}", larger.0);
            prop_assert!(pld <= larger.1 * (1.0 + GRID_JITTER), "{pld} {}", larger.1);
        }
    }

    #[test]
    fn a_grid_of_losses_is_never_looser_than_renyi((q, sigma, steps, delta) in typical()) {
        let c = plan(&[(q, sigma, steps)]);
        prop_assert!(pld_epsilon(&c, at(delta)) <= rdp_epsilon(&c, at(delta)) * (1.0 + ROUNDING));
    }

    #[test]
    fn order_and_splitting_do_not_matter(
        (q, sigma, steps, delta) in typical(),
        other in 0.6..4.0_f64,
        part in 0.0..1.0_f64,
    ) {
        let first = (steps as f64 * part) as u64;
        let whole = plan(&[(q, sigma, steps), (q, other, 7)]);
        let split = plan(&[(q, sigma, first), (q, other, 7), (q, sigma, steps - first)]);
        let turned = plan(&[(q, other, 7), (q, sigma, steps)]);
        for c in [split, turned] {
            let rdp = rdp_epsilon(&c, at(delta)) / rdp_epsilon(&whole, at(delta));
            let pld = pld_epsilon(&c, at(delta)) / pld_epsilon(&whole, at(delta));
            prop_assert!((rdp - 1.0).abs() <= REORDERED || rdp.is_nan(), "{rdp}");
            prop_assert!((pld - 1.0).abs() <= REORDERED || pld.is_nan(), "{pld}");
        }
    }

    #[test]
    fn no_answer_is_ever_not_a_number(
        q in -12.0..0.0_f64,
        sigma in -4.0..8.0_f64,
        steps in 0.0..15.0_f64,
        log_delta in -300.0..0.0_f64,
        eps in -9.0..6.0_f64,
    ) {
        let c = plan(&[(10_f64.powf(q), 10_f64.powf(sigma), 10_f64.powf(steps) as u64)]);
        let d = at(10_f64.powf(log_delta));
        let e = Epsilon::new(10_f64.powf(eps)).unwrap();
        for epsilon in [rdp_epsilon(&c, d), pld_epsilon(&c, d), epsilon(&c, d).epsilon] {
            prop_assert!(epsilon >= 0.0, "{epsilon}");
        }
        for delta in [rdp(&c).delta(e), pld::delta(&c, e), delta(&c, e)] {
            prop_assert!((0.0..=1.0).contains(&delta), "{delta}");
        }
    }
}
