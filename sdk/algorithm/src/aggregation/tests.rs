//! Every rule against a naive oracle, and what hostile devices can do to it.

use proptest::prelude::*;

use super::*;
use crate::{FederationPlan, Layout};

fn collector(federation: FederationPlan, active: usize) -> Collector {
    let (privacy, algorithm) = (crate::fixture::privacy(2), crate::fixture::algorithm());
    let layout = Layout::default();
    let plans = Plans {
        layout: &layout,
        privacy: &privacy,
        algorithm: &algorithm,
        federation: &federation,
    };
    Collector::new(plans, 0, active)
}

fn outcome(federation: FederationPlan, updates: &[(Vec<i64>, u32)]) -> ReleasedSum {
    let mut collector = collector(federation, updates[0].0.len());
    updates.iter().for_each(|(update, w)| collector.add(update.clone(), *w).unwrap());
    assert_eq!(collector.devices(), updates.len() as u32);
    collector.finish().unwrap()
}

fn plan(aggregation: Aggregation) -> FederationPlan {
    FederationPlan { aggregation, ..FederationPlan::DEFAULT }
}

fn mean_of(sum: &ReleasedSum) -> Vec<f64> {
    sum.values().iter().map(|&v| v as f64 / sum.divisor() as f64).collect()
}

/// By sorting floats, coordinate by coordinate.
fn naive_trimmed(updates: &[(Vec<i64>, u32)], dropped: usize) -> Vec<f64> {
    let column = |j: usize| {
        let mut x: Vec<f64> = updates.iter().map(|(u, _)| u[j] as f64).collect();
        x.sort_by(f64::total_cmp);
        let kept = &x[dropped..x.len() - dropped];
        kept.iter().sum::<f64>() / kept.len() as f64
    };
    (0..updates[0].0.len()).map(column).collect()
}

/// Multi-Krum as it is written, over floats.
fn naive_krum(updates: &[(Vec<i64>, u32)], hostile: usize, keep: usize) -> Vec<f64> {
    let n = updates.len();
    let distance = |a: &[i64], b: &[i64]| -> f64 {
        a.iter().zip(b).map(|(x, y)| ((x - y) as f64).powi(2)).sum()
    };
    let score = |i: usize| -> f64 {
        let mut d: Vec<f64> =
            (0..n).filter(|j| *j != i).map(|j| distance(&updates[i].0, &updates[j].0)).collect();
        d.sort_by(f64::total_cmp);
        d[..n - hostile - 2].iter().sum()
    };
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| {
        score(i).total_cmp(&score(j)).then_with(|| updates[i].0.cmp(&updates[j].0))
    });
    let mean = |j| order[..keep].iter().map(|&i| updates[i].0[j] as f64).sum::<f64>() / keep as f64;
    (0..updates[0].0.len()).map(mean).collect()
}

fn rules() -> Vec<FederationPlan> {
    let public = FederationPlan { weights: Weights::Public { cap: 5 }, ..FederationPlan::DEFAULT };
    let mut plans = vec![
        FederationPlan::DEFAULT,
        public,
        plan(Aggregation::Median),
        plan(Aggregation::TrimmedMean { share: 0.3 }),
        plan(Aggregation::MultiKrum { hostile: 1, keep: 2 }),
    ];
    let bounded = |p: &FederationPlan| FederationPlan { norm_bound: Some(1.5), ..*p };
    plans.extend(plans.clone().iter().map(bounded));
    plans
}

/// Small integers, so that ties happen.
fn small() -> impl Strategy<Value = Vec<(Vec<i64>, u32)>> {
    prop::collection::vec((prop::collection::vec(-3_i64..4, 4), 0_u32..9), 5..14)
}

/// Whatever fits the wire, in units that saturate.
fn hostile() -> impl Strategy<Value = Vec<(Vec<i64>, u32)>> {
    let value = prop_oneof![
        any::<i64>(),
        Just(i64::MAX),
        Just(i64::MIN),
        (-(1_i64 << 39)..1 << 39, 0_u32..63).prop_map(|(v, shift)| v.saturating_mul(1 << shift)),
    ];
    prop::collection::vec((prop::collection::vec(value, 3), any::<u32>()), 5..9)
}

