//! The page of one task.

use maud::{Markup, html};

use super::format::{bytes, count, counted, number, percent};
use super::parts::{epsilon_figure, figure, least_cap, optional, progress, state, tile};
use super::{TaskDetail, Traffic, charts, layout, live, privacy, rounds};

/// The page of a task.
pub(crate) fn page(task: &TaskDetail, now_ms: u64) -> String {
    let name = task.view.status.task.as_str();
    let crumbs = html! {
        li { a href="/" { "All tasks" } }
        li aria-current="page" { (name) }
    };
    let main = html! {
        (headline(task))
        (live::section(task, now_ms))
        h2.chapter { "Course of the training" }
        (charts::all(task))
        (rounds::section(&task.view.rounds, now_ms))
        (privacy::section(task))
        (documents(task))
    };
    layout::page(name, &crumbs, &main)
}

fn headline(task: &TaskDetail) -> Markup {
    let status = &task.view.status;
    html! {
        section #headline data-part aria-label="Headline figures" {
            div.top { h1 { (status.task.as_str()) } (state(status.state)) }
            (progress("Rounds done", status.round as f64, status.rounds as f64, "rounds"))
            dl.tiles {
                (tile(
                    "Rounds done",
                    &html! {
                        (figure("round", status.round, count(status.round)))
                        small { " of " (figure("rounds", status.rounds, count(status.rounds))) }
                    },
                    &html! { "phase " (figure("last_phase", status.phase, status.phase.as_str())) },
                ))
                (epsilon(task))
                (learning(task))
                (coordinates(task))
                (saved(task))
            }
        }
    }
}

fn epsilon(task: &TaskDetail) -> Markup {
    let report = &task.privacy;
    let cap = least_cap(report.device_epsilon_cap, report.task_epsilon_cap);
    let (next, all) = (report.epsilon_next_round, report.epsilon_all_rounds);
    let remark = html! {
        "next round " (epsilon_figure("epsilon_next_round", next)) ", all rounds "
        (epsilon_figure("epsilon_all_rounds", all))
        @if let Some(cap) = cap { ", cap " (epsilon_figure("epsilon_cap", cap)) }
    };
    tile("Largest epsilon", &epsilon_figure("epsilon", report.epsilon), &remark)
}

fn learning(task: &TaskDetail) -> Markup {
    let last = task.view.last_evaluation();
    let accuracy = optional("accuracy", last.and_then(|e| e.accuracy), percent);
    let loss = optional("loss", last.map(|e| e.loss), number);
    let examples = html! {
        @match last {
            Some(last) => {
                "on " (counted(last.examples, "example", "examples")) " of " (last.evaluator)
            },
            None => "no evaluator has reported yet",
        }
    };
    let after = html! {
        @match last {
            Some(last) => { "after " (counted(last.round, "round", "rounds")) },
            None => "no evaluator has reported yet",
        }
    };
    html! { (tile("Accuracy", &accuracy, &examples)) (tile("Loss", &loss, &after)) }
}

fn coordinates(task: &TaskDetail) -> Markup {
    let status = &task.view.status;
    let (active, all) = (status.active_coordinates, status.parameters);
    let remark = html! {
        (count(active)) " of " (figure("parameters", all, count(all))) " parameters"
    };
    let share = percent(active as f64 / all.max(1) as f64);
    tile("Active coordinates", &figure("active_coordinates", active, share), &remark)
}

fn saved(task: &TaskDetail) -> Markup {
    let traffic = Traffic::of(&task.view.rounds);
    let remark = html! {
        (figure("bytes_up", traffic.up, bytes(traffic.up))) " sent instead of "
        (figure("bytes_dense", traffic.dense, bytes(traffic.dense)))
    };
    tile("Upload saved", &figure("bytes_saved", traffic.saved(), bytes(traffic.saved())), &remark)
}

fn documents(task: &TaskDetail) -> Markup {
    let status = &task.view.status;
    let (plan, model) = (status.plan.to_string(), status.model.to_string());
    let interface = format!("/v1/tasks/{}", status.task);
    html! {
        section.panel #documents data-part aria-labelledby="documents-heading" {
            h2 #documents-heading { "Documents" }
            table.figures {
                tr { th scope="row" { "Plan" } td { code { (figure("plan", &plan, &plan)) } } }
                tr { th scope="row" { "Model" } td { code { (figure("model", &model, &model)) } } }
            }
            p.links {
                a href=(interface) { "status" } " "
                @for name in ["rounds", "privacy", "evaluations"] {
                    a href={ (interface) "/" (name) } { (name) } " "
                }
                span.quiet { "as JSON" }
            }
        }
    }
}
