//! When a device without a seat asks again.

use adafed_wire::{DeviceId, Digest, RetryWindow};

use super::{Reason, Rules};

/// Milliseconds until `device` asks again: a moment of its own within the window, so that a
/// fleet that was turned away together does not come back together.
///
/// Without a window of the operator's it reaches from the plan's retry time to half as much
/// again. A time that is known is waited for; what has no known end is asked for at the
/// window's end only.
pub(crate) fn retry_after_ms(
    rules: &Rules<'_>,
    reason: Reason,
    device: DeviceId,
    now_ms: u64,
) -> u64 {
    let retry = rules.plan.retry_after_ms;
    let plans = RetryWindow { least_ms: retry, most_ms: retry.saturating_add(retry / 2) };
    let RetryWindow { least_ms, most_ms } = rules.settings.retry.unwrap_or(plans);
    let jitter = within(most_ms - least_ms, device, now_ms);
    match reason {
        Reason::NoSeat => least_ms.saturating_add(jitter),
        Reason::NotBefore(time_ms) => time_ms.saturating_sub(now_ms).saturating_add(jitter),
        Reason::Closed | Reason::Client => most_ms.saturating_add(jitter),
    }
}

/// A number in 0..=width that differs by device and time and needs no randomness.
fn within(width: u64, device: DeviceId, now_ms: u64) -> u64 {
    let name = Digest::of(format!("{device}{now_ms}").as_bytes()).to_string();
    let draw = u64::from_str_radix(&name[..16], 16).unwrap_or(0);
    ((u128::from(draw) * (u128::from(width) + 1)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use adafed_wire::{RoundPlan, TaskSettings};

    use super::*;

    const PLAN: RoundPlan = RoundPlan {
        cohort: 1,
        report_goal: 1,
        least_reports: 1,
        deadline_ms: 1,
        retry_after_ms: 1_000,
    };

    fn retries(settings: &TaskSettings, reason: Reason) -> Vec<u64> {
        let rules = Rules { plan: &PLAN, settings, seating: true };
        let device = |i: u8| DeviceId::of_key(&[i; 32]);
        (0..200).map(|i| retry_after_ms(&rules, reason, device(i), 5_000)).collect()
    }

    #[test]
    fn a_fleet_comes_back_spread_over_the_window() {
        let window = Some(RetryWindow { least_ms: 2_000, most_ms: 10_000 });
        let settings = TaskSettings { retry: window, ..TaskSettings::default() };
        let mut times = retries(&settings, Reason::NoSeat);
        assert!(times.iter().all(|t| (2_000..=10_000).contains(t)));
        times.sort_unstable();
        assert!(times[50] < 5_000 && times[150] > 7_000, "{times:?}");
        let plans = retries(&TaskSettings::default(), Reason::NoSeat);
        assert!(plans.iter().all(|t| (1_000..=1_500).contains(t)));
    }

    #[test]
    fn a_known_time_is_waited_for() {
        let times = retries(&TaskSettings::default(), Reason::NotBefore(9_000));
        assert!(times.iter().all(|t| (4_000..=4_500).contains(t)));
        let paused = retries(&TaskSettings::default(), Reason::Closed);
        assert!(paused.iter().all(|t| (1_500..=2_000).contains(t)));
    }
}
