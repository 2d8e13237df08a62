//! From a failing case to a smaller one that fails as well.

use std::time::{Duration, Instant};

use super::operations::{Case, Operation};

/// Longest search.
const PATIENCE: Duration = Duration::from_secs(90);

/// Leaves out ever smaller runs of operations for as long as `fails` says so. Races do not
/// repeat exactly, so the result is small, not smallest.
pub(crate) fn shrink(case: Case, mut fails: impl FnMut(&Case) -> bool) -> Case {
    let started = Instant::now();
    let mut best = case;
    let mut length = best.operations.len() / 2;
    while length > 0 {
        let mut start = 0;
        while start < best.operations.len() && started.elapsed() < PATIENCE {
            let smaller = without(&best, start, length);
            if fails(&smaller) {
                best = smaller;
            } else {
                start += length;
            }
        }
        length /= 2;
    }
    best
}

fn without(case: &Case, start: usize, length: usize) -> Case {
    let kept = |n: &usize| !(start..start + length).contains(n);
    let operations: Vec<Operation> =
        (0..case.operations.len()).filter(kept).map(|n| case.operations[n].clone()).collect();
    Case { operations, ..case.clone() }
}

#[test]
fn what_does_not_matter_is_left_out() {
    use super::operations::Database;
    let case = Case::draw(3, Database::Sqlite, 90);
    let (first, last) = (case.operations[7].clone(), case.operations[80].clone());
    let fails = |case: &Case| case.operations.contains(&first) && case.operations.contains(&last);
    let smallest = shrink(case.clone(), fails);
    assert_eq!(smallest.operations, [first.clone(), last.clone()]);
}
