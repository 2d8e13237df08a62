//! The charts of a task's page.

mod devices;
mod epsilon;
mod learning;
mod traffic;

use maud::{Markup, html};

use super::TaskDetail;
use super::chart::Panel;
use crate::report::RoundReport;

/// Most rounds that a chart of bars shows.
const MOST_BARS: usize = 120;

/// Every chart.
pub(super) fn all(task: &TaskDetail) -> Markup {
    let rounds = &task.view.rounds;
    let panels = [
        learning::loss(&task.view.evaluations),
        learning::accuracy(&task.view.evaluations),
        epsilon::panel(&task.privacy),
        traffic::coordinates(rounds, task.view.status.parameters),
        devices::seats(rounds),
        traffic::bytes(rounds),
        devices::durations(rounds),
    ];
    html! { div.charts { @for panel in panels { (part(&panel)) } } }
}

fn part(panel: &Panel<'_>) -> Markup {
    html! { div id=(panel.id) data-part { (panel.markup()) } }
}

/// The rounds that a chart of bars shows.
fn shown(rounds: &[RoundReport]) -> &[RoundReport] {
    &rounds[rounds.len().saturating_sub(MOST_BARS)..]
}

/// A sentence for a chart that does not show all rounds.
fn left_out(rounds: usize) -> String {
    match rounds {
        r if r > MOST_BARS => format!(" The chart shows the last {MOST_BARS} rounds."),
        _ => String::new(),
    }
}

/// Names of columns.
fn columns<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).into()
}
