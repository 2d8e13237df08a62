//! Small pieces that several pages are made of.

use maud::{Markup, html};
use serde::Serialize;
use serde_json::Value;

use super::format::{NOTHING, epsilon};
use crate::report::TaskState;

/// A figure: the value as the JSON interface has it, by that name, and a form to read.
pub(super) fn figure(name: &str, value: impl Serialize, text: impl AsRef<str>) -> Markup {
    let exact = exact(value);
    html! { data data-figure=(name) data-value=(exact) value=(exact) { (text.as_ref()) } }
}

/// A figure that there may be none of.
pub(super) fn optional<T: Copy + Serialize>(
    name: &str,
    value: Option<T>,
    text: impl Fn(T) -> String,
) -> Markup {
    figure(name, value, value.map_or_else(|| NOTHING.to_owned(), text))
}

/// An epsilon; JSON has no infinity and says null.
pub(super) fn epsilon_figure(name: &str, value: f64) -> Markup {
    figure(name, value, epsilon(value))
}

/// A value as JSON, strings without their quotes.
fn exact(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        Ok(value) => value.to_string(),
        Err(_) => "null".to_owned(),
    }
}

/// A headline figure with its meaning and a remark.
pub(super) fn tile(meaning: &str, figure: &Markup, remark: &Markup) -> Markup {
    html! { div.tile { dt { (meaning) } dd { strong { (figure) } span.quiet { (remark) } } } }
}

/// How far something has come, as a bar with a name.
pub(super) fn progress(name: &str, done: f64, whole: f64, kind: &str) -> Markup {
    let share = if whole > 0.0 { (done / whole).clamp(0.0, 1.0) } else { 0.0 };
    html! {
        progress class=(kind) max="1" value=(format!("{share:.4}")) aria-label=(name) {
            (format!("{:.0} %", 100.0 * share))
        }
    }
}

/// Whether a task trains, as a label.
pub(super) fn state(state: TaskState) -> Markup {
    let name = state_name(state);
    html! { span class={ "state " (name) } { (figure("state", state, name)) } }
}

/// Name of a state.
pub(super) const fn state_name(state: TaskState) -> &'static str {
    match state {
        TaskState::Running => "running",
        TaskState::Paused => "paused",
        TaskState::Cancelled => "cancelled",
        TaskState::Halted => "halted",
        TaskState::Finished => "finished",
    }
}

/// The smaller of two caps, where there is one.
pub(super) fn least_cap(device: Option<f64>, task: Option<f64>) -> Option<f64> {
    [device, task].into_iter().flatten().reduce(f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_carry_what_the_interface_says() {
        for (value, exact) in [(0.1 + 0.2, "0.30000000000000004"), (1e-5, "0.00001")] {
            let text = epsilon_figure("epsilon", value).into_string();
            assert!(text.contains(&format!("data-value=\"{exact}\"")), "{text}");
        }
        let infinite = epsilon_figure("epsilon", f64::INFINITY).into_string();
        assert!(infinite.contains("data-value=\"null\"") && infinite.contains('∞'), "{infinite}");
        let state = state(TaskState::Halted).into_string();
        assert!(state.contains("data-value=\"halted\""), "{state}");
        let none = optional("accuracy", None::<f64>, |v| v.to_string()).into_string();
        assert!(none.contains("data-value=\"null\"") && none.contains(NOTHING), "{none}");
    }

    #[test]
    fn bars_stay_within_their_ends() {
        for (done, whole) in [(0.0, 0.0), (5.0, 2.0), (f64::NAN, 1.0), (1.0, f64::INFINITY)] {
            let text = progress("p", done, whole, "round").into_string();
            assert!(!text.contains("inf"), "{text}");
        }
        assert!(progress("p", 1.0, 4.0, "round").into_string().contains("value=\"0.2500\""));
    }
}