proptest! {
    #[test]
    fn the_order_of_arrival_does_not_matter(
        (updates, shuffled) in prop_oneof![small(), hostile()]
            .prop_flat_map(|u| (Just(u.clone()), Just(u).prop_shuffle())),
    ) {
        for plan in rules() {
            prop_assert_eq!(outcome(plan, &updates), outcome(plan, &shuffled), "{:?}", plan);
        }
    }

    #[test]
    fn median_and_trimmed_mean_are_those_of_sorted_floats(updates in small(), share in 0.01_f64..0.49) {
        let n = updates.len();
        let median = outcome(plan(Aggregation::Median), &updates);
        prop_assert_eq!(mean_of(&median), naive_trimmed(&updates, (n - 1) / 2));
        let trimmed = outcome(plan(Aggregation::TrimmedMean { share }), &updates);
        let dropped = (share * n as f64).floor() as usize;
        prop_assert_eq!(mean_of(&trimmed), naive_trimmed(&updates, dropped));
    }

    #[test]
    fn multi_krum_is_what_the_paper_writes(updates in small(), keep in 1_u32..3) {
        let found = outcome(plan(Aggregation::MultiKrum { hostile: 1, keep }), &updates);
        prop_assert_eq!(mean_of(&found), naive_krum(&updates, 1, keep as usize));
        prop_assert_eq!(found.effective_devices(), f64::from(keep));
    }

    #[test]
    fn the_mean_is_weighted_by_capped_integers(updates in small(), cap in 1_u32..6) {
        let weights = Weights::Public { cap };
        let found = outcome(FederationPlan { weights, ..FederationPlan::DEFAULT }, &updates);
        let w: Vec<i64> = updates.iter().map(|(_, w)| i64::from((*w).max(1).min(cap))).collect();
        for j in 0..4 {
            let sum: i64 = updates.iter().zip(&w).map(|((u, _), w)| w * u[j]).sum();
            prop_assert_eq!(found.values()[j], i128::from(sum));
        }
        let (sum, squares) = (w.iter().sum::<i64>(), w.iter().map(|w| w * w).sum::<i64>());
        prop_assert_eq!(found.divisor(), sum as u64);
        prop_assert_eq!(found.effective_devices(), (sum * sum) as f64 / squares as f64);
    }

    #[test]
    fn a_minority_cannot_move_the_median_beyond_the_others(
        honest in prop::collection::vec(-100_i64..100, 5..9), hostile in any::<i64>(),
    ) {
        let mut updates: Vec<(Vec<i64>, u32)> = honest.iter().map(|v| (vec![*v], 1)).collect();
        updates.extend(vec![(vec![hostile], 1); honest.len() - 1]);
        let found = mean_of(&outcome(plan(Aggregation::Median), &updates))[0];
        let (low, high) = (honest.iter().min().unwrap(), honest.iter().max().unwrap());
        prop_assert!(*low as f64 <= found && found <= *high as f64);
    }
}

#[test]
fn multi_krum_leaves_a_far_update_out_and_does_not_overflow() {
    let mut updates: Vec<(Vec<i64>, u32)> = (0..6).map(|i| (vec![i, -i, 1], 1)).collect();
    updates.push((vec![i64::MIN, i64::MAX, i64::MIN], 1));
    let found = outcome(plan(Aggregation::MultiKrum { hostile: 1, keep: 4 }), &updates);
    assert!(mean_of(&found).iter().all(|v| v.abs() < 6.0));
    assert_eq!((found.divisor(), found.devices()), (4, 7));
}

#[test]
fn a_rule_needs_reports_enough() {
    let krum = Aggregation::MultiKrum { hostile: 2, keep: 3 };
    assert!(krum.check_reports(6).is_err());
    assert!(krum.check_reports(7).is_ok());
    assert!(Aggregation::MultiKrum { hostile: 2, keep: 4 }.check_reports(7).is_err());
    assert!(Aggregation::MultiKrum { hostile: u32::MAX, keep: 1 }.check_reports(u32::MAX).is_err());
    assert!(Aggregation::TrimmedMean { share: 0.2 }.check_reports(4).is_err());
    assert!(Aggregation::TrimmedMean { share: 0.2 }.check_reports(5).is_ok());
    let mut few = collector(plan(krum), 1);
    (0..6).for_each(|v| few.add(vec![v], 1).unwrap());
    assert!(few.finish().is_err());
}

#[test]
fn a_round_without_updates_is_a_sum_of_no_device() {
    for plan in rules() {
        let empty = collector(plan, 3).finish().unwrap();
        assert_eq!((empty.devices(), empty.divisor(), empty.effective_devices()), (0, 0, 0.0));
    }
}

#[test]
fn an_update_of_another_length_is_refused() {
    for plan in rules() {
        assert!(collector(plan, 3).add(vec![1, 2], 1).is_err());
    }
}

#[test]
fn the_norm_bound_is_a_multiple_of_the_noise_norm() {
    // sigma = 1.3, 2^18 grid steps in C, E = 2, k = 8: the noise's norm is sqrt(16) sigma 2^18.
    let bound = FederationPlan { norm_bound: Some(2.0), ..FederationPlan::DEFAULT };
    let noise_norm = 4.0 * 1.3 * f64::from(1 << 18);
    let found = outcome(bound, &[(vec![1 << 40; 8], 1)]);
    let norm = (8.0 * (found.values()[0] as f64).powi(2)).sqrt();
    assert!((norm / (2.0 * noise_norm) - 1.0).abs() < 1e-6);
    let within = (1.9 * noise_norm / 8_f64.sqrt()) as i64;
    assert_eq!(outcome(bound, &[(vec![within; 8], 1)]).values()[0], i128::from(within));
}
