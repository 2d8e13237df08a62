//! The round that is open: phase, seats and the time left.

use adafed_wire::RoundPlan;
use maud::{Markup, html};

use super::TaskDetail;
use super::format::{ago, count, counted, until};
use super::parts::{figure, progress};
use crate::report::{RoundReport, TaskState};
use crate::round::Phase;

/// Most seats that are drawn one by one.
const MOST_SEATS: u32 = 240;

/// The open round, or a sentence where none is.
pub(super) fn section(task: &TaskDetail, now_ms: u64) -> Markup {
    let open = task.view.current().filter(|round| !round.phase.is_closed());
    html! {
        section.panel.live #live-round data-part aria-labelledby="live-heading" {
            @match open {
                Some(round) => (round_open(round, &task.plan.rounds, now_ms)),
                None => {
                    h2 #live-heading { "No round is open" }
                    p.words { (why_none(task.view.status.state)) }
                }
            }
        }
    }
}

fn round_open(round: &RoundReport, plan: &RoundPlan, now_ms: u64) -> Markup {
    html! {
        h2 #live-heading { "Round " (figure("live_round", round.round, count(round.round))) }
        (phases(round.phase))
        p.words { (remaining(round, now_ms)) }
        dl.meters {
            (meter("Seats taken", ("participants", round.participants), plan.cohort))
            (meter("Reports, with the goal", ("reports", round.reports), plan.report_goal))
        }
        (seats(round, plan.cohort))
        p.quiet {
            "The round closes with " (counted(plan.report_goal.into(), "report", "reports"))
            ", and counts from " (counted(plan.least_reports.into(), "report", "reports")) " on."
        }
    }
}

/// How many of `whole` there are, as a figure and as a bar.
fn meter(meaning: &str, (name, done): (&str, u32), whole: u32) -> Markup {
    html! {
        div {
            dt { (meaning) }
            dd {
                (figure(name, done, count(done.into()))) " of " (count(whole.into()))
                (progress(meaning, done.into(), whole.into(), "meter"))
            }
        }
    }
}

/// The phases of a round in their order, the present one marked.
fn phases(present: Phase) -> Markup {
    let order = [Phase::Selecting, Phase::Collecting, Phase::Aggregating, Phase::Committed];
    html! {
        ol.phases aria-label="Phases" {
            @for phase in order {
                li aria-current=[(phase == present).then_some("step")] {
                    @if phase == present { (figure("phase", phase, phase.as_str())) }
                    @else { (phase.as_str()) }
                }
            }
        }
    }
}

fn remaining(round: &RoundReport, now_ms: u64) -> Markup {
    let Some(deadline_ms) = round.deadline_ms else {
        return html! { "No device is seated yet; the clock starts with the first one." };
    };
    let deadline = |text: &str| figure("deadline_ms", deadline_ms, text);
    html! {
        @if let Some(goal_ms) = round.goal_ms {
            "The goal was reached " (ago(goal_ms, now_ms)) ". "
        }
        @match until(deadline_ms, now_ms) {
            Some(left) => { "Closes in " strong { (deadline(&left)) } " at the latest." },
            None => {
                strong { (deadline("The deadline has passed")) } "; the round is about to close."
            }
        }
    }
}

/// One square a seat: reported, seated or free.
fn seats(round: &RoundReport, cohort: u32) -> Markup {
    let kind = |seat: u32| match seat {
        s if s < round.reports => "reported",
        s if s < round.participants => "seated",
        _ => "free",
    };
    html! {
        @if cohort <= MOST_SEATS {
            div.seats aria-hidden="true" {
                @for seat in 0..cohort { i class=(kind(seat)) {} }
            }
            ul.keys aria-hidden="true" {
                li { i.reported {} "reported" }
                li { i.seated {} "seated" }
                li { i.free {} "free" }
            }
        }
    }
}

const fn why_none(state: TaskState) -> &'static str {
    match state {
        TaskState::Finished => "Every round is over, and the model is final.",
        TaskState::Cancelled => "The task was ended early; the model stays as it is.",
        TaskState::Halted => {
            "Another round would take a device beyond the task's cap on epsilon; the model stays \
             as it is."
        }
        TaskState::Paused => "The task is paused; no device is seated until it is resumed.",
        TaskState::Running => "The next one opens with the next tick of the server.",
    }
}
