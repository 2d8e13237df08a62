//! The first page: every task as a card.

use maud::{Markup, html};

use super::format::{bytes, count, counted, number, percent};
use super::parts::{epsilon_figure, figure, least_cap, optional, progress, state};
use super::{TaskView, Traffic, layout};
use crate::report::TaskState;

/// The page of all tasks; `devices` are those enrolled.
pub(crate) fn page(tasks: &[TaskView], devices: Option<u64>) -> String {
    let main = html! {
        h1 { "Tasks" }
        @if tasks.is_empty() {
            (empty())
        } @else {
            (summary(tasks, devices))
            ul.cards { @for task in tasks { (card(task)) } }
        }
    };
    layout::page("Tasks", &html! {}, &main)
}

/// How the first task is made.
const CREATE: &str = "adafed-server task create plan.json --parameters model.safetensors";

fn empty() -> Markup {
    html! {
        section.message #empty data-part {
            h2 { "No task yet" }
            p { "A task is what devices train together. Create the first one:" }
            pre tabindex="0" { code { (CREATE) } }
            p.quiet { "This page shows it as soon as it is there." }
        }
    }
}

fn summary(tasks: &[TaskView], devices: Option<u64>) -> Markup {
    let running = tasks.iter().filter(|t| t.status.state == TaskState::Running).count() as u64;
    let saved = tasks.iter().map(|t| Traffic::of(&t.rounds).saved()).fold(0, u64::saturating_add);
    let tasks = tasks.len() as u64;
    html! {
        p.lead #summary data-part {
            (figure("tasks", tasks, counted(tasks, "task", "tasks"))) ", "
            (figure("running", running, count(running))) " running"
            @if let Some(devices) = devices {
                @let text = counted(devices, "device", "devices");
                " · " (figure("devices", devices, text)) " enrolled"
            }
            " · " (figure("bytes_saved_all", saved, bytes(saved))) " of upload saved"
        }
    }
}

fn card(task: &TaskView) -> Markup {
    let status = &task.status;
    let name = status.task.as_str();
    html! {
        li.card id={ "task-" (name) } data-part data-task=(name) {
            div.top {
                h2 { a href={ "/tasks/" (name) } { (name) } }
                (state(status.state))
            }
            p.round {
                span {
                    "Round " (figure("round", status.round, count(status.round))) " of "
                    (figure("rounds", status.rounds, count(status.rounds)))
                }
                span.quiet { (figure("phase", status.phase, status.phase.as_str())) }
            }
            (progress("Rounds done", status.round as f64, status.rounds as f64, "rounds"))
            dl.facts { (privacy(task)) (learning(task)) (traffic(task)) }
        }
    }
}

fn fact(meaning: &str, value: &Markup) -> Markup {
    html! { div { dt { (meaning) } dd { (value) } } }
}

fn privacy(task: &TaskView) -> Markup {
    let status = &task.status;
    let settings = &status.settings;
    let cap = least_cap(settings.device_epsilon_cap, settings.task_epsilon_cap);
    let whole = cap.unwrap_or(status.epsilon_all_rounds);
    html! {
        div.wide {
            dt { "Epsilon, largest of any device" }
            dd {
                strong { (epsilon_figure("epsilon", status.epsilon)) }
                (progress("Epsilon spent", status.epsilon, whole, "spent"))
                span.quiet {
                    "next round " (epsilon_figure("epsilon_next_round", status.epsilon_next_round))
                    " · all rounds "
                    (epsilon_figure("epsilon_all_rounds", status.epsilon_all_rounds))
                    @if let Some(cap) = cap { " · cap " (epsilon_figure("epsilon_cap", cap)) }
                }
            }
        }
    }
}

fn learning(task: &TaskView) -> Markup {
    let last = task.last_evaluation();
    html! {
        (fact("Accuracy", &optional("accuracy", last.and_then(|e| e.accuracy), percent)))
        (fact("Loss", &optional("loss", last.map(|e| e.loss), number)))
    }
}

fn traffic(task: &TaskView) -> Markup {
    let status = &task.status;
    let active = status.active_coordinates;
    let share = percent(active as f64 / status.parameters.max(1) as f64);
    let saved = Traffic::of(&task.rounds).saved();
    let (seated, reports) = (status.participants, status.reports);
    let accountant = status.accountant;
    html! {
        (fact("Devices this round", &html! {
            (figure("participants", seated, count(seated.into())))
            span.quiet {
                " seated, " (figure("reports", reports, count(reports.into()))) " reported"
            }
        }))
        (fact("Active coordinates", &html! {
            (figure("active_coordinates", active, count(active)))
            span.quiet { ", " (share) }
        }))
        (fact("Upload saved", &figure("bytes_saved", saved, bytes(saved))))
        (fact("Delta", &html! {
            (figure("delta", status.delta, format!("{:e}", status.delta)))
            span.quiet { ", by " (figure("accountant", accountant, accountant.to_string())) }
        }))
    }
}
